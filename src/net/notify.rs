//! A flag that one task of the same thread waits for.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Set by anyone on the thread, awaited by one task. Stays set until a wait takes it.
#[derive(Debug, Default)]
pub struct Notify {
    set: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Notify {
    /// Not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and wakes the waiter.
    pub fn notify(&self) {
        self.set.set(true);
        if let Some(waker) = self.waiter.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits until the flag is set and takes it. May be dropped at any time.
    pub async fn wait(&self) {
        poll_fn(|cx| {
            if self.set.take() {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::runtime;
    use std::rc::Rc;

    #[test]
    fn a_set_flag_is_not_lost_and_wakes_once() {
        runtime::on_each_driver(|| async {
            let notify = Rc::new(Notify::new());
            notify.notify();
            notify.wait().await;
            let other = notify.clone();
            let task = runtime::spawn(async move { other.wait().await });
            runtime::yield_now().await;
            notify.notify();
            task.await;
            assert!(!notify.set.get());
        });
    }
}
