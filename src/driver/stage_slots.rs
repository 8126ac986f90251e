//! Slots for segments of a tree: a bounded number, and more in place of those that lost ranks keep.
//!
//! MPI reads the slot of a send until that ends, and one to a lost rank never does. Where memory is little, the slots of
//! a few such sends are all that there are.

use crate::manifest::{NodeId, SegmentId};
use crate::store::{Pool, VacantSlot};

#[derive(Debug)]
pub(super) struct StageSlots {
    /// The slots of this rank, then those in place of others.
    pools: Vec<Pool>,
    /// What the transport sends.
    sending: Vec<(NodeId, SegmentId)>,
}

impl StageSlots {
    pub(super) fn new(pool: Pool) -> Self {
        Self { pools: vec![pool], sending: Vec::new() }
    }

    pub(super) fn take(&self) -> Option<VacantSlot> {
        self.pools.iter().find_map(Pool::take)
    }

    /// One beyond the bound, with memory of its own.
    pub(super) fn allocate_one(&self) -> VacantSlot {
        self.pools[0].allocate_one()
    }

    /// How many are vacant now.
    pub(super) fn vacant(&self) -> usize {
        self.pools.iter().map(Pool::vacant).sum()
    }

    pub(super) fn begin_send(&mut self, to: NodeId, segment: SegmentId) {
        self.sending.push((to, segment));
    }

    pub(super) fn end_send(&mut self, to: NodeId, segment: SegmentId) {
        if let Some(place) = self.sending.iter().position(|&one| one == (to, segment)) {
            self.sending.swap_remove(place);
        }
    }

    /// A receiver is lost, and nothing more is sent to it.
    // A rank sends a few segments at a time, so that this is little beside what it has. Without it, it goes on with
    // what is left.
    pub(super) fn replace_sent_to(&mut self, lost: NodeId) {
        let kept = self.sending.extract_if(.., |one| one.0 == lost).count();
        if kept > 0 {
            self.pools.extend(self.pools[0].another(kept));
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn slots_that_a_lost_rank_keeps_are_replaced_once() {
        let mut slots = StageSlots::new(Pool::new(3, 64).expect("a little memory"));
        let sealed = |slots: &StageSlots| slots.take().expect("vacant").fill(64).seal_unchecked();
        let kept = [sealed(&slots), sealed(&slots), sealed(&slots)];
        let [lost, other] = [2, 3].map(NodeId);
        for (to, segment) in [(lost, 0), (lost, 1), (other, 2)] {
            slots.begin_send(to, SegmentId(segment));
        }
        slots.end_send(lost, SegmentId(0));
        assert_eq!(slots.vacant(), 0);
        slots.replace_sent_to(lost);
        assert_eq!(slots.vacant(), 1, "that of the send that has not ended");
        slots.replace_sent_to(lost);
        assert!(slots.take().is_some_and(|slot| slot.fill(64).bytes().len() == 64));
        assert_eq!(slots.vacant(), 1);
        // It comes back, and its send ends.
        drop(kept);
        assert_eq!(slots.vacant(), 4);
    }
}
