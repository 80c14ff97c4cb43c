//! Ranges: one, several, `If-Range`, `max_ranges`, and those of an origin's body.

use crate::support::origin::{chunked, ok_bytes, response};
use crate::support::wire::{End, Message};
use crate::support::{Config, Origin, Proxy};

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i % 241).unwrap()).collect()
}

const LARGE: usize = 300_000;

fn site(text: &str) -> Proxy {
    Config::server(&format!(
        "root %%DIR%%/www; types {{ text/plain txt; }} {text}"
    ))
    .file("www/ten.txt", "0123456789")
    .file("www/empty.txt", "")
    .file("www/large.bin", pattern(LARGE))
    .start()
}

fn ask(proxy: &Proxy, target: &str, fields: &str) -> Message {
    proxy.client().request("GET", target, fields).response()
}

#[test]
fn one_range_of_a_file() {
    let proxy = site("");
    for (range, text, content_range) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-4", "6789", "bytes 6-9/10"),
        ("bytes=-40", "0123456789", "bytes 0-9/10"),
        ("BYTES=2-2", "2", "bytes 2-2/10"),
        ("bytes=8-800", "89", "bytes 8-9/10"),
        ("bytes=100-,4-5", "45", "bytes 4-5/10"),
    ] {
        let got = ask(&proxy, "/ten.txt", &format!("Range: {range}\r\n"));
        assert_eq!((got.status(), got.text()), (206, text), "{range}");
        assert_eq!(got.field("content-range"), Some(content_range), "{range}");
        assert_eq!(got.field("accept-ranges"), None, "{range}");
        assert_eq!(got.field("content-type"), Some("text/plain"), "{range}");
        assert!(got.field("etag").is_some() && got.field("last-modified").is_some());
    }
    for range in ["items=0-1", "bytes=", "bytes=0-9,0-9", "lines"] {
        let got = ask(&proxy, "/ten.txt", &format!("Range: {range}\r\n"));
        assert_eq!((got.status(), got.text()), (200, "0123456789"), "{range}");
        assert_eq!(got.field("accept-ranges"), Some("bytes"), "{range}");
    }
    let got = ask(&proxy, "/empty.txt", "Range: bytes=0-\r\n");
    assert_eq!((got.status(), got.text()), (200, ""));
}

#[test]
fn what_does_not_exist_is_416_and_tells_the_length() {
    let proxy = site("location /own/ { error_page 416 /ten.txt; alias %%DIR%%/www/; }");
    for range in ["10-", "5-3", "x", "1", "-", "-0", "1-2 3"] {
        let got = ask(&proxy, "/ten.txt", &format!("Range: bytes={range}\r\n"));
        assert_eq!(got.status(), 416, "{range}");
        assert_eq!(got.field("content-range"), Some("bytes */10"), "{range}");
        assert!(got.text().contains("416 Requested Range Not Satisfiable"));
        assert_eq!(got.field("accept-ranges"), None);
    }
    // A connection goes on after it.
    let mut client = proxy.client();
    assert_eq!(
        client
            .request("GET", "/ten.txt", "Range: bytes=10-\r\n")
            .response()
            .status(),
        416
    );
    assert_eq!(client.get("/ten.txt").response().text(), "0123456789");
    let got = ask(&proxy, "/own/ten.txt", "Range: bytes=10-\r\n");
    assert_eq!((got.status(), got.text()), (416, "0123456789"));
}

/// The parts of a multipart answer as (content range, body).
fn parts(got: &Message) -> Vec<(String, Vec<u8>)> {
    let kind = got.field("content-type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let mark = format!("\r\n--{boundary}");
    let mut rest = &got.body[..];
    let mut found = Vec::new();
    loop {
        rest = rest.strip_prefix(mark.as_bytes()).unwrap();
        if rest == b"--\r\n" {
            return found;
        }
        let end = memchr::memmem::find(rest, b"\r\n\r\n").unwrap();
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let range = head.split("Content-Range: ").nth(1).unwrap().to_owned();
        rest = &rest[end + 4..];
        let end = memchr::memmem::find(rest, mark.as_bytes()).unwrap();
        found.push((range, rest[..end].to_vec()));
        rest = &rest[end..];
    }
}

#[test]
fn several_ranges_come_in_parts() {
    for sendfile in ["on", "off"] {
        let proxy = site(&format!("sendfile {sendfile};"));
        let got = ask(&proxy, "/ten.txt", "Range: bytes=0-1, -2, 4-4\r\n");
        assert_eq!((got.status(), &got.end), (206, &End::Whole));
        let want = [
            ("bytes 0-1/10", "01"),
            ("bytes 8-9/10", "89"),
            ("bytes 4-4/10", "4"),
        ];
        let want: Vec<_> = want
            .iter()
            .map(|(range, text)| ((*range).to_owned(), text.as_bytes().to_vec()))
            .collect();
        assert_eq!(parts(&got), want);
        assert!(got.text().contains("Content-Type: text/plain\r\n"));

        let whole = pattern(LARGE);
        let got = ask(
            &proxy,
            "/large.bin",
            "Range: bytes=100000-299998,5-99999\r\n",
        );
        let found = parts(&got);
        assert!(found[0].1 == whole[100_000..299_999] && found[1].1 == whole[5..100_000]);
        let head = proxy
            .client()
            .request(
                "HEAD",
                "/large.bin",
                "Range: bytes=100000-299998,5-99999\r\n",
            )
            .response();
        assert_eq!(head.field("content-length"), got.field("content-length"));
    }
}

#[test]
fn a_large_range_comes_by_sendfile_and_through_a_buffer() {
    let whole = pattern(LARGE);
    for text in [
        "sendfile on;",
        "sendfile off;",
        "sendfile on; limit_rate 10m;",
    ] {
        let proxy = site(text);
        let mut client = proxy.client();
        for (start, end) in [(1, LARGE - 1), (70_000, 70_001), (0, 16_384), (3, 200_000)] {
            let range = format!("Range: bytes={start}-{}\r\n", end - 1);
            let got = client.request("GET", "/large.bin", &range).response();
            assert_eq!(got.status(), 206);
            assert!(got.body == whole[start..end], "{text} {start}-{end}");
        }
    }
}

#[test]
fn a_range_depends_on_the_copy() {
    let proxy = site("location /no/ { alias %%DIR%%/www/; etag off; }");
    let whole = proxy.get("/ten.txt");
    let (tag, date) = (
        whole.field("etag").unwrap(),
        whole.field("last-modified").unwrap(),
    );
    for (target, condition, status) in [
        ("/ten.txt", tag, 206),
        ("/ten.txt", date, 206),
        ("/ten.txt", "\"other\"", 200),
        ("/ten.txt", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ("/ten.txt", "nonsense", 200),
        ("/no/ten.txt", tag, 200),
        ("/no/ten.txt", date, 206),
    ] {
        let fields = format!("Range: bytes=0-0\r\nIf-Range: {condition}\r\n");
        assert_eq!(
            ask(&proxy, target, &fields).status(),
            status,
            "{target} {condition}"
        );
    }
    let weak = format!("Range: bytes=0-0\r\nIf-Range: W/{tag}\r\n");
    assert_eq!(ask(&proxy, "/ten.txt", &weak).status(), 200);
    let known = format!("Range: bytes=0-0\r\nIf-None-Match: {tag}\r\n");
    assert_eq!(ask(&proxy, "/ten.txt", &known).status(), 304);
}

#[test]
fn the_number_of_ranges_is_limited() {
    let proxy = site(
        "location /none/ { alias %%DIR%%/www/; max_ranges 0; }
         location /two/ { alias %%DIR%%/www/; max_ranges 2; }",
    );
    let got = ask(&proxy, "/none/ten.txt", "Range: bytes=0-1\r\n");
    assert_eq!((got.status(), got.field("accept-ranges")), (200, None));
    for (ranges, status) in [("0-0,1-1", 206), ("0-0,1-1,2-2", 200), ("0-0,1-1,99-", 206)] {
        let fields = format!("Range: bytes={ranges}\r\n");
        assert_eq!(
            ask(&proxy, "/two/ten.txt", &fields).status(),
            status,
            "{ranges}"
        );
    }
    // Without a limit the heads of the parts must not outgrow the file.
    let many = vec!["1-1"; 17].join(",");
    assert_eq!(
        ask(&proxy, "/ten.txt", &format!("Range: bytes={many}\r\n")).status(),
        200
    );
}

#[test]
fn ranges_of_an_origins_body() {
    let origin = Origin::answer(|request| match request.target() {
        "/chunked" => chunked("", &[b"01234", b"56789"], ""),
        "/told" => response("200 OK", "Accept-Ranges: bytes\r\n", b"0123456789"),
        "/large" => ok_bytes(&pattern(LARGE)),
        _ => response(
            "200 OK",
            "ETag: \"x\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n",
            b"0123456789",
        ),
    });
    for buffering in ["on", "off"] {
        let text = format!(
            "proxy_buffering {buffering};
             location / {{ proxy_pass http://%%origin%%/; }}
             location /force/ {{ proxy_pass http://%%origin%%/; proxy_force_ranges on; }}
             location /slow/ {{ proxy_pass http://%%origin%%/; proxy_force_ranges on; limit_rate 10m; }}"
        );
        let proxy = Config::server(&text).set("origin", origin.addr()).start();
        let mut client = proxy.client();
        let mut ask = |target: &str, fields: &str| client.request("GET", target, fields).response();
        // The origin decides, and what it says is passed on.
        let got = ask("/plain", "Range: bytes=1-2\r\n");
        assert_eq!((got.status(), got.text()), (200, "0123456789"));
        let got = ask("/told", "");
        assert_eq!(got.all("accept-ranges"), ["bytes"]);
        let got = ask("/force/told", "");
        assert_eq!(got.all("accept-ranges"), ["bytes"]);
        for target in ["/force/plain", "/slow/plain"] {
            let got = ask(target, "Range: bytes=1-2\r\n");
            assert_eq!(
                (got.status(), got.text()),
                (206, "12"),
                "{buffering} {target}"
            );
            assert_eq!(got.field("content-range"), Some("bytes 1-2/10"));
        }
        let got = ask("/force/plain", "Range: bytes=1-2,4-5\r\n");
        assert_eq!((got.status(), got.text()), (200, "0123456789"));
        assert_eq!(ask("/force/plain", "Range: bytes=10-\r\n").status(), 416);
        let got = ask("/force/chunked", "Range: bytes=1-2\r\n");
        assert_eq!((got.status(), got.text()), (200, "0123456789"));
        for (condition, status) in [
            ("\"x\"", 206),
            ("\"y\"", 200),
            ("Thu, 01 Jan 2026 00:00:00 GMT", 206),
            ("Thu, 01 Jan 2026 00:00:01 GMT", 200),
        ] {
            let fields = format!("Range: bytes=1-2\r\nIf-Range: {condition}\r\n");
            assert_eq!(ask("/force/plain", &fields).status(), status, "{condition}");
        }
        let whole = pattern(LARGE);
        for target in ["/force/large", "/slow/large"] {
            for (start, end) in [(0, 1), (1, LARGE), (100_000, 250_000), (LARGE - 1, LARGE)] {
                let got = ask(target, &format!("Range: bytes={start}-{}\r\n", end - 1));
                assert_eq!((got.status(), &got.end), (206, &End::Whole));
                assert!(got.body == whole[start..end], "{target} {start}-{end}");
            }
        }
    }
}
