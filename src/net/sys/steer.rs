//! Connections of one client address go to one socket of a group: a program of classic BPF that the kernel runs for
//! each new connection. It computes [`hash::address`](crate::base::hash::address), in the kernel's instructions.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use libc::{
    BPF_A, BPF_ABS, BPF_ALU, BPF_B, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_MISC, BPF_MOD, BPF_MUL,
    BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X, BPF_XOR, sock_filter, sock_fprog,
};

use crate::base::hash::{ADDRESS_JOIN, ADDRESS_MIX};

const SO_ATTACH_REUSEPORT_CBPF: i32 = 51;
const SO_DETACH_REUSEPORT_BPF: i32 = 68;

/// Loads at this offset and above are from the network header.
const NETWORK: u32 = -0x10_0000_i32 as u32;
/// Where the source address is in an IPv4 header, and in an IPv6 header.
const SOURCE_V4: u32 = NETWORK + 12;
const SOURCE_V6: u32 = NETWORK + 8;

const fn step(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

const fn load(at: u32) -> sock_filter {
    step(BPF_LD | BPF_W | BPF_ABS, at)
}

/// The accumulator moves to the index register.
const KEEP: sock_filter = step(BPF_MISC | BPF_TAX, 0);
const XOR_KEPT: sock_filter = step(BPF_ALU | BPF_XOR | BPF_X, 0);

const fn times(factor: u32) -> sock_filter {
    step(BPF_ALU | BPF_MUL | BPF_K, factor)
}

const fn shifted(bits: u32) -> sock_filter {
    step(BPF_ALU | BPF_RSH | BPF_K, bits)
}

/// The program for a group whose first `sockets` are chosen from.
fn program(sockets: u32) -> Vec<sock_filter> {
    let mut v6 = vec![load(SOURCE_V6)];
    for word in 1..4 {
        v6.extend([
            times(ADDRESS_JOIN),
            KEEP,
            load(SOURCE_V6 + 4 * word),
            XOR_KEPT,
        ]);
    }
    let ([a, b, c], [first, second]) = ADDRESS_MIX;
    let mix = [
        KEEP,
        shifted(a),
        XOR_KEPT,
        times(first),
        KEEP,
        shifted(b),
        XOR_KEPT,
        times(second),
        KEEP,
        shifted(c),
        XOR_KEPT,
        step(BPF_ALU | BPF_MOD | BPF_K, sockets),
        step(BPF_RET | BPF_A, 0),
    ];
    let mut program = vec![
        step(BPF_LD | BPF_B | BPF_ABS, NETWORK),
        shifted(4),
        // Behind the two steps of the other version.
        sock_filter {
            jf: 2,
            ..step(BPF_JMP | BPF_JEQ | BPF_K, 4)
        },
        load(SOURCE_V4),
        step(BPF_JMP, v6.len() as u32),
    ];
    program.extend(v6);
    program.extend(mix);
    program
}

/// From now on the address of a client decides which of the first `sockets` listening sockets of this socket's group
/// gets its connections, in the order in which they began to listen.
pub fn by_client(socket: impl AsFd, sockets: u32) -> io::Result<()> {
    let mut program = program(sockets.max(1));
    let filter = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let fd = socket.as_fd().as_raw_fd();
    let at = (&raw const filter).cast::<libc::c_void>();
    let len = size_of::<sock_fprog>() as libc::socklen_t;
    // SAFETY: `filter` and the program that it points to outlive the call, which copies both; the borrow keeps the
    // descriptor open.
    let rc = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, at, len) };
    result(rc)
}

/// The kernel spreads connections again.
pub fn spread(socket: impl AsFd) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let none = 0i32;
    let at = (&raw const none).cast::<libc::c_void>();
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `none` outlives the call, which reads `len` bytes of it; the borrow keeps the descriptor open.
    let rc = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, at, len) };
    match result(rc) {
        // Nothing was attached.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

fn result(rc: i32) -> io::Result<()> {
    match rc {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "a test may block")]
mod tests {
    use std::net::{IpAddr, SocketAddr, TcpListener};
    use std::os::fd::OwnedFd;

    use rustix::event::{PollFd, PollFlags, poll};
    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;
    use crate::base::hash;

    fn listener(at: SocketAddr) -> TcpListener {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(true).unwrap();
        if at.is_ipv6() {
            socket.set_only_v6(false).unwrap();
        }
        socket.bind(&SockAddr::from(at)).unwrap();
        socket.listen(64).unwrap();
        socket.set_nonblocking(true).unwrap();
        TcpListener::from(OwnedFd::from(socket))
    }

    /// Dials from an address, and says which of the listeners took it.
    fn taken_by(listeners: &[TcpListener], from: IpAddr, to: SocketAddr) -> usize {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket
            .bind(&SockAddr::from(SocketAddr::new(from, 0)))
            .unwrap();
        socket.connect(&SockAddr::from(to)).unwrap();
        loop {
            if let Some(at) = listeners.iter().position(|l| l.accept().is_ok()) {
                return at;
            }
            let polled = |listener| PollFd::new(listener, PollFlags::IN);
            let mut polled: Vec<_> = listeners.iter().map(polled).collect();
            poll(&mut polled, None).unwrap();
        }
    }

    #[test]
    fn the_kernel_computes_the_same_hash() {
        let first = listener("[::]:0".parse().unwrap());
        let port = first.local_addr().unwrap().port();
        let at: SocketAddr = format!("[::]:{port}").parse().unwrap();
        // One more than is chosen from: those that a smaller number of shards left over get nothing new.
        let listeners = [first, listener(at), listener(at), listener(at)];
        by_client(&listeners[0], 3).unwrap();
        let mut seen = [0; 4];
        for n in 1..40u8 {
            let from = IpAddr::from([127, 0, 3, n]);
            let to = SocketAddr::from(([127, 0, 0, 1], port));
            let taken = taken_by(&listeners, from, to);
            assert_eq!(taken, (hash::address(from) % 3) as usize, "{from}");
            seen[taken] += 1;
        }
        assert!(seen[..3].iter().all(|&n| n > 0) && seen[3] == 0, "{seen:?}");
        let (from, to) = (
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
        );
        for _ in 0..5 {
            let taken = taken_by(&listeners, from, to);
            assert_eq!(taken, (hash::address(from) % 3) as usize);
        }
        spread(&listeners[0]).unwrap();
        spread(&listeners[0]).unwrap();
        let from = IpAddr::from([127, 0, 3, 1]);
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let mut taken: Vec<_> = (0..64).map(|_| taken_by(&listeners, from, to)).collect();
        taken.sort_unstable();
        taken.dedup();
        assert!(taken.len() > 1, "one address is spread again");
    }

    #[test]
    fn ipv6_words_are_joined_as_in_the_hash() {
        // The loopback has one IPv6 address only: the program itself is run for the others.
        for text in [
            "2001:db8::1",
            "fe80::1:2:3:4",
            "::1",
            "2001:db8:ffff:1:2:3:4:5",
        ] {
            let IpAddr::V6(at) = text.parse().unwrap() else {
                unreachable!()
            };
            let mut header = vec![0x60, 0, 0, 0, 0, 0, 0, 0];
            header.extend(at.octets());
            assert_eq!(
                run(&program(1000), &header),
                hash::address(at.into()) % 1000,
                "{text}"
            );
        }
        let mut header = vec![0x45; 12];
        header.extend([192, 0, 2, 77]);
        let at = IpAddr::from([192, 0, 2, 77]);
        assert_eq!(run(&program(1000), &header), hash::address(at) % 1000);
    }

    /// The few instructions that the program has.
    fn run(program: &[sock_filter], header: &[u8]) -> u32 {
        let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
        loop {
            let step = program[at];
            at += 1;
            let from = step.k.wrapping_sub(NETWORK) as usize;
            match u32::from(step.code) {
                code if code == BPF_LD | BPF_W | BPF_ABS => {
                    a = u32::from_be_bytes(header[from..from + 4].try_into().unwrap());
                }
                code if code == BPF_LD | BPF_B | BPF_ABS => a = header[from].into(),
                code if code == BPF_MISC | BPF_TAX => x = a,
                code if code == BPF_ALU | BPF_XOR | BPF_X => a ^= x,
                code if code == BPF_ALU | BPF_MUL | BPF_K => a = a.wrapping_mul(step.k),
                code if code == BPF_ALU | BPF_RSH | BPF_K => a >>= step.k,
                code if code == BPF_ALU | BPF_MOD | BPF_K => a %= step.k,
                code if code == BPF_JMP | BPF_JEQ | BPF_K => {
                    at += usize::from(if a == step.k { step.jt } else { step.jf });
                }
                code if code == BPF_JMP => at += step.k as usize,
                code if code == BPF_RET | BPF_A => return a,
                code => panic!("no such instruction: {code}"),
            }
        }
    }
}
