//! `$ssl_*`: what the handshake with the client agreed on, and what its certificate says.

use std::io::Write as _;

use crate::base::escape::{self, Place};
use crate::base::time::Civil;
use crate::http::exchange::Exchange;
use crate::http::local::Cx;
use crate::net::tls::certificate::{self, Whose};
use crate::net::tls::{Facts, ciphers};
use crate::plan::vars::Builtin;

/// Appends the value; false when there is none, as without TLS.
pub(super) fn value(builtin: Builtin, ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let Some(facts) = ex.conn.tls.as_deref() else {
        return false;
    };
    let before = out.len();
    session(builtin, facts, out);
    match (builtin, facts.chain.first()) {
        (Builtin::SslClientVerify, own) => verdict(facts, own.is_some(), out),
        (_, Some(own)) => client(builtin, own, cx, out),
        _ => {}
    }
    // Empty is missing, as in nginx.
    out.len() > before
}

fn session(builtin: Builtin, facts: &Facts, out: &mut Vec<u8>) {
    use Builtin as B;
    let hello = facts.hello.as_deref();
    match builtin {
        B::SslProtocol => out.extend_from_slice(facts.version.name().as_bytes()),
        B::SslCipher => {
            let name = ciphers::cipher_name(facts.cipher).unwrap_or("(NONE)");
            out.extend_from_slice(name.as_bytes());
        }
        B::SslCurve => {
            if let Some(group) = facts.group {
                code(group, ciphers::group_name, out);
            }
        }
        B::SslCiphers => list(hello.map(|h| &h.ciphers[..]), ciphers::cipher_name, out),
        B::SslCurves => list(hello.map(|h| &h.groups[..]), ciphers::group_name, out),
        B::SslSigalgs => list(hello.map(|h| &h.signatures[..]), |_| None, out),
        B::SslServerName => out.extend_from_slice(facts.name.as_deref().unwrap_or_default()),
        B::SslAlpnProtocol => out.extend_from_slice(facts.alpn.as_deref().unwrap_or_default()),
        B::SslSessionId => hex(&facts.session_id, out),
        B::SslSessionReused => out.push(if facts.resumed { b'r' } else { b'.' }),
        B::SslEarlyData if facts.early.get() => out.push(b'1'),
        _ => {}
    }
}

/// Numbers of what a client offers, by name where they have one.
fn list(numbers: Option<&[u16]>, name: fn(u16) -> Option<&'static str>, out: &mut Vec<u8>) {
    for (at, &number) in numbers.unwrap_or_default().iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        code(number, name, out);
    }
}

fn code(number: u16, name: fn(u16) -> Option<&'static str>, out: &mut Vec<u8>) {
    match name(number) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        // Writing to a Vec cannot fail.
        None => drop(write!(out, "0x{number:04x}")),
    }
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        // Writing to a Vec cannot fail.
        drop(write!(out, "{byte:02x}"));
    }
}

fn verdict(facts: &Facts, shown: bool, out: &mut Vec<u8>) {
    match (shown, facts.flaw.get()) {
        (false, _) => out.extend_from_slice(b"NONE"),
        (true, None) => out.extend_from_slice(b"SUCCESS"),
        (true, Some(flaw)) => {
            out.extend_from_slice(b"FAILED:");
            out.extend_from_slice(flaw.text.as_bytes());
        }
    }
}

fn client(builtin: Builtin, own: &[u8], cx: Cx<'_>, out: &mut Vec<u8>) {
    use Builtin as B;
    match builtin {
        B::SslClientRawCert => certificate::pem(own, out),
        B::SslClientCert => {
            let mut text = Vec::new();
            certificate::pem(own, &mut text);
            text.pop();
            for byte in text {
                out.push(byte);
                // A line that begins with a tab belongs to the field before.
                if byte == b'\n' {
                    out.push(b'\t');
                }
            }
        }
        B::SslClientEscapedCert => {
            let mut text = Vec::new();
            certificate::pem(own, &mut text);
            escape::uri(out, &text, Place::Component);
        }
        B::SslClientSDn => certificate::name(own, Whose::Subject, out),
        B::SslClientIDn => certificate::name(own, Whose::Issuer, out),
        B::SslClientSDnLegacy => certificate::legacy_name(own, Whose::Subject, out),
        B::SslClientIDnLegacy => certificate::legacy_name(own, Whose::Issuer, out),
        B::SslClientSerial => certificate::serial(own, out),
        B::SslClientFingerprint => certificate::fingerprint(own, out),
        B::SslClientVStart | B::SslClientVEnd => {
            if let Some((start, end)) = certificate::lifetime(own) {
                moment(
                    if builtin == B::SslClientVStart {
                        start
                    } else {
                        end
                    },
                    out,
                );
            }
        }
        B::SslClientVRemain => {
            let now = cx.local.clock.unix().secs;
            if let Some(days) = certificate::days_left(own, now) {
                // Writing to a Vec cannot fail.
                drop(write!(out, "{days}"));
            }
        }
        _ => {}
    }
}

/// As OpenSSL prints it: `Jan  1 00:00:00 2026 GMT`.
fn moment(secs: i64, out: &mut Vec<u8>) {
    let at = Civil::of(secs);
    out.extend_from_slice(at.month_name());
    // Writing to a Vec cannot fail.
    drop(write!(
        out,
        " {:2} {:02}:{:02}:{:02} {} GMT",
        at.day, at.hour, at.minute, at.second, at.year
    ));
}
