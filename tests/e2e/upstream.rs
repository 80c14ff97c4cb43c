//! Groups of servers: who is asked, who is asked next, and when a connection is used again.

use crate::support::origin::{ok, response};
use crate::support::proxy::is_foreign;
use crate::support::wire::Message;
use crate::support::{Config, Origin, Proxy, wait};
use std::time::{Duration, Instant};

/// A proxy in front of a group; `group` is the inside of the `upstream` block, `location` of the location.
fn group(origins: &[&Origin], group: &str, location: &str) -> Config {
    let mut config = Config::http(&format!(
        "log_format tries '$request_method $uri $status [$upstream_addr] [$upstream_status]';
         upstream app {{ {group} }}
         server {{ listen %%ADDR_0%%; access_log %%DIR%%/access.log tries;
            location / {{ proxy_pass http://app; {location} }} }}"
    ));
    for (n, origin) in origins.iter().enumerate() {
        config = config.set(&format!("o{n}"), origin.addr());
    }
    config
}

/// Asks `count` times on fresh connections and returns the bodies, joined.
#[track_caller]
fn asked(proxy: &Proxy, count: usize) -> String {
    (0..count)
        .map(|_| proxy.get("/").text().to_owned())
        .collect::<Vec<_>>()
        .join("")
}

fn abc() -> [Origin; 3] {
    ["A", "B", "C"].map(Origin::text)
}

#[test]
fn round_robin_takes_turns() {
    let [a, b, c] = abc();
    let proxy = group(
        &[&a, &b, &c],
        "server %%o0%%; server %%o1%%; server %%o2%%;",
        "",
    )
    .start();
    assert_eq!(asked(&proxy, 6), "ABCABC");
}

#[test]
fn weights_are_smooth() {
    let [a, b, c] = abc();
    let proxy = group(
        &[&a, &b, &c],
        "server %%o0%% weight=3; server %%o1%% weight=2; server %%o2%%;",
        "",
    )
    .start();
    assert_eq!(asked(&proxy, 12), "ABACBAABACBA");
}

#[test]
fn down_is_never_asked_and_backup_only_in_need() {
    let [a, b, c] = abc();
    let proxy = group(
        &[&a, &b, &c],
        "server %%o0%%; server %%o1%% down; server %%o2%% backup;",
        "",
    )
    .start();
    assert_eq!(asked(&proxy, 4), "AAAA");
    drop(proxy);
    let proxy = group(&[&c], "server %%ADDR_1%%; server %%o0%% backup;", "")
        .logs("connect() failed (111: Connection refused) while connecting to upstream")
        .may_log("upstream server temporarily disabled")
        .start();
    assert_eq!(asked(&proxy, 3), "CCC");
}

#[test]
fn ip_hash_stays_with_one_server() {
    let [a, b, c] = abc();
    let proxy = group(
        &[&a, &b, &c],
        "ip_hash; server %%o0%%; server %%o1%%; server %%o2%%;",
        "",
    )
    .start();
    let all = asked(&proxy, 6);
    assert!(
        ["AAAAAA", "BBBBBB", "CCCCCC"].contains(&all.as_str()),
        "{all}"
    );
}

#[test]
fn hash_stays_with_one_server_for_each_key() {
    let [a, b, c] = abc();
    for method in ["hash $uri;", "hash $uri consistent;"] {
        let proxy = group(
            &[&a, &b, &c],
            &format!("{method} server %%o0%%; server %%o1%%; server %%o2%%;"),
            "",
        )
        .start();
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..12 {
            let target = format!("/{n}");
            let first = proxy.get(&target).text().to_owned();
            assert_eq!(proxy.get(&target).text(), first, "{method} {target}");
            seen.insert(first);
        }
        assert!(seen.len() > 1, "{method} spreads keys");
    }
}

#[test]
fn least_conn_avoids_the_busy_one() {
    let (go, word) = std::sync::mpsc::channel::<()>();
    let word = std::sync::Mutex::new(word);
    let busy = Origin::script(move |conn| {
        while conn.request().is_some() {
            let _ = word.lock().unwrap().recv_timeout(crate::support::LIMIT);
            conn.send(ok("A"));
        }
    });
    let free = Origin::text("B");
    let proxy = group(
        &[&busy, &free],
        "least_conn; server %%o0%%; server %%o1%%;",
        "",
    )
    .start();
    let mut first = proxy.client();
    first.get("/");
    wait::until("the first to be busy", || busy.requests().len() == 1);
    assert_eq!(asked(&proxy, 4), "BBBB");
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "A");
    drop(go);
}

#[test]
fn random_reaches_all() {
    let [a, b, c] = abc();
    for method in ["random;", "random two;", "random two least_conn;"] {
        let proxy = group(
            &[&a, &b, &c],
            &format!("{method} server %%o0%%; server %%o1%%; server %%o2%%;"),
            "",
        )
        .start();
        let all = asked(&proxy, 40);
        assert!(
            ["A", "B", "C"].iter().all(|s| all.contains(s)),
            "{method} {all}"
        );
    }
}

#[test]
fn a_refused_connection_goes_to_the_next() {
    let b = Origin::text("B");
    let proxy = group(&[&b], "server %%ADDR_1%%; server %%o0%%;", "")
        .logs("connect() failed (111: Connection refused) while connecting to upstream")
        .may_log("upstream server temporarily disabled")
        .start();
    assert_eq!(asked(&proxy, 4), "BBBB");
    let dead = proxy.addr_of(1);
    proxy.wait_log("access.log", &format!("[{dead}, {}] [502, 200]", b.addr()));
}

#[test]
fn when_all_refuse_the_answer_is_502() {
    let proxy = group(&[], "server %%ADDR_1%%; server %%ADDR_2%%;", "")
        .logs("connect() failed (111: Connection refused) while connecting to upstream")
        .may_log("upstream server temporarily disabled")
        .logs("no live upstreams while connecting to upstream")
        .start();
    assert_eq!(proxy.get("/").status(), 502);
    assert_eq!(proxy.get("/").status(), 502);
    proxy.wait_log("access.log", "[app] [502]");
}

/// A server that takes each request and cuts the connection, and a good one behind it.
fn cutter_and_good() -> (Origin, Origin) {
    let cutter = Origin::script(|conn| {
        conn.request();
    });
    (cutter, Origin::text("B"))
}

#[test]
fn only_idempotent_methods_are_tried_again() {
    for (method, body, expected) in [
        ("GET", "", 200),
        ("HEAD", "", 200),
        ("PUT", "xy", 200),
        ("DELETE", "", 200),
        ("OPTIONS", "", 200),
        ("POST", "xy", 502),
        ("PATCH", "xy", 502),
        ("LOCK", "xy", 502),
    ] {
        let (cutter, good) = cutter_and_good();
        let proxy = group(&[&cutter, &good], "server %%o0%%; server %%o1%%;", "")
            .logs("upstream prematurely closed connection while reading response header from upstream")
            .may_log("upstream server temporarily disabled")
            .start();
        let mut client = proxy.client();
        client.request(method, "/", &format!("Content-Length: {}\r\n", body.len()));
        client.send(body);
        assert_eq!(client.response().status(), expected, "{method}");
        assert_eq!(
            good.requests().len(),
            usize::from(expected == 200),
            "{method}"
        );
        assert_eq!(cutter.requests().len(), 1, "{method} is delivered once");
    }
}

#[test]
fn non_idempotent_is_tried_again_where_told() {
    let (cutter, good) = cutter_and_good();
    let proxy = group(
        &[&cutter, &good],
        "server %%o0%%; server %%o1%%;",
        "proxy_next_upstream error timeout non_idempotent;",
    )
    .logs("upstream prematurely closed connection")
    .may_log("upstream server temporarily disabled")
    .start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy");
    assert_eq!(client.response().text(), "B");
    assert_eq!(good.request().text(), "xy", "the body is sent again");
}

#[test]
fn next_upstream_off_and_tries_hold() {
    let (cutter, good) = cutter_and_good();
    let proxy = group(
        &[&cutter, &good],
        "server %%o0%%; server %%o1%%;",
        "proxy_next_upstream off;",
    )
    .logs("upstream prematurely closed connection")
    .start();
    assert_eq!(proxy.get("/").status(), 502);
    drop(proxy);
    let proxy = group(
        &[&cutter, &good],
        "server %%o0%%; server %%o1%%;",
        "proxy_next_upstream_tries 1;",
    )
    .logs("upstream prematurely closed connection")
    .start();
    assert_eq!(proxy.get("/").status(), 502);
    assert!(good.requests().is_empty());
}

#[test]
fn statuses_count_as_failures_where_listed() {
    let bad = Origin::fixed(response("503 Busy", "", b"busy"));
    let good = Origin::text("B");
    let servers = "server %%o0%%; server %%o1%%;";
    let proxy = group(&[&bad, &good], servers, "").start();
    assert_eq!(proxy.get("/").text(), "busy", "a plain answer by default");
    drop(proxy);
    let proxy = group(&[&bad, &good], servers, "proxy_next_upstream http_503;")
        .may_log("upstream server temporarily disabled")
        .start();
    assert_eq!(asked(&proxy, 4), "BBBB");
    proxy.wait_log("access.log", "[503, 200]");
    drop(proxy);
    // The last try's own answer is passed on.
    let proxy = group(&[&bad], "server %%o0%%;", "proxy_next_upstream http_503;").start();
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.text()), (503, "busy"));
}

#[test]
fn an_invalid_head_goes_to_the_next_where_listed() {
    let bad = Origin::fixed(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n".to_vec());
    let good = Origin::text("B");
    let proxy = group(
        &[&bad, &good],
        "server %%o0%%; server %%o1%%;",
        "proxy_next_upstream error invalid_header;",
    )
    .may_log("upstream sent invalid")
    .may_log("upstream server temporarily disabled")
    .start();
    assert_eq!(asked(&proxy, 2), "BB");
}

#[test]
fn a_timeout_goes_to_the_next() {
    let mute = Origin::script(|conn| {
        conn.request();
        conn.rest();
    });
    let good = Origin::text("B");
    let proxy = group(&[&mute, &good], "server %%o0%%; server %%o1%%;", "proxy_read_timeout 200ms;")
        .logs("upstream timed out (110: Connection timed out) while reading response header from upstream")
        .may_log("upstream server temporarily disabled")
        .start();
    assert_eq!(asked(&proxy, 3), "BBB");
    proxy.wait_log("access.log", "[504, 200]");
}

#[test]
fn failures_put_a_server_aside_for_a_while() {
    let (cutter, good) = cutter_and_good();
    let proxy = group(
        &[&cutter, &good],
        "server %%o0%% max_fails=2 fail_timeout=1s; server %%o1%%;",
        "",
    )
    .logs("upstream prematurely closed connection")
    .logs("upstream server temporarily disabled")
    .start();
    assert_eq!(asked(&proxy, 8), "BBBBBBBB");
    assert_eq!(cutter.requests().len(), 2, "two failures are enough");
    wait::until("one probe after the time", || {
        asked(&proxy, 2);
        cutter.requests().len() == 3
    });
}

#[test]
fn connections_of_a_group_are_kept() {
    let a = Origin::text("A");
    let proxy = group(&[&a], "server %%o0%%;", "").start();
    assert_eq!(asked(&proxy, 5), "AAAAA");
    assert_eq!(
        a.accepted(),
        1,
        "mainline keeps connections of a group by default"
    );
    drop(proxy);
    let before = a.accepted();
    let proxy = group(&[&a], "server %%o0%%; keepalive 0;", "").start();
    asked(&proxy, 3);
    assert_eq!(a.accepted() - before, 3);
    drop(proxy);
    // The classic three lines.
    let before = a.accepted();
    let proxy = group(
        &[&a],
        "server %%o0%%; keepalive 8;",
        "proxy_http_version 1.1; proxy_set_header Connection \"\";",
    )
    .start();
    asked(&proxy, 3);
    assert_eq!(a.accepted() - before, 1);
}

#[test]
fn answers_without_a_body_leave_their_connection_in_use() {
    for (status, fields) in [
        ("204 No Content", ""),
        ("304 Not Modified", ""),
        ("304 Not Modified", "Content-Length: 100\r\n"),
    ] {
        let origin = Origin::script(move |conn| {
            while conn.request().is_some() {
                conn.send(format!("HTTP/1.1 {status}\r\n{fields}\r\n"));
            }
        });
        for buffering in ["on", "off"] {
            let before = origin.accepted();
            let proxy = group(
                &[&origin],
                "server %%o0%%;",
                &format!("proxy_buffering {buffering};"),
            )
            .start();
            for _ in 0..3 {
                assert_eq!(proxy.get("/").status().to_string(), status[..3]);
            }
            assert_eq!(origin.accepted() - before, 1, "{status} {fields}");
        }
    }
}

#[test]
fn kept_connections_have_their_limits() {
    let a = Origin::text("A");
    let proxy = group(
        &[&a],
        "server %%o0%%; keepalive 4; keepalive_requests 2;",
        "",
    )
    .start();
    asked(&proxy, 6);
    assert_eq!(a.accepted(), 3);
    drop(proxy);
    let before = a.ended();
    let proxy = group(
        &[&a],
        "server %%o0%%; keepalive 4; keepalive_timeout 300ms;",
        "",
    )
    .start();
    let from = Instant::now();
    asked(&proxy, 1);
    wait::until("the idle connection to end", || a.ended() > before);
    assert!(from.elapsed() > Duration::from_millis(200));
}

#[test]
fn a_plain_target_is_not_pooled() {
    let a = Origin::text("A");
    let proxy = Config::server("location / { proxy_pass http://%%o0%%; }")
        .set("o0", a.addr())
        .start();
    asked(&proxy, 3);
    assert_eq!(a.accepted(), 3);
}

/// An origin that answers once on each connection and then closes it without a word.
fn closes_after_one() -> Origin {
    Origin::script(|conn| {
        if conn.request().is_some() {
            conn.send(ok("once"));
        }
    })
}

#[test]
fn a_closed_pooled_connection_is_noticed_for_every_method() {
    let origin = closes_after_one();
    let proxy = group(&[&origin], "server %%o0%%; keepalive 4;", "").start();
    for (n, method) in ["GET", "POST", "PUT", "PATCH", "GET", "POST"]
        .into_iter()
        .enumerate()
    {
        // A request that overtakes the close may have been read, which nobody can tell: that is another matter.
        wait::until("the origin to have closed", || origin.ended() >= n);
        let mut client = proxy.client();
        client
            .request(method, "/", "Content-Length: 2\r\n")
            .send("xy");
        assert_eq!(client.response().status(), 200, "{method}");
    }
    assert_eq!(origin.requests().len(), 6, "each is delivered once");
}

#[test]
fn a_post_on_a_stale_connection_goes_to_a_fresh_one() {
    let (go, word) = std::sync::mpsc::channel::<()>();
    let word = std::sync::Mutex::new(word);
    let origin = Origin::script(move |conn| {
        if conn.number == 0 {
            conn.request();
            conn.send(ok("first"));
            word.lock()
                .unwrap()
                .recv_timeout(crate::support::LIMIT)
                .unwrap();
            conn.reset();
        } else {
            while conn.request().is_some() {
                conn.send(ok("fresh"));
            }
        }
    });
    let proxy = group(&[&origin], "server %%o0%%; keepalive 4;", "")
        .may_log("(104: Connection reset by peer)")
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").response().text(), "first");
    go.send(()).unwrap();
    wait::until("the reset", || origin.ended() == 1);
    client
        .request("POST", "/", "Content-Length: 2\r\n")
        .send("xy");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (200, "fresh"));
}

#[test]
fn a_post_that_was_read_is_never_sent_again() {
    for (resets, reads_body, length) in [
        (false, true, 2),
        (true, true, 2),
        (false, true, 300_000),
        (true, true, 300_000),
        (false, false, 300_000),
        (true, false, 300_000),
    ] {
        let origin = Origin::script(move |conn| {
            conn.request();
            conn.send(ok("first"));
            // The connection is reused; the origin reads a POST, whole or in part, and dies of it.
            if let Some(head) = conn.read_head() {
                if reads_body {
                    conn.read_body(head);
                }
                if resets {
                    conn.reset();
                }
            }
        });
        let proxy = group(&[&origin], "server %%o0%%; keepalive 4;", "")
            .may_log("(104: Connection reset by peer)")
            .may_log("upstream prematurely closed connection")
            .start();
        let mut client = proxy.client();
        assert_eq!(client.get("/").response().text(), "first");
        client
            .request("POST", "/", &format!("Content-Length: {length}\r\n"))
            .send("x".repeat(length));
        let case = format!("resets: {resets}, whole: {reads_body}, length: {length}");
        assert_eq!(client.response().status(), 502, "{case}");
        assert_eq!(origin.accepted(), 1, "{case}");
    }
}

#[test]
fn max_conns_limits_a_server() {
    let (go, word) = std::sync::mpsc::channel::<()>();
    let word = std::sync::Mutex::new(word);
    let busy = Origin::script(move |conn| {
        while conn.request().is_some() {
            let _ = word.lock().unwrap().recv_timeout(crate::support::LIMIT);
            conn.send(ok("A"));
        }
    });
    let proxy = group(&[&busy], "zone app 64k; server %%o0%% max_conns=1;", "")
        .logs("no live upstreams while connecting to upstream")
        .start();
    let mut first = proxy.client();
    first.get("/");
    wait::until("the first to be busy", || busy.requests().len() == 1);
    // nginx says 502 also where every peer is only full.
    let want = if is_foreign() { 502 } else { 503 };
    assert_eq!(proxy.get("/").status(), want);
    go.send(()).unwrap();
    assert_eq!(first.response().text(), "A");
    drop(go);
}

#[test]
fn the_variables_of_an_attempt_are_told() {
    let a = Origin::text("A");
    let proxy = Config::http(
        "log_format up '$upstream_addr $upstream_status $upstream_response_length $upstream_bytes_received $upstream_connect_time $upstream_header_time $upstream_response_time $upstream_http_x_a;';
         server { listen %%ADDR_0%%; access_log %%DIR%%/access.log up;
            location / { proxy_pass http://%%o0%%; add_header X-Up $upstream_addr; }
            location /own { return 200 x; } }",
    )
    .set("o0", a.addr())
    .start();
    assert_eq!(
        proxy.get("/").field("x-up"),
        Some(a.addr().to_string().as_str())
    );
    proxy.wait_log("access.log", ";");
    let line = proxy.log("access.log");
    let words = line.split_whitespace().collect::<Vec<_>>();
    assert_eq!(words[..4], [&a.addr().to_string(), "200", "1", "39"]);
    assert!(
        words[4..7].iter().all(|w| w.parse::<f64>().is_ok()),
        "{line}"
    );
    proxy.get("/own");
    proxy.wait_log("access.log", "- - - - - - - -;");
}

#[test]
fn a_request_to_a_hanging_connect_times_out() {
    // A listener whose queue is full neither accepts nor refuses.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let _fill = (0..3)
        .map(|_| {
            let s =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            s.set_nonblocking(true).unwrap();
            let _ = s.connect(&addr.into());
            s
        })
        .collect::<Vec<_>>();
    let proxy =
        Config::server("location / { proxy_pass http://%%o0%%; proxy_connect_timeout 300ms; }")
            .set("o0", addr)
            .logs("upstream timed out (110: Connection timed out) while connecting to upstream")
            .start();
    let from = Instant::now();
    assert_eq!(proxy.get("/").status(), 504);
    assert!(from.elapsed() < Duration::from_secs(2));
}

#[test]
fn many_clients_at_once_get_their_own_answers() {
    let origin = Origin::answer(|r: &Message| ok(r.target()));
    let proxy = group(&[&origin], "server %%o0%%; keepalive 8;", "")
        .workers(2)
        .start();
    std::thread::scope(|scope| {
        for n in 0..16 {
            let proxy = &proxy;
            scope.spawn(move || {
                let mut client = proxy.client();
                for m in 0..20 {
                    let target = format!("/{n}/{m}");
                    assert_eq!(client.get(&target).response().text(), target);
                }
            });
        }
    });
}
