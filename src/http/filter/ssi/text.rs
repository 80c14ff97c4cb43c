//! Texts of SSI with variables in them, and what variables a page sees: its own first, then the request's.

use super::super::super::exchange::Exchange;
use super::super::super::local::Cx;
use super::super::super::log::{self, Text};
use super::super::super::vars;
use super::{Failed, Shared};
use crate::plan::model::LogLevel;

/// Appends a variable's value; false when there is none. The name is in lower case.
pub fn variable(
    name: &[u8],
    shared: &Shared,
    ex: &mut Exchange,
    cx: Cx<'_>,
    out: &mut Vec<u8>,
) -> bool {
    if let Some(value) = shared.get(name) {
        out.extend_from_slice(value);
        return true;
    }
    vars::by_name(name, ex, cx, out)
}

/// Puts variables in their places and takes the backslashes out.
pub fn evaluate(
    text: &[u8],
    shared: &Shared,
    ex: &mut Exchange,
    cx: Cx<'_>,
) -> Result<Vec<u8>, Failed> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        match byte {
            b'$' => {
                rest = match reference(tail) {
                    Ok((name, tail)) => {
                        variable(&name.to_ascii_lowercase(), shared, ex, cx, &mut out);
                        tail
                    }
                    Err(name) => {
                        complain(text, name, ex, cx);
                        return Err(Failed);
                    }
                };
            }
            b'\\' => match tail.split_first() {
                Some((&escaped, tail)) => {
                    if !matches!(escaped, b'\\' | b'\'' | b'"' | b'$') {
                        out.push(b'\\');
                    }
                    out.push(escaped);
                    rest = tail;
                }
                None => rest = tail,
            },
            other => {
                out.push(other);
                rest = tail;
            }
        }
    }
    Ok(out)
}

/// Reads what follows a `$`: the name, and what stands behind it. The error is a name whose bracket is not closed, or
/// an empty one.
fn reference(tail: &[u8]) -> Result<(&[u8], &[u8]), &[u8]> {
    let (inner, braced) = match tail.strip_prefix(b"{") {
        Some(inner) => (inner, true),
        None => (tail, false),
    };
    let end = inner
        .iter()
        .position(|&b| !b.is_ascii_alphanumeric() && b != b'_')
        .unwrap_or(inner.len());
    let (name, tail) = inner.split_at(end);
    match (braced, tail.strip_prefix(b"}")) {
        (true, None) if !inner.is_empty() => Err(name),
        (true, None) => Err(b""),
        _ if name.is_empty() => Err(b""),
        (true, Some(tail)) => Ok((name, tail)),
        (false, _) => Ok((name, tail)),
    }
}

fn complain(text: &[u8], name: &[u8], ex: &Exchange, cx: Cx<'_>) {
    let text = Text(text);
    match name {
        b"" => {
            let text = format_args!("invalid variable name in \"{text}\"");
            log::error(ex, cx, LogLevel::Error, text);
        }
        name => {
            let text = format_args!(
                "the closing bracket in \"{}\" variable is missing",
                Text(name)
            );
            log::error(ex, cx, LogLevel::Error, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_where_they_must() {
        for (tail, want) in [
            (&b"a-b"[..], Ok((&b"a"[..], &b"-b"[..]))),
            (b"{a_1}b", Ok((b"a_1", b"b"))),
            (b"{a", Err(&b"a"[..])),
            (b"{a-}", Err(b"a")),
            (b"", Err(b"")),
            (b"{", Err(b"")),
            (b"-", Err(b"")),
            (b"{}", Err(b"")),
            (b"1x", Ok((b"1x", b""))),
        ] {
            assert_eq!(reference(tail), want, "{}", tail.escape_ascii());
        }
    }
}
