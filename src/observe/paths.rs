//! `open_log_file_cache`: log files whose paths came out of requests, kept open by the thread that writes.
//!
//! What is kept, how long it is trusted and what goes first is nginx's. Knows no lines and no queue. Start at
//! [`OpenLogs::append`]; [`open`] is for places that keep nothing.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use crate::base::lru::Lru;
use crate::base::time::Mono;
use crate::plan::OpenLogRules;

/// Entries that have expired and go with one use: more would let one line pay for all.
const EXPIRED_PER_USE: usize = 2;

/// One cache of open files.
pub struct OpenLogs {
    rules: OpenLogRules,
    files: Lru<Arc<[u8]>, Entry>,
}

/// What is known of a path.
struct Entry {
    /// Open once the path was used often enough.
    file: Option<Kept>,
    uses: u64,
    used_at: Mono,
}

struct Kept {
    file: Arc<File>,
    /// Device and inode.
    identity: (u64, u64),
    /// When the path was last seen to mean this file.
    seen_at: Mono,
}

impl OpenLogs {
    /// Without files.
    #[must_use]
    pub fn new(rules: OpenLogRules) -> Self {
        Self {
            files: Lru::new(usize::try_from(rules.max).unwrap_or(usize::MAX)),
            rules,
        }
    }

    /// The file of a path for `lines` lines. A path that cannot be opened is not remembered.
    pub fn append(&mut self, path: &[u8], lines: u64, now: Mono) -> io::Result<Arc<File>> {
        let known = self.files.get(path);
        let kept = known.and_then(|entry| entry.file.take());
        let file = match kept {
            Some(kept) if now.ms_since(kept.seen_at) < self.rules.valid_ms => Ok(kept),
            Some(kept) => again(kept, path, now),
            None => fresh(path, now),
        };
        let file = file.inspect_err(|_| {
            self.files.remove(path);
        })?;
        let handle = Arc::clone(&file.file);
        self.keep(path, file, lines, now);
        for _ in 0..EXPIRED_PER_USE {
            let oldest = self.files.oldest().map(|(_, entry)| entry.used_at);
            if oldest.is_none_or(|at| now.ms_since(at) <= self.rules.inactive_ms) {
                break;
            }
            self.files.pop_oldest();
        }
        Ok(handle)
    }

    /// Counts the use, and keeps the file open if it is used often enough.
    fn keep(&mut self, path: &[u8], file: Kept, lines: u64, now: Mono) {
        let min_uses = self.rules.min_uses;
        if let Some(entry) = self.files.get(path) {
            entry.uses += lines;
            entry.used_at = now;
            entry.file = (entry.uses >= min_uses).then_some(file);
            return;
        }
        let entry = Entry {
            file: (lines >= min_uses).then_some(file),
            uses: lines,
            used_at: now,
        };
        self.files.insert(Arc::from(path), entry);
    }
}

/// Opens a log file to append to it.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread that writes may wait for the disk"
)]
pub fn open(path: &[u8]) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .open(Path::new(std::ffi::OsStr::from_bytes(path)))
}

fn fresh(path: &[u8], now: Mono) -> io::Result<Kept> {
    let file = open(path)?;
    let found = file.metadata()?;
    Ok(Kept {
        file: Arc::new(file),
        identity: (found.dev(), found.ino()),
        seen_at: now,
    })
}

/// Looks whether the path still means the file.
///
/// Differs from nginx: a path that is gone is made again for this line; nginx drops the line and makes it for the next.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread that writes may wait for the disk"
)]
fn again(kept: Kept, path: &[u8], now: Mono) -> io::Result<Kept> {
    match std::fs::metadata(Path::new(std::ffi::OsStr::from_bytes(path))) {
        Ok(found) if (found.dev(), found.ino()) == kept.identity => Ok(Kept {
            seen_at: now,
            ..kept
        }),
        _ => fresh(path, now),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests may wait")]
mod tests {
    use super::*;
    use std::io::Write as _;

    struct Bench {
        dir: tempfile::TempDir,
        cache: OpenLogs,
    }

    impl Bench {
        fn new(max: u64, min_uses: u64) -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("logs")).unwrap();
            let rules = OpenLogRules {
                id: 0,
                max,
                inactive_ms: 1_000,
                valid_ms: 500,
                min_uses,
            };
            Self {
                dir,
                cache: OpenLogs::new(rules),
            }
        }

        /// Writes a line at a time; false when the file cannot be had.
        fn write(&mut self, name: &str, at: u64) -> bool {
            let path = self.dir.path().join("logs").join(name);
            let file = self.cache.append(path.as_os_str().as_bytes(), 1, Mono(at));
            file.is_ok_and(|file| (&*file).write_all(b"x").is_ok())
        }

        fn rename(&self, from: &str, to: &str) {
            std::fs::rename(self.dir.path().join(from), self.dir.path().join(to)).unwrap();
        }

        fn length(&self, name: &str) -> u64 {
            std::fs::metadata(self.dir.path().join(name)).map_or(0, |found| found.len())
        }

        /// Which of the names can be written to while their folder is away: those that are open.
        fn open_ones<'a>(&mut self, names: &[&'a str], at: u64) -> Vec<&'a str> {
            self.rename("logs", "away");
            let open = names.iter().copied().filter(|name| self.write(name, at));
            let open = open.collect();
            self.rename("away", "logs");
            open
        }
    }

    #[test]
    fn the_least_recently_used_goes_and_what_is_rare_is_not_kept() {
        let mut bench = Bench::new(3, 2);
        for name in ["a", "a", "once", "b", "b", "c", "c"] {
            assert!(bench.write(name, 0));
        }
        assert_eq!(bench.open_ones(&["a", "once", "b", "c"], 0), ["b", "c"]);
        let lengths = ["a", "once", "b", "c"].map(|name| bench.length(&format!("logs/{name}")));
        assert_eq!(lengths, [2, 1, 3, 3]);
    }

    #[test]
    fn lines_that_come_together_are_uses_each() {
        let mut bench = Bench::new(3, 2);
        let path = bench.dir.path().join("logs/a");
        let path = path.as_os_str().as_bytes();
        bench.cache.append(path, 2, Mono(0)).unwrap();
        assert_eq!(bench.open_ones(&["a"], 0), ["a"]);
    }

    #[test]
    fn a_file_is_trusted_for_its_time() {
        let mut bench = Bench::new(3, 1);
        assert!(bench.write("a", 0));
        bench.rename("logs/a", "logs/moved");
        assert!(bench.write("a", 499));
        assert_eq!((bench.length("logs/moved"), bench.length("logs/a")), (2, 0));
        assert!(bench.write("a", 500));
        assert_eq!((bench.length("logs/moved"), bench.length("logs/a")), (2, 1));
        // Another file of the name is noticed too, and a look that finds the same file renews the trust.
        assert!(bench.write("a", 1_000));
        bench.rename("logs/moved", "logs/a");
        assert!(bench.write("a", 1_499));
        assert_eq!(bench.length("logs/a"), 2);
        assert!(bench.write("a", 1_500));
        assert_eq!(bench.length("logs/a"), 3);
    }

    #[test]
    fn what_is_not_used_is_closed() {
        let mut bench = Bench::new(9, 1);
        assert!(bench.write("a", 0) && bench.write("b", 900));
        assert!(bench.write("c", 1_001));
        assert_eq!(bench.open_ones(&["a", "b", "c"], 1_002), ["b", "c"]);
    }
}
