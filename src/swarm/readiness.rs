//! A cache of the segments that somebody has capacity to send.

use crate::manifest::Block;

/// By block: the segments that a holder has capacity for, computed at the first use since the last
/// change.
// To compute it takes a look at all holders of a segment. When peers in the wait queue are tried one
// after another, they would each repeat that, and most would find nothing.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    blocks: Vec<Block>,
}

impl Readiness {
    /// Empties the cache, after an announcement or a returned segment.
    pub(super) fn forget(&mut self) {
        self.blocks.clear();
    }

    pub(super) fn is_known(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The ready segments of a block; `look` computes them if they are not cached.
    pub(super) fn of(&mut self, index: u32, look: impl FnOnce() -> u64) -> u64 {
        match self.place_of(index) {
            Ok(place) => self.blocks[place].bits,
            Err(place) => {
                let bits = look();
                self.blocks.insert(place, Block { index, bits });
                bits
            }
        }
    }

    /// Nobody has capacity for these segments any more.
    pub(super) fn clear(&mut self, segments: Block) {
        if let Ok(place) = self.place_of(segments.index) {
            self.blocks[place].bits &= !segments.bits;
        }
    }

    fn place_of(&self, index: u32) -> Result<usize, usize> {
        self.blocks.binary_search_by_key(&index, |block| block.index)
    }
}
