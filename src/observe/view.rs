//! What both the text for scrapers and the JSON tell, besides sums by location and peer: caches, limits, certificates,
//! epochs, shards. Put together from a plan, what was counted under it, and what shards said last. Start at
//! [`View::of`].

use std::collections::BTreeMap;

use super::live::{self, CheckNow, ResolverNow};
use super::metrics::{Facts, PeerView};
use super::tally::{CACHE_WORDS, LIMIT_WORDS, Report, location_name, server_name};
use crate::net::tls::certificate;
use crate::plan::location::{Content, ProxyTarget};
use crate::plan::tls::Pair;

/// What a store has and did.
#[derive(Clone, Debug, Default)]
pub struct CacheView {
    /// The zone's name.
    pub zone: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes that there may be; none without a bound.
    pub max_bytes: Option<u64>,
    /// Stored answers.
    pub entries: u64,
    /// Bytes of what shards have in memory, all copies counted.
    pub hot_bytes: u64,
    /// Answers that were removed for their age or for room.
    pub evicted: u64,
    /// Requests by [`CACHE_WORDS`].
    pub requests: [u64; CACHE_WORDS.len()],
    /// Bytes of their answers.
    pub sent: [u64; CACHE_WORDS.len()],
}

/// What a zone of limits has and did.
#[derive(Clone, Debug, Default)]
pub struct LimitView {
    /// Its name.
    pub zone: String,
    /// `requests` or `connections`.
    pub kind: &'static str,
    /// Thousandths of a request per second; 0 for connections.
    pub rate: u64,
    /// Its size in bytes, as the configuration says it.
    pub size: u64,
    /// Keys in it.
    pub keys: u64,
    /// Bytes that they take.
    pub used: u64,
    /// Bytes that there are for keys.
    pub room: u64,
    /// Requests by [`LIMIT_WORDS`].
    pub requests: [u64; LIMIT_WORDS.len()],
}

/// A certificate that clients are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateView {
    /// The server's first name, or `_`.
    pub server: String,
    /// Its file.
    pub file: String,
    /// When it ends, in seconds since 1970.
    pub ends: i64,
}

/// The load of a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShardView {
    /// Processor time in microseconds.
    pub cpu_us: u64,
    /// How late its recurring work ran at worst, within the last moment, in milliseconds.
    pub lag_ms: u64,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// `proxy_cache_path` and its like.
    pub caches: Vec<CacheView>,
    /// `limit_req_zone` and `limit_conn_zone`.
    pub limits: Vec<LimitView>,
    /// Certificates that are known when the configuration is.
    pub certificates: Vec<CertificateView>,
    /// All peers of all groups.
    pub peers: Vec<PeerView>,
    /// Health checks by group and peer.
    pub checks: BTreeMap<(String, String), CheckNow>,
    /// By the number of the shard.
    pub shards: Vec<ShardView>,
    /// Pipes that hold bytes, and those that are kept empty.
    pub pipes: (usize, usize),
    /// What resolvers did.
    pub resolver: ResolverNow,
    /// What answers in a location, by server and location: the name of its upstream group, or a word in brackets.
    pub handlers: BTreeMap<(String, String), String>,
    /// How many shards have each epoch.
    pub epochs: Vec<(u64, usize)>,
}

impl View {
    /// Puts it together. Reads certificates: not for a shard's thread.
    #[must_use]
    pub fn of(facts: &Facts, report: &Report) -> Self {
        let mut view = Self {
            caches: caches(facts, report),
            limits: limits(facts, report),
            certificates: certificates(facts),
            peers: live::peers(&report.live),
            checks: live::checks(&report.live),
            shards: vec![ShardView::default(); facts.shards.len()],
            handlers: handlers(facts),
            epochs: report.epochs.iter().map(|(id, n)| (*id, *n)).collect(),
            ..Self::default()
        };
        for live in &report.live {
            if let Some(shard) = view.shards.get_mut(live.shard) {
                *shard = ShardView {
                    cpu_us: live.cpu_us,
                    lag_ms: live.lag_ms,
                };
            }
            view.pipes.0 += live.pipes.0;
            view.pipes.1 += live.pipes.1;
            view.resolver.add(&live.resolver);
        }
        view
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn caches(facts: &Facts, report: &Report) -> Vec<CacheView> {
    let each = facts.plan.stores.iter().map(|store| {
        let zone = text(&store.name);
        let sums = report.stores.get(&zone).copied().unwrap_or_default();
        let mut view = CacheView {
            max_bytes: store.max_size,
            ..CacheView::default()
        };
        for (at, sum) in sums.into_iter().enumerate() {
            match at.checked_sub(CACHE_WORDS.len()) {
                None => view.requests[at] = sum,
                Some(at) => view.sent[at] = sum,
            }
        }
        let parts = report.live.iter().flat_map(|live| &live.stores);
        for part in parts.filter(|part| part.name == store.name) {
            view.bytes += part.disk.0;
            view.entries += part.disk.1;
            view.hot_bytes += part.hot.0;
            view.evicted += part.evicted;
        }
        CacheView { zone, ..view }
    });
    each.collect()
}

fn limits(facts: &Facts, report: &Report) -> Vec<LimitView> {
    let each = facts.plan.limit_zones.iter().map(|zone| {
        let name = text(&zone.name);
        let mut view = LimitView {
            kind: match zone.rate {
                0 => "connections",
                _ => "requests",
            },
            rate: zone.rate,
            size: zone.table.bytes,
            requests: report.zones.get(&name).copied().unwrap_or_default(),
            ..LimitView::default()
        };
        let parts = report.live.iter().flat_map(|live| &live.zones);
        for part in parts.filter(|part| part.table == zone.table.id) {
            view.keys += part.keys;
            view.used += part.used;
            view.room += part.room;
        }
        LimitView { zone: name, ..view }
    });
    each.collect()
}

fn certificates(facts: &Facts) -> Vec<CertificateView> {
    let mut all = Vec::new();
    for server in facts.plan.servers.iter() {
        let pairs = server.tls.iter().flat_map(|tls| tls.pairs.iter());
        for pair in pairs {
            if let Pair::Read { certificate, .. } = pair
                && let Some(ends) = certificate::end_of_pem(&certificate.bytes)
            {
                let view = CertificateView {
                    server: match &server.name[..] {
                        b"" => "_".to_owned(),
                        name => text(name),
                    },
                    file: certificate.name.to_string(),
                    ends,
                };
                if !all.contains(&view) {
                    all.push(view);
                }
            }
        }
    }
    all
}

fn handlers(facts: &Facts) -> BTreeMap<(String, String), String> {
    let plan = &facts.plan;
    let each = plan.locations.enumerate().map(|(id, location)| {
        let handler = match &location.content {
            Content::Proxy(proxy) => match &proxy.target {
                ProxyTarget::Group(group) => text(&plan.groups[*group].name),
                ProxyTarget::Dynamic { .. } => "(by variables)".to_owned(),
            },
            Content::Files if !location.script.ops.is_empty() => "(rules)".to_owned(),
            other => format!("({})", other.name()),
        };
        ((server_name(plan, id), location_name(plan, id)), handler)
    });
    each.collect()
}
