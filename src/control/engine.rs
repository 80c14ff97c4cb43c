//! The shards as the worker sees them: started from a bundle, swapped to another, told to go.
//!
//! Control's box is the last one of the post; shards answer into it. Start at [`Engine::start`].

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bundle::Bundle;
use super::{built, cores};
use crate::base::ids::DenseId;
use crate::base::time::Mono;
use crate::http::console;
use crate::mail::{Inbox, ListenSocket, Mail, NewPlan, Post, Target};
use crate::net::bell;
use crate::net::clock;
use crate::net::listener;
use crate::net::runtime::{self, Choice, Prefer};
use crate::net::tls::{Shelf, TlsSet};
use crate::observe::scribe::Files;
use crate::observe::{Counters, Scribe};
use crate::plan::{ListenerId, LogId, Plan};
use crate::shard::{self, Http, Parts, Room, Setup};

/// Log files by path.
pub type Logs = Files;

/// How long all shards may take to serve a new plan; they do it between two connections.
const SERVING_WAIT: Duration = Duration::from_secs(10);
/// How long a stop waits for shards to write what is buffered.
const STOP_WAIT: Duration = Duration::from_millis(500);
/// How long shards may take to answer an operator.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// What shards tell on their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The last connection of a replaced generation is done, on all shards.
    Drained(u64),
    /// All shards have finished after a quit.
    Finished,
    /// A shard ended that nobody told to.
    Lost(u16),
    /// What shards say to a line of an operator.
    Told(u64, Result<Vec<u8>, String>),
}

/// A line of an operator that shards have yet to answer.
struct Question {
    ticket: u64,
    left: usize,
    /// Answers by shard.
    parts: Vec<(u16, Vec<u8>)>,
    fault: Option<String>,
    until: Mono,
}

/// The running shards.
pub struct Engine {
    post: Post<Mail>,
    inbox: Inbox<Mail>,
    bell: OwnedFd,
    threads: Vec<Option<JoinHandle<io::Result<()>>>>,
    /// Writes the logs of all shards.
    scribe: Scribe,
    /// Where shards take their TLS from.
    shelf: Shelf,
    plan: Arc<Plan>,
    epoch: u64,
    /// Shards that have yet to serve the epoch.
    awaited: Vec<u16>,
    /// Replaced epochs, with the number of shards on which one still has exchanges.
    retiring: Vec<(u64, usize)>,
    leaving: bool,
    /// The core of each shard that has one to itself.
    cores: Vec<Option<usize>>,
    /// Connections are steered by core.
    steered: bool,
    /// What the shards are built of.
    built: Vec<String>,
    questions: Vec<Question>,
}

impl Engine {
    /// Starts all shards and waits until they serve.
    pub fn start(
        bundle: &Bundle,
        (plan, tls): (Plan, TlsSet),
        logs: &Logs,
        sockets: Vec<OwnedFd>,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("shards cannot be started: {error}");
        let count = usize::try_from(bundle.shards).unwrap_or(1).max(1);
        let choice = choose_driver(&plan)?;
        let bells = (0..=count)
            .map(|_| bell::event())
            .collect::<io::Result<Vec<_>>>()
            .map_err(failed)?;
        let (post, mut inboxes) = Post::new(bells);
        let Some(inbox) = inboxes.pop() else {
            return Err("shards without control".to_owned());
        };
        let bell = inbox.bell().map_err(failed)?;
        let pins = cores::pins(&plan.main, count);
        let cores = built::own_cores(&pins);
        let built = built::lines(&plan.main, &choice, &cores);
        let scribe = Scribe::start().map_err(failed)?;
        let shelf = Shelf::default();
        let mut threads = Vec::new();
        for ((inbox, pin), counters) in inboxes.into_iter().zip(pins).zip(Counters::shards(count)) {
            let setup = Setup {
                core: None,
                choice: choice.clone(),
                ring_entries: plan.main.engine.ring_entries,
                sockets_max: plan.main.worker_connections as usize,
                busy_poll: plan.main.engine.busy_poll,
                room: Room {
                    buffers: plan.main.engine.buffers.0,
                    buffer_bytes: plan.main.engine.buffers.1,
                    pipe_bytes: plan.main.engine.pipe_size,
                },
            };
            let scribe = scribe.clone();
            let shelf = shelf.clone();
            let make = move |parts: &Parts| {
                cores::pin(pin.as_ref());
                Http::new(parts, counters, scribe, seed()).taking_tls_from(shelf)
            };
            threads.push(Some(
                shard::start(setup, inbox, post.clone(), make).map_err(failed)?,
            ));
        }
        let plan = Arc::new(plan);
        let mut engine = Self {
            post,
            inbox,
            bell,
            threads,
            scribe,
            shelf,
            plan,
            epoch: bundle.generation,
            awaited: Vec::new(),
            retiring: Vec::new(),
            leaving: false,
            cores,
            steered: false,
            built,
            questions: Vec::new(),
        };
        engine.shelf.put(engine.epoch, Arc::new(tls));
        engine.hand_out(bundle, logs, sockets)?;
        Ok(engine)
    }

    /// What the shards are built of, for the log.
    #[must_use]
    pub fn built(&self) -> &[String] {
        &self.built
    }

    /// Puts another configuration in place of the one that is served, and waits until all shards serve it.
    pub fn swap(
        &mut self,
        bundle: &Bundle,
        (plan, tls): (Plan, TlsSet),
        logs: &Logs,
        sockets: Vec<OwnedFd>,
    ) -> Result<(), String> {
        if self.retiring.is_empty() {
            self.scribe.forget_others(&self.plan);
        }
        self.retiring.push((self.epoch, self.threads.len()));
        self.plan = Arc::new(plan);
        self.epoch = bundle.generation;
        self.shelf.put(self.epoch, Arc::new(tls));
        self.hand_out(bundle, logs, sockets)
    }

    fn hand_out(
        &mut self,
        bundle: &Bundle,
        logs: &Logs,
        sockets: Vec<OwnedFd>,
    ) -> Result<(), String> {
        // Shards find their places by number: those of a new plan are known before it arrives.
        let table = self.scribe.table(&self.plan, logs);
        for (log, lines) in &self.shelf.get(self.epoch).key_logs {
            let (sink, _) = table.sinks[LogId::from_index(*log)];
            lines.connect(self.scribe.taker(sink));
        }
        let mut shares: Vec<Vec<ListenSocket>> = self.threads.iter().map(|_| Vec::new()).collect();
        let steered = built::steered(&self.plan.main, &self.cores);
        for (slot, fd) in bundle.listeners.iter().zip(sockets) {
            let stat = rustix::fs::fstat(&fd)
                .map_err(|error| format!("fstat() of a listener failed ({error})"))?;
            let share = shares
                .get_mut(slot.shard as usize)
                .ok_or("a listener for a shard that does not exist")?;
            if self.steered || steered.is_some() {
                let cores = steered
                    .as_ref()
                    .and_then(|cores| cores.get(slot.shard as usize));
                // Steering is worth a try, and no error.
                listener::steer_by_core(&fd, cores.copied().flatten()).ok();
            }
            let listener = ListenerId(slot.listener);
            // A socket keeps its inode across processes and descriptors, so that it is known again after a reload.
            share.push(ListenSocket {
                key: stat.st_ino,
                listener,
                fd: Some(fd),
            });
        }
        self.steered = steered.is_some();
        self.awaited.clear();
        for (shard, sockets) in (0u16..).zip(shares) {
            let plan = NewPlan {
                epoch: self.epoch,
                plan: Arc::clone(&self.plan),
                sockets,
            };
            self.awaited.push(shard);
            self.send(Target(shard), Mail::NewPlan(Box::new(plan)))?;
        }
        self.await_serving()
    }

    fn await_serving(&mut self) -> Result<(), String> {
        let until = clock::mono().after(SERVING_WAIT);
        let mut others = Vec::new();
        while !self.awaited.is_empty() {
            let now = clock::mono();
            if now >= until {
                return Err(format!("shard {} does not answer", self.awaited[0]));
            }
            self.wait(until.since(now).min(Duration::from_millis(50)));
            for mail in self.take() {
                match mail {
                    Mail::Serving { shard, epoch } if epoch == self.epoch => {
                        self.awaited.retain(|each| *each != shard.0)
                    }
                    mail => others.push(mail),
                }
            }
            if let Some((shard, reason)) = self.ended_thread() {
                return Err(format!("shard {shard} cannot run: {reason}"));
            }
        }
        // What came in between is looked at in its turn.
        for mail in others {
            self.post.send(self.inbox.own(), mail).ok();
        }
        Ok(())
    }

    /// A thread that has ended on its own, with its last words.
    fn ended_thread(&mut self) -> Option<(usize, String)> {
        for (shard, thread) in self.threads.iter_mut().enumerate() {
            if let Some(thread) = thread.take_if(|thread| thread.is_finished()) {
                let reason = match thread.join() {
                    Ok(Ok(())) => "it ended".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "it panicked".to_owned(),
                };
                return Some((shard, reason));
            }
        }
        None
    }

    fn send(&self, to: Target, mail: Mail) -> Result<(), String> {
        self.post
            .send(to, mail)
            .map_err(|mail| format!("shard {} takes no more mail ({})", to.0, mail.name()))
    }

    fn send_all(&self, mail: impl Fn() -> Mail) {
        for shard in 0..self.threads.len() {
            // A shard that takes no mail is found out by its thread.
            self.send(Target(u16::try_from(shard).unwrap_or(u16::MAX)), mail())
                .ok();
        }
    }

    /// Puts an operator's line to the shards that it concerns; what they say comes as an event.
    pub fn ask(&mut self, ticket: u64, line: &[u8]) -> Result<(), String> {
        let shards = if console::concerns_all(line) {
            self.threads.len()
        } else {
            1
        };
        for shard in 0..shards {
            let mail = Mail::Collect {
                to: self.inbox.own(),
                ticket,
                line: line.into(),
            };
            self.send(Target(u16::try_from(shard).unwrap_or(u16::MAX)), mail)?;
        }
        self.questions.push(Question {
            ticket,
            left: shards,
            parts: Vec::new(),
            fault: None,
            until: clock::mono().after(ANSWER_WAIT),
        });
        Ok(())
    }

    /// When the patience with the first unanswered question ends.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        let now = clock::mono();
        let left = self.questions.iter().map(|each| each.until.since(now));
        left.min()
    }

    fn collect(&mut self, shard: u16, ticket: u64, text: Result<Vec<u8>, String>) {
        let mut questions = self.questions.iter_mut();
        let Some(question) = questions.find(|question| question.ticket == ticket) else {
            return;
        };
        question.left = question.left.saturating_sub(1);
        match text {
            Ok(part) => question.parts.push((shard, part)),
            Err(fault) => question.fault = Some(fault),
        }
    }

    /// Questions that are answered, or that nobody answers any more.
    fn answered(&mut self, events: &mut Vec<Event>) {
        let now = clock::mono();
        let over = |question: &mut Question| question.left == 0 || question.until <= now;
        for mut question in self.questions.extract_if(.., over) {
            let answer = match question.fault {
                Some(fault) => Err(fault),
                None if question.left > 0 => Err("a shard does not answer".to_owned()),
                None => {
                    question.parts.sort_by_key(|(shard, _)| *shard);
                    Ok(question
                        .parts
                        .into_iter()
                        .flat_map(|(_, part)| part)
                        .collect())
                }
            };
            events.push(Event::Told(question.ticket, answer));
        }
    }

    /// Writes to other files from now on.
    pub fn reopen(&mut self, logs: &Logs) {
        self.send_all(|| Mail::ReopenLogs);
        self.scribe.reopen(logs);
    }

    /// Finishes what is open.
    pub fn quit(&mut self) {
        self.leaving = true;
        let within = self.plan.main.worker_shutdown_timeout;
        self.send_all(|| Mail::Drain { within });
    }

    /// Ends at once, with the logs written.
    pub fn stop(&mut self) {
        self.leaving = true;
        self.send_all(|| Mail::Stop);
        let until = clock::mono().after(STOP_WAIT);
        while clock::mono() < until
            && self
                .threads
                .iter()
                .flatten()
                .any(|thread| !thread.is_finished())
        {
            self.wait(Duration::from_millis(5));
            self.take();
        }
        self.scribe.sync();
    }

    fn wait(&self, time: Duration) {
        let timeout = Timespec::try_from(time).ok();
        poll(
            &mut [PollFd::new(&self.bell, PollFlags::IN)],
            timeout.as_ref(),
        )
        .ok();
    }

    fn take(&self) -> VecDeque<Mail> {
        let mut count = [0; 8];
        rustix::io::read(&self.bell, &mut count).ok();
        let mut letters = VecDeque::new();
        self.inbox.take(&mut letters);
        letters
    }

    /// What has happened since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for mail in self.take() {
            match mail {
                Mail::Retired { epoch, .. } => {
                    let known = self.retiring.iter_mut().find(|(each, _)| *each == epoch);
                    let left = known.map(|(_, left)| {
                        *left = left.saturating_sub(1);
                        *left
                    });
                    if left == Some(0) {
                        self.retiring.retain(|(each, _)| *each != epoch);
                        events.push(Event::Drained(epoch));
                    }
                }
                Mail::Ended { shard } => {
                    self.threads[usize::from(shard.0)] = None;
                    if !self.leaving {
                        events.push(Event::Lost(shard.0));
                    }
                }
                Mail::Collected { from, ticket, text } => self.collect(from.0, ticket, text),
                _ => {}
            }
        }
        self.answered(&mut events);
        while let Some((shard, _)) = self.ended_thread() {
            if !self.leaving {
                events.push(Event::Lost(u16::try_from(shard).unwrap_or(u16::MAX)));
            }
        }
        if self.leaving && self.threads.iter().all(Option::is_none) {
            self.scribe.sync();
            events.push(Event::Finished);
        }
        events
    }
}

impl AsFd for Engine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// A word that no other shard or process has: the standard library's hasher is seeded by the system.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn choose_driver(plan: &Plan) -> Result<Choice, String> {
    let asked = plan.main.event_method.as_ref().map(|method| method.lossy());
    let prefer = match (runtime::prefer_from_env(), asked.as_deref()) {
        (Prefer::Auto, Some("epoll")) => Prefer::Epoll,
        (prefer, _) => prefer,
    };
    let choice = runtime::probe(prefer);
    if prefer == Prefer::Ring && choice.driver != runtime::Driver::Ring {
        return Err(format!(
            "io_uring was asked for and is refused: {}",
            choice.reason
        ));
    }
    Ok(choice)
}
