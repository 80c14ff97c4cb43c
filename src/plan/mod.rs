//! `Model` to `Plan`: everything resolved, compiled, immutable, shareable between shards.
//!
//! A request reads the plan and nothing else of the configuration. Ids are dense, so that the state
//! a shard keeps for a group, a log or a zone is a `Vec` indexed by id. What a location does not use
//! is empty here and costs a request one length test. Knows no sockets and no clock. Start at
//! [`Plan`], then [`location::LocationPlan`]; [`compile`] builds both.

pub mod access;
pub mod cache;
pub mod charset;
pub mod compile;
pub mod expr;
pub mod filters;
pub mod groups;
pub mod health;
pub mod limits;
pub mod lines;
pub mod location;
pub mod locations;
pub mod lookup;
pub mod names;
pub mod referer;
pub mod regex;
pub mod rules;
pub mod script;
pub mod sticky;
pub mod store;
pub mod stream;
pub mod tls;
pub mod vars;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::base::cidr::Cidrs;
use crate::base::ids::IdVec;
/// The settings types that the plan carries, for modules that may not see `config`.
pub use crate::config::model;
use crate::proto::tokens::Token;
use charset::Charsets;
use groups::GroupIndex;
use limits::{ZoneId, ZonePlan};
use location::{LocationPlan, ServerPlan};
use lookup::{GeoPlan, MapPlan, SplitPlan};
use names::VirtualHosts;

crate::define_id!(
    /// A `listen` socket address of the plan.
    ListenerId
);
crate::define_id!(
    /// A `server` block.
    ServerId
);
crate::define_id!(
    /// A `location`, `if` or `limit_except` block, or the settings of a server itself.
    LocationId
);
crate::define_id!(
    /// An upstream group: an `upstream` block, or the implicit group of a `proxy_pass` to a host.
    GroupId
);
crate::define_id!(
    /// One address of a group; dense within its group.
    PeerId
);
crate::define_id!(
    /// A destination of log lines: one file, or one syslog server with its options.
    LogId
);
crate::define_id!(
    /// A compiled `log_format`.
    FormatId
);
crate::define_id!(
    /// A `map` block.
    MapId
);
crate::define_id!(
    /// A `geo` block.
    GeoId
);
crate::define_id!(
    /// A `split_clients` block.
    SplitId
);
crate::define_id!(
    /// A settable variable: `set`, a named capture, or a proxy's own per-request variable.
    SlotId
);
crate::define_id!(
    /// A `resolver` line, shared by all blocks that inherit it.
    ResolverId
);

/// Everything that running one configuration needs.
pub struct Plan {
    /// Main-context values, under their directives' names.
    pub main: model::Main,
    /// Bound addresses, in the order of their first `listen`.
    pub listeners: IdVec<ListenerId, ListenerPlan>,
    /// Servers in file order, those of `stream` behind those of `http`.
    pub servers: IdVec<ServerId, ServerPlan>,
    /// All locations of all servers; nested ones too.
    pub locations: IdVec<LocationId, LocationPlan>,
    /// Upstream groups, explicit first.
    pub groups: IdVec<GroupId, GroupPlan>,
    /// The same groups by the hosts that URLs name.
    pub group_index: GroupIndex,
    /// Those of `stream`, by the names that are used there.
    pub stream_index: GroupIndex,
    /// Where log lines go. [`LogId`] 0 is the main `error_log`.
    pub logs: IdVec<LogId, LogTarget>,
    /// The main `error_log` lines: what is not about one request goes here.
    pub error_logs: Arc<[ErrorTo]>,
    /// `debug_connection` lines: everything is logged about these clients.
    pub debug_clients: DebugClients,
    /// Compiled `log_format`s; `combined` is the first.
    pub formats: IdVec<FormatId, LogFormat>,
    /// `map` blocks.
    pub maps: IdVec<MapId, MapPlan>,
    /// `geo` blocks.
    pub geos: IdVec<GeoId, GeoPlan>,
    /// `split_clients` blocks.
    pub splits: IdVec<SplitId, SplitPlan>,
    /// The settable variables; its length sizes an exchange's slots.
    pub slots: IdVec<SlotId, SlotPlan>,
    /// Members of the open variable families (`http_x_y`, `arg_a`), indexed by [`expr::Var::Named`].
    pub family_names: Vec<FamilyName>,
    /// What is worth telling of a plan that is good: backends that are not known yet.
    pub warnings: Vec<crate::config::diag::Diag>,
    /// `resolver` lines.
    pub resolvers: IdVec<ResolverId, ResolverPlan>,
    /// `limit_req_zone` and `limit_conn_zone` lines.
    pub limit_zones: IdVec<ZoneId, ZonePlan>,
    /// Active health checks.
    pub checks: Vec<health::CheckPlan>,
    /// Where answers are stored: `proxy_cache_path` lines and their siblings.
    pub stores: Vec<store::StoreRef>,
    /// TLS to backends.
    pub tls_clients: Vec<tls::TlsClientPlan>,
    /// Something asks for what TLS clients offered.
    pub wants_hello: bool,
    /// `$hostname`.
    pub hostname: Bytes,
    /// Version text after `Server: name/`; the name differs by identity.
    pub server_token: ServerToken,
    /// Prefix that relative paths start from.
    pub prefix: PathBuf,
    /// The folder of the configuration file, which names of certificates start from.
    pub folder: PathBuf,
    /// Charsets, and the tables between them.
    pub charsets: Charsets,
}

impl Plan {
    /// Finds the location of a normalised URI among those of a server. None is the server's own
    /// settings ([`ServerPlan::root`]).
    pub fn find_location(
        &self,
        server: ServerId,
        uri: &[u8],
        captures: &mut regex::Captures,
    ) -> locations::LocationMatch<'_> {
        let nested = |id: LocationId| &self.locations[id].tree;
        self.servers[server].tree.find(uri, &nested, captures)
    }
}

/// One `error_log` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorTo {
    /// Where it goes.
    pub log: LogId,
    /// The least serious level that goes there.
    pub most: model::LogLevel,
    /// Lines are JSON objects.
    pub json: bool,
}

/// Whom `debug_connection` names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugClients {
    /// Address ranges.
    pub ranges: Cidrs,
    /// Whoever comes by a unix socket.
    pub unix: bool,
}

impl DebugClients {
    /// Whether nobody is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.unix && self.ranges.0.is_empty()
    }

    /// Whether a client is one of them; none for one that came by a unix socket.
    #[must_use]
    pub fn contains(&self, client: Option<IpAddr>) -> bool {
        client.map_or(self.unix, |addr| self.ranges.contains(addr))
    }
}

/// A settable variable.
#[derive(Clone, Debug)]
pub struct SlotPlan {
    /// Lower-case name without `$`.
    pub name: Bytes,
    /// `set` assigns it somewhere, so that reading it before is worth a warning; a name that only patterns capture is
    /// simply missing until one does.
    pub assigned: bool,
    /// What is read until the variable is set: a `map` of the same name and its like.
    pub fallback: Option<expr::Var>,
}

/// A member of an open variable family, such as `x_y` of `$http_x_y`.
#[derive(Clone, Debug)]
pub struct FamilyName {
    /// Lower-case name without the family's prefix; `_` stands for `-` in field names.
    pub name: Bytes,
    /// The known field of that name written with dashes, so that `$http_user_agent` is one probe.
    pub token: Token,
}

/// What the `Server` header and error pages call this program.
#[derive(Clone, Debug)]
pub struct ServerToken {
    /// `ringx` or `nginx`.
    pub short: Bytes,
    /// With the version: `ringx/0.1.0`.
    pub full: Bytes,
    /// With version and build: `server_tokens build`.
    pub build: Bytes,
}

/// One bound address and the servers behind it.
pub struct ListenerPlan {
    /// Address to bind, exactly one socket per shard (unix: one shared).
    pub addr: ListenAddr,
    /// Socket options of the `listen` that set them.
    pub options: model::ListenOptions,
    /// Servers by local address. Listening on a wildcard also serves `listen`s to single addresses
    /// of the same port; the entry without an address is the wildcard's own.
    pub hosts: Vec<(Option<SocketAddr>, AddressPlan)>,
}

impl ListenerPlan {
    /// The servers that answer on a local address: its own, or those of the wildcard.
    #[must_use]
    pub fn address(&self, local: Option<SocketAddr>) -> &AddressPlan {
        let exact = match self.hosts.len() {
            1 => None,
            _ => self
                .hosts
                .iter()
                .find(|(addr, _)| addr.is_some() && *addr == local),
        };
        let (_, address) = exact
            .or_else(|| self.hosts.iter().find(|(addr, _)| addr.is_none()))
            .or_else(|| self.hosts.first())
            .expect("invariant: a listener has at least one server");
        address
    }
}

/// The servers that share one address and port.
pub struct AddressPlan {
    /// `proxy_protocol` on this address.
    pub proxy_protocol: bool,
    /// `ssl` on this address.
    pub ssl: bool,
    /// `http2` on this address, or of its default server.
    pub http2: bool,
    /// `http2` on this address.
    pub listens_http2: bool,
    /// Server names, and the default server.
    pub names: VirtualHosts,
}

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// TCP over IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A unix socket path.
    Unix(PathBuf),
}

/// An upstream group as the balancer sees it.
pub struct GroupPlan {
    /// Name in the configuration; what `Host` is by default and what logs print.
    pub name: Bytes,
    /// Whether an `upstream {}` block made it (only those pool connections).
    pub explicit: bool,
    /// How a peer is picked.
    pub method: Method,
    /// What health checks mean for its peers.
    pub checked: Checked,
    /// What keeps clients on one peer.
    pub sticky: Option<Box<sticky::StickyPlan>>,
    /// Primary peers then backups, one for each resolved address.
    pub peers: IdVec<PeerId, PeerPlan>,
    /// `server` lines whose addresses are found while running, and added to the peers.
    pub lines: Arc<[lines::LinePlan]>,
    /// `zone NAME SIZE`: failures of its peers are shared by all shards.
    pub zone: Option<Zone>,
    /// `keepalive` and its companions. Capacity 0 means no pool.
    pub keepalive: KeepalivePlan,
}

/// What health checks mean for the peers of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// There are such checks.
    pub any: bool,
    /// A new peer serves only after it passed one.
    pub mandatory: bool,
    /// So does one that was there before a reload, whatever was found then.
    pub forgetful: bool,
}

impl Checked {
    /// The same with one more check.
    #[must_use]
    pub fn with(self, mandatory: bool, persistent: bool) -> Self {
        Self {
            any: true,
            mandatory: self.mandatory || mandatory,
            forgetful: self.forgetful || !persistent,
        }
    }
}

impl GroupPlan {
    /// The sessions that it learns.
    #[must_use]
    pub fn sessions(&self) -> Option<&sticky::LearnPlan> {
        match &self.sticky.as_ref()?.kind {
            sticky::StickyKind::Learn(learn) => Some(learn),
            sticky::StickyKind::Cookie(_) | sticky::StickyKind::Route => None,
        }
    }
}

/// Requests in progress on peers, by their tags.
type Counters = HashMap<u64, Arc<AtomicU32>>;

/// `zone NAME SIZE` of an upstream group: what its peers have in common on all shards.
#[derive(Clone, Debug)]
#[expect(
    clippy::disallowed_types,
    reason = "locked when a peer comes, never while requests are served"
)]
pub struct Zone {
    /// Its name.
    pub name: Bytes,
    /// Requests in progress on each peer, of all shards, by the peers' tags. The one thing of a plan that changes:
    /// `max_conns` and `least_conn` of such a group count over the whole process.
    counters: Arc<std::sync::Mutex<Counters>>,
}

impl Zone {
    /// A zone without peers.
    #[must_use]
    pub fn new(name: Bytes) -> Self {
        Self {
            name,
            counters: Arc::default(),
        }
    }

    /// The counter of a peer, which all shards share. Asked for when a peer comes, not when requests do.
    #[must_use]
    pub fn counter(&self, tag: u64) -> Arc<AtomicU32> {
        // A table of counters is whole whoever panicked beside it.
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if !counters.contains_key(&tag) {
            counters.retain(|_, counter| Arc::strong_count(counter) > 1);
        }
        Arc::clone(counters.entry(tag).or_default())
    }
}

/// `keepalive*` of an upstream group.
#[derive(Clone, Debug)]
pub struct KeepalivePlan {
    /// Idle connections that one shard keeps.
    pub idle_max: u32,
    /// `local`: the pool is keyed by location too (the default since nginx 1.29.7).
    pub local: bool,
    /// Requests after which a connection is closed.
    pub requests_max: u32,
    /// Age after which a connection is closed.
    pub time_max: Duration,
    /// How long one stays idle.
    pub timeout: Duration,
}

/// Balancing methods of nginx's open-source modules.
pub enum Method {
    /// Smooth weighted round robin.
    RoundRobin,
    /// Fewest connections over weight.
    LeastConn,
    /// Least expected time to answer.
    LeastTime {
        /// The whole answer counts, not its head.
        last_byte: bool,
        /// Answers that are not there yet count too.
        inflight: bool,
    },
    /// First three octets of IPv4, all of IPv6.
    IpHash,
    /// `hash KEY`.
    Hash(expr::Expr),
    /// `hash KEY consistent` (ketama).
    Consistent(expr::Expr),
    /// `random`, or `random two [least_conn]`.
    Random {
        /// Pick two and keep the better one.
        two: bool,
    },
}

/// One address of a group.
#[derive(Clone, Debug)]
pub struct PeerPlan {
    /// Where to connect.
    pub addr: PeerAddr,
    /// `server` text as configured, for the log and for the consistent hash.
    pub server: Bytes,
    /// Address as text, what `$upstream_addr` prints.
    pub name: Bytes,
    /// `weight=`.
    pub weight: u32,
    /// `max_conns=`; 0 is no limit.
    pub max_conns: u32,
    /// `max_fails=`; 0 switches failure accounting off.
    pub max_fails: u32,
    /// `fail_timeout=`.
    pub fail_timeout: Duration,
    /// `slow_start=`; zero for none.
    pub slow_start: Duration,
    /// `backup`.
    pub backup: bool,
    /// `down`.
    pub down: bool,
    /// `drain`: only those that stay with it ask it.
    pub drain: bool,
    /// What it is called in cookies and sessions; empty where nothing is sticky.
    pub sid: Bytes,
}

/// Where a peer listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerAddr {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket path.
    Unix(PathBuf),
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq)]
pub enum LogTarget {
    /// A file, already opened by the parent; the worker finds its descriptor by this path.
    File(PathBuf),
    /// Standard error.
    Stderr,
    /// A syslog server.
    Syslog(model::Syslog),
    /// The last lines in memory.
    Memory(u64),
    /// Files whose paths come out of requests, kept open by the writer (`open_log_file_cache`).
    Paths(OpenLogRules),
}

/// `open_log_file_cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLogRules {
    /// Which of the plan's directives this is: two that say the same keep their files apart.
    pub id: usize,
    /// Most entries.
    pub max: u64,
    /// How long an entry stays that is not used.
    pub inactive_ms: u64,
    /// How long an open file is trusted to be what its path means.
    pub valid_ms: u64,
    /// Uses that keep a file open.
    pub min_uses: u64,
}

/// A compiled `log_format`.
pub struct LogFormat {
    /// Its name.
    pub name: Bytes,
    /// How values are escaped.
    pub escape: model::Escape,
    /// The line, without the final newline.
    pub line: expr::Expr,
}

/// A `resolver` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverPlan {
    /// Name servers, used in turn.
    pub servers: Vec<SocketAddr>,
    /// `valid=`: overrides the records' own lifetimes.
    pub valid: Option<Duration>,
    /// Ask for A records.
    pub ipv4: bool,
    /// Ask for AAAA records.
    pub ipv6: bool,
}
