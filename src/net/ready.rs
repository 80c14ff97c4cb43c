//! Which sockets have news, told by two epoll sets for each shard. The ring waits for one descriptor of each set, and one
//! call takes the news of many sockets at once: a wait then costs no operation of the ring, and a connection that is used
//! again and again is entered once. Sockets enter at their second wait, so that short-lived ones do not pay for it.
//!
//! News are edges: something came since the last news. Whether an edge may be waited for is for the caller to know
//! ([`crate::net::stream`]: only after a receive that found less than it had room for).
//!
//! What was begun is ended before something else begins: answers are in a set of their own, whose news are taken first. In
//! one set, an answer would wait behind every request that came before it, each of which is begun meanwhile; then as many
//! exchanges are under way as there are clients, and none of them is in the cache any more when its answer comes.
//!
//! Who waits in order to receive is received for, before any of those that have news goes on: the kernel's receive path is
//! entered for many sockets in a row then, and their tasks run in a row, and both stay in the instruction cache. For the same
//! reason those go on first that are in the middle of something, and then those that begin ([`Purpose`]). Start at
//! [`Member`].

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use rustix::event::epoll;
use rustix::event::epoll::{Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;
use slab::Slab;

use super::clock;
use super::round;
use super::runtime;
use super::sys::burst::{self, Receive};
use super::sys::duplex::Duplex;

/// News that one call takes, and a turn of the shard brings: what so many connections touch stays in a core's second-level
/// cache from the receive of a request to the end of its send.
const EVENTS_MAX: usize = 64;

/// News of peers that ask, in a turn that answers have filled: however many come, nobody is left out.
const ASKING_MIN: usize = 4;

/// What is received for a task at once, at most; more stays in the socket.
const AHEAD_BYTES: usize = 4 << 10;

/// Room of a buffer that is received into, by which a shortcut's messages are bounded too.
const BUFFER_BYTES: usize = 8 << 10;

/// Fewer bytes are copied: their buffer is worth more than a copy.
const TRADE_BYTES_MIN: usize = 256;

/// How often a socket is not received for after that was too small: whoever has much to receive does better with one call
/// into a buffer of its own.
const LARGE_TURNS: u8 = 31;

/// Buffers that are kept: one for each news of a turn, and as many that are still to be fetched.
const SPARE_MAX: usize = 2 * EVENTS_MAX;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To know that there is something, or an end.
    News,
    /// To receive it: that may have been done by then, see [`Member::fetch`].
    Receive,
    /// To receive what begins something new, such as the next request.
    Begin,
}

/// What the peer of a connection is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It asks: the connection was accepted.
    Asking,
    /// It is asked: the connection was made from here, and what comes answers something.
    Asked,
}

/// Takes what comes for a socket while its task sleeps.
pub trait Shortcut {
    /// How many bytes it could take now. If as many come there may be more, for which the task goes on; and the task goes on
    /// instead if there is no room.
    fn room(&self) -> usize;
    /// Takes what has come, for which there was room.
    fn take(&self, message: &[u8]);
}

/// A shortcut that is open, until dropped.
pub struct Open<'a>(&'a Member);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // Dropped after the borrow: sockets may go with it.
        let _shortcut = self.0.set.places.borrow_mut()[self.0.key].shortcut.take();
    }
}

/// What is known of one socket.
struct Place {
    /// Tells this socket from one that had the place before.
    generation: u32,
    socket: Weak<dyn AsFd>,
    /// Something came since the last wait ended.
    news: bool,
    /// The peer has ended, or the connection has failed: there is something to receive for good.
    ended: bool,
    /// The peer sent something out of band, at which a receive stops early: edges no longer tell enough.
    urgent: bool,
    purpose: Purpose,
    /// How often it is still not received for, see [`LARGE_TURNS`].
    large: u8,
    ahead: Option<Ahead>,
    waker: Option<Waker>,
    shortcut: Option<Rc<dyn Shortcut>>,
}

/// What is to be done with news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The task goes on.
    Wake,
    /// It does with what is received for it.
    Ahead,
    /// What is received is for the shortcut.
    Short,
}

/// What was received before the socket's task ran.
struct Ahead {
    result: Result<(), Errno>,
    bytes: Vec<u8>,
    /// Those before it have been fetched.
    at: usize,
    /// The socket had more, or has got more since.
    more: bool,
}

impl Ahead {
    /// A receive that failed, for the task to find.
    fn failed(error: Errno) -> Self {
        Self {
            result: Err(error),
            bytes: Vec::new(),
            at: 0,
            more: false,
        }
    }
}

struct Set {
    /// The epoll set of peers that are asked.
    asked: Duplex,
    /// That of peers that ask.
    asking: Duplex,
    places: RefCell<Slab<Place>>,
    generation: Cell<u32>,
    spare: RefCell<Vec<Vec<u8>>>,
}

thread_local! {
    /// Of this thread's shard; none where there can be none.
    static SET: RefCell<Option<Rc<Set>>> = const { RefCell::new(None) };
}

/// A socket's membership in its shard's set; the kernel ends it when the socket closes.
pub struct Member {
    set: Rc<Set>,
    key: usize,
    side: Side,
    /// It has left for a while.
    out: Cell<bool>,
}

impl Member {
    /// Enters a socket; `None` where that cannot be.
    pub fn enter<S: AsFd + 'static>(socket: &Rc<S>, side: Side) -> Option<Self> {
        let set = SET.with_borrow(Clone::clone)?;
        let generation = set.generation.get().wrapping_add(1);
        set.generation.set(generation);
        let key = set.places.borrow_mut().insert(Place {
            generation,
            socket: Rc::downgrade(socket) as Weak<dyn AsFd>,
            news: false,
            ended: false,
            urgent: false,
            purpose: Purpose::News,
            large: 0,
            ahead: None,
            waker: None,
            shortcut: None,
        });
        let out = Cell::new(true);
        let member = Self {
            set,
            key,
            side,
            out,
        };
        member.is_in(socket.as_fd()).then_some(member)
    }

    fn epoll(&self) -> &Duplex {
        match self.side {
            Side::Asked => &self.set.asked,
            Side::Asking => &self.set.asking,
        }
    }

    /// No news of the socket until it is asked for its membership again. Whoever is sent much would have news with each
    /// segment, also when nobody waits for them, as while the receiver has to be waited for.
    pub fn leave(&self, socket: BorrowedFd<'_>) {
        if !self.out.get() {
            self.out.set(epoll::delete(self.epoll(), socket).is_ok());
        }
    }

    /// Whether the socket is in the set, which it enters if it has left. What is there to receive then is news.
    pub fn is_in(&self, socket: BorrowedFd<'_>) -> bool {
        if self.out.get() {
            let generation = self.set.places.borrow()[self.key].generation;
            let data = EventData::new_u64((u64::from(generation) << 32) | self.key as u64);
            let flags = EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP | EventFlags::ET;
            let entered = epoll::add(self.epoll(), socket, data, flags);
            self.out.set(entered.is_err());
        }
        !self.out.get()
    }

    /// Whether news may be waited for.
    pub fn is_reliable(&self) -> bool {
        !self.set.places.borrow()[self.key].urgent
    }

    /// Whether something waits for [`Member::fetch`].
    pub fn has_ahead(&self) -> bool {
        self.set.places.borrow()[self.key].ahead.is_some()
    }

    /// Hands out what was received ahead, at most so many bytes. Tells how many, and whether there may be more, here or in the
    /// socket; none when nothing was received.
    pub fn fetch(
        &self,
        room: usize,
        take: impl FnOnce(&[u8]),
    ) -> Option<Result<(usize, bool), Errno>> {
        let mut places = self.set.places.borrow_mut();
        let slot = &mut places[self.key].ahead;
        let ahead = slot.as_mut()?;
        if let Err(error) = ahead.result {
            *slot = None;
            return Some(Err(error));
        }
        let left = &ahead.bytes[ahead.at..];
        let n = left.len().min(room);
        take(&left[..n]);
        ahead.at += n;
        if ahead.at < ahead.bytes.len() {
            return Some(Ok((n, true)));
        }
        let more = ahead.more;
        if let Some(ahead) = slot.take() {
            self.set.keep(ahead.bytes);
        }
        Some(Ok((n, more)))
    }

    /// [`Member::fetch`] to the end of a buffer, no more than it has room for. One that is empty may be traded for that in which
    /// the bytes are.
    pub fn fetch_into(&self, buf: &mut Vec<u8>) -> Option<Result<(usize, bool), Errno>> {
        let mut places = self.set.places.borrow_mut();
        let slot = &mut places[self.key].ahead;
        let tradable = |ahead: &mut Ahead| {
            let (n, room) = (ahead.bytes.len(), buf.capacity());
            // Others will receive into it.
            let alike = (AHEAD_BYTES..=BUFFER_BYTES).contains(&room);
            ahead.at == 0 && buf.is_empty() && alike && (TRADE_BYTES_MIN..=room).contains(&n)
        };
        let Some(mut ahead) = slot.take_if(tradable) else {
            drop(places);
            let room = buf.capacity() - buf.len();
            return self.fetch(room, |bytes| buf.extend_from_slice(bytes));
        };
        std::mem::swap(buf, &mut ahead.bytes);
        self.set.keep(ahead.bytes);
        Some(Ok((buf.len(), ahead.more)))
    }

    /// For as long as the result lives, news of the peer's bytes are for the shortcut first.
    pub fn open(&self, shortcut: &Rc<dyn Shortcut>) -> Open<'_> {
        self.set.places.borrow_mut()[self.key].shortcut = Some(shortcut.clone());
        Open(self)
    }

    /// Completes when there are news, which it takes, and always after the peer's end.
    pub fn poll(&self, purpose: Purpose, cx: &Context<'_>) -> Poll<()> {
        let mut places = self.set.places.borrow_mut();
        let place = &mut places[self.key];
        place.purpose = purpose;
        if std::mem::take(&mut place.news) || place.ended {
            return Poll::Ready(());
        }
        if !place
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            place.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.set.places.borrow_mut().remove(self.key);
    }
}

/// Makes this thread's set. Where it cannot be had, every wait is an operation of the ring.
pub fn open() -> io::Result<()> {
    let epoll = || Duplex::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
    let set = Rc::new(Set {
        asked: epoll()?,
        asking: epoll()?,
        places: RefCell::default(),
        generation: Cell::new(0),
        spare: RefCell::default(),
    });
    SET.set(Some(set.clone()));
    drop(runtime::spawn(deliver(set)));
    Ok(())
}

/// Takes the news of all sockets whenever there are some.
async fn deliver(set: Rc<Set>) {
    let mut news = Turn::new(&set);
    let mut asked = pin!(set.asked.readable());
    let mut asking = pin!(set.asking.readable());
    // The last turn may have left requests where they are.
    let mut backlog = false;
    loop {
        let mut ready = (false, false);
        let polled = poll_fn(|cx| {
            let polls = [asked.as_mut().poll(cx), asking.as_mut().poll(cx)];
            ready = (polls[0].is_ready(), polls[1].is_ready());
            match polls {
                [Poll::Ready(Err(_)), _] | [_, Poll::Ready(Err(_))] => Poll::Ready(Err(())),
                [Poll::Pending, Poll::Pending] => Poll::Pending,
                _ => Poll::Ready(Ok(())),
            }
        });
        if polled.await.is_err() {
            return set.close();
        }
        // A set that has not told of news is asked for them only when requests wait: it tells a turn late, and answers that
        // have come meanwhile go first.
        let mut taken = 0;
        round::begin();
        if ready.0 || (ready.1 && backlog) {
            taken = news.take(&set.asked, EVENTS_MAX);
        }
        if ready.0 {
            // What one call leaves is found at once by the next wait, when those that were woken have run.
            asked.set(set.asked.readable());
        }
        if ready.1 {
            let room = (EVENTS_MAX - taken).max(ASKING_MIN);
            backlog = news.take(&set.asking, room) == room;
            asking.set(set.asking.readable());
        }
        news.end();
        round::ends();
    }
}

/// Takes news, and remembers who goes on after all others.
struct Turn<'a> {
    set: &'a Set,
    events: Vec<Event>,
    /// What is done with each event's news, and the place they are for.
    steps: Vec<(Step, usize)>,
    /// Those of the steps that receive.
    receives: Vec<Receive>,
    begin: Vec<Waker>,
}

impl<'a> Turn<'a> {
    fn new(set: &'a Set) -> Self {
        Self {
            set,
            events: Vec::with_capacity(EVENTS_MAX),
            steps: Vec::with_capacity(EVENTS_MAX),
            receives: Vec::with_capacity(EVENTS_MAX),
            begin: Vec::with_capacity(EVENTS_MAX),
        }
    }

    /// Takes so many news at most, and tells how many there were.
    fn take(&mut self, epoll: &Duplex, most: usize) -> usize {
        const NOW: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.events.clear();
        let room = &mut self.events.spare_capacity_mut()[..most];
        // An interrupted call has taken nothing.
        let Ok((events, _)) = epoll::wait(epoll, room, Some(&NOW)) else {
            return 0;
        };
        let set = self.set;
        for event in &*events {
            let Some(key) = set.place_of(event.data.u64()) else {
                continue;
            };
            let (step, receive) = set.note(key, event.flags);
            self.steps.push((step, key));
            self.receives.extend(receive);
        }
        burst::receive(&mut self.receives);
        let mut received = self.receives.drain(..);
        // A shortcut is a turn of its task.
        clock::in_turn(|| {
            for (step, key) in self.steps.drain(..) {
                let receive = if step == Step::Wake {
                    None
                } else {
                    received.next()
                };
                set.end(step, key, receive, &mut self.begin);
            }
        });
        events.len()
    }

    fn end(&mut self) {
        self.begin.drain(..).for_each(Waker::wake);
    }
}

impl Set {
    /// News will not be told any more: nobody enters, and who is here goes back to waits of its own.
    fn close(&self) {
        SET.set(None);
        for (_, place) in self.places.borrow_mut().iter_mut() {
            place.news = true;
            place.urgent = true;
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    /// What an event is about, if that is still here: a socket that is gone here may live on in an operation that the kernel has
    /// not ended.
    fn place_of(&self, data: u64) -> Option<usize> {
        let key = (data & u64::from(u32::MAX)) as usize;
        let places = self.places.borrow();
        let place = places.get(key)?;
        (u64::from(place.generation) == data >> 32).then_some(key)
    }

    /// Books news, and tells what is to be done with them.
    fn note(&self, key: usize, flags: EventFlags) -> (Step, Option<Receive>) {
        let mut places = self.places.borrow_mut();
        let place = &mut places[key];
        place.ended |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        place.urgent |= flags.intersects(EventFlags::PRI);
        let shortcut = place.shortcut.as_ref();
        if let Some(shortcut) = shortcut.filter(|_| !(place.news || place.ended || place.urgent))
            && let room @ 1.. = shortcut.room()
        {
            return self.receive(Step::Short, &place.socket, room);
        }
        place.news = true;
        match &mut place.ahead {
            // The news that it was received for and this one are taken as one.
            Some(ahead) => ahead.more = true,
            // Only for who waits right now: nobody else knows that it has to fetch.
            None if place.purpose == Purpose::News || place.waker.is_none() || place.urgent => {}
            None if place.large > 0 => place.large -= 1,
            None => return self.receive(Step::Ahead, &place.socket, AHEAD_BYTES),
        }
        (Step::Wake, None)
    }

    fn receive(&self, step: Step, socket: &Weak<dyn AsFd>, room: usize) -> (Step, Option<Receive>) {
        let Some(socket) = socket.upgrade() else {
            return (Step::Wake, None);
        };
        let spare = self.spare.borrow_mut().pop();
        let into = spare.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES));
        let receive = Receive {
            socket,
            room: room.min(into.capacity()),
            into,
            result: Err(Errno::AGAIN),
        };
        (step, Some(receive))
    }

    fn keep(&self, mut bytes: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX {
            bytes.clear();
            spare.push(bytes);
        }
    }

    /// Does what is to be done with news and what was received for them; who is to go on after all others is put into `begin`.
    fn end(&self, step: Step, key: usize, receive: Option<Receive>, begin: &mut Vec<Waker>) {
        let mut places = self.places.borrow_mut();
        let place = &mut places[key];
        if let Some(receive) = receive {
            let (bytes, whole) = (receive.into, receive.room);
            match (receive.result, &place.shortcut) {
                (Ok(n @ 1..), Some(shortcut)) if step == Step::Short => {
                    shortcut.take(&bytes);
                    self.keep(bytes);
                    if n < whole {
                        return;
                    }
                }
                (Ok(n @ 1..), _) => {
                    let more = n == whole;
                    place.large = if more { LARGE_TURNS } else { 0 };
                    place.ahead = Some(Ahead {
                        result: Ok(()),
                        bytes,
                        at: 0,
                        more,
                    });
                }
                // Nothing new for the shortcut.
                (Err(Errno::AGAIN), _) if step == Step::Short => return self.keep(bytes),
                // Nothing, or the end, which the task will find for itself.
                (Ok(_) | Err(Errno::AGAIN | Errno::INTR), _) => self.keep(bytes),
                (Err(error), _) => {
                    self.keep(bytes);
                    place.ahead = Some(Ahead::failed(error));
                }
            }
        }
        place.news = true;
        match place.waker.take() {
            Some(waker) if place.purpose == Purpose::Begin => begin.push(waker),
            Some(waker) => waker.wake(),
            None => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "tests may wait")]
mod tests {
    use super::*;
    use rustix::net::RecvFlags;
    use std::future::poll_fn;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// Where the ring runs there is a set already.
    fn ensure() {
        if SET.with_borrow(Option::is_none) {
            open().unwrap();
        }
    }

    fn pair() -> (Rc<UnixStream>, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        (Rc::new(a), b)
    }

    /// What is left in a socket, at most `max` bytes.
    fn left(socket: &UnixStream, max: usize) -> usize {
        let mut buf = vec![0; max];
        rustix::net::recv(socket, &mut buf[..], RecvFlags::DONTWAIT).map_or(0, |(n, _)| n)
    }

    fn fetch(member: &Member, room: usize) -> Option<(Vec<u8>, bool)> {
        let mut got = Vec::new();
        let fetched = member.fetch(room, |bytes| got.extend_from_slice(bytes));
        fetched.map(|fetched| (got, fetched.unwrap().1))
    }

    async fn next(member: &Member) {
        poll_fn(|cx| member.poll(Purpose::News, cx)).await;
    }

    async fn is_silent(member: &Member) -> bool {
        for _ in 0..3 {
            runtime::yield_now().await;
        }
        poll_fn(|cx| Poll::Ready(member.poll(Purpose::News, cx).is_pending())).await
    }

    #[test]
    fn news_are_told_once_and_an_end_for_good() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, mut b) = pair();
            let member = Member::enter(&a, Side::Asking).unwrap();
            for _ in 0..3 {
                assert!(is_silent(&member).await);
                b.write_all(b"x").unwrap();
                next(&member).await;
            }
            drop(b);
            next(&member).await;
            next(&member).await;
            drop(member);
            assert!(SET.with_borrow(|set| set.as_ref().unwrap().places.borrow().is_empty()));
        });
    }

    #[test]
    fn who_waits_to_receive_is_received_for_and_nobody_else() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, mut b) = pair();
            let member = Member::enter(&a, Side::Asking).unwrap();
            // Nobody waits, then somebody who will not receive.
            b.write_all(b"early").unwrap();
            next(&member).await;
            assert!(!member.has_ahead() && fetch(&member, 9).is_none());
            assert_eq!(left(&a, 99), 5);
            for (sent, all) in [(6, 6), (AHEAD_BYTES + 9, AHEAD_BYTES), (7, 0)] {
                assert!(is_silent(&member).await);
                let waiting = poll_fn(|cx| member.poll(Purpose::Receive, cx));
                let sending = async {
                    runtime::yield_now().await;
                    b.write_all(&vec![b'x'; sent]).unwrap();
                };
                crate::net::join::join2(waiting, sending).await;
                // Not for who has just had too much for it.
                assert_eq!(member.has_ahead(), all > 0);
                if all > 0 {
                    assert_eq!(fetch(&member, 4), Some((b"xxxx".to_vec(), true)));
                    let (rest, more) = fetch(&member, 1 << 20).unwrap();
                    assert_eq!((rest.len(), more), (all - 4, all < sent));
                    assert!(!member.has_ahead());
                }
                assert_eq!(left(&a, 99), sent - all);
            }
            // What comes before the task runs is not forgotten.
            let (a, mut b) = pair();
            let member = Member::enter(&a, Side::Asking).unwrap();
            let mut polled = false;
            poll_fn(|cx| {
                polled |= member.poll(Purpose::Receive, cx).is_ready();
                Poll::Ready(())
            })
            .await;
            for word in [b"one", b"two"] {
                b.write_all(word).unwrap();
                for _ in 0..3 {
                    runtime::yield_now().await;
                }
            }
            next(&member).await;
            assert_eq!(fetch(&member, 99), Some((b"one".to_vec(), true)));
            assert!(left(&a, 99) == 3 && !polled);
            // An end is found by who looks for it.
            assert!(is_silent(&member).await);
            drop(b);
            poll_fn(|cx| member.poll(Purpose::Receive, cx)).await;
            assert!(!member.has_ahead());
        });
    }

    #[test]
    fn a_buffer_is_traded_for_that_in_which_much_was_received() {
        runtime::on_each_driver(|| async {
            ensure();
            let much = TRADE_BYTES_MIN;
            for (capacity, before, sent, traded) in [
                (AHEAD_BYTES, 0, much, true),
                (BUFFER_BYTES, 0, much, true),
                (AHEAD_BYTES, 0, much - 1, false),
                (AHEAD_BYTES, 1, much, false),
                (AHEAD_BYTES - 1, 0, much, false),
                (BUFFER_BYTES + 1, 0, much, false),
            ] {
                let (a, mut b) = pair();
                let member = Member::enter(&a, Side::Asking).unwrap();
                let waiting = poll_fn(|cx| member.poll(Purpose::Receive, cx));
                let sending = async {
                    runtime::yield_now().await;
                    b.write_all(&vec![b'x'; sent]).unwrap();
                };
                crate::net::join::join2(waiting, sending).await;
                let mut buf = Vec::with_capacity(capacity);
                buf.resize(before, b'.');
                let place = buf.as_ptr();
                let fetched = member.fetch_into(&mut buf).unwrap();
                assert_eq!(fetched, Ok((sent, false)));
                assert_eq!(buf, [vec![b'.'; before], vec![b'x'; sent]].concat());
                assert_eq!(buf.as_ptr() != place, traded, "{capacity} {before} {sent}");
                assert!(member.fetch_into(&mut buf).is_none());
                // What is received next has the other one, and no more room than that.
                let spare = member.set.spare.borrow_mut().pop().unwrap();
                assert_eq!(spare.as_ptr() == place, traded);
                assert!(spare.is_empty() && spare.capacity() >= AHEAD_BYTES);
                member.set.keep(spare);
                let socket = a.clone() as Rc<dyn AsFd>;
                let (_, receive) =
                    member
                        .set
                        .receive(Step::Short, &Rc::downgrade(&socket), 1 << 20);
                let receive = receive.unwrap();
                assert_eq!(receive.room, receive.into.capacity());
            }
        });
    }

    #[test]
    fn who_begins_goes_on_after_all_others() {
        runtime::on_each_driver(|| async {
            ensure();
            let order = Rc::new(RefCell::new(Vec::new()));
            let purposes = [
                Purpose::Begin,
                Purpose::Receive,
                Purpose::Begin,
                Purpose::News,
            ];
            let ends = purposes.map(|purpose| {
                let ((a, b), order) = (pair(), order.clone());
                let member = Member::enter(&a, Side::Asking).unwrap();
                drop(runtime::spawn(async move {
                    poll_fn(|cx| member.poll(purpose, cx)).await;
                    order.borrow_mut().push(purpose);
                    drop(a);
                }));
                b
            });
            runtime::yield_now().await;
            for mut b in &ends {
                b.write_all(b"x").unwrap();
            }
            for _ in 0..10_000 {
                if order.borrow().len() == purposes.len() {
                    break;
                }
                runtime::yield_now().await;
            }
            let expected = [
                Purpose::Receive,
                Purpose::News,
                Purpose::Begin,
                Purpose::Begin,
            ];
            assert_eq!(*order.borrow(), expected);
        });
    }

    #[test]
    fn answers_come_before_requests_and_leave_them_a_share() {
        runtime::on_each_driver(|| async {
            ensure();
            const EACH: usize = EVENTS_MAX + 8;
            let order = Rc::new(RefCell::new(Vec::new()));
            let mut ends = Vec::new();
            for side in [[Side::Asking; EACH], [Side::Asked; EACH]].concat() {
                let ((a, b), order) = (pair(), order.clone());
                let member = Member::enter(&a, side).unwrap();
                drop(runtime::spawn(async move {
                    poll_fn(|cx| member.poll(Purpose::Receive, cx)).await;
                    order.borrow_mut().push(side);
                    drop(a);
                }));
                ends.push(b);
            }
            runtime::yield_now().await;
            for b in &mut ends {
                b.write_all(b"x").unwrap();
            }
            for _ in 0..10_000 {
                if order.borrow().len() == 2 * EACH {
                    break;
                }
                runtime::yield_now().await;
            }
            let order = order.borrow();
            let runs: Vec<_> = order
                .chunk_by(|a, b| a == b)
                .map(|r| (r[0], r.len()))
                .collect();
            let expected = [
                (Side::Asked, EVENTS_MAX),
                (Side::Asking, ASKING_MIN),
                (Side::Asked, EACH - EVENTS_MAX),
                (Side::Asking, EACH - ASKING_MIN),
            ];
            assert_eq!(runs, expected);
        });
    }

    #[test]
    fn a_set_that_fails_wakes_who_waits() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, _b) = pair();
            let member = Member::enter(&a, Side::Asking).unwrap();
            assert!(is_silent(&member).await);
            member.set.close();
            next(&member).await;
            assert!(!member.is_reliable());
            assert!(Member::enter(&a, Side::Asking).is_none());
        });
    }

    #[test]
    fn what_is_out_of_band_ends_reliance() {
        runtime::on_each_driver(|| async {
            ensure();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, _) = listener.accept().unwrap();
            let socket = Rc::new(socket);
            let member = Member::enter(&socket, Side::Asking).unwrap();
            assert!(member.is_reliable());
            rustix::net::send(&sender, b"!", rustix::net::SendFlags::OOB).unwrap();
            next(&member).await;
            assert!(!member.is_reliable());
        });
    }

    #[test]
    fn a_place_that_changed_hands_hears_nothing_of_the_old_socket() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, mut b) = pair();
            let (c, mut d) = pair();
            let first = Member::enter(&a, Side::Asking).unwrap();
            let key = first.key;
            drop(first);
            let second = Member::enter(&c, Side::Asked).unwrap();
            assert_eq!(second.key, key);
            // The first one is still open.
            b.write_all(b"x").unwrap();
            assert!(is_silent(&second).await);
            d.write_all(b"x").unwrap();
            next(&second).await;
        });
    }

    /// Takes this many bytes at once.
    struct Taker {
        room: Cell<usize>,
        taken: RefCell<Vec<u8>>,
    }

    impl Taker {
        fn new(room: usize) -> Rc<Self> {
            Rc::new(Self {
                room: Cell::new(room),
                taken: RefCell::default(),
            })
        }

        fn taken(&self) -> Vec<u8> {
            self.taken.take()
        }
    }

    impl Shortcut for Taker {
        fn room(&self) -> usize {
            self.room.get()
        }

        fn take(&self, message: &[u8]) {
            self.taken.borrow_mut().extend_from_slice(message);
        }
    }

    #[test]
    fn a_shortcut_takes_what_comes_while_it_is_open() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, mut b) = pair();
            let member = Member::enter(&a, Side::Asking).unwrap();
            let taker = Taker::new(8);
            let shortcut: Rc<dyn Shortcut> = taker.clone();
            let open = member.open(&shortcut);
            b.write_all(b"small").unwrap();
            assert!(is_silent(&member).await);
            assert_eq!(taker.taken(), b"small");
            // What it has no room for is for the task, and so is an end.
            b.write_all(b"too large").unwrap();
            next(&member).await;
            assert_eq!(
                (taker.taken().as_slice(), left(&a, 99)),
                (&b"too larg"[..], 1)
            );
            b.write_all(b"end").unwrap();
            drop(b);
            next(&member).await;
            assert_eq!((taker.taken().len(), left(&a, 99)), (0, 3));
            drop(open);
            assert_eq!(Rc::strong_count(&taker), 2);
        });
    }

    #[test]
    fn what_a_shortcut_has_no_room_for_is_left_to_the_task() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, mut b) = pair();
            let member = Member::enter(&a, Side::Asking).unwrap();
            let taker = Taker::new(0);
            let shortcut: Rc<dyn Shortcut> = taker.clone();
            let open = member.open(&shortcut);
            b.write_all(b"y").unwrap();
            next(&member).await;
            assert_eq!((taker.taken().len(), left(&a, 9)), (0, 1));
            taker.room.set(8);
            b.write_all(b"end").unwrap();
            drop(b);
            next(&member).await;
            assert_eq!((taker.taken().len(), left(&a, 9)), (0, 3));
            drop(open);
        });
    }

    #[test]
    fn a_receive_that_fails_leaves_the_error_to_the_task() {
        runtime::on_each_driver(|| async {
            ensure();
            for step in [Step::Short, Step::Ahead] {
                let (a, _b) = pair();
                let member = Member::enter(&a, Side::Asking).unwrap();
                let shortcut: Rc<dyn Shortcut> = Taker::new(8);
                let open = member.open(&shortcut);
                let (set, receive) = (&member.set, a.clone() as Rc<dyn AsFd>);
                let (_, receive) = set.receive(step, &Rc::downgrade(&receive), 8);
                let mut receive = receive.unwrap();
                receive.result = Err(Errno::CONNRESET);
                set.end(step, member.key, Some(receive), &mut Vec::new());
                next(&member).await;
                drop(open);
                let failed = member.fetch(9, |_| unreachable!("nothing was received"));
                assert_eq!(failed, Some(Err(Errno::CONNRESET)));
            }
        });
    }

    #[test]
    fn who_has_left_has_no_news_until_it_is_in_again() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, mut b) = pair();
            let member = Member::enter(&a, Side::Asked).unwrap();
            for _ in 0..2 {
                member.leave(a.as_fd());
                member.leave(a.as_fd());
                b.write_all(b"x").unwrap();
                assert!(is_silent(&member).await);
                assert!(member.is_in(a.as_fd()) && member.is_in(a.as_fd()));
                // What came meanwhile, and what comes.
                next(&member).await;
                assert_eq!(left(&a, 9), 1);
                assert!(is_silent(&member).await);
                b.write_all(b"x").unwrap();
                next(&member).await;
                assert_eq!(left(&a, 9), 1);
            }
        });
    }
}
