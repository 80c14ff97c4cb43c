//! `mirror`: copies of a request go to other locations, and nobody reads what they answer.
//!
//! Start at [`run`].

use super::super::body;
use super::super::exchange::Exchange;
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::subrequest::{self, Entry, Spec, Wanted};
use crate::plan::location::LocationPlan;

/// Sends the copies on their way, with the body if it goes along.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>, location: &LocationPlan) -> Flow {
    if ex.is_subrequest() {
        return Flow::Next;
    }
    let with_body = location.settings.subrequests.mirror_request_body;
    if with_body {
        match body::read_all(ex, cx).await {
            Flow::Next => {}
            other => return other,
        }
    }
    let args = cx.local.buffers.take(ex.args.len());
    let args = std::mem::replace(&mut ex.args, args);
    ex.args.extend_from_slice(&args);
    let mut flow = Flow::Next;
    for uri in &location.mirrors {
        let spec = Spec {
            uri,
            args: &args,
            same_method: true,
            with_body,
            wanted: Wanted::Head,
            entry: Entry::Server,
        };
        if subrequest::detach(ex, cx, &spec).is_err() {
            flow = Flow::Error(500);
        }
    }
    cx.local.buffers.give(args);
    flow
}
