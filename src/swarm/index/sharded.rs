//! A [`DashMap`] of atomics: sharded read-write locks, not a lock-free map.
//!
//! Once the swarm is open only the atomics in the map are written, and its locks are taken for reading.
//! Even so every look-up writes to the lock word of its shard, and look-ups of one file share it.

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;

use super::copies::AtomicCopies;
use super::{FileSwarm, OpenIndex, SwarmIndex};
use crate::manifest::FileId;

type ShardedMap = DashMap<FileId, FileSwarm<AtomicCopies>, FxBuildHasher>;

/// A sharded map of atomics.
#[derive(Debug, Default)]
pub struct ShardedIndex {
    map: ShardedMap,
}

impl ShardedIndex {
    /// Enters a file.
    pub fn insert(&mut self, file: FileId, swarm: FileSwarm<AtomicCopies>) {
        self.map.insert(file, swarm);
    }
}

impl SwarmIndex for ShardedIndex {
    type Copies = AtomicCopies;
    type Open<'a> = &'a ShardedMap;

    fn open(&self) -> &ShardedMap {
        &self.map
    }
}

impl OpenIndex for &ShardedMap {
    type Copies = AtomicCopies;

    fn look<T>(&self, file: FileId, look: impl FnOnce(&FileSwarm<AtomicCopies>) -> T) -> T {
        look(&self.get(&file).expect("every numbered file was registered"))
    }
}
