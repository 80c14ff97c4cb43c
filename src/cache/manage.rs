//! Keeping a store within its bounds, in small steps: `inactive` by each owner for its own entries; `max_size` and
//! `min_free` by one shard, which adds up what all have and tells those with the oldest entries how much has to go.
//! Start at [`Cache::manage`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::Cache;
use super::handle::Store;
use crate::mail::Target;
use crate::mail::cache::Word;
use crate::net::{clock, depot, offload, runtime};

/// How often bounds are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// Entries that are looked at before the shard's other work has its turn.
const FEW: u32 = 32;

/// Sizes of a store.
#[derive(Default)]
pub(super) struct Sizes {
    /// Bytes that this shard has to free.
    evict: Cell<u64>,
    /// What was said last.
    said: Cell<(u64, u32)>,
    /// What each shard said: bytes, and the second in which its oldest entry was used.
    all: RefCell<Vec<(u64, u32)>>,
}

impl Sizes {
    /// So much has to go.
    pub fn evict(&self, bytes: u64) {
        self.evict.set(self.evict.get().saturating_add(bytes));
    }
}

/// Shares what has to go: the oldest first. Takes what each one gets off what it has.
fn share_out(all: &mut [(u64, u32)], mut over: u64) -> Vec<(Target, u64)> {
    let mut order: Vec<usize> = (0..all.len()).filter(|n| all[*n].0 > 0).collect();
    order.sort_by_key(|n| all[*n].1);
    let mut out = Vec::new();
    for n in order {
        let part = over.min(all[n].0);
        if part == 0 {
            break;
        }
        all[n].0 -= part;
        over -= part;
        out.push((Target(n as u16), part));
    }
    out
}

impl Cache {
    /// Keeps a store within its bounds from now on.
    pub(super) fn manage(self: &Rc<Self>, store: &Rc<Store>) {
        let (cache, store) = (self.clone(), Rc::downgrade(store));
        runtime::spawn(manage(cache, store));
    }

    /// A shard says what it has.
    pub(super) fn sized(&self, store: &Store, from: Target, bytes: u64, oldest: u32) {
        let mut all = store.sizes.all.borrow_mut();
        all.resize(usize::from(self.seat.shards()), (0, 0));
        if let Some(place) = all.get_mut(usize::from(from.0)) {
            *place = (bytes, oldest);
        }
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
        let mut files = 0;
        let mut more = true;
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
        if files < most {
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
    let now = (index.bytes(), oldest);
    drop(owner);
    if store.sizes.said.replace(now) != now {
        let word = Word::Size(cache.seat.own(), now.0, now.1);
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
        let mut all = store.sizes.all.borrow_mut();
        let total: u64 = all.iter().map(|(bytes, _)| bytes).sum();
        let over = plan.max_size.map_or(0, |max| total.saturating_sub(max));
        let over = over.max(missing);
        if over == 0 {
            return;
        }
        share_out(&mut all, over)
    };
    for (to, bytes) in parts {
        cache.say(to, store, Word::Evict(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_give_first_and_none_more_than_it_has() {
        let mut all = [(100, 7), (50, 3), (0, 1), (10, 5)];
        let parts = share_out(&mut all, 55);
        assert_eq!(parts, [(Target(1), 50), (Target(3), 5)]);
        assert_eq!(all, [(100, 7), (0, 3), (0, 1), (5, 5)]);
        let parts = share_out(&mut all, 1000);
        assert_eq!(parts, [(Target(3), 5), (Target(0), 100)]);
        assert!(share_out(&mut all, 10).is_empty());
    }
}
