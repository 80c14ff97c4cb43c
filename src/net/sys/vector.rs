//! Two owned buffers as one vectored send.

use monoio::buf::{IoBuf, IoVecBuf};

/// The kernel's view of two buffers. Boxed, because its address is handed out before the operation that holds it
/// moves to where it waits; kept by its owner from send to send, so that sending does not allocate.
pub type Vector = Box<[libc::iovec; 2]>;

/// An empty [`Vector`].
pub fn vector() -> Vector {
    let none = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 0,
    };
    Box::new([none, none])
}

/// A head and a body that are sent together.
pub struct Joined<B> {
    head: Vec<u8>,
    body: B,
    vector: Vector,
}

impl<B: IoBuf> Joined<B> {
    /// Joins them without copying.
    pub fn new(head: Vec<u8>, body: B, mut vector: Vector) -> Self {
        let entry = |at: *const u8, len| libc::iovec {
            iov_base: at.cast_mut().cast(),
            iov_len: len,
        };
        *vector = [
            entry(head.as_ptr(), head.len()),
            entry(body.read_ptr(), body.bytes_init()),
        ];
        Self { head, body, vector }
    }

    /// Takes them apart.
    pub fn split(self) -> (Vec<u8>, B, Vector) {
        (self.head, self.body, self.vector)
    }
}

// SAFETY: the pointers lead to the heap (the box, the head's and the body's bytes, which `IoBuf` promises not to move),
// self owns all three, and nothing changes them while self exists: `split` consumes it.
unsafe impl<B: IoBuf> IoVecBuf for Joined<B> {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.vector.as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.vector.len()
    }
}
