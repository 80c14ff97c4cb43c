//! The worker: takes bundles from the parent, drops privileges, and runs the shards.
//!
//! Opens no file of a configuration; what it serves came down the channel. Start at [`serve`].

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};

use super::bundle::{Bundle, Credentials, Down, Up};
use super::engine::{Engine, Event, Logs};
use super::identity::Identity;
use super::journal::{Journal, Level, cause};
use super::reading;
use super::signals::{Signal, Signals};
use super::site::{self, ErrorLogs};
use super::wire::{Channel, Message};
use crate::config::model::Main;
use crate::net::sys::process::close_all_but;
use crate::net::tls::Memory;

/// The exit code that tells the parent not to try again.
pub const CODE_FATAL: i32 = 2;

/// The exit code when a shard was lost; another worker may do better.
const CODE_LOST: i32 = 1;

/// What follows the program's name in a process list; also how a worker knows that it is one.
const TITLE: &str = ": worker process";

/// The name under which a worker is started.
#[must_use]
pub fn title(identity: Identity) -> String {
    format!("{}{TITLE}", identity.name())
}

/// Whether this process was started as a worker, and for which name.
#[must_use]
pub fn identity(argv0: &OsStr) -> Option<Identity> {
    [Identity::Ringx, Identity::Nginx]
        .into_iter()
        .find(|identity| argv0 == OsStr::new(&title(*identity)))
}

/// The entry of a worker process: the channel is standard input.
pub fn main(identity: Identity) -> ExitCode {
    let journal = Journal {
        console: false,
        ..Journal::console(identity)
    };
    let started = take_channel(identity).and_then(|channel| Ok((channel, Signals::catch()?)));
    match started {
        Ok((channel, signals)) => {
            let code = serve(channel, Some(signals), identity);
            ExitCode::from(u8::try_from(code).unwrap_or(1))
        }
        Err(error) => {
            journal.emerg(&format!(
                "the worker process has no parent to talk to {}",
                cause(&error)
            ));
            ExitCode::from(2)
        }
    }
}

/// Moves the channel away from standard input, and sees to the process's name and descriptors.
fn take_channel(identity: Identity) -> io::Result<Channel> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::net::sockopt::socket_type(&socket)?;
    // Old kernels lack the call, and then keep what whoever started the parent had left open.
    close_all_but(socket.as_fd()).ok();
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    // A process list should not show the name of the link that was executed.
    let name = std::ffi::CString::new(identity.name())?;
    rustix::thread::set_name(&name).ok();
    Channel::over(socket)
}

/// Serves what comes down the channel until told to go. Returns the exit code. Without `signals` it is a thread of the
/// parent, which then leaves the process's user and limits alone.
#[must_use]
pub fn serve(channel: Channel, signals: Option<Signals>, identity: Identity) -> i32 {
    let journal = Journal {
        console: false,
        ..Journal::console(identity)
    };
    let own_process = signals.is_some();
    let mut worker = Worker {
        channel,
        signals,
        own_process,
        journal,
        engine: None,
        error_logs: Vec::new(),
        memory: Memory::default(),
        leaving: false,
        orphaned: false,
    };
    loop {
        if let Some(code) = worker.turn() {
            return code;
        }
    }
}

/// Why a bundle is not served.
struct Refusal {
    reason: String,
    /// Some shards may serve it and others not: only another process makes it whole again.
    broken: bool,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self {
            reason,
            broken: false,
        }
    }
}

struct Worker {
    channel: Channel,
    signals: Option<Signals>,
    own_process: bool,
    journal: Journal,
    engine: Option<Engine>,
    /// The main error log of what is served.
    error_logs: ErrorLogs,
    /// What TLS keeps over reloads.
    memory: Memory,
    leaving: bool,
    /// The parent's end of the channel is closed.
    orphaned: bool,
}

impl Worker {
    /// Waits for something to happen and sees to it; the exit code once everything is done.
    fn turn(&mut self) -> Option<i32> {
        self.wait();
        let arrived: Vec<_> = self.signals.iter_mut().flat_map(Signals::pending).collect();
        for arrived in arrived {
            let (action, order) = match arrived.signal {
                Signal::Quit | Signal::Winch => (", shutting down", Some(Down::Quit)),
                Signal::Term | Signal::Int => (", exiting", Some(Down::Stop)),
                _ => ("", None),
            };
            self.journal.notice(&arrived.line(action));
            if let Some(code) = order.and_then(|order| self.order(order, Vec::new())) {
                return Some(code);
            }
        }
        while !self.orphaned {
            match self.channel.receive() {
                Ok(Some(Message { kind, payload, fds })) => {
                    let Ok(order) = Down::decode(kind, &payload) else {
                        self.journal
                            .log(Level::Alert, "unknown message from the parent process");
                        return Some(CODE_FATAL);
                    };
                    if let Some(code) = self.order(order, fds) {
                        return Some(code);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.orphaned = true;
                    if let Some(code) = self.mourn() {
                        return Some(code);
                    }
                }
            }
        }
        self.events()
    }

    fn wait(&self) {
        let channel = (!self.orphaned).then_some(&self.channel);
        let mut fds: Vec<PollFd<'_>> = channel
            .iter()
            .map(|channel| PollFd::new(*channel, PollFlags::IN))
            .collect();
        fds.extend(
            self.signals
                .iter()
                .map(|signals| PollFd::new(signals, PollFlags::IN)),
        );
        fds.extend(
            self.engine
                .iter()
                .map(|engine| PollFd::new(engine, PollFlags::IN)),
        );
        let patience = self.engine.as_ref().and_then(Engine::patience);
        let timeout = patience.and_then(|left| Timespec::try_from(left).ok());
        poll(&mut fds, timeout.as_ref()).ok();
    }

    /// The parent has gone without a word: finish what is open and go too. Nobody can restart or reload us.
    fn mourn(&mut self) -> Option<i32> {
        if !self.leaving {
            self.journal
                .log(Level::Alert, "the parent process has gone, shutting down");
        }
        self.order(Down::Quit, Vec::new())
    }

    fn order(&mut self, order: Down, fds: Vec<OwnedFd>) -> Option<i32> {
        match (order, &mut self.engine) {
            (Down::Bundle(bundle), _) => return self.take(&bundle, fds),
            (Down::Reopen(paths), Some(engine)) => {
                let files = fds.into_iter().map(|fd| Arc::new(File::from(fd)));
                let logs: Logs = paths.into_iter().zip(files).collect();
                engine.reopen(&logs);
                self.use_logs(&logs);
            }
            (Down::Quit, Some(engine)) if !self.leaving => {
                self.journal.notice("gracefully shutting down");
                self.leaving = true;
                engine.quit();
            }
            (Down::Stop, Some(engine)) => {
                engine.stop();
                self.journal.notice("exiting");
                return Some(0);
            }
            (Down::Ask(ticket, line), Some(engine)) => {
                if let Err(fault) = engine.ask(ticket, &line) {
                    self.answer(&Up::Told(ticket, Err(fault)));
                }
            }
            (Down::Ask(ticket, _), None) => {
                let fault = "the worker does not serve yet".to_owned();
                self.answer(&Up::Told(ticket, Err(fault)));
            }
            (Down::Quit | Down::Stop, None) => return Some(0),
            (Down::Reopen(_) | Down::Quit, _) => {}
        }
        None
    }

    /// Serves a bundle, in place of the one before when there is one.
    fn take(&mut self, bundle: &Bundle, fds: Vec<OwnedFd>) -> Option<i32> {
        let first = self.engine.is_none();
        match self.install(bundle, fds) {
            Ok(()) => {
                self.answer(&Up::Accepted(bundle.generation));
                None
            }
            Err(Refusal { reason, broken }) => {
                self.answer(&Up::Refused(bundle.generation, reason));
                match (first, broken) {
                    (true, _) => Some(CODE_FATAL),
                    (false, true) => Some(CODE_LOST),
                    (false, false) => None,
                }
            }
        }
    }

    fn install(&mut self, bundle: &Bundle, fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        if fds.len() != bundle.logs.len() + bundle.listeners.len() {
            return Err("descriptors are missing from the parent's bundle"
                .to_owned()
                .into());
        }
        let mut fds = fds.into_iter();
        let files = fds.by_ref().map(|fd| Arc::new(File::from(fd)));
        let logs: Logs = bundle.logs.iter().cloned().zip(files).collect();
        let sockets: Vec<OwnedFd> = fds.collect();
        let (plan, tls) = reading::compile_bundle(bundle, &mut self.memory)?;
        self.error_logs = site::error_logs(&plan);
        let main = plan.main.clone();
        let first = self.engine.is_none();
        match &mut self.engine {
            Some(engine) => engine
                .swap(bundle, (plan, tls), &logs, sockets)
                .map_err(|reason| Refusal {
                    reason,
                    broken: true,
                })?,
            None => {
                if self.own_process {
                    settle(&main, bundle.credentials.as_ref())?;
                }
                self.engine = Some(Engine::start(bundle, (plan, tls), &logs, sockets)?);
            }
        }
        self.use_logs(&logs);
        if let Some(engine) = self.engine.as_ref().filter(|_| first) {
            for line in engine.built() {
                self.journal.notice(line);
            }
        }
        Ok(())
    }

    /// The worker's own lines go where the configuration's error log goes.
    fn use_logs(&mut self, logs: &Logs) {
        self.journal.sinks = site::sinks(&self.error_logs, |path| logs.get(path).cloned());
    }

    fn events(&mut self) -> Option<i32> {
        let engine = self.engine.as_mut()?;
        for event in engine.events() {
            match event {
                Event::Drained(generation) => self.answer(&Up::Drained(generation)),
                Event::Told(ticket, text) => self.answer(&Up::Told(ticket, text)),
                Event::Lost(shard) => {
                    self.journal.log(
                        Level::Alert,
                        &format!("shard {shard} has ended, restarting the worker process"),
                    );
                    return Some(CODE_LOST);
                }
                Event::Finished => {
                    self.journal.notice("exit");
                    return Some(0);
                }
            }
        }
        None
    }

    fn answer(&self, up: &Up) {
        let (kind, payload) = up.encode();
        // A parent that is gone shows on the next receive.
        self.channel.send(kind, &payload, &[]).ok();
    }
}

/// Makes the process what the configuration wants it to be, while it still may.
fn settle(main: &Main, who: Option<&Credentials>) -> Result<(), String> {
    let failed =
        |what: &str, error: rustix::io::Errno| format!("{what} failed {}", cause(&error.into()));
    let now = getrlimit(Resource::Nofile);
    // As many descriptors as the configuration says, else as many as the system lets us have.
    let wanted = main.worker_rlimit_nofile.or(now.maximum);
    let maximum = main.worker_rlimit_nofile.or(now.maximum);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: wanted,
            maximum,
        },
    )
    .map_err(|error| failed("setrlimit(RLIMIT_NOFILE)", error))?;
    if let Some(bytes) = main.worker_rlimit_core {
        setrlimit(
            Resource::Core,
            Rlimit {
                current: Some(bytes),
                maximum: Some(bytes),
            },
        )
        .map_err(|error| failed("setrlimit(RLIMIT_CORE)", error))?;
    }
    if main.worker_priority != 0 {
        rustix::process::setpriority_process(None, main.worker_priority)
            .map_err(|error| failed("setpriority()", error))?;
    }
    if let Some(who) = who {
        become_user(who)?;
    }
    if let Some(folder) = &main.working_directory {
        rustix::process::chdir(folder)
            .map_err(|error| failed(&format!("chdir(\"{}\")", folder.display()), error))?;
    }
    Ok(())
}

/// Gives up root for good. The process has one thread yet; those to come inherit the change.
fn become_user(who: &Credentials) -> Result<(), String> {
    let groups: Vec<Gid> = who.groups.iter().copied().map(Gid::from_raw).collect();
    let told = |what: String| {
        move |error: rustix::io::Errno| format!("{what} failed {}", cause(&error.into()))
    };
    let gid = Gid::from_raw(who.gid);
    rustix::thread::set_thread_groups(&groups).map_err(told("setgroups()".to_owned()))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(told(format!("setgid({})", who.gid)))?;
    let uid = Uid::from_raw(who.uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(told(format!("setuid({})", who.uid)))?;
    // Core files of a process that has changed its user are off until this says otherwise; nginx does the same.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_knows_itself_by_its_title() {
        for each in [Identity::Ringx, Identity::Nginx] {
            assert_eq!(identity(OsStr::new(&title(each))), Some(each));
        }
        for other in [
            "nginx",
            "ringx",
            "",
            "nginx: worker",
            "nginx: worker process -t",
        ] {
            assert_eq!(identity(OsStr::new(other)), None, "{other}");
        }
    }
}
