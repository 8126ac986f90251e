//! The verified segments of a peer: one table behind a lock, which its two threads share.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use crate::manifest::SegmentId;
use crate::store::{FreshSegment, SealedSegment, Verified};

#[derive(Clone, Debug)]
pub(super) enum StoredSegment {
    /// Of a file that was here before the start.
    Own(SealedSegment),
    /// Received, in a buffer of its own.
    Fetched(FreshSegment),
}

impl Verified for StoredSegment {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(segment) => segment.bytes(),
            Self::Fetched(segment) => segment.bytes(),
        }
    }
}

/// All verified segments of a peer.
#[derive(Debug, Default)]
pub(super) struct SegmentTable(Mutex<HashMap<SegmentId, StoredSegment>>);

impl SegmentTable {
    pub(super) fn insert(&self, id: SegmentId, segment: StoredSegment) {
        self.lock().insert(id, segment);
    }

    /// Clones the handle, so that the lock is not held while the segment is sent.
    pub(super) fn segment(&self, id: SegmentId) -> Option<StoredSegment> {
        self.lock().get(&id).cloned()
    }

    /// All segments of a file, in order; none where one is missing.
    pub(super) fn whole(&self, ids: Range<u32>) -> Option<Vec<StoredSegment>> {
        let segments = self.lock();
        ids.map(|id| segments.get(&SegmentId(id)).cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SegmentId, StoredSegment>> {
        self.0.lock().expect("nothing that holds the lock panics")
    }
}
