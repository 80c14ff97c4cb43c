//! `limit_conn`: how many requests of a key may be in progress, from here to their log line.

use super::super::exchange::Exchange;
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::log;
use super::Said;
use crate::mail::limit::{Question, Verdict};
use crate::plan::limits::ConnLimits;
use crate::plan::model::LogLevel;

/// Longest key, as in nginx.
const KEY_MAX: usize = 255;

/// Counts the request as in progress, or rejects it.
pub async fn check(ex: &mut Exchange, cx: Cx<'_>, plan: &ConnLimits) -> Flow {
    if ex.limits.connections != Said::Nothing {
        return Flow::Next;
    }
    let mut key = cx.local.buffers.take(64);
    let pass = ask(ex, cx, plan, &mut key).await;
    cx.local.buffers.give(key);
    if pass {
        for hold in &mut ex.limits.holds {
            hold.pass();
        }
        return Flow::Next;
    }
    ex.limits.holds.clear();
    if plan.common.dry_run {
        ex.limits.connections = Said::RejectedDryRun;
        return Flow::Next;
    }
    ex.limits.connections = Said::Rejected;
    Flow::Error(plan.common.status)
}

/// Asks all limits; true when each let the request pass.
async fn ask(ex: &mut Exchange, cx: Cx<'_>, plan: &ConnLimits, key: &mut Vec<u8>) -> bool {
    let limits = &cx.local.limits;
    let last = plan.limits.len() - 1;
    for step in 0..plan.limits.len() {
        let at = match limits.are_shared() {
            true => plan.common.order[step],
            false => step,
        };
        let limit = plan.limits[at];
        let zone = &cx.plan.limit_zones[limit.zone];
        if !super::key(zone, KEY_MAX, ex, cx, key) {
            continue;
        }
        ex.limits.connections = Said::Passed;
        let question = Question::Connection {
            max: limit.max,
            count: step == last,
        };
        let address = super::address(zone, ex);
        let asked = limits.ask(zone.table, key, address, question).await;
        ex.limits.holds.extend(asked.hold);
        let name = log::Text(&zone.name);
        match asked.verdict {
            Verdict::Pass(_) => super::count(cx, limit.zone, Said::Passed),
            Verdict::Busy(_) => {
                let dry = super::dry(plan.common.dry_run, ", dry run,");
                let text = format_args!("limiting connections{dry} by zone \"{name}\"");
                log::error(ex, cx, plan.common.log_level, text);
                super::count(cx, limit.zone, rejected(plan));
                return false;
            }
            Verdict::Full | Verdict::Silent => {
                let text = format_args!(
                    "ngx_slab_alloc() failed: no memory in limit_conn_zone \"{name}\""
                );
                log::error(ex, cx, LogLevel::Crit, text);
                super::count(cx, limit.zone, rejected(plan));
                return false;
            }
        }
    }
    true
}

fn rejected(plan: &ConnLimits) -> Said {
    match plan.common.dry_run {
        true => Said::RejectedDryRun,
        false => Said::Rejected,
    }
}
