//! The HTTP/2 connections of one generation on one shard, per group: which one carries the next request, and which may
//! stay when nobody uses them.
//!
//! A connection is shared by as many exchanges as its peer allows, and stays here from its first request on. The rules
//! are those of the idle pool (`keepalive*`): so many idle ones, so many requests, so old.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::super::pool::Whose;
use super::super::tls::Identity;
use super::{Handle, Life, Shared};
use crate::base::ids::IdVec;
use crate::base::time::Mono;
use crate::net::deadline::Deadlines;
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

/// The connections of one group.
pub struct Shelf {
    rules: KeepalivePlan,
    /// Nothing is kept where nothing idles.
    keeps: bool,
    open: Cell<bool>,
    entries: RefCell<Vec<Entry>>,
}

impl Shelf {
    fn is_of(&self, entry: &Entry, (peer, whose): (PeerId, Whose<'_>)) -> bool {
        entry.key.peer == peer
            && (!self.rules.local || entry.key.location == whose.location)
            && entry.key.identity.as_deref() == whose.identity
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
            .find(|entry| shelf.is_of(entry, key) && shelf.serves(&entry.shared, now))?;
        let shared = entry.shared.clone();
        drop(entries);
        Handle::open(&shared, Some(shelf.clone()), deadlines)
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
