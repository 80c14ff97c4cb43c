//! Variants: what an answer varies by, and what a request has of that.
//!
//! Requests that may share an answer have equal variants. Start at [`names`] and [`variant`].

use crate::proto::head::{Fields, list_items};
use crate::proto::tokens::Token;

/// Longest list of names that is remembered, as in nginx.
const NAMES_BYTES_MAX: usize = 128;

/// The names that an answer varies by, in lower case with commas between; empty when it does not vary. None when no
/// request is like another (`Vary: *`), or the list is too long.
#[must_use]
pub fn names(fields: &Fields) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    if !fields.has(Token::VARY) {
        return Some(out);
    }
    let mut len = 0;
    for value in fields.get_all(Token::VARY) {
        len += value.len() + if len > 0 { 2 } else { 0 };
        let words = value.split(|b| matches!(b, b',' | b' ' | b'\t'));
        for word in words.filter(|word| !word.is_empty()) {
            if word == b"*" {
                return None;
            }
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend(word.iter().map(u8::to_ascii_lowercase));
        }
    }
    (len <= NAMES_BYTES_MAX).then_some(out)
}

/// Appends what a request has of these names. Preferences for encodings, languages and charsets are alike when they only
/// differ in blanks; everything else byte for byte.
pub fn variant(names: &[u8], request: &Fields, out: &mut Vec<u8>) {
    for name in names.split(|&b| b == b',') {
        out.extend_from_slice(name);
        let token = Token::of(name);
        let loose = matches!(
            token,
            Token::ACCEPT_CHARSET | Token::ACCEPT_ENCODING | Token::ACCEPT_LANGUAGE
        );
        let mut mark = b':';
        for value in request.get_name_all(name) {
            if !loose {
                out.push(mark);
                out.extend_from_slice(value);
                mark = b',';
                continue;
            }
            for item in list_items(value).flat_map(|item| item.split(|&b| b == b' ')) {
                if !item.is_empty() {
                    out.push(mark);
                    out.extend_from_slice(item);
                    mark = b',';
                }
            }
        }
        // No value has a line break, so that two variants cannot be spelt alike.
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in list {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    #[test]
    fn names_are_joined_in_lower_case() {
        let long = "x".repeat(129);
        type Case<'a> = (&'a [(&'a str, &'a str)], Option<&'a str>);
        let cases: &[Case<'_>] = &[
            (&[], Some("")),
            (&[("Vary", "Accept-Encoding")], Some("accept-encoding")),
            (&[("Vary", "A,  B"), ("vary", "c")], Some("a,b,c")),
            (&[("Vary", "*")], None),
            (&[("Vary", "a"), ("Vary", "*")], None),
            (&[("Vary", "a, *")], None),
            (&[("Vary", &long)], None),
            (&[("Vary", &long[..128])], Some(&long[..128])),
            (&[("Vary", &long[..64]), ("Vary", &long[..63])], None),
        ];
        for (list, want) in cases {
            let got = names(&fields(list));
            assert_eq!(got.as_deref(), want.map(str::as_bytes), "{list:?}");
        }
    }

    #[test]
    fn requests_that_may_share_are_alike() {
        let of = |names: &str, list: &[(&str, &str)]| {
            let mut out = Vec::new();
            variant(names.as_bytes(), &fields(list), &mut out);
            String::from_utf8(out).unwrap()
        };
        let gzip = of("accept-encoding", &[("Accept-Encoding", "gzip, br")]);
        assert_eq!(
            gzip,
            of("accept-encoding", &[("accept-encoding", "gzip,br")])
        );
        assert_eq!(
            gzip,
            of(
                "accept-encoding",
                &[("Accept-Encoding", "gzip"), ("Accept-Encoding", " br")]
            )
        );
        assert_ne!(
            gzip,
            of("accept-encoding", &[("Accept-Encoding", "br, gzip")])
        );
        assert_ne!(of("x", &[("X", "a, b")]), of("x", &[("X", "a,b")]));
        assert_ne!(of("x", &[]), of("x", &[("X", "")]));
        assert_ne!(of("a,b", &[("A", "1")]), of("a,b", &[("B", "1")]));
    }
}
