//! One attempt after the other on the peers of a group, as far as nothing is waited for: how it begins, what its end
//! means, and what is booked of it. Knows no wire. Start at [`begin_exchange`] and [`after_exchange`].

use std::ops::ControlFlow;

use super::super::super::debug::{self, debug};
use super::super::super::exchange::{Attempt, Exchange};
use super::super::super::flow::Flow;
use super::super::super::local::Cx;
use super::super::cache::answer;
use super::faults::{cause, trouble};
use super::{
    Failure, Request, Rest, abandon, client_gone, end_attempt, is_for_others, judge, tell,
};
use crate::base::time::Mono;
use crate::plan::location::{ProxyPlan, WirePlan};
use crate::proto::tokens::Token;
use crate::upstream::connect::Unreached;
use crate::upstream::origin::{Fault, Lease, Link, Origin};
use crate::upstream::retry::{self, Cause, Policy, Verdict};
use crate::upstream::selection::Selection;
use crate::upstream::trouble::{Action, Trouble};

/// Seconds after which a client may come back to peers that are all busy.
const RETRY_AFTER: &[u8] = b"1";

/// What follows an attempt.
pub(super) enum Next {
    /// Another peer is asked.
    Peer(Lease),
    /// The request ends with this.
    Flow(Flow),
    /// The same, with an answer of an origin that was judged.
    Judged(Flow),
    /// What is stored is as good as new.
    Revalidated(Lease),
}

/// What is kept of the beginning of an exchange.
#[derive(Clone, Copy)]
pub(super) struct Began {
    /// The client is looked at meanwhile.
    pub(super) watched: bool,
    /// Something of the request had been sent before.
    sent_before: bool,
}

/// Begins an exchange on a connection that was found.
pub(super) fn begin_exchange(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    request: &Request,
    conn: Link,
    origin: &mut Lease,
) -> Began {
    note_connected(ex, cx, conn.reused());
    ex.phases.connect = ex.step_us();
    origin.connect(conn, &mut ex.upstream_spare, request.asked);
    let watched = !cx.location(ex.location).pass.ignore_client_abort && !is_for_others(ex, plan);
    if watched {
        ex.stream.watch(origin.conn.mark());
    }
    Began {
        watched,
        sent_before: request.sent,
    }
}

/// A response head has come, or will not.
pub(super) fn after_exchange(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    request: &mut Request,
    mut origin: Lease,
    (result, began): (Result<(), Failure>, Began),
) -> Next {
    match result {
        Ok(()) if answer::is_revalidation(ex, cx, origin.inbound.head.status) => {
            note_head(ex, cx, &origin);
            Next::Revalidated(origin)
        }
        Ok(()) => judge(ex, cx, plan, request, origin),
        Err(Failure::Client(flow)) => {
            abandon(ex, cx, origin);
            Next::Flow(flow)
        }
        Err(Failure::Peer(Fault::Cut, _)) => Next::Flow(client_gone(ex, cx, origin)),
        Err(Failure::Peer(fault, action)) => {
            if matches!(fault, Fault::Unprocessed) {
                // As if nothing had been sent: that much is certain.
                request.sent = began.sent_before || request.body_taken;
            }
            let flow = peer_failed(ex, cx, request, &mut origin, (fault, action));
            next(ex, flow, origin)
        }
    }
}

/// Goes on with another peer, or gives the storage back.
fn next(ex: &mut Exchange, flow: ControlFlow<Flow>, origin: Lease) -> Next {
    match flow {
        ControlFlow::Continue(()) => Next::Peer(origin),
        ControlFlow::Break(flow) => {
            origin.end(&mut ex.upstream_spare);
            Next::Flow(flow)
        }
    }
}

/// There is no connection to the peer that was picked, or no peer.
#[cold]
pub(super) fn not_reached(
    ex: &mut Exchange,
    cx: Cx<'_>,
    request: &Request,
    unreached: Unreached,
    mut origin: Lease,
) -> Next {
    if matches!(unreached, Unreached::Unarmed) {
        // As in nginx: no other peer would change that.
        return next(ex, ControlFlow::Break(Flow::Error(500)), origin);
    }
    let facts = facts(request, unreached.cause(), false, false);
    let (trouble, action) = unreached.into_trouble();
    tell(ex, cx, &trouble, action);
    let flow = give_up_or_next(ex, cx, &facts, origin.selection_mut());
    next(ex, flow, origin)
}

/// The exchange with the peer failed, through its fault.
#[cold]
fn peer_failed(
    ex: &mut Exchange,
    cx: Cx<'_>,
    request: &Request,
    origin: &mut Lease,
    (fault, action): (Fault, Action),
) -> ControlFlow<Flow> {
    let reused = origin.conn.reused();
    let unprocessed = matches!(fault, Fault::Unprocessed);
    let untouched = unprocessed || reused && is_untouched(origin, &fault);
    let facts = facts(request, cause(&fault), reused, untouched);
    end_attempt(ex, cx, origin, facts.cause.status());
    drop(origin.disconnect(&mut ex.upstream_spare, &cx.local.buffers));
    let known = matches!(fault, Fault::Refused);
    let stale = reused && untouched && facts.cause == Cause::Error;
    if !(known || stale && !request.body_taken) {
        tell(ex, cx, &trouble(fault, action), action);
    }
    give_up_or_next(ex, cx, &facts, origin.selection_mut())
}

/// Whether nobody saw a byte of the request that failed on a connection which had idled.
fn is_untouched(origin: &Origin, fault: &Fault) -> bool {
    // A broken pipe is what a FIN, not a reset, makes of a later send.
    let reset = matches!(fault, Fault::Io(e) if e.kind() != std::io::ErrorKind::BrokenPipe);
    origin.conn.shared().is_none() && origin.inbound.received() == 0 && origin.conn.untouched(reset)
}

/// Books an attempt on the peer that was picked.
pub(super) fn begin_attempt(
    ex: &mut Exchange,
    plan: &ProxyPlan,
    selection: &Selection,
    request: &Request,
    now: Mono,
) {
    let group = selection.group();
    let addr = match selection.target() {
        Some(target) => target.name.clone(),
        None => group.name.clone(),
    };
    ex.upstream_url.clear();
    ex.upstream_url.extend_from_slice(match &plan.wire {
        WirePlan::Http | WirePlan::Http2 if request.tls.is_some() => &b"https://"[..],
        WirePlan::Http | WirePlan::Http2 => b"http://",
        WirePlan::Grpc { .. } if request.tls.is_some() => b"grpcs://",
        WirePlan::Grpc { .. } => b"grpc://",
        WirePlan::FastCgi(_) => b"fastcgi://",
    });
    ex.upstream_url.extend_from_slice(&addr);
    if addr.starts_with(b"unix:") {
        ex.upstream_url.push(b':');
    }
    ex.upstream_url
        .extend_from_slice(&request.bytes[request.target.0..request.target.1]);
    ex.attempts.push(Attempt {
        group: group.id,
        peer: selection.current(),
        addr,
        started: now,
        after_redirect: std::mem::take(&mut ex.upstream_redirected),
        ..Attempt::default()
    });
}

/// What the retry policy is told.
pub(super) fn facts(
    request: &Request,
    cause: Cause,
    reused: bool,
    untouched: bool,
) -> retry::Facts {
    retry::Facts {
        cause,
        idempotent: request.idempotent,
        sent: request.sent,
        streamed: request.rest == Rest::Streamed,
        body_taken: request.body_taken,
        reused,
        untouched,
    }
}

/// What the location says of other peers.
pub(super) fn policy(ex: &Exchange, cx: Cx<'_>) -> Policy {
    let pass = &cx.location(ex.location).pass;
    Policy {
        conditions: pass.next_upstream,
        timeout: pass.next_upstream_timeout,
    }
}

/// Books a failed attempt: `Continue` to the next one, or `Break` with the answer.
pub(super) fn give_up_or_next(
    ex: &mut Exchange,
    cx: Cx<'_>,
    facts: &retry::Facts,
    selection: &mut Selection,
) -> ControlFlow<Flow> {
    let now = cx.local.clock.mono();
    let (verdict, disabled) = retry::decide(facts, policy(ex, cx), selection, now);
    if let Some(attempt) = ex.attempts.last_mut() {
        attempt.status = facts.cause.status();
        attempt
            .response_ms
            .get_or_insert_with(|| now.ms_since(attempt.started));
    }
    if disabled {
        tell(ex, cx, &Trouble::Disabled, Action::Connecting);
    }
    debug!(ex, cx, "http next upstream: {verdict:?}");
    match verdict {
        Verdict::Again => {
            // Nobody saw the request: the attempt that follows takes this one's place.
            ex.attempts.pop();
            ControlFlow::Continue(())
        }
        Verdict::Next => ControlFlow::Continue(()),
        Verdict::GiveUp(status) if ex.cached.is_some() => {
            ControlFlow::Break(answer::failed(ex, cx, facts.cause, status))
        }
        Verdict::GiveUp(status) => {
            if facts.cause == Cause::Full {
                ex.response.fields.set(Token::RETRY_AFTER, RETRY_AFTER);
            }
            ControlFlow::Break(Flow::Error(status))
        }
    }
}

/// Books that there is a connection.
fn note_connected(ex: &mut Exchange, cx: Cx<'_>, reused: bool) {
    if let Some(attempt) = ex.attempts.last_mut() {
        // A connection from the pool was there at once.
        attempt.connect_ms = Some(match reused {
            true => 0,
            false => cx.local.clock.mono().ms_since(attempt.started),
        });
    }
    if ex.debug {
        debug::attempt(ex, cx, reused);
    }
}

/// Books that a response head has come.
pub(super) fn note_head(ex: &mut Exchange, cx: Cx<'_>, origin: &Origin) {
    let now = cx.local.clock.mono();
    if let Some(attempt) = ex.attempts.last_mut() {
        attempt.status = origin.inbound.head.status;
        attempt.header_ms = Some(now.ms_since(attempt.started));
    }
    ex.phases.header = ex.step_us();
}
