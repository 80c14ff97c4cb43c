//! Responses on their way: buffered or streamed, chunked or counted, fast or throttled, cut or whole.

use crate::support::origin::{chunked, ok_bytes, response};
use crate::support::wire::{End, Framing};
use crate::support::{Config, LIMIT, Origin, Proxy, wait};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

fn to(origin: &Origin, text: &str) -> Proxy {
    Config::server(text).set("origin", origin.addr()).start()
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i % 241).unwrap()).collect()
}

const ON: &str = "location / { proxy_pass http://%%origin%%; }";
const OFF: &str = "location / { proxy_pass http://%%origin%%; proxy_buffering off; }";

#[test]
fn bodies_of_any_size_and_framing_arrive_whole() {
    let origin = Origin::answer(|request| {
        let mut words = request.target()[1..].split('/');
        let kind = words.next().unwrap_or_default().to_owned();
        let body = pattern(words.next().unwrap_or("0").parse().unwrap());
        match kind.as_str() {
            "counted" => ok_bytes(&body),
            "chunked" => chunked("", &body.chunks(3000).collect::<Vec<_>>(), ""),
            _ => [
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(),
                &body,
            ]
            .concat(),
        }
    });
    for text in [ON, OFF] {
        let proxy = to(&origin, text);
        let mut client = proxy.client();
        for kind in ["counted", "chunked", "until-close"] {
            for size in [0, 1, 4096, 70_000, 3_000_000] {
                let got = client.get(&format!("/{kind}/{size}")).response();
                assert_eq!(got.end, End::Whole, "{kind} {size} {text}");
                assert!(got.body == pattern(size), "{kind} {size} {text}");
            }
        }
    }
}

#[test]
fn a_chunked_answer_keeps_its_trailers_when_told_to() {
    let origin = Origin::fixed(chunked("Trailer: X-Sum\r\n", &[b"data"], "X-Sum: 42\r\n"));
    let proxy = to(
        &origin,
        "location /pass { proxy_pass http://%%origin%%; proxy_pass_trailers on; } location /drop { proxy_pass http://%%origin%%; }",
    );
    let mut client = proxy.client();
    let got = client
        .request("GET", "/pass", "TE: trailers\r\nConnection: TE\r\n")
        .response();
    assert_eq!(
        (got.text(), got.trailers.as_slice()),
        ("data", ["X-Sum: 42".to_owned()].as_slice())
    );
    let got = client.get("/drop").response();
    assert_eq!((got.text(), got.trailers.len()), ("data", 0));
}

/// An origin that sends its head and first part, then waits for the word before the second.
fn in_two_parts(fields: &'static str) -> (Origin, std::sync::mpsc::Sender<()>) {
    let (go, word) = channel::<()>();
    let word = Mutex::new(word);
    let origin = Origin::script(move |conn| {
        if conn.request().is_none() {
            return;
        }
        conn.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{fields}\r\nfirst"
        ));
        word.lock()
            .unwrap()
            .recv_timeout(LIMIT)
            .expect("the test says go");
        conn.send("later");
    });
    (origin, go)
}

#[test]
fn unbuffered_parts_arrive_as_they_are_sent() {
    for (text, fields) in [(OFF, ""), (ON, "X-Accel-Buffering: no\r\n")] {
        let (origin, go) = in_two_parts(fields);
        let proxy = to(&origin, text);
        let mut client = proxy.client();
        let head = client.get("/").head();
        assert_eq!(head.field("content-length"), Some("10"));
        assert_eq!(head.field("x-accel-buffering"), None);
        assert_eq!(client.bytes(5), b"first");
        go.send(()).unwrap();
        assert_eq!(client.bytes(5), b"later");
    }
}

#[test]
fn a_slow_client_does_not_hold_the_origin_when_buffered() {
    const SIZE: usize = 6 << 20;
    let origin = Origin::answer(|_| ok_bytes(&pattern(SIZE)));
    let proxy = Config::server("location / { proxy_pass http://%%origin%%; proxy_temp_path %%DIR%%/answer_temp; proxy_set_header Connection close; }")
        .set("origin", origin.addr())
        .may_log("an upstream response is buffered to a temporary file")
        .start();
    let mut client = proxy.client();
    let head = client.get("/").head();
    // The client reads nothing more, and yet the origin gets rid of all it has.
    wait::until("the origin to be done", || {
        origin.ended() == 1 || origin.requests().len() == 1
    });
    let body = client.bytes(SIZE);
    assert_eq!(head.status(), 200);
    assert!(body == pattern(SIZE));
}

#[test]
fn without_temp_files_a_slow_client_holds_the_origin() {
    const SIZE: usize = 30 << 20;
    let origin = Origin::answer(|_| ok_bytes(&pattern(SIZE)));
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_max_temp_file_size 0; }",
    );
    let mut client = proxy.client();
    client.get("/").head();
    let before = proxy.worker_rss_kib();
    assert!(client.bytes(SIZE) == pattern(SIZE));
    assert!(
        proxy.worker_rss_kib() < before + 16 * 1024,
        "the body is not held in memory"
    );
}

#[test]
fn a_head_larger_than_its_buffer_is_a_502() {
    let origin =
        Origin::answer(|_| response("200 OK", &format!("X-Long: {}\r\n", "a".repeat(5000)), b"x"));
    let proxy = Config::server(
        "location /small { proxy_pass http://%%origin%%; proxy_buffer_size 4k; }
         location /large { proxy_pass http://%%origin%%; proxy_buffer_size 16k; proxy_busy_buffers_size 24k; }",
    )
    .set("origin", origin.addr())
    .logs("upstream sent too big header while reading response header from upstream")
    .start();
    assert_eq!(proxy.get("/small").status(), 502);
    assert_eq!(proxy.get("/large").status(), 200);
}

#[test]
fn bodiless_statuses_have_no_body() {
    let origin = Origin::answer(|request| {
        let status = &request.target()[1..];
        format!("HTTP/1.1 {status} X\r\nX-A: 1\r\n\r\n").into_bytes()
    });
    let proxy = to(&origin, ON);
    let mut client = proxy.client();
    for status in [204, 304] {
        let got = client.get(&format!("/{status}")).response();
        assert_eq!((got.status(), got.body.len()), (status, 0));
        assert_eq!(
            crate::support::wire::response_framing(&got.head, "GET"),
            Framing::Empty
        );
    }
}

#[test]
fn limit_rate_slows_an_answer_down() {
    let origin = Origin::answer(|_| ok_bytes(&pattern(30_000)));
    let proxy = to(
        &origin,
        "location /limited { proxy_pass http://%%origin%%; limit_rate 20k; }
         location /free { proxy_pass http://%%origin%%; limit_rate 1k; limit_rate_after 1m; }",
    );
    let from = Instant::now();
    assert_eq!(proxy.get("/limited").body.len(), 30_000);
    let took = from.elapsed();
    assert!(
        took > Duration::from_millis(300) && took < LIMIT,
        "{took:?}"
    );
    let from = Instant::now();
    assert_eq!(proxy.get("/free").body.len(), 30_000);
    assert!(from.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_read_timeout_before_the_head_is_a_504() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.rest();
    });
    let proxy = Config::server("location / { proxy_pass http://%%origin%%; proxy_read_timeout 300ms; }")
        .set("origin", origin.addr())
        .logs("upstream timed out (110: Connection timed out) while reading response header from upstream")
        .start();
    let from = Instant::now();
    let got = proxy.get("/");
    assert_eq!(got.status(), 504);
    assert!(got.text().contains("<h1>504 Gateway Time-out</h1>"));
    assert!(from.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_read_timeout_in_the_body_cuts_the_answer() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
        conn.rest();
    });
    let proxy =
        Config::server("location / { proxy_pass http://%%origin%%; proxy_read_timeout 300ms; }")
            .set("origin", origin.addr())
            .logs("upstream timed out (110: Connection timed out) while reading upstream")
            .start();
    let got = proxy.get("/");
    assert_eq!((got.status(), got.end), (200, End::Cut));
    assert!("some".starts_with(got.text()));
}

#[test]
fn read_timeouts_are_between_reads() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..10 {
            // The pace of the origin is what is tested here.
            std::thread::sleep(Duration::from_millis(150));
            conn.send("x");
        }
    });
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_read_timeout 1s; }",
    );
    let got = proxy.get("/");
    assert_eq!((got.end, got.text()), (End::Whole, "xxxxxxxxxx"));
}

#[test]
fn a_client_that_stops_reading_is_let_go() {
    let origin = Origin::answer(|_| ok_bytes(&pattern(40 << 20)));
    let proxy = Config::server("location / { proxy_pass http://%%origin%%; send_timeout 300ms; proxy_max_temp_file_size 0; }")
        .set("origin", origin.addr())
        .start();
    let mut client = proxy.client();
    client.get("/").head();
    wait::until("the origin's connection to end", || origin.ended() >= 1);
    drop(client);
}

#[test]
fn early_hints_pass_where_they_are_wanted() {
    let origin = Origin::script(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let proxy = to(
        &origin,
        "location /hints { early_hints 1; proxy_pass http://%%origin%%; } location / { proxy_pass http://%%origin%%; }",
    );
    let mut client = proxy.client();
    let hint = client.get("/hints").head();
    assert_eq!(hint.status(), 103);
    assert_eq!(hint.field("link"), Some("</a.css>; rel=preload"));
    assert_eq!(client.response().text(), "ok");
    assert_eq!(client.get("/").response().status(), 200);
}
