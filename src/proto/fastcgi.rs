//! FastCGI as the side that asks: writes the records of one request, and takes the answer's records apart.
//!
//! One request at a time on a connection, always with id 1, as nginx does. The other side is not trusted: a record that is
//! not one of an answer to this request is an error. Knows no sockets and no variables. Start at [`begin`], [`Params`] and
//! [`stdin`] for what goes out, at [`Answer`] for what comes in.

use super::h1::body::BodyStep;
use super::h1::parse::{Parsed, ResponseError, ResponseParser};
use super::head::{ResponseHead, Span};
use super::tokens::Token;

const VERSION: u8 = 1;
const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// The role that answers a request.
const RESPONDER: u8 = 1;

/// Flag of a request: the connection stays open behind it.
const KEEP_CONN: u8 = 1;

/// Bytes before a record's content.
pub const HEADER_BYTES: usize = 8;

/// Bytes that one record may hold.
const CONTENT_MAX: usize = u16::MAX as usize;

/// Bytes of a body that go into one record, as in nginx.
const STDIN_BYTES: usize = 32 << 10;

/// Bytes of stderr that are kept until somebody takes them.
const NOTES_BYTES_MAX: usize = 64 << 10;

/// Appends a record's header; its length follows when [`close`] knows it.
fn open(kind: u8, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[VERSION, kind, 0, 1, 0, 0, 0, 0]);
    out.len()
}

/// Completes the record whose content starts at `from`: its length, and zeros up to a multiple of eight.
fn close(from: usize, out: &mut Vec<u8>) {
    let len = out.len() - from;
    let padding = len.wrapping_neg() % 8;
    let [.., high, low] = len.to_be_bytes();
    out[from - 4..from - 1].copy_from_slice(&[high, low, padding as u8]);
    out.extend_from_slice(&[0; 8][..padding]);
}

/// Appends the record that a request starts with. `keep` asks the other side to leave the connection open.
pub fn begin(keep: bool, out: &mut Vec<u8>) {
    let from = open(BEGIN_REQUEST, out);
    let flags = if keep { KEEP_CONN } else { 0 };
    out.extend_from_slice(&[0, RESPONDER, flags, 0, 0, 0, 0, 0]);
    close(from, out);
}

/// Appends body bytes as records. No bytes are no record: an empty one is the end.
pub fn stdin(data: &[u8], out: &mut Vec<u8>) {
    for part in data.chunks(STDIN_BYTES) {
        let from = open(STDIN, out);
        out.extend_from_slice(part);
        close(from, out);
    }
}

/// Appends the end of the body.
pub fn stdin_end(out: &mut Vec<u8>) {
    open(STDIN, out);
}

/// Room that [`stdin`] needs for so many bytes, the end included.
#[must_use]
pub const fn stdin_room(len: usize) -> usize {
    len + (len / STDIN_BYTES + 2) * (HEADER_BYTES + 7)
}

/// Writes the parameters of a request.
///
/// Differs from nginx: parameters of more than 64 KiB go into several records, each with whole pairs. nginx refuses such
/// a request.
#[derive(Debug)]
pub struct Params {
    /// Where the content of the open record starts.
    from: usize,
}

/// One parameter is larger than a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig(
    /// Its size.
    pub usize,
);

impl Params {
    /// Opens the first record.
    pub fn begin(out: &mut Vec<u8>) -> Self {
        Self {
            from: open(PARAMS, out),
        }
    }

    /// Appends a parameter whose name comes in two parts.
    pub fn pair(
        &mut self,
        name: (&[u8], &[u8]),
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), TooBig> {
        let name_len = name.0.len() + name.1.len();
        let size = length_bytes(name_len) + length_bytes(value.len()) + name_len + value.len();
        if size > CONTENT_MAX {
            return Err(TooBig(size));
        }
        if out.len() - self.from + size > CONTENT_MAX {
            close(self.from, out);
            self.from = open(PARAMS, out);
        }
        length(name_len, out);
        length(value.len(), out);
        out.extend_from_slice(name.0);
        out.extend_from_slice(name.1);
        out.extend_from_slice(value);
        Ok(())
    }

    /// Ends the parameters.
    pub fn end(self, out: &mut Vec<u8>) {
        // An empty record would be the end already.
        if out.len() > self.from {
            close(self.from, out);
            open(PARAMS, out);
        }
    }
}

const fn length_bytes(len: usize) -> usize {
    if len > 127 { 4 } else { 1 }
}

/// Appends the length of a name or value.
fn length(len: usize, out: &mut Vec<u8>) {
    match u8::try_from(len) {
        Ok(short @ ..=127) => out.push(short),
        _ => out.extend_from_slice(&(len as u32 | 1 << 31).to_be_bytes()),
    }
}

/// The rule that an answer broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Another version of the protocol.
    Version(u8),
    /// A record that no answer has.
    Type(u8),
    /// The high byte of a request id that is not ours.
    IdHigh(u8),
    /// The low byte of a request id that is not ours.
    IdLow(u8),
    /// The end of the request before the head's.
    Unexpected(u8),
    /// The end of stdout before that of the head, or of the length that the head announced.
    StdoutClosed,
    /// The end of the request before that of the length that the head announced.
    RequestClosed,
    /// The `Status` field is none.
    Status(Box<[u8]>),
    /// The head breaks a rule of heads; nginx's words for it, with the bytes that it shows.
    Head(ResponseError, Box<[u8]>),
}

impl Error {
    /// Appends nginx's words for it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (text, number) = match self {
            Self::Version(n) => ("upstream sent unsupported FastCGI protocol version: ", *n),
            Self::Type(n) => ("upstream sent invalid FastCGI record type: ", *n),
            Self::IdHigh(n) => (
                "upstream sent unexpected FastCGI request id high byte: ",
                *n,
            ),
            Self::IdLow(n) => ("upstream sent unexpected FastCGI request id low byte: ", *n),
            Self::Unexpected(n) => ("upstream sent unexpected FastCGI record: ", *n),
            Self::StdoutClosed => {
                return out.extend_from_slice(b"upstream prematurely closed FastCGI stdout");
            }
            Self::RequestClosed => {
                return out.extend_from_slice(b"upstream prematurely closed FastCGI request");
            }
            Self::Status(shown) => {
                out.extend_from_slice(b"upstream sent invalid status \"");
                out.extend_from_slice(shown);
                return out.push(b'"');
            }
            Self::Head(_, text) => return out.extend_from_slice(text),
        };
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(number.to_string().as_bytes());
    }
}

/// Which record its bytes belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Stdout,
    Stderr,
    End,
}

/// Takes a stream of records apart.
#[derive(Clone, Copy, Debug, Default)]
struct Records {
    /// The header, as far as it has come; whole until content and padding are consumed.
    header: [u8; HEADER_BYTES],
    /// Bytes of `header` that have come.
    have: u8,
    kind: Kind,
    /// Content that is still to come.
    content: usize,
    /// Padding that is still to come.
    padding: usize,
}

/// What [`Records::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// A whole header; content follows.
    Header,
    /// Content of the record, `input[from..to]`.
    Content(usize, usize),
    /// The record is over, padding included; so many bytes are consumed.
    Over(usize),
    /// All of the input is consumed.
    More,
}

impl Records {
    /// Looks at `input[*at..]` and moves `at` behind what it understood.
    fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Found, Error> {
        while usize::from(self.have) < HEADER_BYTES {
            let Some(&byte) = input.get(*at) else {
                return Ok(Found::More);
            };
            self.header_byte(byte)?;
            *at += 1;
            if usize::from(self.have) == HEADER_BYTES {
                return Ok(Found::Header);
            }
        }
        let left = input.len() - *at;
        if self.content > 0 {
            let len = self.content.min(left);
            if len == 0 {
                return Ok(Found::More);
            }
            let from = *at;
            *at += len;
            self.content -= len;
            return Ok(Found::Content(from, *at));
        }
        let len = self.padding.min(left);
        *at += len;
        self.padding -= len;
        if self.padding > 0 {
            return Ok(Found::More);
        }
        self.have = 0;
        Ok(Found::Over(*at))
    }

    /// Checks each byte as it comes, as nginx does.
    fn header_byte(&mut self, byte: u8) -> Result<(), Error> {
        match self.have {
            0 if byte != VERSION => return Err(Error::Version(byte)),
            1 => {
                self.kind = match byte {
                    STDOUT => Kind::Stdout,
                    STDERR => Kind::Stderr,
                    END_REQUEST => Kind::End,
                    _ => return Err(Error::Type(byte)),
                }
            }
            2 if byte != 0 => return Err(Error::IdHigh(byte)),
            3 if byte != 1 => return Err(Error::IdLow(byte)),
            _ => {}
        }
        self.header[usize::from(self.have)] = byte;
        self.have += 1;
        if usize::from(self.have) == HEADER_BYTES {
            let [.., high, low, padding, _] = self.header;
            self.content = usize::from(u16::from_be_bytes([high, low]));
            self.padding = usize::from(padding);
        }
        Ok(())
    }

    /// Gives bytes of content back: they will be found again.
    fn unread(&mut self, bytes: usize) {
        self.content += bytes;
    }

    /// Between two records.
    fn at_boundary(&self) -> bool {
        self.have == 0
    }
}

/// What [`Answer::head`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadStep {
    /// All of the input is consumed; more is needed.
    More,
    /// The head is whole; so many bytes of the input belong to it or come before it.
    Done(usize),
}

/// How much body may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    /// As much as there is.
    #[default]
    Open,
    /// So many bytes.
    Known(u64),
    /// None that anybody wants.
    Unwanted,
}

/// Takes one answer apart: first its head, then its body; what the application says on stderr is set aside.
#[derive(Debug, Default)]
pub struct Answer {
    keep: bool,
    records: Records,
    /// The head's bytes, records taken off.
    text: Vec<u8>,
    parser: ResponseParser,
    rest: Rest,
    /// stdout has ended.
    stdout_closed: bool,
    /// END_REQUEST has come.
    ended: bool,
    /// The body was longer than announced.
    excess: bool,
    notes: Notes,
}

/// What an application said on stderr, one text for each record.
#[derive(Debug, Default)]
pub struct Notes {
    /// Texts that are whole, without line ends, blanks and dots behind them.
    pub texts: Vec<Vec<u8>>,
    /// Bytes that were dropped because nobody took them in time.
    pub dropped: u64,
    /// The record that is being read.
    current: Vec<u8>,
    /// Bytes in `texts`.
    bytes: usize,
}

impl Notes {
    fn push(&mut self, bytes: &[u8]) {
        let room = NOTES_BYTES_MAX.saturating_sub(self.bytes + self.current.len());
        let (kept, dropped) = bytes.split_at(bytes.len().min(room));
        self.current.extend_from_slice(kept);
        self.dropped += dropped.len() as u64;
    }

    /// The record is over, or nothing more of it will come.
    fn over(&mut self) {
        let mut text = std::mem::take(&mut self.current);
        let end = text
            .iter()
            .rposition(|b| !matches!(b, b'\r' | b'\n' | b'.' | b' '))
            .map_or(0, |last| last + 1);
        text.truncate(end);
        if !text.is_empty() {
            self.bytes += text.len();
            self.texts.push(text);
        }
    }

    /// Whether there is anything to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.dropped == 0
    }
}

impl Answer {
    /// Ready for another answer. `keep` is what the request asked for.
    pub fn reset(&mut self, keep: bool) {
        let Self {
            keep: old,
            records,
            text,
            parser,
            rest,
            stdout_closed,
            ended,
            excess,
            notes,
        } = self;
        *old = keep;
        *records = Records::default();
        text.clear();
        parser.reset();
        *rest = Rest::Open;
        (*stdout_closed, *ended, *excess) = (false, false, false);
        *notes = Notes::default();
    }

    /// Reads the next bytes of the head; `head` must be clear before the first call. A head of more than `bytes_max` is too
    /// big.
    pub fn head(
        &mut self,
        input: &[u8],
        bytes_max: usize,
        head: &mut ResponseHead,
    ) -> Result<HeadStep, Error> {
        let mut at = 0;
        loop {
            match self.records.next(input, &mut at)? {
                Found::More => return Ok(HeadStep::More),
                Found::Header => match self.records.kind {
                    Kind::End => return Err(Error::Unexpected(END_REQUEST)),
                    Kind::Stdout if self.records.content == 0 => return Err(Error::StdoutClosed),
                    Kind::Stdout | Kind::Stderr => {}
                },
                Found::Over(_) => self.note_over(),
                Found::Content(from, to) if self.records.kind == Kind::Stderr => {
                    self.notes.push(&input[from..to]);
                }
                Found::Content(from, to) => {
                    let before = self.text.len();
                    let room = bytes_max.saturating_sub(before).min(to - from);
                    self.text.extend_from_slice(&input[from..from + room]);
                    let parsed = self.parser.parse_fields(&self.text, bytes_max, head);
                    let parsed = parsed.map_err(|error| {
                        let mut text = Vec::new();
                        self.parser.describe(error, head, &mut text);
                        Error::Head(error, text.into())
                    });
                    if let Parsed::Complete(len) = parsed? {
                        let used = from + len - before;
                        self.records.unread(to - used);
                        status(head)?;
                        return Ok(HeadStep::Done(used));
                    }
                }
            }
        }
    }

    /// The head was read: says how much body may follow it. None is as much as there is.
    pub fn expect(&mut self, length: Option<u64>) {
        self.rest = length.map_or(Rest::Open, Rest::Known);
    }

    /// The head was read, and nobody wants a body.
    pub fn expect_nothing(&mut self) {
        self.rest = Rest::Unwanted;
    }

    /// Finds the next data of the body.
    pub fn step(&mut self, input: &[u8]) -> Result<BodyStep, Error> {
        let mut at = 0;
        if self.excess {
            return Ok(BodyStep::Done(0));
        }
        loop {
            match self.records.next(input, &mut at)? {
                Found::More => return Ok(BodyStep::More),
                Found::Header => self.record_begins()?,
                Found::Over(len) if self.records.kind == Kind::End => {
                    self.ended = true;
                    return Ok(BodyStep::Done(len));
                }
                Found::Over(_) => self.note_over(),
                Found::Content(from, to) => match self.records.kind {
                    Kind::End => {}
                    Kind::Stderr => self.notes.push(&input[from..to]),
                    Kind::Stdout => {
                        if let Some(step) = self.data(from, to) {
                            return Ok(step);
                        }
                    }
                },
            }
        }
    }

    fn record_begins(&mut self) -> Result<(), Error> {
        let short = matches!(self.rest, Rest::Known(1..));
        match self.records.kind {
            Kind::Stdout if self.records.content == 0 => {
                if short {
                    return Err(Error::StdoutClosed);
                }
                self.stdout_closed = true;
            }
            Kind::End if short => return Err(Error::RequestClosed),
            _ => {}
        }
        Ok(())
    }

    /// Content of stdout, as far as it belongs to the body.
    fn data(&mut self, from: usize, to: usize) -> Option<BodyStep> {
        match &mut self.rest {
            Rest::Unwanted => None,
            Rest::Open => Some(BodyStep::Data { from, to }),
            Rest::Known(0) => {
                self.excess = true;
                Some(BodyStep::Done(to))
            }
            Rest::Known(rest) => {
                let len = usize::try_from(*rest).map_or(to - from, |rest| rest.min(to - from));
                *rest -= len as u64;
                self.excess = len < to - from;
                Some(BodyStep::Data {
                    from,
                    to: from + len,
                })
            }
        }
    }

    fn note_over(&mut self) {
        if self.records.kind == Kind::Stderr {
            self.notes.over();
        }
    }

    /// The other side closed: whether that is a proper end of this body.
    ///
    /// Differs from nginx: an answer without an announced length and without the end of its stdout was cut short. nginx
    /// passes it on as whole.
    pub fn at_close(&mut self) -> bool {
        self.notes.over();
        match self.rest {
            Rest::Known(rest) => rest == 0,
            Rest::Unwanted => true,
            Rest::Open => self.stdout_closed,
        }
    }

    /// The body was longer than its head announced.
    #[must_use]
    pub fn has_excess(&self) -> bool {
        self.excess
    }

    /// Whether the connection is between two requests now.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.keep && self.ended && self.records.at_boundary()
    }

    /// Whether the application said something that is whole.
    #[must_use]
    pub fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Takes what the application said.
    pub fn take_notes(&mut self) -> Notes {
        let current = std::mem::take(&mut self.notes.current);
        let notes = std::mem::take(&mut self.notes);
        self.notes.current = current;
        notes
    }
}

/// Derives what a status line would have said: from `Status`, else 302 with a `Location` and 200 without.
///
/// Differs from nginx: a status below 200 is none, because it would not be a final one.
fn status(head: &mut ResponseHead) -> Result<(), Error> {
    // CGI knows no transfer codings; the field is dropped with those of the connection.
    head.chunked = false;
    let fields = &head.fields;
    let Some(field) = fields.list().iter().find(|f| f.token == Token::STATUS) else {
        head.status = if fields.has(Token::LOCATION) {
            302
        } else {
            200
        };
        return Ok(());
    };
    let value = fields.bytes(field.value);
    let wrong = || Error::Status(value.into());
    let (digits, text) = value.split_at_checked(3).ok_or_else(wrong)?;
    let status = match digits {
        [a @ b'2'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(wrong()),
    };
    if text.first().is_some_and(u8::is_ascii_alphanumeric) {
        return Err(wrong());
    }
    if !text.is_empty() {
        let end = field.value.end();
        head.status_line = field.value;
        head.reason = Span::new((field.value.start as usize + 4).min(end), end);
    }
    head.status = status;
    Ok(())
}

#[cfg(test)]
#[path = "fastcgi_tests.rs"]
mod tests;
