//! The only place that reads time. Everything else takes a [`Mono`] or a [`Unix`] as an argument.

use std::cell::Cell;
use std::sync::OnceLock;

use rustix::time::{ClockId, clock_gettime};

pub use crate::base::time::{Mono, Unix};

/// The monotonic clock's milliseconds when this process first asked.
static START_MS: OnceLock<u64> = OnceLock::new();

/// One reading of the monotonic clock.
#[derive(Clone, Copy)]
struct Reading {
    mono: Mono,
    /// Microseconds since the same moment.
    micros: u64,
}

/// Reads the clocks of the machine and remembers the local zone for a while. One per shard.
#[derive(Debug, Default)]
pub struct Clock {
    /// Unix second at which the zone was read, and the minutes east of UTC then.
    zone: Cell<Option<(i64, i32)>>,
}

/// A zone's offset changes on quarter hours only.
const ZONE_SECONDS: i64 = 900;

impl Clock {
    /// Starts the process's monotonic count if nothing did before.
    pub fn new() -> Self {
        Self::default()
    }

    /// Milliseconds since the process started. A read through the vDSO, no system call.
    pub fn mono(&self) -> Mono {
        mono()
    }

    /// The wall clock.
    pub fn unix(&self) -> Unix {
        unix()
    }

    /// Minutes that local time is ahead of UTC at `at`.
    pub fn offset(&self, at: Unix) -> i32 {
        let quarter = at.secs.div_euclid(ZONE_SECONDS);
        if let Some((known, offset)) = self.zone.get()
            && known == quarter
        {
            return offset;
        }
        let offset = super::sys::zone::utc_offset(at.secs) / 60;
        self.zone.set(Some((quarter, offset)));
        offset
    }
}

/// What the clocks said in the current turn of a task, or of the shard. Asked a dozen times for each request: cells that
/// are known or not, so that an answer is one test and one load.
struct Turn {
    /// A turn is under way; outside of one nothing is remembered.
    on: Cell<bool>,
    /// So is one of the shard: what is remembered outlasts the turns of its tasks.
    held: Cell<bool>,
    /// How many have begun on this thread.
    number: Cell<u64>,
    mono_known: Cell<bool>,
    unix_known: Cell<bool>,
    mono: Cell<Reading>,
    unix: Cell<Unix>,
}

thread_local! {
    static TURN: Turn = const {
        Turn {
            on: Cell::new(false),
            held: Cell::new(false),
            number: Cell::new(0),
            mono_known: Cell::new(false),
            unix_known: Cell::new(false),
            mono: Cell::new(Reading {
                mono: Mono(0),
                micros: 0,
            }),
            unix: Cell::new(Unix { secs: 0, millis: 0 }),
        }
    };
}

impl Turn {
    /// A task's turn begins or ends.
    fn set(&self, on: bool) {
        self.on.set(on);
        if !self.held.get() {
            self.forget();
        }
    }

    fn forget(&self) {
        self.mono_known.set(false);
        self.unix_known.set(false);
    }

    fn remembers(&self) -> bool {
        self.on.get() || self.held.get()
    }
}

/// Time stands still for all tasks that have their turns until [`release`], which whoever calls this has to see to: each
/// clock is read once for all connections that have news, as nginx does.
pub(super) fn hold() {
    TURN.with(|turn| {
        turn.held.set(true);
        turn.forget();
    });
}

/// Time goes on.
pub(super) fn release() {
    TURN.with(|turn| {
        turn.held.set(false);
        turn.forget();
    });
}

/// Runs one turn of a task, in which time stands still: each clock is read once at most. A turn lasts microseconds, and
/// a task that waits begins another one. One inside another is a part of it, with readings of its own.
pub fn in_turn<R>(turn: impl FnOnce() -> R) -> R {
    struct End(bool);
    impl Drop for End {
        fn drop(&mut self) {
            TURN.with(|turn| turn.set(self.0));
        }
    }
    super::busy::turn();
    let inside = TURN.with(|turn| {
        let inside = turn.on.get();
        turn.number.set(turn.number.get() + u64::from(!inside));
        turn.set(true);
        inside
    });
    let _end = End(inside);
    turn()
}

/// Tells this thread's turns apart; who is in none is told the last one's.
pub fn turn_number() -> u64 {
    TURN.with(|turn| turn.number.get())
}

/// Processor time of the calling thread, in microseconds.
#[must_use]
pub fn thread_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}

/// Milliseconds since the process started, for who has no [`Clock`] at hand.
#[inline]
pub fn mono() -> Mono {
    reading().mono
}

/// Microseconds since the process started, for durations that are told in fractions of milliseconds.
#[inline]
pub fn micros() -> u64 {
    reading().micros
}

/// Microseconds of the machine's monotonic clock, which other processes read too.
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

/// The wall clock at the beginning of [`micros`], in microseconds since 1970, by both clocks as they go now.
pub fn start_us() -> i64 {
    let wall = clock_gettime(ClockId::Realtime);
    let wall_us = wall.tv_sec * 1_000_000 + wall.tv_nsec / 1000;
    wall_us.saturating_sub_unsigned(read_mono().micros)
}

#[inline]
fn reading() -> Reading {
    TURN.with(|turn| match turn.mono_known.get() {
        true => turn.mono.get(),
        false => first_mono(turn),
    })
}

#[inline(never)]
fn first_mono(turn: &Turn) -> Reading {
    let now = read_mono();
    turn.mono.set(now);
    turn.mono_known.set(turn.remembers());
    now
}

fn read_mono() -> Reading {
    let now = clock_gettime(ClockId::Monotonic);
    let ms = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
    let start = *START_MS.get_or_init(|| ms);
    let micros = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
    Reading {
        mono: Mono(ms.saturating_sub(start)),
        micros: micros.saturating_sub(start * 1000),
    }
}

/// The wall clock, for who has no [`Clock`] at hand.
#[inline]
pub fn unix() -> Unix {
    TURN.with(|turn| match turn.unix_known.get() {
        true => turn.unix.get(),
        false => first_unix(turn),
    })
}

#[inline(never)]
fn first_unix(turn: &Turn) -> Unix {
    let now = read_unix();
    turn.unix.set(now);
    turn.unix_known.set(turn.remembers());
    now
}

fn read_unix() -> Unix {
    let now = clock_gettime(ClockId::Realtime);
    Unix {
        secs: now.tv_sec,
        millis: (now.tv_nsec / 1_000_000) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_is_after_this_was_written() {
        let clock = Clock::new();
        let a = clock.mono();
        let b = clock.mono();
        assert!(a <= b);
        assert!(clock.unix().secs > 1_700_000_000);
        assert!(clock.unix().millis < 1000);
    }

    #[test]
    fn time_stands_still_within_a_turn_and_goes_on_behind_it() {
        let busy = || {
            let end = read_mono().mono.0 + 3;
            while read_mono().mono.0 < end {}
        };
        let within = in_turn(|| {
            let (a, unix) = (mono(), unix());
            busy();
            assert_eq!((mono(), super::unix()), (a, unix));
            a
        });
        assert!(mono() > within);
    }

    #[test]
    fn time_that_is_held_outlasts_turns_until_it_is_released() {
        let busy = || {
            let end = read_mono().mono.0 + 3;
            while read_mono().mono.0 < end {}
        };
        hold();
        let held = in_turn(|| (mono(), unix()));
        busy();
        assert_eq!(in_turn(|| (mono(), unix())), held);
        assert_eq!(mono(), held.0);
        hold();
        let again = mono();
        assert!(again > held.0);
        busy();
        release();
        assert!(mono() > again);
        assert!(in_turn(mono) > again);
    }

    #[test]
    fn a_turn_inside_another_is_a_part_of_it() {
        let outer = in_turn(|| {
            let number = turn_number();
            assert_eq!(in_turn(turn_number), number);
            assert_eq!((in_turn(turn_number), turn_number()), (number, number));
            number
        });
        assert_eq!(in_turn(turn_number), outer + 1);
    }

    #[test]
    fn the_zone_is_within_a_day_and_cached() {
        let clock = Clock::new();
        let now = clock.unix();
        let offset = clock.offset(now);
        assert!(offset.abs() < 1440);
        assert_eq!(clock.offset(now), offset);
    }
}
