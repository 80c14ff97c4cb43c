//! The engine that turns a tree into a model: in each block it copies the settings around it, applies the block's own
//! directives through their rows, then descends into its blocks. Knows contexts, arities, duplicates and inheritance; what
//! a directive means is its row's business. Start at [`lower`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::Identity;
use super::diag::{Diag, Level};
use super::model::*;
use super::rows;
use super::table::{Args, Block, Contexts, Fault, Inherit, Repeat, Row, Status};
use super::tree::{Directive, SourceFile, Span, Tree};

/// One load in progress.
pub(crate) struct Lowering<'a> {
    /// What relative paths start from.
    pub(crate) prefix: &'a Path,
    /// Files of the tree, for positions.
    pub(crate) files: &'a [SourceFile],
    /// What was found.
    pub(crate) diags: Vec<Diag>,
    /// Settings outside `http`.
    pub(crate) main: Main,
    /// The `http` block, once there is one.
    pub(crate) http: Option<Http>,
    /// The `stream` block, once it has been read; while it is, it stands in `http`'s place.
    pub(crate) stream: Option<Http>,
    /// Names whose format has not been looked up yet are indexes into this.
    pub(crate) shared: rows::Shared,
}

/// Where a location-like block is.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    /// The text of the location; for blocks inside one, that of the location around.
    pub(crate) path: Text,
    /// `@name`.
    pub(crate) named: bool,
    /// A regular expression.
    pub(crate) regex: bool,
    /// `= path`.
    pub(crate) exact: bool,
    /// An `if` or a `limit_except`, which has no text of its own.
    pub(crate) noname: bool,
}

/// One block in progress.
pub(crate) struct Frame {
    /// Which kind of block.
    pub(crate) context: Contexts,
    /// Its settings so far.
    pub(crate) settings: Settings,
    /// The location it is, if it is one.
    pub(crate) here: Option<Here>,
    /// Who answers here.
    pub(crate) content: Content,
    /// Listen addresses of a server.
    pub(crate) listens: Vec<Listen>,
    /// Names of a server.
    pub(crate) names: Vec<Name>,
    /// The rewrite steps.
    pub(crate) script: Vec<Op>,
    /// For each `if` in order: its place in the script, if its condition could be read.
    pub(crate) conditions: VecDeque<Option<usize>>,
    /// Finished blocks inside.
    pub(crate) locations: Vec<Location>,
    /// `health_check` of a location.
    pub(crate) check: Option<Box<HealthCheck>>,
    /// The group of an `upstream`.
    pub(crate) upstream: Option<Box<Upstream>>,
    /// Rows that were used in this block, with the first place.
    pub(crate) seen: HashMap<&'static str, Span>,
}

impl Frame {
    /// A block of a kind that starts with these settings.
    pub(crate) fn new(context: Contexts, settings: Settings) -> Self {
        Self {
            context,
            settings,
            here: None,
            content: Content::Files,
            listens: Vec::new(),
            names: Vec::new(),
            script: Vec::new(),
            conditions: VecDeque::new(),
            locations: Vec::new(),
            check: None,
            upstream: None,
            seen: HashMap::new(),
        }
    }

    /// A block inside this one: its settings without what is never inherited.
    pub(crate) fn child(&self, context: Contexts) -> Self {
        let mut settings = self.settings.clone();
        for clear in rows::never_inherited() {
            clear(&mut settings);
        }
        Self::new(context, settings)
    }
}

impl Lowering<'_> {
    /// Records an error at a directive.
    pub(crate) fn error(&mut self, message: impl Into<String>, span: Span) {
        self.diags
            .push(Diag::at(Level::Emerg, message, span, self.files));
    }

    /// Records an error with advice.
    pub(crate) fn error_hint(
        &mut self,
        message: impl Into<String>,
        hint: impl Into<String>,
        span: Span,
    ) {
        self.diags
            .push(Diag::at(Level::Emerg, message, span, self.files).hint(hint));
    }

    /// Records a warning.
    pub(crate) fn warn(&mut self, message: impl Into<String>, span: Span) {
        self.diags
            .push(Diag::at(Level::Warn, message, span, self.files));
    }

    /// Records what a value parser complains about.
    pub(crate) fn fault(&mut self, fault: Fault, directive: &Directive) {
        let span = fault.span.unwrap_or(directive.span);
        let mut diag = Diag::at(Level::Emerg, fault.message, span, self.files);
        diag.hint = fault.hint;
        self.diags.push(diag);
    }

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
            self.warn(warning, directive.span);
        }
        match result {
            Ok(value) => Some(value),
            Err(fault) => {
                self.fault(fault, directive);
                None
            }
        }
    }

    /// Applies the directives of a block, then descends into its blocks.
    pub(crate) fn apply(&mut self, frame: &mut Frame, directives: &[Directive]) {
        let mut scopes = Vec::new();
        let inherited = Arc::clone(&frame.settings.headers);
        for directive in directives {
            let Some(row) = self.row(directive, frame.context) else {
                continue;
            };
            if !self.check(row, frame, directive) {
                continue;
            }
            match row.block {
                Block::Scope => {
                    if row.name == "if" {
                        rows::rewrite::condition(self, frame, directive);
                    }
                    scopes.push((row, directive));
                }
                Block::None | Block::Data => (row.set)(self, frame, directive),
            }
        }
        rows::headers::inherit(frame, &inherited);
        self.check_buffers(frame);
        for (row, directive) in scopes {
            (row.set)(self, frame, directive);
        }
    }

    /// Finds the row of a directive; says so when there is none, or none for this block.
    fn row(&mut self, directive: &Directive, context: Contexts) -> Option<&'static Row> {
        let name = &directive.name.bytes;
        let rows = rows::find(name);
        if let Some(row) = rows.iter().find(|r| r.contexts.meets(context)) {
            return Some(row);
        }
        let shown = directive.name.lossy();
        if let Some(row) = rows.first() {
            let everywhere = rows.iter().fold(row.contexts, |all, r| all.or(r.contexts));
            let message = format!("\"{shown}\" directive is not allowed here");
            self.error_hint(
                message,
                format!("it may stand in: {}", everywhere.words()),
                directive.span,
            );
        } else {
            let message = format!("unknown directive \"{shown}\"");
            match super::table::did_you_mean(&shown, context, rows::all()) {
                Some(near) => self.error_hint(
                    message,
                    format!("did you mean \"{near}\"?"),
                    directive.name.span,
                ),
                None => self.error(message, directive.name.span),
            }
        }
        None
    }

    /// Terminator, arity, support and repetition, in nginx's order.
    fn check(&mut self, row: &'static Row, frame: &mut Frame, directive: &Directive) -> bool {
        let span = directive.span;
        let name = row.name;
        match (row.block, &directive.block) {
            (Block::None, Some(_)) => {
                self.error(
                    format!("directive \"{name}\" is not terminated by \";\""),
                    span,
                );
                return false;
            }
            (Block::Scope | Block::Data, None) => {
                self.error(format!("directive \"{name}\" has no opening \"{{\""), span);
                return false;
            }
            _ => {}
        }
        if !row.arity.takes(directive.args.len()) {
            let message = format!("invalid number of arguments in \"{name}\" directive");
            self.error_hint(message, row.arity.words(), span);
            return false;
        }
        match row.status {
            Status::Works | Status::Accepted(_) => {}
            Status::OffOnly(_)
                if directive
                    .args
                    .iter()
                    .all(|w| w.bytes.eq_ignore_ascii_case(b"off")) => {}
            Status::Refused(because) | Status::OffOnly(because) => {
                if self.shared.refused.insert(name) {
                    self.error(
                        format!("\"{name}\" directive is not supported yet: {because}"),
                        span,
                    );
                }
                return false;
            }
        }
        if frame.seen.insert(name, span).is_none() {
            if let Some(clear) = row.clear.filter(|_| row.inherit == Inherit::Replace) {
                clear(&mut frame.settings);
            }
        } else if row.repeat == Repeat::Once {
            self.error(format!("\"{name}\" directive is duplicate"), span);
            return false;
        }
        true
    }

    /// nginx checks buffer sizes when it merges a level, so once for each server, and again where one is set.
    fn check_buffers(&mut self, frame: &Frame) {
        for (prefix, pass) in frame.settings.passes() {
            let set = Pass::size_names(prefix)
                .find_map(|name| frame.seen.get(&name[..]))
                .copied();
            match (frame.context, set) {
                (Contexts::HTTP, Some(span)) => {
                    self.shared.buffers_set.insert(prefix, span);
                }
                (Contexts::SERVER | Contexts::LOCATION, set) => {
                    let inherited = self.shared.buffers_set.get(prefix).copied();
                    let inherited = inherited.filter(|_| frame.context == Contexts::SERVER);
                    if let Some(span) = set.or(inherited)
                        && let Some(message) = pass.check(prefix)
                        && self.shared.buffers_told.insert((span.file, span.start))
                    {
                        self.error(message, span);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Lowers a tree. The model is complete only if nothing of level `[emerg]` was found.
pub(crate) fn lower(tree: &Tree, prefix: &Path, identity: Identity) -> (Model, Vec<Diag>) {
    let mut load = Lowering {
        prefix,
        files: &tree.files,
        diags: Vec::new(),
        main: Main::new(identity),
        http: None,
        stream: None,
        shared: rows::Shared::default(),
    };
    let mut frame = Frame::new(Contexts::MAIN, Settings::default());
    load.apply(&mut frame, &tree.directives);
    rows::stream::check_addresses(&mut load);
    // A file that a reload catches while it is being written must not pass for a configuration without servers.
    if !load.main.events || tree.directives.is_empty() {
        load.diags.push(Diag::general(
            Level::Emerg,
            "no \"events\" section in configuration",
        ));
    }
    (
        Model {
            main: load.main,
            http: load.http,
            stream: load.stream,
        },
        load.diags,
    )
}

/// Places that have been told about already.
pub(crate) type Told = HashSet<(u32, u32)>;
