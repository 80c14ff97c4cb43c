//! The peers of a group at one moment, in the order that balancers see them.
//!
//! A set never changes: when addresses or weights do, the group takes another one, and requests under way follow by
//! the peers' ids. Knows no failures and no requests. Start at [`PeerSet`].

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;

use super::balance::{Balancer, Ring};
use super::timing::LeastTime;
use crate::base::ids::DenseId;
use crate::mail::peers::Administrative;
use crate::plan::{Method, PeerAddr, PeerId, PeerPlan, Zone};

/// Where a peer listens and how it is called.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its number within the group on this shard, for as long as its address stays.
    pub id: PeerId,
    /// The hash of its name, the same on all shards and after a reload.
    pub tag: u64,
    /// What to connect to.
    pub addr: PeerAddr,
    /// What `$upstream_addr` and the log print.
    pub name: Bytes,
    /// The text of its `server` line, or the target of its SRV record.
    pub server: Bytes,
    /// The id of the first peer of the group with the same address: their idle connections are shared.
    pub twin: PeerId,
    /// What it is called in cookies and sessions; empty where nothing is sticky.
    pub sid: Bytes,
    /// It serves when no primary can.
    pub backup: bool,
    /// `weight=`, whatever was set since.
    pub weight: u32,
    /// `down` and `drain`, whatever was set since.
    pub configured: Administrative,
    /// `slow_start=` in milliseconds; 0 for none.
    pub(super) slow_start: u64,
    /// For a group with a `zone`: the requests that all shards have in progress on it.
    pub(super) conns: Option<Arc<AtomicU32>>,
}

impl Target {
    /// A peer of the plan; `tag` is its [`tag`], and `id` is new.
    pub(super) fn new(plan: &PeerPlan, tag: u64, id: PeerId, zone: Option<&Zone>) -> Self {
        Self {
            id,
            tag,
            addr: plan.addr.clone(),
            // Copied, so that a shard's clones count on the shard's own memory.
            name: Bytes::copy_from_slice(&plan.name),
            server: Bytes::copy_from_slice(&plan.server),
            twin: id,
            sid: Bytes::copy_from_slice(&plan.sid),
            backup: plan.backup,
            weight: plan.weight,
            slow_start: u64::try_from(plan.slow_start.as_millis()).unwrap_or(u64::MAX),
            configured: configured(plan),
            conns: zone.map(|zone| zone.counter(tag)),
        }
    }
}

/// What the `server` line says of taking requests.
pub(super) fn configured(plan: &PeerPlan) -> Administrative {
    if plan.down {
        Administrative::Down
    } else if plan.drain {
        Administrative::Drain
    } else {
        Administrative::Up
    }
}

/// The tag of a peer by its `server` text and address; `nth` tells apart those that have both in common.
pub fn tag(server: &[u8], address: &[u8], nth: u32) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write_usize(server.len());
    hasher.write(server);
    hasher.write(address);
    hasher.write_u32(nth);
    hasher.finish()
}

/// The tags of all peers of a list.
pub(super) fn tags(plans: &[PeerPlan]) -> Vec<u64> {
    let mut nth = std::collections::HashMap::new();
    let each = plans.iter().map(|plan| {
        let nth = nth.entry((&plan.server, &plan.name)).or_insert(0);
        *nth += 1;
        tag(&plan.server, &plan.name, *nth - 1)
    });
    each.collect()
}

/// The peers of a group at one moment, primaries first.
pub struct PeerSet {
    /// Counts the sets of the group.
    pub(super) version: u32,
    targets: Arc<[Target]>,
    /// Peers before this index are primaries, the rest backups.
    pub(super) primaries: usize,
    /// Sum of the weights of primaries and of backups.
    pub(super) total_weight: [u64; 2],
    pub(super) balancer: Balancer,
    /// A peer takes its share slowly after it came back.
    pub(super) ramps: bool,
}

/// How a group picks, without what a balancer computes from the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    RoundRobin,
    LeastConn,
    LeastTime(LeastTime),
    IpHash,
    Hash,
    Consistent,
    Random,
    RandomTwo,
}

impl Kind {
    pub(super) fn of(method: &Method) -> Self {
        match method {
            Method::RoundRobin => Self::RoundRobin,
            Method::LeastConn => Self::LeastConn,
            &Method::LeastTime {
                last_byte,
                inflight,
            } => Self::LeastTime(LeastTime {
                last_byte,
                inflight,
            }),
            Method::IpHash => Self::IpHash,
            Method::Hash(_) => Self::Hash,
            Method::Consistent(_) => Self::Consistent,
            Method::Random { two: false } => Self::Random,
            Method::Random { two: true } => Self::RandomTwo,
        }
    }
}

impl PeerSet {
    /// Lays the peers out. `weights` are those in force, one for each target.
    pub(super) fn new(
        version: u32,
        kind: Kind,
        targets: impl Into<Arc<[Target]>>,
        weights: &[i64],
    ) -> Self {
        let targets = targets.into();
        let primaries = targets.iter().take_while(|t| !t.backup).count();
        let balancer = match kind {
            Kind::RoundRobin => Balancer::RoundRobin,
            Kind::LeastConn => Balancer::LeastConn,
            Kind::LeastTime(rule) => Balancer::LeastTime(rule),
            Kind::IpHash => Balancer::IpHash,
            Kind::Hash => Balancer::Hash,
            Kind::Random => Balancer::Random,
            Kind::RandomTwo => Balancer::RandomTwo,
            Kind::Consistent => {
                let lines = lines(&targets);
                let servers = targets.iter().zip(lines).zip(weights);
                Balancer::Consistent(Ring::new(
                    servers.map(|((t, line), &weight)| (&t.server[..], line, weight)),
                ))
            }
        };
        let weigh = |weights: &[i64]| weights.iter().map(|w| w.unsigned_abs()).sum();
        Self {
            version,
            primaries,
            total_weight: [weigh(&weights[..primaries]), weigh(&weights[primaries..])],
            balancer,
            ramps: targets.iter().any(|t| t.slow_start > 0),
            targets,
        }
    }

    /// The same peers with other weights.
    pub(super) fn reweighed(&self, version: u32, kind: Kind, weights: &[i64]) -> Self {
        Self::new(version, kind, Arc::clone(&self.targets), weights)
    }

    /// The peers, primaries first.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Number of peers, backups included.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether it has no peers.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Where a peer stands in the order.
    pub fn position(&self, id: PeerId) -> Option<usize> {
        // The order of a list that never changed is that of the numbers.
        let at = id.index();
        if self.targets.get(at).is_some_and(|t| t.id == id) {
            return Some(at);
        }
        self.targets.iter().position(|t| t.id == id)
    }

    /// The only peer of a group is never switched off by failures.
    pub(super) fn single(&self) -> bool {
        self.targets.len() == 1 && self.primaries == 1
    }
}

/// For each peer the number of the first one with the same `server` text.
pub(super) fn lines(targets: &[Target]) -> Vec<u32> {
    let mut first = std::collections::HashMap::new();
    let each = targets.iter().zip(0..);
    each.map(|(t, at)| *first.entry(&t.server).or_insert(at))
        .collect()
}
