//! Stage 7: edits of the response head, once for each answer.
//!
//! Order as nginx's: conditions, then `expires` and `add_header`, then the user id cookie, then the filters that change
//! the body and arm themselves in [`chain`], then ranges, then what the encoder needs. Start at [`head`].

pub mod addition;
pub mod chain;
pub mod charset;
pub mod compress;
pub mod conditional;
pub mod gunzip;
pub mod headers;
pub mod range;
pub mod ssi;
pub mod sub;
pub mod userid;

use super::content::proxy;
use super::exchange::{Body, Exchange, Response};
use super::flow::Flow;
use super::local::Cx;
use super::slice;
use crate::net::Addr;
use crate::proto::tokens::Token;

/// Makes the head final.
pub fn head(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if ex.status_override != 0 && ex.status_override != ex.response.status {
        ex.response.status = ex.status_override;
        ex.response.reason.clear();
    }
    if ex.response.status == 101 {
        proxy::sticky::tell(ex);
        return Flow::Answer;
    }
    if !ex.response.chain.is_empty() {
        // An answer that became an error one after its filters were armed.
        ex.response.chain.clear(&cx.local.buffers);
    }
    if ex.slicing.is_some()
        && let Some(flow) = slice::head(ex, cx)
    {
        return flow;
    }
    if !ex.is_subrequest() {
        if let Some(flow) = conditional::apply(ex, cx) {
            return flow;
        }
        headers::apply(ex, cx);
        userid::apply(ex, cx);
        proxy::sticky::tell(ex);
    }
    // The whole passes the filters, not its slices.
    if !(ex.is_subrequest() && ex.slicing.is_some()) {
        arm(ex, cx);
    }
    let response = &mut ex.response;
    match response.status {
        204 => {
            response.content_type.clear();
            response.last_modified = None;
            response.content_length = None;
            drop_own_body(response);
        }
        304 => drop_own_body(response),
        200 | 206 => {}
        // It would be the date of an error page's file, not of what was asked for.
        _ => response.last_modified = None,
    }
    if !response.etag.is_empty() {
        response.fields.set(Token::ETAG, &response.etag);
        response.etag.clear();
    }
    if ex.response.allow_ranges
        && !ex.is_subrequest()
        && let Some(flow) = range::apply(ex, cx)
    {
        return flow;
    }
    make_absolute(ex, cx);
    Flow::Answer
}

/// Header filters of those that change bodies, in nginx's order: gunzip, addition, sub, charset, ssi, compress, range.
fn arm(ex: &mut Exchange, cx: Cx<'_>) {
    let Some(filters) = &cx.location(ex.location).filters else {
        // An origin, or the answer that this becomes a part of, may ask for a charset where the location has none.
        if !ex.response.accel_charset.is_empty() || !ex.main_charset.is_empty() {
            charset::arm(None, ex, cx);
        }
        return;
    };
    if let Some(plan) = &filters.coding
        && plan.gunzip
    {
        gunzip::arm(plan, ex, cx);
    }
    if let Some(plan) = &filters.addition {
        addition::arm(plan, ex);
    }
    if let Some(plan) = &filters.sub {
        sub::arm(plan, ex, cx);
    }
    if filters.charset.is_some()
        || !ex.response.accel_charset.is_empty()
        || !ex.main_charset.is_empty()
    {
        charset::arm(filters.charset.as_ref(), ex, cx);
    }
    if let Some(plan) = &filters.ssi {
        ssi::arm(plan, ex);
    }
    if let Some(plan) = &filters.coding {
        if !ex.is_subrequest() {
            compress::arm(plan, ex, cx);
        }
        if ex.response.vary_encoding && cx.location(ex.location).settings.gzip.gzip_vary {
            ex.response
                .fields
                .push_token(Token::VARY, b"Accept-Encoding");
        }
    }
}

/// Takes the body off a response that has none. An origin's exchange is ended where its body would be relayed, so
/// that it is booked and its connection used again.
fn drop_own_body(response: &mut Response) {
    if !matches!(response.body, Body::Origin(_) | Body::Stored(_)) {
        response.body = Body::Empty;
    }
}

/// Puts scheme, host and port before a `Location` that is a path.
fn make_absolute(ex: &mut Exchange, cx: Cx<'_>) {
    let core = &cx.location(ex.location).settings.core;
    if !ex.response.location_is_path
        || ex.response.location.first() != Some(&b'/')
        || !core.absolute_redirect
    {
        return;
    }
    let mut target = cx.local.buffers.take(128);
    target.extend_from_slice(ex.scheme());
    target.extend_from_slice(b"://");
    let local = match &ex.conn.local {
        Addr::Ip(at) => Some(*at),
        Addr::Unix(_) => None,
    };
    if core.server_name_in_redirect {
        target.extend_from_slice(&cx.plan.servers[ex.server].name);
    } else if !ex.host.is_empty() {
        target.extend_from_slice(&ex.host);
    } else {
        push_address(&mut target, &ex.conn.local);
    }
    let port = local.map_or(0, |at| at.port());
    let usual = if ex.conn.tls.is_some() { 443 } else { 80 };
    if core.port_in_redirect && port != 0 && port != usual {
        target.push(b':');
        target.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
    target.extend_from_slice(&ex.response.location);
    let old = std::mem::replace(&mut ex.response.location, target);
    cx.local.buffers.give(old);
    ex.response.location_is_path = false;
}

/// The text of an address without its port.
fn push_address(out: &mut Vec<u8>, addr: &Addr) {
    use std::io::Write as _;
    // Writing to a Vec cannot fail.
    let _ = match addr {
        Addr::Ip(at) => match at.ip() {
            std::net::IpAddr::V6(ip) => write!(out, "[{ip}]"),
            std::net::IpAddr::V4(ip) => write!(out, "{ip}"),
        },
        Addr::Unix(_) => out.write_all(b"unix:"),
    };
}
