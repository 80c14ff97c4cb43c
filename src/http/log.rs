//! Stage 9: access log lines, and nginx's context around lines of the error log.
//!
//! Formats lines; where they go is `observe`'s business. Start at [`line()`] and [`error`].

use std::fmt::{self, Write as _};
use std::io;

use super::exchange::Exchange;
use super::local::Cx;
use super::vars;
use crate::base::escape;
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
    cx.generation.logs.access_at(&path, text);
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
    // Formatting costs more than asking.
    if !logs.iter().any(|(_, most)| level <= *most) {
        return;
    }
    let context = Context {
        ex,
        server: &cx.plan.servers[ex.server].name,
    };
    for (log, most) in logs.iter() {
        if level <= *most {
            let text = format_args!("*{} {message}{context}", ex.conn.number);
            cx.generation.logs.error(*log, level, text);
        }
    }
}

/// `, client: …, server: …, request: …` of an exchange.
struct Context<'a> {
    ex: &'a Exchange,
    server: &'a [u8],
}

impl fmt::Display for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ex = self.ex;
        f.write_str(", client: ")?;
        match ex.client() {
            crate::net::Addr::Ip(at) => write!(f, "{}", at.ip())?,
            crate::net::Addr::Unix(_) => f.write_str("unix:")?,
        }
        write!(f, ", server: {}", Text(self.server))?;
        let head = &ex.head;
        let subrequest = match ex.is_subrequest() {
            true => &ex.uri[..],
            false => b"",
        };
        let quoted = [
            ("request", head.bytes(head.line)),
            ("subrequest", subrequest),
            ("upstream", &ex.upstream_url[..]),
            ("host", head.bytes(head.host)),
            (
                "referrer",
                head.fields.get(Token::REFERER).unwrap_or_default(),
            ),
        ];
        for (name, value) in quoted {
            if !value.is_empty() {
                write!(f, ", {name}: \"{}\"", Text(value))?;
            }
        }
        Ok(())
    }
}

/// Bytes from outside in a log line: text as it is, everything that could break a line or a terminal as `\xHH`.
pub struct Text<'a>(pub &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(at) = rest.find(|c: char| c.is_control()) {
                f.write_str(&rest[..at])?;
                let control = rest[at..].chars().next().unwrap_or_default();
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    write!(f, "\\x{byte:02X}")?;
                }
                rest = &rest[at + control.len_utf8()..];
            }
            f.write_str(rest)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02X}")?;
            }
        }
        Ok(())
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
    fn text_cannot_break_a_line() {
        for (bytes, want) in [
            (&b"plain \"quoted\" /path"[..], "plain \"quoted\" /path"),
            (b"a\r\nb\0", "a\\x0D\\x0Ab\\x00"),
            (b"\x1b[31m", "\\x1B[31m"),
            ("caf\u{e9}".as_bytes(), "caf\u{e9}"),
            (b"\xff\xfe", "\\xFF\\xFE"),
            ("\u{85}".as_bytes(), "\\xC2\\x85"),
        ] {
            assert_eq!(Text(bytes).to_string(), want);
        }
    }

    #[test]
    fn system_errors_read_as_in_nginx() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(Errno(&error).to_string(), "2: No such file or directory");
    }
}
