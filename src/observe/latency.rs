//! How long requests take: buckets that one shard fills and anybody reads, and the distribution that they show.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

/// Buckets for each doubling: a time is told apart from another that is a thirty-second longer.
const STEPS: u64 = 32;

/// Longer times count as this: 2^32 microseconds are more than an hour.
const LONGEST_US: u64 = u32::MAX as u64;

/// One for each value below [`STEPS`], then so many for each of the 27 doublings above.
const BUCKETS: usize = 28 * STEPS as usize;

/// Times of one shard. 7 KiB, whatever it has seen.
#[derive(Debug)]
pub struct Latency(Box<[AtomicU64]>);

impl Default for Latency {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| AtomicU64::new(0)).collect())
    }
}

/// The bucket of a time.
fn bucket(us: u64) -> usize {
    let us = us.min(LONGEST_US);
    if us < STEPS {
        return us as usize;
    }
    let doubling = us.ilog2() - STEPS.ilog2();
    let step = (us >> doubling) - STEPS;
    ((u64::from(doubling) + 1) * STEPS + step) as usize
}

/// The middle of a bucket, in microseconds.
fn middle(bucket: usize) -> u64 {
    let (doubling, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if doubling == 0 {
        return step;
    }
    let shift = doubling - 1;
    ((STEPS + step) << shift) + (1 << shift) / 2
}

impl Latency {
    /// Adds one time. Only one thread may.
    pub fn record(&self, us: u64) {
        super::counters::add(&self.0[bucket(us)], 1);
    }

    /// Adds what was recorded to a distribution.
    fn pour(&self, into: &mut Histogram<u64>) {
        for (index, count) in self.0.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                // The bounds hold every middle, so that nothing can be out of range.
                let _ = into.record_n(middle(index).max(1), count);
            }
        }
    }
}

/// Times of several shards together.
#[derive(Clone, Debug)]
pub struct Distribution(Histogram<u64>);

impl Default for Distribution {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 2 * LONGEST_US, 2);
        Self(histogram.expect("invariant: the bounds are constants that the crate accepts"))
    }
}

impl Distribution {
    /// Adds what one shard has measured.
    pub fn add(&mut self, latency: &Latency) {
        latency.pour(&mut self.0);
    }

    /// Adds another distribution.
    pub fn merge(&mut self, other: &Self) {
        // The bounds are the same everywhere, so that nothing can be out of range.
        let _ = self.0.add(&other.0);
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that a share of all, from 0 to 1, did not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_narrow_and_in_order() {
        let mut last = 0;
        for us in (0..200_000).chain((1..3000).map(|n| n * 1_500_000)) {
            let at = bucket(us);
            assert!(at >= last && at < BUCKETS, "{us}");
            last = at;
            let off = middle(at).abs_diff(us.min(LONGEST_US));
            assert!(off * STEPS <= us, "{us} is shown as {}", middle(at));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn shards_merge_and_quantiles_are_near() {
        let (a, b) = (Latency::default(), Latency::default());
        (1..=500).for_each(|ms| a.record(ms * 1000));
        (501..=1000).for_each(|ms| b.record(ms * 1000));
        let mut both = Distribution::default();
        both.add(&a);
        let mut rest = Distribution::default();
        rest.add(&b);
        both.merge(&rest);
        assert_eq!(both.count(), 1000);
        for (share, want) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got = both.quantile(share).as_secs_f64() * 1000.0;
            assert!((got - want).abs() / want < 0.035, "{got} is not {want} ms");
        }
        a.record(u64::MAX);
        a.record(0);
        both.add(&a);
        assert_eq!(both.count(), 1502);
    }
}
