//! A shard's place among the others, for what belongs to one of them: keys of limits, sessions, stored answers, checks.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Mail, Outbox, Target};

/// A shard's place among the others.
pub struct Seat {
    own: Target,
    shards: u16,
    outbox: Option<Rc<Outbox<Mail>>>,
    /// Owners that ended, or did not answer.
    absent: RefCell<Box<[bool]>>,
}

impl Seat {
    /// The place of a shard that has no other beside it.
    #[must_use]
    pub fn alone() -> Self {
        Self::new(Target(0), 1, None)
    }

    /// The place of a shard among others.
    #[must_use]
    pub fn among(outbox: Rc<Outbox<Mail>>) -> Self {
        // Every target but control is a shard.
        let shards = outbox.control().0.max(1);
        Self::new(outbox.own(), shards, Some(outbox))
    }

    fn new(own: Target, shards: u16, outbox: Option<Rc<Outbox<Mail>>>) -> Self {
        Self {
            own,
            shards,
            outbox,
            absent: RefCell::new(vec![false; usize::from(shards)].into()),
        }
    }

    /// This shard.
    pub fn own(&self) -> Target {
        self.own
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Whether there are others.
    pub fn is_shared(&self) -> bool {
        self.shards > 1
    }

    /// How the others are reached; none without others.
    pub fn outbox(&self) -> Option<&Rc<Outbox<Mail>>> {
        self.outbox.as_ref()
    }

    /// The shard that owns what hashes so, by the upper half: the same on all shards where the hash is.
    pub fn owner(&self, hash: u64) -> Target {
        Target((((hash >> 32) * u64::from(self.shards)) >> 32) as u16)
    }

    /// Whether an owner ended or did not answer.
    pub fn is_absent(&self, owner: Target) -> bool {
        let absent = self.absent.borrow();
        absent.get(usize::from(owner.0)).copied().unwrap_or(true)
    }

    /// An owner ended or did not answer, or was heard again.
    pub fn set_absent(&self, owner: Target, absent: bool) {
        if let Some(known) = self.absent.borrow_mut().get_mut(usize::from(owner.0)) {
            *known = absent;
        }
    }

    /// Tells the others.
    pub fn post_others(&self, letter: impl FnMut() -> Mail) {
        if let Some(outbox) = &self.outbox {
            outbox.post_others(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_spread_and_remembered_when_absent() {
        let seat = Seat::new(Target(1), 3, None);
        let owners = [0, 1 << 62, u64::MAX].map(|hash| seat.owner(hash).0);
        assert_eq!(owners, [0, 0, 2]);
        assert_eq!(Seat::alone().owner(u64::MAX), Target(0));
        assert!(!seat.is_absent(Target(2)));
        seat.set_absent(Target(2), true);
        assert!(seat.is_absent(Target(2)) && !seat.is_absent(Target(1)));
        seat.set_absent(Target(2), false);
        assert!(!seat.is_absent(Target(2)));
        seat.set_absent(Target(9), false);
        assert!(seat.is_absent(Target(9)), "nobody has that number");
    }
}
