//! What can be told of a regular expression by looking at it: dots that were meant as dots, the text it begins with, whether
//! it takes everything. Says nothing where it is not sure. Start at [`loose_dots`].

/// Walks a pattern and reports each plain byte outside classes and escapes.
fn plain(pattern: &[u8]) -> Vec<(usize, u8)> {
    let mut out = Vec::new();
    let (mut at, mut class) = (0, false);
    while let Some(&byte) = pattern.get(at) {
        match byte {
            b'\\' => {
                at += 2;
                continue;
            }
            b'[' if !class => {
                class = true;
                // A bracket that comes first is one of the class.
                at += 1 + usize::from(pattern.get(at + 1) == Some(&b'^'));
                at += usize::from(pattern.get(at) == Some(&b']'));
                continue;
            }
            b']' if class => class = false,
            _ if !class => out.push((at, byte)),
            _ => {}
        }
        at += 1;
    }
    out
}

/// Places of dots that were most probably meant as dots: between words, before a list of file name extensions, and never
/// before something that repeats them.
pub(super) fn loose_dots(pattern: &[u8]) -> Vec<usize> {
    let at = |i: usize| pattern.get(i).copied().unwrap_or(0);
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    plain(pattern)
        .into_iter()
        .filter(|&(i, byte)| {
            let (before, next) = (if i == 0 { 0 } else { at(i - 1) }, at(i + 1));
            let extensions =
                next == b'(' && (at(i + 2) != b'?' || at(i + 3) == b':') && ends(&pattern[i + 1..]);
            let name = word(next) && (word(before) || i == 0 || before == b'*' || before == b'+');
            // A dot between single letters may well be one for any character.
            let several = word(at(i + 2)) || i == 0 || (i > 1 && word(at(i - 2)));
            byte == b'.' && (extensions || (name && several))
        })
        .map(|(i, _)| i)
        .collect()
}

/// Whether a group of words and nothing else is left, perhaps with its end: `(js|css)$`.
fn ends(rest: &[u8]) -> bool {
    let inside = rest.strip_suffix(b"$").unwrap_or(rest);
    inside.first() == Some(&b'(')
        && inside.last() == Some(&b')')
        && inside[1..inside.len() - 1]
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"|?:[]-".contains(b))
}

/// The pattern with these dots escaped.
pub(super) fn escaped(pattern: &[u8], dots: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(pattern.len() + dots.len());
    for (i, &byte) in pattern.iter().enumerate() {
        if dots.contains(&i) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

/// The text that every match begins with; empty where it may begin anywhere.
pub(super) fn prefix(pattern: &[u8]) -> Vec<u8> {
    let Some(rest) = pattern.strip_prefix(b"^") else {
        return Vec::new();
    };
    // Alternatives at the top may begin with anything.
    let mut depth = 0;
    for (_, byte) in plain(rest) {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'|' if depth == 0 => return Vec::new(),
            _ => {}
        }
    }
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = rest.get(at) {
        let (literal, next) = match byte {
            b'\\' => match rest.get(at + 1) {
                Some(&c) if !c.is_ascii_alphanumeric() => (c, at + 2),
                _ => break,
            },
            b'.' | b'[' | b'(' | b'$' | b'^' | b'|' | b')' => break,
            byte => (byte, at + 1),
        };
        // What may be left out is no part of the text.
        match rest.get(next) {
            Some(b'?' | b'*' | b'{') => break,
            Some(b'+') => {
                out.push(literal);
                break;
            }
            _ => out.push(literal),
        }
        at = next;
    }
    out
}

/// Whether it takes every path.
pub(super) fn takes_all(pattern: &[u8]) -> bool {
    [
        &b"^"[..],
        b"/",
        b"^/",
        b".*",
        b"^.*",
        b"^/.*",
        b"^/(.*)",
        b"^(.*)",
        b"(.*)",
        b"/.*",
        b".",
        b"$",
        b"^/(.*)$",
        b"^(.*)$",
        b"^.*$",
        b"^/.*$",
        b".*$",
    ]
    .contains(&pattern)
}

/// The file name extensions of a pattern that ends in a list of them: `\.(js|css)$`.
pub(super) fn extensions(pattern: &[u8]) -> Vec<String> {
    let Some(at) = pattern.iter().rposition(|&b| b == b'.') else {
        return Vec::new();
    };
    // Only what may follow any path: an unanchored list.
    let start = at.saturating_sub(usize::from(at > 0 && pattern[at - 1] == b'\\'));
    if start != 0 || !pattern.ends_with(b"$") {
        return Vec::new();
    }
    let list = &pattern[at + 1..pattern.len() - 1];
    let list = match list {
        [b'(', b'?', b':', inside @ .., b')'] | [b'(', inside @ .., b')'] => inside,
        bare => bare,
    };
    if !list.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'|') {
        return Vec::new();
    }
    let words = list.split(|&b| b == b'|').filter(|w| !w.is_empty());
    words
        .map(|w| String::from_utf8_lossy(w).into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_that_were_meant() {
        for (pattern, want) in [
            (".(js|css)$", r"\.(js|css)$"),
            (r"\.(js|css)$", r"\.(js|css)$"),
            (".php$", r"\.php$"),
            ("^/api/v1.0/", r"^/api/v1\.0/"),
            ("^www.example.com$", r"^www\.example\.com$"),
            (r"^(?<sub>.+)\.example\.com$", r"^(?<sub>.+)\.example\.com$"),
            ("^/(.*)$", "^/(.*)$"),
            ("/.well-known", "/.well-known"),
            ("^/(.)(.)$", "^/(.)(.)$"),
            ("[.]php$", "[.]php$"),
            ("[^]a.b]x", "[^]a.b]x"),
            (".(?!x)y", ".(?!x)y"),
            ("^/.(a+)/b$", "^/.(a+)/b$"),
            ("^/x.*y", "^/x.*y"),
            ("a.b", "a.b"),
            ("^/index.html$", r"^/index\.html$"),
            (".*.php$", r".*\.php$"),
        ] {
            let dots = loose_dots(pattern.as_bytes());
            let got = escaped(pattern.as_bytes(), &dots);
            assert_eq!(String::from_utf8_lossy(&got), want, "{pattern}");
            assert!(loose_dots(&got).is_empty(), "{pattern} settles");
        }
    }

    #[test]
    fn beginnings() {
        for (pattern, want) in [
            ("^/files/(.*)$", "/files/"),
            (r"^/a\.b", "/a.b"),
            (r"^/a\d", "/a"),
            ("^/ab?c", "/a"),
            ("^/ab+c", "/ab"),
            ("^/a|^/b", ""),
            ("^/(a|b)/c", "/"),
            ("/x", ""),
        ] {
            assert_eq!(prefix(pattern.as_bytes()), want.as_bytes(), "{pattern}");
        }
        assert!(takes_all(b"^/") && !takes_all(b"^/a"));
        assert_eq!(extensions(br"\.(js|css)$"), ["js", "css"]);
        assert_eq!(extensions(br"\.php$"), ["php"]);
        assert!(extensions(br"^/a\.(js)$").is_empty());
    }
}
