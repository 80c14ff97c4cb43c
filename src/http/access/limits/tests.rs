//! Two shards in one thread, with the mail between them in the tests' hands.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::task::Context;

use super::*;
use crate::mail::{BOX_MAX, Inbox, Outbox, Post, Seat};
use crate::net::bell;

const TABLE: Table = Table {
    id: 7,
    bytes: 1 << 20,
};

struct Pair {
    limits: [Rc<Limits>; 2],
    outboxes: [Rc<Outbox<Mail>>; 2],
    inboxes: Vec<Inbox<Mail>>,
}

impl Pair {
    fn new() -> Self {
        let bells = (0..3).map(|_| bell::event().unwrap()).collect();
        let (post, inboxes) = Post::new(bells);
        let outboxes = [0, 1].map(|n| Rc::new(Outbox::new(post.clone(), Target(n))));
        let limits = [0, 1].map(|n: usize| Limits::new(Seat::among(outboxes[n].clone())));
        Self {
            limits,
            outboxes,
            inboxes,
        }
    }

    /// A key that the second shard owns.
    fn key(&self) -> Vec<u8> {
        let keys = (0u32..).map(|n| n.to_be_bytes().to_vec());
        let mut theirs = keys.filter(|key| {
            let hash = self.limits[0].hash(key);
            self.limits[0].owner(hash, None) == Target(1)
        });
        theirs.next().unwrap()
    }

    /// Delivers everything, until nobody has anything more to say.
    fn deliver(&self) {
        loop {
            let mut letters = VecDeque::new();
            for (shard, limits) in self.limits.iter().enumerate() {
                self.outboxes[shard].flush();
                self.inboxes[shard].take(&mut letters);
                for letter in letters.drain(..) {
                    let Mail::Limit(letter) = letter else {
                        panic!("{}", letter.name())
                    };
                    limits.take(letter);
                }
            }
            self.outboxes[1].flush();
            self.inboxes[0].take(&mut letters);
            if letters.is_empty() {
                return;
            }
            for letter in letters {
                if let Mail::Limit(letter) = letter {
                    self.limits[0].take(letter);
                }
            }
        }
    }

    /// Asks from the first shard and delivers the answer.
    fn ask(&self, key: &[u8], question: Question) -> Asked {
        let mut asked = pin!(self.limits[0].ask(TABLE, key, None, question));
        if let Poll::Ready(asked) = poll(asked.as_mut()) {
            return asked;
        }
        self.deliver();
        match poll(asked.as_mut()) {
            Poll::Ready(asked) => asked,
            Poll::Pending => panic!("no answer"),
        }
    }
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

const ONE: Question = Question::Connection {
    max: 1,
    count: true,
};

#[test]
fn owners_are_the_same_from_everywhere_and_share_the_keys() {
    let pair = Pair::new();
    let mut shares = [0; 2];
    for n in 0..1000u32 {
        let key = n.to_be_bytes();
        let owners = [0, 1].map(|shard: usize| {
            let limits = &pair.limits[shard];
            limits.owner(limits.hash(&key), None)
        });
        assert_eq!(owners[0], owners[1]);
        shares[usize::from(owners[0].0)] += 1;
    }
    assert!(shares.iter().all(|n| (400..600).contains(n)), "{shares:?}");
    // An address belongs to the shard to which the kernel steers it.
    assert_eq!(pair.limits[0].owner(0, Some(6)), Target(0));
    assert_eq!(pair.limits[0].owner(u64::MAX, Some(7)), Target(1));
}

#[test]
fn the_owner_decides_and_what_is_dropped_is_given_back() {
    let pair = Pair::new();
    let key = pair.key();
    let first = pair.ask(&key, ONE);
    assert_eq!(first.verdict, Verdict::Pass(0));
    assert_eq!(pair.ask(&key, ONE).verdict, Verdict::Busy(0));
    // Asked on its own shard the answer is the same, and comes at once.
    let mut there = pin!(pair.limits[1].ask(TABLE, &key, None, ONE));
    match poll(there.as_mut()) {
        Poll::Ready(asked) => assert_eq!(asked.verdict, Verdict::Busy(0)),
        Poll::Pending => panic!("its own table decides"),
    }
    drop(first);
    pair.deliver();
    let again = pair.ask(&key, ONE);
    assert_eq!(again.verdict, Verdict::Pass(0));
    // Also when a panic takes the request along.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = again;
        panic!("asked for");
    }));
    assert!(panicked.is_err());
    pair.deliver();
    assert_eq!(pair.ask(&key, ONE).verdict, Verdict::Pass(0));
    assert_eq!(pair.limits[0].pending(), 0);
}

#[test]
fn what_is_noted_is_held_or_given_back() {
    let pair = Pair::new();
    let key = pair.key();
    let noted = Question::Connection {
        max: 1,
        count: false,
    };
    let mut hold = pair.ask(&key, noted).hold.unwrap();
    // Until its fate is known, others wait.
    let mut other = pin!(pair.limits[1].ask(TABLE, &key, None, ONE));
    assert!(poll(other.as_mut()).is_pending());
    hold.pass();
    hold.pass();
    pair.deliver();
    match poll(other.as_mut()) {
        Poll::Ready(asked) => assert_eq!(asked.verdict, Verdict::Busy(0)),
        Poll::Pending => panic!("nobody says a word"),
    }
    drop(hold);
    drop(pair.ask(&key, noted));
    pair.deliver();
    assert_eq!(pair.ask(&key, ONE).verdict, Verdict::Pass(0));
}

#[test]
fn who_does_not_wait_for_the_answer_gives_back_what_it_grants() {
    let pair = Pair::new();
    let key = pair.key();
    {
        let mut asked = pin!(pair.limits[0].ask(TABLE, &key, None, ONE));
        assert!(poll(asked.as_mut()).is_pending());
    }
    assert_eq!(pair.limits[0].pending(), 1);
    pair.deliver();
    assert_eq!(pair.limits[0].pending(), 0);
    assert_eq!(pair.ask(&key, ONE).verdict, Verdict::Pass(0));
}

#[test]
fn an_owner_that_is_gone_leaves_its_keys_to_each_shard() {
    let pair = Pair::new();
    let key = pair.key();
    let mut asked = pin!(pair.limits[0].ask(TABLE, &key, None, ONE));
    assert!(poll(asked.as_mut()).is_pending());
    pair.limits[0].take(Letter::Leaving(Target(1)));
    let Poll::Ready(first) = poll(asked.as_mut()) else {
        panic!("nobody is left to wait for")
    };
    assert_eq!(first.verdict, Verdict::Pass(0));
    // From now on nobody is asked.
    let mut second = pin!(pair.limits[0].ask(TABLE, &key, None, ONE));
    let Poll::Ready(second) = poll(second.as_mut()) else {
        panic!("nobody is asked")
    };
    assert_eq!(second.verdict, Verdict::Busy(0));
    drop(first);
    let mut third = pin!(pair.limits[0].ask(TABLE, &key, None, ONE));
    assert!(poll(third.as_mut()).is_ready());
}

#[test]
fn an_owner_that_is_silent_for_a_second_is_not_waited_for() {
    let pair = Pair::new();
    let key = pair.key();
    let mut asked = pin!(pair.limits[0].ask(TABLE, &key, None, ONE));
    assert!(poll(asked.as_mut()).is_pending());
    let now = clock::mono();
    pair.limits[0].sweep(now);
    assert!(poll(asked.as_mut()).is_pending());
    pair.limits[0].sweep(now.after_ms(ANSWER_MS + 1));
    let Poll::Ready(here) = poll(asked.as_mut()) else {
        panic!("its own table decides")
    };
    assert_eq!(here.verdict, Verdict::Pass(0));
    // The answer that comes late grants nothing, and its owner is asked again.
    pair.deliver();
    assert_eq!(pair.limits[0].pending(), 0);
    assert_eq!(pair.ask(&key, ONE).verdict, Verdict::Pass(0));
}

#[test]
fn a_full_box_is_no_reason_to_wait_or_to_lose_what_is_given_back() {
    let pair = Pair::new();
    let key = pair.key();
    let first = pair.ask(&key, ONE);
    assert_eq!(first.verdict, Verdict::Pass(0));
    for _ in 0..BOX_MAX {
        let to = Target(1);
        pair.outboxes[0].post(to, Mail::Limit(Letter::Leaving(Target(9))));
    }
    drop(first);
    let mut asked = pin!(pair.limits[0].ask(TABLE, &key, None, ONE));
    let Poll::Ready(here) = poll(asked.as_mut()) else {
        panic!("its own table decides")
    };
    assert_eq!(here.verdict, Verdict::Pass(0));
    assert_eq!(pair.limits[0].pending(), 0);
    pair.deliver();
    pair.deliver();
    assert_eq!(pair.ask(&key, ONE).verdict, Verdict::Pass(0));
}
