//! Arbitrary bytes never panic a reader or the engine, and nothing grows faster than the text.

use std::fmt::Write as _;

use super::{load_files, load_text};
use crate::config::write;

/// A small generator, so that a failure is reproduced by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn any_bytes() {
    let names: Vec<&str> = crate::config::rows::all().map(|r| r.name).collect();
    let pieces = [
        ";",
        " ",
        "{",
        "}",
        "\"",
        "'",
        "\\",
        "#",
        "\n",
        "$",
        "${",
        "(",
        ")",
        "~",
        "on",
        "off",
        "1",
        "10k",
        "/",
        "*",
        "http { ",
        "server { ",
        "location / { ",
        "events {} ",
        "if ($a) { ",
        "=",
        "http://",
        "-",
        ".",
        "@",
        "0.0.0.0/0",
    ];
    let mut random = Random(0x5eed_1234_abcd_0001);
    for round in 0..3_000 {
        let mut text = Vec::new();
        for _ in 0..random.next(60) {
            match random.next(4) {
                0 => text.push(random.next(256) as u8),
                1 => {
                    text.extend_from_slice(names[random.next(names.len())].as_bytes());
                    text.push(b' ');
                }
                _ => text.extend_from_slice(pieces[random.next(pieces.len())].as_bytes()),
            }
        }
        let source = crate::config::source::Memory(
            [
                ("/c/x.conf".into(), text.clone().into()),
                ("/c/x.toml".into(), text.clone().into()),
            ]
            .into(),
        );
        for path in ["/c/x.conf", "/c/x.toml"] {
            let prefix = std::path::Path::new("/p");
            let loaded = crate::config::load(
                &source,
                path.as_ref(),
                prefix,
                None,
                crate::config::Identity::Ringx,
            );
            for diag in &loaded.diags {
                let _ = (diag.classic(), diag.rich(&loaded.tree.files));
            }
            let _ = (write::nginx(&loaded.tree), write::toml(&loaded.tree), round);
        }
    }
}

#[test]
fn cut_at_every_byte() {
    let text = include_str!("golden/rules.conf");
    for end in 0..text.len() {
        if let Some(part) = text.get(..end) {
            let _ = load_text(part);
        }
    }
}

#[test]
fn deep_nesting_ends() {
    let deep = format!(
        "events {{}} http {{ server {{ {} }} }}",
        "location /a { ".repeat(50_000)
    );
    assert!(load_text(&deep).model.is_none());
    let lists = format!("a = {}", "[".repeat(50_000));
    assert!(load_files(&[("/c/x.toml", &lists)]).model.is_none());
}

/// Twenty thousand servers that share an address: anything quadratic in them would take minutes.
#[test]
fn many_servers() {
    let mut text = String::from("events {} http { ");
    for i in 0..20_000 {
        let _ = write!(
            text,
            "server {{ listen 80; server_name n{i}; add_header A b; location /{i} {{ proxy_pass http://h{i}; }} }} \
             upstream u{i} {{ server 10.0.0.1; }} "
        );
    }
    text.push('}');
    assert!(load_text(&text).model.is_some());
    let mut text = String::from("events {} http { server { ");
    for i in 0..20_000 {
        let _ = write!(
            text,
            "location /{i} {{ if ($a) {{ return 1; }} }} if ($b) {{ break; }} "
        );
    }
    text.push_str("} map $a $b { ");
    for i in 0..20_000 {
        let _ = write!(text, "k{i} {i}; ~r{i} {i}; ");
    }
    text.push_str("} types { ");
    for i in 0..20_000 {
        let _ = write!(text, "t/{i} e{i}; ");
    }
    text.push_str("} }");
    assert!(load_text(&text).model.is_some());
}
