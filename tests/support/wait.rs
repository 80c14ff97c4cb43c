//! Bounded waiting: asks a condition again until it holds or the limit has passed.

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
