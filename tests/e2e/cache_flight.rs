//! One fill for each key, read along by all who ask meanwhile: over shards, while it comes, when it breaks, over a reload.

use crate::support::origin::{Conn, response};
use crate::support::wait::Key;
use crate::support::wire::End;
use crate::support::{Client, Config, Origin, Proxy, wait};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

fn config(origin: &Origin, text: &str) -> Config {
    Config::http(&format!(
        "proxy_cache_path %%DIR%%/cache levels=1:2 keys_zone=one:1m;
         server {{ listen %%ADDR_0%%; add_header X-Cache $upstream_cache_status always;
                   location / {{ proxy_pass http://%%origin%%; proxy_cache one; proxy_cache_lock on; {text} }} }}"
    ))
    .set("origin", origin.addr())
    .workers(4)
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

/// An origin that waits for a word before the rest of its first answer; what follows is told by `rest`.
fn held(rest: impl Fn(&mut Conn) + Send + Sync + 'static) -> (Origin, Key) {
    let (key, gate) = wait::gate();
    let count = AtomicUsize::new(0);
    let origin = Origin::script(move |conn| {
        while conn.request().is_some() {
            let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n";
            if count.fetch_add(1, Ordering::SeqCst) > 0 {
                conn.send(format!("{head}9876543210"));
                continue;
            }
            conn.send(format!("{head}first"));
            gate.pass();
            rest(conn);
        }
    });
    (origin, key)
}

/// So many clients that have asked for the same.
fn clients(proxy: &Proxy, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = proxy.client();
            client.get("/");
            client
        })
        .collect()
}

#[test]
fn a_stampede_on_a_cold_key_is_one_request() {
    let body = pattern(300_000);
    let (key, gate) = wait::gate();
    let sent = body.clone();
    let origin = Origin::answer(move |_| {
        gate.pass();
        response("200 OK", "Cache-Control: max-age=60\r\n", &sent)
    });
    let proxy = config(&origin, "").start();
    let mut all = clients(&proxy, 200);
    key.open();
    for client in &mut all {
        let got = client.response();
        assert_eq!((got.status(), got.end), (200, End::Whole));
        assert!(got.body == body);
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn who_waits_reads_along() {
    let (origin, key) = held(|conn| {
        conn.send("after");
    });
    let proxy = config(&origin, "").start();
    let mut all = clients(&proxy, 8);
    for client in &mut all {
        let head = client.head();
        assert_eq!(head.status(), 200);
        // The origin has not said more.
        assert_eq!(client.bytes(5), b"first");
    }
    key.open();
    for client in &mut all {
        assert_eq!(client.bytes(5), b"after");
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(proxy.get("/").field("x-cache"), Some("HIT"));
}

#[test]
fn a_fill_that_breaks_is_whole_for_nobody() {
    let (origin, key) = held(|conn| conn.half_close());
    let proxy = config(&origin, "")
        .logs("upstream prematurely closed connection")
        .start();
    let mut all = clients(&proxy, 8);
    for client in &mut all {
        client.head();
        assert_eq!(client.bytes(5), b"first");
    }
    key.open();
    for client in &mut all {
        assert_eq!(client.rest(), b"");
    }
    let next = proxy.get("/");
    assert_eq!(
        (next.field("x-cache"), next.text()),
        (Some("MISS"), "9876543210")
    );
}

#[test]
fn a_fill_goes_on_when_its_client_leaves_and_over_a_reload() {
    let (origin, key) = held(|conn| {
        conn.send("after");
    });
    let proxy = config(&origin, "").start();
    let mut first = proxy.client();
    first.get("/");
    first.head();
    first.bytes(5);
    let mut along = proxy.client();
    along.get("/");
    along.head();
    drop(first);
    let worker = proxy.workers();
    proxy.reload_until(|| proxy.error_log().contains("reconfiguring"));
    key.open();
    assert_eq!(along.bytes(10), b"firstafter");
    wait::until("the fill to be stored", || {
        let got = proxy.get("/");
        (got.field("x-cache"), got.text()) == (Some("HIT"), "firstafter")
    });
    assert_eq!((origin.requests().len(), proxy.workers()), (1, worker));
}

/// The first request hangs, and two come after it; what these got, long before the time that is the default, and
/// what is stored in the end.
fn behind_one_that_hangs(text: &str) -> [String; 3] {
    let (key, gate) = wait::gate();
    let count = AtomicUsize::new(0);
    let origin = Origin::answer(move |_| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            gate.pass();
        }
        let fields = "Cache-Control: max-age=60\r\n";
        response("200 OK", fields, number.to_string().as_bytes())
    });
    let proxy = config(&origin, text).start();
    let mut first = proxy.client();
    first.get("/");
    wait::until("the first to ask", || origin.requests().len() == 1);
    let began = Instant::now();
    let ask = || {
        let message = proxy.get("/");
        format!("{} {}", message.field("x-cache").unwrap(), message.text())
    };
    let (second, third) = (ask(), ask());
    assert!(began.elapsed() < Duration::from_secs(4), "{text}");
    key.open();
    assert_eq!(first.response().text(), "0");
    [second, third, ask()]
}

#[test]
fn who_waits_too_long_asks_by_itself_and_stores_nothing() {
    let got = behind_one_that_hangs("proxy_cache_lock_timeout 50ms;");
    assert_eq!(got, ["MISS 1", "MISS 2", "HIT 0"]);
}

#[test]
fn one_that_fetches_for_too_long_is_joined_by_another() {
    let got = behind_one_that_hangs("proxy_cache_lock_age 50ms;");
    assert_eq!(got[..2], ["MISS 1", "HIT 1"]);
}

#[test]
fn slices_are_stored_one_by_one() {
    let body = pattern(1000);
    let whole = body.clone();
    let origin = Origin::answer(move |request| {
        let range = request
            .field("range")
            .unwrap()
            .strip_prefix("bytes=")
            .unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let to = (to + 1).min(whole.len());
        let fields = format!(
            "Cache-Control: max-age=60\r\nETag: \"e\"\r\nContent-Range: bytes {from}-{}/{}\r\n",
            to - 1,
            whole.len()
        );
        response("206 Partial Content", &fields, &whole[from..to])
    });
    let proxy = config(
        &origin,
        "slice 300; proxy_cache_key $uri$slice_range; proxy_set_header Range $slice_range;",
    )
    .start();
    let mut client = proxy.client();
    let part = client
        .request("GET", "/", "Range: bytes=350-399\r\n")
        .response();
    assert_eq!((part.status(), &part.body[..]), (206, &body[350..400]));
    assert_eq!(origin.requests().len(), 1);
    for asked in [4, 4] {
        let all = client.get("/").response();
        assert_eq!(all.status(), 200);
        assert!(all.body == body);
        assert_eq!(origin.requests().len(), asked);
    }
}
