//! What the body filters of a location do, compiled. Only data; a location that has none of them has none of this.

use bytes::Bytes;

use crate::config::model::MimeTypes;

/// The body filters of a location.
#[derive(Default)]
pub struct Filters {
    /// `add_before_body` and `add_after_body`.
    pub addition: Option<Addition>,
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
