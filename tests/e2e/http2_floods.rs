//! Clients of HTTP/2 that make work for nothing, frame by frame: each kind ends in ENHANCE_YOUR_CALM or with its stream, with
//! a line in the log and a count in the metrics, and nobody else notices.

use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM_AND_HEADERS, GOAWAY, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, get, hello, hello_with, until,
};
use crate::support::origin::ok;
use crate::support::{Client, Config, Origin, Proxy, wait};

fn server(text: &str, origin: &Origin) -> Proxy {
    let text = format!("http2 on; location /metrics {{ metrics; }} {text}");
    Config::server(&text).set("origin", origin.addr()).start()
}

fn metric(proxy: &Proxy, kind: &str) -> u64 {
    let text = proxy.get("/metrics").text().to_owned();
    let start = format!("ringx_http2_floods_total{{kind=\"{kind}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap().parse().unwrap()
}

/// So many times what `make` says of 0, 1, 2 …
fn repeat(count: u32, mut make: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(&mut make).collect()
}

fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// A request with a body that is still to come.
fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, b"\x83\x86\x84\x41\x01h")
}

/// Each kind, and frames that are one.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let cancel = 8u32.to_be_bytes();
    let opening = |stream| frame(HEADERS, 0, stream, b"\x82\x86\x84\x41\x01h");
    vec![
        (
            "stream resets",
            repeat(400, |n| {
                [get(stream(n)), frame(RST_STREAM, 0, stream(n), &cancel)].concat()
            }),
        ),
        // Made to reset: a window of nothing, trailers without an end, trailers that are none, more than was announced.
        (
            "stream resets",
            repeat(400, |n| {
                [get(stream(n)), frame(WINDOW_UPDATE, 0, stream(n), &[0; 4])].concat()
            }),
        ),
        (
            "stream resets",
            repeat(400, |n| {
                [
                    post(stream(n)),
                    frame(HEADERS, END_HEADERS, stream(n), b"\x00\x01x\x01y"),
                ]
                .concat()
            }),
        ),
        (
            "stream resets",
            repeat(400, |n| {
                [
                    post(stream(n)),
                    frame(HEADERS, END_STREAM_AND_HEADERS, stream(n), b"\x82"),
                ]
                .concat()
            }),
        ),
        (
            "stream resets",
            repeat(400, |n| {
                let head = [
                    &b"\x83\x86\x84\x41\x01h"[..],
                    &block(&[("content-length", "1")]),
                ]
                .concat();
                [
                    frame(HEADERS, END_HEADERS, stream(n), &head),
                    frame(DATA, 0, stream(n), b"xx"),
                ]
                .concat()
            }),
        ),
        (
            "empty frames",
            [post(1), repeat(3000, |_| frame(DATA, 0, 1, b""))].concat(),
        ),
        (
            "empty frames",
            repeat(3000, |n| frame(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 9])),
        ),
        ("empty frames", repeat(3000, |_| frame(99, 0, 0, b""))),
        (
            "PING and SETTINGS frames",
            repeat(3000, |_| frame(PING, 0, 0, &[7; 8])),
        ),
        (
            "PING and SETTINGS frames",
            repeat(3000, |_| frame(SETTINGS, 0, 0, b"")),
        ),
        (
            "PING and SETTINGS frames",
            repeat(3000, |_| frame(GOAWAY, 0, 0, &[0; 8])),
        ),
        (
            "WINDOW_UPDATE frames",
            repeat(60_000, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ),
        (
            "CONTINUATION frames",
            [opening(1), repeat(20, |_| frame(CONTINUATION, 0, 1, b""))].concat(),
        ),
        (
            "header block bytes",
            [
                opening(1),
                repeat(7, |_| frame(CONTINUATION, 0, 1, &[0x82; 16_384])),
            ]
            .concat(),
        ),
    ]
}

#[test]
fn each_flood_ends_in_calm() {
    let origin = Origin::answer(|_| ok("here"));
    let proxy = server("location / { proxy_pass http://%%origin%%; }", &origin);
    for (kind, bytes) in floods() {
        let before = metric(&proxy, kind);
        let mut client = proxy.client();
        client.send(hello(&[]));
        // What is left of it when the connection ends is not taken.
        client.try_send(&bytes);
        let (_, goaway) = until(&mut client, GOAWAY);
        assert_eq!(goaway[4..8], 11u32.to_be_bytes(), "{kind}");
        drop(client);
        wait::until("the flood is counted", || {
            metric(&proxy, kind) == before + 1
        });
        let line = format!("http2 flood detected: too many {kind}, client: 127.0.0.1");
        wait::until("the flood is told", || proxy.error_log().contains(&line));
        assert_eq!(proxy.get("/").text(), "here", "others did not notice");
    }
}

#[test]
fn what_browsers_do_is_no_flood() {
    let origin = Origin::answer(|_| ok("here"));
    let proxy = server("location / { proxy_pass http://%%origin%%; }", &origin);
    let mut client = proxy.client();
    client.send(hello(&[]));
    // A page that is left, its priorities, some measuring, and a reader who renews windows all the time.
    for n in 0..100 {
        client.send(get(stream(n)));
        client.send(frame(PRIORITY, 0, stream(n), &[0, 0, 0, 0, 9]));
        client.send(frame(RST_STREAM, 0, stream(n), &8u32.to_be_bytes()));
    }
    for _ in 0..300 {
        client.send(frame(PING, 0, 0, &[1; 8]));
        client.send(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]));
    }
    client.send(get(stream(200)));
    let mut answered = false;
    while !answered {
        answered = until(&mut client, DATA).0 == stream(200);
    }
}

#[test]
fn a_bomb_of_indexed_fields_costs_a_400() {
    let origin = Origin::answer(|_| ok("here"));
    let proxy = server("location / { proxy_pass http://%%origin%%; }", &origin);
    let mut client = proxy.client();
    // An entry of 4,000 bytes, and 30,000 references to it: 120 MB of fields in 34 KB.
    let mut bomb = b"\x82\x86\x84\x01\x01h\x40\x01x\x7f\x9e\x1e".to_vec();
    bomb.extend([b'a'; 3997]);
    bomb.extend([0xbe; 30_000]);
    let mut frames = Vec::new();
    let pieces: Vec<&[u8]> = bomb.chunks(16_384).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let kind = if n == 0 { HEADERS } else { CONTINUATION };
        let mut flags = if n == 0 { 1 } else { 0 };
        if n + 1 == pieces.len() {
            flags |= END_HEADERS;
        }
        frames.extend(frame(kind, flags, 3, piece));
    }
    // Whatever a first request takes is there.
    client.send(hello(&[get(1)]));
    assert_eq!(until(&mut client, DATA), (1, b"here".to_vec()));
    let before = proxy.worker_rss_kib();
    client.send(&frames);
    let (id, head) = until(&mut client, HEADERS);
    assert_eq!((id, head[0]), (3, 0x80 | 12), "the static table's 400");
    assert!(proxy.worker_rss_kib() < before + 4096);
    assert_eq!(origin.requests().len(), 1);
    // The tables are still right.
    client.send(get(5));
    let mut last = (0, Vec::new());
    while last.0 != 5 {
        last = until(&mut client, DATA);
    }
    assert_eq!(last.1, b"here");
}

#[test]
fn a_window_that_stays_shut_ends_its_stream() {
    let body = "x".repeat(3_000_000);
    let origin = Origin::text(&body);
    let proxy = server(
        "send_timeout 500ms; location / { proxy_pass http://%%origin%%; proxy_max_temp_file_size 0; }",
        &origin,
    );
    // Whatever a first request takes is there.
    assert_eq!(proxy.get("/").body.len(), body.len());
    let mut client = proxy.client();
    let before = proxy.worker_rss_kib();
    let mut frames = vec![];
    for n in 0..20 {
        frames.push(get(stream(n)));
    }
    // No window at all, for any of them.
    client.send(hello_with(&[(4, 0)], &frames));
    let mut ended: Vec<u32> = (0..20).map(|_| until(&mut client, RST_STREAM).0).collect();
    ended.sort_unstable();
    assert_eq!(ended, (0..20).map(stream).collect::<Vec<_>>());
    // What each may hold is bounded: `proxy_buffers`, a piece on its way, and nothing of the rest.
    let after = proxy.worker_rss_kib();
    assert!(after < before + 20 * 512, "{before} {after}");
    let line = "client timed out (110: Connection timed out)";
    wait::until("it is told", || proxy.error_log().contains(line));
    assert_alive(&mut client);
}

#[test]
fn a_window_that_is_too_large_ends_its_stream_or_the_connection() {
    let origin = Origin::answer(|_| ok("here"));
    let proxy = server("location / { proxy_pass http://%%origin%%; }", &origin);
    let flow_control = 3u32.to_be_bytes();
    let largest = 0x7fff_ffffu32.to_be_bytes();
    let mut client = proxy.client();
    client.send(hello(&[post(1), frame(WINDOW_UPDATE, 0, 1, &largest)]));
    assert_eq!(until(&mut client, RST_STREAM), (1, flow_control.to_vec()));
    client.send(frame(WINDOW_UPDATE, 0, 0, &largest));
    assert_eq!(until(&mut client, GOAWAY).1[4..8], flow_control);
}

/// A PING is answered.
#[track_caller]
fn assert_alive(client: &mut Client) {
    client.send(frame(PING, 0, 0, &[9; 8]));
    assert_eq!(until(client, PING).1, [9; 8]);
}
