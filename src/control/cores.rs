//! Which core each shard's thread runs on.
//!
//! Start at [`pins`].

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::config::model::{CpuAffinity, Main};

/// For each shard the cores it may use; `None` leaves the choice to the kernel.
///
/// Differs from nginx: without `worker_cpu_affinity`, as many shards as there are cores get one each. Fewer shards are
/// left alone, because other processes would choose the same first cores.
#[must_use]
pub fn pins(main: &Main, shards: usize) -> Vec<Option<CpuSet>> {
    let allowed = allowed();
    let one_each = |cores: &[usize]| -> Vec<Option<CpuSet>> {
        (0..shards)
            .map(|shard| Some(set(&[*cores.get(shard % cores.len().max(1))?])))
            .collect()
    };
    match &main.worker_cpu_affinity {
        CpuAffinity::None if shards == allowed.len() => one_each(&allowed),
        CpuAffinity::None => vec![None; shards],
        CpuAffinity::Auto(None) => one_each(&allowed),
        CpuAffinity::Auto(Some(mask)) => one_each(&cores(mask)),
        CpuAffinity::Masks(masks) => {
            let mask = |shard: usize| {
                masks
                    .get(shard)
                    .or_else(|| masks.last())
                    .map(|mask| set(&cores(mask)))
            };
            (0..shards).map(mask).collect()
        }
    }
}

/// Pins the current thread. A core that is not there is nothing to fail for.
pub fn pin(cores: Option<&CpuSet>) {
    if let Some(cores) = cores {
        sched_setaffinity(None, cores).ok();
    }
}

fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect()
}

fn cores(mask: &[bool]) -> Vec<usize> {
    mask.iter()
        .enumerate()
        .filter(|(core, wanted)| **wanted && *core < CpuSet::MAX_CPU)
        .map(|(core, _)| core)
        .collect()
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(affinity: CpuAffinity, shards: usize) -> Vec<Option<Vec<usize>>> {
        let main = Main {
            worker_cpu_affinity: affinity,
            ..Main::default()
        };
        let list = |set: CpuSet| {
            (0..CpuSet::MAX_CPU)
                .filter(|core| set.is_set(*core))
                .collect()
        };
        pins(&main, shards)
            .into_iter()
            .map(|pin| pin.map(list))
            .collect()
    }

    #[test]
    fn masks_go_to_shards_in_order_and_the_last_one_to_the_rest() {
        let masks = CpuAffinity::Masks(vec![vec![true], vec![false, true, true]]);
        assert_eq!(
            numbers(masks, 3),
            [Some(vec![0]), Some(vec![1, 2]), Some(vec![1, 2])]
        );
        let auto = CpuAffinity::Auto(Some(vec![false, true, false, true]));
        assert_eq!(
            numbers(auto, 3),
            [Some(vec![1]), Some(vec![3]), Some(vec![1])]
        );
    }

    #[test]
    fn only_as_many_shards_as_cores_are_pinned_unasked() {
        let count = allowed().len();
        assert!(
            numbers(CpuAffinity::None, count)
                .iter()
                .all(Option::is_some)
        );
        assert_eq!(numbers(CpuAffinity::None, count + 1), vec![None; count + 1]);
        assert!(
            numbers(CpuAffinity::Auto(None), count + 1)
                .iter()
                .all(Option::is_some)
        );
    }
}
