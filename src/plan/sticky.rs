//! `sticky` of a group: how a request tells which peer it stays with, and what tells the client. Only data, and the
//! name that a peer has for it. Start at [`StickyPlan`].

use std::time::Duration;

use bytes::Bytes;
use md5::{Digest, Md5};

use super::expr::Expr;
use super::limits::Table;
use super::model::StickyExpires;

/// What keeps a client on one peer of a group.
pub struct StickyPlan {
    /// Variables of which the first that is not empty names a peer or a session.
    pub lookup: Box<[Expr]>,
    /// How a client comes to that.
    pub kind: StickyKind,
}

/// How a client comes to what it is known by.
pub enum StickyKind {
    /// The application says it, by routes.
    Route,
    /// We give a cookie with the name of the peer.
    Cookie(CookiePlan),
    /// Sessions that the application opens are remembered.
    Learn(LearnPlan),
}

/// A cookie with the name of a peer.
pub struct CookiePlan {
    /// `NAME=`.
    pub start: Bytes,
    /// How long it lives.
    pub expires: StickyExpires,
    /// `domain=`; left out where it comes out empty.
    pub domain: Option<Expr>,
    /// `; httponly; secure`, as far as they are said.
    pub flags: Bytes,
    /// `samesite=`; left out where it comes out empty.
    pub samesite: Option<Expr>,
    /// `; path=…`, or nothing.
    pub path: Bytes,
}

/// Sessions that are remembered.
pub struct LearnPlan {
    /// Variables of which the first that is not empty names a session that may be new.
    pub create: Box<[Expr]>,
    /// Name of the zone.
    pub zone: Bytes,
    /// Where sessions are kept, which is the same for a zone that a reload declares alike for the same group.
    pub table: Table,
    /// How long a session is kept without a request.
    pub timeout: Duration,
    /// A session begins with the head of an answer, not with its end.
    pub header: bool,
}

/// What a peer is called in cookies and sessions: its route, or the digest of its address, as in nginx, so that both
/// understand each other's cookies.
#[must_use]
pub fn sid(route: &[u8], address: &[u8]) -> Bytes {
    if !route.is_empty() {
        return Bytes::copy_from_slice(route);
    }
    let hex = |byte: u8| {
        let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
        [digit(byte >> 4), digit(byte & 15)]
    };
    Md5::digest(address).iter().copied().flat_map(hex).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_called_by_route_or_digest() {
        assert_eq!(sid(b"a1", b"127.0.0.1:80"), &b"a1"[..]);
        // Of `printf 127.0.0.1:8081 | md5sum`.
        let digest = &b"df2b80dc43705d28db9be6f29fe58da3"[..];
        assert_eq!(sid(b"", b"127.0.0.1:8081").len(), digest.len());
        assert_eq!(sid(b"", b"127.0.0.1:8081"), digest);
    }
}
