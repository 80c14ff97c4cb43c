//! Keys and what is known of them, in the room of a memory zone: how many fit is nginx's slab arithmetic, and the order
//! is by last use. Knows neither rates nor clocks. Start at [`Store::find`] and [`Store::add`].

use crate::mail::limit::Key;

/// nginx's page.
const PAGE: u64 = 4096;
/// What nginx's allocator keeps for itself of a zone: its header, and for each page a descriptor.
const HEADER: u64 = 704;
const DESCRIPTOR: u64 = 24;
/// What the zone's own head and its name take: a page of small pieces, and one piece of the usual size.
const RESERVED: u64 = PAGE + 128;
/// Pieces above half a page are whole pages.
const PIECE_MAX: u64 = PAGE / 2;
/// The smallest piece that a key can take.
const PIECE_MIN: u64 = 64;

/// No entry: indices are stored plus one, so that fresh tables are zeroes, which cost no memory until they are used.
const NONE: u32 = 0;

/// The place of an entry, until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(u32);

struct Entry<T> {
    key: Key,
    hash: u64,
    value: T,
    /// The next one of the same bucket, or the next free one.
    next: u32,
    newer: u32,
    older: u32,
}

/// A bounded table of keys. Entries never move.
pub struct Store<T> {
    buckets: Box<[u32]>,
    entries: Vec<Entry<T>>,
    free: u32,
    newest: u32,
    oldest: u32,
    /// Bytes that nginx's allocator would have handed out, and those that it has.
    used: u64,
    room: u64,
    /// How many keys there are.
    keys: u64,
    /// Bytes of an entry in nginx besides its key.
    overhead: u64,
}

/// Bytes that a zone of this size has for entries in one of so many equal parts.
fn room(bytes: u64, parts: u64) -> u64 {
    let pages = bytes.saturating_sub(HEADER) / (PAGE + DESCRIPTOR);
    let usable = (pages * PAGE).saturating_sub(RESERVED);
    // A small zone on many shards has room for some keys on each.
    usable.div_ceil(parts.max(1)).max(PAGE)
}

/// Bytes that nginx's allocator hands out for a piece of `size`.
fn piece(size: u64) -> u64 {
    if size > PIECE_MAX {
        size.next_multiple_of(PAGE)
    } else {
        size.next_power_of_two().max(PIECE_MIN)
    }
}

impl<T> Store<T> {
    /// The share of one of `parts` shards in a zone of `bytes`, with entries that take `overhead` besides their keys.
    pub fn new(bytes: u64, parts: u64, overhead: u64) -> Self {
        let room = room(bytes, parts);
        let most = (room / piece(overhead)).clamp(16, 1 << 24) as usize;
        Self {
            buckets: vec![NONE; most.next_power_of_two()].into(),
            entries: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            used: 0,
            keys: 0,
            room,
            overhead,
        }
    }

    fn bucket(&self, hash: u64) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    fn entry(&mut self, index: u32) -> Option<&mut Entry<T>> {
        self.entries.get_mut((index as usize).checked_sub(1)?)
    }

    /// Keys, bytes that they take in nginx's arithmetic, and bytes that there are.
    pub fn size(&self) -> (u64, u64, u64) {
        (self.keys, self.used, self.room)
    }

    /// The place of a key.
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<At> {
        let mut index = self.buckets[self.bucket(hash)];
        while index != NONE {
            let entry = &self.entries[index as usize - 1];
            if entry.hash == hash && entry.key.bytes() == key {
                return Some(At(index));
            }
            index = entry.next;
        }
        None
    }

    /// What is known of a key.
    pub fn value(&mut self, at: At) -> &mut T {
        &mut self.entries[at.0 as usize - 1].value
    }

    /// Makes a key the last used one.
    pub fn touch(&mut self, at: At) {
        if self.newest != at.0 {
            self.unlink(at.0);
            self.link(at.0);
        }
    }

    /// The key that was used longest ago.
    pub fn oldest(&self) -> Option<At> {
        (self.oldest != NONE).then_some(At(self.oldest))
    }

    /// Adds a key that is not there, as the last used one; none when it does not fit.
    pub fn add(&mut self, hash: u64, key: &[u8], value: T) -> Option<At> {
        let size = piece(self.overhead + key.len() as u64);
        if self.used + size > self.room {
            return None;
        }
        self.used += size;
        self.keys += 1;
        let bucket = self.bucket(hash);
        let entry = Entry {
            key: Key::new(key),
            hash,
            value,
            next: self.buckets[bucket],
            newer: NONE,
            older: NONE,
        };
        let free = self.free;
        let index = match self.entry(free) {
            Some(slot) => {
                let next = slot.next;
                *slot = entry;
                self.free = next;
                free
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32
            }
        };
        self.buckets[bucket] = index;
        self.link(index);
        Some(At(index))
    }

    /// Forgets a key.
    pub fn remove(&mut self, at: At) {
        self.unlink(at.0);
        let entry = &mut self.entries[at.0 as usize - 1];
        let (hash, next) = (entry.hash, entry.next);
        let size = self.overhead + entry.key.bytes().len() as u64;
        entry.key = Key::new(b"");
        entry.next = self.free;
        self.free = at.0;
        self.used -= piece(size);
        self.keys -= 1;
        let bucket = self.bucket(hash);
        if self.buckets[bucket] == at.0 {
            self.buckets[bucket] = next;
            return;
        }
        let mut index = self.buckets[bucket];
        while let Some(entry) = self.entry(index) {
            if entry.next == at.0 {
                entry.next = next;
                return;
            }
            index = entry.next;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some((newer, older)) = self.entry(index).map(|e| (e.newer, e.older)) else {
            return;
        };
        match self.entry(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entry(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, index: u32) {
        let was = self.newest;
        if let Some(entry) = self.entry(index) {
            (entry.newer, entry.older) = (NONE, was);
        }
        match self.entry(was) {
            Some(entry) => entry.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn a_megabyte_holds_as_many_as_nginx_says() {
        // nginx's documentation: about eight thousand states of 128 bytes, or sixteen thousand of 64.
        for (overhead, key, least, most) in [(80, 4, 8_000, 8_192), (36, 4, 16_000, 16_384)] {
            let mut store = Store::new(1 << 20, 1, overhead);
            let mut count = 0u32;
            while store
                .add(u64::from(count), &count.to_be_bytes()[..key], ())
                .is_some()
            {
                count += 1;
            }
            assert!((least..=most).contains(&count), "{count}");
        }
    }

    #[test]
    fn pieces_are_powers_of_two_then_pages() {
        for (size, want) in [
            (36, 64),
            (64, 64),
            (65, 128),
            (84, 128),
            (2048, 2048),
            (2049, 4096),
            (4097, 8192),
        ] {
            assert_eq!(piece(size), want, "{size}");
        }
        assert_eq!(room(32 << 10, 1), 6 * 4096 - 128);
        assert_eq!(room(32 << 10, 64), 4096);
    }

    #[test]
    fn agrees_with_a_map_and_a_list() {
        let mut rng = Rng::new(3);
        let mut store = Store::new(32 << 10, 8, 80);
        let (mut map, mut order) = (HashMap::new(), Vec::new());
        for round in 0..20_000u64 {
            let number = rng.below(60);
            let key = number.to_be_bytes();
            // Few hashes, so that buckets hold several keys.
            let hash = number % 7;
            let found = store.find(hash, &key);
            assert_eq!(found.map(|at| *store.value(at)), map.get(&number).copied());
            match (found, rng.below(3)) {
                (Some(at), 0) => {
                    store.remove(at);
                    map.remove(&number);
                    order.retain(|n| *n != number);
                }
                (Some(at), _) => {
                    store.touch(at);
                    order.retain(|n| *n != number);
                    order.push(number);
                }
                (None, _) => {
                    let fits = map.len() < 4096 / 128;
                    assert_eq!(store.add(hash, &key, round).is_some(), fits);
                    if fits {
                        map.insert(number, round);
                        order.push(number);
                    }
                }
            }
            let oldest = store.oldest().map(|at| *store.value(at));
            assert_eq!(oldest, order.first().map(|n| map[n]));
        }
    }
}
