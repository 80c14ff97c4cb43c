//! One ring socket whose two directions are used at once: the runtime's own halves shut the socket down when the
//! write half goes, which would send a FIN before a wanted reset.

use std::cell::UnsafeCell;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::TcpStream;

/// A stream socket (TCP or unix) that is registered with this thread's runtime.
pub struct Duplex {
    io: UnsafeCell<TcpStream>,
    raw: RawFd,
}

impl Duplex {
    /// Takes the socket over. It must be blocking under the ring and non-blocking under epoll, see
    /// [`crate::net::runtime::on_ring`].
    #[expect(
        clippy::disallowed_types,
        reason = "the only way into the runtime's type; it never reads or writes"
    )]
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let raw = fd.as_raw_fd();
        // The runtime's type for TCP takes any stream socket: it looks at nothing but the descriptor.
        let io = TcpStream::from_std(std::net::TcpStream::from(fd))?;
        Ok(Self {
            io: UnsafeCell::new(io),
            raw,
        })
    }

    /// The runtime's socket, for operations that only read its descriptor.
    fn shared(&self) -> &TcpStream {
        // SAFETY: self owns the cell; the exclusive references that `exclusive` hands out are used only while an
        // operation is being submitted, which never yields, so none is in use here.
        unsafe { &*self.io.get() }
    }

    #[expect(
        clippy::mut_from_ref,
        reason = "the runtime's traits want it; see the proof inside"
    )]
    fn exclusive(&self) -> &mut TcpStream {
        // SAFETY: self owns the cell and lives in one thread. The runtime's read and write clone the descriptor's
        // handle when they are called and keep no reference while they wait (its own halves rely on the same, by
        // its `Split` promise for this type), so the reference ends before another one is made.
        unsafe { &mut *self.io.get() }
    }

    /// Receives into the buffer.
    pub fn recv<T: IoBufMut>(&self, buf: T) -> impl Future<Output = (io::Result<usize>, T)> + '_ {
        self.exclusive().read(buf)
    }

    /// Sends from the buffer.
    pub fn send<T: IoBuf>(&self, buf: T) -> impl Future<Output = (io::Result<usize>, T)> + '_ {
        self.exclusive().write(buf)
    }

    /// Completes when a receive would not wait. Dropping it loses nothing.
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> + '_ {
        self.shared().readable(false)
    }

    /// Completes when a send would not wait. Dropping it loses nothing.
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> + '_ {
        self.shared().writable(false)
    }
}

impl AsFd for Duplex {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: self owns the descriptor through the runtime's socket and closes it only when dropped, which the
        // lifetime of the result forbids.
        unsafe { BorrowedFd::borrow_raw(self.raw) }
    }
}
