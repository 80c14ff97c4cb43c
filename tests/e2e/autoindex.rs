//! Directory listings in all formats, and `random_index`.

use crate::support::{Config, Proxy};
use std::collections::BTreeSet;
use std::fs::{File, FileTimes};
use std::time::{Duration, UNIX_EPOCH};

/// Sets when a path was last modified.
fn touch(proxy: &Proxy, name: &str, seconds: u64) {
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(seconds));
    File::open(proxy.path(name))
        .unwrap()
        .set_times(times)
        .unwrap();
}

fn site(text: &str) -> Proxy {
    let proxy = Config::server(&format!("root %%DIR%%/www; autoindex on; {text}"))
        .file("www/list/a<b.txt", "12345")
        .file("www/list/big", vec![0; 12_000])
        .file("www/list/.hidden", "")
        .file("www/list/sub/x", "")
        .file("www/list/ü", "")
        .file("www/with/index.html", "index")
        .file("www/only/one.txt", "one")
        .may_log("is forbidden")
        .may_log("callback name")
        .may_log("opendir()")
        .may_log("is not found")
        .start();
    for name in ["a<b.txt", "big", "sub", "ü"] {
        touch(&proxy, &format!("www/list/{name}"), 1_000_000_000);
    }
    proxy
}

const PAGE: &str = "<html>\r\n<head><title>Index of /list/</title></head>\r\n<body>\r\n\
<h1>Index of /list/</h1><hr><pre><a href=\"../\">../</a>\r\n\
<a href=\"sub/\">sub/</a>                                               09-Sep-2001 01:46                   -\r\n\
<a href=\"a%3Cb.txt\">a&lt;b.txt</a>                                            09-Sep-2001 01:46                   5\r\n\
<a href=\"big\">big</a>                                                09-Sep-2001 01:46               12000\r\n\
<a href=\"%C3%BC\">ü</a>                                                 09-Sep-2001 01:46                   0\r\n\
</pre><hr></body>\r\n</html>\r\n";

#[test]
fn html_is_nginxs_to_the_byte() {
    let proxy = site(
        "location /round/ { alias %%DIR%%/www/list/; autoindex_exact_size off; }
         location /utf8/ { alias %%DIR%%/www/list/; charset utf-8; }",
    );
    let got = proxy.get("/list/");
    assert_eq!(got.status(), 200);
    assert_eq!(got.field("content-type"), Some("text/html"));
    assert_eq!(got.field("content-length"), None);
    // The one character of two bytes counts as two columns where no charset says otherwise.
    assert_eq!(got.text(), PAGE);
    let got = proxy.get("/round/");
    for line in [
        "sub/</a>                                               09-Sep-2001 01:46       -\r\n",
        "big</a>                                                09-Sep-2001 01:46     12K\r\n",
        "a&lt;b.txt</a>                                            09-Sep-2001 01:46       5\r\n",
    ] {
        assert!(got.text().contains(line), "{}", got.text());
    }
    let got = proxy.get("/utf8/");
    let wide = ">ü</a>                                                  09-Sep";
    assert!(got.text().contains(wide), "{}", got.text());
    assert_eq!(got.field("content-type"), Some("text/html; charset=utf-8"));
    let head = proxy.client().request("HEAD", "/list/", "").response();
    assert_eq!((head.status(), head.text()), (200, ""));
}

#[test]
fn other_formats() {
    let proxy = site(
        "location /json/ { alias %%DIR%%/www/list/; autoindex_format json; }
         location /jsonp/ { alias %%DIR%%/www/list/; autoindex_format jsonp; }
         location /xml/ { alias %%DIR%%/www/list/; autoindex_format xml; }",
    );
    let time = "Sun, 09 Sep 2001 01:46:40 GMT";
    let json = format!(
        "[\r\n{{ \"name\":\"sub\", \"type\":\"directory\", \"mtime\":\"{time}\" }},\
         \r\n{{ \"name\":\"a<b.txt\", \"type\":\"file\", \"mtime\":\"{time}\", \"size\":5 }},\
         \r\n{{ \"name\":\"big\", \"type\":\"file\", \"mtime\":\"{time}\", \"size\":12000 }},\
         \r\n{{ \"name\":\"ü\", \"type\":\"file\", \"mtime\":\"{time}\", \"size\":0 }}\r\n]"
    );
    let got = proxy.get("/json/?callback=f");
    assert_eq!(got.field("content-type"), Some("application/json"));
    assert_eq!(got.text(), json);
    let got = proxy.get("/jsonp/");
    assert_eq!(got.field("content-type"), Some("application/json"));
    assert_eq!(got.text(), json);
    let got = proxy.get("/jsonp/?callback=a.b_1");
    assert_eq!(got.field("content-type"), Some("application/javascript"));
    assert_eq!(got.text(), format!("/* callback */\r\na.b_1({json});"));
    for bad in ["a(b)", "a%20b", &"x".repeat(129)] {
        assert_eq!(proxy.get(&format!("/jsonp/?callback={bad}")).status(), 400);
    }
    let got = proxy.get("/xml/");
    assert_eq!(got.field("content-type"), Some("text/xml; charset=utf-8"));
    let mtime = "mtime=\"2001-09-09T01:46:40Z\"";
    assert_eq!(
        got.text(),
        format!(
            "<?xml version=\"1.0\"?>\r\n<list>\r\n\
             <directory {mtime}>sub</directory>\r\n\
             <file {mtime} size=\"5\">a&lt;b.txt</file>\r\n\
             <file {mtime} size=\"12000\">big</file>\r\n\
             <file {mtime} size=\"0\">ü</file>\r\n</list>\r\n"
        )
    );
}

#[test]
fn an_index_goes_first_and_what_is_missing_is_404() {
    let proxy = site("location /off/ { alias %%DIR%%/www/list/; autoindex off; }");
    assert_eq!(proxy.get("/with/").text(), "index");
    assert_eq!(proxy.get("/absent/").status(), 404);
    assert_eq!(proxy.get("/list/big/").status(), 404);
    assert_eq!(proxy.get("/off/").status(), 403);
    let post = proxy
        .client()
        .request("POST", "/list/", "Content-Length: 0\r\n")
        .response();
    assert_eq!(post.status(), 403);
    let titled = proxy.get("/list/sub/");
    assert!(titled.text().contains("Index of /list/sub/"));
}

#[test]
fn a_random_file_stands_for_its_directory() {
    let proxy = site(
        "location /only/ { random_index on; }
         location /list/ { random_index on; }
         location /none/ { alias %%DIR%%/www/; random_index on; autoindex off; }",
    );
    assert_eq!(proxy.get("/only/").text(), "one");
    // Three files and a directory: the chance to miss one of the three in 200 requests is nothing.
    let mut client = proxy.client();
    let found: BTreeSet<String> = (0..200)
        .map(|_| {
            client
                .get("/list/")
                .response()
                .field("content-length")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(found, ["0", "12000", "5"].map(String::from).into());
    // A directory of directories has none, and falls through.
    assert_eq!(proxy.get("/none/").status(), 403);
}

#[test]
fn times_are_local_where_that_is_asked_for() {
    let proxy = Config::server(
        "root %%DIR%%/www; autoindex on; location /list/here/ { autoindex_localtime on; }",
    )
    .file("www/list/x", "1")
    .file("www/list/here/x", "1")
    // Five hours and three quarters east, written as POSIX does.
    .env("TZ", "<+0545>-5:45")
    .start();
    for name in ["x", "here/x"] {
        touch(&proxy, &format!("www/list/{name}"), 1_000_000_000);
    }
    assert!(proxy.get("/list/").text().contains("09-Sep-2001 01:46"));
    assert!(
        proxy
            .get("/list/here/")
            .text()
            .contains("09-Sep-2001 07:31")
    );
}
