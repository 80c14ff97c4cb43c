//! What one request in one location will do: settings under their directives' names, and everything
//! that had to be compiled.

use std::sync::Arc;

use bytes::Bytes;

use super::access::{AccessPlan, SecureLinkPlan};
use super::cache::{CachePlan, CopyPlan};
use super::expr::Expr;
use super::filters::Filters;
use super::locations::LocationTree;
use super::referer::RefererPlan;
use super::regex::Regex;
use super::rules::{FieldSet, HeaderRules};
use super::script::Script;
use super::stream::SessionPlan;
use super::tls::{ProxyTls, TlsServerPlan};
use super::{ErrorTo, FormatId, GroupId, LocationId, LogId, ResolverId, ServerId};
use crate::config::model;
use crate::proto::tokens::Token;

/// A `server` block.
pub struct ServerPlan {
    /// First `server_name`, or empty: `$server_name`.
    pub name: Bytes,
    /// Its own settings, as the location that a request is in before one is found.
    pub root: LocationId,
    /// `set`, `if`, `rewrite`, `return` of the server level.
    pub script: Script,
    /// Locations of the first level.
    pub tree: LocationTree,
    /// Named locations (`@name`), sorted by name.
    pub named: Vec<(Bytes, LocationId)>,
    /// TLS, where it has a certificate or refuses handshakes.
    pub tls: Option<Box<TlsServerPlan>>,
}

/// A location, or the pseudo-location of a server, `if` or `limit_except`.
pub struct LocationPlan {
    /// The server it belongs to.
    pub server: ServerId,
    /// Location text: `/api/`, a pattern, `@name`.
    pub name: Bytes,
    /// How the text is matched.
    pub kind: LocationKind,
    /// The text escaped as a path: the target of a redirect that adds the final slash.
    pub escaped_name: Bytes,
    /// Simple values under their directives' names.
    pub settings: Arc<model::Settings>,
    /// Of these, what concerns the backends of the wire that `content` speaks.
    pub pass: Arc<model::Pass>,
    /// Nested locations.
    pub tree: LocationTree,
    /// `set`, `if`, `rewrite`, `return` of this block.
    pub script: Script,
    /// `limit_except`: methods allowed here, and the settings for all others.
    pub limit_except: Option<LimitExcept>,
    /// Limits, addresses, passwords; none where nothing is checked.
    pub access: Option<Box<AccessPlan>>,
    /// `valid_referers`, for `$invalid_referer`.
    pub referers: Option<Box<RefererPlan>>,
    /// `secure_link`, for `$secure_link`.
    pub secure_link: Option<Box<SecureLinkPlan>>,
    /// What makes the answer.
    pub content: Content,
    /// `fastcgi_split_path_info`.
    pub split_path_info: Option<Regex>,
    /// `root` or `alias`.
    pub root: RootPlan,
    /// How files are opened, where it is not simply by their name.
    pub opening: Option<Box<Opening>>,
    /// `index`: file names or one absolute URI.
    pub index: Box<[Expr]>,
    /// `try_files`.
    pub try_files: Option<Box<TryFiles>>,
    /// `error_page` lines in order.
    pub error_pages: Box<[ErrorPage]>,
    /// `add_header`, `add_trailer`, `expires`.
    pub headers: HeaderRules,
    /// Filters of bodies; none where nothing touches them.
    pub filters: Option<Box<Filters>>,
    /// `types` and `default_type`.
    pub types: Arc<TypesPlan>,
    /// `access_log` lines; empty when off.
    pub access_logs: Box<[AccessLogPlan]>,
    /// `error_log` lines in force here.
    pub error_logs: Arc<[ErrorTo]>,
    /// One of them takes lines for debugging.
    pub debug: bool,
    /// `resolver` in force here.
    pub resolver: Option<ResolverId>,
    /// `limit_rate`, bytes per second; no parts means none.
    pub limit_rate: Expr,
    /// `limit_rate_after`.
    pub limit_rate_after: Expr,
    /// `early_hints`: 103 answers are relayed while one of these is neither empty nor `0`.
    pub early_hints: Box<[Expr]>,
    /// `mirror`: where copies of the request go.
    pub mirrors: Box<[Bytes]>,
    /// `post_action`: where the request goes when it is answered.
    pub post_action: Option<Bytes>,
}

/// `limit_except`.
pub struct LimitExcept {
    /// Methods that stay in the location, in upper case; `GET` brings `HEAD`.
    pub allowed: Box<[Bytes]>,
    /// Settings and content for all other methods.
    pub location: LocationId,
}

/// How a location's text is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationKind {
    /// `=`
    Exact,
    /// No modifier, or `^~`.
    Prefix,
    /// `~` or `~*`
    Regex,
    /// `@name`
    Named,
    /// `if`, `limit_except`, or a server's own settings: never found by a URI.
    Anonymous,
}

/// What makes the answer in a location.
pub enum Content {
    /// Files under `root` or `alias`.
    Files,
    /// `proxy_pass` and its kin.
    Proxy(Box<ProxyPlan>),
    /// `empty_gif`.
    EmptyGif,
    /// `stub_status`.
    StubStatus,
    /// `metrics`.
    Metrics,
    /// `status`.
    Status,
    /// A server of `stream`: no request gets here.
    Session(Box<SessionPlan>),
}

impl Content {
    /// A word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Proxy(_) => "proxy",
            Self::EmptyGif => "empty gif",
            Self::StubStatus => "stub status",
            Self::Metrics => "metrics",
            Self::Status => "status",
            Self::Session(_) => "session",
        }
    }
}

/// `root` and `alias`.
pub struct RootPlan {
    /// The directory (made absolute when it starts with literal text).
    pub path: Expr,
    /// `alias`: replaces the location's text instead of standing before the URI.
    pub alias: bool,
    /// With `alias`: how many bytes of the URI it replaces, those of the location it was written in;
    /// none where that has a pattern, so that the path is the whole file name.
    pub replaces: Option<usize>,
}

/// `disable_symlinks` and `open_file_cache`.
pub struct Opening {
    /// Which links are refused.
    pub links: model::Symlinks,
    /// `from=`: the beginning of a path in which no link is refused.
    pub from: Option<Expr>,
    /// The cache of open files.
    pub cache: Option<OpenFiles>,
}

/// `open_file_cache*`.
#[derive(Clone, Copy, Debug)]
pub struct OpenFiles {
    /// Which cache of a shard: locations that inherit the directive share one.
    pub id: usize,
    /// Most entries.
    pub max: usize,
    /// Milliseconds that an unused entry stays.
    pub inactive_ms: u64,
    /// Milliseconds that an entry is trusted.
    pub valid_ms: u64,
    /// Uses that keep a file open.
    pub min_uses: u64,
    /// Errors are remembered too.
    pub errors: bool,
}

/// `try_files`.
pub struct TryFiles {
    /// Files and directories (a trailing slash asks for a directory) in order.
    pub tests: Box<[TryTest]>,
    /// Where to go when none exists.
    pub last: TryLast,
}

/// One test of `try_files`.
pub struct TryTest {
    /// Path below the root, without the final slash of a directory.
    pub path: Expr,
    /// Was written with a final slash: a directory.
    pub directory: bool,
}

/// The last argument of `try_files`.
pub enum TryLast {
    /// `=code`
    Status(u16),
    /// `@name`
    Named(Bytes),
    /// A URI, perhaps with arguments.
    Uri(Expr),
}

/// `error_page`.
pub struct ErrorPage {
    /// Codes of this line.
    pub codes: Box<[u16]>,
    /// `=` (take the status of the target: `Some(0)`) or `=code`.
    pub overwrite: Option<u16>,
    /// URI, `@name` or a redirect's target.
    pub target: Expr,
    /// Arguments when the target's text has a `?`.
    pub args: Option<Expr>,
}

/// One `access_log`.
pub struct AccessLogPlan {
    /// Target with a constant path.
    pub log: Option<LogId>,
    /// Path with variables, opened by the writer.
    pub path: Expr,
    /// What keeps such files open.
    pub kept: Option<LogId>,
    /// The line.
    pub format: FormatId,
    /// `if=`.
    pub condition: Option<Expr>,
    /// `buffer=`, bytes; 0 when lines go out at the next turn of the shard.
    pub buffer: u64,
    /// `flush=`, milliseconds; 0 when none.
    pub flush_ms: u64,
    /// `gzip=` level; 0 when none.
    pub gzip: u8,
}

/// Content types by file name extension.
#[derive(Default)]
pub struct TypesPlan {
    /// Sorted by lower-case extension.
    pub by_extension: Vec<(Bytes, Bytes)>,
    /// `default_type`.
    pub default: Bytes,
}

/// `proxy_pass` or `fastcgi_pass` and what belongs to it.
pub struct ProxyPlan {
    /// What the backend speaks, and what that alone needs.
    pub wire: WirePlan,
    /// Whom to ask.
    pub target: ProxyTarget,
    /// How the upstream's request target is made.
    pub uri: UriRule,
    /// `$proxy_host`: what `Host` is by default.
    pub host: Expr,
    /// `$proxy_port`.
    pub port: Bytes,
    /// Request headers that the proxy writes, in nginx's order, `Host` first. A value that comes out
    /// empty writes nothing; an empty `Host` becomes `$proxy_host` where HTTP/1.1 wants one. Framing
    /// fields are never among them.
    pub set_headers: Box<[SetHeader]>,
    /// Client fields that are not forwarded: those that `set_headers` names, and those of one connection only.
    pub replaced: FieldSet,
    /// `proxy_set_body`.
    pub body: Option<Expr>,
    /// `proxy_method`.
    pub method: Option<Expr>,
    /// Response fields that do not reach the client.
    pub hidden: FieldSet,
    /// `proxy_redirect` in order.
    pub redirects: Box<[RedirectRule]>,
    /// `proxy_cookie_domain` in order.
    pub cookie_domains: Box<[RedirectRule]>,
    /// `proxy_cookie_path` in order.
    pub cookie_paths: Box<[RedirectRule]>,
    /// `proxy_cookie_flags` in order.
    pub cookie_flags: Box<[CookieFlags]>,
    /// `proxy_bind`; empty when off.
    pub bind: Option<Expr>,
    /// `proxy_bind … transparent`.
    pub bind_transparent: bool,
    /// `proxy_limit_rate`.
    pub limit_rate: Expr,
    /// The target is known and wants TLS.
    pub secure: bool,
    /// TLS to backends, where the target wants it or is only known at a request.
    pub tls: Option<Box<ProxyTls>>,
    /// `proxy_cache`.
    pub cache: Option<Box<CachePlan>>,
    /// `proxy_store`.
    pub copy: Option<Box<CopyPlan>>,
}

/// A protocol towards backends.
pub enum WirePlan {
    /// HTTP/1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC, which is HTTP/2 without buffers and with trailers.
    Grpc {
        /// `TE` is the client's wish for trailers, not a text of the configuration.
        te: bool,
    },
    /// FastCGI.
    FastCgi(Box<FastCgiPlan>),
}

impl WirePlan {
    /// Whether it is HTTP of some version.
    #[must_use]
    pub const fn is_http(&self) -> bool {
        !matches!(self, Self::FastCgi(_))
    }
}

/// What a request over FastCGI needs.
pub struct FastCgiPlan {
    /// `fastcgi_param` in order, and `HTTP_HOST` where it is not among them.
    pub params: Box<[Param]>,
    /// Client fields that a parameter takes the place of.
    pub replaced: ParamNames,
    /// `fastcgi_keep_conn`.
    pub keep: bool,
    /// `fastcgi_catch_stderr`.
    pub catch_stderr: Box<[Bytes]>,
}

/// One `fastcgi_param`.
pub struct Param {
    /// Its name.
    pub name: Bytes,
    /// Its value.
    pub value: Expr,
    /// It is left out where the value comes out empty.
    pub if_not_empty: bool,
}

/// Names of client fields as they stand in parameters, behind `HTTP_`.
#[derive(Default)]
pub struct ParamNames {
    /// In upper case, with underscores, sorted.
    names: Box<[Bytes]>,
}

impl ParamNames {
    /// Whether a field of this name, already in upper case and with underscores, is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.names
            .binary_search_by(|known| known[..].cmp(name))
            .is_ok()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

impl FromIterator<Bytes> for ParamNames {
    fn from_iter<I: IntoIterator<Item = Bytes>>(names: I) -> Self {
        let mut names: Vec<Bytes> = names
            .into_iter()
            .map(|name| Bytes::from(name.to_ascii_uppercase()))
            .collect();
        names.sort_unstable();
        names.dedup();
        Self {
            names: names.into(),
        }
    }
}

/// Whom a proxied request goes to.
pub enum ProxyTarget {
    /// A group known at load, explicit or made for one host.
    Group(GroupId),
    /// A URL with variables: evaluated for each request, looked up among the groups, else resolved.
    Dynamic {
        /// The whole URL.
        url: Expr,
    },
}

/// How the request target sent upstream is made (SEMANTICS A4).
pub enum UriRule {
    /// No URI part: the client's target, byte for byte, unless it was rewritten.
    Original,
    /// A URI part: replaces the first `strip` bytes of the normalised URI.
    Replace {
        /// The URI part of `proxy_pass`.
        with: Bytes,
        /// Length of the location's text; 0 in a location without a prefix.
        strip: usize,
    },
    /// Part of a URL with variables: used as it is when it yields a URI, else like `Original`.
    Dynamic,
}

/// One header that the proxy writes.
pub struct SetHeader {
    /// What the line starts with: the name as configured, a colon and a space. A FastCGI parameter has its name alone.
    pub start: Bytes,
    /// Its token, when it is a known field.
    pub token: Token,
    /// Value; empty removes.
    pub value: Expr,
    /// See [`Expr::is_one_line`].
    pub one_line: bool,
}

impl SetHeader {
    /// A line that starts so.
    pub fn new(start: Bytes, token: Token, value: Expr) -> Self {
        Self {
            start,
            token,
            one_line: value.is_one_line(),
            value,
        }
    }
}

/// `proxy_redirect`, `proxy_cookie_domain`, `proxy_cookie_path`.
pub struct RedirectRule {
    /// What is replaced.
    pub from: RedirectFrom,
    /// By what.
    pub to: Expr,
}

/// The left side of a [`RedirectRule`].
pub enum RedirectFrom {
    /// A prefix (`proxy_redirect`, `proxy_cookie_path`) or whole domain.
    Text(Expr),
    /// A pattern.
    Regex(Regex),
}

/// `proxy_cookie_flags`.
pub struct CookieFlags {
    /// Cookie name.
    pub name: RedirectFrom,
    /// Flags to set or clear, as evaluated text (`secure`, `nosamesite`, …).
    pub flags: Box<[Expr]>,
}
