//! One connected stream socket, TCP or unix: two halves that are used at once without getting in each other's way,
//! deadlines for each, and what is known of the peer. Closes when both halves are gone.

use std::cell::{Cell, OnceCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use monoio::buf::IoBufMut;
use rustix::io::Errno;
use rustix::net::RecvFlags;
use socket2::SockRef;

use super::addr::Addr;
use super::deadline::{Deadlines, Expired, Link, Mark, SlotId};
use super::ready::{Member, Purpose, Shortcut, Side};
use super::runtime;
use super::sys::duplex::Duplex;
use super::sys::option::{self, TcpInfo};
use super::tls::Facts;
use super::tls::io::Tls;

mod post;
mod send;

use post::Posted;
pub use post::{Passage, late};
pub(super) use post::{flush as flush_posts, open as open_posts};
pub use send::{Body, SendHalf};
/// Which direction to shut down.
pub use std::net::Shutdown as How;

/// Room that a receive makes when its buffer has none left.
const RECV_ROOM_MIN: usize = 4096;

/// TCP keepalive probes; `None` leaves the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub idle: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Probes before the connection is given up.
    pub count: Option<u32>,
}

/// The socket that both halves share.
pub(super) struct Socket {
    io: Duplex,
    slot: SlotId,
    deadlines: Rc<Deadlines>,
    /// Bytes that the kernel took, in all.
    sent: Cell<u64>,
    /// A wait has just found something to receive: the next receive looks before it waits.
    ready: Cell<bool>,
    /// The last receive took all that was there: what comes from now on is news.
    pub(super) drained: Cell<bool>,
    /// From the second wait on, which goes through the shard's set.
    member: OnceCell<Member>,
    /// Who made the connection.
    side: Side,
    /// It may have received ahead: see [`Socket::fetch`].
    ahead: Cell<bool>,
    /// There since the handshake on a connection that speaks TLS.
    tls: OnceCell<Box<Tls>>,
    /// Calls on the socket do not block, see [`Socket::unblock`].
    unblocked: Cell<bool>,
    /// What became of bytes that nobody waits for, see [`SendHalf::post`].
    posted: Cell<Posted>,
    /// Why the socket did not take them; the next receive that finds an end tells.
    broken: Cell<Option<Errno>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(tls) = self.tls.get()
            && self.expired() != Some(Expired::Send)
        {
            tls.close(self.io.as_fd());
        }
        self.deadlines.release(self.slot);
    }
}

/// A connected stream socket.
pub struct Stream {
    /// Receives.
    pub rx: RecvHalf,
    /// Sends.
    pub tx: SendHalf,
}

/// The socket of a stream that somebody else owns: can be watched and asked about, and is not kept open.
#[derive(Clone, Debug, Default)]
pub struct Line(Weak<Socket>);

impl Line {
    /// As [`Stream::watch`]; nothing where the stream is gone.
    pub fn watch(&self, link: Mark) {
        if let Some(socket) = self.0.upgrade() {
            socket.deadlines.watch(socket.slot, Some(link));
        }
    }

    /// A place in the table that this socket is in too, so that it can be cut.
    #[must_use]
    pub fn link(&self, mark: Mark) -> Option<Link> {
        let socket = self.0.upgrade()?;
        Some(Link(mark, socket.deadlines.clone()))
    }

    /// As [`Stream::unwatch`].
    pub fn unwatch(&self) {
        if let Some(socket) = self.0.upgrade() {
            socket.deadlines.unwatch(socket.slot);
        }
    }

    /// As [`Stream::tcp_info`].
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        match self.0.upgrade() {
            Some(socket) => option::tcp_info(socket.io.as_fd()),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// The receiving half. One receive at a time.
pub struct RecvHalf(Rc<Socket>);

/// Marks a socket as idle while it lives, so that a dropped wait leaves no mark.
struct Waiting<'a>(&'a Rc<Socket>);

impl<'a> Waiting<'a> {
    fn begin(socket: &'a Rc<Socket>, after: Option<Duration>, patience: Option<Duration>) -> Self {
        socket.deadlines.begin_wait(socket.slot, after, patience);
        Self(socket)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.deadlines.end_wait(self.0.slot);
    }
}

/// How [`RecvHalf::wait_idle`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Bytes, or the peer's end, can be received.
    Ready,
    /// The keep-alive time passed.
    Expired,
    /// A drain ended the wait.
    Drained,
    /// Nothing has happened for longer than the caller wants to wait here; nothing is lost.
    Long,
}

impl Stream {
    /// Takes a connected socket over: sets its blocking mode for this thread's driver.
    pub fn new(fd: OwnedFd, deadlines: &Rc<Deadlines>) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, !runtime::on_ring())?;
        Self::adopt(fd, Side::Asked, deadlines)
    }

    /// As [`Stream::new`], for a socket whose blocking mode is known to be right.
    pub(super) fn adopt(fd: OwnedFd, side: Side, deadlines: &Rc<Deadlines>) -> io::Result<Self> {
        let io = Duplex::new(fd)?;
        let slot = deadlines.register(std::os::fd::AsRawFd::as_raw_fd(&io.as_fd()));
        let socket = Rc::new(Socket {
            io,
            slot,
            deadlines: deadlines.clone(),
            sent: Cell::new(0),
            ready: Cell::new(false),
            drained: Cell::new(false),
            member: OnceCell::new(),
            side,
            ahead: Cell::new(false),
            tls: OnceCell::new(),
            unblocked: Cell::new(!runtime::on_ring()),
            posted: Cell::default(),
            broken: Cell::new(None),
        });
        Ok(Self {
            rx: RecvHalf(socket.clone()),
            tx: SendHalf { socket },
        })
    }

    /// Two unix sockets connected to each other.
    pub fn pair(deadlines: &Rc<Deadlines>) -> io::Result<(Self, Self)> {
        let (a, b) = std::os::unix::net::UnixStream::pair()?;
        Ok((
            Self::new(a.into(), deadlines)?,
            Self::new(b.into(), deadlines)?,
        ))
    }

    /// All that comes until the peer has ended.
    #[cfg(test)]
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let mut got = Vec::new();
        while self.rx.recv_ready(&mut got).await.unwrap() > 0 {}
        got
    }

    fn socket(&self) -> &Socket {
        &self.tx.socket
    }

    /// Shuts a direction down: sends the FIN, or wakes who receives.
    pub fn shutdown(&self, how: How) -> io::Result<()> {
        self.socket().shutdown(how)
    }

    /// Whether a deadline of this socket passed, and which.
    pub fn expired(&self) -> Option<Expired> {
        self.socket().expired()
    }

    /// Whether it was shut down: a deadline passed, or it was cut.
    pub fn is_shut(&self) -> bool {
        let socket = self.socket();
        socket.deadlines.is_shut(socket.slot)
    }

    /// Whether the peer hung up while it was watched.
    pub fn peer_gone(&self) -> bool {
        let socket = self.socket();
        socket.deadlines.peer_gone(socket.slot)
    }

    /// Whether this socket was shut down from outside: the stream linked to it lost its peer, or a drain ran out
    /// of time.
    pub fn cut(&self) -> bool {
        let socket = self.socket();
        socket.deadlines.cut(socket.slot)
    }

    /// Whether a drain ended this connection while it was idle.
    pub fn drained(&self) -> bool {
        let socket = self.socket();
        socket.deadlines.drained(socket.slot)
    }

    /// Looks at the peer from time to time while nobody receives from it; when it hangs up (closes, or closes its
    /// sending direction), [`Stream::peer_gone`] turns true and `link` is shut down, which ends its pending
    /// operation. Notices within about 120 ms.
    pub fn watch(&self, link: Option<Mark>) {
        let socket = self.socket();
        socket.deadlines.watch(socket.slot, link);
    }

    /// For who may cut this socket.
    pub fn mark(&self) -> Mark {
        let socket = self.socket();
        socket.deadlines.mark(socket.slot)
    }

    /// As [`Stream::watch`], for a connection that waits in a pool: [`Stream::peer_gone`] turns true also when the
    /// peer sends something. Over TLS that may be a session ticket: there [`RecvHalf::is_quiet`] tells.
    pub fn watch_quiet(&self) {
        let socket = self.socket();
        if socket.tls.get().is_some() {
            socket.deadlines.watch(socket.slot, None);
        } else {
            socket.deadlines.watch_quiet(socket.slot);
        }
    }

    /// Ends [`Stream::watch`]. Needed before the linked stream goes back to a pool.
    pub fn unwatch(&self) {
        let socket = self.socket();
        socket.deadlines.unwatch(socket.slot);
    }

    /// Closing will reset the connection instead of ending it in order.
    pub fn set_reset_on_close(&self) -> io::Result<()> {
        option::set_linger_zero(self)
    }

    /// Sends small segments at once.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        SockRef::from(self).set_nodelay(on)
    }

    /// Holds partial segments back until there is more, or this is cleared.
    pub fn set_cork(&self, on: bool) -> io::Result<()> {
        self.socket().push_out();
        SockRef::from(self).set_cork(on)
    }

    /// Turns keepalive probes on.
    pub fn set_keepalive(&self, probes: Keepalive) -> io::Result<()> {
        set_keepalive(&SockRef::from(self), probes)
    }

    /// The send buffer's size.
    pub fn set_sndbuf(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self).set_send_buffer_size(bytes)
    }

    /// The receive buffer's size.
    pub fn set_rcvbuf(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self).set_recv_buffer_size(bytes)
    }

    /// Smallest number of bytes that makes the socket writable.
    pub fn set_send_lowat(&self, bytes: usize) -> io::Result<()> {
        option::set_notsent_lowat(self, bytes)
    }

    /// This end.
    pub fn local_addr(&self) -> io::Result<Addr> {
        Ok(Addr::from(Some(rustix::net::getsockname(self)?)))
    }

    /// The other end.
    pub fn peer_addr(&self) -> io::Result<Addr> {
        Ok(Addr::from(rustix::net::getpeername(self)?))
    }

    /// Round trip and windows of a TCP connection.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        option::tcp_info(self)
    }

    /// The error that the socket holds, if any; asking takes it.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(self).take_error()
    }

    /// What a TLS handshake agreed on; none on a plaintext connection, which alone may be spliced.
    pub fn tls(&self) -> Option<&Rc<Facts>> {
        self.socket().tls.get().map(|tls| tls.facts())
    }

    /// From now on plaintext goes through this.
    pub(super) fn install_tls(&self, tls: Tls) {
        self.socket().sent.set(0);
        // A second handshake on one connection does not happen: it would have to come as plaintext of the first.
        let _ = self.socket().tls.set(Box::new(tls));
    }

    /// A look at this socket for somebody who does not own it.
    pub fn line(&self) -> Line {
        Line(Rc::downgrade(&self.tx.socket))
    }

    /// The table that this stream's deadlines are in.
    pub fn deadlines(&self) -> &Rc<Deadlines> {
        &self.socket().deadlines
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tx.socket.io.as_fd()
    }
}

/// Turns probes on for any socket.
pub(super) fn set_keepalive(socket: &SockRef<'_>, probes: Keepalive) -> io::Result<()> {
    socket.set_keepalive(true)?;
    let mut set = socket2::TcpKeepalive::new();
    if let Some(idle) = probes.idle {
        set = set.with_time(idle);
    }
    if let Some(interval) = probes.interval {
        set = set.with_interval(interval);
    }
    if let Some(count) = probes.count {
        set = set.with_retries(count);
    }
    if probes == Keepalive::default() {
        Ok(())
    } else {
        socket.set_tcp_keepalive(&set)
    }
}

impl Socket {
    fn count_sent(&self, bytes: usize) {
        self.sent.set(self.sent.get() + bytes as u64);
    }

    /// From now on no call on the socket blocks; under epoll none ever does. Operations of the ring cope: they say that they
    /// would wait, and are waited for then.
    fn unblock(&self) -> io::Result<()> {
        if !self.unblocked.get() {
            rustix::io::ioctl_fionbio(self.io.as_fd(), true)?;
            self.unblocked.set(true);
        }
        Ok(())
    }

    fn shutdown(&self, how: How) -> io::Result<()> {
        self.push_out();
        if how == How::Write && matches!(self.posted.get(), Posted::Late | Posted::LateEnd) {
            self.posted.set(Posted::LateEnd);
            return Ok(());
        }
        if let Some(tls) = self.tls.get()
            && how != How::Read
        {
            tls.close(self.io.as_fd());
        }
        let how = match how {
            How::Read => rustix::net::Shutdown::Read,
            How::Write => rustix::net::Shutdown::Write,
            How::Both => rustix::net::Shutdown::Both,
        };
        Ok(rustix::net::shutdown(self.io.as_fd(), how)?)
    }

    fn expired(&self) -> Option<Expired> {
        self.deadlines.expired(self.slot)
    }

    /// The membership through which to wait for something to receive: only where nothing is left from before, because it
    /// tells what comes anew.
    fn member(self: &Rc<Self>) -> Option<&Member> {
        if !self.drained.get() {
            return None;
        }
        if let Some(member) = self.member.get() {
            let useful = member.is_reliable() && member.is_in(self.as_fd());
            return useful.then_some(member);
        }
        if !runtime::on_ring() {
            return None;
        }
        // One that cannot enter is asked again next time; it is not worth remembering.
        let member = Member::enter(self, self.side)?;
        Some(self.member.get_or_init(|| member))
    }

    /// Takes the news; whether that was all is for the next receive to find out.
    fn poll_member(&self, member: &Member, purpose: Purpose, cx: &Context<'_>) -> Poll<()> {
        self.ahead.set(purpose != Purpose::News || self.ahead.get());
        std::task::ready!(member.poll(purpose, cx));
        self.drained.set(false);
        Poll::Ready(())
    }

    /// Whether something was received ahead. Who receives past [`Socket::recv_now`] and TLS has to ask.
    fn has_ahead(&self) -> bool {
        self.ahead.get() && self.member.get().is_some_and(Member::has_ahead)
    }

    /// Hands out what was received ahead, as a receive would; `None` when nothing was.
    pub(super) fn fetch(
        &self,
        fetch: impl FnOnce(&Member) -> Option<Result<(usize, bool), Errno>>,
    ) -> Option<Result<usize, Errno>> {
        if !self.ahead.get() {
            return None;
        }
        let Some(fetched) = self.member.get().and_then(fetch) else {
            self.ahead.set(false);
            return None;
        };
        Some(fetched.map(|(n, more)| {
            self.drained.set(!more);
            n
        }))
    }

    /// Completes when a receive would not wait, and the shortcut, if any, has not taken all that came.
    async fn readable(self: &Rc<Self>, shortcut: Option<&Rc<dyn Shortcut>>) -> io::Result<()> {
        if self.has_ahead() {
            return Ok(());
        }
        match self.member() {
            Some(member) => {
                let _open = shortcut.map(|shortcut| {
                    // It leaves its error there.
                    self.ahead.set(true);
                    member.open(shortcut)
                });
                poll_fn(|cx| self.poll_member(member, Purpose::News, cx)).await;
                Ok(())
            }
            None => self.io.readable().await,
        }
    }

    /// Appends what is there to the spare room; `None` when nothing is.
    fn recv_now(&self, buf: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let room = buf.capacity() - buf.len();
        if let Some(fetched) = self.fetch(|member| member.fetch_into(buf)) {
            return Ok(Some(fetched?));
        }
        let into = rustix::buffer::spare_capacity(buf);
        match rustix::net::recv(self.io.as_fd(), into, RecvFlags::DONTWAIT) {
            Ok((n, _)) => {
                self.drained.set(0 < n && n < room);
                Ok(Some(n))
            }
            Err(Errno::AGAIN) => {
                self.drained.set(true);
                Ok(None)
            }
            Err(Errno::INTR) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// What a wait that found something found.
    fn after_idle(&self) -> Idle {
        self.ready.set(true);
        if self.deadlines.is_undisturbed(self.slot) {
            Idle::Ready
        } else if self.expired().is_some() {
            Idle::Expired
        } else if self.deadlines.drained(self.slot) && self.is_at_end() {
            Idle::Drained
        } else {
            Idle::Ready
        }
    }

    /// Whether nothing more will be received.
    fn is_at_end(&self) -> bool {
        if self.has_ahead() {
            return false;
        }
        let mut byte = [0u8; 1];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        matches!(
            rustix::net::recv(self.io.as_fd(), &mut byte[..], flags),
            Ok((0, _))
        )
    }
}

fn timed_out() -> io::Error {
    io::Error::from(io::ErrorKind::TimedOut)
}

impl RecvHalf {
    /// Appends what arrives to the buffer's spare room. `Ok(0)` is the peer's end, or an expired deadline. Poll it
    /// to its end: dropping it loses bytes. See [`RecvHalf::recv_ready`] for one that may be dropped.
    pub fn recv(
        &mut self,
        buf: Vec<u8>,
    ) -> impl Future<Output = (io::Result<usize>, Vec<u8>)> + use<'_> {
        self.recv_step(None, buf)
    }

    /// [`RecvHalf::recv`] with a deadline, which becomes an error of kind `TimedOut`.
    pub fn recv_within(
        &mut self,
        within: Duration,
        buf: Vec<u8>,
    ) -> impl Future<Output = (io::Result<usize>, Vec<u8>)> + use<'_> {
        self.recv_step(Some(within), buf)
    }

    /// Waits for the next receive to find something, where that may be done without a buffer; ends at once elsewhere. A
    /// buffer that lies with a silent connection has left the caches by the time it is filled. Whatever ends the wait
    /// is for the receive to tell.
    pub async fn news_within(&mut self, within: Duration) {
        if self.0.ready.get() || self.has_news() || self.0.has_ahead() {
            return;
        }
        let Some(member) = self.0.member() else {
            return;
        };
        self.arm(within);
        poll_fn(|cx| self.0.poll_member(member, Purpose::Receive, cx)).await;
        self.disarm();
        self.0.ready.set(true);
    }

    async fn recv_step(
        &mut self,
        within: Option<Duration>,
        mut buf: Vec<u8>,
    ) -> (io::Result<usize>, Vec<u8>) {
        if self.0.tls.get().is_some() {
            let result = self.recv_tls(within, &mut buf).await;
            return (result, buf);
        }
        if self.0.ready.get() || self.0.has_ahead() {
            // The bytes are here: a system call now is cheaper than a turn through the ring.
            match self.try_recv(&mut buf) {
                Ok(Some(n)) => return (self.judge(within, n), buf),
                Ok(None) => {}
                Err(e) => return (Err(e), buf),
            }
        }
        if buf.capacity() == buf.len() {
            buf.reserve(RECV_ROOM_MIN);
        }
        if let Some(within) = within {
            self.arm(within);
        }
        let begin = buf.len();
        let mut result;
        loop {
            if let Some(member) = self.0.member() {
                poll_fn(|cx| self.0.poll_member(member, Purpose::Receive, cx)).await;
                match self.0.recv_now(&mut buf) {
                    Ok(None) => continue,
                    Ok(Some(n)) => result = Ok(n),
                    Err(e) => result = Err(e),
                }
                break;
            }
            let slice;
            let receiving = pin!(self.0.io.recv(buf.slice_mut(begin..)));
            (result, slice) = receiving.await;
            buf = slice.into_inner();
            match &result {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(e) = self.readable().await {
                        result = Err(e);
                        break;
                    }
                }
                Ok(n) => {
                    self.0.drained.set(0 < *n && buf.capacity() > buf.len());
                    break;
                }
                Err(_) => break,
            }
        }
        if within.is_some() {
            self.disarm();
        }
        let result = result.and_then(|n| self.judge(within, n));
        (result, buf)
    }

    /// Receives plaintext out of TLS.
    async fn recv_tls(&mut self, within: Option<Duration>, buf: &mut Vec<u8>) -> io::Result<usize> {
        // Most receives follow a wait that found something.
        let mut result = self.try_recv(buf);
        if matches!(result, Ok(None)) {
            if let Some(within) = within {
                self.arm(within);
            }
            while matches!(result, Ok(None)) {
                result = match self.0.readable(None).await {
                    Ok(()) => self.try_recv(buf),
                    Err(e) => Err(e),
                };
            }
            if within.is_some() {
                self.disarm();
            }
        }
        self.judge(within, result?.unwrap_or(0))
    }

    /// The end that an expired deadline made is not the peer's.
    fn judge(&self, within: Option<Duration>, n: usize) -> io::Result<usize> {
        if n > 0 {
            return Ok(n);
        }
        if within.is_some() && self.0.expired().is_some() {
            return Err(timed_out());
        }
        match self.0.broken.take() {
            Some(error) => Err(error.into()),
            None => Ok(0),
        }
    }

    /// Waits until something can be received, then appends it. May be dropped at any time without loss; costs one
    /// system call more than [`RecvHalf::recv`], and holds no buffer while it waits.
    pub async fn recv_ready(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            self.readable().await?;
            if let Some(n) = self.try_recv(buf)? {
                return Ok(n);
            }
        }
    }

    /// Whether a wait has just found something, so that [`RecvHalf::try_recv`] is worth its call.
    pub fn is_ready(&self) -> bool {
        self.0.ready.get()
    }

    /// Appends what is already there; `None` when nothing is. Never waits.
    pub fn try_recv(&mut self, buf: &mut Vec<u8>) -> io::Result<Option<usize>> {
        self.0.ready.set(false);
        if buf.capacity() == buf.len() {
            buf.reserve(RECV_ROOM_MIN);
        }
        if let Some(tls) = self.0.tls.get() {
            return tls.try_recv(&self.0, buf);
        }
        self.0.recv_now(buf)
    }

    /// Whether something was received ahead, which comes before what is in the socket and cannot be spliced.
    #[must_use]
    pub fn has_ahead(&self) -> bool {
        self.0.has_ahead()
    }

    /// Nothing was there for who received past this half's calls: what comes from now on is news.
    pub(super) fn note_drained(&self) {
        self.0.drained.set(true);
    }

    /// Whether a pooled connection can be used again: nothing was received and the peer has not closed it.
    pub fn is_quiet(&self) -> bool {
        if let Some(tls) = self.0.tls.get() {
            return tls.is_quiet(&self.0);
        }
        if self.0.has_ahead() {
            return false;
        }
        let mut byte = [0u8; 1];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        matches!(
            rustix::net::recv(self.0.io.as_fd(), &mut byte[..], flags),
            Err(Errno::AGAIN)
        )
    }

    /// Whether the peer has ended its sending direction or the connection, with nothing left to receive before that.
    pub fn is_ended(&self) -> bool {
        if let Some(tls) = self.0.tls.get() {
            return tls.is_ended(&self.0);
        }
        if self.0.has_ahead() {
            return false;
        }
        let mut byte = [0u8; 1];
        let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
        !matches!(
            rustix::net::recv(self.0.io.as_fd(), &mut byte[..], flags),
            Ok((1.., _)) | Err(Errno::AGAIN)
        )
    }

    /// Keeps calls on the socket from blocking, for splicing.
    pub fn unblock(&self) -> io::Result<()> {
        self.0.unblock()
    }

    /// Completes when a receive would not wait; over TLS it may still, for the rest of a record. May be dropped at any
    /// time without loss.
    pub async fn readable(&self) -> io::Result<()> {
        if self.has_news() {
            return Ok(());
        }
        self.0.readable(None).await
    }

    /// Whether TLS holds something that no wait on the socket would tell of.
    pub fn has_news(&self) -> bool {
        self.0.tls.get().is_some_and(|tls| tls.has_news())
    }

    /// [`RecvHalf::readable`] for who has asked [`RecvHalf::has_news`], where all that comes is for the shortcut, as long as that
    /// takes it.
    pub fn readable_past<'a>(
        &'a self,
        shortcut: Option<&'a Rc<dyn Shortcut>>,
    ) -> impl Future<Output = io::Result<()>> + use<'a> {
        self.0.readable(shortcut)
    }

    /// [`RecvHalf::readable`] for who has much to receive: the socket leaves its shard's set meanwhile.
    pub async fn readable_apart(&self) -> io::Result<()> {
        if self.0.tls.get().is_some() || self.0.has_ahead() {
            return self.readable().await;
        }
        if let Some(member) = self.0.member.get() {
            member.leave(self.as_fd());
        }
        self.0.io.readable().await
    }

    /// Waits for a connection's next request without holding a buffer: a drain or the sweep may end it. `after` is
    /// the keep-alive time.
    pub fn wait_idle(
        &mut self,
        after: Option<Duration>,
    ) -> impl Future<Output = io::Result<Idle>> + use<'_> {
        self.wait_idle_patiently(after, None)
    }

    /// [`RecvHalf::wait_idle`] that ends with [`Idle::Long`] when it lasts longer than `patience`, so that the
    /// caller can wait on from a smaller task. The future is kept small: it is most of what an idle connection costs.
    pub fn wait_idle_patiently(
        &mut self,
        after: Option<Duration>,
        patience: Option<Duration>,
    ) -> impl Future<Output = io::Result<Idle>> + use<'_> {
        let waiting = Waiting::begin(&self.0, after, patience);
        let patient = patience.is_none();
        async move {
            let socket = waiting.0;
            if let Some(tls) = socket.tls.get()
                && tls.has_news_or_flush(socket)
            {
                return Ok(socket.after_idle());
            }
            if socket.has_ahead() {
                return Ok(socket.after_idle());
            }
            let lasts = |cx: &mut Context<'_>| {
                if !patient && socket.deadlines.poll_patience(socket.slot, cx) {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                }
            };
            let result = match socket.member() {
                Some(member) => {
                    poll_fn(|cx| match socket.poll_member(member, Purpose::Begin, cx) {
                        Poll::Ready(()) => Poll::Ready(Some(Ok(()))),
                        Poll::Pending => lasts(cx),
                    })
                    .await
                }
                None => {
                    let mut readable = pin!(socket.io.readable());
                    poll_fn(|cx| match readable.as_mut().poll(cx) {
                        Poll::Ready(result) => Poll::Ready(Some(result)),
                        Poll::Pending => lasts(cx),
                    })
                    .await
                }
            };
            drop(waiting);
            match result {
                Some(result) => result?,
                None => return Ok(Idle::Long),
            }
            Ok(socket.after_idle())
        }
    }

    /// A request begins: from now on the connection belongs to the configuration that is in force.
    pub fn begin(&self) {
        self.0.deadlines.begin(self.0.slot);
    }

    /// Shuts a direction of the socket down.
    pub fn shutdown(&self, how: How) -> io::Result<()> {
        self.0.shutdown(how)
    }

    /// Receiving must end within this time, until armed anew or disarmed.
    pub fn arm(&self, after: Duration) {
        self.0.deadlines.arm_recv(self.0.slot, after);
    }

    /// Takes the deadline off.
    pub fn disarm(&self) {
        self.0.deadlines.disarm_recv(self.0.slot);
    }

    /// Whether a deadline of the socket passed.
    pub fn expired(&self) -> Option<Expired> {
        self.0.expired()
    }

    /// See [`Stream::cut`].
    pub fn cut(&self) -> bool {
        self.0.deadlines.cut(self.0.slot)
    }
}

impl AsFd for RecvHalf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.io.as_fd()
    }
}

#[cfg(test)]
mod tests;
