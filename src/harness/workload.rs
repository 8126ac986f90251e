//! Workloads as a plan writes them, and the scenarios that follow.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::config::ranges::{
    FileBytes, Files, MeasuredSegments, Peers, Seed, SegmentBytes, ThreadNodes,
};
use crate::config::{Sweep, TooMany, spread};
use crate::driver::prepare::slot_bytes;
#[cfg(feature = "mpi")]
use crate::manifest::NodeId;
use crate::manifest::{Owners, Popularity, Wanted, Workload, WorkloadError};
use crate::report::units::segments;
use crate::store::{Store, StoreError};

// Peers of a workload that names none, where no MPI job fixes the number.
// A few threads run on any machine. Chosen, not tuned.
const PEERS: u32 = 4;

/// Who has the files and who wants them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Shape {
    /// Peer 1 owns every file, all others want all of them.
    Broadcast,
    /// Files are assigned round-robin, and everybody wants all that it lacks: the classic exercise.
    AllToAll,
    /// Files are assigned round-robin, and everybody wants half of all, drawn so that `file<k>` has a
    /// weight of 1/k.
    Zipf,
}

/// A workload of a plan. `segment_bytes` and `peers` may be lists.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WorkloadPlan {
    pub name: String,
    shape: Shape,
    /// By default all ranks but the tracker; 4 with threads.
    peers: Option<Sweep<Peers>>,
    #[serde(default)]
    files: Files,
    segments: MeasuredSegments,
    /// A file is at most this long: with large segments it has fewer of them.
    file_bytes_max: Option<FileBytes>,
    /// Payload of a segment; 0 moves the hash alone.
    segment_bytes: Sweep<SegmentBytes>,
    /// Owners of each file, where files are assigned round-robin.
    owners: Option<Peers>,
    /// Files that each peer wants of those it lacks.
    wanted: Option<Files>,
    #[serde(default)]
    seed: Seed,
}

/// Why a workload of a plan can't be measured.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum ScenarioError {
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error(transparent)]
    TooMany(#[from] TooMany),
    #[error(
        "{peers} peers are too many threads: use 1 to {most}, or start ranks with mpirun",
        most = ThreadNodes::MOST - 1
    )]
    Threads { peers: u32 },
}

/// One workload: which every contender runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BenchScenario {
    /// What records call it; those that a sweep made share it.
    pub name: String,
    pub shape: Shape,
    pub workload: Workload,
    pub segment_bytes: usize,
}

impl WorkloadPlan {
    /// Every scenario of the lists, in their order. `ranks` is the number of peers of the MPI job, if
    /// there is one: a workload that names no number takes it.
    pub(crate) fn scenarios(
        &self,
        ranks: Option<u32>,
    ) -> Result<Vec<BenchScenario>, ScenarioError> {
        let sizes = vec![(ranks.unwrap_or(PEERS), 0)];
        let sizes = spread(sizes, self.peers.as_ref(), |one, peers| one.0 = peers.get())?;
        let sizes = spread(sizes, Some(&self.segment_bytes), |one, bytes| one.1 = bytes.get())?;
        let threads = if ranks.is_none() { sizes.iter().map(|one| one.0).max() } else { None };
        if let Some(peers) = threads.filter(|&peers| peers >= ThreadNodes::MOST) {
            return Err(ScenarioError::Threads { peers });
        }
        let scenario = |(peers, bytes)| self.scenario(peers, bytes).map_err(ScenarioError::from);
        sizes.into_iter().map(scenario).collect()
    }

    fn scenario(&self, peers: u32, segment_bytes: usize) -> Result<BenchScenario, WorkloadError> {
        let least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let dealt = Owners::Each(least_one(self.owners.map_or(1, Peers::get)));
        let half = least_one(self.files.get() / 2);
        let drawn =
            |default| self.wanted.map_or(default, |wanted| Wanted::Drawn(least_one(wanted.get())));
        let (owners, wanted, popularity) = match self.shape {
            Shape::Broadcast => (Owners::First, drawn(Wanted::All), Popularity::Uniform),
            Shape::AllToAll => (dealt, drawn(Wanted::All), Popularity::Uniform),
            Shape::Zipf => (dealt, drawn(Wanted::Drawn(half)), Popularity::Zipf(1.0)),
        };
        let workload = Workload {
            peers,
            files: self.files.get(),
            segments: self.segments_of(segment_bytes),
            owners,
            wanted,
            popularity,
            seed: self.seed.get(),
        };
        workload.check()?;
        Ok(BenchScenario { name: self.name.clone(), shape: self.shape, workload, segment_bytes })
    }

    fn segments_of(&self, segment_bytes: usize) -> u32 {
        let fitting = self.file_bytes_max.map_or(u64::MAX, |bytes| {
            (bytes.get() / u64::try_from(segment_bytes.max(1)).unwrap_or(u64::MAX)).max(1)
        });
        u32::try_from(fitting).unwrap_or(u32::MAX).min(self.segments.get())
    }
}

impl BenchScenario {
    /// What identifies it beside its name, for people: `4 peers, segments of 64 KiB`.
    pub(crate) fn size(&self) -> String {
        format!("{} peers, {}", self.workload.peers, segments(self.segment_bytes))
    }

    /// Checks that one process has memory for all its peers, each with `spare` slots.
    pub(crate) fn probe(&self, spare: usize) -> Result<(), StoreError> {
        let inputs = usize::try_from(self.workload.input_bytes()).unwrap_or(usize::MAX);
        Store::probe(1, inputs)?;
        let held = usize::try_from(self.workload.segments_held()).unwrap_or(usize::MAX);
        let spare = spare.saturating_mul(self.workload.peers as usize);
        Store::probe(held.saturating_add(spare), slot_bytes(self.segment_bytes))
    }

    /// Bytes of memory that one rank needs: all inputs, and its own segments with `spare` slots.
    #[cfg(feature = "mpi")]
    pub(crate) fn rank_bytes(&self, node: NodeId, spare: usize) -> u64 {
        let held = match node {
            NodeId::TRACKER => 0,
            peer => usize::try_from(self.workload.segments_held_by(peer)).unwrap_or(usize::MAX),
        };
        let slots = if held == 0 { 0 } else { held.saturating_add(spare) };
        let segments = Store::needed_bytes(slots, slot_bytes(self.segment_bytes));
        self.workload.input_bytes().saturating_add(segments)
    }

    pub(crate) fn is_broadcast(&self) -> bool {
        self.workload.owners == Owners::First && self.workload.wanted == Wanted::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenarios(text: &str, ranks: Option<u32>) -> Vec<BenchScenario> {
        let plan: WorkloadPlan = toml::from_str(text).expect("a workload");
        plan.scenarios(ranks).expect("its numbers fit")
    }

    #[test]
    fn lists_give_their_product() {
        let text = "name = \"w\"\nshape = \"all-to-all\"\nfiles = 4\nsegments = 64\n\
                    file_bytes_max = 32768\npeers = [2, 3]\nsegment_bytes = [0, 1024, 65536]\n";
        let all = scenarios(text, Some(9));
        let sizes: Vec<_> = all
            .iter()
            .map(|one| (one.workload.peers, one.segment_bytes, one.workload.segments))
            .collect();
        let expected =
            [(2, 0, 64), (2, 1024, 32), (2, 65536, 1), (3, 0, 64), (3, 1024, 32), (3, 65536, 1)];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn shapes_say_who_owns_and_who_wants() {
        let of = |shape: &str, more: &str| {
            let text = format!(
                "name = \"w\"\nshape = \"{shape}\"\nfiles = 6\nsegments = 1\nsegment_bytes = 1\n{more}"
            );
            scenarios(&text, None)[0].clone()
        };
        let broadcast = of("broadcast", "");
        assert!(broadcast.is_broadcast());
        assert_eq!(broadcast.workload.peers, PEERS);
        assert!(!of("broadcast", "wanted = 2").is_broadcast());
        let classic = of("all-to-all", "owners = 2").workload;
        assert_eq!(classic.owners, Owners::Each(NonZeroU32::new(2).expect("not zero")));
        let zipf = of("zipf", "").workload;
        assert_eq!(zipf.popularity, Popularity::Zipf(1.0));
        assert_eq!(zipf.wanted, Wanted::Drawn(NonZeroU32::new(3).expect("not zero")));
    }

    #[test]
    fn workloads_without_peers_take_the_ranks() {
        let text = "name = \"w\"\nshape = \"broadcast\"\nsegments = 1\nsegment_bytes = 1\n";
        assert_eq!(scenarios(text, Some(11))[0].workload.peers, 11);
    }
}
