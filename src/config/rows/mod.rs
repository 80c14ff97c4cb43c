//! The directive table by family. A file here holds a family's settings, its rows, and the setters of its irregular
//! directives; [`FAMILIES`] is the whole table.

pub mod access;
pub mod addition;
pub mod auth_basic;
pub mod brotli;
pub mod cache;
pub mod charset;
mod checks;
pub mod core;
pub mod fastcgi;
pub mod files;
pub mod grpc;
pub mod gzip;
pub mod headers;
mod health;
pub mod http2;
pub mod limits;
pub mod log;
pub mod main;
mod map;
pub mod operate;
pub mod parse_cache;
pub(crate) mod parse_core;
pub(crate) mod parse_proxy;
pub mod pass;
pub mod pass_ssl;
pub mod proxy;
pub mod realip;
pub mod referer;
mod refused;
pub mod rewrite;
pub mod secure_link;
mod server;
mod shard;
pub mod ssi;
pub mod ssl;
pub(crate) mod sticky;
pub mod stream;
pub mod sub;
pub mod subrequest;
pub(crate) mod syslog;
mod upstream;
pub mod userid;
mod zones;
pub mod zstd;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::lower::Told;
use super::model::*;
use super::table::{Args, Inherit, Row, args, row};
use super::tree::{Span, Word};

/// The directive that the readers resolve; one that reaches the table has the wrong form.
const INCLUDE: &[Row] = &[row(
    "include",
    Row::ANYWHERE,
    args(1),
    super::table::nothing,
    "Reads other files in place.",
)
.many()];

/// The families in the order of lookup, each with its heading.
pub(crate) const FAMILIES: &[(&str, &[&[Row]])] = &[
    ("Process and events", &[main::ROWS, INCLUDE]),
    ("What a shard is built of", &[shard::ROWS]),
    ("Operation", &[operate::ROWS]),
    ("Servers and locations", &[server::ROWS]),
    ("HTTP core", &[core::FIELD_ROWS, core::ROWS]),
    (
        "Proxying",
        &[
            proxy::ROWS,
            proxy::FIELD_ROWS,
            pass::PROXY_ROWS,
            pass::PROXY_TEMP_ROWS,
            cache::PROXY_ROWS,
            cache::HTTP_ROWS,
        ],
    ),
    (
        "FastCGI",
        &[
            fastcgi::ROWS,
            fastcgi::FIELD_ROWS,
            pass::FASTCGI_ROWS,
            pass::FASTCGI_TEMP_ROWS,
            cache::FASTCGI_ROWS,
        ],
    ),
    ("gRPC", &[grpc::ROWS, grpc::FIELD_ROWS, pass::GRPC_ROWS]),
    ("TLS", &[ssl::FIELD_ROWS, ssl::ROWS]),
    (
        "TLS to backends",
        &[pass_ssl::PROXY_ROWS, pass_ssl::GRPC_ROWS],
    ),
    ("HTTP/2", &[http2::ROWS, http2::FIELD_ROWS]),
    (
        "Upstream groups",
        &[upstream::ROWS, sticky::ROWS, health::ROWS],
    ),
    ("Rewriting", &[rewrite::ROWS, rewrite::FIELD_ROWS]),
    ("Variables", &[map::ROWS]),
    ("Headers", &[headers::FIELD_ROWS]),
    ("Logs", &[log::ROWS, log::FIELD_ROWS]),
    ("Files", &[files::ROWS, files::FIELD_ROWS]),
    ("User ids", &[userid::FIELD_ROWS]),
    ("Additions to bodies", &[addition::FIELD_ROWS]),
    ("Replacing text", &[sub::FIELD_ROWS]),
    ("Commands in pages", &[ssi::FIELD_ROWS]),
    ("Access", &[access::ROWS]),
    ("Subrequests", &[subrequest::FIELD_ROWS]),
    ("Passwords", &[auth_basic::FIELD_ROWS]),
    ("Client addresses", &[realip::FIELD_ROWS]),
    ("Referers", &[referer::FIELD_ROWS, referer::ROWS]),
    ("Signed links", &[secure_link::ROWS]),
    ("Limits", &[limits::ROWS, limits::FIELD_ROWS]),
    (
        "Compression",
        &[
            gzip::FIELD_ROWS,
            gzip::ROWS,
            brotli::FIELD_ROWS,
            zstd::FIELD_ROWS,
            zstd::ROWS,
        ],
    ),
    ("TCP", &[stream::ROWS, stream::FIELD_ROWS]),
    ("Charsets", &[charset::FIELD_ROWS, charset::ROWS]),
    ("Not yet", &[refused::ROWS]),
];

/// Every row.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    FAMILIES
        .iter()
        .flat_map(|(_, parts)| parts.iter())
        .flat_map(|rows| rows.iter())
}

/// The rows of a name; more than one where a name means different things in different blocks.
pub(crate) fn find(name: &[u8]) -> &'static [&'static Row] {
    static INDEX: LazyLock<HashMap<&'static [u8], Vec<&'static Row>>> = LazyLock::new(|| {
        let mut index: HashMap<&'static [u8], Vec<&'static Row>> = HashMap::new();
        for row in all() {
            index.entry(row.name.as_bytes()).or_default().push(row);
        }
        index
    });
    INDEX.get(name).map_or(&[], Vec::as_slice)
}

/// How to take back what a block never inherits.
pub(crate) fn never_inherited() -> &'static [fn(&mut Settings)] {
    static CLEARS: LazyLock<Vec<fn(&mut Settings)>> = LazyLock::new(|| {
        all()
            .filter(|r| r.inherit == Inherit::Never)
            .filter_map(|r| r.clear)
            .collect()
    });
    &CLEARS
}

/// What rows of one load know of each other.
#[derive(Default)]
pub(crate) struct Shared {
    /// Log formats by name in lower case.
    pub(crate) formats: HashMap<Vec<u8>, usize>,
    /// Buffered logs, which must agree wherever they are named: size, flush, compression.
    pub(crate) buffered: HashMap<PathBuf, (usize, Option<Duration>, Option<u8>)>,
    /// Unsupported directives that have been told about; each once is enough.
    pub(crate) refused: HashSet<&'static str>,
    /// Names of groups so far.
    pub(crate) groups: HashSet<Vec<u8>>,
    /// Memory zones by name.
    pub(crate) zones: HashMap<Arc<[u8]>, zones::Zone>,
    /// Zones of `sticky learn`, with the group that each belongs to.
    pub(crate) sticky: HashMap<Vec<u8>, Arc<[u8]>>,
    /// Zones that `…_cache` names, with the directive.
    pub(crate) caches: Vec<(String, Text, Span)>,
    /// Literal addresses of backends, to be compared with the groups.
    pub(crate) targets: Vec<(Target, WireKind, Span)>,
    /// Where `http` sets a buffer size, by the prefix of its family.
    pub(crate) buffers_set: HashMap<&'static str, Span>,
    /// Buffer sizes that have been complained about.
    pub(crate) buffers_told: Told,
}

/// Defaults that depend on the prefix.
pub(crate) fn initial(prefix: &Path, settings: &mut Settings) {
    let word = |text: &str| Word {
        bytes: Arc::from(text.as_bytes()),
        span: Span::default(),
    };
    let temp = |text: &str| {
        let words = [word(text)];
        let mut args = Args {
            name: text,
            words: &words,
            prefix,
            warnings: Vec::new(),
        };
        parse_core::temp_path(&mut args).unwrap_or_default()
    };
    let core = Arc::make_mut(&mut settings.core);
    core.client_body_temp_path = temp("client_body_temp");
    let html = prefix.join("html").to_string_lossy().into_owned();
    core.root = Arc::new(Root {
        path: Text::from(&html[..]),
        alias: false,
        replaces: None,
    });
    Arc::make_mut(&mut settings.proxy_pass).temp_path = temp("proxy_temp");
    Arc::make_mut(&mut settings.fastcgi_pass).temp_path = temp("fastcgi_temp");
    // Calls go both ways at once: nothing of them waits for the rest.
    let grpc = Arc::make_mut(&mut settings.grpc_pass);
    (grpc.buffering, grpc.request_buffering) = (false, false);
    let log = AccessLog {
        sink: LogSink::File(prefix.join("logs/access.log")),
        format: 0,
        buffer: 0,
        flush: None,
        gzip: None,
        condition: None,
    };
    Arc::make_mut(&mut settings.log).access_log = Some(Arc::new(vec![log]));
}
