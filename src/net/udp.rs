//! Datagrams, over UDP or a unix socket: what the resolver asks with and syslog is sent by. Sending never waits.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, SockAddr, Socket, Type};

use super::addr::Addr;
use super::sys::duplex::Duplex;

/// A datagram socket that is connected to one peer.
pub struct Datagrams(Duplex);

impl Datagrams {
    /// Connects to the peer; the kernel drops datagrams from anyone else.
    pub fn connect(to: &Addr) -> io::Result<Self> {
        Ok(Self(Duplex::new(open(to)?)?))
    }

    /// Sends one datagram; `false` when the socket has no room for it now.
    pub fn try_send(&self, datagram: &[u8]) -> io::Result<bool> {
        try_send(&self.0, datagram)
    }

    /// Waits for a datagram and appends it to the buffer, whose spare room bounds it. May be dropped without loss.
    pub async fn recv(&self, buf: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            // Before waiting: the runtime on epoll does not wake for an error alone.
            let into = rustix::buffer::spare_capacity(buf);
            match rustix::net::recv(self.0.as_fd(), into, RecvFlags::DONTWAIT) {
                Ok((n, _)) => return Ok(n),
                Err(rustix::io::Errno::AGAIN) => self.0.readable().await?,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// This end.
    pub fn local_addr(&self) -> io::Result<Addr> {
        Ok(Addr::from(Some(rustix::net::getsockname(self.0.as_fd())?)))
    }
}

/// Opens a datagram socket that is connected to `to`, for who needs no runtime.
pub fn open(to: &Addr) -> io::Result<OwnedFd> {
    let (domain, to) = match to {
        Addr::Ip(at) => (Domain::for_address(*at), SockAddr::from(*at)),
        Addr::Unix(path) => {
            use std::os::unix::ffi::OsStrExt;
            let path = std::ffi::OsStr::from_bytes(path);
            (Domain::UNIX, SockAddr::unix(path)?)
        }
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), None)?;
    socket.connect(&to)?;
    Ok(socket.into())
}

/// Opens a UDP socket that is bound to `at`.
pub fn bind(at: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(at),
        Type::DGRAM.nonblocking().cloexec(),
        None,
    )?;
    socket.bind(&SockAddr::from(at))?;
    Ok(socket.into())
}

/// Sends one datagram on a connected socket; `false` when it has no room for it now.
pub fn try_send(socket: impl AsFd, datagram: &[u8]) -> io::Result<bool> {
    match rustix::net::send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {
            Ok(false)
        }
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::runtime;

    #[test]
    fn datagrams_go_to_the_peer_and_come_back() {
        runtime::on_each_driver(|| async {
            let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let socket = Datagrams::connect(&peer.local_addr().unwrap().into()).unwrap();
            assert!(socket.try_send(b"ask").unwrap());
            let mut got = [0; 16];
            let (n, from) = peer.recv_from(&mut got).unwrap();
            assert_eq!(&got[..n], b"ask");
            assert_eq!(Some(from), socket.local_addr().unwrap().ip());
            peer.send_to(b"answer", from).unwrap();
            let mut buf = Vec::with_capacity(512);
            assert_eq!(socket.recv(&mut buf).await.unwrap(), 6);
            assert_eq!(buf, b"answer");
        });
    }

    #[test]
    fn a_unix_peer_is_reached_and_a_missing_one_is_an_error() {
        runtime::on_each_driver(|| async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let peer = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
            let to = Addr::Unix(std::rc::Rc::from(path.as_os_str().as_encoded_bytes()));
            let socket = Datagrams::connect(&to).unwrap();
            assert!(socket.try_send(b"line").unwrap());
            let mut got = [0; 16];
            assert_eq!(peer.recv(&mut got).unwrap(), 4);
            drop(peer);
            assert!(socket.try_send(b"line").is_err());
        });
    }
}
