//! Values of variables and of strings that hold them.
//!
//! Every value is appended to a buffer of the caller; what must be kept (results of `set`, `map` and named
//! captures) lies in the exchange's arena, so that a warm request allocates nothing.
//! Start at [`eval`] and [`value`].

mod builtin;
mod family;
mod links;
mod tables;
mod tls;
mod upstream;

use super::exchange::Exchange;
use super::local::Cx;
use super::log::{self, Text};
use crate::base::escape::{self, Place};
use crate::base::size;
use crate::plan::expr::{Expr, Part, Var};
use crate::plan::model::LogLevel;
use crate::plan::regex::{Captures, Regex};
use crate::plan::script::SetTarget;
use crate::plan::vars::{Builtin, family_of};
use crate::plan::{FamilyName, SlotId};

pub use builtin::{limit_rate, limit_rate_after, method_name, proxy_limit_rate, request_id};
pub use family::cookie;

/// Variables that may be evaluated inside each other before it is taken for a cycle, as in nginx.
const DEPTH_MAX: u8 = 100;

/// Appends the value of an expression; a variable without a value adds nothing.
pub fn eval(expr: &Expr, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    eval_quoted(expr, false, ex, cx, out);
}

/// As [`eval`], with captures escaped as arguments when `quote` is set.
pub fn eval_quoted(expr: &Expr, quote: bool, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    for part in &expr.parts {
        match part {
            Part::Lit(text) => out.extend_from_slice(text),
            Part::Capture(number) => capture_text(*number, ex, quote, out),
            Part::Var(var) => {
                value(*var, ex, cx, out);
            }
        }
    }
}

/// Appends `$1` … `$9` of the latest match; nothing when the group took no part.
pub fn capture_text(number: u8, ex: &Exchange, quote: bool, out: &mut Vec<u8>) {
    if number >= ex.vars.captures_count {
        return;
    }
    let (start, end) = ex.vars.captures[usize::from(number)];
    let text = &ex.vars.subject[start as usize..end as usize];
    if quote {
        escape::uri(out, text, Place::Args);
    } else {
        out.extend_from_slice(text);
    }
}

/// Appends the value of a variable; false when it has none, which logs show as `-`.
pub fn value(var: Var, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    match var {
        Var::Builtin(builtin) => builtin::value(builtin, ex, cx, out),
        Var::Named(family, index) => {
            family::value(family, &cx.plan.family_names[index as usize], ex, cx, out)
        }
        Var::Slot(slot) => slot_value(slot, ex, cx, out),
        // Only `stream` compiles such.
        Var::Session(_) => false,
        Var::Map(_) | Var::Geo(_) | Var::Split(_) => guarded(var, ex, cx, out),
    }
}

/// A variable that is made from other variables; a cycle has no value.
fn guarded(var: Var, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    nested(ex, cx, |ex| {
        tables::value(var, ex, cx, out);
        true
    })
}

/// Evaluates inside another evaluation, which may be of the same variable.
fn nested(ex: &mut Exchange, cx: Cx<'_>, value: impl FnOnce(&mut Exchange) -> bool) -> bool {
    if ex.vars.depth >= DEPTH_MAX {
        let text = format_args!("cycle while evaluating variable");
        log::error(ex, cx, LogLevel::Error, text);
        return false;
    }
    ex.vars.depth += 1;
    let found = value(ex);
    ex.vars.depth -= 1;
    found
}

/// Appends what was assigned to a variable, or what it stands for until then.
fn slot_value(slot: SlotId, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    if let Some((start, end)) = ex.vars.slots.get(slot.0 as usize).copied().flatten() {
        out.extend_from_slice(&ex.vars.arena[start as usize..end as usize]);
        return true;
    }
    let plan = &cx.plan.slots[slot];
    if let Some(var) = plan.fallback {
        return value(var, ex, cx, out);
    }
    if !plan.assigned {
        return false;
    }
    if cx
        .location(ex.location)
        .settings
        .rewrite
        .uninitialized_variable_warn
    {
        let text = format_args!("using uninitialized \"{}\" variable", Text(&plan.name));
        log::error(ex, cx, LogLevel::Warn, text);
    }
    true
}

/// Appends the value of a variable that the configuration may define under this name: by `set`, or as a table.
pub fn defined(name: &[u8], ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    let plan = cx.plan;
    if let Some((slot, _)) = plan.slots.enumerate().find(|(_, slot)| slot.name == name) {
        slot_value(slot, ex, cx, out);
    } else if let Some((id, _)) = plan.maps.enumerate().find(|(_, map)| map.name == name) {
        value(Var::Map(id), ex, cx, out);
    } else if let Some((id, _)) = plan.geos.enumerate().find(|(_, geo)| geo.name == name) {
        value(Var::Geo(id), ex, cx, out);
    } else if let Some((id, _)) = plan
        .splits
        .enumerate()
        .find(|(_, split)| split.name == name)
    {
        value(Var::Split(id), ex, cx, out);
    }
}

/// Appends the value of a variable by its name in lower case, which no configuration needs to have mentioned; false when
/// there is none.
pub fn by_name(name: &[u8], ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let plan = cx.plan;
    let var = if let Some((slot, _)) = plan.slots.enumerate().find(|(_, slot)| slot.name == name) {
        Var::Slot(slot)
    } else if let Some((id, _)) = plan.maps.enumerate().find(|(_, map)| map.name == name) {
        Var::Map(id)
    } else if let Some((id, _)) = plan.geos.enumerate().find(|(_, geo)| geo.name == name) {
        Var::Geo(id)
    } else if let Some((id, _)) = plan.splits.enumerate().find(|(_, s)| s.name == name) {
        Var::Split(id)
    } else if let Some(builtin) = Builtin::of(name) {
        Var::Builtin(builtin)
    } else if let Some((family, member)) = family_of(name) {
        return family::value(family, &FamilyName::of(member), ex, cx, out);
    } else {
        return false;
    };
    value(var, ex, cx, out)
}

/// `set`.
pub fn assign(target: SetTarget, ex: &mut Exchange, cx: Cx<'_>, text: &[u8]) {
    match target {
        SetTarget::Slot(slot) => set_slot(slot, ex, cx, text),
        SetTarget::Args => {
            ex.args.clear();
            ex.args.extend_from_slice(text);
            ex.target_unchanged = false;
        }
        SetTarget::LimitRate => match size::parse_size(text) {
            Some(rate) => ex.limit_rate = Some(rate),
            None => {
                let text = format_args!("invalid $limit_rate \"{}\"", Text(text));
                log::error(ex, cx, LogLevel::Error, text);
            }
        },
    }
}

/// Keeps a value for a slot.
pub fn set_slot(slot: SlotId, ex: &mut Exchange, cx: Cx<'_>, text: &[u8]) {
    let slots = &mut ex.vars.slots;
    if slots.len() < cx.plan.slots.len() {
        slots.resize(cx.plan.slots.len(), None);
    }
    let range = ex.vars.keep(text);
    ex.vars.slots[slot.0 as usize] = Some(range);
}

/// Matches a pattern and keeps its captures, for `$1` and for its named groups. No match leaves no captures.
pub fn matches(regex: &Regex, subject: &[u8], ex: &mut Exchange, cx: Cx<'_>) -> bool {
    let mut captures = Captures::default();
    let count = regex.captures(subject, &mut captures);
    if count == 0 {
        ex.vars.captures_count = 0;
        return false;
    }
    keep_match(regex, count, &captures, subject, ex, cx);
    true
}

/// Keeps the captures of a match that was made elsewhere.
pub fn keep_match(
    regex: &Regex,
    count: usize,
    captures: &Captures,
    subject: &[u8],
    ex: &mut Exchange,
    cx: Cx<'_>,
) {
    let vars = &mut ex.vars;
    vars.captures = *captures;
    vars.captures_count = count as u8;
    vars.subject.clear();
    vars.subject.extend_from_slice(subject);
    for &(slot, group) in regex.slots() {
        let (start, end) = captures
            .get(usize::from(group))
            .copied()
            .unwrap_or_default();
        set_slot(slot, ex, cx, &subject[start as usize..end as usize]);
    }
}

/// Whether one of a directive's values is neither empty nor `0`.
pub fn any_true(values: &[Expr], ex: &mut Exchange, cx: Cx<'_>) -> bool {
    values.iter().any(|value| {
        let mut text = cx.local.buffers.take(32);
        eval(value, ex, cx, &mut text);
        let truth = is_true(&text);
        cx.local.buffers.give(text);
        truth
    })
}

/// Neither empty nor `0`.
#[must_use]
pub fn is_true(value: &[u8]) -> bool {
    !matches!(value, b"" | b"0")
}
