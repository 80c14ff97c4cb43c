//! One request's way through a group: which peer, then which other, and how each attempt ended.
//!
//! A request keeps the set of peers that it began with until it must pick again. Start at [`Selection::pick`] and
//! [`Selection::report`].

use std::rc::Rc;

use super::balance::{self, Balancer, Field, Key, PeerState, SHARES, Tried, Walk};
use super::group::{Group, fail, seconds};
use super::peers::{PeerSet, Target};
use crate::base::time::Mono;
use crate::mail::PeerChange;
use crate::plan::PeerId;

/// What [`Selection::pick`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Send the request there.
    Peer(PeerId),
    /// No live upstreams.
    None,
    /// There are, and all of them have as many requests as they may.
    Full,
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

/// Among whom a request looks for a peer. It only goes on, never back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Primaries,
    Backups,
    /// Health checks found nobody well: they are not believed, because a peer that may be dead is better than none.
    Anybody {
        backup: bool,
    },
}

impl Stage {
    fn backup(self) -> bool {
        matches!(self, Self::Backups | Self::Anybody { backup: true })
    }
}

/// One request's way through a group. Dropping it gives its peer's slot back.
pub struct Selection {
    group: Rc<Group>,
    /// The peers as this request knows them.
    set: Rc<PeerSet>,
    tried: Tried,
    walk: Walk,
    stage: Stage,
    tries_left: u32,
    /// Where the peer that was picked and not yet reported stands in the set.
    current: Option<usize>,
    again: bool,
    started: Mono,
    /// For `least_time`: when the peer was picked, and how long its head took.
    picked: Mono,
    headed: Option<u64>,
    /// The request counts as one that the peer has not answered.
    inflight: bool,
    /// Where the peers stand that the request would stay with, among primaries and among backups.
    kept: [Option<u32>; 2],
}

impl Selection {
    /// Starts with all peers of a group, `tries_max` attempts at most when that is not 0.
    pub fn new(group: Rc<Group>, key: Key<'_>, tries_max: u32, now: Mono) -> Self {
        let tries = match tries_max {
            0 => group.tries(),
            max => group.tries().min(max),
        };
        let set = group.set();
        Self {
            tried: Tried::new(set.len()),
            walk: Walk::new(&set.balancer, key),
            stage: Stage::Primaries,
            tries_left: tries,
            current: None,
            again: false,
            started: now,
            picked: now,
            headed: None,
            inflight: false,
            kept: [None; 2],
            set,
            group,
        }
    }

    /// The group.
    pub fn group(&self) -> &Rc<Group> {
        &self.group
    }

    /// Lets the request stay with the peer that is called so, as long as that can be asked.
    pub fn stay(&mut self, sid: &[u8]) {
        let (primaries, backups) = self.set.targets().split_at(self.set.primaries);
        self.kept = [primaries, backups].map(|targets| {
            let at = targets.iter().position(|target| *target.sid == *sid)?;
            u32::try_from(at).ok()
        });
    }

    /// The peer that was picked and not yet reported.
    pub fn current(&self) -> Option<PeerId> {
        self.target().map(|target| target.id)
    }

    /// Where the peer that was picked listens. It stays known even when the group has let it go since.
    pub fn target(&self) -> Option<&Target> {
        self.current.map(|at| &self.set.targets()[at])
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

    /// The current peer took the connection, which clears it of earlier failures as an answer would: what follows may
    /// last for days.
    pub fn connected(&mut self) {
        let Some(at) = self.current else {
            return;
        };
        self.recover(at);
    }

    /// A peer that passed its probe is well again.
    fn recover(&self, at: usize) {
        let recovered = self.with_state(at, |state| {
            let recovered = state.accessed < state.checked && state.fails > 0;
            if recovered {
                state.recover();
            }
            recovered
        });
        if recovered == Some(true) {
            let tag = self.set.targets()[at].tag;
            self.group.tell(tag, PeerChange::Recovered);
        }
    }

    /// One more attempt, because a reused connection failed before it answered.
    pub(super) fn grant(&mut self) {
        self.tries_left += 1;
    }

    /// Picks the next peer and counts the request on it. `random` is one random word.
    pub fn pick(&mut self, moment: Mono, random: u64) -> Pick {
        if self.set.version != self.group.version() {
            self.follow();
        }
        let now = seconds(moment);
        let (group, set) = (Rc::clone(&self.group), Rc::clone(&self.set));
        let mut peers = group.peers.borrow_mut();
        look_around(&set, &mut peers);
        if set.ramps {
            for (peer, target) in peers.iter_mut().zip(set.targets()) {
                peer.come_back(target.slow_start, moment.0);
            }
        }
        if set.single() {
            let peer = &mut peers[0];
            let kept = self.kept[0].is_some() && peer.usable_again(now);
            if !(kept || peer.usable_alone()) || !occupy(&set.targets()[0], peer) {
                return none(&peers, now);
            }
            return self.taken(0);
        }
        loop {
            if let Some(at) = self.pick_of(&set, &mut peers, moment, random) {
                if let Balancer::LeastTime(rule) = &set.balancer {
                    (self.picked, self.headed) = (moment, None);
                    self.inflight = rule.inflight;
                    if rule.inflight {
                        peers[at].timing.begin(moment.0);
                    }
                }
                return self.taken(at);
            }
            let Some(next) = self.next_stage(&set, &peers, now) else {
                return none(&peers, now);
            };
            self.stage = next;
            self.tried.clear();
        }
    }

    /// Where to look when nobody of this stage is usable.
    fn next_stage(&self, set: &PeerSet, peers: &[PeerState], now: i64) -> Option<Stage> {
        let backups = set.primaries < set.len();
        let anybody = || {
            let ill = peers.iter().any(|p| !p.healthy);
            (ill && !peers.iter().any(|p| p.well(now))).then_some(Stage::Anybody { backup: false })
        };
        match self.stage {
            Stage::Primaries if backups => Some(Stage::Backups),
            Stage::Primaries | Stage::Backups => anybody(),
            Stage::Anybody { backup: false } if backups => Some(Stage::Anybody { backup: true }),
            Stage::Anybody { .. } => None,
        }
    }

    fn taken(&mut self, at: usize) -> Pick {
        self.current = Some(at);
        Pick::Peer(self.set.targets()[at].id)
    }

    /// The first of the peers that this stage is about, and the end of them.
    fn range(&self, set: &PeerSet) -> std::ops::Range<usize> {
        if self.stage.backup() {
            set.primaries..set.len()
        } else {
            0..set.primaries
        }
    }

    /// Goes over to the peers that the group has now.
    fn follow(&mut self) {
        let set = self.group.set();
        let (before, after) = (self.range(&self.set), self.range(&set));
        let mut tried = Tried::new(set.len());
        for (i, target) in self.set.targets()[before].iter().enumerate() {
            let at = set.position(target.id).filter(|at| after.contains(at));
            if let Some(at) = at.filter(|_| self.tried.has(i)) {
                tried.set(at - after.start);
            }
        }
        self.tried = tried;
        self.walk.restart(&set.balancer);
        let [primary, backup] = self.kept;
        let backup = backup.map(|at| at as usize + self.set.primaries);
        let kept = primary.map(|at| at as usize).or(backup);
        let kept = kept.map(|at| self.set.targets()[at].sid.clone());
        self.set = set;
        if let Some(sid) = kept {
            self.stay(&sid);
        }
    }

    /// Picks of primaries or backups; returns the index among all peers.
    fn pick_of(
        &mut self,
        set: &PeerSet,
        peers: &mut [PeerState],
        moment: Mono,
        random: u64,
    ) -> Option<usize> {
        let now = seconds(moment);
        let range = self.range(set);
        let first = range.start;
        let peers = &mut peers[range];
        let kept = self.kept[usize::from(self.stage.backup())].map(|at| at as usize);
        let mut kept = kept.filter(|&at| !self.tried.has(at) && peers[at].usable_again(now));
        let i = loop {
            let mut field = Field {
                peers: &mut *peers,
                total_weight: set.total_weight[usize::from(self.stage.backup())],
                now,
                now_ms: moment.0,
                scale: if set.ramps { SHARES } else { 1 },
                anybody: matches!(self.stage, Stage::Anybody { .. }),
            };
            let (balancer, tried) = (&set.balancer, &self.tried);
            let i = match kept.take() {
                Some(at) => {
                    balance::stay(balancer, &mut field, tried, at);
                    at
                }
                None => balance::pick(balancer, &mut field, tried, &mut self.walk, random)?,
            };
            // A peer that another shard has just filled counts as full from now on, so that this ends.
            if occupy(&set.targets()[first + i], &mut peers[i]) {
                break i;
            }
        };
        self.tried.set(i);
        let peer = &mut peers[i];
        if now - peer.checked > peer.fail_timeout {
            peer.checked = now;
            if peer.max_fails > 0 && peer.fails >= peer.max_fails {
                let target = &set.targets()[first + i];
                self.group.tell(target.tag, PeerChange::Probing);
            }
        }
        Some(first + i)
    }

    /// Ends the attempt on the current peer. True when the peer is now switched off for its `fail_timeout`, which
    /// is worth a line in the log.
    pub fn report(&mut self, outcome: Outcome, now: Mono) -> bool {
        let Some(at) = self.current else {
            return false;
        };
        self.book_time(at, outcome == Outcome::Ok, now);
        if outcome == Outcome::Stale {
            self.release(at, false);
            self.again = true;
            let first = self.range(&self.set).start;
            self.tried.unset(at - first);
            return false;
        }
        self.again = false;
        if self.set.single() {
            self.release(at, false);
            self.with_state(at, |state| state.fails = 0);
            self.tries_left = 0;
            return false;
        }
        let mut disabled = false;
        if outcome == Outcome::Failed {
            let failed = self.with_state(at, |state| fail(state, seconds(now)));
            disabled = failed.unwrap_or(false);
            let tag = self.set.targets()[at].tag;
            self.group.tell(tag, PeerChange::Failed);
        }
        self.release(at, outcome != Outcome::Failed);
        self.tries_left = self.tries_left.saturating_sub(1);
        disabled
    }

    /// The head of an answer has come.
    pub fn head_came(&mut self, now: Mono) {
        let (Some(at), Balancer::LeastTime(rule)) = (self.current, &self.set.balancer) else {
            return;
        };
        let took = now.ms_since(self.picked);
        self.headed = Some(took);
        if rule.inflight && !rule.last_byte && std::mem::take(&mut self.inflight) {
            self.with_state(at, |state| {
                state.timing.header(took);
                state.timing.end(now.0, took);
            });
        }
    }

    /// Books how long a peer took, for `least_time`. Only those count that did well, so that who fails fast is not liked.
    fn book_time(&mut self, at: usize, well: bool, now: Mono) {
        let Balancer::LeastTime(rule) = self.set.balancer else {
            return;
        };
        let took = now.ms_since(self.picked);
        let inflight = std::mem::take(&mut self.inflight);
        let headed = self.headed.take().filter(|_| well);
        self.with_state(at, |state| {
            if inflight {
                state.timing.end(now.0, took);
            }
            if let Some(head) = headed {
                state.timing.response(took);
                if !rule.inflight || rule.last_byte {
                    state.timing.header(head);
                }
            }
        });
    }

    /// Works on the state of a peer of this request's set, unless the group has let the peer go.
    fn with_state<T>(&self, at: usize, change: impl FnOnce(&mut PeerState) -> T) -> Option<T> {
        let at = if self.set.version == self.group.version() {
            at
        } else {
            self.group.set().position(self.set.targets()[at].id)?
        };
        Some(change(&mut self.group.peers.borrow_mut()[at]))
    }

    /// Gives the slot on a peer back; a peer that passed its probe is well again.
    fn release(&mut self, at: usize, passed: bool) {
        self.current = None;
        let target = &self.set.targets()[at];
        if let Some(conns) = &target.conns {
            conns.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        self.with_state(at, |state| state.conns = state.conns.saturating_sub(1));
        if passed {
            self.recover(at);
        }
    }
}

impl Drop for Selection {
    fn drop(&mut self) {
        if let Some(at) = self.current {
            if std::mem::take(&mut self.inflight) {
                // Without a clock: as if it had ended when the peer was last looked at.
                self.with_state(at, |state| state.timing.leave());
            }
            self.release(at, !self.set.single());
        }
    }
}

/// Why nobody was picked.
fn none(peers: &[PeerState], now: i64) -> Pick {
    let busy = |p: &PeerState| p.full() && (p.well(now) || peers.len() == 1 && p.in_service());
    if peers.iter().any(busy) {
        Pick::Full
    } else {
        Pick::None
    }
}

/// Learns how busy the peers are on all shards.
fn look_around(set: &PeerSet, peers: &mut [PeerState]) {
    for (peer, target) in peers.iter_mut().zip(set.targets()) {
        let Some(conns) = &target.conns else {
            // Either all peers of a group are counted together, or none is.
            return;
        };
        peer.conns = conns.load(std::sync::atomic::Ordering::Relaxed);
    }
}

/// Counts a request on a peer. False when other shards have just taken the last of its `max_conns`.
fn occupy(target: &Target, peer: &mut PeerState) -> bool {
    if let Some(conns) = &target.conns {
        let before = conns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if peer.max_conns > 0 && before >= peer.max_conns {
            conns.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            peer.conns = before;
            return false;
        }
    }
    peer.conns += 1;
    true
}
