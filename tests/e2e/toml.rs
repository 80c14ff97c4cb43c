//! The second language: the same proxy from a TOML file, and the two turned into each other.

use crate::support::proxy::run_bare;
use crate::support::{Config, Origin};

const TOML: &str = r#"
daemon = false
worker_processes = 1
pid = "%%DIR%%/ringx.pid"
error_log = "%%DIR%%/error.log info"
access_log = "off"

[events]
worker_connections = 512

[map."$http_upgrade $connection_upgrade"]
default = "upgrade"
"" = "close"

[upstream.app]
server = ["%%ADDR_1%% backup", "%%origin%% weight=3 max_fails=3 fail_timeout=30s"]
keepalive = 32

[[server]]
listen = "%%ADDR_0%%"
server_name = "example.com www.example.com"

[server.location."/api/"]
proxy_pass = "http://app/"
proxy_set_header = { Host = "$host", X-Real-IP = "$remote_addr", Connection = "$connection_upgrade" }

[server.location."= /own"]
return = "200 own"

[server.location."~ \\.txt$"]
return = "200 text"
"#;

#[test]
fn a_toml_file_serves() {
    let origin = Origin::text("x");
    let proxy = Config::toml(&TOML.replace("daemon = false", "daemon = \"off\""))
        .set("origin", origin.addr())
        .start();
    let mut client = proxy.client();
    client.send("GET /api/users?x=1 HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    assert_eq!(client.response().text(), "x");
    let request = origin.request();
    assert_eq!(request.target(), "/users?x=1");
    assert_eq!(request.field("host"), Some("www.example.com"));
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(request.field("connection"), Some("close"));
    assert_eq!(client.get("/own").response().text(), "own");
    assert_eq!(client.get("/a.txt").response().text(), "text");
}

#[test]
fn booleans_are_on_and_off() {
    let ran = Config::toml("daemon = false\n[events]\n[[server]]\nlisten = \"%%ADDR_0%%\"\nunderscores_in_headers = true\n").test();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
}

#[test]
fn mistakes_name_their_line() {
    let ran = Config::toml("[events]\n[[server]]\nlisten = \"%%ADDR_0%%\"\nnonsense = 1\n").test();
    assert_eq!(ran.code(), Some(1));
    assert!(
        ran.stderr()
            .contains("unknown directive \"nonsense\" in DIR/ringx.toml:4"),
        "{}",
        ran.stderr()
    );
}

#[test]
fn the_languages_convert_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    let conf = "events {}\nhttp {\n    map $a $b { default x; ~^y z; }\n    server {\n        listen 127.0.0.1:8080;\n        allow 10.0.0.0/8;\n        deny all;\n        location /a { return 200 \"a;b\"; }\n    }\n}\n";
    let first = dir.path().join("one.conf");
    std::fs::write(
        &first,
        conf.replace("        allow 10.0.0.0/8;\n        deny all;\n", ""),
    )
    .unwrap();
    let to_toml = run_bare(&["convert", &first.display().to_string()]);
    assert_eq!(
        to_toml.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&to_toml.stderr)
    );
    let second = dir.path().join("two.toml");
    std::fs::write(&second, &to_toml.stdout).unwrap();
    let back = run_bare(&["convert", &second.display().to_string()]);
    assert_eq!(
        back.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&back.stderr)
    );
    let third = dir.path().join("three.conf");
    std::fs::write(&third, &back.stdout).unwrap();
    let again = run_bare(&["convert", &third.display().to_string()]);
    assert_eq!(
        String::from_utf8_lossy(&again.stdout),
        String::from_utf8_lossy(&to_toml.stdout),
        "nothing is lost on the way"
    );
}
