//! Reading along while somebody else fills. Start at [`Live::read`].
//!
//! What was published is read from the fill's file. Who has read all of it has its shard ask the filler's to be told of
//! more: one letter for a shard and a step, however many read along there.

use std::cell::Cell;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use slab::Slab;

use super::{Broken, Cache};
use crate::mail::Target;
use crate::mail::cache::{Growing, Grown, Home, Letter, Meta};
use crate::net::file::File;

/// A fill as the requests of one shard see it that read along.
pub(super) struct Watch {
    file: Rc<File>,
    /// Those who read along; a waker for each that waits.
    readers: Slab<Option<Waker>>,
    /// The filler will tell when there is more.
    asked: bool,
}

/// Somebody else's fill, whose bytes are read as they come.
pub struct Live {
    cache: Rc<Cache>,
    growing: Arc<Growing>,
    file: Rc<File>,
    reader: usize,
    /// Bytes of the body that were read.
    at: u64,
    waiting: Cell<bool>,
}

impl Live {
    /// None when the file cannot be opened once more.
    pub(super) fn new(cache: &Rc<Cache>, growing: Arc<Growing>) -> Option<Self> {
        let mut watching = cache.watching.borrow_mut();
        let home = growing.home;
        let watch = match watching.entry(home) {
            Entry::Occupied(watch) => watch.into_mut(),
            Entry::Vacant(place) => {
                let file = File::for_reading(growing.file.try_clone().ok()?);
                place.insert(Watch {
                    file: Rc::new(file),
                    readers: Slab::new(),
                    asked: false,
                })
            }
        };
        Some(Self {
            cache: cache.clone(),
            file: watch.file.clone(),
            reader: watch.readers.insert(None),
            growing,
            at: 0,
            waiting: Cell::new(false),
        })
    }

    /// What is known of the answer.
    pub fn meta(&self) -> &Meta {
        &self.growing.meta
    }

    /// Its head.
    pub fn head(&self) -> &[u8] {
        &self.growing.head
    }

    /// Bytes of the body, when they are known: always once all has come.
    pub fn length(&self) -> Option<u64> {
        match self.growing.grown() {
            Grown::Whole(len) => Some(len),
            _ => self.growing.length,
        }
    }

    /// Appends what comes next to the buffer's spare room, at most `max` bytes, and waits until there is something;
    /// `Ok(0)` at the body's end. May be dropped at any time.
    pub async fn read(&mut self, buf: Vec<u8>, max: usize) -> (Result<usize, Broken>, Vec<u8>) {
        let have = match self.more().await {
            Ok(have) if have > self.at => have,
            Ok(_) => return (Ok(0), buf),
            Err(broken) => return (Err(broken), buf),
        };
        let left = usize::try_from(have - self.at).unwrap_or(usize::MAX);
        let from = self.growing.offset + self.at;
        match self.file.read_at(buf, from, max.min(left)).await {
            (Ok(n), buf) if n > 0 => {
                self.at += n as u64;
                (Ok(n), buf)
            }
            // It was published, and is not there.
            (_, buf) => (Err(Broken), buf),
        }
    }

    /// Waits until the file has more of the body than was read, or all of it; the length that it has.
    async fn more(&self) -> Result<u64, Broken> {
        poll_fn(|cx| {
            // Twice: what is published between the look and the question is seen by the second look.
            for _ in 0..2 {
                match self.growing.grown() {
                    Grown::Broken => return Poll::Ready(Err(Broken)),
                    Grown::Whole(len) => return Poll::Ready(Ok(len)),
                    Grown::Part(len) if len > self.at => return Poll::Ready(Ok(len)),
                    Grown::Part(_) => self.wait(cx.waker()),
                }
            }
            Poll::Pending
        })
        .await
    }

    fn wait(&self, waker: &Waker) {
        let home = self.growing.home;
        let ask = {
            let mut watching = self.cache.watching.borrow_mut();
            let Some(watch) = watching.get_mut(&home) else {
                return;
            };
            if let Some(reader) = watch.readers.get_mut(self.reader) {
                *reader = Some(waker.clone());
            }
            !std::mem::replace(&mut watch.asked, true)
        };
        self.waiting.set(true);
        if ask {
            let own = self.cache.seat.own();
            let letter = Letter::Watch(own, home, self.at);
            self.cache.post(home.shard, letter);
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut watching = self.cache.watching.borrow_mut();
        let home = self.growing.home;
        if let Some(watch) = watching.get_mut(&home) {
            watch.readers.remove(self.reader);
            if watch.readers.is_empty() {
                watching.remove(&home);
            }
        }
    }
}

impl Cache {
    /// There is more of a fill, or it has ended.
    pub(super) fn grew(&self, home: Home) {
        if let Some(watch) = self.watching.borrow_mut().get_mut(&home) {
            watch.wake();
        }
    }

    /// A shard has ended: whatever it filled has.
    pub(super) fn grew_all(&self, shard: Target) {
        for (home, watch) in self.watching.borrow_mut().iter_mut() {
            if home.shard == shard {
                watch.wake();
            }
        }
    }
}

impl Watch {
    fn wake(&mut self) {
        self.asked = false;
        for (_, reader) in &mut self.readers {
            if let Some(waker) = reader.take() {
                waker.wake();
            }
        }
    }
}
