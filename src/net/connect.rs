//! Opens connections to origins: TCP or unix, from a given local address, within a given time. Knows no pools.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::addr::Addr;
use super::deadline::Deadlines;
use super::runtime;
use super::stream::{self, Keepalive, Stream};
use super::sys::option;

/// How to connect.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Give up after this time; `None` leaves it to the kernel.
    pub within: Option<Duration>,
    /// The local address to use; port 0 lets the kernel choose one.
    pub bind: Option<SocketAddr>,
    /// The local address may be one that is not ours (needs CAP_NET_RAW).
    pub transparent: bool,
    /// Keepalive probes.
    pub keepalive: Option<Keepalive>,
    /// Sends small segments at once. TCP only.
    pub nodelay: bool,
    /// The send buffer's size.
    pub sndbuf: Option<usize>,
    /// The receive buffer's size.
    pub rcvbuf: Option<usize>,
}

/// Connects. A passed deadline is an error of kind `TimedOut`.
pub async fn connect(
    to: &Addr,
    options: &Options,
    deadlines: &Rc<Deadlines>,
) -> io::Result<Stream> {
    let (socket, to) = open(to, options)?;
    let at_once = match socket.connect(&to) {
        Ok(()) => true,
        Err(e) if rustix::io::Errno::from_io_error(&e) == Some(rustix::io::Errno::INPROGRESS) => {
            false
        }
        Err(e) => return Err(e),
    };
    let stream = Stream::adopt(OwnedFd::from(socket), deadlines)?;
    if !at_once {
        wait(&stream, options.within).await?;
    }
    if runtime::on_ring() {
        // A non-blocking socket would make the ring's receives answer EAGAIN instead of waiting.
        rustix::io::ioctl_fionbio(stream.as_fd(), false)?;
    }
    Ok(stream)
}

async fn wait(stream: &Stream, within: Option<Duration>) -> io::Result<()> {
    if let Some(within) = within {
        stream.tx.arm(within);
    }
    stream.tx.writable().await?;
    stream.tx.disarm();
    if stream.expired().is_some() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    match stream.take_error()? {
        Some(e) => Err(e),
        None => Ok(()),
    }
}

fn open(to: &Addr, options: &Options) -> io::Result<(Socket, SockAddr)> {
    let (domain, to) = match to {
        Addr::Ip(at) => (Domain::for_address(*at), SockAddr::from(*at)),
        Addr::Unix(path) => {
            use std::os::unix::ffi::OsStrExt;
            (
                Domain::UNIX,
                SockAddr::unix(std::ffi::OsStr::from_bytes(path))?,
            )
        }
    };
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)?;
    if let Some(bytes) = options.sndbuf {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.rcvbuf {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(probes) = options.keepalive {
        stream::set_keepalive(&socket2::SockRef::from(&socket), probes)?;
    }
    if domain != Domain::UNIX {
        if options.nodelay {
            socket.set_nodelay(true)?;
        }
        bind(&socket, options)?;
    }
    Ok((socket, to))
}

fn bind(socket: &Socket, options: &Options) -> io::Result<()> {
    let Some(local) = options.bind else {
        return Ok(());
    };
    if options.transparent {
        if local.is_ipv4() {
            socket.set_ip_transparent(true)?;
        } else {
            option::set_transparent_v6(socket)?;
        }
    }
    if local.port() == 0 {
        // The port is chosen at connect time, per destination: not only 28,000 connections in all.
        let _ = option::set_bind_no_port(socket);
    }
    socket.bind(&SockAddr::from(local))
}
