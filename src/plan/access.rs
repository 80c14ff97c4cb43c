//! What stands before a location's content: client address, limits, address rules, passwords.
//!
//! Only data: the checks are made by `http::access`. A location without any of this has no [`AccessPlan`].

use std::net::IpAddr;

use bytes::Bytes;

use super::expr::Expr;
use super::script::SetTarget;
use crate::base::cidr::{Cidr, canonical};

/// Everything that is checked before the content of a location. Members in the order of the checks.
#[derive(Default)]
pub struct AccessPlan {
    /// `allow` and `deny`.
    pub rules: Rules,
    /// `auth_request`.
    pub auth_request: Option<Box<AuthRequest>>,
}

/// `auth_request`: who is asked, and what is kept of the answer.
pub struct AuthRequest {
    /// The URI of the subrequest.
    pub uri: Bytes,
    /// `auth_request_set`.
    pub sets: Box<[(SetTarget, Expr)]>,
}

impl AccessPlan {
    /// Nothing is checked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.auth_request.is_none()
    }
}

/// `allow` and `deny`, split by the kind of address as nginx does.
#[derive(Default)]
pub struct Rules {
    /// Ranges with whether they are denied, in order; IPv4 and IPv6 never match each other.
    pub ranges: Box<[(Cidr, bool)]>,
    /// What happens to clients of unix sockets; they cannot be told apart, so the first rule decides.
    pub unix: Option<bool>,
}

impl Rules {
    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.unix.is_none()
    }

    /// What the first rule for an address says: whether it is denied. None means that no rule names it.
    #[must_use]
    pub fn denies(&self, addr: IpAddr) -> Option<bool> {
        let addr = canonical(addr);
        let found = self.ranges.iter().find(|(range, _)| range.contains(addr));
        found.map(|&(_, deny)| deny)
    }
}
