//! `ringx explain`: what it says is what is done.

use crate::support::{Config, Origin};
use std::fmt::Write as _;
use std::process::Command;

/// What `explain` prints, or complains about.
fn explain(conf: &std::path::Path, args: &[&str]) -> (Option<i32>, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_ringx"))
        .arg("explain")
        .arg("-c")
        .arg(conf)
        .args(args)
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_proxied_request_is_told_as_it_would_be_sent() {
    let origin = Origin::echo();
    let proxy = Config::http(
        "upstream app { server %%O%% weight=2; server %%ADDR_1%% backup; }
         limit_req_zone $binary_remote_addr zone=api:1m rate=90r/m;
         server { listen %%ADDR_0%%; server_name a.test; return 404; }
         server { listen %%ADDR_0%%; server_name b.test;
            location / { return 200 root; }
            location /api/ {
                limit_req zone=api burst=5; deny 10.0.0.0/8;
                rewrite ^/api/old/(.*)$ /api/new/$1 last;
                proxy_pass http://app/v1/; proxy_set_header Host $host; proxy_set_header X-From $remote_addr; } }",
    )
    .set("O", origin.addr())
    .start();
    let url = |path: &str| format!("http://b.test:{}{path}", proxy.addr().port());
    let conf = proxy.path("ringx.conf");
    let (code, told) = explain(&conf, &[&url("/api/old/3?q"), "-H", "X-Y: z"]);
    assert_eq!(code, Some(0), "{told}");
    for line in [
        "server b.test: the host is its name",
        "location / is a prefix, but not the longest",
        "location /api/ is the longest prefix",
        "rewritten to \"/api/new/3\"",
        "limit_req: zone api by $binary_remote_addr, 1.5 requests a second, burst 5",
        "weight=2",
        "backup",
    ] {
        assert!(told.contains(line), "{line} is not in {told}");
    }
    // Line by line what the origin really gets.
    let head = "GET /api/old/3?q HTTP/1.1\r\nHost: b.test\r\nX-Y: z\r\n\r\n";
    let sent = proxy.client().send(head).response();
    let mut lines = sent
        .text()
        .lines()
        .take_while(|line| !line.is_empty())
        .peekable();
    assert!(
        lines
            .peek()
            .is_some_and(|line| line.starts_with("GET /v1/new/3?q "))
    );
    for line in lines {
        assert!(told.contains(line), "{line} is not in {told}");
    }
    let (_, told) = explain(&conf, &[&url("/api/x"), "--from", "10.1.2.3"]);
    assert!(
        told.contains("10.1.2.3 is denied by rule") && told.contains("status 403"),
        "{told}"
    );
    let (_, told) = explain(&conf, &[&url("/x"), "--json"]);
    assert!(
        told.starts_with("[{\"stage\":\"server\"") && told.ends_with("}]\n"),
        "{told}"
    );
}

#[test]
fn what_cannot_be_explained_is_told() {
    let config = Config::server("return 204;");
    let conf = config.dir().join("nginx.conf");
    for (text, args, word) in [
        (
            "events {} http { server { listen 8081; } }",
            &["http://a:8082/"][..],
            "nothing listens on port 8082",
        ),
        (
            "events {} http { server { listen 8081; } }",
            &["ftp://a/"],
            "no scheme that is served",
        ),
        ("events {} http { nonsense; }", &["http://a/"], "nonsense"),
        (
            "events {} http { server { listen 8081; } }",
            &["http://a:8081/", "-H", "x"],
            "is no field",
        ),
    ] {
        std::fs::write(&conf, text).unwrap();
        let (code, told) = explain(&conf, args);
        assert_eq!(code, Some(3), "{told}");
        assert!(told.contains(word), "{word} is not in {told}");
    }
}

/// A few texts that meet each other often.
const PARTS: [&str; 6] = ["/", "/a", "/a/", "/a/b", "/a/b/", "/b.php"];

#[test]
fn the_location_that_is_told_is_the_one_that_serves() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for _ in 0..5 {
        let mut locations = String::new();
        let mut known = Vec::new();
        for _ in 0..6 {
            let kind = ["", "= ", "^~ ", "~ ^", "~* "][random(5)];
            let text = format!("{kind}{}", PARTS[random(PARTS.len())]);
            let same =
                |other: &String| other.trim_start_matches("^~ ") == text.trim_start_matches("^~ ");
            if !known.iter().any(same) {
                let _ = writeln!(locations, "location {text} {{ return 200 '{text}'; }}");
                known.push(text);
            }
        }
        let proxy = Config::server(&locations).may_log("").start();
        let conf = proxy.path("ringx.conf");
        for _ in 0..40 {
            let uri = format!(
                "{}{}",
                PARTS[random(PARTS.len())],
                ["", "x", "/y", "c.PHP"][random(4)]
            );
            let served = proxy.get(&uri);
            let (_, told) = explain(&conf, &[&format!("http://{}{uri}", proxy.addr())]);
            let line = told
                .lines()
                .find(|line| line.contains("\" is served by "))
                .unwrap();
            let name = line.split_once("served by ").unwrap().1;
            let want = match served.status() {
                // As it is told: a pattern has one sign, and `^~` is a prefix like others.
                200 => format!(
                    "location {}",
                    served.text().replace("~* ", "~ ").replace("^~ ", "")
                ),
                _ => "the server's own settings".to_owned(),
            };
            assert_eq!(name, want, "{uri} in {locations}: {told}");
        }
    }
}
