//! Ways of requests through groups of peers that fail, recover, come and go.

use super::*;
use crate::base::rng::Rng;
use crate::plan::Method;
use crate::plan::expr::Expr;
use crate::plan::{KeepalivePlan, Zone};
use crate::upstream::selection::{Outcome, Pick};
use std::sync::atomic::Ordering;
use std::time::Duration;

fn peer(port: u16) -> PeerPlan {
    let addr: SocketAddr = ([127, 0, 0, 1], port).into();
    PeerPlan {
        addr: PeerAddr::Tcp(addr),
        server: addr.to_string().into(),
        name: addr.to_string().into(),
        weight: 1,
        max_conns: 0,
        max_fails: 1,
        fail_timeout: Duration::from_secs(10),
        slow_start: Duration::ZERO,
        backup: false,
        down: false,
        drain: false,
        sid: Bytes::new(),
    }
}

fn groups(peers: Vec<PeerPlan>, zone: bool) -> Groups {
    Groups::new(&vec![plan(peers, zone)].into(), None)
}

fn plan(peers: Vec<PeerPlan>, zone: bool) -> GroupPlan {
    GroupPlan {
        name: "app".into(),
        explicit: true,
        method: Method::RoundRobin,
        checked: Checked::default(),
        sticky: None,
        lines: Default::default(),
        zone: zone.then(|| Zone::new("z".into())),
        peers: peers.into(),
        keepalive: KeepalivePlan {
            idle_max: 32,
            local: true,
            requests_max: 1000,
            time_max: Duration::from_secs(3600),
            timeout: Duration::from_secs(60),
        },
    }
}

fn begin(groups: &Groups, now: u64) -> Selection {
    groups.begin(GroupId(0), Key::None, 0, Mono(now))
}

fn port(pick: Pick) -> Option<u32> {
    match pick {
        Pick::Peer(p) => Some(p.0),
        Pick::None | Pick::Full => None,
    }
}

/// One request with one attempt; says which peer had it.
fn once(groups: &Groups, outcome: Outcome, now: u64) -> Option<u32> {
    let mut selection = begin(groups, now);
    let picked = port(selection.pick(Mono(now), 0));
    selection.report(outcome, Mono(now));
    picked
}

#[test]
fn a_failed_peer_rests_then_gets_one_probe() {
    let groups = groups(vec![peer(1), peer(2)], false);
    assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
    for now in (0..=10_999).step_by(1000) {
        assert_eq!(once(&groups, Outcome::Ok, now), Some(1), "{now}");
    }
    // Eleven whole seconds later: one request probes, and while it is out nobody else does.
    let probe = std::iter::repeat_with(|| {
        let mut selection = begin(&groups, 11_000);
        selection.pick(Mono(11_000), 0);
        selection
    });
    let mut probe = probe
        .take(6)
        .find(|s| s.current() == Some(PeerId(0)))
        .unwrap();
    assert_eq!(once(&groups, Outcome::Ok, 11_000), Some(1));
    assert_eq!(once(&groups, Outcome::Ok, 11_000), Some(1));
    probe.report(Outcome::Ok, Mono(11_500));
    assert_eq!(groups.group(GroupId(0)).peer(PeerId(0)).unwrap().fails, 0);
    let picks: Vec<_> = (0..6).map(|_| once(&groups, Outcome::Ok, 12_000)).collect();
    assert!(picks.contains(&Some(0)), "{picks:?}");
}

#[test]
fn a_failed_probe_switches_off_again() {
    let groups = groups(vec![peer(1), peer(2)], false);
    assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
    let mut probed = 0;
    for now in [11_000, 11_100, 11_200, 11_300, 12_000, 20_000, 21_900] {
        let mut selection = begin(&groups, now);
        let failing = selection.pick(Mono(now), 0) == Pick::Peer(PeerId(0));
        selection.report(
            if failing {
                Outcome::Failed
            } else {
                Outcome::Ok
            },
            Mono(now),
        );
        probed += u32::from(failing);
    }
    assert_eq!(probed, 1);
}

#[test]
fn failures_shrink_the_effective_weight_and_picks_restore_it() {
    let mut heavy = peer(1);
    heavy.weight = 10;
    heavy.max_fails = 2;
    let groups = groups(vec![heavy, peer(2)], false);
    let state = || groups.group(GroupId(0)).peer(PeerId(0)).unwrap();
    assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
    assert_eq!((state().effective_weight, state().fails), (5, 1));
    once(&groups, Outcome::Ok, 0);
    assert_eq!(state().effective_weight, 6);
    assert_eq!(
        state().fails,
        1,
        "a success right after the failure proves nothing"
    );
    let mut selection = begin(&groups, 0);
    while selection.pick(Mono(0), 0) != Pick::Peer(PeerId(0)) {}
    assert!(
        selection.report(Outcome::Failed, Mono(0)),
        "second failure: temporarily disabled"
    );
}

#[test]
fn max_fails_zero_never_switches_off() {
    let mut stubborn = peer(1);
    stubborn.max_fails = 0;
    let groups = groups(vec![stubborn, peer(2)], false);
    for _ in 0..4 {
        let mut selection = begin(&groups, 0);
        if selection.pick(Mono(0), 0) == Pick::Peer(PeerId(0)) {
            assert!(!selection.report(Outcome::Failed, Mono(0)));
        }
    }
    let picks: Vec<_> = (0..2).map(|_| once(&groups, Outcome::Ok, 0)).collect();
    assert!(picks.contains(&Some(0)), "{picks:?}");
}

#[test]
fn one_server_alone_never_fails() {
    let groups = groups(vec![peer(1)], false);
    for _ in 0..5 {
        let mut selection = begin(&groups, 0);
        assert_eq!(selection.tries_left(), 1);
        assert_eq!(selection.pick(Mono(0), 0), Pick::Peer(PeerId(0)));
        assert!(!selection.report(Outcome::Failed, Mono(0)));
        assert_eq!(selection.tries_left(), 0);
    }
}

#[test]
fn a_lone_server_that_is_down_or_full_is_no_upstream() {
    let mut down = peer(1);
    down.down = true;
    assert_eq!(once(&groups(vec![down], false), Outcome::Ok, 0), None);
    let mut small = peer(1);
    small.max_conns = 1;
    let groups = groups(vec![small], false);
    let mut first = begin(&groups, 0);
    assert_eq!(first.pick(Mono(0), 0), Pick::Peer(PeerId(0)));
    assert_eq!(begin(&groups, 0).pick(Mono(0), 0), Pick::Full);
    drop(first);
    assert_eq!(begin(&groups, 0).pick(Mono(0), 0), Pick::Peer(PeerId(0)));
}

#[test]
fn backups_serve_only_when_no_primary_is_usable() {
    let mut spare = peer(3);
    spare.backup = true;
    let groups = groups(vec![peer(1), peer(2), spare], false);
    let mut selection = begin(&groups, 0);
    assert_eq!(selection.tries_left(), 3);
    let mut order = Vec::new();
    while let Pick::Peer(p) = selection.pick(Mono(0), 0) {
        order.push(p.0);
        selection.report(Outcome::Failed, Mono(0));
    }
    assert_eq!(order, [0, 1, 2]);
    assert_eq!(selection.tries_left(), 0);
    assert_eq!(
        once(&groups, Outcome::Ok, 1000),
        None,
        "all three rest, the backup too"
    );
    for _ in 0..4 {
        assert_ne!(
            once(&groups, Outcome::Ok, 12_000),
            Some(2),
            "primaries come first again"
        );
    }
}

#[test]
fn one_primary_with_a_backup_can_fail() {
    let mut spare = peer(2);
    spare.backup = true;
    let groups = groups(vec![peer(1), spare], false);
    assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
    assert_eq!(once(&groups, Outcome::Ok, 0), Some(1));
}

#[test]
fn no_peer_is_tried_twice_and_tries_are_bounded() {
    let groups = groups(vec![peer(1), peer(2), peer(3)], false);
    let mut selection = groups.begin(GroupId(0), Key::None, 2, Mono(0));
    assert_eq!(selection.tries_left(), 2);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..3 {
        assert!(seen.insert(port(selection.pick(Mono(0), 0))));
        selection.report(Outcome::Ok, Mono(0));
    }
    assert_eq!(selection.pick(Mono(0), 0), Pick::None);
    assert_eq!(selection.tries_left(), 0);
}

#[test]
fn a_stale_connection_is_nobodys_fault() {
    let groups = groups(vec![peer(1), peer(2)], false);
    let mut selection = begin(&groups, 0);
    let Pick::Peer(first) = selection.pick(Mono(0), 0) else {
        unreachable!()
    };
    selection.report(Outcome::Stale, Mono(0));
    assert_eq!(groups.group(GroupId(0)).peer(first).unwrap().fails, 0);
    assert!(selection.fresh_only());
    assert_eq!(selection.tries_left(), 2);
    let mut again = std::collections::BTreeSet::new();
    for _ in 0..2 {
        again.insert(port(selection.pick(Mono(0), 0)));
        selection.report(Outcome::Failed, Mono(0));
    }
    assert_eq!(
        again.len(),
        2,
        "both peers may be asked after a stale attempt"
    );
    assert!(!selection.fresh_only());
}

#[test]
fn dropping_a_request_gives_its_slot_back() {
    let groups = groups(vec![peer(1), peer(2)], false);
    for _ in 0..10 {
        let mut selection = begin(&groups, 0);
        selection.pick(Mono(0), 0);
    }
    for p in [PeerId(0), PeerId(1)] {
        assert_eq!(groups.group(GroupId(0)).peer(p).unwrap().conns, 0);
    }
}

#[test]
fn zoned_groups_tell_other_shards() {
    let (here, there) = (
        groups(vec![peer(1), peer(2)], true),
        groups(vec![peer(1), peer(2)], true),
    );
    assert_eq!(once(&here, Outcome::Failed, 0), Some(0));
    let mut notes = Vec::new();
    here.take_notes(|n| notes.push(n));
    assert_eq!(notes.len(), 1);
    there.apply(notes[0], Mono(0));
    for _ in 0..3 {
        assert_eq!(once(&there, Outcome::Ok, 0), Some(1));
    }
    here.take_notes(|n| unreachable!("{n:?}"));
    let mut notes = Vec::new();
    for _ in 0..6 {
        once(&here, Outcome::Ok, 11_000);
    }
    here.take_notes(|n| notes.push(n.change));
    assert_eq!(notes, [PeerChange::Probing, PeerChange::Recovered]);
    let quiet = groups_quiet();
    quiet.take_notes(|n| unreachable!("{n:?}"));
}

fn groups_quiet() -> Groups {
    let quiet = groups(vec![peer(1), peer(2)], false);
    once(&quiet, Outcome::Failed, 0);
    quiet
}

#[test]
fn zoned_groups_count_requests_over_all_shards() {
    let plan = |max_conns| {
        let mut small = peer(1);
        small.max_conns = max_conns;
        plan(vec![small, peer(2)], true)
    };
    let plans = vec![plan(1)].into();
    let (here, there) = (Groups::new(&plans, None), Groups::new(&plans, None));
    let mut first = begin(&here, 0);
    assert_eq!(first.pick(Mono(0), 0), Pick::Peer(PeerId(0)));
    for _ in 0..3 {
        assert_eq!(
            once(&there, Outcome::Ok, 0),
            Some(1),
            "the other shard holds its only slot"
        );
    }
    drop(first);
    assert_eq!(once(&there, Outcome::Ok, 0), Some(0));
    let set = here.group(GroupId(0)).set();
    let idle = |t: &Target| t.conns.as_ref().unwrap().load(Ordering::Relaxed) == 0;
    assert!(set.targets().iter().all(idle));
}

/// Random requests over random groups: nothing is counted twice, lost, or given to a peer that must rest.
#[test]
fn simulated_traffic_keeps_the_books() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let count = 1 + rng.below(70) as u16;
        let mut peers: Vec<_> = (1..=count).map(peer).collect();
        for p in &mut peers {
            p.weight = 1 + rng.below(5) as u32;
            p.max_conns = rng.below(4) as u32;
            p.max_fails = rng.below(3) as u32;
            p.fail_timeout = Duration::from_secs(rng.below(4));
            p.down = rng.below(8) == 0;
            p.backup = rng.below(4) == 0;
        }
        peers.sort_by_key(|p| p.backup);
        let mut plan = plan(peers.clone(), rng.below(2) == 0);
        plan.method = match rng.below(5) {
            0 => Method::LeastConn,
            1 => Method::IpHash,
            2 => Method::Hash(Expr::default()),
            3 => Method::Random {
                two: rng.below(2) == 0,
            },
            _ => Method::RoundRobin,
        };
        let client = matches!(plan.method, Method::IpHash);
        let groups = Groups::new(&vec![plan].into(), None);
        simulate(&groups, &peers, &mut rng, client, seed);
    }
}

fn simulate(groups: &Groups, plans: &[PeerPlan], rng: &mut Rng, client: bool, seed: u64) {
    let group = groups.group(GroupId(0));
    let mut open: Vec<Selection> = Vec::new();
    let mut now = 0;
    for _ in 0..300 {
        now += rng.below(900);
        if open.is_empty() || rng.below(3) > 0 {
            let word = rng.word().to_le_bytes();
            let key = if client {
                Key::Client(Some([10, word[0], word[1], 1].into()))
            } else {
                Key::Text(&word)
            };
            let mut selection = groups.begin(GroupId(0), key, 0, Mono(now));
            let before: Vec<_> = (0..plans.len())
                .map(|i| group.peer(PeerId(i as u32)).unwrap())
                .collect();
            let alone = plans.len() == 1;
            if let Pick::Peer(p) = selection.pick(Mono(now), rng.word()) {
                let state = &before[p.0 as usize];
                assert!(
                    state.usable(seconds(Mono(now))) || (alone && state.usable_alone()),
                    "seed {seed}"
                );
                open.push(selection);
            } else {
                let usable = before.iter().any(|p| p.usable(seconds(Mono(now))));
                assert!(!usable, "seed {seed}: somebody was usable");
            }
        } else {
            let mut selection = open.swap_remove(rng.below(open.len() as u64) as usize);
            match rng.below(5) {
                0 => {}
                1 => _ = selection.report(Outcome::Failed, Mono(now)),
                2 => _ = selection.report(Outcome::Stale, Mono(now)),
                3 => _ = selection.report(Outcome::Next, Mono(now)),
                _ => _ = selection.report(Outcome::Ok, Mono(now)),
            }
        }
        for (i, plan) in plans.iter().enumerate() {
            let id = PeerId(i as u32);
            let state = group.peer(id).unwrap();
            let held = open.iter().filter(|s| s.current() == Some(id)).count();
            assert_eq!(state.conns as usize, held, "seed {seed}");
            assert!(
                (0..=state.weight).contains(&state.effective_weight),
                "seed {seed}"
            );
            assert!(
                plan.max_conns == 0 || state.conns <= plan.max_conns,
                "seed {seed}"
            );
            assert!(!plan.down || held == 0, "seed {seed}");
        }
    }
}

#[test]
fn twins_share_connections() {
    let groups = groups(vec![peer(1), peer(2), peer(1)], false);
    let group = groups.group(GroupId(0));
    let twins: Vec<_> = (0..3).map(|i| group.set().targets()[i].twin.0).collect();
    assert_eq!(twins, [0, 1, 0]);
}

#[test]
fn addresses_of_one_request_form_a_group() {
    let addresses: Vec<SocketAddr> = vec![([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into()];
    let group = Group::of_addresses("name".into(), &addresses);
    let mut selection = Selection::new(group, Key::None, 0, Mono(0));
    assert_eq!(selection.tries_left(), 2);
    let Pick::Peer(_) = selection.pick(Mono(0), 0) else {
        unreachable!()
    };
    assert_eq!(selection.target().unwrap().name, "10.0.0.1:80");
}

fn methods() -> Vec<Method> {
    vec![
        Method::RoundRobin,
        Method::LeastConn,
        Method::LeastTime {
            last_byte: true,
            inflight: true,
        },
        Method::IpHash,
        Method::Hash(Expr::default()),
        Method::Consistent(Expr::default()),
        Method::Random { two: false },
        Method::Random { two: true },
    ]
}

fn grouped(ports: std::ops::RangeInclusive<u16>, method: Method) -> Groups {
    let mut plan = plan(ports.map(peer).collect(), false);
    plan.method = method;
    Groups::new(&vec![plan].into(), None)
}

/// How many of 400 requests with keys of their own each address gets.
fn spread(groups: &Groups) -> HashMap<Bytes, u32> {
    let mut counts = HashMap::new();
    let client = groups.group(GroupId(0)).kind == Kind::IpHash;
    for n in 0..400_u32 {
        let text = n.to_string();
        let key = if client {
            Key::Client(Some([10, n as u8, (n >> 8) as u8, 1].into()))
        } else {
            Key::Text(text.as_bytes())
        };
        let mut selection = groups.begin(GroupId(0), key, 0, Mono(0));
        let random = u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if selection.pick(Mono(0), random) != Pick::None {
            let name = selection.target().unwrap().name.clone();
            *counts.entry(name).or_insert(0) += 1;
        }
        selection.report(Outcome::Ok, Mono(0));
    }
    counts
}

fn order(address: &'static str, setting: PeerSetting) -> PeerOrder {
    PeerOrder {
        peer: crate::mail::peers::PeerName {
            group: "app".into(),
            server: Bytes::new(),
            address: address.into(),
        },
        setting,
    }
}

const ONE: &str = "127.0.0.1:1";
const TWO: &str = "127.0.0.1:2";
const THREE: &str = "127.0.0.1:3";

#[test]
fn every_method_obeys_administrators_and_checks() {
    for method in methods() {
        let groups = grouped(1..=3, method);
        let kind = groups.group(GroupId(0)).kind;
        for (setting, back) in [
            (
                PeerSetting::Administrative(Administrative::Down),
                PeerSetting::Configured,
            ),
            (
                PeerSetting::Administrative(Administrative::Drain),
                PeerSetting::Administrative(Administrative::Up),
            ),
            (PeerSetting::Healthy(false), PeerSetting::Healthy(true)),
        ] {
            assert_eq!(groups.order(&order(TWO, setting)), 1);
            let counts = spread(&groups);
            assert_eq!(counts.get(TWO.as_bytes()), None, "{kind:?} {setting:?}");
            assert_eq!(counts.values().sum::<u32>(), 400, "{kind:?} {setting:?}");
            groups.order(&order(TWO, back));
            assert!(spread(&groups).contains_key(TWO.as_bytes()), "{kind:?}");
        }
        groups.order(&order(ONE, PeerSetting::Weight(8)));
        let counts = spread(&groups);
        let count = |name: &str| counts.get(name.as_bytes()).copied().unwrap_or_default();
        let (heavy, light) = (count(ONE), count(TWO));
        if kind != Kind::RandomTwo {
            assert!(heavy > 4 * light, "{kind:?} {counts:?}");
        }
        groups.order(&order(ONE, PeerSetting::Configured));
        assert!(spread(&groups)[ONE.as_bytes()] < 220, "{kind:?}");
    }
}

#[test]
fn checks_never_take_the_last_peer_away() {
    for method in methods() {
        let groups = grouped(1..=2, method);
        let group = groups.group(GroupId(0)).clone();
        groups.order(&order(ONE, PeerSetting::Healthy(false)));
        assert!(!group.is_up(PeerId(0), Mono(0)));
        groups.order(&order(TWO, PeerSetting::Healthy(false)));
        assert!(group.is_up(PeerId(0), Mono(0)) && group.is_up(PeerId(1), Mono(0)));
        assert_eq!(spread(&groups).values().sum::<u32>(), 400);
        // What an administrator takes away stays away.
        groups.order(&order(
            ONE,
            PeerSetting::Administrative(Administrative::Down),
        ));
        assert_eq!(spread(&groups)[TWO.as_bytes()], 400);
        groups.order(&order(
            TWO,
            PeerSetting::Administrative(Administrative::Down),
        ));
        assert!(spread(&groups).is_empty());
    }
    let alone = grouped(1..=1, Method::RoundRobin);
    alone.order(&order(ONE, PeerSetting::Healthy(false)));
    assert_eq!(spread(&alone)[ONE.as_bytes()], 400);
}

#[test]
fn ill_peers_are_asked_when_all_others_failed() {
    let groups = grouped(1..=2, Method::RoundRobin);
    groups.order(&order(ONE, PeerSetting::Healthy(false)));
    let mut selection = begin(&groups, 0);
    assert_eq!(selection.pick(Mono(0), 0), Pick::Peer(PeerId(1)));
    selection.report(Outcome::Failed, Mono(0));
    assert_eq!(selection.pick(Mono(0), 0), Pick::Peer(PeerId(0)));
    selection.report(Outcome::Failed, Mono(0));
    assert_eq!(selection.pick(Mono(0), 0), Pick::None);
}

#[test]
fn peers_that_stay_keep_number_state_and_requests() {
    let groups = grouped(1..=3, Method::RoundRobin);
    let group = groups.group(GroupId(0)).clone();
    let mut under_way = begin(&groups, 0);
    assert_eq!(under_way.pick(Mono(0), 0), Pick::Peer(PeerId(0)));
    let mut leaving = begin(&groups, 0);
    assert_eq!(leaving.pick(Mono(0), 0), Pick::Peer(PeerId(1)));
    assert_eq!(once(&groups, Outcome::Failed, 0), Some(2));
    let gone = groups.replace(GroupId(0), &[peer(4), peer(3), peer(1)]);
    assert_eq!(gone, [PeerId(1)]);
    let ids: Vec<_> = group.set().targets().iter().map(|t| t.id.0).collect();
    assert_eq!(ids, [3, 2, 0], "a new peer has a new number");
    assert_eq!(group.peer(PeerId(2)).unwrap().fails, 1);
    assert_eq!(group.peer(PeerId(0)).unwrap().conns, 1);
    assert!(group.peer(PeerId(1)).is_none());
    assert_eq!(leaving.target().unwrap().name, TWO);
    // The first attempt ends on the old set; the next one is made among the peers of today.
    leaving.report(Outcome::Failed, Mono(0));
    under_way.report(Outcome::Failed, Mono(0));
    assert_eq!(group.peer(PeerId(0)).unwrap().conns, 0);
    assert_eq!(group.peer(PeerId(0)).unwrap().fails, 1);
    for selection in [&mut leaving, &mut under_way] {
        assert_eq!(selection.pick(Mono(0), 0), Pick::Peer(PeerId(3)));
        selection.report(Outcome::Ok, Mono(0));
    }
    assert_eq!(groups.replace(GroupId(0), &[]).len(), 3);
    assert_eq!(begin(&groups, 0).pick(Mono(0), 0), Pick::None);
    assert_eq!(under_way.pick(Mono(0), 0), Pick::None);
    groups.replace(GroupId(0), &[peer(1)]);
    assert_eq!(
        once(&groups, Outcome::Ok, 0),
        Some(4),
        "and is not the old one"
    );
}

#[test]
fn a_request_tries_nobody_twice_though_the_peers_change() {
    for method in methods() {
        let groups = grouped(1..=4, method);
        let key = Key::Text(b"key");
        let key = match groups.group(GroupId(0)).kind {
            Kind::IpHash => Key::Client(Some([10, 0, 0, 1].into())),
            _ => key,
        };
        let mut selection = groups.begin(GroupId(0), key, 0, Mono(0));
        let mut seen = std::collections::BTreeSet::new();
        for ports in [[4, 3, 2, 1], [1, 3, 4, 2], [2, 1, 3, 4], [1, 2, 3, 4]] {
            let peers: Vec<_> = ports.into_iter().map(peer).collect();
            groups.replace(GroupId(0), &peers);
            assert_ne!(selection.pick(Mono(0), 7), Pick::None);
            assert!(seen.insert(selection.target().unwrap().name.clone()));
            selection.report(Outcome::Next, Mono(0));
        }
        assert_eq!(selection.pick(Mono(0), 7), Pick::None);
    }
}

#[test]
fn what_was_set_lasts_over_reloads_and_absences() {
    let groups = grouped(1..=3, Method::RoundRobin);
    let down = PeerSetting::Administrative(Administrative::Down);
    groups.order(&order(ONE, down));
    groups.order(&order(TWO, PeerSetting::Weight(5)));
    groups.order(&order(THREE, PeerSetting::Healthy(false)));
    groups.replace(GroupId(0), &[peer(3)]);
    let mut plan = plan([1, 2, 3, 4].map(peer).into(), false);
    plan.checked = Checked::default().with(false, true);
    let plans = vec![plan].into();
    let groups = Groups::new(&plans, Some(&groups));
    let group = groups.group(GroupId(0));
    let state = |port: u32| group.peer(PeerId(port - 1)).unwrap();
    assert_eq!(state(1).administrative, Administrative::Down);
    assert_eq!(state(2).weight, 5);
    assert!(!state(3).healthy && state(4).healthy);
    assert_eq!(group.tries(), 3);
    assert_eq!(group.set().total_weight, [8, 0]);
}

#[test]
fn failures_outlive_a_reload_where_they_are_shared() {
    for zone in [true, false] {
        let plans = vec![plan([1, 2].map(peer).into(), zone)].into();
        let groups = Groups::new(&plans, None);
        assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
        let groups = Groups::new(&plans, Some(&groups));
        let first = once(&groups, Outcome::Ok, 1000);
        assert_eq!(first, Some(u32::from(zone)), "zone {zone}");
    }
}

#[test]
fn who_waits_for_a_first_check_serves_nobody_and_a_good_one_clears_failures() {
    let checked = |mandatory, persistent| Checked::default().with(mandatory, persistent);
    let with = |checked, before: Option<&Groups>| {
        let mut plan = plan(vec![peer(1), peer(2)], false);
        plan.checked = checked;
        Groups::new(&vec![plan].into(), before)
    };
    let groups = with(checked(true, true), None);
    assert_eq!(once(&groups, Outcome::Ok, 0), None);
    let group = groups.group(GroupId(0));
    group.set_healthy(PeerId(1), true);
    assert_eq!(once(&groups, Outcome::Ok, 0), Some(1));
    group.set_healthy(PeerId(0), false);
    assert_eq!(once(&groups, Outcome::Failed, 0), Some(1));
    assert_eq!(once(&groups, Outcome::Ok, 0), Some(0), "better than none");
    group.set_healthy(PeerId(1), false);
    group.set_healthy(PeerId(1), true);
    assert_eq!(
        once(&groups, Outcome::Ok, 0),
        Some(1),
        "a check is newer news"
    );
    for (checked, want) in [
        (checked(true, true), (false, false)),
        (checked(true, false), (true, true)),
        (checked(false, true), (false, false)),
        (Checked::default(), (true, false)),
    ] {
        let groups = with(checked, Some(&groups));
        let state = groups.group(GroupId(0)).peer(PeerId(0)).unwrap();
        assert_eq!((state.healthy, state.awaited), want, "{checked:?}");
    }
}

fn least_time(last_byte: bool, inflight: bool) -> Groups {
    let method = Method::LeastTime {
        last_byte,
        inflight,
    };
    grouped(1..=2, method)
}

/// One request from `now` on, to which the first peer takes long.
fn timed(groups: &Groups, now: u64, [first, other]: [u64; 2]) -> u32 {
    let mut selection = begin(groups, now);
    let picked = port(selection.pick(Mono(now), 0)).unwrap();
    let took = if picked == 0 { first } else { other };
    selection.head_came(Mono(now + took / 2));
    selection.report(Outcome::Ok, Mono(now + took));
    picked
}

#[test]
fn least_time_takes_the_faster_peer() {
    for (last_byte, inflight) in [(true, false), (false, false), (true, true), (false, true)] {
        let groups = least_time(last_byte, inflight);
        let picks: Vec<_> = (0..10).map(|_| timed(&groups, 0, [800, 50])).collect();
        assert_eq!(picks.iter().filter(|p| **p == 0).count(), 1, "{picks:?}");
        // The slow one gets another chance once its time has been halved often enough.
        let later: Vec<_> = (0..6)
            .map(|n| timed(&groups, 60_000 + n, [30, 50]))
            .collect();
        assert!(later.contains(&0), "{later:?}");
    }
    let groups = least_time(true, false);
    let picks: Vec<_> = (0..10).map(|_| timed(&groups, 0, [41, 55])).collect();
    assert_eq!(picks.iter().sum::<u32>(), 5, "as good as equal: {picks:?}");
}

#[test]
fn least_time_does_not_like_who_fails_fast() {
    let groups = least_time(true, true);
    for _ in 0..4 {
        let mut selection = begin(&groups, 0);
        selection.pick(Mono(0), 0);
        let failing = selection.current() == Some(PeerId(0));
        let (outcome, at) = match failing {
            true => (Outcome::Next, 1),
            false => (Outcome::Ok, 100),
        };
        selection.head_came(Mono(at));
        selection.report(outcome, Mono(at));
    }
    let timing = |id| {
        format!(
            "{:?}",
            groups.group(GroupId(0)).peer(PeerId(id)).unwrap().timing
        )
    };
    assert!(timing(0).contains("response: 0"), "{}", timing(0));
    assert!(timing(1).contains("response: 100"), "{}", timing(1));
}

#[test]
fn those_who_come_back_take_their_share_slowly() {
    let ill = order(ONE, PeerSetting::Healthy(false));
    let well = order(ONE, PeerSetting::Healthy(true));
    for method in [Method::RoundRobin, Method::LeastConn] {
        let mut slow = peer(1);
        slow.slow_start = Duration::from_secs(10);
        let mut plan = plan(vec![slow, peer(2)], false);
        plan.method = method;
        let groups = Groups::new(&vec![plan].into(), None);
        let counts = |now: u64| {
            let first = |_: &usize| once(&groups, Outcome::Ok, now) == Some(0);
            (0..200).filter(first).count()
        };
        let kind = groups.group(GroupId(0)).kind;
        assert_eq!(counts(0), 100, "{kind:?}: nobody came back");
        groups.order(&ill);
        assert_eq!(counts(1000), 0);
        groups.order(&well);
        // From the first pick on: 0, 1, 5 and 9 of 10 seconds, then all of it.
        assert!(counts(100_000) <= 3, "{kind:?}");
        for (now, least, most) in [
            (101_000, 16, 21),
            (105_000, 64, 70),
            (109_000, 92, 97),
            (110_000, 98, 102),
            (500_000, 98, 102),
        ] {
            let count = counts(now);
            assert!((least..=most).contains(&count), "{kind:?} {now}: {count}");
        }
    }
}

#[test]
fn a_peer_that_failed_comes_back_slowly_too() {
    let mut slow = peer(1);
    slow.slow_start = Duration::from_secs(10);
    let groups = groups(vec![slow, peer(2)], false);
    assert_eq!(once(&groups, Outcome::Failed, 0), Some(0));
    let picked = |now: u64, count: usize| {
        let first = |_: &usize| once(&groups, Outcome::Ok, now) == Some(0);
        (0..count).filter(first).count()
    };
    assert!(picked(20_000, 4) >= 1, "the probe");
    assert!(picked(20_100, 50) <= 3);
    assert!((15..=18).contains(&picked(25_100, 50)));
    assert!((24..=26).contains(&picked(31_000, 50)));
}

#[test]
fn full_is_not_dead() {
    let mut small = peer(1);
    small.max_conns = 1;
    let groups = groups(vec![small, peer(2)], false);
    let held = begin(&groups, 0).pick(Mono(0), 0);
    assert_ne!(held, Pick::None);
    let mut first = begin(&groups, 0);
    first.pick(Mono(0), 0);
    groups.order(&order(
        TWO,
        PeerSetting::Administrative(Administrative::Down),
    ));
    let mut busy = begin(&groups, 0);
    let picked = busy.pick(Mono(0), 0);
    let kept = first.current() == Some(PeerId(0));
    assert_eq!(picked == Pick::Full, kept);
    groups.order(&order(
        ONE,
        PeerSetting::Administrative(Administrative::Down),
    ));
    assert_eq!(begin(&groups, 0).pick(Mono(0), 0), Pick::None);
}
