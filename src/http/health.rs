//! Active health checks: each group has one shard that asks its peers, and tells the others what it found.
//!
//! What was found outlives a reload, by the tags of checks and peers. Knows nothing of wires: a check is one
//! [`probe`]. Start at [`begin`].

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hasher};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::quality::FixedState;

use super::content::proxy::probe::{self, Bad};
use super::local::{Cx, Generation, Local};
use super::log::Text;
use crate::base::time::Mono;
use crate::mail::peers::{Administrative, PeerName, PeerOrder, PeerSetting};
use crate::mail::{Mail, Seat};
use crate::net::{clock, join, runtime};
use crate::observe::live::CheckNow;
use crate::plan::health::CheckPlan;
use crate::plan::model::LogLevel;
use crate::plan::{Checked, PeerAddr};
use crate::upstream::pool::Conn;

/// How long a task sleeps before it looks whether it is still wanted.
const NAP: Duration = Duration::from_millis(500);

/// What the checks of one peer came to.
#[derive(Clone, Copy, Debug)]
struct Record {
    healthy: bool,
    /// It was asked at least once.
    known: bool,
    /// Verdicts in a row that are against the present state.
    streak: u32,
    /// When it is asked next.
    due: Mono,
    /// Times that it passed, and that it did not.
    outcomes: [u64; 2],
    /// How long the latest check took, in microseconds.
    took_us: u64,
}

/// Health checks as one shard sees them.
pub struct Health {
    seat: Seat,
    /// By the tags of check and peer.
    records: RefCell<HashMap<(u64, u64), Record, foldhash::fast::FixedState>>,
    /// The configuration in force.
    epoch: Cell<u64>,
}

impl Health {
    /// Checks of a shard.
    #[must_use]
    pub fn new(seat: Seat) -> Rc<Self> {
        Rc::new(Self {
            seat,
            records: RefCell::default(),
            epoch: Cell::new(0),
        })
    }

    /// Whether this shard asks the peers of a group.
    fn owns(&self, group: &[u8]) -> bool {
        if !self.seat.is_shared() {
            return true;
        }
        let mut hasher = FixedState::with_seed(0).build_hasher();
        hasher.write(group);
        self.seat.owner(hasher.finish()) == self.seat.own()
    }

    /// When a peer is to be asked.
    fn due(&self, key: (u64, u64)) -> Mono {
        let records = self.records.borrow();
        records.get(&key).map_or(Mono(0), |record| record.due)
    }

    /// A peer is asked now; says nothing of the outcome, so that a reload meanwhile does not ask again.
    fn asked(&self, key: (u64, u64), mandatory: bool, next: Mono) {
        let mut records = self.records.borrow_mut();
        let record = records.entry(key).or_insert(Record {
            healthy: !mandatory,
            known: false,
            streak: 0,
            due: next,
            outcomes: [0; 2],
            took_us: 0,
        });
        record.due = next;
    }

    /// Books an outcome; true when it changed what is thought of the peer.
    fn book(&self, key: (u64, u64), check: &CheckPlan, passed: bool, mandatory: bool) -> bool {
        let mut records = self.records.borrow_mut();
        let Some(record) = records.get_mut(&key) else {
            return false;
        };
        let first = !std::mem::replace(&mut record.known, true);
        if first && mandatory {
            record.healthy = passed;
            return true;
        }
        if record.healthy == passed {
            record.streak = 0;
            return false;
        }
        record.streak += 1;
        let enough = if passed { check.passes } else { check.fails };
        if record.streak < enough {
            return false;
        }
        (record.healthy, record.streak) = (passed, 0);
        true
    }

    /// Counts an outcome.
    fn count(&self, key: (u64, u64), passed: bool, took_us: u64) {
        if let Some(record) = self.records.borrow_mut().get_mut(&key) {
            record.outcomes[usize::from(!passed)] += 1;
            record.took_us = took_us;
        }
    }

    /// What the checks that this shard makes came to.
    #[must_use]
    pub fn now(&self, generation: &Generation) -> Vec<CheckNow> {
        let records = self.records.borrow();
        let mut all = Vec::new();
        for check in &generation.plan.checks {
            let group = &generation.plan.groups[check.group].name;
            let set = generation.groups.group(check.group).set();
            for target in set.targets() {
                let Some(record) = records.get(&(check.tag, target.tag)) else {
                    continue;
                };
                all.push(CheckNow {
                    group: group.clone(),
                    peer: target.name.clone(),
                    healthy: record.healthy,
                    outcomes: record.outcomes,
                    took_us: record.took_us,
                });
            }
        }
        all
    }

    /// Whether all checks of a group are content with a peer.
    fn verdict(&self, generation: &Generation, check: &CheckPlan, peer: u64) -> bool {
        let records = self.records.borrow();
        let checks = generation.plan.checks.iter();
        let mut same = checks.filter(|other| other.group == check.group);
        let mandatory = generation.plan.groups[check.group].checked.mandatory;
        same.all(|other| {
            let record = records.get(&(other.tag, peer));
            record.map_or(!mandatory, |record| record.healthy)
        })
    }
}

/// Begins to check for a configuration that is in force from now on; checks of the one before end by themselves.
pub fn begin(generation: &Rc<Generation>, local: &Rc<Local>) {
    let health = &local.health;
    health.epoch.set(generation.epoch);
    let plan = &generation.plan;
    let checked = |tag| plan.checks.iter().find(|check| check.tag == tag);
    health.records.borrow_mut().retain(|(tag, _), record| {
        let Some(check) = checked(*tag) else {
            return false;
        };
        if plan.groups[check.group].checked.forgetful {
            (record.known, record.healthy, record.due) = (false, false, Mono(0));
        }
        true
    });
    for (n, check) in plan.checks.iter().enumerate() {
        if health.owns(&plan.groups[check.group].name) {
            let duty = Duty {
                generation: Rc::downgrade(generation),
                local: local.clone(),
                epoch: generation.epoch,
                check: n,
            };
            runtime::spawn(watch(duty));
        }
    }
}

/// What a task of a check holds.
#[derive(Clone)]
struct Duty {
    generation: Weak<Generation>,
    local: Rc<Local>,
    epoch: u64,
    check: usize,
}

impl Duty {
    /// The configuration, as long as it is in force.
    fn generation(&self) -> Option<Rc<Generation>> {
        let wanted = self.local.health.epoch.get() == self.epoch && !self.local.draining.get();
        self.generation.upgrade().filter(|_| wanted)
    }
}

/// Sees to it that each peer of the group has its prober. Peers come and go.
async fn watch(duty: Duty) {
    let probed: Rc<RefCell<HashSet<u64>>> = Rc::default();
    while let Some(generation) = duty.generation() {
        let check = &generation.plan.checks[duty.check];
        let set = generation.groups.group(check.group).set();
        for target in set.targets() {
            if probed.borrow_mut().insert(target.tag) {
                runtime::spawn(prober(duty.clone(), target.tag, probed.clone()));
            }
        }
        drop((set, generation));
        runtime::sleep(NAP).await;
    }
}

/// Asks one peer until it is gone, or another configuration is in force.
async fn prober(duty: Duty, tag: u64, probed: Rc<RefCell<HashSet<u64>>>) {
    let mut kept = None;
    loop {
        if !rest(&duty, tag).await {
            return;
        }
        let Some(generation) = duty.generation() else {
            return;
        };
        let check = &generation.plan.checks[duty.check];
        let set = generation.groups.group(check.group).set();
        let Some(target) = set.targets().iter().find(|t| t.tag == tag) else {
            probed.borrow_mut().remove(&tag);
            return;
        };
        let key = (check.tag, tag);
        let checked = generation.plan.groups[check.group].checked;
        let jitter = u64::try_from(check.jitter.as_millis()).unwrap_or(u64::MAX - 1);
        let jitter = Duration::from_millis(duty.local.random() % jitter.saturating_add(1));
        let next = clock::mono().after(check.interval + jitter);
        duty.local.health.asked(key, checked.mandatory, next);
        if target.configured == Administrative::Down {
            continue;
        }
        let peer = Peer {
            addr: probe::with_port(&target.addr, check.port),
            name: target.name.clone(),
            server: target.server.clone(),
            tag,
        };
        drop(set);
        let began = clock::micros();
        let Some(outcome) = ask(&duty, &generation, check, &peer, &mut kept).await else {
            continue;
        };
        if duty.generation().is_some() {
            let took_us = clock::micros().saturating_sub(began);
            duty.local.health.count(key, outcome.is_ok(), took_us);
            settle(&duty, &generation, (check, checked), &peer, outcome);
        }
    }
}

/// Waits until a peer is to be asked. False when it is not to be asked any more.
async fn rest(duty: &Duty, tag: u64) -> bool {
    loop {
        let Some(generation) = duty.generation() else {
            return false;
        };
        let key = (generation.plan.checks[duty.check].tag, tag);
        drop(generation);
        let (now, due) = (clock::mono(), duty.local.health.due(key));
        if now >= due {
            return true;
        }
        runtime::sleep(NAP.min(Duration::from_millis(due.ms_since(now)))).await;
    }
}

/// Whom a probe asks.
struct Peer {
    addr: PeerAddr,
    name: Bytes,
    server: Bytes,
    tag: u64,
}

/// One probe; none when it could not be made.
async fn ask(
    duty: &Duty,
    generation: &Rc<Generation>,
    check: &CheckPlan,
    peer: &Peer,
    kept: &mut Option<Box<Conn>>,
) -> Option<Result<(), Bad>> {
    let cx = Cx::new(generation, &duty.local);
    // A panic must not take the shard along.
    let run = join::catch(|| Box::pin(probe::run(cx, check, (&peer.addr, &peer.name), kept)));
    match run.await {
        Ok(Err(Bad::Ours)) => None,
        Ok(outcome) => Some(outcome),
        Err(message) => {
            let text = format_args!("a health check was dropped: {message}");
            let logs = &generation.plan.error_logs;
            generation.logs.error_all(logs, LogLevel::Alert, text);
            None
        }
    }
}

/// Books an outcome, tells the log, and all shards what is thought of the peer.
fn settle(
    duty: &Duty,
    generation: &Generation,
    (check, checked): (&CheckPlan, Checked),
    peer: &Peer,
    outcome: Result<(), Bad>,
) {
    let health = &duty.local.health;
    let key = (check.tag, peer.tag);
    let changed = health.book(key, check, outcome.is_ok(), checked.mandatory);
    let group = &generation.plan.groups[check.group].name;
    let who = format!(
        "health check \"{}\" of peer {} in upstream \"{}\"",
        Text(check.name()),
        Text(&peer.name),
        Text(group)
    );
    let logs = &generation.plan.locations[check.location].error_logs;
    let tell = |level, text: &[u8]| {
        let text = format_args!("{}, {who}", Text(text));
        generation.logs.error_all(logs, level, text);
    };
    let doing = match &outcome {
        Ok(()) => "",
        Err(Bad::Trouble(trouble, action)) => {
            let mut text = Vec::new();
            trouble.write(*action, &mut text);
            tell(trouble.level(), &text);
            action.words()
        }
        Err(Bad::Unfit(unfit)) => unfit.words(),
        Err(Bad::Ours) => return,
    };
    if changed && outcome.is_ok() {
        tell(LogLevel::Notice, b"peer is healthy");
    } else if changed {
        let text = format!("peer is unhealthy while {doing}");
        tell(LogLevel::Warn, text.as_bytes());
    }
    let order = PeerOrder {
        peer: PeerName {
            group: group.clone(),
            server: peer.server.clone(),
            address: peer.name.clone(),
        },
        setting: PeerSetting::Healthy(health.verdict(generation, check, peer.tag)),
    };
    generation.groups.order(&order);
    // Told each time, so that a shard which missed it, or has taken a new configuration over since, hears it again.
    let order = Arc::new(order);
    health.seat.post_others(|| Mail::PeerOrder(order.clone()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::health::Wanted;
    use crate::plan::{GroupId, LocationId};

    fn check(fails: u32, passes: u32) -> CheckPlan {
        CheckPlan {
            group: GroupId(0),
            location: LocationId(0),
            tag: 1,
            interval: Duration::from_secs(5),
            jitter: Duration::ZERO,
            fails,
            passes,
            uri: "/".into(),
            port: None,
            keepalive_time: None,
            wanted: Wanted::Usual,
        }
    }

    #[test]
    fn a_state_changes_after_enough_outcomes_in_a_row() {
        let health = Health::new(Seat::alone());
        let (key, check) = ((1, 2), check(2, 3));
        health.asked(key, false, Mono(0));
        let turns: Vec<bool> = "-+--+++-++-+++"
            .chars()
            .map(|c| health.book(key, &check, c == '+', false))
            .collect();
        let changed: Vec<usize> = (0..turns.len()).filter(|&n| turns[n]).collect();
        assert_eq!(
            changed,
            [3, 6],
            "after two failures, then after three passes"
        );
    }

    #[test]
    fn a_mandatory_check_decides_with_its_first_outcome() {
        for passed in [true, false] {
            let health = Health::new(Seat::alone());
            let (key, check) = ((1, 2), check(3, 3));
            health.asked(key, true, Mono(0));
            assert!(!health.records.borrow()[&key].healthy);
            assert!(health.book(key, &check, passed, true));
            assert_eq!(health.records.borrow()[&key].healthy, passed);
        }
    }

    #[test]
    fn the_only_shard_owns_every_group() {
        assert!(Health::new(Seat::alone()).owns(b"any"));
    }
}
