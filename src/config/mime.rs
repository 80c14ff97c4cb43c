//! The content types that a filter works on: `sub_filter_types` and its like. Owns the matching; knows no filter.

use std::sync::Arc;

use super::table::{Args, Fault};

/// A list of content types, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MimeTypes {
    /// `*`.
    any: bool,
    /// In lower case.
    names: Vec<Arc<[u8]>>,
}

impl MimeTypes {
    /// Both lists together: a directive may be repeated.
    #[must_use]
    pub fn with(&self, more: Self) -> Self {
        let mut names = self.names.clone();
        names.extend(more.names.into_iter().filter(|n| !self.names.contains(n)));
        Self {
            any: self.any || more.any,
            names,
        }
    }

    /// Whether a `Content-Type` value is of one of the types; its parameters do not matter. All types are those of
    /// answers without one, too.
    #[must_use]
    pub fn has(&self, content_type: &[u8]) -> bool {
        let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
        let name = content_type[..end].trim_ascii_end();
        self.any || self.names.iter().any(|n| n.eq_ignore_ascii_case(name))
    }
}

/// Reads one directive; `text/html` is always among the types.
pub(crate) fn mime_types(args: &mut Args<'_>) -> Result<MimeTypes, Fault> {
    let mut types = MimeTypes {
        any: false,
        names: vec![Arc::from(&b"text/html"[..])],
    };
    for word in args.words {
        if *word.bytes == *b"*" {
            types.any = true;
            break;
        }
        let name: Arc<[u8]> = Arc::from(word.bytes.to_ascii_lowercase());
        if types.names.contains(&name) {
            // The default is read by this function too, and draws no warning.
            args.warnings
                .push(format!("duplicate MIME type \"{}\"", word.lossy()));
            continue;
        }
        types.names.push(name);
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        let types = MimeTypes {
            any: false,
            names: vec![Arc::from(&b"text/html"[..])],
        };
        for (value, want) in [
            (&b"text/html"[..], true),
            (b"Text/HTML; charset=utf-8", true),
            (b"text/html ;x", true),
            (b"text/htmlx", false),
            (b"text", false),
            (b"", false),
        ] {
            assert_eq!(types.has(value), want, "{}", value.escape_ascii());
        }
        let all = types.with(MimeTypes {
            any: true,
            names: Vec::new(),
        });
        assert!(all.has(b"x/y") && all.has(b""));
    }
}
