//! What an origin answered, or that it did not: whether it is stored, for how long, and whether something stored is served
//! instead.
//!
//! Start at [`weigh`]; [`failed`] is for origins that have no answer.

use super::super::super::exchange::Exchange;
use super::super::super::flow::Flow;
use super::super::super::local::Cx;
use super::super::proxy;
use super::purge::words;
use super::{Cached, Status, any, is_strict, serve, status};
use crate::cache::policy::rfc9111::{self, Asked};
use crate::cache::policy::{self, HEAD_ONLY, NEVER_STALE, vary};
use crate::cache::{Facts, Fill, Meta, Purge};
use crate::plan::cache::CachePlan;
use crate::plan::location::{Content, ProxyPlan};
use crate::plan::model::{IgnoreHeaders, NextUpstream};
use crate::proto::h1::encode;
use crate::proto::head::{Fields, Method, ResponseHead};
use crate::proto::tokens::Token;
use crate::upstream::origin::Lease;
use crate::upstream::retry::Cause;

/// Longest tag of an answer that is sent as a condition, as in nginx.
const ETAG_BYTES_MAX: usize = 128;

fn plans<'a>(ex: &Exchange, cx: Cx<'a>) -> Option<(&'a ProxyPlan, &'a CachePlan)> {
    match &cx.location(ex.location).content {
        Content::Proxy(plan) => Some((plan, plan.cache.as_deref()?)),
        _ => None,
    }
}

/// Whether a 304 is an answer to our own question.
#[must_use]
pub fn is_revalidation(ex: &Exchange, cx: Cx<'_>, answered: u16) -> bool {
    answered == 304
        && ex
            .cached
            .as_ref()
            .is_some_and(|cached| cached.status == Status::Expired && cached.object.is_some())
        && plans(ex, cx).is_some_and(|(_, cache)| super::revalidates(cache))
}

/// What is stored has not changed: it lives on, and is served.
pub async fn revalidated(ex: &mut Exchange, cx: Cx<'_>, mut origin: Lease) -> Flow {
    let now = cx.local.clock.unix().secs;
    let sent = sent_at(ex, cx, now);
    let newer = std::mem::take(&mut origin.inbound.head.fields);
    proxy::finish_unread(ex, cx, origin);
    let Some((plan, cache)) = plans(ex, cx) else {
        return Flow::Error(500);
    };
    let Some(cached) = &mut ex.cached else {
        return Flow::Error(500);
    };
    let (Some(object), fill) = (cached.object.take(), cached.fill.take()) else {
        return Flow::Error(500);
    };
    cached.status = Status::Revalidated;
    let ignored = cx.location(ex.location).pass.ignore_headers;
    let valid = policy::valid(&cache.settings.cache_valid, object.meta.facts.status);
    let head = read(&object.head);
    let fresh = if is_strict(cache) {
        let mut fields = head.fields;
        rfc9111::update(&mut fields, &newer);
        let mut facts = rfc9111::freshened(
            object.meta.facts.status,
            &fields,
            sent,
            (ignored, valid),
            now,
        );
        facts.flags |= object.meta.facts.flags & HEAD_ONLY;
        let mut bytes = Vec::with_capacity(object.head.len() + 64);
        write_head(
            &mut bytes,
            object.meta.facts.status,
            &status_line_of(&object.head),
            &fields,
        );
        Some((facts, Some(bytes)))
    } else {
        renewed(
            &object.meta.facts,
            (&newer, &head.fields),
            (ignored, valid),
            now,
        )
        .map(|facts| (facts, None))
    };
    let updated = match (fill, fresh) {
        (Some(fill), Some((facts, head))) => fill.revalidated(facts, head.as_deref()).await,
        (Some(fill), None) => {
            // Nothing says for how long: it stays as it is.
            fill.uncacheable();
            None
        }
        (None, _) => None,
    };
    let object = updated.unwrap_or(object);
    serve::object(ex, cx, plan, &object).unwrap_or(Flow::Error(500))
}

/// nginx's facts of an answer that a 304 confirmed; none when nothing says for how long.
fn renewed(
    old: &Facts,
    (newer, stored): (&Fields, &Fields),
    (ignored, valid): (IgnoreHeaders, i64),
    now: i64,
) -> Option<Facts> {
    let mut own = policy::own(newer, ignored, now);
    if own.valid_until == 0 {
        own = policy::own(stored, ignored, now);
    }
    if own.valid_until == 0 && valid > 0 {
        own.valid_until = now.saturating_add(valid);
    }
    (own.valid_until != 0).then_some(Facts {
        received: now,
        date: now,
        age: 0,
        valid_until: own.valid_until,
        while_revalidate: own.while_revalidate,
        if_error: own.if_error,
        ..*old
    })
}

/// Reads a stored head; one that cannot be read has no fields.
fn read(bytes: &[u8]) -> ResponseHead {
    let mut head = ResponseHead::default();
    let mut parser = crate::proto::h1::parse::ResponseParser::new();
    if parser.parse(bytes, usize::MAX, &mut head).is_err() {
        head.clear();
    }
    head
}

fn status_line_of(head: &[u8]) -> Vec<u8> {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let at = line.iter().position(|&b| b == b' ').map_or(0, |at| at + 1);
    line[at..].to_vec()
}

/// When the last attempt began, in seconds since 1970.
fn sent_at(ex: &Exchange, cx: Cx<'_>, now: i64) -> i64 {
    let ms = ex
        .attempts
        .last()
        .map_or(0, |attempt| cx.local.clock.mono().ms_since(attempt.started));
    now - i64::try_from(ms / 1000).unwrap_or(0)
}

/// The word of `…_use_stale` for a failure.
fn condition(cause: Cause) -> NextUpstream {
    match cause {
        Cause::NoLive | Cause::Full | Cause::Local | Cause::Error => NextUpstream::ERROR,
        Cause::Timeout => NextUpstream::TIMEOUT,
        Cause::InvalidHeader => NextUpstream::INVALID_HEADER,
        Cause::Status(500) => NextUpstream::HTTP_500,
        Cause::Status(502) => NextUpstream::HTTP_502,
        Cause::Status(503) => NextUpstream::HTTP_503,
        Cause::Status(504) => NextUpstream::HTTP_504,
        Cause::Status(403) => NextUpstream::HTTP_403,
        Cause::Status(404) => NextUpstream::HTTP_404,
        Cause::Status(429) => NextUpstream::HTTP_429,
        Cause::Status(_) => NextUpstream::default(),
    }
}

/// Whether what is stored may be served because of this failure.
fn may_be_stale(ex: &Exchange, cx: Cx<'_>, cause: Cause) -> bool {
    let (Some(cached), Some((_, cache))) = (ex.cached.as_deref(), plans(ex, cx)) else {
        return false;
    };
    let (Status::Expired, Some(object)) = (cached.status, &cached.object) else {
        return false;
    };
    let facts = &object.meta.facts;
    let now = cx.local.clock.unix().secs;
    let strict = is_strict(cache);
    if strict && facts.flags & NEVER_STALE != 0 || cached.asks.no_cache {
        return false;
    }
    let word = condition(cause);
    let told = word != NextUpstream::default() && cache.settings.cache_use_stale.allows(word);
    // nginx heeds stale-if-error where an origin has no answer; RFC 5861 where it has a bad one, too.
    let heeds = match cause {
        Cause::Status(status) => strict && matches!(status, 500 | 502..=504),
        _ => true,
    };
    let until = facts.valid_until.saturating_add(i64::from(facts.if_error));
    told || heeds && until >= now
}

/// Serves what is stored instead of an answer of this status; none when that is not wanted.
#[must_use]
pub fn instead(ex: &Exchange, cx: Cx<'_>, status: u16) -> bool {
    may_be_stale(ex, cx, Cause::Status(status))
}

/// Serves what is stored, although it is not fresh.
pub fn serve_stale(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let (Some(cached), Some((plan, _))) = (&mut ex.cached, plans_of(cx, ex.location)) else {
        return Flow::Error(500);
    };
    // Who waits may have more luck.
    cached.fill = None;
    cached.status = Status::Stale;
    match cached.object.take() {
        Some(object) => serve::object(ex, cx, plan, &object).unwrap_or(Flow::Error(500)),
        None => Flow::Error(500),
    }
}

fn plans_of(
    cx: Cx<'_>,
    location: crate::plan::LocationId,
) -> Option<(&'_ ProxyPlan, &'_ CachePlan)> {
    match &cx.location(location).content {
        Content::Proxy(plan) => Some((plan, plan.cache.as_deref()?)),
        _ => None,
    }
}

/// No origin has an answer: what is stored is served, or the error is remembered.
pub fn failed(ex: &mut Exchange, cx: Cx<'_>, cause: Cause, answer: u16) -> Flow {
    if may_be_stale(ex, cx, cause) {
        return serve_stale(ex, cx);
    }
    if matches!(answer, 502 | 504)
        && let Some((_, cache)) = plans(ex, cx)
        && let Some(cached) = &mut ex.cached
        && cached.cacheable
    {
        let now = cx.local.clock.unix().secs;
        let valid = policy::valid(&cache.settings.cache_valid, answer);
        if valid > 0
            && !is_strict(cache)
            && let Some(fill) = cached.fill.take()
        {
            fill.remember_error(answer, now.saturating_add(valid));
        }
    }
    Flow::Error(answer)
}

/// A page of `error_page` takes an answer's place: that there is an error is remembered as long as the answer would be.
pub fn intercepted(ex: &mut Exchange, cx: Cx<'_>, answered: u16, head: &ResponseHead) {
    let Some((_, cache)) = plans(ex, cx) else {
        return;
    };
    let ignored = cx.location(ex.location).pass.ignore_headers;
    let now = cx.local.clock.unix().secs;
    let own = policy::own(&head.fields, ignored, now);
    let Some(cached) = &mut ex.cached else {
        return;
    };
    let Some(fill) = cached.fill.take() else {
        return;
    };
    let valid = policy::valid(&cache.settings.cache_valid, answered);
    let until = match own.valid_until {
        0 if valid > 0 => now.saturating_add(valid),
        until => until,
    };
    if cached.cacheable && own.cacheable && until > 0 && !is_strict(cache) {
        fill.remember_error(answered, until);
    } else {
        fill.uncacheable();
    }
}

/// An answer's head has come: whether it may be stored at all, which decides who judges the request's conditions.
pub fn weigh(ex: &mut Exchange, cx: Cx<'_>, head: &ResponseHead) {
    let Some((_, cache)) = plans(ex, cx) else {
        return;
    };
    let sliced = ex.slicing.is_some();
    let ignored = cx.location(ex.location).pass.ignore_headers;
    let now = cx.local.clock.unix().secs;
    let Some(cached) = &mut ex.cached else {
        return;
    };
    if !cached.cacheable {
        return;
    }
    // Differs from nginx: a part is stored as a slice only, and a 304 never: neither is an answer to another request.
    let partial = head.status == 206 && !sliced;
    cached.cacheable = !partial && head.status != 304 && head.status != 101;
    if cached.cacheable && !is_strict(cache) {
        cached.cacheable = policy::own(&head.fields, ignored, now).cacheable;
    }
}

/// Whether the answer is read ahead of the client, as configuration and `X-Accel-Buffering` have it.
#[must_use]
pub fn is_buffered(ex: &Exchange, cx: Cx<'_>) -> bool {
    let pass = &cx.location(ex.location).pass;
    let told = ex.upstream_fields.get(Token::X_ACCEL_BUFFERING);
    let told = told.filter(|_| !pass.ignore_headers.has(IgnoreHeaders::X_ACCEL_BUFFERING));
    match told {
        Some(word) if word.eq_ignore_ascii_case(b"no") => false,
        Some(word) if word.eq_ignore_ascii_case(b"yes") => true,
        _ => pass.buffering,
    }
}

/// The answer's head was taken over: the body is stored on its way, if it is to be. `buffered` is whether it is read ahead
/// of the client.
pub fn begin(
    ex: &mut Exchange,
    cx: Cx<'_>,
    answered: u16,
    buffered: bool,
    length: Option<u64>,
) -> Option<Fill> {
    let (_, cache) = plans(ex, cx)?;
    if let Some(cached) = &mut ex.cached
        && cached.cacheable
    {
        ex.response.conditional = true;
    }
    let refuses = any(&cache.no_cache, ex, cx);
    let meta = meta(ex, cx, cache, answered);
    let cached = ex.cached.as_deref_mut()?;
    let meta = meta.filter(|_| cached.cacheable && buffered && !refuses);
    let fill = cached.fill.take();
    cached.stored = fill.is_some() && meta.is_some();
    let begun = match (fill, meta) {
        (Some(mut fill), Some(meta)) => {
            let mut head = cx.local.buffers.take(1024);
            write_head(
                &mut head,
                answered,
                &ex.response.reason,
                &ex.upstream_fields,
            );
            let length = match meta.facts.flags & HEAD_ONLY {
                0 => length,
                // Its length is that of another answer's body.
                _ => Some(0),
            };
            fill.begin(meta, &head, length);
            cx.local.buffers.give(head);
            Some(fill)
        }
        (Some(fill), None) => {
            fill.uncacheable();
            None
        }
        (None, _) => None,
    };
    status::add(ex, cache);
    begun
}

/// What is kept with an answer; none when it is not stored.
fn meta(ex: &Exchange, cx: Cx<'_>, cache: &CachePlan, answered: u16) -> Option<Meta> {
    let cached = ex.cached.as_deref().filter(|cached| cached.cacheable)?;
    let fields = &ex.upstream_fields;
    let ignored = cx.location(ex.location).pass.ignore_headers;
    let mut facts = facts(ex, cx, cached, cache, answered)?;
    if ex.method == Method::Head && !cached.as_get {
        facts.flags |= HEAD_ONLY;
    }
    let whole = is_strict(cache) || matches!(answered, 200 | 206);
    let modified = fields.get(Token::LAST_MODIFIED);
    facts.last_modified = modified
        .and_then(crate::base::time::parse_http_date)
        .filter(|_| whole)
        .unwrap_or(-1);
    let etag = fields
        .get(Token::ETAG)
        .filter(|etag| whole && etag.len() <= ETAG_BYTES_MAX);
    let vary = match ignored.has(IgnoreHeaders::VARY) {
        true => Vec::new(),
        false => vary::names(fields)?,
    };
    let mut variant = Vec::new();
    if !vary.is_empty() {
        vary::variant(&vary, &ex.head.fields, &mut variant);
    }
    Some(Meta {
        facts,
        etag: etag.unwrap_or_default().to_vec(),
        vary,
        variant,
        tags: tags(fields),
        extra: Vec::new(),
    })
}

fn facts(
    ex: &Exchange,
    cx: Cx<'_>,
    cached: &Cached,
    cache: &CachePlan,
    answered: u16,
) -> Option<Facts> {
    let fields = &ex.upstream_fields;
    let ignored = cx.location(ex.location).pass.ignore_headers;
    let now = cx.local.clock.unix().secs;
    let valid = policy::valid(&cache.settings.cache_valid, answered);
    if is_strict(cache) {
        let asked = Asked {
            directives: cached.asks,
            authorized: ex.head.fields.has(Token::AUTHORIZATION),
            sent: sent_at(ex, cx, now),
        };
        // A slice is stored as what it is a part of would be.
        let as_if = if answered == 206 { 200 } else { answered };
        let mut facts = rfc9111::judge(as_if, fields, &asked, (ignored, valid), now)?;
        facts.status = answered;
        return Some(facts);
    }
    let mut own = policy::own(fields, ignored, now);
    if own.valid_until == 0 && valid > 0 {
        own.valid_until = now.saturating_add(valid);
    }
    (own.cacheable && own.valid_until != 0).then_some(Facts {
        status: answered,
        flags: 0,
        received: now,
        date: now,
        last_modified: -1,
        age: 0,
        valid_until: own.valid_until,
        while_revalidate: own.while_revalidate,
        if_error: own.if_error,
    })
}

/// `Cache-Tag` and `Surrogate-Key`, one blank between two.
fn tags(fields: &Fields) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for name in [&b"cache-tag"[..], b"surrogate-key"] {
        for tag in fields.get_name_all(name).flat_map(words) {
            if !out.is_empty() {
                out.push(b' ');
            }
            out.extend_from_slice(tag);
        }
    }
    out
}

/// Writes a head as it is stored: without what belonged to the origin's connection.
fn write_head(out: &mut Vec<u8>, status: u16, status_line: &[u8], fields: &Fields) {
    if status_line.is_empty() {
        // An application behind FastCGI need not say it.
        encode::status_line(out, status);
    } else {
        encode::status_line_with(out, status_line);
    }
    for field in fields.iter() {
        let hop = matches!(
            field.token,
            Token::CONNECTION
                | Token::KEEP_ALIVE
                | Token::TRANSFER_ENCODING
                | Token::TRAILER
                | Token::TE
                | Token::UPGRADE
                | Token::PROXY_CONNECTION
        );
        if !hop {
            encode::field(out, field.name, field.value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// A request that changes what it asks about has succeeded: what is stored under it is gone (RFC 9111 4.4).
pub async fn invalidate(ex: &mut Exchange, cx: Cx<'_>, answered: u16) {
    let Some(cached) = ex.cached.as_deref() else {
        return;
    };
    if !cached.invalidates || !(200..400).contains(&answered) {
        return;
    }
    if let Some(store) = &cached.store {
        cx.local
            .cache
            .purge(store, Purge::Key(&cached.key), false)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_stored_without_what_belongs_to_a_connection() {
        let mut fields = Fields::new();
        for (name, value) in [
            ("Content-Type", "a/b"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("X-A", "1"),
        ] {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let mut out = Vec::new();
        write_head(&mut out, 200, b"200 OK", &fields);
        assert_eq!(
            out,
            b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nX-A: 1\r\n\r\n"
        );
        assert_eq!(status_line_of(&out), b"200 OK");
        assert_eq!(read(&out).status, 200);
    }

    #[test]
    fn tags_of_both_fields() {
        let mut fields = Fields::new();
        fields.push(b"Cache-Tag", b"a, b");
        fields.push(b"Surrogate-Key", b"c d");
        assert_eq!(tags(&fields), b"a b c d");
    }
}
