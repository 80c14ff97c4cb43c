//! Bytes that go past user space: nothing is lost, doubled or held back, whoever stalls or leaves, and no pipe stays.

use crate::support::origin::{Conn, ok_bytes, response};
use crate::support::{Client, Config, Origin, Proxy, wait};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes that a tunnel moves each way; `RINGX_SOAK_BYTES` names more.
const TUNNEL_BYTES: usize = 24 << 20;

/// The drivers, as the environment names them.
const DRIVERS: [&str; 2] = ["ring", "epoll"];

const TUNNEL: &str = "location / {
    proxy_pass http://%%origin%%;
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection upgrade;
}";

/// Bytes that repeat only after a prime number of them, so that none can stand where another one should.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut seed = 7u32;
    (0..1_000_003)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .collect()
});

/// The stretch of the pattern that begins at `at`, at most `max` bytes.
fn stretch(at: usize, max: usize) -> &'static [u8] {
    let from = at % PATTERN.len();
    &PATTERN[from..PATTERN.len().min(from + max)]
}

fn pattern(n: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(n);
    while bytes.len() < n {
        bytes.extend_from_slice(stretch(bytes.len(), n - bytes.len()));
    }
    bytes
}

/// Small random numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % sides
    }

    /// Now and then a moment in which the other side fills up or runs dry.
    fn stall(&mut self) {
        if self.roll(24) == 0 {
            std::thread::sleep(Duration::from_micros(self.roll(4000) as u64));
        }
    }
}

/// Sends `total` bytes of the pattern in pieces of random size.
fn pour(mut socket: &TcpStream, total: usize, seed: u64) {
    let (mut dice, mut at) = (Dice(seed), 0);
    while at < total {
        let most = [100, 5_000, 60_000, 400_000][dice.roll(4)];
        let piece = stretch(at, (1 + dice.roll(most)).min(total - at));
        socket.write_all(piece).unwrap();
        at += piece.len();
        dice.stall();
    }
}

/// Receives `total` bytes and compares every one.
fn check(mut socket: &TcpStream, total: usize, seed: u64) {
    let (mut dice, mut at) = (Dice(seed), 0);
    let mut buf = vec![0; 300_000];
    while at < total {
        let room = (1 + dice.roll(buf.len() - 1)).min(total - at);
        let n = socket.read(&mut buf[..room]).unwrap();
        assert!(n > 0, "ended after {at} of {total} bytes");
        let mut seen = 0;
        while seen < n {
            let want = stretch(at + seen, n - seen);
            assert!(
                &buf[seen..seen + want.len()] == want,
                "wrong near byte {at}"
            );
            seen += want.len();
        }
        at += n;
        dice.stall();
    }
}

/// Both at once on one socket.
fn exchange(socket: &TcpStream, send: usize, receive: usize, seed: u64) {
    std::thread::scope(|scope| {
        scope.spawn(|| pour(socket, send, seed));
        check(socket, receive, seed + 1);
    });
}

fn read_head(mut socket: &TcpStream) -> Vec<u8> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "closed before its head");
        head.push(byte[0]);
    }
    head
}

/// An origin for one tunnel after the other.
fn raw_origin(
    count: usize,
    play: impl Fn(&TcpStream, usize) + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        for number in 0..count {
            let (socket, _) = listener.accept().unwrap();
            socket
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            read_head(&socket);
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n";
            (&socket).write_all(head.as_bytes()).unwrap();
            play(&socket, number);
        }
    });
    (addr, thread)
}

fn upgraded(proxy: &Proxy) -> TcpStream {
    let socket = TcpStream::connect(proxy.addr()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n";
    (&socket).write_all(request.as_bytes()).unwrap();
    assert!(read_head(&socket).starts_with(b"HTTP/1.1 101 "));
    socket
}

/// Descriptors of pipes that the workers hold.
fn pipes(proxy: &Proxy) -> usize {
    let folders = proxy
        .workers()
        .into_iter()
        .map(|pid| format!("/proc/{pid}/fd"));
    let entries = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten());
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links
        .filter(|link| link.to_string_lossy().starts_with("pipe:"))
        .count()
}

/// Waits until no pipe is open. The start needs one for a moment; every later one is a spliced stream's.
fn no_pipes(proxy: &Proxy) {
    wait::until("the pipes to be closed", || pipes(proxy) == 0);
}

/// Sends the pattern until the other side has gone.
fn flood(mut socket: &TcpStream) {
    let mut at = 0;
    while socket.write_all(stretch(at, 100_000)).is_ok() {
        at += stretch(at, 100_000).len();
    }
}

fn ended(socket: &TcpStream) -> bool {
    let mut byte = [0];
    matches!((&mut &*socket).read(&mut byte), Ok(0) | Err(_))
}

#[test]
fn a_tunnel_loses_and_doubles_nothing() {
    let soak = std::env::var("RINGX_SOAK_BYTES").ok();
    let total = soak.map_or(TUNNEL_BYTES, |bytes| bytes.parse().unwrap());
    for driver in DRIVERS {
        for manner in ["auto", "on"] {
            let (addr, origin) = raw_origin(1, move |socket, _| {
                exchange(socket, total + 5, total, 1);
                // The client's end comes behind its last byte.
                assert!(ended(socket));
            });
            let proxy = Config::server(&format!("splice {manner}; {TUNNEL}"))
                .set("origin", addr)
                .env("RINGX_DRIVER", driver)
                .start();
            no_pipes(&proxy);
            let client = upgraded(&proxy);
            exchange(&client, total, total + 5, 3);
            assert!(pipes(&proxy) > 0, "{manner} on {driver} was copied");
            client.shutdown(Shutdown::Write).unwrap();
            assert!(ended(&client));
            origin.join().unwrap();
            no_pipes(&proxy);
        }
    }
}

#[test]
fn a_piece_larger_than_the_buffer_does_not_wait_for_the_next_one() {
    const PIECES: usize = 12;
    const PIECE: usize = 3500;
    for driver in DRIVERS {
        for manner in ["off", "auto", "on"] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let addr = listener.local_addr().unwrap();
            let (taken, take) = std::sync::mpsc::channel();
            let origin = std::thread::spawn(move || {
                let (socket, _) = listener.accept().unwrap();
                read_head(&socket);
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    PIECES * PIECE
                );
                (&socket).write_all(head.as_bytes()).unwrap();
                for at in 0..PIECES {
                    take.recv().unwrap();
                    (&socket).write_all(stretch(at * PIECE, PIECE)).unwrap();
                }
                assert!(ended(&socket));
            });
            let proxy = Config::server(&format!(
                "location / {{ proxy_pass http://%%origin%%; proxy_buffering off; proxy_buffer_size 1k; splice {manner}; }}"
            ))
            .set("origin", addr)
            .env("RINGX_DRIVER", driver)
            .start();
            let client = TcpStream::connect(proxy.addr()).unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            (&client)
                .write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                .unwrap();
            assert!(read_head(&client).starts_with(b"HTTP/1.1 200 "));
            let mut piece = [0; PIECE];
            for at in 0..PIECES {
                taken.send(()).unwrap();
                (&client).read_exact(&mut piece).unwrap();
                assert!(piece == *stretch(at * PIECE, PIECE), "piece {at}");
            }
            assert!(ended(&client));
            // The origin's connection is not kept.
            drop(proxy);
            origin.join().unwrap();
        }
    }
}

#[test]
fn what_is_off_or_small_is_copied() {
    for (manner, total) in [("off", 3 << 20), ("auto", 9_000)] {
        let (addr, origin) = raw_origin(1, move |socket, _| exchange(socket, total, total, 1));
        let proxy = Config::server(&format!("splice {manner}; {TUNNEL}"))
            .set("origin", addr)
            .start();
        no_pipes(&proxy);
        let client = upgraded(&proxy);
        exchange(&client, total, total, 3);
        assert_eq!(pipes(&proxy), 0, "{manner}");
        origin.join().unwrap();
    }
}

#[test]
fn an_end_of_either_side_comes_behind_its_bytes() {
    let total = 2 << 20;
    for driver in DRIVERS {
        let (addr, origin) = raw_origin(1, move |socket, _| {
            pour(socket, total, 5);
            socket.shutdown(Shutdown::Write).unwrap();
        });
        let proxy = Config::server(&format!("splice on; {TUNNEL}"))
            .set("origin", addr)
            .env("RINGX_DRIVER", driver)
            .start();
        let client = upgraded(&proxy);
        check(&client, total, 6);
        assert!(ended(&client));
        origin.join().unwrap();
    }
}

#[test]
fn resets_end_a_tunnel_and_leave_nothing_behind() {
    const ROUNDS: usize = 6;
    for driver in DRIVERS {
        // In turns each side breaks off in the middle while the other one sends without reading.
        let (addr, origin) = raw_origin(ROUNDS, |socket, number| {
            if number % 2 == 0 {
                check(socket, 300_000, 1);
                socket2::SockRef::from(socket)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                return;
            }
            flood(socket);
        });
        let proxy = Config::server(&format!("splice on; {TUNNEL}"))
            .set("origin", addr)
            .env("RINGX_DRIVER", driver)
            .start();
        no_pipes(&proxy);
        let mut fds = usize::MAX;
        for number in 0..ROUNDS {
            let client = upgraded(&proxy);
            // With one tunnel, whose two sockets leave room for what a shard makes for itself later.
            fds = fds.min(proxy.worker_fds());
            if number % 2 == 0 {
                pour(&client, 300_000, 2);
                flood(&client);
                continue;
            }
            check(&client, 300_000, 1);
            socket2::SockRef::from(&client)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        origin.join().unwrap();
        no_pipes(&proxy);
        wait::until("the sockets to be closed", || proxy.worker_fds() <= fds);
    }
}

#[test]
fn a_tunnel_that_is_full_of_bytes_survives_a_reload_and_a_drain() {
    let total = 3 << 20;
    let (addr, origin) = raw_origin(1, move |socket, _| {
        exchange(socket, total, total, 1);
        exchange(socket, total, total, 1);
        exchange(socket, total, total, 1);
    });
    let mut proxy = Config::server(&format!(
        "splice on; location = /v {{ return 200 old; }} {TUNNEL}"
    ))
    .set("origin", addr)
    .start();
    let client = upgraded(&proxy);
    exchange(&client, total, total, 3);
    proxy.rewrite_http("server { listen %%ADDR_0%%; return 200 new; }");
    proxy.reload_until(|| proxy.get("/v").text() == "new");
    exchange(&client, total, total, 3);
    proxy.signal(3);
    wait::until("the listener to close", || {
        TcpStream::connect(proxy.addr()).is_err()
    });
    exchange(&client, total, total, 3);
    drop(client);
    origin.join().unwrap();
    assert_eq!(proxy.wait_end(), Some(0));
}

/// A location whose bodies are not buffered, on connections that are kept.
fn unbuffered(origin: &Origin, more: &str) -> Config {
    kept(origin, &format!("proxy_buffering off; {more}"))
}

/// Connections that are kept, and sizes in the log.
fn kept(origin: &Origin, more: &str) -> Config {
    Config::http(&format!(
        "log_format sizes '$uri $status $bytes_sent $body_bytes_sent $upstream_bytes_received $upstream_response_length';
         upstream app {{ server %%origin%%; keepalive 4; }}
         server {{ listen %%ADDR_0%%; access_log %%DIR%%/access.log sizes;
             proxy_request_buffering off; client_max_body_size 0;
             proxy_http_version 1.1; proxy_set_header Connection '';
             proxy_temp_path %%DIR%%/answer_temp;
             {more}
             location / {{ proxy_pass http://app; }} }}"
    ))
    .set("origin", origin.addr())
}

/// The sizes that the log tells of a target.
fn logged(proxy: &Proxy, target: &str) -> Vec<u64> {
    proxy.wait_log("access.log", &format!("{target} "));
    let log = proxy.log("access.log");
    let line = log
        .lines()
        .find(|line| line.starts_with(&format!("{target} ")));
    let numbers = line.unwrap().split(' ').skip(1);
    numbers.map(|n| n.parse().unwrap()).collect()
}

#[test]
fn bodies_of_known_length_cross_and_the_connections_are_kept() {
    let sizes = [
        0, 1, 1000, 16_383, 16_384, 20_000, 70_000, 1_000_000, 5_000_000,
    ];
    for (driver, manner, buffering) in [
        ("ring", "auto", "off"),
        ("ring", "on", "off"),
        ("epoll", "on", "off"),
        ("ring", "off", "off"),
        ("ring", "auto", "on"),
        ("ring", "on", "on"),
        ("epoll", "on", "on"),
        ("ring", "off", "on"),
    ] {
        let how = format!("{manner} on {driver}, buffering {buffering}");
        let origin = Origin::answer(|request| {
            let size = request.target().trim_start_matches('/').parse().unwrap();
            ok_bytes(&pattern(size))
        });
        let proxy = kept(
            &origin,
            &format!("splice {manner}; proxy_buffering {buffering};"),
        )
        .env("RINGX_DRIVER", driver)
        .may_log("an upstream response is buffered to a temporary file")
        .start();
        no_pipes(&proxy);
        let mut client = proxy.client();
        for size in sizes {
            let got = client.get(&format!("/{size}")).response();
            if size >= 1_000_000 {
                let spliced = pipes(&proxy) > 0;
                assert_eq!(spliced, manner != "off", "{how}");
            }
            assert!(got.body == pattern(size), "{size} bytes, {how}");
            let numbers = logged(&proxy, &format!("/{size}"));
            let head = got.head.len() as u64;
            let upstream = ok_bytes(&pattern(size)).len() as u64;
            let size = size as u64;
            assert_eq!(numbers, [200, head + size, size, upstream, size]);
        }
        assert_eq!(origin.accepted(), 1, "{how}");
    }
}

/// The origin is rid of its answer long before the client takes it, as ever in buffered mode, though the beginning went
/// past user space.
#[test]
fn a_buffered_body_is_spliced_until_its_client_stops() {
    const SIZE: usize = 6 << 20;
    for driver in DRIVERS {
        let rid = Arc::new(AtomicUsize::new(0));
        let counted = rid.clone();
        let origin = Origin::script(move |conn| {
            while conn.request().is_some() {
                conn.send(ok_bytes(&pattern(SIZE)));
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let proxy = kept(
            &origin,
            "splice on; proxy_buffers 8 32k; proxy_buffer_size 32k;",
        )
        .env("RINGX_DRIVER", driver)
        .may_log("an upstream response is buffered to a temporary file")
        .start();
        no_pipes(&proxy);
        let mut client = proxy.client();
        for round in 1..=2 {
            client.get(&format!("/{round}")).head();
            assert!(pipes(&proxy) > 0, "round {round} on {driver}");
            wait::until("the origin to have sent all", || {
                rid.load(Ordering::SeqCst) == round
            });
            assert!(
                client.bytes(SIZE) == pattern(SIZE),
                "round {round} on {driver}"
            );
            assert_eq!(logged(&proxy, &format!("/{round}"))[2], SIZE as u64);
        }
        assert_eq!(origin.accepted(), 1);
    }
}

#[test]
fn bodies_without_a_length_and_answers_without_a_body() {
    let origin = Origin::script(|conn| {
        while let Some(request) = conn.request() {
            match request.target() {
                "/until-close" => {
                    conn.send("HTTP/1.0 200 OK\r\n\r\n");
                    conn.send(pattern(900_000));
                    return;
                }
                "/204" => drop(conn.send("HTTP/1.1 204 No Content\r\n\r\n")),
                "/chunked" => drop(conn.send(crate::support::origin::chunked(
                    "",
                    &[&pattern(200_000), &pattern(50)],
                    "",
                ))),
                _ => drop(conn.send("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")),
            }
        }
    });
    let proxy = unbuffered(&origin, "splice on;").start();
    let mut client = proxy.client();
    client.request("HEAD", "/head", "");
    let head = client.head();
    assert_eq!(head.field("content-length"), Some("3000000"));
    assert_eq!(client.get("/204").response().status(), 204);
    let mut chunked = pattern(200_000);
    chunked.extend_from_slice(&pattern(50));
    assert!(client.get("/chunked").response().body == chunked);
    assert!(client.get("/until-close").response().body == pattern(900_000));
    assert_eq!(logged(&proxy, "/until-close")[4], 900_000);
    // HTTP/1.0 has no chunks: the end of the connection is the end of the body.
    let mut old = proxy.client();
    old.send("GET /until-close HTTP/1.0\r\n\r\n");
    old.head();
    assert!(old.rest() == pattern(900_000));
}

/// Sends the beginning of an answer of a million bytes.
fn begin(conn: &mut Conn) {
    conn.request();
    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    conn.send(pattern(400_000));
}

fn take_beginning(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.get("/big").head();
    assert!(client.bytes(400_000) == pattern(400_000));
    client
}

#[test]
fn an_origin_that_ends_early_is_seen_to() {
    for driver in DRIVERS {
        let origin = Origin::script(begin);
        let proxy = unbuffered(&origin, "splice on;")
            .env("RINGX_DRIVER", driver)
            .logs("upstream prematurely closed connection while reading upstream")
            .start();
        let mut client = take_beginning(&proxy);
        client.expect_close();
        let numbers = logged(&proxy, "/big");
        assert_eq!((numbers[2], numbers[4]), (400_000, 400_000));
    }
}

#[test]
fn an_origin_that_falls_silent_times_out() {
    for driver in DRIVERS {
        let origin = Origin::script(|conn| {
            begin(conn);
            conn.rest();
        });
        let proxy = unbuffered(&origin, "splice on; proxy_read_timeout 200ms;")
            .env("RINGX_DRIVER", driver)
            .logs("upstream timed out (110: Connection timed out) while reading upstream")
            .start();
        take_beginning(&proxy).expect_close();
    }
}

#[test]
fn more_than_was_announced_is_neither_passed_on_nor_left_for_the_next() {
    let origin = Origin::answer(|request| {
        let mut bytes = ok_bytes(&pattern(300_000));
        if request.target() == "/more" {
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        }
        bytes
    });
    let proxy = unbuffered(&origin, "splice on;")
        .may_log("upstream sent more data than specified")
        .start();
    let mut client = proxy.client();
    for _ in 0..10 {
        assert!(client.get("/more").response().body == pattern(300_000));
        assert!(client.get("/").response().body == pattern(300_000));
    }
}

#[test]
fn a_client_that_leaves_takes_a_silent_origin_with_it() {
    for driver in DRIVERS {
        let origin = Origin::script(|conn| {
            begin(conn);
            conn.rest();
        });
        let proxy = unbuffered(&origin, "splice on;")
            .env("RINGX_DRIVER", driver)
            .start();
        drop(take_beginning(&proxy));
        wait::until("the origin's connection to end", || origin.ended() == 1);
        proxy.wait_log("error.log", "client prematurely closed connection");
        assert_eq!(logged(&proxy, "/big")[0], 200);
    }
}

#[test]
fn with_ignore_client_abort_the_origin_may_finish() {
    let origin = Origin::script(|conn| {
        begin(conn);
        // Longer than a client that left is looked for.
        std::thread::sleep(Duration::from_millis(300));
        assert!(conn.send(pattern(100)), "it was cut");
    });
    let proxy = unbuffered(&origin, "splice on; proxy_ignore_client_abort on;")
        .may_log("upstream prematurely closed connection")
        .start();
    drop(take_beginning(&proxy));
    wait::until("the origin's connection to end", || origin.ended() == 1);
    assert!(!proxy.error_log().contains("client prematurely"));
}

#[test]
fn a_client_that_takes_nothing_times_out() {
    for driver in DRIVERS {
        let origin = Origin::answer(|_| response("200 OK", "", &pattern(20 << 20)));
        let proxy = unbuffered(&origin, "splice on; send_timeout 200ms;")
            .env("RINGX_DRIVER", driver)
            .start();
        let mut client = proxy.client();
        client.get("/").head();
        proxy.wait_log(
            "error.log",
            "client timed out (110: Connection timed out) while sending to client",
        );
        wait::until("the origin's connection to end", || origin.ended() == 1);
        no_pipes(&proxy);
    }
}

#[test]
fn request_bodies_cross_and_what_follows_is_the_next_request() {
    for (driver, manner) in [("ring", "on"), ("ring", "auto"), ("epoll", "on")] {
        let origin = Origin::text("x");
        let proxy = unbuffered(&origin, &format!("splice {manner};"))
            .env("RINGX_DRIVER", driver)
            .start();
        let mut client = proxy.client();
        for size in [100, 17_000, 300_000, 6 << 20] {
            let body = pattern(size);
            client.send(format!(
                "POST /{size} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n"
            ));
            let mut twin = client.twin();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut dice = Dice(9);
                    for part in body.chunks(70_000) {
                        twin.write_all(part).unwrap();
                        dice.stall();
                    }
                    // The next request follows at once.
                    twin.write_all(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
                        .unwrap();
                });
                assert_eq!(client.response().status(), 200);
            });
            assert_eq!(client.response().status(), 200);
            let all = origin.requests();
            let [.., got, next] = &all[..] else { panic!() };
            assert!(got.body == body, "{size} bytes, {manner} on {driver}");
            assert_eq!(next.target(), "/next");
        }
        assert_eq!(origin.accepted(), 1, "{manner} on {driver}");
    }
}

#[test]
fn an_origin_that_answers_early_stops_a_request_body() {
    let origin = Origin::script(|conn| {
        conn.read_head();
        conn.bytes(100_000);
        conn.send("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        // Read, so that no reset overtakes the answer.
        conn.rest();
    });
    let proxy = unbuffered(&origin, "splice on;").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000000\r\n\r\n");
    let mut twin = client.twin();
    std::thread::scope(|scope| {
        scope.spawn(move || while twin.write_all(stretch(0, 100_000)).is_ok() {});
        let got = client.response();
        assert_eq!((got.status(), got.text()), (413, "no"));
        drop(client);
    });
}

#[test]
fn a_client_that_breaks_its_body_off_ends_the_request() {
    let origin = Origin::script(|conn| {
        conn.read_head();
        conn.rest();
    });
    let proxy = unbuffered(&origin, "splice on;").start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n");
    client.send(pattern(400_000));
    wait::until("the origin to get it", || origin.received_bytes() > 400_000);
    drop(client);
    wait::until("the origin's connection to end", || origin.ended() == 1);
    proxy.wait_log("error.log", "client prematurely closed connection");
}
