//! Active health checks: who is taken out and comes back, by what answers, on all shards and over reloads.

use crate::support::frames::*;
use crate::support::origin::{Conn, ok, response};
use crate::support::proxy::HUP;
use crate::support::{Config, Origin, Proxy, wait};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A server that can be told to be ill.
struct Patient {
    origin: Origin,
    ill: Arc<AtomicBool>,
}

impl Patient {
    /// One that answers `/health` with `bad` while it is ill, and everything else with its name.
    fn new(name: &'static str, good: Vec<u8>, bad: Vec<u8>) -> Self {
        let ill = Arc::new(AtomicBool::new(false));
        let told = ill.clone();
        let origin = Origin::answer(move |request| match request.target() {
            "/health" if told.load(Ordering::SeqCst) => bad.clone(),
            "/health" => good.clone(),
            _ => ok(name),
        });
        Self { origin, ill }
    }

    fn usual(name: &'static str) -> Self {
        let bad = response("503 Service Unavailable", "", b"ill");
        Self::new(name, ok("fine"), bad)
    }

    fn set_ill(&self, ill: bool) {
        self.ill.store(ill, Ordering::SeqCst);
    }

    /// How often it was checked.
    fn checks(&self) -> usize {
        let requests = self.origin.requests();
        requests.iter().filter(|r| r.target() == "/health").count()
    }
}

/// Two servers behind four shards.
fn pair(a: &Origin, b: &Origin, check: &str, more: &str) -> Config {
    Config::http(&format!(
        "upstream app {{ zone app 64k; server %%a%%; server %%b%%; }}
         {more}
         server {{ listen %%ADDR_0%%; location / {{ proxy_pass http://app; {check} }} }}"
    ))
    .workers(4)
    .set("a", a.addr())
    .set("b", b.addr())
}

/// Who answers now, asked on fresh connections, which the kernel spreads over the shards.
fn answering(proxy: &Proxy) -> String {
    let all: BTreeSet<_> = (0..24).map(|_| proxy.get("/").text().to_owned()).collect();
    all.into_iter().collect()
}

#[track_caller]
fn comes_to(proxy: &Proxy, want: &str) {
    wait::until(want, || answering(proxy) == want);
}

#[test]
fn an_ill_server_is_taken_out_on_all_shards_and_comes_back() {
    let (a, b) = (Patient::usual("A"), Patient::usual("B"));
    let proxy = pair(
        &a.origin,
        &b.origin,
        "health_check uri=/health interval=50ms fails=2 passes=3;",
        "",
    )
    .logs("peer is unhealthy while checking status code, health check \"\" of peer")
    .logs("peer is healthy, health check \"\" of peer")
    .start();
    comes_to(&proxy, "AB");
    a.set_ill(true);
    comes_to(&proxy, "B");
    let line = format!("of peer {} in upstream \"app\"", a.origin.addr());
    proxy.wait_log("error.log", &line);
    a.set_ill(false);
    comes_to(&proxy, "AB");
    // One shard asks for all of them: what two shards would ask in this time is twice as much.
    let (before, began) = (b.checks(), std::time::Instant::now());
    wait::until("ten checks", || b.checks() >= before + 10);
    assert!(began.elapsed() >= std::time::Duration::from_millis(400));
    let request = b.origin.requests();
    let check = request.iter().find(|r| r.target() == "/health").unwrap();
    assert_eq!(check.field("Host"), Some("app"));
}

/// Ends the clients with the test, also with one that fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_idempotent_request_fails_while_a_server_dies_and_returns() {
    let dead = Arc::new(AtomicBool::new(false));
    let told = dead.clone();
    let a = Origin::script(move |conn: &mut Conn| {
        while conn.request().is_some() {
            if told.load(Ordering::SeqCst) {
                return conn.reset();
            }
            conn.send(ok("A"));
        }
    });
    let b = Origin::text("B");
    let proxy = pair(&a, &b, "health_check interval=50ms;", "")
        .may_log("while connecting to upstream")
        .may_log("while reading response header from upstream")
        .may_log("while sending request to upstream")
        .may_log("upstream server temporarily disabled")
        .start();
    comes_to(&proxy, "AB");
    let done = AtomicBool::new(false);
    let (asked, from_a) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _ends = Ends(&done);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.client();
                for n in 1.. {
                    if done.load(Ordering::SeqCst) {
                        return;
                    }
                    if n % 50 == 0 {
                        client = proxy.client();
                    }
                    client.get("/");
                    let answer = client.response();
                    assert_eq!(answer.status(), 200, "{}", answer.head_text());
                    asked.fetch_add(1, Ordering::SeqCst);
                    if answer.text() == "A" {
                        from_a.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        let more = |n: usize| {
            let goal = asked.load(Ordering::SeqCst) + n;
            wait::until("more answers", || asked.load(Ordering::SeqCst) >= goal);
        };
        more(200);
        dead.store(true, Ordering::SeqCst);
        proxy.wait_log("error.log", "peer is unhealthy while");
        more(200);
        dead.store(false, Ordering::SeqCst);
        proxy.wait_log("error.log", "peer is healthy");
        let before = from_a.load(Ordering::SeqCst);
        wait::until("the first server to serve again", || {
            from_a.load(Ordering::SeqCst) > before
        });
    });
}

#[test]
fn a_match_looks_at_status_fields_and_body() {
    let answer = |status: &str, kind: &str, body: &str| {
        let kind = format!("Content-Type: {kind}\r\n");
        response(status, &kind, body.as_bytes())
    };
    for (block, good, bad, words) in [
        (
            "status 200-204;",
            answer("202 Accepted", "text/plain", "x"),
            answer("301 Moved Permanently", "text/plain", "x"),
            "checking status code",
        ),
        (
            "status ! 500 502-504;",
            answer("404 Not Found", "text/plain", "x"),
            answer("503 Service Unavailable", "text/plain", "x"),
            "checking status code",
        ),
        (
            "status 200; header Content-Type = text/html;",
            answer("200 OK", "text/html", "x"),
            answer("200 OK", "text/plain", "x"),
            "checking header",
        ),
        (
            "header Content-Type !~ plain; header ! X-Bad;",
            answer("200 OK", "text/html", "x"),
            answer("200 OK", "text/html\r\nX-Bad: 1", "x"),
            "checking header",
        ),
        (
            "status 200; body ~ \"all is [gw]ell\";",
            answer("200 OK", "text/plain", "and all is well here"),
            answer("200 OK", "text/plain", "and all is lost here"),
            "checking body",
        ),
        (
            "require $upstream_http_x_state;",
            answer("200 OK", "text/html\r\nX-State: 1", "x"),
            answer("200 OK", "text/html\r\nX-State: 0", "x"),
            "checking required variables",
        ),
    ] {
        let a = Patient::new("A", good.clone(), bad);
        let b = Patient::new("B", good.clone(), good);
        let proxy = pair(
            &a.origin,
            &b.origin,
            "health_check match=welcome uri=/health interval=40ms;",
            &format!("match welcome {{ {block} }}"),
        )
        .logs(&format!(
            "peer is unhealthy while {words}, health check \"welcome\" of peer {} in upstream \"app\"",
            a.origin.addr()
        ))
        .start();
        wait::until("checks", || a.checks() > 1 && b.checks() > 1);
        assert_eq!(answering(&proxy), "AB", "{block}");
        a.set_ill(true);
        comes_to(&proxy, "B");
        a.set_ill(false);
        comes_to(&proxy, "AB");
    }
}

#[test]
fn a_server_that_was_never_checked_does_not_serve_where_that_is_mandatory() {
    let go = Arc::new(AtomicBool::new(false));
    let told = go.clone();
    let silent = Origin::script(move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            if request.target() == "/health" {
                wait::until("a word", || told.load(Ordering::SeqCst));
            }
            conn.send(ok("A"));
        }
    });
    let mut proxy = Config::http(
        "upstream app { server %%a%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app;
            health_check uri=/health interval=40ms mandatory; } }",
    )
    .workers(4)
    .set("a", silent.addr())
    .logs("no live upstreams while connecting to upstream")
    .start();
    for _ in 0..8 {
        assert_eq!(proxy.get("/").status(), 502);
    }
    go.store(true, Ordering::SeqCst);
    comes_to(&proxy, "A");
    // A reload asks again before it serves; one that is persistent does not.
    go.store(false, Ordering::SeqCst);
    proxy.reload_until(|| proxy.get("/").status() == 502);
    go.store(true, Ordering::SeqCst);
    comes_to(&proxy, "A");
    go.store(false, Ordering::SeqCst);
    proxy.rewrite_http(
        "upstream app { server %%a%%; }
         server { listen %%ADDR_0%%; location / { add_header X-New 1; proxy_pass http://app;
            health_check uri=/health interval=40ms mandatory persistent; } }",
    );
    proxy.reload_until(|| {
        let answer = proxy.get("/");
        assert_eq!(answer.status(), 200);
        answer.field("X-New").is_some()
    });
    go.store(true, Ordering::SeqCst);
}

#[test]
fn what_was_found_outlives_a_reload_and_is_not_asked_again() {
    let (a, b) = (Patient::usual("A"), Patient::usual("B"));
    a.set_ill(true);
    let mut proxy = pair(
        &a.origin,
        &b.origin,
        "health_check uri=/health interval=1h;",
        "",
    )
    .logs("peer is unhealthy while checking status code")
    .start();
    comes_to(&proxy, "B");
    let checks = a.checks();
    assert_eq!(checks, 1);
    proxy.rewrite_http(
        "upstream app { zone app 64k; server %%a%%; server %%b%%; }
         server { listen %%ADDR_0%%; location / { add_header X-New 1; proxy_pass http://app;
            health_check uri=/health interval=1h; } }",
    );
    proxy.reload_until(|| {
        let answer = proxy.get("/");
        assert_eq!(answer.text(), "B");
        answer.field("X-New").is_some()
    });
    assert_eq!(answering(&proxy), "B");
    assert_eq!((a.checks(), checks), (1, 1));
    // Without checks nothing speaks against it any more.
    proxy.rewrite_http(
        "upstream app { zone app 64k; server %%a%%; server %%b%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app; } }",
    );
    proxy.signal(HUP);
    comes_to(&proxy, "AB");
}

#[test]
fn the_last_server_is_never_taken_out() {
    let (a, b) = (Patient::usual("A"), Patient::usual("B"));
    let proxy = pair(
        &a.origin,
        &b.origin,
        "health_check uri=/health interval=40ms;",
        "",
    )
    .start();
    a.set_ill(true);
    comes_to(&proxy, "B");
    b.set_ill(true);
    let line = format!("status code, health check \"\" of peer {}", b.origin.addr());
    proxy.wait_log("error.log", &line);
    for _ in 0..16 {
        assert_eq!(proxy.get("/").status(), 200);
    }
}

#[test]
fn a_check_may_go_to_another_port_and_keep_its_connection() {
    let (a, b) = (Origin::text("A"), Origin::text("B"));
    let sentinel = Patient::usual("S");
    let proxy = pair(
        &a,
        &b,
        &format!(
            "health_check uri=/health interval=40ms keepalive_time=1h port={};",
            sentinel.origin.addr().port()
        ),
        "",
    )
    .start();
    wait::until("checks", || sentinel.checks() > 8);
    assert_eq!(
        sentinel.origin.accepted(),
        2,
        "one connection for each of the two"
    );
    assert!(a.requests().is_empty() && b.requests().is_empty());
    assert_eq!(answering(&proxy), "AB");
}

/// A server that speaks nothing but HTTP/2 and tells how it is, by status or by the body alone.
fn over_http2(name: &'static str, ill: Arc<AtomicBool>, by_body: bool) -> Origin {
    Origin::script(move |conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            let is_ill = ill.load(Ordering::SeqCst);
            let status = if is_ill && !by_body { "503" } else { "200" };
            let body = if is_ill { "ill" } else { name };
            conn.send(head(stream, 0, &[(":status", status), ("x-name", name)]));
            conn.send(frame(DATA, END_STREAM, stream, body.as_bytes()));
        }
    })
}

#[test]
fn servers_of_http2_are_checked_over_it() {
    for (by_body, check, said) in [
        (false, "", "checking status code"),
        (true, "match=named", "checking body"),
        (true, "match=named keepalive_time=60s", "checking body"),
    ] {
        let ill = Arc::new(AtomicBool::new(false));
        let a = over_http2("A", ill.clone(), by_body);
        let b = over_http2("B", Arc::new(AtomicBool::new(false)), by_body);
        let proxy = Config::http(&format!(
            "upstream app {{ zone app 64k; server %%a%%; server %%b%%; }}
             match named {{ status 200; header x-name ~ [AB]; body ~ \"^[AB]$\"; }}
             proxy_http_version 2;
             server {{ listen %%ADDR_0%%; location / {{ proxy_pass http://app;
                health_check interval=40ms fails=2 passes=2 {check}; }} }}"
        ))
        .workers(2)
        .set("a", a.addr())
        .set("b", b.addr())
        .start();
        comes_to(&proxy, "AB");
        assert!(!proxy.error_log().contains("unhealthy"), "{check}");
        ill.store(true, Ordering::SeqCst);
        comes_to(&proxy, "B");
        let line = format!("of peer {} in upstream \"app\"", a.addr());
        proxy.wait_log("error.log", &line);
        let log = proxy.error_log();
        assert!(
            log.contains(&format!("peer is unhealthy while {said}")),
            "{log}"
        );
        ill.store(false, Ordering::SeqCst);
        comes_to(&proxy, "AB");
    }
}

/// A server of gRPC that tells how it is.
fn grpc(name: &'static str, serving: Arc<AtomicBool>) -> Origin {
    Origin::script(move |conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            let message = find(conn, DATA)
                .map(|frame| frame.payload)
                .unwrap_or_default();
            let state = match message.get(5..) {
                // The service "s", as protobuf writes it.
                Some([0x0a, 1, b's']) if serving.load(Ordering::SeqCst) => 1,
                Some([0x0a, 1, b's']) => 2,
                _ => 0,
            };
            let fields = [
                (":status", "200"),
                ("content-type", "application/grpc"),
                ("x-name", name),
            ];
            conn.send(head(stream, 0, &fields));
            conn.send(frame(DATA, 0, stream, &[0, 0, 0, 0, 2, 8, state]));
            let status = block(&[("grpc-status", "0")]);
            conn.send(frame(HEADERS, END_STREAM_AND_HEADERS, stream, &status));
        }
    })
}

#[test]
fn grpc_is_asked_in_its_own_words() {
    let serving = Arc::new(AtomicBool::new(true));
    let a = grpc("A", serving.clone());
    let b = grpc("B", Arc::new(AtomicBool::new(true)));
    let mut proxy = Config::http(
        "upstream app { server %%a%%; server %%b%%; }
         server { listen %%ADDR_0%%; http2 on; location / { grpc_pass grpc://app;
            health_check type=grpc grpc_service=s interval=40ms; } }",
    )
    .workers(2)
    .set("a", a.addr())
    .set("b", b.addr())
    .start();
    wait::until("checks", || a.accepted() > 1 && b.accepted() > 1);
    assert!(!proxy.error_log().contains("unhealthy"));
    serving.store(false, Ordering::SeqCst);
    proxy.wait_log(
        "error.log",
        &format!(
            "peer is unhealthy while checking grpc status, health check \"\" of peer {} in upstream \"app\"",
            a.addr()
        ),
    );
    serving.store(true, Ordering::SeqCst);
    proxy.wait_log("error.log", "peer is healthy");
    // Who does not know the protocol may say so.
    proxy.rewrite_http(
        "upstream app { server %%a%%; server %%b%%; }
         server { listen %%ADDR_0%%; http2 on; location / { grpc_pass grpc://app;
            health_check type=grpc grpc_status=12 interval=40ms; } }",
    );
    proxy.reload_until(|| {
        let log = proxy.error_log();
        [&a, &b].iter().all(|origin| {
            let who = format!("grpc status, health check \"\" of peer {}", origin.addr());
            let since = log.rfind("reconfiguring").map_or("", |at| &log[at..]);
            since.contains(&who)
        })
    });
}
