//! Boxes and how they are filled: a bounded queue for each target, and one wake per batch. The lock is held for a few
//! moves per flush and never on the path of a request.

#![expect(
    clippy::disallowed_types,
    reason = "mail is where shards share something: one lock per flushed batch"
)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::future::poll_fn;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::Target;

/// Messages that a box holds before it refuses more: a target that is this far behind is stuck.
pub const BOX_MAX: usize = 4096;

struct State<M> {
    queue: VecDeque<M>,
    /// The owner has been woken and has not looked yet.
    rung: bool,
}

struct Shared<M> {
    state: Mutex<State<M>>,
    bell: File,
}

impl<M> Shared<M> {
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // A queue is whole whatever happened to who held it: moves into it cannot panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending side of every box; each thread has a clone.
pub struct Post<M> {
    boxes: Arc<[Arc<Shared<M>>]>,
}

impl<M> Clone for Post<M> {
    fn clone(&self) -> Self {
        Self {
            boxes: self.boxes.clone(),
        }
    }
}

/// The receiving side of one box.
pub struct Inbox<M> {
    shared: Arc<Shared<M>>,
    own: Target,
}

impl<M> Post<M> {
    /// One box for each bell: an event counter that is written to when mail comes; its owner waits on another
    /// descriptor of it.
    pub fn new(bells: Vec<OwnedFd>) -> (Self, Vec<Inbox<M>>) {
        let boxes: Arc<[_]> = bells
            .into_iter()
            .map(|bell| {
                let state = State {
                    queue: VecDeque::new(),
                    rung: false,
                };
                Arc::new(Shared {
                    state: Mutex::new(state),
                    bell: File::from(bell),
                })
            })
            .collect();
        let inboxes = boxes
            .iter()
            .enumerate()
            .map(|(n, shared)| Inbox {
                shared: shared.clone(),
                own: Target(n as u16),
            })
            .collect();
        (Self { boxes }, inboxes)
    }

    /// How many boxes there are.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Sends one message at once; gives it back when the box is full.
    pub fn send(&self, to: Target, mail: M) -> Result<(), M> {
        let mut one = VecDeque::from([mail]);
        self.send_all(to, &mut one);
        match one.pop_front() {
            None => Ok(()),
            Some(mail) => Err(mail),
        }
    }

    /// Moves messages into a box, with one lock and at most one wake. What does not fit stays.
    pub fn send_all(&self, to: Target, batch: &mut VecDeque<M>) {
        if batch.is_empty() {
            return;
        }
        let Some(shared) = self.boxes.get(usize::from(to.0)) else {
            return;
        };
        let wake = {
            let mut state = shared.lock();
            let room = BOX_MAX - state.queue.len().min(BOX_MAX);
            let count = batch.len().min(room);
            state.queue.extend(batch.drain(..count));
            // A full box has been rung already.
            count > 0 && !std::mem::replace(&mut state.rung, true)
        };
        if wake {
            // The counter cannot overflow: it is rung once per look.
            let _ = (&shared.bell).write(&1u64.to_ne_bytes());
        }
    }
}

impl<M> Inbox<M> {
    /// Whose box this is.
    pub fn own(&self) -> Target {
        self.own
    }

    /// Takes everything that has come.
    pub fn take(&self, into: &mut VecDeque<M>) {
        let mut state = self.shared.lock();
        state.rung = false;
        if into.is_empty() {
            std::mem::swap(&mut state.queue, into);
        } else {
            into.append(&mut state.queue);
        }
    }

    /// A descriptor that is readable when mail has come, for the owner's runtime or poll.
    pub fn bell(&self) -> std::io::Result<OwnedFd> {
        Ok(self.shared.bell.try_clone()?.into())
    }
}

/// What one shard has to send. Filled by anyone on the shard, flushed by one task at the end of the loop's turn, so
/// that a burst costs one lock and one wake per target.
pub struct Outbox<M> {
    post: Post<M>,
    own: Target,
    batches: RefCell<Vec<VecDeque<M>>>,
    waiting: Cell<bool>,
    refused: Cell<u64>,
    flusher: RefCell<Option<Waker>>,
}

impl<M> Outbox<M> {
    /// The outbox of a shard.
    pub fn new(post: Post<M>, own: Target) -> Self {
        let batches = (0..post.len()).map(|_| VecDeque::new()).collect();
        Self {
            post,
            own,
            batches: RefCell::new(batches),
            waiting: Cell::new(false),
            refused: Cell::new(0),
            flusher: RefCell::new(None),
        }
    }

    /// Whose outbox this is.
    pub fn own(&self) -> Target {
        self.own
    }

    /// How many boxes there are; the last one is control's.
    pub fn targets(&self) -> usize {
        self.post.len()
    }

    /// Control's box.
    pub fn control(&self) -> Target {
        Target(self.post.len().saturating_sub(1) as u16)
    }

    /// Messages thrown away because their target was too far behind.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Puts a message in; it leaves with the next flush.
    pub fn post(&self, to: Target, mail: M) {
        if !self.put(to, mail, BOX_MAX) {
            self.refused.set(self.refused.get() + 1);
        }
    }

    /// As [`Outbox::post`]; false, and the message is gone, when the target is too far behind.
    pub fn offer(&self, to: Target, mail: M) -> bool {
        self.put(to, mail, BOX_MAX)
    }

    /// As [`Outbox::post`], for what must not be lost however far the target is behind. Whoever uses it bounds how
    /// much there can be.
    pub fn keep(&self, to: Target, mail: M) {
        self.put(to, mail, usize::MAX);
    }

    fn put(&self, to: Target, mail: M, most: usize) -> bool {
        let mut batches = self.batches.borrow_mut();
        match batches.get_mut(usize::from(to.0)) {
            Some(batch) if batch.len() < most => batch.push_back(mail),
            _ => return false,
        }
        drop(batches);
        self.waiting.set(true);
        if let Some(waker) = self.flusher.borrow_mut().take() {
            waker.wake();
        }
        true
    }

    /// Puts a message in for each other shard.
    pub fn post_others(&self, mut mail: impl FnMut() -> M) {
        for n in 0..self.control().0 {
            if Target(n) != self.own {
                self.post(Target(n), mail());
            }
        }
    }

    /// Sends what has been put in; true when something had to stay because a box was full.
    pub fn flush(&self) -> bool {
        self.waiting.set(false);
        let mut left = false;
        for (n, batch) in self.batches.borrow_mut().iter_mut().enumerate() {
            self.post.send_all(Target(n as u16), batch);
            left |= !batch.is_empty();
        }
        left
    }

    /// Waits until something has been put in. One task waits, and flushes.
    pub async fn filled(&self) {
        poll_fn(|cx| {
            if self.waiting.get() {
                return Poll::Ready(());
            }
            *self.flusher.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};

    fn boxes(count: usize) -> (Post<u32>, Vec<Inbox<u32>>) {
        let bell = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        Post::new((0..count).map(|_| bell()).collect())
    }

    fn rings(inbox: &Inbox<u32>) -> u64 {
        let mut count = [0; 8];
        match rustix::io::read(inbox.bell().unwrap(), &mut count) {
            Ok(_) => u64::from_ne_bytes(count),
            Err(_) => 0,
        }
    }

    fn taken(inbox: &Inbox<u32>) -> Vec<u32> {
        let mut got = VecDeque::new();
        inbox.take(&mut got);
        got.into()
    }

    #[test]
    fn a_burst_rings_once_until_it_is_taken() {
        let (post, inboxes) = boxes(2);
        for n in 0..5 {
            post.send(Target(1), n).unwrap();
        }
        assert_eq!(rings(&inboxes[1]), 1);
        assert_eq!(taken(&inboxes[1]), [0, 1, 2, 3, 4]);
        post.send(Target(1), 5).unwrap();
        assert_eq!(rings(&inboxes[1]), 1);
        assert_eq!(rings(&inboxes[0]), 0);
        assert_eq!(taken(&inboxes[1]), [5]);
        assert!(taken(&inboxes[0]).is_empty());
    }

    #[test]
    fn a_full_box_gives_back_what_does_not_fit() {
        let (post, inboxes) = boxes(1);
        let mut batch: VecDeque<u32> = (0..BOX_MAX as u32 + 3).collect();
        post.send_all(Target(0), &mut batch);
        assert_eq!(batch.len(), 3);
        assert_eq!(post.send(Target(0), 9), Err(9));
        assert_eq!(taken(&inboxes[0]).len(), BOX_MAX);
        assert_eq!(post.send(Target(0), 9), Ok(()));
    }

    #[test]
    fn an_outbox_reaches_all_others_with_one_flush() {
        let (post, inboxes) = boxes(4);
        let outbox = Outbox::new(post, Target(1));
        assert_eq!(outbox.control(), Target(3));
        outbox.post_others(|| 7);
        outbox.post(Target(3), 8);
        outbox.post(Target(9), 9);
        assert_eq!(outbox.refused(), 1);
        assert!(!outbox.flush());
        let got: Vec<_> = inboxes.iter().map(taken).collect();
        assert_eq!(got, [vec![7], vec![], vec![7], vec![8]]);
    }

    #[test]
    fn what_must_not_be_lost_waits_for_room() {
        let (post, inboxes) = boxes(2);
        let outbox = Outbox::new(post, Target(0));
        for n in 0..BOX_MAX as u32 {
            assert!(outbox.offer(Target(1), n));
        }
        assert!(!outbox.offer(Target(1), 0));
        outbox.keep(Target(1), 1_000_000);
        assert!(outbox.flush());
        assert_eq!(taken(&inboxes[1]).len(), BOX_MAX);
        assert!(!outbox.flush());
        assert_eq!(taken(&inboxes[1]), [1_000_000]);
        assert_eq!(outbox.refused(), 0);
    }

    #[test]
    fn many_threads_lose_nothing() {
        let (post, inboxes) = boxes(1);
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let post = post.clone();
                std::thread::spawn(move || {
                    for n in 0..500 {
                        post.send(Target(0), n).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let got = taken(&inboxes[0]);
        assert_eq!(got.len(), 2000);
        assert_eq!(got.iter().sum::<u32>(), 4 * 499 * 500 / 2);
    }
}
