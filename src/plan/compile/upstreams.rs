//! Upstream groups: `upstream` blocks, and the implicit groups of `proxy_pass http://host`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use super::{Compiler, bytes_of};
use crate::base::ids::IdVec;
use crate::config::diag::Span;
use crate::config::model::{Balance, Http, Target, Upstream, UpstreamServer};
use crate::plan::sticky::sid;
use crate::plan::{GroupId, GroupPlan, KeepalivePlan, Method, PeerAddr, PeerId, PeerPlan, Zone};

/// nginx's defaults for a server without parameters.
const PLAIN_PEER: PeerOptions = PeerOptions {
    weight: 1,
    max_conns: 0,
    max_fails: 1,
    fail_timeout: Duration::from_secs(10),
    backup: false,
    down: false,
    drain: false,
};

/// Parameters of a `server` line, shared by all its addresses.
struct PeerOptions {
    weight: u32,
    max_conns: u32,
    max_fails: u32,
    fail_timeout: Duration,
    backup: bool,
    down: bool,
    drain: bool,
}

impl Compiler<'_> {
    /// Compiles the `upstream` blocks.
    pub(super) fn upstreams(&mut self, http: &Http) {
        for upstream in &http.upstreams {
            let group = self.upstream(upstream);
            let id = self.groups.push(group);
            self.group_index.add(&upstream.name, None, id);
        }
    }

    fn upstream(&mut self, upstream: &Upstream) -> GroupPlan {
        let mut peers: Vec<PeerPlan> = Vec::new();
        for server in &upstream.servers {
            let named = self.server_peers(server).into_iter().map(|mut peer| {
                if upstream.sticky.is_some() {
                    peer.sid = sid(&server.route, &peer.name);
                }
                peer
            });
            peers.extend(named);
        }
        // Primary peers first; the order within each kind is the file's.
        peers.sort_by_key(|peer| peer.backup);
        let zone = upstream.zone.as_ref();
        let zone = zone.map(|(name, _)| Zone::new(bytes_of(name)));
        GroupPlan {
            name: bytes_of(&upstream.name),
            explicit: true,
            method: self.method(&upstream.balance),
            sticky: self.sticky(upstream),
            peers: peers.into(),
            zone,
            keepalive: KeepalivePlan {
                idle_max: upstream.keepalive,
                local: upstream.keepalive_local,
                requests_max: u32::try_from(upstream.keepalive_requests).unwrap_or(u32::MAX),
                time_max: upstream.keepalive_time,
                timeout: upstream.keepalive_timeout,
            },
        }
    }

    fn method(&mut self, balance: &Balance) -> Method {
        match balance {
            Balance::RoundRobin => Method::RoundRobin,
            Balance::LeastConn => Method::LeastConn,
            Balance::IpHash => Method::IpHash,
            Balance::Hash {
                key,
                consistent: true,
            } => Method::Consistent(self.expr(key)),
            Balance::Hash {
                key,
                consistent: false,
            } => Method::Hash(self.expr(key)),
            Balance::Random { two } => Method::Random { two: *two },
        }
    }

    fn server_peers(&mut self, server: &UpstreamServer) -> Vec<PeerPlan> {
        let options = PeerOptions {
            weight: server.weight,
            max_conns: server.max_conns,
            max_fails: server.max_fails,
            fail_timeout: server.fail_timeout,
            backup: server.backup,
            down: server.down,
            drain: server.drain,
        };
        let text = bytes_of(&server.address.bytes);
        if server.unix {
            return vec![options.peer(unix(&server.host), text)];
        }
        match self.addresses(&server.host, server.port) {
            Some(addresses) => addresses
                .into_iter()
                .map(|addr| options.peer(PeerAddr::Tcp(addr), text.clone()))
                .collect(),
            None => {
                let message = format!("host not found in upstream \"{}\"", server.address.lossy());
                self.error(message, server.address.span);
                Vec::new()
            }
        }
    }

    /// Addresses of a host: itself when it is one, else what the resolver says.
    pub(super) fn addresses(&self, host: &[u8], port: u16) -> Option<Vec<SocketAddr>> {
        let host = std::str::from_utf8(host).ok()?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(addr) = bare.parse::<IpAddr>() {
            return Some(vec![SocketAddr::new(addr, port)]);
        }
        (self.env.resolve)(host, port).filter(|addresses| !addresses.is_empty())
    }

    /// The group that a `proxy_pass` without variables names: an `upstream` block, or an implicit
    /// group, one for each host and port.
    pub(super) fn group_for(&mut self, target: &Target, span: Span) -> Option<GroupId> {
        let usual = match (target.unix, target.secure) {
            (true, _) => 0,
            (false, true) => 443,
            (false, false) => 80,
        };
        if let (Some(_), Some(port)) = (self.group_index.block(&target.host), target.port) {
            let shown = String::from_utf8_lossy(&target.host);
            let message = format!("upstream \"{shown}\" may not have port {port}");
            self.error(message, span);
            return None;
        }
        if let Some(id) = self.group_index.find(&target.host, target.port, usual) {
            return Some(id);
        }
        let port = target.port.unwrap_or(usual);
        let peers = self.implicit_peers(target, port, span)?;
        let id = self.groups.push(GroupPlan {
            name: bytes_of(&target.host),
            explicit: false,
            method: Method::RoundRobin,
            sticky: None,
            peers,
            zone: None,
            keepalive: KeepalivePlan {
                idle_max: 0,
                local: false,
                requests_max: 0,
                time_max: Duration::ZERO,
                timeout: Duration::ZERO,
            },
        });
        self.group_index.add(&target.host, Some(port), id);
        Some(id)
    }

    fn implicit_peers(
        &mut self,
        target: &Target,
        port: u16,
        span: Span,
    ) -> Option<IdVec<PeerId, PeerPlan>> {
        let text = bytes_of(&target.host);
        if target.unix {
            return Some(vec![PLAIN_PEER.peer(unix(&target.host), text)].into());
        }
        let Some(addresses) = self.addresses(&target.host, port) else {
            let shown = String::from_utf8_lossy(&target.host);
            self.error(format!("host not found in upstream \"{shown}\""), span);
            return None;
        };
        let peers = addresses
            .into_iter()
            .map(|addr| PLAIN_PEER.peer(PeerAddr::Tcp(addr), text.clone()));
        Some(peers.collect())
    }
}

impl PeerOptions {
    fn peer(&self, addr: PeerAddr, server: Bytes) -> PeerPlan {
        let name = match &addr {
            PeerAddr::Tcp(addr) => Bytes::from(addr.to_string()),
            PeerAddr::Unix(path) => Bytes::from(format!("unix:{}", path.display())),
        };
        PeerPlan {
            addr,
            server,
            name,
            weight: self.weight,
            max_conns: self.max_conns,
            max_fails: self.max_fails,
            fail_timeout: self.fail_timeout,
            backup: self.backup,
            down: self.down,
            drain: self.drain,
            sid: Bytes::new(),
        }
    }
}

fn unix(path: &[u8]) -> PeerAddr {
    use std::os::unix::ffi::OsStrExt;
    PeerAddr::Unix(PathBuf::from(std::ffi::OsStr::from_bytes(path)))
}
