//! No map at all: files are numbered at registration, and the number is the place. After that
//! nothing is written but atomics, so that there is nothing to lock.

use super::record::SegmentRecord;
use super::{FileSwarm, Index, Open};
use crate::manifest::FileId;

/// Atomics in a slice.
#[derive(Debug, Default)]
pub(in crate::swarm) struct NumberedIndex {
    files: Vec<FileSwarm<SegmentRecord>>,
}

impl NumberedIndex {
    /// # Panics
    ///
    /// When files come out of order.
    pub(super) fn insert(&mut self, file: FileId, swarm: FileSwarm<SegmentRecord>) {
        assert_eq!(file.index(), self.files.len(), "files are registered in their order");
        self.files.push(swarm);
    }
}

impl Index for NumberedIndex {
    type Record = SegmentRecord;
    type Open<'a> = &'a [FileSwarm<SegmentRecord>];

    fn open(&self) -> &[FileSwarm<SegmentRecord>] {
        &self.files
    }
}

impl Open for &[FileSwarm<SegmentRecord>] {
    type Record = SegmentRecord;

    fn look<T>(&self, file: FileId, look: impl FnOnce(&FileSwarm<SegmentRecord>) -> T) -> T {
        look(&self[file.index()])
    }
}
