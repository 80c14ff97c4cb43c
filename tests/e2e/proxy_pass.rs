//! What reaches the origin's request line for each form of `proxy_pass`.

use crate::support::origin::ok;
use crate::support::{Config, Origin};

/// Sends `target` through one server whose locations are `text`, and returns the target that the origin saw.
#[track_caller]
fn seen(text: &str, target: &str) -> String {
    let origin = Origin::text("x");
    let proxy = Config::server(text).set("origin", origin.addr()).start();
    let response = proxy.get(target);
    assert_eq!(response.status(), 200, "{}", response.head_text());
    origin.request().target().to_owned()
}

/// Checks rows of (request target, target at the origin) against one configuration.
#[track_caller]
fn check(text: &str, rows: &[(&str, &str)]) {
    let origin = Origin::text("x");
    let proxy = Config::server(text).set("origin", origin.addr()).start();
    for (target, expected) in rows {
        let response = proxy.get(target);
        assert_eq!(response.status(), 200, "{target}: {}", response.head_text());
        assert_eq!(origin.last().target(), *expected, "for {target}");
    }
}

#[test]
fn without_a_uri_the_target_passes_byte_for_byte() {
    check(
        "location / { proxy_pass http://%%origin%%; }",
        &[
            ("/", "/"),
            ("/a%2Fb//c/../d%20e?x=%20", "/a%2Fb//c/../d%20e?x=%20"),
            ("/%41?", "/%41?"),
            ("/x?a=1&b=%00", "/x?a=1&b=%00"),
            ("http://other.example/abs?q", "/abs?q"),
        ],
    );
}

#[test]
fn with_a_uri_the_prefix_is_swapped_and_the_rest_normalised() {
    check(
        "location /strip/ { proxy_pass http://%%origin%%/; }
         location /api/auth/login { proxy_pass http://%%origin%%/auth/login; }
         location /v1/ { proxy_pass http://%%origin%%/v2/api/; }",
        &[
            ("/strip/a%2Fb//c/../d%20e?x=%20", "/a/b/d%20e?x=%20"),
            ("/strip/", "/"),
            ("/strip/%7Euser", "/~user"),
            ("/strip/%3F%23%25", "/%3F%23%25"),
            ("/api/auth/login", "/auth/login"),
            ("/api/auth/login?next=/", "/auth/login?next=/"),
            ("/v1/users/7", "/v2/api/users/7"),
        ],
    );
}

#[test]
fn a_prefix_without_slash_is_swapped_as_text() {
    check(
        "location /nos { proxy_pass http://%%origin%%/; }
         location /yes/ { proxy_pass http://%%origin%%/base; }",
        &[
            ("/nos/users", "//users"),
            ("/nosfoo", "/foo"),
            ("/nos", "/"),
            ("/yes/users", "/baseusers"),
        ],
    );
}

#[test]
fn variables_give_the_whole_target() {
    check(
        "set $where %%origin%%;
         location /bare { proxy_pass http://$where; }
         location /uri { proxy_pass http://$where/fixed; }
         location /full { proxy_pass http://$where$request_uri; }",
        &[
            ("/bare/a%2Fb?x=1", "/bare/a%2Fb?x=1"),
            ("/uri/more?x=1", "/fixed"),
            ("/full/a%2Fb?x=1", "/full/a%2Fb?x=1"),
        ],
    );
}

#[test]
fn a_rewritten_request_passes_its_new_normalised_target() {
    check(
        "location /old/ { rewrite ^/old/(.*)$ /new/$1 break; proxy_pass http://%%origin%%; }
         location /cut/ { rewrite ^/cut/(.*)$ /new/$1? break; proxy_pass http://%%origin%%; }
         location /with/ { rewrite ^/with/(.*)$ /new/$1 break; proxy_pass http://%%origin%%/ignored/; }",
        &[
            ("/old/a%20b//c?x=1", "/new/a%20b/c?x=1"),
            ("/cut/y?x=1", "/new/y"),
            ("/with/y?x=1", "/new/y?x=1"),
        ],
    );
}

#[test]
fn regex_and_named_locations_pass_the_target_through() {
    check(
        "location ~ ^/re/(\\d+) { proxy_pass http://%%origin%%; }
         location /try { try_files /nothing @app; }
         location @app { proxy_pass http://%%origin%%; }",
        &[
            ("/re/42/%2e?x", "/re/42/%2e?x"),
            ("/try/a%2Fb?x", "/try/a%2Fb?x"),
        ],
    );
}

#[test]
fn an_upstream_group_is_named_as_a_host() {
    let origin = Origin::text("x");
    let proxy = Config::http(
        "upstream backend { server %%origin%%; }
         server { listen %%ADDR_0%%; location / { proxy_pass http://backend; } }",
    )
    .set("origin", origin.addr())
    .start();
    proxy.get("/x");
    assert_eq!(origin.request().field("host"), Some("backend"));
}

#[test]
fn a_unix_socket_is_a_target_with_and_without_uri() {
    let config = Config::server(
        "location / { proxy_pass http://unix:%%DIR%%/app.sock; }
         location /sub/ { proxy_pass http://unix:%%DIR%%/app.sock:/inner/; }",
    );
    let origin = Origin::answer_unix(&config.dir().join("app.sock"), |_| ok("unix"));
    let proxy = config.start();
    assert_eq!(proxy.get("/a//b").text(), "unix");
    assert_eq!(origin.last().target(), "/a//b");
    assert_eq!(origin.last().field("host"), Some("localhost"));
    assert_eq!(proxy.get("/sub/x").text(), "unix");
    assert_eq!(origin.last().target(), "/inner/x");
}

#[test]
fn the_bare_request_is_line_and_host_only() {
    let origin = Origin::text("x");
    let proxy = Config::server("location / { proxy_pass http://%%origin%%; }")
        .set("origin", origin.addr())
        .start();
    proxy
        .client()
        .send("GET /p HTTP/1.1\r\nHost: client.example\r\n\r\n")
        .response();
    let expected = format!("GET /p HTTP/1.1\r\nHost: {}\r\n\r\n", origin.addr());
    assert_eq!(origin.request().head_text(), expected);
}

#[test]
fn http_1_0_to_the_origin_still_names_the_host() {
    let origin = Origin::text("x");
    let proxy =
        Config::server("location / { proxy_pass http://%%origin%%; proxy_http_version 1.0; }")
            .set("origin", origin.addr())
            .start();
    proxy.get("/");
    let request = origin.request();
    assert_eq!(request.start_line(), "GET / HTTP/1.0");
    assert_eq!(
        request.field("host"),
        Some(origin.addr().to_string().as_str())
    );
}

#[test]
fn a_missing_slash_is_redirected_where_the_location_proxies() {
    let origin = Origin::text("x");
    let proxy = Config::server(
        "location /api/ { proxy_pass http://%%origin%%; }
         location /relative/ { absolute_redirect off; proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .start();
    let response = proxy.get("/api?x=1");
    assert_eq!(response.status(), 301);
    let expected = format!("http://localhost:{}/api/?x=1", proxy.addr().port());
    assert_eq!(response.field("location"), Some(expected.as_str()));
    let response = proxy.get("/relative");
    assert_eq!(response.field("location"), Some("/relative/"));
    assert!(origin.requests().is_empty());
}

#[test]
fn the_method_and_the_body_can_be_replaced() {
    let origin = Origin::echo();
    let proxy = Config::server(
        "location /method { proxy_method PUT; proxy_pass http://%%origin%%; }
         location /body { proxy_set_body \"uri=$uri\"; proxy_pass http://%%origin%%; }
         location /none { proxy_pass_request_body off; proxy_set_header Content-Length \"\"; proxy_pass http://%%origin%%; }
         location /bare { proxy_pass_request_headers off; proxy_pass http://%%origin%%; }",
    )
    .set("origin", origin.addr())
    .start();
    let post = |target: &str| {
        let fields = "Content-Length: 4\r\nX-Mine: 1\r\n\r\nbody";
        let head = format!("POST {target} HTTP/1.1\r\nHost: h\r\n{fields}");
        assert_eq!(
            proxy
                .client()
                .expecting("POST")
                .send(head)
                .response()
                .status(),
            200
        );
        origin.last()
    };
    assert_eq!(post("/method").method(), "PUT");
    let body = post("/body");
    assert_eq!(
        (body.text(), body.field("content-length")),
        ("uri=/body", Some("9"))
    );
    let none = post("/none");
    assert_eq!((none.text(), none.field("content-length")), ("", None));
    let bare = post("/bare");
    assert_eq!((bare.text(), bare.field("x-mine")), ("body", None));
}

#[test]
fn a_location_in_an_if_proxies() {
    let text = "location / { if ($arg_beta) { proxy_pass http://%%origin%%; } return 404; }";
    // `return` stands in the outer location's rewrite script and runs before the content of the `if`.
    let origin = Origin::text("x");
    let proxy = Config::server(text).set("origin", origin.addr()).start();
    assert_eq!(proxy.get("/?beta=1").status(), 404);
    drop(proxy);
    let text = "location / { if ($arg_beta) { proxy_pass http://%%origin%%; } root %%DIR%%; }";
    assert_eq!(seen(text, "/y?beta=1"), "/y?beta=1");
}

#[test]
fn limit_except_sends_other_methods_elsewhere() {
    let (reads, writes) = (Origin::text("reads"), Origin::text("writes"));
    let proxy = Config::server(
        "location / { proxy_pass http://%%reads%%; limit_except GET { proxy_pass http://%%writes%%; } }",
    )
    .set("reads", reads.addr())
    .set("writes", writes.addr())
    .start();
    assert_eq!(proxy.get("/").text(), "reads");
    let response = proxy.client().request("DELETE", "/", "").response();
    assert_eq!(response.text(), "writes");
}
