//! Names of memory zones: one name has one use and one size, wherever it is written.

use std::sync::Arc;

use crate::config::lower::Lowering;
use crate::config::model::WireKind;
use crate::config::tree::{Span, Word};

/// nginx's zones have at least eight pages.
pub(crate) const ZONE_BYTES_MIN: usize = 8 * 4096;

/// What a zone is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The state of an upstream group.
    Upstream,
    /// `limit_req_zone`.
    Requests,
    /// `limit_conn_zone`.
    Connections,
    /// `sticky learn`.
    Sticky,
    /// `ssl_session_cache`.
    Sessions,
    /// `ssl_ocsp_cache`.
    Statuses,
    /// `proxy_cache_path` and its like, each family for itself.
    Cache(WireKind),
}

/// What is known of a zone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Zone {
    /// 0 while unknown.
    pub(crate) size: usize,
    /// What it is for.
    pub(crate) used: Use,
    /// Where it was first named.
    pub(crate) span: Span,
}

/// Notes that a zone is named, with its size or 0 where only its name stands; says why it cannot be.
pub(crate) fn claim(
    load: &mut Lowering<'_>,
    name: &Word,
    size: usize,
    used: Use,
    span: Span,
) -> bool {
    let known = load
        .shared
        .zones
        .entry(Arc::clone(&name.bytes))
        .or_insert(Zone { size, used, span });
    let shown = name.lossy();
    if known.used != used {
        let message =
            format!("the shared memory zone \"{shown}\" is already declared for a different use");
        load.error(message, span);
        return false;
    }
    if size != 0 && known.size != 0 && known.size != size {
        let message = format!(
            "the size {size} of shared memory zone \"{shown}\" conflicts with already declared size {}",
            known.size
        );
        load.error(message, span);
        return false;
    }
    known.size = known.size.max(size);
    true
}
