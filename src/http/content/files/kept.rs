//! `open_file_cache`: files that a shard keeps open, what it knows of names, and errors, each bounded by `max`.
//!
//! Start at [`OpenFiles::open`].

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::super::super::local::Cx;
use super::opening::{Fault, Held, Opened, open_by, stat_by};
use crate::base::lru::Lru;
use crate::base::time::Mono;
use crate::net::file::{File, Links, Stat};
use crate::plan::location::OpenFiles as Rules;

/// Entries that have expired and go with one use of a cache: more would let one request pay for all.
const EXPIRED_PER_USE: usize = 2;

/// The caches of one epoch on one shard, by their numbers in the plan.
#[derive(Default)]
pub struct OpenFiles(RefCell<Vec<Lru<Rc<[u8]>, Entry>>>);

/// What is known of a name.
struct Entry {
    found: Found,
    /// How it was looked for.
    links: Links,
    uses: u64,
    /// When it was found.
    found_at: Mono,
    used_at: Mono,
}

#[derive(Clone)]
enum Found {
    /// A file; open once it was used often enough.
    File(Option<Rc<File>>, Stat),
    /// A directory, or whatever else there is nothing to read of.
    Other(Stat),
    /// An error number, and the call that had it.
    Error(i32, &'static str),
}

/// What a look into a cache brings.
enum Known {
    /// All that is needed.
    Answer(Result<Opened, Fault>),
    /// An open file that is to be looked at again.
    Old(Rc<File>, u64),
    /// Nothing that can be used.
    Nothing,
}

impl OpenFiles {
    /// Opens a file, or tells what was found before.
    pub async fn open(
        &self,
        path: &[u8],
        links: Links,
        rules: &Rules,
        cx: Cx<'_>,
    ) -> Result<Opened, Fault> {
        let now = cx.local.clock.mono();
        let old = match self.look(path, links, rules, now) {
            Known::Answer(answer) => return answer,
            Known::Old(file, inode) => Some((file, inode)),
            Known::Nothing => None,
        };
        let result = renew(path, links, old).await;
        self.keep(path, links, rules, now, &result);
        result.map(|(file, stat)| (file.map(Held::Shared), stat))
    }

    /// Looks for an entry that can be trusted.
    fn look(&self, path: &[u8], links: Links, rules: &Rules, now: Mono) -> Known {
        let mut caches = self.0.borrow_mut();
        while caches.len() <= rules.id {
            caches.push(Lru::new(1));
        }
        let cache = &mut caches[rules.id];
        let Some(entry) = cache.get(path) else {
            return Known::Nothing;
        };
        entry.uses += 1;
        entry.used_at = now;
        let fresh = entry.links == links && now.ms_since(entry.found_at) < rules.valid_ms;
        match &entry.found {
            Found::File(None, _) => Known::Nothing,
            Found::File(Some(file), stat) if fresh => {
                Known::Answer(Ok((Some(Held::Shared(file.clone())), *stat)))
            }
            Found::File(Some(file), stat) => Known::Old(file.clone(), stat.inode),
            Found::Other(stat) if fresh => Known::Answer(Ok((None, *stat))),
            Found::Error(number, call) if fresh => Known::Answer(Err(Fault {
                call,
                error: io::Error::from_raw_os_error(*number),
            })),
            Found::Other(_) | Found::Error(..) => Known::Nothing,
        }
    }

    /// Notes what was found.
    fn keep(
        &self,
        path: &[u8],
        links: Links,
        rules: &Rules,
        now: Mono,
        result: &Result<(Option<Rc<File>>, Stat), Fault>,
    ) {
        let mut caches = self.0.borrow_mut();
        let cache = &mut caches[rules.id];
        let uses = cache.peek(path).map_or(1, |entry| entry.uses);
        let found = match result {
            Ok((Some(file), stat)) => {
                Found::File((uses >= rules.min_uses).then(|| file.clone()), *stat)
            }
            Ok((None, stat)) => Found::Other(*stat),
            Err(fault) => match fault.error.raw_os_error() {
                Some(number) if rules.errors => Found::Error(number, fault.call),
                _ => {
                    cache.remove(path);
                    return;
                }
            },
        };
        if let Some(entry) = cache.get(path) {
            entry.found = found;
            entry.links = links;
            entry.found_at = now;
            return;
        }
        if cache.is_empty() {
            // The first of its cache, which is made for one entry until its size is asked for.
            *cache = Lru::new(rules.max);
        }
        let entry = Entry {
            found,
            links,
            uses,
            found_at: now,
            used_at: now,
        };
        cache.insert(Rc::from(path), entry);
        for _ in 0..EXPIRED_PER_USE {
            let oldest = cache.oldest().map(|(_, entry)| entry.used_at);
            if oldest.is_none_or(|at| now.ms_since(at) <= rules.inactive_ms) {
                break;
            }
            cache.pop_oldest();
        }
    }
}

/// Opens a file, unless the one that is open is still the one of that name.
async fn renew(
    path: &[u8],
    links: Links,
    old: Option<(Rc<File>, u64)>,
) -> Result<(Option<Rc<File>>, Stat), Fault> {
    if let Some((file, inode)) = old {
        let stat = stat_by(path, links).await?;
        if stat.inode == inode {
            return Ok((Some(file), stat));
        }
    }
    let (file, stat) = open_by(path, links).await?;
    Ok((stat.is_file().then(|| Rc::new(file)), stat))
}
