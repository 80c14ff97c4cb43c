//! Ports chosen by the kernel and kept: a reserved port is bound but does not listen, so nobody else is given it,
//! a connection to it is refused, and a server that sets `SO_REUSEADDR` can still listen on it.

use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// A loopback port that stays ours while this value lives.
#[derive(Debug)]
pub struct Port {
    /// Holds the reservation; never listens.
    _socket: Socket,
    number: u16,
}

impl Port {
    /// Reserves a port of the kernel's choice on 127.0.0.1.
    pub fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        let number = socket.local_addr().unwrap().as_socket().unwrap().port();
        Self {
            _socket: socket,
            number,
        }
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The port with its address, as `127.0.0.1:N`.
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.number))
    }
}
