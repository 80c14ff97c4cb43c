//! The entries of one store whose keys this shard owns: found by digest, in the order in which they were used, and each
//! key with its variants. Plain memory: decides nothing. Start at [`Index`].
//!
//! An entry costs at most 200 bytes beside its key. Entries never move: they live in chunks, so that growth copies
//! nothing but the small table that finds them.

use std::hash::{BuildHasher, Hasher};
use std::ops::{Index as At, IndexMut};
use std::sync::Arc;

use foldhash::quality::FixedState;

use crate::mail::cache::Digest;

/// No entry.
pub const NIL: u32 = u32::MAX;

/// Entries of a chunk.
const CHUNK: usize = 1024;

/// One key, or one variant of a key.
#[derive(Debug)]
pub struct Entry {
    /// Names its file.
    pub digest: Digest,
    /// The entry of its key: itself, unless this is a variant.
    pub main: u32,
    /// The next variant of the same key, or the next free place.
    next: u32,
    /// The first variant of this key.
    pub variants: u32,
    newer: u32,
    older: u32,
    /// Second of the process in which it was last used.
    pub used: u32,
    /// The key; a variant's is that of its main entry.
    pub key: Box<[u8]>,
    /// Names of the fields that choose a variant, where there are some.
    pub vary: Option<Arc<[u8]>>,
    /// Tags, one space between two.
    pub tags: Option<Box<[u8]>>,
    /// Which content its file has.
    pub stamp: u64,
    /// Fresh until then; of an error too.
    pub valid_until: i64,
    /// Shards that have it in memory.
    pub holders: u64,
    /// Bytes that its file takes.
    pub bytes: u64,
    /// Seconds behind `valid_until` in which it may be served while it is fetched.
    pub while_revalidate: u32,
    /// How often it was asked for before it was stored.
    pub uses: u16,
    /// Status of a remembered error; 0 is none.
    pub error: u16,
    /// It has a file.
    pub stored: bool,
    /// Its file is being removed.
    pub removing: bool,
    /// Whether there is a file for it was looked at.
    pub probed: bool,
    /// Fills that were granted and are not over.
    pub fills: u16,
    /// What is going on about it; [`NIL`] when nothing is.
    pub flight: u32,
    live: bool,
}

const _: () = assert!(size_of::<Entry>() <= 176);

impl Entry {
    fn new(digest: Digest) -> Self {
        Self {
            digest,
            main: NIL,
            next: NIL,
            variants: NIL,
            newer: NIL,
            older: NIL,
            used: 0,
            key: Box::default(),
            vary: None,
            tags: None,
            stamp: 0,
            valid_until: i64::MIN,
            holders: 0,
            bytes: 0,
            while_revalidate: 0,
            uses: 0,
            error: 0,
            stored: false,
            removing: false,
            probed: false,
            fills: 0,
            flight: NIL,
            live: true,
        }
    }

    /// Whether it is in the index; other places are free.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether something is going on that needs it.
    pub fn is_busy(&self) -> bool {
        self.flight != NIL || self.fills > 0 || self.removing
    }
}

/// Entries by digest and by age.
#[derive(Debug)]
pub struct Index {
    chunks: Vec<Vec<Entry>>,
    free: u32,
    len: usize,
    /// Places of entries, plus one; 0 is empty. A power of two of them.
    table: Vec<u32>,
    newest: u32,
    oldest: u32,
    bytes: u64,
    state: FixedState,
}

impl Index {
    /// Empty; a table for so many entries is reserved at once. The seed keeps clients from choosing places.
    pub fn new(expected: usize, seed: u64) -> Self {
        Self {
            chunks: Vec::new(),
            free: NIL,
            len: 0,
            // Zeroed pages cost nothing until they are touched.
            table: vec![0; table_len(expected)],
            newest: NIL,
            oldest: NIL,
            bytes: 0,
            state: FixedState::with_seed(seed),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the highest place that was ever used, to go through all entries in steps.
    pub fn places(&self) -> u32 {
        match self.chunks.last() {
            Some(last) => ((self.chunks.len() - 1) * CHUNK + last.len()) as u32,
            None => 0,
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Says how many bytes an entry's file takes now.
    pub fn set_bytes(&mut self, at: u32, bytes: u64) {
        let was = std::mem::replace(&mut self[at].bytes, bytes);
        self.bytes = self.bytes - was + bytes;
    }

    fn home(&self, digest: &Digest) -> usize {
        let mut hasher = self.state.build_hasher();
        hasher.write(digest);
        hasher.finish() as usize & (self.table.len() - 1)
    }

    /// Where in the table a digest is, or would be.
    fn probe(&self, digest: &Digest) -> (usize, Option<u32>) {
        let mask = self.table.len() - 1;
        let mut at = self.home(digest);
        loop {
            match self.table[at] {
                0 => return (at, None),
                place if self[place - 1].digest == *digest => return (at, Some(place - 1)),
                _ => at = (at + 1) & mask,
            }
        }
    }

    /// The entry of a digest.
    pub fn find(&self, digest: &Digest) -> Option<u32> {
        self.probe(digest).1
    }

    /// Adds the entry of a key, which must not be there, as the newest.
    pub fn add(&mut self, digest: Digest, key: Box<[u8]>, now: u32) -> u32 {
        let at = self.place(Entry::new(digest), now);
        self[at].main = at;
        self[at].key = key;
        at
    }

    /// Adds a variant of a key, which must not be there, as the newest.
    pub fn add_variant(&mut self, digest: Digest, main: u32, now: u32) -> u32 {
        let at = self.place(Entry::new(digest), now);
        let first = std::mem::replace(&mut self[main].variants, at);
        self[at].main = main;
        self[at].next = first;
        at
    }

    fn place(&mut self, entry: Entry, now: u32) -> u32 {
        if (self.len + 1) * 2 > self.table.len() {
            self.grow();
        }
        let (slot, found) = self.probe(&entry.digest);
        debug_assert!(found.is_none(), "an entry is added once");
        let at = if self.free == NIL {
            if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            let chunk = self.chunks.len() - 1;
            self.chunks[chunk].push(entry);
            self.places() - 1
        } else {
            let at = self.free;
            self.free = self[at].next;
            self[at] = entry;
            at
        };
        self.table[slot] = at + 1;
        self.len += 1;
        self[at].used = now;
        self.link(at);
        at
    }

    fn grow(&mut self) {
        let wider = vec![0; self.table.len() * 2];
        let old = std::mem::replace(&mut self.table, wider);
        for place in old.into_iter().filter(|place| *place != 0) {
            let (slot, _) = self.probe(&self[place - 1].digest);
            self.table[slot] = place;
        }
    }

    /// Takes an entry out. One that has variants must have lost them before.
    pub fn remove(&mut self, at: u32) {
        debug_assert!(self[at].variants == NIL, "variants go first");
        self.set_bytes(at, 0);
        let main = self[at].main;
        if main != at {
            self.forget_variant(main, at);
        }
        self.unlink(at);
        self.remove_from_table(at);
        self.len -= 1;
        let free = self.free;
        let entry = &mut self[at];
        *entry = Entry::new([0; 16]);
        entry.live = false;
        entry.next = free;
        self.free = at;
    }

    fn forget_variant(&mut self, main: u32, gone: u32) {
        let next = self[gone].next;
        if self[main].variants == gone {
            self[main].variants = next;
            return;
        }
        let mut at = self[main].variants;
        while at != NIL {
            if self[at].next == gone {
                self[at].next = next;
                return;
            }
            at = self[at].next;
        }
    }

    /// Closes the gap, so that searches never pass over graves.
    fn remove_from_table(&mut self, gone: u32) {
        let mask = self.table.len() - 1;
        let (mut gap, _) = self.probe(&self[gone].digest);
        let mut at = gap;
        loop {
            self.table[gap] = 0;
            loop {
                at = (at + 1) & mask;
                let place = self.table[at];
                if place == 0 {
                    return;
                }
                let home = self.home(&self[place - 1].digest);
                // It may move back as far as its home, and no further.
                if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(gap) & mask) {
                    self.table[gap] = place;
                    gap = at;
                    break;
                }
            }
        }
    }

    /// It is used now.
    pub fn touch(&mut self, at: u32, now: u32) {
        self[at].used = now;
        if self.newest != at {
            self.unlink(at);
            self.link(at);
        }
    }

    /// The entry that was used longest ago.
    pub fn oldest(&self) -> Option<u32> {
        (self.oldest != NIL).then_some(self.oldest)
    }

    /// Variants of a key.
    pub fn variants(&self, main: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self[main].variants;
        std::iter::successors((first != NIL).then_some(first), |at| {
            let next = self[*at].next;
            (next != NIL).then_some(next)
        })
    }

    /// The key that an entry is of.
    pub fn key(&self, at: u32) -> &[u8] {
        &self[self[at].main].key
    }

    fn unlink(&mut self, at: u32) {
        let (newer, older) = (self[at].newer, self[at].older);
        match newer {
            NIL => self.newest = older,
            newer => self[newer].older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => self[older].newer = newer,
        }
    }

    fn link(&mut self, at: u32) {
        let was = std::mem::replace(&mut self.newest, at);
        self[at].newer = NIL;
        self[at].older = was;
        match was {
            NIL => self.oldest = at,
            was => self[was].newer = at,
        }
    }
}

fn table_len(expected: usize) -> usize {
    (expected * 2).next_power_of_two().clamp(64, 1 << 26)
}

impl At<u32> for Index {
    type Output = Entry;

    fn index(&self, at: u32) -> &Entry {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

impl IndexMut<u32> for Index {
    fn index_mut(&mut self, at: u32) -> &mut Entry {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use std::collections::HashMap;

    fn digest(n: u64) -> Digest {
        let mut out = [0; 16];
        out[8..].copy_from_slice(&n.to_le_bytes());
        out
    }

    /// What the index should say, kept in the simplest way.
    #[derive(Default)]
    struct Model {
        /// Number to main number, bytes.
        entries: HashMap<u64, (Option<u64>, u64)>,
        /// From the oldest to the newest.
        order: Vec<u64>,
    }

    fn check(index: &Index, model: &Model) {
        assert_eq!(index.len(), model.entries.len());
        let bytes: u64 = model.entries.values().map(|(_, bytes)| bytes).sum();
        assert_eq!(index.bytes(), bytes);
        let mut at = index.oldest;
        for n in &model.order {
            assert_eq!(index[at].digest, digest(*n));
            at = index[at].newer;
        }
        assert_eq!(at, NIL);
        for (n, (main, _)) in &model.entries {
            let at = index.find(&digest(*n)).unwrap();
            let want = main.map_or(at, |main| index.find(&digest(main)).unwrap());
            assert_eq!(index[at].main, want);
            if main.is_none() {
                let mut found: Vec<_> = index.variants(at).map(|at| index[at].digest).collect();
                let mut of: Vec<_> = model
                    .entries
                    .iter()
                    .filter(|(_, (main, _))| *main == Some(*n))
                    .map(|(n, _)| digest(*n))
                    .collect();
                found.sort_unstable();
                of.sort_unstable();
                assert_eq!(found, of);
            }
        }
    }

    fn step(index: &mut Index, model: &mut Model, rng: &mut Rng) {
        let n = rng.below(120);
        let found = index.find(&digest(n));
        assert_eq!(found.is_some(), model.entries.contains_key(&n));
        match (found, rng.below(4)) {
            (None, 0 | 1) => {
                index.add(digest(n), Box::from(&n.to_le_bytes()[..]), 0);
                model.entries.insert(n, (None, 0));
                model.order.push(n);
            }
            (None, _) => {
                let mains: Vec<_> = model.entries.iter().filter(|e| e.1.0.is_none()).collect();
                let Some((main, _)) = mains.get(rng.below(mains.len() as u64) as usize) else {
                    return;
                };
                let main = **main;
                index.add_variant(digest(n), index.find(&digest(main)).unwrap(), 0);
                model.entries.insert(n, (Some(main), 0));
                model.order.push(n);
            }
            (Some(at), 0) => {
                if index.variants(at).next().is_none() {
                    index.remove(at);
                    model.entries.remove(&n);
                    model.order.retain(|other| *other != n);
                }
            }
            (Some(at), 1) => {
                let bytes = rng.below(1000);
                index.set_bytes(at, bytes);
                model.entries.get_mut(&n).unwrap().1 = bytes;
            }
            (Some(at), _) => {
                index.touch(at, 1);
                model.order.retain(|other| *other != n);
                model.order.push(n);
            }
        }
    }

    #[test]
    fn it_agrees_with_a_simple_model() {
        for seed in 0..30 {
            let mut rng = Rng::new(seed);
            let (mut index, mut model) = (Index::new(0, seed), Model::default());
            for _ in 0..600 {
                step(&mut index, &mut model, &mut rng);
            }
            check(&index, &model);
        }
    }

    #[test]
    fn it_grows_and_uses_places_again() {
        let mut index = Index::new(10, 1);
        for n in 0..5000 {
            index.add(digest(n), Box::default(), 0);
        }
        for n in 0..5000 {
            let at = index.find(&digest(n)).unwrap();
            index.remove(at);
        }
        assert!(index.is_empty() && index.oldest().is_none());
        for n in 0..5000 {
            index.add(digest(n), Box::default(), 0);
        }
        assert_eq!(index.places(), 5000);
        assert!((0..5000).all(|n| index.find(&digest(n)).is_some()));
    }
}
