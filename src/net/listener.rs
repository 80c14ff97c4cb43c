//! Listening sockets: bound here or handed down by a parent process, and the accept loop of one shard, which never
//! spins when descriptors run out and stops cleanly.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, SockAddr, Socket, Type};

use super::addr::Addr;
use super::deadline::Deadlines;
use super::ready::Side;
use super::runtime;
use super::stream::{self, Keepalive, Stream};
use super::sys::duplex::Duplex;
use super::sys::{option, poll, steer};

/// nginx's default backlog on Linux.
pub const BACKLOG_DEFAULT: i32 = 511;

/// How a listening socket is set up; what a `listen` directive says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Pending connections.
    pub backlog: i32,
    /// Each shard has its own socket and the kernel spreads connections.
    pub reuseport: bool,
    /// An IPv6 wildcard does not take IPv4.
    pub ipv6only: bool,
    /// Wake only when data has arrived.
    pub deferred: bool,
    /// Pending fast-open connections.
    pub fastopen: Option<i32>,
    /// `Some(None)` turns probes off, `Some(Some(_))` on.
    pub keepalive: Option<Option<Keepalive>>,
    /// The receive buffer's size.
    pub rcvbuf: Option<usize>,
    /// The send buffer's size.
    pub sndbuf: Option<usize>,
    /// Binds to an address that is not there yet or not ours.
    pub transparent: bool,
    /// The client's address decides which shard gets its connections.
    pub steer: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backlog: BACKLOG_DEFAULT,
            reuseport: false,
            ipv6only: true,
            deferred: false,
            fastopen: None,
            keepalive: None,
            rcvbuf: None,
            sndbuf: None,
            transparent: false,
            steer: false,
        }
    }
}

/// Binds and listens. The socket is non-blocking and close-on-exec; it needs no runtime, so that a parent process
/// may bind it and hand it on.
pub fn bind(at: &Addr, options: &Options) -> io::Result<OwnedFd> {
    let socket = match at {
        Addr::Ip(at) => bind_ip(*at, options)?,
        Addr::Unix(path) => {
            use std::os::unix::ffi::OsStrExt;
            let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
            socket.bind(&SockAddr::unix(std::ffi::OsStr::from_bytes(path))?)?;
            socket
        }
    };
    if let Some(bytes) = options.rcvbuf {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.sndbuf {
        socket.set_send_buffer_size(bytes)?;
    }
    socket.listen(options.backlog)?;
    let fd = OwnedFd::from(socket);
    tune(&fd, at.ip().is_some(), options)?;
    Ok(fd)
}

fn bind_ip(at: SocketAddr, options: &Options) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(at),
        Type::STREAM.nonblocking().cloexec(),
        None,
    )?;
    socket.set_reuse_address(true)?;
    if options.reuseport {
        socket.set_reuse_port(true)?;
    }
    if at.is_ipv6() {
        socket.set_only_v6(options.ipv6only)?;
    }
    if options.transparent {
        socket.set_ip_transparent(true)?;
    }
    socket.bind(&SockAddr::from(at))?;
    Ok(socket)
}

/// Sets what may change while a socket listens; also for inherited ones after a reload.
pub fn tune(fd: impl AsFd, tcp: bool, options: &Options) -> io::Result<()> {
    let fd = fd.as_fd();
    let socket = socket2::SockRef::from(&fd);
    match options.keepalive {
        Some(Some(probes)) => stream::set_keepalive(&socket, probes)?,
        Some(None) => socket.set_keepalive(false)?,
        None => {}
    }
    if tcp {
        if options.deferred {
            option::set_defer_accept(fd)?;
        }
        if let Some(queue) = options.fastopen {
            option::set_fastopen(fd, queue)?;
        }
    }
    Ok(())
}

/// Makes the client's address decide which of the first `shards` sockets of an address gets its connections, in the
/// order in which they began to listen; or lets the kernel spread them again.
pub fn steer(fd: impl AsFd, shards: usize, by_client: bool) -> io::Result<()> {
    if by_client && shards > 1 {
        steer::by_client(fd, u32::try_from(shards).unwrap_or(u32::MAX))
    } else {
        steer::spread(fd)
    }
}

/// A new connection.
pub struct Accepted {
    /// The connection.
    pub stream: Stream,
    /// The client.
    pub peer: Addr,
    /// This end, where that is told by the listener; else the stream knows.
    pub local: Option<Addr>,
    /// Which of the shard's listeners took it.
    pub listener: usize,
}

/// A listening socket that is registered with this thread's runtime.
pub struct Listener {
    io: Duplex,
    id: Cell<usize>,
    /// The address that every connection comes to; none for wildcards and for what is steered here from elsewhere.
    only: Option<Addr>,
}

/// How long accepting rests when descriptors ran out; nginx's accept_mutex_delay.
pub const PAUSE: Duration = Duration::from_millis(500);

impl Listener {
    /// Takes a listening socket over; `id` marks the connections that it accepts. They send small segments at once,
    /// which they have from the listener, without a system call for each.
    pub fn new(fd: OwnedFd, id: usize) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let at = Addr::from(Some(rustix::net::getsockname(&fd)?));
        let socket = socket2::SockRef::from(&fd);
        let only = match at.ip() {
            None => true,
            Some(at) => {
                // Some sockets have no such option; all is well without it.
                let _ = socket.set_nodelay(true);
                !at.ip().is_unspecified() && !socket.ip_transparent().unwrap_or(true)
            }
        };
        Ok(Self {
            io: Duplex::new(fd)?,
            id: Cell::new(id),
            only: only.then_some(at),
        })
    }

    /// Marks the connections that it accepts from now on.
    pub fn set_id(&self, id: usize) {
        self.id.set(id);
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<Addr> {
        Ok(Addr::from(Some(rustix::net::getsockname(self.io.as_fd())?)))
    }

    /// Waits until a connection is pending. May be dropped at any time.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// Whether a connection is pending.
    pub fn has_pending(&self) -> bool {
        let mut entry = [poll::any(self.io.as_fd().as_raw_fd())];
        poll::poll_now(&mut entry).is_ok_and(|n| n > 0)
    }

    /// Takes one pending connection; `None` when none is left.
    pub fn try_accept(&self, deadlines: &Rc<Deadlines>) -> io::Result<Option<Accepted>> {
        let flags = if runtime::on_ring() {
            SocketFlags::CLOEXEC
        } else {
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK
        };
        loop {
            match rustix::net::acceptfrom_with(self.io.as_fd(), flags) {
                Ok((fd, peer)) => {
                    let stream = Stream::adopt(fd, Side::Asking, deadlines)?;
                    let peer = Addr::from(peer);
                    return Ok(Some(Accepted {
                        stream,
                        peer,
                        local: self.only.clone(),
                        listener: self.id.get(),
                    }));
                }
                Err(Errno::AGAIN) => return Ok(None),
                // The client went away before we took it, or a signal came: look at the next one.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Whether an accept failed for want of descriptors or memory, which calls for a pause.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// Of the listeners of one address, this one takes the connections that arrive on that core; none takes whatever comes. Where
/// the kernel does not know that for a group of listeners (before 6.2), its hash decides as before.
pub fn steer_by_core(fd: &impl AsFd, core: Option<usize>) -> io::Result<()> {
    option::set_incoming_cpu(fd, core)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Addr {
        Addr::Ip("127.0.0.1:0".parse().unwrap())
    }

    fn bound(fd: &OwnedFd) -> Addr {
        Addr::from(Some(rustix::net::getsockname(fd).unwrap()))
    }

    #[test]
    fn an_address_is_shared_only_by_those_who_say_so() {
        let shared = Options {
            reuseport: true,
            ..Options::default()
        };
        let first = bind(&any(), &shared).unwrap();
        let at = bound(&first);
        assert!(bind(&at, &shared).is_ok());
        let alone = bind(&at, &Options::default()).unwrap_err();
        assert_eq!(alone.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn every_option_is_taken_by_the_kernel() {
        let options = Options {
            backlog: 16,
            deferred: true,
            fastopen: Some(8),
            keepalive: Some(Some(Keepalive {
                idle: Some(Duration::from_secs(30)),
                interval: Some(Duration::from_secs(5)),
                count: Some(3),
            })),
            rcvbuf: Some(64 << 10),
            sndbuf: Some(64 << 10),
            ..Options::default()
        };
        let fd = bind(&any(), &options).unwrap();
        let socket = socket2::SockRef::from(&fd);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.keepalive_retries().unwrap(), 3);
        assert!(socket.recv_buffer_size().unwrap() >= 64 << 10);
        let off = Options {
            keepalive: Some(None),
            ..Options::default()
        };
        tune(&fd, true, &off).unwrap();
        assert!(!socket.keepalive().unwrap());
    }

    #[test]
    fn connections_carry_the_mark_of_their_listener_and_close_on_exec() {
        runtime::on_each_driver(|| async {
            let deadlines = Deadlines::new();
            let listener = Listener::new(bind(&any(), &Options::default()).unwrap(), 1).unwrap();
            let to = listener.local_addr().unwrap();
            for mark in [1, 7] {
                listener.set_id(mark);
                let dial = crate::net::connect::Options::default();
                let _client = crate::net::connect::connect(&to, &dial, &deadlines)
                    .await
                    .unwrap();
                listener.readable().await.unwrap();
                let accepted = listener.try_accept(&deadlines).unwrap().unwrap();
                assert_eq!(accepted.listener, mark);
                let flags = rustix::io::fcntl_getfd(&accepted.stream).unwrap();
                assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
                assert!(accepted.stream.as_fd().as_raw_fd() > 2);
            }
        });
    }

    #[test]
    fn only_want_of_descriptors_or_memory_is_a_shortage() {
        for (errno, short) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOBUFS, true),
            (Errno::NOMEM, true),
            (Errno::INVAL, false),
            (Errno::PERM, false),
        ] {
            assert_eq!(is_shortage(&errno.into()), short, "{errno}");
        }
    }
}
