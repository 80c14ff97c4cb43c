//! OCSP answers that go along with a certificate: openssl is the authority, its responder's arithmetic, and the client.

use crate::support::client::get;
use crate::support::origin::response;
use crate::support::tls::openssl;
use crate::support::{Config, Origin, Proxy, skipped, wait};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// An authority and a certificate of it, in files of a folder; false where there is no openssl.
pub(super) fn make(dir: &Path) -> bool {
    let at = |name: &str| dir.join(name).display().to_string();
    let ec = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = (at("ca.key"), at("ca.crt"));
    let of_ca = [
        "req",
        "-x509",
        "-days",
        "2",
        "-subj",
        "/CN=tests",
        "-newkey",
    ];
    let to = ["-keyout", &ca.0, "-out", &ca.1];
    openssl(&[&of_ca[..], &ec, &to].concat(), b"");
    let (key, request, own) = (at("a.key"), at("a.csr"), at("own.crt"));
    let of_own = ["req", "-subj", "/CN=a.test", "-newkey"];
    let to = ["-keyout", &key, "-out", &request];
    openssl(&[&of_own[..], &ec, &to].concat(), b"");
    let sign = [
        "x509",
        "-req",
        "-days",
        "2",
        "-set_serial",
        "4660",
        "-CA",
        &ca.1,
        "-CAkey",
        &ca.0,
    ];
    // An extension, so that it is of version 3.
    let extensions = at("extensions");
    std::fs::write(&extensions, "basicConstraints=CA:FALSE\n").unwrap();
    let to = ["-in", &request, "-out", &own, "-extfile", &extensions];
    openssl(&[&sign[..], &to].concat(), b"");
    let (Ok(own), Ok(above)) = (std::fs::read(own), std::fs::read(ca.1)) else {
        return false;
    };
    std::fs::write(at("a.crt"), [own, above].concat()).unwrap();
    // What openssl's responder knows: one certificate that is valid.
    std::fs::write(
        at("index"),
        "V\t400101000000Z\t\t1234\tunknown\t/CN=a.test\n",
    )
    .unwrap();
    true
}

/// What openssl answers to a question.
pub(super) fn answer(dir: &Path, question: &[u8], number: usize) -> Vec<u8> {
    let at = |name: &str| dir.join(name).display().to_string();
    let (asked, said) = (at(&format!("q{number}")), at(&format!("r{number}")));
    std::fs::write(&asked, question).unwrap();
    let (index, ca, key) = (at("index"), at("ca.crt"), at("ca.key"));
    let args = [
        "ocsp", "-index", &index, "-CA", &ca, "-rsigner", &ca, "-rkey", &key,
    ];
    let more = ["-ndays", "1", "-reqin", &asked, "-respout", &said];
    openssl(&[&args[..], &more].concat(), b"");
    std::fs::read(said).unwrap_or_default()
}

/// The question in a URL.
pub(super) fn question(target: &str) -> Vec<u8> {
    let text = target.rsplit('/').next().unwrap();
    let text = text
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.bytes().take_while(|&byte| byte != b'=') {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        bits = bits << 6 | DIGITS.iter().position(|&digit| digit == byte).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

/// What a client of openssl says of a handshake in which it asked for an answer.
fn ask(proxy: &Proxy) -> String {
    let to = proxy.addr().to_string();
    openssl(
        &[
            "s_client",
            "-connect",
            &to,
            "-status",
            "-servername",
            "a.test",
        ],
        b"",
    )
}

const STAPLED: &str = "OCSP Response Status: successful";

/// A server that staples, and one that says which configuration this is.
fn text(more: &str, generation: &str) -> String {
    format!(
        "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key;
         ssl_stapling on; ssl_stapling_responder http://%%origin%%/ask; {more}
         server {{ listen %%ADDR_0%% ssl; server_name a.test; return 200 x; }}
         server {{ listen %%ADDR_1%%; return 200 {generation}; }}"
    )
}

/// The same, asking `origin`.
fn server(origin: &Origin, more: &str) -> Config {
    Config::http(&text(more, "first")).set("origin", origin.addr())
}

#[test]
fn an_answer_is_fetched_kept_over_a_reload_and_sent() {
    let folder = tempfile::tempdir().unwrap();
    if !make(folder.path()) {
        return skipped("no openssl on this machine");
    }
    let dir = folder.path().to_owned();
    let count = AtomicUsize::new(0);
    let origin = Origin::answer(move |request| {
        let question = question(request.target());
        let number = count.fetch_add(1, Ordering::SeqCst);
        let body = answer(&dir, &question, number);
        response(
            "200 OK",
            "Content-Type: application/ocsp-response\r\n",
            &body,
        )
    });
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let strict = "ssl_stapling_verify on;";
    let mut proxy = server(&origin, strict)
        .workers(2)
        .file("a.crt", read("a.crt"))
        .file("a.key", read("a.key"))
        .start();
    wait::until("the answer", || ask(&proxy).contains(STAPLED));
    let said = ask(&proxy);
    assert!(said.contains("Cert Status: good"), "{said}");
    assert!(said.contains("Serial Number: 1234"), "{said}");
    let target = origin.request().target().to_owned();
    assert!(
        target.starts_with("/ask/M") && !target.contains('+'),
        "{target}"
    );
    // What is known is not asked again, by no shard and by no new configuration.
    proxy.rewrite_http(&text(strict, "second"));
    let says = |proxy: &Proxy| get(proxy.addr_of(1), "/").text().to_owned();
    proxy.reload_until(|| says(&proxy) == "second");
    for _ in 0..8 {
        assert!(ask(&proxy).contains(STAPLED));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn what_no_responder_says_costs_a_line_and_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    if !make(folder.path()) {
        return skipped("no openssl on this machine");
    }
    let dir = folder.path().to_owned();
    let works = Arc::new(AtomicBool::new(false));
    let now = works.clone();
    let origin = Origin::answer(move |request| {
        if !now.load(Ordering::SeqCst) {
            return response("200 OK", "", b"no answer");
        }
        let body = answer(&dir, &question(request.target()), 0);
        response("200 OK", "", &body)
    });
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let proxy = server(&origin, "")
        .logs("d2i_OCSP_RESPONSE() failed while requesting certificate status, responder: 127.0.0.1, certificate: \"")
        .file("a.crt", read("a.crt"))
        .file("a.key", read("a.key"))
        .start();
    wait::until("a question", || !origin.requests().is_empty());
    let text = ask(&proxy);
    assert!(text.contains("OCSP response: no response sent"), "{text}");
    works.store(true, Ordering::SeqCst);
    wait::until("the answer", || ask(&proxy).contains(STAPLED));
}

#[test]
fn certificates_are_sent_compressed_to_who_can_read_that() {
    use crate::support::tls::{SelfSigned, TLS13, client};
    use rustls::CertificateCompressionAlgorithm as Algorithm;
    use rustls::compress::{CertDecompressor, DecompressionFailed};
    use std::io::Read;
    use std::sync::Mutex;

    #[derive(Debug)]
    struct Zlib;
    static SEEN: Mutex<usize> = Mutex::new(0);
    impl CertDecompressor for Zlib {
        fn decompress(&self, input: &[u8], out: &mut [u8]) -> Result<(), DecompressionFailed> {
            *SEEN.lock().unwrap() += 1;
            let mut decoder = flate2::read::ZlibDecoder::new(input);
            decoder.read_exact(out).map_err(|_| DecompressionFailed)
        }
        fn algorithm(&self) -> Algorithm {
            Algorithm::Zlib
        }
    }

    let pair = SelfSigned::new(&["a.test"]);
    for (on, seen) in [("on", 1), ("off", 1)] {
        let proxy = Config::http(&format!(
            "ssl_certificate %%DIR%%/a.crt; ssl_certificate_key %%DIR%%/a.key; ssl_certificate_compression {on};
             server {{ listen %%ADDR_0%% ssl; server_name a.test; return 200 x; }}"
        ))
        .file("a.crt", &pair.cert)
        .file("a.key", &pair.key)
        .start();
        let mut config = pair.trusted(TLS13);
        config.cert_decompressors = vec![&Zlib];
        assert_eq!(
            client(proxy.addr(), config, "a.test")
                .get("/")
                .response()
                .text(),
            "x"
        );
        assert_eq!(*SEEN.lock().unwrap(), seen, "{on}");
        // One that cannot gets it as it is.
        let plain = pair.trusted(TLS13);
        assert_eq!(
            client(proxy.addr(), plain, "a.test")
                .get("/")
                .response()
                .text(),
            "x"
        );
    }
}
