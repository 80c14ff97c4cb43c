//! Requests that a request makes: `auth_request`, `mirror`, `slice`, `post_action`; with backends that are dead, that
//! hang, and that never end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::support::origin::{Conn, ok, ok_bytes, response};
use crate::support::wire::End;
use crate::support::{Config, LIMIT, Origin, wait};

/// Blocks scripts until a test opens it.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        let (_open, late) = self.0.1.wait_timeout_while(open, LIMIT, |o| !*o).unwrap();
        assert!(!late.timed_out(), "nobody opened the gate");
    }
}

/// Opens when the test ends, however it ends.
impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.open();
        }
    }
}

/// An address where nobody listens.
fn dead() -> std::net::SocketAddr {
    Origin::text("").addr()
}

/// A proxy before an application and the backend of an `auth_request`.
fn guarded(app: &Origin, auth: &Origin, more: &str) -> Config {
    Config::server(&format!(
        "location / {{ auth_request /auth; {more} proxy_pass http://%%app%%; }}
         location = /auth {{ internal; proxy_pass http://%%auth%%/check; proxy_set_header X-Uri $request_uri; }}"
    ))
    .set("app", app.addr())
    .set("auth", auth.addr())
}

#[test]
fn auth_request_lets_pass_and_sets_variables() {
    let app = Origin::text("secret");
    let auth =
        Origin::answer(|_| response("204 No Content", "X-User: ada\r\nX-Group: a, b\r\n", b""));
    let proxy = guarded(
        &app,
        &auth,
        "auth_request_set $user $upstream_http_x_user; auth_request_set $code $upstream_status;
         proxy_set_header X-User $user; add_header X-Code $code; add_header X-Method $request_method;",
    )
    .start();
    let mut client = proxy.client();
    client.send("POST /a?b=c HTTP/1.1\r\nHost: h\r\nCookie: k=v\r\nContent-Length: 4\r\n\r\nbody");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (200, "secret"));
    assert_eq!(answer.field("x-code"), Some("204"));
    let asked = auth.request();
    assert_eq!(asked.start_line(), "GET /check HTTP/1.1");
    assert_eq!(asked.field("cookie"), Some("k=v"));
    assert_eq!(asked.field("x-uri"), Some("/a?b=c"));
    // The body belongs to the application; announcing it would make the backend wait for it.
    assert_eq!((asked.field("content-length"), asked.body.len()), (None, 0));
    let passed = app.request();
    assert_eq!(passed.start_line(), "POST /a?b=c HTTP/1.1");
    assert_eq!(passed.field("x-user"), Some("ada"));
    assert_eq!(passed.body, b"body");
    // The connection is as good as ever.
    assert_eq!(client.get("/again").response().status(), 200);
}

#[test]
fn auth_request_refuses_in_the_backends_words() {
    let app = Origin::text("secret");
    let auth = Origin::answer(|request| match request.field("x-uri") {
        Some("/401") => response(
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"r\"\r\nWWW-Authenticate: Bearer\r\n",
            b"HIDDEN",
        ),
        Some("/403") => response("403 Forbidden", "", b"HIDDEN"),
        Some("/302") => response("302 Found", "Location: /login\r\n", b"HIDDEN"),
        Some("/404") => response("404 Not Found", "", b"HIDDEN"),
        Some("/200") => ok("HIDDEN"),
        _ => response("503 Busy", "", b"HIDDEN"),
    });
    let proxy = guarded(&app, &auth, "")
        .logs("auth request unexpected status: 302 while sending to client, client: 127.0.0.1, server: , request: \"GET /302 HTTP/1.1\"")
        .may_log("auth request unexpected status: 404")
        .may_log("auth request unexpected status: 503")
        .start();
    for (target, status) in [
        ("/401", 401),
        ("/403", 403),
        ("/302", 500),
        ("/404", 500),
        ("/503", 500),
        ("/200", 200),
    ] {
        let answer = proxy.get(target);
        assert_eq!(answer.status(), status, "{target}");
        assert!(!answer.text().contains("HIDDEN"), "{target}");
        let wants: &[&str] = match target {
            "/401" => &["Basic realm=\"r\"", "Bearer"],
            _ => &[],
        };
        assert_eq!(answer.all("www-authenticate"), wants, "{target}");
    }
    assert_eq!(app.requests().len(), 1);
}

#[test]
fn auth_request_by_a_dead_backend_is_500() {
    let app = Origin::text("secret");
    let proxy = Config::server(
        "location / { auth_request /auth; proxy_pass http://%%app%%; }
         location = /auth { proxy_pass http://%%dead%%; }",
    )
    .set("app", app.addr())
    .set("dead", dead())
    .logs("connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, server: , request: \"GET / HTTP/1.1\", subrequest: \"/auth\", upstream:")
    .logs("auth request unexpected status: 502")
    .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").response().status(), 500);
    assert_eq!(app.accepted(), 0);
}

#[test]
fn auth_request_by_a_backend_that_hangs_times_out() {
    let app = Origin::text("secret");
    let gate = Gate::default();
    let held = gate.clone();
    let auth = Origin::script(move |conn| {
        if conn.request().is_some() {
            held.wait();
        }
    });
    let proxy = Config::server(
        "location / { auth_request /auth; proxy_pass http://%%app%%; }
         location = /auth { proxy_read_timeout 200ms; proxy_pass http://%%auth%%; }",
    )
    .set("app", app.addr())
    .set("auth", auth.addr())
    .logs("upstream timed out (110: Connection timed out) while reading response header from upstream")
    .logs("auth request unexpected status: 504")
    .start();
    assert_eq!(proxy.get("/").status(), 500);
    gate.open();
    assert_eq!(app.accepted(), 0);
}

#[test]
fn a_client_that_leaves_takes_its_auth_request_along() {
    let app = Origin::text("secret");
    let auth = Origin::script(|conn| {
        if conn.request().is_some() {
            // Returns when the proxy closes.
            conn.rest();
        }
    });
    let proxy = guarded(&app, &auth, "")
        .logs("client prematurely closed connection")
        .start();
    let mut client = proxy.client();
    client.get("/");
    wait::until("the question", || auth.requests().len() == 1);
    drop(client);
    wait::until("the end of the question", || auth.ended() == 1);
    assert_eq!(app.accepted(), 0);
}

#[test]
fn an_endless_answer_to_an_auth_request_is_not_read() {
    let app = Origin::text("secret");
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let auth = Origin::script(move |conn| {
        let Some(_) = conn.request() else { return };
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let piece = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
        while conn.send(&piece) {
            count.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    let proxy = guarded(&app, &auth, "").start();
    assert_eq!(proxy.get("/").text(), "secret");
    wait::until("the proxy to hang up", || auth.ended() == 1);
    // What the buffers of two sockets hold, at most.
    assert!(sent.load(Ordering::SeqCst) < 64 << 20);
}

#[test]
fn auth_requests_share_a_connection() {
    let app = Origin::text("secret");
    let auth = Origin::text("fine, and this is why");
    let proxy = Config::http(
        "upstream auth { server %%auth%%; keepalive 4; }
         server { listen %%ADDR_0%%;
             location / { auth_request /auth; proxy_pass http://%%app%%; }
             location = /auth { proxy_pass http://auth; proxy_http_version 1.1; proxy_set_header Connection \"\"; }
         }",
    )
    .set("app", app.addr())
    .set("auth", auth.addr())
    .start();
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").response().text(), "secret");
    }
    assert_eq!((auth.requests().len(), auth.accepted()), (20, 1));
}

#[test]
fn subrequests_are_rewritten_and_redirected_like_requests() {
    let app = Origin::text("secret");
    let auth = Origin::answer(|request| match request.target() {
        "/ok?a=1" => ok("fine"),
        "/gone" => ok("fine"),
        "/index" => response("404 Not Found", "", b""),
        other => panic!("nobody asks for {other}"),
    });
    let proxy = Config::server(
        "location /rewritten { auth_request /old/ok; proxy_pass http://%%app%%; }
         location /old/ { rewrite ^/old/(.*) /new/$1?a=1 last; }
         location /new/ { internal; proxy_pass http://%%auth%%/; }
         location /named { auth_request /gone; proxy_pass http://%%app%%; }
         location /gone { error_page 404 = @named; return 404; }
         location @named { proxy_pass http://%%auth%%; }
         location /intercepted { auth_request /index; proxy_pass http://%%app%%; }
         location = /index { proxy_pass http://%%auth%%; proxy_intercept_errors on; error_page 404 =200 /fine; }
         location = /fine { return 204; }
         location /loop { auth_request /loop1; proxy_pass http://%%app%%; }
         location /loop1 { rewrite ^ /loop2 last; }
         location /loop2 { rewrite ^ /loop1 last; }
         location /closed { auth_request /444; proxy_pass http://%%app%%; }
         location /444 { return 444; }",
    )
    .set("app", app.addr())
    .set("auth", auth.addr())
    .logs("rewrite or internal redirection cycle while processing \"/loop")
    .logs("auth request unexpected status: 500")
    .start();
    for (target, status) in [
        ("/rewritten", 200),
        ("/named", 200),
        ("/intercepted", 200),
        ("/loop", 500),
    ] {
        assert_eq!(proxy.get(target).status(), status, "{target}");
    }
    proxy.client().get("/closed").expect_close();
}

#[test]
fn access_rules_do_not_apply_to_subrequests() {
    let app = Origin::text("secret");
    let proxy = Config::server(
        "location / { auth_request /auth; proxy_pass http://%%app%%; }
         location = /auth { deny all; auth_request /never; empty_gif; }",
    )
    .set("app", app.addr())
    .logs("access forbidden by rule")
    .start();
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.get("/auth").status(), 403);
}

/// A proxy that sends copies of what the application gets.
fn mirrored(app: &Origin, copy: &str, more: &str) -> Config {
    Config::server(&format!(
        "client_body_buffer_size 4k; client_max_body_size 0;
         location / {{ mirror /copy; {more} proxy_pass http://%%app%%; }}
         location /copy {{ internal; proxy_pass http://{copy}; proxy_set_header X-Uri $request_uri;
             proxy_set_header X-Method $request_method; proxy_read_timeout 30s; }}"
    ))
    .set("app", app.addr())
}

#[test]
fn mirrors_get_the_same_request() {
    let (app, one, two) = (Origin::text("app"), Origin::text("1"), Origin::text("2"));
    let proxy = mirrored(
        &app,
        "%%one%%",
        "mirror /second; location /second { proxy_pass http://%%two%%/else; }",
    )
    .set("one", one.addr())
    .set("two", two.addr())
    .start();
    let mut client = proxy.client();
    client.send("PUT /a?b HTTP/1.1\r\nHost: h\r\nX-K: v\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().text(), "app");
    wait::until("both copies", || {
        one.requests().len() + two.requests().len() == 2
    });
    for (copy, line) in [
        (&one, "PUT /copy?b HTTP/1.1"),
        (&two, "PUT /else?b HTTP/1.1"),
    ] {
        let copy = copy.request();
        assert_eq!(copy.start_line(), line);
        assert_eq!(
            (copy.field("x-k"), &copy.body[..]),
            (Some("v"), &b"hello"[..])
        );
    }
    assert_eq!(one.request().field("x-uri"), Some("/a?b"));
    assert_eq!(one.request().field("x-method"), Some("PUT"));
    assert_eq!(app.request().body, b"hello");
    assert_eq!(client.get("/again").response().text(), "app");
}

#[test]
fn a_body_in_a_file_goes_to_everyone() {
    let (app, copy) = (Origin::text("app"), Origin::text("copy"));
    let proxy = mirrored(&app, "%%copy%%", "")
        .set("copy", copy.addr())
        .start();
    let body: Vec<u8> = (0..1_000_000u32)
        .map(|n| (n.wrapping_mul(n) >> 5) as u8)
        .collect();
    let mut client = proxy.client();
    for round in 1..=3 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.send(&body);
        assert_eq!(client.response().text(), "app");
        wait::until("the copy", || copy.requests().len() == round);
        assert!(
            app.last().body == body,
            "the application's body of round {round}"
        );
        assert!(copy.last().body == body, "the copy's body of round {round}");
    }
}

#[test]
fn mirrors_without_the_body_get_none() {
    let (app, copy) = (Origin::text("app"), Origin::text("copy"));
    let proxy = mirrored(&app, "%%copy%%", "mirror_request_body off;")
        .set("copy", copy.addr())
        .start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().text(), "app");
    wait::until("the copy", || copy.requests().len() == 1);
    let copy = copy.request();
    assert_eq!(
        (copy.method(), copy.field("content-length"), copy.body.len()),
        ("POST", None, 0)
    );
    assert_eq!(app.request().body, b"hello");
}

#[test]
fn a_dead_mirror_is_only_logged() {
    let app = Origin::text("app");
    let proxy = mirrored(&app, "%%dead%%", "")
        .set("dead", dead())
        .logs("connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, server: , request: \"GET / HTTP/1.1\", subrequest: \"/copy\"")
        .start();
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").response().text(), "app");
    }
}

#[test]
fn a_mirror_that_hangs_delays_the_next_request_and_not_the_answer() {
    let app = Origin::text("app");
    let gate = Gate::default();
    let held = gate.clone();
    let copy = Origin::answer(move |request| {
        if request.field("x-uri") == Some("/first") {
            held.wait();
        }
        ok("copy")
    });
    let proxy = mirrored(&app, "%%copy%%", "")
        .set("copy", copy.addr())
        .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/first").response().text(), "app");
    wait::until("the copy", || copy.requests().len() == 1);
    // As in nginx, the connection goes on when the copy was answered.
    client.get("/second");
    assert!(client.is_quiet_for(Duration::from_millis(200)));
    // Others do not wait.
    assert_eq!(proxy.get("/third").text(), "app");
    gate.open();
    assert_eq!(client.response().text(), "app");
    wait::until("all copies", || copy.requests().len() == 3);
}

#[test]
fn a_mirror_goes_on_without_its_client() {
    let gate = Gate::default();
    let held = gate.clone();
    let app = Origin::script(|conn| {
        if conn.request().is_some() {
            conn.rest();
        }
    });
    let copy = Origin::answer(move |_| {
        held.wait();
        ok("copy")
    });
    let proxy = Config::http(
        "log_format s \"$uri $status\";
         server { listen %%ADDR_0%%;
             location / { mirror /copy; proxy_pass http://%%app%%; }
             location /copy { proxy_pass http://%%copy%%; log_subrequest on; access_log %%DIR%%/copies.log s; }
         }",
    )
    .set("app", app.addr())
    .set("copy", copy.addr())
    .logs("client prematurely closed connection")
    .start();
    let mut client = proxy.client();
    client.get("/");
    wait::until("both requests", || {
        app.requests().len() + copy.requests().len() == 2
    });
    drop(client);
    wait::until("the application's end", || app.ended() == 1);
    gate.open();
    proxy.wait_log("copies.log", "/copy 200\n");
}

#[test]
fn the_request_is_logged_when_its_mirrors_are_done() {
    let app = Origin::text("app");
    let gate = Gate::default();
    let held = gate.clone();
    let copy = Origin::answer(move |_| {
        held.wait();
        ok("copy")
    });
    let proxy = Config::http(
        "log_format s \"$uri $status $request_method $request_uri\";
         server { listen %%ADDR_0%%; access_log %%DIR%%/all.log s; log_subrequest on;
             location / { mirror /copy; proxy_pass http://%%app%%; }
             location /copy { proxy_pass http://%%copy%%; }
         }",
    )
    .set("app", app.addr())
    .set("copy", copy.addr())
    .start();
    assert_eq!(proxy.get("/a").text(), "app");
    assert_eq!(proxy.log("all.log"), "");
    gate.open();
    proxy.wait_log("all.log", "/copy 200 GET /a\n/a 200 GET /a\n");
}

/// An origin that serves ranges of `body`, under an ETag that may depend on where they begin.
fn ranged(body: Vec<u8>, etag: impl Fn(usize) -> String + Send + Sync + 'static) -> Origin {
    Origin::answer(move |request| {
        let range = request
            .field("range")
            .expect("slices are asked for by range");
        let (from, to) = range
            .strip_prefix("bytes=")
            .and_then(|r| r.split_once('-'))
            .expect("a range");
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let total = body.len();
        if from >= total {
            return response("416 Range Not Satisfiable", "", b"");
        }
        let to = (to + 1).min(total);
        let fields = format!(
            "Content-Type: text/x\r\nAccept-Ranges: bytes\r\n{}Content-Range: bytes {from}-{}/{total}\r\n",
            etag(from),
            to - 1
        );
        let part: &[u8] = match request.method() {
            "HEAD" => b"",
            _ => &body[from..to],
        };
        let mut bytes = format!(
            "HTTP/1.1 206 Partial Content\r\n{fields}Content-Length: {}\r\n\r\n",
            to - from
        )
        .into_bytes();
        bytes.extend_from_slice(part);
        bytes
    })
}

/// A proxy that fetches in slices.
fn sliced(origin: &Origin, size: &str) -> Config {
    Config::server(&format!(
        "location / {{ slice {size}; proxy_set_header Range $slice_range; proxy_pass http://%%origin%%; }}"
    ))
    .set("origin", origin.addr())
}

#[test]
fn slices_make_the_whole_and_every_range() {
    let body: Vec<u8> = (0..100_003u32)
        .map(|n| (n.wrapping_mul(n) >> 3) as u8)
        .collect();
    let origin = ranged(body.clone(), |_| "ETag: \"e\"\r\n".into());
    let proxy = sliced(&origin, "8k").start();
    let mut client = proxy.client();
    let whole = client.get("/").response();
    assert_eq!((whole.status(), whole.body == body), (200, true));
    assert_eq!(whole.field("etag"), Some("\"e\""));
    assert_eq!(whole.field("content-range"), None);
    assert_eq!(whole.field("accept-ranges"), Some("bytes"));
    assert_eq!(origin.requests().len(), 13);
    let total = body.len();
    for (range, from, to, slices) in [
        ("0-0", 0, 1, 1),
        ("0-8191", 0, 8192, 1),
        ("8191-8192", 8191, 8193, 2),
        ("8192-16383", 8192, 16384, 1),
        ("20000-50000", 20000, 50001, 5),
        ("100000-", 100_000, total, 1),
        // Where it begins is only known from the first slice.
        ("-3", total - 3, total, 2),
        ("0-999999", 0, total, 13),
    ] {
        let before = origin.requests().len();
        client.request("GET", "/", &format!("Range: bytes={range}\r\n"));
        let part = client.response();
        assert_eq!(part.status(), 206, "{range}");
        assert!(part.body == body[from..to], "{range}");
        let told = format!("bytes {from}-{}/{total}", to - 1);
        assert_eq!(part.field("content-range"), Some(&told[..]), "{range}");
        assert_eq!(origin.requests().len() - before, slices, "{range}");
    }
    // Several ranges and a condition that fails: the whole.
    for fields in [
        "Range: bytes=0-1,9000-9001\r\n",
        "Range: bytes=9000-9001\r\nIf-Range: \"x\"\r\n",
    ] {
        client.request("GET", "/", fields);
        let whole = client.response();
        assert_eq!(
            (whole.status(), whole.body == body),
            (200, true),
            "{fields}"
        );
    }
    client.expecting("HEAD").request("HEAD", "/", "");
    let head = client.response();
    assert_eq!(
        (head.status(), head.field("content-length")),
        (200, Some("100003"))
    );
    assert_eq!(client.get("/").response().body.len(), total);
}

#[test]
fn slices_of_different_things_are_not_mixed() {
    let changed = |size: usize| {
        ranged(vec![b'x'; 10 * size], move |from| {
            format!("ETag: \"{}\"\r\n", from / size / 2)
        })
    };
    let text = "etag mismatch in slice response while reading response header from upstream";
    let origin = changed(2000);
    let proxy = sliced(&origin, "2000").logs(text).start();
    let mut client = proxy.client();
    let cut = client.get("/").response();
    assert_eq!(
        (cut.status(), cut.end, cut.body.len()),
        (200, End::Cut, 4000)
    );
    client.expect_close();
    // Nothing was sent yet of a short one, and nothing is.
    let origin = changed(20);
    let proxy = sliced(&origin, "20").logs(text).start();
    proxy.client().get("/").expect_close();
}

#[test]
fn a_slice_that_was_not_asked_for_is_an_error() {
    for (fields, text) in [
        (
            "Content-Range: bytes 1-10/100\r\n",
            "unexpected range in slice response: 1-11, expected: 0-10 while reading response header from upstream, client: ",
        ),
        (
            "Content-Range: bytes 0-9/*\r\n",
            "no complete length in slice response",
        ),
        (
            "Content-Range: nonsense\r\n",
            "invalid range in slice response",
        ),
        ("", "invalid range in slice response"),
    ] {
        let origin =
            Origin::answer(move |_| response("206 Partial Content", fields, b"0123456789"));
        let proxy = sliced(&origin, "10").logs(text).start();
        proxy.client().get("/").expect_close();
    }
}

/// What an origin does on a connection.
type Script = fn(&mut Conn);

#[test]
fn a_later_slice_that_fails_cuts_the_answer() {
    let good = |from: usize| {
        let fields = format!("Content-Range: bytes {from}-{}/6000\r\n", from + 1999);
        response("206 Partial Content", &fields, &[b'x'; 2000])
    };
    let cases: [(&str, Script); 4] = [
        ("unexpected status code 200 in slice response", |conn| {
            conn.send(ok("0123456789"));
        }),
        ("unexpected status code 502 in slice response", |_| {}),
        (
            "unexpected range in slice response: 4000-6000, expected: 2000-4000",
            |conn| {
                conn.send(response(
                    "206 Partial Content",
                    "Content-Range: bytes 4000-5999/6000\r\n",
                    b"0123456789",
                ));
            },
        ),
        (
            "upstream prematurely closed connection while reading upstream",
            |conn| {
                conn.send("HTTP/1.1 206 Partial Content\r\nContent-Length: 2000\r\nContent-Range: bytes 2000-3999/6000\r\n\r\n012");
            },
        ),
    ];
    for (text, second) in cases {
        let origin = Origin::script(move |conn| {
            while let Some(request) = conn.request() {
                if request.field("range") != Some("bytes=0-1999") {
                    return second(conn);
                }
                conn.send(good(0));
            }
        });
        let proxy = sliced(&origin, "2000")
            .logs(text)
            .may_log("upstream prematurely closed connection")
            .start();
        let cut = proxy.get("/");
        assert_eq!((cut.status(), cut.end), (200, End::Cut), "{text}");
        assert!((2000..4000).contains(&cut.body.len()), "{text}");
    }
}

#[test]
fn what_is_no_slice_passes_as_it_is() {
    let origin = Origin::answer(|request| match request.target() {
        "/200" => ok("whole"),
        "/404" => response("404 Not Found", "", b"none"),
        _ => response(
            "416 Range Not Satisfiable",
            "Content-Range: bytes */0\r\n",
            b"",
        ),
    });
    let proxy = sliced(&origin, "10").start();
    let mut client = proxy.client();
    for (target, status, body) in [
        ("/200", 200, "whole"),
        ("/404", 404, "none"),
        ("/416", 416, ""),
    ] {
        let answer = client.get(target).response();
        assert_eq!((answer.status(), answer.text()), (status, body), "{target}");
    }
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn a_client_that_leaves_ends_the_slices() {
    let origin = ranged(vec![b'x'; 64 << 20], |_| String::new());
    let proxy = sliced(&origin, "1m")
        .may_log("client closed connection while sending to client")
        .may_log("client prematurely closed connection")
        .start();
    let mut client = proxy.client();
    client.get("/").head();
    drop(client);
    wait::until("the last connection's end", || {
        origin.ended() == origin.accepted()
    });
    assert!(origin.requests().len() < 64);
}

#[test]
fn post_action_visits_a_location_after_the_answer() {
    let app = Origin::text("app");
    let gate = Gate::default();
    let held = gate.clone();
    let post = Origin::answer(move |request| {
        if request.target() == "/done?status=200&bytes=3" {
            held.wait();
        }
        response("500 Oops", "", b"HIDDEN")
    });
    let proxy = Config::server(
        "location / { post_action @post; proxy_pass http://%%app%%; }
         location /missing { post_action /after; return 404; }
         location @post { proxy_pass http://%%post%%/done?status=$status&bytes=$body_bytes_sent; }
         location = /after { internal; proxy_pass http://%%post%%; }",
    )
    .set("app", app.addr())
    .set("post", post.addr())
    .start();
    let mut client = proxy.client();
    assert_eq!(client.get("/").response().text(), "app");
    wait::until("the visit", || post.requests().len() == 1);
    // Nothing of it is for the client, which waits with its next request as in nginx.
    client.get("/missing");
    assert!(client.is_quiet_for(Duration::from_millis(100)));
    gate.open();
    let missing = client.response();
    assert_eq!(missing.status(), 404);
    assert!(!missing.text().contains("HIDDEN"));
    wait::until("the other visit", || post.requests().len() == 2);
    assert_eq!(post.last().target(), "/after");
}

#[test]
fn everything_at_once_and_nothing_is_left() {
    let body: Vec<u8> = (0..50_000u32).map(|n| (n ^ n >> 7) as u8).collect();
    let app = ranged(body.clone(), |_| "ETag: \"e\"\r\n".into());
    let refuse = Arc::new(AtomicBool::new(false));
    let refusing = refuse.clone();
    let auth = Origin::answer(move |_| match refusing.load(Ordering::SeqCst) {
        true => response("403 Forbidden", "", b""),
        false => ok("fine"),
    });
    let copy = Origin::answer(|_| ok_bytes(&vec![b'c'; 100_000]));
    let proxy = Config::http(
        "upstream auth { server %%auth%%; keepalive 8; }
         server { listen %%ADDR_0%%;
             location / { auth_request /auth; mirror /copy; mirror /copy2; slice 4k; post_action /auth;
                 proxy_set_header Range $slice_range; proxy_pass http://%%app%%; }
             location = /auth { proxy_pass http://auth; proxy_set_header Connection \"\"; proxy_set_header Range \"\"; }
             location /copy { proxy_pass http://%%copy%%; }
         }",
    )
    .set("app", app.addr())
    .set("auth", auth.addr())
    .set("copy", copy.addr())
    .workers(1)
    .may_log("client closed connection while sending to client")
    .may_log("client prematurely closed connection")
    .start();
    // Warm, so that what it keeps is there.
    let run = |rounds: usize| {
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let (addr, body) = (proxy.addr(), body.clone());
                std::thread::spawn(move || {
                    for round in 0..rounds {
                        let mut client = crate::support::Client::tcp(addr);
                        if (round + thread) % 5 == 0 {
                            client.get("/").head();
                            continue;
                        }
                        assert!(client.get("/").response().body == body);
                        client.request("GET", "/", "Range: bytes=4000-9000\r\n");
                        assert!(client.response().body == body[4000..=9000]);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    };
    run(5);
    wait::until("quiet", || app.ended() + 40 > app.accepted());
    let before = (proxy.worker_fds(), proxy.worker_rss_kib());
    run(20);
    wait::until("as few descriptors", || proxy.worker_fds() <= before.0 + 16);
    let grown = proxy.worker_rss_kib().saturating_sub(before.1);
    assert!(grown < 16 << 10, "{grown} KiB more than before");
    // Of each five rounds four ask twice and one asks once; every request has two mirrors, the last of them still on the way.
    let copies = 8 * (25 / 5) * (4 * 2 + 1) * 2;
    wait::until("the last mirrors", || copy.requests().len() == copies);
    refuse.store(true, Ordering::SeqCst);
    assert_eq!(proxy.get("/").status(), 403);
    assert_eq!(copy.requests().len(), copies);
}
