//! `$upstream_*`: what happened with each peer that was asked.
//!
//! Values of several attempts are joined by `, `, and by ` : ` where an internal redirect came between them.

use std::io::Write as _;

use crate::http::exchange::{Attempt, Exchange};
use crate::plan::vars::Builtin;

/// Appends the value; false when no upstream was asked.
pub(super) fn value(builtin: Builtin, ex: &Exchange, out: &mut Vec<u8>) -> bool {
    let Some(show) = presenter(builtin) else {
        return false;
    };
    for (index, attempt) in ex.attempts.iter().enumerate() {
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
    !ex.attempts.is_empty()
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
