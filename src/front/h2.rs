//! The HTTP/2 side of one client connection: yields requests, each with a [`Handle`] on its stream, and moves bytes
//! between the socket and [`Machine`].
//!
//! One task owns the socket and runs [`Conn::next`]; the exchanges run beside it and leave their words in the machine.
//! What several of them say in one turn of the loop goes out in one send. Decides nothing that the machine can decide.
//! A connection without streams holds no buffer.

mod half;
mod handle;
mod tunnel;

use std::cell::{Cell, RefCell, RefMut};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

pub use half::Half;
pub use handle::{Handle, Sight};
pub use tunnel::{Down, Up};

use super::ConnInfo;
use super::stream::ClientFault;
use crate::base::buf::BufPool;
use crate::base::time::Mono;
use crate::net::Stream as Socket;
use crate::net::deadline::Link;
use crate::net::notify::Notify;
use crate::net::runtime;
use crate::net::stream::{How, Idle, Line};
use crate::proto::h1::parse::{HeadLimits, RequestError};
use crate::proto::h2::ErrorCode;
use crate::proto::h2::conn::{Config, Event, Fatal, Machine, Role};
use crate::proto::h2::header::Received;
use crate::proto::h2::streams::Key;
use crate::proto::head::{Fields, RequestHead};

/// Room for one receive: a whole frame of the usual size, and its header.
const RECV_BYTES: usize = 17 << 10;

/// A connection that is idle for so long gives back what it keeps for its next request.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is taken from the machine for one send.
const SEND_BYTES: usize = 64 << 10;

/// How long a connection that ended with an error waits for the client to say something more, and how often.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_READS_MAX: usize = 64;

/// What has come for a stream and was not taken yet.
#[derive(Default)]
struct Mailbox {
    /// Body bytes.
    data: Vec<u8>,
    /// The body is over.
    ended: bool,
    /// Nothing more comes, and nothing can be sent.
    fault: Option<ClientFault>,
    trailers: Option<Box<Fields>>,
    /// Who waits for any of this, or for room to send.
    waker: Option<Waker>,
    /// Who reads the body beside that.
    reader: Option<Waker>,
    /// What is to be cut when the client takes the stream back.
    watched: Option<Link>,
    /// The bytes of a tunnel come here: no trailers may follow them (RFC 9113 §8.5).
    connect: bool,
}

impl Mailbox {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        self.dismiss();
    }

    fn fail(&mut self, fault: ClientFault) {
        self.fault.get_or_insert(fault);
        if let Some(link) = self.watched.take() {
            link.cut();
        }
        self.wake();
    }
}

/// What the connection's task and its exchanges share.
struct Shared {
    info: Rc<ConnInfo>,
    machine: RefCell<Machine>,
    /// By key.
    boxes: RefCell<Vec<Mailbox>>,
    /// The machine has something to send, or an exchange is over.
    news: Notify,
    /// Exchanges that are being served.
    active: Cell<usize>,
    line: Line,
}

impl Shared {
    fn mailbox(&self, key: Key) -> RefMut<'_, Mailbox> {
        RefMut::map(self.boxes.borrow_mut(), |boxes| {
            let at = key.0 as usize;
            if boxes.len() <= at {
                boxes.resize_with(at + 1, Mailbox::default);
            }
            &mut boxes[at]
        })
    }
}

/// Wakes a connection that waits for its exchanges, so that its owner looks at what has changed.
#[derive(Clone)]
pub struct Alarm(Weak<Shared>);

impl Alarm {
    /// Wakes it. False when it is gone.
    #[must_use]
    pub fn ring(&self) -> bool {
        let shared = self.0.upgrade();
        if let Some(shared) = &shared {
            shared.news.notify();
        }
        shared.is_some()
    }
}

/// What [`Conn::next`] waits for and when it gives up.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// `client_header_timeout`: for the first request, and from the beginning of a header block to its end.
    pub head: Duration,
    /// `keepalive_timeout`: without streams, behind the first.
    pub idle: Duration,
    /// `send_timeout`: what is to be sent must make progress within it.
    pub send: Duration,
}

/// What came next.
#[derive(Debug)]
pub enum Next {
    /// A request's head is complete: [`Conn::read_head`] now.
    Head {
        /// Its stream.
        stream: Key,
    },
    /// An exchange is over, or there is something else that the owner may want to look at.
    Turn,
    /// The connection is over. Exchanges that still run are told by their handles.
    Closed(Closed),
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The client closed it, or it broke.
    Gone,
    /// Nothing was asked for as long as `keepalive_timeout`.
    Idle,
    /// A drain or GOAWAY ended it, and nothing is open any more.
    Left,
    /// The client took nothing for as long as `send_timeout`.
    TimedOut,
    /// The client broke a rule or flooded us.
    Fatal(Fatal),
}

/// One HTTP/2 client connection.
pub struct Conn {
    socket: Socket,
    shared: Rc<Shared>,
    /// Bytes received; those before `at` are consumed. Without capacity while idle.
    input: Vec<u8>,
    at: usize,
    /// Bytes to send; those before `out_at` are sent. Without capacity while idle.
    out: Vec<u8>,
    out_at: usize,
    moved: Vec<Key>,
    /// Why nothing is read any more; GOAWAY is still to be sent.
    fatal: Option<Fatal>,
    /// A stream was begun.
    begun: bool,
    /// It was idle: the owner may want to look at it.
    roused: bool,
    /// `send_timeout` runs: the socket is full, and has taken nothing since.
    send_armed: bool,
    /// When the header block that comes in must be over.
    head_due: Option<Mono>,
}

impl Conn {
    /// Takes over a socket whose client speaks HTTP/2; `input[at..]` was read ahead, the preface included.
    #[must_use]
    pub fn new(
        socket: Socket,
        info: Rc<ConnInfo>,
        input: Vec<u8>,
        at: usize,
        config: Config,
    ) -> Self {
        let shared = Shared {
            info,
            machine: RefCell::new(Machine::new(Role::Server, config)),
            boxes: RefCell::new(Vec::new()),
            news: Notify::new(),
            active: Cell::new(0),
            line: socket.line(),
        };
        Self {
            socket,
            shared: Rc::new(shared),
            input,
            at,
            out: Vec::new(),
            out_at: 0,
            moved: Vec::new(),
            fatal: None,
            begun: false,
            send_armed: false,
            roused: false,
            head_due: None,
        }
    }

    /// Facts of the connection.
    #[must_use]
    pub fn info(&self) -> &Rc<ConnInfo> {
        &self.shared.info
    }

    /// Exchanges that are being served.
    #[must_use]
    pub fn active(&self) -> usize {
        self.shared.active.get()
    }

    /// Takes no more streams: those that are open go on, then the connection ends.
    pub fn leave(&mut self) {
        self.shared.machine.borrow_mut().leave(ErrorCode::No);
    }

    /// A way to wake this connection from outside, when a drain begins.
    #[must_use]
    pub fn alarm(&self) -> Alarm {
        Alarm(Rc::downgrade(&self.shared))
    }

    /// Whether no new stream is taken.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.shared.machine.borrow().is_leaving()
    }

    /// Goes on until a request comes or the connection ends.
    pub async fn next(&mut self, times: Times, buffers: &BufPool) -> Next {
        loop {
            if self.fatal.is_none()
                && let Some(stream) = self.read(buffers)
            {
                self.begun = true;
                self.roused = false;
                return Next::Head { stream };
            }
            if std::mem::take(&mut self.roused) {
                return Next::Turn;
            }
            let head_within = self.look_at_block(times.head);
            if let Err(closed) = self.write(buffers) {
                return self.close(closed);
            }
            let blocked = self.out.len() > self.out_at;
            if let Some(fatal) = self.fatal
                && !blocked
            {
                return self.close(Closed::Fatal(fatal));
            }
            // An exchange may be over before its last bytes have found a window.
            let open = self.shared.machine.borrow().streams() > 0;
            let idle = self.active() == 0 && !blocked && !open && head_within.is_none();
            let patience = if self.begun { times.idle } else { times.head };
            if idle && (self.is_leaving() || patience.is_zero()) {
                return self.say_goodbye(Closed::Left, buffers);
            }
            let waited = if idle {
                self.give(buffers);
                self.roused = true;
                self.wait_idle(patience).await
            } else {
                let stalled = open && self.active() == 0;
                let limit = match (blocked, stalled) {
                    (true, _) => Limit::Send(times.send),
                    (_, true) => Limit::Recv(times.send),
                    _ => Limit::None,
                };
                self.wait(limit, head_within).await
            };
            match waited {
                Err(closed @ (Closed::Idle | Closed::Left)) => {
                    return self.say_goodbye(closed, buffers);
                }
                Ok(Woken::Readable) => {
                    if let Err(closed) = self.receive(buffers) {
                        return self.close(closed);
                    }
                }
                Ok(Woken::News) => return Next::Turn,
                Ok(Woken::Writable | Woken::Late) => {}
                Err(closed) => return self.close(closed),
            }
        }
    }

    /// Reads the head that was announced.
    pub fn read_head(
        &mut self,
        stream: Key,
        head: &mut RequestHead,
        limits: &HeadLimits,
    ) -> Option<(Handle, Result<Received, RequestError>)> {
        let read = self
            .shared
            .machine
            .borrow_mut()
            .read_request(stream, head, limits);
        let info = &self.shared.info;
        info.requests.set(info.requests.get() + 1);
        match read {
            Ok(received) => {
                let ended = self.shared.machine.borrow().is_received(stream);
                let connect = received.is_ok_and(|received| received.websocket);
                *self.shared.mailbox(stream) = Mailbox {
                    ended,
                    connect,
                    ..Mailbox::default()
                };
                self.shared.active.set(self.shared.active.get() + 1);
                Some((
                    Handle::new(self.shared.clone(), stream, head, ended, connect),
                    received,
                ))
            }
            Err(fatal) => {
                self.fatal = Some(fatal);
                None
            }
        }
    }

    /// Gives the machine what has come, up to the next head.
    fn read(&mut self, buffers: &BufPool) -> Option<Key> {
        let now = self.socket.deadlines().now();
        loop {
            let step = self
                .shared
                .machine
                .borrow_mut()
                .step(now, &self.input[self.at..]);
            let (base, step) = match step {
                Ok(step) => (self.at, step),
                Err(fatal) => {
                    self.fatal = Some(fatal);
                    return None;
                }
            };
            self.at += step.consumed;
            match step.event? {
                Event::Head { stream, .. } => return Some(stream),
                Event::Data {
                    stream,
                    from,
                    to,
                    end,
                } => {
                    let mut mailbox = self.shared.mailbox(stream);
                    if mailbox.data.capacity() == 0 && to > from {
                        mailbox.data = buffers.take(to - from);
                    }
                    mailbox
                        .data
                        .extend_from_slice(&self.input[base + from..base + to]);
                    mailbox.ended |= end;
                    mailbox.wake();
                }
                Event::Trailers { stream } => self.trailers(stream),
                Event::Reset { stream, .. } => self.shared.mailbox(stream).fail(ClientFault::Gone),
                Event::Settings | Event::GoAway { .. } | Event::Pong => {}
            }
        }
    }

    fn trailers(&mut self, stream: Key) {
        let mut fields = Box::new(Fields::new());
        let read = self
            .shared
            .machine
            .borrow_mut()
            .read_trailers(stream, &mut fields);
        let connect = self.shared.mailbox(stream).connect;
        match read {
            Ok(Ok(())) if !connect => {
                let mut mailbox = self.shared.mailbox(stream);
                mailbox.trailers = Some(fields);
                mailbox.ended = true;
                mailbox.wake();
            }
            Ok(_) => {
                let now = self.socket.deadlines().now();
                let mut machine = self.shared.machine.borrow_mut();
                let punished = machine.punish(now, stream, ErrorCode::Protocol);
                drop(machine);
                self.fatal = punished.err();
                self.shared.mailbox(stream).fail(ClientFault::Gone);
            }
            Err(fatal) => self.fatal = Some(fatal),
        }
    }

    /// Takes what the socket has; more than a few buffers at a time would keep the exchanges waiting.
    fn receive(&mut self, buffers: &BufPool) -> Result<(), Closed> {
        if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        if self.input.capacity() == 0 {
            self.input = buffers.take(RECV_BYTES);
        } else if self.input.capacity() - self.input.len() < RECV_BYTES / 2 {
            let room = self.input.len() + RECV_BYTES;
            buffers.grow(&mut self.input, room);
        }
        match self.socket.rx.try_recv(&mut self.input) {
            Ok(Some(0)) if self.socket.expired().is_some() => Err(Closed::TimedOut),
            Ok(Some(0)) | Err(_) => Err(Closed::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Sends what the socket takes at once.
    fn write(&mut self, buffers: &BufPool) -> Result<(), Closed> {
        loop {
            if self.out_at == self.out.len() {
                let mut machine = self.shared.machine.borrow_mut();
                if !machine.wants_write() {
                    break;
                }
                if self.out.capacity() == 0 {
                    self.out = buffers.take(4096);
                }
                self.out.clear();
                self.out_at = 0;
                machine.transmit(&mut self.out, SEND_BYTES);
            }
            let sent = self
                .socket
                .tx
                .try_send(&self.out[self.out_at..])
                .map_err(|_| Closed::Gone)?;
            let Some(n) = sent else { break };
            self.out_at += n;
            if std::mem::take(&mut self.send_armed) {
                self.socket.tx.disarm();
            }
        }
        // Also where nothing had to be said, or the list would grow with each stream that is taken back.
        self.shared.machine.borrow_mut().take_moved(&mut self.moved);
        for key in self.moved.drain(..) {
            let reset = self.shared.machine.borrow().is_reset(key);
            let mut boxes = self.shared.boxes.borrow_mut();
            if let Some(mailbox) = boxes.get_mut(key.0 as usize) {
                if reset {
                    mailbox.fail(ClientFault::Gone);
                } else {
                    mailbox.wake();
                }
            }
        }
        Ok(())
    }

    /// Waits without a buffer for the next request's first byte.
    async fn wait_idle(&mut self, within: Duration) -> Result<Woken, Closed> {
        let patience = Some(PATIENCE);
        let mut idle = self
            .socket
            .rx
            .wait_idle_patiently(Some(within), patience)
            .await;
        if matches!(idle, Ok(Idle::Long)) {
            // A client that asks one thing after the other does not pay for this.
            self.shared.machine.borrow_mut().rest();
            *self.shared.boxes.borrow_mut() = Vec::new();
            self.moved = Vec::new();
            let left = within.saturating_sub(PATIENCE);
            idle = self.socket.rx.wait_idle(Some(left)).await;
        }
        match idle {
            Ok(Idle::Ready | Idle::Long) => {
                self.socket.rx.begin();
                Ok(Woken::Readable)
            }
            Ok(Idle::Expired) => Err(Closed::Idle),
            Ok(Idle::Drained) => Err(Closed::Left),
            Err(_) => Err(Closed::Gone),
        }
    }

    /// Ends a connection that nothing is wrong with: the client is told which requests were not looked at.
    fn say_goodbye(&mut self, closed: Closed, buffers: &BufPool) -> Next {
        self.leave();
        // Where it cannot be told any more there is nobody to tell.
        let _ = self.write(buffers);
        self.close(closed)
    }

    /// How long a header block that has begun may still take; gives up the stream of one that took too long.
    fn look_at_block(&mut self, within: Duration) -> Option<Duration> {
        let mut machine = self.shared.machine.borrow_mut();
        let Some(id) = machine.begun_block(&self.input[self.at..]) else {
            self.head_due = None;
            return None;
        };
        let now = self.socket.deadlines().now();
        let due = *self.head_due.get_or_insert_with(|| now.after(within));
        if now < due {
            return Some(due.since(now));
        }
        self.head_due = None;
        self.begun = true;
        if let Err(fatal) = machine.give_up(now, id) {
            self.fatal = Some(fatal);
        }
        None
    }

    /// Waits for bytes, for room in the socket where it is full, or for an exchange; `late` at most where given.
    async fn wait(&mut self, limit: Limit, late: Option<Duration>) -> Result<Woken, Closed> {
        let blocked = matches!(limit, Limit::Send(_));
        match limit {
            // Only progress moves it: what exchanges have to say meanwhile does not.
            Limit::Send(within) if !std::mem::replace(&mut self.send_armed, true) => {
                self.socket.tx.arm(within);
            }
            Limit::Send(_) => {}
            Limit::Recv(within) => self.socket.rx.arm(within),
            Limit::None => {}
        }
        let woken = {
            let mut readable = pin!(self.socket.rx.readable());
            let mut news = pin!(self.shared.news.wait());
            // Only a full socket is waited for; boxing costs nothing where none is.
            let mut writable: Option<Pin<Box<dyn Future<Output = io::Result<()>> + '_>>> =
                blocked.then(|| Box::pin(self.socket.tx.writable()) as _);
            let mut timer = late.map(|late| Box::pin(runtime::sleep(late)));
            poll_fn(|cx| {
                if news.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(Woken::News));
                }
                if let Some(writable) = &mut writable
                    && let Poll::Ready(result) = writable.as_mut().poll(cx)
                {
                    return Poll::Ready(result.map(|()| Woken::Writable));
                }
                if let Some(timer) = &mut timer
                    && timer.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Ok(Woken::Late));
                }
                readable
                    .as_mut()
                    .poll(cx)
                    .map(|result| result.map(|()| Woken::Readable))
            })
            .await
        };
        if let Limit::Recv(_) = limit {
            self.socket.rx.disarm();
        }
        match woken {
            Ok(_) if self.socket.expired().is_some() => Err(Closed::TimedOut),
            Ok(woken) => Ok(woken),
            Err(_) => Err(Closed::Gone),
        }
    }

    /// Tells every exchange that the client is gone.
    fn close(&mut self, closed: Closed) -> Next {
        let fault = match closed {
            Closed::TimedOut => ClientFault::TimedOut,
            _ => ClientFault::Gone,
        };
        for mailbox in self.shared.boxes.borrow_mut().iter_mut() {
            mailbox.fail(fault);
        }
        Next::Closed(closed)
    }

    /// Ends the connection so that the client can read all that it was sent: it sees our end, and what it still sends is
    /// thrown away. A socket that is closed with bytes unread makes the kernel take back what is on its way.
    pub async fn linger(mut self, buffers: &BufPool) {
        if self.socket.shutdown(How::Write).is_err() {
            return;
        }
        for _ in 0..LINGER_READS_MAX {
            // Without a buffer: many connections may end at once.
            if !matches!(
                self.socket.rx.wait_idle(Some(LINGER)).await,
                Ok(Idle::Ready)
            ) {
                break;
            }
            let mut sink = buffers.take(RECV_BYTES);
            let result = self.socket.rx.try_recv(&mut sink);
            buffers.give(sink);
            if !matches!(result, Ok(None) | Ok(Some(1..))) {
                break;
            }
        }
    }

    /// Gives the buffers back.
    fn give(&mut self, buffers: &BufPool) {
        if self.at == self.input.len() && self.input.capacity() > 0 {
            self.at = 0;
            buffers.give(std::mem::take(&mut self.input));
        }
        if self.out.capacity() > 0 {
            self.out_at = 0;
            buffers.give(std::mem::take(&mut self.out));
        }
        self.shared.boxes.borrow_mut().clear();
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        for mailbox in self.shared.boxes.borrow_mut().iter_mut() {
            mailbox.fail(ClientFault::Gone);
        }
    }
}

/// What ended a wait.
enum Woken {
    Readable,
    Writable,
    News,
    /// A header block took too long.
    Late,
}

/// What bounds a wait.
#[derive(Clone, Copy)]
enum Limit {
    /// Exchanges are at work.
    None,
    /// Only the client can make this go on.
    Recv(Duration),
    /// The socket is full.
    Send(Duration),
}
