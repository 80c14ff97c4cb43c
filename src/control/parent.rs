//! The parent's life: signals, reloads, supervision of the worker, the way out.
//!
//! Serves no request and parses nothing itself; a configuration with everything it needs is a [`Site`].
//! Start at [`run`].

use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bundle::{Down, Up};
use super::crew::{End, Way, Worker};
use super::desk::{Desk, Task};
use super::journal::{Heard, Journal, Level, cause};
use super::notify::Notify;
use super::pid_file::PidFile;
use super::setup::Setup;
use super::signals::{Arrived, Signal, Signals};
use super::site::Site;
use super::sockets;
use super::upgrade::Upgrade;
use super::worker::CODE_FATAL;
use crate::net::clock;

/// A worker that lived so long is replaced at once; one that keeps dying sooner waits longer each time.
const HEALTHY: Duration = Duration::from_secs(1);
const RESPAWN_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a fast stop waits for the worker before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How far the parent is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    Gracefully,
    /// Killing whoever is left at this time.
    Fast(u64),
}

/// A configuration that a worker was asked to serve and has not yet answered about.
struct Pending {
    site: Site,
    /// The worker asked.
    worker: u64,
    /// What was said about it on the way.
    heard: Heard,
}

impl Pending {
    /// Whether this is what a worker answers about.
    fn is(&self, worker: u64, generation: u64) -> bool {
        self.worker == worker && self.site.bundle.generation == generation
    }
}

struct Parent {
    setup: Setup,
    journal: Journal,
    signals: Signals,
    pid_file: Option<PidFile>,
    upgrade: Upgrade,
    /// What is being served.
    site: Site,
    pending: Option<Pending>,
    /// The serving worker, older ones that drain, and a new one that starts; dozens at most.
    workers: Vec<Worker>,
    /// The number of the worker started last.
    last_id: u64,
    leaving: Leaving,
    /// A reload that came while another was pending.
    reload_again: bool,
    /// WINCH: no worker is wanted until HUP.
    resting: bool,
    /// Deaths in a row of workers that did not live long.
    deaths: u32,
    /// When the next worker may be started, if one is missing.
    respawn_at: Option<u64>,
    /// Whether any worker has come as far as serving.
    has_served: bool,
    /// Logs were opened again while a reload was pending.
    reopen_again: bool,
    failed: bool,
    desk: Desk,
    notify: Notify,
}

/// Runs the parent until the last worker has gone.
pub fn run(
    setup: Setup,
    site: Site,
    journal: Journal,
    signals: Signals,
    pid_file: Option<PidFile>,
    (upgrade, desk): (Upgrade, Desk),
) -> ExitCode {
    let mut parent = Parent {
        setup,
        journal,
        signals,
        pid_file,
        upgrade,
        site,
        pending: None,
        workers: Vec::new(),
        last_id: 0,
        leaving: Leaving::No,
        reload_again: false,
        resting: false,
        deaths: 0,
        respawn_at: None,
        has_served: false,
        reopen_again: false,
        failed: false,
        desk,
        notify: Notify::from_environment(),
    };
    parent.journal.notice("start worker processes");
    parent.start_worker();
    while !parent.failed && (parent.leaving == Leaving::No || !parent.workers.is_empty()) {
        parent.turn();
    }
    parent.exit()
}

impl Parent {
    /// One turn of the loop: wait, then look at everything that may have happened.
    fn turn(&mut self) {
        self.wait();
        for arrived in self.signals.pending() {
            self.signal(arrived);
        }
        for index in 0..self.workers.len() {
            self.answers(index);
        }
        self.reap();
        self.operators();
        let now = clock::mono().0;
        if matches!(self.leaving, Leaving::Fast(deadline) if now >= deadline) {
            self.workers.iter_mut().for_each(Worker::kill);
        }
        if self.respawn_at.is_some_and(|at| now >= at) {
            self.respawn_at = None;
            self.start_worker();
        }
    }

    fn wait(&mut self) {
        let now = clock::mono().0;
        let kill_at = match self.leaving {
            Leaving::Fast(deadline) => Some(deadline.max(now + 20)),
            _ => None,
        };
        let until = [kill_at, self.respawn_at].into_iter().flatten().min();
        let left = until.map(|at| Duration::from_millis(at.saturating_sub(now)));
        // A worker that is a thread ends without a signal.
        let left = if self.site.in_process() {
            Some(left.unwrap_or(HEALTHY).min(HEALTHY / 10))
        } else {
            left
        };
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        fds.extend(
            self.workers
                .iter()
                .filter(|worker| !worker.silent)
                .map(|worker| PollFd::new(worker, PollFlags::IN)),
        );
        self.desk.fds(&mut fds);
        poll(&mut fds, timeout.as_ref()).ok();
    }

    /// Sees to what has come over the control socket.
    fn operators(&mut self) {
        for (client, line) in self.desk.lines() {
            let current = self.workers.iter().find(|worker| !worker.leaving);
            let serving = current.is_some_and(|worker| worker.serving);
            let task = self.desk.line(client, &line, &self.site, serving);
            if let Task::Relay(client) = task {
                self.desk.relay(client, line, current);
            }
        }
    }

    fn signal(&mut self, arrived: Arrived) {
        let action = match arrived.signal {
            Signal::Quit => ", shutting down",
            Signal::Term | Signal::Int => ", exiting",
            Signal::Hup => ", reconfiguring",
            Signal::Usr1 => ", reopening logs",
            Signal::Winch if self.setup.daemonized => ", stop accepting connections",
            Signal::Usr2 if self.upgrade.is_blocked() => ", ignoring",
            Signal::Usr2 => ", changing binary",
            Signal::Winch | Signal::Chld => "",
        };
        self.journal.notice(&arrived.line(action));
        match arrived.signal {
            Signal::Quit => self.leave(Leaving::Gracefully),
            Signal::Term | Signal::Int => {
                let deadline = clock::mono().0 + STOP_GRACE.as_millis() as u64;
                self.leave(Leaving::Fast(deadline));
            }
            Signal::Hup => self.hup(),
            Signal::Usr1 => self.reopen(),
            Signal::Winch if self.setup.daemonized => {
                self.resting = true;
                self.dismiss(&Down::Quit);
            }
            Signal::Usr2 => self.change_binary(),
            Signal::Winch | Signal::Chld => {}
        }
    }

    fn leave(&mut self, how: Leaving) {
        if matches!(self.leaving, Leaving::Fast(_)) {
            return;
        }
        self.leaving = how;
        if !self.upgrade.is_blocked() {
            self.notify.stopping();
        }
        self.pending = None;
        self.respawn_at = None;
        self.dismiss(if how == Leaving::Gracefully {
            &Down::Quit
        } else {
            &Down::Stop
        });
        if how == Leaving::Gracefully {
            self.close_sockets();
        }
    }

    /// Tells every worker to go.
    fn dismiss(&mut self, how: &Down) {
        for worker in &mut self.workers {
            worker.leaving = true;
            // One that cannot be told is dead, which the next turn finds out.
            worker.send(how, &[]).ok();
        }
    }

    /// Removes the files of unix sockets, unless another process goes on listening on them.
    fn close_sockets(&mut self) {
        let shared = self.upgrade.shares_sockets();
        for bound in self.site.bound.drain(..) {
            if !shared {
                sockets::remove_file(&bound.address, &self.journal);
            }
        }
    }

    fn hup(&mut self) {
        if self.leaving != Leaving::No {
            return;
        }
        if self.resting {
            // The new binary did not please: the old one serves again, with what it had.
            self.resting = false;
            self.start_worker();
            self.desk.reload_begins();
            self.desk.reload_ended(&Ok(Vec::new()));
            self.notify.ready(self.site.bundle.generation);
            return;
        }
        if self.pending.is_some() {
            self.reload_again = true;
            return;
        }
        self.journal.notice("reconfiguring");
        self.reload();
    }

    /// Reads everything again. What cannot be served is told, and the old configuration stays.
    fn reload(&mut self) {
        self.desk.reload_begins();
        self.notify.reloading();
        let heard = Heard::default();
        let listening = Journal {
            listener: Some(heard.clone()),
            ..self.journal.clone()
        };
        match self.offer(&listening) {
            Some((site, worker)) => {
                self.pending = Some(Pending {
                    site,
                    worker,
                    heard,
                })
            }
            None => self.refused(&heard, ""),
        }
    }

    /// Reads everything again and hands it to a worker, whose number is returned.
    fn offer(&mut self, journal: &Journal) -> Option<(Site, u64)> {
        let mut site = Site::load(&self.setup, &self.site.bound, journal)?;
        self.desk.follow(&site, journal)?;
        site.bundle.generation = self.site.bundle.generation + 1;
        let way = site.way();
        let current = self.workers.iter().position(|worker| !worker.leaving);
        let asked = match current {
            Some(index) if !site.needs_new_worker(&self.site) => Some(index),
            _ => {
                self.respawn_at = None;
                self.spawn(way)
            }
        };
        let worker = &mut self.workers[asked?];
        if let Err(error) = site.send_to(worker) {
            let pid = worker.pid();
            // A message that was sent in part leaves a channel that nothing can follow.
            worker.kill();
            journal.emerg(&format!(
                "cannot hand the configuration to worker process {pid} {}",
                cause(&error)
            ));
            return None;
        }
        let id = worker.id;
        Some((site, id))
    }

    /// Tells who waits for the end of a reload that it came to nothing.
    fn refused(&mut self, heard: &Heard, more: &str) {
        let mut lines = heard.take();
        lines.extend((!more.is_empty()).then(|| format!("[emerg] {more}")));
        self.desk.reload_ended(&Err(lines.join("\n")));
        self.notify.kept(self.site.bundle.generation);
    }

    fn answers(&mut self, index: usize) {
        loop {
            let worker = &mut self.workers[index];
            match worker.receive() {
                Ok(Some(up)) => self.answer(index, up),
                Ok(None) => return,
                Err(error) => {
                    // Its end tells itself; only words that nobody can follow need a line of their own.
                    if !worker.silent && error.kind() == ErrorKind::InvalidData {
                        let pid = worker.pid();
                        self.journal.log(
                            Level::Alert,
                            &format!("worker process {pid}: {}", cause(&error)),
                        );
                        self.workers[index].kill();
                    }
                    self.workers[index].silent = true;
                    return;
                }
            }
        }
    }

    fn answer(&mut self, index: usize, up: Up) {
        let (id, pid) = (self.workers[index].id, self.workers[index].pid());
        match up {
            Up::Accepted(generation) => {
                self.workers[index].serving = true;
                self.has_served = true;
                self.desk.repeat(&self.workers[index]);
                // A worker that still starts answers about what it was started with first.
                if let Some(pending) = self.pending.take_if(|pending| pending.is(id, generation)) {
                    self.adopt(pending.site, index);
                    let warnings = pending.heard.take().join("\n").into_bytes();
                    self.desk.reload_ended(&Ok(warnings));
                    if std::mem::take(&mut self.reopen_again) {
                        self.reopen();
                    }
                }
                self.notify.ready(self.site.bundle.generation);
            }
            Up::Refused(generation, reason) => {
                self.journal.emerg(&reason);
                if let Some(pending) = self.pending.take_if(|pending| pending.is(id, generation)) {
                    self.refused(&pending.heard, &reason);
                }
                if !self.workers[index].serving {
                    self.workers[index].send(&Down::Stop, &[]).ok();
                }
            }
            Up::Drained(generation) => {
                // The words after the colon are what scripts wait for after a reload of nginx.
                self.journal.notice(&format!(
                    "generation {generation} of worker process {pid} exited with code 0"
                ));
            }
            Up::Told(client, text) => self.desk.told(client, &text),
        }
        if self.pending.is_none() && std::mem::take(&mut self.reload_again) {
            self.hup();
        }
    }

    /// The worker serves the new configuration: from now on it is ours too.
    fn adopt(&mut self, site: Site, index: usize) {
        let old = std::mem::replace(&mut self.site, site);
        self.journal = self.site.journal(&self.journal);
        self.site.take_stderr(&self.journal);
        for bound in &old.bound {
            if !self
                .site
                .bound
                .iter()
                .any(|kept| kept.address == bound.address)
            {
                sockets::remove_file(&bound.address, &self.journal);
            }
        }
        for (at, worker) in self.workers.iter_mut().enumerate() {
            if at != index && !worker.leaving {
                worker.leaving = true;
                worker.send(&Down::Quit, &[]).ok();
            }
        }
    }

    fn reopen(&mut self) {
        self.journal.notice("reopening logs");
        self.reopen_again = self.pending.is_some();
        self.site.reopen(&self.journal);
        self.journal = self.site.journal(&self.journal);
        self.site.take_stderr(&self.journal);
        let paths: Vec<_> = self
            .site
            .logs
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        let fds: Vec<BorrowedFd<'_>> = self
            .site
            .logs
            .iter()
            .map(|(_, file)| file.as_fd())
            .collect();
        let message = Down::Reopen(paths);
        for worker in &self.workers {
            if let Err(error) = worker.send(&message, &fds) {
                let pid = worker.pid();
                self.journal.log(
                    Level::Alert,
                    &format!("worker process {pid}: reopening logs {}", cause(&error)),
                );
            }
        }
    }

    /// Starts a worker and gives it what is being served.
    fn start_worker(&mut self) {
        let way = self.site.way();
        let Some(index) = self.spawn(way) else {
            self.deaths += 1;
            self.respawn_later();
            return;
        };
        if self.site.send_to(&self.workers[index]).is_err() {
            // It is dead or hangs: its end will tell, and another one follows.
            self.workers[index].kill();
        }
    }

    fn spawn(&mut self, way: Way) -> Option<usize> {
        self.last_id += 1;
        match Worker::start(self.setup.identity, way, self.last_id, clock::mono().0) {
            Ok(worker) => {
                self.journal
                    .notice(&format!("start worker process {}", worker.pid()));
                self.workers.push(worker);
                Some(self.workers.len() - 1)
            }
            Err(error) => {
                self.journal.log(
                    Level::Alert,
                    &format!("could not start a worker process {}", cause(&error)),
                );
                None
            }
        }
    }

    /// Collects processes that have ended, and replaces the worker if it should still be there.
    fn reap(&mut self) {
        if let Some(old) = self.upgrade.reap(&self.journal) {
            self.new_binary_gone(old);
        }
        let mut index = 0;
        while index < self.workers.len() {
            let Some(end) = self.workers[index].ended() else {
                index += 1;
                continue;
            };
            // Its last answers may still lie in the channel.
            self.answers(index);
            let worker = self.workers.remove(index);
            self.gone(&worker, end);
        }
    }

    fn gone(&mut self, worker: &Worker, end: End) {
        let (id, pid) = (worker.id, worker.pid());
        let level = if matches!(end, End::Signal(..)) && !worker.leaving {
            Level::Alert
        } else {
            Level::Notice
        };
        self.journal
            .log(level, &format!("worker process {pid} {end}"));
        self.desk.gone(id);
        if let Some(pending) = self.pending.take_if(|pending| pending.worker == id) {
            let text = format!(
                "worker process {pid} ended while it took the new configuration; the old one stays"
            );
            self.journal.emerg(&text);
            self.refused(&pending.heard, &text);
        }
        let others = self.workers.iter().any(|other| !other.leaving);
        if self.leaving != Leaving::No || self.resting || others {
            return;
        }
        if end == End::Code(CODE_FATAL) && !self.has_served {
            // It told why before it went. What does not work the first time works no better the second time.
            self.failed = true;
            return;
        }
        let lived = Duration::from_millis(clock::mono().0.saturating_sub(worker.since));
        self.deaths = if lived >= HEALTHY { 0 } else { self.deaths + 1 };
        self.respawn_later();
    }

    /// At once the first time, then after 100 ms, 200 ms, … up to ten seconds.
    fn respawn_later(&mut self) {
        let pause = match self.deaths {
            0 | 1 => Duration::ZERO,
            deaths => {
                (Duration::from_millis(100) * (1 << (deaths - 2).min(10))).min(RESPAWN_PAUSE_MAX)
            }
        };
        self.respawn_at = Some(clock::mono().0 + pause.as_millis() as u64);
    }

    fn change_binary(&mut self) {
        if self.leaving != Leaving::No {
            return;
        }
        if self.upgrade.is_blocked() {
            self.journal.log(
                Level::Crit,
                "the changing binary signal is ignored: you should shutdown or terminate before either old or new binary's process",
            );
            return;
        }
        self.journal.notice("changing binary");
        let Some(pid_file) = &mut self.pid_file else {
            self.journal.log(
                Level::Alert,
                "the binary cannot be changed without a pid file",
            );
            return;
        };
        self.upgrade
            .start(&self.setup, pid_file, &self.site.bound, &self.journal);
    }

    fn new_binary_gone(&mut self, end: End) {
        let _ = end;
        // The new one had the name of the control socket, and took it along.
        self.desk.follow(&self.site, &self.journal);
        self.notify.ready(self.site.bundle.generation);
        if let Some(pid_file) = &mut self.pid_file
            && let Err(error) = pid_file.step_back()
        {
            self.journal.log(
                Level::Alert,
                &format!("rename() of the pid file back failed {}", cause(&error)),
            );
        }
        if self.resting && self.leaving == Leaving::No {
            self.resting = false;
            self.start_worker();
        }
    }

    fn exit(mut self) -> ExitCode {
        self.workers.iter_mut().for_each(Worker::kill);
        self.close_sockets();
        self.desk.close();
        if let Some(pid_file) = self.pid_file.take() {
            let path = pid_file.path();
            if let Err(error) = pid_file.remove() {
                self.journal.log(
                    Level::Alert,
                    &format!("unlink() \"{}\" failed {}", path.display(), cause(&error)),
                );
            }
        }
        self.setup.clean_up();
        self.journal.notice("exit");
        if self.failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
