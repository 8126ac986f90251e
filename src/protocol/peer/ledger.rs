//! Which state is each segment in? Nothing else knows.
//!
//! A bitmap of two planes, in words of 64 segments: the missing ones of a block are one operation on
//! two words, and 64 segments take 24 bytes. BitTorrent's bitfield (BEP 3) has one plane, as it only
//! tells what is verified.

use std::ops::Range;

use crate::manifest::{Block, SegmentId};

/// The state of one segment; a segment is in exactly one at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentState {
    /// Neither owned nor wanted, or given up.
    Unwanted,
    /// Wanted, and not requested.
    Missing,
    /// Requested, or arrived and not yet checked.
    Taken,
    /// Here, and free to serve.
    Verified,
}

// Bit planes: a state is one bit of each of two words, so that "which of these 64 segments are missing"
// is one AND-NOT, and an ask copies words instead of walking segments.
/// 64 segments: the bits are `(high, low)`: unwanted 00, missing 01, taken 10, verified 11.
#[derive(Clone, Copy, Debug, Default)]
struct Planes {
    index: u32,
    high: u64,
    low: u64,
}

impl Planes {
    fn state(self, bit: u64) -> SegmentState {
        match (self.high & bit != 0, self.low & bit != 0) {
            (false, false) => SegmentState::Unwanted,
            (false, true) => SegmentState::Missing,
            (true, false) => SegmentState::Taken,
            (true, true) => SegmentState::Verified,
        }
    }
}

/// The states of all segments.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Ascending by index; blocks in which nothing is owned or wanted are left out.
    blocks: Vec<Planes>,
    // Counted along: the peer compares it with 0 at every message.
    missing: u32,
}

impl Ledger {
    /// Enters segments as verified or as missing; ranges must not overlap.
    pub(super) fn new(owned: &[Range<u32>], wanted: &[Range<u32>]) -> Self {
        let mut blocks: Vec<Planes> = Vec::new();
        let mut all: Vec<(Range<u32>, bool)> = Vec::new();
        all.extend(owned.iter().map(|range| (range.clone(), true)));
        all.extend(wanted.iter().map(|range| (range.clone(), false)));
        all.sort_unstable_by_key(|(range, _)| range.start);
        for (range, is_owned) in all.into_iter().filter(|(range, _)| !range.is_empty()) {
            for index in range.start / Block::SEGMENTS..=(range.end - 1) / Block::SEGMENTS {
                if blocks.last().is_none_or(|last| last.index < index) {
                    blocks.push(Planes { index, high: 0, low: 0 });
                }
                let last = blocks.last_mut().expect("a block was just added");
                let bits = Block::overlap(index, &range);
                last.low |= bits;
                last.high |= if is_owned { bits } else { 0 };
            }
        }
        let missing = wanted.iter().map(|range| range.end - range.start).sum();
        Self { blocks, missing }
    }

    /// From missing to taken; false when it was not missing.
    pub(super) fn take(&mut self, segment: SegmentId) -> bool {
        let taken = self.change(segment, SegmentState::Missing, SegmentState::Taken);
        self.missing -= u32::from(taken);
        taken
    }

    /// From taken back to missing; false when it was not taken.
    pub(super) fn release(&mut self, segment: SegmentId) -> bool {
        let released = self.change(segment, SegmentState::Taken, SegmentState::Missing);
        self.missing += u32::from(released);
        released
    }

    /// From taken to verified; false when it was not taken.
    pub(super) fn verify(&mut self, segment: SegmentId) -> bool {
        self.change(segment, SegmentState::Taken, SegmentState::Verified)
    }

    /// From unwanted to taken; false when it was wanted, or is in no file that ever was.
    pub(super) fn adopt(&mut self, segment: SegmentId) -> bool {
        self.change(segment, SegmentState::Unwanted, SegmentState::Taken)
    }

    /// From missing to unwanted; false when it was not missing.
    pub(super) fn abandon(&mut self, segment: SegmentId) -> bool {
        let abandoned = self.change(segment, SegmentState::Missing, SegmentState::Unwanted);
        self.missing -= u32::from(abandoned);
        abandoned
    }

    pub(super) fn state(&self, segment: SegmentId) -> SegmentState {
        let Block { index, bits } = Block::of(segment);
        let position = self.position(index);
        position.map_or(SegmentState::Unwanted, |position| self.blocks[position].state(bits))
    }

    /// How many segments are missing.
    pub(super) fn missing(&self) -> u32 {
        self.missing
    }

    /// The position of the block of `segment`, for [`Ledger::missing_at`].
    pub(super) fn position_of(&self, segment: SegmentId) -> usize {
        let index = Block::of(segment).index;
        self.blocks.partition_point(|planes| planes.index < index)
    }

    pub(super) fn missing_at(&self, position: usize) -> Block {
        let planes = self.blocks[position];
        Block { index: planes.index, bits: planes.low & !planes.high }
    }

    fn position(&self, index: u32) -> Option<usize> {
        // In most runs something is owned or wanted in every block, so that a block's position is its
        // index. A guess costs one comparison, and a binary search one for each doubling.
        let likely = index.checked_sub(self.blocks.first()?.index)? as usize;
        if self.blocks.get(likely).is_some_and(|planes| planes.index == index) {
            return Some(likely);
        }
        self.blocks.binary_search_by_key(&index, |planes| planes.index).ok()
    }

    fn change(&mut self, segment: SegmentId, from: SegmentState, to: SegmentState) -> bool {
        let Block { index, bits } = Block::of(segment);
        let Some(position) = self.position(index) else { return false };
        let planes = &mut self.blocks[position];
        if planes.state(bits) != from {
            return false;
        }
        let (high, low) = match to {
            SegmentState::Unwanted => (0, 0),
            SegmentState::Missing => (0, bits),
            SegmentState::Taken => (bits, 0),
            SegmentState::Verified => (bits, bits),
        };
        planes.high = planes.high & !bits | high;
        planes.low = planes.low & !bits | low;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(id: u32) -> SegmentId {
        SegmentId(id)
    }

    #[test]
    fn states_follow_each_other_by_name() {
        let mut ledger = Ledger::new(&[0..3, 200..201], std::slice::from_ref(&(3..70)));
        assert_eq!(ledger.missing(), 67);
        assert_eq!(ledger.state(segment(2)), SegmentState::Verified);
        assert_eq!(ledger.state(segment(100)), SegmentState::Unwanted);
        assert_eq!(ledger.state(segment(150)), SegmentState::Unwanted);
        assert!(ledger.take(segment(69)));
        assert!(!ledger.take(segment(69)), "only once");
        assert!(!ledger.verify(segment(68)), "not before it was taken");
        assert!(ledger.release(segment(69)));
        assert!(ledger.take(segment(69)));
        assert!(ledger.verify(segment(69)));
        assert_eq!(ledger.state(segment(69)), SegmentState::Verified);
        assert_eq!(ledger.missing(), 66);
        assert!(ledger.abandon(segment(3)));
        assert_eq!(ledger.state(segment(3)), SegmentState::Unwanted);
        assert_eq!(ledger.missing(), 65);
    }

    #[test]
    fn missing_segments_are_listed_by_block() {
        let mut ledger = Ledger::new(&[], &[60..66, 640..641]);
        ledger.take(segment(61));
        assert_eq!(ledger.missing_at(0), Block { index: 0, bits: 0b1101 << 60 });
        assert_eq!(ledger.missing_at(ledger.position_of(segment(640))).index, 10);
    }
}
