//! Where a key is counted: by this shard's tables when it owns the key, else by its owner, who is asked by mail.
//!
//! What is counted or noted for a request is held by a [`Hold`], which gives it back when it is dropped, however the
//! request ends; what nobody waits for any more is given back when the answer comes. An owner that is gone, or whose
//! box is full, leaves its keys to the tables of each shard: the limit then holds for each shard by itself. Knows no
//! request. Start at [`Limits::ask`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::task::{Poll, Waker};

use foldhash::quality::FixedState;
use slab::Slab;

use super::zones::{Answer, Zones};
use crate::base::hash;
use crate::base::time::Mono;
use crate::mail::limit::{Ask, Fate, Key, Letter, Place, Question, Verdict};
use crate::mail::{Mail, Seat, Target};
use crate::net::clock;
use crate::plan::limits::Table;

/// How long an owner may take to answer; mail takes microseconds unless its shard is stuck.
pub const ANSWER_MS: u64 = 1000;

/// A question that was sent.
struct Pending {
    verdict: Option<Verdict>,
    waiter: Option<Waker>,
    since: Mono,
    /// Nobody waits any more.
    left: bool,
    owner: Target,
    place: Place,
    question: Question,
}

/// Limits as one shard sees them.
pub struct Limits {
    seat: Seat,
    zones: RefCell<Zones>,
    pending: RefCell<Slab<Pending>>,
    /// Questions that somebody waits for.
    waited: Cell<usize>,
    answers: RefCell<Vec<Answer>>,
    state: FixedState,
}

/// Something that is counted for a request at the owner of a key.
pub struct Hold {
    limits: Rc<Limits>,
    owner: Target,
    place: Place,
    /// What the owner is told when it is dropped.
    end: Fate,
}

/// A verdict, with what is to be given back.
pub struct Asked {
    /// The owner's word.
    pub verdict: Verdict,
    /// Where it was counted or noted, if it was.
    pub hold: Option<Hold>,
}

impl Limits {
    /// Limits of a shard.
    #[must_use]
    pub fn new(seat: Seat) -> Rc<Self> {
        Rc::new(Self {
            zones: RefCell::new(Zones::new(seat.shards())),
            seat,
            pending: RefCell::new(Slab::new()),
            waited: Cell::new(0),
            answers: RefCell::new(Vec::new()),
            state: FixedState::with_seed(hash::process_seed()),
        })
    }

    /// Tells of this shard's part of each table: its number, its keys, bytes that they take, bytes that there are.
    pub fn sizes(&self, tell: impl FnMut(u64, (u64, u64, u64))) {
        self.zones.borrow().sizes(tell);
    }

    /// Whether other shards decide about some keys.
    pub fn are_shared(&self) -> bool {
        self.seat.is_shared()
    }

    /// The hash of a key, the same on all shards.
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(key);
        hasher.finish()
    }

    /// Who owns a key; `address` is the hash of the client's address, where that is the key.
    fn owner(&self, hash: u64, address: Option<u32>) -> Target {
        match address {
            Some(address) => Target((address % u32::from(self.seat.shards())) as u16),
            // The table uses the lower half.
            None => self.seat.owner(hash),
        }
    }

    /// Asks whoever owns a key.
    pub async fn ask(
        self: &Rc<Self>,
        table: Table,
        key: &[u8],
        address: Option<u32>,
        question: Question,
    ) -> Asked {
        let hash = self.hash(key);
        let owner = match self.seat.is_shared() {
            false => self.seat.own(),
            true => self.owner(hash, address),
        };
        if owner == self.seat.own() {
            let now = clock::mono();
            let said = self
                .zones
                .borrow_mut()
                .decide(now, table, hash, key, question);
            if let Some(verdict) = said {
                return self.asked(verdict, owner, table, hash, key, question);
            }
        } else if self.seat.is_absent(owner) {
            return self.decide_here(table, hash, key, question);
        }
        let place = Place {
            table,
            key: Key::new(key),
            hash,
        };
        match self.send(owner, place, question) {
            Some(ticket) => match self.answer(ticket).await {
                Verdict::Silent => self.decide_here(table, hash, key, question),
                verdict => self.asked(verdict, owner, table, hash, key, question),
            },
            None => self.decide_here(table, hash, key, question),
        }
    }

    /// Stands in for an owner that cannot be asked.
    fn decide_here(
        self: &Rc<Self>,
        table: Table,
        hash: u64,
        key: &[u8],
        question: Question,
    ) -> Asked {
        let now = clock::mono();
        let said = self
            .zones
            .borrow_mut()
            .decide(now, table, hash, key, question);
        let verdict = said.unwrap_or(Verdict::Busy(0));
        self.asked(verdict, self.seat.own(), table, hash, key, question)
    }

    fn asked(
        self: &Rc<Self>,
        verdict: Verdict,
        owner: Target,
        table: Table,
        hash: u64,
        key: &[u8],
        question: Question,
    ) -> Asked {
        let end = undone_by(question).filter(|_| matches!(verdict, Verdict::Pass(_)));
        let hold = end.map(|end| Hold {
            limits: self.clone(),
            owner,
            place: Place {
                table,
                key: Key::new(key),
                hash,
            },
            end,
        });
        Asked { verdict, hold }
    }

    /// Sends a question on its way; none when there is no room for it.
    fn send(&self, owner: Target, place: Place, question: Question) -> Option<u32> {
        let now = clock::mono();
        let ticket = self.pending.borrow_mut().insert(Pending {
            verdict: None,
            waiter: None,
            since: now,
            left: false,
            owner,
            place: place.clone(),
            question,
        }) as u32;
        let ask = Ask {
            from: self.seat.own(),
            ticket,
            place,
            question,
        };
        if owner == self.seat.own() {
            self.on_tables(|zones, out| zones.ask(now, ask, out));
            return Some(ticket);
        }
        let outbox = self.seat.outbox()?;
        if outbox.offer(owner, Mail::Limit(Letter::Ask(ask))) {
            return Some(ticket);
        }
        self.pending.borrow_mut().remove(ticket as usize);
        None
    }

    /// Waits for the answer to a question.
    async fn answer(&self, ticket: u32) -> Verdict {
        let waiting = Waiting {
            limits: self,
            ticket,
        };
        self.waited.set(self.waited.get() + 1);
        poll_fn(|cx| {
            let mut pending = self.pending.borrow_mut();
            match pending.get_mut(waiting.ticket as usize) {
                None => Poll::Ready(Verdict::Silent),
                Some(Pending {
                    verdict: Some(verdict),
                    ..
                }) => Poll::Ready(*verdict),
                Some(question) => {
                    question.waiter = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Works on the tables, and sends what they answer.
    fn on_tables(&self, work: impl FnOnce(&mut Zones, &mut Vec<Answer>)) {
        let mut answers = self.answers.take();
        work(&mut self.zones.borrow_mut(), &mut answers);
        for Answer {
            to,
            ticket,
            verdict,
        } in answers.drain(..)
        {
            if to == self.seat.own() {
                self.resolve(ticket, verdict);
            } else if let Some(outbox) = self.seat.outbox() {
                let from = self.seat.own();
                outbox.keep(
                    to,
                    Mail::Limit(Letter::Answer {
                        ticket,
                        from,
                        verdict,
                    }),
                );
            }
        }
        self.answers.replace(answers);
    }

    /// An answer has come.
    fn resolve(&self, ticket: u32, verdict: Verdict) {
        let mut pending = self.pending.borrow_mut();
        let Some(question) = pending.get_mut(ticket as usize) else {
            return;
        };
        if !question.left {
            question.verdict = Some(verdict);
            if let Some(waiter) = question.waiter.take() {
                waiter.wake();
            }
            return;
        }
        let question = pending.remove(ticket as usize);
        drop(pending);
        if let (Verdict::Pass(_), Some(end)) = (verdict, undone_by(question.question)) {
            self.tell(question.owner, question.place, end);
        }
    }

    /// Tells an owner what became of a request.
    fn tell(&self, owner: Target, place: Place, fate: Fate) {
        if owner == self.seat.own() {
            let now = clock::mono();
            self.on_tables(|zones, out| zones.tell(now, &place, fate, out));
        } else if let Some(outbox) = self.seat.outbox() {
            outbox.keep(owner, Mail::Limit(Letter::Tell(place, fate)));
        }
    }

    /// Takes a letter of another shard.
    pub fn take(&self, letter: Letter) {
        let now = clock::mono();
        match letter {
            Letter::Ask(ask) => self.on_tables(|zones, out| zones.ask(now, ask, out)),
            Letter::Tell(place, fate) => {
                self.on_tables(|zones, out| zones.tell(now, &place, fate, out));
            }
            Letter::Answer {
                ticket,
                from,
                verdict,
            } => {
                self.seat.set_absent(from, false);
                self.resolve(ticket, verdict);
            }
            Letter::Leaving(from) => {
                self.seat.set_absent(from, true);
                self.give_up(|question| question.owner == from);
            }
        }
    }

    /// Looks for owners that do not answer; called from time to time.
    pub fn sweep(&self, now: Mono) {
        if self.waited.get() != 0 {
            self.give_up(|question| now.ms_since(question.since) >= ANSWER_MS);
        }
    }

    fn give_up(&self, over: impl Fn(&Pending) -> bool) {
        for (_, question) in self.pending.borrow_mut().iter_mut() {
            if question.verdict.is_some() || question.left || !over(question) {
                continue;
            }
            question.verdict = Some(Verdict::Silent);
            if question.owner != self.seat.own() {
                self.seat.set_absent(question.owner, true);
            }
            if let Some(waiter) = question.waiter.take() {
                waiter.wake();
            }
        }
    }

    /// The last word of a shard that ends.
    pub fn leave(&self) {
        let own = self.seat.own();
        self.seat.post_others(|| Mail::Limit(Letter::Leaving(own)));
    }

    /// Forgets the tables of zones that are neither in the configuration that begins nor in the one before it.
    pub fn keep_tables(&self, wanted: impl Fn(u64) -> bool) {
        self.zones.borrow_mut().keep(wanted);
    }

    /// Questions whose answers are awaited or still to come.
    pub fn pending(&self) -> usize {
        self.pending.borrow().len()
    }
}

/// What takes back that a question was answered with [`Verdict::Pass`]; none where nothing has to be.
fn undone_by(question: Question) -> Option<Fate> {
    match question {
        Question::Request { count: true, .. } => None,
        Question::Request { count: false, .. } | Question::Connection { count: false, .. } => {
            Some(Fate::Dropped)
        }
        Question::Connection { count: true, .. } => Some(Fate::Over),
    }
}

/// Somebody who waits for an answer, and may leave at any time.
struct Waiting<'a> {
    limits: &'a Limits,
    ticket: u32,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let limits = self.limits;
        limits.waited.set(limits.waited.get() - 1);
        let mut pending = limits.pending.borrow_mut();
        let Some(question) = pending.get_mut(self.ticket as usize) else {
            return;
        };
        match question.verdict {
            // The answer may still come, and what it grants is given back then.
            None | Some(Verdict::Silent) => {
                question.left = true;
                question.verdict = None;
                question.waiter = None;
            }
            Some(_) => {
                pending.remove(self.ticket as usize);
            }
        }
    }
}

impl Hold {
    /// The request has passed all limits of requests: what was noted is counted.
    pub fn count(mut self, rate: u64) {
        self.end = Fate::Counted { rate };
    }

    /// The request has passed all limits of connections: what was noted is in progress, until this is dropped.
    pub fn pass(&mut self) {
        if self.end == Fate::Dropped {
            let place = self.place.clone();
            self.limits.tell(self.owner, place, Fate::Passed);
            self.end = Fate::Over;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let none = Place {
            table: self.place.table,
            key: Key::new(b""),
            hash: 0,
        };
        let place = std::mem::replace(&mut self.place, none);
        self.limits.tell(self.owner, place, self.end);
    }
}

#[cfg(test)]
mod tests;
