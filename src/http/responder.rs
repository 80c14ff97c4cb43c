//! Talks to OCSP responders over plain HTTP, about certificates of ours (`stapling`) and of clients (`ocsp`): a responder
//! that is silent costs no more than its time. What is asked and what an answer is worth is known in `net::tls`. Start at
//! [`Asker::ask`].

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use super::local::{Generation, Local};
use crate::base::base64;
use crate::net::addr::Addr;
use crate::net::connect::{self, Options};
use crate::net::join::{First, race};
use crate::net::tls::staple::{ANSWER_BYTES_MAX, Responder};
use crate::net::{names, runtime};
use crate::plan::model::LogLevel;
use crate::plan::{ResolverId, ServerId};

/// A question, with all that belongs to it, takes no longer; nginx's time.
const WITHIN: Duration = Duration::from_secs(60);

/// Heads of answers that are longer are none.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// Who asks, by the settings of a server.
pub struct Asker<'a> {
    /// The configuration.
    pub generation: &'a Generation,
    /// The shard.
    pub local: &'a Rc<Local>,
    /// The server whose resolver and logs are used.
    pub server: ServerId,
    /// Without a resolver, names are looked up by the system.
    pub system: bool,
}

impl Asker<'_> {
    /// The answer to a question, or what is to be logged.
    pub async fn ask(&self, responder: &Responder, request: &[u8]) -> Result<Vec<u8>, String> {
        let fetched = pin!(self.fetch(responder, request));
        match race(fetched, pin!(runtime::sleep(WITHIN))).await {
            First::Left(result) => result,
            First::Right(()) => Err("OCSP responder timed out".to_owned()),
        }
    }

    /// Logs why there is no answer; `about` says for whom.
    pub fn tell(&self, reason: &str, responder: &str, about: fmt::Arguments<'_>) {
        let plan = &self.generation.plan;
        let logs = &plan.locations[plan.servers[self.server].root].error_logs;
        let text = format_args!(
            "{reason} while requesting certificate status, responder: {responder}, {about}"
        );
        self.generation.logs.error_all(logs, LogLevel::Error, text);
    }

    /// The answer's bytes, or what is to be logged.
    async fn fetch(&self, responder: &Responder, request: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |what: &str, error: &io::Error| format!("{what} failed ({error})");
        let mut reason = "no address for the OCSP responder".to_owned();
        for ip in self.addresses(&responder.host).await? {
            let to = Addr::Ip(SocketAddr::new(ip, responder.port));
            let options = Options::default();
            let opened = connect::connect(&to, &options, &self.local.deadlines).await;
            let mut stream = match opened {
                Ok(stream) => stream,
                Err(error) => {
                    reason = failed("connect()", &error);
                    continue;
                }
            };
            let (sent, _) = stream.tx.send_all(encode(responder, request)).await;
            sent.map_err(|error| failed("send()", &error))?;
            let mut answer = Vec::new();
            while answer.len() < HEAD_BYTES_MAX + ANSWER_BYTES_MAX {
                match stream.rx.recv_ready(&mut answer).await {
                    Ok(0) => break,
                    Ok(_) if length(&answer).is_some_and(|whole| answer.len() >= whole) => break,
                    Ok(_) => {}
                    Err(error) => return Err(failed("recv()", &error)),
                }
            }
            return decode(&answer)
                .map(<[u8]>::to_vec)
                .ok_or_else(|| "OCSP responder sent invalid response".to_owned());
        }
        Err(reason)
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let plan = &self.generation.plan;
        let server = &plan.servers[self.server];
        let resolver: Option<ResolverId> = server.tls.as_ref().and_then(|tls| tls.resolver);
        let within = plan.locations[server.root].settings.core.resolver_timeout;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if self.system && resolver.is_none() && bare.parse::<IpAddr>().is_err() {
            // As with nginx, which then asks the system when it starts.
            let found = names::lookup(host).await;
            return found.map_err(|error| format!("{host} could not be resolved ({error})"));
        }
        let resolvers = &self.generation.resolvers;
        let found = resolvers.resolve(resolver, host.as_bytes(), within).await;
        found.map_err(|error| {
            let mut text = Vec::new();
            error.write(host.as_bytes(), &mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    }
}

/// The question in HTTP (RFC 6960, A.1).
fn encode(responder: &Responder, request: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    base64::encode(request, &mut text);
    let mut out = format!("GET {}", responder.path).into_bytes();
    if !responder.path.ends_with('/') {
        out.push(b'/');
    }
    for byte in text {
        match byte {
            b'+' => out.extend_from_slice(b"%2B"),
            b'/' => out.extend_from_slice(b"%2F"),
            b'=' => out.extend_from_slice(b"%3D"),
            _ => out.push(byte),
        }
    }
    let host = &responder.host;
    out.extend_from_slice(format!(" HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes());
    out
}

/// The lines of a head and where the body begins; none before it is whole.
fn head(answer: &[u8]) -> Option<(&[u8], usize)> {
    let mut begin = 0;
    loop {
        let end = begin + memchr::memchr(b'\n', &answer[begin..])?;
        if matches!(&answer[begin..end], b"" | b"\r") {
            return Some((&answer[..begin], end + 1));
        }
        begin = end + 1;
    }
}

fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    lines.filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// How long an answer is as a whole, once that is known.
fn length(answer: &[u8]) -> Option<usize> {
    let (head, body) = head(answer)?;
    let mut all = fields(head);
    let (_, length) = all.find(|(name, _)| name.eq_ignore_ascii_case(b"content-length"))?;
    let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
    body.checked_add(length)
}

/// The body of an answer that is one.
fn decode(answer: &[u8]) -> Option<&[u8]> {
    let (head, body) = head(answer)?;
    let good = head.starts_with(b"HTTP/1.") && head.get(8..12) == Some(b" 200");
    let kind = |name: &[u8], value: &[u8]| {
        !name.eq_ignore_ascii_case(b"content-type")
            || value.eq_ignore_ascii_case(b"application/ocsp-response")
    };
    let end = length(answer).unwrap_or(answer.len());
    if !good || !fields(head).all(|(name, value)| kind(name, value)) || end > answer.len() {
        return None;
    }
    let body = &answer[body..end];
    (body.len() <= ANSWER_BYTES_MAX).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_escaped() {
        let responder = Responder::of_url("http://ocsp.example:8080/a").unwrap();
        let sent = encode(&responder, &[0xfb, 0xff, 0xfe, 0]);
        let expected = b"GET /a/%2B%2F%2F%2BAA%3D%3D HTTP/1.0\r\nHost: ocsp.example\r\n\r\n";
        assert_eq!(sent, expected);
    }

    #[test]
    fn answers_are_taken_apart() {
        let good: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\n\r\nbody",
            b"HTTP/1.0 200\n\nbody",
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbodyrest",
            b"HTTP/1.1 200 OK\r\ncontent-length:  4 \r\nX\r\n\r\nbody",
        ];
        for answer in good {
            assert_eq!(decode(answer), Some(&b"body"[..]), "{answer:?}");
        }
        let bad: [&[u8]; 7] = [
            b"",
            b"HTTP/1.1 200 OK\r\nbody",
            b"HTTP/1.1 404 Not Found\r\n\r\nbody",
            b"HTTP/2 200 OK\r\n\r\nbody",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\nbody",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\nContent-Length: 9\r\n",
        ];
        for answer in bad {
            assert_eq!(decode(answer), None, "{answer:?}");
        }
    }
}
