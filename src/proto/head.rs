//! What a message head is: one buffer of bytes with spans into it, fields in order with known names as tokens, and the
//! facts that decide framing. Heads are reused: [`RequestHead::clear`] keeps every allocation. Refuses to know how a
//! version encodes itself; [`h1`](super::h1) fills heads from the wire, others with `push`.

use super::h1::encode;
use super::host::Host;
use super::tokens::Token;

/// A stretch of the head's buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte, from the start of the buffer.
    pub start: u32,
    /// Number of bytes.
    pub len: u32,
}

impl Span {
    /// From `start` up to and without `end`.
    #[inline]
    pub const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            len: (end - start) as u32,
        }
    }

    /// The byte after the last.
    #[inline]
    pub const fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    /// True without bytes.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes in `buf`, which must be the buffer that the span was made for.
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..self.end()]
    }
}

/// One field of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The known name, or `NONE`.
    pub token: Token,
    /// The name as it was sent.
    pub name: Span,
    /// The value without surrounding spaces.
    pub value: Span,
}

impl Field {
    /// The byte after the last one of name and value.
    pub const fn end(&self) -> usize {
        let (name, value) = (self.name.end(), self.value.end());
        if value > name { value } else { name }
    }
}

/// A field with its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// The known name, or `NONE`.
    pub token: Token,
    /// The name as it was sent.
    pub name: &'a [u8],
    /// The value without surrounding spaces.
    pub value: &'a [u8],
}

/// Fields in the order they came, duplicates and case kept, over one buffer of bytes.
#[derive(Debug, Default, Clone)]
pub struct Fields {
    pub(super) buf: Vec<u8>,
    pub(super) list: Vec<Field>,
    /// Tokens that occur, so that asking for an absent field costs one test. May name removed ones.
    pub(super) present: u128,
}

impl Fields {
    /// Empty, without an allocation.
    pub const fn new() -> Self {
        Self {
            buf: Vec::new(),
            list: Vec::new(),
            present: 0,
        }
    }

    /// Empty, with a (pooled) buffer for the bytes.
    pub fn with_buf(mut buf: Vec<u8>) -> Self {
        buf.clear();
        Self {
            buf,
            list: Vec::new(),
            present: 0,
        }
    }

    /// Forgets the fields, keeps the allocations.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.list.clear();
        self.present = 0;
    }

    /// Forgets the fields and hands out the buffer, to give back to a pool.
    pub fn take_buf(&mut self) -> Vec<u8> {
        self.list.clear();
        self.present = 0;
        std::mem::take(&mut self.buf)
    }

    /// Room of the buffer for the bytes.
    pub fn buf_capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// Gives room up that is not in use.
    pub fn shrink(&mut self) {
        self.buf.shrink_to_fit();
        self.list.shrink_to_fit();
    }

    /// Forgets the fields and uses `buf` from now on; returns the old buffer.
    pub fn set_buf(&mut self, mut buf: Vec<u8>) -> Vec<u8> {
        buf.clear();
        self.list.clear();
        self.present = 0;
        std::mem::replace(&mut self.buf, buf)
    }

    /// The bytes of a span of this head.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        span.of(&self.buf)
    }

    /// All bytes that the spans point into.
    pub fn buf(&self) -> &[u8] {
        &self.buf
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True without fields.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The fields as spans, in order.
    pub fn list(&self) -> &[Field] {
        &self.list
    }

    /// True when a field of this token is there.
    #[inline]
    pub fn has(&self, token: Token) -> bool {
        self.present & token.bit() != 0 && self.list.iter().any(|f| f.token == token)
    }

    /// The first value of a known name.
    #[inline]
    pub fn get(&self, token: Token) -> Option<&[u8]> {
        if self.present & token.bit() == 0 {
            return None;
        }
        let field = self.list.iter().find(|f| f.token == token)?;
        Some(field.value.of(&self.buf))
    }

    /// All values of a known name, in order.
    #[inline]
    pub fn get_all(&self, token: Token) -> impl Iterator<Item = &[u8]> + use<'_> {
        let list: &[Field] = if self.present & token.bit() == 0 {
            &[]
        } else {
            &self.list
        };
        list.iter()
            .filter(move |f| f.token == token)
            .map(|f| f.value.of(&self.buf))
    }

    /// The first value of a name in any case.
    pub fn get_name(&self, name: &[u8]) -> Option<&[u8]> {
        let token = Token::of(name);
        if token.is_known() {
            return self.get(token);
        }
        let field = self
            .list
            .iter()
            .find(|f| !f.token.is_known() && f.name.of(&self.buf).eq_ignore_ascii_case(name))?;
        Some(field.value.of(&self.buf))
    }

    /// All values of a name in any case, in order.
    pub fn get_name_all<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let token = Token::of(name);
        self.list
            .iter()
            .filter(move |f| {
                f.token == token
                    && (token.is_known() || f.name.of(&self.buf).eq_ignore_ascii_case(name))
            })
            .map(|f| f.value.of(&self.buf))
    }

    /// Fields with their bytes, in order.
    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.list.iter().map(|f| self.field(f))
    }

    /// One field with its bytes.
    #[inline]
    pub fn field(&self, field: &Field) -> FieldRef<'_> {
        FieldRef {
            token: field.token,
            name: field.name.of(&self.buf),
            value: field.value.of(&self.buf),
        }
    }

    /// Appends a field. CR, LF and NUL in the value become spaces here already.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_with(Token::of(name), name, value);
    }

    /// Appends a field of a known name in its usual spelling.
    pub fn push_token(&mut self, token: Token, value: &[u8]) {
        self.push_with(token, token.name().as_bytes(), value);
    }

    /// Appends a field whose token the caller has already looked up.
    #[inline]
    pub fn push_with(&mut self, token: Token, name: &[u8], value: &[u8]) {
        debug_assert_eq!(token, Token::of(name));
        self.buf.reserve(name.len() + value.len() + 4);
        let name = self.store(name);
        let field = self.store_value(token, name, value);
        self.push_field(field);
    }

    /// Replaces the first field of this token, drops its others, or appends it.
    pub fn set(&mut self, token: Token, value: &[u8]) {
        let old = self.list.iter().find(|f| f.token == token).copied();
        let Some(old) = old else {
            return self.push_token(token, value);
        };
        let start = self.buf.len();
        self.buf
            .extend_from_within(old.name.start as usize..old.name.end());
        let new = self.store_value(token, Span::new(start, self.buf.len()), value);
        let mut first = true;
        self.list.retain_mut(|f| {
            if f.token != token {
                return true;
            }
            *f = new;
            std::mem::take(&mut first)
        });
    }

    /// Completes a line whose name was just stored, in the form it has on the wire, so that neighbours can be copied together
    /// ([`encode::fields`]). A name that could break the line gets another form, and is never written.
    #[inline]
    fn store_value(&mut self, token: Token, name: Span, value: &[u8]) -> Field {
        let good = token.is_known() || encode::is_field_name(name.of(&self.buf));
        self.buf.extend_from_slice(if good { b": " } else { b"" });
        let value = self.store(value);
        encode::clean(&mut self.buf[value.start as usize..]);
        if good {
            self.buf.extend_from_slice(b"\r\n");
        }
        Field { token, name, value }
    }

    /// Drops all fields of a token.
    pub fn remove(&mut self, token: Token) {
        if self.present & token.bit() != 0 {
            self.list.retain(|f| f.token != token);
            self.present &= !token.bit();
        }
    }

    /// Drops all fields of a name in any case.
    pub fn remove_name(&mut self, name: &[u8]) {
        let token = Token::of(name);
        if token.is_known() {
            self.remove(token);
        } else {
            self.retain(|f| f.token.is_known() || !f.name.eq_ignore_ascii_case(name));
        }
    }

    /// Keeps the fields that `keep` accepts.
    pub fn retain(&mut self, mut keep: impl FnMut(FieldRef<'_>) -> bool) {
        let buf = &self.buf;
        self.list.retain(|f| {
            keep(FieldRef {
                token: f.token,
                name: f.name.of(buf),
                value: f.value.of(buf),
            })
        });
    }

    /// Appends bytes that belong to no field yet and returns where they are.
    pub fn store(&mut self, bytes: &[u8]) -> Span {
        let start = self.buf.len();
        self.buf.extend_from_slice(bytes);
        Span::new(start, self.buf.len())
    }

    /// Appends a field whose bytes are already in the buffer.
    #[inline]
    pub fn push_field(&mut self, field: Field) {
        self.present |= field.token.bit();
        self.list.push(field);
    }
}

/// Request methods that nginx knows by name; every other spelling is `Other` and keeps its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the method it spells")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Mkcol,
    Copy,
    Move,
    Options,
    Propfind,
    Proppatch,
    Lock,
    Unlock,
    Patch,
    Trace,
    Connect,
    #[default]
    Other,
}

impl Method {
    /// The method of its exact, upper-case name.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"MKCOL" => Self::Mkcol,
            b"COPY" => Self::Copy,
            b"MOVE" => Self::Move,
            b"OPTIONS" => Self::Options,
            b"PROPFIND" => Self::Propfind,
            b"PROPPATCH" => Self::Proppatch,
            b"LOCK" => Self::Lock,
            b"UNLOCK" => Self::Unlock,
            b"PATCH" => Self::Patch,
            b"TRACE" => Self::Trace,
            b"CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }

    /// The name; empty for `Other`, whose bytes are in the head.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Mkcol => "MKCOL",
            Self::Copy => "COPY",
            Self::Move => "MOVE",
            Self::Options => "OPTIONS",
            Self::Propfind => "PROPFIND",
            Self::Proppatch => "PROPPATCH",
            Self::Lock => "LOCK",
            Self::Unlock => "UNLOCK",
            Self::Patch => "PATCH",
            Self::Trace => "TRACE",
            Self::Connect => "CONNECT",
            Self::Other => "",
        }
    }

    /// Methods that nginx does not send to a second peer once bytes were sent, unless `non_idempotent` is set.
    pub const fn is_non_idempotent(self) -> bool {
        matches!(self, Self::Post | Self::Lock | Self::Patch)
    }
}

/// HTTP versions as far as behaviour differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// A request line without a version: no head in the answer.
    Http09,
    /// 1.0
    Http10,
    /// 1.1, and any 1.x above it.
    #[default]
    Http11,
    /// 2
    Http2,
    /// 3
    Http3,
}

impl Version {
    /// As in `$server_protocol`; empty for 0.9, as in nginx's log lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http09 => "",
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2.0",
            Self::Http3 => "HTTP/3.0",
        }
    }
}

/// What `Connection` said about the connection's life. The last field that says something wins, as in nginx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionWish {
    /// Nothing was said; the version decides.
    #[default]
    None,
    /// `close`
    Close,
    /// `keep-alive`
    KeepAlive,
}

/// A request's head. Spans point into `fields`' buffer.
#[derive(Debug, Default, Clone)]
pub struct RequestHead {
    /// The fields, and the bytes of everything here.
    pub fields: Fields,
    /// The whole request line without its end (`$request`).
    pub line: Span,
    /// The known method.
    pub method: Method,
    /// The method as sent.
    pub method_name: Span,
    /// The version that decides behaviour.
    pub version: Version,
    /// The version as sent (`HTTP/1.1`); empty for 0.9.
    pub protocol: Span,
    /// The request target as sent, in whatever form.
    pub target: Span,
    /// The scheme of an absolute-form target, or empty.
    pub scheme: Span,
    /// Host and port of an absolute-form (or CONNECT) target, or empty. Already valid: [`host::validate`](super::host::validate).
    pub authority: Span,
    /// `$request_uri`: the target from its path on, byte for byte. `/` when an absolute form has neither path nor query;
    /// `?query` when it has only that.
    pub uri: Span,
    /// The path before decoding, up to `?` or `#`. Empty only with `empty_path`.
    pub path: Span,
    /// `$args`: between `?` and `#`.
    pub args: Span,
    /// A `?` was there, even with nothing behind it.
    pub has_args: bool,
    /// The path needs [`uri::normalize`](super::uri::normalize) (dots, `//`, `%` or a fragment); else it is already the
    /// normal form.
    pub complex: bool,
    /// The path had a percent-escape.
    pub quoted: bool,
    /// The path had a `+`, raw.
    pub plus: bool,
    /// An absolute form without a path: `uri` cannot be forwarded as it is.
    pub empty_path: bool,
    /// The `Host` field's value, already valid; empty when there is none.
    pub host: Span,
    /// A `Host` field was there.
    pub has_host: bool,
    /// What [`server_host`](Self::server_host) is made of; empty when there is none.
    pub server_name: Host,
    /// `Content-Length`, when there is one.
    pub content_length: Option<u64>,
    /// `Transfer-Encoding: chunked`. Never together with a length.
    pub chunked: bool,
    /// What `Connection` asked for.
    pub connection: ConnectionWish,
    /// `Connection` names `upgrade` and an `Upgrade` field is there.
    pub upgrade: bool,
    /// `Expect: 100-continue` in HTTP/1.1.
    pub expect_100: bool,
    /// Lines dropped because their names are invalid (or have underscores), for the log.
    pub dropped: Vec<Span>,
    /// Bytes of the head on the wire, with the empty line; blank lines before it do not count.
    pub wire_len: u32,
}

impl RequestHead {
    /// Forgets the request, keeps the allocations.
    pub fn clear(&mut self) {
        // Field by field: rebuilding the whole struct would move it twice. The pattern makes a forgotten field an error.
        let Self {
            fields,
            line,
            method,
            method_name,
            version,
            protocol,
            target,
            scheme,
            authority,
            uri,
            path,
            args,
            has_args,
            complex,
            quoted,
            plus,
            empty_path,
            host,
            has_host,
            server_name,
            content_length,
            chunked,
            connection,
            upgrade,
            expect_100,
            dropped,
            wire_len,
        } = self;
        fields.clear();
        dropped.clear();
        for span in [
            line,
            method_name,
            protocol,
            target,
            scheme,
            authority,
            uri,
            path,
            args,
            host,
        ] {
            *span = Span::default();
        }
        for flag in [
            has_args, complex, quoted, plus, empty_path, has_host, chunked, upgrade, expect_100,
        ] {
            *flag = false;
        }
        *server_name = Host::default();
        *method = Method::Other;
        *version = Version::Http11;
        *content_length = None;
        *connection = ConnectionWish::None;
        *wire_len = 0;
    }

    /// The bytes of a span of this head.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        self.fields.bytes(span)
    }

    /// The method as sent.
    pub fn method_bytes(&self) -> &[u8] {
        self.bytes(self.method_name)
    }

    /// The path before decoding; `/` where the target had none.
    pub fn path_bytes(&self) -> &[u8] {
        if self.empty_path {
            return b"/";
        }
        self.bytes(self.path)
    }

    /// The name that picks the server: the absolute form's authority beats the `Host` field, as in nginx.
    /// Not normalised: `server_name` does that.
    pub fn server_host(&self) -> &[u8] {
        if self.authority.is_empty() {
            self.bytes(self.host)
        } else {
            self.bytes(self.authority)
        }
    }

    /// Appends the normal form of [`server_host`](Self::server_host) to `out`; returns the port or 0.
    pub fn normal_host(&self, out: &mut Vec<u8>) -> u16 {
        self.server_name.normal_form(self.server_host(), out);
        self.server_name.port
    }

    /// True when a body may follow.
    pub fn has_body(&self) -> bool {
        self.chunked || self.content_length.is_some_and(|n| n > 0)
    }

    /// True when client and version allow another request on this connection.
    pub fn wants_keep_alive(&self) -> bool {
        match self.connection {
            ConnectionWish::Close => false,
            ConnectionWish::KeepAlive => true,
            ConnectionWish::None => self.version > Version::Http10,
        }
    }

    /// True when a `Connection` field names `name` (lower or upper case) as a token of its list.
    pub fn connection_names(&self, name: &[u8]) -> bool {
        self.fields
            .get_all(Token::CONNECTION)
            .any(|list| list_has(list, name))
    }
}

/// A response's head as an origin sent it. Spans point into `fields`' buffer.
#[derive(Debug, Default, Clone)]
pub struct ResponseHead {
    /// The fields, and the bytes of everything here.
    pub fields: Fields,
    /// 100 to 999.
    pub status: u16,
    /// Status and reason as sent (`200 OK`), as nginx forwards them.
    pub status_line: Span,
    /// The text after the status; may be empty.
    pub reason: Span,
    /// The version that decides framing and reuse.
    pub version: Version,
    /// `Content-Length`, when there is one.
    pub content_length: Option<u64>,
    /// `Transfer-Encoding: chunked`. Never together with a length.
    pub chunked: bool,
    /// What `Connection` said.
    pub connection: ConnectionWish,
    /// `Connection` names `upgrade` and an `Upgrade` field is there.
    pub upgrade: bool,
    /// Later duplicates of fields that count once, left out as nginx does, for the log.
    pub ignored: Vec<Span>,
    /// Bytes of the head on the wire, with the empty line.
    pub wire_len: u32,
}

impl ResponseHead {
    /// Forgets the response, keeps the allocations.
    pub fn clear(&mut self) {
        let Self {
            fields,
            status,
            status_line,
            reason,
            version,
            content_length,
            chunked,
            connection,
            upgrade,
            ignored,
            wire_len,
        } = self;
        fields.clear();
        ignored.clear();
        (*status, *status_line, *reason) = (0, Span::default(), Span::default());
        (*version, *content_length, *chunked) = (Version::Http11, None, false);
        (*connection, *upgrade, *wire_len) = (ConnectionWish::None, false, 0);
    }

    /// The bytes of a span of this head.
    #[inline]
    pub fn bytes(&self, span: Span) -> &[u8] {
        self.fields.bytes(span)
    }

    /// True when version and fields let the connection live on after this message. HTTP/1.0 never does, as in nginx.
    pub fn wants_keep_alive(&self) -> bool {
        self.version > Version::Http10 && self.connection != ConnectionWish::Close
    }

    /// 1xx other than 101: another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// The elements of a comma-separated list value, trimmed, empty ones left out.
pub fn list_items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

/// True when a comma-separated list value has `name` among its elements, in any case.
pub fn list_has(value: &[u8], name: &[u8]) -> bool {
    list_items(value).any(|item| item.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fields {
        let mut f = Fields::new();
        f.push(b"HOST", b"a");
        f.push(b"X-One", b"1");
        f.push(b"cookie", b"a=1");
        f.push(b"x-one", b"2");
        f.push(b"Cookie", b"b=2");
        f
    }

    #[test]
    fn order_case_and_duplicates_are_kept() {
        let f = sample();
        let names: Vec<_> = f.iter().map(|x| x.name).collect();
        assert_eq!(
            names,
            [&b"HOST"[..], b"X-One", b"cookie", b"x-one", b"Cookie"]
        );
        assert_eq!(f.get(Token::HOST), Some(&b"a"[..]));
        assert_eq!(f.get(Token::VIA), None);
        assert_eq!(
            f.get_all(Token::COOKIE).collect::<Vec<_>>(),
            [b"a=1", b"b=2"]
        );
        assert_eq!(f.get_name_all(b"x-one").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(f.get_name(b"host"), Some(&b"a"[..]));
        assert_eq!(f.get_name(b"x-two"), None);
    }

    #[test]
    fn set_and_remove() {
        let mut f = sample();
        f.set(Token::COOKIE, b"c=3");
        assert_eq!(f.get_all(Token::COOKIE).collect::<Vec<_>>(), [b"c=3"]);
        f.set(Token::VIA, b"v");
        assert_eq!(f.get(Token::VIA), Some(&b"v"[..]));
        assert!(f.buf().ends_with(b"cookie: c=3\r\nVia: v\r\n"));
        f.push(b"a\nb", b"c\r\nd\0");
        assert_eq!(f.get_name(b"a\nb"), Some(&b"c  d "[..]));
        f.remove_name(b"a\nb");
        f.remove(Token::COOKIE);
        assert!(!f.has(Token::COOKIE));
        f.remove_name(b"X-ONE");
        assert_eq!(
            f.iter().map(|x| x.name).collect::<Vec<_>>(),
            [&b"HOST"[..], b"Via"]
        );
        f.clear();
        assert!(f.is_empty() && f.buf().is_empty() && !f.has(Token::HOST));
    }

    #[test]
    fn methods_round_trip() {
        for name in [
            "GET",
            "HEAD",
            "POST",
            "PUT",
            "DELETE",
            "PATCH",
            "CONNECT",
            "PROPPATCH",
            "UNLOCK",
        ] {
            assert_eq!(Method::of(name.as_bytes()).name(), name);
        }
        for other in ["get", "", "GETX", "BREW"] {
            assert_eq!(Method::of(other.as_bytes()), Method::Other);
        }
    }

    #[test]
    fn lists_are_trimmed_and_caseless() {
        assert!(list_has(b"a, Upgrade\t,b", b"upgrade"));
        assert!(!list_has(b"upgraded", b"upgrade"));
        assert!(!list_has(b"", b"upgrade"));
        assert_eq!(list_items(b" a ,, b,").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
