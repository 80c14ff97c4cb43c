//! Rows of the log family: access logs and their formats.

use std::sync::Arc;
use std::time::Duration;

use super::parse_core::log_sink;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Args, Fault, Inherit, Row, args, args_min, args_to, family, row};
use crate::config::tree::Directive;
use crate::config::value::*;

family! {
    /// Settings of the log family.
    pub struct Log in log {
        value open_log_file_cache: Option<Arc<OpenLogFileCache>> = "off", log_file_cache, HSL.or(TTS), args_to(1, 4), "Keeps log files open whose names have variables.";
        value trace_context: TraceContext = "off", |a| one_of(a, TraceContext::WORDS), HSL, args(1), "Whether requests to backends belong to a trace (traceparent, tracestate): the client's, or one that begins here.";
    } also {
        access_log: Option<Arc<Vec<AccessLog>>> = None, "`access_log`; `None` is `off`.";
    }
}

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    row(
        "access_log",
        HSLIE.or(TTS),
        args_min(1),
        access_log,
        "Where requests and sessions are logged.",
    )
    .many()
    .default("logs/access.log combined; off in stream")
    .clearing(Inherit::Replace, |settings| {
        Arc::make_mut(&mut settings.log).access_log = Some(Arc::default());
    }),
    row(
        "log_format",
        H.or(T),
        args_min(2),
        |_, _, _| {},
        "A named format of log lines.",
    )
    .many()
    .default("combined \"...\""),
];

/// The format that needs no definition.
pub(super) fn combined() -> LogFormat {
    let format = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \
                  \"$http_referer\" \"$http_user_agent\"";
    LogFormat {
        name: Arc::from(&b"combined"[..]),
        escape: Escape::Default,
        format: Text::from(format),
    }
}

/// Reads the formats of an `http` or `stream` block before anything names them.
pub(super) fn formats(load: &mut Lowering<'_>, directives: &[Directive]) {
    let mut names: std::collections::HashSet<Arc<[u8]>> = std::collections::HashSet::new();
    let known = load.http.iter().flat_map(|http| &http.log_formats);
    names.extend(known.map(|format| Arc::clone(&format.name)));
    for directive in directives
        .iter()
        .filter(|d| *d.name.bytes == *b"log_format" && d.args.len() >= 2)
    {
        let name = &directive.args[0];
        if !names.insert(Arc::clone(&name.bytes)) {
            load.error(
                format!("duplicate \"log_format\" name \"{}\"", name.lossy()),
                directive.span,
            );
            continue;
        }
        let mut parts = &directive.args[1..];
        let mut escape = Escape::Default;
        if let Some(word) = parts[0].bytes.strip_prefix(b"escape=") {
            escape = match word {
                b"json" => Escape::Json,
                b"none" => Escape::None,
                b"default" => Escape::Default,
                _ => {
                    let shown = String::from_utf8_lossy(word);
                    load.error(
                        format!("unknown log format escaping \"{shown}\""),
                        directive.span,
                    );
                    continue;
                }
            };
            parts = &parts[1..];
        }
        let bytes: Vec<u8> = parts.iter().flat_map(|w| w.bytes.iter().copied()).collect();
        let span = parts.first().map_or(directive.span, |w| w.span);
        let format = Text {
            bytes: Arc::from(bytes),
            span,
        };
        if let Some(http) = &mut load.http {
            http.log_formats.push(LogFormat {
                name: Arc::clone(&name.bytes),
                escape,
                format,
            });
        }
    }
    // Names are found without regard to case, the first one wins.
    if let Some(http) = &load.http {
        for (index, format) in http.log_formats.iter().enumerate() {
            load.shared
                .formats
                .entry(format.name.to_ascii_lowercase())
                .or_insert(index);
        }
    }
}

fn access_log(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let first = &directive.args[0];
    if *first.bytes == *b"off" {
        if let Some(extra) = directive.args.get(1) {
            return load.error(
                format!("invalid parameter \"{}\"", extra.lossy()),
                extra.span,
            );
        }
        // An `off` wins over every log of its level.
        frame.seen.insert("access_log off", directive.span);
        Arc::make_mut(&mut frame.settings.log).access_log = None;
        return;
    }
    let stream = frame.context.meets(TTS);
    if stream && directive.args.len() < 2 {
        return load.error("log format is not specified", directive.span);
    }
    let default = b"combined"[..].to_vec();
    let name = directive
        .args
        .get(1)
        .map_or(default, |w| w.bytes.to_ascii_lowercase());
    let format = load.shared.formats.get(&name).copied();
    let log = load.parse(directive, parse_access_log);
    let Some(format) = format else {
        let shown = directive.args.get(1).map(|w| w.lossy()).unwrap_or_default();
        return load.error(
            format!("unknown log format \"{shown}\""),
            directive.args.get(1).unwrap_or(first).span,
        );
    };
    if let Some(log) = &log
        && let LogSink::File(path) = &log.sink
        && log.buffer > 0
    {
        let now = (log.buffer, log.flush, log.gzip);
        let then = *load.shared.buffered.entry(path.clone()).or_insert(now);
        if then != now {
            let message = format!(
                "access_log \"{}\" already defined with conflicting parameters",
                first.lossy()
            );
            load.error(message, directive.span);
        }
    }
    if let Some(mut log) = log
        && !frame.seen.contains_key("access_log off")
    {
        log.format = format;
        let logs = Arc::make_mut(&mut frame.settings.log)
            .access_log
            .get_or_insert_default();
        Arc::make_mut(logs).push(log);
    }
}

fn parse_access_log(args: &mut Args<'_>) -> Parsed<AccessLog> {
    let word = args.word(0);
    let sink = log_sink(args, word, true)?;
    let mut log = AccessLog {
        sink,
        format: 0,
        buffer: 0,
        flush: None,
        gzip: None,
        condition: None,
    };
    for word in args.words.get(2..).unwrap_or_default() {
        let value = |prefix: &[u8]| word.bytes.strip_prefix(prefix);
        let shown = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
        if let Some(v) = value(b"buffer=") {
            let size = parse_size(v).filter(|&n| n > 0);
            log.buffer =
                size.ok_or_else(|| Fault::new(format!("invalid buffer size \"{}\"", shown(v))))?;
        } else if let Some(v) = value(b"flush=") {
            let time = parse_msec(v).filter(|t| !t.is_zero());
            log.flush = Some(
                time.ok_or_else(|| Fault::new(format!("invalid flush time \"{}\"", shown(v))))?,
            );
        } else if *word.bytes == *b"gzip" {
            log.gzip = Some(1);
        } else if let Some(v) = value(b"gzip=") {
            match decimal(v) {
                Some(level @ 1..=9) => log.gzip = Some(level as u8),
                _ => {
                    return Err(Fault::new(format!(
                        "invalid compression level \"{}\"",
                        shown(v)
                    )));
                }
            }
        } else if let Some(v) = value(b"if=") {
            log.condition = Some(Text {
                bytes: Arc::from(v),
                span: word.span,
            });
        } else {
            return Err(Fault::new(format!(
                "invalid parameter \"{}\"",
                word.lossy()
            )));
        }
    }
    if log.gzip.is_some() && log.buffer == 0 {
        log.buffer = 64 * 1024;
    }
    check_buffer(args, &log)?;
    Ok(log)
}

fn check_buffer(args: &Args<'_>, log: &AccessLog) -> Result<(), Fault> {
    let path = args.word(0).lossy();
    match (&log.sink, log.buffer) {
        (_, 0) if log.flush.is_some() => Err(Fault::new(format!(
            "no buffer is defined for access_log \"{path}\""
        ))),
        (_, 0) => Ok(()),
        (LogSink::Variable(_), _) => Err(Fault::new("buffered logs cannot have variables in name")),
        (LogSink::Syslog(_), _) => Err(Fault::new("logs to syslog cannot be buffered")),
        _ => Ok(()),
    }
}

/// `open_log_file_cache`. Where it is inherited, the cache is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLogFileCache {
    /// Most entries.
    pub max: u64,
    /// How long an entry stays that is not used.
    pub inactive: Duration,
    /// How long an open file is trusted.
    pub valid: Duration,
    /// Uses that keep a file open.
    pub min_uses: u64,
}

/// `off | max=N [inactive=TIME] [min_uses=N] [valid=TIME]`.
fn log_file_cache(args: &mut Args<'_>) -> Parsed<Option<Arc<OpenLogFileCache>>> {
    let mut cache = OpenLogFileCache {
        max: 0,
        inactive: Duration::from_secs(10),
        valid: Duration::from_secs(60),
        min_uses: 1,
    };
    let mut off = false;
    for word in args.words {
        let bytes = &word.bytes[..];
        let value = |name: &[u8]| bytes.strip_prefix(name);
        let known = if let Some(v) = value(b"max=") {
            decimal(v).map(|n| cache.max = n)
        } else if let Some(v) = value(b"inactive=") {
            parse_sec(v).map(|time| cache.inactive = time)
        } else if let Some(v) = value(b"valid=") {
            parse_sec(v).map(|time| cache.valid = time)
        } else if let Some(v) = value(b"min_uses=") {
            decimal(v).map(|n| cache.min_uses = n)
        } else {
            off |= bytes == b"off";
            (bytes == b"off").then_some(())
        };
        if known.is_none() {
            let (name, shown) = (args.name, word.lossy());
            return Err(Fault::new(format!(
                "invalid \"{name}\" parameter \"{shown}\""
            )));
        }
    }
    if off {
        return Ok(None);
    }
    if cache.max == 0 {
        let message = "\"open_log_file_cache\" must have \"max\" parameter";
        return Err(Fault::new(message));
    }
    Ok(Some(Arc::new(cache)))
}
