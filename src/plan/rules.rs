//! Edits of heads: `add_header`, `add_trailer`, `expires`, and sets of fields that do not pass.

use super::expr::Expr;
use crate::proto::tokens::Token;

/// A set of field names, compared without case.
#[derive(Clone, Debug, Default)]
pub struct FieldSet {
    /// Bits of the known ones.
    tokens: u128,
    /// The others, in lower case and sorted.
    others: Box<[bytes::Bytes]>,
}

impl FieldSet {
    /// Whether a field is in the set; `token` is the one of `name`.
    #[inline]
    pub fn contains(&self, token: Token, name: &[u8]) -> bool {
        if token.is_known() {
            return self.tokens & token.bit() != 0;
        }
        !self.others.is_empty()
            && self
                .others
                .iter()
                .any(|other| other.eq_ignore_ascii_case(name))
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.tokens == 0 && self.others.is_empty()
    }
}

impl<'a> FromIterator<&'a [u8]> for FieldSet {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(names: I) -> Self {
        let mut set = Self::default();
        let mut others = Vec::new();
        for name in names {
            match Token::of(name) {
                Token::NONE => others.push(bytes::Bytes::from(name.to_ascii_lowercase())),
                token => set.tokens |= token.bit(),
            }
        }
        others.sort_unstable();
        others.dedup();
        set.others = others.into();
        set
    }
}

/// What a location does to the head of every response.
#[derive(Default)]
pub struct HeaderRules {
    /// `add_header` in order.
    pub add: Box<[AddHeader]>,
    /// `add_trailer` in order.
    pub trailers: Box<[AddHeader]>,
    /// `expires`.
    pub expires: Option<Expires>,
}

/// One `add_header` or `add_trailer`.
pub struct AddHeader {
    /// Name as configured.
    pub name: bytes::Bytes,
    /// Its token, when it is a known field (`Cache-Control` and `Link` append, `Last-Modified` and `ETag` replace).
    pub token: Token,
    /// The value; an empty one adds nothing.
    pub value: Expr,
    /// `always`: also on statuses other than 200, 201, 204, 206, 301, 302, 303, 304, 307, 308.
    pub always: bool,
}

/// `expires`.
pub enum Expires {
    /// `epoch`
    Epoch,
    /// `max`
    Max,
    /// `time` or `-time`: seconds after now.
    Access(i64),
    /// `modified time`: seconds after Last-Modified.
    Modified(i64),
    /// `@15h30m`: seconds after local midnight.
    Daily(u32),
    /// A value with variables, parsed for each response by the same grammar; `modified` was written before it.
    Dynamic {
        /// The text.
        value: Expr,
        /// The word `modified`.
        modified: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_sets_ignore_case() {
        let set: FieldSet = [&b"date"[..], b"X-Own", b"x-own", b"Server"]
            .into_iter()
            .collect();
        for (name, inside) in [
            ("Date", true),
            ("SERVER", true),
            ("x-OWN", true),
            ("Host", false),
            ("X-Owns", false),
        ] {
            assert_eq!(
                set.contains(Token::of(name.as_bytes()), name.as_bytes()),
                inside,
                "{name}"
            );
        }
        assert!(FieldSet::default().is_empty() && !set.is_empty());
    }
}
