//! Writes a tree as nginx.conf or as TOML, so that reading it again gives the same directives. Comments and includes are
//! not in a tree and so not in what is written.

use std::fmt::Write as _;

use super::rows;
use super::table::{Block, Contexts};
use super::toml::main_file;
use super::tree::{Directive, Span, Tree, Word};

/// The tree as nginx.conf.
pub fn nginx(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    write_block(&mut out, &tree.directives, 0);
    out
}

fn write_block(out: &mut Vec<u8>, directives: &[Directive], depth: usize) {
    for (i, directive) in directives.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| directives[i].block.as_ref());
        if i > 0 && (directive.block.is_some() || before.is_some()) {
            out.push(b'\n');
        }
        write_directive(out, directive, depth);
    }
}

fn write_directive(out: &mut Vec<u8>, directive: &Directive, depth: usize) {
    indent(out, depth);
    write_head(out, directive);
    match &directive.block {
        None => out.extend_from_slice(b";\n"),
        Some(inside) => {
            out.extend_from_slice(b" {\n");
            write_block(out, inside, depth + 1);
            indent(out, depth);
            out.extend_from_slice(b"}\n");
        }
    }
}

/// The directive on one line.
fn write_line(out: &mut Vec<u8>, directive: &Directive) {
    write_head(out, directive);
    match &directive.block {
        None => out.push(b';'),
        Some(inside) => {
            out.extend_from_slice(b" { ");
            for directive in inside {
                write_line(out, directive);
                out.push(b' ');
            }
            out.push(b'}');
        }
    }
}

fn indent(out: &mut Vec<u8>, depth: usize) {
    out.resize(out.len() + 4 * depth, b' ');
}

fn write_head(out: &mut Vec<u8>, directive: &Directive) {
    quote(out, &directive.name.bytes);
    write_args(out, &directive.args, true);
}

fn write_args(out: &mut Vec<u8>, args: &[Word], mut space: bool) {
    for arg in args {
        if space {
            out.push(b' ');
        }
        space = true;
        quote(out, &arg.bytes);
    }
}

/// A word in a form that the lexer reads back as the same bytes.
pub(super) fn quote(out: &mut Vec<u8>, word: &[u8]) {
    // Apostrophes around what holds quotes, as in most log formats, save the backslashes.
    let mark = match needs_quotes(word) {
        false => None,
        true if word.contains(&b'"') && !word.contains(&b'\'') => Some(b'\''),
        true => Some(b'"'),
    };
    out.extend(mark);
    for (i, &byte) in word.iter().enumerate() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            // A backslash is doubled where it would be read as an escape, or would escape the end.
            b'\\'
                if word
                    .get(i + 1)
                    .is_none_or(|next| b"\"'\\trn\n\r\t".contains(next)) =>
            {
                out.extend_from_slice(b"\\\\");
            }
            _ if Some(byte) == mark => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out.extend(mark);
}

fn needs_quotes(word: &[u8]) -> bool {
    let Some(&first) = word.first() else {
        return true;
    };
    if b"\"'#}".contains(&first) {
        return true;
    }
    let mut before = 0;
    word.iter().any(|&byte| {
        let special = match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b';' | b'"' | b'\'' => true,
            b'{' => before != b'$',
            _ => false,
        };
        before = byte;
        special
    })
}

/// What TOML cannot say.
#[derive(Debug, PartialEq, Eq)]
pub struct NotText {
    /// Where bytes stand that are not UTF-8.
    pub span: Span,
}

/// The tree as TOML. Fails on bytes that are not UTF-8, which TOML cannot hold.
pub fn toml(tree: &Tree) -> Result<String, NotText> {
    let mut out = String::new();
    let mut top: Vec<&Directive> = Vec::new();
    let mut http: &[Directive] = &[];
    for directive in &tree.directives {
        match &directive.block {
            // Without a header of its own, `http` is what does not fit the top.
            Some(inside)
                if *directive.name.bytes == *b"http"
                    && all_fit_http_only(inside)
                    && http.is_empty() =>
            {
                http = inside;
            }
            _ => top.push(directive),
        }
    }
    top.extend(http);
    check(&tree.directives)?;
    table(&mut out, &top, "", false);
    Ok(out)
}

/// Whether [`main_file`] would put every one of these back into `http`.
fn all_fit_http_only(inside: &[Directive]) -> bool {
    !inside.is_empty()
        && inside.iter().all(|d| {
            let rows = rows::find(&d.name.bytes);
            let fits = |context: Contexts| rows.iter().any(|r| r.contexts.meets(context));
            fits(Contexts::HTTP) && !fits(Contexts::MAIN)
        })
        && main_file(inside.to_vec()).len() == 1
}

fn check(directives: &[Directive]) -> Result<(), NotText> {
    for directive in directives {
        for word in std::iter::once(&directive.name).chain(&directive.args) {
            if std::str::from_utf8(&word.bytes).is_err() {
                return Err(NotText { span: word.span });
            }
        }
        check(directive.block.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// Directives whose order among each other means something.
const ORDERED: &[&[&str]] = &[
    &["set", "if", "rewrite", "return", "break"],
    &["allow", "deny"],
    &[
        "server",
        "hash",
        "ip_hash",
        "random",
        "least_conn",
        "keepalive",
    ],
    &["proxy_pass", "proxy_redirect"],
];

/// The family whose order a table would lose, by name.
fn disordered(directives: &[&Directive]) -> Vec<&'static [&'static str]> {
    let lost = |family: &&&'static [&'static str]| {
        let position = |d: &Directive| {
            family
                .iter()
                .position(|n| n.as_bytes() == &d.name.bytes[..])
        };
        let members: Vec<(usize, &Directive)> = directives
            .iter()
            .filter_map(|d| position(d).map(|p| (p, *d)))
            .collect();
        // Tables group what has one name and stand behind everything else.
        let mixed = members
            .iter()
            .any(|(_, d)| d.block.is_some() && d.args.is_empty());
        let blocks = members.iter().any(|(_, d)| d.block.is_some());
        let names = members
            .iter()
            .fold(0u32, |set, (p, _)| set | 1 << p)
            .count_ones();
        let regrouped = {
            let mut order: Vec<usize> = Vec::new();
            members.iter().any(|(p, _)| {
                let again = order.contains(p) && order.last() != Some(p);
                order.push(*p);
                again
            })
        };
        let twice = members.iter().enumerate().any(|(i, (_, d))| {
            d.block.is_some()
                && members[..i]
                    .iter()
                    .any(|(_, e)| e.block.is_some() && same_words(&e.args, &d.args))
        });
        !mixed && (regrouped || (blocks && (names > 1 || twice)))
    };
    ORDERED.iter().filter(lost).copied().collect()
}

fn same_words(a: &[Word], b: &[Word]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.bytes == y.bytes)
}

/// One table: plain keys first, then tables, as TOML wants it. `path` is the header so far.
fn table(out: &mut String, directives: &[&Directive], path: &str, entries: bool) {
    let rules = if entries {
        Vec::new()
    } else {
        disordered(directives)
    };
    let is_rule = |d: &Directive| {
        rules
            .iter()
            .any(|f| f.iter().any(|n| n.as_bytes() == &d.name.bytes[..]))
    };
    let (ruled, rest): (Vec<&Directive>, Vec<&Directive>) =
        directives.iter().partition(|d| is_rule(d));
    let mut names: Vec<&[u8]> = Vec::new();
    let mut groups: std::collections::HashMap<&[u8], Vec<&Directive>> =
        std::collections::HashMap::new();
    for directive in rest {
        let key = &directive.name.bytes[..];
        groups
            .entry(key)
            .or_insert_with(|| {
                names.push(key);
                Vec::new()
            })
            .push(directive);
    }
    let (plain, blocks): (Vec<&[u8]>, Vec<&[u8]>) = names
        .into_iter()
        .partition(|n| groups[n].iter().all(|d| d.block.is_none()));
    for name in plain {
        plain_key(out, &groups[name], entries);
    }
    if !ruled.is_empty() {
        out.push_str("rules = [\n");
        for directive in ruled {
            let mut text = Vec::new();
            write_line(&mut text, directive);
            let text = String::from_utf8_lossy(&text);
            let _ = writeln!(
                out,
                "    {},",
                string(
                    text.trim_end()
                        .strip_suffix(';')
                        .unwrap_or_else(|| text.trim_end())
                )
            );
        }
        out.push_str("]\n");
    }
    for name in blocks {
        block_tables(out, &groups[name], path);
    }
}

/// `name = value` or `name = [values]`.
fn plain_key(out: &mut String, directives: &[&Directive], entries: bool) {
    let values: Vec<String> = directives.iter().map(|d| value(d, entries)).collect();
    let name = key(&directives[0].name.lossy());
    match &values[..] {
        [one] => {
            let _ = writeln!(out, "{name} = {one}");
        }
        many => {
            let _ = writeln!(out, "{name} = [");
            for value in many {
                let _ = writeln!(out, "    {value},");
            }
            out.push_str("]\n");
        }
    }
}

fn value(directive: &Directive, entries: bool) -> String {
    let rows = rows::find(&directive.name.bytes);
    let bare = !entries
        && rows
            .iter()
            .any(|r| r.arity.min == 0 && r.block == Block::None);
    if directive.args.is_empty() && (bare || entries) {
        return "true".into();
    }
    if let [only] = &directive.args[..]
        && !bare
        && !entries
    {
        match &only.bytes[..] {
            b"on" => return "true".into(),
            b"off" => return "false".into(),
            digits @ ([b'0'] | [b'1'..=b'9', ..])
                if digits.len() < 19 && digits.iter().all(u8::is_ascii_digit) =>
            {
                return only.lossy();
            }
            _ => {}
        }
    }
    let mut text = Vec::new();
    write_args(&mut text, &directive.args, false);
    string(&String::from_utf8_lossy(&text))
}

/// A header and a body for each block of one name.
fn block_tables(out: &mut String, directives: &[&Directive], path: &str) {
    let name = key(&directives[0].name.lossy());
    let takes_args = directives.iter().any(|d| !d.args.is_empty());
    for (i, directive) in directives.iter().enumerate() {
        let inside: Vec<&Directive> = directive.block.iter().flatten().collect();
        let entries = rows::find(&directive.name.bytes)
            .iter()
            .any(|r| r.block == Block::Data);
        let same = |d: &&&Directive| same_words(&d.args, &directive.args);
        let repeated = directives.iter().filter(same).count() > 1
            || (!takes_args && *directive.name.bytes == *b"server");
        let mut header = format!("{path}{name}");
        if takes_args {
            let mut text = Vec::new();
            write_args(&mut text, &directive.args, false);
            let _ = write!(header, ".{}", key(&String::from_utf8_lossy(&text)));
        }
        let first = i == 0 && out.is_empty();
        let line = if repeated {
            format!("[[{header}]]\n")
        } else {
            format!("[{header}]\n")
        };
        let _ = write!(out, "{}{line}", if first { "" } else { "\n" });
        table(out, &inside, &format!("{header}."), entries);
    }
}

/// A key: bare where TOML allows it.
fn key(text: &str) -> String {
    let bare = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare {
        text.to_owned()
    } else {
        short_string(text)
    }
}

/// A string: literal where it has a backslash or a quote, so that patterns stay readable.
pub(super) fn string(text: &str) -> String {
    let control = text.bytes().any(|b| b.is_ascii_control());
    // Up to two apostrophes may stand before the three that end it.
    if awkward(text) && text.contains('\'') && !control && !text.contains("'''") {
        return format!("'''{text}'''");
    }
    short_string(text)
}

/// Whether escapes would make a string hard to read.
fn awkward(text: &str) -> bool {
    text.contains('\\') || text.contains('"')
}

/// A string in the two forms that a key may have.
fn short_string(text: &str) -> String {
    let control = text.bytes().any(|b| b.is_ascii_control());
    if awkward(text) && !control && !text.contains('\'') {
        return format!("'{text}'");
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
