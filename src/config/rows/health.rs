//! Rows of active health checks: `health_check` in locations, and the `match` blocks that say what a good answer is.
//! Start at [`ROWS`].

use std::sync::Arc;
use std::time::Duration;

use super::rewrite::variable;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Row, args, args_min, row};
use crate::config::tree::{Directive, Span, Word};
use crate::config::value::*;

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    row(
        "health_check",
        L,
        args_min(0),
        health_check,
        "Asks the servers of the location's group from time to time whether they are well.",
    ),
    row("match", H, args(1), matching, "What a good answer is.").data(),
];

fn health_check(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    if let Some(mut check) = load.parse(directive, parse_check) {
        check.span = directive.span;
        frame.check = Some(Box::new(check));
    }
}

/// A fault at a word.
fn at(word: &Word, message: String) -> Fault {
    Fault {
        span: Some(word.span),
        ..Fault::new(message)
    }
}

fn parse_check(args: &mut Args<'_>) -> Parsed<HealthCheck> {
    let mut out = HealthCheck::default();
    let mut grpc = None;
    let (mut service, mut status) = (None, None);
    for word in args.words {
        let invalid = || at(word, format!("invalid parameter \"{}\"", word.lossy()));
        let (key, value) = match word.bytes.iter().position(|&b| b == b'=') {
            Some(at) => word.bytes.split_at(at + 1),
            None => (&word.bytes[..], &b""[..]),
        };
        let time = || parse_msec(value).ok_or_else(invalid);
        let some_time =
            || time().and_then(|t| Some(t).filter(|t| !t.is_zero()).ok_or_else(invalid));
        let count = || {
            let count = decimal(value).and_then(|n| u32::try_from(n).ok());
            count.filter(|&n| n > 0).ok_or_else(invalid)
        };
        match key {
            b"interval=" => out.interval = some_time()?,
            b"jitter=" => out.jitter = time()?,
            b"fails=" => out.fails = count()?,
            b"passes=" => out.passes = count()?,
            b"uri=" if value.starts_with(b"/") => out.uri = Some(Arc::from(value)),
            b"mandatory" => out.mandatory = true,
            b"persistent" => out.persistent = true,
            b"match=" if !value.is_empty() => {
                out.matched = Some(Text {
                    bytes: Arc::from(value),
                    span: word.span,
                });
            }
            b"port=" => {
                let port = decimal(value).and_then(|n| u16::try_from(n).ok());
                out.port = Some(port.filter(|&n| n > 0).ok_or_else(invalid)?);
            }
            b"type=" if value == b"grpc" => grpc = Some(word),
            b"grpc_service=" => service = Some((word, Arc::from(value))),
            b"grpc_status=" => {
                let code = decimal(value).and_then(|n| u32::try_from(n).ok());
                status = Some((word, code.ok_or_else(invalid)?));
            }
            b"keepalive_time=" => out.keepalive_time = Some(some_time()?),
            _ => return Err(invalid()),
        }
    }
    if out.persistent && !out.mandatory {
        return Err(Fault::new(
            "\"persistent\" parameter of \"health_check\" is of no use without \"mandatory\"",
        ));
    }
    let alone = service.as_ref().map(|(word, _)| *word);
    if let (None, Some(word)) = (grpc, alone.or_else(|| status.map(|(word, _)| word))) {
        return Err(at(
            word,
            format!("parameter \"{}\" needs \"type=grpc\"", word.lossy()),
        ));
    }
    if let Some(word) = grpc {
        if out.uri.is_some() || out.matched.is_some() {
            return Err(at(
                word,
                "\"type=grpc\" goes with neither \"uri\" nor \"match\"".to_owned(),
            ));
        }
        out.grpc = Some(GrpcCheck {
            service: service.map(|(_, name)| name).unwrap_or_default(),
            status: status.map(|(_, code)| code),
        });
    }
    Ok(out)
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            jitter: Duration::ZERO,
            fails: 1,
            passes: 1,
            uri: None,
            mandatory: false,
            persistent: false,
            matched: None,
            port: None,
            grpc: None,
            keepalive_time: None,
            span: Span::default(),
        }
    }
}

fn matching(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let name = text_of(&directive.args[0]);
    let mut out = MatchBlock {
        name,
        statuses: None,
        headers: Vec::new(),
        body: None,
        require: Vec::new(),
    };
    for entry in directive.block.as_deref().unwrap_or_default() {
        if let Err(fault) = rule(&mut out, entry) {
            load.fault(fault, entry);
        }
    }
    let Some(http) = &mut load.http else {
        return;
    };
    if http.matches.iter().any(|m| m.name.bytes == out.name.bytes) {
        let message = format!("duplicate match \"{}\"", out.name.lossy());
        return load.error(message, directive.span);
    }
    http.matches.push(out);
}

/// Adds one line of a `match` block.
fn rule(out: &mut MatchBlock, entry: &Directive) -> Parsed<()> {
    let name = entry.name.lossy();
    let unknown = || Fault::new(format!("unknown directive \"{name}\" in \"match\" block"));
    let wrong = || {
        Fault::new(format!(
            "invalid number of arguments in \"{name}\" directive"
        ))
    };
    if entry.block.is_some() {
        return Err(Fault::new("unexpected \"{\""));
    }
    let args = &entry.args[..];
    match &entry.name.bytes[..] {
        b"status" => {
            if out.statuses.is_some() {
                return Err(Fault::new("\"status\" directive is duplicate"));
            }
            out.statuses = Some(statuses(args).ok_or_else(wrong)??);
        }
        b"header" => out.headers.push(header(args).ok_or_else(wrong)?),
        b"body" => {
            let [how, pattern] = args else {
                return Err(wrong());
            };
            if out.body.is_some() {
                return Err(Fault::new("\"body\" directive is duplicate"));
            }
            let not = match &how.bytes[..] {
                b"~" => false,
                b"!~" => true,
                _ => return Err(at(how, format!("invalid operator \"{}\"", how.lossy()))),
            };
            out.body = Some((not, text_of(pattern)));
        }
        b"require" if args.is_empty() => return Err(wrong()),
        b"require" => {
            for word in args {
                let invalid = || at(word, format!("invalid variable name \"{}\"", word.lossy()));
                out.require.push(variable(word).ok_or_else(invalid)?);
            }
        }
        _ => return Err(unknown()),
    }
    Ok(())
}

/// `status [!] CODE | FROM-TO …`.
fn statuses(args: &[Word]) -> Option<Parsed<MatchStatuses>> {
    let (not, list) = match args {
        [first, rest @ ..] if *first.bytes == *b"!" => (true, rest),
        list => (false, list),
    };
    if list.is_empty() {
        return None;
    }
    let code = |text: &[u8]| {
        let code = decimal(text).and_then(|n| u16::try_from(n).ok());
        code.filter(|code| (100..=599).contains(code))
    };
    let each = list.iter().map(|word| {
        let range = match word.bytes.iter().position(|&b| b == b'-') {
            Some(dash) => code(&word.bytes[..dash]).zip(code(&word.bytes[dash + 1..])),
            None => code(&word.bytes).map(|code| (code, code)),
        };
        range
            .filter(|(from, to)| from <= to)
            .ok_or_else(|| at(word, format!("invalid status code \"{}\"", word.lossy())))
    });
    let ranges: Parsed<Vec<_>> = each.collect();
    Some(ranges.map(|ranges| MatchStatuses { not, ranges }))
}

/// `header [!] NAME`, `header NAME = | != | ~ | !~ VALUE`.
fn header(args: &[Word]) -> Option<MatchHeader> {
    let (name, rule) = match args {
        [not, name] if *not.bytes == *b"!" => (name, HeaderRule::Absent),
        [name] => (name, HeaderRule::Present),
        [name, how, value] => {
            let value = text_of(value);
            let rule = match &how.bytes[..] {
                b"=" => HeaderRule::Equal { not: false, value },
                b"!=" => HeaderRule::Equal { not: true, value },
                b"~" => HeaderRule::Pattern { not: false, value },
                b"!~" => HeaderRule::Pattern { not: true, value },
                _ => return None,
            };
            (name, rule)
        }
        _ => return None,
    };
    Some(MatchHeader {
        name: Arc::clone(&name.bytes),
        rule,
    })
}
