//! Which peer is next, by nginx's arithmetic for each method. Sees weights, counts, a clock second and a random
//! word; never addresses, sockets or configuration. [`super::group`] calls [`pick`] and does the book-keeping.

use std::net::IpAddr;

use super::crc32;
use super::timing::{LeastTime, Timing};
use crate::base::hash::{Crc32, crc32};
use crate::base::rng::Rng;
use crate::mail::peers::Administrative;

/// What an administrator set on a peer; `None` leaves the configuration in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// In place of `down` and `drain`.
    pub administrative: Option<Administrative>,
    /// In place of `weight=`.
    pub weight: Option<u32>,
}

/// What a balancer knows of one peer: facts of the configuration and its running state.
#[derive(Clone, Debug)]
pub struct PeerState {
    /// The weight in force.
    pub weight: i64,
    /// `max_conns=`; 0 is no limit.
    pub max_conns: u32,
    /// `max_fails=`; 0 switches failure accounting off.
    pub max_fails: u32,
    /// `fail_timeout=` in seconds.
    pub fail_timeout: i64,
    /// Whether it takes requests, as far as administrators are concerned.
    pub administrative: Administrative,
    /// What an administrator set.
    pub ordered: Settings,
    /// What the last health check found.
    pub healthy: bool,
    /// Its first health check is still to come, and it serves nobody before.
    pub awaited: bool,
    /// Number of the `server` line among the group's distinct ones; the ring of the consistent hash names it.
    pub server: u32,
    /// Smooth round robin's running weight.
    pub current_weight: i64,
    /// Weight after failures; recovers by one a pick.
    pub effective_weight: i64,
    /// Requests in progress.
    pub conns: u32,
    /// Its share while it comes back, of [`Field::scale`].
    pub share: i64,
    /// Whether it comes back.
    pub ramp: Ramp,
    /// How long it takes to answer.
    pub timing: Timing,
    /// Failures within the period.
    pub fails: u32,
    /// Second of the last failure.
    pub accessed: i64,
    /// Second of the last failure or of the start of a probe.
    pub checked: i64,
}

impl PeerState {
    /// A peer of weight 1 with nginx's defaults, to which nothing happened yet.
    pub fn plain() -> Self {
        Self {
            weight: 1,
            max_conns: 0,
            max_fails: 1,
            fail_timeout: 10,
            administrative: Administrative::Up,
            ordered: Settings::default(),
            healthy: true,
            awaited: false,
            server: 0,
            current_weight: 0,
            effective_weight: 1,
            conns: 0,
            share: 1,
            ramp: Ramp::Over,
            timing: Timing::default(),
            fails: 0,
            accessed: 0,
            checked: 0,
        }
    }

    /// It answers again after it had failed.
    pub(super) fn recover(&mut self) {
        if self.max_fails > 0 && self.fails >= self.max_fails {
            self.ramp = Ramp::Due;
        }
        self.fails = 0;
    }

    /// Takes requests, as far as administrators and health checks are concerned.
    pub(super) fn in_service(&self) -> bool {
        self.administrative == Administrative::Up && self.healthy && !self.awaited
    }

    /// Works out the share that the peer has at this moment (in milliseconds), coming back within `slow_start`.
    pub(super) fn come_back(&mut self, slow_start: u64, now: u64) {
        self.share = SHARES;
        if slow_start == 0 {
            return;
        }
        if self.ramp == Ramp::Due {
            self.ramp = Ramp::Since(now);
        }
        if let Ramp::Since(start) = self.ramp {
            let past = now.saturating_sub(start);
            if past >= slow_start {
                self.ramp = Ramp::Over;
            } else {
                let share =
                    u128::from(past) * SHARES.unsigned_abs() as u128 / u128::from(slow_start);
                self.share = i64::try_from(share).unwrap_or(SHARES).max(1);
            }
        }
    }

    /// What outlives the set or the plan that the peer was in: what was set on it, and its failures when asked for.
    pub(super) fn forgetful(&self, failures: bool) -> Self {
        let mut left = Self::plain();
        left.ordered = self.ordered;
        if failures {
            left.fails = self.fails;
            left.accessed = self.accessed;
            left.checked = self.checked;
        }
        left.healthy = self.healthy;
        left.awaited = self.awaited;
        left
    }

    /// Puts in force what the configuration says and what was set since.
    pub(super) fn obey(&mut self, weight: u32, configured: Administrative) {
        let weight = i64::from(self.ordered.weight.unwrap_or(weight));
        if self.weight != weight {
            self.weight = weight;
            self.effective_weight = weight;
        }
        self.administrative = self.ordered.administrative.unwrap_or(configured);
    }

    /// Is asked for more than sessions of its own, and nothing speaks against it but that it may be full.
    pub(super) fn well(&self, now: i64) -> bool {
        self.in_service() && !self.disabled(now)
    }

    /// Failed too often, too recently.
    pub(super) fn disabled(&self, now: i64) -> bool {
        self.max_fails > 0
            && self.fails >= self.max_fails
            && now - self.checked <= self.fail_timeout
    }

    /// As many requests as it may have.
    pub(super) fn full(&self) -> bool {
        self.max_conns > 0 && self.conns >= self.max_conns
    }

    /// May be given a request, leaving aside whether this request tried it before.
    pub fn usable(&self, now: i64) -> bool {
        self.well(now) && !self.full()
    }

    /// The same for a request that stays with it.
    pub fn usable_again(&self, now: i64) -> bool {
        let down = self.administrative == Administrative::Down;
        let out = down || !self.healthy || self.awaited;
        !out && !self.disabled(now) && !self.full()
    }

    /// May be given a request although it failed: the only peer of its group.
    pub fn usable_alone(&self) -> bool {
        self.administrative == Administrative::Up && !self.awaited && !self.full()
    }

    /// One step of smooth weighted round robin, and one of recovery.
    fn step(&mut self) -> i64 {
        let step = self.effective_weight * self.share;
        self.current_weight += step;
        if self.effective_weight < self.weight {
            self.effective_weight += 1;
        }
        step
    }
}

/// Parts that a whole share has, in groups where peers come back slowly.
pub(super) const SHARES: i64 = 100;

/// Whether a peer with `slow_start` comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ramp {
    /// It has its whole share.
    Over,
    /// It begins to, with the next pick.
    Due,
    /// It has begun to at this moment, in milliseconds.
    Since(u64),
}

/// Peers that one request has tried. The first 64 need no allocation.
#[derive(Debug, Default)]
pub struct Tried {
    first: u64,
    rest: Box<[u64]>,
}

impl Tried {
    /// Room for `count` peers, none tried.
    pub fn new(count: usize) -> Self {
        let rest = vec![0; count.div_ceil(64).saturating_sub(1)].into_boxed_slice();
        Self { first: 0, rest }
    }

    fn word(&mut self, peer: usize) -> &mut u64 {
        if peer < 64 {
            &mut self.first
        } else {
            &mut self.rest[peer / 64 - 1]
        }
    }

    /// Whether this peer was tried.
    pub fn has(&self, peer: usize) -> bool {
        let word = if peer < 64 {
            self.first
        } else {
            self.rest[peer / 64 - 1]
        };
        word >> (peer % 64) & 1 == 1
    }

    /// Marks a peer.
    pub fn set(&mut self, peer: usize) {
        *self.word(peer) |= 1 << (peer % 64);
    }

    /// Forgets a peer.
    pub fn unset(&mut self, peer: usize) {
        *self.word(peer) &= !(1 << (peer % 64));
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.first = 0;
        self.rest.fill(0);
    }
}

/// A balancing method with what it precomputed.
#[derive(Debug)]
pub enum Balancer {
    /// Smooth weighted round robin.
    RoundRobin,
    /// Fewest connections over weight.
    LeastConn,
    /// Least expected time to answer.
    LeastTime(LeastTime),
    /// By client address.
    IpHash,
    /// By a key, over weights.
    Hash,
    /// By a key, on a ring of points.
    Consistent(Ring),
    /// By weight at random.
    Random,
    /// The less busy of two at random.
    RandomTwo,
}

/// What a request's peer depends on.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// Nothing: round robin, least connections, random.
    None,
    /// The client's address; none for a unix socket.
    Client(Option<IpAddr>),
    /// The value of the `hash` key.
    Text(&'a [u8]),
}

/// One request's progress through a hash: where the next attempt goes on.
#[derive(Debug, Default)]
pub struct Walk {
    /// Points looked at in vain; beyond [`WALK_MAX`] round robin decides.
    misses: u32,
    /// Attempts that were mixed into the hash so far.
    rehash: u32,
    /// Running hash, or position on the ring.
    hash: u32,
    /// Checksum of the key.
    key_crc: u32,
    /// Length of the key, or of the address part that counts.
    key_length: usize,
    /// Octets of a client address.
    address: [u8; 16],
}

/// How often a hash is tried before round robin takes over.
const WALK_MAX: u32 = 20;

/// What the hash of a client's address begins with.
const CLIENT_SEED: u32 = 89;

impl Walk {
    /// The start of a request with this key.
    pub fn new(balancer: &Balancer, key: Key<'_>) -> Self {
        let mut walk = Self::default();
        match key {
            Key::None => {}
            Key::Client(ip) => {
                walk.hash = CLIENT_SEED;
                match ip {
                    Some(IpAddr::V6(ip)) => {
                        walk.address = ip.octets();
                        walk.key_length = 16;
                    }
                    Some(IpAddr::V4(ip)) => {
                        walk.address[..4].copy_from_slice(&ip.octets());
                        walk.key_length = 3;
                    }
                    None => walk.key_length = 3,
                }
            }
            Key::Text(text) => {
                walk.key_crc = crc32(text);
                walk.key_length = text.len();
                if let Balancer::Consistent(ring) = balancer {
                    walk.hash = ring.position(walk.key_crc);
                }
            }
        }
        walk
    }

    /// Begins again over other peers. The chances that were used stay used.
    pub(super) fn restart(&mut self, balancer: &Balancer) {
        self.rehash = 0;
        self.hash = match balancer {
            Balancer::Consistent(ring) => ring.position(self.key_crc),
            Balancer::IpHash => CLIENT_SEED,
            _ => 0,
        };
    }

    /// Counts a miss; true when the hash has had its chances.
    fn miss(&mut self) -> bool {
        self.misses += 1;
        self.misses > WALK_MAX
    }
}

/// The peers that a pick chooses from, and the moment.
pub struct Field<'a> {
    /// Primary or backup peers.
    pub peers: &'a mut [PeerState],
    /// Sum of their weights.
    pub total_weight: u64,
    /// The current second.
    pub now: i64,
    /// The moment, in milliseconds.
    pub now_ms: u64,
    /// What a whole share is.
    pub scale: i64,
    /// Health checks are not believed.
    pub anybody: bool,
}

impl Field<'_> {
    /// Whether a peer may be picked, leaving aside whether this request tried it before.
    fn usable(&self, peer: usize) -> bool {
        let peer = &self.peers[peer];
        peer.usable(self.now) || self.anybody && peer.usable_alone() && !peer.disabled(self.now)
    }
}

/// Picks a peer that this request has not tried; none when no peer is usable.
pub fn pick(
    balancer: &Balancer,
    field: &mut Field<'_>,
    tried: &Tried,
    walk: &mut Walk,
    random: u64,
) -> Option<usize> {
    let few = field.peers.len() < 2 || walk.misses > WALK_MAX;
    let picked = match balancer {
        Balancer::LeastConn => return least_conn(field, tried),
        &Balancer::LeastTime(rule) => return least_time(rule, field, tried),
        Balancer::IpHash if !few => ip_hash(field, tried, walk),
        Balancer::Hash if !few && walk.key_length > 0 => hash(field, tried, walk),
        Balancer::Consistent(ring) if !few && walk.key_length > 0 => {
            consistent(ring, field, tried, walk)
        }
        Balancer::Random if !few => random_one(field, tried, walk, Rng::new(random)),
        Balancer::RandomTwo if !few => random_two(field, tried, walk, Rng::new(random)),
        _ => None,
    };
    picked.or_else(|| round_robin(field, tried))
}

/// Books that a request stays with a peer, so that round robin gives the others their shares of those that do not.
pub fn stay(balancer: &Balancer, field: &mut Field<'_>, tried: &Tried, peer: usize) {
    if !matches!(balancer, Balancer::RoundRobin) {
        return;
    }
    let kept = &field.peers[peer];
    let others = i64::try_from(field.total_weight).unwrap_or(i64::MAX) - kept.weight;
    // One such request in a row counts, as in nginx.
    if kept.current_weight > -others * field.scale {
        let total = step_all(field, tried).1;
        field.peers[peer].current_weight -= total;
    }
}

fn round_robin(field: &mut Field<'_>, tried: &Tried) -> Option<usize> {
    let (best, total) = step_all(field, tried);
    field.peers[best?].current_weight -= total;
    best
}

/// One step of all peers that may be picked; the one whose turn it is, and the sum of the steps.
fn step_all(field: &mut Field<'_>, tried: &Tried) -> (Option<usize>, i64) {
    let mut best: Option<usize> = None;
    let mut total = 0;
    for i in 0..field.peers.len() {
        if tried.has(i) || !field.usable(i) {
            continue;
        }
        total += field.peers[i].step();
        if best.is_none_or(|b| field.peers[i].current_weight > field.peers[b].current_weight) {
            best = Some(i);
        }
    }
    (best, total)
}

fn least_conn(field: &mut Field<'_>, tried: &Tried) -> Option<usize> {
    // How much a peer has to do, not yet divided by its weight.
    least(field, tried, |peer| u64::from(peer.conns))
}

fn least_time(rule: LeastTime, field: &mut Field<'_>, tried: &Tried) -> Option<usize> {
    let (now, now_ms) = (field.now, field.now_ms);
    if rule.inflight {
        for i in 0..field.peers.len() {
            if !tried.has(i) && field.usable(i) {
                field.peers[i].timing.look(now_ms);
            }
        }
    }
    least(field, tried, |peer| {
        let past = now - peer.checked;
        let rests = if past > peer.fail_timeout {
            past / (peer.fail_timeout + 1)
        } else {
            0
        };
        peer.timing.eta(rule, peer.conns, rests)
    })
}

/// The peer with the least work for its weight; ties are broken by round robin.
fn least(field: &mut Field<'_>, tried: &Tried, work: impl Fn(&PeerState) -> u64) -> Option<usize> {
    let load = |p: &PeerState, q: &PeerState| {
        let of = |p: &PeerState, q: &PeerState| {
            i128::from(work(p)) * i128::from(q.weight) * i128::from(q.share)
        };
        of(p, q).cmp(&of(q, p))
    };
    let mut least: Option<usize> = None;
    let mut many = false;
    for (i, peer) in field.peers.iter().enumerate() {
        if tried.has(i) || !field.usable(i) {
            continue;
        }
        match least.map(|l| load(peer, &field.peers[l])) {
            None | Some(std::cmp::Ordering::Less) => {
                least = Some(i);
                many = false;
            }
            Some(std::cmp::Ordering::Equal) => many = true,
            Some(std::cmp::Ordering::Greater) => {}
        }
    }
    let least = least?;
    let mut best = least;
    let mut total = 0;
    if many {
        // The tie is broken by round robin among the peers that are as idle as the first one.
        for i in least..field.peers.len() {
            let tie = load(&field.peers[i], &field.peers[best]).is_eq();
            if tried.has(i) || !tie || !field.usable(i) {
                continue;
            }
            total += field.peers[i].step();
            if field.peers[i].current_weight > field.peers[best].current_weight {
                best = i;
            }
        }
    }
    field.peers[best].current_weight -= total;
    Some(best)
}

/// The peer that covers a position among the weights laid end to end.
fn by_weight(peers: &[PeerState], mut position: u64) -> usize {
    for (i, peer) in peers.iter().enumerate() {
        let weight = peer.weight.unsigned_abs();
        if position < weight {
            return i;
        }
        position -= weight;
    }
    0
}

fn ip_hash(field: &Field<'_>, tried: &Tried, walk: &mut Walk) -> Option<usize> {
    let mut hash = walk.hash;
    loop {
        for &octet in &walk.address[..walk.key_length] {
            hash = (hash * 113 + u32::from(octet)) % 6271;
        }
        let i = by_weight(field.peers, u64::from(hash) % field.total_weight);
        if !tried.has(i) && field.usable(i) {
            walk.hash = hash;
            return Some(i);
        }
        if walk.miss() {
            return None;
        }
    }
}

fn hash(field: &Field<'_>, tried: &Tried, walk: &mut Walk) -> Option<usize> {
    loop {
        // As Cache::Memcached distributes keys: attempts after the first put their number before the key.
        let crc = if walk.rehash == 0 {
            walk.key_crc
        } else {
            let mut digits = itoa::Buffer::new();
            crc32::join(
                crc32(digits.format(walk.rehash).as_bytes()),
                walk.key_crc,
                walk.key_length as u64,
            )
        };
        walk.hash = walk.hash.wrapping_add(crc >> 16 & 0x7fff);
        walk.rehash += 1;
        let i = by_weight(field.peers, u64::from(walk.hash) % field.total_weight);
        if !tried.has(i) && field.usable(i) {
            return Some(i);
        }
        if walk.miss() {
            return None;
        }
    }
}

fn consistent(ring: &Ring, field: &mut Field<'_>, tried: &Tried, walk: &mut Walk) -> Option<usize> {
    loop {
        let server = ring.server(walk.hash)?;
        let mut best: Option<usize> = None;
        let mut total = 0;
        for i in 0..field.peers.len() {
            if field.peers[i].server != server || tried.has(i) || !field.usable(i) {
                continue;
            }
            total += field.peers[i].step();
            if best.is_none_or(|b| field.peers[i].current_weight > field.peers[b].current_weight) {
                best = Some(i);
            }
        }
        if let Some(best) = best {
            field.peers[best].current_weight -= total;
            return Some(best);
        }
        walk.hash = walk.hash.wrapping_add(1);
        if walk.miss() {
            return None;
        }
    }
}

fn random_one(field: &Field<'_>, tried: &Tried, walk: &mut Walk, mut words: Rng) -> Option<usize> {
    loop {
        let i = by_weight(field.peers, words.below(field.total_weight));
        if !tried.has(i) && field.usable(i) {
            return Some(i);
        }
        if walk.miss() {
            return None;
        }
    }
}

fn random_two(field: &Field<'_>, tried: &Tried, walk: &mut Walk, mut words: Rng) -> Option<usize> {
    let mut first: Option<usize> = None;
    loop {
        let i = by_weight(field.peers, words.below(field.total_weight));
        if first != Some(i) && !tried.has(i) && field.usable(i) {
            let Some(j) = first else {
                first = Some(i);
                continue;
            };
            let (p, q) = (&field.peers[i], &field.peers[j]);
            let busier = i64::from(p.conns) * q.weight > i64::from(q.conns) * p.weight;
            return Some(if busier { j } else { i });
        }
        if walk.miss() {
            return None;
        }
    }
}

/// The points of the consistent hash, 160 for each unit of weight, in order.
#[derive(Debug)]
pub struct Ring {
    /// Hash and number of the `server` line.
    points: Vec<(u32, u32)>,
}

/// Points of a peer of weight 1.
const POINTS: usize = 160;

impl Ring {
    /// Lays out the points of `(server text, its number, weight)`.
    pub fn new<'a>(servers: impl Iterator<Item = (&'a [u8], u32, i64)>) -> Self {
        let mut points = Vec::new();
        for (text, number, weight) in servers {
            let (host, port) = host_and_port(text);
            let mut base = Crc32::new();
            [host, b"\0", port]
                .iter()
                .for_each(|part| base.update(part));
            let mut previous = 0_u32;
            let count = usize::try_from(weight).unwrap_or(0) * POINTS;
            points.extend((0..count).map(|_| {
                let mut point = base;
                point.update(&previous.to_le_bytes());
                previous = point.finish();
                (previous, number)
            }));
        }
        points.sort_by_key(|&(hash, _)| hash);
        points.dedup_by_key(|&mut (hash, _)| hash);
        Self { points }
    }

    /// Index of the first point at or after `hash`; one past the end means the first.
    fn position(&self, hash: u32) -> u32 {
        let index = self.points.partition_point(|&(point, _)| point < hash);
        u32::try_from(index).unwrap_or(0)
    }

    /// The `server` line that owns a position.
    fn server(&self, position: u32) -> Option<u32> {
        let index = (position as usize).checked_rem(self.points.len())?;
        Some(self.points[index].1)
    }
}

/// Splits a `server` text as Cache::Memcached::Fast does: the port is what follows the last colon when it is all
/// digits; a unix path has none.
fn host_and_port(text: &[u8]) -> (&[u8], &[u8]) {
    if text.len() >= 5 && text[..5].eq_ignore_ascii_case(b"unix:") {
        return (&text[5..], b"");
    }
    let digits = text.iter().rev().take_while(|c| c.is_ascii_digit()).count();
    let end = text.len() - digits;
    if end > 0 && text[end - 1] == b':' {
        (&text[..end - 1], &text[end..])
    } else {
        (text, b"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(weights: &[i64]) -> Vec<PeerState> {
        weights
            .iter()
            .enumerate()
            .map(|(i, &weight)| PeerState {
                weight,
                server: i as u32,
                effective_weight: weight,
                ..PeerState::plain()
            })
            .collect()
    }

    fn run(
        balancer: &Balancer,
        peers: &mut [PeerState],
        key: Key<'_>,
        random: u64,
    ) -> Option<usize> {
        let total_weight = peers.iter().map(|p| p.weight as u64).sum();
        let tried = Tried::new(peers.len());
        let mut walk = Walk::new(balancer, key);
        pick(
            balancer,
            &mut Field {
                peers,
                total_weight,
                now: 1000,
                now_ms: 1_000_000,
                scale: 1,
                anybody: false,
            },
            &tried,
            &mut walk,
            random,
        )
    }

    fn sequence(balancer: &Balancer, peers: &mut [PeerState], count: usize) -> String {
        (0..count)
            .map(|i| match run(balancer, peers, Key::None, i as u64) {
                Some(p) => char::from(b'A' + p as u8),
                None => '-',
            })
            .collect()
    }

    #[test]
    fn smooth_weights_interleave() {
        for (weights, want) in [
            (&[1, 1][..], "ABABAB"),
            (&[3, 2, 1], "ABACBAABACBA"),
            (&[5, 1, 1], "AABACAAAABACAA"),
            (&[1], "AAA"),
        ] {
            let got = sequence(&Balancer::RoundRobin, &mut peers(weights), want.len());
            assert_eq!(got, want, "{weights:?}");
        }
    }

    #[test]
    fn unusable_peers_are_passed_over() {
        let mut three = peers(&[1, 1, 1]);
        three[0].administrative = Administrative::Down;
        three[1].fails = 1;
        three[1].checked = 990;
        assert_eq!(sequence(&Balancer::RoundRobin, &mut three, 3), "CCC");
        three[1].checked = 989;
        assert!(sequence(&Balancer::RoundRobin, &mut three, 4).contains('B'));
        three[2].max_conns = 2;
        three[2].conns = 2;
        three[1].checked = 1000;
        assert_eq!(sequence(&Balancer::RoundRobin, &mut three, 2), "--");
    }

    #[test]
    fn least_conn_takes_the_idlest_and_breaks_ties_in_turn() {
        let mut three = peers(&[1, 1, 2]);
        three[0].conns = 1;
        three[1].conns = 2;
        three[2].conns = 1;
        assert_eq!(run(&Balancer::LeastConn, &mut three, Key::None, 0), Some(2));
        three[2].conns = 2;
        // A (1/1) ties with C (2/2): round robin by weight 1:2 between them.
        let got = sequence(&Balancer::LeastConn, &mut three, 6);
        assert_eq!(got.matches('A').count(), 2, "{got}");
        assert_eq!(got.matches('C').count(), 4, "{got}");
    }

    #[test]
    fn ip_hash_uses_three_octets() {
        let mut three = peers(&[1, 1, 1]);
        let ip = |text: &str| Key::Client(text.parse().ok());
        let one = run(&Balancer::IpHash, &mut three, ip("10.1.2.3"), 0);
        assert_eq!(run(&Balancer::IpHash, &mut three, ip("10.1.2.200"), 9), one);
        // ((89*113+127)%6271*113+0)%6271... worked by hand for 127.0.0.x.
        let mut hash = 89_u32;
        for octet in [127, 0, 0] {
            hash = (hash * 113 + octet) % 6271;
        }
        assert_eq!(
            run(&Balancer::IpHash, &mut three, ip("127.0.0.1"), 0),
            Some(hash as usize % 3)
        );
        let spread: std::collections::HashSet<_> = (0..64)
            .map(|i| {
                run(
                    &Balancer::IpHash,
                    &mut three,
                    Key::Client(Some([10, 0, i, 1].into())),
                    0,
                )
            })
            .collect();
        assert_eq!(spread.len(), 3);
    }

    #[test]
    fn ip_hash_moves_on_when_its_peer_is_down_and_ends_in_round_robin() {
        let mut two = peers(&[1, 1]);
        let key = Key::Client(Some([10, 0, 0, 1].into()));
        let home = run(&Balancer::IpHash, &mut two, key, 0).unwrap();
        two[home].administrative = Administrative::Down;
        assert_eq!(run(&Balancer::IpHash, &mut two, key, 0), Some(1 - home));
        two[1 - home].administrative = Administrative::Down;
        assert_eq!(run(&Balancer::IpHash, &mut two, key, 0), None);
    }

    #[test]
    fn hash_is_cache_memcached() {
        let mut four = peers(&[1, 2, 3, 4]);
        for text in ["/", "/a", "/index.html", "key-17"] {
            let position = (crc32(text.as_bytes()) >> 16 & 0x7fff) % 10;
            let want = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3][position as usize];
            let got = run(&Balancer::Hash, &mut four, Key::Text(text.as_bytes()), 0);
            assert_eq!(got, Some(want), "{text}");
            // With that peer down the second position adds the hash of "1" before the key.
            four[want].administrative = Administrative::Down;
            let mut sum = crc32(text.as_bytes()) >> 16 & 0x7fff;
            let mut expect = want;
            for attempt in 1.. {
                sum += crc32(format!("{attempt}{text}").as_bytes()) >> 16 & 0x7fff;
                expect = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3][sum as usize % 10];
                if expect != want {
                    break;
                }
            }
            let got = run(&Balancer::Hash, &mut four, Key::Text(text.as_bytes()), 0);
            assert_eq!(got, Some(expect), "{text}");
            four[want].administrative = Administrative::Up;
        }
        assert_eq!(
            sequence(&Balancer::Hash, &mut peers(&[1, 1]), 4),
            "ABAB",
            "an empty key is round robin"
        );
    }

    fn ring(names: &[&str], weights: &[i64]) -> Balancer {
        let servers = names.iter().zip(weights).enumerate();
        Balancer::Consistent(Ring::new(
            servers.map(|(i, (n, &w))| (n.as_bytes(), i as u32, w)),
        ))
    }

    #[test]
    fn consistent_moves_only_the_lost_share() {
        let names = ["127.0.0.1:8081", "127.0.0.1:8082", "127.0.0.1:8083"];
        let balancer = ring(&names, &[1, 1, 2]);
        let mut three = peers(&[1, 1, 2]);
        let mut counts = [0; 3];
        let mut before = Vec::new();
        for i in 0..4000 {
            let key = format!("/{i}");
            let p = run(&balancer, &mut three, Key::Text(key.as_bytes()), 0).unwrap();
            counts[p] += 1;
            before.push(p);
        }
        assert!(
            (700..1300).contains(&counts[0]) && (700..1300).contains(&counts[1]),
            "{counts:?}"
        );
        assert!((1700..2300).contains(&counts[2]), "{counts:?}");
        three[0].administrative = Administrative::Down;
        for (i, &old) in before.iter().enumerate() {
            let key = format!("/{i}");
            let p = run(&balancer, &mut three, Key::Text(key.as_bytes()), 0).unwrap();
            assert!(p == old || old == 0, "{key}");
        }
    }

    #[test]
    fn ring_points_are_chained_checksums() {
        let Balancer::Consistent(ring) = ring(&["a:80"], &[1]) else {
            unreachable!()
        };
        assert_eq!(ring.points.len(), POINTS);
        let first = crc32(b"a\080\0\0\0\0");
        assert!(ring.points.iter().any(|&(hash, _)| hash == first));
        let mut second = b"a\080".to_vec();
        second.extend(first.to_le_bytes());
        assert!(ring.points.iter().any(|&(hash, _)| hash == crc32(&second)));
        assert_eq!(ring.position(0), 0);
        assert_eq!(ring.server(ring.position(u32::MAX)), Some(0));
    }

    #[test]
    fn ports_split_from_hosts() {
        for (text, host, port) in [
            ("a:80", "a", "80"),
            ("a", "a", ""),
            ("10.0.0.1", "10.0.0.1", ""),
            ("[::1]:81", "[::1]", "81"),
            ("unix:/run/a:80", "/run/a:80", ""),
            (":80", "", "80"),
            ("80", "80", ""),
            ("", "", ""),
        ] {
            assert_eq!(
                host_and_port(text.as_bytes()),
                (host.as_bytes(), port.as_bytes()),
                "{text}"
            );
        }
    }

    #[test]
    fn random_follows_weights_and_two_prefers_the_idle() {
        let mut three = peers(&[1, 2, 1]);
        let mut counts = [0; 3];
        for i in 0..4000 {
            counts[run(&Balancer::Random, &mut three, Key::None, i * 7919).unwrap()] += 1;
        }
        assert!(
            (800..1200).contains(&counts[0]) && (1800..2200).contains(&counts[1]),
            "{counts:?}"
        );
        three[1].conns = 100;
        for i in 0..500 {
            assert_ne!(
                run(&Balancer::RandomTwo, &mut three, Key::None, i * 7919),
                Some(1)
            );
        }
        three[0].administrative = Administrative::Down;
        three[2].administrative = Administrative::Down;
        assert_eq!(
            run(&Balancer::RandomTwo, &mut three, Key::None, 5),
            Some(1),
            "falls to round robin"
        );
    }

    #[test]
    fn tried_covers_any_count() {
        let mut tried = Tried::new(200);
        for i in [0, 63, 64, 127, 128, 199] {
            assert!(!tried.has(i));
            tried.set(i);
            assert!(tried.has(i));
        }
        tried.unset(64);
        assert!(!tried.has(64) && tried.has(63));
        tried.clear();
        assert!((0..200).all(|i| !tried.has(i)));
    }

    #[test]
    fn every_method_ends_when_nothing_is_usable() {
        let mut three = peers(&[1, 1, 1]);
        three
            .iter_mut()
            .for_each(|p| p.administrative = Administrative::Down);
        let consistent = ring(&["a", "b", "c"], &[1, 1, 1]);
        for balancer in [
            &Balancer::RoundRobin,
            &Balancer::LeastConn,
            &Balancer::IpHash,
            &Balancer::Hash,
            &consistent,
            &Balancer::Random,
            &Balancer::RandomTwo,
        ] {
            let key = if matches!(balancer, Balancer::IpHash) {
                Key::Client(None)
            } else {
                Key::Text(b"k")
            };
            assert_eq!(run(balancer, &mut three, key, 3), None, "{balancer:?}");
        }
    }
}
