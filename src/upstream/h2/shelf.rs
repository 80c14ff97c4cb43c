//! The HTTP/2 connections of one generation on one shard, per group: which one carries the next request, and which may
//! stay when nobody uses them.
//!
//! A connection is shared by as many exchanges as its peer allows, and stays here from its first request on. The rules
//! are those of the idle pool (`keepalive*`): so many idle ones, so many requests, so old. Of several that find none at a time
//! one opens a connection, and the others wait for it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::super::pool::Whose;
use super::super::tls::Identity;
use super::{Handle, Life, STREAMS_MAX, Shared};
use crate::base::ids::IdVec;
use crate::base::time::Mono;
use crate::net::deadline::Deadlines;
use crate::net::runtime;
use crate::plan::{GroupId, GroupPlan, KeepalivePlan, LocationId, PeerId};

/// What connections are told apart by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The first peer of the group with this address.
    pub peer: PeerId,
    /// The location, where the pool is split by it.
    pub location: LocationId,
    /// Whom TLS is spoken with; none without TLS.
    pub identity: Option<Rc<Identity>>,
}

struct Entry {
    key: Key,
    shared: Rc<Shared>,
}

/// A connection that somebody opens and others wait for.
#[derive(Default)]
pub struct Flight {
    over: Cell<bool>,
    waiting: Cell<usize>,
    wakers: RefCell<Vec<Waker>>,
}

impl Flight {
    /// Waits until the connection is there, or will not come; no longer than this time.
    pub async fn landed(&self, within: Duration) {
        let mut limit = pin!(runtime::sleep(within));
        poll_fn(|cx| {
            if self.over.get() || limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Whoever opens a connection that others may share. Dropped when it is on its shelf, or when it failed.
pub struct Opening {
    shelf: Rc<Shelf>,
    flight: Rc<Flight>,
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut flights = self.shelf.flights.borrow_mut();
        flights.retain(|(_, flight)| !Rc::ptr_eq(flight, &self.flight));
        drop(flights);
        self.flight.over.set(true);
        for waker in self.flight.wakers.take() {
            waker.wake();
        }
    }
}

/// What an exchange does that found no connection.
pub enum Turn {
    /// It opens one, and holds this meanwhile.
    Open(Opening),
    /// Another one is at it already.
    Wait(Rc<Flight>),
    /// It opens one for itself alone.
    Alone,
}

/// The connections of one group.
pub struct Shelf {
    rules: KeepalivePlan,
    /// Nothing is kept where nothing idles.
    keeps: bool,
    open: Cell<bool>,
    entries: RefCell<Vec<Entry>>,
    /// Connections that are being opened.
    flights: RefCell<Vec<(Key, Rc<Flight>)>>,
}

impl Shelf {
    fn is_of(&self, key: &Key, (peer, whose): (PeerId, Whose<'_>)) -> bool {
        key.peer == peer
            && (!self.rules.local || key.location == whose.location)
            && key.identity.as_deref() == whose.identity
    }

    /// Who opens the next connection. No more wait for one than it can serve.
    fn turn(self: &Rc<Self>, key: Key, whose: Whose<'_>) -> Turn {
        let mut flights = self.flights.borrow_mut();
        let most = STREAMS_MAX.min(self.rules.requests_max as usize);
        let shared = flights.iter().find(|(known, flight)| {
            self.is_of(known, (key.peer, whose)) && flight.waiting.get() + 1 < most
        });
        if let Some((_, flight)) = shared {
            flight.waiting.set(flight.waiting.get() + 1);
            return Turn::Wait(flight.clone());
        }
        let flight = Rc::new(Flight::default());
        flights.push((key, flight.clone()));
        Turn::Open(Opening {
            shelf: self.clone(),
            flight,
        })
    }

    /// Whether a connection may carry one more request.
    fn serves(&self, shared: &Shared, now: Mono) -> bool {
        let young = now.since(shared.created) <= self.rules.time_max;
        if shared.requests.get() >= self.rules.requests_max || !young {
            shared.retire();
            return false;
        }
        shared.has_room()
    }

    /// A connection has become idle: closes those that are too many, the one unused for longest first.
    pub(super) fn settle(&self) {
        let mut entries = self.entries.borrow_mut();
        entries.retain(|entry| entry.shared.life.get() != Life::Dead);
        let idle = |entry: &&Entry| entry.shared.active.get() == 0;
        let mut excess = entries
            .iter()
            .filter(idle)
            .count()
            .saturating_sub(self.rules.idle_max as usize);
        while excess > 0 {
            let oldest = (0..entries.len())
                .filter(|&at| entries[at].shared.active.get() == 0)
                .min_by_key(|&at| entries[at].shared.idle_since.get());
            let Some(at) = oldest else { return };
            entries.remove(at).shared.retire();
            excess -= 1;
        }
        for entry in entries.iter() {
            let shared = &entry.shared;
            if shared.requests.get() >= self.rules.requests_max || !self.open.get() {
                shared.retire();
            }
        }
    }
}

/// All of them.
pub struct Shelves {
    groups: IdVec<GroupId, Rc<Shelf>>,
}

impl Shelves {
    /// Starts empty.
    pub fn new(plans: &IdVec<GroupId, GroupPlan>) -> Self {
        let groups = plans.iter().map(|plan| {
            Rc::new(Shelf {
                rules: plan.keepalive.clone(),
                keeps: plan.explicit && plan.keepalive.idle_max > 0,
                open: Cell::new(true),
                entries: RefCell::default(),
                flights: RefCell::default(),
            })
        });
        Self {
            groups: groups.collect(),
        }
    }

    /// A stream of a connection that is there already.
    pub fn take(
        &self,
        group: GroupId,
        key: (PeerId, Whose<'_>),
        deadlines: &Rc<Deadlines>,
        now: Mono,
    ) -> Option<Handle> {
        let shelf = self.groups.get(group)?;
        let entries = shelf.entries.borrow();
        let entry = entries
            .iter()
            .find(|entry| shelf.is_of(&entry.key, key) && shelf.serves(&entry.shared, now))?;
        let shared = entry.shared.clone();
        drop(entries);
        Handle::open(&shared, Some(shelf.clone()), deadlines)
    }

    /// What to do where [`Shelves::take`] found nothing.
    pub fn turn(
        &self,
        group: GroupId,
        (peer, whose): (PeerId, Whose<'_>),
        identity: Option<Rc<Identity>>,
    ) -> Turn {
        let shelf = self.groups.get(group);
        let Some(shelf) = shelf.filter(|shelf| shelf.keeps && shelf.open.get()) else {
            return Turn::Alone;
        };
        let key = Key {
            peer,
            location: whose.location,
            identity,
        };
        shelf.turn(key, whose)
    }

    /// The first stream of a new connection, which others share from now on, unless the group keeps none.
    pub fn put(
        &self,
        group: Option<GroupId>,
        key: Key,
        shared: Rc<Shared>,
        deadlines: &Rc<Deadlines>,
    ) -> Option<Handle> {
        let shelf = group
            .and_then(|group| self.groups.get(group))
            .filter(|shelf| shelf.keeps && shelf.open.get());
        if let Some(shelf) = shelf {
            shelf.entries.borrow_mut().push(Entry {
                key,
                shared: shared.clone(),
            });
        }
        Handle::open(&shared, shelf.cloned(), deadlines)
    }

    /// Ends connections that idle for too long. Call it a few times a second.
    pub fn sweep(&self, now: Mono) {
        for shelf in &self.groups {
            let mut entries = shelf.entries.borrow_mut();
            if entries.is_empty() {
                continue;
            }
            entries.retain(|entry| {
                let shared = &entry.shared;
                let idle = shared.active.get() == 0;
                if idle && now.since(shared.idle_since.get()) >= shelf.rules.timeout {
                    shared.retire();
                }
                shared.life.get() != Life::Dead && !(idle && shared.life.get() == Life::Leaving)
            });
        }
    }

    /// Takes no new streams to these peers any more.
    pub fn forget(&self, group: GroupId, peers: &[PeerId]) {
        let Some(shelf) = self.groups.get(group) else {
            return;
        };
        shelf.entries.borrow_mut().retain(|entry| {
            let gone = peers.contains(&entry.key.peer);
            if gone {
                entry.shared.retire();
            }
            !gone
        });
    }

    /// Takes no new streams any more; connections end with their last one.
    pub fn close(&self) {
        for shelf in &self.groups {
            shelf.open.set(false);
            for entry in shelf.entries.take() {
                entry.shared.retire();
            }
        }
    }

    /// Connections that are there.
    pub fn len(&self) -> usize {
        let open = |entry: &&Entry| entry.shared.life.get() != Life::Dead;
        let count = |shelf: &Rc<Shelf>| shelf.entries.borrow().iter().filter(open).count();
        self.groups.iter().map(count).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Shelves {
    fn drop(&mut self) {
        self.close();
    }
}
