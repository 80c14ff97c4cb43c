//! Configurations as the guides teach them, put to work from end to end; and the guides' own, where they are at hand.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::client::get_with;
use crate::support::origin::response;
use crate::support::wire::Message;
use crate::support::{Client, Config, Origin, Proxy, tls};

fn of_host(proxy: &Proxy, host: &str, target: &str, fields: &str) -> Message {
    let mut client = proxy.client();
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"
    ));
    client.response()
}

/// The folder of the guides' configurations, which is not part of the project.
fn folder() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/seed-configs");
    let folder =
        std::env::var_os("RINGX_SEED_CONFIGS").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// A guide's configuration on ports, origins and folders of this test.
fn adapted(file: &Path, origin: &Origin) -> Config {
    let text = std::fs::read_to_string(file).unwrap();
    // A backend over TLS is a server beside the guide's own.
    let secure = text.contains("proxy_pass https:");
    let backend = if secure {
        "%%ADDR_2%%".to_owned()
    } else {
        origin.addr().to_string()
    };
    let mut out = String::from(
        "daemon off;\nworker_processes 1;\npid %%DIR%%/ringx.pid;\nerror_log %%DIR%%/error.log info;\n",
    );
    let mut servers = 0;
    let lines: Vec<&str> = text.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        let bare = line.trim();
        if bare.starts_with('#') {
            continue;
        }
        if bare == "server {" {
            // An address without TLS and one with it are enough: names tell servers apart.
            servers += 1;
            let listens = listens(&lines[n..]);
            let tls = listens.iter().find(|listen| listen.contains(" ssl"));
            let _ = match tls {
                Some(listen) => {
                    let options = listen.split_once(' ').map_or("", |(_, options)| options);
                    writeln!(out, "{line} listen %%ADDR_1%% {options};")
                }
                None => writeln!(out, "{line} listen %%ADDR_0%%;"),
            };
            if tls.is_some() && listens.len() > 1 {
                out.push_str("listen %%ADDR_0%%;\n");
            }
        } else if bare.starts_with("listen ") {
            continue;
        } else {
            out.push_str(&with_backend(line, &backend));
            out.push('\n');
        }
    }
    if servers == 0 {
        // Only an upstream is shown: something has to use it.
        let name = text.split("upstream ").nth(1).unwrap();
        let name = name.split_whitespace().next().unwrap();
        within(
            &mut out,
            &format!("server {{ listen %%ADDR_0%%; location / {{ proxy_pass http://{name}; }} }}"),
        );
    }
    if !out.contains("listen %%ADDR_0%%") {
        // What the tests wait for.
        within(&mut out, "server { listen %%ADDR_0%%; return 404; }");
    }
    if secure {
        let pair = "ssl_certificate tls/fullchain.pem; ssl_certificate_key tls/privkey.pem;";
        let location = format!("location / {{ proxy_pass http://{}; }}", origin.addr());
        within(
            &mut out,
            &format!("server {{ listen {backend} ssl; {pair} {location} }}"),
        );
    }
    let names = ["example.com", "*.example.com"];
    let pair = tls::Authority::new().sign(&names);
    let parts = file.parent().unwrap();
    let read = |name: &str| std::fs::read(parts.join(name)).unwrap_or_default();
    Config::main(&out)
        .file("fastcgi_params", read("fastcgi_params"))
        .file(
            "snippets/security-headers.conf",
            read("snippets/security-headers.conf"),
        )
        .file("tls/fullchain.pem", pair.cert)
        .file("tls/privkey.pem", pair.key)
        .file("logs/here", "")
        .file("site/index.php", "<?php")
        .file("site/a.txt", "file")
}

/// Adds a line at the end of the last block, which is `http`.
fn within(out: &mut String, line: &str) {
    let end = out.rfind('}').unwrap();
    out.insert_str(end, &format!("{line}\n"));
}

/// What the `listen` lines of the server that begins `lines` say.
fn listens<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut depth = 0;
    let mut found = Vec::new();
    for line in lines {
        if let Some(listen) = line.trim().strip_prefix("listen ") {
            found.push(listen.trim_end_matches(';'));
        }
        depth += line.matches('{').count();
        depth -= line.matches('}').count();
        if depth == 0 {
            break;
        }
    }
    found
}

/// The line with every backend replaced by one of this test, and every folder too.
fn with_backend(line: &str, backend: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let (word, end) = match word.strip_suffix(';') {
            Some(word) => (word, ";"),
            None => (word, ""),
        };
        let (scheme, rest) = match word.strip_prefix("http://") {
            Some(rest) => ("http://", rest),
            None => ("", word),
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let with_port = host
            .rsplit_once(':')
            .is_some_and(|(name, port)| !name.contains('=') && port.parse::<u16>().is_ok());
        let replaced = if line.contains("fastcgi_pass ") && rest.starts_with("unix:") {
            "unix:%%DIR%%/no-php".to_owned()
        } else if rest.starts_with("unix:") && rest.ends_with(".sock") {
            format!("{scheme}{backend}")
        } else if with_port {
            format!("{scheme}{backend}{path}")
        } else if rest.starts_with("/var/www/") {
            "%%DIR%%/site/".to_owned()
        } else {
            word.to_owned()
        };
        words.push(replaced + end);
    }
    words.join(" ")
}

/// What is asked of a configuration: a URI of one of its locations.
struct Target {
    host: String,
    tls: bool,
    uri: String,
    /// The location tells what its cache did.
    cached: bool,
}

/// A target for each location.
fn targets(file: &Path) -> Vec<Target> {
    let text = std::fs::read_to_string(file).unwrap();
    let mut server = ("localhost".to_owned(), false);
    let mut found: Vec<Target> = Vec::new();
    let target = |server: &(String, bool), uri: &str| Target {
        host: server.0.clone(),
        tls: server.1,
        uri: uri.to_owned(),
        cached: false,
    };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["server", "{"] => server.1 = false,
            ["listen", "443", ..] => server.1 = true,
            ["server_name", name, ..] => name.trim_end_matches(';').clone_into(&mut server.0),
            ["return", "301", ..] if found.is_empty() => found.push(target(&server, "/moved")),
            ["location", path @ ("/static/" | "/media/"), ..] => {
                found.push(target(&server, &format!("{path}a.txt")));
            }
            ["location", path, ..] if path.starts_with('/') => found.push(target(&server, path)),
            ["location", "~", "\\.php$", ..] => found.push(target(&server, "/x.php")),
            ["location", "~", ..] => found.push(target(&server, "/files/x")),
            ["add_header", "X-Cache-Status", ..] => {
                found.last_mut().unwrap().cached = true;
            }
            _ => {}
        }
    }
    if found.is_empty() {
        found.push(target(&server, "/"));
    }
    found
}

/// Asks over TLS, in each version of HTTP, where there is a client for it.
fn over_tls(proxy: &Proxy, name: &str, target: &Target) {
    let port = proxy.addr_of(1).port();
    let Target { host, uri, .. } = target;
    let resolve = format!("{host}:{port}:127.0.0.1");
    let url = format!("https://{host}:{port}{uri}");
    let body = if uri.ends_with("a.txt") {
        "file"
    } else {
        "origin"
    };
    for (version, status) in [("1.1", "MISS"), ("2", "HIT")] {
        let flag = format!("--http{version}");
        let format = " %{http_version} %{http_code} %header{x-cache-status}";
        let output = Command::new("curl")
            .args(["-sk", "--max-time", "5", &flag, "-w", format])
            .args(["--resolve", &resolve, &url])
            .output();
        let Ok(output) = output else {
            crate::support::skipped("no curl on this machine");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let status = if target.cached { status } else { "" };
        let expected = format!("{body} {version} 200 {status}");
        assert_eq!(text, expected, "{name} {url}");
    }
}

/// Asks in cleartext.
fn over_tcp(proxy: &Proxy, name: &str, target: &Target) {
    let Target { host, uri, .. } = target;
    let answer = of_host(proxy, host, uri, "");
    let moved = format!("https://{host}/moved");
    let right = match answer.status() {
        200 if uri.ends_with("a.txt") => answer.text() == "file",
        200 => answer.text() == "origin",
        301 => uri == "/moved" && answer.field("location") == Some(&moved),
        403 => host.starts_with("admin."),
        502 => name == "001-09.conf",
        _ => false,
    };
    assert!(right, "{name} {host} {uri}: {}", answer.head_text());
    let again = target.cached.then(|| of_host(proxy, host, uri, ""));
    let told = again.as_ref().map(|again| {
        assert_eq!(again.text(), "origin", "{name} {host} {uri}");
        [&answer, again].map(|message| message.field("x-cache-status").unwrap_or("-"))
    });
    let expected = target.cached.then_some(["MISS", "HIT"]);
    assert_eq!(told, expected, "{name} {host} {uri}");
}

/// Starts each of the guides' configurations, as `how` wants it, and works its locations.
fn work_the_guides(how: impl Fn(Config) -> Config) {
    let Some(folder) = folder() else {
        crate::support::skipped("the guides' configurations are not here");
        return;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "conf"));
    files.sort();
    assert_eq!(files.len(), 60);
    let origin = Origin::text("origin");
    let mut cached = 0;
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let proxy = how(adapted(file, &origin))
            .may_log("access forbidden by rule")
            .may_log("No such file or directory")
            // There is no php-fpm here.
            .may_log("/no-php failed (2: No such file or directory) while connecting to upstream")
            .start();
        for target in targets(file) {
            if target.tls {
                over_tls(&proxy, &name, &target);
            } else {
                over_tcp(&proxy, &name, &target);
            }
            cached += usize::from(target.cached);
        }
    }
    assert_eq!(cached, 3, "locations that tell of their cache");
}

#[test]
fn the_guides_own_configurations_work() {
    work_the_guides(|config| config);
}

#[test]
fn the_guides_own_configurations_work_as_toml() {
    work_the_guides(Config::into_toml);
}

#[test]
fn a_site_with_static_files_and_an_application() {
    let app = Origin::text("app");
    let proxy = Config::http(
        "include %%DIR%%/mime.types; gzip on; gzip_types text/css; gzip_min_length 10; server_tokens off;
         upstream app { server %%app%% fail_timeout=30s; keepalive 8; }
         server { listen %%ADDR_0%%; server_name shop.example www.shop.example; root %%DIR%%/public;
            index index.html; client_max_body_size 2m;
            add_header X-Frame-Options SAMEORIGIN always; add_header X-Content-Type-Options nosniff always;
            location / { try_files $uri $uri/ @app; }
            location /assets/ { alias %%DIR%%/assets/; expires 30d; add_header Cache-Control \"public, immutable\"; access_log off; }
            location = /favicon.ico { log_not_found off; return 204; }
            location ~ /\\. { deny all; }
            location @app { proxy_pass http://app; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;
               proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
               proxy_read_timeout 120; }
            error_page 404 /404.html; location = /404.html { internal; }
         }
         server { listen %%ADDR_0%%; server_name old.example; return 301 http://shop.example$request_uri; }",
    )
    .set("app", app.addr())
    .file("mime.types", "types { text/html html; text/css css; }")
    .file("public/index.html", "home")
    .file("public/about.html", "about")
    .file("public/docs/index.html", "docs")
    .file("public/404.html", "gone")
    .file("public/.env", "SECRET=1")
    .file("assets/site.css", "body { color: black }\n".repeat(20))
    .logs("access forbidden by rule")
    .may_log("No such file or directory")
    .start();
    let ask = |target: &str| of_host(&proxy, "shop.example", target, "");
    for (target, status, text) in [
        ("/", 200, "home"),
        ("/about.html", 200, "about"),
        ("/docs/", 200, "docs"),
        ("/cart?id=1", 200, "app"),
        ("/assets/none.css", 404, "gone"),
        ("/404.html", 404, "gone"),
    ] {
        let answer = ask(target);
        assert_eq!((answer.status(), answer.text()), (status, text), "{target}");
        assert!(
            answer.field("x-frame-options").is_some() || target.contains("assets"),
            "{target}"
        );
    }
    assert_eq!(ask("/favicon.ico").status(), 204);
    let hidden = ask("/.env");
    assert_eq!(hidden.status(), 403);
    assert!(!hidden.text().contains("SECRET"));
    let request = app.last();
    assert_eq!(request.target(), "/cart?id=1");
    assert_eq!(request.field("host"), Some("shop.example"));
    let accepted = "Accept-Encoding: gzip\r\n";
    let style = of_host(&proxy, "shop.example", "/assets/site.css", accepted);
    assert_eq!(style.field("content-type"), Some("text/css"));
    assert_eq!(style.field("content-encoding"), Some("gzip"));
    assert_eq!(
        style.all("cache-control"),
        ["max-age=2592000", "public, immutable"]
    );
    assert_eq!(style.field("x-frame-options"), None);
    let moved = of_host(&proxy, "old.example", "/a?b", "");
    assert_eq!(moved.status(), 301);
    assert_eq!(moved.field("location"), Some("http://shop.example/a?b"));
}

#[test]
fn a_gateway_before_several_services() {
    let (users, orders, auth) = (
        Origin::text("users"),
        Origin::text("orders"),
        Origin::answer(|request| {
            let known = request.field("authorization") == Some("Bearer good");
            let status = if known {
                "204 No Content"
            } else {
                "401 Unauthorized"
            };
            response(status, "X-User: 7\r\n", b"")
        }),
    );
    let proxy = Config::http(
        "limit_req_zone $binary_remote_addr zone=login:1m rate=1r/m; limit_conn_zone $binary_remote_addr zone=conns:1m;
         map $http_upgrade $connection_upgrade { default upgrade; '' close; }
         server { listen %%ADDR_0%%; server_name api.example;
            set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
            limit_conn conns 20;
            location /users/ { auth_request /_auth; auth_request_set $user $upstream_http_x_user;
               proxy_pass http://%%users%%/v1/; proxy_set_header X-User $user; proxy_set_header X-Real-IP $remote_addr; }
            location /orders/ { proxy_pass http://%%orders%%/; add_header Access-Control-Allow-Origin $http_origin always;
               if ($request_method = OPTIONS) { add_header Access-Control-Allow-Methods \"GET, POST\" always; return 204; } }
            location /login { limit_req zone=login burst=2 nodelay; limit_req_status 429; proxy_pass http://%%users%%; }
            location /admin/ { allow 10.0.0.0/8; deny all; proxy_pass http://%%users%%; }
            location = /_auth { internal; proxy_pass http://%%auth%%; proxy_pass_request_body off; proxy_set_header Content-Length \"\"; }
         }
         server { listen %%ADDR_0%% default_server; return 444; }",
    )
    .set("users", users.addr())
    .set("orders", orders.addr())
    .set("auth", auth.addr())
    .logs("access forbidden by rule, client: 198.51.100.1")
    .logs("limiting requests, excess: ")
    .start();
    let ask = |target: &str, fields: &str| of_host(&proxy, "api.example", target, fields);
    assert_eq!(ask("/users/7", "").status(), 401);
    let good = "Authorization: Bearer good\r\nX-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(ask("/users/7", good).text(), "users");
    let request = users.last();
    assert_eq!(request.target(), "/v1/7");
    assert_eq!(request.field("x-user"), Some("7"));
    assert_eq!(request.field("x-real-ip"), Some("192.0.2.1"));
    assert_eq!(ask("/_auth", good).status(), 404);
    let answer = ask("/orders/1?x=y", "Origin: http://a.example\r\n");
    assert_eq!(answer.text(), "orders");
    assert_eq!(
        answer.field("access-control-allow-origin"),
        Some("http://a.example")
    );
    assert_eq!(orders.last().target(), "/1?x=y");
    let mut client = proxy.client();
    client.send("OPTIONS /orders/1 HTTP/1.1\r\nHost: api.example\r\n\r\n");
    let preflight = client.response();
    assert_eq!(preflight.status(), 204);
    assert_eq!(
        preflight.field("access-control-allow-methods"),
        Some("GET, POST")
    );
    // Three pass, and each client has an account of its own.
    let login = |from: &str| ask("/login", &format!("X-Forwarded-For: {from}\r\n")).status();
    let statuses: Vec<u16> = (0..5).map(|_| login("192.0.2.1")).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!(login("192.0.2.2"), 200);
    assert_eq!(
        ask("/admin/", "X-Forwarded-For: 10.1.2.3\r\n").status(),
        200
    );
    assert_eq!(
        ask("/admin/", "X-Forwarded-For: 198.51.100.1\r\n").status(),
        403
    );
    // A list that the client began does not make it an insider.
    assert_eq!(
        ask("/admin/", "X-Forwarded-For: 10.1.2.3, 198.51.100.1\r\n").status(),
        403
    );
    let mut stranger = proxy.client();
    stranger.get("/users/7").expect_close();
}

#[test]
fn a_cluster_with_a_dead_member() {
    let (one, two) = (Origin::text("one"), Origin::text("two"));
    let proxy = Config::http(
        "upstream cluster { least_conn; server %%ADDR_1%% max_fails=1 fail_timeout=30s; server %%one%% weight=2; server %%two%%; keepalive 4; }
         log_format timed '$remote_addr $status $upstream_addr $upstream_status';
         server { listen %%ADDR_0%%; access_log %%DIR%%/access.log timed;
            location / { proxy_pass http://cluster; proxy_next_upstream error timeout http_502; proxy_next_upstream_tries 2; proxy_connect_timeout 2s; }
            location = /status { stub_status; allow 127.0.0.1; deny all; }
         }",
    )
    .set("one", one.addr())
    .set("two", two.addr())
    .logs("connect() failed (111: Connection refused) while connecting to upstream")
    .start();
    let mut seen = [0, 0];
    for _ in 0..12 {
        match proxy.get("/").text() {
            "one" => seen[0] += 1,
            "two" => seen[1] += 1,
            other => panic!("neither of them: {other}"),
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    assert!(
        proxy
            .get("/status")
            .text()
            .starts_with("Active connections: ")
    );
    proxy.wait_log("access.log", " 502, 200\n");
}

#[test]
fn a_chat_and_a_members_area() {
    let chat = Origin::upgrade_echo();
    let pages = Origin::text("page");
    let proxy = Config::http(
        "map $http_upgrade $connection_upgrade { default upgrade; '' close; }
         server { listen %%ADDR_0%%;
            location /ws/ { proxy_pass http://%%chat%%; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;
               proxy_set_header Connection $connection_upgrade; proxy_read_timeout 86400s; }
            location /members/ { satisfy any; allow 10.0.0.0/8; deny all; auth_basic \"Members\"; auth_basic_user_file members;
               proxy_pass http://%%pages%%; proxy_set_header X-User $remote_user; }
            location /download/ { secure_link $arg_md5; secure_link_md5 \"$uri word\"; if ($secure_link = \"\") { return 403; } root %%DIR%%/files; }
            location /images/ { valid_referers none example.com; if ($invalid_referer) { return 403; } root %%DIR%%/files; }
         }",
    )
    .set("chat", chat.addr())
    .set("pages", pages.addr())
    .file("members", "ann:$apr1$12345678$0lqb/6VUFP8JY/s/jTrIk0\n")
    .file("files/download/a", "paid")
    .file("files/images/a", "picture")
    .logs("No such file or directory")
    .start();
    let mut client = proxy.client();
    client
        .send("GET /ws/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    let ask = |target: &str, fields: &str| get_with(proxy.addr(), target, fields);
    assert_eq!(ask("/members/", "").status(), 401);
    let ann = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
    assert_eq!(ask("/members/", ann).text(), "page");
    assert_eq!(pages.last().field("x-user"), Some("ann"));
    assert_eq!(ask("/download/a", "").status(), 403);
    assert_eq!(
        ask("/download/a?md5=kkf530MfTugjkbR0uPLHxA", "").text(),
        "paid"
    );
    assert_eq!(
        ask("/download/b?md5=kkf530MfTugjkbR0uPLHxA", "").status(),
        403
    );
    assert_eq!(ask("/images/a", "").text(), "picture");
    let inside = "Referer: http://example.com/\r\n";
    assert_eq!(ask("/images/a", inside).text(), "picture");
    let outside = "Referer: http://thief.example/\r\n";
    assert_eq!(ask("/images/a", outside).status(), 403);
    drop(client);
    let mut gone = Client::tcp(proxy.addr());
    assert_eq!(gone.get("/nowhere").response().status(), 404);
}
