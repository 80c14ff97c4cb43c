//! Charsets by number, and the tables between them. Knows no answer. Start at [`Charsets`].

use std::sync::Arc;

use bytes::Bytes;

use super::expr::Expr;
use super::model::CharsetMap;

crate::define_id!(
    /// A charset that the configuration names.
    CharsetId
);

/// What stands where a table has nothing.
pub const UNKNOWN: u8 = b'?';

/// How bytes of one charset become those of another.
pub enum Recode {
    /// One byte for one byte.
    Single(Box<[u8; 256]>),
    /// UTF-8 sequences for bytes: a length and up to three bytes.
    ToUtf8(Box<[[u8; 4]; 256]>),
    /// Bytes for characters, by the character's high byte and then its low one; 0 where there is none.
    FromUtf8(Box<[Option<Box<[u8; 256]>>; 256]>),
}

/// All charsets of a configuration.
#[derive(Default)]
pub struct Charsets {
    /// Names as first written; the index is the id.
    names: Vec<Bytes>,
    /// Tables by what they lead from and to.
    tables: Vec<(CharsetId, CharsetId, Arc<Recode>)>,
}

/// A charset that a location names.
pub enum Named {
    /// By its name.
    Fixed(CharsetId),
    /// By a variable.
    Variable(Expr),
}

/// `charset` and `source_charset` of a location.
pub struct CharsetPlan {
    /// `charset`; none when off.
    pub to: Option<Named>,
    /// `source_charset`.
    pub from: Option<Named>,
}

impl Charsets {
    /// The id of a name, which may be new.
    pub fn add(&mut self, name: &[u8]) -> CharsetId {
        self.find(name).unwrap_or_else(|| {
            self.names.push(Bytes::copy_from_slice(name));
            CharsetId(self.names.len() as u32 - 1)
        })
    }

    /// The id of a known name, in any case.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<CharsetId> {
        let index = self
            .names
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))?;
        Some(CharsetId(index as u32))
    }

    /// The name of a charset.
    #[must_use]
    pub fn name(&self, id: CharsetId) -> &Bytes {
        &self.names[id.0 as usize]
    }

    /// The table between two charsets.
    #[must_use]
    pub fn table(&self, from: CharsetId, to: CharsetId) -> Option<&Arc<Recode>> {
        let found = self.tables.iter().find(|(f, t, _)| (*f, *t) == (from, to));
        found.map(|(_, _, table)| table)
    }

    /// Adds a `charset_map`, which works in both directions.
    pub fn add_map(&mut self, map: &CharsetMap) {
        let (from, to) = (self.add(&map.from.bytes), self.add(&map.to.bytes));
        let utf8 = map.to.bytes.eq_ignore_ascii_case(b"utf-8");
        let (there, back) = if utf8 {
            utf8_tables(&map.pairs)
        } else {
            single_tables(&map.pairs)
        };
        self.tables.push((from, to, Arc::new(there)));
        self.tables.push((to, from, Arc::new(back)));
    }
}

fn single_tables(pairs: &[(u8, Vec<u8>)]) -> (Recode, Recode) {
    let ascii = |byte: usize| if byte < 128 { byte as u8 } else { UNKNOWN };
    let mut there: Box<[u8; 256]> = Box::new(std::array::from_fn(ascii));
    let mut back = there.clone();
    for (from, to) in pairs {
        if let [to] = to[..] {
            there[usize::from(*from)] = to;
            back[usize::from(to)] = *from;
        }
    }
    (Recode::Single(there), Recode::Single(back))
}

fn utf8_tables(pairs: &[(u8, Vec<u8>)]) -> (Recode, Recode) {
    let single = |byte: usize| [1, if byte < 128 { byte as u8 } else { UNKNOWN }, 0, 0];
    let mut there: Box<[[u8; 4]; 256]> = Box::new(std::array::from_fn(single));
    let mut back: Box<[Option<Box<[u8; 256]>>; 256]> = Box::new([const { None }; 256]);
    let ascii = |byte: usize| if byte < 128 { byte as u8 } else { 0 };
    back[0] = Some(Box::new(std::array::from_fn(ascii)));
    for (from, to) in pairs {
        let character = std::str::from_utf8(to).ok().and_then(|t| t.chars().next());
        let Some(character) = character.map(u32::from).filter(|&c| c < 0x1_0000) else {
            continue;
        };
        let entry = &mut there[usize::from(*from)];
        entry[0] = to.len() as u8;
        entry[1..=to.len()].copy_from_slice(to);
        let page = back[(character >> 8) as usize].get_or_insert_with(|| Box::new([0; 256]));
        page[(character & 0xff) as usize] = *from;
    }
    (Recode::ToUtf8(there), Recode::FromUtf8(back))
}
