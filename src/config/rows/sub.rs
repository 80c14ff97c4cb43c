//! Rows of the sub family: texts of bodies that are replaced.

use std::sync::Arc;

use crate::config::mime::mime_types;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, args, args_min, family};
use crate::config::value::*;

family! {
    /// Settings of the sub family.
    pub struct SubFilter in sub {
        list  sub_filter: Substitution = "", sub_filter, HSL, args(2), "Replaces a text of a body by another one.";
        value sub_filter_last_modified: bool = "off", flag, HSL, args(1), "Keeps Last-Modified and a weak ETag of a body that is changed.";
        value sub_filter_once: bool = "on", flag, HSL, args(1), "Replaces each text once.";
        mask  sub_filter_types: MimeTypes = "text/html", mime_types, HSL, args_min(1), "Content types in which texts are replaced.";
    } also {
    }
}

/// `sub_filter`.
#[derive(Clone, Debug, PartialEq)]
pub struct Substitution {
    /// What is looked for, in lower case; so are names of variables in it.
    pub pattern: Text,
    /// What is put in its place.
    pub value: Text,
}

fn sub_filter(args: &mut Args<'_>) -> Parsed<Substitution> {
    let mut pattern = text_of(args.word(0));
    if pattern.bytes.is_empty() {
        return Err(crate::config::table::Fault::new("empty search pattern"));
    }
    pattern.bytes = Arc::from(pattern.bytes.to_ascii_lowercase());
    Ok(Substitution {
        pattern,
        value: text_of(args.word(1)),
    })
}
