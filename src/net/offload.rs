//! Work that would keep a shard busy or make it wait (walking a directory, a slow hash), on helper threads of the
//! process. Start with [`run`].
#![expect(
    clippy::disallowed_types,
    reason = "the queues to the helpers; shards only ever try them and wait on their own ring"
)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::bell::{self, Bell};

/// Helper threads of each kind; they start with the first work and stay.
const THREADS: usize = 4;

/// Pieces of work that may wait for a helper; more are refused, so that a flood ends as errors and not as memory.
const WAITING_MAX: usize = 1024;

/// How much those that compute or tidy up stand back behind the shards.
const NICE: i32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// Those that wait for a disk.
static HELPERS: LazyLock<io::Result<SyncSender<Job>>> = LazyLock::new(|| start(THREADS, 0));

/// Those that compute: on half the cores at most, and after the shards.
static COMPUTERS: LazyLock<io::Result<SyncSender<Job>>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    start((cores / 2).clamp(1, THREADS), NICE)
});

/// Those that tidy up: nobody waits for them, so that all others go first.
static TIDIERS: LazyLock<io::Result<SyncSender<Job>>> = LazyLock::new(|| start(2, NICE));

fn start(threads: usize, nice: i32) -> io::Result<SyncSender<Job>> {
    let (jobs, queue) = sync_channel::<Job>(WAITING_MAX);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..threads {
        let queue = queue.clone();
        std::thread::Builder::new()
            .name("ringx-helper".to_owned())
            .spawn(move || {
                stand_back(nice);
                help(&queue);
            })?;
    }
    Ok(jobs)
}

/// For a thread that works little and often, and whose work somebody may look at in a moment: its turns are short, so that
/// it gets one before those that compute. Where that is not allowed, it waits as all do.
pub fn come_first() {
    let _ = super::sys::thread::prefer_short_turns();
}

/// Leaves the core of the shard that started this thread, and its place in the queue for one. Neither is worth an error.
fn stand_back(nice: i32) {
    let main = rustix::process::getpid();
    if let Ok(cores) = rustix::thread::sched_getaffinity(Some(main)) {
        let _ = rustix::thread::sched_setaffinity(None, &cores);
    }
    if nice != 0 {
        let _ = rustix::process::nice(nice);
    }
}

fn help(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            // What panics leaves no result behind, which is how its caller learns of it.
            Ok(job) => drop(catch_unwind(AssertUnwindSafe(job))),
            Err(_) => return,
        }
    }
}

/// Rings when dropped, so that whoever waits wakes even from work that panicked.
struct Ring(OwnedFd);

impl Drop for Ring {
    fn drop(&mut self) {
        // A counter that cannot be written is one that was rung already.
        let _ = rustix::io::write(self.0.as_fd(), &1u64.to_ne_bytes());
    }
}

/// Runs `work` on a helper thread and waits for it without blocking this one. An error when there is too much to do,
/// or when the work panicked. May be dropped: the work goes on and its result is lost.
pub async fn run<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    on(&HELPERS, work).await
}

/// As [`run`], for work that keeps a core busy: shards go first, and what only waits for a disk is not behind it.
pub async fn compute<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    on(&COMPUTERS, work).await
}

/// As [`run`], for what nobody waits for, such as removing files: it stands back behind the shards, which may run on the
/// same core.
pub async fn tidy<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    on(&TIDIERS, work).await
}

async fn on<T, F>(helpers: &io::Result<SyncSender<Job>>, work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let event = bell::event()?;
    let ring = Ring(event.try_clone()?);
    let bell = Bell::new(event)?;
    let place = Arc::new(Mutex::new(None));
    let result = place.clone();
    let job: Job = Box::new(move || {
        // Moved in as a whole, and dropped last.
        let _ring = ring;
        let value = work();
        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    });
    let helpers = helpers
        .as_ref()
        .map_err(|error| io::Error::new(error.kind(), "no helper threads"))?;
    helpers.try_send(job).map_err(|error| match error {
        TrySendError::Full(_) => io::Error::from(io::ErrorKind::WouldBlock),
        TrySendError::Disconnected(_) => io::Error::other("the helper threads are gone"),
    })?;
    bell.wait().await?;
    place
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .ok_or_else(|| io::Error::other("the work panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::runtime;

    #[test]
    fn work_comes_back_from_another_thread() {
        runtime::on_each_driver(|| async {
            let here = std::thread::current().id();
            let there = run(|| std::thread::current().id()).await.unwrap();
            assert_ne!(here, there);
            let mut tasks = Vec::new();
            for n in 0..20u32 {
                tasks.push(runtime::spawn(run(move || n * 2)));
            }
            for (n, task) in tasks.into_iter().enumerate() {
                assert_eq!(task.await.unwrap() as usize, n * 2);
            }
        });
    }

    #[test]
    fn work_that_panics_is_an_error_and_the_helper_stays() {
        runtime::on_each_driver(|| async {
            for _ in 0..2 * THREADS {
                assert!(run(|| -> u8 { panic!("on purpose") }).await.is_err());
            }
            assert_eq!(run(|| 7).await.unwrap(), 7);
            assert_eq!(compute(|| 8).await.unwrap(), 8);
            assert_eq!(tidy(|| 9).await.unwrap(), 9);
        });
    }
}
