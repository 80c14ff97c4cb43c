//! How long requests take: a histogram per shard, merged when somebody asks.

use std::cell::RefCell;
use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest time that is told apart, in microseconds: one hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Times of one shard, to two digits. About 25 KiB, whatever it has seen.
#[derive(Debug)]
pub struct Latency(RefCell<Histogram<u64>>);

/// Points of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// How many were measured.
    pub count: u64,
    /// Half took no longer.
    pub p50: Duration,
    /// 90 of 100 took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// 999 of 1000 took no longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// Empty.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 2);
        Self(RefCell::new(histogram.expect(
            "invariant: the bounds are constants that the crate accepts",
        )))
    }

    /// Adds one time.
    pub fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(LONGEST_US);
        self.0.borrow_mut().saturating_record(us.max(1));
    }

    /// Adds what another shard has measured.
    pub fn merge(&self, other: &Self) {
        // The bounds are the same everywhere, so that nothing can be out of range.
        let _ = self.0.borrow_mut().add(&*other.0.borrow());
    }

    /// The distribution.
    pub fn quantiles(&self) -> Quantiles {
        let histogram = self.0.borrow();
        let at = |q| Duration::from_micros(histogram.value_at_quantile(q));
        Quantiles {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_merge_and_quantiles_are_near() {
        let (a, b) = (Latency::new(), Latency::new());
        (1..=500).for_each(|ms| a.record(Duration::from_millis(ms)));
        (501..=1000).for_each(|ms| b.record(Duration::from_millis(ms)));
        a.merge(&b);
        let q = a.quantiles();
        assert_eq!(q.count, 1000);
        for (got, want) in [
            (q.p50, 500.0),
            (q.p90, 900.0),
            (q.p99, 990.0),
            (q.max, 1000.0),
        ] {
            let off = (got.as_secs_f64() * 1000.0 - want).abs() / want;
            assert!(off < 0.01, "{got:?} is not {want} ms");
        }
        a.record(Duration::from_secs(1 << 40));
        a.record(Duration::ZERO);
        assert_eq!(a.quantiles().count, 1002);
    }
}
