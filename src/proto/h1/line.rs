//! The two kinds of line that a head is made of, byte by byte and without memory: request lines and field lines.
//! Status lines live with [`response`](super::response). Limits and meaning are the parsers' business.

use super::super::head::{Field, Method, RequestHead, Span, Version};
use super::super::tokens::Token;
use super::parse::RequestError;
use crate::base::scan::{first_below, first_equal, first_of_two, flags_of};

/// What stands at the start of a line of fields.
pub(super) enum Line {
    /// The line is not whole yet.
    Incomplete,
    /// The empty line; the head ends before this position.
    End(usize),
    /// A field.
    Field(FieldLine),
}

/// A field line taken apart.
pub(super) struct FieldLine {
    pub field: Field,
    /// The name has bytes that nginx calls invalid: anything but letters, digits and hyphens (and underscores, if allowed).
    pub odd: bool,
    /// The start of the next line.
    pub next: usize,
}

/// A field line cannot be read on; the position of the byte that broke it.
pub(super) struct BrokenAt(pub usize);

/// A line as nearly all are: a plain name, a colon and a space, a value without a byte that needs a second look, CR LF.
pub(super) struct UsualLine {
    token: Token,
    colon: usize,
    end: usize,
}

impl UsualLine {
    /// Looks at the bytes from the start of a line on. `None` says nothing of the line but that [`field_line`] has to read it.
    #[inline(always)]
    pub(super) fn find(line: &[u8]) -> Option<Self> {
        let colon = first_equal(line, b':', USUAL_NAME_WORDS)?;
        // Known names have only good bytes.
        let token = Token::of_part(line, colon);
        if !token.is_known() && !is_plain(&line[..colon]) {
            return None;
        }
        let [_, b' ', value @ ..] = &line[colon..] else {
            return None;
        };
        let len = text_end(value)?;
        let (text, rest) = value.split_at(len);
        let bare = matches!(text, [first, .., last] if *first != b' ' && *last != b' ')
            || matches!(text, [only] if *only != b' ');
        let ends = rest.first_chunk() == Some(b"\r\n");
        (bare && ends).then_some(Self {
            token,
            colon,
            end: colon + 2 + len,
        })
    }

    /// The field of a line that starts at `at`.
    #[inline(always)]
    pub(super) const fn field(&self, at: usize) -> Field {
        Field {
            token: self.token,
            name: Span::new(at, at + self.colon),
            value: Span::new(at + self.colon + 2, at + self.end),
        }
    }

    /// Bytes of the whole line.
    #[inline(always)]
    pub(super) const fn len(&self) -> usize {
        self.end + 2
    }
}

/// True for a name of letters, digits and hyphens.
fn is_plain(name: &[u8]) -> bool {
    !name.is_empty() && flags_of(name, &NAME) == GOOD
}

/// Known names are shorter than so many times eight bytes.
const USUAL_NAME_WORDS: usize = 5;

/// Reads the line of fields that starts at `at`.
pub(super) fn field_line(buf: &[u8], at: usize, underscores: bool) -> Result<Line, BrokenAt> {
    match &buf[at..] {
        [] | [b'\r'] => Ok(Line::Incomplete),
        [b'\n', ..] => Ok(Line::End(at + 1)),
        [b'\r', b'\n', ..] => Ok(Line::End(at + 2)),
        [b'\r', ..] => Err(BrokenAt(at)),
        rest => match scan_name(rest, underscores) {
            Name::Colon(len, odd) => value(buf, at, at + len, odd),
            Name::LineEnd(len, odd) => no_colon(buf, at, len, odd),
            Name::Incomplete => Ok(Line::Incomplete),
            Name::Broken(by) => Err(BrokenAt(at + by)),
        },
    }
}

/// The value behind the colon.
fn value(buf: &[u8], at: usize, colon: usize, odd: bool) -> Result<Line, BrokenAt> {
    let mut start = colon + 1;
    while buf.get(start) == Some(&b' ') {
        start += 1;
    }
    let Some((mut end, next)) = line_end(buf, start)? else {
        return Ok(Line::Incomplete);
    };
    if end > start && buf[end - 1] == b' ' {
        end = trim_end(buf, start, end);
    }
    Ok(Line::Field(FieldLine {
        field: Field {
            token: Token::of(&buf[at..colon]),
            name: Span::new(at, colon),
            value: Span::new(start, end),
        },
        odd,
        next,
    }))
}

/// The end of `buf[start..end]` without the spaces at its end.
#[cold]
fn trim_end(buf: &[u8], start: usize, end: usize) -> usize {
    let spaces = buf[start..end]
        .iter()
        .rev()
        .take_while(|&&b| b == b' ')
        .count();
    end - spaces
}

/// Where a text ends, or has a byte that may break it. By itself, so that the loop has the registers.
#[inline(always)]
fn text_end(text: &[u8]) -> Option<usize> {
    first_below(text, 0, b'\r' + 1)
}

/// The end of the line's text and the start of the next line. NUL and a CR without its LF break the line.
/// Differs from nginx: it takes CR CR LF for a line end.
#[inline(always)]
pub(super) fn line_end(buf: &[u8], from: usize) -> Result<Option<(usize, usize)>, BrokenAt> {
    let mut end = from;
    loop {
        let Some(found) = first_below(buf, end, b'\r' + 1) else {
            return Ok(None);
        };
        end = found;
        match &buf[end..] {
            [b'\r', b'\n', ..] => return Ok(Some((end, end + 2))),
            [b'\n', ..] => return Ok(Some((end, end + 1))),
            [b'\r'] => return Ok(None),
            [b'\r' | 0, ..] => return Err(BrokenAt(end)),
            _ => end += 1,
        }
    }
}

/// A name without a colon is a field with an empty value, as in nginx.
fn no_colon(buf: &[u8], at: usize, len: usize, odd: bool) -> Result<Line, BrokenAt> {
    let end = at + len;
    let Some((_, next)) = line_end(buf, end)? else {
        return Ok(Line::Incomplete);
    };
    Ok(Line::Field(FieldLine {
        field: Field {
            token: Token::of(&buf[at..end]),
            name: Span::new(at, end),
            value: Span::new(end, end),
        },
        odd,
        next,
    }))
}

enum Name {
    Colon(usize, bool),
    LineEnd(usize, bool),
    Incomplete,
    Broken(usize),
}

const GOOD: u8 = 0;
const UNDERSCORE: u8 = 1;
const ODD: u8 = 2;
const COLON: u8 = 3;
const LINE_END: u8 = 4;
const BROKEN: u8 = 5;

/// What a byte is in a field name, as nginx sees it.
static NAME: [u8; 256] = {
    let mut table = [ODD; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            table[b] = GOOD;
        } else if byte <= b' ' || byte == 0x7f {
            table[b] = BROKEN;
        }
        b += 1;
    }
    table[b'_' as usize] = UNDERSCORE;
    table[b':' as usize] = COLON;
    table[b'\r' as usize] = LINE_END;
    table[b'\n' as usize] = LINE_END;
    table
};

fn scan_name(rest: &[u8], underscores: bool) -> Name {
    let mut odd = false;
    for (i, &byte) in rest.iter().enumerate() {
        match NAME[byte as usize] {
            GOOD => {}
            UNDERSCORE => odd |= !underscores,
            ODD => odd = true,
            COLON if i > 0 => return Name::Colon(i, odd),
            LINE_END => return Name::LineEnd(i, odd),
            _ => return Name::Broken(i),
        }
    }
    Name::Incomplete
}

const SLASH: u8 = 1;
const PERCENT: u8 = 2;
const PLUS: u8 = 4;
const STOP: u8 = 8;

/// What a byte is in a path; no flag for most.
static PATH: [u8; 256] = {
    let mut table = [0; 256];
    let mut b = 0;
    while b <= b' ' as usize {
        table[b] = STOP;
        b += 1;
    }
    table[0x7f] = STOP;
    table[b'?' as usize] = STOP;
    table[b'#' as usize] = STOP;
    table[b'/' as usize] = SLASH;
    table[b'%' as usize] = PERCENT;
    table[b'+' as usize] = PLUS;
    table
};

/// Reads the request line that starts at `at` into `head`; returns the start of the next line, or `None` while it is not whole.
pub(super) fn request_line(
    buf: &[u8],
    at: usize,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    let mut i = at;
    loop {
        match buf.get(i) {
            Some(b'A'..=b'Z' | b'_' | b'-') => i += 1,
            Some(b' ') if i > at => break,
            Some(_) => return Err(RequestError::InvalidMethod),
            None => return Ok(None),
        }
    }
    head.method_name = Span::new(at, i);
    head.method = Method::of(&buf[at..i]);
    let Some(start) = skip_spaces(buf, i) else {
        return Ok(None);
    };
    let end = match buf[start] {
        _ if head.method == Method::Connect => authority(buf, start, start, head)?,
        b'/' => target(buf, start, head)?,
        b'a'..=b'z' | b'A'..=b'Z' => absolute(buf, start, head)?,
        _ => return Err(RequestError::InvalidRequest),
    };
    let Some(end) = end else {
        return Ok(None);
    };
    head.target = Span::new(start, end);
    protocol(buf, at, end, head)
}

/// The first byte that is no space, or `None` when there is none yet.
fn skip_spaces(buf: &[u8], mut at: usize) -> Option<usize> {
    while buf.get(at) == Some(&b' ') {
        at += 1;
    }
    (at < buf.len()).then_some(at)
}

/// Reads path, query and fragment from `start` on; returns their end.
#[inline]
pub(in crate::proto) fn target(
    buf: &[u8],
    start: usize,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    let mut flags = 0;
    let mut end = start;
    let stop = loop {
        let Some(&byte) = buf.get(end) else {
            return Ok(None);
        };
        let flag = PATH[byte as usize];
        if flag != 0 {
            if flag == STOP {
                break byte;
            }
            head.complex |= flag == SLASH && matches!(buf.get(end + 1), Some(b'/' | b'.'));
            flags |= flag;
        }
        end += 1;
    };
    head.path = Span::new(start, end);
    if flags > SLASH {
        head.plus = flags & PLUS != 0;
        head.quoted = flags & PERCENT != 0;
        head.complex |= head.quoted;
    }
    if matches!(stop, b'?' | b'#') {
        let mark = end;
        let Some(found) = first_below(buf, mark, b' ' + 1) else {
            return Ok(None);
        };
        end = found;
        let rest = &buf[..end];
        // nginx keeps a fragment in what it forwards, but neither path nor arguments have it.
        let fragment = first_of_two(rest, mark, b'#', 0x7f);
        if fragment.is_some_and(|at| memchr::memchr(0x7f, &rest[at..]).is_some()) {
            return Err(RequestError::InvalidRequest);
        }
        head.complex |= fragment.is_some();
        if stop == b'?' {
            head.has_args = true;
            head.args = Span::new(mark + 1, fragment.unwrap_or(end));
        }
    }
    if !matches!(buf[end], b' ' | b'\r' | b'\n') {
        return Err(RequestError::InvalidRequest);
    }
    head.uri = Span::new(start, end);
    Ok(Some(end))
}

/// Reads an absolute-form target; returns its end.
fn absolute(
    buf: &[u8],
    start: usize,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    let mut i = start;
    loop {
        match buf.get(i) {
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.') => i += 1,
            Some(b':') => break,
            Some(_) => return Err(RequestError::InvalidRequest),
            None => return Ok(None),
        }
    }
    head.scheme = Span::new(start, i);
    for slash in [i + 1, i + 2] {
        match buf.get(slash) {
            Some(b'/') => {}
            Some(_) => return Err(RequestError::InvalidRequest),
            None => return Ok(None),
        }
    }
    authority(buf, i + 3, i + 1, head)
}

/// Reads host and port at `start`, then what follows them; returns the target's end. `slash` is a slash of the line that stands for
/// the path where there is none.
fn authority(
    buf: &[u8],
    start: usize,
    slash: usize,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    let connect = head.method == Method::Connect;
    let mut i = start;
    if buf.get(i) == Some(&b'[') {
        loop {
            i += 1;
            match buf.get(i) {
                Some(b']') => break,
                Some(b) if b.is_ascii_alphanumeric() || b":-._~!$&'()*+,;=".contains(b) => {}
                Some(_) => return Err(RequestError::InvalidRequest),
                None => return Ok(None),
            }
        }
        i += 1;
    } else {
        while buf
            .get(i)
            .is_some_and(|&b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
        {
            i += 1;
        }
    }
    if buf.get(i) == Some(&b':') {
        let port = i + 1;
        i = port;
        while buf.get(i).is_some_and(u8::is_ascii_digit) {
            i += 1;
        }
        if connect && i == port && i < buf.len() {
            return Err(RequestError::InvalidRequest);
        }
    } else if connect && i < buf.len() {
        return Err(RequestError::InvalidRequest);
    }
    let Some(&byte) = buf.get(i) else {
        return Ok(None);
    };
    head.authority = Span::new(start, i);
    match byte {
        b' ' if connect => Ok(Some(i)),
        _ if connect => Err(RequestError::InvalidRequest),
        b'/' => target(buf, i, head),
        b'?' => {
            head.empty_path = true;
            head.complex = true;
            target(buf, i, head)
        }
        b' ' => {
            head.path = Span::new(slash, slash + 1);
            head.uri = head.path;
            Ok(Some(i))
        }
        _ => Err(RequestError::InvalidRequest),
    }
}

/// Reads the version behind the target's end; returns the start of the next line.
fn protocol(
    buf: &[u8],
    at: usize,
    end: usize,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    if buf[end..].starts_with(b" HTTP/1.1\r\n") {
        head.version = Version::Http11;
        set_protocol(end + 1, end + 9, head);
        head.line = Span::new(at, end + 9);
        return Ok(Some(end + 11));
    }
    let Some(start) = skip_spaces(buf, end) else {
        return Ok(None);
    };
    if matches!(buf[start], b'\r' | b'\n') {
        let Some(next) = after_line_end(buf, start)? else {
            return Ok(None);
        };
        if head.method != Method::Get {
            return Err(RequestError::InvalidHttp09Method);
        }
        head.version = Version::Http09;
        head.line = Span::new(at, start);
        return Ok(Some(next));
    }
    let Some((stop, major, minor)) = version_digits(buf, start)? else {
        return Ok(None);
    };
    head.version = match (major, minor) {
        (1, 0) => Version::Http10,
        _ => Version::Http11,
    };
    let Some(line_end) = skip_spaces(buf, stop) else {
        return Ok(None);
    };
    let Some(next) = after_line_end(buf, line_end)? else {
        return Ok(None);
    };
    set_protocol(start, stop, head);
    head.line = Span::new(at, line_end);
    Ok(Some(next))
}

#[inline]
fn set_protocol(start: usize, stop: usize, head: &mut RequestHead) {
    head.protocol = Span::new(start, stop);
    if head.method == Method::Connect {
        // CONNECT has no path; the slash of the version stands for it, as in nginx.
        let slash = start + 4;
        head.path = Span::new(slash, slash + 1);
        head.uri = head.path;
    }
}

fn after_line_end(buf: &[u8], at: usize) -> Result<Option<usize>, RequestError> {
    match (buf[at], buf.get(at + 1)) {
        (b'\n', _) => Ok(Some(at + 1)),
        (b'\r', Some(b'\n')) => Ok(Some(at + 2)),
        (b'\r', None) => Ok(None),
        _ => Err(RequestError::InvalidRequest),
    }
}

/// Reads `HTTP/` and two numbers; returns the position behind them.
fn version_digits(buf: &[u8], start: usize) -> Result<Option<(usize, u32, u32)>, RequestError> {
    let name = &buf[start..buf.len().min(start + 5)];
    if name != &b"HTTP/"[..name.len()] {
        return Err(RequestError::InvalidRequest);
    }
    let mut i = start + 5;
    let mut major = 0;
    loop {
        match buf.get(i) {
            Some(b'0') if major == 0 => return Err(RequestError::InvalidRequest),
            Some(digit @ b'0'..=b'9') => major = major * 10 + u32::from(digit - b'0'),
            Some(b'.') if major > 0 => break,
            Some(_) => return Err(RequestError::InvalidRequest),
            None => return Ok(None),
        }
        if major > 1 {
            return Err(RequestError::InvalidVersion);
        }
        i += 1;
    }
    i += 1;
    let (digits, mut minor) = (i, 0);
    loop {
        match buf.get(i) {
            Some(digit @ b'0'..=b'9') if minor <= 99 => {
                minor = minor * 10 + u32::from(digit - b'0')
            }
            Some(b'\r' | b'\n' | b' ') if i > digits => return Ok(Some((i, major, minor))),
            Some(_) => return Err(RequestError::InvalidRequest),
            None => return Ok(None),
        }
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn the_usual_line_is_what_any_line_is() {
        let mut rng = Rng::new(9);
        let parts = [
            "Host",
            "x-own",
            "X_Own",
            "Accept-Language",
            ":",
            ": ",
            ":  ",
            " ",
            "\t",
            "\r\n",
            "\n",
            "\r",
            "\0",
            "a",
            "value of more than sixteen bytes",
            "\u{e9}",
            "\x7f",
            "\x0e",
            "Access-Control-Request-Headers",
            "\r\n\r\n",
        ];
        let (mut usual, mut lines) = (0, 0);
        for round in 0..200_000u32 {
            let mut text = String::new();
            if round % 2 == 0 {
                // Nearly a usual line.
                for of in [&parts[..4], &parts[5..6], &parts[12..18], &parts[9..10]] {
                    text.push_str(of[rng.below(of.len() as u64) as usize]);
                }
            }
            (0..rng.below(5)).for_each(|_| text.push_str(parts[rng.below(20) as usize]));
            let at = rng.below(3).min(text.len() as u64) as usize;
            let buf = text.as_bytes();
            let any = field_line(buf, at, false);
            lines += u32::from(matches!(any, Ok(Line::Field(_))));
            let Some(found) = UsualLine::find(&buf[at..]) else {
                continue;
            };
            usual += 1;
            let Ok(Line::Field(line)) = any else {
                panic!("no line: {text:?}");
            };
            assert_eq!(found.field(at), line.field, "{text:?}");
            assert_eq!(at + found.len(), line.next, "{text:?}");
            assert!(!line.odd, "{text:?}");
        }
        assert!(usual > 10_000 && lines > usual + 10_000, "{usual} {lines}");
    }
}
