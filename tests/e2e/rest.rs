//! Directives that no other family shows at work, each with the bytes that it changes; and those that change none.

use crate::support::origin::{chunked, ok, response};
use crate::support::wire::End;
use crate::support::{Config, LIMIT, Origin, Proxy, wait};
use std::time::{Duration, Instant};

fn to(origin: &Origin, text: &str) -> Proxy {
    Config::server(text).set("o", origin.addr()).start()
}

#[test]
fn settings_that_change_no_byte() {
    let origin = Origin::echo();
    let proxy = Config::main(
        "daemon off; worker_processes 1; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info;
         worker_priority 0; worker_rlimit_core 1m; worker_rlimit_nofile 4096; worker_cpu_affinity auto; working_directory %%DIR%%;
         events { multi_accept on; worker_connections 512; }
         http {
            access_log off; connection_pool_size 512; output_buffers 2 32k; sendfile on; sendfile_max_chunk 1m; tcp_nodelay on;
            msie_padding off; max_ranges 1; if_modified_since exact; client_body_in_single_buffer on; log_subrequest on;
            lingering_time 5s; lingering_timeout 1s; client_body_early_read 0; satisfy all; auth_delay 0;
            server { listen %%ADDR_0%%;
               location / {
                  proxy_pass http://%%o%%; proxy_socket_keepalive on; proxy_socket_rcvbuf 64k; proxy_socket_sndbuf 64k;
                  proxy_force_ranges off; proxy_temp_file_write_size 16k; reset_timedout_connection on; } } }",
    )
    .set("o", origin.addr())
    .may_log("setrlimit")
    .start();
    let got = proxy.get("/x");
    assert_eq!(got.status(), 200);
    assert!(got.text().starts_with("GET /x HTTP/1.1\r\n"));
}

#[test]
fn trailers_are_added_to_chunked_answers() {
    let origin = Origin::fixed(chunked("", &[b"data"], ""));
    let proxy = to(
        &origin,
        "add_trailer X-Outer 1;
         location / { proxy_pass http://%%o%%; add_trailer X-Status $upstream_status; }
         location /merged { proxy_pass http://%%o%%; add_trailer_inherit merge; add_trailer X-Inner 2; }
         location /inherits { proxy_pass http://%%o%%; }",
    );
    for (target, expected) in [
        ("/", &["X-Status: 200"][..]),
        ("/inherits", &["X-Outer: 1"]),
        ("/merged", &["X-Inner: 2", "X-Outer: 1"]),
    ] {
        let got = proxy.get(target);
        assert_eq!(got.text(), "data", "{target}");
        assert_eq!(got.trailers, expected, "{target}");
    }
}

#[test]
fn chunks_can_be_forbidden() {
    let origin = Origin::fixed(chunked("", &[b"ab", b"cd"], ""));
    let proxy = to(
        &origin,
        "chunked_transfer_encoding off; location / { proxy_pass http://%%o%%; }",
    );
    let got = proxy.get("/");
    assert_eq!(
        (got.field("transfer-encoding"), got.field("connection")),
        (None, Some("close"))
    );
    assert_eq!(got.text(), "abcd");
}

#[test]
fn a_body_may_have_to_rest_in_a_file() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "client_body_in_file_only clean; client_body_temp_path %%DIR%%/body_temp;
         location / { proxy_pass http://%%o%%; proxy_set_header X-File $request_body_file; }",
    );
    let mut client = proxy.client();
    client
        .request("POST", "/", "Content-Length: 4\r\n")
        .send("body");
    assert_eq!(client.response().status(), 200);
    let request = origin.request();
    assert_eq!(request.text(), "body");
    let file = request.field("x-file").unwrap().to_owned();
    assert!(file.contains("/body_temp/"), "{file}");
    wait::until("the file to go", || !std::path::Path::new(&file).exists());
}

#[test]
fn odd_names_pass_where_they_are_not_ignored() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "ignore_invalid_headers off; client_header_buffer_size 2k; location / { proxy_pass http://%%o%%; }",
    );
    proxy
        .client()
        .request("GET", "/", "X!A: 1\r\nX.B: 2\r\n")
        .response();
    let request = origin.request();
    assert_eq!(
        (request.field("x!a"), request.field("x.b")),
        (Some("1"), Some("2"))
    );
}

#[test]
fn a_connection_has_its_age() {
    let proxy = Config::server(
        "keepalive_time 200ms; keepalive_min_timeout 0; location / { return 200 x; }",
    )
    .start();
    let mut client = proxy.client();
    let from = Instant::now();
    loop {
        let got = client.get("/").response();
        if got.field("connection") == Some("close") {
            break;
        }
        assert!(from.elapsed() < LIMIT, "the connection never grew old");
    }

    client.expect_close();
}

#[test]
fn a_refused_body_is_drained_or_cut() {
    for (linger, answered) in [("on", true), ("always", true)] {
        let proxy = Config::server("client_max_body_size 1k; lingering_close %%linger%%; location / { return 200 x; } location /files { root %%DIR%%; }")
            .set("linger", linger)
            .logs("client intended to send too large body")
            .start();
        let mut client = proxy.client();
        client.request("POST", "/files", "Content-Length: 500000\r\n");
        // The client sends on, as clients do; lingering keeps the answer from being lost to a reset.
        for _ in 0..50 {
            client.try_send([b'x'; 10_000]);
        }
        assert_eq!(client.response().status() == 413, answered, "{linger}");
    }
}

#[test]
fn fields_that_steer_can_be_ignored() {
    let origin = Origin::fixed(response(
        "200 OK",
        "X-Accel-Redirect: /inside\r\nX-Accel-Limit-Rate: 1000\r\n",
        b"plain",
    ));
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%o%%; }
         location /ignored { proxy_pass http://%%o%%; proxy_ignore_headers X-Accel-Redirect X-Accel-Limit-Rate; }
         location /inside { internal; return 200 inside; }",
    );
    assert_eq!(proxy.get("/").text(), "inside");
    assert_eq!(proxy.get("/ignored").text(), "plain");
}

#[test]
fn reading_from_an_origin_can_be_slowed() {
    let origin = Origin::answer(|_| ok(&"x".repeat(120_000)));
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%o%%; proxy_limit_rate 60k; }",
    );
    let from = Instant::now();
    let got = proxy.get("/");
    assert_eq!((got.body.len(), got.end), (120_000, End::Whole));
    assert!(from.elapsed() > Duration::from_millis(300));
}

#[test]
fn tries_end_when_their_time_is_up() {
    let mute = || {
        Origin::script(|conn| {
            conn.request();
            conn.rest();
        })
    };
    let (a, b) = (mute(), mute());
    let proxy = Config::http(
        "upstream app { server %%a%%; server %%b%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app; proxy_read_timeout 300ms; proxy_next_upstream_timeout 100ms; } }",
    )
    .set("a", a.addr())
    .set("b", b.addr())
    .logs("upstream timed out")
    .may_log("upstream server temporarily disabled")
    .start();
    assert_eq!(proxy.get("/").status(), 504);
    assert_eq!(
        a.requests().len() + b.requests().len(),
        1,
        "no time was left for another"
    );
}

#[test]
fn connections_leave_from_the_address_that_is_told() {
    let proxy = Config::http(
        "server { listen %%ADDR_1%%; return 200 $remote_addr; }
         server { listen %%ADDR_0%%;
            location / { proxy_pass http://%%ADDR_1%%; proxy_bind 127.0.0.7; }
            location /off { proxy_pass http://%%ADDR_1%%; proxy_bind off; } }",
    )
    .start();
    assert_eq!(proxy.get("/").text(), "127.0.0.7");
    assert_eq!(proxy.get("/off").text(), "127.0.0.1");
}

#[test]
fn unset_variables_are_warned_of_unless_told_otherwise() {
    let proxy = Config::server(
        "location /loud { if ($arg_a) { set $v 1; } return 200 \"[$v]\"; }
         location /quiet { uninitialized_variable_warn off; if ($arg_a) { set $w 1; } return 200 \"[$w]\"; }",
    )
    .start();
    assert_eq!(proxy.get("/loud").text(), "[]");
    assert_eq!(proxy.get("/quiet").text(), "[]");
    proxy.wait_log("error.log", "using uninitialized \"v\" variable");
    assert!(!proxy.error_log().contains("\"w\" variable"));
}

#[test]
fn visitors_are_given_an_id() {
    let proxy = Config::server(
        "userid on; userid_name visitor; userid_expires 1d; userid_path /; userid_domain example.com; userid_mark m;
         userid_flags secure httponly samesite=lax; userid_p3p 'CP=\"NOI\"'; location / { return 200 \"$uid_set|$uid_got\"; }",
    )
    .start();
    let got = proxy.get("/");
    let cookie = got.field("set-cookie").unwrap();
    let shape = regex::Regex::new(
        "^visitor=[A-Za-z0-9+/]{22}m=; expires=[A-Z][a-z]{2}, .* GMT; domain=example.com; path=/; secure; httponly; samesite=lax$",
    )
    .unwrap();
    assert!(shape.is_match(cookie), "{cookie}");
    assert_eq!(got.field("p3p"), Some("CP=\"NOI\""));
}
