//! `location`, `if` and `limit_except` blocks.

use std::sync::Arc;

use bytes::Bytes;

use super::servers::Level;
use super::{Compiler, bytes_of};
use crate::base::escape::{self, Place};
use crate::config::model::{self, Amount, Kind, LogLevel, Settings, Text};
use crate::plan::expr::Expr;
use crate::plan::location::{
    Content, ErrorPage, LimitExcept, LocationKind, LocationPlan, OpenFiles, Opening, RootPlan,
    TryFiles, TryLast, TryTest,
};
use crate::plan::locations::{LocationTree, TreeBuilder};
use crate::plan::script::Script;
use crate::plan::{LocationId, ServerId};

impl Compiler<'_> {
    /// Compiles the locations of one level, the inner ones first.
    pub(super) fn level(&mut self, locations: &[model::Location], server: ServerId) -> Level {
        let mut builder = TreeBuilder::default();
        let mut named = Vec::new();
        let mut limit_except = None;
        let mut ids = Vec::with_capacity(locations.len());
        for location in locations {
            let id = self.location(location, server);
            ids.push(id);
            let name = bytes_of(&location.path.bytes);
            let proxies = matches!(location.content, model::Content::Proxy(_));
            match &location.kind {
                Kind::Exact => builder.exact(name, id, proxies),
                Kind::Prefix => builder.prefix(name, id, false, proxies),
                Kind::NoRegex => builder.prefix(name, id, true, proxies),
                Kind::Regex { caseless } => {
                    if let Some(regex) = self.regex(&location.path, *caseless) {
                        builder.regex(regex, id);
                    }
                }
                Kind::Named => named.push((name, id)),
                Kind::If(_) => {}
                Kind::LimitExcept(methods) => {
                    let mut allowed: Vec<Bytes> = methods
                        .iter()
                        .map(|m| Bytes::from(m.to_ascii_uppercase()))
                        .collect();
                    if allowed.iter().any(|method| method == "GET") {
                        allowed.push(Bytes::from_static(b"HEAD"));
                    }
                    limit_except = Some(LimitExcept {
                        allowed: allowed.into(),
                        location: id,
                    });
                }
            }
        }
        Level {
            tree: builder.build(),
            named,
            ids,
            limit_except,
        }
    }

    fn location(&mut self, location: &model::Location, server: ServerId) -> LocationId {
        let level = self.level(&location.locations, server);
        let script = match location.kind {
            // The operations of an `if` stand inside the script of the block around it.
            Kind::If(_) => Script::default(),
            _ => self.script(&location.script, &location.locations, Some(&level.ids)),
        };
        let mut plan = self.location_plan(&location.settings, &location.content, server);
        plan.name = bytes_of(&location.path.bytes);
        plan.kind = match location.kind {
            Kind::Exact => LocationKind::Exact,
            Kind::Prefix | Kind::NoRegex => LocationKind::Prefix,
            Kind::Regex { .. } => LocationKind::Regex,
            Kind::Named => LocationKind::Named,
            Kind::If(_) | Kind::LimitExcept(_) => LocationKind::Anonymous,
        };
        if plan.name.ends_with(b"/") {
            plan.escaped_name = escape_path(&plan.name);
        }
        plan.tree = level.tree;
        plan.limit_except = level.limit_except;
        plan.script = script;
        let id = self.locations.push(plan);
        self.health_check(location, id);
        id
    }

    /// Everything that follows from settings and content alone.
    pub(super) fn location_plan(
        &mut self,
        settings: &Settings,
        content: &model::Content,
        server: ServerId,
    ) -> LocationPlan {
        let core = &settings.core;
        let error_logs = self.error_logs(&core.error_log);
        LocationPlan {
            server,
            name: Bytes::new(),
            kind: LocationKind::Anonymous,
            escaped_name: Bytes::new(),
            settings: Arc::new(settings.clone()),
            pass: Arc::clone(pass_of(settings, content)),
            tree: LocationTree::default(),
            script: Script::default(),
            limit_except: None,
            access: self.access(settings),
            referers: self.referers(&settings.referer.valid_referers),
            secure_link: self.secure_link(&settings.secure_link),
            content: self.content(settings, content),
            split_path_info: self.split_path_info(&settings.fastcgi),
            root: self.root(&core.root),
            opening: self.opening(&settings.files),
            index: settings
                .files
                .index
                .iter()
                .map(|text| self.expr(text))
                .collect(),
            try_files: settings
                .files
                .try_files
                .as_ref()
                .map(|files| Box::new(self.try_files(files))),
            error_pages: self.error_pages(&core.error_page),
            headers: self.header_rules(&settings.headers),
            filters: self.filters(settings),
            types: self.types(core),
            access_logs: self.access_logs(&settings.log),
            debug: error_logs.iter().any(|to| to.most == LogLevel::Debug),
            error_logs,
            resolver: core
                .resolver
                .as_ref()
                .map(|resolver| self.resolver(resolver)),
            limit_rate: self.amount(core.limit_rate.as_ref()),
            limit_rate_after: self.amount(core.limit_rate_after.as_ref()),
            early_hints: core
                .early_hints
                .iter()
                .map(|text| self.expr(text))
                .collect(),
            mirrors: {
                let mirrors = settings.subrequests.mirror.iter();
                let uris = mirrors.filter_map(|to| to.0.as_ref());
                uris.map(|uri| bytes_of(uri)).collect()
            },
            post_action: Some(&settings.subrequests.post_action)
                .filter(|uri| !uri.is_empty())
                .map(|uri| bytes_of(uri)),
        }
    }

    fn content(&mut self, settings: &Settings, content: &model::Content) -> Content {
        match content {
            model::Content::Files => Content::Files,
            model::Content::EmptyGif => Content::EmptyGif,
            model::Content::StubStatus => Content::StubStatus,
            model::Content::Metrics => Content::Metrics,
            model::Content::Status => Content::Status,
            model::Content::Session(session) => match self.session(settings, session) {
                Some(session) => Content::Session(Box::new(session)),
                None => Content::Files,
            },
            model::Content::Proxy(pass) => match self.proxy(settings, pass) {
                Some(proxy) => Content::Proxy(Box::new(proxy)),
                // The reason was reported; the plan is not going to be used.
                None => Content::Files,
            },
        }
    }

    fn root(&mut self, root: &model::Root) -> RootPlan {
        RootPlan {
            path: self.expr(&root.path),
            alias: root.alias,
            replaces: root.replaces,
        }
    }

    fn opening(&mut self, files: &model::Files) -> Option<Box<Opening>> {
        let symlinks = &files.disable_symlinks;
        let cache = files.open_file_cache.as_ref();
        if symlinks.links == model::Symlinks::Off && cache.is_none() {
            return None;
        }
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let cache = cache.map(|cache| OpenFiles {
            id: self.open_files_id(cache),
            max: cache.max,
            inactive_ms: millis(cache.inactive),
            valid_ms: millis(files.open_file_cache_valid),
            min_uses: files.open_file_cache_min_uses,
            errors: files.open_file_cache_errors,
        });
        Some(Box::new(Opening {
            links: symlinks.links,
            from: symlinks.from.as_ref().map(|text| self.expr(text)),
            cache,
        }))
    }

    /// The number of a cache: one for each place where the directive stands.
    fn open_files_id(&mut self, cache: &Arc<model::OpenFileCache>) -> usize {
        let known = self.open_files.iter().position(|c| Arc::ptr_eq(c, cache));
        known.unwrap_or_else(|| {
            self.open_files.push(Arc::clone(cache));
            self.open_files.len() - 1
        })
    }

    fn try_files(&mut self, files: &model::TryFiles) -> TryFiles {
        let tests = files.files.iter().map(|text| {
            let (path, directory) = match text.bytes.strip_suffix(b"/") {
                Some(path) => (path, true),
                None => (&text.bytes[..], false),
            };
            TryTest {
                path: self.expr_of(path, text.span),
                directory,
            }
        });
        let tests = tests.collect();
        let last = match &files.last {
            model::TryLast::Status(status) => TryLast::Status(*status),
            model::TryLast::Uri(uri) if uri.bytes.starts_with(b"@") && !uri.has_variables() => {
                TryLast::Named(bytes_of(&uri.bytes))
            }
            model::TryLast::Uri(uri) => TryLast::Uri(self.expr(uri)),
        };
        TryFiles { tests, last }
    }

    /// Puts neighbours with the same target together again.
    fn error_pages(&mut self, pages: &[model::ErrorPage]) -> Box<[ErrorPage]> {
        let same = |a: &model::ErrorPage, b: &model::ErrorPage| {
            a.overwrite == b.overwrite && a.uri == b.uri
        };
        let lines = pages.chunk_by(same).map(|line| {
            let (target, args) = self.split_args(&line[0].uri);
            ErrorPage {
                codes: line.iter().map(|page| page.status).collect(),
                overwrite: line[0].overwrite.map(Option::unwrap_or_default),
                target,
                args,
            }
        });
        lines.collect()
    }

    /// A local URI without variables may carry arguments.
    fn split_args(&mut self, uri: &Text) -> (Expr, Option<Expr>) {
        if uri.bytes.starts_with(b"/")
            && !uri.has_variables()
            && let Some(mark) = memchr::memchr(b'?', &uri.bytes)
        {
            let (path, args) = (&uri.bytes[..mark], &uri.bytes[mark + 1..]);
            return (
                Expr::literal(bytes_of(path)),
                Some(Expr::literal(bytes_of(args))),
            );
        }
        (self.expr(uri), None)
    }

    /// A size as a value; zero and none come out without parts.
    pub(super) fn amount(&mut self, amount: Option<&Amount>) -> Expr {
        match amount {
            None | Some(Amount::Fixed(0)) => Expr::default(),
            Some(Amount::Fixed(bytes)) => Expr::literal(Bytes::from(bytes.to_string())),
            Some(Amount::Text(text)) => self.expr(text),
        }
    }
}

/// The settings of the family that passes requests on here.
fn pass_of<'a>(settings: &'a Settings, content: &model::Content) -> &'a Arc<model::Pass> {
    match content {
        model::Content::Proxy(pass) if pass.wire == model::WireKind::FastCgi => {
            &settings.fastcgi_pass
        }
        model::Content::Proxy(pass) if pass.wire == model::WireKind::Grpc => &settings.grpc_pass,
        _ => &settings.proxy_pass,
    }
}

/// Escapes a location's text for use in a `Location` field, as nginx escapes a URI.
fn escape_path(path: &Bytes) -> Bytes {
    if !escape::uri_needed(path, Place::Uri) {
        return path.clone();
    }
    let mut out = Vec::with_capacity(path.len() + 8);
    escape::uri(&mut out, path, Place::Uri);
    out.into()
}
