//! Text (nginx.conf or TOML) to [`tree::Tree`] to [`model::Model`], through the one directive table; all diagnostics.
//! Resolves nothing, compiles nothing, opens files only through a [`source::Source`]. Start at [`load`].

mod choices;
pub mod diag;
mod lower;
pub mod model;
pub mod rows;
pub mod source;
pub mod table;
pub mod tree;
mod url;
mod value;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use diag::Diag;
use model::Model;
use source::Source;
use tree::Tree;

/// Under which name the program runs, which decides a few defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `ringx`: one shard per core, in the foreground.
    Ringx,
    /// `nginx`: nginx's own defaults.
    Nginx,
}

/// What a load gives.
#[derive(Debug)]
pub struct Loaded {
    /// The directives, for `-T` and conversions; whatever could be read.
    pub tree: Tree,
    /// The typed configuration, unless something is wrong with it.
    pub model: Option<Model>,
    /// Everything that was found, in the order of the files.
    pub diags: Vec<Diag>,
    /// Every file that was read with its content, in the order of first reading.
    pub files: Vec<(PathBuf, Arc<[u8]>)>,
}

/// Reads a configuration. `prefix` is what relative paths start from (`-p`), `globals` the directives of `-g`.
///
/// All errors are collected; the model is there only when none of them is an `[emerg]`.
pub fn load(
    source: &dyn Source,
    file: &Path,
    prefix: &Path,
    globals: Option<&str>,
    identity: Identity,
) -> Loaded {
    let _ = (source, file, prefix, globals, identity);
    Loaded {
        tree: Tree::default(),
        model: None,
        diags: Vec::new(),
        files: Vec::new(),
    }
}
