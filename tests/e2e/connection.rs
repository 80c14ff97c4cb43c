//! The life of a client's connection: keep-alive, pipelining, old versions, timeouts and limits of the head.

use crate::support::origin::ok;
use crate::support::{Config, Origin, Proxy};
use std::time::{Duration, Instant};

/// A server that answers by itself, so that no origin is in the way.
fn alone(text: &str) -> Proxy {
    Config::server(text).start()
}

const HELLO: &str = "location / { return 200 hello; }";

#[test]
fn a_connection_serves_many_requests() {
    let proxy = alone(HELLO);
    let mut client = proxy.client();
    for _ in 0..5 {
        let response = client.get("/").response();
        assert_eq!(response.text(), "hello");
        assert_eq!(response.field("connection"), Some("keep-alive"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::answer(|r| ok(r.target()));
    let proxy = Config::server(
        "location /own { return 200 $uri; }
         location / { proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .start();
    let mut client = proxy.client();
    let targets = ["/1", "/own/2", "/3", "/4", "/own/5", "/6"];
    let all = targets
        .map(|t| format!("GET {t} HTTP/1.1\r\nHost: h\r\n\r\n"))
        .concat();
    client.send(all);
    for target in targets {
        assert_eq!(client.response().text(), target);
    }
}

/// More answers than the sockets between hold: one of them stays half way, and nothing may overtake it.
#[test]
fn answers_that_nobody_reads_yet_keep_their_order() {
    const COUNT: usize = 4000;
    let origin = Origin::answer(|r| ok(&format!("{:<3000}", r.target())));
    let proxy = Config::server(
        "keepalive_requests 10000; access_log off;
         location /own { return 200 $uri; }
         location / { proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .start();
    let mut client = proxy.client();
    let target = |n: usize| match n % 3 {
        0 => format!("/own/{n}"),
        _ => format!("/{n}"),
    };
    let all: String = (0..COUNT)
        .map(|n| format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", target(n)))
        .collect();
    // By a thread of its own: it may have to wait until somebody reads.
    let mut twin = client.twin();
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut twin, all.as_bytes()));
    for n in 0..COUNT {
        assert_eq!(client.response().text().trim_end(), target(n));
    }
    sender.join().unwrap().unwrap();
}

/// Answers that a connection ends with, one more on each of them: some find the socket full, and it closes after them all the same.
#[test]
fn a_last_answer_that_nobody_reads_yet_arrives_whole() {
    const MOST: usize = 60;
    let proxy = Config::http(
        "access_log off; server { listen %%ADDR_0%% sndbuf=8k; location / { set $half %%HALF%%; return 200 $half$half; } }",
    )
    .set("HALF", "x".repeat(3500))
    .start();
    let mut clients: Vec<_> = (1..=MOST)
        .map(|count| {
            let mut client = proxy.client();
            let mut all = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(count - 1);
            all.push_str("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
            client.send(all);
            client
        })
        .collect();
    // From the last one on, whose socket is full for longest, to the first, which is closed since long.
    for (at, client) in clients.iter_mut().enumerate().rev() {
        for n in 0..=at {
            let got = client.response();
            let closes = got.field("connection") == Some("close");
            assert_eq!((got.text().len(), closes), (7000, n == at));
        }
        client.expect_close();
    }
}

#[test]
fn a_pipelined_request_behind_a_body_is_found() {
    let origin = Origin::answer(|r| ok(&format!("{} {}", r.target(), r.text())));
    let proxy = Config::server("location / { proxy_pass http://%%origin%%; }")
        .set("origin", origin.addr())
        .start();
    let mut client = proxy.client();
    client.send(
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\
         POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n\
         GET /c HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    for expected in ["/a abc", "/b de", "/c "] {
        assert_eq!(client.response().text(), expected);
    }
}

#[test]
fn a_head_in_single_bytes_is_understood() {
    let proxy = alone(HELLO);
    let mut client = proxy.client();
    for byte in b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn http_1_0_closes_unless_it_asks_to_stay() {
    let proxy = alone(HELLO);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.response();
    assert_eq!(response.start_line(), "HTTP/1.1 200 OK");
    assert_eq!(response.field("connection"), Some("close"));
    client.expect_close();
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.response().field("connection"), Some("keep-alive"));
    }
}

#[test]
fn http_1_0_clients_get_no_chunks() {
    let origin = Origin::fixed(crate::support::origin::chunked("", &[b"ab", b"cd"], ""));
    let proxy = Config::server("location / { proxy_pass http://%%origin%%; }")
        .set("origin", origin.addr())
        .start();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(response.field("connection"), Some("close"));
    assert_eq!(response.text(), "abcd");
}

#[test]
fn the_client_may_ask_to_close() {
    let proxy = alone(HELLO);
    let mut client = proxy.client();
    let response = client
        .request("GET", "/", "Connection: close\r\n")
        .response();
    assert_eq!(response.field("connection"), Some("close"));
    client.expect_close();
}

#[test]
fn head_has_a_length_and_no_body() {
    let origin = Origin::answer(|r| {
        if r.method() == "HEAD" {
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n".to_vec()
        } else {
            ok("content")
        }
    });
    let proxy = Config::server(
        "location / { proxy_pass http://%%origin%%; } location /own { return 200 hello; }",
    )
    .set("origin", origin.addr())
    .start();
    let mut client = proxy.client();
    for (target, length) in [("/", "7"), ("/own", "5")] {
        let response = client.request("HEAD", target, "").response();
        assert_eq!(response.field("content-length"), Some(length));
    }
    assert_eq!(client.get("/").response().text(), "content");
}

#[test]
fn keepalive_requests_and_time_end_a_connection() {
    let proxy = alone(&format!("keepalive_requests 3; {HELLO}"));
    let mut client = proxy.client();
    for connection in ["keep-alive", "keep-alive", "close"] {
        assert_eq!(
            client.get("/").response().field("connection"),
            Some(connection)
        );
    }
    client.expect_close();
    let proxy = alone(&format!("keepalive_timeout 0; {HELLO}"));
    assert_eq!(proxy.get("/").field("connection"), Some("close"));
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let proxy = alone(&format!("keepalive_timeout 300ms 7; {HELLO}"));
    let mut client = proxy.client();
    assert_eq!(
        client.get("/").response().field("keep-alive"),
        Some("timeout=7")
    );
    let from = Instant::now();
    client.expect_close();
    let took = from.elapsed();
    assert!(
        took > Duration::from_millis(200) && took < Duration::from_secs(2),
        "{took:?}"
    );
}

#[test]
fn a_slow_head_is_answered_408_or_closed() {
    let proxy = alone(&format!("client_header_timeout 300ms; {HELLO}"));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n");
    let from = Instant::now();
    // nginx answers 408 in its own log and closes without a word.
    let said = String::from_utf8(client.rest()).unwrap();
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 408"),
        "{said}"
    );
    assert!(from.elapsed() < Duration::from_secs(2));
    // A connection that never sends a byte is held to the same time.
    let mut silent = proxy.client();
    silent.expect_close();
    // One byte at a time does not extend it.
    let mut slow = proxy.client();
    let from = Instant::now();
    while slow.try_send("G") && from.elapsed() < Duration::from_secs(3) {
        if !slow.is_quiet_for(Duration::from_millis(50)) {
            break;
        }
    }
    assert!(from.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_slow_body_is_answered_408() {
    let origin = Origin::text("x");
    let proxy =
        Config::server("client_body_timeout 300ms; location / { proxy_pass http://%%origin%%; }")
            .set("origin", origin.addr())
            .start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    let from = Instant::now();
    let said = String::from_utf8(client.rest()).unwrap();
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 408"),
        "{said}"
    );
    assert!(from.elapsed() < Duration::from_secs(2));
    assert_eq!(origin.received_bytes(), 0);
}

#[test]
fn long_lines_are_refused_by_size() {
    let proxy = alone(&format!("large_client_header_buffers 2 1k; {HELLO}"));
    let long = "a".repeat(1100);
    let response = proxy.client().get(&format!("/{long}")).response();
    assert_eq!(response.status(), 414);
    assert_eq!(response.field("connection"), Some("close"));
    let response = proxy
        .client()
        .request("GET", "/", &format!("X-Long: {long}\r\n"))
        .response();
    assert_eq!(response.status(), 400);
    assert!(
        response
            .text()
            .contains("Request Header Or Cookie Too Large")
    );
    let many = format!("X-A: {}\r\n", "b".repeat(800)).repeat(4);
    assert_eq!(
        proxy
            .client()
            .request("GET", "/", &many)
            .response()
            .status(),
        400
    );
}

#[test]
fn too_many_fields_are_refused() {
    let proxy = alone(&format!("max_headers 10; {HELLO}"));
    let few = "X-A: 1\r\n".repeat(9);
    assert_eq!(
        proxy.client().request("GET", "/", &few).response().status(),
        200
    );
    let many = "X-A: 1\r\n".repeat(10);
    assert_eq!(
        proxy
            .client()
            .request("GET", "/", &many)
            .response()
            .status(),
        400
    );
}

#[test]
fn trace_and_connect_are_refused() {
    let proxy = alone(HELLO);
    assert_eq!(
        proxy.client().request("TRACE", "/", "").response().status(),
        405
    );
    let mut client = proxy.client();
    client.send("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n");
    assert_eq!(client.response().status(), 405);
}

#[test]
fn expect_is_answered_before_the_body() {
    let origin = Origin::echo();
    let proxy =
        Config::server("client_max_body_size 10; location / { proxy_pass http://%%origin%%; }")
            .set("origin", origin.addr())
            .logs("client intended to send too large body: 40 bytes")
            .start();
    let mut client = proxy.client();
    client
        .expecting("POST")
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().start_line(), "HTTP/1.1 100 Continue");
    client.send("body");
    assert!(client.response().text().ends_with("\r\n\r\nbody"));
    assert_eq!(origin.request().field("expect"), None);
    // A body that is too large is refused instead.
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status(), 413);
}

#[test]
fn a_dead_client_is_noticed_and_the_origin_let_go() {
    let origin = Origin::script(|conn| {
        conn.request();
        // Never answers; the end comes from the proxy.
        assert!(conn.rest().is_empty());
    });
    let proxy = Config::server(
        "access_log %%DIR%%/access.log; location / { proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .start();
    let mut client = proxy.client();
    client.get("/slow");
    crate::support::wait::until("the request", || origin.requests().len() == 1);
    drop(client);
    crate::support::wait::until("the origin's connection to end", || origin.ended() == 1);
    proxy.wait_log("access.log", "\" 499 ");
}

#[test]
fn a_dead_client_may_be_ignored() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let origin = Origin::script(move |conn| {
        conn.request();
        gone.lock()
            .unwrap()
            .recv_timeout(crate::support::LIMIT)
            .unwrap();
        conn.send(ok("late"));
    });
    let proxy = Config::server(
        "access_log %%DIR%%/access.log; location / { proxy_ignore_client_abort on; proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .start();
    let mut client = proxy.client();
    client.get("/slow");
    crate::support::wait::until("the request", || origin.requests().len() == 1);
    drop(client);
    go.send(()).unwrap();
    proxy.wait_log("access.log", "\"GET /slow HTTP/1.1\" 200 ");
}
