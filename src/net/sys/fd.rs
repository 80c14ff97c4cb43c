//! Descriptors by number, for the dense tables that cannot hold a borrow.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::net::Shutdown;

/// Shuts down a socket that a table knows by number. Harmless on a number that is not an open socket; the table's
/// rule is that an entry goes before its socket closes, so that the number cannot mean another one.
pub(in crate::net) fn shutdown(raw: RawFd, how: Shutdown) -> io::Result<()> {
    // SAFETY: the borrow ends with this call, and the caller's table removes a socket before the socket's owner,
    // which runs on this same thread, closes it.
    let fd = unsafe { BorrowedFd::borrow_raw(raw) };
    Ok(rustix::net::shutdown(fd, how)?)
}
