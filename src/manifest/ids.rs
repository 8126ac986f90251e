//! The numbers of nodes, files and segments, as they stand in messages.

use std::fmt;

/// A node of the swarm: a rank of the job, or a thread in its place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct NodeId(pub u32);

impl NodeId {
    /// Rank 0, which tracks and never downloads.
    // By convention of MPI programs rank 0 leads; every rank knows it without a message.
    pub const TRACKER: Self = Self(0);

    /// The node's place in tables indexed by rank.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {}", self.0)
    }
}

/// A file, numbered by the tracker when the swarm opens.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct FileId(pub u32);

impl FileId {
    /// The file's place in tables indexed by file.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A segment, numbered through all files of the swarm: those of one file follow each other.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct SegmentId(pub u32);

impl SegmentId {
    /// The segment's place in tables indexed by segment.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
