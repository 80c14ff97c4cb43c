//! Whose DATA goes next: by urgency, in turns within one urgency (RFC 9218 §10).

use std::collections::VecDeque;

use super::priority::Priority;
use super::streams::Key;

/// Streams that have something to send and a window for it.
#[derive(Default)]
pub struct Schedule {
    levels: [VecDeque<Key>; Priority::LEVELS],
    /// A bit for each level that has streams.
    busy: u8,
}

impl Schedule {
    /// Puts a stream at the end of its urgency's queue.
    pub fn push(&mut self, key: Key, priority: Priority) {
        let level = usize::from(priority.urgency).min(Priority::LEVELS - 1);
        self.levels[level].push_back(key);
        self.busy |= 1 << level;
    }

    /// Takes the stream whose turn it is.
    pub fn pop(&mut self) -> Option<(Key, usize)> {
        if self.busy == 0 {
            return None;
        }
        let level = self.busy.trailing_zeros() as usize;
        let key = self.levels[level].pop_front()?;
        self.settle(level);
        Some((key, level))
    }

    /// Gives a stream its turn back: it goes on until it is done.
    pub fn unpop(&mut self, key: Key, level: usize) {
        self.levels[level].push_front(key);
        self.busy |= 1 << level;
    }

    /// Takes a stream out, wherever it stands.
    pub fn remove(&mut self, key: Key) {
        for level in 0..Priority::LEVELS {
            self.levels[level].retain(|&other| other != key);
            self.settle(level);
        }
    }

    /// True when nobody waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.busy == 0
    }

    fn settle(&mut self, level: usize) {
        if self.levels[level].is_empty() {
            self.busy &= !(1 << level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urgent_come_first_and_the_others_take_turns() {
        let of = |urgency| Priority {
            urgency,
            incremental: true,
        };
        let mut schedule = Schedule::default();
        for (key, urgency) in [(1, 3), (2, 7), (3, 3), (4, 0), (5, 3)] {
            schedule.push(Key(key), of(urgency));
        }
        schedule.remove(Key(3));
        let mut order = Vec::new();
        while let Some((key, level)) = schedule.pop() {
            order.push(key.0);
            if order.len() < 4 {
                schedule.push(key, of(level as u8));
            }
        }
        assert_eq!(order, [4, 4, 4, 4, 1, 5, 2]);
        assert!(schedule.is_empty());
        schedule.push(Key(1), of(3));
        schedule.push(Key(2), of(3));
        let (key, level) = schedule.pop().unwrap();
        schedule.unpop(key, level);
        assert_eq!(schedule.pop(), Some((Key(1), 3)));
    }
}
