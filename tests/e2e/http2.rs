//! HTTP/2 in cleartext: independent clients (curl, h2load, where they are installed), and frames by hand.

use crate::support::frames::{
    DATA, END_STREAM_AND_HEADERS, GOAWAY, HEADERS, RST_STREAM, SETTINGS, frame, get, hello,
    hello_with, until,
};
use crate::support::origin::{ok_bytes, response};
use crate::support::{Config, Origin, Proxy, skipped, wait};
use std::process::Command;

fn to(origin: &Origin, text: &str) -> Proxy {
    let text = format!("http2 on; {text}");
    Config::server(&text).set("origin", origin.addr()).start()
}

/// Runs a program; none, and counted as skipped, when it is not installed.
fn run(program: &str, args: &[&str]) -> Option<String> {
    match Command::new(program).args(args).output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            skipped(&format!("no {program} on this machine"));
            None
        }
    }
}

fn url(proxy: &Proxy, path: &str) -> String {
    format!("http://{}{path}", proxy.addr())
}

#[test]
fn curl_gets_what_the_origin_says() {
    let origin = Origin::fixed(response(
        "201 Made",
        "X-Mixed-Case: Yes\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n",
        b"body",
    ));
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_set_header Host $host; }",
    );
    let url = url(&proxy, "/path?q=1");
    let args = [
        "-si",
        "--max-time",
        "5",
        "--http2-prior-knowledge",
        "-b",
        "c=3",
        &url,
    ];
    let Some(text) = run("curl", &args) else {
        return;
    };
    assert!(text.starts_with("HTTP/2 201 \r\n"), "{text}");
    for line in [
        "x-mixed-case: Yes\r\n",
        "set-cookie: a=1\r\n",
        "set-cookie: b=2\r\n",
        "content-length: 4\r\n",
        "\r\nbody",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert!(!text.to_ascii_lowercase().contains("connection:"), "{text}");
    let request = origin.request();
    assert!(
        request
            .head_text()
            .starts_with("GET /path?q=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
        "{}",
        request.head_text()
    );
    assert_eq!(request.field("cookie"), Some("c=3"));
    assert_eq!(request.field("content-length"), None);
    assert_eq!(request.field("transfer-encoding"), None);
}

#[test]
fn bodies_go_both_ways_whole() {
    let big: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    let origin = Origin::answer(|request| ok_bytes(&request.body));
    let proxy = to(
        &origin,
        "client_max_body_size 2m;
         location /kept/ { proxy_pass http://%%origin%%; }
         location /streamed/ { proxy_pass http://%%origin%%; proxy_request_buffering off; proxy_buffering off; proxy_http_version 1.1; }",
    );
    let dir = tempfile::tempdir().unwrap();
    let (sent, got) = (dir.path().join("sent"), dir.path().join("got"));
    std::fs::write(&sent, &big).unwrap();
    let data = format!("@{}", sent.display());
    for path in ["/kept/", "/streamed/"] {
        let url = url(&proxy, path);
        let out = got.display().to_string();
        let args = [
            "-s",
            "--max-time",
            "20",
            "--http2-prior-knowledge",
            "--data-binary",
            &data,
            "-o",
            &out,
            &url,
        ];
        if run("curl", &args).is_none() {
            return;
        }
        assert!(std::fs::read(&got).unwrap() == big, "{path}");
    }
}

#[test]
fn many_streams_share_a_connection() {
    let origin = Origin::text("hello");
    let proxy = to(&origin, "location / { proxy_pass http://%%origin%%; }");
    let url = url(&proxy, "/");
    let Some(text) = run("h2load", &["-n", "400", "-c", "2", "-m", "32", &url]) else {
        return;
    };
    assert!(
        text.contains("400 succeeded, 0 failed, 0 errored"),
        "{text}"
    );
    assert_eq!(origin.requests().len(), 400);
}

#[test]
fn both_versions_are_spoken_at_one_address() {
    let origin = Origin::text("hello");
    let proxy = to(
        &origin,
        "location / { return 200 \"$server_protocol $http2\\n\"; }",
    );
    assert_eq!(
        proxy.client().request("GET", "/", "").response().body,
        b"HTTP/1.1 \n"
    );
    // What only begins like the preface is HTTP/1, and none that is valid.
    let answer = proxy
        .client()
        .send("PRI * HTTP/2.0\r\n\r\nxxxxxxxx")
        .response();
    assert!(answer.head_text().starts_with("HTTP/1.1 400 "));
    let url = url(&proxy, "/");
    if let Some(text) = run(
        "curl",
        &["-s", "--max-time", "5", "--http2-prior-knowledge", &url],
    ) {
        assert_eq!(text, "HTTP/2.0 h2c\n");
    }
    drop(origin);
}

#[test]
fn a_stream_that_is_taken_back_ends_the_work_for_it() {
    let origin = Origin::script(|conn| {
        if conn.request().is_some() {
            // Says nothing: the proxy has to leave.
            let _ = conn.rest();
        }
    });
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; } location = /ok { return 204; }",
    );
    let mut client = proxy.client();
    client.send(hello(&[get(1)]));
    wait::until("the origin is asked", || origin.accepted() == 1);
    client.send(frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    wait::until("the origin is left", || origin.ended() == 1);
    // The connection goes on.
    client.send(frame(
        HEADERS,
        END_STREAM_AND_HEADERS,
        3,
        b"\x82\x86\x04\x03/ok\x41\x01h",
    ));
    assert_eq!(until(&mut client, HEADERS).0, 3);
}

#[test]
fn a_broken_head_is_answered_and_its_stream_alone_ends() {
    let origin = Origin::text("hello");
    let proxy = to(&origin, "location / { proxy_pass http://%%origin%%; }");
    let mut client = proxy.client();
    // `connection: close` has no place in HTTP/2.
    let block = b"\x82\x86\x84\x41\x01h\x00\x0aconnection\x05close";
    client.send(hello(&[frame(HEADERS, END_STREAM_AND_HEADERS, 1, block)]));
    let (stream, head) = until(&mut client, HEADERS);
    assert_eq!((stream, head[0]), (1, 0x80 | 12), "the static table's 400");
    assert_eq!(
        until(&mut client, RST_STREAM),
        (1, 1u32.to_be_bytes().to_vec())
    );
    client.send(get(3));
    let (stream, head) = until(&mut client, HEADERS);
    assert_eq!((stream, head[0]), (3, 0x80 | 8), "the static table's 200");
    assert_eq!(
        origin.requests().len(),
        1,
        "nothing of the first request was passed on"
    );
}

#[test]
fn the_client_is_told_its_limits_and_held_to_them() {
    let origin = Origin::script(|conn| {
        if conn.request().is_some() {
            let _ = conn.rest();
        }
    });
    let proxy = to(
        &origin,
        "http2_max_concurrent_streams 2; http2_body_preread_size 70000;
         location / { proxy_pass http://%%origin%%; }",
    );
    let mut client = proxy.client();
    client.send(hello(&[get(1), get(3), get(5)]));
    let (_, settings) = until(&mut client, SETTINGS);
    let said: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|s| {
            (
                u16::from_be_bytes([s[0], s[1]]),
                u32::from_be_bytes([s[2], s[3], s[4], s[5]]),
            )
        })
        .collect();
    assert_eq!(said, [(3, 2), (8, 1), (4, 70_000), (5, 16_777_215)]);
    let refused = 7u32.to_be_bytes().to_vec();
    assert_eq!(until(&mut client, RST_STREAM), (5, refused));
    wait::until("both others are at work", || origin.accepted() == 2);
}

#[test]
fn a_head_that_comes_too_slowly_ends_its_stream_alone() {
    let proxy = Config::server(
        "http2 on; client_header_timeout 300ms; keepalive_timeout 60s; location / { return 204; }",
    )
    .start();
    let mut client = proxy.client();
    let whole = get(1);
    client.send(hello(&[whole[..12].to_vec()]));
    let protocol_error = 1u32.to_be_bytes().to_vec();
    assert_eq!(until(&mut client, RST_STREAM), (1, protocol_error));
    // What is missing may still come, and the next request is served.
    client.send(&whole[12..]);
    client.send(get(3));
    assert_eq!(until(&mut client, HEADERS).0, 3);
}

#[test]
fn answers_come_in_pieces_of_the_chunk_size() {
    let origin = Origin::text(&"x".repeat(100));
    let proxy = to(
        &origin,
        "http2_chunk_size 30; location / { proxy_pass http://%%origin%%; }",
    );
    let mut client = proxy.client();
    client.send(hello(&[get(1)]));
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 100 {
        sizes.push(until(&mut client, DATA).1.len());
    }
    assert_eq!(sizes, [30, 30, 30, 10]);
}

#[test]
fn a_reload_asks_clients_to_come_again_and_loses_nothing() {
    let origin = Origin::script(|conn| {
        conn.request();
        // Answers when the client says more.
        conn.request();
    });
    let mut proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_request_buffering off; proxy_http_version 1.1; }
         location /version { return 200 old; }",
    );
    let mut busy = proxy.client();
    busy.send(hello(&[frame(HEADERS, 4, 1, b"\x83\x86\x84\x41\x01h")]));
    wait::until("the origin is asked", || origin.accepted() == 1);
    let mut idle = proxy.client();
    let version = |stream| {
        frame(
            HEADERS,
            END_STREAM_AND_HEADERS,
            stream,
            b"\x82\x86\x04\x08/version\x41\x01h",
        )
    };
    idle.send(hello(&[version(1)]));
    assert_eq!(until(&mut idle, DATA).1, b"old");
    proxy.rewrite_http("server { listen %%ADDR_0%%; http2 on; return 200 new; }");
    proxy.reload_until(|| proxy.get("/version").text() == "new");
    // One with work in hand is told at once, and the work goes on.
    let (_, goaway) = until(&mut busy, GOAWAY);
    assert_eq!(goaway, [0, 0, 0, 1, 0, 0, 0, 0]);
    // An idle one gets one more answer, by the new rules.
    idle.send(version(3));
    assert_eq!(until(&mut idle, GOAWAY).1, [0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(until(&mut idle, DATA).1, b"new");
    idle.expect_close();
    busy.send(frame(RST_STREAM, 0, 1, &8u32.to_be_bytes()));
    busy.expect_close();
}

#[test]
fn the_last_answer_is_read_whole_by_a_client_that_still_talks() {
    let body = "x".repeat(300_000);
    let origin = Origin::text(&body);
    let proxy = to(
        &origin,
        "keepalive_requests 1; location / { proxy_pass http://%%origin%%; }",
    );
    let mut client = proxy.client();
    client.send(hello_with(
        &[(4, 1 << 20)],
        &[frame(8, 0, 0, &(1u32 << 20).to_be_bytes()), get(1)],
    ));
    // PINGs that arrive when all is sent must not make the kernel take back what is on its way.
    let mut got = 0;
    while got < body.len() {
        client.try_send(frame(6, 0, 0, &[0; 8]));
        got += until(&mut client, DATA).1.len();
    }
    assert_eq!(got, body.len());
}

#[test]
fn streams_of_one_connection_watch_their_own_client() {
    let auth = Origin::script(|conn| {
        if conn.request().is_some() {
            let _ = conn.rest();
        }
    });
    let proxy = Config::server(
        "http2 on;
         location / { auth_request /auth; proxy_pass http://%%auth%%; }
         location = /auth { internal; proxy_pass http://%%auth%%; }",
    )
    .set("auth", auth.addr())
    .start();
    let mut client = proxy.client();
    client.send(hello(&[get(1), get(3), get(5)]));
    wait::until("three questions", || auth.accepted() == 3);
    // Each that leaves ends its own question and no other.
    for (stream, left) in [(1, 1), (5, 2), (3, 3)] {
        client.send(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        wait::until("its question ends", || auth.ended() >= left);
        assert_eq!(auth.ended(), left);
    }
}

#[test]
fn a_name_whose_server_does_not_speak_it_is_misdirected() {
    let proxy = Config::http(
        "server { listen %%ADDR_0%%; http2 on; return 200 a; }
         server { listen %%ADDR_0%%; server_name h; return 200 b; }",
    )
    .start();
    let mut client = proxy.client();
    client.send(hello(&[get(1)]));
    let (_, page) = until(&mut client, DATA);
    let text = String::from_utf8_lossy(&page).into_owned();
    assert!(text.contains("421 Misdirected Request"), "{text}");
    // The same name is served over HTTP/1.
    let answer = proxy
        .client()
        .send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .response();
    assert_eq!(answer.text(), "b");
}
