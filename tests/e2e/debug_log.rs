//! What is written for debugging, and about whom; and the error log as JSON.

use crate::support::{Config, Origin, skipped};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Whether a log has a line with each of these, in this order.
#[track_caller]
fn in_order(log: &str, wanted: &[&str]) {
    let mut rest = log;
    for want in wanted {
        let Some(at) = rest.find(want) else {
            panic!("{want:?} does not follow in {log}");
        };
        rest = &rest[at + want.len()..];
    }
}

#[test]
fn one_location_is_followed() {
    let origin = Origin::text("answer");
    let proxy = Config::server(
        "location / { proxy_pass http://%%o%%; }
         location /debug {
            error_log %%DIR%%/debug.log debug;
            set $name value;
            rewrite ^/debug(.*)$ /moved$1 break;
            proxy_pass http://%%o%%;
         }",
    )
    .set("o", origin.addr())
    .start();
    let mut client = proxy.client();
    client.get("/quiet").response();
    client.get("/debug/x?a=b").response();
    client.get("/quiet").response();
    proxy.wait_log("debug.log", "keepalive handler");
    let log = proxy.log("debug.log");
    let peer = format!("connect to {}", origin.addr());
    in_order(
        &log,
        &[
            "using configuration \"/debug\"",
            "http script set: \"value\"",
            "http script regex: \"^/debug(.*)$\", matched: true",
            "content phase: proxy",
            "http proxy header: \"GET /moved/x?a=b HTTP/1.1\"",
            "http proxy header: \"Host: ",
            "http upstream request: \"/moved/x?a=b\"",
            &peer,
            "http proxy status 200 \"200 OK\"",
            "http proxy header done",
            "http header filter: status 200",
            "http write filter: ",
            "http finalize request: \"/moved/x?a=b\"",
            "set http keepalive handler",
        ],
    );
    let shape =
        regex::Regex::new(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[debug\] \d+#\d+: \*\d+ ").unwrap();
    for line in log.lines() {
        assert!(shape.is_match(line) && !line.contains("quiet"), "{line}");
    }
    assert!(!proxy.error_log().contains("[debug]"));
}

#[test]
fn some_clients_are_followed_everywhere() {
    let proxy = Config::main(
        "daemon off; worker_processes 1; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info;
         events { debug_connection 127.0.0.2; debug_connection 10.0.0.0/8; debug_connection unix:; }
         http { access_log off;
            error_log %%DIR%%/one.log alert; error_log %%DIR%%/two.log emerg;
            server { listen %%ADDR_0%%; listen unix:%%DIR%%/sock;
                location / { return 204; }
                location /unix { proxy_pass http://unix:%%DIR%%/sock:/inner; }
                location /other { proxy_bind 127.0.0.2; proxy_pass http://%%ADDR_0%%/; }
                location /inner { return 200 inner; } } }",
    )
    .start();
    proxy.get("/");
    assert_eq!(proxy.get("/unix").text(), "inner");
    proxy.wait_log("two.log", "set http keepalive handler");
    let log = proxy.log("two.log");
    in_order(
        &log,
        &[
            "accept: unix:",
            "http request line: \"GET /inner HTTP/1.1\"",
            "http header: \"Host: localhost\"",
            "http header done",
            "using configuration \"/inner\"",
            "set http keepalive handler",
        ],
    );
    assert!(!log.contains("\"/unix\""), "{log}");
    assert_eq!(proxy.get("/other").status(), 204);
    proxy.wait_log("two.log", "accept: 127.0.0.2:");
    proxy.wait_log("two.log", "http finalize request: \"/?\"");
    let same = |name: &str| {
        proxy
            .log(name)
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(same("one.log"), same("two.log"));
}

/// Prints each field of each object, and a line between two.
const READER: &str = r#"
import json, sys
for line in sys.stdin:
    for name, value in json.loads(line).items():
        print(f"{name}\t{value}")
    print()
"#;

/// The fields of each line of a log of JSON objects, as a parser that is not ours reads them.
fn objects(text: &str) -> Option<Vec<BTreeMap<String, String>>> {
    let reader = Command::new("python3")
        .args(["-X", "utf8", "-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut reader) = reader else {
        skipped("python3 is not installed");
        return None;
    };
    let mut stdin = reader.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let out = reader.wait_with_output().unwrap();
    assert!(out.status.success(), "{text}");
    let out = String::from_utf8(out.stdout).unwrap();
    let object = |text: &str| {
        let fields = text.lines().filter_map(|line| line.split_once('\t'));
        fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    Some(out.trim_end().split("\n\n").map(object).collect())
}

#[test]
fn the_error_log_can_be_json() {
    let proxy = Config::server(
        "server_name s.example;
         error_log %%DIR%%/errors.json info format=json;
         error_log %%DIR%%/classic.log info;
         location / { proxy_pass http://%%ADDR_1%%; }
         location /debug { error_log %%DIR%%/debug.json debug format=json; return 204; }",
    )
    .start();
    let mut client = proxy.client();
    let from = client.local_addr();
    client
        .send(
            b"GET /\"quoted\\\" HTTP/1.1\r\nHost: h.example\r\nReferer: caf\xe9\r\n\r\n".as_slice(),
        )
        .response();
    client.get("/debug").response();
    proxy.wait_log("errors.json", "connect() failed");
    proxy.wait_log("classic.log", "connect() failed");
    proxy.wait_log("debug.json", "keepalive handler");
    let Some(all) = objects(&proxy.log("errors.json")) else {
        return;
    };
    let text = |name: &str| all[0].get(name).cloned().unwrap_or_default();
    assert_eq!(
        text("message"),
        "connect() failed (111: Connection refused) while connecting to upstream"
    );
    assert_eq!(text("level"), "error");
    assert_eq!(text("client"), from.ip().to_string());
    assert_eq!(text("server"), "s.example");
    assert_eq!(text("request"), "GET /\"quoted\\\" HTTP/1.1");
    assert_eq!(
        text("upstream"),
        format!("http://{}/\"quoted\\\"", proxy.addr_of(1))
    );
    assert_eq!(
        (text("host"), text("referrer")),
        ("h.example".into(), "caf\\xE9".into())
    );
    assert_eq!(text("pid"), proxy.workers()[0].to_string());
    assert!(text("connection").parse::<u64>().unwrap() > 0);
    let time = regex::Regex::new(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d$").unwrap();
    assert!(time.is_match(&text("time")), "{}", text("time"));
    for object in objects(&proxy.log("debug.json")).unwrap_or_default() {
        assert_eq!(object["level"], "debug");
    }
    assert!(proxy.log("classic.log").contains("[error] "));
}

#[test]
fn the_process_itself_logs_json_too() {
    let proxy = Config::main(
        "daemon off; worker_processes 1; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log notice format=json;
         events { } http { access_log off; server { listen %%ADDR_0%%; return 204; } }",
    )
    .start();
    proxy.wait_log("error.log", "start worker process");
    let Some(all) = objects(&proxy.error_log()) else {
        return;
    };
    assert!(
        all.iter().all(|object| object["level"] == "notice"),
        "{all:?}"
    );
}

#[test]
fn formats_are_checked() {
    for (line, said) in [
        (
            "error_log x.log info format=xml;",
            "invalid parameter \"format=xml\"",
        ),
        (
            "error_log x.log format=json format=json;",
            "duplicate log format",
        ),
    ] {
        let ran = Config::server(line).test();
        assert_eq!(ran.code(), Some(1), "{line}");
        assert!(ran.stderr().contains(said), "{}", ran.stderr());
    }
    let ran = Config::main("events { debug_connection 10.0.0.0/40; } http { }").test();
    assert!(
        ran.stderr().contains("invalid parameter \"10.0.0.0/40\""),
        "{}",
        ran.stderr()
    );
}
