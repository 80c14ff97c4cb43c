//! Advice: what a configuration is allowed to say but its author probably did not mean, by the table in [`rules`].
//!
//! Owns the checks that need nothing but the text: no file is opened here and no name resolved. Nothing found here keeps a
//! configuration from loading. Start at [`advise`]; a check is a function over one level ([`Place`]) or the whole.

mod caching;
mod edit;
mod guards;
mod headers;
mod locations;
mod names;
mod pattern;
mod process;
mod proxying;
mod requests;
pub mod rules;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::{HashMap, HashSet};

pub use super::diag::Level;
use super::diag::{Diag, SourceFile};
use super::model::*;
use super::tree::{Directive, Span, Tree};
pub use edit::{Edit, apply};
pub use rules::Rule;

/// One finding of a rule.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How serious it is here; never more than the rule says.
    pub level: Level,
    /// What is wrong here.
    pub message: String,
    /// The bytes it is about.
    pub span: Span,
    /// A request that shows the harm, such as `GET http://example.com/api/users`.
    pub request: Option<String>,
    /// The edit that is suggested.
    pub advice: String,
    /// The edit itself, where it is safe.
    pub fix: Vec<Edit>,
}

impl Finding {
    /// A finding with what its rule says about all of its kind.
    #[must_use]
    pub fn new(rule: &'static Rule, span: Span, message: impl Into<String>) -> Self {
        Self {
            rule,
            level: rule.level,
            message: message.into(),
            span,
            request: None,
            advice: rule.edit.to_owned(),
            fix: Vec::new(),
        }
    }

    /// The same with a request that suffers.
    #[must_use]
    pub fn request(mut self, request: impl Into<String>) -> Self {
        self.request = Some(request.into());
        self
    }

    /// The same with a better suggestion than the rule's.
    #[must_use]
    pub fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }

    /// The same with an edit that is safe to make.
    #[must_use]
    pub fn fix(mut self, edits: impl IntoIterator<Item = Edit>) -> Self {
        self.fix.extend(edits);
        self
    }

    /// The same as a mere note.
    #[must_use]
    pub fn note(mut self) -> Self {
        self.level = Level::Notice;
        self
    }

    /// The same as a diagnostic, for its source line.
    #[must_use]
    pub fn diag(&self, files: &[SourceFile]) -> Diag {
        let message = format!("{} [{}]", self.message, self.rule.id);
        Diag::at(self.level, message, self.span, files)
    }
}

/// Everything worth saying about a configuration that loads, in the order of the text; nothing twice.
#[must_use]
pub fn advise(model: &Model, tree: &Tree) -> Vec<Finding> {
    let mut lint = Lint::new(model, tree);
    process::whole(&mut lint);
    if let Some(http) = lint.http {
        names::whole(&mut lint, http);
        caching::whole(&mut lint, http);
        guards::whole(&mut lint, http);
        proxying::whole(&mut lint, http);
        if let Some(first) = http.servers.first() {
            let place = lint.of_http(http, first);
            lint.rules(&place);
        }
        for server in &http.servers {
            let place = lint.of_server(http, server);
            names::server(&mut lint, http, server);
            lint.level(&place);
        }
    }
    let mut found = lint.found;
    found.sort_by_key(|f| (f.span.line == 0, f.span.file, f.span.start, f.rule.id));
    // A text that is included twice is read twice.
    let mut told = HashSet::new();
    found.retain(|f| told.insert((f.rule.id, f.span.file, f.span.start, f.message.clone())));
    found
}

/// The checks of one configuration.
pub(super) struct Lint<'a> {
    /// The directives as written.
    pub(super) tree: &'a Tree,
    /// What they come to.
    pub(super) model: &'a Model,
    /// Its `http` block.
    pub(super) http: Option<&'a Http>,
    /// That block as written.
    pub(super) top: Option<&'a Directive>,
    blocks: HashMap<(u32, u32), &'a Directive>,
    found: Vec<Finding>,
}

impl<'a> Lint<'a> {
    fn new(model: &'a Model, tree: &'a Tree) -> Self {
        let mut blocks = HashMap::new();
        let top = tree
            .directives
            .iter()
            .find(|d| *d.name.bytes == *b"http" && d.block.is_some());
        let mut left: Vec<&Directive> = top.iter().flat_map(|d| d.block.iter().flatten()).collect();
        while let Some(directive) = left.pop() {
            if let Some(inside) = &directive.block {
                blocks.insert((directive.span.file, directive.span.start), directive);
                left.extend(inside);
            }
        }
        Self {
            tree,
            model,
            http: model.http.as_ref(),
            top,
            blocks,
            found: Vec::new(),
        }
    }

    /// Records a finding.
    pub(super) fn say(&mut self, finding: Finding) {
        self.found.push(finding);
    }

    fn block(&self, span: Span) -> Option<&'a Directive> {
        self.blocks.get(&(span.file, span.start)).copied()
    }

    fn of_server(&self, http: &'a Http, server: &'a Server) -> Place<'a> {
        let blocks = [self.top, self.block(server.pos)];
        Place {
            server,
            above: &http.settings,
            here: &server.settings,
            location: None,
            inside: server.locations.iter().collect(),
            script: &server.script,
            content: &server.content,
            blocks: blocks.into_iter().flatten().collect(),
            pos: server.pos,
        }
    }

    /// What stands in `http` itself, for all servers; requests are shown with the first one.
    fn of_http(&self, http: &'a Http, first: &'a Server) -> Place<'a> {
        Place {
            server: first,
            above: &http.settings,
            here: &http.settings,
            location: None,
            inside: http.servers.iter().flat_map(|s| &s.locations).collect(),
            script: &[],
            content: &Content::Files,
            blocks: self.top.into_iter().collect(),
            pos: http.pos,
        }
    }

    /// One level and those in it.
    fn level(&mut self, place: &Place<'a>) {
        self.rules(place);
        for &location in &place.inside {
            let mut blocks = place.blocks.clone();
            blocks.extend(self.block(location.pos));
            let inner = Place {
                server: place.server,
                above: place.here,
                here: &location.settings,
                location: Some(location),
                inside: location.locations.iter().collect(),
                script: &location.script,
                content: &location.content,
                blocks,
                pos: location.pos,
            };
            self.level(&inner);
        }
    }

    /// The rules about one level.
    fn rules(&mut self, place: &Place<'a>) {
        headers::level(self, place);
        proxying::level(self, place);
        requests::level(self, place);
        upgrade::level(self, place);
        caching::level(self, place);
        guards::level(self, place);
        locations::level(self, place);
    }
}

/// One level: a server, or a location-like block in it.
pub(super) struct Place<'a> {
    /// The server.
    pub(super) server: &'a Server,
    /// The settings around.
    pub(super) above: &'a Settings,
    /// The settings in force.
    pub(super) here: &'a Settings,
    /// The location, unless it is the server.
    pub(super) location: Option<&'a Location>,
    /// The blocks inside.
    pub(super) inside: Vec<&'a Location>,
    /// The rewrite steps.
    pub(super) script: &'a [Op],
    /// Who answers.
    pub(super) content: &'a Content,
    /// The blocks as written, from `http` inwards.
    pub(super) blocks: Vec<&'a Directive>,
    /// Where the block stood.
    pub(super) pos: Span,
}

impl<'a> Place<'a> {
    /// The block's own directives of a name.
    pub(super) fn own<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a Directive> + use<'a, 'n> {
        let inside = self.blocks.last().and_then(|b| b.block.as_deref());
        named(inside.unwrap_or_default(), name)
    }

    /// The directive of a name that holds here, wherever it is written.
    pub(super) fn written(&self, name: &str) -> Option<&'a Directive> {
        let blocks = self.blocks.iter().rev();
        blocks
            .filter_map(|b| named(b.block.as_deref().unwrap_or_default(), name).last())
            .next()
    }

    /// Whether this is `http` itself.
    pub(super) fn outermost(&self) -> bool {
        self.blocks.len() < 2
    }

    /// The location's text, or `/`.
    pub(super) fn path(&self) -> String {
        self.location.map_or_else(|| "/".into(), |l| l.path.lossy())
    }

    /// Whether this is a location by a prefix or exact path.
    pub(super) fn by_prefix(&self) -> bool {
        let kind = self.location.map(|l| &l.kind);
        matches!(kind, Some(Kind::Prefix | Kind::NoRegex))
    }

    /// Whether this is the body of an `if` or a `limit_except`.
    pub(super) fn nameless(&self) -> bool {
        let kind = self.location.map(|l| &l.kind);
        matches!(kind, Some(Kind::If(_) | Kind::LimitExcept(_)))
    }

    /// A path that gets to this location, where one can be told.
    pub(super) fn sample(&self, file: &str) -> String {
        match self.location {
            Some(l) if l.kind == Kind::Exact => l.path.lossy(),
            Some(l) if matches!(l.kind, Kind::Prefix | Kind::NoRegex) => {
                let path = l.path.lossy();
                match path.ends_with('/') {
                    true => format!("{path}{file}"),
                    false => format!("{path}/{file}"),
                }
            }
            _ => format!("/{file}"),
        }
    }

    /// A `GET` of this server.
    pub(super) fn get(&self, path: &str) -> String {
        format!("GET {}{path}", origin(self.server))
    }

    /// What passes requests on from here, if anything does.
    pub(super) fn pass(&self) -> Option<&'a ProxyPass> {
        match self.content {
            Content::Proxy(pass) => Some(pass),
            _ => None,
        }
    }
}

/// The directives of a name in a block.
pub(super) fn named<'a, 'n>(
    inside: &'a [Directive],
    name: &'n str,
) -> impl Iterator<Item = &'a Directive> + use<'a, 'n> {
    inside
        .iter()
        .filter(move |d| *d.name.bytes == *name.as_bytes())
}

/// `http://example.com:8080`: how a server is asked.
#[must_use]
pub fn origin(server: &Server) -> String {
    let name = server.names.iter().find_map(|name| {
        let text = name.text.lossy();
        match name.kind {
            NameKind::Exact if !text.is_empty() && text != "_" => Some(text),
            NameKind::NameAndSuffix => Some(text.trim_start_matches('.').to_owned()),
            NameKind::Suffix => Some(format!("www{}", text.trim_start_matches('*'))),
            _ => None,
        }
    });
    let listen = server.listens.first();
    let scheme = if listen.is_some_and(|l| l.ssl) {
        "https"
    } else {
        "http"
    };
    let host = name.unwrap_or_else(|| "localhost".into());
    let port = match listen.map(|l| &l.addr) {
        Some(ListenAddr::Inet(addr)) => addr.port(),
        Some(ListenAddr::Name(_, port)) => *port,
        _ => 80,
    };
    match (scheme, port) {
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    }
}

/// Every location-like block of a server, at any depth.
pub(super) fn every(server: &Server) -> Vec<&Location> {
    let mut all: Vec<&Location> = server.locations.iter().collect();
    let mut at = 0;
    while let Some(location) = all.get(at).copied() {
        all.extend(&location.locations);
        at += 1;
    }
    all
}

/// Whether a text reads a variable: `$name` or `${name}`.
pub(super) fn reads(text: &[u8], variable: &str) -> bool {
    let name = variable.as_bytes();
    memchr::memchr_iter(b'$', text).any(|at| {
        let rest = &text[at + 1..];
        match rest.strip_prefix(b"{") {
            Some(rest) => rest.starts_with(name) && rest.get(name.len()) == Some(&b'}'),
            None => {
                rest.starts_with(name)
                    && !rest
                        .get(name.len())
                        .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
            }
        }
    })
}
