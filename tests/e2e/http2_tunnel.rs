//! WebSockets over HTTP/2 (extended CONNECT, RFC 8441): an upgrade towards the origin, frames by hand towards the client.

use crate::support::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, END_STREAM_AND_HEADERS, GOAWAY, HEADERS,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, hello, hello_with, next, until,
};
use crate::support::origin::response;
use crate::support::proxy::QUIT;
use crate::support::{Client, Config, Origin, Proxy, wait};
use std::time::{Duration, Instant};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

fn recipe(origin: &Origin, idle: &str) -> Config {
    Config::http(
        "map $http_upgrade $connection_upgrade { default upgrade; '' close; }
         server {
             listen %%ADDR_0%%; http2 on; access_log %%DIR%%/access.log;
             location / {
                 proxy_pass http://%%origin%%;
                 proxy_http_version 1.1;
                 proxy_set_header Upgrade $http_upgrade;
                 proxy_set_header Connection $connection_upgrade;
                 proxy_read_timeout %%idle%%;
             }
             location = /version { return 200 old; }
         }",
    )
    .set("origin", origin.addr())
    .set("idle", idle)
}

fn connect(stream: u32, path: &str) -> Vec<u8> {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "h"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
    ];
    frame(HEADERS, END_HEADERS, stream, &block(&fields))
}

fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, bytes)
}

/// Opens a tunnel on stream 1.
#[track_caller]
fn upgraded(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(hello(&[connect(1, "/ws")]));
    let (stream, head) = until(&mut client, HEADERS);
    assert_eq!((stream, head[0]), (1, 0x80 | 8), "the static table's 200");
    client
}

/// Reads so many bytes of DATA, and renews the windows.
#[track_caller]
fn read(client: &mut Client, stream: u32, n: usize) -> Vec<u8> {
    let mut got = Vec::new();
    while got.len() < n {
        let (of, bytes) = until(client, DATA);
        assert_eq!(of, stream);
        if !bytes.is_empty() {
            let more = (bytes.len() as u32).to_be_bytes();
            client.send(frame(WINDOW_UPDATE, 0, 0, &more));
            client.send(frame(WINDOW_UPDATE, 0, stream, &more));
        }
        got.extend(bytes);
    }
    got
}

/// An origin that switches, and then sends back what comes.
fn echo() -> Origin {
    Origin::script(|conn| {
        if conn.request().is_none() {
            return;
        }
        conn.send(SWITCH);
        loop {
            let first = conn.bytes(1);
            if first.is_empty() || !conn.send(first) {
                return;
            }
        }
    })
}

#[test]
fn the_origin_sees_an_upgrade_and_the_client_a_stream() {
    let origin = echo();
    let proxy = recipe(&origin, "60s").start();
    let mut client = proxy.client();
    client.send(hello(&[connect(1, "/ws?q=1"), data(1, b"early")]));
    let (_, settings) = until(&mut client, SETTINGS);
    assert!(
        settings.chunks(6).any(|s| s == [0, 8, 0, 0, 0, 1]),
        "ENABLE_CONNECT_PROTOCOL in {settings:?}"
    );
    let (stream, head) = until(&mut client, HEADERS);
    assert_eq!((stream, head[0]), (1, 0x80 | 8), "the static table's 200");
    assert_eq!(read(&mut client, 1, 5), b"early");
    client.send(data(1, b"late"));
    assert_eq!(read(&mut client, 1, 4), b"late");
    let request = origin.request();
    assert!(request.head_text().starts_with("GET /ws?q=1 HTTP/1.1\r\n"));
    for (name, value) in [
        ("upgrade", Some("websocket")),
        ("connection", Some("upgrade")),
        ("sec-websocket-version", Some("13")),
        ("sec-websocket-protocol", Some("chat")),
        ("content-length", None),
        ("transfer-encoding", None),
    ] {
        assert_eq!(request.field(name), value, "{name}");
    }
    // 16 bytes in base64, another for each tunnel.
    let key = request.field("sec-websocket-key").unwrap().to_owned();
    assert_eq!(key.len(), 24);
    client.send(connect(3, "/ws"));
    wait::until("the other request", || origin.requests().len() == 2);
    assert_ne!(origin.last().field("sec-websocket-key"), Some(&*key));
}

#[test]
fn megabytes_cross_within_the_windows() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send(SWITCH);
        let got = conn.bytes(1_000_000);
        assert!(got.iter().enumerate().all(|(n, &b)| b == (n % 251) as u8));
        conn.send(&got);
        conn.rest();
    });
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    // The stream's window is 64 KiB; what is sent is renewed as the origin takes it.
    let mut window = 65_535;
    for part in bytes.chunks(10_000) {
        while window < part.len() {
            let (stream, more) = until(&mut client, WINDOW_UPDATE);
            if stream == 1 {
                window += u32::from_be_bytes([more[0], more[1], more[2], more[3]]) as usize;
            }
        }
        window -= part.len();
        client.send(data(1, part));
    }
    assert!(read(&mut client, 1, bytes.len()) == bytes);
}

#[test]
fn a_window_of_nothing_stops_the_origin_and_ends_by_the_clock() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send(SWITCH);
        let piece = vec![7; 64 << 10];
        while conn.send(&piece) {}
    });
    let proxy = recipe(&origin, "700ms")
        .may_log("upstream timed out")
        .start();
    let mut client = proxy.client();
    // INITIAL_WINDOW_SIZE 0.
    client.send(hello_with(&[(4, 0)], &[connect(1, "/ws")]));
    assert_eq!(until(&mut client, HEADERS).0, 1);
    client.send(frame(WINDOW_UPDATE, 0, 1, &5u32.to_be_bytes()));
    assert_eq!(until(&mut client, DATA), (1, vec![7; 5]));
    let before = proxy.worker_rss_kib();
    let (stream, code) = until(&mut client, RST_STREAM);
    assert_eq!((stream, code), (1, 8u32.to_be_bytes().to_vec()), "CANCEL");
    assert!(proxy.worker_rss_kib() < before + 1024);
    wait::until("the origin is left", || origin.ended() == 1);
}

#[test]
fn the_clients_end_is_passed_on_and_the_origin_may_answer() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send(SWITCH);
        let got = conn.rest();
        conn.send(got);
        conn.send("bye");
    });
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    client.send(frame(DATA, END_STREAM, 1, b"all "));
    let mut got: Vec<u8> = Vec::new();
    loop {
        let frame = next(&mut client);
        assert_ne!(frame.kind, RST_STREAM);
        if frame.kind == DATA {
            got.extend(&frame.payload);
            if frame.flags & END_STREAM != 0 {
                break;
            }
        }
    }
    assert_eq!(got, b"all bye");
    proxy.wait_log("access.log", "\"CONNECT /ws HTTP/2.0\" 101 ");
    // The connection goes on.
    client.send(frame(
        HEADERS,
        END_STREAM_AND_HEADERS,
        3,
        b"\x82\x86\x04\x08/version\x41\x01h",
    ));
    assert_eq!(until(&mut client, HEADERS).0, 3);
}

#[test]
fn the_end_of_the_origin_ends_the_stream() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send(SWITCH);
        conn.send("bye");
    });
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    let mut got: Vec<u8> = Vec::new();
    let mut ended = false;
    while !ended {
        let frame = next(&mut client);
        if frame.kind == DATA {
            got.extend(&frame.payload);
            ended = frame.flags & END_STREAM != 0;
        }
    }
    assert_eq!(got, b"bye");
    // Nothing that still comes is wanted: NO_ERROR.
    assert_eq!(until(&mut client, RST_STREAM), (1, vec![0; 4]));
}

#[test]
fn a_reset_on_either_side_is_one_on_the_other() {
    let origin = echo();
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    client.send(frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    wait::until("the origin is left", || origin.ended() == 1);
    // A client that goes as a whole ends its tunnels too.
    client.send(connect(3, "/ws"));
    assert_eq!(until(&mut client, HEADERS).0, 3);
    client.reset();
    wait::until("the origin is left again", || origin.ended() == 2);
    drop(proxy);

    let origin = Origin::script(|conn| {
        conn.request();
        conn.send(SWITCH);
        conn.bytes(1);
        conn.reset();
    });
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    client.send(data(1, b"x"));
    let connect_error = 10u32.to_be_bytes().to_vec();
    assert_eq!(until(&mut client, RST_STREAM), (1, connect_error));
}

#[test]
fn trailers_have_no_place_in_a_tunnel() {
    let origin = echo();
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    let trailers = block(&[("x", "y")]);
    client.send(frame(HEADERS, END_STREAM_AND_HEADERS, 1, &trailers));
    let protocol_error = 1u32.to_be_bytes().to_vec();
    assert_eq!(until(&mut client, RST_STREAM), (1, protocol_error));
    wait::until("the origin is left", || origin.ended() == 1);
}

#[test]
fn an_idle_tunnel_is_closed_and_a_busy_one_not() {
    let origin = echo();
    let proxy = recipe(&origin, "500ms")
        .may_log("upstream timed out")
        .start();
    let mut client = upgraded(&proxy);
    let from = Instant::now();
    while from.elapsed() < Duration::from_millis(1200) {
        client.send(data(1, b"tick"));
        assert_eq!(read(&mut client, 1, 4), b"tick");
        assert!(client.is_quiet_for(Duration::from_millis(100)));
    }
    assert_eq!(until(&mut client, RST_STREAM).0, 1);
    let text = "upstream timed out (110: Connection timed out) while proxying upgraded connection";
    wait::until("a line tells it", || proxy.error_log().contains(text));
}

#[test]
fn what_is_no_switch_is_no_tunnel() {
    for (answer, head, body) in [
        // The static table has no 403 and no 502: both are spelled out.
        (
            response("403 Forbidden", "", b"no"),
            b"H\x82\x64\x02".to_vec(),
            false,
        ),
        (response("200 OK", "", b"a page"), b"H".to_vec(), true),
    ] {
        let origin = Origin::fixed(answer);
        let mut config = recipe(&origin, "60s");
        if body {
            config = config.may_log("did not switch protocols");
        }
        let proxy = config.start();
        let mut client = proxy.client();
        client.send(hello(&[connect(1, "/ws")]));
        let (stream, got) = until(&mut client, HEADERS);
        assert_eq!(stream, 1);
        assert_eq!(got[0], head[0], "{got:x?}");
        assert_ne!(got[0], 0x80 | 8, "no success");
        let (_, page) = until(&mut client, DATA);
        assert_eq!(page.starts_with(b"no"), !body);
        if body {
            assert!(
                page.windows(3).any(|text| text == b"502"),
                "{}",
                page.escape_ascii()
            );
            // What a location says by itself opens no tunnel either.
            client.send(connect(3, "/version"));
            let page = until(&mut client, DATA).1;
            assert!(
                page.windows(3).any(|text| text == b"501"),
                "{}",
                page.escape_ascii()
            );
        }
    }
}

#[test]
fn a_tunnel_survives_a_reload_and_a_drain_lets_it_end() {
    let origin = echo();
    let mut proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    proxy.rewrite_http("server { listen %%ADDR_0%%; http2 on; return 200 new; }");
    proxy.reload_until(|| proxy.get("/version").text() == "new");
    // Only new streams have to go elsewhere.
    assert_eq!(until(&mut client, GOAWAY).1[..4], 1u32.to_be_bytes());
    client.send(data(1, b"still"));
    assert_eq!(read(&mut client, 1, 5), b"still");
    proxy.signal(QUIT);
    client.send(data(1, b"here"));
    assert_eq!(read(&mut client, 1, 4), b"here");
    client.send(frame(DATA, END_STREAM, 1, b""));
    assert_eq!(proxy.wait_end(), Some(0));
}

#[test]
fn a_block_in_pieces_opens_a_tunnel_too() {
    let origin = echo();
    let proxy = recipe(&origin, "60s").start();
    let whole = connect(1, "/ws")[9..].to_vec();
    let (first, rest) = whole.split_at(20);
    let mut client = proxy.client();
    client.send(hello(&[
        frame(HEADERS, 0, 1, first),
        frame(CONTINUATION, END_HEADERS, 1, rest),
    ]));
    assert_eq!(until(&mut client, HEADERS).0, 1);
    client.send(data(1, b"x"));
    assert_eq!(read(&mut client, 1, 1), b"x");
}
