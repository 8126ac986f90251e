//! A set of segments, a bit each.

use serde::{Deserialize, Serialize};

use super::{Block, SegmentId};

/// A set of segments of one numbering.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSet {
    /// Bit `b` of word `i` is segment `64 i + b`.
    words: Vec<u64>,
}

impl SegmentSet {
    /// None of `count` segments.
    pub fn none_of(count: u32) -> Self {
        Self { words: vec![0; count.div_ceil(Block::SEGMENTS) as usize] }
    }

    /// All of `count` segments.
    pub fn all_of(count: u32) -> Self {
        let blocks = 0..count.div_ceil(Block::SEGMENTS);
        Self { words: blocks.map(|index| Block::overlap(index, &(0..count))).collect() }
    }

    /// Adds a segment; returns whether it is new.
    ///
    /// # Panics
    ///
    /// When the set was made for fewer segments.
    pub fn insert(&mut self, segment: SegmentId) -> bool {
        let Block { index, bits } = Block::of(segment);
        let word = &mut self.words[index as usize];
        let is_new = *word & bits == 0;
        *word |= bits;
        is_new
    }

    /// Takes a segment out, if it is there.
    pub fn remove(&mut self, segment: SegmentId) {
        let Block { index, bits } = Block::of(segment);
        if let Some(word) = self.words.get_mut(index as usize) {
            *word &= !bits;
        }
    }

    /// Whether a segment is there.
    pub fn contains(&self, segment: SegmentId) -> bool {
        let Block { index, bits } = Block::of(segment);
        self.words.get(index as usize).is_some_and(|word| word & bits != 0)
    }

    /// Adds all segments of another set of the same numbering.
    pub fn add_all(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// The segments, ascending.
    pub fn iter(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.iter_from(SegmentId(0))
    }

    /// The segments from `first` on, ascending. Nothing before it is looked at.
    pub fn iter_from(&self, first: SegmentId) -> impl Iterator<Item = SegmentId> + '_ {
        let words = (0..).zip(&self.words).skip(Block::of(first).index as usize);
        let segments = words.flat_map(|(index, &bits)| Block { index, bits }.segments());
        segments.skip_while(move |&segment| segment < first)
    }

    /// The set as bytes, for another node.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A set of `count` segments that another node sent; none if these bytes are not one.
    pub fn from_bytes(count: u32, bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let all = Self::all_of(count);
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let fits = rest.is_empty()
            && words.len() == all.words.len()
            && words.iter().zip(&all.words).all(|(word, all)| word & !all == 0);
        fits.then_some(Self { words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let mut set = SegmentSet::none_of(130);
        assert!(
            set.insert(SegmentId(129)) && set.insert(SegmentId(0)) && !set.insert(SegmentId(0))
        );
        assert!(set.contains(SegmentId(129)) && !set.contains(SegmentId(1)));
        assert!(!set.contains(SegmentId(4000)));
        assert_eq!(set.iter().collect::<Vec<_>>(), [SegmentId(0), SegmentId(129)]);
        assert_eq!(set.iter_from(SegmentId(1)).collect::<Vec<_>>(), [SegmentId(129)]);
        assert_eq!(set.iter_from(SegmentId(129)).collect::<Vec<_>>(), [SegmentId(129)]);
        assert_eq!(set.iter_from(SegmentId(4000)).next(), None);
        set.remove(SegmentId(0));
        assert_eq!(set.len(), 1);
    }

    #[test]
    fn bytes_of_another_numbering_are_no_set() {
        let all = SegmentSet::all_of(70);
        assert_eq!(all.len(), 70);
        assert_eq!(SegmentSet::from_bytes(70, &all.to_bytes()), Some(all.clone()));
        for count in [64, 69, 129] {
            assert_eq!(SegmentSet::from_bytes(count, &all.to_bytes()), None);
        }
    }
}
