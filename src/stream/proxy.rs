//! `proxy_pass`: peers are tried until one takes the connection, then bytes go both ways until one side is done.
//! Start at [`connect()`], then [`relay`].

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::session::{Attempt, Session};
use super::{log, target, vars};
use crate::http::local::Cx;
use crate::http::log::Text;
use crate::net::connect::Options;
use crate::net::splice::{Manner, Way};
use crate::net::stream::Keepalive;
use crate::net::tunnel::{self, End, Means, Totals};
use crate::net::{Addr, Stream as Socket};
use crate::observe::tally;
use crate::plan::model::{LogLevel, SendProxy, Splicing};
use crate::plan::stream::{SessionContent, SessionPlan};
use crate::proto::proxy_protocol;
use crate::upstream::connect::{self, Unreached};
use crate::upstream::retry::Cause;
use crate::upstream::selection::{Outcome, Pick, Selection};
use crate::upstream::trouble::{Action, Trouble};

/// A session's connection to a backend.
pub(super) struct Link {
    socket: Socket,
    /// Holds the peer's slot.
    selection: Selection,
    /// What goes to the backend before the client's next byte.
    ahead: Vec<u8>,
}

/// Connects to a backend; the error is a status, and has been told.
pub(super) async fn connect(
    session: &mut Session,
    plan: &SessionPlan,
    ahead: Vec<u8>,
    cx: Cx<'_>,
) -> Result<Link, u16> {
    let mut selection = match &plan.content {
        SessionContent::Group(id) => target::in_group(session, *id, cx),
        SessionContent::Dynamic(expr) => target::by_name(session, expr, cx).await?,
        SessionContent::Return(_) => return Err(500),
    };
    let options = options(session, plan, cx);
    let began = cx.local.clock.mono();
    loop {
        let now = cx.local.clock.mono();
        let picked = selection.pick(now, cx.local.random());
        begin_attempt(session, &selection, cx);
        let opened = match picked {
            Pick::None | Pick::Full => Err(Unreached::NoLive),
            Pick::Peer(_) => connect::open(&selection, &options, &cx.local.deadlines, now).await,
        };
        let now = cx.local.clock.mono();
        let attempt = session.attempts.last_mut();
        let took = attempt.map(|attempt| (now.ms_since(attempt.started), attempt));
        match opened {
            Ok(conn) => {
                if let Some((millis, attempt)) = took {
                    attempt.connect_ms = Some(millis);
                }
                selection.connected();
                log::connected(session, &conn.stream, cx);
                return Ok(Link {
                    socket: conn.stream,
                    selection,
                    ahead: with_header(session, ahead, cx),
                });
            }
            Err(unreached) => {
                if let Some((millis, attempt)) = took {
                    attempt.session_ms = Some(millis);
                }
                let cause = unreached.cause();
                let (trouble, action) = unreached.into_trouble();
                tell(session, &trouble, action, cx);
                match cause {
                    Cause::NoLive => return Err(502),
                    Cause::Local => return Err(500),
                    _ => {}
                }
                if selection.report(Outcome::Failed, now) {
                    tell(session, &Trouble::Disabled, Action::Connecting, cx);
                }
                note_attempt(session, 0, cx);
                let stream = &cx.location(session.location).settings.stream;
                let limit = stream.proxy_next_upstream_timeout;
                let late = !limit.is_zero() && now.since(began) >= limit;
                if selection.tries_left() == 0 || !stream.proxy_next_upstream || late {
                    return Err(502);
                }
            }
        }
    }
}

fn options(session: &mut Session, plan: &SessionPlan, cx: Cx<'_>) -> Options {
    let bind = plan.bind.as_ref().and_then(|bind| {
        let mut text = Vec::new();
        vars::eval(bind, session, cx, &mut text);
        let text = String::from_utf8(text).ok()?;
        let address = text.parse::<SocketAddr>().ok();
        address.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, 0)))
    });
    let settings = &cx.location(session.location).settings;
    let stream = &settings.stream;
    Options {
        within: Some(stream.proxy_connect_timeout),
        bind,
        transparent: plan.bind_transparent,
        keepalive: stream.proxy_socket_keepalive.then(Keepalive::default),
        nodelay: settings.core.tcp_nodelay,
        sndbuf: stream.proxy_socket_sndbuf,
        rcvbuf: stream.proxy_socket_rcvbuf,
    }
}

fn begin_attempt(session: &mut Session, selection: &Selection, cx: Cx<'_>) {
    let group = selection.group();
    session.attempts.push(Attempt {
        group: group.id,
        peer: selection.current(),
        name: match selection.target() {
            Some(target) => target.name.clone(),
            None => group.name.clone(),
        },
        started: cx.local.clock.mono(),
        ..Attempt::default()
    });
}

fn tell(session: &Session, trouble: &Trouble, action: Action, cx: Cx<'_>) {
    let mut text = Vec::new();
    trouble.write(action, &mut text);
    log::error(
        session,
        cx,
        trouble.level(),
        format_args!("{}", Text(&text)),
    );
}

/// `proxy_protocol`: what a connection to a backend begins with.
fn with_header(session: &Session, ahead: Vec<u8>, cx: Cx<'_>) -> Vec<u8> {
    let stream = &cx.location(session.location).settings.stream;
    let addresses = match (session.client(), &session.local) {
        (Addr::Ip(from), Addr::Ip(to)) => Some((*from, *to)),
        _ => None,
    };
    let mut out = Vec::new();
    match stream.proxy_protocol {
        SendProxy::Off => return ahead,
        SendProxy::V1 => proxy_protocol::encode_v1(&mut out, addresses),
        SendProxy::V2 => proxy_protocol::encode_v2(&mut out, addresses),
    }
    out.extend_from_slice(&ahead);
    cx.local.buffers.give(ahead);
    out
}

/// Moves bytes until one side is done; returns the session's status.
pub(super) async fn relay(
    session: &mut Session,
    client: &mut Socket,
    link: Link,
    cx: Cx<'_>,
) -> u16 {
    let Link {
        mut socket,
        mut selection,
        ahead,
    } = link;
    let settings = &cx.location(session.location).settings;
    let within = settings.stream.proxy_timeout;
    let options = tunnel::Options {
        idle: within,
        send_up: within,
        send_down: within,
        half_close: settings.stream.proxy_half_close,
        splice: match settings.core.splice {
            Splicing::Off => Manner::Off,
            Splicing::On => Manner::On,
            Splicing::Auto => Manner::Auto,
        },
    };
    let means = Means {
        buffers: &cx.local.buffers,
        pipes: &cx.local.pipes,
    };
    let totals = Rc::<Totals>::default();
    let ahead = (ahead, Vec::new());
    let end = tunnel::relay(client, &mut socket, ahead, means, options, &totals).await;
    conclude(session, client, &totals, end, cx);
    selection.report(Outcome::Ok, cx.local.clock.mono());
    200
}

/// Books what went through and says why it is over.
fn conclude(session: &mut Session, client: &Socket, totals: &Totals, end: End, cx: Cx<'_>) {
    session.received += totals.up.received.get();
    session.sent = totals.down.sent.get();
    let now = cx.local.clock.mono();
    if let Some(attempt) = session.attempts.last_mut() {
        attempt.received = totals.down.received.get();
        attempt.sent = totals.up.sent.get();
        let answered = totals.answered.get();
        attempt.first_byte_ms = answered.map(|at| at.ms_since(attempt.started));
        attempt.session_ms = Some(now.ms_since(attempt.started));
    }
    note_attempt(session, 200, cx);
    let tell = |level, text: &str| log::error(session, cx, level, format_args!("{text}"));
    if client.cut() {
        tell(LogLevel::Info, "shutdown timeout while proxying connection");
        return;
    }
    let who = match end {
        End::Idle | End::ClientSlow => {
            let text = "connection timed out (110: Connection timed out) while proxying connection";
            return tell(LogLevel::Info, text);
        }
        End::Done => match totals.ended.get() {
            Some(Way::Down) => "upstream",
            Some(Way::Up) | None => "client",
        },
        End::ClientFailed(kind) => {
            if kind == io::ErrorKind::ConnectionReset {
                let text = "recv() failed (104: Connection reset by peer) while proxying and reading from client";
                tell(LogLevel::Info, text);
            }
            "client"
        }
        End::OriginFailed(kind) => {
            if kind == io::ErrorKind::ConnectionReset {
                let text = "recv() failed (104: Connection reset by peer) while proxying and reading from upstream";
                tell(LogLevel::Error, text);
            }
            "upstream"
        }
    };
    log::disconnected(session, who, cx);
}

/// Counts the latest attempt among those on its peer.
fn note_attempt(session: &Session, status: u16, cx: Cx<'_>) {
    let Some(attempt) = session.attempts.last() else {
        return;
    };
    if let (Some(group), Some(peer)) = (attempt.group, attempt.peer) {
        let noted = tally::Attempt {
            status,
            received: attempt.received,
            sent: attempt.sent,
            connect_ms: attempt.connect_ms,
            took_ms: attempt.session_ms.unwrap_or_default(),
        };
        cx.generation
            .sheet
            .attempt(group, peer, &attempt.name, &noted);
    }
}
