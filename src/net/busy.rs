//! Busy polling: a shard that has nothing to do looks for completions for a while before it sleeps. Start at [`spin`].
//!
//! The spinner is a task that is always ready, which makes the runtime look at its driver again and again instead of waiting
//! there. It lies down when no task has had a turn for the time that was asked for, and for a moment now and then in any
//! case, because timers are looked at only where the runtime waits; the next turn of a task wakes it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::clock;

/// Microseconds after which the runtime waits once, so that its timers have their turn.
const TIMERS: u64 = 1000;

/// What the spinner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is none.
    Off,
    /// Spins, and no task has had a turn since it looked.
    Quiet,
    /// Spins, and one has.
    Active,
    /// Sleeps.
    Asleep,
}

thread_local! {
    static STATE: Cell<State> = const { Cell::new(State::Off) };
    static ASLEEP: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// A task has its turn.
pub(super) fn turn() {
    match STATE.get() {
        State::Off | State::Active => {}
        State::Quiet => STATE.set(State::Active),
        State::Asleep => {
            STATE.set(State::Active);
            if let Some(waker) = ASLEEP.take() {
                waker.wake();
            }
        }
    }
}

/// Keeps this thread's runtime from sleeping until no task has had a turn for `time`. Never ends.
pub async fn spin(time: Duration) {
    let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (mut awake, mut last) = (clock::micros(), clock::micros());
    let mut asleep = false;
    poll_fn(|cx| {
        let now = clock::micros();
        if std::mem::take(&mut asleep) {
            awake = now;
        }
        if STATE.replace(State::Quiet) == State::Active {
            last = now;
        }
        if now - last >= time || now - awake >= TIMERS {
            asleep = true;
            ASLEEP.set(Some(cx.waker().clone()));
            STATE.set(State::Asleep);
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    })
    .await;
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's other thread may wait")]
mod tests {
    use super::*;
    use crate::net::bell::{self, Bell};
    use crate::net::runtime::{self, Prefer, RING_ENTRIES_DEFAULT, Runtime, probe};

    /// Twenty times waits for a bell that another thread rings after a pause; how often the spinner was still awake then.
    fn found_awake(prefer: Prefer, time: Duration, pause: Duration) -> u32 {
        let choice = probe(prefer);
        let mut runtime = Runtime::polling(&choice, RING_ENTRIES_DEFAULT, time).unwrap();
        runtime.run(async move {
            runtime::spawn(spin(time));
            let event = bell::event().unwrap();
            let ringer = event.try_clone().unwrap();
            let bell = Bell::new(event).unwrap();
            let mut awake = 0;
            for _ in 0..20 {
                let ringer = ringer.try_clone().unwrap();
                let thread = std::thread::spawn(move || {
                    std::thread::sleep(pause);
                    rustix::io::write(&ringer, &1u64.to_ne_bytes()).unwrap();
                });
                clock::in_turn(|| ());
                bell.wait().await.unwrap();
                awake += u32::from(STATE.get() != State::Asleep);
                thread.join().unwrap();
                // Timers have their turn beside it.
                runtime::sleep(Duration::from_millis(1)).await;
            }
            awake
        })
    }

    #[test]
    fn it_spins_for_its_time_and_sleeps_after_it() {
        for prefer in [Prefer::Auto, Prefer::Epoll] {
            let on_a_thread = |time, pause| {
                let run = move || found_awake(prefer, time, pause);
                std::thread::spawn(run).join().unwrap()
            };
            let ms = Duration::from_millis;
            assert_eq!(on_a_thread(ms(1) / 20, ms(20)), 0, "{prefer:?}");
        }
    }

    #[test]
    fn what_comes_while_it_spins_is_found_and_spinning_goes_on() {
        for prefer in [Prefer::Auto, Prefer::Epoll] {
            let choice = probe(prefer);
            let on_ring = choice.driver == runtime::Driver::Ring;
            let found = std::thread::spawn(move || {
                let time = Duration::from_secs(1);
                let mut runtime = Runtime::polling(&choice, RING_ENTRIES_DEFAULT, time).unwrap();
                runtime.run(async move {
                    runtime::spawn(spin(time));
                    let mut awake = 0;
                    for _ in 0..50 {
                        // Each yield goes through the driver.
                        clock::in_turn(|| ());
                        runtime::yield_now().await;
                        awake += u32::from(STATE.get() != State::Asleep);
                    }
                    awake
                })
            });
            // Epoll yields by a timer, for which the spinner has to rest.
            assert!(found.join().unwrap() > 10 || !on_ring);
        }
    }
}
