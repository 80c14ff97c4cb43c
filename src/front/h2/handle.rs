//! An exchange's handle on its HTTP/2 stream: what `front::Stream` asks of every version.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use super::super::stream::{BodyLength, BodyRead, ClientFault, HeadView};
use super::Shared;
use super::half::Together;
use crate::base::buf::BufPool;
use crate::net::deadline::Mark;
use crate::net::runtime;
use crate::net::stream::Line;
use crate::proto::h2::ErrorCode;
use crate::proto::h2::conn::CONNECTION_WINDOW;
use crate::proto::h2::streams::Key;
use crate::proto::head::{Fields, Method, RequestHead};
use crate::proto::tokens::Token;

/// Body bytes of one response that may wait in the machine for windows and for their turn.
const PENDING_MAX: usize = 64 << 10;

/// Window of a stream whose body goes to memory or a file as fast as it comes: as large as the connection's, or a
/// client far away would wait for a round trip every 64 KiB.
const BODY_WINDOW: u32 = CONNECTION_WINDOW;

/// One stream, while its exchange is served.
pub struct Handle {
    pub(super) shared: Rc<Shared>,
    pub(super) key: Key,
    length: BodyLength,
    /// No body follows the head: HEAD, 204, 304.
    head_only: bool,
    method: Method,
    /// An extended CONNECT: 101 opens a tunnel and is told as 200 (RFC 8441 §5).
    connect: bool,
    /// The end of the response was queued.
    pub(super) ended: bool,
    /// `100 Continue` is still owed.
    expects_continue: bool,
    body_done: bool,
    pub(super) received: u64,
    pub(super) sent: u64,
    trailers: Option<Box<Fields>>,
    /// The client was too slow.
    timed_out: bool,
    /// Somebody else reads the body.
    pub(super) half: Option<Rc<Together>>,
}

impl Handle {
    pub(super) fn new(
        shared: Rc<Shared>,
        key: Key,
        head: &RequestHead,
        ended: bool,
        connect: bool,
    ) -> Self {
        let length = match head.content_length {
            // What follows belongs to the tunnel and is no body.
            _ if ended || connect => BodyLength::None,
            Some(length) => BodyLength::Known(length),
            None => BodyLength::Chunked,
        };
        Self {
            shared,
            key,
            length,
            head_only: false,
            method: head.method,
            connect,
            ended: false,
            expects_continue: head.expect_100 && !ended && !connect,
            body_done: ended || connect,
            received: 0,
            sent: 0,
            trailers: None,
            timed_out: false,
            half: None,
        }
    }

    /// The socket under all streams of the connection.
    #[must_use]
    pub fn line(&self) -> Line {
        self.shared.line.clone()
    }

    /// The stream, for somebody who does not own it.
    #[must_use]
    pub fn sight(&self) -> Sight {
        Sight {
            shared: Rc::downgrade(&self.shared),
            key: self.key,
        }
    }

    /// Whether only a tunnel is a success: the client would take any other body for the tunnel's bytes.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        self.connect
    }

    /// `link` is cut when the client takes the stream back.
    pub fn watch(&self, link: Mark) {
        watch(&self.shared, self.key, link);
    }

    /// Ends [`Self::watch`].
    pub fn unwatch(&self) {
        self.shared.mailbox(self.key).watched = None;
    }

    /// See [`super::super::Stream::body_length`].
    #[must_use]
    pub fn body_length(&self) -> BodyLength {
        self.length
    }

    /// Whether the whole request body was read.
    #[must_use]
    pub fn body_done(&self) -> bool {
        self.body_done || self.half.as_ref().is_some_and(|half| half.done.get())
    }

    /// Request body bytes read so far.
    #[must_use]
    pub fn body_received(&self) -> u64 {
        let elsewhere = self.half.as_ref().map_or(0, |half| half.received.get());
        self.received + elsewhere
    }

    /// Trailer fields of a request body that is done.
    #[must_use]
    pub fn body_trailers(&self) -> Option<&Fields> {
        self.trailers.as_deref()
    }

    /// Moves what has come into `out`. `None` when nothing has.
    fn take(
        &mut self,
        out: &mut Vec<u8>,
        buffers: &BufPool,
    ) -> Result<Option<BodyRead>, ClientFault> {
        let read = take(&self.shared, self.key, out, buffers)?;
        if let Some(BodyRead::Data(n)) = read {
            self.received += n as u64;
        }
        if read.is_some() {
            // The end that came with a piece is told with it.
            let mut mailbox = self.shared.mailbox(self.key);
            if mailbox.ended {
                self.trailers = mailbox.trailers.take();
                self.body_done = true;
            }
        }
        Ok(read)
    }

    /// See [`super::super::Stream::read_body`].
    pub async fn read_body(
        &mut self,
        out: &mut Vec<u8>,
        within: Duration,
        buffers: &BufPool,
    ) -> Result<BodyRead, ClientFault> {
        self.send_continue();
        if self.body_done {
            return Ok(BodyRead::End);
        }
        loop {
            if let Some(read) = self.take(out, buffers)? {
                return Ok(read);
            }
            let shared = &self.shared;
            let key = self.key;
            let came = wait(shared, key, within, || {
                let mailbox = shared.mailbox(key);
                !mailbox.data.is_empty() || mailbox.ended || mailbox.fault.is_some()
            })
            .await;
            if !came {
                self.timed_out = true;
                return Err(ClientFault::TimedOut);
            }
        }
    }

    /// See [`super::super::Stream::take_ready_body`].
    pub fn take_ready_body(
        &mut self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        buffers: &BufPool,
    ) -> Result<bool, ClientFault> {
        while !self.body_done && out.len() < bytes_max {
            if self.take(out, buffers)?.is_none() {
                break;
            }
        }
        Ok(self.body_done)
    }

    /// Whether `Expect: 100-continue` waits for its answer.
    #[must_use]
    pub fn owes_continue(&self) -> bool {
        self.expects_continue
    }

    /// Answers a pending `Expect: 100-continue`.
    pub fn send_continue(&mut self) {
        if std::mem::take(&mut self.expects_continue) && !self.body_done && self.received == 0 {
            let mut machine = self.shared.machine.borrow_mut();
            machine.begin_block();
            machine.put_status(100);
            machine.end_block(self.key, false);
            drop(machine);
            self.shared.news.notify();
        }
    }

    /// The body will be read whole, as fast as it comes.
    pub fn expect_all(&self) {
        let mut machine = self.shared.machine.borrow_mut();
        machine.widen(self.key, BODY_WINDOW);
        if machine.wants_write() {
            drop(machine);
            self.shared.news.notify();
        }
    }

    /// `http2_chunk_size`: the largest frame of the response's body.
    pub fn set_chunk(&self, bytes: u32) {
        self.shared.machine.borrow_mut().set_turn(self.key, bytes);
    }

    /// See [`super::super::Stream::queue_head`]. The order of fields is nginx's.
    pub fn queue_head(&mut self, head: &HeadView<'_>) {
        self.head_only = self.method == Method::Head || matches!(head.status, 204 | 304);
        let opens = self.connect && head.status == 101;
        let empty = head.content_length == Some(0) && !head.trailers && !opens;
        let status = match head.status {
            101 if opens => 200,
            // Whoever made this an answer knew no better; a tunnel it is not.
            200..=299 if self.connect => 502,
            status => status,
        };
        let mut machine = self.shared.machine.borrow_mut();
        machine.begin_block();
        machine.put_status(status);
        for (token, value) in [
            (Token::SERVER, head.server),
            (Token::DATE, head.date),
            (Token::CONTENT_TYPE, head.content_type),
        ] {
            if !value.is_empty() {
                machine.put_field(token, token.name().as_bytes(), value);
            }
        }
        if let Some(length) = head.content_length
            && head.status != 204
            && !opens
        {
            let mut digits = itoa::Buffer::new();
            let token = Token::CONTENT_LENGTH;
            machine.put_field(
                token,
                token.name().as_bytes(),
                digits.format(length).as_bytes(),
            );
        }
        for (token, value) in [
            (Token::LAST_MODIFIED, head.last_modified),
            (Token::LOCATION, head.location),
        ] {
            if !value.is_empty() {
                machine.put_field(token, token.name().as_bytes(), value);
            }
        }
        for field in head.fields.iter() {
            // The answer to a key that the client did not send (RFC 8441 §5).
            if self.connect && field.token == Token::SEC_WEBSOCKET_ACCEPT {
                continue;
            }
            machine.put_field(field.token, field.name, field.value);
        }
        self.ended = self.head_only || empty;
        self.sent += machine.end_block(self.key, self.ended) as u64;
        drop(machine);
        // A body may be long in coming.
        self.shared.news.notify();
    }

    /// See [`super::super::Stream::queue_interim`].
    pub fn queue_interim(&mut self, status: u16, fields: &Fields) {
        let mut machine = self.shared.machine.borrow_mut();
        machine.begin_block();
        machine.put_status(status);
        for field in fields.iter() {
            machine.put_field(field.token, field.name, field.value);
        }
        self.sent += machine.end_block(self.key, false) as u64;
    }

    /// See [`super::super::Stream::queue`].
    pub fn queue(&mut self, data: &[u8]) {
        if data.is_empty() || self.ended {
            return;
        }
        self.sent += data.len() as u64;
        self.shared.machine.borrow_mut().send(self.key, data);
    }

    /// Bytes queued and not yet sent.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.machine.borrow().pending(self.key)
    }

    /// Lets the connection send; waits only while more stands here than windows and turns let through.
    pub async fn flush(&mut self, within: Duration) -> Result<(), ClientFault> {
        self.shared.news.notify();
        loop {
            if let Some(fault) = self.shared.mailbox(self.key).fault {
                return Err(fault);
            }
            let before = self.queued();
            if before == 0 || (before <= PENDING_MAX && self.goes_at_once(before)) {
                return Ok(());
            }
            let (shared, key) = (&self.shared, self.key);
            let moved = wait(shared, key, within, || {
                shared.mailbox(key).fault.is_some() || shared.machine.borrow().pending(key) < before
            })
            .await;
            if !moved {
                self.timed_out = true;
                return Err(ClientFault::TimedOut);
            }
        }
    }

    /// Whether what stands here needs nothing but the connection's next turn.
    fn goes_at_once(&self, bytes: usize) -> bool {
        self.shared.machine.borrow().has_window(self.key, bytes)
    }

    /// Lets the connection send. False when the client does not keep up.
    pub fn try_flush(&mut self) -> Result<bool, ClientFault> {
        if let Some(fault) = self.shared.mailbox(self.key).fault {
            return Err(fault);
        }
        self.shared.news.notify();
        Ok(self.queued() <= PENDING_MAX)
    }

    /// See [`super::super::Stream::queue_end`].
    pub fn queue_end(&mut self, trailers: &Fields) {
        if !std::mem::replace(&mut self.ended, true) {
            self.shared
                .machine
                .borrow_mut()
                .finish(self.key, Some(trailers));
        }
    }

    /// Whether this response has a body at all.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        !self.head_only
    }

    /// Bytes of this response, head included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Waits so long, unless the client takes the stream back.
    pub async fn rest(&self, time: Duration) -> Result<(), ClientFault> {
        let (shared, key) = (&self.shared, self.key);
        wait(shared, key, time, || shared.mailbox(key).fault.is_some()).await;
        match shared.mailbox(key).fault {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// The request broke a rule: its answer goes out, then the stream is reset (RFC 9113 §8.1.1).
    pub fn refuse(&mut self) {
        self.shared.machine.borrow_mut().refuse(self.key);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let shared = &self.shared;
        if let Some(half) = &self.half {
            half.over.set(true);
        }
        // What nginx says of a client that was too slow, and of anything else.
        let late = self.timed_out || self.half.as_ref().is_some_and(|half| half.late.get());
        let code = if late {
            ErrorCode::Protocol
        } else {
            ErrorCode::Internal
        };
        shared.machine.borrow_mut().release(self.key, code);
        let mut mailbox = shared.mailbox(self.key);
        mailbox.dismiss();
        *mailbox = super::Mailbox::default();
        drop(mailbox);
        shared.active.set(shared.active.get().saturating_sub(1));
        shared.news.notify();
    }
}

/// A stream that somebody else owns, as [`Line`] is a socket.
#[derive(Clone)]
pub struct Sight {
    shared: Weak<Shared>,
    key: Key,
}

impl Sight {
    /// See [`Handle::watch`]. Only while the stream's owner lives.
    pub fn watch(&self, link: Mark) {
        if let Some(shared) = self.shared.upgrade() {
            watch(&shared, self.key, link);
        }
    }

    /// See [`Handle::unwatch`].
    pub fn unwatch(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.mailbox(self.key).watched = None;
        }
    }

    /// The socket under it.
    #[must_use]
    pub fn line(&self) -> Line {
        let shared = self.shared.upgrade();
        shared.map_or_else(Line::default, |shared| shared.line.clone())
    }
}

fn watch(shared: &Shared, key: Key, link: Mark) {
    let link = shared.line.link(link);
    let mut mailbox = shared.mailbox(key);
    match link {
        Some(link) if mailbox.fault.is_some() => link.cut(),
        link => mailbox.watched = link,
    }
}

/// Moves what has come for a stream into `out`, and renews its windows. `None` when nothing has.
pub(super) fn take(
    shared: &Shared,
    key: Key,
    out: &mut Vec<u8>,
    buffers: &BufPool,
) -> Result<Option<BodyRead>, ClientFault> {
    let mut mailbox = shared.mailbox(key);
    let n = mailbox.data.len();
    if n > 0 {
        let data = std::mem::take(&mut mailbox.data);
        drop(mailbox);
        if out.capacity() == 0 {
            *out = data;
        } else {
            out.extend_from_slice(&data);
            buffers.give(data);
        }
        let mut machine = shared.machine.borrow_mut();
        machine.consumed(key, n);
        if machine.wants_write() {
            drop(machine);
            shared.news.notify();
        }
        return Ok(Some(BodyRead::Data(n)));
    }
    match mailbox.fault {
        _ if mailbox.ended => Ok(Some(BodyRead::End)),
        Some(fault) => Err(fault),
        None => Ok(None),
    }
}

/// Waits until the stream's mailbox is touched and `done` holds; false when the time is over.
pub(super) async fn wait(
    shared: &Shared,
    key: Key,
    within: Duration,
    mut done: impl FnMut() -> bool,
) -> bool {
    let mut timer = pin!(runtime::sleep(within));
    poll_fn(|cx| {
        if done() {
            return Poll::Ready(true);
        }
        if timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        shared.mailbox(key).waker = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}
