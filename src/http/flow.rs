//! The pipeline in one screen: every request passes through [`serve`].

use std::rc::Rc;

use super::debug::{self, debug};
use super::exchange::Exchange;
use super::local::{Cx, Generation, Local};
use super::{
    access, aftermath, body, content, error, filter, log, rewrite, route, tally, transfer, tunnel,
};
use crate::front::Refusal;
use crate::plan::LocationId;

/// What a stage decided. nginx's OK, DECLINED and AGAIN, with the waiting left to `await`.
#[derive(Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the next stage.
    Next,
    /// Find a location again.
    Reroute(Reroute),
    /// `exchange.response` holds the answer: filter and send it.
    Answer,
    /// Make the error answer of this status; `error_page` applies.
    Error(u16),
    /// Close the connection without another byte (444, a client that left).
    Close,
}

/// How the location is found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reroute {
    /// `rewrite … last`: by `exchange.uri`.
    Uri,
    /// An internal redirect: the server's rewrite rules run again first.
    Redirect,
    /// A named location, whose URI stays as it is.
    Named(LocationId),
}

/// Serves one exchange from decoded head to log line. The head may already be refused: then only
/// the error answer and the log line are made.
pub async fn serve(
    mut exchange: Box<Exchange>,
    refused: Option<Refusal>,
    generation: Rc<Generation>,
    local: Rc<Local>,
) -> Box<Exchange> {
    let cx = Cx::new(&generation, &local);
    let ex = &mut *exchange;
    ex.phases.head = ex.step_us();
    if settle(ex, refused, cx).await {
        transfer::send(ex, cx).await;
    } else {
        ex.close = true;
    }
    if !tunnel::is_due(ex) {
        if aftermath::is_due(ex, cx) {
            Box::pin(aftermath::run(ex, cx)).await;
        }
        conclude(ex, cx);
    }
    exchange
}

/// What follows an answer: books it and writes its log line.
fn conclude(ex: &mut Exchange, cx: Cx<'_>) {
    if ex.debug {
        debug::end(ex, cx);
    }
    tally::note(ex, cx);
    log::line(ex, cx);
}

/// Runs the tunnel that [`serve`] has left behind, and ends its exchange. Small beside [`serve`], because a tunnel
/// lasts and thousands of them may be silent.
pub async fn tunnel(
    mut exchange: Box<Exchange>,
    generation: Rc<Generation>,
    local: Rc<Local>,
) -> Box<Exchange> {
    let cx = Cx::new(&generation, &local);
    tunnel::run(&mut exchange, cx).await;
    if aftermath::is_due(&exchange, cx) {
        Box::pin(aftermath::run(&mut exchange, cx)).await;
    }
    conclude(&mut exchange, cx);
    exchange
}

/// Stages 3 to 7: `exchange.response` is what will be sent; false when the connection ends without an answer.
pub async fn settle(ex: &mut Exchange, refused: Option<Refusal>, cx: Cx<'_>) -> bool {
    let flow = match refused {
        None => route::begin(ex, cx).await,
        Some(why) => route::refuse(ex, cx, why),
    };
    go_on(ex, flow, cx).await
}

/// From any stage to an answer.
pub(super) async fn go_on(ex: &mut Exchange, mut flow: Flow, cx: Cx<'_>) -> bool {
    loop {
        flow = match flow {
            Flow::Next => in_location(ex, cx).await,
            Flow::Reroute(to) => route::reroute(ex, cx, to).await,
            Flow::Error(status) => {
                let (uri, args) = (log::Text(&ex.uri), log::Text(&ex.args));
                debug!(ex, cx, "http special response: {status}, \"{uri}?{args}\"");
                error::answer(ex, cx, status)
            }
            Flow::Answer if body::is_malformed(ex, cx) => Flow::Error(400),
            Flow::Answer => match answer(ex, cx) {
                Flow::Answer => return true,
                other => other,
            },
            Flow::Close => return false,
        };
    }
}

/// Stage 7, which also tells the client that a draining shard takes no further request of it.
fn answer(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    ex.close |= cx.local.draining.get();
    if ex.stream.is_connect() && matches!(ex.response.status, 200..=299) {
        // Whoever asks for a tunnel would take the body of any success for its first bytes (RFC 8441 §5).
        return Flow::Error(501);
    }
    filter::head(ex, cx)
}

/// Stages 4 to 6, in the location that was just found.
async fn in_location(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    // What has nothing to do here is not even begun: an async call costs more than the test.
    if rewrite::is_due(ex, cx) {
        match rewrite::location(ex, cx).await {
            Flow::Next => {}
            other => return other,
        }
    }
    if access::is_due(ex, cx) {
        match access::run(ex, cx).await {
            Flow::Next => {}
            other => return other,
        }
    }
    content::run(ex, cx).await
}
