//! The directive tree: what both readers produce and everything later reads. Knows syntax only: names, arguments,
//! blocks and where they stood; never what a directive means. Start at [`Directive`].

use std::path::PathBuf;
use std::sync::Arc;

/// Where something stood: a file of the load, and bytes in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Index into [`Tree::files`].
    pub file: u32,
    /// The line that nginx reports for it: the one of the directive's `;` or `{`. From 1; 0 is "nowhere".
    pub line: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// One parameter, with quotes and escapes already resolved.
#[derive(Clone, Debug)]
pub struct Word {
    /// The bytes of the parameter.
    pub bytes: Arc<[u8]>,
    /// Where it stood, without its quotes.
    pub span: Span,
}

impl Word {
    /// The word as text for messages; bytes that are not UTF-8 are replaced.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// A directive: a name, its parameters, and for a block what is inside.
#[derive(Clone, Debug)]
pub struct Directive {
    /// The name as written.
    pub name: Word,
    /// The parameters after the name.
    pub args: Vec<Word>,
    /// The directives between the braces; `None` ends with a semicolon.
    pub block: Option<Vec<Self>>,
    /// From the name to the terminator (`;` or `{`).
    pub span: Span,
}

/// A file that the load has read.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The path it was opened under; `command line` for `-g`.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// A whole configuration, includes resolved in place.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The directives at the top.
    pub directives: Vec<Directive>,
    /// Every file that was read, in the order of first reading.
    pub files: Vec<SourceFile>,
}
