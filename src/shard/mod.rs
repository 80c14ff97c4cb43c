//! What one core owns and runs: a pinned thread with its runtime, listeners, connections, deadlines and mail. Knows
//! how connections come, end, idle and are cut; what is said on them is the [`Serve`] that it is started with.
//!
//! Start at [`start`]. The life of a connection: accepted, then [`Serve::serve`] until it closes or has nothing to do;
//! then it is parked in a small task of its own, so that an idle connection costs no exchange, and served again when
//! bytes come.

mod accept;
mod drain;
mod pool;
mod run;
mod service;
#[cfg(test)]
mod warm_tests;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

pub use run::{Setup, start};
pub use service::Http;

use crate::mail::{Mail, Outbox, Target};
use crate::net::deadline::Deadlines;
use crate::net::listener::{Accepted, Listener};
use crate::net::notify::Notify;

/// What a shard does with its connections and its mail.
pub trait Serve: Sized + 'static {
    /// A connection between two requests. Small: thousands of them wait at once.
    type Parked: 'static;

    /// How a wait of a parked connection ended.
    type Woken: 'static;

    /// The first act of the shard, on its thread: duties are spawned here.
    fn started(shard: &Rc<Shard<Self>>);

    /// Serves a connection until it ends, or has nothing to do. A panic in it ends this connection only.
    fn serve(
        shard: Rc<Shard<Self>>,
        begin: Begin<Self>,
    ) -> impl Future<Output = After<Self::Parked>> + 'static;

    /// Waits until a parked connection has something to do: bytes, its end, its time. The future is most of what an
    /// idle connection costs.
    fn wait(parked: &mut Self::Parked) -> impl Future<Output = Self::Woken>;

    /// Takes a message that is not the shard's own matter. [`Mail::NewPlan`] is: it calls
    /// [`Shard::set_listeners`] with the sockets that come with it.
    fn mail(shard: &Rc<Shard<Self>>, mail: Mail);

    /// Something happened that a log should tell.
    fn event(shard: &Shard<Self>, event: Event<'_>);

    /// The last act of the shard: what is buffered is written.
    fn end(shard: &Rc<Shard<Self>>) -> impl Future<Output = ()>;
}

/// Where serving begins.
pub enum Begin<S: Serve> {
    /// A new connection.
    Accepted(Accepted),
    /// A parked one that has something to do.
    Parked(S::Parked, S::Woken),
}

/// What becomes of a connection.
pub enum After<P> {
    /// It is closed.
    Closed,
    /// It waits for its next request.
    Park(P),
    /// It goes on in a small future of its own until it is closed: a tunnel, or a connection of HTTP/2.
    Apart(Pin<Box<dyn Future<Output = ()>>>),
}

/// What a log should tell.
#[derive(Debug)]
pub enum Event<'a> {
    /// A connection's task panicked and was dropped.
    Panicked(&'a str),
    /// As many sockets are open as `worker_connections` allows; the new connection was closed.
    Full,
    /// Accepting failed for want of descriptors or memory, and rests for a moment.
    Short(&'a io::Error),
    /// Accepting failed in another way.
    AcceptFailed(&'a io::Error),
    /// A drain begins: connections should end after what they are doing.
    Draining,
    /// A drain ran out of time with so many connections left, or only the last bytes of so many, which are cut.
    Cut(usize),
}

/// What a shard is made of, before it has a [`Serve`].
pub struct Parts {
    /// Its number.
    pub index: Target,
    /// Deadlines of its sockets.
    pub deadlines: Rc<Deadlines>,
    /// Its mail.
    pub outbox: Rc<Outbox<Mail>>,
    /// How large its pools may be.
    pub room: Room,
}

/// How large the pools of a shard may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Free buffers of each size that are kept.
    pub buffers: usize,
    /// Bytes that these take at most.
    pub buffer_bytes: usize,
    /// Bytes of a pipe.
    pub pipe_bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            buffers: 1024,
            buffer_bytes: 4 << 20,
            pipe_bytes: crate::net::splice::PIPE_BYTES_DEFAULT,
        }
    }
}

/// One core's own.
pub struct Shard<S> {
    /// Its number.
    pub index: Target,
    /// What it does.
    pub service: S,
    /// Deadlines of its sockets.
    pub deadlines: Rc<Deadlines>,
    /// Its mail.
    pub outbox: Rc<Outbox<Mail>>,
    connections: Cell<usize>,
    accepted: Cell<u64>,
    /// Connections parked since memory was last given back.
    parked: Cell<usize>,
    sockets_max: Cell<usize>,
    draining: Cell<bool>,
    ended: Notify,
    listeners: RefCell<Vec<Open>>,
}

/// A listener that the shard accepts from.
struct Open {
    key: u64,
    listener: Rc<Listener>,
    stop: Rc<Notify>,
}

impl<S: Serve> Shard<S> {
    fn new(parts: Parts, sockets_max: usize, service: S) -> Rc<Self> {
        Rc::new(Self {
            index: parts.index,
            service,
            deadlines: parts.deadlines,
            outbox: parts.outbox,
            connections: Cell::new(0),
            accepted: Cell::new(0),
            parked: Cell::new(0),
            sockets_max: Cell::new(sockets_max),
            draining: Cell::new(false),
            ended: Notify::new(),
            listeners: RefCell::new(Vec::new()),
        })
    }

    /// Open client connections, parked ones included.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// Client connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Whether connections should close after what they are doing.
    pub fn draining(&self) -> bool {
        self.draining.get()
    }

    /// `worker_connections`: sockets of clients and origins together, as in nginx.
    pub fn set_sockets_max(&self, max: usize) {
        self.sockets_max.set(max);
    }
}
