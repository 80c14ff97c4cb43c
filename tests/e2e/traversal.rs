//! A table of paths that try to leave the root: none may be answered with a byte of what lies outside.

use crate::support::proxy::is_foreign;
use crate::support::{Config, Proxy};
use std::os::unix::fs::symlink;

/// What every file outside the roots holds, and none inside.
const SECRET: &str = "the-secret-of-another-folder";

fn site(text: &str) -> Proxy {
    let config = Config::server(&format!("root %%DIR%%/www; {text}"))
        .file("secret.txt", SECRET)
        .file("passwd", SECRET)
        .file("www-secret/secret.txt", SECRET)
        .file("files-secret/secret.txt", SECRET)
        .file("other/secret.txt", SECRET)
        .file("other/index.html", SECRET)
        .file("secret/passwd", SECRET)
        .file("www/index.html", "inside")
        .file("www/a/b/page.html", "inside")
        .file("www/...", "inside")
        .file("www/a/..b", "inside")
        .file("files/one.txt", "inside")
        .may_log("No such file or directory")
        .may_log("Not a directory")
        .may_log("is forbidden")
        .may_log("is outside of its root")
        .may_log("is not found")
        .may_log("client sent invalid")
        .may_log("Too many levels of symbolic links")
        .may_log("File name too long")
        .may_log("is not a directory");
    let dir = config.dir().to_owned();
    for (to, name) in [
        ("../secret.txt", "www/out.txt"),
        ("../other", "www/out"),
        ("../../secret.txt", "www/a/up.txt"),
    ] {
        symlink(to, dir.join(name)).unwrap();
    }
    symlink(dir.join("secret.txt"), dir.join("www/absolute.txt")).unwrap();
    symlink(dir.join("www"), dir.join("www/a/loop")).unwrap();
    config.start()
}

/// Paths below a root, with every way to write a step up.
const STEPS: &[&str] = &[
    "/../secret.txt",
    "/../../secret.txt",
    "/../../../../../../../../etc/passwd",
    "/./../secret.txt",
    "/.././secret.txt",
    "/a/../../secret.txt",
    "/a/b/../../../secret.txt",
    "/a//../..//../secret.txt",
    "//../secret.txt",
    "///../../secret.txt",
    "/..//secret.txt",
    "/%2e%2e/secret.txt",
    "/%2E%2E/secret.txt",
    "/.%2e/secret.txt",
    "/%2e./secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/..%2fsecret.txt",
    "/..%2Fsecret.txt",
    "/a/..%2f..%2fsecret.txt",
    "/a%2f..%2f..%2fsecret.txt",
    "/%2e%2e%2f%2e%2e%2fsecret.txt",
    "/a/%2e%2e/%2e%2e/secret.txt",
    "/%2f..%2fsecret.txt",
    "/%2f%2f..%2f..%2fsecret.txt",
    // Twice encoded: decoded once, they are names.
    "/%252e%252e/secret.txt",
    "/%252e%252e%252fsecret.txt",
    "/..%252fsecret.txt",
    "/%25%32%65%25%32%65/secret.txt",
    "/%%32%65%%32%65/secret.txt",
    // Backslashes are letters here.
    "/..\\secret.txt",
    "/..%5csecret.txt",
    "/..%5c..%5csecret.txt",
    "/a\\..\\..\\secret.txt",
    "/%5c..%5csecret.txt",
    "/..%255csecret.txt",
    // A slash, a dot and a backslash in too many bytes.
    "/..%c0%afsecret.txt",
    "/%c0%ae%c0%ae/secret.txt",
    "/%c0%ae%c0%ae%c0%afsecret.txt",
    "/..%c1%9csecret.txt",
    "/%e0%80%ae%e0%80%ae/secret.txt",
    "/%f0%80%80%ae%f0%80%80%ae/secret.txt",
    "/..%e0%80%afsecret.txt",
    "/..%u2215secret.txt",
    "/%u002e%u002e/secret.txt",
    "/..%ef%bc%8fsecret.txt",
    "/..\u{ff0f}secret.txt",
    // NUL and other controls.
    "/%00../secret.txt",
    "/../secret.txt%00.html",
    "/..%00/secret.txt",
    "/%2e%2e%00/secret.txt",
    "/a/b/page.html%00/../../../../secret.txt",
    "/..%0d/secret.txt",
    "/..%09/secret.txt",
    "/..%20/secret.txt",
    // More and fewer dots than two, and parameters.
    "/.../secret.txt",
    "/..../secret.txt",
    "/....//secret.txt",
    "/.../.../secret.txt",
    "/..;/secret.txt",
    "/..;x=y/secret.txt",
    "/;/../secret.txt",
    "/..?/secret.txt",
    "/..%3f/secret.txt",
    "/..#/secret.txt",
    "/..%23/secret.txt",
    "/~/../secret.txt",
    "/~root/../secret.txt",
    // Names that begin like the root's.
    "/../www-secret/secret.txt",
    "-secret/secret.txt",
    "/..-secret/secret.txt",
    // Steps up at the end.
    "/..",
    "/../",
    "/a/../..",
    "/%2e%2e",
    "/a/b/../../..",
    // The root itself from outside, which nobody may learn of.
    "/../www/index.html",
    "/../other/",
    "/../other/index.html",
    "file:///etc/passwd",
    "/etc/passwd",
    "//etc/passwd",
];

/// The bytes that a raw request brings back, whatever they are.
fn ask(proxy: &Proxy, target: &str) -> String {
    let mut client = proxy.client();
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    String::from_utf8_lossy(&client.rest()).into_owned()
}

fn gives_nothing_away(proxy: &Proxy, target: &str) {
    let got = ask(proxy, target);
    assert!(!got.contains(SECRET), "{target}: {got}");
    assert!(!got.contains("root:x:0:0"), "{target}: {got}");
    let status = got.split(' ').nth(1).unwrap_or_default();
    // Nothing at all is an answer too: a bad head may end a connection.
    assert!(
        ["", "200", "301", "400", "403", "404"].contains(&status),
        "{target}: {got}"
    );
    assert!(
        status != "200" || got.ends_with("inside"),
        "{target}: {got}"
    );
}

#[test]
fn no_path_leaves_a_root() {
    assert!(STEPS.len() >= 60);
    let proxy = site("");
    for target in STEPS {
        gives_nothing_away(&proxy, target);
    }
    // What only looks like a step up is a name like others.
    for (target, status) in [
        ("/...", "200"),
        ("/a/..b", "200"),
        ("/a/b/../b/page.html", "200"),
    ] {
        assert!(
            ask(&proxy, target).starts_with(&format!("HTTP/1.1 {status} ")),
            "{target}"
        );
    }
}

#[test]
fn no_path_leaves_a_root_where_slashes_are_kept() {
    let proxy = site("merge_slashes off;");
    for target in STEPS {
        gives_nothing_away(&proxy, target);
    }
}

#[test]
fn no_path_leaves_an_alias() {
    let proxy = site(
        "location /f/ { alias %%DIR%%/files/; }
         location /loose { alias %%DIR%%/files/; }
         location /bare { alias %%DIR%%/files; }
         location ~ ^/re/(.*)$ { alias %%DIR%%/files/$1; }
         location ~ ^/raw(.*)$ { alias %%DIR%%/files$1; }
         location /tried/ { alias %%DIR%%/files/; try_files $uri $uri/ =404; }
         location /named/ { root %%DIR%%/www; try_files $uri /$arg_f =404; }
         location /arg/ { alias %%DIR%%/files/$arg_d/; }
         location /list/ { alias %%DIR%%/files/; autoindex on; }
         location /index/ { alias %%DIR%%/files/; index $arg_i; }
         location /cut/ { rewrite ^/cut/(.*)$ /$1 break; root %%DIR%%/files; }
         location /glue/ { rewrite ^/glue/(.*)$ $1 break; root %%DIR%%/files; }
         location /back/ { error_page 404 /$arg_p; root %%DIR%%/files; }",
    );
    let inside = ask(&proxy, "/f/one.txt");
    assert!(inside.ends_with("inside"), "{inside}");
    for prefix in [
        "/f", "/loose", "/bare", "/re", "/raw", "/tried", "/named", "/arg", "/list", "/cut",
        "/glue",
    ] {
        for step in STEPS {
            gives_nothing_away(&proxy, &format!("{prefix}{step}"));
        }
    }
    for target in [
        // Off by a slash: the location's text ends where a name goes on.
        "/loose../secret.txt",
        "/loose..%2fsecret.txt",
        "/loose../../secret.txt",
        "/loose..%2f..%2fsecret.txt",
        "/loose%2e%2e/secret.txt",
        "/loose../other/",
        "/bare-secret/secret.txt",
        "/bare/../secret.txt",
        "/bare../secret.txt",
        "/bare/../files-secret/secret.txt",
        "/raw-secret/secret.txt",
        "/raw/../secret.txt",
        "/raw/..%2fsecret.txt",
        "/raw..%2fsecret.txt",
        "/re/..%2fsecret.txt",
        "/re/%2e%2e/secret.txt",
        "/re/x%2f..%2f..%2fsecret.txt",
        "/re//etc/passwd",
        "/glue/-secret/secret.txt",
        "/glue/../secret.txt",
        // What arguments bring is not decoded, and still may not climb.
        "/arg/secret.txt?d=..",
        "/arg/secret.txt?d=../other",
        "/arg/secret.txt?d=x/../..",
        "/arg/secret.txt?d=%2e%2e",
        "/named/x?f=../secret.txt",
        "/named/x?f=../../secret.txt",
        "/named/x?f=/../secret.txt",
        "/index/?i=../secret.txt",
        "/index/?i=../other/secret.txt",
        "/index/?i=x/../../secret.txt",
        "/back/x?p=../secret.txt",
        "/back/x?p=..%2fsecret.txt",
        "/list/..%2f",
        "/list/%2e%2e/",
        "/list/../",
    ] {
        gives_nothing_away(&proxy, target);
    }
}

#[test]
fn links_lead_outside_only_where_they_may() {
    let proxy = site(
        "location /strict/ { alias %%DIR%%/www/; disable_symlinks on from=%%DIR%%/www; }
         location /cached/ { alias %%DIR%%/www/; disable_symlinks on from=%%DIR%%/www;
                             open_file_cache max=100; open_file_cache_errors on; }
         location /tried/ { alias %%DIR%%/www/; disable_symlinks on from=%%DIR%%/www; try_files $uri /none =404; }
         location /packed/ { alias %%DIR%%/www/; disable_symlinks on from=%%DIR%%/www; gzip_static always; }
         location /asked/ { alias %%DIR%%/www/; disable_symlinks on from=%%DIR%%/www;
                            if (-f $request_filename) { return 200 \"the-secret-of-another-folder\"; } return 404; }",
    );
    symlink("../secret.txt", proxy.path("www/index.html.gz")).unwrap();
    // Links are the operator's own doing, and are followed unless told otherwise.
    assert!(ask(&proxy, "/out.txt").contains(SECRET));
    assert!(ask(&proxy, "/out/secret.txt").contains(SECRET));
    for location in ["/strict", "/cached", "/tried", "/asked"] {
        for name in [
            "/out.txt",
            "/absolute.txt",
            "/out/secret.txt",
            "/out/",
            "/out",
            "/a/up.txt",
            "/a/loop/out.txt",
            "/a/loop/../out.txt",
            "/a/loop/a/loop/index.html",
            "/out.txt/",
        ] {
            // Twice, so that a cache answers too.
            for _ in 0..2 {
                let got = ask(&proxy, &format!("{location}{name}"));
                assert!(!got.contains(SECRET), "{location}{name}: {got}");
                let status: u16 = got.split(' ').nth(1).unwrap().parse().unwrap();
                assert!(matches!(status, 403 | 404), "{location}{name}: {got}");
            }
        }
    }
    for location in ["/strict", "/cached", "/tried"] {
        assert!(ask(&proxy, &format!("{location}/a/b/page.html")).ends_with("inside"));
    }
    if !is_foreign() {
        let packed = ask(&proxy, "/packed/index.html");
        assert!(!packed.contains(SECRET), "{packed}");
    }
}
