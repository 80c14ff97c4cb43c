//! `limit_req_zone`, `limit_conn_zone` and what counts in them.
//!
//! Only data: the tables are `http::access::zones`. A zone is known by a number that is the same in every plan that
//! declares it alike, so that its counts outlive a reload. Start at [`ZonePlan`].

use std::hash::{BuildHasher, Hasher};

use bytes::Bytes;
use foldhash::quality::FixedState;

use super::expr::{Expr, Part, Var};
use super::model::LogLevel;
use super::vars::Builtin;

crate::define_id!(
    /// A `limit_req_zone` or `limit_conn_zone`.
    ZoneId
);

/// A zone of keys.
pub struct ZonePlan {
    /// Its name.
    pub name: Bytes,
    /// What is counted.
    pub key: Expr,
    /// The key as written, for the log.
    pub text: Bytes,
    /// The key is the client's address and nothing else: its owner is the shard to which connections of that address
    /// are steered.
    pub by_address: bool,
    /// Thousandths of a request per second; 0 for connections.
    pub rate: u64,
    /// The table of its counts.
    pub table: Table,
}

/// Which table holds the counts of a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Equal for zones of the same kind, name, size and key, and for no others.
    ///
    /// Differs from nginx: a reload that changes the key of a zone starts it anew instead of failing.
    pub id: u64,
    /// The size of the whole zone, over all shards.
    pub bytes: u64,
}

impl Table {
    /// The table of a zone. `kind` is the directive's name.
    #[must_use]
    pub fn of(kind: &str, name: &[u8], bytes: u64, key: &[u8]) -> Self {
        let mut hasher = FixedState::with_seed(bytes).build_hasher();
        for part in [kind.as_bytes(), name, key] {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        Self {
            id: hasher.finish(),
            bytes,
        }
    }
}

/// Whether a key is nothing but the client's address.
#[must_use]
pub fn is_address(key: &Expr) -> bool {
    matches!(
        *key.parts,
        [Part::Var(Var::Builtin(
            Builtin::BinaryRemoteAddr | Builtin::RemoteAddr
        ))]
    )
}

/// The `limit_req` lines of a location.
pub struct ReqLimits {
    /// In the order of the file.
    pub limits: Box<[ReqLimit]>,
    /// What all limits have in common.
    pub common: Common,
}

/// One `limit_req`. Excesses are thousandths of a request.
pub struct ReqLimit {
    /// Where it counts.
    pub zone: ZoneId,
    /// Excess above which requests are rejected.
    pub burst: u64,
    /// Excess above which they are delayed.
    pub delay: u64,
}

/// The `limit_conn` lines of a location.
pub struct ConnLimits {
    /// In the order of the file.
    pub limits: Box<[ConnLimit]>,
    /// What all limits have in common.
    pub common: Common,
}

/// One `limit_conn`.
#[derive(Clone, Copy)]
pub struct ConnLimit {
    /// Where it counts.
    pub zone: ZoneId,
    /// Requests in progress, at most.
    pub max: u32,
}

/// What the limits of a location have in common.
pub struct Common {
    /// Places in `limits` by the number of their zones: several shards go through zones in the same order everywhere,
    /// so that two requests never wait for each other.
    pub order: Box<[usize]>,
    /// What a rejected request gets.
    pub status: u16,
    /// How loud a rejection is.
    pub log_level: LogLevel,
    /// Nothing is rejected or delayed, only told.
    pub dry_run: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_known_by_everything_that_declares_it() {
        let of = |kind, name: &str, bytes, key: &str| {
            Table::of(kind, name.as_bytes(), bytes, key.as_bytes()).id
        };
        let table = of("limit_req_zone", "one", 32768, "$a");
        assert_eq!(table, of("limit_req_zone", "one", 32768, "$a"));
        for other in [
            of("limit_conn_zone", "one", 32768, "$a"),
            of("limit_req_zone", "on", 32768, "e$a"),
            of("limit_req_zone", "two", 32768, "$a"),
            of("limit_req_zone", "one", 65536, "$a"),
            of("limit_req_zone", "one", 32768, "$b"),
        ] {
            assert_ne!(table, other);
        }
    }
}
