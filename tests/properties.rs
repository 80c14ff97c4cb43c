//! The fuzz targets on seeded cases: pieces of real messages in any order, with noise, the same on every run. A failure
//! prints the shortest case that shows it.

use crate::targets;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// Cases for each target: a few seconds in a debug build.
const CASES: u32 = 4_000;

/// Runs `target` on cases made of `pieces`.
fn run(pieces: &'static [&'static str], cases: u32, target: fn(&[u8])) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let piece = prop_oneof![
        12 => select(pieces).prop_map(|p| p.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..4),
        1 => (any::<u8>(), 1..300usize).prop_map(|(byte, n)| vec![byte; n]),
        1 => Just(b"\r\n".to_vec()),
    ];
    let text = vec(piece, 0..24).prop_map(|pieces| pieces.concat());
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&text, |data| {
        target(&data);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, data)) => {
            panic!("{reason}\nshortest case: \"{}\"", data.escape_ascii());
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn request_heads() {
    const PIECES: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "POST /a%20b?c=d HTTP/1.1\r\n",
        "HEAD http://h:80/x HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "GET ",
        "/",
        "%2e%2e",
        " HTTP/1.1",
        "\r\n",
        "\n",
        "\r",
        "Host: h\r\n",
        "Host: [::1]:80\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding",
        ": ",
        ":",
        " ",
        "\t",
        "X-A: 1\r\n",
        "x_y: 1\r\n",
        "Connection: close, x\r\n",
        "Upgrade: websocket\r\nConnection: upgrade\r\n",
        "Expect: 100-continue\r\n",
        "\0",
        "Cookie: a=1; b=2\r\n",
        "\r\n\r\n",
        ",",
        "9",
    ];
    run(PIECES, CASES, targets::request);
}

#[test]
fn response_heads() {
    const PIECES: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 404\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 ",
        "200",
        " ",
        "\r\n",
        "\n",
        "\r",
        "Content-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: close\r\n",
        "Location: /x\r\n",
        "Set-Cookie: a=1; Path=/\r\n",
        "X-A: 1\r\n",
        ": ",
        ":",
        "\0",
        "\r\n\r\n",
        "\t",
    ];
    run(PIECES, CASES, targets::response);
}

#[test]
fn chunked_bodies() {
    const PIECES: &[&str] = &[
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "0\r\n",
        "a",
        "ffffffffffffffff\r\n",
        "1\r\nx\r\n",
        "1;ext=\"v\"\r\nx\r\n",
        ";",
        "\r\n",
        "\n",
        "\r",
        "X-T: 1\r\n",
        ":",
        " ",
        "00000000000000001\r\nx\r\n",
    ];
    run(PIECES, CASES, targets::chunked);
}

#[test]
fn fastcgi_answers() {
    const PIECES: &[&str] = &[
        "\x01\x06\0\x01\0\x11\0\0Status: 200 OK\r\n\r\n",
        "\x01\x06\0\x01\0\x11\0\0Status: 200 OK\r\n\r\n",
        "\x01\x06\0\x01\0\x15\0\0Content-Length: 5\r\n\r\n",
        "\x01\x06\0\x01\0\x09\0\0Status: 4",
        "\x01\x06\0\x01\0\x06\0\x0004\r\n\r\n",
        "\x01\x06\0\x01\0\x05\x03\0helloxxx",
        "\x01\x06\0\x01\0\x01\0\0x",
        "\x01\x06\0\x01\0\0\0\0",
        "\x01\x06\0\x01\0\0\x02\0xx",
        "\x01\x07\0\x01\0\x05\0\0error",
        "\x01\x07\0\x01\0\0\0\0",
        "\x01\x03\0\x01\0\x08\0\0\0\0\0\0\0\0\0\0",
        "\x01\x03\0\x01\0\0\x01\0x",
        "\x01\x06",
        "\0\x01",
        "\r\n\r\n",
        "\0",
    ];
    run(PIECES, CASES, targets::fastcgi_answer);
}

#[test]
fn paths_and_hosts() {
    const PIECES: &[&str] = &[
        "/",
        "//",
        "..",
        ".",
        "%2e",
        "%2E%2e",
        "%2f",
        "%",
        "%0",
        "%00",
        "%25",
        "%3f",
        "a",
        "B",
        "?",
        "#",
        "+",
        " ",
        "[",
        "]",
        "::1",
        ":80",
        "example.ORG",
        "\u{e9}",
    ];
    run(PIECES, CASES * 2, targets::path);
}

#[test]
fn proxy_headers() {
    const PIECES: &[&str] = &[
        "PROXY ",
        "TCP4 ",
        "TCP6 ",
        "UNKNOWN",
        "192.0.2.1 ",
        "2001:db8::1 ",
        "80 ",
        "443",
        "\r\n",
        "65536",
        "\r\n\r\n\0\r\nQUIT\n",
        "\x21\x11\0\x0c",
        "\x21\x21\0\x24",
        "\x20\0\0\0",
        "\x01\0\x02h2",
        "\x20\0\x08\0\0\0\0\0",
        "aaaaaaaaaaaa",
        "\0\0",
    ];
    run(PIECES, CASES, targets::proxy_header);
}

#[test]
fn name_server_answers() {
    const PIECES: &[&str] = &[
        "\x12\x34",
        "\0\x01",
        "\0\0",
        "\x04name\x07example\0",
        "\0\x01\0\x01",
        "\x0c",
        "\0\0\0\x3c",
        "\0\x04\x7f\0\0\x01",
        "\0\x05\0\x01",
        "\0\x10",
    ];
    run(PIECES, CASES, targets::dns_answer);
}

#[test]
fn configurations() {
    const PIECES: &[&str] = &[
        "events {}\n",
        "http {\n",
        "server {\n",
        "location / {\n",
        "location ~ ^/(a|b)$ {\n",
        "}\n",
        ";",
        "listen 80;\n",
        "proxy_pass http://127.0.0.1:80/$uri;\n",
        "proxy_pass http://x;\n",
        "upstream x { server 127.0.0.1; }\n",
        "return 200 \"a$b\";\n",
        "set $a ${b};\n",
        "if ($a = b) {\n",
        "map $a $b { default 1; ~x 2; }\n",
        "\"",
        "'",
        "\\",
        "#",
        "$",
        "${",
        "{",
        "}",
        " ",
        "\n",
        "include *;\n",
        "proxy_set_header A $http_b;\n",
        "rewrite ^(.*)$ /$1 last;\n",
        "client_max_body_size 1m;\n",
        "[[server]]\n",
        "listen = \"80\"\n",
        "[server.location.\"/\"]\n",
        "return = [1, true]\n",
        "a.b.c = {}\n",
        "proxy_buffers 8 4k;\n",
        "error_page 404 =200 /x;\n",
        "log_format a '$b';\n",
        "access_log off;\n",
    ];
    run(PIECES, CASES / 4, targets::configuration);
}
