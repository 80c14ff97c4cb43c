//! Opens connections to origins: TCP or unix, from a given local address, within a given time. Knows no pools.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::addr::Addr;
use super::deadline::Deadlines;
use super::ready::Side;
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
    let stream = Stream::adopt(OwnedFd::from(socket), Side::Asked, deadlines)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::listener::{self, Listener};

    #[test]
    fn tcp_and_unix_origins_are_reached() {
        runtime::on_each_driver(|| async {
            let deadlines = Deadlines::new();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("s");
            let unix = Addr::Unix(Rc::from(path.as_os_str().as_encoded_bytes()));
            for at in [Addr::Ip("127.0.0.1:0".parse().unwrap()), unix] {
                let fd = listener::bind(&at, &listener::Options::default()).unwrap();
                let listener = Listener::new(fd, 3).unwrap();
                let to = listener.local_addr().unwrap();
                assert_eq!(to.is_unix(), at.is_unix());
                let options = Options {
                    within: Some(Duration::from_secs(5)),
                    keepalive: Some(Keepalive::default()),
                    nodelay: true,
                    ..Options::default()
                };
                let mut stream = connect(&to, &options, &deadlines).await.unwrap();
                listener.readable().await.unwrap();
                let mut accepted = listener.try_accept(&deadlines).unwrap().unwrap();
                assert_eq!(accepted.listener, 3);
                assert!(listener.try_accept(&deadlines).unwrap().is_none());
                assert_eq!(accepted.peer, stream.local_addr().unwrap());
                assert_eq!(stream.peer_addr().unwrap(), to);
                let (result, _) = stream.tx.send_all(b"x".to_vec()).await;
                result.unwrap();
                let (n, _) = accepted.stream.rx.recv(Vec::new()).await;
                assert_eq!(n.unwrap(), 1);
                assert_eq!(stream.tcp_info().is_ok(), !to.is_unix());
            }
        });
    }

    #[test]
    fn a_closed_port_refuses_and_a_bound_address_is_used() {
        runtime::on_each_driver(|| async {
            let deadlines = Deadlines::new();
            let fd = listener::bind(
                &Addr::Ip("127.0.0.1:0".parse().unwrap()),
                &listener::Options::default(),
            );
            let listener = Listener::new(fd.unwrap(), 0).unwrap();
            let to = listener.local_addr().unwrap();
            let options = Options {
                bind: Some("127.0.0.2:0".parse().unwrap()),
                ..Options::default()
            };
            let stream = connect(&to, &options, &deadlines).await.unwrap();
            assert_eq!(
                stream.local_addr().unwrap().ip().unwrap().ip().to_string(),
                "127.0.0.2"
            );
            drop((stream, listener));
            // The close of the listener goes through the ring.
            runtime::yield_now().await;
            let refused = connect(&to, &Options::default(), &deadlines)
                .await
                .err()
                .unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        });
    }

    #[test]
    fn a_silent_origin_times_out() {
        runtime::on_each_driver(|| async {
            let deadlines = Deadlines::new();
            runtime::spawn(deadlines.clone().run());
            // A full accept queue: the kernel drops what comes after, which looks like a lost packet.
            let options = listener::Options {
                backlog: 0,
                ..listener::Options::default()
            };
            let fd = listener::bind(&Addr::Ip("127.0.0.1:0".parse().unwrap()), &options).unwrap();
            let to = Addr::from(Some(rustix::net::getsockname(&fd).unwrap()));
            let options = Options {
                within: Some(Duration::from_millis(40)),
                ..Options::default()
            };
            let mut kept = Vec::new();
            let error = loop {
                match connect(&to, &options, &deadlines).await {
                    Ok(stream) => kept.push(stream),
                    Err(e) => break e,
                }
                assert!(kept.len() < 10);
            };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            deadlines.stop();
        });
    }
}
