//! What an owner has room for: which entries go when there are too many, or too much.

use super::super::index::NIL;
use super::Owner;

/// Entries that are looked at to find one that can be removed at once.
const TRIES: u32 = 16;

/// Seconds without a word of its use after which an answer in a shard's memory counts as used no more: shards tell of
/// it every ten seconds.
const HOT_SECONDS: u32 = 12;

impl Owner {
    pub(super) fn make_room(&mut self) -> Option<()> {
        if self.index.len() - self.removing < self.max {
            return Some(());
        }
        for n in 0..TRIES {
            let oldest = self.index.oldest()?;
            if n < TRIES / 2 && self.is_hot(oldest) {
                self.spare(oldest);
                continue;
            }
            if self.drop_entry(oldest) {
                return Some(());
            }
            let now = self.second();
            self.index.touch(oldest, now);
        }
        None
    }

    /// Whether a shard has it, or a variant of it, in memory and may have served it a moment ago. It tells of that now and
    /// then only, and in a storm of new keys what is asked for most would look oldest.
    fn is_hot(&self, at: u32) -> bool {
        let now = self.second();
        let hot = |at: u32| {
            let entry = &self.index[at];
            entry.holders != 0 && now.saturating_sub(entry.used) < HOT_SECONDS
        };
        hot(at) || self.index.variants(at).any(hot)
    }

    /// Puts it behind all others; when it was used stays.
    fn spare(&mut self, at: u32) {
        let main = self.index[at].main;
        for at in [at, main] {
            self.index.touch(at, self.index[at].used);
        }
        self.spared += 1;
    }

    /// Forgets an entry with all its variants and their files; false when it is needed.
    pub(super) fn drop_entry(&mut self, at: u32) -> bool {
        let variants: Vec<_> = self.index.variants(at).collect();
        let busy = |owner: &Self, at: u32| owner.index[at].is_busy();
        if busy(self, at) || variants.iter().any(|at| busy(self, *at)) {
            return false;
        }
        for one in variants.into_iter().chain([at]) {
            self.forget(one);
            self.index[one].vary = None;
            if self.index[one].stored {
                self.remove_file(one);
            } else if self.index[one].variants == NIL {
                self.index.remove(one);
            }
        }
        true
    }

    /// Removes what was used before `used` until `bytes` are freed, `files` entries at most; what is hot goes last when
    /// `used` is no bound. Returns the bytes and the entries that were looked at.
    pub fn evict(&mut self, used: u32, bytes: u64, files: u32) -> (u64, u32) {
        let (mut freed, mut seen) = (0, 0);
        while freed < bytes && seen < files {
            let Some(oldest) = self.index.oldest() else {
                break;
            };
            if self.index[oldest].used >= used {
                break;
            }
            seen += 1;
            // Where all are hot, some have to go all the same.
            let is_hot = used == u32::MAX && self.is_hot(oldest);
            if is_hot && self.spared < self.index.len() {
                self.spare(oldest);
                continue;
            }
            let before = self.index.bytes();
            self.drop_entry(oldest);
            let gone = before - self.index.bytes();
            if gone > 0 && !is_hot {
                self.spared = 0;
            }
            freed += gone;
            if self.index.oldest() == Some(oldest) {
                // In use, or on its way out.
                let now = self.second();
                self.index.touch(oldest, now);
            }
        }
        (freed, seen)
    }
}
