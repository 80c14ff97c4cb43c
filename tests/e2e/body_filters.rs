//! Filters that change bodies on their way: `addition`, `sub_filter`, `ssi`, and the pipeline that they share.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::support::origin::{chunked, ok_bytes, response};
use crate::support::wire::End;
use crate::support::{Config, LIMIT, Origin, Proxy, wait};

fn to(origin: &Origin, text: &str) -> Proxy {
    Config::server(text).set("origin", origin.addr()).start()
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from(i % 241).unwrap()).collect()
}

/// A filter that passes everything on is armed, so that the body takes the filtered way.
const FILTERED: &str =
    "addition_types *; add_after_body /nothing; location = /nothing { return 200 ''; }";

#[test]
fn filtered_bodies_of_any_size_and_framing_arrive_whole() {
    let origin = Origin::answer(|request| {
        let mut words = request.target()[1..].split('/');
        let kind = words.next().unwrap_or_default().to_owned();
        let body = pattern(words.next().unwrap_or("0").parse().unwrap());
        match kind.as_str() {
            "counted" => ok_bytes(&body),
            "chunked" => chunked(
                "Content-Type: x/y\r\n",
                &body.chunks(3000).collect::<Vec<_>>(),
                "",
            ),
            _ => [
                b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nConnection: close\r\n\r\n".as_slice(),
                &body,
            ]
            .concat(),
        }
    });
    for buffering in ["on", "off"] {
        let proxy = to(
            &origin,
            &format!(
                "{FILTERED} proxy_buffering {buffering}; location / {{ proxy_pass http://%%origin%%; }}"
            ),
        );
        let mut client = proxy.client();
        for kind in ["counted", "chunked", "until-close"] {
            for size in [0, 1, 4096, 70_000, 3_000_000] {
                let got = client.get(&format!("/{kind}/{size}")).response();
                assert_eq!(got.end, End::Whole, "{kind} {size} {buffering}");
                assert!(got.body == pattern(size), "{kind} {size} {buffering}");
            }
        }
    }
}

#[test]
fn a_filtered_body_that_breaks_is_seen_to_be_broken() {
    let origin = Origin::script(|conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 10\r\n\r\nfirst");
    });
    for buffering in ["on", "off"] {
        let mut proxy = to(
            &origin,
            &format!(
                "{FILTERED} proxy_buffering {buffering}; location / {{ proxy_pass http://%%origin%%; }}"
            ),
        );
        proxy.announce("upstream prematurely closed connection");
        let got = proxy.get("/");
        assert_eq!((got.text(), got.end), ("first", End::Cut), "{buffering}");
    }
}

#[test]
fn the_head_of_a_filtered_answer_promises_no_length() {
    let origin = Origin::answer(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\nAccept-Ranges: bytes\r\nETag: \"x\"\r\n\r\nbody"
            .to_vec()
    });
    let proxy = to(
        &origin,
        &format!("{FILTERED} location / {{ proxy_pass http://%%origin%%; }}"),
    );
    for method in ["GET", "HEAD"] {
        let mut client = proxy.client();
        let got = client.expecting(method).request(method, "/", "").response();
        assert_eq!(got.field("content-length"), None, "{method}");
        assert_eq!(got.field("accept-ranges"), None, "{method}");
        assert_eq!(got.field("etag"), Some("W/\"x\""), "{method}");
        assert_eq!(got.field("connection"), Some("keep-alive"), "{method}");
    }
}

#[test]
fn a_slow_client_of_a_filtered_answer_does_not_hold_the_origin() {
    const SIZE: usize = 6 << 20;
    let origin = Origin::answer(|_| response("200 OK", "Connection: close\r\n", &pattern(SIZE)));
    let proxy = Config::server(&format!(
        "{FILTERED} proxy_temp_path %%DIR%%/answer_temp; location / {{ proxy_pass http://%%origin%%; }}"
    ))
    .set("origin", origin.addr())
    .may_log("an upstream response is buffered to a temporary file")
    .start();
    let mut client = proxy.client();
    let head = client.send("GET / HTTP/1.0\r\n\r\n").head();
    assert_eq!(head.status(), 200);
    wait::until("the origin to be done", || origin.ended() == 1);
    assert!(client.rest() == pattern(SIZE));
}

#[test]
fn limit_rate_slows_a_filtered_answer_down() {
    let origin = Origin::answer(|_| ok_bytes(&pattern(30_000)));
    for buffering in ["on", "off"] {
        let proxy = to(
            &origin,
            &format!(
                "{FILTERED} proxy_buffering {buffering}; location / {{ proxy_pass http://%%origin%%; limit_rate 20k; }}"
            ),
        );
        let from = Instant::now();
        let got = proxy.get("/");
        let took = from.elapsed();
        assert!(got.body == pattern(30_000), "{buffering}");
        assert!(
            took > Duration::from_millis(300) && took < LIMIT,
            "{buffering} {took:?}"
        );
    }
}

/// An origin whose pages are given by their path, sent in chunks of one byte.
fn pages(pages: &'static [(&'static str, &'static str)]) -> Origin {
    Origin::answer(move |request| {
        let path = request.target().split('?').next().unwrap_or_default();
        match pages.iter().find(|(known, _)| *known == path) {
            Some((_, body)) => chunked(
                "Content-Type: text/html\r\n",
                &body.as_bytes().chunks(1).collect::<Vec<_>>(),
                "",
            ),
            None => response("404 Not Found", "Content-Type: text/html\r\n", b"none"),
        }
    })
}

#[test]
fn texts_are_replaced_wherever_they_are_cut() {
    let origin = pages(&[("/", "<p>Alpha beta ALPHA gamma</p>")]);
    for buffering in ["on", "off"] {
        let proxy = to(
            &origin,
            &format!(
                "proxy_buffering {buffering};
                 location / {{ proxy_pass http://%%origin%%; sub_filter alpha <$arg_a>; sub_filter $arg_b B; sub_filter_once off; }}
                 location /once/ {{ proxy_pass http://%%origin%%/; sub_filter alpha 1; sub_filter gamma 2; }}
                 location /other/ {{ proxy_pass http://%%origin%%/; sub_filter alpha 1; sub_filter_types text/plain; }}
                 location /none/ {{ proxy_pass http://%%origin%%/; default_type text/plain; }}"
            ),
        );
        for (target, want) in [
            ("/?a=x&b=BETA", "<p><x> B <x> gamma</p>"),
            ("/?a=x", "<p><x> beta <x> gamma</p>"),
            ("/once/", "<p>1 beta ALPHA 2</p>"),
            ("/other/", "<p>1 beta ALPHA gamma</p>"),
            ("/none/", "<p>Alpha beta ALPHA gamma</p>"),
        ] {
            let got = proxy.get(target);
            assert_eq!(
                (got.text(), got.end),
                (want, End::Whole),
                "{target} {buffering}"
            );
        }
    }
}

#[test]
fn what_cannot_become_a_text_is_not_held_back() {
    let (go, word) = channel::<()>();
    let word = Mutex::new(word);
    let origin = Origin::script(move |conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 8\r\n\r\nxyz-al");
        word.lock().unwrap().recv_timeout(LIMIT).unwrap();
        conn.send("ph");
    });
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_buffering off; sub_filter alpha ALPHA; }",
    );
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.head();
    assert_eq!(client.bytes(4), b"xyz-", "before the origin goes on");
    go.send(()).unwrap();
    assert_eq!(client.rest(), b"alph");
}

#[test]
fn a_changed_page_is_dated_only_when_that_is_wanted() {
    let origin = Origin::fixed(response(
        "200 OK",
        "Content-Type: text/html\r\nETag: \"a\"\r\nLast-Modified: Thu, 01 Jan 1970 00:01:00 GMT\r\n",
        b"x",
    ));
    let proxy = to(
        &origin,
        "location /sub/no { proxy_pass http://%%origin%%; sub_filter x y; }
         location /sub/yes { proxy_pass http://%%origin%%; sub_filter x y; sub_filter_last_modified on; }
         location /ssi/no { proxy_pass http://%%origin%%; ssi on; }
         location /ssi/yes { proxy_pass http://%%origin%%; ssi on; ssi_last_modified on; }",
    );
    for kind in ["sub", "ssi"] {
        let got = proxy.get(&format!("/{kind}/no"));
        assert_eq!(
            (got.field("etag"), got.field("last-modified")),
            (None, None)
        );
        let got = proxy.get(&format!("/{kind}/yes"));
        assert_eq!(got.field("etag"), Some("W/\"a\""));
        assert!(got.field("last-modified").is_some());
    }
}

#[test]
fn what_is_added_stands_around_the_body_and_is_its_own() {
    let origin = pages(&[("/", "body"), ("/b", "[before]"), ("/a", "[after]")]);
    let text = "location / { proxy_pass http://%%origin%%; add_before_body /b; add_after_body /a?x; sub_filter_once off; sub_filter b B; }
         location /b { proxy_pass http://%%origin%%; }
         location /a { proxy_pass http://%%origin%%; sub_filter after $args; }
         location /lost { proxy_pass http://%%origin%%/; add_before_body /none; }
         location /gone { proxy_pass http://%%origin%%/; add_after_body /close; }
         location = /close { return 444; }
         location /round { proxy_pass http://%%origin%%/; add_before_body /round; }";
    let proxy = Config::server(text)
        .set("origin", origin.addr())
        .logs("subrequest \"/close\" ended early while sending to client")
        .start();
    assert_eq!(proxy.get("/").text(), "[before]Body[x]");
    assert_eq!(proxy.get("/lost").text(), "nonebody");
    let got = proxy.get("/gone");
    assert_eq!((got.text(), got.end), ("body", End::Cut));
    // Only a client's own request is added to.
    assert_eq!(proxy.get("/round").text(), "bodybody");
    let mut client = proxy.client();
    let got = client.request("HEAD", "/", "").response();
    assert_eq!((got.status(), got.body.len()), (200, 0));
}

const COMMANDS: &[(&str, &str)] = &[
    (
        "/echo",
        "<!--#echo var='arg_a' --><!--#echo var='arg_b' default='d' --><!--#echo var='arg_c' -->",
    ),
    (
        "/set",
        "<!--#set var='x' value='1$arg_a\\$' --><!--#echo var='X' -->${x}<!--#include virtual='/inner' -->",
    ),
    (
        "/inner",
        "(<!--#echo var='x' --><!--#set var='y' value='2' -->)",
    ),
    (
        "/nested",
        "a<!--#include virtual='/set?a=q' -->b<!--#echo var='y' -->",
    ),
    (
        "/into",
        "<!--#include virtual='/inner' set='z' -->[<!--#echo var='z' -->]",
    ),
    (
        "/missing",
        "<!--#include virtual='/none' -->|<!--#include virtual='/none' set='z' -->[<!--#echo var='z' default='d' -->]",
    ),
    (
        "/stub",
        "<!--#block name='s' -->(<!--#echo var='uri' -->)<!--#endblock -->1<!--#include virtual='/forbidden' stub='s' -->2<!--#include virtual='/empty' stub='s' -->3<!--#include virtual='/plain' stub='s' -->4",
    ),
    ("/empty", ""),
    ("/plain", "plain"),
    ("/loop", "x<!--#include virtual='/loop' -->y"),
    (
        "/if",
        "<!--#if expr='$arg_a' -->yes<!--#else -->no<!--#endif -->",
    ),
    (
        "/elif",
        "<!--#if expr='$arg_a = 1' -->one<!--#elif expr='$arg_a != 2' -->other<!--#else -->two<!--#endif -->",
    ),
    (
        "/match",
        "<!--#if expr='$arg_a = /^(.)(?P<rest>.*)\\$/' --><!--#echo var='1' -->-<!--#echo var='rest' --><!--#endif -->",
    ),
    (
        "/wrong",
        "<!--#nothing -->|<!--#config errmsg='oh' --><!--#echo -->|<!--#include virtual='/../x' -->|<!--#exec cmd='ls' -->|<!--#endif -->",
    ),
    (
        "/html",
        "<!--#echo var='arg_a' encoding='none' -->,<!--#echo var='arg_a' encoding='url' -->,<!--#echo var='arg_a' encoding='entity' -->",
    ),
    ("/dir/page", "<!--#include file='part' -->"),
    ("/dir/part", "a part"),
    (
        "/date",
        "<!--#config timefmt='%Y' --><!--#echo var='date_gmt' -->",
    ),
    ("/broken", "1<!--#include virtual='/cut' -->2"),
];

#[test]
fn commands_of_pages_do_what_they_say() {
    let origin = pages(COMMANDS);
    let mut proxy = to(
        &origin,
        "ssi on; location / { proxy_pass http://%%origin%%; }
         subrequest_output_buffer_size 64; location /forbidden { return 403; }
         location /quiet/ { proxy_pass http://%%origin%%/; ssi_silent_errors on; }
         location /short/ { proxy_pass http://%%origin%%/; ssi_value_length 4; }",
    );
    const WRONG: &str = "[an error occurred while processing the directive]";
    for text in ["SSI command", "subrequests cycle", "unsafe URI"] {
        proxy.announce(text);
    }
    for (target, want) in [
        ("/echo?a=%3C1&b=", "%3C1(none)".to_owned()),
        ("/set?a=v", "1v$${x}(1v$)".to_owned()),
        ("/nested?a=n", "a1q$${x}(1q$)b2".to_owned()),
        ("/into", "[((none))]".to_owned()),
        ("/missing", "none|[]".to_owned()),
        ("/stub", "1(/stub)2(/stub)3plain4".to_owned()),
        ("/if?a=1", "yes".to_owned()),
        ("/if", "no".to_owned()),
        ("/elif?a=1", "one".to_owned()),
        ("/elif?a=2", "two".to_owned()),
        ("/elif?a=3", "other".to_owned()),
        ("/match?a=xyz", "x-yz".to_owned()),
        ("/match", String::new()),
        ("/wrong", format!("{WRONG}|oh|oh|oh|oh")),
        ("/quiet/wrong", "||||".to_owned()),
        ("/short/echo", format!("{WRONG}{WRONG}{WRONG}")),
        ("/html?a=<'\"", "<'\",%3C%27%22,&lt;'&quot;".to_owned()),
        ("/dir/page", "a part".to_owned()),
    ] {
        let got = proxy.get(target);
        assert_eq!((got.text(), got.end), (&want[..], End::Whole), "{target}");
    }
    let year = proxy.get("/date").text().parse::<u32>();
    assert!(year.is_ok_and(|year| year > 2000));
    let got = proxy.get("/loop");
    let depth = got.text().matches('x').count();
    assert_eq!(depth, 51, "the client's own and fifty inside of it");
    assert!(got.text().contains(WRONG), "the innermost page says so");
}

#[test]
fn an_include_that_breaks_breaks_its_page() {
    let origin = Origin::answer(|request| {
        match request.target() {
        "/cut" => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: 9\r\n\r\npart".to_vec()
        }
        _ => chunked(
            "Content-Type: text/html\r\n",
            &[b"1<!--#include virtual='/cut' -->2"],
            "",
        ),
    }
    });
    let mut proxy = to(
        &origin,
        "ssi on; location / { proxy_pass http://%%origin%%; } location /cut { proxy_pass http://%%origin%%; }",
    );
    proxy.announce("prematurely closed connection");
    proxy.announce("ended early");
    let got = proxy.get("/");
    assert_eq!((got.text(), got.end), ("1part", End::Cut));
}

#[test]
fn filters_work_in_their_order() {
    let origin = pages(&[
        ("/", "one <!--#include virtual='/two' --> one"),
        ("/two", "one two"),
        ("/b", "one before "),
    ]);
    let proxy = to(
        &origin,
        "ssi on; sub_filter_once off;
         location = / { proxy_pass http://%%origin%%; sub_filter one 1; add_before_body /b; }
         location / { proxy_pass http://%%origin%%; }",
    );
    // What subrequests answer is not replaced by their parent's rules; commands are, before they are run.
    assert_eq!(proxy.get("/").text(), "one before 1 one two 1");
}
