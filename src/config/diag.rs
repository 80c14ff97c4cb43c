//! What is told to an operator: one [`Diag`] per finding, in nginx's own one-line form and in a rich one with the source
//! line. Owns the wording around a message, never the message.

use std::fmt::Write as _;
use std::path::PathBuf;

pub use super::tree::{SourceFile, Span};

/// How serious a finding is, in the words of nginx's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The configuration cannot be used.
    Emerg,
    /// It can be used, but probably does not do what its author thinks.
    Warn,
    /// Worth knowing.
    Notice,
}

impl Level {
    /// The word in the log line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Emerg => "emerg",
            Self::Warn => "warn",
            Self::Notice => "notice",
        }
    }
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Diag {
    /// How serious it is.
    pub level: Level,
    /// nginx's own words, where nginx has words for it.
    pub message: String,
    /// The file it is about; empty when it is about none.
    pub file: PathBuf,
    /// The line nginx would report; 0 when there is no file.
    pub line: u32,
    /// The bytes it is about.
    pub span: Span,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diag {
    /// A finding at a place; the file name is taken from the load's files.
    pub fn at(level: Level, message: impl Into<String>, span: Span, files: &[SourceFile]) -> Self {
        let known = files.get(span.file as usize).filter(|_| span.line != 0);
        Self {
            level,
            message: message.into(),
            file: known.map(|f| f.path.clone()).unwrap_or_default(),
            line: if known.is_some() { span.line } else { 0 },
            span,
            hint: None,
        }
    }

    /// A finding about the configuration as a whole.
    pub fn general(level: Level, message: impl Into<String>) -> Self {
        Self {
            level,
            message: message.into(),
            file: PathBuf::new(),
            line: 0,
            span: Span::default(),
            hint: None,
        }
    }

    /// The same finding with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `[emerg] MESSAGE in FILE:LINE`, exactly as nginx prints it after its own name.
    pub fn classic(&self) -> String {
        let mut out = format!("[{}] {}", self.level.word(), self.message);
        self.place(&mut out);
        out
    }

    fn place(&self, out: &mut String) {
        if self.file.as_os_str().is_empty() {
            return;
        }
        if self.file.as_os_str() == COMMAND_LINE {
            out.push_str(" in command line");
        } else {
            let _ = write!(out, " in {}:{}", self.file.display(), self.line);
        }
    }

    /// The message, the source line with a mark under what it is about, and the hint.
    pub fn rich(&self, files: &[SourceFile]) -> String {
        let mut out = format!("{}: {}\n", self.level.word(), self.message);
        let file = files
            .get(self.span.file as usize)
            .filter(|_| self.line != 0);
        if let Some(file) = file {
            source_line(&mut out, file, self.span);
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "  = help: {hint}");
        }
        out
    }
}

/// The name under which `-g` directives appear among the files.
pub const COMMAND_LINE: &str = "command line";

/// Longest piece of a source line that is shown; a minified file must not fill the screen.
const SHOWN_MAX: usize = 160;

fn source_line(out: &mut String, file: &SourceFile, span: Span) {
    let bytes = &file.bytes[..];
    let start = (span.start as usize).min(bytes.len());
    let end = (span.end as usize).clamp(start, bytes.len());
    let line_start = bytes[..start]
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |i| i + 1);
    let line_end = bytes[start..]
        .iter()
        .position(|&b| b == b'\n')
        .map_or(bytes.len(), |i| start + i);
    let line = 1 + bytes[..line_start].iter().filter(|&&b| b == b'\n').count();
    let from = if start - line_start > SHOWN_MAX / 2 {
        start - SHOWN_MAX / 2
    } else {
        line_start
    };
    let to = line_end.min(from + SHOWN_MAX);
    let text = printable(&bytes[from..to]);
    let before = printable(&bytes[from..start.min(to)]);
    let marked = printable(&bytes[start.min(to)..end.min(to)])
        .chars()
        .count()
        .max(1);
    let gutter = line.to_string().len();
    let _ = writeln!(
        out,
        "{:gutter$}--> {}:{line}:{}",
        "",
        file.path.display(),
        start - line_start + 1
    );
    let _ = writeln!(out, "{:gutter$} |", "");
    let _ = writeln!(out, "{line} | {text}");
    let _ = writeln!(
        out,
        "{:gutter$} | {}{}",
        "",
        " ".repeat(before.chars().count()),
        "^".repeat(marked)
    );
}

/// One column per character, so that the mark stands under the word; a terminal must not obey the file.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '?'
            } else {
                c
            }
        })
        .collect()
}
