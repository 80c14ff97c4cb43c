//! After 101: bytes both ways until one side has said all, or nothing moves for the time that the location allows.

use std::rc::Rc;

use super::content::proxy;
use super::exchange::{Body, Exchange};
use super::local::Cx;
use super::transfer::spliced::manner;
use super::transfer::{Facts, Transfer, decide};
use super::{log, stream_tunnel};
use crate::front::Stream;
use crate::net::splice::Manner;
use crate::net::tunnel::{self, End, Means, Options, Totals};
use crate::plan::model::{LogLevel, Splicing};
use crate::upstream::origin::Lease;

/// Whether the exchange has become a tunnel that is still to be run.
#[must_use]
pub fn is_due(ex: &Exchange) -> bool {
    matches!(ex.response.body, Body::Tunnel(_))
}

/// Runs a tunnel between the exchange's client and an origin that switched protocols, where one is due. The client's
/// connection is not used for requests again.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>) {
    let Body::Tunnel(mut origin) = std::mem::take(&mut ex.response.body) else {
        return;
    };
    let location = cx.location(ex.location);
    let (pass, core) = (&location.pass, &location.settings.core);
    ex.close = true;
    ex.stream.set_close();
    let totals = Rc::<Totals>::default();
    let facts = Facts {
        client_plain: ex.stream.is_bare(),
        origin_plain: origin.conn.is_bare(),
        origin_unframed: true,
        buffering: false,
        filtered: false,
        stored: false,
        paced: false,
        wanted: core.splice != Splicing::Off,
    };
    let splice = match decide(facts) {
        Transfer::Splice => manner(core.splice),
        Transfer::Stream | Transfer::Buffer => Manner::Off,
    };
    // Many are silent for long: what the next requests would grow into again is given up.
    ex.shrink();
    let client = ex.stream.h1_mut();
    let ahead = (
        spoken(client.take_unread(), cx),
        spoken(origin.inbound.take_surplus(), cx),
    );
    let options = Options {
        idle: pass.read_timeout,
        send_up: pass.send_timeout,
        send_down: core.send_timeout,
        // As in nginx: the end of either side ends the tunnel.
        half_close: false,
        splice,
    };
    let means = Means {
        buffers: &cx.local.buffers,
        pipes: &cx.local.pipes,
    };
    let end = tunnel::relay(
        client.socket_mut(),
        &mut origin.conn.stream,
        ahead,
        means,
        options,
        &totals,
    )
    .await;
    client.count_sent(totals.down.sent.get());
    ex.response.bytes_sent += totals.down.sent.get();
    ex.response.body_bytes_sent += totals.down.sent.get();
    end_with(ex, cx, origin, &totals, end);
}

/// What was read ahead; a buffer without anything in it is not held for the tunnel's life.
fn spoken(ahead: Vec<u8>, cx: Cx<'_>) -> Vec<u8> {
    if ahead.is_empty() {
        cx.local.buffers.give(ahead);
        return Vec::new();
    }
    ahead
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
    origin.count_sent(totals.up.sent.get());
    origin.inbound.count_tunnelled(totals.down.received.get());
    let text = match end {
        End::Done => None,
        End::Idle => Some(
            "upstream timed out (110: Connection timed out) while proxying upgraded connection",
        ),
        End::ClientSlow => {
            ex.client_timed_out = true;
            Some("client timed out (110: Connection timed out) while proxying upgraded connection")
        }
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
