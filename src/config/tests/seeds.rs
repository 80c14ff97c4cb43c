//! The example configurations of the guides, where they are at hand: each loads, or names what is missing.

#![expect(
    clippy::disallowed_methods,
    reason = "the test reads examples from the disk"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::classic;
use crate::config::source::Source;
use crate::config::{Identity, load};

pub(in crate::config) struct Disk;

impl Source for Disk {
    fn read(&self, path: &Path) -> std::io::Result<Arc<[u8]>> {
        std::fs::read(path).map(Arc::from)
    }

    fn glob(&self, _: &str) -> Vec<PathBuf> {
        Vec::new()
    }
}

pub(in crate::config) fn folder() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/seed-configs");
    std::env::var_os("RINGX_SEED_CONFIGS").map_or_else(|| PathBuf::from(beside), PathBuf::from)
}

#[test]
fn load_or_say_what_is_missing() {
    let folder = folder();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return;
    };
    let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "conf"));
    files.sort();
    let mut loaded = 0;
    for file in &files {
        let result = load(&Disk, file, &folder, None, Identity::Nginx);
        loaded += usize::from(result.model.is_some());
        let said = classic(&result);
        assert!(
            result.model.is_some() || said.iter().any(|l| l.contains("is not supported yet:")),
            "{said:?}"
        );
        assert!(
            said.iter()
                .all(|l| l.contains("is not supported yet:") || l.starts_with("[warn]")),
            "{said:?}"
        );
    }
    assert_eq!((loaded, files.len()), (60, 60));
}
