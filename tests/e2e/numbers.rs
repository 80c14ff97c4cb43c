//! `metrics` and `status`: what is told is what happened, over all shards and reloads, and other programs can read it.

use crate::support::{Config, Origin, Proxy, skipped, wait};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Two shards before a group of one peer that answers and one that does not.
fn site(origin: &Origin) -> Proxy {
    Config::http(
        "upstream app { server %%O%%; server %%ADDR_1%% backup; }
         server { listen %%ADDR_0%%; server_name a.test;
            location / { proxy_pass http://app; }
            location = /made { return 204; }
            location ~ \\.gone$ { return 410; }
            location /metrics { metrics; }
            location /status { status; } }
         server { listen %%ADDR_0%%; server_name b.test;
            return 500; }",
    )
    .set("O", origin.addr())
    .workers(2)
    .start()
}

/// Samples of a text by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn scrape(proxy: &Proxy) -> BTreeMap<String, f64> {
    let got = proxy.get("/metrics");
    assert_eq!(
        (got.status(), got.field("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    samples(got.text())
}

/// The value of a sample, whose labels are written as they appear.
#[track_caller]
fn value(samples: &BTreeMap<String, f64>, name: &str) -> f64 {
    *samples
        .get(name)
        .unwrap_or_else(|| panic!("{name} is not among {samples:#?}"))
}

#[test]
fn requests_are_counted_by_location_and_peers_by_answer() {
    let origin = Origin::text("answer");
    let proxy = site(&origin);
    for _ in 0..20 {
        assert_eq!(proxy.get("/x").text(), "answer");
        assert_eq!(proxy.get("/made").status(), 204);
    }
    for _ in 0..3 {
        assert_eq!(proxy.get("/a.gone").status(), 410);
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n");
        assert_eq!(client.response().status(), 500);
    }
    let requests = |location: &str, code: &str| {
        format!(
            "ringx_http_requests_total{{server=\"a.test\",location=\"{location}\",code=\"{code}\"}}"
        )
    };
    let check = |found: &BTreeMap<String, f64>| {
        assert_eq!(value(found, &requests("/", "2xx")), 20.0);
        assert_eq!(value(found, &requests("= /made", "2xx")), 20.0);
        assert_eq!(value(found, &requests("~ \\\\.gone$", "4xx")), 3.0);
        let other = "ringx_http_requests_total{server=\"b.test\",location=\"\",code=\"5xx\"}";
        assert_eq!(value(found, other), 3.0);
        let count = "ringx_http_request_duration_seconds_count{server=\"a.test\",location=\"/\"}";
        assert_eq!(value(found, count), 20.0);
        let all = "ringx_http_request_duration_seconds_bucket{server=\"a.test\",location=\"/\",le=\"+Inf\"}";
        assert_eq!(value(found, all), 20.0);
        let peer = format!("upstream=\"app\",peer=\"{}\"", origin.addr());
        let attempts = format!("ringx_upstream_requests_total{{{peer},code=\"2xx\"}}");
        assert_eq!(value(found, &attempts), 20.0);
        assert_eq!(value(found, &format!("ringx_upstream_up{{{peer}}}")), 1.0);
        assert!(
            value(
                found,
                &format!("ringx_upstream_received_bytes_total{{{peer}}}")
            ) > 120.0
        );
        let shards = [0, 1].map(|n| {
            value(
                found,
                &format!("ringx_shard_requests_total{{shard=\"{n}\"}}"),
            )
        });
        assert_eq!(
            shards[0] + shards[1],
            value(found, "nginx_http_requests_total")
        );
    };
    let first = scrape(&proxy);
    check(&first);
    wait::until("only this connection is open", || {
        value(&scrape(&proxy), "nginx_connections_active") == 1.0
    });
    // Counts outlive the plan that they were made under.
    let generation = value(&first, "ringx_config_generation");
    proxy.signal(libc::SIGHUP);
    wait::until("the next configuration is in force", || {
        value(&scrape(&proxy), "ringx_config_generation") > generation
    });
    check(&scrape(&proxy));
    assert_eq!(proxy.get("/x").text(), "answer");
    assert_eq!(value(&scrape(&proxy), &requests("/", "2xx")), 21.0);
}

#[test]
fn a_peer_that_fails_is_told() {
    let origin = Origin::text("answer");
    let proxy = Config::http(
        "upstream app { server %%ADDR_1%%; server %%O%%; }
         server { listen %%ADDR_0%%;
            location / { proxy_pass http://app; }
            location /status { status; } }",
    )
    .set("O", origin.addr())
    .may_log("connect() failed")
    .may_log("temporarily disabled")
    .start();
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "answer");
    }
    let text = proxy.get("/status").text().to_owned();
    let dead = format!("\"peer\":\"{}\",\"up\":false", proxy.addr_of(1));
    assert!(text.contains(&dead), "{dead} is not in {text}");
    let alive = format!("\"peer\":\"{}\",\"up\":true", origin.addr());
    assert!(text.contains(&alive), "{alive} is not in {text}");
}

#[test]
fn who_asks_decides_about_the_form() {
    let origin = Origin::text("answer");
    let proxy = site(&origin);
    let ask = |target: &str, fields: &str| proxy.client().request("GET", target, fields).response();
    let page = ask("/status", "Accept: text/html,*/*;q=0.8\r\n");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().starts_with("<!doctype html>"));
    for (target, accept) in [("/status?json", "Accept: text/html\r\n"), ("/status", "")] {
        let json = ask(target, accept);
        assert_eq!(json.field("content-type"), Some("application/json"));
        assert_eq!(json.field("cache-control"), Some("no-store"));
        assert!(json.text().starts_with("{\"version\":"), "{}", json.text());
    }
    let open = ask(
        "/metrics",
        "Accept: application/openmetrics-text;version=1.0.0\r\n",
    );
    assert!(
        open.field("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(open.text().ends_with("# EOF\n"));
    for target in ["/status", "/metrics"] {
        let got = proxy
            .client()
            .request("POST", target, "Content-Length: 0\r\n")
            .response();
        assert_eq!(got.status(), 405);
        let got = proxy.client().request("HEAD", target, "").head();
        assert_eq!(got.status(), 200);
    }
}

/// Reads a text of each format with the parsers of other people, and writes the samples of the newer one as lines.
const SCRAPER: &str = r#"
import sys
texts = sys.stdin.read().split("\0")
from prometheus_client.parser import text_string_to_metric_families as old
from prometheus_client.openmetrics.parser import text_string_to_metric_families as new
assert len(list(old(texts[0]))) > 10
for family in new(texts[1]):
    for s in family.samples:
        labels = ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))
        print(family.type, s.name, labels, s.value, sep="|")
"#;

/// What a scraper reads: kind, name, labels and value. None where there is no parser of others.
fn read_by_others(proxy: &Proxy) -> Option<Vec<String>> {
    let ask = |fields: &str| {
        let got = proxy.client().request("GET", "/metrics", fields).response();
        got.text().to_owned()
    };
    let texts = [ask(""), ask("Accept: application/openmetrics-text\r\n")];
    let python = "/usr/bin/python3";
    let known = Command::new(python)
        .args(["-c", "import prometheus_client.openmetrics.parser"])
        .output();
    if !known.is_ok_and(|out| out.status.success()) {
        skipped("python3-prometheus-client is not installed");
        return None;
    }
    let mut reader = Command::new(python)
        .args(["-c", SCRAPER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = reader.stdin.take().unwrap();
    input.write_all(texts.join("\0").as_bytes()).unwrap();
    drop(input);
    let out = reader.wait_with_output().unwrap();
    assert!(out.status.success());
    let text = String::from_utf8(out.stdout).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

/// Looks for lines of [`read_by_others`].
#[track_caller]
fn has_all(lines: &[String], wanted: &[String]) {
    for want in wanted {
        assert!(lines.contains(want), "{want} is not in {lines:#?}");
    }
}

#[test]
fn sessions_of_stream_are_counted() {
    let origin = Origin::mirror();
    let proxy = Config::both(
        "server { listen %%ADDR_0%%; location /metrics { metrics; } location /status { status; } }",
        "upstream back { server %%O%%; server %%ADDR_4%% max_fails=0; }
         server { listen %%ADDR_1%%; proxy_pass %%O%%; }
         server { listen %%ADDR_2%%; deny all; proxy_pass %%O%%; }
         server { listen %%ADDR_3%%; proxy_pass %%ADDR_4%%; }
         server { listen %%ADDR_5%%; proxy_pass back; }",
    )
    .set("O", origin.addr())
    .workers(2)
    .may_log("connect() failed")
    .may_log("access forbidden by rule")
    .start();
    let session = |n: usize| crate::support::Client::tcp(proxy.addr_of(n));
    let row = |name: &str, n: usize, status: &str| {
        let listen = proxy.addr_of(n);
        match status {
            "" => format!("ringx_stream_{name}{{listen=\"{listen}\"}}"),
            status => format!("ringx_stream_{name}{{listen=\"{listen}\",status=\"{status}\"}}"),
        }
    };
    let ended = |n: usize, status: &str| value(&scrape(&proxy), &row("sessions_total", n, status));
    let mut open = session(1);
    open.send("hello");
    assert_eq!(open.bytes(5), b"hello");
    let active = |n: usize| value(&scrape(&proxy), &row("sessions_active", n, ""));
    assert_eq!((active(1), active(2)), (1.0, 0.0));
    open.half_close();
    wait::until("the end of a session", || ended(1, "200") == 1.0);
    session(2).expect_close();
    wait::until("a session that was refused", || ended(2, "403") == 1.0);
    session(3).expect_close();
    wait::until("a session without a backend", || ended(3, "502") == 1.0);
    // One of two backends is away: each session gets to the other one, and half of them after a try.
    for _ in 0..4 {
        let mut one = session(5);
        one.send("x");
        assert_eq!(one.bytes(1), b"x");
        one.half_close();
    }
    wait::until("the sessions", || ended(5, "200") == 4.0);
    let found = scrape(&proxy);
    let of = |name: &str, n: usize| value(&found, &row(name, n, ""));
    assert_eq!(
        (of("received_bytes_total", 1), of("sent_bytes_total", 1)),
        (5.0, 5.0)
    );
    assert_eq!(of("connect_failures_total", 1), 0.0);
    assert_eq!(of("connect_failures_total", 3), 1.0);
    let tries = of("connect_failures_total", 5);
    let peer = format!(
        "ringx_upstream_requests_total{{upstream=\"back\",peer=\"{}\",code=\"none\"}}",
        proxy.addr_of(4)
    );
    assert!((1.0..=4.0).contains(&tries));
    assert_eq!(value(&found, &peer), tries);
    assert!((1..=5).all(|n| n == 4 || of("sessions_active", n) == 0.0));
    let status = proxy.get("/status");
    let shown = format!(
        "{{\"listen\":\"{}\",\"active\":0,\"received\":5,\"sent\":5,\"connect_failures\":0,\"ended\":{{\"200\":1,",
        proxy.addr_of(1)
    );
    assert!(status.text().contains(&shown), "{}", status.text());
    let Some(lines) = read_by_others(&proxy) else {
        return;
    };
    let listen = proxy.addr_of(1);
    has_all(
        &lines,
        &[
            format!("counter|ringx_stream_sessions_total|listen={listen},status=200|1"),
            format!("gauge|ringx_stream_sessions_active|listen={listen}|0"),
            format!("counter|ringx_stream_sent_bytes_total|listen={listen}|5"),
        ],
    );
}

#[test]
fn health_checks_are_counted_by_peer() {
    let (well, ill) = (
        Origin::text("well"),
        Origin::fixed(crate::support::origin::response("500 Bad", "", b"")),
    );
    let proxy = Config::http(
        "upstream app { zone app 64k; server %%W%%; server %%I%%; }
         upstream other { zone other 64k; server %%W%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app; health_check interval=30ms fails=2; }
            location /other { proxy_pass http://other; }
            location /metrics { metrics; } location /status { status; } }",
    )
    .set("W", well.addr())
    .set("I", ill.addr())
    .workers(2)
    .logs("peer is unhealthy")
    .start();
    let row = |name: &str, peer: &Origin, more: &str| {
        let peer = peer.addr();
        format!("ringx_health_check{name}{{upstream=\"app\",peer=\"{peer}\"{more}}}")
    };
    let (passed, failed) = (",outcome=\"passed\"", ",outcome=\"failed\"");
    wait::until("checks that tell who is well", || {
        let found = scrape(&proxy);
        let of = |name: &str, more| found.get(name).copied().unwrap_or(more);
        of(&row("_healthy", &ill, ""), 1.0) == 0.0 && of(&row("s_total", &well, passed), 0.0) >= 3.0
    });
    let found = scrape(&proxy);
    assert!(value(&found, &row("s_total", &ill, failed)) >= 2.0);
    assert_eq!(value(&found, &row("s_total", &ill, passed)), 0.0);
    assert_eq!(value(&found, &row("s_total", &well, failed)), 0.0);
    assert_eq!(value(&found, &row("_healthy", &well, "")), 1.0);
    let took = value(&found, &row("_duration_seconds", &well, ""));
    assert!(took > 0.0 && took < 10.0, "{took}");
    // A group without checks has no row, and what was counted is not counted twice by two shards.
    assert!(
        !found
            .keys()
            .any(|k| k.starts_with("ringx_health") && k.contains("other"))
    );
    let asked = well.requests().iter().filter(|r| r.target() == "/").count() as f64;
    assert!(value(&found, &row("s_total", &well, passed)) <= asked);
    let shown = format!(
        "{{\"upstream\":\"app\",\"peer\":\"{}\",\"healthy\":false,\"passed\":0,",
        ill.addr()
    );
    let status = proxy.get("/status");
    assert!(status.text().contains(&shown), "{}", status.text());
    let Some(lines) = read_by_others(&proxy) else {
        return;
    };
    let peer = ill.addr();
    has_all(
        &lines,
        &[
            format!("gauge|ringx_health_check_healthy|peer={peer},upstream=app|0"),
            format!("counter|ringx_health_checks_total|outcome=passed,peer={peer},upstream=app|0"),
        ],
    );
}

/// Reads one of each kind with the parsers of other people.
const READER: &str = r#"
import json, sys
texts = sys.stdin.read().split("\0")
from prometheus_client.parser import text_string_to_metric_families as old
from prometheus_client.openmetrics.parser import text_string_to_metric_families as new
classic = {s.name for f in old(texts[0]) for s in f.samples}
modern = {s.name for f in new(texts[1]) for s in f.samples}
assert "nginx_http_requests_total" in classic, classic
# The older parser gives each counter the ending that nginx's exporter leaves out.
bare = lambda names: {n.removesuffix("_total") for n in names}
assert bare(classic) == bare(modern), classic ^ modern
status = json.loads(texts[2])
assert status["connections"]["requests"] >= 3, status
assert [u["upstream"] for u in status["upstreams"]] == ["app", "app"], status
assert [c["zone"] for c in status["caches"]] == [], status
assert status["epochs"][0]["shards"] == 2, status
print("read")
"#;

#[test]
fn the_parsers_of_others_read_it() {
    let python = "/usr/bin/python3";
    let known = Command::new(python)
        .args(["-c", "import prometheus_client.openmetrics.parser"])
        .output();
    if !known.is_ok_and(|out| out.status.success()) {
        return skipped("python3-prometheus-client is not installed");
    }
    let origin = Origin::text("answer");
    let proxy = site(&origin);
    assert_eq!(proxy.get("/x").text(), "answer");
    let ask = |target: &str, fields: &str| {
        let got = proxy.client().request("GET", target, fields).response();
        got.text().to_owned()
    };
    let texts = [
        ask("/metrics", ""),
        ask("/metrics", "Accept: application/openmetrics-text\r\n"),
        ask("/status", ""),
    ];
    let mut reader = Command::new(python)
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    reader
        .stdin
        .take()
        .unwrap()
        .write_all(texts.join("\0").as_bytes())
        .unwrap();
    let out = reader.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "read\n");
}

/// A server with everything that has numbers of its own.
fn full(origin: &Origin) -> Config {
    Config::http(
        "limit_req_zone $arg_who zone=api:1m rate=1r/m; limit_conn_zone $arg_who zone=busy:1m;
         proxy_cache_path %%DIR%%/cache keys_zone=pages:1m max_size=5m;
         resolver 127.0.0.1:%%PORT_2%% valid=1s; resolver_timeout 200ms;
         upstream app { zone app 64k; server %%O%%; server %%ADDR_3%% down; }
         server { listen %%ADDR_0%%; listen %%ADDR_1%% ssl; server_name a.test;
            ssl_certificate %%DIR%%/c.pem; ssl_certificate_key %%DIR%%/k.pem;
            location / { proxy_pass http://app; }
            location /cached { proxy_cache pages; proxy_cache_valid 1m; proxy_pass http://app; }
            location /limited { limit_req zone=api burst=1 nodelay; limit_conn busy 5; proxy_pass http://app; }
            location /slow { limit_req zone=api burst=9; limit_req_dry_run on; proxy_pass http://app; }
            location /name { set $name no.test; proxy_pass http://$name/; }
            location /metrics { metrics; }
            location /status { status; } }",
    )
    .set("O", origin.addr())
    .workers(2)
    .may_log("limiting requests")
    .may_log("delaying request")
    .may_log("could not be resolved")
    .may_log("recv() failed")
}

/// The same with a certificate, running.
fn full_site(origin: &Origin) -> Proxy {
    let pair = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    full(origin)
        .file("c.pem", pair.cert.pem())
        .file("k.pem", pair.signing_key.serialize_pem())
        .start()
}

#[test]
fn caches_limits_and_names_have_families() {
    let origin = Origin::text("answer");
    let proxy = full_site(&origin);
    for _ in 0..5 {
        assert_eq!(proxy.get("/cached").text(), "answer");
    }
    // The request behind the burst is the third.
    let statuses = [0; 4].map(|_| proxy.get("/limited?who=me").status());
    assert_eq!(statuses, [200, 200, 503, 503]);
    proxy.get("/slow?who=you");
    assert_eq!(proxy.get("/slow?who=you").status(), 200);
    assert_eq!(proxy.get("/name").status(), 502);
    let found = scrape(&proxy);
    let cache =
        |word: &str| format!("ringx_cache_requests_total{{zone=\"pages\",status=\"{word}\"}}");
    let limit = |zone: &str, kind: &str, word: &str| {
        format!("ringx_limit_requests_total{{zone=\"{zone}\",kind=\"{kind}\",outcome=\"{word}\"}}")
    };
    let peer = |addr, state| {
        format!("ringx_upstream_state{{upstream=\"app\",peer=\"{addr}\",state=\"{state}\"}}")
    };
    for (name, want) in [
        (cache("MISS"), 1.0),
        (cache("HIT"), 4.0),
        (limit("api", "requests", "passed"), 3.0),
        (limit("api", "requests", "rejected"), 2.0),
        (limit("api", "requests", "delayed_dry_run"), 1.0),
        (limit("busy", "connections", "passed"), 2.0),
        (peer(origin.addr(), "up"), 1.0),
        (peer(proxy.addr_of(3), "down"), 1.0),
        (
            "ringx_cache_max_bytes{zone=\"pages\"}".to_owned(),
            5_242_880.0,
        ),
        (
            "ringx_limit_zone_bytes{zone=\"api\"}".to_owned(),
            1_048_576.0,
        ),
        ("ringx_splice_bytes_total{direction=\"up\"}".to_owned(), 0.0),
        ("ringx_config_epoch_shards{epoch=\"1\"}".to_owned(), 2.0),
    ] {
        assert_eq!(value(&found, &name), want, "{name}");
    }
    let file = proxy.path("c.pem");
    let expiry = format!(
        "ringx_tls_cert_expiry_timestamp_seconds{{server=\"a.test\",certificate=\"{}\"}}",
        file.display()
    );
    assert!(value(&found, &expiry) > 1.8e9);
    // What a shard has is said by itself, a moment later.
    wait::until("all shards have told what they have", || {
        let found = scrape(&proxy);
        let keys = value(&found, "ringx_limit_zone_keys{zone=\"api\"}");
        let entries = value(&found, "ringx_cache_entries{zone=\"pages\"}");
        let bytes = value(&found, "ringx_cache_bytes{zone=\"pages\"}");
        let lookups = value(&found, "ringx_resolver_lookups_total{result=\"timed_out\"}")
            + value(&found, "ringx_resolver_lookups_total{result=\"failed\"}");
        let cpu = value(&found, "ringx_shard_cpu_seconds_total{shard=\"1\"}");
        (keys, entries, lookups) == (2.0, 1.0, 1.0) && bytes > 0.0 && cpu > 0.0
    });
}

#[test]
fn handshakes_are_counted() {
    let origin = Origin::text("answer");
    let proxy = full_site(&origin);
    let addr = proxy.addr_of(1).to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let ran = Command::new("openssl")
            .args(["s_client", "-connect", &addr, version])
            .stdin(Stdio::null())
            .output();
        let Ok(ran) = ran else {
            return skipped("openssl is not installed");
        };
        assert!(ran.status.success());
    }
    let mut client = crate::support::Client::tcp(proxy.addr_of(1));
    client.send(b"\x16\x03\x01\x00\x02no".as_slice());
    client.rest();
    wait::until("handshakes are counted", || {
        let found = scrape(&proxy);
        let count = |version: &str| {
            value(
                &found,
                &format!("ringx_tls_handshakes_total{{version=\"{version}\",resumed=\"no\"}}"),
            )
        };
        (count("TLSv1.2"), count("TLSv1.3")) == (1.0, 1.0)
            && value(&found, "ringx_tls_handshakes_failed_total") == 1.0
    });
}

/// Colours, about, of a picture: different groups of four bytes in its filtered lines.
fn variety(png: &[u8]) -> usize {
    let mut packed = Vec::new();
    let mut rest = &png[8..];
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        if &tail[..4] == b"IDAT" {
            packed.extend_from_slice(&tail[4..4 + length]);
        }
        rest = &tail[4 + length + 4..];
    }
    let mut lines = Vec::new();
    let mut unpack = flate2::read::ZlibDecoder::new(&packed[..]);
    std::io::Read::read_to_end(&mut unpack, &mut lines).unwrap();
    let groups: std::collections::HashSet<&[u8]> = lines.chunks_exact(4).collect();
    groups.len()
}

#[test]
fn the_page_is_alive_in_a_browser() {
    let Some(browser) = super::https::browser() else {
        return;
    };
    let origin = Origin::text("answer");
    let proxy = full_site(&origin);
    let home = tempfile::tempdir().unwrap();
    let picture = home.path().join("page.png");
    let run = |what: &[&str]| {
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    proxy.get("/cached");
                    proxy.get("/x");
                }
            });
            let out = Command::new(&browser)
                .args(super::https::arguments(home.path()))
                .args([
                    "--enable-logging=stderr",
                    "--virtual-time-budget=6000",
                    "--window-size=1280,2000",
                ])
                .args(what)
                .arg(format!("http://{}/status", proxy.addr()))
                .stdin(Stdio::null())
                .output();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            out.unwrap()
        })
    };
    let out = run(&["--dump-dom"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!said.contains("CONSOLE"), "{said}");
    let page = String::from_utf8_lossy(&out.stdout);
    for want in [
        "<i id=\"dot\" class=\"on\">",
        "a.test",
        "/limited",
        "→ app",
        "pages",
        "1 of 2 up",
        "(in force)",
    ] {
        assert!(page.contains(want), "{want} is not in {page}");
    }
    let rate = page.split_once("<span>requests/s</span><b>").unwrap().1;
    let rate = rate.split_once("</b>").unwrap().0;
    assert_ne!(rate, "0", "{page}");
    run(&[&format!("--screenshot={}", picture.display())]);
    let colours = variety(&std::fs::read(&picture).unwrap());
    assert!(colours > 200, "a picture of {colours} colours");
}
