//! A stored answer becomes the exchange's: its head goes the way of an origin's head, its body is sent from where it is.
//!
//! Start at [`object`].

use std::rc::Rc;

use super::super::super::exchange::{Body, Exchange};
use super::super::super::flow::Flow;
use super::super::super::local::Cx;
use super::super::files::opening::Held;
use super::super::proxy::response;
use super::body::Stored;
use super::{Cached, is_strict, status};
use crate::cache::policy::HEAD_ONLY;
use crate::cache::policy::rfc9111;
use crate::cache::{self, Facts, Live, Object};
use crate::plan::location::ProxyPlan;
use crate::proto::h1::parse::{Parsed, ResponseParser};
use crate::proto::head::{Method, ResponseHead};
use crate::proto::tokens::Token;

/// Serves a stored answer; none when its head cannot be read.
pub fn object(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    object: &Rc<Object>,
) -> Option<Flow> {
    let facts = &object.meta.facts;
    match head(ex, cx, plan, &object.head, facts)? {
        Flow::Answer => {}
        other => return Some(other),
    }
    if facts.flags & HEAD_ONLY == 0 {
        ex.response.content_length = Some(object.len);
    }
    ex.response.body = match &object.body {
        cache::Body::Memory(bytes) => {
            let mut copy = cx.local.buffers.take(bytes.len());
            copy.extend_from_slice(bytes);
            Body::Buffer(copy)
        }
        cache::Body::File { file, offset } => Body::File {
            file: Held::Shared(Rc::clone(file)),
            offset: *offset,
            length: object.len,
        },
    };
    Some(Flow::Answer)
}

/// Serves an answer that is still coming; none when its head cannot be read.
pub fn live(ex: &mut Exchange, cx: Cx<'_>, plan: &ProxyPlan, live: Live) -> Option<Flow> {
    let facts = live.meta().facts;
    match head(ex, cx, plan, live.head(), &facts)? {
        Flow::Answer => {}
        other => return Some(other),
    }
    if let Some(length) = live.length() {
        ex.response.content_length = Some(length);
    }
    ex.response.single_range = true;
    ex.response.body = Body::Stored(Box::new(Stored::live(live)));
    Some(Flow::Answer)
}

/// Makes the head of the answer.
fn head(
    ex: &mut Exchange,
    cx: Cx<'_>,
    plan: &ProxyPlan,
    bytes: &[u8],
    facts: &Facts,
) -> Option<Flow> {
    let mut head = ResponseHead {
        fields: std::mem::take(&mut ex.upstream_fields),
        ..ResponseHead::default()
    };
    head.fields.clear();
    let parsed = ResponseParser::new().parse(bytes, usize::MAX, &mut head);
    if !matches!(parsed, Ok(Parsed::Complete(_))) {
        return None;
    }
    let ranges = head.fields.has(Token::ACCEPT_RANGES);
    let taken = response::take_head(ex, cx, plan, &head);
    let length = head.content_length;
    ex.upstream_fields = head.fields;
    if let std::ops::ControlFlow::Break(flow) = taken {
        return Some(flow);
    }
    let response = &mut ex.response;
    response.conditional = true;
    if ranges || cx.location(ex.location).pass.force_ranges {
        response.fields.remove(Token::ACCEPT_RANGES);
        response.allow_ranges = true;
        response.single_range = false;
    }
    if ex.method == Method::Head || matches!(response.status, 204 | 304) {
        response.content_length = length;
    }
    let now = cx.local.clock.unix().secs;
    let age = rfc9111::age(facts, now);
    if let Some(cached) = &mut ex.cached {
        tell(cached, facts, age, now);
    }
    if let Some(cache) = &plan.cache {
        if is_strict(cache) {
            // RFC 9111 5.1: what was not validated just now says how old it is.
            let mut digits = itoa::Buffer::new();
            let text = digits.format(age).as_bytes();
            ex.response.fields.set(Token::AGE, text);
        }
        status::add(ex, cache);
    }
    Some(Flow::Answer)
}

fn tell(cached: &mut Cached, facts: &Facts, age: i64, now: i64) {
    cached.age = Some(age);
    cached.ttl = facts.valid_until.saturating_sub(now);
}
