//! Which sockets have news, told by one epoll set for each shard. The ring waits for one descriptor, the set's, and one call
//! takes the news of all sockets at once: a wait then costs no operation of the ring, and a connection that is used again
//! and again is entered once. Sockets enter at their second wait, so that short-lived ones do not pay for it.
//!
//! News are edges: something came since the last news. Whether an edge may be waited for is for the caller to know
//! ([`crate::net::stream`]: only after a receive that found less than it had room for). Start at [`Member`].

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::epoll;
use rustix::event::epoll::{EventData, EventFlags};
use slab::Slab;

use super::runtime;
use super::sys::duplex::Duplex;

/// News that one call takes, and a turn of the shard brings: what so many connections touch stays in a core's second-level
/// cache from the receive of a request to the end of its send.
const EVENTS_MAX: usize = 32;

/// What is known of one socket.
#[derive(Default)]
struct Place {
    /// Tells this socket from one that had the place before.
    generation: u32,
    /// Something came since the last wait ended.
    news: bool,
    /// The peer has ended, or the connection has failed: there is something to receive for good.
    ended: bool,
    /// The peer sent something out of band, at which a receive stops early: edges no longer tell enough.
    urgent: bool,
    waker: Option<Waker>,
}

struct Set {
    epoll: Duplex,
    places: RefCell<Slab<Place>>,
    generation: Cell<u32>,
}

thread_local! {
    /// Of this thread's shard; none where there can be none.
    static SET: RefCell<Option<Rc<Set>>> = const { RefCell::new(None) };
}

/// A socket's membership in its shard's set; the kernel ends it when the socket closes.
pub struct Member {
    set: Rc<Set>,
    key: usize,
}

impl Member {
    /// Enters a socket; `None` where that cannot be.
    pub fn enter(fd: BorrowedFd<'_>) -> Option<Self> {
        let set = SET.with_borrow(Clone::clone)?;
        let generation = set.generation.get().wrapping_add(1);
        set.generation.set(generation);
        let key = set.places.borrow_mut().insert(Place {
            generation,
            ..Place::default()
        });
        let member = Self { set, key };
        let data = EventData::new_u64((u64::from(generation) << 32) | key as u64);
        let flags = EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&member.set.epoll, fd, data, flags).ok()?;
        Some(member)
    }

    /// Whether news may be waited for.
    pub fn is_reliable(&self) -> bool {
        !self.set.places.borrow()[self.key].urgent
    }

    /// Completes when there are news, which it takes, and always after the peer's end.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut places = self.set.places.borrow_mut();
        let place = &mut places[self.key];
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
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let set = Rc::new(Set {
        epoll: Duplex::new(epoll)?,
        places: RefCell::default(),
        generation: Cell::new(0),
    });
    SET.set(Some(set.clone()));
    drop(runtime::spawn(deliver(set)));
    Ok(())
}

/// Takes the news of all sockets whenever there are some.
async fn deliver(set: Rc<Set>) {
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let now = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // What one call leaves is found at once by the next wait, when those that were woken have run.
    while set.epoll.readable().await.is_ok() {
        events.clear();
        let room = rustix::buffer::spare_capacity(&mut events);
        // An interrupted call has taken nothing.
        if epoll::wait(&set.epoll, room, Some(&now)).is_ok() {
            for event in &events {
                set.note(event.data.u64(), event.flags);
            }
        }
    }
    set.close();
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

    fn note(&self, data: u64, flags: EventFlags) {
        let mut places = self.places.borrow_mut();
        // A socket that is gone here may live on in an operation that the kernel has not ended.
        let Some(place) = places.get_mut((data & u64::from(u32::MAX)) as usize) else {
            return;
        };
        if u64::from(place.generation) != data >> 32 {
            return;
        }
        place.news = true;
        place.ended |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        place.urgent |= flags.intersects(EventFlags::PRI);
        if let Some(waker) = place.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "tests may wait")]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// Where the ring runs there is a set already.
    fn ensure() {
        if SET.with_borrow(Option::is_none) {
            open().unwrap();
        }
    }

    async fn next(member: &Member) {
        poll_fn(|cx| member.poll(cx)).await;
    }

    async fn is_silent(member: &Member) -> bool {
        for _ in 0..3 {
            runtime::yield_now().await;
        }
        poll_fn(|cx| Poll::Ready(member.poll(cx).is_pending())).await
    }

    #[test]
    fn news_are_told_once_and_an_end_for_good() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, mut b) = UnixStream::pair().unwrap();
            let member = Member::enter(a.as_fd()).unwrap();
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
    fn a_set_that_fails_wakes_who_waits() {
        runtime::on_each_driver(|| async {
            ensure();
            let (a, _b) = UnixStream::pair().unwrap();
            let member = Member::enter(a.as_fd()).unwrap();
            assert!(is_silent(&member).await);
            member.set.close();
            next(&member).await;
            assert!(!member.is_reliable());
            assert!(Member::enter(a.as_fd()).is_none());
        });
    }

    #[test]
    fn what_is_out_of_band_ends_reliance() {
        runtime::on_each_driver(|| async {
            ensure();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let sender = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, _) = listener.accept().unwrap();
            let member = Member::enter(socket.as_fd()).unwrap();
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
            let (a, mut b) = UnixStream::pair().unwrap();
            let (c, mut d) = UnixStream::pair().unwrap();
            let first = Member::enter(a.as_fd()).unwrap();
            let key = first.key;
            drop(first);
            let second = Member::enter(c.as_fd()).unwrap();
            assert_eq!(second.key, key);
            // The first one is still open.
            b.write_all(b"x").unwrap();
            assert!(is_silent(&second).await);
            d.write_all(b"x").unwrap();
            next(&second).await;
        });
    }
}
