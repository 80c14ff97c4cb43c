//! A bounded map that forgets what was used longest ago. Slots never move and are reused, so that a full map allocates nothing.
//! Start at [`Lru::insert`].

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The end of the list.
const NIL: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<K, V> {
    key: K,
    value: V,
    newer: u32,
    older: u32,
}

/// A map of at most `max` entries. Keys are cloned once: the index holds one copy, the slot another.
#[derive(Debug)]
pub struct Lru<K, V> {
    index: HashMap<K, u32, foldhash::fast::RandomState>,
    slots: Vec<Option<Slot<K, V>>>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
    max: usize,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// Empty; holds at least one entry.
    pub fn new(max: usize) -> Self {
        Self {
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NIL,
            oldest: NIL,
            max: max.clamp(1, NIL as usize - 1),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The value, which is now the newest.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let at = *self.index.get(key)?;
        if self.newest != at {
            self.unlink(at);
            self.link(at);
        }
        self.slots[at as usize].as_mut().map(|s| &mut s.value)
    }

    /// The value, without a change of its age.
    pub fn peek<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = *self.index.get(key)?;
        self.slots[at as usize].as_ref().map(|s| &s.value)
    }

    /// Inserts as the newest. Returns what had to go: the old entry of this key, or the oldest one.
    pub fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        let gone = match self.remove(&key) {
            Some(old) => Some(old),
            None if self.len() >= self.max => self.pop_oldest(),
            None => None,
        };
        let slot = Some(Slot {
            key: key.clone(),
            value,
            newer: NIL,
            older: NIL,
        });
        let at = if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            at
        } else {
            self.slots.push(slot);
            self.slots.len() as u32 - 1
        };
        self.index.insert(key, at);
        self.link(at);
        gone
    }

    /// Takes an entry out.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let at = self.index.remove(key)?;
        self.unlink(at);
        self.free.push(at);
        self.slots[at as usize].take().map(|s| (s.key, s.value))
    }

    /// The entry that was used longest ago.
    pub fn oldest(&self) -> Option<(&K, &V)> {
        self.slots
            .get(self.oldest as usize)?
            .as_ref()
            .map(|s| (&s.key, &s.value))
    }

    /// Takes the oldest entry out.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        let at = self.oldest;
        let slot = self.slots.get_mut(at as usize)?;
        let key = slot.as_ref()?.key.clone();
        self.remove(&key)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::new(self.max);
    }

    /// Entries from the newest to the oldest.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut at = self.newest;
        std::iter::from_fn(move || {
            let slot = self.slots.get(at as usize)?.as_ref()?;
            at = slot.older;
            Some((&slot.key, &slot.value))
        })
    }

    fn slot(&mut self, at: u32) -> Option<&mut Slot<K, V>> {
        self.slots.get_mut(at as usize)?.as_mut()
    }

    fn unlink(&mut self, at: u32) {
        let Some((newer, older)) = self.slot(at).map(|s| (s.newer, s.older)) else {
            return;
        };
        match self.slot(newer) {
            Some(s) => s.older = older,
            None => self.newest = older,
        }
        match self.slot(older) {
            Some(s) => s.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, at: u32) {
        let was = self.newest;
        if let Some(s) = self.slot(at) {
            s.newer = NIL;
            s.older = was;
        }
        match self.slot(was) {
            Some(s) => s.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;

    #[test]
    fn oldest_goes_first() {
        let mut l = Lru::new(2);
        assert_eq!(l.insert("a", 1), None);
        assert_eq!(l.insert("b", 2), None);
        assert_eq!(l.get("a"), Some(&mut 1));
        assert_eq!(l.insert("c", 3), Some(("b", 2)));
        assert_eq!(l.insert("a", 4), Some(("a", 1)));
        assert_eq!(l.iter().map(|(k, _)| *k).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(l.oldest(), Some((&"c", &3)));
        assert_eq!(l.pop_oldest(), Some(("c", 3)));
        assert_eq!(l.remove("a"), Some(("a", 4)));
        assert_eq!((l.len(), l.oldest()), (0, None));
        assert_eq!(l.pop_oldest(), None);
    }

    #[test]
    fn agrees_with_a_naive_list() {
        let (mut rng, mut lru, mut naive) = (Rng::new(1), Lru::new(8), Vec::<(u64, u64)>::new());
        for round in 0..20_000 {
            let key = rng.below(20);
            match rng.below(3) {
                0 => {
                    let gone = lru.insert(key, round);
                    let expected = match naive.iter().position(|e| e.0 == key) {
                        Some(at) => Some(naive.remove(at)),
                        None if naive.len() == 8 => naive.pop(),
                        None => None,
                    };
                    assert_eq!(gone, expected);
                    naive.insert(0, (key, round));
                }
                1 => {
                    let found = naive.iter().position(|e| e.0 == key);
                    assert_eq!(lru.get(&key).map(|v| *v), found.map(|at| naive[at].1));
                    if let Some(at) = found {
                        let entry = naive.remove(at);
                        naive.insert(0, entry);
                    }
                }
                _ => {
                    let found = naive.iter().position(|e| e.0 == key);
                    assert_eq!(lru.remove(&key), found.map(|at| naive.remove(at)));
                }
            }
            assert!(lru.iter().map(|(k, v)| (*k, *v)).eq(naive.iter().copied()));
        }
    }
}
