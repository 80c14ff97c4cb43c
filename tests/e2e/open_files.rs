//! `open_file_cache` and `disable_symlinks`: what is remembered, for how long, and what is looked at each time.

use crate::support::{Config, Proxy, wait};
use std::fs;

fn site(text: &str) -> Proxy {
    Config::server(&format!("root %%DIR%%/www; etag off; {text}"))
        .file("www/a", "first")
        .file("www/b", "b")
        .file("www/c", "c")
        .file("www/d/index.html", "index")
        .may_log("No such file or directory")
        .may_log("Too many levels of symbolic links")
        .may_log("Not a directory")
        .may_log("is not found")
        .start()
}

/// Puts another file in the place of one, as deployments do.
fn replace(proxy: &Proxy, name: &str, text: &str) {
    let new = proxy.path("www/.new");
    fs::write(&new, text).unwrap();
    fs::rename(new, proxy.path(name)).unwrap();
}

#[test]
fn what_is_kept_is_served_until_it_is_looked_at_again() {
    let proxy = site(
        "open_file_cache max=10;
         location /short/ { alias %%DIR%%/www/; open_file_cache max=10; open_file_cache_valid 1s; }
         location /off/ { alias %%DIR%%/www/; open_file_cache off; }",
    );
    for target in ["/a", "/short/a", "/off/a"] {
        assert_eq!(proxy.get(target).text(), "first");
    }
    replace(&proxy, "www/a", "second!");
    assert_eq!(proxy.get("/off/a").text(), "second!");
    // The old file is still open: all of it comes, with its own length and date.
    let got = proxy.get("/a");
    assert_eq!(
        (got.text(), got.field("content-length")),
        ("first", Some("5"))
    );
    wait::until("the entry is looked at again", || {
        proxy.get("/short/a").text() == "second!"
    });
    assert_eq!(proxy.get("/a").text(), "first");
    // Ranges and heads come from the same open file.
    let got = proxy
        .client()
        .request("GET", "/a", "Range: bytes=1-2\r\n")
        .response();
    assert_eq!((got.status(), got.text()), (206, "ir"));
}

#[test]
fn a_file_that_is_written_in_place_has_its_new_length() {
    let proxy = site("open_file_cache max=10; open_file_cache_valid 1s;");
    assert_eq!(proxy.get("/a").text(), "first");
    fs::write(proxy.path("www/a"), "longer than before").unwrap();
    wait::until("the entry is looked at again", || {
        proxy.get("/a").text() == "longer than before"
    });
}

#[test]
fn errors_are_remembered_only_when_told() {
    let proxy = site(
        "open_file_cache max=10;
         location /told/ { alias %%DIR%%/www/; open_file_cache max=10; open_file_cache_errors on; }",
    );
    for target in ["/new", "/told/new"] {
        assert_eq!(proxy.get(target).status(), 404);
    }
    fs::write(proxy.path("www/new"), "new").unwrap();
    assert_eq!(proxy.get("/new").text(), "new");
    assert_eq!(proxy.get("/told/new").status(), 404);
}

#[test]
fn no_more_files_are_kept_than_told() {
    let proxy = site("open_file_cache max=2;");
    let mut client = proxy.client();
    client.get("/b").response();
    let before = proxy.worker_fds();
    for _ in 0..3 {
        for target in ["/a", "/b", "/c", "/d/", "/d/index.html"] {
            assert_eq!(client.get(target).response().status(), 200, "{target}");
        }
    }
    // One of the two was open before.
    wait::until("the others are closed", || proxy.worker_fds() <= before + 1);
    // The one that went first is looked at anew.
    replace(&proxy, "www/a", "second!");
    assert_eq!(client.get("/a").response().text(), "second!");
}

#[test]
fn a_file_is_kept_open_once_it_is_used_often_enough() {
    let proxy = site("open_file_cache max=10; open_file_cache_min_uses 3;");
    for text in ["first", "1", "2"] {
        replace(&proxy, "www/a", text);
        assert_eq!(proxy.get("/a").text(), text);
    }
    replace(&proxy, "www/a", "3");
    assert_eq!(proxy.get("/a").text(), "2");
}

#[test]
fn links_are_followed_or_not() {
    let proxy = site(
        "location /on/ { alias %%DIR%%/www/; disable_symlinks on from=%%DIR%%/www; }
         location /whole/ { alias %%DIR%%/linked/; disable_symlinks on; }
         location /from/ { alias %%DIR%%/linked/; disable_symlinks on from=%%DIR%%/linked/; }
         location /owner/ { alias %%DIR%%/www/; disable_symlinks if_not_owner from=$document_root; }
         location /off/ { alias %%DIR%%/www/; disable_symlinks off; }",
    );
    std::os::unix::fs::symlink("a", proxy.path("www/link")).unwrap();
    std::os::unix::fs::symlink("www", proxy.path("linked")).unwrap();
    for (target, status) in [
        ("/on/a", 200),
        ("/on/link", 403),
        ("/whole/a", 404),
        ("/from/a", 200),
        ("/from/link", 403),
        ("/from/d/", 200),
        ("/owner/link", 200),
        ("/off/link", 200),
        ("/link", 200),
    ] {
        assert_eq!(proxy.get(target).status(), status, "{target}");
    }
    proxy.wait_log("error.log", "openat() \"");
    proxy.wait_log(
        "error.log",
        "/www/link\" failed (40: Too many levels of symbolic links)",
    );
}
