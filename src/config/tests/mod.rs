//! Tests of the whole way from text to model. Helpers here; cases by theme beside.

mod documentation;
mod errors;
mod hostile;
mod inherit;
mod languages;
mod lexer;
mod seeds;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::Memory;
use super::{Identity, Loaded, load};

/// Loads one text under the name `nginx`, with `/p/` as prefix.
pub(super) fn load_text(text: &str) -> Loaded {
    load_files(&[("/c/nginx.conf", text)])
}

/// Loads several files, the first one being the main file.
pub(super) fn load_files(files: &[(&str, &str)]) -> Loaded {
    let source = Memory(
        files
            .iter()
            .map(|(p, t)| (PathBuf::from(p), Arc::from(t.as_bytes())))
            .collect(),
    );
    load(
        &source,
        Path::new(files[0].0),
        Path::new("/p/"),
        None,
        Identity::Nginx,
    )
}

/// The findings in nginx's form.
pub(super) fn classic(loaded: &Loaded) -> Vec<String> {
    loaded
        .diags
        .iter()
        .map(super::diag::Diag::classic)
        .collect()
}
