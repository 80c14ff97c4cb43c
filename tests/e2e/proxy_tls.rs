//! TLS to backends: names, verification, our own certificate, pooled connections, failures and their words. The backend is
//! the proxy's own second server.

use crate::support::Proxy;
use crate::support::proxy::Config;
use crate::support::skipped;
use crate::support::tls::{Authority, SelfSigned, encrypted};

/// A front server with `text` in its location, and a backend over TLS that tells what it sees.
fn chain(text: &str, backend: &str) -> (Config, Authority) {
    let authority = Authority::new();
    let pair = authority.sign(&["backend.test"]);
    let config = Config::http(&format!(
        "upstream u {{ server %%ADDR_1%%; keepalive 8; }}
         server {{ listen %%ADDR_0%%; location / {{ proxy_pass https://u; {text} }} }}
         server {{ listen %%ADDR_1%% ssl; ssl_certificate %%DIR%%/b.crt; ssl_certificate_key %%DIR%%/b.key; {backend}
             location / {{ return 200 \"$ssl_server_name $ssl_session_reused $connection_requests $ssl_client_s_dn $ssl_protocol\"; }} }}"
    ))
    .file("b.crt", pair.cert)
    .file("b.key", pair.key)
    .file("ca.crt", &authority.cert);
    (config, authority)
}

#[track_caller]
fn ask(proxy: &Proxy) -> String {
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.text().to_owned()
}

#[test]
fn the_name_is_told_only_when_asked_for() {
    let (config, _) = chain("", "");
    assert!(ask(&config.start()).starts_with(" . 1 "));
    let (config, _) = chain(
        "proxy_ssl_server_name on; proxy_ssl_name backend.test:443;",
        "",
    );
    assert!(ask(&config.start()).starts_with("backend.test . 1 "));
}

#[test]
fn connections_are_kept_and_sessions_taken_up_again() {
    let (config, _) = chain("", "");
    let proxy = config.start();
    let counts: Vec<String> = (0..3).map(|_| ask(&proxy)).collect();
    for (n, text) in (1..).zip(&counts) {
        assert!(text.contains(&format!(" . {n} ")), "{text}");
    }
    drop(proxy);
    let (config, _) = chain("proxy_set_header Connection close;", "");
    let proxy = config.start();
    assert!(ask(&proxy).contains(" . 1 "));
    assert!(ask(&proxy).contains(" r 1 "));
    drop(proxy);
    let (config, _) = chain(
        "proxy_set_header Connection close; proxy_ssl_session_reuse off;",
        "",
    );
    let proxy = config.start();
    assert!(ask(&proxy).contains(" . 1 ") && ask(&proxy).contains(" . 1 "));
}

#[test]
fn a_backend_is_believed_by_its_certificate_and_its_name() {
    let verify =
        "proxy_ssl_verify on; proxy_ssl_trusted_certificate %%DIR%%/ca.crt; proxy_ssl_name";
    let (config, _) = chain(&format!("{verify} backend.test;"), "");
    ask(&config.start());
    let (config, _) = chain(&format!("{verify} other.test;"), "");
    let proxy = config
        .logs("upstream SSL certificate does not match \"other.test\" while SSL handshaking to upstream")
        .start();
    assert_eq!(proxy.get("/").status(), 502);
    drop(proxy);
    let (config, _) = chain(&format!("{verify} backend.test;"), "");
    let proxy = config
        .file("ca.crt", &Authority::new().cert)
        .logs("upstream SSL certificate verify error: (")
        .start();
    assert_eq!(proxy.get("/").status(), 502);
    drop(proxy);
    let (config, authority) = chain(
        &format!("{verify} backend.test; proxy_ssl_crl %%DIR%%/ca.crl;"),
        "",
    );
    ask(&config.file("ca.crl", authority.revoke(&[77])).start());
    let (config, _) = chain("proxy_ssl_verify on;", "");
    let ran = config.test();
    assert_eq!(ran.code(), Some(1));
    let words = "no proxy_ssl_trusted_certificate for proxy_ssl_verify";
    assert!(ran.stderr().contains(words));
}

#[test]
fn connections_of_one_identity_do_not_serve_another() {
    let pool = "proxy_ssl_verify on; proxy_ssl_trusted_certificate %%DIR%%/ca.crt; proxy_ssl_name $arg_name;";
    let (config, _) = chain(pool, "");
    let proxy = config
        .logs("upstream SSL certificate does not match \"other.test\"")
        .start();
    assert_eq!(proxy.get("/?name=backend.test").status(), 200);
    // A connection idles, and is of no use under another name.
    assert_eq!(proxy.get("/?name=other.test").status(), 502);
    assert!(proxy.get("/?name=backend.test").text().contains(" 2 "));
}

#[test]
fn our_certificate_is_shown_also_by_a_name_with_variables() {
    let backend =
        "ssl_verify_client on; ssl_client_certificate %%DIR%%/ca.crt; ssl_session_tickets off;";
    for name in ["one", "$arg_who"] {
        let text = format!(
            "proxy_ssl_certificate %%DIR%%/{name}.crt; proxy_ssl_certificate_key %%DIR%%/{name}.key;"
        );
        let (config, authority) = chain(&text, backend);
        let (one, two) = (authority.client("one", 1), authority.client("two", 2));
        let proxy = config
            .file("one.crt", &one.cert)
            .file("one.key", &one.key)
            .file("two.crt", &two.cert)
            .file("two.key", &two.key)
            .start();
        assert!(proxy.get("/?who=one").text().contains("CN=one"));
        let second = if name == "one" { "CN=one" } else { "CN=two" };
        assert!(proxy.get("/?who=two").text().contains(second));
        assert!(proxy.get("/?who=one").text().contains("CN=one"));
    }
}

#[test]
fn a_url_with_variables_speaks_tls_too() {
    let (config, _) = chain("proxy_pass https://$arg_to;", "");
    drop(config);
    let pair = SelfSigned::new(&["b.test"]);
    let proxy = Config::http(
        "server { listen %%ADDR_0%%; location / { proxy_pass $arg_scheme://%%ADDR_1%%; proxy_ssl_protocols TLSv1.2; } }
         server { listen %%ADDR_1%% ssl; ssl_certificate %%DIR%%/b.crt; ssl_certificate_key %%DIR%%/b.key;
             return 200 $ssl_protocol; }",
    )
    .file("b.crt", &pair.cert)
    .file("b.key", &pair.key)
    .logs("client sent plain HTTP request to HTTPS port")
    .start();
    assert_eq!(proxy.get("/?scheme=https").text(), "TLSv1.2");
    assert_eq!(proxy.get("/?scheme=http").status(), 400);
}

#[test]
fn a_backend_without_tls_is_a_502_and_the_next_one_answers() {
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in plain.incoming().flatten() {
            use std::io::Write;
            client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").ok();
        }
    });
    let pair = SelfSigned::new(&["b.test"]);
    let proxy = Config::http(
        "upstream u { server %%plain%%; server %%ADDR_1%% backup; }
         server { listen %%ADDR_0%%; location / { proxy_pass https://u; }
             location /one { proxy_pass https://%%plain%%; } }
         server { listen %%ADDR_1%% ssl; ssl_certificate %%DIR%%/b.crt; ssl_certificate_key %%DIR%%/b.key; return 200 tls; }",
    )
    .set("plain", address)
    .file("b.crt", &pair.cert)
    .file("b.key", &pair.key)
    .logs("while SSL handshaking to upstream")
    .may_log("upstream server temporarily disabled")
    .start();
    assert_eq!(proxy.get("/").text(), "tls");
    assert_eq!(proxy.get("/one").status(), 502);
}

#[test]
fn a_silent_backend_times_out_in_its_handshake() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Config::server(
        "location / { proxy_pass https://%%silent%%; proxy_connect_timeout 300ms; }",
    )
    .set("silent", silent.local_addr().unwrap())
    .logs("upstream timed out (110: Connection timed out) while SSL handshaking to upstream")
    .start();
    assert_eq!(proxy.get("/").status(), 504);
}

#[test]
fn the_ciphers_that_are_offered_are_those_of_the_location() {
    for cipher in [
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ] {
        let (config, _) = chain(
            &format!("proxy_ssl_ciphers {cipher}; proxy_ssl_protocols TLSv1.2;"),
            "add_header X-Cipher $ssl_cipher;",
        );
        let proxy = config.start();
        assert_eq!(proxy.get("/").field("x-cipher"), Some(cipher));
    }
    let (config, _) = chain("proxy_ssl_ciphers nonsense;", "");
    let ran = config.test();
    assert_eq!(ran.code(), Some(1));
    assert!(ran.stderr().contains("no cipher match"), "{}", ran.stderr());
}

#[test]
fn our_key_may_be_under_a_password() {
    let asks = "ssl_verify_client on; ssl_client_certificate %%DIR%%/ca.crt;";
    // Read at load, and read for a request.
    for name in ["one", "$arg_who"] {
        let text = format!(
            "proxy_ssl_certificate %%DIR%%/{name}.crt; proxy_ssl_certificate_key %%DIR%%/{name}.key;
             proxy_ssl_password_file %%DIR%%/words;"
        );
        let (config, authority) = chain(&text, asks);
        let one = authority.client("one", 1);
        let Some(key) = encrypted(&one.key, "second") else {
            return skipped("no openssl on this machine");
        };
        let proxy = config
            .file("one.crt", &one.cert)
            .file("one.key", &key)
            .file("words", "first\nsecond\n")
            .start();
        assert!(proxy.get("/?who=one").text().contains("CN=one"), "{name}");
        drop(proxy);
        let (config, _) = chain(&text, asks);
        let config = config
            .file("one.crt", &one.cert)
            .file("one.key", &key)
            .file("words", "first\n");
        if name == "one" {
            assert_eq!(config.test().code(), Some(1));
        } else {
            let proxy = config.logs("cannot load certificate key \"").start();
            assert_eq!(proxy.get("/?who=one").status(), 500);
        }
    }
}

#[test]
fn a_backends_chain_may_be_so_long_and_no_longer() {
    for (depth, status) in [(0, 502), (1, 200)] {
        let (config, authority) = chain(
            &format!(
                "proxy_ssl_verify on; proxy_ssl_trusted_certificate %%DIR%%/ca.crt; proxy_ssl_name backend.test;
                 proxy_ssl_verify_depth {depth};"
            ),
            "",
        );
        let between = authority.authority("between");
        let pair = between.sign(&["backend.test"]);
        let proxy = config
            .file("b.crt", format!("{}{}", pair.cert, between.cert))
            .file("b.key", pair.key)
            .may_log("upstream SSL certificate verify error: (")
            .start();
        assert_eq!(proxy.get("/").status(), status, "{depth}");
    }
}

#[test]
fn a_certificate_by_a_name_with_variables_is_kept_where_that_is_wanted() {
    let asks =
        "ssl_verify_client on; ssl_client_certificate %%DIR%%/ca.crt; ssl_session_tickets off;";
    for (keeps, then) in [
        (
            "proxy_ssl_certificate_cache max=2 valid=1h inactive=1h;",
            "CN=one",
        ),
        ("proxy_ssl_certificate_cache off;", "CN=two"),
    ] {
        let (config, authority) = chain(
            &format!(
                "proxy_ssl_certificate %%DIR%%/$arg_who.crt; proxy_ssl_certificate_key %%DIR%%/$arg_who.key;
                 proxy_set_header Connection close; {keeps}"
            ),
            asks,
        );
        let (one, two) = (authority.client("one", 1), authority.client("two", 2));
        let proxy = config
            .workers(1)
            .file("own.crt", &one.cert)
            .file("own.key", &one.key)
            .start();
        assert!(proxy.get("/?who=own").text().contains("CN=one"));
        std::fs::write(proxy.path("own.crt"), &two.cert).unwrap();
        std::fs::write(proxy.path("own.key"), &two.key).unwrap();
        let text = proxy.get("/?who=own").text().to_owned();
        assert!(text.contains(then), "{keeps} {text}");
    }
}
