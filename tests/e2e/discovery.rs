//! Servers of a group that come and go: `resolve`, `service=`, names that are not known at start, peers that die, that
//! are full, that are slow.

use crate::support::dns::{Dns, Entry};
use crate::support::origin::ok;
use crate::support::wait::until;
use crate::support::wire::Message;
use crate::support::{Config, Origin, Proxy};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// An origin on 127.0.0.1 that answers A, and one beside it on 127.0.0.2 that answers B.
fn two() -> (Origin, Origin) {
    let one = Origin::answer(|_: &Message| ok("A"));
    let two = Origin::beside(&one, TWO, |_: &Message| ok("B"));
    (one, two)
}

fn a(addresses: &[Ipv4Addr]) -> Entry {
    Entry::A(addresses.to_vec(), 1)
}

/// A group of `servers` by the name server.
fn text(servers: &str, rest: &str) -> String {
    format!(
        "resolver %%dns%% ipv6=off valid=1s; resolver_timeout 1s;
         upstream app {{ zone app 256k; keepalive_requests 1000000; {servers} }}
         server {{ listen %%ADDR_0%%;
            location / {{ proxy_pass http://app; {rest} }}
            location /fine {{ return 200 fine; }}
            location /metrics {{ metrics; }} }}"
    )
}

fn proxy(dns: &Dns, origin: &Origin, servers: &str, rest: &str) -> Config {
    Config::http(&text(servers, rest))
        .set("dns", dns.addr())
        .set("port", origin.addr().port())
        .may_log("no live upstreams")
}

/// What eight requests get, each kind of answer once, in order.
fn kinds(proxy: &Proxy) -> String {
    let mut kinds: Vec<_> = (0..8)
        .map(|_| {
            let answer = proxy.get("/");
            match answer.status() {
                200 => answer.text().to_owned(),
                status => status.to_string(),
            }
        })
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds.join("")
}

#[test]
fn addresses_come_and_go_with_their_records() {
    let (one, _two) = two();
    let dns = Dns::start(&[("app.test", a(&[ONE]))]);
    let proxy = proxy(&dns, &one, "server app.test:%%port%% resolve;", "")
        .may_log("app.test could not be resolved")
        .start();
    for (entry, want) in [
        (a(&[ONE]), "A"),
        (a(&[ONE, TWO]), "AB"),
        (a(&[TWO]), "B"),
        (Entry::Error(3), "502"),
        (a(&[TWO, ONE]), "AB"),
        // What was known stays when the name server fails.
        (Entry::Error(2), "AB"),
    ] {
        dns.set("app.test", entry.clone());
        let before = dns.asked("app.test");
        until("another question", || dns.asked("app.test") > before + 1);
        until(&format!("{want} after {entry:?}"), || kinds(&proxy) == want);
    }
    proxy.wait_log(
        "error.log",
        "app.test could not be resolved (2: Server failure)",
    );
}

#[test]
fn what_stays_keeps_its_connection_and_its_counts() {
    let (one, _two) = two();
    let dns = Dns::start(&[("app.test", a(&[ONE]))]);
    let proxy = proxy(&dns, &one, "server app.test:%%port%% resolve;", "").start();
    until("the first address", || kinds(&proxy) == "A");
    dns.set("app.test", a(&[ONE, TWO]));
    until("the second address", || kinds(&proxy) == "AB");
    dns.set("app.test", a(&[ONE]));
    until("the first one alone", || kinds(&proxy) == "A");
    assert_eq!(one.ended(), 0, "none of its connections was closed");
    let port = one.addr().port();
    let counted = |ip: &str| {
        let wanted = format!(
            "ringx_upstream_requests_total{{upstream=\"app\",peer=\"{ip}:{port}\",code=\"2xx\"}} "
        );
        let text = proxy.get("/metrics").text().to_owned();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&wanted).map(str::to_owned));
        line.and_then(|count| count.parse::<f64>().ok())
            .unwrap_or_default() as usize
    };
    assert_eq!(counted("127.0.0.1"), one.requests().len());
    assert!(
        counted("127.0.0.2") >= 1,
        "and what has gone is still counted"
    );
}

#[test]
fn the_lifetime_of_a_record_is_obeyed() {
    let (one, _two) = two();
    let dns = Dns::start(&[("app.test", Entry::A(vec![ONE], 300))]);
    let text = text("server app.test:%%port%% resolve;", "").replace("valid=1s", "");
    let proxy = Config::http(&text)
        .set("dns", dns.addr())
        .set("port", one.addr().port())
        .may_log("no live upstreams")
        .start();
    until("the address", || kinds(&proxy) == "A");
    dns.set("app.test", a(&[TWO]));
    assert_eq!(kinds(&proxy), "A");
    assert_eq!(dns.asked("app.test"), 1);
}

#[test]
fn services_have_ports_weights_and_priorities() {
    let (one, other) = (Origin::text("A"), Origin::text("B"));
    let [first, second] = [&one, &other].map(|origin| origin.addr().port());
    let dns = Dns::start(&[
        ("t.test", a(&[ONE])),
        (
            "_http._tcp.app.test",
            Entry::Srv(vec![(1, 3, first, "t.test"), (1, 1, second, "t.test")], 1),
        ),
    ]);
    let proxy = proxy(&dns, &one, "server app.test resolve service=http;", "")
        .may_log("could not be resolved")
        .may_log("connect() failed")
        .may_log("upstream prematurely closed")
        .may_log("temporarily disabled")
        .start();
    until("both services", || kinds(&proxy) == "AB");
    let eight: Vec<_> = (0..8).map(|_| proxy.get("/").text().to_owned()).collect();
    assert_eq!(
        eight.iter().filter(|text| *text == "A").count(),
        6,
        "{eight:?}"
    );
    let records = vec![(2, 1, first, "t.test"), (1, 1, second, "t.test")];
    dns.set("_http._tcp.app.test", Entry::Srv(records, 1));
    until("the first priority alone", || kinds(&proxy) == "B");
    // The other priority is the backup.
    drop(other);
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.text()), (200, "A"));
    dns.set("_http._tcp.app.test", Entry::Error(3));
    until("no service", || kinds(&proxy) == "502");
}

#[test]
fn a_reload_goes_on_with_what_is_known() {
    let (one, _two) = two();
    let dns = Dns::start(&[("app.test", a(&[TWO]))]);
    let servers = "server app.test:%%port%% resolve;";
    let mut proxy = proxy(&dns, &one, servers, "")
        .may_log("app.test could not be resolved")
        .start();
    until("the address", || kinds(&proxy) == "B");
    dns.set("app.test", Entry::Silence);
    proxy.rewrite_http(&text(servers, "add_header X-New 1;"));
    proxy.reload_until(|| proxy.get("/").field("x-new").is_some());
    assert_eq!(kinds(&proxy), "B");
    dns.set("app.test", a(&[ONE]));
    until("the next address", || kinds(&proxy) == "A");
}

#[test]
fn all_shards_know_the_same() {
    let (one, _two) = two();
    let dns = Dns::start(&[("app.test", a(&[ONE]))]);
    let proxy = proxy(&dns, &one, "server app.test:%%port%% resolve;", "")
        .workers(4)
        .start();
    let each = |want: &str| (0..8).all(|_| kinds(&proxy) == want);
    until("one address everywhere", || each("A"));
    let before = dns.asked("app.test");
    dns.set("app.test", a(&[TWO]));
    until("the other one everywhere", || each("B"));
    until("one more question", || dns.asked("app.test") > before + 1);
    let asked = dns.asked("app.test");
    assert!(asked < 120, "one shard asks for all: {asked}");
}

#[test]
fn an_unknown_backend_costs_its_group_alone() {
    let origin = Origin::text("A");
    let text = "upstream half { server no.such.invalid:81; server %%O%%; }
         upstream none { server no.such.invalid:82; }
         server { listen %%ADDR_0%%;
            location /half { proxy_pass http://half; }
            location /none { proxy_pass http://none; }
            location /host { proxy_pass http://no.other.invalid/; }
            location /fine { return 200 fine; } }";
    let proxy = Config::http(text)
        .set("O", origin.addr())
        .logs("host not found in upstream \"no.such.invalid:81\"")
        .logs("host not found in upstream \"no.such.invalid:82\"")
        .logs("host not found in upstream \"no.other.invalid\"")
        .logs("no live upstreams while connecting to upstream")
        .start();
    for (target, status) in [
        ("/half", 200),
        ("/none", 502),
        ("/host", 502),
        ("/fine", 200),
    ] {
        for _ in 0..3 {
            assert_eq!(proxy.get(target).status(), status, "{target}");
        }
    }
    drop(proxy);
    let ran = Config::http(&format!("strict_dns on; {text}"))
        .set("O", origin.addr())
        .test();
    assert_ne!(ran.code(), Some(0));
    let told = ran.stderr();
    assert!(
        told.contains("[emerg] host not found in upstream \"no.such.invalid:81\""),
        "{told}"
    );
}

#[test]
fn a_peer_that_dies_costs_no_request() {
    let (one, other) = (Origin::text("A"), Origin::text("B"));
    let proxy = Config::http(
        "upstream app { zone app 256k; server %%A%%; server %%B%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app; } }",
    )
    .set("A", one.addr())
    .set("B", other.addr())
    .may_log("upstream")
    .workers(2)
    .start();
    let (addr, stop) = (proxy.addr(), Arc::new(AtomicBool::new(false)));
    let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let clients = [(); 4].map(|()| {
        let (stop, done, failed) = (stop.clone(), done.clone(), failed.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                let answer = crate::support::client::get(addr, "/");
                if answer.status() != 200 {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                done.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    let more = |count: usize| {
        let begun = done.load(Ordering::SeqCst);
        until("requests", || done.load(Ordering::SeqCst) > begun + count);
    };
    more(200);
    assert!(!other.requests().is_empty());
    drop(other);
    more(400);
    stop.store(true, Ordering::SeqCst);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    assert_eq!(failed.load(Ordering::SeqCst), 0);
}

#[test]
fn a_full_group_says_when_to_come_back() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = gate.clone();
    let origin = Origin::answer(move |_: &Message| {
        until("the gate", || open.load(Ordering::SeqCst));
        ok("A")
    });
    for servers in [
        "server %%A%% max_conns=1;",
        "server %%A%% max_conns=1; server %%A%% down;",
    ] {
        gate.store(false, Ordering::SeqCst);
        let before = origin.requests().len();
        let proxy = Config::http(&format!(
            "upstream app {{ zone app 256k; {servers} }}
             server {{ listen %%ADDR_0%%; location / {{ proxy_pass http://app; }} }}"
        ))
        .set("A", origin.addr())
        .logs("no live upstreams while connecting to upstream")
        .start();
        let mut first = proxy.client();
        first.get("/");
        until("the first request", || origin.requests().len() > before);
        let answer = proxy.get("/");
        assert_eq!(answer.status(), 503, "{servers}");
        assert_eq!(answer.field("retry-after"), Some("1"));
        gate.store(true, Ordering::SeqCst);
        assert_eq!(first.response().text(), "A");
        assert_eq!(proxy.get("/").status(), 200);
    }
}

#[test]
fn least_time_prefers_the_faster_peer() {
    let slow = Origin::answer(|_: &Message| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        ok("A")
    });
    let fast = Origin::text("B");
    for how in [
        "header",
        "last_byte",
        "header inflight",
        "last_byte inflight",
    ] {
        let proxy = Config::http(&format!(
            "upstream app {{ least_time {how}; server %%A%%; server %%B%%; }}
             server {{ listen %%ADDR_0%%; location / {{ proxy_pass http://app; }} }}"
        ))
        .set("A", slow.addr())
        .set("B", fast.addr())
        .start();
        let answers: String = (0..10).map(|_| proxy.get("/").text().to_owned()).collect();
        assert_eq!(answers.matches('A').count(), 1, "{how}: {answers}");
    }
}
