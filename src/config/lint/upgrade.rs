//! WebSockets and other upgrades: what has to go to the backend for them, and what ordinary requests make of it. Start at
//! [`level`].

use super::edit::{line_first, set_word};
use super::proxying::sends;
use super::rules;
use super::{Edit, Finding, Lint, Place};
use crate::config::model::*;
use crate::config::tree::Directive;

/// Reads longer than this are a choice.
const USUAL_SECONDS: u64 = 60;

pub(super) fn level<'a>(lint: &mut Lint<'a>, place: &Place<'a>) {
    for directive in place.own("proxy_set_header") {
        if let [name, value] = &directive.args[..]
            && name.bytes.eq_ignore_ascii_case(b"connection")
            && value.bytes.eq_ignore_ascii_case(b"upgrade")
        {
            fixed(lint, place, directive);
        }
    }
    let http = place.pass().is_some_and(|p| p.wire == WireKind::Http);
    if !http || place.nameless() {
        return;
    }
    let Some(upgrade) =
        sends(place, "Upgrade").filter(|h| super::reads(&h.value.bytes, "http_upgrade"))
    else {
        return;
    };
    let request = format!("{} with Upgrade: websocket", place.get(&place.sample("")));
    if place.here.proxy.proxy_http_version == HttpVersion::Http10
        && let Some(directive) = place.written("proxy_http_version")
    {
        let message = "HTTP/1.0 to the backend: no WebSocket opens";
        lint.say(
            Finding::new(&rules::UPGRADE_WITH_HTTP_1_0, directive.span, message)
                .request(request.clone())
                .fix(set_word(lint.tree, directive, 0, b"1.1")),
        );
    }
    let Some(connection) = sends(place, "Connection").filter(|h| !h.value.bytes.is_empty()) else {
        let message = "\"Upgrade\" is passed on without \"Connection: upgrade\"";
        let rule = &rules::UPGRADE_WITHOUT_CONNECTION;
        lint.say(Finding::new(rule, upgrade.value.span, message).request(request));
        return;
    };
    let asks =
        connection.value.has_variables() || connection.value.bytes.eq_ignore_ascii_case(b"upgrade");
    if asks && place.here.proxy_pass.read_timeout.as_secs() == USUAL_SECONDS {
        let message = "a WebSocket that says nothing for 60 s is closed";
        lint.say(Finding::new(&rules::SHORT_TUNNEL, upgrade.value.span, message).request(request));
    }
}

/// A fixed `Connection: upgrade` reaches the backend on ordinary requests too.
fn fixed<'a>(lint: &mut Lint<'a>, place: &Place<'a>, directive: &'a Directive) {
    let message = "requests that ask for no upgrade carry \"Connection: upgrade\" too";
    let mut finding = Finding::new(&rules::FIXED_UPGRADE, directive.args[1].span, message)
        .request(place.get(&place.sample("")));
    let edits = edits(lint, directive);
    finding = finding.fix(edits.into_iter().flatten());
    lint.say(finding);
}

/// The value becomes that of a map, which is written if there is none.
fn edits<'a>(lint: &Lint<'a>, directive: &'a Directive) -> Option<Vec<Edit>> {
    let http = lint.http?;
    let fits = |m: &&Map| {
        *m.source.bytes == *b"$http_upgrade" && m.default.bytes.eq_ignore_ascii_case(b"upgrade")
    };
    let known = http.maps.iter().find(fits).map(|m| m.variable.lossy());
    let variable = match &known {
        Some(variable) => format!("${variable}"),
        None => "$connection_upgrade".to_owned(),
    };
    let set = set_word(lint.tree, directive, 1, variable.as_bytes())?;
    if known.is_some() {
        return Some(vec![set]);
    }
    // The name must be free, and the place known.
    let taken = http
        .maps
        .iter()
        .any(|m| *m.variable.bytes == *b"connection_upgrade");
    let lines = [
        "map $http_upgrade $connection_upgrade {",
        "    default upgrade;",
        "    '' '';",
        "}",
    ];
    let map = line_first(lint.tree, lint.top.filter(|_| !taken)?, &lines)?;
    Some(vec![set, map])
}
