//! The command line: tests, versions, mistakes and signals to a running server.

use crate::support::Config;
use crate::support::proxy::{Ran, run_bare};

const FINE: &str = "server { listen %%ADDR_0%%; return 200 x; }";

#[test]
fn a_good_file_is_told_so() {
    let ran = Config::http(FINE).test();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert!(
        ran.stderr()
            .contains("the configuration file DIR/ringx.conf syntax is ok"),
        "{}",
        ran.stderr()
    );
    assert!(
        ran.stderr()
            .contains("configuration file DIR/ringx.conf test is successful")
    );
    let quiet = Config::http(FINE).run(&["-t", "-q"]);
    assert_eq!(
        (quiet.code(), quiet.stderr().contains("syntax is ok")),
        (Some(0), false)
    );
}

#[test]
fn a_dump_names_each_file() {
    let ran = Config::http("include %%DIR%%/part.conf;")
        .file(
            "part.conf",
            "# the part\nserver { return 200 x; listen 127.0.0.1:1; }\n",
        )
        .run(&["-T"]);
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    let out = ran.stdout();
    assert!(
        out.contains("# configuration file DIR/ringx.conf:\n"),
        "{out}"
    );
    assert!(
        out.contains("# configuration file DIR/part.conf:\n# the part\n"),
        "{out}"
    );
}

#[track_caller]
fn refused(ran: &Ran, message: &str) {
    let stderr = ran.stderr();
    assert_eq!(ran.code(), Some(1), "{stderr}");
    assert!(stderr.contains(message), "{message:?} is not in:\n{stderr}");
    assert!(
        stderr.contains("configuration file DIR/ringx.conf test failed"),
        "{stderr}"
    );
}

/// The inside of an `http` block that begins on line 8, and what is said of it.
const MISTAKES: &[(&str, &str)] = &[
    (
        "nonsense on;",
        "unknown directive \"nonsense\" in DIR/ringx.conf:8",
    ),
    (
        "server { proxy_pass http://x; }",
        "\"proxy_pass\" directive is not allowed here in DIR/ringx.conf:8",
    ),
    (
        "server { root; }",
        "invalid number of arguments in \"root\" directive in DIR/ringx.conf:8",
    ),
    (
        "server { root a; root b; }",
        "\"root\" directive is duplicate in DIR/ringx.conf:8",
    ),
    (
        "server { root a { } }",
        "directive \"root\" is not terminated by \";\" in DIR/ringx.conf:8",
    ),
    (
        "server;",
        "directive \"server\" has no opening \"{\" in DIR/ringx.conf:8",
    ),
    ("} }", "unexpected \"}\" in DIR/ringx.conf:8"),
    (
        "server {",
        "unexpected end of file, expecting \"}\" in DIR/ringx.conf:10",
    ),
    (
        "proxy_buffering yes;",
        "invalid value \"yes\" in \"proxy_buffering\" directive, it must be \"on\" or \"off\" in DIR/ringx.conf:8",
    ),
    (
        "proxy_read_timeout 1y;",
        "\"proxy_read_timeout\" directive invalid value",
    ),
    (
        "client_max_body_size 1x;",
        "\"client_max_body_size\" directive invalid value",
    ),
    (
        "proxy_buffer_size 64k; proxy_buffers 4 4k; server { location / { proxy_pass http://127.0.0.1; } }",
        "\"proxy_busy_buffers_size\" must be",
    ),
    (
        "include missing.conf;",
        "open() \"DIR/missing.conf\" failed (2: No such file or directory) in DIR/ringx.conf:8",
    ),
    (
        "server { location /a {} location /a {} }",
        "duplicate location \"/a\" in DIR/ringx.conf:8",
    ),
    (
        "server { location ~ ^/a { proxy_pass http://127.0.0.1/x; } }",
        "\"proxy_pass\" cannot have URI part in location given by regular expression",
    ),
    (
        "server { location / { proxy_pass ftp://h; } }",
        "invalid URL prefix in DIR/ringx.conf:8",
    ),
    (
        "strict_dns on; server { location / { proxy_pass http://no.such.invalid; } }",
        "host not found in upstream \"no.such.invalid\" in DIR/ringx.conf:8",
    ),
    (
        "upstream x { server 127.0.0.1:1; } server { location / { proxy_pass http://x:8080; } }",
        "upstream \"x\" may not have port 8080 in DIR/ringx.conf:8",
    ),
    (
        "upstream x { } server { location / { proxy_pass http://x; } }",
        "no servers are inside upstream in DIR/ringx.conf:8",
    ),
    (
        "server { return 200 $nosuch; }",
        "unknown \"nosuch\" variable",
    ),
    (
        "upstream x { ip_hash; server 127.0.0.1:1 backup; }",
        "balancing method does not support parameter \"backup\" in DIR/ringx.conf:8",
    ),
    (
        "server { proxy_http_version 3.0; }",
        "invalid value \"3.0\"",
    ),
    (
        "log_format a x; log_format a y;",
        "duplicate \"log_format\" name \"a\"",
    ),
    ("access_log logs/x nosuch;", "unknown log format \"nosuch\""),
    (
        "server { listen 127.0.0.1:1; listen 127.0.0.1:1; }",
        "a duplicate listen 127.0.0.1:1 in DIR/ringx.conf:8",
    ),
    (
        "server { listen 127.0.0.1:1 default_server; } server { listen 127.0.0.1:1 default_server; }",
        "a duplicate default server for 127.0.0.1:1 in DIR/ringx.conf:8",
    ),
    (
        "server { location / { return 99999; } }",
        "invalid return code \"99999\"",
    ),
    ("server { if ($a { } }", "invalid condition"),
    ("server { location ~ ( { } }", "in DIR/ringx.conf:8"),
    (
        "server { rewrite ^ /x sometimes; }",
        "invalid parameter \"sometimes\"",
    ),
];

#[test]
fn mistakes_have_their_known_words() {
    for (text, message) in MISTAKES {
        refused(&Config::http(text).test(), message);
    }
}

#[test]
fn an_empty_file_is_no_configuration() {
    let ran = Config::main("# nothing yet\n").test();
    refused(&ran, "no \"events\" section in configuration");
}

#[test]
fn doubtful_things_are_warned_of() {
    let ran = Config::http("server { listen 127.0.0.1:1; server_name a; } server { listen 127.0.0.1:1; server_name a; }").test();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert!(ran.stderr().contains("[warn]"));
    assert!(
        ran.stderr()
            .contains("conflicting server name \"a\" on 127.0.0.1:1, ignored")
    );
}

#[test]
fn includes_sort_and_may_find_nothing() {
    let proxy = Config::server("include %%DIR%%/none/*.conf; include parts/*.conf; return 200 $v;")
        .file("parts/b.conf", "set $v \"${v}b\";")
        .file("parts/a.conf", "set $v a;")
        .start();
    assert_eq!(proxy.get("/").text(), "ab");
}

#[test]
fn quoting_as_in_the_guides() {
    let proxy = Config::server(
        "location / { add_header A \"a;b\" always; add_header B 'c \"d\"'; add_header C e\\;f; add_header D \"max-age=1; preload\"; add_header E \"\\\"q\\\"\"; # a comment; with { braces
            return 200 \"${arg_x}y\"; }",
    )
    .start();
    let got = proxy.get("/?x=1");
    for (name, value) in [
        ("a", "a;b"),
        ("b", "c \"d\""),
        ("c", "e\\;f"),
        ("d", "max-age=1; preload"),
        ("e", "\"q\""),
    ] {
        assert_eq!(got.field(name), Some(value), "{name}");
    }
    assert_eq!(got.text(), "1y");
}

#[test]
fn versions_and_help_leave_with_0() {
    for (args, text) in [
        (&["-v"][..], "version"),
        (&["-V"], "configure arguments:"),
        (&["-h"], "-t"),
    ] {
        let output = run_bare(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        let said = [output.stderr, output.stdout].concat();
        assert!(String::from_utf8_lossy(&said).contains(text), "{args:?}");
    }
}

#[test]
fn an_unknown_option_is_refused() {
    let output = run_bare(&["-z"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("invalid option: \"z\""));
}

#[test]
fn signals_by_command_line() {
    let mut proxy = Config::http("server { listen %%ADDR_0%%; return 200 v1; }").start();
    proxy.rewrite_http("server { listen %%ADDR_0%%; return 200 v2; }");
    let conf = proxy.path("ringx.conf").display().to_string();
    let dir = proxy.path("").display().to_string();
    let send = |what: &str| run_bare(&["-p", &dir, "-c", &conf, "-s", what]);
    assert_eq!(send("reload").status.code(), Some(0));
    crate::support::wait::until("the new configuration", || proxy.get("/").text() == "v2");
    assert_eq!(send("nonsense").status.code(), Some(1));
    assert_eq!(send("quit").status.code(), Some(0));
    assert_eq!(proxy.wait_end(), Some(0));
}

#[test]
fn signals_without_a_server_fail() {
    let ran = Config::http(FINE).run(&["-s", "reload"]);
    assert_eq!(ran.code(), Some(1));
    assert!(
        ran.stderr()
            .contains("ringx.pid\" failed (2: No such file or directory)"),
        "{}",
        ran.stderr()
    );
}

#[test]
fn directives_from_the_command_line() {
    let proxy = Config::http("server { listen %%ADDR_0%%; return 200 x; }")
        .arg("-g")
        .arg("worker_shutdown_timeout 1s;")
        .start();
    assert_eq!(proxy.get("/").text(), "x");
}
