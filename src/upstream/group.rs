//! The groups of one generation on one shard: their peers, which may change at run time, and what each went through.
//!
//! Time enters as an argument and leaves as whole seconds, because nginx counts failures in seconds. Knows no
//! sockets and no configuration beyond [`GroupPlan`]. Start at [`Groups::begin`], which leads to
//! [`Selection`]; [`Groups::order`] and [`Groups::replace`] are how peers change; what other
//! shards must hear comes out of [`Groups::take_notes`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::balance::{Key, PeerState, Ramp, Settings};
use super::health::{HealthNote, Outbox};
use super::peers::{Kind, PeerSet, Target, configured, lines, tags};
use super::selection::Selection;
use crate::base::ids::{DenseId, IdVec};
use crate::base::time::Mono;
use crate::mail::peers::{Administrative, PeerOrder, PeerSetting};
use crate::mail::{Found, PeerChange};
use crate::plan::lines::{FoundPeer, LinePlan};
use crate::plan::{Checked, GroupId, GroupPlan, PeerAddr, PeerId, PeerPlan, Zone};

/// Settings of peers that are gone which one group remembers.
const ABSENT_MAX: usize = 1024;

/// All groups of one plan, with this shard's state.
pub struct Groups {
    groups: IdVec<GroupId, Rc<Group>>,
    outbox: Rc<Outbox>,
}

impl Groups {
    /// The groups of a plan. Of `before`, the groups that this shard had, peers of the same name keep what was set on
    /// them; in a group with a `zone` they keep their failures too.
    ///
    /// Differs from nginx: there a reload forgets failures, so that each one sends requests to dead peers again.
    pub fn new(plans: &IdVec<GroupId, GroupPlan>, before: Option<&Self>) -> Self {
        let outbox = Rc::new(Outbox::default());
        let groups = plans
            .enumerate()
            .map(|(id, plan)| {
                let before = before.iter().flat_map(|before| before.iter());
                let before = before.map(|(_, group)| &**group);
                let before = before.filter(|group| group.name == plan.name);
                Rc::new(Group::new(id, plan, &outbox, before))
            })
            .collect();
        Self { groups, outbox }
    }

    /// A group.
    pub fn group(&self, id: GroupId) -> &Rc<Group> {
        &self.groups[id]
    }

    /// The group of an `upstream` block, or of a `proxy_pass` to a host, by its name.
    pub fn find(&self, name: &[u8]) -> Option<(GroupId, &Rc<Group>)> {
        self.groups
            .enumerate()
            .find(|(_, group)| group.name == name)
    }

    /// All groups.
    pub fn iter(&self) -> impl Iterator<Item = (GroupId, &Rc<Group>)> {
        self.groups.enumerate()
    }

    /// Starts one request's way through a group. `tries_max` is `proxy_next_upstream_tries`, 0 for no bound.
    pub fn begin(&self, group: GroupId, key: Key<'_>, tries_max: u32, now: Mono) -> Selection {
        Selection::new(Rc::clone(&self.groups[group]), key, tries_max, now)
    }

    /// Sets something on the peers that an order means. Says how many there are.
    pub fn order(&self, order: &PeerOrder) -> usize {
        let groups = self.groups.iter().filter(|g| g.name == order.peer.group);
        groups
            .map(|group| {
                let set = group.set();
                let meant = set.targets().iter();
                let meant = meant.filter(|t| order.peer.fits(&t.server, &t.name));
                meant.map(|t| group.apply(t.id, order.setting)).count()
            })
            .sum()
    }

    /// Gives a group other peers, primaries first. Says whose idle connections are of no use any more, by
    /// [`Target::twin`].
    pub fn replace(&self, group: GroupId, peers: &[PeerPlan]) -> Vec<PeerId> {
        self.groups
            .get(group)
            .map(|group| group.replace(peers))
            .unwrap_or_default()
    }

    /// Takes over what was found for a `server` line of this plan. Says whose idle connections are of no use any more.
    pub fn learn(&self, plans: &IdVec<GroupId, GroupPlan>, found: &Found) -> Vec<PeerId> {
        match (self.groups.get(found.group), plans.get(found.group)) {
            (Some(group), Some(plan)) => group.learn(plan, found.line, &found.peers),
            _ => Vec::new(),
        }
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
        let set = group.set();
        let Some(at) = set.targets().iter().position(|t| t.tag == note.peer) else {
            return;
        };
        let peer = &mut group.peers.borrow_mut()[at];
        match note.change {
            PeerChange::Failed => _ = fail(peer, seconds(now)),
            PeerChange::Probing => peer.checked = seconds(now),
            PeerChange::Recovered => peer.recover(),
        }
    }
}

/// One group on one shard.
pub struct Group {
    /// Its id; none for the addresses that a name gave to one request.
    pub id: Option<GroupId>,
    /// Its name, which stands for the address in `$upstream_addr` when no peer was usable.
    pub name: Bytes,
    kind: Kind,
    set: RefCell<Rc<PeerSet>>,
    version: Cell<u32>,
    /// One for each peer of the set, in its order.
    pub(super) peers: RefCell<Vec<PeerState>>,
    /// Peers that take requests, as far as administrators are concerned.
    tries: Cell<u32>,
    next_id: Cell<u32>,
    /// `server` lines whose addresses are found while running.
    lines: Arc<[LinePlan]>,
    /// What was found, for each of them.
    found: RefCell<Vec<Box<[FoundPeer]>>>,
    /// What peers left behind that are gone, by their tags.
    absent: RefCell<HashMap<u64, PeerState>>,
    /// For a group with a `zone`: where failures are told to other shards.
    shared: Option<Shared>,
    /// What health checks mean for its peers.
    checked: Checked,
}

struct Shared {
    outbox: Rc<Outbox>,
    zone: Zone,
}

impl Group {
    /// The state of one planned group. Peers are ordered primaries first, as the plan promises.
    fn new<'a>(
        id: GroupId,
        plan: &GroupPlan,
        outbox: &Rc<Outbox>,
        before: impl Iterator<Item = &'a Self>,
    ) -> Self {
        let shared = plan.zone.as_ref().map(|zone| Shared {
            outbox: Rc::clone(outbox),
            zone: zone.clone(),
        });
        let kind = Kind::of(&plan.method);
        let mut group = Self::empty(Some(id), Bytes::copy_from_slice(&plan.name), kind, shared);
        group.checked = plan.checked;
        group.lines = Arc::clone(&plan.lines);
        *group.found.borrow_mut() = vec![Box::default(); plan.lines.len()];
        for before in before {
            let legacy = before.legacy(group.shared.is_some());
            let legacy = legacy
                .into_iter()
                .map(|(tag, state)| (tag, rechecked(state, plan.checked)));
            group.absent.borrow_mut().extend(legacy);
            group.go_on_from(before);
        }
        // The peers of the plan come first, so that their numbers are those of the plan.
        group.replace(plan.peers.as_slice());
        if group.found.borrow().iter().any(|found| !found.is_empty()) {
            group.replace(&group.all(plan));
        }
        group
    }

    fn empty(id: Option<GroupId>, name: Bytes, kind: Kind, shared: Option<Shared>) -> Self {
        Self {
            id,
            name,
            kind,
            set: RefCell::new(Rc::new(PeerSet::new(0, kind, [], &[]))),
            version: Cell::new(0),
            peers: RefCell::default(),
            tries: Cell::new(0),
            next_id: Cell::new(0),
            lines: Arc::default(),
            found: RefCell::default(),
            absent: RefCell::default(),
            shared,
            checked: Checked::default(),
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
                id: PeerId::from_index(i),
                tag: i as u64,
                name: address_text(&addr),
                server: Bytes::new(),
                addr,
                twin: PeerId::from_index(i),
                sid: Bytes::new(),
                backup: false,
                weight: 1,
                configured: Administrative::Up,
                slow_start: 0,
                conns: None,
            })
            .collect();
        let group = Self::empty(None, name, Kind::RoundRobin, None);
        group.tries.set(count(targets.len()));
        *group.peers.borrow_mut() = vec![PeerState::plain(); targets.len()];
        let weights = vec![1; targets.len()];
        *group.set.borrow_mut() = Rc::new(PeerSet::new(0, Kind::RoundRobin, targets, &weights));
        Rc::new(group)
    }

    /// The peers at present.
    pub fn set(&self) -> Rc<PeerSet> {
        Rc::clone(&self.set.borrow())
    }

    /// Counts the sets that the group has had.
    pub(super) fn version(&self) -> u32 {
        self.version.get()
    }

    /// Peers that are not `down`.
    pub(super) fn tries(&self) -> u32 {
        self.tries.get()
    }

    /// Number of peers, backups included.
    pub fn len(&self) -> usize {
        self.set.borrow().len()
    }

    /// Whether it has no peers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of a peer's state, for the status page and tests; none for a peer that is gone.
    pub fn peer(&self, peer: PeerId) -> Option<PeerState> {
        let at = self.set.borrow().position(peer)?;
        Some(self.peers.borrow()[at].clone())
    }

    /// Whether a peer is asked at present.
    pub fn is_up(&self, peer: PeerId, now: Mono) -> bool {
        let set = self.set.borrow();
        let Some(at) = set.position(peer) else {
            return false;
        };
        let peers = self.peers.borrow();
        let peer = &peers[at];
        let well = |p: &PeerState| p.well(seconds(now));
        peer.administrative == Administrative::Up
            && !peer.awaited
            && (set.single() || well(peer) || !peer.healthy && !peers.iter().any(well))
    }

    /// Lets a peer take requests, or only those of its sessions, or none, in place of what its `server` line says.
    pub fn set_administrative(&self, peer: PeerId, state: Administrative) {
        self.apply(peer, PeerSetting::Administrative(state));
    }

    /// Gives a peer another weight than its `server` line does.
    pub fn set_weight(&self, peer: PeerId, weight: u32) {
        self.apply(peer, PeerSetting::Weight(weight));
    }

    /// Says what the last health check found.
    pub fn set_healthy(&self, peer: PeerId, healthy: bool) {
        self.apply(peer, PeerSetting::Healthy(healthy));
    }

    /// Sets something on a peer; nothing happens when it is gone.
    pub fn apply(&self, peer: PeerId, setting: PeerSetting) {
        let set = self.set();
        let Some(at) = set.position(peer) else {
            return;
        };
        let mut peers = self.peers.borrow_mut();
        let (state, target) = (&mut peers[at], &set.targets()[at]);
        let (weight, well) = (state.weight, state.in_service());
        match setting {
            PeerSetting::Administrative(wanted) => state.ordered.administrative = Some(wanted),
            PeerSetting::Weight(wanted) => state.ordered.weight = Some(wanted.max(1)),
            PeerSetting::Healthy(healthy) => {
                if healthy && !state.healthy {
                    // What requests found before is older news.
                    state.fails = 0;
                }
                (state.healthy, state.awaited) = (healthy, false);
            }
            PeerSetting::Configured => state.ordered = Settings::default(),
        }
        state.obey(target.weight, target.configured);
        if state.in_service() && !well {
            state.ramp = Ramp::Due;
        }
        let other = state.weight != weight;
        self.count_tries(&peers);
        if other {
            let version = self.version.get() + 1;
            let set = set.reweighed(version, self.kind, &weights(&peers));
            *self.set.borrow_mut() = Rc::new(set);
            self.version.set(version);
        }
    }

    fn count_tries(&self, peers: &[PeerState]) {
        let up = |p: &&PeerState| p.administrative == Administrative::Up;
        self.tries.set(count(peers.iter().filter(up).count()));
    }

    /// Takes over what was found for lines that ask for the same.
    fn go_on_from(&self, before: &Self) {
        let known = before.found.borrow();
        for (line, found) in self.lines.iter().zip(&mut *self.found.borrow_mut()) {
            let same = before.lines.iter().position(|other| line.asks_like(other));
            if let Some(known) = same
                .and_then(|at| known.get(at))
                .filter(|_| found.is_empty())
            {
                found.clone_from(known);
            }
        }
    }

    /// The peers of the plan and those that were found, primaries first.
    fn all(&self, plan: &GroupPlan) -> Vec<PeerPlan> {
        let mut peers = plan.peers.as_slice().to_vec();
        for (line, found) in self.lines.iter().zip(&*self.found.borrow()) {
            peers.extend(line.peers(found));
        }
        peers.sort_by_key(|peer| peer.backup);
        peers
    }

    /// Other addresses were found for a line.
    fn learn(&self, plan: &GroupPlan, line: usize, found: &[FoundPeer]) -> Vec<PeerId> {
        match self.found.borrow_mut().get_mut(line) {
            Some(known) if **known != *found => *known = found.into(),
            _ => return Vec::new(),
        }
        self.replace(&self.all(plan))
    }

    /// What was found for a line so far.
    pub fn found(&self, line: usize) -> Box<[FoundPeer]> {
        let found = self.found.borrow();
        found.get(line).cloned().unwrap_or_default()
    }

    /// Takes other peers, primaries first. Those that were there keep their numbers, connections and state.
    fn replace(&self, plans: &[PeerPlan]) -> Vec<PeerId> {
        let old = self.set();
        let mut states: Vec<Option<PeerState>> = self.peers.take().into_iter().map(Some).collect();
        let places: HashMap<u64, usize> = old.targets().iter().map(|t| t.tag).zip(0..).collect();
        let mut twins: HashMap<PeerAddr, PeerId> = HashMap::new();
        let (mut targets, mut peers) = (Vec::new(), Vec::new());
        for (plan, tag) in plans.iter().zip(tags(plans)) {
            let place = places.get(&tag).copied();
            let known = place.and_then(|at| Some((&old.targets()[at], states[at].take()?)));
            let id = known.as_ref().map_or_else(|| self.new_id(), |(t, _)| t.id);
            let zone = self.shared.as_ref().map(|shared| &shared.zone);
            let mut target = Target::new(plan, tag, id, zone);
            let twin = known.as_ref().map_or(id, |(t, _)| t.twin);
            target.twin = *twins.entry(plan.addr.clone()).or_insert(twin);
            let before = known.map(|(_, state)| state);
            let before = before.or_else(|| self.absent.borrow_mut().remove(&tag));
            peers.push(state(plan, before, self.checked.mandatory));
            targets.push(target);
        }
        for (target, state) in old.targets().iter().zip(states) {
            if let Some(state) = state.filter(|s| s.ordered != Settings::default()) {
                self.remember(target.tag, state.forgetful(false));
            }
        }
        for (peer, line) in peers.iter_mut().zip(lines(&targets)) {
            peer.server = line;
        }
        self.count_tries(&peers);
        let version = self.version.get() + 1;
        let set = PeerSet::new(version, self.kind, targets, &weights(&peers));
        let stays = |twin| set.targets().iter().any(|t| t.twin == twin);
        let mut gone: Vec<_> = old.targets().iter().map(|t| t.twin).collect();
        gone.retain(|&twin| !stays(twin));
        gone.dedup();
        *self.peers.borrow_mut() = peers;
        *self.set.borrow_mut() = Rc::new(set);
        self.version.set(version);
        gone
    }

    fn new_id(&self) -> PeerId {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        PeerId(id)
    }

    fn remember(&self, tag: u64, state: PeerState) {
        let mut absent = self.absent.borrow_mut();
        if absent.len() < ABSENT_MAX {
            absent.insert(tag, state);
        }
    }

    /// What the same group of the next plan takes over, by the peers' tags.
    fn legacy(&self, failures: bool) -> HashMap<u64, PeerState> {
        let mut legacy = self.absent.borrow().clone();
        let set = self.set.borrow();
        for (target, state) in set.targets().iter().zip(&*self.peers.borrow()) {
            legacy.insert(target.tag, state.forgetful(failures));
        }
        legacy
    }

    /// Mails something about a peer, named by its tag, when the group is shared.
    pub(super) fn tell(&self, peer: u64, change: PeerChange) {
        if let (Some(shared), Some(group)) = (&self.shared, self.id) {
            let note = HealthNote {
                group,
                peer,
                change,
            };
            shared.outbox.push(note);
        }
    }
}

fn weights(peers: &[PeerState]) -> Vec<i64> {
    peers.iter().map(|p| p.weight).collect()
}

/// Books one failure. True when the peer is switched off.
pub(super) fn fail(peer: &mut PeerState, now: i64) -> bool {
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
pub(super) fn seconds(now: Mono) -> i64 {
    i64::try_from(now.0 / 1000).unwrap_or(i64::MAX / 2) + (1 << 32)
}

/// What is left of a state after a reload, as far as health checks are concerned.
fn rechecked(mut state: PeerState, checked: Checked) -> PeerState {
    if !checked.any || checked.forgetful {
        (state.healthy, state.awaited) = (true, checked.forgetful);
    }
    state
}

/// The state of a peer, which goes on from what it was before.
fn state(plan: &PeerPlan, before: Option<PeerState>, mandatory: bool) -> PeerState {
    let new = || PeerState {
        awaited: mandatory,
        ..PeerState::plain()
    };
    let mut state = PeerState {
        max_conns: plan.max_conns,
        max_fails: plan.max_fails,
        fail_timeout: i64::try_from(plan.fail_timeout.as_secs()).unwrap_or(i64::MAX / 2),
        ..before.unwrap_or_else(new)
    };
    state.obey(plan.weight, configured(plan));
    state
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
#[path = "group/tests.rs"]
mod tests;
