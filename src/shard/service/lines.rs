//! The duty of finding addresses for `server` lines (`resolve`, `service=`, and names that were not known at start):
//! the first shard asks, for as long as its plan is in force, and tells all others. Start at [`begin`] and [`learn`].

use std::net::{IpAddr, ToSocketAddrs};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::{Http, Shard};
use crate::base::time::Mono;
use crate::http::local::Generation;
use crate::http::log::Text;
use crate::mail::{Found, Mail};
use crate::net::{clock, offload, runtime};
use crate::plan::GroupId;
use crate::plan::lines::{FoundPeer, How, LinePlan};
use crate::plan::model::LogLevel;
use crate::upstream::resolve::{Discovery, ResolveError};

/// How soon a name is asked for again, at the earliest.
const AGAIN_MIN: Duration = Duration::from_secs(1);

/// How long it takes, at most, until the system is asked again for names that it did not know.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// How often a wait looks whether its plan is in force.
const LOOK: Duration = Duration::from_secs(2);

/// Host not found.
const NXDOMAIN: u8 = 3;

/// Addresses that one name of the system may have.
const ADDRESSES_MAX: usize = 4096;

/// One line of one plan.
struct Duty {
    shard: Rc<Shard<Http>>,
    generation: Weak<Generation>,
    group: GroupId,
    line: usize,
}

/// Begins to look after the lines of a plan that comes into force. Only the first shard does.
pub(super) fn begin(shard: &Rc<Shard<Http>>, generation: &Rc<Generation>) {
    if shard.index.0 != 0 {
        return;
    }
    let mut unknown = Vec::new();
    for (group, plan) in generation.plan.groups.enumerate() {
        for (at, line) in plan.lines.iter().enumerate() {
            let duty = Duty {
                shard: shard.clone(),
                generation: Rc::downgrade(generation),
                group,
                line: at,
            };
            match line.how {
                How::Resolver { .. } => drop(runtime::spawn(duty.ask_servers())),
                How::System => unknown.push(duty),
            }
        }
    }
    for duty in &unknown {
        let line = &generation.plan.groups[duty.group].lines[duty.line];
        let text = format_args!(
            "host not found in upstream \"{}\", which does without it until it is found",
            Text(&line.like.server)
        );
        tell(generation, LogLevel::Error, text);
    }
    if !unknown.is_empty() {
        runtime::spawn(ask_system(unknown));
    }
}

/// Takes over what was found for a line of the plan in force.
pub(super) fn learn(generation: &Generation, found: &Found) {
    let gone = generation.groups.learn(&generation.plan.groups, found);
    generation.pool.forget(found.group, &gone);
}

impl Duty {
    /// The plan, while it is in force.
    fn generation(&self) -> Option<Rc<Generation>> {
        let generation = self.generation.upgrade()?;
        let current = self.shard.service.generation()?;
        (current.epoch == generation.epoch && !self.shard.draining()).then_some(generation)
    }

    /// Waits; false when the plan is no longer in force.
    async fn wait(&self, until: Mono) -> bool {
        loop {
            let left = until.since(clock::mono());
            if self.generation().is_none() {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            runtime::sleep(left.min(LOOK)).await;
        }
    }

    /// Asks the name servers again and again.
    async fn ask_servers(self) {
        loop {
            let Some(generation) = self.generation() else {
                return;
            };
            let lines = Arc::clone(&generation.plan.groups[self.group].lines);
            let line = &lines[self.line];
            let How::Resolver { resolver, timeout } = line.how else {
                return;
            };
            let Some(handle) = generation.resolvers.handle(resolver) else {
                return;
            };
            // What waits for an answer must not keep a plan alive.
            drop(generation);
            let answer = handle.find(line, timeout).await;
            let Some(generation) = self.generation() else {
                return;
            };
            let now = clock::mono();
            let again = match answer {
                Ok(found) => {
                    self.tell_lost(&generation, line, &found);
                    self.publish(&generation, found.peers);
                    found.until
                }
                Err(error) => {
                    tell_failed(&generation, line, error);
                    if error == ResolveError::Code(NXDOMAIN) {
                        self.publish(&generation, Vec::new());
                        now.after(handle.nothing_for())
                    } else {
                        // What was known is better than nothing.
                        now.after(timeout)
                    }
                }
            };
            drop(generation);
            if !self.wait(again.max(now.after(AGAIN_MIN))).await {
                return;
            }
        }
    }

    /// Gives all shards what was found, when it is something else than before.
    fn publish(&self, generation: &Generation, mut peers: Vec<FoundPeer>) {
        peers.sort();
        let group = generation.groups.group(self.group);
        if *group.found(self.line) == *peers {
            return;
        }
        let found = Arc::new(Found {
            epoch: generation.epoch,
            group: self.group,
            line: self.line,
            peers: peers.into(),
        });
        learn(generation, &found);
        let outbox = &self.shard.outbox;
        for n in 0..outbox.control().0 {
            if crate::mail::Target(n) != self.shard.index {
                // A shard that misses one asks dead addresses; there are as many as names that change.
                outbox.keep(crate::mail::Target(n), Mail::Found(Arc::clone(&found)));
            }
        }
    }

    fn tell_lost(&self, generation: &Generation, line: &LinePlan, found: &Discovery) {
        for (target, why) in &found.lost {
            let mut text = Vec::new();
            why.write(target, &mut text);
            let of = format_args!(
                "{} while resolving service {}",
                Text(&text),
                Text(&line.service)
            );
            tell(generation, LogLevel::Error, of);
        }
    }
}

fn tell(generation: &Generation, level: LogLevel, text: std::fmt::Arguments<'_>) {
    let logs = &generation.plan.error_logs;
    generation.logs.error_all(logs, level, text);
}

fn tell_failed(generation: &Generation, line: &LinePlan, error: ResolveError) {
    let mut text = Vec::new();
    error.write(line.question(), &mut text);
    let of = if line.service.is_empty() {
        ""
    } else {
        "service "
    };
    tell(
        generation,
        LogLevel::Error,
        format_args!("{of}{}", Text(&text)),
    );
}

/// Asks the system, one name after the other, until it knows all of them. One at a time, because a question may hold a
/// helper thread for long.
async fn ask_system(mut duties: Vec<Duty>) {
    let mut pause = AGAIN_MIN;
    while let Some(first) = duties.first() {
        if !first.wait(clock::mono().after(pause)).await {
            return;
        }
        pause = (pause * 2).min(AGAIN_MAX);
        let mut left = Vec::new();
        for duty in duties {
            let Some(generation) = duty.generation() else {
                return;
            };
            let line = &generation.plan.groups[duty.group].lines[duty.line];
            let host = line.host.clone();
            drop(generation);
            let addresses = offload::run(move || look_up(&host))
                .await
                .unwrap_or_default();
            let Some(generation) = duty.generation() else {
                return;
            };
            if addresses.is_empty() {
                left.push(duty);
                continue;
            }
            let line = &generation.plan.groups[duty.group].lines[duty.line];
            let text = format_args!("{} was found, its upstream does with it", Text(&line.host));
            tell(&generation, LogLevel::Notice, text);
            duty.publish(&generation, addresses);
        }
        duties = left;
    }
}

/// What the system says of a host. Blocks: for a helper thread.
#[expect(
    clippy::disallowed_methods,
    reason = "runs on a helper thread, which may block"
)]
fn look_up(host: &[u8]) -> Vec<FoundPeer> {
    let Ok(host) = std::str::from_utf8(host) else {
        return Vec::new();
    };
    let found = (host, 0).to_socket_addrs().into_iter().flatten();
    let mut addresses: Vec<IpAddr> = found.map(|at| at.ip()).take(ADDRESSES_MAX).collect();
    addresses.sort();
    addresses.dedup();
    let peer = |ip| FoundPeer {
        addr: (ip, 0).into(),
        target: bytes::Bytes::new(),
        backup: false,
        weight: 0,
    };
    addresses.into_iter().map(peer).collect()
}
