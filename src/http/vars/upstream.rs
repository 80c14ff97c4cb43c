//! `$upstream_*`: what happened with each peer that was asked.
//!
//! Values of several attempts are joined by `, `, and by ` : ` where an internal redirect came between them.

use std::io::Write as _;

use crate::base::time::http_date;
use crate::http::content::cache::revalidates;
use crate::http::exchange::{Attempt, Exchange};
use crate::http::local::Cx;
use crate::plan::location::Content;
use crate::plan::vars::Builtin;

/// Appends the value; false when no upstream was asked.
pub(super) fn value(builtin: Builtin, ex: &Exchange, out: &mut Vec<u8>) -> bool {
    let Some(show) = presenter(builtin) else {
        return false;
    };
    list(&ex.attempts, show, out);
    !ex.attempts.is_empty()
}

/// Appends what the cache knows; false when it was not asked, or knows nothing of that kind.
pub(super) fn cache(builtin: Builtin, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let Some(cached) = ex.cached.as_deref() else {
        return false;
    };
    // Only where what is stored can be asked about.
    let validated = || {
        let Content::Proxy(plan) = &cx.location(ex.location).content else {
            return None;
        };
        let asks = plan.cache.as_deref().is_some_and(revalidates);
        cached.validated().filter(|_| asks)
    };
    match builtin {
        Builtin::UpstreamCacheStatus => match cached.status.word() {
            Some(word) => out.extend_from_slice(word.as_bytes()),
            None => return false,
        },
        Builtin::UpstreamCacheKey => out.extend_from_slice(&cached.key),
        Builtin::UpstreamCacheAge => match cached.age().and_then(|age| u64::try_from(age).ok()) {
            Some(age) => number(age, out),
            None => return false,
        },
        Builtin::UpstreamCacheEtag => match validated() {
            Some(object) if !object.meta.etag.is_empty() => {
                out.extend_from_slice(&object.meta.etag);
            }
            _ => return false,
        },
        _ => match validated() {
            Some(object) if object.meta.facts.last_modified >= 0 => {
                out.extend_from_slice(&http_date(object.meta.facts.last_modified));
            }
            _ => return false,
        },
    }
    true
}

/// Appends what is shown of each attempt, joined.
fn list(attempts: &[Attempt], show: fn(&Attempt, &mut Vec<u8>), out: &mut Vec<u8>) {
    for (index, attempt) in attempts.iter().enumerate() {
        if index > 0 {
            let separator: &[u8] = if attempt.after_redirect {
                b" : "
            } else {
                b", "
            };
            out.extend_from_slice(separator);
        }
        show(attempt, out);
    }
}

/// How one attempt is shown.
fn presenter(builtin: Builtin) -> Option<fn(&Attempt, &mut Vec<u8>)> {
    Some(match builtin {
        Builtin::UpstreamAddr => |attempt, out| out.extend_from_slice(&attempt.addr),
        Builtin::UpstreamStatus => |attempt, out| {
            if attempt.status == 0 {
                out.push(b'-');
            } else {
                number(u64::from(attempt.status), out);
            }
        },
        Builtin::UpstreamConnectTime => |attempt, out| time(attempt.connect_ms, out),
        Builtin::UpstreamHeaderTime => |attempt, out| time(attempt.header_ms, out),
        Builtin::UpstreamResponseTime => |attempt, out| time(attempt.response_ms, out),
        Builtin::UpstreamResponseLength => |attempt, out| number(attempt.response_length, out),
        Builtin::UpstreamBytesReceived => |attempt, out| number(attempt.bytes_received, out),
        Builtin::UpstreamBytesSent => |attempt, out| number(attempt.bytes_sent, out),
        _ => return None,
    })
}

/// Appends a number.
pub(super) fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends milliseconds as `seconds.millis`, or `-`.
fn time(ms: Option<u64>, out: &mut Vec<u8>) {
    match ms {
        Some(ms) => seconds(ms, out),
        None => out.push(b'-'),
    }
}

/// Appends milliseconds as `seconds.millis`.
pub(super) fn seconds(ms: u64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}.{:03}", ms / 1000, ms % 1000);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_joined() {
        let attempt = |addr: &'static str, status, response_ms, after_redirect| Attempt {
            addr: bytes::Bytes::from_static(addr.as_bytes()),
            status,
            response_ms,
            response_length: 7,
            after_redirect,
            ..Attempt::default()
        };
        let attempts = [
            attempt("10.0.0.1:80", 502, None, false),
            attempt("unix:/s", 0, Some(5), false),
            attempt("10.0.0.2:80", 200, Some(12_034), true),
        ];
        for (builtin, want) in [
            (Builtin::UpstreamAddr, "10.0.0.1:80, unix:/s : 10.0.0.2:80"),
            (Builtin::UpstreamStatus, "502, - : 200"),
            (Builtin::UpstreamResponseTime, "-, 0.005 : 12.034"),
            (Builtin::UpstreamConnectTime, "-, - : -"),
            (Builtin::UpstreamResponseLength, "7, 7 : 7"),
        ] {
            let mut out = Vec::new();
            list(
                &attempts,
                presenter(builtin).expect("one of ours"),
                &mut out,
            );
            assert_eq!(String::from_utf8_lossy(&out), want, "{builtin:?}");
        }
    }
}
