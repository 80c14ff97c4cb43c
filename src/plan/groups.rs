//! Finds an upstream group by the host that a URL names.
//!
//! The same rule at load, for `proxy_pass` without variables, and per request, for one with them.
//! A look-up allocates nothing for names that can be host names. Start at [`GroupIndex::find`].

use super::GroupId;
use super::names::Table;

/// Groups by lower-case name. An `upstream` block has no port, the group of a host has one.
#[derive(Debug, Default)]
pub struct GroupIndex {
    by_name: Table<Vec<(Option<u16>, GroupId)>>,
}

/// Names up to this length are lower-cased on the stack.
const NAME_STACK: usize = 256;

impl GroupIndex {
    /// Adds a group: an `upstream` block without a port, or the group of a host and port.
    pub(super) fn add(&mut self, name: &[u8], port: Option<u16>, id: GroupId) {
        let name = name.to_ascii_lowercase().into_boxed_slice();
        self.by_name.entry(name).or_default().push((port, id));
    }

    /// The `upstream` block of this name.
    pub fn block(&self, name: &[u8]) -> Option<GroupId> {
        let known = self.named(name).iter().find(|(port, _)| port.is_none());
        known.map(|&(_, id)| id)
    }

    /// The group for a host: an `upstream` block when no port is written, else the group that was
    /// made for this host and port. `usual` is the scheme's own port.
    pub fn find(&self, host: &[u8], port: Option<u16>, usual: u16) -> Option<GroupId> {
        let wanted = port.unwrap_or(usual);
        let fits = |&&(known, _): &&(Option<u16>, GroupId)| match known {
            None => port.is_none(),
            Some(known) => known == wanted,
        };
        self.named(host).iter().find(fits).map(|&(_, id)| id)
    }

    fn named(&self, name: &[u8]) -> &[(Option<u16>, GroupId)] {
        let mut stack = [0; NAME_STACK];
        let found = match stack.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                self.by_name.get(&*lower)
            }
            None => self.by_name.get(&name.to_ascii_lowercase()[..]),
        };
        found.map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_find_groups() {
        let mut index = GroupIndex::default();
        index.add(b"App", None, GroupId(0));
        index.add(b"host.test", Some(80), GroupId(1));
        index.add(b"host.test", Some(8080), GroupId(2));
        let cases: &[(&str, Option<u16>, Option<u32>)] = &[
            ("app", None, Some(0)),
            ("APP", None, Some(0)),
            ("app", Some(80), None),
            ("host.test", None, Some(1)),
            ("Host.test", Some(80), Some(1)),
            ("host.test", Some(8080), Some(2)),
            ("host.test", Some(81), None),
            ("other", None, None),
        ];
        for &(host, port, expected) in cases {
            let found = index.find(host.as_bytes(), port, 80);
            assert_eq!(found, expected.map(GroupId), "{host} {port:?}");
        }
        assert_eq!(index.block(b"aPP"), Some(GroupId(0)));
        assert_eq!(index.block(b"host.test"), None);
        assert_eq!(index.find(&[b'a'; 300], None, 80), None);
    }
}
