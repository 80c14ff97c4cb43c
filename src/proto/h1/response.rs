//! Reads response heads of origins, which are not trusted: whatever could mean two things is refused, and becomes 502.
//! Start at [`ResponseParser::parse`].

use super::super::head::{ConnectionWish, Field, ResponseHead, Span, Version, list_has};
use super::super::tokens::Token;
use super::line::{self, Line, UsualLine};
use super::parse::{Parsed, connection_wish};
use crate::base::size::parse_digits;

/// Fields that one response may have, the ignored ones included.
/// Differs from nginx: only the buffer bounds it there.
const FIELDS_MAX: usize = 1000;

/// The rule that an origin's head broke; each becomes 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// No `HTTP/1.x NNN` line. Differs from nginx: it passes such answers on as HTTP/0.9.
    InvalidStatusLine,
    /// A control in a name, a space before the colon, a folded line, NUL or a bare CR.
    InvalidField,
    /// A second `Content-Length` or `Transfer-Encoding`, even when equal.
    DuplicateField,
    /// `Content-Length` is no number.
    InvalidContentLength,
    /// `Content-Length` with `Transfer-Encoding`.
    LengthAndTransferEncoding,
    /// A coding other than exactly `chunked`.
    UnknownTransferEncoding,
    /// 103 in HTTP/1.0.
    EarlyHintsInHttp10,
    /// The head does not fit the buffer.
    TooBig,
}

impl ResponseError {
    /// nginx's log phrase at level `error`; [`ResponseParser::describe`] adds the bytes that it shows.
    pub const fn message(self) -> &'static str {
        match self {
            Self::InvalidStatusLine => "upstream sent no valid HTTP/1.0 header",
            Self::InvalidField => "upstream sent invalid header",
            Self::DuplicateField => "upstream sent duplicate header line",
            Self::InvalidContentLength => "upstream sent invalid \"Content-Length\" header",
            Self::LengthAndTransferEncoding => {
                "upstream sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
            }
            Self::UnknownTransferEncoding => "upstream sent unknown \"Transfer-Encoding\"",
            Self::EarlyHintsInHttp10 => "upstream sent HTTP/1.0 response with early hints",
            Self::TooBig => "upstream sent too big header",
        }
    }
}

/// Reads one response head; remembers how far it has looked.
#[derive(Debug, Default, Clone)]
pub struct ResponseParser {
    /// Start of the line that is read next.
    at: usize,
    /// Bytes before this one hold no line end behind `at`.
    seen: usize,
    /// The line that broke a rule, up to the byte that did.
    culprit: Span,
}

impl ResponseParser {
    /// Before the first byte.
    pub const fn new() -> Self {
        Self {
            at: 0,
            seen: 0,
            culprit: Span { start: 0, len: 0 },
        }
    }

    /// Ready for the next response (after a 1xx, or on a reused connection).
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Reads `buf`, which holds all bytes of this response so far; a head of more than `bytes_max` (`proxy_buffer_size`) is too
    /// big. When it returns `Complete`, or an error, `head` owns a copy of the bytes.
    pub fn parse(
        &mut self,
        buf: &[u8],
        bytes_max: usize,
        head: &mut ResponseHead,
    ) -> Result<Parsed, ResponseError> {
        let visible = &buf[..buf.len().min(bytes_max)];
        let parsed = self.advance(visible, head);
        self.keep(buf, visible.len(), bytes_max, parsed, head)
    }

    /// As [`parse`](Self::parse), for a head without a status line (CGI, RFC 3875 6): `head`, which must be clear before the
    /// first call, gets the fields and nothing else.
    pub fn parse_fields(
        &mut self,
        buf: &[u8],
        bytes_max: usize,
        head: &mut ResponseHead,
    ) -> Result<Parsed, ResponseError> {
        // What is no interim response has framing fields.
        head.status = 200;
        let visible = &buf[..buf.len().min(bytes_max)];
        let parsed = match self.waits(visible) {
            true => Ok(Parsed::Incomplete),
            false => self.lines(visible, head),
        };
        self.keep(buf, visible.len(), bytes_max, parsed, head)
    }

    /// Copies the bytes of a head that is over into it.
    #[inline(always)]
    fn keep(
        &self,
        buf: &[u8],
        visible: usize,
        bytes_max: usize,
        parsed: Result<Parsed, ResponseError>,
        head: &mut ResponseHead,
    ) -> Result<Parsed, ResponseError> {
        let parsed = match parsed {
            Ok(Parsed::Incomplete) if visible == bytes_max => Err(ResponseError::TooBig),
            parsed => parsed,
        };
        let keep = match parsed {
            Ok(Parsed::Incomplete) => return parsed,
            Ok(Parsed::Complete(consumed)) => consumed,
            Err(_) => self.at.max(self.culprit.end()).min(visible),
        };
        head.wire_len = keep as u32;
        head.fields.buf.clear();
        head.fields.buf.extend_from_slice(&buf[..keep]);
        parsed
    }

    /// Appends what nginx logs for `error`, with the bytes of the offending line where it shows them.
    pub fn describe(&self, error: ResponseError, head: &ResponseHead, out: &mut Vec<u8>) {
        const SHOWN_MAX: usize = 1748;
        out.extend_from_slice(error.message().as_bytes());
        let shown = self.culprit.of(&head.fields.buf);
        let shown = &shown[..shown.len().min(SHOWN_MAX)];
        match error {
            ResponseError::InvalidField => {
                let (text, last) = shown
                    .split_last()
                    .map_or((shown, 0), |(last, text)| (text, *last));
                out.extend_from_slice(b": \"");
                out.extend_from_slice(text);
                out.extend_from_slice(format!("\\x{last:02x}...\"").as_bytes());
            }
            ResponseError::DuplicateField
            | ResponseError::InvalidContentLength
            | ResponseError::UnknownTransferEncoding => {
                out.extend_from_slice(b": \"");
                out.extend_from_slice(shown);
                out.push(b'"');
            }
            _ => {}
        }
    }

    #[inline(always)]
    fn advance(&mut self, buf: &[u8], head: &mut ResponseHead) -> Result<Parsed, ResponseError> {
        if self.waits(buf) {
            return Ok(Parsed::Incomplete);
        }
        if self.at == 0 {
            head.clear();
            let Some(next) = status_line(buf, head)? else {
                self.seen = buf.len();
                return Ok(Parsed::Incomplete);
            };
            self.at = next;
        }
        self.lines(buf, head)
    }

    /// Whether looking again is pointless, because no further line end has come.
    #[inline(always)]
    fn waits(&mut self, buf: &[u8]) -> bool {
        let waits = self.seen > self.at
            && memchr::memchr(b'\n', &buf[self.seen.min(buf.len())..]).is_none();
        if waits {
            self.seen = buf.len();
        }
        waits
    }

    /// Reads the lines behind the status line.
    fn lines(&mut self, buf: &[u8], head: &mut ResponseHead) -> Result<Parsed, ResponseError> {
        loop {
            let rest = &buf[self.at..];
            if rest.first_chunk() != Some(b"\r\n")
                && let Some(line) = UsualLine::find(rest)
            {
                count(head)?;
                let field = line.field(self.at);
                if has_rule(field.token, head) {
                    self.accept(buf, field, head)?;
                } else {
                    head.fields.push_field(field);
                }
                self.at += line.len();
            } else if let Some(parsed) = self.unusual_line(buf, head)? {
                return Ok(parsed);
            }
        }
    }

    /// Reads any line of fields, the empty one too; what is left to be said of the head when there is nothing more to read.
    fn unusual_line(
        &mut self,
        buf: &[u8],
        head: &mut ResponseHead,
    ) -> Result<Option<Parsed>, ResponseError> {
        let line = line::field_line(buf, self.at, true).map_err(|broken| {
            self.culprit = Span::new(self.at, broken.0 + 1);
            ResponseError::InvalidField
        })?;
        match line {
            Line::Field(line) => {
                count(head)?;
                self.accept(buf, line.field, head)?;
                self.at = line.next;
                Ok(None)
            }
            Line::End(next) => {
                head.upgrade &= head.fields.present & Token::UPGRADE.bit() != 0;
                Ok(Some(Parsed::Complete(next)))
            }
            Line::Incomplete => {
                self.seen = buf.len();
                Ok(Some(Parsed::Incomplete))
            }
        }
    }

    /// Takes a field into the head, by the rules of its name.
    fn accept(
        &mut self,
        buf: &[u8],
        field: Field,
        head: &mut ResponseHead,
    ) -> Result<(), ResponseError> {
        let token = field.token;
        let value = field.value.of(buf);
        // Interim responses have no content: RFC 9110 8.6, RFC 9112 6.1.
        let interim = head.status < 200;
        match token {
            Token::CONTENT_LENGTH | Token::TRANSFER_ENCODING if interim => return Ok(()),
            Token::CONTENT_LENGTH | Token::TRANSFER_ENCODING => {
                self.framing(token, value, head).inspect_err(|&error| {
                    let shown = if error == ResponseError::UnknownTransferEncoding {
                        field.value
                    } else {
                        Span::new(self.at, field.end())
                    };
                    self.culprit = shown;
                })?;
            }
            Token::CONNECTION => {
                // What nearly every origin sends needs no search; and any `close` closes, wherever it stands.
                let wish = if value == b"keep-alive" {
                    Some(ConnectionWish::KeepAlive)
                } else {
                    head.upgrade |= list_has(value, b"upgrade");
                    connection_wish(value)
                };
                if head.connection != ConnectionWish::Close {
                    head.connection = wish.unwrap_or(head.connection);
                }
            }
            _ if is_repeated(token, head) && !interim => {
                head.ignored.push(Span::new(self.at, field.end()));
                return Ok(());
            }
            _ => {}
        }
        head.fields.push_field(field);
        Ok(())
    }

    fn framing(
        &self,
        token: Token,
        value: &[u8],
        head: &mut ResponseHead,
    ) -> Result<(), ResponseError> {
        if head.fields.present & token.bit() != 0 {
            return Err(ResponseError::DuplicateField);
        }
        if head.content_length.is_some() || head.chunked {
            return Err(ResponseError::LengthAndTransferEncoding);
        }
        if token == Token::CONTENT_LENGTH {
            let length = parse_digits(value).ok_or(ResponseError::InvalidContentLength)?;
            head.content_length = Some(length);
        } else if value.eq_ignore_ascii_case(b"chunked") {
            head.chunked = true;
        } else {
            return Err(ResponseError::UnknownTransferEncoding);
        }
        Ok(())
    }
}

/// Whether a field of this name is more to the parser than one among others.
#[inline]
fn has_rule(token: Token, head: &ResponseHead) -> bool {
    matches!(
        token,
        Token::CONNECTION | Token::CONTENT_LENGTH | Token::TRANSFER_ENCODING
    ) || is_repeated(token, head)
}

/// A second field of a name that counts once.
#[inline]
fn is_repeated(token: Token, head: &ResponseHead) -> bool {
    token.is_single_in_response() && head.fields.present & token.bit() != 0
}

/// Whether there may be another field.
#[inline]
fn count(head: &ResponseHead) -> Result<(), ResponseError> {
    if head.fields.list.len() + head.ignored.len() >= FIELDS_MAX {
        return Err(ResponseError::TooBig);
    }
    Ok(())
}

/// Reads `HTTP/1.x NNN reason`; returns the start of the next line.
fn status_line(buf: &[u8], head: &mut ResponseHead) -> Result<Option<usize>, ResponseError> {
    const INVALID: ResponseError = ResponseError::InvalidStatusLine;
    const USUAL: &[u8] = b"HTTP/1.1 200 OK\r\n";
    if buf.starts_with(USUAL) {
        let (code, end) = (9, USUAL.len() - 2);
        head.version = Version::Http11;
        head.status = 200;
        head.status_line = Span::new(code, end);
        head.reason = Span::new(code + 4, end);
        return Ok(Some(USUAL.len()));
    }
    let (mut i, version) = if buf.starts_with(b"HTTP/1.1 ") {
        (9, Version::Http11)
    } else {
        match version(buf)? {
            Some(found) => found,
            None => return Ok(None),
        }
    };
    head.version = version;
    while buf.get(i) == Some(&b' ') {
        i += 1;
    }
    let code = i;
    let mut status = 0u16;
    while i < code + 3 {
        match buf.get(i) {
            Some(digit @ b'0'..=b'9') => status = status * 10 + u16::from(digit - b'0'),
            Some(_) => return Err(INVALID),
            None => return Ok(None),
        }
        i += 1;
    }
    // Differs from nginx: codes below 100 are no statuses.
    if status < 100 {
        return Err(INVALID);
    }
    match buf.get(i) {
        // Some servers send sub-codes such as 403.1.
        Some(b' ' | b'.' | b'\r' | b'\n') => {}
        Some(_) => return Err(INVALID),
        None => return Ok(None),
    }
    let Some((end, next)) = line::line_end(buf, i).map_err(|_| INVALID)? else {
        return Ok(None);
    };
    head.status = status;
    head.status_line = Span::new(code, end);
    head.reason = Span::new((i + 1).min(end), end);
    if status == 103 && head.version == Version::Http10 {
        return Err(ResponseError::EarlyHintsInHttp10);
    }
    Ok(Some(next))
}

/// Reads `HTTP/1.x` and its space; returns the position behind it.
#[cold]
fn version(buf: &[u8]) -> Result<Option<(usize, Version)>, ResponseError> {
    let start = &buf[..buf.len().min(5)];
    if start != &b"HTTP/"[..start.len()] {
        return Err(ResponseError::InvalidStatusLine);
    }
    let Some((dot, major)) = number(buf, 5, b'.')? else {
        return Ok(None);
    };
    let Some((space, minor)) = number(buf, dot + 1, b' ')? else {
        return Ok(None);
    };
    match (major, minor) {
        (0, _) => Err(ResponseError::InvalidStatusLine),
        (1, 0) => Ok(Some((space, Version::Http10))),
        _ => Ok(Some((space, Version::Http11))),
    }
}

/// Reads up to three digits that `stop` ends; returns the position of `stop`.
fn number(buf: &[u8], start: usize, stop: u8) -> Result<Option<(usize, u32)>, ResponseError> {
    let mut value = 0;
    for i in start..=start + 3 {
        match buf.get(i) {
            Some(digit @ b'0'..=b'9') => value = value * 10 + u32::from(digit - b'0'),
            Some(&b) if b == stop && i > start => return Ok(Some((i, value))),
            Some(_) => return Err(ResponseError::InvalidStatusLine),
            None => return Ok(None),
        }
    }
    Err(ResponseError::InvalidStatusLine)
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
