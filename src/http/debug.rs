//! Lines for debugging: what a request goes through, in nginx's words where it has words for it.
//!
//! Written where `error_log … debug` holds for the location in force, or `debug_connection` names the client. What is
//! not written costs the test of one flag of the exchange; text is made behind it. Start at [`debug!`].

use super::exchange::{Attempt, Exchange, Response};
use super::local::Cx;
use super::log::Text;
use crate::proto::head::ResponseHead;

/// Writes one line, if anybody wants it.
macro_rules! debug {
    ($ex:expr, $cx:expr, $($text:tt)+) => {
        if $ex.debug {
            $crate::http::log::error(
                $ex,
                $cx,
                $crate::plan::model::LogLevel::Debug,
                format_args!($($text)+),
            );
        }
    };
}
pub(crate) use debug;

/// The request as it was read.
#[cold]
pub fn request(ex: &Exchange, cx: Cx<'_>) {
    let head = &ex.head;
    let line = Text(head.bytes(head.line));
    debug!(ex, cx, "http request line: \"{line}\"");
    debug!(ex, cx, "http uri: \"{}\"", Text(&ex.uri));
    debug!(ex, cx, "http args: \"{}\"", Text(&ex.args));
    for field in head.fields.iter() {
        let (name, value) = (Text(field.name), Text(field.value));
        debug!(ex, cx, "http header: \"{name}: {value}\"");
    }
    debug!(ex, cx, "http header done");
    let server = Text(&cx.plan.servers[ex.server].name);
    debug!(ex, cx, "using server \"{server}\"");
}

/// The location in force.
#[cold]
pub fn location(ex: &Exchange, cx: Cx<'_>) {
    let location = cx.location(ex.location);
    let name = Text(&location.name);
    debug!(ex, cx, "using configuration \"{name}\"");
    let length = ex.head.content_length.map_or(-1, u64::cast_signed);
    let max = location.settings.core.client_max_body_size;
    debug!(ex, cx, "http cl:{length} max:{max}");
}

/// The head of a request to an origin; `bytes` may go on with its body.
#[cold]
pub fn upstream_request(ex: &Exchange, cx: Cx<'_>, bytes: &[u8]) {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").map_or(bytes.len(), |at| at + 2);
    for line in bytes[..end].split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            debug!(ex, cx, "http proxy header: \"{}\"", Text(line));
        }
    }
}

/// An attempt that has a connection now.
#[cold]
pub fn attempt(ex: &Exchange, cx: Cx<'_>, reused: bool) {
    let tries = ex.attempts.len();
    let peer = ex.attempts.last().map_or(&b""[..], |a: &Attempt| &a.addr);
    let peer = Text(peer);
    debug!(ex, cx, "http upstream request: \"{}\"", target(ex));
    debug!(ex, cx, "get rr peer, try: {tries}");
    if reused {
        debug!(ex, cx, "get keepalive peer: using connection to {peer}");
    } else {
        debug!(ex, cx, "connect to {peer}");
    }
}

/// The head of an origin's answer.
#[cold]
pub fn upstream_head(ex: &Exchange, cx: Cx<'_>, head: &ResponseHead) {
    let status = head.status;
    let line = Text(head.bytes(head.status_line));
    debug!(ex, cx, "http proxy status {status} \"{line}\"");
    for field in head.fields.iter() {
        let (name, value) = (Text(field.name), Text(field.value));
        debug!(ex, cx, "http proxy header: \"{name}: {value}\"");
    }
    debug!(ex, cx, "http proxy header done");
}

/// The answer as it is about to be sent.
#[cold]
pub fn answer(ex: &Exchange, cx: Cx<'_>) {
    let response: &Response = &ex.response;
    debug!(ex, cx, "http header filter: status {}", response.status);
    for (name, value) in [
        ("Content-Type", &response.content_type),
        ("Location", &response.location),
    ] {
        if !value.is_empty() {
            let value = Text(value);
            debug!(ex, cx, "http header filter: \"{name}: {value}\"");
        }
    }
    if let Some(length) = response.content_length {
        debug!(ex, cx, "http header filter: \"Content-Length: {length}\"");
    }
    for field in response.fields.iter() {
        let (name, value) = (Text(field.name), Text(field.value));
        debug!(ex, cx, "http header filter: \"{name}: {value}\"");
    }
}

/// The end of a request.
#[cold]
pub fn end(ex: &Exchange, cx: Cx<'_>) {
    let sent = ex.response.bytes_sent;
    debug!(ex, cx, "http write filter: {sent} bytes sent");
    debug!(ex, cx, "http finalize request: \"{}\"", target(ex));
    debug!(ex, cx, "http log handler");
    if ex.is_subrequest() {
        return;
    }
    if ex.close {
        debug!(ex, cx, "http close request");
    } else {
        debug!(ex, cx, "set http keepalive handler");
    }
}

/// `$uri` and `$args` as nginx shows them.
fn target(ex: &Exchange) -> String {
    format!("{}?{}", Text(&ex.uri), Text(&ex.args))
}
