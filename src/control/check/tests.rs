//! Tests of the command: what it says of whole files, and that its formats are what they should be.

use std::path::{Path, PathBuf};

use super::*;

fn asked(file: &Path) -> (Setup, Examined) {
    let options = Options {
        file: Some(file.to_owned()),
        ..Options::default()
    };
    let setup = Setup::new(Identity::Ringx, &options, Vec::new());
    let examined = examine(&setup, &[], &Ask::default());
    (setup, examined)
}

fn text(file: &Path) -> (bool, String) {
    let (setup, examined) = asked(file);
    let text = report::text(&setup, &examined, &fix::Edits::default(), &Ask::default());
    (examined.sizes.is_some(), text)
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

#[test]
fn the_shipped_configurations_are_good_and_draw_no_warning() {
    for name in [
        "demo.conf",
        "edge.conf",
        "edge.toml",
        "nginx.conf",
        "php.conf",
        "proxy.toml",
        "tcp.conf",
    ] {
        let (good, text) = text(&shipped().join(name));
        assert!(good && text.contains("0 errors, 0 warnings"), "{text}");
    }
}

#[test]
fn each_snippet_can_be_included() {
    let folder = shipped().join("snippets");
    let dir = tempfile::tempdir().expect("dir");
    // One of them includes it by the name that it has beside nginx.conf.
    std::fs::copy(
        folder.join("../fastcgi.conf"),
        dir.path().join("fastcgi.conf"),
    )
    .expect("copy");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let conf = format!(
            "events {{}} http {{ map $http_upgrade $connection_upgrade {{ default x; }} server {{ include {}; \
             location / {{ proxy_pass http://127.0.0.1:1; }} }} }}",
            path.display()
        );
        let file = dir.path().join("t.conf");
        std::fs::write(&file, conf).expect("write");
        let (good, text) = text(&file);
        assert!(good, "{text}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn a_bad_one_is_told_with_its_line_and_a_count() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("t.conf");
    std::fs::write(
        &file,
        "events {}\nhttp { nonsense; upstream u { server no-such-host.invalid; } }\n",
    )
    .expect("write");
    let (good, text) = text(&file);
    assert!(!good);
    assert!(
        text.contains("nonsense;") && text.contains("1 error, "),
        "{text}"
    );
}

#[test]
fn no_name_is_asked_about() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("t.conf");
    let conf = "http { upstream u { server no-such-host.invalid; } server { location / { proxy_pass http://u; proxy_set_header Host $host; } } }";
    std::fs::write(&file, conf).expect("write");
    let (good, text) = text(&file);
    assert!(
        good && text.contains("0 errors, 0 warnings, 0 notes"),
        "{text}"
    );
}

#[test]
fn comments_and_options_choose_what_is_said() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("t.conf");
    let conf = "http {\n    server {\n        # ringx: allow loose-alias, plain-443\n        location /a { alias /; }\n        location /b { alias /; } # ringx: allow loose-alias\n        location /c { alias /; }\n    }\n}\n";
    std::fs::write(&file, conf).expect("write");
    let (setup, examined) = asked(&file);
    let lines: Vec<u32> = examined.found.iter().map(|f| f.span.line).collect();
    assert_eq!(lines, [6]);
    let allow = Ask {
        allow: vec!["loose-alias".into()],
        ..Ask::default()
    };
    assert!(examine(&setup, &[], &allow).found.is_empty());
    let deny = Ask {
        deny: vec!["loose-alias".into()],
        ..Ask::default()
    };
    assert_eq!(worst(&examine(&setup, &[], &deny)), Level::Emerg);
}

/// Text on one line, with what `escape` is for in it.
#[test]
fn strings_of_json_are_escaped() {
    assert_eq!(report::string("a\"b\\\n\t\u{1}é"), r#""a\"b\\\n\t\u0001é""#);
}
