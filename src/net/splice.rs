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

/// From so many bytes on that are still to come a wait for them is an operation of the ring of its own: news of each segment
/// would cost more.
const MUCH_BYTES: u64 = 256 << 10;

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

/// Bytes that a pipe would have if it was opened now; none when none can be had.
#[must_use]
pub fn pipe_bytes(want: usize) -> Option<usize> {
    Pipe::open(want).map(|pipe| pipe.bytes)
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
    match rustix::io::retry_on_intr(|| pipe::splice(from, None, to, None, max, flags)) {
        Ok(n) => Ok(Some(n)),
        Err(Errno::AGAIN) => Ok(None),
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
    /// The receiver would have to be waited for, and has not taken all: see [`Unsent`].
    Blocked,
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

/// What is done about a receiver that takes nothing.
pub enum Receiver<'a> {
    /// It is waited for: longest time in which it must take something.
    Awaited(Duration),
    /// It is not: what it does not take is handed back.
    Spared(&'a Unsent),
}

/// Bytes for a receiver that is not waited for.
pub struct Unsent {
    /// First those that go before what is spliced, in one segment with it where they fit; in the end all that the receiver
    /// did not take.
    pub bytes: Cell<Vec<u8>>,
    /// Most that is taken from the sender at once.
    pub most: usize,
}

impl Unsent {
    /// Sends what goes before. True when nothing of it is left.
    fn send_before(&self, tx: &SendHalf, follow: bool) -> Result<bool, Broken> {
        let mut bytes = self.bytes.take();
        let sent = match bytes.is_empty() {
            true => Ok(0),
            false => tx.try_send_before(&bytes, follow),
        };
        bytes.drain(..*sent.as_ref().unwrap_or(&0));
        let none = bytes.is_empty();
        self.bytes.set(bytes);
        sent.map(|_| none).map_err(Broken::Send)
    }

    /// Takes back what a pipe holds.
    fn take_back(&self, lent: &mut Lent<'_>) -> Result<(), Broken> {
        let mut bytes = self.bytes.take();
        bytes.reserve_exact(lent.held);
        let mut result = Ok(());
        while lent.held > 0 && result.is_ok() {
            let room = rustix::buffer::spare_capacity(&mut bytes);
            match rustix::io::read(&lent.pipe().out, room) {
                Ok(0) => result = Err(Broken::Recv(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => lent.held -= n.min(lent.held),
                Err(Errno::INTR) => {}
                Err(e) => result = Err(Broken::Recv(e.into())),
            }
        }
        self.bytes.set(bytes);
        result
    }
}

/// One direction between two sockets.
pub struct Splice<'a> {
    /// Where pipes come from.
    pub pipes: &'a Pipes,
    /// Which way it goes, for the counts.
    pub way: Way,
    /// Whether the receiver is waited for.
    pub receiver: Receiver<'a>,
    /// What moves is counted here.
    pub moved: &'a Moved,
}

impl Splice<'_> {
    /// Takes what is there, at most `max` bytes, and hands it on to the last byte; `progress` is called after each move.
    /// Waits for the receiver, if for anybody, and never for the sender. Both sockets must be unblocked ([`RecvHalf::unblock`]).
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
        let mut max = usize::try_from(max).unwrap_or(usize::MAX);
        if let Receiver::Spared(unsent) = self.receiver {
            max = max.min(unsent.most);
        }
        let taken = match lent.fill(rx.as_fd(), max) {
            Ok(None) => {
                // The pipe was empty, so that it was the socket which had nothing.
                rx.note_drained();
                return Ok(Turn::Nothing);
            }
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
        if let Receiver::Spared(unsent) = self.receiver
            && !unsent.send_before(tx, true)?
        {
            unsent.take_back(&mut lent)?;
            return Ok(Turn::Blocked);
        }
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
                Ok(None) => match self.receiver {
                    Receiver::Awaited(within) => {
                        tx.arm(within);
                        armed = true;
                        if let Err(e) = tx.writable().await {
                            break Err(Broken::Send(e));
                        }
                    }
                    Receiver::Spared(unsent) => {
                        break unsent.take_back(&mut lent).map(|()| Turn::Blocked);
                    }
                },
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
        if rx.unblock().and_then(|()| tx.unblock()).is_err() {
            gait.refuse();
            return Ran::Thin;
        }
        tx.settled().await;
        let mut left = limit;
        let mut breath = Breath::default();
        while left > 0 {
            if !gait.splices() || rx.has_ahead() {
                return Ran::Thin;
            }
            match self.turn(rx, tx, left, |_, _| {}).await {
                Ok(Turn::Moved(n)) => {
                    left -= n as u64;
                    gait.note(n);
                    breath.take(n).await;
                }
                Ok(Turn::Nothing) => {
                    // What goes before must not be held back for what has not come.
                    if let Receiver::Spared(unsent) = self.receiver {
                        match unsent.send_before(tx, false) {
                            Ok(true) => {}
                            Ok(false) => return Ran::Blocked,
                            Err(broken) => return Ran::Broken(broken),
                        }
                    }
                    rx.arm(recv_within);
                    let ready = match left < MUCH_BYTES {
                        true => rx.readable().await,
                        false => rx.readable_apart().await,
                    };
                    rx.disarm();
                    if let Err(error) = ready {
                        return Ran::Broken(Broken::Recv(error));
                    }
                }
                Ok(Turn::Ended) if rx.expired().is_some() => {
                    return Ran::Broken(Broken::Recv(io::ErrorKind::TimedOut.into()));
                }
                Ok(Turn::Ended) => return Ran::Ended,
                Ok(Turn::Blocked) => return Ran::Blocked,
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
    /// The receiver does not keep up, and is not waited for here: see [`Unsent`].
    Blocked,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::net::deadline::Deadlines;
    use crate::net::join::join2;
    use crate::net::stream::Stream;

    #[test]
    fn the_gait_follows_what_comes() {
        let mut gait = Gait::new(Manner::Auto);
        gait.note(PAYS_FROM - 1);
        assert!(!gait.splices(), "little is copied");
        gait.note(PAYS_FROM);
        assert!(gait.splices(), "much is spliced");
        for _ in 1..SMALL_TURNS_MAX {
            gait.note(1);
        }
        assert!(gait.splices(), "a few small turns are borne");
        gait.note(PAYS_FROM);
        for _ in 1..SMALL_TURNS_MAX {
            gait.note(1);
        }
        assert!(gait.splices(), "a large one begins the count anew");
        gait.note(1);
        assert!(!gait.splices(), "and then it is copied again");
        for (manner, splices) in [(Manner::Off, false), (Manner::On, true)] {
            let mut gait = Gait::new(manner);
            for bytes in [1, PAYS_FROM, 1, 1, 1, 1, 1, 1, 1, 1, 1] {
                gait.note(bytes);
                assert_eq!(gait.splices(), splices, "{manner:?}");
            }
            gait.refuse();
            assert!(!gait.splices());
        }
    }

    #[test]
    fn only_empty_pipes_come_back() {
        let pipes = Pipes::sized(PIPE_BYTES_MIN);
        let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
        rustix::io::write(&a, b"left").unwrap();
        let mut lent = pipes.take().unwrap();
        assert_eq!((pipes.lent(), pipes.free()), (1, 0));
        assert_eq!(lent.fill(b.as_fd(), 100).unwrap(), Some(4));
        drop(lent);
        assert_eq!((pipes.lent(), pipes.free()), (0, 0), "it held bytes");
        drop(pipes.take());
        assert_eq!((pipes.lent(), pipes.free()), (0, 1));
        let all: Vec<_> = std::iter::from_fn(|| pipes.take()).take(40).collect();
        assert_eq!(pipes.lent(), 40);
        drop(all);
        assert_eq!(pipes.free(), FREE_MAX);
        pipes.tend(2);
        assert_eq!(pipes.free(), FREE_MAX, "one look is too few");
        pipes.tend(2);
        assert_eq!(pipes.free(), 0);
    }

    /// Sends the numbers of their places, in pieces of random size and at random moments.
    async fn pour(tx: &mut SendHalf, total: usize, rng: &mut Rng) {
        let mut at = 0;
        while at < total {
            let n = (rng.word() as usize % 150_000 + 1).min(total - at);
            let piece = (at..at + n).map(|place| (place % 251) as u8).collect();
            tx.send_all(piece).await.0.unwrap();
            at += n;
            stall(rng).await;
        }
        tx.finish().unwrap();
    }

    async fn stall(rng: &mut Rng) {
        if rng.word().is_multiple_of(16) {
            runtime::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn check(rx: &mut RecvHalf, rng: &mut Rng) -> usize {
        let mut at = 0;
        loop {
            let mut buf = Vec::with_capacity(rng.word() as usize % 100_000 + 1);
            if rx.recv_ready(&mut buf).await.unwrap() == 0 {
                return at;
            }
            for byte in buf {
                assert_eq!(byte, (at % 251) as u8, "at {at}");
                at += 1;
            }
            stall(rng).await;
        }
    }

    fn down<'a>(pipes: &'a Pipes, moved: &'a Moved, send_within: Duration) -> Splice<'a> {
        Splice {
            pipes,
            way: Way::Down,
            receiver: Receiver::Awaited(send_within),
            moved,
        }
    }

    /// Between two pairs of sockets; the counts, how it ended, and what was received.
    async fn run(total: usize, limit: u64, manner: Manner) -> (u64, u64, Ran, usize) {
        let deadlines = Deadlines::new();
        let (mut from, a) = Stream::pair(&deadlines).unwrap();
        let (b, mut to) = Stream::pair(&deadlines).unwrap();
        let (pipes, moved) = (Pipes::default(), Moved::default());
        let splice = down(&pipes, &moved, Duration::from_secs(10));
        let (mut here, mut there) = (Rng::new(3), Rng::new(4));
        let mut gait = Gait::new(manner);
        let bounds = (limit, Duration::from_secs(10));
        let moving = async {
            let ran = splice.run(&a.rx, &b.tx, bounds, &mut gait).await;
            b.tx.finish().unwrap();
            // What is not wanted is read, so that its sender ends.
            let mut a = a;
            let mut sink = Vec::new();
            while a.rx.recv_ready(&mut sink).await.unwrap() > 0 {
                sink.clear();
            }
            ran
        };
        let (ran, ((), got)) = join2(
            moving,
            join2(
                pour(&mut from.tx, total, &mut here),
                check(&mut to.rx, &mut there),
            ),
        )
        .await;
        assert_eq!(pipes.lent(), 0);
        (moved.received.get(), moved.sent.get(), ran, got)
    }

    #[test]
    fn every_byte_arrives_once_and_in_order_up_to_the_limit() {
        runtime::on_each_driver(|| async {
            for total in [0, 1, 70_000, 3_000_000] {
                let (received, sent, ran, got) = run(total, u64::MAX, Manner::On).await;
                assert!(matches!(ran, Ran::Ended), "{ran:?}");
                assert_eq!((received, sent, got), (total as u64, total as u64, total));
            }
            let (received, sent, ran, got) = run(1_000_000, 600_001, Manner::On).await;
            assert!(matches!(ran, Ran::Whole), "{ran:?}");
            assert_eq!((received, sent, got), (600_001, 600_001, 600_001));
            let (received, .., ran, _) = run(1_000, u64::MAX, Manner::Off).await;
            assert!(matches!(ran, Ran::Thin), "{ran:?}");
            assert_eq!(received, 0);
        });
    }

    #[test]
    fn what_was_received_ahead_is_not_overtaken() {
        runtime::on_each_driver(|| async {
            if !runtime::on_ring() {
                return;
            }
            let deadlines = Deadlines::new();
            let (mut from, mut a) = Stream::pair(&deadlines).unwrap();
            let (b, _to) = Stream::pair(&deadlines).unwrap();
            let (pipes, moved) = (Pipes::default(), Moved::default());
            let splice = down(&pipes, &moved, Duration::from_secs(10));
            let mut got = Vec::new();
            from.tx.try_send(b"1").unwrap();
            a.rx.recv_ready(&mut got).await.unwrap();
            let news = join2(a.rx.news_within(Duration::from_secs(10)), async {
                runtime::yield_now().await;
                from.tx.try_send(b"23").unwrap();
            });
            news.await;
            assert!(a.rx.has_ahead());
            let mut gait = Gait::new(Manner::On);
            let bounds = (u64::MAX, Duration::from_secs(10));
            let ran = splice.run(&a.rx, &b.tx, bounds, &mut gait).await;
            assert!(matches!(ran, Ran::Thin) && gait.splices(), "{ran:?}");
            assert_eq!(moved.received.get(), 0);
            a.rx.recv_ready(&mut got).await.unwrap();
            assert_eq!(got, b"123");
        });
    }

    /// A receiver that takes nothing, or everything: what goes before, what is spliced and what is handed back are the
    /// bytes that were sent, in their order.
    #[test]
    fn who_is_not_waited_for_leaves_the_rest_in_order() {
        runtime::on_each_driver(|| async {
            for (total, takes) in [(300_000, true), (8 << 20, false)] {
                let deadlines = Deadlines::new();
                let (mut from, a) = Stream::pair(&deadlines).unwrap();
                let (b, mut to) = Stream::pair(&deadlines).unwrap();
                let (pipes, moved) = (Pipes::default(), Moved::default());
                let unsent = Unsent {
                    bytes: Cell::new(b"before".to_vec()),
                    most: 100_000,
                };
                let splice = Splice {
                    receiver: Receiver::Spared(&unsent),
                    ..down(&pipes, &moved, Duration::ZERO)
                };
                let mut gait = Gait::new(Manner::On);
                let bounds = (total as u64, Duration::from_secs(10));
                let sending = runtime::spawn(async move {
                    let bytes = (0..total).map(|place| (place % 251) as u8).collect();
                    let _ = from.tx.send_all(bytes).await;
                    from
                });
                let reading = runtime::spawn(async move {
                    let mut got = Vec::new();
                    while takes && to.rx.recv_ready(&mut got).await.unwrap() > 0 {}
                    (to, got)
                });
                let ran = splice.run(&a.rx, &b.tx, bounds, &mut gait).await;
                drop(b);
                let (mut to, mut got) = reading.await;
                let left = unsent.bytes.take();
                match takes {
                    // However fast it reads, its socket may be full for a moment.
                    true if matches!(ran, Ran::Whole) => assert!(left.is_empty()),
                    _ => {
                        assert!(matches!(ran, Ran::Blocked), "{ran:?}");
                        assert!(!left.is_empty() && left.len() <= 100_006);
                    }
                }
                while to.rx.recv_ready(&mut got).await.unwrap() > 0 {}
                got.extend_from_slice(&left);
                assert_eq!(got.len() as u64, 6 + moved.received.get());
                assert!(got.starts_with(b"before"));
                let right = |(place, byte): (usize, &u8)| *byte == (place % 251) as u8;
                assert!(got[6..].iter().enumerate().all(right));
                assert_eq!((pipes.lent(), pipes.free()), (0, 1));
                drop(a);
                drop(sending.await);
            }
        });
    }

    #[test]
    fn silence_and_a_receiver_that_takes_nothing_time_out() {
        runtime::on_each_driver(|| async {
            let deadlines = Deadlines::new();
            runtime::spawn(deadlines.clone().run());
            let (mut from, a) = Stream::pair(&deadlines).unwrap();
            let (b, _to) = Stream::pair(&deadlines).unwrap();
            let (pipes, moved) = (Pipes::default(), Moved::default());
            let short = Duration::from_millis(300);
            let splice = Splice {
                pipes: &pipes,
                way: Way::Up,
                receiver: Receiver::Awaited(short),
                moved: &moved,
            };
            let mut gait = Gait::new(Manner::On);
            let more = runtime::spawn(async move {
                let _ = from.tx.send_all(vec![1; 8 << 20]).await;
                from
            });
            let ran = splice.run(&a.rx, &b.tx, (u64::MAX, short), &mut gait).await;
            let Ran::Broken(Broken::Send(e)) = ran else {
                panic!("{ran:?}, {moved:?}")
            };
            assert_eq!(e.kind(), io::ErrorKind::TimedOut);
            assert!(
                moved.received.get() > moved.sent.get(),
                "some was under way"
            );
            assert_eq!((pipes.lent(), pipes.free()), (0, 0));
            drop(a);
            drop(more.await);
            let (_silent, a) = Stream::pair(&deadlines).unwrap();
            let (b, _to) = Stream::pair(&deadlines).unwrap();
            let ran = splice.run(&a.rx, &b.tx, (u64::MAX, short), &mut gait).await;
            assert!(
                matches!(&ran, Ran::Broken(Broken::Recv(e)) if e.kind() == io::ErrorKind::TimedOut),
                "{ran:?}"
            );
            deadlines.stop();
        });
    }
}
