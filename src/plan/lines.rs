//! `server` lines whose addresses are found while running, and the peers that an answer makes of them.
//!
//! Knows no resolver. Start at [`LinePlan`].

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use super::sticky::sid;
use super::{PeerAddr, PeerPlan, ResolverId};

/// A `server` line whose addresses are found while running.
#[derive(Clone, Debug)]
pub struct LinePlan {
    /// What its peers are like: all of it but the addresses.
    pub like: PeerPlan,
    /// The host that is looked for.
    pub host: Bytes,
    /// The port of its peers, unless SRV records say.
    pub port: u16,
    /// The name of the SRV records, with the host; empty when addresses are looked for at once.
    pub service: Bytes,
    /// `route=`.
    pub route: Bytes,
    /// Its peers need names for sessions.
    pub sticky: bool,
    /// Who is asked.
    pub how: How,
}

/// Who is asked for addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// `resolve`: the name servers, for ever.
    Resolver {
        /// The `resolver` line.
        resolver: ResolverId,
        /// `resolver_timeout`.
        timeout: Duration,
    },
    /// The system, which did not know the name at start: until it does.
    System,
}

/// One address that was found for a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundPeer {
    /// The port of SRV records is the peer's, any other is not looked at.
    pub addr: SocketAddr,
    /// The target of its SRV record.
    pub target: Bytes,
    /// Its SRV record is not of the first priority.
    pub backup: bool,
    /// The weight of its SRV record.
    pub weight: u16,
}

impl LinePlan {
    /// The name that is asked for: the host, or `_http._tcp.host`.
    pub fn question(&self) -> &Bytes {
        if self.service.is_empty() {
            &self.host
        } else {
            &self.service
        }
    }

    /// Whether what was found for another line, of an earlier plan, holds for this one.
    pub fn asks_like(&self, other: &Self) -> bool {
        self.question() == other.question() && self.service.is_empty() == other.service.is_empty()
    }

    /// The peers that these addresses make, in an order that does not depend on that of the answer.
    pub fn peers(&self, found: &[FoundPeer]) -> Vec<PeerPlan> {
        let mut found: Vec<_> = found.iter().collect();
        found.sort();
        found.into_iter().map(|found| self.peer(found)).collect()
    }

    fn peer(&self, found: &FoundPeer) -> PeerPlan {
        let mut peer = self.like.clone();
        let mut addr = found.addr;
        if self.service.is_empty() {
            addr.set_port(self.port);
        } else {
            peer.server = found.target.clone();
            peer.backup |= found.backup;
            if peer.weight == 1 {
                peer.weight = u32::from(found.weight).max(1);
            }
        }
        peer.addr = PeerAddr::Tcp(addr);
        peer.name = addr.to_string().into();
        if self.sticky {
            peer.sid = sid(&self.route, &peer.name);
        }
        peer
    }
}

/// The name of the SRV records of a service: `http` stands for `_http._tcp`.
pub(super) fn service_name(service: &[u8], host: &[u8]) -> Bytes {
    let full = service.contains(&b'.');
    let (before, after) = if full { ("", ".") } else { ("_", "._tcp.") };
    [before.as_bytes(), service, after.as_bytes(), host]
        .concat()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(service: &'static str) -> LinePlan {
        LinePlan {
            like: PeerPlan {
                addr: PeerAddr::Tcp(([0, 0, 0, 0], 0).into()),
                server: "app.test:81".into(),
                name: Bytes::new(),
                weight: 1,
                max_conns: 0,
                max_fails: 3,
                fail_timeout: Duration::from_secs(10),
                slow_start: Duration::ZERO,
                backup: false,
                down: false,
                drain: false,
                sid: Bytes::new(),
            },
            host: "app.test".into(),
            port: 81,
            service: service.into(),
            route: Bytes::new(),
            sticky: true,
            how: How::System,
        }
    }

    fn found(addr: &str, weight: u16, backup: bool) -> FoundPeer {
        FoundPeer {
            addr: addr.parse().unwrap(),
            target: "t.test".into(),
            backup,
            weight,
        }
    }

    #[test]
    fn addresses_become_peers_in_one_order() {
        let plain = line("");
        let answer = [found("10.0.0.2:0", 0, false), found("10.0.0.1:0", 0, false)];
        let names: Vec<_> = plain.peers(&answer).into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["10.0.0.1:81", "10.0.0.2:81"]);
        let peer = &plain.peers(&answer)[0];
        assert_eq!((&peer.server[..], peer.max_fails), (&b"app.test:81"[..], 3));
        assert_eq!(peer.sid.len(), 32);
    }

    #[test]
    fn services_say_port_weight_and_priority() {
        let mut line = line("_http._tcp.app.test");
        let peers = line.peers(&[found("10.0.0.1:8080", 7, true), found("[::1]:80", 0, false)]);
        let told = |p: &PeerPlan| (p.name.clone(), p.weight, p.backup);
        assert_eq!(told(&peers[0]), ("10.0.0.1:8080".into(), 7, true));
        assert_eq!(told(&peers[1]), ("[::1]:80".into(), 1, false));
        assert_eq!(peers[0].server, "t.test");
        line.like.weight = 5;
        let peers = line.peers(&[found("10.0.0.1:8080", 7, true)]);
        assert_eq!(peers[0].weight, 5, "the line's own weight counts");
    }

    #[test]
    fn services_have_full_names() {
        assert_eq!(service_name(b"http", b"a.test"), "_http._tcp.a.test");
        assert_eq!(service_name(b"_x._udp", b"a.test"), "_x._udp.a.test");
    }
}
