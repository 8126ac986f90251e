//! The index: who has which file. Three kinds behind one trait, so that the handout policy is written
//! once, and every kind gives the same handouts.

mod locked;
mod numbered;
pub mod copies;
mod sharded;

use std::fmt::Debug;

use crate::config;
use crate::manifest::{FileId, NodeId};
use crate::sync::{AtomicU32, Ordering};
use copies::Copies;

pub use locked::LockedIndex;
pub use numbered::NumberedIndex;
pub use sharded::ShardedIndex;

/// The owners of a file, and the copies of its segments.
#[derive(Debug)]
pub struct FileSwarm<R> {
    /// Nodes that had the file from the start, or, of a late file, those that can read it.
    pub owners: Box<[NodeId]>,
    /// Copies of its segments.
    pub copies: R,
    // A reader is to its segments what an owner is to all segments of its file.
    /// Of a late file, who has read each segment: 0 for nobody, else the place among the owners from 1.
    readers: Option<Box<[AtomicU32]>>,
}

impl<R: Copies> FileSwarm<R> {
    /// A file of `segments` segments that only its owners have.
    pub fn new(owners: &[NodeId], segments: usize) -> Self {
        Self { owners: owners.into(), copies: R::none_of(segments), readers: None }
    }

    /// A file of `segments` segments that nobody has, until a source has read them.
    pub fn late(sources: &[NodeId], segments: usize) -> Self {
        let readers = (0..segments).map(|_| AtomicU32::new(0)).collect();
        Self { readers: Some(readers), ..Self::new(sources, segments) }
    }

    /// Whether each segment has an owner of its own.
    pub fn is_late(&self) -> bool {
        self.readers.is_some()
    }

    /// Who had the segment at `place` first: all owners of the file, or the one who read it.
    #[inline]
    pub fn owners_of(&self, place: usize) -> &[NodeId] {
        let Some(readers) = &self.readers else { return &self.owners };
        // ORDERING: Relaxed; the number is the whole message, as with a fresh holder's rank.
        match readers[place].load(Ordering::Relaxed) as usize {
            0 => &[],
            reader => &self.owners[reader - 1..reader],
        }
    }

    /// A source has read the segment at `place`.
    pub fn set_reader(&self, place: usize, source: NodeId) {
        let position = self.owners.iter().position(|&owner| owner == source);
        let number = position.and_then(|position| u32::try_from(position + 1).ok());
        if let (Some(readers), Some(number)) = (&self.readers, number) {
            // ORDERING: Relaxed; see `owners_of`.
            readers[place].store(number, Ordering::Relaxed);
        }
    }
}

/// A file in an index of any kind, for what is rarely done.
pub(super) trait AnyFile {
    /// `peer` has a segment from the start.
    fn hold(&self, place: usize, peer: NodeId);

    /// A source has read a segment; returns whether nobody else has it.
    fn read(&self, place: usize, source: NodeId) -> bool;

    /// Who has read a segment of a late file, if nobody else has it or is being sent it.
    fn unseeded_reader(&self, place: usize) -> Option<NodeId>;

    /// Verified copies, not counting the owners'.
    fn copies(&self, place: usize) -> u32;

    /// Whether any of its owners or fresh holders fulfils a condition.
    fn any_holder(&self, place: usize, fits: &dyn Fn(NodeId) -> bool) -> bool;
}

impl<R: Copies> AnyFile for FileSwarm<R> {
    fn hold(&self, place: usize, peer: NodeId) {
        self.copies.hand_out(place);
        self.copies.announce(place, peer);
    }

    fn read(&self, place: usize, source: NodeId) -> bool {
        self.set_reader(place, source);
        self.copies.tally(place).is_unseeded()
    }

    fn unseeded_reader(&self, place: usize) -> Option<NodeId> {
        let is_unseeded = self.is_late() && self.copies.tally(place).is_unseeded();
        self.owners_of(place).first().copied().filter(|_| is_unseeded)
    }

    fn copies(&self, place: usize) -> u32 {
        self.copies.tally(place).copies
    }

    fn any_holder(&self, place: usize, fits: &dyn Fn(NodeId) -> bool) -> bool {
        self.owners_of(place).iter().copied().any(fits) || self.copies.holders(place).any(fits)
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

    /// Enters a late file; files come in the order of their numbers.
    pub(super) fn register_late(&mut self, file: FileId, sources: &[NodeId], segments: usize) {
        match self {
            Self::Locked(index) => index.insert(file, FileSwarm::late(sources, segments)),
            Self::Sharded(index) => index.insert(file, FileSwarm::late(sources, segments)),
            Self::Numbered(index) => index.insert(file, FileSwarm::late(sources, segments)),
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
