//! The engine that turns a tree into a model: apply a block's own directives to a copy of the settings around it, then
//! descend into its blocks.

use std::path::{Path, PathBuf};

use super::diag::{Diag, Level};
use super::model::*;
use super::table::{Args, Fault};
use super::tree::{Directive, SourceFile, Span};

/// One load in progress.
pub(crate) struct Lowering<'a> {
    /// What relative paths start from.
    pub(crate) prefix: &'a Path,
    /// Files of the tree, for positions.
    pub(crate) files: &'a [SourceFile],
    /// What was found.
    pub(crate) diags: Vec<Diag>,
}

/// One block in progress.
pub(crate) struct Frame {
    /// Its settings so far.
    pub(crate) settings: Settings,
}

impl Lowering<'_> {
    /// Runs a value parser on a directive's parameters; what it complains about is recorded.
    pub(crate) fn parse<T>(
        &mut self,
        directive: &Directive,
        parse: fn(&mut Args<'_>) -> Result<T, Fault>,
    ) -> Option<T> {
        let name = directive.name.lossy();
        let mut args = Args {
            name: &name,
            words: &directive.args,
            prefix: self.prefix,
            warnings: Vec::new(),
        };
        let result = parse(&mut args);
        for warning in args.warnings {
            self.diags
                .push(Diag::at(Level::Warn, warning, directive.span, self.files));
        }
        match result {
            Ok(value) => Some(value),
            Err(fault) => {
                let span = fault.span.unwrap_or(directive.span);
                let mut diag = Diag::at(Level::Emerg, fault.message, span, self.files);
                diag.hint = fault.hint;
                self.diags.push(diag);
                None
            }
        }
    }
}

#[expect(dead_code, reason = "filled in with the engine")]
type Unused = (PathBuf, Span);
