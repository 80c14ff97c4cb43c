//! Sessions that the server keeps, found by their ids: one store for each zone, shared by all shards and kept over
//! reloads, bounded in bytes. Start at [`Store`].

#![expect(
    clippy::disallowed_types,
    reason = "a client's next connection may come to any shard; the store is cut into parts, each with its lock"
)]

use std::sync::{Arc, Mutex, PoisonError};

use rustls::server::StoresServerSessions;

use crate::base::lru::Lru;
use crate::net::clock;

/// Parts of a store; shards seldom meet in one.
const PARTS: usize = 16;

/// What an entry costs besides its bytes.
const ENTRY_BYTES: usize = 128;

/// Entries of a part, at most, whatever their size.
const ENTRIES_MAX: usize = 1 << 20;

struct Entry {
    value: Vec<u8>,
    /// The last second of Unix time at which it counts.
    until: i64,
}

struct Part {
    entries: Lru<Vec<u8>, Entry>,
    bytes: usize,
}

/// The sessions of a zone.
pub struct Store {
    parts: Box<[Mutex<Part>]>,
    part_bytes_max: usize,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

fn cost(key: &[u8], entry: &Entry) -> usize {
    // A key is held twice.
    2 * key.len() + entry.value.len() + ENTRY_BYTES
}

impl Store {
    /// An empty one for so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        let part = || {
            Mutex::new(Part {
                entries: Lru::new(ENTRIES_MAX),
                bytes: 0,
            })
        };
        Self {
            parts: (0..PARTS).map(|_| part()).collect(),
            part_bytes_max: bytes / PARTS,
        }
    }

    fn with<R>(&self, key: &[u8], act: impl FnOnce(&mut Part) -> R) -> R {
        // Ids are random, their last byte as good as any.
        let at = usize::from(key.last().copied().unwrap_or(0)) % PARTS;
        act(&mut self.parts[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, key: Vec<u8>, entry: Entry) -> bool {
        let size = cost(&key, &entry);
        if size > self.part_bytes_max {
            return false;
        }
        self.with(&key.clone(), |part| {
            part.remove(&key);
            while part.bytes + size > self.part_bytes_max {
                let Some((old, gone)) = part.entries.pop_oldest() else {
                    break;
                };
                part.bytes -= cost(&old, &gone);
            }
            part.bytes += size;
            if let Some((old, gone)) = part.entries.insert(key, entry) {
                part.bytes -= cost(&old, &gone);
            }
        });
        true
    }

    fn get(&self, key: &[u8], now: i64, remove: bool) -> Option<Vec<u8>> {
        self.with(key, |part| {
            let entry = part.entries.get(key)?;
            let fresh = (now <= entry.until).then(|| entry.value.clone());
            if remove || fresh.is_none() {
                part.remove(key);
            }
            fresh
        })
    }
}

impl Part {
    fn remove(&mut self, key: &[u8]) {
        if let Some((key, gone)) = self.entries.remove(key) {
            self.bytes -= cost(&key, &gone);
        }
    }
}

/// The sessions of one server in a store.
#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) store: Arc<Store>,
    /// What must be the same for a session to be found.
    pub(super) context: [u8; 32],
    /// Seconds that a session is good for.
    pub(super) lifetime: u32,
    /// A session is used once: what came before the handshake was over must not come again.
    pub(super) once: bool,
}

impl Sessions {
    fn key(&self, id: &[u8]) -> Vec<u8> {
        [&self.context[..], id].concat()
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let until = clock::unix().secs + i64::from(self.lifetime);
        self.store.put(self.key(&key), Entry { value, until })
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.store.get(&self.key(key), clock::unix().secs, false)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.store
            .get(&self.key(key), clock::unix().secs, self.once)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize, until: i64) -> Entry {
        Entry {
            value: vec![7; bytes],
            until,
        }
    }

    #[test]
    fn sessions_end_and_can_be_used_once() {
        let store = Store::new(1 << 20);
        assert!(store.put(vec![1], entry(10, 100)));
        assert_eq!(store.get(&[1], 100, false).map(|v| v.len()), Some(10));
        assert_eq!(store.get(&[1], 100, true).map(|v| v.len()), Some(10));
        assert_eq!(store.get(&[1], 100, true), None);
        assert!(store.put(vec![1], entry(10, 100)));
        assert_eq!(store.get(&[1], 101, false), None);
        assert_eq!(store.with(&[1], |part| part.bytes), 0);
    }

    #[test]
    fn a_full_store_forgets_the_oldest_and_counts_its_bytes() {
        let store = Store::new(PARTS * 1000);
        for n in 0..100u8 {
            assert!(store.put(vec![n, 0], entry(200, 100)));
            store.with(&[0], |part| assert!(part.bytes <= 1000));
        }
        assert!(store.get(&[99, 0], 1, false).is_some());
        assert!(store.get(&[0, 0], 1, false).is_none());
        assert!(!store.put(vec![0], entry(2000, 100)));
    }
}
