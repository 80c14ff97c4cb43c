//! Chains of body filters, fed without a network: the cut of the input makes no difference, and what subrequests
//! answer stands where it was asked for.

use ringx::http::exchange::Exchange;
use ringx::http::filter::chain::{At, Chain, Done, Next};
use ringx::http::local::Cx;

use super::Site;

/// Feeds a chain and answers what it asks for with `<target>`; targets that begin with `/no` fail.
fn feed(chain: &mut Chain, ex: &mut Exchange, cx: Cx<'_>, input: &[u8], at: At, out: &mut Vec<u8>) {
    let mut some = Vec::new();
    let mut next = chain.feed(input, at, ex, cx, &mut some);
    loop {
        assert!(
            some.len() < 200 << 10,
            "what comes out at a time is bounded"
        );
        out.append(&mut some);
        match next.expect("no filter breaks") {
            Next::Feed => return,
            Next::GoOn => next = chain.go_on(ex, cx, &mut some),
            Next::Ask(ask) => {
                let failed = ask.uri.starts_with(b"/no");
                let mut text = b"<".to_vec();
                text.extend_from_slice(&ask.uri);
                text.extend_from_slice(&ask.args);
                text.push(b'>');
                let mut done = Done {
                    status: if failed { 404 } else { 200 },
                    failed,
                    length: text.len() as u64,
                    kept: Vec::new(),
                };
                if ask.keep.is_some() {
                    done.kept = text;
                } else if !(failed && ask.stub) {
                    let inserted = chain.insert(&text, At::More, ex, cx, &mut some);
                    assert_eq!(inserted, Ok(Next::Feed));
                }
                next = chain.resume(done, ex, cx, &mut some);
            }
        }
    }
}

/// What comes out for `target` when `body` is fed in pieces of `step` bytes.
fn run(site: &mut Site, target: &str, body: &[u8], step: usize) -> String {
    site.exchange(target, |ex, cx| {
        let mut chain = std::mem::take(&mut ex.response.chain);
        assert!(!chain.is_empty(), "{target} is filtered");
        let mut out = Vec::new();
        for piece in body.chunks(step) {
            feed(&mut chain, ex, cx, piece, At::More, &mut out);
        }
        feed(&mut chain, ex, cx, b"", At::End, &mut out);
        chain.clear(&cx.local.buffers);
        String::from_utf8_lossy(&out).into_owned()
    })
}

#[test]
fn the_cut_makes_no_difference() {
    let mut site = Site::new(
        "default_type text/html; server { listen 80; server_name a.test;
         location /sub { sub_filter alpha 1; sub_filter beta $arg_b; sub_filter_once off; return 200 x; }
         location /add { add_before_body /b; add_after_body /a?q; return 200 x; }
         location /both { add_before_body /b; add_after_body /a; sub_filter alpha 1; return 200 x; }
         location /ssi { ssi on; return 200 x; }
         location /all { ssi on; add_before_body /b; add_after_body /a; sub_filter page inc; return 200 x; }
         }",
    );
    let include = "a<!--#include virtual='/page?x' -->b";
    for (target, body, want) in [
        ("/sub?b=2", "alpha beta ALPHA alph", "1 2 1 alph"),
        ("/add", "body", "</b>body</aq>"),
        ("/add", "", "</b></aq>"),
        // What is held back goes out before what comes behind the body.
        ("/both", "alpha al", "</b>1 al</a>"),
        ("/ssi", include, "a</pagex>b"),
        (
            "/ssi",
            "<!--#include virtual='/p' set='v' -->[<!--#echo var='v' encoding='none' -->]",
            "[</p>]",
        ),
        (
            "/ssi",
            "<!--#block name='s' -->(<!--#include virtual='/in' -->)<!--#endblock -->1<!--#include virtual='/no' stub='s' -->2",
            "1(</in>)2",
        ),
        // A default text that is its own default text comes to an end.
        (
            "/ssi",
            "<!--#block name='s' -->.<!--#include virtual='/no' stub='s' --><!--#endblock --><!--#include virtual='/no' stub='s' -->!",
            &format!(
                "{}[an error occurred while processing the directive]!",
                ".".repeat(50)
            ),
        ),
        ("/all", include, "</b>a</incx>b</a>"),
    ] {
        for step in [1, 2, 3, 7, body.len().max(1)] {
            let got = run(&mut site, target, body.as_bytes(), step);
            assert_eq!(got, want, "{target} {body} by {step}");
        }
    }
}

#[test]
fn a_body_that_grows_comes_in_parts() {
    let mut site = Site::new(&format!(
        "default_type text/html; server {{ listen 80; server_name a.test;
         location / {{ ssi on; sub_filter x '{}'; sub_filter_once off; return 200 x; }} }}",
        "<!--#echo var=\"uri\" -->".repeat(20)
    ));
    let got = run(&mut site, "/", &b"x".repeat(20_000), 20_000);
    assert_eq!(got.len(), 400_000);
}
