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
