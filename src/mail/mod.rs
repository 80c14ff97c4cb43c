//! The only way shards talk, with each other and with control: a closed enum of messages over bounded boxes. An enum,
//! not closures, so that a message can be logged, counted and replayed.
//!
//! Start with [`Mail`] (what is said) and [`Post`] (how it gets there). Knows no sockets: a box is woken by writing to
//! a descriptor that its owner waits on.

pub mod cache;
pub mod limit;
pub mod peers;
mod post;
mod seat;
pub mod session;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

pub use post::{BOX_MAX, Inbox, Outbox, Post};
pub use seat::Seat;

use crate::plan::lines::FoundPeer;
use crate::plan::{GroupId, ListenerId, Plan};

/// Who has a box: shards have the numbers from 0 on, control comes after the last of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target(pub u16);

/// One epoch of the configuration, as it is handed to a shard.
pub struct NewPlan {
    /// Counts up with each accepted configuration.
    pub epoch: u64,
    /// The compiled configuration, shared by all shards.
    pub plan: Arc<Plan>,
    /// This shard's listening sockets. One that the shard has already (same key) goes on undisturbed; those that are
    /// missing here are closed.
    pub sockets: Vec<ListenSocket>,
}

/// A listening socket on its way to a shard.
pub struct ListenSocket {
    /// Names the socket across epochs: the same key is the same socket.
    pub key: u64,
    /// The plan's listener that it serves now.
    pub listener: ListenerId,
    /// The socket; `None` when the shard has it already.
    pub fd: Option<OwnedFd>,
}

/// The health of a peer as one shard saw it, for the groups that share it (`zone`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// The epoch that the ids belong to.
    pub epoch: u64,
    /// The group.
    pub group: GroupId,
    /// The peer within the group: by the hash of its name, which is the same on all shards.
    pub peer: u64,
    /// What happened to it.
    pub change: PeerChange,
}

/// What happened to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerChange {
    /// One more failed try.
    Failed,
    /// Its rest is over and one request is trying it.
    Probing,
    /// It answered again after it had failed.
    Recovered,
}

/// What one shard found for a `server` line, for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The epoch that the numbers belong to.
    pub epoch: u64,
    /// The group.
    pub group: GroupId,
    /// Which of the group's [`LinePlan`](crate::plan::lines::LinePlan)s.
    pub line: usize,
    /// All addresses that it has now.
    pub peers: Box<[FoundPeer]>,
}

/// Every message there is.
pub enum Mail {
    /// Serve by this plan from now on; what has begun keeps its own.
    NewPlan(Box<NewPlan>),
    /// The shard has taken an epoch over.
    Serving {
        /// Who.
        shard: Target,
        /// Which.
        epoch: u64,
    },
    /// The last exchange of a replaced epoch is done on the shard.
    Retired {
        /// Who.
        shard: Target,
        /// Which.
        epoch: u64,
    },
    /// Accept nothing new, finish what is open, then end; cut what is left after `within`.
    Drain {
        /// `worker_shutdown_timeout`; `None` waits for ever.
        within: Option<Duration>,
    },
    /// Log files are about to be replaced: hand over what is buffered.
    ReopenLogs,
    /// A peer's health changed.
    PeerState(PeerState),
    /// Something is set on a peer.
    PeerOrder(Arc<peers::PeerOrder>),
    /// A `server` line has other addresses.
    Found(Arc<Found>),
    /// A line of an operator, to be answered to `to`.
    Collect {
        /// Who asks.
        to: Target,
        /// Comes back with the answer.
        ticket: u64,
        /// The line.
        line: Box<[u8]>,
    },
    /// What a shard says to that.
    Collected {
        /// Whose.
        from: Target,
        /// The question's.
        ticket: u64,
        /// The answer, or what is wrong with the line.
        text: Result<Vec<u8>, String>,
    },
    /// About limits of requests and connections.
    Limit(limit::Letter),
    /// About sessions that stay with a peer.
    Session(Box<session::Letter>),
    /// About stored answers.
    Cache(Box<cache::Letter>),
    /// The shard has ended.
    Ended {
        /// Who.
        shard: Target,
    },
    /// End at once.
    Stop,
}

impl Mail {
    /// The message's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NewPlan(_) => "new plan",
            Self::Serving { .. } => "serving",
            Self::Retired { .. } => "retired",
            Self::Drain { .. } => "drain",
            Self::ReopenLogs => "reopen logs",
            Self::PeerState(_) => "peer state",
            Self::PeerOrder(_) => "peer order",
            Self::Found(_) => "found",
            Self::Collect { .. } => "collect",
            Self::Collected { .. } => "collected",
            Self::Limit(_) => "limit",
            Self::Cache(_) => "cache",
            Self::Session(_) => "session",
            Self::Ended { .. } => "ended",
            Self::Stop => "stop",
        }
    }
}
