//! Which fields cross the proxy, in either direction, and what the configuration does to them.

use crate::support::origin::response;
use crate::support::{Config, Origin, Proxy};

fn to(origin: &Origin, text: &str) -> Proxy {
    Config::server(text).set("origin", origin.addr()).start()
}

#[test]
fn the_guides_four_lines_arrive() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "location / {
            proxy_pass http://%%origin%%;
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Forwarded-Port $server_port;
        }",
    );
    proxy
        .client()
        .send("GET / HTTP/1.1\r\nHost: Shop.Example:81\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nAccept: */*\r\n\r\n")
        .response();
    let expected = format!(
        "GET / HTTP/1.1\r\nHost: shop.example\r\nX-Real-IP: 127.0.0.1\r\n\
         X-Forwarded-For: 10.0.0.1, 10.0.0.2, 127.0.0.1\r\nX-Forwarded-Proto: http\r\n\
         X-Forwarded-Host: shop.example\r\nX-Forwarded-Port: {}\r\nAccept: */*\r\n\r\n",
        proxy.addr().port()
    );
    assert_eq!(origin.request().head_text(), expected);
}

#[test]
fn hop_by_hop_fields_of_the_client_stay_behind() {
    let origin = Origin::text("x");
    let proxy = to(&origin, "location / { proxy_pass http://%%origin%%; }");
    proxy
        .client()
        .request(
            "GET",
            "/",
            "Proxy-Connection: keep-alive\r\nTE: trailers\r\nKeep-Alive: 5\r\nUpgrade: h2c\r\nX_Und: 1\r\nX-Ok: 1\r\n",
        )
        .response();
    let request = origin.request();
    let names = request
        .fields()
        .into_iter()
        .map(|(n, _)| n)
        .collect::<Vec<_>>();
    assert_eq!(names, ["Host", "X-Ok"]);
}

#[test]
fn fields_named_in_connection_are_removed() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_set_header X-Real-IP $remote_addr; }",
    );
    proxy
        .client()
        .request(
            "GET",
            "/",
            "Connection: keep-alive, X-Secret, X-Real-IP\r\nX-Secret: 1\r\nX-Other: 2\r\n",
        )
        .response();
    let request = origin.request();
    assert_eq!(request.field("x-secret"), None);
    assert_eq!(request.field("connection"), None);
    assert_eq!(request.field("x-other"), Some("2"));
    assert_eq!(
        request.field("x-real-ip"),
        Some("127.0.0.1"),
        "what the proxy sets survives"
    );
}

#[test]
fn an_empty_value_removes_a_field() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_set_header Authorization \"\"; proxy_set_header Accept-Encoding \"\"; }",
    );
    proxy
        .client()
        .request(
            "GET",
            "/",
            "Authorization: Basic eDp5\r\nAccept-Encoding: gzip\r\nAccept: a\r\n",
        )
        .response();
    let request = origin.request();
    assert_eq!(request.field("authorization"), None);
    assert_eq!(request.field("accept-encoding"), None);
    assert_eq!(request.field("accept"), Some("a"));
}

#[test]
fn lists_of_fields_inherit_all_or_nothing() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "proxy_set_header X-Outer 1;
         location /inherits { proxy_pass http://%%origin%%; }
         location /own { proxy_set_header X-Inner 1; proxy_pass http://%%origin%%; }",
    );
    proxy.get("/inherits");
    assert_eq!(origin.last().field("x-outer"), Some("1"));
    proxy.get("/own");
    assert_eq!(origin.last().field("x-outer"), None);
    assert_eq!(origin.last().field("x-inner"), Some("1"));
}

#[test]
fn a_configured_field_replaces_the_clients_in_its_place() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_set_header User-Agent \"ours $http_user_agent\"; }",
    );
    proxy
        .client()
        .request("GET", "/", "user-agent: theirs\r\n")
        .response();
    assert_eq!(origin.request().field("user-agent"), Some("ours theirs"));
}

#[test]
fn invalid_and_underscored_names_follow_their_switches() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "underscores_in_headers on; location / { proxy_pass http://%%origin%%; }",
    );
    proxy
        .client()
        .request("GET", "/", "X_Und: 1\r\n")
        .response();
    assert_eq!(origin.last().field("x_und"), Some("1"));
}

#[test]
fn the_origins_own_server_and_date_are_replaced() {
    let origin = Origin::fixed(response(
        "200 OK",
        "Server: secret/1\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Powered-By: php\r\nX-Pad: y\r\nX-Accel-Charset: koi8-r\r\nX-Kept: 1\r\n",
        b"x",
    ));
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_hide_header X-Powered-By; }
         location /pass { proxy_pass http://%%origin%%; proxy_pass_header Server; proxy_pass_header Date; }",
    );
    let hidden = proxy.get("/");
    assert_ne!(hidden.field("server"), Some("secret/1"));
    assert!(!hidden.field("date").unwrap().contains("1970"));
    for name in ["x-powered-by", "x-pad", "x-accel-charset"] {
        assert_eq!(hidden.field(name), None, "{name}");
    }
    assert_eq!(hidden.field("x-kept"), Some("1"));
    let passed = proxy.get("/pass");
    assert_eq!(passed.field("server"), Some("secret/1"));
    assert_eq!(passed.field("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
}

#[test]
fn a_server_and_date_that_are_passed_on_are_not_made_up() {
    let origin = Origin::text("x");
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; }
         location /pass { proxy_pass http://%%origin%%; proxy_pass_header Server; proxy_pass_header Date; }",
    );
    let own = proxy.get("/");
    assert!(own.field("server").is_some() && own.field("date").is_some());
    let passed = proxy.get("/pass");
    assert_eq!(passed.field("server"), None);
    assert_eq!(passed.field("date"), None);
}

#[test]
fn connection_fields_of_the_origin_stay_behind() {
    let origin = Origin::script(|conn| {
        while conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=9\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 1\r\n\r\nx");
        }
    });
    let proxy = to(&origin, "location / { proxy_pass http://%%origin%%; }");
    let response = proxy.get("/");
    assert_eq!(response.field("keep-alive"), None);
    assert_eq!(response.field("x-hop"), None);
    assert_eq!(response.field("x-end"), Some("2"));
    assert_eq!(response.field("connection"), Some("keep-alive"));
}

/// Sends `/` through `text` to an origin that answers 302 with `location`, and returns the client's Location.
#[track_caller]
fn redirected(text: &str, location: &str) -> String {
    let location = location.to_owned();
    let origin = Origin::answer(move |request| {
        let host = request.field("host").unwrap_or_default().to_owned();
        let fields = format!("Location: {}\r\n", location.replace("HOST", &host));
        response("302 Found", &fields, b"")
    });
    let proxy = to(&origin, text);
    let client_port = proxy.addr().port().to_string();
    let response = proxy.get("/app/");
    assert_eq!(response.status(), 302);
    let got = response.field("location").unwrap();
    got.replace(&client_port, "PORT")
        .replace(&origin.addr().to_string(), "ORIGIN")
}

#[test]
fn redirects_are_rewritten() {
    let plain = "location /app/ { proxy_pass http://%%origin%%/; }";
    let rows = [
        (
            plain,
            "http://HOST/login?x",
            "http://localhost:PORT/app/login?x",
        ),
        (
            plain,
            "http://elsewhere.example/login",
            "http://elsewhere.example/login",
        ),
        (plain, "/relative", "/relative"),
        (
            "location /app/ { proxy_pass http://%%origin%%/; proxy_redirect off; }",
            "http://HOST/login",
            "http://ORIGIN/login",
        ),
        (
            "location /app/ { proxy_pass http://%%origin%%/; proxy_redirect http:// https://; }",
            "http://HOST/login",
            "https://ORIGIN/login",
        ),
        (
            "location /app/ { proxy_pass http://%%origin%%/; proxy_redirect http://a.example/ /b/; }",
            "http://a.example/login",
            "http://localhost:PORT/b/login",
        ),
        (
            "location /app/ { proxy_pass http://%%origin%%/; proxy_redirect ~^http://(\\w+)\\.example/(.*)$ http://$host/$1/$2; }",
            "http://shop.example/a/b",
            "http://localhost/shop/a/b",
        ),
    ];
    for (text, sent, expected) in rows {
        assert_eq!(redirected(text, sent), expected, "{sent} with {text}");
    }
}

#[test]
fn cookies_are_rewritten() {
    let origin = Origin::fixed(response(
        "200 OK",
        "Set-Cookie: a=1; Domain=.inner.example; Path=/inner/x\r\nSet-Cookie: b=2; path=/other\r\n",
        b"",
    ));
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%;
            proxy_cookie_domain inner.example outer.example;
            proxy_cookie_path /inner/ /outer/; }
         location /flags { proxy_pass http://%%origin%%; proxy_cookie_flags a httponly secure samesite=lax; }",
    );
    let cookies = proxy.get("/");
    assert_eq!(
        cookies.all("set-cookie"),
        [
            "a=1; Domain=.outer.example; Path=/outer/x",
            "b=2; path=/other"
        ]
    );
    let cookies = proxy.get("/flags");
    assert_eq!(
        cookies.all("set-cookie"),
        [
            "a=1; Domain=.inner.example; Path=/inner/x; Secure; HttpOnly; SameSite=Lax",
            "b=2; path=/other"
        ]
    );
}

#[test]
fn add_header_keeps_to_its_statuses() {
    let origin = Origin::answer(|request| {
        let status = if request.target() == "/bad" {
            "500 Oops"
        } else {
            "200 OK"
        };
        response(status, "X-Both: origin\r\n", b"")
    });
    let proxy = to(
        &origin,
        "add_header X-Level server;
         location / { proxy_pass http://%%origin%%;
            add_header X-Both ours; add_header X-Plain 1; add_header X-Always 1 always; add_header X-Empty $http_nothing always; }
         location /inherits { proxy_pass http://%%origin%%; }",
    );
    let good = proxy.get("/good");
    assert_eq!(good.all("x-both"), ["origin", "ours"]);
    assert_eq!(good.field("x-plain"), Some("1"));
    assert_eq!(good.field("x-always"), Some("1"));
    assert_eq!(good.field("x-empty"), None);
    assert_eq!(good.field("x-level"), None, "the location has its own list");
    let bad = proxy.get("/bad");
    assert_eq!(bad.all("x-both"), ["origin"]);
    assert_eq!(bad.field("x-plain"), None);
    assert_eq!(bad.field("x-always"), Some("1"));
    assert_eq!(proxy.get("/inherits").field("x-level"), Some("server"));
}

#[test]
fn expires_sets_both_fields() {
    let origin = Origin::fixed(response(
        "200 OK",
        "Cache-Control: private\r\nCache-Control: no-store\r\n",
        b"",
    ));
    let proxy = to(
        &origin,
        "location /hour { proxy_pass http://%%origin%%; expires 1h; }
         location /past { proxy_pass http://%%origin%%; expires -1; }
         location /epoch { proxy_pass http://%%origin%%; expires epoch; }
         location /max { proxy_pass http://%%origin%%; expires max; }
         location /off { proxy_pass http://%%origin%%; expires off; }
         location /two { proxy_pass http://%%origin%%; expires 1h; add_header Cache-Control public; }",
    );
    assert_eq!(proxy.get("/hour").all("cache-control"), ["max-age=3600"]);
    assert!(proxy.get("/hour").field("expires").is_some());
    assert_eq!(proxy.get("/past").all("cache-control"), ["no-cache"]);
    let epoch = proxy.get("/epoch");
    assert_eq!(
        epoch.field("expires"),
        Some("Thu, 01 Jan 1970 00:00:01 GMT")
    );
    assert_eq!(epoch.all("cache-control"), ["no-cache"]);
    let max = proxy.get("/max");
    assert_eq!(max.field("expires"), Some("Thu, 31 Dec 2037 23:55:55 GMT"));
    assert_eq!(max.all("cache-control"), ["max-age=315360000"]);
    assert_eq!(
        proxy.get("/off").all("cache-control"),
        ["private", "no-store"]
    );
    assert_eq!(
        proxy.get("/two").all("cache-control"),
        ["max-age=3600", "public"]
    );
}

#[test]
fn x_accel_redirect_answers_from_inside() {
    let origin = Origin::fixed(response(
        "200 OK",
        "X-Accel-Redirect: /protected/file.txt\r\nContent-Type: text/special\r\nSet-Cookie: s=1\r\nX-Origin: 1\r\n",
        b"ignored",
    ));
    let proxy = Config::server(
        "location / { proxy_pass http://%%origin%%; }
         location /protected/ { internal; root %%DIR%%; }",
    )
    .set("origin", origin.addr())
    .file("protected/file.txt", "inside")
    .start();
    let response = proxy.get("/download");
    assert_eq!(response.text(), "inside");
    assert_eq!(response.field("content-type"), Some("text/special"));
    assert_eq!(response.field("set-cookie"), Some("s=1"));
    assert_eq!(response.field("x-origin"), None);
    assert_eq!(proxy.get("/protected/file.txt").status(), 404);
}

#[test]
fn no_line_end_leaves_inside_a_field() {
    let origin = Origin::echo();
    let proxy = to(
        &origin,
        "location / { proxy_pass http://%%origin%%; proxy_set_header X-Path $uri; add_header X-Back $uri; }
         location /go/ { return 302 http://h$uri; }",
    );
    let response = proxy.get("/a%0d%0aEvil:%201");
    for message in [&origin.last(), &response] {
        assert_eq!(message.field("evil"), None);
    }
    let response = proxy.get("/go/%0d%0aEvil:%201");
    assert_eq!(response.field("evil"), None);
    assert!(!response.head_text().contains("\nEvil"));
}
