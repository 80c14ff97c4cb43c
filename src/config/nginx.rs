//! The nginx.conf reader: bytes to tokens exactly as nginx reads them, tokens to a [`Tree`] with includes resolved in
//! place. Knows no directive but `include`. Start at [`Reader`].

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diag::{COMMAND_LINE, Diag, Level};
use super::source::Source;
use super::tree::{Directive, SourceFile, Span, Tree, Word};
use super::value::full_path;

/// Longest raw parameter: nginx reads a file through a buffer of this size.
const PARAMETER_MAX: usize = 4096;
/// Deepest nesting of blocks; real files stay under ten.
const DEPTH_MAX: usize = 100;
/// Deepest chain of includes.
const INCLUDE_DEPTH_MAX: usize = 64;
/// Most inclusions of one load, so that files that include each other twice cannot explode.
const INCLUDES_MAX: usize = 20_000;
/// Longest file: positions are 32 bits wide.
const FILE_BYTES_MAX: usize = 1 << 30;

/// How a run of words ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// `;`
    Semicolon,
    /// `{`
    Open,
    /// `}`, alone.
    Close,
    /// The end of the text.
    File,
}

/// Why the text cannot be read further.
#[derive(Debug, PartialEq, Eq)]
struct Broken {
    message: String,
    line: u32,
    start: usize,
    end: usize,
}

/// Splits one text into directives' words.
struct Lexer<'a> {
    text: &'a [u8],
    pos: usize,
    line: u32,
    /// The text is the parameter of `-g`.
    parameter: bool,
}

/// A word before its position is known in full: bytes, start, end.
type RawWord = (Vec<u8>, usize, usize);

impl<'a> Lexer<'a> {
    fn new(text: &'a [u8], parameter: bool) -> Self {
        Self {
            text,
            pos: 0,
            line: 1,
            parameter,
        }
    }

    fn broken(&self, message: impl Into<String>, start: usize) -> Broken {
        Broken {
            message: message.into(),
            line: self.line,
            start,
            end: self.pos.max(start),
        }
    }

    /// The words up to the next terminator. The states and their order are nginx's, since a quote, an escape or a brace
    /// in an odd place must mean the same.
    fn next(&mut self, words: &mut Vec<RawWord>) -> Result<End, Broken> {
        words.clear();
        loop {
            match self.skip_blank(words.is_empty())? {
                Some(End::File) if !words.is_empty() => return Err(self.cut_short()),
                Some(end) => return Ok(end),
                None => {}
            }
            if let Some(end) = self.word(words)? {
                return Ok(end);
            }
        }
    }

    /// Blanks and comments, then either a terminator or the start of a word.
    fn skip_blank(&mut self, first: bool) -> Result<Option<End>, Broken> {
        loop {
            let Some(&ch) = self.text.get(self.pos) else {
                return Ok(Some(End::File));
            };
            let start = self.pos;
            match ch {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                // Differs from nginx: a comment may be longer than the parse buffer.
                b'#' => {
                    let rest = &self.text[self.pos..];
                    self.pos += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    continue;
                }
                b';' | b'{' => {
                    self.pos += 1;
                    if first {
                        return Err(
                            self.broken(format!("unexpected \"{}\"", char::from(ch)), start)
                        );
                    }
                    return Ok(Some(if ch == b';' {
                        End::Semicolon
                    } else {
                        End::Open
                    }));
                }
                b'}' => {
                    self.pos += 1;
                    if !first {
                        return Err(self.broken("unexpected \"}\"", start));
                    }
                    return Ok(Some(End::Close));
                }
                _ => return Ok(None),
            }
            self.pos += 1;
        }
    }

    /// One word, quoted or bare; a bare one takes its terminator with it.
    fn word(&mut self, words: &mut Vec<RawWord>) -> Result<Option<End>, Broken> {
        let open = self.text[self.pos];
        let quote = matches!(open, b'"' | b'\'').then_some(open);
        if quote.is_some() {
            self.pos += 1;
        }
        let (start, start_line) = (self.pos, self.line);
        let mut variable = false;
        loop {
            // A word that fills the buffer is refused even when its end would come next, as long as text follows.
            if self.pos - start >= PARAMETER_MAX && self.pos < self.text.len() {
                self.line = start_line;
                return Err(self.too_long(start, quote));
            }
            let Some(&ch) = self.text.get(self.pos) else {
                return Err(self.cut_short());
            };
            self.pos += 1;
            if ch == b'\n' {
                self.line += 1;
            }
            if ch == b'{' && variable {
                continue;
            }
            variable = ch == b'$';
            match ch {
                b'\\' => {
                    if self.text.get(self.pos) == Some(&b'\n') {
                        self.line += 1;
                    }
                    self.pos += usize::from(self.pos < self.text.len());
                }
                _ if Some(ch) == quote => {
                    words.push((
                        unescape(&self.text[start..self.pos - 1]),
                        start,
                        self.pos - 1,
                    ));
                    return self.after_quote();
                }
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' if quote.is_none() => {
                    words.push((
                        unescape(&self.text[start..self.pos - 1]),
                        start,
                        self.pos - 1,
                    ));
                    return Ok(match ch {
                        b';' => Some(End::Semicolon),
                        b'{' => Some(End::Open),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
    }

    /// A closing quote wants a blank, a terminator, or the parenthesis of an `if`, which begins the next word.
    fn after_quote(&mut self) -> Result<Option<End>, Broken> {
        let Some(&ch) = self.text.get(self.pos) else {
            return Err(self.cut_short());
        };
        match ch {
            b' ' | b'\t' | b'\r' | b'\n' | b')' => return Ok(None),
            _ => {}
        }
        self.pos += 1;
        match ch {
            b';' => Ok(Some(End::Semicolon)),
            b'{' => Ok(Some(End::Open)),
            _ => Err(self.broken(
                format!("unexpected \"{}\"", String::from_utf8_lossy(&[ch])),
                self.pos - 1,
            )),
        }
    }

    fn cut_short(&self) -> Broken {
        let message = if self.parameter {
            "unexpected end of parameter, expecting \";\""
        } else {
            "unexpected end of file, expecting \";\" or \"}\""
        };
        self.broken(message, self.text.len())
    }

    fn too_long(&self, start: usize, quote: Option<u8>) -> Broken {
        let message = match quote {
            Some(quote) => {
                format!(
                    "too long parameter, probably missing terminating \"{}\" character",
                    char::from(quote)
                )
            }
            None => {
                let shown = &self.text[start..start + 10];
                format!(
                    "too long parameter \"{}...\" started",
                    String::from_utf8_lossy(shown)
                )
            }
        };
        Broken {
            message,
            line: self.line,
            start,
            end: start + 10,
        }
    }
}

/// Resolves the six escapes that nginx knows; any other backslash stays, as regular expressions need it.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (byte, used) = match rest.get(at + 1) {
            Some(&c @ (b'"' | b'\'' | b'\\')) => (c, 2),
            Some(b't') => (b'\t', 2),
            Some(b'r') => (b'\r', 2),
            Some(b'n') => (b'\n', 2),
            _ => (b'\\', 1),
        };
        out.push(byte);
        rest = &rest[at + used..];
    }
    out.extend_from_slice(rest);
    out
}

/// Reads files and keeps what was found; shared with the TOML reader.
pub(crate) struct Reader<'a> {
    source: &'a dyn Source,
    /// Relative includes start here: the folder of the main file.
    folder: PathBuf,
    /// Files read so far.
    pub(crate) files: Vec<SourceFile>,
    /// What was found.
    pub(crate) diags: Vec<Diag>,
    known: HashMap<PathBuf, u32>,
    open: Vec<u32>,
    includes: usize,
    /// Blocks open in all files being read, which bounds every recursion over the tree.
    depth: usize,
}

/// A block that is being read: the directive it belongs to and what is inside so far.
struct Open {
    directive: Directive,
    inside: Vec<Directive>,
}

impl<'a> Reader<'a> {
    /// A reader whose includes start at the folder of `main`.
    pub(crate) fn new(source: &'a dyn Source, main: &Path) -> Self {
        let folder = main
            .parent()
            .map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
        Self {
            source,
            folder,
            files: Vec::new(),
            diags: Vec::new(),
            known: HashMap::new(),
            open: Vec::new(),
            includes: 0,
            depth: 0,
        }
    }

    /// The tree and everything that was found.
    pub(crate) fn finish(self, directives: Vec<Directive>) -> (Tree, Vec<Diag>) {
        (
            Tree {
                directives,
                files: self.files,
            },
            self.diags,
        )
    }

    /// Records an error at a place.
    pub(crate) fn error(&mut self, message: impl Into<String>, span: Span) {
        self.diags
            .push(Diag::at(Level::Emerg, message, span, &self.files));
    }

    /// Adds a text that is no file.
    pub(crate) fn add(&mut self, path: PathBuf, bytes: Arc<[u8]>) -> u32 {
        self.files.push(SourceFile { path, bytes });
        u32::try_from(self.files.len() - 1).expect("bounded by INCLUDES_MAX")
    }

    /// Reads a file once, however often it is included. `from` is where it was named.
    pub(crate) fn open(&mut self, path: &Path, from: Span) -> Option<u32> {
        if let Some(&id) = self.known.get(path) {
            return Some(id);
        }
        match self.source.read(path) {
            Ok(bytes) if bytes.len() <= FILE_BYTES_MAX => {
                let id = self.add(path.to_path_buf(), bytes);
                self.known.insert(path.to_path_buf(), id);
                Some(id)
            }
            Ok(_) => {
                self.error(
                    format!(
                        "\"{}\" is too large for a configuration file",
                        path.display()
                    ),
                    from,
                );
                None
            }
            Err(error) => {
                let call = if error.kind() == io::ErrorKind::IsADirectory {
                    "pread()"
                } else {
                    "open()"
                };
                self.error(
                    format!(
                        "{call} \"{}\" failed ({})",
                        path.display(),
                        errno_text(&error)
                    ),
                    from,
                );
                None
            }
        }
    }

    /// The directives of a file, with its includes in place.
    pub(crate) fn file(&mut self, path: &Path, from: Span) -> Vec<Directive> {
        let Some(id) = self.open(path, from) else {
            return Vec::new();
        };
        if self.open.contains(&id) {
            self.error(format!("\"{}\" includes itself", path.display()), from);
            return Vec::new();
        }
        if self.open.len() >= INCLUDE_DEPTH_MAX || self.includes >= INCLUDES_MAX {
            self.error("too many nested or repeated includes", from);
            return Vec::new();
        }
        self.includes += 1;
        self.open.push(id);
        let toml = super::toml::is_toml(path);
        let directives = if toml {
            super::toml::text(self, id)
        } else {
            self.text(id, false)
        };
        self.open.pop();
        directives
    }

    /// The directives of a text among the files.
    pub(crate) fn text(&mut self, id: u32, parameter: bool) -> Vec<Directive> {
        let bytes = Arc::clone(&self.files[id as usize].bytes);
        let mut lexer = Lexer::new(&bytes, parameter);
        let mut words = Vec::new();
        let mut top = Vec::new();
        let mut blocks: Vec<Open> = Vec::new();
        let mut skipped = 0usize;
        loop {
            let end = match lexer.next(&mut words) {
                Ok(end) => end,
                Err(broken) => {
                    self.broken(id, broken);
                    break;
                }
            };
            match end {
                End::Semicolon | End::Open => {
                    let directive = directive(id, &mut words, lexer.line, lexer.pos);
                    if end == End::Open && parameter {
                        self.error(
                            "block directives are not supported in -g option",
                            directive.span,
                        );
                        break;
                    }
                    if end == End::Open && (skipped > 0 || self.depth >= DEPTH_MAX) {
                        if skipped == 0 {
                            self.error("too many nested blocks", directive.span);
                        }
                        skipped += 1;
                    } else if end == End::Open {
                        self.depth += 1;
                        blocks.push(Open {
                            directive,
                            inside: Vec::new(),
                        });
                    } else {
                        let mut read = self.include(&directive);
                        let into = blocks.last_mut().map_or(&mut top, |b| &mut b.inside);
                        match &mut read {
                            Some(included) => into.append(included),
                            None => into.push(directive),
                        }
                    }
                }
                End::Close if skipped > 0 => skipped -= 1,
                End::Close => match blocks.pop() {
                    Some(block) => {
                        self.depth -= 1;
                        close(block, &mut blocks, &mut top);
                    }
                    None => {
                        let at = Broken {
                            message: "unexpected \"}\"".into(),
                            line: lexer.line,
                            start: lexer.pos - 1,
                            end: lexer.pos,
                        };
                        self.broken(id, at);
                        break;
                    }
                },
                End::File => {
                    if !blocks.is_empty() || skipped > 0 {
                        let at =
                            lexer.broken("unexpected end of file, expecting \"}\"", bytes.len());
                        self.broken(id, at);
                    }
                    break;
                }
            }
        }
        // What stands in blocks that were never closed is kept, so that its errors are told too.
        while let Some(block) = blocks.pop() {
            self.depth -= 1;
            close(block, &mut blocks, &mut top);
        }
        top
    }

    fn broken(&mut self, id: u32, broken: Broken) {
        let span = Span {
            file: id,
            line: broken.line,
            start: broken.start as u32,
            end: broken.end as u32,
        };
        self.error(broken.message, span);
    }

    /// What an `include` with one parameter stands for; `None` if the directive is none.
    fn include(&mut self, directive: &Directive) -> Option<Vec<Directive>> {
        let [pattern] = &directive.args[..] else {
            return None;
        };
        if *directive.name.bytes != *b"include" {
            return None;
        }
        let mut out = Vec::new();
        for path in self.matches(&pattern.bytes) {
            out.append(&mut self.file(&path, directive.span));
        }
        Some(out)
    }

    /// The files an include names: a literal path, or the sorted matches of a pattern.
    pub(crate) fn matches(&self, pattern: &[u8]) -> Vec<PathBuf> {
        let path = full_path(&self.folder, pattern);
        if pattern.iter().any(|b| b"*?[".contains(b)) {
            self.source.glob(&path.to_string_lossy())
        } else {
            vec![path]
        }
    }
}

fn close(block: Open, blocks: &mut [Open], top: &mut Vec<Directive>) {
    let mut directive = block.directive;
    directive.block = Some(block.inside);
    blocks
        .last_mut()
        .map_or(top, |b| &mut b.inside)
        .push(directive);
}

fn directive(file: u32, words: &mut Vec<RawWord>, line: u32, end: usize) -> Directive {
    let mut words = words.drain(..).map(|(bytes, start, end)| Word {
        bytes: Arc::from(bytes),
        span: Span {
            file,
            line,
            start: start as u32,
            end: end as u32,
        },
    });
    let name = words
        .next()
        .expect("the lexer ends nothing before its first word");
    let span = Span {
        file,
        line,
        start: name.span.start,
        end: end as u32,
    };
    Directive {
        name,
        args: words.collect(),
        block: None,
        span,
    }
}

/// `2: No such file or directory`, as nginx prints an error of the system.
pub(crate) fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => {
            let words = text.split(" (os error").next().unwrap_or(&text);
            format!("{code}: {words}")
        }
        None if error.kind() == io::ErrorKind::NotFound => "2: No such file or directory".into(),
        None if error.kind() == io::ErrorKind::PermissionDenied => "13: Permission denied".into(),
        None => text,
    }
}

/// Reads the directives of `-g`.
pub(crate) fn globals(reader: &mut Reader<'_>, text: &str) -> Vec<Directive> {
    let id = reader.add(PathBuf::from(COMMAND_LINE), Arc::from(text.as_bytes()));
    reader.text(id, true)
}

/// The parameters in a text, as they would stand between a name and its semicolon.
pub(crate) fn split_words(text: &[u8], span: Span) -> Result<Vec<Word>, String> {
    let mut terminated = text.to_vec();
    // The break ends a comment, which would swallow the semicolon.
    terminated.extend_from_slice(b"\n;");
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    let mut lexer = Lexer::new(&terminated, true);
    let mut words = Vec::new();
    let end = lexer.next(&mut words).map_err(|b| b.message)?;
    if end != End::Semicolon || lexer.pos != terminated.len() {
        let shown = char::from(terminated[lexer.pos.saturating_sub(1)]);
        return Err(format!("unexpected \"{shown}\""));
    }
    Ok(words
        .into_iter()
        .map(|(bytes, ..)| Word {
            bytes: Arc::from(bytes),
            span,
        })
        .collect())
}

/// The directives of a short text inside another file; all of them are at `span`. The last semicolon may be left out.
pub(crate) fn snippet(text: &str, span: Span) -> Result<Vec<Directive>, String> {
    match parse_snippet(text.as_bytes(), span) {
        Ok(directives) => Ok(directives),
        Err(first) => parse_snippet(format!("{text}\n;").as_bytes(), span).map_err(|_| first),
    }
}

fn parse_snippet(text: &[u8], span: Span) -> Result<Vec<Directive>, String> {
    let mut lexer = Lexer::new(text, false);
    let mut words = Vec::new();
    let mut top = Vec::new();
    let mut blocks: Vec<Open> = Vec::new();
    loop {
        match lexer.next(&mut words).map_err(|b| b.message)? {
            End::File if blocks.is_empty() => return Ok(top),
            End::File => return Err("unexpected end of file, expecting \"}\"".into()),
            End::Close => match blocks.pop() {
                Some(block) => close(block, &mut blocks, &mut top),
                None => return Err("unexpected \"}\"".into()),
            },
            end => {
                let mut directive = directive(span.file, &mut words, span.line, 0);
                directive.span = span;
                directive.name.span = span;
                directive.args.iter_mut().for_each(|w| w.span = span);
                if end == End::Semicolon {
                    blocks
                        .last_mut()
                        .map_or(&mut top, |b| &mut b.inside)
                        .push(directive);
                } else if blocks.len() < DEPTH_MAX {
                    blocks.push(Open {
                        directive,
                        inside: Vec::new(),
                    });
                } else {
                    return Err("too many nested blocks".into());
                }
            }
        }
    }
}
