//! Where do bytes lie? In slots of one allocation while the swarm runs, and on disk when a file
//! is whole.

pub mod arena;
mod fresh;
mod memory;
pub mod output;
pub mod shelf;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::manifest::SegmentId;
use arena::Arena;
use shelf::Shelf;

pub use arena::{FilledSlot, SealedSegment, VacantSlot};
pub use fresh::FreshSegment;
pub use output::{OutputDir, OutputError};

/// A verified segment: what may be served and written, and nothing else may.
pub trait Verified {
    /// The payload.
    fn bytes(&self) -> &[u8];
}

/// A file whose segments are all verified.
pub trait Content {
    /// How they lie in memory.
    type Segment: Verified;

    /// All of them, in order.
    fn segments(&self) -> impl Iterator<Item = &Self::Segment> + Clone;
}

impl<S: Verified> Content for Vec<S> {
    type Segment = S;

    fn segments(&self) -> impl Iterator<Item = &S> + Clone {
        self.iter()
    }
}

/// Memory that is allocated and touched at a time.
const STEP_BYTES: usize = 256 << 20;

/// The slots of one node, and the segments that it has.
#[derive(Debug, Default)]
pub struct Store {
    vacant: Vec<VacantSlot>,
    /// One a file, in the order of their segments.
    shelves: Vec<Arc<Shelf>>,
    /// The size of slots that are allocated one by one, when they are wanted; none where all are
    /// reserved.
    fresh_bytes: Option<usize>,
}

/// Why there are no slots.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// More is needed than the machine has.
    #[error(
        "{slots} segments of {slot_bytes} bytes need {needed} bytes of memory, {available} are \
         available"
    )]
    Short {
        /// How many slots were wanted.
        slots: usize,
        /// The size of each.
        slot_bytes: usize,
        /// What is still to be allocated, bytes.
        needed: u64,
        /// What can be had, bytes.
        available: u64,
    },
    /// The system refused.
    #[error("memory for {slots} segments of {slot_bytes} bytes: {cause}")]
    Refused {
        /// How many slots were wanted.
        slots: usize,
        /// The size of each.
        slot_bytes: usize,
        /// What the system said.
        cause: io::Error,
    },
}

impl Store {
    /// Allocates `slots` slots of `slot_bytes` each, in memory that is touched at once.
    ///
    /// # Errors
    ///
    /// When there is not so much memory.
    pub fn new(slots: usize, slot_bytes: usize) -> Result<Self, StoreError> {
        let mut store = Self::default();
        store.extend(slots, slot_bytes)?;
        Ok(store)
    }

    /// Allocates more slots, step by step: several ranks of one machine that together want more
    /// than it has see that before the system has to kill one.
    ///
    /// # Errors
    ///
    /// When there is not so much memory.
    pub fn extend(&mut self, slots: usize, slot_bytes: usize) -> Result<(), StoreError> {
        let in_a_step = (STEP_BYTES / slot_bytes.max(1)).max(1);
        self.vacant.reserve(slots);
        let mut left = slots;
        while left > 0 {
            let needed = left as u64 * slot_bytes as u64;
            let available = memory::available_bytes();
            if needed > available {
                return Err(StoreError::Short { slots, slot_bytes, needed, available });
            }
            let step = left.min(in_a_step);
            let more = Arena::allocate(step, slot_bytes);
            self.vacant.extend(more.map_err(|cause| StoreError::Refused {
                slots,
                slot_bytes,
                cause,
            })?);
            left -= step;
        }
        Ok(())
    }

    /// Whether this machine has memory for `slots` slots of `slot_bytes` now.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub fn probe(slots: usize, slot_bytes: usize) -> Result<(), StoreError> {
        let (needed, available) = (slots as u64 * slot_bytes as u64, memory::available_bytes());
        if needed > available {
            return Err(StoreError::Short { slots, slot_bytes, needed, available });
        }
        Ok(())
    }

    /// From now on, slots of `slot_bytes` are allocated one by one, when they are wanted.
    pub fn allocate_each(&mut self, slot_bytes: usize) {
        self.fresh_bytes = Some(slot_bytes);
    }

    /// Hands out a vacant slot; none when all are in use.
    pub fn take(&mut self) -> Option<VacantSlot> {
        match self.fresh_bytes {
            None => self.vacant.pop(),
            Some(slot_bytes) => Some(Arena::allocate_one(slot_bytes)),
        }
    }

    /// Takes a slot back.
    pub fn give_back(&mut self, slot: VacantSlot) {
        if self.fresh_bytes.is_none() {
            self.vacant.push(slot);
        }
    }

    /// Makes room for the segments of some files, to be kept when they are verified.
    pub fn shelve(&mut self, files: impl Iterator<Item = Range<u32>>) {
        let files = files.filter(|segments| !segments.is_empty());
        self.shelves.extend(files.map(|segments| Arc::new(Shelf::new(segments))));
        self.shelves.sort_unstable_by_key(|shelf| shelf.first());
    }

    /// The last shelf that does not begin behind a segment: that of its file, where that has one.
    pub fn shelf(&self, segment: SegmentId) -> Option<&Arc<Shelf>> {
        let place = self.shelves.partition_point(|shelf| shelf.first() <= segment.0);
        self.shelves.get(place.checked_sub(1)?)
    }

    /// Keeps a verified segment of a file that has its shelf. One that is here already stays: the second
    /// copy's slot is lost until the end of the run, which the spare slots allow for.
    pub fn insert(&mut self, segment: SegmentId, sealed: SealedSegment) {
        let shelf = self.shelf(segment).and_then(|shelf| shelf.place(segment));
        drop(shelf.expect("there is room for all that is wanted or owned").set(sealed));
    }

    /// A verified segment, if it is here.
    pub fn segment(&self, segment: SegmentId) -> Option<&SealedSegment> {
        self.shelf(segment)?.place(segment)?.get()
    }
}
