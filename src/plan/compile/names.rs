//! Finds every variable that the configuration itself defines, before any value is compiled, so
//! that a value may use a variable that is defined further down.

use super::Compiler;
use crate::base::ids::DenseId;
use crate::config::model::{
    Condition, Http, Kind, Location, MapKey, NameKind, Op, Redirect, Settings, Text,
};
use crate::plan::{GeoId, MapId, SplitId};

impl Compiler<'_> {
    /// Registers maps, geos and splits, which are not among the tables yet, `set` variables and named captures.
    pub(super) fn define_names(&mut self, http: &Http) {
        for (index, map) in http.maps.iter().enumerate() {
            let defined = self.registry.define_map(
                &map.variable.bytes,
                MapId::from_index(self.tables.maps.len() + index),
            );
            self.report(defined, &map.variable);
        }
        for (index, geo) in http.geos.iter().enumerate() {
            let defined = self.registry.define_geo(
                &geo.variable.bytes,
                GeoId::from_index(self.tables.geos.len() + index),
            );
            self.report(defined, &geo.variable);
        }
        for (index, split) in http.split_clients.iter().enumerate() {
            let defined = self.registry.define_split(
                &split.variable.bytes,
                SplitId::from_index(self.tables.splits.len() + index),
            );
            self.report(defined, &split.variable);
        }
        for entry in http.maps.iter().flat_map(|map| &map.entries) {
            if matches!(entry.kind, MapKey::Regex { .. }) {
                self.captures_of(&entry.key);
            }
        }
        for server in &http.servers {
            for name in &server.names {
                if matches!(name.kind, NameKind::Regex { .. }) {
                    self.captures_of(&name.text);
                }
            }
            self.names_of_block(&server.settings, &server.script, &server.locations);
        }
    }

    fn report(&mut self, defined: Result<(), String>, name: &Text) {
        if let Err(message) = defined {
            self.error(message, name.span);
        }
    }

    fn names_of_block(&mut self, settings: &Settings, script: &[Op], locations: &[Location]) {
        for op in script {
            match op {
                Op::Set { variable, .. } => {
                    let defined = self.registry.define_set(&variable.bytes).map(drop);
                    self.report(defined, variable);
                }
                Op::Rewrite(rewrite) => self.captures_of(&rewrite.regex),
                Op::If {
                    condition: Condition::Match { regex, .. },
                    ..
                } => self.captures_of(regex),
                Op::If { .. } | Op::Return(_) | Op::Break => {}
            }
        }
        for set in settings.subrequests.auth_request_set.iter() {
            let defined = self.registry.define_slot(&set.variable.bytes).map(drop);
            self.report(defined, &set.variable);
        }
        if let Some(pattern) = &settings.fastcgi.fastcgi_split_path_info {
            self.captures_of(pattern);
        }
        let proxy = &settings.proxy;
        for list in [
            &proxy.proxy_redirect,
            &proxy.proxy_cookie_domain,
            &proxy.proxy_cookie_path,
        ] {
            for rule in list.iter() {
                if let Redirect::Regex { regex, .. } = rule {
                    self.captures_of(regex);
                }
            }
        }
        for location in locations {
            if matches!(location.kind, Kind::Regex { .. }) {
                self.captures_of(&location.path);
            }
            self.names_of_block(&location.settings, &location.script, &location.locations);
        }
    }

    /// Registers the named groups of a pattern by its text alone. What only looks like a group is
    /// refused or ignored when the pattern is compiled.
    fn captures_of(&mut self, pattern: &Text) {
        for name in group_names(&pattern.bytes) {
            // A name that may not be defined is reported once, with the pattern.
            let _ = self.registry.define_slot(name);
        }
    }
}

/// Names in `(?<name>`, `(?P<name>` and `(?'name'`.
fn group_names(pattern: &[u8]) -> impl Iterator<Item = &[u8]> {
    memchr::memmem::find_iter(pattern, b"(?").filter_map(|at| {
        let rest = &pattern[at + 2..];
        let rest = rest.strip_prefix(b"P").unwrap_or(rest);
        let (close, rest) = match rest.split_first()? {
            (b'<', rest) => (b'>', rest),
            (b'\'', rest) => (b'\'', rest),
            _ => return None,
        };
        let name = &rest[..rest.iter().position(|&b| b == close)?];
        let plain =
            !name.is_empty() && name.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'_');
        plain.then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_text() {
        let found: Vec<&[u8]> =
            group_names(b"^(?<a>x)(?P<b1>y)(?'c'z)(?<=q)(?<!r)(?:s)(t)$").collect();
        assert_eq!(found, [&b"a"[..], b"b1", b"c"]);
    }
}
