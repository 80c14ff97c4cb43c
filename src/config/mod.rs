//! Text (nginx.conf or TOML) to [`tree::Tree`] to [`model::Model`], through the one directive table; all diagnostics.
//! Resolves nothing, compiles nothing, opens files only through a [`source::Source`]. Start at [`load`].

mod backends;
mod choices;
pub mod diag;
pub mod lint;
mod lower;
pub mod mime;
pub mod model;
pub mod nginx;
pub mod rows;
pub mod schema;
pub mod source;
pub mod table;
#[cfg(test)]
mod tests;
mod toml;
pub mod tree;
mod url;
mod value;
pub mod write;

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
    let mut reader = nginx::Reader::new(source, file);
    let mut directives = Vec::new();
    // As in nginx, `-g` comes first, so that a file cannot say the same again.
    if let Some(text) = globals.filter(|t| !t.is_empty()) {
        directives = nginx::globals(&mut reader, text);
    }
    let mut read = reader.file(file, tree::Span::default());
    if toml::is_toml(file) {
        read = toml::main_file(read);
    }
    directives.append(&mut read);
    let (tree, mut diags) = reader.finish(directives);
    let (model, mut more) = lower::lower(&tree, prefix, identity);
    // A text that could not be read to its end says nothing about what is missing from it.
    if diags.is_empty() {
        diags.append(&mut more);
    } else {
        diags.extend(more.into_iter().filter(|d| d.span.line != 0));
    }
    // In the order of the text; what is about no place comes last.
    diags.sort_by_key(|d| (d.span.line == 0, d.span.file, d.span.start));
    let fatal = diags.iter().any(|d| d.level == diag::Level::Emerg);
    let files = tree
        .files
        .iter()
        .filter(|f| f.path.as_os_str() != diag::COMMAND_LINE);
    let files = files
        .map(|f| (f.path.clone(), Arc::clone(&f.bytes)))
        .collect();
    let model = (!fatal).then_some(model);
    Loaded {
        model,
        tree,
        diags,
        files,
    }
}
