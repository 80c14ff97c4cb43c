//! Tests of the rules: for each a text that it finds and a near one that it does not, and the edit where it has one.

#![expect(
    clippy::disallowed_methods,
    reason = "the test reads examples from the disk"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rules::{self, ALL};
use super::{Finding, advise, apply};
use crate::config::source::Memory;
use crate::config::{Identity, Loaded, load};

/// Rules that are about files or the loader's own words; `control` finds them.
const ELSEWHERE: &[&str] = &[
    "cannot-load",
    "load-warning",
    "conflicting-server-name",
    "stapling-ignored",
    "expired-certificate",
    "expiring-certificate",
    "certificate-name",
    "incomplete-chain",
    "readable-key",
];

fn loaded(text: &str, file: &str) -> Loaded {
    let source = Memory([(PathBuf::from(file), Arc::from(text.as_bytes()))].into());
    load(
        &source,
        Path::new(file),
        Path::new("/p/"),
        None,
        Identity::Nginx,
    )
}

/// Text inside `http` unless it names that block itself.
fn whole(text: &str) -> String {
    match text.contains("http {") {
        true => format!("events {{ }}\n{text}\n"),
        // What stands in `http` alone is about its servers.
        false if !text.contains("server {") => {
            format!("events {{ }}\nhttp {{\n    {text}\n    server {{ }}\n}}\n")
        }
        false => format!("events {{ }}\nhttp {{\n    {text}\n}}\n"),
    }
}

#[track_caller]
fn found(text: &str, file: &str) -> (Loaded, Vec<Finding>) {
    let loaded = loaded(text, file);
    let Some(model) = &loaded.model else {
        panic!("{text}: {:?}", loaded.diags);
    };
    let found = advise(model, &loaded.tree);
    (loaded, found)
}

fn ids(found: &[Finding]) -> Vec<&'static str> {
    found.iter().map(|f| f.rule.id).collect()
}

/// A rule, a text that it finds, one that it does not.
const CASES: &[(&str, &str, &str)] = &[
    (
        "deprecated-listen-http2",
        "server { listen 443 ssl http2; ssl_reject_handshake on; }",
        "server { listen 443 ssl; http2 on; ssl_reject_handshake on; }",
    ),
    (
        "http-version-2-0",
        "server { location / { proxy_http_version 2.0; proxy_pass http://127.0.0.1; } }",
        "server { location / { proxy_http_version 2; proxy_pass http://127.0.0.1; } }",
    ),
    (
        "old-tls-versions",
        "ssl_protocols TLSv1 TLSv1.1 TLSv1.2;",
        "ssl_protocols TLSv1.2 TLSv1.3;",
    ),
    (
        "shadowed-add-header",
        "add_header A 1; add_header B 2; server { location / { add_header b 3; } }",
        "add_header A 1; server { add_header_inherit merge; add_header B 2; location / { if ($a) { return 204; } } }",
    ),
    (
        "shadowed-proxy-set-header",
        "proxy_set_header Host h; server { location /a { proxy_set_header X y; } }",
        "proxy_set_header Host h; server { location /a { } location /b { proxy_set_header Host x; } }",
    ),
    (
        "shadowed-grpc-set-header",
        "grpc_set_header A b; server { location /a { grpc_set_header X y; } }",
        "grpc_set_header A b; server { location /a { grpc_set_header A y; } }",
    ),
    (
        "shadowed-fastcgi-param",
        "fastcgi_param A b; server { location /a { fastcgi_param X y; } }",
        "fastcgi_param A b; server { location /a { fastcgi_pass 127.0.0.1:9000; } }",
    ),
    (
        "header-without-always",
        "server { add_header X-Frame-Options DENY; }",
        "server { add_header X-Frame-Options DENY always; add_header X-Other 1; }",
    ),
    (
        "hide-server-header",
        "server { proxy_hide_header X-Powered-By; proxy_hide_header Server; }",
        "server { proxy_hide_header X-Powered-By; }",
    ),
    (
        "hsts-without-tls",
        "server { listen 80; add_header Strict-Transport-Security max-age=1 always; }",
        "server { listen 443 ssl; ssl_reject_handshake on; add_header Strict-Transport-Security max-age=1 always; }",
    ),
    (
        "hsts-preload",
        "server { add_header Strict-Transport-Security 'max-age=31536000; preload' always; }",
        "server { add_header Strict-Transport-Security 'max-age=31536000; includeSubDomains; preload' always; }",
    ),
    (
        "obsolete-header",
        "server { add_header A b; add_header X-XSS-Protection 1 always; }",
        "server { add_header A b; }",
    ),
    (
        "cors-wildcard-credentials",
        "server { add_header Access-Control-Allow-Origin *; add_header Access-Control-Allow-Credentials true; }",
        "server { add_header Access-Control-Allow-Origin *; }",
    ),
    (
        "cors-any-origin",
        "server { add_header Access-Control-Allow-Origin $http_origin; add_header Access-Control-Allow-Credentials true; }",
        "map $http_origin $good { https://a https://a; } server { add_header Access-Control-Allow-Origin $good; add_header Access-Control-Allow-Credentials true; }",
    ),
    (
        "missing-host",
        "upstream u { server 127.0.0.1:1; } server { location / { proxy_pass http://u; } }",
        "server { location / { proxy_pass https://api.example.com; } location /b { proxy_pass http://127.0.0.1; proxy_set_header host $host; } }",
    ),
    (
        "missing-host",
        "server { location / { proxy_pass http://unix:/s; } }",
        "server { proxy_set_header Host x; location / { proxy_pass http://unix:/s; } }",
    ),
    (
        "http-host",
        "server { location / { proxy_pass http://127.0.0.1; proxy_set_header Host $http_host; } }",
        "server { location / { proxy_pass http://127.0.0.1; proxy_set_header Host $host; } }",
    ),
    (
        "fixed-upgrade",
        "server { location / { proxy_pass http://127.0.0.1; proxy_set_header Connection \"Upgrade\"; } }",
        "server { location / { proxy_pass http://127.0.0.1; proxy_set_header Connection \"\"; } }",
    ),
    (
        "fixed-upgrade",
        "map $http_upgrade $up { default upgrade; '' close; } server { location / { proxy_set_header Connection upgrade; } }",
        "map $http_upgrade $up { default upgrade; '' close; } server { location / { proxy_set_header Connection $up; } }",
    ),
    (
        "upgrade-with-http-1-0",
        "server { location / { proxy_pass http://127.0.0.1; proxy_http_version 1.0; proxy_set_header Upgrade $http_upgrade; } }",
        "server { location / { proxy_pass http://127.0.0.1; proxy_set_header Upgrade $http_upgrade; } }",
    ),
    (
        "upgrade-without-connection",
        "server { location / { proxy_pass http://127.0.0.1; proxy_set_header Upgrade $http_upgrade; } }",
        "server { location / { proxy_pass http://127.0.0.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; } }",
    ),
    (
        "short-tunnel",
        "server { location / { proxy_pass http://127.0.0.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }",
        "server { location / { proxy_pass http://127.0.0.1; proxy_read_timeout 1h; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; } }",
    ),
    (
        "closed-keepalive",
        "upstream u { server 127.0.0.1:1; keepalive 8; } server { location / { proxy_pass http://u; proxy_set_header Connection close; } }",
        "upstream u { server 127.0.0.1:1; keepalive 8; } server { location / { proxy_pass http://u; proxy_set_header Connection ''; } }",
    ),
    (
        "closed-keepalive",
        "upstream u { server 127.0.0.1:1; keepalive 8; } server { location / { proxy_http_version 1.0; proxy_pass http://u; } }",
        "upstream u { server 127.0.0.1:1; } server { location / { proxy_http_version 1.0; proxy_pass http://u; } }",
    ),
    (
        "replaced-prefix",
        "server { location /api { proxy_pass http://127.0.0.1/; } }",
        "server { location /b/ { proxy_pass http://127.0.0.1/; } location /c { proxy_pass http://127.0.0.1/d; } location = /e { proxy_pass http://127.0.0.1/; } }",
    ),
    (
        "replaced-prefix",
        "server { location /api/ { proxy_pass http://127.0.0.1/v1; } }",
        "server { location /api/ { proxy_pass http://127.0.0.1; } location / { proxy_pass http://127.0.0.1/?q=; } }",
    ),
    (
        "variable-uri",
        "resolver 127.0.0.1; server { location / { set $b h; proxy_pass http://$b/app/; } }",
        "resolver 127.0.0.1; server { location / { set $b h; proxy_pass http://$b; } location /c { proxy_pass http://$b/x$request_uri; } }",
    ),
    (
        "decoded-uri",
        "server { location / { proxy_pass http://127.0.0.1$uri; } }",
        "server { location / { proxy_pass http://127.0.0.1$request_uri; } }",
    ),
    (
        "decoded-redirect",
        "server { return 301 https://$host$uri$is_args$args; }",
        "server { return 301 https://$host$request_uri; }",
    ),
    (
        "decoded-redirect",
        "server { add_header X-Path $uri; }",
        "server { add_header X-Path $request_uri; location /a { return 200 $uri; } }",
    ),
    (
        "missing-resolver",
        "server { location / { proxy_pass http://$host; } }",
        "upstream a { server 127.0.0.1:1; } map $arg_a $b { default a; 1 127.0.0.1:8080; } server { location / { proxy_pass http://$b; } }",
    ),
    (
        "open-proxy",
        "resolver 127.0.0.1; server { location / { proxy_pass http://$arg_to; } }",
        "resolver 127.0.0.1; server { server_name a; location / { proxy_pass http://$host; } }",
    ),
    (
        "unverified-backend",
        "server { location / { proxy_pass https://api.example.com; } }",
        "server { location / { proxy_pass https://api.example.com; proxy_ssl_verify on; proxy_ssl_trusted_certificate x; } }",
    ),
    (
        "backend-without-sni",
        "server { location / { proxy_pass https://api.example.com; } }",
        "server { location / { proxy_pass https://api.example.com; proxy_ssl_server_name on; } location /a { proxy_pass https://10.0.0.1; } }",
    ),
    (
        "underscored-fields",
        "server { underscores_in_headers on; location / { proxy_pass http://127.0.0.1; proxy_set_header X-Real-IP $remote_addr; } }",
        "server { underscores_in_headers on; location / { proxy_pass http://127.0.0.1; } }",
    ),
    (
        "repeated-post",
        "proxy_next_upstream error timeout non_idempotent;",
        "proxy_next_upstream error timeout;",
    ),
    (
        "trusted-everybody",
        "server { set_real_ip_from 0.0.0.0/0; }",
        "server { set_real_ip_from 10.0.0.0/8; }",
    ),
    (
        "unused-real-ip",
        "server { real_ip_header X-Forwarded-For; }",
        "set_real_ip_from 10.0.0.0/8; server { real_ip_header X-Forwarded-For; }",
    ),
    (
        "auth-request-body",
        "server { location / { auth_request /auth; } location = /auth { proxy_pass http://127.0.0.1; } }",
        "server { location / { auth_request /auth; } location = /auth { proxy_pass http://127.0.0.1; proxy_pass_request_body off; } }",
    ),
    (
        "missing-script-filename",
        "server { location ~ \\.php$ { fastcgi_pass 127.0.0.1:9000; } }",
        "server { location ~ \\.php$ { fastcgi_pass 127.0.0.1:9000; fastcgi_param SCRIPT_FILENAME /x; } location /py { fastcgi_pass 127.0.0.1:9001; } }",
    ),
    (
        "inert-cache",
        "server { location / { proxy_pass http://127.0.0.1; proxy_cache_valid 200 1h; } }",
        "proxy_cache_path /c keys_zone=z:1m; proxy_cache_valid 200 1h; server { location / { proxy_cache z; proxy_pass http://127.0.0.1; } }",
    ),
    (
        "unused-cache",
        "proxy_cache_path /c keys_zone=z:1m;",
        "proxy_cache_path /c keys_zone=z:1m; server { proxy_cache z; }",
    ),
    (
        "unbuffered-cache",
        "proxy_cache_path /c keys_zone=z:1m; server { location / { proxy_cache z; proxy_buffering off; proxy_pass http://127.0.0.1; } }",
        "proxy_cache_path /c keys_zone=z:1m; proxy_cache z; server { location / { proxy_cache off; proxy_buffering off; proxy_pass http://127.0.0.1; } }",
    ),
    (
        "cached-cookies",
        "proxy_cache_path /c keys_zone=z:1m; server { location / { proxy_cache z; proxy_ignore_headers Set-Cookie; proxy_pass http://127.0.0.1; } }",
        "proxy_cache_path /c keys_zone=z:1m; server { location / { proxy_cache z; proxy_ignore_headers Set-Cookie; proxy_hide_header Set-Cookie; proxy_pass http://127.0.0.1; } }",
    ),
    (
        "cache-key-without-host",
        "proxy_cache_path /c keys_zone=z:1m; proxy_cache z; proxy_set_header Host $host; server { server_name a; location / { proxy_pass http://127.0.0.1; } } server { server_name b; location / { proxy_pass http://127.0.0.1; } }",
        "proxy_cache_path /c keys_zone=z:1m; proxy_cache z; proxy_cache_key $host$request_uri; proxy_set_header Host $host; server { server_name a; location / { proxy_pass http://127.0.0.1; } } server { server_name b; location / { proxy_pass http://127.0.0.1; } }",
    ),
    (
        "cache-key-method",
        "server { proxy_cache_key $request_method$host$request_uri; }",
        "server { proxy_cache_key $host$request_uri; }",
    ),
    (
        "slice-key",
        "proxy_cache_path /c keys_zone=z:1m; server { location / { slice 1m; proxy_cache z; proxy_pass http://127.0.0.1; } }",
        "proxy_cache_path /c keys_zone=z:1m; server { location / { slice 1m; proxy_cache z; proxy_cache_key $uri$slice_range; proxy_pass http://127.0.0.1; } }",
    ),
    (
        "loose-alias",
        "server { location /f { alias /srv/f/; } }",
        "server { location /f/ { alias /srv/f/; } location /g { alias /srv/g; } location ~ ^/h { alias /srv/h/; } }",
    ),
    (
        "glued-alias",
        "server { location /f/ { alias /srv/f; } }",
        "server { location /f/ { alias /srv/f/; } location /g { alias /srv/g; } }",
    ),
    (
        "loose-dot",
        "server { location ~* .(js|css)$ { } }",
        "server { location ~ \\.(js)$ { } location ~ ^/(.*)$ { } }",
    ),
    (
        "loose-dot",
        "server { server_name ~^www\\d+.example.com$; }",
        "server { server_name ~^www\\d+\\.example\\.com$ www.example.com; }",
    ),
    (
        "unreachable-location",
        "server { location ~ ^/ { } location ~ \\.php$ { } }",
        "server { location ~ \\.php$ { } location ~ ^/ { } }",
    ),
    (
        "unreachable-location",
        "server { location ^~ /files/ { } location ~ ^/files/.*\\.php$ { } }",
        "server { location ^~ /files/ { } location /files/in/ { } location ~ ^/files/.*\\.php$ { } location ~ \\.js$ { } }",
    ),
    (
        "stolen-files",
        "server { root /a; location ~* \\.(js|css)$ { } location /static/ { alias /b/; } }",
        "server { root /a; location ~* \\.(js|css)$ { } location ^~ /static/ { alias /b/; } location /c/ { } }",
    ),
    (
        "root-in-location",
        "server { location / { root /srv; } location /img/ { } }",
        "server { root /srv; location / { root /x; } location /img/ { } location /a { proxy_pass http://127.0.0.1; } }",
    ),
    (
        "root-in-location",
        "server { location / { root /srv; } location ~ \\.txt$ { expires 1d; } }",
        "server { location / { root /srv; } location /img/ { root /srv; } location /r { return 204; } location ~ /\\.ht { deny all; } }",
    ),
    (
        "try-files-loop",
        "server { location / { try_files $uri $uri/; } }",
        "server { location / { try_files $uri $uri/ =404; } location /a { try_files $uri /index.html; } }",
    ),
    (
        "if-with-settings",
        "server { location / { try_files $uri =404; if ($arg_a) { expires 1d; } } }",
        "server { location / { if ($arg_a) { add_header A b; return 204; } if ($arg_b) { rewrite ^ /c last; } } }",
    ),
    (
        "served-dotfiles",
        "server { location /d/ { autoindex on; } }",
        "server { location /d/ { autoindex on; } location ~ /\\. { deny all; } }",
    ),
    (
        "double-slashes",
        "server { merge_slashes off; location /admin/ { deny all; } }",
        "server { merge_slashes off; location /a/ { } }",
    ),
    (
        "unlimited-body",
        "server { client_max_body_size 0; }",
        "server { client_max_body_size 1g; location /u { client_max_body_size 0; proxy_request_buffering off; proxy_pass http://127.0.0.1; } }",
    ),
    (
        "return-before-access",
        "server { location /a { deny all; return 200; } }",
        "server { location /b { return 200; } location /c { deny all; if ($a) { return 200; } } location /d { auth_basic off; return 200; } }",
    ),
    (
        "return-before-limits",
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s; server { location /a { limit_req zone=z; return 200; } }",
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s; server { limit_req zone=z; location /a { return 200; } }",
    ),
    (
        "no-passwords",
        "server { location /a { auth_basic x; } }",
        "server { auth_basic_user_file f; location /b { auth_basic off; } location /c { auth_basic x; } }",
    ),
    (
        "allow-without-deny",
        "server { location /a { allow 10.0.0.0/8; } }",
        "server { location /a { allow 10.0.0.0/8; deny all; } location /b { satisfy any; allow 10.0.0.1; auth_basic x; auth_basic_user_file f; } }",
    ),
    (
        "unreachable-access-rule",
        "server { deny all; allow 10.0.0.1; }",
        "server { allow 10.0.0.1; deny all; }",
    ),
    (
        "open-status",
        "server { listen 80; location /s { stub_status; } }",
        "server { listen 127.0.0.1:80; location /s { stub_status; } } server { listen 81; location /t { status; allow 10.0.0.1; deny all; } }",
    ),
    (
        "unused-limit",
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s;",
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s; server { location / { limit_req zone=z; } }",
    ),
    (
        "constant-limit-key",
        "limit_conn_zone all zone=z:1m; limit_conn z 1;",
        "limit_conn_zone $server_name zone=z:1m; limit_conn z 1;",
    ),
    (
        "optional-limit-key",
        "limit_req_zone $http_x_forwarded_for zone=z:1m rate=1r/s; limit_req zone=z;",
        "limit_req_zone $binary_remote_addr$http_x zone=z:1m rate=1r/s; limit_req zone=z;",
    ),
    (
        "long-queue",
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s; limit_req zone=z burst=100;",
        "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/s; limit_req zone=z burst=100 nodelay;",
    ),
    (
        "unreachable-limit",
        "worker_processes 1; http { limit_conn_zone $server_name zone=z:1m; server { limit_conn z 9999; } }",
        "worker_processes 1; http { limit_conn_zone $server_name zone=z:1m; server { limit_conn z 99; } }",
    ),
    (
        "missing-default-server",
        "server { listen 80; server_name a; } server { listen 80; server_name b; }",
        "server { listen 80; server_name a; } server { listen 80 default_server; server_name b; } server { listen 81; } server { listen 81; server_name c; }",
    ),
    (
        "dead-wildcard",
        "server { server_name www.*.org; }",
        "server { server_name *.example.org www.example.*; }",
    ),
    (
        "plain-443",
        "server { listen 443; }",
        "server { listen 443 ssl; ssl_reject_handshake on; }",
    ),
    (
        "unused-upstream",
        "upstream a { server 127.0.0.1:1; } server { location / { proxy_pass http://127.0.0.1; } }",
        "upstream a { server 127.0.0.1:1; } server { location / { proxy_pass http://A; } }",
    ),
    (
        "repeated-peer",
        "upstream a { server 127.0.0.1:1; server 127.0.0.1:1 weight=2; }",
        "upstream a { server 127.0.0.1:1; server 127.0.0.1:2; }",
    ),
    (
        "lone-peer",
        "upstream a { server 127.0.0.1:1 max_fails=3; }",
        "upstream a { server 127.0.0.1:1 max_fails=3; server 127.0.0.1:2; }",
    ),
    (
        "unused-variable",
        "map $host $b { default 1; } server { return 200 $bb; } map $uri $bb { }",
        "map $host $b { default 1; } server { if ($b) { return 204; } }",
    ),
    (
        "unused-log-format",
        "log_format x $uri;",
        "log_format x $uri; access_log /l x;",
    ),
    (
        "gzip-html-only",
        "gzip on;",
        "gzip on; gzip_types text/css;",
    ),
    (
        "few-files",
        "worker_rlimit_nofile 1024; events { worker_connections 4096; } http { }",
        "worker_rlimit_nofile 9000; events { worker_connections 4096; } http { }",
    ),
    (
        "root-worker",
        "user root; http { }",
        "user www-data; http { }",
    ),
    (
        "debug-log",
        "error_log /e debug; http { }",
        "error_log /e info; http { }",
    ),
    (
        "error-log-off",
        "http { error_log off; }",
        "http { error_log /dev/null crit; }",
    ),
    (
        "no-access-log",
        "access_log off; server { }",
        "access_log off; server { access_log /l; }",
    ),
];

#[test]
fn each_rule_finds_what_it_is_about_and_not_what_is_near() {
    for (id, bad, good) in CASES {
        let strip = |text: &str| whole(text).replace("events { }\nworker_rlimit", "worker_rlimit");
        let (_, said) = found(&strip(bad), "/c/nginx.conf");
        assert!(ids(&said).contains(id), "{id}: {bad}: {:?}", ids(&said));
        let (_, said) = found(&strip(good), "/c/nginx.conf");
        assert!(!ids(&said).contains(id), "{id}: {good}: {:?}", said);
    }
}

#[test]
fn every_rule_has_a_case() {
    let mut names: Vec<&str> = ALL.iter().map(|r| r.id).collect();
    for rule in ALL {
        let known = CASES.iter().any(|(id, ..)| *id == rule.id);
        assert_ne!(known, ELSEWHERE.contains(&rule.id), "{}", rule.id);
        assert!(rules::find(rule.id) == Some(*rule));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        assert!(rule.id.bytes().all(plain), "{}", rule.id);
        assert!(rule.what.ends_with('.') && !rule.why.ends_with('.'));
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
}

/// Makes the edits of one rule until it finds nothing that it can edit.
#[track_caller]
fn fixed(text: &str, file: &str, id: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..8 {
        let (_, said) = found(&text, file);
        let edits: Vec<_> = said
            .into_iter()
            .filter(|f| f.rule.id == id)
            .flat_map(|f| f.fix)
            .collect();
        if edits.is_empty() {
            return text;
        }
        text = String::from_utf8(apply(text.as_bytes(), &edits)).unwrap();
    }
    panic!("{id} does not come to an end: {text}");
}

#[test]
fn edits_make_their_finding_go_away_and_nothing_else_come() {
    for (id, bad, _) in CASES {
        let rule = rules::find(id).unwrap();
        let text = whole(bad);
        let text = text.replace("events { }\nworker_rlimit", "worker_rlimit");
        let (_, before) = found(&text, "/c/nginx.conf");
        let edited = fixed(&text, "/c/nginx.conf", id);
        assert_eq!(
            edited != text,
            rule.fixes && !bad.contains("add_header X-Path"),
            "{id}: {edited}"
        );
        let (_, after) = found(&edited, "/c/nginx.conf");
        if edited != text {
            assert!(!ids(&after).contains(id), "{id}: {edited}");
            let known = ids(&before);
            let fresh: Vec<_> = ids(&after)
                .into_iter()
                .filter(|i| !known.contains(i))
                .collect();
            assert!(fresh.is_empty(), "{id}: {fresh:?}: {edited}");
        }
    }
}

#[test]
fn edits_keep_comments_and_layout() {
    let text = "events { }\n# top\nhttp {\n    # first\n    server { # s\n\tlisten 443 ssl http2 ; # tls\n\tssl_reject_handshake on;\n\
        \x20       location / {\n            proxy_pass http://127.0.0.1; # p\n            proxy_set_header  Connection   'upgrade' ; # c\n        }\n    }\n}\n";
    let want = "events { }\n# top\nhttp {\n    map $http_upgrade $connection_upgrade {\n        default upgrade;\n        '' '';\n    }\n    # first\n    server { # s\n\tlisten 443 ssl http2 ; # tls\n\tssl_reject_handshake on;\n\
        \x20       location / {\n            proxy_pass http://127.0.0.1; # p\n            proxy_set_header  Connection   $connection_upgrade ; # c\n        }\n    }\n}\n";
    let edited = fixed(text, "/c/nginx.conf", "fixed-upgrade");
    assert_eq!(edited, want);
    let edited = fixed(text, "/c/nginx.conf", "deprecated-listen-http2");
    assert_eq!(
        edited,
        text.replace("ssl http2 ; # tls\n", "ssl ; # tls\n\thttp2 on;\n")
    );
}

#[test]
fn words_are_edited_in_toml() {
    for (id, text, want) in [
        (
            "old-tls-versions",
            "ssl_protocols = \"TLSv1 TLSv1.2 TLSv1.1\" # old\n",
            "ssl_protocols = \"TLSv1.2\" # old\n",
        ),
        (
            "header-without-always",
            "[[server]]\nadd_header = { X-Frame-Options = \"DENY\", A = \"b\" }\n",
            "[[server]]\nadd_header = { X-Frame-Options = \"DENY always\", A = \"b\" }\n",
        ),
        (
            "decoded-redirect",
            "[[server]]\nrules = ['return 301 https://$host$uri']\n",
            "[[server]]\nrules = [\"return 301 https://$host$request_uri\"]\n",
        ),
    ] {
        let text = format!("{text}[events]\n");
        let edited = fixed(&text, "/c/ringx.toml", id);
        assert_eq!(edited, format!("{want}[events]\n"), "{id}");
    }
}

#[test]
fn findings_name_place_and_request() {
    let text = "events {}\nhttp {\n    server {\n        listen 8080;\n        server_name example.com;\n        location /api {\n            proxy_pass http://127.0.0.1/;\n        }\n    }\n}\n";
    let (loaded, said) = found(text, "/c/nginx.conf");
    let one = said
        .iter()
        .find(|f| f.rule.id == "replaced-prefix")
        .unwrap();
    assert_eq!(
        one.message,
        "\"/api/x\" becomes \"//x\": the prefix is replaced as text"
    );
    assert_eq!(
        one.request.as_deref(),
        Some("GET http://example.com:8080/api/x")
    );
    assert_eq!(one.advice, "write location /api/");
    let shown = one.diag(&loaded.tree.files).rich(&loaded.tree.files);
    assert!(shown.contains("--> /c/nginx.conf:7:24"), "{shown}");
}

/// What is found in the examples of the guides, where they are at hand: each finding was looked at, and is true. Those that
/// are about a backend's Host are only counted.
#[test]
fn the_guides_draw_no_false_alarm() {
    let want: &[(&str, &[&str])] = &[
        ("000-03", &["deprecated-listen-http2"]),
        ("000-04", &["repeated-peer", "deprecated-listen-http2"]),
        ("000-05", &["deprecated-listen-http2", "fixed-upgrade"]),
        ("000-06", &["deprecated-listen-http2", "cache-key-method"]),
        (
            "001-05",
            &[
                "inert-cache",
                "inert-cache",
                "short-tunnel",
                "fixed-upgrade",
            ],
        ),
        ("001-06", &["lone-peer"]),
        ("001-10", &["fixed-upgrade"]),
        ("001-11", &["short-tunnel", "fixed-upgrade"]),
        ("001-13", &["missing-default-server"]),
        ("001-15", &["cache-key-method"]),
        ("001-19", &["deprecated-listen-http2", "hide-server-header"]),
        ("001-24", &["cors-any-origin", "cors-any-origin"]),
        ("002-08", &["backend-without-sni", "unverified-backend"]),
        ("002-11", &["short-tunnel", "fixed-upgrade"]),
        ("003-06", &["fixed-upgrade"]),
        ("003-07", &["loose-dot"]),
        ("003-08", &["hide-server-header", "hsts-without-tls"]),
        ("004-02", &["deprecated-listen-http2"]),
        ("004-03", &["deprecated-listen-http2"]),
        ("004-04", &["deprecated-listen-http2"]),
        ("004-05", &["deprecated-listen-http2"]),
        ("004-06", &["obsolete-header", "hsts-without-tls"]),
    ];
    let folder = crate::config::tests::seeds::folder();
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return;
    };
    let mut hosts = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "conf") {
            continue;
        }
        let loaded = load(
            &crate::config::tests::seeds::Disk,
            &path,
            &folder,
            None,
            Identity::Nginx,
        );
        let found = advise(loaded.model.as_ref().unwrap(), &loaded.tree);
        let mut said = ids(&found);
        hosts += said.iter().filter(|id| **id == "missing-host").count();
        said.retain(|id| *id != "missing-host");
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let expected = want.iter().find(|(file, _)| *file == name);
        assert_eq!(said, expected.map_or(&[][..], |(_, ids)| ids), "{name}");
    }
    assert_eq!(hosts, 38);
}
