//! gRPC over TLS: what `grpc_ssl_*` offers, believes and shows. The service is the proxy's own second server, which tells
//! what it sees.

use crate::support::proxy::Config;
use crate::support::tls::{Authority, Pair};
use crate::support::{Proxy, skipped};
use std::io::Write;
use std::process::{Command, Stdio};

/// A front server with `text` in its location, and a service that shows `pair` and tells what it sees. Each call has a
/// connection of its own.
fn chain_of(authority: &Authority, pair: &Pair, text: &str, service: &str) -> Config {
    Config::http(&format!(
        "upstream u {{ server %%ADDR_1%%; keepalive_requests 1; }}
         server {{ listen %%ADDR_0%%; location / {{ grpc_pass grpcs://u; {text} }} }}
         server {{
             listen %%ADDR_1%% ssl;
             http2 on;
             ssl_certificate %%DIR%%/b.crt;
             ssl_certificate_key %%DIR%%/b.key;
             {service}
             location / {{
                 return 200 \"name=$ssl_server_name reused=$ssl_session_reused $server_protocol $ssl_protocol $ssl_cipher $ssl_client_s_dn\";
             }}
         }}"
    ))
    .file("b.crt", &pair.cert)
    .file("b.key", &pair.key)
    .file("ca.crt", &authority.cert)
}

fn chain(text: &str, service: &str) -> (Config, Authority) {
    let authority = Authority::new();
    let pair = authority.sign(&["backend.test"]);
    (chain_of(&authority, &pair, text, service), authority)
}

#[track_caller]
fn ask(proxy: &Proxy, target: &str) -> String {
    let answer = proxy.get(target);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.text().to_owned()
}

#[test]
fn the_name_is_told_only_when_asked_for() {
    let (config, _) = chain("", "");
    let text = ask(&config.start(), "/");
    assert!(text.starts_with("name= ") && text.contains(" HTTP/2.0 "));
    let (config, _) = chain(
        "grpc_ssl_server_name on; grpc_ssl_name backend.test:443;",
        "",
    );
    assert!(ask(&config.start(), "/").starts_with("name=backend.test "));
}

#[test]
fn sessions_are_taken_up_again_unless_told_otherwise() {
    let (config, _) = chain("", "");
    let proxy = config.start();
    assert!(ask(&proxy, "/").contains(" reused=. "));
    assert!(ask(&proxy, "/").contains(" reused=r "));
    drop(proxy);
    let (config, _) = chain("grpc_ssl_session_reuse off;", "");
    let proxy = config.start();
    assert!(ask(&proxy, "/").contains(" reused=. "));
    assert!(ask(&proxy, "/").contains(" reused=. "));
}

#[test]
fn versions_and_ciphers_are_those_that_are_told() {
    for (text, expected) in [
        ("", " TLSv1.3 "),
        ("grpc_ssl_protocols TLSv1.2;", " TLSv1.2 "),
        (
            "grpc_ssl_protocols TLSv1.2; grpc_ssl_ciphers ECDHE-ECDSA-CHACHA20-POLY1305;",
            " TLSv1.2 ECDHE-ECDSA-CHACHA20-POLY1305 ",
        ),
        (
            "grpc_ssl_protocols TLSv1.2; grpc_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;",
            " TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 ",
        ),
        (
            "grpc_ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;",
            " TLSv1.3 TLS_CHACHA20_POLY1305_SHA256 ",
        ),
        (
            "grpc_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;",
            " TLSv1.3 TLS_AES_128_GCM_SHA256 ",
        ),
    ] {
        let (config, _) = chain(text, "");
        let told = ask(&config.start(), "/");
        assert!(told.contains(expected), "{text}: {told}");
    }
}

const VERIFY: &str = "grpc_ssl_verify on; grpc_ssl_trusted_certificate %%DIR%%/ca.crt;";

#[test]
fn a_service_is_believed_by_its_certificate_and_its_name() {
    let (config, _) = chain(&format!("{VERIFY} grpc_ssl_name backend.test;"), "");
    ask(&config.start(), "/");
    let (config, _) = chain(&format!("{VERIFY} grpc_ssl_name other.test;"), "");
    let proxy = config
        .logs("upstream SSL certificate does not match \"other.test\" while SSL handshaking to upstream")
        .start();
    assert_eq!(proxy.get("/").status(), 502);
    drop(proxy);
    // The same service under an authority that did not sign.
    for (verify, status) in [("on", 502), ("off", 200)] {
        let text = format!(
            "grpc_ssl_verify {verify}; grpc_ssl_trusted_certificate %%DIR%%/other.crt; grpc_ssl_name backend.test;"
        );
        let (config, _) = chain(&text, "");
        let config = config.file("other.crt", &Authority::named("other").cert);
        let proxy = match verify {
            "on" => config.logs("upstream SSL certificate verify error: ("),
            _ => config,
        };
        assert_eq!(proxy.start().get("/").status(), status, "{verify}");
    }
    let (config, _) = chain("grpc_ssl_verify on;", "");
    let ran = config.test();
    assert_eq!(ran.code(), Some(1));
    let words = "no grpc_ssl_trusted_certificate for grpc_ssl_verify";
    assert!(ran.stderr().contains(words), "{}", ran.stderr());
}

#[test]
fn a_revoked_service_is_not_believed() {
    let authority = Authority::new();
    let pair = authority.client("backend.test", 5);
    let text = format!("{VERIFY} grpc_ssl_name backend.test; grpc_ssl_crl %%DIR%%/ca.crl;");
    let others = chain_of(&authority, &pair, &text, "").file("ca.crl", authority.revoke(&[77]));
    ask(&others.start(), "/");
    let revoked = chain_of(&authority, &pair, &text, "")
        .file("ca.crl", authority.revoke(&[77, 5]))
        .logs("upstream SSL certificate verify error: (23:certificate revoked)")
        .start();
    assert_eq!(revoked.get("/").status(), 502);
}

#[test]
fn a_chain_may_be_only_so_long() {
    let root = Authority::new();
    let between = root.authority("between");
    let mut pair = between.sign(&["backend.test"]);
    pair.cert.push_str(&between.cert);
    let text =
        |depth: u8| format!("{VERIFY} grpc_ssl_name backend.test; grpc_ssl_verify_depth {depth};");
    ask(&chain_of(&root, &pair, &text(1), "").start(), "/");
    let proxy = chain_of(&root, &pair, &text(0), "")
        .logs("upstream SSL certificate verify error: (22:certificate chain too long)")
        .start();
    assert_eq!(proxy.get("/").status(), 502);
}

/// A service that asks for certificates of this authority; sessions would hide what is shown later.
const ASKS: &str =
    "ssl_verify_client on; ssl_client_certificate %%DIR%%/ca.crt; ssl_session_tickets off;";

#[test]
fn our_certificate_is_shown_also_by_a_name_with_variables() {
    let text =
        "grpc_ssl_certificate %%DIR%%/$arg_who.crt; grpc_ssl_certificate_key %%DIR%%/$arg_who.key;";
    let (config, authority) = chain(text, ASKS);
    let (one, two) = (authority.client("one", 1), authority.client("two", 2));
    let proxy = config
        .file("one.crt", &one.cert)
        .file("one.key", &one.key)
        .file("two.crt", &two.cert)
        .file("two.key", &two.key)
        .start();
    for who in ["one", "two", "one"] {
        let told = ask(&proxy, &format!("/?who={who}"));
        assert!(told.ends_with(&format!("CN={who}")), "{told}");
    }
}

#[test]
fn certificates_with_variables_are_kept_as_long_as_told() {
    for (cache, after) in [("max=4 valid=1h", "CN=old"), ("off", "CN=new")] {
        let text = format!(
            "grpc_ssl_certificate %%DIR%%/$arg_who.crt; grpc_ssl_certificate_key %%DIR%%/$arg_who.key;
             grpc_ssl_session_reuse off; grpc_ssl_certificate_cache {cache};"
        );
        let (config, authority) = chain(&text, ASKS);
        let (old, new) = (authority.client("old", 1), authority.client("new", 2));
        let proxy = config
            .file("me.crt", &old.cert)
            .file("me.key", &old.key)
            .start();
        assert!(ask(&proxy, "/?who=me").ends_with("CN=old"));
        std::fs::write(proxy.path("me.crt"), &new.cert).unwrap();
        std::fs::write(proxy.path("me.key"), &new.key).unwrap();
        let told = ask(&proxy, "/?who=me");
        assert!(told.ends_with(after), "{cache}: {told}");
    }
}

/// The key under a password; none without the program that does it.
fn encrypted(key: &str, password: &str) -> Option<Vec<u8>> {
    let pass = format!("pass:{password}");
    let child = Command::new("openssl")
        .args(["pkey", "-aes256", "-passout", &pass])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skipped("no openssl on this machine (Debian: apt-get install openssl)");
        return None;
    };
    let mut input = child.stdin.take().unwrap();
    input.write_all(key.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(output.stdout)
}

#[test]
fn an_encrypted_key_is_opened_by_one_of_the_passwords() {
    let text = "grpc_ssl_certificate %%DIR%%/me.crt; grpc_ssl_certificate_key %%DIR%%/me.key;
        grpc_ssl_password_file %%DIR%%/passwords;";
    for (passwords, opens) in [("wrong\nright\n", true), ("wrong\nother\n", false)] {
        let (config, authority) = chain(text, ASKS);
        let pair = authority.client("me", 1);
        let Some(key) = encrypted(&pair.key, "right") else {
            return;
        };
        assert!(key.starts_with(b"-----BEGIN ENCRYPTED"));
        let config = config
            .file("me.crt", &pair.cert)
            .file("me.key", key)
            .file("passwords", passwords);
        if opens {
            assert!(ask(&config.start(), "/").ends_with("CN=me"));
        } else {
            let ran = config.test();
            assert_eq!(ran.code(), Some(1));
            assert!(ran.stderr().contains("DIR/me.key"), "{}", ran.stderr());
        }
    }
}
