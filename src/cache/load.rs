//! Finding out what is on disk, at start and beside the serving: directories are walked and headers read by a helper
//! thread, a step at a time, and each owner is told what it owns. Start at [`Cache::load`].
//!
//! A file that has the name of a stored answer and is none is removed, as is what a crash left half written. Whatever else
//! lies about is left alone and told of.

use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::fill::levels;
use super::handle::Store;
use super::{Cache, disk, fetch, key, work};
use crate::mail::Target;
use crate::mail::cache::{Loaded, Word};
use crate::net::depot::{self, Folder, Kind};
use crate::net::{clock, runtime};
use crate::plan::model::LogLevel;
use crate::plan::store::{Steps, StoreRef};

/// How a directory is walked where its line does not say.
const STEPS: Steps = Steps {
    files: 2000,
    threshold: Duration::from_millis(100),
    sleep: Duration::ZERO,
};

/// How long to rest when there is no helper.
const AGAIN: Duration = Duration::from_millis(500);

/// Lines about single files, at most.
const LINES_MAX: usize = 20;

/// A directory that is being read.
struct Open {
    path: Vec<u8>,
    folder: Folder,
}

/// Where a walk is.
struct Walk {
    plan: StoreRef,
    stack: Vec<Open>,
    found: Vec<Loaded>,
    lines: Vec<String>,
    told: usize,
    untold: u64,
    bytes: u64,
    over: bool,
}

impl Cache {
    /// Begins to load a store.
    pub(super) fn load(self: &Rc<Self>, store: &Rc<Store>) {
        let (cache, store) = (self.clone(), Rc::downgrade(store));
        runtime::spawn(load(cache, store));
    }
}

async fn load(cache: Rc<Cache>, store: Weak<Store>) {
    let Some(plan) = store.upgrade().map(|store| store.plan.borrow().clone()) else {
        return;
    };
    let mut walk = Some(Walk::new(plan));
    while let Some(mut walking) = walk.take() {
        let done = crate::net::offload::run(move || {
            walking.step();
            walking
        });
        let Some(store) = store.upgrade() else {
            return;
        };
        let Ok(mut walking) = done.await else {
            // Helpers are busy, and the place in the walk is lost. What is known already is not learned twice.
            runtime::sleep(AGAIN).await;
            let plan = store.plan.borrow().clone();
            walk = Some(Walk::new(plan));
            continue;
        };
        for line in walking.lines.drain(..) {
            cache.note(LogLevel::Crit, line);
        }
        hand_out(&cache, &store, &mut walking.found);
        if walking.over {
            return finish(&cache, &store, &walking);
        }
        let sleep = walking.steps().sleep;
        walk = Some(walking);
        if sleep.is_zero() {
            runtime::yield_now().await;
        } else {
            runtime::sleep(sleep).await;
        }
    }
}

/// Tells owners what they own.
fn hand_out(cache: &Rc<Cache>, store: &Rc<Store>, found: &mut Vec<Loaded>) {
    let mut shares: Vec<Vec<Loaded>> = Vec::new();
    shares.resize_with(usize::from(cache.seat.shards()), Vec::new);
    for one in found.drain(..) {
        let owner = key::owner(&one.main, cache.seat.shards());
        shares[usize::from(owner.0)].push(one);
    }
    for (to, share) in shares.into_iter().enumerate() {
        if !share.is_empty() {
            cache.say(Target(to as u16), store, Word::Loaded(share.into()));
        }
    }
}

fn finish(cache: &Rc<Cache>, store: &Rc<Store>, walk: &Walk) {
    for to in 0..cache.seat.shards() {
        cache.say(Target(to), store, Word::AllLoaded);
    }
    let path = String::from_utf8_lossy(&walk.plan.path);
    if walk.untold > 0 {
        let text = format!(
            "{} more files in cache \"{path}\" were dropped or left alone",
            walk.untold
        );
        cache.note(LogLevel::Crit, text);
    }
    let size = walk.bytes as f64 / (1 << 20) as f64;
    let text = format!("http file cache: {path} {size:.3}M, bsize: 4096");
    cache.note(LogLevel::Notice, text);
}

impl Walk {
    fn new(plan: StoreRef) -> Self {
        Self {
            plan,
            stack: Vec::new(),
            found: Vec::new(),
            lines: Vec::new(),
            told: 0,
            untold: 0,
            bytes: 0,
            over: false,
        }
    }

    fn steps(&self) -> Steps {
        self.plan.loader.unwrap_or(STEPS)
    }

    /// Goes on for a while.
    fn step(&mut self) {
        let steps = self.steps();
        let end = clock::mono().after(steps.threshold);
        if self.stack.is_empty() && !self.begin() {
            self.over = true;
            return;
        }
        let mut files = 0;
        while files < steps.files.max(1) && clock::mono() < end {
            let Some(open) = self.stack.last_mut() else {
                self.over = true;
                return;
            };
            match open.folder.next_name() {
                None => {
                    self.stack.pop();
                }
                Some(Ok((name, kind))) => {
                    files += 1;
                    self.meet(&name, kind);
                }
                Some(Err(error)) => {
                    let path = open.path.clone();
                    self.stack.pop();
                    self.tell(&path, &format!("cannot be read ({error})"));
                }
            }
        }
    }

    /// Opens the top, and cleans the directory of unfinished files if it is another one.
    fn begin(&mut self) -> bool {
        if let Some(temp) = self.plan.temp_path.clone()
            && let Ok(mut folder) = Folder::open(&temp)
        {
            while let Some(Ok((name, kind))) = folder.next_name() {
                if kind == Kind::File && is_temporary(&name) {
                    let path = [&temp[..], b"/", &name].concat();
                    self.remove_abandoned(&path);
                }
            }
        }
        let path = self.plan.path.to_vec();
        self.enter(path)
    }

    fn enter(&mut self, path: Vec<u8>) -> bool {
        match Folder::open(&path) {
            Ok(folder) => {
                self.stack.push(Open { path, folder });
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                self.tell(&path, &format!("cannot be opened ({error})"));
                false
            }
        }
    }

    fn meet(&mut self, name: &[u8], kind: Kind) {
        let depth = self.stack.len() - 1;
        let Some(open) = self.stack.last() else {
            return;
        };
        let path = [&open.path[..], b"/", name].concat();
        if depth < levels(&self.plan.levels) {
            let len = usize::from(self.plan.levels[depth]);
            let is_level = name.len() == len && name.iter().all(u8::is_ascii_hexdigit);
            if kind == Kind::Folder && is_level {
                self.enter(path);
            } else if !self.is_own_temp(&path) {
                self.tell(&path, "is not a file of this cache and is left alone");
            }
            return;
        }
        if kind == Kind::File && is_temporary(name) {
            return self.remove_abandoned(&path);
        }
        match key::unhex(name) {
            Some(_) if kind == Kind::File => self.look(&path, name),
            _ if self.is_own_temp(&path) => {}
            _ => self.tell(&path, "is not a file of this cache and is left alone"),
        }
    }

    /// The directory of unfinished files may be inside.
    fn is_own_temp(&self, path: &[u8]) -> bool {
        self.plan.temp_path.as_deref() == Some(path)
    }

    fn look(&mut self, path: &[u8], name: &[u8]) {
        let Some(open) = self.stack.last() else {
            return;
        };
        let sound = match open.folder.open_file(name) {
            Ok(fd) => work::read_header(&fd),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.tell(path, &format!("cannot be opened ({error})")),
        };
        let sound = sound.map(|header| fetch::record(&header));
        match sound {
            Ok(loaded) if work::path(&self.plan, &loaded.record.own) == path => {
                self.bytes += loaded.record.bytes;
                self.found.push(loaded);
            }
            Ok(_) => self.drop_file(path, disk::Unsound::Foreign),
            Err(unsound) => self.drop_file(path, unsound),
        }
    }

    fn drop_file(&mut self, path: &[u8], unsound: disk::Unsound) {
        match depot::remove(path) {
            Ok(()) => self.tell(path, &format!("{} and was removed", unsound.text())),
            Err(error) => {
                let text = unsound.text();
                self.tell(path, &format!("{text} and cannot be removed ({error})"));
            }
        }
    }

    fn remove_abandoned(&mut self, path: &[u8]) {
        // One that somebody writes, or that has just been renamed, is nobody's business here.
        let _ = depot::remove_abandoned(path);
    }

    fn tell(&mut self, path: &[u8], what: &str) {
        if self.told == LINES_MAX {
            self.untold += 1;
            return;
        }
        self.told += 1;
        let path = String::from_utf8_lossy(path);
        self.lines.push(format!("cache file \"{path}\" {what}"));
    }
}

/// Whether this is the name of an unfinished file.
fn is_temporary(name: &[u8]) -> bool {
    let Some(dot) = memchr::memchr(b'.', name) else {
        return false;
    };
    let (front, back) = (&name[..dot], &name[dot + 1..]);
    let is_word = |text: &[u8]| text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit);
    (key::unhex(front).is_some() && (is_word(back) || back == b"copy"))
        || (is_word(front) && back == b"ringx")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests may block")]
mod tests {
    use super::*;
    use crate::mail::cache::Meta;
    use crate::plan::store::StorePlan;
    use std::path::Path;
    use std::sync::Arc;

    fn bytes(of: &str, body: &[u8]) -> Vec<u8> {
        let mut header = disk::Header {
            key: of.as_bytes().into(),
            stamp: 5,
            body_len: body.len() as u64,
            ..disk::Header::default()
        };
        header.offset = disk::offset(&header.key, &Meta::default(), b"").unwrap();
        let mut out = Vec::new();
        disk::encode(&mut out, &header);
        out.extend_from_slice(body);
        out
    }

    fn put(top: &Path, of: &str, content: &[u8]) -> String {
        let mut path = top.as_os_str().as_encoded_bytes().to_vec();
        key::push_path(&mut path, [1, 2, 0], &key::digest(of.as_bytes()));
        let path = String::from_utf8(path).unwrap();
        std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    fn walk(plan: StorePlan) -> Walk {
        let mut walk = Walk::new(Arc::new(plan));
        let mut steps = 0;
        while !walk.over {
            walk.step();
            steps += 1;
            assert!(steps < 1000);
        }
        walk
    }

    fn plan(top: &Path) -> StorePlan {
        let path = top.as_os_str().as_encoded_bytes().to_vec();
        StorePlan::new("one".into(), path.into(), [1, 2, 0], 1 << 20)
    }

    #[test]
    fn sound_files_are_found_and_broken_ones_removed() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path();
        let mut good = Vec::new();
        for n in 0..50 {
            let of = format!("key {n}");
            put(top, &of, &bytes(&of, b"body"));
            good.push(of);
        }
        let mut bad = Vec::new();
        for (of, content) in [
            ("empty", Vec::new()),
            ("foreign", b"hello world".to_vec()),
            ("short", bytes("short", b"body")[..150].to_vec()),
            ("cut", {
                let mut content = bytes("cut", b"body");
                content.pop();
                content
            }),
            ("elsewhere", bytes("another key", b"")),
            ("flipped", {
                let mut content = bytes("flipped", b"");
                content[193] ^= 1;
                content
            }),
        ] {
            bad.push(put(top, of, &content));
        }
        // What others left: an unfinished file, and things that are not ours.
        let unfinished = format!(
            "{}.0123456789abcdef",
            put(top, "key 1", &bytes("key 1", b""))
        );
        std::fs::write(&unfinished, b"half").unwrap();
        let strange = ["readme", "zz", "0/zz"].map(|name| top.join(name));
        std::fs::create_dir_all(top.join("0")).unwrap();
        for path in &strange {
            std::fs::write(path, b"mine").unwrap();
        }
        std::os::unix::fs::symlink("/etc", top.join("a link")).unwrap();
        let mut slow = plan(top);
        slow.loader = Some(Steps {
            files: 3,
            threshold: Duration::from_secs(1),
            sleep: Duration::ZERO,
        });
        for plan in [plan(top), slow] {
            let walk = walk(plan);
            let mut found: Vec<_> = walk
                .found
                .iter()
                .map(|one| String::from_utf8(one.key.to_vec()).unwrap())
                .collect();
            found.sort();
            good.sort();
            assert_eq!(found, good);
            assert_eq!(walk.bytes, 50 * 4096);
            assert!(bad.iter().all(|path| !Path::new(path).exists()));
            assert!(!Path::new(&unfinished).exists());
            assert!(strange.iter().all(|path| path.exists()));
            let left = walk.lines.iter().filter(|l| l.ends_with("left alone"));
            assert_eq!(left.count(), 4);
        }
    }

    #[test]
    fn lines_are_bounded_and_a_missing_directory_is_empty() {
        let top = tempfile::tempdir().unwrap();
        for n in 0..100 {
            put(top.path(), &format!("{n}"), b"broken");
        }
        let walk_of = walk(plan(top.path()));
        assert_eq!((walk_of.lines.len(), walk_of.untold), (LINES_MAX, 80));
        let absent = walk(plan(&top.path().join("absent")));
        assert!(absent.found.is_empty() && absent.lines.is_empty());
    }

    #[test]
    fn unfinished_files_of_a_directory_of_their_own_are_removed_unless_in_use() {
        let (top, temp) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("0123456789abcdef.ringx"), b"").unwrap();
        std::fs::write(at("0000000012"), b"of others").unwrap();
        let used = at("fedcba9876543210.ringx");
        let fd = depot::create(used.as_os_str().as_encoded_bytes(), 0).unwrap();
        let mut plan = plan(top.path());
        plan.temp_path = Some(temp.path().as_os_str().as_encoded_bytes().to_vec().into());
        walk(plan);
        assert!(!at("0123456789abcdef.ringx").exists());
        assert!(used.exists() && at("0000000012").exists());
        drop(fd);
    }
}
