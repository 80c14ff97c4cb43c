//! Builds and runs the runtime of the current thread: io_uring where the kernel allows it, epoll elsewhere, and
//! says which and why. Also the few verbs that tasks need: spawn, sleep, yield.

use std::cell::OnceCell;
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode};
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};

use super::sys::burst;
use super::{clock, ready, stream};

/// Submission entries of a shard's ring when nothing else is asked for: one flush per so many operations at most.
pub const RING_ENTRIES_DEFAULT: u32 = 1024;

/// The environment variable that forces a driver, for tests and for operators: `ring` or `epoll`.
pub const DRIVER_ENV: &str = "RINGX_DRIVER";

/// Which driver is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// The ring, or epoll where the ring is refused.
    #[default]
    Auto,
    /// The ring, or an error.
    Ring,
    /// Epoll.
    Epoll,
}

/// Which driver runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    Ring,
    /// epoll.
    Epoll,
}

impl Driver {
    /// As logs and the status page name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

/// The outcome of [`probe`]: the driver and, when it is not the ring, the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The driver that will run.
    pub driver: Driver,
    /// Why the ring is not used; empty when it is.
    pub reason: String,
}

/// Reads [`DRIVER_ENV`].
pub fn prefer_from_env() -> Prefer {
    match std::env::var(DRIVER_ENV).as_deref() {
        Ok("ring") => Prefer::Ring,
        Ok("epoll") => Prefer::Epoll,
        _ => Prefer::Auto,
    }
}

/// Finds out which driver the kernel lets us use. Costs one small ring; call it once per process.
pub fn probe(prefer: Prefer) -> Choice {
    if prefer == Prefer::Epoll {
        return Choice {
            driver: Driver::Epoll,
            reason: "epoll was asked for".to_owned(),
        };
    }
    match try_ring() {
        Ok(()) => Choice {
            driver: Driver::Ring,
            reason: String::new(),
        },
        Err(e) => Choice {
            driver: Driver::Epoll,
            reason: e.to_string(),
        },
    }
}

/// The operations that the runtime submits.
const OPERATIONS: [u8; 13] = [
    opcode::AsyncCancel::CODE,
    opcode::Close::CODE,
    opcode::Fsync::CODE,
    opcode::OpenAt::CODE,
    opcode::PollAdd::CODE,
    opcode::Read::CODE,
    opcode::Recv::CODE,
    opcode::RecvMsg::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::Statx::CODE,
    opcode::Write::CODE,
    opcode::Writev::CODE,
];

/// Where to look, after a comma.
fn hint(error: &io::Error) -> &'static str {
    match error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error)
    {
        Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS) => {
            ", by seccomp or kernel.io_uring_disabled"
        }
        Some(rustix::io::Errno::NOSYS) => ", by this kernel or seccomp",
        Some(rustix::io::Errno::NOMEM) => ", see RLIMIT_MEMLOCK",
        _ => "",
    }
}

/// What a ring of so many entries will be like, for the log.
#[must_use]
pub fn describe_ring(entries: u32, busy: Duration) -> String {
    let mut deferred: io_uring::Builder = IoUring::builder();
    deferred.setup_single_issuer().setup_defer_taskrun();
    let how = if !busy.is_zero() {
        "completions as they come, for busy polling".to_owned()
    } else {
        match deferred.build(8) {
            Ok(_) => "completions deferred".to_owned(),
            Err(e) => format!("completions as they come (deferring them is refused: {e})"),
        }
    };
    format!("{entries} entries, {how}")
}

fn try_ring() -> io::Result<()> {
    let ring = IoUring::new(8).map_err(|e| {
        io::Error::new(
            e.kind(),
            format!("io_uring_setup() failed ({e}{})", hint(&e)),
        )
    })?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|e| {
        io::Error::new(
            e.kind(),
            format!("this kernel's io_uring cannot be probed ({e})"),
        )
    })?;
    if OPERATIONS.iter().all(|op| probe.is_supported(*op)) {
        Ok(())
    } else {
        Err(io::Error::other("this kernel's io_uring lacks operations"))
    }
}

/// A runtime of the current thread. Never torn down: dropping a live ring would free buffers that the kernel still
/// writes to, so what is left of it stays until the process ends.
pub struct Runtime {
    inner: ManuallyDrop<FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>>,
    driver: Driver,
}

impl Runtime {
    /// Builds the runtime that `choice` names.
    pub fn new(choice: &Choice, ring_entries: u32) -> io::Result<Self> {
        Self::polling(choice, ring_entries, Duration::ZERO)
    }

    /// The same, for a thread that runs [`super::busy::spin`] if that time is not zero.
    pub fn polling(choice: &Choice, ring_entries: u32, busy: Duration) -> io::Result<Self> {
        let inner = match choice.driver {
            Driver::Ring => FusionRuntime::Uring(build_ring(ring_entries, busy.is_zero())?),
            Driver::Epoll => FusionRuntime::Legacy(
                RuntimeBuilder::<LegacyDriver>::new()
                    .enable_timer()
                    .build()?,
            ),
        };
        Ok(Self {
            inner: ManuallyDrop::new(inner),
            driver: choice.driver,
        })
    }

    /// Which driver runs.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// Runs the future, and every task it spawns, until the future ends.
    pub fn run<F: Future>(&mut self, main: F) -> F::Output {
        let ring = self.driver == Driver::Ring;
        self.inner.block_on(async move {
            if ring {
                // Without it waits cost more, and nothing else.
                let _ = ready::open();
                stream::open_posts();
                burst::open();
            }
            let output = main.await;
            stream::flush_posts();
            clock::release();
            burst::close();
            output
        })
    }
}

/// The default flags cost a quarter more CPU per request; older kernels refuse these (before 6.1, before 6.0), so step down.
fn build_ring(
    entries: u32,
    sleeps: bool,
) -> io::Result<monoio::Runtime<TimeDriver<IoUringDriver>>> {
    let build = |ring: io_uring::Builder| {
        RuntimeBuilder::<IoUringDriver>::new()
            .with_entries(entries)
            .uring_builder(ring)
            .enable_timer()
            .build()
    };
    // Thousands of idle connections may complete in one turn, as when a drain ends them.
    let completions = entries.saturating_mul(4);
    // What completes is booked when the shard asks for it, all at once, and not at the end of each system call between.
    let mut best = IoUring::builder();
    best.setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(completions);
    let mut good = IoUring::builder();
    good.setup_coop_taskrun()
        .setup_single_issuer()
        .setup_cqsize(completions);
    let mut fair = IoUring::builder();
    fair.setup_coop_taskrun();
    // While tasks are ready the runtime does not ask for what is deferred: who spins would never hear of anything.
    let first = if sleeps {
        build(best)
    } else {
        build(good.clone())
    };
    first
        .or_else(|_| build(good))
        .or_else(|_| build(fair))
        .or_else(|_| build(IoUring::builder()))
}

/// Whether this thread's runtime is the ring. Sockets are blocking under the ring and non-blocking under epoll.
/// Panics outside a runtime.
pub fn on_ring() -> bool {
    !monoio::utils::is_legacy()
}

/// A spawned task; await it for its result, or drop it and the task goes on by itself.
pub struct Task<T>(monoio::task::JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Starts a task on this thread.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Task(monoio::spawn(future))
}

/// Waits at least so long; the granularity is a millisecond.
pub async fn sleep(duration: Duration) {
    // Boxed: a timer is large and wants a whole cache line, which would grow every task that might sleep.
    Box::pin(monoio::time::sleep(duration)).await;
}

thread_local! {
    /// An event counter that is always readable: polling it completes at the next turn of the loop.
    static TURN: OnceCell<Option<&'static monoio::net::udp::UdpSocket>> = const { OnceCell::new() };
}

/// Lets other tasks and their io run. Goes through the driver: a task that merely wakes itself would starve the io
/// of its whole shard.
pub async fn yield_now() {
    // Epoll's readiness is remembered, so that polling what is ready would not leave the task there.
    let turn = if on_ring() {
        TURN.with(|cell| *cell.get_or_init(|| open_turn().ok()))
    } else {
        None
    };
    match turn {
        Some(turn) => {
            let _ = turn.readable(false).await;
        }
        None => sleep(Duration::from_millis(1)).await,
    }
}

fn open_turn() -> io::Result<&'static monoio::net::udp::UdpSocket> {
    let event = rustix::event::eventfd(1, rustix::event::EventfdFlags::CLOEXEC)?;
    let socket = monoio::net::udp::UdpSocket::from_std(std::net::UdpSocket::from(event))?;
    // Leaked on purpose: it lives as long as the thread, and may not be closed after its runtime.
    Ok(Box::leak(Box::new(socket)))
}

/// Runs a test body once on each driver that this machine has.
#[cfg(test)]
pub(crate) fn on_each_driver<F: Future<Output = ()>>(
    body: impl Fn() -> F + Send + Sync + Clone + 'static,
) {
    for prefer in [Prefer::Auto, Prefer::Epoll] {
        let body = body.clone();
        // A thread each, because a thread has one runtime.
        std::thread::spawn(move || {
            let choice = probe(prefer);
            let mut runtime = Runtime::new(&choice, RING_ENTRIES_DEFAULT).unwrap();
            runtime.run(async {
                let limit = std::pin::pin!(sleep(Duration::from_secs(20)));
                let body = std::pin::pin!(body());
                let end = crate::net::join::race(body, limit).await;
                assert_eq!(
                    end,
                    crate::net::join::First::Left(()),
                    "the test hangs on {:?}",
                    choice.driver
                );
            });
        })
        .join()
        .unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn a_forced_driver_is_taken_and_explained() {
        let choice = probe(Prefer::Epoll);
        assert_eq!(choice.driver, Driver::Epoll);
        assert!(!choice.reason.is_empty());
    }

    #[test]
    fn tasks_spawn_sleep_and_yield_on_both_drivers() {
        on_each_driver(|| async {
            let seen = Rc::new(Cell::new(0));
            let other = seen.clone();
            let task = spawn(async move {
                sleep(Duration::from_millis(2)).await;
                other.set(1);
                7
            });
            while seen.get() == 0 {
                yield_now().await;
            }
            assert_eq!(task.await, 7);
        });
    }
}
