//! The process's numbers as JSON, for the status page and for programs. Start at [`json`].

use std::fmt::Write as _;

use super::counters::Totals;
use super::metrics::Facts;
use super::tally::Report;
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
        "{{\"accepted\":{},\"handled\":{},\"active\":{},\"reading\":{},\"writing\":{},\"waiting\":{},\"requests\":{},\"panics\":{}}}",
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

/// One object with everything.
pub fn json(facts: &Facts, report: &Report) -> String {
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
    out.push_str(",\"shards\":");
    list(&mut out, &facts.shards, connections);
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
                "{{\"server\":{},\"location\":{},\"requests\":{},\"received\":{},\"sent\":{},\"seconds\":{},\"responses\":",
                quoted(server),
                quoted(location),
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
    list(&mut out, &facts.peers, |out, view| {
        let key = (view.group.clone(), view.peer.clone());
        let sums = report.peers.get(&key).cloned().unwrap_or_default();
        put!(
            out,
            "{{\"upstream\":{},\"peer\":{},\"up\":{},\"active\":{},\"weight\":{},\"backup\":{},\"attempts\":{},\"received\":{},\"sent\":{},\"connect_seconds\":{},\"response_seconds\":{},\"responses\":",
            quoted(&view.group),
            quoted(&view.peer),
            view.up,
            view.active,
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
    out.push_str("}\n");
    out
}
