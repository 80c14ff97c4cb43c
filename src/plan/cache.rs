//! What a location does with a cache, and copies of answers as files.
//!
//! Only data. Zones are `plan::store`'s, what is stored lives in `cache`, the rules of freshness are `cache::policy`'s, and
//! who asks is `http::content::cache`. Start at [`CachePlan`].

use std::sync::Arc;

use bytes::Bytes;

use super::expr::Expr;
use super::location::{ParamNames, SetHeader};
use super::model;
use super::rules::FieldSet;
use super::store::StoreRef;

/// What a location does with a cache.
pub struct CachePlan {
    /// Which one.
    pub zone: ZoneChoice,
    /// `…_cache_key`; none is the default of the wire.
    pub key: Option<Expr>,
    /// The key tells requests by their bodies.
    pub keys_body: bool,
    /// What the default key begins with where the backend is known: scheme and authority.
    pub origin: Bytes,
    /// `…_cache_bypass`.
    pub bypass: Box<[Expr]>,
    /// `…_no_cache`.
    pub no_cache: Box<[Expr]>,
    /// `…_cache_purge`.
    pub purge: Option<Box<PurgePlan>>,
    /// Values under their directives' names.
    pub settings: Arc<model::Caching>,
    /// `$upstream_cache_last_modified` and `$upstream_cache_etag`, as fields of a request that may be answered with 304.
    pub conditions: Box<[SetHeader]>,
    /// Client fields that do not go to a backend whose answer may be stored: beside the usual ones those that make it
    /// answer with less than everything.
    pub replaced: FieldSet,
    /// The same as parameters of FastCGI.
    pub replaced_params: ParamNames,
}

/// The zone of a location.
pub enum ZoneChoice {
    /// One that is known.
    Fixed(StoreRef),
    /// One whose name depends on the request; empty and `off` are none.
    Named(Expr),
}

/// `…_cache_purge`.
pub struct PurgePlan {
    /// One that is neither empty nor `0` makes a request a purge.
    pub conditions: Box<[Expr]>,
    /// Tags to purge instead of a key, where not empty.
    pub tags: Option<Expr>,
    /// `soft` or not.
    pub mode: Option<Expr>,
}

/// `…_store`.
pub struct CopyPlan {
    /// Where to; none is the file that the URI names.
    pub path: Option<Expr>,
    /// Rights of the file.
    pub access: u32,
}

/// The name of a cache as an item of `Cache-Status`: a token, or a string in quotes.
#[must_use]
pub fn status_item(name: &[u8]) -> Bytes {
    let first = |b: &u8| b.is_ascii_alphabetic() || *b == b'*';
    let rest = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(b);
    if name.first().is_some_and(first) && name.iter().all(rest) {
        return Bytes::copy_from_slice(name);
    }
    Bytes::from([b"\"", name, b"\""].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_caches_are_items() {
        for (name, item) in [("edge", "edge"), ("9x", "\"9x\""), ("a b", "\"a b\"")] {
            assert_eq!(status_item(name.as_bytes()), item);
        }
    }
}
