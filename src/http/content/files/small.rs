//! Small files that a shard has read a moment ago. Their content is used again after one `stat(2)` has shown that the
//! name still means the same, unchanged file; that is a third of what opening, asking, reading and closing costs.
//!
//! Nothing is believed for a time: each answer asks the kernel. A file is kept when it is asked for a second time and
//! has rested since its last change for longer than a file system's clock is coarse, so that a change always shows.
//! Differs from nginx: bytes stored through a shared memory map are seen when the kernel notes the file's new time.
//!
//! Start at [`SmallFiles::look`].

use std::cell::{Cell, OnceCell, RefCell};
use std::hash::BuildHasher as _;
use std::rc::Rc;

use super::super::super::local::Cx;
use crate::base::lru::Lru;
use crate::base::time::Mono;
use crate::net::file::{self, File, Stat};

/// Larger files are sent by the kernel, or read each time.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// Files that one shard keeps; with the bound above 4 MiB at most.
const FILES_MAX: usize = 256;

/// A name that was looked up this short ago is in the kernel's cache of names: asking again waits for no disk.
const HOT_MS: u64 = 1000;

/// How long a file must have rested: twice what the coarsest clock of a file system (FAT's) cannot tell apart.
const REST_SECS: i64 = 4;

/// Names of which it is remembered that they were asked for once.
const SEEN: usize = 512;

/// What one shard keeps for one epoch.
pub struct SmallFiles {
    kept: RefCell<Lru<Rc<[u8]>, Entry>>,
    /// Hashes of the names that were asked for last, each in its place.
    seen: OnceCell<Box<[Cell<u32>]>>,
    hasher: foldhash::fast::RandomState,
}

struct Entry {
    content: Box<[u8]>,
    stat: Stat,
    asked_at: Mono,
}

impl Default for SmallFiles {
    fn default() -> Self {
        Self {
            kept: RefCell::new(Lru::new(FILES_MAX)),
            seen: OnceCell::new(),
            hasher: foldhash::fast::RandomState::default(),
        }
    }
}

impl SmallFiles {
    /// The content in a pooled buffer, if the name still means what was kept.
    pub fn look(&self, path: &[u8], cx: Cx<'_>) -> Option<(Vec<u8>, Stat)> {
        let mut kept = self.kept.borrow_mut();
        let entry = kept.get(path)?;
        let now = cx.local.clock.mono();
        if now.ms_since(entry.asked_at) > HOT_MS {
            return None;
        }
        if !matches!(file::stat_at_once(path), Ok(stat) if stat == entry.stat) {
            kept.remove(path);
            return None;
        }
        entry.asked_at = now;
        let mut bytes = cx.local.buffers.take(entry.content.len());
        bytes.extend_from_slice(&entry.content);
        Some((bytes, entry.stat))
    }

    /// Takes note of a regular file that was opened by its name, and keeps its content if that is worth while.
    pub fn note(&self, path: &[u8], file: &File, stat: &Stat, cx: Cx<'_>) {
        if stat.len == 0 || stat.len > FILE_BYTES_MAX {
            return;
        }
        let now = cx.local.clock.mono();
        let mut kept = self.kept.borrow_mut();
        if let Some(entry) = kept.get(path)
            && entry.stat == *stat
        {
            entry.asked_at = now;
            return;
        }
        if !self.was_seen(path) || !stat.has_rested(cx.local.clock.unix().secs, REST_SECS) {
            return;
        }
        let mut content = Vec::with_capacity(stat.len as usize);
        // What a disk has to be asked for is not read for the sake of others.
        let read = file.read_now(&mut content, 0, stat.len as usize);
        if read != Some(stat.len as usize) || !matches!(file.stat(), Ok(again) if again == *stat) {
            return;
        }
        let entry = Entry {
            content: content.into_boxed_slice(),
            stat: *stat,
            asked_at: now,
        };
        kept.insert(Rc::from(path), entry);
    }

    /// Whether the name was asked for lately; remembers it.
    fn was_seen(&self, path: &[u8]) -> bool {
        let seen = self.seen.get_or_init(|| vec![Cell::new(0); SEEN].into());
        let hash = self.hasher.hash_one(path);
        let place = &seen[hash as usize % SEEN];
        place.replace((hash >> 32) as u32) == (hash >> 32) as u32
    }
}
