//! Whole sessions over TLS with clients that are not ours: curl, h2load, nghttp, openssl and a browser, each where it is
//! installed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::origin::ok_bytes;
use crate::support::proxy::TERM;
use crate::support::{Config, LIMIT, Origin, Proxy, skipped, tls, wait};

/// A TLS server on the first address, in front of the origin.
fn server(text: &str, origin: &Origin) -> Config {
    let pair = tls::localhost();
    Config::http(&format!(
        "map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
         server {{ listen %%ADDR_0%% ssl; http2 on; ssl_certificate %%DIR%%/cert.pem; ssl_certificate_key %%DIR%%/key.pem;
             access_log %%DIR%%/access.log;
             {text} }}"
    ))
    .set("origin", origin.addr())
    .file("cert.pem", pair.cert)
    .file("key.pem", pair.key)
}

/// Runs a program to its end; none, and counted as skipped, when it is not installed.
fn run(program: &str, args: &[&str], input: &[u8]) -> Option<String> {
    let started = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        skipped(&format!("no {program} on this machine"));
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn url(proxy: &Proxy, path: &str) -> String {
    format!("https://localhost:{}{path}", proxy.addr().port())
}

/// Runs curl, which trusts the server's certificate and nothing else.
fn curl(proxy: &Proxy, path: &str, more: &[&str]) -> Option<String> {
    let url = url(proxy, path);
    let trusted = proxy.path("cert.pem").display().to_string();
    let resolve = format!("localhost:{}:127.0.0.1", proxy.addr().port());
    let mut args = vec!["-s", "--max-time", "20", "--resolve", &resolve];
    args.extend(["--cacert", &trusted]);
    args.extend(more);
    args.push(&url);
    run("curl", &args, b"")
}

const FACTS: &str = "return 200 \"$scheme $server_protocol [$http2] $https\\n\";";

#[test]
fn curl_agrees_on_a_version_by_alpn() {
    let origin = Origin::text("hello");
    let proxy = server(&format!("location / {{ {FACTS} }}"), &origin).start();
    for (more, want) in [
        (&["--http2"][..], "https HTTP/2.0 [h2] on\n"),
        (&["--http1.1"], "https HTTP/1.1 [] on\n"),
        (&["--no-alpn"], "https HTTP/1.1 [] on\n"),
        (&["--http2", "--tls-max", "1.2"], "https HTTP/2.0 [h2] on\n"),
        (&["--http2", "--tlsv1.3"], "https HTTP/2.0 [h2] on\n"),
    ] {
        let Some(text) = curl(&proxy, "/", more) else {
            return;
        };
        assert_eq!(text, want, "{more:?}");
    }
}

#[test]
fn bodies_go_both_ways_whole() {
    let big: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let origin = Origin::answer(|request| ok_bytes(&request.body));
    let proxy = server(
        "client_max_body_size 4m;
         location /kept/ { proxy_pass http://%%origin%%; }
         location /streamed/ { proxy_pass http://%%origin%%; proxy_request_buffering off; proxy_buffering off; proxy_http_version 1.1; }",
        &origin,
    )
    .may_log("is buffered to a temporary file")
    .start();
    let (sent, got) = (proxy.path("sent"), proxy.path("got"));
    std::fs::write(&sent, &big).unwrap();
    let (data, out) = (format!("@{}", sent.display()), got.display().to_string());
    for version in ["--http2", "--http1.1"] {
        for path in ["/kept/", "/streamed/"] {
            let more = [version, "--data-binary", &data, "-o", &out];
            if curl(&proxy, path, &more).is_none() {
                return;
            }
            assert!(
                std::fs::read(&got).unwrap() == big,
                "{version} {path}: {}",
                proxy.error_log()
            );
        }
    }
}

#[test]
fn h2load_runs_many_streams_on_few_connections() {
    let origin = Origin::text("hello");
    let proxy = server("location / { proxy_pass http://%%origin%%; }", &origin).start();
    let url = url(&proxy, "/");
    let Some(text) = run("h2load", &["-n", "400", "-c", "4", "-m", "32", &url], b"") else {
        return;
    };
    for line in [
        "Application protocol: h2",
        "TLS Protocol: TLSv1.3",
        "400 succeeded, 0 failed, 0 errored",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
    assert_eq!(origin.requests().len(), 400);
}

#[test]
fn nghttp_gets_a_page_and_what_belongs_to_it() {
    let page = "<html><head><link rel=\"stylesheet\" href=\"/a.css\"><script src=\"/b.js\"></script></head></html>";
    let origin = Origin::text("part");
    let proxy = server(
        &format!(
            "location / {{ proxy_pass http://%%origin%%; }}
             location = /page {{ default_type text/html; return 200 '{page}'; }}"
        ),
        &origin,
    )
    .start();
    let url = url(&proxy, "/page");
    // -a: and all that the page names; -s: with a table of the answers.
    let Some(text) = run("nghttp", &["-n", "-a", "-s", "-y", &url], b"") else {
        return;
    };
    for line in ["/page", "/a.css", "/b.js"] {
        let row = text.lines().find(|row| row.ends_with(line));
        assert!(
            row.is_some_and(|row| row.contains(" 200 ")),
            "{line}: {text}"
        );
    }
}

#[test]
fn openssl_talks_http1_after_each_handshake() {
    let origin = Origin::text("hello");
    let proxy = server(&format!("location / {{ {FACTS} }}"), &origin).start();
    let addr = proxy.addr().to_string();
    let trusted = proxy.path("cert.pem").display().to_string();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let args = [
            "s_client",
            "-connect",
            &addr,
            "-servername",
            "localhost",
            "-CAfile",
            &trusted,
            version,
            "-verify_return_error",
            "-alpn",
            "http/1.1",
            "-ign_eof",
        ];
        let Some(text) = run("openssl", &args, request) else {
            return;
        };
        for part in [
            name,
            "ALPN protocol: http/1.1",
            "Verify return code: 0 (ok)",
            "HTTP/1.1 200 OK",
            "https HTTP/1.1 [] on",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}

#[test]
fn a_client_whose_protocols_we_do_not_speak_is_told() {
    let origin = Origin::text("hello");
    let proxy = server(&format!("location / {{ {FACTS} }}"), &origin).start();
    let addr = proxy.addr().to_string();
    let args = ["s_client", "-connect", &addr, "-alpn", "spdy/3"];
    let Some(text) = run("openssl", &args, b"") else {
        return;
    };
    assert!(text.contains("no peer certificate available"), "{text}");
    proxy.wait_log(
        "error.log",
        "no application protocol) while SSL handshaking",
    );
}

/// A browser that needs no screen.
pub(super) fn browser() -> Option<PathBuf> {
    let paths = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&paths)
        .flat_map(|dir| {
            ["chromium", "chromium-browser", "google-chrome"].map(|name| dir.join(name))
        })
        .find(|path| path.is_file());
    if found.is_none() {
        skipped("no chromium on this machine");
    }
    found
}

/// How it is started.
pub(super) fn arguments(home: &Path) -> Vec<String> {
    let mut args: Vec<String> = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--ignore-certificate-errors",
    ]
    .map(str::to_owned)
    .to_vec();
    args.push(format!("--user-data-dir={}", home.display()));
    args
}

/// What a page looks like when its scripts have run.
fn browse(proxy: &Proxy, path: &str) -> Option<String> {
    let browser = browser()?;
    let home = tempfile::tempdir().unwrap();
    let mut args = arguments(home.path());
    args.extend(["--virtual-time-budget=10000", "--dump-dom"].map(str::to_owned));
    args.push(url(proxy, path));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    run(&browser.display().to_string(), &args, b"")
}

#[test]
fn a_browser_loads_a_page_with_its_parts() {
    let page = "<html><head><title>-</title><link rel=stylesheet href=/style.css></head><body>
        <script>
        Promise.all([...Array(20).keys()].map(n =>
            fetch(\"/part?\" + n, { method: \"POST\", body: \"x\".repeat(n * 1000) }).then(r => r.text())))
        .then(all => document.title = all.map(text => text.length).join());
        </script></body></html>";
    let origin = Origin::answer(|request| ok_bytes(&request.body));
    let proxy = server(
        &format!(
            "location / {{ default_type text/html; return 200 '{page}'; }}
             location /part {{ proxy_pass http://%%origin%%; }}
             location = /style.css {{ default_type text/css; return 200 'body {{ color: red }}'; }}"
        ),
        &origin,
    )
    .start();
    let Some(text) = browse(&proxy, "/") else {
        return;
    };
    let lengths: Vec<String> = (0..20).map(|n| (n * 1000).to_string()).collect();
    let title = format!("<title>{}</title>", lengths.join(","));
    assert!(text.contains(&title), "{text}\n{}", proxy.error_log());
    proxy.wait_log("access.log", "GET / HTTP/2.0\" 200 ");
    proxy.wait_log("access.log", "POST /part?19 HTTP/2.0\" 200 ");
}

#[test]
fn a_browsers_websocket_is_a_stream_of_its_connection() {
    // The page is loaded first: a browser asks for a WebSocket over HTTP/2 where it has a connection that offers it.
    let page = "<html><body><script>
        const ws = new WebSocket(\"wss://\" + location.host + \"/ws\");
        ws.onmessage = m => { ws.send(m.data + \" yourself\"); fetch(\"/got?\" + m.data); };
        </script></body></html>";
    let origin = Origin::script(|conn| {
        while let Some(request) = conn.request() {
            if request.head_text().starts_with("GET /ws ") {
                // Nobody looks at the answer to the key, which the browser did not send.
                conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n");
                conn.send(b"\x81\x05hello");
                // Two bytes, a mask of four, and the text under it.
                assert_eq!(conn.bytes(20).first(), Some(&0x81));
                return;
            }
            conn.send(ok_bytes(b"heard"));
        }
    });
    let proxy = server(
        &format!(
            "location / {{ proxy_pass http://%%origin%%; }}
             location = / {{ default_type text/html; return 200 '{page}'; }}
             location /ws {{ proxy_pass http://%%origin%%; proxy_http_version 1.1;
                 proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; }}"
        ),
        &origin,
    )
    .start();
    let Some(browser) = browser() else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let mut args = arguments(home.path());
    args.push(url(&proxy, "/"));
    let mut child = Command::new(browser)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let patience = 4 * LIMIT;
    let told = wait::until_some(patience, || {
        let log = proxy.log("access.log");
        (log.contains("GET /got?hello HTTP/2.0\" 200 ")
            && log.contains("CONNECT /ws HTTP/2.0\" 101 "))
        .then_some(())
    });
    proxy.signal_to(child.id().cast_signed(), TERM);
    child.wait().unwrap();
    assert!(
        told.is_some(),
        "{}\n{}",
        proxy.log("access.log"),
        proxy.error_log()
    );
}
