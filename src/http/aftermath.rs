//! What follows an answer before the request is over and logged: `post_action`, and subrequests that nobody reads.
//!
//! The client has its answer; its connection takes the next request when this is done, as in nginx. Start at [`run`].

use super::content::proxy;
use super::exchange::{Body, Exchange};
use super::flow::{self, Flow, Reroute};
use super::local::Cx;
use super::{route, subrequest};
use crate::front::Stream;
use crate::front::inner::{Behind, Inner};

/// Closed by a rule, without an answer.
const CLOSED: u16 = 444;

/// Whether anything follows.
#[must_use]
pub fn is_due(ex: &Exchange, cx: Cx<'_>) -> bool {
    ex.background.is_some() || cx.location(ex.location).post_action.is_some()
}

/// Does what follows.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>) {
    if ex.response.status != CLOSED
        && let Some(target) = &cx.location(ex.location).post_action
    {
        post_action(ex, cx, target).await;
    }
    subrequest::outlast(ex).await;
}

/// Sends the request to another location, whose answer nobody gets.
///
/// Differs from nginx: a location that is reached so has no `post_action` of its own; nginx goes round in circles where
/// one is inherited, until it takes notice.
async fn post_action(ex: &mut Exchange, cx: Cx<'_>, target: &[u8]) {
    let nobody = Stream::Inner(Box::new(Inner::new(None, Behind::Nobody)));
    let stream = std::mem::replace(&mut ex.stream, nobody);
    ex.error_page = false;
    ex.status_override = 0;
    let flow = if target.starts_with(b"/") {
        ex.uri.clear();
        ex.uri.extend_from_slice(target);
        ex.args.clear();
        Flow::Reroute(Reroute::Redirect)
    } else {
        route::named(ex, cx, target)
    };
    flow::go_on(ex, flow, cx).await;
    match std::mem::take(&mut ex.response.body) {
        Body::Origin(origin) => proxy::finish_unread(ex, cx, origin),
        Body::Tunnel(origin) => proxy::abandon(ex, cx, origin),
        Body::Slices(mut slices) => slices.end_unread(ex, cx),
        Body::Stored(stored) => stored.abandon(ex, cx),
        Body::Buffer(bytes) => cx.local.buffers.give(bytes),
        Body::Empty | Body::Static(_) | Body::File { .. } | Body::Parts(_) => {}
    }
    ex.stream = stream;
}
