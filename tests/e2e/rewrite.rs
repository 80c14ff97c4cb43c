//! `set`, `if`, `rewrite`, `return`, `break`, `map`, `geo`, `split_clients`, and the variables that they use.

use crate::support::{Config, Proxy};

#[track_caller]
fn rows(proxy: &Proxy, rows: &[(&str, u16, &str)]) {
    for (target, status, text) in rows {
        let response = proxy.get(target);
        let got = match response.field("location") {
            Some(location) => location.to_owned(),
            None => response.text().to_owned(),
        };
        assert_eq!(
            (response.status(), got.as_str()),
            (*status, *text),
            "{target}"
        );
    }
}

#[test]
fn return_in_all_its_forms() {
    let proxy = Config::server(
        "location /text { return 200 \"say $arg_x\"; }
         location /empty { return 204; }
         location /url { return https://h.example$request_uri; }
         location /moved { return 301 /relative; }
         location /see { return 303 http://h.example/; }
         location /temporary { return 307 https://$server_name$request_uri; }
         location /permanent { return 308 /x; }
         location /type { default_type application/json; return 200 '{}'; }
         location /teapot { return 418 teapot; }
         server_name named.example;",
    )
    .start();
    let port = proxy.addr().port();
    rows(
        &proxy,
        &[
            ("/text?x=hello", 200, "say hello"),
            ("/empty", 204, ""),
            ("/url?a=1", 302, "https://h.example/url?a=1"),
            ("/moved", 301, &format!("http://localhost:{port}/relative")),
            ("/see", 303, "http://h.example/"),
            ("/temporary?y", 307, "https://named.example/temporary?y"),
            ("/permanent", 308, &format!("http://localhost:{port}/x")),
            ("/teapot", 418, "teapot"),
        ],
    );
    assert_eq!(
        proxy.get("/type").field("content-type"),
        Some("application/json")
    );
    assert_eq!(proxy.get("/text").field("content-type"), Some("text/plain"));
}

#[test]
fn return_444_says_nothing() {
    let proxy = Config::server("location / { return 444; }").start();
    proxy.client().get("/").expect_close();
}

#[test]
fn rewrites_and_their_flags() {
    let proxy = Config::server(
        "location /last { rewrite ^/last/(.*)$ /target/$1 last; return 200 not-here; }
         location /break { rewrite ^/break/(.*)$ /target/$1 break; return 200 \"after $uri\"; }
         location /redirect { rewrite ^/redirect/(.*)$ /target/$1 redirect; }
         location /permanent { rewrite ^/permanent/(.*)$ /target/$1? permanent; }
         location /absolute { rewrite ^/absolute/(.*)$ http://h.example/$1; }
         location /args { rewrite ^/args/(.*)$ /target/$1?added=1 last; }
         location /noargs { rewrite ^/noargs/(.*)$ /target/$1? last; }
         location /named { rewrite ^/named/(?<first>\\w+)/(?<second>\\w+) /target/$second/$first last; }
         location /miss { rewrite ^/other /x last; return 200 missed; }
         location /loop { rewrite ^ /loop last; }
         location /target { return 200 \"$uri [$args]\"; }",
    )
    .logs("rewrite or internal redirection cycle while processing \"/loop\"")
    .start();
    let port = proxy.addr().port();
    rows(
        &proxy,
        &[
            ("/last/a%20b?q=1", 200, "/target/a b [q=1]"),
            (
                "/redirect/x?q=1",
                302,
                &format!("http://localhost:{port}/target/x?q=1"),
            ),
            (
                "/permanent/x?q=1",
                301,
                &format!("http://localhost:{port}/target/x"),
            ),
            ("/absolute/x?q=1", 302, "http://h.example/x?q=1"),
            ("/args/x?q=1", 200, "/target/x [added=1&q=1]"),
            ("/noargs/x?q=1", 200, "/target/x []"),
            ("/named/a/b", 200, "/target/b/a []"),
            ("/miss", 200, "missed"),
        ],
    );
    assert_eq!(proxy.get("/loop").status(), 500);
}

#[test]
fn rewrites_of_the_server_come_first() {
    let proxy = Config::server(
        "set $seen server; rewrite ^/from/(.*)$ /to/$1; if ($uri = /to/stop) { return 403; }
         location /to { return 200 \"$seen $uri $request_uri\"; }",
    )
    .start();
    rows(&proxy, &[("/from/x", 200, "server /to/x /from/x")]);
    assert_eq!(proxy.get("/from/stop").status(), 403);
}

#[test]
fn conditions() {
    let proxy = Config::server(
        "location / {
            set $out \"\";
            if ($arg_a) { set $out \"${out}a\"; }
            if ($arg_b = yes) { set $out \"${out}b\"; }
            if ($arg_c != no) { set $out \"${out}c\"; }
            if ($arg_d ~ ^x(\\d)$) { set $out \"${out}d$1\"; }
            if ($arg_e ~* ^x$) { set $out \"${out}e\"; }
            if ($arg_f !~ x) { set $out \"${out}f\"; }
            if (-f %%DIR%%/file.txt) { set $out \"${out}F\"; }
            if (-d %%DIR%%) { set $out \"${out}D\"; }
            if (-e %%DIR%%/missing) { set $out \"${out}!\"; }
            if (!-e %%DIR%%/missing) { set $out \"${out}E\"; }
            if ($request_method = POST) { return 405; }
            return 200 $out;
         }",
    )
    .file("file.txt", "x")
    .start();
    rows(
        &proxy,
        &[
            ("/", 200, "cfFDE"),
            ("/?a=0", 200, "cfFDE"),
            ("/?a=1&b=yes&c=no", 200, "abfFDE"),
            ("/?d=x7&e=X&f=x", 200, "cd7eFDE"),
        ],
    );
    assert_eq!(
        proxy
            .client()
            .request("POST", "/", "Content-Length: 0\r\n")
            .response()
            .status(),
        405
    );
}

#[test]
fn the_preflight_of_the_guides() {
    let origin = crate::support::Origin::text("x");
    let proxy = Config::server(
        "add_header X-Server-Level 1;
         location /api/ {
            if ($request_method = OPTIONS) {
                add_header Access-Control-Allow-Origin $http_origin;
                add_header Access-Control-Max-Age 86400;
                add_header Content-Type text/plain;
                add_header Content-Length 0;
                return 204;
            }
            proxy_pass http://%%origin%%;
         }",
    )
    .set("origin", origin.addr())
    .start();
    let mut client = proxy.client();
    let preflight = client
        .request("OPTIONS", "/api/x", "Origin: http://o.example\r\n")
        .response();
    assert_eq!(preflight.status(), 204);
    assert_eq!(
        preflight.field("access-control-allow-origin"),
        Some("http://o.example")
    );
    assert_eq!(preflight.field("access-control-max-age"), Some("86400"));
    assert_eq!(preflight.field("content-length"), Some("0"));
    assert_eq!(preflight.field("x-server-level"), None);
    assert!(origin.requests().is_empty());
    let get = client.get("/api/x").response();
    assert_eq!((get.text(), get.field("x-server-level")), ("x", Some("1")));
}

#[test]
fn maps() {
    let proxy = Config::http(
        "map $arg_x $plain { default other; one 1; TWO 2; '' empty; ~^re(\\d+)$ re-$1; ~*^CASE$ case; }
         map $host $site { hostnames; default none; *.example.org wild; exact.example.org exact; .both.net both; www.* prefix; }
         map $http_upgrade $connection_upgrade { default upgrade; '' close; }
         map $arg_x $chained { default $plain; }
         map $arg_a$arg_b $pair { xy pair; default single; }
         server { listen %%ADDR_0%%;
            location /plain { return 200 $plain; }
            location /site { return 200 $site; }
            location /upgrade { return 200 $connection_upgrade; }
            location /chained { return 200 $chained; }
            location /pair { return 200 $pair; } }",
    )
    .start();
    rows(
        &proxy,
        &[
            ("/plain", 200, "empty"),
            ("/plain?x=one", 200, "1"),
            ("/plain?x=two", 200, "2"),
            ("/plain?x=re42", 200, "re-42"),
            ("/plain?x=case", 200, "case"),
            ("/plain?x=no", 200, "other"),
            ("/upgrade", 200, "close"),
            ("/chained?x=one", 200, "1"),
            ("/pair?a=x&b=y", 200, "pair"),
            ("/pair?a=x", 200, "single"),
        ],
    );
    for (host, expected) in [
        ("exact.example.org", "exact"),
        ("a.example.org", "wild"),
        ("both.net", "both"),
        ("x.both.net", "both"),
        ("www.any", "prefix"),
        ("unknown", "none"),
    ] {
        let mut client = proxy.client();
        client.send(format!("GET /site HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), expected, "{host}");
    }
}

#[test]
fn geo_and_split_clients() {
    let proxy = Config::http(
        "geo $where { default far; 127.0.0.0/8 near; 10.0.0.0/8 inside; }
         geo $arg_ip $of { default far; 10.0.0.0/8 inside; 10.1.0.0/16 deeper; 2001:db8::/32 six; }
         split_clients $arg_id $half { 50% a; * b; }
         server { listen %%ADDR_0%%;
            location /where { return 200 $where; }
            location /of { return 200 $of; }
            location /half { return 200 $half; } }",
    )
    .start();
    rows(
        &proxy,
        &[
            ("/where", 200, "near"),
            ("/of?ip=10.2.3.4", 200, "inside"),
            ("/of?ip=10.1.3.4", 200, "deeper"),
            ("/of?ip=192.0.2.1", 200, "far"),
            ("/of?ip=2001:db8::1", 200, "six"),
        ],
    );
    let halves = (0..60)
        .map(|n| proxy.get(&format!("/half?id=key{n}")).text().to_owned())
        .collect::<Vec<_>>();
    let a = halves.iter().filter(|h| *h == "a").count();
    assert!((15..45).contains(&a), "{a} of 60");
}

#[test]
fn request_variables() {
    let proxy = Config::server(
        "server_name first.example second.example;
         location / { return 200 \"%%vars%%\"; }",
    )
    .set(
        "vars",
        "$request_method|$request_uri|$uri|$document_uri|$args|$query_string|$is_args|$host|$http_host|$server_name|$scheme|$server_protocol|$remote_addr|$http_x_multi|$cookie_b|$arg_q|$content_type|$request|$request_length",
    )
    .start();
    let mut client = proxy.client();
    let head = "GET /a%20b//c?q=%31&z HTTP/1.1\r\nHost: Second.Example:80\r\nX-Multi: 1\r\nX-Multi: 2\r\nCookie: a=1; b=2\r\nContent-Type: t/t\r\n\r\n";
    client.send(head);
    let expected = format!(
        "GET|/a%20b//c?q=%31&z|/a b/c|/a b/c|q=%31&z|q=%31&z|?|second.example|Second.Example:80|first.example|http|HTTP/1.1|127.0.0.1|1, 2|2|%31|t/t|GET /a%20b//c?q=%31&z HTTP/1.1|{}",
        head.len()
    );
    assert_eq!(client.response().text(), expected);
}

#[test]
fn request_ids_differ() {
    let proxy = Config::server("location / { return 200 $request_id; }").start();
    let (one, two) = (proxy.get("/"), proxy.get("/"));
    assert_ne!(one.text(), two.text());
    assert!(one.text().len() == 32 && one.text().bytes().all(|b| b.is_ascii_hexdigit()));
}
