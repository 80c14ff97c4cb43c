//! A warm shard allocates nothing for a request: counted, not claimed.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the client and the origin of this test block in threads of their own"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::{Http, Room, Setup, start};
use crate::mail::{ListenSocket, Mail, NewPlan, Post, Target};
use crate::net::bell;
use crate::net::runtime::{Prefer, RING_ENTRIES_DEFAULT, probe};
use crate::net::sys::count;
use crate::observe::{Counters, Scribe};
use crate::plan::{ListenerId, Plan};

const BODY: usize = 1024;

/// Answers every request on every connection with the same bytes.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nServer: o\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n"
                );
                let answer = [head.into_bytes(), vec![b'x'; BODY]].concat();
                let mut buf = [0; 4096];
                while read(&mut stream, &mut buf) > 0 {
                    stream.write_all(&answer).unwrap();
                }
            });
        }
    });
    at
}

/// Other tests of this process send it signals.
fn read(stream: &mut TcpStream, buf: &mut [u8]) -> usize {
    loop {
        match stream.read(buf) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.unwrap(),
        }
    }
}

/// What a location does, and what that needs around it.
const KINDS: [(&str, &str, &str); 4] = [
    (
        "passed on",
        "",
        "proxy_pass http://o; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host;
         proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
         proxy_set_header X-Forwarded-Proto $scheme;",
    ),
    (
        "from the cache",
        "proxy_cache_path FOLDER/cache levels=1:2 keys_zone=one:1m use_temp_path=off;",
        "proxy_pass http://o; proxy_cache one; proxy_cache_valid 200 1h; add_header X-Cache $upstream_cache_status;",
    ),
    ("said at once", "", "return 200 BODY;"),
    ("from a file", "", "root FOLDER; try_files /file =404;"),
];

fn plan(
    origin: SocketAddr,
    port: u16,
    (_, around, inside): (&str, &str, &str),
    folder: &str,
) -> Plan {
    let text = format!(
        "events {{ }} http {{ access_log off; {around} upstream o {{ server {origin}; keepalive 8; }} \
         server {{ listen 127.0.0.1:{port}; location / {{ {inside} }} }} }}"
    );
    let text = text
        .replace("FOLDER", folder)
        .replace("BODY", &"x".repeat(BODY));
    let (plan, _) =
        crate::plan::compile::testing::from_text(&text).unwrap_or_else(|diags| panic!("{diags:?}"));
    plan
}

/// One exchange over a connection that is kept; allocates nothing itself.
fn ask(stream: &mut TcpStream, buf: &mut [u8]) {
    stream
        .write_all(
            b"GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: t\r\nAccept: */*\r\n\r\n",
        )
        .unwrap();
    let mut len = 0;
    loop {
        len += read(stream, &mut buf[len..]);
        if let Some(head) = memchr::memmem::find(&buf[..len], b"\r\n\r\n")
            && len >= head + 4 + BODY
        {
            assert!(buf.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert_eq!(len, head + 4 + BODY);
            return;
        }
    }
}

#[test]
fn a_warm_request_allocates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), [b'x'; BODY]).unwrap();
    std::fs::create_dir(folder.path().join("cache")).unwrap();
    for kind in KINDS {
        let allocated = allocations_of(kind, folder.path().to_str().unwrap());
        assert!(
            allocated < 50,
            "{allocated} allocations in 500 warm requests {}",
            kind.0
        );
    }
}

/// Allocations of a shard in 500 requests of a kind, after as many as make it warm.
fn allocations_of(kind: (&str, &str, &str), folder: &str) -> u64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let plan = Arc::new(plan(origin(), at.port(), kind, folder));
    let bells = vec![bell::event().unwrap(), bell::event().unwrap()];
    let (post, mut inboxes) = Post::new(bells);
    let _control = inboxes.pop().unwrap();
    let setup = Setup {
        core: None,
        choice: probe(Prefer::Auto),
        ring_entries: RING_ENTRIES_DEFAULT,
        sockets_max: 64,
        busy_poll: Duration::ZERO,
        room: Room::default(),
    };
    let counters = Counters::shards(1).remove(0);
    let scribe = Scribe::start().unwrap();
    let shard = start(setup, inboxes.pop().unwrap(), post.clone(), move |parts| {
        count::watch();
        Http::new(parts, counters, scribe, 7)
    })
    .unwrap();
    let socket = ListenSocket {
        key: 1,
        listener: ListenerId(0),
        fd: Some(OwnedFd::from(listener)),
    };
    let new = NewPlan {
        epoch: 1,
        plan,
        sockets: vec![socket],
    };
    assert!(post.send(Target(0), Mail::NewPlan(Box::new(new))).is_ok());

    let mut client = TcpStream::connect(at).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut buf = [0; 8192];
    for _ in 0..50 {
        ask(&mut client, &mut buf);
    }
    // What recurs beside requests (the sweep, the logs) may allocate now and then: a few in hundreds are not a
    // request's.
    let before = count::total();
    for _ in 0..500 {
        ask(&mut client, &mut buf);
    }
    let allocated = count::total() - before;

    drop(client);
    assert!(post.send(Target(0), Mail::Stop).is_ok());
    shard.join().unwrap().unwrap();
    allocated
}
