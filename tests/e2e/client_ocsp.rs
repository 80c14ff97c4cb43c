//! `ssl_ocsp`: authorities are asked about the certificates of clients. openssl is the authority and does its
//! responder's arithmetic.

use super::stapling::{answer, make, question};
use crate::support::client::get;
use crate::support::origin::response;
use crate::support::tls::{Pair, SelfSigned, TLS12, TLS13, client};
use crate::support::{Client, Config, Origin, Proxy, skipped};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What openssl's responder knows of the one certificate.
const VALID: &str = "V\t400101000000Z\t\t1234\tunknown\t/CN=a.test\n";
const REVOKED: &str = "R\t400101000000Z\t240101000000Z\t1234\tunknown\t/CN=a.test\n";

/// A folder with an authority and a certificate of it, and a server's own; none where there is no openssl.
struct Bench {
    folder: tempfile::TempDir,
    server: SelfSigned,
}

impl Bench {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path()).then(|| Self {
            folder,
            server: SelfSigned::new(&["a.test", "b.test"]),
        })
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn knows(&self, line: &str) {
        std::fs::write(self.folder.path().join("index"), line).unwrap();
    }

    /// Answers as the index says, or with what is no answer where that is empty.
    fn responder(&self) -> Origin {
        let dir = self.folder.path().to_owned();
        let count = AtomicUsize::new(0);
        Origin::answer(move |request| {
            let empty = |dir: &Path| std::fs::read(dir.join("index")).unwrap().is_empty();
            let body = match empty(&dir) {
                true => b"no answer".to_vec(),
                false => {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    answer(&dir, &question(request.target()), number)
                }
            };
            let kind = "Content-Type: application/ocsp-response\r\n";
            response("200 OK", kind, &body)
        })
    }

    fn text(path: &str, more: &str) -> String {
        format!(
            "ssl_certificate %%DIR%%/own.crt; ssl_certificate_key %%DIR%%/own.key;
             ssl_verify_client on; ssl_client_certificate %%DIR%%/ca.crt;
             ssl_ocsp on; ssl_ocsp_responder http://%%origin%%/{path}; {more}
             add_header X-Verify $ssl_client_verify always;
             server {{ listen %%ADDR_0%% ssl; server_name a.test; return 200 x; }}
             server {{ listen %%ADDR_1%%; return 200 {path}; }}"
        )
    }

    fn config(&self, origin: &Origin, more: &str) -> Config {
        Config::http(&Self::text("ask", more))
            .set("origin", origin.addr())
            .file("own.crt", &self.server.cert)
            .file("own.key", &self.server.key)
            .file("ca.crt", self.read("ca.crt"))
    }

    fn connect(
        &self,
        proxy: &Proxy,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Client {
        let pair = Pair {
            cert: self.read("own.crt"),
            key: self.read("a.key"),
        };
        let config = self.server.trusted_showing(versions, &pair);
        client(proxy.addr(), config, "a.test")
    }

    /// The status of an answer over a connection of its own, and what it says of the client.
    fn ask(
        &self,
        proxy: &Proxy,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> (u16, String) {
        let answer = self.connect(proxy, versions).get("/").response();
        let verdict = answer.field("x-verify").unwrap_or_default().to_owned();
        (answer.status(), verdict)
    }
}

#[test]
fn an_authority_decides_about_a_client() {
    let Some(bench) = Bench::new() else {
        return skipped("no openssl on this machine");
    };
    let origin = bench.responder();
    let proxy = bench
        .config(&origin, "")
        .logs("d2i_OCSP_RESPONSE() failed while requesting certificate status, responder: 127.0.0.1, client: 127.0.0.1")
        .logs("client SSL certificate verify error: certificate revoked while reading client request headers")
        .logs("client SSL certificate verify error: certificate status request failed while reading")
        .start();
    for versions in [TLS12, TLS13] {
        for (knows, status, verdict) in [
            (VALID, 200, "SUCCESS"),
            (REVOKED, 400, "FAILED:certificate revoked"),
            ("", 400, "FAILED:certificate status request failed"),
        ] {
            bench.knows(knows);
            let got = bench.ask(&proxy, versions);
            assert_eq!(got, (status, verdict.to_owned()), "{knows:?}");
        }
    }
    assert_eq!(origin.requests().len(), 6, "nothing was remembered");
    assert!(origin.requests()[0].target().starts_with("/ask/M"));
}

#[test]
fn what_was_said_is_remembered_by_all_shards() {
    let Some(bench) = Bench::new() else {
        return skipped("no openssl on this machine");
    };
    let origin = bench.responder();
    let proxy = bench
        .config(&origin, "ssl_ocsp_cache shared:O:1m;")
        .workers(2)
        .start();
    for _ in 0..8 {
        assert_eq!(bench.ask(&proxy, TLS13), (200, "SUCCESS".to_owned()));
        bench.knows(REVOKED);
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_connection_is_asked_about_once_and_again_by_new_rules() {
    let Some(bench) = Bench::new() else {
        return skipped("no openssl on this machine");
    };
    let origin = bench.responder();
    let mut proxy = bench
        .config(&origin, "")
        .may_log("client SSL certificate verify error")
        .start();
    let mut client = bench.connect(&proxy, TLS13);
    assert_eq!(client.get("/").response().status(), 200);
    bench.knows(REVOKED);
    assert_eq!(client.get("/").response().status(), 200);
    assert_eq!(origin.requests().len(), 1);
    proxy.rewrite_http(&Bench::text("other", ""));
    let says = |proxy: &Proxy| get(proxy.addr_of(1), "/").text().to_owned();
    proxy.reload_until(|| says(&proxy) == "other");
    assert_eq!(client.get("/").response().status(), 400);
    let requests = origin.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[1].target().starts_with("/other/M"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let pair = SelfSigned::new(&["a.test"]);
    for (more, message) in [
        (
            "ssl_verify_client optional_no_ca; ssl_client_certificate %%DIR%%/own.crt; ssl_ocsp on;",
            "\"ssl_ocsp\" is incompatible with \"ssl_verify_client optional_no_ca\"",
        ),
        (
            "ssl_verify_client on; ssl_client_certificate %%DIR%%/own.crt; ssl_ocsp on; ssl_ocsp_responder https://a/;",
            "invalid URL prefix in OCSP responder \"https://a/\" in \"ssl_ocsp_responder\"",
        ),
        (
            "ssl_ocsp_cache builtin:10;",
            "invalid OCSP cache \"builtin:10\"",
        ),
        (
            "ssl_ocsp_cache shared:O:1k;",
            "invalid OCSP cache \"shared:O:1k\"",
        ),
        ("ssl_ocsp maybe;", "invalid value \"maybe\""),
    ] {
        let ran = Config::http(&format!(
            "ssl_certificate %%DIR%%/own.crt; ssl_certificate_key %%DIR%%/own.key; {more}
             server {{ listen %%ADDR_0%% ssl; return 200 x; }}"
        ))
        .file("own.crt", &pair.cert)
        .file("own.key", &pair.key)
        .test();
        assert_ne!(ran.code(), Some(0), "{more}");
        assert!(ran.stderr().contains(message), "{more}: {}", ran.stderr());
    }
}
