//! The TOML reader: the same directives in TOML's clothes. A key is a directive, a string is what would stand between its
//! name and its semicolon, an array repeats it, `true` and `false` are `on` and `off`, a table is a block. Start at
//! [`file`].

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nginx::{Reader, snippet, split_words};
use super::rows;
use super::table::{Block, Contexts, Row};
use super::tree::{Directive, Span, Word};

/// The key whose strings are whole directives, for what tables cannot order.
const RULES: &str = "rules";
/// Deepest nesting of tables.
const DEPTH_MAX: usize = 64;

/// Whether a path is read as TOML.
pub(crate) fn is_toml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("toml"))
}

/// The top level of a main file: what may stand in `http` but not at the top goes into an `http` block.
pub(crate) fn main_file(directives: Vec<Directive>) -> Vec<Directive> {
    let mut top = Vec::new();
    let mut http: Option<Directive> = None;
    let mut loose = Vec::new();
    for directive in directives {
        let rows = rows::find(&directive.name.bytes);
        let fits = |context: Contexts| rows.iter().any(|r| r.contexts.meets(context));
        if *directive.name.bytes == *b"http" && directive.block.is_some() && http.is_none() {
            http = Some(directive);
        } else if fits(Contexts::HTTP) && !fits(Contexts::MAIN) {
            loose.push(directive);
        } else {
            top.push(directive);
        }
    }
    if let Some(first) = loose.first().filter(|_| http.is_none()) {
        let span = first.span;
        http = Some(Directive {
            name: word(b"http", span),
            args: Vec::new(),
            block: Some(Vec::new()),
            span,
        });
    }
    if let Some(mut http) = http {
        http.block.get_or_insert_default().append(&mut loose);
        top.push(http);
    }
    top
}

/// The directives of one TOML text among the reader's files.
pub(crate) fn text(reader: &mut Reader<'_>, id: u32) -> Vec<Directive> {
    let bytes = Arc::clone(&reader.files[id as usize].bytes);
    let mut lines = Lines::new(id, &bytes);
    let Ok(text) = std::str::from_utf8(&bytes) else {
        reader.error("a TOML file must be UTF-8", lines.span(0..1));
        return Vec::new();
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut broken: Vec<_> = errors
        .iter()
        .map(|e| (e.span().unwrap_or(0..1), e.message()))
        .collect();
    broken.sort_by_key(|(range, _)| range.start);
    if !broken.is_empty() {
        // What could be read is no guide to what was meant.
        for (range, message) in broken {
            let span = lines.span(range);
            reader.error(
                format!("invalid TOML: {}", message.replace('\n', ", ")),
                span,
            );
        }
        return Vec::new();
    }
    let mut out = Vec::new();
    let mut body = Body {
        reader,
        lines: &mut lines,
        depth: 0,
    };
    body.table(table.get_ref(), false, &mut out);
    out
}

/// Line numbers of byte offsets. Offsets mostly ascend, so the search starts from the last line found.
struct Lines {
    file: u32,
    starts: Vec<usize>,
}

impl Lines {
    fn new(file: u32, bytes: &[u8]) -> Self {
        let starts = std::iter::once(0)
            .chain(memchr::memchr_iter(b'\n', bytes).map(|i| i + 1))
            .collect();
        Self { file, starts }
    }

    fn span(&self, range: std::ops::Range<usize>) -> Span {
        let line = self.starts.partition_point(|&s| s <= range.start);
        Span {
            file: self.file,
            line: line as u32,
            start: range.start as u32,
            end: range.end as u32,
        }
    }
}

fn word(bytes: &[u8], span: Span) -> Word {
    Word {
        bytes: Arc::from(bytes),
        span,
    }
}

type Value<'i> = Spanned<DeValue<'i>>;

struct Body<'r, 'a> {
    reader: &'r mut Reader<'a>,
    lines: &'r mut Lines,
    depth: usize,
}

impl Body<'_, '_> {
    /// The entries of a table in the order of the text. `entries` says that keys are data, not directives.
    fn table(&mut self, table: &DeTable<'_>, entries: bool, out: &mut Vec<Directive>) {
        if self.depth >= DEPTH_MAX {
            return;
        }
        self.depth += 1;
        let mut keys: Vec<(&Spanned<Cow<'_, str>>, &Value<'_>)> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let name = word(key.get_ref().as_bytes(), self.lines.span(key.span()));
            if entries {
                self.entry(&name, value, out);
            } else {
                self.directive(&name, value, out);
            }
        }
        self.depth -= 1;
    }

    fn error(&mut self, message: impl Into<String>, value: &Value<'_>) {
        let span = self.lines.span(value.span());
        self.reader.error(message, span);
    }

    fn push(&mut self, name: &Word, args: Vec<Word>, span: Span, out: &mut Vec<Directive>) {
        if *name.bytes == *b"include" && args.len() == 1 {
            for path in self.reader.matches(&args[0].bytes) {
                out.append(&mut self.reader.file(&path, span));
            }
            return;
        }
        out.push(Directive {
            name: name.clone(),
            args,
            block: None,
            span,
        });
    }

    /// One key of a table of directives.
    fn directive(&mut self, name: &Word, value: &Value<'_>, out: &mut Vec<Directive>) {
        let rows = rows::find(&name.bytes);
        let span = self.lines.span(value.span());
        match value.get_ref() {
            DeValue::Array(items) if *name.bytes == *RULES.as_bytes() && rows.is_empty() => {
                for item in items {
                    self.rule(item, out);
                }
            }
            DeValue::Array(items) => {
                for item in items {
                    self.directive(name, item, out);
                }
            }
            DeValue::Table(table) => self.block(name, rows, table, span, out),
            DeValue::Boolean(on)
                if rows
                    .iter()
                    .any(|r| r.arity.min == 0 && r.block == Block::None) =>
            {
                if *on {
                    self.push(name, Vec::new(), span, out);
                }
            }
            _ => {
                if let Some(args) = self.words(value) {
                    self.push(name, args, span, out);
                }
            }
        }
    }

    /// A table under a directive: its block, a block for each key, or a directive for each key.
    fn block(
        &mut self,
        name: &Word,
        rows: &[&Row],
        table: &DeTable<'_>,
        span: Span,
        out: &mut Vec<Directive>,
    ) {
        let block = rows
            .iter()
            .find(|r| r.block != Block::None)
            .map(|r| (r.block, r.arity.max));
        match block {
            Some((kind, 0)) => {
                let mut inside = Vec::new();
                self.table(table, kind == Block::Data, &mut inside);
                out.push(Directive {
                    name: name.clone(),
                    args: Vec::new(),
                    block: Some(inside),
                    span,
                });
            }
            Some((kind, _)) => self.named_blocks(name, kind, table, out),
            None if rows.is_empty() => {
                out.push(Directive {
                    name: name.clone(),
                    args: Vec::new(),
                    block: Some(Vec::new()),
                    span,
                });
            }
            None => self.pairs(name, table, out),
        }
    }

    /// `[location."/api/"]`: the key holds the block's parameters.
    fn named_blocks(
        &mut self,
        name: &Word,
        kind: Block,
        table: &DeTable<'_>,
        out: &mut Vec<Directive>,
    ) {
        let mut keys: Vec<(&Spanned<Cow<'_, str>>, &Value<'_>)> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let span = self.lines.span(key.span());
            let args = match split_words(key.get_ref().as_bytes(), span) {
                Ok(args) => args,
                Err(message) => {
                    self.reader.error(message, span);
                    continue;
                }
            };
            let mut bodies: Vec<&DeTable<'_>> = Vec::new();
            match value.get_ref() {
                DeValue::Table(body) => bodies.push(body),
                DeValue::Array(items) => {
                    for item in items {
                        match item.get_ref() {
                            DeValue::Table(body) => bodies.push(body),
                            _ => {
                                self.error(format!("\"{}\" wants tables here", name.lossy()), item)
                            }
                        }
                    }
                }
                _ => self.error(
                    format!("\"{} {}\" wants a table", name.lossy(), key.get_ref()),
                    value,
                ),
            }
            for body in bodies {
                let mut inside = Vec::new();
                self.table(body, kind == Block::Data, &mut inside);
                out.push(Directive {
                    name: name.clone(),
                    args: args.clone(),
                    block: Some(inside),
                    span,
                });
            }
        }
    }

    /// `proxy_set_header = { Host = "$host" }`: the key is the first parameter.
    fn pairs(&mut self, name: &Word, table: &DeTable<'_>, out: &mut Vec<Directive>) {
        let mut keys: Vec<(&Spanned<Cow<'_, str>>, &Value<'_>)> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let span = self.lines.span(key.span());
            let first = word(key.get_ref().as_bytes(), span);
            let items: Vec<&Value<'_>> = match value.get_ref() {
                DeValue::Array(items) => items.iter().collect(),
                _ => vec![value],
            };
            for item in items {
                if let Some(rest) = self.words(item) {
                    let args = std::iter::once(first.clone()).chain(rest).collect();
                    self.push(name, args, self.lines.span(item.span()), out);
                }
            }
        }
    }

    /// One key of a table of data, such as `map` or `types`.
    fn entry(&mut self, name: &Word, value: &Value<'_>, out: &mut Vec<Directive>) {
        let span = self.lines.span(value.span());
        match value.get_ref() {
            DeValue::Array(items) => {
                for item in items {
                    self.entry(name, item, out);
                }
            }
            DeValue::Boolean(true) => self.push(name, Vec::new(), span, out),
            DeValue::Boolean(false) => {}
            _ => {
                if let Some(args) = self.words(value) {
                    self.push(name, args, span, out);
                }
            }
        }
    }

    /// A whole directive in a string.
    fn rule(&mut self, item: &Value<'_>, out: &mut Vec<Directive>) {
        let span = self.lines.span(item.span());
        let Some(text) = item.get_ref().as_str() else {
            return self.error("\"rules\" wants strings, each one directive", item);
        };
        match snippet(text, span) {
            Ok(mut directives) => out.append(&mut directives),
            Err(message) => self.error(message, item),
        }
    }

    /// The parameters that a plain value stands for.
    fn words(&mut self, value: &Value<'_>) -> Option<Vec<Word>> {
        let span = self.lines.span(value.span());
        let text: Cow<'_, str> = match value.get_ref() {
            DeValue::String(text) => Cow::Borrowed(text),
            DeValue::Boolean(on) => Cow::Borrowed(if *on { "on" } else { "off" }),
            DeValue::Integer(n) if n.radix() == 10 => Cow::Borrowed(n.as_str()),
            DeValue::Float(n) => Cow::Borrowed(n.as_str()),
            _ => {
                self.error("a string, a number, true or false is wanted here", value);
                return None;
            }
        };
        match split_words(text.as_bytes(), span) {
            Ok(words) => Some(words),
            Err(message) => {
                self.error(message, value);
                None
            }
        }
    }
}
