//! Access log lines.

use super::Site;

#[test]
fn formats_and_conditions() {
    let mut site = Site::new(
        r#"
        log_format plain '$status $request_method "$http_x" $arg_a $upstream_addr';
        log_format js escape=json '{"a":"$arg_a","n":"$http_none","x":"$http_x"}';
        log_format raw escape=none '$http_x|$http_none|';
        server { listen 80;
            location /a { access_log %%ROOT%%/a.log plain; return 200 x; }
            location /j { access_log %%ROOT%%/a.log js; return 200 x; }
            location /r { access_log %%ROOT%%/a.log raw; return 200 x; }
            location /if { access_log %%ROOT%%/a.log plain if=$arg_a; return 404; }
            location /two { access_log %%ROOT%%/a.log plain; access_log %%ROOT%%/b.log raw; return 444; }
            location /combined { access_log %%ROOT%%/a.log; return 200 x; }
            location /off { access_log off; return 200 x; }
            location /var { access_log %%ROOT%%/$host.log plain; return 200 x; }
        }
        "#,
    );
    let send = |site: &mut Site, target: &str| {
        site.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: a.test\r\nX: \"q\\\u{e9}\r\n\r\n"
        ));
        site.lines()
    };
    for (target, want) in [
        ("/a?a=b", vec!["200 GET \"\\x22q\\x5C\\xC3\\xA9\" b -"]),
        (
            "/j?a=b",
            vec!["{\"a\":\"b\",\"n\":\"\",\"x\":\"\\\"q\\\\\u{e9}\"}"],
        ),
        ("/r", vec!["\"q\\\u{e9}||"]),
        ("/if", vec![]),
        ("/if?a=0", vec![]),
        ("/if?a=1", vec!["404 GET \"\\x22q\\x5C\\xC3\\xA9\" 1 -"]),
        (
            "/two",
            vec!["444 GET \"\\x22q\\x5C\\xC3\\xA9\" - -", "\"q\\\u{e9}||"],
        ),
        ("/off", vec![]),
    ] {
        assert_eq!(send(&mut site, target), want, "{target}");
    }
    let combined = send(&mut site, "/combined").concat();
    assert!(combined.starts_with("192.0.2.1 - - ["), "{combined}");
    assert!(
        combined.ends_with("] \"GET /combined HTTP/1.1\" 200 0 \"-\" \"-\""),
        "{combined}"
    );
    send(&mut site, "/var");
    assert!(site.folder().join("a.test.log").exists());
}

#[test]
fn the_error_log_has_a_context() {
    let mut site = Site::new(
        "server { listen 80; server_name s.test; location / { error_page 404 @x; return 404; } location @x { proxy_pass http://127.0.0.1:1; } root /nonexistent; location /f { } }",
    );
    site.send("GET /f HTTP/1.1\r\nHost: h\r\nReferer: http://r/\r\n\r\n");
    let lines = site.lines().concat();
    assert!(
        lines.contains(
            "*7 open() \"/nonexistent/f\" failed (2: No such file or directory), client: 192.0.2.1, server: s.test, \
             request: \"GET /f HTTP/1.1\", host: \"h\", referrer: \"http://r/\""
        ),
        "{lines}"
    );
}
