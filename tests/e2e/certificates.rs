//! Certificates: refused at load where they do not fit, chosen by what clients can verify; and those of clients, by each
//! rule that a server may have.

use rcgen::{CertificateParams, KeyPair};

use crate::support::proxy::{Config, Ran};
use crate::support::skipped;
use crate::support::tls::{
    Authority, SelfSigned, TLS12, TLS13, client, encrypted, openssl, try_client,
};

const PAIR: &str = "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;";

fn config(text: &str, pair: &SelfSigned) -> Config {
    Config::http(&format!(
        "{PAIR} server {{ listen %%ADDR_0%% ssl; server_name a.test; {text} }}"
    ))
    .file("a.crt", &pair.cert)
    .file("a.key", &pair.key)
}

#[track_caller]
fn refused(ran: &Ran, words: &[&str]) {
    assert_eq!(ran.code(), Some(1), "{}", ran.stderr());
    for word in words {
        assert!(ran.stderr().contains(word), "{word}: {}", ran.stderr());
    }
}

#[test]
fn what_does_not_fit_is_refused_with_the_files_name() {
    let (pair, other) = (SelfSigned::new(&["a.test"]), SelfSigned::new(&["a.test"]));
    let ran = config("", &pair).file("a.key", &other.key).test();
    refused(
        &ran,
        &["[emerg]", "a.key", "key values mismatch", "ringx.conf:"],
    );
    let ran = config("", &pair).file("a.crt", "no certificate").test();
    refused(
        &ran,
        &["cannot load certificate \"", "a.crt", "no start line"],
    );
    let ran = config("", &pair).file("a.key", "no key").test();
    refused(
        &ran,
        &["cannot load certificate key \"", "a.key", "no start line"],
    );
    let ran = config(
        "ssl_client_certificate %%DIR%%/none.crt; ssl_verify_client on;",
        &pair,
    )
    .test();
    refused(&ran, &["none.crt", "(2: No such file or directory)"]);
    let ran = config("ssl_ciphers nonsense;", &pair).test();
    refused(&ran, &["no cipher match"]);
    let ran = config("ssl_protocols TLSv1 TLSv1.1;", &pair).test();
    refused(&ran, &["leave nothing to offer"]);
}

#[test]
fn what_has_ended_loads_with_a_warning() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let pair = SelfSigned::new(&["a.test"]);
    let ran = config("", &pair)
        .file("a.crt", params.self_signed(&key).unwrap().pem())
        .file("a.key", key.serialize_pem())
        .test();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    assert!(ran.stderr().contains("[warn]") && ran.stderr().contains("has expired"));
}

#[test]
fn what_cannot_be_offered_is_named() {
    let pair = SelfSigned::new(&["a.test"]);
    let ran = config(
        "ssl_protocols TLSv1.1 TLSv1.2; ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256;
         ssl_ecdh_curve X25519:secp521r1;",
        &pair,
    )
    .test();
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr());
    for word in [
        "TLSv1.1 cannot",
        "DHE-RSA-AES128-GCM-SHA256 cannot",
        "secp521r1 cannot",
    ] {
        assert!(ran.stderr().contains(word), "{word}: {}", ran.stderr());
    }
}

#[test]
fn clients_are_judged_by_each_rule() {
    let pair = SelfSigned::new(&["a.test"]);
    let (known, unknown) = (Authority::new(), Authority::named("unknown"));
    let good = known.client("good", 1);
    let revoked = known.client("bad", 2);
    let strange = unknown.client("strange", 3);
    let cases: [(&str, [&str; 4]); 5] = [
        // Without one, a good one, a revoked one, one that nobody known has signed.
        ("on;", ["496", "SUCCESS CN=good", "495", "495"]),
        ("optional;", ["NONE ", "SUCCESS CN=good", "495", "495"]),
        (
            "optional_no_ca;",
            [
                "NONE ",
                "SUCCESS CN=good",
                "495",
                "FAILED:unable to verify the first certificate CN=strange",
            ],
        ),
        ("off;", ["NONE ", "NONE ", "NONE ", "NONE "]),
        (
            "on; ssl_verify_depth 0;",
            ["496", "SUCCESS CN=good", "495", "495"],
        ),
    ];
    for (mode, answers) in cases {
        let proxy = config(
            &format!(
                "ssl_verify_client {mode} ssl_client_certificate %%DIR%%/ca.crt; ssl_crl %%DIR%%/ca.crl;
                 error_page 495 =200 /495; error_page 496 =200 /496;
                 location /49 {{ return 200 $uri; }}
                 location / {{ return 200 \"/$ssl_client_verify $ssl_client_s_dn\"; }}"
            ),
            &pair,
        )
        .file("ca.crt", &known.cert)
        .file("ca.crl", known.revoke(&[2]))
        .may_log("client SSL certificate verify error")
        .may_log("client sent no required SSL certificate")
        .start();
        for versions in [TLS12, TLS13] {
            let configs = [
                pair.trusted(versions),
                pair.trusted_showing(versions, &good),
                pair.trusted_showing(versions, &revoked),
                pair.trusted_showing(versions, &strange),
            ];
            for (config, answer) in configs.into_iter().zip(answers) {
                // The second connection takes up the session of the first: it is judged all the same.
                for _ in 0..2 {
                    let mut client = client(proxy.addr(), config.clone(), "a.test");
                    let response = client.get("/").response();
                    assert_eq!(response.text(), format!("/{answer}"), "{mode}");
                }
            }
        }
    }
}

#[test]
fn each_client_gets_the_certificate_that_it_can_verify() {
    let (ecdsa, pair) = (SelfSigned::new(&["a.test"]), "rsa");
    let Some(rsa) = openssl_rsa() else {
        return skipped("no openssl on this machine");
    };
    let proxy = Config::http(&format!(
        "server {{ listen %%ADDR_0%% ssl; server_name a.test;
           ssl_certificate %%DIR%%/{pair}.crt; ssl_certificate_key %%DIR%%/{pair}.key; {PAIR} return 200 x; }}"
    ))
    .file("a.crt", &ecdsa.cert)
    .file("a.key", &ecdsa.key)
    .file("rsa.crt", rsa.0)
    .file("rsa.key", rsa.1)
    .start();
    for (more, kind) in [
        (&["-tls1_2", "-cipher", "aRSA"][..], "rsaEncryption"),
        (&["-tls1_2", "-cipher", "aECDSA"], "id-ecPublicKey"),
        (
            &["-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256"],
            "rsaEncryption",
        ),
        (&["-tls1_3", "-sigalgs", "ECDSA+SHA256"], "id-ecPublicKey"),
    ] {
        let address = proxy.addr().to_string();
        let args = ["s_client", "-connect", &address, "-servername", "a.test"];
        let shown = openssl(&[&args[..], more].concat(), b"");
        let text = openssl(&["x509", "-noout", "-text"], shown.as_bytes());
        assert!(text.contains(kind), "{more:?}: {shown}");
    }
}

/// An RSA certificate and its key in PEM.
fn openssl_rsa() -> Option<(String, String)> {
    let key = openssl(&["genrsa", "2048"], b"");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, &key).unwrap();
    let path = path.display().to_string();
    let args = ["req", "-x509", "-new", "-subj", "/CN=a.test", "-key", &path];
    let cert = openssl(&args, b"");
    (!cert.is_empty()).then_some((cert, key))
}

#[test]
fn a_key_opens_with_one_of_the_passwords() {
    let pair = SelfSigned::new(&["a.test"]);
    let Some(key) = encrypted(&pair.key, "second") else {
        return skipped("no openssl on this machine");
    };
    let with = |passwords: &str| {
        config("ssl_password_file %%DIR%%/words; return 200 opened;", &pair)
            .file("a.key", &key)
            .file("words", passwords)
    };
    let proxy = with("first\nsecond\n").start();
    let mut client = client(proxy.addr(), pair.trusted(TLS13), "a.test");
    assert_eq!(client.get("/").response().text(), "opened");
    let words = &["cannot load certificate key \"", "a.key"];
    refused(&with("first\nthird\n").test(), words);
    refused(&config("", &pair).file("a.key", &key).test(), words);
}

#[test]
fn who_prefers_decides_about_the_cipher() {
    let pair = SelfSigned::new(&["a.test"]);
    let ours = "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256";
    for (prefers, cipher) in [
        ("on", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("off", "ECDHE-ECDSA-AES128-GCM-SHA256"),
    ] {
        let proxy = config(
            &format!(
                "ssl_ciphers {ours}; ssl_prefer_server_ciphers {prefers}; return 200 $ssl_cipher;"
            ),
            &pair,
        )
        .start();
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
        let wishes = pair.trusted_by(provider, TLS12);
        let mut client = client(proxy.addr(), wishes, "a.test");
        assert_eq!(client.get("/").response().text(), cipher, "{prefers}");
    }
}

#[test]
fn commands_of_openssls_configuration_are_followed() {
    let pair = SelfSigned::new(&["a.test"]);
    let proxy = config(
        "ssl_conf_command MinProtocol TLSv1.3; ssl_conf_command Ciphersuites TLS_CHACHA20_POLY1305_SHA256;
         return 200 $ssl_cipher;",
        &pair,
    )
    .may_log("SSL_do_handshake() failed")
    .start();
    let mut newest = client(proxy.addr(), pair.trusted(TLS13), "a.test");
    let cipher = newest.get("/").response();
    assert_eq!(cipher.text(), "TLS_CHACHA20_POLY1305_SHA256");
    assert!(try_client(proxy.addr(), pair.trusted(TLS12), "a.test").is_err());
    let ran = config("ssl_conf_command Unheard of;", &pair).test();
    refused(&ran, &["SSL_CONF_cmd(\"Unheard\", \"of\") failed"]);
}
