//! Segments of a late file whose digest is known: only those are handed out.

use std::sync::OnceLock;

use crate::manifest::{Block, SegmentId};
use crate::sync::{AtomicU64, Ordering};
use crate::verify::Digest;

/// A set of segments to which the communicating thread adds while service threads read it.
// Bit `b` of word `i` is segment `64 i + b`. A bitmap, so that 64 segments are one operation.
#[derive(Debug)]
pub(super) struct KnownSegments(Box<[AtomicU64]>);

impl KnownSegments {
    /// Those that have a digest.
    pub(super) fn of(digests: &[OnceLock<Digest>]) -> Self {
        let words = digests.chunks(Block::SEGMENTS as usize).map(|digests| {
            let bits = (0..).zip(digests).filter(|(_, digest)| digest.get().is_some());
            AtomicU64::new(bits.fold(0, |word, (bit, _): (u32, _)| word | 1 << bit))
        });
        Self(words.collect())
    }

    /// Adds a segment whose digest was stored before.
    pub(super) fn add(&self, segment: SegmentId) {
        let Block { index, bits } = Block::of(segment);
        // ORDERING: Release; pairs with the Acquire in `keep`; publishes the digest.
        self.0[index as usize].fetch_or(bits, Ordering::Release);
    }

    /// Leaves only segments whose digest is known.
    pub(super) fn keep(&self, blocks: &mut [Block]) {
        for block in blocks {
            // ORDERING: Acquire; pairs with the Release in `add`: who sees the bit sees the digest.
            block.bits &= self.0[block.index as usize].load(Ordering::Acquire);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::*;
    use crate::sync::explore;
    use loom::thread;

    // Two segments of one word are added while another thread reads it. The numbers stand for their digests:
    // `loom` does not see those of the roster.
    #[test]
    fn loom_who_sees_that_a_digest_is_known_sees_the_digest() {
        explore(3, || {
            let known = Arc::new(KnownSegments::of(&[OnceLock::new(), OnceLock::new()]));
            let digests = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
            let adding = [0, 1].map(|segment| {
                let (known, digests) = (Arc::clone(&known), Arc::clone(&digests));
                thread::spawn(move || {
                    // ORDERING: Relaxed; `add` publishes it.
                    digests[segment].store(7, Ordering::Relaxed);
                    known.add(SegmentId(u32::try_from(segment).expect("0 or 1")));
                })
            });
            let mut blocks = [Block { index: 0, bits: u64::MAX }];
            known.keep(&mut blocks);
            for segment in blocks[0].segments() {
                // ORDERING: Relaxed; `keep` has seen what was published.
                assert_eq!(digests[segment.index()].load(Ordering::Relaxed), 7);
            }
            adding.into_iter().for_each(|thread| thread.join().expect("it ends"));
            let mut blocks = [Block { index: 0, bits: u64::MAX }];
            known.keep(&mut blocks);
            assert_eq!(blocks[0].bits, 0b11, "none is lost");
        });
    }
}
