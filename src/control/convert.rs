//! `ringx convert`: a configuration in one language, written in the other.
//!
//! Start at [`convert`].

use std::path::Path;

use super::cli::Options;
use super::commands::Language;
use super::identity::Identity;
use super::reading;
use super::setup::Setup;
use crate::config::write;

/// Reads a file and writes it in the language that is asked for, or else in the other one. The error is a whole text.
pub fn convert(file: &Path, to: Option<Language>) -> Result<Vec<u8>, String> {
    let is_toml = file
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let to = to.unwrap_or(if is_toml {
        Language::Nginx
    } else {
        Language::Toml
    });
    let options = Options {
        file: Some(file.to_owned()),
        ..Options::default()
    };
    let setup = Setup::new(Identity::Ringx, &options, Vec::new());
    let (loaded, findings) = reading::load_only(&setup);
    if loaded.model.is_none() {
        return Err(findings);
    }
    match to {
        Language::Nginx => Ok(write::nginx(&loaded.tree)),
        Language::Toml => write::toml(&loaded.tree)
            .map(String::into_bytes)
            .map_err(|error| {
                let source = loaded.tree.files.get(error.span.file as usize);
                let place = source.map_or_else(|| file.display(), |source| source.path.display());
                let line = error.span.line;
                format!(
                    "ringx: TOML cannot hold bytes that are not UTF-8 in {place}:{line}
"
                )
            }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_and_back() {
        let dir = tempfile::tempdir().expect("dir");
        let (conf, toml) = (dir.path().join("a.conf"), dir.path().join("a.toml"));
        let text = "events {\n}\n\nhttp {\n    server {\n        listen 8080;\n\n        location / {\n            return 200 ok;\n        }\n    }\n}\n";
        std::fs::write(&conf, text).expect("write");
        std::fs::write(&toml, convert(&conf, None).expect("TOML")).expect("write");
        let back = convert(&toml, None).expect("nginx.conf");
        let again = dir.path().join("again.conf");
        std::fs::write(&again, &back).expect("write");
        // The second round changes nothing any more.
        let toml_again = convert(&again, None).expect("TOML");
        assert_eq!(toml_again, std::fs::read(&toml).expect("read"));
        assert_eq!(
            convert(&conf, Some(Language::Nginx)).expect("nginx.conf"),
            text.as_bytes()
        );
    }

    #[test]
    fn what_does_not_load_is_not_converted() {
        let dir = tempfile::tempdir().expect("dir");
        let conf = dir.path().join("a.conf");
        std::fs::write(&conf, "events {}\nnonsense;\n").expect("write");
        let error = convert(&conf, None).expect_err("refused");
        assert!(
            error.contains("nonsense") && error.contains("a.conf:2"),
            "{error}"
        );
    }
}
