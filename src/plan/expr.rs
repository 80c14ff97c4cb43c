//! Strings with `$variables`, compiled: literal bytes, variables and captures.
//!
//! Only data: evaluation needs an exchange and lives in `http::vars`.

use bytes::Bytes;

use super::{GeoId, MapId, SlotId, SplitId};

/// A compiled value. Without variables it is one literal, or nothing at all.
#[derive(Clone, Debug, Default)]
pub struct Expr {
    /// Parts in order; adjacent literals are merged.
    pub parts: Box<[Part]>,
}

/// One piece of an [`Expr`].
#[derive(Clone, Debug)]
pub enum Part {
    /// Bytes as they are.
    Lit(Bytes),
    /// A variable's value, empty when it has none.
    Var(Var),
    /// `$1` … `$9` of the exchange's latest match.
    Capture(u8),
}

impl Expr {
    /// A constant.
    #[must_use]
    pub fn literal(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let parts = if bytes.is_empty() {
            Box::default()
        } else {
            Box::from([Part::Lit(bytes)])
        };
        Self { parts }
    }

    /// One variable.
    #[must_use]
    pub fn variable(var: Var) -> Self {
        Self {
            parts: Box::from([Part::Var(var)]),
        }
    }

    /// Compiles a text with `$name`, `${name}` and `$1`. The error is nginx's message.
    pub fn parse(
        source: &[u8],
        resolve: &mut impl FnMut(&[u8]) -> Option<Var>,
    ) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = source;
        while !rest.is_empty() {
            let dollar = memchr::memchr(b'$', rest).unwrap_or(rest.len());
            if dollar > 0 {
                parts.push(Part::Lit(Bytes::copy_from_slice(&rest[..dollar])));
            }
            let Some(after) = rest.get(dollar + 1..) else {
                break;
            };
            let (part, tail) = reference(after, resolve)?;
            parts.push(part);
            rest = tail;
        }
        Ok(Self {
            parts: parts.into(),
        })
    }

    /// Whether the value never has CR, LF or NUL, whoever asks: nobody has to look for them then.
    #[must_use]
    pub fn is_one_line(&self) -> bool {
        self.parts.iter().all(|part| match part {
            Part::Lit(text) => !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            Part::Var(Var::Builtin(builtin)) => builtin.is_one_line(),
            _ => false,
        })
    }

    /// The value, when no variable is in it.
    #[must_use]
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &*self.parts {
            [] => Some(b""),
            [Part::Lit(bytes)] => Some(bytes),
            _ => None,
        }
    }
}

/// Reads what follows a `$`.
fn reference<'s>(
    after: &'s [u8],
    resolve: &mut impl FnMut(&[u8]) -> Option<Var>,
) -> Result<(Part, &'s [u8]), String> {
    if let [digit @ b'1'..=b'9', tail @ ..] = after {
        return Ok((Part::Capture(digit - b'0'), tail));
    }
    let (inner, braced) = match after.strip_prefix(b"{") {
        Some(inner) => (inner, true),
        None => (after, false),
    };
    let end = inner
        .iter()
        .position(|&b| !b.is_ascii_alphanumeric() && b != b'_')
        .unwrap_or(inner.len());
    let (name, tail) = inner.split_at(end);
    let shown = String::from_utf8_lossy(name);
    let tail = match (braced, tail.strip_prefix(b"}")) {
        (false, _) => tail,
        (true, Some(tail)) => tail,
        (true, None) if inner.is_empty() => return Err("invalid variable name".to_owned()),
        (true, None) => {
            return Err(format!(
                "the closing bracket in \"{shown}\" variable is missing"
            ));
        }
    };
    if name.is_empty() {
        return Err("invalid variable name".to_owned());
    }
    match resolve(name) {
        Some(var) => Ok((Part::Var(var), tail)),
        None => Err(format!("unknown \"{shown}\" variable")),
    }
}

/// One variable. Small and `Copy`, so that an expression is walked without pointers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Var {
    /// A variable with a fixed name and meaning.
    Builtin(super::vars::Builtin),
    /// A member of an open family, its lower-case name at this index of `Plan::family_names`.
    Named(Family, u32),
    /// `set`, named captures and `*_set`.
    Slot(SlotId),
    /// `map`.
    Map(MapId),
    /// `geo`.
    Geo(GeoId),
    /// `split_clients`.
    Split(SplitId),
    /// What only a session of `stream` has, or has in another sense than a request.
    Session(super::stream::SessionVar),
}

/// Variable families whose members are named by the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `$http_NAME`
    Http,
    /// `$sent_http_NAME`
    SentHttp,
    /// `$sent_trailer_NAME`
    SentTrailer,
    /// `$upstream_http_NAME`
    UpstreamHttp,
    /// `$upstream_trailer_NAME`
    UpstreamTrailer,
    /// `$upstream_cookie_NAME`
    UpstreamCookie,
    /// `$cookie_NAME`
    Cookie,
    /// `$arg_NAME`
    Arg,
    /// `$proxy_protocol_tlv_NAME`
    ProxyProtocolTlv,
}

#[cfg(test)]
mod tests {
    use super::super::vars::Builtin;
    use super::*;

    fn parse(source: &str) -> Result<String, String> {
        let mut resolve = |name: &[u8]| match name {
            b"host" => Some(Var::Builtin(Builtin::Host)),
            b"a_1" => Some(Var::Slot(SlotId(1))),
            _ => None,
        };
        let expr = Expr::parse(source.as_bytes(), &mut resolve)?;
        let texts = expr.parts.iter().map(|part| match part {
            Part::Lit(bytes) => format!("'{}'", String::from_utf8_lossy(bytes)),
            Part::Var(Var::Builtin(builtin)) => builtin.name().to_owned(),
            Part::Var(var) => format!("{var:?}"),
            Part::Capture(number) => number.to_string(),
        });
        Ok(texts.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_may_break_a_line_is_known() {
        let text = |text: &'static str| Part::Lit(Bytes::from_static(text.as_bytes()));
        let builtin = |builtin| Part::Var(Var::Builtin(builtin));
        for (part, one_line) in [
            (text("plain, \twith a tab"), true),
            (text("a\rb"), false),
            (text("a\nb"), false),
            (text("a\0b"), false),
            (builtin(Builtin::Host), true),
            // Decoded.
            (builtin(Builtin::Uri), false),
            (Part::Var(Var::Slot(SlotId(1))), false),
            (Part::Capture(1), false),
        ] {
            let parts = Box::from([builtin(Builtin::Scheme), part]);
            let expr = Expr { parts };
            assert_eq!(expr.is_one_line(), one_line, "{:?}", expr.parts);
        }
        assert!(Expr::default().is_one_line());
    }

    #[test]
    fn texts_compile() {
        let cases: &[(&str, Result<&str, &str>)] = &[
            ("", Ok("")),
            ("plain", Ok("'plain'")),
            ("$host", Ok("host")),
            ("a$host.b", Ok("'a' host '.b'")),
            ("${host}x$a_1", Ok("host 'x' Slot(SlotId(1))")),
            ("$1$20", Ok("1 2 '0'")),
            ("/$1/$host?", Ok("'/' 1 '/' host '?'")),
            ("$", Err("invalid variable name")),
            ("a$", Err("invalid variable name")),
            ("$.x", Err("invalid variable name")),
            ("${}", Err("invalid variable name")),
            ("${", Err("invalid variable name")),
            (
                "${host",
                Err("the closing bracket in \"host\" variable is missing"),
            ),
            (
                "${ho-st}",
                Err("the closing bracket in \"ho\" variable is missing"),
            ),
            ("$nosuch", Err("unknown \"nosuch\" variable")),
            ("$0", Err("unknown \"0\" variable")),
        ];
        for &(source, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(parse(source), expected, "{source}");
        }
    }

    #[test]
    fn literals() {
        assert_eq!(Expr::default().as_literal(), Some(&b""[..]));
        assert_eq!(Expr::literal("x").as_literal(), Some(&b"x"[..]));
        assert_eq!(Expr::variable(Var::Slot(SlotId(0))).as_literal(), None);
    }
}
