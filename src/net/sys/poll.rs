//! poll(2) over a whole table at once, without waiting.

use std::io;
use std::os::fd::RawFd;

/// One entry of a batch.
pub type PollFd = libc::pollfd;

/// Asks whether the peer has closed, or half closed, or the connection failed.
pub fn hangup(raw: RawFd) -> PollFd {
    PollFd {
        fd: raw,
        events: libc::POLLRDHUP,
        revents: 0,
    }
}

/// As [`hangup`], and whether the peer sent anything.
pub fn any(raw: RawFd) -> PollFd {
    PollFd {
        fd: raw,
        events: libc::POLLRDHUP | libc::POLLIN,
        revents: 0,
    }
}

/// Whether the last poll saw any of what [`hangup`] or [`any`] asks for.
pub fn hung_up(entry: &PollFd) -> bool {
    entry.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLIN) != 0
}

/// Fills in every entry's answer; returns how many have one.
pub fn poll_now(entries: &mut [PollFd]) -> io::Result<usize> {
    let count = entries.len() as libc::nfds_t;
    // SAFETY: the slice outlives the call, which writes only its `revents`.
    let rc = unsafe { libc::poll(entries.as_mut_ptr(), count, 0) };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(rc as usize)
    }
}
