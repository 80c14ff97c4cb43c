//! Fields of answers, and lists that replace what is inherited. Start at [`level`].

use std::sync::Arc;

use super::edit::{push_word, remove};
use super::rules;
use super::{Finding, Lint, Place, Rule};
use crate::config::model::*;
use crate::config::tree::Directive;

/// Fields that protect, and so should stand on error pages too.
const SECURITY: &[&str] = &[
    "strict-transport-security",
    "content-security-policy",
    "x-frame-options",
    "x-content-type-options",
    "referrer-policy",
    "permissions-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "cross-origin-embedder-policy",
];

/// Fields that browsers have stopped to obey.
const OBSOLETE: &[&str] = &[
    "x-xss-protection",
    "public-key-pins",
    "expect-ct",
    "feature-policy",
    "x-webkit-csp",
    "p3p",
];

/// A year, in seconds: what the list of browsers asks for.
const PRELOAD_SECONDS: u64 = 31_536_000;

pub(super) fn level<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    added(lint, place);
    sent(lint, place);
    for directive in place.own("add_header") {
        field(lint, place, directive);
    }
    hidden(lint, place);
    cors(lint, place);
}

/// `add_header` of its own drops the whole list of the level above.
fn added<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let (outer, inner) = (&place.above.headers, &place.here.headers);
    if Arc::ptr_eq(&outer.add_header, &inner.add_header)
        || inner.add_header_inherit != HeaderInherit::On
        || inner.add_header.is_empty()
    {
        return;
    }
    let lost = missing(
        outer.add_header.iter().map(|h| &h.name),
        inner.add_header.iter().map(|h| &h.name),
    );
    let Some(own) = place.own("add_header").next() else {
        return;
    };
    if !lost.is_empty() {
        let message = format!(
            "\"add_header\" here drops what the level above adds: {}",
            lost.join(", ")
        );
        lint.say(
            Finding::new(&rules::SHADOWED_ADD_HEADER, own.span, message)
                .request(place.get(&place.sample(""))),
        );
    }
}

/// The same for what is sent to backends; it matters where something is.
fn sent<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let (above, here) = (place.above, place.here);
    let names = |list: &List<SetHeader>| -> Vec<Arc<[u8]>> {
        list.iter().map(|h| Arc::clone(&h.name)).collect()
    };
    let params = |list: &List<FastcgiParam>| -> Vec<Arc<[u8]>> {
        list.iter().map(|p| Arc::clone(&p.name)).collect()
    };
    let lists: [(&str, &'static Rule, bool, Vec<_>, Vec<_>); 3] = [
        (
            "proxy_set_header",
            &rules::SHADOWED_PROXY_SET_HEADER,
            Arc::ptr_eq(&above.proxy.proxy_set_header, &here.proxy.proxy_set_header),
            names(&above.proxy.proxy_set_header),
            names(&here.proxy.proxy_set_header),
        ),
        (
            "grpc_set_header",
            &rules::SHADOWED_GRPC_SET_HEADER,
            Arc::ptr_eq(&above.grpc.grpc_set_header, &here.grpc.grpc_set_header),
            names(&above.grpc.grpc_set_header),
            names(&here.grpc.grpc_set_header),
        ),
        (
            "fastcgi_param",
            &rules::SHADOWED_FASTCGI_PARAM,
            Arc::ptr_eq(&above.fastcgi.fastcgi_param, &here.fastcgi.fastcgi_param),
            params(&above.fastcgi.fastcgi_param),
            params(&here.fastcgi.fastcgi_param),
        ),
    ];
    for (name, rule, same, outer, inner) in lists {
        let lost = missing(outer.iter(), inner.iter());
        let Some(own) = place.own(name).next() else {
            continue;
        };
        if !same && !inner.is_empty() && !lost.is_empty() {
            let message = format!(
                "\"{name}\" here drops what the level above sets: {}",
                lost.join(", ")
            );
            lint.say(Finding::new(rule, own.span, message).request(place.get(&place.sample(""))));
        }
    }
}

/// One field that is added here.
fn field<'a>(lint: &mut Lint<'a>, place: &Place<'a>, directive: &'a Directive) {
    let [name, value, rest @ ..] = &directive.args[..] else {
        return;
    };
    let (shown, lower) = (name.lossy(), name.lossy().to_ascii_lowercase());
    let value = value.lossy().to_ascii_lowercase();
    let always = rest.iter().any(|w| *w.bytes == *b"always");
    if SECURITY.contains(&&lower[..]) && !always && !returns(place) {
        let message = format!("\"{shown}\" is not added to error pages");
        lint.say(
            Finding::new(&rules::HEADER_WITHOUT_ALWAYS, directive.span, message)
                .request(place.get(&place.sample("missing")))
                .fix(push_word(lint.tree, directive, b"always")),
        );
    }
    if OBSOLETE.contains(&&lower[..]) {
        let message = format!("no browser obeys \"{shown}\" any more");
        // Without its last field a level would inherit those around it.
        let alone = place.own("add_header").nth(1).is_none();
        let edit = remove(lint.tree, directive).filter(|_| !alone);
        lint.say(Finding::new(&rules::OBSOLETE_HEADER, directive.span, message).fix(edit));
    }
    if lower != "strict-transport-security" {
        return;
    }
    let servers = lint.http.iter().flat_map(|h| &h.servers);
    let elsewhere = place.outermost() && servers.flat_map(|s| &s.listens).any(|l| l.ssl);
    if !elsewhere && !place.server.listens.iter().any(|l| l.ssl) {
        let message = "browsers ignore \"Strict-Transport-Security\" over plain HTTP";
        lint.say(
            Finding::new(&rules::HSTS_WITHOUT_TLS, directive.span, message)
                .request(place.get(&place.sample(""))),
        );
    }
    let age = value
        .split(';')
        .find_map(|p| p.trim().strip_prefix("max-age=")?.parse::<u64>().ok());
    let short = age.is_some_and(|a| a < PRELOAD_SECONDS);
    if value.contains("preload") && (short || !value.contains("includesubdomains")) {
        let message = "\"preload\" needs a max-age of a year and \"includeSubDomains\"";
        lint.say(Finding::new(&rules::HSTS_PRELOAD, directive.span, message));
    }
}

/// Whether the level answers by itself, so that its statuses are known.
fn returns(place: &Place<'_>) -> bool {
    matches!(place.script.last(), Some(Op::Return(_)))
}

/// `Server` and `Date` of a backend never get out.
fn hidden<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let own: Vec<&Directive> = place.own("proxy_hide_header").collect();
    for directive in &own {
        let Some(name) = directive.args.first().map(|w| w.lossy()) else {
            continue;
        };
        if ["server", "date"].contains(&&name.to_ascii_lowercase()[..]) {
            let message = format!("the backend's \"{name}\" is never passed on anyway");
            // The only entry of a list also keeps the list of the level above out.
            let edit = remove(lint.tree, directive).filter(|_| own.len() > 1);
            lint.say(Finding::new(&rules::HIDE_SERVER_HEADER, directive.span, message).fix(edit));
        }
    }
}

/// Which origins are told that they may read.
fn cors<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    let value = |wanted: &str| {
        place.own("add_header").find_map(|d| match &d.args[..] {
            [name, value, ..] if name.bytes.eq_ignore_ascii_case(wanted.as_bytes()) => {
                Some((d, value.lossy()))
            }
            _ => None,
        })
    };
    let Some((directive, origin)) = value("Access-Control-Allow-Origin") else {
        return;
    };
    let credentials = value("Access-Control-Allow-Credentials");
    if !credentials.is_some_and(|(_, v)| v.eq_ignore_ascii_case("true")) {
        return;
    }
    let request = format!(
        "{} with Origin: https://evil.example and the user's cookies",
        place.get(&place.sample(""))
    );
    if origin == "*" {
        let message = "browsers refuse \"*\" where credentials are allowed";
        let rule = &rules::CORS_WILDCARD_CREDENTIALS;
        lint.say(Finding::new(rule, directive.span, message).request(request));
    } else if origin == "$http_origin" || origin == "${http_origin}" {
        // A condition on the origin around it may know which ones are good.
        let chosen = place.location.is_some_and(|l| match &l.kind {
            Kind::If(Condition::Match { variable, .. } | Condition::Equal { variable, .. }) => {
                *variable.bytes == *b"http_origin"
            }
            _ => false,
        });
        if !chosen {
            let message = "every origin may read answers for the user who is logged in";
            let rule = &rules::CORS_ANY_ORIGIN;
            lint.say(Finding::new(rule, directive.span, message).request(request));
        }
    }
}

/// Names of the outer list that the inner one lacks, each once.
fn missing<'n>(
    outer: impl Iterator<Item = &'n Arc<[u8]>>,
    inner: impl Iterator<Item = &'n Arc<[u8]>>,
) -> Vec<String> {
    let inner: Vec<&Arc<[u8]>> = inner.collect();
    let mut lost: Vec<String> = Vec::new();
    for name in outer.filter(|n| !inner.iter().any(|i| i.eq_ignore_ascii_case(n))) {
        let text = String::from_utf8_lossy(name).into_owned();
        if !lost.contains(&text) {
            lost.push(text);
        }
    }
    lost
}
