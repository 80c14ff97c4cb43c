//! What a finished request adds to the counts of its location and of the peers that it was passed to. Start at [`note`].

use super::exchange::Exchange;
use super::local::Cx;
use crate::net::clock;
use crate::observe::tally::{Attempt, Request};

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
