//! Variables, maps, geo and split_clients.

use super::Site;

#[test]
fn builtins() {
    let mut site = Site::new("server { listen 80; server_name s.test; location / { return 200 \"$VAR\"; } }".replace(
        "$VAR",
        "$host|$request_uri|$uri|$args|$is_args|$request_method|$server_protocol|$scheme|$remote_addr|$remote_port|\
         $server_addr|$server_port|$server_name|$http_x_a|$http_cookie|$cookie_b|$arg_c|$proxy_add_x_forwarded_for|\
         $remote_user|$hostname|$connection|$connection_requests|$content_length|$content_type|$request|$nginx_version|$pipe",
    ).as_str());
    let answer = site.send(
        "POST /a%20b?c=%31&d HTTP/1.1\r\nHost: S.test:80\r\nX-A: 1\r\nX-a: 2\r\nCookie: a=1; b=2\r\nCookie: e=3\r\n\
         X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nAuthorization: Basic dXNlcjpwdw==\r\n\
         Content-Length: 5\r\nContent-Type: t/x\r\n\r\n",
    );
    assert_eq!(
        answer.body,
        "s.test|/a%20b?c=%31&d|/a b|c=%31&d|?|POST|HTTP/1.1|http|192.0.2.1|4000|127.0.0.1|80|s.test|1, 2|a=1; b=2; e=3|2|\
         %31|10.0.0.1, 10.0.0.2, 192.0.2.1|user|box|7|3|5|t/x|POST /a%20b?c=%31&d HTTP/1.1|1.31.5|."
    );
}

#[test]
fn request_ids_are_kept() {
    let mut site =
        Site::new("server { listen 80; location / { return 200 \"$request_id $request_id\"; } }");
    let body = site.get("/").body;
    let (a, b) = body.split_once(' ').unwrap();
    assert_eq!(a, b);
    assert!(a.len() == 32 && a.bytes().all(|c| c.is_ascii_hexdigit()));
    assert_ne!(site.get("/").body, body);
}

#[test]
fn maps() {
    let mut site = Site::new(
        r#"
        map $arg_a $m { default none; x one; "" empty; ~^r(?<rest>.*)$ "re $rest $1"; ~*^Q$ q; }
        map $arg_h $h { hostnames; default d; *.wild.test w; .both.test b; }
        map $uri $once { ~/(.*) $1; }
        map $uri $again { volatile; ~/(.*) $1; }
        map $a $b { default "b$a"; }
        map $arg_z $a { default "a"; }
        server { listen 80;
            location /m { return 200 $m; }
            location /h { return 200 $h; }
            location /n { return 200 $b; }
            location /cache { set $x "$once $again"; rewrite ^ /later last; }
            location /later { return 200 "$x, $once $again"; }
        }
        "#,
    );
    for (target, want) in [
        ("/m?a=X", "one"),
        ("/m", "empty"),
        ("/m?a=y", "none"),
        ("/m?a=rest", "re est est"),
        ("/m?a=q", "q"),
        ("/h?h=a.wild.test", "w"),
        ("/h?h=both.test", "b"),
        ("/h?h=x", "d"),
        ("/n", "ba"),
        ("/cache", "cache cache, cache later"),
    ] {
        assert_eq!(site.get(target).body, want, "{target}");
    }
}

#[test]
fn geo_and_splits() {
    let mut site = Site::new(
        r#"
        geo $g { default d; 192.0.2.0/24 net; 192.0.2.1 host; }
        geo $arg_ip $by { default d; 10.0.0.0/8 ten; }
        geo $p { proxy 192.0.2.0/24; default d; 10.0.0.0/8 ten; }
        split_clients $arg_k $s { 100% all; }
        server { listen 80; location / { return 200 "$g $by $p $s"; } }
        "#,
    );
    let answer =
        site.send("GET /?ip=10.1.1.1&k=1 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.2.2.2\r\n\r\n");
    assert_eq!(answer.body, "host ten ten all");
    assert_eq!(site.get("/?ip=nonsense").body, "host d d all");
}

#[test]
fn cycles_end() {
    let mut site = Site::new(
        r#"
        map $b $a { default "$b"; }
        map $a $b { default "$a"; }
        server { listen 80; location / { return 200 "[$a]"; } }
        "#,
    );
    assert_eq!(site.get("/").body, "[]");
    assert!(
        site.lines()
            .join("\n")
            .contains("cycle while evaluating variable")
    );
}
