//! Big futures without an allocation per request: each worker is one boxed loop that serves a job, gives the result
//! back and waits in a free list for the next. A connection that idles holds none.
//!
//! Boxed as `dyn`, because the type of an async function's future has no name to put into a shard's fields; it is
//! one indirect call per wake-up.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

/// Workers that wait, at most; more are dropped after their job.
const IDLE_MAX: usize = 1024;

/// Where a job waits for its worker, and its result for the connection.
struct Slot<J, R> {
    job: Cell<Option<J>>,
    result: Cell<Option<R>>,
}

/// A loop that serves one job after the other.
struct Worker<J, R> {
    slot: Rc<Slot<J, R>>,
    body: Pin<Box<dyn Future<Output = ()>>>,
}

/// The workers of a shard that have nothing to do.
pub(super) struct Workers<J, R> {
    idle: RefCell<Vec<Worker<J, R>>>,
}

impl<J: 'static, R: 'static> Workers<J, R> {
    /// None yet: they are made as they are needed.
    pub(super) fn new() -> Self {
        Self {
            idle: RefCell::new(Vec::new()),
        }
    }

    /// Runs `serve` on a job, in a worker that is warm if there is one. All calls must pass the same `serve`. The job is
    /// handed over at once: the future is no larger than a worker's place.
    pub(super) fn run<F>(
        &self,
        job: J,
        serve: fn(J) -> F,
    ) -> impl Future<Output = R> + use<'_, J, R, F>
    where
        F: Future<Output = R> + 'static,
    {
        let idle = self.idle.borrow_mut().pop();
        let mut worker = idle.unwrap_or_else(|| Worker::new(serve));
        worker.slot.job.set(Some(job));
        async move {
            // A panic leaves through here and takes the worker along, half-done as it is.
            let result = poll_fn(|cx| {
                let _ = worker.body.as_mut().poll(cx);
                match worker.slot.result.take() {
                    Some(result) => Poll::Ready(result),
                    None => Poll::Pending,
                }
            })
            .await;
            let mut idle = self.idle.borrow_mut();
            if idle.len() < IDLE_MAX {
                idle.push(worker);
            }
            result
        }
    }
}

impl<J: 'static, R: 'static> Worker<J, R> {
    fn new<F>(serve: fn(J) -> F) -> Self
    where
        F: Future<Output = R> + 'static,
    {
        let slot = Rc::new(Slot {
            job: Cell::new(None),
            result: Cell::new(None),
        });
        let own = slot.clone();
        let body = Box::pin(async move {
            loop {
                // Whoever polls has put a job in first, or has just taken a result out.
                let job = poll_fn(|_| match own.job.take() {
                    Some(job) => Poll::Ready(job),
                    None => Poll::Pending,
                })
                .await;
                // Pinned where it is made: awaiting it by value would copy its kilobytes.
                let mut serving = pin!(serve(job));
                let result = poll_fn(|cx| serving.as_mut().poll(cx)).await;
                own.result.set(Some(result));
            }
        });
        Self { slot, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::runtime;

    async fn double(n: u32) -> u32 {
        runtime::yield_now().await;
        n * 2
    }

    #[test]
    fn workers_are_used_again() {
        runtime::on_each_driver(|| async {
            let workers = Workers::new();
            for n in 0..10 {
                assert_eq!(workers.run(n, double).await, n * 2);
                assert_eq!(workers.idle.borrow().len(), 1);
            }
            let (a, b) =
                crate::net::join::join2(workers.run(1, double), workers.run(2, double)).await;
            assert_eq!((a, b), (2, 4));
            assert_eq!(workers.idle.borrow().len(), 2);
        });
    }
}
