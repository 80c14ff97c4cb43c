//! The response cache and the copies on disk in front of FastCGI: that each of their directives does its work there too.
//! What the cache is as such: `cache.rs`, `cache_flight.rs`, `cache_store.rs`.

use crate::support::fastcgi::{self, Request, answer};
use crate::support::wait::Key;
use crate::support::wire::Message;
use crate::support::{Config, Origin, Proxy, wait};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const FRESH: &str = "Cache-Control: max-age=60\r\n";

/// How many requests an origin has got.
type Count = Arc<AtomicUsize>;

/// An application that answers with what `text` makes of the request and of the number of those before it.
fn origin(text: impl Fn(&Request, usize) -> String + Send + Sync + 'static) -> (Origin, Count) {
    let count = Count::default();
    let counted = Arc::clone(&count);
    let origin = Origin::script(move |conn| {
        while let Some(request) = fastcgi::read(conn) {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            if !conn.send(answer(text(&request, number))) || !request.keep {
                return;
            }
        }
    });
    (origin, count)
}

/// An application whose answers have these fields, and their number as body.
fn counting(fields: &'static str) -> (Origin, Count) {
    origin(move |_, number| format!("{fields}\r\n{number}"))
}

/// One whose first answer waits for a word.
fn held() -> (Origin, Count, Key) {
    let (key, gate) = wait::gate();
    let (origin, count) = origin(move |_, number| {
        if number == 0 {
            gate.pass();
        }
        format!("{FRESH}\r\n{number}")
    });
    (origin, count, key)
}

/// A location around the cache for each pair of a name and what it says of its own.
fn config(origin: &Origin, locations: &[(&str, &str)]) -> Config {
    let locations: String = locations
        .iter()
        .map(|(path, text)| format!("location {path} {{ fastcgi_pass %%origin%%; {text} }}\n"))
        .collect();
    Config::http(&format!(
        "fastcgi_cache_path %%DIR%%/cache levels=1:2 keys_zone=one:1m;
         fastcgi_cache_key $uri;
         server {{ listen %%ADDR_0%%; add_header X-Cache $upstream_cache_status always;
                   fastcgi_param URI $uri; fastcgi_cache one; {locations} }}"
    ))
    .set("origin", origin.addr())
}

fn site(origin: &Origin, locations: &[(&str, &str)]) -> Proxy {
    config(origin, locations).start()
}

/// What the cache said, and the body.
fn said(message: &Message) -> (&str, &str) {
    (message.field("x-cache").unwrap_or("-"), message.text())
}

#[test]
fn lifetimes_and_keys_are_the_configurations() {
    let (origin, _) = origin(|request, number| {
        let status = match request.param("URI") {
            Some("/gone" | "/any/gone") => "Status: 404 Not Found\r\n",
            _ => "",
        };
        format!("{status}Content-Type: text/x\r\n\r\n{number}")
    });
    let proxy = site(
        &origin,
        &[
            ("/silent", ""),
            ("/", "fastcgi_cache_valid 200 1m;"),
            ("/any/", "fastcgi_cache_valid any 1m;"),
            (
                "/own",
                "fastcgi_cache_valid 1m; fastcgi_cache_key $uri$arg_k;",
            ),
        ],
    );
    for (target, first, second) in [
        // No lifetime: from neither side.
        ("/silent", ("MISS", "0"), ("MISS", "1")),
        ("/", ("MISS", "2"), ("HIT", "2")),
        ("/?other", ("HIT", "2"), ("HIT", "2")),
        ("/gone", ("MISS", "3"), ("MISS", "4")),
        ("/any/gone", ("MISS", "5"), ("HIT", "5")),
        ("/own?k=1", ("MISS", "6"), ("HIT", "6")),
        ("/own?k=1&x", ("HIT", "6"), ("HIT", "6")),
        ("/own?k=2", ("MISS", "7"), ("HIT", "7")),
    ] {
        assert_eq!(said(&proxy.get(target)), first, "{target}");
        let again = proxy.get(target);
        assert_eq!(said(&again), second, "{target}");
        assert_eq!(again.field("content-type"), Some("text/x"), "{target}");
    }
}

#[test]
fn which_requests_are_stored_and_when() {
    let (origin, _) = counting(FRESH);
    let proxy = site(
        &origin,
        &[
            ("/get", ""),
            ("/post", "fastcgi_cache_methods POST;"),
            ("/often", "fastcgi_cache_min_uses 3;"),
        ],
    );
    let ask = |method: &str, target: &str| {
        let mut client = proxy.client();
        let fields = "Content-Length: 0\r\n";
        let message = client.request(method, target, fields).response();
        let (status, body) = said(&message);
        format!("{status} {body}")
    };
    assert_eq!(ask("POST", "/get"), "- 0");
    assert_eq!(ask("GET", "/get"), "MISS 1");
    assert_eq!(ask("POST", "/post"), "MISS 2");
    assert_eq!(ask("POST", "/post"), "HIT 2");
    for expected in ["MISS 3", "MISS 4", "MISS 5", "HIT 5", "HIT 5"] {
        assert_eq!(ask("GET", "/often"), expected);
    }
}

#[test]
fn bypass_and_no_cache_are_two_things() {
    let (origin, _) = counting(FRESH);
    let proxy = site(
        &origin,
        &[(
            "/",
            "fastcgi_cache_bypass $arg_pass; fastcgi_no_cache $arg_no;",
        )],
    );
    for (target, expected) in [
        ("/?no=1", ("MISS", "0")),
        ("/?no=0", ("MISS", "1")),
        ("/?no=1", ("HIT", "1")),
        ("/?pass=1&no=1", ("BYPASS", "2")),
        ("/", ("HIT", "1")),
        ("/?pass=1", ("BYPASS", "3")),
        ("/", ("HIT", "3")),
    ] {
        assert_eq!(said(&proxy.get(target)), expected, "{target}");
    }
}

#[test]
fn what_has_expired_is_asked_about_or_served_in_need() {
    let mode = Count::default();
    let now = Arc::clone(&mode);
    let (origin, _) = origin(move |request, _| {
        let known = request.param("HTTP_IF_NONE_MATCH") == Some("\"v\"");
        let text = match now.load(Ordering::SeqCst) {
            // Stored, and expired from the beginning.
            0 => "X-Accel-Expires: @1\r\nETag: \"v\"\r\n\r\nold",
            1 if known => "Status: 304 Not Modified\r\nX-Accel-Expires: 60\r\n\r\n",
            1 => "X-Accel-Expires: 60\r\n\r\nnew",
            _ => "Status: 503 Service Unavailable\r\n\r\nno",
        };
        text.to_owned()
    });
    let proxy = site(
        &origin,
        &[
            ("/plain", ""),
            ("/asks", "fastcgi_cache_revalidate on;"),
            ("/stale", "fastcgi_cache_use_stale error http_503;"),
        ],
    );
    for target in ["/plain", "/asks", "/stale"] {
        assert_eq!(said(&proxy.get(target)), ("MISS", "old"), "{target}");
    }
    mode.store(2, Ordering::SeqCst);
    assert_eq!(said(&proxy.get("/stale")), ("STALE", "old"));
    assert_eq!(proxy.get("/plain").status(), 503);
    mode.store(1, Ordering::SeqCst);
    assert_eq!(said(&proxy.get("/plain")), ("EXPIRED", "new"));
    assert_eq!(said(&proxy.get("/plain")), ("HIT", "new"));
    assert_eq!(said(&proxy.get("/asks")), ("REVALIDATED", "old"));
    assert_eq!(said(&proxy.get("/asks")), ("HIT", "old"));
}

#[test]
fn an_update_behind_does_not_keep_the_client() {
    let (key, gate) = wait::gate();
    let (origin, count) = origin(move |_, number| {
        if number == 0 {
            return "X-Accel-Expires: @1\r\n\r\nold".to_owned();
        }
        gate.pass();
        "X-Accel-Expires: 60\r\n\r\nnew".to_owned()
    });
    let proxy = site(
        &origin,
        &[(
            "/",
            "fastcgi_cache_use_stale updating; fastcgi_cache_background_update on;",
        )],
    );
    assert_eq!(said(&proxy.get("/")), ("MISS", "old"));
    assert_eq!(said(&proxy.get("/")), ("STALE", "old"));
    assert_eq!(said(&proxy.get("/")), ("UPDATING", "old"));
    key.open();
    wait::until("the update", || said(&proxy.get("/")) == ("HIT", "new"));
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[test]
fn many_who_ask_at_once_make_one_request() {
    let (origin, count, key) = held();
    let proxy = config(&origin, &[("/", "fastcgi_cache_lock on;")])
        .workers(2)
        .start();
    let mut clients: Vec<_> = (0..20).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.get("/");
    }
    wait::until("a request", || count.load(Ordering::SeqCst) == 1);
    key.open();
    for client in &mut clients {
        assert_eq!(client.response().text(), "0");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// The first request hangs, and two come after it; what these got, long before the time that is the default.
fn behind_one_that_hangs(text: &str) -> [String; 2] {
    let (origin, count, key) = held();
    let proxy = site(&origin, &[("/", text)]);
    let mut first = proxy.client();
    first.get("/");
    wait::until("the first to ask", || count.load(Ordering::SeqCst) == 1);
    let began = Instant::now();
    let got = [(); 2].map(|()| {
        let message = proxy.get("/");
        let (status, body) = said(&message);
        format!("{status} {body}")
    });
    assert!(began.elapsed() < Duration::from_secs(4), "{text}");
    key.open();
    assert_eq!(first.response().text(), "0");
    got
}

#[test]
fn who_waits_too_long_asks_by_itself_and_stores_nothing() {
    let got = behind_one_that_hangs("fastcgi_cache_lock on; fastcgi_cache_lock_timeout 50ms;");
    assert_eq!(got, ["MISS 1", "MISS 2"]);
}

#[test]
fn one_that_fetches_for_too_long_is_joined_by_another() {
    let got = behind_one_that_hangs("fastcgi_cache_lock on; fastcgi_cache_lock_age 50ms;");
    assert_eq!(got, ["MISS 1", "HIT 1"]);
}

#[test]
fn ranges_far_behind_are_the_applications() {
    let (origin, _) = origin(|request, _| {
        let range = request.param("HTTP_RANGE").unwrap_or("whole");
        format!("{FRESH}Accept-Ranges: bytes\r\nX-Range: {range}\r\n\r\n0123456789")
    });
    let proxy = site(&origin, &[("/", "fastcgi_cache_max_range_offset 4;")]);
    let mut client = proxy.client();
    let mut get = |target: &str, range: &str| {
        let fields = format!("Range: bytes={range}\r\n");
        let message = client.request("GET", target, &fields).response();
        let asked = message.field("x-range").unwrap_or("-").to_owned();
        format!("{} {asked}", said(&message).0)
    };
    // What is asked for from there on is not stored, and the application is told.
    for _ in 0..2 {
        assert_eq!(get("/far", "6-7"), "MISS bytes=6-7");
    }
    assert_eq!(get("/near", "2-3"), "MISS whole");
    assert_eq!(get("/near", "6-7"), "HIT whole");
}

#[test]
fn what_was_done_is_told_in_cache_status() {
    let (origin, _) = counting(FRESH);
    let proxy = site(&origin, &[("/", "fastcgi_cache_status edge;")]);
    assert_eq!(
        proxy.get("/").field("cache-status"),
        Some("edge; fwd=uri-miss; fwd-status=200; stored")
    );
    let hit = proxy.get("/");
    let told = hit.field("cache-status").unwrap();
    assert!(told.starts_with("edge; hit; ttl="), "{told}");
}

#[test]
fn the_rules_of_rfc_9111_where_they_are_asked_for() {
    let (origin, _) = origin(|request, number| {
        let fields = "Cache-Control: no-cache\r\nETag: \"v\"\r\n";
        if request.param("HTTP_IF_NONE_MATCH") == Some("\"v\"") {
            return format!("Status: 304 Not Modified\r\n{fields}\r\n");
        }
        format!("{fields}\r\n{number}")
    });
    let proxy = site(
        &origin,
        &[
            ("/nginx", "fastcgi_cache_mode nginx;"),
            ("/rfc", "fastcgi_cache_mode rfc9111;"),
        ],
    );
    assert_eq!(said(&proxy.get("/nginx")), ("MISS", "0"));
    assert_eq!(said(&proxy.get("/nginx")), ("MISS", "1"));
    // Stored, but never served without asking.
    assert_eq!(said(&proxy.get("/rfc")), ("MISS", "2"));
    let again = proxy.get("/rfc");
    assert_eq!(said(&again), ("REVALIDATED", "2"));
    assert!(again.field("age").is_some(), "{}", again.head_text());
}

#[test]
fn purges_by_key_prefix_and_tag() {
    let (origin, _) = origin(|request, number| {
        let tag = &request.param("URI").unwrap()[1..2];
        format!("{FRESH}Cache-Tag: all, {tag}\r\n\r\n{number}")
    });
    let proxy = site(
        &origin,
        &[(
            "/",
            "set $purges 0; if ($request_method = PURGE) { set $purges 1; }
             fastcgi_cache_purge $purges tags=$http_tags;",
        )],
    );
    let all = ["/a1", "/a2", "/b1"];
    let hit = |target| said(&proxy.get(target)).0 == "HIT";
    // An answer is in its place a moment after its client has it.
    let state = || {
        let found = all.map(hit);
        wait::until("all are stored", || all.into_iter().all(hit));
        found
    };
    let purge = |target: &str, fields: &str| {
        let mut client = proxy.client();
        let answer = client.request("PURGE", target, fields).response();
        assert_eq!(answer.status(), 204, "{target}");
    };
    assert_eq!(state(), [false; 3]);
    purge("/a1", "");
    assert_eq!(state(), [false, true, true]);
    purge("/a*", "");
    assert_eq!(state(), [false, false, true]);
    purge("/x", "Tags: b\r\n");
    assert_eq!(state(), [true, true, false]);
    assert_eq!(state(), [true; 3]);
}

#[test]
fn answers_are_copied_to_files() {
    let (origin, count) = origin(|request, _| match request.param("URI") {
        Some("/deep/a.txt" | "/named") => {
            "Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n\r\ncopied".to_owned()
        }
        _ => "Status: 404 Not Found\r\n\r\nnone".to_owned(),
    });
    let proxy = Config::server(
        "location / { root %%DIR%%/copies; error_page 404 = @fetch; log_not_found off; }
         location @fetch { internal; fastcgi_pass %%origin%%; fastcgi_param URI $uri; root %%DIR%%/copies;
                           fastcgi_store on; fastcgi_store_access user:rw group:rw all:r; }
         location = /named { fastcgi_pass %%origin%%; fastcgi_param URI $uri;
                             fastcgi_store %%DIR%%/copies/other/$arg_name; }",
    )
    .set("origin", origin.addr())
    .start();
    let copies = proxy.path("copies");
    std::fs::create_dir(&copies).unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&copies, open).unwrap();
    for _ in 0..2 {
        assert_eq!(proxy.get("/deep/a.txt").text(), "copied");
        assert_eq!(proxy.get("/none").status(), 404);
    }
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert_eq!(proxy.get("/named?name=b").text(), "copied");
    for (name, mode) in [("deep/a.txt", 0o664), ("other/b", 0o600)] {
        let path = copies.join(name);
        assert_eq!(std::fs::read(&path).unwrap(), b"copied", "{name}");
        let data = std::fs::metadata(&path).unwrap();
        assert_eq!(data.permissions().mode() & 0o777, mode, "{name}");
        let since = data
            .modified()
            .unwrap()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        assert_eq!(since.as_secs(), 1_420_070_400, "{name}");
    }
    assert!(!copies.join("none").exists());
}
