//! `stub_status`: nginx's four lines of counters, of the whole process.

use std::io::Write as _;

use super::super::exchange::{Body, Exchange};
use super::super::flow::Flow;
use super::super::local::Cx;
use crate::proto::head::Method;

/// Answers with the counters of all shards.
pub fn serve(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if !matches!(ex.method, Method::Get | Method::Head) {
        return Flow::Error(405);
    }
    let totals = cx.local.counters.totals();
    let mut body = cx.local.buffers.take(256);
    let (active, accepts, handled, requests) = (
        totals.active,
        totals.accepted,
        totals.handled,
        totals.requests,
    );
    let (reading, writing, waiting) = (totals.reading, totals.writing, totals.waiting());
    // Writing to a Vec cannot fail.
    let _ = write!(
        body,
        "Active connections: {active} \n\
         server accepts handled requests\n \
         {accepts} {handled} {requests} \n\
         Reading: {reading} Writing: {writing} Waiting: {waiting} \n"
    );
    let response = &mut ex.response;
    response.status = 200;
    response.content_type.clear();
    response.content_type.extend_from_slice(b"text/plain");
    response.content_length = Some(body.len() as u64);
    response.body = Body::Buffer(body);
    ex.discard_body = true;
    Flow::Answer
}
