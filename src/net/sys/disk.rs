//! A regular file that the ring reads and writes.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// An open file.
pub struct Disk(pub(in crate::net) monoio::fs::File);

impl AsFd for Disk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: self owns the file and closes it only when dropped, which the lifetime of the result forbids.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
