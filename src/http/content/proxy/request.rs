//! The head of the request to an origin: method, target, the fields that the configuration writes and those of the
//! client that may pass.
//!
//! Builds bytes into one buffer and evaluates variables on the way; knows no sockets. Start at [`build`].

use super::super::super::exchange::{Exchange, UpstreamBody};
use super::super::super::local::Cx;
use super::super::super::vars;
use super::target::Dynamic;
use crate::base::escape::{self, Place};
use crate::plan::cache::CachePlan;
use crate::plan::location::{ProxyPlan, SetHeader, UriRule, WirePlan};
use crate::plan::model::HttpVersion;
use crate::plan::rules::FieldSet;
use crate::proto::h1::encode;
use crate::proto::head::{Method, RequestHead};
use crate::proto::tokens::Token;

/// Why a request cannot be made: 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbuildable {
    /// `zero length URI to proxy`.
    EmptyUri,
    /// `proxy_method` is no token.
    Method,
    /// A FastCGI parameter of so many bytes.
    TooBig(usize),
}

/// Appends the request head, and the body of `proxy_set_body`, to `out`.
pub fn build(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    dynamic: Option<&Dynamic>,
    out: &mut Vec<u8>,
) -> Result<Built, Unbuildable> {
    let version = match plan.wire {
        WirePlan::Http => cx.location(ex.location).settings.proxy.proxy_http_version,
        // What the head becomes on a stream does not depend on it.
        _ => HttpVersion::Http2,
    };
    if let Some(body) = &plan.body {
        // Evaluated first: its length goes into the head.
        let mut text = cx.local.buffers.take(0);
        vars::eval(body, ex, cx, &mut text);
        ex.upstream_body = UpstreamBody::Length(text.len() as u64);
        let result = head(ex, cx, plan, dynamic, version, out);
        out.extend_from_slice(&text);
        cx.local.buffers.give(text);
        return result;
    }
    head(ex, cx, plan, dynamic, version, out)
}

/// What is known of a head that was built.
#[derive(Clone, Copy, Debug)]
pub struct Built {
    /// Its method is HEAD.
    pub is_head: bool,
    /// Where its target is.
    pub target: (usize, usize),
}

fn head(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    dynamic: Option<&Dynamic>,
    version: HttpVersion,
    out: &mut Vec<u8>,
) -> Result<Built, Unbuildable> {
    let is_head = method(ex, cx, plan, out)?;
    out.push(b' ');
    let start = out.len();
    target(ex, plan, dynamic, out);
    if out.len() == start {
        return Err(Unbuildable::EmptyUri);
    }
    let target = (start, out.len());
    let http11 = version != HttpVersion::Http10;
    out.extend_from_slice(if http11 {
        b" HTTP/1.1\r\n"
    } else {
        b" HTTP/1.0\r\n"
    });
    for header in &plan.set_headers {
        set_header(ex, cx, plan, header, http11, out);
    }
    if let WirePlan::Grpc { te: true } = plan.wire
        && takes_trailers(&ex.head)
    {
        encode::field_token(out, Token::TE, b"trailers");
    }
    match ex.upstream_body {
        UpstreamBody::None => {}
        UpstreamBody::Length(length) => encode::field_number(out, Token::CONTENT_LENGTH, length),
        UpstreamBody::Chunked => encode::field_token(out, Token::TRANSFER_ENCODING, b"chunked"),
    }
    let storing = storing(ex, plan);
    if let Some(cache) = storing {
        for header in &cache.conditions {
            set_header(ex, cx, plan, header, http11, out);
        }
    }
    if cx.location(ex.location).pass.pass_request_headers {
        let replaced = storing.map_or(&plan.replaced, |cache| &cache.replaced);
        client_fields(&ex.head, replaced, out);
    }
    out.extend_from_slice(b"\r\n");
    Ok(Built { is_head, target })
}

/// Appends the method, and tells whether it is HEAD.
fn method(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    out: &mut Vec<u8>,
) -> Result<bool, Unbuildable> {
    let start = out.len();
    if let Some(method) = &plan.method {
        vars::eval(method, ex, cx, out);
        let method = &out[start..];
        return if encode::is_token(method) {
            Ok(method.eq_ignore_ascii_case(b"HEAD"))
        } else {
            Err(Unbuildable::Method)
        };
    }
    if ex
        .cached
        .as_ref()
        .is_some_and(|cached| cached.as_get && cached.cacheable)
    {
        out.extend_from_slice(b"GET");
        return Ok(false);
    }
    if ex.method == Method::Other {
        let name = ex.head.method_bytes();
        out.extend_from_slice(name);
        return Ok(name.eq_ignore_ascii_case(b"HEAD"));
    }
    out.extend_from_slice(ex.method.name().as_bytes());
    Ok(ex.method == Method::Head)
}

/// The request target by the rules of `proxy_pass` (SEMANTICS of nginx's `proxy_pass` with and without a URI).
pub fn target(ex: &Exchange, plan: &ProxyPlan, dynamic: Option<&Dynamic>, out: &mut Vec<u8>) {
    if let Some(uri) = dynamic.and_then(Dynamic::uri) {
        encode::target(out, uri);
        return;
    }
    let (with, strip): (&[u8], usize) = match &plan.uri {
        UriRule::Original | UriRule::Dynamic if ex.target_unchanged => {
            return original(&ex.head, out);
        }
        UriRule::Replace { with, strip } if !ex.rewritten_in_place => {
            (with, (*strip).min(ex.uri.len()))
        }
        UriRule::Original | UriRule::Dynamic | UriRule::Replace { .. } => (b"", 0),
    };
    part(out, with);
    let rest = &ex.uri[strip..];
    if ex.head.quoted || ex.internal {
        escape::uri(out, rest, Place::Uri);
    } else {
        part(out, rest);
    }
    if !ex.args.is_empty() {
        out.push(b'?');
        encode::target(out, &ex.args);
    }
}

/// Appends a part of a target, which unlike a whole one may be empty.
fn part(out: &mut Vec<u8>, part: &[u8]) {
    if !part.is_empty() {
        encode::target(out, part);
    }
}

/// The client's own target, byte for byte; an absolute form loses scheme and authority (RFC 9112 3.2.2).
fn original(head: &RequestHead, out: &mut Vec<u8>) {
    if head.empty_path {
        out.push(b'/');
        if !head.has_args {
            return;
        }
        out.push(b'?');
        out.extend_from_slice(head.bytes(head.args));
        return;
    }
    out.extend_from_slice(head.bytes(head.uri));
}

/// The cache that the answer may go to: the origin is asked for all of it, whatever the client asks for.
pub fn storing<'a>(ex: &Exchange, plan: &'a ProxyPlan) -> Option<&'a CachePlan> {
    let cacheable = ex.cached.as_ref().is_some_and(|cached| cached.cacheable);
    plan.cache.as_deref().filter(|_| cacheable)
}

/// One configured field; nothing is written when its value comes out empty.
fn set_header(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    header: &SetHeader,
    http11: bool,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(&header.start);
    let value = out.len();
    vars::eval(&header.value, ex, cx, out);
    let mut one_line = header.one_line;
    if out.len() == value && header.token == Token::HOST && http11 {
        // An HTTP/1.1 request always has a Host (nginx 1.31.4).
        vars::eval(&plan.host, ex, cx, out);
        // Of another value nothing is known.
        one_line = false;
    }
    if out.len() == value {
        out.truncate(start);
        return;
    }
    if !one_line {
        encode::clean(&mut out[value..]);
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether the client wants trailers, which a gRPC origin asks before it says anything.
fn takes_trailers(head: &RequestHead) -> bool {
    let te = head.fields.get(Token::TE);
    te.is_some_and(|te| te.to_ascii_lowercase().windows(8).any(|w| w == b"trailers"))
}

/// The client's fields, in order and case, less those that are set above, that belong to one connection, or that
/// its `Connection` field names.
///
/// Differs from nginx: fields named in `Connection` are dropped (RFC 9110 7.6.1).
fn client_fields(head: &RequestHead, replaced: &FieldSet, out: &mut Vec<u8>) {
    let named = head.fields.has(Token::CONNECTION) && names_others(head);
    encode::fields(out, &head.fields, |field| {
        // A known name is told by its token; its bytes are not touched.
        let known = field.token.is_known() && !named;
        let name = if known { b"" } else { head.bytes(field.name) };
        !(replaced.contains(field.token, name) || (named && head.connection_names(name)))
    });
}

/// Whether `Connection` names anything but the usual words.
fn names_others(head: &RequestHead) -> bool {
    head.fields
        .get_all(Token::CONNECTION)
        .flat_map(crate::proto::head::list_items)
        .any(|item| {
            ![&b"close"[..], b"keep-alive", b"upgrade"]
                .iter()
                .any(|usual| item.eq_ignore_ascii_case(usual))
        })
}
