//! Values of the variables of a session. Start at [`eval`] and [`value`].
//!
//! Differs from nginx: what a `map` and its like make is looked up whenever it is asked for, not kept for the session.

use std::io::Write as _;
use std::net::IpAddr;

use super::session::{Attempt, Session};
use crate::base::{cidr, time};
use crate::http::local::Cx;
use crate::net::Addr;
use crate::plan::expr::{Expr, Family, Part, Var};
use crate::plan::regex::{Captures, Regex};
use crate::plan::stream::SessionVar as V;
use crate::plan::{GeoId, MapId, SlotId, SplitId};

/// Variables that may be evaluated inside each other before it is taken for a cycle, as in nginx.
const DEPTH_MAX: u8 = 100;

/// What patterns matched in a session; empty where there are none.
#[derive(Default)]
pub(super) struct Matches {
    latest: Option<Box<Match>>,
    /// Named groups.
    named: Vec<(SlotId, Vec<u8>)>,
    depth: u8,
}

struct Match {
    subject: Vec<u8>,
    captures: Captures,
    count: usize,
}

impl Matches {
    /// Appends `$1` … `$9` of the latest match.
    pub(super) fn capture(&self, number: u8, out: &mut Vec<u8>) {
        if let Some(latest) = &self.latest
            && usize::from(number) < latest.count
        {
            let (start, end) = latest.captures[usize::from(number)];
            out.extend_from_slice(&latest.subject[start as usize..end as usize]);
        }
    }

    fn keep(&mut self, regex: &Regex, count: usize, captures: &Captures, subject: &[u8]) {
        for &(slot, group) in regex.slots() {
            let (start, end) = captures
                .get(usize::from(group))
                .copied()
                .unwrap_or_default();
            let text = subject[start as usize..end as usize].to_vec();
            self.named.retain(|(known, _)| *known != slot);
            self.named.push((slot, text));
        }
        self.latest = Some(Box::new(Match {
            subject: subject.to_vec(),
            captures: *captures,
            count,
        }));
    }
}

/// Appends the value of an expression; a variable without a value adds nothing.
pub(super) fn eval(expr: &Expr, session: &mut Session, cx: Cx<'_>, out: &mut Vec<u8>) {
    for part in &expr.parts {
        match part {
            Part::Lit(text) => out.extend_from_slice(text),
            Part::Capture(number) => session.matches.capture(*number, out),
            Part::Var(var) => {
                value(*var, session, cx, out);
            }
        }
    }
}

/// Appends the value of a variable; false when it has none, which logs show as `-`.
pub(super) fn value(var: Var, session: &mut Session, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    match var {
        Var::Session(var) => own(var, session, cx, out),
        Var::Named(Family::ProxyProtocolTlv, index) => tlv(index, session, cx, out),
        // Only requests have these.
        Var::Builtin(_) | Var::Named(..) => false,
        Var::Slot(slot) => slot_value(slot, session, cx, out),
        Var::Map(_) | Var::Geo(_) | Var::Split(_) => {
            if session.matches.depth >= DEPTH_MAX {
                return false;
            }
            session.matches.depth += 1;
            match var {
                Var::Map(id) => map(id, session, cx, out),
                Var::Geo(id) => geo(id, session, cx, out),
                Var::Split(id) => split(id, session, cx, out),
                _ => {}
            }
            session.matches.depth -= 1;
            true
        }
    }
}

fn slot_value(slot: SlotId, session: &mut Session, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let named = &session.matches.named;
    if let Some((_, text)) = named.iter().find(|(known, _)| *known == slot) {
        out.extend_from_slice(text);
        return true;
    }
    match cx.plan.slots[slot].fallback {
        Some(var) => value(var, session, cx, out),
        None => false,
    }
}

fn map(id: MapId, session: &mut Session, cx: Cx<'_>, out: &mut Vec<u8>) {
    let plan = &cx.plan.maps[id];
    let mut key = cx.local.buffers.take(64);
    eval(&plan.source, session, cx, &mut key);
    let mut captures = Captures::default();
    let found = plan.find(&key, &mut captures);
    if let Some((regex, count)) = found.regex {
        session.matches.keep(regex, count, &captures, &key);
    }
    cx.local.buffers.give(key);
    eval(found.value, session, cx, out);
}

fn geo(id: GeoId, session: &mut Session, cx: Cx<'_>, out: &mut Vec<u8>) {
    let plan = &cx.plan.geos[id];
    let addr = match &plan.source {
        None => session.client().ip().map(|at| at.ip()),
        Some(source) => {
            let mut text = cx.local.buffers.take(64);
            eval(source, session, cx, &mut text);
            let addr = cidr::parse_ip(&text);
            cx.local.buffers.give(text);
            addr
        }
    };
    out.extend_from_slice(plan.find(addr));
}

fn split(id: SplitId, session: &mut Session, cx: Cx<'_>, out: &mut Vec<u8>) {
    let plan = &cx.plan.splits[id];
    let mut key = cx.local.buffers.take(64);
    eval(&plan.source, session, cx, &mut key);
    out.extend_from_slice(plan.find(&key));
    cx.local.buffers.give(key);
}

fn tlv(index: u32, session: &Session, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let name = &cx.plan.family_names[index as usize].name;
    let header = session.proxy.as_ref().map(|facts| &facts.header);
    match header.and_then(|header| header.tlv_named(name)) {
        Some(text) => {
            out.extend_from_slice(&text);
            true
        }
        None => false,
    }
}

fn own(var: V, session: &Session, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    match var {
        V::BinaryRemoteAddr => match session.client() {
            Addr::Ip(at) => match at.ip() {
                IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
            },
            Addr::Unix(_) => out.extend_from_slice(b"unix:"),
        },
        V::RemoteAddr => host(session.client(), out),
        V::RemotePort => port(session.client(), out),
        V::RealipRemoteAddr => host(&session.peer, out),
        V::RealipRemotePort => port(&session.peer, out),
        V::ServerAddr => host(&session.local, out),
        V::ServerPort => port(&session.local, out),
        V::ServerName => out.extend_from_slice(&cx.plan.servers[session.server].name),
        V::ProxyProtocolAddr
        | V::ProxyProtocolPort
        | V::ProxyProtocolServerAddr
        | V::ProxyProtocolServerPort => return header(var, session, out),
        V::BytesReceived => number(session.received, out),
        V::BytesSent => number(session.sent, out),
        V::Connection => number(session.number, out),
        V::Protocol => out.extend_from_slice(b"TCP"),
        // Writing to a Vec cannot fail, here and below.
        V::Status => _ = write!(out, "{:03}", session.status),
        V::SessionTime => seconds(cx.local.clock.mono().ms_since(session.started), out),
        V::Hostname => out.extend_from_slice(&cx.plan.hostname),
        V::NginxVersion => {
            let full = &cx.plan.server_token.full;
            let at = memchr::memchr(b'/', full).map_or(0, |at| at + 1);
            out.extend_from_slice(&full[at..]);
        }
        V::Pid => number(std::process::id().into(), out),
        V::Msec | V::TimeIso8601 | V::TimeLocal => moment(var, cx, out),
        V::UpstreamAddr
        | V::UpstreamBytesReceived
        | V::UpstreamBytesSent
        | V::UpstreamConnectTime
        | V::UpstreamFirstByteTime
        | V::UpstreamSessionTime => return upstream(var, &session.attempts, out),
        V::Absent => return false,
    }
    true
}

/// What the PROXY protocol header says; empty where it names no addresses.
fn header(var: V, session: &Session, out: &mut Vec<u8>) -> bool {
    let Some(facts) = &session.proxy else {
        return false;
    };
    if let Some((from, to)) = facts.header.addresses {
        let (from, to) = (Addr::Ip(from), Addr::Ip(to));
        match var {
            V::ProxyProtocolAddr => host(&from, out),
            V::ProxyProtocolPort => port(&from, out),
            V::ProxyProtocolServerAddr => host(&to, out),
            _ => port(&to, out),
        }
    }
    true
}

fn moment(var: V, cx: Cx<'_>, out: &mut Vec<u8>) {
    let clock = &cx.local.clock;
    let now = clock.unix();
    match var {
        V::Msec => seconds(now.secs.unsigned_abs() * 1000 + u64::from(now.millis), out),
        V::TimeLocal => out.extend_from_slice(&time::log_local(now.secs, clock.offset(now))),
        _ => out.extend_from_slice(&time::log_iso8601(now.secs, clock.offset(now))),
    }
}

/// One value for each backend that was tried.
fn upstream(var: V, attempts: &[Attempt], out: &mut Vec<u8>) -> bool {
    for (i, attempt) in attempts.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        let time = match var {
            V::UpstreamAddr => {
                out.extend_from_slice(&attempt.name);
                continue;
            }
            V::UpstreamBytesReceived => {
                number(attempt.received, out);
                continue;
            }
            V::UpstreamBytesSent => {
                number(attempt.sent, out);
                continue;
            }
            V::UpstreamConnectTime => attempt.connect_ms,
            V::UpstreamFirstByteTime => attempt.first_byte_ms,
            _ => attempt.session_ms,
        };
        match time {
            Some(millis) => seconds(millis, out),
            None => out.push(b'-'),
        }
    }
    !attempts.is_empty()
}

/// An address without its port.
fn host(addr: &Addr, out: &mut Vec<u8>) {
    match addr {
        Addr::Ip(at) => _ = write!(out, "{}", at.ip()),
        Addr::Unix(path) => {
            out.extend_from_slice(b"unix:");
            out.extend_from_slice(path);
        }
    }
}

fn port(addr: &Addr, out: &mut Vec<u8>) {
    if let Addr::Ip(at) = addr
        && at.port() != 0
    {
        number(at.port().into(), out);
    }
}

fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Milliseconds as seconds with three decimals.
fn seconds(millis: u64, out: &mut Vec<u8>) {
    let _ = write!(out, "{}.{:03}", millis / 1000, millis % 1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_listed_in_order() {
        let attempts = [
            Attempt {
                name: "127.0.0.1:1".into(),
                session_ms: Some(5),
                ..Attempt::default()
            },
            Attempt {
                name: "unix:/s".into(),
                connect_ms: Some(1234),
                first_byte_ms: Some(1240),
                session_ms: Some(2000),
                received: 7,
                sent: 9,
                ..Attempt::default()
            },
        ];
        for (var, want) in [
            (V::UpstreamAddr, "127.0.0.1:1, unix:/s"),
            (V::UpstreamConnectTime, "-, 1.234"),
            (V::UpstreamFirstByteTime, "-, 1.240"),
            (V::UpstreamSessionTime, "0.005, 2.000"),
            (V::UpstreamBytesReceived, "0, 7"),
            (V::UpstreamBytesSent, "0, 9"),
        ] {
            let mut out = Vec::new();
            assert!(upstream(var, &attempts, &mut out));
            assert_eq!(String::from_utf8(out).unwrap(), want, "{var:?}");
        }
        assert!(!upstream(V::UpstreamAddr, &[], &mut Vec::new()));
    }
}
