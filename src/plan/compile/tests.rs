//! Whole configurations compiled from text, and what a request would meet in them.

use super::testing::from_text;
use crate::config::diag::{Diag, Level};
use crate::plan::location::*;
use crate::plan::regex::Captures;
use crate::plan::script::Op;
use crate::plan::*;
use crate::proto::tokens::Token;

fn plan(http: &str) -> Plan {
    match from_text(&format!("http {{\n{http}\n}}")) {
        Ok((plan, _)) => plan,
        Err(diags) => panic!("{:#?}", diags.iter().map(Diag::classic).collect::<Vec<_>>()),
    }
}

/// The messages of the errors, with their places.
fn errors(http: &str) -> Vec<String> {
    let diags = from_text(&format!("http {{\n{http}\n}}"))
        .err()
        .expect("must be refused");
    diags
        .iter()
        .filter(|d| d.level == Level::Emerg)
        .map(|d| d.classic())
        .collect()
}

/// Name of the location that a URI finds in the first server; `-` without one, `>` on a redirect.
fn found(plan: &Plan, uri: &str) -> String {
    let found = plan.find_location(ServerId(0), uri.as_bytes(), &mut Captures::default());
    let Some(id) = found.location else {
        return "-".to_owned();
    };
    let location = &plan.locations[id];
    let mark = match (found.redirect, location.kind) {
        (true, _) => ">",
        (_, LocationKind::Exact) => "=",
        (_, LocationKind::Regex) => "~",
        _ => "",
    };
    format!("{mark}{}", String::from_utf8_lossy(&location.name))
}

fn proxy<'a>(plan: &'a Plan, uri: &str) -> &'a ProxyPlan {
    let id = plan
        .find_location(ServerId(0), uri.as_bytes(), &mut Captures::default())
        .location;
    match &plan.locations[id.expect(uri)].content {
        Content::Proxy(proxy) => proxy,
        _ => panic!("{uri} is not proxied"),
    }
}

fn text(expr: &expr::Expr) -> String {
    String::from_utf8_lossy(expr.as_literal().expect("a literal")).into_owned()
}

fn host(plan: &Plan, listener: usize, name: &str) -> String {
    let (_, address) = &plan.listeners.as_slice()[listener].hosts.last().unwrap();
    let server = address
        .names
        .find(name.as_bytes(), &mut Captures::default())
        .server;
    String::from_utf8_lossy(&plan.servers[server].name).into_owned()
}

#[test]
fn servers_are_chosen_by_name() {
    let plan = plan(
        "server { listen 80; server_name first.test; }
         server { listen 80 default_server; server_name default.test *.wild.test; }
         server { listen 80; server_name .dot.test www.prefix.* ~^re(?<n>\\d+)\\.test$; }
         server { listen 80; server_name ''; }
         server { listen 81; server_name other.test; }",
    );
    assert_eq!(plan.listeners.len(), 2);
    for (name, server) in [
        ("first.test", "first.test"),
        ("default.test", "default.test"),
        ("a.wild.test", "default.test"),
        ("wild.test", "default.test"),
        ("dot.test", "dot.test"),
        ("x.dot.test", "dot.test"),
        ("www.prefix.org", "dot.test"),
        ("re12.test", "dot.test"),
        ("rex.test", "default.test"),
        ("", ""),
        ("unknown", "default.test"),
    ] {
        assert_eq!(host(&plan, 0, name), server, "{name}");
    }
    assert_eq!(host(&plan, 1, "first.test"), "other.test");
    let slot = plan.slots.iter().position(|slot| slot.name == "n").unwrap();
    let (_, address) = &plan.listeners[ListenerId(0)].hosts[0];
    let mut captures = Captures::default();
    let found = address.names.find(b"re7.test", &mut captures);
    assert_eq!(found.regex.unwrap().0.slots(), [(SlotId(slot as u32), 1)]);
}

#[test]
fn a_wildcard_listener_serves_addresses_of_its_port() {
    let plan = plan(
        "server { listen 80; server_name any.test; }
         server { listen 127.0.0.1:80; server_name local.test; }
         server { listen 127.0.0.2:80 bind; server_name bound.test; }
         server { listen 127.0.0.1:81; server_name alone.test; }
         server { listen [::]:80; server_name six.test; }
         server { listen unix:/run/x.sock; server_name unix.test; }",
    );
    let shape: Vec<(String, usize)> = plan
        .listeners
        .iter()
        .map(|l| (format!("{:?}", l.addr), l.hosts.len()))
        .collect();
    assert_eq!(
        shape,
        [
            ("Tcp(0.0.0.0:80)".to_owned(), 2),
            ("Tcp(127.0.0.2:80)".to_owned(), 1),
            ("Tcp(127.0.0.1:81)".to_owned(), 1),
            ("Tcp([::]:80)".to_owned(), 1),
            ("Unix(\"/run/x.sock\")".to_owned(), 1),
        ]
    );
    let hosts = &plan.listeners[ListenerId(0)].hosts;
    assert_eq!(hosts[0].0, Some("127.0.0.1:80".parse().unwrap()));
    assert!(hosts[1].0.is_none());
}

#[test]
fn conflicting_names_are_warned_about() {
    let (_, diags) = from_text(
        "http { server { listen 80; server_name a.test; } server { listen 80; server_name A.test b.test; } }",
    )
    .unwrap_or_else(|_| panic!("must load"));
    let warnings: Vec<&str> = diags.iter().map(|d| &d.message[..]).collect();
    assert_eq!(
        warnings,
        ["conflicting server name \"a.test\" on 0.0.0.0:80, ignored"]
    );
}

#[test]
fn locations_are_chosen_by_uri() {
    let plan = plan(
        "server {
            location = / { return 204; }
            location / { return 204; }
            location /api/ { proxy_pass http://127.0.0.1; }
            location /files/ { root /srv; }
            location ^~ /static/ { root /srv; }
            location ~ \\.PNG$ { return 204; location ~ ^/nested/ { return 204; } }
            location ~* \\.gif$ { return 204; }
            location @named { return 204; }
            location /outer/ { location /outer/inner/ { return 204; } location ~ \\.txt$ { return 204; } }
        }",
    );
    for (uri, name) in [
        ("/", "=/"),
        ("/x", "/"),
        ("/api", ">/api/"),
        ("/api/x", "/api/"),
        ("/files", "/"),
        ("/static/x.gif", "/static/"),
        ("/x.GIF", "~\\.gif$"),
        ("/x.png", "/"),
        ("/x.PNG", "~\\.PNG$"),
        ("/nested/x.PNG", "~^/nested/"),
        ("/outer/inner/x", "/outer/inner/"),
        ("/outer/inner/x.gif", "~\\.gif$"),
        ("/outer/a.txt", "~\\.txt$"),
        ("/@named", "/"),
    ] {
        assert_eq!(found(&plan, uri), name, "{uri}");
    }
    let named = &plan.servers[ServerId(0)].named;
    assert_eq!(named.len(), 1);
    assert_eq!(&named[0].0[..], b"@named");
}

#[test]
fn uri_rules() {
    let plan = plan(
        "server {
            location /none/ { proxy_pass http://127.0.0.1:8080; }
            location /slash/ { proxy_pass http://127.0.0.1:8080/; }
            location /nos { proxy_pass http://127.0.0.1:8080/; }
            location /deep/ { proxy_pass http://127.0.0.1:8080/a/b?c; }
            location /unix/ { proxy_pass http://unix:/run/app.sock:/base/; }
            location ~ ^/re { proxy_pass http://127.0.0.1:8080; }
            location /var/ { proxy_pass http://$host/x; }
        }",
    );
    let rule = |uri: &str| match &proxy(&plan, uri).uri {
        UriRule::Original => "original".to_owned(),
        UriRule::Replace { with, strip } => format!("{strip} {}", String::from_utf8_lossy(with)),
        UriRule::Dynamic => "dynamic".to_owned(),
    };
    for (uri, expected) in [
        ("/none/", "original"),
        ("/slash/", "7 /"),
        ("/nos", "4 /"),
        ("/deep/", "6 /a/b?c"),
        ("/unix/", "6 /base/"),
        ("/re", "original"),
        ("/var/", "dynamic"),
    ] {
        assert_eq!(rule(uri), expected, "{uri}");
    }
    let unix = proxy(&plan, "/unix/");
    assert_eq!(
        (text(&unix.host), &unix.port[..]),
        ("localhost".to_owned(), &b""[..])
    );
    let plain = proxy(&plan, "/none/");
    assert_eq!(
        (text(&plain.host), &plain.port[..]),
        ("127.0.0.1:8080".to_owned(), &b"8080"[..])
    );
}

#[test]
fn proxy_headers_have_nginx_defaults() {
    let plan = plan(
        "proxy_set_header X-All 1;
         server {
            location /inherits { proxy_pass http://127.0.0.1:80; }
            location /own {
                proxy_pass http://127.0.0.1;
                proxy_set_header X-A $remote_addr;
                proxy_set_header Authorization '';
                proxy_set_header Connection close;
                proxy_set_header Host $host;
                proxy_set_header Content-Length 7;
                proxy_hide_header X-Powered-By;
                proxy_pass_header Server;
            }
        }",
    );
    let names = |proxy: &ProxyPlan| {
        let names = proxy
            .set_headers
            .iter()
            .map(|h| String::from_utf8_lossy(h.start.strip_suffix(b": ").unwrap()).into_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(proxy(&plan, "/inherits")), ["Host", "X-All"]);
    assert_eq!(text(&proxy(&plan, "/inherits").host), "127.0.0.1");
    let own = proxy(&plan, "/own");
    assert_eq!(names(own), ["Host", "X-A", "Connection"]);
    let of = |set: &rules::FieldSet, name: &str| {
        set.contains(Token::of(name.as_bytes()), name.as_bytes())
    };
    for name in [
        "host",
        "TE",
        "upgrade",
        "Authorization",
        "x-a",
        "content-length",
        "Proxy-Connection",
    ] {
        assert!(of(&own.replaced, name), "{name}");
    }
    assert!(!of(&own.replaced, "Cookie"));
    for (name, hidden) in [
        ("Date", true),
        ("Server", false),
        ("x-powered-by", true),
        ("X-Other", false),
    ] {
        assert_eq!(of(&own.hidden, name), hidden, "{name}");
    }
}

#[test]
fn redirects_have_a_default() {
    let plan = plan(
        "server {
            location /a/ { proxy_pass http://127.0.0.1:8080/b/; }
            location /c/ { proxy_pass http://127.0.0.1:8080; }
            location /d/ { proxy_pass http://127.0.0.1:8080; proxy_redirect off; }
            location /e/ { proxy_pass http://127.0.0.1:8080/; proxy_redirect default; proxy_redirect http:// https://; }
            location /f/ { proxy_pass http://$host; }
            location /g/ { proxy_pass http://127.0.0.1; proxy_redirect ~^http://(?<h>[^/]+)/ /$h/; }
        }",
    );
    let rules = |uri: &str| -> Vec<(String, String)> {
        let rules = proxy(&plan, uri)
            .redirects
            .iter()
            .map(|rule| match &rule.from {
                RedirectFrom::Text(from) => (text(from), text(&rule.to)),
                RedirectFrom::Regex(regex) => {
                    (format!("{regex:?}"), format!("{}", rule.to.parts.len()))
                }
            });
        rules.collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(rules("/a/"), [pair("http://127.0.0.1:8080/b/", "/a/")]);
    assert_eq!(rules("/c/"), [pair("http://127.0.0.1:8080/", "/")]);
    assert_eq!(rules("/d/"), []);
    assert_eq!(
        rules("/e/"),
        [
            pair("http://127.0.0.1:8080/", "/e/"),
            pair("http://", "https://")
        ]
    );
    assert_eq!(rules("/f/"), []);
    assert_eq!(rules("/g/"), [pair("~^http://(?<h>[^/]+)/", "3")]);
}

#[test]
fn groups_are_explicit_or_made_for_a_host() {
    let plan = plan(
        "upstream app { server 127.0.0.1:1 weight=3; server two.test:2 backup; server unix:/run/a.sock max_fails=0; }
         server {
            location /a { proxy_pass http://app; }
            location /b { proxy_pass http://APP/x; }
            location /c { proxy_pass http://one.test:80; }
            location /d { proxy_pass http://ONE.test; }
            location /e { proxy_pass http://one.test:81; }
        }",
    );
    let group = |uri: &str| match proxy(&plan, uri).target {
        ProxyTarget::Group(id) => id,
        ProxyTarget::Dynamic { .. } => panic!("{uri}"),
    };
    assert_eq!(group("/a"), group("/b"));
    assert_eq!(group("/c"), group("/d"));
    assert_ne!(group("/c"), group("/e"));
    let app = &plan.groups[group("/a")];
    assert!(app.explicit && app.keepalive.idle_max == 32 && app.keepalive.local);
    let peers: Vec<String> = app
        .peers
        .iter()
        .map(|p| {
            format!(
                "{} {} {} {}",
                String::from_utf8_lossy(&p.name),
                p.weight,
                p.max_fails,
                p.backup
            )
        })
        .collect();
    assert_eq!(
        peers,
        [
            "127.0.0.1:1 3 1 false",
            "unix:/run/a.sock 1 0 false",
            "127.0.0.1:2 1 1 true",
            "127.0.0.2:2 1 1 true"
        ]
    );
    let implicit = &plan.groups[group("/c")];
    assert!(!implicit.explicit && implicit.keepalive.idle_max == 0);
    assert_eq!(text(&proxy(&plan, "/e").host), "one.test:81");
}

#[test]
fn scripts_are_one_flat_list() {
    let plan = plan(
        "server {
            set $a 1;
            if ($host = x) { set $a 2; return 403; }
            location / {
                if ($request_method = POST) { add_header X-If 1; set $b $a; }
                rewrite ^/(?<rest>.*)$ /new/$rest?x=$1 last;
                rewrite ^/y https://other/? permanent;
            }
        }",
    );
    let server = &plan.servers[ServerId(0)];
    let ops = &server.script.ops;
    assert_eq!(ops.len(), 4);
    assert!(matches!(
        ops[1],
        Op::If {
            location: None,
            end: 4,
            ..
        }
    ));
    let root = plan
        .find_location(ServerId(0), b"/", &mut Captures::default())
        .location
        .unwrap();
    let ops = &plan.locations[root].script.ops;
    let Op::If {
        location: Some(entered),
        end: 2,
        ..
    } = ops[0]
    else {
        panic!("an if")
    };
    assert_eq!(plan.locations[entered].headers.add.len(), 1);
    assert_eq!(plan.locations[entered].kind, LocationKind::Anonymous);
    let Op::Rewrite(first) = &ops[2] else {
        panic!("a rewrite")
    };
    assert_eq!(first.then, script::AfterRewrite::Last);
    assert!(first.keep_args && first.args.is_some() && first.replacement.parts.len() == 2);
    let Op::Rewrite(second) = &ops[3] else {
        panic!("a rewrite")
    };
    assert_eq!(second.then, script::AfterRewrite::Redirect(301));
    assert!(!second.keep_args && second.args.is_none());
    assert_eq!(text(&second.replacement), "https://other/");
}

#[test]
fn settings_are_compiled() {
    let plan = plan(
        "log_format own '$remote_addr $nothing';
         map $uri $nothing { default x; }
         access_log /var/log/a.log own buffer=4k flush=1s;
         server {
            error_page 500 502 /5xx.html;
            error_page 404 =200 /404?code=404;
            location / { try_files $uri $uri/ @app; expires modified +1h; limit_rate 8k; }
            location @app { access_log off; return 204; }
            location /l { limit_except GET { proxy_pass http://127.0.0.1; } alias /srv/l/; }
            location /x { access_log /var/log/$host.log; access_log /var/log/a.log own; }
        }",
    );
    let at = |uri: &str| {
        let found = plan.find_location(ServerId(0), uri.as_bytes(), &mut Captures::default());
        &plan.locations[found.location.unwrap()]
    };
    let root = at("/");
    assert_eq!(&*root.error_pages[0].codes, [500, 502]);
    assert_eq!(
        (
            root.error_pages[1].overwrite,
            text(&root.error_pages[1].target)
        ),
        (Some(200), "/404".to_owned())
    );
    assert_eq!(
        root.error_pages[1].args.as_ref().map(text),
        Some("code=404".to_owned())
    );
    let files = root.try_files.as_ref().unwrap();
    assert_eq!(
        files.tests.iter().map(|t| t.directory).collect::<Vec<_>>(),
        [false, true]
    );
    assert!(matches!(&files.last, TryLast::Named(name) if name == "@app"));
    assert!(matches!(
        root.headers.expires,
        Some(rules::Expires::Modified(3600))
    ));
    assert_eq!(text(&root.limit_rate), "8192");
    assert_eq!(
        (
            root.access_logs.len(),
            root.access_logs[0].buffer,
            root.access_logs[0].flush_ms
        ),
        (1, 4096, 1000)
    );
    let named = plan.servers[ServerId(0)].named[0].1;
    assert!(plan.locations[named].access_logs.is_empty());
    let limited = at("/l").limit_except.as_ref().unwrap();
    assert_eq!(
        limited.allowed.iter().map(|m| &m[..]).collect::<Vec<_>>(),
        [&b"GET"[..], b"HEAD"]
    );
    assert_eq!(at("/l").root.replaces, Some(2));
    let logs = &at("/x").access_logs;
    assert!(logs[0].log.is_none() && logs[0].path.parts.len() == 3);
    assert_eq!(logs[1].log, root.access_logs[0].log);
    assert_eq!(plan.formats[FormatId(0)].name, "combined");
    assert_eq!(plan.logs[LogId(0)], LogTarget::Stderr);
}

#[test]
fn refusals_use_nginx_words_and_tell_all() {
    let cases: &[(&str, &[&str])] = &[
        (
            "strict_dns on; server { location / { proxy_pass http://nowhere.test; } location /b { proxy_pass http://no.test:8080; } }",
            &[
                "host not found in upstream \"nowhere.test\"",
                "host not found in upstream \"no.test\"",
            ],
        ),
        (
            "strict_dns on; upstream u { server no.test:81; }",
            &["host not found in upstream \"no.test:81\""],
        ),
        (
            "upstream u { server 127.0.0.1; } server { location / { proxy_pass http://u:81; } }",
            &["upstream \"u\" may not have port 81"],
        ),
        (
            "server { add_header X $nosuch; return 200 ${broken; }",
            &[
                "unknown \"nosuch\" variable",
                "the closing bracket in \"broken\" variable is missing",
            ],
        ),
        (
            "server { location ~ a(b { return 204; } }",
            &["pcre2_compile() failed: missing closing parenthesis in \"a(b\""],
        ),
        (
            "strict_dns on; add_header X $none; server { location / { proxy_pass http://no.test; if ($host) { break; } } }",
            &[
                "unknown \"none\" variable",
                "host not found in upstream \"no.test\"",
            ],
        ),
        (
            "server { set $uri x; }",
            &["the duplicate \"uri\" variable"],
        ),
    ];
    for (http, expected) in cases {
        let found = errors(http);
        assert_eq!(found.len(), expected.len(), "{http}: {found:?}");
        for (found, expected) in found.iter().zip(*expected) {
            assert!(
                found.starts_with(&format!("[emerg] {expected} in /etc/ringx/test.conf:")),
                "{found}"
            );
        }
    }
}

#[test]
fn variables_may_be_defined_further_down() {
    let plan = plan(
        "server {
            add_header X $later;
            location / { set $later 1; return 200 $mapped$cap; }
            location ~ ^/(?<cap>x) { return 204; }
        }
        map $uri $mapped { default $later; }",
    );
    assert_eq!(plan.slots.len(), 2);
    assert_eq!(plan.maps.len(), 1);
}

#[test]
fn a_plan_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Plan>();
}

#[test]
fn tables_are_filled() {
    let plan = plan(
        "map $http_x $m { hostnames; default d; .a.test 1; ~^(?<who>b+)$ $who; }
         geo $arg_ip $g { default far; 10.0.0.0/8 near; 2001:db8::/32 six; proxy 192.0.2.0/24; }
         geo $r { ranges; default no; 10.0.0.1-10.0.0.9 yes; }
         split_clients $remote_addr $s { 50% a; * b; }",
    );
    let map = &plan.maps[MapId(0)];
    let mut captures = Captures::default();
    assert_eq!(text(map.find(b"x.A.test", &mut captures).value), "1");
    assert_eq!(text(map.find(b"c", &mut captures).value), "d");
    let hit = map.find(b"bb", &mut captures);
    assert_eq!(
        (hit.regex.unwrap().1, hit.value.parts.len(), captures[1]),
        (2, 1, (0, 2))
    );
    let geo = &plan.geos[GeoId(0)];
    for (addr, value) in [
        ("10.1.1.1", "near"),
        ("11.1.1.1", "far"),
        ("2001:db8::1", "six"),
    ] {
        assert_eq!(geo.find(addr.parse().ok()), value.as_bytes(), "{addr}");
    }
    assert!(geo.source.is_some() && geo.proxies.contains("192.0.2.7".parse().unwrap()));
    let ranges = &plan.geos[GeoId(1)];
    assert_eq!(ranges.find("10.0.0.9".parse().ok()), &b"yes"[..]);
    assert_eq!(ranges.find("10.0.0.10".parse().ok()), &b"no"[..]);
    assert!(matches!(plan.splits[SplitId(0)].find(b"k"), b"a" | b"b"));
}
