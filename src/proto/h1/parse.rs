//! Reads heads from a buffer that grows. Start at [`RequestParser::parse`] and [`ResponseParser::parse`].

use super::super::head::{RequestHead, ResponseHead};

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

impl HeadLimits {
    /// The most bytes that one head can take from a connection; a read buffer never needs more.
    pub const fn bytes_max(&self) -> usize {
        self.first_buffer + self.large_count * self.large_size
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

/// The rule that a request's head broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Placeholder order is stable: see [`RequestError::status`] and [`RequestError::message`].
    InvalidRequest,
}

impl RequestError {
    /// The status to answer with. 494 is nginx's own for too large heads; clients see 400.
    pub const fn status(self) -> u16 {
        400
    }

    /// nginx's log phrase at level `info`.
    pub const fn message(self) -> &'static str {
        "client sent invalid request"
    }
}

/// Reads one request head; remembers how far it has looked, so that slow senders cost no rescans.
#[derive(Debug, Default, Clone)]
pub struct RequestParser {
    _at: usize,
}

impl RequestParser {
    /// Before the first byte.
    pub const fn new() -> Self {
        Self { _at: 0 }
    }

    /// Ready for the next request.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// True once anything but blank lines has come: from then on a close is an aborted request.
    pub fn started(&self) -> bool {
        false
    }

    /// Reads `buf`, which holds all bytes of this request so far. When it returns `Complete`, or an error, `head` owns a copy
    /// of the bytes and stays valid whatever happens to `buf`.
    pub fn parse(
        &mut self,
        _buf: &[u8],
        _limits: &HeadLimits,
        _head: &mut RequestHead,
    ) -> Result<Parsed, RequestError> {
        Ok(Parsed::Incomplete)
    }
}

/// The rule that an origin's head broke; each becomes 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The head does not fit the buffer.
    TooBig,
}

impl ResponseError {
    /// nginx's log phrase at level `error`.
    pub const fn message(self) -> &'static str {
        "upstream sent too big header"
    }
}

/// Reads one response head.
#[derive(Debug, Default, Clone)]
pub struct ResponseParser {
    _at: usize,
}

impl ResponseParser {
    /// Before the first byte.
    pub const fn new() -> Self {
        Self { _at: 0 }
    }

    /// Ready for the next response (after a 1xx, or on a reused connection).
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// Reads `buf`, which holds all bytes of this response so far and may hold at most `bytes_max` of head
    /// (`proxy_buffer_size`). When it returns `Complete`, `head` owns a copy of the bytes.
    pub fn parse(
        &mut self,
        _buf: &[u8],
        _bytes_max: usize,
        _head: &mut ResponseHead,
    ) -> Result<Parsed, ResponseError> {
        Ok(Parsed::Incomplete)
    }
}
