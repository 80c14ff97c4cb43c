//! Files from disk: `root`, `alias`, `index`, `try_files`, types, and what must not be served.

use crate::support::{Config, Origin, Proxy};

fn site(text: &str) -> Proxy {
    Config::server(text)
        .file("www/index.html", "home")
        .file("www/page.html", "page")
        .file("www/style.css", "body{}")
        .file("www/data.unknown", "data")
        .file("www/sub/index.html", "sub home")
        .file("www/empty/.keep", "")
        .file("www/sp ace.txt", "space")
        .file("secret.txt", "secret")
        .may_log("(2: No such file or directory)")
        .may_log("is forbidden")
        .may_log("(20: Not a directory)")
        .may_log("is outside of its root")
        .start()
}

const TYPES: &str = "types { text/html html; text/css css; text/plain txt; }";

#[test]
fn root_serves_files_with_their_types() {
    let proxy = site(&format!(
        "{TYPES} root %%DIR%%/www; default_type application/octet-stream;"
    ));
    for (target, kind, text) in [
        ("/page.html", "text/html", "page"),
        ("/style.css", "text/css", "body{}"),
        ("/data.unknown", "application/octet-stream", "data"),
        ("/", "text/html", "home"),
        ("/sub/", "text/html", "sub home"),
        ("/sp%20ace.txt", "text/plain", "space"),
        ("/sub/../page.html", "text/html", "page"),
    ] {
        let got = proxy.get(target);
        assert_eq!((got.status(), got.text()), (200, text), "{target}");
        assert_eq!(got.field("content-type"), Some(kind), "{target}");
        assert_eq!(
            got.field("content-length"),
            Some(text.len().to_string().as_str())
        );
        assert!(got.field("last-modified").is_some() && got.field("etag").is_some());
    }
}

#[test]
fn what_is_not_there_or_not_allowed() {
    let proxy = site("root %%DIR%%/www;");
    assert_eq!(proxy.get("/missing").status(), 404);
    assert_eq!(proxy.get("/empty/").status(), 403);
    assert_eq!(proxy.get("/page.html/x").status(), 404);
    let post = proxy
        .client()
        .request("POST", "/page.html", "Content-Length: 0\r\n")
        .response();
    assert_eq!(post.status(), 405);
    let redirect = proxy.get("/sub?x=1");
    assert_eq!(redirect.status(), 301);
    let expected = format!("http://localhost:{}/sub/?x=1", proxy.addr().port());
    assert_eq!(redirect.field("location"), Some(expected.as_str()));
}

#[test]
fn head_of_a_file_has_its_length() {
    let proxy = site("root %%DIR%%/www;");
    let mut client = proxy.client();
    let got = client.request("HEAD", "/page.html", "").response();
    assert_eq!(
        (got.status(), got.field("content-length")),
        (200, Some("4"))
    );
    assert_eq!(client.get("/page.html").response().text(), "page");
}

#[test]
fn nothing_outside_the_root_is_served() {
    let proxy = site(
        "root %%DIR%%/www;
         location /files/ { alias %%DIR%%/www/sub/; }
         location /static { alias %%DIR%%/www/sub/; }",
    );
    for target in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/sub/../../secret.txt",
        "/files/../../secret.txt",
        "/files/..%2f..%2fsecret.txt",
        "/static../page.html",
        "/static..%2fpage.html",
        "/static../../secret.txt",
        "/%00secret.txt",
        "/secret.txt%00.html",
    ] {
        let got = proxy.get(target);
        assert!(
            !got.text().contains("secret") || got.status() >= 400,
            "{target}"
        );
        assert!(
            got.status() >= 400,
            "{target}: {} {}",
            got.status(),
            got.text()
        );
    }
}

#[test]
fn alias_swaps_the_prefix() {
    let proxy = site(
        "location /files/ { alias %%DIR%%/www/sub/; }
         location ~ ^/re/(.+)$ { alias %%DIR%%/www/$1; }
         location = /one { alias %%DIR%%/www/page.html; default_type text/x; }",
    );
    assert_eq!(proxy.get("/files/").text(), "sub home");
    assert_eq!(proxy.get("/files/index.html").text(), "sub home");
    assert_eq!(proxy.get("/re/page.html").text(), "page");
    assert_eq!(proxy.get("/one").text(), "page");
}

#[test]
fn try_files_in_order() {
    let origin = Origin::answer(|r| crate::support::origin::ok(r.target()));
    let proxy = Config::server(
        "root %%DIR%%/www;
         location / { try_files $uri $uri/ @app; }
         location /code/ { try_files $uri =410; }
         location /uri/ { try_files $uri /page.html?$args; }
         location /args/ { try_files /nothing /shown?from=$uri; }
         location = /shown { return 200 $args; }
         location @app { proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .file("www/page.html", "page")
    .file("www/index.html", "home")
    .file("www/sub/index.html", "sub home")
    .start();
    for (target, status, text) in [
        ("/page.html", 200, "page"),
        ("/sub/", 200, "sub home"),
        ("/", 200, "home"),
        ("/deep/route?x=1", 200, "/deep/route?x=1"),
        ("/uri/none?q", 200, "page"),
        ("/args/z", 200, "from=/args/z"),
    ] {
        let got = proxy.get(target);
        assert_eq!((got.status(), got.text()), (status, text), "{target}");
    }
    assert_eq!(proxy.get("/code/none").status(), 410);
}

#[test]
fn index_may_name_several() {
    let proxy = Config::server("root %%DIR%%/www; index none.html second.html /last.html;")
        .file("www/a/second.html", "second")
        .file("www/b/x", "")
        .file("www/last.html", "last")
        .start();
    assert_eq!(proxy.get("/a/").text(), "second");
    assert_eq!(proxy.get("/b/").text(), "last");
}

#[test]
fn large_files_arrive_whole() {
    let body = (0..5_000_000u32)
        .map(|i| u8::try_from(i % 253).unwrap())
        .collect::<Vec<_>>();
    let proxy = Config::server(
        "root %%DIR%%/www; location /off/ { sendfile off; alias %%DIR%%/www/; }  sendfile on;",
    )
    .file("www/big", &body)
    .start();
    let mut client = proxy.client();
    for target in ["/big", "/off/big"] {
        assert!(client.get(target).response().body == body, "{target}");
    }
}

#[test]
fn missing_files_are_logged_unless_told_otherwise() {
    let proxy = Config::server("root %%DIR%%/www; location /quiet { log_not_found off; }")
        .logs("www/loud\" failed (2: No such file or directory)")
        .start();
    assert_eq!(proxy.get("/quiet").status(), 404);
    assert_eq!(proxy.get("/loud").status(), 404);
    proxy.wait_log("error.log", "open() \"");
    assert!(!proxy.error_log().contains("quiet"));
}
