//! The body filters of a location.

use super::{Compiler, bytes_of};
use crate::base::needles::Needles;
use crate::config::model::{Settings, SubFilter, Substitution};
use crate::plan::filters::{Addition, Filters, Ssi, Sub, SubPair};

/// Patterns that one body is searched for, as in nginx.
const PATTERNS_MAX: usize = 255;

impl Compiler<'_> {
    /// None where the location has no body filter.
    pub(super) fn filters(&mut self, settings: &Settings) -> Option<Box<Filters>> {
        let addition = addition(settings);
        let sub = self.substitutions(&settings.sub);
        let charset = self.charset(settings);
        let ssi = ssi(settings);
        let coding = self.coding(settings);
        if addition.is_none()
            && sub.is_none()
            && charset.is_none()
            && ssi.is_none()
            && coding.is_none()
        {
            return None;
        }
        Some(Box::new(Filters {
            addition,
            sub,
            charset,
            ssi,
            coding,
        }))
    }

    fn substitutions(&mut self, family: &SubFilter) -> Option<Sub> {
        let pairs = &family.sub_filter;
        let first = pairs.first()?;
        if pairs.len() > PATTERNS_MAX {
            let text = format!("number of search patterns exceeds {PATTERNS_MAX}");
            self.error(text, first.pattern.span);
            return None;
        }
        let pair = |pair: &Substitution| SubPair {
            pattern: self.expr(&pair.pattern),
            value: self.expr(&pair.value),
        };
        let pairs: Box<[SubPair]> = pairs.iter().map(pair).collect();
        let texts: Option<Vec<&[u8]>> = pairs.iter().map(|p| p.pattern.as_literal()).collect();
        Some(Sub {
            needles: texts.and_then(Needles::new),
            pairs,
            once: family.sub_filter_once,
            last_modified: family.sub_filter_last_modified,
            types: family.sub_filter_types.clone(),
        })
    }
}

fn ssi(settings: &Settings) -> Option<Ssi> {
    let family = &settings.ssi;
    family.ssi.then(|| Ssi {
        silent_errors: family.ssi_silent_errors,
        value_length: family.ssi_value_length,
        last_modified: family.ssi_last_modified,
        types: family.ssi_types.clone(),
    })
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
