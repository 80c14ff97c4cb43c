//! One exchange on an upstream connection, in HTTP/1, HTTP/2 or FastCGI: request out, response head and body in.
//!
//! The origin is not trusted: whatever it sends is either a whole, well-framed response or a [`Fault`]. Body bytes
//! are found where they lie and handed on without a copy. Knows no retry policy and no client. Start at
//! [`Inbound::read_head`].

mod fault;

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::h2;
use super::pool::Conn;
use super::selection::Selection;
use crate::base::buf::BufPool;
use crate::net::deadline::Mark;
use crate::net::stream::RecvHalf;
use crate::proto::fastcgi::{Answer, HeadStep, Notes};
use crate::proto::h1::body::{BodyDecoder, BodyStep, ChunkedDecoder, LengthBody};
use crate::proto::h1::parse::{Parsed, ResponseError, ResponseParser};
use crate::proto::head::{Fields, ResponseHead, Version};

pub use fault::Fault;

/// Interim responses before the real one; more is an origin gone wrong.
const INTERIM_MAX: u32 = 64;

/// Largest buffer for one receive of a body.
const RECV_BYTES_MAX: usize = 128 << 10;

/// What [`Inbound::read_head`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadRead {
    /// 1xx: another head follows.
    Interim,
    /// The response's head.
    Final,
    /// No head yet, but [`Inbound::take_notes`] has something to tell: call it again.
    Notes,
}

/// What [`Inbound::step`] found in what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// [`Inbound::data`] is the next piece of the body.
    Data,
    /// Nothing: receive more.
    More,
    /// The body is over, properly.
    End,
}

/// What the request was, as far as it decides the response's framing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The method was HEAD: no body follows the head.
    pub head: bool,
    /// An upgrade was asked for: 101 is an answer.
    pub upgrade: bool,
    /// What the connection speaks.
    pub wire: Wire,
}

/// A protocol towards origins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.
    #[default]
    Http,
    /// FastCGI.
    FastCgi {
        /// The connection was asked to stay open.
        keep: bool,
    },
    /// A stream of HTTP/2.
    Http2 {
        /// An answer that is nothing but a head has a body of no bytes, whatever it says.
        grpc: bool,
    },
}

/// What an exchange happens on.
pub enum Link {
    /// A connection of its own.
    Own(Box<Conn>),
    /// A stream of a connection that others use too.
    Shared(Box<h2::Handle>),
    /// Nothing: between two attempts.
    Gone,
}

/// Stands where somebody asks a stream for its socket.
const NOT_OWN: &str = "invariant: only HTTP/1 and FastCGI have a connection of their own";

impl Link {
    /// It carried requests before.
    #[must_use]
    pub fn reused(&self) -> bool {
        match self {
            Self::Own(conn) => conn.reused,
            Self::Shared(handle) => handle.reused,
            Self::Gone => false,
        }
    }

    /// Whether the peer's bytes are on a socket of this exchange as they are, so that they may be spliced.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        matches!(self, Self::Own(conn) if conn.stream.tls().is_none())
    }

    /// For who may cut the exchange.
    #[must_use]
    pub fn mark(&self) -> Mark {
        match self {
            Self::Own(conn) => conn.stream.mark(),
            Self::Shared(handle) => handle.mark(),
            Self::Gone => unreachable!("{NOT_OWN}"),
        }
    }

    /// The stream, where it is one.
    #[must_use]
    pub fn shared(&self) -> Option<&h2::Handle> {
        match self {
            Self::Own(_) | Self::Gone => None,
            Self::Shared(handle) => Some(handle),
        }
    }
}

/// What needs a socket knows that there is one.
impl Deref for Link {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        match self {
            Self::Own(conn) => conn,
            Self::Shared(_) | Self::Gone => unreachable!("{NOT_OWN}"),
        }
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut Conn {
        match self {
            Self::Own(conn) => conn,
            Self::Shared(_) | Self::Gone => unreachable!("{NOT_OWN}"),
        }
    }
}

/// Finds the body in what comes.
enum Decoder {
    Http(BodyDecoder),
    FastCgi(Box<Answer>),
    /// The connection's task has found it already.
    Http2(Stretch),
}

/// What is known of a body that comes on a stream.
#[derive(Default)]
struct Stretch {
    /// Nothing follows the head.
    bare: bool,
    /// Nothing follows what has been received.
    over: bool,
    grpc: bool,
    trailers: Option<Box<Fields>>,
}

/// An upstream connection in the middle of an exchange.
pub struct Origin {
    /// The connection.
    pub conn: Link,
    /// The request's way through its group; holds the peer's slot until it is dropped. There while the lease is.
    selection: Option<Selection>,
    /// What comes back. Apart from the connection, so that a request body can be sent meanwhile.
    pub inbound: Inbound,
    /// Bytes sent.
    sent: u64,
    /// The request was sent to its end.
    request_done: bool,
}

/// Storage that one exchange after the other with an origin uses: a warm request allocates none.
#[derive(Default)]
pub struct Spare {
    origin: Option<Box<Origin>>,
    answer: Option<Box<Answer>>,
}

/// An [`Origin`] in its box, which is kept for the next request: its parts are filled and emptied where they are.
pub struct Lease(Box<Origin>);

/// Stands where a lease without its way through a group would be a bug of ours.
const LEASED: &str = "invariant: a lease holds its selection until it is finished";

impl Lease {
    /// Storage that an earlier request left, or new one.
    #[must_use]
    pub fn take(spare: &mut Spare) -> Self {
        Self(match spare.origin.take() {
            Some(origin) => origin,
            None => Box::new(Origin::idle()),
        })
    }

    /// Begins a request's way through its group. It has no connection yet.
    #[inline]
    pub fn begin(&mut self, selection: Selection) {
        self.0.selection = Some(selection);
    }

    /// Begins an exchange on a connection.
    pub fn connect(&mut self, conn: Link, spare: &mut Spare, asked: Asked) {
        let origin = &mut *self.0;
        origin.conn = conn;
        origin.sent = 0;
        origin.request_done = false;
        let decoder = match asked.wire {
            Wire::Http => Decoder::Http(BodyDecoder::Empty),
            Wire::FastCgi { keep } => {
                let mut answer = spare.answer.take().unwrap_or_default();
                answer.reset(keep);
                Decoder::FastCgi(answer)
            }
            Wire::Http2 { grpc } => Decoder::Http2(Stretch {
                grpc,
                ..Stretch::default()
            }),
        };
        origin.inbound.begin(asked, decoder);
    }

    /// Ends the exchange on the connection, which it returns; the way through the group may go on with another one.
    #[must_use]
    pub fn disconnect(&mut self, spare: &mut Spare, buffers: &BufPool) -> Link {
        let origin = &mut *self.0;
        if origin.inbound.input.capacity() > 0 {
            buffers.give(std::mem::take(&mut origin.inbound.input));
        }
        let empty = Decoder::Http(BodyDecoder::Empty);
        if let Decoder::FastCgi(answer) = std::mem::replace(&mut origin.inbound.decoder, empty) {
            spare.answer = Some(answer);
        }
        std::mem::replace(&mut origin.conn, Link::Gone)
    }

    /// Ends the way through the group, after [`Lease::disconnect`]: gives the storage back.
    pub fn end(mut self, spare: &mut Spare) {
        self.0.selection = None;
        spare.origin = Some(self.0);
    }
}

impl Deref for Lease {
    type Target = Origin;

    fn deref(&self) -> &Origin {
        &self.0
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Origin {
        &mut self.0
    }
}

/// The receiving side of an exchange with an origin.
pub struct Inbound {
    /// The response's head, once read.
    pub head: ResponseHead,
    parser: ResponseParser,
    decoder: Decoder,
    asked: Asked,
    /// Bytes received; those before `at` are consumed.
    input: Vec<u8>,
    at: usize,
    data: (usize, usize),
    interim: u32,
    /// Bytes received, head included.
    received: u64,
    /// Body bytes found.
    body_received: u64,
    /// The stretch of the body that is wanted; what lies outside is received and dropped.
    window: Option<(u64, u64)>,
    ended: bool,
    /// The connection must not be used again.
    spoiled: bool,
    /// More than the body was found in the socket.
    excess: bool,
}

impl Origin {
    /// Storage for later.
    fn idle() -> Self {
        Self {
            conn: Link::Gone,
            selection: None,
            inbound: Inbound {
                head: ResponseHead::default(),
                parser: ResponseParser::new(),
                decoder: Decoder::Http(BodyDecoder::Empty),
                asked: Asked::default(),
                input: Vec::new(),
                at: 0,
                data: (0, 0),
                interim: 0,
                received: 0,
                body_received: 0,
                window: None,
                ended: false,
                spoiled: false,
                excess: false,
            },
            sent: 0,
            request_done: false,
        }
    }

    /// The request's way through its group.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        self.selection.as_ref().expect(LEASED)
    }

    /// The request's way through its group, to go on.
    pub fn selection_mut(&mut self) -> &mut Selection {
        self.selection.as_mut().expect(LEASED)
    }

    /// The request was sent, or it failed: what its send came to.
    pub fn note_sent(&mut self, bytes: usize, result: io::Result<()>) -> Result<(), Fault> {
        match result {
            Ok(()) => {
                self.sent += bytes as u64;
                Ok(())
            }
            Err(error) => Err(self.broken(error)),
        }
    }

    /// Sending failed.
    fn broken(&mut self, error: io::Error) -> Fault {
        self.inbound.spoiled = true;
        Fault::of(error, self.conn.stream.cut())
    }

    /// Sends a request's head and a body larger than a head together. Gives both buffers back.
    pub async fn send_two(
        &mut self,
        head: Vec<u8>,
        body: Vec<u8>,
        within: Duration,
    ) -> (Result<(), Fault>, Vec<u8>, Vec<u8>) {
        let len = (head.len() + body.len()) as u64;
        let tx = &mut self.conn.stream.tx;
        let (result, head, body) = tx.send_all2_within(within, head, body).await;
        match result {
            Ok(()) => {
                self.sent += len;
                (Ok(()), head, body)
            }
            Err(error) => (Err(self.broken(error)), head, body),
        }
    }

    /// The request's last byte was sent: only then can the connection be pooled.
    pub fn request_sent(&mut self) {
        self.request_done = true;
    }

    /// Bytes sent on this exchange.
    #[must_use]
    pub fn sent(&self) -> u64 {
        match &self.conn {
            Link::Own(_) | Link::Gone => self.sent,
            Link::Shared(handle) => handle.sent(),
        }
    }

    /// Counts request bytes that a body pump sent.
    pub fn count_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// See [`Inbound::unread`]; nothing while something of it was received ahead.
    #[must_use]
    pub fn unread(&self) -> u64 {
        match &self.conn {
            Link::Own(conn) if !conn.stream.rx.has_ahead() => self.inbound.unread(),
            _ => 0,
        }
    }

    /// See [`Inbound::receive`].
    pub async fn receive(
        &mut self,
        room: usize,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<bool, Fault> {
        match &mut self.conn {
            Link::Own(conn) => {
                let rx = &mut conn.stream.rx;
                self.inbound.receive(rx, room, within, buffers).await
            }
            Link::Shared(handle) => self.inbound.receive_stream(handle, within).await,
            Link::Gone => Ok(false),
        }
    }

    /// Reads the next head of a stream. While the request is on its way it must make progress within `send`; then a
    /// head must come within `read`. `bytes_max` is `proxy_buffer_size`.
    pub async fn read_stream_head(
        &mut self,
        bytes_max: usize,
        send: Duration,
        read: Duration,
    ) -> Result<HeadRead, Fault> {
        let Link::Shared(handle) = &self.conn else {
            return Err(Fault::Closed);
        };
        self.inbound
            .read_stream_head(handle, bytes_max, send, read)
            .await
    }

    /// Whether the connection may carry another request: both messages ended properly, nothing is left over and
    /// nobody asked to close.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        let settled = match &self.conn {
            Link::Own(conn) => conn.stream.tx.is_settled(),
            Link::Shared(_) | Link::Gone => true,
        };
        self.request_done && self.inbound.is_clean() && settled
    }
}

impl Inbound {
    /// Forgets the exchange before.
    fn begin(&mut self, asked: Asked, decoder: Decoder) {
        // The pattern makes a forgotten field an error.
        let Self {
            head,
            parser,
            decoder: known,
            asked: wanted,
            input: _,
            at,
            data,
            interim,
            received,
            body_received,
            window,
            ended,
            spoiled,
            excess,
        } = self;
        head.clear();
        parser.reset();
        *known = decoder;
        *wanted = asked;
        (*at, *data, *interim) = (0, (0, 0), 0);
        (*received, *body_received, *window) = (0, 0, None);
        (*ended, *spoiled, *excess) = (false, false, false);
    }

    /// Bytes received on this exchange, head included.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Body bytes received, without framing.
    #[must_use]
    pub fn body_received(&self) -> u64 {
        self.body_received
    }

    /// Reads the next head. After `Interim` call it again. `bytes_max` is `proxy_buffer_size`; each read must bring
    /// something `within` the time.
    pub async fn read_head(
        &mut self,
        rx: &mut RecvHalf,
        bytes_max: usize,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<HeadRead, Fault> {
        loop {
            if let Some(found) = self.look(bytes_max)? {
                return Ok(found);
            }
            rx.news_within(within).await;
            let input = self.room_for_head((bytes_max, bytes_max), buffers);
            let received = rx.recv_within(within, input).await;
            self.take_in_head(received, rx)?;
        }
    }

    /// Looks for the next head in what is here: the first step of [`Inbound::read_head`], for who takes its steps
    /// without a future around them.
    pub fn look(&mut self, bytes_max: usize) -> Result<Option<HeadRead>, Fault> {
        match self.at < self.input.len() {
            true => self.look_for_head(bytes_max),
            false => Ok(None),
        }
    }

    /// The second step: the buffer to receive into, for `at_once` at most.
    pub fn room_for_head(
        &mut self,
        (bytes_max, at_once): (usize, usize),
        buffers: &BufPool,
    ) -> Vec<u8> {
        let room = match self.decoder {
            Decoder::Http(_) => bytes_max.saturating_sub(self.input.len() - self.at).max(1),
            Decoder::FastCgi(_) | Decoder::Http2(_) => bytes_max,
        };
        self.make_room(room.min(at_once), buffers)
    }

    /// The third step: what was received.
    pub fn take_in_head(
        &mut self,
        received: (io::Result<usize>, Vec<u8>),
        rx: &RecvHalf,
    ) -> Result<(), Fault> {
        if self.take_in(received, rx)? {
            return Ok(());
        }
        if matches!(self.decoder, Decoder::FastCgi(_)) {
            self.ends_at_close();
        }
        Err(self.spoil(Fault::Closed))
    }

    /// Looks for a head in what was received.
    fn look_for_head(&mut self, bytes_max: usize) -> Result<Option<HeadRead>, Fault> {
        if matches!(self.decoder, Decoder::FastCgi(_)) {
            return self.look_for_answer(bytes_max);
        }
        let input = &self.input[self.at..];
        match self.parser.parse(input, bytes_max, &mut self.head) {
            Ok(Parsed::Complete(len)) => {
                self.at += len;
                self.parser.reset();
                self.accept_head().map(Some)
            }
            Ok(Parsed::Incomplete) => Ok(None),
            Err(error) => Err(self.spoil(Fault::Head(error))),
        }
    }

    /// The same where the head is in records.
    fn look_for_answer(&mut self, bytes_max: usize) -> Result<Option<HeadRead>, Fault> {
        let Decoder::FastCgi(answer) = &mut self.decoder else {
            return Ok(None);
        };
        match answer.head(&self.input[self.at..], bytes_max, &mut self.head) {
            Ok(HeadStep::Done(len)) => {
                self.at += len;
                if self.asked.head || matches!(self.head.status, 204 | 304) {
                    answer.expect_nothing();
                } else {
                    answer.expect(self.head.content_length);
                }
                Ok(Some(HeadRead::Final))
            }
            Ok(HeadStep::More) => {
                self.at = self.input.len();
                Ok(answer.has_notes().then_some(HeadRead::Notes))
            }
            Err(error) => Err(self.spoil(Fault::FastCgi(error))),
        }
    }

    /// Whether the answer is one of gRPC, whose trailers belong to it.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        matches!(self.asked.wire, Wire::Http2 { grpc: true })
    }

    /// Takes what the application has said on stderr; nothing in HTTP.
    pub fn take_notes(&mut self) -> Option<Notes> {
        match &mut self.decoder {
            Decoder::FastCgi(answer) if answer.has_notes() => Some(answer.take_notes()),
            Decoder::FastCgi(_) | Decoder::Http(_) | Decoder::Http2(_) => None,
        }
    }

    /// Whether body bytes come as they are, without framing between them.
    #[must_use]
    pub fn is_unframed(&self) -> bool {
        matches!(
            self.decoder,
            Decoder::Http(BodyDecoder::Empty | BodyDecoder::Length(_) | BodyDecoder::UntilClose)
        )
    }

    /// How much of the body may come without being looked at, with no byte of it in a buffer of ours; all that comes
    /// where only the connection's end tells.
    #[must_use]
    fn unread(&self) -> u64 {
        if self.window.is_some() || self.at < self.input.len() || self.ended {
            return 0;
        }
        match &self.decoder {
            Decoder::Http(BodyDecoder::Length(body)) => body.remaining(),
            Decoder::Http(BodyDecoder::UntilClose) => u64::MAX,
            _ => 0,
        }
    }

    /// Bytes of the body that have not been received, where that is known.
    #[must_use]
    pub fn to_come(&self) -> Option<u64> {
        let Decoder::Http(BodyDecoder::Length(body)) = &self.decoder else {
            return None;
        };
        Some(
            body.remaining()
                .saturating_sub((self.input.len() - self.at) as u64),
        )
    }

    /// Takes note of bytes of the body that were spliced.
    pub fn count_spliced(&mut self, bytes: u64) {
        if let Decoder::Http(BodyDecoder::Length(body)) = &mut self.decoder {
            body.skip(bytes);
        }
        self.received += bytes;
        self.body_received += bytes;
    }

    /// More was found behind the body than its head announced.
    pub fn note_excess(&mut self) {
        self.excess = true;
        self.spoiled = true;
    }

    /// Whether more came than the response's head announced.
    #[must_use]
    pub fn has_excess(&self) -> bool {
        if self.excess {
            return true;
        }
        match &self.decoder {
            Decoder::Http(_) => self.at < self.input.len() && self.head.status != 101,
            Decoder::FastCgi(answer) => answer.has_excess(),
            Decoder::Http2(_) => false,
        }
    }

    fn accept_head(&mut self) -> Result<HeadRead, Fault> {
        let head = &self.head;
        if head.is_interim() {
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Err(self.spoil(Fault::Unsolicited));
            }
            return Ok(HeadRead::Interim);
        }
        if head.status == 101 && !self.asked.upgrade {
            return Err(self.spoil(Fault::Unsolicited));
        }
        let decoder = if self.asked.head || matches!(head.status, 101 | 204 | 304) {
            BodyDecoder::Empty
        } else if head.chunked {
            BodyDecoder::Chunked(Box::new(ChunkedDecoder::new()))
        } else if let Some(length) = head.content_length {
            BodyDecoder::Length(LengthBody::new(length))
        } else {
            BodyDecoder::UntilClose
        };
        self.decoder = Decoder::Http(decoder);
        Ok(HeadRead::Final)
    }

    /// Length of the body, when the head tells it.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        match &self.decoder {
            Decoder::FastCgi(_) if matches!(self.head.status, 204 | 304) => Some(0),
            Decoder::FastCgi(_) => self.head.content_length,
            Decoder::Http2(_) if self.asked.head => self.head.content_length,
            Decoder::Http2(_) if matches!(self.head.status, 204 | 304) => Some(0),
            Decoder::Http2(stretch) if stretch.bare && stretch.grpc => Some(0),
            Decoder::Http2(_) => self.head.content_length,
            Decoder::Http(BodyDecoder::Empty) if self.asked.head => self.head.content_length,
            Decoder::Http(BodyDecoder::Empty) => Some(0),
            Decoder::Http(BodyDecoder::Length(body)) => Some(body.remaining() + self.body_received),
            Decoder::Http(BodyDecoder::Chunked(_) | BodyDecoder::UntilClose) => None,
        }
    }

    /// Looks for body data in what was received.
    pub fn step(&mut self) -> Result<Step, Fault> {
        if self.ended {
            return Ok(Step::End);
        }
        loop {
            let step = self.next_step();
            if let (Ok(Step::Data), Some(window)) = (&step, self.window)
                && !self.clip(window)
            {
                continue;
            }
            return step;
        }
    }

    /// Whether all of the body is here, at most `bytes_max`, and framed by nothing but its length.
    #[must_use]
    pub fn is_whole(&self, bytes_max: usize) -> bool {
        let Decoder::Http(BodyDecoder::Length(body)) = &self.decoder else {
            return false;
        };
        let here = self.input.len() - self.at;
        here <= bytes_max && body.remaining() <= here as u64 && self.window.is_none()
    }

    /// Passes over a body that [`Inbound::is_whole`], to its end; [`Inbound::data`] is all of it.
    pub fn take_whole(&mut self) {
        if let Decoder::Http(BodyDecoder::Length(body)) = &mut self.decoder {
            let length = body.remaining();
            body.skip(length);
            // All of it is in memory.
            self.data = (self.at, self.at + length as usize);
            self.at = self.data.1;
            self.body_received += length;
            self.ended = true;
        }
    }

    /// Only the bytes of the body from `start` to before `end` are wanted.
    pub fn narrow(&mut self, start: u64, end: u64) {
        self.window = Some((start, end));
    }

    /// Cuts the current piece to the window; false when nothing is left of it.
    fn clip(&mut self, (start, end): (u64, u64)) -> bool {
        let (from, to) = self.data;
        let begin = self.body_received - (to - from) as u64;
        // Both are within the piece, which is in memory.
        let skip = start.saturating_sub(begin).min((to - from) as u64) as usize;
        let keep = end.saturating_sub(begin).min((to - from) as u64) as usize;
        self.data = (from + skip, from + keep.max(skip));
        keep > skip
    }

    fn next_step(&mut self) -> Result<Step, Fault> {
        let input = &self.input[self.at..];
        let step = match &mut self.decoder {
            Decoder::Http(decoder) => decoder.step(input).map_err(Fault::Body),
            Decoder::FastCgi(answer) => answer.step(input).map_err(Fault::FastCgi),
            Decoder::Http2(stretch) => Ok(match input.len() {
                0 if stretch.over => BodyStep::Done(0),
                0 => BodyStep::More,
                to => BodyStep::Data { from: 0, to },
            }),
        };
        match step {
            Ok(BodyStep::Data { from, to }) => {
                self.data = (self.at + from, self.at + to);
                self.at += to;
                self.body_received += (to - from) as u64;
                Ok(Step::Data)
            }
            Ok(BodyStep::More) => {
                self.at = self.input.len();
                Ok(Step::More)
            }
            Ok(BodyStep::Done(len)) => {
                self.at += len;
                self.ended = true;
                Ok(Step::End)
            }
            Err(fault) => Err(self.spoil(fault)),
        }
    }

    /// The piece that the last [`Inbound::step`] found.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.input[self.data.0..self.data.1]
    }

    /// Hands the piece out together with its buffer when nothing else is in that: `(buffer, from)`.
    pub fn take_data(&mut self) -> Option<(Vec<u8>, usize)> {
        let (from, to) = self.data;
        if to != self.input.len() || self.at != to {
            return None;
        }
        self.at = 0;
        self.data = (0, 0);
        Some((std::mem::take(&mut self.input), from))
    }

    /// Receives more of the body; `room` bounds the buffer. False when the origin closed, which ends the body only
    /// where [`Inbound::ends_at_close`] says so.
    pub async fn receive(
        &mut self,
        rx: &mut RecvHalf,
        room: usize,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<bool, Fault> {
        rx.news_within(within).await;
        let input = self.make_room(room, buffers);
        let received = rx.recv_within(within, input).await;
        self.take_in(received, rx)
    }

    /// Hands the buffer out, with room for the next receive; [`Inbound::take_in`] takes it back.
    fn make_room(&mut self, room: usize, buffers: &BufPool) -> Vec<u8> {
        if self.at == self.input.len() {
            self.input.clear();
            self.at = 0;
            self.data = (0, 0);
        }
        let need = self.input.len() + room.min(RECV_BYTES_MAX);
        if self.input.capacity() == 0 {
            self.input = buffers.take(need);
        } else if self.input.capacity() - self.input.len() < room.min(1024) {
            buffers.grow(&mut self.input, need);
        }
        std::mem::take(&mut self.input)
    }

    /// What a receive came to. False when the origin closed.
    fn take_in(
        &mut self,
        (result, input): (io::Result<usize>, Vec<u8>),
        rx: &RecvHalf,
    ) -> Result<bool, Fault> {
        self.input = input;
        match result {
            Ok(0) if rx.cut() => Err(self.spoil(Fault::Cut)),
            Ok(0) => {
                self.spoiled = true;
                Ok(false)
            }
            Ok(n) => {
                self.received += n as u64;
                Ok(true)
            }
            Err(error) => Err(self.spoil(Fault::of(error, rx.cut()))),
        }
    }

    /// Takes more of a body that comes on a stream. True also when that is its end.
    async fn receive_stream(
        &mut self,
        handle: &h2::Handle,
        within: Duration,
    ) -> Result<bool, Fault> {
        // Asked for more only when nothing is left.
        self.input.clear();
        self.at = 0;
        self.data = (0, 0);
        let came = handle.read_body(&mut self.input, within).await;
        let Decoder::Http2(stretch) = &mut self.decoder else {
            return Ok(false);
        };
        match came {
            Ok(h2::Came::Data(n)) => {
                self.received += n as u64;
                Ok(true)
            }
            Ok(h2::Came::End) => {
                stretch.over = true;
                stretch.trailers = handle.take_trailers();
                Ok(true)
            }
            Err(Fault::Closed) => Ok(false),
            Err(fault) => Err(self.spoil(fault)),
        }
    }

    /// Reads the next head of a stream.
    async fn read_stream_head(
        &mut self,
        handle: &h2::Handle,
        bytes_max: usize,
        send: Duration,
        read: Duration,
    ) -> Result<HeadRead, Fault> {
        let bare = match handle.read_head(&mut self.head, send, read).await {
            Ok(bare) => bare,
            Err(fault) => return Err(self.spoil(fault)),
        };
        let wire_len = self.head.wire_len;
        self.received += u64::from(wire_len);
        if wire_len as usize > bytes_max {
            return Err(self.spoil(Fault::Head(ResponseError::TooBig)));
        }
        if self.head.is_interim() {
            return Ok(HeadRead::Interim);
        }
        if let Decoder::Http2(stretch) = &mut self.decoder {
            stretch.bare = bare;
            stretch.over = bare;
        }
        Ok(HeadRead::Final)
    }

    /// The origin closed: whether that is the proper end of this body.
    pub fn ends_at_close(&mut self) -> bool {
        self.ended |= match &mut self.decoder {
            Decoder::Http(decoder) => decoder.at_close(),
            Decoder::FastCgi(answer) => answer.at_close(),
            Decoder::Http2(_) => false,
        };
        self.ended
    }

    /// Whether the body came to its proper end.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Trailer fields of a chunked body that ended.
    #[must_use]
    pub fn trailers(&self) -> Option<&Fields> {
        match &self.decoder {
            Decoder::Http(decoder) => decoder.trailers(),
            Decoder::FastCgi(_) => None,
            Decoder::Http2(stretch) => stretch.trailers.as_deref(),
        }
    }

    /// Bytes behind the response (or, after 101, the tunnel's first bytes).
    #[must_use]
    pub fn surplus(&self) -> &[u8] {
        &self.input[self.at..]
    }

    /// Counts bytes that a tunnel received. As in nginx, they are no body.
    pub fn count_tunnelled(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// Takes the tunnel's first bytes.
    #[must_use]
    pub fn take_surplus(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.input);
        rest.drain(..self.at);
        self.at = 0;
        rest
    }

    /// Whether the response leaves the connection as it was: ended properly, nothing left over, and not asked to
    /// close.
    fn is_clean(&self) -> bool {
        self.ended
            && !self.spoiled
            && self.at == self.input.len()
            && match &self.decoder {
                Decoder::Http(_) => {
                    self.head.status != 101
                        && self.head.wants_keep_alive()
                        && self.head.version >= Version::Http10
                }
                Decoder::FastCgi(answer) => answer.is_reusable(),
                // Its stream is, and no other comes on it.
                Decoder::Http2(_) => false,
            }
    }

    fn spoil(&mut self, fault: Fault) -> Fault {
        self.spoiled = true;
        fault
    }
}
