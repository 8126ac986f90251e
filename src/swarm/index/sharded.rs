//! A [`DashMap`] of atomics: sharded read-write locks, not a lock-free map.
//!
//! Once the swarm is open nobody writes to the map itself, only to the atomics in it, so that its
//! locks are taken for reading alone. Even so every look-up writes to the lock of its shard, which
//! is one for all look-ups of one file.

use dashmap::DashMap;
use rustc_hash::FxBuildHasher;

use super::copies::AtomicCopies;
use super::{FileSwarm, OpenIndex, SwarmIndex};
use crate::manifest::FileId;

type ShardedMap = DashMap<FileId, FileSwarm<AtomicCopies>, FxBuildHasher>;

/// Atomics in a sharded map.
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
