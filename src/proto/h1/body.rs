//! Finds where an HTTP/1 body's data lies and where it ends, without copying. Start at [`BodyDecoder`].
//!
//! Chunked framing is read strictly (RFC 9112 7.1): every line ends in CR LF, sizes are plain hexadecimal numbers, extensions are
//! skipped and bounded, trailers are kept and bounded.

use super::super::head::{Fields, RequestHead, ResponseHead};
use super::line::{self, Line};

/// What one look at the input found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyStep {
    /// `input[from..to]` is body data (never empty) and everything before `to` is consumed. Look again at `input[to..]`.
    Data {
        /// First byte of data; framing before it is consumed too.
        from: usize,
        /// The byte after the data.
        to: usize,
    },
    /// All of the input is consumed without data; more is needed.
    More,
    /// The body is over; so many bytes of the input belonged to it, and what follows is the next message.
    Done(usize),
}

/// The rule that a body broke: 400 to a client, a cut response from an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// A chunk size is missing, too large, or has too many digits.
    ChunkSize,
    /// A chunk extension has control bytes, no `;`, or is too long.
    ChunkExtension,
    /// A line end is not CR LF, or is missing behind a chunk's data.
    ChunkLineEnd,
    /// A trailer line is malformed.
    Trailer,
    /// Trailers are too long or too many.
    TrailerTooLarge,
}

/// The body of a message whose framing is known.
#[derive(Debug)]
pub enum BodyDecoder {
    /// No body.
    Empty,
    /// `Content-Length`.
    Length(LengthBody),
    /// `Transfer-Encoding: chunked`.
    Chunked(Box<ChunkedDecoder>),
    /// Ends when the origin closes: responses only.
    UntilClose,
}

/// So many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LengthBody {
    remaining: u64,
}

/// Hexadecimal digits of a chunk size: 64 bits. Differs from nginx: it takes any number of leading zeros.
const SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of one chunk's extensions.
const EXTENSION_BYTES_MAX: u32 = 4096;

/// Bytes of all extensions beyond those that data has paid for, so that a body cannot be mostly extensions.
const EXTENSION_SURPLUS_MAX: u64 = 16 << 10;

/// Bytes and fields of trailers: one large header buffer, and few fields.
const TRAILER_BYTES_MAX: usize = 8 << 10;
const TRAILER_FIELDS_MAX: usize = 64;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a size's first digit.
    #[default]
    Start,
    /// In a size.
    Size,
    /// Blanks between a size and `;` or the line end.
    Blank,
    /// Behind `;`.
    Extension,
    /// Behind the CR of a size line.
    SizeLf,
    /// In a chunk's data.
    Data,
    /// Behind a chunk's data.
    DataCr,
    /// Behind the CR that ends a chunk's data.
    DataLf,
    /// In trailers, after the last chunk's line.
    Trailers,
    /// Over.
    Done,
}

/// Chunked framing.
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
    state: State,
    digits: u8,
    /// The chunk's size while it is read, then what is left of its data.
    remaining: u64,
    extension: u32,
    /// Extension bytes not yet paid for by data.
    surplus: u64,
    trailers: Fields,
}

impl LengthBody {
    /// A body of `length` bytes.
    pub const fn new(length: u64) -> Self {
        Self { remaining: length }
    }

    /// Bytes still to come.
    pub const fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Finds the next data.
    pub fn step(&mut self, input: &[u8]) -> BodyStep {
        if self.remaining == 0 {
            return BodyStep::Done(0);
        }
        if input.is_empty() {
            return BodyStep::More;
        }
        let to = usize::try_from(self.remaining).map_or(input.len(), |r| r.min(input.len()));
        self.remaining -= to as u64;
        BodyStep::Data { from: 0, to }
    }

    /// Takes note of data that went past the decoder (splice). More than remains counts as all.
    pub const fn skip(&mut self, bytes: u64) {
        self.remaining = self.remaining.saturating_sub(bytes);
    }
}

impl ChunkedDecoder {
    /// Before the first chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// The trailer fields, once done; fields that RFC 9110 6.5.1 refuses are left out.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// True behind the last chunk and its trailers.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Finds the next data.
    pub fn step(&mut self, input: &[u8]) -> Result<BodyStep, BodyError> {
        let mut at = 0;
        while at < input.len() {
            let byte = input[at];
            match self.state {
                State::Start | State::Size => self.size_byte(byte)?,
                State::Blank | State::Extension => self.extension_byte(byte)?,
                State::SizeLf => {
                    expect(byte, b'\n')?;
                    self.state = if self.remaining == 0 {
                        State::Trailers
                    } else {
                        State::Data
                    };
                }
                State::Data => {
                    let left = input.len() - at;
                    let len = usize::try_from(self.remaining).map_or(left, |r| r.min(left));
                    self.remaining -= len as u64;
                    self.surplus = self.surplus.saturating_sub(len as u64);
                    if self.remaining == 0 {
                        self.state = State::DataCr;
                    }
                    return Ok(BodyStep::Data {
                        from: at,
                        to: at + len,
                    });
                }
                State::DataCr => {
                    expect(byte, b'\r')?;
                    self.state = State::DataLf;
                }
                State::DataLf => {
                    expect(byte, b'\n')?;
                    self.state = State::Start;
                }
                State::Trailers => {
                    return self.trailer_bytes(&input[at..]).map(|step| match step {
                        BodyStep::Done(used) => BodyStep::Done(at + used),
                        step => step,
                    });
                }
                State::Done => return Ok(BodyStep::Done(at)),
            }
            at += 1;
        }
        Ok(if self.state == State::Done {
            BodyStep::Done(at)
        } else {
            BodyStep::More
        })
    }

    fn size_byte(&mut self, byte: u8) -> Result<(), BodyError> {
        if let Some(digit) = crate::base::escape::hex_value(byte) {
            if self.state == State::Start {
                (self.state, self.digits, self.remaining, self.extension) = (State::Size, 0, 0, 0);
            }
            self.digits += 1;
            // The largest size must fit an offset, as in nginx.
            if self.digits > SIZE_DIGITS_MAX || self.remaining > (i64::MAX as u64 - 15) / 16 {
                return Err(BodyError::ChunkSize);
            }
            self.remaining = self.remaining * 16 + u64::from(digit);
            return Ok(());
        }
        self.state = match (self.state, byte) {
            (State::Start, _) => return Err(BodyError::ChunkSize),
            (_, b'\r') => State::SizeLf,
            (_, b';') => State::Extension,
            (_, b' ' | b'\t') => State::Blank,
            (_, b'\n') => return Err(BodyError::ChunkLineEnd),
            _ => return Err(BodyError::ChunkSize),
        };
        Ok(())
    }

    fn extension_byte(&mut self, byte: u8) -> Result<(), BodyError> {
        self.extension += 1;
        self.surplus += 1;
        if self.extension > EXTENSION_BYTES_MAX || self.surplus > EXTENSION_SURPLUS_MAX {
            return Err(BodyError::ChunkExtension);
        }
        match byte {
            b'\r' => self.state = State::SizeLf,
            b'\n' => return Err(BodyError::ChunkLineEnd),
            b';' => self.state = State::Extension,
            b' ' | b'\t' => {}
            // Differs from nginx: behind blanks it takes anything for an extension.
            _ if self.state == State::Blank => return Err(BodyError::ChunkExtension),
            // Differs from nginx: it lets controls pass.
            0..0x20 | 0x7f => return Err(BodyError::ChunkExtension),
            _ => {}
        }
        Ok(())
    }

    /// Collects trailer lines; each is read once it is whole.
    fn trailer_bytes(&mut self, input: &[u8]) -> Result<BodyStep, BodyError> {
        let mut used = 0;
        loop {
            let Some(lf) = memchr::memchr(b'\n', &input[used..]) else {
                self.store_trailer(&input[used..])?;
                return Ok(BodyStep::More);
            };
            self.store_trailer(&input[used..=used + lf])?;
            used += lf + 1;
            if self.trailer_line()? {
                self.state = State::Done;
                return Ok(BodyStep::Done(used));
            }
        }
    }

    fn store_trailer(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        if self.trailers.buf.len() + bytes.len() > TRAILER_BYTES_MAX {
            return Err(BodyError::TrailerTooLarge);
        }
        self.trailers.buf.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads the whole line at the end of the trailer buffer; true for the empty one.
    fn trailer_line(&mut self) -> Result<bool, BodyError> {
        let buf = &self.trailers.buf;
        if !buf.ends_with(b"\r\n") {
            return Err(BodyError::ChunkLineEnd);
        }
        // `remaining` is free now: it holds where the unread line starts.
        let start = self.remaining as usize;
        match line::field_line(buf, start, true) {
            Ok(Line::End(_)) => return Ok(true),
            Ok(Line::Field(line)) if line.next == buf.len() => {
                if buf.get(line.field.name.end()) != Some(&b':') {
                    return Err(BodyError::Trailer);
                }
                if self.trailers.list.len() >= TRAILER_FIELDS_MAX {
                    return Err(BodyError::TrailerTooLarge);
                }
                self.remaining = line.next as u64;
                if !line.field.token.is_refused_in_trailers() && !line.odd {
                    self.trailers.push_field(line.field);
                }
            }
            _ => return Err(BodyError::Trailer),
        }
        Ok(false)
    }
}

fn expect(byte: u8, wanted: u8) -> Result<(), BodyError> {
    if byte == wanted {
        Ok(())
    } else {
        Err(BodyError::ChunkLineEnd)
    }
}

impl BodyDecoder {
    /// For the body behind a request's head.
    pub fn for_request(head: &RequestHead) -> Self {
        if head.chunked {
            return Self::Chunked(Box::default());
        }
        match head.content_length {
            None | Some(0) => Self::Empty,
            Some(length) => Self::Length(LengthBody::new(length)),
        }
    }

    /// For the body behind a final response's head; `head_request` when the request's method was HEAD.
    pub fn for_response(head: &ResponseHead, head_request: bool) -> Self {
        // RFC 9112 6.3: these never have content, whatever their fields say.
        if head_request || head.status < 200 || matches!(head.status, 204 | 304) {
            return Self::Empty;
        }
        if head.chunked {
            return Self::Chunked(Box::default());
        }
        match head.content_length {
            Some(0) => Self::Empty,
            Some(length) => Self::Length(LengthBody::new(length)),
            None => Self::UntilClose,
        }
    }

    /// Finds the next data in `input`.
    pub fn step(&mut self, input: &[u8]) -> Result<BodyStep, BodyError> {
        match self {
            Self::Empty => Ok(BodyStep::Done(0)),
            Self::Length(body) => Ok(body.step(input)),
            Self::Chunked(body) => body.step(input),
            Self::UntilClose if input.is_empty() => Ok(BodyStep::More),
            Self::UntilClose => Ok(BodyStep::Data {
                from: 0,
                to: input.len(),
            }),
        }
    }

    /// Appends the data of `input` to `out`; returns how much of the input is consumed and whether the body is over.
    pub fn decode_into(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(usize, bool), BodyError> {
        let mut used = 0;
        loop {
            match self.step(&input[used..])? {
                BodyStep::Data { from, to } => {
                    out.extend_from_slice(&input[used + from..used + to]);
                    used += to;
                }
                BodyStep::More => return Ok((input.len(), false)),
                BodyStep::Done(more) => return Ok((used + more, true)),
            }
        }
    }

    /// Moves the data of `buf[from..]` together at `from` and cuts off what follows it. Returns how many bytes of the input
    /// belonged to the body and whether it is over; bytes of the next message are appended to `rest`.
    pub fn decode_in_place(
        &mut self,
        buf: &mut Vec<u8>,
        from: usize,
        rest: &mut Vec<u8>,
    ) -> Result<(usize, bool), BodyError> {
        let (mut read, mut write) = (from, from);
        loop {
            let done = match self.step(&buf[read..])? {
                BodyStep::Data { from: a, to: b } => {
                    buf.copy_within(read + a..read + b, write);
                    write += b - a;
                    read += b;
                    continue;
                }
                BodyStep::More => {
                    read = buf.len();
                    false
                }
                BodyStep::Done(more) => {
                    read += more;
                    true
                }
            };
            rest.extend_from_slice(&buf[read..]);
            buf.truncate(write);
            return Ok((read - from, done));
        }
    }

    /// True when nothing more belongs to the body.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Length(body) => body.remaining == 0,
            Self::Chunked(body) => body.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Bytes still to come, where that is known.
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Length(body) => Some(body.remaining),
            Self::Chunked(body) => body.is_done().then_some(0),
            Self::UntilClose => None,
        }
    }

    /// The peer closed. True when that is a proper end, false when the body was cut.
    pub fn at_close(&self) -> bool {
        self.is_done() || matches!(self, Self::UntilClose)
    }

    /// The trailer fields of a chunked body that is done.
    pub fn trailers(&self) -> Option<&Fields> {
        match self {
            Self::Chunked(body) => Some(body.trailers()),
            _ => None,
        }
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
