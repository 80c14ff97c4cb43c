//! The groups of one generation on one shard: what each peer went through, and a request's way through a group.
//!
//! Time enters as an argument and leaves as whole seconds, because nginx counts failures in seconds. Knows no
//! sockets and no configuration beyond [`GroupPlan`]. Start at [`Groups::begin`], then [`Selection::pick`] and
//! [`Selection::report`]; what other shards must hear comes out of [`Groups::take_notes`].

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::balance::{self, Balancer, Field, Key, PeerState, Ring, Tried, Walk};
use super::health::{HealthNote, Outbox};
use crate::base::ids::{DenseId, IdVec};
use crate::base::time::Mono;
use crate::mail::PeerChange;
use crate::plan::{GroupId, GroupPlan, Method, PeerAddr, PeerId, PeerPlan};

/// All groups of one plan, with this shard's state.
pub struct Groups {
    groups: IdVec<GroupId, Rc<Group>>,
    outbox: Rc<Outbox>,
}

impl Groups {
    /// Every peer starts healthy; state is not carried over from an older plan, as in nginx without a `zone`.
    pub fn new(plans: &IdVec<GroupId, GroupPlan>) -> Self {
        let outbox = Rc::new(Outbox::default());
        let groups = plans
            .enumerate()
            .map(|(id, plan)| Rc::new(Group::new(id, plan, &outbox)))
            .collect();
        Self { groups, outbox }
    }

    /// A group.
    pub fn group(&self, id: GroupId) -> &Rc<Group> {
        &self.groups[id]
    }

    /// Starts one request's way through a group. `tries_max` is `proxy_next_upstream_tries`, 0 for no bound.
    pub fn begin(&self, group: GroupId, key: Key<'_>, tries_max: u32, now: Mono) -> Selection {
        Selection::new(Rc::clone(&self.groups[group]), key, tries_max, now)
    }

    /// Hands out what other shards must hear of the peers of `zone`d groups. Call it once per turn of the loop.
    pub fn take_notes(&self, mut each: impl FnMut(HealthNote)) {
        self.outbox.drain(&mut each);
    }

    /// Takes over what another shard learned. A note of another plan (ids out of range) is ignored.
    pub fn apply(&self, note: HealthNote, now: Mono) {
        let Some(group) = self.groups.get(note.group) else {
            return;
        };
        if let Some(peer) = group.peers.borrow_mut().get_mut(note.peer.index()) {
            match note.change {
                PeerChange::Failed => _ = fail(peer, seconds(now)),
                PeerChange::Probing => peer.checked = seconds(now),
                PeerChange::Recovered => peer.fails = 0,
            }
        }
    }
}

/// Where a peer listens and how it is called.
#[derive(Clone, Debug)]
pub struct Target {
    /// What to connect to.
    pub addr: PeerAddr,
    /// What `$upstream_addr` and the log print.
    pub name: Bytes,
    /// First peer of the group with the same address: their idle connections are shared.
    pub twin: PeerId,
    /// What it is called in cookies and sessions; empty where nothing is sticky.
    pub sid: Bytes,
}

/// One group on one shard.
pub struct Group {
    /// Its id; none for the addresses that a name gave to one request.
    pub id: Option<GroupId>,
    /// Its name, which stands for the address in `$upstream_addr` when no peer was usable.
    pub name: Bytes,
    balancer: Balancer,
    targets: Vec<Target>,
    peers: RefCell<Vec<PeerState>>,
    /// Peers before this index are primaries, the rest backups.
    primaries: usize,
    /// Sum of the weights of primaries and of backups.
    total_weight: [u64; 2],
    /// Peers that are not `down`.
    tries: u32,
    /// For a group with a `zone`: where failures are told to other shards, and the requests that all shards have in
    /// progress on each peer.
    shared: Option<Shared>,
}

struct Shared {
    outbox: Rc<Outbox>,
    conns: Arc<[AtomicU32]>,
}

impl Group {
    /// The state of one planned group. Peers are ordered primaries first, as the plan promises.
    fn new(id: GroupId, plan: &GroupPlan, outbox: &Rc<Outbox>) -> Self {
        let numbers = numbers(plan.peers.as_slice(), |p, q| p.server == q.server);
        let twins = numbers_of_addresses(plan.peers.as_slice());
        let peers: Vec<_> = plan
            .peers
            .iter()
            .zip(&numbers)
            .map(|(p, &n)| state(p, n))
            .collect();
        let primaries = plan.peers.iter().take_while(|p| !p.backup).count();
        let balancer = match &plan.method {
            Method::RoundRobin => Balancer::RoundRobin,
            Method::LeastConn => Balancer::LeastConn,
            Method::IpHash => Balancer::IpHash,
            Method::Hash(_) => Balancer::Hash,
            Method::Consistent(_) => Balancer::Consistent(Ring::new(
                plan.peers
                    .iter()
                    .zip(&numbers)
                    .map(|(p, &n)| (&p.server[..], n, i64::from(p.weight))),
            )),
            Method::Random { two: false } => Balancer::Random,
            Method::Random { two: true } => Balancer::RandomTwo,
        };
        let targets = plan
            .peers
            .iter()
            .zip(twins)
            .map(|(p, twin)| Target {
                addr: p.addr.clone(),
                // Copied, so that a shard's clones count on the shard's own memory.
                name: Bytes::copy_from_slice(&p.name),
                twin: PeerId::from_index(twin as usize),
                sid: Bytes::copy_from_slice(&p.sid),
            })
            .collect();
        let weigh = |peers: &[PeerState]| peers.iter().map(|p| p.weight.unsigned_abs()).sum();
        Self {
            id: Some(id),
            name: Bytes::copy_from_slice(&plan.name),
            balancer,
            targets,
            primaries,
            total_weight: [weigh(&peers[..primaries]), weigh(&peers[primaries..])],
            tries: count(peers.iter().filter(|p| !p.down && !p.drain).count()),
            peers: RefCell::new(peers),
            shared: plan.zone.as_ref().map(|zone| Shared {
                outbox: Rc::clone(outbox),
                conns: Arc::clone(&zone.conns),
            }),
        }
    }

    /// A group for one request: the addresses of a name that was resolved for it.
    pub fn of_addresses(name: Bytes, addresses: &[SocketAddr]) -> Rc<Self> {
        Self::of_targets(name, addresses.iter().map(|&a| PeerAddr::Tcp(a)))
    }

    /// A group for one request from any kind of address.
    pub fn of_targets(name: Bytes, addresses: impl Iterator<Item = PeerAddr>) -> Rc<Self> {
        let targets: Vec<_> = addresses
            .enumerate()
            .map(|(i, addr)| Target {
                name: address_text(&addr),
                addr,
                twin: PeerId::from_index(i),
                sid: Bytes::new(),
            })
            .collect();
        let peer = PeerState {
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout: 10,
            down: false,
            drain: false,
            server: 0,
            current_weight: 0,
            effective_weight: 1,
            conns: 0,
            fails: 0,
            accessed: 0,
            checked: 0,
        };
        Rc::new(Self {
            id: None,
            name,
            balancer: Balancer::RoundRobin,
            primaries: targets.len(),
            total_weight: [targets.len() as u64, 0],
            tries: count(targets.len()),
            peers: RefCell::new(vec![peer; targets.len()]),
            targets,
            shared: None,
        })
    }

    /// The only peer of a group is never switched off by failures.
    fn single(&self) -> bool {
        self.targets.len() == 1 && self.primaries == 1
    }

    /// Where a peer listens.
    pub fn target(&self, peer: PeerId) -> &Target {
        &self.targets[peer.index()]
    }

    /// Number of peers, backups included.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether it has no peers.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// A copy of a peer's state, for the status page and tests.
    pub fn peer(&self, peer: PeerId) -> PeerState {
        self.peers.borrow()[peer.index()].clone()
    }

    /// Whether a peer is asked at present.
    pub fn is_up(&self, peer: PeerId, now: Mono) -> bool {
        let peer = &self.peers.borrow()[peer.index()];
        !peer.down && (self.single() || !peer.disabled(seconds(now)))
    }

    /// Learns how busy the peers are on all shards.
    fn look_around(&self, peers: &mut [PeerState]) {
        if let Some(shared) = &self.shared {
            for (peer, conns) in peers.iter_mut().zip(shared.conns.iter()) {
                peer.conns = conns.load(Ordering::Relaxed);
            }
        }
    }

    /// Counts a request on a peer. False when other shards have just taken the last of its `max_conns`.
    fn occupy(&self, peer: &mut PeerState, index: usize) -> bool {
        if let Some(shared) = &self.shared {
            let before = shared.conns[index].fetch_add(1, Ordering::Relaxed);
            if peer.max_conns > 0 && before >= peer.max_conns {
                shared.conns[index].fetch_sub(1, Ordering::Relaxed);
                peer.conns = before;
                return false;
            }
        }
        peer.conns += 1;
        true
    }

    fn vacate(&self, peer: &mut PeerState, index: usize) {
        peer.conns = peer.conns.saturating_sub(1);
        if let Some(shared) = &self.shared {
            shared.conns[index].fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn tell(&self, peer: usize, change: PeerChange) {
        if let (Some(shared), Some(group)) = (&self.shared, self.id) {
            shared.outbox.push(HealthNote {
                group,
                peer: PeerId::from_index(peer),
                change,
            });
        }
    }
}

/// What [`Selection::pick`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Send the request there.
    Peer(PeerId),
    /// No live upstreams.
    None,
}

/// How an attempt on a peer ended, as far as balancing is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered, or the request ended for reasons of its own.
    Ok,
    /// It is to blame.
    Failed,
    /// It answered well, but another one is asked (403, 404).
    Next,
    /// The connection had been closed before it could see the request. Says nothing about the peer, which may be
    /// picked again by the same request.
    ///
    /// Differs from nginx: there the peer of a stale pooled connection is blamed.
    Stale,
}

/// One request's way through a group. Dropping it gives its peer's slot back.
pub struct Selection {
    group: Rc<Group>,
    tried: Tried,
    walk: Walk,
    backup: bool,
    tries_left: u32,
    current: Option<PeerId>,
    again: bool,
    started: Mono,
    /// The peers that the request would stay with, among primaries and among backups.
    kept: [Option<u32>; 2],
}

impl Selection {
    /// Starts with all peers of a group, `tries_max` attempts at most when that is not 0.
    pub fn new(group: Rc<Group>, key: Key<'_>, tries_max: u32, now: Mono) -> Self {
        let tries = if tries_max == 0 {
            group.tries
        } else {
            group.tries.min(tries_max)
        };
        Self {
            tried: Tried::new(group.len()),
            walk: Walk::new(&group.balancer, key),
            backup: false,
            tries_left: tries,
            current: None,
            again: false,
            started: now,
            kept: [None; 2],
            group,
        }
    }

    /// The group.
    pub fn group(&self) -> &Rc<Group> {
        &self.group
    }

    /// Lets the request stay with the peer that is called so, as long as that can be asked.
    pub fn stay(&mut self, sid: &[u8]) {
        let group = &self.group;
        let (primaries, backups) = group.targets.split_at(group.primaries);
        self.kept = [primaries, backups].map(|targets| {
            let at = targets.iter().position(|target| *target.sid == *sid)?;
            u32::try_from(at).ok()
        });
    }

    /// The peer that was picked and not yet reported.
    pub fn current(&self) -> Option<PeerId> {
        self.current
    }

    /// Attempts that may follow: what is left of the peers, or of `proxy_next_upstream_tries`. During an attempt
    /// it counts that attempt too.
    pub fn tries_left(&self) -> u32 {
        self.tries_left
    }

    /// When the request began to look for a peer; `proxy_next_upstream_timeout` runs from here.
    pub fn started(&self) -> Mono {
        self.started
    }

    /// After [`Outcome::Stale`]: the next attempt must open a new connection.
    pub fn fresh_only(&self) -> bool {
        self.again
    }

    /// One more attempt, because a reused connection failed before it answered.
    pub(super) fn grant(&mut self) {
        self.tries_left += 1;
    }

    /// Picks the next peer and counts the request on it. `random` is one random word.
    pub fn pick(&mut self, now: Mono, random: u64) -> Pick {
        let now = seconds(now);
        let group = Rc::clone(&self.group);
        let mut peers = group.peers.borrow_mut();
        group.look_around(&mut peers);
        if group.single() {
            let peer = &mut peers[0];
            let kept = self.kept[0].is_some() && peer.usable_again(now);
            if !(kept || peer.usable_alone()) || !group.occupy(peer, 0) {
                return Pick::None;
            }
            return self.taken(0);
        }
        if !self.backup {
            if let Some(i) = self.pick_of(&mut peers[..group.primaries], 0, now, random) {
                return self.taken(i);
            }
            if group.primaries == group.len() {
                return Pick::None;
            }
            self.backup = true;
            self.tried.clear();
        }
        match self.pick_of(&mut peers[group.primaries..], group.primaries, now, random) {
            Some(i) => self.taken(i),
            None => Pick::None,
        }
    }

    fn taken(&mut self, index: usize) -> Pick {
        let peer = PeerId::from_index(index);
        self.current = Some(peer);
        Pick::Peer(peer)
    }

    /// Picks of primaries or backups; returns the index among all peers.
    fn pick_of(
        &mut self,
        peers: &mut [PeerState],
        first: usize,
        now: i64,
        random: u64,
    ) -> Option<usize> {
        let group = Rc::clone(&self.group);
        let total_weight = group.total_weight[usize::from(self.backup)];
        let kept = self.kept[usize::from(self.backup)].map(|at| at as usize);
        let mut kept = kept.filter(|&at| !self.tried.has(at) && peers[at].usable_again(now));
        let i = loop {
            let mut field = Field {
                peers: &mut *peers,
                total_weight,
                now,
            };
            let (balancer, tried) = (&group.balancer, &self.tried);
            let i = match kept.take() {
                Some(at) => {
                    balance::stay(balancer, &mut field, tried, at);
                    at
                }
                None => balance::pick(balancer, &mut field, tried, &mut self.walk, random)?,
            };
            // A peer that another shard has just filled counts as full from now on, so that this ends.
            if group.occupy(&mut peers[i], first + i) {
                break i;
            }
        };
        self.tried.set(i);
        let peer = &mut peers[i];
        if now - peer.checked > peer.fail_timeout {
            peer.checked = now;
            if peer.max_fails > 0 && peer.fails >= peer.max_fails {
                self.group.tell(first + i, PeerChange::Probing);
            }
        }
        Some(first + i)
    }

    /// Ends the attempt on the current peer. True when the peer is now switched off for its `fail_timeout`, which
    /// is worth a line in the log.
    pub fn report(&mut self, outcome: Outcome, now: Mono) -> bool {
        let Some(peer) = self.current else {
            return false;
        };
        if outcome == Outcome::Stale {
            self.release(peer, false);
            self.again = true;
            let first = if self.backup { self.group.primaries } else { 0 };
            self.tried.unset(peer.index() - first);
            return false;
        }
        self.again = false;
        if self.group.single() {
            self.release(peer, false);
            self.group.peers.borrow_mut()[0].fails = 0;
            self.tries_left = 0;
            return false;
        }
        let mut disabled = false;
        if outcome == Outcome::Failed {
            disabled = fail(
                &mut self.group.peers.borrow_mut()[peer.index()],
                seconds(now),
            );
            self.group.tell(peer.index(), PeerChange::Failed);
        }
        self.release(peer, outcome != Outcome::Failed);
        self.tries_left = self.tries_left.saturating_sub(1);
        disabled
    }

    /// Gives the slot on a peer back; a peer that passed its probe is well again.
    fn release(&mut self, peer: PeerId, passed: bool) {
        self.current = None;
        let mut peers = self.group.peers.borrow_mut();
        let state = &mut peers[peer.index()];
        self.group.vacate(state, peer.index());
        if passed && state.accessed < state.checked && state.fails > 0 {
            state.fails = 0;
            self.group.tell(peer.index(), PeerChange::Recovered);
        }
    }
}

impl Drop for Selection {
    fn drop(&mut self) {
        if let Some(peer) = self.current {
            self.release(peer, !self.group.single());
        }
    }
}

/// Books one failure. True when the peer is switched off.
fn fail(peer: &mut PeerState, now: i64) -> bool {
    peer.fails = peer.fails.saturating_add(1);
    peer.accessed = now;
    peer.checked = now;
    let mut disabled = false;
    if peer.max_fails > 0 {
        peer.effective_weight -= peer.weight / i64::from(peer.max_fails);
        disabled = peer.fails >= peer.max_fails;
    }
    peer.effective_weight = peer.effective_weight.max(0);
    disabled
}

/// Whole seconds, far from 0, so that "never" (0) is long ago from the start.
fn seconds(now: Mono) -> i64 {
    i64::try_from(now.0 / 1000).unwrap_or(i64::MAX / 2) + (1 << 32)
}

fn state(plan: &PeerPlan, server: u32) -> PeerState {
    let weight = i64::from(plan.weight);
    PeerState {
        weight,
        max_conns: plan.max_conns,
        max_fails: plan.max_fails,
        fail_timeout: i64::try_from(plan.fail_timeout.as_secs()).unwrap_or(i64::MAX / 2),
        down: plan.down,
        drain: plan.drain,
        server,
        current_weight: 0,
        effective_weight: weight,
        conns: 0,
        fails: 0,
        accessed: 0,
        checked: 0,
    }
}

/// For each item the number of the first one that is the same.
fn numbers<T>(items: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<u32> {
    items
        .iter()
        .map(|item| {
            count(
                items
                    .iter()
                    .position(|other| same(item, other))
                    .unwrap_or(0),
            )
        })
        .collect()
}

fn numbers_of_addresses(peers: &[PeerPlan]) -> Vec<u32> {
    numbers(peers, |p, q| p.addr == q.addr)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// An address as nginx prints it.
pub fn address_text(addr: &PeerAddr) -> Bytes {
    match addr {
        PeerAddr::Tcp(addr) => addr.to_string().into(),
        PeerAddr::Unix(path) => format!("unix:{}", path.display()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Rng;
    use crate::plan::expr::Expr;
    use crate::plan::{KeepalivePlan, Zone};
    use std::time::Duration;

    fn peer(port: u16) -> PeerPlan {
        let addr: SocketAddr = ([127, 0, 0, 1], port).into();
        PeerPlan {
            addr: PeerAddr::Tcp(addr),
            server: addr.to_string().into(),
            name: addr.to_string().into(),
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout: Duration::from_secs(10),
            backup: false,
            down: false,
            drain: false,
            sid: Bytes::new(),
        }
    }

    fn groups(peers: Vec<PeerPlan>, zone: bool) -> Groups {
        Groups::new(&vec![plan(peers, zone)].into())
    }

    fn plan(peers: Vec<PeerPlan>, zone: bool) -> GroupPlan {
        GroupPlan {
            name: "app".into(),
            explicit: true,
            method: Method::RoundRobin,
            sticky: None,
            zone: zone.then(|| Zone::new("z".into(), peers.len())),
            peers: peers.into(),
            keepalive: KeepalivePlan {
                idle_max: 32,
                local: true,
                requests_max: 1000,
                time_max: Duration::from_secs(3600),
                timeout: Duration::from_secs(60),
            },
        }
    }

    fn begin(groups: &Groups, now: u64) -> Selection {
        groups.begin(GroupId(0), Key::None, 0, Mono(now))
    }

    fn port(pick: Pick) -> Option<u32> {
        match pick {
            Pick::Peer(p) => Some(p.0),
            Pick::None => None,
        }
    }

    /// One request with one attempt; says which peer had it.
    fn once(groups: &Groups, outcome: Outcome, now: u64) -> Option<u32> {
        let mut selection = begin(groups, now);
        let picked = port(selection.pick(Mono(now), 0));
        selection.report(outcome, Mono(now));
        picked
    }

    #[test]
    fn a_failed_peer_rests_then_gets_one_probe() {
        let groups = groups(vec![peer(1), peer(2)], false);
        assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
        for now in (0..=10_999).step_by(1000) {
            assert_eq!(once(&groups, Outcome::Ok, now), Some(1), "{now}");
        }
        // Eleven whole seconds later: one request probes, and while it is out nobody else does.
        let probe = std::iter::repeat_with(|| {
            let mut selection = begin(&groups, 11_000);
            selection.pick(Mono(11_000), 0);
            selection
        });
        let mut probe = probe
            .take(6)
            .find(|s| s.current() == Some(PeerId(0)))
            .unwrap();
        assert_eq!(once(&groups, Outcome::Ok, 11_000), Some(1));
        assert_eq!(once(&groups, Outcome::Ok, 11_000), Some(1));
        probe.report(Outcome::Ok, Mono(11_500));
        assert_eq!(groups.group(GroupId(0)).peer(PeerId(0)).fails, 0);
        let picks: Vec<_> = (0..6).map(|_| once(&groups, Outcome::Ok, 12_000)).collect();
        assert!(picks.contains(&Some(0)), "{picks:?}");
    }

    #[test]
    fn a_failed_probe_switches_off_again() {
        let groups = groups(vec![peer(1), peer(2)], false);
        assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
        let mut probed = 0;
        for now in [11_000, 11_100, 11_200, 11_300, 12_000, 20_000, 21_900] {
            let mut selection = begin(&groups, now);
            let failing = selection.pick(Mono(now), 0) == Pick::Peer(PeerId(0));
            selection.report(
                if failing {
                    Outcome::Failed
                } else {
                    Outcome::Ok
                },
                Mono(now),
            );
            probed += u32::from(failing);
        }
        assert_eq!(probed, 1);
    }

    #[test]
    fn failures_shrink_the_effective_weight_and_picks_restore_it() {
        let mut heavy = peer(1);
        heavy.weight = 10;
        heavy.max_fails = 2;
        let groups = groups(vec![heavy, peer(2)], false);
        let state = || groups.group(GroupId(0)).peer(PeerId(0));
        assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
        assert_eq!((state().effective_weight, state().fails), (5, 1));
        once(&groups, Outcome::Ok, 0);
        assert_eq!(state().effective_weight, 6);
        assert_eq!(
            state().fails,
            1,
            "a success right after the failure proves nothing"
        );
        let mut selection = begin(&groups, 0);
        while selection.pick(Mono(0), 0) != Pick::Peer(PeerId(0)) {}
        assert!(
            selection.report(Outcome::Failed, Mono(0)),
            "second failure: temporarily disabled"
        );
    }

    #[test]
    fn max_fails_zero_never_switches_off() {
        let mut stubborn = peer(1);
        stubborn.max_fails = 0;
        let groups = groups(vec![stubborn, peer(2)], false);
        for _ in 0..4 {
            let mut selection = begin(&groups, 0);
            if selection.pick(Mono(0), 0) == Pick::Peer(PeerId(0)) {
                assert!(!selection.report(Outcome::Failed, Mono(0)));
            }
        }
        let picks: Vec<_> = (0..2).map(|_| once(&groups, Outcome::Ok, 0)).collect();
        assert!(picks.contains(&Some(0)), "{picks:?}");
    }

    #[test]
    fn one_server_alone_never_fails() {
        let groups = groups(vec![peer(1)], false);
        for _ in 0..5 {
            let mut selection = begin(&groups, 0);
            assert_eq!(selection.tries_left(), 1);
            assert_eq!(selection.pick(Mono(0), 0), Pick::Peer(PeerId(0)));
            assert!(!selection.report(Outcome::Failed, Mono(0)));
            assert_eq!(selection.tries_left(), 0);
        }
    }

    #[test]
    fn a_lone_server_that_is_down_or_full_is_no_upstream() {
        let mut down = peer(1);
        down.down = true;
        assert_eq!(once(&groups(vec![down], false), Outcome::Ok, 0), None);
        let mut small = peer(1);
        small.max_conns = 1;
        let groups = groups(vec![small], false);
        let mut first = begin(&groups, 0);
        assert_eq!(first.pick(Mono(0), 0), Pick::Peer(PeerId(0)));
        assert_eq!(begin(&groups, 0).pick(Mono(0), 0), Pick::None);
        drop(first);
        assert_eq!(begin(&groups, 0).pick(Mono(0), 0), Pick::Peer(PeerId(0)));
    }

    #[test]
    fn backups_serve_only_when_no_primary_is_usable() {
        let mut spare = peer(3);
        spare.backup = true;
        let groups = groups(vec![peer(1), peer(2), spare], false);
        let mut selection = begin(&groups, 0);
        assert_eq!(selection.tries_left(), 3);
        let mut order = Vec::new();
        while let Pick::Peer(p) = selection.pick(Mono(0), 0) {
            order.push(p.0);
            selection.report(Outcome::Failed, Mono(0));
        }
        assert_eq!(order, [0, 1, 2]);
        assert_eq!(selection.tries_left(), 0);
        assert_eq!(
            once(&groups, Outcome::Ok, 1000),
            None,
            "all three rest, the backup too"
        );
        for _ in 0..4 {
            assert_ne!(
                once(&groups, Outcome::Ok, 12_000),
                Some(2),
                "primaries come first again"
            );
        }
    }

    #[test]
    fn one_primary_with_a_backup_can_fail() {
        let mut spare = peer(2);
        spare.backup = true;
        let groups = groups(vec![peer(1), spare], false);
        assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
        assert_eq!(once(&groups, Outcome::Ok, 0), Some(1));
    }

    #[test]
    fn no_peer_is_tried_twice_and_tries_are_bounded() {
        let groups = groups(vec![peer(1), peer(2), peer(3)], false);
        let mut selection = groups.begin(GroupId(0), Key::None, 2, Mono(0));
        assert_eq!(selection.tries_left(), 2);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            assert!(seen.insert(port(selection.pick(Mono(0), 0))));
            selection.report(Outcome::Ok, Mono(0));
        }
        assert_eq!(selection.pick(Mono(0), 0), Pick::None);
        assert_eq!(selection.tries_left(), 0);
    }

    #[test]
    fn a_stale_connection_is_nobodys_fault() {
        let groups = groups(vec![peer(1), peer(2)], false);
        let mut selection = begin(&groups, 0);
        let Pick::Peer(first) = selection.pick(Mono(0), 0) else {
            unreachable!()
        };
        selection.report(Outcome::Stale, Mono(0));
        assert_eq!(groups.group(GroupId(0)).peer(first).fails, 0);
        assert!(selection.fresh_only());
        assert_eq!(selection.tries_left(), 2);
        let mut again = std::collections::BTreeSet::new();
        for _ in 0..2 {
            again.insert(port(selection.pick(Mono(0), 0)));
            selection.report(Outcome::Failed, Mono(0));
        }
        assert_eq!(
            again.len(),
            2,
            "both peers may be asked after a stale attempt"
        );
        assert!(!selection.fresh_only());
    }

    #[test]
    fn dropping_a_request_gives_its_slot_back() {
        let groups = groups(vec![peer(1), peer(2)], false);
        for _ in 0..10 {
            let mut selection = begin(&groups, 0);
            selection.pick(Mono(0), 0);
        }
        for p in [PeerId(0), PeerId(1)] {
            assert_eq!(groups.group(GroupId(0)).peer(p).conns, 0);
        }
    }

    #[test]
    fn zoned_groups_tell_other_shards() {
        let (here, there) = (
            groups(vec![peer(1), peer(2)], true),
            groups(vec![peer(1), peer(2)], true),
        );
        assert_eq!(once(&here, Outcome::Failed, 0), Some(0));
        let mut notes = Vec::new();
        here.take_notes(|n| notes.push(n));
        assert_eq!(notes.len(), 1);
        there.apply(notes[0], Mono(0));
        for _ in 0..3 {
            assert_eq!(once(&there, Outcome::Ok, 0), Some(1));
        }
        here.take_notes(|n| unreachable!("{n:?}"));
        let mut notes = Vec::new();
        for _ in 0..6 {
            once(&here, Outcome::Ok, 11_000);
        }
        here.take_notes(|n| notes.push(n.change));
        assert_eq!(notes, [PeerChange::Probing, PeerChange::Recovered]);
        let quiet = groups_quiet();
        quiet.take_notes(|n| unreachable!("{n:?}"));
    }

    fn groups_quiet() -> Groups {
        let quiet = groups(vec![peer(1), peer(2)], false);
        once(&quiet, Outcome::Failed, 0);
        quiet
    }

    #[test]
    fn zoned_groups_count_requests_over_all_shards() {
        let plan = |max_conns| {
            let mut small = peer(1);
            small.max_conns = max_conns;
            plan(vec![small, peer(2)], true)
        };
        let plans = vec![plan(1)].into();
        let (here, there) = (Groups::new(&plans), Groups::new(&plans));
        let mut first = begin(&here, 0);
        assert_eq!(first.pick(Mono(0), 0), Pick::Peer(PeerId(0)));
        for _ in 0..3 {
            assert_eq!(
                once(&there, Outcome::Ok, 0),
                Some(1),
                "the other shard holds its only slot"
            );
        }
        drop(first);
        assert_eq!(once(&there, Outcome::Ok, 0), Some(0));
        let conns = &plans[GroupId(0)].zone.as_ref().unwrap().conns;
        assert!(conns.iter().all(|c| c.load(Ordering::Relaxed) == 0));
    }

    /// Random requests over random groups: nothing is counted twice, lost, or given to a peer that must rest.
    #[test]
    fn simulated_traffic_keeps_the_books() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let count = 1 + rng.below(70) as u16;
            let mut peers: Vec<_> = (1..=count).map(peer).collect();
            for p in &mut peers {
                p.weight = 1 + rng.below(5) as u32;
                p.max_conns = rng.below(4) as u32;
                p.max_fails = rng.below(3) as u32;
                p.fail_timeout = Duration::from_secs(rng.below(4));
                p.down = rng.below(8) == 0;
                p.backup = rng.below(4) == 0;
            }
            peers.sort_by_key(|p| p.backup);
            let mut plan = plan(peers.clone(), rng.below(2) == 0);
            plan.method = match rng.below(5) {
                0 => Method::LeastConn,
                1 => Method::IpHash,
                2 => Method::Hash(Expr::default()),
                3 => Method::Random {
                    two: rng.below(2) == 0,
                },
                _ => Method::RoundRobin,
            };
            let client = matches!(plan.method, Method::IpHash);
            let groups = Groups::new(&vec![plan].into());
            simulate(&groups, &peers, &mut rng, client, seed);
        }
    }

    fn simulate(groups: &Groups, plans: &[PeerPlan], rng: &mut Rng, client: bool, seed: u64) {
        let group = groups.group(GroupId(0));
        let mut open: Vec<Selection> = Vec::new();
        let mut now = 0;
        for _ in 0..300 {
            now += rng.below(900);
            if open.is_empty() || rng.below(3) > 0 {
                let word = rng.word().to_le_bytes();
                let key = if client {
                    Key::Client(Some([10, word[0], word[1], 1].into()))
                } else {
                    Key::Text(&word)
                };
                let mut selection = groups.begin(GroupId(0), key, 0, Mono(now));
                let before: Vec<_> = (0..plans.len())
                    .map(|i| group.peer(PeerId(i as u32)))
                    .collect();
                let alone = plans.len() == 1;
                if let Pick::Peer(p) = selection.pick(Mono(now), rng.word()) {
                    let state = &before[p.0 as usize];
                    assert!(
                        state.usable(seconds(Mono(now))) || (alone && state.usable_alone()),
                        "seed {seed}"
                    );
                    open.push(selection);
                } else {
                    let usable = before.iter().any(|p| p.usable(seconds(Mono(now))));
                    assert!(!usable, "seed {seed}: somebody was usable");
                }
            } else {
                let mut selection = open.swap_remove(rng.below(open.len() as u64) as usize);
                match rng.below(5) {
                    0 => {}
                    1 => _ = selection.report(Outcome::Failed, Mono(now)),
                    2 => _ = selection.report(Outcome::Stale, Mono(now)),
                    3 => _ = selection.report(Outcome::Next, Mono(now)),
                    _ => _ = selection.report(Outcome::Ok, Mono(now)),
                }
            }
            for (i, plan) in plans.iter().enumerate() {
                let id = PeerId(i as u32);
                let state = group.peer(id);
                let held = open.iter().filter(|s| s.current() == Some(id)).count();
                assert_eq!(state.conns as usize, held, "seed {seed}");
                assert!(
                    (0..=state.weight).contains(&state.effective_weight),
                    "seed {seed}"
                );
                assert!(
                    plan.max_conns == 0 || state.conns <= plan.max_conns,
                    "seed {seed}"
                );
                assert!(!plan.down || held == 0, "seed {seed}");
            }
        }
    }

    #[test]
    fn twins_share_connections() {
        let groups = groups(vec![peer(1), peer(2), peer(1)], false);
        let group = groups.group(GroupId(0));
        let twins: Vec<_> = (0..3).map(|i| group.target(PeerId(i)).twin.0).collect();
        assert_eq!(twins, [0, 1, 0]);
    }

    #[test]
    fn addresses_of_one_request_form_a_group() {
        let addresses: Vec<SocketAddr> =
            vec![([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()];
        let group = Group::of_addresses("name".into(), &addresses);
        let mut selection = Selection::new(group, Key::None, 0, Mono(0));
        assert_eq!(selection.tries_left(), 2);
        let Pick::Peer(p) = selection.pick(Mono(0), 0) else {
            unreachable!()
        };
        assert_eq!(selection.group().target(p).name, "10.0.0.1:80");
    }
}
