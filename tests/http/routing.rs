//! Server and location choice, redirects and refusals on the way.

use super::Site;

#[test]
fn servers_by_name() {
    let mut site = Site::new(
        r#"
        server { listen 80; server_name first.test; return 200 first; }
        server { listen 80; server_name a.test *.wild.test; return 200 "$server_name $host"; }
        server { listen 80; server_name ~^(?<sub>\w+)\.re\.test$; return 200 "$sub $1"; }
        server { listen 80 default_server; server_name _; return 200 "default $host"; }
        "#,
    );
    for (host, want) in [
        ("first.test", "first"),
        ("FIRST.test:80", "first"),
        ("a.test.", "a.test a.test"),
        ("x.wild.test", "a.test x.wild.test"),
        ("abc.re.test", "abc abc"),
        ("other", "default other"),
    ] {
        let answer = site.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.body, want, "{host}");
    }
    let absolute = site.send("GET http://first.test/ HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!(absolute.body, "first");
    let nameless = site.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(nameless.body, "default _");
}

#[test]
fn locations_by_the_normal_form() {
    let mut site = Site::new(
        r#"
        server {
            listen 80;
            location / { return 200 root; }
            location = /exact { return 200 exact; }
            location /pre { return 200 "prefix $uri"; }
            location ^~ /static/ { return 200 static; }
            location ~ \.php$ { return 200 "php $uri"; }
            location ~* ^/(?<name>img)/(.*)$ { return 200 "$name $2"; }
            location /outer/ {
                location /outer/inner { return 200 inner; }
                location ~ x$ { return 200 nested-regex; }
                return 200 outer;
            }
        }
        "#,
    );
    for (target, want) in [
        ("/", "root"),
        ("/exact", "exact"),
        ("/exact/", "root"),
        ("/prefix?a=b", "prefix /prefix"),
        ("/pre/../exact", "exact"),
        ("//pre//x", "prefix /pre/x"),
        ("/p%72e", "prefix /pre"),
        ("/static/a.php", "static"),
        ("/a.php", "php /a.php"),
        ("/a%2Ephp", "php /a.php"),
        ("/IMG/a%20b", "IMG a b"),
        ("/outer/inner", "inner"),
        ("/outer/x", "nested-regex"),
        ("/outer/y", "outer"),
        ("/outer/a.php", "php /outer/a.php"),
    ] {
        assert_eq!(site.get(target).body, want, "{target}");
    }
}

#[test]
fn a_missing_slash_is_redirected() {
    let mut site = Site::new(
        r#"
        server { listen 80; listen 8080; server_name main.test;
            location /api/ { proxy_pass http://127.0.0.1:1; }
            location /rel/ { absolute_redirect off; proxy_pass http://127.0.0.1:1; }
            location /named/ { server_name_in_redirect on; proxy_pass http://127.0.0.1:1; }
            location /bare/ { port_in_redirect off; proxy_pass http://127.0.0.1:1; }
        }
        "#,
    );
    let answer = site.get("/api");
    assert_eq!(
        (answer.status, answer.location.as_str()),
        (301, "http://a.test/api/")
    );
    assert!(answer.body.contains("301 Moved Permanently"));
    assert_eq!(site.get("/api?x=%20").location, "http://a.test/api/?x=%20");
    assert_eq!(site.get("/rel").location, "/rel/");
    assert_eq!(site.get("/named").location, "http://main.test/named/");
    let head = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a.test:8080\r\n\r\n");
    assert_eq!(
        site.send_to(&head("/api"), 8080).location,
        "http://a.test:8080/api/"
    );
    assert_eq!(
        site.send_to(&head("/bare"), 8080).location,
        "http://a.test/bare/"
    );
}

#[test]
fn refused_requests() {
    let mut site =
        Site::new("server { listen 80; location / { return 204; } client_max_body_size 10; }");
    for (head, want) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n",
            413,
        ),
    ] {
        let answer = site.send(head);
        assert_eq!(answer.status, want, "{head}");
        assert!(answer.close, "{head}");
    }
    let fits = site.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    assert_eq!(fits.status, 204);
    let lines = site.lines().join("\n");
    assert!(
        lines.contains("client intended to send too large body: 11 bytes"),
        "{lines}"
    );
}

#[test]
fn limit_except_changes_the_settings() {
    let mut site = Site::new(
        r#"
        server { listen 80;
            location / {
                add_header X-In all;
                limit_except GET { }
                return 200 got;
            }
        }
        "#,
    );
    assert_eq!(site.get("/").body, "got");
    assert_eq!(site.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    assert_eq!(site.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
}

#[test]
fn internal_locations_are_hidden() {
    let mut site = Site::new(
        r#"
        server { listen 80;
            location /in { internal; return 200 in; }
            location /go { rewrite ^ /in last; }
            location /page { error_page 404 =200 /in; return 404; }
        }
        "#,
    );
    assert_eq!(site.get("/in").status, 404);
    assert_eq!(site.get("/go").body, "in");
    assert_eq!(site.get("/page").body, "in");
}

#[test]
fn bad_heads_are_described() {
    let mut site = Site::new("error_log %%ROOT%%/info.log info; server { listen 80; }");
    for (head, want) in [
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
            "client sent invalid header line: \"X\\x20...\"",
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "client sent HTTP/1.1 request without \"Host\" header",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "client sent duplicate host header: \"Host: b\"",
        ),
    ] {
        assert_eq!(site.send(head).status, 400, "{head}");
        let lines = site.lines().concat();
        assert!(lines.contains(want), "{want} in {lines}");
    }
}

#[test]
fn whatever_was_read_of_a_bad_head_can_be_logged() {
    let mut site = Site::new(
        r#"
        log_format all '$request $host $http_host $http_x $http_y $uri $args $request_uri $request_length $cookie_a $http_user_agent';
        server { listen 80; access_log %%ROOT%%/all.log all; }
        "#,
    );
    let fields = [
        "Host: a b",
        "Host: a/b",
        "Host: a\r\nHost: b",
        "Host: [::1",
        "Host: a\r\nX: 1\r\nY Z: 2",
        "Host: a\r\n: 1",
        "X: 1\r\nHost: a\r\nContent-Length: x",
        "Host: a\r\nContent-Length: 1\r\nContent-Length: 1",
        "Host: a\r\nTransfer-Encoding: x",
        "Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1",
        "X: 1",
        "Host: a\r\nX: a\rb",
        "Host: a\r\nX: \u{0}",
    ];
    for line in [
        "GET /x?y HTTP/1.1",
        "GET http://h/x HTTP/1.1",
        "GET http://h_/x HTTP/1.0",
        "G@T / HTTP/1.1",
        "GET / HTTP/9.1",
    ] {
        for field in fields {
            let answer = site.send(&format!("{line}\r\n{field}\r\nCookie: a=b\r\n\r\n"));
            assert!(
                answer.status >= 400 || answer.status == 0,
                "{line} {field}: {}",
                answer.status
            );
            assert_eq!(site.lines().len(), 1, "{line} {field}");
        }
    }
}
