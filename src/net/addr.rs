//! The address of one end of a connection. Knows no names: resolving is done above.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;

use rustix::net::SocketAddrAny;

/// Where a socket is, or what it is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Addr {
    /// IPv4 or IPv6.
    Ip(SocketAddr),
    /// A unix socket's path; empty for an unnamed one, which every client of a unix listener is.
    Unix(Rc<[u8]>),
}

impl Addr {
    /// The IP address and port, if it is one.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(at) => Some(*at),
            Self::Unix(_) => None,
        }
    }

    /// An unnamed unix socket.
    pub fn unnamed() -> Self {
        Self::Unix(Rc::from(&b""[..]))
    }

    /// Whether this is a unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl From<SocketAddr> for Addr {
    fn from(at: SocketAddr) -> Self {
        Self::Ip(at)
    }
}

impl From<Option<SocketAddrAny>> for Addr {
    fn from(any: Option<SocketAddrAny>) -> Self {
        let Some(any) = any else {
            return Self::unnamed();
        };
        if let Ok(at) = SocketAddr::try_from(any.clone()) {
            return Self::Ip(at);
        }
        match rustix::net::SocketAddrUnix::try_from(any) {
            Ok(unix) => Self::Unix(Rc::from(unix.path_bytes().unwrap_or_default())),
            Err(_) => Self::unnamed(),
        }
    }
}

impl fmt::Display for Addr {
    /// As nginx writes it: `127.0.0.1:80`, `[::1]:80`, `unix:/path`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(at) => at.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", String::from_utf8_lossy(path)),
        }
    }
}
