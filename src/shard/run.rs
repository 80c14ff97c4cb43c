//! A shard's thread: pinned to its core, with a runtime of its own, reading its mail until it ends.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Parts, Room, Serve, Shard, drain};
use crate::mail::{Inbox, Mail, Outbox, Post};
use crate::net::bell::Bell;
use crate::net::busy;
use crate::net::deadline::Deadlines;
use crate::net::join::{First, race};
use crate::net::runtime::{self, Choice, Runtime};

/// How a shard is started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The core to pin its thread to; `None` leaves the thread where it is.
    pub core: Option<usize>,
    /// The driver to run on.
    pub choice: Choice,
    /// Submission entries of its ring.
    pub ring_entries: u32,
    /// `worker_connections`.
    pub sockets_max: usize,
    /// How long to look for completions before it sleeps; zero is not at all.
    pub busy_poll: Duration,
    /// How large its pools may be.
    pub room: Room,
}

/// Waits before a full box is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// Tries of a shard that ends.
const LAST_TRIES: u32 = 20;

/// Room for fifty subrequests, each polled inside its parent's poll. Only pages that are touched cost memory.
const STACK_BYTES: usize = 32 << 20;

/// Starts a shard's thread. `make` runs on it. The thread ends after [`Mail::Drain`] or [`Mail::Stop`] and tells
/// control so with [`Mail::Ended`]; it fails only when its runtime cannot be built.
pub fn start<S, F>(
    setup: Setup,
    inbox: Inbox<Mail>,
    post: Post<Mail>,
    make: F,
) -> io::Result<JoinHandle<io::Result<()>>>
where
    S: Serve,
    F: FnOnce(&Parts) -> S + Send + 'static,
{
    let name = format!("shard {}", inbox.own().0);
    let thread = std::thread::Builder::new()
        .name(name)
        .stack_size(STACK_BYTES);
    thread.spawn(move || {
        if let Some(id) = setup.core {
            core_affinity::set_for_current(core_affinity::CoreId { id });
        }
        let entries = setup.ring_entries;
        let mut runtime = Runtime::polling(&setup.choice, entries, setup.busy_poll)?;
        runtime.run(main(setup, inbox, post, make))
    })
}

async fn main<S, F>(setup: Setup, inbox: Inbox<Mail>, post: Post<Mail>, make: F) -> io::Result<()>
where
    S: Serve,
    F: FnOnce(&Parts) -> S,
{
    let own = inbox.own();
    let parts = Parts {
        index: own,
        deadlines: Deadlines::new(),
        outbox: Rc::new(Outbox::new(post, own)),
        room: setup.room,
    };
    let service = make(&parts);
    let shard = Shard::new(parts, setup.sockets_max, service);
    runtime::spawn(shard.deadlines.clone().run());
    runtime::spawn(flush(shard.outbox.clone()));
    if !setup.busy_poll.is_zero() {
        runtime::spawn(busy::spin(setup.busy_poll));
    }
    runtime::spawn(super::accept::collect(shard.clone()));
    S::started(&shard);
    read_mail(&shard, &inbox).await?;
    shard.close_listeners();
    S::end(&shard).await;
    shard
        .outbox
        .post(shard.outbox.control(), Mail::Ended { shard: own });
    // A box may be full for a moment; that of a shard that has ended stays full.
    for _ in 0..LAST_TRIES {
        if !shard.outbox.flush() {
            break;
        }
        runtime::sleep(RETRY).await;
    }
    Ok(())
}

/// Sends what the shard's tasks have put in, once per turn of the loop.
async fn flush(outbox: Rc<Outbox<Mail>>) {
    loop {
        outbox.filled().await;
        if outbox.flush() {
            runtime::sleep(RETRY).await;
        }
    }
}

/// Reads mail until the shard has to end.
async fn read_mail<S: Serve>(shard: &Rc<Shard<S>>, inbox: &Inbox<Mail>) -> io::Result<()> {
    let bell = Bell::new(inbox.bell()?)?;
    let mut letters = VecDeque::new();
    let mut ended = pin!(shard.ended.wait());
    loop {
        inbox.take(&mut letters);
        while let Some(letter) = letters.pop_front() {
            match letter {
                Mail::Stop => return Ok(()),
                Mail::Drain { within } => {
                    if !shard.draining.get() {
                        runtime::spawn(drain::drain(shard.clone(), within));
                    }
                }
                letter => S::mail(shard, letter),
            }
        }
        match race(ended.as_mut(), pin!(bell.wait())).await {
            First::Left(()) => return Ok(()),
            First::Right(result) => result?,
        }
    }
}

#[cfg(test)]
mod tests;
