//! Deadlines of all sockets of a shard, without a timer per operation: arming is one store into a dense table, and
//! one task looks at the table about every [`TICK`]. A due receive has its receiving direction shut down, a due
//! send both directions, which completes the pending operation; the owner then asks whether it expired.
//!
//! The same sweep notices peers that hang up while nobody receives from them, and keeps the
//! list of connections that idle between requests, so that a drain can end them. What has no socket of its own, as a
//! stream of a multiplexed connection, takes part by a [`Port`].

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use rustix::net::Shutdown;
use slab::Slab;

use super::clock::{self, Mono};
use super::runtime;
use super::sys::{fd, poll};

/// How often the table is looked at; a deadline fires at most two ticks late and never early.
pub const TICK: Duration = Duration::from_millis(20);
const TICK_MS: u64 = 20;

/// Watched peers are polled every so many ticks, and only when they were already watched one round before: an
/// exchange that is quicker costs nothing.
const WATCH_TICKS: u64 = 3;

const NEVER: u64 = u64::MAX;

/// A socket's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotId(u32);

/// What the sweep did to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// The receive deadline passed.
    Recv,
    /// The send (or connect) deadline passed.
    Send,
}

mod flag {
    /// Waits for its next request; a drain may end it.
    pub(super) const IDLE: u16 = 1;
    /// Its peer is looked at for hanging up.
    pub(super) const WATCH: u16 = 2;
    /// Was watched already when the last round looked.
    pub(super) const SEEN: u16 = 4;
    /// The peer hung up while watched.
    pub(super) const GONE: u16 = 8;
    /// The receive deadline passed.
    pub(super) const RECV_DUE: u16 = 16;
    /// The send deadline passed.
    pub(super) const SEND_DUE: u16 = 32;
    /// Shut down because the socket linked to it lost its peer.
    pub(super) const CUT: u16 = 64;
    /// Shut down by a drain while it was idle.
    pub(super) const DRAINED: u16 = 128;
    /// A wait has become long.
    pub(super) const LONG: u16 = 256;
    /// While watched, a peer that says anything counts as one that hung up.
    pub(super) const QUIET: u16 = 512;
    /// Has not begun a request yet.
    pub(super) const FRESH: u16 = 1024;
}

/// No place has this number.
const NO_LINK: (u32, NonZeroU32) = (u32::MAX, NonZeroU32::MIN);

/// Stands for the descriptor of a place without a socket.
const NO_SOCKET: RawFd = -1;

/// Names a place in the table to who may cut it; means nothing any more when its owner is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(SlotId, NonZeroU32);

#[derive(Debug)]
struct Slot {
    recv: u64,
    send: u64,
    /// When to tell a waiting task that its wait has become long, and the task.
    patience: u64,
    waiter: Option<Waker>,
    raw: RawFd,
    /// Tells this socket from those that had the same place before.
    serial: NonZeroU32,
    /// The place and the serial of the socket to shut down when this one's peer hangs up; [`NO_LINK`] for none. Not an
    /// `Option`, so that a slot is one line of the cache; the serial's missing zero tells a free place in the table.
    link: (u32, NonZeroU32),
    /// The configuration that was in force when the socket came, or when it began its last request.
    epoch: u32,
    flags: u16,
}

impl Slot {
    /// Ends a wait for the next request.
    fn drain(&mut self) {
        self.flags |= flag::DRAINED;
        let _ = fd::shutdown(self.raw, Shutdown::Read);
    }

    fn cut(&mut self) -> Option<Waker> {
        self.flags |= flag::CUT;
        self.shut(Shutdown::Both)
    }

    /// Ends a direction; who waits without a socket is to be woken when the table is free again.
    fn shut(&mut self, how: Shutdown) -> Option<Waker> {
        if self.raw == NO_SOCKET {
            return self.waiter.take();
        }
        let _ = fd::shutdown(self.raw, how);
        None
    }
}

/// The table of one shard. Shared by every socket of it through an `Rc`.
#[derive(Debug)]
pub struct Deadlines {
    slots: RefCell<Slab<Slot>>,
    /// The time of the last tick: arming needs no clock read.
    now: Cell<u64>,
    /// Nothing in the table is due before this.
    earliest: Cell<u64>,
    ticks: Cell<u64>,
    watched: Cell<usize>,
    /// A quiet peer is watched that no tick has looked at yet.
    quiet_is_new: Cell<bool>,
    idle: Cell<usize>,
    serial: Cell<NonZeroU32>,
    epoch: Cell<u32>,
    stopped: Cell<bool>,
    batch: RefCell<(Vec<poll::PollFd>, Vec<u32>)>,
}

impl Deadlines {
    /// An empty table. Nothing fires before [`Deadlines::run`] is spawned.
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::new(Slab::new()),
            now: Cell::new(clock::mono().0),
            earliest: Cell::new(NEVER),
            ticks: Cell::new(0),
            watched: Cell::new(0),
            quiet_is_new: Cell::new(false),
            idle: Cell::new(0),
            serial: Cell::new(NonZeroU32::MIN),
            epoch: Cell::new(0),
            stopped: Cell::new(false),
            batch: RefCell::default(),
        })
    }

    /// The sweep: spawn it once per shard.
    pub async fn run(self: Rc<Self>) {
        while !self.stopped.get() {
            runtime::sleep(TICK).await;
            self.sweep(clock::mono());
        }
    }

    /// Ends [`Deadlines::run`] at its next tick.
    pub fn stop(&self) {
        self.stopped.set(true);
    }

    /// The time of the last tick: cheap, and at most a tick (or a busy turn of the loop) old.
    pub fn now(&self) -> Mono {
        Mono(self.now.get())
    }

    /// Sockets in the table.
    pub fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Whether no socket is in the table.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Connections that wait for their next request.
    pub fn idle_count(&self) -> usize {
        self.idle.get()
    }

    pub(super) fn register(&self, raw: RawFd) -> SlotId {
        let next = self.serial.get().checked_add(1);
        self.serial.set(next.unwrap_or(NonZeroU32::MIN));
        let slot = Slot {
            recv: NEVER,
            send: NEVER,
            patience: NEVER,
            waiter: None,
            raw,
            serial: self.serial.get(),
            link: NO_LINK,
            epoch: self.epoch.get(),
            flags: flag::FRESH,
        };
        SlotId(self.slots.borrow_mut().insert(slot) as u32)
    }

    pub(super) fn release(&self, id: SlotId) {
        self.set_idle(id, false);
        self.unwatch(id);
        let _slot = self.slots.borrow_mut().remove(id.0 as usize);
    }

    fn with<R>(&self, id: SlotId, f: impl FnOnce(&mut Slot) -> R) -> R {
        let mut slots = self.slots.borrow_mut();
        f(slots
            .get_mut(id.0 as usize)
            .expect("invariant: a live socket keeps its slot"))
    }

    /// Tells the table's ticks apart: what is armed twice within one is due at the same time.
    pub(super) fn tick(&self) -> u64 {
        self.now.get()
    }

    #[inline]
    fn due_after(&self, after: Duration) -> u64 {
        let after_ms = after.subsec_millis();
        // One tick more, because `now` may be that old: never early.
        // By hand: `as_millis` counts in 128 bits.
        let after = after.as_secs().saturating_mul(1000);
        let after = after.saturating_add(u64::from(after_ms));
        let due = (self.now.get() + TICK_MS).saturating_add(after);
        if due < self.earliest.get() {
            self.earliest.set(due);
        }
        due
    }

    /// From now on until disarmed or armed anew: receiving must end within `after`.
    pub(super) fn arm_recv(&self, id: SlotId, after: Duration) {
        let due = self.due_after(after);
        self.with(id, |slot| slot.recv = due);
    }

    pub(super) fn arm_send(&self, id: SlotId, after: Duration) {
        let due = self.due_after(after);
        self.with(id, |slot| slot.send = due);
    }

    /// A wait for the next request begins, in one access: it is idle, must end within `after`, and its task is told,
    /// once, when `patience` has passed.
    pub(super) fn begin_wait(
        &self,
        id: SlotId,
        after: Option<Duration>,
        patience: Option<Duration>,
    ) {
        let recv = after.map(|after| self.due_after(after));
        let patience = patience.map(|patience| self.due_after(patience));
        let was = self.with(id, |slot| {
            if let Some(due) = recv {
                slot.recv = due;
            }
            if let Some(due) = patience {
                slot.patience = due;
                slot.flags &= !flag::LONG;
            }
            let was = slot.flags & flag::IDLE != 0;
            slot.flags |= flag::IDLE;
            was
        });
        self.note_idle(was, true);
    }

    /// Such a wait is over, or was dropped.
    pub(super) fn end_wait(&self, id: SlotId) {
        // The waker is dropped outside the borrow: a task may go with it.
        let (was, _waiter) = self.with(id, |slot| {
            slot.recv = NEVER;
            slot.patience = NEVER;
            let was = slot.flags & flag::IDLE != 0;
            slot.flags &= !(flag::IDLE | flag::LONG);
            (was, slot.waiter.take())
        });
        self.note_idle(was, false);
    }

    /// Whether the patience is over; else the task will be woken when it is.
    pub(super) fn poll_patience(&self, id: SlotId, cx: &Context<'_>) -> bool {
        self.with(id, |slot| {
            if slot.flags & flag::LONG != 0 {
                return true;
            }
            if !slot
                .waiter
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
            {
                slot.waiter = Some(cx.waker().clone());
            }
            false
        })
    }

    pub(super) fn disarm_recv(&self, id: SlotId) {
        self.with(id, |slot| slot.recv = NEVER);
    }

    pub(super) fn disarm_send(&self, id: SlotId) {
        self.with(id, |slot| slot.send = NEVER);
    }

    pub(super) fn expired(&self, id: SlotId) -> Option<Expired> {
        match self.with(id, |slot| slot.flags) {
            f if f & flag::SEND_DUE != 0 => Some(Expired::Send),
            f if f & flag::RECV_DUE != 0 => Some(Expired::Recv),
            _ => None,
        }
    }

    /// Whether the socket was shut down, by a deadline or from outside.
    pub(super) fn is_shut(&self, id: SlotId) -> bool {
        self.with(id, |slot| slot.flags) & (flag::SEND_DUE | flag::RECV_DUE | flag::CUT) != 0
    }

    /// Whether neither a deadline nor a drain has ended a wait.
    pub(super) fn is_undisturbed(&self, id: SlotId) -> bool {
        self.with(id, |slot| slot.flags) & (flag::SEND_DUE | flag::RECV_DUE | flag::DRAINED) == 0
    }

    pub(super) fn peer_gone(&self, id: SlotId) -> bool {
        self.with(id, |slot| slot.flags) & flag::GONE != 0
    }

    pub(super) fn cut(&self, id: SlotId) -> bool {
        self.with(id, |slot| slot.flags) & flag::CUT != 0
    }

    pub(super) fn drained(&self, id: SlotId) -> bool {
        self.with(id, |slot| slot.flags) & flag::DRAINED != 0
    }

    /// The name of a place.
    pub(super) fn mark(&self, id: SlotId) -> Mark {
        Mark(id, self.with(id, |slot| slot.serial))
    }

    /// Looks at the peer from time to time; when it hangs up, `link` is shut down.
    pub(super) fn watch(&self, id: SlotId, link: Option<Mark>) {
        let link = link.map_or(NO_LINK, |Mark(id, serial)| (id.0, serial));
        self.watch_as(id, link, 0);
    }

    fn watch_as(&self, id: SlotId, link: (u32, NonZeroU32), how: u16) {
        let fresh = self.with(id, |slot| {
            slot.link = link;
            let fresh = slot.flags & flag::WATCH == 0;
            slot.flags = (slot.flags | flag::WATCH | how) & !flag::SEEN;
            fresh
        });
        if fresh {
            self.watched.set(self.watched.get() + 1);
        }
    }

    /// Looks at a peer that has nothing to say: bytes from it are as bad as its end.
    pub(super) fn watch_quiet(&self, id: SlotId) {
        self.watch_as(id, NO_LINK, flag::QUIET);
        self.quiet_is_new.set(true);
    }

    pub(super) fn unwatch(&self, id: SlotId) {
        let was = self.with(id, |slot| {
            let was = slot.flags & flag::WATCH != 0;
            slot.flags &= !(flag::WATCH | flag::SEEN | flag::QUIET);
            slot.link = NO_LINK;
            was
        });
        if was {
            self.watched.set(self.watched.get() - 1);
        }
    }

    pub(super) fn set_idle(&self, id: SlotId, idle: bool) {
        let was = self.with(id, |slot| {
            let was = slot.flags & flag::IDLE != 0;
            if idle {
                slot.flags |= flag::IDLE;
            } else {
                slot.flags &= !flag::IDLE;
            }
            was
        });
        self.note_idle(was, idle);
    }

    fn note_idle(&self, was: bool, idle: bool) {
        match (was, idle) {
            (false, true) => self.idle.set(self.idle.get() + 1),
            (true, false) => self.idle.set(self.idle.get() - 1),
            _ => {}
        }
    }

    /// Ends connections that wait for their next request, at most `count` of them; returns how many it ended. A
    /// request that has already arrived is still received and answered: only the wait for more is cut. Those that
    /// have not begun their first request are spared unless `fresh`.
    pub fn close_idle(&self, count: usize, fresh: bool) -> usize {
        let mut ended = 0;
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            if ended == count {
                break;
            }
            let spared = slot.flags & flag::FRESH != 0 && !fresh;
            if slot.flags & flag::IDLE != 0 && slot.flags & flag::DRAINED == 0 && !spared {
                slot.drain();
                ended += 1;
            }
        }
        ended
    }

    /// Another configuration is in force from now on; returns its number here.
    pub fn next_epoch(&self) -> u32 {
        self.epoch.set(self.epoch.get() + 1);
        self.epoch.get()
    }

    /// A request begins on the connection, under the configuration that is in force.
    pub(super) fn begin(&self, id: SlotId) {
        let epoch = self.epoch.get();
        self.with(id, |slot| {
            slot.epoch = epoch;
            slot.flags &= !flag::FRESH;
        });
    }

    /// Ends what belongs to an older configuration than `epoch`: idle connections as a drain does, others at once.
    pub fn end_before(&self, epoch: u32) {
        let mut woken = Vec::new();
        let mut slots = self.slots.borrow_mut();
        for (_, slot) in slots.iter_mut().filter(|(_, slot)| slot.epoch < epoch) {
            if slot.flags & flag::IDLE != 0 {
                slot.drain();
            } else {
                woken.extend(slot.cut());
            }
        }
        drop(slots);
        wake(woken);
    }

    /// Cuts one socket, as if its link had lost its peer.
    pub fn cut_one(&self, Mark(id, serial): Mark) {
        let waiter = match self.slots.borrow_mut().get_mut(id.0 as usize) {
            Some(slot) if slot.serial == serial => slot.cut(),
            _ => None,
        };
        wake(waiter);
    }

    /// Cuts every socket of the shard: the end of a drain whose time is over.
    pub fn cut_all(&self) {
        let mut woken = Vec::new();
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            woken.extend(slot.cut());
        }
        wake(woken);
    }

    /// One look at the table at time `now`. [`Deadlines::run`] calls it.
    pub fn sweep(&self, now: Mono) {
        self.now.set(now.0);
        self.ticks.set(self.ticks.get() + 1);
        if now.0 >= self.earliest.get() {
            self.fire(now.0);
        }
        let round = self.watched.get() > 0 && self.ticks.get().is_multiple_of(WATCH_TICKS);
        if round || self.quiet_is_new.replace(false) {
            self.look_at_peers(round);
        }
    }

    fn fire(&self, now: u64) {
        let mut earliest = NEVER;
        // Woken after the borrow ends. Empty, and so without a heap, unless a wait has become long.
        let mut long = Vec::new();
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            if slot.send <= now {
                slot.flags |= flag::SEND_DUE;
                slot.send = NEVER;
                slot.recv = NEVER;
                long.extend(slot.shut(Shutdown::Both));
            } else if slot.recv <= now {
                slot.flags |= flag::RECV_DUE;
                slot.recv = NEVER;
                // Only this direction: an answer such as 408 can still be sent, and no FIN precedes a wanted reset.
                long.extend(slot.shut(Shutdown::Read));
            }
            if slot.patience <= now {
                slot.flags |= flag::LONG;
                slot.patience = NEVER;
                long.extend(slot.waiter.take());
            }
            earliest = earliest.min(slot.send).min(slot.recv).min(slot.patience);
        }
        self.earliest.set(earliest);
        wake(long);
    }

    /// In a round, looks at all peers that were watched in the last one already. Peers that must be quiet are looked
    /// at in the first tick too: what they send late would be taken for the answer to the next request.
    fn look_at_peers(&self, round: bool) {
        // Empty, and so without a heap, unless a place without a socket is cut.
        let mut woken = Vec::new();
        let mut batch = self.batch.borrow_mut();
        let (entries, ids) = &mut *batch;
        entries.clear();
        ids.clear();
        let mut slots = self.slots.borrow_mut();
        for (id, slot) in slots.iter_mut() {
            if slot.flags & (flag::WATCH | flag::GONE) != flag::WATCH {
                continue;
            }
            let (quiet, seen) = (slot.flags & flag::QUIET != 0, slot.flags & flag::SEEN != 0);
            if quiet || round {
                slot.flags |= flag::SEEN;
            }
            let due = if quiet { round || !seen } else { round && seen };
            if !due {
                continue;
            }
            entries.push(if !quiet {
                poll::hangup(slot.raw)
            } else {
                poll::any(slot.raw)
            });
            ids.push(id as u32);
        }
        if entries.is_empty() || !poll::poll_now(entries).is_ok_and(|n| n > 0) {
            return;
        }
        for (entry, id) in entries.iter().zip(ids.iter()) {
            if !poll::hung_up(entry) {
                continue;
            }
            let Some(slot) = slots.get_mut(*id as usize) else {
                continue;
            };
            slot.flags |= flag::GONE;
            let (at, serial) = slot.link;
            if let Some(linked) = slots.get_mut(at as usize)
                && linked.serial == serial
            {
                woken.extend(linked.cut());
            }
        }
        drop(slots);
        drop(batch);
        wake(woken);
    }
}

/// Called while nobody borrows the table: a task may go with its waker.
fn wake(woken: impl IntoIterator<Item = Waker>) {
    for waiter in woken {
        waiter.wake();
    }
}

/// A place in the table without a socket: for who waits on a stream of a shared connection. It can be cut as a socket
/// can, and its deadline wakes the task instead of shutting anything down.
#[derive(Debug)]
pub struct Port {
    slot: SlotId,
    deadlines: Rc<Deadlines>,
}

/// Why a wait at a [`Port`] is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// It was cut.
    Cut,
    /// Its deadline passed.
    Expired,
}

impl Port {
    /// A place without a deadline.
    #[must_use]
    pub fn new(deadlines: &Rc<Deadlines>) -> Self {
        Self {
            slot: deadlines.register(NO_SOCKET),
            deadlines: deadlines.clone(),
        }
    }

    /// For who may cut it.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.deadlines.mark(self.slot)
    }

    /// The table.
    #[must_use]
    pub fn deadlines(&self) -> &Rc<Deadlines> {
        &self.deadlines
    }

    /// Sets the deadline anew.
    pub fn arm(&self, after: Duration) {
        self.deadlines.arm_recv(self.slot, after);
        self.deadlines
            .with(self.slot, |slot| slot.flags &= !flag::RECV_DUE);
    }

    /// Takes the deadline off.
    pub fn disarm(&self) {
        self.deadlines.disarm_recv(self.slot);
    }

    /// Whether it was cut.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.deadlines.cut(self.slot)
    }

    /// What has happened to it; else the task will be woken when something does.
    pub fn poll(&self, cx: &Context<'_>) -> Option<PortEvent> {
        // The old waker is dropped outside the borrow: a task may go with it.
        let (event, _old) = self.deadlines.with(self.slot, |slot| {
            if slot.flags & flag::CUT != 0 {
                return (Some(PortEvent::Cut), None);
            }
            if slot.flags & flag::RECV_DUE != 0 {
                return (Some(PortEvent::Expired), None);
            }
            let known = slot.waiter.as_ref();
            if known.is_some_and(|waiter| waiter.will_wake(cx.waker())) {
                return (None, None);
            }
            (None, slot.waiter.replace(cx.waker().clone()))
        });
        event
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.deadlines.release(self.slot);
    }
}

/// A [`Mark`] together with its table.
#[derive(Clone, Debug)]
pub struct Link(pub(super) Mark, pub(super) Rc<Deadlines>);

impl Link {
    /// Joins them.
    #[must_use]
    pub fn new(mark: Mark, deadlines: &Rc<Deadlines>) -> Self {
        Self(mark, deadlines.clone())
    }

    /// Cuts what is marked, if it is still there.
    pub fn cut(&self) {
        self.1.cut_one(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::runtime::on_each_driver;
    use std::future::poll_fn;
    use std::task::Poll;

    async fn event(port: &Port) -> PortEvent {
        poll_fn(|cx| port.poll(cx).map_or(Poll::Pending, Poll::Ready)).await
    }

    #[test]
    fn a_port_is_woken_by_its_deadline_and_by_a_cut() {
        on_each_driver(|| async {
            let deadlines = Deadlines::new();
            let _sweep = runtime::spawn(deadlines.clone().run());
            let port = Port::new(&deadlines);
            port.arm(Duration::from_millis(30));
            assert_eq!(event(&port).await, PortEvent::Expired);
            port.arm(Duration::from_secs(60));
            let link = Link(port.mark(), deadlines.clone());
            let task = runtime::spawn(async move { event(&port).await });
            runtime::yield_now().await;
            link.cut();
            assert_eq!(task.await, PortEvent::Cut);
            // The place is free again, and may be another's.
            let next = Port::new(&deadlines);
            link.cut();
            assert!(!next.is_cut());
            deadlines.stop();
        });
    }
}
