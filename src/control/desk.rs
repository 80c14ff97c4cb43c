//! What the parent says to the lines that come over the control socket, and what it remembers of them.
//!
//! Commands that shards answer go on to the worker. The socket itself is [`super::socket`]'s. Start at [`Desk::open`].

use rustix::event::PollFd;

use super::bundle::Down;
use super::crew::Worker;
use super::journal::{Journal, Level, cause};
use super::site::Site;
use super::socket::{self, Console, Wait};
use crate::config::model::Control;

/// Peers whose state an operator has set; far above what anybody does by hand.
const ORDERS_MAX: usize = 1024;

/// The parent's side of the control socket.
#[derive(Default)]
pub struct Desk {
    console: Option<Console>,
    /// Reloads that have begun, and the number of the last one that has ended.
    begun: u64,
    /// What operators have ordered about peers, by group and address: another worker is told again.
    orders: Vec<(String, String)>,
}

/// What a line asks of the parent itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing more.
    Done,
    /// To put this client's line to the worker.
    Relay(u64),
}

impl Desk {
    /// Listens where a configuration says. The socket that nobody asked for is done without when it cannot be made.
    pub fn open(site: &Site, journal: &Journal) -> Option<Self> {
        let mut desk = Self::default();
        desk.follow(site, journal)?;
        Some(desk)
    }

    /// Listens where another configuration says; on failure the old socket stays.
    pub fn follow(&mut self, site: &Site, journal: &Journal) -> Option<()> {
        let control = site.control();
        let asked_for = matches!(control, Control::At(..));
        let place = socket::place(control, &site.pid.0);
        let Some((path, mode)) = place else {
            self.close();
            return Some(());
        };
        if self
            .console
            .as_ref()
            .is_some_and(|console| console.is_at(&path, mode))
        {
            return Some(());
        }
        match Console::open(&path, mode) {
            Ok(console) => {
                self.close();
                self.console = Some(console);
                Some(())
            }
            Err(error) => {
                let text = format!(
                    "control socket \"{}\" cannot be made {}",
                    path.display(),
                    cause(&error)
                );
                if asked_for {
                    journal.emerg(&text);
                    return None;
                }
                journal.log(Level::Info, &text);
                Some(())
            }
        }
    }

    /// Stops listening.
    pub fn close(&mut self) {
        if let Some(console) = self.console.take() {
            console.close();
        }
    }

    /// What to wait for.
    pub fn fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Some(console) = &self.console {
            console.fds(fds);
        }
    }

    /// Lines that have come, with their clients.
    pub fn lines(&mut self) -> Vec<(u64, Vec<u8>)> {
        self.console
            .as_mut()
            .map(Console::lines)
            .unwrap_or_default()
    }

    /// Answers what the parent knows itself.
    pub fn line(&mut self, client: u64, line: &[u8], site: &Site, serving: bool) -> Task {
        let Some(console) = &mut self.console else {
            return Task::Done;
        };
        let pid = std::process::id();
        match line {
            b"hello" => {
                let state = if serving { "serving" } else { "starting" };
                let text = format!("{pid} {} {state}\n", site.bundle.generation);
                console.answer(client, &Ok(text.into_bytes()));
            }
            b"config" => console.answer(client, &Ok(site.dump())),
            // The answer now is the process that a signal has to go to; the verdict comes as a second one.
            b"verdict" => {
                let pid = pid.to_string().into_bytes();
                console.say(client, &Ok(pid), Wait::Reload(self.begun));
            }
            _ => return Task::Relay(client),
        }
        Task::Done
    }

    /// Puts a line to a worker.
    pub fn relay(&mut self, client: u64, line: Vec<u8>, worker: Option<&Worker>) {
        let Some(console) = &mut self.console else {
            return;
        };
        let ask = Down::Ask(client, line);
        match worker.map(|worker| (worker.id, worker.send(&ask, &[]))) {
            Some((id, Ok(()))) => {
                console.waits(client, Wait::Worker(id));
                self.remember(&ask);
            }
            Some((_, Err(error))) => {
                let text = format!("the worker process cannot be asked {}", cause(&error));
                console.answer(client, &Err(text));
            }
            None => console.answer(client, &Err("no worker process serves".to_owned())),
        }
    }

    /// Notes what is to be told to other workers as well.
    fn remember(&mut self, ask: &Down) {
        let Down::Ask(_, line) = ask else { return };
        let text = String::from_utf8_lossy(line).into_owned();
        let mut words = text.split_ascii_whitespace();
        if words.next() != Some("peer") {
            return;
        }
        let (Some(group), Some(address)) = (words.next(), words.next()) else {
            return;
        };
        for word in words {
            if word == "state=auto" {
                let peer = format!("{group} {address} ");
                self.orders.retain(|(known, _)| !known.starts_with(&peer));
                continue;
            }
            // What was said last about a peer's state, and about its weight, holds.
            let what = word.split_once('=').map_or(word, |(what, _)| what);
            let key = format!("{group} {address} {what}");
            self.orders.retain(|(known, _)| *known != key);
            if self.orders.len() < ORDERS_MAX {
                let line = format!("peer {group} {address} {word}");
                self.orders.push((key, line));
            }
        }
    }

    /// Tells a worker everything that was ordered. What it has no peer for is its own affair.
    pub fn repeat(&self, worker: &Worker) {
        for (_, line) in &self.orders {
            worker
                .send(&Down::Ask(0, line.clone().into_bytes()), &[])
                .ok();
        }
    }

    /// A worker has answered.
    pub fn told(&mut self, client: u64, text: &Result<Vec<u8>, String>) {
        if let Some(console) = &mut self.console {
            console.answer(client, text);
        }
    }

    /// A worker has gone, and will not answer.
    pub fn gone(&mut self, worker: u64) {
        let waits = Wait::Worker(worker);
        self.tell(
            |wait| wait == waits,
            &Err("the worker process has gone".to_owned()),
        );
    }

    /// A reload begins.
    pub fn reload_begins(&mut self) {
        self.begun += 1;
    }

    /// The reload that began last is over: with warnings at most, or for these reasons not.
    pub fn reload_ended(&mut self, verdict: &Result<Vec<u8>, String>) {
        let number = self.begun;
        self.tell(
            |wait| matches!(wait, Wait::Reload(after) if after < number),
            verdict,
        );
    }

    fn tell(&mut self, who: impl Fn(Wait) -> bool, what: &Result<Vec<u8>, String>) {
        let Some(console) = &mut self.console else {
            return;
        };
        for client in console.waiting(who) {
            console.answer(client, what);
        }
    }
}
