//! The rules of RFC 9111 for a shared cache, where `proxy_cache_mode` asks for them.
//!
//! Pure. What nginx's mode and this one share (`Set-Cookie`, `Vary: *`) is asked for here too: the RFC would let us store
//! what no operator wants stored. Start at [`judge`], and [`admits`] for what a request lets us serve.

use super::directives::{Request, Response};
use super::{NEVER_STALE, NO_CACHE, vary};
use crate::base::time::parse_http_date;
use crate::cache::Facts;
use crate::plan::model::IgnoreHeaders;
use crate::proto::head::Fields;
use crate::proto::tokens::Token;

/// Statuses that may be stored without a word about how long (RFC 9110 15.1).
const HEURISTIC: [u16; 11] = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// Longest lifetime that is guessed.
const GUESS_MAX: i64 = 86_400;

/// Statuses whose meaning for a cache is known to us: all that are stored.
fn understood(status: u16) -> bool {
    matches!(status, 200..=205 | 207..=208 | 300..=303 | 307 | 308 | 400..=511)
}

/// What was asked, as far as it decides about storing.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The request's directives.
    pub directives: Request,
    /// It had `Authorization`.
    pub authorized: bool,
    /// When it was sent to the origin, in seconds since 1970.
    pub sent: i64,
}

/// Decides about an answer: none when it is not to be stored. `valid` is what the configuration says of answers that say
/// nothing themselves, 0 for nothing.
#[must_use]
pub fn judge(
    status: u16,
    fields: &Fields,
    asked: &Asked,
    (ignored, valid): (IgnoreHeaders, i64),
    now: i64,
) -> Option<Facts> {
    let said = said(fields, ignored);
    let (control, _) = said;
    if !may_store(status, &control, asked, fields, ignored, valid) {
        return None;
    }
    let facts = facts(status, fields, said, (asked.sent, valid), now);
    // What is never fresh is worth keeping only if the origin can be asked about it.
    let validator = facts.last_modified >= 0 || fields.has(Token::ETAG);
    let useful = facts.valid_until >= now || validator || facts.while_revalidate > 0;
    useful.then_some(facts)
}

/// What a 304 makes of the facts of a stored answer, whose fields were brought up to date.
#[must_use]
pub fn freshened(
    status: u16,
    fields: &Fields,
    sent: i64,
    (ignored, valid): (IgnoreHeaders, i64),
    now: i64,
) -> Facts {
    let said = said(fields, ignored);
    facts(status, fields, said, (sent, valid), now)
}

fn said(fields: &Fields, ignored: IgnoreHeaders) -> (Response, bool) {
    match ignored.has(IgnoreHeaders::CACHE_CONTROL) {
        true => (Response::default(), false),
        false => Response::read(fields),
    }
}

/// RFC 9111 3.
fn may_store(
    status: u16,
    control: &Response,
    asked: &Asked,
    fields: &Fields,
    ignored: IgnoreHeaders,
    valid: i64,
) -> bool {
    let understood = understood(status);
    // 5.2.2.3: who understands the status may go by the other directives.
    let no_store = control.no_store && !(control.must_understand && understood);
    if no_store || control.private || asked.directives.no_store {
        return false;
    }
    if !understood || (asked.authorized && !allows_authorized(control)) {
        return false;
    }
    if fields.has(Token::SET_COOKIE) && !ignored.has(IgnoreHeaders::SET_COOKIE) {
        return false;
    }
    if !ignored.has(IgnoreHeaders::VARY) && vary::names(fields).is_none() {
        return false;
    }
    control.public
        || control.max_age.is_some()
        || control.s_maxage.is_some()
        || (fields.has(Token::EXPIRES) && !ignored.has(IgnoreHeaders::EXPIRES))
        || HEURISTIC.contains(&status)
        || valid > 0
}

/// RFC 9111 3.5.
fn allows_authorized(control: &Response) -> bool {
    control.must_revalidate || control.public || control.s_maxage.is_some()
}

/// RFC 9111 4.2: when it is fresh, and what else holds for it. `sent` is when the origin was asked.
fn facts(
    status: u16,
    fields: &Fields,
    (control, targeted): (Response, bool),
    (sent, valid): (i64, i64),
    now: i64,
) -> Facts {
    let date = fields.get(Token::DATE).and_then(parse_http_date);
    let modified = fields.get(Token::LAST_MODIFIED).and_then(parse_http_date);
    let age = initial_age(fields, date.unwrap_or(now), sent, now);
    let lifetime = match lifetime(status, fields, &control, targeted, (date, modified), now) {
        Some(lifetime) => lifetime,
        None if valid > 0 => valid,
        None => guess(status, &control, (date.unwrap_or(now), modified)),
    };
    let mut flags = 0;
    if control.no_cache {
        flags |= NO_CACHE | NEVER_STALE;
    }
    if control.must_revalidate || control.proxy_revalidate || control.s_maxage.is_some() {
        flags |= NEVER_STALE;
    }
    let allowed = |seconds: Option<u32>| match flags & NEVER_STALE {
        0 => seconds.unwrap_or(0),
        _ => 0,
    };
    let left = lifetime.saturating_sub(i64::from(age));
    Facts {
        status,
        flags,
        received: now,
        date: date.unwrap_or(now),
        last_modified: modified.unwrap_or(-1),
        age,
        // Fresh while the lifetime is greater than the age, so up to the second before.
        valid_until: match control.no_cache {
            true => now.saturating_sub(1),
            false => now.saturating_add(left).saturating_sub(1),
        },
        while_revalidate: allowed(control.while_revalidate),
        if_error: allowed(control.if_error),
    }
}

/// RFC 9111 4.2.3: how old it was when it came.
fn initial_age(fields: &Fields, date: i64, sent: i64, now: i64) -> u32 {
    let told = fields.get(Token::AGE).map(|value| {
        // The first member of a list holds, and what is no number says nothing.
        let first = value.split(|&b| b == b',').next().unwrap_or_default();
        crate::base::size::parse_digits(first.trim_ascii()).unwrap_or(0)
    });
    let told = i64::try_from(told.unwrap_or(0)).unwrap_or(i64::MAX);
    let apparent = now.saturating_sub(date).max(0);
    let corrected = told.saturating_add(now.saturating_sub(sent).max(0));
    u32::try_from(apparent.max(corrected)).unwrap_or(u32::MAX)
}

/// RFC 9111 4.2.1: a lifetime that was told.
fn lifetime(
    _status: u16,
    fields: &Fields,
    control: &Response,
    targeted: bool,
    (date, _modified): (Option<i64>, Option<i64>),
    now: i64,
) -> Option<i64> {
    if control.invalid {
        return Some(0);
    }
    if let Some(seconds) = control.s_maxage.or(control.max_age) {
        return Some(i64::from(seconds));
    }
    // RFC 9213 2.2: whoever heeds the targeted field ignores Expires.
    if targeted {
        return None;
    }
    let expires = fields.get(Token::EXPIRES)?;
    // A date that is none is in the past (5.3).
    Some(match parse_http_date(expires) {
        Some(expires) => expires.saturating_sub(date.unwrap_or(now)).max(0),
        None => 0,
    })
}

/// RFC 9111 4.2.2: a tenth of the time for which it has not changed.
fn guess(status: u16, control: &Response, (date, modified): (i64, Option<i64>)) -> i64 {
    if !HEURISTIC.contains(&status) && !control.public {
        return 0;
    }
    modified.map_or(0, |modified| {
        (date.saturating_sub(modified) / 10).clamp(0, GUESS_MAX)
    })
}

/// How old a stored answer is (RFC 9111 4.2.3).
#[must_use]
pub fn age(facts: &Facts, now: i64) -> i64 {
    i64::from(facts.age).saturating_add(now.saturating_sub(facts.received).max(0))
}

/// What a request's directives make of a stored answer (RFC 9111 5.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admits {
    /// It may be served as it is.
    Yes,
    /// Not without asking the origin.
    Validated,
}

/// Whether a stored answer satisfies a request without the origin.
#[must_use]
pub fn admits(facts: &Facts, asks: &Request, now: i64) -> Admits {
    let flags = facts.flags;
    if asks.no_cache || flags & NO_CACHE != 0 {
        return Admits::Validated;
    }
    if let Some(max) = asks.max_age
        && age(facts, now) > i64::from(max)
        && asks.max_stale.is_none()
    {
        return Admits::Validated;
    }
    let left = facts.valid_until.saturating_add(1).saturating_sub(now);
    if let Some(least) = asks.min_fresh
        && left < i64::from(least)
    {
        return Admits::Validated;
    }
    if left > 0 {
        return Admits::Yes;
    }
    match asks.max_stale {
        Some(most) if flags & NEVER_STALE == 0 && -left <= i64::from(most) => Admits::Yes,
        _ => Admits::Validated,
    }
}

/// Brings the fields of a stored answer up to date with those of a 304 (RFC 9111 3.2).
pub fn update(stored: &mut Fields, newer: &Fields) {
    let kept = |token: Token| {
        matches!(
            token,
            Token::CONTENT_LENGTH
                | Token::CONTENT_ENCODING
                | Token::CONTENT_TYPE
                | Token::CONTENT_RANGE
                | Token::TRANSFER_ENCODING
                | Token::CONNECTION
                | Token::KEEP_ALIVE
                | Token::TRAILER
                | Token::TE
                | Token::UPGRADE
                | Token::PROXY_CONNECTION
                | Token::PROXY_AUTHENTICATE
                | Token::PROXY_AUTHORIZATION
        )
    };
    let mut names: Vec<&[u8]> = Vec::new();
    for field in newer.iter().filter(|field| !kept(field.token)) {
        if !names
            .iter()
            .any(|name| name.eq_ignore_ascii_case(field.name))
        {
            names.push(field.name);
        }
    }
    for name in &names {
        stored.remove_name(name);
    }
    for field in newer.iter().filter(|field| !kept(field.token)) {
        stored.push_with(field.token, field.name, field.value);
    }
}

#[cfg(test)]
#[path = "rfc9111_tests.rs"]
mod tests;
