//! What a peer may make us do for nothing. Each kind of free work has a budget that refills with time; whoever spends
//! it faster is told ENHANCE_YOUR_CALM. Budgets are far above what browsers and libraries do, and far below what
//! costs us noticeably: the figures below say why.
//!
//! The other bounds stand where they act: streams at a time and their windows in [`conn`](super::conn), the size of a
//! header block in [`header`](super::header), queued answers in [`conn`](super::conn).

use crate::base::time::Mono;

/// A budget that refills.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// What may be spent at once.
    pub burst: u32,
    /// What comes back each second.
    pub per_second: u32,
}

/// Streams that the client takes back (RST_STREAM, "rapid reset", CVE-2023-44487) or makes us reset by breaking a rule
/// ("made you reset", CVE-2025-8671). A page that is left cancels what it still loads: at most as many as run at a
/// time, 128. Two pages at once, and then one stream in 15 ms.
pub const RESETS: Budget = Budget {
    burst: 256,
    per_second: 64,
};

/// Frames that carry nothing: DATA without bytes and without an end, PRIORITY, frames on closed streams, unknown
/// types (CVE-2019-9513, -9518). Chrome sends one PRIORITY or PRIORITY_UPDATE for each of some hundred streams.
pub const EMPTY: Budget = Budget {
    burst: 1000,
    per_second: 200,
};

/// PING and SETTINGS, each of which is answered (CVE-2019-9512, -9515). Libraries that measure bandwidth ping once for
/// each round trip; on a LAN that is some hundred a second.
pub const ANSWERED: Budget = Budget {
    burst: 1000,
    per_second: 500,
};

/// WINDOW_UPDATE: a reader that is eager sends two for each frame of 16 KiB; this is enough for 1.6 GB/s of such frames
/// and stops byte-wise windows (CVE-2019-9511).
pub const WINDOWS: Budget = Budget {
    burst: 20_000,
    per_second: 100_000,
};

/// CONTINUATION frames of one block (CVE-2024-27316): with frames of 16 KiB no block within the limits needs more than three.
pub const CONTINUATIONS_MAX: u32 = 8;

/// The same from an origin, which may cut its heads as finely as it likes: there is one of it, not any number.
pub const CONTINUATIONS_OF_ORIGIN_MAX: u32 = 256;

/// Bytes of answers (acknowledgements, resets) that may wait for a client that does not read.
pub const ANSWERS_QUEUED_MAX: usize = 64 << 10;

/// How a flood is named in the log and in the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// [`RESETS`]
    Resets,
    /// [`EMPTY`]
    Empty,
    /// [`ANSWERED`]
    Answered,
    /// [`WINDOWS`]
    Windows,
    /// [`CONTINUATIONS_MAX`]
    Continuations,
    /// [`ANSWERS_QUEUED_MAX`]
    Unread,
    /// A header block larger than any head may be.
    HeaderBlock,
}

impl Flood {
    /// How many kinds there are.
    pub const COUNT: usize = 7;

    /// Words for the log, and for the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resets => "stream resets",
            Self::Empty => "empty frames",
            Self::Answered => "PING and SETTINGS frames",
            Self::Windows => "WINDOW_UPDATE frames",
            Self::Continuations => "CONTINUATION frames",
            Self::Unread => "unread answers",
            Self::HeaderBlock => "header block bytes",
        }
    }
}

/// What is left of one budget.
#[derive(Clone, Copy, Debug)]
struct Purse {
    /// Thousandths, so that slow refills are not lost to rounding.
    left: u64,
    since: Mono,
}

impl Purse {
    const fn full(budget: Budget) -> Self {
        Self {
            left: budget.burst as u64 * 1000,
            since: Mono(0),
        }
    }

    fn spend(&mut self, budget: Budget, now: Mono) -> bool {
        let passed = now.0.saturating_sub(self.since.0);
        self.since = now;
        self.left = self
            .left
            .saturating_add(passed.saturating_mul(u64::from(budget.per_second)))
            .min(u64::from(budget.burst) * 1000);
        match self.left.checked_sub(1000) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// The budgets of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    resets: Purse,
    empty: Purse,
    answered: Purse,
    windows: Purse,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl Guard {
    /// A fresh connection's: everything may be spent.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            resets: Purse::full(RESETS),
            empty: Purse::full(EMPTY),
            answered: Purse::full(ANSWERED),
            windows: Purse::full(WINDOWS),
        }
    }

    /// One stream was taken back, or had to be reset.
    pub fn reset(&mut self, now: Mono) -> Result<(), Flood> {
        paid(self.resets.spend(RESETS, now), Flood::Resets)
    }

    /// One frame had nothing in it.
    pub fn empty(&mut self, now: Mono) -> Result<(), Flood> {
        paid(self.empty.spend(EMPTY, now), Flood::Empty)
    }

    /// One frame has to be answered.
    pub fn answered(&mut self, now: Mono) -> Result<(), Flood> {
        paid(self.answered.spend(ANSWERED, now), Flood::Answered)
    }

    /// One WINDOW_UPDATE.
    pub fn window(&mut self, now: Mono) -> Result<(), Flood> {
        paid(self.windows.spend(WINDOWS, now), Flood::Windows)
    }
}

fn paid(paid: bool, flood: Flood) -> Result<(), Flood> {
    if paid { Ok(()) } else { Err(flood) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_and_refills() {
        let mut guard = Guard::new();
        let start = Mono(5_000);
        for _ in 0..RESETS.burst {
            assert_eq!(guard.reset(start), Ok(()));
        }
        assert_eq!(guard.reset(start), Err(Flood::Resets));
        // One comes back after 1000 / 64 ms.
        assert_eq!(guard.reset(Mono(5_015)), Err(Flood::Resets));
        assert_eq!(guard.reset(Mono(5_031)), Ok(()));
        assert_eq!(guard.reset(Mono(5_031)), Err(Flood::Resets));
        // Never more than the burst, however long nobody spends.
        let late = Mono(1_000_000_000);
        let spent = (0..10_000).filter(|_| guard.reset(late).is_ok()).count();
        assert_eq!(spent, RESETS.burst as usize);
        assert_eq!(guard.empty(start), Ok(()), "the others are untouched");
    }

    #[test]
    fn every_kind_has_its_number() {
        assert_eq!(Flood::HeaderBlock as usize + 1, Flood::COUNT);
    }

    #[test]
    fn a_clock_that_stands_still_gives_nothing() {
        let mut guard = Guard::new();
        let now = Mono(1);
        let spent = (0..10_000).filter(|_| guard.answered(now).is_ok()).count();
        assert_eq!(spent, ANSWERED.burst as usize);
    }
}
