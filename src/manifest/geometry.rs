//! Which segments are which: the files one after another in one numbering, in blocks of 64.

use std::ops::Range;

use super::{FileId, SegmentId};

// Prefix sums: the file of a segment is a binary search, the segments of a file are two reads.
/// Where each file's segments lie in the numbering of the swarm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Geometry {
    /// Prefix sums: the first segment of each file, then the count of all segments. It never falls, so
    /// that the file of a segment is a binary search.
    bounds: Vec<u32>,
}

/// The files together have too many segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {} segments in all", u32::MAX)]
pub struct TooManySegments;

impl Geometry {
    /// Numbers files of the given segment counts, in their order.
    ///
    /// # Errors
    ///
    /// When there are more than `u32::MAX` segments in all.
    pub fn new(segment_counts: impl IntoIterator<Item = u32>) -> Result<Self, TooManySegments> {
        let mut bounds = vec![0_u32];
        let mut end = 0_u32;
        for count in segment_counts {
            end = end.checked_add(count).ok_or(TooManySegments)?;
            bounds.push(end);
        }
        Ok(Self { bounds })
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> u32 {
        self.bounds.last().copied().unwrap_or(0)
    }

    /// The segments of a file.
    pub fn segments_of(&self, file: FileId) -> Range<u32> {
        self.bounds[file.index()]..self.bounds[file.index() + 1]
    }

    /// The file that a segment belongs to.
    pub fn file_of(&self, segment: SegmentId) -> FileId {
        let after = self.bounds.partition_point(|&first| first <= segment.0);
        let file = u32::try_from(after).expect("files are numbered in 32 bits");
        FileId(file.checked_sub(1).expect("the first file begins at segment 0"))
    }
}

/// A set of segments among 64 that follow each other: bit `b` of block `i` is segment `64 i + b`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
// 64 segments, the bits of one word: a block is what asks show and what bit planes are made of.
pub struct Block {
    /// Which 64 segments.
    pub index: u32,
    /// The set.
    pub bits: u64,
}

impl Block {
    /// Segments in a block: the bits of a machine word, so that sets are compared in one operation.
    pub const SEGMENTS: u32 = u64::BITS;

    /// The block and the bit of a segment.
    pub fn of(segment: SegmentId) -> Self {
        Self { index: segment.0 / Self::SEGMENTS, bits: 1 << (segment.0 % Self::SEGMENTS) }
    }

    /// The segments whose bits are set, ascending.
    pub fn segments(self) -> impl Iterator<Item = SegmentId> {
        let first = self.index * Self::SEGMENTS;
        let mut bits = self.bits;
        std::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros())?;
            bits &= bits - 1;
            Some(SegmentId(first + bit))
        })
    }

    /// The segments, the last of them first.
    pub fn segments_backwards(self) -> impl Iterator<Item = SegmentId> {
        let first = self.index * Self::SEGMENTS;
        let mut bits = self.bits;
        std::iter::from_fn(move || {
            let bit = bits.checked_ilog2()?;
            bits &= !(1 << bit);
            Some(SegmentId(first + bit))
        })
    }

    /// The part of a range of segments that lies in block `index`, as bits.
    pub fn overlap(index: u32, segments: &Range<u32>) -> u64 {
        let first = index * Self::SEGMENTS;
        let from = segments.start.saturating_sub(first).min(Self::SEGMENTS);
        let to = segments.end.saturating_sub(first).min(Self::SEGMENTS);
        if from >= to {
            return 0;
        }
        (u64::MAX >> (Self::SEGMENTS - (to - from))) << from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_follow_each_other_and_may_be_empty() {
        let geometry = Geometry::new([3, 0, 2]).expect("five segments");
        assert_eq!(geometry.segment_count(), 5);
        assert_eq!(geometry.segments_of(FileId(1)), 3..3);
        let files: Vec<_> = (0..5).map(|s| geometry.file_of(SegmentId(s)).0).collect();
        assert_eq!(files, [0, 0, 0, 2, 2]);
    }

    #[test]
    fn too_many_segments_are_refused() {
        assert_eq!(Geometry::new([u32::MAX, 1]), Err(TooManySegments));
    }

    #[test]
    fn blocks_list_their_segments() {
        let block = Block { index: 2, bits: 1 | 1 << 63 };
        assert_eq!(block.segments().collect::<Vec<_>>(), [SegmentId(128), SegmentId(191)]);
        assert_eq!(
            block.segments_backwards().collect::<Vec<_>>(),
            [SegmentId(191), SegmentId(128)]
        );
        assert_eq!(Block::of(SegmentId(191)), Block { index: 2, bits: 1 << 63 });
    }

    #[test]
    fn overlaps_are_cut_at_both_ends() {
        assert_eq!(Block::overlap(0, &(0..64)), u64::MAX);
        assert_eq!(Block::overlap(1, &(60..66)), 0b11);
        assert_eq!(Block::overlap(0, &(60..66)), 0b1111 << 60);
        assert_eq!(Block::overlap(3, &(0..64)), 0);
        assert_eq!(Block::overlap(0, &(5..5)), 0);
    }
}
