//! What the `grpc_*` directives do to fields, failures and sockets. The services are the proxy's own further servers, which
//! tell what arrived, or origins by hand.

use crate::support::frames::{DATA, END_STREAM, answer, frame, greet, head, next_of, request};
use crate::support::{Client, Config, Origin, skipped, wait};
use std::process::Command;

/// A service by hand that gives each call this head, and `plain` as its body.
fn service(fields: &'static [(&str, &str)]) -> Origin {
    Origin::script(move |conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            conn.send(head(stream, 0, fields));
            conn.send(frame(DATA, END_STREAM, stream, b"plain"));
        }
    })
}

/// A service by hand that never answers.
fn mute() -> Origin {
    Origin::script(|conn| {
        if greet(conn, &[]) {
            while next_of(conn).is_some() {}
        }
    })
}

fn post(client: &mut Client, body: &str) -> u16 {
    let fields = format!("Content-Length: {}\r\n", body.len());
    client.request("POST", "/", &fields).send(body);
    client.response().status()
}

#[test]
fn fields_of_a_call_are_set_replaced_and_removed() {
    let proxy = Config::http(
        "server {
             listen %%ADDR_0%%;
             location / { grpc_pass %%ADDR_1%%; }
             location /set {
                 grpc_pass %%ADDR_1%%;
                 grpc_set_header X-One \"of $arg_n\";
                 grpc_set_header X-Two \"\";
                 grpc_set_header Host named.test;
                 grpc_set_header TE \"\";
             }
         }
         server { listen %%ADDR_1%%; http2 on; return 200 \"$http_x_one|$http_x_two|$host|$http_te\"; }",
    )
    .start();
    let mut client = proxy.client();
    let fields = "X-One: 1\r\nX-Two: 2\r\nTE: trailers\r\n";
    client.request("GET", "/", fields);
    assert_eq!(client.response().text(), "1|2|127.0.0.1|trailers");
    client.request("GET", "/set?n=3", fields);
    assert_eq!(client.response().text(), "of 3||named.test|");
}

#[test]
fn fields_of_an_answer_are_hidden_passed_and_obeyed() {
    let origin = service(&[
        (":status", "200"),
        ("server", "other"),
        ("x-accel-redirect", "/inside"),
        ("x-secret", "1"),
        ("x-open", "2"),
    ]);
    let proxy = Config::server(
        "location / { grpc_pass %%origin%%; }
         location /ignored { grpc_pass %%origin%%; grpc_ignore_headers X-Accel-Redirect; }
         location /hidden { grpc_pass %%origin%%; grpc_ignore_headers X-Accel-Redirect; grpc_hide_header X-Secret; }
         location /passed {
             grpc_pass %%origin%%;
             grpc_ignore_headers X-Accel-Redirect;
             grpc_pass_header X-Accel-Redirect;
             grpc_pass_header Server;
         }
         location /inside { internal; return 200 inside; }",
    )
    .set("origin", origin.addr())
    .start();
    assert_eq!(proxy.get("/").text(), "inside");
    let ignored = proxy.get("/ignored");
    assert_eq!(ignored.text(), "plain");
    assert_eq!(ignored.field("X-Accel-Redirect"), None);
    assert_ne!(ignored.field("Server"), Some("other"));
    assert_eq!(ignored.field("X-Secret"), Some("1"));
    let hidden = proxy.get("/hidden");
    assert_eq!(hidden.field("X-Secret"), None);
    assert_eq!(hidden.field("X-Open"), Some("2"));
    let passed = proxy.get("/passed");
    assert_eq!(passed.text(), "plain");
    assert_eq!(passed.all("X-Accel-Redirect"), ["/inside"]);
    assert_eq!(passed.all("Server"), ["other"]);
}

#[test]
fn a_head_must_fit_its_buffer() {
    const VALUE: &str =
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567";
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            let mut fields = vec![(":status", "200")];
            fields.extend([("x-long", VALUE)].repeat(60));
            conn.send(head(stream, END_STREAM, &fields));
        }
    });
    let proxy = Config::server(
        "location / { grpc_pass %%origin%%; }
         location /large { grpc_pass %%origin%%; grpc_buffer_size 16k; }",
    )
    .set("origin", origin.addr())
    .logs("upstream sent too big header")
    .start();
    assert_eq!(proxy.get("/").status(), 502);
    let large = proxy.get("/large");
    assert_eq!(large.status(), 200);
    assert_eq!(large.all("X-Long"), [VALUE; 60]);
}

#[test]
fn failures_of_a_service_are_replaced_where_told() {
    let proxy = Config::http(
        "server {
             listen %%ADDR_0%%;
             error_page 503 /sorry;
             location / { grpc_pass %%ADDR_1%%; }
             location /replaced { grpc_pass %%ADDR_1%%; grpc_intercept_errors on; }
             location = /sorry { return 200 sorry; }
         }
         server { listen %%ADDR_1%%; http2 on; error_page 503 /own; location / { return 503; } location = /own { return 503 own; } }",
    )
    .start();
    for (target, text) in [("/", "own"), ("/replaced", "sorry")] {
        let got = proxy.get(target);
        assert_eq!((got.status(), got.text()), (503, text), "{target}");
    }
}

#[test]
fn another_service_is_asked_after_what_counts_as_a_failure() {
    let proxy = Config::http(
        "upstream app { server %%ADDR_1%% max_fails=0; server %%ADDR_2%% backup; }
         server {
             listen %%ADDR_0%%;
             location / { grpc_pass app; }
             location /next { grpc_pass app; grpc_next_upstream http_503; }
             location /tries { grpc_pass app; grpc_next_upstream http_503; grpc_next_upstream_tries 1; }
         }
         server { listen %%ADDR_1%%; http2 on; return 503; }
         server { listen %%ADDR_2%%; http2 on; return 200 second; }",
    )
    .may_log("upstream")
    .start();
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(proxy.get("/next").text(), "second");
    assert_eq!(proxy.get("/tries").status(), 503);
}

#[test]
fn another_service_is_asked_only_while_there_is_time() {
    let first = mute();
    let proxy = Config::http(
        "upstream app { server %%first%% max_fails=0; server %%ADDR_1%% backup; }
         grpc_read_timeout 300ms;
         server {
             listen %%ADDR_0%%;
             location / { grpc_pass app; }
             location /timed { grpc_pass app; grpc_next_upstream_timeout 100ms; }
         }
         server { listen %%ADDR_1%%; http2 on; return 200 second; }",
    )
    .set("first", first.addr())
    .logs("upstream timed out (110: Connection timed out) while reading response header")
    .start();
    assert_eq!(proxy.get("/").text(), "second");
    assert_eq!(proxy.get("/timed").status(), 504);
}

#[test]
fn a_handshake_may_take_as_long_as_a_connection() {
    // It accepts, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy =
        Config::server("location / { grpc_pass grpcs://%%silent%%; grpc_connect_timeout 300ms; }")
            .set("silent", silent.local_addr().unwrap())
            .logs(
                "upstream timed out (110: Connection timed out) while SSL handshaking to upstream",
            )
            .start();
    assert_eq!(proxy.get("/").status(), 504);
}

#[test]
fn a_service_that_takes_no_message_is_given_up() {
    let origin = Origin::script(|conn| {
        // A window of ten bytes for each stream.
        if !greet(conn, &[(4, 10)]) {
            return;
        }
        let Some(first) = request(conn) else { return };
        conn.send(answer(first, b"ready"));
        while next_of(conn).is_some() {}
    });
    let proxy = Config::http(
        "upstream u { server %%origin%%; keepalive 4; }
         server { listen %%ADDR_0%%; location / { grpc_pass u; grpc_send_timeout 200ms; } }",
    )
    .set("origin", origin.addr())
    .logs("upstream timed out (110: Connection timed out) while sending request to upstream")
    .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").response().text(), "ready");
    assert_eq!(post(&mut client, "01234567890123456789"), 504);
}

#[test]
fn connections_leave_from_the_address_that_is_told() {
    let proxy = Config::http(
        "server { listen %%ADDR_1%%; http2 on; return 200 $remote_addr; }
         server {
             listen %%ADDR_0%%;
             grpc_bind 127.0.0.7;
             location / { grpc_pass %%ADDR_1%%; }
             location /off { grpc_pass %%ADDR_1%%; grpc_bind off; }
         }",
    )
    .start();
    assert_eq!(proxy.get("/").text(), "127.0.0.7");
    assert_eq!(proxy.get("/off").text(), "127.0.0.1");
}

/// What the kernel says of connections to this port: timers and memory.
fn sockets_to(port: u16) -> Option<String> {
    let port = format!(":{port}");
    let output = Command::new("ss")
        .args(["-tnmoH", "state", "established", "dport", "=", &port])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        _ => {
            skipped("no ss on this machine (Debian: apt-get install iproute2)");
            None
        }
    }
}

#[test]
fn sockets_are_made_as_they_are_wished() {
    let proxy = Config::http(
        "upstream plain { server %%ADDR_1%%; keepalive 4; }
         upstream own { server %%ADDR_2%%; keepalive 4; }
         server {
             listen %%ADDR_0%%;
             location / { grpc_pass plain; }
             location /own { grpc_pass own; grpc_socket_keepalive on; grpc_socket_rcvbuf 32k; grpc_socket_sndbuf 48k; }
         }
         server { listen %%ADDR_1%%; http2 on; return 200 plain; }
         server { listen %%ADDR_2%%; http2 on; return 200 own; }",
    )
    .start();
    assert_eq!(proxy.get("/").text(), "plain");
    assert_eq!(proxy.get("/own").text(), "own");
    let Some(plain) = sockets_to(proxy.addr_of(1).port()) else {
        return;
    };
    assert!(plain.contains("skmem:("), "{plain}");
    // The timer is that of a retransmission until the last frame is acknowledged.
    let own = || sockets_to(proxy.addr_of(2).port()).unwrap();
    wait::until("the timer of a quiet connection", || {
        own().contains("timer:(keepalive,")
    });
    wait::until("a connection without a timer", || {
        let plain = sockets_to(proxy.addr_of(1).port()).unwrap();
        plain.contains("skmem:(") && !plain.contains("timer:(")
    });
    // The kernel doubles what it is told.
    for mark in [",rb65536,", ",tb98304,"] {
        assert!(own().contains(mark), "{mark} in {}", own());
        assert!(!plain.contains(mark), "{mark} in {plain}");
    }
}
