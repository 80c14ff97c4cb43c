//! Stage 5: may this request be served? Limits, addresses, passwords; in nginx's order.
//!
//! Each check is a file of its own and asks its own part of the location's [`AccessPlan`]; a location without one
//! costs a single test. Start at [`run`].

mod auth_request;
mod basic;
pub mod certificate;
mod limit_conn;
mod limit_req;
mod limits;
mod realip;
mod rules;
mod verified;
pub mod zones;

pub use limits::{Hold, Limits};

use super::debug::debug;
use super::exchange::Exchange;
use super::flow::Flow;
use super::local::Cx;
use super::log;
use super::pace;
use super::vars;
use crate::base::hash;
use crate::plan::access::AccessPlan;
use crate::plan::limits::{ZoneId, ZonePlan};
use crate::plan::model::{LogLevel, Satisfy};
use crate::proto::tokens::Token;

pub use verified::Verified;

/// What one check says, for `satisfy` to join.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has nothing to say here.
    Silent,
    /// The request may pass; with `satisfy any` no further check is asked.
    Granted,
    /// The request may not pass. `satisfy any` goes on after a 401 or 403; any other status is final.
    Denied(u16),
    /// The client has gone.
    Close,
}

/// Whether the location that the exchange is in has any checks.
pub fn is_due(ex: &Exchange, cx: Cx<'_>) -> bool {
    cx.location(ex.location).access.is_some()
}

/// Runs the checks of the location that the exchange is in.
pub async fn run(ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    match &cx.location(ex.location).access {
        None => Flow::Next,
        Some(plan) => checks(ex, cx, plan).await,
    }
}

/// Limits first, which may delay, then who may pass.
async fn checks(ex: &mut Exchange, cx: Cx<'_>, plan: &AccessPlan) -> Flow {
    match limits(ex, cx, plan).await {
        Flow::Next => {}
        other => return other,
    }
    if ex.is_subrequest() {
        // As in nginx: who asked was judged before it was made.
        return Flow::Next;
    }
    let flow = permits(ex, cx, plan).await;
    debug!(ex, cx, "access phase: {flow:?}");
    finish(flow, ex, cx).await
}

/// Address rules, passwords, then what another location says: each is asked only if the verdicts before it left the question open.
async fn permits(ex: &mut Exchange, cx: Cx<'_>, plan: &AccessPlan) -> Flow {
    let mut joined = Joined::new(cx.location(ex.location).settings.core.satisfy);
    if !plan.rules.is_empty() {
        let verdict = rules::check(ex, cx, &plan.rules);
        if let Some(flow) = joined.take(verdict, ex) {
            return flow;
        }
    }
    if let Some(basic) = &plan.basic {
        let verdict = basic::check(ex, cx, basic).await;
        if let Some(flow) = joined.take(verdict, ex) {
            return flow;
        }
    }
    if let Some(request) = &plan.auth_request {
        let verdict = Box::pin(auth_request::check(ex, cx, request)).await;
        if let Some(flow) = joined.take(verdict, ex) {
            return flow;
        }
    }
    joined.end(ex, cx)
}

/// What the client's address alone decides: none where no rule names it, [`Flow::Next`] where it may pass as far as this
/// goes.
pub fn by_address(ex: &mut Exchange, cx: Cx<'_>, plan: &AccessPlan) -> Option<Flow> {
    if let Some(realip) = &plan.realip {
        realip::apply(ex, realip);
    }
    match rules::check(ex, cx, &plan.rules) {
        Verdict::Silent => None,
        Verdict::Denied(_) if cx.location(ex.location).settings.core.satisfy == Satisfy::Any => {
            None
        }
        Verdict::Denied(status) => Some(Flow::Error(status)),
        Verdict::Granted | Verdict::Close => Some(Flow::Next),
    }
}

/// Takes a trusted peer's word for the client's address, by the settings of the server, before anything else is done.
pub fn identify(ex: &mut Exchange, cx: Cx<'_>) {
    if let Some(plan) = &cx.location(ex.location).access
        && let Some(realip) = &plan.realip
    {
        realip::apply(ex, realip);
    }
}

/// The client's real address again, by the settings of the location; then requests before connections.
async fn limits(ex: &mut Exchange, cx: Cx<'_>, plan: &AccessPlan) -> Flow {
    if let Some(realip) = &plan.realip {
        realip::apply(ex, realip);
    }
    if let Some(limits) = &plan.limit_req {
        match limit_req::check(ex, cx, limits).await {
            Flow::Next => {}
            other => return other,
        }
    }
    let flow = match &plan.limit_conn {
        Some(limits) => limit_conn::check(ex, cx, limits).await,
        None => Flow::Next,
    };
    debug!(
        ex,
        cx,
        "limit requests: {:?}, limit connections: {:?}",
        ex.limits.requests,
        ex.limits.connections
    );
    flow
}

/// What the limits said of a request, and what they count for it.
#[derive(Default)]
pub struct Limited {
    /// `$limit_req_status`.
    pub requests: Said,
    /// `$limit_conn_status`.
    pub connections: Said,
    /// What is given back when the request is over.
    holds: Vec<Hold>,
    /// Storage for what is noted while limits are asked, with the zones' rates.
    noted: Vec<(u64, Hold)>,
}

impl Limited {
    /// A subrequest is limited only where the request that it belongs to was not.
    ///
    /// Differs from nginx: what limits say of a subrequest counts for it alone, and it is in progress until it is over
    /// itself.
    pub fn inherit(&mut self, parent: &Self) {
        self.requests = parent.requests;
        self.connections = parent.connections;
    }

    /// Gives back what is counted, and forgets the rest.
    pub fn clear(&mut self) {
        self.requests = Said::Nothing;
        self.connections = Said::Nothing;
        self.holds.clear();
    }
}

/// What a kind of limit said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// It was not asked, or had no key to count.
    #[default]
    Nothing,
    /// It passed.
    Passed,
    /// It passed after a delay.
    Delayed,
    /// It was too much.
    Rejected,
    /// It would have been delayed.
    DelayedDryRun,
    /// It would have been too much.
    RejectedDryRun,
}

impl Said {
    /// The value of the variable; empty where it has none.
    #[must_use]
    pub fn name(self) -> &'static [u8] {
        match self {
            Self::Nothing => b"",
            Self::Passed => b"PASSED",
            Self::Delayed => b"DELAYED",
            Self::Rejected => b"REJECTED",
            Self::DelayedDryRun => b"DELAYED_DRY_RUN",
            Self::RejectedDryRun => b"REJECTED_DRY_RUN",
        }
    }
}

/// Counts what a zone said of a request, by the place of its word among those of the metrics.
fn count(cx: Cx<'_>, zone: ZoneId, said: Said) {
    let word = match said {
        Said::Nothing => return,
        Said::Passed => 0,
        Said::Delayed => 1,
        Said::Rejected => 2,
        Said::DelayedDryRun => 3,
        Said::RejectedDryRun => 4,
    };
    cx.generation.sheet.limit(zone, word);
}

/// The text for a rejection or delay that is only told.
fn dry(dry_run: bool, text: &'static str) -> &'static str {
    if dry_run { text } else { "" }
}

/// Appends the key of a zone. False when it is not counted: it is empty, or too long, which is told.
fn key(zone: &ZonePlan, most: usize, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    out.clear();
    vars::eval(&zone.key, ex, cx, out);
    if out.len() > most {
        let (name, value) = (log::Text(&zone.text), log::Text(out));
        let text =
            format_args!("the value of the \"{name}\" key is more than {most} bytes: \"{value}\"");
        log::error(ex, cx, LogLevel::Error, text);
    }
    !out.is_empty() && out.len() <= most
}

/// The hash that steers the client's connections, where a zone counts by nothing but its address.
fn address(zone: &ZonePlan, ex: &Exchange) -> Option<u32> {
    let at = ex.client().ip().filter(|_| zone.by_address)?;
    Some(hash::address(at.ip()))
}

/// The verdicts so far.
struct Joined {
    satisfy: Satisfy,
    /// What was denied under `satisfy any`; 0 is nothing. A 401 is kept before a 403.
    denied: u16,
}

impl Joined {
    fn new(satisfy: Satisfy) -> Self {
        Self { satisfy, denied: 0 }
    }

    /// Takes one check's verdict; the flow when no other has to be asked.
    fn take(&mut self, verdict: Verdict, ex: &mut Exchange) -> Option<Flow> {
        match (verdict, self.satisfy) {
            (Verdict::Silent, _) | (Verdict::Granted, Satisfy::All) => None,
            (Verdict::Granted, Satisfy::Any) => {
                ex.response.fields.remove(Token::WWW_AUTHENTICATE);
                Some(Flow::Next)
            }
            (Verdict::Denied(status @ (401 | 403)), Satisfy::Any) => {
                if self.denied != 401 {
                    self.denied = status;
                }
                None
            }
            (Verdict::Denied(status), _) => Some(Flow::Error(status)),
            (Verdict::Close, _) => Some(Flow::Close),
        }
    }

    /// What all checks together say, when none of them ended it.
    fn end(self, ex: &Exchange, cx: Cx<'_>) -> Flow {
        match self.denied {
            0 => Flow::Next,
            status => {
                if status == 403 {
                    rules::tell_forbidden(ex, cx);
                }
                Flow::Error(status)
            }
        }
    }
}

/// Delays a 401 by `auth_delay`, so that passwords cannot be tried fast.
async fn finish(flow: Flow, ex: &mut Exchange, cx: Cx<'_>) -> Flow {
    let delay = cx.location(ex.location).settings.core.auth_delay;
    if flow != Flow::Error(401) || delay.is_zero() {
        return flow;
    }
    let text = format_args!("delaying unauthorized request");
    log::error(ex, cx, LogLevel::Info, text);
    match pace::wait_for(delay, &ex.stream).await {
        Ok(()) => flow,
        Err(_) => {
            let text = format_args!("client prematurely closed connection");
            log::error(ex, cx, LogLevel::Info, text);
            Flow::Error(499)
        }
    }
}
