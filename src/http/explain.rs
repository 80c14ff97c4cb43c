//! What would become of a request, step by step, without a backend being asked or a file being sent.
//!
//! The stages are those that serve: this walks through them as [`super::flow`] does and notes what they decide. Checks that
//! need somebody else's word (limits, passwords, subrequests) are told and taken as passed. Start at [`explain`].

use std::fmt::Write as _;

use super::content::{files, proxy};
use super::exchange::Exchange;
use super::flow::{Flow, Reroute};
use super::local::Cx;
use super::{access, error, filter, rewrite, route, vars};
use crate::front::Refusal;
use crate::net::Addr;
use crate::plan::expr::Expr;
use crate::plan::location::{Content, LocationKind, LocationPlan, ProxyTarget};
use crate::plan::locations::Fate;
use crate::plan::regex::Captures;
use crate::plan::{LocationId, Plan};

/// More turns than a request can take.
const TURNS_MAX: usize = 64;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where in the way of a request: `server`, `location`, `rewrite`, `access`, `content`, `upstream`, `answer`.
    pub stage: &'static str,
    /// What happened.
    pub text: String,
}

/// The notes so far.
#[derive(Default)]
struct Notes(Vec<Note>);

impl Notes {
    fn say(&mut self, stage: &'static str, text: String) {
        self.0.push(Note { stage, text });
    }
}

/// Text for a terminal: what could move its cursor is escaped.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A location as it is written.
fn name(plan: &Plan, id: LocationId) -> String {
    let location = &plan.locations[id];
    let text = shown(&location.name);
    match location.kind {
        LocationKind::Exact => format!("location = {text}"),
        LocationKind::Prefix => format!("location {text}"),
        LocationKind::Regex => format!("location ~ {text}"),
        LocationKind::Named => format!("location {text}"),
        LocationKind::Anonymous => "the server's own settings".to_owned(),
    }
}

/// Goes with a request as far as its answer could be made without anybody else.
pub async fn explain(ex: &mut Exchange, refused: Option<Refusal>, cx: Cx<'_>) -> Vec<Note> {
    let mut notes = Notes::default();
    let mut flow = match refused {
        None => route::begin(ex, cx).await,
        Some(why) => {
            notes.say("answer", format!("the request's head is refused: {why:?}"));
            route::refuse(ex, cx, why)
        }
    };
    server(&mut notes, ex, cx);
    for _ in 0..TURNS_MAX {
        flow = match flow {
            Flow::Next => {
                location(&mut notes, ex, cx);
                match in_location(&mut notes, ex, cx).await {
                    Some(flow) => flow,
                    None => break,
                }
            }
            Flow::Reroute(to) => {
                reroute(&mut notes, ex, cx, to);
                route::reroute(ex, cx, to).await
            }
            Flow::Error(status) => {
                let flow = error::answer(ex, cx, status);
                if matches!(flow, Flow::Reroute(_)) {
                    notes.say(
                        "answer",
                        format!("status {status}: its error_page is another URI"),
                    );
                }
                flow
            }
            Flow::Answer => {
                if filter::head(ex, cx) == Flow::Answer {
                    answer(&mut notes, ex);
                }
                break;
            }
            Flow::Close => {
                notes.say(
                    "answer",
                    "the connection is closed without an answer".to_owned(),
                );
                break;
            }
        };
    }
    notes.0
}

fn server(notes: &mut Notes, ex: &Exchange, cx: Cx<'_>) {
    let local = ex.conn.local.ip();
    let address = cx.plan.listeners[ex.conn.listener.get()].address(local);
    let server = &cx.plan.servers[ex.server];
    let host = shown(&ex.host);
    let why = match address.names.find_named(&ex.host, &mut Captures::default()) {
        _ if server.name[..] == ex.host[..] => "the host is its name".to_owned(),
        Some(_) => format!("a server_name fits \"{host}\""),
        None => format!("no server_name fits \"{host}\", and it is the default of its address"),
    };
    let called = match &server.name[..] {
        b"" => "the server without a name".to_owned(),
        name => format!("server {}", shown(name)),
    };
    notes.say("server", format!("{called}: {why}"));
}

/// What became of each location, level by level.
fn location(notes: &mut Notes, ex: &Exchange, cx: Cx<'_>) {
    let uri = shown(&ex.uri);
    let chosen = ex.location;
    if cx.plan.locations[chosen].kind == LocationKind::Named {
        return notes.say(
            "location",
            format!("{} is entered for \"{uri}\"", name(cx.plan, chosen)),
        );
    }
    let nested = |id: LocationId| &cx.plan.locations[id].tree;
    let mut fates = Vec::new();
    let tree = &cx.plan.servers[ex.server].tree;
    tree.account(&ex.uri, &nested, &mut Captures::default(), &mut fates);
    for (id, fate) in fates {
        let why = match fate {
            Fate::Equal => "is equal: the search ends here",
            Fate::Slash => "is the URI with a final slash: a redirect",
            Fate::Unequal => "is not equal",
            Fate::Longest => "is the longest prefix",
            Fate::Shorter => "is a prefix, but not the longest",
            Fate::Elsewhere => "is no prefix",
            Fate::Matched => "is the first pattern that matches",
            Fate::Unmatched => "does not match",
            Fate::Untried => "is not tried: the search had ended",
        };
        notes.say("location", format!("  {} {why}", name(cx.plan, id)));
    }
    notes.say(
        "location",
        format!("\"{uri}\" is served by {}", name(cx.plan, chosen)),
    );
}

fn reroute(notes: &mut Notes, ex: &Exchange, cx: Cx<'_>, to: Reroute) {
    let uri = shown(&ex.uri);
    let text = match to {
        Reroute::Uri => format!("rewritten to \"{uri}\": locations are searched again"),
        Reroute::Redirect => {
            format!("redirected internally to \"{uri}\": the server's rules run again")
        }
        Reroute::Named(id) => format!("goes to {}", name(cx.plan, id)),
    };
    notes.say("rewrite", text);
}

/// Stages 4 to 6; none when the content has been told and nothing is left to follow.
async fn in_location(notes: &mut Notes, ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    if rewrite::is_due(ex, cx) {
        let (before, was) = (ex.uri.clone(), ex.location);
        let flow = rewrite::location(ex, cx).await;
        if ex.uri != before {
            let (from, to) = (shown(&before), shown(&ex.uri));
            notes.say("rewrite", format!("\"{from}\" becomes \"{to}\""));
        }
        if ex.location != was && flow == Flow::Next {
            notes.say("rewrite", "the settings of an \"if\" apply".to_owned());
        }
        if flow != Flow::Next {
            return Some(flow);
        }
    }
    if let Some(flow) = checks(notes, ex, cx) {
        return Some(flow);
    }
    let location = cx.location(ex.location);
    if let Some(rule) = &location.try_files {
        let flow = files::try_files(rule, ex, cx).await;
        notes.say(
            "content",
            format!("try_files: the URI is now \"{}\"", shown(&ex.uri)),
        );
        if flow != Flow::Next {
            return Some(flow);
        }
    }
    for mirror in &location.mirrors {
        notes.say(
            "content",
            format!("a copy of the request goes to \"{}\"", shown(mirror)),
        );
    }
    content(notes, ex, cx, location)
}

fn text_of(expr: &Expr, ex: &mut Exchange, cx: Cx<'_>) -> String {
    let mut out = Vec::new();
    vars::eval(expr, ex, cx, &mut out);
    shown(&out)
}

/// Tells the checks of the location; a flow where the client's address alone decides against it.
fn checks(notes: &mut Notes, ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    let plan = cx.location(ex.location).access.as_deref()?;
    for limit in plan.limit_req.iter().flat_map(|limits| &limits.limits) {
        let zone = &cx.plan.limit_zones[limit.zone];
        let (name, key) = (shown(&zone.name), shown(&zone.text));
        let (rate, burst) = (zone.rate as f64 / 1000.0, limit.burst / 1000);
        let text =
            format!("limit_req: zone {name} by {key}, {rate} requests a second, burst {burst}");
        notes.say("access", text);
    }
    for limit in plan.limit_conn.iter().flat_map(|limits| &limits.limits) {
        let zone = &cx.plan.limit_zones[limit.zone];
        let (name, key) = (shown(&zone.name), shown(&zone.text));
        let text = format!("limit_conn: zone {name} by {key}, {} at a time", limit.max);
        notes.say("access", text);
    }
    if let Some(basic) = &plan.basic {
        let realm = text_of(&basic.realm, ex, cx);
        if realm != "off" {
            notes.say(
                "access",
                format!("auth_basic: a password is asked for, realm \"{realm}\""),
            );
        }
    }
    if let Some(request) = &plan.auth_request {
        notes.say(
            "access",
            format!("auth_request: \"{}\" is asked", shown(&request.uri)),
        );
    }
    let verdict = access::by_address(ex, cx, plan)?;
    let client = match ex.client() {
        Addr::Ip(at) => at.ip().to_string(),
        Addr::Unix(_) => "a client of a unix socket".to_owned(),
    };
    let (word, flow) = match verdict {
        Flow::Next => ("allowed", None),
        denied => ("denied", Some(denied)),
    };
    notes.say("access", format!("{client} is {word} by rule"));
    flow
}

fn content(
    notes: &mut Notes,
    ex: &mut Exchange,
    cx: Cx<'_>,
    location: &LocationPlan,
) -> Option<Flow> {
    match &location.content {
        Content::Files => {
            let mut path = Vec::new();
            if files::filename(ex, cx, &mut path) {
                notes.say("content", format!("file {}", shown(&path)));
            }
        }
        Content::Proxy(plan) => {
            let rehearsed = match proxy::rehearse(ex, cx, plan) {
                Ok(rehearsed) => rehearsed,
                Err(flow) => return Some(flow),
            };
            notes.say("content", format!("passed to {}", shown(&rehearsed.host)));
            if let ProxyTarget::Group(id) = &plan.target {
                group(notes, cx, *id);
            }
            if let Some(cache) = &plan.cache {
                let key = rehearsed
                    .key
                    .map_or_else(|| "the default one".to_owned(), |key| shown(&key));
                let methods = if cache.keys_body {
                    ", told apart by their bodies"
                } else {
                    ""
                };
                notes.say(
                    "content",
                    format!("  the cache is asked first, key {key}{methods}"),
                );
            }
            for line in rehearsed.lines {
                notes.say("upstream", shown(&line));
            }
        }
        Content::Session(_) => {}
        Content::EmptyGif => notes.say("content", "empty_gif".to_owned()),
        Content::StubStatus => notes.say("content", "stub_status".to_owned()),
        Content::Metrics => notes.say("content", "metrics".to_owned()),
        Content::Status => notes.say("content", "status".to_owned()),
    }
    None
}

fn group(notes: &mut Notes, cx: Cx<'_>, id: crate::plan::GroupId) {
    let group = &cx.plan.groups[id];
    for peer in group.peers.iter() {
        let mut text = format!("  peer {}", shown(&peer.name));
        if peer.weight != 1 {
            // Writing to a String cannot fail.
            let _ = write!(text, " weight={}", peer.weight);
        }
        for (word, set) in [("backup", peer.backup), ("down", peer.down)] {
            if set {
                let _ = write!(text, " {word}");
            }
        }
        notes.say("content", text);
    }
    for line in group.lines.iter() {
        let name = shown(line.question());
        let text = format!("  peers of {name}, which are found while running");
        notes.say("content", text);
    }
}

fn answer(notes: &mut Notes, ex: &Exchange) {
    let response = &ex.response;
    notes.say("answer", format!("status {}", response.status));
    if !response.location.is_empty() {
        notes.say(
            "answer",
            format!("  Location: {}", shown(&response.location)),
        );
    }
    for field in response.fields.iter() {
        let (name, value) = (shown(field.name), shown(field.value));
        notes.say("answer", format!("  {name}: {value}"));
    }
}
