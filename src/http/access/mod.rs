//! Stage 5: may this request be served? Limits, addresses, passwords; in nginx's order.
//!
//! Nothing is checked yet: directives of this stage are refused when a configuration is loaded, so that
//! no rule is ever ignored. Start at [`run`].

use super::exchange::Exchange;
use super::flow::Flow;
use super::local::Cx;

/// Runs the checks of the location that the exchange is in.
#[expect(
    clippy::unused_async,
    reason = "limits delay requests and passwords are read from files"
)]
pub async fn run(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let _ = (ex, cx);
    Flow::Next
}
