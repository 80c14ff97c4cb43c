//! The HTTP/2 codecs by themselves, for `bench/micro --codec`: `codec WORK COUNT` does one piece of work so often and
//! prints nothing; what it costs is the difference of two counts under callgrind.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a benchmark stops at the first surprise"
)]

use std::hint::black_box;

use ringx::base::time::Mono;
use ringx::proto::h1::parse::HeadLimits;
use ringx::proto::h2::conn::{CONNECTION_WINDOW, Config, Event, Machine, Role};
use ringx::proto::h2::frame;
use ringx::proto::h2::hpack::{Decoder, Encoder, Indexing};
use ringx::proto::h2::{ErrorCode, huffman};
use ringx::proto::head::RequestHead;
use ringx::proto::tokens::Token;

/// What a browser says of a request.
const REQUEST: [(&str, &str); 13] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "shop.example.com"),
    (":path", "/api/users/42?fields=name,mail"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    ("accept", "application/json, text/plain, */*"),
    ("accept-language", "en-US,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("referer", "https://shop.example.com/users"),
    ("cookie", "session=0123456789abcdef; theme=dark"),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("priority", "u=1, i"),
];

/// What is answered.
const RESPONSE: [(&str, &str); 6] = [
    ("server", "ringx"),
    ("date", "Fri, 20 Nov 2026 21:28:00 GMT"),
    ("content-type", "application/json"),
    ("content-length", "1024"),
    ("etag", "\"66a1-5f3\""),
    ("cache-control", "max-age=60"),
];

/// A block as a client writes it: its first into an empty table, or the same again.
fn block(encoder: &mut Encoder) -> Vec<u8> {
    let mut out = Vec::new();
    encoder.begin(&mut out);
    for (name, value) in REQUEST {
        let token = match name.as_bytes()[0] {
            b':' => Token::NONE,
            _ => Token::of(name.as_bytes()),
        };
        encoder.field(
            token,
            name.as_bytes(),
            value.as_bytes(),
            Indexing::Add,
            &mut out,
        );
    }
    out
}

fn decode(count: usize, first: bool) {
    let mut encoder = Encoder::new();
    let fresh = block(&mut encoder);
    let again = block(&mut encoder);
    let mut decoder = Decoder::new(4096);
    decoder.decode(&fresh, &mut |_| {}).unwrap();
    for _ in 0..count {
        let bytes = if first { &fresh } else { &again };
        let mut sum = 0;
        decoder
            .decode(black_box(bytes), &mut |header| sum += header.value.len())
            .unwrap();
        black_box(sum);
    }
}

fn encode(count: usize) {
    let mut encoder = Encoder::new();
    let mut out = Vec::with_capacity(1024);
    for _ in 0..count {
        out.clear();
        encoder.begin(&mut out);
        encoder.status(200, &mut out);
        for (name, value) in RESPONSE {
            let token = Token::of(name.as_bytes());
            let indexing = match name {
                "content-length" | "etag" => Indexing::Plain,
                _ => Indexing::Add,
            };
            encoder.field(
                token,
                name.as_bytes(),
                black_box(value.as_bytes()),
                indexing,
                &mut out,
            );
        }
        black_box(&out);
    }
}

fn strings(count: usize, reads: bool) {
    let text = REQUEST[4].1.as_bytes();
    let mut coded = Vec::new();
    huffman::encode(text, &mut coded);
    let mut out = Vec::with_capacity(1024);
    for _ in 0..count {
        out.clear();
        if reads {
            assert!(huffman::decode(black_box(&coded), &mut out));
        } else {
            huffman::encode(black_box(text), &mut out);
        }
        black_box(&out);
    }
}

/// A whole exchange through the machine: HEADERS in; HEADERS and 1 KiB of DATA out.
fn exchange(count: usize) {
    let config = Config {
        streams_max: 128,
        window: 65_536,
        connection_window: CONNECTION_WINDOW,
        unread_max: 1 << 20,
        frame_max: frame::FRAME_MIN,
        head_bytes_max: 33_792,
        connect_protocol: true,
    };
    let mut machine = Machine::new(Role::Server, config);
    let mut encoder = Encoder::new();
    let mut hello = frame::PREFACE.to_vec();
    frame::put_settings(&[(4, 1 << 30)], &mut hello);
    machine.step(Mono(1), &hello).unwrap();
    let (mut input, mut out, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    let mut head = RequestHead::default();
    let body = [b'x'; 1024];
    let first = block(&mut encoder);
    let again = block(&mut encoder);
    for n in 0..count {
        let id = (2 * n + 1) as u32;
        let block = if n == 0 { &first } else { &again };
        input.clear();
        frame::put_window(0, 1024, &mut input);
        frame::put_block(id, block, true, frame::FRAME_MIN, &mut input);
        let step = machine.step(Mono(1), &input).unwrap();
        let mut at = step.consumed;
        let mut event = step.event;
        while !matches!(event, Some(Event::Head { .. })) {
            let step = machine.step(Mono(1), &input[at..]).unwrap();
            at += step.consumed;
            event = step.event;
        }
        let Some(Event::Head { stream, .. }) = event else {
            panic!("no head");
        };
        machine
            .read_request(stream, &mut head, &HeadLimits::default())
            .unwrap()
            .unwrap();
        machine.begin_block();
        machine.put_status(200);
        for (name, value) in RESPONSE {
            let token = Token::of(name.as_bytes());
            machine.put_field(token, name.as_bytes(), value.as_bytes());
        }
        machine.end_block(stream, false);
        machine.send(stream, &body);
        machine.finish(stream, None);
        out.clear();
        machine.transmit(&mut out, 64 << 10);
        machine.take_moved(&mut moved);
        moved.clear();
        machine.release(stream, ErrorCode::Internal);
        black_box(&out);
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let work = args.next().unwrap();
    let count = args.next().unwrap().parse().unwrap();
    match &*work {
        "decode-first" => decode(count, true),
        "decode-again" => decode(count, false),
        "encode" => encode(count),
        "huffman-decode" => strings(count, true),
        "huffman-encode" => strings(count, false),
        "exchange" => exchange(count),
        other => panic!("no such work: {other}"),
    }
}
