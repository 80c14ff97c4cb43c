//! Compressed answers: which coding a client gets, what becomes of the head, streams that are whole or visibly
//! broken, files with compressed neighbours, and plain bytes for clients without gzip.

use std::io::{Read as _, Write as _};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use crate::support::origin::{chunked, ok_bytes, response};
use crate::support::wire::{End, Message};
use crate::support::{Config, LIMIT, Origin, Proxy, wait};

const ALL: &str =
    "gzip on; gzip_types *; brotli on; brotli_types *; zstd on; zstd_types *; gzip_vary on;";

fn json(length: usize) -> Vec<u8> {
    let mut out = String::from("[");
    let mut n = 0u32;
    while out.len() < length {
        n = n.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        out += &format!("{{\"id\": {n}, \"name\": \"item {}\"}},\n", n >> 20);
    }
    out.truncate(length);
    out.into_bytes()
}

fn gzipped(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// The body without its coding; fails where it is not a whole stream.
#[track_caller]
fn decoded(message: &Message) -> Vec<u8> {
    let body = &message.body[..];
    let mut out = Vec::new();
    match message.field("content-encoding") {
        None => out.extend_from_slice(body),
        Some("gzip") => {
            let mut decoder = flate2::read::MultiGzDecoder::new(body);
            decoder.read_to_end(&mut out).unwrap();
        }
        Some("br") => {
            let mut decoder = brotli::Decompressor::new(body, 4096);
            decoder.read_to_end(&mut out).unwrap();
        }
        Some("zstd") => {
            out.reserve(64 << 20);
            zstd_safe::decompress(&mut out, body).unwrap();
        }
        Some(other) => panic!("unknown coding {other}"),
    }
    out
}

fn accepting(proxy: &Proxy, target: &str, list: &str) -> Message {
    let field = format!("Accept-Encoding: {list}\r\n");
    proxy.client().request("GET", target, &field).response()
}

#[test]
fn the_client_chooses_by_weight_and_the_best_coding_wins_ties() {
    let origin =
        Origin::answer(|_| response("200 OK", "Content-Type: text/plain\r\n", &json(5000)));
    let proxy = Config::server(&format!(
        "{ALL} location / {{ proxy_pass http://%%origin%%; }}
         location /gzip {{ brotli off; zstd off; proxy_pass http://%%origin%%; }}"
    ))
    .set("origin", origin.addr())
    .start();
    for (target, list, want) in [
        ("/", "gzip, deflate, br, zstd", Some("zstd")),
        ("/", "gzip, br", Some("br")),
        ("/", "gzip", Some("gzip")),
        ("/", "br;q=0.5, gzip;q=0.8, zstd;q=0.1", Some("gzip")),
        ("/", "zstd;q=0, br;q=0, gzip;q=0.001", Some("gzip")),
        ("/", "br;q=0.9, gzip;q=0.9", Some("br")),
        ("/", "gzip;q=0", None),
        ("/", "identity", None),
        ("/", "*", None),
        ("/", "", None),
        ("/gzip", "zstd, br, gzip;q=0.1", Some("gzip")),
        ("/gzip", "zstd, br", None),
    ] {
        let got = accepting(&proxy, target, list);
        assert_eq!(got.field("content-encoding"), want, "{target} {list}");
        assert_eq!(
            got.field("vary"),
            Some("Accept-Encoding"),
            "{target} {list}"
        );
        assert_eq!(got.field("content-length").is_some(), want.is_none());
        assert_eq!(decoded(&got), json(5000), "{target} {list}");
    }
}

#[test]
fn bodies_of_any_size_and_framing_arrive_whole() {
    let origin = Origin::answer(|request| {
        let mut words = request.target()[1..].split('/');
        let kind = words.next().unwrap_or_default().to_owned();
        let body = json(words.next().unwrap_or("0").parse().unwrap());
        let fields = "Content-Type: text/html\r\n";
        match kind.as_str() {
            "counted" => response("200 OK", fields, &body),
            _ => chunked(fields, &body.chunks(3000).collect::<Vec<_>>(), ""),
        }
    });
    for buffering in ["on", "off"] {
        let proxy = Config::server(&format!(
            "{ALL} gzip_min_length 0; brotli_min_length 0; zstd_min_length 0;
             location / {{ proxy_pass http://%%origin%%; proxy_buffering {buffering}; }}"
        ))
        .set("origin", origin.addr())
        .start();
        let mut client = proxy.client();
        for coding in ["gzip", "br", "zstd"] {
            for kind in ["counted", "chunked"] {
                for size in [0, 1, 4096, 70_000, 2_000_000] {
                    let field = format!("Accept-Encoding: {coding}\r\n");
                    let target = format!("/{kind}/{size}");
                    let got = client.request("GET", &target, &field).response();
                    let shown = format!("{coding} {kind} {size} {buffering}");
                    assert_eq!(got.end, End::Whole, "{shown}");
                    assert_eq!(got.field("content-encoding"), Some(coding), "{shown}");
                    assert!(decoded(&got) == json(size), "{shown}");
                }
            }
        }
    }
}

#[test]
fn a_file_loses_its_length_and_ranges_and_its_tag_becomes_weak() {
    let proxy =
        Config::server("gzip on; gzip_vary on; root %%DIR%%/www; types { text/html html; }")
            .file("www/page.html", json(30_000))
            .start();
    let mut client = proxy.client();
    let plain = client.get("/page.html").response();
    let tag = plain.field("etag").unwrap().to_owned();
    assert!(tag.starts_with('"'));
    let fields = "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n";
    let got = client.request("GET", "/page.html", fields).response();
    assert_eq!(got.status(), 200);
    assert_eq!(got.field("etag"), Some(format!("W/{tag}").as_str()));
    for gone in ["content-length", "accept-ranges", "content-range"] {
        assert_eq!(got.field(gone), None, "{gone}");
    }
    assert_eq!(got.field("last-modified"), plain.field("last-modified"));
    assert_eq!(decoded(&got), json(30_000));
    let head = client
        .request("HEAD", "/page.html", "Accept-Encoding: gzip\r\n")
        .response();
    assert_eq!(head.field("content-encoding"), Some("gzip"));
    assert_eq!((head.field("content-length"), head.body.len()), (None, 0));
    let fields = format!("Accept-Encoding: gzip\r\nIf-None-Match: W/{tag}\r\n");
    let fresh = client.request("GET", "/page.html", &fields).response();
    assert_eq!((fresh.status(), fresh.body.len()), (304, 0));
    assert_eq!(fresh.field("content-encoding"), None);
    let again = client.get("/page.html").response();
    assert_eq!(again.body, json(30_000), "the connection goes on");
}

#[test]
fn what_is_not_compressed() {
    let origin = Origin::answer(|request| {
        let body = json(1000);
        match request.target() {
            "/short" => response("200 OK", "Content-Type: text/html\r\n", &body[..19]),
            "/long" => response("200 OK", "Content-Type: text/html\r\n", &body[..20]),
            "/image" => response("200 OK", "Content-Type: image/png\r\n", &body),
            "/typeless" => ok_bytes(&body),
            "/param" => response("200 OK", "Content-Type: Text/HTML; charset=x\r\n", &body),
            "/gone" => response("410 Gone", "Content-Type: text/html\r\n", &body),
            "/missing" => response("404 Not Found", "Content-Type: text/html\r\n", &body),
            "/coded" => response(
                "200 OK",
                "Content-Type: text/html\r\nContent-Encoding: gzip\r\n",
                &gzipped(&body),
            ),
            "/private" => response(
                "200 OK",
                "Content-Type: text/html\r\nCache-Control: private\r\n",
                &body,
            ),
            _ => response("200 OK", "Content-Type: text/html\r\n", &body),
        }
    });
    let proxy = Config::server(
        "gzip on;
         location / { proxy_pass http://%%origin%%; gzip_disable msie6 \"^Odd\"; }
         location /any { proxy_pass http://%%origin%%; gzip_proxied any; }
         location /private { proxy_pass http://%%origin%%; gzip_proxied no-store private; }",
    )
    .set("origin", origin.addr())
    .start();
    let old = "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)\r\n";
    for (target, fields, want) in [
        ("/", "", true),
        ("/short", "", false),
        ("/long", "", true),
        ("/image", "", false),
        ("/typeless", "", false),
        ("/param", "", true),
        ("/gone", "", false),
        ("/missing", "", true),
        ("/", old, false),
        ("/", "User-Agent: odd one\r\n", false),
        ("/", "User-Agent: an odd one\r\n", true),
        ("/", "Via: 1.1 x\r\n", false),
        ("/any", "Via: 1.1 x\r\n", true),
        ("/private", "Via: 1.1 x\r\n", true),
    ] {
        let fields = format!("Accept-Encoding: gzip\r\n{fields}");
        let got = proxy.client().request("GET", target, &fields).response();
        let coded = got.field("content-encoding") == Some("gzip");
        assert_eq!(coded, want, "{target} {fields}");
        assert_eq!(got.field("vary"), None);
    }
    let coded = accepting(&proxy, "/coded", "gzip");
    assert_eq!(coded.body, gzipped(&json(1000)), "never twice");
}

#[test]
fn an_old_client_gets_a_stream_that_ends_with_its_connection() {
    let origin = Origin::answer(|_| {
        let body = json(40_000);
        let parts: Vec<&[u8]> = body.chunks(7000).collect();
        chunked("Content-Type: text/html\r\n", &parts, "")
    });
    let proxy = Config::server(
        "gzip on; location / { proxy_pass http://%%origin%%; }
         location /old { gzip_http_version 1.0; proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .start();
    for (target, want) in [("/", None), ("/old", Some("gzip"))] {
        let mut client = proxy.client();
        let text = format!(
            "GET {target} HTTP/1.0\r\nConnection: keep-alive\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        let got = client.send(text).response();
        assert_eq!(got.field("content-encoding"), want, "{target}");
        assert_eq!(got.field("transfer-encoding"), None);
        assert_eq!(decoded(&got), json(40_000));
        client.expect_close();
    }
}

#[test]
fn without_buffering_each_part_can_be_read_when_it_was_sent() {
    let (go, word) = channel::<()>();
    let word = Mutex::new(word);
    let origin = Origin::script(move |conn| {
        if conn.request().is_none() {
            return;
        }
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 60\r\n\r\n");
        conn.send([b'a'; 30]);
        let word = word.lock().unwrap();
        if word.recv_timeout(LIMIT).is_ok() {
            conn.send([b'b'; 30]);
        }
    });
    let proxy = Config::server(
        "gzip on; location / { proxy_pass http://%%origin%%; proxy_buffering off; }",
    )
    .set("origin", origin.addr())
    .start();
    let mut client = proxy.client();
    let head = client
        .request("GET", "/", "Accept-Encoding: gzip\r\n")
        .head();
    assert_eq!(head.field("content-encoding"), Some("gzip"));
    let mut decoder = flate2::Decompress::new_gzip(15);
    let mut seen = Vec::with_capacity(100);
    // Whatever its chunks are, what came lets all thirty bytes be read before the rest is sent.
    while seen.len() < 30 {
        let size = read_chunk_size(&mut client);
        let data = client.bytes(size);
        decoder
            .decompress_vec(&data, &mut seen, flate2::FlushDecompress::None)
            .unwrap();
    }
    assert_eq!(seen, [b'a'; 30]);
    go.send(()).unwrap();
    while seen.len() < 60 {
        let size = read_chunk_size(&mut client);
        let data = client.bytes(size);
        decoder
            .decompress_vec(&data, &mut seen, flate2::FlushDecompress::None)
            .unwrap();
    }
    assert_eq!(&seen[30..], [b'b'; 30]);
}

fn read_chunk_size(client: &mut crate::support::Client) -> usize {
    let mut line = Vec::new();
    // What ends the chunk before may come with this one.
    while line.trim_ascii().is_empty() || !line.ends_with(b"\r\n") {
        let byte = client.bytes(1);
        assert_eq!(byte.len(), 1, "the connection ended between chunks");
        line.extend(byte);
    }
    let text = std::str::from_utf8(&line).unwrap().trim();
    usize::from_str_radix(text, 16).unwrap()
}

#[test]
fn an_origin_that_is_cut_midway_leaves_a_stream_that_is_visibly_broken() {
    let origin = Origin::script(|conn| {
        if conn.request().is_some() {
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 50000\r\n\r\n",
            );
            conn.send(json(20_000));
        }
    });
    for buffering in ["on", "off"] {
        let proxy = Config::server(&format!(
            "{ALL} location / {{ proxy_pass http://%%origin%%; proxy_buffering {buffering}; }}"
        ))
        .set("origin", origin.addr())
        .logs("upstream prematurely closed connection while reading upstream")
        .start();
        for coding in ["gzip", "br", "zstd"] {
            let got = accepting(&proxy, "/", coding);
            assert_eq!(got.end, End::Cut, "{coding} {buffering}");
            assert_eq!(got.field("content-encoding"), Some(coding));
        }
    }
}

#[test]
fn clients_that_leave_midway_leave_nothing_behind() {
    let origin =
        Origin::answer(|_| response("200 OK", "Content-Type: text/html\r\n", &json(4 << 20)));
    let proxy = Config::server(&format!(
        "{ALL} gzip_comp_level 1; brotli_comp_level 2; brotli_window 64k;
         location / {{ proxy_pass http://%%origin%%; }}"
    ))
    .set("origin", origin.addr())
    .may_log("an upstream response is buffered to a temporary file")
    .start();
    accepting(&proxy, "/", "gzip");
    let before = proxy.worker_fds();
    for coding in ["gzip", "br", "zstd"] {
        for _ in 0..8 {
            let mut client = proxy.client();
            let field = format!("Accept-Encoding: {coding}\r\n");
            client.request("GET", "/", &field).head();
            client.bytes(1000);
            client.reset();
        }
        let got = accepting(&proxy, "/", coding);
        assert!(decoded(&got) == json(4 << 20), "{coding}");
    }
    wait::until("the descriptors to be back", || {
        proxy.worker_fds() <= before + 2
    });
}

#[test]
fn a_client_without_gzip_gets_plain_bytes() {
    let body = json(300_000);
    let coded = gzipped(&body);
    let broken = coded[..coded.len() / 2].to_vec();
    let origin = Origin::answer(move |request| {
        let fields = "Content-Type: text/html\r\nContent-Encoding: gzip\r\nETag: \"x\"\r\nAccept-Ranges: bytes\r\n";
        match request.target() {
            "/twice" => response("200 OK", fields, &[&coded[..], &coded].concat()),
            "/broken" => response("200 OK", fields, &broken),
            _ => response("200 OK", fields, &coded),
        }
    });
    let proxy = Config::server(
        "gunzip on; gzip_vary on; location / { proxy_pass http://%%origin%%; }
         location /again { gunzip on; brotli on; proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .logs("inflate() returned -5 on response end while sending to client")
    .start();
    let got = proxy.get("/");
    assert_eq!(got.field("content-encoding"), None);
    assert_eq!(got.field("etag"), Some("W/\"x\""));
    assert_eq!(got.field("accept-ranges"), None);
    assert_eq!(got.field("vary"), Some("Accept-Encoding"));
    assert!(got.body == body);
    assert!(proxy.get("/twice").body == [&body[..], &body].concat());
    let kept = accepting(&proxy, "/", "gzip");
    assert_eq!(kept.field("etag"), Some("\"x\""));
    assert!(decoded(&kept) == body);
    let other = accepting(&proxy, "/again", "br");
    assert_eq!(other.field("content-encoding"), Some("br"));
    assert!(
        decoded(&other) == body,
        "recoded for who wants something else"
    );
    let head = proxy.client().request("HEAD", "/", "").response();
    assert_eq!((head.status(), head.field("content-encoding")), (200, None));
    assert_eq!(proxy.get("/broken").end, End::Cut);
}

#[test]
fn a_bomb_is_not_held_in_memory() {
    const SIZE: usize = 200 << 20;
    let bomb = gzipped(&vec![0; SIZE]);
    assert!(bomb.len() < SIZE / 500);
    let origin = Origin::answer(move |_| {
        let fields = "Content-Type: text/html\r\nContent-Encoding: gzip\r\n";
        response("200 OK", fields, &bomb)
    });
    let proxy = Config::server("gunzip on; location / { proxy_pass http://%%origin%%; }")
        .set("origin", origin.addr())
        .start();
    proxy.client().request("HEAD", "/", "").response();
    let before = proxy.worker_rss_kib();
    let mut client = proxy.client();
    client.get("/").head();
    // The client has taken a part of it and waits: what it does not take must not pile up.
    client.bytes(8 << 20);
    assert!(proxy.worker_rss_kib() < before + (24 << 10));
    client.reset();
    assert_eq!(
        proxy.client().request("HEAD", "/", "").response().status(),
        200
    );
}

#[test]
fn compressed_neighbours_are_served_in_place_of_files() {
    let proxy = Config::server(
        "root %%DIR%%/www; types { text/html html; } gzip_vary on; gzip_static on;
         location /all/ { alias %%DIR%%/www/; brotli_static on; zstd_static on; }
         location /always/ { alias %%DIR%%/www/; gzip_static always; }
         location /plain/ { alias %%DIR%%/www/; gzip_static off; }",
    )
    .file("www/a.html", "the plain page")
    .file("www/a.html.gz", gzipped(b"the gzip page"))
    .file("www/a.html.br", "the br page")
    .file("www/a.html.zst", "the zstd page")
    .file("www/b.html", "no neighbour")
    .file("www/c.html.gz", gzipped(b"only the neighbour"))
    .file("www/d.html", "its neighbour is a directory")
    .file("www/d.html.gz/x", "")
    .may_log("No such file")
    .start();
    let vary = Some("Accept-Encoding");
    for (target, list, coding, text, told) in [
        ("/a.html", "gzip", Some("gzip"), "the gzip page", vary),
        ("/a.html", "br", None, "the plain page", vary),
        (
            "/all/a.html",
            "gzip, br, zstd",
            Some("zstd"),
            "the zstd page",
            vary,
        ),
        (
            "/all/a.html",
            "gzip, br;q=0.9, zstd;q=0.5",
            Some("gzip"),
            "the gzip page",
            vary,
        ),
        (
            "/all/a.html",
            "gzip;q=0.5, br",
            Some("br"),
            "the br page",
            vary,
        ),
        ("/always/a.html", "", Some("gzip"), "the gzip page", None),
        ("/plain/a.html", "gzip", None, "the plain page", None),
        ("/b.html", "gzip", None, "no neighbour", None),
        ("/c.html", "gzip", Some("gzip"), "only the neighbour", vary),
        (
            "/d.html",
            "gzip",
            None,
            "its neighbour is a directory",
            vary,
        ),
    ] {
        let got = accepting(&proxy, target, list);
        let shown = format!("{target} {list}");
        assert_eq!(got.status(), 200, "{shown}");
        assert_eq!(got.field("content-type"), Some("text/html"), "{shown}");
        assert_eq!(got.field("content-encoding"), coding, "{shown}");
        assert_eq!(got.field("vary"), told, "{shown}");
        let body = match coding {
            Some("gzip") => decoded(&got),
            _ => got.body,
        };
        assert_eq!(String::from_utf8(body).unwrap(), text, "{shown}");
    }
    assert_eq!(proxy.get("/c.html").status(), 404);
}

#[test]
fn a_neighbour_has_a_tag_a_length_and_ranges_of_its_own() {
    let proxy = Config::server("root %%DIR%%/www; types { text/html html; } gzip_static on;")
        .file("www/a.html", "the plain page")
        .file("www/a.html.gz", "0123456789")
        .start();
    let mut client = proxy.client();
    let plain = client.get("/a.html").response();
    let accept = "Accept-Encoding: gzip\r\n";
    let got = client.request("GET", "/a.html", accept).response();
    let tag = got.field("etag").unwrap().to_owned();
    assert_ne!(plain.field("etag"), Some(tag.as_str()));
    assert!(tag.starts_with('"'), "{tag}");
    assert_eq!(got.field("content-length"), Some("10"));
    let head = client.request("HEAD", "/a.html", accept).response();
    assert_eq!(head.field("content-length"), Some("10"));
    assert_eq!(head.field("content-encoding"), Some("gzip"));
    let fields = format!("{accept}Range: bytes=2-4\r\n");
    let part = client.request("GET", "/a.html", &fields).response();
    assert_eq!((part.status(), part.text()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(part.field("content-encoding"), Some("gzip"));
    let fields = format!("{accept}If-None-Match: {tag}\r\n");
    let fresh = client.request("GET", "/a.html", &fields).response();
    assert_eq!(
        (fresh.status(), fresh.field("content-encoding")),
        (304, None)
    );
    let post = client
        .request("POST", "/a.html", &format!("{accept}Content-Length: 0\r\n"))
        .response();
    assert_eq!(post.status(), 405);
}

#[test]
fn charsets_are_told_and_converted() {
    let origin = Origin::answer(|request| match request.target() {
        "/accel" => response(
            "200 OK",
            "Content-Type: text/plain\r\nX-Accel-Charset: utf-8\r\n",
            b"x",
        ),
        "/own" => response(
            "200 OK",
            "Content-Type: text/html; charset=koi8-r\r\n",
            b"\xc0",
        ),
        "/utf" => response(
            "200 OK",
            "Content-Type: text/html; charset=utf-8\r\n",
            "ю€".as_bytes(),
        ),
        _ => response("200 OK", "Content-Type: text/html\r\n", b"a\xc0\xc1"),
    });
    let proxy = Config::http(
        "charset_map koi8-r utf-8 { C0 D18E; C1 D0B0; }
         server {
             listen %%ADDR_0%%;
             location / { charset utf-8; source_charset koi8-r; proxy_pass http://%%origin%%; }
             location /own { charset utf-8; override_charset on; proxy_pass http://%%origin%%; }
             location /keep { charset utf-8; proxy_pass http://%%origin%%/own; }
             location /utf { charset koi8-r; override_charset on; proxy_pass http://%%origin%%; }
             location /accel { proxy_pass http://%%origin%%; charset_types text/html; }
             location /other { charset x-other; override_charset on; proxy_pass http://%%origin%%/own; }
         }",
    )
    .set("origin", origin.addr())
    .logs("no \"charset_map\" between the charsets \"koi8-r\" and \"x-other\"")
    .start();
    let utf8 = "text/html; charset=utf-8";
    for (target, kind, body) in [
        ("/", utf8, "aюа".as_bytes()),
        ("/own", utf8, "ю".as_bytes()),
        ("/keep", "text/html; charset=koi8-r", b"\xc0"),
        ("/utf", "text/html; charset=koi8-r", b"\xc0&#8364;"),
        ("/accel", "text/plain; charset=utf-8", b"x"),
        ("/other", "text/html; charset=koi8-r", b"\xc0"),
    ] {
        let got = proxy.get(target);
        assert_eq!(got.field("content-type"), Some(kind), "{target}");
        assert_eq!(got.body, body, "{target}");
        assert_eq!(got.field("x-accel-charset"), None);
    }
}

#[test]
fn what_is_added_to_a_body_takes_its_charset() {
    let origin = Origin::answer(|request| {
        let kind = match request.target() {
            "/tail" => "text/html; charset=koi8-r",
            _ => "text/html; charset=utf-8",
        };
        let body: &[u8] = if request.target() == "/tail" {
            b"\xc0"
        } else {
            b"a"
        };
        response("200 OK", &format!("Content-Type: {kind}\r\n"), body)
    });
    let proxy = Config::http(
        "charset_map koi8-r utf-8 { C0 D18E; }
         server {
             listen %%ADDR_0%%;
             gzip on; gzip_min_length 1; postpone_gzipping 1k;
             location / { add_after_body /tail; proxy_pass http://%%origin%%; }
             location /tail { proxy_pass http://%%origin%%; }
         }",
    )
    .set("origin", origin.addr())
    .start();
    assert_eq!(proxy.get("/").text(), "aю");
    let coded = accepting(&proxy, "/", "gzip");
    assert_eq!(coded.field("content-encoding"), Some("gzip"));
    assert_eq!(decoded(&coded), "aю".as_bytes(), "one stream, not two");
}

#[test]
fn the_log_tells_how_much_was_saved() {
    let origin =
        Origin::answer(|_| response("200 OK", "Content-Type: text/html\r\n", &[b'x'; 10_000]));
    let proxy = Config::http(&format!(
        "log_format ratio '[$gzip_ratio] [$brotli_ratio] [$zstd_ratio]';
         {ALL}
         server {{ listen %%ADDR_0%%; access_log %%DIR%%/ratio.log ratio;
                   location / {{ proxy_pass http://%%origin%%; }} }}"
    ))
    .set("origin", origin.addr())
    .start();
    for coding in ["gzip", "br", "zstd", ""] {
        accepting(&proxy, "/", coding);
    }
    wait::until("four lines", || proxy.log("ratio.log").lines().count() == 4);
    let log = proxy.log("ratio.log");
    for (line, coding) in log.lines().zip(0..4) {
        let values: Vec<&str> = line.split(' ').collect();
        for (place, value) in values.iter().enumerate() {
            let text = value.trim_matches(['[', ']']);
            if place == coding {
                assert!(text.parse::<f64>().unwrap() > 10.0, "{line}");
                assert_eq!(text.split_once('.').unwrap().1.len(), 2, "{line}");
            } else {
                assert_eq!(text, "-", "{line}");
            }
        }
    }
}

#[test]
fn what_a_configuration_may_not_say() {
    for (text, want) in [
        ("gzip_comp_level 10;", "value must be between 1 and 9"),
        (
            "gzip_window 3k;",
            "\"gzip_window\" directive must be 512, 1k, 2k",
        ),
        ("brotli_comp_level 12;", "value must be between 0 and 11"),
        ("zstd_comp_level 23;", "value must be between 1 and 22"),
        ("gzip_disable \"(\";", "gzip_disable"),
        (
            "charset a; source_charset b;",
            "no \"charset_map\" between the charsets \"b\" and \"a\"",
        ),
        (
            "} charset_map a A { } server {",
            "between the same charsets",
        ),
        (
            "} charset_map utf-8 a { } server {",
            "should be given in the second column",
        ),
        (
            "} charset_map a b { } charset_map b a { } server {",
            "duplicate \"charset_map\"",
        ),
        (
            "} charset_map a b { 100 20; } server {",
            "invalid value \"100\"",
        ),
        (
            "} charset_map a utf-8 { C0 FF; } server {",
            "invalid value \"FF\"",
        ),
        ("} zstd_dict_file x; server {", "zstd_dict_file"),
    ] {
        let ran = Config::server(text).test();
        assert_ne!(ran.code(), Some(0), "{text}");
        let told = ran.stderr();
        // The library that reads a pattern has words of its own.
        assert!(
            told.contains(want) || text.contains("\"(\""),
            "{text}: {told}"
        );
    }
}
