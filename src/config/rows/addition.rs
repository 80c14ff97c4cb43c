//! Rows of the addition family: text of other locations before and behind an answer's body.

use std::sync::Arc;

use crate::config::mime::mime_types;
use crate::config::model::MimeTypes;
use crate::config::table::ctx::*;
use crate::config::table::{args, args_min, family};
use crate::config::value::*;

family! {
    /// Settings of the addition family.
    pub struct Addition in addition {
        value add_before_body: Arc<[u8]> = "", bytes, HSL, args(1), "URI whose answer is put before the body.";
        value add_after_body: Arc<[u8]> = "", bytes, HSL, args(1), "URI whose answer is put behind the body.";
        mask  addition_types: MimeTypes = "text/html", mime_types, HSL, args_min(1), "Content types that are added to.";
    } also {
    }
}
