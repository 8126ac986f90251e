//! The index: who has which file. Three kinds behind one trait, so that the handout policy is written
//! once, and every kind gives the same handouts.

mod locked;
mod numbered;
pub mod copies;
mod sharded;

use std::fmt::Debug;

use crate::config;
use crate::manifest::{FileId, NodeId};
use copies::Copies;

pub use locked::LockedIndex;
pub use numbered::NumberedIndex;
pub use sharded::ShardedIndex;

/// The owners of a file, and the copies of its segments.
#[derive(Debug)]
pub struct FileSwarm<R> {
    /// Nodes that had the file from the start.
    pub owners: Box<[NodeId]>,
    /// Copies of its segments.
    pub copies: R,
}

impl<R: Copies> FileSwarm<R> {
    /// A file of `segments` segments that only its owners have.
    pub fn new(owners: &[NodeId], segments: usize) -> Self {
        Self { owners: owners.into(), copies: R::none_of(segments) }
    }
}

/// A kind of index.
pub trait SwarmIndex {
    /// What it keeps of a file's segments.
    type Copies: Copies;
    /// The open index.
    type Open<'a>: OpenIndex<Copies = Self::Copies>
    where
        Self: 'a;

    /// Opens the index for one handout. An index with one lock is locked from now on: to open it twice
    /// in one thread is a deadlock.
    fn open(&self) -> Self::Open<'_>;
}

/// An index that is open.
pub trait OpenIndex {
    /// What it keeps of a segment.
    type Copies: Copies;

    /// Looks at a registered file. An index with sharded locks locks the file's shard meanwhile: one
    /// look within another can be a deadlock.
    fn look<T>(&self, file: FileId, look: impl FnOnce(&FileSwarm<Self::Copies>) -> T) -> T;
}

/// The index of one swarm.
#[derive(Debug)]
pub(super) enum Files {
    Locked(LockedIndex),
    Sharded(ShardedIndex),
    Numbered(NumberedIndex),
}

impl Files {
    pub(super) fn new(kind: config::IndexKind) -> Self {
        match kind {
            config::IndexKind::Mutex => Self::Locked(LockedIndex::default()),
            config::IndexKind::DashMap => Self::Sharded(ShardedIndex::default()),
            config::IndexKind::Atomic => Self::Numbered(NumberedIndex::default()),
        }
    }

    /// Enters a file; files come in the order of their numbers.
    pub(super) fn register(&mut self, file: FileId, owners: &[NodeId], segments: usize) {
        match self {
            Self::Locked(index) => index.insert(file, FileSwarm::new(owners, segments)),
            Self::Sharded(index) => index.insert(file, FileSwarm::new(owners, segments)),
            Self::Numbered(index) => index.insert(file, FileSwarm::new(owners, segments)),
        }
    }
}
