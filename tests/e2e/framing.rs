//! Requests and responses whose end is in doubt: they are refused, never repaired and never passed on.

use crate::support::{Config, Origin, Proxy, wait};

fn to(origin: &Origin) -> Proxy {
    Config::server("location / { proxy_pass http://%%origin%%; }")
        .set("origin", origin.addr())
        .start()
}

/// Each request gets `status`, then the end; the origin never hears of it.
#[track_caller]
fn refused(status: u16, rows: &[(&str, &str)]) {
    let origin = Origin::text("x");
    let proxy = Config::server("location / { proxy_pass http://%%origin%%; }")
        .set("origin", origin.addr())
        .may_log("client sent invalid chunked body")
        .start();
    for (what, bytes) in rows {
        let mut client = proxy.client();
        client.send(bytes);
        // A second request that would be smuggled behind the first.
        client.try_send("GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let response = client.response();
        assert_eq!(response.status(), status, "{what}");
        assert_eq!(response.field("connection"), Some("close"), "{what}");
        client.expect_close();
    }
    assert_eq!(
        origin.received_bytes(),
        0,
        "the origin heard of {:?}",
        origin.received()
    );
}

/// What is wrong, and the request.
const AMBIGUOUS: &[(&str, &str)] = &[
    (
        "CL and TE",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE and CL",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
    ),
    (
        "two equal lengths",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx",
    ),
    (
        "a signed length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\nx",
    ),
    (
        "a hexadecimal length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\nx",
    ),
    (
        "an empty length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
    ),
    (
        "a huge length",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ),
    (
        "two codings lines",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE in HTTP/1.0",
        "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 1\r\n\r\nx",
    ),
    (
        "a folded line",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n b\r\n\r\n",
    ),
    (
        "a first line that is folded",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    ),
    (
        "a NUL in a value",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\x002\r\n\r\n",
    ),
    (
        "a bare CR in a value",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r2\r\n\r\n",
    ),
    ("a bare CR as line end", "GET / HTTP/1.1\rHost: h\r\r"),
    ("no Host", "GET / HTTP/1.1\r\nX-A: 1\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    (
        "two equal Hosts",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    ),
    ("an invalid Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("a Host with a NUL", "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"),
    (
        "a NUL in the path",
        "GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    (
        "a path above the root",
        "GET /a/../../b HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    ("a bad escape", "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n"),
    (
        "a control byte in the method",
        "G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
    ("a lower-case protocol", "GET / http/1.1\r\nHost: h\r\n\r\n"),
    ("no target", "GET HTTP/1.1\r\nHost: h\r\n\r\n"),
    (
        "a target without slash",
        "GET a HTTP/1.1\r\nHost: h\r\n\r\n",
    ),
];

#[test]
fn ambiguous_requests_are_refused_and_hidden_ones_never_seen() {
    refused(400, AMBIGUOUS);
}

#[test]
fn unknown_codings_are_refused() {
    refused(
        501,
        &[
            (
                "gzip",
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
            ),
            (
                "xchunked",
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "a list",
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            ),
            (
                "identity",
                "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
            ),
        ],
    );
}

#[test]
fn an_unknown_version_is_refused() {
    refused(
        505,
        &[("HTTP/2.0 as text", "GET / HTTP/2.0\r\nHost: h\r\n\r\n")],
    );
    refused(505, &[("HTTP/9.9", "GET / HTTP/9.9\r\nHost: h\r\n\r\n")]);
}

#[test]
fn bad_chunks_are_refused() {
    let chunks = [
        ("no digits", "\r\nx\r\n0\r\n\r\n"),
        ("not hexadecimal", "g\r\nx\r\n0\r\n\r\n"),
        ("a sign", "+1\r\nx\r\n0\r\n\r\n"),
        ("a prefix", "0x1\r\nx\r\n0\r\n\r\n"),
        ("a space before", " 1\r\nx\r\n0\r\n\r\n"),
        ("too large", "fffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        ("a bare LF after the size", "1\nx\r\n0\r\n\r\n"),
        ("a bare LF after the data", "1\r\nx\n0\r\n\r\n"),
        ("data longer than the size", "1\r\nxy\r\n0\r\n\r\n"),
        ("a bare CR", "1\rx\r\n0\r\n\r\n"),
        ("a bare LF in an extension", "1;a\nx\r\n0\r\n\r\n"),
        ("a NUL in an extension", "1;a\0\r\nx\r\n0\r\n\r\n"),
    ];
    let rows = chunks
        .iter()
        .map(|(what, body)| {
            (
                *what,
                format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
            )
        })
        .collect::<Vec<_>>();
    let rows = rows
        .iter()
        .map(|(what, bytes)| (*what, bytes.as_str()))
        .collect::<Vec<_>>();
    refused(400, &rows);
}

#[test]
fn requests_with_a_clear_end_pass() {
    let origin = Origin::text("x");
    let proxy = to(&origin);
    let rows = [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nhOST:h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:   h  \r\nX-Empty:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n\r\nbodybod",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n1;ext=\"v\"\r\nx\r\n000\r\nT: v\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    let mut client = proxy.client();
    let last = rows.len() - 1;
    for bytes in &rows[..last] {
        client.send(bytes);
        assert_eq!(client.response().status(), 200, "{bytes:?}");
    }
    assert_eq!(origin.requests().len(), last);
}

/// Each answer of the origin becomes a 502.
#[test]
fn malformed_answers_become_502() {
    let rows: [(&str, &str); 11] = [
        ("no HTTP at all", "hello\r\n\r\n"),
        (
            "a short status",
            "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "a long status",
            "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy",
        ),
        (
            "a bad length",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ),
        (
            "CL and TE",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            "an unknown coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        ),
        (
            "a NUL in a field",
            "HTTP/1.1 200 OK\r\nX-A: 1\x002\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "a space before the colon",
            "HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            "an unasked 101",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        ("nothing", ""),
    ];
    for (what, bytes) in rows {
        let origin = Origin::script(move |conn| {
            if conn.request().is_some() {
                conn.send(bytes);
            }
        });
        let proxy = Config::server("location / { proxy_pass http://%%origin%%; }")
            .set("origin", origin.addr())
            .logs("upstream")
            .start();
        assert_eq!(proxy.get("/").status(), 502, "{what}");
    }
}

#[test]
fn bytes_after_an_answer_reach_nobody() {
    // The origin sends more than it announced; the next request on a pooled connection must not get the rest.
    let origin = Origin::script(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
    });
    let proxy = Config::http(
        "upstream app { server %%origin%%; keepalive 4; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://app; } }",
    )
    .set("origin", origin.addr())
    .may_log("upstream sent more data than specified")
    .start();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").text(), "ok");
    }
}

#[test]
fn a_cut_answer_is_visibly_cut() {
    let rows = [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort",
    ];
    for bytes in rows {
        for buffering in ["on", "off"] {
            let origin = Origin::script(move |conn| {
                if conn.request().is_some() {
                    conn.send(bytes);
                }
            });
            let proxy = Config::server(
                "location / { proxy_pass http://%%origin%%; proxy_buffering %%buffering%%; }",
            )
            .set("origin", origin.addr())
            .set("buffering", buffering)
            .logs("upstream prematurely closed connection")
            .start();
            let response = proxy.get("/");
            assert_eq!(
                response.end,
                crate::support::wire::End::Cut,
                "{bytes:?} buffering {buffering}"
            );
            assert_eq!(response.text(), "short");
        }
    }
}

#[test]
fn interim_answers_do_not_shift_the_final_one() {
    let origin = Origin::script(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = to(&origin);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.get("/").response();
        assert_eq!((response.status(), response.text()), (200, "ok"));
    }
}

#[test]
fn a_request_cut_in_its_body_never_reaches_the_origin_whole() {
    let origin = Origin::text("x");
    let proxy = to(&origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    drop(client);
    // The proxy goes on serving others.
    assert_eq!(proxy.get("/").status(), 200);
    wait::until("the next request", || origin.requests().len() == 1);
    assert_eq!(origin.requests()[0].method(), "GET");
}
