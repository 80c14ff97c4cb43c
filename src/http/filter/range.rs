//! `Range` and `If-Range`: the last header filter, which narrows the body to what was asked for.
//!
//! A single range narrows the body where it comes from, so that a file still goes out by `sendfile` and an origin's
//! body through any path; several become [`Parts`]. Start at [`apply`].

use super::super::content::proxy;
use super::super::exchange::{Body, Exchange, Response};
use super::super::flow::Flow;
use super::super::local::Cx;
use super::headers;
use crate::base::size::parse_digits;
use crate::base::time;
use crate::proto::head::Version;
use crate::proto::tokens::Token;

/// The default of `max_ranges`, with which nginx also bounds what the heads of the parts may add.
const UNLIMITED: u32 = i32::MAX as u32;

/// What the head of one part is taken for when ranges are not limited by number.
const PART_HEAD_BYTES: u64 = 256;

/// How much longer than the whole body several ranges may become when they are not limited by number.
const SURPLUS_BYTES_MAX: u64 = 4096;

/// Digits of a boundary.
const BOUNDARY_LEN: usize = 20;

/// Several stretches of one body, each behind a head of its own: `multipart/byteranges`.
pub struct Parts {
    /// The whole body, in memory or in a file.
    pub whole: Body,
    /// First byte of each stretch, and the byte after its last.
    pub ranges: Vec<(u64, u64)>,
    boundary: [u8; BOUNDARY_LEN],
    content_type: Vec<u8>,
    /// Length of the whole body.
    total: u64,
}

impl Parts {
    /// Appends what stands before stretch `index`.
    pub fn write_head(&self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n--");
        out.extend_from_slice(&self.boundary);
        if !self.content_type.is_empty() {
            out.extend_from_slice(b"\r\nContent-Type: ");
            out.extend_from_slice(&self.content_type);
        }
        out.extend_from_slice(b"\r\nContent-Range: ");
        write_range(self.ranges[index], self.total, out);
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// Appends what stands behind the last stretch.
    pub fn write_tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n--");
        out.extend_from_slice(&self.boundary);
        out.extend_from_slice(b"--\r\n");
    }

    /// Length of the whole answer.
    fn length(&self) -> u64 {
        let mut text = Vec::with_capacity(PART_HEAD_BYTES as usize);
        self.write_tail(&mut text);
        let mut length = text.len() as u64;
        for (index, (start, end)) in self.ranges.iter().enumerate() {
            text.clear();
            self.write_head(index, &mut text);
            length += text.len() as u64 + (end - start);
        }
        length
    }
}

/// Appends `bytes 0-9/100`.
fn write_range((start, end): (u64, u64), total: u64, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"bytes ");
    out.extend_from_slice(digits.format(start).as_bytes());
    out.push(b'-');
    out.extend_from_slice(digits.format(end - 1).as_bytes());
    out.push(b'/');
    out.extend_from_slice(digits.format(total).as_bytes());
}

/// What a `Range` field asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// The whole body: the field is to be ignored.
    Whole,
    /// Nothing that exists: 416.
    Nothing,
    /// One stretch.
    One((u64, u64)),
    /// Several.
    Several(Vec<(u64, u64)>),
}

/// Narrows a 200 to the ranges that the request asks for, or says that it could; an error flow when there are none.
pub fn apply(ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    let response = &ex.response;
    if !response.allow_ranges
        || response.status != 200
        || ex.head.version < Version::Http10
        || ex.is_subrequest()
    {
        return None;
    }
    let total = response.content_length?;
    let max = cx.location(ex.location).settings.core.max_ranges;
    if max == 0 {
        return None;
    }
    match asked(ex, total, max) {
        Asked::Whole => ex.response.fields.set(Token::ACCEPT_RANGES, b"bytes"),
        Asked::Nothing => return Some(nothing(ex, cx, total)),
        Asked::One(range) => one(&mut ex.response, range, total),
        Asked::Several(ranges) => several(ex, cx, ranges, total),
    }
    None
}

/// What the request asks for of a body of `total` bytes.
fn asked(ex: &Exchange, total: u64, max: u32) -> Asked {
    let Some(value) = ex.head.fields.get(Token::RANGE) else {
        return Asked::Whole;
    };
    let Some((unit, ranges)) = value.split_at_checked(6) else {
        return Asked::Whole;
    };
    if ranges.is_empty() || !unit.eq_ignore_ascii_case(b"bytes=") || !is_current(ex) {
        return Asked::Whole;
    }
    let max = if ex.response.single_range { 1 } else { max };
    parse(ranges, total, max)
}

/// `If-Range`: whether the client's copy is of what would be sent.
fn is_current(ex: &Exchange) -> bool {
    let Some(value) = ex.head.fields.get(Token::IF_RANGE) else {
        return true;
    };
    if value.len() >= 2 && value.ends_with(b"\"") {
        return ex.response.fields.get(Token::ETAG) == Some(value);
    }
    let modified = headers::modified_at(ex);
    modified.is_some() && time::parse_http_date(value) == modified
}

/// Reads the list behind `bytes=`, by nginx's rules: what has a syntax error asks for nothing.
fn parse(list: &[u8], total: u64, max: u32) -> Asked {
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut first = None;
    let mut size: u64 = 0;
    let mut count: u32 = 0;
    for text in list.split(|&b| b == b',') {
        let Some((start, end)) = spec(text, total) else {
            return Asked::Nothing;
        };
        if start >= end {
            if start == 0 {
                return Asked::Whole;
            }
            continue;
        }
        size = size.saturating_add(end - start);
        count += 1;
        if count > max {
            return Asked::Whole;
        }
        match first {
            None => first = Some((start, end)),
            Some(first) => {
                if found.is_empty() {
                    found.push(first);
                }
                found.push((start, end));
            }
        }
    }
    let Some(first) = first else {
        return Asked::Nothing;
    };
    if found.is_empty() {
        return Asked::One(first);
    }
    let heads = u64::from(count) * PART_HEAD_BYTES;
    if size > total || max == UNLIMITED && size + heads > total + SURPLUS_BYTES_MAX {
        return Asked::Whole;
    }
    Asked::Several(found)
}

/// One `first-last`, `first-` or `-count` as first byte and the byte after the last; none when it has a syntax error.
fn spec(text: &[u8], total: u64) -> Option<(u64, u64)> {
    let text = trim(text);
    let dash = memchr::memchr(b'-', text)?;
    let (from, to) = (trim_end(&text[..dash]), &text[dash + 1..]);
    if from.is_empty() {
        let count = number(to)?;
        return Some((total.saturating_sub(count), total));
    }
    let start = number(from)?;
    let to = trim(to);
    if to.is_empty() {
        return Some((start, total));
    }
    Some((start, number(to)?.saturating_add(1).min(total)))
}

/// Digits only, up to nginx's largest offset.
fn number(text: &[u8]) -> Option<u64> {
    parse_digits(text).filter(|&n| i64::try_from(n).is_ok())
}

/// Without blanks at both ends; nginx knows no tabs here.
fn trim(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&b| b != b' ').unwrap_or(text.len());
    trim_end(&text[start..])
}

/// Without blanks at the end.
fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|&b| b != b' ').map_or(0, |at| at + 1);
    &text[..end]
}

/// 416, which tells how long the body is.
fn nothing(ex: &mut Exchange, cx: Cx<'_>, total: u64) -> Flow {
    match std::mem::take(&mut ex.response.body) {
        Body::Origin(origin) => proxy::abandon(ex, cx, origin),
        Body::Slices(mut slices) => slices.abandon(ex, cx),
        Body::Stored(stored) => stored.abandon(ex, cx),
        Body::Buffer(bytes) => cx.local.buffers.give(bytes),
        _ => {}
    }
    let response = &mut ex.response;
    let mut value = b"bytes */".to_vec();
    value.extend_from_slice(itoa::Buffer::new().format(total).as_bytes());
    response.fields.set(Token::CONTENT_RANGE, &value);
    response.content_length = None;
    Flow::Error(416)
}

/// 206 with one stretch of the body.
fn one(response: &mut Response, range: (u64, u64), total: u64) {
    let mut value = Vec::with_capacity(64);
    write_range(range, total, &mut value);
    response.fields.set(Token::CONTENT_RANGE, &value);
    response.status = 206;
    response.reason.clear();
    let (start, end) = range;
    response.content_length = Some(end - start);
    // A body in memory is shorter than its address space.
    let (from, to) = (start as usize, end as usize);
    match &mut response.body {
        Body::File { offset, length, .. } => {
            *offset += start;
            *length = end - start;
        }
        Body::Static(bytes) => *bytes = bytes.get(from..to).unwrap_or_default(),
        Body::Buffer(bytes) => {
            bytes.truncate(to);
            bytes.drain(..from.min(bytes.len()));
        }
        Body::Origin(origin) => origin.inbound.narrow(start, end),
        Body::Slices(slices) => slices.narrow(start, end),
        Body::Stored(stored) => stored.narrow(start, end),
        Body::Empty | Body::Parts(_) | Body::Tunnel(_) => {}
    }
}

/// 206 with several stretches of the body.
fn several(ex: &mut Exchange, cx: Cx<'_>, ranges: Vec<(u64, u64)>, total: u64) {
    let response = &mut ex.response;
    let mut boundary = [b'0'; BOUNDARY_LEN];
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(cx.local.random()).as_bytes();
    boundary[BOUNDARY_LEN - digits.len()..].copy_from_slice(digits);
    let parts = Parts {
        whole: std::mem::take(&mut response.body),
        ranges,
        boundary,
        content_type: response.content_type.clone(),
        total,
    };
    response.status = 206;
    response.reason.clear();
    response.fields.remove(Token::CONTENT_RANGE);
    response.content_type.clear();
    response
        .content_type
        .extend_from_slice(b"multipart/byteranges; boundary=");
    response.content_type.extend_from_slice(&boundary);
    response.content_length = Some(parts.length());
    response.body = Body::Parts(Box::new(parts));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_nginx_reads_them() {
        use Asked::{Nothing, One, Several, Whole};
        for (list, total, max, want) in [
            ("0-8", 9, UNLIMITED, One((0, 9))),
            ("0-0", 9, UNLIMITED, One((0, 1))),
            ("3-", 9, UNLIMITED, One((3, 9))),
            ("-1", 9, UNLIMITED, One((8, 9))),
            ("-100", 9, UNLIMITED, One((0, 9))),
            ("-0", 9, UNLIMITED, Nothing),
            ("9-", 9, UNLIMITED, Nothing),
            ("9-,0-1", 9, UNLIMITED, One((0, 2))),
            ("5-100", 9, UNLIMITED, One((5, 9))),
            ("5-3", 9, UNLIMITED, Nothing),
            (" 1 - 2 ", 9, UNLIMITED, One((1, 3))),
            ("1", 9, UNLIMITED, Nothing),
            ("", 9, UNLIMITED, Nothing),
            ("-", 9, UNLIMITED, Nothing),
            ("--1", 9, UNLIMITED, Nothing),
            ("x-1", 9, UNLIMITED, Nothing),
            ("1-x", 9, UNLIMITED, Nothing),
            ("1-2,", 9, UNLIMITED, Nothing),
            ("1\t-2", 9, UNLIMITED, Nothing),
            ("1-2 3", 9, UNLIMITED, Nothing),
            ("0-9223372036854775807", 9, UNLIMITED, One((0, 9))),
            ("0-9223372036854775808", 9, UNLIMITED, Nothing),
            ("99999999999999999999-", 9, UNLIMITED, Nothing),
            ("0-", 0, UNLIMITED, Whole),
            ("-5", 0, UNLIMITED, Whole),
            ("0-1,3-4", 9, UNLIMITED, Several(vec![(0, 2), (3, 5)])),
            ("0-1,3-4", 9, 1, Whole),
            ("0-1,3-4", 9, 2, Several(vec![(0, 2), (3, 5)])),
            ("0-8,0-8", 9, UNLIMITED, Whole),
            ("0-1,90-", 9, 1, One((0, 2))),
        ] {
            assert_eq!(parse(list.as_bytes(), total, max), want, "{list:?} {total}");
        }
        let many = vec!["1-1"; 17].join(",");
        assert_eq!(parse(many.as_bytes(), 100, UNLIMITED), Whole);
        assert!(matches!(parse(many.as_bytes(), 400, 17), Several(_)));
    }

    #[test]
    fn parts_add_up() {
        let parts = Parts {
            whole: Body::Static(b"0123456789"),
            ranges: vec![(0, 2), (5, 10)],
            boundary: [b'7'; BOUNDARY_LEN],
            content_type: b"text/plain".to_vec(),
            total: 10,
        };
        let mut text = Vec::new();
        for (index, (start, end)) in parts.ranges.iter().enumerate() {
            parts.write_head(index, &mut text);
            text.extend_from_slice(&b"0123456789"[*start as usize..*end as usize]);
        }
        parts.write_tail(&mut text);
        assert_eq!(text.len() as u64, parts.length());
        assert!(text.starts_with(b"\r\n--77777777777777777777\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\r\n--"));
        assert!(text.ends_with(b"56789\r\n--77777777777777777777--\r\n"));
    }
}
