//! Rows of the static files families: index, try_files.

use std::sync::Arc;

use super::parse_core::try_files;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{args_min, family};

family! {
    /// Settings of the static files families.
    pub struct Files in files {
        never try_files: Option<Arc<TryFiles>> = "", try_files, SL, args_min(2), "Serves the first file that exists, else goes elsewhere.";
    } also {
        index: List<Text> = Arc::new(vec![Text::from("index.html")]), "`index`: what a directory stands for; an entry with a leading slash is a URI.";
    }
}
