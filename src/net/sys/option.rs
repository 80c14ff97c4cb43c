//! Socket options that neither rustix nor socket2 names.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd};

/// Sets an integer option.
fn set_int(fd: impl AsFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let at = (&raw const value).cast::<libc::c_void>();
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` outlives the call, which reads `len` bytes of it; the borrow keeps the descriptor open.
    let rc = unsafe { libc::setsockopt(fd, level, name, at, len) };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Wakes a listener only when a connection has data.
pub fn set_defer_accept(fd: impl AsFd) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 1)
}

/// Lets a listener take data in the first segment, from so many clients at once.
pub fn set_fastopen(fd: impl AsFd, queue: i32) -> io::Result<()> {
    set_int(fd, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, queue)
}

/// Of the listeners of one group, this one takes what arrives on that core; none takes whatever comes.
pub fn set_incoming_cpu(fd: impl AsFd, core: Option<usize>) -> io::Result<()> {
    const SO_INCOMING_CPU: i32 = 49;
    let core = core.and_then(|core| i32::try_from(core).ok());
    set_int(fd, libc::SOL_SOCKET, SO_INCOMING_CPU, core.unwrap_or(-1))
}

/// A local port is chosen per destination, at connect time.
pub fn set_bind_no_port(fd: impl AsFd) -> io::Result<()> {
    const IP_BIND_ADDRESS_NO_PORT: i32 = 24;
    set_int(fd, libc::IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
}

/// Takes or uses IPv6 addresses that are not ours.
pub fn set_transparent_v6(fd: impl AsFd) -> io::Result<()> {
    const IPV6_TRANSPARENT: i32 = 75;
    set_int(fd, libc::IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
}

/// Writable only when less than so much is unsent.
pub fn set_notsent_lowat(fd: impl AsFd, bytes: usize) -> io::Result<()> {
    const TCP_NOTSENT_LOWAT: i32 = 25;
    set_int(fd, libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes as i32)
}

/// Closing the socket throws away what is unsent and resets the connection.
pub fn set_linger_zero(fd: impl AsFd) -> io::Result<()> {
    socket2::SockRef::from(&fd.as_fd()).set_linger(Some(std::time::Duration::ZERO))
}

/// What the kernel tells of a TCP connection, for the `$tcpinfo_*` variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round trip time, microseconds.
    pub rtt_us: u32,
    /// Its variance, microseconds.
    pub rttvar_us: u32,
    /// Congestion window, segments.
    pub snd_cwnd: u32,
    /// Receive window, bytes.
    pub rcv_space: u32,
    /// Bytes sent that the peer acknowledged, its SYN's answer counted as one.
    pub bytes_acked: u64,
}

/// Reads [`TcpInfo`]; fails on sockets that are not TCP.
pub fn tcp_info(fd: impl AsFd) -> io::Result<TcpInfo> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the structure is plain integers, for which all zeroes is a value.
    let mut info: libc::tcp_info = unsafe { zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let at = (&raw mut info).cast::<libc::c_void>();
    // SAFETY: `info` and `len` outlive the call, which writes at most `len` bytes; the borrow keeps the descriptor open.
    let rc = unsafe { libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut len) };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpInfo {
        rtt_us: info.tcpi_rtt,
        rttvar_us: info.tcpi_rttvar,
        snd_cwnd: info.tcpi_snd_cwnd,
        rcv_space: info.tcpi_rcv_space,
        bytes_acked: info.tcpi_bytes_acked,
    })
}
