//! No map at all: files are numbered at registration, and the number is the place. After that
//! nothing is written but atomics, so that there is nothing to lock.

use super::copies::AtomicCopies;
use super::{FileSwarm, OpenIndex, SwarmIndex};
use crate::manifest::FileId;

/// Atomics in a slice.
#[derive(Debug, Default)]
pub struct NumberedIndex {
    files: Vec<FileSwarm<AtomicCopies>>,
}

impl NumberedIndex {
    /// Enters a file.
    ///
    /// # Panics
    ///
    /// When files come out of order.
    pub fn insert(&mut self, file: FileId, swarm: FileSwarm<AtomicCopies>) {
        assert_eq!(file.index(), self.files.len(), "files are registered in their order");
        self.files.push(swarm);
    }
}

impl SwarmIndex for NumberedIndex {
    type Copies = AtomicCopies;
    type Open<'a> = &'a [FileSwarm<AtomicCopies>];

    fn open(&self) -> &[FileSwarm<AtomicCopies>] {
        &self.files
    }
}

impl OpenIndex for &[FileSwarm<AtomicCopies>] {
    type Copies = AtomicCopies;

    fn look<T>(&self, file: FileId, look: impl FnOnce(&FileSwarm<AtomicCopies>) -> T) -> T {
        look(&self[file.index()])
    }
}
