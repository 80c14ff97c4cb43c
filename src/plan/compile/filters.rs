//! The body filters of a location.

use super::{Compiler, bytes_of};
use crate::config::model::Settings;
use crate::plan::filters::{Addition, Filters};

impl Compiler<'_> {
    /// None where the location has no body filter.
    pub(super) fn filters(&mut self, settings: &Settings) -> Option<Box<Filters>> {
        let addition = addition(settings);
        if addition.is_none() {
            return None;
        }
        Some(Box::new(Filters { addition }))
    }
}

fn addition(settings: &Settings) -> Option<Addition> {
    let family = &settings.addition;
    if family.add_before_body.is_empty() && family.add_after_body.is_empty() {
        return None;
    }
    Some(Addition {
        before: bytes_of(&family.add_before_body),
        after: bytes_of(&family.add_after_body),
        types: family.addition_types.clone(),
    })
}
