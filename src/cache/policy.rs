//! What an answer says about being stored, and for how long: nginx's own rules, in the order in which nginx reads fields.
//!
//! Pure: fields and the time come in, a verdict goes out. The rules of RFC 9111 are in [`rfc9111`], variants in [`vary`].
//! Start at [`own`].

pub mod directives;
pub mod rfc9111;
pub mod vary;

use crate::plan::model::{CacheValid, IgnoreHeaders};
use crate::proto::head::Fields;
use crate::proto::tokens::Token;

/// The answer was to HEAD and has no body: it is not an answer to GET.
pub const HEAD_ONLY: u16 = 1;
/// It must not be served when it is stale, whatever the configuration says (RFC 9111).
pub const NEVER_STALE: u16 = 1 << 1;
/// It must be validated before each use (RFC 9111).
pub const NO_CACHE: u16 = 1 << 2;

/// What an answer says of itself by nginx's rules. Times are seconds since 1970; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Nothing forbids storing it.
    pub cacheable: bool,
    /// It is fresh until then.
    pub valid_until: i64,
    /// Seconds behind that in which it may be served while somebody fetches it anew.
    pub while_revalidate: u32,
    /// Seconds behind that in which it may be served when the origin fails.
    pub if_error: u32,
}

/// What is known while fields are read.
struct Reading {
    own: Own,
    no_cache: bool,
    expired: bool,
    accel: bool,
}

/// Reads the fields of an answer.
#[must_use]
pub fn own(fields: &Fields, ignored: IgnoreHeaders, now: i64) -> Own {
    let mut reading = Reading {
        own: Own {
            cacheable: true,
            valid_until: 0,
            while_revalidate: 0,
            if_error: 0,
        },
        no_cache: false,
        expired: false,
        accel: false,
    };
    for field in fields.iter() {
        match field.token {
            Token::SET_COOKIE if !ignored.has(IgnoreHeaders::SET_COOKIE) => {
                reading.own.cacheable = false;
            }
            Token::CACHE_CONTROL if !ignored.has(IgnoreHeaders::CACHE_CONTROL) => {
                reading.cache_control(field.value, now);
            }
            Token::EXPIRES if !ignored.has(IgnoreHeaders::EXPIRES) => {
                reading.expires(field.value, now);
            }
            Token::X_ACCEL_EXPIRES => {
                reading.accel = true;
                if !ignored.has(IgnoreHeaders::X_ACCEL_EXPIRES) {
                    reading.accel_expires(field.value, now);
                }
            }
            _ => {}
        }
    }
    if !ignored.has(IgnoreHeaders::VARY) && vary::names(fields).is_none() {
        reading.own.cacheable = false;
    }
    reading.own.cacheable &= !reading.no_cache && !reading.expired;
    reading.own
}

impl Reading {
    fn cache_control(&mut self, value: &[u8], now: i64) {
        let lower = value.to_ascii_lowercase();
        // Who sent X-Accel-Expires has said for how long; only what may be stale is still to be learnt.
        if (self.own.valid_until == 0 || !self.accel) && !self.lifetime(&lower, now) {
            return;
        }
        for (word, also_error) in [
            (&b"stale-while-revalidate="[..], true),
            (b"stale-if-error=", false),
        ] {
            let Some(rest) = after(&lower, word) else {
                continue;
            };
            let Some(seconds) = delta(rest) else {
                self.own.cacheable = false;
                return;
            };
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            if also_error {
                self.own.while_revalidate = seconds;
            }
            self.own.if_error = seconds;
        }
    }

    /// False when the field ends here.
    fn lifetime(&mut self, lower: &[u8], now: i64) -> bool {
        let words = [&b"no-cache"[..], b"no-store", b"private"];
        if words.iter().any(|word| after(lower, word).is_some()) {
            self.no_cache = true;
            return false;
        }
        let Some(rest) = after(lower, b"s-maxage=").or_else(|| after(lower, b"max-age=")) else {
            return true;
        };
        match delta(rest) {
            None => {
                self.own.cacheable = false;
                false
            }
            Some(0) => {
                self.no_cache = true;
                false
            }
            Some(seconds) => {
                self.own.valid_until = now.saturating_add(seconds);
                self.expired = false;
                true
            }
        }
    }

    fn expires(&mut self, value: &[u8], now: i64) {
        if self.own.valid_until != 0 {
            return;
        }
        match crate::base::time::parse_http_date(value) {
            Some(expires) if expires >= now => self.own.valid_until = expires,
            _ => self.expired = true,
        }
    }

    fn accel_expires(&mut self, value: &[u8], now: i64) {
        let (digits, at) = match value.strip_prefix(b"@") {
            Some(digits) => (digits, true),
            None => (value, false),
        };
        let Some(seconds) = digits_of(digits) else {
            return;
        };
        if seconds == 0 && !at {
            self.own.cacheable = false;
            return;
        }
        self.own.valid_until = match at {
            true => seconds,
            false => now.saturating_add(seconds),
        };
        self.no_cache = false;
        self.expired = false;
    }
}

/// `…_cache_valid`: seconds for a status; 0 is none.
#[must_use]
pub fn valid(list: &[CacheValid], status: u16) -> i64 {
    let entry = list.iter().find(|v| v.status == 0 || v.status == status);
    entry.map_or(0, |v| i64::try_from(v.seconds).unwrap_or(i64::MAX))
}

/// What follows a word, wherever it stands.
fn after<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    memchr::memmem::find(text, word).map(|at| &text[at + word.len()..])
}

/// Seconds up to a comma, semicolon or blank; none when anything else is among them.
fn delta(text: &[u8]) -> Option<i64> {
    let end = text.iter().position(|b| matches!(b, b',' | b';' | b' '));
    let digits = &text[..end.unwrap_or(text.len())];
    let mut value = 0i64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value
            .saturating_mul(10)
            .saturating_add(i64::from(byte - b'0'));
        if value == i64::MAX {
            // As in nginx: what is beyond counting is not read to its end.
            break;
        }
    }
    Some(value)
}

fn digits_of(text: &[u8]) -> Option<i64> {
    crate::base::size::parse_digits(text).and_then(|n| i64::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn fields(text: &str) -> Fields {
        let mut fields = Fields::new();
        for line in text.split('|').filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    /// What is read: `-` for what is not stored, else the seconds it is valid, then what may be stale.
    fn read(text: &str, ignored: IgnoreHeaders) -> String {
        let own = own(&fields(text), ignored, NOW);
        if !own.cacheable {
            return "-".into();
        }
        let valid = match own.valid_until {
            0 => "none".into(),
            at => (at - NOW).to_string(),
        };
        format!("{valid} {} {}", own.while_revalidate, own.if_error)
    }

    #[test]
    fn lifetimes_in_nginx_s_order() {
        let future = "Expires: Thu, 01 Jan 2032 00:00:00 GMT";
        let until = crate::base::time::parse_http_date(b"Thu, 01 Jan 2032 00:00:00 GMT");
        let far = format!("{} 0 0", until.unwrap() - NOW);
        let cases: &[(&str, &str)] = &[
            ("", "none 0 0"),
            ("Cache-Control: max-age=10", "10 0 0"),
            ("Cache-Control: Max-Age=10", "10 0 0"),
            ("Cache-Control: max-age=10, s-maxage=5", "5 0 0"),
            ("Cache-Control: max-age=0", "-"),
            ("Cache-Control: s-maxage=0, max-age=9", "-"),
            ("Cache-Control: max-age=x", "-"),
            ("Cache-Control: max-age=1x", "-"),
            ("Cache-Control: max-age=1 x", "1 0 0"),
            ("Cache-Control: max-age=", "-"),
            ("Cache-Control: no-cache", "-"),
            ("Cache-Control: no-cache=\"x\"", "-"),
            ("Cache-Control: no-store", "-"),
            ("Cache-Control: Private", "-"),
            ("Cache-Control: public", "none 0 0"),
            ("Cache-Control: max-age=10|Cache-Control: no-store", "-"),
            (
                "Cache-Control: max-age=10, stale-while-revalidate=7",
                "10 7 7",
            ),
            (
                "Cache-Control: max-age=10, stale-while-revalidate=7, stale-if-error=9",
                "10 7 9",
            ),
            ("Cache-Control: max-age=10, stale-if-error=x", "-"),
            ("Cache-Control: stale-if-error=3", "none 0 3"),
            (
                "Cache-Control: max-age=99999999999999999999",
                "9223372035154775807 0 0",
            ),
            ("Expires: Thu, 01 Jan 1970 00:00:01 GMT", "-"),
            ("Expires: 0", "-"),
            ("Expires: 0|Cache-Control: max-age=5", "5 0 0"),
            ("Cache-Control: max-age=5|Expires: 0", "5 0 0"),
            (future, &far),
            ("X-Accel-Expires: 3", "3 0 0"),
            ("X-Accel-Expires: 0", "-"),
            ("X-Accel-Expires: 0|Cache-Control: max-age=9", "-"),
            ("X-Accel-Expires: x", "none 0 0"),
            ("X-Accel-Expires: @1700000007", "7 0 0"),
            ("X-Accel-Expires: 3|Cache-Control: no-store", "3 0 0"),
            ("Cache-Control: no-store|X-Accel-Expires: 3", "3 0 0"),
            (
                "X-Accel-Expires: 3|Cache-Control: max-age=9, stale-if-error=4",
                "3 0 4",
            ),
            ("X-Accel-Expires: 3|Expires: 0", "3 0 0"),
            ("Expires: 0|X-Accel-Expires: 3", "3 0 0"),
            ("Set-Cookie: a=b|Cache-Control: max-age=9", "-"),
            ("Vary: *|Cache-Control: max-age=9", "-"),
            ("Vary: Accept|Cache-Control: max-age=9", "9 0 0"),
            ("Pragma: no-cache", "none 0 0"),
            (
                "Age: 100|Cache-Control: max-age=9, must-revalidate",
                "9 0 0",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(read(text, IgnoreHeaders::default()), *want, "{text}");
        }
    }

    #[test]
    fn ignored_fields_say_nothing() {
        for (word, text) in [
            (IgnoreHeaders::SET_COOKIE, "Set-Cookie: a"),
            (IgnoreHeaders::CACHE_CONTROL, "Cache-Control: private"),
            (IgnoreHeaders::EXPIRES, "Expires: 0"),
            (IgnoreHeaders::X_ACCEL_EXPIRES, "X-Accel-Expires: 0"),
            (IgnoreHeaders::VARY, "Vary: *"),
        ] {
            assert_eq!(read(text, IgnoreHeaders::default()), "-", "{text}");
            assert_eq!(read(text, word), "none 0 0", "{text}");
        }
    }

    #[test]
    fn the_first_entry_that_fits_holds() {
        let entry = |status, seconds| CacheValid { status, seconds };
        let list = [entry(200, 60), entry(404, 0), entry(0, 5), entry(500, 9)];
        for (status, want) in [(200, 60), (404, 0), (500, 5), (302, 5)] {
            assert_eq!(valid(&list, status), want, "{status}");
        }
        assert_eq!(valid(&list[..1], 302), 0);
    }
}
