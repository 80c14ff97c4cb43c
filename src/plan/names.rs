//! Which server answers for a host name: exact, then wildcards, then patterns, then the default.
//!
//! One table for each address and port. Names are compared in lower case, as the head parser leaves
//! them; a look-up allocates nothing. Also serves `map` with `hostnames`, which searches the same
//! way. Start at [`VirtualHosts::find`].

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::ServerId;
use super::regex::{Captures, Regex};

/// A table that only the configuration fills, so that a fixed hash is safe.
pub(super) type Table<T> = HashMap<Box<[u8]>, T, FixedState>;

/// Names of the servers that share one address.
pub struct VirtualHosts {
    /// Who answers when no name matches: the `default_server`, or the first.
    default: ServerId,
    /// Only the default server and no patterns: nothing to look up.
    single: bool,
    names: NameTable<ServerId>,
    regexes: Vec<(Arc<Regex>, ServerId)>,
}

/// The answer of [`VirtualHosts::find`].
#[derive(Debug)]
pub struct HostMatch<'a> {
    /// The server.
    pub server: ServerId,
    /// The pattern that matched and how many captures it left; its named groups go to slots.
    pub regex: Option<(&'a Regex, usize)>,
}

impl VirtualHosts {
    /// Starts with the server that answers when no name matches.
    pub fn new(default: ServerId) -> Self {
        Self {
            default,
            single: true,
            names: NameTable::default(),
            regexes: Vec::new(),
        }
    }

    /// The server that answers when no name matches.
    pub fn default_server(&self) -> ServerId {
        self.default
    }

    /// Changes the server that answers when no name matches.
    pub fn set_default(&mut self, server: ServerId) {
        self.default = server;
    }

    /// Adds a name. False when another server has it already, which keeps it.
    pub fn add(&mut self, name: &[u8], kind: Mask, server: ServerId) -> bool {
        self.single &= server == self.default;
        self.names.add(name, kind, server)
    }

    /// Adds a pattern; patterns are tried in the order of adding.
    pub fn add_regex(&mut self, regex: Arc<Regex>, server: ServerId) {
        self.single = false;
        self.regexes.push((regex, server));
    }

    /// The server that has this name, in lower case; none where the default server answers for want of one.
    pub fn find_named(&self, host: &[u8], captures: &mut Captures) -> Option<ServerId> {
        if self.single {
            return None;
        }
        let by_name = self.names.find(host).copied();
        by_name.or_else(|| {
            let mut patterns = self.regexes.iter();
            patterns
                .find(|(regex, _)| regex.captures(host, captures) > 0)
                .map(|(_, server)| *server)
        })
    }

    /// Finds the server for a lower-case host without port; empty when the request named none.
    pub fn find(&self, host: &[u8], captures: &mut Captures) -> HostMatch<'_> {
        if self.single {
            return HostMatch {
                server: self.default,
                regex: None,
            };
        }
        if let Some(&server) = self.names.find(host) {
            return HostMatch {
                server,
                regex: None,
            };
        }
        if !host.is_empty() {
            for (regex, server) in &self.regexes {
                let count = regex.captures(host, captures);
                if count > 0 {
                    return HostMatch {
                        server: *server,
                        regex: Some((regex, count)),
                    };
                }
            }
        }
        HostMatch {
            server: self.default,
            regex: None,
        }
    }
}

/// How a name of a table is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// The name itself.
    Exact,
    /// `*.example.com`: everything under it; the text comes without `*.`.
    Suffix,
    /// `.example.com`: the name and everything under it; the text comes without the dot.
    NameAndSuffix,
    /// `www.example.*`: everything that goes on after a dot; the text comes without `.*`.
    Prefix,
}

impl Mask {
    /// Splits a text such as `*.example.com` into its kind and the part that is compared.
    pub fn of(text: &[u8]) -> (Self, &[u8]) {
        if let Some(rest) = text.strip_prefix(b"*.") {
            (Self::Suffix, rest)
        } else if let Some(rest) = text.strip_prefix(b".") {
            (Self::NameAndSuffix, rest)
        } else if let Some(rest) = text.strip_suffix(b".*") {
            (Self::Prefix, rest)
        } else {
            (Self::Exact, text)
        }
    }
}

/// Exact names and the two kinds of wildcards.
#[derive(Debug)]
pub(super) struct NameTable<T> {
    exact: Table<T>,
    suffixes: Table<T>,
    prefixes: Table<T>,
}

impl<T> Default for NameTable<T> {
    fn default() -> Self {
        Self {
            exact: Table::default(),
            suffixes: Table::default(),
            prefixes: Table::default(),
        }
    }
}

impl<T: Copy> NameTable<T> {
    /// Adds a name; false when it is taken.
    pub(super) fn add(&mut self, name: &[u8], kind: Mask, value: T) -> bool {
        let tables: &mut [&mut Table<T>] = match kind {
            Mask::Exact => &mut [&mut self.exact],
            Mask::Suffix => &mut [&mut self.suffixes],
            Mask::NameAndSuffix => &mut [&mut self.exact, &mut self.suffixes],
            Mask::Prefix => &mut [&mut self.prefixes],
        };
        let lower = name.to_ascii_lowercase().into_boxed_slice();
        if tables.iter().any(|table| table.contains_key(&lower)) {
            return false;
        }
        for table in tables {
            table.insert(lower.clone(), value);
        }
        true
    }

    /// Nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty()
    }

    /// Finds a lower-case name: exact, then the longest suffix, then the longest prefix.
    pub(super) fn find(&self, name: &[u8]) -> Option<&T> {
        if let Some(value) = self.exact.get(name) {
            return Some(value);
        }
        if !self.suffixes.is_empty() {
            for dot in memchr::memchr_iter(b'.', name) {
                // `*.example.com` wants something before its dot.
                if dot > 0
                    && let Some(value) = self.suffixes.get(&name[dot + 1..])
                {
                    return Some(value);
                }
            }
        }
        if !self.prefixes.is_empty() {
            for dot in memchr::memrchr_iter(b'.', name) {
                if let Some(value) = self.prefixes.get(&name[..dot]) {
                    return Some(value);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[(&str, u32)]) -> VirtualHosts {
        let mut hosts = VirtualHosts::new(ServerId(0));
        for &(name, server) in names {
            if let Some(pattern) = name.strip_prefix('~') {
                hosts.add_regex(
                    Arc::new(Regex::compile(pattern.as_bytes(), false).unwrap()),
                    ServerId(server),
                );
            } else {
                let (kind, text) = Mask::of(name.as_bytes());
                assert!(hosts.add(text, kind, ServerId(server)), "{name}");
            }
        }
        hosts
    }

    #[test]
    fn names_are_tried_in_nginx_order() {
        let hosts = hosts(&[
            ("a.example.com", 1),
            ("*.example.com", 2),
            ("*.b.example.com", 3),
            ("www.example.*", 4),
            ("www.*", 5),
            (".example.org", 6),
            ("~^(?<sub>.+)\\.regex\\.test$", 7),
            ("~regex", 8),
            ("", 9),
        ]);
        let cases: &[(&str, u32)] = &[
            ("a.example.com", 1),
            ("x.example.com", 2),
            ("x.y.example.com", 2),
            ("x.b.example.com", 3),
            ("www.example.com", 2),
            ("www.example.net", 4),
            ("www.example.co.uk", 4),
            ("www.other.net", 5),
            ("www", 0),
            ("example.com", 0),
            ("example.org", 6),
            ("x.y.example.org", 6),
            ("s.regex.test", 7),
            ("myregex", 8),
            ("", 9),
            ("unknown", 0),
            (".example.com", 0),
        ];
        for &(host, server) in cases {
            let mut captures = Captures::default();
            assert_eq!(
                hosts.find(host.as_bytes(), &mut captures).server,
                ServerId(server),
                "{host}"
            );
        }
    }

    #[test]
    fn a_pattern_tells_its_captures() {
        let hosts = hosts(&[("~^(.+)\\.t$", 1)]);
        let mut captures = Captures::default();
        let found = hosts.find(b"ab.t", &mut captures);
        assert_eq!(found.regex.unwrap().1, 2);
        assert_eq!(captures[1], (0, 2));
    }

    #[test]
    fn the_first_server_keeps_a_name() {
        let mut hosts = hosts(&[("a.test", 1), ("*.b.test", 1)]);
        assert!(!hosts.add(b"A.test", Mask::Exact, ServerId(2)));
        assert!(!hosts.add(b"b.test", Mask::NameAndSuffix, ServerId(2)));
        assert!(hosts.add(b"b.test", Mask::Exact, ServerId(2)));
    }

    #[test]
    fn one_server_needs_no_search() {
        let hosts = hosts(&[("a.test", 0)]);
        assert!(hosts.single);
        assert_eq!(
            hosts.find(b"x", &mut Captures::default()).server,
            ServerId(0)
        );
    }
}
