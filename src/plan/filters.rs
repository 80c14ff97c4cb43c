//! What the body filters of a location do, compiled. Only data; a location that has none of them has none of this.

use bytes::Bytes;

use super::charset::CharsetPlan;
use super::expr::Expr;
use super::regex::Regex;
use crate::base::needles::Needles;
use crate::config::model::MimeTypes;

/// The body filters of a location.
#[derive(Default)]
pub struct Filters {
    /// `add_before_body` and `add_after_body`.
    pub addition: Option<Addition>,
    /// `sub_filter`.
    pub sub: Option<Sub>,
    /// `charset` and `source_charset`.
    pub charset: Option<CharsetPlan>,
    /// `gzip`, `brotli`, `zstd`, `gunzip`, `gzip_static` and its kin.
    pub coding: Option<Coding>,
    /// `ssi on`.
    pub ssi: Option<Ssi>,
}

/// `ssi on`.
pub struct Ssi {
    /// `ssi_silent_errors`.
    pub silent_errors: bool,
    /// `ssi_value_length`.
    pub value_length: usize,
    /// `ssi_last_modified`.
    pub last_modified: bool,
    /// `ssi_types`.
    pub types: MimeTypes,
}

/// `sub_filter`, one at least.
pub struct Sub {
    /// In order.
    pub pairs: Box<[SubPair]>,
    /// The search, where no pattern has variables.
    pub needles: Option<Needles>,
    /// `sub_filter_once`.
    pub once: bool,
    /// `sub_filter_last_modified`.
    pub last_modified: bool,
    /// `sub_filter_types`.
    pub types: MimeTypes,
}

/// One `sub_filter`.
pub struct SubPair {
    /// What is looked for.
    pub pattern: Expr,
    /// What is put in its place.
    pub value: Expr,
}

/// What may happen to the content coding of answers; something of it does.
pub struct Coding {
    /// `zstd`.
    pub zstd: bool,
    /// `brotli`.
    pub brotli: bool,
    /// `gzip`.
    pub gzip: bool,
    /// `gunzip`.
    pub gunzip: bool,
    /// One of `gzip_static`, `brotli_static` and `zstd_static`.
    pub files: bool,
    /// `gzip_disable`: patterns of clients.
    pub gzip_disable: Box<[Regex]>,
}

/// `add_before_body` and `add_after_body`, one of them at least.
pub struct Addition {
    /// URI before the body; empty when none.
    pub before: Bytes,
    /// URI behind the body; empty when none.
    pub after: Bytes,
    /// `addition_types`.
    pub types: MimeTypes,
}
