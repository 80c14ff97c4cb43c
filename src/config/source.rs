//! Where configuration text comes from: the disk in the parent, a bundle of files in a worker. Start at [`Source`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens files by absolute path. A worker implements this over the bundle that its parent sent.
pub trait Source {
    /// The whole content of a file.
    fn read(&self, path: &Path) -> io::Result<Arc<[u8]>>;
    /// The files that match a shell pattern, sorted by name; empty when there are none.
    fn glob(&self, pattern: &str) -> Vec<PathBuf>;
}

/// A few files in memory, for tests here and above.
#[cfg(test)]
#[derive(Default)]
pub struct Memory(pub std::collections::BTreeMap<PathBuf, Arc<[u8]>>);

#[cfg(test)]
impl Source for Memory {
    fn read(&self, path: &Path) -> io::Result<Arc<[u8]>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::from_raw_os_error(2))
    }

    fn glob(&self, pattern: &str) -> Vec<PathBuf> {
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        let fits = |p: &&PathBuf| {
            let path = p.to_string_lossy();
            path.starts_with(before) && path.ends_with(after)
        };
        self.0.keys().filter(fits).cloned().collect()
    }
}
