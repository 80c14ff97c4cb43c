//! Request bodies: framing, buffering, limits, and what the origin gets of them.

use crate::support::origin::ok;
use crate::support::{Config, Origin, Proxy, wait};

fn to(origin: &Origin, text: &str) -> Proxy {
    Config::server(text).set("origin", origin.addr()).start()
}

const PLAIN: &str = "location / { proxy_pass http://%%origin%%; }";
const STREAM: &str = "location / { proxy_pass http://%%origin%%; proxy_request_buffering off; }";

/// Bytes that differ from position to position.
fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

#[test]
fn a_body_of_any_size_arrives_whole() {
    for text in [PLAIN, STREAM] {
        let origin = Origin::text("x");
        let proxy = to(&origin, &format!("client_max_body_size 20m; {text}"));
        let mut client = proxy.client();
        for size in [0, 1, 1000, 8 << 10, 16 << 10, 100_000, 5 << 20] {
            let body = pattern(size);
            client.send(format!(
                "POST /{size} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"
            ));
            client.send(&body);
            assert_eq!(client.response().status(), 200);
            let got = origin.last();
            assert_eq!(got.field("content-length"), Some(size.to_string().as_str()));
            assert!(got.body == body, "{size} bytes with {text}");
        }
    }
}

#[test]
fn what_is_behind_a_body_in_one_go_is_the_next_request() {
    // Within the buffer of a head, within what is received ahead, what the receives of a body take, and beyond.
    const SIZES: [usize; 7] = [1, 900, 4000, 8 << 10, 16 << 10, 17 << 10, 100_000];
    for text in [PLAIN, STREAM] {
        let origin = Origin::answer(|r| ok(r.target()));
        let proxy = to(&origin, text);
        let mut client = proxy.client();
        for size in SIZES {
            let head = format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
            let next = b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n";
            client.send([head.as_bytes(), &pattern(size), next].concat());
            assert_eq!(client.response().text(), "/a");
            assert_eq!(client.response().text(), "/b");
        }
        let bodies = origin.requests().into_iter().map(|r| r.body);
        let expected = SIZES
            .into_iter()
            .flat_map(|size| [pattern(size), Vec::new()]);
        assert!(bodies.eq(expected), "{text}");
    }
}

#[test]
fn a_chunked_body_gets_a_length_when_buffered() {
    let origin = Origin::text("x");
    let proxy = to(&origin, PLAIN);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let got = origin.request();
    assert_eq!(got.field("transfer-encoding"), None);
    assert_eq!(got.field("content-length"), Some("5"));
    assert_eq!(got.text(), "abcde");
}

#[test]
fn a_chunked_body_stays_chunked_when_streamed() {
    let origin = Origin::text("x");
    let proxy = to(&origin, STREAM);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    wait::until("the first chunk", || {
        origin.received().iter().any(|b| b.ends_with(b"abc\r\n"))
    });
    client.send("2\r\nde\r\n0\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    let got = origin.request();
    assert_eq!(got.field("transfer-encoding"), Some("chunked"));
    assert_eq!(got.field("content-length"), None);
    assert_eq!(got.text(), "abcde");
}

#[test]
fn a_streamed_body_arrives_before_it_is_complete() {
    let origin = Origin::script(|conn| {
        let _head = conn.read_head();
        assert_eq!(conn.bytes(4), b"half");
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
        conn.rest();
    });
    let proxy = to(&origin, STREAM);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!(client.response().text(), "early");
    client.try_send("rest");
}

#[test]
fn a_buffered_body_reaches_the_origin_only_when_complete() {
    let origin = Origin::text("x");
    let proxy = to(&origin, PLAIN);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!(proxy.get("/other").status(), 200);
    assert_eq!(origin.accepted(), 1, "only the other request has connected");
    client.send("rest");
    assert_eq!(client.response().status(), 200);
    assert_eq!(origin.last().text(), "halfrest");
}

#[test]
fn bodies_over_the_limit_are_refused_unread() {
    let origin = Origin::text("x");
    let proxy = Config::server(&format!(
        "client_max_body_size 10; location /free {{ client_max_body_size 0; proxy_pass http://%%origin%%; }} {PLAIN}"
    ))
    .set("origin", origin.addr())
    .logs("client intended to send too large body: 11 bytes")
    .logs("client intended to send too large chunked body")
    .start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status(), 413);
    assert!(response.text().contains("413 Request Entity Too Large"));
    assert_eq!(response.field("connection"), Some("close"));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n3\r\nabc\r\n0\r\n\r\n");
    assert_eq!(client.response().status(), 413);
    assert!(origin.requests().is_empty());
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n0123456789");
    assert_eq!(client.response().status(), 200);
    client.send(format!(
        "POST /free HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n{}",
        "x".repeat(11)
    ));
    assert_eq!(client.response().status(), 200);
}

#[test]
fn large_bodies_rest_in_files_that_vanish() {
    let origin = Origin::text("x");
    let proxy = Config::server(&format!(
        "client_max_body_size 0; client_body_buffer_size 1k; client_body_temp_path %%DIR%%/body_temp; {PLAIN}"
    ))
    .set("origin", origin.addr())
    .may_log("a client request body is buffered to a temporary file")
    .start();
    let body = pattern(300_000);
    let mut client = proxy.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    client.send(&body);
    assert_eq!(client.response().status(), 200);
    assert!(origin.last().body == body);
    let files = walk(&proxy.path("body_temp"));
    assert!(files.is_empty(), "{files:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|e| {
            if e.path().is_dir() {
                walk(&e.path())
            } else {
                vec![e.path()]
            }
        })
        .collect()
}

#[test]
fn an_answer_before_the_end_of_the_body_is_passed_on() {
    let origin = Origin::script(|conn| {
        let Some(_) = conn.read_head() else { return };
        conn.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        conn.rest();
    });
    let proxy = to(&origin, &format!("client_max_body_size 0; {STREAM}"));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    client.try_send(pattern(1000));
    assert_eq!(client.response().status(), 403);
}

#[test]
fn a_body_that_nobody_reads_does_not_become_a_request() {
    let proxy = Config::server("location / { return 200 own; }").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 35\r\n\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\nxx");
    assert_eq!(client.response().text(), "own");
    client.send("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().text(), "own");
}

#[test]
fn request_body_variables_hold_the_body() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_set_header X-Body $request_body; proxy_set_header X-Length $content_length; }",
    );
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Type: a/b\r\n\r\nbody");
    assert_eq!(client.response().status(), 200);
    let got = origin.request();
    assert_eq!(got.field("x-body"), Some("body"));
    assert_eq!(got.field("x-length"), Some("4"));
    assert_eq!(got.field("content-type"), Some("a/b"));
}
