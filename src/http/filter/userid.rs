//! The `userid` family: a cookie that tells clients apart, and its variables.
//!
//! Sixteen bytes as four words, base64 in the cookie and hexadecimal in the log, as in nginx, so that
//! both read each other's cookies. Start at [`apply`].

use std::cell::Cell;
use std::io::Write as _;

use super::super::exchange::Exchange;
use super::super::local::Cx;
use super::super::log::{self, Text};
use super::super::vars;
use crate::base::time;
use crate::net::Addr;
use crate::plan::model::{LogLevel, Userid, UseridExpires, UseridFlags, UseridMode};
use crate::proto::tokens::Token;

/// Sets the client of an exchange apart from all others.
#[derive(Default)]
pub struct Ids {
    /// The cookie was looked for.
    read: bool,
    /// What the client sent; the last word is 0 when it sent none.
    got: [u32; 4],
    /// The mark that the client's cookie carries behind its 22 digits.
    mark: Option<u8>,
    /// What is sent; the last word is 0 when nothing is.
    set: [u32; 4],
    /// A new id replaces a good old one.
    reset: bool,
}

/// Numbers that a shard gives out. Different shards start at different words, so that ids never meet.
pub struct Sequence {
    start: u32,
    next: Cell<u32>,
}

/// nginx's first number of version 2 cookies: leaves room for its older formats.
const FIRST: u32 = 0x0303_0302;

impl Sequence {
    /// Begins a sequence of its own.
    #[must_use]
    pub fn new(start: u32) -> Self {
        Self {
            start,
            next: Cell::new(FIRST),
        }
    }

    fn take(&self) -> u32 {
        let number = self.next.get();
        self.next.set(number.wrapping_add(0x100).max(FIRST));
        number
    }
}

/// Adds the cookie where the location asks for it.
#[inline]
pub fn apply(ex: &mut Exchange, cx: Cx<'_>) {
    if matters(cx.location(ex.location).settings.userid.userid) {
        mark(ex, cx);
    }
}

#[inline(never)]
fn mark(ex: &mut Exchange, cx: Cx<'_>) {
    let settings = &cx.location(ex.location).settings.userid;
    read(settings, ex, cx);
    create(settings, ex, cx);
    if ids(ex).set[3] == 0 {
        return;
    }
    let mut value = cx.local.buffers.take(128);
    write_cookie(settings, ids(ex), cx, &mut value);
    ex.response.fields.push_token(Token::SET_COOKIE, &value);
    cx.local.buffers.give(value);
    if settings.userid_p3p[..] != *b"none" && !settings.userid_p3p.is_empty() {
        ex.response.fields.push(b"P3P", &settings.userid_p3p);
    }
}

/// `$uid_got`: false when there is none.
pub fn got(ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let settings = &cx.location(ex.location).settings.userid;
    if settings.userid == UseridMode::Off {
        return false;
    }
    read(settings, ex, cx);
    ids(ex).got[3] != 0 && show(settings, ids(ex).got, out)
}

/// `$uid_set`: false when none is sent.
pub fn set(ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let settings = &cx.location(ex.location).settings.userid;
    if !matters(settings.userid) {
        return false;
    }
    read(settings, ex, cx);
    create(settings, ex, cx);
    ids(ex).set[3] != 0 && show(settings, ids(ex).set, out)
}

/// What is known of the client's id.
fn ids(ex: &mut Exchange) -> &mut Ids {
    ex.uids.get_or_insert_default()
}

/// Whether this mode sends cookies.
fn matters(mode: UseridMode) -> bool {
    matches!(mode, UseridMode::V1 | UseridMode::On)
}

/// `name=AABBCCDD…`, as the log shows an id.
fn show(settings: &Userid, id: [u32; 4], out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(&settings.userid_name);
    out.push(b'=');
    for word in id {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{word:08X}");
    }
    true
}

/// Reads the client's cookie, once.
fn read(settings: &Userid, ex: &mut Exchange, cx: Cx<'_>) {
    if std::mem::replace(&mut ids(ex).read, true) {
        return;
    }
    let Some(value) = vars::cookie(&ex.head.fields, &settings.userid_name) else {
        return;
    };
    if value.len() < 22 {
        let text = format_args!("client sent too short userid cookie \"{}\"", Text(value));
        log::error(ex, cx, LogLevel::Error, text);
        return;
    }
    let Some(id) = decode(&value[..22]) else {
        let text = format_args!("client sent invalid userid cookie \"{}\"", Text(value));
        log::error(ex, cx, LogLevel::Error, text);
        return;
    };
    let mark = match value.get(22..24) {
        Some(&[mark, b'=']) => Some(mark),
        _ => None,
    };
    ids(ex).got = id;
    ids(ex).mark = mark;
}

/// Decides which id is sent, once.
fn create(settings: &Userid, ex: &mut Exchange, cx: Cx<'_>) {
    if ids(ex).set[3] != 0 {
        return;
    }
    if ids(ex).got[3] != 0 {
        let mut wish = cx.local.buffers.take(16);
        vars::defined(b"uid_reset", ex, cx, &mut wish);
        let reset = vars::is_true(&wish);
        let tell = wish == b"log";
        cx.local.buffers.give(wish);
        if !reset {
            // An id without the current mark is sent again with it.
            if settings.userid_mark.is_some() && settings.userid_mark != ids(ex).mark {
                ids(ex).set = ids(ex).got;
            }
            return;
        }
        ids(ex).reset = true;
        if tell {
            let mut shown = Vec::new();
            show(settings, ids(ex).got, &mut shown);
            let text = format_args!("userid cookie \"{}\" was reset", Text(&shown));
            log::error(ex, cx, LogLevel::Notice, text);
        }
    }
    let now = cx.local.clock.unix().secs as u32;
    let sequence = &cx.local.uids;
    let number = sequence.take();
    ids(ex).set = if settings.userid == UseridMode::V1 {
        let service = settings.userid_service.unwrap_or(0) as u32;
        [service, now, sequence.start, number]
    } else {
        let place = match settings.userid_service {
            Some(number) => (number as u32).to_be(),
            None => place(&ex.conn.local),
        };
        [place, now.to_be(), sequence.start.to_be(), number.to_be()]
    };
}

/// The last four bytes of our address, as they lie in memory.
fn place(local: &Addr) -> u32 {
    match local {
        Addr::Ip(at) => match at.ip() {
            std::net::IpAddr::V4(ip) => u32::from_ne_bytes(ip.octets()),
            std::net::IpAddr::V6(ip) => {
                let [.., a, b, c, d] = ip.octets();
                u32::from_ne_bytes([a, b, c, d])
            }
        },
        Addr::Unix(_) => 0,
    }
}

/// The value of `Set-Cookie`.
fn write_cookie(settings: &Userid, ids: &Ids, cx: Cx<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(&settings.userid_name);
    out.push(b'=');
    let id = if ids.got[3] == 0 || ids.reset {
        ids.set
    } else {
        ids.got
    };
    encode(id, out);
    if let Some(mark) = settings.userid_mark {
        let at = out.len() - 2;
        out[at] = mark;
    }
    match settings.userid_expires {
        UseridExpires::Off => {}
        UseridExpires::Max => out.extend_from_slice(b"; expires=Thu, 31-Dec-37 23:55:55 GMT"),
        UseridExpires::After(lifetime) => {
            out.extend_from_slice(b"; expires=");
            let at = cx
                .local
                .clock
                .unix()
                .secs
                .saturating_add_unsigned(lifetime.as_secs());
            time::cookie_date(at, out);
        }
    }
    if !matches!(&settings.userid_domain[..], b"none" | b"") {
        out.extend_from_slice(b"; domain=");
        out.extend_from_slice(&settings.userid_domain);
    }
    out.extend_from_slice(b"; path=");
    out.extend_from_slice(&settings.userid_path);
    for (flag, text) in [
        (UseridFlags::SECURE, "; secure"),
        (UseridFlags::HTTPONLY, "; httponly"),
        (UseridFlags::SAMESITE_STRICT, "; samesite=strict"),
        (UseridFlags::SAMESITE_LAX, "; samesite=lax"),
        (UseridFlags::SAMESITE_NONE, "; samesite=none"),
    ] {
        if settings.userid_flags.has(flag) {
            out.extend_from_slice(text.as_bytes());
        }
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends an id as 22 base64 digits and `==`.
fn encode(id: [u32; 4], out: &mut Vec<u8>) {
    let mut bytes = [0; 18];
    for (word, place) in id.iter().zip(bytes.chunks_mut(4)) {
        place.copy_from_slice(&word.to_ne_bytes()[..place.len()]);
    }
    for three in bytes.chunks(3) {
        let bits = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        out.extend([18, 12, 6, 0].map(|shift| BASE64[(bits >> shift & 63) as usize]));
    }
    out.truncate(out.len() - 2);
    out.extend_from_slice(b"==");
}

/// Reads 22 base64 digits.
fn decode(text: &[u8]) -> Option<[u32; 4]> {
    let mut bytes = [0u8; 16];
    let (mut bits, mut have, mut at) = (0u32, 0, 0);
    for &digit in text {
        let value = BASE64.iter().position(|&known| known == digit)?;
        bits = bits << 6 | value as u32;
        have += 6;
        if have >= 8 {
            have -= 8;
            *bytes.get_mut(at)? = (bits >> have) as u8;
            at += 1;
        }
    }
    let mut id = [0; 4];
    for (word, four) in id.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_the_cookie() {
        for id in [
            [0, 0, 0, 1],
            [0x0100_007f, 0x1234_5678, 0xffff_ffff, 0x0303_0302],
            [u32::MAX; 4],
        ] {
            let mut text = Vec::new();
            encode(id, &mut text);
            assert_eq!(text.len(), 24);
            assert!(text.ends_with(b"=="));
            assert_eq!(decode(&text[..22]), Some(id));
        }
        assert_eq!(decode(b"****AAAAAAAAAAAAAAAAAA"), None);
    }

    #[test]
    fn numbers_never_come_below_the_first() {
        let sequence = Sequence::new(7);
        assert_eq!(sequence.take(), FIRST);
        assert_eq!(sequence.take(), FIRST + 0x100);
        sequence.next.set(u32::MAX - 0x10);
        sequence.take();
        assert_eq!(sequence.take(), FIRST);
    }
}
