//! The processes: signals, reloads, a killed worker, and the end.

use crate::support::origin::ok;
use crate::support::proxy::{HUP, INT, KILL, QUIT, TERM};
use crate::support::{Client, Config, Origin, Proxy, wait};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

fn version(n: u32) -> String {
    format!("server {{ listen %%ADDR_0%%; return 200 v{n}; }}")
}

#[test]
fn a_reload_takes_the_new_configuration() {
    let mut proxy = Config::http(&version(1)).start();
    assert_eq!(proxy.get("/").text(), "v1");
    proxy.rewrite_http(&version(2));
    proxy.reload_until(|| proxy.get("/").text() == "v2");
    proxy.announce("reconfiguring");
}

#[test]
fn a_bad_reload_keeps_the_old_configuration() {
    let mut proxy = Config::http(&version(1)).start();
    assert_eq!(proxy.get("/").text(), "v1");
    for (bad, message) in [
        (
            "server { listen %%ADDR_0%%; nonsense on; }",
            "unknown directive \"nonsense\"",
        ),
        (
            "server { listen %%ADDR_0%%; return 200 v2 }",
            "unexpected \"}\"",
        ),
        (
            "strict_dns on; server { listen %%ADDR_0%%; location / { proxy_pass http://no.such.invalid; } }",
            "host not found in upstream \"no.such.invalid\"",
        ),
        (
            "server { listen %%ADDR_0%%; return 200 $unknown; }",
            "unknown \"unknown\" variable",
        ),
        (
            "server { listen 192.0.2.1:%%PORT_3%%; return 200 x; }",
            "bind() to 192.0.2.1:",
        ),
    ] {
        proxy.rewrite_http(bad);
        proxy.signal(HUP);
        proxy.announce(message);
        proxy.wait_log("error.log", message);
        assert_eq!(proxy.get("/").text(), "v1", "{bad}");
    }
    proxy.rewrite_http(&version(3));
    proxy.reload_until(|| proxy.get("/").text() == "v3");
}

#[test]
fn a_reload_changes_listeners() {
    let mut proxy = Config::http(
        "server { listen %%ADDR_0%%; return 200 zero; } server { listen %%ADDR_1%%; return 200 one; }",
    )
    .start();
    assert_eq!(
        Client::tcp(proxy.addr_of(1)).get("/").response().text(),
        "one"
    );
    proxy.rewrite_http(
        "server { listen %%ADDR_0%%; return 200 zero; } server { listen %%ADDR_2%%; return 200 two; }",
    );
    let two = proxy.addr_of(2);
    proxy.reload_until(|| std::net::TcpStream::connect(two).is_ok());
    assert_eq!(Client::tcp(two).get("/").response().text(), "two");
    let gone = proxy.addr_of(1);
    wait::until("the old listener to close", || {
        std::net::TcpStream::connect(gone).is_err()
    });
    assert_eq!(proxy.get("/").text(), "zero");
}

/// An origin that answers a request when told to.
fn on_demand() -> (Origin, Sender<()>) {
    let (go, word) = channel::<()>();
    let word = Mutex::new(word);
    let origin = Origin::script(move |conn| {
        while conn.request().is_some() {
            if word
                .lock()
                .unwrap()
                .recv_timeout(crate::support::LIMIT)
                .is_err()
            {
                return;
            }
            conn.send(ok("slow"));
        }
    });
    (origin, go)
}

#[test]
fn a_request_keeps_the_configuration_it_began_with() {
    let (origin, go) = on_demand();
    let mut proxy =
        Config::server("location / { proxy_pass http://%%o%%; add_header X-Version 1; } location = /version { return 200 v1; }")
            .set("o", origin.addr())
            .start();
    let mut client = proxy.client();
    client.get("/");
    wait::until("the request", || origin.requests().len() == 1);
    proxy.rewrite_http(&version(2));
    proxy.reload_until(|| proxy.get("/version").text() == "v2");
    go.send(()).unwrap();
    let got = client.response();
    assert_eq!((got.text(), got.field("x-version")), ("slow", Some("1")));
}

#[test]
fn reloads_under_load_lose_nothing() {
    let origin = Origin::answer(|r| ok(r.target()));
    let proxy = Config::http(
        "upstream app { server %%o%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app; } }",
    )
    .set("o", origin.addr())
    .workers(2)
    .start();
    let done = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for n in 0..4 {
            let (proxy, done, served) = (&proxy, &done, &served);
            scope.spawn(move || {
                let mut m = 0;
                while !done.load(Ordering::SeqCst) {
                    // Half on fresh connections, half on kept ones that the server may end after an answer.
                    let mut client = proxy.client();
                    for _ in 0..if n % 2 == 0 { 1 } else { 20 } {
                        m += 1;
                        let target = format!("/{n}/{m}");
                        let got = client.get(&target).response();
                        assert_eq!((got.status(), got.text()), (200, target.as_str()));
                        served.fetch_add(1, Ordering::SeqCst);
                        if got.field("connection") == Some("close") {
                            break;
                        }
                    }
                }
            });
        }
        for _ in 0..20 {
            let before = served.load(Ordering::SeqCst);
            proxy.signal(HUP);
            wait::until("more requests", || {
                served.load(Ordering::SeqCst) > before + 20
            });
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_new_worker_takes_over_without_a_loss() {
    let text = |n: usize| {
        format!(
            "daemon off; worker_processes {n}; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info;
             events {{}} http {{ access_log off; server {{ listen %%ADDR_0%%; return 200 shards-{n}; }} }}"
        )
    };
    let mut proxy = Config::main(&text(1)).start();
    for n in [2, 1, 3, 1] {
        proxy.rewrite(&text(n));
        proxy.signal(HUP);
        let wanted = format!("shards-{n}");
        // Every single request on the way is answered, by the old worker or by the new one.
        wait::until("the new worker", || proxy.get("/").text() == wanted);
    }
}

#[test]
fn a_killed_worker_is_replaced() {
    let mut proxy = Config::http(&version(1)).start();
    proxy.announce("exited on signal 9");
    let old = proxy.workers();
    assert_eq!(old.len(), 1);
    proxy.signal_to(old[0], KILL);
    wait::until("another worker", || {
        let now = proxy.workers();
        now.len() == 1 && now != old
    });
    let from = Instant::now();
    assert_eq!(proxy.get("/").text(), "v1");
    assert!(from.elapsed() < Duration::from_millis(2500));
}

#[test]
fn quit_finishes_what_is_open() {
    let (origin, go) = on_demand();
    let proxy = Config::server("location / { proxy_pass http://%%o%%; }")
        .set("o", origin.addr())
        .start();
    let mut idle = proxy.client();
    go.send(()).unwrap();
    assert_eq!(idle.get("/").response().text(), "slow");
    let mut client = proxy.client();
    client.get("/");
    wait::until("the request", || origin.requests().len() == 2);
    let addr = proxy.addr();
    proxy.signal(QUIT);
    wait::until("the listener to close", || {
        std::net::TcpStream::connect(addr).is_err()
    });
    idle.expect_close();
    go.send(()).unwrap();
    let got = client.response();
    assert_eq!(
        (got.text(), got.field("connection")),
        ("slow", Some("close"))
    );
    client.expect_close();
    assert_eq!(proxy.wait_end(), Some(0));
}

#[test]
fn term_and_int_stop_at_once() {
    for signal in [TERM, INT] {
        let (origin, _go) = on_demand();
        let proxy = Config::server("location / { proxy_pass http://%%o%%; }")
            .set("o", origin.addr())
            .start();
        let mut client = proxy.client();
        client.get("/");
        wait::until("the request", || origin.requests().len() == 1);
        let from = Instant::now();
        assert_eq!(proxy.stop(signal), Some(0));
        assert!(from.elapsed() < Duration::from_millis(2500));
        drop(client);
    }
}

#[test]
fn worker_shutdown_timeout_ends_a_drain() {
    let (origin, _go) = on_demand();
    let proxy = Config::main(
        "daemon off; worker_processes 1; worker_shutdown_timeout 300ms; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info;
         events {} http { access_log off; server { listen %%ADDR_0%%; location / { proxy_pass http://%%o%%; } } }",
    )
    .set("o", origin.addr())
    .start();
    let mut client = proxy.client();
    client.get("/");
    wait::until("the request", || origin.requests().len() == 1);
    let from = Instant::now();
    assert_eq!(proxy.stop(QUIT), Some(0));
    let took = from.elapsed();
    assert!(
        took > Duration::from_millis(200) && took < Duration::from_millis(2500),
        "{took:?}"
    );
}

#[test]
fn the_pid_file_comes_and_goes() {
    let proxy = Config::http(&version(1)).start();
    let path = proxy.path("ringx.pid");
    assert_eq!(proxy.log("ringx.pid"), format!("{}\n", proxy.pid()));
    let kept = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(path.parent().unwrap(), kept.path().join("dir")).unwrap();
    assert_eq!(proxy.stop(QUIT), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_second_start_on_a_taken_port_fails() {
    let proxy = Config::http(&version(1)).start();
    let ran = Config::http("server { listen %%taken%%; return 200 x; }")
        .set("taken", proxy.addr())
        .run(&[]);
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    assert!(ran.stderr().contains("bind() to"), "{}", ran.stderr());
    assert!(
        ran.stderr().contains("(98: Address already in use)"),
        "{}",
        ran.stderr()
    );
}

#[test]
fn one_process_serves_too() {
    let proxy = Config::main(
        "daemon off; master_process off; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info;
         events {} http { access_log off; server { listen %%ADDR_0%%; return 200 single; } }",
    )
    .start();
    assert_eq!(proxy.get("/").text(), "single");
    assert!(proxy.workers().is_empty());
}

#[test]
fn many_hostile_connections_leave_nothing_behind() {
    let origin = Origin::text("x");
    let proxy = Config::server("client_header_timeout 1s; location / { proxy_pass http://%%o%%; }")
        .set("o", origin.addr())
        .start();
    let round = |proxy: &Proxy| {
        for n in 0..500 {
            let mut client = proxy.client();
            match n % 5 {
                0 => drop(client.try_send("GET / HTTP/1.1\r\nHost")),
                1 => drop(client.try_send([0, 255, 1, 2, b'\n'])),
                2 => drop(
                    client.try_send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"),
                ),
                3 => {
                    client.get("/");
                    client.reset();
                }
                _ => drop(client.get("/").response()),
            }
        }
        wait::until("the worker to serve", || proxy.get("/").status() == 200);
    };
    round(&proxy);
    let (fds, rss) = (settled(&proxy), proxy.worker_rss_kib());
    round(&proxy);
    round(&proxy);
    let (fds_later, rss_later) = (settled(&proxy), proxy.worker_rss_kib());
    assert!(fds_later <= fds + 12, "{fds} descriptors, then {fds_later}");
    assert!(rss_later <= rss + 8 * 1024, "{rss} KiB, then {rss_later}");
}

/// The number of descriptors once it stops falling.
fn settled(proxy: &Proxy) -> usize {
    let mut last = usize::MAX;
    wait::until("descriptors to settle", || {
        let now = proxy.worker_fds();
        let same = now == last;
        last = now;
        let from = Instant::now();
        while from.elapsed() < Duration::from_millis(100) && proxy.worker_fds() == now {}
        same
    });
    last
}
