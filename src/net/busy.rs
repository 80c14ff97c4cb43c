//! Busy polling: a shard that has nothing to do looks for completions for a while before it sleeps. Start at [`spin`].
//!
//! The spinner is a task that is always ready, which makes the runtime look at its driver again and again instead of waiting
//! there. A task that wakes itself would go on before all others; one that another task wakes goes on behind them, so the
//! spinner is woken by an echo that it calls. It lies down when no task has had a turn for the time that was asked for, and
//! for a moment now and then in any case, because timers are looked at only where the runtime waits; the next turn of a
//! task wakes it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::{clock, runtime};

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
    /// The spinner's, while it does not run.
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    /// The echo's, while it waits.
    static ECHO: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Wakes the spinner when all tasks that are ready have had their turns.
fn call_again(spinner: &Waker) {
    WAKER.set(Some(spinner.clone()));
    if let Some(echo) = ECHO.take() {
        echo.wake();
    }
}

/// Answers [`call_again`].
async fn echo() {
    poll_fn(|cx| {
        ECHO.set(Some(cx.waker().clone()));
        if STATE.get() != State::Asleep
            && let Some(spinner) = WAKER.take()
        {
            spinner.wake();
        }
        Poll::<()>::Pending
    })
    .await;
}

/// A task has its turn.
pub(super) fn turn() {
    match STATE.get() {
        State::Off | State::Active => {}
        State::Quiet => STATE.set(State::Active),
        State::Asleep => {
            STATE.set(State::Active);
            if let Some(waker) = WAKER.take() {
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
    drop(runtime::spawn(echo()));
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
            WAKER.set(Some(cx.waker().clone()));
            STATE.set(State::Asleep);
        } else {
            call_again(cx.waker());
        }
        Poll::<()>::Pending
    })
    .await;
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's other thread may wait")]
mod tests {
    use super::*;
    use std::cell::RefMut;
    use std::rc::Rc;
    use std::task::Context;

    use crate::net::bell::{self, Bell};
    use crate::net::runtime::{Prefer, RING_ENTRIES_DEFAULT, Runtime, probe};

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
    fn who_is_ready_goes_on_before_it_spins_again() {
        for prefer in [Prefer::Auto, Prefer::Epoll] {
            let choice = probe(prefer);
            let seen = std::thread::spawn(move || {
                let time = Duration::from_secs(1);
                let mut runtime = Runtime::polling(&choice, RING_ENTRIES_DEFAULT, time).unwrap();
                runtime.run(async move {
                    runtime::spawn(spin(time));
                    let (waker, seen) = (Rc::new(RefCell::new(None)), Rc::new(RefCell::default()));
                    let task = runtime::spawn(poll_fn({
                        let (waker, seen) = (waker.clone(), seen.clone());
                        move |cx: &mut Context<'_>| {
                            *waker.borrow_mut() = Some(cx.waker().clone());
                            let mut seen: RefMut<'_, Vec<State>> = seen.borrow_mut();
                            seen.push(STATE.get());
                            if seen.len() > 20 {
                                Poll::Ready(())
                            } else {
                                Poll::Pending
                            }
                        }
                    }));
                    // Wakes the first one whenever it has its turn.
                    let other = waker.clone();
                    runtime::spawn(async move {
                        loop {
                            runtime::yield_now().await;
                            clock::in_turn(|| ());
                            if let Some(waker) = other.borrow_mut().take() {
                                Waker::wake(waker);
                            }
                        }
                    });
                    task.await;
                    seen.take()
                })
            });
            let seen = seen.join().unwrap();
            let awake = seen.iter().filter(|&&state| state != State::Asleep);
            assert!(awake.count() > 10, "{seen:?}");
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
