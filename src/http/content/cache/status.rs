//! `Cache-Status` (RFC 9211): what this cache did, for whoever debugs a chain of them.

use super::super::super::exchange::Exchange;
use super::{Cached, Status};
use crate::plan::cache::{CachePlan, status_item};

/// Adds the field, where the location has a name for its cache.
pub fn add(ex: &mut Exchange, cache: &CachePlan) {
    let Some(name) = &cache.settings.cache_status else {
        return;
    };
    let Some(cached) = ex.cached.as_deref() else {
        return;
    };
    let fetched = ex.attempts.last().map(|attempt| attempt.status);
    if let Some(value) = value(name, cached, fetched) {
        ex.response.fields.push(b"Cache-Status", &value);
    }
}

/// The field's member; none where the cache had nothing to do with the request.
fn value(name: &[u8], cached: &Cached, fetched: Option<u16>) -> Option<Vec<u8>> {
    let mut out = status_item(name).to_vec();
    let forwarded: &[u8] = match cached.status {
        Status::None => b"; fwd=method",
        Status::Hit | Status::Stale | Status::Updating if !cached.collapsed => {
            out.extend_from_slice(b"; hit; ttl=");
            out.extend_from_slice(itoa::Buffer::new().format(cached.ttl).as_bytes());
            return Some(out);
        }
        Status::Hit | Status::Stale | Status::Updating => b"; fwd=uri-miss",
        Status::Miss if cached.varies => b"; fwd=vary-miss",
        Status::Miss => b"; fwd=uri-miss",
        Status::Bypass => b"; fwd=bypass",
        Status::Expired | Status::Revalidated => b"; fwd=stale",
    };
    out.extend_from_slice(forwarded);
    if cached.collapsed {
        out.extend_from_slice(b"; collapsed");
        return Some(out);
    }
    if let Some(status) = fetched.filter(|&status| status != 0) {
        out.extend_from_slice(b"; fwd-status=");
        out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    }
    if cached.stored {
        out.extend_from_slice(b"; stored");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_told() {
        let base = Cached::default;
        let cases: &[(Cached, Option<u16>, &str)] = &[
            (
                Cached {
                    status: Status::Hit,
                    ttl: 30,
                    ..base()
                },
                None,
                "edge; hit; ttl=30",
            ),
            (
                Cached {
                    status: Status::Stale,
                    ttl: -3,
                    ..base()
                },
                None,
                "edge; hit; ttl=-3",
            ),
            (
                Cached {
                    status: Status::Hit,
                    collapsed: true,
                    ..base()
                },
                None,
                "edge; fwd=uri-miss; collapsed",
            ),
            (
                Cached {
                    status: Status::Miss,
                    stored: true,
                    ..base()
                },
                Some(200),
                "edge; fwd=uri-miss; fwd-status=200; stored",
            ),
            (
                Cached {
                    status: Status::Revalidated,
                    ..base()
                },
                Some(304),
                "edge; fwd=stale; fwd-status=304",
            ),
        ];
        for (cached, fetched, want) in cases {
            let got = value(b"edge", cached, *fetched).unwrap();
            assert_eq!(String::from_utf8_lossy(&got), *want);
        }
    }
}
