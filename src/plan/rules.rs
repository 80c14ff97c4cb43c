//! Edits of response heads: `add_header`, `add_trailer`, `expires`.

use super::expr::Expr;
use crate::proto::tokens::Token;

/// What a location does to the head of every response.
#[derive(Default)]
pub struct HeaderRules {
    /// `add_header` in order.
    pub add: Box<[AddHeader]>,
    /// `add_trailer` in order.
    pub trailers: Box<[AddHeader]>,
    /// `expires`.
    pub expires: Option<Expires>,
}

/// One `add_header` or `add_trailer`.
pub struct AddHeader {
    /// Name as configured.
    pub name: bytes::Bytes,
    /// Its token, when it is a known field (`Cache-Control` and `Link` append, `Last-Modified` and `ETag` replace).
    pub token: Token,
    /// The value; an empty one adds nothing.
    pub value: Expr,
    /// `always`: also on statuses other than 200, 201, 204, 206, 301, 302, 303, 304, 307, 308.
    pub always: bool,
}

/// `expires`.
pub enum Expires {
    /// `epoch`
    Epoch,
    /// `max`
    Max,
    /// `time` or `-time`: seconds after now.
    Access(i64),
    /// `modified time`: seconds after Last-Modified.
    Modified(i64),
    /// `@15h30m`: seconds after local midnight.
    Daily(u32),
    /// A value with variables, parsed for each response by the same grammar; `modified` was written before it.
    Dynamic {
        /// The text.
        value: Expr,
        /// The word `modified`.
        modified: bool,
    },
}
