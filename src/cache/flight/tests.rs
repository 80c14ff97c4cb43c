//! The owner under random interleavings: requests that come, wait, leave and are refused; fills that go on, end, fail and
//! vanish with their shard; files that are put, removed, changed and found at any moment between.

#![expect(clippy::disallowed_methods, reason = "tests may block")]

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use super::*;
use crate::base::rng::Rng;
use crate::cache::key;
use crate::mail::cache::{Matcher, Meta};

const KEYS: [&str; 3] = ["/a/1", "/a/2", "/b/3"];
const SHARDS: u16 = 3;
const NOW: i64 = 1000;

/// How a fill stands with who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Granted,
    Begun,
    /// All has come; the verdict, once there is one.
    Whole(Option<bool>),
}

struct Filling {
    fill: FillNo,
    by: Target,
    name: Name,
    record: Record,
    stage: Stage,
    update: bool,
}

struct Asking {
    ticket: u64,
    from: Target,
    name: Name,
    locked: bool,
}

/// Work on files that has not been done yet.
enum Job {
    Remove(Digest),
    Probe(Digest),
    Rewrite(Box<Rewrite>),
}

struct World {
    owner: Owner,
    rng: Rng,
    now: u64,
    next: u64,
    asking: Vec<Asking>,
    filling: Vec<Filling>,
    jobs: Vec<Job>,
    /// What files there are, by stamp.
    disk: HashMap<Digest, u64>,
    /// Purges and revalidations that somebody waits for.
    tickets: Vec<u64>,
    finals: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut owner = Owner::new(SHARDS, 1000, seed);
        let mut disk = HashMap::new();
        if rng.below(2) == 0 {
            owner.hear(Word::AllLoaded);
        } else {
            disk.insert(key::digest(KEYS[0].as_bytes()), 1);
        }
        Self {
            owner,
            rng,
            now: 0,
            next: 10,
            asking: Vec::new(),
            filling: Vec::new(),
            jobs: Vec::new(),
            disk,
            tickets: Vec::new(),
            finals: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn pick(&mut self, len: usize) -> Option<usize> {
        (len > 0).then(|| self.rng.below(len as u64) as usize)
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.rng.below(one_in) == 0
    }

    fn shard(&mut self) -> Target {
        Target(self.rng.below(u64::from(SHARDS)) as u16)
    }

    fn hear(&mut self, word: Word) {
        self.owner.at(Mono(self.now)).hear(word);
        self.act();
    }

    fn act(&mut self) {
        let mut acts = Vec::new();
        self.owner.take_acts(&mut acts);
        for act in acts {
            match act {
                Act::Answer(to, ticket, said) => self.answered(to, ticket, said),
                Act::Place(home, ok) => {
                    let turn = u64::from(home.turn);
                    if let Some(one) = self.filling.iter_mut().find(|f| f.record.stamp == turn) {
                        assert_eq!(one.stage, Stage::Whole(None));
                        one.stage = Stage::Whole(Some(ok));
                    }
                }
                Act::Forget(mask, _, Some(confirm)) => {
                    for _ in holders(mask, SHARDS) {
                        self.owner.hear(Word::Forgotten(confirm));
                    }
                    self.act();
                }
                Act::Forget(_, _, None) | Act::Expire(..) => {}
                Act::Remove(digest) => self.jobs.push(Job::Remove(digest)),
                Act::Probe(digest) => self.jobs.push(Job::Probe(digest)),
                Act::Rewrite(rewrite) => self.jobs.push(Job::Rewrite(rewrite)),
                Act::Done(_, ticket, _) => {
                    let before = self.tickets.len();
                    self.tickets.retain(|one| *one != ticket);
                    assert_eq!(self.tickets.len() + 1, before, "told once");
                }
            }
        }
    }

    fn answered(&mut self, to: Target, ticket: u64, said: Said) {
        let at = self.asking.iter().position(|a| a.ticket == ticket);
        if matches!(said, Said::Wait(_)) {
            return;
        }
        let Some(at) = at else {
            // Who has left gives back what it got.
            if let Said::Fill(grant) | Said::Expired(_, Some(grant)) = said {
                self.hear(Word::Dropped(grant.fill, Why::Failed));
            }
            return;
        };
        let asked = self.asking.swap_remove(at);
        assert_eq!(asked.from, to);
        self.finals += 1;
        match said {
            Said::Stored(filed) => assert_eq!(self.disk.get(&filed.digest), Some(&filed.stamp)),
            Said::Live(_) => assert!(asked.locked),
            Said::Fill(grant) | Said::Expired(_, Some(grant)) => {
                let stamp = self.number();
                let valid_until = NOW + self.rng.below(3) as i64 - 1;
                self.filling.push(Filling {
                    fill: grant.fill,
                    by: to,
                    name: asked.name,
                    record: Record {
                        own: asked.name.main,
                        stamp,
                        valid_until,
                        bytes: 4096,
                        ..Record::default()
                    },
                    stage: Stage::Granted,
                    update: grant.update,
                });
            }
            _ => {}
        }
    }

    fn ask(&mut self) {
        let of = KEYS[self.rng.below(3) as usize];
        let (ticket, from) = (self.number(), self.shard());
        let locked = self.chance(2);
        let wants = Wants {
            now: NOW,
            min_uses: 1,
            lock_age: locked.then_some(50),
            updating: self.chance(3),
            bypass: self.chance(12),
        };
        let name = key::name(of.as_bytes(), None);
        self.asking.push(Asking {
            ticket,
            from,
            name,
            locked,
        });
        self.hear(Word::Ask(Ask {
            from,
            ticket,
            name,
            key: Arc::from(of.as_bytes()),
            wants,
        }));
    }

    fn home(one: &Filling) -> Home {
        Home {
            shard: one.by,
            slot: 0,
            turn: one.record.stamp as u32,
        }
    }

    /// One step of some fill.
    fn go_on(&mut self) {
        let Some(at) = self.pick(self.filling.len()) else {
            return;
        };
        let one = &self.filling[at];
        let (fill, stage, update) = (one.fill, one.stage, one.update);
        match stage {
            Stage::Whole(None) if !self.chance(20) => {}
            Stage::Whole(None) => {
                // The disk failed before the verdict.
                self.filling.swap_remove(at);
                self.hear(Word::Placed(fill, false));
            }
            Stage::Whole(Some(verdict)) => {
                let one = self.filling.swap_remove(at);
                if !verdict {
                    return self.hear(Word::Dropped(fill, Why::Failed));
                }
                let ok = !self.chance(5);
                if ok {
                    self.disk.insert(one.record.own, one.record.stamp);
                }
                self.hear(Word::Placed(fill, ok));
            }
            Stage::Granted | Stage::Begun if self.chance(4) => {
                let one = self.filling.swap_remove(at);
                let why = match self.rng.below(5) {
                    0 if one.stage == Stage::Granted => Why::Uncacheable,
                    1 if one.stage == Stage::Granted => Why::Error(502, NOW + 1),
                    2 => Why::Fault,
                    _ => Why::Failed,
                };
                self.hear(Word::Dropped(fill, why));
            }
            Stage::Granted if update && self.chance(2) => {
                let one = self.filling.swap_remove(at);
                let ticket = self.number();
                self.tickets.push(ticket);
                let facts = Facts {
                    valid_until: NOW + 1,
                    ..Facts::default()
                };
                let new = Box::new((facts, None));
                self.hear(Word::Revalidated(fill, one.by, ticket, new));
            }
            Stage::Granted if self.chance(2) => {
                let one = &mut self.filling[at];
                one.stage = Stage::Begun;
                let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
                let home = Self::home(one);
                let meta = Meta::default();
                let growing = Growing::new(home, meta, Box::default(), None, file, 0);
                self.hear(Word::Begun(fill, Arc::new(growing)));
            }
            Stage::Granted | Stage::Begun => {
                let chance = self.chance(3);
                let one = &mut self.filling[at];
                one.stage = Stage::Whole(None);
                if chance {
                    // It varies.
                    one.record.vary = Arc::from(&b"accept"[..]);
                    one.record.own = key::variant(&one.name.main, b"accept", b"x");
                }
                let (home, record) = (Self::home(one), Box::new(one.record.clone()));
                self.hear(Word::Whole(fill, home, record));
            }
        }
    }

    fn work(&mut self) {
        let Some(at) = self.pick(self.jobs.len()) else {
            return;
        };
        match self.jobs.swap_remove(at) {
            Job::Remove(digest) => {
                let stored = self.owner.index.find(&digest);
                let stored = stored.is_some_and(|at| self.owner.index[at].stored);
                assert!(!stored, "what is served must not be removed");
                self.disk.remove(&digest);
                self.owner.removed(&digest);
            }
            Job::Probe(digest) => {
                let of = KEYS.iter().find(|of| key::digest(of.as_bytes()) == digest);
                let found = self.disk.get(&digest).zip(of).map(|(stamp, of)| Loaded {
                    main: digest,
                    key: Box::from(of.as_bytes()),
                    record: Record {
                        own: digest,
                        stamp: *stamp,
                        valid_until: NOW,
                        bytes: 4096,
                        ..Record::default()
                    },
                });
                self.owner.probed(&digest, found);
            }
            Job::Rewrite(rewrite) => {
                let new = self.number();
                let stamp = self.disk.get_mut(&rewrite.digest);
                let stamp = stamp.filter(|stamp| **stamp == rewrite.stamp).map(|stamp| {
                    *stamp = new;
                    new
                });
                self.owner.rewritten(&rewrite, stamp);
            }
        }
        self.act();
    }

    fn disturb(&mut self) {
        match self.rng.below(7) {
            0 => {
                let ticket = self.number();
                self.tickets.push(ticket);
                let matcher = match self.rng.below(2) {
                    0 => Matcher::Main(key::digest(KEYS[0].as_bytes())),
                    _ => Matcher::Prefix(Arc::from(&b"/a"[..])),
                };
                let soft = self.chance(2);
                self.hear(Word::Purge(Target(0), ticket, matcher, soft));
            }
            1 => {
                self.owner.evict(u32::MAX, 4096, 3);
                self.act();
            }
            2 => {
                if let Some(at) = self.pick(self.asking.len()) {
                    let gone = self.asking.swap_remove(at);
                    self.hear(Word::Left(gone.name, gone.from, gone.ticket));
                }
            }
            3 => {
                self.now += self.rng.below(60);
                if let Some(at) = self.pick(self.asking.len()) {
                    let one = &self.asking[at];
                    self.hear(Word::Again(one.name, one.from, one.ticket));
                }
            }
            4 if self.chance(6) => {
                let shard = self.shard();
                self.filling.retain(|one| one.by != shard);
                self.asking.retain(|one| one.from != shard);
                self.owner.at(Mono(self.now)).leaving(shard);
                self.act();
            }
            5 => {
                self.owner.scan(2);
                self.act();
            }
            _ => {}
        }
    }

    /// Lets everything come to its end, and looks whether it did.
    fn end(&mut self) {
        for _ in 0..10_000 {
            let Some(at) = self.pick(self.filling.len()) else {
                break;
            };
            match self.filling[at].stage {
                Stage::Whole(None) => self.work(),
                _ => self.go_on(),
            }
        }
        while !self.jobs.is_empty() || self.owner.has_scans() {
            self.work();
            self.owner.scan(100);
            self.act();
            while self.filling.iter().any(|f| f.stage != Stage::Whole(None)) {
                self.go_on();
            }
        }
        assert!(self.filling.is_empty(), "every fill gets a verdict");
        assert!(self.asking.is_empty(), "everybody gets an answer");
        assert!(self.tickets.is_empty(), "everything asked for is done");
        assert!(self.owner.is_idle());
        assert_eq!(self.owner.removing, 0);
        let index = &self.owner.index;
        let mut stored = 0;
        for at in 0..index.places() {
            let entry = &index[at];
            if entry.is_live() && entry.stored {
                stored += 1;
                assert_eq!(self.disk.get(&entry.digest), Some(&entry.stamp));
            }
            assert!(!entry.is_live() || !entry.is_busy());
        }
        if !self.owner.is_cold() {
            assert_eq!(stored, self.disk.len(), "no file is forgotten");
        }
    }
}

#[test]
fn nobody_waits_for_ever_and_index_and_disk_agree() {
    let mut answered = 0;
    for seed in 0..3000 {
        let mut world = World::new(seed);
        for _ in 0..80 {
            match world.rng.below(8) {
                0..=2 => world.ask(),
                3..=4 => world.go_on(),
                5..=6 => world.work(),
                _ => world.disturb(),
            }
        }
        world.end();
        answered += world.finals;
    }
    assert!(answered > 30_000, "{answered}");
}

fn ask_of(owner: &mut Owner, ticket: u64, lock_age: Option<u64>) -> Vec<Act> {
    owner.ask(Ask {
        from: Target(0),
        ticket,
        name: key::name(b"k", None),
        key: Arc::from(&b"k"[..]),
        wants: Wants {
            now: NOW,
            min_uses: 1,
            lock_age,
            updating: false,
            bypass: false,
        },
    });
    let mut acts = Vec::new();
    owner.take_acts(&mut acts);
    acts
}

fn warm() -> Owner {
    let mut owner = Owner::new(1, 100, 1);
    owner.hear(Word::AllLoaded);
    owner
}

#[test]
fn a_stampede_gets_one_fill_and_each_failure_hands_it_on_in_order() {
    let mut owner = warm();
    let mut fill = match &ask_of(&mut owner, 0, Some(5000))[..] {
        [Act::Answer(_, 0, Said::Fill(grant))] => grant.fill,
        other => panic!("{other:?}"),
    };
    for ticket in 1..200 {
        let acts = ask_of(&mut owner, ticket, Some(5000));
        assert!(matches!(&acts[..], [Act::Answer(_, _, Said::Wait(5000))]));
    }
    for ticket in 1..200 {
        owner.hear(Word::Dropped(fill, Why::Failed));
        let mut acts = Vec::new();
        owner.take_acts(&mut acts);
        let granted: Vec<_> = acts
            .iter()
            .filter_map(|act| match act {
                Act::Answer(_, ticket, Said::Fill(grant)) => Some((*ticket, grant.fill)),
                _ => None,
            })
            .collect();
        assert_eq!(granted.len(), 1);
        assert_eq!(granted[0].0, ticket);
        fill = granted[0].1;
    }
}

#[test]
fn what_is_not_to_be_stored_lets_all_go_at_once() {
    for (why, want) in [(Why::Uncacheable, "fill"), (Why::Fault, "pass")] {
        let mut owner = warm();
        let fill = match &ask_of(&mut owner, 0, Some(5000))[..] {
            [Act::Answer(_, 0, Said::Fill(grant))] => grant.fill,
            other => panic!("{other:?}"),
        };
        for ticket in 1..50 {
            ask_of(&mut owner, ticket, Some(5000));
        }
        owner.hear(Word::Dropped(fill, why));
        let mut acts = Vec::new();
        owner.take_acts(&mut acts);
        let said = |act: &Act| match act {
            Act::Answer(_, _, Said::Fill(_)) => "fill",
            Act::Answer(_, _, Said::Pass) => "pass",
            _ => "other",
        };
        assert_eq!(acts.iter().filter(|act| said(act) == want).count(), 49);
    }
}

#[test]
fn entries_are_bounded_and_those_in_use_stay() {
    let mut owner = Owner::new(1, 10, 1);
    owner.hear(Word::AllLoaded);
    let mut passed = 0;
    for n in 0..30u64 {
        owner.ask(Ask {
            from: Target(0),
            ticket: n,
            name: key::name(&n.to_le_bytes(), None),
            key: Arc::from(&n.to_le_bytes()[..]),
            wants: Wants {
                now: NOW,
                min_uses: if n < 20 { 2 } else { 1 },
                lock_age: None,
                updating: false,
                bypass: false,
            },
        });
        let mut acts = Vec::new();
        owner.take_acts(&mut acts);
        passed += acts
            .iter()
            .filter(|act| matches!(act, Act::Answer(_, _, Said::Pass)))
            .count();
        assert!(owner.index.len() <= 10);
    }
    assert_eq!(passed, 0);
    for n in 30..35u64 {
        owner.ask(Ask {
            from: Target(0),
            ticket: n,
            name: key::name(&n.to_le_bytes(), None),
            key: Arc::from(&n.to_le_bytes()[..]),
            wants: Wants {
                now: NOW,
                min_uses: 1,
                lock_age: None,
                updating: false,
                bypass: false,
            },
        });
    }
    let mut acts = Vec::new();
    owner.take_acts(&mut acts);
    let passes = acts
        .iter()
        .filter(|act| matches!(act, Act::Answer(_, _, Said::Pass)));
    assert_eq!(passes.count(), 5, "ten are being filled");
}

#[test]
fn what_is_hot_outlives_a_storm_of_new_keys() {
    let mut owner = Owner::new(2, 1000, 1);
    let add = |owner: &mut Owner, number: u64, holders: u64| {
        let of = number.to_le_bytes();
        let now = owner.second();
        let at = owner.index.add(key::digest(&of), Box::from(&of[..]), now);
        owner.index.set_bytes(at, 4096);
        owner.index[at].stored = true;
        owner.index[at].holders = holders;
    };
    let hot = |owner: &Owner| {
        let held = (0..10).filter(|number: &u64| {
            let found = owner.index.find(&key::digest(&number.to_le_bytes()));
            found.is_some_and(|at| owner.index[at].stored)
        });
        held.count()
    };
    for number in 0..10 {
        add(&mut owner, number, 1);
    }
    for number in 10..100 {
        add(&mut owner, number, 0);
    }
    let (freed, seen) = owner.evict(u32::MAX, 50 * 4096, 1000);
    assert_eq!((freed, seen, hot(&owner)), (50 * 4096, 60, 10));
    // Nobody has told of a use for long: they are as old as they look.
    owner.at(Mono(20_000));
    for number in 100..110 {
        add(&mut owner, number, 0);
    }
    owner.evict(u32::MAX, 50 * 4096, 1000);
    assert_eq!((owner.index.bytes(), hot(&owner)), (10 * 4096, 0));
    // Where all are hot, some go all the same.
    let mut owner = Owner::new(2, 1000, 1);
    for number in 0..10 {
        add(&mut owner, number, 1);
    }
    let (freed, _) = owner.evict(u32::MAX, 3 * 4096, 1000);
    assert_eq!((freed, hot(&owner)), (3 * 4096, 7));
}
