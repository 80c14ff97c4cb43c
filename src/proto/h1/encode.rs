//! Writes HTTP/1 heads and chunk framing into a buffer. Nothing that leaves here holds CR, LF or NUL inside a line:
//! in values and reasons they become spaces, in targets percent-escapes, and names or methods that could break the line are
//! refused. Differs from nginx: it writes such bytes out as they are.
//!
//! Start at [`request_line`], [`status_line`], [`field`], [`chunk_head`].

use super::super::head::{Field, Fields};
use super::super::tokens::Token;
use crate::base::escape;
use crate::base::scan::any_below;

/// The last chunk with no trailers behind it.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What the last chunk starts with when trailers follow; they end with an empty line.
pub const LAST_CHUNK_HEAD: &[u8] = b"0\r\n";

/// Ends a head or trailers, and each chunk's data.
pub const CRLF: &[u8] = b"\r\n";

/// The answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The method is no token; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAToken;

/// Appends `METHOD target HTTP/1.x CRLF`; an empty target becomes `/`.
pub fn request_line(
    out: &mut Vec<u8>,
    method: &[u8],
    target: &[u8],
    http11: bool,
) -> Result<(), NotAToken> {
    if !is_token(method) {
        return Err(NotAToken);
    }
    out.extend_from_slice(method);
    out.push(b' ');
    self::target(out, if target.is_empty() { b"/" } else { target });
    out.extend_from_slice(if http11 {
        b" HTTP/1.1\r\n"
    } else {
        b" HTTP/1.0\r\n"
    });
    Ok(())
}

/// Appends a request target; controls, spaces and DEL leave percent-encoded, so that the line stays one line of three words.
/// May be called for one piece of a target after the other.
#[inline]
pub fn target(out: &mut Vec<u8>, target: &[u8]) {
    if !target
        .iter()
        .fold(false, |bad, &b| bad | (b <= b' ') | (b == 0x7f))
    {
        out.extend_from_slice(target);
        return;
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in target {
        if byte <= b' ' || byte == 0x7f {
            out.extend([
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        } else {
            out.push(byte);
        }
    }
}

/// Appends `HTTP/1.1 status reason CRLF` with nginx's reason.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(number.format(status).as_bytes());
    // RFC 9112 4: the space stays where there are no words for the status.
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(CRLF);
}

/// Appends `HTTP/1.1 text CRLF`, where `text` is an origin's status and reason (`404 Nope`).
pub fn status_line_with(out: &mut Vec<u8>, text: &[u8]) {
    if text == b"200 OK" {
        return status_line(out, 200);
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    value(out, text);
    out.extend_from_slice(CRLF);
}

/// Appends `name: value CRLF`; false (and nothing is written) when the name could break the line.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> bool {
    if !is_field_name(name) {
        return false;
    }
    write_field(out, name, value);
    true
}

/// Appends `name: value CRLF`, or nothing without a value. `start` is the name with colon and space, written in the code.
#[inline(always)]
pub fn line(out: &mut Vec<u8>, start: &'static [u8], value: &[u8]) {
    if !value.is_empty() {
        out.extend_from_slice(start);
        self::value(out, value);
        out.extend_from_slice(CRLF);
    }
}

/// Appends a field of a known name in its usual spelling.
#[inline]
pub fn field_token(out: &mut Vec<u8>, token: Token, value: &[u8]) {
    write_field(out, token.name().as_bytes(), value);
}

/// Appends a field whose name was parsed or compiled, and so is known to be good.
#[inline]
pub fn field_checked(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_field_name(name));
    write_field(out, name, value);
}

#[inline]
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    self::value(out, value);
    out.extend_from_slice(CRLF);
}

/// Appends the fields that `keep` accepts, in order. Lines that came from the wire as `name: value CR LF` are copied as they are,
/// neighbours together; the parser has checked them. All others are written anew, and left out when their names could break
/// the line.
#[inline]
pub fn fields(out: &mut Vec<u8>, fields: &Fields, mut keep: impl FnMut(&Field) -> bool) {
    let buf = fields.buf();
    // The stretch of wire lines that is not copied yet.
    let (mut start, mut end) = (0, 0);
    for field in fields.list() {
        if !keep(field) {
            continue;
        }
        let line = field.name.start as usize;
        let (name_end, value_end) = (field.name.end(), field.value.end());
        // Arrays of two bytes: a comparison of slices may be a call.
        let is_line = field.value.start as usize == name_end + 2
            && buf[name_end..].first_chunk() == Some(b": ")
            && buf[value_end..].first_chunk() == Some(b"\r\n");
        if is_line && line == end {
            end = value_end + 2;
            continue;
        }
        out.extend_from_slice(&buf[start..end]);
        (start, end) = (0, 0);
        if is_line {
            (start, end) = (line, value_end + 2);
        } else {
            self::field(out, field.name.of(buf), field.value.of(buf));
        }
    }
    out.extend_from_slice(&buf[start..end]);
}

/// Appends a field with a number for its value.
pub fn field_number(out: &mut Vec<u8>, token: Token, value: u64) {
    out.extend_from_slice(token.name().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    out.extend_from_slice(CRLF);
}

/// Appends a value with CR, LF and NUL as spaces.
#[inline]
pub fn value(out: &mut Vec<u8>, value: &[u8]) {
    let start = out.len();
    out.extend_from_slice(value);
    // Looked at where it comes from: what was just written is read word by word only when it has left the core.
    if may_break_line(value) {
        clean(&mut out[start..]);
    }
}

/// Usual values have none of the bytes below CR, of which three are looked for.
#[inline]
fn may_break_line(value: &[u8]) -> bool {
    any_below(value, b'\r' + 1)
}

/// Makes CR, LF and NUL in a value that was written in place spaces.
#[inline]
pub fn clean(value: &mut [u8]) {
    if may_break_line(value) {
        for byte in value {
            if breaks_line(*byte) {
                *byte = b' ';
            }
        }
    }
}

#[inline]
const fn breaks_line(byte: u8) -> bool {
    byte == b'\r' || byte == b'\n' || byte == 0
}

/// Appends `size CRLF`: what goes before a chunk's data. The data is followed by CR LF. `size` is never 0: that would end the body.
pub fn chunk_head(out: &mut Vec<u8>, size: usize) {
    debug_assert!(size > 0);
    escape::hex(out, size as u64);
    out.extend_from_slice(CRLF);
}

/// nginx's reason text of a status, or empty where it has none.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Time-out",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

/// True for a non-empty RFC 9110 token.
pub fn is_token(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// True when a name can stand before a colon without being misread. Wider than a token: with `ignore_invalid_headers off`
/// clients' odd names pass, as in nginx.
#[inline]
pub fn is_field_name(name: &[u8]) -> bool {
    !name.is_empty()
        && !name.iter().fold(false, |bad, &b| {
            bad | (b <= b' ') | (b == b':') | (b == 0x7f)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines() {
        assert_eq!(
            with(|o| request_line(o, b"GET", b"/a?b", true).unwrap()),
            "GET /a?b HTTP/1.1\r\n"
        );
        assert_eq!(
            with(|o| request_line(o, b"M-S", b"", false).unwrap()),
            "M-S / HTTP/1.0\r\n"
        );
        assert_eq!(with(|o| status_line(o, 200)), "HTTP/1.1 200 OK\r\n");
        assert_eq!(
            with(|o| status_line(o, 302)),
            "HTTP/1.1 302 Moved Temporarily\r\n"
        );
        assert_eq!(with(|o| status_line(o, 799)), "HTTP/1.1 799 \r\n");
        assert_eq!(
            with(|o| status_line_with(o, b"404 N\r\nope")),
            "HTTP/1.1 404 N  ope\r\n"
        );
        assert_eq!(with(|o| field_token(o, Token::ETAG, b"x")), "ETag: x\r\n");
        assert_eq!(
            with(|o| field_number(o, Token::CONTENT_LENGTH, u64::MAX)),
            "Content-Length: 18446744073709551615\r\n"
        );
    }

    #[test]
    fn nothing_breaks_a_line() {
        for byte in 0..=255u8 {
            let inside = [b'a', byte, b'b'];
            let mut out = Vec::new();
            for name in [&inside[..], &[byte], &[]] {
                let start = out.len();
                if field(&mut out, name, &inside) {
                    check(&out[start..]);
                } else {
                    assert_eq!(out.len(), start);
                }
            }
            out.clear();
            if request_line(&mut out, b"GET", &inside, true).is_ok() {
                check(&out);
                assert_eq!(out.iter().filter(|&&b| b == b' ').count(), 2);
            }
            out.clear();
            match request_line(&mut out, &inside, b"/", true) {
                Ok(()) => assert_eq!(out.split(|&b| b == b' ').count(), 3),
                Err(NotAToken) => assert!(out.is_empty()),
            }
            out.clear();
            status_line_with(&mut out, &inside);
            check(&out);
        }
        fn check(line: &[u8]) {
            let text = line.strip_suffix(b"\r\n").unwrap();
            assert!(!text.iter().any(|&b| breaks_line(b)), "{line:?}");
        }
    }

    #[test]
    fn fields_are_copied_or_written_anew() {
        use super::super::super::head::RequestHead;
        use super::super::parse::{HeadLimits, RequestParser};
        let wire = "GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nB:2\r\nC: 3 \r\nD:  4\r\nE: 5\nConnection: close\r\nF: 6\r\nG: 7\r\nbare\r\nH: 8\r\n\r\n";
        let mut head = RequestHead::default();
        RequestParser::new()
            .parse(wire.as_bytes(), &HeadLimits::default(), &mut head)
            .unwrap();
        head.fields.push(b"X", b"a\r\nb");
        head.fields.push(b"bad name", b"");
        head.fields.set(Token::HOST, b"y");
        let anew = |keep: &dyn Fn(&Field) -> bool| {
            with(|o| {
                for f in head.fields.list().iter().filter(|f| keep(f)) {
                    field(o, head.bytes(f.name), head.bytes(f.value));
                }
            })
        };
        let keeps: [&dyn Fn(&Field) -> bool; 4] = [
            &|_| true,
            &|f| !f.token.is_hop_by_hop(),
            &|f| f.token != Token::HOST,
            &|f| f.name.start % 2 == 0,
        ];
        for keep in keeps {
            assert_eq!(with(|o| fields(o, &head.fields, keep)), anew(keep));
        }
        let text = anew(&|_| true);
        assert!(
            text.starts_with("Host: y\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n")
                && text.ends_with("bare: \r\nH: 8\r\nX: a  b\r\n"),
            "{text}"
        );
    }

    #[test]
    fn injected_lines_stay_in_their_place() {
        assert_eq!(
            with(|o| assert!(field(o, b"X", b"a\r\nSet-Cookie: b\0c"))),
            "X: a  Set-Cookie: b c\r\n"
        );
        assert_eq!(
            with(|o| request_line(o, b"GET", b"/a b\r\nHost: x\t\x7f\0", true).unwrap()),
            "GET /a%20b%0D%0AHost:%20x%09%7F%00 HTTP/1.1\r\n"
        );
    }

    #[test]
    fn chunks() {
        for (size, text) in [
            (1, "1"),
            (15, "f"),
            (16, "10"),
            (255, "ff"),
            (4096, "1000"),
            (usize::MAX, "ffffffffffffffff"),
        ] {
            assert_eq!(with(|o| chunk_head(o, size)), format!("{text}\r\n"));
        }
    }
}
