//! Rows of the referer family: `$invalid_referer`.

use super::main::checked;
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Row, Status, args, args_min, family, row};
use crate::config::value::*;

family! {
    /// Settings of the referer family.
    pub struct Referer in referer {
        gather valid_referers: List<Text> = "", texts, SL, args_min(1), "Pages from which links may lead here; all others make $invalid_referer true.";
    } also {
    }
}

/// The rows without effect.
pub(crate) const ROWS: &[Row] = &[
    checked!(
        "referer_hash_max_size",
        SL,
        args(1),
        num,
        "tables size themselves",
        "Size of the table of referers."
    ),
    checked!(
        "referer_hash_bucket_size",
        SL,
        args(1),
        num,
        "tables size themselves",
        "Bucket size of the table of referers."
    ),
];
