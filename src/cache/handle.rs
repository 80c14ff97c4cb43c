//! A shard's end of the cache: asks owners, is an owner, and passes words on. Start at [`Cache::lookup`].

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use slab::Slab;

use super::fill::{Fill, Writing};
use super::flight::{Act, Owner, holders};
use super::live::{Live, Watch};
use super::manage::Sizes;
use super::{Ask, Found, Hot, Object, Purge, Purged, hot, key};
use crate::base::hash;
use crate::base::rng::Rng;
use crate::mail::cache::{
    self as word, Digest, Filed, Grant, Home, Letter, Matcher, Name, Said, Wants, Why, Word,
};
use crate::mail::{Mail, Seat, Target};
use crate::net::clock::{self, Mono};
use crate::net::join::{First, race};
use crate::net::notify::Notify;
use crate::net::runtime;
use crate::plan::model::LogLevel;
use crate::plan::store::{StorePlan, StoreRef};

/// How long an owner may take to say its first word.
const ANSWER_MS: u64 = 1000;

/// How long a request without a lock waits for a disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a request asks again when a file has changed under its hands.
const TRIES: u32 = 4;

/// Lines that wait to be logged, at most.
const NOTES_MAX: usize = 64;

/// Milliseconds between two lines about a disk that cannot be written.
const FAULT_EVERY_MS: u64 = 60_000;

/// Seconds after which an owner hears that what it lent is still used, at most.
const TOUCH_EVERY: u64 = 10;

/// Bytes that all stores may have in the memory of a shard, and those of one store.
const HOT_BYTES: (usize, usize) = (64 << 20, 32 << 20);

/// Files that all stores may keep open for a shard, those of one store, and how many one may have in any case.
const HOT_FILES: (usize, usize, usize) = (128, 64, 8);

/// Entries for each byte of a zone: nginx's 8,000 for a MiB.
const BYTES_PER_ENTRY: u64 = 128;

/// One store as one shard sees it.
pub(super) struct Store {
    /// The newest declaration.
    pub plan: RefCell<StoreRef>,
    pub id: u64,
    pub owner: RefCell<Owner>,
    pub hot: RefCell<hot::Table>,
    /// Files that are being read to be kept; false once they must not be.
    pub reading: RefCell<Slab<(Digest, bool)>>,
    /// Files on their way out.
    pub removals: RefCell<VecDeque<Digest>>,
    pub removing: Cell<bool>,
    pub scanning: Cell<bool>,
    pub sizes: Sizes,
    /// Entries that were removed for their age or for room.
    pub evicted: Cell<u64>,
    /// When a fault was last handed on, and when one was last told of.
    fault: Cell<Option<Mono>>,
    told: Cell<Option<Mono>>,
    /// Seconds after which an owner hears that what it lent is still used.
    touch_every: Cell<i64>,
    /// Declared by the current plan or the one before it.
    pub declared: Cell<bool>,
}

/// A question that was asked.
struct Pending {
    turn: u32,
    said: Option<Said>,
    /// Some word has come.
    heard: bool,
    waker: Option<Waker>,
    since: Mono,
    owner: Target,
    count: Option<u64>,
}

/// Stored answers as one shard sees them.
pub struct Cache {
    pub(super) seat: Seat,
    stores: RefCell<Vec<Rc<Store>>>,
    pending: RefCell<Slab<Pending>>,
    turn: Cell<u32>,
    /// Fills of this shard.
    pub(super) writings: RefCell<Slab<(u32, Rc<Writing>)>>,
    /// Fills that requests of this shard read along.
    pub(super) watching: RefCell<HashMap<Home, Watch>>,
    /// Woken when a fill has come to its end.
    pub(super) written: Notify,
    /// See [`Cache::retire`].
    pub(super) retired: Cell<bool>,
    /// Nothing is stored any more: this shard ends.
    pub(super) leaving: Cell<bool>,
    notes: RefCell<Vec<(LogLevel, String)>>,
    rng: RefCell<Rng>,
}

impl Cache {
    /// The cache of a shard.
    #[must_use]
    pub fn new(seat: Seat) -> Rc<Self> {
        Rc::new(Self {
            seat,
            stores: RefCell::default(),
            pending: RefCell::new(Slab::new()),
            turn: Cell::new(0),
            writings: RefCell::new(Slab::new()),
            watching: RefCell::default(),
            written: Notify::new(),
            retired: Cell::new(false),
            leaving: Cell::new(false),
            notes: RefCell::default(),
            rng: RefCell::new(Rng::new(RandomState::new().build_hasher().finish())),
        })
    }

    /// Declares the stores of a plan. `shard` calls it when it takes a plan, with the stores of the replaced plan too, as
    /// its requests may go on; of two with one number the first counts. A store that was there stays as it is, with the
    /// new bounds; a new one begins to be loaded; one that is not named any more is forgotten, and its files stay.
    pub fn declare(self: &Rc<Self>, stores: impl Iterator<Item = StoreRef>) {
        for store in self.stores.borrow().iter() {
            store.declared.set(false);
        }
        for plan in stores {
            let store = self.store(&plan);
            if !store.declared.replace(true) {
                store.owner.borrow_mut().set_max(self.entries_max(&plan));
                store.touch_every.set(touch_every(&plan));
                *store.plan.borrow_mut() = plan;
            }
        }
        let mut stores = self.stores.borrow_mut();
        stores.retain(|store| store.declared.get());
        let count = stores.len().max(1);
        for store in stores.iter() {
            let bytes = (HOT_BYTES.0 / count).min(HOT_BYTES.1);
            let files = (HOT_FILES.0 / count).clamp(HOT_FILES.2, HOT_FILES.1);
            store.hot.borrow_mut().set_max(bytes, files);
        }
    }

    /// Tells what this shard has of each store: name, bytes and entries on disk, bytes and entries in memory, and
    /// how many entries were removed for their age or for room.
    pub fn sizes(&self, mut tell: impl FnMut(&StorePlan, (u64, u64), (usize, usize), u64)) {
        for store in self.stores.borrow().iter() {
            let owner = store.owner.borrow();
            let disk = (owner.index.bytes(), owner.index.len() as u64);
            let hot = store.hot.borrow().size();
            tell(&store.plan.borrow(), disk, hot, store.evicted.get());
        }
    }

    /// This process will end, and another one may serve from the same directories already: nothing is removed any more
    /// for its age or size. `shard` calls it when it begins to drain.
    pub fn retire(&self) {
        self.retired.set(true);
    }

    fn entries_max(&self, plan: &StorePlan) -> usize {
        let share = plan.keys_bytes / BYTES_PER_ENTRY / u64::from(self.seat.shards());
        // Keys are not spread evenly where there are few.
        let slack = if self.seat.shards() == 1 {
            0
        } else {
            share / 8 + 16
        };
        (share + slack).max(1) as usize
    }

    fn known(&self, id: u64) -> Option<Rc<Store>> {
        let stores = self.stores.borrow();
        stores.iter().find(|store| store.id == id).cloned()
    }

    /// The store of a declaration, which begins with the first word about it.
    pub(super) fn store(self: &Rc<Self>, plan: &StoreRef) -> Rc<Store> {
        if let Some(store) = self.known(plan.id) {
            return store;
        }
        let owner = Owner::new(
            self.seat.shards(),
            self.entries_max(plan),
            hash::process_seed(),
        );
        let store = Rc::new(Store {
            plan: RefCell::new(plan.clone()),
            id: plan.id,
            owner: RefCell::new(owner),
            hot: RefCell::new(hot::Table::new(hash::process_seed())),
            reading: RefCell::new(Slab::new()),
            removals: RefCell::default(),
            removing: Cell::new(false),
            scanning: Cell::new(false),
            sizes: Sizes::default(),
            evicted: Cell::new(0),
            fault: Cell::new(None),
            told: Cell::new(None),
            touch_every: Cell::new(touch_every(plan)),
            declared: Cell::new(true),
        });
        self.stores.borrow_mut().push(store.clone());
        if self.duty(&store) == self.seat.own() {
            self.load(&store);
        }
        self.manage(&store);
        store
    }

    /// Who loads a store and adds up its size.
    pub(super) fn duty(&self, store: &Store) -> Target {
        Target((store.id % u64::from(self.seat.shards())) as u16)
    }

    /// What this shard has of a key in its own memory. Never waits, never allocates. Expired objects are given too: look
    /// at `valid_until`. `variant` as in [`Ask::variant`]; `now` in seconds since 1970.
    pub fn hot(
        &self,
        store: &StorePlan,
        key: &[u8],
        variant: Option<(&[u8], &[u8])>,
        now: i64,
    ) -> Option<Hot> {
        let stores = self.stores.borrow();
        let store = stores.iter().find(|one| one.id == store.id)?;
        let every = store.touch_every.get();
        let warm = store.hot.borrow_mut().get(key, variant, now, every)?;
        if let Some(name) = warm.tell {
            let store = store.clone();
            drop(stores);
            let owner = key::owner(&name.main, self.seat.shards());
            if owner == self.seat.own() {
                let mut owner = store.owner.borrow_mut();
                owner.at(clock::mono()).hear(Word::Touch(name));
            } else if let Some(outbox) = self.seat.outbox() {
                // It hears of the next one if not of this one.
                let about = Letter::About(store.plan.borrow().clone(), Word::Touch(name));
                outbox.offer(owner, Mail::Cache(Box::new(about)));
            }
        }
        Some(warm.what)
    }

    /// Asks whoever owns a key. May be dropped at any time: what was granted is given back.
    pub async fn lookup(self: &Rc<Self>, ask: Ask<'_>) -> Found {
        let store = self.store(ask.store);
        let name = key::name(ask.key, ask.variant);
        let key: Arc<[u8]> = Arc::from(ask.key);
        let mut bypass = ask.bypass;
        for left in (0..TRIES).rev() {
            let wants = Wants {
                now: ask.now,
                min_uses: ask.min_uses,
                lock_age: ask.lock.map(|lock| lock.age.as_millis() as u64),
                updating: ask.updating,
                bypass,
            };
            let timeout = ask.lock.map(|lock| lock.timeout);
            let fill = |grant| Fill::new(self, &store, name, &key, grant);
            match self.ask(&store, name, &key, wants, timeout).await {
                Said::Stored(filed) => {
                    if let Some(object) = self.fetch(&store, name, &key, filed).await {
                        return Found::Hit(object);
                    }
                    if left == 0 {
                        // Somebody else changes files here. What is not there any more is not looked for again.
                        let own = filed.digest;
                        let main = name.main;
                        self.lost(&store, Name { main, own }, filed.stamp);
                    }
                }
                Said::Expired(filed, grant) => {
                    let fill = grant.map(fill);
                    if let Some(object) = self.fetch(&store, name, &key, filed).await {
                        return Found::Stale { object, fill };
                    }
                    if let Some(fill) = fill {
                        return Found::Fill(fill);
                    }
                }
                Said::Vary(vary) => {
                    let vary: Rc<[u8]> = Rc::from(&vary[..]);
                    let what = Hot::Vary(vary.clone());
                    let main = Name {
                        main: name.main,
                        own: name.main,
                    };
                    store.hot.borrow_mut().put(main, &key, what, ask.now);
                    return Found::Vary(vary);
                }
                Said::Error(status) => return Found::Error(status),
                Said::Live(growing) => return self.along(growing),
                Said::Fill(grant) => return Found::Fill(fill(grant)),
                Said::Scarce => return Found::Scarce,
                Said::Pass | Said::Wait(_) => return Found::Pass,
            }
            bypass = false;
            runtime::yield_now().await;
        }
        Found::Pass
    }

    fn along(self: &Rc<Self>, growing: Arc<word::Growing>) -> Found {
        Live::new(self, growing).map_or(Found::Pass, Found::Live)
    }

    /// The object of a file: from memory, else read.
    async fn fetch(
        self: &Rc<Self>,
        store: &Rc<Store>,
        name: Name,
        key: &[u8],
        filed: Filed,
    ) -> Option<Rc<Object>> {
        let known = store.hot.borrow().of_digest(&filed.digest, filed.stamp);
        if known.is_some() {
            return known;
        }
        let name = Name {
            main: name.main,
            own: filed.digest,
        };
        self.read(store, name, key, filed).await
    }

    /// Asks, and waits for the last word.
    async fn ask(
        self: &Rc<Self>,
        store: &Rc<Store>,
        name: Name,
        key: &Arc<[u8]>,
        wants: Wants,
        timeout: Option<Duration>,
    ) -> Said {
        let owner = key::owner(&name.main, self.seat.shards());
        if self.seat.is_absent(owner) {
            return Said::Pass;
        }
        let ticket = self.expect(owner);
        let waiting = Waiting {
            cache: self,
            store,
            name,
            ticket,
            owner,
        };
        let ask = word::Ask {
            from: self.seat.own(),
            ticket,
            name,
            key: key.clone(),
            wants,
        };
        if !self.try_say(owner, store, Word::Ask(ask)) {
            return Said::Pass;
        }
        let mut said = self.word(ticket).await;
        let begin = clock::mono();
        let patience = timeout.unwrap_or(PATIENCE).as_millis() as u64;
        while let Said::Wait(age_left) = said {
            let left = patience.saturating_sub(clock::mono().ms_since(begin));
            if left == 0 {
                return Said::Pass;
            }
            let sleep = runtime::sleep(Duration::from_millis(left.min(age_left)));
            said = match race(pin!(self.word(ticket)), pin!(sleep)).await {
                First::Left(said) => said,
                First::Right(()) => {
                    let word = Word::Again(name, self.seat.own(), ticket);
                    if age_left < left {
                        self.say(owner, store, word);
                    }
                    // What it answers to that is a word like any other.
                    Said::Wait(u64::MAX)
                }
            };
        }
        drop(waiting);
        said
    }

    /// A place for the answers to a question.
    fn expect(&self, owner: Target) -> u64 {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let slot = self.pending.borrow_mut().insert(Pending {
            turn,
            said: None,
            heard: false,
            waker: None,
            since: clock::mono(),
            owner,
            count: None,
        });
        slot as u64 | u64::from(turn) << 32
    }

    fn with_pending<R>(&self, ticket: u64, work: impl FnOnce(&mut Pending) -> R) -> Option<R> {
        let mut pending = self.pending.borrow_mut();
        let question = pending.get_mut(ticket as u32 as usize)?;
        (question.turn == (ticket >> 32) as u32).then(|| work(question))
    }

    /// Waits for the next word.
    async fn word(&self, ticket: u64) -> Said {
        poll_fn(|cx| {
            let said = self.with_pending(ticket, |question| match question.said.take() {
                Some(said) => Some(said),
                None => {
                    question.waker = Some(cx.waker().clone());
                    None
                }
            });
            match said {
                None => Poll::Ready(Said::Pass),
                Some(Some(said)) => Poll::Ready(said),
                Some(None) => Poll::Pending,
            }
        })
        .await
    }

    /// Waits until something was done; none when nobody answers.
    pub(super) async fn done(&self, ticket: u64) -> Option<u64> {
        let ended = Ended {
            cache: self,
            ticket,
        };
        let count = poll_fn(|cx| {
            let found = self.with_pending(ticket, |question| {
                question.waker = Some(cx.waker().clone());
                (question.count, question.said.is_some())
            });
            match found {
                Some((Some(count), _)) => Poll::Ready(Some(count)),
                None | Some((None, true)) => Poll::Ready(None),
                Some((None, false)) => Poll::Pending,
            }
        })
        .await;
        drop(ended);
        count
    }

    pub(super) fn expect_done(&self, owner: Target) -> u64 {
        self.expect(owner)
    }

    /// An answer has come.
    fn answered(self: &Rc<Self>, store: &Rc<Store>, ticket: u64, from: Target, said: Said) {
        self.seat.set_absent(from, false);
        let mut said = Some(said);
        self.with_pending(ticket, |question| {
            question.heard = true;
            // A word that was not taken was one to wait: this one counts.
            question.said = said.take();
            if let Some(waker) = question.waker.take() {
                waker.wake();
            }
        });
        if let Some(grant) = said.and_then(|said| granted(&said)) {
            // Whoever asked has gone meanwhile.
            self.say(from, store, Word::Dropped(grant.fill, Why::Failed));
        }
    }

    /// Purges. When it returns, no shard serves what was purged, unless [`Purged::complete`] is false. `soft` leaves the
    /// objects there as expired ones, so that they can be revalidated or served stale. Fills that had begun before are
    /// served to who waits for them and not stored.
    pub async fn purge(self: &Rc<Self>, store: &StoreRef, what: Purge<'_>, soft: bool) -> Purged {
        let store = self.store(store);
        let (matcher, owners) = match what {
            Purge::Key(of) => {
                let digest = key::digest(of);
                let owner = key::owner(&digest, self.seat.shards()).0;
                (Matcher::Main(digest), owner..owner + 1)
            }
            Purge::Prefix(of) => (Matcher::Prefix(Arc::from(of)), 0..self.seat.shards()),
            Purge::Tag(of) => (Matcher::Tag(Arc::from(of)), 0..self.seat.shards()),
        };
        let mut tickets = Vec::new();
        for owner in owners.map(Target) {
            let ticket = self.expect(owner);
            let word = Word::Purge(self.seat.own(), ticket, matcher.clone(), soft);
            self.say(owner, &store, word);
            tickets.push(ticket);
        }
        let mut purged = Purged {
            objects: 0,
            complete: true,
        };
        for ticket in tickets {
            match self.done(ticket).await {
                Some(count) => purged.objects += count,
                None => purged.complete = false,
            }
        }
        purged
    }

    /// Whoever could not read an object's file says so: it is dropped from memory and index, and asked for again it is
    /// a miss.
    pub fn broken(self: &Rc<Self>, store: &StoreRef, key: &[u8], object: &Object) {
        let store = self.store(store);
        let name = Name {
            main: key::digest(key),
            own: object.digest,
        };
        self.lost(&store, name, object.stamp);
    }

    pub(super) fn lost(self: &Rc<Self>, store: &Rc<Store>, name: Name, stamp: u64) {
        store.hot.borrow_mut().forget(&name.own);
        let owner = key::owner(&name.main, self.seat.shards());
        self.say(owner, store, Word::Broken(name, stamp));
    }

    /// Says a word about a store to a shard, perhaps this one.
    pub(super) fn say(self: &Rc<Self>, to: Target, store: &Rc<Store>, word: Word) {
        if to == self.seat.own() {
            self.hear(store, word);
        } else if let Some(outbox) = self.seat.outbox() {
            let about = Letter::About(store.plan.borrow().clone(), word);
            outbox.keep(to, Mail::Cache(Box::new(about)));
        }
    }

    /// The same for a word that may be refused.
    fn try_say(self: &Rc<Self>, to: Target, store: &Rc<Store>, word: Word) -> bool {
        if to == self.seat.own() {
            self.hear(store, word);
            return true;
        }
        let about = Letter::About(store.plan.borrow().clone(), word);
        let outbox = self.seat.outbox();
        outbox.is_some_and(|outbox| outbox.offer(to, Mail::Cache(Box::new(about))))
    }

    /// A letter that is about no store.
    pub(super) fn post(self: &Rc<Self>, to: Target, letter: Letter) {
        if to == self.seat.own() {
            self.take(letter);
        } else if let Some(outbox) = self.seat.outbox() {
            outbox.keep(to, Mail::Cache(Box::new(letter)));
        }
    }

    /// What was said leaves now and not at the end of the turn.
    pub(super) fn flush(&self) {
        if let Some(outbox) = self.seat.outbox() {
            outbox.flush();
        }
    }

    /// Takes a letter of another shard.
    pub fn take(self: &Rc<Self>, letter: Letter) {
        match letter {
            Letter::About(plan, word) => {
                let store = self.store(&plan);
                self.hear(&store, word);
            }
            Letter::Watch(from, home, have) => self.watched(from, home, have),
            Letter::Grew(home) => self.grew(home),
            Letter::Leaving(from) => {
                self.seat.set_absent(from, true);
                self.give_up(|question| question.owner == from);
                for store in self.stores.borrow().clone() {
                    store.owner.borrow_mut().at(clock::mono()).leaving(from);
                    self.act(&store);
                }
                self.grew_all(from);
            }
        }
    }

    /// A word about a store, to this shard.
    fn hear(self: &Rc<Self>, store: &Rc<Store>, word: Word) {
        match word {
            Word::Answer(from, ticket, said) => self.answered(store, ticket, from, said),
            Word::Done(ticket, count) => {
                self.with_pending(ticket, |question| {
                    question.count = Some(count);
                    if let Some(waker) = question.waker.take() {
                        waker.wake();
                    }
                });
            }
            Word::Place(home, ok) => self.place(home, ok),
            Word::Forget(digest, confirm) => {
                self.forget(store, &digest);
                if let Some((owner, confirm)) = confirm {
                    self.say(owner, store, Word::Forgotten(confirm));
                }
            }
            Word::Size(from, holding) => store.sizes.hear(from, holding),
            Word::Evict(bytes) => store.sizes.evict(bytes),
            Word::Fault(text) => self.tell_fault(store, &text),
            word => {
                store.owner.borrow_mut().at(clock::mono()).hear(word);
                self.act(store);
            }
        }
    }

    fn forget(&self, store: &Store, digest: &Digest) {
        store.hot.borrow_mut().forget(digest);
        for (_, (reading, keep)) in store.reading.borrow_mut().iter_mut() {
            *keep &= reading != digest;
        }
    }

    /// Does what the owner wants done.
    pub(super) fn act(self: &Rc<Self>, store: &Rc<Store>) {
        let mut acts = Vec::new();
        store.owner.borrow_mut().take_acts(&mut acts);
        for act in acts {
            match act {
                Act::Answer(to, ticket, said) => {
                    self.say(to, store, Word::Answer(self.seat.own(), ticket, said));
                }
                Act::Place(home, ok) => self.say(home.shard, store, Word::Place(home, ok)),
                Act::Forget(mask, digest, confirm) => {
                    for to in holders(mask, self.seat.shards()) {
                        let confirm = confirm.map(|confirm| (self.seat.own(), confirm));
                        self.say(to, store, Word::Forget(digest, confirm));
                    }
                }
                Act::Done(to, ticket, count) => self.say(to, store, Word::Done(ticket, count)),
                Act::Remove(digest) => self.remove(store, digest),
                Act::Probe(digest) => self.probe(store, digest),
                Act::Rewrite(rewrite) => self.rewrite(store, rewrite),
                Act::Expire(digest, stamp, until) => self.expire(store, digest, stamp, until),
            }
        }
        self.go_on_scanning(store);
    }

    /// What recurs; `shard` calls it at each tick.
    pub fn sweep(self: &Rc<Self>, now: Mono) {
        if !self.pending.borrow().is_empty() {
            self.give_up(|question| !question.heard && now.ms_since(question.since) >= ANSWER_MS);
        }
    }

    fn give_up(&self, over: impl Fn(&Pending) -> bool) {
        for (_, question) in self.pending.borrow_mut().iter_mut() {
            if question.said.is_some() || question.count.is_some() || !over(question) {
                continue;
            }
            question.said = Some(Said::Pass);
            if let Some(waker) = question.waker.take() {
                waker.wake();
            }
        }
    }

    /// Something for the error log.
    pub(super) fn note(&self, level: LogLevel, text: String) {
        let mut notes = self.notes.borrow_mut();
        if notes.len() < NOTES_MAX {
            notes.push((level, text));
        }
    }

    /// A disk that cannot be written, or read: told of once a minute for each store, by one shard for all.
    pub(super) fn fault(self: &Rc<Self>, store: &Rc<Store>, text: impl FnOnce() -> String) {
        let now = clock::mono();
        if !is_due(&store.fault, now) {
            return;
        }
        store.fault.set(Some(now));
        let word = Word::Fault(text().into_boxed_str());
        self.say(self.duty(store), store, word);
    }

    fn tell_fault(&self, store: &Store, text: &str) {
        let now = clock::mono();
        if is_due(&store.told, now) {
            store.told.set(Some(now));
            self.note(LogLevel::Crit, text.to_owned());
        }
    }

    /// Takes what is to be logged; `shard` calls it at each tick.
    pub fn notes(&self, mut tell: impl FnMut(LogLevel, String)) {
        if self.notes.borrow().is_empty() {
            return;
        }
        for (level, text) in self.notes.take() {
            tell(level, text);
        }
    }

    pub(super) fn random(&self) -> u64 {
        self.rng.borrow_mut().word()
    }

    /// The last word of a shard that ends; what has been fetched whole is put in its place before.
    pub async fn leave(self: &Rc<Self>) {
        self.end_fills().await;
        let own = self.seat.own();
        self.seat
            .post_others(|| Mail::Cache(Box::new(Letter::Leaving(own))));
    }
}

/// Whether a line may be written again.
fn is_due(told: &Cell<Option<Mono>>, now: Mono) -> bool {
    told.get()
        .is_none_or(|told| now.ms_since(told) >= FAULT_EVERY_MS)
}

fn touch_every(plan: &StorePlan) -> i64 {
    (plan.inactive.as_secs() / 4).clamp(1, TOUCH_EVERY) as i64
}

/// The permission in an answer.
fn granted(said: &Said) -> Option<Grant> {
    match said {
        Said::Fill(grant) => Some(*grant),
        Said::Expired(_, grant) => *grant,
        _ => None,
    }
}

/// Somebody who waits for an answer, and may leave at any time.
struct Waiting<'a> {
    cache: &'a Rc<Cache>,
    store: &'a Rc<Store>,
    name: Name,
    ticket: u64,
    owner: Target,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let slot = self.ticket as u32 as usize;
        let question = self.cache.pending.borrow_mut().remove(slot);
        let (cache, store) = (self.cache, self.store);
        if let Some(grant) = question.said.as_ref().and_then(granted) {
            let word = Word::Dropped(grant.fill, Why::Failed);
            return cache.say(self.owner, store, word);
        }
        // Taken is taken; only who is still waited for has to know.
        if question.waker.is_some() {
            let word = Word::Left(self.name, cache.seat.own(), self.ticket);
            cache.say(self.owner, store, word);
        }
    }
}

/// Somebody who waits until something is done.
struct Ended<'a> {
    cache: &'a Cache,
    ticket: u64,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let slot = self.ticket as u32 as usize;
        self.cache.pending.borrow_mut().remove(slot);
    }
}
