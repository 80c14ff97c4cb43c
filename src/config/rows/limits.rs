//! Rows of the limits: how many requests a key may make, and how many it may have in progress.

use std::sync::Arc;

use super::zones::{self, Use, ZONE_BYTES_MIN};
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Inherit, Row, args, args_to, family, row};
use crate::config::tree::{Directive, Word};
use crate::config::value::*;

family! {
    /// Settings of the limits.
    pub struct Limits in limits {
        value limit_req_dry_run: bool = "off", flag, HSL, args(1), "Counts and tells, but neither rejects nor delays requests.";
        value limit_req_status: u16 = "503", status, HSL, args(1), "Status of requests that are too many.";
        value limit_req_log_level: LogLevel = "error", level, HSL, args(1), "How loud a rejected request is; a delayed one is one level quieter.";
        value limit_conn_dry_run: bool = "off", flag, HSL, args(1), "Counts and tells, but rejects nothing.";
        value limit_conn_status: u16 = "503", status, HSL, args(1), "Status of requests beyond the number in progress.";
        value limit_conn_log_level: LogLevel = "error", level, HSL, args(1), "How loud a request beyond the number in progress is.";
    } also {
        limit_req: List<LimitReq> = List::default(), "`limit_req` lines, each of its own zone.";
        limit_conn: List<LimitConn> = List::default(), "`limit_conn` lines, each of its own zone.";
    }
}

/// The rows of this family that are not plain values.
pub(crate) const ROWS: &[Row] = &[
    row(
        "limit_req_zone",
        H,
        args(3),
        limit_req_zone,
        "Counts the requests of each key.",
    )
    .many(),
    row(
        "limit_req",
        HSL,
        args_to(1, 3),
        limit_req,
        "How many requests of a key may come at once.",
    )
    .many()
    .clearing(Inherit::Replace, |settings| {
        Arc::make_mut(&mut settings.limits).limit_req = List::default();
    }),
    row(
        "limit_conn_zone",
        H,
        args(2),
        limit_conn_zone,
        "Counts the requests of each key that are in progress.",
    )
    .many(),
    row(
        "limit_conn",
        HSL,
        args(2),
        limit_conn,
        "How many requests of a key may be in progress.",
    )
    .many()
    .clearing(Inherit::Replace, |settings| {
        Arc::make_mut(&mut settings.limits).limit_conn = List::default();
    }),
];

/// The levels that a limit may log at.
const LEVELS: &[(&str, LogLevel)] = &[
    ("info", LogLevel::Info),
    ("notice", LogLevel::Notice),
    ("warn", LogLevel::Warn),
    ("error", LogLevel::Error),
];

fn level(args: &mut Args<'_>) -> Parsed<LogLevel> {
    one_of(args, LEVELS)
}

fn status(args: &mut Args<'_>) -> Parsed<u16> {
    match num(args)? {
        status @ 400..=599 => Ok(status as u16),
        _ => Err(Fault::new("value must be between 400 and 599")),
    }
}

/// `zone=NAME:SIZE`: the name as a word, and the size.
fn sized(load: &mut Lowering<'_>, word: &Word, text: &[u8]) -> Option<(Word, usize)> {
    let colon = text.iter().position(|&b| b == b':');
    let parsed = colon.and_then(|at| Some((&text[..at], parse_size(&text[at + 1..])?)));
    let Some((name, size)) = parsed else {
        load.error_hint(
            format!("invalid zone size \"{}\"", word.lossy()),
            "write zone=NAME:SIZE, such as zone=one:10m",
            word.span,
        );
        return None;
    };
    let name = Word {
        bytes: Arc::from(name),
        span: word.span,
    };
    if size < ZONE_BYTES_MIN {
        load.error(format!("zone \"{}\" is too small", word.lossy()), word.span);
        return None;
    }
    Some((name, size))
}

/// `rate=`: thousandths of a request per second, cut down to whole ones as nginx does.
fn rate(text: &[u8]) -> Option<u64> {
    let (digits, scale) = match text {
        [digits @ .., b'r', b'/', b's'] => (digits, 1),
        [digits @ .., b'r', b'/', b'm'] => (digits, 60),
        digits => (digits, 1),
    };
    let rate = decimal(digits).filter(|&n| n > 0)?;
    Some(rate.checked_mul(1000)? / scale)
}

fn limit_req_zone(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let mut zone = None;
    let mut known = None;
    for word in &directive.args[1..] {
        match &word.bytes[..] {
            [b'z', b'o', b'n', b'e', b'=', text @ ..] => {
                zone = match sized(load, word, text) {
                    None => return,
                    some => some,
                };
            }
            [b'r', b'a', b't', b'e', b'=', text @ ..] => match rate(text) {
                Some(rate) => known = Some(rate),
                None => {
                    let message = format!("invalid rate \"{}\"", word.lossy());
                    let hint = "write a whole number with r/s or r/m, such as rate=10r/s";
                    return load.error_hint(message, hint, word.span);
                }
            },
            _ => {
                return load.error(format!("invalid parameter \"{}\"", word.lossy()), word.span);
            }
        }
    }
    // Without a rate, nginx counts one request per second.
    declare(load, directive, zone, Some(known.unwrap_or(1000)));
}

fn limit_conn_zone(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let word = &directive.args[1];
    let [b'z', b'o', b'n', b'e', b'=', text @ ..] = &word.bytes[..] else {
        return load.error(format!("invalid parameter \"{}\"", word.lossy()), word.span);
    };
    if let Some(zone) = sized(load, word, text) {
        declare(load, directive, Some(zone), None);
    }
}

/// Takes a zone up, unless its name is missing or taken.
fn declare(
    load: &mut Lowering<'_>,
    directive: &Directive,
    zone: Option<(Word, usize)>,
    rate: Option<u64>,
) {
    let command = directive.name.lossy();
    let Some((name, size)) = zone.filter(|(name, _)| !name.bytes.is_empty()) else {
        let message = format!("\"{command}\" must have \"zone\" parameter");
        return load.error(message, directive.span);
    };
    let used = match rate {
        Some(_) => Use::Requests,
        None => Use::Connections,
    };
    if !zones::claim(load, &name, size, used, directive.span) {
        return;
    }
    let Some(http) = &mut load.http else { return };
    if let Some(other) = http.limit_zones.iter().find(|z| z.name == name.bytes) {
        let message = format!(
            "{command} \"{}\" is already bound to key \"{}\"",
            name.lossy(),
            other.key.lossy()
        );
        return load.error(message, directive.span);
    }
    http.limit_zones.push(LimitZone {
        name: name.bytes,
        size,
        key: text_of(&directive.args[0]),
        rate,
    });
}

fn limit_req(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let (mut zone, mut burst, mut delay) = (None, 0, Some(0));
    for word in &directive.args {
        let (key, value) = match word.bytes.iter().position(|&b| b == b'=') {
            Some(at) => word.bytes.split_at(at + 1),
            None => (&word.bytes[..], &b""[..]),
        };
        let positive = |what: &str| match decimal(value).filter(|&n| n > 0) {
            Some(n) => Ok(n),
            None => Err(format!("invalid {what} value \"{}\"", word.lossy())),
        };
        let read = match key {
            b"zone=" => {
                zone = Some(Word {
                    bytes: Arc::from(value),
                    span: word.span,
                });
                Ok(())
            }
            b"burst=" => positive("burst").map(|n| burst = n),
            b"delay=" => positive("delay").map(|n| delay = Some(n)),
            b"nodelay" => {
                delay = None;
                Ok(())
            }
            _ => Err(format!("invalid parameter \"{}\"", word.lossy())),
        };
        if let Err(message) = read {
            return load.error(message, word.span);
        }
    }
    let Some(zone) = zone else {
        let message = "\"limit_req\" must have \"zone\" parameter";
        return load.error(message, directive.span);
    };
    if !zones::claim(load, &zone, 0, Use::Requests, directive.span) {
        return;
    }
    let limits = Arc::make_mut(&mut frame.settings.limits);
    if limits.limit_req.iter().any(|l| l.zone == zone.bytes) {
        return load.error("\"limit_req\" directive is duplicate", directive.span);
    }
    Arc::make_mut(&mut limits.limit_req).push(LimitReq {
        zone: zone.bytes,
        burst,
        delay,
    });
}

fn limit_conn(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let [zone, number] = &directive.args[..] else {
        return;
    };
    if !zones::claim(load, zone, 0, Use::Connections, directive.span) {
        return;
    }
    let limits = Arc::make_mut(&mut frame.settings.limits);
    if limits.limit_conn.iter().any(|l| l.zone == zone.bytes) {
        return load.error("\"limit_conn\" directive is duplicate", directive.span);
    }
    let max = match decimal(&number.bytes).filter(|&n| n > 0) {
        None => {
            let message = format!("invalid number of connections \"{}\"", number.lossy());
            return load.error(message, number.span);
        }
        Some(n) if n > 65535 => {
            return load.error("connection limit must be less 65536", number.span);
        }
        Some(n) => n as u32,
    };
    Arc::make_mut(&mut limits.limit_conn).push(LimitConn {
        zone: Arc::clone(&zone.bytes),
        max,
    });
}
