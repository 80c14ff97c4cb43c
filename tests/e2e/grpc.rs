//! gRPC: calls of every kind between Python's grpcio on both sides, where that is installed; and by hand what no good
//! peer does.

use crate::support::frames::{
    DATA, END_STREAM, END_STREAM_AND_HEADERS, HEADERS, RST_STREAM, block, find, frame, greet, head,
    hello, next, next_of, request, until,
};
use crate::support::{Config, LIMIT, Origin, Proxy, skipped};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/grpc_peer.py");

/// A Python that has grpcio: the system's, or the one that `RINGX_GRPC_PYTHON` names.
fn python() -> Option<String> {
    let named = std::env::var("RINGX_GRPC_PYTHON").ok();
    let found = named
        .into_iter()
        .chain(["/usr/bin/python3".to_owned(), "python3".to_owned()])
        .find(|python| {
            let import = Command::new(python).args(["-c", "import grpc"]).output();
            import.is_ok_and(|output| output.status.success())
        });
    if found.is_none() {
        skipped("no grpcio for Python on this machine (Debian: apt-get install python3-grpcio)");
    }
    found
}

/// A running service.
struct Service {
    child: Child,
    port: u16,
}

impl Service {
    fn start(python: &str) -> Self {
        let mut child = Command::new(python)
            .args([SCRIPT, "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().parse().expect("the service prints its port");
        Self { child, port }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Makes calls and returns what came of them.
fn call(python: &str, proxy: &Proxy, server: usize, names: &[&str]) -> String {
    let output = Command::new(python)
        .args([SCRIPT, "call", &proxy.addr_of(server).to_string()])
        .args(names)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn calls_of_every_kind_pass() {
    let Some(python) = python() else { return };
    let service = Service::start(&python);
    let proxy = Config::http(
        "upstream g { server 127.0.0.1:%%port%%; keepalive 4; }
         client_max_body_size 16m;
         server { listen %%ADDR_0%%; http2 on; location / { grpc_pass grpc://g; } }
         server { listen %%ADDR_1%%; http2 on; location / { grpc_pass 127.0.0.1:%%port%%; } }",
    )
    .set("port", service.port)
    .start();
    let names = [
        "unary", "large", "fail", "unknown", "deadline", "count", "sums", "chat", "cancel", "many",
    ];
    for server in [0, 1] {
        assert_eq!(
            call(&python, &proxy, server, &names),
            "unary b'hello' you b'\\x00\\xff' OK\n\
             large 4194304 True\n\
             fail FAILED_PRECONDITION not now: ü\n\
             unknown UNIMPLEMENTED\n\
             deadline DEADLINE_EXCEEDED\n\
             count 1000 b'999'\n\
             sums b'3000000'\n\
             chat 50 b're: 49'\n\
             cancel b'more' b'yes'\n\
             many 19900\n"
        );
    }
}

#[test]
fn an_absent_service_is_unavailable_and_the_recipe_says_why() {
    let Some(python) = python() else { return };
    let service = Service::start(&python);
    let proxy = Config::http(
        "server { listen %%ADDR_0%%; http2 on; location / { grpc_pass 127.0.0.1:%%PORT_2%%; } }
         server {
             listen %%ADDR_1%%;
             http2 on;
             include snippets/grpc-errors.conf;
             location / { grpc_pass 127.0.0.1:%%PORT_2%%; }
             location /t.T/Slow { grpc_pass 127.0.0.1:%%port%%; grpc_read_timeout 200ms; }
         }",
    )
    .file(
        "snippets/grpc-errors.conf",
        include_str!("../../config/snippets/grpc-errors.conf"),
    )
    .set("port", service.port)
    .logs("upstream timed out (110: Connection timed out) while reading response header")
    .logs("connect() failed (111: Connection refused) while connecting to upstream")
    .start();
    assert_eq!(
        call(&python, &proxy, 0, &["unavailable"]),
        "unavailable UNAVAILABLE\n"
    );
    assert_eq!(
        call(&python, &proxy, 1, &["fail", "slow"]),
        "fail UNAVAILABLE unavailable\nslow DEADLINE_EXCEEDED deadline exceeded\n"
    );
}

/// A call's head by hand: POST of `/` with `te: trailers`.
fn call_head(flags: u8) -> Vec<u8> {
    let mut fields = b"\x83\x86\x84\x41\x01h".to_vec();
    fields.extend(block(&[
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]));
    frame(HEADERS, flags, 1, &fields)
}

fn through(origin: &Origin, text: &str) -> Config {
    let text = format!("http2 on; location / {{ grpc_pass %%origin%%; {text} }}");
    Config::server(&text).set("origin", origin.addr())
}

#[test]
fn messages_pass_each_by_itself_and_the_answer_need_not_wait() {
    // Each side waits for the other's word before its next one.
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        let Some(stream) = request(conn) else { return };
        conn.send(head(stream, 0, &[(":status", "200"), ("x-early", "1")]));
        for n in 0..3u8 {
            let Some(data) = find(conn, DATA) else { return };
            assert_eq!(data.payload, [n]);
            conn.send(frame(DATA, 0, stream, &[n + 100]));
        }
        let end = find(conn, DATA).unwrap();
        assert_eq!((end.flags, end.payload.len()), (END_STREAM, 0));
        let status = block(&[("grpc-status", "0"), ("x-last", "word")]);
        conn.send(frame(HEADERS, END_STREAM_AND_HEADERS, stream, &status));
        while next_of(conn).is_some() {}
    });
    let proxy = through(&origin, "").start();
    let mut client = proxy.client();
    client.send(hello(&[call_head(4)]));
    let (stream, _) = until(&mut client, HEADERS);
    for n in 0..3u8 {
        client.send(frame(DATA, 0, stream, &[n]));
        assert_eq!(until(&mut client, DATA), (stream, vec![n + 100]));
    }
    client.send(frame(DATA, END_STREAM, stream, b""));
    let trailers = loop {
        let frame = next(&mut client);
        if frame.kind == HEADERS {
            break frame;
        }
    };
    assert_eq!(trailers.flags, END_STREAM_AND_HEADERS);
}

#[test]
fn an_answer_that_is_all_head_is_one_frame() {
    let origin = Origin::script(|conn| {
        if !greet(conn, &[]) {
            return;
        }
        while let Some(stream) = request(conn) {
            let fields = [(":status", "200"), ("grpc-status", "12")];
            conn.send(head(stream, END_STREAM, &fields));
        }
    });
    let proxy = through(&origin, "").start();
    let mut client = proxy.client();
    client.send(hello(&[call_head(END_STREAM_AND_HEADERS)]));
    let head = loop {
        let frame = next(&mut client);
        if frame.kind == HEADERS {
            break frame;
        }
    };
    assert_eq!(head.flags, END_STREAM_AND_HEADERS);
}

#[test]
fn a_silent_service_is_given_up_and_told() {
    let origin = Origin::script(|conn| {
        if greet(conn, &[]) && request(conn).is_some() {
            let reset = find(conn, RST_STREAM).unwrap();
            assert_eq!(reset.payload, [0, 0, 0, 8], "CANCEL");
        }
    });
    let proxy = through(&origin, "grpc_read_timeout 200ms;")
        .logs("upstream timed out (110: Connection timed out) while reading response header")
        .start();
    let mut client = proxy.client();
    client.send(hello(&[call_head(END_STREAM_AND_HEADERS)]));
    let begun = std::time::Instant::now();
    until(&mut client, HEADERS);
    assert!(begun.elapsed() < LIMIT);
}
