//! Error texts, exactly as nginx prints them.

use super::{classic, load_text};

fn http(inside: &str) -> Vec<String> {
    classic(&load_text(&format!("events {{}}\nhttp {{\n{inside}\n}}\n")))
}

#[test]
fn minimal_loads() {
    let loaded =
        load_text("events {}\nhttp { server { location / { proxy_pass http://127.0.0.1:1; } } }\n");
    assert_eq!(classic(&loaded), Vec::<String>::new());
    assert!(loaded.model.is_some());
}

#[test]
fn one_line_each() {
    let cases: &[(&str, &str)] = &[
        (
            "gzipp on;",
            "[emerg] unknown directive \"gzipp\" in /c/nginx.conf:3",
        ),
        (
            "listen 80;",
            "[emerg] \"listen\" directive is not allowed here in /c/nginx.conf:3",
        ),
    ];
    for (text, want) in cases {
        assert_eq!(http(text), [*want], "{text}");
    }
}
