//! An exchange's handle on its stream of an HTTP/2 connection to an origin: request out, response in.
//!
//! Everything takes `&self`: the machine and what has come are shared with the connection's task, and no borrow is held
//! while waiting. A [`Sink`] is the sending side alone, for a body that goes on while the answer is relayed.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::super::origin::Fault;
use super::shelf::Shelf;
use super::{End, Life, Mailbox, Shared, StreamKey};
use crate::net::deadline::{Deadlines, Mark, Port, PortEvent};
use crate::proto::h2::ErrorCode;
use crate::proto::h2::conn::Machine;
use crate::proto::head::{Fields, ResponseHead};
use crate::proto::tokens::Token;

/// Body bytes of one request that may wait in the machine for windows and for their turn.
const PENDING_MAX: usize = 64 << 10;

/// What a look at the body brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// So many bytes are in the buffer.
    Data(usize),
    /// The body is over, properly.
    End,
}

/// Whether a stream is still its user's; shared with the sink.
#[derive(Debug, Default)]
struct Use {
    over: Cell<bool>,
    /// Body bytes that were queued.
    queued: Cell<u64>,
    /// The request was queued to its end.
    done: Cell<bool>,
}

/// One stream, while its exchange goes on.
pub struct Handle {
    pub(super) shared: Rc<Shared>,
    pub(super) key: StreamKey,
    port: Port,
    shelf: Option<Rc<Shelf>>,
    used: Rc<Use>,
    /// The request's head was written.
    begun: Cell<bool>,
    head_len: Cell<u64>,
    /// The connection has carried requests before.
    pub reused: bool,
}

impl Handle {
    /// Opens a stream. `None` when the connection takes no more.
    pub(super) fn open(
        shared: &Rc<Shared>,
        shelf: Option<Rc<Shelf>>,
        deadlines: &Rc<Deadlines>,
    ) -> Option<Self> {
        if !shared.has_room() {
            return None;
        }
        let key = shared.machine.borrow_mut().open()?;
        let requests = shared.requests.get();
        shared.requests.set(requests.saturating_add(1));
        shared.active.set(shared.active.get() + 1);
        shared.mailbox(key).begin(shared.sent.get());
        Some(Self {
            shared: shared.clone(),
            key,
            port: Port::new(deadlines),
            shelf,
            used: Rc::default(),
            begun: Cell::new(false),
            head_len: Cell::new(0),
            reused: requests > 0,
        })
    }

    /// For who may cut the exchange.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.port.mark()
    }

    /// Takes no more streams on this connection.
    pub fn retire(&self) {
        self.shared.retire();
    }

    /// Bytes queued for this exchange, head included.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.head_len.get() + self.used.queued.get()
    }

    /// Whether some of the request has not gone out yet.
    #[must_use]
    pub fn is_sending(&self) -> bool {
        !self.used.done.get() || self.pending() > 0
    }

    fn pending(&self) -> usize {
        let machine = self.shared.machine.borrow();
        if machine.is_reset(self.key) {
            0
        } else {
            machine.pending(self.key)
        }
    }

    /// Sends a request's head, which is given as HTTP/1 has it, up to its empty line. `end`: no body follows.
    pub fn send_head(&self, text: &[u8], scheme: &[u8], end: bool) {
        let mut machine = self.shared.machine.borrow_mut();
        machine.begin_block();
        let head = put_head(&mut machine, text, scheme);
        self.head_len.set(machine.end_block(self.key, end) as u64);
        drop(machine);
        self.begun.set(true);
        self.used.done.set(end);
        self.shared.mailbox(self.key).bodiless = head;
        self.shared.news.notify();
    }

    /// Queues all that is left of a body, with its end.
    pub fn send_rest(&self, body: &[u8]) {
        let mut machine = self.shared.machine.borrow_mut();
        machine.send(self.key, body);
        machine.finish(self.key, None);
        drop(machine);
        self.used
            .queued
            .set(self.used.queued.get() + body.len() as u64);
        self.used.done.set(true);
        self.shared.news.notify();
    }

    /// Queues a first part of a body.
    pub fn send_part(&self, body: &[u8]) {
        if !body.is_empty() {
            self.shared.machine.borrow_mut().send(self.key, body);
            let queued = self.used.queued.get();
            self.used.queued.set(queued + body.len() as u64);
            self.shared.news.notify();
        }
    }

    /// The sending side of the body alone.
    #[must_use]
    pub fn sink(&self) -> Sink {
        Sink {
            shared: self.shared.clone(),
            key: self.key,
            port: Port::new(self.port.deadlines()),
            used: self.used.clone(),
        }
    }

    /// Reads the next head, interim ones too. True when nothing follows it. While the request is on its way it must make
    /// progress within `send`; then a head must come within `read`.
    pub async fn read_head(
        &self,
        head: &mut ResponseHead,
        send: Duration,
        read: Duration,
    ) -> Result<bool, Fault> {
        loop {
            let pending = self.pending();
            let sending = self.is_sending();
            let within = if sending { send } else { read };
            let came = wait(&self.port, within, |cx| {
                let mut mailbox = self.shared.mailbox(self.key);
                if !mailbox.heads.is_empty() {
                    let came = mailbox.heads.remove(0);
                    let ended = mailbox.bare && mailbox.heads.is_empty();
                    drop(mailbox);
                    self.shared.give_head(std::mem::replace(head, came));
                    return Some(Ok(ended));
                }
                if let Some(end) = mailbox.end {
                    return Some(Err(Some(end)));
                }
                mailbox.register(cx);
                drop(mailbox);
                // The request has gone out: from now on it is the answer that is waited for.
                (sending && !self.is_sending()).then_some(Err(None))
            })
            .await;
            match came {
                Ok(Ok(ended)) => return Ok(ended),
                Ok(Err(Some(end))) => return Err(end.fault()),
                Ok(Err(None)) => {}
                Err(PortEvent::Cut) => return Err(Fault::Cut),
                // A client that is slow with its body has a deadline of its own.
                Err(PortEvent::Expired)
                    if sending && (pending == 0 || self.pending() < pending) => {}
                Err(PortEvent::Expired) => return Err(self.timed_out()),
            }
        }
    }

    /// Takes what has come of the body in exchange for `buf`, which is empty; waits for it.
    pub async fn read_body(&self, buf: &mut Vec<u8>, within: Duration) -> Result<Came, Fault> {
        let came = wait(&self.port, within, |cx| {
            let mut mailbox = self.shared.mailbox(self.key);
            let taken = mailbox.take(buf);
            if taken.is_none() {
                mailbox.register(cx);
            }
            taken
        })
        .await;
        match came {
            Ok(Ok(Came::Data(n))) => {
                let mut machine = self.shared.machine.borrow_mut();
                machine.consumed(self.key, n);
                if machine.wants_write() {
                    drop(machine);
                    self.shared.news.notify();
                }
                Ok(Came::Data(n))
            }
            Ok(Ok(Came::End)) => Ok(Came::End),
            Ok(Err(end)) => Err(end.fault()),
            Err(PortEvent::Cut) => Err(Fault::Cut),
            Err(PortEvent::Expired) => Err(self.timed_out()),
        }
    }

    /// A peer that is silent may be gone: others should not ask it on this connection.
    fn timed_out(&self) -> Fault {
        self.retire();
        Fault::TimedOut
    }

    /// Trailers of a body that is over.
    #[must_use]
    pub fn take_trailers(&self) -> Option<Box<Fields>> {
        self.shared.mailbox(self.key).trailers.take()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let shared = &self.shared;
        self.used.over.set(true);
        let mut machine = shared.machine.borrow_mut();
        if self.begun.get() {
            machine.release(self.key, ErrorCode::Cancel);
        } else {
            machine.forget(self.key);
        }
        drop(machine);
        shared.mailbox(self.key).clear();
        shared.active.set(shared.active.get().saturating_sub(1));
        if shared.active.get() == 0 {
            shared.idle_since.set(self.port.deadlines().now());
        }
        match &self.shelf {
            Some(shelf) => shelf.settle(),
            None => shared.life.set(shared.life.get().max_leaving()),
        }
        shared.news.notify();
    }
}

impl Life {
    /// At least on its way out.
    fn max_leaving(self) -> Self {
        match self {
            Self::Dead => Self::Dead,
            Self::Open | Self::Leaving => Self::Leaving,
        }
    }
}

impl Mailbox {
    /// A stream begins; `sent` bytes had left before it.
    fn begin(&mut self, sent: u64) {
        self.clear();
        self.sent_before = sent;
    }

    /// Forgets the stream, and wakes who still works for it.
    fn clear(&mut self) {
        self.wake_writer();
        self.reader = None;
        self.heads.clear();
        self.interim = 0;
        self.headed = false;
        self.bare = false;
        self.bodiless = false;
        // Storage for the next stream here, unless a large body has grown it.
        if self.data.capacity() > super::RECV_BYTES_BUSY {
            self.data = Vec::new();
        }
        self.data.clear();
        self.ended = false;
        self.trailers = None;
        self.end = None;
    }

    fn register(&mut self, cx: &Context<'_>) {
        if !self
            .reader
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            self.reader = Some(cx.waker().clone());
        }
    }

    /// An origin that takes its answer back spoils it; one that is only gone has said what it has said.
    fn take(&mut self, buf: &mut Vec<u8>) -> Option<Result<Came, End>> {
        match self.end {
            Some(end) if !matches!(end, End::Closed | End::Broken(_)) => return Some(Err(end)),
            _ => {}
        }
        if !self.data.is_empty() {
            std::mem::swap(&mut self.data, buf);
            return Some(Ok(Came::Data(buf.len())));
        }
        if self.ended {
            return Some(Ok(Came::End));
        }
        self.end.map(Err)
    }
}

/// The sending side of a request's body. Outlives its exchange harmlessly.
pub struct Sink {
    shared: Rc<Shared>,
    key: StreamKey,
    port: Port,
    used: Rc<Use>,
}

impl Sink {
    /// Why nothing more can be sent, if so.
    fn over(&self) -> Option<Fault> {
        if self.used.over.get() {
            return Some(Fault::Stopped);
        }
        let end = self.shared.mailbox(self.key).end;
        let reset = || {
            let reset = self.shared.machine.borrow().is_reset(self.key);
            reset.then_some(End::Stopped)
        };
        end.or_else(reset).map(End::fault)
    }

    /// Queues a piece of the body.
    pub fn queue(&self, data: &[u8]) -> Result<(), Fault> {
        if let Some(fault) = self.over() {
            return Err(fault);
        }
        self.shared.machine.borrow_mut().send(self.key, data);
        let queued = self.used.queued.get();
        self.used.queued.set(queued + data.len() as u64);
        self.shared.news.notify();
        Ok(())
    }

    /// Queues a piece of the body; waits while too much stands here, of which some must go `within` the time.
    pub async fn send(&self, data: &[u8], within: Duration) -> Result<(), Fault> {
        self.queue(data)?;
        loop {
            let Some(before) = self.pending() else {
                return Ok(());
            };
            if before <= PENDING_MAX {
                return Ok(());
            }
            let moved = wait(&self.port, within, |cx| {
                match (self.over(), self.pending()) {
                    (Some(fault), _) => Some(Err(fault)),
                    (None, Some(now)) if now < before => Some(Ok(())),
                    _ => {
                        self.shared.mailbox(self.key).writer = Some(cx.waker().clone());
                        None
                    }
                }
            })
            .await;
            match moved {
                Ok(result) => result?,
                Err(_) => return Err(Fault::TimedOut),
            }
        }
    }

    fn pending(&self) -> Option<usize> {
        if self.used.over.get() {
            return None;
        }
        let machine = self.shared.machine.borrow();
        (!machine.is_reset(self.key)).then(|| machine.pending(self.key))
    }

    /// Ends the body.
    pub fn finish(&self, trailers: Option<&Fields>) {
        if self.over().is_some() {
            return;
        }
        self.shared.machine.borrow_mut().finish(self.key, trailers);
        self.used.done.set(true);
        self.shared.mailbox(self.key).wake_reader();
        self.shared.news.notify();
    }

    /// Completes when nothing more can be sent.
    pub async fn closed(&self) {
        poll_fn(|cx| {
            if self.over().is_some() {
                return Poll::Ready(());
            }
            self.shared.mailbox(self.key).writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// The body cannot be sent to its end: its exchange is told.
    pub fn stop(&self) {
        if !self.used.over.get() {
            self.shared.mailbox(self.key).fail(End::Stopped);
        }
    }
}

/// Writes the fields of an HTTP/1 head into the block that was begun. True for a HEAD request.
fn put_head(machine: &mut Machine, text: &[u8], scheme: &[u8]) -> bool {
    let mut lines = Lines(text);
    let line = lines.next().unwrap_or_default();
    let method_len = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (method, rest) = line.split_at(method_len);
    let target_end = memchr::memrchr(b' ', rest).unwrap_or(rest.len());
    let target = rest.get(1..target_end).unwrap_or_default();
    let mut authority: &[u8] = b"";
    for line in lines.clone() {
        let (name, value) = split_field(line);
        if Token::of(name) == Token::HOST {
            authority = value;
            break;
        }
    }
    machine.put_request(method, scheme, authority, target);
    for line in lines {
        let (name, value) = split_field(line);
        let token = Token::of(name);
        if token != Token::HOST && !name.is_empty() {
            machine.put_field(token, name, value);
        }
    }
    method.eq_ignore_ascii_case(b"HEAD")
}

fn split_field(line: &[u8]) -> (&[u8], &[u8]) {
    let at = memchr::memchr(b':', line).unwrap_or(line.len());
    let value = line.get(at + 1..).unwrap_or_default();
    // RFC 9113 §8.2.1: no white space at either end.
    (&line[..at], value.trim_ascii())
}

/// The lines of a head, up to its empty one.
#[derive(Clone)]
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr(b'\r', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(2..).unwrap_or_default();
        (!line.is_empty()).then_some(line)
    }
}

/// Waits until `look` finds something, with a deadline that is only set when it has to.
async fn wait<T>(
    port: &Port,
    within: Duration,
    mut look: impl FnMut(&mut Context<'_>) -> Option<T>,
) -> Result<T, PortEvent> {
    let mut armed = false;
    let found = poll_fn(|cx| {
        if let Some(found) = look(cx) {
            return Poll::Ready(Ok(found));
        }
        if !std::mem::replace(&mut armed, true) {
            port.arm(within);
        }
        match port.poll(cx) {
            Some(event) => Poll::Ready(Err(event)),
            None => Poll::Pending,
        }
    })
    .await;
    if armed {
        port.disarm();
    }
    found
}
