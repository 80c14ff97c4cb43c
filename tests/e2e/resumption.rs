//! Sessions that are taken up again: on whatever shard, by tickets and by ids, over a reload, and not where they must not.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use rustls::ClientConfig;
use rustls::client::{Resumption, Tls12Resumption};

use crate::support::origin::ok;
use crate::support::proxy::Config;
use crate::support::tls::{SelfSigned, TLS12, TLS13, client, openssl};
use crate::support::{Origin, Proxy, skipped, wait};

/// Handshakes in a row.
const MANY: usize = 200;
const SHARDS: usize = 4;

/// A server that also says which configuration it serves.
fn text(settings: &str, generation: usize) -> String {
    format!(
        "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
         server {{ listen %%ADDR_0%% ssl; server_name a.test; {settings}
             return 200 \"$ssl_session_reused $connection {generation}\"; }}"
    )
}

fn server(settings: &str) -> (Config, SelfSigned) {
    let pair = SelfSigned::new(&["a.test"]);
    let config = Config::http(&text(settings, 1));
    let config = config
        .workers(SHARDS)
        .file("a.crt", &pair.cert)
        .file("a.key", &pair.key);
    (config, pair)
}

/// One connection: whether its session was taken up again, and the shard that it came to.
#[track_caller]
fn visit(proxy: &Proxy, config: &ClientConfig) -> (bool, usize) {
    let mut client = client(proxy.addr(), config.clone(), "a.test");
    let response = client.get("/").response();
    let mut words = response.text().split(' ');
    let (reused, number) = (words.next().unwrap(), words.next().unwrap());
    // Each shard numbers its connections in steps of their number.
    let shard = number.parse::<usize>().unwrap() % SHARDS;
    (reused == "r", shard)
}

/// The first connection begins a session, all others take it up again, and they come to more than one shard.
#[track_caller]
fn all_resume(proxy: &Proxy, config: &ClientConfig, fresh: bool) {
    assert_eq!(visit(proxy, config).0, !fresh);
    let mut shards = BTreeSet::new();
    for n in 0..MANY {
        let (reused, shard) = visit(proxy, config);
        assert!(reused, "handshake {n}");
        shards.insert(shard);
    }
    assert!(shards.len() > 1, "{shards:?}");
}

fn by_ids(mut config: ClientConfig) -> ClientConfig {
    config.resumption =
        Resumption::in_memory_sessions(256).tls12_resumption(Tls12Resumption::SessionIdOnly);
    config
}

#[test]
fn tickets_are_good_on_every_shard_and_after_a_reload() {
    let (config, pair) = server("");
    let mut proxy = config.start();
    for (generation, versions) in [(2, TLS12), (3, TLS13)] {
        let config = pair.trusted(versions);
        all_resume(&proxy, &config, true);
        reload(&mut proxy, &pair, "", generation);
        all_resume(&proxy, &config, false);
    }
}

#[test]
fn ids_are_good_on_every_shard_and_after_a_reload() {
    let settings = "ssl_session_cache shared:S:1m; ssl_session_tickets off;";
    let (config, pair) = server(settings);
    let mut proxy = config.start();
    for (generation, versions) in [(2, TLS12), (3, TLS13)] {
        let config = by_ids(pair.trusted(versions));
        all_resume(&proxy, &config, true);
        reload(&mut proxy, &pair, settings, generation);
        all_resume(&proxy, &config, false);
    }
}

/// Reloads, and waits until the new configuration answers.
fn reload(proxy: &mut Proxy, pair: &SelfSigned, settings: &str, generation: usize) {
    proxy.rewrite_http(&text(settings, generation));
    proxy.reload_until(|| {
        let mut client = client(proxy.addr(), pair.trusted(TLS13), "a.test");
        client
            .get("/")
            .response()
            .text()
            .ends_with(&format!(" {generation}"))
    });
}

#[test]
fn nothing_is_taken_up_where_nothing_is_kept() {
    let (config, pair) = server("ssl_session_tickets off;");
    let proxy = config.start();
    for versions in [TLS12, TLS13] {
        let config = pair.trusted(versions);
        for _ in 0..5 {
            assert!(!visit(&proxy, &config).0);
        }
    }
}

#[test]
fn keys_of_files_open_tickets_of_other_servers() {
    let pair = SelfSigned::new(&["a.test"]);
    let key: Vec<u8> = (0..80).collect();
    let start = || {
        Config::http(
            "server { listen %%ADDR_0%% ssl; server_name a.test; ssl_session_ticket_key %%DIR%%/ticket;
               ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
               return 200 \"$ssl_session_reused $connection\"; }",
        )
        .file("a.crt", &pair.cert)
        .file("a.key", &pair.key)
        .file("ticket", &key)
        .start()
    };
    let (one, other) = (start(), start());
    for versions in [TLS12, TLS13] {
        let config = pair.trusted(versions);
        assert!(!visit(&one, &config).0);
        assert!(visit(&other, &config).0);
    }
}

#[test]
fn a_key_file_of_another_length_is_refused() {
    let (config, _) = server("ssl_session_ticket_key %%DIR%%/ticket;");
    let ran = config.file("ticket", "short").test();
    assert_eq!(ran.code(), Some(1));
    assert!(ran.stderr().contains("must be 48 or 80 bytes"));
}

/// One connection of openssl's client, which asks once and says what it agreed on.
fn s_client(proxy: &Proxy, address: std::net::SocketAddr, session: &str, more: &[&str]) -> String {
    let (file, address) = (
        proxy.path(session).display().to_string(),
        address.to_string(),
    );
    let more: Vec<&str> = more
        .iter()
        .map(|&word| if word == "FILE" { &file[..] } else { word })
        .collect();
    let args = [
        "s_client",
        "-connect",
        &address,
        "-servername",
        "a.test",
        "-ign_eof",
    ];
    let request = b"GET /last HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    openssl(&[&args[..], &more].concat(), request)
}

#[test]
fn openssl_takes_its_sessions_up_again() {
    let (config, _) = server("ssl_session_cache shared:S:1m;");
    let proxy = config.start();
    for more in [&["-tls1_2", "-no_ticket"][..], &["-tls1_2"], &["-tls1_3"]] {
        for (option, word) in [("-sess_out", "New, "), ("-sess_in", "Reused, ")] {
            let args = [&[option, "FILE"], more].concat();
            let text = s_client(&proxy, proxy.addr(), "session", &args);
            if text.is_empty() {
                return skipped("no openssl on this machine");
            }
            assert!(text.contains(word), "{more:?} {option}: {text}");
        }
    }
}

#[test]
fn a_session_is_good_for_as_long_as_it_says() {
    let pair = SelfSigned::new(&["a.test"]);
    let proxy = Config::http(
        "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
         server { listen %%ADDR_0%% ssl; ssl_session_timeout 1s; return 200 short; }
         server { listen %%ADDR_1%% ssl; ssl_session_timeout 77m; return 200 long; }",
    )
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
    .start();
    let both = [
        (proxy.addr(), "short", "hint: 1 "),
        (proxy.addr_of(1), "long", "hint: 4620 "),
    ];
    for (address, file, hint) in both {
        let text = s_client(&proxy, address, file, &["-tls1_2", "-sess_out", "FILE"]);
        if text.is_empty() {
            return skipped("no openssl on this machine");
        }
        assert!(text.contains(hint), "{text}");
    }
    let again = ["-tls1_2", "-sess_in", "FILE"];
    wait::until("the end of the short session", || {
        s_client(&proxy, proxy.addr(), "short", &again).contains("New, ")
    });
    let text = s_client(&proxy, proxy.addr_of(1), "long", &again);
    assert!(text.contains("Reused, "), "{text}");
}

#[test]
fn early_data_is_answered_and_its_session_is_used_up() {
    let pair = SelfSigned::new(&["a.test"]);
    let proxy = Config::http(
        "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
         server { listen %%ADDR_0%% ssl; server_name a.test; ssl_early_data on;
             return 200 \"<$uri early=$ssl_early_data>\"; }",
    )
    .workers(SHARDS)
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
    .file("early", "GET /first HTTP/1.1\r\nHost: a.test\r\n\r\n")
    .start();
    let early = proxy.path("early").display().to_string();
    let text = s_client(
        &proxy,
        proxy.addr(),
        "session",
        &["-tls1_3", "-sess_out", "FILE"],
    );
    if text.is_empty() {
        return skipped("no openssl on this machine");
    }
    assert!(text.contains("</last early=>"), "{text}");
    let again = ["-tls1_3", "-sess_in", "FILE", "-early_data", &early];
    let text = s_client(&proxy, proxy.addr(), "session", &again);
    for word in [
        "Early data was accepted",
        "Reused, ",
        "</first early=1>",
        "</last early=>",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let text = s_client(&proxy, proxy.addr(), "session", &again);
    for word in ["Early data was rejected", "New, ", "</last early=>"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("/first"), "{text}");
}

#[test]
fn early_data_that_is_sent_twice_is_heard_once() {
    let origin = Origin::fixed(ok("x"));
    let pair = SelfSigned::new(&["a.test"]);
    let proxy = Config::http(
        "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
         server { listen %%ADDR_0%% ssl; server_name a.test; ssl_early_data on;
             location / { return 200 ok; } location /up { proxy_pass http://%%origin%%; } }",
    )
    .set("origin", origin.addr())
    .workers(SHARDS)
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
    .start();
    let mut config = pair.trusted(TLS13);
    config.enable_early_data = true;
    client(proxy.addr(), config.clone(), "a.test")
        .get("/")
        .response();
    // The first flight, as somebody on the way may keep it.
    let name = "a.test".try_into().unwrap();
    let mut machine = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut data = machine.early_data().expect("a session with early data");
    data.write_all(b"GET /up HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .unwrap();
    let mut flight = Vec::new();
    while machine.wants_write() {
        machine.write_tls(&mut flight).unwrap();
    }
    for _ in 0..5 {
        let mut raw = proxy.client();
        raw.send(&flight);
        // A ServerHello either way.
        assert_eq!(raw.bytes(1), [22]);
        wait::until("the first one", || !origin.requests().is_empty());
        raw.half_close();
        let _ = raw.rest();
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_early_request_may_be_the_last_and_its_answer_long() {
    let big: Vec<u8> = (0..1_000_000u32).map(|n| b'a' + (n % 23) as u8).collect();
    let pair = SelfSigned::new(&["a.test"]);
    let proxy = Config::http(
        "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
         server { listen %%ADDR_0%% ssl; server_name a.test; ssl_early_data on; root %%DIR%%;
             add_header X-Early $ssl_early_data; location /last { return 200 last; } }",
    )
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
    .file("big", &big)
    .start();
    let mut config = pair.trusted(TLS13);
    config.enable_early_data = true;
    for _ in 0..10 {
        client(proxy.addr(), config.clone(), "a.test")
            .get("/last")
            .response();
        let name = "a.test".try_into().unwrap();
        let mut machine = rustls::ClientConnection::new(config.clone().into(), name).unwrap();
        machine
            .early_data()
            .expect("a session with early data")
            .write_all(b"GET /big HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            .unwrap();
        let tcp = std::net::TcpStream::connect(proxy.addr()).unwrap();
        tcp.set_read_timeout(Some(crate::support::LIMIT)).unwrap();
        let mut stream = rustls::StreamOwned::new(machine, tcp);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(stream.conn.is_early_data_accepted());
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert!(String::from_utf8_lossy(&answer).contains("X-Early: 1\r\n"));
        assert!(answer.ends_with(&big));
    }
}

#[test]
fn early_data_may_be_http2() {
    use crate::support::Client;
    use crate::support::client::Socket;
    use crate::support::frames::{DATA, get as ask, hello, until};
    let origin = Origin::answer(|request| match request.field("early-data") {
        Some("1") => crate::support::origin::response("425 Too Early", "", b"too early"),
        _ => ok("in time"),
    });
    let pair = SelfSigned::new(&["a.test"]);
    let proxy = Config::http(
        "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
         server { listen %%ADDR_0%% ssl; http2 on; ssl_early_data on;
             location / { proxy_pass http://%%origin%%; proxy_set_header Early-Data $ssl_early_data; } }",
    )
    .set("origin", origin.addr())
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
    .start();
    let mut config = pair.trusted(TLS13);
    config.enable_early_data = true;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut first = client(proxy.addr(), config.clone(), "a.test");
    first.send(hello(&[ask(1)]));
    assert_eq!(until(&mut first, DATA).1, b"in time");
    drop(first);
    let name = "a.test".try_into().unwrap();
    let mut machine = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut early = machine.early_data().expect("a session with early data");
    early.write_all(&hello(&[ask(1)])).unwrap();
    let tcp = std::net::TcpStream::connect(proxy.addr()).unwrap();
    tcp.set_read_timeout(Some(crate::support::LIMIT)).unwrap();
    let stream = rustls::StreamOwned::new(machine, tcp);
    let mut client = Client::on(Socket::Tls(Box::new(stream)));
    assert_eq!(until(&mut client, DATA), (1, b"too early".to_vec()));
    assert!(client.tls().is_early_data_accepted());
    // What comes behind the handshake is no replay.
    client.send(ask(3));
    assert_eq!(until(&mut client, DATA), (3, b"in time".to_vec()));
}
