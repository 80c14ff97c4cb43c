//! Rows of what stands outside `http`: processes, files, limits and the `events` block.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::parse_core::error_log;
use crate::base::cidr::Cidr;
use crate::config::Identity;
use crate::config::lower::{Frame, Lowering};
use crate::config::model::*;
use crate::config::table::ctx::*;
use crate::config::table::{Contexts, Fault, Row, Status, args, args_min, args_to, row};
use crate::config::tree::{Directive, Span};
use crate::config::value::*;

/// Settings outside `http`.
#[derive(Clone, Debug)]
pub struct Main {
    /// `worker_processes`; `None` is `auto`.
    pub worker_processes: Option<u32>,
    /// `user`: name and group.
    pub user: Option<(String, Option<String>)>,
    /// `pid`, absolute.
    pub pid: Option<PathBuf>,
    /// `daemon`.
    pub daemon: bool,
    /// `master_process`.
    pub master_process: bool,
    /// `error_log` lines; empty means the built-in default.
    pub error_log: Vec<ErrorLog>,
    /// `worker_rlimit_nofile`.
    pub worker_rlimit_nofile: Option<u64>,
    /// `worker_rlimit_core`.
    pub worker_rlimit_core: Option<u64>,
    /// `worker_shutdown_timeout`.
    pub worker_shutdown_timeout: Option<Duration>,
    /// `worker_cpu_affinity`.
    pub worker_cpu_affinity: CpuAffinity,
    /// `worker_priority`.
    pub worker_priority: i32,
    /// `working_directory`.
    pub working_directory: Option<PathBuf>,
    /// `env`: name, and value if one is set.
    pub env: Vec<EnvEntry>,
    /// `worker_connections` of `events`.
    pub worker_connections: u32,
    /// `multi_accept` of `events`.
    pub multi_accept: bool,
    /// `use` of `events`: which way of waiting is asked for.
    pub event_method: Option<Text>,
    /// `debug_connection` of `events`, each with its place.
    pub debug_connection: Vec<(DebugClient, Span)>,
    /// An `events` block stands in the file.
    pub events: bool,
    /// The `shard` block.
    pub engine: super::shard::Engine,
    /// `control` and `flight_recorder`.
    pub operate: Operate,
}

/// Whom one `debug_connection` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DebugClient {
    /// An address, or a range of them.
    Range(Cidr),
    /// `unix:`
    Unix,
    /// The addresses of a host.
    Host(Arc<[u8]>),
}

impl Default for Main {
    fn default() -> Self {
        Self::new(Identity::Ringx)
    }
}

impl Main {
    /// The defaults of a program of this name.
    pub fn new(identity: Identity) -> Self {
        let nginx = identity == Identity::Nginx;
        Self {
            // Differs from nginx: one shard for each core, and in the foreground.
            worker_processes: nginx.then_some(1),
            daemon: nginx,
            // Differs from nginx: a configuration may do without an `events` block.
            events: !nginx,
            user: None,
            pid: None,
            master_process: true,
            error_log: Vec::new(),
            worker_rlimit_nofile: None,
            worker_rlimit_core: None,
            worker_shutdown_timeout: None,
            worker_cpu_affinity: CpuAffinity::None,
            worker_priority: 0,
            working_directory: None,
            env: Vec::new(),
            worker_connections: 512,
            multi_accept: false,
            event_method: None,
            debug_connection: Vec::new(),
            engine: super::shard::Engine::default(),
            operate: Operate::default(),
        }
    }
}

/// An environment variable: its name, and its value if it is set here.
pub type EnvEntry = (Arc<[u8]>, Option<Arc<[u8]>>);

/// `worker_cpu_affinity`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CpuAffinity {
    /// Not written.
    #[default]
    None,
    /// `auto [mask]`: one core each, of those in the mask (entry 0 is core 0).
    Auto(Option<Vec<bool>>),
    /// A mask for each worker; the last one serves the rest.
    Masks(Vec<Vec<bool>>),
}

/// A row that stores a parsed value in [`Main`].
macro_rules! main_row {
    ($name:literal, $contexts:expr, $arity:expr, $parse:expr => $field:ident, $doc:literal) => {
        row(
            $name,
            $contexts,
            $arity,
            |load, _, directive| {
                if let Some(value) = load.parse(directive, $parse) {
                    load.main.$field = value;
                }
            },
            $doc,
        )
    };
}

/// A row whose value is checked and has no effect.
macro_rules! checked {
    ($name:literal, $contexts:expr, $arity:expr, $parse:expr, $because:literal, $doc:literal) => {
        row(
            $name,
            $contexts,
            $arity,
            |load, _, directive| {
                load.parse(directive, $parse);
            },
            $doc,
        )
        .status(Status::Accepted($because))
    };
}
pub(in crate::config) use checked;

/// The rows of this family.
pub(crate) const ROWS: &[Row] = &[
    main_row!("daemon", M, args(1), flag => daemon, "Runs in the background.").default("off; on under the name nginx"),
    main_row!("master_process", M, args(1), flag => master_process, "Runs workers in a process of their own.").default("on"),
    main_row!("worker_processes", M, args(1), worker_processes => worker_processes, "How many shards; auto is one for each core.").default("auto; 1 under the name nginx"),
    main_row!("worker_rlimit_nofile", M, args(1), |a| num(a).map(Some) => worker_rlimit_nofile, "Most open files of the worker."),
    main_row!("worker_rlimit_core", M, args(1), |a| offset(a).map(Some) => worker_rlimit_core, "Longest core file of the worker."),
    main_row!("worker_shutdown_timeout", M, args(1), some_msec => worker_shutdown_timeout, "How long a graceful shutdown may take."),
    main_row!("worker_cpu_affinity", M, args_min(1), cpu_affinity => worker_cpu_affinity, "Which cores the shards run on."),
    main_row!("worker_priority", M, args(1), priority => worker_priority, "Scheduling priority of the worker.").default("0"),
    main_row!("working_directory", M, args(1), |a| path(a).map(Some) => working_directory, "Current directory of the worker."),
    main_row!("pid", M, args(1), |a| path(a).map(Some) => pid, "File for the process id.").default("logs/nginx.pid"),
    main_row!("user", M, args_to(1, 2), user => user, "User and group of the worker.").default("nobody nobody"),
    row("env", M, args(1), |load, _, directive| {
        let word = &directive.args[0].bytes;
        let (name, value) = match word.iter().position(|&b| b == b'=') {
            Some(at) => (&word[..at], Some(Arc::from(&word[at + 1..]))),
            None => (&word[..], None),
        };
        load.main.env.push((Arc::from(name), value));
    }, "Keeps or sets an environment variable.").many(),
    row("error_log", M, args_min(1), |load, _, directive| {
        if let Some(log) = load.parse(directive, error_log) {
            load.main.error_log.push(log);
        }
    }, "Where errors are logged, and from which level.").many().default("logs/error.log error"),
    row("load_module", M, args(1), load_module, "Loads a dynamic module.")
        .many()
        .status(Status::Accepted("what nginx's own modules do is built in or refused by its directives")),
    row("events", M, args(0), |load, frame, directive| {
        load.main.events = true;
        let mut inner = frame.child(Contexts::EVENTS);
        load.apply(&mut inner, directive.block.as_deref().unwrap_or_default());
    }, "Settings of connection handling.").scope().once(),
    checked!("timer_resolution", M, args(1), msec, "each shard reads its clock once a turn", "How often the time is read."),
    checked!("lock_file", M, args(1), path, "shards need no lock to accept", "File for locks."),
    checked!("debug_points", M, args(1), |a| one_of(a, &[("stop", ()), ("abort", ())]), "there are no debug points", "What to do at a debug point."),
    checked!("pcre_jit", M, args(1), flag, "patterns are always compiled", "Compiles regular expressions."),
    checked!("thread_pool", M, args_to(2, 3), |_| Ok(()), "there are no thread pools", "A named pool of threads.").many(),
    checked!("ssl_object_cache_inheritable", M, args(1), flag, "certificates are read again on every reload", "Keeps certificates over a reload."),
    checked!("quic_bpf", M, args(1), flag, "HTTP/3 comes with a later version", "Routes QUIC packets by BPF."),
    main_row!("worker_connections", V, args(1), num32 => worker_connections, "Most connections of a worker.").default("512"),
    main_row!("multi_accept", V, args(1), flag => multi_accept, "Accepts as many connections as there are at a time.").default("off")
        .status(Status::Accepted("a shard always takes all that wait, within a bound")),
    main_row!("use", V, args(1), event_method => event_method, "Which way of waiting for events is used."),
    checked!("accept_mutex", V, args(1), flag, "every shard has listeners of its own", "Lets workers accept in turn."),
    checked!("accept_mutex_delay", V, args(1), msec, "every shard has listeners of its own", "How long a worker waits for its turn."),
    checked!("epoll_events", V, args(1), num, "the ring has its own size", "Events taken from the kernel at a time."),
    checked!("worker_aio_requests", V, args(1), num, "how files are accessed is not configurable", "Most file operations in flight."),
    row("debug_connection", V, args(1), debug_connection, "Writes everything about these clients into the error logs, for debugging.")
        .many(),
];

fn debug_connection(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let word = &directive.args[0];
    let client = match &word.bytes[..] {
        b"unix:" => DebugClient::Unix,
        text => match Cidr::parse(text) {
            Some((range, clean)) => {
                if !clean {
                    let text = format!("low address bits of {} are meaningless", word.lossy());
                    load.warn(text, directive.span);
                }
                DebugClient::Range(range)
            }
            None if text.contains(&b'/') => {
                return load.error(format!("invalid parameter \"{}\"", word.lossy()), word.span);
            }
            None => DebugClient::Host(Arc::clone(&word.bytes)),
        },
    };
    load.main.debug_connection.push((client, word.span));
}

fn worker_processes(args: &mut crate::config::table::Args<'_>) -> Parsed<Option<u32>> {
    if args.bytes(0) == b"auto" {
        return Ok(None);
    }
    match decimal(args.bytes(0)).and_then(|n| u32::try_from(n).ok()) {
        Some(0) | None => Err(args
            .fault("invalid value")
            .hint("write a number of shards, or auto")),
        some => Ok(some),
    }
}

fn user(args: &mut crate::config::table::Args<'_>) -> Parsed<Option<(String, Option<String>)>> {
    Ok(Some((
        args.word(0).lossy(),
        args.words.get(1).map(|w| w.lossy()),
    )))
}

fn priority(args: &mut crate::config::table::Args<'_>) -> Parsed<i32> {
    let (digits, sign) = match args.bytes(0) {
        [b'-', rest @ ..] => (rest, -1),
        [b'+', rest @ ..] | rest => (rest, 1),
    };
    let value = decimal(digits).and_then(|n| i32::try_from(n).ok());
    value
        .map(|n| n * sign)
        .ok_or_else(|| args.fault("invalid number"))
}

fn cpu_affinity(args: &mut crate::config::table::Args<'_>) -> Parsed<CpuAffinity> {
    let auto = args.bytes(0) == b"auto";
    if auto && args.words.len() > 2 {
        return Err(Fault::new(
            "invalid number of arguments in \"worker_cpu_affinity\" directive",
        ));
    }
    let mut masks = Vec::new();
    for word in &args.words[usize::from(auto)..] {
        if word.bytes.len() > 1024 {
            return Err(Fault::new(
                "\"worker_cpu_affinity\" supports up to 1024 CPUs only",
            ));
        }
        let mut mask = Vec::new();
        for &c in word.bytes.iter().rev() {
            match c {
                b'0' | b'1' => mask.push(c == b'1'),
                b' ' => {}
                _ => {
                    let shown = char::from(c);
                    return Err(Fault::new(format!(
                        "invalid character \"{shown}\" in \"worker_cpu_affinity\""
                    )));
                }
            }
        }
        masks.push(mask);
    }
    Ok(if auto {
        CpuAffinity::Auto(masks.pop())
    } else {
        CpuAffinity::Masks(masks)
    })
}

fn event_method(args: &mut crate::config::table::Args<'_>) -> Parsed<Option<Text>> {
    match args.bytes(0) {
        b"epoll" | b"io_uring" | b"select" | b"poll" => some_text(args),
        _ => Err(
            Fault::new(format!("invalid event type \"{}\"", args.word(0).lossy()))
                .hint("leave it out: io_uring is used, and epoll where that is refused"),
        ),
    }
}

/// Modules of nginx that work here or whose directives say why not.
const MODULES_KNOWN: &[&str] = &[
    "ngx_http_geoip_module",
    "ngx_http_image_filter_module",
    "ngx_http_perl_module",
    "ngx_http_xslt_filter_module",
    "ngx_mail_module",
    "ngx_stream_module",
    "ngx_stream_geoip_module",
    "ngx_http_brotli_filter_module",
    "ngx_http_brotli_static_module",
    "ngx_http_zstd_filter_module",
    "ngx_http_zstd_static_module",
];

fn load_module(load: &mut Lowering<'_>, _: &mut Frame, directive: &Directive) {
    let file = directive.args[0].lossy();
    let name = file
        .rsplit('/')
        .next()
        .unwrap_or(&file)
        .trim_end_matches(".so");
    if !MODULES_KNOWN.contains(&name) {
        load.error(
            format!("module \"{file}\" cannot be loaded: modules written in C are not supported"),
            directive.span,
        );
    }
}
