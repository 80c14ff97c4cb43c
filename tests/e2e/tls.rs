//! TLS towards clients: handshakes good and bad, both versions, HTTP/1 and HTTP/2, names, ends, reloads.

use crate::support::frames::{HEADERS, get as h2_get, hello, until};
use crate::support::origin::{ok, ok_bytes};
use crate::support::tls::{BOTH, SelfSigned, TLS12, TLS13, client, try_client};
use crate::support::{Client, Config, Origin, Proxy, skipped, wait};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

const PAIR: &str = "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;";

/// One server over TLS, and what is inside it.
fn server(text: &str) -> (Config, SelfSigned) {
    let pair = SelfSigned::new(&["a.test", "b.test", "c.test"]);
    let config = Config::http(&format!(
        "{PAIR} server {{ listen %%ADDR_0%% ssl; server_name a.test; {text} }}"
    ))
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key);
    (config, pair)
}

#[track_caller]
fn connect(proxy: &Proxy, pair: &SelfSigned) -> Client {
    client(proxy.addr(), pair.trusted(BOTH), "a.test")
}

/// Whether bytes on the wire are answered by an alert of this number, and the connection ended.
#[track_caller]
fn alert(client: &mut Client) -> Option<u8> {
    let rest = client.rest();
    match &rest[..] {
        [] => None,
        [21, 3, _, 0, 2, 2, number] => Some(*number),
        other => panic!("neither an alert nor the end: {other:?}"),
    }
}

/// A ClientHello as rustls writes it.
fn client_hello(pair: &SelfSigned) -> Vec<u8> {
    let name = "a.test".try_into().unwrap();
    let config = std::sync::Arc::new(pair.trusted(BOTH));
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn requests_follow_each_other_in_both_versions() {
    let (config, pair) = server("location / { return 200 \"$scheme $https\"; }");
    let proxy = config.start();
    for (versions, version) in [(TLS12, 0x303), (TLS13, 0x304), (BOTH, 0x304)] {
        let mut client = client(proxy.addr(), pair.trusted(versions), "a.test");
        let agreed = client.tls().protocol_version().map(u16::from);
        assert_eq!(agreed, Some(version));
        let text = "https on";
        for _ in 0..3 {
            assert_eq!(client.get("/").response().text(), text);
        }
        // Three at once, the last in two pieces.
        let one = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
        client.send(format!("{one}{one}GET / HT"));
        client.send("TP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        for _ in 0..3 {
            assert_eq!(client.response().text(), text);
        }
        client.expect_close();
        // The end was announced.
        let state = client.tls().process_new_packets().unwrap();
        assert!(state.peer_has_closed());
    }
}

#[test]
fn large_bodies_go_both_ways() {
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let origin = Origin::answer(move |request| ok_bytes(&request.body));
    for buffering in ["on", "off"] {
        let (config, pair) = server(&format!(
            "client_max_body_size 0; proxy_buffering {buffering}; proxy_request_buffering {buffering};
             ssl_buffer_size 4k; root %%DIR%%;
             location /up {{ proxy_pass http://%%origin%%; proxy_http_version 1.1; }}"
        ));
        let config = config.set("origin", origin.addr()).file("big", &big);
        let proxy = config.start();
        let mut client = connect(&proxy, &pair);
        assert!(client.get("/big").response().body == big);
        for _ in 0..2 {
            let fields = format!("Content-Length: {}\r\n", big.len());
            client.request("POST", "/up", &fields).send(&big);
            assert!(client.response().body == big);
        }
        assert!(client.get("/big").response().body == big);
    }
}

#[test]
fn plain_http_gets_a_page_or_a_redirect() {
    let (config, pair) = server("location / { return 200 ok; }");
    let proxy = config
        .logs("client sent plain HTTP request to HTTPS port while reading client request headers")
        .start();
    let mut plain = proxy.client();
    let answer = plain.get("/").response();
    assert_eq!(answer.status(), 400);
    assert!(
        answer
            .text()
            .contains("The plain HTTP request was sent to HTTPS port")
    );
    plain.expect_close();
    assert_eq!(connect(&proxy, &pair).get("/").response().text(), "ok");
    drop(proxy);

    let (config, _) = server("error_page 497 =301 https://$host:$server_port$request_uri;");
    let proxy = config.start();
    let answer = proxy.client().get("/x?y").response();
    assert_eq!(answer.status(), 301);
    let expected = format!("https://localhost:{}/x?y", proxy.addr().port());
    assert_eq!(answer.field("location"), Some(&expected[..]));
}

#[test]
fn a_name_finds_its_server_and_its_certificate() {
    let pairs = ["a.test", "b.test", "w.test"].map(|name| match name {
        "w.test" => SelfSigned::new(&["x.w.test", "w.test"]),
        name => SelfSigned::new(&[name]),
    });
    let mut config = Config::http(
        "server { listen %%ADDR_0%% ssl default_server; server_name a.test;
           ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key; return 200 \"a $host\"; }
         server { listen %%ADDR_0%% ssl; server_name b.test;
           ssl_certificate %%DIR%%/b.crt; ssl_certificate_key %%DIR%%/b.key; return 200 \"b $host\"; }
         server { listen %%ADDR_0%% ssl; server_name *.w.test ~^r[0-9]+\\.test$;
           ssl_certificate %%DIR%%/w.crt; ssl_certificate_key %%DIR%%/w.key; return 200 \"w $host\"; }
         server { listen %%ADDR_0%% ssl; server_name no.test; ssl_reject_handshake on; }",
    )
    .logs("handshake rejected while SSL handshaking, client: 127.0.0.1, server: 127.0.0.1:");
    for (pair, name) in pairs.iter().zip(["a", "b", "w"]) {
        config = config
            .file(&format!("{name}.crt"), &pair.cert)
            .file(&format!("{name}.key"), &pair.key);
    }
    let proxy = config.start();
    for (index, name, host, text) in [
        (0, "a.test", "a.test", "a a.test"),
        (1, "b.test", "b.test", "b b.test"),
        (1, "b.test", "B.Test.", "b b.test"),
        (2, "x.w.test", "x.w.test", "w x.w.test"),
        // Who was let in by one name may ask for another where nobody wants certificates.
        (1, "b.test", "a.test", "a a.test"),
        (1, "b.test", "other.test", "a other.test"),
    ] {
        let mut client = client(proxy.addr(), pairs[index].trusted(BOTH), name);
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), text, "{name} {host}");
    }
    // An unknown name gets the default server's certificate, which is another's.
    let unknown = try_client(proxy.addr(), pairs[0].trusted(BOTH), "unknown.test");
    assert!(unknown.unwrap_err().contains("not valid for name"));
    let refused = try_client(proxy.addr(), pairs[0].trusted(BOTH), "no.test");
    assert!(refused.unwrap_err().contains("UnrecognisedName"));
}

#[test]
fn one_name_is_no_way_around_anothers_certificates() {
    let pair = SelfSigned::new(&["a.test", "b.test", "c.test"]);
    let guarded = Config::http(
        "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
         server { listen %%ADDR_0%% ssl; server_name a.test; http2 on; return 200 a; }
         server { listen %%ADDR_0%% ssl; server_name b.test; ssl_verify_client optional_no_ca; return 200 b; }
         server { listen %%ADDR_0%% ssl; server_name c.test; return 200 c; }",
    )
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
    .logs("client attempted to request the server name different from the one that was negotiated while reading");
    let proxy = guarded.start();
    for (name, host, status) in [
        ("a.test", "a.test", 200),
        ("a.test", "b.test", 421),
        ("a.test", "c.test", 200),
        ("b.test", "b.test", 200),
        ("b.test", "B.TEST:443", 200),
        ("b.test", "a.test", 200),
        ("c.test", "b.test", 421),
    ] {
        let mut client = client(proxy.addr(), pair.trusted(BOTH), name);
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().status(), status, "{name} {host}");
    }
}

#[test]
fn what_is_no_handshake_ends_with_an_alert_and_a_line() {
    let (config, pair) = server("return 200 ok;");
    let proxy = config
        .logs("SSL_do_handshake() failed (SSL: error:0A000102:SSL routines::unsupported protocol) while SSL handshaking")
        .logs("SSL_do_handshake() failed (SSL: error:0A00010B:SSL routines::wrong version number) while SSL handshaking")
        .logs("peer closed connection in SSL handshake while SSL handshaking, client: 127.0.0.1")
        .logs("client closed connection while SSL handshaking, client: 127.0.0.1")
        .start();
    let hello = client_hello(&pair);
    let mut old = hello.clone();
    // TLS 1.1 and no extension that says better.
    old[9..11].copy_from_slice(&[3, 2]);
    let versions = old.windows(4).position(|w| w == [0, 43, 0, 5]).unwrap();
    old[versions + 1] = 0xee;
    let mut garbage = hello.clone();
    garbage[5] = 2;
    let mut long = hello.clone();
    long[3..5].copy_from_slice(&[0xff, 0xff]);
    let mut lying = hello.clone();
    let at = lying.len() - 1;
    lying.truncate(at);
    lying.push(0x55);
    for (bytes, number) in [
        (&old[..], 70),
        (b"\x16\x00\x00\x00\x05hello", 70),
        (b"\x80\x2e\x01\x00\x02", 70),
        (&garbage, 10),
        (&long, 50),
    ] {
        let mut client = proxy.client();
        client.send(bytes);
        assert_eq!(alert(&mut client), Some(number), "{:?}", &bytes[..5]);
    }
    // An end in the middle, at every byte, is answered with an end.
    for cut in (0..hello.len()).step_by(7) {
        let mut client = proxy.client();
        client.send(&hello[..cut]).half_close();
        assert_eq!(alert(&mut client), None, "{cut}");
    }
    // Every byte turned over, one at a time: an answer or an alert, never silence.
    for at in (0..hello.len()).step_by(5) {
        let mut broken = hello.clone();
        broken[at] ^= 0xff;
        let mut client = proxy.client();
        client.try_send(&broken);
        client.half_close();
        let _ = client.rest();
    }
    assert_eq!(connect(&proxy, &pair).get("/").response().text(), "ok");
}

#[test]
fn records_that_are_changed_on_the_way_are_noticed() {
    let (config, pair) = server("return 200 ok;");
    let proxy = config.start();
    for bytes in [
        &b"\x17\x03\x03\x00\x20................................"[..],
        b"\x17\x03\x03\xff\xff",
        b"\x16\x03\x03\x00\x04\x01\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut client = connect(&proxy, &pair);
        assert_eq!(client.get("/").response().text(), "ok");
        client.send_raw(bytes);
        // What the server says is an alert, which the client understands.
        assert!(client.read_error().is_some_and(|e| e.contains("alert")));
    }
}

#[test]
fn a_hello_may_come_byte_by_byte_or_not_at_all() {
    let (config, pair) = server("client_header_timeout 300ms; return 200 ok;");
    let proxy = config
        .logs(
            "client timed out (110: Connection timed out) while SSL handshaking, client: 127.0.0.1",
        )
        .start();
    let hello = client_hello(&pair);
    let mut slow = proxy.client();
    for byte in &hello {
        slow.send([*byte]);
    }
    // A ServerHello.
    assert_eq!(slow.bytes(1), [22]);
    for bytes in [&b""[..], &hello[..1], &hello[..hello.len() - 1], &hello[..]] {
        let mut client = proxy.client();
        if !bytes.is_empty() {
            client.send(bytes);
        }
        let rest = client.rest();
        assert_eq!(rest.is_empty(), bytes.len() < hello.len());
    }
}

#[test]
fn http2_is_agreed_on_by_alpn() {
    let (config, pair) = server("http2 on; return 200 \"$server_protocol $http2\";");
    let proxy = config
        .logs(
            "SSL_do_handshake() failed (SSL: error:0A0000EB:SSL routines::no application protocol)",
        )
        .start();
    let with = |protocols: &[&str]| {
        let mut config = pair.trusted(BOTH);
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        try_client(proxy.addr(), config, "a.test")
    };
    let mut client = with(&["http/1.1", "h2"]).unwrap();
    assert_eq!(client.tls().alpn_protocol(), Some(&b"h2"[..]));
    client.send(hello(&[h2_get(1)]));
    let (stream, _) = until(&mut client, HEADERS);
    assert_eq!(stream, 1);
    for protocols in [&["http/1.1"][..], &[]] {
        let mut client = with(protocols).unwrap();
        assert_eq!(client.get("/").response().text(), "HTTP/1.1 ");
        // A preface is a request of HTTP/1 here, and a bad one.
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        assert_eq!(client.response().status(), 400);
    }
    assert!(
        with(&["spdy/3"])
            .unwrap_err()
            .contains("NoApplicationProtocol")
    );
    // Who agreed on HTTP/2 speaks it.
    let mut liar = with(&["h2"]).unwrap();
    liar.get("/");
    assert!(!String::from_utf8_lossy(&liar.rest()).contains("HTTP/1.1"));
}

#[test]
fn ends_are_heard_and_told() {
    let origin = Origin::echo();
    let (config, pair) = server("location / { proxy_pass http://%%origin%%; }");
    let proxy = config.set("origin", origin.addr()).start();
    // A client that has said its last word still gets its answer.
    let mut client = connect(&proxy, &pair);
    client.get("/").close_notify();
    assert_eq!(client.response().status(), 200);
    // An idle connection is closed with a word by either side.
    let mut client = connect(&proxy, &pair);
    client.get("/").response();
    client.close_notify();
    client.expect_close();
    assert!(
        client
            .tls()
            .process_new_packets()
            .unwrap()
            .peer_has_closed()
    );
    // Without a word too.
    let mut client = connect(&proxy, &pair);
    client.get("/").response();
    client.half_close();
    client.expect_close();
}

#[test]
fn a_websocket_goes_through() {
    let origin = Origin::upgrade_echo();
    let (config, pair) = server(
        "location / { proxy_pass http://%%origin%%; proxy_http_version 1.1;
           proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }",
    );
    let proxy = config.set("origin", origin.addr()).start();
    let mut client = connect(&proxy, &pair);
    client.request("GET", "/", "Upgrade: echo\r\nConnection: Upgrade\r\n");
    assert_eq!(client.head().status(), 101);
    for size in [1, 500, 16_384, 16_385, 33_000, 40_000, 100_000] {
        let bytes: Vec<u8> = (0..size).map(|n| (n % 239) as u8).collect();
        client.send(&bytes);
        assert!(client.bytes(size) == bytes);
    }
    assert!(client.is_quiet_for(Duration::from_millis(50)));
    client.close_notify();
    client.expect_close();
    wait::until("the origin's end", || origin.ended() == 1);
}

#[test]
fn redirects_know_their_scheme() {
    let (config, pair) = server("root %%DIR%%; location /r { rewrite ^ /there permanent; }");
    let proxy = config.file("folder/x", "x").start();
    let mut client = connect(&proxy, &pair);
    for (path, target) in [("/folder", "/folder/"), ("/r", "/there")] {
        let answer = client.get(path).response();
        let expected = format!("https://localhost:{}{target}", proxy.addr().port());
        assert_eq!(answer.field("location"), Some(&expected[..]));
    }
}

#[test]
fn a_proxy_header_comes_before_the_hello() {
    let pair = SelfSigned::new(&["a.test"]);
    let proxy = Config::http(&format!(
        "{PAIR} server {{ listen %%ADDR_0%% ssl proxy_protocol; server_name a.test;
           return 200 $proxy_protocol_addr; }}"
    ))
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
    .start();
    let mut raw = std::net::TcpStream::connect(proxy.addr()).unwrap();
    raw.set_read_timeout(Some(crate::support::LIMIT)).unwrap();
    raw.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.8 1000 443\r\n")
        .unwrap();
    let name = "a.test".try_into().unwrap();
    let config = std::sync::Arc::new(pair.trusted(BOTH));
    let connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, raw);
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n192.0.2.7"), "{answer}");
}

#[test]
fn a_reload_brings_new_certificates_and_loses_nobody() {
    let (config, pair) = server("return 200 ok;");
    let mut proxy = config.start();
    let mut kept = connect(&proxy, &pair);
    assert_eq!(kept.get("/").response().text(), "ok");
    let newer = SelfSigned::new(&["a.test"]);
    std::fs::write(proxy.path("a.crt"), &newer.cert).unwrap();
    std::fs::write(proxy.path("a.key"), &newer.key).unwrap();
    let addr = proxy.addr();
    proxy.reload_until(|| try_client(addr, newer.trusted(BOTH), "a.test").is_ok());
    assert!(try_client(addr, pair.trusted(BOTH), "a.test").is_err());
    assert_eq!(kept.get("/").response().text(), "ok");
    // A pair that does not fit changes nothing.
    proxy.announce("SSL_CTX_use_PrivateKey(");
    std::fs::write(proxy.path("a.key"), &pair.key).unwrap();
    proxy.signal(crate::support::proxy::HUP);
    proxy.wait_log("error.log", "SSL_CTX_use_PrivateKey(");
    assert_eq!(
        client(addr, newer.trusted(BOTH), "a.test")
            .get("/")
            .response()
            .text(),
        "ok"
    );
    assert_eq!(kept.get("/").response().text(), "ok");
}

#[test]
fn handshakes_that_are_left_alone_leave_nothing_behind() {
    let (config, pair) = server("return 200 ok;");
    let proxy = config.start();
    connect(&proxy, &pair).get("/").response();
    let before = proxy.worker_fds();
    let hello = client_hello(&pair);
    let mut waiting: Vec<_> = (0..200)
        .map(|n| {
            let mut client = proxy.client();
            client.send(&hello[..hello.len() * n / 200]);
            client
        })
        .collect();
    wait::until("all of them", || proxy.worker_fds() >= before + 150);
    for client in waiting.drain(..) {
        client.reset();
    }
    wait::until("their end", || proxy.worker_fds() <= before + 2);
    assert_eq!(connect(&proxy, &pair).get("/").response().text(), "ok");
}

/// Runs a program on a proxy with HTTP/2; none, and counted as skipped, when it is not installed.
fn run(program: &str, args: &[&str], input: &str) -> Option<String> {
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        skipped(&format!("no {program} on this machine"));
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    let mut out = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut out).unwrap();
    drop(stdin);
    child.wait().unwrap();
    Some(out)
}

#[test]
fn curl_gets_its_answers() {
    let origin = Origin::fixed(ok("from the origin"));
    let (config, _) = server("http2 on; location / { proxy_pass http://%%origin%%; }");
    let proxy = config.set("origin", origin.addr()).start();
    let url = format!("https://a.test:{}/", proxy.addr().port());
    let to = format!("a.test:{}:127.0.0.1", proxy.addr().port());
    let authority = proxy.path("a.crt").display().to_string();
    for (version, line) in [
        (&["--http2", "--tlsv1.3"], "HTTP/2 200"),
        (&["--http1.1", "--tlsv1.3"], "HTTP/1.1 200 OK"),
        (&["--http2", "--tls-max=1.2"], "HTTP/2 200"),
        (&["--http1.1", "--tls-max=1.2"], "HTTP/1.1 200 OK"),
    ] {
        let max = version[1].split_once('=');
        let mut args = vec!["-si", "--max-time", "5", version[0]];
        match max {
            Some((name, value)) => args.extend([name, value]),
            None => args.push(version[1]),
        }
        args.extend(["--cacert", &authority, "--resolve", &to, &url, &url]);
        let Some(text) = run("curl", &args, "") else {
            return;
        };
        assert_eq!(text.matches(line).count(), 2, "{version:?}: {text}");
        assert_eq!(text.matches("from the origin").count(), 2);
    }
}

#[test]
fn openssl_may_not_renegotiate_or_speak_older_versions() {
    let (config, _) = server("return 200 ok;");
    let proxy = config.start();
    let addr = proxy.addr().to_string();
    // `R` on a line of its own asks for a renegotiation.
    let args = ["s_client", "-connect", &addr, "-tls1_2"];
    let Some(text) = run("openssl", &args, "R\n") else {
        return;
    };
    assert!(text.contains("BEGIN CERTIFICATE"), "{text}");
    let args = ["s_client", "-connect", &addr, "-tls1_1"];
    let text = run("openssl", &args, "").unwrap();
    assert!(!text.contains("BEGIN CERTIFICATE"), "{text}");
}

#[test]
fn keys_change_in_the_middle() {
    let (config, pair) = server("return 200 ok;");
    let proxy = config.start();
    let mut client = client(proxy.addr(), pair.trusted(TLS13), "a.test");
    for _ in 0..3 {
        assert_eq!(client.get("/").response().text(), "ok");
        client.tls().refresh_traffic_keys().unwrap();
    }
    assert_eq!(client.get("/").response().text(), "ok");
}

#[test]
fn nothing_is_spliced_past_the_keys() {
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let body = big.clone();
    let origin = Origin::answer(move |request| match request.body.is_empty() {
        true => ok_bytes(&body),
        false => ok_bytes(&request.body),
    });
    let pair = SelfSigned::new(&["a.test"]);
    let inside = "proxy_buffering off; proxy_request_buffering off; client_max_body_size 8m;";
    let proxy = Config::http(&format!(
        "splice on; {PAIR} {inside}
         server {{ listen %%ADDR_0%% ssl; server_name a.test; location / {{ proxy_pass http://%%origin%%; }}
             location /twice/ {{ proxy_pass https://%%ADDR_1%%/; }} }}
         server {{ listen %%ADDR_1%% ssl; server_name b.test; location / {{ proxy_pass http://%%origin%%; }} }}
         server {{ listen %%ADDR_2%%; location / {{ proxy_pass https://%%ADDR_1%%; }} }}"
    ))
    .set("origin", origin.addr())
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
    .start();
    let secure = || client(proxy.addr(), pair.trusted(BOTH), "a.test");
    let clients: [(&str, Client); 3] = [
        ("/", secure()),
        ("/twice/", secure()),
        ("/", Client::tcp(proxy.addr_of(2))),
    ];
    for (path, mut client) in clients {
        assert!(client.get(path).response().body == big, "down {path}");
        client.request("POST", path, &format!("Content-Length: {}\r\n", big.len()));
        client.send(&big);
        assert!(client.response().body == big, "up {path}");
    }
}

#[test]
fn secrets_are_logged_where_that_is_asked_for() {
    use std::os::unix::fs::PermissionsExt;
    let (config, pair) = server(
        "ssl_key_log keys.log; location / { proxy_pass https://%%ADDR_1%%; proxy_ssl_key_log back.log; } }
         server { listen %%ADDR_1%% ssl; return 200 x;",
    );
    let proxy = config.start();
    let labels = |name: &str| {
        let text = proxy.log(name);
        let lines = text.lines();
        let lines = lines.map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let hex = |word: &str| word.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(words.len() == 3 && words[1].len() == 64 && hex(words[1]) && hex(words[2]));
            words[0].to_owned()
        });
        lines.collect::<Vec<_>>()
    };
    let mut older = client(proxy.addr(), pair.trusted(TLS12), "a.test");
    assert_eq!(older.get("/").response().text(), "x");
    wait::until("the first secret", || labels("keys.log").len() == 1);
    assert_eq!(labels("keys.log"), ["CLIENT_RANDOM"]);
    let mut newer = client(proxy.addr(), pair.trusted(TLS13), "a.test");
    assert_eq!(newer.get("/").response().text(), "x");
    for name in ["keys.log", "back.log"] {
        for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"] {
            wait::until(label, || labels(name).iter().any(|known| known == label));
        }
        let mode = std::fs::metadata(proxy.path(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
