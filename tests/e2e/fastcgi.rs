//! FastCGI against origins that are scripts of records: what a request carries, what an answer may do, and what the
//! client sees of origins that fail or lie. With a real application: `php.rs`.

use crate::support::fastcgi::{self, END, STDERR, STDOUT, answer, end, padded, record};
use crate::support::wire::End;
use crate::support::{Config, Origin, Proxy};
use std::sync::{Arc, Mutex};

type Requests = Arc<Mutex<Vec<fastcgi::Request>>>;

/// An origin that answers every request of a connection with the same bytes, and keeps what it was asked.
fn origin(bytes: impl Into<Vec<u8>>) -> (Origin, Requests) {
    let bytes = bytes.into();
    let requests = Requests::default();
    let kept = Arc::clone(&requests);
    let origin = Origin::script(move |conn| {
        while let Some(request) = fastcgi::read(conn) {
            let keep = request.keep;
            kept.lock().unwrap().push(request);
            if !conn.send(&bytes) || !keep {
                return;
            }
        }
    });
    (origin, requests)
}

fn to(origin: &Origin, text: &str) -> Proxy {
    Config::server(text).set("origin", origin.addr()).start()
}

#[test]
fn parameters_are_those_of_the_configuration_then_the_clients_fields() {
    let (origin, requests) = origin(answer("Content-Type: text/plain\r\n\r\nhi"));
    let proxy = to(
        &origin,
        "underscores_in_headers on;
        fastcgi_param DROPPED_BY_INHERITANCE x;
        location / {
            fastcgi_pass %%origin%%;
            fastcgi_index index.php;
            fastcgi_split_path_info ^(.+\\.php)(/.+)$;
            fastcgi_param SCRIPT_NAME $fastcgi_script_name;
            fastcgi_param PATH_INFO $fastcgi_path_info;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param EMPTY $arg_none;
            fastcgi_param HTTPS $https if_not_empty;
            fastcgi_param HTTP_X_SET \"of $host\";
            fastcgi_param HTTP_X_GONE '';
            fastcgi_param HTTP_ACCEPT_LANGUAGE $arg_none if_not_empty;
        }",
    );
    let response = proxy
        .client()
        .send(
            "GET /a.php/b/c?d=e HTTP/1.1\r\nHost: Shop.Example:81\r\nX-Two: 1\r\nCookie: a=1\r\nX-two: 2\r\n\
             X-Set: client\r\nX-Gone: client\r\nAccept-Language: en\r\nX_Under: u\r\nCookie: b=2\r\n\
             Proxy: http://evil\r\nConnection: keep-alive\r\n\r\n",
        )
        .response();
    assert_eq!(response.text(), "hi");
    let pairs = |params: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |&(n, v): &(&str, &str)| (n.to_owned(), v.to_owned());
        params.iter().map(owned).collect()
    };
    let requests = requests.lock().unwrap();
    assert_eq!(
        requests[0].params,
        pairs(&[
            ("SCRIPT_NAME", "/a.php"),
            ("PATH_INFO", "/b/c"),
            ("QUERY_STRING", "d=e"),
            ("EMPTY", ""),
            ("HTTP_X_SET", "of shop.example"),
            ("HTTP_HOST", "shop.example:81"),
            ("HTTP_X_TWO", "1, 2"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_X_UNDER", "u"),
            ("HTTP_PROXY", "http://evil"),
            ("HTTP_CONNECTION", "keep-alive"),
        ])
    );
    assert!(!requests[0].keep && requests[0].body.is_empty());
}

#[test]
fn a_directory_gets_the_index_and_fields_can_stay_behind() {
    let (origin, requests) = origin(answer("\r\n"));
    let proxy = to(
        &origin,
        "location / {
            fastcgi_pass %%origin%%;
            fastcgi_index start.php;
            fastcgi_pass_request_headers off;
            fastcgi_pass_request_body off;
            fastcgi_param SCRIPT_FILENAME /srv$fastcgi_script_name;
            fastcgi_param HTTP_HOST $http_host;
        }",
    );
    let mut client = proxy.client();
    client.request("POST", "/dir/", "Content-Length: 4\r\nX-A: b\r\n");
    client.send("body").response();
    client.get("/dir/x").response();
    let requests = requests.lock().unwrap();
    let name = |i: usize| requests[i].param("SCRIPT_FILENAME").unwrap().to_owned();
    assert_eq!(
        (name(0), name(1)),
        ("/srv/dir/start.php".into(), "/srv/dir/x".into())
    );
    assert_eq!(requests[0].params.len(), 2);
    assert_eq!(requests[0].param("HTTP_HOST"), Some("localhost"));
    assert!(requests[0].body.is_empty());
}

#[test]
fn parameters_beyond_one_record_take_several() {
    let (origin, requests) = origin(answer("\r\nok"));
    let proxy = to(
        &origin,
        "large_client_header_buffers 8 32k;
        location / { fastcgi_pass %%origin%%; }",
    );
    let fields: String = (0..5)
        .map(|i| format!("X-{i}: {}\r\n", "v".repeat(20_000)))
        .collect();
    let response = proxy.client().request("GET", "/", &fields).response();
    assert_eq!(response.text(), "ok");
    let requests = requests.lock().unwrap();
    let records = &requests[0].param_records;
    assert!(records.len() == 3 && records[2] == 0, "{records:?}");
    for i in 0..5 {
        let value = requests[0].param(&format!("HTTP_X_{i}"));
        assert_eq!(value.map(str::len), Some(20_000));
    }
}

#[test]
fn connections_stay_open_with_keep_conn() {
    let (origin, requests) = origin(answer("\r\nok"));
    let config = Config::http(
        "upstream app { server %%origin%%; keepalive 2; }
        server {
            listen %%ADDR_0%%;
            location / { fastcgi_pass app; fastcgi_keep_conn on; }
            location /once { fastcgi_pass app; }
        }",
    );
    let proxy = config.set("origin", origin.addr()).start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").text(), "ok");
    }
    assert_eq!(origin.accepted(), 1);
    assert!(requests.lock().unwrap().iter().all(|r| r.keep));
    let head = proxy.client().request("HEAD", "/", "").response();
    assert_eq!(head.status(), 200);
    proxy.get("/once");
    assert!(!requests.lock().unwrap().last().unwrap().keep);
}

#[test]
fn what_stands_behind_an_answer_ends_the_connection() {
    let mut bytes = answer("\r\nok");
    bytes.extend_from_slice(b"more");
    let (origin, _) = origin(bytes);
    let config = Config::http(
        "upstream app { server %%origin%%; keepalive 2; }
        server { listen %%ADDR_0%%; location / { fastcgi_pass app; fastcgi_keep_conn on; } }",
    );
    let proxy = config.set("origin", origin.addr()).start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").text(), "ok");
    }
    assert_eq!(origin.accepted(), 3);
}

/// What an origin does, and what becomes of it: bytes to send, whether it then waits for the proxy to go, the status, what
/// the client gets of the body, and how that ends; the error log's words.
struct Case {
    bytes: Vec<u8>,
    waits: bool,
    status: u16,
    body: &'static str,
    end: End,
    log: &'static str,
}

fn failing(bytes: Vec<u8>, log: &'static str) -> Case {
    Case {
        bytes,
        waits: false,
        status: 502,
        body: "",
        end: End::Whole,
        log,
    }
}

fn broken(bytes: Vec<u8>, body: &'static str, log: &'static str) -> Case {
    Case {
        bytes,
        waits: false,
        status: 200,
        body,
        end: End::Cut,
        log,
    }
}

const WHILE_HEAD: &str = "while reading response header from upstream";

/// Records of other requests.
fn strange_ids() -> [Vec<u8>; 2] {
    let (mut low, mut high) = (record(STDOUT, "x"), record(STDOUT, "x"));
    low[3] = 2;
    high[2] = 7;
    [low, high]
}

/// Failures before a head is whole: another status.
fn failures_of_heads() -> Vec<Case> {
    let [wrong_id, wrong_high_id] = strange_ids();
    vec![
        failing(
            vec![],
            "upstream prematurely closed connection while reading response header",
        ),
        failing(
            record(STDOUT, "Content-Type: a"),
            "upstream prematurely closed connection while reading response header",
        ),
        failing(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
            "upstream sent unsupported FastCGI protocol version: 72 while reading response header",
        ),
        failing(
            record(9, "x"),
            "upstream sent invalid FastCGI record type: 9 while reading response header",
        ),
        failing(
            wrong_id,
            "upstream sent unexpected FastCGI request id low byte: 2 while reading",
        ),
        failing(
            wrong_high_id,
            "upstream sent unexpected FastCGI request id high byte: 7 while reading",
        ),
        failing(
            record(END, [0; 8]),
            "upstream sent unexpected FastCGI record: 3 while reading response header",
        ),
        failing(
            record(STDOUT, ""),
            "upstream prematurely closed FastCGI stdout while reading response header",
        ),
        failing(
            answer("Status: none\r\n\r\n"),
            "upstream sent invalid status \"none\" while reading response header",
        ),
        failing(
            answer("Bad\u{0}: x\r\n\r\n"),
            "upstream sent invalid header: \"Bad\\x00...\" while reading response header",
        ),
        failing(
            answer(format!("X: {}\r\n\r\n", "x".repeat(10_000))),
            "upstream sent too big header while reading response header",
        ),
    ]
}

/// Failures behind a good head: the client has its status, and all that is left is to show that the end is missing.
fn failures_of_bodies() -> Vec<Case> {
    let head = || record(STDOUT, "Content-Type: a/b\r\n\r\nstart ");
    let sized = || record(STDOUT, "Content-Length: 20\r\n\r\nstart ");
    let and = |first: Vec<u8>, second: Vec<u8>| [first, second].concat();
    let [wrong_id, _] = strange_ids();
    let mut unfinished = record(STDOUT, "promised more than this");
    unfinished.truncate(16);
    vec![
        broken(
            head(),
            "start ",
            "upstream prematurely closed connection while reading upstream",
        ),
        broken(
            and(head(), unfinished),
            "start promised",
            "upstream prematurely closed connection while reading upstream",
        ),
        broken(
            and(head(), wrong_id),
            "start ",
            "upstream sent unexpected FastCGI request id low byte: 2 while reading upstream",
        ),
        broken(
            and(head(), b"\x01\x06garbage".to_vec()),
            "start ",
            "upstream sent unexpected FastCGI request id high byte: 103 while reading upstream",
        ),
        broken(
            and(sized(), end()),
            "start ",
            "upstream prematurely closed FastCGI stdout while reading upstream",
        ),
        broken(
            and(sized(), record(END, [0; 8])),
            "start ",
            "upstream prematurely closed FastCGI request while reading upstream",
        ),
        Case {
            waits: true,
            ..broken(
                head(),
                "start ",
                "upstream timed out (110: Connection timed out) while reading upstream",
            )
        },
        Case {
            waits: true,
            status: 504,
            ..failing(
                record(STDOUT, "Content-Type: a"),
                "upstream timed out (110: Connection timed out) while reading response header",
            )
        },
    ]
}

#[test]
fn origins_that_fail_or_lie() {
    for buffering in ["on", "off"] {
        for case in failures_of_heads().into_iter().chain(failures_of_bodies()) {
            let (bytes, waits) = (case.bytes.clone(), case.waits);
            let origin = Origin::script(move |conn| {
                if fastcgi::read(conn).is_some() {
                    conn.send(&bytes);
                    if waits {
                        conn.rest();
                    }
                }
            });
            let text = "location / {
                fastcgi_pass %%origin%%;
                fastcgi_read_timeout %%timeout%%;
                fastcgi_buffering %%buffering%%;
            }";
            let config = Config::server(text)
                .set("origin", origin.addr())
                .set("buffering", buffering)
                .set("timeout", if waits { "200ms" } else { "60s" })
                .logs(case.log);
            let proxy = config.start();
            let response = proxy.get("/");
            assert_eq!(response.status(), case.status, "{}", case.log);
            assert_eq!(response.end, case.end, "{}", case.log);
            if case.status == 200 {
                assert_eq!(response.text(), case.body, "{}", case.log);
            }
            drop(proxy);
        }
    }
}

#[test]
fn more_than_was_announced_is_left_out() {
    let bytes = answer("Content-Length: 5\r\n\r\nhello, and more");
    let (origin, _) = origin(bytes);
    let proxy = to(&origin, "location / { fastcgi_pass %%origin%%; }");
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/").response();
        assert_eq!((response.text(), response.end), ("hello", End::Whole));
    }
    let text = "upstream sent more data than specified in \"Content-Length\" header while reading upstream";
    proxy.wait_log("error.log", text);
}

#[test]
fn a_flood_of_stderr_is_logged_and_costs_no_memory() {
    let origin = Origin::script(|conn| {
        if fastcgi::read(conn).is_none() {
            return;
        }
        let line = padded(STDERR, "noise ".repeat(5_000), 1);
        for _ in 0..200 {
            conn.send(&line);
        }
        conn.send(record(STDERR, "the last words.\n"));
        conn.send(record(STDOUT, "\r\nbody "));
        for _ in 0..200 {
            conn.send(&line);
        }
        conn.send(record(STDERR, "and in the body\n"));
        conn.send(record(STDOUT, "end"));
        conn.send(end());
    });
    let config = Config::server("location / { fastcgi_pass %%origin%%; }")
        .set("origin", origin.addr())
        .logs(&format!(
            "FastCGI sent in stderr: \"the last words\" {WHILE_HEAD}"
        ))
        .logs("FastCGI sent in stderr: \"and in the body\" while reading upstream")
        .may_log("FastCGI sent");
    let proxy = config.start();
    assert_eq!(proxy.get("/").text(), "body end");
    let before = proxy.worker_rss_kib();
    assert_eq!(proxy.get("/").text(), "body end");
    let grown = proxy.worker_rss_kib().saturating_sub(before);
    assert!(grown < 4 << 10, "{grown} KiB for 12 MB of stderr");
}

#[test]
fn unwanted_words_on_stderr_refuse_an_answer() {
    let bad = [
        record(STDERR, "PHP Fatal error: out of luck"),
        answer("Status: 200 OK\r\n\r\nbad"),
    ]
    .concat();
    let (first, _) = origin(bad);
    let (second, _) = origin(answer("\r\ngood"));
    let config = Config::http(
        "upstream app { server %%first%%; server %%second%%; }
        upstream alone { server %%first%%; }
        server {
            listen %%ADDR_0%%;
            fastcgi_catch_stderr 'PHP Fatal error';
            fastcgi_next_upstream error invalid_header;
            location / { fastcgi_pass app; }
            location /alone { fastcgi_pass alone; }
        }",
    );
    let proxy = config
        .set("first", first.addr())
        .set("second", second.addr())
        .logs("FastCGI sent in stderr: \"PHP Fatal error: out of luck\"")
        .start();
    assert_eq!(proxy.get("/").text(), "good");
    assert_eq!(proxy.get("/alone").status(), 502);
}

#[test]
fn another_peer_is_asked_by_the_rules_of_the_location() {
    let (busy, asked) = origin(answer("Status: 503 Busy\r\n\r\nbusy"));
    let (good, _) = origin(answer("\r\ngood"));
    let config = Config::http(
        "upstream app { server %%busy%% max_fails=0; server %%good%% backup; }
        server {
            listen %%ADDR_0%%;
            location / { fastcgi_pass app; fastcgi_next_upstream error http_503; }
            location /no { fastcgi_pass app; }
            location /pages {
                fastcgi_pass app;
                fastcgi_intercept_errors on;
                error_page 503 /sorry;
            }
            location = /sorry { return 200 'sorry'; }
        }",
    );
    let proxy = config
        .set("busy", busy.addr())
        .set("good", good.addr())
        .start();
    assert_eq!(proxy.get("/").text(), "good");
    let response = proxy.get("/no");
    assert_eq!(response.start_line(), "HTTP/1.1 503 Busy");
    assert_eq!(response.text(), "busy");
    assert_eq!(proxy.get("/pages").text(), "sorry");
    // A request that must not be repeated stays with its answer.
    let mut client = proxy.client();
    client
        .request("POST", "/", "Content-Length: 1\r\n")
        .send("x");
    assert_eq!(client.response().status(), 503);
    assert_eq!(asked.lock().unwrap().last().unwrap().body, b"x");
}

#[test]
fn fields_of_the_answer_pass_or_stay() {
    let text = "Status: 201 Made\r\nX-Accel-Expires: 5\r\nX-Own: o\r\nX-Secret: s\r\nServer: app\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\nDate: then\r\n\r\nplain";
    let (origin, _) = origin(answer(text));
    let proxy = to(
        &origin,
        "location / {
            fastcgi_pass %%origin%%;
            fastcgi_hide_header X-Secret;
            fastcgi_pass_header X-Accel-Expires;
        }
        location /both { fastcgi_pass %%origin%%; fastcgi_hide_header Server; fastcgi_hide_header Date; }",
    );
    let response = proxy.get("/");
    assert_eq!(response.start_line(), "HTTP/1.1 201 Made");
    assert_eq!(response.text(), "plain");
    assert_eq!(response.field("Status"), None);
    assert_eq!(response.field("X-Own"), Some("o"));
    assert_eq!(response.field("X-Secret"), None);
    assert_eq!(response.field("X-Accel-Expires"), Some("5"));
    assert_eq!(response.field("Server"), Some("app"));
    assert_eq!(response.field("Date"), Some("then"));
    assert_eq!(response.field("Connection"), Some("keep-alive"));
    let response = proxy.get("/both");
    assert_ne!(response.field("Server"), Some("app"));
    assert_ne!(response.field("Date"), Some("then"));
    assert_eq!(response.all("Date").len(), 1);
}

#[test]
fn addresses_may_be_variables_and_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    {
        use std::os::unix::fs::PermissionsExt;
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).unwrap();
    }
    let _unix = Origin::unix(&path, |conn| {
        if fastcgi::read(conn).is_some() {
            conn.send(answer("\r\nunix"));
        }
    });
    let (tcp, _) = origin(answer("\r\ntcp"));
    let config = Config::http(
        "upstream named { server %%tcp%%; }
        server {
            listen %%ADDR_0%%;
            location /unix { fastcgi_pass unix:%%path%%; }
            location /var { fastcgi_pass $arg_to; }
            location /gone { fastcgi_pass unix:%%path%%.gone; }
        }",
    );
    let proxy = config
        .set("tcp", tcp.addr())
        .set("path", path.display())
        .logs("no port in upstream \"nowhere.invalid\"")
        .logs("no host in upstream \"\"")
        .logs("invalid host in upstream \"127.0.0.1:1/x\"")
        .logs("failed (2: No such file or directory) while connecting to upstream")
        .logs(&format!(
            "upstream: \"fastcgi://unix:{}.gone:\"",
            path.display()
        ))
        .start();
    assert_eq!(proxy.get("/unix").text(), "unix");
    let var = |to: &str| proxy.get(&format!("/var?to={to}"));
    assert_eq!(var(&tcp.addr().to_string()).text(), "tcp");
    assert_eq!(var("named").text(), "tcp");
    assert_eq!(var(&format!("unix:{}", path.display())).text(), "unix");
    for wrong in ["nowhere.invalid", "", "127.0.0.1:1/x"] {
        assert_eq!(var(wrong).status(), 500, "{wrong}");
    }
    assert_eq!(proxy.get("/gone").status(), 502);
}

#[test]
fn what_is_wrong_is_told_at_load() {
    for (line, says) in [
        ("fastcgi_pass nowhere;", "no port in upstream \"nowhere\""),
        ("fastcgi_pass 127.0.0.1:1/x;", "invalid host in upstream"),
        ("fastcgi_param A b c;", "invalid parameter \"c\""),
        (
            "fastcgi_split_path_info ^(.+)$;",
            "pattern \"^(.+)$\" must have 2 captures",
        ),
        (
            "fastcgi_buffers 1 4k;",
            "there must be at least 2 \"fastcgi_buffers\"",
        ),
        (
            "fastcgi_busy_buffers_size 1k;",
            "\"fastcgi_busy_buffers_size\" must be equal to or greater than",
        ),
        (
            "fastcgi_next_upstream http_502;",
            "invalid value \"http_502\"",
        ),
        (
            "fastcgi_cache zone;",
            "\"fastcgi_cache\" zone \"zone\" is unknown",
        ),
        (
            "fastcgi_pass 127.0.0.1:1; fastcgi_pass 127.0.0.1:2;",
            "is duplicate",
        ),
    ] {
        let ran = Config::server(&format!("location / {{ {line} }}")).test();
        assert_ne!(ran.code(), Some(0), "{line}");
        assert!(ran.stderr().contains(says), "{line}: {}", ran.stderr());
    }
}

#[test]
fn an_origin_that_reads_nothing_is_given_up() {
    let (over, waits) = std::sync::mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let origin = Origin::script(move |conn| {
        conn.bytes(8);
        // Takes no more until the test is over.
        let _ = waits.lock().unwrap().recv_timeout(crate::support::LIMIT);
    });
    let config = Config::server(
        "client_max_body_size 0;
        location / { fastcgi_pass %%origin%%; fastcgi_send_timeout 200ms; fastcgi_socket_sndbuf 16k; }",
    );
    let proxy = config
        .set("origin", origin.addr())
        .may_log("is buffered to a temporary file")
        .logs("upstream timed out (110: Connection timed out) while sending request to upstream")
        .start();
    let body = vec![b'x'; 20 << 20];
    let mut client = proxy.client();
    let fields = format!("Content-Length: {}\r\n", body.len());
    client.request("POST", "/", &fields).send(body);
    assert_eq!(client.response().status(), 504);
    drop(over);
}

#[test]
fn tries_are_counted_and_timed() {
    let mute = || {
        Origin::script(|conn| {
            fastcgi::read(conn);
            conn.rest();
        })
    };
    let (a, b) = (mute(), mute());
    let config = Config::http(
        "upstream app { server %%a%% max_fails=0; server %%b%% max_fails=0; }
        server {
            listen %%ADDR_0%%;
            fastcgi_read_timeout 200ms;
            fastcgi_connect_timeout 1s;
            location /tries { fastcgi_pass app; fastcgi_next_upstream_tries 1; }
            location /time { fastcgi_pass app; fastcgi_next_upstream_timeout 100ms; }
            location /both { fastcgi_pass app; }
        }",
    );
    let proxy = config
        .set("a", a.addr())
        .set("b", b.addr())
        .logs("upstream timed out")
        .start();
    for (target, asked) in [("/tries", 1), ("/time", 2), ("/both", 4)] {
        assert_eq!(proxy.get(target).status(), 504);
        assert_eq!(a.accepted() + b.accepted(), asked, "{target}");
    }
}

#[test]
fn connections_are_made_as_they_are_wished() {
    let origin = Origin::script(|conn| {
        if fastcgi::read(conn).is_some() {
            let peer = conn.peer().ip();
            conn.send(answer(format!("\r\n{peer}")));
        }
    });
    let proxy = to(
        &origin,
        "fastcgi_bind 127.0.0.7;
        fastcgi_socket_keepalive on;
        fastcgi_socket_rcvbuf 32k;
        location / { fastcgi_pass %%origin%%; }
        location /off { fastcgi_pass %%origin%%; fastcgi_bind off; }",
    );
    assert_eq!(proxy.get("/").text(), "127.0.0.7");
    assert_eq!(proxy.get("/off").text(), "127.0.0.1");
}

#[test]
fn answers_are_slowed_ranged_and_steered() {
    let text = format!(
        "Content-Length: 60000\r\nX-Accel-Redirect: /inside\r\n\r\n{}",
        "0123456789".repeat(6_000)
    );
    let (origin, _) = origin(answer(text));
    let proxy = to(
        &origin,
        "location / { fastcgi_pass %%origin%%; }
        location /as-it-is {
            fastcgi_pass %%origin%%;
            fastcgi_ignore_headers X-Accel-Redirect;
            fastcgi_force_ranges on;
        }
        location /slow {
            fastcgi_pass %%origin%%;
            fastcgi_ignore_headers X-Accel-Redirect;
            fastcgi_limit_rate 30k;
        }
        location /inside { internal; return 200 inside; }",
    );
    assert_eq!(proxy.get("/").text(), "inside");
    let mut client = proxy.client();
    let part = client.request("GET", "/as-it-is", "Range: bytes=11-13\r\n");
    let part = part.response();
    assert_eq!((part.status(), part.text()), (206, "123"));
    let from = std::time::Instant::now();
    assert_eq!(proxy.get("/slow").body.len(), 60_000);
    assert!(from.elapsed().as_millis() > 300);
}

#[test]
fn an_origin_may_finish_for_a_client_that_left() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let origin = Origin::script(move |conn| {
        if fastcgi::read(conn).is_some() {
            *count.lock().unwrap() += 1;
            gone.lock()
                .unwrap()
                .recv_timeout(crate::support::LIMIT)
                .unwrap();
            conn.send(answer("\r\nlate"));
        }
    });
    let proxy = to(
        &origin,
        "access_log %%DIR%%/access.log;
        location / { fastcgi_pass %%origin%%; fastcgi_ignore_client_abort on; }",
    );
    let mut client = proxy.client();
    client.get("/slow");
    crate::support::wait::until("the request", || *asked.lock().unwrap() == 1);
    drop(client);
    go.send(()).unwrap();
    proxy.wait_log("access.log", "\"GET /slow HTTP/1.1\" 200 ");
}

#[test]
fn a_slow_client_does_not_hold_the_origin() {
    let origin = Origin::script(|conn| {
        if fastcgi::read(conn).is_some() {
            conn.send(record(STDOUT, "\r\n"));
            let piece = record(STDOUT, [b'x'; 50_000]);
            for _ in 0..200 {
                conn.send(&piece);
            }
            conn.send(end());
        }
    });
    let proxy = to(
        &origin,
        "location / { fastcgi_pass %%origin%%; fastcgi_temp_path %%DIR%%/answer_temp 1; }",
    );
    let mut client = proxy.client();
    client.get("/");
    // The client has read nothing, and yet the origin got rid of all it has.
    crate::support::wait::until("the origin to be done", || origin.ended() == 1);
    assert!(proxy.path("answer_temp").is_dir());
    let response = client.response();
    assert_eq!(
        (response.body.len(), response.end),
        (10_000_000, End::Whole)
    );
}
