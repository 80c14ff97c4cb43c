//! The tables against a model with one entry per key and no cleverness, and against each other in several parts.

use std::collections::HashMap;

use super::*;
use crate::base::rng::Rng;
use crate::mail::limit::Key;

const TABLE: Table = Table {
    id: 1,
    bytes: 1 << 20,
};

fn request(rate: u64, burst: u64, count: bool) -> Question {
    Question::Request { rate, burst, count }
}

fn connection(max: u32, count: bool) -> Question {
    Question::Connection { max, count }
}

fn place(key: &[u8]) -> Place {
    Place {
        table: TABLE,
        key: Key::new(key),
        hash: u64::from(crate::base::hash::murmur2(key)),
    }
}

fn decide(zones: &mut Zones, ms: u64, key: &[u8], question: Question) -> Option<Verdict> {
    zones.decide(Mono(ms), TABLE, place(key).hash, key, question)
}

#[test]
fn a_bucket_leaks_as_in_nginx() {
    // (milliseconds, verdict) at 5r/m, which is 83 thousandths a second, with a burst of two.
    let (rate, burst) = (83, 2000);
    let steps = [
        (0, Verdict::Pass(0)),
        (0, Verdict::Pass(1000)),
        (1, Verdict::Pass(2000)),
        (11, Verdict::Busy(3000)),
        // What was rejected does not count; less than a thousandth leaks in 11 ms.
        (12, Verdict::Busy(3000)),
        (14, Verdict::Busy(2999)),
        (12_048, Verdict::Busy(2001)),
        (12_060, Verdict::Pass(2000)),
        (12_060, Verdict::Busy(3000)),
        (1_000_000, Verdict::Pass(0)),
        // The clock of a shard that is behind.
        (999_000, Verdict::Pass(1000)),
    ];
    let mut zones = Zones::new(1);
    for (at, (ms, want)) in steps.into_iter().enumerate() {
        let said = decide(&mut zones, ms, b"k", request(rate, burst, true));
        assert_eq!(said, Some(want), "step {at}");
    }
    assert_eq!(
        decide(&mut zones, 0, b"other", request(rate, burst, true)),
        Some(Verdict::Pass(0))
    );
}

/// nginx's bucket, written down once more.
#[derive(Clone, Copy)]
struct Model {
    excess: i64,
    last: i64,
}

impl Model {
    /// Whether one more may come, with the excess.
    fn ask(known: &mut Option<Self>, now: i64, rate: i64, burst: i64) -> (bool, i64) {
        let Some(bucket) = known else {
            *known = Some(Self {
                excess: 0,
                last: now,
            });
            return (true, 0);
        };
        let ms = (now - bucket.last).max(0);
        let excess = (bucket.excess - rate * ms / 1000 + 1000).max(0);
        if excess > burst {
            return (false, excess);
        }
        bucket.excess = excess;
        if ms != 0 {
            bucket.last = now;
        }
        (true, excess)
    }
}

#[test]
fn any_sequence_is_admitted_as_by_a_plain_model() {
    let mut rng = Rng::new(11);
    for round in 0..300 {
        let rate = [16, 83, 1000, 5000, 1_000_000][rng.below(5) as usize];
        let burst = rng.below(6) * 1000;
        let mut zones = Zones::new(1);
        let mut model: HashMap<u64, Option<Model>> = HashMap::new();
        let mut now = rng.below(1000);
        for step in 0..400 {
            now += [0, 0, 1, 7, 200, 13_000][rng.below(6) as usize];
            let key = rng.below(5);
            let known = model.entry(key).or_default();
            let (pass, excess) = Model::ask(known, now as i64, rate as i64, burst as i64);
            let want = if pass {
                Verdict::Pass(excess as u64)
            } else {
                Verdict::Busy(excess as u64)
            };
            let said = decide(
                &mut zones,
                now,
                &key.to_be_bytes(),
                request(rate, burst, true),
            );
            assert_eq!(said, Some(want), "round {round}, step {step}");
        }
    }
}

#[test]
fn what_is_noted_counts_only_when_it_passed_everywhere() {
    let (noted, counted) = (request(16, 1000, false), request(16, 1000, true));
    let mut zones = Zones::new(1);
    let mut out = Vec::new();
    assert_eq!(decide(&mut zones, 0, b"k", noted), Some(Verdict::Pass(0)));
    zones.tell(Mono(0), &place(b"k"), Fate::Dropped, &mut out);
    assert_eq!(decide(&mut zones, 0, b"k", noted), Some(Verdict::Pass(0)));
    zones.tell(Mono(0), &place(b"k"), Fate::Counted { rate: 16 }, &mut out);
    assert_eq!(
        decide(&mut zones, 0, b"k", noted),
        Some(Verdict::Pass(1000))
    );
    // One more fits only if that one is dropped.
    let ask = |ticket, question| Ask {
        from: Target(3),
        ticket,
        place: place(b"k"),
        question,
    };
    zones.ask(Mono(0), ask(1, counted), &mut out);
    zones.ask(Mono(0), ask(2, counted), &mut out);
    assert!(out.is_empty());
    // Another key is not concerned.
    assert_eq!(decide(&mut zones, 0, b"l", noted), Some(Verdict::Pass(0)));
    zones.tell(Mono(0), &place(b"l"), Fate::Dropped, &mut out);
    assert!(out.is_empty());
    zones.tell(Mono(0), &place(b"k"), Fate::Dropped, &mut out);
    let answer = |ticket, verdict| Answer {
        to: Target(3),
        ticket,
        verdict,
    };
    assert_eq!(
        out,
        [
            answer(1, Verdict::Pass(1000)),
            answer(2, Verdict::Busy(2000))
        ]
    );
}

#[test]
fn connections_are_counted_until_they_are_over() {
    let mut zones = Zones::new(1);
    let mut out = Vec::new();
    let two = connection(2, true);
    assert_eq!(decide(&mut zones, 0, b"k", two), Some(Verdict::Pass(0)));
    assert_eq!(
        decide(&mut zones, 0, b"k", connection(2, false)),
        Some(Verdict::Pass(0))
    );
    assert_eq!(decide(&mut zones, 0, b"k", two), None);
    let ask = Ask {
        from: Target(0),
        ticket: 5,
        place: place(b"k"),
        question: two,
    };
    zones.ask(Mono(0), ask, &mut out);
    assert!(out.is_empty());
    zones.tell(Mono(0), &place(b"k"), Fate::Passed, &mut out);
    assert_eq!(out.pop().map(|a| a.verdict), Some(Verdict::Busy(0)));
    zones.tell(Mono(0), &place(b"k"), Fate::Over, &mut out);
    assert_eq!(decide(&mut zones, 0, b"k", two), Some(Verdict::Pass(0)));
    for _ in 0..2 {
        zones.tell(Mono(0), &place(b"k"), Fate::Over, &mut out);
    }
    // Nothing is left of the key, and a word too many does no harm.
    zones.tell(Mono(0), &place(b"k"), Fate::Over, &mut out);
    let Some(Kind::Connections(store)) = zones.tables.get(&TABLE.id) else {
        panic!("no table")
    };
    assert!(store.oldest().is_none());
}

#[test]
fn a_full_zone_forgets_the_oldest_bucket_and_no_connection() {
    let small = Table {
        id: 2,
        bytes: 32 << 10,
    };
    let mut zones = Zones::new(1);
    let fill = |zones: &mut Zones, n: u64, question| {
        zones.decide(Mono(n), small, n, &n.to_be_bytes(), question)
    };
    // Six pages of 128 bytes, one of which is the zone's own.
    let most = 6 * 32 - 1;
    for n in 0..most + 10 {
        assert_eq!(
            fill(&mut zones, n, request(16, 0, true)),
            Some(Verdict::Pass(0))
        );
    }
    // The first ones are new again, a late one is not.
    assert!(matches!(
        fill(&mut zones, most + 5, request(16, 0, true)),
        Some(Verdict::Busy(_))
    ));
    assert_eq!(
        fill(&mut zones, 3, request(16, 0, true)),
        Some(Verdict::Pass(0))
    );
    let mut zones = Zones::new(1);
    for n in 0..most {
        assert_eq!(
            fill(&mut zones, n, request(16, 0, false)),
            Some(Verdict::Pass(0))
        );
    }
    assert_eq!(
        fill(&mut zones, most, request(16, 0, false)),
        Some(Verdict::Full)
    );
    let mut zones = Zones::new(1);
    let mut count = 0;
    while fill(&mut zones, count, connection(1, true)) == Some(Verdict::Pass(0)) {
        count += 1;
    }
    assert_eq!(
        fill(&mut zones, count, connection(1, true)),
        Some(Verdict::Full)
    );
    assert_eq!(count, 6 * 64 - 2);
}

#[test]
fn old_empty_buckets_go_when_others_come() {
    let mut zones = Zones::new(1);
    for n in 0..10u64 {
        decide(&mut zones, 0, &n.to_be_bytes(), request(1000, 9000, true));
    }
    // Each new one takes two old ones along.
    for n in 10..14u64 {
        decide(
            &mut zones,
            60_000,
            &n.to_be_bytes(),
            request(1000, 9000, true),
        );
    }
    let Some(Kind::Requests(store)) = zones.tables.get(&TABLE.id) else {
        panic!("no table")
    };
    let left = (0..14u64).filter(|n| {
        let key = n.to_be_bytes();
        store.find(place(&key).hash, &key).is_some()
    });
    assert_eq!(left.collect::<Vec<_>>(), [8, 9, 10, 11, 12, 13]);
}

#[test]
fn tables_are_forgotten_only_when_nobody_wants_them() {
    let mut zones = Zones::new(4);
    assert!(zones.is_empty());
    decide(&mut zones, 0, b"k", request(16, 0, true));
    zones.keep(|id| id == TABLE.id);
    assert_eq!(zones.len(), 1);
    zones.keep(|_| false);
    assert_eq!(
        decide(&mut zones, 0, b"k", request(16, 0, true)),
        Some(Verdict::Pass(0))
    );
    let mut out = Vec::new();
    zones.keep(|_| false);
    zones.tell(Mono(0), &place(b"k"), Fate::Over, &mut out);
    assert!(zones.is_empty() && out.is_empty());
}

/// A request on its way through several limits, as shards take it there with others in between.
struct Walk {
    keys: Vec<u64>,
    /// Limits that let it pass.
    passed: usize,
    waits: bool,
    rejected: bool,
}

#[test]
fn interleaved_requests_under_two_limits_are_admitted_as_one_after_the_other() {
    let mut rng = Rng::new(5);
    for _ in 0..300 {
        let bursts = [rng.below(8) * 1000, rng.below(4) * 1000];
        let mut zones = Zones::new(1);
        let mut out = Vec::new();
        // All in one moment, so that the number admitted does not depend on the order.
        let mut walks: Vec<Walk> = (0..40)
            .map(|_| Walk {
                keys: vec![100, rng.below(3)],
                passed: 0,
                waits: false,
                rejected: false,
            })
            .collect();
        let mut open: Vec<usize> = (0..walks.len()).collect();
        while !open.is_empty() {
            let pick = rng.below(open.len() as u64) as usize;
            let number = open[pick];
            let walk = &mut walks[number];
            if !walk.waits && !walk.rejected && walk.passed < 2 {
                let question = request(1, bursts[walk.passed], walk.passed == 1);
                let ask = Ask {
                    from: Target(0),
                    ticket: number as u32,
                    place: place(&walk.keys[walk.passed].to_be_bytes()),
                    question,
                };
                walk.waits = true;
                zones.ask(Mono(0), ask, &mut out);
            } else if !walk.waits {
                // Its fate is told only now, a while after it was known.
                open.swap_remove(pick);
                let fate = match walk.rejected {
                    true => Fate::Dropped,
                    false => Fate::Counted { rate: 1 },
                };
                if walk.passed > 0 {
                    let place = place(&walk.keys[0].to_be_bytes());
                    zones.tell(Mono(0), &place, fate, &mut out);
                }
            }
            for answer in out.drain(..) {
                let walk = &mut walks[answer.ticket as usize];
                walk.waits = false;
                match answer.verdict {
                    Verdict::Pass(_) => walk.passed += 1,
                    _ => walk.rejected = true,
                }
            }
        }
        // No order of the same requests admits fewer or more for each key of the second limit, within the first.
        let mut by_key: HashMap<u64, (u64, u64)> = HashMap::new();
        for walk in &walks {
            let (came, admitted) = by_key.entry(walk.keys[1]).or_default();
            *came += 1;
            *admitted += u64::from(walk.passed == 2 && !walk.rejected);
        }
        let each = bursts[1] / 1000 + 1;
        let could: u64 = by_key.values().map(|(came, _)| each.min(*came)).sum();
        let admitted: u64 = by_key.values().map(|(_, admitted)| admitted).sum();
        assert_eq!(admitted, could.min(bursts[0] / 1000 + 1), "{bursts:?}");
        assert!(by_key.values().all(|(_, admitted)| *admitted <= each));
    }
}
