//! Edits of a source text that keep everything else as it stands: a word set, added or removed, a directive added or removed.
//! In TOML, where a value holds all words, only words are edited. Start at [`set_word`].

use super::super::diag::COMMAND_LINE;
use super::super::toml::is_toml;
use super::super::tree::{Directive, SourceFile, Tree, Word};
use super::super::write;

/// Bytes of a file that become others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edit {
    /// Index into the tree's files.
    pub file: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// What stands there instead.
    pub text: Vec<u8>,
}

/// The file of a directive, unless it is the command line.
fn source<'a>(tree: &'a Tree, directive: &Directive) -> Option<(&'a SourceFile, bool)> {
    let file = tree.files.get(directive.span.file as usize)?;
    let known = directive.span.line != 0 && file.path.as_os_str() != COMMAND_LINE;
    known.then(|| (file, is_toml(&file.path)))
}

/// Parameter `index` becomes another text.
pub(super) fn set_word(
    tree: &Tree,
    directive: &Directive,
    index: usize,
    new: &[u8],
) -> Option<Edit> {
    let (file, toml) = source(tree, directive)?;
    if toml {
        let mut words: Vec<Vec<u8>> = words(directive);
        *words.get_mut(index)? = new.to_vec();
        return value(directive, &words);
    }
    let (start, end) = raw(file, directive.args.get(index)?);
    let mut text = Vec::new();
    write::quote(&mut text, new);
    edit(directive, start, end, text)
}

/// A parameter more at the end.
pub(super) fn push_word(tree: &Tree, directive: &Directive, new: &[u8]) -> Option<Edit> {
    let (file, toml) = source(tree, directive)?;
    if toml {
        let mut words = words(directive);
        words.push(new.to_vec());
        return value(directive, &words);
    }
    let (_, end) = raw(file, directive.args.last()?);
    let mut text = vec![b' '];
    write::quote(&mut text, new);
    edit(directive, end, end, text)
}

/// Parameter `index` goes, with the blanks before it.
pub(super) fn drop_word(tree: &Tree, directive: &Directive, index: usize) -> Option<Edit> {
    let (file, toml) = source(tree, directive)?;
    if toml {
        let mut words = words(directive);
        (index < words.len()).then(|| words.remove(index))?;
        return value(directive, &words);
    }
    let (start, end) = raw(file, directive.args.get(index)?);
    let blanks = file.bytes[..start]
        .iter()
        .rev()
        .take_while(|b| b" \t\r\n".contains(b))
        .count();
    edit(directive, start - blanks, end, Vec::new())
}

/// A directive goes, with its line where it stands alone on it.
pub(super) fn remove(tree: &Tree, directive: &Directive) -> Option<Edit> {
    let (file, toml) = source(tree, directive)?;
    if toml || directive.block.is_some() {
        return None;
    }
    let (mut start, mut end) = (directive.span.start as usize, directive.span.end as usize);
    let bytes = &file.bytes[..];
    let blank = |b: &&u8| matches!(b, b' ' | b'\t' | b'\r');
    let before = bytes[..start].iter().rev().take_while(blank).count();
    let after = bytes[end..].iter().take_while(blank).count();
    let begins = start == before || bytes[start - before - 1] == b'\n';
    if begins && bytes.get(end + after) == Some(&b'\n') {
        (start, end) = (start - before, end + after + 1);
    }
    edit(directive, start, end, Vec::new())
}

/// A text becomes a line of its own after a directive, with its indentation.
pub(super) fn line_after(tree: &Tree, directive: &Directive, line: &str) -> Option<Edit> {
    let (file, toml) = source(tree, directive)?;
    if toml || directive.block.is_some() {
        return None;
    }
    let (start, end) = (directive.span.start as usize, directive.span.end as usize);
    let before = &file.bytes[..start];
    let blanks = blanks_before(before);
    let first = before.len() == blanks || before[before.len() - blanks - 1] == b'\n';
    let (at, text) = match line_end(&file.bytes, end).filter(|_| first) {
        Some(at) => {
            let indent = String::from_utf8_lossy(&before[before.len() - blanks..]);
            (at, format!("\n{indent}{line}"))
        }
        None => (end, format!(" {line}")),
    };
    edit(directive, at, at, text.into_bytes())
}

/// Texts become the first lines of a block, indented as what stands there.
pub(super) fn line_first(tree: &Tree, block: &Directive, lines: &[&str]) -> Option<Edit> {
    let (file, toml) = source(tree, block)?;
    if toml || block.block.is_none() {
        return None;
    }
    let end = block.span.end as usize;
    let (at, text) = match line_end(&file.bytes, end) {
        Some(at) => {
            let rest = String::from_utf8_lossy(&file.bytes[at..]).into_owned();
            let next = rest.lines().find(|l| !l.trim().is_empty()).unwrap_or("");
            let indent = &next[..next.len() - next.trim_start().len()];
            let text: String = lines.iter().map(|l| format!("\n{indent}{l}")).collect();
            (at, text)
        }
        None => {
            let words: Vec<&str> = lines.iter().map(|l| l.trim()).collect();
            (end, format!(" {}", words.join(" ")))
        }
    };
    edit(block, at, at, text.into_bytes())
}

fn blanks_before(before: &[u8]) -> usize {
    let blanks = before.iter().rev();
    blanks.take_while(|b| matches!(b, b' ' | b'\t')).count()
}

/// Where the line ends, if nothing but a comment is left on it.
fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = &bytes[from..];
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    let left = rest[..end].trim_ascii();
    (left.is_empty() || left.starts_with(b"#")).then_some(from + end)
}

fn edit(directive: &Directive, start: usize, end: usize, text: Vec<u8>) -> Option<Edit> {
    Some(Edit {
        file: directive.span.file,
        start: u32::try_from(start).ok()?,
        end: u32::try_from(end).ok()?,
        text,
    })
}

/// Where a word stands with its quotes.
fn raw(file: &SourceFile, word: &Word) -> (usize, usize) {
    let (start, end) = (word.span.start as usize, word.span.end as usize);
    let before = start.checked_sub(1).and_then(|at| file.bytes.get(at));
    match (before, file.bytes.get(end)) {
        (Some(open @ (b'"' | b'\'')), Some(close)) if open == close => (start - 1, end + 1),
        _ => (start, end),
    }
}

fn words(directive: &Directive) -> Vec<Vec<u8>> {
    directive.args.iter().map(|w| w.bytes.to_vec()).collect()
}

/// The TOML value that stands for these words: those that are not the key before it.
fn value(directive: &Directive, words: &[Vec<u8>]) -> Option<Edit> {
    let span = directive.span;
    let inside = |word: &Word| word.span.start == span.start;
    let keyed = directive.args.first().is_some_and(|w| !inside(w));
    let mut text = Vec::new();
    // An entry of `rules` is a whole directive.
    if inside(&directive.name) {
        write::quote(&mut text, &directive.name.bytes);
    }
    for word in &words[usize::from(keyed)..] {
        if !text.is_empty() {
            text.push(b' ');
        }
        write::quote(&mut text, word);
    }
    let text = write::string(std::str::from_utf8(&text).ok()?);
    edit(
        directive,
        span.start as usize,
        span.end as usize,
        text.into_bytes(),
    )
}

/// The text of a file with edits made. Of edits that overlap, the first counts; the rest have to be found again.
#[must_use]
pub fn apply(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|e| (e.start, e.end));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    let mut last: Option<&Edit> = None;
    for edit in sorted {
        let (start, end) = (edit.start as usize, edit.end as usize);
        // The same edit may be asked for twice, by an included file or by two findings.
        if start < at || end > text.len() || last == Some(edit) {
            continue;
        }
        out.extend_from_slice(&text[at..start]);
        out.extend_from_slice(&edit.text);
        at = end;
        last = Some(edit);
    }
    out.extend_from_slice(&text[at..]);
    out
}
