//! Which server and which location take a request, on which listeners.

use crate::support::{Client, Config, Origin, Proxy};

/// The body that a request with `Host: host` gets.
#[track_caller]
fn named(proxy: &Proxy, host: &str) -> String {
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.response().text().to_owned()
}

#[test]
fn server_names_in_their_order() {
    let proxy = Config::http(
        "server { listen %%ADDR_0%%; server_name first.example; return 200 first; }
         server { listen %%ADDR_0%%; server_name exact.example.org; return 200 exact; }
         server { listen %%ADDR_0%%; server_name *.example.org; return 200 suffix; }
         server { listen %%ADDR_0%%; server_name *.deep.example.org; return 200 deeper; }
         server { listen %%ADDR_0%%; server_name www.*; return 200 prefix; }
         server { listen %%ADDR_0%%; server_name ~^(?<user>\\w+)\\.users\\.net$; return 200 \"user $user\"; }
         server { listen %%ADDR_0%%; server_name ~\\.net$; return 200 net; }
         server { listen %%ADDR_0%%; server_name .both.example; return 200 both; }
         server { listen %%ADDR_0%%; server_name \"\"; return 200 none; }",
    )
    .start();
    for (host, expected) in [
        ("first.example", "first"),
        ("unknown.example", "first"),
        ("exact.example.org", "exact"),
        ("EXACT.example.ORG", "exact"),
        ("exact.example.org:8080", "exact"),
        ("exact.example.org.", "exact"),
        ("a.example.org", "suffix"),
        ("a.b.example.org", "suffix"),
        ("a.deep.example.org", "deeper"),
        ("www.anything.com", "prefix"),
        ("www.example.org", "suffix"),
        ("ann.users.net", "user ann"),
        ("other.net", "net"),
        ("both.example", "both"),
        ("x.both.example", "both"),
    ] {
        assert_eq!(named(&proxy, host), expected, "{host}");
    }
    let mut client = proxy.client();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "none");
    let mut client = proxy.client();
    client.send("GET http://exact.example.org/ HTTP/1.1\r\nHost: other.net\r\n\r\n");
    assert_eq!(client.response().text(), "exact", "the target's host wins");
}

#[test]
fn default_server_takes_unknown_names() {
    let proxy = Config::http(
        "server { listen %%ADDR_0%%; server_name a; return 200 a; }
         server { listen %%ADDR_0%% default_server; server_name b; return 200 b; }
         server { listen %%ADDR_1%%; server_name c; return 200 c; }",
    )
    .start();
    assert_eq!(named(&proxy, "unknown"), "b");
    assert_eq!(named(&proxy, "a"), "a");
    let mut other = Client::tcp(proxy.addr_of(1));
    assert_eq!(
        other.get("/").response().text(),
        "c",
        "each address has its own"
    );
}

#[test]
fn locations_in_their_order() {
    let proxy = Config::server(
        "location / { return 200 root; }
         location = / { return 200 exact-root; }
         location = /exact { return 200 exact; }
         location /long/ { return 200 long; }
         location /long/er/ { return 200 longer; }
         location ^~ /stop/ { return 200 stop; }
         location ~ \\.php$ { return 200 php; }
         location ~* \\.jpe?g$ { return 200 image; }
         location ~ ^/long/special { return 200 special; }
         location ~ (?<word>[a-z]+)-(\\d+)$ { return 200 \"$word $2\"; }
         location /outer/ { location ~ \\.txt$ { return 200 inner-text; } location /outer/in/ { return 200 inner; } return 200 outer; }",
    )
    .start();
    for (target, expected) in [
        ("/", "exact-root"),
        ("/?x", "exact-root"),
        ("/anything", "root"),
        ("/exact", "exact"),
        ("/exactly", "root"),
        ("/long/x", "long"),
        ("/long/er/x", "longer"),
        ("/long/special", "special"),
        ("/long/x.php", "php"),
        ("/stop/x.php", "stop"),
        ("/x.JPEG", "image"),
        ("/x.PHP", "root"),
        ("/item-42", "item 42"),
        ("/outer/x", "outer"),
        ("/outer/in/x", "inner"),
        ("/outer/x.txt", "inner-text"),
        ("//long//x", "long"),
        ("/a/../long/x", "long"),
        ("/%6cong/x", "long"),
        ("/long%2Fx", "long"),
        ("/./stop/./x", "stop"),
    ] {
        assert_eq!(proxy.get(target).text(), expected, "{target}");
    }
}

#[test]
fn slashes_are_merged_unless_told_otherwise() {
    let text = "location /a/b { return 200 merged; } location / { return 200 not; }";
    let proxy = Config::server(text).start();
    assert_eq!(proxy.get("/a//b").text(), "merged");
    drop(proxy);
    let proxy = Config::server(&format!("merge_slashes off; {text}")).start();
    assert_eq!(proxy.get("/a//b").text(), "not");
}

#[test]
fn internal_locations_are_not_for_clients() {
    let proxy = Config::server(
        "location /inside { internal; return 200 secret; }
         location /jump { rewrite ^ /inside last; }
         error_page 404 /inside;
         location /missing { return 404; }",
    )
    .start();
    let direct = proxy.get("/inside");
    assert_eq!(direct.status(), 404);
    assert_eq!(proxy.get("/jump").text(), "secret");
}

#[test]
fn a_protected_path_has_one_spelling() {
    let origin = Origin::text("x");
    let proxy = Config::server(
        "location / { proxy_pass http://%%origin%%; }
         location /admin { return 403; }",
    )
    .set("origin", origin.addr())
    .start();
    for target in [
        "/admin",
        "/admin/x",
        "/%61dmin",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..%2fadmin",
        "/%2Fadmin",
        "/admin%2Fx",
    ] {
        assert_eq!(proxy.get(target).status(), 403, "{target}");
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn a_unix_listener_serves() {
    let proxy = Config::http("server { listen unix:%%DIR%%/front.sock; listen %%ADDR_0%%; return 200 \"[$remote_addr] $server_port\"; }").start();
    let mut client = Client::unix(&proxy.path("front.sock"));
    let response = client.get("/").response();
    assert!(
        response.text().starts_with("[unix:]"),
        "{}",
        response.text()
    );
    assert!(proxy.get("/").text().starts_with("[127.0.0.1]"));
    let path = proxy.path("front.sock");
    drop(client);
    drop(proxy);
    assert!(!path.exists(), "the socket file goes with the server");
}

#[test]
fn ipv6_and_several_listeners_serve() {
    let proxy = Config::http(
        "server { listen [::1]:%%PORT_1%%; listen %%ADDR_0%%; return 200 \"$server_addr $remote_addr\"; }",
    )
    .start();
    assert_eq!(proxy.get("/").text(), "127.0.0.1 127.0.0.1");
    let port = proxy.addr_of(1).port();
    if let Ok(addr) = format!("[::1]:{port}").parse()
        && std::net::TcpStream::connect::<std::net::SocketAddr>(addr).is_ok()
    {
        assert_eq!(Client::tcp(addr).get("/").response().text(), "::1 ::1");
    }
}

#[test]
fn proxy_protocol_tells_the_client() {
    let text = "server { listen %%ADDR_0%% proxy_protocol; return 200 \"$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port $remote_addr\"; }";
    let proxy = Config::http(text).may_log("broken header").start();
    let ask = |preface: &[u8]| {
        let mut client = proxy.client();
        client.send(preface);
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.response().text().to_owned()
    };
    assert_eq!(
        ask(b"PROXY TCP4 192.0.2.7 198.51.100.9 4321 443\r\n"),
        "192.0.2.7:4321 198.51.100.9:443 127.0.0.1"
    );
    assert_eq!(
        ask(b"PROXY TCP6 2001:db8::1 2001:db8::2 4321 443\r\n"),
        "2001:db8::1:4321 2001:db8::2:443 127.0.0.1"
    );
    assert_eq!(ask(b"PROXY UNKNOWN\r\n"), ": : 127.0.0.1");
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    second.extend_from_slice(&[192, 0, 2, 7, 198, 51, 100, 9, 0x10, 0xe1, 0x01, 0xbb]);
    assert_eq!(ask(&second), "192.0.2.7:4321 198.51.100.9:443 127.0.0.1");
    for broken in [
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".as_slice(),
        b"PROXY TCP4 x y\r\n",
    ] {
        let mut client = proxy.client();
        client.try_send(broken);
        client.expect_close();
    }
}

#[test]
fn the_servers_own_pages_look_as_known() {
    let proxy = Config::server(
        "location / { return 404; } location /off { server_tokens off; return 403; }",
    )
    .start();
    let page = proxy.get("/");
    assert_eq!(page.field("content-type"), Some("text/html"));
    assert!(page.text().starts_with("<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n<hr><center>"));
    assert!(page.text().ends_with("</center>\r\n</body>\r\n</html>\r\n"));
    let server = page.field("server").unwrap().to_owned();
    assert!(page.text().contains(&server));
    let bare = proxy.get("/off");
    assert!(!bare.field("server").unwrap().contains('/'));
}

#[test]
fn the_status_page_counts() {
    let proxy =
        Config::server("location /status { stub_status; } location / { return 200 x; }").start();
    proxy.get("/");
    let page = proxy.get("/status");
    let text = page.text();
    assert!(text.starts_with("Active connections: "), "{text}");
    assert!(
        text.contains("server accepts handled requests\n "),
        "{text}"
    );
    assert!(text.contains("Reading: 0 Writing: 1 Waiting: "), "{text}");
}

#[test]
fn an_empty_gif_is_43_bytes() {
    let proxy = Config::server("location / { empty_gif; }").start();
    let gif = proxy.get("/");
    assert_eq!(gif.field("content-type"), Some("image/gif"));
    assert_eq!((gif.body.len(), &gif.body[..6]), (43, b"GIF89a".as_slice()));
}
