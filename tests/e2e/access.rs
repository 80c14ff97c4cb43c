//! Who may pass: addresses, passwords, methods, referers and signed links.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::client::get_with;
use crate::support::wire::Message;
use crate::support::{Client, Config, Origin, Proxy};

/// Forms of the password `secret`, as openssl, the system's `crypt(3)` and htpasswd write them.
const USERS: &str = "\
# name:password:comment
plain:{PLAIN}secret
sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=
ssha:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0
apr1:$apr1$12345678$0lqb/6VUFP8JY/s/jTrIk0:a comment\r
md5:$1$abc$iCQ2D3nhptRYi27fDYv2s1
sha256:$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.
sha512:$6$rounds=1500$saltsaltsaltsalt$/bLK13RMbB3vYsSVWZZYNDGszbUzwdGNBVc.BRcbtYXccbTCfjSTF9FJX76ZuNsf5oGjaue9LrqckcEFKqM1Q1
bcrypt:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW
des:abNANd1rDfiNc
last:{PLAIN}secret";

const NAMES: [&str; 10] = [
    "plain", "sha", "ssha", "apr1", "md5", "sha256", "sha512", "bcrypt", "des", "last",
];

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word =
            three.iter().fold(0, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for place in 0..4 {
            if place <= three.len() {
                out.push(char::from(DIGITS[(word >> (18 - 6 * place) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// The field that a browser sends for a user and a password.
fn basic(user: &str, password: impl AsRef<[u8]>) -> String {
    let both = [user.as_bytes(), b":", password.as_ref()].concat();
    format!("Authorization: Basic {}\r\n", base64(&both))
}

/// A proxy with the user file in a directory of its own.
fn guarded(text: &str, users: &str) -> Config {
    Config::server(text)
        .file("users", users)
        .file("html/x", "in")
}

fn ask(proxy: &Proxy, target: &str, fields: &str) -> Message {
    get_with(proxy.addr(), target, fields)
}

#[test]
fn the_first_rule_for_the_address_counts() {
    let proxy = Config::server(
        "root %%DIR%%/html; listen unix:%%DIR%%/socket;
         location /all { deny all; }
         location /here { allow 127.0.0.0/8; deny all; }
         location /not-here { deny 127.0.0.1; allow all; }
         location /elsewhere { deny 10.0.0.0/8; deny ::/0; }
         location /unix { allow unix:; deny all; }
         location /answered { deny all; return 200 answered; }
         location /outer { deny all; location /outer/inner { allow all; } location /outer/same { } }",
    )
    .file("html/here", "in")
    .file("html/elsewhere", "in")
    .file("html/unix", "in")
    .file("html/outer/inner/x", "in")
    .logs("access forbidden by rule, client: 127.0.0.1, server: , request: \"GET /all HTTP/1.1\"")
    .may_log("access forbidden by rule")
    .start();
    for (target, status) in [
        ("/all", 403),
        ("/here", 200),
        ("/not-here", 403),
        ("/elsewhere", 200),
        ("/unix", 403),
        // As in nginx: what the rewrite stage answers is not asked about.
        ("/answered", 200),
        ("/outer/x", 403),
        ("/outer/inner/x", 200),
        ("/outer/same/x", 403),
    ] {
        assert_eq!(proxy.get(target).status(), status, "{target}");
    }
    let over_unix = |target: &str| {
        let mut client = Client::unix(&proxy.path("socket"));
        client.get(target).response().status()
    };
    assert_eq!(over_unix("/unix"), 200);
    assert_eq!(over_unix("/all"), 403);
    assert_eq!(over_unix("/elsewhere"), 200);
    assert_eq!(over_unix("/here"), 403);
}

#[test]
fn every_form_of_password_opens() {
    let origin = Origin::text("in");
    let proxy = guarded(
        "auth_basic \"closed $arg_a\"; auth_basic_user_file users;
         location / { proxy_pass http://%%origin%%; proxy_set_header X-User $remote_user; proxy_set_header Authorization \"\"; }",
        USERS,
    )
    .set("origin", origin.addr())
    .may_log("password mismatch")
    .logs("user \"nobody\" was not found in \"")
    .start();
    for name in NAMES {
        for _ in 0..2 {
            let answer = ask(&proxy, "/?a=b", &basic(name, "secret"));
            assert_eq!((answer.status(), answer.text()), (200, "in"), "{name}");
            let request = origin.last();
            assert_eq!(request.field("x-user"), Some(name));
            assert_eq!(request.field("authorization"), None);
        }
        for wrong in ["", "Secret", "secret\0", "\0", "secret2"] {
            let answer = ask(&proxy, "/?a=b", &basic(name, wrong));
            assert_eq!(answer.status(), 401, "{name} {wrong:?}");
            assert_eq!(
                answer.field("www-authenticate"),
                Some("Basic realm=\"closed b\"")
            );
        }
    }
    assert_eq!(ask(&proxy, "/", &basic("nobody", "secret")).status(), 401);
    proxy.wait_log("error.log", "user \"sha\": password mismatch");
}

#[test]
fn what_openssl_writes_opens() {
    let made = |form: &str| {
        let output = Command::new("openssl")
            .args(["passwd", form, "a long passphrase, 24 in"])
            .stdin(Stdio::null())
            .output();
        let text = String::from_utf8(output.ok()?.stdout).ok()?;
        text.starts_with('$').then(|| text.trim().to_owned())
    };
    let forms = ["-apr1", "-1", "-5", "-6"];
    let Some(hashes) = forms.into_iter().map(made).collect::<Option<Vec<_>>>() else {
        crate::support::skipped("no openssl that writes passwords");
        return;
    };
    let users: String = hashes
        .iter()
        .enumerate()
        .map(|(n, hash)| format!("user{n}:{hash}\n"))
        .collect();
    let proxy = guarded(
        "root %%DIR%%/html; auth_basic closed; auth_basic_user_file %%DIR%%/users;",
        &users,
    )
    .may_log("password mismatch")
    .start();
    for (n, hash) in hashes.iter().enumerate() {
        let user = format!("user{n}");
        let right = basic(&user, "a long passphrase, 24 in");
        assert_eq!(ask(&proxy, "/x", &right).status(), 200, "{}", hash);
        let wrong = basic(&user, "a long passphrase, 24 out");
        assert_eq!(ask(&proxy, "/x", &wrong).status(), 401, "{}", hash);
    }
}

#[test]
fn the_user_file_counts_as_it_is_now() {
    let proxy = guarded(
        "root %%DIR%%/html; auth_basic closed;
         location / { auth_basic_user_file $arg_f; }
         location /off { auth_basic off; auth_basic_user_file users; }
         location /realm { auth_basic $arg_realm; auth_basic_user_file users; }",
        "ann:$apr1$12345678$0lqb/6VUFP8JY/s/jTrIk0\n",
    )
    .file("html/off", "in")
    .file("html/realm", "in")
    .may_log("was not found in")
    .may_log("password mismatch")
    .logs("open() \"")
    .may_log("read() \"")
    .start();
    let ann = basic("ann", "secret");
    assert_eq!(ask(&proxy, "/x?f=users", &ann).status(), 200);
    assert_eq!(ask(&proxy, "/x?f=users", &ann).status(), 200);
    std::fs::write(proxy.path("users"), "bob:{PLAIN}x\n").unwrap();
    assert_eq!(ask(&proxy, "/x?f=users", &ann).status(), 401);
    assert_eq!(ask(&proxy, "/x?f=users", &basic("bob", "x")).status(), 200);
    std::fs::write(proxy.path("users"), "ann:{PLAIN}new\n").unwrap();
    assert_eq!(ask(&proxy, "/x?f=users", &ann).status(), 401);
    assert_eq!(
        ask(&proxy, "/x?f=users", &basic("ann", "new")).status(),
        200
    );
    std::fs::remove_file(proxy.path("users")).unwrap();
    assert_eq!(ask(&proxy, "/x?f=users", &ann).status(), 403);
    // A folder, a name that is none.
    assert_eq!(ask(&proxy, "/x?f=html", &ann).status(), 500);
    assert_eq!(ask(&proxy, "/x?f=", &ann).status(), 500);
    // Without a password nobody looks at the file.
    assert_eq!(ask(&proxy, "/x?f=html", "").status(), 401);
    assert_eq!(ask(&proxy, "/off", "").status(), 200);
    assert_eq!(ask(&proxy, "/realm?realm=off", "").status(), 200);
    assert_eq!(ask(&proxy, "/realm?realm=on", "").status(), 401);
}

#[test]
fn satisfy_joins_the_checks() {
    let proxy = guarded(
        "root %%DIR%%/html; auth_basic closed; auth_basic_user_file users;
         location /all { satisfy all; allow 127.0.0.1; deny all; }
         location /all-denied { satisfy all; deny all; }
         location /any { satisfy any; allow 127.0.0.1; deny all; }
         location /any-denied { satisfy any; deny all; }
         location /any-silent { satisfy any; deny 10.0.0.1; }
         location /only-rules { satisfy any; auth_basic off; deny all; }",
        USERS,
    )
    .file("html/all", "in")
    .file("html/any", "in")
    .file("html/any-denied", "in")
    .file("html/any-silent", "in")
    .may_log("password mismatch")
    .logs("access forbidden by rule")
    .start();
    let right = basic("plain", "secret");
    let wrong = basic("plain", "x");
    for (target, fields, status, asked) in [
        ("/all", "", 401, true),
        ("/all", &wrong, 401, true),
        ("/all", &right, 200, false),
        ("/all-denied", &right, 403, false),
        ("/all-denied", "", 403, false),
        ("/any", "", 200, false),
        ("/any", &wrong, 200, false),
        ("/any-denied", "", 401, true),
        ("/any-denied", &wrong, 401, true),
        ("/any-denied", &right, 200, false),
        ("/any-silent", "", 401, true),
        ("/any-silent", &right, 200, false),
        ("/only-rules", "", 403, false),
    ] {
        let answer = ask(&proxy, target, fields);
        assert_eq!(answer.status(), status, "{target} {fields}");
        let asks = answer.field("www-authenticate").is_some();
        assert_eq!(asks, asked, "{target} {fields}");
    }
}

#[test]
fn a_page_for_401_keeps_the_question() {
    let proxy = guarded(
        "root %%DIR%%/html; error_page 401 /sorry; error_page 403 =404 /sorry;
         location /closed { auth_basic closed; auth_basic_user_file users; }
         location /denied { deny all; }",
        USERS,
    )
    .file("html/sorry", "sorry")
    .logs("access forbidden by rule")
    .start();
    let answer = proxy.get("/closed");
    assert_eq!((answer.status(), answer.text()), (401, "sorry"));
    assert_eq!(
        answer.field("www-authenticate"),
        Some("Basic realm=\"closed\"")
    );
    let answer = proxy.get("/denied");
    assert_eq!((answer.status(), answer.text()), (404, "sorry"));
}

#[test]
fn hostile_credentials_are_only_refused() {
    let proxy = guarded(
        "root %%DIR%%/html; large_client_header_buffers 4 32k;
         auth_basic closed; auth_basic_user_file users;",
        USERS,
    )
    .may_log("user \"AAAA")
    .may_log("was not found in")
    .may_log("password mismatch")
    .start();
    let long = "A".repeat(30_000);
    let mut cases: Vec<String> = [
        "",
        "Basic",
        "Basic ",
        "Basic    ",
        "Basic !!!!",
        "Basic A",
        "Basic =",
        "Basic ====",
        "Bearer cGxhaW46c2VjcmV0",
        "Basic\tcGxhaW46c2VjcmV0",
        "cGxhaW46c2VjcmV0",
        "Basic cGxhaW46c2VjcmV0 x",
        "Basic cGxhaW46c2VjcmV0, Basic cGxhaW46c2VjcmV0",
    ]
    .map(|value| format!("Authorization: {value}\r\n"))
    .into();
    cases.push(format!("Authorization: Basic {long}\r\n"));
    cases.push(basic("plain", &long[..20_000]));
    cases.push(basic(&long[..20_000], "x"));
    for (user, password) in [
        ("plain\0", &b"secret"[..]),
        ("\0plain", b"secret"),
        ("plain\nsha", b"secret"),
        ("# name", b"password"),
        ("#", b""),
        ("", b"secret"),
        ("plain:{PLAIN}secret\nplain", b"secret"),
        ("plain\r", b"secret"),
        ("plain", b"secret\n"),
        ("plain", b"secret:"),
        ("des", b"secre"),
        ("last", b"secret\xff\xfe"),
    ] {
        cases.push(basic(user, password));
    }
    for fields in &cases {
        let answer = ask(&proxy, "/x", fields);
        assert_eq!(answer.status(), 401, "{}", &fields[..fields.len().min(80)]);
    }
    // Spaces before the value and a scheme in any case are fine, as in nginx.
    for value in ["bAsIc cGxhaW46c2VjcmV0", "Basic   cGxhaW46c2VjcmV0"] {
        let fields = format!("Authorization: {value}\r\n");
        assert_eq!(ask(&proxy, "/x", &fields).status(), 200, "{value}");
    }
    let log = proxy.error_log();
    assert!(!log.contains("secret"), "a password is in the log:\n{log}");
}

#[test]
fn slow_passwords_hold_up_nobody_else() {
    // Cost 9: a release build takes 30 ms for each, and nothing can match it.
    let users = "slow:$2b$09$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";
    let proxy = guarded(
        "root %%DIR%%/html; location /closed { auth_basic closed; auth_basic_user_file users; }",
        users,
    )
    .may_log("password mismatch")
    .start();
    let mut waiting: Vec<Client> = (0..40)
        .map(|n| {
            let mut client = proxy.client();
            client.request("GET", "/closed", &basic("slow", format!("wrong {n}")));
            client
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(proxy.get("/x").status(), 200);
    }
    let last = waiting.last_mut().expect("there are forty");
    assert!(
        last.is_quiet_for(Duration::from_millis(1)),
        "forty slow passwords were checked before twenty files were served"
    );
    let first = waiting.first_mut().expect("there are forty");
    assert_eq!(first.response().status(), 401);
}

#[test]
fn a_401_can_be_delayed() {
    let proxy = guarded(
        "root %%DIR%%/html; auth_basic closed; auth_basic_user_file users; auth_delay 400ms;
         location /denied { deny all; }",
        USERS,
    )
    .may_log("password mismatch")
    .logs("access forbidden by rule")
    .start();
    for fields in ["", &basic("plain", "wrong")] {
        let mut client = proxy.client();
        client.request("GET", "/x", fields);
        assert!(client.is_quiet_for(Duration::from_millis(200)), "{fields}");
        assert_eq!(client.response().status(), 401);
    }
    proxy.wait_log("error.log", "delaying unauthorized request");
    // One that leaves meanwhile takes nobody's time.
    let mut client = proxy.client();
    client.get("/x");
    drop(client);
    proxy.wait_log("error.log", "client prematurely closed connection");
    let mut client = proxy.client();
    assert_eq!(client.get("/denied").response().status(), 403);
    let right = basic("plain", "secret");
    assert_eq!(ask(&proxy, "/x", &right).status(), 200);
}

#[test]
fn other_methods_have_rules_of_their_own() {
    let origin = Origin::text("origin");
    let proxy = guarded(
        "location /read { proxy_pass http://%%origin%%; limit_except GET { deny all; } }
         location /write { proxy_pass http://%%origin%%; limit_except GET POST { auth_basic closed; auth_basic_user_file users; } }
         location /open { deny all; proxy_pass http://%%origin%%; limit_except POST { allow all; } }
         location /split { root %%DIR%%/html; limit_except GET { proxy_pass http://%%origin%%; } }",
        USERS,
    )
    .file("html/split", "file")
    .set("origin", origin.addr())
    .may_log("access forbidden by rule")
    .start();
    let status = |method: &str, target: &str, fields: &str| {
        let fields = format!("{fields}Content-Length: 0\r\n");
        let mut client = proxy.client();
        client.request(method, target, &fields).response().status()
    };
    for (method, target, expected) in [
        ("GET", "/read", 200),
        ("HEAD", "/read", 200),
        ("POST", "/read", 403),
        ("DELETE", "/read", 403),
        ("GET", "/write", 200),
        ("POST", "/write", 200),
        ("PUT", "/write", 401),
        ("POST", "/open", 403),
        ("GET", "/open", 200),
        ("HEAD", "/open", 200),
        ("BREW", "/read", 403),
    ] {
        assert_eq!(status(method, target, ""), expected, "{method} {target}");
    }
    let right = basic("sha", "secret");
    assert_eq!(status("PUT", "/write", &right), 200);
    assert_eq!(proxy.get("/split").text(), "file");
    let mut client = proxy.client();
    let answer = client.request("PUT", "/split", "Content-Length: 0\r\n");
    assert_eq!(answer.response().text(), "origin");
}

#[test]
fn links_from_elsewhere_are_told() {
    let proxy = Config::http(
        "server { listen %%ADDR_0%%; server_name shop.example *.cdn.example ~^r\\d\\.example$;
            location /own { valid_referers server_names; if ($invalid_referer) { return 403; } return 204; }
            location /list { valid_referers none blocked example.com/a ~\\.google\\.; if ($invalid_referer) { return 403; } return 204;
               location /list/inner { if ($invalid_referer) { return 403; } return 204; } }
            location /none { return 200 \"[$invalid_referer]\"; } }",
    )
    .start();
    let status = |target: &str, referer: &str| {
        ask(&proxy, target, &format!("Referer: {referer}\r\n")).status()
    };
    for (target, referer, expected) in [
        ("/own", "http://shop.example/x", 204),
        ("/own", "https://a.cdn.example/", 204),
        ("/own", "http://r1.example/", 204),
        ("/own", "http://evil.example/http://shop.example/", 403),
        ("/own", "http://shop.example.evil.example/", 403),
        ("/list", "http://example.com/a/b", 204),
        ("/list", "http://example.com/b", 403),
        ("/list", "http://www.google.de/", 204),
        ("/list", "hidden", 204),
        ("/list/inner", "http://evil.example/", 403),
    ] {
        assert_eq!(status(target, referer), expected, "{target} {referer}");
    }
    assert_eq!(proxy.get("/list").status(), 204);
    assert_eq!(proxy.get("/own").status(), 403);
    assert_eq!(proxy.get("/none").text(), "[]");
}

#[test]
fn links_carry_their_proof() {
    // printf '2147483647/s/link127.0.0.1 secret' | openssl md5 -binary | openssl base64 | tr +/ -_ | tr -d =
    let proxy = Config::server(
        "location /s/ {
            secure_link $arg_md5,$arg_expires;
            secure_link_md5 \"$secure_link_expires$uri$remote_addr secret\";
            if ($secure_link = \"\") { return 403; }
            if ($secure_link = \"0\") { return 410; }
            return 200 \"$secure_link $secure_link_expires\"; }
         location /loop { secure_link $secure_link; secure_link_md5 $secure_link; return 200 \"[$secure_link]\"; }
         location /p/ { secure_link_secret word; if ($secure_link = \"\") { return 403; } return 200 $secure_link; }",
    )
    .logs("cycle while evaluating variable")
    .start();
    let answer = proxy.get("/s/link?md5=_e4Nc3iduzkWRm01TBBNYw&expires=2147483647");
    assert_eq!((answer.status(), answer.text()), (200, "1 2147483647"));
    let answer = proxy.get("/s/link?md5=LVCvmBTVtm4FCby6mE0wYA&expires=1");
    assert_eq!(answer.status(), 410);
    for target in [
        "/s/link",
        "/s/link?md5=_e4Nc3iduzkWRm01TBBNYw",
        "/s/link?md5=_e4Nc3iduzkWRm01TBBNYw&expires=",
        "/s/link?md5=_e4Nc3iduzkWRm01TBBNYw&expires=x",
        "/s/link?md5=_e4Nc3iduzkWRm01TBBNYw&expires=2147483648",
        "/s/other?md5=_e4Nc3iduzkWRm01TBBNYw&expires=2147483647",
        "/s/link?md5=x&expires=2147483647",
        "/s/link?md5=,,,&expires=2147483647",
        "/p/link",
        "/p/bb7e65bba037c6d28d8c159ae9f6c697/other",
        "/p/00000000000000000000000000000000/link",
    ] {
        assert_eq!(proxy.get(target).status(), 403, "{target}");
    }
    assert_eq!(
        proxy
            .get("/p/bb7e65bba037c6d28d8c159ae9f6c697/link/a")
            .text(),
        "link/a"
    );
    assert_eq!(proxy.get("/loop").text(), "[]");
}
