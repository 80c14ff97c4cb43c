//! `slice`: an answer is fetched in ranges of one size and put together again.
//!
//! `$slice_range`, where the request to the origin uses it, asks for the first range; its 206 becomes a 200 of the whole
//! ([`head`]), which ranges may narrow, and whose body is the first answer and then one subrequest after the other
//! ([`Slices::next`]). Every answer must be what was asked for, of the same thing.

use super::content::cache::body::{self, Stored};
use super::content::files::opening::Held;
use super::content::proxy;
use super::exchange::{Body, Exchange};
use super::flow::Flow;
use super::local::Cx;
use super::log;
use super::subrequest::{Entry, Spec, Subrequest, Wanted};
use crate::base::size::parse_digits;
use crate::plan::model::LogLevel;
use crate::proto::head::Fields;
use crate::proto::tokens::Token;
use crate::upstream::origin::{Fault, Lease, Step};

/// Room for one receive of the first slice.
const RECV_BYTES: usize = 16 << 10;

/// What an exchange knows of its slices.
#[derive(Clone, Copy, Debug)]
pub struct Slicing {
    /// First byte of the slice that is asked for.
    start: u64,
    /// Bytes of one slice.
    size: u64,
}

/// A body that comes in slices.
pub struct Slices {
    /// The first slice, until it was read.
    first: Option<First>,
    /// The slice that is being read.
    part: Option<Subrequest>,
    /// Where the next byte belongs.
    at: u64,
    /// Where the slice that is being read ends.
    slice_end: u64,
    /// The bytes that are wanted: the first one, and the one after the last.
    wanted: (u64, u64),
    size: u64,
    etag: Vec<u8>,
    /// The first piece was asked for.
    begun: bool,
    /// A piece before it was cut to what is wanted.
    piece: Vec<u8>,
}

/// Where the first slice comes from.
enum First {
    /// An origin.
    Origin(Lease),
    /// The cache, or an origin on the way there.
    Stored(Box<Stored>),
    /// The cache's memory.
    Memory(Vec<u8>),
    /// The cache's files: the file, where the slice is in it, and how long it is.
    File(Held, u64, u64),
}

/// Why slices do not go on.
pub enum Broken {
    /// The first one's origin failed.
    Origin(Lease, Fault),
    /// Another one; it was logged.
    Part,
}

impl Slicing {
    /// Appends `bytes=0-1023`.
    fn write(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(b"bytes=");
        out.extend_from_slice(digits.format(self.start).as_bytes());
        out.push(b'-');
        let last = self.start.saturating_add(self.size - 1);
        out.extend_from_slice(digits.format(last).as_bytes());
    }
}

/// `$slice_range`. Asking for it before there is an answer is what makes the answer come in slices.
pub fn variable(ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    if let Some(slicing) = ex.slicing {
        slicing.write(out);
        return true;
    }
    let size = cx.location(ex.location).settings.subrequests.slice as u64;
    if size == 0 || ex.is_subrequest() || ex.response.status != 0 {
        return false;
    }
    let start = first_byte(&ex.head.fields) / size * size;
    let slicing = Slicing { start, size };
    ex.slicing = Some(slicing);
    slicing.write(out);
    true
}

/// Where a single range of the request begins; 0 where it is not known yet what it will be.
fn first_byte(fields: &Fields) -> u64 {
    if fields.has(Token::IF_RANGE) {
        return 0;
    }
    let value = fields.get(Token::RANGE).unwrap_or_default();
    let Some((unit, range)) = value.split_at_checked(6) else {
        return 0;
    };
    if !unit.eq_ignore_ascii_case(b"bytes=") || range.contains(&b',') {
        return 0;
    }
    let range = range.trim_ascii_start();
    let end = range.iter().position(|b| !b.is_ascii_digit());
    parse_digits(&range[..end.unwrap_or(range.len())])
        .filter(|&n| i64::try_from(n).is_ok())
        .unwrap_or(0)
}

/// The first header filter: makes a 206 of the first slice a 200 of the whole. A flow when it is not what was asked for.
pub fn head(ex: &mut Exchange, cx: Cx<'_>) -> Option<Flow> {
    let slicing = ex.slicing?;
    if ex.is_subrequest() {
        return None;
    }
    let sliced = matches!(
        ex.response.body,
        Body::Origin(_) | Body::Stored(_) | Body::Buffer(_) | Body::File { .. }
    );
    if ex.response.status != 206 || !ex.response.upstream || !sliced {
        ex.slicing = None;
        return None;
    }
    let response = &mut ex.response;
    let etag = response
        .fields
        .get(Token::ETAG)
        .unwrap_or_default()
        .to_vec();
    let checked = check(&response.fields, slicing);
    let first = match std::mem::take(&mut response.body) {
        Body::Origin(origin) => First::Origin(origin),
        Body::Stored(stored) => First::Stored(stored),
        Body::Buffer(bytes) => First::Memory(bytes),
        Body::File {
            file,
            offset,
            length,
        } => First::File(file, offset, length),
        _ => return None,
    };
    let (end, total) = match checked {
        Ok(range) => range,
        Err(why) => {
            tell(ex, cx, &why);
            first.abandon(ex, cx);
            return Some(Flow::Close);
        }
    };
    response.status = 200;
    response.reason.clear();
    response.fields.remove(Token::CONTENT_RANGE);
    response.fields.remove(Token::ACCEPT_RANGES);
    response.content_length = Some(total);
    response.allow_ranges = true;
    response.single_range = true;
    response.body = Body::Slices(Box::new(Slices {
        first: Some(first),
        part: None,
        at: slicing.start,
        slice_end: end,
        wanted: (0, total),
        size: slicing.size,
        etag,
        begun: false,
        piece: Vec::new(),
    }));
    None
}

/// What is wrong with a slice, in nginx's words.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Status(u16),
    Etag,
    Invalid,
    NoLength,
    Range { got: (u64, u64), want: (u64, u64) },
    Missing,
}

fn tell(ex: &Exchange, cx: Cx<'_>, why: &Wrong) {
    let told = |text: std::fmt::Arguments<'_>| {
        let text = format_args!("{text} while reading response header from upstream");
        log::error(ex, cx, LogLevel::Error, text);
    };
    match why {
        Wrong::Status(status) => told(format_args!(
            "unexpected status code {status} in slice response"
        )),
        Wrong::Etag => told(format_args!("etag mismatch in slice response")),
        Wrong::Invalid => told(format_args!("invalid range in slice response")),
        Wrong::NoLength => told(format_args!("no complete length in slice response")),
        Wrong::Range { got, want } => told(format_args!(
            "unexpected range in slice response: {}-{}, expected: {}-{}",
            got.0, got.1, want.0, want.1
        )),
        Wrong::Missing => told(format_args!("missing slice response")),
    }
}

/// The end of a slice and the length of the whole, if the slice is the one that was asked for.
fn check(fields: &Fields, slicing: Slicing) -> Result<(u64, u64), Wrong> {
    let value = fields.get(Token::CONTENT_RANGE).ok_or(Wrong::Invalid)?;
    let (start, end, total) = content_range(value).ok_or(Wrong::Invalid)?;
    let total = total.ok_or(Wrong::NoLength)?;
    let want = slicing.start.saturating_add(slicing.size).min(total);
    if start != slicing.start || end != want || end <= start {
        return Err(Wrong::Range {
            got: (start, end),
            want: (slicing.start, want),
        });
    }
    Ok((end, total))
}

/// `bytes 0-9/100` or `bytes 0-9/*` as first byte, the byte after the last, and the length of the whole.
fn content_range(value: &[u8]) -> Option<(u64, u64, Option<u64>)> {
    let text = value.strip_prefix(b"bytes ")?;
    let (start, text) = number(text)?;
    let (end, text) = number(after(text, b'-')?)?;
    let text = after(text, b'/')?.trim_ascii_start();
    let (total, text) = match text.strip_prefix(b"*") {
        Some(text) => (None, text),
        None => number(text).map(|(total, text)| (Some(total), text))?,
    };
    let rest = text.trim_ascii_start();
    rest.is_empty().then_some((start, end + 1, total))
}

/// A number behind blanks, and what follows.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let text = text.trim_ascii_start();
    let len = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let number = parse_digits(&text[..len]).filter(|&n| n < i64::MAX as u64)?;
    Some((number, &text[len..]))
}

/// What follows a mark behind blanks.
fn after(text: &[u8], mark: u8) -> Option<&[u8]> {
    text.trim_ascii_start().strip_prefix(&[mark])
}

impl First {
    /// Lets go of it; an origin is not to blame.
    fn abandon(self, ex: &mut Exchange, cx: Cx<'_>) {
        match self {
            Self::Origin(origin) => proxy::abandon(ex, cx, origin),
            Self::Stored(stored) => stored.abandon(ex, cx),
            Self::Memory(bytes) => cx.local.buffers.give(bytes),
            Self::File(..) => {}
        }
    }
}

impl Slices {
    /// Only these bytes are wanted: the first one, and the one after the last.
    pub fn narrow(&mut self, start: u64, end: u64) {
        self.wanted = (start, end);
    }

    /// Lets go of everything; the first slice's origin is not to blame.
    pub fn abandon(&mut self, ex: &mut Exchange, cx: Cx<'_>) {
        self.part = None;
        if let Some(first) = self.first.take() {
            first.abandon(ex, cx);
        }
    }

    /// Lets go of a body that nobody wants; the connection is kept if it has nothing more to say.
    pub fn end_unread(&mut self, ex: &mut Exchange, cx: Cx<'_>) {
        match self.first.take() {
            Some(First::Origin(mut origin)) => {
                proxy::skim(&mut origin);
                proxy::finish(ex, cx, origin);
            }
            Some(first) => first.abandon(ex, cx),
            None => {}
        }
    }

    /// Waits for the next piece of what is wanted and puts it into `out`. False when that was all of it.
    pub async fn next(
        &mut self,
        ex: &mut Exchange,
        cx: Cx<'_>,
        out: &mut Vec<u8>,
    ) -> Result<bool, Broken> {
        out.clear();
        if !std::mem::replace(&mut self.begun, true) {
            self.begin(ex, cx);
        }
        while out.is_empty() {
            self.piece.clear();
            if self.first.is_some() {
                self.read_first(ex, cx).await?;
            } else if let Some(part) = &mut self.part {
                let more = part.next(&mut self.piece, &cx.local.buffers).await;
                match more {
                    Ok(true) => {}
                    Ok(false) => self.end_part(ex, cx).await?,
                    Err(_) => return Err(Broken::Part),
                }
            } else if self.slice_end >= self.wanted.1 {
                return Ok(false);
            } else {
                self.ask(ex, cx).await?;
            }
            self.cut(out);
        }
        Ok(true)
    }

    /// A range was asked for and then not served, so that the first slice is not where the answer begins.
    fn begin(&mut self, ex: &mut Exchange, cx: Cx<'_>) {
        if self.at > self.wanted.0 {
            self.abandon(ex, cx);
            self.slice_end = 0;
        }
    }

    /// The next piece of the first slice.
    async fn read_first(&mut self, ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Broken> {
        let mut origin = match self.first.take() {
            None => return Ok(()),
            Some(First::Origin(origin)) => origin,
            Some(first) => return self.read_stored(first, ex, cx).await,
        };
        let within = cx.location(ex.location).pass.read_timeout;
        let fault = loop {
            match origin.inbound.step() {
                Ok(Step::Data) => {
                    self.piece.extend_from_slice(origin.inbound.data());
                    self.first = Some(First::Origin(origin));
                    return Ok(());
                }
                Ok(Step::End) => {
                    proxy::finish(ex, cx, origin);
                    return self.whole(ex, cx);
                }
                Ok(Step::More) => {
                    let buffers = &cx.local.buffers;
                    match origin.receive(RECV_BYTES, within, buffers).await {
                        Ok(true) => {}
                        Ok(false) if origin.inbound.ends_at_close() => {}
                        Ok(false) => break Fault::Closed,
                        Err(fault) => break fault,
                    }
                }
                Err(fault) => break fault,
            }
        };
        Err(Broken::Origin(origin, fault))
    }

    /// The next piece of a first slice that has to do with the cache.
    async fn read_stored(
        &mut self,
        first: First,
        ex: &mut Exchange,
        cx: Cx<'_>,
    ) -> Result<(), Broken> {
        let buffers = &cx.local.buffers;
        match first {
            First::Memory(bytes) if bytes.is_empty() => {
                buffers.give(bytes);
                self.whole(ex, cx)
            }
            First::Memory(bytes) => {
                buffers.give(std::mem::replace(&mut self.piece, bytes));
                self.first = Some(First::Memory(Vec::new()));
                Ok(())
            }
            First::File(_, _, 0) => self.whole(ex, cx),
            First::File(file, offset, length) => {
                let want = length.min(RECV_BYTES as u64) as usize;
                let piece = std::mem::take(&mut self.piece);
                let (read, piece) = file.read_at(piece, offset, want).await;
                self.piece = piece;
                let Ok(n @ 1..) = read else {
                    return Err(Broken::Part);
                };
                let n = n as u64;
                self.first = Some(First::File(file, offset + n, length - n));
                Ok(())
            }
            First::Stored(stored) => match stored.next(ex, cx, &mut self.piece).await {
                Ok(Some(stored)) => {
                    self.first = Some(First::Stored(stored));
                    Ok(())
                }
                Ok(None) => self.whole(ex, cx),
                Err(body::Broken::Origin(origin, fault)) => Err(Broken::Origin(origin, fault)),
                Err(body::Broken::Live) => Err(Broken::Part),
            },
            First::Origin(_) => Ok(()),
        }
    }

    /// A slice that is shorter or longer than it said would move all that follows.
    fn whole(&self, ex: &Exchange, cx: Cx<'_>) -> Result<(), Broken> {
        if self.at == self.slice_end {
            return Ok(());
        }
        let start = self.slice_end.saturating_sub(self.size);
        let why = Wrong::Range {
            got: (start, self.at),
            want: (start, self.slice_end),
        };
        tell(ex, cx, &why);
        Err(Broken::Part)
    }

    /// Asks for the next slice and looks at its head.
    async fn ask(&mut self, ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Broken> {
        let start = self.slice_end.max(self.wanted.0 / self.size * self.size);
        let slicing = Slicing {
            start,
            size: self.size,
        };
        ex.slicing = Some(slicing);
        let spec = Spec {
            uri: &ex.uri,
            args: &ex.args,
            same_method: true,
            with_body: true,
            wanted: Wanted::Body,
            entry: Entry::Content,
        };
        let started = Subrequest::start(ex, cx, &spec);
        let mut part = started.map_err(|_| Broken::Part)?;
        let Some(head) = part.head().await else {
            // A client that has left took the part with it, which is told already.
            if !ex.stream.is_left() {
                tell(ex, cx, &Wrong::Missing);
            }
            return Err(Broken::Part);
        };
        let etag = head.fields.get(Token::ETAG).unwrap_or_default();
        let checked = if head.status != 206 {
            Err(Wrong::Status(head.status))
        } else if !self.etag.is_empty() && self.etag != etag {
            Err(Wrong::Etag)
        } else {
            check(&head.fields, slicing)
        };
        match checked {
            Ok((end, _)) => {
                self.etag.clear();
                self.etag.extend_from_slice(etag);
                self.at = start;
                self.slice_end = end;
                self.part = Some(part);
                Ok(())
            }
            Err(why) => {
                tell(ex, cx, &why);
                Err(Broken::Part)
            }
        }
    }

    /// A slice was read to its end.
    async fn end_part(&mut self, ex: &mut Exchange, cx: Cx<'_>) -> Result<(), Broken> {
        if let Some(part) = self.part.take() {
            part.finish(ex).await.release(cx);
        }
        self.whole(ex, cx)
    }

    /// Moves what is wanted of the piece to `out`.
    fn cut(&mut self, out: &mut Vec<u8>) {
        let len = self.piece.len() as u64;
        // Both are within the piece, which is in memory.
        let skip = self.wanted.0.saturating_sub(self.at).min(len) as usize;
        let keep = self.wanted.1.saturating_sub(self.at).min(len) as usize;
        self.at += len;
        if skip == 0 && keep == self.piece.len() {
            std::mem::swap(out, &mut self.piece);
        } else if keep > skip {
            out.extend_from_slice(&self.piece[skip..keep]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_as_nginx_reads_them() {
        for (text, want) in [
            ("bytes 0-1/100", Some((0, 2, Some(100)))),
            ("bytes  0 - 1 / 100 ", Some((0, 2, Some(100)))),
            ("bytes 5-5/*", Some((5, 6, None))),
            ("bytes 0-1", None),
            ("bytes 0-1/", None),
            ("bytes -1/2", None),
            ("bytes 0-/2", None),
            ("bytes=0-1/2", None),
            ("bytes 0-1/2x", None),
            ("bytes 0-99999999999999999999/2", None),
            ("bytes 0-9223372036854775807/2", None),
            ("", None),
        ] {
            assert_eq!(content_range(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn the_first_byte_of_a_single_range() {
        for (range, if_range, want) in [
            ("bytes=5-", false, 5),
            ("BYTES= 17-20", false, 17),
            ("bytes=5-", true, 0),
            ("bytes=-5", false, 0),
            ("bytes=5-6,8-9", false, 0),
            ("bytes=9223372036854775808-", false, 0),
            ("lines=5-", false, 0),
            ("bytes=", false, 0),
            ("b", false, 0),
        ] {
            let mut fields = Fields::new();
            fields.push(b"Range", range.as_bytes());
            if if_range {
                fields.push(b"If-Range", b"\"a\"");
            }
            assert_eq!(first_byte(&fields), want, "{range:?}");
        }
    }

    #[test]
    fn a_slice_must_be_the_one_that_was_asked_for() {
        let slicing = Slicing { start: 10, size: 5 };
        let expected = |got| Wrong::Range {
            got,
            want: (10, 15),
        };
        for (text, want) in [
            ("bytes 10-14/100", Ok((15, 100))),
            ("bytes 10-11/12", Ok((12, 12))),
            ("bytes 9-14/100", Err(expected((9, 15)))),
            ("bytes 10-15/100", Err(expected((10, 16)))),
            ("bytes 10-13/100", Err(expected((10, 14)))),
            ("bytes 10-14/*", Err(Wrong::NoLength)),
            ("bytes */100", Err(Wrong::Invalid)),
        ] {
            let mut fields = Fields::new();
            fields.push(b"Content-Range", text.as_bytes());
            assert_eq!(check(&fields, slicing), want, "{text}");
        }
        assert_eq!(check(&Fields::new(), slicing), Err(Wrong::Invalid));
    }
}
