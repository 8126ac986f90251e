//! Where do bytes lie? In slots of one allocation while the swarm runs, and on disk when a file
//! is whole.

pub mod arena;
pub mod output;

use std::collections::HashMap;
use std::io;

use crate::manifest::SegmentId;
use arena::Arena;

pub use arena::{FilledSlot, SealedSegment, VacantSlot};
pub use output::OutputDir;

/// The slots of one node, and the segments that it has.
#[derive(Debug)]
pub struct Store {
    vacant: Vec<VacantSlot>,
    segments: HashMap<SegmentId, SealedSegment>,
}

impl Store {
    /// Allocates `slots` slots of `slot_bytes` each, in memory that is touched at once.
    ///
    /// # Errors
    ///
    /// When there is not so much memory.
    pub fn new(slots: usize, slot_bytes: usize) -> io::Result<Self> {
        let vacant = Arena::allocate(slots, slot_bytes)?;
        Ok(Self { vacant, segments: HashMap::with_capacity(slots) })
    }

    /// Allocates more slots.
    ///
    /// # Errors
    ///
    /// When there is not so much memory.
    pub fn extend(&mut self, slots: usize, slot_bytes: usize) -> io::Result<()> {
        self.vacant.extend(Arena::allocate(slots, slot_bytes)?);
        self.segments.reserve(slots);
        Ok(())
    }

    /// Hands out a vacant slot; none when all are in use.
    pub fn take(&mut self) -> Option<VacantSlot> {
        self.vacant.pop()
    }

    /// Takes a slot back.
    pub fn give_back(&mut self, slot: VacantSlot) {
        self.vacant.push(slot);
    }

    /// Keeps a verified segment. One that is here already stays: the second copy's slot is lost
    /// until the end of the run, which the spare slots allow for.
    pub fn insert(&mut self, segment: SegmentId, sealed: SealedSegment) {
        self.segments.entry(segment).or_insert(sealed);
    }

    /// A verified segment, if it is here.
    pub fn segment(&self, segment: SegmentId) -> Option<&SealedSegment> {
        self.segments.get(&segment)
    }
}
