//! Sessions that stay with a peer (`sticky learn`): each has an owner among the shards, whose table knows where it
//! stays; another shard asks or tells it by mail. Bounded by the zone, kept over reloads. Knows no request and no peer.
//! Start at [`Sessions::find`] and [`Sessions::learn`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use foldhash::quality::FixedState;
use md5::{Digest, Md5};

use crate::base::hash;
use crate::base::lru::Lru;
use crate::base::time::Mono;
use crate::mail::session::{Letter, Place, Return, Sid};
use crate::mail::{Mail, Seat, Target};
use crate::net::clock;
use crate::plan::limits::Table;

/// How long an owner may take to answer; mail takes microseconds unless its shard is stuck.
const ANSWER_MS: u64 = 1000;

/// Bytes of a session in a zone, as nginx's allocator hands them out.
const SESSION_BYTES: u64 = 256;

/// Bytes that a zone needs for itself.
const ZONE_HEAD_BYTES: u64 = 3 * 4096;

/// Expired sessions that one question clears away, so that none pays for all.
const CLEARED_MAX: usize = 16;

/// Where a session stays.
struct Session {
    sid: Sid,
    last: Mono,
}

/// The part of a zone that one shard owns.
struct Kept {
    sessions: Lru<[u8; 16], Session>,
    max: usize,
    /// It was full since somebody asked.
    overflown: bool,
}

impl Kept {
    fn new(bytes: u64, shards: u16) -> Self {
        let all = bytes.saturating_sub(ZONE_HEAD_BYTES) / SESSION_BYTES;
        let part = all.div_ceil(u64::from(shards.max(1))).max(16);
        let max = usize::try_from(part).unwrap_or(usize::MAX);
        Self {
            sessions: Lru::new(max),
            max,
            overflown: false,
        }
    }

    /// Forgets what nobody came back to.
    fn clear(&mut self, now: Mono, timeout: Duration) {
        for _ in 0..CLEARED_MAX {
            match self.sessions.oldest() {
                Some((_, session)) if is_over(session, now, timeout) => {
                    self.sessions.pop_oldest();
                }
                _ => return,
            }
        }
    }

    fn find(&mut self, place: &Place, now: Mono) -> Option<Sid> {
        self.clear(now, place.timeout);
        let session = self.sessions.peek(&place.key)?;
        (!is_over(session, now, place.timeout)).then_some(session.sid)
    }

    fn learn(&mut self, place: &Place, sid: Sid, create: bool, now: Mono) {
        self.clear(now, place.timeout);
        if let Some(session) = self.sessions.get(&place.key) {
            if create || !is_over(session, now, place.timeout) {
                *session = Session { sid, last: now };
            }
        } else if create {
            self.overflown |= self.sessions.len() >= self.max;
            self.sessions.insert(place.key, Session { sid, last: now });
        }
    }
}

fn is_over(session: &Session, now: Mono, timeout: Duration) -> bool {
    u128::from(now.ms_since(session.last)) >= timeout.as_millis()
}

/// A question that was sent.
struct Pending {
    owner: Target,
    since: Mono,
    answer: Option<Option<Sid>>,
    waiter: Option<Waker>,
}

/// Sessions as one shard sees them.
pub struct Sessions {
    seat: Seat,
    tables: RefCell<Vec<(u64, Kept)>>,
    pending: RefCell<HashMap<u64, Pending, foldhash::fast::FixedState>>,
    next: Cell<u64>,
    state: FixedState,
}

/// The digest that stands for what a session is called.
#[must_use]
pub fn key(name: &[u8]) -> [u8; 16] {
    Md5::digest(name).into()
}

impl Sessions {
    /// Sessions of a shard.
    #[must_use]
    pub fn new(seat: Seat) -> Rc<Self> {
        Rc::new(Self {
            seat,
            tables: RefCell::default(),
            pending: RefCell::default(),
            next: Cell::new(0),
            state: FixedState::with_seed(hash::process_seed()),
        })
    }

    fn owner(&self, key: &[u8; 16]) -> Target {
        let mut hasher = self.state.build_hasher();
        hasher.write(key);
        self.seat.owner(hasher.finish())
    }

    fn on_table<R>(&self, table: Table, work: impl FnOnce(&mut Kept) -> R) -> R {
        let mut tables = self.tables.borrow_mut();
        let at = tables.iter().position(|(id, _)| *id == table.id);
        let at = at.unwrap_or_else(|| {
            tables.push((table.id, Kept::new(table.bytes, self.seat.shards())));
            tables.len() - 1
        });
        work(&mut tables[at].1)
    }

    /// Where a session stays.
    pub async fn find(&self, place: Place) -> Option<Sid> {
        let owner = self.owner(&place.key);
        if owner == self.seat.own() {
            return self.on_table(place.table, |kept| kept.find(&place, clock::mono()));
        }
        self.ask(owner, |back| Letter::Ask(place, back)).await
    }

    /// A session stays with a peer; one that is not there begins where `create` is set. The owner learns it soon.
    pub fn learn(&self, place: Place, sid: Sid, create: bool) {
        let owner = self.owner(&place.key);
        if owner == self.seat.own() {
            return self.on_table(place.table, |kept| {
                kept.learn(&place, sid, create, clock::mono());
            });
        }
        if let Some(outbox) = self.seat.outbox() {
            let letter = Letter::Learn {
                place,
                sid,
                create,
                back: None,
            };
            // An owner that is far behind loses it: the next request of the session is balanced.
            outbox.offer(owner, Mail::Session(Box::new(letter)));
        }
    }

    /// The same; every shard knows it when this is over.
    pub async fn learn_first(&self, place: Place, sid: Sid) {
        let owner = self.owner(&place.key);
        if owner == self.seat.own() {
            return self.learn(place, sid, true);
        }
        self.ask(owner, |back| Letter::Learn {
            place,
            sid,
            create: true,
            back: Some(back),
        })
        .await;
    }

    /// Asks an owner and waits; none of an owner that does not answer.
    async fn ask(&self, owner: Target, letter: impl FnOnce(Return) -> Letter) -> Option<Sid> {
        let outbox = self.seat.outbox()?;
        if self.seat.is_absent(owner) {
            return None;
        }
        let ticket = self.next.get();
        self.next.set(ticket + 1);
        let back = Return {
            to: self.seat.own(),
            ticket,
        };
        if !outbox.offer(owner, Mail::Session(Box::new(letter(back)))) {
            return None;
        }
        let question = Pending {
            owner,
            since: clock::mono(),
            answer: None,
            waiter: None,
        };
        self.pending.borrow_mut().insert(ticket, question);
        let waiting = Waiting {
            sessions: self,
            ticket,
        };
        poll_fn(|cx| {
            let mut pending = self.pending.borrow_mut();
            match pending.get_mut(&waiting.ticket) {
                None => Poll::Ready(None),
                Some(question) => match question.answer {
                    Some(answer) => Poll::Ready(answer),
                    None => {
                        question.waiter = Some(cx.waker().clone());
                        Poll::Pending
                    }
                },
            }
        })
        .await
    }

    /// Takes a letter of another shard.
    pub fn take(&self, letter: Letter) {
        let now = clock::mono();
        match letter {
            Letter::Ask(place, back) => {
                let sid = self.on_table(place.table, |kept| kept.find(&place, now));
                self.reply(back, sid);
            }
            Letter::Learn {
                place,
                sid,
                create,
                back,
            } => {
                self.on_table(place.table, |kept| kept.learn(&place, sid, create, now));
                if let Some(back) = back {
                    self.reply(back, Some(sid));
                }
            }
            Letter::Answer { ticket, sid } => {
                if let Some(question) = self.pending.borrow_mut().get_mut(&ticket) {
                    question.settle(sid);
                }
            }
            Letter::Leaving(from) => {
                self.seat.set_absent(from, true);
                self.give_up(|question| question.owner == from);
            }
        }
    }

    fn reply(&self, back: Return, sid: Option<Sid>) {
        if let Some(outbox) = self.seat.outbox() {
            let ticket = back.ticket;
            let letter = Letter::Answer { ticket, sid };
            // As many as there are questions, which are bounded.
            outbox.keep(back.to, Mail::Session(Box::new(letter)));
        }
    }

    fn give_up(&self, over: impl Fn(&Pending) -> bool) {
        let mut pending = self.pending.borrow_mut();
        for question in pending.values_mut().filter(|question| over(question)) {
            if question.answer.is_none() {
                question.settle(None);
            }
        }
    }

    /// Looks for owners that do not answer; called from time to time. Names the tables that were full since.
    pub fn sweep(&self, now: Mono, mut full: impl FnMut(u64)) {
        if !self.pending.borrow().is_empty() {
            self.give_up(|question| now.ms_since(question.since) >= ANSWER_MS);
        }
        for (id, kept) in self.tables.borrow_mut().iter_mut() {
            if std::mem::take(&mut kept.overflown) {
                full(*id);
            }
        }
    }

    /// Forgets the tables of zones that are neither in the configuration that begins nor in the one before it.
    pub fn keep_tables(&self, wanted: impl Fn(u64) -> bool) {
        self.tables.borrow_mut().retain(|(id, _)| wanted(*id));
    }

    /// The last word of a shard that ends.
    pub fn leave(&self) {
        let own = self.seat.own();
        self.seat
            .post_others(|| Mail::Session(Box::new(Letter::Leaving(own))));
    }
}

impl Pending {
    fn settle(&mut self, sid: Option<Sid>) {
        self.answer = Some(sid);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }
}

/// Somebody who waits for an answer, and may leave at any time.
struct Waiting<'a> {
    sessions: &'a Sessions,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.sessions.pending.borrow_mut().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, timeout_ms: u64, bytes: u64) -> Place {
        Place {
            table: Table::of("sticky", b"z", bytes, b"u"),
            timeout: Duration::from_millis(timeout_ms),
            key: key(name.as_bytes()),
        }
    }

    fn sid(name: &str) -> Sid {
        Sid::new(name.as_bytes()).expect("short")
    }

    #[test]
    fn a_session_stays_until_its_time_is_over_and_a_request_prolongs_it() {
        let mut kept = Kept::new(32 << 10, 1);
        let a = place("a", 1000, 0);
        kept.learn(&a, sid("p"), false, Mono(0));
        assert_eq!(kept.find(&a, Mono(0)), None, "not without create");
        kept.learn(&a, sid("p"), true, Mono(0));
        for (now, want) in [(0, Some("p")), (999, Some("p")), (1000, None)] {
            let mut same = Kept::new(32 << 10, 1);
            same.learn(&a, sid("p"), true, Mono(0));
            assert_eq!(same.find(&a, Mono(now)), want.map(sid), "{now}");
        }
        kept.learn(&a, sid("q"), false, Mono(900));
        assert_eq!(kept.find(&a, Mono(1800)), Some(sid("q")));
        assert_eq!(kept.find(&a, Mono(1900)), None);
        kept.learn(&a, sid("r"), false, Mono(1900));
        assert_eq!(kept.find(&a, Mono(1900)), None, "what is over is new");
    }

    #[test]
    fn a_full_zone_forgets_what_was_used_longest_ago() {
        let mut kept = Kept::new(32 << 10, 1);
        assert_eq!(kept.max, 80);
        let name = |n: usize| place(&format!("s{n}"), 10_000, 0);
        for n in 0..80 {
            kept.learn(&name(n), sid("p"), true, Mono(n as u64));
        }
        assert!(!kept.overflown);
        kept.learn(&name(0), sid("p"), false, Mono(100));
        kept.learn(&name(80), sid("p"), true, Mono(101));
        assert!(kept.overflown);
        assert_eq!(kept.find(&name(1), Mono(102)), None);
        assert_eq!(kept.find(&name(0), Mono(102)), Some(sid("p")));
        assert_eq!(kept.sessions.len(), 80);
    }

    #[test]
    fn tables_go_with_their_zones() {
        let sessions = Sessions::new(Seat::alone());
        let place = place("a", 1000, 1 << 20);
        sessions.learn(place, sid("p"), true);
        sessions.keep_tables(|id| id == place.table.id);
        assert_eq!(sessions.tables.borrow().len(), 1);
        sessions.keep_tables(|_| false);
        assert_eq!(sessions.tables.borrow().len(), 0);
    }
}
