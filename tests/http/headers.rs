//! `add_header`, `expires`, `userid`, redirects made absolute.

use super::Site;

#[test]
fn added_fields() {
    let mut site = Site::new(
        r#"
        server { listen 80; add_header X-Server "$host";
            location /inherit { return 200 x; }
            location /own { add_header X-Own 1; add_header X-Own 2; return 200 x; }
            location /empty { add_header X-Empty $arg_none; return 200 x; }
            location /error { add_header X-Always a always; add_header X-Not n; return 404; }
            location /merge { add_header_inherit merge; add_header X-Own 1; return 200 x; }
            location /etag { add_header ETag '"v"'; add_header Last-Modified "Thu, 01 Jan 1970 00:00:00 GMT"; empty_gif; }
            location /none { add_header Last-Modified ""; empty_gif; }
        }
        "#,
    );
    assert_eq!(site.get("/inherit").field("X-Server"), "a.test");
    let own = site.get("/own");
    assert_eq!(
        (own.field("X-Own"), own.field("X-Server")),
        ("1|2".into(), String::new())
    );
    assert!(site.get("/empty").fields.is_empty());
    let error = site.get("/error");
    assert_eq!(
        (error.field("X-Always"), error.field("X-Not")),
        ("a".into(), String::new())
    );
    let merge = site.get("/merge");
    assert_eq!(
        (merge.field("X-Own"), merge.field("X-Server")),
        ("1".into(), "a.test".into())
    );
    let etag = site.get("/etag");
    assert_eq!(etag.field("ETag"), "\"v\"");
    assert_eq!(etag.field("Last-Modified"), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_eq!(site.get("/none").field("Last-Modified"), "");
}

#[test]
fn lifetimes() {
    let mut site = Site::new(
        r#"
        map $arg_e $e { epoch epoch; off off; default 1h; }
        server { listen 80;
            location /max { expires max; return 200 x; }
            location /epoch { expires epoch; return 200 x; }
            location /hour { expires 1h; add_header Cache-Control public; return 200 x; }
            location /past { expires -1; return 200 x; }
            location /var { expires $e; return 200 x; }
            location /error { expires 1h; return 404; }
            location /mod { expires modified 1h; empty_gif; }
        }
        "#,
    );
    let max = site.get("/max");
    assert_eq!(max.field("Expires"), "Thu, 31 Dec 2037 23:55:55 GMT");
    assert_eq!(max.field("Cache-Control"), "max-age=315360000");
    let epoch = site.get("/epoch");
    assert_eq!(epoch.field("Expires"), "Thu, 01 Jan 1970 00:00:01 GMT");
    assert_eq!(epoch.field("Cache-Control"), "no-cache");
    assert_eq!(
        site.get("/hour").field("Cache-Control"),
        "max-age=3600|public"
    );
    assert_eq!(site.get("/past").field("Cache-Control"), "no-cache");
    assert_eq!(site.get("/var").field("Cache-Control"), "max-age=3600");
    assert_eq!(site.get("/var?e=epoch").field("Cache-Control"), "no-cache");
    assert_eq!(site.get("/var?e=off").field("Cache-Control"), "");
    assert_eq!(site.get("/error").field("Cache-Control"), "");
    assert_eq!(
        site.get("/mod").field("Expires"),
        "Mon, 28 Sep 1970 07:00:00 GMT"
    );
    assert_eq!(site.get("/mod").field("Cache-Control"), "no-cache");
}

#[test]
fn user_ids() {
    let mut site = Site::new(
        r#"
        server { listen 80;
            location / { userid on; userid_name u; userid_domain b.test; userid_path /p; userid_service 1;
                add_header X-Got $uid_got; add_header X-Set $uid_set; return 200 x; }
            location /reset { set $uid_reset 1; userid on; userid_name u; return 200 x; }
            location /log { userid log; userid_name u; return 200 "$uid_got|$uid_set"; }
        }
        "#,
    );
    let first = site.get("/");
    let cookie = first.field("Set-Cookie");
    assert!(
        cookie.starts_with("u=AAAAAQ") || cookie.starts_with("u=AAAAAW"),
        "{cookie}"
    );
    assert!(cookie.ends_with("; domain=b.test; path=/p"), "{cookie}");
    assert!(first.field("X-Set").starts_with("u="));
    assert_eq!(first.field("X-Got"), "");
    let value = cookie.split(';').next().unwrap();
    let with =
        |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nCookie: {value}\r\n\r\n");
    let again = site.send(&with("/"));
    assert_eq!(again.field("Set-Cookie"), "");
    assert_eq!(again.field("X-Got"), first.field("X-Set"));
    assert_ne!(site.send(&with("/reset")).field("Set-Cookie"), "");
    assert_eq!(
        site.send(&with("/log")).body,
        format!("{}|", first.field("X-Set"))
    );
}
