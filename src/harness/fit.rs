//! Whether what a plan wants fits into memory, asked before any of it is touched.

use super::plan::{Plan, PlannedContender};
use super::switches::ContenderKind;
use super::tracker_load::{TrackerCase, TrackerPlan};
use super::workload::BenchScenario;
use crate::store::available_bytes;

/// What needs more memory than there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {needed} bytes of memory, {available} are available: use fewer peers or segments, or smaller ones"
)]
pub(crate) struct MemoryError {
    what: String,
    needed: u64,
    available: u64,
}

/// The slots of a peer beyond its segments: of the contender that has the most.
pub(crate) fn spare_slots(plan: &Plan, scenario: &BenchScenario, has_links: bool) -> usize {
    let lockfree = |entry: &&PlannedContender| entry.engine == ContenderKind::Lockfree;
    let config =
        |entry: &PlannedContender| entry.switches.config(scenario.segment_bytes, has_links);
    let lockfree = plan.contenders.iter().filter(lockfree);
    lockfree.map(|entry| config(entry).spare_slots()).max().unwrap_or(0)
}

/// Checks that this process has memory for each load of the tracker.
///
/// # Errors
///
/// The first that it has not.
pub(crate) fn tracker(plan: &TrackerPlan) -> Result<(), MemoryError> {
    tracker_within(plan, available_bytes())
}

fn tracker_within(plan: &TrackerPlan, available: u64) -> Result<(), MemoryError> {
    let short = |case: &TrackerCase| case.needed_bytes() > available;
    match plan.cases().unwrap_or_default().iter().find(|case| short(case)) {
        None => Ok(()),
        Some(case) => {
            let (peers, segments) = (case.peers, case.segments);
            let what = format!("[tracker]: {peers} peers of {segments} segments need");
            Err(MemoryError { what, needed: case.needed_bytes(), available })
        }
    }
}

#[cfg(feature = "mpi")]
mod ranks {
    use mpi::topology::{Communicator as _, SimpleCommunicator};

    use super::{MemoryError, spare_slots};
    use crate::harness::plan::Plan;
    use crate::manifest::NodeId;
    use crate::store::{available_bytes, group_word};
    use crate::transport::mpi::{HostSums, sum_here};

    // Bytes that one rank counts for, at most: more than any machine has, and the sums of 65,536 ranks still
    // fit into 64 bits.
    const RANK_BYTES_MAX: u64 = 1 << 48;

    /// Checks that this rank has memory for each workload, and this host for all of its ranks: then the lowest
    /// of them says so. Collective.
    ///
    /// # Errors
    ///
    /// The first workload for which it is not there.
    pub(crate) fn rank(
        plan: &Plan,
        world: &SimpleCommunicator,
        has_links: bool,
    ) -> Result<(), MemoryError> {
        let node = NodeId(u32::try_from(world.rank()).expect("ranks are not negative"));
        let peers = u32::try_from(world.size() - 1).expect("a job has ranks");
        let needs = plan.scenarios.iter().map(|scenario| {
            // It is not run.
            if scenario.workload.peers != scenario.peers_of(peers) {
                return 0;
            }
            let spare = spare_slots(plan, scenario, has_links);
            scenario.rank_bytes(node, spare).min(RANK_BYTES_MAX)
        });
        let needs: Vec<u64> = needs.collect();
        let HostSums { sums, ranks, is_lowest, is_one_group } =
            sum_here(world, &needs, group_word());
        let available = available_bytes();
        for (scenario, (mine, all)) in plan.scenarios.iter().zip(needs.into_iter().zip(sums)) {
            let what = format!("workload \"{}\", {}", scenario.name, scenario.size());
            // Ranks in control groups of their own may each have all of what is available to it.
            if is_one_group && all > available {
                let what = format!("{what}: the {ranks} ranks of this host need");
                let short = MemoryError { what, needed: all, available };
                return if is_lowest { Err(short) } else { Ok(()) };
            }
            if mine > available {
                return Err(MemoryError {
                    what: format!("{what}: needs"),
                    needed: mine,
                    available,
                });
            }
        }
        Ok(())
    }
}

#[cfg(feature = "mpi")]
pub(crate) use ranks::rank;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_of_the_tracker_without_memory_is_refused_with_what_it_needs() {
        let text = "peers = [2, 100000]\nsegments = 10000000\nservice_threads = 1\nhandout = 16\n\
                    seconds = 1.0\n";
        let plan: TrackerPlan = toml::from_str(text).expect("a plan");
        let error = tracker_within(&plan, 64 << 30).expect_err("125 GB of bits").to_string();
        let begins = "[tracker]: 100000 peers of 10000000 segments need 1";
        assert!(error.starts_with(begins), "{error}");
        assert!(
            error.contains(" bytes of memory, 68719476736 are available: use fewer"),
            "{error}"
        );
        assert_eq!(tracker_within(&plan, u64::MAX), Ok(()));
    }
}
