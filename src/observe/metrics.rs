//! The process's numbers as text for a scraper: OpenMetrics 1.0, or the older format of Prometheus.
//!
//! The first families have the names of nginx's own exporter, so that its dashboards and alerts go on working; the
//! others begin with `ringx_`. Labels are names of the configuration, never a client's words. Start at [`text`].

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use super::counters::{FLOODS, Totals};
use super::live::{CheckNow, Live, OUTCOMES};
use super::sessions::{STATUSES, SessionSums};
use super::tally::{
    BUCKET_ENDS_US, CACHE_WORDS, CLASSES, LIMIT_WORDS, LocationSums, PeerSums, Report,
};
use super::view::{CacheView, LimitView, View};
use crate::plan::Plan;

/// A peer as the shard that is asked sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Its group.
    pub group: String,
    /// Its address.
    pub peer: String,
    /// It is asked at present.
    pub up: bool,
    /// Why it is or is not: `up`, `draining`, `down`, `unhealthy`, `failed`.
    pub state: &'static str,
    /// Requests in progress.
    pub active: u32,
    /// Failures within `fail_timeout`.
    pub fails: u32,
    /// The group has a `zone`: what is in progress was counted over all shards.
    pub shared: bool,
    /// `weight`.
    pub weight: u32,
    /// `backup`.
    pub backup: bool,
}

/// What is told of the process as a whole.
#[derive(Clone)]
pub struct Facts {
    /// The program's version.
    pub version: &'static str,
    /// How the shards do their io.
    pub driver: &'static str,
    /// Number of the configuration in force.
    pub generation: u64,
    /// Since the process started, in milliseconds.
    pub uptime_ms: u64,
    /// Which shard answers.
    pub shard: usize,
    /// Of each shard.
    pub shards: Vec<Totals>,
    /// Of all shards.
    pub totals: Totals,
    /// The configuration in force.
    pub plan: Arc<Plan>,
    /// What the answering shard has just now.
    pub own: Live,
}

/// What the scraper asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/openmetrics-text`.
    OpenMetrics,
    /// `text/plain; version=0.0.4`.
    Prometheus,
}

impl Format {
    /// As `Content-Type` says it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

struct Writer {
    out: String,
    format: Format,
}

/// Writing to a String cannot fail.
macro_rules! put {
    ($out:expr, $($what:tt)*) => {
        let _ = write!($out, $($what)*);
    };
}

impl Writer {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // A counter of OpenMetrics is called without the ending of its samples, and has to have that ending.
        let (name, kind) = match (self.format, kind, name.strip_suffix("_total")) {
            (Format::OpenMetrics, "counter", Some(base)) => (base, kind),
            (Format::OpenMetrics, "counter", None) => (name, "unknown"),
            _ => (name, kind),
        };
        put!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(name);
        let mut mark = '{';
        for (label, text) in labels {
            put!(self.out, "{mark}{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    c => self.out.push(c),
                }
            }
            self.out.push('"');
            mark = ',';
        }
        if mark == ',' {
            self.out.push('}');
        }
        put!(self.out, " {value}\n");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

/// All families.
pub fn text(facts: &Facts, report: &Report, format: Format) -> String {
    let mut writer = Writer {
        out: String::with_capacity(4096),
        format,
    };
    let view = View::of(facts, report);
    process(&mut writer, facts);
    shards(&mut writer, facts, &view);
    requests(&mut writer, report);
    peers(&mut writer, &view, report);
    checks(&mut writer, &view);
    sessions(&mut writer, report);
    caches(&mut writer, &view);
    limits(&mut writer, &view);
    tls(&mut writer, facts, &view);
    others(&mut writer, facts, &view);
    if format == Format::OpenMetrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out
}

fn process(w: &mut Writer, facts: &Facts) {
    let totals = &facts.totals;
    w.single("nginx_up", "gauge", "Whether the process answers.", 1);
    for (name, kind, help, value) in [
        (
            "accepted",
            "counter",
            "Accepted client connections.",
            totals.accepted,
        ),
        ("active", "gauge", "Open client connections.", totals.active),
        (
            "handled",
            "counter",
            "Client connections that were served.",
            totals.handled,
        ),
        (
            "reading",
            "gauge",
            "Connections whose request head is being read.",
            totals.reading,
        ),
        (
            "waiting",
            "gauge",
            "Idle client connections.",
            totals.waiting(),
        ),
        (
            "writing",
            "gauge",
            "Requests being answered.",
            totals.writing,
        ),
    ] {
        w.single(&format!("nginx_connections_{name}"), kind, help, value);
    }
    w.single(
        "nginx_http_requests_total",
        "counter",
        "Requests read.",
        totals.requests,
    );
    w.family("ringx_build_info", "gauge", "What is running.");
    let labels = [("version", facts.version), ("driver", facts.driver)];
    w.sample("ringx_build_info", &labels, 1);
    w.single(
        "ringx_config_generation",
        "gauge",
        "Number of the configuration in force.",
        facts.generation,
    );
    let uptime = facts.uptime_ms as f64 / 1000.0;
    w.single(
        "ringx_uptime_seconds",
        "gauge",
        "Seconds since the process started.",
        uptime,
    );
    w.single(
        "ringx_panics_total",
        "counter",
        "Exchanges that a defect of this program ended.",
        totals.panics,
    );
    w.family(
        "ringx_http2_floods_total",
        "counter",
        "Connections that clients of HTTP/2 lost for making work for nothing.",
    );
    for (kind, count) in FLOODS.iter().zip(totals.floods) {
        w.sample("ringx_http2_floods_total", &[("kind", kind)], count);
    }
}

/// What each shard does.
fn shards(w: &mut Writer, facts: &Facts, view: &View) {
    let counts: [(Column<Totals, u64>, &str); 2] = [
        (
            (
                "ringx_shard_requests_total",
                "Requests read, by shard.",
                |t| t.requests,
            ),
            "counter",
        ),
        (
            (
                "ringx_shard_connections_active",
                "Open client connections, by shard.",
                |t| t.active,
            ),
            "gauge",
        ),
    ];
    for ((name, help, value), kind) in counts {
        w.family(name, kind, help);
        for (shard, totals) in facts.shards.iter().enumerate() {
            w.sample(name, &[("shard", &shard.to_string())], value(totals));
        }
    }
    let name = "ringx_shard_cpu_seconds_total";
    w.family(name, "counter", "Processor time of a shard.");
    for (shard, load) in view.shards.iter().enumerate() {
        let seconds = load.cpu_us as f64 / 1e6;
        w.sample(name, &[("shard", &shard.to_string())], seconds);
    }
    let name = "ringx_shard_loop_lag_seconds";
    let help = "How late a shard's recurring work ran at worst within the last half second.";
    w.family(name, "gauge", help);
    for (shard, load) in view.shards.iter().enumerate() {
        let seconds = load.lag_ms as f64 / 1e3;
        w.sample(name, &[("shard", &shard.to_string())], seconds);
    }
}

fn caches(w: &mut Writer, view: &View) {
    let words: [Column<CacheView, [u64; CACHE_WORDS.len()]>; 2] = [
        (
            "ringx_cache_requests_total",
            "Requests that a cache was asked about, by what it said.",
            |c| c.requests,
        ),
        (
            "ringx_cache_response_bytes_total",
            "Bytes of their answers.",
            |c| c.sent,
        ),
    ];
    for (name, help, value) in words {
        w.family(name, "counter", help);
        for cache in &view.caches {
            for (word, value) in CACHE_WORDS.iter().zip(value(cache)) {
                w.sample(name, &[("zone", &cache.zone), ("status", word)], value);
            }
        }
    }
    let numbers: [(Column<CacheView, Option<u64>>, &str); 5] = [
        (
            ("ringx_cache_bytes", "Bytes on disk.", |c| Some(c.bytes)),
            "gauge",
        ),
        (
            (
                "ringx_cache_max_bytes",
                "Bytes that there may be on disk.",
                |c| c.max_bytes,
            ),
            "gauge",
        ),
        (
            ("ringx_cache_entries", "Stored answers.", |c| {
                Some(c.entries)
            }),
            "gauge",
        ),
        (
            (
                "ringx_cache_memory_bytes",
                "Bytes of the copies that shards have in memory.",
                |c| Some(c.hot_bytes),
            ),
            "gauge",
        ),
        (
            (
                "ringx_cache_evictions_total",
                "Answers that were removed for their age or for room.",
                |c| Some(c.evicted),
            ),
            "counter",
        ),
    ];
    for ((name, help, value), kind) in numbers {
        w.family(name, kind, help);
        for cache in &view.caches {
            if let Some(value) = value(cache) {
                w.sample(name, &[("zone", &cache.zone)], value);
            }
        }
    }
}

fn limits(w: &mut Writer, view: &View) {
    let name = "ringx_limit_requests_total";
    w.family(
        name,
        "counter",
        "Requests that a limit was asked about, by what it said.",
    );
    for limit in &view.limits {
        for (word, value) in LIMIT_WORDS.iter().zip(limit.requests) {
            let labels = [
                ("zone", &limit.zone[..]),
                ("kind", limit.kind),
                ("outcome", word),
            ];
            w.sample(name, &labels, value);
        }
    }
    let numbers: [Column<LimitView, u64>; 3] = [
        ("ringx_limit_zone_keys", "Keys in a zone.", |l| l.keys),
        (
            "ringx_limit_zone_used_bytes",
            "Bytes that the keys of a zone take.",
            |l| l.used,
        ),
        ("ringx_limit_zone_bytes", "The size of a zone.", |l| l.size),
    ];
    for (name, help, value) in numbers {
        w.family(name, "gauge", help);
        for limit in &view.limits {
            w.sample(name, &[("zone", &limit.zone)], value(limit));
        }
    }
}

/// Versions and whether a session was taken up, in the order of [`Totals::handshakes`].
const HANDSHAKES: [(&str, &str); 4] = [
    ("TLSv1.2", "no"),
    ("TLSv1.2", "yes"),
    ("TLSv1.3", "no"),
    ("TLSv1.3", "yes"),
];

fn tls(w: &mut Writer, facts: &Facts, view: &View) {
    let name = "ringx_tls_handshakes_total";
    w.family(name, "counter", "Handshakes with clients.");
    for ((version, resumed), count) in HANDSHAKES.iter().zip(facts.totals.handshakes) {
        w.sample(name, &[("version", version), ("resumed", resumed)], count);
    }
    w.single(
        "ringx_tls_handshakes_failed_total",
        "counter",
        "Handshakes with clients that failed.",
        facts.totals.handshakes_failed,
    );
    let name = "ringx_tls_cert_expiry_timestamp_seconds";
    w.family(name, "gauge", "When a certificate ends.");
    for certificate in &view.certificates {
        let labels = [
            ("server", &certificate.server[..]),
            ("certificate", &certificate.file),
        ];
        w.sample(name, &labels, certificate.ends);
    }
}

/// Splicing, names, epochs.
fn others(w: &mut Writer, facts: &Facts, view: &View) {
    let name = "ringx_splice_bytes_total";
    w.family(name, "counter", "Bytes that went past user space.");
    w.sample(name, &[("direction", "up")], facts.totals.spliced_up);
    w.sample(name, &[("direction", "down")], facts.totals.spliced_down);
    let name = "ringx_splice_pipes";
    w.family(name, "gauge", "Pipes for it.");
    w.sample(name, &[("state", "used")], view.pipes.0);
    w.sample(name, &[("state", "free")], view.pipes.1);
    let name = "ringx_resolver_lookups_total";
    w.family(name, "counter", "Names that requests needed addresses of.");
    let resolver = &view.resolver;
    for (result, count) in [
        ("known", resolver.known),
        ("found", resolver.found),
        ("failed", resolver.failed),
        ("timed_out", resolver.timed_out),
    ] {
        w.sample(name, &[("result", result)], count);
    }
    let name = "ringx_config_epoch_shards";
    w.family(
        name,
        "gauge",
        "How many shards still have an epoch of the configuration.",
    );
    for (epoch, shards) in &view.epochs {
        w.sample(name, &[("epoch", &epoch.to_string())], shards);
    }
}

/// A family of one number for each row: its name, what it means, and the number.
type Column<Row, Number> = (&'static str, &'static str, fn(&Row) -> Number);

/// How a class of answers is labelled.
const CODES: [&str; CLASSES] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn requests(w: &mut Writer, report: &Report) {
    let name = "ringx_http_requests_total";
    w.family(name, "counter", "Requests by location and class of answer.");
    for ((server, location), sums) in &report.locations {
        for (class, code) in CODES.iter().enumerate() {
            let value = sums.class(class);
            // All locations are told; classes that never occurred would only make the text longer.
            if value > 0 || class == 2 {
                let labels = [
                    ("server", &server[..]),
                    ("location", location),
                    ("code", code),
                ];
                w.sample(name, &labels, value);
            }
        }
    }
    let bytes: [Column<LocationSums, u64>; 2] = [
        (
            "ringx_http_request_bytes_total",
            "Bytes that came from clients.",
            LocationSums::received,
        ),
        (
            "ringx_http_response_bytes_total",
            "Bytes that went to clients.",
            LocationSums::sent,
        ),
    ];
    for (name, help, value) in bytes {
        w.family(name, "counter", help);
        for ((server, location), sums) in &report.locations {
            w.sample(
                name,
                &[("server", server), ("location", location)],
                value(sums),
            );
        }
    }
    let name = "ringx_http_request_duration_seconds";
    w.family(
        name,
        "histogram",
        "Time from a request's first byte to its end.",
    );
    for ((server, location), sums) in &report.locations {
        let mut below = 0;
        let ends = BUCKET_ENDS_US
            .iter()
            .map(|&us| (us as f64 / 1e6).to_string());
        for (count, end) in sums.buckets().iter().zip(ends.chain(["+Inf".to_owned()])) {
            below += count;
            let labels = [
                ("server", &server[..]),
                ("location", location),
                ("le", &end),
            ];
            w.sample(&format!("{name}_bucket"), &labels, below);
        }
        let labels = [("server", &server[..]), ("location", &location[..])];
        w.sample(&format!("{name}_sum"), &labels, sums.took_us() as f64 / 1e6);
        w.sample(&format!("{name}_count"), &labels, below);
    }
    let name = "ringx_http_request_latency_seconds";
    w.family(
        name,
        "gauge",
        "Durations that a share of all requests did not exceed.",
    );
    for quantile in ["0.5", "0.9", "0.99", "0.999"] {
        let share = quantile.parse().unwrap_or(1.0);
        let value = report.latency.quantile(share).as_secs_f64();
        w.sample(name, &[("quantile", quantile)], value);
    }
}

fn peers(w: &mut Writer, view: &View, report: &Report) {
    let name = "ringx_upstream_requests_total";
    w.family(name, "counter", "Attempts by peer and class of answer.");
    for ((group, peer), sums) in &report.peers {
        for (class, code) in CODES.iter().enumerate() {
            let value = sums.class(class);
            if value > 0 || class == 2 {
                w.sample(
                    name,
                    &[("upstream", group), ("peer", peer), ("code", code)],
                    value,
                );
            }
        }
    }
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let sums: [(Column<PeerSums, u64>, bool); 4] = [
        (
            (
                "ringx_upstream_received_bytes_total",
                "Bytes that came from peers.",
                PeerSums::received,
            ),
            false,
        ),
        (
            (
                "ringx_upstream_sent_bytes_total",
                "Bytes that went to peers.",
                PeerSums::sent,
            ),
            false,
        ),
        (
            (
                "ringx_upstream_connect_seconds_total",
                "Time until peers were connected to.",
                PeerSums::connect_ms,
            ),
            true,
        ),
        (
            (
                "ringx_upstream_response_seconds_total",
                "Time until answers of peers ended.",
                PeerSums::took_ms,
            ),
            true,
        ),
    ];
    for ((name, help, value), timed) in sums {
        w.family(name, "counter", help);
        for ((group, peer), sums) in &report.peers {
            let labels = [("upstream", &group[..]), ("peer", &peer[..])];
            let value = value(sums);
            if timed {
                w.sample(name, &labels, seconds(value));
            } else {
                w.sample(name, &labels, value);
            }
        }
    }
    states(w, view);
}

/// What active health checks found.
fn checks(w: &mut Writer, view: &View) {
    let name = "ringx_health_checks_total";
    w.family(name, "counter", "Health checks of a peer by outcome.");
    for ((group, peer), check) in &view.checks {
        for (word, value) in OUTCOMES.iter().zip(check.outcomes) {
            let labels = [("upstream", &group[..]), ("peer", peer), ("outcome", word)];
            w.sample(name, &labels, value);
        }
    }
    let numbers: [Column<CheckNow, f64>; 2] = [
        (
            "ringx_health_check_duration_seconds",
            "How long the latest health check of a peer took.",
            |c| c.took_us as f64 / 1e6,
        ),
        (
            "ringx_health_check_healthy",
            "Whether the health checks of a peer are content with it.",
            |c| f64::from(u8::from(c.healthy)),
        ),
    ];
    for (name, help, value) in numbers {
        w.family(name, "gauge", help);
        for ((group, peer), check) in &view.checks {
            let labels = [("upstream", &group[..]), ("peer", peer)];
            w.sample(name, &labels, value(check));
        }
    }
}

/// Sessions of `stream {}`. Their backends are peers as all others: `200` is a session that was passed on.
fn sessions(w: &mut Writer, report: &Report) {
    let name = "ringx_stream_sessions_total";
    w.family(name, "counter", "Sessions that ended, by status.");
    for (listener, sums) in &report.sessions {
        for (place, status) in STATUSES.iter().enumerate() {
            let labels = [("listen", &listener[..]), ("status", status)];
            w.sample(name, &labels, sums.ended(place));
        }
    }
    let numbers: [(Column<SessionSums, u64>, &str); 4] = [
        (
            (
                "ringx_stream_sessions_active",
                "Sessions in progress.",
                SessionSums::active,
            ),
            "gauge",
        ),
        (
            (
                "ringx_stream_received_bytes_total",
                "Bytes that came from clients of sessions that ended.",
                SessionSums::received,
            ),
            "counter",
        ),
        (
            (
                "ringx_stream_sent_bytes_total",
                "Bytes that went to them.",
                SessionSums::sent,
            ),
            "counter",
        ),
        (
            (
                "ringx_stream_connect_failures_total",
                "Attempts of sessions that came to no connection to a backend.",
                SessionSums::unconnected,
            ),
            "counter",
        ),
    ];
    for ((name, help, value), kind) in numbers {
        w.family(name, kind, help);
        for (listener, sums) in &report.sessions {
            w.sample(name, &[("listen", listener)], value(sums));
        }
    }
}

/// Peers as they are at the moment.
fn states(w: &mut Writer, view: &View) {
    let views: [Column<PeerView, u32>; 4] = [
        (
            "ringx_upstream_up",
            "Whether a peer is asked, as all shards see it.",
            |p| u32::from(p.up),
        ),
        (
            "ringx_upstream_inflight",
            "Requests in progress on a peer.",
            |p| p.active,
        ),
        (
            "ringx_upstream_fails",
            "Failures of a peer within its fail_timeout.",
            |p| p.fails,
        ),
        ("ringx_upstream_weight", "Weight of a peer.", |p| p.weight),
    ];
    for (name, help, value) in views {
        w.family(name, "gauge", help);
        for peer in &view.peers {
            w.sample(
                name,
                &[("upstream", &peer.group), ("peer", &peer.peer)],
                value(peer),
            );
        }
    }
    let name = "ringx_upstream_state";
    w.family(name, "gauge", "Why a peer is asked or not.");
    for peer in &view.peers {
        let labels = [
            ("upstream", &peer.group[..]),
            ("peer", &peer.peer),
            ("state", peer.state),
        ];
        w.sample(name, &labels, 1);
    }
}
