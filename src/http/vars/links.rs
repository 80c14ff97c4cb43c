//! `$invalid_referer`, `$secure_link` and `$secure_link_expires`: whether a link may be followed.

use md5::{Digest as _, Md5};

use super::eval;
use crate::base::{base64, password, size};
use crate::http::exchange::Exchange;
use crate::http::local::Cx;
use crate::plan::access::SecureLinkPlan;
use crate::plan::expr::Expr;
use crate::proto::tokens::Token;

/// The longest proof: sixteen bytes in base64, padded.
const PROOF_TEXT_MAX: usize = 24;

/// `$invalid_referer`: empty, or `1`.
pub(super) fn invalid_referer(ex: &Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    let referer = ex.head.fields.get(Token::REFERER);
    let plan = &cx.location(ex.location).referers;
    if plan.as_ref().is_some_and(|plan| !plan.allows(referer)) {
        out.push(b'1');
    }
}

/// `$secure_link`: `1`, or `0` when its time is over; missing when it proves nothing. Of the older kind the link itself.
pub(super) fn secure_link(ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    match cx.location(ex.location).secure_link.as_deref() {
        None => false,
        Some(SecureLinkPlan::Secret(secret)) => {
            let link = with_secret(ex.head.bytes(ex.head.uri), secret);
            link.is_some_and(|link| {
                out.extend_from_slice(link);
                true
            })
        }
        Some(SecureLinkPlan::Signed { link, of }) => match signed(link, of, ex, cx) {
            None => false,
            Some(over) => {
                out.push(if over { b'0' } else { b'1' });
                true
            }
        },
    }
}

/// `$secure_link_expires`: the time in the link.
pub(super) fn expires(ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let Some(SecureLinkPlan::Signed { link, .. }) = cx.location(ex.location).secure_link.as_deref()
    else {
        return false;
    };
    let mut text = cx.local.buffers.take(64);
    eval(link, ex, cx, &mut text);
    let (_, until) = split(&text);
    let found = until.filter(|until| time(until).is_some());
    out.extend_from_slice(found.unwrap_or_default());
    let found = found.is_some();
    cx.local.buffers.give(text);
    found
}

/// Whether a good link's time is over; none when the link is not good.
fn signed(link: &Expr, of: &Expr, ex: &mut Exchange, cx: Cx<'_>) -> Option<bool> {
    let mut text = cx.local.buffers.take(64);
    eval(link, ex, cx, &mut text);
    let (proof, until) = split(&text);
    let until = match until {
        None => Some(None),
        Some(text) => time(text).map(Some),
    };
    let proof = decode(proof);
    cx.local.buffers.give(text);
    let (proof, until) = (proof?, until?);
    let mut text = cx.local.buffers.take(128);
    eval(of, ex, cx, &mut text);
    let digest = Md5::digest(&text);
    cx.local.buffers.give(text);
    let now = cx.local.clock.unix().secs;
    password::equal(&proof, &digest).then(|| until.is_some_and(|until| until < now))
}

/// Proof and time.
fn split(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b',', text) {
        Some(comma) => (&text[..comma], Some(&text[comma + 1..])),
        None => (text, None),
    }
}

/// A time after 1970.
fn time(text: &[u8]) -> Option<i64> {
    let seconds = size::parse_digits(text)?;
    i64::try_from(seconds).ok().filter(|&seconds| seconds > 0)
}

/// Sixteen bytes from base64 for URLs.
fn decode(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() > PROOF_TEXT_MAX {
        return None;
    }
    let end = memchr::memchr(b'=', text).unwrap_or(text.len());
    let mut standard = Vec::with_capacity(PROOF_TEXT_MAX);
    for &byte in &text[..end] {
        standard.push(match byte {
            b'-' => b'+',
            b'_' => b'/',
            b'+' | b'/' => return None,
            other => other,
        });
    }
    let mut proof = Vec::with_capacity(18);
    base64::decode(&standard, &mut proof)?;
    proof.try_into().ok()
}

/// The part of `/prefix/DIGEST/link` behind the digest, if that is the one of link and secret.
fn with_secret<'u>(uri: &'u [u8], secret: &[u8]) -> Option<&'u [u8]> {
    let rest = uri.get(1..)?;
    let rest = &rest[memchr::memchr(b'/', rest)? + 1..];
    let end = memchr::memchr(b'/', rest)?;
    let (hex, link) = (&rest[..end], &rest[end + 1..]);
    if hex.len() != 32 || link.is_empty() {
        return None;
    }
    let mut proof = [0; 16];
    for (byte, pair) in proof.iter_mut().zip(hex.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    let digest = Md5::new()
        .chain_update(link)
        .chain_update(secret)
        .finalize();
    password::equal(&proof, &digest).then_some(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_with_a_secret() {
        // From the older documentation's recipe: the digest of `link` and `secret`.
        let digest = Md5::digest(b"top_secret_file.htmlsegredo");
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let good = format!("/p/{hex}/top_secret_file.html");
        assert_eq!(
            with_secret(good.as_bytes(), b"segredo"),
            Some(&b"top_secret_file.html"[..])
        );
        let upper = format!("/p/{}/top_secret_file.html", hex.to_uppercase());
        assert!(with_secret(upper.as_bytes(), b"segredo").is_some());
        for bad in [
            String::new(),
            "/".into(),
            "/p".into(),
            "/p/".into(),
            format!("/p/{hex}"),
            format!("/p/{hex}/"),
            format!("/p/{hex}/other"),
            format!("/p/0{hex}/top_secret_file.html"),
            format!("/p/{}g/top_secret_file.html", &hex[..31]),
        ] {
            assert_eq!(with_secret(bad.as_bytes(), b"segredo"), None, "{bad}");
        }
        assert_eq!(with_secret(good.as_bytes(), b"other"), None);
    }

    #[test]
    fn proofs_in_base64() {
        let cases: &[(&[u8], bool)] = &[
            (b"AAAAAAAAAAAAAAAAAAAAAA", true),
            (b"AAAAAAAAAAAAAAAAAAAAAA==", true),
            (b"-_AAAAAAAAAAAAAAAAAAAA", true),
            (b"+/AAAAAAAAAAAAAAAAAAAA", false),
            (b"AAAAAAAAAAAAAAAAAAAA", false),
            (b"AAAAAAAAAAAAAAAAAAAAAAAA", false),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAA", false),
            (b"", false),
            (b"????", false),
        ];
        for (text, good) in cases {
            assert_eq!(decode(text).is_some(), *good, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn times_of_links() {
        assert_eq!(split(b"proof,123"), (&b"proof"[..], Some(&b"123"[..])));
        assert_eq!(split(b"proof"), (&b"proof"[..], None));
        assert_eq!(time(b"2147483647"), Some(2_147_483_647));
        for bad in [&b""[..], b"0", b"-1", b"x", b"99999999999999999999"] {
            assert_eq!(time(bad), None);
        }
    }
}
