//! Keeping a store within its bounds, in small steps: `inactive` by each owner for its own entries; `max_size` and
//! `min_free` by one shard, which adds up what all have and tells those with the oldest entries how much has to go.
//! Start at [`Cache::manage`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::Cache;
use super::handle::Store;
use crate::mail::Target;
use crate::mail::cache::{Holding, Word};
use crate::net::{clock, depot, offload, runtime};

/// How often bounds are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Entries that are looked at before the shard's other work has its turn.
const FEW: u32 = 32;

/// A shard with the oldest entries gives up to one in so many of its bytes before others have to give any.
const AT_ONCE: u64 = 16;

/// Sizes of a store.
#[derive(Default)]
pub(super) struct Sizes {
    /// Bytes that this shard has to free.
    evict: Cell<u64>,
    /// Bytes that it was ever told to free.
    told: Cell<u64>,
    /// What it said last.
    said: Cell<Holding>,
    /// What all have, where this shard decides.
    ledger: RefCell<Ledger>,
}

impl Sizes {
    /// So much has to go.
    pub fn evict(&self, bytes: u64) {
        self.evict.set(self.evict.get() + bytes);
        self.told.set(self.told.get() + bytes);
    }

    /// A shard says what it has.
    pub fn hear(&self, from: Target, holding: Holding) {
        self.ledger.borrow_mut().hear(from, holding);
    }
}

/// One shard's account.
#[derive(Clone, Copy, Default)]
struct Account {
    /// What it said last.
    holding: Holding,
    /// Bytes that it was ever told to free.
    told: u64,
}

impl Account {
    /// Bytes that it was told to free and has not freed, as far as is known: letters cross, and what is under way must
    /// not be asked for twice.
    fn under_way(&self) -> u64 {
        // What a shard said of the same store before a reload took it away and brought it back may come late.
        self.told.saturating_sub(self.holding.done)
    }

    /// Bytes that it has once it has done as it was told.
    fn bytes(&self) -> u64 {
        self.holding.bytes.saturating_sub(self.under_way())
    }
}

/// What each shard has, and was told to free.
#[derive(Default)]
struct Ledger(Vec<Account>);

impl Ledger {
    fn hear(&mut self, from: Target, holding: Holding) {
        let at = usize::from(from.0);
        if at >= self.0.len() {
            self.0.resize(at + 1, Account::default());
        }
        self.0[at].holding = holding;
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(Account::bytes).sum()
    }

    fn under_way(&self) -> u64 {
        self.0.iter().map(Account::under_way).sum()
    }

    /// Shares what has to go. The oldest entries are asked for first; but of much, each gives its share: all shards
    /// have old and new entries, and one that gave everything would lose those that were used just now.
    fn share_out(&mut self, over: u64) -> Vec<(Target, u64)> {
        let total = self.bytes();
        let mut left = over.min(total);
        let mut order: Vec<usize> = (0..self.0.len())
            .filter(|n| self.0[*n].bytes() > 0)
            .collect();
        order.sort_by_key(|n| self.0[*n].holding.oldest);
        let mut out = Vec::new();
        for n in order {
            let bytes = self.0[n].bytes();
            let share = (u128::from(over) * u128::from(bytes)).div_ceil(u128::from(total));
            let most = bytes.min((share as u64).max(bytes / AT_ONCE));
            let part = left.min(most);
            if part == 0 {
                break;
            }
            self.0[n].told += part;
            left -= part;
            out.push((Target(n as u16), part));
        }
        out
    }
}

impl Cache {
    /// Keeps a store within its bounds from now on.
    pub(super) fn manage(self: &Rc<Self>, store: &Rc<Store>) {
        let (cache, store) = (self.clone(), Rc::downgrade(store));
        runtime::spawn(manage(cache, store));
    }
}

async fn manage(cache: Rc<Cache>, store: Weak<Store>) {
    loop {
        runtime::sleep(EVERY).await;
        let Some(store) = store.upgrade() else {
            return;
        };
        store.hot.borrow_mut().close_idle(clock::unix().secs);
        if cache.retired.get() {
            continue;
        }
        step(&cache, &store).await;
        tell(&cache, &store);
        if cache.duty(&store) == cache.seat.own() {
            weigh(&cache, &store).await;
        }
    }
}

/// Removes what is inactive or too much, with rests.
async fn step(cache: &Rc<Cache>, store: &Rc<Store>) {
    loop {
        let plan = store.plan.borrow().clone();
        let begin = clock::mono();
        let second = (begin.0 / 1000) as u32;
        let inactive = u32::try_from(plan.inactive.as_secs()).unwrap_or(u32::MAX);
        let end = begin.after(plan.manager.threshold);
        let most = plan.manager.files.max(1);
        let (mut files, mut more) = (0, true);
        while more && files < most && clock::mono() < end {
            let few = (most - files).min(FEW);
            let seen = evict_few(store, second.saturating_sub(inactive), few);
            store.evicted.set(store.evicted.get() + u64::from(seen));
            let evict = store.sizes.evict.get();
            files += seen;
            more = seen == few || (evict > 0 && seen > 0);
            cache.act(store);
            if more {
                // However much has to go: those who ask do not wait for it.
                runtime::yield_now().await;
            }
        }
        if !more {
            return;
        }
        runtime::sleep(plan.manager.sleep).await;
    }
}

/// Looks at a few of the oldest entries, and removes those that are too much or were last used before that second. Returns
/// how many it has looked at.
fn evict_few(store: &Store, inactive: u32, few: u32) -> u32 {
    let mut owner = store.owner.borrow_mut();
    let owner = owner.at(clock::mono());
    let evict = store.sizes.evict.get();
    if evict == 0 {
        return owner.evict(inactive, u64::MAX, few).1;
    }
    let (freed, seen) = owner.evict(u32::MAX, evict, few);
    let left = if seen == 0 {
        0
    } else {
        evict - freed.min(evict)
    };
    store.sizes.evict.set(left);
    seen
}

/// Tells who decides about sizes, if there is something new.
fn tell(cache: &Rc<Cache>, store: &Rc<Store>) {
    let owner = store.owner.borrow();
    let index = &owner.index;
    let oldest = index.oldest().map_or(0, |at| index[at].used);
    let now = Holding {
        bytes: index.bytes(),
        oldest,
        done: store.sizes.told.get() - store.sizes.evict.get(),
    };
    drop(owner);
    if store.sizes.said.replace(now) != now {
        let word = Word::Size(cache.seat.own(), now);
        cache.say(cache.duty(store), store, word);
    }
}

/// Compares all shards' sizes with the bounds.
async fn weigh(cache: &Rc<Cache>, store: &Rc<Store>) {
    let plan = store.plan.borrow().clone();
    let mut missing = 0;
    if plan.min_free > 0 {
        let path = plan.path.clone();
        let free = offload::run(move || depot::free_bytes(&path)).await;
        if let Ok(Ok(free)) = free {
            missing = plan.min_free.saturating_sub(free);
        }
    }
    let parts = {
        let mut ledger = store.sizes.ledger.borrow_mut();
        let over = plan
            .max_size
            .map_or(0, |max| ledger.bytes().saturating_sub(max));
        let missing = missing.saturating_sub(ledger.under_way());
        ledger.share_out(over.max(missing))
    };
    for (to, bytes) in parts {
        cache.say(to, store, Word::Evict(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(all: &[(u64, u32)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (n, (bytes, oldest)) in all.iter().enumerate() {
            ledger.hear(Target(n as u16), holding(*bytes, *oldest, 0));
        }
        ledger
    }

    fn holding(bytes: u64, oldest: u32, done: u64) -> Holding {
        Holding {
            bytes,
            oldest,
            done,
        }
    }

    #[test]
    fn the_oldest_give_first_and_all_give_of_much() {
        let mut ledger = ledger(&[(1600, 7), (800, 3), (0, 1), (160, 5)]);
        assert_eq!(ledger.share_out(40), [(Target(1), 40)]);
        assert_eq!(ledger.bytes(), 2520);
        // 760 of 2,520 is the larger share of a fifth; the shard that is left has the newest.
        let parts = ledger.share_out(504);
        assert_eq!(parts, [(Target(1), 152), (Target(3), 32), (Target(0), 320)]);
        let parts = ledger.share_out(9000);
        assert_eq!(
            parts,
            [(Target(1), 608), (Target(3), 128), (Target(0), 1280)]
        );
        assert_eq!(ledger.bytes(), 0);
        assert!(ledger.share_out(10).is_empty());
    }

    /// A word that was on its way when a shard was told to free something does not make it free that again.
    #[test]
    fn what_is_under_way_is_not_asked_for_again() {
        let mut ledger = ledger(&[(100, 1)]);
        assert_eq!(ledger.share_out(60), [(Target(0), 60)]);
        ledger.hear(Target(0), holding(120, 1, 0));
        assert_eq!((ledger.bytes(), ledger.under_way()), (60, 60));
        ledger.hear(Target(0), holding(90, 2, 40));
        assert_eq!((ledger.bytes(), ledger.under_way()), (70, 20));
        ledger.hear(Target(0), holding(70, 2, 60));
        assert_eq!((ledger.bytes(), ledger.under_way()), (70, 0));
        // What it could not free stays its own, and is asked for again.
        ledger.hear(Target(0), holding(90, 2, 60));
        assert_eq!(ledger.share_out(30), [(Target(0), 30)]);
    }
}
