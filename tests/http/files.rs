//! Static files: `root`, `alias`, `index`, `try_files`.

use super::Site;
use crate::support::wait;

fn site(locations: &str) -> Site {
    let site = Site::new(&format!(
        "types {{ text/html html; text/plain txt; }} default_type application/x; server {{ listen 80; root %%ROOT%%/www; {locations} }}"
    ));
    site.write("www/index.html", "index");
    site.write("www/a.txt", "12345");
    site.write("www/A.HTML", "x");
    site.write("www/noext", "x");
    site.write("www/dir/index.html", "in dir");
    site.write("www/bare/file", "x");
    site.write("www/with space/index.html", "x");
    site.write("secret.txt", "secret");
    site
}

#[test]
fn roots() {
    let mut site = site("");
    for (target, status, content_type) in [
        ("/a.txt", 200, "text/plain"),
        ("/A.HTML", 200, "text/html"),
        ("/noext", 200, "application/x"),
        ("/", 200, "text/html"),
        ("/dir/", 200, "text/html"),
        ("/bare/", 403, "text/html"),
        ("/absent", 404, "text/html"),
        ("/absent/", 404, "text/html"),
        ("/a.txt/", 404, "text/html"),
        ("/a.txt/x", 404, "text/html"),
    ] {
        let answer = site.get(target);
        assert_eq!(
            (answer.status, answer.content_type.as_str()),
            (status, content_type),
            "{target}"
        );
    }
    let file = site.get("/a.txt");
    assert_eq!(file.body, "file of 5");
    assert!(file.field("ETag").ends_with("-5\""), "{file:?}");
    for (target, location) in [
        ("/dir", "http://a.test/dir/"),
        ("/dir?a", "http://a.test/dir/?a"),
        ("/with%20space", "http://a.test/with%20space/"),
    ] {
        let answer = site.get(target);
        assert_eq!((answer.status, answer.location.as_str()), (301, location));
    }
    assert_eq!(
        site.send("POST /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").status,
        405
    );
    assert_eq!(
        site.send("PUT /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").status,
        405
    );
    let folder = site.folder().display().to_string();
    let lines = site.lines().join("\n");
    assert!(
        lines.contains(&format!(
            "open() \"{folder}/www/absent\" failed (2: No such file or directory)"
        )),
        "{lines}"
    );
    assert!(
        lines.contains(&format!(
            "directory index of \"{folder}/www/bare/\" is forbidden"
        )),
        "{lines}"
    );
}

#[test]
fn missing_files_need_not_be_logged() {
    let mut site = site("log_not_found off;");
    assert_eq!(site.get("/absent").status, 404);
    assert_eq!(site.get("/absent/").status, 404);
    assert_eq!(site.lines(), Vec::<String>::new());
}

#[test]
fn aliases() {
    let mut site = site(
        r#"
        location /s/ { alias %%ROOT%%/www/; }
        location /noslash { alias %%ROOT%%/www/; }
        location /bare { alias %%ROOT%%/www; }
        location /names_ { alias %%ROOT%%/names_; }
        location /cut { rewrite ^/cut/(.*)$ $1 break; }
        location = /one { alias %%ROOT%%/www/a.txt; }
        location ~ ^/re/(.*)$ { alias %%ROOT%%/www/$1; }
        location ~ ^/cut/x(.*)$ { alias %%ROOT%%/www/$1; }
        location /var/ { alias %%ROOT%%/$arg_d/; }
        location /moved/ { rewrite ^/moved/(.*)$ /x/$1 break; alias %%ROOT%%/www/; }
        "#,
    );
    site.write("www-secret/x", "secret");
    site.write("names_1", "1");
    for (target, status) in [
        ("/s/a.txt", 200),
        ("/s/", 200),
        ("/one", 200),
        ("/re/a.txt", 200),
        ("/var/a.txt?d=www", 200),
        ("/var/secret.txt?d=www/..", 404),
        ("/noslash../secret.txt", 404),
        ("/noslash/a.txt", 200),
        ("/bare/a.txt", 200),
        ("/bare-secret/x", 404),
        ("/names_1", 200),
        ("/cut/-secret/x", 404),
        ("/cut/a.txt", 404),
        ("/re/..%2Fsecret.txt", 404),
        ("/cut/x../secret.txt", 404),
        ("/moved/a.txt", 500),
    ] {
        assert_eq!(site.get(target).status, status, "{target}");
    }
}

#[test]
fn indexes() {
    let mut site = site(
        r#"
        location /dir/ { index none.html index.html; }
        location /abs/ { index none.html /a.txt; }
        location /var/ { index $arg_i; }
        location ~ \.html$ { return 200 "$uri"; }
        "#,
    );
    site.write("www/var/x.html", "");
    site.write("www/abs/y", "");
    assert_eq!(site.get("/dir/").body, "/dir/index.html");
    assert_eq!(site.get("/abs/").body, "file of 5");
    assert_eq!(site.get("/var/?i=x.html").body, "/var/x.html");
    assert_eq!(site.get("/var/?i=../../../secret.txt").status, 403);
}

#[test]
fn tried_files() {
    let mut site = site(
        r#"
        location / { try_files $uri $uri/ /fallback?q=$uri; }
        location /fallback { return 200 "fallback $args"; }
        location /code/ { try_files /none =403; }
        location /named/ { try_files $uri @name; }
        location @name { return 200 "named $uri"; }
        location /fixed/ { try_files /a.txt =404; }
        location /climb/ { try_files /$arg_f =404; }
        location /al/ { alias %%ROOT%%/www/; try_files $uri =404; }
        location ~ ^/rx/(.*)$ { alias %%ROOT%%/www; try_files /$1 =404; }
        "#,
    );
    for (target, status, body) in [
        ("/a.txt", 200, "file of 5"),
        ("/none", 200, "fallback q=/none"),
        ("/dir/", 200, "file of 6"),
        ("/named/x", 200, "named /named/x"),
        ("/fixed/x", 200, "file of 5"),
        ("/al/a.txt", 200, "file of 5"),
        ("/rx/a.txt", 200, "file of 5"),
    ] {
        let answer = site.get(target);
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (status, body),
            "{target}"
        );
    }
    assert_eq!(site.get("/dir").location, "http://a.test/dir/");
    assert_eq!(site.get("/code/x").status, 403);
    assert_eq!(site.get("/climb/?f=../secret.txt").status, 404);
    assert_eq!(site.get("/climb/?f=a.txt").status, 200);
}

/// Asks until the answer comes from memory.
fn until_kept(site: &mut Site, target: &str, text: &str) {
    wait::until("the file has rested and is kept", || {
        let body = site.get(target).body;
        assert!(body == text || body.starts_with("file of"), "{body}");
        body == text
    });
}

#[test]
fn a_small_file_is_kept_and_each_change_of_it_shows() {
    let mut site = site("");
    site.write("www/empty", "");
    site.write("www/large", &"x".repeat(20_000));
    until_kept(&mut site, "/a.txt", "12345");
    let tag = site.get("/a.txt").field("ETag");
    assert!(tag.ends_with("-5\""), "{tag}");
    assert_eq!(
        site.send("POST /a.txt HTTP/1.1\r\nHost: a\r\n\r\n").status,
        405
    );
    // Written in place with the same length, and replaced by another file.
    site.write("www/a.txt", "54321");
    assert_eq!(site.get("/a.txt").body, "file of 5");
    until_kept(&mut site, "/noext", "x");
    site.write("www/new", "y");
    std::fs::rename(
        site.folder().join("www/new"),
        site.folder().join("www/noext"),
    )
    .unwrap();
    assert_eq!(site.get("/noext").body, "file of 1");
    until_kept(&mut site, "/a.txt", "54321");
    std::fs::remove_file(site.folder().join("www/a.txt")).unwrap();
    assert_eq!(site.get("/a.txt").status, 404);
    for name in ["/empty", "/large"] {
        for _ in 0..3 {
            assert!(site.get(name).body.starts_with("file of"), "{name}");
        }
    }
}
