//! Rate limits: exact over all shards, whatever happens meanwhile; and what they say.

use crate::support::origin::ok;
use crate::support::proxy::HUP;
use crate::support::{Client, Config, Origin, Proxy, wait};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Connections at once, in so many threads.
const CONNECTIONS: usize = 400;
const THREADS: usize = 8;

/// Statuses by key.
type Counts = BTreeMap<(String, u16), usize>;

fn admitted(counts: &Counts, key: &str) -> usize {
    counts.get(&(key.to_owned(), 200)).copied().unwrap_or(0)
}

/// Reloads once and waits until it has begun; that it took shows when the next one is waited for.
fn reload(proxy: &Proxy) {
    let count = || proxy.error_log().matches("reconfiguring").count();
    let before = count();
    proxy.signal(HUP);
    wait::until("a reload", || count() > before);
}

/// Sends `rounds` requests on each of 400 connections, all in flight at once, and counts the statuses by key while the
/// proxy reloads again and again. `target` makes a request's path of connection and round, after the key.
fn storm(
    proxy: &Proxy,
    rounds: usize,
    target: impl Fn(usize, usize) -> (String, String) + Sync,
) -> Counts {
    let counts = Mutex::new(Counts::new());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (counts, target) = (&counts, &target);
                scope.spawn(move || {
                    let mine = (0..CONNECTIONS).filter(|n| n % THREADS == thread);
                    let mut clients: Vec<_> = mine.map(|n| (n, proxy.client())).collect();
                    for round in 0..rounds {
                        for (n, client) in &mut clients {
                            client.get(&target(*n, round).1);
                        }
                        for (n, client) in &mut clients {
                            let status = client.response().status();
                            let key = (target(*n, round).0, status);
                            *counts.lock().unwrap().entry(key).or_default() += 1;
                        }
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) {
                reload(proxy);
            }
        });
        // The reloads end with the clients, also with those that fail.
        let results: Vec<_> = threads.into_iter().map(|t| t.join()).collect();
        done.store(true, Ordering::SeqCst);
        assert!(results.iter().all(Result::is_ok), "a client failed");
    });
    counts.into_inner().unwrap()
}

#[test]
fn requests_are_limited_exactly_over_all_shards_and_reloads() {
    // A whole request leaks in 62.5 s, and less than that changes nothing.
    let proxy = Config::http(
        "limit_req_zone $arg_k zone=each:10m rate=1r/m; limit_req_log_level info;
         server { listen %%ADDR_0%%; keepalive_requests 100000;
                  location / { limit_req zone=each burst=100 nodelay; empty_gif; } }",
    )
    .workers(4)
    .start();
    let counts = storm(&proxy, 10, |n, round| {
        let key = format!("k{}", (n + round) % 7);
        let target = format!("/?k={key}");
        (key, target)
    });
    assert_eq!(counts.values().sum::<usize>(), CONNECTIONS * 10);
    for n in 0..7 {
        assert_eq!(admitted(&counts, &format!("k{n}")), 101, "{counts:?}");
    }
    assert!(counts.keys().all(|(_, status)| [200, 503].contains(status)));
    // The counts have outlived the reloads, and other keys are not concerned.
    assert_eq!(proxy.get("/?k=k0").status(), 503);
    assert_eq!(proxy.get("/?k=other").status(), 200);
}

#[test]
fn two_limits_at_once_are_as_exact_as_one() {
    let proxy = Config::http(
        "limit_req_zone $arg_k zone=each:10m rate=1r/m; limit_req_zone $server_name zone=all:1m rate=1r/m;
         limit_req_zone $arg_l zone=wide:1m rate=1r/m; limit_req_log_level info;
         server { listen %%ADDR_0%%; server_name s; keepalive_requests 100000;
                  location /few { limit_req zone=all burst=149 nodelay; limit_req zone=each burst=99 nodelay; empty_gif; }
                  location /each { limit_req zone=each burst=9 nodelay; limit_req zone=wide burst=9999 nodelay; empty_gif; } }",
    )
    .workers(4)
    .start();
    let counts = storm(&proxy, 4, |n, _| {
        let key = format!("k{}", n % 3);
        let target = format!("/few?k={key}");
        (key, target)
    });
    // The server's limit ends it before any key's own does, and nobody is turned away before.
    let all: usize = (0..3).map(|n| admitted(&counts, &format!("k{n}"))).sum();
    assert_eq!(all, 150, "{counts:?}");
    assert!((0..3).all(|n| admitted(&counts, &format!("k{n}")) <= 100));
    // Each key's own limit ends it, and requests that it rejects do not count for the wide one.
    let counts = storm(&proxy, 4, |n, _| {
        let key = format!("e{}", n % 40);
        let target = format!("/each?k={key}&l=l");
        (key, target)
    });
    for n in 0..40 {
        assert_eq!(admitted(&counts, &format!("e{n}")), 10, "{counts:?}");
    }
}

/// An origin that answers nobody before the gate opens.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.changed.notify_all();
    }

    /// Bounded, so that a test that fails ends.
    fn pass(&self) {
        let open = self.open.lock().unwrap();
        let closed = |open: &mut bool| !*open;
        let waited = self
            .changed
            .wait_timeout_while(open, 4 * crate::support::LIMIT, closed);
        drop(waited.unwrap());
    }
}

fn gated() -> (Origin, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let own = gate.clone();
    let origin = Origin::answer(move |_| {
        own.pass();
        ok("done")
    });
    (origin, gate)
}

/// 400 clients ask at once while the gate is closed: how many of each key are rejected at once. The others, which are
/// in progress, are handed back.
fn occupy(proxy: &Proxy, origin: &Origin, keys: usize, each: usize) -> Vec<Client> {
    let before = origin.requests().len();
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| proxy.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.get(&format!("/?k={}", n % keys));
    }
    let held = keys * each;
    wait::until("requests in progress", || {
        origin.requests().len() - before >= held
    });
    let log = || proxy.log("limits.log").lines().count();
    // Every request but those in progress has been answered, and logged.
    wait::until("rejections", || log() >= CONNECTIONS - held);
    assert_eq!(origin.requests().len() - before, held);
    let rejected = proxy.log("limits.log");
    for key in 0..keys {
        let line = format!("503 REJECTED {key}\n");
        assert_eq!(rejected.matches(&line).count(), CONNECTIONS / keys - each);
    }
    let mut open = Vec::new();
    let mut answered = 0;
    for mut client in clients {
        match client.is_quiet_for(Duration::from_millis(1)) {
            true => open.push(client),
            false => {
                assert_eq!(client.response().status(), 503);
                answered += 1;
            }
        }
    }
    assert_eq!((open.len(), answered), (held, CONNECTIONS - held));
    std::fs::write(proxy.path("limits.log"), "").unwrap();
    open
}

#[test]
fn connections_are_limited_exactly_and_every_one_is_given_back() {
    let (origin, gate) = gated();
    let proxy = Config::http(
        "limit_conn_zone $arg_k zone=each:10m; limit_conn_zone $server_name zone=all:1m;
         limit_conn_log_level info; log_format limits '$status $limit_conn_status $arg_k';
         server { listen %%ADDR_0%%; server_name s; access_log %%DIR%%/limits.log limits;
                  location / { limit_conn all 1000; limit_conn each 25; proxy_pass http://%%o%%; } }",
    )
    .set("o", origin.addr())
    .workers(4)
    .start();
    for round in 0..4 {
        gate.set(false);
        let mut open = occupy(&proxy, &origin, 4, 25);
        // What is in progress is not forgotten by a reload.
        reload(&proxy);
        assert_eq!(proxy.get("/?k=0").status(), 503);
        let leave = round % 2 == 1;
        if leave {
            // Half of the clients go away: their requests end, one way or the other.
            for client in open.drain(..50) {
                client.reset();
            }
        }
        gate.set(true);
        for client in &mut open {
            assert_eq!(client.response().text(), "done");
        }
        drop(open);
        // Every one of them is over and logged before the next round.
        wait::until("the end of all requests", || {
            let log = proxy.log("limits.log");
            log.matches(" PASSED ").count() >= 100
        });
        // The last word reaches the owner of the key after the line is written.
        let asked = Cell::new(0);
        for key in 0..4 {
            wait::until("all to be given back", || {
                asked.set(asked.get() + 1);
                proxy.get(&format!("/?k={key}")).status() == 200
            });
        }
        // Lines are written after their answers, and one that came late would be counted in the next round.
        wait::until("all lines", || {
            proxy.log("limits.log").lines().count() >= 100 + 1 + asked.get()
        });
        std::fs::write(proxy.path("limits.log"), "").unwrap();
    }
}

#[test]
fn a_zone_outlives_a_reload_unless_it_changes() {
    let text = |zone: &str| {
        format!(
            "limit_req_zone $arg_k zone=one:{zone} rate=1r/m; limit_req_log_level info;
             server {{ listen %%ADDR_0%%; location / {{ limit_req zone=one; empty_gif; }}
                      location /version {{ return 200 {zone}; }} }}"
        )
    };
    let mut proxy = Config::http(&text("32k")).workers(2).start();
    assert_eq!(proxy.get("/?k=a").status(), 200);
    assert_eq!(proxy.get("/?k=a").status(), 503);
    reload(&proxy);
    for _ in 0..20 {
        assert_eq!(proxy.get("/?k=a").status(), 503);
    }
    proxy.rewrite_http(&text("64k"));
    proxy.reload_until(|| proxy.get("/version").text() == "64k");
    // The other shard may take a moment longer to change.
    wait::until("the new zone", || proxy.get("/?k=a").status() == 200);
    assert_eq!(proxy.get("/?k=a").status(), 503);
}

#[test]
fn requests_above_the_rate_are_delayed_and_told_as_nginx_tells_them() {
    let mut proxy = Config::http(
        "limit_req_zone $arg_k zone=ten:1m rate=10r/s; limit_req_zone $arg_n zone=one:1m rate=1r/m;
         log_format limits '$status $limit_req_status';
         server { listen %%ADDR_0%%; access_log %%DIR%%/limits.log limits;
                  location / { limit_req zone=ten burst=2; empty_gif; }
                  location /slow { limit_req zone=one burst=5; empty_gif; }
                  location /teapot { limit_req zone=one; limit_req_status 418; limit_req_log_level warn; empty_gif; }
                  location /dry { limit_req zone=one burst=1; limit_req_dry_run on; empty_gif; } }",
    )
    .start();
    let from = Instant::now();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.get("/?k=a");
    }
    let mut statuses: Vec<_> = clients.iter_mut().map(|c| c.response().status()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 503]);
    // The second waits 100 ms and the third 200, less what passed between them.
    assert!(
        from.elapsed() >= Duration::from_millis(150),
        "{:?}",
        from.elapsed()
    );
    proxy.announce("limiting requests");
    wait::until("both lines", || {
        let log = proxy.error_log();
        log.contains("[warn]") && log.contains("[error]")
    });
    let log = proxy.error_log();
    assert!(log.contains("[warn]"), "{log}");
    // How much has leaked depends on the moment.
    let told = |what: &str| {
        let line = log.lines().find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("{what}: {log}")).to_owned()
    };
    let delayed = told("[warn]");
    assert!(delayed.contains("delaying request, excess: "));
    assert!(
        delayed.contains(", by zone \"ten\", client: 127.0.0.1, server: , request: \"GET /?k=a")
    );
    let rejected = told("[error]");
    assert!(rejected.contains("limiting requests, excess: "));
    assert!(
        rejected.contains(" by zone \"ten\", client: 127.0.0.1, server: , request: \"GET /?k=a")
    );

    assert_eq!(proxy.get("/teapot?n=1").status(), 200);
    assert_eq!(proxy.get("/teapot?n=1").status(), 418);
    assert_eq!(proxy.get("/dry?n=2").status(), 200);
    assert_eq!(proxy.get("/dry?n=2").status(), 200);
    assert_eq!(proxy.get("/dry?n=2").status(), 200);
    // No key, no limit.
    for _ in 0..3 {
        assert_eq!(proxy.get("/teapot").status(), 200);
    }
    // How much has leaked depends on the moment, and lines are written a moment later.
    for what in [
        "limiting requests, excess: ",
        "delaying request, dry run, excess: ",
        "limiting requests, dry run, excess: ",
    ] {
        wait::until(what, || {
            let log = proxy.error_log();
            log.lines()
                .any(|line| line.contains(what) && line.contains(" by zone \"one\""))
        });
    }

    // A client that leaves is not waited for.
    assert_eq!(proxy.get("/slow?n=3").status(), 200);
    let mut delayed = proxy.client();
    delayed.get("/slow?n=3");
    wait::until("the delay", || {
        proxy.error_log().matches("delaying request, ").count() >= 4
    });
    drop(delayed);
    // Nor one that has sent more meanwhile.
    let mut delayed = proxy.client();
    delayed
        .request("POST", "/slow?n=3", "Content-Length: 5\r\n")
        .send("hello");
    wait::until("the delay", || {
        proxy.error_log().matches("delaying request, ").count() >= 5
    });
    delayed.reset();
    wait::until("both to end", || {
        proxy.log("limits.log").matches("499 DELAYED").count() == 2
    });
    let log = proxy.log("limits.log");
    assert_eq!(
        log,
        "200 PASSED\n503 REJECTED\n200 DELAYED\n200 DELAYED\n200 PASSED\n418 REJECTED\n200 PASSED\n\
         200 DELAYED_DRY_RUN\n200 REJECTED_DRY_RUN\n200 -\n200 -\n200 -\n200 PASSED\n499 DELAYED\n499 DELAYED\n"
    );
}

#[test]
fn connections_beyond_the_number_are_told_as_nginx_tells_them() {
    let (origin, gate) = gated();
    let mut proxy = Config::http(
        "limit_conn_zone $arg_k zone=one:1m; log_format limits '$status $limit_conn_status';
         server { listen %%ADDR_0%%; access_log %%DIR%%/limits.log limits; large_client_header_buffers 4 8k;
                  limit_conn one 1; proxy_pass_request_headers on;
                  location / { proxy_pass http://%%o%%; }
                  location /gif { limit_conn_status 429; limit_conn_log_level warn; empty_gif; }
                  location /dry { limit_conn_dry_run on; empty_gif; }
                  location /two { limit_conn one 2; empty_gif; } }",
    )
    .set("o", origin.addr())
    .start();
    let mut held = proxy.client();
    held.get("/?k=a");
    wait::until("the request", || origin.requests().len() == 1);
    assert_eq!(proxy.get("/gif?k=a").status(), 429);
    assert_eq!(proxy.get("/dry?k=a").status(), 200);
    assert_eq!(proxy.get("/two?k=a").status(), 200);
    assert_eq!(proxy.get("/gif?k=b").status(), 200);
    assert_eq!(proxy.get("/gif").status(), 200);
    let long = "k".repeat(256);
    assert_eq!(proxy.get(&format!("/gif?k={long}")).status(), 200);
    gate.set(true);
    assert_eq!(held.response().status(), 200);
    assert_eq!(held.get("/gif?k=a").response().status(), 200);
    let too_long = format!("the value of the \"$arg_k\" key is more than 255 bytes: \"{long}\"");
    wait::until("all three lines", || {
        let log = proxy.error_log();
        log.contains("limiting connections by zone \"one\", client: 127.0.0.1")
            && log.contains("limiting connections, dry run, by zone \"one\"")
            && log.contains(&too_long)
    });
    proxy.announce("limiting connections, dry run");
    proxy.announce("is more than 255 bytes");
    wait::until("the last line", || {
        proxy.log("limits.log").lines().count() == 8
    });
    assert_eq!(
        proxy.log("limits.log"),
        "429 REJECTED\n200 REJECTED_DRY_RUN\n200 PASSED\n200 PASSED\n200 -\n200 -\n200 PASSED\n200 PASSED\n"
    );
}

/// One request from an address of the loopback network.
fn get_from(from: IpAddr, to: SocketAddr, target: &str) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(crate::support::LIMIT))
        .unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn steered_clients_stay_on_one_shard_and_are_limited_there() {
    let text = |steer: &str| {
        format!(
            "limit_req_zone $binary_remote_addr zone=each:1m rate=1r/m; limit_req_log_level info;
             server {{ listen %%ADDR_0%%{steer}; location / {{ return 200 connection-$connection-{}; }}
                      location /limited {{ limit_req zone=each burst=4 nodelay; empty_gif; }} }}",
            steer.len()
        )
    };
    // Connections are numbered by their shards in turn.
    let shard = |proxy: &Proxy, from: IpAddr| {
        let answer = get_from(from, proxy.addr(), "/");
        let number = answer.split("connection-").nth(1).unwrap();
        number.split('-').next().unwrap().parse::<u64>().unwrap() % 4
    };
    let mut proxy = Config::http(&text(" steer=client")).workers(4).start();
    let addresses: Vec<_> = (1..=24).map(|n| IpAddr::from([127, 0, 9, n])).collect();
    let homes: Vec<_> = addresses.iter().map(|&from| shard(&proxy, from)).collect();
    let mut seen = homes.clone();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4, "{homes:?}");
    for _ in 0..5 {
        for (&from, &home) in addresses.iter().zip(&homes) {
            assert_eq!(shard(&proxy, from), home, "{from}");
        }
    }
    for &from in &addresses {
        let passed = (0..10).filter(|_| get_from(from, proxy.addr(), "/limited").contains(" 200 "));
        assert_eq!(passed.count(), 5);
    }
    // Without steering the kernel spreads the same client, and the counts go on.
    proxy.rewrite_http(&text(""));
    proxy.reload_until(|| get_from(addresses[0], proxy.addr(), "/").contains("-0"));
    let mut seen: Vec<_> = (0..64).map(|_| shard(&proxy, addresses[0])).collect();
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 1, "{seen:?}");
    for &from in &addresses {
        assert!(get_from(from, proxy.addr(), "/limited").contains(" 503 "));
    }
}
