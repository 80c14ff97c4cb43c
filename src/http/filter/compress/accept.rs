//! Whether a client takes a coding: `Accept-Encoding` as nginx reads it for gzip, and by weights to choose between
//! several.
//!
//! Between codings that a client takes alike, zstd comes before br, and br before gzip.

use super::super::super::browser;
use super::super::super::exchange::{Exchange, Response};
use super::super::super::local::Cx;
use crate::base::time;
use crate::plan::filters::Coding;
use crate::plan::model::{GzipProxied, HttpVersion};
use crate::proto::head::{Version, list_has};
use crate::proto::tokens::Token;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `zstd`
    Zstd,
    /// `br`
    Brotli,
    /// `gzip`
    Gzip,
}

impl Name {
    /// All of them, the best one first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// What `Accept-Encoding` and `Content-Encoding` call it.
    #[must_use]
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            Self::Zstd => b"zstd",
            Self::Brotli => b"br",
            Self::Gzip => b"gzip",
        }
    }
}

/// How much the client wants a coding, in thousandths; 0 when it must not have it.
pub fn weight_of(coding: Name, plan: &Coding, ex: &mut Exchange, cx: Cx<'_>) -> u16 {
    let allowed = match coding {
        Name::Gzip => gzip_ok(plan, ex, cx),
        // What becomes a part of another body is not coded by itself.
        _ => !ex.is_subrequest(),
    };
    match ex.head.fields.get(Token::ACCEPT_ENCODING) {
        // Whether gzip is taken was decided as nginx does; the weight only ranks it.
        Some(list) if allowed => quality(list, coding.bytes()).max(u16::from(coding == Name::Gzip)),
        _ => 0,
    }
}

/// Whether nginx would compress an answer to this request with gzip; found out once for each location.
pub fn gzip_ok(plan: &Coding, ex: &mut Exchange, cx: Cx<'_>) -> bool {
    if let Some(known) = ex.gzip_ok {
        return known;
    }
    let ok = judge_gzip(plan, ex, cx);
    ex.gzip_ok = Some(ok);
    ok
}

fn judge_gzip(plan: &Coding, ex: &Exchange, cx: Cx<'_>) -> bool {
    if ex.is_subrequest() {
        return false;
    }
    let fields = &ex.head.fields;
    let Some(accepted) = fields.get(Token::ACCEPT_ENCODING) else {
        return false;
    };
    let rules = &cx.location(ex.location).settings.gzip;
    let oldest = match rules.gzip_http_version {
        HttpVersion::Http10 => Version::Http10,
        HttpVersion::Http11 | HttpVersion::Http2 => Version::Http11,
    };
    if !takes_gzip(accepted)
        || rules.gzip_disable_msie6 && browser::is_msie6(ex)
        || ex.head.version < oldest
    {
        return false;
    }
    if fields.has(Token::VIA) {
        let authorized = fields.has(Token::AUTHORIZATION);
        let now = cx.local.clock.unix().secs;
        if !proxied_ok(rules.gzip_proxied, authorized, &ex.response, now) {
            return false;
        }
    }
    match fields.get(Token::USER_AGENT) {
        Some(agent) => !plan.gzip_disable.iter().any(|regex| regex.is_match(agent)),
        None => true,
    }
}

/// `gzip_proxied`: whether an answer to a request that came through another proxy may be compressed.
fn proxied_ok(rule: GzipProxied, authorized: bool, response: &Response, now: i64) -> bool {
    if rule.has(GzipProxied::OFF) {
        return false;
    }
    if rule.has(GzipProxied::ANY) || authorized && rule.has(GzipProxied::AUTH) {
        return true;
    }
    let fields = &response.fields;
    if let Some(expires) = fields.get(Token::EXPIRES) {
        let date = match fields.get(Token::DATE) {
            Some(date) => time::parse_http_date(date),
            None => Some(now),
        };
        return rule.has(GzipProxied::EXPIRED)
            && matches!((time::parse_http_date(expires), date), (Some(e), Some(d)) if e < d);
    }
    if fields.has(Token::CACHE_CONTROL) {
        let says = |word: &[u8]| {
            fields
                .get_all(Token::CACHE_CONTROL)
                .any(|list| list_has(list, word))
        };
        return rule.has(GzipProxied::NO_CACHE) && says(b"no-cache")
            || rule.has(GzipProxied::NO_STORE) && says(b"no-store")
            || rule.has(GzipProxied::PRIVATE) && says(b"private");
    }
    let modified = response.last_modified.is_some() || fields.has(Token::LAST_MODIFIED);
    let tagged = !response.etag.is_empty() || fields.has(Token::ETAG);
    !(rule.has(GzipProxied::NO_LAST_MODIFIED) && modified
        || rule.has(GzipProxied::NO_ETAG) && tagged)
}

/// Whether `gzip` stands in the list with a weight above zero. A weight that is none counts as zero.
///
/// nginx looks for the word alone: `x-gzip` is not it, and `*` is not either.
fn takes_gzip(list: &[u8]) -> bool {
    let mut at = 0;
    loop {
        let rest = &list[at..];
        let Some(found) = rest
            .windows(4)
            .position(|word| word.eq_ignore_ascii_case(b"gzip"))
        else {
            return false;
        };
        let start = at + found;
        at = start + 4;
        if start == 0 || matches!(list[start - 1], b',' | b' ') {
            break;
        }
    }
    let rest = list[at..].trim_ascii_start_spaces();
    match rest {
        [] | [b',', ..] => true,
        [b';', rest @ ..] => match rest.trim_ascii_start_spaces() {
            [] => true,
            [b'q' | b'Q', b'=', value @ ..] => takes_weight(value),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a weight is above zero; `1.000` is the most.
fn takes_weight(value: &[u8]) -> bool {
    let end = value
        .iter()
        .position(|b| matches!(b, b',' | b' '))
        .unwrap_or(value.len());
    weight(&value[..end]).is_some_and(|thousandths| thousandths > 0)
}

/// `0`, `1`, `0.5`, `1.000` in thousandths.
fn weight(text: &[u8]) -> Option<u16> {
    let (whole, rest) = text.split_first()?;
    let mut value = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    let digits = match rest {
        [] => return Some(value),
        [b'.', digits @ ..] if digits.len() <= 3 => digits,
        _ => return None,
    };
    let mut place = 100;
    for digit in digits {
        value += place * u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        place /= 10;
    }
    (value <= 1000).then_some(value)
}

/// The weight of a coding in thousandths; 0 when it is not in the list, or not in a form that can be read.
pub fn quality(list: &[u8], coding: &[u8]) -> u16 {
    for item in list.split(|&b| b == b',') {
        let mut parts = item.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        if !parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(coding))
        {
            continue;
        }
        return match parts.next() {
            None | Some(b"") => 1000,
            Some([b'q' | b'Q', b'=', value @ ..]) => weight(value).unwrap_or(0),
            Some(_) => 0,
        };
    }
    0
}

/// Skipping spaces, which are the only blanks that nginx skips.
trait Spaces {
    /// What follows the spaces in front.
    fn trim_ascii_start_spaces(&self) -> &[u8];
}

impl Spaces for [u8] {
    fn trim_ascii_start_spaces(&self) -> &[u8] {
        let from = self.iter().position(|&b| b != b' ').unwrap_or(self.len());
        &self[from..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_as_nginx_reads_it() {
        for (list, want) in [
            ("gzip", true),
            ("GZIP", true),
            ("gzip,deflate", true),
            ("deflate, gzip", true),
            ("deflate,gzip;q=1.0", true),
            ("gzip; q=0.001", true),
            ("gzip ;Q=1", true),
            ("gzip;", true),
            ("x-gzip, gzip", true),
            ("gzip;q=0.5, br", true),
            ("gzip;q=1,br", true),
            ("gzip;q=", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000", false),
            ("gzip;q=0,br", false),
            ("gzip;q=2", false),
            ("gzip;q=1.001", false),
            ("gzip;q=0.0001", false),
            ("gzip;q=0.a", false),
            ("gzip;level=1", false),
            ("gzipped", false),
            ("x-gzip", false),
            ("gzip\t", false),
            ("*", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(list.as_bytes()), want, "{list}");
        }
    }

    #[test]
    fn weights() {
        for (list, coding, want) in [
            ("br", "br", 1000),
            ("gzip, BR;q=0.8", "br", 800),
            ("br ; q=0.25", "br", 250),
            ("br;q=1.000", "br", 1000),
            ("br;q=0", "br", 0),
            ("br;q=x", "br", 0),
            ("br;x=1", "br", 0),
            ("brotli", "br", 0),
            ("zstd;q=0.001,gzip", "zstd", 1),
            ("", "br", 0),
        ] {
            assert_eq!(quality(list.as_bytes(), coding.as_bytes()), want, "{list}");
        }
    }

    #[test]
    fn answers_to_other_proxies() {
        use GzipProxied as P;
        let date = b"Thu, 01 Jan 1970 00:01:00 GMT";
        let with = |fields: &[(Token, &[u8])]| {
            let mut response = Response::default();
            for (token, value) in fields {
                response.fields.push_token(*token, value);
            }
            response
        };
        let plain = with(&[]);
        let expired = with(&[(Token::EXPIRES, date)]);
        let private = with(&[(Token::CACHE_CONTROL, b"max-age=1, Private")]);
        let tagged = with(&[(Token::ETAG, b"\"a\"")]);
        for (rule, authorized, response, want) in [
            (P::OFF, true, &plain, false),
            (P::ANY, false, &expired, true),
            (P::AUTH, true, &expired, true),
            (P::EXPIRED, false, &expired, true),
            (P::PRIVATE, false, &expired, false),
            (P::PRIVATE, false, &private, true),
            (P::NO_STORE, false, &private, false),
            (P::EXPIRED, false, &plain, true),
            (P::NO_ETAG, false, &tagged, false),
            (P::NO_LAST_MODIFIED, false, &tagged, true),
        ] {
            assert_eq!(proxied_ok(rule, authorized, response, 61), want, "{rule:?}");
        }
        assert!(!proxied_ok(P::EXPIRED, false, &expired, 60));
        let dated = with(&[(Token::EXPIRES, date), (Token::DATE, date)]);
        assert!(!proxied_ok(P::EXPIRED, false, &dated, 99));
    }
}
