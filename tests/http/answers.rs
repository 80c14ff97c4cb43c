//! Content that the server makes by itself.

use super::Site;

#[test]
fn the_empty_picture() {
    let mut site = Site::new("server { listen 80; location / { empty_gif; } }");
    let answer = site.get("/");
    assert_eq!(
        (answer.status, answer.content_type.as_str()),
        (200, "image/gif")
    );
    assert!(answer.body.starts_with("GIF89a"));
    assert_eq!(site.send("POST / HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
    let since =
        |date: &str| format!("GET / HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: {date}\r\n\r\n");
    let same = site.send(&since("Mon, 28 Sep 1970 06:00:00 GMT"));
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    assert_eq!(
        site.send(&since("Mon, 28 Sep 1970 06:00:01 GMT")).status,
        200
    );
}

#[test]
fn the_status_page() {
    let mut site = Site::new("server { listen 80; location / { stub_status; } }");
    let answer = site.get("/");
    assert_eq!(answer.content_type, "text/plain");
    let mut lines = answer.body.lines();
    assert!(lines.next().unwrap().starts_with("Active connections: "));
    assert_eq!(lines.next(), Some("server accepts handled requests"));
    assert!(lines.next().unwrap().starts_with(' '));
    assert!(lines.next().unwrap().starts_with("Reading: "));
    assert_eq!(site.send("PUT / HTTP/1.1\r\nHost: a\r\n\r\n").status, 405);
}
