//! Bounded waiting: asks a condition again until it holds or the limit has passed.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The pause between two questions; it only spares the CPU, no test depends on its length.
const PAUSE: Duration = Duration::from_millis(2);

/// Asks `question` until it answers, at most for `limit`.
pub fn until_some<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks `question` until it is true; fails the test, naming `what`, when it is still false after [`super::LIMIT`].
#[track_caller]
pub fn until(what: &str, mut question: impl FnMut() -> bool) {
    assert!(
        until_some(super::LIMIT, || question().then_some(())).is_some(),
        "waited {:?} in vain for: {what}",
        super::LIMIT
    );
}

/// Holds others up until the test lets them pass, or has ended, or [`super::LIMIT`] has passed: what waits behind it never
/// hangs a test.
pub fn gate() -> (Key, Gate) {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    (Key(shared.clone()), Gate(shared))
}

/// Opens a [`gate`] when it is turned, and when it is dropped.
#[derive(Debug)]
pub struct Key(Arc<(Mutex<bool>, Condvar)>);

/// What is waited at.
#[derive(Clone, Debug)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Key {
    /// Lets all pass, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.open();
    }
}

impl Gate {
    /// Waits until it is open; all that wait do so at the same time.
    pub fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        let wait = self
            .0
            .1
            .wait_timeout_while(open, super::LIMIT, |open| !*open);
        assert!(*wait.unwrap().0, "nobody has opened the gate");
    }
}
