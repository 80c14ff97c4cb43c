//! `map`, `geo` and `split_clients`: the key is evaluated, looked up, and the result kept for the request.

use super::{eval, keep_match};
use crate::base::cidr;
use crate::base::ids::DenseId;
use crate::http::exchange::Exchange;
use crate::http::local::Cx;
use crate::plan::GeoId;
use crate::plan::expr::Var;
use crate::plan::lookup::forwarded_addr;
use crate::plan::regex::Captures;
use crate::proto::tokens::Token;

/// Appends the value of a table's variable, from the cache when it was asked for before.
pub(super) fn value(var: Var, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    let Some(place) = place(var, cx) else {
        return;
    };
    if let Some((start, end)) = ex.vars.tables.get(place).copied().flatten() {
        out.extend_from_slice(&ex.vars.arena[start as usize..end as usize]);
        return;
    }
    let from = out.len();
    let volatile = look_up(var, ex, cx, out);
    if volatile {
        return;
    }
    let plan = cx.plan;
    let count = plan.maps.len() + plan.geos.len() + plan.splits.len();
    if ex.vars.tables.len() < count {
        ex.vars.tables.resize(count, None);
    }
    let range = ex.vars.keep(&out[from..]);
    ex.vars.tables[place] = Some(range);
}

/// Where a table's result is kept: maps first, then geos, then splits.
fn place(var: Var, cx: Cx<'_>) -> Option<usize> {
    let plan = cx.plan;
    match var {
        Var::Map(id) => Some(id.index()),
        Var::Geo(id) => Some(plan.maps.len() + id.index()),
        Var::Split(id) => Some(plan.maps.len() + plan.geos.len() + id.index()),
        _ => None,
    }
}

/// Appends the result; true when it must not be kept.
fn look_up(var: Var, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    match var {
        Var::Map(id) => {
            let plan = &cx.plan.maps[id];
            let mut key = cx.local.buffers.take(64);
            eval(&plan.source, ex, cx, &mut key);
            let mut captures = Captures::default();
            let found = plan.find(&key, &mut captures);
            if let Some((regex, count)) = found.regex {
                keep_match(regex, count, &captures, &key, ex, cx);
            }
            cx.local.buffers.give(key);
            eval(found.value, ex, cx, out);
            plan.volatile
        }
        Var::Geo(id) => {
            geo(id, ex, cx, out);
            cx.plan.geos[id].volatile
        }
        Var::Split(id) => {
            let plan = &cx.plan.splits[id];
            let mut key = cx.local.buffers.take(64);
            eval(&plan.source, ex, cx, &mut key);
            out.extend_from_slice(plan.find(&key));
            cx.local.buffers.give(key);
            false
        }
        _ => false,
    }
}

/// `geo`: by the client's address, or by the one that a variable holds.
fn geo(id: GeoId, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    let plan = &cx.plan.geos[id];
    let addr = match &plan.source {
        None => ex.client().ip().map(|at| at.ip()),
        Some(source) => {
            let mut text = cx.local.buffers.take(64);
            eval(source, ex, cx, &mut text);
            let addr = cidr::parse_ip(&text);
            cx.local.buffers.give(text);
            addr
        }
    };
    let addr = match addr {
        Some(addr) if !plan.proxies.0.is_empty() => {
            let fields = &ex.head.fields;
            let lines = fields
                .list()
                .iter()
                .rev()
                .filter(|field| field.token == Token::X_FORWARDED_FOR)
                .map(|field| fields.bytes(field.value));
            Some(forwarded_addr(
                addr,
                lines,
                &plan.proxies,
                plan.proxy_recursive,
            ))
        }
        other => other,
    };
    out.extend_from_slice(plan.find(addr));
}
