//! What the owner of keys decides: who is served, who fills, who waits, what takes a file's place. A machine without io:
//! it is told what others say and what became of files, and appends [`Act`]s. Start at [`Owner::ask`].
//!
//! At most one fill of a key leads: others wait for it or read along, if they want to. Whatever happens to it wakes those
//! who wait, and each is decided about anew, in their order: so the next one takes over when it fails, and none is left
//! behind. A file takes its place only while nothing else is done to that place.

mod bounds;
mod purging;

use std::collections::VecDeque;
use std::sync::Arc;

use slab::Slab;

use super::index::{Index, NIL};
use super::purge::{PurgeLog, Since};
use crate::mail::Target;
use crate::mail::cache::{
    Ask, Digest, Facts, Filed, FillNo, Grant, Growing, Home, Loaded, Name, Record, Said, Wants,
    Why, Word,
};
use crate::net::clock::Mono;
use purging::{Confirm, Scan};

/// A wait that nobody has to ask about again.
const NO_AGE: u64 = u64::MAX;

/// What the owner wants done.
#[derive(Debug)]
pub enum Act {
    /// An answer to a question.
    Answer(Target, u64, Said),
    /// A file may take its place, or not.
    Place(Home, bool),
    /// Shards (a bit for each; the last one for all from there on) forget what they have in memory of a digest; the number
    /// is confirmed.
    Forget(u64, Digest, Option<u32>),
    /// A file is removed; [`Owner::removed`] is told.
    Remove(Digest),
    /// A file is looked for; [`Owner::probed`] is told.
    Probe(Digest),
    /// The facts of a file are changed; [`Owner::rewritten`] is told.
    Rewrite(Box<Rewrite>),
    /// The file with this stamp has expired, if it is still there. Nobody is told.
    Expire(Digest, u64, i64),
    /// A purge, or a revalidation, is done, so many times.
    Done(Target, u64, u64),
}

/// A revalidation.
#[derive(Debug)]
pub struct Rewrite {
    /// Whose it is.
    pub fill: FillNo,
    /// Who is told.
    pub to: Target,
    /// And by which number.
    pub ticket: u64,
    /// Names the file.
    pub digest: Digest,
    /// What the file has to be.
    pub stamp: u64,
    /// The new facts.
    pub facts: Facts,
    /// The new head, if there is one.
    pub head: Option<Box<[u8]>>,
}

struct Waiter {
    from: Target,
    ticket: u64,
    wants: Wants,
}

/// What is going on about an entry.
#[derive(Default)]
struct Flight {
    /// The fill that others wait for.
    leader: Option<FillNo>,
    /// It can be read.
    growing: Option<Arc<Growing>>,
    /// All of it has come.
    whole: bool,
    /// When it began.
    since: Mono,
    waiters: VecDeque<Waiter>,
    /// Whether there is a file is being looked at.
    probing: bool,
    /// A file is taking its place.
    placing: bool,
    /// It will, when the one before it is removed.
    next: Option<FillNo>,
    /// What was there before is to be removed, if it is still there then.
    remove: bool,
}

/// A fill that was granted.
struct Running {
    turn: u32,
    /// Whose it is.
    at: u32,
    by: Target,
    /// The last purge before it began.
    purges: u64,
    /// It replaces whatever is there.
    overwrite: bool,
    /// What was there when it began.
    base: u64,
    /// What its answer may take the place of: that, or what began before it.
    older: u64,
    /// What has come, with who has it, and the entry that it is for.
    whole: Option<(Box<Record>, Home, u32)>,
}

/// The keys of one store that one shard owns.
pub struct Owner {
    /// The entries.
    pub index: Index,
    flights: Slab<Flight>,
    fills: Slab<Running>,
    turn: u32,
    purges: PurgeLog,
    scans: VecDeque<Scan>,
    confirms: Slab<Confirm>,
    shards: u16,
    max: usize,
    /// Entries whose files are being removed: they are as good as gone.
    removing: usize,
    /// Hot entries that were spared in a row.
    spared: usize,
    /// Not everything on disk is known yet.
    cold: bool,
    now: Mono,
    acts: Vec<Act>,
}

impl Owner {
    /// Owns nothing yet, and at most `max` entries.
    pub fn new(shards: u16, max: usize, seed: u64) -> Self {
        Self {
            index: Index::new(max.min(1 << 22), seed),
            flights: Slab::new(),
            fills: Slab::new(),
            turn: 0,
            purges: PurgeLog::default(),
            scans: VecDeque::new(),
            confirms: Slab::new(),
            shards,
            max,
            removing: 0,
            spared: 0,
            cold: true,
            now: Mono(0),
            acts: Vec::new(),
        }
    }

    /// Another bound.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// The time from now on.
    pub fn at(&mut self, now: Mono) -> &mut Self {
        self.now = now;
        self
    }

    /// What is to be done since the last call.
    pub fn take_acts(&mut self, into: &mut Vec<Act>) {
        into.append(&mut self.acts);
    }

    /// Not everything on disk is known yet.
    pub fn is_cold(&self) -> bool {
        self.cold
    }

    /// Nothing is going on.
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty() && self.fills.is_empty() && self.scans.is_empty()
    }

    /// Purges wait for [`Owner::scan`].
    pub fn has_scans(&self) -> bool {
        !self.scans.is_empty()
    }

    fn second(&self) -> u32 {
        (self.now.0 / 1000) as u32
    }

    /// Hears a word of another shard, or of this one.
    pub fn hear(&mut self, word: Word) {
        match word {
            Word::Ask(ask) => self.ask(ask),
            Word::Again(name, from, ticket) => self.again(name, from, ticket),
            Word::Left(name, from, ticket) => self.left(name, from, ticket),
            Word::Begun(fill, growing) => self.begun(fill, growing),
            Word::Whole(fill, home, record) => self.whole(fill, home, record),
            Word::Placed(fill, ok) => self.placed(fill, ok),
            Word::Dropped(fill, why) => self.dropped(fill, why),
            Word::Revalidated(fill, to, ticket, new) => self.revalidated(fill, to, ticket, *new),
            Word::Touch(name) => {
                self.find(name);
            }
            Word::Broken(name, stamp) => self.broken(name, stamp),
            Word::Forgotten(confirm) => self.forgotten(confirm),
            Word::Purge(to, ticket, matcher, soft) => self.purge(to, ticket, matcher, soft),
            Word::Loaded(found) => {
                for one in found {
                    self.loaded(one);
                }
            }
            Word::AllLoaded => self.cold = false,
            // Said to others than owners.
            Word::Place(..)
            | Word::Forget(..)
            | Word::Size(..)
            | Word::Evict(_)
            | Word::Fault(_)
            | Word::Answer(..)
            | Word::Done(..) => {}
        }
    }

    fn answer(&mut self, to: Target, ticket: u64, said: Said) {
        self.acts.push(Act::Answer(to, ticket, said));
    }

    /// The entry of a name, which is used now.
    fn find(&mut self, name: Name) -> Option<u32> {
        let at = self.index.find(&name.own)?;
        let now = self.second();
        let main = self.index[at].main;
        self.index.touch(at, now);
        if main != at {
            // A key is never older than its variants.
            self.index.touch(main, now);
        }
        Some(at)
    }

    /// The entry of a name, new if it has to be; none when there is no room.
    fn find_or_add(&mut self, name: Name, key: &[u8]) -> Option<u32> {
        if let Some(at) = self.find(name) {
            if name.own == name.main && self.index[at].key.is_empty() {
                self.index[at].key = Box::from(key);
            }
            return Some(at);
        }
        let now = self.second();
        let main = match self.index.find(&name.main) {
            Some(main) => main,
            None => {
                self.make_room()?;
                self.index.add(name.main, Box::from(key), now)
            }
        };
        self.index.touch(main, now);
        if name.own == name.main {
            return Some(main);
        }
        // It must not be what is removed to make room for its variant.
        self.index[main].fills += 1;
        let room = self.make_room();
        self.index[main].fills -= 1;
        room?;
        Some(self.index.add_variant(name.own, main, now))
    }

    /// A question.
    pub fn ask(&mut self, ask: Ask) {
        let Some(mut at) = self.find_or_add(ask.name, &ask.key) else {
            return self.answer(ask.from, ask.ticket, Said::Pass);
        };
        let main = self.index[at].main;
        if main != at && self.index[main].stored && self.index[main].vary.is_none() {
            // It does not vary any more, and whoever asks does not know that yet.
            at = main;
        }
        let entry = &mut self.index[at];
        entry.uses = entry.uses.saturating_add(1);
        let waiter = Waiter {
            from: ask.from,
            ticket: ask.ticket,
            wants: ask.wants,
        };
        self.serve(at, waiter, true);
    }

    /// Answers, or lets wait.
    fn serve(&mut self, at: u32, waiter: Waiter, is_new: bool) {
        if let Some(said) = self.decide(at, &waiter) {
            return self.answer(waiter.from, waiter.ticket, said);
        }
        let now = self.now;
        let flight = self.flight(at);
        let left = match (waiter.wants.lock_age, flight.leader) {
            (Some(age), Some(_)) if !flight.whole => age.saturating_sub(now.ms_since(flight.since)),
            _ => NO_AGE,
        };
        let (from, ticket) = (waiter.from, waiter.ticket);
        flight.waiters.push_back(waiter);
        if is_new || left != NO_AGE {
            self.answer(from, ticket, Said::Wait(left));
        }
    }

    /// The heart: what a request gets; none lets it wait.
    fn decide(&mut self, at: u32, waiter: &Waiter) -> Option<Said> {
        let wants = waiter.wants;
        if wants.bypass {
            let grant = self.grant(at, waiter.from, true);
            return Some(Said::Fill(grant));
        }
        let entry = &self.index[at];
        let flight = self.flights.get(entry.flight as usize);
        if flight.is_some_and(|f| f.whole || f.placing || f.next.is_some()) {
            return None;
        }
        let leads = flight.is_some_and(|f| f.leader.is_some());
        let growing = flight.and_then(|f| f.growing.clone());
        let along = growing.filter(|_| wants.lock_age.is_some());
        if entry.stored {
            let until = entry.valid_until;
            let filed = Filed {
                digest: entry.digest,
                stamp: entry.stamp,
                valid_until: until,
            };
            let window = until.saturating_add(i64::from(entry.while_revalidate));
            if wants.now <= until {
                self.hold(at, waiter.from);
                return Some(Said::Stored(filed));
            }
            if leads && wants.lock_age.is_some() && !wants.updating && wants.now > window {
                return along.map(Said::Live);
            }
            let served = leads && (wants.updating || wants.now <= window);
            let grant = (!served).then(|| self.grant(at, waiter.from, false));
            self.hold(at, waiter.from);
            return Some(Said::Expired(filed, grant));
        }
        if let Some(vary) = &entry.vary {
            let vary = vary.clone();
            self.hold(at, waiter.from);
            return Some(Said::Vary(vary));
        }
        if entry.error != 0 && wants.now <= entry.valid_until {
            return Some(Said::Error(entry.error));
        }
        if self.cold && !entry.probed {
            let digest = entry.digest;
            let flight = self.flight(at);
            if !std::mem::replace(&mut flight.probing, true) {
                self.acts.push(Act::Probe(digest));
            }
            return None;
        }
        if u32::from(entry.uses) < wants.min_uses {
            return Some(Said::Scarce);
        }
        match (leads, wants.lock_age, along) {
            (true, Some(_), Some(growing)) => Some(Said::Live(growing)),
            (true, Some(_), None) => None,
            _ => Some(Said::Fill(self.grant(at, waiter.from, false))),
        }
    }

    fn hold(&mut self, at: u32, by: Target) {
        self.index[at].holders |= 1 << by.0.min(63);
    }

    fn flight(&mut self, at: u32) -> &mut Flight {
        if self.index[at].flight == NIL {
            self.index[at].flight = self.flights.insert(Flight::default()) as u32;
        }
        &mut self.flights[self.index[at].flight as usize]
    }

    /// Grants a fill, which leads if no other does.
    fn grant(&mut self, at: u32, by: Target, overwrite: bool) -> Grant {
        self.turn = self.turn.wrapping_add(1);
        let running = Running {
            turn: self.turn,
            at,
            by,
            purges: self.purges.number(),
            overwrite,
            base: self.index[at].stamp,
            older: self.index[at].stamp,
            whole: None,
        };
        let fill = FillNo {
            slot: self.fills.insert(running) as u32,
            turn: self.turn,
        };
        self.index[at].fills += 1;
        let now = self.now;
        let flight = self.flight(at);
        if flight.leader.is_none() {
            flight.leader = Some(fill);
            flight.since = now;
        }
        Grant {
            fill,
            update: self.index[at].stored,
        }
    }

    fn running(&mut self, fill: FillNo) -> Option<&mut Running> {
        let running = self.fills.get_mut(fill.slot as usize);
        running.filter(|running| running.turn == fill.turn)
    }

    /// A fill is over. Returns its entry.
    fn end_fill(&mut self, fill: FillNo) -> u32 {
        let at = self.fills.remove(fill.slot as usize).at;
        self.index[at].fills -= 1;
        if let Some(flight) = self.flights.get_mut(self.index[at].flight as usize)
            && flight.leader == Some(fill)
        {
            flight.leader = None;
            flight.growing = None;
            flight.whole = false;
        }
        at
    }

    /// Something has happened to an entry: decides anew about all who wait, then forgets what is over.
    fn settle(&mut self, at: u32) {
        if self.index[at].flight == NIL {
            return;
        }
        let waiters = std::mem::take(&mut self.flight(at).waiters);
        for waiter in waiters {
            self.serve(at, waiter, false);
        }
        let key = self.index[at].flight as usize;
        let flight = &self.flights[key];
        let quiet = !flight.probing && !flight.placing && flight.next.is_none();
        if quiet && flight.leader.is_none() && flight.waiters.is_empty() {
            self.flights.remove(key);
            self.index[at].flight = NIL;
        }
    }

    /// Somebody has waited for long.
    fn again(&mut self, name: Name, from: Target, ticket: u64) {
        let Some(at) = self.index.find(&name.own) else {
            return;
        };
        let now = self.now;
        let Some(flight) = self.flights.get_mut(self.index[at].flight as usize) else {
            return;
        };
        let known = |w: &Waiter| (w.from, w.ticket) == (from, ticket);
        let Some(place) = flight.waiters.iter().position(known) else {
            return;
        };
        let age = flight.waiters[place].wants.lock_age.unwrap_or(NO_AGE);
        let waited = now.ms_since(flight.since);
        if flight.whole || flight.leader.is_none() || flight.probing {
            return self.answer(from, ticket, Said::Wait(NO_AGE));
        }
        if waited < age {
            return self.answer(from, ticket, Said::Wait(age - waited));
        }
        flight.waiters.remove(place);
        // The old one goes on beside the new one, and takes the place of nothing that the new one has stored.
        flight.leader = None;
        let grant = self.grant(at, from, false);
        let said = if self.index[at].stored {
            self.hold(at, from);
            let entry = &self.index[at];
            let filed = Filed {
                digest: entry.digest,
                stamp: entry.stamp,
                valid_until: entry.valid_until,
            };
            Said::Expired(filed, Some(grant))
        } else {
            Said::Fill(grant)
        };
        self.answer(from, ticket, said);
    }

    fn left(&mut self, name: Name, from: Target, ticket: u64) {
        // A question about a variant may have been decided by its key's entry.
        for digest in [name.own, name.main] {
            if let Some(at) = self.index.find(&digest)
                && let Some(flight) = self.flights.get_mut(self.index[at].flight as usize)
            {
                let other = |w: &Waiter| (w.from, w.ticket) != (from, ticket);
                flight.waiters.retain(other);
                self.settle(at);
            }
        }
    }

    fn begun(&mut self, fill: FillNo, growing: Arc<Growing>) {
        let Some(at) = self.running(fill).map(|running| running.at) else {
            return;
        };
        let flight = self.flight(at);
        if flight.leader == Some(fill) && !flight.whole {
            flight.growing = Some(growing);
            self.settle(at);
        }
    }

    fn whole(&mut self, fill: FillNo, home: Home, record: Box<Record>) {
        let Some(running) = self.running(fill) else {
            return self.acts.push(Act::Place(home, false));
        };
        let at = running.at;
        let (purges, overwrite, older) = (running.purges, running.overwrite, running.older);
        let main = self.index[at].main;
        let (digest, key) = (self.index[main].digest, &self.index[main].key);
        let since = self.purges.since(purges, &digest, key, &record.tags);
        let target = match self.index.find(&record.own) {
            Some(target) => Some(target),
            None => {
                let now = self.second();
                self.make_room()
                    .map(|()| self.index.add_variant(record.own, main, now))
            }
        };
        let Some(target) = target.filter(|_| since == Since::Kept) else {
            return self.refuse(fill, home);
        };
        let entry = &self.index[target];
        let flight = self.flights.get(entry.flight as usize);
        let taken = flight.is_some_and(|flight| flight.placing || flight.next.is_some());
        let beaten = entry.stored && target == at && entry.stamp != older;
        if taken || (beaten && !overwrite) {
            return self.refuse(fill, home);
        }
        let removing = entry.removing;
        // Until the end of this fill it stays, whatever becomes of the entry that was asked for.
        self.index[target].fills += 1;
        if let Some(running) = self.running(fill) {
            running.whole = Some((record, home, target));
        }
        let flight = self.flight(target);
        if removing {
            flight.next = Some(fill);
        } else {
            flight.placing = true;
            self.acts.push(Act::Place(home, true));
        }
        let flight = self.flight(at);
        if flight.leader == Some(fill) {
            flight.whole = true;
        }
    }

    fn refuse(&mut self, fill: FillNo, home: Home) {
        self.acts.push(Act::Place(home, false));
        let at = self.end_fill(fill);
        self.settle(at);
    }

    fn placed(&mut self, fill: FillNo, ok: bool) {
        let Some((record, _, target)) = self.running(fill).and_then(|r| r.whole.take()) else {
            return;
        };
        let purges = self.running(fill).map_or(0, |running| running.purges);
        self.index[target].fills -= 1;
        let main = self.index[target].main;
        let key = &self.index[main].key;
        let digest = &self.index[main].digest;
        let since = self.purges.since(purges, digest, key, &record.tags);
        if ok {
            self.store(target, *record);
        }
        self.end_placing(target);
        if ok && since != Since::Kept {
            self.remove_file(target);
        }
        let at = self.end_fill(fill);
        if ok {
            self.let_replace(target, fill.turn);
        }
        self.settle(target);
        if at != target {
            if ok && at != main {
                self.send_on(at);
            }
            self.settle(at);
        }
    }

    /// Of several answers for one key the one that was asked for last is stored: fills that began after the one that has
    /// just been stored may take its place.
    fn let_replace(&mut self, at: u32, turn: u32) {
        if self.index[at].fills == 0 {
            return;
        }
        let stamp = self.index[at].stamp;
        for (_, running) in &mut self.fills {
            if running.at == at && running.turn.wrapping_sub(turn).cast_signed() > 0 {
                running.older = stamp;
            }
        }
    }

    /// What was filled for a variant has turned out to be something else: by other fields, or for all. Who waits for
    /// the variant goes there.
    fn send_on(&mut self, at: u32) {
        let main = self.index[at].main;
        let vary = self.index[main].vary.clone();
        if vary.is_none() && !self.index[main].stored {
            return;
        }
        for waiter in std::mem::take(&mut self.flight(at).waiters) {
            match &vary {
                None => self.serve(main, waiter, false),
                Some(vary) => {
                    self.hold(main, waiter.from);
                    self.answer(waiter.from, waiter.ticket, Said::Vary(vary.clone()));
                }
            }
        }
    }

    /// A file is in its place: the entry is what it says.
    fn store(&mut self, at: u32, record: Record) {
        let main = self.index[at].main;
        if at == main {
            if self.index[main].vary.take().is_some() {
                let variants: Vec<_> = self.index.variants(main).collect();
                for variant in variants {
                    self.drop_entry(variant);
                }
            }
        } else {
            if self.index[main].vary.as_deref() != Some(&record.vary[..]) {
                self.forget(main);
                self.index[main].vary = Some(record.vary);
                // Nobody finds variants by other fields any more.
                let others: Vec<_> = self.index.variants(main).filter(|n| *n != at).collect();
                for other in others {
                    self.drop_entry(other);
                }
            }
            if self.index[main].stored {
                self.remove_file(main);
            }
        }
        self.forget(at);
        self.index.set_bytes(at, record.bytes);
        let entry = &mut self.index[at];
        entry.stored = true;
        entry.probed = true;
        entry.error = 0;
        entry.stamp = record.stamp;
        entry.valid_until = record.valid_until;
        entry.while_revalidate = record.while_revalidate;
        entry.tags = (!record.tags.is_empty()).then_some(record.tags);
    }

    fn dropped(&mut self, fill: FillNo, why: Why) {
        let Some(running) = self.running(fill) else {
            return;
        };
        let (at, whole) = (running.at, running.whole.take());
        if let Some((_, _, target)) = whole {
            self.index[target].fills -= 1;
            self.end_placing(target);
            self.end_fill(fill);
            self.settle(target);
            if target != at {
                self.settle(at);
            }
            return;
        }
        let leads = self.flight(at).leader == Some(fill);
        self.end_fill(fill);
        if let Why::Error(status, until) = why
            && !self.index[at].stored
        {
            let entry = &mut self.index[at];
            (entry.error, entry.valid_until) = (status, until);
        }
        if leads && matches!(why, Why::Uncacheable | Why::Fault) {
            let waiters = std::mem::take(&mut self.flight(at).waiters);
            for waiter in waiters {
                let said = if why == Why::Fault {
                    Said::Pass
                } else {
                    // Another client's answer may well be stored.
                    Said::Fill(self.grant(at, waiter.from, false))
                };
                self.answer(waiter.from, waiter.ticket, said);
            }
        }
        self.settle(at);
    }

    fn revalidated(
        &mut self,
        fill: FillNo,
        to: Target,
        ticket: u64,
        (facts, head): (Facts, Option<Box<[u8]>>),
    ) {
        let Some(running) = self.running(fill) else {
            return self.acts.push(Act::Done(to, ticket, 0));
        };
        let (at, purges, base) = (running.at, running.purges, running.base);
        let entry = &self.index[at];
        let tags = entry.tags.as_deref().unwrap_or_default();
        let main = self.index[entry.main].digest;
        let since = self.purges.since(purges, &main, self.index.key(at), tags);
        let flight = self.flights.get(entry.flight as usize);
        let taken = flight.is_some_and(|flight| flight.placing || flight.next.is_some());
        if !entry.stored || entry.stamp != base || taken || since != Since::Kept {
            self.acts.push(Act::Done(to, ticket, 0));
            self.end_fill(fill);
            return self.settle(at);
        }
        self.acts.push(Act::Rewrite(Box::new(Rewrite {
            fill,
            to,
            ticket,
            digest: entry.digest,
            stamp: entry.stamp,
            facts,
            head,
        })));
        self.flight(at).placing = true;
    }

    /// The file of a revalidated answer was changed, and has another stamp now; or could not be.
    pub fn rewritten(&mut self, rewrite: &Rewrite, stamp: Option<u64>) {
        // Found by its name: the fill may be over, as its shard may be.
        let mut count = 0;
        let purges = self.running(rewrite.fill).map(|running| running.purges);
        if let Some(at) = self.index.find(&rewrite.digest) {
            let main = self.index[self.index[at].main].digest;
            let tags = self.index[at].tags.as_deref().unwrap_or_default();
            let since =
                self.purges
                    .since(purges.unwrap_or(u64::MAX), &main, self.index.key(at), tags);
            let entry = &mut self.index[at];
            if let Some(stamp) = stamp.filter(|_| entry.stored && entry.stamp == rewrite.stamp) {
                entry.stamp = stamp;
                entry.valid_until = match since {
                    Since::Kept => rewrite.facts.valid_until,
                    Since::Soft | Since::Gone => entry.valid_until,
                };
                entry.while_revalidate = rewrite.facts.while_revalidate;
                self.forget(at);
                // Who asked for it reads it into its memory when it hears of this.
                self.hold(at, rewrite.to);
                count = 1;
            }
            self.end_placing(at);
            if self.running(rewrite.fill).is_some() {
                self.end_fill(rewrite.fill);
            }
            self.settle(at);
        }
        self.acts.push(Act::Done(rewrite.to, rewrite.ticket, count));
    }

    fn broken(&mut self, name: Name, stamp: u64) {
        if let Some(at) = self.index.find(&name.own)
            && self.index[at].stored
            && self.index[at].stamp == stamp
        {
            self.remove_file(at);
        }
    }

    /// Shards that have it in memory lose it.
    fn forget(&mut self, at: u32) -> u64 {
        let holders = std::mem::take(&mut self.index[at].holders);
        if holders != 0 {
            let digest = self.index[at].digest;
            self.acts.push(Act::Forget(holders, digest, None));
        }
        holders
    }

    /// The entry has no file any more. Returns who had it in memory.
    fn remove_file(&mut self, at: u32) -> u64 {
        let holders = self.forget(at);
        self.index.set_bytes(at, 0);
        let entry = &mut self.index[at];
        entry.stored = false;
        entry.uses = 0;
        entry.tags = None;
        if let Some(flight) = self.flights.get_mut(entry.flight as usize)
            && flight.placing
        {
            // Two at once might remove the wrong one.
            flight.remove = true;
        } else if !std::mem::replace(&mut entry.removing, true) {
            self.removing += 1;
            self.acts.push(Act::Remove(entry.digest));
        }
        holders
    }

    /// A file has taken its place, or has not.
    fn end_placing(&mut self, at: u32) {
        let flight = self.flight(at);
        flight.placing = false;
        flight.next = None;
        if std::mem::take(&mut flight.remove) && !self.index[at].stored {
            self.remove_file(at);
        }
    }

    /// Removes a file that no entry has. Until that is done it has one, so that no other file takes its place before.
    fn remove_unknown(&mut self, digest: Digest) {
        if self.index.find(&digest).is_none() {
            let now = self.second();
            let at = self.index.add(digest, Box::default(), now);
            self.remove_file(at);
        }
    }

    /// A file was removed, or was not there.
    pub fn removed(&mut self, digest: &Digest) {
        let Some(at) = self.index.find(digest) else {
            return;
        };
        if !std::mem::replace(&mut self.index[at].removing, false) {
            return;
        }
        self.removing -= 1;
        if let Some(flight) = self.flights.get_mut(self.index[at].flight as usize)
            && let Some(fill) = flight.next.take()
        {
            flight.placing = true;
            let whole = self
                .running(fill)
                .and_then(|running| running.whole.as_ref());
            if let Some((_, home, _)) = whole {
                let home = *home;
                self.acts.push(Act::Place(home, true));
            }
            return;
        }
        let entry = &self.index[at];
        if !entry.stored && !entry.is_busy() && entry.vary.is_none() && entry.variants == NIL {
            self.index.remove(at);
        }
    }

    /// What is on disk for a digest that somebody asked for.
    pub fn probed(&mut self, digest: &Digest, found: Option<Loaded>) {
        if let Some(found) = found {
            self.loaded(found);
        }
        let Some(at) = self.index.find(digest) else {
            return;
        };
        self.index[at].probed = true;
        if self.index[at].flight != NIL {
            self.flight(at).probing = false;
            self.settle(at);
        }
    }

    /// An answer was found on disk. What is known already knows better.
    fn loaded(&mut self, found: Loaded) {
        let Loaded { main, key, record } = found;
        let known = self.index.find(&record.own);
        if known.is_some_and(|at| {
            let entry = &self.index[at];
            let flight = self.flights.get(entry.flight as usize);
            entry.stored || entry.removing || flight.is_some_and(|flight| flight.placing)
        }) {
            return;
        }
        let other_fields = |at: u32| {
            let vary = self.index[at].vary.as_deref();
            let fits = record.vary.is_empty() || vary.is_none_or(|vary| *vary == record.vary[..]);
            !fits && self.index.variants(at).any(|one| self.index[one].stored)
        };
        if known.is_none() && self.index.find(&main).is_some_and(other_fields) {
            return self.remove_unknown(record.own);
        }
        let since = self.purges.since(0, &main, &key, &record.tags);
        let name = Name {
            main,
            own: record.own,
        };
        let Some(at) = self.find_or_add(name, &key) else {
            // No room for it: its file takes none either.
            return self.remove_unknown(record.own);
        };
        let until = record.valid_until;
        self.store(at, record);
        match since {
            Since::Kept => {}
            Since::Soft => self.index[at].valid_until = until.min(0),
            Since::Gone => {
                self.remove_file(at);
            }
        }
    }

    /// A shard has ended: its fills will not come, and it waits for nothing.
    pub fn leaving(&mut self, shard: Target) {
        let mut places = Vec::new();
        for (_, flight) in &mut self.flights {
            flight.waiters.retain(|waiter| waiter.from != shard);
        }
        for (slot, running) in &self.fills {
            if running.by == shard {
                places.push(FillNo {
                    slot: slot as u32,
                    turn: running.turn,
                });
            }
        }
        for fill in places {
            self.dropped(fill, Why::Failed);
        }
    }
}

/// The shards of a mask.
pub fn holders(mask: u64, shards: u16) -> impl Iterator<Item = Target> {
    (0..shards)
        .filter(move |shard| mask >> (*shard).min(63) & 1 == 1)
        .map(Target)
}

#[cfg(test)]
mod tests;
