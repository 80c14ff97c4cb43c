//! Whom a session goes to: a group of the plan, or what an address with variables says.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use bytes::Bytes;

use super::log;
use super::session::Session;
use super::vars;
use crate::http::local::Cx;
use crate::http::log::Text;
use crate::plan::expr::Expr;
use crate::plan::model::LogLevel;
use crate::plan::{GroupId, Method, PeerAddr};
use crate::upstream::balance::Key;
use crate::upstream::group::Group;
use crate::upstream::selection::Selection;

/// An address that was evaluated for one session.
#[derive(Debug, PartialEq, Eq)]
enum Address<'a> {
    Unix(&'a [u8]),
    /// A name or an address; the port where one is written.
    Host(&'a [u8], Option<u16>),
}

fn tries_max(session: &Session, cx: Cx<'_>) -> u32 {
    let stream = &cx.location(session.location).settings.stream;
    u32::try_from(stream.proxy_next_upstream_tries).unwrap_or(u32::MAX)
}

/// Starts a session's way through a group of the plan.
pub(super) fn in_group(session: &mut Session, id: GroupId, cx: Cx<'_>) -> Selection {
    let tries = tries_max(session, cx);
    let now = cx.local.clock.mono();
    let groups = &cx.generation.groups;
    match &cx.plan.groups[id].method {
        Method::Hash(expr) | Method::Consistent(expr) => {
            let mut key = cx.local.buffers.take(0);
            vars::eval(expr, session, cx, &mut key);
            let selection = groups.begin(id, Key::Text(&key), tries, now);
            cx.local.buffers.give(key);
            selection
        }
        _ => groups.begin(id, Key::None, tries, now),
    }
}

/// Starts it from an address with variables: the name of a group, an address, or a name to resolve. The error is a
/// status, and has been told.
pub(super) async fn by_name(
    session: &mut Session,
    expr: &Expr,
    cx: Cx<'_>,
) -> Result<Selection, u16> {
    let mut text = Vec::new();
    vars::eval(expr, session, cx, &mut text);
    let (host, port) = match parse(&text) {
        Err(problem) => {
            let text = format_args!("{problem} in upstream \"{}\"", Text(&text));
            log::error(session, cx, LogLevel::Error, text);
            return Err(500);
        }
        Ok(Address::Unix(path)) => {
            let peer = PeerAddr::Unix(PathBuf::from(OsStr::from_bytes(path)));
            return Ok(alone(session, &text, &[peer], cx));
        }
        Ok(Address::Host(host, port)) => (host, port),
    };
    if let Some(id) = cx.plan.stream_index.find(host, port, 0) {
        return Ok(in_group(session, id, cx));
    }
    let Some(port) = port else {
        let text = format_args!("no port in upstream \"{}\"", Text(host));
        log::error(session, cx, LogLevel::Error, text);
        return Err(500);
    };
    let bare = host.strip_prefix(b"[").and_then(|h| h.strip_suffix(b"]"));
    let location = cx.location(session.location);
    let within = location.settings.core.resolver_timeout;
    let resolvers = &cx.generation.resolvers;
    let name = bare.unwrap_or(host);
    match resolvers.resolve(location.resolver, name, within).await {
        Ok(found) => {
            let peer = |ip| PeerAddr::Tcp(SocketAddr::new(ip, port));
            let peers: Vec<_> = found.into_iter().map(peer).collect();
            Ok(alone(session, &text, &peers, cx))
        }
        Err(error) => {
            let mut said = Vec::new();
            error.write(name, &mut said);
            let text = format_args!("{}", Text(&said));
            log::error(session, cx, LogLevel::Error, text);
            Err(500)
        }
    }
}

/// A group for this session alone.
fn alone(session: &Session, name: &[u8], peers: &[PeerAddr], cx: Cx<'_>) -> Selection {
    let group = Group::of_targets(Bytes::copy_from_slice(name), peers.iter().cloned());
    let tries = tries_max(session, cx);
    Selection::new(group, Key::None, tries, cx.local.clock.mono())
}

/// Takes `host`, `host:port`, `[v6]:port` or `unix:/path` apart. The error is nginx's word for it.
fn parse(text: &[u8]) -> Result<Address<'_>, &'static str> {
    if text.len() >= 5 && text[..5].eq_ignore_ascii_case(b"unix:") {
        return match &text[5..] {
            [] => Err("no path in the unix domain socket"),
            path => Ok(Address::Unix(path)),
        };
    }
    let brackets = match text {
        [b'[', ..] => memchr::memchr(b']', text).ok_or("invalid host")? + 1,
        _ => 0,
    };
    if text[brackets..].iter().any(|b| matches!(b, b'/' | b'?')) {
        return Err("invalid host");
    }
    let (host, port) = match memchr::memchr(b':', &text[brackets..]) {
        None => (text, None),
        Some(at) => {
            let (host, rest) = text.split_at(brackets + at);
            let digits = &rest[1..];
            let port = std::str::from_utf8(digits).ok();
            let plain = digits.iter().all(u8::is_ascii_digit);
            let port = port.filter(|_| plain).and_then(|text| text.parse().ok());
            (host, Some(port.filter(|&p| p != 0).ok_or("invalid port")?))
        }
    };
    match host {
        b"" | b"[]" => Err("no host"),
        _ => Ok(Address::Host(host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let cases: &[(&[u8], Result<Address<'_>, &str>)] = &[
            (b"a:81", Ok(Address::Host(b"a", Some(81)))),
            (b"app", Ok(Address::Host(b"app", None))),
            (b"[::1]:81", Ok(Address::Host(b"[::1]", Some(81)))),
            (b"[::1]", Ok(Address::Host(b"[::1]", None))),
            (b"unix:/a:b", Ok(Address::Unix(b"/a:b"))),
            (b"UNIX:/s", Ok(Address::Unix(b"/s"))),
            (b"unix:", Err("no path in the unix domain socket")),
            (b"", Err("no host")),
            (b":80", Err("no host")),
            (b"a:", Err("invalid port")),
            (b"a:0", Err("invalid port")),
            (b"a:+1", Err("invalid port")),
            (b"a:99999", Err("invalid port")),
            (b"a/b:80", Err("invalid host")),
            (b"[::1", Err("invalid host")),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text), *want, "{}", String::from_utf8_lossy(text));
        }
    }
}
