//! `ringx explain URL`: what a configuration would do with a request, without serving, asking a backend or opening a socket
//! to anybody.
//!
//! The request goes through the stages that serve, on a runtime of its own; see [`crate::http::explain`]. Start at
//! [`explain`].

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::cli::Options;
use super::identity::Identity;
use super::reading;
use super::setup::Setup;
use crate::base::escape;
use crate::front::h1::{Conn, Decoded};
use crate::front::{ConnInfo, Stream};
use crate::http::exchange::Exchange;
use crate::http::explain::{Note, explain as walk};
use crate::http::local::{Cx, Generation, Local};
use crate::net::runtime::{Prefer, Runtime, probe};
use crate::net::tls::{Facts, TlsSet};
use crate::net::{Addr, Clock, Deadlines};
use crate::observe::scribe::Files;
use crate::observe::{Counters, Desk, Logs, Scribe};
use crate::plan::location::Content;
use crate::plan::{ListenAddr, ListenerId, Plan};
use crate::proto::h1::parse::HeadLimits;
use crate::proto::head::RequestHead;

/// How long anything may take that the configuration itself asks for, such as looking at files.
const WITHIN: Duration = Duration::from_secs(10);

/// Entries of a ring that hardly does anything.
const RING_ENTRIES: u32 = 8;

/// What is asked.
#[derive(Args, Debug)]
pub struct Ask {
    /// The request's URL: `http://host:port/path` or `https://…`
    url: String,
    /// The method.
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A field of the request, as `Name: value`; may be given again.
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    /// The client's address.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// nginx.conf or TOML; the default configuration when left out.
    #[arg(short = 'c', long = "conf")]
    file: Option<PathBuf>,
    /// Write JSON: an array of objects with `stage` and `text`.
    #[arg(long)]
    json: bool,
}

/// A URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    tls: bool,
    /// Host and port as written.
    authority: &'a str,
    port: u16,
    target: &'a str,
}

impl<'a> Url<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = match scheme {
            "http" => false,
            "https" => true,
            other => {
                return Err(format!(
                    "\"{other}\" is no scheme that is served: use http or https"
                ));
            }
        };
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let port = match authority.rsplit_once(':') {
            // The last colon of an address in brackets is part of it.
            Some((_, port)) if !port.ends_with(']') => {
                port.parse().map_err(|_| format!("\"{port}\" is no port"))?
            }
            _ if tls => 443,
            _ => 80,
        };
        if authority.is_empty() {
            return Err(format!("\"{text}\" names no host"));
        }
        Ok(Self {
            tls,
            authority,
            port,
            target,
        })
    }
}

/// Explains; the error is a whole text.
pub fn explain(ask: &Ask) -> Result<String, String> {
    let url = Url::parse(&ask.url).map_err(|problem| format!("ringx: {problem}\n"))?;
    let options = Options {
        file: ask.file.clone(),
        ..Options::default()
    };
    let setup = Setup::new(Identity::Ringx, &options, Vec::new());
    let (plan, tls) = reading::compile_for_looking(&setup)?;
    let listener = listener(&plan, &url).map_err(|problem| format!("ringx: {problem}\n"))?;
    let head = head(ask, &url)?;
    let notes = run(plan, tls, listener, ask, &url, &head)
        .map_err(|error| format!("ringx: the explanation cannot run ({error})\n"))?;
    Ok(if ask.json { json(&notes) } else { text(&notes) })
}

/// The listener of the URL's port.
fn listener(plan: &Plan, url: &Url<'_>) -> Result<(ListenerId, SocketAddr), String> {
    let mut known = Vec::new();
    for (id, listener) in plan.listeners.enumerate() {
        let (_, address) = &listener.hosts[0];
        let root = plan.servers[address.names.default_server()].root;
        if matches!(plan.locations[root].content, Content::Session(_)) {
            // No request comes there.
            continue;
        }
        if let ListenAddr::Tcp(at) = &listener.addr {
            if at.port() == url.port {
                return Ok((id, *at));
            }
            known.push(at.to_string());
        }
    }
    let (port, known) = (url.port, known.join(", "));
    Err(format!("nothing listens on port {port}: there is {known}"))
}

/// The request as a client of HTTP/1.1 would send it.
fn head(ask: &Ask, url: &Url<'_>) -> Result<String, String> {
    let mut head = format!("{} {}", ask.method, url.target);
    if url.target.starts_with('?') {
        head = format!("{} /{}", ask.method, url.target);
    }
    head.push_str(" HTTP/1.1\r\n");
    let names_host = |line: &&String| line.to_ascii_lowercase().starts_with("host:");
    if !ask.headers.iter().any(|line| names_host(&line)) {
        head.push_str(&format!("Host: {}\r\n", url.authority));
    }
    for line in &ask.headers {
        if !line.contains(':') || line.contains(['\r', '\n']) {
            return Err(format!(
                "ringx: \"{}\" is no field: write Name: value\n",
                line.escape_debug()
            ));
        }
        head.push_str(line);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    Ok(head)
}

fn run(
    plan: Plan,
    tls: TlsSet,
    (listener, local_addr): (ListenerId, SocketAddr),
    ask: &Ask,
    url: &Url<'_>,
    head: &str,
) -> std::io::Result<Vec<Note>> {
    let mut runtime = Runtime::new(&probe(Prefer::Epoll), RING_ENTRIES)?;
    let plan = Arc::new(plan);
    let scribe = Scribe::start()?;
    // No log of the configuration is opened: what would be logged stays untold.
    let table = scribe.table(&plan, &Files::default());
    let logs = Logs::new(Desk::new(scribe, Clock::new()), table);
    let counters = Counters::shards(1).remove(0);
    let local = Rc::new(Local::new(Clock::new(), Deadlines::new(), counters, 1));
    let generation = Generation::new(plan, Arc::new(tls), logs, &local, (1, None));
    let generation = Rc::new(generation);
    let conn = Rc::new(ConnInfo {
        number: 1,
        remote: Addr::Ip(SocketAddr::new(ask.from, 0)),
        local: Addr::Ip(local_addr),
        listener: Cell::new(listener),
        proxy: None,
        accepted: local.clock.mono(),
        requests: Cell::new(1),
        pipelined: Cell::new(false),
        tls: url.tls.then(|| Rc::new(facts(url))),
        debug: false,
        misplaced: false,
        named: None,
        entry: Cell::new(None),
    });
    let cx = Cx::new(&generation, &local);
    runtime.run(async {
        let (socket, _client) = crate::net::Stream::pair(&local.deadlines)?;
        let mut h1 = Conn::new(socket, conn.clone(), head.as_bytes().to_vec(), 0);
        let mut ex = Box::new(Exchange::new(conn.clone()));
        let mut parsed = RequestHead::default();
        let limits = HeadLimits::default();
        let buffers = &local.buffers;
        let decoded = match h1.look_for_head(&mut parsed, &limits, buffers) {
            Some(decoded) => decoded,
            None => h1.read_head(&mut parsed, &limits, WITHIN, buffers).await,
        };
        let refused = match decoded {
            Decoded::Request | Decoded::Closed => None,
            Decoded::Refused(why) => Some(why),
        };
        ex.conn = conn;
        ex.stream = Stream::H1(Box::new(h1));
        ex.head = parsed;
        let notes = walk(&mut ex, refused, cx).await;
        drop(ex.end(buffers));
        Ok(notes)
    })
}

/// What a client over TLS is taken to have agreed on.
fn facts(url: &Url<'_>) -> Facts {
    let host = url.authority.split(':').next().unwrap_or_default();
    Facts::supposed(host.as_bytes())
}

/// One line for each note, with its stage where that changes.
fn text(notes: &[Note]) -> String {
    let mut out = String::new();
    let mut last = "";
    for note in notes {
        let stage = if note.stage == last { "" } else { note.stage };
        out.push_str(&format!("{stage:<10}{}\n", note.text));
        last = note.stage;
    }
    out
}

fn json(notes: &[Note]) -> String {
    let quoted = |text: &str| {
        let mut out = Vec::new();
        escape::log_json(&mut out, text.trim_start().as_bytes());
        String::from_utf8_lossy(&out).into_owned()
    };
    let objects = notes.iter().map(|note| {
        let (stage, text) = (note.stage, quoted(&note.text));
        format!("{{\"stage\":\"{stage}\",\"text\":\"{text}\"}}")
    });
    format!("[{}]\n", objects.collect::<Vec<_>>().join(",\n "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, tls, authority, port, target) in [
            ("http://a.test/x?y", false, "a.test", 80, "/x?y"),
            ("https://a.test", true, "a.test", 443, "/"),
            ("a.test:8080/x", false, "a.test:8080", 8080, "/x"),
            ("http://[::1]/", false, "[::1]", 80, "/"),
            ("https://[::1]:8443?q", true, "[::1]:8443", 8443, "?q"),
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!(
                (url.tls, url.authority, url.port, url.target),
                (tls, authority, port, target)
            );
        }
        for bad in ["ftp://a/", "http:///x", "http://a:port/"] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
