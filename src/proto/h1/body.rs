//! Finds where an HTTP/1 body's data lies and where it ends, without copying. Start at [`BodyDecoder`].

use super::super::head::Fields;

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

/// Chunked framing, strict (RFC 9112 7.1).
#[derive(Debug, Default)]
pub struct ChunkedDecoder {
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

    /// Finds the next data.
    pub fn step(&mut self, _input: &[u8]) -> Result<BodyStep, BodyError> {
        Ok(BodyStep::More)
    }
}

impl BodyDecoder {
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

    /// True when nothing more belongs to the body.
    pub fn is_done(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Length(body) => body.remaining == 0,
            Self::Chunked(_) | Self::UntilClose => false,
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
