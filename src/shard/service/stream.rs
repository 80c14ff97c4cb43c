//! Connections that carry no requests: those of `stream` are told from the others when they come, and served by
//! `stream::serve` in a task of their own.

use std::rc::Rc;

use super::super::{After, Shard};
use super::{Client, Http, is_debugged};
use crate::http::local::Generation;
use crate::net::listener::Accepted;
use crate::observe::counters::{Count, Gauge};
use crate::plan::ListenerId;
use crate::plan::location::Content;
use crate::stream::{self, Arrival};

/// What a new connection is for.
pub(super) enum Sorted {
    /// Requests.
    Requests(Accepted),
    /// A session of `stream`.
    Session(Session),
}

/// A session that has not begun.
pub(super) struct Session {
    arrival: Arrival,
    generation: Rc<Generation>,
}

impl Http {
    /// Tells what a connection is for; none when nobody listens any more.
    pub(super) fn sort(&self, accepted: Accepted) -> Option<Sorted> {
        let generation = self.generation()?;
        let plan = &generation.plan;
        let home = self.home(ListenerId(accepted.listener as u32))?;
        let listener = home.now.get()?;
        let listening = plan.listeners.get(listener)?;
        let (_, first) = listening.hosts.first()?;
        // All servers of one listener come from the same block.
        let root = plan.servers[first.names.default_server()].root;
        if !matches!(plan.locations[root].content, Content::Session(_)) {
            return Some(Sorted::Requests(accepted));
        }
        let local = match accepted.local {
            Some(local) => local,
            None => accepted.stream.local_addr().ok()?,
        };
        let address = listening.address(local.ip());
        let arrival = Arrival {
            socket: accepted.stream,
            number: self.number(),
            debug: is_debugged(plan, &accepted.peer),
            peer: accepted.peer,
            local,
            listener,
            server: address.names.default_server(),
            proxy_protocol: address.proxy_protocol,
        };
        Some(Sorted::Session(Session {
            arrival,
            generation,
        }))
    }
}

impl Session {
    /// The session in a future of its own.
    pub(super) fn apart(self, shard: &Rc<Shard<Http>>) -> After<Client> {
        let Self {
            arrival,
            generation,
        } = self;
        let local = shard.service.local.clone();
        local.counters.count(Count::Accepted);
        local.counters.count(Count::Handled);
        let active = local.counters.hold(Gauge::Active);
        After::Apart(Box::pin(async move {
            stream::serve(arrival, generation, local).await;
            drop(active);
        }))
    }
}
