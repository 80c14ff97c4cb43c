//! Servers and their names, and names that are given and never used. Start at [`whole`] and [`server`].

use std::collections::HashMap;

use super::edit::{drop_word, line_after, set_word};
use super::{Finding, Lint, named, pattern, reads, rules};
use crate::config::model::*;
use crate::config::tree::{Directive, Span};

pub(super) fn whole<'a>(lint: &mut Lint<'a>, http: &'a Http) {
    defaults(lint, http);
    variables(lint, http);
    formats(lint);
    compression(lint, http);
}

pub(super) fn server<'a>(lint: &mut Lint<'a>, http: &'a Http, server: &'a Server) {
    names(lint, server);
    plain(lint, server);
    old_form(lint, http, server);
}

/// Several servers of one address and none is the default.
fn defaults<'a>(lint: &mut Lint<'a>, http: &'a Http) {
    let mut order: Vec<&ListenAddr> = Vec::new();
    let mut servers: HashMap<&ListenAddr, Vec<(&Server, &Listen)>> = HashMap::new();
    for server in &http.servers {
        for listen in &server.listens {
            let list = servers.entry(&listen.addr).or_insert_with(|| {
                order.push(&listen.addr);
                Vec::new()
            });
            list.push((server, listen));
        }
    }
    let mut told: Vec<Span> = Vec::new();
    for addr in order {
        let list = &servers[addr];
        let chosen = list.iter().any(|(_, l)| l.default_server);
        let (server, listen) = list[0];
        // The first takes unknown names on purpose when it has none, or `_`.
        let open = server
            .names
            .iter()
            .any(|n| n.text.bytes.is_empty() || *n.text.bytes == *b"_");
        if list.len() < 2 || chosen || open || told.contains(&server.pos) {
            continue;
        }
        told.push(server.pos);
        let shown = listen.text.lossy();
        let message = format!(
            "requests for unknown names on \"{shown}\" get this server, because it comes first"
        );
        let url = super::origin(server);
        let port = url.rsplit_once(':').map_or("", |(_, p)| p);
        let port = if port.starts_with("//") {
            String::new()
        } else {
            format!(":{port}")
        };
        lint.say(
            Finding::new(&rules::MISSING_DEFAULT, server.pos, message).request(format!(
                "GET http{}://unknown.example{port}/",
                if listen.ssl { "s" } else { "" }
            )),
        );
    }
}

/// Each word of each directive.
fn words<'a>(lint: &Lint<'a>) -> Vec<&'a [u8]> {
    let mut left: Vec<&'a Directive> = lint.tree.directives.iter().collect();
    let mut out: Vec<&'a [u8]> = Vec::new();
    while let Some(directive) = left.pop() {
        // Keys of data may read variables too.
        out.push(&directive.name.bytes);
        out.extend(directive.args.iter().map(|w| &w.bytes[..]));
        left.extend(directive.block.iter().flatten());
    }
    out
}

fn variables<'a>(lint: &mut Lint<'a>, http: &'a Http) {
    let maps = http.maps.iter().map(|m| (&m.variable, m.pos));
    let geos = http.geos.iter().map(|g| (&g.variable, g.pos));
    let splits = http.split_clients.iter().map(|s| (&s.variable, s.pos));
    let all: Vec<(&Text, Span)> = maps.chain(geos).chain(splits).collect();
    if all.is_empty() {
        return;
    }
    let words = words(lint);
    for (variable, pos) in all {
        let name = variable.lossy();
        // Its own definition is one reading; `if ($name` and log formats are words as well.
        let count = words.iter().filter(|w| reads(w, &name)).count();
        let bare = words
            .iter()
            .any(|w| w.strip_prefix(b"(").is_some_and(|w| reads(w, &name)));
        if count <= 1 && !bare {
            let message = format!("nothing reads \"${name}\"");
            lint.say(Finding::new(&rules::UNUSED_MAP, pos, message));
        }
    }
}

fn formats(lint: &mut Lint<'_>) {
    let Some(inside) = lint.top.and_then(|t| t.block.as_deref()) else {
        return;
    };
    let mut used: Vec<&[u8]> = Vec::new();
    let mut left: Vec<&Directive> = lint.tree.directives.iter().collect();
    while let Some(directive) = left.pop() {
        if *directive.name.bytes == *b"access_log" {
            used.extend(directive.args.get(1).map(|w| &w.bytes[..]));
        }
        left.extend(directive.block.iter().flatten());
    }
    for directive in named(inside, "log_format") {
        let Some(name) = directive.args.first() else {
            continue;
        };
        if !used.iter().any(|u| u.eq_ignore_ascii_case(&name.bytes)) {
            let message = format!("no log is written as \"{}\"", name.lossy());
            lint.say(Finding::new(&rules::UNUSED_FORMAT, directive.span, message));
        }
    }
}

/// `gzip on` without types, anywhere.
fn compression<'a>(lint: &mut Lint<'a>, http: &'a Http) {
    let mut left: Vec<&Directive> = lint.top.iter().copied().collect();
    let (mut on, mut types) = (None, false);
    while let Some(directive) = left.pop() {
        let yes = directive
            .args
            .first()
            .is_some_and(|w| w.bytes.eq_ignore_ascii_case(b"on"));
        if *directive.name.bytes == *b"gzip" && yes {
            on = Some(directive);
        }
        types |= *directive.name.bytes == *b"gzip_types";
        left.extend(directive.block.iter().flatten());
    }
    if let Some(directive) = on.filter(|_| !types) {
        let request = http.servers.first().map_or_else(
            || "GET /app.js".to_owned(),
            |s| format!("GET {}/app.js", super::origin(s)),
        );
        let message = "only text/html is compressed";
        lint.say(Finding::new(&rules::HTML_ONLY, directive.span, message).request(request));
    }
}

/// Stars and dots that match nothing, or too much.
fn names<'a>(lint: &mut Lint<'a>, server: &'a Server) {
    for name in &server.names {
        if name.kind == NameKind::Exact && name.text.bytes.contains(&b'*') {
            let message = format!("server name \"{}\" matches no host", name.text.lossy());
            let url = super::origin(server);
            lint.say(
                Finding::new(&rules::DEAD_WILDCARD, name.text.span, message)
                    .request(format!("GET {}/", url.replace('*', "www"))),
            );
        }
        let NameKind::Regex { .. } = name.kind else {
            continue;
        };
        let dots = pattern::loose_dots(&name.text.bytes);
        if dots.is_empty() {
            continue;
        }
        let good = pattern::escaped(&name.text.bytes, &dots);
        let shown = String::from_utf8_lossy(&good).into_owned();
        let message = format!(
            "the dot in \"~{}\" stands for any character",
            name.text.lossy()
        );
        let block = lint.block(server.pos).and_then(|b| b.block.as_deref());
        let wanted = [b"~", &name.text.bytes[..]].concat();
        let fixed = [b"~", &good[..]].concat();
        let edit = named(block.unwrap_or_default(), "server_name").find_map(|d| {
            let at = d.args.iter().position(|w| *w.bytes == *wanted)?;
            set_word(lint.tree, d, at, &fixed)
        });
        let bad: String = name
            .text
            .lossy()
            .trim_start_matches('^')
            .trim_end_matches('$')
            .replacen('.', "x", 1);
        let simple = bad
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
        let finding = Finding::new(&rules::LOOSE_DOT, name.text.span, message)
            .advice(format!("write ~{shown}"))
            .fix(edit);
        lint.say(match simple {
            true => finding.request(format!("GET http://{bad}/")),
            false => finding,
        });
    }
}

/// Port 443 without TLS.
fn plain<'a>(lint: &mut Lint<'a>, server: &'a Server) {
    for listen in &server.listens {
        let port = match &listen.addr {
            ListenAddr::Inet(addr) => addr.port(),
            ListenAddr::Name(_, port) => *port,
            ListenAddr::Unix(_) => 0,
        };
        if port == 443 && !listen.ssl {
            // Another server of the address may have switched TLS on for all.
            let others = lint
                .http
                .iter()
                .flat_map(|h| &h.servers)
                .flat_map(|s| &s.listens);
            if others.into_iter().any(|l| l.addr == listen.addr && l.ssl) {
                continue;
            }
            let message = "clients of port 443 speak TLS, and this does not";
            let url = super::origin(server);
            let host = url.trim_start_matches("http://").trim_end_matches(":443");
            lint.say(
                Finding::new(&rules::PLAIN_443, listen.text.span, message)
                    .request(format!("GET https://{host}/")),
            );
        }
    }
}

/// `listen … http2`. The loader warns; here is the edit.
fn old_form<'a>(lint: &mut Lint<'a>, http: &'a Http, server: &'a Server) {
    let Some(block) = lint.block(server.pos) else {
        return;
    };
    let inside = block.block.as_deref().unwrap_or_default();
    let set = named(inside, "http2").next().is_some();
    let mut first = true;
    for listen in named(inside, "listen") {
        let Some(at) = listen.args.iter().position(|w| *w.bytes == *b"http2") else {
            continue;
        };
        let message = "the \"http2\" of \"listen\" is deprecated; it has a directive of its own";
        // Of an address that others listen on too, they would lose HTTP/2 or have it already: only a person can say.
        let own = |l: &&Listen| l.text.bytes == listen.args[0].bytes;
        let addrs: Vec<&ListenAddr> = server.listens.iter().filter(own).map(|l| &l.addr).collect();
        let alone = http.servers.iter().all(|other| {
            other.pos == server.pos
                || other
                    .listens
                    .iter()
                    .all(|l| !addrs.contains(&&l.addr) || l.http2)
        });
        let mut edits = Vec::new();
        if alone && let Some(edit) = drop_word(lint.tree, listen, at) {
            let directive = first && !set;
            let added = line_after(lint.tree, listen, "http2 on;").filter(|_| directive);
            if !directive || added.is_some() {
                edits.push(edit);
                edits.extend(added);
            }
        }
        first = false;
        lint.say(Finding::new(&rules::DEPRECATED_LISTEN_HTTP2, listen.span, message).fix(edits));
    }
}
