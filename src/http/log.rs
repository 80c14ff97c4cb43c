//! Stage 9: access log lines, and nginx's context around lines of the error log.
//!
//! Formats lines; where they go is `observe`'s business. Start at [`line()`] and [`error`].

use std::fmt::{self, Write as _};
use std::io;

use super::exchange::Exchange;
use super::local::Cx;
use super::{trace, vars};
use crate::base::escape;
use crate::net::Addr;
pub use crate::observe::entry::Text;
use crate::observe::entry::{Entry, Fact};
use crate::plan::LogFormat;
use crate::plan::expr::Part;
use crate::plan::location::AccessLogPlan;
use crate::plan::model::{Escape, LogLevel};
use crate::proto::tokens::Token;

/// Writes the exchange into the access logs of its location.
pub fn line(ex: &mut Exchange, cx: Cx<'_>) {
    for target in &cx.location(ex.location).access_logs {
        if let Some(condition) = &target.condition
            && !vars::any_true(std::slice::from_ref(condition), ex, cx)
        {
            continue;
        }
        let mut text = cx.local.buffers.take(512);
        format(&cx.plan.formats[target.format], ex, cx, &mut text);
        text.push(b'\n');
        write(target, &text, ex, cx);
        cx.local.buffers.give(text);
    }
}

/// Hands a line to its log.
fn write(target: &AccessLogPlan, text: &[u8], ex: &mut Exchange, cx: Cx<'_>) {
    if let Some(log) = target.log {
        cx.generation.logs.access(log, text);
        return;
    }
    let mut path = cx.local.buffers.take(128);
    vars::eval(&target.path, ex, cx, &mut path);
    cx.generation.logs.access_at(target.kept, &path, text);
    cx.local.buffers.give(path);
}

/// Appends one line of a format, without its end.
fn format(format: &LogFormat, ex: &mut Exchange, cx: Cx<'_>, out: &mut Vec<u8>) {
    let mut value = cx.local.buffers.take(128);
    for part in &format.line.parts {
        match part {
            Part::Lit(text) => out.extend_from_slice(text),
            Part::Capture(number) => vars::capture_text(*number, ex, false, out),
            Part::Var(var) => {
                value.clear();
                let found = vars::value(*var, ex, cx, &mut value);
                match format.escape {
                    Escape::Default if !found => out.push(b'-'),
                    Escape::Default => escape::log_default(out, &value),
                    Escape::Json => escape::log_json(out, &value),
                    Escape::None => escape::log_none(out, &value),
                }
            }
        }
    }
    cx.local.buffers.give(value);
}

/// Writes to the error logs of the exchange's location, with nginx's context behind the message.
pub fn error(ex: &Exchange, cx: Cx<'_>, level: LogLevel, message: fmt::Arguments<'_>) {
    let logs = &cx.location(ex.location).error_logs;
    // As in nginx, a client that is debugged is told of everywhere, whatever the level of a log is.
    let everything = ex.conn.debug;
    // Formatting costs more than asking.
    if everything || logs.iter().any(|to| level <= to.most) {
        write_error(ex, cx, level, message);
    }
}

#[cold]
fn write_error(ex: &Exchange, cx: Cx<'_>, level: LogLevel, message: fmt::Arguments<'_>) {
    let client = client(ex.client());
    let head = &ex.head;
    let fact = |name, value, quoted| Fact {
        name,
        value,
        quoted,
    };
    let subrequest = match ex.is_subrequest() {
        true => &ex.uri[..],
        false => b"",
    };
    let referrer = head.fields.get(Token::REFERER).unwrap_or_default();
    let entry = Entry {
        level,
        connection: ex.conn.number,
        message,
        trace: trace::known(ex).map_or(&b""[..], |trace| trace),
        facts: &[
            fact("client", client.as_bytes(), false),
            fact("server", &cx.plan.servers[ex.server].name, false),
            fact("request", head.bytes(head.line), true),
            fact("subrequest", subrequest, true),
            fact("upstream", &ex.upstream_url, true),
            fact("host", head.bytes(head.host), true),
            fact("referrer", referrer, true),
        ],
    };
    let logs = &cx.location(ex.location).error_logs;
    cx.generation.logs.tell(logs, ex.conn.debug, &entry);
}

/// A client as the error log names it.
#[must_use]
pub fn client(addr: &Addr) -> String {
    match addr {
        Addr::Ip(at) => at.ip().to_string(),
        Addr::Unix(_) => "unix:".to_owned(),
    }
}

/// A system error as nginx writes it: `2: No such file or directory`.
pub struct Errno<'a>(pub &'a io::Error);

impl fmt::Display for Errno<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(code) = self.0.raw_os_error() else {
            return write!(f, "{}", self.0);
        };
        // std appends the number in brackets; nginx puts it first.
        let mut text = String::new();
        write!(text, "{}", self.0)?;
        let words = text.split(" (os error").next().unwrap_or_default();
        write!(f, "{code}: {words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_in_nginx() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(Errno(&error).to_string(), "2: No such file or directory");
    }
}
