//! Inheritance, order, includes and what a model holds.

use std::time::Duration;

use super::{classic, load_files, load_text};
use crate::config::model::*;

fn model(http: &str) -> Http {
    let loaded = load_text(&format!("events {{}} http {{ {http} }}"));
    assert_eq!(classic(&loaded), Vec::<String>::new(), "{http}");
    loaded.model.unwrap().http.unwrap()
}

fn location<'a>(server: &'a Server, path: &str) -> &'a Location {
    server
        .locations
        .iter()
        .find(|l| l.path.lossy() == path)
        .unwrap()
}

fn header_names(settings: &Settings) -> Vec<String> {
    settings
        .proxy
        .proxy_set_header
        .iter()
        .map(|h| String::from_utf8_lossy(&h.name).into_owned())
        .collect()
}

#[test]
fn values_and_lists() {
    let http = model(
        "server { location /a { location /a/b { proxy_read_timeout 3s; proxy_set_header C c; } proxy_set_header B b; }
                  location /c { } proxy_read_timeout 2s; }
         proxy_read_timeout 1s; proxy_set_header A a; proxy_set_header D d;",
    );
    let server = &http.servers[0];
    assert_eq!(
        http.settings.proxy_pass.read_timeout,
        Duration::from_secs(1)
    );
    assert_eq!(
        server.settings.proxy_pass.read_timeout,
        Duration::from_secs(2)
    );
    let a = location(server, "/a");
    let b = &a.locations[0];
    assert_eq!(b.settings.proxy_pass.read_timeout, Duration::from_secs(3));
    assert_eq!(header_names(&a.settings), ["B"]);
    assert_eq!(header_names(&b.settings), ["C"]);
    assert_eq!(header_names(&location(server, "/c").settings), ["A", "D"]);
}

#[test]
fn what_makes_subrequests_is_inherited() {
    let http = model(
        "auth_request /a; auth_request_set $x 1; mirror /m; mirror /n; post_action /p; slice 1m;
         server { location /same { } location /off { auth_request off; mirror off; post_action \"\"; slice 0; }
                  location /other { auth_request /b; auth_request_set $y 2; mirror /o; mirror_request_body off; } }",
    );
    let server = &http.servers[0];
    for (path, auth, set, mirrors, post, slice) in [
        (
            "/same",
            Some("/a"),
            "x",
            vec![Some("/m"), Some("/n")],
            "/p",
            1 << 20,
        ),
        ("/off", None, "x", vec![None], "", 0),
        ("/other", Some("/b"), "y", vec![Some("/o")], "/p", 1 << 20),
    ] {
        let settings = &location(server, path).settings.subrequests;
        let text = |bytes: &std::sync::Arc<[u8]>| String::from_utf8_lossy(bytes).into_owned();
        let told = settings.auth_request.as_ref().map(text);
        assert_eq!(told.as_deref(), auth, "{path}");
        let sets = settings.auth_request_set.iter();
        let sets: Vec<_> = sets.map(|set| set.variable.lossy()).collect();
        assert_eq!(sets, [set], "{path}");
        let to = settings.mirror.iter().map(|to| to.0.as_ref().map(text));
        let to: Vec<_> = to.collect();
        let to: Vec<_> = to.iter().map(Option::as_deref).collect();
        assert_eq!(to, mirrors, "{path}");
        assert_eq!(text(&settings.post_action), post, "{path}");
        assert_eq!(settings.slice, slice, "{path}");
        assert_eq!(settings.mirror_request_body, path != "/other", "{path}");
    }
}

#[test]
fn families_for_backends_do_not_mix() {
    let http = model(
        "fastcgi_param A a; fastcgi_param B b if_not_empty; fastcgi_read_timeout 7s; proxy_read_timeout 5s;
         server { fastcgi_index x.php; fastcgi_hide_header X-One;
                  location /a { fastcgi_pass unix:/a:b; fastcgi_param C c; if ($a) { } limit_except GET { } }
                  location /b { fastcgi_pass $to; fastcgi_hide_header X-Two; location /b/n { proxy_pass http://h; } } }",
    );
    let server = &http.servers[0];
    let names = |settings: &Settings| -> Vec<String> {
        let list = settings.fastcgi.fastcgi_param.iter();
        list.map(|p| String::from_utf8_lossy(&p.name).into_owned())
            .collect()
    };
    let (a, b) = (location(server, "/a"), location(server, "/b"));
    assert_eq!(names(&a.settings), ["C"]);
    assert_eq!(names(&b.settings), ["A", "B"]);
    assert!(b.settings.fastcgi.fastcgi_param[1].if_not_empty);
    assert_eq!(&a.settings.fastcgi.fastcgi_index[..], b"x.php");
    assert_eq!(a.settings.fastcgi_pass.read_timeout, Duration::from_secs(7));
    assert_eq!(a.settings.proxy_pass.read_timeout, Duration::from_secs(5));
    assert_eq!(a.settings.fastcgi_pass.hide_header.len(), 1);
    assert_eq!(&b.settings.fastcgi_pass.hide_header[0][..], b"X-Two");
    assert!(b.settings.proxy_pass.hide_header.is_empty());
    let wire = |l: &Location| match &l.content {
        Content::Proxy(pass) => Some((pass.wire, pass.target.as_ref().map(|t| t.unix))),
        _ => None,
    };
    assert_eq!(wire(a), Some((WireKind::FastCgi, Some(true))));
    assert_eq!(wire(b), Some((WireKind::FastCgi, None)));
    // `if` and `limit_except` ask the same backend.
    assert_eq!(wire(&a.locations[0]), wire(a));
    assert_eq!(wire(&a.locations[1]), wire(a));
    assert_eq!(wire(&b.locations[0]), Some((WireKind::Http, Some(false))));
    let Content::Proxy(pass) = &a.content else {
        panic!("a pass");
    };
    let target = pass.target.as_ref().unwrap();
    // Without a URI part the whole of it is the path.
    assert_eq!(&target.host[..], b"/a:b");
}

#[test]
fn header_inherit() {
    let http = model(
        "add_header A 1; server { add_header B 2; add_header_inherit merge;
         location /off { add_header_inherit off; } location /own { add_header C 3; add_header_inherit on; }
         location /merge { add_header D 4; } location /none { } }",
    );
    let names = |path: &str| -> Vec<String> {
        let list = &location(&http.servers[0], path).settings.headers.add_header;
        list.iter()
            .map(|h| String::from_utf8_lossy(&h.name).into_owned())
            .collect()
    };
    assert_eq!(names("/off"), Vec::<String>::new());
    assert_eq!(names("/own"), ["C"]);
    assert_eq!(names("/merge"), ["D", "B", "A"]);
    assert_eq!(names("/none"), ["B", "A"]);
}

#[test]
fn content_of_blocks_inside() {
    let http = model(
        "server { location / { if ($a) { add_header X y; } limit_except GET { } location /n { } proxy_pass http://b; }
                  location /gif { empty_gif; if ($a) { } limit_except GET { } }
                  location /try { try_files a b; location /try/n { } } }",
    );
    let server = &http.servers[0];
    let root = location(server, "/");
    let kinds: Vec<bool> = root
        .locations
        .iter()
        .map(|l| matches!(l.content, Content::Proxy(_)))
        .collect();
    // `if` and `limit_except` inherit who answers, a nested location does not.
    assert_eq!(kinds, [true, true, false]);
    assert!(matches!(root.script[..], [Op::If { location: 0, .. }]));
    assert!(matches!(
        root.locations[0].kind,
        Kind::If(Condition::Truthy { .. })
    ));
    let gif = location(server, "/gif");
    assert!(matches!(gif.locations[0].content, Content::EmptyGif));
    assert!(matches!(gif.locations[1].content, Content::Files));
    let nested = &location(server, "/try").locations[0];
    assert!(nested.settings.files.try_files.is_none());
    assert!(location(server, "/try").settings.files.try_files.is_some());
}

#[test]
fn script_order() {
    let http = model(
        "server { set $a 1; if ($a) { return 204; } rewrite x y; break; if (-f z) { } return 200 ok; }",
    );
    let server = &http.servers[0];
    let steps: Vec<String> = server
        .script
        .iter()
        .map(|op| match op {
            Op::Set { .. } => "set".into(),
            Op::If { location, .. } => format!("if {location}"),
            Op::Rewrite(r) => format!("rewrite {:?}", r.flag),
            Op::Break => "break".into(),
            Op::Return(r) => format!("return {}", r.status),
        })
        .collect();
    assert_eq!(
        steps,
        ["set", "if 0", "rewrite None", "break", "if 1", "return 200"]
    );
    assert_eq!(server.locations[0].script.len(), 1);
}

#[test]
fn rewrites() {
    let flag = |text: &str| {
        let http = model(&format!("server {{ rewrite {text}; }}"));
        match &http.servers[0].script[0] {
            Op::Rewrite(r) => (r.flag, r.drop_args, r.replacement.lossy()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(flag("a /b"), (RewriteFlag::None, false, "/b".into()));
    assert_eq!(flag("a /b? last"), (RewriteFlag::Last, true, "/b".into()));
    assert_eq!(
        flag("a https://b"),
        (RewriteFlag::Redirect, false, "https://b".into())
    );
    assert_eq!(
        flag("a $scheme://b break"),
        (RewriteFlag::Redirect, false, "$scheme://b".into())
    );
    assert_eq!(
        flag("a http://b permanent"),
        (RewriteFlag::Permanent, false, "http://b".into())
    );
}

#[test]
fn listens() {
    let http = model(
        "server { } server { listen 8080; listen 127.0.0.1; listen [::1]:81 ipv6only=off;
                             listen 9000-9002; listen unix:/x reuseport; listen localhost:82; }",
    );
    let shown = |i: usize| -> Vec<String> {
        let server: &Server = &http.servers[i];
        server
            .listens
            .iter()
            .map(|l| match &l.addr {
                ListenAddr::Inet(a) => a.to_string(),
                ListenAddr::Unix(p) => p.display().to_string(),
                ListenAddr::Name(n, p) => format!("{n}+{p}"),
            })
            .collect()
    };
    assert_eq!(shown(0), ["0.0.0.0:80"]);
    assert_eq!(
        shown(1),
        [
            "0.0.0.0:8080",
            "127.0.0.1:80",
            "[::1]:81",
            "0.0.0.0:9000",
            "0.0.0.0:9001",
            "0.0.0.0:9002",
            "/x",
            "localhost+82"
        ]
    );
    assert!(!http.servers[1].listens[2].options.ipv6only);
    assert!(http.servers[1].listens[6].options.reuseport && http.servers[1].listens[6].options.set);
}

#[test]
fn names() {
    let http = model("server { server_name Example.ORG *.a.b .c.d w.* ~^X$ ~^x$ ''; }");
    let names: Vec<(String, NameKind)> = http.servers[0]
        .names
        .iter()
        .map(|n| (n.text.lossy(), n.kind))
        .collect();
    let want = [
        ("example.org", NameKind::Exact),
        ("*.a.b", NameKind::Suffix),
        (".c.d", NameKind::NameAndSuffix),
        ("w.*", NameKind::Prefix),
        ("^X$", NameKind::Regex { caseless: true }),
        ("^x$", NameKind::Regex { caseless: false }),
        ("", NameKind::Exact),
    ];
    assert_eq!(names, want.map(|(n, k)| (n.to_owned(), k)));
}

#[test]
fn proxy_targets() {
    let target = |url: &str| {
        let http = model(&format!("server {{ location /a {{ proxy_pass {url}; }} }}"));
        match &http.servers[0].locations[0].content {
            Content::Proxy(p) => p.target.clone(),
            other => panic!("{other:?}"),
        }
    };
    let parts = |url: &str| {
        let t = target(url).unwrap();
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (
            text(&t.authority),
            text(&t.host),
            t.port,
            t.unix,
            t.uri.as_deref().map(text),
        )
    };
    let s = |t: &str| t.to_owned();
    assert_eq!(parts("http://b"), (s("b"), s("b"), None, false, None));
    assert_eq!(
        parts("HTTP://b:81/x?y"),
        (s("b:81"), s("b"), Some(81), false, Some(s("/x?y")))
    );
    assert_eq!(
        parts("http://b?y"),
        (s("b"), s("b"), None, false, Some(s("?y")))
    );
    assert_eq!(
        parts("http://[::1]:81/"),
        (s("[::1]:81"), s("[::1]"), Some(81), false, Some(s("/")))
    );
    assert_eq!(
        parts("http://unix:/s:/x"),
        (s("unix:/s"), s("/s"), None, true, Some(s("/x")))
    );
    assert_eq!(
        parts("http://unix:/s"),
        (s("unix:/s"), s("/s"), None, true, None)
    );
    assert_eq!(target("http://$b/"), None);
}

#[test]
fn upstream_defaults() {
    let http = model(
        "upstream Up { server a; server 10.0.0.1:81 weight=2 down; } upstream b { keepalive 5; server c; }",
    );
    let up = &http.upstreams[0];
    assert_eq!(
        (&up.name[..], up.keepalive, up.keepalive_local),
        (&b"up"[..], 32, true)
    );
    assert_eq!(
        (
            up.servers[0].port,
            up.servers[0].max_fails,
            up.servers[0].weight
        ),
        (80, 1, 1)
    );
    assert_eq!(
        (up.servers[1].port, up.servers[1].down, up.servers[1].weight),
        (81, true, 2)
    );
    assert_eq!(
        (
            http.upstreams[1].keepalive,
            http.upstreams[1].keepalive_local
        ),
        (5, false)
    );
}

#[test]
fn roots_and_logs() {
    let http = model(
        "log_format f x; server { root a/; access_log l f if=$x; access_log off; location /b/ { alias c/; }
         location ~ d { alias /e/$1; access_log m F; } location /f { root $g; } }",
    );
    let server = &http.servers[0];
    assert_eq!(http.settings.core.root.path.lossy(), "/p/html");
    assert_eq!(server.settings.core.root.path.lossy(), "/p/a");
    assert!(server.settings.log.access_log.is_none());
    let root = |path: &str| location(server, path).settings.core.root.clone();
    assert_eq!(
        (root("/b/").path.lossy(), root("/b/").replaces),
        ("/p/c/".into(), Some(3))
    );
    assert_eq!(
        (root("d").path.lossy(), root("d").replaces),
        ("/e/$1".into(), Some(usize::MAX))
    );
    assert_eq!(root("/f").path.lossy(), "$g");
    let logs = location(server, "d")
        .settings
        .log
        .access_log
        .clone()
        .unwrap();
    assert_eq!((logs.len(), logs[0].format), (1, 1));
    let default = http.settings.log.access_log.as_ref().unwrap();
    assert_eq!(default[0].sink, LogSink::File("/p/logs/access.log".into()));
}

#[test]
fn error_pages() {
    let http = model(
        "error_page 404 500 /x; error_page 403 = @y; error_page 502 =200 /z; error_page 497 /w;",
    );
    let pages: Vec<(u16, Option<Option<u16>>)> = http
        .settings
        .core
        .error_page
        .iter()
        .map(|p| (p.status, p.overwrite))
        .collect();
    assert_eq!(
        pages,
        [
            (404, None),
            (500, None),
            (403, Some(None)),
            (502, Some(Some(200))),
            (497, Some(Some(400)))
        ]
    );
}

#[test]
fn maps_and_ranges() {
    let http = model(
        "map $a $b { ~x 1; ~*y 2; \\default 3; default 4; }
         geo $g { ranges; 1.0.0.0-1.0.0.9 a; 1.0.0.3-1.0.0.4 b; delete 1.0.0.0-1.0.0.2; }",
    );
    let kinds: Vec<(String, MapKey)> = http.maps[0]
        .entries
        .iter()
        .map(|e| (e.key.lossy(), e.kind))
        .collect();
    let want = [
        ("x", MapKey::Regex { caseless: false }),
        ("y", MapKey::Regex { caseless: true }),
        ("default", MapKey::Exact),
    ];
    assert_eq!(kinds, want.map(|(k, m)| (k.to_owned(), m)));
    assert_eq!(http.maps[0].default.lossy(), "4");
    let ranges: Vec<String> = http.geos[0]
        .entries
        .iter()
        .map(|e| format!("{}-{} {}", e.first, e.last, e.value.lossy()))
        .collect();
    assert_eq!(ranges, ["1.0.0.3-1.0.0.4 b", "1.0.0.5-1.0.0.9 a"]);
}

#[test]
fn ranges_are_tried_in_blocks() {
    let loaded = load_text(
        "events {} http { geo $g { ranges; 10.0.0.0-10.0.255.255 a; 10.0.0.0-10.1.255.255 b; } }",
    );
    assert_eq!(
        classic(&loaded),
        [
            "[warn] duplicate range \"10.0.0.0-10.1.255.255\", value: \"b\", old value: \"a\" in /c/nginx.conf:1"
        ]
    );
}

/// The rules of a level, as they were written.
fn rules(settings: &Settings) -> Vec<String> {
    let shown = |rule: &AccessRule| {
        let source = match rule.source {
            Source::All => "all".to_owned(),
            Source::Unix => "unix:".to_owned(),
            Source::Range(range) => range.bounds().0.to_string(),
        };
        format!("{} {source}", if rule.deny { "deny" } else { "allow" })
    };
    settings.access.rules.iter().map(shown).collect()
}

#[test]
fn allow_and_deny_are_one_list() {
    let http = model(
        "deny 10.0.0.1; allow all;
         server { location /none { } location /one { deny all; }
            location /both { allow unix:; deny all; allow ::1; limit_except GET { } } }",
    );
    let server = &http.servers[0];
    assert_eq!(rules(&server.settings), ["deny 10.0.0.1", "allow all"]);
    let at = |path| rules(&location(server, path).settings);
    assert_eq!(at("/none"), ["deny 10.0.0.1", "allow all"]);
    assert_eq!(at("/one"), ["deny all"]);
    assert_eq!(at("/both"), ["allow unix:", "deny all", "allow ::1"]);
    let inner = &location(server, "/both").locations[0];
    assert_eq!(rules(&inner.settings).len(), 3);
}

#[test]
fn trust_passwords_and_links() {
    let http = model(
        "set_real_ip_from 10.0.0.0/8; real_ip_header X-Forwarded-For; auth_basic closed;
         server { set_real_ip_from unix:; set_real_ip_from proxy.example; secure_link_secret word;
            location /a { secure_link $arg_a; secure_link_md5 b; valid_referers none; valid_referers a.example b.example;
               location /a/b { auth_basic off; valid_referers c.example; secure_link_secret other; } }
            location /c { real_ip_recursive on; } }",
    );
    let server = &http.servers[0];
    let realip = &location(server, "/c").settings.realip;
    let name = TrustedPeer::Name(Text::from("proxy.example"));
    assert_eq!(*realip.set_real_ip_from, [TrustedPeer::Unix, name]);
    assert_eq!(realip.real_ip_header, RealIpHeader::ForwardedFor);
    assert!(realip.real_ip_recursive && !server.settings.realip.real_ip_recursive);
    let a = location(server, "/a");
    let b = &a.locations[0];
    let realm = |location: &Location| {
        let text = location.settings.auth_basic.auth_basic.as_ref();
        text.map(Text::lossy)
    };
    assert_eq!(realm(a).as_deref(), Some("closed"));
    assert_eq!(realm(b).as_deref(), Some("off"));
    let referers = |location: &Location| location.settings.referer.valid_referers.len();
    assert_eq!((referers(a), referers(b)), (3, 1));
    let link = |location: &Location| {
        let link = &location.settings.secure_link;
        (
            link.secure_link.is_some(),
            link.secure_link_secret.is_some(),
        )
    };
    assert_eq!((link(a), link(b)), ((true, false), (false, true)));
    assert_eq!(link(location(server, "/c")), (false, true));
}

#[test]
fn includes() {
    let loaded = load_files(&[
        (
            "/c/nginx.conf",
            "events {}\nhttp {\ninclude conf.d/*.conf;\ninclude /abs/mime.types;\n}\n",
        ),
        ("/c/conf.d/b.conf", "server { server_name b; }"),
        (
            "/c/conf.d/a.conf",
            "server {\nserver_name a;\ninclude snippets/x;\n}",
        ),
        ("/c/snippets/x", "root /x;"),
        ("/abs/mime.types", "types { text/plain txt; }"),
    ]);
    assert_eq!(classic(&loaded), Vec::<String>::new());
    let files: Vec<String> = loaded
        .files
        .iter()
        .map(|(p, _)| p.display().to_string())
        .collect();
    assert_eq!(
        files,
        [
            "/c/nginx.conf",
            "/c/conf.d/a.conf",
            "/c/snippets/x",
            "/c/conf.d/b.conf",
            "/abs/mime.types"
        ]
    );
    let http = loaded.model.unwrap().http.unwrap();
    assert_eq!(http.servers[0].names[0].text.lossy(), "a");
    assert_eq!(http.servers[0].settings.core.root.path.lossy(), "/x");
    assert_eq!(http.settings.core.types.len(), 1);
}

#[test]
fn include_cycles_end() {
    let loaded = load_files(&[
        ("/c/nginx.conf", "events {}\ninclude a;"),
        ("/c/a", "include b;"),
        ("/c/b", "include a;"),
    ]);
    assert_eq!(
        classic(&loaded),
        ["[emerg] \"/c/a\" includes itself in /c/b:1"]
    );
    // Each file names the next one twice: two to the fortieth inclusions without a bound.
    let files: Vec<(String, String)> = (0..40)
        .map(|i| {
            (
                format!("/c/{i}"),
                format!("include {};\ninclude {};\n", i + 1, i + 1),
            )
        })
        .collect();
    let mut all: Vec<(&str, &str)> = files
        .iter()
        .map(|(p, t)| (p.as_str(), t.as_str()))
        .collect();
    all.push(("/c/40", ""));
    let loaded = load_files(&all);
    assert!(
        classic(&loaded)
            .iter()
            .any(|l| l.contains("too many nested or repeated includes"))
    );
}

#[test]
fn globals_and_identity() {
    use crate::config::{Identity, load, source::Memory};
    use std::path::Path;
    let source = Memory([(Path::new("/c").into(), b"".to_vec().into())].into());
    let nginx = load(
        &source,
        Path::new("/c"),
        Path::new("/"),
        Some("daemon off; events"),
        Identity::Nginx,
    );
    assert_eq!(
        classic(&nginx),
        ["[emerg] unexpected end of parameter, expecting \";\" in command line"]
    );
    let nginx = load(
        &source,
        Path::new("/c"),
        Path::new("/"),
        Some("events {}"),
        Identity::Nginx,
    );
    assert_eq!(
        classic(&nginx)[0],
        "[emerg] block directives are not supported in -g option in command line"
    );
    let ringx = load(
        &source,
        Path::new("/c"),
        Path::new("/"),
        Some("pid /x;"),
        Identity::Ringx,
    );
    let main = ringx.model.unwrap().main;
    assert_eq!(
        (main.worker_processes, main.daemon, main.pid),
        (None, false, Some("/x".into()))
    );
    let missing = load(
        &source,
        Path::new("/d"),
        Path::new("/"),
        None,
        Identity::Nginx,
    );
    assert_eq!(
        classic(&missing)[0],
        "[emerg] open() \"/d\" failed (2: No such file or directory)"
    );
}

#[test]
fn limits_replace_those_around_them_and_reach_every_block_inside() {
    let http = model(
        "limit_req_zone $uri zone=a:32k rate=1r/s; limit_req_zone $uri zone=b:32k rate=2r/m; limit_conn_zone $uri zone=c:32k;
         limit_req zone=a burst=5; limit_req zone=b delay=3; limit_conn c 7; limit_req_status 429;
         server { location /in { if ($uri) { } limit_except GET { } location /in/x { } }
                  location /own { limit_req zone=b nodelay; limit_req_dry_run on; limit_req_log_level info; } }",
    );
    let names = |settings: &Settings| -> Vec<_> {
        let limits = settings.limits.limit_req.iter();
        limits
            .map(|l| {
                (
                    String::from_utf8_lossy(&l.zone).into_owned(),
                    l.burst,
                    l.delay,
                )
            })
            .collect()
    };
    let around = [("a".to_owned(), 5, Some(0)), ("b".to_owned(), 0, Some(3))];
    let server = &http.servers[0];
    let inside = location(server, "/in");
    assert_eq!(names(&inside.settings), around);
    assert_eq!(inside.locations.len(), 3);
    for inner in &inside.locations {
        assert_eq!(names(&inner.settings), around);
        assert_eq!(inner.settings.limits.limit_conn[0].max, 7);
    }
    let own = &location(server, "/own").settings;
    assert_eq!(names(own), [("b".to_owned(), 0, None)]);
    assert_eq!(own.limits.limit_req_status, 429);
    assert_eq!(own.limits.limit_conn_status, 503);
    assert!(own.limits.limit_req_dry_run);
    assert_eq!(own.limits.limit_req_log_level, LogLevel::Info);
    assert_eq!(own.limits.limit_conn[0].max, 7);
    let zones: Vec<_> = http.limit_zones.iter().map(|z| z.rate).collect();
    assert_eq!(zones, [Some(1000), Some(33), None]);
}

#[test]
fn compression() {
    let http = model(
        "gzip on; gzip_types a/b; gzip_types A/B c/d; gzip_disable msie6 one; gzip_proxied expired auth;
         server { location /own { gzip_types e/f; gzip_disable two; gzip_proxied any; gzip_window 4k; }
                  location /same { } location /all { gzip_types *; charset_types x/y; } }",
    );
    let server = &http.servers[0];
    let own = &location(server, "/own").settings;
    let same = &location(server, "/same").settings;
    let all = &location(server, "/all").settings;
    assert!(own.gzip.gzip && same.gzip.gzip);
    for (kind, in_own, in_same) in [
        ("text/html", true, true),
        ("a/b; x=y", false, true),
        ("C/D", false, true),
        ("e/f", true, false),
        ("x/y", false, false),
    ] {
        assert_eq!(own.gzip.gzip_types.has(kind.as_bytes()), in_own, "{kind}");
        assert_eq!(same.gzip.gzip_types.has(kind.as_bytes()), in_same, "{kind}");
        assert!(all.gzip.gzip_types.has(kind.as_bytes()));
    }
    let patterns = |settings: &Settings| -> Vec<String> {
        let list = settings.gzip.gzip_disable.iter();
        list.map(Text::lossy).collect()
    };
    assert_eq!(
        (patterns(own), patterns(same)),
        (vec!["two".into()], vec!["one".into()])
    );
    // The word is inherited by itself.
    assert!(own.gzip.gzip_disable_msie6 && same.gzip.gzip_disable_msie6);
    assert_eq!(own.gzip.gzip_proxied, GzipProxied::ANY);
    assert_eq!(
        same.gzip.gzip_proxied,
        GzipProxied::EXPIRED.with(GzipProxied::AUTH)
    );
    assert_eq!((own.gzip.gzip_window, same.gzip.gzip_window), (12, 15));
    // The types that charset has by default are more than what always stays.
    for (kind, by_default) in [("text/html", true), ("text/xml", true), ("x/y", false)] {
        let has = |settings: &Settings| settings.charset.charset_types.has(kind.as_bytes());
        assert_eq!(has(same), by_default, "{kind}");
        assert_eq!(has(all), kind != "text/xml", "{kind}");
    }
}

#[test]
fn caches_of_open_files_are_shared_where_they_are_inherited() {
    let http = model(
        "open_file_cache max=10; server { location /a { } location /own { open_file_cache max=10; disable_symlinks on; }
         location /off { open_file_cache off; } }",
    );
    let cache = |path: &str| {
        let settings = &location(&http.servers[0], path).settings;
        settings.files.open_file_cache.clone()
    };
    let outer = http.settings.files.open_file_cache.clone().unwrap();
    assert!(std::sync::Arc::ptr_eq(&outer, &cache("/a").unwrap()));
    assert!(!std::sync::Arc::ptr_eq(&outer, &cache("/own").unwrap()));
    assert!(cache("/off").is_none());
    let links = |path: &str| {
        let settings = &location(&http.servers[0], path).settings;
        settings.files.disable_symlinks.links
    };
    assert_eq!((links("/a"), links("/own")), (Symlinks::Off, Symlinks::On));
}

#[test]
fn caches_of_open_logs_are_shared_where_they_are_inherited() {
    let http = model(
        "open_log_file_cache max=10 min_uses=2; server { location /a { } location /own { open_log_file_cache valid=5s inactive=1m max=10; }
         location /off { open_log_file_cache off; } }",
    );
    let cache = |path: &str| {
        let settings = &location(&http.servers[0], path).settings;
        settings.log.open_log_file_cache.clone()
    };
    let outer = http.settings.log.open_log_file_cache.clone().unwrap();
    assert!(std::sync::Arc::ptr_eq(&outer, &cache("/a").unwrap()));
    let shown = |cache: &OpenLogFileCache| {
        let (inactive, valid) = (cache.inactive.as_secs(), cache.valid.as_secs());
        (cache.max, inactive, valid, cache.min_uses)
    };
    assert_eq!(shown(&outer), (10, 10, 60, 2));
    assert_eq!(shown(&cache("/own").unwrap()), (10, 60, 5, 1));
    assert!(cache("/off").is_none());
}

#[test]
fn body_filters() {
    let http = model(
        "sub_filter A 1; sub_filter B 2; sub_filter_types text/css; sub_filter_types text/xml; ssi on; add_after_body /a;
         server { location /own { sub_filter $C 3; sub_filter_types *; ssi off; add_before_body /b; } location /none { } }",
    );
    let server = &http.servers[0];
    let patterns = |settings: &Settings| -> Vec<String> {
        let list = settings.sub.sub_filter.iter();
        list.map(|sub| sub.pattern.lossy()).collect()
    };
    let (own, none) = (
        &location(server, "/own").settings,
        &location(server, "/none").settings,
    );
    assert_eq!(patterns(none), ["a", "b"]);
    assert_eq!(patterns(own), ["$c"]);
    let types = &none.sub.sub_filter_types;
    assert!(types.has(b"text/html") && types.has(b"text/css") && types.has(b"text/xml"));
    assert!(!types.has(b"image/png") && own.sub.sub_filter_types.has(b"image/png"));
    assert!(none.ssi.ssi && !own.ssi.ssi);
    assert_eq!(&own.addition.add_after_body[..], b"/a");
    assert_eq!(&own.addition.add_before_body[..], b"/b");
}

#[test]
fn caches_replace_lists_and_a_store_takes_the_place_of_a_cache() {
    let http = model(
        "proxy_cache_path /c keys_zone=a:1m; proxy_cache a; proxy_cache_valid 200 1m; proxy_cache_valid any 5s;
         proxy_cache_bypass $arg_a; proxy_cache_bypass $arg_b; proxy_cache_use_stale error updating;
         server { location /same { } location /off { proxy_cache off; }
                  location /own { proxy_cache_valid 404 1s; proxy_no_cache $arg_x; proxy_cache_use_stale timeout; }
                  location /store { proxy_store on; proxy_store_access group:rw all:r; }
                  location /back { proxy_store on; location /back/in { proxy_cache a; } } }",
    );
    let server = &http.servers[0];
    let of = |path: &str| &location(server, path).settings.proxy_cache;
    let valid = |path: &str| -> Vec<_> {
        let list = of(path).cache_valid.iter();
        list.map(|v| (v.status, v.seconds)).collect()
    };
    assert_eq!(valid("/same"), [(200, 60), (0, 5)]);
    assert_eq!(valid("/own"), [(404, 1)]);
    assert_eq!(of("/same").cache_bypass.len(), 2);
    assert_eq!(of("/own").no_cache.len(), 1);
    assert!(of("/same").cache_use_stale.allows(NextUpstream::UPDATING));
    assert!(!of("/own").cache_use_stale.allows(NextUpstream::ERROR));
    assert!(of("/same").cache.is_some() && of("/off").cache.is_none());
    assert!(of("/store").cache.is_none() && of("/store").store == Some(StorePath::Root));
    assert_eq!(of("/store").store_access, 0o664);
    let inner = &location(server, "/back").locations[0].settings.proxy_cache;
    assert!(inner.store.is_none() && inner.cache.is_some());
}
