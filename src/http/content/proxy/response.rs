//! An origin's response head becomes the exchange's: hidden and hop-by-hop fields fall away, `X-Accel-*` steers us,
//! redirects and cookies are rewritten.

use std::ops::ControlFlow;

use super::super::super::exchange::Exchange;
use super::super::super::flow::{Flow, Reroute};
use super::super::super::local::Cx;
use super::super::super::log::{self, Text};
use super::redirect;
use crate::base::size;
use crate::plan::location::{ProxyPlan, WirePlan};
use crate::plan::model::{IgnoreHeaders, LogLevel};
use crate::proto::head::{FieldRef, Method, ResponseHead};
use crate::proto::tokens::Token;
use crate::proto::uri;

/// Fields that survive an `X-Accel-Redirect`.
const KEPT_ON_REDIRECT: [Token; 6] = [
    Token::CONTENT_TYPE,
    Token::SET_COOKIE,
    Token::CONTENT_DISPOSITION,
    Token::CACHE_CONTROL,
    Token::EXPIRES,
    Token::ACCEPT_RANGES,
];

/// Takes the head over into `ex.response`. `Break` when `X-Accel-Redirect` sends the request elsewhere: the origin's
/// body is not wanted then.
pub fn take_head(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    head: &ResponseHead,
) -> ControlFlow<Flow> {
    let ignored = cx.location(ex.location).pass.ignore_headers;
    steer(ex, plan, head, ignored);
    if !ignored.has(IgnoreHeaders::X_ACCEL_REDIRECT)
        && let Some(target) = head.fields.get(Token::X_ACCEL_REDIRECT)
    {
        return ControlFlow::Break(accel_redirect(ex, cx, plan, head, target));
    }
    ex.response.status = head.status;
    ex.response.reason.clear();
    ex.response
        .reason
        .extend_from_slice(head.bytes(head.status_line));
    ex.response.upstream = true;
    // Over HTTP an origin that says nothing of itself is left alone; an application behind FastCGI is part of us.
    let silent = plan.wire.is_http();
    let own =
        |token, name| !plan.hidden.contains(token, name) && (silent || head.fields.has(token));
    ex.response.no_server = own(Token::SERVER, b"server");
    ex.response.no_date = own(Token::DATE, b"date");
    // What most origins say names a field that is dropped anyway.
    let usual = |list: &[u8]| list.eq_ignore_ascii_case(b"keep-alive");
    let named =
        head.fields.has(Token::CONNECTION) && !head.fields.get_all(Token::CONNECTION).all(usual);
    let gone = connection_fields(head.status);
    for field in head.fields.list() {
        // One look at a set tells of most fields that they do not pass, before their bytes are touched.
        if field.token.bit() & gone != 0 {
            continue;
        }
        let field = head.fields.field(field);
        if plan.hidden.contains(field.token, field.name) {
            continue;
        }
        // Differs from nginx: fields named in the origin's Connection are dropped (RFC 9110 7.6.1).
        if named && field.token != Token::UPGRADE && connection_names(head, field.name) {
            continue;
        }
        take_field(ex, cx, plan, field);
    }
    ControlFlow::Continue(())
}

/// Fields that belong to the origin's connection or its framing.
///
/// Differs from nginx: `Upgrade` is one of them, and only passes with a 101.
fn connection_fields(status: u16) -> u128 {
    const ALWAYS: u128 = Token::CONNECTION.bit()
        | Token::KEEP_ALIVE.bit()
        | Token::TRANSFER_ENCODING.bit()
        | Token::CONTENT_LENGTH.bit()
        | Token::TRAILER.bit()
        | Token::PROXY_CONNECTION.bit();
    match status {
        101 => ALWAYS,
        _ => ALWAYS | Token::UPGRADE.bit(),
    }
}

fn connection_names(head: &ResponseHead, name: &[u8]) -> bool {
    head.fields
        .get_all(Token::CONNECTION)
        .any(|list| crate::proto::head::list_has(list, name))
}

fn take_field(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, field: FieldRef<'_>) {
    match field.token {
        Token::CONTENT_TYPE => {
            ex.response.content_type.clear();
            ex.response.content_type.extend_from_slice(field.value);
        }
        Token::LOCATION if !plan.redirects.is_empty() => {
            match redirect::location(ex, cx, plan, field.value) {
                Some(new) if new.starts_with(b"/") => {
                    ex.response.location = new;
                    ex.response.location_is_path = true;
                }
                Some(new) => ex.response.fields.push_with(field.token, field.name, &new),
                None => ex
                    .response
                    .fields
                    .push_with(field.token, field.name, field.value),
            }
        }
        Token::REFRESH if !plan.redirects.is_empty() => {
            let new = redirect::refresh(ex, cx, plan, field.value);
            let value = new.as_deref().unwrap_or(field.value);
            ex.response.fields.push_with(field.token, field.name, value);
        }
        Token::SET_COOKIE if redirect::has_cookie_rules(plan) => {
            let new = redirect::cookie(ex, cx, plan, field.value);
            let value = new.as_deref().unwrap_or(field.value);
            ex.response.fields.push_with(field.token, field.name, value);
        }
        Token::ACCEPT_RANGES if cx.location(ex.location).pass.force_ranges => {}
        // The origin is asked for the whole: ranges of it are ours to cut.
        Token::ACCEPT_RANGES if ex.cached.as_ref().is_some_and(|cached| cached.cacheable) => {
            ex.response.allow_ranges = true;
            ex.response.single_range = true;
        }
        token => ex.response.fields.push_with(token, field.name, field.value),
    }
}

/// `X-Accel-Buffering`, `X-Accel-Charset` and `X-Accel-Limit-Rate`.
fn steer(ex: &mut Exchange, plan: &ProxyPlan, head: &ResponseHead, ignored: IgnoreHeaders) {
    if !ignored.has(IgnoreHeaders::X_ACCEL_BUFFERING)
        // A call goes both ways at once, whatever the origin says.
        && !matches!(plan.wire, WirePlan::Grpc { .. })
        && let Some(value) = head.fields.get(Token::X_ACCEL_BUFFERING)
    {
        if value.eq_ignore_ascii_case(b"no") {
            ex.buffering = false;
        } else if value.eq_ignore_ascii_case(b"yes") && !ex.is_subrequest() {
            ex.buffering = true;
        }
    }
    if !ignored.has(IgnoreHeaders::X_ACCEL_CHARSET)
        && let Some(value) = head.fields.get(Token::X_ACCEL_CHARSET)
    {
        ex.response.accel_charset.clear();
        ex.response.accel_charset.extend_from_slice(value);
    }
    if !ignored.has(IgnoreHeaders::X_ACCEL_LIMIT_RATE)
        && let Some(value) = head.fields.get(Token::X_ACCEL_LIMIT_RATE)
        && let Some(rate) = size::parse_size(value)
    {
        ex.limit_rate = Some(rate);
    }
}

fn accel_redirect(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    head: &ResponseHead,
    target: &[u8],
) -> Flow {
    for field in head.fields.iter() {
        if KEPT_ON_REDIRECT.contains(&field.token) && !plan.hidden.contains(field.token, field.name)
        {
            take_field(ex, cx, plan, field);
        }
    }
    if ex.method != Method::Head {
        ex.method = Method::Get;
    }
    if target.starts_with(b"@") {
        let named = &cx.plan.servers[ex.server].named;
        return match named.iter().find(|(name, _)| name == target) {
            Some(&(_, id)) => Flow::Reroute(Reroute::Named(id)),
            None => {
                let text = format_args!("could not find named location \"{}\"", Text(target));
                log::error(ex, cx, LogLevel::Error, text);
                Flow::Error(500)
            }
        };
    }
    match uri::parse_unsafe(target) {
        Some((path, args)) => {
            ex.uri = path;
            ex.args = args;
            ex.target_unchanged = false;
            Flow::Reroute(Reroute::Redirect)
        }
        None => {
            log::error(
                ex,
                cx,
                LogLevel::Error,
                format_args!("unsafe URI \"{}\" was detected", Text(target)),
            );
            Flow::Error(404)
        }
    }
}
