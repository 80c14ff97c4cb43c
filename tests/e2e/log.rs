//! Access and error logs: formats, escapes, conditions, places, and opening them again.

use crate::support::proxy::USR1;
use crate::support::{Config, Origin, wait};
use std::net::UdpSocket;

#[test]
fn combined_is_the_default() {
    let proxy =
        Config::server("access_log %%DIR%%/access.log; location / { return 200 hello; }").start();
    proxy
        .client()
        .request(
            "GET",
            "/p?q=1",
            "User-Agent: test \"agent\" \\\r\nReferer: http://r.example/\r\n",
        )
        .response();
    proxy.wait_log("access.log", "\n");
    let line = proxy.log("access.log");
    let shape = regex::Regex::new(
        r#"^127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "GET /p\?q=1 HTTP/1\.1" 200 5 "http://r\.example/" "test \\x22agent\\x22 \\x5C"\n$"#,
    )
    .unwrap();
    assert!(shape.is_match(&line), "{line}");
}

#[test]
fn formats_and_escapes() {
    let proxy = Config::http(
        "log_format plain '$status $bytes_sent $body_bytes_sent $request_length $connection_requests $pipe $msec $request_time';
         log_format json escape=json '{\"ua\":\"$http_user_agent\",\"none\":\"$http_none\"}';
         log_format raw escape=none '$http_user_agent|$http_none|';
         log_format default '$http_user_agent|$http_none|';
         server { listen %%ADDR_0%%;
            access_log %%DIR%%/plain.log plain;
            access_log %%DIR%%/json.log json;
            access_log %%DIR%%/raw.log raw;
            access_log %%DIR%%/default.log default;
            location / { return 200 hello; }
            location /off { access_log off; return 200 off; } }",
    )
    .start();
    let mut client = proxy.client();
    client.get("/off").response();
    client
        .request("GET", "/", "User-Agent: a\"b\\c\td\u{e9}\r\n")
        .response();
    for (file, expected) in [
        (
            "json.log",
            "{\"ua\":\"a\\\"b\\\\c\\td\u{e9}\",\"none\":\"\"}\n",
        ),
        ("raw.log", "a\"b\\c\td\u{e9}||\n"),
        ("default.log", "a\\x22b\\x5Cc\\x09d\\xC3\\xA9|-|\n"),
    ] {
        proxy.wait_log(file, "\n");
        assert_eq!(proxy.log(file), expected, "{file}");
    }
    proxy.wait_log("plain.log", "\n");
    let line = proxy.log("plain.log");
    let words = line.split_whitespace().collect::<Vec<_>>();
    assert_eq!(
        (words[0], words[2], words[4], words[5]),
        ("200", "5", "2", ".")
    );
    assert!(words[1].parse::<usize>().unwrap() > 5);
    assert!(words[6].parse::<f64>().unwrap() > 1e9 && words[7].parse::<f64>().unwrap() < 5.0);
}

#[test]
fn conditions_and_variables_in_the_path() {
    let proxy = Config::http(
        "map $status $bad { ~^[45] 1; default 0; }
         log_format uri '$uri';
         server { listen %%ADDR_0%%;
            access_log %%DIR%%/bad.log uri if=$bad;
            access_log %%DIR%%/$arg_name.log uri;
            location / { return 200 x; }
            location /bad { return 404; } }",
    )
    // A path with variables is opened only where the root exists.
    .file("html/x", "")
    .start();
    proxy.get("/good?name=one");
    proxy.get("/bad?name=two");
    proxy.wait_log("bad.log", "/bad\n");
    proxy.wait_log("two.log", "/bad\n");
    assert_eq!(proxy.log("bad.log"), "/bad\n");
    assert_eq!(proxy.log("one.log"), "/good\n");
}

/// A proxy whose log has its path from the request, with a cache of open files.
fn caching(rules: &str) -> crate::support::Proxy {
    let config = Config::http(&format!(
        "log_format uri '$uri';
         server {{ listen %%ADDR_0%%; root %%DIR%%/html;
            location / {{ open_log_file_cache {rules}; access_log %%DIR%%/logs/$arg_to.log uri; return 200 x; }} }}"
    ))
    .file("html/x", "")
    .file("logs/x", "");
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(config.dir().join("logs"), everybody).unwrap();
    config.start()
}

/// Puts a line into a log and waits until it is there.
fn write_to(proxy: &crate::support::Proxy, log: &str, line: &str) {
    proxy.get(&format!("{line}?to={log}"));
    proxy.wait_log(&format!("logs/{log}.log"), &format!("{line}\n"));
}

#[test]
fn a_kept_log_file_receives_until_it_is_looked_at_again() {
    let proxy = caching("max=10 valid=2s");
    let path = |name: &str| proxy.path(&format!("logs/{name}"));
    write_to(&proxy, "a", "/first");
    std::fs::rename(path("a.log"), path("moved")).unwrap();
    proxy.get("/second?to=a");
    proxy.wait_log("logs/moved", "/first\n/second\n");
    assert!(!path("a.log").exists());
    wait::until("the path to be looked at", || {
        proxy.get("/third?to=a");
        path("a.log").exists()
    });
    proxy.get("/fourth?to=a");
    proxy.wait_log("logs/a.log", "/fourth\n");
    assert!(!proxy.log("logs/moved").contains("/fourth"));
}

#[test]
fn log_files_are_kept_by_use() {
    let proxy = caching("max=3 inactive=1m valid=1m min_uses=2");
    // `rare` comes when three are there, of which `oldest` was used longest ago.
    for (round, log) in [
        "one", "one", "oldest", "oldest", "one", "two", "two", "rare",
    ]
    .iter()
    .enumerate()
    {
        write_to(&proxy, log, &format!("/{round}"));
    }
    std::fs::rename(proxy.path("logs"), proxy.path("away")).unwrap();
    for log in ["oldest", "rare", "two", "one"] {
        proxy.get(&format!("/late?to={log}"));
    }
    // Lines are written in their order: with the last one there, none is to come.
    proxy.wait_log("away/one.log", "/late\n");
    let has = |log: &str| proxy.log(&format!("away/{log}.log")).contains("/late\n");
    assert_eq!(
        ["oldest", "rare", "two"].map(has),
        [false, false, true],
        "kept are those that are used often, and last"
    );
}

#[test]
fn usr1_opens_kept_log_files_again() {
    let proxy = caching("max=10 valid=1h");
    let path = |name: &str| proxy.path(&format!("logs/{name}"));
    write_to(&proxy, "a", "/first");
    std::fs::rename(path("a.log"), path("moved")).unwrap();
    proxy.signal(USR1);
    wait::until("the new file", || {
        proxy.get("/later?to=a");
        path("a.log").exists()
    });
}

#[test]
fn without_a_cache_each_line_finds_its_path() {
    let proxy = caching("off");
    let path = |name: &str| proxy.path(&format!("logs/{name}"));
    write_to(&proxy, "a", "/first");
    std::fs::rename(path("a.log"), path("moved")).unwrap();
    write_to(&proxy, "a", "/second");
    assert_eq!(proxy.log("logs/moved"), "/first\n");
}

#[test]
fn buffered_logs_are_written_in_time() {
    let proxy = Config::http(
        "log_format uri '$uri';
         server { listen %%ADDR_0%%; access_log %%DIR%%/access.log uri buffer=64k flush=300ms; location / { return 200 x; } }",
    )
    .start();
    proxy.get("/a");
    proxy.wait_log("access.log", "/a\n");
    proxy.get("/b");
    let path = proxy.path("access.log");
    // What is still buffered at the end is not lost: the directory lives as long as the copy below needs it.
    let kept = tempfile::tempdir().unwrap();
    let link = kept.path().join("access.log");
    std::fs::hard_link(&path, &link).unwrap();
    drop(proxy);
    assert_eq!(std::fs::read_to_string(link).unwrap(), "/a\n/b\n");
}

#[test]
fn logs_are_opened_again() {
    let proxy = Config::http(
        "log_format uri '$uri';
         server { listen %%ADDR_0%%; access_log %%DIR%%/access.log uri; location / { return 200 x; } }",
    )
    .start();
    proxy.get("/before");
    proxy.wait_log("access.log", "/before\n");
    std::fs::rename(proxy.path("access.log"), proxy.path("access.log.1")).unwrap();
    proxy.signal(USR1);
    wait::until("the new file", || proxy.path("access.log").exists());
    wait::until("the worker to write there", || {
        proxy.get("/after");
        proxy.log("access.log").contains("/after\n")
    });
    assert!(proxy.log("access.log.1").starts_with("/before\n"));
}

#[test]
fn syslog_gets_lines() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(crate::support::LIMIT))
        .unwrap();
    let proxy = Config::http(
        "log_format uri '$uri';
         server { listen %%ADDR_0%%; access_log syslog:server=%%syslog%%,facility=local7,tag=ours,severity=info uri; location / { return 200 x; } }",
    )
    .set("syslog", socket.local_addr().unwrap())
    .start();
    proxy.get("/told");
    let mut buf = [0; 2048];
    let n = socket.recv(&mut buf).unwrap();
    let line = String::from_utf8_lossy(&buf[..n]).into_owned();
    assert!(line.starts_with("<190>"), "{line}");
    assert!(
        line.contains(" ours: ") && line.ends_with("/told"),
        "{line}"
    );
}

#[test]
fn an_error_line_has_its_known_shape() {
    let proxy =
        Config::server("server_name s.example; location / { proxy_pass http://%%ADDR_1%%; }")
            .logs("connect() failed")
            .start();
    let mut client = proxy.client();
    let from = client.local_addr();
    client
        .send("GET /p HTTP/1.1\r\nHost: h.example\r\n\r\n")
        .response();
    proxy.wait_log("error.log", "connect() failed");
    let log = proxy.error_log();
    let line = log
        .lines()
        .find(|l| l.contains("connect() failed"))
        .unwrap();
    let shape = format!(
        r#"^\d{{4}}/\d\d/\d\d \d\d:\d\d:\d\d \[error\] \d+#\d+: \*\d+ connect\(\) failed \(111: Connection refused\) while connecting to upstream, client: {}, server: s\.example, request: "GET /p HTTP/1\.1", upstream: "http://{}/p", host: "h\.example"$"#,
        regex::escape(&from.ip().to_string()),
        regex::escape(&proxy.addr_of(1).to_string())
    );
    assert!(regex::Regex::new(&shape).unwrap().is_match(line), "{line}");
}

#[test]
fn standard_error_can_be_the_log_of_a_location() {
    let proxy = Config::server("location / { error_log stderr; root %%DIR%%/none; }").start();
    proxy.get("/missing");
    proxy.wait_log("stderr", "missing\" failed (2: No such file or directory)");
    assert!(!proxy.error_log().contains("missing"));
}

#[test]
fn no_line_end_gets_into_a_log_line() {
    let proxy = Config::http(
        "log_format raw escape=none '[$uri]';
         server { listen %%ADDR_0%%; access_log %%DIR%%/raw.log raw; access_log %%DIR%%/access.log; location / { return 404; } }",
    )
    .start();
    proxy.get("/a%0aforged%0d%0aline");
    proxy.wait_log("access.log", "\n");
    proxy.wait_log("raw.log", "\n");
    assert_eq!(proxy.log("access.log").lines().count(), 1);
    assert_eq!(proxy.log("raw.log").lines().count(), 1);
}

#[test]
fn rewrites_are_logged_on_demand() {
    let proxy = Config::server("rewrite_log on; location / { rewrite ^/a /b; return 200 $uri; }")
        .level("notice")
        .logs("\"^/a\" matches \"/a\"")
        .logs("rewritten data: \"/b\"")
        .start();
    assert_eq!(proxy.get("/a").text(), "/b");
}

#[test]
fn a_log_of_the_upstream_family() {
    let origin = Origin::text("12345");
    let proxy = Config::http(
        "log_format up '$upstream_status $upstream_response_length';
         server { listen %%ADDR_0%%; access_log %%DIR%%/access.log up; location / { proxy_pass http://%%o%%; } }",
    )
    .set("o", origin.addr())
    .start();
    proxy.get("/");
    proxy.wait_log("access.log", "200 5\n");
}
