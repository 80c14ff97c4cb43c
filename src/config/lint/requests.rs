//! The request line towards a backend and the links towards a client: what is replaced, decoded or lost on the way. Start at
//! [`level`].

use std::sync::Arc;

use super::edit::set_word;
use super::rules;
use super::{Finding, Lint, Place, reads};
use crate::config::model::*;
use crate::config::tree::{Directive, Word};

pub(super) fn level<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    if let Some(pass) = place
        .pass()
        .filter(|p| p.wire == WireKind::Http && !place.nameless())
    {
        prefix(lint, place, pass);
        uri(lint, place, pass);
    }
    redirects(lint, place);
    fields(lint, place);
    realip(lint, place);
    authorizer(lint, place);
}

/// `location /api` with `proxy_pass http://x/` turns `/api/users` into `//users`.
fn prefix<'a>(lint: &mut Lint<'a>, place: &Place<'a>, pass: &ProxyPass) {
    let uri = pass.target.as_ref().and_then(|t| t.uri.as_deref());
    let Some(uri) = uri.filter(|_| place.by_prefix()) else {
        return;
    };
    let (path, to) = (place.path(), String::from_utf8_lossy(uri).into_owned());
    if to.contains('?') || path == "/" && to == "/" {
        return;
    }
    let (message, request, advice) = match (path.ends_with('/'), to.ends_with('/')) {
        (false, true) => (
            format!("\"{path}/x\" becomes \"{to}/x\": the prefix is replaced as text"),
            format!("{path}/x"),
            format!("write location {path}/"),
        ),
        (true, false) => (
            format!("\"{path}x\" becomes \"{to}x\": the prefix is replaced as text"),
            format!("{path}x"),
            format!(
                "end the URI of proxy_pass with a slash: {}/",
                pass.url.lossy()
            ),
        ),
        _ => return,
    };
    lint.say(
        Finding::new(&rules::REPLACED_PREFIX, pass.url.span, message)
            .request(place.get(&request))
            .advice(advice),
    );
}

/// With variables nothing is replaced: the URI is taken as it comes out.
fn uri<'a>(lint: &mut Lint<'a>, place: &Place<'a>, pass: &ProxyPass) {
    if pass.target.is_some() {
        return;
    }
    let url = pass.url.lossy();
    let rest = url.split_once("://").map_or(&url[..], |(_, rest)| rest);
    for variable in ["uri", "document_uri"] {
        if reads(rest.as_bytes(), variable) {
            let message =
                format!("\"${variable}\" is decoded, and goes into the request line as it is");
            lint.say(
                Finding::new(&rules::DECODED_URI, pass.url.span, message)
                    .request(place.get(&place.sample("a%20HTTP/1.1%0d%0aX:%20y?lost=1"))),
            );
            return;
        }
    }
    let Some((host, path)) = rest.split_once('/') else {
        return;
    };
    if host.contains('$')
        && !path.contains('$')
        && !matches!(place.location.map(|l| &l.kind), Some(Kind::Exact))
    {
        let message =
            format!("every request here is passed on as \"/{path}\", without its arguments");
        lint.say(
            Finding::new(&rules::VARIABLE_URI, pass.url.span, message)
                .request(place.get(&place.sample("users?id=1"))),
        );
    }
}

/// Whether a text has the decoded path in it; and the variable's name.
fn decoded(text: &[u8]) -> Option<&'static str> {
    ["uri", "document_uri"].into_iter().find(|v| reads(text, v))
}

/// Links that a client is sent to.
fn redirects<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    // After a rewrite the decoded path is what was meant.
    let rewritten = place.script.iter().any(|op| matches!(op, Op::Rewrite(_)));
    for directive in place.own("return") {
        let link = match &directive.args[..] {
            [code, url]
                if [&b"301"[..], b"302", b"303", b"307", b"308"].contains(&&code.bytes[..]) =>
            {
                url
            }
            [url] => url,
            _ => continue,
        };
        if let Some(variable) = decoded(&link.bytes) {
            let index = directive.args.len() - 1;
            link_with(lint, place, (directive, index, link), variable, !rewritten);
        }
    }
    for directive in place.own("rewrite") {
        let Some(url) = directive.args.get(1) else {
            continue;
        };
        let away = [&b"http://"[..], b"https://", b"$scheme"]
            .iter()
            .any(|p| url.bytes.starts_with(p))
            || directive
                .args
                .get(2)
                .is_some_and(|w| [&b"redirect"[..], b"permanent"].contains(&&w.bytes[..]));
        if let Some(variable) = decoded(&url.bytes).filter(|_| away) {
            link_with(lint, place, (directive, 1, url), variable, false);
        }
    }
}

fn link_with<'a>(
    lint: &mut Lint<'a>,
    place: &Place<'a>,
    (directive, index, word): (&'a Directive, usize, &'a Word),
    variable: &str,
    safe: bool,
) {
    let message = format!(
        "\"${variable}\" is decoded: a client's line break or question mark ends up in the link"
    );
    let text = word.lossy();
    // Only where it is the end, or followed by the arguments, does the raw form say the same.
    let head = [format!("${variable}$is_args$args"), format!("${variable}")]
        .iter()
        .find_map(|tail| text.strip_suffix(&tail[..]).map(str::to_owned))
        .filter(|head| safe && decoded(head.as_bytes()).is_none());
    // Inside a location the path may be that of an internal redirect.
    let plain = place
        .location
        .is_none_or(|l| !matches!(l.kind, Kind::Named) && !place.here.core.internal);
    let edit = head.filter(|_| plain).and_then(|head| {
        set_word(
            lint.tree,
            directive,
            index,
            format!("{head}$request_uri").as_bytes(),
        )
    });
    lint.say(
        Finding::new(&rules::DECODED_REDIRECT, word.span, message)
            .request(place.get(&place.sample("a%0d%0aSet-Cookie:%20x=y?lost=1")))
            .fix(edit),
    );
}

/// The same in fields, where no edit is sure to mean the same.
fn fields<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    for name in ["add_header", "proxy_set_header", "grpc_set_header"] {
        for directive in place.own(name) {
            if let Some(value) = directive.args.get(1)
                && let Some(variable) = decoded(&value.bytes)
            {
                let message = format!(
                    "\"${variable}\" is decoded: a client's line break ends up in the field"
                );
                lint.say(
                    Finding::new(&rules::DECODED_REDIRECT, value.span, message)
                        .request(place.get(&place.sample("a%0d%0aX:%20y"))),
                );
            }
        }
    }
    for directive in place.own("underscores_in_headers") {
        let on = directive
            .args
            .first()
            .is_some_and(|w| w.bytes.eq_ignore_ascii_case(b"on"));
        let servers = lint.http.iter().flat_map(|h| &h.servers);
        let ours = servers
            .flat_map(super::every)
            .flat_map(|l| l.settings.proxy.proxy_set_header.iter())
            .find(|h| h.name.contains(&b'-') && !h.value.bytes.is_empty());
        if let Some(header) = ours.filter(|_| on) {
            let name = String::from_utf8_lossy(&header.name);
            let other = name.replace('-', "_");
            let message = format!("a client's \"{other}\" may pass for our \"{name}\"");
            lint.say(
                Finding::new(&rules::UNDERSCORES, directive.span, message)
                    .request(format!("{} with {other}: 10.0.0.1", place.get("/"))),
            );
        }
    }
}

/// Whose word is taken for the client's address.
fn realip<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    for directive in place.own("set_real_ip_from") {
        let Some(word) = directive.args.first() else {
            continue;
        };
        if [&b"0.0.0.0/0"[..], b"::/0"].contains(&&word.bytes[..]) {
            let message = "every client may say which address it has";
            lint.say(
                Finding::new(&rules::TRUSTED_BY_ALL, word.span, message).request(format!(
                    "{} with X-Forwarded-For: 127.0.0.1",
                    place.get("/")
                )),
            );
        }
    }
    let realip = &place.here.realip;
    for directive in place.own("real_ip_header") {
        let servers = lint.http.iter().flat_map(|h| &h.servers);
        let others = place.outermost()
            && servers
                .into_iter()
                .any(|s| !s.settings.realip.set_real_ip_from.is_empty());
        let below = others
            || place
                .inside
                .iter()
                .any(|l| !l.settings.realip.set_real_ip_from.is_empty());
        if realip.set_real_ip_from.is_empty() && !below {
            let message = "nobody's word is taken for the client's address";
            lint.say(
                Finding::new(&rules::UNUSED_REAL_IP, directive.span, message)
                    .request(place.get("/")),
            );
        }
    }
}

/// Who is asked by `auth_request` gets no body, whatever it is told.
fn authorizer<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let asks = &place.here.subrequests.auth_request;
    let Some(uri) = asks
        .as_ref()
        .filter(|_| place.own("auth_request").next().is_some())
    else {
        return;
    };
    let fits = |l: &&Location| {
        l.path.bytes == *uri && matches!(l.kind, Kind::Exact | Kind::Prefix | Kind::NoRegex)
    };
    let Some(location) = place.server.locations.iter().find(fits) else {
        return;
    };
    let Content::Proxy(pass) = &location.content else {
        return;
    };
    let headers = &location.settings.proxy.proxy_set_header;
    let emptied = headers
        .iter()
        .any(|h| h.name.eq_ignore_ascii_case(b"content-length") && h.value.bytes.is_empty());
    if pass.wire == WireKind::Http && location.settings.proxy_pass.pass_request_body && !emptied {
        let message = "the subrequest tells of a body that it does not have";
        let request = place.get(&place.sample("")).replacen("GET", "POST", 1);
        let span = Arc::clone(pass).url.span;
        lint.say(Finding::new(&rules::AUTH_REQUEST_BODY, span, message).request(request));
    }
}
