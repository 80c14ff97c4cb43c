//! `expires`, `add_header` and `add_trailer`, and the fields that every head begins with.

use super::super::exchange::{Exchange, Response};
use super::super::local::Cx;
use super::super::vars;
use crate::base::size;
use crate::base::time::{self, HTTP_DATE_LEN};
use crate::plan::model::{ServerTokens, Settings};
use crate::plan::rules::{AddHeader, Expires, HeaderRules};
use crate::proto::tokens::Token;

/// Edits the head by the location's rules.
#[inline]
pub fn apply(ex: &mut Exchange, cx: Cx<'_>) {
    let rules = &cx.location(ex.location).headers;
    if rules.expires.is_none() && rules.add.is_empty() && rules.trailers.is_empty() {
        return;
    }
    apply_rules(rules, ex, cx);
}

#[inline(never)]
fn apply_rules(rules: &HeaderRules, ex: &mut Exchange, cx: Cx<'_>) {
    let safe = is_safe(ex.response.status);
    if let Some(rule) = &rules.expires
        && safe
    {
        expires(rule, ex, cx);
    }
    for rule in &rules.add {
        if safe || rule.always {
            add(rule, ex, cx);
        }
    }
    ex.response.expect_trailers |= rules.trailers.iter().any(|rule| safe || rule.always);
}

/// What this program calls itself in its answers.
#[must_use]
pub fn server_name<'a>(cx: Cx<'a>, settings: &Settings) -> &'a [u8] {
    let token = &cx.plan.server_token;
    match settings.core.server_tokens {
        ServerTokens::Off => &token.short,
        ServerTokens::On => &token.full,
        ServerTokens::Build => &token.build,
    }
}

/// What the `Server` field says; empty when an origin's own is passed on. One that `add_header` adds stands beside it.
#[must_use]
pub fn server<'a>(response: &Response, cx: Cx<'a>, settings: &Settings) -> &'a [u8] {
    if response.no_server {
        return b"";
    }
    server_name(cx, settings)
}

/// What the `Date` field says, formatted once a second; empty when an origin's own is passed on.
#[must_use]
pub fn date<'a>(response: &Response, cx: Cx<'_>, text: &'a mut [u8; HTTP_DATE_LEN]) -> &'a [u8] {
    if response.no_date {
        return b"";
    }
    let now = cx.local.clock.unix().secs;
    let (cached, known) = cx.local.date.get();
    *text = if cached == now {
        known
    } else {
        time::http_date(now)
    };
    cx.local.date.set((now, *text));
    text
}

/// What the `Last-Modified` field says; empty when there is none.
#[must_use]
pub fn last_modified<'a>(response: &Response, text: &'a mut [u8; HTTP_DATE_LEN]) -> &'a [u8] {
    let Some(at) = response.last_modified else {
        return b"";
    };
    *text = time::http_date(at);
    text
}

/// Adds the trailers of the location; to be called when the whole body was sent.
pub fn trailers(ex: &mut Exchange, cx: Cx<'_>) {
    let rules = &cx.location(ex.location).headers;
    let safe = is_safe(ex.response.status);
    for rule in &rules.trailers {
        if !safe && !rule.always {
            continue;
        }
        let mut value = cx.local.buffers.take(64);
        vars::eval(&rule.value, ex, cx, &mut value);
        if !value.is_empty() {
            ex.response
                .trailers
                .get_or_insert_default()
                .push_with(rule.token, &rule.name, &value);
        }
        cx.local.buffers.give(value);
    }
}

/// Statuses that fields are added to without `always`.
fn is_safe(status: u16) -> bool {
    matches!(status, 200 | 201 | 204 | 206 | 301..=304 | 307 | 308)
}

/// One `add_header`.
fn add(rule: &AddHeader, ex: &mut Exchange, cx: Cx<'_>) {
    let mut value = cx.local.buffers.take(64);
    vars::eval(&rule.value, ex, cx, &mut value);
    let response = &mut ex.response;
    match rule.token {
        Token::LAST_MODIFIED => {
            response.last_modified = None;
            replace(rule, &value, ex);
        }
        Token::ETAG => {
            response.etag.clear();
            replace(rule, &value, ex);
        }
        _ if value.is_empty() => {}
        token => response.fields.push_with(token, &rule.name, &value),
    }
    cx.local.buffers.give(value);
}

/// Replaces a field that there is one of; an empty value removes it.
fn replace(rule: &AddHeader, value: &[u8], ex: &mut Exchange) {
    let fields = &mut ex.response.fields;
    fields.remove(rule.token);
    if !value.is_empty() {
        fields.push_with(rule.token, &rule.name, value);
    }
}

/// An `expires` that is ready to be used.
enum Lifetime {
    Off,
    Epoch,
    Max,
    Access(i64),
    Modified(i64),
    Daily(u32),
}

/// Sets `Expires` and `Cache-Control`.
fn expires(rule: &Expires, ex: &mut Exchange, cx: Cx<'_>) {
    let (lifetime, negative) = match rule {
        Expires::Epoch => (Lifetime::Epoch, false),
        Expires::Max => (Lifetime::Max, false),
        Expires::Access(seconds) => (Lifetime::Access(*seconds), *seconds < 0),
        Expires::Modified(seconds) => (Lifetime::Modified(*seconds), *seconds < 0),
        Expires::Daily(second) => (Lifetime::Daily(*second), false),
        Expires::Dynamic { value, modified } => {
            let mut text = cx.local.buffers.take(32);
            vars::eval(value, ex, cx, &mut text);
            let lifetime = parse(&text, *modified);
            cx.local.buffers.give(text);
            (lifetime, false)
        }
    };
    let now = cx.local.clock.unix();
    let (at, age) = match lifetime {
        Lifetime::Off => return,
        Lifetime::Epoch => return set(ex, b"Thu, 01 Jan 1970 00:00:01 GMT", None),
        Lifetime::Max => return set(ex, b"Thu, 31 Dec 2037 23:55:55 GMT", Some(315_360_000)),
        Lifetime::Access(0) | Lifetime::Modified(0) => (now.secs, 0),
        Lifetime::Access(seconds) => (now.secs.saturating_add(seconds), seconds),
        Lifetime::Modified(seconds) => match modified_at(ex) {
            Some(modified) => {
                let at = modified.saturating_add(seconds);
                (at, at - now.secs)
            }
            None => (now.secs.saturating_add(seconds), seconds),
        },
        Lifetime::Daily(second) => {
            let at = next_daily(now.secs, 60 * cx.local.clock.offset(now), second);
            (at, at - now.secs)
        }
    };
    let age = u64::try_from(age).ok().filter(|_| !negative);
    set(ex, &time::http_date(at), age);
}

/// Writes the two fields; no age means `no-cache`.
fn set(ex: &mut Exchange, date: &[u8], age: Option<u64>) {
    let fields = &mut ex.response.fields;
    fields.set(Token::EXPIRES, date);
    match age {
        None => fields.set(Token::CACHE_CONTROL, b"no-cache"),
        Some(age) => {
            let mut text = *b"max-age=00000000000000000000";
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(age).as_bytes();
            text[8..8 + digits.len()].copy_from_slice(digits);
            fields.set(Token::CACHE_CONTROL, &text[..8 + digits.len()]);
        }
    }
}

/// When the answer was last modified, if that is known.
pub(super) fn modified_at(ex: &Exchange) -> Option<i64> {
    let response = &ex.response;
    response
        .last_modified
        .or_else(|| time::parse_http_date(response.fields.get(Token::LAST_MODIFIED)?))
}

/// The next moment at which local clocks show `second` of the day; `offset` is seconds east of UTC.
fn next_daily(now: i64, offset: i32, second: u32) -> i64 {
    const DAY: i64 = 86_400;
    let local = now + i64::from(offset);
    let at = local - local.rem_euclid(DAY) + i64::from(second) - i64::from(offset);
    if at > now { at } else { at + DAY }
}

/// The value of an `expires` with variables; what is no lifetime changes nothing.
fn parse(text: &[u8], modified: bool) -> Lifetime {
    if !modified {
        match text {
            b"epoch" => return Lifetime::Epoch,
            b"max" => return Lifetime::Max,
            b"off" => return Lifetime::Off,
            _ => {}
        }
    }
    let (sign, digits) = match text {
        [b'@', _, ..] if modified => return Lifetime::Off,
        [b'@', rest @ ..] => {
            return match size::parse_sec(rest) {
                Some(second @ 0..=86_400) => Lifetime::Daily(second as u32),
                _ => Lifetime::Off,
            };
        }
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        all => (1, all),
    };
    let Some(seconds) = size::parse_sec(digits).and_then(|n| i64::try_from(n).ok()) else {
        return Lifetime::Off;
    };
    if modified {
        Lifetime::Modified(sign * seconds)
    } else {
        Lifetime::Access(sign * seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daily_moments_are_ahead_and_local() {
        // 1970-01-02 00:00:00 UTC.
        let midnight = 86_400;
        for (now, offset, second, want) in [
            (midnight, 0, 3600, midnight + 3600),
            (midnight + 3600, 0, 3600, midnight + 86_400 + 3600),
            (midnight + 7200, 0, 3600, midnight + 86_400 + 3600),
            // Two hours east it is 02:00 already: 03:00 there is one hour away.
            (midnight, 7200, 3 * 3600, midnight + 3600),
            // Two hours west it is 22:00 of the day before.
            (midnight, -7200, 23 * 3600, midnight + 3600),
        ] {
            assert_eq!(
                next_daily(now, offset, second),
                want,
                "{now} {offset} {second}"
            );
        }
    }

    #[test]
    fn values_with_variables_follow_the_grammar() {
        assert!(matches!(parse(b"epoch", false), Lifetime::Epoch));
        assert!(matches!(parse(b"max", false), Lifetime::Max));
        assert!(matches!(parse(b"off", false), Lifetime::Off));
        assert!(matches!(
            parse(b"", false),
            Lifetime::Off | Lifetime::Access(0)
        ));
        assert!(matches!(parse(b"nonsense", false), Lifetime::Off));
        assert!(matches!(parse(b"1h", false), Lifetime::Access(3600)));
        assert!(matches!(parse(b"+1h", false), Lifetime::Access(3600)));
        assert!(matches!(parse(b"-1", false), Lifetime::Access(-1)));
        assert!(matches!(parse(b"1m", true), Lifetime::Modified(60)));
        assert!(matches!(parse(b"@15h", false), Lifetime::Daily(54_000)));
        assert!(matches!(parse(b"@25h", false), Lifetime::Off));
        assert!(matches!(parse(b"@15h", true), Lifetime::Off));
        assert!(matches!(parse(b"max", true), Lifetime::Off));
    }

    #[test]
    fn statuses_that_get_fields() {
        let safe: Vec<u16> = (100..600).filter(|&status| is_safe(status)).collect();
        assert_eq!(safe, [200, 201, 204, 206, 301, 302, 303, 304, 307, 308]);
    }
}
