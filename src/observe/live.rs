//! What a shard has at the moment, as it last said: sizes, states of peers, the load of its thread. Unlike what a
//! [`super::tally::Sheet`] counts it is said a few times a second, and as a whole. Start at [`Live`].

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
    /// What its resolvers did.
    pub resolver: ResolverNow,
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
