//! Counts of connections and requests: each shard writes its own, anybody reads all.
//!
//! One writer per number, so that counting is a plain load and store of memory that no other core writes. Start at
//! [`Counters::shards`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::live::Live;
use super::tally::{Board, Sheet};
use crate::plan::Plan;

/// What is counted up and never down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Connections accepted.
    Accepted,
    /// Connections that were served; fewer when a limit refused some.
    Handled,
    /// Requests read.
    Requests,
    /// Exchanges that a panic ended.
    Panics,
    /// Requests with a 5xx answer.
    Failed,
    /// Bytes from clients to origins that went past user space.
    SplicedUp,
    /// The same from origins to clients.
    SplicedDown,
    /// Handshakes of TLS 1.2 that agreed on new keys.
    TlsFull12,
    /// Those that took up an older session.
    TlsResumed12,
    /// The same with TLS 1.3.
    TlsFull13,
    /// The same with TLS 1.3.
    TlsResumed13,
    /// Handshakes that failed.
    TlsFailed,
}

/// What goes up and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Connections that are open.
    Active,
    /// Connections whose request head is being read.
    Reading,
    /// Requests being answered.
    Writing,
}

/// Kinds of floods by which clients of HTTP/2 lost their connections.
pub const FLOODS: [&str; 7] = [
    "stream resets",
    "empty frames",
    "PING and SETTINGS frames",
    "WINDOW_UPDATE frames",
    "CONTINUATION frames",
    "unread answers",
    "header block bytes",
];

/// One shard's numbers, on cache lines of their own; two, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Block {
    counts: [AtomicU64; 12],
    floods: [AtomicU64; FLOODS.len()],
    gauges: [AtomicU64; 3],
}

/// The counters of one shard, with sight of all.
#[derive(Clone)]
pub struct Counters {
    blocks: Arc<[Block]>,
    mine: usize,
    board: Arc<Board>,
}

/// Sums over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections that were served.
    pub handled: u64,
    /// Requests read.
    pub requests: u64,
    /// Exchanges that a panic ended.
    pub panics: u64,
    /// Requests with a 5xx answer.
    pub failed: u64,
    /// Bytes from clients to origins that went past user space.
    pub spliced_up: u64,
    /// The same from origins to clients.
    pub spliced_down: u64,
    /// Handshakes with clients: of TLS 1.2 anew and resumed, then of TLS 1.3.
    pub handshakes: [u64; 4],
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Connections that ended by a flood, by the kinds of [`FLOODS`].
    pub floods: [u64; FLOODS.len()],
    /// Connections that are open.
    pub active: u64,
    /// Connections whose request head is being read.
    pub reading: u64,
    /// Requests being answered.
    pub writing: u64,
}

impl Totals {
    /// Connections that wait for their next request.
    pub fn waiting(&self) -> u64 {
        self.active.saturating_sub(self.reading + self.writing)
    }
}

impl Counters {
    /// Counters for so many shards. They live as long as the process serves, over all reloads.
    pub fn shards(count: usize) -> Vec<Self> {
        let blocks: Arc<[Block]> = (0..count).map(|_| Block::default()).collect();
        let board = Arc::new(Board::default());
        (0..count)
            .map(|mine| Self {
                blocks: Arc::clone(&blocks),
                mine,
                board: Arc::clone(&board),
            })
            .collect()
    }

    /// Counts one.
    pub fn count(&self, what: Count) {
        change(&self.blocks[self.mine].counts[what as usize], 1);
    }

    /// Counts a connection that ended by a flood of [`FLOODS`].
    pub fn count_flood(&self, kind: usize) {
        change(&self.blocks[self.mine].floods[kind], 1);
    }

    /// Counts several.
    pub fn add(&self, what: Count, several: u64) {
        if several > 0 {
            // Wraps as the sums do.
            change(
                &self.blocks[self.mine].counts[what as usize],
                several.cast_signed(),
            );
        }
    }

    /// One more.
    pub fn raise(&self, what: Gauge) {
        change(&self.blocks[self.mine].gauges[what as usize], 1);
    }

    /// One less.
    pub fn lower(&self, what: Gauge) {
        change(&self.blocks[self.mine].gauges[what as usize], -1);
    }

    /// Raises a gauge until the result is dropped.
    pub fn hold(&self, what: Gauge) -> Held {
        self.raise(what);
        Held {
            counters: self.clone(),
            what,
        }
    }

    /// The number of the shard that writes here.
    pub fn own(&self) -> usize {
        self.mine
    }

    /// Where this shard counts what belongs to the plan of an epoch.
    pub fn sheet(&self, plan: &Arc<Plan>, epoch: u64) -> Sheet {
        self.board.open(plan, epoch)
    }

    /// Says what this shard has at the moment.
    pub fn say(&self, live: Live) {
        self.board.say(live);
    }

    /// The numbers of each shard, a moment old at most.
    pub fn each(&self) -> Vec<Totals> {
        self.blocks
            .iter()
            .map(|block| Totals::of(std::slice::from_ref(block)))
            .collect()
    }

    /// Sums over all shards, a moment old at most.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.blocks)
    }
}

impl Totals {
    fn of(blocks: &[Block]) -> Self {
        let sum =
            |number: &dyn Fn(&Block) -> u64| blocks.iter().map(number).fold(0, u64::wrapping_add);
        let count = |what: Count| sum(&|block| block.counts[what as usize].load(Ordering::Relaxed));
        let gauge = |what: Gauge| sum(&|block| block.gauges[what as usize].load(Ordering::Relaxed));
        Self {
            accepted: count(Count::Accepted),
            handled: count(Count::Handled),
            requests: count(Count::Requests),
            panics: count(Count::Panics),
            failed: count(Count::Failed),
            spliced_up: count(Count::SplicedUp),
            spliced_down: count(Count::SplicedDown),
            handshakes: [
                Count::TlsFull12,
                Count::TlsResumed12,
                Count::TlsFull13,
                Count::TlsResumed13,
            ]
            .map(count),
            handshakes_failed: count(Count::TlsFailed),
            floods: std::array::from_fn(|kind| {
                sum(&|block| block.floods[kind].load(Ordering::Relaxed))
            }),
            active: gauge(Gauge::Active),
            reading: gauge(Gauge::Reading),
            writing: gauge(Gauge::Writing),
        }
    }
}

/// The only writer is this shard, so a load and a store lose nothing and need no locked instruction.
fn change(number: &AtomicU64, by: i64) {
    number.store(
        number.load(Ordering::Relaxed).wrapping_add_signed(by),
        Ordering::Relaxed,
    );
}

/// As [`change`], by more than one.
pub(super) fn add(number: &AtomicU64, by: u64) {
    let new = number.load(Ordering::Relaxed).wrapping_add(by);
    number.store(new, Ordering::Relaxed);
}

/// A raised gauge.
pub struct Held {
    counters: Counters,
    what: Gauge,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.lower(self.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_count_apart_and_are_read_together() {
        let shards = Counters::shards(3);
        std::thread::scope(|scope| {
            for c in &shards {
                scope.spawn(move || {
                    for _ in 0..1000 {
                        c.count(Count::Accepted);
                        c.count(Count::Requests);
                        drop(c.hold(Gauge::Writing));
                    }
                    c.raise(Gauge::Active);
                    c.add(Count::SplicedDown, 1 << 40);
                });
            }
        });
        let _held = shards[1].hold(Gauge::Reading);
        let totals = shards[0].totals();
        assert_eq!(
            (totals.accepted, totals.requests, totals.handled),
            (3000, 3000, 0)
        );
        assert_eq!((totals.spliced_up, totals.spliced_down), (0, 3 << 40));
        assert_eq!(
            (
                totals.active,
                totals.reading,
                totals.writing,
                totals.waiting()
            ),
            (3, 1, 0, 2)
        );
        assert_eq!(size_of::<Block>(), 256);
    }
}
