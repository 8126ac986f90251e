//! Where do bytes lie? In slots of one allocation while the swarm runs, and on disk when a file
//! is whole.

mod arena;
mod file_segments;
mod fresh;
mod memory;
mod output;
mod output_error;
mod output_list;
mod pool;
mod probe;
mod recycler;
mod temporary;

use std::io;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crate::manifest::SegmentId;
use arena::Arena;

pub use arena::{FilledSlot, SealedSegment, VacantSlot};
pub use file_segments::FileSegments;
pub use fresh::FreshSegment;
pub(crate) use memory::available_bytes;
#[cfg(feature = "mpi")]
pub(crate) use memory::group_word;
pub use output::OutputDir;
pub use output_error::OutputError;
pub use output_list::OutputList;
pub use pool::Pool;
pub use probe::{Probe, probe, sees};
pub use temporary::{probe_folder, remove_left_over};

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

// Bytes of one allocation.
// Slots are allocated in steps, and each step looks at the memory that is left. Ranks of one machine
// that together want more than it has then all see it, before the kernel kills one of them. 256 MiB
// was chosen, not tuned: it is little beside a machine's memory, and has many huge pages.
const STEP_BYTES: usize = 256 << 20;

// Bytes that are allocated without a look at what is left.
// A look reads meminfo and the files of each control group: some 70 system calls, which take longer than
// touching a megabyte. No machine that runs MPI is short of one.
const UNPROBED_BYTES: u64 = 1 << 20;

// A free list: taking and giving back a slot is a push or a pop. Only one thread does either, so that it
// needs no lock.
/// The slots of one node, and the segments that it has.
#[derive(Debug, Default)]
pub struct Store {
    // A stack: the slot that was given back last is likeliest still in the cache.
    vacant: Vec<VacantSlot>,
    files: Vec<Arc<FileSegments>>,
    /// The size of slots that are allocated one by one; none where all are allocated beforehand.
    fresh_bytes: Option<usize>,
}

/// Why there are no slots.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum StoreError {
    #[error(
        "{slots} segments of {slot_bytes} bytes need {needed} bytes of memory, {available} are \
         available"
    )]
    Short { slots: usize, slot_bytes: usize, needed: u64, available: u64 },
    #[error("memory for {slots} segments of {slot_bytes} bytes: {cause}")]
    Refused { slots: usize, slot_bytes: usize, cause: io::Error },
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

    /// Allocates more slots.
    ///
    /// # Errors
    ///
    /// When there is not so much memory.
    pub fn extend(&mut self, slots: usize, slot_bytes: usize) -> Result<(), StoreError> {
        let step_slots = (STEP_BYTES / slot_bytes.max(1)).max(1);
        let mut left = slots;
        while left > 0 {
            Self::probe(left, slot_bytes)?;
            self.vacant.reserve(left);
            let step = left.min(step_slots);
            let refused = |cause| StoreError::Refused { slots, slot_bytes, cause };
            self.vacant.extend(Arena::allocate(step, slot_bytes).map_err(refused)?);
            left -= step;
        }
        Ok(())
    }

    /// Checks that this machine has memory for `slots` slots of `slot_bytes` now.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub fn probe(slots: usize, slot_bytes: usize) -> Result<(), StoreError> {
        let needed = Self::needed_bytes(slots, slot_bytes);
        if needed <= UNPROBED_BYTES {
            return Ok(());
        }
        let available = available_bytes();
        if needed > available {
            return Err(StoreError::Short { slots, slot_bytes, needed, available });
        }
        Ok(())
    }

    /// Bytes of memory that `slots` slots of `slot_bytes` take.
    pub fn needed_bytes(slots: usize, slot_bytes: usize) -> u64 {
        let each = arena::stride(slot_bytes).saturating_add(size_of::<VacantSlot>());
        each.saturating_mul(slots) as u64
    }

    /// From now on, [`take`](Self::take) allocates each slot, of `slot_bytes`.
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

    /// Makes places for the segments of files.
    pub fn add_files(&mut self, files: impl Iterator<Item = Range<u32>>) {
        let files = files.filter(|segments| !segments.is_empty());
        self.files.extend(files.map(|segments| Arc::new(FileSegments::new(segments))));
        self.files.sort_unstable_by_key(|file| file.first());
    }

    /// The last file that begins at or before a segment: its own, if that was added.
    pub fn file_of(&self, segment: SegmentId) -> Option<&Arc<FileSegments>> {
        let after = self.files.partition_point(|file| file.first() <= segment.0);
        self.files.get(after.checked_sub(1)?)
    }

    /// Keeps a verified segment of a file that was added.
    pub fn insert(&mut self, segment: SegmentId, sealed: SealedSegment) {
        let place = self.place(segment).expect("there is a place for all that is wanted or owned");
        // A second copy is dropped, and its slot with it: a sealed slot never becomes vacant, as
        // others may still read it. The spare slots allow for that.
        drop(place.set(sealed));
    }

    /// A verified segment, if it is here.
    pub fn segment(&self, segment: SegmentId) -> Option<&SealedSegment> {
        self.place(segment)?.get()
    }

    fn place(&self, segment: SegmentId) -> Option<&OnceLock<SealedSegment>> {
        self.file_of(segment)?.place(segment)
    }
}
