//! Which location a normalised URI belongs to: exact, longest prefix, patterns in order.
//!
//! One [`LocationTree`] for each level of nesting. Prefixes lie in one sorted list in which every
//! entry knows the longest other entry that it extends, so that the longest prefix of a URI is one
//! binary search and a short walk. A look-up allocates nothing. Start at [`LocationTree::find`].

use std::collections::BTreeMap;

use bytes::Bytes;

use super::LocationId;
use super::regex::{Captures, Regex};

/// The locations of one level.
#[derive(Default)]
pub struct LocationTree {
    /// Sorted by name.
    entries: Box<[Entry]>,
    /// Indexes of entries whose name ends in a slash and whose location proxies, by name.
    slashed: Box<[u32]>,
    /// In file order.
    regexes: Box<[(Regex, LocationId)]>,
}

/// One location text.
struct Entry {
    name: Bytes,
    /// `= name`
    exact: Option<LocationId>,
    /// `name` or `^~ name`
    prefix: Option<LocationId>,
    /// `^~`
    no_regex: bool,
    /// The longest other entry that is a prefix of this one.
    parent: Option<u32>,
}

/// Where a URI leads.
#[derive(Debug)]
pub struct LocationMatch<'a> {
    /// The location; none when the server's own settings apply.
    pub location: Option<LocationId>,
    /// The URI lacks only the final slash of this location, which proxies: 301 to its text.
    pub redirect: bool,
    /// The pattern that matched last and how many captures it left.
    pub regex: Option<(&'a Regex, usize)>,
}

/// What became of one location text in a search, for who wants to know why another was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// `= text` that is the URI: nothing else was looked at.
    Equal,
    /// It is the URI with a final slash: a redirect leads there.
    Slash,
    /// `= text` that is not the URI.
    Unequal,
    /// The longest text that the URI begins with.
    Longest,
    /// The URI begins with it, and with a longer one.
    Shorter,
    /// The URI does not begin with it.
    Elsewhere,
    /// The first pattern that matched.
    Matched,
    /// A pattern that did not match.
    Unmatched,
    /// A pattern that was not tried: an exact text, a `^~` or an earlier pattern had decided.
    Untried,
}

impl Fate {
    /// Whether the search went on from here.
    #[must_use]
    pub const fn wins(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::Slash | Self::Longest | Self::Matched
        )
    }
}

/// What the sorted list alone tells.
enum Static {
    None,
    Exact(LocationId),
    Redirect(LocationId),
    Prefix(LocationId, bool),
}

impl LocationTree {
    /// No locations at this level.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.regexes.is_empty()
    }

    /// Finds the location of a normalised URI. `nested` gives the tree inside a location.
    ///
    /// nginx's order: an exact text ends the search; else the longest prefix is entered and
    /// searched in turn; then, unless it was `^~`, the patterns of this level, and the locations
    /// inside the one that matches.
    pub fn find<'a>(
        &'a self,
        uri: &[u8],
        nested: &impl Fn(LocationId) -> &'a Self,
        captures: &mut Captures,
    ) -> LocationMatch<'a> {
        let mut found = LocationMatch {
            location: None,
            redirect: false,
            regex: None,
        };
        self.descend(uri, nested, captures, &mut found);
        found
    }

    /// True when the search is over and no level above may try its patterns.
    fn descend<'a>(
        &'a self,
        uri: &[u8],
        nested: &impl Fn(LocationId) -> &'a Self,
        captures: &mut Captures,
        found: &mut LocationMatch<'a>,
    ) -> bool {
        let mut no_regex = false;
        match self.find_static(uri) {
            Static::None => {}
            Static::Exact(id) => {
                found.location = Some(id);
                return true;
            }
            Static::Redirect(id) => {
                found.location = Some(id);
                found.redirect = true;
                return true;
            }
            Static::Prefix(id, stop) => {
                found.location = Some(id);
                no_regex = stop;
                if nested(id).descend(uri, nested, captures, found) {
                    return true;
                }
            }
        }
        if no_regex {
            return false;
        }
        for (regex, id) in &self.regexes {
            let count = regex.captures(uri, captures);
            if count > 0 {
                found.location = Some(*id);
                found.regex = Some((regex, count));
                nested(*id).descend(uri, nested, captures, found);
                // As in nginx, a redirect found inside a pattern's location is not one.
                found.redirect = false;
                return true;
            }
        }
        false
    }

    /// What becomes of each location when `uri` is searched for, in the order of [`find`](Self::find). The last one that
    /// [`Fate::wins`] is the location.
    pub fn account<'a>(
        &'a self,
        uri: &[u8],
        nested: &impl Fn(LocationId) -> &'a Self,
        captures: &mut Captures,
        fates: &mut Vec<(LocationId, Fate)>,
    ) -> bool {
        let found = self.find_static(uri);
        for entry in &self.entries {
            let locations = [
                entry.exact.map(|id| (id, true)),
                entry.prefix.map(|id| (id, false)),
            ];
            for (id, exact) in locations.into_iter().flatten() {
                let fate = match found {
                    Static::Exact(of) if of == id => Fate::Equal,
                    Static::Redirect(of) if of == id => Fate::Slash,
                    Static::Prefix(of, _) if of == id => Fate::Longest,
                    _ if exact => Fate::Unequal,
                    _ if uri.starts_with(&entry.name) => Fate::Shorter,
                    _ => Fate::Elsewhere,
                };
                fates.push((id, fate));
            }
        }
        let (mut over, no_regex) = match found {
            Static::None => (false, false),
            Static::Exact(_) | Static::Redirect(_) => (true, true),
            Static::Prefix(id, stop) => (nested(id).account(uri, nested, captures, fates), stop),
        };
        let mut untried = over || no_regex;
        for (regex, id) in &self.regexes {
            if untried {
                fates.push((*id, Fate::Untried));
            } else if regex.captures(uri, captures) > 0 {
                fates.push((*id, Fate::Matched));
                nested(*id).account(uri, nested, captures, fates);
                (over, untried) = (true, true);
            } else {
                fates.push((*id, Fate::Unmatched));
            }
        }
        over
    }

    fn find_static(&self, uri: &[u8]) -> Static {
        let after = self.entries.partition_point(|entry| &entry.name[..] <= uri);
        let mut candidate = after.checked_sub(1);
        if let Some(index) = candidate {
            let entry = &self.entries[index];
            if entry.name.len() == uri.len() && entry.name == uri {
                match (entry.exact, entry.prefix) {
                    (Some(id), _) => return Static::Exact(id),
                    (None, Some(id)) => return Static::Prefix(id, entry.no_regex),
                    (None, None) => {}
                }
            }
        }
        if let Some(id) = self.slash_missing(uri) {
            return Static::Redirect(id);
        }
        while let Some(index) = candidate {
            let entry = &self.entries[index];
            if let Some(id) = entry.prefix
                && uri.starts_with(&entry.name)
            {
                return Static::Prefix(id, entry.no_regex);
            }
            candidate = entry.parent.map(|parent| parent as usize);
        }
        Static::None
    }

    /// The proxying location whose text is the URI and a slash.
    fn slash_missing(&self, uri: &[u8]) -> Option<LocationId> {
        let found = self
            .slashed
            .binary_search_by(|&index| body(&self.entries, index).cmp(uri));
        let entry = &self.entries[self.slashed[found.ok()?] as usize];
        entry.exact.or(entry.prefix)
    }
}

/// Collects the locations of one level.
#[derive(Default)]
pub struct TreeBuilder {
    entries: BTreeMap<Bytes, Texts>,
    regexes: Vec<(Regex, LocationId)>,
}

/// What one text stands for.
#[derive(Default)]
struct Texts {
    exact: Option<LocationId>,
    prefix: Option<LocationId>,
    no_regex: bool,
    proxies: bool,
}

impl TreeBuilder {
    /// Adds `= text`. `proxies` says that the location answers through an upstream.
    pub fn exact(&mut self, name: Bytes, id: LocationId, proxies: bool) {
        let texts = self.entries.entry(name).or_default();
        texts.exact = Some(id);
        texts.proxies |= proxies;
    }

    /// Adds `text`, or `^~ text` with `no_regex`.
    pub fn prefix(&mut self, name: Bytes, id: LocationId, no_regex: bool, proxies: bool) {
        let texts = self.entries.entry(name).or_default();
        texts.prefix = Some(id);
        texts.no_regex = no_regex;
        texts.proxies |= proxies;
    }

    /// Adds `~ pattern`.
    pub fn regex(&mut self, regex: Regex, id: LocationId) {
        self.regexes.push((regex, id));
    }

    /// Sorts and links.
    pub fn build(self) -> LocationTree {
        let mut entries: Vec<Entry> = Vec::with_capacity(self.entries.len());
        let mut slashed: Vec<u32> = Vec::new();
        let mut open: Vec<u32> = Vec::new();
        for (name, texts) in self.entries {
            while open
                .last()
                .is_some_and(|&last| !name.starts_with(&entries[last as usize].name))
            {
                open.pop();
            }
            let index = entries.len() as u32;
            if texts.proxies && name.ends_with(b"/") {
                slashed.push(index);
            }
            entries.push(Entry {
                name,
                exact: texts.exact,
                prefix: texts.prefix,
                no_regex: texts.no_regex,
                parent: open.last().copied(),
            });
            open.push(index);
        }
        // Sorted without the slash, because the URI comes without it.
        slashed.sort_by(|&a, &b| body(&entries, a).cmp(body(&entries, b)));
        LocationTree {
            entries: entries.into(),
            slashed: slashed.into(),
            regexes: self.regexes.into(),
        }
    }
}

/// The text of a slashed entry without its slash.
fn body(entries: &[Entry], index: u32) -> &[u8] {
    let name = &entries[index as usize].name;
    &name[..name.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Locations are numbered from 1 in file order; a nested one names its parent's number.
    struct Case {
        trees: Vec<LocationTree>,
    }

    fn case(locations: &[(&str, usize)]) -> Case {
        let mut builders: Vec<TreeBuilder> = (0..=locations.len())
            .map(|_| TreeBuilder::default())
            .collect();
        for (index, (text, parent)) in locations.iter().enumerate() {
            let id = LocationId(index as u32 + 1);
            let builder = &mut builders[*parent];
            let (kind, rest) = text.split_once(' ').unwrap_or(("", text));
            let (name, proxies) = rest
                .strip_suffix(" P")
                .map_or((rest, false), |rest| (rest, true));
            let name = Bytes::copy_from_slice(name.as_bytes());
            match kind {
                "=" => builder.exact(name, id, proxies),
                "^~" => builder.prefix(name, id, true, proxies),
                "~" => builder.regex(Regex::compile(&name, false).unwrap(), id),
                "~*" => builder.regex(Regex::compile(&name, true).unwrap(), id),
                _ => builder.prefix(name, id, false, proxies),
            }
        }
        Case {
            trees: builders.into_iter().map(TreeBuilder::build).collect(),
        }
    }

    impl Case {
        /// The account leads to where the search does.
        fn check_account(&self, uri: &str, location: u32) {
            let nested = |id: LocationId| &self.trees[id.0 as usize];
            let mut fates = Vec::new();
            let captures = &mut Captures::default();
            self.trees[0].account(uri.as_bytes(), &nested, captures, &mut fates);
            let winner = fates.iter().rfind(|(_, fate)| fate.wins());
            assert_eq!(
                winner.map_or(0, |(id, _)| id.0),
                location,
                "{uri}: {fates:?}"
            );
        }

        fn check(&self, expected: &[(&str, u32, bool)]) {
            for &(uri, location, redirect) in expected {
                let nested = |id: LocationId| &self.trees[id.0 as usize];
                let found = self.trees[0].find(uri.as_bytes(), &nested, &mut Captures::default());
                assert_eq!(found.location.map_or(0, |id| id.0), location, "{uri}");
                assert_eq!(found.redirect, redirect, "{uri}");
                self.check_account(uri, location);
            }
        }
    }

    #[test]
    fn exact_prefix_and_patterns() {
        case(&[
            ("= /", 0),
            ("P /", 0),
            ("P /documents/", 0),
            ("^~ /images/", 0),
            ("~* \\.(gif|jpg)$", 0),
            ("= /images/", 0),
        ])
        .check(&[
            ("/", 1, false),
            ("/index.html", 2, false),
            ("/documents/a", 3, false),
            ("/documents", 2, false),
            ("/images/1.gif", 4, false),
            ("/images/", 6, false),
            ("/documents/1.JPG", 5, false),
            ("/Images/a", 2, false),
        ]);
    }

    #[test]
    fn a_missing_slash_redirects_only_to_a_proxy() {
        case(&[
            ("- /api/ P", 0),
            ("- /files/", 0),
            ("= /exact/ P", 0),
            ("- /both/ P", 0),
            ("= /both", 0),
            ("~ ^/api$", 0),
        ])
        .check(&[
            ("/api", 1, true),
            ("/ap", 0, false),
            ("/api/", 1, false),
            ("/API", 0, false),
            ("/files", 0, false),
            ("/exact", 3, true),
            ("/both", 5, false),
            ("/both/x", 4, false),
        ]);
        case(&[("- /api P", 0), ("- /api/ P", 0), ("- /api-x/ P", 0)]).check(&[
            ("/api", 1, false),
            ("/api/", 2, false),
            ("/api-x", 3, true),
            ("/api-xy", 1, false),
        ]);
    }

    #[test]
    fn a_redirect_beats_the_longest_prefix() {
        case(&[("- /", 0), ("- /a", 0), ("- /a/b/ P", 0), ("~ b$", 0)]).check(&[
            ("/a/b", 3, true),
            ("/a/c", 2, false),
            ("/a/bb", 4, false),
        ]);
    }

    #[test]
    fn nested_locations() {
        case(&[
            ("- /", 0),
            ("- /a/", 1),
            ("~ \\.x$", 2),
            ("~ \\.y$", 0),
            ("^~ /b/", 0),
            ("~ \\.y$", 5),
            ("~ ^/r/", 0),
            ("- /r/deep/", 7),
            ("^~ /a/q/", 2),
        ])
        .check(&[
            ("/a/1", 2, false),
            ("/a/1.x", 3, false),
            ("/a/1.y", 4, false),
            ("/b/1", 5, false),
            ("/b/1.y", 6, false),
            ("/r/1", 7, false),
            ("/r/deep/1", 8, false),
            // `^~` silences the patterns of its own level only.
            ("/a/q/1.y", 4, false),
            ("/a/q/1.x", 9, false),
        ]);
    }

    #[test]
    fn many_prefixes_agree_with_a_plain_search() {
        let mut names: Vec<String> = Vec::new();
        let mut seed = 7u64;
        let mut random = |n: usize| {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as usize % n
        };
        for _ in 0..200 {
            let length = 1 + random(6);
            let tail: String = (0..length)
                .map(|_| ['a', 'b', '/', '-', '0'][random(5)])
                .collect();
            names.push(format!("/{tail}"));
        }
        names.sort();
        names.dedup();
        let mut builder = TreeBuilder::default();
        for (index, name) in names.iter().enumerate() {
            let name = Bytes::copy_from_slice(name.as_bytes());
            match index % 3 {
                0 => builder.exact(name, LocationId(index as u32), true),
                1 => builder.prefix(name, LocationId(index as u32), false, true),
                _ => builder.prefix(name, LocationId(index as u32), true, false),
            }
        }
        let tree = builder.build();
        let empty = LocationTree::default();
        for _ in 0..5000 {
            let length = random(8);
            let uri: String = std::iter::once('/')
                .chain((0..length).map(|_| ['a', 'b', '/', '-', '0'][random(5)]))
                .collect();
            let found = tree.find(uri.as_bytes(), &|_| &empty, &mut Captures::default());
            let same = names.iter().position(|n| *n == uri);
            let slash = names
                .iter()
                .position(|n| *n == format!("{uri}/"))
                .filter(|i| i % 3 < 2);
            let longest = names
                .iter()
                .enumerate()
                .filter(|(i, n)| i % 3 != 0 && uri.starts_with(n.as_str()))
                .max_by_key(|(_, n)| n.len())
                .map(|(i, _)| i);
            let (location, redirect) = match (same, slash) {
                (Some(index), _) => (Some(index), false),
                (None, Some(index)) => (Some(index), true),
                (None, None) => (longest, false),
            };
            assert_eq!(
                found.location,
                location.map(|i| LocationId(i as u32)),
                "{uri}"
            );
            assert_eq!(found.redirect, redirect, "{uri}");
        }
    }
}
