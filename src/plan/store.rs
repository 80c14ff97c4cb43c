//! What the cache's store has to know of a `proxy_cache_path`.
//!
//! Only data: the store is `cache`. A store is known by a number that is the same in every plan that declares it alike, so
//! that its index, its hot copies and what is being fetched outlive a reload. Start at [`StorePlan`].

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::quality::FixedState;

/// One `proxy_cache_path` (or one of its siblings).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// Equal for stores of the same zone name, path and levels, and for no others: see [`StorePlan::id_of`].
    ///
    /// Differs from nginx: a reload that changes path or levels of a zone starts it anew instead of failing.
    pub id: u64,
    /// The zone's name (`keys_zone=NAME:size`).
    pub name: Bytes,
    /// The directory, absolute, without a slash at its end.
    pub path: Bytes,
    /// Hex digits of each level of directories, up to the first 0.
    pub levels: [u8; 3],
    /// Size of `keys_zone` in bytes: bounds the number of entries.
    pub keys_bytes: u64,
    /// Entries that nobody asked for in this time are removed.
    pub inactive: Duration,
    /// Bytes on disk, at most; none is no bound.
    pub max_size: Option<u64>,
    /// Bytes that have to stay free on the file system; 0 is no bound.
    pub min_free: u64,
    /// Where unfinished files are: the directory of `proxy_temp_path` with `use_temp_path=on`; none puts them beside the
    /// files that they become.
    pub temp_path: Option<Bytes>,
    /// `loader_files`, `loader_threshold`, `loader_sleep`; none where the line does not say, which loads as fast as a
    /// thread beside the shards can.
    pub loader: Option<Steps>,
    /// `manager_files`, `manager_threshold`, `manager_sleep`.
    pub manager: Steps,
}

/// Work in steps with a rest between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Files of one step, at most.
    pub files: u32,
    /// How long a step may take.
    pub threshold: Duration,
    /// The rest.
    pub sleep: Duration,
}

impl Default for Steps {
    /// nginx's.
    fn default() -> Self {
        Self {
            files: 100,
            threshold: Duration::from_millis(200),
            sleep: Duration::from_millis(50),
        }
    }
}

impl StorePlan {
    /// A store with nginx's defaults.
    #[must_use]
    pub fn new(name: Bytes, path: Bytes, levels: [u8; 3], keys_bytes: u64) -> Self {
        Self {
            id: Self::id_of(&name, &path, levels),
            name,
            path,
            levels,
            keys_bytes,
            inactive: Duration::from_secs(600),
            max_size: None,
            min_free: 0,
            temp_path: None,
            loader: None,
            manager: Steps::default(),
        }
    }

    /// The number of a store.
    #[must_use]
    pub fn id_of(name: &[u8], path: &[u8], levels: [u8; 3]) -> u64 {
        let mut hasher = FixedState::with_seed(0).build_hasher();
        for part in [name, path, &levels] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    }
}

/// How stores are handed about.
pub type StoreRef = Arc<StorePlan>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_known_by_name_path_and_levels() {
        let id = |name: &str, path: &str, levels| {
            StorePlan::id_of(name.as_bytes(), path.as_bytes(), levels)
        };
        let one = id("one", "/cache", [1, 2, 0]);
        assert_eq!(one, id("one", "/cache", [1, 2, 0]));
        for other in [
            id("two", "/cache", [1, 2, 0]),
            id("one", "/cach", [1, 2, 0]),
            id("one", "/cache", [1, 2, 2]),
            id("one/", "cache", [1, 2, 0]),
        ] {
            assert_ne!(one, other);
        }
    }
}
