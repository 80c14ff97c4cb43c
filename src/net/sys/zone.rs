//! The local time zone, which only the C library knows.

use std::mem::zeroed;

/// Seconds that local time is ahead of UTC at the given Unix second; 0 when the library cannot say.
pub fn utc_offset(unix_secs: i64) -> i32 {
    let at: libc::time_t = unix_secs;
    // SAFETY: the structure is integers and a pointer, for which all zeroes is a value.
    let mut local: libc::tm = unsafe { zeroed() };
    // SAFETY: both pointers are to locals that outlive the call; the result points to `local` or is null.
    let out = unsafe { libc::localtime_r(&raw const at, &raw mut local) };
    if out.is_null() {
        0
    } else {
        local.tm_gmtoff as i32
    }
}
