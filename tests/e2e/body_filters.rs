//! Filters that change bodies on their way: `addition`, `sub_filter`, `ssi`, and the pipeline that they share.

use crate::support::origin::{chunked, ok_bytes};
use crate::support::wire::End;
use crate::support::{Config, Origin, Proxy};

fn to(origin: &Origin, text: &str) -> Proxy {
    Config::server(text).set("origin", origin.addr()).start()
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i % 241).unwrap()).collect()
}

/// A filter that passes everything on is armed, so that the body takes the filtered way.
const FILTERED: &str =
    "addition_types *; add_after_body /nothing; location = /nothing { return 200 ''; }";

#[test]
fn filtered_bodies_of_any_size_and_framing_arrive_whole() {
    let origin = Origin::answer(|request| {
        let mut words = request.target()[1..].split('/');
        let kind = words.next().unwrap_or_default().to_owned();
        let body = pattern(words.next().unwrap_or("0").parse().unwrap());
        match kind.as_str() {
            "counted" => ok_bytes(&body),
            "chunked" => chunked(
                "Content-Type: x/y\r\n",
                &body.chunks(3000).collect::<Vec<_>>(),
                "",
            ),
            _ => [
                b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nConnection: close\r\n\r\n".as_slice(),
                &body,
            ]
            .concat(),
        }
    });
    for buffering in ["on", "off"] {
        let proxy = to(
            &origin,
            &format!(
                "{FILTERED} proxy_buffering {buffering}; location / {{ proxy_pass http://%%origin%%; }}"
            ),
        );
        let mut client = proxy.client();
        for kind in ["counted", "chunked", "until-close"] {
            for size in [0, 1, 4096, 70_000, 3_000_000] {
                let got = client.get(&format!("/{kind}/{size}")).response();
                assert_eq!(got.end, End::Whole, "{kind} {size} {buffering}");
                assert!(got.body == pattern(size), "{kind} {size} {buffering}");
            }
        }
    }
}

#[test]
fn a_filtered_body_that_breaks_is_seen_to_be_broken() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\nfirst");
    });
    for buffering in ["on", "off"] {
        let mut proxy = to(
            &origin,
            &format!(
                "{FILTERED} proxy_buffering {buffering}; location / {{ proxy_pass http://%%origin%%; }}"
            ),
        );
        proxy.announce("upstream prematurely closed connection");
        let got = proxy.get("/");
        assert_eq!((got.text(), got.end), ("first", End::Cut), "{buffering}");
    }
}

#[test]
fn the_head_of_a_filtered_answer_promises_no_length() {
    let origin = Origin::answer(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nAccept-Ranges: bytes\r\nETag: \"x\"\r\n\r\nbody"
            .to_vec()
    });
    let proxy = to(
        &origin,
        &format!("{FILTERED} location / {{ proxy_pass http://%%origin%%; }}"),
    );
    for method in ["GET", "HEAD"] {
        let mut client = proxy.client();
        let got = client.expecting(method).request(method, "/", "").response();
        assert_eq!(got.field("content-length"), None, "{method}");
        assert_eq!(got.field("accept-ranges"), None, "{method}");
        assert_eq!(got.field("etag"), Some("W/\"x\""), "{method}");
        assert_eq!(got.field("connection"), Some("keep-alive"), "{method}");
    }
}
