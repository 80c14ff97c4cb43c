//! What shards tell each other about the peers of groups with a `zone`: failures, probes and recoveries.
//!
//! nginx keeps such peers in shared memory; here every shard keeps its own counts and hears of the others'.
//! [`Outbox`] collects, the shard posts, because only it knows the epoch.

use std::cell::RefCell;

use crate::mail::PeerChange;
use crate::plan::GroupId;

/// One change of one peer. Belongs to one plan: whoever carries it must deliver it to the same epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthNote {
    /// The group.
    pub group: GroupId,
    /// Its peer's tag.
    pub peer: u64,
    /// What happened.
    pub change: PeerChange,
}

/// Notes of one turn of the loop. Beyond it the oldest news is as good as known: a peer that fails a thousand
/// times within one turn is switched off by the first ones.
const NOTES_MAX: usize = 1024;

/// Collects notes until the shard posts them.
#[derive(Debug, Default)]
pub struct Outbox {
    notes: RefCell<Vec<HealthNote>>,
}

impl Outbox {
    /// Adds a note, unless the box is full.
    pub fn push(&self, note: HealthNote) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < NOTES_MAX {
            notes.push(note);
        }
    }

    /// Hands out all notes in order.
    pub fn drain(&self, each: &mut dyn FnMut(HealthNote)) {
        if self.notes.borrow().is_empty() {
            return;
        }
        let notes = std::mem::take(&mut *self.notes.borrow_mut());
        notes.into_iter().for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_keep_their_order_and_are_bounded() {
        let outbox = Outbox::default();
        let note = |p| HealthNote {
            group: GroupId(0),
            peer: p,
            change: PeerChange::Failed,
        };
        (0..2000).for_each(|p| outbox.push(note(p)));
        let mut seen = Vec::new();
        outbox.drain(&mut |n| seen.push(n.peer));
        assert_eq!(seen, (0..1024).collect::<Vec<_>>());
        outbox.drain(&mut |n| unreachable!("{n:?}"));
    }
}
