//! The cache of one shard, and of several whose letters are carried by hand, over real files.

#![expect(clippy::disallowed_methods, reason = "tests may block")]

use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::mail::{Inbox, Mail, Outbox, Post, Seat};
use crate::net::{bell, clock, runtime};
use crate::plan::store::StorePlan;

const NOW: i64 = 1_700_000_000;

/// Shards on one thread: each has a box, and a task that carries its letters.
struct Bench {
    folder: tempfile::TempDir,
    plan: StoreRef,
    shards: Vec<Rc<Cache>>,
}

fn plan_in(folder: &Path) -> StorePlan {
    let path = folder.join("cache");
    std::fs::create_dir_all(&path).unwrap();
    let path = path.as_os_str().as_encoded_bytes().to_vec();
    StorePlan::new("one".into(), path.into(), [1, 2, 0], 1 << 20)
}

async fn carry(cache: Rc<Cache>, outbox: Rc<Outbox<Mail>>, inbox: Inbox<Mail>) {
    let mut letters = VecDeque::new();
    loop {
        outbox.flush();
        inbox.take(&mut letters);
        for mail in letters.drain(..) {
            match mail {
                Mail::Cache(letter) => cache.take(*letter),
                other => panic!("{}", other.name()),
            }
        }
        cache.sweep(clock::mono());
        runtime::yield_now().await;
    }
}

impl Bench {
    fn new(count: usize) -> Self {
        Self::with(count, |_| {})
    }

    fn with(count: usize, change: impl Fn(&mut StorePlan)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan_in(folder.path());
        change(&mut plan);
        Self::over(folder, Arc::new(plan), count)
    }

    fn over(folder: tempfile::TempDir, plan: StoreRef, count: usize) -> Self {
        let bells = (0..=count).map(|_| bell::event().unwrap()).collect();
        let (post, inboxes): (Post<Mail>, _) = Post::new(bells);
        let mut shards = Vec::new();
        for inbox in inboxes.into_iter().take(count) {
            let outbox = Rc::new(Outbox::new(post.clone(), inbox.own()));
            let cache = Cache::new(Seat::among(outbox.clone()));
            runtime::spawn(carry(cache.clone(), outbox, inbox));
            shards.push(cache);
        }
        for cache in &shards {
            cache.declare([plan.clone()].into_iter());
        }
        Self {
            folder,
            plan,
            shards,
        }
    }

    /// As if the process had ended and begun again.
    fn restart(self) -> Self {
        let count = self.shards.len();
        Self::over(self.folder, self.plan, count)
    }

    fn ask<'a>(&'a self, key: &'a str) -> Ask<'a> {
        Ask {
            store: &self.plan,
            key: key.as_bytes(),
            variant: None,
            now: NOW,
            min_uses: 1,
            lock: None,
            updating: false,
            bypass: false,
        }
    }

    async fn lookup(&self, shard: usize, key: &str) -> Found {
        self.shards[shard].lookup(self.ask(key)).await
    }

    async fn locked(&self, shard: usize, key: &str) -> Found {
        let lock = Some(LOCK);
        let ask = Ask {
            lock,
            ..self.ask(key)
        };
        self.shards[shard].lookup(ask).await
    }

    async fn put(&self, shard: usize, key: &str, body: &[u8]) {
        self.put_with(shard, key, body, meta(NOW + 10)).await;
    }

    async fn put_with(&self, shard: usize, key: &str, body: &[u8], meta: Meta) {
        let mut fill = fill(self.lookup(shard, key).await);
        fill.begin(meta, b"head", Some(body.len() as u64));
        fill.write(body).await;
        assert!(fill.stored().await);
    }

    fn files(&self) -> Vec<std::path::PathBuf> {
        fn walk(at: &Path, out: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, out);
                } else {
                    out.push(path);
                }
            }
        }
        let mut out = Vec::new();
        walk(&self.folder.path().join("cache"), &mut out);
        out
    }
}

const LOCK: Lock = Lock {
    timeout: Duration::from_secs(5),
    age: Duration::from_secs(5),
};

fn meta(valid_until: i64) -> Meta {
    Meta {
        facts: Facts {
            status: 200,
            valid_until,
            ..Facts::default()
        },
        ..Meta::default()
    }
}

fn name(found: &Found) -> &'static str {
    match found {
        Found::Hit(_) => "hit",
        Found::Stale { fill: Some(_), .. } => "expired",
        Found::Stale { fill: None, .. } => "updating",
        Found::Vary(_) => "vary",
        Found::Error(_) => "error",
        Found::Live(_) => "live",
        Found::Fill(_) => "fill",
        Found::Scarce => "scarce",
        Found::Pass => "pass",
    }
}

fn fill(found: Found) -> Fill {
    match found {
        Found::Fill(fill) => fill,
        Found::Stale {
            fill: Some(fill), ..
        } => fill,
        other => panic!("{}", name(&other)),
    }
}

fn hit(found: Found) -> Rc<Object> {
    match found {
        Found::Hit(object) => object,
        other => panic!("{}", name(&other)),
    }
}

async fn body(object: &Object) -> Vec<u8> {
    match &object.body {
        Body::Memory(bytes) => bytes.to_vec(),
        Body::File { file, offset } => {
            let len = object.len as usize;
            let mut out = Vec::with_capacity(len);
            while out.len() < len {
                let at = offset + out.len() as u64;
                let (n, back) = file.read_at(out, at, len).await;
                out = back;
                assert!(n.unwrap() > 0);
            }
            out
        }
    }
}

async fn all(live: &mut Live) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::new();
    loop {
        let (n, back) = live.read(std::mem::take(&mut out), 1000).await;
        out = back;
        if n? == 0 {
            return Ok(out);
        }
    }
}

fn run<F: Future<Output = ()>>(body: impl Fn() -> F + Send + Sync + Clone + 'static) {
    runtime::on_each_driver(body);
}

#[test]
fn what_was_filled_is_a_hit_on_all_shards_and_after_a_restart() {
    run(|| async {
        for count in [1, 3] {
            let mut bench = Bench::new(count);
            let large: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
            for (key, content) in [("a", &b"small"[..]), ("b", &large), ("c", b"")] {
                bench.put(0, key, content).await;
            }
            for _ in 0..2 {
                for (key, content) in [("a", &b"small"[..]), ("b", &large), ("c", b"")] {
                    for shard in 0..count {
                        let object = hit(bench.lookup(shard, key).await);
                        assert_eq!(&object.head[..], b"head");
                        assert!(body(&object).await == content, "{key}");
                        let hot = bench.shards[shard].hot(&bench.plan, key.as_bytes(), None, NOW);
                        assert!(matches!(hot, Some(Hot::Object(hot)) if Rc::ptr_eq(&hot, &object)));
                    }
                }
                assert_eq!(bench.files().len(), 3);
                bench = bench.restart();
            }
        }
    });
}

#[test]
fn one_fills_and_the_others_read_along_as_it_grows() {
    run(|| async {
        let bench = Bench::new(3);
        for key in ["x", "y", "z"] {
            let mut fill = fill(bench.locked(1, key).await);
            let waiters = async {
                let mut lives = Vec::new();
                for n in 0..6 {
                    match bench.locked(n % 3, key).await {
                        Found::Live(live) => lives.push(live),
                        other => panic!("{}", name(&other)),
                    }
                }
                lives
            };
            let begin = async {
                runtime::yield_now().await;
                fill.begin(meta(NOW + 10), b"head", None);
            };
            let (mut lives, ()) = crate::net::join::join2(waiters, begin).await;
            for part in [&b"one "[..], b"two ", b"three"] {
                fill.write(part).await;
                for live in &mut lives {
                    assert_eq!((live.head(), live.length()), (&b"head"[..], None));
                    let (n, got) = live.read(Vec::new(), 100).await;
                    assert_eq!((n.unwrap(), &got[..]), (part.len(), part));
                }
            }
            fill.finish();
            for live in &mut lives {
                assert_eq!(all(live).await.unwrap(), b"");
                assert_eq!(live.length(), Some(13));
            }
            for shard in 0..3 {
                let object = hit(bench.lookup(shard, key).await);
                assert_eq!(body(&object).await, b"one two three");
            }
        }
        assert!(
            bench
                .shards
                .iter()
                .all(|cache| cache.watching.borrow().is_empty())
        );
    });
}

#[test]
fn a_filler_that_fails_is_followed_by_one_who_waits_or_breaks_who_reads_along() {
    run(|| async {
        let bench = Bench::new(2);
        for shard in [0, 1] {
            let key = if shard == 0 { "k" } else { "l" };
            let first = fill(bench.locked(shard, key).await);
            let second = bench.locked(1, key);
            let third = bench.locked(0, key);
            let fail = async {
                runtime::sleep(Duration::from_millis(5)).await;
                drop(first);
                runtime::sleep(Duration::from_millis(5)).await;
            };
            let mut second = std::pin::pin!(second);
            let mut third = std::pin::pin!(third);
            let mut fail = std::pin::pin!(fail);
            // Exactly one of the two gets it.
            let both = crate::net::join::race(second.as_mut(), third.as_mut());
            let (next, ()) = crate::net::join::join2(both, fail.as_mut()).await;
            let (mut next, mut other) = match next {
                crate::net::join::First::Left(found) => (fill(found), third),
                crate::net::join::First::Right(found) => (fill(found), second),
            };
            next.begin(meta(NOW + 10), b"h", Some(10));
            let mut live = match other.as_mut().await {
                Found::Live(live) => live,
                found => panic!("{}", name(&found)),
            };
            next.write(b"12345").await;
            assert_eq!(live.read(Vec::new(), 9).await.1, b"12345");
            drop(next);
            assert_eq!(all(&mut live).await, Err(Broken));
            drop(live);
            drop(fill(bench.lookup(0, key).await));
            while !bench.files().is_empty() {
                runtime::yield_now().await;
            }
        }
    });
}

#[test]
fn without_a_lock_each_passes_and_the_last_to_ask_is_stored() {
    run(|| async {
        let bench = Bench::new(2);
        let mut one = fill(bench.lookup(0, "k").await);
        let mut two = fill(bench.lookup(1, "k").await);
        one.begin(meta(NOW + 10), b"h", None);
        two.begin(meta(NOW + 10), b"h", None);
        two.write(b"two").await;
        one.write(b"one").await;
        assert!(two.stored().await);
        assert!(!one.stored().await);
        assert_eq!(body(&hit(bench.lookup(0, "k").await)).await, b"two");
        let mut one = fill(bench.lookup(0, "other").await);
        let mut two = fill(bench.lookup(1, "other").await);
        one.begin(meta(NOW + 10), b"h", None);
        two.begin(meta(NOW + 10), b"h", None);
        one.write(b"one").await;
        two.write(b"two").await;
        assert!(one.stored().await);
        assert_eq!(body(&hit(bench.lookup(1, "other").await)).await, b"one");
        assert!(two.stored().await);
        for shard in 0..2 {
            assert_eq!(body(&hit(bench.lookup(shard, "other").await)).await, b"two");
        }
        let bypass = Ask {
            bypass: true,
            ..bench.ask("k")
        };
        let mut three = fill(bench.shards[0].lookup(bypass).await);
        three.begin(meta(NOW + 10), b"h", None);
        three.write(b"three").await;
        assert!(three.stored().await);
        for shard in 0..2 {
            assert_eq!(body(&hit(bench.lookup(shard, "k").await)).await, b"three");
        }
        assert_eq!(bench.files().len(), 2);
    });
}

#[test]
fn who_waits_for_an_answer_that_varies_otherwise_is_sent_on() {
    run(|| async {
        let bench = Bench::new(2);
        let varying = |vary: &[u8], variant: &[u8]| Meta {
            vary: vary.to_vec(),
            variant: variant.to_vec(),
            ..meta(NOW + 10)
        };
        let ask = |shard: usize, variant| {
            let asked = Ask {
                variant,
                ..bench.ask("k")
            };
            bench.shards[shard].lookup(asked)
        };
        let mut one = fill(ask(0, None).await);
        one.begin(varying(b"z", b"1"), b"h", None);
        one.write(b"one").await;
        assert!(one.stored().await);
        let by_z = Some((&b"z"[..], &b"2"[..]));
        let by_x = Some((&b"x"[..], &b"3"[..]));
        // Where the owner is asked at once, no turn of the loop is between.
        let owner = usize::from(key::owner(&key::digest(b"k"), 2).0);
        let mut two = fill(ask(owner, by_z).await);
        two.begin(varying(b"x", b"3"), b"h", None);
        two.write(b"two").await;
        two.finish();
        let Found::Vary(names) = ask(owner, by_z).await else {
            panic!("sent on");
        };
        assert_eq!(&names[..], b"x");
        for shard in 0..2 {
            assert_eq!(body(&hit(ask(shard, by_x).await)).await, b"two");
        }
        while bench.files().len() > 1 {
            runtime::sleep(Duration::from_millis(1)).await;
        }
        let bench = bench.restart();
        let asked = Ask {
            variant: by_x,
            ..bench.ask("k")
        };
        assert_eq!(
            body(&hit(bench.shards[1].lookup(asked).await)).await,
            b"two"
        );
    });
}

#[test]
fn what_has_expired_is_fetched_by_one_and_served_to_others_if_they_want() {
    run(|| async {
        let bench = Bench::new(2);
        bench.put_with(0, "k", b"old", meta(NOW - 1)).await;
        let update = fill(bench.lookup(1, "k").await);
        assert!(update.is_update());
        let updating = Ask {
            updating: true,
            ..bench.ask("k")
        };
        assert_eq!(name(&bench.shards[0].lookup(updating).await), "updating");
        assert_eq!(name(&bench.lookup(0, "k").await), "expired");
        let object = update.revalidated(meta(NOW + 5).facts, None).await;
        assert_eq!(object.unwrap().meta.facts.valid_until, NOW + 5);
        let bench = bench.restart();
        let object = hit(bench.lookup(0, "k").await);
        assert_eq!(&object.head[..], b"head");
        let later = Ask {
            now: NOW + 6,
            ..bench.ask("k")
        };
        let update = fill(bench.shards[1].lookup(later).await);
        let object = update
            .revalidated(meta(NOW + 9).facts, Some(b"a new head"))
            .await;
        assert_eq!(&object.unwrap().head[..], b"a new head");
        let bench = bench.restart();
        let object = hit(bench.lookup(1, "k").await);
        assert_eq!(&object.head[..], b"a new head");
        assert_eq!(body(&object).await, b"old");
        assert_eq!(bench.files().len(), 1);
    });
}

#[test]
fn variants_are_chosen_by_what_the_first_answer_says() {
    run(|| async {
        let bench = Bench::new(2);
        let with = |variant: &str| Meta {
            vary: b"accept".to_vec(),
            variant: variant.as_bytes().to_vec(),
            ..meta(NOW + 10)
        };
        bench.put_with(0, "k", b"text", with("text")).await;
        for shard in 0..2 {
            assert_eq!(name(&bench.lookup(shard, "k").await), "vary");
            let hot = bench.shards[shard].hot(&bench.plan, b"k", None, NOW);
            assert!(matches!(hot, Some(Hot::Vary(names)) if names[..] == *b"accept"));
        }
        let ask = |variant: &'static str| Ask {
            variant: Some((b"accept", variant.as_bytes())),
            ..bench.ask("k")
        };
        assert_eq!(
            body(&hit(bench.shards[1].lookup(ask("text")).await)).await,
            b"text"
        );
        let mut other = fill(bench.shards[1].lookup(ask("html")).await);
        other.begin(with("html"), b"h", None);
        other.write(b"html").await;
        assert!(other.stored().await);
        assert_eq!(
            body(&hit(bench.shards[0].lookup(ask("html")).await)).await,
            b"html"
        );
        assert_eq!(bench.files().len(), 2);
        let purged = bench.shards[0]
            .purge(&bench.plan, Purge::Key(b"k"), false)
            .await;
        assert_eq!((purged.objects, purged.complete), (2, true));
        assert!(
            bench.shards[1]
                .hot(&bench.plan, b"k", Some((b"accept", b"html")), NOW)
                .is_none()
        );
        assert_eq!(name(&bench.shards[0].lookup(ask("html")).await), "fill");
        // An answer that does not vary any more takes the place of all.
        let mut plain = fill(bench.shards[0].lookup(ask("text")).await);
        plain.begin(meta(NOW + 10), b"h", None);
        assert!(plain.stored().await);
        assert_eq!(name(&bench.lookup(1, "k").await), "hit");
        assert_eq!(name(&bench.shards[1].lookup(ask("text")).await), "hit");
    });
}

#[test]
fn purges_reach_what_is_hot_what_is_stored_and_what_is_on_its_way() {
    run(|| async {
        let bench = Bench::new(3);
        let tagged = |tags: &str| Meta {
            tags: tags.as_bytes().to_vec(),
            ..meta(NOW + 10)
        };
        for n in 0..20 {
            let tags = if n % 2 == 0 { "even all" } else { "odd all" };
            bench
                .put_with(n % 3, &format!("/a/{n}"), b"x", tagged(tags))
                .await;
        }
        bench.put(0, "/b", b"y").await;
        let count = |what: &'static str| {
            let bench = &bench;
            async move {
                let mut count = 0;
                for n in 0..20 {
                    for shard in 0..3 {
                        let key = format!("/a/{n}");
                        count += usize::from(name(&bench.lookup(shard, &key).await) == what);
                    }
                }
                count
            }
        };
        assert_eq!(count("hit").await, 60);
        let mut on_its_way = fill(bench.lookup(0, "/a/new").await);
        on_its_way.begin(tagged("even"), b"h", None);
        let purged = bench.shards[1]
            .purge(&bench.plan, Purge::Tag(b"even"), false)
            .await;
        assert_eq!((purged.objects, purged.complete), (10, true));
        assert!(!on_its_way.stored().await);
        let hot =
            |n: u32| bench.shards[2].hot(&bench.plan, format!("/a/{n}").as_bytes(), None, NOW);
        assert!(hot(0).is_none() && hot(1).is_some());
        let purged = bench.shards[2]
            .purge(&bench.plan, Purge::Prefix(b"/a/"), true)
            .await;
        assert_eq!(purged.objects, 10);
        assert!(hot(1).is_none());
        assert_eq!(count("expired").await, 30);
        assert_eq!(name(&bench.lookup(2, "/b").await), "hit");
        while bench.files().len() != 11 {
            runtime::yield_now().await;
        }
        let purged = bench.shards[0]
            .purge(&bench.plan, Purge::Key(b"/nothing"), false)
            .await;
        assert_eq!((purged.objects, purged.complete), (0, true));
    });
}

#[test]
fn a_disk_that_cannot_be_written_costs_no_answer() {
    run(|| async {
        let bench = Bench::new(2);
        let top = bench.folder.path().join("cache");
        std::fs::remove_dir_all(&top).unwrap();
        for key in ["a", "b", "c"] {
            let mut one = fill(bench.locked(0, key).await);
            let waits = bench.locked(1, key);
            let begin = async {
                runtime::sleep(Duration::from_millis(2)).await;
                one.begin(meta(NOW + 1), b"h", None);
                one.write(&[1; 3 << 20]).await;
            };
            let (found, ()) = crate::net::join::join2(waits, begin).await;
            assert_eq!(name(&found), "pass");
            one.finish();
        }
        let mut lines = Vec::new();
        for cache in &bench.shards {
            cache.notes(|_, line| lines.push(line));
        }
        lines.retain(|line| line.starts_with("open()"));
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].ends_with("failed (2: No such file or directory)"),
            "{lines:?}"
        );
    });
}

#[test]
fn a_file_that_has_gone_or_is_damaged_is_a_miss() {
    run(|| async {
        let bench = Bench::new(2);
        bench.put(0, "a", b"one").await;
        std::fs::remove_file(&bench.files()[0]).unwrap();
        drop(fill(bench.lookup(1, "a").await));
        bench.put(0, "a", b"one").await;
        let path = bench.files().remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.pop();
        std::fs::write(&path, bytes).unwrap();
        drop(fill(bench.lookup(1, "a").await));
    });
}

#[test]
fn bounds_of_time_and_size_are_kept() {
    run(|| async {
        let bench = Bench::with(2, |plan| plan.max_size = Some(10 * 4096));
        for n in 0..40 {
            bench.put(n % 2, &format!("{n}"), b"x").await;
        }
        while bench.files().len() > 10 {
            runtime::sleep(Duration::from_millis(20)).await;
        }
        assert!(bench.files().len() >= 6);
        let bench = Bench::with(2, |plan| plan.inactive = Duration::from_secs(1));
        bench.put(0, "k", b"x").await;
        while !bench.files().is_empty() {
            runtime::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(name(&bench.lookup(1, "k").await), "fill");
    });
}

#[test]
fn locks_end_by_time_and_by_age() {
    run(|| async {
        let bench = Bench::new(2);
        let first = fill(bench.locked(0, "k").await);
        let short = |timeout, age| Ask {
            lock: Some(Lock {
                timeout: Duration::from_millis(timeout),
                age: Duration::from_millis(age),
            }),
            ..bench.ask("k")
        };
        assert_eq!(name(&bench.shards[1].lookup(short(30, 9000)).await), "pass");
        let second = bench.shards[1].lookup(short(9000, 50)).await;
        assert_eq!(name(&second), "fill");
        drop((first, second));
        drop(fill(bench.locked(0, "k").await));
    });
}

#[test]
fn few_uses_store_nothing_and_errors_are_remembered() {
    run(|| async {
        let bench = Bench::new(2);
        let twice = Ask {
            min_uses: 2,
            ..bench.ask("k")
        };
        assert_eq!(name(&bench.shards[0].lookup(twice).await), "scarce");
        let fill = fill(bench.shards[1].lookup(twice).await);
        fill.remember_error(502, NOW + 3);
        // The owner reads it in its next turn.
        runtime::sleep(Duration::from_millis(5)).await;
        assert!(matches!(bench.lookup(0, "k").await, Found::Error(502)));
        let later = Ask {
            now: NOW + 4,
            ..bench.ask("k")
        };
        assert_eq!(name(&bench.shards[0].lookup(later).await), "fill");
    });
}
