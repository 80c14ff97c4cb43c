//! What a shard keeps of a store in its own memory: small answers whole, of large ones the head and an open file, and
//! which keys have variants. Bounded by bytes and by open files; what was used longest ago goes first. Start at
//! [`Table::get`].
//!
//! Nothing here is fresher than the key's owner knows: it takes back what changes ([`Table::forget`]).

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;

use foldhash::quality::FixedState;

use super::{Body, Hot, Object};
use crate::base::lru::Lru;
use crate::mail::cache::{Digest, Name};

/// Bytes of one store in the memory of one shard, until it is said otherwise.
const BYTES_MAX: usize = 32 << 20;

/// Entries of one store in the memory of one shard.
const ENTRIES_MAX: usize = 64 << 10;

/// Files of one store that one shard keeps open, until it is said otherwise.
const FILES_MAX: usize = 64;

/// Seconds after which a file that nobody asks for is closed.
const FILE_IDLE: i64 = 2;

/// What an entry takes beside its bytes, about.
const OVERHEAD: usize = 400;

struct Entry {
    name: Name,
    key: Box<[u8]>,
    what: Hot,
    cost: usize,
    /// The second in which its owner last heard that it is used.
    told: Cell<i64>,
    /// The second in which it was last used.
    used: Cell<i64>,
}

/// The hot entries of a store.
pub struct Table {
    entries: Lru<u64, Entry>,
    /// Where an answer is, and where the open files are.
    places: HashMap<Digest, u64>,
    files: Lru<Digest, ()>,
    bytes: usize,
    bytes_max: usize,
    files_max: usize,
    state: FixedState,
}

/// Something that was found.
pub struct Warm {
    /// What it is.
    pub what: Hot,
    /// The owner ought to hear that it is used.
    pub tell: Option<Name>,
}

impl Table {
    /// Empty. The seed keeps clients from choosing places.
    pub fn new(seed: u64) -> Self {
        Self {
            entries: Lru::new(ENTRIES_MAX),
            places: HashMap::new(),
            files: Lru::new(ENTRIES_MAX),
            bytes: 0,
            bytes_max: BYTES_MAX,
            files_max: FILES_MAX,
            state: FixedState::with_seed(seed),
        }
    }

    fn hash(&self, key: &[u8], chosen: Option<(&[u8], &[u8])>) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(key);
        if let Some((vary, variant)) = chosen {
            hasher.write_usize(key.len());
            hasher.write(vary);
            hasher.write_usize(vary.len());
            hasher.write(variant);
        }
        hasher.finish()
    }

    /// What there is of a key. The owner hears of it every `every` seconds.
    pub fn get(
        &mut self,
        key: &[u8],
        chosen: Option<(&[u8], &[u8])>,
        now: i64,
        every: i64,
    ) -> Option<Warm> {
        let hash = self.hash(key, chosen);
        let entry = self.entries.get(&hash)?;
        if *entry.key != *key || !is_chosen(&entry.what, chosen) {
            return None;
        }
        entry.used.set(now);
        let due = now.wrapping_sub(entry.told.get()) >= every;
        if due {
            entry.told.set(now);
        }
        Some(Warm {
            what: entry.what.clone(),
            tell: due.then_some(entry.name),
        })
    }

    /// The answer of a digest, if it is the one with this stamp.
    pub fn of_digest(&self, digest: &Digest, stamp: u64) -> Option<Rc<Object>> {
        let entry = self.entries.peek(self.places.get(digest)?)?;
        match &entry.what {
            Hot::Object(object) if object.stamp == stamp => Some(object.clone()),
            _ => None,
        }
    }

    /// Keeps something; what has to go for it goes.
    pub fn put(&mut self, name: Name, key: &[u8], what: Hot, now: i64) {
        self.forget(&name.own);
        let (hash, bytes) = match &what {
            Hot::Object(object) => {
                let meta = &object.meta;
                let chosen = (!meta.vary.is_empty()).then_some((&meta.vary[..], &meta.variant[..]));
                let body = match &object.body {
                    Body::Memory(bytes) => bytes.len(),
                    Body::File { .. } => 0,
                };
                let parts = meta.vary.len() + meta.variant.len() + meta.etag.len();
                let parts = parts + meta.tags.len() + meta.extra.len();
                (self.hash(key, chosen), object.head.len() + body + parts)
            }
            Hot::Vary(names) => (self.hash(key, None), names.len()),
        };
        let cost = OVERHEAD + key.len() + bytes;
        if cost > self.bytes_max / 8 {
            return;
        }
        let is_file =
            matches!(&what, Hot::Object(object) if matches!(object.body, Body::File { .. }));
        let entry = Entry {
            name,
            key: Box::from(key),
            what,
            cost,
            told: Cell::new(now),
            used: Cell::new(now),
        };
        if let Some((_, gone)) = self.entries.insert(hash, entry) {
            self.gone(&gone);
        }
        self.bytes += cost;
        self.places.insert(name.own, hash);
        if is_file {
            self.files.insert(name.own, ());
        }
        self.shrink();
    }

    /// Closes files that nobody has asked for in a while.
    pub fn close_idle(&mut self, now: i64) {
        let is_idle = |digest: &Digest| {
            let entry = self.places.get(digest).and_then(|at| self.entries.peek(at));
            entry.is_some_and(|entry| now.wrapping_sub(entry.used.get()) > FILE_IDLE)
        };
        let files = self.files.iter().map(|(digest, ())| *digest);
        let idle: Vec<_> = files.filter(is_idle).collect();
        for digest in idle {
            self.forget(&digest);
        }
    }

    /// Other bounds, of bytes and of open files.
    pub fn set_max(&mut self, bytes: usize, files: usize) {
        (self.bytes_max, self.files_max) = (bytes, files);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.bytes > self.bytes_max {
            let Some((_, gone)) = self.entries.pop_oldest() else {
                break;
            };
            self.gone(&gone);
        }
        while self.files.len() > self.files_max {
            let Some((other, ())) = self.files.pop_oldest() else {
                break;
            };
            self.forget(&other);
        }
    }

    fn gone(&mut self, entry: &Entry) {
        self.bytes -= entry.cost;
        self.places.remove(&entry.name.own);
        self.files.remove(&entry.name.own);
    }

    /// Forgets what is kept of a digest.
    pub fn forget(&mut self, digest: &Digest) {
        if let Some(hash) = self.places.remove(digest)
            && let Some((_, entry)) = self.entries.remove(&hash)
        {
            self.gone(&entry);
        }
    }

    /// Bytes and entries that are kept.
    pub fn size(&self) -> (usize, usize) {
        (self.bytes, self.entries.len())
    }
}

/// Whether an answer is of this variant: of no variant only that which has none.
fn is_chosen(what: &Hot, chosen: Option<(&[u8], &[u8])>) -> bool {
    match (what, chosen) {
        (Hot::Object(object), chosen) => {
            let meta = &object.meta;
            match chosen {
                Some((vary, variant)) => meta.vary == vary && meta.variant == variant,
                None => meta.vary.is_empty(),
            }
        }
        (Hot::Vary(_), chosen) => chosen.is_none(),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests may block")]
mod tests {
    use super::*;
    use crate::cache::key;
    use crate::mail::cache::Meta;

    fn object(stamp: u64, body: usize, chosen: Option<(&[u8], &[u8])>) -> Hot {
        let (vary, variant) = chosen.unwrap_or_default();
        Hot::Object(Rc::new(Object {
            meta: Meta {
                vary: vary.to_vec(),
                variant: variant.to_vec(),
                ..Meta::default()
            },
            head: Box::default(),
            body: Body::Memory(vec![0; body].into()),
            len: body as u64,
            stamp,
            digest: [0; 16],
        }))
    }

    fn stamp(table: &mut Table, of: &[u8], chosen: Option<(&[u8], &[u8])>) -> Option<u64> {
        match table.get(of, chosen, 0, 10)?.what {
            Hot::Object(object) => Some(object.stamp),
            Hot::Vary(_) => Some(0),
        }
    }

    #[test]
    fn answers_are_found_by_key_and_variant_and_forgotten_by_digest() {
        let mut table = Table::new(3);
        let (gzip, plain) = (
            Some((&b"enc"[..], &b"gzip"[..])),
            Some((&b"enc"[..], &b""[..])),
        );
        let of = b"key".as_slice();
        table.put(
            key::name(of, None),
            of,
            Hot::Vary(b"enc".as_slice().into()),
            0,
        );
        table.put(key::name(of, gzip), of, object(1, 10, gzip), 0);
        table.put(key::name(of, plain), of, object(2, 10, plain), 0);
        assert_eq!(stamp(&mut table, of, None), Some(0));
        assert_eq!(stamp(&mut table, of, gzip), Some(1));
        assert_eq!(stamp(&mut table, of, plain), Some(2));
        assert_eq!(stamp(&mut table, b"kez", None), None);
        let own = key::name(of, gzip).own;
        assert!(table.of_digest(&own, 1).is_some() && table.of_digest(&own, 2).is_none());
        table.forget(&own);
        assert_eq!(stamp(&mut table, of, gzip), None);
        table.put(key::name(of, plain), of, object(7, 10, plain), 0);
        assert_eq!(stamp(&mut table, of, plain), Some(7));
        assert_eq!(table.size().1, 2);
    }

    #[test]
    fn the_owner_hears_now_and_then() {
        let mut table = Table::new(3);
        table.put(key::name(b"k", None), b"k", object(1, 1, None), 100);
        let mut told = |now| table.get(b"k", None, now, 10).unwrap().tell.is_some();
        assert!(!told(105) && told(110) && !told(111) && told(120));
    }

    #[test]
    fn files_are_bounded_and_closed_when_idle() {
        let mut table = Table::new(3);
        let large = |digest| {
            let file = std::fs::File::open("/dev/null").unwrap();
            let file = crate::net::file::File::for_reading(file.into());
            Hot::Object(Rc::new(Object {
                meta: Meta::default(),
                head: Box::default(),
                body: Body::File {
                    file: Rc::new(file),
                    offset: 0,
                },
                len: 1 << 20,
                stamp: 1,
                digest,
            }))
        };
        for n in 0..100u32 {
            let of = n.to_le_bytes();
            let name = key::name(&of, None);
            table.put(name, &of, large(name.own), 0);
        }
        assert_eq!((table.files.len(), table.size().1), (FILES_MAX, FILES_MAX));
        let last = 99u32.to_le_bytes();
        table.get(&last, None, FILE_IDLE, 10).unwrap();
        table.close_idle(FILE_IDLE + 1);
        assert_eq!((table.files.len(), table.size().1), (1, 1));
        table.close_idle(2 * FILE_IDLE + 1);
        assert_eq!((table.files.len(), table.size()), (0, (0, 0)));
    }

    #[test]
    fn bytes_are_bounded() {
        let mut table = Table::new(3);
        for n in 0..100u32 {
            let of = n.to_le_bytes();
            table.put(key::name(&of, None), &of, object(1, 1 << 20, None), 0);
        }
        let (bytes, entries) = table.size();
        assert!(
            bytes <= BYTES_MAX && (20..32).contains(&entries),
            "{entries}"
        );
        assert!(stamp(&mut table, &99u32.to_le_bytes(), None).is_some());
        let huge = 0u64.to_le_bytes();
        table.put(key::name(&huge, None), &huge, object(1, BYTES_MAX, None), 0);
        assert_eq!(table.size().1, entries);
    }
}
