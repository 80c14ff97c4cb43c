//! A regular file that the ring reads and writes, and a read that never waits for a disk.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// An open file.
pub struct Disk(pub(in crate::net) monoio::fs::File);

impl Disk {
    /// Takes an open file over.
    pub(in crate::net) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(monoio::fs::File::from_std(std::fs::File::from(fd))?))
    }
}

impl AsFd for Disk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: self owns the file and closes it only when dropped, which the lifetime of the result forbids.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// Appends what the kernel has in memory of a file at `offset` to the buffer's spare room, at most `max` bytes; an
/// error when it has none of it, or the file system cannot tell.
pub(in crate::net) fn read_now(
    fd: BorrowedFd<'_>,
    buf: &mut Vec<u8>,
    offset: u64,
    max: usize,
) -> io::Result<usize> {
    let room = buf.spare_capacity_mut();
    let part = libc::iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len().min(max),
    };
    let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: the one element of the vector is room of `buf`, of at most its length, which the kernel fills from its
    // beginning.
    let n = unsafe { libc::preadv2(fd.as_raw_fd(), &raw const part, 1, offset, libc::RWF_NOWAIT) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    let n = n as usize;
    // SAFETY: the kernel has filled `n` bytes behind the old length, within the capacity.
    unsafe { buf.set_len(buf.len() + n) };
    Ok(n)
}
