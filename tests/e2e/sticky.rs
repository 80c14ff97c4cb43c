//! Sessions that stay with a peer: by cookie, by route, and those that are learned, on all shards and over reloads.

use crate::support::client::get_with;
use crate::support::origin::{ok, response};
use crate::support::proxy::HUP;
use crate::support::{Config, Origin, Proxy, wait};
use std::collections::BTreeSet;

/// Three servers, each answering with its name, behind four shards. `sticky` is the inside of the `upstream` block.
fn group(origins: &[&Origin], sticky: &str) -> Config {
    let mut config = Config::http(&format!(
        "upstream app {{ {sticky} }}
         server {{ listen %%ADDR_0%%; location / {{ proxy_pass http://app; }} }}"
    ))
    .workers(4);
    for (n, origin) in origins.iter().enumerate() {
        config = config.set(&format!("o{n}"), origin.addr());
    }
    config
}

fn abc() -> [Origin; 3] {
    ["A", "B", "C"].map(Origin::text)
}

/// Who answers this cookie, asked so often on fresh connections, which the kernel spreads over the shards.
fn answers(proxy: &Proxy, cookie: &str, times: usize) -> BTreeSet<String> {
    let fields = format!("Cookie: {cookie}\r\n");
    let ask = |_| get_with(proxy.addr(), "/", &fields).text().to_owned();
    (0..times).map(ask).collect()
}

fn reload(proxy: &Proxy) {
    let count = || proxy.error_log().matches("reconfiguring").count();
    let before = count();
    proxy.signal(HUP);
    wait::until("a reload", || count() > before);
}

/// The name and value of a cookie that an answer sets.
fn given(answer: &crate::support::wire::Message) -> String {
    let cookie = answer.field("Set-Cookie").expect("a cookie");
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn a_cookie_leads_back_on_every_shard_and_after_a_reload() {
    let [a, b, c] = abc();
    let proxy = group(
        &[&a, &b, &c],
        "server %%o0%%; server %%o1%%; server %%o2%%; sticky cookie srv;",
    )
    .start();
    let mut seen = BTreeSet::new();
    for _ in 0..12 {
        let first = proxy.get("/");
        let cookie = given(&first);
        let only = BTreeSet::from([first.text().to_owned()]);
        assert_eq!(answers(&proxy, &cookie, 8), only, "{cookie}");
        seen.extend(only);
    }
    assert!(
        seen.len() > 1,
        "those without a cookie are spread: {seen:?}"
    );
    let first = proxy.get("/");
    let only = BTreeSet::from([first.text().to_owned()]);
    for _ in 0..3 {
        reload(&proxy);
        assert_eq!(answers(&proxy, &given(&first), 20), only);
    }
    // What is no server's name is replaced.
    let other = get_with(proxy.addr(), "/", "Cookie: srv=nobody\r\n");
    assert_ne!(given(&other), "srv=nobody");
}

#[test]
fn a_cookie_has_nginxs_attributes_in_nginxs_order() {
    let origin = Origin::text("A");
    let cases = [
        ("", ""),
        (
            "expires=max path=/x",
            "; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000; path=/x",
        ),
        (
            "secure httponly domain=.$arg_d samesite=Lax path=/",
            "; domain=.d.test; httponly; secure; samesite=Lax; path=/",
        ),
        ("samesite=$arg_s", "; samesite=strict"),
        ("domain=$arg_none", ""),
    ];
    for (attributes, want) in cases {
        let proxy = group(
            &[&origin],
            &format!("server %%o0%% route=r1; sticky cookie srv {attributes};"),
        )
        .start();
        let answer = proxy.get("/?d=d.test&s=anything");
        assert_eq!(
            answer.field("Set-Cookie"),
            Some(&format!("srv=r1{want}")[..]),
            "{attributes}"
        );
    }
    let proxy = group(&[&origin], "server %%o0%%; sticky cookie srv expires=1h;").start();
    let answer = proxy.get("/");
    let cookie = answer.field("Set-Cookie").unwrap();
    assert!(cookie.ends_with("; max-age=3600"), "{cookie}");
    assert_eq!(cookie.split(';').next().unwrap().len(), "srv=".len() + 32);
}

#[test]
fn who_cannot_be_asked_is_replaced_and_the_cookie_says_so() {
    let a = Origin::text("A");
    let proxy = group(
        &[&a],
        "server %%ADDR_1%% route=dead; server %%o0%% route=good; sticky cookie srv;",
    )
    .logs("connect() failed (111: Connection refused) while connecting to upstream")
    .may_log("upstream server temporarily disabled")
    .start();
    for _ in 0..8 {
        let answer = get_with(proxy.addr(), "/", "Cookie: srv=dead\r\n");
        assert_eq!((answer.status(), answer.text()), (200, "A"));
        assert_eq!(answer.field("Set-Cookie"), Some("srv=good"));
    }
}

#[test]
fn a_route_leads_to_its_server_and_a_draining_one_gets_only_its_own() {
    let [a, b, c] = abc();
    let proxy = group(
        &[&a, &b, &c],
        "server %%o0%% route=a; server %%o1%% route=b drain; server %%o2%% route=c;
         sticky route $cookie_none $arg_r;",
    )
    .start();
    let ask = |target: &str| proxy.get(target).text().to_owned();
    for (route, want) in [("a", "A"), ("b", "B"), ("c", "C")] {
        let all: BTreeSet<_> = (0..8).map(|_| ask(&format!("/?r={route}"))).collect();
        assert_eq!(all, BTreeSet::from([want.to_owned()]));
    }
    let others: BTreeSet<_> = (0..40).map(|_| ask("/?r=zzz")).collect();
    assert_eq!(others, BTreeSet::from(["A".to_owned(), "C".to_owned()]));
}

/// An origin that opens a session for who has none: the cookie names it and the origin.
fn opening(name: &'static str) -> Origin {
    let next = std::sync::atomic::AtomicUsize::new(0);
    Origin::answer(move |request| {
        if request.field("Cookie").is_some() {
            return ok(name);
        }
        let n = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let cookie = format!("Set-Cookie: sid={name}{n}\r\n");
        response("200 OK", &cookie, name.as_bytes())
    })
}

#[test]
fn a_session_is_learned_by_all_shards_before_the_client_can_come_back() {
    for form in ["", "header"] {
        let origins = ["A", "B", "C"].map(opening);
        let [a, b, c] = &origins;
        let learn = format!(
            "server %%o0%%; server %%o1%%; server %%o2%%;
             sticky learn create=$upstream_cookie_sid lookup=$cookie_sid zone=s:1m {form};"
        );
        let proxy = group(&[a, b, c], &learn).start();
        let mut sessions = Vec::new();
        for _ in 0..30 {
            let first = proxy.get("/");
            let cookie = given(&first);
            let only = BTreeSet::from([first.text().to_owned()]);
            assert_eq!(answers(&proxy, &cookie, 6), only, "{cookie} {form}");
            sessions.push((cookie, only));
        }
        let all: BTreeSet<_> = sessions.iter().flat_map(|(_, only)| only.clone()).collect();
        assert!(all.len() > 1, "new sessions are spread: {all:?}");
        for _ in 0..2 {
            reload(&proxy);
            for (cookie, only) in &sessions {
                assert_eq!(answers(&proxy, cookie, 2), *only, "{cookie} after a reload");
            }
        }
    }
}

#[test]
fn a_session_moves_with_the_peer_that_answers_it() {
    let [a, b, _] = abc();
    let proxy = group(
        &[&a, &b],
        "server %%o0%%; server %%o1%%;
         sticky learn create=$arg_new lookup=$cookie_sid zone=s:32k timeout=1h;",
    )
    .start();
    let owner = proxy.get("/?new=one").text().to_owned();
    assert_eq!(
        answers(&proxy, "sid=one", 12),
        BTreeSet::from([owner.clone()])
    );
    // Another peer answers a request that says so: the session is there from now on.
    let mut moved = owner.clone();
    while moved == owner {
        moved = proxy.get("/?new=one").text().to_owned();
    }
    assert_eq!(answers(&proxy, "sid=one", 12), BTreeSet::from([moved]));
    let unknown = answers(&proxy, "sid=two", 40);
    assert_eq!(unknown.len(), 2, "an unknown session is balanced");
}

#[test]
fn a_session_is_forgotten_when_nobody_comes_for_its_time() {
    let [a, b, _] = abc();
    let proxy = group(
        &[&a, &b],
        "server %%o0%%; server %%o1%%;
         sticky learn create=$arg_new lookup=$cookie_sid zone=s:32k timeout=1s;",
    )
    .start();
    let owner = BTreeSet::from([proxy.get("/?new=one").text().to_owned()]);
    assert_eq!(answers(&proxy, "sid=one", 8), owner);
    wait::until("the session to end", || {
        std::thread::sleep(std::time::Duration::from_millis(1100));
        answers(&proxy, "sid=one", 12).len() == 2
    });
}
