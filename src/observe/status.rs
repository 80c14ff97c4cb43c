//! The process's numbers as JSON, for the status page and for programs. Start at [`json`].

use std::fmt::Write as _;

use super::counters::Totals;
use super::metrics::Facts;
use super::sessions::STATUSES;
use super::tally::{CACHE_WORDS, LIMIT_WORDS, Report};
use super::view::View;
use crate::base::escape;

/// Writing to a String cannot fail.
macro_rules! put {
    ($out:expr, $($what:tt)*) => {
        let _ = write!($out, $($what)*);
    };
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = vec![b'"'];
    escape::log_json(&mut out, text.as_bytes());
    out.push(b'"');
    String::from_utf8_lossy(&out).into_owned()
}

fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, each: impl Fn(&mut String, T)) {
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

fn connections(out: &mut String, totals: &Totals) {
    put!(
        out,
        "{{\"accepted\":{},\"handled\":{},\"active\":{},\"reading\":{},\"writing\":{},\"waiting\":{},\"requests\":{},\"panics\":{}",
        totals.accepted,
        totals.handled,
        totals.active,
        totals.reading,
        totals.writing,
        totals.waiting(),
        totals.requests,
        totals.panics
    );
}

fn numbers(out: &mut String, words: &[&str], values: &[u64]) {
    for (at, (word, value)) in words.iter().zip(values).enumerate() {
        put!(out, "{}\"{word}\":{value}", if at == 0 { "{" } else { "," });
    }
    out.push('}');
}

fn shards(out: &mut String, facts: &Facts, view: &View) {
    list(
        out,
        facts.shards.iter().zip(&view.shards),
        |out, (totals, load)| {
            connections(out, totals);
            let (cpu, lag) = (load.cpu_us as f64 / 1e6, load.lag_ms as f64 / 1e3);
            put!(out, ",\"cpu_seconds\":{cpu},\"lag_seconds\":{lag}}}");
        },
    );
}

fn caches(out: &mut String, view: &View) {
    list(out, &view.caches, |out, cache| {
        put!(
            out,
            "{{\"zone\":{},\"bytes\":{},\"max_bytes\":{},\"entries\":{},\"memory_bytes\":{},\"evictions\":{},\"requests\":",
            quoted(&cache.zone),
            cache.bytes,
            cache
                .max_bytes
                .map_or_else(|| "null".to_owned(), |n| n.to_string()),
            cache.entries,
            cache.hot_bytes,
            cache.evicted
        );
        numbers(out, &CACHE_WORDS, &cache.requests);
        out.push_str(",\"sent\":");
        numbers(out, &CACHE_WORDS, &cache.sent);
        out.push('}');
    });
}

fn limits(out: &mut String, view: &View) {
    list(out, &view.limits, |out, limit| {
        put!(
            out,
            "{{\"zone\":{},\"kind\":\"{}\",\"rate\":{},\"size\":{},\"keys\":{},\"used\":{},\"room\":{},\"requests\":",
            quoted(&limit.zone),
            limit.kind,
            limit.rate as f64 / 1000.0,
            limit.size,
            limit.keys,
            limit.used,
            limit.room
        );
        numbers(out, &LIMIT_WORDS, &limit.requests);
        out.push('}');
    });
}

fn sessions(out: &mut String, report: &Report) {
    list(out, &report.sessions, |out, (listener, sums)| {
        put!(
            out,
            "{{\"listen\":{},\"active\":{},\"received\":{},\"sent\":{},\"connect_failures\":{},\"ended\":",
            quoted(listener),
            sums.active(),
            sums.received(),
            sums.sent(),
            sums.unconnected()
        );
        let ended: Vec<u64> = (0..STATUSES.len()).map(|place| sums.ended(place)).collect();
        numbers(out, &STATUSES, &ended);
        out.push('}');
    });
}

fn checks(out: &mut String, view: &View) {
    list(out, &view.checks, |out, ((group, peer), check)| {
        let (group, peer) = (quoted(group), quoted(peer));
        let ([passed, failed], healthy) = (check.outcomes, check.healthy);
        let seconds = check.took_us as f64 / 1e6;
        put!(
            out,
            "{{\"upstream\":{group},\"peer\":{peer},\"healthy\":{healthy},\"passed\":{passed},\"failed\":{failed},\"seconds\":{seconds}}}"
        );
    });
}

/// What is not about requests.
fn rest(out: &mut String, facts: &Facts, view: &View) {
    out.push_str(",\"caches\":");
    caches(out, view);
    out.push_str(",\"limits\":");
    limits(out, view);
    out.push_str(",\"certificates\":");
    list(out, &view.certificates, |out, certificate| {
        let (server, file) = (quoted(&certificate.server), quoted(&certificate.file));
        let ends = certificate.ends;
        put!(
            out,
            "{{\"server\":{server},\"file\":{file},\"expires\":{ends}}}"
        );
    });
    let [full12, resumed12, full13, resumed13] = facts.totals.handshakes;
    put!(
        out,
        ",\"handshakes\":{{\"tls12\":{full12},\"tls12_resumed\":{resumed12},\"tls13\":{full13},\"tls13_resumed\":{resumed13},\"failed\":{}}}",
        facts.totals.handshakes_failed
    );
    put!(
        out,
        ",\"splice\":{{\"up\":{},\"down\":{},\"pipes_used\":{},\"pipes_free\":{}}}",
        facts.totals.spliced_up,
        facts.totals.spliced_down,
        view.pipes.0,
        view.pipes.1
    );
    let names = &view.resolver;
    put!(
        out,
        ",\"resolver\":{{\"known\":{},\"found\":{},\"failed\":{},\"timed_out\":{}}}",
        names.known,
        names.found,
        names.failed,
        names.timed_out
    );
    out.push_str(",\"epochs\":");
    list(out, &view.epochs, |out, (epoch, shards)| {
        put!(out, "{{\"epoch\":{epoch},\"shards\":{shards}}}");
    });
}

/// One object with everything.
pub fn json(facts: &Facts, report: &Report) -> String {
    let view = View::of(facts, report);
    let mut out = String::with_capacity(4096);
    put!(
        out,
        "{{\"version\":{},\"driver\":{},\"generation\":{},\"uptime_seconds\":{},\"shard\":{},\"connections\":",
        quoted(facts.version),
        quoted(facts.driver),
        facts.generation,
        facts.uptime_ms as f64 / 1000.0,
        facts.shard
    );
    connections(&mut out, &facts.totals);
    out.push_str("},\"shards\":");
    shards(&mut out, facts, &view);
    let at = |share| report.latency.quantile(share).as_secs_f64();
    put!(
        out,
        ",\"latency_seconds\":{{\"count\":{},\"p50\":{},\"p90\":{},\"p99\":{},\"p999\":{},\"max\":{}}}",
        report.latency.count(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    out.push_str(",\"locations\":");
    list(
        &mut out,
        &report.locations,
        |out, ((server, location), sums)| {
            put!(
                out,
                "{{\"server\":{},\"location\":{},\"handler\":{},\"requests\":{},\"received\":{},\"sent\":{},\"seconds\":{},\"responses\":",
                quoted(server),
                quoted(location),
                quoted(
                    view.handlers
                        .get(&(server.clone(), location.clone()))
                        .map_or("", |handler| handler)
                ),
                sums.requests(),
                sums.received(),
                sums.sent(),
                sums.took_us() as f64 / 1e6
            );
            list(out, 0..super::tally::CLASSES, |out, class| {
                put!(out, "{}", sums.class(class));
            });
            out.push('}');
        },
    );
    out.push_str(",\"upstreams\":");
    list(&mut out, &view.peers, |out, view| {
        let key = (view.group.clone(), view.peer.clone());
        let sums = report.peers.get(&key).cloned().unwrap_or_default();
        put!(
            out,
            "{{\"upstream\":{},\"peer\":{},\"up\":{},\"state\":\"{}\",\"active\":{},\"fails\":{},\"weight\":{},\"backup\":{},\"attempts\":{},\"received\":{},\"sent\":{},\"connect_seconds\":{},\"response_seconds\":{},\"responses\":",
            quoted(&view.group),
            quoted(&view.peer),
            view.up,
            view.state,
            view.active,
            view.fails,
            view.weight,
            view.backup,
            sums.attempts(),
            sums.received(),
            sums.sent(),
            sums.connect_ms() as f64 / 1000.0,
            sums.took_ms() as f64 / 1000.0
        );
        list(out, 0..super::tally::CLASSES, |out, class| {
            put!(out, "{}", sums.class(class));
        });
        out.push('}');
    });
    out.push_str(",\"sessions\":");
    sessions(&mut out, report);
    out.push_str(",\"checks\":");
    checks(&mut out, &view);
    rest(&mut out, facts, &view);
    out.push_str("}\n");
    out
}
