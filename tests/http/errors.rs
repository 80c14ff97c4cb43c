//! Built-in pages and `error_page`.

use super::Site;

#[test]
fn the_built_in_page() {
    let mut site = Site::new(
        "server { listen 80; location /off { server_tokens off; return 503; } location / { return 404; } }",
    );
    let answer = site.get("/");
    assert_eq!(answer.content_type, "text/html");
    assert_eq!(
        answer.body,
        "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n\
         <hr><center>nginx/1.31.5</center>\r\n</body>\r\n</html>\r\n"
    );
    assert!(site.get("/off").body.contains("<hr><center>nginx</center>"));
    let chrome = "GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: Mozilla/5.0 (like Gecko) Chrome/1 Safari/1\r\n\r\n";
    assert_eq!(
        site.send(chrome)
            .body
            .matches("a padding to disable")
            .count(),
        6
    );
}

#[test]
fn statuses_without_a_page() {
    let mut site =
        Site::new("server { listen 80; location /a { return 418; } location /b { return 599; } }");
    for target in ["/a", "/b"] {
        let answer = site.get(target);
        assert_eq!(
            (answer.body.as_str(), answer.content_type.as_str()),
            ("", ""),
            "{target}"
        );
    }
}

#[test]
fn pages() {
    let mut site = Site::new(
        r#"
        server { listen 80;
            error_page 404 /not-found;
            error_page 403 =200 /ok;
            error_page 405 = /decide;
            error_page 406 @named;
            error_page 407 https://b.test/login;
            error_page 409 =301 /moved$uri;
            error_page 410 =307 https://b.test/gone;
            error_page 411 /with?args=$status;
            error_page 412 /missing;
            location /not-found { return 200 "page $uri $request_uri"; }
            location /ok { return 200 ok; }
            location /decide { return 202 decided; }
            location @named { return 200 "named $uri"; }
            location /moved { return 200 "at $uri"; }
            location /with { return 200 "$args"; }
            location ~ ^/(?<code>4\d\d)$ { if ($code = 403) { return 403; } if ($code = 405) { return 405; }
                if ($code = 406) { return 406; } if ($code = 407) { return 407; }
                if ($code = 409) { return 409; } if ($code = 410) { return 410; }
                if ($code = 411) { return 411; } if ($code = 412) { return 412; } return 404; }
            location /missing { return 404; }
        }
        "#,
    );
    for (target, status, body) in [
        ("/404", 404, "page /not-found /404"),
        ("/403", 200, "ok"),
        ("/405", 202, "decided"),
        ("/406", 406, "named /406"),
        ("/409", 301, "at /moved/409"),
        ("/411", 411, "args=411"),
    ] {
        let answer = site.get(target);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, body),
            "{target}"
        );
    }
    for (target, status, location) in [
        ("/407", 302, "https://b.test/login"),
        ("/410", 307, "https://b.test/gone"),
    ] {
        let answer = site.get(target);
        assert_eq!(
            (answer.status, answer.location.as_str()),
            (status, location),
            "{target}"
        );
    }
    // The page itself fails: its own error is not looked up again.
    let answer = site.get("/412");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("404 Not Found"));
}

#[test]
fn recursive_pages_and_cycles() {
    let mut site = Site::new(
        r#"
        server { listen 80; recursive_error_pages on;
            error_page 404 /second;
            error_page 403 /third;
            location / { return 404; }
            location /second { return 403; }
            location /third { return 200 third; }
        }
        server { listen 80; server_name loop; recursive_error_pages on;
            error_page 404 /again;
            location / { return 404; }
        }
        server { listen 80; server_name lost; error_page 404 @nowhere; return 404; }
        "#
        .replace(
            "server { listen 80; server_name lost; error_page 404 @nowhere; return 404; }",
            "",
        )
        .as_str(),
    );
    let answer = site.get("/");
    assert_eq!((answer.status, answer.body.as_str()), (403, "third"));
    let answer = site.send("GET / HTTP/1.1\r\nHost: loop\r\n\r\n");
    assert_eq!(answer.status, 500);
    assert!(
        site.lines()
            .join("\n")
            .contains("cycle while internally redirecting to \"/again\"")
    );
}

#[test]
fn error_pages_are_fetched_with_get() {
    let mut site = Site::new(
        r#"
        server { listen 80; error_page 404 /page; error_page 400 /bad;
            location / { return 404; }
            location /page { return 200 "$request_method $request"; }
            location /bad { return 200 "bad $request_method"; }
        }
        "#,
    );
    let answer = site.send("POST /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (404, "GET POST /x HTTP/1.1")
    );
    let head = site.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(head.body, "HEAD HEAD /x HTTP/1.1");
    let bad = site.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!((bad.status, bad.body.as_str()), (400, "bad GET"));
}
