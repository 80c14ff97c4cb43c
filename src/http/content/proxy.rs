//! `proxy_pass`: one request goes to peers of a group until one answers, and its answer becomes the exchange's.
//!
//! The request is built once and sent as often as the retry policy allows. Knows no wire format (`upstream::origin`)
//! and no balancing (`upstream::group`). Start at [`run`].

mod attempts;
mod fastcgi;
mod faults;
mod http2;
pub mod notes;
pub mod probe;
mod redirect;
mod rehearsal;
pub(super) mod request;
pub(super) mod response;
mod send;
pub mod sticky;
pub(super) mod target;
mod tls;
pub mod upload;

pub use rehearsal::rehearse;

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use self::attempts::{
    Next, after_exchange, begin_attempt, begin_exchange, facts, give_up_or_next, not_reached,
    note_head, policy,
};
use self::faults::{http2 as http2_trouble, protocol};
use super::super::debug::{self, debug};
use super::super::exchange::{Body, Exchange, RequestBody, UpstreamBody};
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::{body, error, log, vars};
use super::cache::body::{Stored, Tee};
use super::cache::{self, Before, answer, copy};
use crate::base::time::Mono;
use crate::front::BodyLength;
use crate::net::connect::Options;
use crate::net::stream::Keepalive;
use crate::plan::LocationId;
use crate::plan::location::{ProxyPlan, ProxyTarget, WirePlan};
use crate::plan::model::{HttpVersion, LogLevel};
use crate::proto::h1::encode;
use crate::proto::head::Method;
use crate::proto::tokens::Token;
use crate::upstream::connect::{self, Unreached, acquire};
use crate::upstream::origin::{Asked, Fault, Lease, Link, Origin, Step, Wire};
use crate::upstream::pool::{Conn, Whose};
use crate::upstream::retry::{self, Cause};
use crate::upstream::selection::{Outcome, Selection};
use crate::upstream::tls::{Dial, secure};
use crate::upstream::trouble::{Action, Trouble};

/// What all attempts of one request share.
struct Request {
    /// Head, and the body when that is small and in memory.
    bytes: Vec<u8>,
    /// Where the request target is in `bytes`.
    target: (usize, usize),
    /// The body follows `bytes` from elsewhere.
    rest: Rest,
    framing: Framing,
    asked: Asked,
    /// How connections speak TLS, where they do.
    tls: Option<Dial>,
    idempotent: bool,
    /// A byte was handed to a connection.
    sent: bool,
    /// Body bytes were taken from the client for good.
    body_taken: bool,
}

/// Where the request body is that `Request::bytes` does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// There is none.
    None,
    /// In `ex.body`.
    Held,
    /// Still to be read from the client.
    Streamed,
}

/// How body bytes stand on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// As they are.
    Plain,
    /// In chunks.
    Chunks,
    /// In FastCGI records.
    Records,
}

/// Why an attempt failed.
enum Failure {
    /// The peer's fault: another one may be asked.
    Peer(Fault, Action),
    /// The client's: the request ends with this.
    Client(Flow),
}

/// Serves a request by proxying it.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan) -> Flow {
    // Nothing is read ahead of a request of ours: it takes a piece when it is ready for one.
    ex.buffering = cx.location(ex.location).pass.buffering && !ex.is_subrequest();
    let mut streamed = false;
    if streams_body(ex, cx, plan) || !body::is_complete(ex, cx) {
        match take_body(ex, cx, plan).await {
            Ok(still) => streamed = still,
            Err(flow) => return flow,
        }
    }
    let dynamic = match name_target(ex, cx, plan) {
        Ok(dynamic) => dynamic,
        Err(status) => return Flow::Error(status),
    };
    if let Some(cache) = &plan.cache {
        match cache::before(ex, cx, plan, cache, dynamic.as_ref()).await {
            Before::Ask => {}
            Before::Done(flow) => return flow,
        }
    } else if ex.cached.is_some() {
        // That of a location from where this one was reached.
        ex.cached = None;
    }
    // Looked into where it is: taken out it would be copied.
    let mut built = build(ex, cx, plan, dynamic.as_ref(), streamed);
    let request = match &mut built {
        Ok(request) => request,
        Err(flow) => return std::mem::replace(flow, Flow::Close),
    };
    let secure = |dynamic: &target::Dynamic| dynamic.is_secure();
    if dynamic.as_ref().map_or(plan.secure, secure) {
        let h2 = matches!(request.asked.wire, Wire::Http2 { .. });
        request.tls = tls::dial(ex, cx, plan, h2);
    }
    let mut origin = Lease::take(&mut ex.upstream_spare);
    let found = match (&plan.target, &dynamic) {
        (ProxyTarget::Group(id), _) => {
            origin.begin(target::in_group(ex, cx, *id));
            Ok(())
        }
        (_, Some(dynamic)) => {
            let selection = target::by_name(ex, cx, &plan.wire, dynamic).await;
            selection.map(|selection| origin.begin(selection))
        }
        (_, None) => Err(500),
    };
    if let Err(status) = found {
        // As in nginx: no peer was asked, so that `$upstream_addr` stays empty.
        cx.local.buffers.give(std::mem::take(&mut request.bytes));
        origin.end(&mut ex.upstream_spare);
        return Flow::Error(status);
    }
    if sticky::is_due(ex, cx, origin.selection()) {
        Box::pin(sticky::begin(ex, cx, origin.selection_mut())).await;
    }
    // One peer after the other, and here: a future around each attempt would be one more around every wait.
    let flow = loop {
        let now = cx.local.clock.mono();
        let acquired = match acquire_idle(ex, cx, request, origin.selection_mut(), now) {
            Ok(Some(conn)) => Ok(conn),
            Ok(None) => open_link(ex, cx, plan, request, origin.selection_mut(), now).await,
            Err(unreached) => Err(unreached),
        };
        begin_attempt(ex, plan, origin.selection(), request, now);
        sticky::picked(ex, cx, origin.selection());
        let next = match acquired {
            Ok(conn) => {
                let began = begin_exchange(ex, cx, plan, request, conn, &mut origin);
                let result = match request.asked.wire {
                    Wire::Http2 { .. } => http2::exchange(ex, cx, plan, request, &mut origin).await,
                    _ => pin!(send::exchange(ex, cx, plan, request, &mut origin)).await,
                };
                if began.watched {
                    ex.stream.unwatch();
                }
                after_exchange(ex, cx, plan, request, origin, (result, began))
            }
            Err(unreached) => not_reached(ex, cx, request, unreached, origin),
        };
        match next {
            Next::Peer(back) => origin = back,
            Next::Flow(flow) => break flow,
            Next::Judged(flow) => {
                if ex.sticky.is_some() || invalidates(ex) {
                    Box::pin(judged(ex, cx)).await;
                }
                break flow;
            }
            Next::Revalidated(origin) => {
                break Box::pin(answer::revalidated(ex, cx, origin)).await;
            }
        }
    };
    cx.local.buffers.give(std::mem::take(&mut request.bytes));
    flow
}

/// Takes the body, as far as it is taken before a peer is asked. True when it is handed on as it arrives.
async fn take_body(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan) -> Result<bool, Flow> {
    if streams_body(ex, cx, plan) && preread(ex, cx).await? {
        return Ok(true);
    }
    if !body::is_complete(ex, cx) {
        match body::read_all(ex, cx).await {
            Flow::Next => {}
            other => return Err(other),
        }
    }
    Ok(false)
}

/// Evaluates a target with variables, and sets `$proxy_host` by it.
fn name_target(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
) -> Result<Option<target::Dynamic>, u16> {
    let dynamic = match &plan.target {
        ProxyTarget::Group(_) => None,
        ProxyTarget::Dynamic { url } => Some(target::evaluate(ex, cx, plan, url)?),
    };
    ex.proxy_host.clear();
    ex.proxy_port.clear();
    if let Some(dynamic) = &dynamic
        && plan.wire.is_http()
    {
        ex.proxy_host.extend_from_slice(if dynamic.is_unix() {
            b"localhost"
        } else {
            dynamic.authority()
        });
    }
    Ok(dynamic)
}

/// Whether the body is handed on as it arrives.
fn streams_body(ex: &Exchange, cx: Cx<'_>, plan: &ProxyPlan) -> bool {
    let location = cx.location(ex.location);
    let pass = &location.pass;
    if pass.request_buffering || !pass.pass_request_body || plan.body.is_some() {
        return false;
    }
    if !matches!(ex.body, RequestBody::Unread) {
        return false;
    }
    match ex.stream.body_length() {
        BodyLength::None => false,
        BodyLength::Known(_) => true,
        // HTTP/1.0 has no way to send a body of unknown length.
        BodyLength::Chunked if !matches!(plan.wire, WirePlan::Http) => true,
        BodyLength::Chunked => location.settings.proxy.proxy_http_version != HttpVersion::Http10,
    }
}

/// Takes what has already come of a body that will be streamed. False when that is all of it, which makes the
/// request one that can be repeated.
async fn preread(ex: &mut Exchange, cx: Cx<'_>) -> Result<bool, Flow> {
    let core = &cx.location(ex.location).settings.core;
    let buffers = &cx.local.buffers;
    if let Err(fault) = ex.stream.send_continue(core.send_timeout, buffers).await {
        return Err(body::client_fault(ex, cx, fault));
    }
    let mut ready = buffers.take(core.client_body_buffer_size + 1);
    match ex
        .stream
        .take_ready_body(&mut ready, core.client_body_buffer_size, buffers)
    {
        Ok(_) if body::too_large(ex, cx, ready.len() as u64) => Err(body::refuse(ex, cx, ready)),
        Ok(true) => {
            ex.request_length += ready.len() as u64;
            ex.body = RequestBody::Memory(ready);
            Ok(false)
        }
        Ok(false) => {
            ex.preread = ready;
            Ok(true)
        }
        Err(fault) => {
            buffers.give(ready);
            Err(body::client_fault(ex, cx, fault))
        }
    }
}

/// Builds the request's bytes and says where its body comes from.
fn build(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    dynamic: Option<&target::Dynamic>,
    streamed: bool,
) -> Result<Request, Flow> {
    let pass = &cx.location(ex.location).pass;
    let chunked = streamed && ex.stream.body_length() == BodyLength::Chunked;
    ex.upstream_body = match (&ex.body, ex.stream.body_length()) {
        _ if chunked => UpstreamBody::Chunked,
        // Differs from nginx: a length is not announced for a body that is not passed on.
        _ if !pass.pass_request_body && plan.body.is_none() => UpstreamBody::None,
        (RequestBody::Memory(bytes), _) => UpstreamBody::Length(bytes.len() as u64),
        (RequestBody::File(body), _) => UpstreamBody::Length(body.length),
        (_, BodyLength::Known(length)) if streamed => UpstreamBody::Length(length),
        _ if ex.head.content_length == Some(0) => UpstreamBody::Length(0),
        _ => UpstreamBody::None,
    };
    let mut bytes = cx.local.buffers.take(2048);
    let built = match &plan.wire {
        WirePlan::FastCgi(wire) => {
            let built = fastcgi::build(ex, cx, wire, request::storing(ex, plan), &mut bytes);
            // Nothing of it is a target for the error log.
            built.map(|()| request::Built {
                is_head: ex.method == Method::Head,
                target: (0, 0),
            })
        }
        _ => request::build(ex, cx, plan, dynamic, &mut bytes),
    };
    let built = match built {
        Ok(built) => built,
        Err(why) => {
            cx.local.buffers.give(bytes);
            return Err(unbuildable(ex, cx, why));
        }
    };
    let passes_body = pass.pass_request_body && plan.body.is_none();
    let framing = match (&plan.wire, chunked) {
        (WirePlan::FastCgi(_), _) => Framing::Records,
        (WirePlan::Http, true) => Framing::Chunks,
        (WirePlan::Http | WirePlan::Http2 | WirePlan::Grpc { .. }, _) => Framing::Plain,
    };
    if !ex.preread.is_empty() {
        // Goes out with the head, and again if another peer is asked: nothing of it is lost yet.
        let preread = std::mem::take(&mut ex.preread);
        framing.append(&preread, &mut bytes);
        ex.request_length += preread.len() as u64;
        cx.local.buffers.give(preread);
    }
    let rest = match &ex.body {
        _ if streamed => Rest::Streamed,
        // Records cannot go out in one vectored send: what would, is copied.
        RequestBody::Memory(body)
            if framing == Framing::Records
                && passes_body
                && body.len() <= send::VECTOR_BYTES_MAX =>
        {
            let need = bytes.len() + crate::proto::fastcgi::stdin_room(body.len());
            cx.local.buffers.grow(&mut bytes, need);
            framing.append(body, &mut bytes);
            Rest::None
        }
        RequestBody::Memory(body) if passes_body && body.len() <= send::JOIN_BYTES_MAX => {
            let need = bytes.len() + body.len();
            cx.local.buffers.grow(&mut bytes, need);
            bytes.extend_from_slice(body);
            Rest::None
        }
        RequestBody::Memory(_) | RequestBody::File(_) if passes_body => Rest::Held,
        _ => Rest::None,
    };
    if rest == Rest::None {
        framing.end(&mut bytes);
    }
    if ex.debug && !matches!(plan.wire, WirePlan::FastCgi(_)) {
        debug::upstream_request(ex, cx, &bytes);
    }
    let wire = wire_of(&plan.wire);
    Ok(Request {
        target: built.target,
        asked: Asked {
            head: built.is_head,
            upgrade: ex.head.upgrade && wire == Wire::Http,
            wire,
        },
        tls: None,
        idempotent: !ex.method.is_non_idempotent(),
        sent: false,
        body_taken: false,
        rest,
        framing,
        bytes,
    })
}

/// The protocol of a plan, as a connection knows it.
fn wire_of(plan: &WirePlan) -> Wire {
    match plan {
        WirePlan::Http => Wire::Http,
        WirePlan::Http2 => Wire::Http2 { grpc: false },
        WirePlan::Grpc { .. } => Wire::Http2 { grpc: true },
        WirePlan::FastCgi(wire) => Wire::FastCgi { keep: wire.keep },
    }
}

/// No request can be made.
fn unbuildable(ex: &mut Exchange, cx: Cx<'_>, why: request::Unbuildable) -> Flow {
    use request::Unbuildable as U;
    let level = match why {
        U::TooBig(_) => LogLevel::Alert,
        U::EmptyUri | U::Method => LogLevel::Error,
    };
    match why {
        U::EmptyUri => log::error(ex, cx, level, format_args!("zero length URI to proxy")),
        U::Method => {
            let text = format_args!("invalid method in \"proxy_method\"");
            log::error(ex, cx, level, text);
        }
        U::TooBig(size) => {
            let text = format_args!("fastcgi request record is too big: {size}");
            log::error(ex, cx, level, text);
        }
    }
    Flow::Error(500)
}

impl Framing {
    /// Appends body bytes.
    fn append(self, data: &[u8], out: &mut Vec<u8>) {
        if data.is_empty() {
            return;
        }
        match self {
            Self::Plain => out.extend_from_slice(data),
            Self::Chunks => {
                encode::chunk_head(out, data.len());
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
            Self::Records => crate::proto::fastcgi::stdin(data, out),
        }
    }

    /// Appends the end of a body.
    fn end(self, out: &mut Vec<u8>) {
        match self {
            Self::Plain => {}
            Self::Chunks => out.extend_from_slice(encode::LAST_CHUNK),
            Self::Records => crate::proto::fastcgi::stdin_end(out),
        }
    }
}

/// What follows an answer that was judged, before the client sees it.
async fn judged(ex: &mut Exchange, cx: Cx<'_>) {
    if ex.sticky.is_some() {
        sticky::answered(ex, cx).await;
    }
    if invalidates(ex) {
        let answered = ex.response.status;
        answer::invalidate(ex, cx, answered).await;
    }
}

impl Request {
    /// What connections for it are told apart by.
    fn whose(&self, location: LocationId) -> Whose<'_> {
        Whose {
            location,
            identity: self.tls.as_ref().map(|dial| &*dial.identity),
        }
    }
}

/// Picks a peer. A connection to it that idles, if there is one; [`open_link`] goes on where there is none. A stream of a
/// connection that others use is looked for there too.
fn acquire_idle(
    ex: &Exchange,
    cx: Cx<'_>,
    request: &Request,
    selection: &mut Selection,
    now: Mono,
) -> Result<Option<Link>, Unreached> {
    if let Wire::Http2 { .. } = request.asked.wire {
        return Ok(None);
    }
    let whose = request.whose(ex.location);
    let pool = &cx.generation.pool;
    let conn = acquire(selection, pool, whose, now, cx.local.random())?;
    Ok(conn.map(Link::Own))
}

/// A new connection to the peer that was picked.
async fn open_link(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    request: &Request,
    selection: &mut Selection,
    now: Mono,
) -> Result<Link, Unreached> {
    if let Wire::Http2 { .. } = request.asked.wire {
        return http2::obtain(ex, cx, plan, request, selection).await;
    }
    open(ex, cx, plan, request, selection, now)
        .await
        .map(Link::Own)
}

/// Opens a connection to the peer that was picked, up to the end of its handshake.
async fn open(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    request: &Request,
    selection: &Selection,
    now: Mono,
) -> Result<Box<Conn>, Unreached> {
    let options = dial_options(ex, cx, plan);
    let mut conn = connect::open(selection, &options, &cx.local.deadlines, now).await?;
    if let Some(dial) = &request.tls {
        let within = cx.location(ex.location).pass.connect_timeout;
        // Most requests need no handshake: its state is not theirs to carry.
        let handshake = async {
            let tls = tls::armed(ex, cx, dial).await;
            let tls = tls.map_err(|()| Unreached::Unarmed)?;
            secure(&mut conn, dial, &tls, within).await
        };
        Box::pin(handshake).await?;
    }
    Ok(conn)
}

/// What the origin answers is not for this client alone: it is fetched to its end when the client leaves.
fn is_for_others(ex: &Exchange, plan: &ProxyPlan) -> bool {
    plan.copy.is_some() || ex.cached.as_ref().is_some_and(|cached| cached.is_filling())
}

/// Whether what is stored is gone when this request succeeds.
fn invalidates(ex: &Exchange) -> bool {
    ex.cached.as_ref().is_some_and(|cached| cached.invalidates)
}

fn dial_options(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan) -> Options {
    let pass = &cx.location(ex.location).pass;
    let bind = plan.bind.as_ref().and_then(|bind| {
        let mut text = Vec::new();
        vars::eval(bind, ex, cx, &mut text);
        let text = String::from_utf8(text).ok()?;
        text.parse::<SocketAddr>()
            .ok()
            .or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0)))
    });
    Options {
        within: Some(pass.connect_timeout),
        bind,
        transparent: plan.bind_transparent,
        keepalive: pass.socket_keepalive.then(Keepalive::default),
        nodelay: true,
        sndbuf: pass.socket_sndbuf,
        rcvbuf: pass.socket_rcvbuf,
    }
}

/// A response head came: passed on, replaced by an error page, or thrown away for another peer's.
fn judge(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    request: &Request,
    mut origin: Lease,
) -> Next {
    let now = cx.local.clock.mono();
    let status = origin.inbound.head.status;
    origin.selection_mut().head_came(now);
    note_head(ex, cx, &origin);
    if ex.debug {
        debug::upstream_head(ex, cx, &origin.inbound.head);
    }
    let location = cx.location(ex.location);
    if status >= 300 {
        let facts = facts(request, Cause::Status(status), origin.conn.reused(), false);
        if retry::rejects(&facts, policy(ex, cx), origin.selection(), now) {
            end_attempt(ex, cx, &mut origin, status);
            drop(origin.disconnect(&mut ex.upstream_spare, &cx.local.buffers));
            return match give_up_or_next(ex, cx, &facts, origin.selection_mut()) {
                ControlFlow::Continue(()) => Next::Peer(origin),
                ControlFlow::Break(flow) => {
                    origin.end(&mut ex.upstream_spare);
                    Next::Judged(flow)
                }
            };
        }
        if ex.cached.is_some() && answer::instead(ex, cx, status) {
            finish_unread(ex, cx, origin);
            return Next::Judged(answer::serve_stale(ex, cx));
        }
        if location.pass.intercept_errors && error::has_page(ex, cx, status) {
            if ex.cached.is_some() {
                answer::intercepted(ex, cx, status, &origin.inbound.head);
            }
            if status == 401 {
                for value in origin.inbound.head.fields.get_all(Token::WWW_AUTHENTICATE) {
                    let fields = &mut ex.response.fields;
                    fields.push_token(Token::WWW_AUTHENTICATE, value);
                }
            }
            keep_fields(ex, &mut origin);
            finish_unread(ex, cx, origin);
            return Next::Judged(Flow::Error(status));
        }
    }
    if ex.stream.is_connect() && matches!(status, 200..=299) {
        let text = format_args!("upstream did not switch protocols for a WebSocket over HTTP/2");
        log::error(ex, cx, LogLevel::Error, text);
        finish_unread(ex, cx, origin);
        return Next::Judged(Flow::Error(502));
    }
    sticky::accept(ex);
    if ex.cached.is_some() {
        answer::weigh(ex, cx, &origin.inbound.head);
    }
    let taken = response::take_head(ex, cx, plan, &origin.inbound.head);
    let has_trailers = origin.inbound.head.fields.has(Token::TRAILER);
    keep_fields(ex, &mut origin);
    if let ControlFlow::Break(flow) = taken {
        ex.upstream_redirected = true;
        finish_unread(ex, cx, origin);
        return Next::Judged(flow);
    }
    ex.response.content_length = origin.inbound.content_length();
    if ex.method == Method::Head || matches!(status, 204 | 304) {
        // The length of a body that is not sent is still the origin's to tell.
        ex.response.content_length = origin.inbound.head.content_length;
    }
    if passes_trailers(ex, cx, plan)
        && (origin.inbound.head.chunked || origin.conn.shared().is_some())
    {
        ex.response.expect_trailers = has_trailers;
    }
    if location.pass.force_ranges {
        ex.response.allow_ranges = true;
        ex.response.single_range = true;
    }
    ex.response.body = if status == 101 {
        Body::Tunnel(origin)
    } else if ex.cached.is_some() || plan.copy.is_some() {
        kept(ex, cx, plan, origin)
    } else {
        Body::Origin(origin)
    };
    Next::Judged(Flow::Answer)
}

/// Whether the client gets the origin's trailers. gRPC is nothing without them.
fn passes_trailers(ex: &Exchange, cx: Cx<'_>, plan: &ProxyPlan) -> bool {
    matches!(plan.wire, WirePlan::Grpc { .. })
        || cx.location(ex.location).settings.proxy.proxy_pass_trailers
}

/// The body of an answer that may go elsewhere besides to the client.
fn kept(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, origin: Lease) -> Body {
    let answered = origin.inbound.head.status;
    let buffered = answer::is_buffered(ex, cx);
    let length = origin.inbound.content_length();
    let tee = match &plan.copy {
        Some(copy) => buffered
            .then(|| copy::begin(ex, cx, copy, answered))
            .flatten()
            .map(|copying| Tee::Copy(Box::new(copying))),
        None => answer::begin(ex, cx, answered, buffered, length).map(Tee::Cache),
    };
    match tee {
        Some(tee) => Body::Stored(Box::new(Stored::origin(origin, tee))),
        None => Body::Origin(origin),
    }
}

/// `$upstream_http_*` read the fields until the exchange ends; the origin gets the storage of earlier ones for them.
fn keep_fields(ex: &mut Exchange, origin: &mut Origin) {
    std::mem::swap(&mut ex.upstream_fields, &mut origin.inbound.head.fields);
}

/// The response was received (or is not wanted further): books it, and pools the connection if it can be used again.
pub fn finish(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) {
    let status = origin.inbound.head.status;
    let now = end_attempt(ex, cx, &mut origin, status);
    let grpc = origin.inbound.is_grpc();
    let trailers = origin.inbound.trailers().filter(|all| !all.is_empty());
    if (grpc || cx.location(ex.location).settings.proxy.proxy_pass_trailers)
        && let Some(trailers) = trailers
    {
        let sent = ex.response.trailers.get_or_insert_default();
        for field in trailers.iter() {
            sent.push_with(field.token, field.name, field.value);
        }
    }
    ex.upstream_trailers = trailers.map(|trailers| Box::new(trailers.clone()));
    if origin.inbound.has_excess() {
        let text = format_args!(
            "upstream sent more data than specified in \"Content-Length\" header while reading upstream"
        );
        log::error(ex, cx, LogLevel::Warn, text);
    }
    give_back(ex, cx, origin, now);
}

/// Ends an exchange whose body is not wanted: the connection is only kept when all of the body is here already.
pub fn finish_unread(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) {
    skim(&mut origin);
    let status = origin.inbound.head.status;
    let now = end_attempt(ex, cx, &mut origin, status);
    give_back(ex, cx, origin, now);
}

/// Passes over what has come of a body that nobody wants. More of it is not worth reading.
pub fn skim(origin: &mut Origin) {
    // A fault here spoils the connection, which is all that matters of it.
    while let Ok(Step::Data) = origin.inbound.step() {}
}

/// Lets go of an origin that did well; its connection is pooled if it can be used again.
fn give_back(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease, now: Mono) {
    let reusable = origin.is_reusable();
    let conn = origin.disconnect(&mut ex.upstream_spare, &cx.local.buffers);
    origin.selection_mut().report(Outcome::Ok, now);
    origin.end(&mut ex.upstream_spare);
    sticky::over(ex, cx);
    debug!(
        ex,
        cx,
        "finalize http upstream request, connection {}",
        if reusable { "kept" } else { "closed" }
    );
    // A stream is given back by letting go of it.
    if reusable && let Link::Own(conn) = conn {
        cx.generation.pool.put(conn, ex.location, now);
    }
}

/// The client's side failed: the connection to the origin goes with it, and the origin is not to blame.
pub fn abandon(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) {
    let status = origin.inbound.head.status;
    let now = end_attempt(ex, cx, &mut origin, status);
    let_go(ex, cx, origin, now);
}

/// Closes the connection of a peer that is not to blame.
fn let_go(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease, now: Mono) {
    drop(origin.disconnect(&mut ex.upstream_spare, &cx.local.buffers));
    origin.selection_mut().report(Outcome::Ok, now);
    origin.end(&mut ex.upstream_spare);
    sticky::over(ex, cx);
}

/// The origin failed in the middle of its body.
pub fn cut(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease, fault: &Fault) {
    let status = origin.inbound.head.status;
    let now = end_attempt(ex, cx, &mut origin, status);
    // As in nginx: a peer that sent a good head is not to blame for the rest.
    let_go(ex, cx, origin, now);
    let text = match fault {
        Fault::Closed => Trouble::Closed,
        Fault::TimedOut => Trouble::TimedOut,
        Fault::Body(_) => Trouble::InvalidBody,
        Fault::Io(error) => Trouble::Recv(match error.raw_os_error() {
            Some(number) => std::io::Error::from_raw_os_error(number),
            None => error.kind().into(),
        }),
        Fault::Cut | Fault::Stopped => return,
        Fault::Reset(_) | Fault::Unprocessed | Fault::GoAway(_) | Fault::Http2(_) => {
            http2_trouble(fault)
        }
        Fault::Local(error) => {
            log::error(
                ex,
                cx,
                LogLevel::Crit,
                format_args!("temporary file failed ({error}) while reading upstream"),
            );
            return;
        }
        Fault::FastCgi(error) => protocol(error),
        Fault::Head(_) | Fault::Unsolicited | Fault::Refused => Trouble::InvalidHeader,
    };
    tell(ex, cx, &text, Action::ReadingBody);
}

/// Books the end of an attempt; returns when that was.
fn end_attempt(ex: &mut Exchange, cx: Cx<'_>, origin: &mut Origin, status: u16) -> Mono {
    notes::tell(ex, cx, origin);
    if let Some(upload) = ex.upload.take() {
        upload.book(ex);
    }
    let now = cx.local.clock.mono();
    if let Some(attempt) = ex.attempts.last_mut() {
        attempt.status = status;
        attempt.response_ms = Some(now.ms_since(attempt.started));
        attempt.response_length = origin.inbound.body_received();
        attempt.bytes_received = origin.inbound.received();
        attempt.bytes_sent = origin.sent();
    }
    now
}

/// The sweep saw the client leave while its upstream was working: 499.
fn client_gone(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) -> Flow {
    let text = format_args!(
        "client prematurely closed connection, so upstream connection is closed too while sending request to upstream"
    );
    log::error(ex, cx, LogLevel::Info, text);
    let now = end_attempt(ex, cx, &mut origin, 0);
    let_go(ex, cx, origin, now);
    ex.close = true;
    Flow::Error(499)
}

/// Logs what went wrong with an upstream.
fn tell(ex: &mut Exchange, cx: Cx<'_>, trouble: &Trouble, action: Action) {
    let mut text = Vec::new();
    trouble.write(action, &mut text);
    log::error(
        ex,
        cx,
        trouble.level(),
        format_args!("{}", log::Text(&text)),
    );
}

/// Time for one step of sending to or reading from the origin.
#[derive(Clone, Copy, Debug)]
struct Steps {
    send: Duration,
    read: Duration,
}
