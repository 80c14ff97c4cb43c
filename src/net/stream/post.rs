//! What is handed over instead of sent: it leaves when all tasks of the turn have run, for all connections in a row, and
//! nobody is woken for it. A send that is waited for costs its task a second turn, and one that is made at once takes
//! the kernel's send path through the cache between other work. Only on the ring, where turns have many tasks.
//!
//! A socket that does not take all of it is looked after by a task of its own; until that has ended, nothing else is
//! sent ([`SendHalf::settled`]). A socket that fails tells so at the next receive. Start at [`SendHalf::post`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;

use super::{How, RecvHalf, SendHalf, Side, Socket};
use crate::net::sys::burst;
use crate::net::{round, runtime};

/// More than this is not copied for the sake of a wait.
const POST_BYTES_MAX: usize = 8 << 10;

/// Fewer are copied: their buffer is worth more than a copy.
const OWNED_BYTES_MIN: usize = 256;

/// Buffers that are kept to be given for those that are taken.
const SPARE_MAX: usize = 64;

/// Bytes that a turn may hand over in all.
const QUEUE_BYTES_MAX: usize = 512 << 10;

/// What became of the last bytes that were handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Posted {
    /// The socket took them.
    #[default]
    Settled,
    /// They leave at the end of the turn.
    Queued,
    /// The socket has not taken them all: they are waited for.
    Late,
    /// The same, and the sending direction ends after them.
    LateEnd,
}

struct Item {
    socket: Rc<Socket>,
    /// Where its bytes are, in their own buffer if they have one.
    bytes: Range<usize>,
    own: Vec<u8>,
    within: Duration,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// How many are in buffers of their own.
    owned: usize,
    spare: Vec<Vec<u8>>,
    /// Those for origins leave first: they have the more to do, and their answers come the sooner.
    asked: Vec<Item>,
    asking: Vec<Item>,
    /// Sockets that have not taken all.
    late: usize,
    /// Who waits until which socket is settled.
    waiting: Vec<(*const Socket, Waker)>,
}

thread_local! {
    /// This thread's; none where every send is waited for.
    static QUEUE: RefCell<Option<Queue>> = const { RefCell::new(None) };
}

/// From now on this thread's tasks may hand over what they send, which leaves when their turn ends.
pub fn open() {
    QUEUE.set(Some(Queue::default()));
    round::open(flush);
}

/// Sockets to which some of it is still on its way: it would be lost if the thread ended now.
pub fn late() -> usize {
    QUEUE.with_borrow(|queue| {
        let queue = queue.as_ref();
        queue.map_or(0, |queue| {
            queue.late + queue.asked.len() + queue.asking.len()
        })
    })
}

/// Sends all that was handed over.
pub fn flush() {
    let taken = QUEUE.with_borrow_mut(|queue| {
        let queue = queue.as_mut().filter(|queue| !queue.is_empty())?;
        queue.asked.append(&mut queue.asking);
        queue.owned = 0;
        let buffers = (mem::take(&mut queue.bytes), mem::take(&mut queue.spare));
        Some((buffers, mem::take(&mut queue.asked)))
    });
    let Some(((mut bytes, mut spare), mut items)) = taken else {
        return;
    };
    burst::send(
        &items,
        |item| (item.socket.as_fd(), item.bytes(&bytes)),
        |item, result| item.sent(item.bytes(&bytes), result),
    );
    bytes.clear();
    for mut item in items.drain(..) {
        if item.own.capacity() > 0 && spare.len() < SPARE_MAX {
            item.own.clear();
            spare.push(item.own);
        }
    }
    QUEUE.with_borrow_mut(|queue| {
        if let Some(queue) = queue {
            (queue.bytes, queue.spare, queue.asked) = (bytes, spare, items);
        }
    });
}

impl Item {
    fn bytes<'a>(&'a self, shared: &'a [u8]) -> &'a [u8] {
        let all = if self.own.is_empty() {
            shared
        } else {
            &self.own
        };
        &all[self.bytes.clone()]
    }

    /// The socket has taken so many of the bytes.
    fn sent(&self, bytes: &[u8], result: Result<usize, Errno>) {
        let sent = match result {
            Ok(n) => n,
            // What a moment's lack of memory is, the ring finds out.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => 0,
            Err(error) => {
                self.socket.broken.set(Some(error));
                self.socket.posted.set(Posted::Settled);
                return;
            }
        };
        self.socket.count_sent(sent);
        if sent == bytes.len() {
            self.socket.posted.set(Posted::Settled);
            return;
        }
        self.socket.posted.set(Posted::Late);
        QUEUE.with_borrow_mut(|queue| queue.iter_mut().for_each(|queue| queue.late += 1));
        let (socket, rest, within) = (self.socket.clone(), bytes[sent..].to_vec(), self.within);
        drop(runtime::spawn(async move {
            let mut tx = SendHalf { socket };
            let (result, _) = tx.send_ring(rest, 0, Some(within)).await;
            tx.socket.settle(result);
        }));
    }
}

impl Socket {
    /// Sends what was handed over for this socket, which goes before what is sent now.
    pub(super) fn push_out(&self) {
        if self.posted.get() == Posted::Queued {
            flush();
        }
    }

    /// The rest of what was handed over was sent, or that failed.
    fn settle(&self, result: io::Result<()>) {
        if let Err(error) = result {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::TIMEDOUT);
            self.broken.set(Some(errno));
        }
        if self.posted.replace(Posted::Settled) == Posted::LateEnd {
            // A socket that has failed has ended already.
            let _ = self.shutdown(How::Write);
        }
        QUEUE.with_borrow_mut(|queue| {
            let Some(queue) = queue else {
                return;
            };
            queue.late -= 1;
            let waiting = queue
                .waiting
                .extract_if(.., |(socket, _)| std::ptr::eq(*socket, self));
            waiting.for_each(|(_, waker)| waker.wake());
        });
    }
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.asking.is_empty()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes.len() + self.owned + bytes <= QUEUE_BYTES_MAX
    }

    /// Takes bytes over for a socket that has nothing to send.
    fn put(&mut self, socket: &Rc<Socket>, bytes: &[u8], within: Duration) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.push(socket, begin..self.bytes.len(), Vec::new(), within);
    }

    /// The same; a buffer of their own is traded for an empty one.
    fn put_buffer(&mut self, socket: &Rc<Socket>, buf: &mut Vec<u8>, within: Duration) {
        // Such as others will be given for theirs.
        if buf.len() < OWNED_BYTES_MIN || buf.capacity() > 2 * POST_BYTES_MAX {
            return self.put(socket, buf, within);
        }
        self.owned += buf.capacity();
        let own = mem::replace(buf, self.spare.pop().unwrap_or_default());
        self.push(socket, 0..own.len(), own, within);
    }

    fn push(&mut self, socket: &Rc<Socket>, bytes: Range<usize>, own: Vec<u8>, within: Duration) {
        let items = match socket.side {
            Side::Asked => &mut self.asked,
            Side::Asking => &mut self.asking,
        };
        items.push(Item {
            socket: socket.clone(),
            bytes,
            own,
            within,
        });
        socket.posted.set(Posted::Queued);
        round::ends();
    }
}

/// A way from one socket to another that small messages take without a task.
pub struct Passage {
    from: Rc<Socket>,
    to: Rc<Socket>,
    /// Milliseconds, as is `idle`. A `Duration` is twice as large, and each silent tunnel has two of these.
    within: u64,
    idle: u64,
    /// When its sockets were armed: once for each tick of the deadlines is enough.
    armed: Cell<u64>,
}

/// Milliseconds, of which all times in a configuration are made.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Passage {
    /// A message of so many bytes may not be all.
    pub const BYTES_MAX: usize = POST_BYTES_MAX;

    /// Sends within a time, and both sides must not be silent for longer than another one. None where bytes are not passed on as
    /// they are.
    pub fn new(from: &RecvHalf, to: &SendHalf, within: Duration, idle: Duration) -> Option<Self> {
        let (from, to) = (&from.0, &to.socket);
        let plain = from.tls.get().is_none() && to.tls.get().is_none();
        plain.then(|| Self {
            from: from.clone(),
            to: to.clone(),
            within: millis(within),
            idle: millis(idle),
            armed: Cell::new(u64::MAX),
        })
    }

    /// From now on receiving from either socket must end within the idle time.
    pub fn arm(&self) {
        let after = Duration::from_millis(self.idle);
        let tick = self.from.deadlines.tick();
        if self.armed.replace(tick) == tick {
            return;
        }
        for socket in [&self.from, &self.to] {
            socket.deadlines.arm_recv(socket.slot, after);
        }
    }

    /// How large a message it takes now.
    pub fn room(&self) -> usize {
        let room = |queue: &Queue| queue.has_room(POST_BYTES_MAX);
        // What comes must not overtake what is late.
        let free = self.to.posted.get() == Posted::Settled
            && QUEUE.with_borrow(|queue| queue.as_ref().is_some_and(room));
        if free { POST_BYTES_MAX } else { 0 }
    }

    /// Hands over a message that it had room for: those of one turn together may be more than the queue takes otherwise.
    pub fn hand_over(&self, message: &[u8]) {
        QUEUE.with_borrow_mut(|queue| {
            if let Some(queue) = queue {
                queue.put(&self.to, message, Duration::from_millis(self.within));
            }
        });
    }
}

impl SendHalf {
    /// Takes bytes over, which leave at the end of the turn, and must do so within the time. False where they have to be
    /// sent instead. They count as sent when the socket has taken them.
    #[must_use]
    pub fn post(&mut self, bytes: &[u8], within: Duration) -> bool {
        self.queue(bytes.len(), |queue, socket| {
            queue.put(socket, bytes, within)
        })
    }

    /// The same with all that is in a buffer, which may be another one afterwards, empty and of any size.
    #[must_use]
    pub fn post_buffer(&mut self, buf: &mut Vec<u8>, within: Duration) -> bool {
        self.queue(buf.len(), |queue, socket| {
            queue.put_buffer(socket, buf, within)
        })
    }

    /// Calls `put` where so many bytes can be taken over now.
    fn queue(&self, bytes: usize, put: impl FnOnce(&mut Queue, &Rc<Socket>)) -> bool {
        let socket = &self.socket;
        if bytes > POST_BYTES_MAX
            || socket.tls.get().is_some()
            || socket.posted.get() != Posted::Settled
        {
            return false;
        }
        QUEUE.with_borrow_mut(|queue| {
            let Some(queue) = queue.as_mut().filter(|queue| queue.has_room(bytes)) else {
                return false;
            };
            put(queue, socket);
            true
        })
    }

    /// Whether the socket has taken all that was handed over for it.
    pub fn is_settled(&self) -> bool {
        self.socket.push_out();
        self.socket.posted.get() == Posted::Settled
    }

    /// Completes when it has, or has failed.
    pub async fn settled(&self) {
        if self.is_settled() {
            return;
        }
        let mut known: Option<Waker> = None;
        let wait = poll_fn(move |cx| {
            if self.socket.posted.get() == Posted::Settled {
                return Poll::Ready(());
            }
            // Who waits for other things too is polled for those as well.
            if known.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            known = Some(cx.waker().clone());
            QUEUE.with_borrow_mut(|queue| {
                if let Some(queue) = queue {
                    let waiter = (Rc::as_ptr(&self.socket), cx.waker().clone());
                    queue.waiting.push(waiter);
                }
            });
            Poll::Pending
        });
        // Rare, so that nobody has room for it.
        Box::pin(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Deadlines;
    use crate::net::stream::Stream;
    use rustix::net::RecvFlags;
    use std::future::Future;
    use std::os::fd::AsFd;

    const WITHIN: Duration = Duration::from_secs(10);

    /// What a peer has in its socket now.
    fn here(peer: &Stream) -> Vec<u8> {
        let mut got = vec![0; 1 << 20];
        let flags = RecvFlags::DONTWAIT;
        let n = rustix::net::recv(peer.as_fd(), &mut got[..], flags).map_or(0, |(n, _)| n);
        got.truncate(n);
        got
    }

    fn pair() -> (Stream, Stream) {
        Stream::pair(&Deadlines::new()).unwrap()
    }

    /// Runs the test where bytes can be handed over.
    fn on_the_ring<F: Future<Output = ()>>(test: impl Fn() -> F + Send + Sync + Clone + 'static) {
        runtime::on_each_driver(move || {
            let test = test.clone();
            async move {
                if runtime::on_ring() {
                    test().await;
                }
            }
        });
    }

    /// Hands pieces over until one of them is late, and tells how many bytes were taken. Nobody reads meanwhile.
    async fn fill(tx: &mut SendHalf) -> usize {
        let piece = [b'x'; POST_BYTES_MAX];
        for n in 1..1000 {
            assert!(tx.post(&piece, WITHIN));
            runtime::yield_now().await;
            if tx.socket.posted.get() != Posted::Settled {
                return n * piece.len();
            }
        }
        unreachable!("a socket has no end");
    }

    #[test]
    fn what_is_handed_over_leaves_at_the_end_of_the_turn() {
        runtime::on_each_driver(|| async {
            let (mut ours, theirs) = pair();
            if !runtime::on_ring() {
                assert!(!ours.tx.post(b"x", WITHIN), "every send is waited for");
                return;
            }
            assert!(!ours.tx.post(&[0; POST_BYTES_MAX + 1], WITHIN));
            assert!(ours.tx.post(b"one", WITHIN));
            assert!(!ours.tx.post(b"two", WITHIN), "one at a time");
            assert_eq!((here(&theirs), ours.tx.sent()), (vec![], 0));
            runtime::yield_now().await;
            assert_eq!((here(&theirs), ours.tx.sent()), (b"one".to_vec(), 3));
            assert!(ours.tx.is_settled());
        });
    }

    #[test]
    fn a_large_buffer_is_traded_and_a_small_one_stays() {
        on_the_ring(|| async {
            let (mut ours, theirs) = pair();
            let (mut other, their_other) = pair();
            let mut small = b"small".to_vec();
            let place = small.as_ptr();
            assert!(ours.tx.post_buffer(&mut small, WITHIN));
            assert_eq!((small.as_ptr(), small.len()), (place, 5));
            let mut large = vec![b'x'; OWNED_BYTES_MIN];
            let place = large.as_ptr();
            assert!(other.tx.post_buffer(&mut large, WITHIN));
            assert!(large.is_empty() && large.as_ptr() != place);
            runtime::yield_now().await;
            assert_eq!(here(&theirs), b"small");
            assert_eq!(here(&their_other), vec![b'x'; OWNED_BYTES_MIN]);
            // The next one is given that buffer, which has nothing any more.
            let mut next = vec![b'y'; OWNED_BYTES_MIN + 1];
            assert!(ours.tx.post_buffer(&mut next, WITHIN));
            assert!(next.is_empty() && next.as_ptr() == place);
            runtime::yield_now().await;
            assert_eq!(here(&theirs), vec![b'y'; OWNED_BYTES_MIN + 1]);
            // One that is far too large for others to be given is copied.
            let mut huge = Vec::with_capacity(2 * POST_BYTES_MAX + 1);
            huge.resize(OWNED_BYTES_MIN, b'z');
            assert!(ours.tx.post_buffer(&mut huge, WITHIN));
            assert_eq!(huge.len(), OWNED_BYTES_MIN);
            runtime::yield_now().await;
            assert_eq!(here(&theirs), huge);
        });
    }

    #[test]
    fn what_is_in_buffers_of_their_own_counts_too() {
        on_the_ring(|| async {
            let mut pairs = Vec::new();
            let mut taken = 0;
            loop {
                let (mut ours, theirs) = pair();
                let mut buf = vec![b'x'; POST_BYTES_MAX];
                if !ours.tx.post_buffer(&mut buf, WITHIN) {
                    assert_eq!(buf.len(), POST_BYTES_MAX);
                    break;
                }
                taken += 1;
                pairs.push((ours, theirs));
            }
            assert_eq!(taken, QUEUE_BYTES_MAX / POST_BYTES_MAX);
            runtime::yield_now().await;
            assert!(
                pairs
                    .iter()
                    .all(|(_, theirs)| here(theirs).len() == POST_BYTES_MAX)
            );
        });
    }

    #[test]
    fn every_other_way_of_sending_comes_after_it() {
        on_the_ring(|| async {
            let (mut ours, mut theirs) = pair();
            assert!(ours.tx.post(b"a", WITHIN));
            ours.tx.try_send(b"b").unwrap();
            assert!(ours.tx.post(b"c", WITHIN));
            ours.tx.try_send_two(b"d", b"e").unwrap();
            assert!(ours.tx.post(b"f", WITHIN));
            ours.tx.try_send_before(b"g", false).unwrap();
            assert!(ours.tx.post(b"h", WITHIN));
            ours.tx.send_all(b"i".to_vec()).await.0.unwrap();
            assert!(ours.tx.post(b"j", WITHIN));
            ours.tx.finish().unwrap();
            assert_eq!(theirs.read_to_end().await, b"abcdefghij");
            // Nor does closing lose it.
            let (mut ours, mut theirs) = pair();
            assert!(ours.tx.post(b"last", WITHIN));
            drop(ours);
            assert_eq!(theirs.read_to_end().await, b"last");
        });
    }

    #[test]
    fn what_a_socket_does_not_take_is_waited_for_and_nothing_overtakes_it() {
        on_the_ring(|| async {
            let (mut ours, mut theirs) = pair();
            let posted = fill(&mut ours.tx).await;
            assert_eq!(late(), 1);
            assert!(!ours.tx.post(b"y", WITHIN));
            assert_eq!(ours.tx.try_send(b"y").unwrap(), None);
            assert_eq!(ours.tx.try_send_two(b"y", b"y").unwrap(), None);
            assert_eq!(ours.tx.try_send_before(b"y", false).unwrap(), 0);
            {
                let mut settled = std::pin::pin!(ours.tx.settled());
                for _ in 0..9 {
                    poll_fn(|cx| Poll::Ready(settled.as_mut().poll(cx).is_pending())).await;
                }
                let waiting = QUEUE.with_borrow(|queue| queue.as_ref().unwrap().waiting.len());
                assert_eq!(waiting, 1, "however often it is polled");
            }
            let sending = runtime::spawn(async move {
                ours.tx.send_all(b"after".to_vec()).await.0.unwrap();
                ours
            });
            for _ in 0..3 {
                runtime::yield_now().await;
            }
            let mut got = Vec::new();
            while got.len() < posted + 5 {
                theirs.rx.recv_ready(&mut got).await.unwrap();
            }
            let mut ours = sending.await;
            let again = fill(&mut ours.tx).await;
            // The end waits too.
            ours.tx.finish().unwrap();
            got.extend(theirs.read_to_end().await);
            let (first, rest) = got.split_at(posted);
            assert!(first.iter().all(|&b| b == b'x'));
            assert!(rest.starts_with(b"after"));
            assert_eq!(rest.len() - 5, again);
            assert_eq!((ours.tx.sent() as usize, late()), (got.len(), 0));
        });
    }

    #[test]
    fn a_socket_that_failed_says_so_at_the_next_receive() {
        on_the_ring(|| async {
            let (mut ours, theirs) = pair();
            drop(theirs);
            assert!(ours.tx.post(b"x", WITHIN));
            runtime::yield_now().await;
            assert!(ours.tx.is_settled() && ours.tx.sent() == 0);
            let (result, _) = ours.rx.recv(Vec::new()).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }

    #[test]
    fn a_receiver_that_takes_nothing_times_out() {
        on_the_ring(|| async {
            let deadlines = Deadlines::new();
            runtime::spawn(deadlines.clone().run());
            let (mut ours, _theirs) = Stream::pair(&deadlines).unwrap();
            while ours.tx.try_send(&[b'x'; 65_536]).unwrap().is_some() {}
            assert!(ours.tx.post(b"x", Duration::from_millis(50)));
            ours.tx.settled().await;
            assert!(ours.expired().is_some());
            let (result, _) = ours.rx.recv(Vec::new()).await;
            assert!(result.is_err());
            deadlines.stop();
        });
    }

    #[test]
    fn a_passage_hands_over_what_is_there_and_no_more_than_may_be() {
        on_the_ring(|| async {
            let (sender, from) = pair();
            let (to, receiver) = pair();
            let passage = Passage::new(&from.rx, &to.tx, WITHIN, WITHIN).unwrap();
            assert_eq!(passage.room(), POST_BYTES_MAX);
            passage.hand_over(b"one");
            assert_eq!(here(&receiver), b"");
            // The next one would overtake it, should it be late.
            assert_eq!(passage.room(), 0);
            runtime::yield_now().await;
            assert_eq!(here(&receiver), b"one");
            assert_eq!(passage.room(), POST_BYTES_MAX);
            let large = [b'x'; POST_BYTES_MAX];
            passage.hand_over(&large);
            runtime::yield_now().await;
            assert_eq!(here(&receiver).len(), POST_BYTES_MAX);
            assert_eq!(to.tx.sent() as usize, 3 + POST_BYTES_MAX);
            drop((sender, from));
        });
    }

    #[test]
    fn a_stream_that_is_dropped_closes_after_what_was_handed_over() {
        on_the_ring(|| async {
            let (mut ours, mut theirs) = pair();
            let filled = fill(&mut ours.tx).await;
            assert_eq!(late(), 1);
            drop(ours);
            let mut got = Vec::with_capacity(1 << 20);
            while theirs.rx.recv_ready(&mut got).await.unwrap() > 0 {}
            assert_eq!(got.len(), filled);
            assert_eq!(late(), 0);
            let (mut ours, mut theirs) = pair();
            assert!(ours.tx.post(b"last", WITHIN));
            assert_eq!(late(), 1);
            drop(ours);
            assert_eq!(theirs.read_to_end().await, b"last");
            assert_eq!(late(), 0);
        });
    }
}
