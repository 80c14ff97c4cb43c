//! Rows of the access family: which addresses may ask.

use std::sync::Arc;

use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Row, args, row};
use crate::config::tree::Directive;

/// Settings of the access family.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `allow` and `deny`; the first that names the client's address counts.
    pub rules: List<AccessRule>,
}

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    row(
        "allow",
        HSLE.or(TTS),
        args(1),
        rule,
        "Addresses that may ask; with deny in order, the first that matches counts.",
    )
    .many(),
    row(
        "deny",
        HSLE.or(TTS),
        args(1),
        rule,
        "Addresses that are refused; with allow in order, the first that matches counts.",
    )
    .many(),
];

fn rule(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let word = &directive.args[0];
    let source = match &word.bytes[..] {
        b"all" => Source::All,
        b"unix:" => Source::Unix,
        text => match Cidr::parse(text) {
            Some((range, clean)) => {
                if !clean {
                    let text = format!("low address bits of {} are meaningless", word.lossy());
                    load.warn(text, directive.span);
                }
                Source::Range(range)
            }
            None => {
                return load.error(format!("invalid parameter \"{}\"", word.lossy()), word.span);
            }
        },
    };
    let access = Arc::make_mut(&mut frame.settings.access);
    // Both names make one list, which replaces the inherited one.
    if frame.seen.insert("allow or deny", directive.span).is_none() {
        access.rules = List::default();
    }
    Arc::make_mut(&mut access.rules).push(AccessRule {
        source,
        deny: *directive.name.bytes == *b"deny",
    });
}
