//! Several futures on one task, without allocation: both directions of a connection, a receive and a signal.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;

use super::clock;
use super::sys::both::Both;

/// Runs both to their ends.
pub fn join2<A: Future, B: Future>(a: A, b: B) -> Both<A, B> {
    Both::new(a, b)
}

/// What ended first in [`race`].
#[derive(Debug, PartialEq, Eq)]
pub enum First<A, B> {
    /// The first future.
    Left(A),
    /// The second future.
    Right(B),
}

/// Runs both until one ends. The other one stays pinned where its owner put it and may be polled on: a receive
/// that owns a buffer must be, or the bytes it already took are lost.
pub async fn race<A: Future, B: Future>(
    mut a: Pin<&mut A>,
    mut b: Pin<&mut B>,
) -> First<A::Output, B::Output> {
    poll_fn(move |cx| {
        if let Poll::Ready(out) = a.as_mut().poll(cx) {
            return Poll::Ready(First::Left(out));
        }
        match b.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(First::Right(out)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Runs a future and turns a panic in it into an error with the panic's message. The future is dropped then. It is
/// made inside, because a future that is handed over would be stored twice in the task. Each poll is one turn of
/// [`clock::in_turn`].
pub async fn catch<F: Future>(make: impl FnOnce() -> F) -> Result<F::Output, String> {
    let mut future = pin!(make());
    poll_fn(move |cx| {
        match catch_unwind(AssertUnwindSafe(|| {
            clock::in_turn(|| future.as_mut().poll(cx))
        })) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(out)) => Poll::Ready(Ok(out)),
            Err(thrown) => Poll::Ready(Err(message(thrown.as_ref()))),
        }
    })
    .await
}

fn message(thrown: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = thrown.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = thrown.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Waker};

    fn now<F: Future>(future: F) -> Poll<F::Output> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn both_results_arrive_whatever_the_order() {
        let mut turns = 0;
        let late = poll_fn(move |_| {
            turns += 1;
            if turns > 1 {
                Poll::Ready(turns)
            } else {
                Poll::Pending
            }
        });
        let mut both = pin!(join2(async { 7 }, late));
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(both.as_mut().poll(cx), Poll::Pending);
        assert_eq!(both.as_mut().poll(cx), Poll::Ready((7, 2)));
    }

    #[test]
    fn the_loser_of_a_race_can_go_on() {
        let mut waits = pin!(std::future::pending::<()>());
        let mut ready = pin!(async { 1 });
        assert_eq!(
            now(race(waits.as_mut(), ready.as_mut())),
            Poll::Ready(First::Right(1))
        );
        assert!(now(waits.as_mut()).is_pending());
    }

    #[test]
    fn a_panic_becomes_its_message() {
        let out = now(catch(|| async {
            assert!(std::hint::black_box(false), "boom")
        }));
        assert_eq!(out, Poll::Ready(Err("boom".to_owned())));
        assert_eq!(now(catch(|| async { 3 })), Poll::Ready(Ok(3)));
    }
}
