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
    assert_eq!(value(&first, "nginx_connections_active"), 1.0);
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
