//! What a worker's shards are built of, and why something is not as it was asked for: the lines of the start-up log.
//! Start at [`lines`].

use rustix::thread::CpuSet;

use crate::config::model::{CpuAffinity, Main};
use crate::net::runtime::{self, Choice, Driver};
use crate::net::splice;

/// The core of each shard that has one to itself.
#[must_use]
pub fn own_cores(pins: &[Option<CpuSet>]) -> Vec<Option<usize>> {
    let one = |set: &CpuSet| {
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
        cores.next().filter(|_| cores.next().is_none())
    };
    pins.iter().map(|pin| pin.as_ref().and_then(one)).collect()
}

/// Whether each shard has a core that no other one has.
fn are_apart(cores: &[Option<usize>]) -> bool {
    let mut known: Vec<usize> = cores.iter().copied().flatten().collect();
    known.sort_unstable();
    known.dedup();
    known.len() == cores.len()
}

/// The cores to which connections are steered; none where they are not.
#[must_use]
pub fn steered(main: &Main, cores: &[Option<usize>]) -> Option<Vec<Option<usize>>> {
    (main.engine.steering && are_apart(cores)).then(|| cores.to_vec())
}

/// What is told when a worker has started.
#[must_use]
pub fn lines(main: &Main, choice: &Choice, cores: &[Option<usize>]) -> Vec<String> {
    let name = choice.driver.name();
    let method = match choice.reason.as_str() {
        "" => format!("using the \"{name}\" event method"),
        reason => format!("using the \"{name}\" event method ({reason})"),
    };
    let engine = &main.engine;
    let ring = match choice.driver {
        Driver::Ring => format!(
            "ring of {}",
            runtime::describe_ring(engine.ring_entries, engine.busy_poll)
        ),
        Driver::Epoll => "no ring".to_owned(),
    };
    let busy = match engine.busy_poll.as_micros() {
        0 => "busy polling off".to_owned(),
        micros => format!("busy polling for {micros}us"),
    };
    let (count, bytes) = engine.buffers;
    vec![
        method,
        format!("shards: {}, {}", cores.len(), pinned(main, cores)),
        format!("shard: {ring}, {busy}, {}", steering(main, cores)),
        format!(
            "shard: {count} buffers of each size in {} KiB at most, {}",
            bytes >> 10,
            pipes(engine.pipe_size)
        ),
    ]
}

fn pinned(main: &Main, cores: &[Option<usize>]) -> String {
    let numbers: Vec<String> = cores
        .iter()
        .map(|core| core.map_or_else(|| "-".to_owned(), |core| core.to_string()))
        .collect();
    if cores.iter().any(Option::is_some) {
        return format!("on cores {}", numbers.join(" "));
    }
    match main.worker_cpu_affinity {
        CpuAffinity::None => "not pinned (not one for each core, and no worker_cpu_affinity)",
        _ => "on the cores of their masks",
    }
    .to_owned()
}

fn steering(main: &Main, cores: &[Option<usize>]) -> String {
    if !main.engine.steering {
        return "steering off".to_owned();
    }
    if !are_apart(cores) {
        return "steering off (not every shard has a core of its own)".to_owned();
    }
    "steering by core".to_owned()
}

fn pipes(want: usize) -> String {
    match splice::pipe_bytes(want) {
        Some(bytes) if bytes >= want => format!("pipes of {} KiB", bytes >> 10),
        Some(bytes) => format!(
            "pipes of {} KiB and not {} (fs.pipe-max-size, or too many pipes of this user)",
            bytes >> 10,
            want >> 10
        ),
        None => "no pipes for splicing (fs.pipe-user-pages-soft, or no descriptors)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoll() -> Choice {
        runtime::probe(runtime::Prefer::Epoll)
    }

    #[test]
    fn what_was_chosen_is_told_with_its_reasons() {
        let mut main = Main::default();
        main.engine.pipe_size = 1 << 30;
        let told = lines(&main, &epoll(), &[None, None]).join("\n");
        for text in [
            "using the \"epoll\" event method (epoll was asked for)",
            "shards: 2, not pinned",
            "no ring, busy polling off, steering off",
            "1024 buffers of each size in 4096 KiB at most",
            "KiB and not 1048576 (fs.pipe-max-size",
        ] {
            assert!(told.contains(text), "{text}: {told}");
        }
        main.engine.steering = true;
        main.engine.busy_poll = std::time::Duration::from_micros(50);
        main.engine.pipe_size = 64 << 10;
        let told = lines(&main, &epoll(), &[Some(1), Some(0)]).join("\n");
        for text in [
            "on cores 1 0",
            "busy polling for 50us, steering by core",
            "pipes of 64 KiB",
        ] {
            assert!(told.contains(text), "{text}: {told}");
        }
        let told = lines(&main, &epoll(), &[Some(1), Some(1)]).join("\n");
        assert!(told.contains("steering off (not every shard"), "{told}");
    }

    #[test]
    fn only_shards_with_cores_of_their_own_are_steered_to() {
        let mut main = Main::default();
        assert_eq!(steered(&main, &[Some(0), Some(1)]), None);
        main.engine.steering = true;
        assert_eq!(steered(&main, &[Some(0), Some(0)]), None);
        assert_eq!(steered(&main, &[Some(0), None]), None);
        let both = vec![Some(0), Some(1)];
        assert_eq!(steered(&main, &both), Some(both.clone()));
        let mut two = CpuSet::new();
        two.set(1);
        assert_eq!(own_cores(&[Some(two), None]), [Some(1), None]);
        two.set(2);
        assert_eq!(own_cores(&[Some(two)]), [None]);
    }
}
