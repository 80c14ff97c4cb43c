//! What an owner wants done to files, beside the shard: removed, looked for, changed. Start at [`Cache::remove`].

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::fill::{fault, levels};
use super::flight::Rewrite;
use super::handle::Store;
use super::{Cache, Facts, disk, fetch, key};
use crate::mail::cache::{Digest, Loaded};
use crate::net::{clock, depot, offload, runtime};
use crate::plan::store::StorePlan;

/// Files that are removed in one go.
const BATCH: usize = 64;

/// Files that may wait to be removed before that is as urgent as everything else.
const BACKLOG: usize = 1024;

/// Entries that a purge looks at in one turn of the loop.
const SCAN_STEPS: u32 = 4096;

/// How long to rest when the helpers are busy.
const REST: Duration = Duration::from_millis(10);

pub(super) fn path(plan: &StorePlan, digest: &Digest) -> Vec<u8> {
    let mut path = plan.path.to_vec();
    key::push_path(&mut path, plan.levels, digest);
    path
}

impl Cache {
    /// Removes a file, with others that are to be.
    pub(super) fn remove(self: &Rc<Self>, store: &Rc<Store>, digest: Digest) {
        store.removals.borrow_mut().push_back(digest);
        if !store.removing.replace(true) {
            runtime::spawn(remove_all(self.clone(), store.clone()));
        }
    }

    /// Looks whether there is a file.
    pub(super) fn probe(self: &Rc<Self>, store: &Rc<Store>, digest: Digest) {
        let (cache, store) = (self.clone(), store.clone());
        runtime::spawn(async move {
            let path = path(&store.plan.borrow(), &digest);
            let found = helped(move || look(&path)).await;
            let found = found.filter(|found| found.record.own == digest);
            let mut owner = store.owner.borrow_mut();
            owner.at(clock::mono()).probed(&digest, found);
            drop(owner);
            cache.act(&store);
        });
    }

    /// Changes the facts of a revalidated answer.
    pub(super) fn rewrite(self: &Rc<Self>, store: &Rc<Store>, rewrite: Box<Rewrite>) {
        let (cache, store) = (self.clone(), store.clone());
        // 0 stands for any stamp elsewhere.
        let stamp = self.random() | 1;
        runtime::spawn(async move {
            let plan = store.plan.borrow().clone();
            let path = path(&plan, &rewrite.digest);
            let (facts, expected, head) = (rewrite.facts, rewrite.stamp, rewrite.head.clone());
            let depth = levels(&plan.levels);
            let at = path.clone();
            let done = offload::run(move || match head {
                None => change(&at, expected, |_| (facts, stamp)),
                Some(head) => replace_head(&at, expected, facts, stamp, head, depth),
            });
            let done = done.await.and_then(|done| done);
            if let Err(error) = &done {
                cache.fault(&store, || fault("pwrite()", &path, error));
            }
            let mut owner = store.owner.borrow_mut();
            owner
                .at(clock::mono())
                .rewritten(&rewrite, done.is_ok().then_some(stamp));
            drop(owner);
            cache.act(&store);
        });
    }

    /// Marks a file as expired, so that it stays so over a restart.
    pub(super) fn expire(
        self: &Rc<Self>,
        store: &Rc<Store>,
        digest: Digest,
        stamp: u64,
        until: i64,
    ) {
        let (cache, store) = (self.clone(), store.clone());
        runtime::spawn(async move {
            let path = path(&store.plan.borrow(), &digest);
            let at = path.clone();
            let done = helped(move || {
                change(&at, stamp, |mut facts| {
                    facts.valid_until = until;
                    (facts, stamp)
                })
            });
            match done.await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    cache.fault(&store, || fault("pwrite()", &path, &error));
                }
                _ => {}
            }
        });
    }

    /// Lets purges go on that look at all entries.
    pub(super) fn go_on_scanning(self: &Rc<Self>, store: &Rc<Store>) {
        if store.scanning.get() || !store.owner.borrow().has_scans() {
            return;
        }
        store.scanning.set(true);
        let (cache, store) = (self.clone(), store.clone());
        runtime::spawn(async move {
            loop {
                let more = scan(&store);
                cache.act(&store);
                if !more {
                    break;
                }
                runtime::yield_now().await;
            }
            store.scanning.set(false);
            cache.go_on_scanning(&store);
        });
    }
}

fn scan(store: &Store) -> bool {
    let mut owner = store.owner.borrow_mut();
    owner.at(clock::mono()).scan(SCAN_STEPS)
}

/// Runs work on a helper, however busy they are.
pub(super) async fn helped<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + Clone + 'static,
) -> T {
    loop {
        if let Ok(done) = offload::run(work.clone()).await {
            return done;
        }
        runtime::sleep(REST).await;
    }
}

async fn remove_all(cache: Rc<Cache>, store: Rc<Store>) {
    loop {
        let (batch, urgent): (Vec<_>, bool) = {
            let mut removals = store.removals.borrow_mut();
            let urgent = removals.len() > BACKLOG;
            let len = removals.len().min(BATCH);
            (removals.drain(..len).collect(), urgent)
        };
        if batch.is_empty() {
            break;
        }
        let plan = store.plan.borrow().clone();
        let digests = batch.clone();
        let work = move || {
            let results = digests.iter().map(|digest| {
                let path = path(&plan, digest);
                depot::remove(&path).err().map(|error| (path, error))
            });
            results.flatten().next()
        };
        let failed = if urgent {
            helped(work).await
        } else {
            match offload::tidy(work.clone()).await {
                Ok(failed) => failed,
                Err(_) => helped(work).await,
            }
        };
        if let Some((path, error)) = failed {
            cache.fault(&store, || fault("unlink()", &path, &error));
        }
        for digest in &batch {
            store.owner.borrow_mut().at(clock::mono()).removed(digest);
        }
        cache.act(&store);
    }
    store.removing.set(false);
}

/// The answer in a file, if it is a sound one.
fn look(path: &[u8]) -> Option<Loaded> {
    let fd = depot::open(path, false).ok()?;
    read_header(&fd).ok().map(|header| fetch::record(&header))
}

/// Reads the header of an open file.
pub(super) fn read_header(fd: &std::os::fd::OwnedFd) -> Result<disk::Header, disk::Unsound> {
    let unread = |_| disk::Unsound::Corrupt;
    let len = depot::stat(fd).map_err(unread)?.len;
    let mut bytes = Vec::with_capacity(1024);
    let mut want = 1024;
    loop {
        let at = bytes.len();
        depot::read_at(fd, &mut bytes, at as u64, want - at).map_err(unread)?;
        match disk::decode(&bytes, len) {
            Err(disk::Unsound::Short(more)) if more > want => want = more,
            other => return other,
        }
    }
}

/// Changes the facts of a file that has this stamp, by writing the copy that is older.
fn change(path: &[u8], expected: u64, new: impl FnOnce(Facts) -> (Facts, u64)) -> io::Result<()> {
    let fd = depot::open(path, true)?;
    let mut bytes = Vec::new();
    depot::read_at(&fd, &mut bytes, 0, disk::FIXED)?;
    let (facts, stamp, count, copy) =
        disk::newest_facts(&bytes).ok_or_else(|| io::Error::other("no facts"))?;
    if stamp != expected {
        return Err(io::ErrorKind::NotFound.into());
    }
    let (facts, stamp) = new(facts);
    let slot = disk::slot(&facts, stamp, count.wrapping_add(1));
    depot::write_all_at(&fd, &slot, disk::SLOTS[1 - copy] as u64)
}

/// Writes a file anew with another head, and puts it in the place of the old one.
fn replace_head(
    path: &[u8],
    expected: u64,
    facts: Facts,
    stamp: u64,
    head: Box<[u8]>,
    depth: usize,
) -> io::Result<()> {
    let old = depot::open(path, false)?;
    let mut header = read_header(&old).map_err(|unsound| io::Error::other(unsound.text()))?;
    if header.stamp != expected {
        return Err(io::ErrorKind::NotFound.into());
    }
    let from = header.offset;
    header.meta.facts = facts;
    header.head = head;
    header.stamp = stamp;
    header.count = 1;
    let too_long = || io::Error::other("the header is too long");
    header.offset = disk::offset(&header.key, &header.meta, &header.head).ok_or_else(too_long)?;
    let mut bytes = Vec::new();
    disk::encode(&mut bytes, &header);
    let beside = [path, format!(".{stamp:016x}").as_bytes()].concat();
    let new = depot::create(&beside, depth)?;
    let done = depot::write_all_at(&new, &bytes, 0)
        .and_then(|()| depot::append(&old, from, &new))
        .and_then(|()| depot::rename(&beside, path, 0));
    if done.is_err() {
        let _ = depot::remove(&beside);
    }
    done
}
