//! Rows of the static files families: index, try_files.

use std::sync::Arc;

use super::parse_core::{index_names, try_files};
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Inherit, Row, args_min, family, row};
use crate::config::tree::Directive;

family! {
    /// Settings of the static files families.
    pub struct Files in files {
        never try_files: Option<Arc<TryFiles>> = "", try_files, SL, args_min(2), "Serves the first file that exists, else goes elsewhere.";
    } also {
        index: List<Text> = Arc::new(vec![Text::from("index.html")]), "`index`: what a directory stands for; an entry with a leading slash is a URI.";
    }
}

/// The rows with setters of their own.
pub(crate) const ROWS: &[Row] = &[row(
    "index",
    HSL,
    args_min(1),
    index,
    "What a directory stands for.",
)
.many()
.default("index.html")
.clearing(Inherit::Replace, |s| {
    Arc::make_mut(&mut s.files).index = List::default();
})];

fn index(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    if let Some(names) = load.parse(directive, index_names) {
        let files = Arc::make_mut(&mut frame.settings.files);
        Arc::make_mut(&mut files.index).extend(names);
    }
}
