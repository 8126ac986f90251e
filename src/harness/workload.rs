//! Workloads as a plan writes them, and the scenarios that follow.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;

use super::copying::TreeWorkload;
use crate::config::ranges::{
    FileBytes, Files, MeasuredSegments, Peers, Seed, SegmentBytes, ThreadNodes, TreeBytes,
};
use crate::config::{Sweep, TooMany, choice, spread};
use crate::driver::prepare::slot_bytes;
#[cfg(feature = "mpi")]
use crate::manifest::NodeId;
use crate::manifest::{Owners, Popularity, Wanted, Workload, WorkloadError};
use crate::report::units::segments;
use crate::store::{Store, StoreError};
use crate::tree::SyntheticTree;

// Peers of a workload that names none, where no MPI job fixes the number.
// A few threads run on any machine. Chosen, not tuned.
const PEERS: u32 = 4;

choice! {
    /// Who has the files and who wants them.
    pub(crate) enum Shape {
        /// Peer 1 owns every file, all others want all of them.
        Broadcast = "broadcast",
        /// Files are assigned round-robin, and everybody wants all that it lacks: the classic exercise.
        AllToAll = "all-to-all",
        /// Files are assigned round-robin, and everybody wants half of all, drawn so that `file<k>` has a
        /// weight of 1/k.
        Zipf = "zipf",
        /// Real files and folders, made from the seed, of which every peer gets a copy.
        Tree = "tree",
    }
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
    /// Of each file; not of a tree.
    segments: Option<MeasuredSegments>,
    /// A file is at most this long: with large segments it has fewer of them.
    file_bytes_max: Option<FileBytes>,
    /// Payload of a segment; 0 moves the hash alone. Not of a tree.
    segment_bytes: Option<Sweep<SegmentBytes>>,
    /// Owners of each file, where files are assigned round-robin.
    owners: Option<Peers>,
    /// Files that each peer wants of those it lacks.
    wanted: Option<Files>,
    /// Of all files of a tree.
    bytes: Option<TreeBytes>,
    /// Where a tree and its copies lie, each with a name of its own; by default in memory.
    folder: Option<PathBuf>,
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
    #[error("the shape `{shape}` has no `{field}`: leave it out")]
    Foreign { shape: Shape, field: &'static str },
    #[error("the shape `{shape}` needs `{field}`: add it")]
    Lacking { shape: Shape, field: &'static str },
}

/// One workload: which every contender runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BenchScenario {
    /// What records call it; those that a sweep made share it.
    pub name: String,
    pub shape: Shape,
    pub workload: Workload,
    pub segment_bytes: usize,
    /// What is copied, where that is a tree; nothing of `workload` but its peers, files and seed counts then.
    pub tree: Option<TreeWorkload>,
}

impl WorkloadPlan {
    /// Every scenario of the lists, in their order. `ranks` is the number of peers of the MPI job, if
    /// there is one: a workload that names no number takes it.
    pub(crate) fn scenarios(
        &self,
        ranks: Option<u32>,
    ) -> Result<Vec<BenchScenario>, ScenarioError> {
        self.check_fields()?;
        let tree = self.tree();
        let segment_bytes = tree.as_ref().map_or(0, TreeWorkload::segment_bytes);
        // As `peers_of` has it.
        let peers = ranks.map_or(PEERS, |ranks| ranks + u32::from(tree.is_some()));
        let sizes = vec![(peers, segment_bytes)];
        let sizes = spread(sizes, self.peers.as_ref(), |one, peers| one.0 = peers.get())?;
        let sizes = spread(sizes, self.segment_bytes.as_ref(), |one, bytes| one.1 = bytes.get())?;
        let threads = if ranks.is_none() { sizes.iter().map(|one| one.0).max() } else { None };
        if let Some(peers) = threads.filter(|&peers| peers >= ThreadNodes::MOST) {
            return Err(ScenarioError::Threads { peers });
        }
        let scenario = |(peers, bytes)| -> Result<_, ScenarioError> {
            let made = self.scenario(peers, bytes)?;
            Ok(BenchScenario { tree: tree.clone(), ..made })
        };
        sizes.into_iter().map(scenario).collect()
    }

    /// Whether it has what its shape needs, and nothing else.
    fn check_fields(&self) -> Result<(), ScenarioError> {
        let (shape, is_tree) = (self.shape, self.shape == Shape::Tree);
        // Each with whether it is there, and whether it has to be.
        let of_segments = [
            ("segments", self.segments.is_some(), true),
            ("segment_bytes", self.segment_bytes.is_some(), true),
            ("file_bytes_max", self.file_bytes_max.is_some(), false),
            ("owners", self.owners.is_some(), false),
            ("wanted", self.wanted.is_some(), false),
        ];
        let of_tree =
            [("bytes", self.bytes.is_some(), true), ("folder", self.folder.is_some(), false)];
        let (of_tree, of_segments) = (of_tree.as_slice(), of_segments.as_slice());
        let (own, foreign) = if is_tree { (of_tree, of_segments) } else { (of_segments, of_tree) };
        if let Some(&(field, ..)) = foreign.iter().find(|(_, is_there, _)| *is_there) {
            return Err(ScenarioError::Foreign { shape, field });
        }
        match own.iter().find(|(_, is_there, is_needed)| *is_needed && !is_there) {
            Some(&(field, ..)) => Err(ScenarioError::Lacking { shape, field }),
            None => Ok(()),
        }
    }

    fn tree(&self) -> Option<TreeWorkload> {
        let (files, seed) = (self.files.get(), self.seed.get());
        // Without holes, which only some contenders skip: all move the same bytes.
        let tree = |bytes| SyntheticTree { files, bytes, has_holes: false, seed };
        let bytes = self.bytes.filter(|_| self.shape == Shape::Tree)?;
        Some(TreeWorkload { tree: tree(bytes.get()), folder: self.folder.clone() })
    }

    fn scenario(&self, peers: u32, segment_bytes: usize) -> Result<BenchScenario, WorkloadError> {
        let least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let dealt = Owners::Each(least_one(self.owners.map_or(1, Peers::get)));
        let half = least_one(self.files.get() / 2);
        let drawn =
            |default| self.wanted.map_or(default, |wanted| Wanted::Drawn(least_one(wanted.get())));
        let (owners, wanted, popularity) = match self.shape {
            Shape::Broadcast | Shape::Tree => {
                (Owners::First, drawn(Wanted::All), Popularity::Uniform)
            }
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
        let (name, shape) = (self.name.clone(), self.shape);
        Ok(BenchScenario { name, shape, workload, segment_bytes, tree: None })
    }

    fn segments_of(&self, segment_bytes: usize) -> u32 {
        let fitting = self.file_bytes_max.map_or(u64::MAX, |bytes| {
            (bytes.get() / u64::try_from(segment_bytes.max(1)).unwrap_or(u64::MAX)).max(1)
        });
        let segments = self.segments.map_or(0, MeasuredSegments::get);
        u32::try_from(fitting).unwrap_or(u32::MAX).min(segments)
    }
}

impl BenchScenario {
    /// What identifies it beside its name, for people: `4 peers, segments of 64 KiB`.
    pub(crate) fn size(&self) -> String {
        let moved = self.tree.as_ref().map(ToString::to_string);
        let moved = moved.unwrap_or_else(|| segments(self.segment_bytes));
        format!("{} peers, {moved}", self.workload.peers)
    }

    /// How many peers a job has for it, which has so many ranks beside rank 0: of a tree that has a copy, too.
    pub(crate) fn peers_of(&self, ranks: u32) -> u32 {
        ranks + u32::from(self.tree.is_some())
    }

    /// What identifies it beside its name, as records have it.
    pub(crate) fn parameters(&self) -> serde_json::Map<String, serde_json::Value> {
        let Workload { files, segments, owners, wanted, .. } = &self.workload;
        let mut parameters = serde_json::Map::new();
        let mut add = |name: &str, value| drop(parameters.insert(name.to_owned(), value));
        add("shape", self.shape.name().into());
        add("files", (*files).into());
        if let Some(tree) = &self.tree {
            add("bytes", tree.tree.bytes.into());
            // A disk is another thing than memory.
            add("folder", tree.folder().to_string_lossy().into());
        } else {
            add("owners", owners.to_string().into());
            add("wanted", wanted.to_string().into());
            add("segments_per_file", (*segments).into());
        }
        parameters
    }

    /// Checks that one process has memory for all its peers, each with `spare` slots.
    pub(crate) fn probe(&self, spare: usize) -> Result<(), StoreError> {
        if self.tree.is_some() {
            // A stage keeps itself to a part of what there is.
            return Ok(());
        }
        let inputs = usize::try_from(self.workload.input_bytes()).unwrap_or(usize::MAX);
        Store::probe(1, inputs)?;
        let held = usize::try_from(self.workload.segments_held()).unwrap_or(usize::MAX);
        let spare = spare.saturating_mul(self.workload.peers as usize);
        Store::probe(held.saturating_add(spare), slot_bytes(self.segment_bytes))
    }

    /// Bytes of memory that one rank needs: all inputs, and its own segments with `spare` slots.
    #[cfg(feature = "mpi")]
    pub(crate) fn rank_bytes(&self, node: NodeId, spare: usize) -> u64 {
        if self.tree.is_some() {
            return 0;
        }
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
    fn of_a_tree_every_rank_is_a_peer_and_shapes_have_their_own_fields() {
        let text = "name = \"w\"\nshape = \"tree\"\nfiles = 100\nbytes = \"1G\"\n";
        let tree = &scenarios(text, Some(3))[0];
        assert_eq!((tree.workload.peers, tree.peers_of(3), tree.segment_bytes), (4, 4, 1 << 20));
        assert_eq!(tree.size(), "4 peers, 100 files, 1 GiB");
        assert_eq!(scenarios(text, None)[0].workload.peers, PEERS);
        let said = |text: &str| {
            let plan: WorkloadPlan = toml::from_str(text).expect("a workload");
            plan.scenarios(None).expect_err("it is wrong").to_string()
        };
        let more = said(&format!("{text}segment_bytes = 1\n"));
        assert_eq!(more, "the shape `tree` has no `segment_bytes`: leave it out");
        let less = said("name = \"w\"\nshape = \"tree\"\n");
        assert_eq!(less, "the shape `tree` needs `bytes`: add it");
        let less = said("name = \"w\"\nshape = \"all-to-all\"\nsegments = 1\n");
        assert_eq!(less, "the shape `all-to-all` needs `segment_bytes`: add it");
    }

    #[test]
    fn workloads_without_peers_take_the_ranks() {
        let text = "name = \"w\"\nshape = \"broadcast\"\nsegments = 1\nsegment_bytes = 1\n";
        assert_eq!(scenarios(text, Some(11))[0].workload.peers, 11);
    }
}
