//! What operators do to a running server: `ringx show`, `set`, `-s reload` and its verdict, over the control socket.

use crate::support::proxy::{HUP, KILL, run_bare};
use crate::support::{Config, Origin, Proxy, wait};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::process::Output;

/// Runs a subcommand on the configuration of a running proxy.
pub(super) fn ringx(proxy: &Proxy, words: &[&str]) -> Output {
    let file = proxy.path("ringx.conf").display().to_string();
    let mut all = words.to_vec();
    all.extend(["-c", &file]);
    run_bare(&all)
}

/// What a subcommand that succeeds prints.
#[track_caller]
pub(super) fn said(proxy: &Proxy, words: &[&str]) -> String {
    let output = ringx(proxy, words);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a subcommand that fails says.
#[track_caller]
fn refused(proxy: &Proxy, words: &[&str]) -> String {
    let output = ringx(proxy, words);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Shards say twice a second what they have.
#[track_caller]
pub(super) fn wait_for_peers(proxy: &Proxy, origin: &Origin) {
    let addr = origin.addr().to_string();
    wait::until("the shards' own numbers", || {
        said(proxy, &["show", "peers"]).contains(&addr)
    });
}

#[test]
fn show_tells_what_the_server_does() {
    let origin = Origin::text("hello");
    let proxy = Config::http(
        "upstream app { server %%o%%; server 127.0.0.1:1 backup weight=7; }
         proxy_cache_path %%DIR%%/store keys_zone=pages:1m;
         limit_req_zone $binary_remote_addr zone=clients:1m rate=100r/s; limit_req zone=clients burst=9;
         server { listen %%ADDR_0%%; server_name example.com;
            location / { proxy_pass http://app; } location /gone { return 410; } }",
    )
    .set("o", origin.addr())
    .workers(2)
    .start();
    assert_eq!(proxy.get("/").text(), "hello");
    assert_eq!(proxy.get("/gone").status(), 410);
    wait::until("both to be counted", || {
        said(&proxy, &["show", "status"]).contains("requests: 2\n")
    });
    let status = said(&proxy, &["show", "status"]);
    assert!(
        status.contains("configuration 1") && status.contains("2 shards"),
        "{status}"
    );
    wait_for_peers(&proxy, &origin);
    let peers = said(&proxy, &["show", "peers"]);
    let line = |of: &str, what: &str| -> Vec<String> {
        let line = of.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{what} in {of}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    let first = line(&peers, &origin.addr().to_string());
    assert_eq!(
        first[..3],
        [
            "app".to_owned(),
            origin.addr().to_string(),
            "yes".to_owned()
        ]
    );
    assert!(
        line(&peers, "127.0.0.1:1 ").contains(&"7".to_owned()),
        "{peers}"
    );
    let servers = said(&proxy, &["show", "servers"]);
    assert_eq!(
        line(&servers, "/gone")[..4],
        ["example.com", "/gone", "(rules)", "1"]
    );
    assert_eq!(
        said(&proxy, &["show", "shards"]).lines().count(),
        3,
        "a head and two shards"
    );
    assert!(said(&proxy, &["show", "cache"]).contains("\npages "));
    assert!(said(&proxy, &["show", "limits"]).contains("\nclients "));
    assert_eq!(said(&proxy, &["show", "certificates"]), "none\n");
    let json = said(&proxy, &["show", "peers", "--json"]);
    assert!(json.starts_with("[{\"upstream\":\"app\","), "{json}");
    let config = said(&proxy, &["show", "config"]);
    assert!(config.contains("return 410;"), "{config}");
    assert!(config.starts_with("# configuration file "), "{config}");
}

#[test]
fn the_rights_of_the_socket_are_its_access_control() {
    let text = |directive: &str| {
        format!(
            "daemon off; worker_processes 1; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info; {directive}
             events {{}} http {{ access_log off; server {{ listen %%ADDR_0%%; return 200 ok; }} }}"
        )
    };
    let mut proxy = Config::main(&text("")).start();
    let mode = |name: &str| {
        let data = std::fs::symlink_metadata(proxy.path(name)).ok()?;
        assert!(data.file_type().is_socket());
        Some(data.permissions().mode() & 0o777)
    };
    assert_eq!(mode("ringx.control"), Some(0o600));
    // It moves with a reload, and the reload is still told of on the old one.
    proxy.rewrite(&text("control unix:%%DIR%%/other.sock mode=0660;"));
    proxy.reload_until(|| proxy.path("other.sock").exists());
    let mode = |proxy: &Proxy, name: &str| {
        let data = std::fs::symlink_metadata(proxy.path(name)).ok()?;
        Some(data.permissions().mode() & 0o777)
    };
    wait::until("the old one to go", || {
        mode(&proxy, "ringx.control").is_none()
    });
    assert_eq!(mode(&proxy, "other.sock"), Some(0o660));
    assert!(said(&proxy, &["show", "status"]).contains("configuration 2"));
    proxy.rewrite(&text("control off;"));
    proxy.reload_until(|| mode(&proxy, "other.sock").is_none());
    assert!(refused(&proxy, &["show", "status"]).contains("switches the control socket off"));
    // As with nginx: the signal is sent, and nobody waits.
    assert!(ringx(&proxy, &["-s", "reload"]).status.success());
    // A file of somebody else is no place for a socket.
    std::fs::write(proxy.path("mine"), "precious").unwrap();
    proxy.rewrite(&text("control unix:%%DIR%%/mine;"));
    proxy.announce("mine\" cannot be made");
    proxy.signal(HUP);
    proxy.wait_log("error.log", "mine\" cannot be made");
    assert_eq!(proxy.log("mine"), "precious");
    assert_eq!(proxy.get("/").text(), "ok");
}

#[test]
fn a_peer_is_set_up_down_and_to_a_weight_over_reloads_and_deaths() {
    let (one, two) = (Origin::text("one"), Origin::text("two"));
    let mut proxy = Config::http(
        "upstream app { server %%a%%; server %%b%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app; } }",
    )
    .set("a", one.addr())
    .set("b", two.addr())
    .workers(2)
    .start();
    let (a, b) = (one.addr().to_string(), two.addr().to_string());
    let answers = |proxy: &Proxy, count: usize| {
        let texts: Vec<String> = (0..count)
            .map(|_| proxy.get("/").text().to_owned())
            .collect();
        let of = |name: &str| texts.iter().filter(|text| *text == name).count();
        (of("one"), of("two"))
    };
    let set = |proxy: &Proxy, words: &[&str]| {
        let all = [&["set", "peer", "app"], words].concat();
        said(proxy, &all)
    };
    let told = set(&proxy, &[&a, "state=down"]);
    assert_eq!(told, format!("{a} of app: state=down\n"));
    assert_eq!(answers(&proxy, 8), (0, 8));
    assert!(ringx(&proxy, &["-s", "reload"]).status.success());
    assert_eq!(answers(&proxy, 8), (0, 8), "a reload keeps it");
    let old = proxy.workers()[0];
    proxy.announce("exited on signal 9");
    proxy.signal_to(old, KILL);
    wait::until("another worker", || {
        proxy.workers().first().is_some_and(|pid| *pid != old)
            && ringx(&proxy, &["show", "status"]).status.success()
    });
    assert_eq!(answers(&proxy, 8), (0, 8), "another worker is told too");
    set(&proxy, &[&a, "state=up", "weight=3"]);
    let (first, second) = answers(&proxy, 80);
    assert!(first > 2 * second && second > 0, "{first} and {second}");
    set(&proxy, &[&b, "state=drain"]);
    assert_eq!(answers(&proxy, 8), (8, 0));
    set(&proxy, &[&b, "state=auto"]);
    set(&proxy, &[&a, "state=auto"]);
    let (first, second) = answers(&proxy, 40);
    assert!((15..=25).contains(&first), "{first} and {second}");
    for (words, why) in [
        (
            &["nope", &a, "state=up"][..],
            "no upstream \"nope\" has a peer",
        ),
        (
            &["app", "127.0.0.1:9", "state=up"],
            "has a peer \"127.0.0.1:9\"",
        ),
        (
            &["app", &a, "state=up", "state=asleep"],
            "\"state=asleep\" cannot be set",
        ),
        (&["app", &a, "weight=0"], "\"0\" is no weight"),
    ] {
        let all = [&["set", "peer"], words].concat();
        let text = refused(&proxy, &all);
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn a_reload_says_what_became_of_it() {
    let version = |n: u32| format!("server {{ listen %%ADDR_0%%; return 200 v{n}; }}");
    let mut proxy = Config::http(&version(1)).start();
    for n in 2..6 {
        proxy.rewrite_http(&version(n));
        let output = ringx(&proxy, &["-s", "reload"]);
        assert!(output.status.success());
        assert_eq!(
            proxy.get("/").text(),
            format!("v{n}"),
            "it is served by then"
        );
    }
    // What the signalling process finds itself, and what only the server can.
    for (bad, message) in [
        (
            "server { listen %%ADDR_0%%; nonsense on; }",
            "unknown directive \"nonsense\"",
        ),
        (
            "server { listen 192.0.2.1:%%PORT_3%%; return 200 x; }",
            "bind() to 192.0.2.1:",
        ),
    ] {
        proxy.rewrite_http(bad);
        let text = refused(&proxy, &["-s", "reload"]);
        assert!(text.contains("[emerg]") && text.contains(message), "{text}");
        assert_eq!(proxy.get("/").text(), "v5", "{bad}");
    }
    proxy.announce("bind() to 192.0.2.1:");
    proxy.rewrite_http(&version(7));
    assert!(ringx(&proxy, &["-s", "reload"]).status.success());
    assert_eq!(proxy.get("/").text(), "v7");
}

#[test]
fn tail_tells_the_last_requests_with_their_steps() {
    let origin = Origin::text("hello");
    let proxy = Config::http(
        "server { listen %%ADDR_0%%; server_name example.com;
            location / { proxy_pass http://%%o%%; } location = /gone { return 503; } location ~ \\.php$ { return 200 php; } }",
    )
    .set("o", origin.addr())
    .workers(2)
    .start();
    proxy.get("/first?a=1");
    proxy.get("/gone");
    proxy.get("/a.php");
    wait::until("all to be noted", || {
        said(&proxy, &["tail"]).lines().count() == 3
    });
    let text = said(&proxy, &["tail"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains(" 127.0.0.1 GET ") && lines[0].contains("/first?a=1 200 "),
        "{text}"
    );
    assert!(lines[0].contains(&format!("> {}", origin.addr())), "{text}");
    let json = said(&proxy, &["tail", "--json", "-n", "3"]);
    let number = |line: &str, name: &str| -> u64 {
        let (_, rest) = line.split_once(&format!("\"{name}\":")).unwrap();
        rest[..rest.find([',', '}']).unwrap()].parse().unwrap()
    };
    let line = json
        .lines()
        .find(|line| line.contains("/first?a=1"))
        .unwrap();
    let steps = ["head_us", "connect_us", "header_us", "first_us", "last_us"];
    let steps = steps.map(|name| number(line, name));
    assert!(steps.is_sorted() && steps[0] > 0, "{line}");
    for (filter, want) in [
        (&["--status", "5xx"][..], vec!["/gone"]),
        (&["--status", "200"], vec!["/first?a=1", "/a.php"]),
        (&["--location", "~ \\.php$"], vec!["/a.php"]),
        (&["--location", "/gone"], vec!["/gone"]),
        (&["--client", "10.0.0.0/8"], vec![]),
        (&["--client", "127.0.0.0/8", "-n", "1"], vec!["/a.php"]),
        (&["--host", "example.org"], vec![]),
        (&["--slow", "1m"], vec![]),
    ] {
        let all = [&["tail"], filter].concat();
        let text = said(&proxy, &all);
        let targets: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(' ').nth(3))
            .map(|url| &url[url.find('/').unwrap()..])
            .collect();
        assert_eq!(targets, want, "{filter:?}");
    }
}

#[test]
fn tail_follows_and_the_recorder_can_be_off() {
    let mut proxy =
        Config::http("server { listen %%ADDR_0%%; location / { return 200 ok; } }").start();
    let file = proxy.path("ringx.conf");
    let mut follower = std::process::Command::new(env!("CARGO_BIN_EXE_ringx"))
        .args(["tail", "-f", "--json", "--status", "2xx", "-c"])
        .arg(&file)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().unwrap()));
    for n in 0..3 {
        proxy.get(&format!("/{n}"));
        let line = lines.next().unwrap().unwrap();
        assert!(line.contains(&format!("\"target\":\"/{n}\"")), "{line}");
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
    let text = "daemon off; worker_processes 1; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info;
         flight_recorder off; events {} http { access_log off; server { listen %%ADDR_0%%; return 200 ok; } }";
    proxy.rewrite(text);
    assert!(ringx(&proxy, &["-s", "reload"]).status.success());
    proxy.get("/");
    assert_eq!(said(&proxy, &["tail"]), "");
}
