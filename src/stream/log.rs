//! What the logs tell of a session: its line in the access log, and nginx's context around lines of the error log.

use std::fmt;

use super::session::Session;
use super::vars;
use crate::base::escape;
use crate::http::local::Cx;
use crate::http::log::{Text, client};
use crate::net::Stream as Socket;
use crate::observe::entry::{Entry, Fact};
use crate::plan::expr::Part;
use crate::plan::model::{Escape, LogLevel};
use crate::plan::{ListenAddr, LogFormat};

/// Writes the session into the access logs of its server.
pub(super) fn line(session: &mut Session, cx: Cx<'_>) {
    for target in &cx.location(session.location).access_logs {
        let mut text = cx.local.buffers.take(256);
        let wanted = target.condition.as_ref().is_none_or(|condition| {
            vars::eval(condition, session, cx, &mut text);
            !matches!(&text[..], b"" | b"0")
        });
        if wanted {
            text.clear();
            format(&cx.plan.formats[target.format], session, cx, &mut text);
            text.push(b'\n');
            match target.log {
                Some(log) => cx.generation.logs.access(log, &text),
                None => {
                    let mut path = cx.local.buffers.take(128);
                    vars::eval(&target.path, session, cx, &mut path);
                    cx.generation.logs.access_at(target.kept, &path, &text);
                    cx.local.buffers.give(path);
                }
            }
        }
        cx.local.buffers.give(text);
    }
}

fn format(format: &LogFormat, session: &mut Session, cx: Cx<'_>, out: &mut Vec<u8>) {
    let mut value = cx.local.buffers.take(128);
    for part in &format.line.parts {
        match part {
            Part::Lit(text) => out.extend_from_slice(text),
            Part::Capture(number) => session.matches.capture(*number, out),
            Part::Var(var) => {
                value.clear();
                let found = vars::value(*var, session, cx, &mut value);
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

/// Writes to the error logs of the session's server, with its context behind the message.
pub(super) fn error(session: &Session, cx: Cx<'_>, level: LogLevel, message: fmt::Arguments<'_>) {
    if !is_wanted(session, cx, level) {
        // Formatting costs more than asking.
        return;
    }
    let client = client(session.client());
    let server = Listening(session, cx).to_string();
    let fact = |name, value, quoted| Fact {
        name,
        value,
        quoted,
    };
    let who = [
        fact("client", client.as_bytes(), false),
        fact("server", server.as_bytes(), false),
    ];
    match session.attempts.last() {
        None => tell(session, cx, level, message, &who),
        Some(attempt) => {
            let near = Bytes::client(session).to_string();
            let far = Bytes::upstream(session).to_string();
            let [client, server] = who;
            let facts = [
                client,
                server,
                fact("upstream", &attempt.name, true),
                fact(NEAR, near.as_bytes(), false),
                fact(FAR, far.as_bytes(), false),
            ];
            tell(session, cx, level, message, &facts);
        }
    }
}

const NEAR: &str = "bytes from/to client:";
const FAR: &str = "bytes from/to upstream:";

fn is_wanted(session: &Session, cx: Cx<'_>, level: LogLevel) -> bool {
    let logs = &cx.location(session.location).error_logs;
    session.debug || logs.iter().any(|to| level <= to.most)
}

fn tell(
    session: &Session,
    cx: Cx<'_>,
    level: LogLevel,
    message: fmt::Arguments<'_>,
    facts: &[Fact<'_>],
) {
    let logs = &cx.location(session.location).error_logs;
    let entry = Entry {
        trace: b"",
        level,
        connection: session.number,
        message,
        facts,
    };
    cx.generation.logs.tell(logs, session.debug, &entry);
}

/// A client came.
pub(super) fn accepted(session: &Session, cx: Cx<'_>) {
    let (peer, server) = (&session.peer, Listening(session, cx));
    let text = format_args!("client {peer} connected to {server}");
    tell(session, cx, LogLevel::Info, text, &[]);
}

/// A backend took the connection.
pub(super) fn connected(session: &Session, backend: &Socket, cx: Cx<'_>) {
    if !is_wanted(session, cx, LogLevel::Info) {
        // Asking for the address is a system call.
        return;
    }
    if let (Ok(local), Some(attempt)) = (backend.local_addr(), session.attempts.last()) {
        let text = format_args!("proxy {local} connected to {}", Text(&attempt.name));
        tell(session, cx, LogLevel::Info, text, &[]);
    }
}

/// The session ended because this side was done.
pub(super) fn disconnected(session: &Session, who: &str, cx: Cx<'_>) {
    let (near, far) = (Bytes::client(session), Bytes::upstream(session));
    let text = format_args!("{who} disconnected, {NEAR}{near}, {FAR}{far}");
    tell(session, cx, LogLevel::Info, text, &[]);
}

/// The address that is listened on, as configured.
struct Listening<'a>(&'a Session, Cx<'a>);

impl fmt::Display for Listening<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.1.plan.listeners[self.0.listener].addr {
            ListenAddr::Tcp(at) => write!(f, "{at}"),
            ListenAddr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What was moved so far on one side: from it, to it.
struct Bytes(u64, u64);

impl Bytes {
    fn client(session: &Session) -> Self {
        Self(session.received, session.sent)
    }

    fn upstream(session: &Session) -> Self {
        let last = session.attempts.last();
        last.map_or(Self(0, 0), |attempt| Self(attempt.received, attempt.sent))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0, self.1)
    }
}
