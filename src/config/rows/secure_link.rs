//! Rows of the secure_link family: links that carry their own proof.

use std::sync::Arc;

use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Inherit, Row, args, row};
use crate::config::tree::Directive;
use crate::config::value::*;

/// Settings of the secure_link family. The secret and the other two exclude each other.
#[derive(Clone, Debug, Default)]
pub struct SecureLink {
    /// `secure_link`: the proof, and perhaps a time after a comma.
    pub secure_link: Option<Text>,
    /// `secure_link_md5`: what the proof is the digest of.
    pub secure_link_md5: Option<Text>,
    /// `secure_link_secret`: the word of the older kind of link.
    pub secure_link_secret: Option<Arc<[u8]>>,
}

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    inherited(
        "secure_link",
        set,
        "The proof of a link, and after a comma the time until which it holds.",
    ),
    inherited(
        "secure_link_md5",
        set,
        "What the proof of a link is the MD5 digest of.",
    ),
    inherited(
        "secure_link_secret",
        set,
        "The secret of links of the older kind, which have their proof in the path.",
    ),
];

/// A row whose value inner blocks get.
const fn inherited(
    name: &'static str,
    set: fn(&mut Lowering<'_>, &mut Frame, &Directive),
    doc: &'static str,
) -> Row {
    let mut row = row(name, HSL, args(1), set, doc);
    row.inherit = Inherit::Copy;
    row
}

fn set(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let secret_here = frame.seen.contains_key("secure_link_secret");
    let new_here = ["secure_link", "secure_link_md5"]
        .iter()
        .any(|name| frame.seen.contains_key(name));
    if secret_here && new_here {
        return load.error(
            "\"secure_link_secret\" cannot be mixed with \"secure_link\" and \"secure_link_md5\"",
            directive.span,
        );
    }
    let value = text_of(&directive.args[0]);
    let link = Arc::make_mut(&mut frame.settings.secure_link);
    if secret_here {
        *link = SecureLink {
            secure_link_secret: Some(value.bytes),
            ..SecureLink::default()
        };
        return;
    }
    // The kind that is written here is the one that counts.
    link.secure_link_secret = None;
    match &directive.name.bytes[..] {
        b"secure_link" => link.secure_link = Some(value),
        _ => link.secure_link_md5 = Some(value),
    }
}
