//! Tokens: quotes, escapes, braces, comments, positions.

use std::path::Path;

use super::load_text;
use crate::config::write;

/// The words of the first directive of a text.
fn words(text: &str) -> Vec<String> {
    let loaded = load_text(text);
    let first = loaded.tree.directives.first();
    first
        .map(|d| {
            std::iter::once(&d.name)
                .chain(&d.args)
                .map(|w| w.lossy())
                .collect()
        })
        .unwrap_or_default()
}

#[test]
fn tokens() {
    let cases: &[(&str, &[&str])] = &[
        ("a b c;", &["a", "b", "c"]),
        ("a\tb\r\nc ;", &["a", "b", "c"]),
        ("a \"b c\" 'd;e{';", &["a", "b c", "d;e{"]),
        ("a \"\" '';", &["a", "", ""]),
        (r#"a "x\"y" 'x\'y' x\"y;"#, &["a", "x\"y", "x'y", "x\"y"]),
        (
            r"a \.php$ ^/(\d+) x\\y x\ty x\qy;",
            &["a", r"\.php$", r"^/(\d+)", r"x\y", "x\ty", r"x\qy"],
        ),
        (r"a b\ c\;d\{e;", &["a", r"b\ c\;d\{e"]),
        ("a ${b}c$d ${e};", &["a", "${b}c$d", "${e}"]),
        ("a b#c; # d\n", &["a", "b#c"]),
        ("# x\na #y\nb;", &["a", "b"]),
        ("a b}c;", &["a", "b}c"]),
        ("if (\"$a\" = \"b\") { }", &["if", "(\"$a\"", "=", "b", ")"]),
        ("if ($a = \"b c\") { }", &["if", "($a", "=", "b c", ")"]),
        ("a 'b\nc';", &["a", "b\nc"]),
    ];
    for (text, want) in cases {
        assert_eq!(words(text), *want, "{text}");
    }
}

#[test]
fn positions() {
    let loaded = load_text("a\n  b\n  c;\nd e;");
    let [first, second] = &loaded.tree.directives[..] else {
        panic!("two directives")
    };
    // nginx reports the line of the terminator.
    assert_eq!((first.span.line, first.args[1].span.line), (3, 3));
    assert_eq!(second.span.line, 4);
    assert_eq!(
        (second.args[0].span.start, second.args[0].span.end),
        (13, 14)
    );
}

#[test]
fn written_words_read_back() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let alphabet = b"ab\\\"' \t\n\r;{}$#()trn";
    for _ in 0..20_000 {
        let mut word = Vec::new();
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        for i in 0..(seed >> 60) {
            word.push(alphabet[((seed >> (i * 3)) as usize) % alphabet.len()]);
        }
        let span = crate::config::tree::Span::default();
        let make = |bytes: &[u8]| crate::config::tree::Word {
            bytes: bytes.into(),
            span,
        };
        let directive = crate::config::tree::Directive {
            name: make(b"x"),
            args: vec![make(&word)],
            block: None,
            span,
        };
        let tree = crate::config::tree::Tree {
            directives: vec![directive],
            files: Vec::new(),
        };
        let text = write::nginx(&tree);
        let source = crate::config::source::Memory(
            [(Path::new("/c").to_path_buf(), text.clone().into())].into(),
        );
        let read = crate::config::load(
            &source,
            Path::new("/c"),
            Path::new("/"),
            None,
            crate::config::Identity::Nginx,
        );
        assert_eq!(
            &read.tree.directives[0].args[0].bytes[..],
            &word[..],
            "{}",
            String::from_utf8_lossy(&text)
        );
    }
}
