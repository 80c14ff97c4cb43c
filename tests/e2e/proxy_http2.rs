//! HTTP/2 to origins: an independent peer, and origins by hand that do what no good peer does.

use crate::support::frames::{
    DATA, END_STREAM, END_STREAM_AND_HEADERS, GOAWAY, HEADERS, PING, RST_STREAM, WINDOW_UPDATE,
    answer, find, frame, greet, head, next_of, request,
};
use crate::support::origin::Conn;
use crate::support::peer::PeerH2;
use crate::support::{Client, Config, Origin, Proxy, wait};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

/// A group of one origin, over HTTP/2.
fn to(addr: impl std::fmt::Display, text: &str) -> Config {
    Config::http(&format!(
        "upstream u {{ server %%origin%%; keepalive 8; }}
         proxy_http_version 2;
         server {{ listen %%ADDR_0%%; {text} }}"
    ))
    .set("origin", addr)
}

const ALL: &str = "location / { proxy_pass http://u; }";

fn body(client: &mut Client) -> String {
    let response = client.response();
    assert_eq!(response.status(), 200, "{}", response.head_text());
    String::from_utf8_lossy(&response.body).into_owned()
}

#[test]
fn an_independent_peer_understands_us() {
    let peer = PeerH2::start();
    let proxy = to(
        peer.addr(),
        "client_max_body_size 4m; proxy_set_header X-Set yes;
         location / { proxy_pass http://u; }
         location /as/ { proxy_pass http://u/is/; proxy_set_header Host $host; }
         location /streamed { proxy_pass http://u; proxy_request_buffering off; proxy_buffering off; }
         location /trailers { proxy_pass http://u; proxy_pass_trailers on; }",
    )
    .start();
    let mut client = proxy.client();
    client.request(
        "GET",
        "/a%20b?c=d",
        "Cookie: e=f\r\nConnection: X-Own\r\nX-Own: 1\r\nTE: gzip\r\nUpgrade: h3\r\n",
    );
    let text = body(&mut client);
    assert!(text.starts_with("GET http://u/a%20b?c=d\n"), "{text}");
    assert!(
        text.contains("\ncookie: e=f\n") && text.contains("\nx-set: yes\n"),
        "{text}"
    );
    for absent in [
        "connection",
        "x-own",
        "te:",
        "upgrade",
        "host:",
        "keep-alive",
    ] {
        assert!(!text.contains(absent), "{absent} in {text}");
    }
    client.request("GET", "/as/x", "");
    assert!(body(&mut client).contains("/is/x\n"));
    client.expecting("HEAD").request("HEAD", "/", "");
    assert_eq!(client.response().body, b"");
    for (path, bytes) in [
        ("/", 10),
        ("/", 20_000),
        ("/", 2_000_000),
        ("/streamed", 2_000_000),
    ] {
        let sent: Vec<u8> = (0..bytes).map(|n: u32| b'a' + (n % 23) as u8).collect();
        client.request("POST", path, &format!("Content-Length: {bytes}\r\n"));
        client.send(&sent);
        let response = client.response();
        let head_len = response.body.len() - sent.len();
        assert!(response.body[head_len..] == sent, "{path} {bytes}");
        let head = String::from_utf8_lossy(&response.body[..head_len]).into_owned();
        assert!(
            head.contains(&format!("\ncontent-length: {bytes}\n")),
            "{head}"
        );
    }
    client.send("POST /streamed HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let text = body(&mut client);
    assert!(text.ends_with("\n\nabc"), "{text}");
    client
        .send("GET /trailers HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: te, close\r\n\r\n");
    let all = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(
        all.contains("x-connection: 1\r\n"),
        "one connection for all: {all}"
    );
}

#[test]
fn requests_share_a_connection_and_each_gets_its_own_answer() {
    const N: usize = 20;
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        let Some(first) = request(conn) else { return };
        conn.send(answer(first, b"first"));
        let streams: Vec<u32> = (0..N).map_while(|_| request(conn)).collect();
        // Nobody is answered before all have asked; the last one comes first.
        for &stream in streams.iter().rev() {
            conn.send(answer(stream, stream.to_string().as_bytes()));
        }
        while next_of(conn).is_some() {}
    });
    let proxy = to(origin.addr(), ALL).start();
    let mut client = proxy.client();
    assert_eq!(body(client.get("/")), "first");
    let mut clients: Vec<Client> = (0..N).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| {
        client.get("/");
    });
    let mut told: Vec<u32> = clients
        .iter_mut()
        .map(|client| body(client).parse().unwrap())
        .collect();
    told.sort_unstable();
    assert_eq!(told, (1..=N as u32).map(|n| 2 * n + 1).collect::<Vec<_>>());
}

#[test]
fn a_peers_limit_of_streams_is_kept() {
    // Two at a time need two connections where each takes one stream.
    let together = Arc::new(Barrier::new(2));
    let asked = AtomicUsize::new(0);
    let origin = Origin::script(move |conn| {
        if !greet(conn, &[(3, 1)]) {
            return;
        }
        while let Some(stream) = request(conn) {
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                conn.send(answer(stream, b"ready"));
            } else {
                together.wait();
                conn.send(answer(stream, b"both"));
            }
        }
    });
    let proxy = to(origin.addr(), ALL).start();
    let mut pair = [proxy.client(), proxy.client()];
    // From now on the limit of the first connection is known.
    pair[0].get("/");
    assert_eq!(body(&mut pair[0]), "ready");
    pair.iter_mut().for_each(|client| {
        client.get("/");
    });
    for client in &mut pair {
        assert_eq!(body(client), "both");
    }
}

/// An origin whose first connections do something else than answer; those after `bad` answer with their number.
fn after(
    bad: usize,
    first: impl Fn(&mut Conn, u32) + Send + Sync + 'static,
) -> (Origin, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let origin = Origin::script(move |conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            count.fetch_add(1, Ordering::SeqCst);
            if conn.number < bad {
                first(conn, stream);
            } else {
                conn.send(answer(stream, conn.number.to_string().as_bytes()));
            }
        }
    });
    (origin, asked)
}

fn post(proxy: &Proxy) -> u16 {
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    client.response().status()
}

#[test]
fn what_the_peer_did_not_look_at_is_sent_again_whatever_the_method() {
    type First = fn(&mut Conn, u32);
    let refused: First = |conn, stream| {
        if stream == 1 {
            conn.send(answer(stream, b"one"));
        } else {
            conn.send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]));
        }
    };
    let gone: First = |conn, stream| {
        if stream == 1 {
            conn.send(answer(stream, b"one"));
        } else {
            conn.send(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
        }
    };
    for first in [refused, gone] {
        let (origin, asked) = after(1, first);
        let proxy = to(origin.addr(), ALL).start();
        assert_eq!(post(&proxy), 200);
        assert_eq!(post(&proxy), 200);
        assert_eq!(asked.load(Ordering::SeqCst), 3, "once more, and no more");
    }
}

#[test]
fn a_refusal_of_everything_ends() {
    let (origin, asked) = after(usize::MAX, |conn, stream| {
        conn.send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]));
    });
    let proxy = to(origin.addr(), ALL)
        .logs("upstream did not take the request while")
        .start();
    assert_eq!(post(&proxy), 502);
    assert!(asked.load(Ordering::SeqCst) <= 2);
}

#[test]
fn a_stream_that_breaks_is_not_sent_again_and_costs_the_others_nothing() {
    let (origin, asked) = after(usize::MAX, |conn, stream| match stream {
        1 => {
            conn.send(answer(stream, b"one"));
        }
        _ => {
            conn.send(frame(RST_STREAM, 0, stream, &[0, 0, 0, 2]));
        }
    });
    let proxy = to(origin.addr(), ALL)
        .logs("upstream rejected request with error 2 while reading response header from upstream")
        .start();
    assert_eq!(post(&proxy), 200);
    assert_eq!(post(&proxy), 502);
    assert_eq!(post(&proxy), 502);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[test]
fn broken_answers_are_refused_or_visibly_cut() {
    // What the origin says, the status, and the log.
    type Case = (fn(u32) -> Vec<u8>, u16, &'static str);
    let cases: [Case; 7] = [
        (
            |s| head(s, END_STREAM, &[("x", "1")]),
            502,
            "upstream sent no \":status\" header",
        ),
        (
            |s| head(s, END_STREAM, &[(":status", "200"), ("X", "1")]),
            502,
            "upstream sent invalid header name",
        ),
        (
            |s| {
                head(
                    s,
                    END_STREAM,
                    &[(":status", "200"), ("connection", "close")],
                )
            },
            502,
            "upstream sent a header of HTTP/1",
        ),
        (
            |s| {
                frame(
                    HEADERS,
                    END_STREAM_AND_HEADERS,
                    s,
                    b"\xff\xff\xff\xff\xff\xff",
                )
            },
            502,
            "upstream sent invalid header",
        ),
        (|s| frame(DATA, END_STREAM, s, b"x"), 502, "upstream"),
        (
            |s| {
                [
                    head(s, 0, &[(":status", "200"), ("content-length", "9")]),
                    frame(DATA, END_STREAM, s, b"short"),
                ]
                .concat()
            },
            200,
            "upstream sent a body of another length than it said while reading upstream",
        ),
        (
            |s| {
                [
                    head(s, 0, &[(":status", "200"), ("content-length", "2")]),
                    frame(DATA, END_STREAM, s, b"long"),
                ]
                .concat()
            },
            200,
            "upstream sent a body of another length than it said while reading upstream",
        ),
    ];
    for (says, status, log) in cases {
        let origin = Origin::script(move |conn| {
            if greet(conn, &[])
                && let Some(stream) = request(conn)
            {
                conn.send(says(stream));
                while next_of(conn).is_some() {}
            }
        });
        let proxy = to(origin.addr(), ALL).logs(log).start();
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = client.head();
        assert_eq!(head.status(), status, "{log}");
        if status == 200 {
            let announced = head
                .field("content-length")
                .unwrap()
                .parse::<usize>()
                .unwrap();
            assert!(client.rest().len() < announced, "{log}");
        }
    }
}

#[test]
fn interim_answers_and_bodiless_ones() {
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            conn.send(head(stream, 0, &[(":status", "103"), ("link", "</a>")]));
            let fields = [
                (":status", "304"),
                ("content-length", "99"),
                ("etag", "\"e\""),
            ];
            conn.send(head(stream, END_STREAM, &fields));
        }
    });
    let proxy = to(origin.addr(), ALL).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        client.get("/");
        let response = client.response();
        assert_eq!((response.status(), response.body.len()), (304, 0));
        assert_eq!(response.field("etag"), Some("\"e\""));
    }
}

#[test]
fn a_client_that_leaves_takes_its_stream_back_and_nothing_else() {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let origin = Origin::script(move |conn| {
        if !greet(conn, &[]) {
            return;
        }
        let Some(stream) = request(conn) else { return };
        tell.lock().unwrap().send(()).unwrap();
        let reset = find(conn, RST_STREAM).unwrap();
        assert_eq!(
            (reset.stream, &reset.payload[..]),
            (stream, &[0, 0, 0, 8][..])
        );
        tell.lock().unwrap().send(()).unwrap();
        let Some(stream) = request(conn) else { return };
        conn.send(answer(stream, b"still here"));
        while next_of(conn).is_some() {}
    });
    let proxy = to(origin.addr(), ALL).start();
    let mut client = proxy.client();
    client.get("/");
    told.recv_timeout(crate::support::LIMIT).unwrap();
    drop(client);
    told.recv_timeout(crate::support::LIMIT).unwrap();
    assert_eq!(body(proxy.client().get("/")), "still here");
}

#[test]
fn a_slow_client_holds_its_own_stream_and_no_other() {
    const BIG: usize = 4 << 20;
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        let (mut window, mut whole) = (65_535usize, 8usize << 20);
        let mut left = BIG;
        let mut big = None;
        let mut wants_more = true;
        while let Some(got) = {
            if let Some(stream) = big {
                while wants_more && left > 0 && window.min(whole) >= 16_000 {
                    conn.send(frame(DATA, 0, stream, &[b'x'; 16_000]));
                    left = left.saturating_sub(16_000);
                    window -= 16_000;
                    whole -= 16_000;
                }
                wants_more = left > 0;
            }
            next_of(conn)
        } {
            match (got.kind, got.stream) {
                (4, _) if got.flags == 0 => {
                    for entry in got.payload.chunks(6) {
                        if entry[1] == 4 {
                            window = u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]])
                                as usize;
                        }
                    }
                }
                (WINDOW_UPDATE, stream) => {
                    let more = u32::from_be_bytes([
                        got.payload[0],
                        got.payload[1],
                        got.payload[2],
                        got.payload[3],
                    ]);
                    if Some(stream) == big {
                        window += more as usize;
                    }
                }
                (HEADERS, stream) if big.is_none() => {
                    big = Some(stream);
                    conn.send(head(stream, 0, &[(":status", "200")]));
                }
                (HEADERS, stream) => {
                    conn.send(answer(stream, b"quick"));
                }
                _ => {}
            }
        }
    });
    let proxy = to(
        origin.addr(),
        "location / { proxy_pass http://u; proxy_buffering off; }",
    )
    .start();
    let mut slow = proxy.client();
    slow.get("/big");
    assert_eq!(slow.head().status(), 200);
    // It reads no more than the head; meanwhile others come and go on the same connection.
    for _ in 0..20 {
        assert_eq!(body(proxy.client().get("/")), "quick");
    }
    assert!(proxy.worker_rss_kib() < 200_000);
}

#[test]
fn a_window_that_never_opens_ends_by_send_timeout() {
    let origin = Origin::script(|conn| {
        // A window of ten bytes for each stream.
        if !greet(conn, &[(4, 10)]) {
            return;
        }
        let Some(first) = request(conn) else { return };
        conn.send(answer(first, b"ready"));
        while next_of(conn).is_some() {}
    });
    let proxy = to(
        origin.addr(),
        "location / { proxy_pass http://u; proxy_send_timeout 200ms; }",
    )
    .logs("upstream timed out (110: Connection timed out) while sending request to upstream")
    .start();
    let mut client = proxy.client();
    assert_eq!(body(client.get("/")), "ready");
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20\r\n\r\n01234567890123456789");
    assert_eq!(client.response().status(), 504);
}

#[test]
fn floods_end_the_connection_and_not_the_proxy() {
    let empty = frame(DATA, 0, 1, b"");
    let floods: [(Vec<u8>, &str); 3] = [
        (
            frame(PING, 0, 0, &[0; 8]),
            "upstream sent too many PING and SETTINGS frames",
        ),
        (
            frame(4, 0, 0, b""),
            "upstream sent too many PING and SETTINGS frames",
        ),
        (
            [head(1, 0, &[(":status", "200")]), empty.repeat(5)].concat(),
            "upstream sent too many empty frames",
        ),
    ];
    for (what, log) in floods {
        let unit = if what.len() > 60 {
            empty.clone()
        } else {
            what.clone()
        };
        let origin = Origin::script(move |conn| {
            if !greet(conn, &[]) {
                return;
            }
            if conn.number > 0 {
                while let Some(stream) = request(conn) {
                    conn.send(answer(stream, b"fine"));
                }
                return;
            }
            if request(conn).is_some() {
                conn.send(&what);
                while conn.send(unit.repeat(100)) {}
            }
        });
        let proxy = to(origin.addr(), ALL).may_log(log).start();
        let mut client = proxy.client();
        client.get("/");
        assert!(matches!(client.head().status(), 502 | 200));
        // Whoever asks before the connection is given up shares it, and its end.
        proxy.wait_log("error.log", log);
        assert_eq!(body(proxy.client().get("/")), "fine");
    }
}

#[test]
fn idle_connections_are_kept_by_the_rules_of_the_group() {
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            conn.send(answer(stream, conn.number.to_string().as_bytes()));
        }
    });
    let proxy = Config::http(
        "upstream two { server %%origin%%; keepalive 8; keepalive_requests 2; }
         upstream short { server %%origin%%; keepalive 8; keepalive_timeout 100ms; }
         proxy_http_version 2;
         server { listen %%ADDR_0%%;
            location /two { proxy_pass http://two; }
            location /short { proxy_pass http://short; }
            location /none { proxy_pass http://%%origin%%; }
         }",
    )
    .set("origin", origin.addr())
    .start();
    let ask = |path: &str| body(proxy.client().get(path));
    assert_eq!([ask("/two"), ask("/two"), ask("/two")], ["0", "0", "1"]);
    assert_eq!([ask("/none"), ask("/none")], ["2", "3"]);
    assert_eq!(ask("/short"), "4");
    wait::until("an idle connection is closed", || origin.ended() >= 4);
    assert_eq!(ask("/short"), "5");
}

#[test]
fn a_silent_origin_is_a_timeout_and_its_connection_is_left() {
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            if conn.number > 0 || stream == 1 {
                conn.send(answer(stream, conn.number.to_string().as_bytes()));
            }
        }
    });
    let proxy = to(
        origin.addr(),
        "location / { proxy_pass http://u; proxy_read_timeout 200ms; }",
    )
    .logs("upstream timed out (110: Connection timed out) while reading response header")
    .start();
    let mut client = proxy.client();
    assert_eq!(body(client.get("/")), "0");
    client.get("/");
    assert_eq!(client.response().status(), 504);
    assert_eq!(body(proxy.client().get("/")), "1");
}

#[test]
fn the_old_word_for_version_two_is_taken_with_a_warning() {
    let ran =
        Config::server("location / { proxy_pass http://127.0.0.1:1; proxy_http_version 2.0; }")
            .test();
    assert_eq!(ran.code(), Some(0));
    assert!(
        ran.stderr().contains("[warn] \"proxy_http_version 2.0\""),
        "{}",
        ran.stderr()
    );
}

#[test]
fn who_finds_no_connection_waits_for_the_one_that_is_opened() {
    use crate::support::frames::{END_HEADERS, get, hello};
    const N: u32 = 12;
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            conn.send(answer(stream, b"x"));
        }
    });
    let proxy = to(origin.addr(), &format!("http2 on; {ALL}")).start();
    let mut client = proxy.client();
    let asked: Vec<Vec<u8>> = (0..N).map(|n| get(2 * n + 1)).collect();
    client.send(hello(&asked));
    for _ in 0..N {
        let head = loop {
            let frame = crate::support::frames::next(&mut client);
            if frame.kind == HEADERS {
                break frame;
            }
        };
        assert!(
            head.flags & END_HEADERS > 0 && head.payload[0] == 0x88,
            "{head:?}"
        );
    }
    assert_eq!(origin.accepted(), 1);
    // Where it cannot be had, everybody finds out, and nobody waits for ever.
    let port = crate::support::ports::Port::reserve();
    let mut proxy = to(port.addr(), &format!("http2 on; {ALL}")).start();
    proxy.announce("connect() failed (111: Connection refused)");
    let mut client = proxy.client();
    client.send(hello(&asked));
    for _ in 0..N {
        let (_, payload) = crate::support::frames::until(&mut client, HEADERS);
        // 502 is spelt out: behind the name's index, Huffman's code or digits.
        assert_ne!(payload[0], 0x88);
    }
}

#[test]
fn an_origin_that_does_not_speak_it_is_a_bad_gateway() {
    use crate::support::tls::localhost;
    // The first has no protocols in its hello, as a server of old; the second knows HTTP/1 only.
    let pair = localhost();
    let config = Config::http(
        "proxy_http_version 2;
         server { listen %%ADDR_0%%; location / { proxy_pass https://%%ADDR_1%%; proxy_next_upstream off; } }
         server { listen %%ADDR_1%% ssl; ssl_certificate %%DIR%%/b.crt; ssl_certificate_key %%DIR%%/b.key; return 200 x; }",
    )
    .file("b.crt", &pair.cert)
    .file("b.key", &pair.key)
    .logs("SSL_do_handshake() failed")
    .may_log("while SSL handshaking");
    let proxy = config.start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status(), 502);
    }
}
