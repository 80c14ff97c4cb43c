//! A request over FastCGI: the parameters that the configuration writes, then the client's fields as `HTTP_*`.
//!
//! Builds the records before the body into one buffer and evaluates variables on the way; knows no sockets. Start at
//! [`build`].

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::vars;
use super::request::Unbuildable;
use crate::plan::cache::CachePlan;
use crate::plan::location::{FastCgiPlan, ParamNames};
use crate::proto::fastcgi::{self, Params, TooBig};
use crate::proto::head::{FieldRef, Fields};
use crate::proto::tokens::Token;

/// Appends everything that stands before the body.
pub fn build(
    ex: &mut Exchange,
    cx: Cx<'_>,
    wire: &FastCgiPlan,
    storing: Option<&CachePlan>,
    out: &mut Vec<u8>,
) -> Result<(), Unbuildable> {
    fastcgi::begin(wire.keep, out);
    let mut params = Params::begin(out);
    let mut text = cx.local.buffers.take(0);
    let mut result = configured(ex, cx, wire, (&mut params, out), &mut text);
    let mut replaced = &wire.replaced;
    if let Some(cache) = storing {
        replaced = &cache.replaced_params;
        for condition in &cache.conditions {
            text.clear();
            vars::eval(&condition.value, ex, cx, &mut text);
            if result.is_ok() && !text.is_empty() {
                result = params.pair((&condition.start, b""), &text, out);
            }
        }
    }
    if result.is_ok() && cx.location(ex.location).pass.pass_request_headers {
        result = client_fields(&ex.head.fields, replaced, (&mut params, out), &mut text);
    }
    cx.local.buffers.give(text);
    params.end(out);
    result.map_err(|TooBig(size)| Unbuildable::TooBig(size))
}

/// `fastcgi_param` in order.
fn configured(
    ex: &mut Exchange,
    cx: Cx<'_>,
    wire: &FastCgiPlan,
    (params, out): (&mut Params, &mut Vec<u8>),
    text: &mut Vec<u8>,
) -> Result<(), TooBig> {
    for param in &wire.params {
        text.clear();
        vars::eval(&param.value, ex, cx, text);
        if !(param.if_not_empty && text.is_empty()) {
            params.pair((&param.name, b""), text, out)?;
        }
    }
    Ok(())
}

/// The client's fields, less those that a parameter takes the place of. Fields of one name become one parameter, as in
/// nginx; two names that only differ in hyphens and underscores stay two.
fn client_fields(
    fields: &Fields,
    replaced: &ParamNames,
    (params, out): (&mut Params, &mut Vec<u8>),
    text: &mut Vec<u8>,
) -> Result<(), TooBig> {
    for (index, field) in fields.iter().enumerate() {
        text.clear();
        let upper = |b: &u8| match b {
            b'-' => b'_',
            b => b.to_ascii_uppercase(),
        };
        text.extend(field.name.iter().map(upper));
        if replaced.contains(text) || fields.iter().take(index).any(|f| same(f, field)) {
            continue;
        }
        let name_len = text.len();
        text.extend_from_slice(field.value);
        let separator: &[u8] = match field.token {
            Token::COOKIE => b"; ",
            _ => b", ",
        };
        for further in fields.iter().skip(index + 1).filter(|f| same(*f, field)) {
            text.extend_from_slice(separator);
            text.extend_from_slice(further.value);
        }
        let (name, value) = text.split_at(name_len);
        params.pair((b"HTTP_", name), value, out)?;
    }
    Ok(())
}

/// Whether two fields have one name.
fn same(a: FieldRef<'_>, b: FieldRef<'_>) -> bool {
    a.token == b.token && (a.token.is_known() || a.name.eq_ignore_ascii_case(b.name))
}
