//! Who a session's client is, and whether it may come in.

use super::log;
use super::session::Session;
use crate::front::accept::{self, Broken};
use crate::http::local::Cx;
use crate::net::{Addr, Stream as Socket};
use crate::plan::model::LogLevel;

/// Reads the PROXY protocol header where one is due. Returns what was received behind it; the error is a status.
pub(super) async fn proxy_header(
    session: &mut Session,
    socket: &mut Socket,
    cx: Cx<'_>,
) -> Result<Vec<u8>, u16> {
    if !session.expects_header {
        return Ok(Vec::new());
    }
    let within = cx
        .location(session.location)
        .settings
        .stream
        .proxy_protocol_timeout;
    let read = accept::proxy_header(socket, within, &cx.local.buffers).await;
    let (level, text, status) = match read {
        Ok((facts, mut bytes, len)) => {
            session.proxy = Some(facts);
            bytes.drain(..len);
            session.received = bytes.len() as u64;
            if bytes.is_empty() {
                cx.local.buffers.give(std::mem::take(&mut bytes));
            }
            return Ok(bytes);
        }
        Err(_) if socket.expired().is_some() => {
            let text = "client timed out (110: Connection timed out)";
            (LogLevel::Info, text, 200)
        }
        Err(Broken::Gone) => (LogLevel::Info, "client closed connection", 400),
        Err(Broken::Invalid) => (LogLevel::Error, "broken header", 400),
    };
    let text = format_args!("{text} while reading PROXY protocol");
    log::error(session, cx, level, text);
    Err(status)
}

/// `set_real_ip_from`: a trusted peer's header says who the client is.
pub(super) fn take_real_address(session: &mut Session, cx: Cx<'_>) {
    let access = cx.location(session.location).access.as_ref();
    let Some(realip) = access.and_then(|access| access.realip.as_ref()) else {
        return;
    };
    let named = session.proxy.as_ref().and_then(|p| p.header.addresses);
    let peer = session.peer.ip().map(|at| at.ip());
    if let Some((from, _)) = named.filter(|_| realip.trusts(peer)) {
        session.real = Some(Addr::Ip(from));
    }
}

/// `allow` and `deny`.
pub(super) fn is_forbidden(session: &Session, cx: Cx<'_>) -> bool {
    let Some(access) = &cx.location(session.location).access else {
        return false;
    };
    let denied = match session.client() {
        Addr::Ip(at) => access.rules.denies(at.ip()),
        Addr::Unix(_) => access.rules.unix,
    };
    if denied != Some(true) {
        return false;
    }
    let text = format_args!("access forbidden by rule while initializing session");
    log::error(session, cx, LogLevel::Error, text);
    true
}
