//! Tests of the whole way from text to model. Helpers here; cases by theme beside.

mod documentation;
mod errors;
mod hostile;
mod inherit;
mod languages;
mod lexer;
pub(super) mod seeds;
mod sticky;
mod stream;

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

#[test]
fn all_errors_at_once() {
    let said = classic(&load_text(
        "events {}\nfoo 1;\nhttp {\n bar 2;\n server {\n listen x y;\n }\n}\n}\n",
    ));
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(said[3].contains("unexpected \"}\""));
}

#[test]
fn hints() {
    let loaded = load_text("events {}\nhttp { proxy_bufering on; }");
    assert_eq!(
        loaded.diags[0].hint.as_deref(),
        Some("did you mean \"proxy_buffering\"?")
    );
    let rich = loaded.diags[0].rich(&loaded.tree.files);
    assert!(rich.contains("2 | http { proxy_bufering on; }"), "{rich}");
    assert!(rich.contains("  |        ^^^^^^^^^^^^^^\n"), "{rich}");
    let far = load_text("events {}\nhttp { qwertyuiop on; }");
    assert_eq!(far.diags[0].hint, None);
}
