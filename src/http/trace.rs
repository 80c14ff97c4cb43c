//! Which trace a request belongs to, by `trace_context` and what its client says. Start at [`of`].

use super::exchange::Exchange;
use super::local::Cx;
use crate::plan::model::TraceContext;
use crate::plan::vars::Builtin;
use crate::proto::head::Fields;
use crate::proto::tokens::Token;
use crate::proto::trace::{Parent, is_state};

/// The flag that says that a trace is kept.
const SAMPLED: u8 = 1;

/// A request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace, and the span of this proxy.
    own: Parent,
    /// The client's span; none where the trace begins here.
    parent: Option<[u8; 16]>,
}

/// The place of a request, which lasts once it has one; none where it belongs to no trace.
fn of(ex: &mut Exchange, cx: Cx<'_>) -> Option<Span> {
    if ex.vars.trace.is_some() {
        return ex.vars.trace;
    }
    let mode = cx.location(ex.location).settings.log.trace_context;
    let said = match mode {
        TraceContext::Pass | TraceContext::On => said(&ex.head.fields),
        TraceContext::Off | TraceContext::Start => None,
    };
    let starts = matches!(mode, TraceContext::Start | TraceContext::On);
    let span = match said {
        Some(parent) => Some(Span {
            own: Parent {
                span: id(cx),
                ..parent
            },
            parent: Some(parent.span),
        }),
        None if starts => {
            let mut trace = [0; 32];
            trace[..16].copy_from_slice(&id(cx));
            trace[16..].copy_from_slice(&id(cx));
            Some(Span {
                own: Parent {
                    trace,
                    span: id(cx),
                    flags: SAMPLED,
                },
                parent: None,
            })
        }
        None => None,
    };
    ex.vars.trace = span;
    span
}

/// What the client says, where that is valid and said once.
fn said(fields: &Fields) -> Option<Parent> {
    let mut all = fields.get_all(Token::TRACEPARENT);
    let first = all.next()?;
    match all.next() {
        None => Parent::parse(first),
        Some(_) => None,
    }
}

/// A random number in hex that is not zero.
fn id(cx: Cx<'_>) -> [u8; 16] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let word = cx.local.random().max(1);
    std::array::from_fn(|at| HEX[(word >> (60 - 4 * at)) as usize & 15])
}

/// Appends the value of a variable; false where there is none.
pub fn variable(builtin: Builtin, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) -> bool {
    let Some(span) = of(ex, cx) else {
        return false;
    };
    match builtin {
        Builtin::TraceId => out.extend_from_slice(&span.own.trace),
        Builtin::SpanId => out.extend_from_slice(&span.own.span),
        Builtin::ParentId => match span.parent {
            Some(parent) => out.extend_from_slice(&parent),
            None => return false,
        },
        Builtin::TraceSampled => out.push(b'0' + (span.own.flags & SAMPLED)),
        Builtin::TraceParent => span.own.write(out),
        _ => return span.parent.is_some() && state(&ex.head.fields, out),
    }
    true
}

/// Appends the client's `tracestate`, where it is valid.
fn state(fields: &Fields, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    for value in fields.get_all(Token::TRACESTATE) {
        if out.len() > begin {
            out.push(b',');
        }
        out.extend_from_slice(value);
    }
    let valid = is_state(&out[begin..]);
    if !valid {
        out.truncate(begin);
    }
    valid
}

/// The trace of a request, for the log, where that is known already.
#[must_use]
pub fn known(ex: &Exchange) -> Option<&[u8; 32]> {
    ex.vars.trace.as_ref().map(|span| &span.own.trace)
}
