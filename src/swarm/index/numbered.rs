//! A slice by file number: files are numbered at registration, so that no map is needed. Once the
//! swarm is open only atomics are written, and nothing needs a lock.

use super::copies::AtomicCopies;
use super::{FileSwarm, OpenIndex, SwarmIndex};
use crate::manifest::FileId;

/// A slice of atomics.
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
