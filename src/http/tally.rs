//! What a finished request adds to the counts of its location and of the peers that it was passed to. Start at [`note`].

use super::content::cache::Cached;
use super::exchange::Exchange;
use super::local::Cx;
use crate::net::clock;
use crate::observe::recorder::Flight;
use crate::observe::tally::{Attempt, CACHE_WORDS, Request};
use crate::plan::location::LocationKind;

/// Counts a request that is over.
pub fn note(ex: &Exchange, cx: Cx<'_>) {
    let sheet = &cx.generation.sheet;
    let response = &ex.response;
    let answered = response.head_sent || response.bytes_sent > 0;
    sheet.request(
        ex.location,
        &Request {
            status: if answered { response.status } else { 0 },
            received: ex.request_length,
            sent: response.bytes_sent,
            took_us: clock::micros().saturating_sub(ex.started_us),
        },
    );
    if cx.local.recorder.is_on() {
        remember(ex, cx, answered);
    }
    if let Some(cached) = &ex.cached {
        cache(cached, response.bytes_sent, cx);
    }
    for attempt in &ex.attempts {
        let (Some(group), Some(peer)) = (attempt.group, attempt.peer) else {
            continue;
        };
        let noted = Attempt {
            status: attempt.header_ms.map_or(0, |_| attempt.status),
            received: attempt.bytes_received,
            sent: attempt.bytes_sent,
            connect_ms: attempt.connect_ms,
            took_ms: attempt.response_ms.unwrap_or_default(),
        };
        sheet.attempt(group, peer, &attempt.addr, &noted);
    }
}

/// Leaves the request with the flight recorder.
fn remember(ex: &Exchange, cx: Cx<'_>, answered: bool) {
    let (head, location) = (&ex.head, cx.location(ex.location));
    let modifier = match location.kind {
        LocationKind::Exact => "= ",
        LocationKind::Regex => "~ ",
        LocationKind::Prefix | LocationKind::Named | LocationKind::Anonymous => "",
    };
    let now_us = clock::micros();
    cx.local.recorder.note(&Flight {
        ended_us: now_us,
        idle_ms: ex.started.ms_since(ex.conn.accepted),
        phases: ex.phases,
        took_us: now_us.saturating_sub(ex.started_us),
        status: if answered { ex.response.status } else { 0 },
        client: ex.client().ip().map(|at| at.ip()),
        received: ex.request_length,
        sent: ex.response.bytes_sent,
        attempts: u16::try_from(ex.attempts.len()).unwrap_or(u16::MAX),
        method: head.bytes(head.method_name),
        host: &ex.host,
        target: head.bytes(head.target),
        location: (modifier, &location.name),
        peer: ex.attempts.last().map_or(b"", |attempt| &attempt.addr),
    });
}

/// Counts what a store was for a request.
fn cache(cached: &Cached, bytes: u64, cx: Cx<'_>) {
    let Some(id) = cached.store() else {
        return;
    };
    let store = cx.plan.stores.iter().position(|store| store.id == id);
    let word = cached.status.word();
    let word = CACHE_WORDS.iter().position(|known| Some(*known) == word);
    if let (Some(store), Some(word)) = (store, word) {
        cx.generation.sheet.cache(store, word, bytes);
    }
}
