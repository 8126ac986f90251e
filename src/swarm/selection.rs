//! Which segments first?

use std::mem;

use super::index::copies::Tally;
use crate::config::{BLOCKS_MAX, Selection};
use crate::manifest::{Block, SegmentId};

/// A segment that could be handed out, in one word; the smaller, the sooner. Its lowest bits are its
/// place in the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u64);

/// Bits of a place: a request has no more segments.
const PLACE_BITS: u32 = (BLOCKS_MAX as u64 * Block::SEGMENTS as u64).trailing_zeros();

/// Bits of a tie break, which comes before the place.
const CHANCE_BITS: u32 = 32;

/// Where the rarity begins, which comes before both.
const RARITY_SHIFT: u32 = CHANCE_BITS + PLACE_BITS;

/// What is rarer than this is told apart.
const RARITY_MAX: u64 = u64::MAX >> RARITY_SHIFT;

impl Candidate {
    /// Which segment of a request: the place of its block, and the segment as a block of itself.
    pub(super) fn in_request(self, request: &[Block]) -> (usize, Block) {
        let place = self.0 % (1 << PLACE_BITS);
        let block = (place / u64::from(Block::SEGMENTS)) as usize;
        let bits = 1 << (place % u64::from(Block::SEGMENTS));
        (block, Block { index: request[block].index, bits })
    }
}

/// The first few of many candidates, found without keeping all of them. The memory is used again.
#[derive(Debug, Default)]
pub(super) struct Shortlist {
    few: usize,
    /// What the tie breaks of all candidates follow from.
    salt: u64,
    /// What comes after it is not among the few.
    limit: Candidate,
    /// What is as common as this, or more so, is not among them either.
    common: u64,
    /// Whether some were left out.
    is_cut: bool,
    candidates: Vec<Candidate>,
}

impl Shortlist {
    /// Begins anew: `few` are sought, by tie breaks that follow from `salt`.
    pub(super) fn begin(&mut self, few: usize, salt: u64) {
        self.candidates.clear();
        *self = Self {
            few,
            salt,
            limit: Candidate(u64::MAX),
            common: u64::MAX,
            is_cut: false,
            candidates: mem::take(&mut self.candidates),
        };
    }

    /// Whether a segment may still be among the few. Of segments that are equally rare those that
    /// come first are kept, so that it is for the caller to begin anywhere.
    #[inline]
    pub(super) fn seeks(&self, tally: Tally) -> bool {
        tally.rarity() < self.common
    }

    /// Whether all of the few are as rare as can be, so that nothing else is sought.
    pub(super) fn is_settled(&self) -> bool {
        self.common == 0
    }

    /// Takes a segment into account; `block` says which of the request's blocks it is in.
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
        if self.candidates.len() / 2 >= self.few {
            self.shorten();
            if rule == Selection::Rarest {
                self.common = self.limit.0 >> RARITY_SHIFT;
            }
        }
    }

    #[cold]
    fn shorten(&mut self) {
        self.candidates.select_nth_unstable(self.few - 1);
        self.candidates.truncate(self.few);
        self.limit = self.candidates[self.few - 1];
        self.is_cut = true;
    }

    /// The few, in order.
    pub(super) fn finish(&mut self) -> &[Candidate] {
        self.candidates.sort_unstable();
        self.is_cut |= self.candidates.len() > self.few;
        self.candidates.truncate(self.few);
        &self.candidates
    }

    /// 32 bits that look random. They are mixed from the salt and the number of the segment, which
    /// costs a fraction of a draw each from a generator, whose draws wait for each other.
    /// The mix is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    fn tie_break(&self, segment: SegmentId) -> u64 {
        let mixed = self.salt ^ u64::from(segment.0);
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed >> 32
    }

    /// Whether there were more than the few that it finished with.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn shortlist(rule: Selection, few: usize, rarities: &[u32]) -> Vec<u32> {
        let blocks: Vec<Block> =
            (0..16).map(|index| Block { index: index + 7, bits: u64::MAX }).collect();
        let first = 7 * Block::SEGMENTS;
        let mut list = Shortlist::default();
        list.begin(few, 0x0123_4567_89ab_cdef);
        for ((number, segment), &copies) in (first..).map(SegmentId).enumerate().zip(rarities) {
            list.consider(rule, number / 64, segment, Tally { copies, in_flight: 0 });
        }
        let segment_of = |found: &Candidate| {
            let (_, Block { index, bits }) = found.in_request(&blocks);
            index * Block::SEGMENTS + bits.trailing_zeros()
        };
        let found = list.finish().iter().map(|found| segment_of(found) - first).collect();
        assert_eq!(list.is_cut(), rarities.len() > few);
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
        assert!(!list.is_settled());
        for segment in 4..8 {
            list.consider(Selection::Rarest, 0, SegmentId(segment), tally(0));
        }
        assert!(list.is_settled());
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
