//! The response cache: what is stored and what is not, every word of `$upstream_cache_status`, stale answers,
//! revalidation, purges, variants, and the rules of RFC 9111.

use crate::support::origin::response;
use crate::support::wire::Message;
use crate::support::{Config, Origin, Proxy, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server around a cache of its own; `text` stands in the server.
fn site(origin: &Origin, text: &str) -> Proxy {
    config(origin, text).start()
}

fn config(origin: &Origin, text: &str) -> Config {
    Config::http(&format!(
        "proxy_cache_path %%DIR%%/cache levels=1:2 keys_zone=one:1m;
         server {{ listen %%ADDR_0%%; add_header X-Cache $upstream_cache_status always;
                   proxy_cache one; proxy_pass_header X-Accel-Expires; {text} }}"
    ))
    .set("origin", origin.addr())
}

const PLAIN: &str = "location / { proxy_pass http://%%origin%%; }";

/// An answer with these fields whose body says how many there were before it.
fn counting(fields: &'static str) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::answer(move |_| {
        let body = count.fetch_add(1, Ordering::SeqCst).to_string();
        response("200 OK", fields, body.as_bytes())
    })
}

/// What the cache said, and the body.
fn said(message: &Message) -> (&str, &str) {
    (message.field("x-cache").unwrap_or("-"), message.text())
}

#[test]
fn an_answer_with_a_lifetime_is_served_again() {
    let origin = counting("Cache-Control: max-age=60\r\nContent-Type: text/x\r\nX-Own: a\r\n");
    let proxy = site(&origin, PLAIN);
    let first = proxy.get("/a");
    assert_eq!(said(&first), ("MISS", "0"));
    for _ in 0..3 {
        let again = proxy.get("/a");
        assert_eq!(said(&again), ("HIT", "0"));
        for name in ["content-type", "content-length", "x-own", "cache-control"] {
            assert_eq!(again.field(name), first.field(name), "{name}");
        }
    }
    assert_eq!(said(&proxy.get("/a?x")), ("MISS", "1"));
    // A HEAD is answered with what GET stored, and the other way round.
    let mut client = proxy.client();
    let head = client.request("HEAD", "/a", "").response();
    assert_eq!(
        (head.field("x-cache"), head.field("content-length")),
        (Some("HIT"), Some("1"))
    );
    let head = client.request("HEAD", "/h", "").response();
    assert_eq!(head.field("x-cache"), Some("MISS"));
    assert_eq!(origin.last().method(), "GET");
    assert_eq!(said(&client.get("/h").response()), ("HIT", "2"));
    let post = client
        .request("POST", "/a", "Content-Length: 0\r\n")
        .response();
    assert_eq!(said(&post), ("-", "3"));
}

#[test]
fn what_must_not_be_shared_is_not_stored() {
    let origin = Origin::answer(|request| {
        let fields = match request.target() {
            "/cookie" => "Set-Cookie: a=b\r\nCache-Control: max-age=9\r\n",
            "/private" => "Cache-Control: private, max-age=9\r\n",
            "/store" => "Cache-Control: no-store\r\nExpires: Thu, 31 Dec 2037 23:55:55 GMT\r\n",
            "/check" => "Cache-Control: no-cache\r\n",
            "/star" => "Vary: *\r\nCache-Control: max-age=9\r\n",
            "/accel" => "X-Accel-Expires: 0\r\nCache-Control: max-age=9\r\n",
            "/past" => "Expires: Thu, 01 Jan 1970 00:00:01 GMT\r\n",
            "/unbuffered" => "X-Accel-Buffering: no\r\nCache-Control: max-age=9\r\n",
            _ => "",
        };
        let status = match request.target() {
            "/part" => "206 Partial Content",
            "/unchanged" => "304 Not Modified",
            _ => "200 OK",
        };
        let body: &[u8] = if status.starts_with("304") { b"" } else { b"x" };
        response(status, fields, body)
    });
    let proxy = site(
        &origin,
        "location / { proxy_pass http://%%origin%%; }
         location ~ ^/(part|unchanged|any) { proxy_pass http://%%origin%%; proxy_cache_valid any 1m; }",
    );
    for target in [
        "/cookie",
        "/private",
        "/store",
        "/check",
        "/star",
        "/accel",
        "/past",
        "/unbuffered",
        "/silent",
        "/part",
        "/unchanged",
    ] {
        for _ in 0..2 {
            assert_eq!(proxy.get(target).field("x-cache"), Some("MISS"), "{target}");
        }
    }
    assert_eq!(proxy.get("/any").field("x-cache"), Some("MISS"));
    assert_eq!(proxy.get("/any").field("x-cache"), Some("HIT"));
    // A body that the key does not tell from others.
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET /any HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb");
        assert_eq!(client.response().field("x-cache"), None);
    }
}

#[test]
fn a_body_that_breaks_off_is_served_to_nobody_else() {
    let count = AtomicUsize::new(0);
    let origin = Origin::script(move |conn| {
        while conn.request().is_some() {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\n";
            conn.send(format!("{head}{}", if first { "abc" } else { "abcdef" }));
            if first {
                return;
            }
        }
    });
    let proxy = config(&origin, PLAIN)
        .logs("upstream prematurely closed connection")
        .start();
    let broken = proxy.client().get("/").response();
    assert_eq!(broken.text(), "abc");
    assert_eq!(said(&proxy.get("/")), ("MISS", "abcdef"));
    assert_eq!(said(&proxy.get("/")), ("HIT", "abcdef"));
}

#[test]
fn bypass_and_no_cache_are_two_things() {
    let origin = counting("Cache-Control: max-age=60\r\n");
    let proxy = site(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_cache_key $uri;
                      proxy_cache_bypass $arg_pass; proxy_no_cache $arg_no; }",
    );
    assert_eq!(said(&proxy.get("/?no=1")), ("MISS", "0"));
    assert_eq!(said(&proxy.get("/?no=0")), ("MISS", "1"));
    assert_eq!(said(&proxy.get("/?no=1")), ("HIT", "1"));
    assert_eq!(said(&proxy.get("/?pass=1&no=1")), ("BYPASS", "2"));
    assert_eq!(said(&proxy.get("/")), ("HIT", "1"));
    assert_eq!(said(&proxy.get("/?pass=1")), ("BYPASS", "3"));
    assert_eq!(said(&proxy.get("/")), ("HIT", "3"));
}

#[test]
fn which_requests_are_stored_and_when() {
    let origin = Origin::answer(|request| {
        let fields = format!(
            "Cache-Control: max-age=60\r\nAccept-Ranges: bytes\r\nX-Asked: {} {}\r\n",
            request.method(),
            request.field("range").unwrap_or("whole")
        );
        let body: &[u8] = if request.method() == "HEAD" {
            b""
        } else {
            b"0123456789"
        };
        response("200 OK", &fields, body)
    });
    let proxy = site(
        &origin,
        "location / { proxy_pass http://%%origin%%; }
         location /post { proxy_pass http://%%origin%%; proxy_cache_methods POST; }
         location /often { proxy_pass http://%%origin%%; proxy_cache_min_uses 3; }
         location /range { proxy_pass http://%%origin%%; proxy_cache_max_range_offset 4; }
         location /head { proxy_pass http://%%origin%%; proxy_cache_convert_head off;
                          proxy_cache_key $request_method$uri; }",
    );
    let far = "Range: bytes=6-7\r\n";
    let near = "Range: bytes=2-3\r\n";
    let empty = "Content-Length: 0\r\n";
    for (method, target, fields, expected) in [
        ("POST", "/", empty, "- POST whole"),
        ("POST", "/", empty, "- POST whole"),
        ("POST", "/post", empty, "MISS POST whole"),
        ("POST", "/post", empty, "HIT POST whole"),
        ("GET", "/often", "", "MISS GET whole"),
        ("GET", "/often", "", "MISS GET whole"),
        ("GET", "/often", "", "MISS GET whole"),
        ("GET", "/often", "", "HIT GET whole"),
        // What is asked for from far behind is not stored, and the backend is told.
        ("GET", "/range", far, "MISS GET bytes=6-7"),
        ("GET", "/range", far, "MISS GET bytes=6-7"),
        ("GET", "/range", near, "MISS GET whole"),
        ("GET", "/range", far, "HIT GET whole"),
        ("HEAD", "/", "", "MISS GET whole"),
        ("HEAD", "/head", "", "MISS HEAD whole"),
        ("HEAD", "/head", "", "HIT HEAD whole"),
        ("GET", "/head", "", "MISS GET whole"),
    ] {
        let mut client = proxy.client();
        let got = client.request(method, target, fields).response();
        let asked = got.field("x-asked").unwrap_or("-");
        let told = format!("{} {asked}", said(&got).0);
        assert_eq!(told, expected, "{method} {target} {fields}");
    }
}

#[test]
fn what_has_expired_is_fetched_asked_about_or_served_in_need() {
    let mode = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&mode);
    let origin = Origin::answer(move |request| {
        // Stored, and expired from the beginning.
        let fields = "X-Accel-Expires: @1\r\nETag: \"v\"\r\n";
        match now.load(Ordering::SeqCst) {
            0 => response("200 OK", fields, b"old"),
            1 if request.field("if-none-match") == Some("\"v\"") => {
                b"HTTP/1.1 304 Not Modified\r\nX-Accel-Expires: 60\r\n\r\n".to_vec()
            }
            1 => response("200 OK", fields, b"new"),
            2 => response("503 Service Unavailable", "", b"no"),
            _ => Vec::new(),
        }
    });
    let proxy = config(
        &origin,
        "location /plain { proxy_pass http://%%origin%%; }
         location /asks { proxy_pass http://%%origin%%; proxy_cache_revalidate on; }
         location /stale { proxy_pass http://%%origin%%; proxy_cache_use_stale error http_503; }",
    )
    .may_log("upstream prematurely closed connection")
    .start();
    for target in ["/plain", "/asks", "/stale"] {
        assert_eq!(said(&proxy.get(target)), ("MISS", "old"), "{target}");
    }
    assert_eq!(said(&proxy.get("/plain")), ("EXPIRED", "old"));
    mode.store(1, Ordering::SeqCst);
    assert_eq!(said(&proxy.get("/plain")), ("EXPIRED", "new"));
    assert_eq!(said(&proxy.get("/asks")), ("REVALIDATED", "old"));
    assert_eq!(said(&proxy.get("/asks")), ("HIT", "old"));
    mode.store(2, Ordering::SeqCst);
    assert_eq!(said(&proxy.get("/stale")), ("STALE", "old"));
    assert_eq!(proxy.get("/plain").status(), 503);
    mode.store(3, Ordering::SeqCst);
    assert_eq!(said(&proxy.get("/stale")), ("STALE", "old"));
    assert_eq!(proxy.get("/plain").status(), 502);
}

#[test]
fn an_update_behind_does_not_keep_the_client() {
    let (key, gate) = wait::gate();
    let count = AtomicUsize::new(0);
    let origin = Origin::answer(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => response("200 OK", "X-Accel-Expires: @1\r\n", b"old"),
        _ => {
            gate.pass();
            response("200 OK", "X-Accel-Expires: 60\r\n", b"new")
        }
    });
    let proxy = site(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_cache_use_stale updating; proxy_cache_background_update on; }",
    );
    let mut client = proxy.client();
    assert_eq!(said(&client.get("/").response()), ("MISS", "old"));
    assert_eq!(said(&client.get("/").response()), ("STALE", "old"));
    assert_eq!(said(&client.get("/").response()), ("UPDATING", "old"));
    key.open();
    wait::until("the update", || said(&proxy.get("/")) == ("HIT", "new"));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn conditions_and_ranges_are_ours_to_judge() {
    let fields = "Cache-Control: max-age=60\r\nETag: \"v\"\r\nAccept-Ranges: bytes\r\n\
                  Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n";
    let origin = Origin::fixed(response("200 OK", fields, b"0123456789"));
    let proxy = site(&origin, PLAIN);
    let mut client = proxy.client();
    let part = client
        .request("GET", "/", "Range: bytes=2-4\r\nIf-None-Match: \"x\"\r\n")
        .response();
    assert_eq!((part.status(), said(&part)), (206, ("MISS", "234")));
    let asked = origin.last();
    assert_eq!(
        (asked.field("range"), asked.field("if-none-match")),
        (None, None)
    );
    let part = client.request("GET", "/", "Range: bytes=-2\r\n").response();
    assert_eq!((part.status(), said(&part)), (206, ("HIT", "89")));
    assert_eq!(part.field("content-range"), Some("bytes 8-9/10"));
    let parts = client
        .request("GET", "/", "Range: bytes=0-0,5-5\r\n")
        .response();
    assert!(
        parts
            .field("content-type")
            .unwrap()
            .starts_with("multipart/byteranges")
    );
    for fields in [
        "If-None-Match: \"v\"\r\n",
        "If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n",
    ] {
        let same = client.request("GET", "/", fields).response();
        assert_eq!((same.status(), said(&same)), (304, ("HIT", "")), "{fields}");
    }
    let failed = client.request("GET", "/", "If-Match: \"x\"\r\n").response();
    assert_eq!(failed.status(), 412);
    // A client that has the copy already fills the cache all the same.
    let same = proxy
        .client()
        .request("GET", "/other", "If-None-Match: \"v\"\r\n")
        .response();
    assert_eq!((same.status(), said(&same)), (304, ("MISS", "")));
    wait::until("the whole to be stored", || {
        said(&proxy.get("/other")) == ("HIT", "0123456789")
    });
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn variants_are_told_apart() {
    let origin = Origin::answer(|request| {
        let body = request
            .field("accept-language")
            .unwrap_or("none")
            .to_owned();
        let fields = "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n";
        response("200 OK", fields, body.as_bytes())
    });
    let proxy = site(&origin, PLAIN);
    let mut client = proxy.client();
    let mut get = |language: &str| {
        let fields = format!("Accept-Language: {language}\r\n");
        let message = client.request("GET", "/", &fields).response();
        (
            message.field("x-cache").unwrap().to_owned(),
            message.text().to_owned(),
        )
    };
    let told = |status: &str, body: &str| (status.to_owned(), body.to_owned());
    assert_eq!(get("de"), told("MISS", "de"));
    assert_eq!(get("en, fr"), told("MISS", "en, fr"));
    assert_eq!(get("de"), told("HIT", "de"));
    assert_eq!(get("en,fr"), told("HIT", "en, fr"));
    assert_eq!(said(&proxy.get("/")), ("MISS", "none"));
    assert_eq!(said(&proxy.get("/")), ("HIT", "none"));
}

#[test]
fn purges_by_key_prefix_and_tag() {
    let count = AtomicUsize::new(0);
    let origin = Origin::answer(move |request| {
        let tag = request.target()[1..2].to_owned();
        let fields =
            format!("Cache-Control: max-age=60\r\nCache-Tag: all, {tag}\r\nETag: \"e\"\r\n");
        let body = count.fetch_add(1, Ordering::SeqCst).to_string();
        response("200 OK", &fields, body.as_bytes())
    });
    let proxy = config(
        &origin,
        "set $purges 0; if ($request_method = PURGE) { set $purges 1; }
         location / { proxy_pass http://%%origin%%; proxy_cache_key $uri;
                      proxy_cache_purge $purges tags=$http_tags mode=$http_mode; }",
    )
    .workers(2)
    .start();
    let mut client = proxy.client();
    let word = |target: &&str| match proxy.get(target).field("x-cache") {
        Some("HIT") => 'h',
        Some("MISS") => 'm',
        Some("EXPIRED") => 'e',
        _ => '?',
    };
    // An answer is in its place a moment after its client has it.
    let state = |targets: &[&str]| -> String {
        let found = targets.iter().map(word).collect();
        wait::until("all are stored", || targets.iter().all(|t| word(t) == 'h'));
        found
    };
    let all = ["/a1", "/a2", "/b1"];
    assert_eq!(state(&all), "mmm");
    assert_eq!(state(&all), "hhh");
    let mut purge = |target: &str, fields: &str| {
        assert_eq!(
            client.request("PURGE", target, fields).response().status(),
            204,
            "{target}"
        );
    };
    purge("/a1", "");
    assert_eq!(state(&all), "mhh");
    purge("/a*", "");
    assert_eq!(state(&all), "mmh");
    purge("/x", "Tags: b\r\n");
    assert_eq!(state(&all), "hhm");
    assert_eq!(state(&all), "hhh");
    purge("/x", "Tags: all\r\nMode: soft\r\n");
    assert_eq!(state(&all), "eee");
    assert_eq!(state(&all), "hhh");
}

#[test]
fn errors_are_remembered_where_the_configuration_says_so() {
    let origin = Origin::script(|conn| {
        conn.request();
    });
    let proxy = config(
        &origin,
        "location /kept { proxy_pass http://%%origin%%; proxy_cache_valid 502 1m; }
         location / { proxy_pass http://%%origin%%; }",
    )
    .may_log("upstream prematurely closed connection")
    .start();
    for (target, asked) in [("/kept", 1), ("/", 3)] {
        for _ in 0..2 {
            assert_eq!(proxy.get(target).status(), 502, "{target}");
        }
        assert_eq!(origin.requests().len(), asked, "{target}");
    }
}

#[test]
fn what_was_done_is_told_in_cache_status() {
    let origin = counting("Cache-Control: max-age=60\r\n");
    let proxy = site(
        &origin,
        "proxy_cache_status \"edge one\"; add_header X-Key $upstream_cache_key; location / { proxy_pass http://%%origin%%; }",
    );
    let first = proxy.get("/");
    assert_eq!(
        first.field("cache-status"),
        Some("\"edge one\"; fwd=uri-miss; fwd-status=200; stored")
    );
    let hit = proxy.get("/");
    let told = hit.field("cache-status").unwrap();
    assert!(
        told == "\"edge one\"; hit; ttl=60" || told == "\"edge one\"; hit; ttl=59",
        "{told}"
    );
}

#[test]
fn the_rules_of_rfc_9111_where_they_are_asked_for() {
    let count = AtomicUsize::new(0);
    let origin = Origin::answer(move |request| {
        let fields = match request.target() {
            "/public" => "Cache-Control: public, max-age=60\r\n",
            "/checked" => "Cache-Control: no-cache\r\nETag: \"c\"\r\n",
            "/cdn" => "CDN-Cache-Control: max-age=60\r\nCache-Control: no-store\r\n",
            _ => "Cache-Control: max-age=60\r\nETag: \"e\"\r\nAge: 7\r\n",
        };
        if request.field("if-none-match").is_some() {
            return format!("HTTP/1.1 304 Not Modified\r\n{fields}X-New: n\r\n\r\n").into_bytes();
        }
        let body = count.fetch_add(1, Ordering::SeqCst).to_string();
        response("200 OK", fields, body.as_bytes())
    });
    let proxy = site(
        &origin,
        &format!("proxy_cache_mode rfc9111; proxy_cache_key $uri; {PLAIN}"),
    );
    let mut client = proxy.client();
    let mut get = |method: &str, target: &str, fields: &str| {
        client.request(method, target, fields).response()
    };
    assert_eq!(said(&get("GET", "/a", "")), ("MISS", "0"));
    let hit = get("GET", "/a", "");
    assert_eq!(said(&hit), ("HIT", "0"));
    let age: u32 = hit.field("age").unwrap().parse().unwrap();
    assert!((7..12).contains(&age), "{age}");
    // 5.2.1: what the request asks for.
    assert_eq!(
        said(&get("GET", "/a", "Cache-Control: max-age=3\r\n")),
        ("REVALIDATED", "0")
    );
    let checked = get("GET", "/a", "Cache-Control: no-cache\r\n");
    assert_eq!(
        (said(&checked), checked.field("x-new")),
        (("REVALIDATED", "0"), Some("n"))
    );
    assert_eq!(
        get("GET", "/none", "Cache-Control: only-if-cached\r\n").status(),
        504
    );
    assert_eq!(
        said(&get("GET", "/a", "Cache-Control: only-if-cached\r\n")),
        ("HIT", "0")
    );
    assert_eq!(
        said(&get("GET", "/s", "Cache-Control: no-store\r\n")),
        ("MISS", "1")
    );
    assert_eq!(said(&get("GET", "/s", "")), ("MISS", "2"));
    // 3.5: a request with credentials.
    for (target, second) in [("/auth", "MISS"), ("/public", "HIT")] {
        get("GET", target, "Authorization: Basic eA==\r\n");
        assert_eq!(
            get("GET", target, "").field("x-cache"),
            Some(second),
            "{target}"
        );
    }
    // 4.4: an unsafe method takes away what is stored.
    get("DELETE", "/a", "");
    assert_eq!(get("GET", "/a", "").field("x-cache"), Some("MISS"));
    // 5.2.2.4: never without asking.
    assert_eq!(get("GET", "/checked", "").field("x-cache"), Some("MISS"));
    assert_eq!(
        get("GET", "/checked", "").field("x-cache"),
        Some("REVALIDATED")
    );
    // RFC 9213.
    assert_eq!(get("GET", "/cdn", "").field("x-cache"), Some("MISS"));
    assert_eq!(get("GET", "/cdn", "").field("x-cache"), Some("HIT"));
}

#[test]
fn answers_are_copied_to_files() {
    let fields = "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n";
    let origin = Origin::answer(move |request| match request.target() {
        "/deep/a.txt" => response("200 OK", fields, b"copied"),
        _ => response("404 Not Found", "", b"none"),
    });
    let proxy = Config::server(
        "location / { root %%DIR%%/copies; error_page 404 = @fetch; log_not_found off; }
         location @fetch { internal; proxy_pass http://%%origin%%; root %%DIR%%/copies;
                           proxy_store on; proxy_store_access user:rw group:rw all:r; }",
    )
    .set("origin", origin.addr())
    .start();
    std::fs::create_dir(proxy.path("copies")).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(proxy.path("copies"), open).unwrap();
    for _ in 0..2 {
        assert_eq!(proxy.get("/deep/a.txt").text(), "copied");
        assert_eq!(proxy.get("/none").status(), 404);
    }
    assert_eq!(
        std::fs::read(proxy.path("copies/deep/a.txt")).unwrap(),
        b"copied"
    );
    let data = std::fs::metadata(proxy.path("copies/deep/a.txt")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&data.permissions());
    assert_eq!(mode & 0o777, 0o664);
    let since = data
        .modified()
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(since.as_secs(), 1_420_070_400);
    let left = std::fs::read_dir(proxy.path("copies/deep"))
        .unwrap()
        .count();
    assert_eq!((left, origin.requests().len()), (1, 3));
}
