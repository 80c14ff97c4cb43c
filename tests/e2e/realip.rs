//! The client's address as a trusted peer names it, and nobody else.

use std::fmt::Write as _;

use crate::support::client::get_with;
use crate::support::{Client, Config, Origin, Proxy};

/// Who the proxy takes the client for.
const SHOW: &str = "return 200 \"$remote_addr $remote_port $realip_remote_addr\";";

fn with(settings: &str) -> Config {
    Config::server(&format!("{settings} {SHOW}"))
}

/// `$remote_addr` and `$remote_port` of a request with these fields.
fn seen(proxy: &Proxy, fields: &str) -> (String, String) {
    let answer = get_with(proxy.addr(), "/", fields);
    let mut words = answer.text().split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let found = (word(), word());
    assert_eq!(word(), "127.0.0.1");
    found
}

#[test]
fn only_a_trusted_peer_is_believed() {
    for (settings, fields, expected) in [
        ("", "X-Real-IP: 192.0.2.1\r\n", "127.0.0.1"),
        (
            "set_real_ip_from 10.0.0.0/8;",
            "X-Real-IP: 192.0.2.1\r\n",
            "127.0.0.1",
        ),
        (
            "set_real_ip_from unix:;",
            "X-Real-IP: 192.0.2.1\r\n",
            "127.0.0.1",
        ),
        (
            "set_real_ip_from ::/0;",
            "X-Real-IP: 192.0.2.1\r\n",
            "127.0.0.1",
        ),
        (
            "set_real_ip_from 127.0.0.0/8;",
            "X-Real-IP: 192.0.2.1\r\n",
            "192.0.2.1",
        ),
        (
            "set_real_ip_from localhost;",
            "X-Real-IP: 192.0.2.1\r\n",
            "192.0.2.1",
        ),
        (
            "set_real_ip_from 127.0.0.1;",
            "x-real-ip: 2001:db8::1\r\n",
            "2001:db8::1",
        ),
        (
            "set_real_ip_from 127.0.0.1;",
            "X-Forwarded-For: 192.0.2.1\r\n",
            "127.0.0.1",
        ),
        (
            "set_real_ip_from 127.0.0.1; real_ip_header X-Client;",
            "x-client: 192.0.2.1\r\nX-Client: 192.0.2.2\r\n",
            "192.0.2.1",
        ),
        (
            "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;",
            "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n",
            "192.0.2.2",
        ),
        (
            "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;",
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n",
            "192.0.2.2",
        ),
        (
            "set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;",
            "X-Real-IP: 192.0.2.1\r\n",
            "127.0.0.1",
        ),
    ] {
        let proxy = with(settings).start();
        assert_eq!(seen(&proxy, fields).0, expected, "{settings} {fields}");
    }
}

#[test]
fn a_list_is_followed_back_to_the_first_stranger() {
    let proxy = with(
        "set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; set_real_ip_from 2001:db8::/32;
         real_ip_header X-Forwarded-For; real_ip_recursive on;",
    )
    .start();
    for (lines, expected) in [
        (&["192.0.2.1"][..], "192.0.2.1"),
        (&["192.0.2.1, 10.0.0.1"], "192.0.2.1"),
        (&["192.0.2.9, 192.0.2.1, 10.0.0.1, 10.0.0.2"], "192.0.2.1"),
        (&["192.0.2.1", "10.0.0.1"], "192.0.2.1"),
        (&["10.0.0.9, 10.0.0.1"], "10.0.0.9"),
        (&["192.0.2.1, 2001:db8::1"], "192.0.2.1"),
        (&["192.0.2.1,[2001:db8::1]:443 , 10.0.0.1:80"], "192.0.2.1"),
        (&["10.1.1.1, garbage, 10.0.0.1"], "10.0.0.1"),
        (&["garbage"], "127.0.0.1"),
        (&["192.0.2.1, garbage"], "127.0.0.1"),
    ] {
        let fields: String = lines.iter().fold(String::new(), |mut all, line| {
            let _ = write!(all, "X-Forwarded-For: {line}\r\n");
            all
        });
        assert_eq!(seen(&proxy, &fields).0, expected, "{lines:?}");
    }
}

#[test]
fn hostile_lists_change_nothing() {
    let proxy = with(
        "large_client_header_buffers 4 64k; client_header_buffer_size 64k;
         set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For; real_ip_recursive on;",
    )
    .start();
    let bomb = "10.0.0.1,".repeat(6000);
    for (value, expected) in [
        (&bomb[..bomb.len() - 1], "10.0.0.1"),
        (&bomb[..], "10.0.0.1"),
        (&",".repeat(50_000), "127.0.0.1"),
        (&" , ".repeat(10_000), "127.0.0.1"),
        (&"1".repeat(50_000), "127.0.0.1"),
        (&"[".repeat(50_000), "127.0.0.1"),
        (&":".repeat(50_000), "127.0.0.1"),
        (&"192.0.2.1 ".repeat(5000), "192.0.2.1"),
        ("", "127.0.0.1"),
        ("192.0.2.1:0", "127.0.0.1"),
        ("192.0.2.1:99999", "127.0.0.1"),
        ("192.0.2.1:80:90", "127.0.0.1"),
        ("[2001:db8::1", "127.0.0.1"),
        ("2001:db8::1]", "127.0.0.1"),
        ("[192.0.2.1]x", "127.0.0.1"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("fe80::1%eth0", "127.0.0.1"),
        ("255.255.255.255", "127.0.0.1"),
        ("unix:", "127.0.0.1"),
        ("_hidden, unknown", "127.0.0.1"),
        ("\"192.0.2.1\"", "127.0.0.1"),
        ("192.0.2.1;drop", "127.0.0.1"),
        ("\u{ff11}92.0.2.1", "127.0.0.1"),
    ] {
        let fields = format!("X-Forwarded-For: {value}\r\n");
        let found = seen(&proxy, &fields).0;
        assert_eq!(found, expected, "{}", &value[..value.len().min(40)]);
    }
}

#[test]
fn the_port_goes_with_the_address() {
    let proxy = with("set_real_ip_from 127.0.0.1;").start();
    for (value, expected) in [
        ("192.0.2.1:1234", ("192.0.2.1", "1234")),
        ("192.0.2.1", ("192.0.2.1", "")),
        ("[2001:db8::1]:65535", ("2001:db8::1", "65535")),
    ] {
        let (addr, port) = seen(&proxy, &format!("X-Real-IP: {value}\r\n"));
        assert_eq!((&addr[..], &port[..]), expected, "{value}");
    }
}

#[test]
fn each_request_of_a_connection_is_somebody_elses() {
    let proxy = with("set_real_ip_from 127.0.0.1;").start();
    let mut client = proxy.client();
    let mut ask = |fields: &str| {
        let answer = client.request("GET", "/", fields).response();
        answer
            .text()
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(ask("X-Real-IP: 192.0.2.1\r\n"), "192.0.2.1");
    assert_eq!(ask(""), "127.0.0.1");
    assert_eq!(ask("X-Real-IP: 192.0.2.2\r\n"), "192.0.2.2");
}

#[test]
fn everything_goes_by_the_real_address() {
    let origin = Origin::text("in");
    let proxy = Config::http(
        "log_format who '$remote_addr $binary_remote_addr $realip_remote_addr $who';
         geo $who { default stranger; 192.0.2.0/24 known; }
         server { listen %%ADDR_0%%; access_log %%DIR%%/access.log who;
            set_real_ip_from 127.0.0.1;
            location / { allow 192.0.2.0/24; deny all; proxy_pass http://%%origin%%;
               proxy_set_header X-Real-IP $remote_addr; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }
            location /page { error_page 404 /other; return 404; }
            location /other { return 200 $remote_addr; }
         }",
    )
    .set("origin", origin.addr())
    .logs("access forbidden by rule, client: 198.51.100.1, server: ")
    .logs("access forbidden by rule, client: 127.0.0.1, server: ")
    .start();
    let ask = |target: &str, addr: &str| {
        let fields = format!("X-Real-IP: {addr}\r\nX-Forwarded-For: 203.0.113.1\r\n");
        get_with(proxy.addr(), target, &fields)
    };
    assert_eq!(ask("/", "192.0.2.7").status(), 200);
    let request = origin.request();
    assert_eq!(request.field("x-real-ip"), Some("192.0.2.7"));
    assert_eq!(
        request.field("x-forwarded-for"),
        Some("203.0.113.1, 192.0.2.7")
    );
    assert_eq!(ask("/", "198.51.100.1").status(), 403);
    assert_eq!(ask("/page", "192.0.2.8").text(), "192.0.2.8");
    assert_eq!(proxy.get("/").status(), 403);
    proxy.wait_log(
        "access.log",
        "192.0.2.7 \\xC0\\x00\\x02\\x07 127.0.0.1 known\n",
    );
    proxy.wait_log("access.log", "198.51.100.1 ");
    proxy.wait_log(
        "access.log",
        "127.0.0.1 \\x7F\\x00\\x00\\x01 127.0.0.1 stranger\n",
    );
}

#[test]
fn a_location_has_settings_of_its_own() {
    let proxy = Config::server(
        "root %%DIR%%/html;
         location /plain { add_header X-Addr $remote_addr; }
         location /mine { set_real_ip_from 127.0.0.1; real_ip_header X-Mine; add_header X-Addr $remote_addr; allow 192.0.2.1; deny all; }
         location /too-late { set_real_ip_from 127.0.0.1; return 200 $remote_addr; }",
    )
    .file("html/plain", "in")
    .file("html/mine", "in")
    .logs("access forbidden by rule, client: 192.0.2.2")
    .start();
    let ask = |target: &str, addr: &str| {
        let fields = format!("X-Real-IP: {addr}\r\nX-Mine: {addr}\r\n");
        get_with(proxy.addr(), target, &fields)
    };
    assert_eq!(
        ask("/plain", "192.0.2.1").field("x-addr"),
        Some("127.0.0.1")
    );
    assert_eq!(ask("/mine", "192.0.2.1").field("x-addr"), Some("192.0.2.1"));
    assert_eq!(ask("/mine", "192.0.2.2").status(), 403);
    // As in nginx: the rewrite stage comes before.
    assert_eq!(ask("/too-late", "192.0.2.1").text(), "127.0.0.1");
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let proxy = Config::http(&format!(
        "server {{ listen %%ADDR_0%% proxy_protocol; real_ip_header proxy_protocol; set_real_ip_from 127.0.0.1; {SHOW} }}
         server {{ listen %%ADDR_1%% proxy_protocol; real_ip_header proxy_protocol; set_real_ip_from 10.0.0.1; {SHOW} }}"
    ))
    .start();
    let ask = |n: usize, head: &str| {
        let mut client = Client::tcp(proxy.addr_of(n));
        client.send(head);
        client.get("/").response().text().to_owned()
    };
    let named = "PROXY TCP4 192.0.2.1 192.0.2.2 4321 80\r\n";
    assert_eq!(ask(0, named), "192.0.2.1 4321 127.0.0.1");
    let unknown = ask(0, "PROXY UNKNOWN\r\n");
    assert!(
        unknown.starts_with("127.0.0.1 ") && unknown.ends_with(" 127.0.0.1"),
        "{unknown}"
    );
    assert!(ask(1, named).starts_with("127.0.0.1 "));
}

#[test]
fn clients_of_a_unix_socket_may_be_trusted() {
    let proxy = Config::server(&format!(
        "listen unix:%%DIR%%/socket; set_real_ip_from unix:; real_ip_header X-Forwarded-For; real_ip_recursive on; {SHOW}"
    ))
    .start();
    let mut client = Client::unix(&proxy.path("socket"));
    let answer = client
        .request("GET", "/", "X-Forwarded-For: 192.0.2.9, 192.0.2.1\r\n")
        .response();
    assert_eq!(answer.text(), "192.0.2.1  unix:");
    assert_eq!(
        seen(&proxy, "X-Forwarded-For: 192.0.2.1\r\n").0,
        "127.0.0.1"
    );
}

#[test]
fn what_cannot_be_is_refused_at_load() {
    for (settings, words) in [
        (
            "set_real_ip_from no.such.host.invalid;",
            "host not found in set_real_ip_from \"no.such.host.invalid\"",
        ),
        (
            "set_real_ip_from 10.0.0.0/33;",
            "host not found in set_real_ip_from \"10.0.0.0/33\"",
        ),
        (
            "real_ip_header a; real_ip_header b;",
            "\"real_ip_header\" directive is duplicate",
        ),
        ("real_ip_recursive maybe;", "invalid value \"maybe\""),
        ("deny 10.0.0.0/33;", "invalid parameter \"10.0.0.0/33\""),
    ] {
        let ran = with(settings).test();
        assert_eq!(ran.code(), Some(1), "{settings}");
        assert!(ran.stderr().contains(words), "{settings}: {}", ran.stderr());
    }
}
