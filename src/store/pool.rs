//! A bounded set of slots that are used again and again: what a node keeps in memory of files that are
//! larger.

use std::sync::Arc;

use super::arena::Arena;
use super::{Store, StoreError, VacantSlot};

/// Slots of one allocation. A slot is vacant again when the last of what came from it is dropped:
/// [`VacantSlot`], [`FilledSlot`](super::FilledSlot) or [`SealedSegment`](super::SealedSegment), on any
/// thread.
#[derive(Debug)]
pub struct Pool(Arc<Arena>);

impl Pool {
    /// Allocates `slots` slots of `slot_bytes` each, in memory that is touched at once.
    ///
    /// # Errors
    ///
    /// When there is not so much memory.
    pub fn new(slots: usize, slot_bytes: usize) -> Result<Self, StoreError> {
        Store::probe(slots, slot_bytes)?;
        let refused = |cause| StoreError::Refused { slots, slot_bytes, cause };
        Arena::recycled(slots, slot_bytes).map(Self).map_err(refused)
    }

    /// Hands out a vacant slot; none when all are in use.
    pub fn take(&self) -> Option<VacantSlot> {
        Arena::take(&self.0)
    }

    /// A pool of so many slots, as long as these.
    ///
    /// # Errors
    ///
    /// When there is not so much memory.
    pub fn another(&self, slots: usize) -> Result<Self, StoreError> {
        Self::new(slots, self.0.slot_bytes())
    }

    /// One slot beyond the pool, with memory of its own.
    pub fn allocate_one(&self) -> VacantSlot {
        Arena::allocate_one(self.0.slot_bytes())
    }

    /// How many slots are vacant now.
    pub fn vacant(&self) -> usize {
        self.0.free()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::verify::Digest;

    #[test]
    fn a_slot_comes_back_with_the_last_of_its_segments() {
        let pool = Pool::new(2, 100).expect("a little memory");
        let (mut slot, other) = (pool.take().expect("two"), pool.take().expect("two"));
        assert!(pool.take().is_none() && pool.vacant() == 0);
        slot.bytes_mut()[..3].copy_from_slice(b"abc");
        let slot = slot.fill(3).check(Digest([0; 32])).expect_err("the digest is wrong");
        assert_eq!(pool.vacant(), 0, "it is still here");
        let segment = slot.fill(3).check(Digest::of(b"abc")).expect("the digest is right");
        let shared = segment.clone();
        drop(segment);
        assert_eq!((shared.bytes(), pool.vacant()), (&b"abc"[..], 0));
        std::thread::spawn(move || drop(shared)).join().expect("the thread ends");
        drop(other.fill(1));
        assert_eq!(pool.vacant(), 2);
        assert!(Pool::new(0, 100).expect("no memory").take().is_none());
    }

    #[test]
    fn threads_that_share_slots_never_see_them_written() {
        let pool = Pool::new(3, 64).expect("a little memory");
        std::thread::scope(|scope| {
            for mark in 1..=4_u8 {
                let pool = &pool;
                scope.spawn(move || {
                    for _ in 0..if cfg!(miri) { 20 } else { 2000 } {
                        let Some(mut slot) = pool.take() else { continue };
                        slot.bytes_mut().fill(mark);
                        let segment = slot.fill(64).seal_unchecked();
                        let shared = segment.clone();
                        drop(segment);
                        assert!(shared.bytes().iter().all(|&byte| byte == mark));
                    }
                });
            }
        });
        assert_eq!(pool.vacant(), 3);
    }
}
