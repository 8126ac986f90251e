//! The verified segments of one file, each at its place.

use std::ops::Range;
use std::sync::OnceLock;

use super::{Content, SealedSegment};
use crate::manifest::SegmentId;

/// Where the segments of one file are kept. What is there stays, so that others may read a whole file
/// while the node goes on.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The number of its first segment.
    first: u32,
    places: Box<[OnceLock<SealedSegment>]>,
}

impl Shelf {
    /// Room for segments of these numbers.
    pub(super) fn new(segments: Range<u32>) -> Self {
        let first = segments.start;
        Self { first, places: segments.map(|_| OnceLock::new()).collect() }
    }

    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// Where a segment is kept; none where it is not of this file.
    pub(super) fn place(&self, segment: SegmentId) -> Option<&OnceLock<SealedSegment>> {
        self.places.get(segment.0.checked_sub(self.first)? as usize)
    }
}

impl Content for Shelf {
    type Segment = SealedSegment;

    fn segments(&self) -> impl Iterator<Item = &SealedSegment> + Clone {
        self.places.iter().map(|place| place.get().expect("a whole file is all here"))
    }
}
