//! Two futures in one, each stored once: an async function would keep what it is handed and what it pins, which
//! doubles the largest tasks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// See [`crate::net::join::join2`].
pub struct Both<A: Future, B: Future> {
    a: A,
    b: B,
    done: (Option<A::Output>, Option<B::Output>),
}

impl<A: Future, B: Future> Both<A, B> {
    /// Neither has begun.
    pub fn new(a: A, b: B) -> Self {
        Self {
            a,
            b,
            done: (None, None),
        }
    }
}

impl<A: Future, B: Future> Future for Both<A, B> {
    type Output = (A::Output, B::Output);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `a` and `b` are only reached through the pins below and never moved out; `done` is never pinned.
        let this = unsafe { self.get_unchecked_mut() };
        if this.done.0.is_none() {
            // SAFETY: self is pinned and owns `a`, which stays where it is until self is dropped.
            let a = unsafe { Pin::new_unchecked(&mut this.a) };
            if let Poll::Ready(out) = a.poll(cx) {
                this.done.0 = Some(out);
            }
        }
        if this.done.1.is_none() {
            // SAFETY: self is pinned and owns `b`, which stays where it is until self is dropped.
            let b = unsafe { Pin::new_unchecked(&mut this.b) };
            if let Poll::Ready(out) = b.poll(cx) {
                this.done.1 = Some(out);
            }
        }
        match std::mem::take(&mut this.done) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            done => {
                this.done = done;
                Poll::Pending
            }
        }
    }
}
