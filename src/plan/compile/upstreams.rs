//! Upstream groups: `upstream` blocks, and the implicit groups of `proxy_pass http://host`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Compiler, bytes_of};
use crate::base::ids::IdVec;
use crate::config::diag::Span;
use crate::config::model::{Balance, Core, Http, Target, Upstream, UpstreamServer};
use crate::plan::lines::{How, LinePlan, service_name};
use crate::plan::sticky::sid;
use crate::plan::{
    Checked, GroupId, GroupPlan, KeepalivePlan, Method, PeerAddr, PeerId, PeerPlan, Zone,
};

/// nginx's defaults for a server without parameters.
const PLAIN_PEER: PeerOptions = PeerOptions {
    weight: 1,
    max_conns: 0,
    max_fails: 1,
    fail_timeout: Duration::from_secs(10),
    slow_start: Duration::ZERO,
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
    slow_start: Duration,
    backup: bool,
    down: bool,
    drain: bool,
}

impl Compiler<'_> {
    /// Compiles the `upstream` blocks.
    pub(super) fn upstreams(&mut self, http: &Http) {
        let core = &http.settings.core;
        // What is said for http holds for `stream` too, which comes later.
        self.strict_dns |= core.strict_dns;
        for upstream in &http.upstreams {
            let group = self.upstream(upstream, core);
            let id = self.groups.push(group);
            self.group_index.add(&upstream.name, None, id);
        }
    }

    fn upstream(&mut self, upstream: &Upstream, core: &Core) -> GroupPlan {
        let mut peers: Vec<PeerPlan> = Vec::new();
        let mut lines = Vec::new();
        let how = self.how(upstream, core);
        for server in &upstream.servers {
            if let (true, Some(how)) = (server.resolve, how) {
                lines.push(line(server, upstream, how));
                continue;
            }
            let Some(found) = self.server_peers(server) else {
                lines.push(line(server, upstream, How::System));
                continue;
            };
            peers.extend(found.into_iter().map(|mut peer| {
                if upstream.sticky.is_some() {
                    peer.sid = sid(&server.route, &peer.name);
                }
                peer
            }));
        }
        // Primary peers first; the order within each kind is the file's.
        peers.sort_by_key(|peer| peer.backup);
        let zone = upstream.zone.as_ref();
        let zone = zone.map(|(name, _)| Zone::new(bytes_of(name)));
        GroupPlan {
            name: bytes_of(&upstream.name),
            explicit: true,
            method: self.method(&upstream.balance),
            checked: Checked::default(),
            sticky: self.sticky(upstream),
            peers: peers.into(),
            lines: lines.into(),
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

    /// Who is asked for the names of a group; none when it has none.
    ///
    /// Differs from nginx: the group needs no `zone` for that.
    fn how(&mut self, upstream: &Upstream, core: &Core) -> Option<How> {
        upstream.servers.iter().find(|server| server.resolve)?;
        let resolver = upstream.resolver.as_ref().or(core.resolver.as_ref());
        let Some(resolver) = resolver.filter(|resolver| !resolver.servers.is_empty()) else {
            let name = String::from_utf8_lossy(&upstream.name);
            let message =
                format!("no resolver defined to resolve names at run time in upstream \"{name}\"");
            self.error(message, upstream.pos);
            // The configuration is refused anyhow; the line is not complained about twice.
            return Some(How::System);
        };
        let timeout = upstream.resolver_timeout.unwrap_or(core.resolver_timeout);
        Some(How::Resolver {
            resolver: self.resolver(resolver),
            timeout,
        })
    }

    fn method(&mut self, balance: &Balance) -> Method {
        match balance {
            Balance::RoundRobin => Method::RoundRobin,
            Balance::LeastConn => Method::LeastConn,
            &Balance::LeastTime {
                last_byte,
                inflight,
            } => Method::LeastTime {
                last_byte,
                inflight,
            },
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

    /// The peers of a line; none when its name is not known, which was told.
    fn server_peers(&mut self, server: &UpstreamServer) -> Option<Vec<PeerPlan>> {
        let options = PeerOptions::of(server);
        let text = bytes_of(&server.address.bytes);
        if server.unix {
            return Some(vec![options.peer(unix(&server.host), text)]);
        }
        let Some(addresses) = self.addresses(&server.host, server.port) else {
            self.unknown(&server.address.lossy(), server.address.span);
            return None;
        };
        let addresses = addresses.into_iter();
        let peers = addresses.map(|addr| options.peer(PeerAddr::Tcp(addr), text.clone()));
        Some(peers.collect())
    }

    /// Tells that a backend is not known at start.
    ///
    /// Differs from nginx: only its group does without it, until it is found; `strict_dns on` refuses it.
    fn unknown(&mut self, shown: &str, span: Span) {
        let message = format!("host not found in upstream \"{shown}\"");
        if self.strict_dns {
            self.error(message, span);
        } else {
            let message = format!("{message}, which does without it until it is found");
            self.warn(message, span);
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
        let (peers, lines) = match self.implicit_peers(target, port) {
            Some(peers) => (peers, Arc::default()),
            None => {
                let shown = String::from_utf8_lossy(&target.host).into_owned();
                self.unknown(&shown, span);
                (IdVec::new(), Arc::from([implicit_line(target, port)]))
            }
        };
        let id = self.groups.push(GroupPlan {
            name: bytes_of(&target.host),
            explicit: false,
            method: Method::RoundRobin,
            checked: Checked::default(),
            sticky: None,
            peers,
            lines,
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

    /// The peers of the group of a host; none when its name is not known.
    fn implicit_peers(&self, target: &Target, port: u16) -> Option<IdVec<PeerId, PeerPlan>> {
        let text = bytes_of(&target.host);
        if target.unix {
            return Some(vec![PLAIN_PEER.peer(unix(&target.host), text)].into());
        }
        let addresses = self.addresses(&target.host, port)?.into_iter();
        let peers = addresses.map(|addr| PLAIN_PEER.peer(PeerAddr::Tcp(addr), text.clone()));
        Some(peers.collect())
    }
}

/// A `server` line whose addresses are found while running.
fn line(server: &UpstreamServer, upstream: &Upstream, how: How) -> LinePlan {
    let service = match &server.service[..] {
        b"" => Bytes::new(),
        service => service_name(service, &server.host),
    };
    LinePlan {
        like: PeerOptions::of(server).peer(nowhere(), bytes_of(&server.address.bytes)),
        host: bytes_of(&server.host),
        port: server.port,
        service,
        route: bytes_of(&server.route),
        sticky: upstream.sticky.is_some(),
        how,
    }
}

/// The same for the group of a host.
fn implicit_line(target: &Target, port: u16) -> LinePlan {
    LinePlan {
        like: PLAIN_PEER.peer(nowhere(), bytes_of(&target.host)),
        host: bytes_of(&target.host),
        port,
        service: Bytes::new(),
        route: Bytes::new(),
        sticky: false,
        how: How::System,
    }
}

/// Stands where an address will be.
fn nowhere() -> PeerAddr {
    PeerAddr::Tcp((Ipv4Addr::UNSPECIFIED, 0).into())
}

impl PeerOptions {
    fn of(server: &UpstreamServer) -> Self {
        Self {
            weight: server.weight,
            max_conns: server.max_conns,
            max_fails: server.max_fails,
            fail_timeout: server.fail_timeout,
            slow_start: server.slow_start,
            backup: server.backup,
            down: server.down,
            drain: server.drain,
        }
    }

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
            slow_start: self.slow_start,
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
