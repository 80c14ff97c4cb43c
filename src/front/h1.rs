//! The HTTP/1 side of one client connection: heads in, bodies in, framed responses out, and what happens between
//! two requests.
//!
//! Drives `proto::h1`'s codecs over a socket and decides nothing that a codec can decide. A connection that waits
//! for its next request holds no buffer. Start at [`Conn::read_head`].

mod send;
mod splice;

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::stream::{BodyLength, BodyRead, ClientFault, HeadView};
use super::{ConnInfo, Refusal};
use crate::base::buf::BufPool;
use crate::net::Stream as Socket;
use crate::net::stream::{How, Idle};
use crate::proto::h1::body::{BodyDecoder, BodyStep, ChunkedDecoder, LengthBody};
use crate::proto::h1::encode;
use crate::proto::h1::parse::{
    HeadLimits, Parsed, Preface, RequestError, RequestParser, h2_preface,
};
use crate::proto::head::Method;
use crate::proto::head::{Fields, RequestHead, Version};
use crate::proto::tokens::Token;

/// First buffer of an output queue: a usual response head with a small body.
const OUT_BYTES: usize = 4 << 10;

/// Body pieces up to this size are copied behind what is queued: cheaper than one more send.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Room for one receive of a request body of known length.
const BODY_DIRECT_BYTES: usize = 64 << 10;

/// Room for one receive of a request body.
const BODY_RECV_BYTES: usize = 16 << 10;

/// How the response body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// As it is: by length, or until the connection closes.
    Plain,
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// No body follows: HEAD, 1xx, 204, 304.
    HeadOnly,
}

/// One HTTP/1 client connection.
pub struct Conn {
    socket: Socket,
    /// Facts that variables and logs ask for.
    pub info: Rc<ConnInfo>,
    parser: RequestParser,
    decoder: BodyDecoder,
    /// Bytes received; those before `at` are consumed. Without capacity while idle.
    input: Vec<u8>,
    at: usize,
    /// Bytes to send. Without capacity while idle.
    out: Vec<u8>,
    framing: Framing,
    version: Version,
    method: Method,
    /// The client asked for keep-alive and nothing has spoken against it yet.
    keep_alive: bool,
    /// `100 Continue` is still owed.
    expects_continue: bool,
    /// The last chunk's CR LF is still owed.
    chunk_open: bool,
    /// A body framing error was seen: nothing on this connection can be trusted any more.
    broken: bool,
    body_done: bool,
    sent: u64,
    body_received: u64,
}

/// What waiting for a request brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A head, complete and valid.
    Request,
    /// Something that gets an error answer or only a log line.
    Refused(Refusal),
    /// The connection ended between requests.
    Closed,
}

/// How a wait for a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Its first byte is here.
    Ready,
    /// The connection is over.
    Over,
    /// It lasts; the connection is as it was.
    Long,
}

impl Waited {
    /// Reads the result of [`Conn::wait`] and [`Conn::wait_on`].
    #[must_use]
    pub fn of(idle: &io::Result<Idle>) -> Self {
        match idle {
            Ok(Idle::Ready) => Self::Ready,
            Ok(Idle::Long) => Self::Long,
            Ok(Idle::Expired | Idle::Drained) | Err(_) => Self::Over,
        }
    }
}

/// How a connection ends its exchange.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// `lingering_close`: read on before closing when the client may still be sending.
    pub linger: bool,
    /// `lingering_close always`.
    pub linger_always: bool,
    /// `lingering_time`.
    pub linger_time: Duration,
    /// `lingering_timeout`.
    pub linger_timeout: Duration,
    /// `reset_timedout_connection` applies: close by reset.
    pub reset: bool,
}

impl Conn {
    /// Takes over an accepted socket; `input` holds bytes that were read ahead, behind a PROXY protocol header.
    #[must_use]
    pub fn new(socket: Socket, info: Rc<ConnInfo>, input: Vec<u8>, at: usize) -> Self {
        Self {
            socket,
            info,
            parser: RequestParser::new(),
            decoder: BodyDecoder::Empty,
            input,
            at,
            out: Vec::new(),
            framing: Framing::Plain,
            version: Version::Http11,
            method: Method::Get,
            keep_alive: false,
            expects_continue: false,
            chunk_open: false,
            broken: false,
            body_done: true,
            sent: 0,
            body_received: 0,
        }
    }

    /// The socket, for options, tunnels and facts.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The socket's halves, for a tunnel.
    pub fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Bytes received and not consumed: what a tunnel sends first.
    #[must_use]
    pub fn take_unread(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.input);
        rest.drain(..self.at);
        self.at = 0;
        rest
    }

    /// Whether the client speaks HTTP/2, as its first bytes tell (RFC 9113 §3.3); none when it sends nothing in time.
    pub async fn speaks_h2(&mut self, within: Duration, buffers: &BufPool) -> Option<bool> {
        loop {
            match h2_preface(&self.input[self.at..]) {
                Preface::Yes => return Some(true),
                Preface::No => return Some(false),
                Preface::Partial => {}
            }
            if self.input.capacity() == 0 {
                match self.socket.rx.wait_idle(Some(within)).await {
                    Ok(Idle::Ready) => self.input = buffers.take(OUT_BYTES),
                    _ => return None,
                }
            }
            let (result, input) = self
                .socket
                .rx
                .recv_within(within, std::mem::take(&mut self.input))
                .await;
            self.input = input;
            if !matches!(result, Ok(n) if n > 0) {
                return None;
            }
        }
    }

    /// The socket, and what was read ahead from an offset on: for another protocol.
    #[must_use]
    pub fn into_parts(self) -> (Socket, Vec<u8>, usize) {
        (self.socket, self.input, self.at)
    }

    /// Whether bytes of the next request are here already.
    pub fn has_unread(&self) -> bool {
        let unread = self.at < self.input.len();
        // Only bytes that were here before the wait, behind another request, are pipelined.
        self.info
            .pipelined
            .set(unread && self.info.requests.get() > 0);
        unread
    }

    /// Waits for the first byte of the next request, `within` at most. Holds no buffer while it waits. A wait that lasts
    /// longer than `patience` ends with [`Waited::Long`], to be continued from a smaller task. [`Waited::of`] reads the
    /// result.
    pub fn wait(
        &mut self,
        within: Duration,
        patience: Duration,
    ) -> impl Future<Output = io::Result<Idle>> + use<'_> {
        self.socket
            .rx
            .wait_idle_patiently(Some(within), Some(patience))
    }

    /// As [`Conn::wait`], for a connection that has waited long already. Adds
    /// nothing to the future, which is most of what an idle connection costs.
    pub fn wait_on(
        &mut self,
        within: Duration,
    ) -> impl Future<Output = io::Result<Idle>> + use<'_> {
        self.socket.rx.wait_idle(Some(within))
    }

    /// Looks for the next head in what is here already, with no wait. None when it has not come as a whole:
    /// [`Conn::read_head`] goes on.
    pub fn look_for_head(
        &mut self,
        head: &mut RequestHead,
        limits: &HeadLimits,
        buffers: &BufPool,
    ) -> Option<Decoded> {
        self.begin();
        self.socket.rx.begin();
        if self.at < self.input.len()
            && let Some(decoded) = self.parse_head(head, limits)
        {
            return Some(decoded);
        }
        if !self.socket.rx.is_ready() {
            return None;
        }
        self.make_room(limits, buffers);
        match self.socket.rx.try_recv(&mut self.input) {
            Ok(None) => None,
            Ok(Some(1..)) => self.parse_head(head, limits),
            Ok(Some(0)) | Err(_) => Some(self.ended_in_head(head)),
        }
    }

    /// Reads the rest of a head that [`Conn::look_for_head`] did not find as a whole, `within` in all. Pipelined bytes
    /// behind it stay for the body and the next request.
    pub async fn read_head(
        &mut self,
        head: &mut RequestHead,
        limits: &HeadLimits,
        within: Duration,
        buffers: &BufPool,
    ) -> Decoded {
        self.socket.rx.arm(within);
        loop {
            self.make_room(limits, buffers);
            let (result, input) = self.socket.rx.recv(std::mem::take(&mut self.input)).await;
            self.input = input;
            if !matches!(result, Ok(n) if n > 0) {
                return self.ended_in_head(head);
            }
            if let Some(decoded) = self.parse_head(head, limits) {
                self.socket.rx.disarm();
                return decoded;
            }
        }
    }

    /// Parses what has come of a head. None when it goes on.
    fn parse_head(&mut self, head: &mut RequestHead, limits: &HeadLimits) -> Option<Decoded> {
        match self.parser.parse(&self.input[self.at..], limits, head) {
            Ok(Parsed::Complete(len)) => {
                self.at += len;
                self.accept_head(head);
                Some(Decoded::Request)
            }
            Ok(Parsed::Incomplete) => None,
            Err(error) => {
                self.version = head.version;
                self.method = head.method;
                self.broken = true;
                Some(Decoded::Refused(Refusal::Bad(error)))
            }
        }
    }

    /// Appends what the log says of a head that broke a rule, with the line that did.
    pub fn describe(&self, error: RequestError, head: &RequestHead, out: &mut Vec<u8>) {
        self.parser.describe(error, head, out);
    }

    /// Forgets the previous request.
    fn begin(&mut self) {
        self.parser.reset();
        self.decoder = BodyDecoder::Empty;
        self.framing = Framing::Plain;
        self.keep_alive = false;
        self.expects_continue = false;
        self.chunk_open = false;
        self.body_done = true;
        self.sent = 0;
        self.body_received = 0;
        self.info.requests.set(self.info.requests.get() + 1);
    }

    fn accept_head(&mut self, head: &RequestHead) {
        self.version = head.version;
        self.method = head.method;
        self.keep_alive = head.wants_keep_alive();
        self.expects_continue = head.expect_100 && head.version >= Version::Http11;
        self.decoder = if head.chunked {
            BodyDecoder::Chunked(Box::new(ChunkedDecoder::new()))
        } else {
            match head.content_length {
                Some(n) if n > 0 => BodyDecoder::Length(LengthBody::new(n)),
                _ => BodyDecoder::Empty,
            }
        };
        self.body_done = self.decoder.is_done();
    }

    /// Room for the rest of a head: the first buffer as configured, then as large as a head may become.
    fn make_room(&mut self, limits: &HeadLimits, buffers: &BufPool) {
        self.compact();
        let unread = self.input.len() - self.at;
        if self.input.capacity() == 0 {
            self.input = buffers.take(limits.first_buffer);
        } else if unread + 256 > self.input.capacity() {
            let room = (unread * 2).clamp(limits.large_size, limits.bytes_max() + 1);
            buffers.grow(&mut self.input, room.max(unread + 1));
        }
    }

    fn compact(&mut self) {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
    }

    fn ended_in_head(&mut self, head: &mut RequestHead) -> Decoded {
        self.broken = true;
        self.parser.give_up(&self.input[self.at..], head);
        if !self.parser.started() {
            Decoded::Closed
        } else if self.socket.expired().is_some() {
            Decoded::Refused(Refusal::TimedOut)
        } else {
            Decoded::Refused(Refusal::Aborted)
        }
    }

    /// What is known of the request body.
    #[must_use]
    pub fn body_length(&self) -> BodyLength {
        match &self.decoder {
            BodyDecoder::Length(body) => BodyLength::Known(body.remaining() + self.body_received),
            BodyDecoder::Chunked(_) => BodyLength::Chunked,
            BodyDecoder::Empty | BodyDecoder::UntilClose => BodyLength::None,
        }
    }

    /// Whether the request body was read to its end.
    #[must_use]
    pub fn body_done(&self) -> bool {
        self.body_done
    }

    /// Request body bytes read so far, without framing.
    #[must_use]
    pub fn body_received(&self) -> u64 {
        self.body_received
    }

    /// See [`super::Stream::read_body`].
    pub async fn read_body(
        &mut self,
        out: &mut Vec<u8>,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<BodyRead, ClientFault> {
        self.send_continue(within, buffers).await?;
        if self.body_done {
            return Ok(BodyRead::End);
        }
        loop {
            if let Some(read) = self.step_body(out)? {
                return Ok(read);
            }
            match &self.decoder {
                BodyDecoder::Length(body) => {
                    let rest = body.remaining();
                    return self.receive_into(out, rest, within, buffers).await;
                }
                _ => self.receive_body(within, buffers).await?,
            }
        }
    }

    /// See [`super::Stream::take_ready_body`].
    pub fn take_ready_body(
        &mut self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        buffers: &BufPool,
    ) -> Result<bool, ClientFault> {
        while !self.body_done && out.len() < bytes_max {
            if self.step_body(out)?.is_some() {
                continue;
            }
            let received = match &self.decoder {
                BodyDecoder::Length(body) => {
                    let before = out.len();
                    // As much at once as where the end has to be looked for.
                    let rest = body.remaining().min(BODY_RECV_BYTES as u64);
                    grow_for_body(out, rest, buffers);
                    let received = self.socket.rx.try_recv(out);
                    if let Ok(Some(1..)) = received {
                        self.take_in(out, before, buffers);
                    }
                    received
                }
                _ => {
                    self.room_for_body(buffers);
                    self.socket.rx.try_recv(&mut self.input)
                }
            };
            match received {
                // An end is found, and told, by whoever waits for more.
                Ok(None | Some(0)) => break,
                Ok(Some(_)) => {}
                Err(error) => return Err(self.fault(&error)),
            }
        }
        Ok(self.body_done)
    }

    /// See [`super::Stream::take_here`].
    pub fn take_here(&mut self, out: &mut Vec<u8>) -> Result<(), ClientFault> {
        if !self.body_done {
            self.step_body(out)?;
        }
        Ok(())
    }

    fn room_for_body(&mut self, buffers: &BufPool) {
        self.compact();
        if self.input.capacity() == 0 {
            self.input = buffers.take(BODY_RECV_BYTES);
        } else {
            // The buffer that a head came in is small.
            buffers.grow(&mut self.input, BODY_RECV_BYTES);
        }
    }

    /// Moves what is already here into `out`. `None` asks for more bytes.
    fn step_body(&mut self, out: &mut Vec<u8>) -> Result<Option<BodyRead>, ClientFault> {
        let before = out.len();
        loop {
            match self.decoder.step(&self.input[self.at..]) {
                Ok(BodyStep::Data { from, to }) => {
                    out.extend_from_slice(&self.input[self.at + from..self.at + to]);
                    self.at += to;
                }
                Ok(BodyStep::Done(len)) => {
                    self.at += len;
                    self.body_done = true;
                    break;
                }
                Ok(BodyStep::More) => {
                    self.at = self.input.len();
                    break;
                }
                Err(error) => {
                    self.broken = true;
                    return Err(ClientFault::Framing(error));
                }
            }
        }
        let read = out.len() - before;
        self.body_received += read as u64;
        Ok(match read {
            0 if self.body_done => Some(BodyRead::End),
            0 => None,
            n => Some(BodyRead::Data(n)),
        })
    }

    /// Receives a body of known length where it is wanted, without a buffer between. What came behind its end is the
    /// next request's.
    async fn receive_into(
        &mut self,
        out: &mut Vec<u8>,
        rest: u64,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<BodyRead, ClientFault> {
        self.socket.rx.news_within(within).await;
        let before = out.len();
        grow_for_body(out, rest, buffers);
        let (result, back) = self
            .socket
            .rx
            .recv_within(within, std::mem::take(out))
            .await;
        *out = back;
        match result {
            Ok(0) => Err(self.receive_fault()),
            Ok(_) => Ok(BodyRead::Data(self.take_in(out, before, buffers))),
            Err(error) => Err(self.fault(&error)),
        }
    }

    /// Books what was received of a body of known length, behind what `out` had before, and tells how much that is.
    fn take_in(&mut self, out: &mut Vec<u8>, before: usize, buffers: &BufPool) -> usize {
        if let Ok(BodyStep::Data { to, .. }) = self.decoder.step(&out[before..]) {
            let surplus = &out[before + to..];
            if !surplus.is_empty() {
                self.give_input(buffers);
                self.input = buffers.take(surplus.len());
                self.input.extend_from_slice(surplus);
                out.truncate(before + to);
            }
        }
        self.body_done = self.decoder.is_done();
        let read = out.len() - before;
        self.body_received += read as u64;
        read
    }

    /// Receives more of the body.
    async fn receive_body(
        &mut self,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<(), ClientFault> {
        self.socket.rx.news_within(within).await;
        self.room_for_body(buffers);
        let (result, input) = self
            .socket
            .rx
            .recv_within(within, std::mem::take(&mut self.input))
            .await;
        self.input = input;
        match result {
            Ok(0) => Err(self.receive_fault()),
            Ok(_) => Ok(()),
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn receive_fault(&mut self) -> ClientFault {
        self.broken = true;
        if self.socket.expired().is_some() {
            ClientFault::TimedOut
        } else {
            ClientFault::Gone
        }
    }

    /// What an error of the socket means, which nothing can be sent or read after.
    pub fn fault(&mut self, error: &io::Error) -> ClientFault {
        self.broken = true;
        if error.kind() == io::ErrorKind::TimedOut || self.socket.expired().is_some() {
            ClientFault::TimedOut
        } else {
            ClientFault::Gone
        }
    }

    /// See [`super::Stream::owes_continue`].
    #[must_use]
    pub fn owes_continue(&self) -> bool {
        self.expects_continue
    }

    /// RFC 9110 10.1.1: the interim answer precedes the first read of the body.
    pub async fn send_continue(
        &mut self,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<(), ClientFault> {
        if !std::mem::take(&mut self.expects_continue) {
            return Ok(());
        }
        self.room(0, buffers);
        self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.flush(within, buffers).await
    }

    /// Trailer fields of a chunked request body.
    #[must_use]
    pub fn body_trailers(&self) -> Option<&Fields> {
        self.decoder.trailers()
    }

    fn room(&mut self, more: usize, buffers: &BufPool) {
        if self.out.capacity() == 0 {
            self.out = buffers.take(OUT_BYTES.max(more));
        } else {
            let need = self.out.len() + more;
            buffers.grow(&mut self.out, need);
        }
    }

    /// See [`super::Stream::queue_head`]. The order of lines is nginx's.
    pub fn queue_head(&mut self, head: &HeadView<'_>, buffers: &BufPool) {
        self.fix_framing(head);
        if self.version < Version::Http10 {
            return;
        }
        self.room(
            512 + head.fields.buf().len() + 4 * head.fields.len(),
            buffers,
        );
        let out = &mut self.out;
        if head.status_line.is_empty() {
            encode::status_line(out, head.status);
        } else {
            encode::status_line_with(out, head.status_line);
        }
        encode::line(out, b"Server: ", head.server);
        encode::line(out, b"Date: ", head.date);
        encode::line(out, b"Content-Type: ", head.content_type);
        if let (Some(length), false) = (head.content_length, self.framing == Framing::Chunked)
            && head.status != 204
            && head.status >= 200
        {
            encode::field_number(out, Token::CONTENT_LENGTH, length);
        }
        encode::line(out, b"Last-Modified: ", head.last_modified);
        encode::line(out, b"Location: ", head.location);
        if self.framing == Framing::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if head.status == 101 {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        } else if self.keep_alive {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
            if head.keepalive_header > 0 {
                out.extend_from_slice(b"Keep-Alive: timeout=");
                out.extend_from_slice(itoa::Buffer::new().format(head.keepalive_header).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        } else {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        encode::fields(out, head.fields, |_| true);
        out.extend_from_slice(b"\r\n");
    }

    /// nginx's chunked filter: which framing the body gets, and whether the connection survives it.
    fn fix_framing(&mut self, head: &HeadView<'_>) {
        let head_only = self.method == Method::Head || matches!(head.status, 100..=199 | 204 | 304);
        if head.status == 101 {
            self.framing = Framing::Plain;
        } else if head_only {
            self.framing = Framing::HeadOnly;
        } else if head.content_length.is_some()
            && !(head.trailers && self.version >= Version::Http11)
        {
            self.framing = Framing::Plain;
        } else if self.version >= Version::Http11 && head.chunked_allowed {
            self.framing = Framing::Chunked;
        } else {
            self.framing = Framing::Plain;
            if head.content_length.is_none() {
                self.keep_alive = false;
            }
        }
    }

    /// See [`super::Stream::queue_interim`].
    pub fn queue_interim(&mut self, status: u16, fields: &Fields, buffers: &BufPool) {
        if self.version < Version::Http11 {
            return;
        }
        self.room(128 + fields.buf().len() + 4 * fields.len(), buffers);
        encode::status_line(&mut self.out, status);
        for field in fields.iter() {
            encode::field(&mut self.out, field.name, field.value);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// See [`super::Stream::queue`].
    pub fn queue(&mut self, data: &[u8], buffers: &BufPool) {
        if data.is_empty() || self.framing == Framing::HeadOnly {
            return;
        }
        self.room(data.len() + 32, buffers);
        self.open_chunk(data.len());
        self.out.extend_from_slice(data);
    }

    fn open_chunk(&mut self, len: usize) {
        if self.framing == Framing::Chunked {
            if self.chunk_open {
                self.out.extend_from_slice(b"\r\n");
            }
            encode::chunk_head(&mut self.out, len);
            self.chunk_open = true;
        }
    }

    /// Bytes queued and not yet sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.out.len()
    }

    /// See [`super::Stream::queue_end`].
    pub fn queue_end(&mut self, trailers: &Fields, buffers: &BufPool) {
        if self.framing != Framing::Chunked {
            return;
        }
        self.room(64 + trailers.buf().len() + 4 * trailers.len(), buffers);
        if std::mem::take(&mut self.chunk_open) {
            self.out.extend_from_slice(b"\r\n");
        }
        self.out.extend_from_slice(b"0\r\n");
        for field in trailers.iter() {
            encode::field(&mut self.out, field.name, field.value);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// Whether this response has a body at all.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        self.framing != Framing::HeadOnly
    }

    /// Whether the body is framed in chunks.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.framing == Framing::Chunked
    }

    /// Bytes sent for this exchange.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Counts bytes that a tunnel sent.
    pub fn count_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The connection ends after this exchange.
    pub fn set_close(&mut self) {
        self.keep_alive = false;
    }

    /// Whether another request may follow.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive && !self.broken
    }

    /// Ends an exchange after which nothing keeps the connection from the next request. False when there is more to
    /// it: [`Conn::finish`] does that.
    pub fn go_on(&mut self, buffers: &BufPool) -> bool {
        self.give_out(buffers);
        let clean = self.keeps_alive() && self.body_done;
        if clean && !self.has_unread() {
            self.give_input(buffers);
        }
        clean
    }

    /// Ends an exchange: reads what is left of the request, or closes as nginx does. True when another request may
    /// follow on this connection.
    pub async fn finish(&mut self, ending: &Ending, buffers: &BufPool) -> bool {
        if self.keeps_alive() && !self.body_done {
            self.discard_body(ending, buffers).await;
        }
        if self.go_on(buffers) {
            return true;
        }
        if ending.reset {
            // A socket that cannot be reset is about to be closed anyway.
            let _ = self.socket.set_reset_on_close();
        } else if ending.linger_always || (ending.linger && self.may_still_send()) {
            self.linger(ending, buffers).await;
        }
        self.give_input(buffers);
        false
    }

    /// Closing now could reset the connection before the client has read the answer.
    fn may_still_send(&self) -> bool {
        self.socket.expired().is_none()
            && (!self.body_done
                || self.broken
                || self.at < self.input.len()
                || self.info.pipelined.get()
                // The client's last word of the handshake is on its way.
                || self.socket.tls().is_some_and(|facts| facts.early.get()))
    }

    /// Reads the rest of an unwanted request body, within the time for lingering.
    async fn discard_body(&mut self, ending: &Ending, buffers: &BufPool) {
        let mut sink = buffers.take(BODY_RECV_BYTES);
        let mut left = ending.linger_time;
        self.expects_continue = false;
        while !self.body_done && !left.is_zero() {
            let before = self.socket.deadlines().now();
            sink.clear();
            if self
                .read_body(&mut sink, ending.linger_timeout.min(left), buffers)
                .await
                .is_err()
            {
                break;
            }
            left = left.saturating_sub(self.socket.deadlines().now().since(before));
        }
        buffers.give(sink);
    }

    /// Sends the FIN and throws away what still comes, so that the kernel does not reset the connection while the
    /// client reads the answer.
    async fn linger(&mut self, ending: &Ending, buffers: &BufPool) {
        if self.socket.shutdown(How::Write).is_err() {
            return;
        }
        if self.input.capacity() == 0 {
            self.input = buffers.take(BODY_RECV_BYTES);
        }
        let mut left = ending.linger_time;
        while !left.is_zero() {
            let before = self.socket.deadlines().now();
            self.input.clear();
            self.at = 0;
            let within = ending.linger_timeout.min(left);
            let (result, input) = self
                .socket
                .rx
                .recv_within(within, std::mem::take(&mut self.input))
                .await;
            self.input = input;
            if !matches!(result, Ok(n) if n > 0) {
                break;
            }
            left = left.saturating_sub(self.socket.deadlines().now().since(before));
        }
    }

    fn give_out(&mut self, buffers: &BufPool) {
        if self.out.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.out));
        }
    }

    fn give_input(&mut self, buffers: &BufPool) {
        self.at = 0;
        if self.input.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.input));
        }
    }
}

/// Room for what is left of a body of known length, and a byte more: a receive that leaves room free has taken all that was
/// there, so that what comes next is news.
fn grow_for_body(out: &mut Vec<u8>, rest: u64, buffers: &BufPool) {
    let room = usize::try_from(rest)
        .unwrap_or(usize::MAX)
        .saturating_add(1)
        .min(BODY_DIRECT_BYTES);
    buffers.grow(out, out.len() + room);
}
