//! Error texts, exactly as nginx prints them.

use super::{classic, load_text};

/// What is said about a line at a level of the file; `""` is silence.
pub(super) fn check(before: &str, after: &str, cases: &[(&str, &str)]) {
    for (text, want) in cases {
        let said = classic(&load_text(&format!("{before}\n{text}\n{after}")));
        let line = before.matches('\n').count() + 2;
        let here = format!(" in /c/nginx.conf:{line}");
        let said: Vec<String> = said.iter().map(|s| s.replace(&here, " @")).collect();
        let want: Vec<&str> = if want.is_empty() {
            Vec::new()
        } else {
            want.split(" | ").collect()
        };
        assert_eq!(said, want, "{text}");
    }
}

const MAIN: &[(&str, &str)] = &[
    ("worker_processes auto;", ""),
    (
        "worker_processes 0;",
        "[emerg] \"worker_processes\" directive invalid value @",
    ),
    (
        "worker_processes 1; worker_processes 2;",
        "[emerg] \"worker_processes\" directive is duplicate @",
    ),
    (
        "daemon yes;",
        "[emerg] invalid value \"yes\" in \"daemon\" directive, it must be \"on\" or \"off\" @",
    ),
    ("daemon OFF;", ""),
    (
        "daemon;",
        "[emerg] invalid number of arguments in \"daemon\" directive @",
    ),
    (
        "daemon on {}",
        "[emerg] directive \"daemon\" is not terminated by \";\" @",
    ),
    ("http;", "[emerg] directive \"http\" has no opening \"{\" @"),
    (
        "worker_rlimit_nofile x;",
        "[emerg] \"worker_rlimit_nofile\" directive invalid number @",
    ),
    (
        "listen 80;",
        "[emerg] \"listen\" directive is not allowed here @",
    ),
    ("gzipp on;", "[emerg] unknown directive \"gzipp\" @"),
    ("events {}", "[emerg] \"events\" directive is duplicate @"),
    ("error_log /x loud;", "[emerg] invalid log level \"loud\" @"),
    (
        "error_log /x warn info;",
        "[emerg] duplicate log level \"info\" @",
    ),
    ("error_log stderr debug;", ""),
    (
        "error_log syslog:server=127.0.0.1,tag=x-y;",
        "[emerg] syslog \"tag\" only allows alphanumeric characters and underscore @",
    ),
    (
        "error_log syslog:tag=x;",
        "[emerg] no syslog server specified @",
    ),
    ("load_module modules/ngx_stream_module.so;", ""),
    ("worker_cpu_affinity 0101 1010;", ""),
    (
        "worker_cpu_affinity 01x1;",
        "[emerg] invalid character \"x\" in \"worker_cpu_affinity\" @",
    ),
    (
        "include a b;",
        "[emerg] invalid number of arguments in \"include\" directive @",
    ),
    (
        "include nope.conf;",
        "[emerg] open() \"/c/nope.conf\" failed (2: No such file or directory) @",
    ),
    ("include nope/*.conf;", ""),
];

#[test]
fn main_level() {
    let before = "events {}";
    check(before, "", MAIN);
}

#[test]
fn no_events() {
    let said = classic(&load_text("http { }"));
    assert_eq!(said, ["[emerg] no \"events\" section in configuration"]);
}

#[test]
fn lexer_level() {
    check(
        "events {}",
        "",
        &[
            ("}", "[emerg] unexpected \"}\" @"),
            (";", "[emerg] unexpected \";\" @"),
            ("{", "[emerg] unexpected \"{\" @"),
            ("daemon on }", "[emerg] unexpected \"}\" @"),
            ("daemon \"on\"x;", "[emerg] unexpected \"x\" @"),
        ],
    );
    let eof: &[(&str, &str)] = &[
        (
            "daemon on",
            "[emerg] unexpected end of file, expecting \";\" or \"}\" in /c/nginx.conf:1",
        ),
        (
            "daemon \"on",
            "[emerg] unexpected end of file, expecting \";\" or \"}\" in /c/nginx.conf:1",
        ),
        (
            "events {\n",
            "[emerg] unexpected end of file, expecting \"}\" in /c/nginx.conf:2",
        ),
        (
            "events {\n daemon",
            "[emerg] unexpected end of file, expecting \";\" or \"}\" in /c/nginx.conf:2",
        ),
    ];
    for (text, want) in eof {
        assert_eq!(classic(&load_text(text)), [*want], "{text}");
    }
}

#[test]
fn long_parameters() {
    let long = "a".repeat(5000);
    let cases = [
        (
            format!("daemon {long};"),
            "[emerg] too long parameter \"aaaaaaaaaa...\" started in /c/nginx.conf:1",
        ),
        (
            format!("\ndaemon \"{long}\n\";"),
            "[emerg] too long parameter, probably missing terminating \"\"\" character in /c/nginx.conf:2",
        ),
        (
            format!("daemon '{long}';"),
            "[emerg] too long parameter, probably missing terminating \"'\" character in /c/nginx.conf:1",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(classic(&load_text(&text)), [want]);
    }
    let fits = format!("events {{}} env X={};", "a".repeat(4000));
    assert_eq!(classic(&load_text(&fits)), Vec::<String>::new());
    // Differs from nginx: comments have no bound.
    let comment = format!("events {{}} #{long}\n");
    assert_eq!(classic(&load_text(&comment)), Vec::<String>::new());
}

const HTTP: &[(&str, &str)] = &[
    (
        "upstream a { ip_hash; ip_hash; server 127.0.0.2; }",
        "[warn] load balancing method redefined @",
    ),
    ("early_hints $a; early_hints $b $c;", ""),
    ("mirror /a; mirror /b; mirror_request_body off;", ""),
    (
        "mirror off; mirror /a;",
        "[emerg] \"mirror\" directive is duplicate @",
    ),
    (
        "auth_request /a; auth_request off;",
        "[emerg] \"auth_request\" directive is duplicate @",
    ),
    ("auth_request_set $a $b; auth_request_set $c d;", ""),
    (
        "auth_request_set a $b;",
        "[emerg] invalid variable name \"a\" @",
    ),
    ("slice 1x;", "[emerg] \"slice\" directive invalid value @"),
    (
        "proxy_ignore_headers Vary; proxy_ignore_headers Expires;",
        "",
    ),
    ("client_max_body_size 2g;", ""),
    (
        "client_max_body_size 2t;",
        "[emerg] \"client_max_body_size\" directive invalid value @",
    ),
    (
        "client_body_buffer_size 1g;",
        "[emerg] \"client_body_buffer_size\" directive invalid value @",
    ),
    ("send_timeout 1h30m;", ""),
    (
        "send_timeout 30m1h;",
        "[emerg] \"send_timeout\" directive invalid value @",
    ),
    (
        "send_timeout 1y;",
        "[emerg] \"send_timeout\" directive invalid value @",
    ),
    ("send_timeout 500ms;", ""),
    ("large_client_header_buffers 4 100;", ""),
    (
        "large_client_header_buffers 0 8k;",
        "[emerg] \"large_client_header_buffers\" directive invalid value @",
    ),
    ("server_tokens maybe;", "[emerg] invalid value \"maybe\" @"),
    (
        "keepalive_disable msie6 msie6;",
        "[warn] duplicate value \"msie6\" @",
    ),
    (
        "proxy_next_upstream error nope;",
        "[emerg] invalid value \"nope\" @",
    ),
    ("proxy_http_version 2;", ""),
    (
        "proxy_http_version 2.0;",
        "[warn] \"proxy_http_version 2.0\" is taken for \"2\", which is how nginx writes it @",
    ),
    ("gzip_http_version 2;", "[emerg] invalid value \"2\" @"),
    ("proxy_http_version 1.2;", "[emerg] invalid value \"1.2\" @"),
    ("proxy_cache off;", ""),
    ("gzip off;", ""),
    ("access_log off;", ""),
    (
        "access_log /x nope;",
        "[emerg] unknown log format \"nope\" @",
    ),
    (
        "access_log /x combined flush=1s;",
        "[emerg] no buffer is defined for access_log \"/x\" @",
    ),
    (
        "access_log /x$y combined buffer=1k;",
        "[emerg] buffered logs cannot have variables in name @",
    ),
    ("access_log off x;", "[emerg] invalid parameter \"x\" @"),
    (
        "log_format combined '';",
        "[emerg] duplicate \"log_format\" name \"combined\" @",
    ),
    (
        "log_format a escape=xml '';",
        "[emerg] unknown log format escaping \"xml\" @",
    ),
    (
        "add_header a b sometimes;",
        "[emerg] invalid parameter \"sometimes\" @",
    ),
    (
        "expires modified @1h;",
        "[emerg] \"expires\" directive daily time cannot be used with \"modified\" parameter @",
    ),
    (
        "expires @25h;",
        "[emerg] \"expires\" directive daily time value must be less than 24 hours @",
    ),
    (
        "error_page 200 /x;",
        "[emerg] value \"200\" must be between 300 and 599 @",
    ),
    ("error_page 499 /x;", "[emerg] invalid value \"499\" @"),
    ("error_page =200 /x;", "[emerg] invalid value \"=200\" @"),
    (
        "resolver 1.1.1.1 ipv4=off ipv6=off;",
        "[emerg] \"ipv4\" and \"ipv6\" cannot both be \"off\" @",
    ),
    (
        "resolver 1.1.1.1 valid=x;",
        "[emerg] invalid parameter: valid=x @",
    ),
    (
        "root a; root b;",
        "[emerg] \"root\" directive is duplicate @",
    ),
    (
        "root $document_root/x;",
        "[emerg] the $document_root variable cannot be used in the \"root\" directive @",
    ),
    (
        "types { a/b c; d/e c; }",
        "[warn] duplicate extension \"c\", content type: \"d/e\", previous content type: \"a/b\" @",
    ),
    (
        "proxy_pass http://127.0.0.4;",
        "[emerg] \"proxy_pass\" directive is not allowed here @",
    ),
    (
        "proxy_redirect default;",
        "[emerg] \"proxy_redirect default\" should be placed after the \"proxy_pass\" directive @",
    ),
    (
        "proxy_redirect off; proxy_redirect a b;",
        "[emerg] \"proxy_redirect\" directive is duplicate @",
    ),
    ("proxy_redirect on;", "[emerg] invalid parameter \"on\" @"),
    (
        "proxy_cookie_path a b; proxy_cookie_path off;",
        "[emerg] \"proxy_cookie_path\" directive is duplicate @",
    ),
    ("upstream a { }", "[emerg] no servers are inside upstream @"),
    (
        "upstream a { server b:99999; }",
        "[emerg] invalid port in upstream \"b:99999\" @",
    ),
    (
        "upstream a { server b weight=0; }",
        "[emerg] invalid parameter \"weight=0\" @",
    ),
    (
        "upstream a { ip_hash; server 127.0.0.2 backup; }",
        "[emerg] balancing method does not support parameter \"backup\" @",
    ),
    (
        "upstream a { server 127.0.0.1; server 127.0.0.2 backup; ip_hash; }",
        "",
    ),
    (
        "upstream a { least_conn; ip_hash; server 127.0.0.2; }",
        "[warn] load balancing method redefined @",
    ),
    (
        "upstream a { server 127.0.0.2; } upstream A { server 127.0.0.3; }",
        "[emerg] duplicate upstream \"A\" @",
    ),
    (
        "upstream a { zone z; server 127.0.0.2; }",
        "[emerg] zero size shared memory zone \"z\"",
    ),
    (
        "upstream a { zone z 1k; server 127.0.0.2; }",
        "[emerg] zone \"z\" is too small @",
    ),
    (
        "upstream a { keepalive x; server 127.0.0.2; }",
        "[emerg] invalid value \"x\" in \"keepalive\" directive @",
    ),
    ("map $a b { }", "[emerg] invalid variable name \"b\" @"),
    (
        "map $a $b { x; }",
        "[emerg] invalid number of the map parameters @",
    ),
    (
        "map $a $b { x 1; X 2; }",
        "[emerg] conflicting parameter \"x\" @",
    ),
    (
        "map $a $b { default 1; default 2; }",
        "[emerg] duplicate default map parameter @",
    ),
    (
        "geo $a { 10.0.0.0/8 a; 10.0.0.0/8 b; }",
        "[warn] duplicate network \"10.0.0.0/8\", value: \"b\", old value: \"a\" @",
    ),
    (
        "geo $a { 10.0.0.1/8 a; }",
        "[warn] low address bits of 10.0.0.1/8 are meaningless @",
    ),
    (
        "geo $a { nowhere a; }",
        "[emerg] invalid network \"nowhere\" @",
    ),
    (
        "geo $a { ranges; 1.0.0.0-1.0.0.9 a; 1.0.0.5-1.0.0.20 b; }",
        "[emerg] range \"1.0.0.5-1.0.0.20\" overlaps \"1.0.0.0-1.0.0.9\" @",
    ),
    (
        "split_clients $a $b { 50% x; 60% y; }",
        "[emerg] percent total is greater than 100% @",
    ),
    (
        "split_clients $a $b { 0% x; }",
        "[emerg] invalid percent value \"0%\" @",
    ),
];

#[test]
fn http_level() {
    check("events {}\nhttp {", "}", HTTP);
    check("events {}\nhttp {", "}", LIMITS);
    check("events {}\nhttp {", "}", CACHES);
}

/// What is said about caches.
const CACHES: &[(&str, &str)] = &[
    ("proxy_cache_path /c levels=1:2 keys_zone=a:8k; proxy_cache a; server { proxy_cache off; }", ""),
    (
        "proxy_cache_path /c keys_zone=a:1m inactive=1h max_size=2g min_free=1g use_temp_path=off loader_files=1
         loader_sleep=1ms loader_threshold=2s manager_files=1 manager_sleep=1 manager_threshold=1;",
        "",
    ),
    (
        "proxy_cache_path /c levels=1:2;",
        "[emerg] \"proxy_cache_path\" must have \"keys_zone\" parameter @",
    ),
    ("proxy_cache_path /c keys_zone=a;", "[emerg] invalid keys zone size \"keys_zone=a\" @"),
    ("proxy_cache_path /c keys_zone=a:1k;", "[emerg] keys zone \"a\" is too small @"),
    (
        "proxy_cache_path /c keys_zone=a:1m levels=3;",
        "[emerg] invalid \"levels\" \"levels=3\" @",
    ),
    (
        "proxy_cache_path /c keys_zone=a:1m levels=1:1:1:1;",
        "[emerg] invalid \"levels\" \"levels=1:1:1:1\" @",
    ),
    (
        "proxy_cache_path /c keys_zone=a:1m use_temp_path=no;",
        "[emerg] invalid use_temp_path value \"use_temp_path=no\", it must be \"on\" or \"off\" @",
    ),
    (
        "proxy_cache_path /c keys_zone=a:1m inactive=x;",
        "[emerg] invalid inactive value \"inactive=x\" @",
    ),
    (
        "proxy_cache_path /c keys_zone=a:1m purger=on;",
        "[emerg] invalid parameter \"purger=on\" @",
    ),
    (
        "proxy_cache_path /c keys_zone=a:1m; proxy_cache_path /d keys_zone=a:1m;",
        "[emerg] duplicate zone \"a\" @",
    ),
    (
        "proxy_cache_path /c keys_zone=a:1m; proxy_cache_path /c keys_zone=b:1m;",
        "[emerg] the same path name \"/c\" used @ and @",
    ),
    ("proxy_cache x;", "[emerg] \"proxy_cache\" zone \"x\" is unknown @"),
    (
        "fastcgi_cache_path /c keys_zone=a:1m; proxy_cache a;",
        "[emerg] the shared memory zone \"a\" is already declared for a different use @",
    ),
    (
        "proxy_cache_path /c keys_zone=a:1m; proxy_cache a; proxy_store on;",
        "[emerg] \"proxy_store\" directive is incompatible with \"proxy_cache\" @",
    ),
    (
        "proxy_cache_path /c keys_zone=a:1m; proxy_store on; proxy_cache a;",
        "[emerg] \"proxy_cache\" directive is incompatible with \"proxy_store\" @",
    ),
    ("proxy_cache off; proxy_cache off;", "[emerg] \"proxy_cache\" directive is duplicate @"),
    ("proxy_store \"\";", "[emerg] empty path @"),
    ("proxy_store_access user:x;", "[emerg] invalid value \"user:x\" @"),
    ("proxy_cache_valid 200 x;", "[emerg] invalid time value \"x\" @"),
    ("proxy_cache_valid 99 1m;", "[emerg] invalid status \"99\" @"),
    ("proxy_cache_valid 200 302 10m; proxy_cache_valid any 1m;", ""),
    ("proxy_cache_methods PUT;", "[emerg] invalid value \"PUT\" @"),
    ("proxy_cache_use_stale error never;", "[emerg] invalid value \"never\" @"),
    ("proxy_cache_mode rfc2616;", "[emerg] invalid value \"rfc2616\" @"),
    ("proxy_cache_status \"a\\\"b\";", "[emerg] invalid value \"a\"b\" @"),
    (
        "proxy_cache_purge tags=$arg_t;",
        "[emerg] \"proxy_cache_purge\" directive has no condition @",
    ),
    (
        "proxy_cache_purge $arg_p mode=gone;",
        "[emerg] invalid value \"mode=gone\" @",
    ),
    ("fastcgi_cache_convert_head on;", "[emerg] unknown directive \"fastcgi_cache_convert_head\" @"),
];

/// What is said about limits.
const LIMITS: &[(&str, &str)] = &[
    ("limit_req_zone $uri zone=a:32k rate=1r/s;", ""),
    (
        "limit_req_zone $uri zone=a:32k;",
        "[emerg] invalid number of arguments in \"limit_req_zone\" directive @",
    ),
    (
        "limit_req_zone $uri zone=a rate=1r/s;",
        "[emerg] invalid zone size \"zone=a\" @",
    ),
    (
        "limit_req_zone $uri zone=a:1x rate=1r/s;",
        "[emerg] invalid zone size \"zone=a:1x\" @",
    ),
    (
        "limit_req_zone $uri zone=a:31k rate=1r/s;",
        "[emerg] zone \"zone=a:31k\" is too small @",
    ),
    (
        "limit_req_zone $uri zone=a:32k rate=0r/s;",
        "[emerg] invalid rate \"rate=0r/s\" @",
    ),
    (
        "limit_req_zone $uri zone=a:32k rate=1r/h;",
        "[emerg] invalid rate \"rate=1r/h\" @",
    ),
    (
        "limit_req_zone $uri zone=a:32k sync;",
        "[emerg] invalid parameter \"sync\" @",
    ),
    (
        "limit_req_zone $uri rate=1r/s rate=2r/s;",
        "[emerg] \"limit_req_zone\" must have \"zone\" parameter @",
    ),
    (
        "limit_req_zone $uri zone=a:32k rate=1r/s; limit_req_zone $args zone=a:32k rate=1r/s;",
        "[emerg] limit_req_zone \"a\" is already bound to key \"$uri\" @",
    ),
    (
        "limit_req_zone $uri zone=a:32k rate=1r/s; limit_conn_zone $uri zone=a:32k;",
        "[emerg] the shared memory zone \"a\" is already declared for a different use @",
    ),
    (
        "limit_conn_zone $uri zone=a:32k; upstream u { zone a 32k; server 127.0.0.1; }",
        "[emerg] the shared memory zone \"a\" is already declared for a different use @",
    ),
    (
        "limit_conn_zone $uri a:32k;",
        "[emerg] invalid parameter \"a:32k\" @",
    ),
    // A zone may be declared below its use.
    (
        "limit_req zone=a; limit_req_zone $uri zone=a:32k rate=1r/s;",
        "",
    ),
    (
        "limit_req zone=a burst=5;",
        "[emerg] zero size shared memory zone \"a\"",
    ),
    (
        "limit_conn a 5;",
        "[emerg] zero size shared memory zone \"a\"",
    ),
    (
        "limit_req burst=5;",
        "[emerg] \"limit_req\" must have \"zone\" parameter @",
    ),
    (
        "limit_req zone=a burst=0;",
        "[emerg] invalid burst value \"burst=0\" @",
    ),
    (
        "limit_req zone=a delay=x;",
        "[emerg] invalid delay value \"delay=x\" @",
    ),
    (
        "limit_req zone=a fast;",
        "[emerg] invalid parameter \"fast\" @",
    ),
    (
        "limit_req_zone $uri zone=a:32k rate=1r/s; limit_req zone=a; limit_req zone=a burst=2;",
        "[emerg] \"limit_req\" directive is duplicate @",
    ),
    (
        "limit_conn_zone $uri zone=a:32k; limit_conn a 1; limit_conn a 2;",
        "[emerg] \"limit_conn\" directive is duplicate @",
    ),
    (
        "limit_conn_zone $uri zone=a:32k; limit_conn a 0;",
        "[emerg] invalid number of connections \"0\" @",
    ),
    (
        "limit_conn_zone $uri zone=a:32k; limit_conn a 65536;",
        "[emerg] connection limit must be less 65536 @",
    ),
    (
        "limit_req_status 399;",
        "[emerg] value must be between 400 and 599 @",
    ),
    (
        "limit_conn_log_level crit;",
        "[emerg] invalid value \"crit\" @",
    ),
    ("server { listen 80 steer=client; }", ""),
    (
        "server { listen 80 steer=port; }",
        "[emerg] invalid steer \"steer=port\" @",
    ),
    (
        "server { listen unix:/s steer=client; }",
        "[emerg] \"steer=client\" needs a TCP address: clients of unix sockets have none @",
    ),
];

const SERVER: &[(&str, &str)] = &[
    (
        "listen http://a:1;",
        "[emerg] invalid host in \"http://a:1\" of the \"listen\" directive @",
    ),
    ("proxy_store_access user:rw group:r;", ""),
    ("proxy_store_access 10;", "[emerg] invalid value \"10\" @"),
    ("listen 80;", ""),
    (
        "listen 0;",
        "[emerg] invalid port in \"0\" of the \"listen\" directive @",
    ),
    (
        "listen 8001-8000;",
        "[emerg] invalid port range in \"8001-8000\" of the \"listen\" directive @",
    ),
    (
        "listen [::;",
        "[emerg] invalid host in \"[::\" of the \"listen\" directive @",
    ),
    (
        "listen unix:;",
        "[emerg] no path in the unix domain socket in \"unix:\" of the \"listen\" directive @",
    ),
    (
        "listen 80 backlog=0;",
        "[emerg] invalid backlog \"backlog=0\" @",
    ),
    (
        "listen 80 ipv6only=ofx;",
        "[emerg] invalid ipv6only flags \"ofx\" @",
    ),
    (
        "listen 80 so_keepalive=::;",
        "[emerg] invalid so_keepalive value: \"::\" @",
    ),
    ("listen 80 nope;", "[emerg] invalid parameter \"nope\" @"),
    (
        "listen 80; listen *:80;",
        "[emerg] a duplicate listen 0.0.0.0:80 @",
    ),
    (
        "listen 443 ssl;",
        "[emerg] no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive in /c/nginx.conf:2",
    ),
    ("listen 443 ssl; ssl_reject_handshake on;", ""),
    (
        "ssl_certificate a.crt;",
        "[emerg] no \"ssl_certificate_key\" is defined for certificate \"a.crt\"",
    ),
    (
        "ssl_reject_handshake on; ssl_verify_client on;",
        "[emerg] no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client",
    ),
    (
        "ssl_reject_handshake on; ssl_verify_client optional_no_ca;",
        "",
    ),
    ("ssl_session_cache shared:SSL:10m;", ""),
    ("ssl_session_cache builtin:1000 shared:SSL:10m;", ""),
    (
        "ssl_session_cache shared:SSL:31k;",
        "[emerg] session cache \"shared:SSL:31k\" is too small @",
    ),
    (
        "ssl_session_cache shared:SSL;",
        "[emerg] invalid session cache \"shared:SSL\" @",
    ),
    (
        "ssl_session_cache all;",
        "[emerg] invalid session cache \"all\" @",
    ),
    (
        "ssl_certificate_cache valid=1m;",
        "[emerg] \"ssl_certificate_cache\" directive must have the \"max\" parameter @",
    ),
    (
        "ssl_certificate_cache max=0;",
        "[emerg] invalid parameter \"max=0\" @",
    ),
    (
        "ssl_protocols TLSv1.2 TLSv1.2;",
        "[warn] duplicate value \"TLSv1.2\" @",
    ),
    (
        "ssl_protocols TLSv1.4;",
        "[emerg] invalid value \"TLSv1.4\" @",
    ),
    ("ssl_dhparam /etc/letsencrypt/ssl-dhparams.pem;", ""),
    (
        "listen 80 http2;",
        "[warn] the \"listen ... http2\" directive is deprecated, use the \"http2\" directive instead @",
    ),
    (
        "http2_idle_timeout 3m;",
        "[warn] the \"http2_idle_timeout\" directive is obsolete, use the \"keepalive_timeout\" directive instead @",
    ),
    (
        "http2_max_concurrent_pushes 10;",
        "[warn] the \"http2_max_concurrent_pushes\" directive is obsolete, ignored @",
    ),
    (
        "http2_max_field_size 4k;",
        "[warn] the \"http2_max_field_size\" directive is obsolete, use the \"large_client_header_buffers\" directive instead @",
    ),
    (
        "http2_max_header_size 16k;",
        "[warn] the \"http2_max_header_size\" directive is obsolete, use the \"large_client_header_buffers\" directive instead @",
    ),
    (
        "http2_max_requests 1000;",
        "[warn] the \"http2_max_requests\" directive is obsolete, use the \"keepalive_requests\" directive instead @",
    ),
    (
        "http2_push /style.css;",
        "[warn] the \"http2_push\" directive is obsolete, ignored @",
    ),
    (
        "http2_push_preload on;",
        "[warn] the \"http2_push_preload\" directive is obsolete, ignored @",
    ),
    (
        "http2_recv_timeout 30s;",
        "[warn] the \"http2_recv_timeout\" directive is obsolete, use the \"client_header_timeout\" directive instead @",
    ),
    (
        "http2_chunk_size 0;",
        "[emerg] the http2 chunk size cannot be zero @",
    ),
    (
        "http2_body_preread_size 2147483648;",
        "[emerg] the maximum body preread buffer size is 2147483647 @",
    ),
    ("server_name *;", "[emerg] server name \"*\" is invalid @"),
    (
        "server_name ~;",
        "[emerg] empty regex in server name \"~\" @",
    ),
    (
        "server_name a/b;",
        "[warn] server name \"a/b\" has suspicious symbols @",
    ),
    ("server_name a.*.b;", ""),
    (
        "location a b c {}",
        "[emerg] invalid number of arguments in \"location\" directive @",
    ),
    (
        "location ! /a {}",
        "[emerg] invalid location modifier \"!\" @",
    ),
    (
        "location /a {} location /a {}",
        "[emerg] duplicate location \"/a\" @",
    ),
    (
        "location /a {} location ^~ /a {}",
        "[emerg] duplicate location \"/a\" @",
    ),
    ("location /a {} location = /a {}", ""),
    (
        "location = /a { location /a/b {} }",
        "[emerg] location \"/a/b\" cannot be inside the exact location \"/a\" @",
    ),
    (
        "location @a { location /a/b {} }",
        "[emerg] location \"/a/b\" cannot be inside the named location \"@a\" @",
    ),
    (
        "location /a { location @b {} }",
        "[emerg] named location \"@b\" can be on the server level only @",
    ),
    (
        "location /a { location /b {} }",
        "[emerg] location \"/b\" is outside location \"/a\" @",
    ),
    ("disable_symlinks from=/a if_not_owner;", ""),
    (
        "disable_symlinks sometimes;",
        "[emerg] invalid parameter \"sometimes\" @",
    ),
    (
        "disable_symlinks from=/a;",
        "[emerg] \"disable_symlinks\" must have \"off\", \"on\" or \"if_not_owner\" parameter @",
    ),
    (
        "disable_symlinks off from=/a;",
        "[emerg] \"from=\" cannot be used with \"off\" parameter @",
    ),
    (
        "disable_symlinks on off;",
        "[emerg] duplicate parameters \"on off\" @",
    ),
    ("open_file_cache inactive=1m max=10;", ""),
    (
        "open_file_cache inactive=1m;",
        "[emerg] \"open_file_cache\" must have the \"max\" parameter @",
    ),
    (
        "open_file_cache max=0;",
        "[emerg] invalid \"open_file_cache\" parameter \"max=0\" @",
    ),
    (
        "open_log_file_cache max=1 inactive=1s valid=1s min_uses=0;",
        "",
    ),
    ("open_log_file_cache off max=0;", ""),
    (
        "open_log_file_cache valid=1m;",
        "[emerg] \"open_log_file_cache\" must have \"max\" parameter @",
    ),
    (
        "open_log_file_cache max=1 valid=x;",
        "[emerg] invalid \"open_log_file_cache\" parameter \"valid=x\" @",
    ),
    ("autoindex_format yaml;", "[emerg] invalid value \"yaml\" @"),
    ("return x;", "[emerg] invalid return code \"x\" @"),
    ("return 1000;", "[emerg] invalid return code \"1000\" @"),
    ("return http://x;", ""),
    ("rewrite a \"\";", "[emerg] empty replacement @"),
    ("rewrite a b c;", "[emerg] invalid parameter \"c\" @"),
    ("sub_filter \"\" x;", "[emerg] empty search pattern @"),
    ("sub_filter x y; sub_filter x $uri; sub_filter_types *;", ""),
    (
        "ssi_types text/html;",
        "[warn] duplicate MIME type \"text/html\" @",
    ),
    (
        "add_after_body /a; add_after_body /b;",
        "[emerg] \"add_after_body\" directive is duplicate @",
    ),
    ("set a b;", "[emerg] invalid variable name \"a\" @"),
    ("if x {}", "[emerg] invalid condition \"x\" @"),
    ("if ($a {}", "[emerg] invalid condition \"$a\" @"),
    (
        "if ($a == b) {}",
        "[emerg] unexpected \"==\" in condition @",
    ),
    ("if (-q /x) {}", "[emerg] invalid condition \"-q\" @"),
    (
        "if ($a) { if ($b) {} }",
        "[emerg] \"if\" directive is not allowed here @",
    ),
    (
        "if ($a) { proxy_pass http://127.0.0.4; }",
        "[emerg] \"proxy_pass\" directive is not allowed here @",
    ),
    (
        "try_files a;",
        "[emerg] invalid number of arguments in \"try_files\" directive @",
    ),
    ("try_files a =x;", "[emerg] invalid code \"=x\" @"),
    (
        "index /a b;",
        "[warn] only the last index in \"index\" directive should be absolute @",
    ),
    (
        "userid_mark ab;",
        "[emerg] \"userid_mark\" directive value must be \"off\" or a single letter, digit or \"=\" @",
    ),
];

#[test]
fn server_level() {
    check("events {}\nhttp { server {", "} }", SERVER);
}

const LOCATION: &[(&str, &str)] = &[
    ("proxy_pass http://up;", ""),
    ("proxy_pass http://UP/;", ""),
    (
        "proxy_pass http://up:8080;",
        "[emerg] upstream \"up\" may not have port 8080 @",
    ),
    ("proxy_pass up;", "[emerg] invalid URL prefix @"),
    (
        "proxy_pass http://127.0.0.4; proxy_pass http://127.0.0.5;",
        "[emerg] \"proxy_pass\" directive is duplicate @",
    ),
    (
        "proxy_pass http://:80;",
        "[emerg] no host in upstream \":80\" @",
    ),
    (
        "proxy_pass http://unix:;",
        "[emerg] no path in the unix domain socket in upstream \"unix:\" @",
    ),
    ("proxy_pass https://a;", ""),
    (
        "if ($a) { proxy_pass http://127.0.0.4/; }",
        "[emerg] \"proxy_pass\" cannot have URI part in location given by regular expression, or inside named \
                 location, or inside \"if\" statement, or inside \"limit_except\" block @",
    ),
    (
        "proxy_pass http://$a; proxy_redirect default;",
        "[emerg] \"proxy_redirect default\" cannot be used with \"proxy_pass\" directive with variables @",
    ),
    ("proxy_pass http://127.0.0.4; proxy_redirect default;", ""),
    (
        "proxy_bind nowhere;",
        "[emerg] invalid address \"nowhere\" @",
    ),
    (
        "proxy_buffers 1 4k;",
        "[emerg] there must be at least 2 \"proxy_buffers\" @",
    ),
    (
        "proxy_busy_buffers_size 1k;",
        "[emerg] \"proxy_busy_buffers_size\" must be equal to or greater than the maximum of the value of \
                 \"proxy_buffer_size\" and one of the \"proxy_buffers\" @",
    ),
    (
        "proxy_buffer_size 64k; proxy_buffers 4 4k;",
        "[emerg] \"proxy_busy_buffers_size\" must be less than the size of all \"proxy_buffers\" minus one buffer @",
    ),
    (
        "proxy_max_temp_file_size 1k;",
        "[emerg] \"proxy_max_temp_file_size\" must be equal to zero to disable temporary files usage or must be \
                 equal to or greater than the maximum of the value of \"proxy_buffer_size\" and one of the \
                 \"proxy_buffers\" @",
    ),
    (
        "root a; alias b;",
        "[emerg] \"alias\" directive is duplicate, \"root\" directive was specified earlier @",
    ),
    (
        "location /a { alias b/; } location /b/ { alias d/; } location = /e { alias f/; }",
        "[warn] \"alias\" ends with a slash and location \"/a\" does not @",
    ),
    ("limit_except NOPE {}", "[emerg] invalid method \"NOPE\" @"),
    ("limit_except GET { proxy_pass http://127.0.0.4; }", ""),
    (
        "limit_except GET { return 403; }",
        "[emerg] \"return\" directive is not allowed here @",
    ),
    (
        "allow 10.0.0/8;",
        "[emerg] invalid parameter \"10.0.0/8\" @",
    ),
    (
        "secure_link_secret a; secure_link_md5 b;",
        "[emerg] \"secure_link_secret\" cannot be mixed with \"secure_link\" and \"secure_link_md5\" @",
    ),
    (
        "auth_basic a; auth_basic b;",
        "[emerg] \"auth_basic\" directive is duplicate @",
    ),
    (
        "set_real_ip_from 10.0.0.1/8;",
        "[warn] low address bits of 10.0.0.1/8 are meaningless @",
    ),
    (
        "deny 10.0.0.1/8;",
        "[warn] low address bits of 10.0.0.1/8 are meaningless @",
    ),
];

#[test]
fn location_level() {
    check(
        "events {}\nhttp { upstream up { server 127.0.0.1; } server { location / {",
        "} } }",
        LOCATION,
    );
}

#[test]
fn several_servers() {
    let two = |a: &str, b: &str| {
        classic(&load_text(&format!(
            "events {{}}\nhttp {{\nserver {{ {a} }}\nserver {{ {b} }}\n}}"
        )))
    };
    let cases = [
        (
            "listen 80 backlog=5;",
            "listen 80 backlog=6;",
            "[emerg] duplicate listen options for 0.0.0.0:80 in /c/nginx.conf:4",
        ),
        (
            "listen 80 default_server;",
            "listen 80 default_server;",
            "[emerg] a duplicate default server for 0.0.0.0:80 in /c/nginx.conf:4",
        ),
        (
            "server_name a;",
            "server_name A;",
            "[warn] conflicting server name \"a\" on 0.0.0.0:80, ignored",
        ),
        (
            "server_name .a;",
            "server_name *.a;",
            "[warn] conflicting server name \"*.a\" on 0.0.0.0:80, ignored",
        ),
        (
            "server_name a.*.b;",
            "",
            "[emerg] invalid server name or wildcard \"a.*.b\" on 0.0.0.0:80",
        ),
        ("listen 81;", "listen 82;", ""),
        (
            "listen [::]:80;",
            "listen [::]:80;",
            "[warn] conflicting server name \"\" on [::]:80, ignored",
        ),
    ];
    for (a, b, want) in cases {
        let said = two(a, b);
        let want: Vec<&str> = if want.is_empty() {
            Vec::new()
        } else {
            vec![want]
        };
        let relevant: Vec<&String> = said
            .iter()
            .filter(|s| !s.contains("\"\" on 0.0.0.0") || want.is_empty())
            .collect();
        assert_eq!(relevant, want, "{a} / {b}");
    }
}
