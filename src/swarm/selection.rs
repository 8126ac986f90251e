//! Selects segments: in file order, at random, or rarest first (Cohen, "Incentives Build Robustness in
//! BitTorrent", 2003, section 2.4.2), where copies in flight count as copies and ties are broken at
//! random.
//!
//! In simulations with equal links, file order ends at 1.8 to 3.3 x the bound, worse with more peers;
//! random and rarest first at 1.01 to 1.04.

use std::mem;

use super::index::copies::Tally;
use crate::config::{BLOCKS_MAX, Selection};
use crate::manifest::{Block, SegmentId};

/// A segment as a sort key; the smallest is handed out first. From the high bits: rarity, tie break,
/// place in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u64);

// Bits of a place: a request has at most `BLOCKS_MAX` blocks of 64 segments.
const PLACE_BITS: u32 = (BLOCKS_MAX as u64 * Block::SEGMENTS as u64).trailing_zeros();

// Bits of a tie break.
// Among 1,024 candidates two of 2^32 values are equal in one case of 8,000; then the place decides.
const TIE_BREAK_BITS: u32 = 32;

// The shift of the rarity, above place and tie break.
const RARITY_SHIFT: u32 = TIE_BREAK_BITS + PLACE_BITS;

// The largest rarity in the 22 bits that are left: 4 million copies and more compare as equal.
const RARITY_MAX: u64 = u64::MAX >> RARITY_SHIFT;

impl Candidate {
    /// The index of its block in the request, and the segment as a block with one bit.
    pub(super) fn in_request(self, request: &[Block]) -> (usize, Block) {
        let place = self.0 % (1 << PLACE_BITS);
        let block = (place / u64::from(Block::SEGMENTS)) as usize;
        let bits = 1 << (place % u64::from(Block::SEGMENTS));
        (block, Block { index: request[block].index, bits })
    }
}

/// The first `length` of many candidates: a partial sort.
// It collects up to 2 x length candidates, then a quickselect (`select_nth_unstable`, linear time)
// drops the worse half, and the worst that is left bounds what comes later. Cheaper than a heap: most
// candidates are rejected by one comparison.
#[derive(Debug, Default)]
pub(super) struct Shortlist {
    length: usize,
    /// The seed of the tie breaks.
    salt: u64,
    /// A candidate behind it is not among the first.
    limit: Candidate,
    /// A segment with this rarity or more copies is not either.
    common: u64,
    /// Whether candidates were left out.
    is_cut: bool,
    candidates: Vec<Candidate>,
}

impl Shortlist {
    /// Begins anew: the first `length`, with tie breaks that follow from `salt`.
    pub(super) fn begin(&mut self, length: usize, salt: u64) {
        self.candidates.clear();
        *self = Self {
            length,
            salt,
            limit: Candidate(u64::MAX),
            common: u64::MAX,
            is_cut: false,
            candidates: mem::take(&mut self.candidates),
        };
    }

    /// Whether a segment may still be among the first. Of equally rare segments those considered
    /// first are kept: the caller should begin at a random one.
    #[inline]
    pub(super) fn seeks(&self, tally: Tally) -> bool {
        tally.rarity() < self.common
    }

    /// Whether no segment can be rarer than those found.
    pub(super) fn is_final(&self) -> bool {
        self.common == 0
    }

    /// Considers a segment of block `block` of the request.
    #[inline]
    pub(super) fn consider(
        &mut self,
        rule: Selection,
        block: usize,
        segment: SegmentId,
        tally: Tally,
    ) {
        let in_block = u64::from(segment.0 % Block::SEGMENTS);
        let place = block as u64 * u64::from(Block::SEGMENTS) + in_block;
        let rarity = tally.rarity().min(RARITY_MAX);
        let candidate = Candidate(match rule {
            Selection::FileOrder => u64::from(segment.0) << PLACE_BITS | place,
            Selection::Random => self.tie_break(segment) << PLACE_BITS | place,
            Selection::Rarest => {
                rarity << RARITY_SHIFT | self.tie_break(segment) << PLACE_BITS | place
            }
        });
        if candidate > self.limit {
            self.is_cut = true;
            return;
        }
        self.candidates.push(candidate);
        if self.candidates.len() / 2 >= self.length {
            self.shorten();
            if rule == Selection::Rarest {
                self.common = self.limit.0 >> RARITY_SHIFT;
            }
        }
    }

    #[cold]
    fn shorten(&mut self) {
        self.candidates.select_nth_unstable(self.length - 1);
        self.candidates.truncate(self.length);
        self.limit = self.candidates[self.length - 1];
        self.is_cut = true;
    }

    /// The first candidates, in order.
    pub(super) fn finish(&mut self) -> &[Candidate] {
        self.candidates.sort_unstable();
        self.is_cut |= self.candidates.len() > self.length;
        self.candidates.truncate(self.length);
        &self.candidates
    }

    // 32 random-looking bits: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) over
    // salt and segment.
    // A hash rather than a draw from the generator: draws depend on each other, hashes of different
    // segments can be computed in parallel by one core.
    fn tie_break(&self, segment: SegmentId) -> u64 {
        let mixed = self.salt ^ u64::from(segment.0);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed >> 32
    }

    /// Whether there were more candidates than were kept.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn shortlist(rule: Selection, length: usize, rarities: &[u32]) -> Vec<u32> {
        let blocks: Vec<Block> =
            (0..16).map(|index| Block { index: index + 7, bits: u64::MAX }).collect();
        let first = 7 * Block::SEGMENTS;
        let mut list = Shortlist::default();
        list.begin(length, 0x0123_4567_89ab_cdef);
        for ((number, segment), &copies) in (first..).map(SegmentId).enumerate().zip(rarities) {
            list.consider(rule, number / 64, segment, Tally { copies, in_flight: 0 });
        }
        let segment_of = |found: &Candidate| {
            let (_, Block { index, bits }) = found.in_request(&blocks);
            index * Block::SEGMENTS + bits.trailing_zeros()
        };
        let found = list.finish().iter().map(|found| segment_of(found) - first).collect();
        assert_eq!(list.is_cut(), rarities.len() > length);
        found
    }

    #[test]
    fn the_rarest_few_of_many_are_found_in_order() {
        let rarities: Vec<u32> = (0..1000).map(|segment| (segment * 7 + 3) % 1000).collect();
        let found = shortlist(Selection::Rarest, 10, &rarities);
        let found: Vec<u32> = found.iter().map(|&segment| rarities[segment as usize]).collect();
        assert_eq!(found, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_as_common_as_the_last_of_the_few_is_sought_no_more() {
        let mut list = Shortlist::default();
        list.begin(2, 0);
        let tally = |copies| Tally { copies, in_flight: 0 };
        for segment in 0..4 {
            assert!(list.seeks(tally(3)));
            list.consider(Selection::Rarest, 0, SegmentId(segment), tally(3));
        }
        assert!(!list.seeks(tally(3)) && list.seeks(tally(2)));
        assert!(!list.is_final());
        for segment in 4..8 {
            list.consider(Selection::Rarest, 0, SegmentId(segment), tally(0));
        }
        assert!(list.is_final());
        list.begin(2, 0);
        assert!(list.seeks(tally(3)), "begun anew");
    }

    #[test]
    fn among_equals_every_part_is_found_about_equally_often() {
        let found = shortlist(Selection::Rarest, 500, &[1; 1000]);
        let late = found.iter().filter(|&&segment| segment >= 500).count();
        assert!((200..300).contains(&late), "{late} of 500 from the second half");
    }

    #[test]
    fn file_order_is_the_order_of_the_numbers() {
        let found = shortlist(Selection::FileOrder, 4, &[9, 0, 5, 1, 0, 0]);
        assert_eq!(found, [0, 1, 2, 3]);
        assert_eq!(shortlist(Selection::FileOrder, 8, &[1, 0]), [0, 1]);
    }
}
