//! Filling: a handle for the request that asks the origin, and a task beside it that writes the file. The request hands
//! bytes over and goes on; what becomes of the file is the task's business, also when the request ends in the middle.
//! Start at [`Fill::begin`].

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::handle::Store;
use super::{Cache, Facts, Meta, Object, disk, key};
use crate::mail::Target;
use crate::mail::cache::{Filed, Grant, Growing, Home, Letter, Name, Record, Why, Word};
use crate::net::file::File;
use crate::net::join::{First, race};
use crate::net::notify::Notify;
use crate::net::{depot, offload, runtime};

/// Bytes that may wait to be written before the request has to.
const QUEUE_MAX: usize = 1 << 20;

/// Bytes that are written at once.
const CHUNK: usize = 256 << 10;

/// How long a shard that ends waits for its files.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// How long an owner may take to say whether a file takes its place.
const VERDICT: Duration = Duration::from_secs(10);

/// How a fill stands with the request that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes are still to come.
    Filling,
    /// All have come.
    Whole,
    /// No more will.
    Over,
}

/// What a request and the task that writes for it share.
pub(super) struct Writing {
    home: Home,
    store: Rc<Store>,
    owner: Target,
    grant: Grant,
    key: Arc<[u8]>,
    own: [u8; 16],
    stamp: u64,
    meta: RefCell<Meta>,
    head: RefCell<Box<[u8]>>,
    length: Option<u64>,
    offset: u64,
    queue: RefCell<VecDeque<Vec<u8>>>,
    queued: Cell<usize>,
    /// Bytes of the body that were handed over.
    total: Cell<u64>,
    state: Cell<State>,
    /// The disk has failed.
    faulty: Cell<bool>,
    /// Woken by the request and by the owner's verdict.
    work: Notify,
    /// Woken when there is room.
    room: Notify,
    verdict: Cell<Option<bool>>,
    growing: OnceCell<Arc<Growing>>,
    /// Shards that wait for more.
    watchers: RefCell<Vec<Target>>,
    /// The unfinished file, as long as there is one.
    temporary: RefCell<Option<Vec<u8>>>,
    /// The file is in its place, or will never be.
    placed: Cell<Option<bool>>,
    placed_bell: Notify,
}

/// The permission, and the duty, to fetch what a key stands for. Dropping it is a failure.
pub struct Fill {
    cache: Rc<Cache>,
    store: Rc<Store>,
    name: Name,
    key: Arc<[u8]>,
    grant: Grant,
    owner: Target,
    writing: Option<Rc<Writing>>,
    /// The owner has been told how it ended.
    told: bool,
}

impl Fill {
    pub(super) fn new(
        cache: &Rc<Cache>,
        store: &Rc<Store>,
        name: Name,
        key: &Arc<[u8]>,
        grant: Grant,
    ) -> Self {
        Self {
            cache: cache.clone(),
            store: store.clone(),
            name,
            key: key.clone(),
            grant,
            owner: key::owner(&name.main, cache.seat.shards()),
            writing: None,
            told: false,
        }
    }

    /// Whether an expired answer is stored, which may be served if the origin fails.
    pub fn is_update(&self) -> bool {
        self.grant.update
    }

    /// The head has come and the answer will be stored: with what is known of it, its head as bytes that
    /// [`Object::head`] gives back, and the body's length where that is known. Whoever waits starts to read. Waits for
    /// nothing.
    pub fn begin(&mut self, meta: Meta, head: &[u8], length: Option<u64>) {
        if self.cache.leaving.get() {
            return self.tell(Why::Failed);
        }
        let Some(offset) = disk::offset(&self.key, &meta, head) else {
            return self.tell(Why::Uncacheable);
        };
        let own = if meta.vary.is_empty() {
            self.name.main
        } else {
            key::variant(&self.key, &meta.vary, &meta.variant)
        };
        let mut writings = self.cache.writings.borrow_mut();
        let place = writings.vacant_entry();
        let turn = self.grant.fill.turn;
        let home = Home {
            shard: self.cache.seat.own(),
            slot: place.key() as u32,
            turn,
        };
        let writing = Rc::new(Writing {
            home,
            store: self.store.clone(),
            owner: self.owner,
            grant: self.grant,
            key: self.key.clone(),
            own,
            stamp: self.cache.random(),
            meta: RefCell::new(meta),
            head: RefCell::new(Box::from(head)),
            length,
            offset,
            queue: RefCell::default(),
            queued: Cell::new(0),
            total: Cell::new(0),
            state: Cell::new(State::Filling),
            faulty: Cell::new(false),
            work: Notify::new(),
            room: Notify::new(),
            verdict: Cell::new(None),
            growing: OnceCell::new(),
            watchers: RefCell::default(),
            temporary: RefCell::default(),
            placed: Cell::new(None),
            placed_bell: Notify::new(),
        });
        place.insert((turn, writing.clone()));
        drop(writings);
        self.writing = Some(writing.clone());
        runtime::spawn(write(self.cache.clone(), writing));
    }

    /// The next bytes of the body. Waits only while much has not reached the disk. When the disk fails the bytes go
    /// nowhere, without a word here (the log has one): the request goes on all the same.
    pub async fn write(&mut self, bytes: &[u8]) {
        let Some(writing) = &self.writing else {
            return;
        };
        if bytes.is_empty() || writing.faulty.get() {
            return;
        }
        writing.push(bytes);
        while writing.queued.get() > QUEUE_MAX && !writing.faulty.get() {
            writing.room.wait().await;
        }
    }

    /// The whole body has come. Call it before the last bytes go to the client, so that its next request is a hit. The
    /// file is put in its place in the background.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) -> Option<Rc<Writing>> {
        let writing = self.writing.clone()?;
        let total = writing.total.get();
        if self.told || writing.faulty.get() || writing.length.is_some_and(|len| len != total) {
            // Dropping it says the rest: a body of another length than was told is not whole.
            return None;
        }
        self.told = true;
        writing.state.set(State::Whole);
        let record = Box::new(writing.record());
        let word = Word::Whole(self.grant.fill, writing.home, record);
        self.cache.say(self.owner, &self.store, word);
        // The owner has to know before the client does, and this shard serves nothing older to it.
        for digest in [&self.name.own, &self.name.main, &writing.own] {
            self.store.hot.borrow_mut().forget(digest);
        }
        self.cache.flush();
        writing.work.notify();
        Some(writing)
    }

    /// As [`Fill::finish`], and waits until it is stored; false when it is not.
    pub async fn stored(mut self) -> bool {
        let Some(writing) = self.end() else {
            return false;
        };
        loop {
            if let Some(placed) = writing.placed.get() {
                return placed;
            }
            writing.placed_bell.wait().await;
        }
    }

    /// The origin answered, and the answer is not to be stored: all who wait ask the origin themselves.
    pub fn uncacheable(mut self) {
        self.tell(Why::Uncacheable);
    }

    /// The origin could not be asked, and that is an answer too (`proxy_cache_valid 502`): [`super::Found::Error`] until
    /// then.
    pub fn remember_error(mut self, status: u16, valid_until: i64) {
        self.tell(Why::Error(status, valid_until));
        self.cache.flush();
    }

    /// A 304 came: the stored answer lives on with these facts; with a new head, if one is given. Returns it as it is now;
    /// none when it has gone meanwhile, and the caller serves what it has. All other members of the meta stay.
    pub async fn revalidated(mut self, facts: Facts, head: Option<&[u8]>) -> Option<Rc<Object>> {
        let ticket = self.cache.expect_done(self.owner);
        self.told = true;
        let new = Box::new((facts, head.map(Box::from)));
        let word = Word::Revalidated(self.grant.fill, self.cache.seat.own(), ticket, new);
        self.cache.say(self.owner, &self.store, word);
        if self.cache.done(ticket).await != Some(1) {
            return None;
        }
        let filed = Filed {
            digest: self.name.own,
            stamp: 0,
            valid_until: facts.valid_until,
        };
        self.cache
            .read(&self.store, self.name, &self.key, filed)
            .await
    }

    fn tell(&mut self, why: Why) {
        if !std::mem::replace(&mut self.told, true) {
            let word = Word::Dropped(self.grant.fill, why);
            self.cache.say(self.owner, &self.store, word);
        }
        if let Some(writing) = &self.writing
            && writing.state.get() == State::Filling
        {
            writing.give_up(&self.cache);
        }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let faulty = self.writing.as_ref().is_some_and(|w| w.faulty.get());
        self.tell(if faulty { Why::Fault } else { Why::Failed });
    }
}

impl Writing {
    fn push(&self, bytes: &[u8]) {
        let mut queue = self.queue.borrow_mut();
        match queue.back_mut() {
            Some(last) if last.len() + bytes.len() <= CHUNK => last.extend_from_slice(bytes),
            _ => queue.push_back(bytes.to_vec()),
        }
        self.queued.set(self.queued.get() + bytes.len());
        self.total.set(self.total.get() + bytes.len() as u64);
        self.work.notify();
    }

    fn record(&self) -> Record {
        let meta = self.meta.borrow();
        Record {
            own: self.own,
            stamp: self.stamp,
            valid_until: meta.facts.valid_until,
            while_revalidate: meta.facts.while_revalidate,
            bytes: disk::on_disk(self.offset + self.total.get()),
            vary: Arc::from(&meta.vary[..]),
            tags: Box::from(&meta.tags[..]),
        }
    }

    /// What waits is thrown away, and who reads along sees the end.
    fn give_up(&self, cache: &Rc<Cache>) {
        self.state.set(State::Over);
        self.discard();
        if let Some(growing) = self.growing.get() {
            growing.break_off();
        }
        self.tell_watchers(cache);
        self.work.notify();
    }

    fn discard(&self) {
        self.queue.borrow_mut().clear();
        self.queued.set(0);
        self.room.notify();
    }

    fn tell_watchers(&self, cache: &Rc<Cache>) {
        for to in self.watchers.take() {
            cache.post(to, Letter::Grew(self.home));
        }
    }

    fn header(&self) -> Vec<u8> {
        let (meta, head) = match self.growing.get() {
            Some(growing) => (growing.meta.clone(), growing.head.clone()),
            None => (self.meta.take(), self.head.take()),
        };
        let header = disk::Header {
            key: Box::from(&self.key[..]),
            meta,
            head,
            stamp: self.stamp,
            count: 1,
            body_len: self.total.get(),
            offset: self.offset,
        };
        let mut out = Vec::with_capacity(self.offset as usize);
        disk::encode(&mut out, &header);
        out
    }
}

impl Cache {
    /// Somebody waits for more than `have` bytes of a fill of this shard.
    pub(super) fn watched(self: &Rc<Self>, from: Target, home: Home, have: u64) {
        let writing = {
            let writings = self.writings.borrow();
            let found = writings.get(home.slot as usize);
            found
                .filter(|(turn, _)| *turn == home.turn)
                .map(|(_, writing)| writing.clone())
        };
        let grows = writing.as_ref().is_some_and(|writing| {
            use crate::mail::cache::Grown;
            let grown = writing.growing.get().map(|growing| growing.grown());
            matches!(grown, Some(Grown::Part(len)) if len <= have)
        });
        match writing {
            Some(writing) if grows => writing.watchers.borrow_mut().push(from),
            _ => self.post(from, Letter::Grew(home)),
        }
    }

    /// The owner says whether a file takes its place.
    pub(super) fn place(&self, home: Home, ok: bool) {
        if let Some((turn, writing)) = self.writings.borrow().get(home.slot as usize)
            && *turn == home.turn
        {
            writing.verdict.set(Some(ok));
            writing.work.notify();
        }
    }

    /// Ends all fills: what is whole is put in its place, the rest is broken off. No unfinished file is left.
    pub(super) async fn end_fills(self: &Rc<Self>) {
        self.leaving.set(true);
        let all: Vec<_> = {
            let writings = self.writings.borrow();
            writings.iter().map(|(_, (_, w))| w.clone()).collect()
        };
        for writing in all {
            if writing.state.get() == State::Filling {
                writing.give_up(self);
            }
        }
        let mut wait = pin!(runtime::sleep(LAST_WAIT));
        while !self.writings.borrow().is_empty() {
            // Verdicts of other shards do not come any more, but our own do.
            match race(pin!(self.written.wait()), wait.as_mut()).await {
                First::Left(()) => {}
                First::Right(()) => break,
            }
        }
        // Their tasks end with this shard, and nobody is served by it any more that a disk could keep waiting.
        for (_, (_, writing)) in self.writings.borrow().iter() {
            if let Some(path) = writing.temporary.take() {
                let _ = depot::remove(&path);
            }
        }
    }
}

/// A file that is removed unless it has got its place.
struct Temporary {
    path: Vec<u8>,
    file: File,
}

/// Writes a fill's file from its beginning to its place or its end.
async fn write(cache: Rc<Cache>, writing: Rc<Writing>) {
    let made = make(&cache, &writing).await;
    let stored = match made {
        Some(temporary) => {
            let stored = fill_file(&cache, &writing, &temporary).await;
            if !stored {
                drop(temporary.file);
                let path = temporary.path;
                let _ = offload::run(move || depot::remove(&path)).await;
            }
            stored
        }
        None => false,
    };
    writing.temporary.take();
    writing.placed.set(Some(stored));
    writing.placed_bell.notify();
    cache
        .writings
        .borrow_mut()
        .remove(writing.home.slot as usize);
    writing.tell_watchers(&cache);
    cache.written.notify();
}

/// Makes the file and says so.
async fn make(cache: &Rc<Cache>, writing: &Rc<Writing>) -> Option<Temporary> {
    let plan = writing.store.plan.borrow().clone();
    let word = cache.random();
    let mut path;
    let depth;
    match &plan.temp_path {
        Some(folder) => {
            path = folder.to_vec();
            path.extend_from_slice(format!("/{word:016x}.ringx").as_bytes());
            depth = 0;
        }
        None => {
            path = plan.path.to_vec();
            key::push_path(&mut path, plan.levels, &writing.own);
            path.extend_from_slice(format!(".{word:016x}").as_bytes());
            depth = levels(&plan.levels);
        }
    }
    let making = path.clone();
    writing.temporary.replace(Some(path.clone()));
    let made = offload::run(move || {
        let fd = depot::create(&making, depth)?;
        let other = fd.as_fd().try_clone_to_owned()?;
        Ok::<_, io::Error>((fd, other))
    });
    let made = made.await.and_then(|made| made);
    let made = made.and_then(|(fd, other)| Ok((File::from_fd(fd)?, other)));
    match made {
        Ok((file, other)) => {
            let (meta, head) = (writing.meta.borrow().clone(), writing.head.borrow().clone());
            let (home, length, offset) = (writing.home, writing.length, writing.offset);
            let growing = Arc::new(Growing::new(home, meta, head, length, other, offset));
            if writing.state.get() == State::Over {
                growing.break_off();
            }
            let _ = writing.growing.set(growing.clone());
            if writing.state.get() == State::Filling {
                let begun = Word::Begun(writing.grant.fill, growing);
                cache.say(writing.owner, &writing.store, begun);
            }
            Some(Temporary { path, file })
        }
        Err(error) => {
            fail(cache, writing, "open()", &path, &error);
            None
        }
    }
}

pub(super) fn levels(levels: &[u8; 3]) -> usize {
    levels.iter().take_while(|level| **level > 0).count()
}

/// The disk has failed: the request goes on without it.
fn fail(cache: &Rc<Cache>, writing: &Writing, call: &str, path: &[u8], error: &io::Error) {
    writing.faulty.set(true);
    cache.fault(&writing.store, || fault(call, path, error));
    let whole = writing.state.get() == State::Whole;
    writing.give_up(cache);
    let word = if whole {
        Word::Placed(writing.grant.fill, false)
    } else {
        Word::Dropped(writing.grant.fill, Why::Fault)
    };
    cache.say(writing.owner, &writing.store, word);
}

/// A line for the error log.
pub(super) fn fault(call: &str, path: &[u8], error: &io::Error) -> String {
    let path = String::from_utf8_lossy(path);
    let text = error.to_string();
    let (text, number) = match error.raw_os_error() {
        Some(number) => (text.split(" (os error").next().unwrap_or_default(), number),
        None => (&text[..], 0),
    };
    format!("{call} \"{path}\" failed ({number}: {text})")
}

/// Writes what comes until all has come, then lets the file take its place; whether it did.
async fn fill_file(cache: &Rc<Cache>, writing: &Rc<Writing>, temporary: &Temporary) -> bool {
    let mut written = 0;
    let mut has_header = false;
    loop {
        let chunk = writing.queue.borrow_mut().pop_front();
        let state = writing.state.get();
        if state == State::Over {
            return false;
        }
        let Some(mut chunk) = chunk else {
            if state == State::Whole {
                break;
            }
            writing.work.wait().await;
            continue;
        };
        let len = chunk.len();
        let mut at = writing.offset + written;
        if state == State::Whole && written == 0 && len as u64 == writing.total.get() {
            // All of it at once, header and body.
            let mut both = writing.header();
            both.append(&mut chunk);
            (chunk, at, has_header) = (both, 0, true);
        }
        if let Err(error) = write_at(writing, temporary, chunk, at).await {
            fail(cache, writing, "pwrite()", &temporary.path, &error);
            return false;
        }
        written += len as u64;
        // Giving up has emptied it already.
        writing.queued.set(writing.queued.get().saturating_sub(len));
        writing.room.notify();
        if let Some(growing) = writing.growing.get() {
            growing.publish(written);
        }
        writing.tell_watchers(cache);
    }
    if !has_header {
        let header = writing.header();
        if let Err(error) = write_at(writing, temporary, header, 0).await {
            fail(cache, writing, "pwrite()", &temporary.path, &error);
            return false;
        }
    }
    if let Some(growing) = writing.growing.get() {
        growing.end();
    }
    writing.tell_watchers(cache);
    take_place(cache, writing, temporary).await
}

/// Through the ring; where there is none, on a helper.
async fn write_at(
    writing: &Writing,
    temporary: &Temporary,
    bytes: Vec<u8>,
    at: u64,
) -> io::Result<()> {
    match writing.growing.get() {
        Some(growing) if !runtime::on_ring() => {
            let growing = growing.clone();
            offload::run(move || depot::write_all_at(&growing.file, &bytes, at)).await?
        }
        _ => temporary.file.write_all_at(bytes, at).await.0,
    }
}

/// Waits for the owner's verdict and does what it says.
async fn take_place(cache: &Rc<Cache>, writing: &Rc<Writing>, temporary: &Temporary) -> bool {
    let mut patience = pin!(runtime::sleep(VERDICT));
    let verdict = loop {
        if let Some(verdict) = writing.verdict.get() {
            break verdict;
        }
        match race(pin!(writing.work.wait()), patience.as_mut()).await {
            First::Left(()) => {}
            First::Right(()) => break false,
        }
    };
    if !verdict {
        // Without one it may still wait for ours.
        let word = Word::Dropped(writing.grant.fill, Why::Failed);
        cache.say(writing.owner, &writing.store, word);
        return false;
    }
    let plan = writing.store.plan.borrow().clone();
    let mut path = plan.path.to_vec();
    key::push_path(&mut path, plan.levels, &writing.own);
    let (from, to) = (temporary.path.clone(), path.clone());
    let depth = levels(&plan.levels);
    let renamed = offload::run(move || depot::rename(&from, &to, depth)).await;
    let renamed = renamed.and_then(|renamed| renamed);
    if let Err(error) = &renamed {
        cache.fault(&writing.store, || fault("rename()", &path, error));
    }
    let word = Word::Placed(writing.grant.fill, renamed.is_ok());
    cache.say(writing.owner, &writing.store, word);
    renamed.is_ok()
}
