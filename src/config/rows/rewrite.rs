//! Rows of the rewrite family: switches, and the steps of a script.

use std::sync::Arc;

use super::server::{finished, noname};
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Contexts, Row, args, args_min, args_to, family, row};
use crate::config::tree::{Directive, Span, Word};
use crate::config::value::*;

family! {
    /// Switches of the rewrite family.
    pub struct Rewriting in rewrite {
        value rewrite_log: bool = "off", flag, HSFLI, args(1), "Logs each step of the rewrite phase at notice level.";
        value uninitialized_variable_warn: bool = "on", flag, HSFLI, args(1), "Warns when a variable is read that was never set.";
    } also {
    }
}

/// The rows that add steps.
pub(crate) const ROWS: &[Row] = &[
    row("set", SFLI, args(2), set, "Gives a variable a value.").many(),
    row(
        "rewrite",
        SFLI,
        args_to(2, 3),
        rewrite,
        "Replaces a URI that matches.",
    )
    .many(),
    row("return", SFLI, args_to(1, 2), return_, "Answers at once.").many(),
    row(
        "break",
        SFLI,
        args(0),
        |_, frame, _| frame.script.push(Op::Break),
        "Ends the rewrite steps.",
    )
    .many(),
    row(
        "if",
        SL,
        args_min(1),
        if_block,
        "Does what is inside when the condition holds.",
    )
    .scope(),
];

fn set(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let name = &directive.args[0];
    match variable(name) {
        Some(variable) => frame.script.push(Op::Set {
            variable,
            value: text_of(&directive.args[1]),
        }),
        None => load.error(
            format!("invalid variable name \"{}\"", name.lossy()),
            name.span,
        ),
    }
}

/// A word that names a variable: what follows its `$`.
pub(super) fn variable(word: &Word) -> Option<Text> {
    match &word.bytes[..] {
        [b'$', name @ ..] if !name.is_empty() => Some(Text {
            bytes: Arc::from(name),
            span: word.span,
        }),
        _ => None,
    }
}

fn is_url(bytes: &[u8]) -> bool {
    [&b"http://"[..], b"https://", b"$scheme"]
        .iter()
        .any(|p| bytes.starts_with(p))
}

fn rewrite(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let mut replacement = text_of(&directive.args[1]);
    if replacement.bytes.is_empty() {
        return load.error("empty replacement", directive.span);
    }
    let drop_args = replacement.bytes.last() == Some(&b'?');
    if drop_args {
        replacement.bytes = Arc::from(&replacement.bytes[..replacement.bytes.len() - 1]);
    }
    let url = is_url(&replacement.bytes);
    let flag = match directive.args.get(2).map(|w| &w.bytes[..]) {
        None if url => RewriteFlag::Redirect,
        None => RewriteFlag::None,
        Some(b"permanent") => RewriteFlag::Permanent,
        Some(b"redirect") => RewriteFlag::Redirect,
        // A replacement that is a URL redirects whatever else is asked for.
        Some(b"last" | b"break") if url => RewriteFlag::Redirect,
        Some(b"last") => RewriteFlag::Last,
        Some(b"break") => RewriteFlag::Break,
        Some(_) => {
            let shown = directive.args[2].lossy();
            return load.error_hint(
                format!("invalid parameter \"{shown}\""),
                "one of: last, break, redirect, permanent",
                directive.args[2].span,
            );
        }
    };
    frame.script.push(Op::Rewrite(Rewrite {
        regex: text_of(&directive.args[0]),
        replacement,
        drop_args,
        flag,
    }));
}

fn return_(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    let first = &directive.args[0];
    let text = directive.args.get(1).map(text_of);
    match decimal(&first.bytes) {
        Some(status @ 0..=999) => {
            frame.script.push(Op::Return(Return {
                status: status as u16,
                text,
                bare_url: false,
            }));
        }
        None if text.is_none() && is_url(&first.bytes) => {
            frame.script.push(Op::Return(Return {
                status: 302,
                text: Some(text_of(first)),
                bare_url: true,
            }));
        }
        _ => load.error(
            format!("invalid return code \"{}\"", first.lossy()),
            first.span,
        ),
    }
}

/// Reads the condition of an `if` and puts the step into the script; the body is lowered after the block's own
/// directives.
pub(crate) fn condition(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    match parse_condition(&directive.args) {
        Ok(condition) => {
            frame.conditions.push_back(Some(frame.script.len()));
            frame.script.push(Op::If {
                condition,
                location: usize::MAX,
            });
        }
        Err((message, span)) => {
            frame.conditions.push_back(None);
            load.error(message, span);
        }
    }
}

fn if_block(load: &mut Lowering<'_>, frame: &mut Frame, directive: &Directive) {
    // Bodies come in the order of their conditions.
    let step = frame.conditions.pop_front().flatten();
    let context = if frame.context == Contexts::SERVER {
        Contexts::SERVER_IF
    } else {
        Contexts::LOCATION_IF
    };
    let mut inner = noname(frame, context);
    load.apply(&mut inner, directive.block.as_deref().unwrap_or_default());
    let Some(Op::If {
        condition,
        location,
    }) = step.and_then(|s| frame.script.get_mut(s))
    else {
        return;
    };
    *location = frame.locations.len();
    let kind = Kind::If(condition.clone());
    let path = inner
        .here
        .as_ref()
        .map(|h| h.path.clone())
        .unwrap_or_default();
    frame
        .locations
        .push(finished(inner, kind, path, directive.span));
}

fn parse_condition(words: &[Word]) -> Result<Condition, (String, Span)> {
    let mut words: Vec<Text> = words.iter().map(text_of).collect();
    let shown = |text: &Text| (format!("invalid condition \"{}\"", text.lossy()), text.span);
    let first = words.first_mut().expect("arity of if is at least one");
    match &first.bytes[..] {
        [b'(', rest @ ..] => first.bytes = Arc::from(rest),
        _ => return Err(shown(first)),
    }
    if first.bytes.is_empty() {
        words.remove(0);
    }
    let last = words
        .last_mut()
        .ok_or_else(|| (String::from("invalid condition \"(\""), Span::default()))?;
    match &last.bytes[..] {
        [rest @ .., b')'] => last.bytes = Arc::from(rest),
        _ => return Err(shown(last)),
    }
    if last.bytes.is_empty() && words.len() > 1 {
        words.pop();
    }
    let head = &words[0];
    match &head.bytes[..] {
        [b'$', _, ..] => compare(&words).map_err(|word| match words.len() {
            3 => (
                format!("unexpected \"{}\" in condition", word.lossy()),
                word.span,
            ),
            _ => shown(&word),
        }),
        [b'-', test] => file_test(&words, *test, false).ok_or_else(|| shown(head)),
        [b'!', b'-', test] => file_test(&words, *test, true).ok_or_else(|| shown(head)),
        _ => Err(shown(head)),
    }
}

fn compare(words: &[Text]) -> Result<Condition, Text> {
    let head = &words[0];
    let variable = Text {
        bytes: Arc::from(&head.bytes[1..]),
        span: head.span,
    };
    let (operator, operand) = match words {
        [_] => return Ok(Condition::Truthy { variable }),
        [_, operator, operand] => (operator, operand.clone()),
        _ => return Err(head.clone()),
    };
    Ok(match &operator.bytes[..] {
        b"=" => Condition::Equal {
            variable,
            value: operand,
            negate: false,
        },
        b"!=" => Condition::Equal {
            variable,
            value: operand,
            negate: true,
        },
        b"~" => Condition::Match {
            variable,
            regex: operand,
            caseless: false,
            negate: false,
        },
        b"~*" => Condition::Match {
            variable,
            regex: operand,
            caseless: true,
            negate: false,
        },
        b"!~" => Condition::Match {
            variable,
            regex: operand,
            caseless: false,
            negate: true,
        },
        b"!~*" => Condition::Match {
            variable,
            regex: operand,
            caseless: true,
            negate: true,
        },
        _ => return Err(operator.clone()),
    })
}

fn file_test(words: &[Text], test: u8, negate: bool) -> Option<Condition> {
    let [_, path] = words else {
        return None;
    };
    let test = match test {
        b'f' => FileTest::Plain,
        b'd' => FileTest::Directory,
        b'e' => FileTest::Exists,
        b'x' => FileTest::Executable,
        _ => return None,
    };
    Some(Condition::File {
        test,
        path: path.clone(),
        negate,
    })
}
