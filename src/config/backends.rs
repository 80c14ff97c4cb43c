//! What a configuration says of backends: their addresses, groups and resolvers, and the rules for what goes to them and
//! comes back. Re-exported by the model; settings with a plain value are in [`super::rows::pass`] and its neighbours.

use std::sync::Arc;
use std::time::Duration;

use super::model::Text;
use super::tree::Span;

/// A protocol towards backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireKind {
    /// `proxy_pass`.
    Http,
    /// `fastcgi_pass`.
    FastCgi,
    /// `grpc_pass`.
    Grpc,
}

/// `proxy_pass`, `fastcgi_pass`, `grpc_pass`.
#[derive(Clone, Debug)]
pub struct ProxyPass {
    /// What the backend speaks.
    pub wire: WireKind,
    /// The whole parameter.
    pub url: Text,
    /// Its parts, when it has no variables.
    pub target: Option<Target>,
    /// The `location` text it stands under, which the URI part replaces and the default `proxy_redirect` names.
    pub location: Text,
}

/// The address of a backend without variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `https://`.
    pub secure: bool,
    /// What stands between the scheme and the URI part: `host`, `host:port`, `[v6]:port`, `unix:/path`.
    pub authority: Arc<[u8]>,
    /// The host alone: a name, an address, `[v6]` with brackets, or the path of a socket.
    pub host: Arc<[u8]>,
    /// The port, when one is written.
    pub port: Option<u16>,
    /// `host` is the path of a unix socket.
    pub unix: bool,
    /// The URI part; `None` forwards the request's target as it came.
    pub uri: Option<Arc<[u8]>>,
}

/// An `upstream` block.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name, lower-cased.
    pub name: Arc<[u8]>,
    /// `server` lines in order.
    pub servers: Vec<UpstreamServer>,
    /// Who is picked.
    pub balance: Balance,
    /// `sticky`: who stays with a peer.
    pub sticky: Option<Box<Sticky>>,
    /// `zone`: name and size; the size is 0 when the zone is only named.
    pub zone: Option<(Arc<[u8]>, u64)>,
    /// Idle connections kept by each shard; 0 for none. 32 by default.
    pub keepalive: u32,
    /// The pool is split by location: the default, or `keepalive N local`.
    pub keepalive_local: bool,
    /// How long one may be idle, 60s.
    pub keepalive_timeout: Duration,
    /// How many requests one may carry, 1000.
    pub keepalive_requests: u64,
    /// How old one may become, 1h.
    pub keepalive_time: Duration,
    /// `resolver` of this group.
    pub resolver: Option<Arc<Resolver>>,
    /// `resolver_timeout` of this group.
    pub resolver_timeout: Option<Duration>,
    /// Where the block stood.
    pub pos: Span,
}

/// `sticky`: what keeps a client on one peer.
#[derive(Clone, Debug)]
pub enum Sticky {
    /// `sticky cookie`.
    Cookie(StickyCookie),
    /// `sticky route`: variables, without `$`, of which the first that is not empty names a peer.
    Route(Vec<Text>),
    /// `sticky learn`.
    Learn(StickyLearn),
}

/// `sticky cookie NAME …`.
#[derive(Clone, Debug)]
pub struct StickyCookie {
    /// Its name.
    pub name: Text,
    /// How long it lives; as long as the browser where it is not said.
    pub expires: StickyExpires,
    /// `domain=`.
    pub domain: Option<Text>,
    /// `path=`.
    pub path: Option<Text>,
    /// `httponly`.
    pub httponly: bool,
    /// `secure`.
    pub secure: bool,
    /// `samesite=`.
    pub samesite: Option<Text>,
}

/// `expires=` of a cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StickyExpires {
    /// Until the browser closes.
    #[default]
    Session,
    /// `max`: until 2037.
    Max,
    /// From now on.
    After(Duration),
}

/// `sticky learn …`.
#[derive(Clone, Debug)]
pub struct StickyLearn {
    /// Variables, without `$`, that name a new session.
    pub create: Vec<Text>,
    /// Variables, without `$`, that name one that is there.
    pub lookup: Vec<Text>,
    /// Name of the zone.
    pub zone: Arc<[u8]>,
    /// Its bytes.
    pub size: u64,
    /// How long a session is kept without a request.
    pub timeout: Duration,
    /// Sessions begin with the head of an answer, not with its end.
    pub header: bool,
}

/// How a peer is picked.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Balance {
    /// Smooth weighted round robin.
    #[default]
    RoundRobin,
    /// `least_conn`.
    LeastConn,
    /// `least_time`.
    LeastTime {
        /// `last_byte`: the whole answer counts, not its head.
        last_byte: bool,
        /// `inflight`: answers that are not there yet count too.
        inflight: bool,
    },
    /// `ip_hash`.
    IpHash,
    /// `hash key [consistent]`.
    Hash {
        /// What is hashed.
        key: Text,
        /// `consistent`.
        consistent: bool,
    },
    /// `random [two [least_conn]]`.
    Random {
        /// `two`.
        two: bool,
    },
}

/// A `server` of an `upstream`.
#[derive(Clone, Debug)]
pub struct UpstreamServer {
    /// The address as written: `host`, `host:port`, `[v6]:port`, `unix:/path`.
    pub address: Text,
    /// The host alone, or the path of a socket.
    pub host: Arc<[u8]>,
    /// The port, 80 by default.
    pub port: u16,
    /// `host` is the path of a unix socket.
    pub unix: bool,
    /// `weight=`, 1.
    pub weight: u32,
    /// `max_conns=`, 0 is no limit.
    pub max_conns: u32,
    /// `max_fails=`, 1.
    pub max_fails: u32,
    /// `fail_timeout=`, 10s.
    pub fail_timeout: Duration,
    /// `backup`.
    pub backup: bool,
    /// `down`.
    pub down: bool,
    /// `drain`: only those that it is sticky for.
    pub drain: bool,
    /// `route=`; empty when none.
    pub route: Arc<[u8]>,
    /// `resolve`: its addresses are looked for while running.
    pub resolve: bool,
    /// `service=`: its addresses are those of SRV records; empty when not.
    pub service: Arc<[u8]>,
    /// `slow_start=`: how long it takes its full share after it came back; zero for at once.
    pub slow_start: Duration,
}

/// `health_check`: from time to time the servers of the location's group are asked whether they are well.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// How often, 5s.
    pub interval: Duration,
    /// How much later at random.
    pub jitter: Duration,
    /// Failures in a row after which a server is not well, 1.
    pub fails: u32,
    /// Passes in a row after which it is well again, 1.
    pub passes: u32,
    /// What is asked for, `/`.
    pub uri: Option<Arc<[u8]>>,
    /// A new server is asked before it serves.
    pub mandatory: bool,
    /// But not one that was well before a reload.
    pub persistent: bool,
    /// Name of the `match` block.
    pub matched: Option<Text>,
    /// Another port than that of the server.
    pub port: Option<u16>,
    /// `type=grpc`.
    pub grpc: Option<GrpcCheck>,
    /// How long one connection is used for checks; none for a new one each time.
    pub keepalive_time: Option<Duration>,
    /// Where it stood.
    pub span: Span,
}

/// A health check by gRPC's protocol for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcCheck {
    /// The service that is asked about; empty for the server as a whole.
    pub service: Arc<[u8]>,
    /// The status that is expected instead of a good answer.
    pub status: Option<u32>,
}

/// A `match` block: what an answer must be.
#[derive(Clone, Debug)]
pub struct MatchBlock {
    /// Its name.
    pub name: Text,
    /// `status`.
    pub statuses: Option<MatchStatuses>,
    /// `header` lines.
    pub headers: Vec<MatchHeader>,
    /// `body ~` or, with true, `body !~`.
    pub body: Option<(bool, Text)>,
    /// `require`: variables, without `$`.
    pub require: Vec<Text>,
}

/// Statuses that an answer may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchStatuses {
    /// All but these.
    pub not: bool,
    /// From, and up to and with.
    pub ranges: Vec<(u16, u16)>,
}

/// A field that an answer must have.
#[derive(Clone, Debug)]
pub struct MatchHeader {
    /// Its name.
    pub name: Arc<[u8]>,
    /// What of it.
    pub rule: HeaderRule,
}

/// What is asked of a field.
#[derive(Clone, Debug)]
pub enum HeaderRule {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// `=`, `!=`.
    Equal {
        /// It must not be.
        not: bool,
        /// The value.
        value: Text,
    },
    /// `~`, `!~`.
    Pattern {
        /// It must not match.
        not: bool,
        /// The pattern.
        value: Text,
    },
}

/// `resolver`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolver {
    /// Name servers, asked in turn; a host without a port has 53.
    pub servers: Vec<(String, u16)>,
    /// `valid=`: overrides the time to live of answers.
    pub valid: Option<Duration>,
    /// `ipv4=`.
    pub ipv4: bool,
    /// `ipv6=`.
    pub ipv6: bool,
    /// Where it stood.
    pub span: Span,
}

/// `proxy_set_header`, and `proxy_cookie_domain`-like pairs of a name and a value.
#[derive(Clone, Debug, PartialEq)]
pub struct SetHeader {
    /// Field name.
    pub name: Arc<[u8]>,
    /// Field value; an empty result removes the field.
    pub value: Text,
}

/// `fastcgi_param`.
#[derive(Clone, Debug, PartialEq)]
pub struct FastcgiParam {
    /// The parameter's name.
    pub name: Arc<[u8]>,
    /// Its value.
    pub value: Text,
    /// It is left out where the value comes out empty.
    pub if_not_empty: bool,
}

/// `proxy_redirect`.
#[derive(Clone, Debug, PartialEq)]
pub enum Redirect {
    /// `off`: cancels what was inherited.
    Off,
    /// `default`: from the `proxy_pass` text to the location's.
    Default,
    /// A prefix is replaced.
    Prefix {
        /// What the field must begin with.
        from: Text,
        /// What it begins with then.
        to: Text,
    },
    /// `~re` or `~*re`.
    Regex {
        /// The pattern, without `~`.
        regex: Text,
        /// `~*`.
        caseless: bool,
        /// The replacement.
        to: Text,
    },
}

/// `proxy_cookie_domain` (patterns without regard to case, leading dots removed) and `proxy_cookie_path`.
pub type CookieRewrite = Redirect;

/// `proxy_cookie_flags`.
#[derive(Clone, Debug, PartialEq)]
pub struct CookieFlags {
    /// `off` cancels what was inherited; then nothing else is set.
    pub off: bool,
    /// Which cookie: a name, or a pattern after `~`.
    pub cookie: Text,
    /// The cookie is a pattern, without regard to case.
    pub regex: bool,
    /// `secure`, `httponly`, `samesite=lax` and their opposites; may hold variables, so they are checked per request.
    pub flags: Vec<Text>,
}

/// `proxy_bind`.
#[derive(Clone, Debug, PartialEq)]
pub enum Bind {
    /// `off`.
    Off,
    /// An address, perhaps with a port or variables.
    Address {
        /// What is bound.
        address: Text,
        /// `transparent`.
        transparent: bool,
    },
}
