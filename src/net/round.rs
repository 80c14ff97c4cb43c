//! A round of the shard: what goes on because news were taken, up to where all of it has had its turn. Time stands still in it,
//! and what it handed over leaves at its end. Only on the ring, where rounds have many tasks. Start at [`open`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::{clock, runtime};

thread_local! {
    /// Rounds of this thread have ends.
    static OPEN: Cell<bool> = const { Cell::new(false) };
    /// Of the task that ends the round, while it waits.
    static LAST: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// From now on this thread's rounds end with this.
pub(super) fn open(end: impl Fn() + 'static) {
    OPEN.set(true);
    LAST.set(None);
    drop(runtime::spawn(poll_fn(move |cx| {
        end();
        clock::release();
        LAST.set(Some(cx.waker().clone()));
        Poll::<()>::Pending
    })));
}

/// Time stands still until the round ends. Followed by [`ends`].
pub(super) fn begin() {
    if OPEN.get() {
        clock::hold();
    }
}

/// The round ends when all that has been woken so far has run.
pub(super) fn ends() {
    if let Some(last) = LAST.take() {
        last.wake();
    }
}
