//! One ring socket whose two directions are used at once: the runtime's own halves shut the socket down when the
//! write half goes, which would send a FIN before a wanted reset.

use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::TcpStream;

/// A stream socket (TCP or unix) that is registered with this thread's runtime.
pub struct Duplex {
    io: ManuallyDrop<UnsafeCell<TcpStream>>,
    raw: RawFd,
    /// Operations that were begun and have not come to their end. One that is dropped before stays counted: the kernel
    /// may still be at it.
    pending: Cell<u32>,
}

/// An operation that tells when it has ended.
struct Counted<'a, F> {
    operation: F,
    pending: &'a Cell<u32>,
}

impl<'a, F> Counted<'a, F> {
    fn new(operation: F, pending: &'a Cell<u32>) -> Self {
        pending.set(pending.get() + 1);
        Self { operation, pending }
    }
}

impl<F: Future> Future for Counted<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: `operation` is pinned with the whole: nothing moves it out, and dropping it is left to the compiler.
        let this = unsafe { self.get_unchecked_mut() };
        // SAFETY: as above.
        let operation = unsafe { Pin::new_unchecked(&mut this.operation) };
        let result = operation.poll(cx);
        if result.is_ready() {
            this.pending.set(this.pending.get() - 1);
        }
        result
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        // SAFETY: dropping happens once, and nothing uses the field after it.
        let io = unsafe { ManuallyDrop::take(&mut self.io) }.into_inner();
        if self.pending.get() == 0 && !monoio::utils::is_legacy() {
            // The runtime would close by two entries of the ring and an allocation; nothing waits here that needs it.
            // SAFETY: the runtime gives its only handle up, as no operation holds another one.
            drop(unsafe { OwnedFd::from_raw_fd(io.into_raw_fd()) });
        }
    }
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
            io: ManuallyDrop::new(UnsafeCell::new(io)),
            raw,
            pending: Cell::new(0),
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
        Counted::new(self.exclusive().read(buf), &self.pending)
    }

    /// Sends from the buffer.
    pub fn send<T: IoBuf>(&self, buf: T) -> impl Future<Output = (io::Result<usize>, T)> + '_ {
        Counted::new(self.exclusive().write(buf), &self.pending)
    }

    /// Completes when a receive would not wait. Dropping it loses nothing.
    pub fn readable(&self) -> impl Future<Output = io::Result<()>> + '_ {
        Counted::new(self.shared().readable(false), &self.pending)
    }

    /// Completes when a send would not wait. Dropping it loses nothing.
    pub fn writable(&self) -> impl Future<Output = io::Result<()>> + '_ {
        Counted::new(self.shared().writable(false), &self.pending)
    }
}

impl AsFd for Duplex {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: self owns the descriptor through the runtime's socket and closes it only when dropped, which the
        // lifetime of the result forbids.
        unsafe { BorrowedFd::borrow_raw(self.raw) }
    }
}
