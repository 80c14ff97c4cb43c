//! A real php-fpm behind the shipped configuration for PHP: routing as WordPress wants it, bodies, uploads, redirects,
//! errors. Every test is skipped, with a word, where php-fpm is not installed.

use crate::support::php::Fpm;
use crate::support::wire::End;
use crate::support::{Client, Config, Proxy, wait};

/// The location of the shipped example, around whatever a test adds.
const SITE: &str = "
    server {
        listen %%ADDR_0%%;
        root %%DIR%%/www;
        index index.php index.html;
        client_max_body_size 64m;
        location / {
            try_files $uri $uri/ /index.php?$args;
        }
        location ~ [^/]\\.php(/|$) {
            include snippets/fastcgi-php.conf;
            fastcgi_pass unix:%%DIR%%/php.sock;
            %%EXTRA%%
        }
        location /private/ {
            internal;
        }
    }";

/// Tells what it was asked, one line for each.
const INDEX: &str = r#"<?php
header('Content-Type: text/plain');
foreach (['REQUEST_METHOD', 'REQUEST_URI', 'QUERY_STRING', 'SCRIPT_NAME', 'PATH_INFO', 'DOCUMENT_URI', 'HTTP_HOST',
          'HTTP_X_FORWARDED_FOR', 'CONTENT_LENGTH', 'CONTENT_TYPE', 'SERVER_PROTOCOL', 'HTTPS'] as $name) {
    echo $name, '=', $_SERVER[$name] ?? '(none)', "\n";
}
echo 'file=', basename(__FILE__), "\n";
"#;

/// A proxy in front of php-fpm with these scripts; none without php-fpm.
fn site(extra: &str, scripts: &[(&str, &str)]) -> Option<(Proxy, Fpm)> {
    site_with(extra, scripts, |config| config)
}

fn site_with(
    extra: &str,
    scripts: &[(&str, &str)],
    more: impl FnOnce(Config) -> Config,
) -> Option<(Proxy, Fpm)> {
    let mut config = Config::http(SITE)
        .set("EXTRA", extra)
        .file("fastcgi.conf", include_str!("../../config/fastcgi.conf"))
        .file(
            "snippets/fastcgi-php.conf",
            include_str!("../../config/snippets/fastcgi-php.conf"),
        );
    for (name, text) in scripts {
        config = config.file(&format!("www/{name}"), text);
    }
    let fpm = Fpm::start(config.dir())?;
    Some((more(config).start(), fpm))
}

/// A body that is not all alike.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 251 + i % 251) as u8).collect()
}

#[test]
fn requests_find_their_script_as_wordpress_wants_it() {
    let scripts = [
        ("index.php", INDEX),
        ("tool.php", INDEX),
        ("blog/index.php", INDEX),
        ("style.css", "body {}"),
        ("upload/picture.gif", "<?php echo 'run';"),
    ];
    let Some((proxy, _fpm)) = site("", &scripts) else {
        return;
    };
    let uri = |target: &str| format!("REQUEST_URI={target}\n");
    for (target, lines) in [
        ("/", &["SCRIPT_NAME=/index.php\n", "QUERY_STRING=\n"][..]),
        (
            "/2024/05/hello%20world/?preview=1&x=%20",
            &["SCRIPT_NAME=/index.php\n", "QUERY_STRING=preview=1&x=%20\n"],
        ),
        ("/blog/", &["SCRIPT_NAME=/blog/index.php\n"]),
        ("/tool.php", &["SCRIPT_NAME=/tool.php\n", "PATH_INFO=\n"]),
        (
            "/tool.php/a/b.c?q",
            &[
                "SCRIPT_NAME=/tool.php\n",
                "PATH_INFO=/a/b.c\n",
                "QUERY_STRING=q\n",
                "file=tool.php\n",
            ],
        ),
    ] {
        let response = proxy.get(target);
        assert_eq!(response.status(), 200, "{target}: {}", response.text());
        assert!(response.text().contains(&uri(target)), "{target}");
        for line in lines {
            assert!(
                response.text().contains(line),
                "{target}: {line:?} in {}",
                response.text()
            );
        }
    }
    let style = proxy.get("/style.css");
    assert_eq!(style.text(), "body {}");
    assert_eq!(style.field("X-Powered-By"), None);
    // What is no script is not run, whatever its name looks like.
    assert_eq!(proxy.get("/missing.php").status(), 404);
    assert_eq!(proxy.get("/style.css/x.php").status(), 404);
    assert_eq!(proxy.get("/upload/picture.gif/x.php").status(), 404);
    assert_eq!(proxy.get("/upload/picture.gif").text(), "<?php echo 'run';");
    // The client cannot name its own host twice, nor a proxy for the script.
    let text = proxy
        .client()
        .send("GET http://right.example:81/ HTTP/1.1\r\nHost: wrong.example\r\n\r\n")
        .response();
    assert!(text.text().contains("HTTP_HOST=right.example:81\n"));
}

const ECHO: &str = r#"<?php
header('Content-Type: application/octet-stream');
header('X-Length: ' . ($_SERVER['CONTENT_LENGTH'] ?? ''));
header('X-Method: ' . $_SERVER['REQUEST_METHOD']);
// As a whole: like nginx, the proxy sends no more of a request once its answer has begun.
echo file_get_contents('php://input');
"#;

/// Posts a body in one of three ways, and expects it back.
fn posts_come_back(extra: &str) {
    let Some((proxy, _fpm)) = site_with(extra, &[("echo.php", ECHO)], |config| {
        config.may_log("is buffered to a temporary file")
    }) else {
        return;
    };
    for len in [0, 1, 5, 4096, 32 << 10, 70_000, 10 << 20] {
        let body = pattern(len);
        let fields = format!("Content-Length: {len}\r\n");
        let mut client = proxy.client();
        client.request("POST", "/echo.php", &fields);
        let sent = body.clone();
        let response = both_ways(client, sent);
        assert_eq!(response.status(), 200, "{len}");
        assert_eq!(response.end, End::Whole);
        assert_eq!(response.field("X-Length"), Some(&len.to_string()[..]));
        assert!(response.body == body, "{len}: {}", response.body.len());
    }
    // In chunks: with buffering the length is known once all is here.
    let body = pattern(300_000);
    let mut framed = Vec::new();
    for part in body.chunks(7_777) {
        framed.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        framed.extend_from_slice(part);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\n\r\n");
    let mut client = proxy.client();
    client.request("PUT", "/echo.php", "Transfer-Encoding: chunked\r\n");
    let response = both_ways(client, framed);
    assert_eq!(response.field("X-Method"), Some("PUT"));
    let told = if extra.contains("off") { "" } else { "300000" };
    assert_eq!(response.field("X-Length").unwrap_or_default(), told);
    if told.is_empty() {
        // php-fpm reads no more than the length that it was told.
        assert!(body.starts_with(&response.body));
    } else {
        assert!(response.body == body, "{}", response.body.len());
    }
}

/// Sends and reads at once: neither side waits for the other to have finished.
fn both_ways(mut client: Client, body: Vec<u8>) -> crate::support::wire::Message {
    let mut writer = client.twin();
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        let _ = writer.write_all(&body);
    });
    let response = client.response();
    sender.join().unwrap();
    response
}

#[test]
fn bodies_reach_a_script_and_come_back() {
    posts_come_back("");
}

#[test]
fn bodies_are_handed_on_as_they_arrive() {
    posts_come_back("fastcgi_request_buffering off;");
}

#[test]
fn uploads_are_files_in_the_script() {
    let script = r#"<?php
        foreach ($_FILES as $name => $file) {
            echo $name, ' ', $file['name'], ' ', $file['size'], ' ', $file['error'], ' ',
                 crc32(file_get_contents($file['tmp_name'])), "\n";
        }
        echo 'title=', $_POST['title'];
        "#;
    let Some((proxy, _fpm)) = site_with("", &[("up.php", script)], |config| {
        config.may_log("is buffered to a temporary file")
    }) else {
        return;
    };
    let file = pattern(2_000_000);
    let mut body =
        b"--XX\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA title\r\n--XX\r\n\
        Content-Disposition: form-data; name=\"doc\"; filename=\"a b.bin\"\r\nContent-Type: x/y\r\n\r\n"
            .to_vec();
    body.extend_from_slice(&file);
    body.extend_from_slice(b"\r\n--XX--\r\n");
    let fields = format!(
        "Content-Type: multipart/form-data; boundary=XX\r\nContent-Length: {}\r\n",
        body.len()
    );
    let mut client = proxy.client();
    client.request("POST", "/up.php", &fields);
    let response = both_ways(client, body);
    let want = format!("doc a b.bin 2000000 0 {}\ntitle=A title", crc32(&file));
    assert_eq!(response.text(), want);
}

/// CRC-32 as PHP's `crc32` computes it.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[test]
fn a_script_decides_status_and_fields() {
    let script = r#"<?php
        switch ($_GET['a']) {
            case 'moved': header('Location: /new?x=1'); break;
            case 'permanent': header('Location: https://other.example/', true, 301); break;
            case 'teapot': http_response_code(418); echo 'short and stout'; break;
            case 'line': header('HTTP/1.1 503 Gone Fishing'); echo 'x'; break;
            case 'none': http_response_code(204); break;
            case 'length': header('Content-Length: 5'); echo 'hello'; break;
            case 'cookies': setcookie('a', '1'); setcookie('b', '2'); break;
            case 'accel': header('X-Accel-Redirect: /private/file.txt'); echo 'not this'; break;
        }"#;
    let scripts = [("s.php", script), ("private/file.txt", "the file")];
    let Some((proxy, _fpm)) = site("", &scripts) else {
        return;
    };
    let get = |what: &str| proxy.get(&format!("/s.php?a={what}"));
    let moved = get("moved");
    assert_eq!(moved.start_line(), "HTTP/1.1 302 Found");
    assert_eq!(moved.field("Location"), Some("/new?x=1"));
    assert_eq!(moved.field("Status"), None);
    assert!(moved.field("X-Powered-By").is_some());
    let permanent = get("permanent");
    assert_eq!(permanent.status(), 301);
    assert_eq!(permanent.field("Location"), Some("https://other.example/"));
    let teapot = get("teapot");
    assert_eq!((teapot.status(), teapot.text()), (418, "short and stout"));
    assert_eq!(get("line").start_line(), "HTTP/1.1 503 Gone Fishing");
    let none = get("none");
    assert_eq!((none.status(), none.body.len()), (204, 0));
    let length = get("length");
    assert_eq!(length.field("Content-Length"), Some("5"));
    assert_eq!(length.text(), "hello");
    assert_eq!(length.all("Date").len(), 1);
    assert_eq!(
        length.field("Server"),
        proxy.get("/missing.txt").field("Server")
    );
    assert_eq!(get("cookies").all("Set-Cookie"), ["a=1", "b=2"]);
    assert_eq!(get("accel").text(), "the file");
    let mut client = proxy.client();
    let head = client.request("HEAD", "/s.php?a=length", "").response();
    assert_eq!(head.field("Content-Length"), Some("5"));
    assert!(head.body.is_empty());
    assert_eq!(client.get("/s.php?a=teapot").response().status(), 418);
}

#[test]
fn errors_of_a_script_reach_the_error_log() {
    let script = r#"<?php
        error_log('the script says boom');
        echo $undefined;
        echo 'fine';"#;
    let fatal = "<?php throw new Exception('no way');";
    let Some((proxy, _fpm)) = site_with("", &[("e.php", script), ("f.php", fatal)], |config| {
        config
            .logs("FastCGI sent in stderr: \"PHP message: the script says boom")
            .logs("while reading response header from upstream, client: 127.0.0.1")
            .logs("PHP Warning:  Undefined variable $undefined in")
            .logs("PHP Fatal error:  Uncaught Exception: no way in")
    }) else {
        return;
    };
    assert_eq!(proxy.get("/e.php").text(), "fine");
    assert_eq!(proxy.get("/f.php").status(), 500);
}

#[test]
fn large_answers_arrive_whole_at_any_speed() {
    let script = r#"<?php
        $line = str_repeat('0123456789abcdef', 4096);
        for ($i = 0; $i < 320; $i++) { echo $line; }"#;
    for extra in [
        "",
        "fastcgi_buffering off;",
        "fastcgi_max_temp_file_size 0; limit_rate 12m;",
        "fastcgi_buffers 2 8k; fastcgi_buffer_size 8k; fastcgi_busy_buffers_size 8k;",
    ] {
        let Some((proxy, _fpm)) = site(extra, &[("big.php", script)]) else {
            return;
        };
        let response = proxy.get("/big.php");
        assert_eq!(response.body.len(), 20 << 20, "{extra}");
        assert_eq!(response.end, End::Whole);
        let line = b"0123456789abcdef";
        assert!(response.body.chunks(16).all(|part| part == line), "{extra}");
    }
}

#[test]
fn pieces_arrive_as_the_script_flushes_them() {
    let script = r#"<?php
        header('X-Accel-Buffering: no');
        echo "one\n"; flush();
        // Goes on when the test says so.
        while (!file_exists(__DIR__ . '/go')) { usleep(2000); clearstatcache(); }
        echo "two\n";"#;
    let Some((proxy, _fpm)) = site("", &[("flow.php", script)]) else {
        return;
    };
    let mut client = proxy.client();
    client.get("/flow.php").head();
    // The line end of a chunk leaves with the next one.
    assert_eq!(client.bytes(7), b"4\r\none\n");
    std::fs::write(proxy.path("www/go"), "").unwrap();
    assert_eq!(client.bytes(16), b"\r\n4\r\ntwo\n\r\n0\r\n\r\n");
}

/// Connections that stand open on a unix socket.
fn open_connections(path: &std::path::Path) -> usize {
    let path = path.display().to_string();
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    // State 3 is connected; what the listener has accepted bears its name.
    let connected = |line: &&str| line.ends_with(&path) && line.contains(" 03 ");
    table.lines().filter(connected).count()
}

#[test]
fn one_connection_serves_many_requests() {
    for (keep, left) in [("on", 1), ("off", 0)] {
        let config = "
            upstream php { server unix:%%DIR%%/php.sock; keepalive 4; }
            server {
                listen %%ADDR_0%%;
                root %%DIR%%/www;
                include fastcgi_params;
                fastcgi_keep_conn %%KEEP%%;
                fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
                location / { fastcgi_pass php; }
            }";
        let config = Config::http(config)
            .set("KEEP", keep)
            .file(
                "fastcgi_params",
                include_str!("../../config/fastcgi_params"),
            )
            .file("www/n.php", "<?php echo 'n=', $_GET['n'];");
        let Some(_fpm) = Fpm::start(config.dir()) else {
            return;
        };
        let proxy = config.start();
        // The only worker stays with a connection that is kept: a second one would not be answered.
        for n in 0..20 {
            let response = proxy.get(&format!("/n.php?n={n}"));
            assert_eq!(response.text(), format!("n={n}"));
        }
        let socket = proxy.path("php.sock");
        wait::until(keep, || open_connections(&socket) == left);
    }
}
