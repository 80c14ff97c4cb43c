//! The two languages: every golden goes through both, and what TOML adds is tried by itself.

use std::path::Path;

use super::{classic, load_files, load_text};
use crate::config::{Loaded, write};

const GOLDENS: &[(&str, &str)] = &[
    ("gateway", include_str!("golden/gateway.conf")),
    ("rules", include_str!("golden/rules.conf")),
    ("http_errors", include_str!("golden/http_errors.conf")),
];

/// The model without its positions, which differ between the languages.
pub(super) fn meaning(loaded: &Loaded) -> String {
    let model = loaded
        .model
        .as_ref()
        .unwrap_or_else(|| panic!("{:?}", classic(loaded)));
    let text = format!("{model:#?}");
    let mut out = String::new();
    let mut skip = None;
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        match skip {
            Some(d) if depth > d => continue,
            Some(_) => {
                skip = None;
                continue;
            }
            None => {}
        }
        if line.trim_start().ends_with("Span {") {
            skip = Some(depth);
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn load_toml(text: &str) -> Loaded {
    load_files(&[("/c/main.toml", text)])
}

#[test]
fn goldens_mean_the_same_in_both() {
    for (name, text) in GOLDENS {
        let first = load_text(text);
        assert_eq!(classic(&first), Vec::<String>::new(), "{name}");
        let toml = write::toml(&first.tree).unwrap();
        let second = load_toml(&toml);
        assert_eq!(classic(&second), Vec::<String>::new(), "{name}\n{toml}");
        assert_eq!(meaning(&first), meaning(&second), "{name}\n{toml}");
        assert_eq!(
            write::toml(&second.tree).unwrap(),
            toml,
            "{name}: TOML is stable"
        );
        let nginx = String::from_utf8(write::nginx(&second.tree)).unwrap();
        let third = load_text(&nginx);
        assert_eq!(meaning(&first), meaning(&third), "{name}\n{nginx}");
    }
}

#[test]
fn the_shipped_edge_node_means_the_same_in_both() {
    let conf = load_text(include_str!("../../../config/edge.conf"));
    let toml = load_toml(include_str!("../../../config/edge.toml"));
    assert_eq!(classic(&conf), Vec::<String>::new());
    assert_eq!(classic(&toml), Vec::<String>::new());
    assert_eq!(meaning(&conf), meaning(&toml));
    let engine = &conf.model.as_ref().unwrap().main.engine;
    assert_eq!((engine.ring_entries, engine.pipe_size), (4096, 1 << 20));
}

#[test]
fn nginx_conf_is_written_stable() {
    for (name, text) in GOLDENS {
        let once = write::nginx(&load_text(text).tree);
        let again = write::nginx(&load_text(std::str::from_utf8(&once).unwrap()).tree);
        assert_eq!(once, again, "{name}");
    }
}

/// The TOML of the documentation, and the same as nginx.conf.
#[test]
fn toml_by_hand() {
    let toml = r#"
worker_processes = "auto"

[events]
worker_connections = 1024

[upstream.app]
server = ["127.0.0.1:3000 weight=3", "127.0.0.1:3001 max_fails=3 fail_timeout=30s"]
keepalive = 32

[map."$http_upgrade $connection_upgrade"]
default = "upgrade"
"" = "close"

[[server]]
listen = ["80", "[::]:80"]
server_name = "example.com www.example.com"
rules = ["set $a 1", "if ($a) { return 403; }", "rewrite ^/x /y last"]

[server.location."/api/"]
proxy_pass = "http://app/"
proxy_buffering = false
proxy_set_header = { Host = "$host", X-Real-IP = "$remote_addr" }

[server.location."~* \\.png$"]
internal = true
add_header = { X-A = '"a; b" always' }
"#;
    let nginx = r#"
worker_processes auto;
events { worker_connections 1024; }
http {
    upstream app {
        server 127.0.0.1:3000 weight=3;
        server 127.0.0.1:3001 max_fails=3 fail_timeout=30s;
        keepalive 32;
    }
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    server {
        listen 80;
        listen [::]:80;
        server_name example.com www.example.com;
        set $a 1;
        if ($a) { return 403; }
        rewrite ^/x /y last;
        location /api/ {
            proxy_pass http://app/;
            proxy_buffering off;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
        }
        location ~* \.png$ { internal; add_header X-A "a; b" always; }
    }
}
"#;
    let read = load_toml(toml);
    assert_eq!(meaning(&read), meaning(&load_text(nginx)));
}

#[test]
fn toml_errors() {
    let cases: &[(&str, &str)] = &[
        (
            "events = {}\ndaemon = \"yes\"",
            "[emerg] invalid value \"yes\" in \"daemon\" directive, it must be \"on\" or \"off\" in /c/main.toml:2",
        ),
        (
            "events = {}\n[http]\nproxy_bufering = true",
            "[emerg] unknown directive \"proxy_bufering\" in /c/main.toml:3",
        ),
        (
            "events = {}\n[[server]]\nlisten = 1979-05-27",
            "[emerg] a string, a number, true or false is wanted here in /c/main.toml:3",
        ),
        (
            "events = {}\n[[server]]\nlisten = \"80; listen 81\"",
            "[emerg] unexpected \";\" in /c/main.toml:3",
        ),
        (
            "events = {}\n[[server]]\nrules = [\"set $a\"]",
            "[emerg] invalid number of arguments in \"set\" directive in /c/main.toml:3",
        ),
        (
            "events = {}\n[[server]]\nlocation.\"/\" = 5",
            "[emerg] \"location /\" wants a table in /c/main.toml:3",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(classic(&load_toml(text)), [*want], "{text}");
    }
    let broken = classic(&load_toml("a = \n[events]\nb = = 2\n"));
    assert!(
        broken.iter().all(|l| l.starts_with("[emerg] ")) && broken[0].contains("invalid TOML: "),
        "{broken:?}"
    );
    assert!(broken[0].ends_with("in /c/main.toml:1"), "{broken:?}");
}

#[test]
fn includes_cross_languages() {
    let loaded = load_files(&[
        (
            "/c/main.toml",
            "events = {}\n[[server]]\ninclude = \"parts/*\"\n",
        ),
        ("/c/parts/a.conf", "listen 81; location /a { }"),
        ("/c/parts/b.toml", "[location.\"/b\"]\nreturn = 404\n"),
    ]);
    assert_eq!(classic(&loaded), Vec::<String>::new());
    let http = loaded.model.unwrap().http.unwrap();
    let paths: Vec<String> = http.servers[0]
        .locations
        .iter()
        .map(|l| l.path.lossy())
        .collect();
    assert_eq!(paths, ["/a", "/b"]);
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn bytes_that_toml_cannot_hold() {
    let source = crate::config::source::Memory(
        [(
            Path::new("/c").into(),
            b"events {} env \xff;".to_vec().into(),
        )]
        .into(),
    );
    let loaded = crate::config::load(
        &source,
        Path::new("/c"),
        Path::new("/"),
        None,
        crate::config::Identity::Nginx,
    );
    assert_eq!(write::toml(&loaded.tree).unwrap_err().span.start, 14);
}
