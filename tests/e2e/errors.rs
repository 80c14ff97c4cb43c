//! `error_page` and its relatives: what a failed request is answered with.

use crate::support::origin::response;
use crate::support::{Config, Origin};

#[test]
fn error_pages_come_from_uris_names_and_elsewhere() {
    let proxy = Config::server(
        "error_page 404 /missing.html;
         error_page 403 =200 /calm.html;
         error_page 410 = /own-status;
         error_page 402 @named;
         error_page 401 http://h.example/login;
         error_page 409 =301 http://h.example/moved;
         location / { return 404; }
         location /forbidden { return 403; }
         location /gone { return 410; }
         location /pay { return 402; }
         location /login { return 401; }
         location /conflict { return 409; }
         location = /missing.html { root %%DIR%%; }
         location = /calm.html { root %%DIR%%; }
         location = /own-status { return 202 own; }
         location @named { return 206 \"named $uri\"; }",
    )
    .file("missing.html", "custom missing")
    .file("calm.html", "calm")
    .start();
    let rows = [
        ("/x", 404, "custom missing"),
        ("/forbidden", 200, "calm"),
        ("/gone", 202, "own"),
        ("/pay", 402, "named /pay"),
    ];
    for (target, status, text) in rows {
        let got = proxy.get(target);
        assert_eq!((got.status(), got.text()), (status, text), "{target}");
    }
    let got = proxy.get("/login");
    assert_eq!(
        (got.status(), got.field("location")),
        (302, Some("http://h.example/login"))
    );
    let got = proxy.get("/conflict");
    assert_eq!(
        (got.status(), got.field("location")),
        (301, Some("http://h.example/moved"))
    );
}

#[test]
fn a_missing_error_page_is_a_plain_404() {
    let proxy = Config::server("error_page 403 /nowhere.html; location / { return 403; } location = /nowhere.html { root %%DIR%%; }")
        .logs("open() \"")
        .start();
    assert_eq!(proxy.get("/").status(), 404);
}

#[test]
fn intercepted_errors_of_the_origin() {
    let origin = Origin::answer(|request| match request.target() {
        "/fine" => response("200 OK", "", b"fine"),
        "/other" => response("500 X", "", b"origin 500"),
        _ => response(
            "503 X",
            "X-Origin: 1\r\nRetry-After: 7\r\nWWW-Authenticate: Basic\r\n",
            b"origin 503",
        ),
    });
    let proxy = Config::server(
        "error_page 503 /sorry; proxy_intercept_errors on;
         location / { proxy_pass http://%%origin%%; }
         location /plain { proxy_intercept_errors off; proxy_pass http://%%origin%%; }
         location = /sorry { return 503 sorry; }",
    )
    .set("origin", origin.addr())
    .start();
    assert_eq!(proxy.get("/fine").text(), "fine");
    assert_eq!(
        proxy.get("/other").text(),
        "origin 500",
        "not named by error_page"
    );
    let got = proxy.get("/busy");
    assert_eq!((got.status(), got.text()), (503, "sorry"));
    assert_eq!(got.field("x-origin"), None);
    assert_eq!(proxy.get("/plain").text(), "origin 503");
}

#[test]
fn recursion_is_a_choice() {
    let text = "error_page 404 /second; error_page 403 /third;
         location / { return 404; } location /second { return 403; } location /third { return 200 third; }";
    let proxy = Config::server(text).start();
    assert_eq!(proxy.get("/").status(), 403);
    drop(proxy);
    let proxy = Config::server(&format!("recursive_error_pages on; {text}")).start();
    assert_eq!(proxy.get("/").text(), "third");
}

#[test]
fn a_dead_origin_gets_a_page() {
    let proxy = Config::server(
        "error_page 502 503 504 /50x.html;
         location / { proxy_pass http://%%ADDR_1%%; add_header X-Plain 1; add_header X-Always 1 always; }
         location = /50x.html { root %%DIR%%; }
         location /bare { proxy_pass http://%%ADDR_1%%; error_page 502 =502 @none; add_header X-Plain 1; add_header X-Always 1 always; }
         location @none { return 502; }",
    )
    .file("50x.html", "down for a while")
    .logs("connect() failed (111: Connection refused) while connecting to upstream")
    .start();
    let got = proxy.get("/");
    assert_eq!((got.status(), got.text()), (502, "down for a while"));
}

#[test]
fn always_headers_are_on_errors_too() {
    let proxy = Config::server(
        "location / { proxy_pass http://%%ADDR_1%%; add_header X-Plain 1; add_header X-Always 1 always; }",
    )
    .logs("connect() failed (111: Connection refused) while connecting to upstream")
    .start();
    let got = proxy.get("/");
    assert_eq!(got.status(), 502);
    assert_eq!(
        (got.field("x-plain"), got.field("x-always")),
        (None, Some("1"))
    );
    assert!(got.text().contains("<h1>502 Bad Gateway</h1>"));
}

#[test]
fn methods_change_on_the_way_to_an_error_page() {
    let origin = Origin::echo();
    let proxy = Config::server(
        "error_page 405 /fallback; error_page 404 @same;
         location / { return 404; }
         location /no { return 405; }
         location /fallback { proxy_pass http://%%origin%%; }
         location @same { proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .start();
    let post = |target: &str| {
        proxy
            .client()
            .request("POST", target, "Content-Length: 2\r\n")
            .send("xy")
            .response();
        origin.last().start_line().to_owned()
    };
    assert_eq!(post("/no"), "GET /fallback HTTP/1.1");
    assert_eq!(post("/x"), "POST /x HTTP/1.1");
}
