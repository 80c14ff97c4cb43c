//! One line of an error log: what it says, and the two forms in which it is written: nginx's line, which other tools
//! parse, and a JSON object.
//!
//! Knows neither where lines go nor what they are about. Start at [`Entry`].

use std::fmt::{self, Write as _};
use std::io::Write as _;

use crate::base::escape;
use crate::base::time::{Unix, log_error, log_iso8601};
use crate::plan::model::LogLevel;

/// Longest line of the error log, its end included, as in nginx.
pub const LINE_MAX: usize = 2048;

/// Longest message and longest fact of a line in JSON. What is longer is cut before it is escaped, so that the object
/// stays whole.
const VALUE_MAX: usize = 4096;

/// What a line says.
pub struct Entry<'a> {
    /// How serious it is.
    pub level: LogLevel,
    /// The serial number of the client's connection; 0 for none.
    pub connection: u64,
    /// What happened.
    pub message: fmt::Arguments<'a>,
    /// To whom, in nginx's order.
    pub facts: &'a [Fact<'a>],
    /// The trace that it belongs to; empty for none. nginx's line has no place for it.
    pub trace: &'a [u8],
}

/// One circumstance of a line.
pub struct Fact<'a> {
    /// nginx's name of it: `client`. Behind one that ends in a colon there is no blank, as nginx has it for numbers.
    pub name: &'static str,
    /// Its value, as it came.
    pub value: &'a [u8],
    /// It stands in quotes, and is left out when it is empty.
    pub quoted: bool,
}

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The time.
    pub at: Unix,
    /// Minutes east of Greenwich.
    pub offset: i32,
    /// Process id.
    pub process: i32,
    /// Thread id.
    pub thread: i32,
}

impl<'a> Entry<'a> {
    /// An entry that is about no request.
    #[must_use]
    pub fn plain(level: LogLevel, message: fmt::Arguments<'a>) -> Self {
        Self {
            level,
            connection: 0,
            message,
            facts: &[],
            trace: b"",
        }
    }

    /// Appends the line as nginx writes it: `YYYY/MM/DD HH:MM:SS [level] PID#TID: *N message, client: …`.
    pub fn classic(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&log_error(stamp.at.secs, stamp.offset));
        let (level, process, thread) = (word(self.level), stamp.process, stamp.thread);
        // Writing to a Vec cannot fail.
        let _ = write!(out, " [{level}] {process}#{thread}: ");
        if self.connection > 0 {
            let _ = write!(out, "*{} ", self.connection);
        }
        let mut line = Limited {
            out,
            max: LINE_MAX - 1,
        };
        let _ = line.write_fmt(self.message);
        // As in nginx, lines for debugging say no more than themselves.
        if self.level != LogLevel::Debug {
            for fact in self.facts {
                let value = Text(fact.value);
                let (name, blank) = match fact.name.strip_suffix(':') {
                    Some(name) => (name, ""),
                    None => (fact.name, " "),
                };
                let _ = match fact.quoted {
                    true if fact.value.is_empty() => Ok(()),
                    true => write!(line, ", {name}:{blank}\"{value}\""),
                    false => write!(line, ", {name}:{blank}{value}"),
                };
            }
        }
        out.push(b'\n');
    }

    /// Appends the line as a JSON object.
    pub fn json(&self, stamp: &Stamp, out: &mut Vec<u8>) {
        let iso = log_iso8601(stamp.at.secs, stamp.offset);
        let (seconds, zone) = iso.split_at(19);
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(seconds);
        let _ = write!(out, ".{:03}", stamp.at.millis);
        out.extend_from_slice(zone);
        let (level, process, thread) = (word(self.level), stamp.process, stamp.thread);
        let _ = write!(
            out,
            "\",\"level\":\"{level}\",\"pid\":{process},\"tid\":{thread}"
        );
        if self.connection > 0 {
            let _ = write!(out, ",\"connection\":{}", self.connection);
        }
        let mut message = Vec::new();
        let mut line = Limited {
            out: &mut message,
            max: VALUE_MAX,
        };
        let _ = line.write_fmt(self.message);
        out.extend_from_slice(b",\"message\":\"");
        quote(out, &message);
        for fact in self.facts {
            if !fact.value.is_empty() {
                let name = fact.name.trim_end_matches(':');
                let _ = write!(out, "\",\"{name}\":\"");
                quote(out, &fact.value[..fact.value.len().min(VALUE_MAX)]);
            }
        }
        if !self.trace.is_empty() {
            out.extend_from_slice(b"\",\"trace_id\":\"");
            quote(out, self.trace);
        }
        out.extend_from_slice(b"\"}\n");
    }
}

/// The word of a level, as it stands in brackets.
#[must_use]
pub fn word(level: LogLevel) -> &'static str {
    LogLevel::WORDS
        .iter()
        .find(|(_, each)| *each == level)
        .map_or("", |(word, _)| word)
}

/// Appends text inside a JSON string. JSON is UTF-8: other bytes are shown as `\xHH`.
fn quote(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        escape::log_json(out, chunk.valid().as_bytes());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\\\x{byte:02X}");
        }
    }
}

/// Takes text up to a length; bytes that would begin another line, or end it early, are shown escaped.
struct Limited<'a> {
    out: &'a mut Vec<u8>,
    max: usize,
}

impl fmt::Write for Limited<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(['\n', '\r', '\0']) {
            let (plain, last) = match piece.as_bytes() {
                [plain @ .., last @ (b'\n' | b'\r' | 0)] => (plain, Some(*last)),
                plain => (plain, None),
            };
            let room = self.max.saturating_sub(self.out.len());
            self.out.extend_from_slice(&plain[..plain.len().min(room)]);
            if let Some(byte) = last
                && self.out.len() + 4 <= self.max
            {
                // Writing to a Vec cannot fail.
                let _ = write!(self.out, "\\x{byte:02X}");
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

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        at: Unix {
            secs: 1_800_000_000,
            millis: 7,
        },
        offset: 60,
        process: 12,
        thread: 34,
    };

    fn both(level: LogLevel, message: &str, facts: &[Fact<'_>]) -> (String, String) {
        let (mut classic, mut json) = (Vec::new(), Vec::new());
        let entry = Entry {
            level,
            connection: 7,
            message: format_args!("{message}"),
            facts,
            trace: b"",
        };
        entry.classic(&STAMP, &mut classic);
        entry.json(&STAMP, &mut json);
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (text(classic), text(json))
    }

    #[test]
    fn one_entry_has_two_forms() {
        let facts = [
            Fact {
                name: "client",
                value: b"127.0.0.1",
                quoted: false,
            },
            Fact {
                name: "server",
                value: b"",
                quoted: false,
            },
            Fact {
                name: "request",
                value: b"GET /\"\x01\xff HTTP/1.1",
                quoted: true,
            },
            Fact {
                name: "upstream",
                value: b"",
                quoted: true,
            },
        ];
        let (classic, json) = both(LogLevel::Error, "no \"such\"\nfile", &facts);
        assert_eq!(
            classic,
            "2027/01/15 09:00:00 [error] 12#34: *7 no \"such\"\\x0Afile, client: 127.0.0.1, server: , \
             request: \"GET /\"\\x01\\xFF HTTP/1.1\"\n"
        );
        assert_eq!(
            json,
            "{\"time\":\"2027-01-15T09:00:00.007+01:00\",\"level\":\"error\",\"pid\":12,\"tid\":34,\
             \"connection\":7,\"message\":\"no \\\"such\\\"\\\\x0Afile\",\"client\":\"127.0.0.1\",\
             \"request\":\"GET /\\\"\\u0001\\\\xFF HTTP/1.1\"}\n"
        );
        let (classic, json) = both(LogLevel::Debug, "detail", &facts);
        assert!(classic.ends_with("*7 detail\n"), "{classic}");
        assert!(json.contains("\"client\":\"127.0.0.1\""), "{json}");
    }

    #[test]
    fn long_lines_are_cut_and_objects_stay_whole() {
        let long = "\"".repeat(3 * VALUE_MAX);
        let facts = [Fact {
            name: "request",
            value: long.as_bytes(),
            quoted: true,
        }];
        let (classic, json) = both(LogLevel::Warn, &long, &facts);
        assert_eq!(classic.len(), LINE_MAX);
        assert!(json.ends_with("\\\"\"}\n"), "{}", &json[json.len() - 9..]);
        assert_eq!(json.matches("\\\"").count(), 2 * VALUE_MAX);
    }

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
}
