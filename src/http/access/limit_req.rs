//! `limit_req`: how many requests of a key may come; those that come too fast are delayed or rejected.
//!
//! A request is asked about at every limit, and counted only when all let it pass; the longest delay wins.

use std::time::Duration;

use super::super::exchange::Exchange;
use super::super::flow::Flow;
use super::super::local::Cx;
use super::super::{log, pace};
use super::Said;
use crate::mail::limit::{Question, Verdict};
use crate::plan::limits::{ReqLimit, ReqLimits};
use crate::plan::model::LogLevel;

/// Longest key, as in nginx.
const KEY_MAX: usize = 65_535;

/// What all limits say together.
enum Decision {
    /// No key was counted.
    Uncounted,
    /// All let it pass, after this wait.
    Pass(Wait),
    /// The limit at this place does not; with the excess.
    Busy(usize, u64),
    /// A zone has no room.
    Full,
}

/// A delay, and the limit that asks for it.
#[derive(Clone, Copy, Default)]
struct Wait {
    ms: u64,
    excess: u64,
    at: usize,
}

/// Counts the request, delays it if it came too early, or rejects it.
pub async fn check(ex: &mut Exchange, cx: Cx<'_>, plan: &ReqLimits) -> Flow {
    if ex.limits.requests != Said::Nothing {
        return Flow::Next;
    }
    let decision = decide(ex, cx, plan).await;
    let common = &plan.common;
    let name = |at: usize| log::Text(&cx.plan.limit_zones[plan.limits[at].zone].name);
    let outcome = match decision {
        Decision::Uncounted => return Flow::Next,
        Decision::Pass(Wait { ms: 0, .. }) => Said::Passed,
        Decision::Pass(_) if common.dry_run => Said::DelayedDryRun,
        Decision::Pass(_) => Said::Delayed,
        Decision::Busy(..) | Decision::Full if common.dry_run => Said::RejectedDryRun,
        Decision::Busy(..) | Decision::Full => Said::Rejected,
    };
    let decisive = match decision {
        Decision::Pass(wait) => wait.at,
        Decision::Busy(at, _) => at,
        _ => 0,
    };
    super::count(cx, plan.limits[decisive].zone, outcome);
    let wait = match decision {
        Decision::Uncounted => return Flow::Next,
        Decision::Pass(wait) => wait,
        Decision::Busy(..) | Decision::Full => {
            if let Decision::Busy(at, excess) = decision {
                let text = format_args!(
                    "limiting requests{}, excess: {} by zone \"{}\"",
                    super::dry(common.dry_run, ", dry run"),
                    Thousandths(excess),
                    name(at)
                );
                log::error(ex, cx, common.log_level, text);
            }
            if common.dry_run {
                ex.limits.requests = Said::RejectedDryRun;
                return Flow::Next;
            }
            ex.limits.requests = Said::Rejected;
            return Flow::Error(common.status);
        }
    };
    if wait.ms == 0 {
        ex.limits.requests = Said::Passed;
        return Flow::Next;
    }
    let text = format_args!(
        "delaying request{}, excess: {}, by zone \"{}\"",
        super::dry(common.dry_run, ", dry run"),
        Thousandths(wait.excess),
        name(wait.at)
    );
    log::error(ex, cx, quieter(common.log_level), text);
    if common.dry_run {
        ex.limits.requests = Said::DelayedDryRun;
        return Flow::Next;
    }
    ex.limits.requests = Said::Delayed;
    match pace::wait_for(Duration::from_millis(wait.ms), &ex.stream).await {
        Ok(()) => Flow::Next,
        Err(_) => {
            let text = format_args!("client prematurely closed connection");
            log::error(ex, cx, LogLevel::Info, text);
            Flow::Error(499)
        }
    }
}

/// The level of delays, one below that of rejections.
fn quieter(level: LogLevel) -> LogLevel {
    match level {
        LogLevel::Error => LogLevel::Warn,
        LogLevel::Warn => LogLevel::Notice,
        _ => LogLevel::Info,
    }
}

/// Asks all limits; what was noted at those that passed is counted or given back.
async fn decide(ex: &mut Exchange, cx: Cx<'_>, plan: &ReqLimits) -> Decision {
    let limits = &cx.local.limits;
    let mut key = cx.local.buffers.take(64);
    let mut noted = std::mem::take(&mut ex.limits.noted);
    let mut wait = None;
    let last = plan.limits.len() - 1;
    for step in 0..plan.limits.len() {
        let at = match limits.are_shared() {
            true => plan.common.order[step],
            false => step,
        };
        let limit = &plan.limits[at];
        let zone = &cx.plan.limit_zones[limit.zone];
        if !super::key(zone, KEY_MAX, ex, cx, &mut key) {
            continue;
        }
        let question = Question::Request {
            rate: zone.rate,
            burst: limit.burst,
            count: step == last,
        };
        let address = super::address(zone, ex);
        let asked = limits.ask(zone.table, &key, address, question).await;
        match asked.verdict {
            Verdict::Pass(excess) => {
                wait = Some(longer(wait, limit, at, excess, zone.rate));
                noted.extend(asked.hold.map(|hold| (zone.rate, hold)));
            }
            Verdict::Busy(excess) => {
                cx.local.buffers.give(key);
                return Decision::Busy(at, excess);
            }
            Verdict::Full | Verdict::Silent => {
                let name = log::Text(&zone.name);
                let text = format_args!("could not allocate node in limit_req zone \"{name}\"");
                log::error(ex, cx, LogLevel::Alert, text);
                cx.local.buffers.give(key);
                return Decision::Full;
            }
        }
    }
    cx.local.buffers.give(key);
    for (rate, hold) in noted.drain(..) {
        hold.count(rate);
    }
    ex.limits.noted = noted;
    wait.map_or(Decision::Uncounted, Decision::Pass)
}

/// The longer one of a wait and that of a limit; of two that are equal, that of the later limit.
fn longer(known: Option<Wait>, limit: &ReqLimit, at: usize, excess: u64, rate: u64) -> Wait {
    let above = excess.saturating_sub(limit.delay);
    let wait = Wait {
        ms: above.saturating_mul(1000) / rate.max(1),
        excess,
        at,
    };
    match known {
        Some(known) if (known.ms, known.at) > (wait.ms, wait.at) => known,
        _ => wait,
    }
}

/// A number of thousandths, as nginx writes it.
struct Thousandths(u64);

impl std::fmt::Display for Thousandths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::limits::ZoneId;

    #[test]
    fn excesses_read_as_in_nginx() {
        for (excess, want) in [(0, "0.000"), (123, "0.123"), (5040, "5.040")] {
            assert_eq!(Thousandths(excess).to_string(), want);
        }
    }

    #[test]
    fn the_longest_wait_wins_and_of_equals_the_later_limit() {
        let limit = |delay| ReqLimit {
            zone: ZoneId(0),
            burst: 9000,
            delay,
        };
        let first = longer(None, &limit(0), 0, 500, 1000);
        assert_eq!((first.ms, first.at), (500, 0));
        let second = longer(Some(first), &limit(1000), 1, 1500, 1000);
        assert_eq!((second.ms, second.at), (500, 1));
        // The order of asking does not matter.
        let other = longer(Some(second), &limit(0), 0, 500, 1000);
        assert_eq!((other.ms, other.at), (500, 1));
        assert_eq!(longer(None, &limit(u64::MAX), 0, 9000, 1).ms, 0);
    }
}
