//! The typed configuration: what the directives of a file say, defaults and inheritance applied, nothing resolved or
//! compiled. The settings structs of the directive families live beside their rows and are re-exported here.
//! Start at [`Model`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::tree::Span;

pub use crate::base::cidr::Cidr;

pub use super::backends::*;
pub use super::choices::*;
pub use super::mime::MimeTypes;
pub use super::rows::access::Access;
pub use super::rows::addition::Addition;
pub use super::rows::auth_basic::AuthBasic;
pub use super::rows::brotli::Brotli;
pub use super::rows::cache::Caching;
pub use super::rows::charset::Charset;
pub use super::rows::core::Core;
pub use super::rows::fastcgi::Fastcgi;
pub use super::rows::files::{DisableSymlinks, Files, OpenFileCache};
pub use super::rows::grpc::Grpc;
pub use super::rows::gzip::Gzip;
pub use super::rows::headers::Headers;
pub use super::rows::http2::Http2;
pub use super::rows::limits::Limits;
pub use super::rows::log::{Log, OpenLogFileCache};
pub use super::rows::main::{CpuAffinity, DebugClient, Main};
pub use super::rows::operate::{Control, Operate};
pub use super::rows::parse_cache::{CachePace, CachePurge, CacheValid, CacheZone, StorePath};
pub use super::rows::pass::Pass;
pub use super::rows::pass_ssl::PassSsl;
pub use super::rows::proxy::Proxy;
pub use super::rows::realip::{RealIpHeader, Realip, TrustedPeer};
pub use super::rows::referer::Referer;
pub use super::rows::rewrite::Rewriting;
pub use super::rows::secure_link::SecureLink;
pub use super::rows::ssi::SsiSettings;
pub use super::rows::ssl::{CertificateCache, ConfCommand, SessionCache, Ssl};
pub use super::rows::stream::{SendProxy, Stream};
pub use super::rows::sub::{SubFilter, Substitution};
pub use super::rows::subrequest::{AuthRequestSet, MirrorTo, Subrequests};
pub use super::rows::userid::{Userid, UseridExpires};
pub use super::rows::zstd::Zstd;

/// A list of settings: cheap to inherit, copied only by a level that changes it.
pub type List<T> = Arc<Vec<T>>;

/// A string of the configuration that may hold `$variables`; the plan compiles it.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// The bytes, quotes and escapes resolved.
    pub bytes: Arc<[u8]>,
    /// Where it stood.
    pub span: Span,
}

impl Text {
    /// Whether a `$` occurs, so that the value is only known per request.
    pub fn has_variables(&self) -> bool {
        self.bytes.contains(&b'$')
    }

    /// The bytes as text for messages and paths; what is not UTF-8 is replaced.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self {
            bytes: Arc::from(text.as_bytes()),
            span: Span::default(),
        }
    }
}

impl PartialEq for Text {
    /// Equal text; where it stood does not matter.
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

/// A whole configuration.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// What stands outside `http`: processes, files, limits, and the `events` block.
    pub main: Main,
    /// The `http` block.
    pub http: Option<Http>,
    /// The `stream` block, in the same shape: what it shares with `http` is read by the same rows, and what only requests
    /// have stays empty.
    pub stream: Option<Http>,
}

/// The `http` block.
#[derive(Clone, Debug, Default)]
pub struct Http {
    /// What applies where no server says otherwise.
    pub settings: Settings,
    /// `map` blocks in file order.
    pub maps: Vec<Map>,
    /// `geo` blocks in file order.
    pub geos: Vec<Geo>,
    /// `split_clients` blocks in file order.
    pub split_clients: Vec<SplitClients>,
    /// `limit_req_zone` and `limit_conn_zone` lines in file order.
    pub limit_zones: Vec<LimitZone>,
    /// `proxy_cache_path` lines and their like in file order.
    pub caches: Vec<CacheZone>,
    /// `charset_map` blocks in file order.
    pub charset_maps: Vec<CharsetMap>,
    /// `log_format` lines; the built-in `combined` is the first.
    pub log_formats: Vec<LogFormat>,
    /// `upstream` blocks in file order.
    pub upstreams: Vec<Upstream>,
    /// `match` blocks in file order.
    pub matches: Vec<MatchBlock>,
    /// `server` blocks in file order.
    pub servers: Vec<Server>,
    /// Where the block stood.
    pub pos: Span,
}

/// The settings of one level, each family shared with the level above until it is changed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Connections, requests, redirects, error pages, files.
    pub core: Arc<Core>,
    /// `proxy_*` of HTTP alone.
    pub proxy: Arc<Proxy>,
    /// `proxy_*` that other wires have too.
    pub proxy_pass: Arc<Pass>,
    /// `fastcgi_*` of FastCGI alone.
    pub fastcgi: Arc<Fastcgi>,
    /// `fastcgi_*` that other wires have too.
    pub fastcgi_pass: Arc<Pass>,
    /// `proxy_cache*`, `proxy_store*`.
    pub proxy_cache: Arc<Caching>,
    /// `fastcgi_cache*`, `fastcgi_store*`.
    pub fastcgi_cache: Arc<Caching>,
    /// `grpc_*` of gRPC alone.
    pub grpc: Arc<Grpc>,
    /// `grpc_*` that other wires have too.
    pub grpc_pass: Arc<Pass>,
    /// `add_header`, `expires` and their kin.
    pub headers: Arc<Headers>,
    /// Access logs.
    pub log: Arc<Log>,
    /// Switches of the rewrite family.
    pub rewrite: Arc<Rewriting>,
    /// `index`, `try_files`.
    pub files: Arc<Files>,
    /// `proxy_ssl_*`.
    pub proxy_ssl: Arc<PassSsl>,
    /// `grpc_ssl_*`.
    pub grpc_ssl: Arc<PassSsl>,
    /// `ssl_*`.
    pub ssl: Arc<Ssl>,
    /// `http2`, `http2_*`.
    pub http2: Arc<Http2>,
    /// `userid*`.
    pub userid: Arc<Userid>,
    /// `add_before_body`, `add_after_body`.
    pub addition: Arc<Addition>,
    /// `sub_filter*`.
    pub sub: Arc<SubFilter>,
    /// `ssi*`.
    pub ssi: Arc<SsiSettings>,
    /// `allow`, `deny`.
    pub access: Arc<Access>,
    /// `auth_request`, `mirror`, `slice`, `post_action`.
    pub subrequests: Arc<Subrequests>,
    /// `auth_basic`, `auth_basic_user_file`.
    pub auth_basic: Arc<AuthBasic>,
    /// `set_real_ip_from` and its kin.
    pub realip: Arc<Realip>,
    /// `valid_referers`.
    pub referer: Arc<Referer>,
    /// `secure_link*`.
    pub secure_link: Arc<SecureLink>,
    /// `limit_req`, `limit_conn`.
    pub limits: Arc<Limits>,
    /// `gzip*` and `gunzip*`.
    pub gzip: Arc<Gzip>,
    /// `brotli*`.
    pub brotli: Arc<Brotli>,
    /// `zstd*`.
    pub zstd: Arc<Zstd>,
    /// `charset` and its companions.
    pub charset: Arc<Charset>,
    /// Sessions of `stream`.
    pub stream: Arc<Stream>,
}

/// A `server` block.
#[derive(Clone, Debug)]
pub struct Server {
    /// What applies where no location says otherwise.
    pub settings: Settings,
    /// `listen` lines; never empty, the default one is filled in.
    pub listens: Vec<Listen>,
    /// `server_name` entries; never empty, a missing one is the empty name.
    pub names: Vec<Name>,
    /// `set`, `if`, `rewrite`, `return`, `break` of the server level, in order.
    pub script: Vec<Op>,
    /// Locations in file order; the bodies of server-level `if` blocks are among them.
    pub locations: Vec<Location>,
    /// What answers a request that no location takes; only `stub_status` may stand in a server.
    pub content: Content,
    /// Where the block stood.
    pub pos: Span,
}

/// A `location`, `if` or `limit_except` block.
#[derive(Clone, Debug)]
pub struct Location {
    /// How a request gets here.
    pub kind: Kind,
    /// The prefix, exact path, pattern or name (with its `@`); for `if` and `limit_except` that of the location around.
    pub path: Text,
    /// The settings in force here.
    pub settings: Settings,
    /// Who answers. An `if` inherits it from the location around; `limit_except` inherits a proxy only, as in nginx.
    pub content: Content,
    /// `health_check`.
    pub check: Option<Box<HealthCheck>>,
    /// `set`, `if`, `rewrite`, `return`, `break`, in order.
    pub script: Vec<Op>,
    /// Nested locations, bodies of `if` blocks and a `limit_except`, in file order.
    pub locations: Vec<Self>,
    /// Where the block stood.
    pub pos: Span,
}

/// How a request gets into a location.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `= /path`.
    Exact,
    /// `/path`.
    Prefix,
    /// `^~ /path`: a prefix that stops the search for regular expressions.
    NoRegex,
    /// `~ re` or `~* re`.
    Regex {
        /// `~*`.
        caseless: bool,
    },
    /// `@name`.
    Named,
    /// The body of an `if`; entered through the [`Op::If`] that points to it.
    If(Condition),
    /// Requests whose method is not one of these; `GET` includes `HEAD`.
    LimitExcept(Vec<Arc<[u8]>>),
}

/// What answers requests of a location.
#[derive(Clone, Debug, Default)]
pub enum Content {
    /// Files under `root` or `alias`.
    #[default]
    Files,
    /// `proxy_pass` and its kin.
    Proxy(Arc<ProxyPass>),
    /// `empty_gif`.
    EmptyGif,
    /// `stub_status`.
    StubStatus,
    /// `metrics`.
    Metrics,
    /// `status`.
    Status,
    /// A server of `stream`.
    Session(Session),
}

/// What happens to sessions of a server in `stream`.
#[derive(Clone, Debug)]
pub enum Session {
    /// Not said yet.
    Nothing,
    /// `proxy_pass`.
    Pass {
        /// The whole parameter.
        address: Text,
        /// Its parts, when it has no variables.
        target: Option<Target>,
    },
    /// `return`.
    Return(Text),
}

/// One step of the rewrite phase.
#[derive(Clone, Debug)]
pub enum Op {
    /// `set $variable value`.
    Set {
        /// Name without `$`.
        variable: Text,
        /// The new value.
        value: Text,
    },
    /// `rewrite`.
    Rewrite(Rewrite),
    /// `return`.
    Return(Return),
    /// `break`.
    Break,
    /// `if`: the location is an index into the `locations` of the same server or location.
    If {
        /// When to enter.
        condition: Condition,
        /// Which location to enter.
        location: usize,
    },
}

/// `rewrite regex replacement [flag]`.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// The pattern.
    pub regex: Text,
    /// What replaces the URI, without a final `?`.
    pub replacement: Text,
    /// The replacement ended in `?`: the request's arguments are not appended.
    pub drop_args: bool,
    /// What happens next.
    pub flag: RewriteFlag,
}

/// What a matching `rewrite` does after replacing the URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RewriteFlag {
    /// Goes on with the next rule.
    None,
    /// Searches for a location again.
    Last,
    /// Leaves the rewrite phase.
    Break,
    /// Answers 302; also chosen when the replacement is `http://`, `https://` or `$scheme`.
    Redirect,
    /// Answers 301.
    Permanent,
}

/// `return`.
#[derive(Clone, Debug)]
pub struct Return {
    /// The status.
    pub status: u16,
    /// The body, or the `Location` where the status is a redirect (301, 302, 303, 307, 308).
    pub text: Option<Text>,
    /// Written as `return URL`.
    pub bare_url: bool,
}

/// The condition of an `if`.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `$variable`: neither empty nor `0`.
    Truthy {
        /// Name without `$`.
        variable: Text,
    },
    /// `$variable = value` or `!=`.
    Equal {
        /// Name without `$`.
        variable: Text,
        /// What it is compared with.
        value: Text,
        /// `!=`.
        negate: bool,
    },
    /// `$variable ~ re`, `~*`, `!~`, `!~*`.
    Match {
        /// Name without `$`.
        variable: Text,
        /// The pattern.
        regex: Text,
        /// `~*`.
        caseless: bool,
        /// `!~`.
        negate: bool,
    },
    /// `-f`, `-d`, `-e`, `-x` and their negations.
    File {
        /// What is asked.
        test: FileTest,
        /// Of which path.
        path: Text,
        /// `!-f` and so on.
        negate: bool,
    },
}

/// The file tests of `if`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTest {
    /// `-f`: a plain file.
    Plain,
    /// `-d`: a directory.
    Directory,
    /// `-e`: anything.
    Exists,
    /// `-x`: an executable.
    Executable,
}

/// One `listen` address. A port range has been expanded.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Where to listen.
    pub addr: ListenAddr,
    /// `default_server` (or `default`).
    pub default_server: bool,
    /// `proxy_protocol`.
    pub proxy_protocol: bool,
    /// `ssl`.
    pub ssl: bool,
    /// `http2`.
    pub http2: bool,
    /// Socket options; `set` says that the line carried any, so it is the one that counts.
    pub options: ListenOptions,
    /// The parameter as written; empty for the implied `*:80`.
    pub text: Text,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddr {
    /// `*:80`, `127.0.0.1:80`, `[::]:80`.
    Inet(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `name:port`; whoever binds resolves it.
    Name(String, u16),
}

/// Socket options of a `listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Any of these was written.
    pub set: bool,
    /// `bind` or an option that implies it.
    pub bind: bool,
    /// `backlog=`, 511 by default.
    pub backlog: i32,
    /// `rcvbuf=`.
    pub rcvbuf: Option<usize>,
    /// `sndbuf=`.
    pub sndbuf: Option<usize>,
    /// `fastopen=`.
    pub fastopen: Option<i32>,
    /// `deferred`.
    pub deferred: bool,
    /// `ipv6only=`, on by default.
    pub ipv6only: bool,
    /// `reuseport`.
    pub reuseport: bool,
    /// `so_keepalive=`.
    pub so_keepalive: SoKeepalive,
    /// `multipath`.
    pub multipath: bool,
    /// `steer=client`: a client's address decides which shard gets its connections.
    pub steer: bool,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            set: false,
            bind: false,
            backlog: 511,
            rcvbuf: None,
            sndbuf: None,
            fastopen: None,
            deferred: false,
            ipv6only: true,
            reuseport: false,
            so_keepalive: SoKeepalive::System,
            multipath: false,
            steer: false,
        }
    }
}

/// `so_keepalive=` of a `listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoKeepalive {
    /// Not written: what the system does.
    System,
    /// `off`.
    Off,
    /// `on`, or `idle:interval:count` with the parts that were given.
    On {
        /// TCP_KEEPIDLE.
        idle: Option<Duration>,
        /// TCP_KEEPINTVL.
        interval: Option<Duration>,
        /// TCP_KEEPCNT.
        count: Option<u32>,
    },
}

/// One `server_name`.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// As written, lower-cased unless it is a pattern; a pattern comes without its `~`.
    pub text: Text,
    /// What it matches.
    pub kind: NameKind,
}

/// What a `server_name` matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// This name; may be empty.
    Exact,
    /// `*.example.com`.
    Suffix,
    /// `.example.com`: the name and everything under it.
    NameAndSuffix,
    /// `www.example.*`.
    Prefix,
    /// `~pattern`; caseless when it has upper-case letters, as in nginx.
    Regex {
        /// Compile without regard to case.
        caseless: bool,
    },
}

/// A `map` block.
#[derive(Clone, Debug)]
pub struct Map {
    /// What is looked up.
    pub source: Text,
    /// The variable it defines, without `$`.
    pub variable: Text,
    /// `hostnames`: `*.a`, `.a` and `a.*` are wildcards.
    pub hostnames: bool,
    /// `volatile`: not cached during a request.
    pub volatile: bool,
    /// `default`; the empty text if there is none.
    pub default: Text,
    /// The other entries in file order, a leading `\` removed.
    pub entries: Vec<MapEntry>,
    /// Where the block stood.
    pub pos: Span,
}

/// One entry of a `map`.
#[derive(Clone, Debug)]
pub struct MapEntry {
    /// The value it stands for, or the pattern without its `~`.
    pub key: Text,
    /// How the key is compared.
    pub kind: MapKey,
    /// The result; may hold variables.
    pub value: Text,
}

/// How the key of a `map` entry is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapKey {
    /// As text, without regard to case.
    Exact,
    /// `~` or `~*`.
    Regex {
        /// `~*`.
        caseless: bool,
    },
}

/// A `geo` block.
#[derive(Clone, Debug)]
pub struct Geo {
    /// The variable with the address, without `$`; `None` is the client's.
    pub source: Option<Text>,
    /// The variable it defines, without `$`.
    pub variable: Text,
    /// `ranges`: entries are IPv4 ranges, sorted, none of them overlap.
    pub ranges: bool,
    /// `proxy` networks, whose X-Forwarded-For is believed.
    pub proxies: Vec<Cidr>,
    /// `proxy_recursive`.
    pub proxy_recursive: bool,
    /// `volatile`: not cached during a request.
    pub volatile: bool,
    /// `default`; the empty text if there is none.
    pub default: Text,
    /// Networks in file order (no network twice) or sorted ranges; `delete` and duplicates are already applied.
    pub entries: Vec<GeoEntry>,
    /// Where the block stood.
    pub pos: Span,
}

/// One entry of a `geo`.
#[derive(Clone, Debug)]
pub struct GeoEntry {
    /// The lowest address.
    pub first: IpAddr,
    /// The highest address.
    pub last: IpAddr,
    /// The prefix length; for a range the longest that holds it.
    pub prefix: u8,
    /// The result.
    pub value: Text,
}

/// A `split_clients` block.
#[derive(Clone, Debug)]
pub struct SplitClients {
    /// What is hashed.
    pub key: Text,
    /// The variable it defines, without `$`.
    pub variable: Text,
    /// Shares in hundredths of a percent with their values; `None` is `*`, the rest.
    pub parts: Vec<(Option<u32>, Text)>,
    /// Where the block stood.
    pub pos: Span,
}

/// A `charset_map` block.
#[derive(Clone, Debug)]
pub struct CharsetMap {
    /// The charset of single bytes in the first column.
    pub from: Text,
    /// The charset of the second column; its characters are single bytes too unless it is `utf-8`.
    pub to: Text,
    /// A byte, and the byte or the UTF-8 sequence that it becomes.
    pub pairs: Vec<(u8, Vec<u8>)>,
}

/// A `log_format`.
#[derive(Clone, Debug)]
pub struct LogFormat {
    /// Its name.
    pub name: Arc<[u8]>,
    /// How values are escaped.
    pub escape: Escape,
    /// The format, its parameters joined.
    pub format: Text,
}

/// `escape=` of a `log_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// `\xHH`.
    #[default]
    Default,
    /// As a JSON string.
    Json,
    /// Not at all. A line break in a value is escaped all the same.
    None,
}

/// `root` or `alias`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Root {
    /// The path, made absolute unless it begins with a variable; no final slash for `root`.
    pub path: Text,
    /// `alias`: replaces the location's prefix instead of standing before the URI.
    pub alias: bool,
    /// For `alias`: bytes of the URI that it replaces, the length of the location it stands in; all of it where that is
    /// a regular expression.
    pub replaces: Option<usize>,
}

/// One `error_page`, spread out by status.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorPage {
    /// Which status it answers for.
    pub status: u16,
    /// `=NNN` is `Some(Some(NNN))`; a bare `=` is `Some(None)`, the status of the page decides.
    pub overwrite: Option<Option<u16>>,
    /// A path, a URL or an `@name`; may hold variables.
    pub uri: Text,
}

/// `add_header` and `add_trailer`.
#[derive(Clone, Debug, PartialEq)]
pub struct AddHeader {
    /// Field name.
    pub name: Arc<[u8]>,
    /// Field value; an empty result adds nothing.
    pub value: Text,
    /// For every status.
    pub always: bool,
}

/// `limit_req_zone` or `limit_conn_zone`.
#[derive(Clone, Debug)]
pub struct LimitZone {
    /// Its name.
    pub name: Arc<[u8]>,
    /// Its size in bytes.
    pub size: usize,
    /// What is counted.
    pub key: Text,
    /// `rate=` in thousandths of a request per second; `None` counts connections.
    pub rate: Option<u64>,
}

/// `limit_req`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitReq {
    /// The zone's name.
    pub zone: Arc<[u8]>,
    /// `burst=`, requests above the rate that are not rejected.
    pub burst: u64,
    /// `delay=`, requests above the rate that are not delayed; `None` is `nodelay`.
    pub delay: Option<u64>,
}

/// `limit_conn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitConn {
    /// The zone's name.
    pub zone: Arc<[u8]>,
    /// Requests in progress, at most.
    pub max: u32,
}

/// `allow` or `deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessRule {
    /// Whom it is about.
    pub source: Source,
    /// `deny`.
    pub deny: bool,
}

/// Addresses that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `all`.
    All,
    /// `unix:`: clients of unix sockets.
    Unix,
    /// An address or a network.
    Range(Cidr),
}

/// `expires`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Expires {
    /// `off`: adds nothing.
    #[default]
    Off,
    /// `epoch`.
    Epoch,
    /// `max`.
    Max,
    /// `[modified] TIME`, in seconds, from now or from the last modification.
    Offset {
        /// May be negative.
        seconds: i64,
        /// Counted from `Last-Modified`.
        modified: bool,
    },
    /// `@15h30m`: at this second of the local day.
    Daily(u32),
    /// A value with variables, read per request in the same grammar.
    Variable {
        /// The value.
        text: Text,
        /// `modified` came first.
        modified: bool,
    },
}

/// One `access_log`.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Where it goes.
    pub sink: LogSink,
    /// Index into [`Http::log_formats`].
    pub format: usize,
    /// Buffer in bytes, 0 for none.
    pub buffer: usize,
    /// How long a line may wait in the buffer.
    pub flush: Option<Duration>,
    /// `gzip[=level]`.
    pub gzip: Option<u8>,
    /// `if=`.
    pub condition: Option<Text>,
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq)]
pub enum LogSink {
    /// An absolute path.
    File(PathBuf),
    /// A path with variables.
    Variable(Text),
    /// `stderr`.
    Stderr,
    /// `syslog:…`.
    Syslog(Syslog),
}

/// `syslog:server=…`.
#[derive(Clone, Debug, PartialEq)]
pub struct Syslog {
    /// `host`, `host:port` or `unix:/path`.
    pub server: String,
    /// Facility number.
    pub facility: u8,
    /// Severity number.
    pub severity: u8,
    /// Tag.
    pub tag: String,
    /// `nohostname`.
    pub nohostname: bool,
}

/// One `error_log`.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorLog {
    /// Where it goes.
    pub sink: LogSink,
    /// How much of it.
    pub level: LogLevel,
    /// `format=json`: each line is an object.
    pub json: bool,
}

/// `N SIZE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffers {
    /// How many.
    pub count: u32,
    /// Bytes of each.
    pub size: usize,
}

/// A size that may be a variable.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount {
    /// Bytes.
    Fixed(usize),
    /// Evaluated per request in the size grammar.
    Text(Text),
}

/// `keepalive_timeout TIMEOUT [HEADER]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepaliveTimeout {
    /// Zero disables keep-alive.
    pub timeout: Duration,
    /// Told to the client in a `Keep-Alive` field.
    pub header: Option<Duration>,
}

/// A directory for temporary files with its hashed levels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TempPath {
    /// Absolute.
    pub path: PathBuf,
    /// Digits of each level, 0 for none.
    pub levels: [u8; 3],
}

/// `try_files`.
#[derive(Clone, Debug, PartialEq)]
pub struct TryFiles {
    /// Tested in order; a final `/` asks for a directory and is kept in the text.
    pub files: Vec<Text>,
    /// What happens when none exists.
    pub last: TryLast,
}

/// The last parameter of `try_files`.
#[derive(Clone, Debug, PartialEq)]
pub enum TryLast {
    /// A URI or `@name`.
    Uri(Text),
    /// `=404`.
    Status(u16),
}

/// A content type and the extension it belongs to.
pub type MimeType = (Arc<[u8]>, Arc<[u8]>);

/// Reads a configuration from a text as `/etc/ringx/test.conf`, for the tests of modules above.
#[cfg(test)]
pub(crate) fn load_text(text: &str) -> super::Loaded {
    let file = PathBuf::from("/etc/ringx/test.conf");
    let prefix = PathBuf::from("/etc/ringx");
    let mut source = super::source::Memory::default();
    source.0.insert(file.clone(), Arc::from(text.as_bytes()));
    super::load(&source, &file, &prefix, None, super::Identity::Ringx)
}
