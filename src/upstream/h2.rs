//! HTTP/2 connections to origins: one task owns a socket and moves bytes between it and [`Machine`]; exchanges hold a
//! [`Handle`] on a stream each, and leave their words in the machine.
//!
//! What several exchanges say in one turn of the loop goes out in one send. Nothing is read ahead of its reader by more
//! than a stream's window, so that a slow client holds only its stream. Which connection a request gets is
//! [`shelf`]'s to say, what a failure means [`super::retry`]'s. Start at [`start`].

mod handle;
pub mod shelf;

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

pub use handle::{Came, Handle, Sink};
pub use shelf::{Key, Shelves, Turn};

use super::origin::Fault;
use super::pool::Conn;
use crate::base::buf::BufPool;
use crate::base::time::Mono;
use crate::net::Stream as Socket;
use crate::net::join::catch;
use crate::net::notify::Notify;
use crate::net::runtime;
use crate::net::turn::{Woken, turn};
use crate::proto::h2::ErrorCode;
use crate::proto::h2::conn::{Config, Event, Fatal, Machine, Role};
use crate::proto::h2::frame::FRAME_MIN;
use crate::proto::h2::streams::Key as StreamKey;
use crate::proto::head::{Fields, ResponseHead};

/// Streams that we open on one connection at a time, whatever the peer allows. With the window below it bounds what a
/// connection can hold unread: 32 MiB, if all of its clients stall at once.
pub const STREAMS_MAX: usize = 128;

/// Window of a stream: what an origin may send ahead of its reader.
pub const WINDOW: u32 = 256 << 10;

/// Window of the connection. It is renewed ahead of the readers: only the streams' own windows hold an origin back.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// Bytes of a response head when decoded, whatever `proxy_buffer_size` allows on the wire.
const HEAD_BYTES_MAX: usize = 128 << 10;

/// Interim responses before the real one; more is an origin gone wrong.
const INTERIM_MAX: u32 = 64;

/// Room for one receive: a whole frame of the usual size, and its header.
const RECV_BYTES: usize = 17 << 10;

/// The same while the socket keeps filling it.
const RECV_BYTES_BUSY: usize = 64 << 10;

/// What is taken from the machine for one send.
const SEND_BYTES: usize = 64 << 10;

/// How long the last words of a connection that nobody uses any more may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Heads that are kept for the next responses.
const SPARE_HEADS_MAX: usize = 8;

/// Why a stream ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection was closed.
    Closed,
    /// The connection broke, with this error number.
    Broken(i32),
    /// The origin took the stream back.
    Reset(ErrorCode),
    /// The origin did not look at the request.
    Unprocessed,
    /// It went away in the middle.
    GoAway(ErrorCode),
    /// It broke a rule.
    Wrong(&'static str),
    /// Interim responses without end.
    Unsolicited,
    /// Our side does not go on with the request.
    Stopped,
}

impl End {
    fn fault(self) -> Fault {
        match self {
            Self::Closed => Fault::Closed,
            Self::Broken(number) => Fault::Io(std::io::Error::from_raw_os_error(number)),
            Self::Reset(code) => Fault::Reset(code),
            Self::Unprocessed => Fault::Unprocessed,
            Self::GoAway(code) => Fault::GoAway(code),
            Self::Wrong(text) => Fault::Http2(text),
            Self::Unsolicited => Fault::Unsolicited,
            Self::Stopped => Fault::Stopped,
        }
    }
}

/// What has come for a stream and was not taken yet.
#[derive(Default)]
struct Mailbox {
    /// Response heads, interim ones first.
    heads: Vec<ResponseHead>,
    interim: u32,
    /// A head has come.
    headed: bool,
    /// Nothing follows the last head.
    bare: bool,
    /// Bytes that had left on the connection before this stream's.
    sent_before: u64,
    /// The request was HEAD: what the head says of a length is not of this body.
    bodiless: bool,
    /// Body bytes.
    data: Vec<u8>,
    /// The body is over.
    ended: bool,
    trailers: Option<Box<Fields>>,
    /// Nothing more comes, and nothing can be sent.
    end: Option<End>,
    /// Who waits for any of this.
    reader: Option<Waker>,
    /// Who waits for room to send.
    writer: Option<Waker>,
}

impl Mailbox {
    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    fn fail(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.wake_reader();
        self.wake_writer();
    }
}

/// How far a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Takes new streams.
    Open,
    /// Takes none, and ends with its last one.
    Leaving,
    /// Over.
    Dead,
}

/// What a connection's task, its exchanges and the shelf share.
pub struct Shared {
    machine: RefCell<Machine>,
    /// By key.
    boxes: RefCell<Vec<Mailbox>>,
    spare: RefCell<Vec<ResponseHead>>,
    /// The machine has something to send, or an exchange is over.
    news: Notify,
    life: Cell<Life>,
    /// Streams whose exchanges go on.
    active: Cell<usize>,
    /// Streams that were opened.
    requests: Cell<u32>,
    /// Since when there is no stream.
    idle_since: Cell<Mono>,
    created: Mono,
    /// Bytes that the kernel took.
    sent: Cell<u64>,
}

impl Shared {
    fn mailbox(&self, key: StreamKey) -> RefMut<'_, Mailbox> {
        RefMut::map(self.boxes.borrow_mut(), |boxes| {
            let at = key.0 as usize;
            if boxes.len() <= at {
                boxes.resize_with(at + 1, Mailbox::default);
            }
            &mut boxes[at]
        })
    }

    /// Takes no more streams; ends when nobody uses it.
    fn retire(&self) {
        if self.life.get() == Life::Open {
            self.life.set(Life::Leaving);
            self.news.notify();
        }
    }

    /// Whether one more stream may be opened.
    fn has_room(&self) -> bool {
        let machine = self.machine.borrow();
        let allowed = machine.peer().max_concurrent_streams as usize;
        self.life.get() == Life::Open
            && machine.is_open()
            && machine.streams() < allowed.min(STREAMS_MAX)
    }

    fn give_head(&self, mut head: ResponseHead) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_HEADS_MAX {
            head.clear();
            spare.push(head);
        }
    }
}

/// Makes an HTTP/2 connection out of a fresh one. Its task runs until nobody needs it.
#[must_use]
pub fn start<B: AsRef<BufPool> + 'static>(conn: Conn, buffers: B) -> Rc<Shared> {
    let config = Config {
        streams_max: 0,
        window: WINDOW,
        connection_window: CONNECTION_WINDOW,
        unread_max: u64::from(WINDOW) * STREAMS_MAX as u64,
        frame_max: FRAME_MIN,
        head_bytes_max: HEAD_BYTES_MAX,
        connect_protocol: false,
    };
    let shared = Rc::new(Shared {
        machine: RefCell::new(Machine::new(Role::Client, config)),
        boxes: RefCell::default(),
        spare: RefCell::default(),
        news: Notify::new(),
        life: Cell::new(Life::Open),
        active: Cell::new(0),
        requests: Cell::new(0),
        idle_since: Cell::new(conn.created),
        created: conn.created,
        sent: Cell::new(0),
    });
    let task = Task {
        socket: conn.stream,
        shared: shared.clone(),
        input: Vec::new(),
        at: 0,
        busy: false,
        out: Vec::new(),
        out_at: 0,
        moved: Vec::new(),
        fatal: None,
    };
    drop(runtime::spawn(async move {
        // A panic here is told to the streams when the task goes.
        let _ = catch(|| task.run(buffers.as_ref())).await;
    }));
    shared
}

/// The task of a connection.
struct Task {
    socket: Socket,
    shared: Rc<Shared>,
    /// Bytes received; those before `at` are consumed. Without capacity while idle.
    input: Vec<u8>,
    at: usize,
    /// The last receive filled its room.
    busy: bool,
    /// Bytes to send; those before `out_at` are sent. Without capacity while idle.
    out: Vec<u8>,
    out_at: usize,
    moved: Vec<StreamKey>,
    /// Why nothing is read any more; GOAWAY is still to be sent.
    fatal: Option<Fatal>,
}

impl Task {
    async fn run(mut self, buffers: &BufPool) {
        let end = loop {
            if self.fatal.is_none() {
                self.read(buffers);
            }
            if let Some(fatal) = self.fatal {
                // Nobody needs to wait for GOAWAY to go out.
                self.tell_all(End::Wrong(words(fatal)));
                self.shared.life.set(Life::Dead);
                self.at = self.input.len();
            }
            if let Err(end) = self.write(buffers) {
                break end;
            }
            let blocked = self.out_at < self.out.len();
            let idle = self.fatal.is_some() || self.shared.active.get() == 0;
            if idle && !blocked {
                if self.fatal.is_some() || self.is_leaving() {
                    break End::Closed;
                }
                self.rest(buffers);
            }
            match self.wait(blocked, idle).await {
                Ok(Woken::Readable) => {
                    if let Err(end) = self.receive(buffers) {
                        break end;
                    }
                    if self.fatal.is_some() {
                        self.input.clear();
                    }
                }
                Ok(Woken::Writable | Woken::News) => {}
                Err(end) => break end,
            }
        };
        self.close(end, buffers);
    }

    fn is_leaving(&self) -> bool {
        self.shared.life.get() != Life::Open || !self.shared.machine.borrow().is_open()
    }

    /// Gives the machine what has come.
    fn read(&mut self, buffers: &BufPool) {
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
                    return;
                }
            };
            self.at += step.consumed;
            let Some(event) = step.event else { return };
            match event {
                Event::Head { stream, end } => self.head(stream, end),
                Event::Data {
                    stream,
                    from,
                    to,
                    end,
                } => {
                    let mut mailbox = self.shared.mailbox(stream);
                    if mailbox.data.capacity() == 0 && to > from {
                        mailbox.data = buffers.take(to - from);
                    } else {
                        let need = mailbox.data.len() + to - from;
                        buffers.grow(&mut mailbox.data, need);
                    }
                    mailbox
                        .data
                        .extend_from_slice(&self.input[base + from..base + to]);
                    mailbox.ended |= end;
                    mailbox.wake_reader();
                }
                Event::Trailers { stream } => self.trailers(stream),
                Event::Reset {
                    stream,
                    code,
                    remote,
                } => self.reset(stream, code, remote),
                Event::GoAway { last, code } => self.go_away(last, code),
                Event::Settings | Event::Pong => {}
            }
            if self.fatal.is_some() {
                return;
            }
        }
    }

    fn head(&mut self, stream: StreamKey, end: bool) {
        let mut head = self.shared.spare.borrow_mut().pop().unwrap_or_default();
        let bodiless = self.shared.mailbox(stream).bodiless;
        let read = self
            .shared
            .machine
            .borrow_mut()
            .read_response(stream, &mut head, bodiless);
        match read {
            Ok(Ok(())) => {
                let mut mailbox = self.shared.mailbox(stream);
                if head.is_interim() {
                    mailbox.interim += 1;
                    if mailbox.interim > INTERIM_MAX {
                        drop(mailbox);
                        self.end_stream(stream, ErrorCode::EnhanceYourCalm, End::Unsolicited);
                        return;
                    }
                }
                mailbox.heads.push(head);
                mailbox.headed = true;
                mailbox.bare = end;
                mailbox.ended |= end;
                mailbox.wake_reader();
            }
            Ok(Err(malformed)) => {
                self.end_stream(stream, ErrorCode::Protocol, End::Wrong(malformed.0));
            }
            Err(fatal) => self.fatal = Some(fatal),
        }
    }

    fn trailers(&mut self, stream: StreamKey) {
        let mut fields = Box::new(Fields::new());
        let read = self
            .shared
            .machine
            .borrow_mut()
            .read_trailers(stream, &mut fields);
        match read {
            Ok(Ok(())) => {
                let mut mailbox = self.shared.mailbox(stream);
                mailbox.trailers = Some(fields);
                mailbox.ended = true;
                mailbox.wake_reader();
            }
            Ok(Err(malformed)) => {
                self.end_stream(stream, ErrorCode::Protocol, End::Wrong(malformed.0));
            }
            Err(fatal) => self.fatal = Some(fatal),
        }
    }

    /// Ends a stream because of what came on it.
    fn end_stream(&self, stream: StreamKey, code: ErrorCode, end: End) {
        self.shared.machine.borrow_mut().reset(stream, code);
        self.shared.mailbox(stream).fail(end);
    }

    fn reset(&self, stream: StreamKey, code: ErrorCode, remote: bool) {
        let mut mailbox = self.shared.mailbox(stream);
        let end = match code {
            // The answer is whole, and the rest of the request is not wanted (RFC 9113 §8.1).
            ErrorCode::No if remote && mailbox.ended => {
                mailbox.wake_writer();
                return;
            }
            ErrorCode::RefusedStream if remote && !mailbox.headed => End::Unprocessed,
            code if remote => End::Reset(code),
            ErrorCode::Protocol => {
                End::Wrong("upstream sent a body of another length than it said")
            }
            ErrorCode::FlowControl => End::Wrong("upstream violated stream flow control"),
            ErrorCode::StreamClosed => End::Wrong("upstream sent frame for closed stream"),
            _ => End::Wrong("upstream broke HTTP/2"),
        };
        mailbox.fail(end);
    }

    fn go_away(&self, last: u32, code: ErrorCode) {
        let shared = &self.shared;
        let mut gone = Vec::new();
        let mut machine = shared.machine.borrow_mut();
        machine.drop_above(last, |key| gone.push(key));
        drop(machine);
        for key in gone {
            let mut mailbox = shared.mailbox(key);
            let end = match mailbox.headed {
                true => End::GoAway(code),
                false => End::Unprocessed,
            };
            mailbox.fail(end);
        }
        shared.retire();
    }

    /// Takes what the socket has; more than a few buffers at a time would keep the exchanges waiting.
    fn receive(&mut self, buffers: &BufPool) -> Result<(), End> {
        let want = if self.busy {
            RECV_BYTES_BUSY
        } else {
            RECV_BYTES
        };
        if self.at == self.input.len() {
            self.input.clear();
            self.at = 0;
        } else if self.at > 0 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        if self.input.capacity() == 0 {
            self.input = buffers.take(want);
        } else if self.input.capacity() - self.input.len() < want / 2 {
            let room = self.input.len() + want;
            buffers.grow(&mut self.input, room);
        }
        let room = self.input.capacity() - self.input.len();
        match self.socket.rx.try_recv(&mut self.input) {
            Ok(Some(0)) => Err(End::Closed),
            Ok(Some(n)) => {
                self.busy = n == room;
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(broken(&error)),
        }
    }

    /// Sends what the socket takes at once.
    fn write(&mut self, buffers: &BufPool) -> Result<(), End> {
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
            let sent = self.socket.tx.try_send(&self.out[self.out_at..]);
            self.shared.sent.set(self.socket.tx.sent());
            match sent {
                Ok(Some(n)) => self.out_at += n,
                Ok(None) => break,
                Err(error) => return Err(broken(&error)),
            }
        }
        // Also where nothing had to be said, or the list would grow with each stream that is reset.
        self.shared.machine.borrow_mut().take_moved(&mut self.moved);
        for key in self.moved.drain(..) {
            if let Some(mailbox) = self.shared.boxes.borrow_mut().get_mut(key.0 as usize) {
                mailbox.wake_writer();
                mailbox.wake_reader();
            }
        }
        Ok(())
    }

    /// Nobody uses the connection: gives the buffers back.
    fn rest(&mut self, buffers: &BufPool) {
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

    /// Waits for bytes, for room in the socket, or for an exchange.
    async fn wait(&mut self, blocked: bool, idle: bool) -> Result<Woken, End> {
        // Exchanges have deadlines of their own; a connection without one must end by itself.
        let last_words = blocked && idle;
        if last_words {
            self.socket.tx.arm(LAST_WORDS);
        }
        let woken = turn(&self.socket, &self.shared.news, blocked).await;
        if last_words {
            self.socket.tx.disarm();
        }
        if self.socket.expired().is_some() || self.socket.cut() {
            return Err(End::Closed);
        }
        woken.map_err(|error| broken(&error))
    }

    /// Tells every exchange how it ended.
    fn tell_all(&self, end: End) {
        for mailbox in self.shared.boxes.borrow_mut().iter_mut() {
            if !mailbox.ended {
                mailbox.fail(end);
            }
        }
    }

    /// Ends streams of which the peer took nothing as such: they may be asked for again. After a reset nothing of what
    /// was sent is certain; an orderly end acknowledges all that was read.
    fn tell_untouched(&self, end: End) {
        let acked = match end {
            // The SYN counts as one byte.
            End::Closed => self
                .socket
                .tcp_info()
                .map(|info| info.bytes_acked.saturating_sub(1)),
            _ => Ok(self.socket.tx.sent()),
        };
        let acked = acked.unwrap_or_else(|_| self.socket.tx.sent());
        for mailbox in self.shared.boxes.borrow_mut().iter_mut() {
            if acked <= mailbox.sent_before && !mailbox.headed {
                mailbox.fail(End::Unprocessed);
            }
        }
    }

    fn close(mut self, end: End, buffers: &BufPool) {
        self.tell_untouched(end);
        self.tell_all(end);
        self.shared.life.set(Life::Dead);
        if self.input.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.input));
        }
        if self.out.capacity() > 0 {
            buffers.give(std::mem::take(&mut self.out));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.shared.life.set(Life::Dead);
        self.tell_all(End::Closed);
    }
}

fn broken(error: &std::io::Error) -> End {
    match error.raw_os_error() {
        Some(number) => End::Broken(number),
        None => End::Closed,
    }
}

/// What the log says of a connection that broke a rule.
fn words(fatal: Fatal) -> &'static str {
    use crate::proto::h2::guard::Flood;
    match fatal {
        Fatal::Broken(ErrorCode::Compression, _) => "upstream sent invalid header",
        Fatal::Broken(_, why) => why,
        Fatal::Flood(flood) => match flood {
            Flood::Resets => "upstream makes too many streams end",
            Flood::Empty => "upstream sent too many empty frames",
            Flood::Answered => "upstream sent too many PING and SETTINGS frames",
            Flood::Windows => "upstream sent too many WINDOW_UPDATE frames",
            Flood::Continuations => "upstream sent too many CONTINUATION frames",
            Flood::Unread => "upstream does not read answers to its frames",
            Flood::HeaderBlock => "upstream sent too big header",
            #[allow(unreachable_patterns, reason = "a kind that only clients have")]
            _ => "upstream sent too many frames",
        },
    }
}

#[cfg(test)]
mod tests;
