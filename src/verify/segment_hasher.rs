//! Digests of segments, computed in parts: between two of them the thread can do something else.

use std::mem;

use super::merkle::{self, RootOverParts};
use super::{Digest, LEAF_BYTES};

/// What is hashed in one go, at most.
// 16 leaves: a core hashes them in 0.1 to 0.2 ms, which is as long as a rank that rests may take to answer anyway.
// A power of two times a leaf, so that each part but the last is a subtree of its own.
pub(crate) const SEGMENT_PART_BYTES: usize = 16 * LEAF_BYTES;

/// Hashes one segment after the other.
#[derive(Debug, Default)]
pub(crate) struct SegmentHasher {
    /// How many bytes of the segment are hashed.
    hashed: usize,
    parts: RootOverParts,
}

impl SegmentHasher {
    /// Hashes the next part of a segment, if that has at most `bytes_max` bytes; returns how many those were,
    /// and with the last part the digest, as of [`Digest::of_segment`]. The same segment must come until then.
    pub(crate) fn advance(&mut self, payload: &[u8], bytes_max: usize) -> (usize, Option<Digest>) {
        let rest = &payload[self.hashed..];
        let part = &rest[..rest.len().min(SEGMENT_PART_BYTES)];
        if part.len() > bytes_max {
            return (0, None);
        }
        if part.len() == payload.len() {
            return (part.len(), Some(Digest::of_segment(payload)));
        }
        self.parts.add_run(1, merkle::root_of_part(part, SEGMENT_PART_BYTES));
        self.hashed += part.len();
        if part.len() < rest.len() {
            return (part.len(), None);
        }
        let Self { parts, .. } = mem::take(self);
        (part.len(), Some(parts.finish(SEGMENT_PART_BYTES)))
    }
}
