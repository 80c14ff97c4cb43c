//! `Model` to `Plan`, with the errors that only show when names, patterns and variables are resolved.
//!
//! Pure: names are resolved by whoever fills [`Env`]. Errors are collected, so that a configuration
//! tells all of them at once. Start at [`compile`].

mod access;
mod cache;
mod coding;
mod edits;
mod fastcgi;
mod filters;
mod grpc;
mod health;
mod limits;
mod links;
mod listeners;
mod locations;
mod logs;
mod names;
mod proxy;
mod scripts;
mod servers;
mod sticky;
mod stream;
mod tables;
#[cfg(test)]
mod tests;
mod tls;
mod upstreams;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::charset::Charsets;
use super::expr::Expr;
use super::groups::GroupIndex;
use super::limits::{ZoneId, ZonePlan};
use super::location::{LocationPlan, ServerPlan};
use super::regex::Regex;
use super::script::SetTarget;
use super::store::StoreRef;
use super::tls::TlsClientPlan;
use super::vars::Registry;
use super::{
    ErrorTo, FormatId, GroupId, GroupPlan, ListenerId, ListenerPlan, LocationId, LogFormat, LogId,
    LogTarget, Plan, ResolverId, ResolverPlan, ServerId, ServerToken,
};
use crate::base::ids::IdVec;
use crate::config::diag::{Diag, Level, SourceFile, Span};
use crate::config::model::{Http, MatchBlock, Model, Name, OpenFileCache, OpenLogFileCache, Text};

/// What compiling needs to know of the world.
pub struct Env<'a> {
    /// Addresses of a host name with a port; none when it does not resolve.
    pub resolve: &'a dyn Fn(&str, u16) -> Option<Vec<SocketAddr>>,
    /// Reads a file that the configuration names.
    pub read: &'a dyn Fn(&Path) -> io::Result<Arc<[u8]>>,
    /// Files of the load, for positions in messages.
    pub files: &'a [SourceFile],
    /// `$hostname`.
    pub hostname: Bytes,
    /// What the `Server` header says.
    pub server_token: ServerToken,
    /// Prefix that relative paths start from.
    pub prefix: PathBuf,
    /// Where errors are logged when the configuration does not say.
    pub error_log: LogTarget,
}

/// Compiles a model. All errors of a model are told at once, in the order of the file.
pub fn compile(model: &Model, env: &Env<'_>) -> Result<Plan, Vec<Diag>> {
    let mut compiler = Compiler::new(env);
    compiler.main_logs(&model.main);
    let debug_clients = compiler.debug_clients(&model.main);
    let absent = Http::default();
    let http = model.http.as_ref().unwrap_or(&absent);
    compiler.define_names(http);
    compiler.tables(http);
    compiler.formats(http);
    compiler.charset_maps(http);
    compiler.upstreams(http);
    compiler.matches = http.matches.clone().into();
    compiler.limit_zones(http);
    compiler.stores(http);
    compiler.servers(http);
    compiler.listeners(http, 0);
    if let Some(stream) = &model.stream {
        compiler.stream(stream);
    }
    if !compiler.diags.is_empty() {
        compiler
            .diags
            .sort_by_key(|diag| (diag.span.file, diag.span.start));
        // What blocks inherit is compiled for each of them, and wrong in each of them.
        let same = |a: &mut Diag, b: &mut Diag| a.span == b.span && a.message == b.message;
        compiler.diags.dedup_by(same);
        return Err(compiler.diags);
    }
    let folder = compiler.beside_configuration(b"");
    let wants_hello = compiler.registry.wants_hello;
    let (slots, family_names) = compiler.registry.finish();
    Ok(Plan {
        main: model.main.clone(),
        listeners: compiler.listeners,
        servers: compiler.servers,
        locations: compiler.locations,
        groups: compiler.groups,
        group_index: compiler.group_index,
        stream_index: compiler.stream_index,
        logs: compiler.logs,
        error_logs: compiler.error_logs,
        debug_clients,
        formats: compiler.formats,
        maps: compiler.tables.maps,
        geos: compiler.tables.geos,
        splits: compiler.tables.splits,
        slots,
        family_names,
        warnings: compiler.warnings,
        resolvers: compiler.resolvers,
        limit_zones: compiler.limit_zones,
        checks: compiler.checks,
        tls_clients: compiler.tls_clients,
        wants_hello,
        stores: compiler.stores,
        hostname: env.hostname.clone(),
        server_token: env.server_token.clone(),
        prefix: env.prefix.clone(),
        folder,
        charsets: compiler.charsets,
    })
}

/// One compilation in progress.
struct Compiler<'a> {
    env: &'a Env<'a>,
    diags: Vec<Diag>,
    warnings: Vec<Diag>,
    /// A backend that is not known at start is an error.
    strict_dns: bool,
    registry: Registry,
    listeners: IdVec<ListenerId, ListenerPlan>,
    servers: IdVec<ServerId, ServerPlan>,
    locations: IdVec<LocationId, LocationPlan>,
    groups: IdVec<GroupId, GroupPlan>,
    group_index: GroupIndex,
    /// The groups of `stream`, once it is compiled.
    stream_index: GroupIndex,
    tables: tables::Tables,
    logs: IdVec<LogId, LogTarget>,
    error_logs: Arc<[ErrorTo]>,
    formats: IdVec<FormatId, LogFormat>,
    /// Where the formats of the block begin that is being compiled.
    first_format: usize,
    resolvers: IdVec<ResolverId, ResolverPlan>,
    limit_zones: IdVec<ZoneId, ZonePlan>,
    stores: Vec<StoreRef>,
    caches: edits::Caches,
    /// Names of the server that is being compiled.
    server_names: Vec<Name>,
    charsets: Charsets,
    /// `open_file_cache` directives so far.
    open_files: Vec<Arc<OpenFileCache>>,
    /// `open_log_file_cache` directives so far.
    open_logs: Vec<Arc<OpenLogFileCache>>,
    /// Patterns compiled so far.
    patterns: usize,
    /// Health checks so far.
    checks: Vec<super::health::CheckPlan>,
    /// `match` blocks.
    matches: Arc<[MatchBlock]>,
    /// TLS to backends so far.
    tls_clients: Vec<TlsClientPlan>,
    /// 0 and 1 in turn, from plan to plan.
    bank: usize,
}

/// Counts compilations.
static PLANS: AtomicUsize = AtomicUsize::new(0);

impl<'a> Compiler<'a> {
    fn new(env: &'a Env<'a>) -> Self {
        Self {
            env,
            diags: Vec::new(),
            warnings: Vec::new(),
            strict_dns: false,
            registry: Registry::default(),
            listeners: IdVec::new(),
            servers: IdVec::new(),
            locations: IdVec::new(),
            groups: IdVec::new(),
            group_index: GroupIndex::default(),
            stream_index: GroupIndex::default(),
            tables: tables::Tables::default(),
            logs: IdVec::new(),
            error_logs: Arc::from([]),
            formats: IdVec::new(),
            first_format: 0,
            resolvers: IdVec::new(),
            limit_zones: IdVec::new(),
            stores: Vec::new(),
            caches: edits::Caches::default(),
            server_names: Vec::new(),
            charsets: Charsets::default(),
            open_files: Vec::new(),
            open_logs: Vec::new(),
            checks: Vec::new(),
            matches: Arc::default(),
            patterns: 0,
            tls_clients: Vec::new(),
            bank: PLANS.fetch_add(1, Ordering::Relaxed) % 2,
        }
    }

    fn error(&mut self, message: impl Into<String>, span: Span) {
        self.diags
            .push(Diag::at(Level::Emerg, message, span, self.env.files));
    }

    fn warn(&mut self, message: impl Into<String>, span: Span) {
        self.warnings
            .push(Diag::at(Level::Warn, message, span, self.env.files));
    }

    /// Compiles a value; one that is wrong is reported and comes back empty.
    fn expr(&mut self, text: &Text) -> Expr {
        self.expr_of(&text.bytes, text.span)
    }

    fn expr_of(&mut self, bytes: &[u8], span: Span) -> Expr {
        let registry = &mut self.registry;
        match Expr::parse(bytes, &mut |name| registry.resolve(name)) {
            Ok(expr) => expr,
            Err(message) => {
                self.error(message, span);
                Expr::default()
            }
        }
    }

    /// A value that is one variable, its name given without `$`.
    fn variable(&mut self, name: &Text) -> Expr {
        match self.registry.resolve(&name.bytes) {
            Some(var) => Expr::variable(var),
            None => {
                let message = format!("unknown \"{}\" variable", name.lossy());
                self.error(message, name.span);
                Expr::default()
            }
        }
    }

    /// Compiles a pattern and binds its named groups; one that is wrong is reported.
    fn regex(&mut self, pattern: &Text, caseless: bool) -> Option<Regex> {
        let mut regex = match Regex::compile(&pattern.bytes, caseless) {
            Ok(regex) => regex,
            Err(message) => {
                self.error(message, pattern.span);
                return None;
            }
        };
        let mut slots = Vec::new();
        for (name, group) in regex.named() {
            match self.registry.define_slot(name) {
                Ok(SetTarget::Slot(slot)) => slots.push((slot, *group)),
                // `$args` and `$limit_rate` cannot be captured into; nginx accepts and ignores that.
                Ok(SetTarget::Args | SetTarget::LimitRate) => {}
                Err(message) => {
                    let diag = Diag::at(Level::Emerg, message, pattern.span, self.env.files);
                    self.diags.push(diag);
                }
            }
        }
        regex.bind(slots.into());
        // Neighbouring plans use different seats, because both serve while one drains.
        regex.sit(self.patterns * 2 + self.bank);
        self.patterns += 1;
        Some(regex)
    }
}

/// The bytes of a model's value as the plan keeps them.
fn bytes_of(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Plans for tests, here and in the modules above.
#[cfg(test)]
pub(crate) mod testing {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::model;

    /// Compiles a configuration text; `events` may be left out. Warnings are in the second half.
    ///
    /// `one.test` resolves to one address, `two.test` to two, every other name to none.
    pub(crate) fn from_text(text: &str) -> Result<(Plan, Vec<Diag>), Vec<Diag>> {
        let mut loaded = model::load_text(text);
        let Some(model) = loaded.model.take() else {
            return Err(loaded.diags);
        };
        let resolve = |host: &str, port: u16| {
            let count = match host {
                "one.test" => 1,
                "two.test" => 2,
                _ => return None,
            };
            let addr = |n| SocketAddr::from((Ipv4Addr::new(127, 0, 0, n), port));
            Some((1..=count).map(addr).collect())
        };
        let env = Env {
            resolve: &resolve,
            read: &|_| Err(io::ErrorKind::NotFound.into()),
            files: &loaded.tree.files,
            hostname: Bytes::from_static(b"host.test"),
            server_token: ServerToken {
                short: Bytes::from_static(b"ringx"),
                full: Bytes::from_static(b"ringx/0"),
                build: Bytes::from_static(b"ringx/0"),
            },
            prefix: PathBuf::from("/etc/ringx"),
            error_log: LogTarget::Stderr,
        };
        let plan = compile(&model, &env)?;
        Ok((plan, loaded.diags))
    }
}
