//! What stands before a location's content.

use super::{Compiler, bytes_of};
use crate::base::cidr::Cidr;
use crate::config::model::{AccessRule, Settings, Source, Subrequests};
use crate::plan::access::{AccessPlan, AuthRequest, Rules};

impl Compiler<'_> {
    /// Everything that is checked before the content; none where nothing is.
    pub(super) fn access(&mut self, settings: &Settings) -> Option<Box<AccessPlan>> {
        let plan = AccessPlan {
            rules: rules(&settings.access.rules),
            auth_request: self.auth_request(&settings.subrequests),
        };
        (!plan.is_empty()).then(|| Box::new(plan))
    }

    fn auth_request(&mut self, settings: &Subrequests) -> Option<Box<AuthRequest>> {
        let uri = settings
            .auth_request
            .as_ref()
            .filter(|uri| !uri.is_empty())?;
        let sets = settings.auth_request_set.iter().filter_map(|set| {
            // A name that may not be set was reported when the names were collected.
            let target = self.registry.define_slot(&set.variable.bytes).ok()?;
            Some((target, self.expr(&set.value)))
        });
        Some(Box::new(AuthRequest {
            sets: sets.collect(),
            uri: bytes_of(uri),
        }))
    }
}

/// `all` stands for one rule of each kind.
fn rules(rules: &[AccessRule]) -> Rules {
    let mut ranges = Vec::new();
    let mut unix = None;
    for rule in rules {
        match rule.source {
            Source::Range(range) => ranges.push((range, rule.deny)),
            Source::Unix => unix = unix.or(Some(rule.deny)),
            Source::All => {
                ranges.push((Cidr::V4(0, 0), rule.deny));
                ranges.push((Cidr::V6(0, 0), rule.deny));
                unix = unix.or(Some(rule.deny));
            }
        }
    }
    Rules {
        ranges: ranges.into(),
        unix,
    }
}
