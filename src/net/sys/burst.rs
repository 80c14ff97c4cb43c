//! Many sends or receives that do not wait, made by one system call: a ring of its own for each shard, on which nothing else
//! is ever submitted. Each call is marked as one that may not wait, so that all have ended when `io_uring_enter(2)` is back
//! (`IORING_OP_SEND` and `IORING_OP_RECV` with `MSG_DONTWAIT`). Where there is no such ring, and where there are only a few
//! calls, they are made one by one. Start at [`send`] and [`receive`].

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// Calls that one system call makes: as many as a mask has bits.
const CALLS_MAX: usize = u128::BITS as usize;

/// Fewer cost less one by one.
const CALLS_MIN: usize = 4;

/// How often the kernel is asked to take what it has left.
const TRIES: usize = 3;

const RECV: RecvFlags = RecvFlags::DONTWAIT;
const SEND: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// `MSG_WAITALL`: the ring then takes a send that is not taken whole for a failure, and tells how much was taken. What has
/// succeeded tells nothing.
const WHOLE: u32 = 0x100;

thread_local! {
    /// Lent while calls are made, and closed if that panics: the kernel never finds a call whose buffer is gone.
    static RING: Cell<Option<Box<IoUring>>> = const { Cell::new(None) };
}

/// From now on this thread's calls are made in bursts, if the kernel has all that it takes (Linux 5.18).
pub fn open() {
    let mut best = IoUring::builder();
    best.setup_submit_all()
        .setup_single_issuer()
        .setup_defer_taskrun();
    let mut fair = IoUring::builder();
    fair.setup_submit_all();
    let build = |ring: io_uring::Builder| ring.build(CALLS_MAX as u32).ok();
    let able = build(best).or_else(|| build(fair)).filter(|ring| {
        let params = ring.params();
        params.is_feature_skip_cqe_on_success() && params.is_feature_nodrop()
    });
    RING.set(able.map(Box::new));
}

/// No more bursts on this thread.
pub fn close() {
    RING.set(None);
}

/// Makes all these sends, in their order. `call` tells a send's socket and bytes; `ended` is told what the socket has taken.
pub fn send<'a, T>(
    items: &'a [T],
    call: impl Fn(&'a T) -> (BorrowedFd<'a>, &'a [u8]),
    mut ended: impl FnMut(&'a T, Result<usize, Errno>),
) {
    for items in items.chunks(CALLS_MAX) {
        let entries = items.iter().map(|item| {
            let (socket, bytes) = call(item);
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes.as_ptr(), length)
                .flags((SEND.bits() | WHOLE) as i32)
                .build()
                .flags(Flags::SKIP_SUCCESS)
        });
        let mut told = 0u128;
        let made = submit(entries).map_or(0, |burst| {
            burst.reap(|number, result| {
                told |= 1 << number;
                ended(&items[number], result);
            })
        });
        for (number, item) in items.iter().enumerate() {
            if number >= made {
                let (socket, bytes) = call(item);
                ended(item, rustix::net::send(socket, bytes, SEND));
            } else if told & (1 << number) == 0 {
                ended(item, Ok(call(item).1.len()));
            }
        }
    }
}

/// A receive into spare room of a buffer.
pub struct Receive {
    /// Where from.
    pub socket: Rc<dyn AsFd>,
    /// Empty before; has what came afterwards.
    pub into: Vec<u8>,
    /// Receives at most so many bytes, and no more than the buffer has room for.
    pub room: usize,
    /// How many bytes came. Nothing has yet.
    pub result: Result<usize, Errno>,
}

/// Makes all these receives, in their order.
pub fn receive(calls: &mut [Receive]) {
    for calls in calls.chunks_mut(CALLS_MAX) {
        let entries = calls.iter_mut().map(|call| {
            let into = call.into.spare_capacity_mut();
            let room = u32::try_from(into.len().min(call.room)).unwrap_or(u32::MAX);
            let fd = types::Fd(call.socket.as_fd().as_raw_fd());
            opcode::Recv::new(fd, into.as_mut_ptr().cast(), room)
                .flags(RECV.bits() as i32)
                .build()
        });
        let submitted = submit(entries);
        let made = submitted.map_or(0, |burst| {
            burst.reap(|number, result| calls[number].result = result)
        });
        for (number, call) in calls.iter_mut().enumerate() {
            if number >= made {
                let spare = call.into.spare_capacity_mut();
                let room = spare.len().min(call.room);
                let received = rustix::net::recv(&call.socket, &mut spare[..room], RECV);
                call.result = received.map(|(_, n)| n);
            }
            if let Ok(n) = call.result {
                // SAFETY: the kernel has written so many bytes behind those that were there, within the room.
                unsafe { call.into.set_len(call.into.len() + n) };
            }
        }
    }
}

/// Calls that the kernel has made, but for the last few if it refused them.
struct Burst {
    ring: Box<IoUring>,
    count: usize,
    left: usize,
}

/// Has the calls made. None where each is to be made by itself.
fn submit(entries: impl ExactSizeIterator<Item = Entry>) -> Option<Burst> {
    if entries.len() < CALLS_MIN {
        return None;
    }
    let mut ring = RING.take()?;
    let mut queue = ring.submission();
    for (number, entry) in entries.enumerate() {
        let entry = entry.user_data(number as u64);
        // SAFETY: the caller keeps socket and buffer for the time of this call. No operation outlasts it, as none may wait;
        // what was not taken by then is lost with the ring, as it is if this panics.
        if unsafe { queue.push(&entry) }.is_err() {
            break;
        }
    }
    let count = queue.len();
    drop(queue);
    let mut left = count;
    for _ in 0..TRIES {
        // What is still there says how it went.
        let _ = ring.submit();
        left = ring.submission().len();
        if left == 0 {
            break;
        }
    }
    Some(Burst { ring, count, left })
}

impl Burst {
    /// Tells results by number, of receives all, of sends those that were not taken whole, and returns how many calls were made.
    /// A ring that has calls left is given up.
    fn reap(mut self, mut tell: impl FnMut(usize, Result<usize, Errno>)) -> usize {
        for completion in self.ring.completion() {
            let n = completion.result();
            let result = usize::try_from(n).map_err(|_| Errno::from_raw_os_error(-n));
            tell(completion.user_data() as usize, result);
        }
        if self.left == 0 {
            RING.set(Some(self.ring));
        }
        self.count - self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// Sockets with a small buffer each, and their peers.
    fn pairs(count: usize) -> (Vec<Rc<UnixStream>>, Vec<UnixStream>) {
        (0..count)
            .map(|_| {
                let (a, b) = UnixStream::pair().unwrap();
                b.set_nonblocking(true).unwrap();
                rustix::net::sockopt::set_socket_send_buffer_size(&a, 4096).unwrap();
                (Rc::new(a), b)
            })
            .unzip()
    }

    fn sent(sockets: &[Rc<UnixStream>], bytes: &[u8]) -> Vec<Result<usize, Errno>> {
        let items: Vec<_> = sockets.iter().enumerate().collect();
        let mut results = vec![None; items.len()];
        send(
            &items,
            |(_, socket)| (socket.as_fd(), bytes),
            |(number, _), result| assert!(results[*number].replace(result).is_none()),
        );
        results.into_iter().map(Option::unwrap).collect()
    }

    fn received(sockets: &[Rc<UnixStream>], room: usize) -> Vec<(Result<usize, Errno>, Vec<u8>)> {
        let receive = |socket: &Rc<UnixStream>| Receive {
            socket: socket.clone(),
            into: Vec::with_capacity(4096),
            room,
            result: Err(Errno::AGAIN),
        };
        let mut calls: Vec<_> = sockets.iter().map(receive).collect();
        super::receive(&mut calls);
        calls
            .into_iter()
            .map(|call| (call.result, call.into))
            .collect()
    }

    fn here(peer: &UnixStream) -> Vec<u8> {
        let mut got = vec![0; 1 << 20];
        let n = rustix::net::recv(peer, &mut got[..], RECV).map_or(0, |(n, _)| n);
        got.truncate(n);
        got
    }

    /// With a ring and without one: few calls, many, and more than one burst makes.
    fn each(test: impl Fn(usize)) {
        for ring in [true, false] {
            if ring {
                open()
            } else {
                close()
            }
            for count in [1, CALLS_MIN, CALLS_MAX, CALLS_MAX + 9] {
                test(count);
            }
        }
    }

    #[test]
    fn all_are_sent_and_each_tells_what_became_of_it() {
        each(|count| {
            let (sockets, mut peers) = pairs(count);
            assert_eq!(sent(&sockets, b"hello"), vec![Ok(5); count]);
            assert!(peers.iter().all(|peer| here(peer) == b"hello"));
            // The last peer is gone.
            peers.pop();
            let results = sent(&sockets, b"again");
            assert_eq!(results[..count - 1], vec![Ok(5); count - 1]);
            assert_eq!(results[count - 1], Err(Errno::PIPE));
        });
    }

    #[test]
    fn what_a_socket_does_not_take_is_told() {
        each(|count| {
            let (sockets, peers) = pairs(count);
            let large = vec![b'x'; 1 << 20];
            let results = sent(&sockets, &large);
            for (result, peer) in results.into_iter().zip(&peers) {
                let n = result.unwrap();
                assert!((1..large.len()).contains(&n));
                assert_eq!(here(peer).len(), n);
            }
            // Now all are full; nothing waits, and nothing of it leaves later.
            while sent(&sockets, &large).iter().any(Result::is_ok) {}
            assert_eq!(sent(&sockets, b"y"), vec![Err(Errno::AGAIN); count]);
            peers
                .iter()
                .for_each(|peer| while !here(peer).is_empty() {});
            assert_eq!(sent(&sockets, b"z"), vec![Ok(1); count]);
            assert!(peers.iter().all(|peer| here(peer) == b"z"));
        });
    }

    #[test]
    fn all_that_is_there_is_received_and_nothing_waited_for() {
        each(|count| {
            let (sockets, peers) = pairs(count);
            let nothing = (Err(Errno::AGAIN), Vec::new());
            assert_eq!(received(&sockets, 9), vec![nothing.clone(); count]);
            for peer in &peers {
                rustix::net::send(peer, b"hello", SEND).unwrap();
            }
            // A receive that waited in spite of all would have taken them.
            assert_eq!(received(&sockets, 3), vec![(Ok(3), b"hel".to_vec()); count]);
            assert_eq!(received(&sockets, 9), vec![(Ok(2), b"lo".to_vec()); count]);
            assert_eq!(received(&sockets, 9), vec![nothing; count]);
            drop(peers);
            assert_eq!(received(&sockets, 9), vec![(Ok(0), Vec::new()); count]);
        });
    }

    #[test]
    fn a_panic_between_calls_makes_none_of_them() {
        open();
        let (sockets, peers) = pairs(CALLS_MIN);
        let call = |number: &usize| {
            assert!(*number < 2, "as agreed");
            (sockets[*number].as_fd(), &b"x"[..])
        };
        let items: Vec<usize> = (0..CALLS_MIN).collect();
        let sending = std::panic::AssertUnwindSafe(|| send(&items, call, |_, _| ()));
        assert!(std::panic::catch_unwind(sending).is_err());
        assert_eq!(sent(&sockets, b"y"), vec![Ok(1); CALLS_MIN]);
        assert!(peers.iter().all(|peer| here(peer) == b"y"));
    }
}
