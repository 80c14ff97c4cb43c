//! What a shard has at the moment, as it last said: sizes, states of peers, the load of its thread. Unlike what a
//! [`super::tally::Sheet`] counts it is said a few times a second, and as a whole. Start at [`Live`].

use std::collections::BTreeMap;

use bytes::Bytes;

use super::metrics::PeerView;

/// How often a shard says what it has, in milliseconds.
pub const EVERY_MS: u64 = 500;

/// What one shard has.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Which shard.
    pub shard: usize,
    /// Processor time of its thread, in microseconds.
    pub cpu_us: u64,
    /// How late its recurring work ran at worst since it last said so, in milliseconds.
    pub lag_ms: u64,
    /// Pipes that hold bytes, and those that are kept empty.
    pub pipes: (usize, usize),
    /// What it has of each store.
    pub stores: Vec<StoreNow>,
    /// What it has of each zone of limits.
    pub zones: Vec<ZoneNow>,
    /// Peers as it sees them.
    pub peers: Vec<PeerView>,
    /// Health checks that it makes.
    pub checks: Vec<CheckNow>,
    /// What its resolvers did.
    pub resolver: ResolverNow,
}

/// What the checks of a peer came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckNow {
    /// Its group.
    pub group: Bytes,
    /// Its address.
    pub peer: Bytes,
    /// The checks are content with it.
    pub healthy: bool,
    /// Checks that it passed, and that it did not.
    pub outcomes: [u64; 2],
    /// How long the latest one took, in microseconds.
    pub took_us: u64,
}

/// What checks come to, in the order of [`CheckNow::outcomes`].
pub const OUTCOMES: [&str; 2] = ["passed", "failed"];

/// Health checks of all shards by group and peer: several checks of one peer are told as one.
#[must_use]
pub fn checks(lives: &[Live]) -> BTreeMap<(String, String), CheckNow> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all: BTreeMap<_, CheckNow> = BTreeMap::new();
    for check in lives.iter().flat_map(|live| &live.checks) {
        let key = (text(&check.group), text(&check.peer));
        match all.get_mut(&key) {
            None => _ = all.insert(key, check.clone()),
            Some(sum) => {
                sum.healthy &= check.healthy;
                sum.outcomes[0] += check.outcomes[0];
                sum.outcomes[1] += check.outcomes[1];
                sum.took_us = sum.took_us.max(check.took_us);
            }
        }
    }
    all
}

/// One shard's part of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreNow {
    /// Its zone's name.
    pub name: Bytes,
    /// Bytes and entries on disk that the shard owns.
    pub disk: (u64, u64),
    /// Bytes and entries in the shard's memory.
    pub hot: (u64, u64),
    /// Entries that were removed to make room, or because nobody asked for them.
    pub evicted: u64,
}

/// One shard's part of a zone of limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZoneNow {
    /// Its table.
    pub table: u64,
    /// Keys in it.
    pub keys: u64,
    /// Bytes that they take.
    pub used: u64,
    /// Bytes that there are for keys.
    pub room: u64,
}

/// What resolvers did since the shard began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolverNow {
    /// Names that were known.
    pub known: u64,
    /// Names that a server answered with addresses.
    pub found: u64,
    /// Names that a server could not answer.
    pub failed: u64,
    /// Names that nobody answered in time.
    pub timed_out: u64,
}

impl ResolverNow {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.known += other.known;
        self.found += other.found;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
    }
}

/// The peers of all shards: what is in progress is added up, except where a `zone` has counted it for all already.
#[must_use]
pub fn peers(lives: &[Live]) -> Vec<PeerView> {
    let mut all: Vec<PeerView> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for view in lives.iter().flat_map(|live| &live.peers) {
        let place = places.entry((view.group.clone(), view.peer.clone()));
        let known = *place.or_insert(all.len());
        let Some(sum) = all.get_mut(known) else {
            all.push(view.clone());
            continue;
        };
        sum.active = match view.shared {
            true => sum.active.max(view.active),
            false => sum.active + view.active,
        };
        sum.fails = sum.fails.max(view.fails);
        if !view.up && sum.up {
            (sum.up, sum.state) = (false, view.state);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_checks_of_a_peer_are_one() {
        let check = |peer: &'static str, healthy, outcomes, took_us| CheckNow {
            group: "g".into(),
            peer: peer.into(),
            healthy,
            outcomes,
            took_us,
        };
        let live = |checks| Live {
            checks,
            ..Live::default()
        };
        let all = checks(&[
            live(vec![
                check("a", true, [3, 0], 9),
                check("a", false, [1, 2], 5),
            ]),
            live(vec![check("b", true, [1, 1], 7)]),
        ]);
        let seen: Vec<_> = all
            .iter()
            .map(|((_, peer), now)| (&peer[..], now.healthy, now.outcomes, now.took_us))
            .collect();
        assert_eq!(seen, [("a", false, [4, 2], 9), ("b", true, [1, 1], 7)]);
    }

    #[test]
    fn peers_of_several_shards_are_one() {
        let view = |peer: &str, up, active, shared| PeerView {
            group: "g".to_owned(),
            peer: peer.to_owned(),
            up,
            state: if up { "up" } else { "failed" },
            active,
            fails: active,
            shared,
            weight: 1,
            backup: false,
        };
        let live = |peers| Live {
            peers,
            ..Live::default()
        };
        let all = peers(&[
            live(vec![view("a", true, 2, false), view("b", true, 5, true)]),
            live(vec![view("b", true, 5, true), view("a", false, 3, false)]),
        ]);
        let seen: Vec<_> = all
            .iter()
            .map(|p| (&p.peer[..], p.up, p.active, p.state))
            .collect();
        assert_eq!(seen, [("a", false, 5, "failed"), ("b", true, 5, "up")]);
    }
}
