//! What stands before a location's content.

use super::Compiler;
use crate::base::cidr::Cidr;
use crate::config::model::{AccessRule, Settings, Source};
use crate::plan::access::{AccessPlan, Rules};

impl Compiler<'_> {
    /// Everything that is checked before the content; none where nothing is.
    pub(super) fn access(&mut self, settings: &Settings) -> Option<Box<AccessPlan>> {
        let plan = AccessPlan {
            rules: rules(&settings.access.rules),
        };
        (!plan.is_empty()).then(|| Box::new(plan))
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
