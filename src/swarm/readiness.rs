//! What can be had now?

use crate::manifest::Block;

/// Segments for which somebody has time, by block, as far as one scratch has looked since something
/// changed. To see it takes a look at all holders of a segment, and those who wait in a line would
/// each take it anew, most of them in vain.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    /// Ascending by index.
    blocks: Vec<Block>,
}

impl Readiness {
    /// Something has changed: nothing is known any more.
    pub(super) fn forget(&mut self) {
        self.blocks.clear();
    }

    /// Whether somebody has looked already.
    pub(super) fn is_known(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// The ready segments of a block; `look` finds them at the first time.
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

    /// Nobody has time any more for segments of a block.
    pub(super) fn clear(&mut self, segments: Block) {
        if let Ok(place) = self.place_of(segments.index) {
            self.blocks[place].bits &= !segments.bits;
        }
    }

    fn place_of(&self, index: u32) -> Result<usize, usize> {
        self.blocks.binary_search_by_key(&index, |block| block.index)
    }
}
