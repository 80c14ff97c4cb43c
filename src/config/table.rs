//! The directive table: what a row states, how rows are found by name and context, and the macro that turns one entry
//! into a model field, its default, its setter and its row. The engine that walks a tree with it is in [`super::lower`].

use std::path::Path;

use super::lower::{Frame, Lowering};
use super::model::Settings;
use super::tree::{Directive, Span, Word};

/// A set of block kinds in which a directive may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts(pub u16);

#[expect(missing_docs, reason = "each is the name of a block")]
impl Contexts {
    pub const MAIN: Self = Self(1);
    pub const EVENTS: Self = Self(1 << 1);
    pub const HTTP: Self = Self(1 << 2);
    pub const SERVER: Self = Self(1 << 3);
    pub const LOCATION: Self = Self(1 << 4);
    pub const SERVER_IF: Self = Self(1 << 5);
    pub const LOCATION_IF: Self = Self(1 << 6);
    pub const LIMIT_EXCEPT: Self = Self(1 << 7);
    pub const UPSTREAM: Self = Self(1 << 8);
    pub const STREAM: Self = Self(1 << 9);
    pub const STREAM_SERVER: Self = Self(1 << 10);
    pub const STREAM_UPSTREAM: Self = Self(1 << 11);
    pub const SHARD: Self = Self(1 << 12);

    /// The names used in the documentation, in order.
    pub(crate) const NAMES: [(Self, &'static str); 13] = [
        (Self::MAIN, "main"),
        (Self::EVENTS, "events"),
        (Self::HTTP, "http"),
        (Self::SERVER, "server"),
        (Self::LOCATION, "location"),
        (Self::SERVER_IF, "if in server"),
        (Self::LOCATION_IF, "if in location"),
        (Self::LIMIT_EXCEPT, "limit_except"),
        (Self::UPSTREAM, "upstream"),
        (Self::STREAM, "stream"),
        (Self::STREAM_SERVER, "server in stream"),
        (Self::STREAM_UPSTREAM, "upstream in stream"),
        (Self::SHARD, "shard"),
    ];

    /// Both sets together.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets share a block.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// `http, server, location`.
    pub fn words(self) -> String {
        let names: Vec<_> = Self::NAMES
            .iter()
            .filter(|(c, _)| self.meets(*c))
            .map(|(_, n)| *n)
            .collect();
        names.join(", ")
    }
}

/// The sets that rows use, by the initials of their blocks.
pub(crate) mod ctx {
    use super::Contexts as C;
    pub(crate) const M: C = C::MAIN;
    pub(crate) const V: C = C::EVENTS;
    pub(crate) const H: C = C::HTTP;
    pub(crate) const S: C = C::SERVER;
    pub(crate) const L: C = C::LOCATION;
    pub(crate) const U: C = C::UPSTREAM;
    /// `stream`, its servers, its groups, and the first two together.
    pub(crate) const T: C = C::STREAM;
    pub(crate) const TS: C = C::STREAM_SERVER;
    pub(crate) const TU: C = C::STREAM_UPSTREAM;
    pub(crate) const TTS: C = T.or(TS);
    pub(crate) const K: C = C::SHARD;
    pub(crate) const HS: C = H.or(S);
    pub(crate) const SL: C = S.or(L);
    pub(crate) const HSL: C = HS.or(L);
    pub(crate) const HSLI: C = HSL.or(C::LOCATION_IF);
    pub(crate) const HSLE: C = HSL.or(C::LIMIT_EXCEPT);
    pub(crate) const HSLIE: C = HSLI.or(C::LIMIT_EXCEPT);
    pub(crate) const SLI: C = SL.or(C::LOCATION_IF);
    pub(crate) const LI: C = L.or(C::LOCATION_IF);
    pub(crate) const LE: C = L.or(C::LIMIT_EXCEPT);
    pub(crate) const LIE: C = L.or(C::LOCATION_IF).or(C::LIMIT_EXCEPT);
    pub(crate) const SFLI: C = SLI.or(C::SERVER_IF);
    pub(crate) const HSFLI: C = SFLI.or(H);
}

/// How many parameters a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arity {
    /// At least this many.
    pub min: u8,
    /// At most this many; 255 is no limit.
    pub max: u8,
}

impl Arity {
    /// Whether `count` parameters are right.
    pub fn takes(self, count: usize) -> bool {
        count >= usize::from(self.min) && (self.max == u8::MAX || count <= usize::from(self.max))
    }
}

impl Arity {
    /// What it takes, for a reader.
    pub fn words(self) -> String {
        let plural = |n: u8| if n == 1 { "parameter" } else { "parameters" };
        match (self.min, self.max) {
            (0, 0) => "it takes no parameters".into(),
            (min, u8::MAX) => format!("it takes at least {min} {}", plural(min)),
            (min, max) if min == max => format!("it takes {min} {}", plural(min)),
            (min, max) => format!("it takes {min} to {max} parameters"),
        }
    }
}

/// What stands between the braces of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// It has no braces.
    None,
    /// Directives.
    Scope,
    /// Entries with names of their own.
    Data,
}

/// Exactly `n` parameters.
pub(crate) const fn args(n: u8) -> Arity {
    Arity { min: n, max: n }
}

/// From `a` to `b` parameters.
pub(crate) const fn args_to(a: u8, b: u8) -> Arity {
    Arity { min: a, max: b }
}

/// `n` parameters or more.
pub(crate) const fn args_min(n: u8) -> Arity {
    Arity {
        min: n,
        max: u8::MAX,
    }
}

/// What a block inherits from the one around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inherit {
    /// The value, unless it sets its own.
    Copy,
    /// The whole list, unless it has an entry of its own.
    Replace,
    /// Nothing.
    Never,
}

/// Whether a directive may stand more than once in one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// A second one is an error.
    Once,
    /// Each adds to a list or is checked by its setter.
    Many,
}

/// Whether a directive does anything yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It does what nginx's does.
    Works,
    /// It is read and has no effect, because of this.
    Accepted(&'static str),
    /// It is an error, because of this.
    Refused(&'static str),
    /// `off` is accepted, as there is nothing to switch off; anything else is an error because of this.
    OffOnly(&'static str),
}

/// Applies one directive to the block that it stands in.
pub(crate) type Setter = fn(&mut Lowering<'_>, &mut Frame, &Directive);

/// Everything about one directive.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Where it may stand.
    pub contexts: Contexts,
    /// How many parameters it takes.
    pub arity: Arity,
    /// Whether a block follows.
    pub block: Block,
    /// The default in the words of a configuration; empty for none.
    pub default: &'static str,
    /// What inner blocks get.
    pub inherit: Inherit,
    /// Whether it may be repeated in one block.
    pub repeat: Repeat,
    /// Whether it works.
    pub status: Status,
    /// One sentence.
    pub doc: &'static str,
    /// Applies it.
    pub(crate) set: Setter,
    /// Empties the list before a level's first entry, or takes back what is never inherited.
    pub(crate) clear: Option<fn(&mut Settings)>,
}

/// A row with its setter and nothing special.
pub(crate) const fn row(
    name: &'static str,
    contexts: Contexts,
    arity: Arity,
    set: Setter,
    doc: &'static str,
) -> Row {
    Row {
        name,
        contexts,
        arity,
        block: Block::None,
        default: "",
        inherit: Inherit::Never,
        repeat: Repeat::Once,
        status: Status::Works,
        doc,
        set,
        clear: None,
    }
}

impl Row {
    /// Every block.
    pub(crate) const ANYWHERE: Contexts = Contexts(0x1fff);

    /// The same row for a directive with a block of directives.
    pub(crate) const fn scope(mut self) -> Self {
        self.block = Block::Scope;
        self.repeat = Repeat::Many;
        self
    }

    /// The same row for a directive with a block of entries.
    pub(crate) const fn data(mut self) -> Self {
        self.block = Block::Data;
        self.repeat = Repeat::Many;
        self
    }

    /// The same row, allowed once.
    pub(crate) const fn once(mut self) -> Self {
        self.repeat = Repeat::Once;
        self
    }

    /// The same row, repeatable.
    pub(crate) const fn many(mut self) -> Self {
        self.repeat = Repeat::Many;
        self
    }

    /// The same row with a documented default.
    pub(crate) const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    /// The same row with a status.
    pub(crate) const fn status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// The same row with a way to empty its field.
    pub(crate) const fn clearing(mut self, inherit: Inherit, clear: fn(&mut Settings)) -> Self {
        self.inherit = inherit;
        self.clear = Some(clear);
        self
    }
}

/// Does nothing: for rows that are checked or refused by the engine alone.
pub(crate) fn nothing(_: &mut Lowering<'_>, _: &mut Frame, _: &Directive) {}

/// A directive of a feature that does not exist yet.
pub(crate) const fn refused(
    name: &'static str,
    contexts: Contexts,
    arity: Arity,
    because: &'static str,
) -> Row {
    row(name, contexts, arity, nothing, because)
        .many()
        .status(Status::Refused(because))
}

/// The same, but `off` loads.
pub(crate) const fn off_only(name: &'static str, contexts: Contexts, because: &'static str) -> Row {
    row(name, contexts, args(1), nothing, because).status(Status::OffOnly(because))
}

/// What a value parser sees.
pub(crate) struct Args<'a> {
    /// Name of the directive, for messages.
    pub(crate) name: &'a str,
    /// Its parameters; their number has been checked.
    pub(crate) words: &'a [Word],
    /// What relative paths start from.
    pub(crate) prefix: &'a Path,
    /// Warnings for the directive as a whole.
    pub(crate) warnings: Vec<String>,
}

/// Why a value is refused.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The message, whole.
    pub(crate) message: String,
    /// A narrower place than the directive.
    pub(crate) span: Option<Span>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Fault {
    /// A message of its own.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            hint: None,
        }
    }

    /// The same fault with advice.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<'a> Args<'a> {
    /// Parameter `index`; the engine has checked the arity.
    pub(crate) fn word(&self, index: usize) -> &'a Word {
        &self.words[index]
    }

    /// Parameter `index` as bytes.
    pub(crate) fn bytes(&self, index: usize) -> &'a [u8] {
        &self.words[index].bytes
    }

    /// `"name" directive WHAT`.
    pub(crate) fn fault(&self, what: &str) -> Fault {
        Fault::new(format!("\"{}\" directive {what}", self.name))
    }
}

/// The known directive of this block that is nearest to a misspelt one, if any is near enough to be meant.
pub(crate) fn did_you_mean(
    name: &str,
    context: Contexts,
    rows: impl Iterator<Item = &'static Row>,
) -> Option<&'static str> {
    // Two typing errors in a long name, one in a short one.
    let bound = if name.len() > 6 { 2 } else { 1 };
    if name.len() > 64 {
        return None;
    }
    rows.filter(|r| r.contexts.meets(context))
        .map(|r| (distance(name.as_bytes(), r.name.as_bytes(), bound), r.name))
        .min_by_key(|&(d, _)| d)
        .filter(|&(d, _)| d <= bound)
        .map(|(_, n)| n)
}

/// Edit distance with swaps of neighbours; anything above `bound` is reported as `bound + 1`.
fn distance(a: &[u8], b: &[u8], bound: usize) -> usize {
    if a.len().abs_diff(b.len()) > bound {
        return bound + 1;
    }
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, &y) in b.iter().enumerate() {
            row[j + 1] = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                row[j + 1] = row[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Declares one family: the settings struct, its default, and the rows that set it. The default is given in the words
/// of a configuration and goes through the same parser; an empty one is the type's own default.
///
/// `accepted` behind a field says why its directive has no effect.
///
/// `value` fields are inherited unless set, `list` fields as a whole, `switch` fields are lists that an `off` empties
/// for good, `mask` and `gather` fields collect words within a level, `never` fields are not inherited. The fields after `also`
/// belong to directives that need a setter of their own.
macro_rules! family {
    (
        $(#[$meta:meta])*
        pub struct $name:ident in $slot:ident {
            $($kind:ident $field:ident: $ty:ty = $default:tt, $parse:expr, $contexts:expr, $arity:expr, $doc:literal
                $(accepted $because:literal)?;)*
        } also {
            $($plain:ident: $plain_ty:ty = $plain_default:expr, $plain_doc:literal;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug)]
        pub struct $name {
            $(#[doc = $doc] pub $field: $crate::config::table::family!(@type $kind $ty),)*
            $(#[doc = $plain_doc] pub $plain: $plain_ty,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $crate::config::table::family!(@default $kind $ty, $default, stringify!($field), $parse),)*
                    $($plain: $plain_default,)*
                }
            }
        }

        /// The rows of this family's own fields.
        pub(crate) const FIELD_ROWS: &[$crate::config::table::Row] =
            &[$(
                $crate::config::table::family!(@row $kind $slot $field (stringify!($field)) $ty, $default, $parse, $contexts, $arity, $doc)
                    $(.status($crate::config::table::Status::Accepted($because)))?
            ),*];
    };
    (@type list $ty:ty) => { $crate::config::model::List<$ty> };
    (@type switch $ty:ty) => { $crate::config::model::List<$ty> };
    (@type $kind:ident $ty:ty) => { $ty };
    (@default list $ty:ty, $default:tt, $name:expr, $parse:expr) => {
        $crate::config::value::defaults::<$ty>($name, $default, $parse)
    };
    (@default switch $ty:ty, "", $name:expr, $parse:expr) => { $crate::config::model::List::<$ty>::default() };
    (@default $kind:ident $ty:ty, "", $name:expr, $parse:expr) => { <$ty>::default() };
    (@default $kind:ident $ty:ty, $default:tt, $name:expr, $parse:expr) => {
        $crate::config::value::default::<$ty>($name, $default, $parse)
    };
    (@row list $slot:ident $field:ident ($name:expr) $ty:ty, $default:tt, $parse:expr, $contexts:expr, $arity:expr, $doc:literal) => {
        $crate::config::table::row(
            $name,
            $contexts,
            $arity,
            |load, frame, directive| {
                let parse: fn(&mut $crate::config::table::Args<'_>) -> Result<$ty, $crate::config::table::Fault> = $parse;
                if let Some(value) = load.parse(directive, parse) {
                    let family = std::sync::Arc::make_mut(&mut frame.settings.$slot);
                    std::sync::Arc::make_mut(&mut family.$field).push(value);
                }
            },
            $doc,
        )
        .many()
        .default($default)
        .clearing($crate::config::table::Inherit::Replace, |settings| {
            std::sync::Arc::make_mut(&mut settings.$slot).$field = Default::default();
        })
    };
    (@row gather $slot:ident $field:ident ($name:expr) $ty:ty, $default:tt, $parse:expr, $contexts:expr, $arity:expr, $doc:literal) => {
        $crate::config::table::row(
            $name,
            $contexts,
            $arity,
            |load, frame, directive| {
                let parse: fn(&mut $crate::config::table::Args<'_>) -> Result<$ty, $crate::config::table::Fault> = $parse;
                if let Some(values) = load.parse(directive, parse) {
                    let family = std::sync::Arc::make_mut(&mut frame.settings.$slot);
                    std::sync::Arc::make_mut(&mut family.$field).extend(values.iter().cloned());
                }
            },
            $doc,
        )
        .many()
        .clearing($crate::config::table::Inherit::Replace, |settings| {
            std::sync::Arc::make_mut(&mut settings.$slot).$field = Default::default();
        })
    };
    (@row mask $slot:ident $field:ident ($name:expr) $ty:ty, $default:tt, $parse:expr, $contexts:expr, $arity:expr, $doc:literal) => {
        $crate::config::table::row(
            $name,
            $contexts,
            $arity,
            |load, frame, directive| {
                let parse: fn(&mut $crate::config::table::Args<'_>) -> Result<$ty, $crate::config::table::Fault> = $parse;
                if let Some(value) = load.parse(directive, parse) {
                    let family = std::sync::Arc::make_mut(&mut frame.settings.$slot);
                    family.$field = family.$field.with(value);
                }
            },
            $doc,
        )
        .many()
        .default($default)
        .clearing($crate::config::table::Inherit::Replace, |settings| {
            std::sync::Arc::make_mut(&mut settings.$slot).$field = Default::default();
        })
    };
    (@row switch $slot:ident $field:ident ($name:expr) $ty:ty, $default:tt, $parse:expr, $contexts:expr, $arity:expr, $doc:literal) => {
        $crate::config::table::row(
            $name,
            $contexts,
            $arity,
            |load, frame, directive| {
                let parse: fn(&mut $crate::config::table::Args<'_>) -> Result<$ty, $crate::config::table::Fault> = $parse;
                if let Some(value) = load.parse(directive, parse) {
                    let family = std::sync::Arc::make_mut(&mut frame.settings.$slot);
                    let list = std::sync::Arc::make_mut(&mut family.$field);
                    $crate::config::value::push_switch(load, directive, list, value);
                }
            },
            $doc,
        )
        .many()
        .clearing($crate::config::table::Inherit::Replace, |settings| {
            std::sync::Arc::make_mut(&mut settings.$slot).$field = Default::default();
        })
    };
    (@row $kind:ident $slot:ident $field:ident ($name:expr) $ty:ty, $default:tt, $parse:expr, $contexts:expr, $arity:expr, $doc:literal) => {
        $crate::config::table::family!(@inherit $kind $slot $field $ty, $crate::config::table::row(
            $name,
            $contexts,
            $arity,
            |load, frame, directive| {
                let parse: fn(&mut $crate::config::table::Args<'_>) -> Result<$ty, $crate::config::table::Fault> = $parse;
                if let Some(value) = load.parse(directive, parse) {
                    std::sync::Arc::make_mut(&mut frame.settings.$slot).$field = value;
                }
            },
            $doc,
        )
        .default($default))
    };
    (@inherit value $slot:ident $field:ident $ty:ty, $row:expr) => {{
        let mut row = $row;
        row.inherit = $crate::config::table::Inherit::Copy;
        row
    }};
    (@inherit never $slot:ident $field:ident $ty:ty, $row:expr) => {
        $row.clearing($crate::config::table::Inherit::Never, |settings| {
            std::sync::Arc::make_mut(&mut settings.$slot).$field = <$ty>::default();
        })
    };
}
pub(crate) use family;
