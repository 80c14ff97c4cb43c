//! One configuration with everything that serving it needs: log files, listeners, credentials, folders.
//!
//! [`super::reading`] has parsed and checked it; here the system is touched. Errors are told to the journal where they
//! occur; the caller only learns that there were some. Start at [`Site::open`].

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bundle::{Bundle, Credentials, Down, Found, ListenerSlot};
use super::crew::{Way, Worker};
use super::journal::{self, Journal, Level, Outlet, Sink, Syslog, cause};
use super::reading::{self, ACCESS_LOG_DEFAULT, Read};
use super::setup::Setup;
use super::sockets::{self, Address, Bound, Purpose, Wanted};
use crate::config::Loaded;
use crate::config::model::{Control, ListenOptions, Main, SoKeepalive};
use crate::net::listener::Options;
use crate::net::runtime::DRIVER_ENV;
use crate::net::stream::Keepalive;
use crate::net::sys::process;
use crate::plan::{ErrorTo, ListenAddr, ListenerPlan, LogTarget, Plan};

/// Variables that a worker inherits without being told: the time zone, the choice of driver, how panics are told.
const ENVIRONMENT_KEPT: [&str; 3] = ["TZ", DRIVER_ENV, "RUST_BACKTRACE"];

/// Whom a worker becomes when the configuration of a root parent names nobody.
const USER_DEFAULT: &str = "nobody";

/// What is or was served.
pub struct Site {
    /// What a worker gets.
    pub bundle: Bundle,
    /// Open log files, by path.
    pub logs: Vec<(PathBuf, Arc<File>)>,
    /// Those of them that nobody else may read.
    secrets: Vec<PathBuf>,
    /// Open listeners.
    pub bound: Vec<Bound>,
    /// The pid file, and whether the configuration named it.
    pub pid: (PathBuf, bool),
    main: Main,
    /// The files of the configuration itself.
    sources: Vec<PathBuf>,
    error_logs: ErrorLogs,
    /// Some log, of whatever location, goes to standard error.
    stderr_is_log: bool,
}

/// How many shards a configuration asks for: a number, or as many as the process may use cores.
#[must_use]
pub fn shards(main: &Main) -> usize {
    match main.worker_processes {
        Some(count) => (count as usize).max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The pid file's path, and whether the configuration named it.
#[must_use]
pub fn pid_path(setup: &Setup, main: &Main) -> (PathBuf, bool) {
    match &main.pid {
        Some(path) => (path.clone(), true),
        None => (setup.identity.paths().pid.into(), false),
    }
}

impl Site {
    /// Reads and opens in one go, as a reload does.
    #[must_use]
    pub fn load(setup: &Setup, held: &[Bound], journal: &Journal) -> Option<Self> {
        let read = reading::read(setup, journal)?;
        Self::open(setup, read, held, false, journal)
    }

    /// Opens logs and listeners, taking over those that are held.
    #[must_use]
    pub fn open(
        setup: &Setup,
        read: Read,
        held: &[Bound],
        test: bool,
        journal: &Journal,
    ) -> Option<Self> {
        let Read {
            loaded,
            plan,
            found,
            names,
        } = read;
        let shards = shards(&plan.main);
        let credentials = credentials(&plan.main, &loaded, journal)?;
        make_folders(&folders(&plan), credentials.as_ref(), journal)?;
        let paths = log_paths(&plan);
        make_log_folder(&setup.prefix.join(ACCESS_LOG_DEFAULT), &paths);
        let secrets = secret_paths(&plan);
        let logs = open_logs(&paths, &secrets, journal)?;
        let purpose = if test {
            Purpose::Test
        } else {
            Purpose::Serve(shards)
        };
        let bound = sockets::open(&wanted(&plan), held, purpose, journal)?;
        let listeners = places(&bound, shards);
        let listeners = listeners.into_iter().map(|(slot, _)| slot).collect();
        let bundle = Bundle {
            generation: 1,
            shards: u32::try_from(shards).unwrap_or(1),
            identity: setup.identity,
            file: setup.file.clone(),
            prefix: setup.prefix.clone(),
            error_log: setup.error_log.clone(),
            globals: setup.globals.clone(),
            files: found,
            names,
            credentials,
            logs: logs.iter().map(|(path, _)| path.clone()).collect(),
            listeners,
        };
        let pid = pid_path(setup, &plan.main);
        Some(Self {
            bundle,
            logs,
            secrets,
            bound,
            pid,
            error_logs: error_logs(&plan),
            stderr_is_log: plan.logs.iter().any(|log| *log == LogTarget::Stderr),
            main: plan.main,
            sources: loaded.files.iter().map(|(path, _)| path.clone()).collect(),
        })
    }

    /// Whether the configuration wants the shards in the parent's own process.
    #[must_use]
    pub fn in_process(&self) -> bool {
        !self.main.master_process
    }

    /// Whether the configuration wants the parent in the background.
    #[must_use]
    pub fn daemon(&self) -> bool {
        self.main.daemon
    }

    /// Where operators talk to the process.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.main.operate.control
    }

    /// The configuration as it was read, in the form of `-T`.
    #[must_use]
    pub fn dump(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (path, found) in &self.bundle.files {
            if let Found::Bytes(bytes) = found
                && self.sources.contains(path)
            {
                let head = format!("# configuration file {}:\n", path.display());
                out.extend_from_slice(head.as_bytes());
                out.extend_from_slice(bytes);
                out.push(b'\n');
            }
        }
        out
    }

    /// How its worker is started.
    #[must_use]
    pub fn way(&self) -> Way {
        if self.in_process() {
            Way::Thread
        } else {
            Way::Process(self.environment())
        }
    }

    /// The environment that a worker process gets: of the parent's only what it is known to need or the configuration
    /// names, as with nginx.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut all: Vec<(OsString, OsString)> = Vec::new();
        for name in ENVIRONMENT_KEPT {
            all.extend(std::env::var_os(name).map(|value| (name.into(), value)));
        }
        for (name, value) in &self.main.env {
            let name = OsStr::from_bytes(name).to_owned();
            let value = value
                .as_deref()
                .map(|value| OsStr::from_bytes(value).to_owned());
            all.retain(|(known, _)| *known != name);
            all.extend(
                value
                    .or_else(|| std::env::var_os(&name))
                    .map(|value| (name, value)),
            );
        }
        all
    }

    /// Whether something differs that a running process cannot change about itself.
    #[must_use]
    pub fn needs_new_worker(&self, old: &Self) -> bool {
        self.bundle.shards != old.bundle.shards
            || self.bundle.credentials != old.bundle.credentials
            || self.main.worker_rlimit_nofile != old.main.worker_rlimit_nofile
            || self.main.worker_rlimit_core != old.main.worker_rlimit_core
            || self.main.worker_priority != old.main.worker_priority
            || self.main.worker_cpu_affinity != old.main.worker_cpu_affinity
            || self.main.working_directory != old.main.working_directory
            || self.main.env != old.main.env
            || !self.main.same_engine(&old.main)
            || self.in_process() != old.in_process()
    }

    /// Hands everything to a worker.
    pub fn send_to(&self, worker: &Worker) -> io::Result<()> {
        let logs = self.logs.iter().map(|(_, file)| file.as_fd());
        let places = places(&self.bound, self.bundle.shards as usize);
        let sockets = places.iter().map(|(_, socket)| socket.as_fd());
        let fds: Vec<BorrowedFd<'_>> = logs.chain(sockets).collect();
        worker.send(&Down::Bundle(Box::new(self.bundle.clone())), &fds)
    }

    /// The parent's log as this configuration wants it.
    #[must_use]
    pub fn journal(&self, before: &Journal) -> Journal {
        let sinks = sinks(&self.error_logs, |path| {
            self.logs
                .iter()
                .find(|(known, _)| known == path)
                .map(|(_, file)| Arc::clone(file))
        });
        Journal {
            sinks,
            ..before.clone()
        }
    }

    /// Makes standard error another name of the first log file, so that the last words of a process are kept, unless
    /// the configuration logs to standard error itself.
    pub fn take_stderr(&self, journal: &Journal) {
        if !self.stderr_is_log {
            journal.take_stderr();
        }
    }

    /// Opens every log file again under its name. One that cannot be opened is told and kept as it is.
    pub fn reopen(&mut self, journal: &Journal) {
        let owner = self.bundle.credentials.as_ref();
        for (path, file) in &mut self.logs {
            match open_log(path, &self.secrets) {
                Ok(new) => {
                    let theirs = new
                        .metadata()
                        .is_ok_and(|data| owner.is_some_and(|who| data.uid() != who.uid));
                    if let (true, Some(who)) = (theirs, owner)
                        && let Err(error) = std::os::unix::fs::fchown(&new, Some(who.uid), None)
                    {
                        journal.emerg(&format!(
                            "chown() \"{}\" failed {}",
                            path.display(),
                            cause(&error)
                        ));
                    }
                    *file = Arc::new(new);
                }
                Err(error) => journal.emerg(&format!(
                    "open() \"{}\" failed {}",
                    path.display(),
                    cause(&error)
                )),
            }
        }
    }
}

/// Where the lines of the main error log go, as `error_log` says.
pub type ErrorLogs = Vec<(LogTarget, ErrorTo)>;

/// The main error log of a plan.
#[must_use]
pub fn error_logs(plan: &Plan) -> ErrorLogs {
    plan.error_logs
        .iter()
        .map(|to| (plan.logs[to.log].clone(), *to))
        .collect()
}

/// Turns log targets into open sinks; a path without an open file is left out.
#[must_use]
pub fn sinks(targets: &ErrorLogs, file: impl Fn(&Path) -> Option<Arc<File>>) -> Vec<Sink> {
    let sink = |(target, to): &(LogTarget, ErrorTo)| {
        let outlet = match target {
            LogTarget::File(path) => Outlet::File(file(path)?),
            LogTarget::Stderr => Outlet::Stderr,
            LogTarget::Syslog(said) => {
                let hostname = String::from_utf8_lossy(&reading::hostname()).into_owned();
                Outlet::Syslog(Arc::new(Syslog::open(said, &hostname).ok()?))
            }
            LogTarget::Memory(_) | LogTarget::Paths(_) => return None,
        };
        Some(Sink {
            level: to.most,
            json: to.json,
            outlet,
        })
    };
    targets.iter().filter_map(sink).collect()
}

/// The files that a plan logs to, each once.
fn log_paths(plan: &Plan) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for target in plan.logs.iter() {
        if let LogTarget::File(path) = target
            && !paths.contains(path)
        {
            paths.push(path.clone());
        }
    }
    paths
}

/// Differs from nginx: nobody chose the folder of the default log, so nobody has to make it.
fn make_log_folder(default: &PathBuf, paths: &[PathBuf]) {
    if let Some(folder) = default.parent().filter(|_| paths.contains(default)) {
        // Opening the log tells what is wrong, if anything is.
        std::fs::create_dir_all(folder).ok();
    }
}

/// Opens a log file. The names of our own output are taken literally: opening them anew fails for sockets, and would
/// begin a redirected file from its start.
/// Who has the secrets of a connection reads it.
const SECRET_MODE: u32 = 0o600;

fn open_log(path: &Path, secrets: &[PathBuf]) -> io::Result<File> {
    let own = match path.as_os_str().as_bytes() {
        b"/dev/stdout" => rustix::stdio::stdout().try_clone_to_owned()?,
        b"/dev/stderr" => rustix::stdio::stderr().try_clone_to_owned()?,
        _ => {
            let file = journal::open(path)?;
            if secrets.iter().any(|secret| secret == path) {
                file.set_permissions(Permissions::from_mode(SECRET_MODE))?;
            }
            return Ok(file);
        }
    };
    Ok(own.into())
}

/// The files that secrets of connections are written to.
fn secret_paths(plan: &Plan) -> Vec<PathBuf> {
    let servers = plan.servers.iter().filter_map(|server| server.tls.as_ref());
    let logs = servers.filter_map(|tls| tls.key_log);
    let logs = logs.chain(plan.tls_clients.iter().filter_map(|tls| tls.key_log));
    let paths = logs.filter_map(|log| match &plan.logs[log] {
        LogTarget::File(path) => Some(path.clone()),
        _ => None,
    });
    paths.collect()
}

fn open_logs(
    paths: &[PathBuf],
    secrets: &[PathBuf],
    journal: &Journal,
) -> Option<Vec<(PathBuf, Arc<File>)>> {
    let mut logs = Vec::new();
    for path in paths {
        match open_log(path, secrets) {
            Ok(file) => logs.push((path.clone(), Arc::new(file))),
            Err(error) => {
                journal.emerg(&format!(
                    "open() \"{}\" failed {}",
                    path.display(),
                    cause(&error)
                ));
                return None;
            }
        }
    }
    Some(logs)
}

/// Where shards will write temporary files.
fn folders(plan: &Plan) -> Vec<PathBuf> {
    let caches = plan.stores.iter();
    let paths = caches.flat_map(|store| [Some(&store.path), store.temp_path.as_ref()]);
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let mut folders: Vec<PathBuf> = paths.flatten().map(|bytes| path(bytes)).collect();
    for location in plan.locations.iter() {
        let settings = &location.settings;
        for folder in [
            &settings.core.client_body_temp_path.path,
            &location.pass.temp_path.path,
        ] {
            // A family that buffers nothing has none.
            if !folder.as_os_str().is_empty() && !folders.contains(folder) {
                folders.push(folder.clone());
            }
        }
    }
    folders
}

/// Makes the folders for temporary files, and gives them to whom the worker becomes.
fn make_folders(folders: &[PathBuf], owner: Option<&Credentials>, journal: &Journal) -> Option<()> {
    let make = |folder: &Path, mode| {
        std::fs::DirBuilder::new()
            .mode(mode)
            .recursive(true)
            .create(folder)
    };
    for folder in folders {
        // What is missing above it remains the parent's, and the worker has to get through.
        let above = folder.parent().map_or(Ok(()), |above| make(above, 0o755));
        if let Err(error) = above.and_then(|()| make(folder, 0o700)) {
            journal.emerg(&format!(
                "mkdir() \"{}\" failed {}",
                folder.display(),
                cause(&error)
            ));
            return None;
        }
        let Some(owner) = owner else { continue };
        let theirs = std::fs::metadata(folder).is_ok_and(|data| data.uid() == owner.uid);
        if !theirs && let Err(error) = std::os::unix::fs::chown(folder, Some(owner.uid), None) {
            journal.emerg(&format!(
                "chown(\"{}\", {}) failed {}",
                folder.display(),
                owner.uid,
                cause(&error)
            ));
            return None;
        }
    }
    Some(())
}

/// Whom the worker becomes; `Some(None)` when the parent is nobody special and it stays as it is.
fn credentials(main: &Main, loaded: &Loaded, journal: &Journal) -> Option<Option<Credentials>> {
    let place = place(loaded, b"user");
    if !rustix::process::geteuid().is_root() {
        if main.user.is_some() {
            journal.log(
                Level::Warn,
                &format!(
                    "the \"user\" directive makes sense only if the master process runs with super-user privileges, \
                     ignored{place}"
                ),
            );
        }
        return Some(None);
    }
    let (user, group) = match &main.user {
        Some((user, group)) => (user.as_str(), group.as_deref().or(Some(user))),
        None => (USER_DEFAULT, None),
    };
    let Some(account) = process::account(user).ok().flatten() else {
        journal.emerg(&format!("getpwnam(\"{user}\") failed{place}"));
        return None;
    };
    let gid = match group {
        None => account.gid,
        Some(group) => {
            let Some(gid) = process::group(group).ok().flatten() else {
                journal.emerg(&format!("getgrnam(\"{group}\") failed{place}"));
                return None;
            };
            gid
        }
    };
    Some(Some(Credentials {
        uid: account.uid,
        gid,
        groups: process::groups(user, gid),
    }))
}

/// ` in FILE:LINE` of a top-level directive.
fn place(loaded: &Loaded, name: &[u8]) -> String {
    let found = loaded
        .tree
        .directives
        .iter()
        .find(|directive| *directive.name.bytes == *name);
    let place = found.and_then(|found| {
        Some((
            loaded.tree.files.get(found.span.file as usize)?,
            found.span.line,
        ))
    });
    place.map_or_else(String::new, |(file, line)| {
        format!(" in {}:{line}", file.path.display())
    })
}

fn wanted(plan: &Plan) -> Vec<Wanted> {
    let each = |listener: &ListenerPlan| Wanted {
        address: match &listener.addr {
            ListenAddr::Tcp(address) => Address::Tcp(*address),
            ListenAddr::Unix(path) => Address::Unix(path.clone()),
        },
        options: socket_options(&listener.options),
    };
    plan.listeners.iter().map(each).collect()
}

fn socket_options(said: &ListenOptions) -> Options {
    Options {
        backlog: said.backlog,
        reuseport: false,
        ipv6only: said.ipv6only,
        deferred: said.deferred,
        fastopen: said.fastopen,
        keepalive: match said.so_keepalive {
            SoKeepalive::System => None,
            SoKeepalive::Off => Some(None),
            SoKeepalive::On {
                idle,
                interval,
                count,
            } => Some(Some(Keepalive {
                idle,
                interval,
                count,
            })),
        },
        rcvbuf: said.rcvbuf,
        sndbuf: said.sndbuf,
        transparent: false,
        steer: said.steer,
    }
}

/// Which shard listens where. `bound` is in the order of the plan's listeners.
fn places(bound: &[Bound], shards: usize) -> Vec<(ListenerSlot, &Arc<OwnedFd>)> {
    let mut places = Vec::new();
    for (listener, bound) in (0u32..).zip(bound) {
        for shard in 0..shards {
            // A test binds one socket and hands nothing on.
            for socket in bound.for_shard(shard, shards) {
                let shard = u32::try_from(shard).unwrap_or(0);
                places.push((ListenerSlot { listener, shard }, socket));
            }
        }
    }
    places
}
