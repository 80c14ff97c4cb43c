//! Reads request heads from a buffer that grows: limits, field rules and framing facts, as strict as nginx and stricter where
//! a head could mean two things. Start at [`RequestParser::parse`]; responses are read by [`ResponseParser`].
//!
//! Lines may end in LF alone, as in nginx: what is forwarded is written anew, so nobody behind us sees them.

use super::super::head::{ConnectionWish, Field, RequestHead, Span, Version, list_has};
use super::super::host;
use super::super::tokens::Token;
use super::line::{self, Line, UsualLine};
use crate::base::size::parse_digits;

pub use super::response::{ResponseError, ResponseParser};

/// What a client's head may cost and which names it may use; from the plan of the address's default server.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// `client_header_buffer_size`
    pub first_buffer: usize,
    /// `large_client_header_buffers`, the number.
    pub large_count: usize,
    /// `large_client_header_buffers`, the size. No single line may be longer than this or the first buffer.
    pub large_size: usize,
    /// `max_headers`
    pub fields_max: usize,
    /// `ignore_invalid_headers`: drop fields with odd names; else they are kept.
    pub ignore_invalid: bool,
    /// `underscores_in_headers`
    pub underscores: bool,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            first_buffer: 1024,
            large_count: 4,
            large_size: 8192,
            fields_max: 1000,
            ignore_invalid: true,
            underscores: false,
        }
    }
}

/// Blank lines that a client may send before a request.
/// Differs from nginx: it skips any number of them.
const BLANK_BYTES_MAX: usize = 512;

impl HeadLimits {
    /// The most bytes that one head can take from a connection; a read buffer never needs more.
    pub const fn bytes_max(&self) -> usize {
        BLANK_BYTES_MAX + self.first_buffer + self.large_count * self.large_size
    }
}

/// How far a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// More bytes are needed; call again with the same bytes and more behind them.
    Incomplete,
    /// The head is whole; so many bytes of the buffer belong to it.
    Complete(usize),
}

/// The rule that a request's head broke. The connection is closed after the answer, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The method has other bytes than `A-Z`, `_` and `-`.
    InvalidMethod,
    /// The request line has another form, or controls in it.
    InvalidRequest,
    /// HTTP/2 or above in a version 1 request line.
    InvalidVersion,
    /// HTTP/0.9 knows only GET.
    InvalidHttp09Method,
    /// The request line is longer than a large buffer.
    UriTooLong,
    /// The absolute-form target's host is not valid.
    InvalidAuthority,
    /// The head needs more or larger buffers than there are.
    HeadTooLarge,
    /// One line is longer than a large buffer.
    FieldTooLarge,
    /// More fields than `max_headers`.
    TooManyFields,
    /// A control in a name, a space before the colon, a folded line, NUL or a bare CR.
    InvalidField,
    /// A second field of a kind that may come once.
    DuplicateField,
    /// A second `Host`, even when equal.
    DuplicateHost,
    /// `Host` breaks RFC 3986.
    InvalidHost,
    /// HTTP/1.1 without `Host`.
    MissingHost,
    /// `Content-Length` is no number.
    InvalidContentLength,
    /// `Transfer-Encoding` in HTTP/1.0.
    TransferEncodingInHttp10,
    /// `Content-Length` with `Transfer-Encoding`.
    LengthAndTransferEncoding,
    /// A coding other than exactly `chunked`.
    UnknownTransferEncoding,
    /// HTTP/2: the head breaks a rule that HTTP/1 has no room for (RFC 9113 §8.1.1); the log's words.
    Malformed(&'static str),
}

impl RequestError {
    /// The status to answer with. 494 is nginx's own for too large heads; clients see 400.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidVersion => 505,
            Self::UriTooLong => 414,
            Self::HeadTooLarge | Self::FieldTooLarge | Self::TooManyFields => 494,
            Self::UnknownTransferEncoding => 501,
            _ => 400,
        }
    }

    /// nginx's log phrase at level `info`; [`RequestParser::describe`] adds the bytes that it shows.
    pub const fn message(self) -> &'static str {
        match self {
            Self::InvalidMethod => "client sent invalid method",
            Self::InvalidRequest => "client sent invalid request",
            Self::InvalidVersion => "client sent invalid version",
            Self::InvalidHttp09Method => "client sent invalid method in HTTP/0.9 request",
            Self::UriTooLong => "client sent too long URI",
            Self::InvalidAuthority => "client sent invalid host in request line",
            Self::HeadTooLarge => "client sent too large request",
            Self::FieldTooLarge => "client sent too long header line",
            Self::TooManyFields => "client sent too many header lines",
            Self::InvalidField => "client sent invalid header line",
            Self::DuplicateField => "client sent duplicate header line",
            Self::DuplicateHost => "client sent duplicate host header",
            Self::InvalidHost => "client sent invalid host header",
            Self::MissingHost => "client sent HTTP/1.1 request without \"Host\" header",
            Self::InvalidContentLength => "client sent invalid \"Content-Length\" header",
            Self::TransferEncodingInHttp10 => {
                "client sent HTTP/1.0 request with \"Transfer-Encoding\" header"
            }
            Self::LengthAndTransferEncoding => {
                "client sent \"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
            }
            Self::UnknownTransferEncoding => "client sent unknown \"Transfer-Encoding\"",
            Self::Malformed(why) => why,
        }
    }
}

/// Where the parser is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    RequestLine,
    Fields,
}

/// Reads one request head; remembers how far it has looked, so that slow senders cost no rescans.
#[derive(Debug, Default, Clone)]
pub struct RequestParser {
    stage: Stage,
    /// Start of the line that is read next. Everything before it is in the head already.
    at: usize,
    /// Bytes before this one hold no line end behind `at`. Zero while nobody has looked.
    seen: usize,
    /// First byte of the request line: blank lines before it do not count.
    start: usize,
    /// What is left of the buffer that nginx would be filling now.
    room: usize,
    /// Large buffers that nginx would have taken.
    busy: usize,
    /// The line that broke a rule, up to the byte that did.
    culprit: Span,
}

impl RequestParser {
    /// Before the first byte.
    pub const fn new() -> Self {
        Self {
            stage: Stage::RequestLine,
            at: 0,
            seen: 0,
            start: 0,
            room: 0,
            busy: 0,
            culprit: Span { start: 0, len: 0 },
        }
    }

    /// Ready for the next request.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// True once anything but blank lines has come: from then on a close is an aborted request.
    pub fn started(&self) -> bool {
        self.seen > self.at || self.stage == Stage::Fields
    }

    /// Reads `buf`, which holds all bytes of this request so far. When it returns `Complete`, or an error, `head` owns a copy
    /// of the bytes and stays valid whatever happens to `buf`; before that its spans mean nothing.
    pub fn parse(
        &mut self,
        buf: &[u8],
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Result<Parsed, RequestError> {
        let parsed = self.advance(buf, limits, head);
        let keep = match parsed {
            Ok(Parsed::Incomplete) => return parsed,
            Ok(Parsed::Complete(consumed)) => consumed,
            Err(_) => {
                // Whatever was noted before the error stays readable: logs show it.
                let noted = head.fields.list.iter().map(|field| field.value.end());
                let noted = noted.max().unwrap_or(0).max(head.host.end());
                let seen = head.line.end().max(self.at).max(self.culprit.end());
                seen.max(noted).min(buf.len())
            }
        };
        head.wire_len = (keep - self.start.min(keep)) as u32;
        head.fields.buf.clear();
        head.fields.buf.extend_from_slice(&buf[..keep]);
        parsed
    }

    /// The rest of this head will not come: `head` gets a copy of what did, so that its spans can be logged.
    pub fn give_up(&self, buf: &[u8], head: &mut RequestHead) {
        head.wire_len = buf.len().saturating_sub(self.start) as u32;
        head.fields.buf.clear();
        head.fields.buf.extend_from_slice(buf);
    }

    /// Appends what nginx logs for `error`, with the bytes of the offending line where it shows them.
    pub fn describe(&self, error: RequestError, head: &RequestHead, out: &mut Vec<u8>) {
        // nginx cuts such lines to fit its 2,048-byte log buffer.
        const SHOWN_MAX: usize = 1748;
        out.extend_from_slice(error.message().as_bytes());
        let shown = self.culprit.of(&head.fields.buf);
        let shown = &shown[..shown.len().min(SHOWN_MAX)];
        match error {
            RequestError::FieldTooLarge => {
                out.extend_from_slice(b": \"");
                out.extend_from_slice(shown);
                out.extend_from_slice(b"...\"");
            }
            RequestError::InvalidField => {
                let (text, last) = shown
                    .split_last()
                    .map_or((shown, 0), |(last, text)| (text, *last));
                out.extend_from_slice(b": \"");
                out.extend_from_slice(text);
                out.extend_from_slice(format!("\\x{last:02x}...\"").as_bytes());
            }
            RequestError::DuplicateField | RequestError::DuplicateHost => {
                out.extend_from_slice(b": \"");
                out.extend_from_slice(shown);
                out.push(b'"');
            }
            RequestError::UnknownTransferEncoding => {
                out.extend_from_slice(b": \"");
                out.extend_from_slice(
                    head.fields
                        .get(Token::TRANSFER_ENCODING)
                        .unwrap_or_default(),
                );
                out.push(b'"');
            }
            _ => {}
        }
    }

    fn advance(
        &mut self,
        buf: &[u8],
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Result<Parsed, RequestError> {
        if self.stage == Stage::RequestLine {
            head.clear();
            self.room = limits.first_buffer;
            self.skip_blank_lines(buf)?;
            if matches!(&buf[self.at..], b"" | b"\r") {
                return Ok(Parsed::Incomplete);
            }
            if !self.has_news(buf) {
                return self
                    .wait(buf, limits)
                    .inspect_err(|_| self.show_line(buf, head));
            }
            let next = match line::request_line(buf, self.at, head) {
                Ok(Some(next)) => next,
                Ok(None) => {
                    return self
                        .wait(buf, limits)
                        .inspect_err(|_| self.show_line(buf, head));
                }
                Err(error) => {
                    self.show_line(buf, head);
                    return Err(error);
                }
            };
            let named = !head.authority.is_empty() || !head.scheme.is_empty();
            let name = named.then(|| host::validate(head.authority.of(buf)));
            // Also of a head that is refused: it picks the server that answers.
            head.server_name = name.and_then(Result::ok).unwrap_or_default();
            if !self.charge(next - self.at, limits) {
                return Err(RequestError::UriTooLong);
            }
            if let Some(Err(_)) = name {
                return Err(RequestError::InvalidAuthority);
            }
            self.at = next;
            if head.version == Version::Http09 {
                return Ok(Parsed::Complete(next));
            }
            self.stage = Stage::Fields;
        }
        if !self.has_news(buf) {
            return self.wait(buf, limits);
        }
        self.fields(buf, limits, head)
    }

    fn fields(
        &mut self,
        buf: &[u8],
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Result<Parsed, RequestError> {
        loop {
            let rest = &buf[self.at..];
            if rest.first_chunk() != Some(b"\r\n")
                && let Some(line) = UsualLine::find(rest)
            {
                if !self.charge(line.len(), limits) {
                    return Err(self.too_large(self.at + line.len()));
                }
                count(limits, head)?;
                let field = line.field(self.at);
                if has_rule(field.token) {
                    self.accept(buf, field, head)?;
                } else {
                    head.fields.push_field(field);
                }
                self.at += line.len();
            } else if let Some(parsed) = self.unusual_line(buf, limits, head)? {
                return Ok(parsed);
            }
        }
    }

    /// Reads any line of fields, the empty one too; what is left to be said of the head when there is nothing more to read.
    fn unusual_line(
        &mut self,
        buf: &[u8],
        limits: &HeadLimits,
        head: &mut RequestHead,
    ) -> Result<Option<Parsed>, RequestError> {
        let line = line::field_line(buf, self.at, limits.underscores).map_err(|broken| {
            self.culprit = Span::new(self.at, broken.0 + 1);
            RequestError::InvalidField
        })?;
        match line {
            Line::Field(line) => {
                if !self.charge(line.next - self.at, limits) {
                    return Err(self.too_large(line.next));
                }
                count(limits, head)?;
                if line.odd && limits.ignore_invalid {
                    head.dropped.push(Span::new(self.at, line.field.end()));
                } else {
                    self.accept(buf, line.field, head)?;
                }
                self.at = line.next;
                Ok(None)
            }
            Line::End(next) => {
                if !self.charge(next - self.at, limits) {
                    return Err(RequestError::HeadTooLarge);
                }
                finish(buf, head)?;
                Ok(Some(Parsed::Complete(next)))
            }
            Line::Incomplete => self.wait(buf, limits).map(Some),
        }
    }

    /// Skips CR LF and LF before the request line. A CR without its LF is left for the request line to refuse.
    fn skip_blank_lines(&mut self, buf: &[u8]) -> Result<(), RequestError> {
        loop {
            match &buf[self.at..] {
                [b'\n', ..] => self.at += 1,
                [b'\r', b'\n', ..] => self.at += 2,
                _ => break,
            }
            if self.at > BLANK_BYTES_MAX {
                return Err(RequestError::InvalidRequest);
            }
        }
        self.start = self.at;
        Ok(())
    }

    /// False when this line was looked at before and still has no end.
    #[inline]
    fn has_news(&self, buf: &[u8]) -> bool {
        self.seen <= self.at || memchr::memchr(b'\n', &buf[self.seen.min(buf.len())..]).is_some()
    }

    /// Leaves nothing in the head but what `$request` shows of a line that cannot be read: all of it that has come.
    #[cold]
    fn show_line(&self, buf: &[u8], head: &mut RequestHead) {
        head.clear();
        let text = &buf[self.at..];
        let len = memchr::memchr2(b'\r', b'\n', text).unwrap_or(text.len());
        head.line = Span::new(self.at, self.at + len);
    }

    /// The line at `at` is not whole: remembers that, and fails when nginx would have no buffer for the rest of it.
    #[cold]
    fn wait(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Parsed, RequestError> {
        // A last CR may be the first half of a line end that is yet to be looked at.
        self.seen = buf.len();
        let part = buf.len() - self.at;
        let another = self.busy < limits.large_count;
        if part < self.room || (another && part < limits.large_size) {
            return Ok(Parsed::Incomplete);
        }
        if self.stage == Stage::RequestLine {
            return Err(RequestError::UriTooLong);
        }
        Err(self.too_large(buf.len()))
    }

    fn too_large(&mut self, end: usize) -> RequestError {
        if end == self.at {
            return RequestError::HeadTooLarge;
        }
        self.culprit = Span::new(self.at, end);
        RequestError::FieldTooLarge
    }

    /// Counts a whole line against the buffers as nginx packs them: a line never spans two.
    #[inline]
    fn charge(&mut self, len: usize, limits: &HeadLimits) -> bool {
        if len <= self.room {
            self.room -= len;
            return true;
        }
        if len > limits.large_size || self.busy >= limits.large_count {
            return false;
        }
        self.busy += 1;
        self.room = limits.large_size - len;
        true
    }

    /// Takes a field into the head, by the rules of its name.
    fn accept(
        &mut self,
        buf: &[u8],
        field: Field,
        head: &mut RequestHead,
    ) -> Result<(), RequestError> {
        let token = field.token;
        if token.is_unique() && head.fields.present & token.bit() != 0 {
            self.culprit = Span::new(self.at, field.end());
            return Err(if token == Token::HOST {
                RequestError::DuplicateHost
            } else {
                RequestError::DuplicateField
            });
        }
        head.fields.push_field(field);
        match token {
            Token::HOST => {
                let name = host::validate(field.value.of(buf));
                let name = name.map_err(|_| RequestError::InvalidHost)?;
                if head.authority.is_empty() {
                    head.server_name = name;
                }
                head.host = field.value;
                head.has_host = true;
            }
            Token::CONNECTION => {
                let value = field.value.of(buf);
                // What nearly every client sends needs no search.
                if value == b"keep-alive" {
                    head.connection = ConnectionWish::KeepAlive;
                    return Ok(());
                }
                if let Some(wish) = connection_wish(value) {
                    head.connection = wish;
                }
                head.upgrade |= list_has(value, b"upgrade");
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a field of this name is more to the parser than one among others.
#[inline]
fn has_rule(token: Token) -> bool {
    token.is_unique() || token == Token::CONNECTION
}

/// Whether there may be another field.
/// Differs from nginx: dropped fields count too.
#[inline]
fn count(limits: &HeadLimits, head: &RequestHead) -> Result<(), RequestError> {
    if head.fields.list.len() + head.dropped.len() >= limits.fields_max {
        return Err(RequestError::TooManyFields);
    }
    Ok(())
}

/// What a `Connection` value says about the connection's life. Like nginx, finds the word anywhere in the value.
pub(super) fn connection_wish(value: &[u8]) -> Option<ConnectionWish> {
    if contains_word(value, b"close") {
        Some(ConnectionWish::Close)
    } else if contains_word(value, b"keep-alive") {
        Some(ConnectionWish::KeepAlive)
    } else {
        None
    }
}

fn contains_word(value: &[u8], word: &[u8]) -> bool {
    if value.len() <= word.len() {
        return value.eq_ignore_ascii_case(word);
    }
    value
        .windows(word.len())
        .any(|w| w.eq_ignore_ascii_case(word))
}

/// The checks that need the whole head. Spans still point into `buf`.
fn finish(buf: &[u8], head: &mut RequestHead) -> Result<(), RequestError> {
    const FRAMING: u128 = Token::CONTENT_LENGTH.bit()
        | Token::TRANSFER_ENCODING.bit()
        | Token::UPGRADE.bit()
        | Token::EXPECT.bit();
    if !head.has_host && head.version > Version::Http10 {
        return Err(RequestError::MissingHost);
    }
    if head.fields.present & FRAMING == 0 {
        head.upgrade = false;
        return Ok(());
    }
    let value = |head: &RequestHead, token: Token| {
        let field = head.fields.list.iter().find(|f| f.token == token)?;
        Some(field.value.of(buf))
    };
    let length = value(head, Token::CONTENT_LENGTH);
    if let Some(text) = length {
        let number = parse_digits(text).ok_or(RequestError::InvalidContentLength)?;
        head.content_length = Some(number);
    }
    if let Some(coding) = value(head, Token::TRANSFER_ENCODING) {
        if head.version < Version::Http11 {
            return Err(RequestError::TransferEncodingInHttp10);
        }
        if !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(RequestError::UnknownTransferEncoding);
        }
        // RFC 9112 6.3: both is an attack or a bug; refuse, do not repair.
        if length.is_some() {
            return Err(RequestError::LengthAndTransferEncoding);
        }
        head.chunked = true;
    }
    head.upgrade &= value(head, Token::UPGRADE).is_some();
    head.expect_100 = head.version >= Version::Http11
        && value(head, Token::EXPECT).is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
    Ok(())
}

/// How the start of a connection compares with HTTP/2's preface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// It is something else.
    No,
    /// So far it is the same; more bytes decide.
    Partial,
    /// The whole preface is there.
    Yes,
}

/// What every HTTP/2 connection starts with.
pub const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Compares the start of a connection with HTTP/2's preface.
pub fn h2_preface(buf: &[u8]) -> Preface {
    let len = buf.len().min(H2_PREFACE.len());
    if buf[..len] != H2_PREFACE[..len] {
        Preface::No
    } else if len == H2_PREFACE.len() {
        Preface::Yes
    } else {
        Preface::Partial
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
