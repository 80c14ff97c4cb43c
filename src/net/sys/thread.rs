//! How the kernel shares a core between threads, where there is no safe wrapper for it.

use std::io;
use std::mem::zeroed;

/// The shortest slice that the kernel takes for an ordinary thread, nanoseconds.
const SLICE_NS: u64 = 100_000;

/// Asks for short turns on a core: a thread that works little and often then gets its turn before those that compute, and
/// no more of the core than before. Kernels before 6.12 take the wish and do nothing.
pub fn prefer_short_turns() -> io::Result<()> {
    // SAFETY: the structure is integers, for which all zeroes is a value.
    let mut rules: libc::sched_attr = unsafe { zeroed() };
    let size = size_of_val(&rules) as libc::c_uint;
    // SAFETY: the kernel writes at most `size` bytes of the structure, which outlives the call; 0 is this thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut rules, size, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    rules.sched_runtime = SLICE_NS;
    // SAFETY: the kernel reads the structure, whose `size` it has filled in; 0 is this thread.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const rules, 0) };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_thread_may_ask_for_it() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        prefer_short_turns().unwrap();
        assert_eq!(nice(), before);
    }
}
