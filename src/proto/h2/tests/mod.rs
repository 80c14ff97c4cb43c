//! The machine against RFC 9113: a client that says what it likes, fed all at once and byte by byte.

mod exchanges;
mod rules;

use crate::base::time::Mono;
use crate::proto::h1::parse::{HeadLimits, RequestError};
use crate::proto::h2::conn::{CONNECTION_WINDOW, Config, Event, Fatal, Machine, Role};
use crate::proto::h2::frame::{self, HEADER_LEN, Head, Kind, PREFACE, flag, setting};
use crate::proto::h2::guard::{self, Flood};
use crate::proto::h2::hpack::{Encoder, Indexing};
use crate::proto::h2::streams::Key;
use crate::proto::h2::{ErrorCode, WINDOW_DEFAULT};
use crate::proto::head::{Fields, Method, RequestHead, ResponseHead};
use crate::proto::tokens::Token;

const CONFIG: Config = Config {
    streams_max: 4,
    window: 1000,
    connection_window: CONNECTION_WINDOW,
    unread_max: CONNECTION_WINDOW as u64,
    frame_max: frame::FRAME_MIN,
    head_bytes_max: 4096,
    connect_protocol: true,
};

/// What a peer saw and was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// `method path` or the error of each request, bodies, trailers, resets: in order.
    events: Vec<String>,
    /// RST_STREAM frames.
    resets: Vec<(u32, u32)>,
    /// GOAWAY's code.
    goaway: Option<u32>,
    /// The flood that was seen.
    flood: Option<Flood>,
}

/// Feeds a server everything a client sends, in pieces of `step` bytes.
fn serve(bytes: &[u8], step: usize) -> Outcome {
    let mut machine = Machine::new(Role::Server, CONFIG);
    let mut outcome = Outcome::default();
    let (mut input, mut out) = (Vec::new(), Vec::new());
    'all: for piece in bytes.chunks(step) {
        input.extend_from_slice(piece);
        loop {
            match machine.step(Mono(1), &input) {
                Ok(step) => {
                    let event = step.event;
                    if let Some(event) = event
                        && note(&mut machine, event, &input, &mut outcome).is_err()
                    {
                        break 'all;
                    }
                    input.drain(..step.consumed);
                    if event.is_none() {
                        break;
                    }
                }
                Err(fatal) => {
                    if let Fatal::Flood(flood) = fatal {
                        outcome.flood = Some(flood);
                    }
                    break 'all;
                }
            }
        }
    }
    machine.transmit(&mut out, usize::MAX);
    told(&out, &mut outcome);
    outcome
}

fn note(
    machine: &mut Machine,
    event: Event,
    input: &[u8],
    outcome: &mut Outcome,
) -> Result<(), Fatal> {
    match event {
        Event::Head { stream, end } => {
            let mut head = RequestHead::default();
            let limits = HeadLimits {
                large_size: 1024,
                ..HeadLimits::default()
            };
            let text = match machine.read_request(stream, &mut head, &limits)? {
                Ok(_) => format!(
                    "{} {}{}",
                    head.method_bytes().escape_ascii(),
                    head.bytes(head.uri).escape_ascii(),
                    if end { "" } else { " +body" }
                ),
                Err(error) => {
                    machine.reset(stream, ErrorCode::Protocol);
                    error.message().to_owned()
                }
            };
            outcome.events.push(text);
        }
        Event::Trailers { stream } => {
            let mut fields = Fields::new();
            let text = match machine.read_trailers(stream, &mut fields)? {
                Ok(()) => format!("trailers {}", fields.len()),
                Err(malformed) => {
                    machine.reset(stream, ErrorCode::Protocol);
                    malformed.0.to_owned()
                }
            };
            outcome.events.push(text);
        }
        Event::Data {
            stream,
            from,
            to,
            end,
        } => {
            let text = input[from..to].escape_ascii().to_string();
            machine.consumed(stream, to - from);
            match outcome.events.last_mut() {
                Some(last) if last.starts_with("data ") && !last.ends_with('.') => {
                    last.push_str(&text)
                }
                _ => outcome.events.push(format!("data {text}")),
            }
            if end && let Some(last) = outcome.events.last_mut() {
                last.push('.');
            }
        }
        Event::Reset { code, remote, .. } => {
            outcome
                .events
                .push(format!("reset {} {remote}", code.name()));
        }
        Event::Settings => {}
        Event::GoAway { last, code } => outcome
            .events
            .push(format!("goaway {last} {}", code.name())),
        Event::Pong => outcome.events.push("pong".to_owned()),
    }
    Ok(())
}

fn told(out: &[u8], outcome: &mut Outcome) {
    let mut rest = out;
    while let Some((head, after)) = rest.split_first_chunk::<HEADER_LEN>() {
        let head = Head::parse(head);
        let payload = &after[..head.len];
        match head.kind {
            Kind::RstStream => outcome.resets.push((head.stream, frame::number32(payload))),
            Kind::GoAway => outcome.goaway = Some(frame::number32(&payload[4..])),
            _ => {}
        }
        rest = &after[head.len..];
    }
    assert!(rest.is_empty(), "whole frames only");
}

/// A client's bytes.
struct Client {
    bytes: Vec<u8>,
}

impl Client {
    fn new() -> Self {
        let mut bytes = PREFACE.to_vec();
        frame::put_settings(&[], &mut bytes);
        frame::put_settings_ack(&mut bytes);
        Self { bytes }
    }

    fn frame(mut self, kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Self {
        frame::put_head(payload.len(), kind, flags, stream, &mut self.bytes);
        self.bytes.extend_from_slice(payload);
        self
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            // Spelled as given: upper case must be possible.
            block.push(0);
            for text in [name, value] {
                assert!(text.len() < 127);
                block.push(text.len() as u8);
                block.extend_from_slice(text.as_bytes());
            }
        }
        block
    }

    fn headers(mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Self {
        let block = self.block(fields);
        self.frame(Kind::Headers, flags | flag::END_HEADERS, stream, &block)
    }

    fn get(self, stream: u32) -> Self {
        self.headers(stream, flag::END_STREAM, GET)
    }

    fn post(self, stream: u32) -> Self {
        self.headers(stream, 0, POST)
    }

    fn data(self, stream: u32, flags: u8, payload: &[u8]) -> Self {
        self.frame(Kind::Data, flags, stream, payload)
    }

    fn repeat(mut self, n: usize, each: impl Fn(Self) -> Self) -> Self {
        for _ in 0..n {
            self = each(self);
        }
        self
    }
}

const GET: &[(&str, &str)] = &[
    (":method", "GET"),
    (":scheme", "http"),
    (":path", "/a?b"),
    (":authority", "h"),
];

const POST: &[(&str, &str)] = &[
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/"),
    (":authority", "h"),
];

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    base.iter().chain(more).copied().collect()
}

fn both(client: &Client, why: &str) -> Outcome {
    let at_once = serve(&client.bytes, usize::MAX);
    for step in [1, 7] {
        assert_eq!(
            serve(&client.bytes, step),
            at_once,
            "{why}: in pieces of {step}"
        );
    }
    at_once
}
