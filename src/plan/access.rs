//! What stands before a location's content: client address, limits, address rules, passwords.
//!
//! Only data and what can be told from it: the checks are made by `http::access`. A location without any of this has
//! no [`AccessPlan`].

use std::net::IpAddr;

use bytes::Bytes;

use super::expr::Expr;
use super::limits::{ConnLimits, ReqLimits};
use super::script::SetTarget;
use crate::base::cidr::{Cidr, Cidrs, canonical};

/// Everything that is checked before the content of a location. Members in the order of the checks.
#[derive(Default)]
pub struct AccessPlan {
    /// `set_real_ip_from` and its kin.
    pub realip: Option<RealipPlan>,
    /// `limit_req`.
    pub limit_req: Option<Box<ReqLimits>>,
    /// `limit_conn`.
    pub limit_conn: Option<Box<ConnLimits>>,
    /// `allow` and `deny`.
    pub rules: Rules,
    /// `auth_basic`.
    pub basic: Option<BasicPlan>,
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
        self.realip.is_none()
            && self.rules.is_empty()
            && self.basic.is_none()
            && self.limit_req.is_none()
            && self.limit_conn.is_none()
            && self.auth_request.is_none()
    }
}

/// Whose word is taken for the client's address, and where it stands.
pub struct RealipPlan {
    /// Peers that are trusted.
    pub trusted: Cidrs,
    /// So are clients of unix sockets.
    pub trusts_unix: bool,
    /// `real_ip_header`.
    pub header: RealipHeader,
    /// `real_ip_recursive`.
    pub recursive: bool,
}

impl RealipPlan {
    /// Whether a peer's word is taken; none is the client of a unix socket.
    #[must_use]
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => self.trusts_unix,
            Some(addr) => self.trusted.contains(addr),
        }
    }
}

/// Where a trusted peer names the client.
pub enum RealipHeader {
    /// In all lines of `X-Forwarded-For`.
    ForwardedFor,
    /// In the PROXY protocol header.
    ProxyProtocol,
    /// In the first line of this field.
    Field(Bytes),
}

/// `auth_basic` with its `auth_basic_user_file`.
pub struct BasicPlan {
    /// The realm; `off` asks for nothing.
    pub realm: Expr,
    /// Path of the user file.
    pub file: Expr,
    /// The configuration file's folder, final slash included, which a relative path starts from.
    pub folder: Bytes,
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

/// `secure_link`.
pub enum SecureLinkPlan {
    /// `secure_link` and `secure_link_md5`.
    Signed {
        /// The proof, and perhaps a time.
        link: Expr,
        /// What the proof is the digest of.
        of: Expr,
    },
    /// `secure_link_secret`.
    Secret(Bytes),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::compile::testing;

    fn rules(text: &str) -> Rules {
        let text = format!("events {{}} http {{ server {{ {text} }} }}");
        let (mut plan, _) = testing::from_text(&text).unwrap();
        let root = plan.servers[crate::plan::ServerId(0)].root;
        let access = plan.locations[root].access.take();
        access.map(|plan| plan.rules).unwrap_or_default()
    }

    #[test]
    fn the_first_rule_that_names_an_address_counts() {
        let cases: &[(&str, &str, Option<bool>)] = &[
            ("", "10.0.0.1", None),
            ("deny all;", "10.0.0.1", Some(true)),
            ("deny all;", "::1", Some(true)),
            ("allow 10.0.0.0/8; deny all;", "10.1.2.3", Some(false)),
            (
                "allow 10.0.0.0/8; deny all;",
                "::ffff:10.1.2.3",
                Some(false),
            ),
            ("allow 10.0.0.0/8; deny all;", "11.0.0.1", Some(true)),
            (
                "deny 10.0.0.1; allow 10.0.0.0/8; deny all;",
                "10.0.0.1",
                Some(true),
            ),
            ("deny all; allow 10.0.0.1;", "10.0.0.1", Some(true)),
            ("deny 10.0.0.1;", "10.0.0.2", None),
            ("deny 2001:db8::/32;", "2001:db8::1", Some(true)),
            ("deny 0.0.0.0/0;", "2001:db8::1", None),
            ("deny ::/0;", "10.0.0.1", None),
        ];
        for &(text, addr, expected) in cases {
            assert_eq!(
                rules(text).denies(addr.parse().unwrap()),
                expected,
                "{text} {addr}"
            );
        }
        assert_eq!(rules("allow unix:; deny all;").unix, Some(false));
        assert_eq!(rules("deny all; allow unix:;").unix, Some(true));
        assert_eq!(rules("deny 10.0.0.1;").unix, None);
    }
}
