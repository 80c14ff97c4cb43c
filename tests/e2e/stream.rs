//! Plain TCP, passed on: bytes at both ends, who is asked, who the client is, ends, times, and what the log says.

use crate::support::ports::Port;
use crate::support::proxy::{HUP, QUIT};
use crate::support::{Client, Config, LIMIT, Origin, Proxy, wait};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A server on `%%ADDR_1%%` that passes everything to `%%origin%%`, with these lines.
fn passing(origin: SocketAddr, lines: &str) -> Config {
    Config::stream(&format!(
        "log_format s '$status $protocol $bytes_received/$bytes_sent $upstream_addr $upstream_bytes_sent/$upstream_bytes_received';
         server {{ listen %%ADDR_1%%; proxy_pass %%origin%%; access_log %%DIR%%/access.log s; {lines} }}"
    ))
    .set("origin", origin)
}

/// A connection to `%%ADDR_n%%`.
#[track_caller]
fn client(proxy: &Proxy, n: usize) -> Client {
    Client::tcp(proxy.addr_of(n))
}

/// An address on which nobody listens.
fn nobody() -> (Port, SocketAddr) {
    let port = Port::reserve();
    let addr = port.addr();
    (port, addr)
}

#[test]
fn bytes_cross_both_ways_on_every_shard() {
    let origin = Origin::mirror();
    let proxy = passing(origin.addr(), "").workers(4).start();
    let sent: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = client(&proxy, 1);
                for size in [1, 100, 20_000, 700_000] {
                    let bytes = &sent[..size];
                    let mut twin = client.twin();
                    std::thread::scope(|scope| {
                        scope.spawn(move || std::io::Write::write_all(&mut twin, bytes).unwrap());
                        assert!(client.bytes(size) == bytes, "{size}");
                    });
                }
            });
        }
    });
    assert_eq!(origin.accepted(), 16);
    assert_eq!(origin.received_bytes(), 16 * 720_101);
    wait::until("sixteen lines", || {
        proxy.log("access.log").lines().count() == 16
    });
    let line = format!("200 TCP 720101/720101 {} 720101/720101", origin.addr());
    assert!(proxy.log("access.log").lines().all(|l| l == line));
}

#[test]
fn whoever_speaks_first_is_heard() {
    let origin = Origin::script(|conn| {
        conn.send("220 hello\r\n");
        assert_eq!(conn.rest(), b"QUIT\r\n");
    });
    let proxy = passing(origin.addr(), "").start();
    let mut client = client(&proxy, 1);
    assert_eq!(client.bytes(11), b"220 hello\r\n");
    client.send("QUIT\r\n").half_close();
    client.expect_close();
}

#[test]
fn the_end_of_one_side_ends_both_unless_half_close_is_on() {
    let answers_late = || {
        Origin::script(|conn| {
            let asked = conn.rest();
            conn.send([&b"late "[..], &asked].concat());
        })
    };
    let origin = answers_late();
    let proxy = passing(origin.addr(), "").start();
    let mut asked = client(&proxy, 1);
    asked.send("question").half_close();
    asked.expect_close();
    proxy.wait_log("access.log", "200 TCP 8/0 ");
    wait::until("the question", || origin.received() == [b"question"]);
    drop(proxy);

    let origin = answers_late();
    let proxy = passing(origin.addr(), "proxy_half_close on;").start();
    let mut asked = client(&proxy, 1);
    asked.send("question").half_close();
    assert_eq!(asked.rest(), b"late question");
    proxy.wait_log("access.log", "200 TCP 8/13 ");
    drop(proxy);

    let origin = Origin::script(|conn| {
        conn.send("first");
        conn.half_close();
        assert_eq!(conn.rest(), b"second");
    });
    let proxy = passing(origin.addr(), "proxy_half_close on;").start();
    let mut asked = client(&proxy, 1);
    assert_eq!(asked.rest(), b"first");
    asked.send("second");
    drop(asked);
    wait::until("the other half", || origin.received() == [b"second"]);
}

#[test]
fn a_proxy_header_goes_out_before_the_first_byte() {
    let origin = Origin::script(|conn| {
        conn.rest();
    });
    for (lines, version) in [("proxy_protocol on;", 1), ("proxy_protocol 2;", 2)] {
        let proxy = passing(origin.addr(), lines).start();
        let mut client = client(&proxy, 1);
        let from = client.local_addr();
        let to = proxy.addr_of(1);
        client.send("payload");
        drop(client);
        wait::until("the session's end", || origin.ended() == version);
        let got = origin.received().pop().unwrap();
        let head = match version {
            1 => format!(
                "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
                from.port(),
                to.port()
            )
            .into_bytes(),
            _ => {
                let mut head =
                    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
                head.extend_from_slice(&from.port().to_be_bytes());
                head.extend_from_slice(&to.port().to_be_bytes());
                head
            }
        };
        let sent = head.len() + 7;
        assert_eq!(got, [&head[..], b"payload"].concat());
        proxy.wait_log(
            "access.log",
            &format!("200 TCP 7/0 {} {sent}/0", origin.addr()),
        );
    }
}

#[test]
fn a_trusted_peers_header_says_who_the_client_is() {
    let origin = Origin::script(|conn| {
        conn.rest();
    });
    let proxy = Config::stream(
        "server { listen %%ADDR_1%% proxy_protocol; set_real_ip_from 127.0.0.0/8;
                  return \"$remote_addr:$remote_port $realip_remote_addr $proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port\"; }
         server { listen %%ADDR_2%% proxy_protocol; return \"$remote_addr $proxy_protocol_addr\"; }
         server { listen %%ADDR_3%% proxy_protocol; set_real_ip_from 127.0.0.1; allow 10.1.0.0/16; deny all;
                  proxy_pass %%origin%%; proxy_protocol on; access_log %%DIR%%/access.log x; }
         log_format x '$remote_addr $status';",
    )
    .set("origin", origin.addr())
    .logs("access forbidden by rule while initializing session, client: 10.2.3.4, server: 127.0.0.1:")
    .logs("broken header while reading PROXY protocol, client: 127.0.0.1, server: 127.0.0.1:")
    .start();
    let say = |n: usize, text: &str| client(&proxy, n).send(text).rest();
    let header = "PROXY TCP4 10.1.2.3 10.9.9.9 1111 2222\r\n";
    assert_eq!(
        say(1, header),
        b"10.1.2.3:1111 127.0.0.1 10.1.2.3:1111 10.9.9.9:2222"
    );
    assert_eq!(say(2, header), b"127.0.0.1 10.1.2.3");
    assert_eq!(say(2, "PROXY UNKNOWN\r\n"), b"127.0.0.1 ");
    // Whom the header names is let in or not, and the backend hears of it.
    let mut allowed = client(&proxy, 3);
    allowed.send(header).send("data").half_close();
    allowed.expect_close();
    assert_eq!(say(3, "PROXY TCP4 10.2.3.4 10.9.9.9 1 2\r\n"), b"");
    assert_eq!(say(3, "GET / HTTP/1.0\r\n\r\n"), b"");
    wait::until("the backend's end", || origin.ended() == 1);
    let port = proxy.addr_of(3).port();
    assert_eq!(
        origin.received(),
        [format!("PROXY TCP4 10.1.2.3 127.0.0.1 1111 {port}\r\ndata").into_bytes()]
    );
    for line in ["10.1.2.3 200", "10.2.3.4 403", "127.0.0.1 400"] {
        proxy.wait_log("access.log", line);
    }
}

#[test]
fn a_header_in_pieces_is_waited_for_and_a_missing_one_not_for_ever() {
    let proxy = Config::stream(
        "server { listen %%ADDR_1%% proxy_protocol; proxy_protocol_timeout 300ms; return $proxy_protocol_addr; }",
    )
    .start();
    let mut slow = client(&proxy, 1);
    slow.send("PROXY TCP4 10.1");
    assert!(slow.is_quiet_for(Duration::from_millis(100)));
    slow.send(".2.3 10.9.9.9 1 2\r\n");
    assert_eq!(slow.rest(), b"10.1.2.3");
    let from = Instant::now();
    client(&proxy, 1).expect_close();
    assert!(from.elapsed() >= Duration::from_millis(300));
    proxy.wait_log(
        "error.log",
        "client timed out (110: Connection timed out) while reading PROXY protocol",
    );
}

#[test]
fn another_server_is_tried_where_one_refuses() {
    let origin = Origin::mirror();
    let (_port, dead) = nobody();
    let proxy = Config::stream(
        "log_format a '$status $upstream_addr $upstream_connect_time';
         upstream both { server %%dead%% max_fails=0; server %%origin%%; }
         upstream spare { server %%dead%%; server %%origin%% backup; }
         upstream none { server %%dead%%; server %%dead%% max_fails=0; }
         server { listen %%ADDR_1%%; proxy_pass both; access_log %%DIR%%/both.log a; }
         server { listen %%ADDR_2%%; proxy_pass spare; access_log %%DIR%%/spare.log a; }
         server { listen %%ADDR_3%%; proxy_pass none; access_log %%DIR%%/none.log a; }
         server { listen %%ADDR_4%%; proxy_pass none; proxy_next_upstream off; access_log %%DIR%%/off.log a; }
         server { listen %%ADDR_5%%; proxy_pass none; proxy_next_upstream_tries 1; access_log %%DIR%%/one.log a; }",
    )
    .set("origin", origin.addr())
    .set("dead", dead)
    .logs("connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, server: 127.0.0.1:")
    .may_log("upstream server temporarily disabled")
    .may_log("no live upstreams while connecting to upstream")
    .start();
    for n in [1, 1, 2] {
        let mut client = client(&proxy, n);
        client.send("ping");
        assert_eq!(client.bytes(4), b"ping");
    }
    for n in [3, 4, 5] {
        client(&proxy, n).expect_close();
    }
    let tried = format!("200 {dead}, {} -, 0.0", origin.addr());
    proxy.wait_log("both.log", &tried);
    proxy.wait_log("spare.log", &tried);
    proxy.wait_log("none.log", &format!("502 {dead}, {dead} -, -"));
    for log in ["off.log", "one.log"] {
        proxy.wait_log(log, "502 ");
        assert!(!proxy.log(log).contains(','), "{}", proxy.log(log));
    }
    let context =
        format!("upstream: \"{dead}\", bytes from/to client:0/0, bytes from/to upstream:0/0");
    proxy.wait_log("error.log", &context);
}

#[test]
fn weights_keys_and_connections_decide_who_is_asked() {
    let origins: Vec<Origin> = (0..2)
        .map(|n| {
            Origin::script(move |conn| {
                conn.send(format!("{n}"));
                conn.rest();
            })
        })
        .collect();
    let proxy = Config::stream(
        "upstream heavy { server %%a%% weight=3; server %%b%%; }
         upstream least { least_conn; server %%a%%; server %%b%%; }
         upstream few { server %%a%% max_conns=1; server %%b%% backup; }
         upstream keyed { hash $remote_addr consistent; server %%a%%; server %%b%%; }
         server { listen %%ADDR_1%%; proxy_pass heavy; } server { listen %%ADDR_2%%; proxy_pass least; }
         server { listen %%ADDR_3%%; proxy_pass few; } server { listen %%ADDR_4%%; proxy_pass keyed; }",
    )
    .set("a", origins[0].addr())
    .set("b", origins[1].addr())
    .start();
    let ask = |n: usize, count: usize| -> (Vec<Client>, String) {
        let mut clients: Vec<Client> = (0..count).map(|_| client(&proxy, n)).collect();
        let said = clients.iter_mut().map(|c| c.bytes(1)[0] as char).collect();
        (clients, said)
    };
    let zeros = |said: &str| said.matches('0').count();
    assert_eq!(zeros(&ask(1, 8).1), 6);
    // All stay open, so that each new one goes where there are fewer.
    assert_eq!(zeros(&ask(2, 8).1), 4);
    let (held, said) = ask(3, 3);
    assert_eq!(said, "011");
    drop(held);
    let said = ask(4, 6).1;
    assert!(said == "000000" || said == "111111", "{said}");
}

#[test]
fn silence_ends_a_session_and_traffic_in_one_direction_keeps_it() {
    let origin = Origin::mirror();
    let proxy = passing(origin.addr(), "proxy_timeout 500ms;").start();
    let mut silent = client(&proxy, 1);
    let mut busy = client(&proxy, 1);
    let from = Instant::now();
    while from.elapsed() < Duration::from_millis(1200) {
        busy.send("x");
        assert_eq!(busy.bytes(1), b"x");
        std::thread::sleep(Duration::from_millis(50));
    }
    silent.expect_close();
    proxy.wait_log("access.log", "200 TCP 0/0 ");
    proxy.wait_log(
        "error.log",
        "connection timed out (110: Connection timed out) while proxying connection, client: 127.0.0.1, server: ",
    );
    busy.send("y");
    assert_eq!(busy.bytes(1), b"y");
}

#[test]
fn a_backend_that_does_not_accept_is_given_up() {
    // Its queue is full: the kernel drops what comes after.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    full.listen(0).unwrap();
    let addr = full.local_addr().unwrap().as_socket().unwrap();
    let mut queued = Vec::new();
    while let Ok(socket) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        queued.push(socket);
    }
    let proxy = passing(addr, "proxy_connect_timeout 300ms;")
        .logs("upstream timed out (110: Connection timed out) while connecting to upstream, client: 127.0.0.1")
        .start();
    let from = Instant::now();
    client(&proxy, 1).expect_close();
    assert!(from.elapsed() >= Duration::from_millis(300));
    proxy.wait_log("access.log", &format!("502 TCP 0/0 {addr} 0/0"));
}

#[test]
fn unix_sockets_on_either_side() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let path = folder.path().join("backend.sock");
    let origin = Origin::unix(&path, |conn| conn.echo());
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let proxy = Config::stream(
        "log_format a '$remote_addr|$remote_port|$server_addr|$upstream_addr|$status';
         upstream group { server unix:%%backend%%; }
         server { listen unix:%%DIR%%/front.sock; proxy_pass unix:%%backend%%; access_log %%DIR%%/access.log a; }
         server { listen %%ADDR_1%%; proxy_pass group; }",
    )
    .set("backend", path.display())
    .start();
    let mut over_unix = Client::unix(&proxy.path("front.sock"));
    let mut over_tcp = client(&proxy, 1);
    for client in [&mut over_unix, &mut over_tcp] {
        client.send("ping");
        assert_eq!(client.bytes(4), b"ping");
    }
    drop(over_unix);
    let front = proxy.path("front.sock");
    proxy.wait_log(
        "access.log",
        &format!(
            "unix:||unix:{}|unix:{}|200",
            front.display(),
            path.display()
        ),
    );
    assert_eq!(origin.accepted(), 2);
}

#[test]
fn addresses_with_variables_name_groups_and_backends() {
    let origin = Origin::mirror();
    let proxy = Config::stream(
        "upstream inner { server %%origin%%; }
         map $server_port $to { %%PORT_1%% inner; %%PORT_2%% %%origin%%; ~^(?<digit>\\d)\\d+$ nothing$digit; }
         geo $near { default far; 127.0.0.0/8 near; }
         split_clients $remote_addr $share { 100% all; }
         server { listen %%ADDR_1%%; proxy_pass $to; } server { listen %%ADDR_2%%; proxy_pass $to; }
         server { listen %%ADDR_3%%; proxy_pass $to; } server { listen %%ADDR_4%%; return \"$near $share $server_port\"; }",
    )
    .set("origin", origin.addr())
    .logs("no port in upstream \"nothing")
    .start();
    for n in [1, 2] {
        let mut client = client(&proxy, n);
        client.send("ping");
        assert_eq!(client.bytes(4), b"ping");
    }
    client(&proxy, 3).expect_close();
    let want = format!("near all {}", proxy.addr_of(4).port());
    assert_eq!(client(&proxy, 4).rest(), want.as_bytes());
}

#[test]
fn the_log_line_tells_a_session() {
    let origin = Origin::script(|conn| {
        assert_eq!(conn.bytes(5), b"hello");
        conn.send("welcome");
    });
    let proxy = Config::stream(
        "log_format all '$remote_addr $remote_port $server_addr $server_port $server_name $protocol $status '
            '$bytes_received $bytes_sent $session_time $upstream_addr $upstream_bytes_sent $upstream_bytes_received '
            '$upstream_connect_time $upstream_first_byte_time $upstream_session_time [$time_local] $msec $connection '
            '$proxy_protocol_addr $ssl_protocol';
         log_format json escape=json '{\"a\":\"$bytes_sent\"}';
         server { listen %%ADDR_1%%; server_name db; proxy_pass %%origin%%;
                  access_log %%DIR%%/access.log all; access_log %%DIR%%/json.log json if=$bytes_sent;
                  access_log %%DIR%%/never.log json if=$proxy_protocol_addr; }",
    )
    .set("origin", origin.addr())
    .start();
    let mut asked = client(&proxy, 1);
    let from = asked.local_addr().port();
    asked.send("hello");
    assert_eq!(asked.rest(), b"welcome");
    proxy.wait_log("access.log", "\n");
    let line = proxy.log("access.log");
    let words: Vec<&str> = line.split_whitespace().collect();
    let (port, backend) = (
        proxy.addr_of(1).port().to_string(),
        origin.addr().to_string(),
    );
    let from = from.to_string();
    let head = [
        "127.0.0.1",
        &from,
        "127.0.0.1",
        &port,
        "db",
        "TCP",
        "200",
        "5",
        "7",
    ];
    assert_eq!(words[..9], head, "{line}");
    assert_eq!(words[10..13], [&backend, "5", "7"], "{line}");
    for time in [words[9], words[13], words[14], words[15]] {
        let (whole, rest) = time.split_once('.').unwrap();
        assert!(whole.parse::<u32>().is_ok() && rest.len() == 3, "{line}");
    }
    assert_eq!(words[words.len() - 2..], ["-", "-"], "{line}");
    proxy.wait_log("json.log", "\n");
    assert_eq!(proxy.log("json.log"), "{\"a\":\"7\"}\n");
    assert_eq!(proxy.log("never.log"), "");
    let connected = format!("client 127.0.0.1:{from} connected to 127.0.0.1:{port}");
    proxy.wait_log("error.log", &connected);
    proxy.wait_log("error.log", &format!(" connected to {backend}"));
    proxy.wait_log(
        "error.log",
        "upstream disconnected, bytes from/to client:5/7, bytes from/to upstream:7/5",
    );
}

#[test]
fn addresses_that_are_denied_get_nothing() {
    let origin = Origin::mirror();
    let proxy = passing(origin.addr(), "deny 127.0.0.1;")
        .logs("access forbidden by rule")
        .start();
    client(&proxy, 1).expect_close();
    proxy.wait_log("access.log", "403 TCP 0/0 - -");
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn a_reset_on_one_side_is_the_end_of_the_other() {
    let origin = Origin::mirror();
    let proxy = passing(origin.addr(), "").start();
    let mut resets = client(&proxy, 1);
    resets.send("x");
    assert_eq!(resets.bytes(1), b"x");
    resets.reset();
    wait::until("the backend's side to end", || origin.ended() == 1);
    drop(proxy);
    let origin = Origin::script(|conn| {
        conn.bytes(1);
        conn.reset();
    });
    let proxy = passing(origin.addr(), "")
        .may_log("recv() failed (104: Connection reset by peer) while proxying and reading from upstream")
        .start();
    let mut left = client(&proxy, 1);
    left.send("x");
    left.expect_close();
    proxy.wait_log("access.log", "200 TCP 1/0 ");
}

#[test]
fn a_reload_leaves_open_sessions_alone_and_new_ones_go_by_it() {
    let old = Origin::mirror();
    let new = Origin::script(|conn| {
        conn.send("new");
        conn.rest();
    });
    let text = "server { listen %%ADDR_1%%; proxy_pass %%old%%; }";
    let mut proxy = Config::stream(text)
        .set("old", old.addr())
        .set("new", new.addr())
        .workers(4)
        .start();
    let mut open: Vec<Client> = (0..8).map(|_| client(&proxy, 1)).collect();
    for client in &mut open {
        client.send("a");
        assert_eq!(client.bytes(1), b"a");
    }
    proxy.rewrite_stream("server { listen %%ADDR_1%%; proxy_pass %%new%%; }");
    // Every connection that comes while the plans change is served by one of them.
    proxy.reload_until(|| {
        let mut client = client(&proxy, 1);
        client.send("b").half_close();
        matches!(&client.rest()[..], b"new")
    });
    for client in &mut open {
        client.send("c");
        assert_eq!(client.bytes(1), b"c");
    }
    // An address that is gone does not take its sessions along.
    proxy.rewrite_stream("");
    proxy.reload_until(|| std::net::TcpStream::connect(proxy.addr_of(1)).is_err());
    for client in &mut open {
        client.send("d");
        assert_eq!(client.bytes(1), b"d");
    }
}

#[test]
fn reloads_lose_no_connection() {
    let origin = Origin::mirror();
    let text = "server { listen %%ADDR_1%%; proxy_pass %%origin%%; }";
    let proxy = Config::stream(text)
        .set("origin", origin.addr())
        .workers(4)
        .start();
    let (served, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut client = client(&proxy, 1);
                client.send("ping");
                assert_eq!(client.bytes(4), b"ping");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..5 {
            let before = served.load(Ordering::Relaxed);
            proxy.signal(HUP);
            let went_on = || served.load(Ordering::Relaxed) >= before + 200;
            if wait::until_some(LIMIT, || went_on().then_some(())).is_none() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) >= 1000);
}

#[test]
fn worker_shutdown_timeout_bounds_what_a_reload_leaves() {
    let origin = Origin::mirror();
    let server = "server { listen %%ADDR_1%%; proxy_pass %%origin%%; }";
    let file = format!(
        "daemon off; worker_processes 2; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info;
         worker_shutdown_timeout 400ms; events {{}}
         stream {{ server {{ listen %%ADDR_0%%; return ready; }} {server} }}"
    );
    let proxy = Config::main(&file).set("origin", origin.addr()).start();
    let mut open = client(&proxy, 1);
    open.send("a");
    assert_eq!(open.bytes(1), b"a");
    let from = Instant::now();
    proxy.signal(HUP);
    open.expect_close();
    assert!(from.elapsed() >= Duration::from_millis(300));
    proxy.wait_log("error.log", "shutdown timeout while proxying connection");
    let mut again = client(&proxy, 1);
    again.send("b");
    assert_eq!(again.bytes(1), b"b");
    // A graceful end waits as long, and no longer.
    assert_eq!(proxy.stop(QUIT), Some(0));
    again.expect_close();
}

#[test]
fn a_graceful_end_waits_for_open_sessions() {
    let origin = Origin::mirror();
    let proxy = passing(origin.addr(), "").start();
    let mut open = client(&proxy, 1);
    open.send("a");
    assert_eq!(open.bytes(1), b"a");
    proxy.signal(QUIT);
    let refused = || std::net::TcpStream::connect(proxy.addr_of(1)).is_err();
    wait::until("the listener's end", refused);
    open.send("b");
    assert_eq!(open.bytes(1), b"b");
    drop(open);
    assert_eq!(proxy.wait_end(), Some(0));
}

#[test]
fn many_sessions_leave_nothing_behind() {
    let origin = Origin::mirror();
    let proxy = passing(origin.addr(), "").start();
    let before = proxy.worker_fds();
    for _ in 0..3 {
        let mut clients: Vec<Client> = (0..100).map(|_| client(&proxy, 1)).collect();
        for client in &mut clients {
            client.send("x");
            assert_eq!(client.bytes(1), b"x");
        }
        assert!(proxy.worker_fds() >= before + 200);
        drop(clients);
        let settled = wait::until_some(LIMIT, || (proxy.worker_fds() <= before + 48).then_some(()));
        assert!(settled.is_some(), "{} of {before}", proxy.worker_fds());
    }
    wait::until("all lines", || {
        proxy.log("access.log").lines().count() == 300
    });
}

#[test]
fn requests_and_sessions_live_side_by_side() {
    let origin = Origin::mirror();
    let text = "daemon off; worker_processes 2; pid %%DIR%%/ringx.pid; error_log %%DIR%%/error.log info; events {}
        http { access_log off; upstream u { server 127.0.0.1:1; }
               server { listen %%ADDR_0%%; location / { return 200 web; } location /s { stub_status; } } }
        stream { upstream u { server %%origin%%; } server { listen %%ADDR_1%%; proxy_pass u; } }";
    let proxy = Config::main(text).set("origin", origin.addr()).start();
    let mut session = client(&proxy, 1);
    session.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(session.bytes(18), b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(proxy.get("/").text(), "web");
    // A session is an active connection beside the one that asks.
    wait::until("two connections", || {
        let status = proxy.get("/s");
        status.text().starts_with("Active connections: 2 ")
    });
}

#[test]
fn toml_says_the_same() {
    let origin = Origin::mirror();
    let text = "daemon = false\nworker_processes = 1\npid = \"%%DIR%%/ringx.pid\"\nerror_log = \"%%DIR%%/error.log info\"\n
[[stream.server]]\nlisten = \"%%ADDR_0%%\"\nreturn = \"ready\"\n
[stream.upstream.app]\nserver = [\"%%origin%%\"]\n
[[stream.server]]\nlisten = \"%%ADDR_1%%\"\nproxy_pass = \"app\"\nproxy_timeout = \"1m\"\n";
    let proxy = Config::toml(text).set("origin", origin.addr()).start();
    assert_eq!(client(&proxy, 0).rest(), b"ready");
    let mut session = client(&proxy, 1);
    session.send("ping");
    assert_eq!(session.bytes(4), b"ping");
}
