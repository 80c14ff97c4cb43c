//! What an exchange may touch on its shard, and the epoch it runs in.
//!
//! `http` never imports `shard`: a shard builds one [`Local`] and lends it, and a test builds one in
//! a few lines.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::access::Limits;
use super::access::Verified;
use super::certificates::Kept;
use super::content::files::kept::OpenFiles;
use super::content::files::small::SmallFiles;
use super::exchange::Exchange;
use super::filter::compress::codec::Idle;
use super::filter::userid::Sequence;
use super::health::Health;
use crate::base::buf::BufPool;
use crate::base::rng::Rng;
use crate::base::time::HTTP_DATE_LEN;
use crate::cache::Cache;
use crate::mail::Seat;
use crate::net::clock::Clock;
use crate::net::deadline::Deadlines;
use crate::net::splice::Pipes;
use crate::net::tls::TlsSet;
use crate::observe::recorder::Recorder;
use crate::observe::tally::Sheet;
use crate::observe::{Counters, Logs};
use crate::plan::location::LocationPlan;
use crate::plan::{LocationId, Plan};
use crate::upstream::{Groups, Pool, Resolvers, Sessions};

/// A shard's live reference to one plan, with the per-shard state that belongs to it. Dropped when
/// its last exchange ends.
pub struct Generation {
    /// The compiled configuration, shared by all shards.
    pub plan: Arc<Plan>,
    /// Balancer and failure state of the plan's groups on this shard.
    pub groups: Groups,
    /// Idle upstream connections of this epoch.
    pub pool: Pool,
    /// Resolver caches of this epoch.
    pub resolvers: Resolvers,
    /// Log sinks, by the plan's ids.
    pub logs: Logs,
    /// What `open_file_cache` keeps.
    pub open_files: OpenFiles,
    /// Certificates that were read at handshakes.
    pub certificates: Kept,
    /// TLS of the plan's servers, by their numbers.
    pub tls: Arc<TlsSet>,
    /// Small files that were read a moment ago.
    pub small_files: SmallFiles,
    /// Where requests and attempts are counted.
    pub sheet: Sheet,
    /// Number of the epoch.
    pub epoch: u64,
}

impl Generation {
    /// A plan in force on one shard, with nothing in its pools yet. Peers go on from the groups of the epoch before.
    pub fn new(
        plan: Arc<Plan>,
        tls: Arc<TlsSet>,
        logs: Logs,
        local: &Local,
        (epoch, before): (u64, Option<&Groups>),
    ) -> Self {
        Self {
            groups: Groups::new(&plan.groups, before),
            pool: Pool::new(&plan.groups),
            resolvers: Resolvers::new(&plan.resolvers, &local.deadlines),
            logs,
            open_files: OpenFiles::default(),
            certificates: Kept::default(),
            tls,
            small_files: SmallFiles::default(),
            sheet: local.counters.sheet(&plan, epoch),
            epoch,
            plan,
        }
    }
}

/// Everything of its shard that an exchange may use.
pub struct Local {
    /// Pooled buffers.
    pub buffers: BufPool,
    /// Pooled pipes.
    pub pipes: Pipes,
    /// Reads time.
    pub clock: Clock,
    /// Deadlines of all sockets of the shard.
    pub deadlines: Rc<Deadlines>,
    /// Counters, single writer.
    pub counters: Counters,
    /// The last requests.
    pub recorder: Recorder,
    /// Connections should close after what they are doing: a drain has begun.
    pub draining: Cell<bool>,
    rng: RefCell<Rng>,
    /// Exchanges of subrequests that are over, for the next ones.
    #[expect(
        clippy::vec_box,
        reason = "an exchange is handed on as a box and must not move"
    )]
    pub subrequests: RefCell<Vec<Box<Exchange>>>,
    /// Limits of requests and connections.
    pub limits: Rc<Limits>,
    /// Sessions that stay with a peer.
    pub sessions: Rc<Sessions>,
    /// Health checks.
    pub health: Rc<Health>,
    /// Stored answers.
    pub cache: Rc<Cache>,
    /// Idle encoders and decoders.
    pub codecs: Rc<Idle>,
    /// Numbers of `userid` cookies.
    pub uids: Sequence,
    /// Passwords that were found right.
    pub verified: Verified,
    /// The `Date` field's text, and the Unix second that it is for.
    pub date: Cell<(i64, [u8; HTTP_DATE_LEN])>,
}

impl Local {
    /// A shard's belongings; `seed` must differ between shards and between processes.
    #[must_use]
    pub fn new(clock: Clock, deadlines: Rc<Deadlines>, counters: Counters, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let uids = Sequence::new(rng.word() as u32);
        Self {
            buffers: BufPool::new(),
            pipes: Pipes::default(),
            clock,
            deadlines,
            counters,
            recorder: Recorder::default(),
            draining: Cell::new(false),
            rng: RefCell::new(rng),
            subrequests: RefCell::default(),
            limits: Limits::new(Seat::alone()),
            sessions: Sessions::new(Seat::alone()),
            health: Health::new(Seat::alone()),
            cache: Cache::new(Seat::alone()),
            codecs: Rc::default(),
            uids,
            verified: Verified::default(),
            date: Cell::new((i64::MIN, [0; HTTP_DATE_LEN])),
        }
    }

    /// The same on a shard that shares limits, stored answers and sessions with others.
    #[must_use]
    pub fn sharing(
        mut self,
        limits: Rc<Limits>,
        cache: Rc<Cache>,
        (sessions, health): (Rc<Sessions>, Rc<Health>),
    ) -> Self {
        self.limits = limits;
        self.cache = cache;
        self.sessions = sessions;
        self.health = health;
        self
    }

    /// The same with other pools.
    #[must_use]
    pub fn with_pools(mut self, buffers: BufPool, pipes: Pipes) -> Self {
        self.buffers = buffers;
        self.pipes = pipes;
        self
    }

    /// A random word, for balancing and `$request_id`.
    pub fn random(&self) -> u64 {
        self.rng.borrow_mut().word()
    }
}

/// A shard's buffers for a task that outlives the exchange which starts it.
pub struct Lent(pub Rc<Local>);

impl AsRef<BufPool> for Lent {
    fn as_ref(&self) -> &BufPool {
        &self.0.buffers
    }
}

/// What every stage is handed besides the exchange: copyable references.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The exchange's epoch.
    pub generation: &'a Rc<Generation>,
    /// Its plan.
    pub plan: &'a Plan,
    /// The shard.
    pub local: &'a Rc<Local>,
}

impl<'a> Cx<'a> {
    /// Joins an epoch and a shard.
    #[must_use]
    pub fn new(generation: &'a Rc<Generation>, local: &'a Rc<Local>) -> Self {
        Self {
            generation,
            plan: &generation.plan,
            local,
        }
    }

    /// A location of the plan.
    #[must_use]
    pub fn location(self, id: LocationId) -> &'a LocationPlan {
        &self.plan.locations[id]
    }
}
