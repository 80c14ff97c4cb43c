//! Programs that live beside a web server: certbot, which reads what it says of itself and reloads it; fail2ban, which finds
//! attackers by its log lines. Their expectations are written down here in our own expressions of the same meaning.

use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use regex::Regex;

use crate::support::proxy::is_foreign;
use crate::support::tls::{BOTH, SelfSigned, client};
use crate::support::{Config, Proxy, wait};

/// Runs the binary through a link with the name `nginx`, as such programs do.
fn nginx(folder: &Path, args: &[&str]) -> Output {
    let link = folder.join("nginx");
    if !link.exists() {
        symlink(env!("CARGO_BIN_EXE_ringx"), &link).unwrap();
    }
    Command::new(link).args(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What certbot's plug-in asks of `nginx -V`: a version of at least 0.8.48 of the product nginx, TLS, names in TLS, and the
/// version of OpenSSL, by which it chooses which of its settings for ciphers fits.
#[test]
fn certbot_finds_what_it_needs_in_the_version() {
    if is_foreign() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let output = nginx(dir.path(), &["-c", "/etc/nginx/nginx.conf", "-V"]);
    assert_eq!(output.status.code(), Some(0));
    // It reads standard error.
    let text = stderr(&output);
    assert!(output.stdout.is_empty());
    let version = Regex::new(r"(?i)nginx version: ([^/]+)/([0-9.]*)").unwrap();
    let found = version.captures(&text).expect("a version");
    assert_eq!(&found[1], "nginx");
    let parts: Vec<u32> = found[2].split('.').map(|p| p.parse().unwrap()).collect();
    assert!(parts.as_slice() >= &[0, 8, 48][..], "{parts:?}");
    assert!(
        Regex::new(r"(?i)TLS SNI support enabled")
            .unwrap()
            .is_match(&text)
    );
    assert!(text.contains(" --with-http_ssl_module"));
    // "built with" wins over "running with"; both are tried.
    let openssl = Regex::new(r"built with OpenSSL ([^ ]+) ").unwrap();
    let openssl = openssl.captures(&text).expect("a version of OpenSSL");
    assert!(&openssl[1] >= "1.0.2l", "{}", &openssl[1]);
}

/// The steps of `certbot --nginx`: it writes a server for its challenge and includes it, tests, reloads, asks; then it writes
/// the certificate's lines with its marks behind them, tests and reloads again.
#[test]
fn certbot_edits_tests_and_reloads() {
    if is_foreign() {
        return;
    }
    let pair = SelfSigned::new(&["localhost"]);
    let proxy = Config::http(
        "include %%DIR%%/*.site;
         server { listen %%ADDR_0%%; server_name other.test; return 204; } # and %%ADDR_1%%",
    )
    .file("live/fullchain.pem", &pair.cert)
    .file("live/privkey.pem", &pair.key)
    .file("a.site", "# none yet\n")
    .start();
    let (plain, tls) = (proxy.addr_of(0), proxy.addr_of(1));
    let dir = proxy.path("");
    let (conf, prefix) = (proxy.path("ringx.conf"), dir.display().to_string());
    let conf = conf.display().to_string();
    let run = |args: &[&str]| {
        let output = nginx(&dir, &[&["-p", &prefix, "-c", &conf], args].concat());
        (output.status.code(), stderr(&output))
    };
    let site = |text: &str| {
        let beside = dir.join("new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, dir.join("a.site")).unwrap();
    };
    let before = format!(
        "server {{\n    server_name example.test;\n    listen {plain};\n    location / {{ return 200 before; }}\n}}\n"
    );
    site(&before);
    assert_eq!(run(&["-s", "reload"]).0, Some(0));
    wait::until("the first configuration", || {
        proxy.get("/").text() == "before"
    });

    let challenge = format!(
        "server {{\nrewrite ^(/.well-known/acme-challenge/.*) $1 break; # managed by Certbot\n    server_name example.test;\n    listen {plain};\n    location / {{ return 200 before; }}\n\
         location = /.well-known/acme-challenge/token{{default_type text/plain;return 200 token.thumb;}} # managed by Certbot\n}}\n"
    );
    site(&challenge);
    let (code, said) = run(&["-t"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("syntax is ok") && said.contains("test is successful"));
    assert_eq!(run(&["-s", "reload"]).0, Some(0));
    let token = "/.well-known/acme-challenge/token";
    wait::until("the challenge", || proxy.get(token).text() == "token.thumb");

    // A mistake is told with code 1, and nothing changes: it takes its edits back then.
    site(&challenge.replace("default_type", "default_typ"));
    let (code, said) = run(&["-t"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("[emerg]") && said.contains("a.site:6"),
        "{said}"
    );
    assert_eq!(proxy.get(token).text(), "token.thumb");

    let done = format!(
        "server {{\n    server_name example.test;\n    location / {{ return 200 after; }}\n\n    listen {tls} ssl; # managed by Certbot\n\
         ssl_certificate {0}/live/fullchain.pem; # managed by Certbot\n    ssl_certificate_key {0}/live/privkey.pem; # managed by Certbot\n\
         ssl_session_cache shared:le_nginx_SSL:10m;\n    ssl_session_timeout 1440m;\n    ssl_session_tickets off;\n    ssl_protocols TLSv1.2 TLSv1.3;\n\
         ssl_prefer_server_ciphers off;\n}}\nserver {{\n    if ($host = example.test) {{\n        return 301 https://$host$request_uri;\n    }} # managed by Certbot\n\n\
         listen {plain};\n    server_name example.test;\n    return 404; # managed by Certbot\n}}\n",
        dir.display()
    );
    site(&done);
    let (code, said) = run(&["-t"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(run(&["-s", "reload"]).0, Some(0));
    let moved = || {
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: example.test\r\n\r\n");
        let answer = client.response();
        answer.status() == 301 && answer.field("location") == Some("https://example.test/x")
    };
    wait::until("the redirect", moved);
    let mut secure = client(tls, pair.trusted(BOTH), "localhost");
    assert_eq!(secure.get("/").response().text(), "after");
}

/// `<HOST>` of fail2ban's expressions.
const HOST: &str = r"(?P<host>\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:.]+)";

/// The clients that an expression finds in a log, a line each. Of the error log, fail2ban takes the time off first.
fn banned(log: &str, expression: &str) -> Vec<IpAddr> {
    let expression = Regex::new(&expression.replace("<HOST>", HOST)).unwrap();
    let found = log.lines().filter_map(|line| expression.captures(line));
    found.map(|c| c["host"].parse().unwrap()).collect()
}

/// What every line of the error log begins with.
const PREFIX: &str =
    r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(?:error|crit|warn|info)\] \d+#\d+: (?:\*\d+ )?";

/// A server that people try to break into, with what they tried.
fn attacked() -> Proxy {
    let config = Config::http(
        "limit_req_zone $binary_remote_addr zone=login:1m rate=1r/m;
         server { listen %%ADDR_0%%; server_name a.test; access_log %%DIR%%/access.log; root %%DIR%%/www;
            location /closed/ { auth_basic Closed; auth_basic_user_file %%DIR%%/users; }
            location = /login { limit_req zone=login; try_files /in.html =404; } }",
    )
    .file("users", "ann:{PLAIN}right\n")
    .file("www/closed/index.html", "inside")
    .file("www/in.html", "in")
    .logs("user \"ann\": password mismatch")
    .logs("user \"bob\" was not found in")
    .may_log("no user/password was provided")
    .logs("limiting requests, excess: ")
    .logs("failed (2: No such file or directory)")
    .may_log("client sent invalid");
    let proxy = config.start();
    let ask = |target: &str, fields: &str| {
        let mut client = proxy.client();
        client.request("GET", target, fields).response().status()
    };
    // ann:wrong, bob:right, ann:right.
    for (secret, want) in [
        ("YW5uOndyb25n", 401),
        ("Ym9iOnJpZ2h0", 401),
        ("YW5uOnJpZ2h0", 200),
    ] {
        let field = format!("Authorization: Basic {secret}\r\n");
        assert_eq!(ask("/closed/", &field), want);
    }
    let statuses = [ask("/login", ""), ask("/login", ""), ask("/login", "")];
    assert_eq!(statuses, [200, 503, 503]);
    for target in ["/wp-login.php", "/phpmyadmin/index.php", "/cgi-bin/test.sh"] {
        assert_eq!(ask(target, ""), 404);
    }
    assert_eq!(ask("/in.html", ""), 200);
    for garbage in [
        "\x16\x03\x01\x02\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(garbage);
        assert_eq!(client.response().status(), 400, "{garbage:?}");
    }
    wait::until("all lines", || {
        let lines = proxy.log("access.log");
        lines.lines().count() >= 13 && proxy.error_log().matches("limiting requests").count() == 2
    });
    proxy
}

/// Each filter finds those that it is about in our logs, as often as they came, and nobody else.
#[test]
fn fail2ban_finds_who_to_ban() {
    if is_foreign() {
        return;
    }
    let proxy = attacked();
    let (error, access) = (proxy.error_log(), proxy.log("access.log"));
    let local: IpAddr = "127.0.0.1".parse().unwrap();
    let tail = r#", server: \S*, request: "\S+ [^"]+ HTTP/\d+\.\d+", host: "\S+"(?:, referrer: "\S+")?\s*$"#;
    for (filter, log, expression, times) in [
        (
            "nginx-http-auth",
            &error,
            format!(r#"{PREFIX}user "[^"]*":? (?:password mismatch|was not found in "[^"]*"), client: <HOST>{tail}"#),
            2,
        ),
        (
            "nginx-limit-req",
            &error,
            format!(r#"{PREFIX}limiting requests, excess: [\d.]+ by zone "[^"]+", client: <HOST>,"#),
            2,
        ),
        (
            "nginx-botsearch, errors",
            &error,
            format!(r#"{PREFIX}open\(\) "[^"]*(?:wp-login\.php|phpmyadmin[^"]*|cgi-bin[^"]*)" failed \(2: No such file or directory\), client: <HOST>{tail}"#),
            3,
        ),
        (
            "nginx-botsearch, access",
            &access,
            r#"^<HOST> - \S+ \[[^\]]+\] "(?:GET|POST|HEAD) /(?:wp-login\.php|phpmyadmin\S*|cgi-bin\S*) [^"]*" 404 .+$"#.to_owned(),
            3,
        ),
        (
            "nginx-bad-request",
            &access,
            r#"^<HOST> - \S+ \[[^\]]+\] "[^"]*" 400 .+$"#.to_owned(),
            3,
        ),
    ] {
        let found = banned(log, &expression);
        assert_eq!(found, vec![local; times], "{filter}: {log}");
    }
}
