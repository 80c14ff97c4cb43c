//! Socket to pipe to socket: bytes that user space never touches.
//!
//! Readiness is waited for through the runtime; what is ready moves by non-blocking `splice(2)`. A pipe is lent for as
//! long as it holds bytes and no longer, so that a silent direction has none. Knows no protocol and no limits beyond the
//! number of bytes that it may take. Start at [`Splice::turn`].

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::pipe::{self, PipeFlags, SpliceFlags};

use super::runtime;
use super::stream::{RecvHalf, SendHalf};

/// Size of a pipe where nothing else is asked for; the kernel's limit for those without privileges.
pub const PIPE_BYTES_DEFAULT: usize = 1 << 20;

/// A smaller pipe is not worth its calls: the kernel gives such to users who have too many.
const PIPE_BYTES_MIN: usize = 64 << 10;

/// Empty pipes that a shard keeps.
const FREE_MAX: usize = 16;

/// Pipes that a shard lends at once: as many directions may be stuck behind a slow receiver without a copy.
const LENT_MAX: usize = 512;

/// So many are not asked of the kernel after it has refused one.
const REST_AFTER_REFUSAL: u32 = 256;

/// Bytes for each wake-up from which on splicing costs less than copying.
pub const PAYS_FROM: usize = 16 << 10;

/// Turns in a row that may bring less before the stream is copied again.
const SMALL_TURNS_MAX: u8 = 8;

/// Bytes after which a direction that never waits lets others run; more under epoll, where that takes a timer.
const BREATH_BYTES: usize = 1 << 20;
const BREATH_BYTES_EPOLL: usize = 4 << 20;

/// From the client to the origin, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the origin.
    Up,
    /// From the origin to the client.
    Down,
}

/// When a stream is spliced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Never.
    Off,
    /// Wherever it can be.
    On,
    /// When what the stream does pays for it.
    #[default]
    Auto,
}

/// What one direction moved, live.
#[derive(Debug, Default)]
pub struct Moved {
    /// Bytes taken from the sender.
    pub received: Cell<u64>,
    /// Bytes that the receiver's socket took.
    pub sent: Cell<u64>,
}

impl Moved {
    /// Counts bytes from the sender.
    pub fn receive(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
    }

    /// Counts bytes to the receiver.
    pub fn send(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }
}

/// Whether a stream is copied or spliced next, by what it did so far.
#[derive(Clone, Copy, Debug)]
pub struct Gait {
    manner: Manner,
    splices: bool,
    small: u8,
}

impl Gait {
    /// Begins by copying, unless splicing was asked for.
    #[must_use]
    pub fn new(manner: Manner) -> Self {
        Self {
            manner,
            splices: manner == Manner::On,
            small: 0,
        }
    }

    /// Whether the next bytes are spliced.
    #[must_use]
    pub fn splices(&self) -> bool {
        self.splices
    }

    /// A wake-up brought so many bytes.
    pub fn note(&mut self, bytes: usize) {
        if self.manner != Manner::Auto {
            return;
        }
        if bytes >= PAYS_FROM {
            self.splices = true;
            self.small = 0;
        } else if self.splices {
            self.small += 1;
            self.splices = self.small < SMALL_TURNS_MAX;
        }
    }

    /// The kernel refuses: the rest is copied.
    pub fn refuse(&mut self) {
        self.manner = Manner::Off;
        self.splices = false;
    }
}

/// A pipe that holds nothing, or is lent.
#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    bytes: usize,
}

impl Pipe {
    fn open(want: usize) -> Option<Self> {
        let (out, into) = pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A user who has many pipes may not have large ones.
        let sizes = [want, want / 4, PIPE_BYTES_MIN];
        let set = |size: &usize| pipe::fcntl_setpipe_size(&into, *size).ok();
        let bytes = sizes
            .iter()
            .filter(|size| **size >= PIPE_BYTES_MIN)
            .find_map(set)
            .or_else(|| pipe::fcntl_getpipe_size(&into).ok())?;
        (bytes >= PIPE_BYTES_MIN).then_some(Self { out, into, bytes })
    }
}

/// The pipes of one shard, and what went through them. Never crosses threads.
#[derive(Debug)]
pub struct Pipes {
    free: RefCell<Vec<Pipe>>,
    lent: Cell<usize>,
    bytes: usize,
    rest: Cell<u32>,
    up: Cell<u64>,
    down: Cell<u64>,
    /// Looks since a pipe was lent.
    unused: Cell<u32>,
}

impl Default for Pipes {
    fn default() -> Self {
        Self::sized(PIPE_BYTES_DEFAULT)
    }
}

impl Pipes {
    /// Pipes of this size, or of what the system allows. None is made before the first one is needed.
    #[must_use]
    pub fn sized(bytes: usize) -> Self {
        Self {
            free: RefCell::new(Vec::new()),
            lent: Cell::new(0),
            bytes: bytes.max(PIPE_BYTES_MIN),
            rest: Cell::new(0),
            up: Cell::new(0),
            down: Cell::new(0),
            unused: Cell::new(0),
        }
    }

    /// Pipes that hold bytes now.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.lent.get()
    }

    /// Empty pipes that are kept.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.borrow().len()
    }

    /// Bytes spliced since the last call: to origins, to clients.
    #[must_use]
    pub fn take_moved(&self) -> (u64, u64) {
        (self.up.take(), self.down.take())
    }

    /// Closes the pipes that are kept once none was lent between `looks` calls of this.
    pub fn tend(&self, looks: u32) {
        let unused = self.unused.get() + 1;
        self.unused.set(unused.min(looks));
        if unused == looks {
            self.free.borrow_mut().clear();
        }
    }

    /// An empty pipe; none when too many are lent or the system gives no more.
    fn take(&self) -> Option<Lent<'_>> {
        let kept = self.free.borrow_mut().pop();
        let pipe = match kept {
            Some(pipe) => pipe,
            None if self.lent.get() >= LENT_MAX => return None,
            None if self.rest.get() > 0 => {
                self.rest.set(self.rest.get() - 1);
                return None;
            }
            None => {
                let opened = Pipe::open(self.bytes);
                if opened.is_none() {
                    self.rest.set(REST_AFTER_REFUSAL);
                }
                opened?
            }
        };
        self.lent.set(self.lent.get() + 1);
        self.unused.set(0);
        Some(Lent {
            pipes: self,
            pipe: Some(pipe),
            held: 0,
        })
    }

    fn count(&self, way: Way, bytes: usize) {
        let count = match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        };
        count.set(count.get() + bytes as u64);
    }
}

/// A pipe on loan. Goes back when it is empty, and is closed with what it holds otherwise.
struct Lent<'a> {
    pipes: &'a Pipes,
    pipe: Option<Pipe>,
    held: usize,
}

impl Lent<'_> {
    fn pipe(&self) -> &Pipe {
        self.pipe
            .as_ref()
            .expect("invariant: a loan has its pipe until it is dropped")
    }

    fn fill(&mut self, from: BorrowedFd<'_>, max: usize) -> Result<Option<usize>, Errno> {
        let pipe = self.pipe();
        let moved = splice(from, pipe.into.as_fd(), max.min(pipe.bytes));
        if let Ok(Some(n)) = moved {
            self.held += n;
        }
        moved
    }

    fn drain(&mut self, to: BorrowedFd<'_>) -> Result<Option<usize>, Errno> {
        let moved = splice(self.pipe().out.as_fd(), to, self.held);
        if let Ok(Some(n)) = moved {
            self.held -= n;
        }
        moved
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        let mut free = self.pipes.free.borrow_mut();
        if self.held == 0 && free.len() < FREE_MAX {
            free.extend(self.pipe.take());
        }
    }
}

/// `None` when nothing can move now.
fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, max: usize) -> Result<Option<usize>, Errno> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    match pipe::splice(from, None, to, None, max, flags) {
        Ok(n) => Ok(Some(n)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What a turn did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// So many bytes went from the sender to the receiver.
    Moved(usize),
    /// Nothing is there.
    Nothing,
    /// The sender has said all, or its deadline has passed.
    Ended,
    /// No pipe can be had, or these sockets cannot be spliced; nothing was taken.
    Refused,
}

/// Which side a direction failed on.
#[derive(Debug)]
pub enum Broken {
    /// Receiving failed.
    Recv(io::Error),
    /// Sending failed; of kind `TimedOut` when the receiver took nothing in time.
    Send(io::Error),
}

/// One direction between two sockets.
pub struct Splice<'a> {
    /// Where pipes come from.
    pub pipes: &'a Pipes,
    /// Which way it goes, for the counts.
    pub way: Way,
    /// Longest time in which the receiver must take something.
    pub send_within: Duration,
    /// What moves is counted here.
    pub moved: &'a Moved,
}

impl Splice<'_> {
    /// Takes what is there, at most `max` bytes, and hands it on to the last byte; `progress` is called after each move.
    /// Waits for the receiver and never for the sender. Both sockets must be unblocked ([`RecvHalf::unblock`]).
    pub async fn turn(
        &self,
        rx: &RecvHalf,
        tx: &SendHalf,
        max: u64,
        progress: impl Fn(&RecvHalf, &SendHalf),
    ) -> Result<Turn, Broken> {
        let Some(mut lent) = self.pipes.take() else {
            return Ok(Turn::Refused);
        };
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let taken = match lent.fill(rx.as_fd(), max) {
            Ok(None) => return Ok(Turn::Nothing),
            Ok(Some(0)) => return Ok(Turn::Ended),
            Ok(Some(n)) => n,
            // Not for such sockets, or forbidden to this process.
            Err(Errno::INVAL | Errno::PERM | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return Ok(Turn::Refused);
            }
            Err(e) => return Err(Broken::Recv(e.into())),
        };
        self.moved.receive(taken);
        progress(rx, tx);
        let mut armed = false;
        let result = loop {
            if lent.held == 0 {
                break Ok(Turn::Moved(taken));
            }
            match lent.drain(tx.as_fd()) {
                Ok(Some(n)) => {
                    self.moved.send(n);
                    self.pipes.count(self.way, n);
                    tx.count_spliced(n);
                    progress(rx, tx);
                }
                Ok(None) => {
                    tx.arm(self.send_within);
                    armed = true;
                    if let Err(e) = tx.writable().await {
                        break Err(Broken::Send(e));
                    }
                }
                Err(_) if tx.expired().is_some() => {
                    break Err(Broken::Send(io::ErrorKind::TimedOut.into()));
                }
                Err(e) => break Err(Broken::Send(e.into())),
            }
        };
        if armed {
            tx.disarm();
        }
        result
    }

    /// Moves up to `limit` bytes, waiting `recv_within` for each of the sender's, for as long as it pays.
    pub async fn run(
        &self,
        rx: &RecvHalf,
        tx: &SendHalf,
        (limit, recv_within): (u64, Duration),
        gait: &mut Gait,
    ) -> Ran {
        let _unblocked = match rx.unblock().and_then(|rx| Ok((rx, tx.unblock()?))) {
            Ok(both) => both,
            Err(_) => {
                gait.refuse();
                return Ran::Thin;
            }
        };
        let mut left = limit;
        let mut breath = Breath::default();
        while left > 0 {
            if !gait.splices() {
                return Ran::Thin;
            }
            match self.turn(rx, tx, left, |_, _| {}).await {
                Ok(Turn::Moved(n)) => {
                    left -= n as u64;
                    gait.note(n);
                    breath.take(n).await;
                }
                Ok(Turn::Nothing) => {
                    rx.arm(recv_within);
                    let ready = rx.readable().await;
                    rx.disarm();
                    if let Err(error) = ready {
                        return Ran::Broken(Broken::Recv(error));
                    }
                }
                Ok(Turn::Ended) if rx.expired().is_some() => {
                    return Ran::Broken(Broken::Recv(io::ErrorKind::TimedOut.into()));
                }
                Ok(Turn::Ended) => return Ran::Ended,
                Ok(Turn::Refused) => gait.refuse(),
                Err(broken) => return Ran::Broken(broken),
            }
        }
        Ran::Whole
    }
}

/// How [`Splice::run`] ended.
#[derive(Debug)]
pub enum Ran {
    /// As much moved as was asked for.
    Whole,
    /// The rest should be copied: it comes in small pieces, or cannot be spliced.
    Thin,
    /// The sender said all before that, or its socket was shut down.
    Ended,
    /// A side failed.
    Broken(Broken),
}

/// Lets others of the shard run while one direction never has to wait.
#[derive(Debug, Default)]
pub struct Breath {
    bytes: usize,
}

impl Breath {
    /// So many bytes moved without a wait.
    pub async fn take(&mut self, bytes: usize) {
        self.bytes += bytes;
        let most = if runtime::on_ring() {
            BREATH_BYTES
        } else {
            BREATH_BYTES_EPOLL
        };
        if self.bytes >= most {
            self.bytes = 0;
            runtime::yield_now().await;
        }
    }

    /// There was a wait.
    pub fn waited(&mut self) {
        self.bytes = 0;
    }
}
