//! One health check of one peer: a request made by the settings of a location, on a connection of its own, and its
//! answer judged. Knows neither when to ask nor what follows. Start at [`run`].

use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;

use super::super::super::exchange::{Exchange, RequestBody};
use super::super::super::local::{Cx, Lent};
use super::super::super::vars;
use super::faults::trouble;
use super::{Failure, Request, begin_attempt, build, note_head, open, send, target, tls};
use crate::base::time::Mono;
use crate::front::inner::{Behind, Inner};
use crate::front::{ConnInfo, Stream};
use crate::plan::PeerAddr;
use crate::plan::health::{CheckPlan, Unfit, Wanted};
use crate::plan::location::{Content, ProxyPlan};
use crate::proto::head::Method;
use crate::proto::tokens::Token;
use crate::upstream::balance::Key;
use crate::upstream::connect::{self, Unreached};
use crate::upstream::group::Group;
use crate::upstream::origin::{Fault, Lease, Link, Step, Wire};
use crate::upstream::pool::Conn;
use crate::upstream::selection::{Outcome, Pick, Selection};
use crate::upstream::trouble::{Action, Trouble};

/// Bytes of a body that are looked at, as in nginx.
const BODY_BYTES_MAX: usize = 256 << 10;

/// Bytes that are received at a time.
const RECV_BYTES: usize = 16 << 10;

/// gRPC's method for health checks.
const GRPC_PATH: &[u8] = b"/grpc.health.v1.Health/Check";

/// The service is well, in an answer to that.
const GRPC_SERVING: &[u8] = &[8, 1];

/// Why a peer did not pass.
#[derive(Debug)]
pub enum Bad {
    /// There was no good answer.
    Trouble(Trouble, Action),
    /// The answer is not as it should be.
    Unfit(Unfit),
    /// It could not be asked, which is not its fault.
    Ours,
}

/// Asks a peer once. A connection that may be used again is left in `kept`.
pub async fn run(
    cx: Cx<'_>,
    check: &CheckPlan,
    (addr, name): (&PeerAddr, &Bytes),
    kept: &mut Option<Box<Conn>>,
) -> Result<(), Bad> {
    let Content::Proxy(plan) = &cx.location(check.location).content else {
        return Err(Bad::Ours);
    };
    let mut ex = exchange(cx, check);
    let mut request = ask(&mut ex, cx, check, plan)?;
    let now = cx.local.clock.mono();
    if let Some(mut conn) = kept.take()
        && is_young(&conn, check, now)
    {
        let selection = choose(addr, name, now)?;
        conn.reused = true;
        conn.requests += 1;
        let link = Link::Own(conn);
        begin_attempt(&mut ex, plan, &selection, &request, now);
        match attempt(&mut ex, cx, (check, plan), &mut request, (link, selection)).await {
            // It may have closed meanwhile: that is told by a new one.
            Err(Bad::Trouble(..)) => ex.attempts.clear(),
            other => return settled(other, kept),
        }
    }
    let mut selection = choose(addr, name, now)?;
    begin_attempt(&mut ex, plan, &selection, &request, now);
    let opened = open(&mut ex, cx, plan, &request, &selection, now).await;
    let link = match (opened, request.asked.wire) {
        (Ok(conn), Wire::Http2 { .. }) => {
            let (pool, lent) = (&cx.generation.pool, Lent(cx.local.clone()));
            let deadlines = &cx.local.deadlines;
            let handle = connect::speak_h2(*conn, pool, check.location, deadlines, lent);
            handle.map(|handle| Link::Shared(Box::new(handle)))
        }
        (opened, _) => opened.map(Link::Own),
    };
    match link {
        Ok(link) => {
            let parts = (link, selection);
            settled(
                attempt(&mut ex, cx, (check, plan), &mut request, parts).await,
                kept,
            )
        }
        Err(unreached) => {
            selection.report(Outcome::Ok, now);
            match unreached {
                Unreached::Local(_) | Unreached::Unarmed => Err(Bad::Ours),
                other => {
                    let (trouble, action) = other.into_trouble();
                    Err(Bad::Trouble(trouble, action))
                }
            }
        }
    }
}

/// Keeps what may be used again.
fn settled(
    result: Result<Option<Box<Conn>>, Bad>,
    kept: &mut Option<Box<Conn>>,
) -> Result<(), Bad> {
    *kept = result?;
    Ok(())
}

fn is_young(conn: &Conn, check: &CheckPlan, now: Mono) -> bool {
    let age = u128::from(now.ms_since(conn.created));
    check
        .keepalive_time
        .is_some_and(|time| age < time.as_millis())
}

/// A way that leads to this peer alone.
fn choose(addr: &PeerAddr, name: &Bytes, now: Mono) -> Result<Selection, Bad> {
    let group = Group::of_targets(name.clone(), std::iter::once(addr.clone()));
    let mut selection = Selection::new(group, Key::None, 1, now);
    match selection.pick(now, 0) {
        Pick::Peer(_) => Ok(selection),
        Pick::None | Pick::Full => Err(Bad::Ours),
    }
}

/// An exchange that no client began.
fn exchange(cx: Cx<'_>, check: &CheckPlan) -> Box<Exchange> {
    let conn = Rc::new(ConnInfo::nobody(cx.local.clock.mono()));
    let mut ex = Box::new(Exchange::new(conn));
    ex.stream = Stream::Inner(Box::new(Inner::new(None, Behind::Nobody)));
    ex.location = check.location;
    ex.server = cx.location(check.location).server;
    ex.host.extend_from_slice(&cx.plan.servers[ex.server].name);
    ex.started = cx.local.clock.mono();
    ex.method = Method::Get;
    ex.body = RequestBody::Gone;
    ex.target_unchanged = false;
    ex
}

/// Makes the request.
fn ask(ex: &mut Exchange, cx: Cx<'_>, check: &CheckPlan, plan: &ProxyPlan) -> Result<Request, Bad> {
    let mut uri = &check.uri[..];
    if let Wanted::Grpc { service, .. } = &check.wanted {
        uri = GRPC_PATH;
        ex.method = Method::Post;
        let fields = &mut ex.head.fields;
        fields.push_token(Token::CONTENT_TYPE, b"application/grpc");
        fields.push_token(Token::TE, b"trailers");
        ex.body = RequestBody::Memory(grpc_request(service));
    }
    let (path, args) = match memchr::memchr(b'?', uri) {
        Some(at) => (&uri[..at], &uri[at + 1..]),
        None => (uri, &b""[..]),
    };
    ex.uri.extend_from_slice(path);
    ex.args.extend_from_slice(args);
    // What is asked for is asked for as it is, whatever the location's own URI would become.
    let url = [b"http://check", uri].concat();
    let dynamic = target::Dynamic::parse(url).ok_or(Bad::Ours)?;
    let mut request = build(ex, cx, plan, Some(&dynamic), false).map_err(|_| Bad::Ours)?;
    if plan.secure {
        let h2 = matches!(request.asked.wire, Wire::Http2 { .. });
        request.tls = tls::dial(ex, cx, plan, h2);
    }
    Ok(request)
}

/// A message of gRPC that asks for a service.
fn grpc_request(service: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut len = service.len();
        while len > 127 {
            message.push(len as u8 | 0x80);
            len >>= 7;
        }
        message.push(len as u8);
        message.extend_from_slice(service);
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

/// Sends the request and judges the answer.
async fn attempt(
    ex: &mut Exchange,
    cx: Cx<'_>,
    (check, plan): (&CheckPlan, &ProxyPlan),
    request: &mut Request,
    (link, selection): (Link, Selection),
) -> Result<Option<Box<Conn>>, Bad> {
    let mut origin = Lease::take(&mut ex.upstream_spare);
    origin.begin(selection);
    origin.connect(link, &mut ex.upstream_spare, request.asked);
    let asked = match request.asked.wire {
        Wire::Http2 { .. } => super::http2::exchange(ex, cx, plan, request, &mut origin).await,
        _ => send::exchange(ex, cx, plan, request, &mut origin).await,
    };
    match asked {
        Ok(()) => {}
        Err(Failure::Client(_)) => return Err(Bad::Ours),
        Err(Failure::Peer(fault, action)) => {
            return Err(Bad::Trouble(trouble(fault, action), action));
        }
    }
    note_head(ex, cx, &origin);
    judge(ex, cx, check, &mut origin).await?;
    let reusable = check.keepalive_time.is_some() && {
        super::skim(&mut origin);
        origin.is_reusable()
    };
    let link = origin.disconnect(&mut ex.upstream_spare, &cx.local.buffers);
    let now = cx.local.clock.mono();
    origin.selection_mut().report(Outcome::Ok, now);
    origin.end(&mut ex.upstream_spare);
    Ok(match link {
        Link::Own(conn) if reusable => Some(conn),
        _ => None,
    })
}

async fn judge(
    ex: &mut Exchange,
    cx: Cx<'_>,
    check: &CheckPlan,
    origin: &mut Lease,
) -> Result<(), Bad> {
    let status = origin.inbound.head.status;
    match &check.wanted {
        Wanted::Usual if (200..400).contains(&status) => Ok(()),
        Wanted::Usual => Err(Bad::Unfit(Unfit::Status)),
        Wanted::Match(wanted) => {
            let fields = &origin.inbound.head.fields;
            wanted.judge(status, fields).map_err(Bad::Unfit)?;
            if wanted.body.is_some() {
                let body = read(ex, cx, origin).await?;
                wanted.judge_body(&body).map_err(Bad::Unfit)?;
            }
            ex.upstream_fields.clone_from(&origin.inbound.head.fields);
            let holds = |expr| vars::any_true(std::slice::from_ref(expr), ex, cx);
            match wanted.require.iter().all(holds) {
                true => Ok(()),
                false => Err(Bad::Unfit(Unfit::Variable)),
            }
        }
        Wanted::Grpc { status: wanted, .. } => {
            if status != 200 {
                return Err(Bad::Unfit(Unfit::Status));
            }
            let body = read(ex, cx, origin).await?;
            let trailers = origin.inbound.trailers();
            let told = trailers.and_then(|t| t.get_name(b"grpc-status"));
            let told = told.or_else(|| origin.inbound.head.fields.get_name(b"grpc-status"));
            let told = told.and_then(crate::base::size::parse_digits);
            let fits = match wanted {
                Some(code) => told == Some(u64::from(*code)),
                None => told == Some(0) && body.get(5..).is_some_and(|m| m == GRPC_SERVING),
            };
            match fits {
                true => Ok(()),
                false => Err(Bad::Unfit(Unfit::Grpc)),
            }
        }
    }
}

/// Reads the beginning of a body.
async fn read(ex: &Exchange, cx: Cx<'_>, origin: &mut Lease) -> Result<Vec<u8>, Bad> {
    let within = cx.location(ex.location).pass.read_timeout;
    let bad = |fault| Bad::Trouble(trouble(fault, Action::ReadingBody), Action::ReadingBody);
    let began = cx.local.clock.mono();
    let mut body = Vec::new();
    loop {
        match origin.inbound.step().map_err(bad)? {
            Step::Data => {
                body.extend_from_slice(origin.inbound.data());
                if body.len() >= BODY_BYTES_MAX {
                    body.truncate(BODY_BYTES_MAX);
                    return Ok(body);
                }
            }
            Step::End => return Ok(body),
            Step::More => {
                let spent = cx.local.clock.mono().ms_since(began);
                if u128::from(spent) >= within.as_millis() {
                    return Err(bad(Fault::TimedOut));
                }
                let buffers = &cx.local.buffers;
                match origin.receive(RECV_BYTES, within, buffers).await {
                    Ok(true) => {}
                    Ok(false) if origin.inbound.ends_at_close() => {}
                    Ok(false) => return Err(bad(Fault::Closed)),
                    Err(fault) => return Err(bad(fault)),
                }
            }
        }
    }
}

/// The peer's address with another port; a unix socket has none.
#[must_use]
pub fn with_port(addr: &PeerAddr, port: Option<u16>) -> PeerAddr {
    match (addr, port) {
        (PeerAddr::Tcp(at), Some(port)) => {
            let mut at = *at;
            at.set_port(port);
            PeerAddr::Tcp(at)
        }
        (PeerAddr::Tcp(at), None) => PeerAddr::Tcp(*at),
        (PeerAddr::Unix(path), _) => PeerAddr::Unix(PathBuf::clone(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_for_in_protobuf() {
        assert_eq!(grpc_request(b""), [0, 0, 0, 0, 0]);
        assert_eq!(grpc_request(b"ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = grpc_request(&[b'x'; 200]);
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }

    #[test]
    fn a_port_replaces_the_peers_own() {
        let at = |text: &str| PeerAddr::Tcp(text.parse().unwrap());
        assert_eq!(with_port(&at("10.0.0.1:80"), Some(81)), at("10.0.0.1:81"));
        assert_eq!(with_port(&at("[::1]:80"), None), at("[::1]:80"));
        let unix = PeerAddr::Unix("/s".into());
        assert_eq!(with_port(&unix, Some(81)), unix);
    }
}
