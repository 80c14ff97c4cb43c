//! `valid_referers`: from which pages links may lead here. Start at [`RefererPlan::allows`].

use bytes::Bytes;

use super::names::{Mask, NameTable};
use super::regex::Regex;

/// The shortest address of a page that nginx looks at: `http://i.ru`.
const PAGE_BYTES_MIN: usize = 11;

/// The longest host that is looked up.
const HOST_BYTES_MAX: usize = 256;

/// Stands for no path among [`RefererPlan::paths`].
const ANY_PATH: u32 = u32::MAX;

/// The pages of one `valid_referers`.
#[derive(Default)]
pub struct RefererPlan {
    /// `none`: a request without a `Referer` is fine.
    pub none: bool,
    /// `blocked`: so is one whose `Referer` is no address.
    pub blocked: bool,
    /// Hosts, each with the index of the path that its pages begin with.
    hosts: NameTable<u32>,
    paths: Vec<Bytes>,
    /// Patterns that are matched with the address behind its scheme.
    pub pages: Vec<Regex>,
    /// Patterns of server names, that are matched with the host.
    pub names: Vec<Regex>,
}

impl RefererPlan {
    /// Adds a host, perhaps with wildcards; `path` is what its pages begin with. False when it is there already.
    pub fn add(&mut self, host: &[u8], path: &[u8]) -> bool {
        let (kind, text) = Mask::of(host);
        let index = if path.is_empty() {
            ANY_PATH
        } else {
            self.paths.push(Bytes::copy_from_slice(path));
            (self.paths.len() - 1) as u32
        };
        self.hosts.add(text, kind, index)
    }

    /// No host is named.
    #[must_use]
    pub fn has_no_hosts(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether a request with this `Referer` may pass.
    #[must_use]
    pub fn allows(&self, referer: Option<&[u8]>) -> bool {
        let Some(referer) = referer else {
            return self.none;
        };
        let Some(page) = behind_scheme(referer) else {
            return self.blocked;
        };
        let end = page.iter().position(|b| matches!(b, b'/' | b':'));
        let (host, rest) = page.split_at(end.unwrap_or(page.len()));
        if host.len() > HOST_BYTES_MAX {
            return false;
        }
        let mut lower = [0; HOST_BYTES_MAX];
        let lower = &mut lower[..host.len()];
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        if let Some(&path) = self.hosts.find(lower) {
            let path = match path {
                ANY_PATH => return true,
                index => &self.paths[index as usize],
            };
            // A port may stand before the path.
            let start = memchr::memchr(b'/', rest).unwrap_or(rest.len());
            return rest[start..].starts_with(path);
        }
        self.names.iter().any(|name| name.is_match(lower))
            || self.pages.iter().any(|pattern| pattern.is_match(page))
    }
}

/// The address of a page without `http://` or `https://`; none when it is no such address.
fn behind_scheme(referer: &[u8]) -> Option<&[u8]> {
    if referer.len() < PAGE_BYTES_MIN {
        return None;
    }
    [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let (start, rest) = referer.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(list: &str) -> RefererPlan {
        let mut plan = RefererPlan::default();
        for word in list.split(' ') {
            match word.as_bytes() {
                b"none" => plan.none = true,
                b"blocked" => plan.blocked = true,
                [b'~', pattern @ ..] => plan.pages.push(Regex::compile(pattern, true).unwrap()),
                text => {
                    let slash = memchr::memchr(b'/', text).unwrap_or(text.len());
                    assert!(plan.add(&text[..slash], &text[slash..]), "{word}");
                }
            }
        }
        plan
    }

    #[test]
    fn pages_are_told_by_host_path_and_pattern() {
        let cases: &[(&str, &str, bool)] = &[
            ("example.com", "http://example.com", true),
            ("example.com", "https://EXAMPLE.com/x", true),
            ("example.com", "HTTP://example.com:81/x", true),
            ("example.com", "http://www.example.com", false),
            ("example.com", "http://example.com.evil.test/", false),
            ("example.com", "http://evil.test/http://example.com/", false),
            ("example.com", "ftp://example.com/", false),
            ("example.com", "example.com", false),
            ("example.com", "http://", false),
            ("example.com", "", false),
            ("example.com blocked", "", true),
            ("example.com blocked", "example.com", true),
            ("example.com blocked", "http://evil.test", false),
            ("*.example.com", "http://a.b.example.com", true),
            ("*.example.com", "http://example.com/", false),
            (".example.com", "http://example.com/", true),
            ("www.example.*", "http://www.example.org/", true),
            ("example.com/a", "http://example.com/ab", true),
            ("example.com/a", "http://example.com:80/ab", true),
            ("example.com/a", "http://example.com/b", false),
            ("example.com/a", "http://example.com", false),
            ("~google\\.", "https://www.google.de/", true),
            ("~google\\.", "https://www.example.de/GOOGLE.", true),
            ("~^example", "https://example.de/", true),
            ("~google\\.", "https://www.example.de/", false),
        ];
        for &(list, referer, expected) in cases {
            let found = plan(list).allows(Some(referer.as_bytes()));
            assert_eq!(found, expected, "{list} {referer}");
        }
    }

    #[test]
    fn missing_and_monstrous_ones() {
        assert!(!plan("example.com").allows(None));
        assert!(plan("example.com none").allows(None));
        let long = [&b"http://"[..], &[b'a'; 5000]].concat();
        assert!(!plan("example.com blocked ~a").allows(Some(&long)));
    }
}
