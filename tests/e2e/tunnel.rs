//! Upgraded connections: bytes both ways after a 101, ends, and idle times.

use crate::support::{Client, Config, Origin, Proxy, wait};
use std::time::{Duration, Instant};

const RECIPE: &str = "location / {
    proxy_pass http://%%origin%%;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_read_timeout %%idle%%;
    proxy_send_timeout %%idle%%;
}";

fn recipe(origin: &Origin, idle: &str) -> Config {
    Config::http(&format!(
        "map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
         server {{ listen %%ADDR_0%%; access_log %%DIR%%/access.log; {RECIPE} location = /version {{ return 200 old; }} }}"
    ))
    .set("origin", origin.addr())
    .set("idle", idle)
}

#[track_caller]
fn upgraded(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.request("GET", "/ws", "Upgrade: echo\r\nConnection: Upgrade\r\n");
    let head = client.head();
    assert_eq!(head.status(), 101);
    assert_eq!(head.field("upgrade"), Some("echo"));
    assert!(
        head.field("connection")
            .unwrap()
            .eq_ignore_ascii_case("upgrade")
    );
    client
}

#[test]
fn bytes_flow_both_ways() {
    let origin = Origin::upgrade_echo();
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    for size in [1, 100, 20_000, 300_000] {
        let bytes = (0..size)
            .map(|i| u8::try_from(i % 239).unwrap())
            .collect::<Vec<_>>();
        std::thread::scope(|scope| {
            let back = scope.spawn({
                let expected = bytes.clone();
                let client = &mut client;
                move || {
                    // Small parts, so that neither side fills up.
                    for part in expected.chunks(10_000) {
                        client.send(part);
                        assert!(client.bytes(part.len()) == part);
                    }
                }
            });
            back.join().unwrap();
        });
    }
    let request = origin.requests()[0].clone();
    assert_eq!(request.field("upgrade"), Some("echo"));
    assert_eq!(request.field("connection"), Some("upgrade"));
}

#[test]
fn bytes_behind_the_request_are_not_lost() {
    let origin = Origin::upgrade_echo();
    let proxy = recipe(&origin, "60s").start();
    let mut client = proxy.client();
    client.send("GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nearly");
    assert_eq!(client.head().status(), 101);
    assert_eq!(client.bytes(5), b"early");
}

#[test]
fn bytes_behind_the_101_are_not_lost() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nhello",
        );
        conn.rest();
    });
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    assert_eq!(client.bytes(5), b"hello");
}

#[test]
fn the_end_of_either_side_ends_the_tunnel() {
    let origin = Origin::upgrade_echo();
    let proxy = recipe(&origin, "60s").start();
    let client = upgraded(&proxy);
    drop(client);
    wait::until("the origin's side to end", || origin.ended() == 1);
    drop(proxy);
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nbye",
        );
    });
    let proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    assert_eq!(client.rest(), b"bye");
    drop(client);
    proxy.wait_log("access.log", "\" 101 ");
}

#[test]
fn an_idle_tunnel_is_closed_and_a_busy_one_not() {
    let origin = Origin::upgrade_echo();
    let proxy = recipe(&origin, "500ms")
        .may_log("upstream timed out")
        .start();
    let mut client = upgraded(&proxy);
    let from = Instant::now();
    while from.elapsed() < Duration::from_millis(1200) {
        client.send("tick");
        assert_eq!(client.bytes(4), b"tick");
        assert!(client.is_quiet_for(Duration::from_millis(100)));
    }
    let from = Instant::now();
    client.expect_close();
    let took = from.elapsed();
    assert!(
        took > Duration::from_millis(100) && took < Duration::from_secs(2),
        "{took:?}"
    );
}

#[test]
fn without_an_upgrade_the_location_is_plain() {
    let origin = Origin::text("plain");
    let proxy = recipe(&origin, "60s").start();
    let got = proxy.get("/");
    assert_eq!(got.text(), "plain");
    let request = origin.request();
    assert_eq!(
        (request.field("upgrade"), request.field("connection")),
        (None, Some("close"))
    );
}

#[test]
fn a_refused_upgrade_is_an_answer() {
    let origin = Origin::fixed(crate::support::origin::response("403 Forbidden", "", b"no"));
    let proxy = recipe(&origin, "60s").start();
    let mut client = proxy.client();
    client.request("GET", "/ws", "Upgrade: echo\r\nConnection: Upgrade\r\n");
    let got = client.response();
    assert_eq!((got.status(), got.text()), (403, "no"));
    assert_eq!(
        client.get("/next").response().status(),
        403,
        "the connection lives on"
    );
}

#[test]
fn a_tunnel_survives_a_reload() {
    let origin = Origin::upgrade_echo();
    let mut proxy = recipe(&origin, "60s").start();
    let mut client = upgraded(&proxy);
    proxy.rewrite_http("server { listen %%ADDR_0%%; return 200 new; }");
    proxy.reload_until(|| proxy.get("/version").text() == "new");
    client.send("still");
    assert_eq!(client.bytes(5), b"still");
}
