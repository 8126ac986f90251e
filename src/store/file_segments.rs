//! The verified segments of one file, each at its place.

use std::ops::Range;
use std::sync::OnceLock;

use super::{Content, SealedSegment};
use crate::manifest::SegmentId;

/// Keeps the verified segments of one file.
// A `OnceLock` a segment: the node sets places while the writer's thread reads others, and neither
// takes a lock. What was set never moves or changes, so the writer shares the file by `Arc`.
#[derive(Debug, Default)]
pub struct FileSegments {
    first: u32,
    places: Box<[OnceLock<SealedSegment>]>,
}

impl FileSegments {
    pub(super) fn new(segments: Range<u32>) -> Self {
        let first = segments.start;
        Self { first, places: segments.map(|_| OnceLock::new()).collect() }
    }

    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// The place of a segment; none where it is not of this file.
    pub(super) fn place(&self, segment: SegmentId) -> Option<&OnceLock<SealedSegment>> {
        self.places.get(segment.0.checked_sub(self.first)? as usize)
    }
}

impl Content for FileSegments {
    type Segment = SealedSegment;

    fn segments(&self) -> impl Iterator<Item = &SealedSegment> + Clone {
        self.places.iter().map(|place| place.get().expect("a whole file is all here"))
    }
}
