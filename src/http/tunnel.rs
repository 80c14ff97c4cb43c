//! After 101: bytes both ways until one side has said all, or nothing moves for the time that the location allows.

use super::content::proxy;
use super::exchange::Exchange;
use super::local::Cx;
use super::{log, stream_tunnel};
use crate::front::Stream;
use crate::net::tunnel::{self, End, Options, Totals};
use crate::plan::model::LogLevel;
use crate::upstream::origin::Lease;

/// Runs a tunnel between the exchange's client and an origin that switched protocols. The client's connection is
/// not used for requests again.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) {
    let pass = &cx.location(ex.location).pass;
    ex.close = true;
    ex.stream.set_close();
    let totals = Totals::default();
    let client = ex.stream.h1_mut();
    let ahead = (client.take_unread(), origin.inbound.take_surplus());
    let options = Options {
        idle: pass.read_timeout,
        half_close: false,
    };
    let end = tunnel::relay(
        client.socket_mut(),
        &mut origin.conn.stream,
        ahead,
        &cx.local.buffers,
        options,
        &totals,
    )
    .await;
    client.count_sent(totals.down.get());
    end_with(ex, cx, origin, &totals, end);
}

/// As [`run`], where the client is a stream of HTTP/2: its connection goes on.
pub async fn run_stream(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) {
    let idle = cx.location(ex.location).pass.read_timeout;
    let totals = Totals::default();
    let Stream::H2(client) = &mut ex.stream else {
        return;
    };
    let ahead = origin.inbound.take_surplus();
    let end = stream_tunnel::relay(
        client,
        &mut origin.conn.stream,
        ahead,
        &cx.local.buffers,
        idle,
        &totals,
    )
    .await;
    end_with(ex, cx, origin, &totals, end);
}

/// Books what went through and says why it is over.
fn end_with(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease, totals: &Totals, end: End) {
    origin.count_sent(totals.up.get());
    origin.inbound.count_tunnelled(totals.down.get());
    let text = match end {
        End::Done => None,
        End::Idle => Some(
            "upstream timed out (110: Connection timed out) while proxying upgraded connection",
        ),
        End::ClientFailed(_) => Some("client closed connection while proxying upgraded connection"),
        End::OriginFailed(_) => {
            Some("upstream closed connection while proxying upgraded connection")
        }
    };
    if let Some(text) = text {
        let level = if end == End::Idle {
            LogLevel::Error
        } else {
            LogLevel::Info
        };
        log::error(ex, cx, level, format_args!("{text}"));
    }
    proxy::finish(ex, cx, origin);
}
