//! The tables of the limits: leaky buckets of requests, counts of what is in progress. Time is an argument, and who
//! asks does not matter: one set of tables decides for all shards about the keys that its shard owns.
//!
//! The arithmetic is nginx's. What nginx has not: a request under several limits is *noted* at each of them until its
//! fate is known, and whoever comes meanwhile and whose verdict depends on it waits. So many shards decide as one
//! table would, although they talk in between. Start at [`Zones::ask`].

mod store;

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::base::time::Mono;
use crate::mail::Target;
use crate::mail::limit::{Ask, Fate, Place, Question, Verdict};
use crate::plan::limits::Table;
use store::Store;

/// Questions that wait at once for the fate of others, at most.
const WAITING_MAX: usize = 4096;

/// nginx forgets an empty bucket of this age, in milliseconds, when it adds another.
const STALE_MS: u64 = 60_000;

/// One request, in the unit of buckets.
const REQUEST: u64 = 1000;

/// Bytes of a bucket in nginx besides its key: 32 of the tree's node, 48 of its own. With an IPv4 address it takes 128.
const BUCKET_BYTES: u64 = 80;
/// The same for a count: 32 and 4. With an IPv4 address it takes 64.
const COUNT_BYTES: u64 = 36;

/// An answer on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who asked.
    pub to: Target,
    /// The question's.
    pub ticket: u32,
    /// The word.
    pub verdict: Verdict,
}

/// A leaky bucket.
struct Bucket {
    /// Requests above the rate, in thousandths.
    excess: u64,
    /// When a request was last counted; none before the first.
    last: Option<Mono>,
    /// Requests that are noted.
    noted: u32,
}

/// What is in progress.
struct Count {
    held: u32,
    /// Noted, not yet held.
    noted: u32,
}

enum Kind {
    Requests(Store<Bucket>),
    Connections(Store<Count>),
}

/// All tables of one shard.
pub struct Zones {
    tables: HashMap<u64, Kind, FixedState>,
    waiting: VecDeque<Ask>,
    /// Shards that share each zone.
    shards: u64,
}

/// What a table makes of a question.
enum Said {
    Now(Verdict),
    /// It depends on what becomes of requests that are noted.
    Depends,
}

impl Zones {
    /// The tables of one of so many shards; there are none before somebody asks.
    #[must_use]
    pub fn new(shards: u16) -> Self {
        Self {
            tables: HashMap::default(),
            waiting: VecDeque::new(),
            shards: u64::from(shards.max(1)),
        }
    }

    /// Decides, if that is possible at once.
    pub fn decide(
        &mut self,
        now: Mono,
        table: Table,
        hash: u64,
        key: &[u8],
        question: Question,
    ) -> Option<Verdict> {
        let shards = self.shards;
        let kind = self.tables.entry(table.id).or_insert_with(|| {
            let bytes = table.bytes;
            match question {
                Question::Request { .. } => Kind::Requests(Store::new(bytes, shards, BUCKET_BYTES)),
                Question::Connection { .. } => {
                    Kind::Connections(Store::new(bytes, shards, COUNT_BYTES))
                }
            }
        });
        let said = match (kind, question) {
            (Kind::Requests(store), Question::Request { rate, burst, count }) => {
                let limit = Limit { rate, burst, count };
                request(store, now, hash, key, &limit)
            }
            (Kind::Connections(store), Question::Connection { max, count }) => {
                connection(store, hash, key, max, count)
            }
            // No two kinds of zones have the same table.
            _ => Said::Now(Verdict::Full),
        };
        match said {
            Said::Now(verdict) => Some(verdict),
            Said::Depends => None,
        }
    }

    /// Decides, or keeps the question until the fate of others is known; false when too many are kept.
    pub fn ask(&mut self, now: Mono, ask: Ask, out: &mut Vec<Answer>) {
        let (to, ticket) = (ask.from, ask.ticket);
        let place = &ask.place;
        let verdict = self.decide(
            now,
            place.table,
            place.hash,
            place.key.bytes(),
            ask.question,
        );
        let verdict = match verdict {
            Some(verdict) => verdict,
            None if self.waiting.len() < WAITING_MAX => return self.waiting.push_back(ask),
            None => Verdict::Busy(0),
        };
        out.push(Answer {
            to,
            ticket,
            verdict,
        });
    }

    /// Takes the fate of a request, and decides what depended on it.
    pub fn tell(&mut self, now: Mono, place: &Place, fate: Fate, out: &mut Vec<Answer>) {
        let key = place.key.bytes();
        match self.tables.get_mut(&place.table.id) {
            Some(Kind::Requests(store)) => settle_request(store, now, place.hash, key, fate),
            Some(Kind::Connections(store)) => settle_connection(store, place.hash, key, fate),
            // A zone of a configuration that is gone.
            None => return,
        }
        if self.waiting.is_empty() {
            return;
        }
        for _ in 0..self.waiting.len() {
            let Some(ask) = self.waiting.pop_front() else {
                return;
            };
            let concerned = ask.place.hash == place.hash && ask.place.table == place.table;
            if concerned {
                self.ask(now, ask, out);
            } else {
                self.waiting.push_back(ask);
            }
        }
    }

    /// Forgets all tables but these.
    pub fn keep(&mut self, wanted: impl Fn(u64) -> bool) {
        self.tables.retain(|id, _| wanted(*id));
    }

    /// Tells of each table: its number, its keys, bytes that they take, bytes that there are.
    pub fn sizes(&self, mut tell: impl FnMut(u64, (u64, u64, u64))) {
        for (id, kind) in &self.tables {
            tell(
                *id,
                match kind {
                    Kind::Requests(store) => store.size(),
                    Kind::Connections(store) => store.size(),
                },
            );
        }
    }

    /// How many tables there are.
    pub fn len(&self) -> usize {
        self.tables.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }
}

/// What a question about a request says.
struct Limit {
    rate: u64,
    burst: u64,
    count: bool,
}

impl Bucket {
    /// The excess with one more request now, and whether time has passed since the last one.
    fn poured(&self, now: Mono, rate: u64) -> (u64, bool) {
        let Some(last) = self.last else {
            return (0, true);
        };
        let ms = now.ms_since(last);
        let leaked = rate.saturating_mul(ms) / 1000;
        ((self.excess + REQUEST).saturating_sub(leaked), ms != 0)
    }

    fn pour(&mut self, now: Mono, rate: u64) -> u64 {
        let (excess, moved) = self.poured(now, rate);
        self.excess = excess;
        if moved {
            self.last = Some(now);
        }
        excess
    }
}

/// nginx's lookup.
fn request(store: &mut Store<Bucket>, now: Mono, hash: u64, key: &[u8], limit: &Limit) -> Said {
    let Some(at) = store.find(hash, key) else {
        return Said::Now(first_request(store, now, hash, key, limit));
    };
    store.touch(at);
    let bucket = store.value(at);
    let (excess, _) = bucket.poured(now, limit.rate);
    if excess > limit.burst {
        return Said::Now(Verdict::Busy(excess));
    }
    // As if all that are noted came before.
    let behind = excess + u64::from(bucket.noted) * REQUEST;
    if behind > limit.burst && bucket.noted > 0 {
        return Said::Depends;
    }
    if limit.count {
        bucket.pour(now, limit.rate);
    } else {
        bucket.noted += 1;
    }
    Said::Now(Verdict::Pass(behind))
}

fn first_request(
    store: &mut Store<Bucket>,
    now: Mono,
    hash: u64,
    key: &[u8],
    limit: &Limit,
) -> Verdict {
    let bucket = || Bucket {
        excess: 0,
        last: limit.count.then_some(now),
        noted: u32::from(!limit.count),
    };
    expire(store, now, limit.rate, false);
    let mut added = store.add(hash, key, bucket());
    if added.is_none() {
        expire(store, now, limit.rate, true);
        added = store.add(hash, key, bucket());
    }
    match added {
        Some(_) => Verdict::Pass(0),
        None => Verdict::Full,
    }
}

/// Forgets up to two buckets that are old and empty; before that the oldest one, if a place is `needed`.
fn expire(store: &mut Store<Bucket>, now: Mono, rate: u64, needed: bool) {
    for step in u32::from(!needed)..3 {
        let Some(at) = store.oldest() else { return };
        let bucket = store.value(at);
        if bucket.noted > 0 {
            return;
        }
        if step > 0 {
            let ms = bucket.last.map_or(u64::MAX, |last| now.ms_since(last));
            if ms < STALE_MS || bucket.excess > rate.saturating_mul(ms) / 1000 {
                return;
            }
        }
        store.remove(at);
    }
}

fn settle_request(store: &mut Store<Bucket>, now: Mono, hash: u64, key: &[u8], fate: Fate) {
    let Some(at) = store.find(hash, key) else {
        return;
    };
    let bucket = store.value(at);
    bucket.noted = bucket.noted.saturating_sub(1);
    if let Fate::Counted { rate } = fate {
        bucket.pour(now, rate);
    }
}

fn connection(store: &mut Store<Count>, hash: u64, key: &[u8], max: u32, count: bool) -> Said {
    let at = match store.find(hash, key) {
        Some(at) => at,
        None => match store.add(hash, key, Count { held: 0, noted: 0 }) {
            Some(at) => at,
            None => return Said::Now(Verdict::Full),
        },
    };
    let known = store.value(at);
    if known.held >= max {
        return Said::Now(Verdict::Busy(0));
    }
    if known.held + known.noted >= max {
        return Said::Depends;
    }
    match count {
        true => known.held += 1,
        false => known.noted += 1,
    }
    Said::Now(Verdict::Pass(0))
}

fn settle_connection(store: &mut Store<Count>, hash: u64, key: &[u8], fate: Fate) {
    let Some(at) = store.find(hash, key) else {
        return;
    };
    let known = store.value(at);
    match fate {
        Fate::Passed => {
            known.noted = known.noted.saturating_sub(1);
            known.held += 1;
        }
        Fate::Dropped => known.noted = known.noted.saturating_sub(1),
        Fate::Over | Fate::Counted { .. } => known.held = known.held.saturating_sub(1),
    }
    if known.held == 0 && known.noted == 0 {
        store.remove(at);
    }
}

#[cfg(test)]
mod tests;
