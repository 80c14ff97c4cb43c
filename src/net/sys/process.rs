//! Process-wide calls that have no safe wrapper: going to the background, accounts by name, inherited descriptors.

use std::ffi::CString;
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Room for one account or group entry; a group with thousands of members needs more, and gets it.
const ENTRY_BYTES: usize = 16 << 10;
/// Above this a directory service is talking nonsense.
const ENTRY_BYTES_MAX: usize = 16 << 20;
/// Groups of one user; the kernel's own limit.
const GROUPS_MAX: usize = 65_536;

/// Which side of [`fork`] the caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The process that was there before.
    Parent,
    /// The new one.
    Child,
}

/// Splits the process. Refused while other threads run: the child would have only this one, with their locks held.
#[expect(
    clippy::disallowed_methods,
    reason = "no shard runs yet that it could block"
)]
pub fn fork() -> io::Result<Side> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads != 1 {
        return Err(io::Error::other("other threads are running"));
    }
    // SAFETY: no other thread exists, so the child's copy of every lock and buffer is in a state that this thread left.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        _ => Ok(Side::Parent),
    }
}

/// A user's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// Looks a user up by name; `Ok(None)` when there is no such user.
pub fn account(name: &str) -> io::Result<Option<Account>> {
    let Ok(name) = CString::new(name) else {
        return Ok(None);
    };
    // SAFETY: the structure is integers and pointers, for which all zeroes is a value.
    let mut entry: libc::passwd = unsafe { zeroed() };
    let found = with_room(|room| {
        let mut out = std::ptr::null_mut();
        // SAFETY: all pointers are to locals and to `room`, whose length is given; they outlive the call.
        let rc = unsafe {
            libc::getpwnam_r(
                name.as_ptr(),
                &raw mut entry,
                room.as_mut_ptr().cast(),
                room.len(),
                &raw mut out,
            )
        };
        (rc, !out.is_null())
    })?;
    Ok(found.then_some(Account {
        uid: entry.pw_uid,
        gid: entry.pw_gid,
    }))
}

/// Looks a group up by name; `Ok(None)` when there is no such group.
pub fn group(name: &str) -> io::Result<Option<u32>> {
    let Ok(name) = CString::new(name) else {
        return Ok(None);
    };
    // SAFETY: the structure is integers and pointers, for which all zeroes is a value.
    let mut entry: libc::group = unsafe { zeroed() };
    let found = with_room(|room| {
        let mut out = std::ptr::null_mut();
        // SAFETY: all pointers are to locals and to `room`, whose length is given; they outlive the call.
        let rc = unsafe {
            libc::getgrnam_r(
                name.as_ptr(),
                &raw mut entry,
                room.as_mut_ptr().cast(),
                room.len(),
                &raw mut out,
            )
        };
        (rc, !out.is_null())
    })?;
    Ok(found.then_some(entry.gr_gid))
}

/// All groups of a user, `gid` among them.
pub fn groups(name: &str, gid: u32) -> Vec<u32> {
    let Ok(name) = CString::new(name) else {
        return vec![gid];
    };
    let mut list = vec![0; 64];
    loop {
        let mut count = list.len() as libc::c_int;
        // SAFETY: `list` has room for `count` ids, `count` is a local, and the name ends with a zero; all outlive the call.
        let rc =
            unsafe { libc::getgrouplist(name.as_ptr(), gid, list.as_mut_ptr(), &raw mut count) };
        if rc >= 0 {
            list.truncate(usize::try_from(count).unwrap_or(0));
            return list;
        }
        if list.len() >= GROUPS_MAX {
            return vec![gid];
        }
        list.resize(list.len() * 4, 0);
    }
}

/// Calls a reentrant lookup with more and more room until it has enough.
fn with_room(mut call: impl FnMut(&mut [MaybeUninit<u8>]) -> (i32, bool)) -> io::Result<bool> {
    let mut room = vec![MaybeUninit::uninit(); ENTRY_BYTES];
    loop {
        match call(&mut room) {
            (0, found) => return Ok(found),
            (libc::ERANGE, _) if room.len() < ENTRY_BYTES_MAX => {
                room.resize(room.len() * 4, MaybeUninit::uninit())
            }
            (libc::ENOENT | libc::ESRCH, _) => return Ok(false),
            (libc::EINTR, _) => {}
            (number, _) => return Err(io::Error::from_raw_os_error(number)),
        }
    }
}

/// Takes ownership of a descriptor that was inherited under a known number, and keeps it from being inherited again.
/// Each number must be taken once only; the caller reads them from the environment that its parent made.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: a plain integer call; a number that is not open gives EBADF.
    let rc = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, as the call above has shown, and inherited ones have no other owner in this program.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes every descriptor from 3 on but one: what a process was left by whoever started it.
///
/// For the first moments of a program, when it has opened nothing but `keep` and its standard streams.
pub fn close_all_but(keep: BorrowedFd<'_>) -> io::Result<()> {
    let keep = u32::try_from(keep.as_raw_fd()).map_err(io::Error::other)?;
    for (first, last) in [(3, keep.saturating_sub(1)), (keep + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: a plain integer call; nothing in this program owns a descriptor in the range yet.
        let rc = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if rc != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name() {
        let root = account("root")
            .expect("lookup")
            .expect("every system has it");
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(account("no-such-user-here").expect("lookup"), None);
        assert_eq!(account("nul\0").expect("lookup"), None);
        assert_eq!(group("root").expect("lookup"), Some(0));
        assert_eq!(group("no-such-group-here").expect("lookup"), None);
        assert!(groups("root", 0).contains(&0));
    }

    #[test]
    fn a_process_with_threads_does_not_fork() {
        // The test runner has threads of its own.
        let waiting = std::thread::spawn(std::thread::park);
        assert!(fork().is_err());
        waiting.thread().unpark();
        waiting.join().expect("thread");
    }

    #[test]
    fn what_is_not_open_is_not_adopted() {
        assert!(adopt(1_000_000).is_err());
        assert!(adopt(2).is_err());
    }
}
