//! From a decoded head to a location: server, normalised URI, location, and the checks that nginx makes
//! on the way. Also the way back, when a rewrite, an error page or a content handler sends the request
//! elsewhere.
//!
//! Start at [`begin`] and [`reroute`].

use bytes::Bytes;

use super::debug::{self, debug};
use super::exchange::Exchange;
use super::flow::{Flow, Reroute};
use super::local::Cx;
use super::log::Text;
use super::{access, browser, error, log, rewrite, vars};
use crate::front::Refusal;
use crate::plan::model::{LogLevel, VerifyClient};
use crate::plan::regex::Captures;
use crate::plan::{AddressPlan, LocationId, ServerId};
use crate::proto::h1::parse::RequestError;
use crate::proto::head::{Method, Span, Version};
use crate::proto::uri;

/// Times that a request may be sent to another location: ten, and the last one fails.
pub const REROUTES: u8 = 11;

/// A request with a good head: finds its server and location.
pub async fn begin(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let address = address(ex, cx);
    ex.reroutes_left = REROUTES;
    enter_server(ex, cx, ex.conn.entry(address, cx.generation.epoch));
    if let Err(flow) = take_target(ex, cx) {
        return flow;
    }
    if let Err(flow) = choose_server(ex, cx, address) {
        return flow;
    }
    if ex.debug {
        debug::request(ex, cx);
    }
    let method = match ex.method {
        Method::Trace => "TRACE",
        Method::Connect => "CONNECT",
        _ => {
            if ex.conn.misplaced {
                return misplaced(ex, cx);
            }
            if access::certificate::must_ask(ex, cx) {
                Box::pin(access::certificate::ask(ex, cx)).await;
            }
            if let Err(flow) = access::certificate::check(ex, cx) {
                return flow;
            }
            access::identify(ex, cx);
            tell_dropped(ex, cx);
            return search(ex, cx).await;
        }
    };
    log::error(
        ex,
        cx,
        LogLevel::Info,
        format_args!("client sent {method} method while reading client request headers"),
    );
    ex.close = true;
    Flow::Error(405)
}

/// A subrequest, whose target and server were given: finds its location.
pub async fn inside(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    ex.reroutes_left = REROUTES;
    enter(ex, cx, cx.plan.servers[ex.server].root);
    search(ex, cx).await
}

/// A request whose head broke a rule: the answer is an error, made with the settings of the server that it named, or
/// of the address's default server.
pub fn refuse(ex: &mut Exchange, cx: Cx<'_>, why: Refusal) -> Flow {
    ex.reroutes_left = REROUTES;
    let address = address(ex, cx);
    enter_server(ex, cx, ex.conn.entry(address, cx.generation.epoch));
    // What was read of the head is shown in the log, and picks the server.
    if !ex.head.path.is_empty() {
        let _ = take_target(ex, cx);
    }
    if !ex.head.server_host().is_empty() {
        // Its own error counts.
        let _ = choose_server(ex, cx, address);
    }
    ex.discard_body = true;
    ex.close = true;
    ex.target_unchanged = false;
    let status = match why {
        Refusal::Bad(error) => {
            let mut text = cx.local.buffers.take(256);
            ex.stream.describe(error, &ex.head, &mut text);
            let part = if is_of_line(error) { "line" } else { "headers" };
            let shown = format_args!("{} while reading client request {part}", Text(&text));
            log::error(ex, cx, LogLevel::Info, shown);
            cx.local.buffers.give(text);
            return Flow::Error(error.status());
        }
        Refusal::TimedOut => {
            ex.client_timed_out = true;
            let text =
                "client timed out (110: Connection timed out) while reading client request headers";
            log::error(ex, cx, LogLevel::Info, format_args!("{text}"));
            408
        }
        Refusal::Aborted => {
            let text = "client prematurely closed connection while reading client request headers";
            log::error(ex, cx, LogLevel::Info, format_args!("{text}"));
            400
        }
    };
    ex.response.status = status;
    Flow::Close
}

/// Whether the request line broke the rule, and not the fields.
fn is_of_line(error: RequestError) -> bool {
    use RequestError as E;
    matches!(
        error,
        E::InvalidMethod
            | E::InvalidRequest
            | E::InvalidVersion
            | E::InvalidHttp09Method
            | E::UriTooLong
            | E::InvalidAuthority
    )
}

/// Sends the request back to the search for a location.
pub async fn reroute(ex: &mut Exchange, cx: Cx<'_>, to: Reroute) -> Flow {
    ex.reroutes_left = ex.reroutes_left.saturating_sub(1);
    let exhausted = ex.reroutes_left == 0;
    ex.response.upstream = false;
    ex.response.no_server = false;
    ex.response.no_date = false;
    ex.slicing = None;
    match to {
        Reroute::Uri => {
            if exhausted {
                return cycle(ex, cx, "while processing");
            }
            ex.location = cx.plan.servers[ex.server].root;
            debug!(ex, cx, "uri changes: {}", ex.reroutes_left);
            find(ex, cx)
        }
        Reroute::Redirect => {
            if exhausted {
                return cycle(ex, cx, "while internally redirecting to");
            }
            ex.internal = true;
            ex.target_unchanged = false;
            ex.head.has_args &= !ex.args.is_empty();
            ex.rewritten_in_place = false;
            ex.uri_is_below_alias = false;
            ex.gzip_ok = None;
            ex.response.vary_encoding = false;
            let (uri, args) = (Text(&ex.uri), Text(&ex.args));
            debug!(ex, cx, "internal redirect: \"{uri}?{args}\"");
            enter(ex, cx, cx.plan.servers[ex.server].root);
            search(ex, cx).await
        }
        Reroute::Named(id) => {
            let name = &cx.location(id).name;
            if exhausted {
                return error::cycle(ex, cx, "while redirect to named location", name);
            }
            if ex.uri.is_empty() {
                let text =
                    format_args!("empty URI in redirect to named location \"{}\"", Text(name));
                log::error(ex, cx, LogLevel::Error, text);
                return Flow::Error(500);
            }
            ex.internal = true;
            let (uri, args) = (Text(&ex.uri), Text(&ex.args));
            debug!(ex, cx, "using location: {} \"{uri}?{args}\"", Text(name));
            enter(ex, cx, id);
            Flow::Next
        }
    }
}

/// The flow to a named location of the exchange's server.
pub fn named(ex: &Exchange, cx: Cx<'_>, name: &[u8]) -> Flow {
    let names = &cx.plan.servers[ex.server].named;
    match names.binary_search_by(|(known, _)| known[..].cmp(name)) {
        Ok(index) => Flow::Reroute(Reroute::Named(names[index].1)),
        Err(_) => {
            let text = format_args!("could not find named location \"{}\"", Text(name));
            log::error(ex, cx, LogLevel::Error, text);
            Flow::Error(500)
        }
    }
}

/// Makes a location the one in force; its `limit_except` block instead, when the method is none of those listed.
pub fn enter(ex: &mut Exchange, cx: Cx<'_>, id: LocationId) {
    ex.location = match &cx.location(id).limit_except {
        Some(rule) if !allows(&rule.allowed, vars::method_name(ex)) => rule.location,
        _ => id,
    };
    judge_debug(ex, cx);
    if ex.debug {
        debug::location(ex, cx);
    }
    judge_connection(ex, cx);
}

/// Whether lines for debugging are wanted in the location in force.
fn judge_debug(ex: &mut Exchange, cx: Cx<'_>) {
    ex.debug = ex.conn.debug || cx.location(ex.location).debug;
}

/// Decides by the location in force whether the connection may live on; a location that was left cannot
/// take back its no.
fn judge_connection(ex: &mut Exchange, cx: Cx<'_>) {
    if ex.close {
        return;
    }
    let core = &cx.location(ex.location).settings.core;
    ex.close = core.keepalive_timeout.timeout.is_zero()
        || ex.conn.requests.get() >= core.keepalive_requests
        || ex.started.since(ex.conn.accepted) > core.keepalive_time
        || browser::is_disabled(core.keepalive_disable, ex);
}

/// Whether a list of methods has this one; `GET` brings `HEAD`.
fn allows(list: &[Bytes], method: &[u8]) -> bool {
    list.iter()
        .any(|allowed| allowed == method || (method == b"HEAD" && allowed == "GET"))
}

/// The servers of the address that the client connected to.
fn address<'a>(ex: &Exchange, cx: Cx<'a>) -> &'a AddressPlan {
    let local = ex.conn.local.ip();
    cx.plan.listeners[ex.conn.listener.get()].address(local)
}

/// Takes over a server and its own settings.
fn enter_server(ex: &mut Exchange, cx: Cx<'_>, server: ServerId) {
    ex.server = server;
    ex.location = cx.plan.servers[server].root;
    judge_debug(ex, cx);
}

/// Fills method, `$uri` and `$args` from the head.
fn take_target(ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Flow> {
    let head = &ex.head;
    ex.method = head.method;
    ex.target_unchanged = true;
    ex.args.clear();
    ex.args.extend_from_slice(head.bytes(head.args));
    ex.uri.clear();
    let path = head.path_bytes();
    if !head.complex {
        ex.uri.extend_from_slice(path);
        return Ok(());
    }
    let merge = cx.location(ex.location).settings.core.merge_slashes;
    if uri::normalize(path, merge, &mut ex.uri).is_err() {
        ex.uri.clear();
        // As in nginx, a target that could not be read is no `$request_uri`; the request line still shows it.
        ex.head.uri = Span::default();
        ex.close = true;
        ex.discard_body = true;
        let text = format_args!("client sent invalid request while reading client request line");
        log::error(ex, cx, LogLevel::Info, text);
        return Err(Flow::Error(400));
    }
    Ok(())
}

/// 497: plain HTTP where TLS is spoken.
fn misplaced(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let text = format_args!(
        "client sent plain HTTP request to HTTPS port while reading client request headers"
    );
    log::error(ex, cx, LogLevel::Info, text);
    ex.close = true;
    ex.discard_body = true;
    Flow::Error(497)
}

/// Fills `$host` and picks the server by it. A client that was let in by one name does not get to a server that wants
/// certificates by another: 421.
fn choose_server(ex: &mut Exchange, cx: Cx<'_>, address: &AddressPlan) -> Result<(), Flow> {
    ex.host.clear();
    // Without a name the default server answers.
    ex.host_port = ex.head.normal_host(&mut ex.host);
    let mut captures = Captures::default();
    let found = address.names.find(&ex.host, &mut captures);
    if let Some((regex, count)) = found.regex {
        let subject = std::mem::take(&mut ex.host);
        vars::keep_match(regex, count, &captures, &subject, ex, cx);
        ex.host = subject;
    }
    if let Some(named) = &ex.conn.named
        && **named != ex.host[..]
        && verifies(cx, found.server)
    {
        let text = format_args!(
            "client attempted to request the server name different from the one that was negotiated \
             while reading client request headers"
        );
        log::error(ex, cx, LogLevel::Info, text);
        return Err(Flow::Error(421));
    }
    if ex.head.version == Version::Http2 && !speaks_h2(cx, address, found.server) {
        let text = format_args!(
            "client attempted to request the server name for which the negotiated protocol is disabled \
             while reading client request headers"
        );
        log::error(ex, cx, LogLevel::Info, text);
        return Err(Flow::Error(421));
    }
    enter_server(ex, cx, found.server);
    Ok(())
}

/// Whether a server speaks HTTP/2 itself: its address's default server, which let the client in, may be another.
fn speaks_h2(cx: Cx<'_>, address: &AddressPlan, server: ServerId) -> bool {
    let settings = &cx.location(cx.plan.servers[server].root).settings;
    address.listens_http2 || settings.http2.http2
}

/// Whether a server looks at its clients' certificates.
fn verifies(cx: Cx<'_>, server: ServerId) -> bool {
    let settings = &cx.location(cx.plan.servers[server].root).settings;
    settings.ssl.ssl_verify_client != VerifyClient::Off
}

/// Names the fields that the head parser dropped.
fn tell_dropped(ex: &Exchange, cx: Cx<'_>) {
    for line in &ex.head.dropped {
        let line = Text(ex.head.bytes(*line));
        let text = format_args!(
            "client sent invalid header line: \"{line}\" while reading client request headers"
        );
        log::error(ex, cx, LogLevel::Info, text);
    }
}

/// Runs the server's rewrite rules, then looks for a location.
async fn search(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if !rewrite::is_due_in_server(ex, cx) {
        return find(ex, cx);
    }
    match rewrite::server(ex, cx).await {
        Flow::Next => find(ex, cx),
        other => other,
    }
}

/// Finds the location of `$uri`, and makes the checks that belong to entering it.
fn find(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let server = &cx.plan.servers[ex.server];
    let mut captures = Captures::default();
    let nested = |id: LocationId| &cx.location(id).tree;
    let found = server.tree.find(&ex.uri, &nested, &mut captures);
    if let Some((regex, count)) = found.regex {
        let subject = std::mem::take(&mut ex.uri);
        vars::keep_match(regex, count, &captures, &subject, ex, cx);
        ex.uri = subject;
    }
    if let Some(id) = found.location {
        ex.location = id;
    }
    let location = cx.location(ex.location);
    if !ex.internal && location.settings.core.internal {
        return Flow::Error(404);
    }
    enter(ex, cx, ex.location);
    if let Some(flow) = body_too_large(ex, cx) {
        return flow;
    }
    if found.redirect {
        let target = &mut ex.response.location;
        target.clear();
        target.extend_from_slice(&location.escaped_name);
        if !ex.args.is_empty() {
            target.push(b'?');
            target.extend_from_slice(&ex.args);
        }
        ex.response.location_is_path = true;
        return Flow::Error(301);
    }
    Flow::Next
}

/// 413, when the announced length is above `client_max_body_size`.
fn body_too_large(ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    let length = ex.head.content_length?;
    let max = cx.location(ex.location).settings.core.client_max_body_size;
    if max == 0 || length <= max || ex.discard_body {
        return None;
    }
    ex.discard_body = true;
    let text = format_args!("client intended to send too large body: {length} bytes");
    log::error(ex, cx, LogLevel::Error, text);
    Some(Flow::Error(413))
}

/// 500: the request went in circles.
fn cycle(ex: &mut Exchange, cx: Cx<'_>, doing: &str) -> Flow {
    let uri = std::mem::take(&mut ex.uri);
    let flow = error::cycle(ex, cx, doing, &uri);
    ex.uri = uri;
    flow
}
