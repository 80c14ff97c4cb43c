//! `set`, `if`, `rewrite`, `return`, `break`.

use super::Site;

#[test]
fn flags_and_arguments() {
    let mut site = Site::new(
        r#"
        server { listen 80;
            location /show { return 200 "$uri?$args"; }
            location /last { rewrite ^/last(.*)$ /show$1 last; return 200 not-here; }
            location /args { rewrite ^ /show?x=1 last; }
            location /drop { rewrite ^ /show? last; }
            location /both { rewrite ^ /show?x=1? last; }
            location /stay { rewrite ^/stay(.*)$ /new$1 break; return 200 "not-here"; }
            location /chain { rewrite ^ /one; rewrite ^/one$ /show/two last; }
            location /302 { rewrite ^ /other redirect; }
            location /301 { rewrite ^ /other?a=b permanent; }
            location /abs { rewrite ^/abs(.*)$ https://b.test$1; }
            location /scheme { rewrite ^ $scheme://b.test/; }
            location /loop { rewrite ^ /loop last; }
            location /empty { rewrite ^ "" ; }
        }
        "#
        .replace(r#"location /empty { rewrite ^ "" ; }"#, "")
        .as_str(),
    );
    for (target, want) in [
        ("/last/a?q", "/show/a?q"),
        ("/args?q=2", "/show?x=1&q=2"),
        ("/args", "/show?x=1"),
        ("/drop?q=2", "/show?"),
        ("/both?q=2", "/show?x=1"),
        ("/chain?q", "/show/two?q"),
    ] {
        assert_eq!(site.get(target).body, want, "{target}");
    }
    for (target, status, want) in [
        ("/302?q", 302, "http://a.test/other?q"),
        ("/301?q", 301, "http://a.test/other?a=b&q"),
        ("/abs/x?q", 302, "https://b.test/x?q"),
        ("/scheme", 302, "http://b.test/"),
    ] {
        let answer = site.get(target);
        assert_eq!(
            (answer.status, answer.location.as_str()),
            (status, want),
            "{target}"
        );
    }
    assert_eq!(site.get("/stay/x").status, 404);
    site.lines();
    assert_eq!(site.get("/loop").status, 500);
    let lines = site.lines().join("\n");
    assert!(
        lines.contains("rewrite or internal redirection cycle while processing \"/loop\""),
        "{lines}"
    );
}

#[test]
fn captures_of_escaped_uris_are_escaped_again() {
    let mut site = Site::new(
        r#"
        server { listen 80;
            location /args/ { rewrite ^/args/(.*)$ /show?c=$1 last; }
            location /uri/ { rewrite ^/uri/(.*)$ /show/$1 last; }
            location /out/ { rewrite ^/out/(.*)$ /to/$1 redirect; }
            location /q/ { rewrite ^/q/(.*)$ /to?u=$1 redirect; }
            location /set/ { if ($uri ~ ^/set/(.*)$) { set $x $1; } return 200 $x; }
            location /show { return 200 "$uri?$args"; }
        }
        "#,
    );
    for (target, want) in [
        ("/args/a%20b%26", "/show?c=a%20b%26"),
        ("/args/plain", "/show?c=plain"),
        ("/args/a+b", "/show?c=a%2Bb"),
        ("/uri/a%20b", "/show/a b?"),
        ("/set/a%20b", "a%20b"),
        ("/set/ab", "ab"),
    ] {
        assert_eq!(site.get(target).body, want, "{target}");
    }
    for (target, want) in [
        ("/out/a%20b", "http://a.test/to/a%20b"),
        ("/q/a%20b", "http://a.test/to?u=a%20b"),
    ] {
        assert_eq!(site.get(target).location, want, "{target}");
    }
}

#[test]
fn conditions() {
    let mut site = Site::new(
        r#"
        server { listen 80;
            location / {
                set $r "";
                if ($arg_a) { set $r "${r}t"; }
                if ($arg_a = b) { set $r "${r}="; }
                if ($arg_a != b) { set $r "${r}!"; }
                if ($arg_a ~ ^B) { set $r "${r}~"; }
                if ($arg_a ~* ^B) { set $r "${r}*"; }
                if ($arg_a !~ ^B) { set $r "${r}n"; }
                if ($arg_a !~* ^B) { set $r "${r}N"; }
                if (-f %%ROOT%%/there) { set $r "${r}f"; }
                if (!-e %%ROOT%%/absent) { set $r "${r}e"; }
                if (-d %%ROOT%%) { set $r "${r}d"; }
                if (-x %%ROOT%%/there) { set $r "${r}x"; }
                return 200 $r;
            }
        }
        "#,
    );
    site.write("there", "x");
    for (target, want) in [
        ("/", "!nNfed"),
        ("/?a=0", "!nNfed"),
        ("/?a=b", "t=*nfed"),
        ("/?a=Bx", "t!~*fed"),
    ] {
        assert_eq!(site.get(target).body, want, "{target}");
    }
}

#[test]
fn an_if_is_a_location() {
    let mut site = Site::new(
        r#"
        server { listen 80; add_header X-Server s;
            location / {
                add_header X-Location l;
                if ($request_method = OPTIONS) {
                    add_header X-If i;
                    add_header Content-Length 0;
                    return 204;
                }
                if ($arg_b) { break; }
                return 200 end;
            }
        }
        "#,
    );
    let answer = site.send("OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 204);
    let names: Vec<_> = answer
        .fields
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["X-If", "Content-Length"]);
    assert_eq!(site.get("/").field("X-Location"), "l");
    assert_eq!(site.get("/?b=1").status, 404);
}

#[test]
fn returns() {
    let mut site = Site::new(
        r#"
        server { listen 80; default_type text/x;
            location /text { return 200 "t $arg_a"; }
            location /402 { return 402 pay; }
            location /404 { return 404; }
            location /204 { return 204; }
            location /url { return https://b.test/?u=$uri; }
            location /308 { return 308 /moved; }
            location /444 { return 444; }
            location /script { return 200 ok; }
        }
        server { listen 80; server_name early; return 301 https://$host$request_uri; }
        "#,
    );
    let answer = site.get("/text?a=1");
    assert_eq!(
        (
            answer.status,
            answer.content_type.as_str(),
            answer.body.as_str()
        ),
        (200, "text/x", "t 1")
    );
    assert_eq!(site.get("/402").body, "pay");
    assert!(site.get("/404").body.contains("404 Not Found"));
    let empty = site.get("/204");
    assert_eq!((empty.status, empty.content_type.as_str()), (204, ""));
    let url = site.get("/url");
    assert_eq!(
        (url.status, url.location.as_str()),
        (302, "https://b.test/?u=/url")
    );
    assert_eq!(site.get("/308").location, "http://a.test/moved");
    assert_eq!(site.get("/444").status, 0);
    let early = site.send("GET /a%20b?c HTTP/1.1\r\nHost: Early\r\n\r\n");
    assert_eq!(early.location, "https://early/a%20b?c");
}

#[test]
fn the_log_tells_each_step() {
    let mut site = Site::new(
        r#"
        server { listen 80; rewrite_log on;
            location /a { rewrite ^/a(.*)$ /b$1?x last; }
            location /b { return 204; }
        }
        "#,
    );
    site.get("/a1");
    let lines = site.lines().join("\n");
    for want in [
        "\"^/a(.*)$\" matches \"/a1\", client: 192.0.2.1, server: , request: \"GET /a1 HTTP/1.1\", host: \"a.test\"",
        "rewritten data: \"/b1\", args: \"x\"",
    ] {
        assert!(lines.contains(want), "{want} in {lines}");
    }
}

#[test]
fn settable_builtins() {
    let mut site = Site::new(
        r#"
        server { listen 80;
            location /args { set $args "new=$arg_old"; return 200 "$args $query_string $is_args"; }
            location /rate { set $limit_rate 4k; return 200 $limit_rate; }
            location /unset { return 200 "[$never]"; if ($arg_q) { set $never 1; } }
        }
        "#,
    );
    assert_eq!(site.get("/args?old=1").body, "new=1 new=1 ?");
    assert_eq!(site.get("/rate").body, "4096");
    assert_eq!(site.get("/unset").body, "[]");
    assert!(
        site.lines()
            .join("\n")
            .contains("using uninitialized \"never\" variable")
    );
}
