//! The shards as the worker sees them: started from a bundle, swapped to another, told to go.
//!
//! Start at [`Engine::start`].

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::bundle::Bundle;
use crate::plan::Plan;

/// Log files by path.
pub type Logs = HashMap<PathBuf, Arc<File>>;

/// What shards tell on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The last connection of a replaced generation is done, on all shards.
    Drained(u64),
    /// All shards have finished after a quit.
    Finished,
}

/// The running shards.
pub struct Engine {
    event: OwnedFd,
    sockets: Vec<OwnedFd>,
    events: Vec<Event>,
    generation: u64,
}

impl Engine {
    /// Starts all shards.
    pub fn start(
        bundle: &Bundle,
        plan: Plan,
        logs: &Logs,
        sockets: Vec<OwnedFd>,
    ) -> Result<Self, String> {
        let _ = (logs, plan);
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
            .map_err(|e| e.to_string())?;
        Ok(Self {
            event,
            sockets,
            events: Vec::new(),
            generation: bundle.generation,
        })
    }

    /// Puts another configuration in place of the one that is served.
    pub fn swap(
        &mut self,
        bundle: &Bundle,
        plan: Plan,
        logs: &Logs,
        sockets: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let _ = (logs, plan);
        self.sockets = sockets;
        self.tell(Event::Drained(self.generation));
        self.generation = bundle.generation;
        Ok(())
    }

    /// Writes to other files from now on.
    pub fn reopen(&mut self, logs: &Logs) {
        let _ = logs;
    }

    /// Finishes what is open.
    pub fn quit(&mut self) {
        self.tell(Event::Finished);
    }

    /// Ends at once, with the logs written.
    pub fn stop(&mut self) {}

    fn tell(&mut self, event: Event) {
        self.events.push(event);
        rustix::io::write(&self.event, &1u64.to_ne_bytes()).ok();
    }

    /// What has happened since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

impl AsFd for Engine {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
