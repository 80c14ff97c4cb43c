//! What a header block means: requests and responses out of fields, and the rules that HTTP/2 adds to theirs
//! (RFC 9113 §8). [`RequestReader`] takes a block's fields one by one, so that nothing is kept twice.
//!
//! Names are lower case on the wire and stay so. What nginx answers with 400 is refused as it refuses it.

use super::super::h1::line;
use super::super::h1::parse::{HeadLimits, RequestError};
use super::super::head::{Field, Fields, Method, RequestHead, ResponseHead, Span, Version};
use super::super::host;
use super::super::tokens::Token;
use super::hpack::{ENTRY_OVERHEAD, Header};
use crate::base::size::parse_digits;

/// Cookies that may come as one field each (§8.2.3) are joined by this.
const COOKIE_JOINT: &[u8] = b"; ";

/// The most fields that trailers may have.
const TRAILER_FIELDS_MAX: usize = 100;

/// The most bytes of trailers, names and values.
const TRAILER_BYTES_MAX: usize = 8 << 10;

/// Pseudo-fields of a request, as they come.
#[derive(Default)]
struct Pseudo {
    method: Option<Span>,
    scheme: Option<Span>,
    authority: Option<Span>,
    path: Option<Span>,
    protocol: Option<Span>,
}

/// Collects one request's head.
pub struct RequestReader<'a> {
    head: &'a mut RequestHead,
    limits: &'a HeadLimits,
    pseudo: Pseudo,
    /// Bytes as §6.5.2 counts them that may still come.
    room: usize,
    /// A field that is not a pseudo-field was seen.
    regular: bool,
    cookies: usize,
    error: Option<RequestError>,
}

impl<'a> RequestReader<'a> {
    /// Before the first field. The head is emptied.
    pub fn new(head: &'a mut RequestHead, limits: &'a HeadLimits) -> Self {
        head.clear();
        Self {
            head,
            limits,
            pseudo: Pseudo::default(),
            room: limits.bytes_max(),
            regular: false,
            cookies: 0,
            error: None,
        }
    }

    /// Takes a field. The first error stays; what comes after it is not looked at.
    pub fn field(&mut self, header: Header<'_>) {
        let size = header.name.len() + header.value.len() + ENTRY_OVERHEAD;
        if self.error.is_none()
            && let Err(error) = self.take(header, size)
        {
            self.error = Some(error);
        }
    }

    fn take(&mut self, header: Header<'_>, size: usize) -> Result<(), RequestError> {
        self.room = self
            .room
            .checked_sub(size)
            .ok_or(RequestError::HeadTooLarge)?;
        if header.value.len() > self.limits.large_size.max(self.limits.first_buffer) {
            return Err(if header.name == b":path" {
                RequestError::UriTooLong
            } else {
                RequestError::FieldTooLarge
            });
        }
        if bad_value(header.value) {
            return Err(malformed("client sent header with invalid value"));
        }
        match header.name {
            [b':', ..] => self.pseudo_field(header),
            name => {
                self.regular = true;
                let good = judge_name(name, self.limits.underscores)?;
                self.count()?;
                if !good && self.limits.ignore_invalid {
                    let start = self.head.fields.store(name);
                    self.head.dropped.push(start);
                    return Ok(());
                }
                self.regular_field(header)
            }
        }
    }

    fn count(&self) -> Result<(), RequestError> {
        if self.head.fields.len() + self.head.dropped.len() >= self.limits.fields_max {
            return Err(RequestError::TooManyFields);
        }
        Ok(())
    }

    fn pseudo_field(&mut self, header: Header<'_>) -> Result<(), RequestError> {
        if self.regular {
            return Err(malformed("client sent out of order pseudo-headers"));
        }
        let place = match header.name {
            b":method" => &mut self.pseudo.method,
            b":scheme" => &mut self.pseudo.scheme,
            b":authority" => &mut self.pseudo.authority,
            b":path" => &mut self.pseudo.path,
            b":protocol" => &mut self.pseudo.protocol,
            _ => return Err(malformed("client sent unknown pseudo-header")),
        };
        if place.is_some() {
            return Err(malformed("client sent duplicate pseudo-header"));
        }
        *place = Some(self.head.fields.store(header.value));
        Ok(())
    }

    fn regular_field(&mut self, header: Header<'_>) -> Result<(), RequestError> {
        let token = header.token;
        let fields = &mut self.head.fields;
        match token {
            Token::CONNECTION => return Err(malformed("client sent \"Connection\" header")),
            Token::KEEP_ALIVE => return Err(malformed("client sent \"Keep-Alive\" header")),
            Token::PROXY_CONNECTION => {
                return Err(malformed("client sent \"Proxy-Connection\" header"));
            }
            Token::TRANSFER_ENCODING => {
                return Err(malformed("client sent \"Transfer-Encoding\" header"));
            }
            Token::UPGRADE => return Err(malformed("client sent \"Upgrade\" header")),
            Token::TE
                if fields.has(Token::TE) || !header.value.eq_ignore_ascii_case(b"trailers") =>
            {
                return Err(malformed("client sent invalid \"TE\" header"));
            }
            Token::HOST if fields.has(Token::HOST) => return Err(RequestError::DuplicateHost),
            Token::HOST => {
                host::validate(header.value).map_err(|_| RequestError::InvalidHost)?;
            }
            Token::COOKIE => self.cookies += 1,
            token if token.is_unique() && fields.has(token) => {
                return Err(RequestError::DuplicateField);
            }
            _ => {}
        }
        fields.push_with(token, header.name, header.value);
        Ok(())
    }

    /// The block is over. `end` means that no body follows.
    pub fn finish(mut self, end: bool) -> Result<Received, RequestError> {
        self.head.version = Version::Http2;
        let received = match self.error {
            Some(error) => Err(error),
            None => self.close(end),
        };
        if received.is_err() && self.head.line.is_empty() {
            self.write_line();
        }
        received
    }

    fn close(&mut self, end: bool) -> Result<Received, RequestError> {
        let method = self
            .pseudo
            .method
            .filter(|method| !method.is_empty())
            .ok_or(malformed("client sent no :method header"))?;
        let name = self.head.bytes(method);
        if !name
            .iter()
            .all(|b| b.is_ascii_uppercase() || b"_-.".contains(b))
        {
            return Err(RequestError::InvalidMethod);
        }
        self.head.method = Method::of(name);
        self.head.method_name = method;
        let websocket = self.protocol()?;
        if self.head.method == Method::Connect && !websocket {
            self.connect()?;
        } else {
            self.target()?;
        }
        self.authority()?;
        self.join_cookies();
        self.body(end)?;
        if websocket {
            self.become_upgrade();
        }
        Ok(Received { websocket })
    }

    /// Extended CONNECT (RFC 8441 §4); true for a WebSocket.
    fn protocol(&mut self) -> Result<bool, RequestError> {
        let Some(protocol) = self.pseudo.protocol else {
            return Ok(false);
        };
        if self.head.method != Method::Connect {
            return Err(malformed("client sent :protocol without CONNECT"));
        }
        if !self.head.bytes(protocol).eq_ignore_ascii_case(b"websocket") {
            return Err(malformed("client sent unknown :protocol"));
        }
        Ok(true)
    }

    /// Plain CONNECT has an authority and nothing else (§8.5).
    fn connect(&mut self) -> Result<(), RequestError> {
        if self.pseudo.path.is_some()
            || self.pseudo.scheme.is_some()
            || self.pseudo.authority.is_none()
        {
            return Err(malformed("client sent invalid CONNECT request"));
        }
        self.pseudo.path = self.pseudo.authority;
        self.write_line();
        // It has no path; the slash of the version stands for it, as in HTTP/1.
        let slash = self.head.line.end() - b"/2.0".len();
        self.head.path = Span::new(slash, slash + 1);
        self.head.uri = self.head.path;
        Ok(())
    }

    /// Scheme and path, as an HTTP/1 target that is read by the same code.
    fn target(&mut self) -> Result<(), RequestError> {
        let scheme = self
            .pseudo
            .scheme
            .ok_or(malformed("client sent no :scheme header"))?;
        let text = self.head.bytes(scheme);
        if !text.first().is_some_and(u8::is_ascii_alphabetic)
            || !text
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
        {
            return Err(malformed("client sent invalid :scheme header"));
        }
        let path = self
            .pseudo
            .path
            .filter(|path| !path.is_empty())
            .ok_or(malformed("client sent no :path header"))?;
        if self.head.bytes(path).first() != Some(&b'/') {
            return Err(malformed("client sent invalid :path header"));
        }
        let target = self.write_line();
        let buf = std::mem::take(&mut self.head.fields.buf);
        let parsed = line::target(&buf, target.start as usize, self.head);
        self.head.fields.buf = buf;
        match parsed {
            Ok(Some(end)) if end == target.end() => {
                self.head.target = target;
                Ok(())
            }
            _ => Err(malformed("client sent invalid :path header")),
        }
    }

    /// Writes the request line that HTTP/1 would have had, for logs; returns where its target is.
    fn write_line(&mut self) -> Span {
        let empty = Span::default();
        let (method, path) = (
            self.pseudo.method.unwrap_or(empty),
            self.pseudo.path.unwrap_or(empty),
        );
        let buf = &mut self.head.fields.buf;
        let start = buf.len();
        buf.extend_from_within(method.start as usize..method.end());
        buf.push(b' ');
        let target = buf.len();
        buf.extend_from_within(path.start as usize..path.end());
        let target = Span::new(target, buf.len());
        buf.extend_from_slice(b" HTTP/2.0");
        self.head.protocol = Span::new(target.end() + 1, buf.len());
        self.head.line = Span::new(start, buf.len());
        target
    }

    /// `:authority` and `Host` must agree; whichever is missing is taken from the other.
    fn authority(&mut self) -> Result<(), RequestError> {
        let head = &mut *self.head;
        let authority = self.pseudo.authority.filter(|a| !a.is_empty());
        let field = head.fields.list().iter().find(|f| f.token == Token::HOST);
        let named = field.map(|field| field.value);
        match (authority, named) {
            (None, None) => {
                return Err(malformed(
                    "client sent neither \":authority\" nor \"Host\" header",
                ));
            }
            (None, Some(host)) => head.host = host,
            (Some(authority), None) => {
                host::validate(head.bytes(authority))
                    .map_err(|_| malformed("client sent invalid \":authority\" header"))?;
                // `$http_host`, and what is passed on, know one field for both.
                let name = head.fields.store(b"host");
                head.fields.store(b": ");
                let start = head.fields.buf.len();
                let from = authority.start as usize..authority.end();
                head.fields.buf.extend_from_within(from);
                head.host = Span::new(start, head.fields.buf.len());
                head.fields.store(b"\r\n");
                head.fields.push_field(Field {
                    token: Token::HOST,
                    name,
                    value: head.host,
                });
            }
            (Some(authority), Some(host)) => {
                if head.bytes(authority) != head.bytes(host) {
                    return Err(malformed(
                        "client sent \":authority\" and \"Host\" headers with different values",
                    ));
                }
                head.host = host;
            }
        }
        head.has_host = true;
        head.server_name = host::validate(head.bytes(head.host)).unwrap_or_default();
        Ok(())
    }

    /// One `Cookie` out of several (§8.2.3).
    fn join_cookies(&mut self) {
        if self.cookies < 2 {
            return;
        }
        let mut joined = Vec::new();
        for cookie in self.head.fields.get_all(Token::COOKIE) {
            if !joined.is_empty() {
                joined.extend_from_slice(COOKIE_JOINT);
            }
            joined.extend_from_slice(cookie);
        }
        self.head.fields.set(Token::COOKIE, &joined);
    }

    fn body(&mut self, end: bool) -> Result<(), RequestError> {
        let head = &mut *self.head;
        match head.fields.get(Token::CONTENT_LENGTH) {
            Some(text) => {
                let length = parse_digits(text).ok_or(RequestError::InvalidContentLength)?;
                if end && length > 0 {
                    return Err(malformed("client prematurely closed stream"));
                }
                head.content_length = Some(length);
            }
            // A body of unknown length is what `chunked` is for the stages behind.
            None => head.chunked = !end,
        }
        head.expect_100 = head
            .fields
            .get(Token::EXPECT)
            .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
        Ok(())
    }

    /// A WebSocket looks to the stages behind as it would over HTTP/1: they and the origin need not know better. The
    /// bytes that follow are its tunnel's and no body.
    fn become_upgrade(&mut self) {
        let head = &mut *self.head;
        head.method = Method::Get;
        head.method_name = head.fields.store(b"GET");
        head.fields
            .push_with(Token::UPGRADE, b"upgrade", b"websocket");
        head.fields
            .push_with(Token::CONNECTION, b"connection", b"Upgrade");
        head.upgrade = true;
        head.chunked = false;
        head.content_length = None;
    }
}

/// What a request is besides its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// An extended CONNECT for a WebSocket: a success is told with 200 and opens the tunnel. The head lacks
    /// `Sec-WebSocket-Key`, which only HTTP/1 has: who passes it on to such an origin adds one.
    pub websocket: bool,
}

const fn malformed(why: &'static str) -> RequestError {
    RequestError::Malformed(why)
}

/// NUL, CR and LF can be in no value.
fn bad_value(value: &[u8]) -> bool {
    memchr::memchr3(0, b'\r', b'\n', value).is_some()
}

/// False for a name with odd bytes, which is dropped; an error for one that no field can have (§8.2.1).
fn judge_name(name: &[u8], underscores: bool) -> Result<bool, RequestError> {
    let mut good = !name.is_empty();
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => {}
            b'_' => good &= underscores,
            0..=0x20 | 0x7f | b':' | b'A'..=b'Z' => {
                return Err(malformed("client sent invalid header name"));
            }
            _ => good = false,
        }
    }
    Ok(good)
}

/// Why a response or a trailer section is malformed (§8.1.1): a stream error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// Collects one response's head.
pub struct ResponseReader<'a> {
    head: &'a mut ResponseHead,
    room: usize,
    regular: bool,
    error: Option<Malformed>,
}

impl<'a> ResponseReader<'a> {
    /// Before the first field; `bytes_max` bounds the section. The head is emptied.
    pub fn new(head: &'a mut ResponseHead, bytes_max: usize) -> Self {
        head.clear();
        Self {
            head,
            room: bytes_max,
            regular: false,
            error: None,
        }
    }

    /// Takes a field. The first error stays.
    pub fn field(&mut self, header: Header<'_>) {
        let size = header.name.len() + header.value.len();
        self.head.wire_len = self.head.wire_len.saturating_add(size as u32);
        if self.error.is_none()
            && let Err(error) = self.take(header, size)
        {
            self.error = Some(error);
        }
    }

    fn take(&mut self, header: Header<'_>, size: usize) -> Result<(), Malformed> {
        self.room = self
            .room
            .checked_sub(size)
            .ok_or(Malformed("upstream sent too big header"))?;
        if bad_value(header.value) {
            return Err(Malformed("upstream sent invalid header value"));
        }
        if header.name.first() == Some(&b':') {
            if self.regular || header.name != b":status" || self.head.status != 0 {
                return Err(Malformed("upstream sent invalid pseudo-header"));
            }
            self.head.status = match header.value {
                &[a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                    u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
                }
                _ => return Err(Malformed("upstream sent invalid \":status\" header")),
            };
            return Ok(());
        }
        self.regular = true;
        if header.name.is_empty() {
            return Err(Malformed("upstream sent zero header name length"));
        }
        judge_name(header.name, true)
            .map_err(|_| Malformed("upstream sent invalid header name"))?;
        let token = header.token;
        if token.is_hop_by_hop() && token != Token::TE {
            return Err(Malformed("upstream sent a header of HTTP/1"));
        }
        if token.is_single_in_response() && self.head.fields.has(token) {
            let at = self.head.fields.store(header.name);
            self.head.ignored.push(at);
            return Ok(());
        }
        if token == Token::CONTENT_LENGTH {
            if self.head.content_length.is_some() {
                return Err(Malformed(
                    "upstream sent duplicate \"Content-Length\" header",
                ));
            }
            let length = parse_digits(header.value)
                .ok_or(Malformed("upstream sent invalid \"Content-Length\" header"))?;
            self.head.content_length = Some(length);
        }
        self.head.fields.push_with(token, header.name, header.value);
        Ok(())
    }

    /// The block is over.
    pub fn finish(self) -> Result<(), Malformed> {
        self.head.version = Version::Http2;
        match self.error {
            Some(error) => Err(error),
            None if self.head.status == 0 => Err(Malformed("upstream sent no \":status\" header")),
            // §8.6: it has no meaning here.
            None if self.head.status == 101 => Err(Malformed("upstream sent status 101")),
            None => Ok(()),
        }
    }
}

/// Collects trailers: fields that RFC 9110 §6.5.1 refuses there are left out.
pub struct TrailerReader<'a> {
    fields: &'a mut Fields,
    room: usize,
    error: Option<Malformed>,
}

impl<'a> TrailerReader<'a> {
    /// Before the first field.
    pub fn new(fields: &'a mut Fields) -> Self {
        fields.clear();
        Self {
            fields,
            room: TRAILER_BYTES_MAX,
            error: None,
        }
    }

    /// Takes a field. The first error stays.
    pub fn field(&mut self, header: Header<'_>) {
        if self.error.is_none()
            && let Err(error) = self.take(header)
        {
            self.error = Some(error);
        }
    }

    fn take(&mut self, header: Header<'_>) -> Result<(), Malformed> {
        let size = header.name.len() + header.value.len();
        self.room = self
            .room
            .checked_sub(size)
            .ok_or(Malformed("trailers are too large"))?;
        if header.name.first() == Some(&b':') {
            return Err(Malformed("a pseudo-header in trailers"));
        }
        if bad_value(header.value) {
            return Err(Malformed("invalid value in trailers"));
        }
        let good =
            judge_name(header.name, true).map_err(|_| Malformed("invalid name in trailers"))?;
        if !good || header.token.is_refused_in_trailers() {
            return Ok(());
        }
        if self.fields.len() >= TRAILER_FIELDS_MAX {
            return Err(Malformed("too many trailers"));
        }
        self.fields
            .push_with(header.token, header.name, header.value);
        Ok(())
    }

    /// The block is over.
    pub fn finish(self) -> Result<(), Malformed> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// How a field is best written: by whether it comes again.
#[must_use]
pub fn indexing(token: Token) -> super::hpack::Indexing {
    use super::hpack::Indexing;
    match token {
        Token::AUTHORIZATION | Token::PROXY_AUTHORIZATION | Token::SET_COOKIE => Indexing::Never,
        Token::CONTENT_LENGTH
        | Token::ETAG
        | Token::LAST_MODIFIED
        | Token::LOCATION
        | Token::CONTENT_RANGE
        | Token::AGE
        | Token::EXPIRES
        | Token::IF_MODIFIED_SINCE
        | Token::IF_NONE_MATCH
        | Token::X_REQUEST_ID
        | Token::TRACEPARENT
        | Token::NONE => Indexing::Plain,
        _ => Indexing::Add,
    }
}

/// Whether a field is never written: what belongs to an HTTP/1 connection (§8.2.2).
#[must_use]
pub const fn is_forbidden(token: Token) -> bool {
    token.is_hop_by_hop()
}
