//! `metrics` and `status`: the numbers of the whole process, for scrapers, for programs and for people.
//!
//! What a shard knows at once is gathered here; sums over all shards and the text are made beside the shard. Start at
//! [`metrics()`] and [`status()`].

use super::super::exchange::{Body, Exchange};
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::log;
use crate::mail::peers::Administrative;
use crate::net::{clock, offload, runtime};
use crate::observe::live::{Live, StoreNow, ZoneNow};
use crate::observe::metrics::{self, Facts, Format, PeerView};
use crate::observe::status;
use crate::observe::tally::Report;
use crate::plan::GroupPlan;
use crate::plan::model::LogLevel;
use crate::proto::head::Method;
use crate::proto::tokens::Token;
use crate::upstream::balance::PeerState;
use crate::upstream::peers::Target;

/// The page that shows `status` to people; it asks for the JSON by itself.
const PAGE: &[u8] = include_bytes!("status.html");

/// `metrics`: text for a scraper, in the format that it asks for.
pub async fn metrics(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let format = if accepts(ex, b"application/openmetrics-text") {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    };
    let make = move |facts: &Facts, report: &Report| metrics::text(facts, report, format);
    made(ex, cx, format.content_type(), make).await
}

/// `status`: a page for browsers, JSON for everybody else.
pub async fn status(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    if ex.args != b"json" && accepts(ex, b"text/html") {
        if !matches!(ex.method, Method::Get | Method::Head) {
            return Flow::Error(405);
        }
        return answer(
            ex,
            "text/html; charset=utf-8",
            Body::Static(PAGE),
            PAGE.len(),
        );
    }
    made(ex, cx, "application/json", status::json).await
}

/// Whether one of the types that the client takes is this one.
fn accepts(ex: &Exchange, kind: &[u8]) -> bool {
    let finder = memchr::memmem::Finder::new(kind);
    let mut values = ex.head.fields.get_all(Token::ACCEPT);
    values.any(|value| finder.find(value).is_some())
}

/// An answer whose text is made of all numbers.
async fn made(
    ex: &mut Exchange,
    cx: Cx<'_>,
    content_type: &'static str,
    make: impl FnOnce(&Facts, &Report) -> String + Send + 'static,
) -> Flow {
    if !matches!(ex.method, Method::Get | Method::Head) {
        return Flow::Error(405);
    }
    let facts = facts(cx);
    let board = cx.generation.sheet.board().clone();
    let text = offload::compute(move || {
        let mut report = board.read();
        report.refresh(&facts.own);
        make(&facts, &report)
    })
    .await;
    match text {
        Ok(text) => {
            let bytes = text.into_bytes();
            let length = bytes.len();
            answer(ex, content_type, Body::Buffer(bytes), length)
        }
        Err(error) => {
            let text = format_args!("numbers could not be gathered ({})", log::Errno(&error));
            log::error(ex, cx, LogLevel::Error, text);
            Flow::Error(503)
        }
    }
}

/// All numbers as JSON, for who does not ask by HTTP.
pub async fn json(cx: Cx<'_>) -> Result<String, String> {
    let facts = facts(cx);
    let board = cx.generation.sheet.board().clone();
    offload::compute(move || status::json(&facts, &board.read()))
        .await
        .map_err(|error| format!("numbers could not be gathered ({})", log::Errno(&error)))
}

fn answer(ex: &mut Exchange, content_type: &str, body: Body, length: usize) -> Flow {
    let response = &mut ex.response;
    response.status = 200;
    response.content_type.clear();
    response
        .content_type
        .extend_from_slice(content_type.as_bytes());
    response.content_length = Some(length as u64);
    response.fields.set(Token::CACHE_CONTROL, b"no-store");
    response.body = body;
    ex.discard_body = true;
    Flow::Answer
}

/// What the shard knows without asking anybody.
fn facts(cx: Cx<'_>) -> Facts {
    let counters = &cx.local.counters;
    Facts {
        version: env!("CARGO_PKG_VERSION"),
        driver: if runtime::on_ring() {
            "io_uring"
        } else {
            "epoll"
        },
        generation: cx.generation.epoch,
        uptime_ms: clock::mono().0,
        shard: counters.own(),
        shards: counters.each(),
        totals: counters.totals(),
        plan: cx.generation.plan.clone(),
        own: live(cx),
    }
}

/// What the shard has at the moment; its lag and what its resolvers did is for others to say.
#[must_use]
pub fn live(cx: Cx<'_>) -> Live {
    let now = cx.local.clock.mono();
    let mut live = Live {
        shard: cx.local.counters.own(),
        cpu_us: clock::thread_cpu_us(),
        pipes: (cx.local.pipes.lent(), cx.local.pipes.free()),
        ..Live::default()
    };
    for (id, plan) in cx.plan.groups.enumerate() {
        let group = cx.generation.groups.group(id);
        let known = |target: &Target| {
            let state = group.peer(target.id)?;
            Some(view(plan, target, &state, group.is_up(target.id, now)))
        };
        live.peers
            .extend(group.set().targets().iter().filter_map(known));
    }
    if !cx.plan.checks.is_empty() {
        live.checks = cx.local.health.now(cx.generation);
    }
    cx.local.cache.sizes(|plan, disk, hot, evicted| {
        live.stores.push(StoreNow {
            name: plan.name.clone(),
            disk,
            hot: (hot.0 as u64, hot.1 as u64),
            evicted,
        });
    });
    cx.local.limits.sizes(|table, (keys, used, room)| {
        live.zones.push(ZoneNow {
            table,
            keys,
            used,
            room,
        });
    });
    live
}

fn view(plan: &GroupPlan, target: &Target, state: &PeerState, up: bool) -> PeerView {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    PeerView {
        group: text(&plan.name),
        peer: text(&target.name),
        up,
        state: match state.administrative {
            Administrative::Down => "down",
            Administrative::Drain => "draining",
            Administrative::Up if up => "up",
            Administrative::Up if !state.healthy => "unhealthy",
            Administrative::Up => "failed",
        },
        active: state.conns,
        fails: state.fails,
        shared: plan.zone.is_some(),
        weight: u32::try_from(state.weight).unwrap_or(u32::MAX),
        backup: target.backup,
    }
}
