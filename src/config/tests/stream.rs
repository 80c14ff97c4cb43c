//! `stream` from text to model, in both languages.

use std::time::Duration;

use super::errors::check;
use super::languages::meaning;
use super::{classic, load_files, load_text};
use crate::config::model::*;
use crate::config::write;

const CASES: &[(&str, &str)] = &[
    (
        "stream { server { listen 1 udp; proxy_pass a:1; } }",
        "[emerg] the \"udp\" parameter of \"listen\" is not supported yet: datagrams are not proxied @",
    ),
    (
        "stream { server { listen 1 ssl; proxy_pass a:1; } }",
        "[emerg] the \"ssl\" parameter of \"listen\" is not supported yet: TLS of clients is spoken in http only; terminate it there or pass it on @",
    ),
    (
        "stream { server { listen 127.0.0.1; proxy_pass a:1; } }",
        "[emerg] no port in \"127.0.0.1\" of the \"listen\" directive @",
    ),
    (
        "stream { server { listen 1; proxy_pass a; } }",
        "[emerg] no port in upstream \"a\" @",
    ),
    (
        "stream { upstream a { server b:1; } server { listen 1; proxy_pass a:1; } }",
        "[emerg] upstream \"a\" may not have port 1 @",
    ),
    (
        "stream { server { listen 1; } }",
        "[emerg] no handler for server @",
    ),
    (
        "stream { server { return x; } }",
        "[emerg] no \"listen\" is defined for server in stream @",
    ),
    (
        "stream { server { listen 1; return x; access_log /a; } }",
        "[emerg] log format is not specified @",
    ),
    (
        "stream { server { listen 1; return x; ssl_preread on; } }",
        "[emerg] \"ssl_preread\" directive is not supported yet: a session's first bytes are not looked at @",
    ),
    (
        "stream { server { listen 1; proxy_pass a:1; proxy_ssl on; } }",
        "[emerg] \"proxy_ssl\" directive is not supported yet: TLS towards backends of stream comes with a later version @",
    ),
    (
        "stream { server { listen 1; return x; } server { listen 1; return y; } }",
        "[warn] conflicting server name \"\" on 0.0.0.0:1, ignored",
    ),
    (
        "http { server { listen 1; } } stream { server { listen 1; return x; } }",
        "[emerg] a server of http listens on 0.0.0.0:1 already @",
    ),
    (
        "stream { upstream a { server b:1; ip_hash; } }",
        "[emerg] \"ip_hash\" directive is not allowed here @",
    ),
];

#[test]
fn what_stream_does_not_have_is_refused() {
    check("events {}", "", CASES);
}

const TEXT: &str = "events {}
stream {
    log_format short '$remote_addr $status $bytes_received';
    map $remote_addr $to { default a; 127.0.0.1 b; }
    upstream a { least_conn; zone a 64k; server 127.0.0.1:1 weight=3 max_fails=2; server unix:/s backup; }
    proxy_timeout 5s;
    set_real_ip_from 10.0.0.0/8;
    server {
        listen 127.0.0.1:81 proxy_protocol reuseport backlog=9;
        listen unix:/t;
        allow 10.0.0.0/8;
        deny all;
        proxy_pass a;
        proxy_protocol on;
        proxy_half_close on;
        proxy_connect_timeout 2s;
        access_log /l short;
    }
    server { listen 82; proxy_pass $to:90; proxy_protocol 2; proxy_timeout 1s; resolver 127.0.0.1; }
    server { listen 83; return \"hello $remote_addr\"; tcp_nodelay off; }
}
";

#[test]
fn a_block_is_read_with_its_defaults_and_inheritance() {
    let loaded = load_text(TEXT);
    assert_eq!(classic(&loaded), Vec::<String>::new());
    let model = loaded.model.unwrap();
    assert!(model.http.is_none());
    let stream = model.stream.unwrap();
    assert_eq!((stream.upstreams.len(), stream.maps.len()), (1, 1));
    let settings: Vec<&Stream> = stream.servers.iter().map(|s| &*s.settings.stream).collect();
    let timeouts: Vec<_> = settings.iter().map(|s| s.proxy_timeout).collect();
    assert_eq!(timeouts, [5, 1, 5].map(Duration::from_secs));
    assert_eq!(settings[0].proxy_connect_timeout, Duration::from_secs(2));
    assert_eq!(settings[1].proxy_connect_timeout, Duration::from_secs(60));
    let headers: Vec<_> = settings.iter().map(|s| s.proxy_protocol).collect();
    assert_eq!(headers, [SendProxy::V1, SendProxy::V2, SendProxy::Off]);
    assert!(settings[0].proxy_half_close && settings[0].proxy_next_upstream);
    let logs = |server: &Server| {
        server
            .settings
            .log
            .access_log
            .iter()
            .flat_map(|l| l.iter())
            .count()
    };
    let logs: Vec<_> = stream.servers.iter().map(logs).collect();
    assert_eq!(logs, [1, 0, 0]);
    assert_eq!(stream.servers[0].settings.access.rules.len(), 2);
    assert_eq!(stream.servers[1].settings.realip.set_real_ip_from.len(), 1);
    assert!(!stream.servers[2].settings.core.tcp_nodelay);
    assert_eq!(stream.servers[0].listens.len(), 2);
    assert_eq!(stream.servers[0].listens[0].options.backlog, 9);
}

#[test]
fn both_languages_say_the_same() {
    let first = load_text(TEXT);
    let toml = write::toml(&first.tree).unwrap();
    assert!(toml.contains("[[stream.server]]"), "{toml}");
    let second = load_files(&[("/c/main.toml", &toml)]);
    assert_eq!(classic(&second), Vec::<String>::new(), "{toml}");
    assert_eq!(meaning(&first), meaning(&second), "{toml}");
    assert_eq!(write::toml(&second.tree).unwrap(), toml);
}

#[test]
fn toml_by_hand() {
    let toml = r#"
[stream.upstream.db]
server = ["10.0.0.1:5432", "10.0.0.2:5432 backup"]

[[stream.server]]
listen = ["5432", "[::]:5432"]
proxy_pass = "db"
proxy_socket_keepalive = true
rules = ["allow 10.0.0.0/8", "deny all"]
"#;
    let conf = "events {} stream { upstream db { server 10.0.0.1:5432; server 10.0.0.2:5432 backup; }
        server { listen 5432; listen [::]:5432; proxy_pass db; proxy_socket_keepalive on; allow 10.0.0.0/8; deny all; } }";
    let first = load_files(&[("/c/main.toml", &format!("[events]\n{toml}"))]);
    let second = load_text(conf);
    assert_eq!(classic(&first), Vec::<String>::new());
    assert_eq!(meaning(&first), meaning(&second));
}
