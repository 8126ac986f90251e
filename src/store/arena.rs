//! One allocation, cut into slots of one size. This is the only place that makes references into
//! it, and one of the two files that are unsafe.
//!
//! A slot's index is in one place at a time: in a [`VacantSlot`], in a [`FilledSlot`], in
//! [`SealedSegment`]s, or among the free ones of an arena that uses its slots again. Only the holder of the one `VacantSlot` can write.
//! Only a segment that was hashed can be served, unless a measurement leaves checks out on purpose.
//!
//! An unchecked slot can't be served:
//!
//! ```compile_fail
//! fn serve(filled: mpiswarm::store::FilledSlot) -> mpiswarm::store::SealedSegment {
//!     filled // a check must come between
//! }
//! ```
//!
//! A slot that was filled can't be written again:
//!
//! ```compile_fail
//! fn write(filled: &mut mpiswarm::store::FilledSlot) {
//!     filled.bytes_mut()[0] = 1;
//! }
//! ```
//!
//! And nobody can have the same slot twice:
//!
//! ```compile_fail
//! fn twice(slot: mpiswarm::store::VacantSlot) {
//!     let first = slot.fill(1);
//!     let second = slot.fill(1);
//! }
//! ```
#![expect(unsafe_code, reason = "slots are disjoint parts of one allocation")]

use std::fmt;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;

use super::Verified;
use super::recycler::Recycler;
use crate::verify::Digest;

// Slots begin on a cache line of their own.
// 64: the line of x86-64 and of most of AArch64. Two threads may write neighbouring slots at once, and
// a line that both write moves between their cores each time (false sharing).
const LINE_BYTES: usize = 64;

/// The allocation, and where its slots lie.
pub(super) struct Arena {
    /// Keeps the memory; only `base` is used to reach it.
    _memory: Memory,
    base: NonNull<u8>,
    stride: usize,
    slot_bytes: usize,
    // None where each slot keeps its segment to the end of the run: there nothing is counted.
    /// Which slots are free, where they are used again.
    recycler: Option<Recycler>,
}

/// One reference to a slot. With the last one the slot is free, where slots are used again.
struct SlotRef {
    arena: Arc<Arena>,
    index: u32,
}

/// The owner of an arena's memory.
enum Memory {
    Nothing,
    Map(MmapMut),
    Heap(Vec<u8>),
}

// SAFETY: the memory belongs to the arena alone, and references into it are made only through
// the slot types, of which at most one can write each slot.
unsafe impl Send for Arena {}
// SAFETY: as above; shared access to the arena itself reads only its plain fields.
unsafe impl Sync for Arena {}

impl Arena {
    /// Allocates `slots` slots of `slot_bytes`, whose pages are there at once.
    pub(super) fn allocate(slots: usize, slot_bytes: usize) -> io::Result<Vec<VacantSlot>> {
        let (arena, numbers) = Self::mapped(slots, slot_bytes, populated)?;
        let arena = Arc::new(arena);
        let slot = |index| SlotRef { arena: Arc::clone(&arena), index };
        Ok(numbers.map(|index| VacantSlot { slot: slot(index) }).collect())
    }

    /// Allocates slots that are used again, whose pages come with their first use.
    // Links carry data meanwhile. Touched beforehand, 64 MiB for each of 8 ranks on two cores kept all links idle
    // for the first 0.5 s of 12.
    pub(super) fn recycled(slots: usize, slot_bytes: usize) -> io::Result<Arc<Self>> {
        let (arena, numbers) = Self::mapped(slots, slot_bytes, untouched)?;
        Ok(Arc::new(Self { recycler: Some(Recycler::new(numbers.end)), ..arena }))
    }

    /// A slot of an arena that uses them again; none if none is free.
    pub(super) fn take(arena: &Arc<Self>) -> Option<VacantSlot> {
        let index = arena.recycler.as_ref()?.take()?;
        Some(VacantSlot { slot: SlotRef { arena: Arc::clone(arena), index } })
    }

    /// How many slots are free to be used again.
    pub(super) fn free(&self) -> usize {
        self.recycler.as_ref().map_or(0, Recycler::free)
    }

    fn mapped(
        slots: usize,
        slot_bytes: usize,
        map: impl FnOnce(usize) -> io::Result<MmapMut>,
    ) -> io::Result<(Self, Range<u32>)> {
        let stride = stride(slot_bytes);
        let numbers = 0..u32::try_from(slots).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let bytes = stride.checked_mul(slots).ok_or(io::ErrorKind::OutOfMemory)?;
        let memory = if bytes == 0 { Memory::Nothing } else { Memory::Map(map(bytes)?) };
        Ok((Self::within(memory, stride, slot_bytes), numbers))
    }

    /// One slot with memory of its own.
    pub(super) fn allocate_one(slot_bytes: usize) -> VacantSlot {
        let memory = Memory::Heap(vec![0; slot_bytes]);
        let arena = Arc::new(Self::within(memory, slot_bytes, slot_bytes));
        VacantSlot { slot: SlotRef { arena, index: 0 } }
    }

    fn within(mut memory: Memory, stride: usize, slot_bytes: usize) -> Self {
        let base = match &mut memory {
            Memory::Nothing => None,
            Memory::Map(map) => NonNull::new(map.as_mut_ptr()),
            Memory::Heap(bytes) => NonNull::new(bytes.as_mut_ptr()),
        };
        let base = base.unwrap_or(NonNull::dangling());
        Self { base, _memory: memory, stride, slot_bytes, recycler: None }
    }

    /// The size of a slot.
    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    fn slot(&self, index: u32) -> NonNull<u8> {
        // SAFETY: indices come from `mapped` or `allocate_one`, which reserved a stride for each.
        unsafe { self.base.add(index as usize * self.stride) }
    }
}

/// Bytes from the beginning of a slot to that of the next.
pub(super) fn stride(slot_bytes: usize) -> usize {
    slot_bytes.checked_next_multiple_of(LINE_BYTES).unwrap_or(usize::MAX)
}

/// Maps memory whose pages come with their first use.
fn untouched(bytes: usize) -> io::Result<MmapMut> {
    let map = memmap2::MmapOptions::new().len(bytes).map_anon()?;
    // Fewer page faults; huge pages may be switched off.
    #[cfg(target_os = "linux")]
    let _advised = map.advise(Advice::HugePage);
    Ok(map)
}

/// Maps memory whose pages are there at once.
// A page fault in the middle of a transfer would be counted as transfer time, so that all pages are
// touched beforehand. Transparent huge pages (2 MiB on x86-64) take a fifth of the time to populate:
// there are 512 times fewer pages.
fn populated(bytes: usize) -> io::Result<MmapMut> {
    #[cfg(target_os = "linux")]
    {
        let map = memmap2::MmapOptions::new().len(bytes).map_anon()?;
        let huge = map.advise(Advice::HugePage).and_then(|()| map.advise(Advice::PopulateWrite));
        if huge.is_ok() {
            return Ok(map);
        }
    }
    // `MADV_POPULATE_WRITE` is of Linux 5.14, and huge pages may be switched off.
    memmap2::MmapOptions::new().len(bytes).populate().map_anon()
}

/// A slot that only its holder can read and write.
pub struct VacantSlot {
    slot: SlotRef,
}

/// A slot whose bytes are written and not checked. They can only be read.
pub struct FilledSlot {
    slot: SlotRef,
    len: u32,
}

/// A verified segment. It never changes, so that anybody may read it and serve it.
#[derive(Clone)]
pub struct SealedSegment {
    slot: SlotRef,
    len: u32,
}

impl Clone for SlotRef {
    fn clone(&self) -> Self {
        if let Some(recycler) = &self.arena.recycler {
            recycler.share(self.index);
        }
        Self { arena: Arc::clone(&self.arena), index: self.index }
    }
}

impl Drop for SlotRef {
    fn drop(&mut self) {
        if let Some(recycler) = &self.arena.recycler {
            recycler.release(self.index);
        }
    }
}

impl VacantSlot {
    /// The whole slot.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let SlotRef { arena, index } = &self.slot;
        let start = arena.slot(*index).as_ptr();
        // SAFETY: this is the only value with this index (see the module): a free index is taken by one
        // only, and is free only when the last value with it was dropped (`Recycler`). It is borrowed
        // mutably, and the arena it keeps alive holds `slot_bytes` initialised bytes there.
        unsafe { std::slice::from_raw_parts_mut(start, arena.slot_bytes) }
    }

    /// Says that the first `len` bytes are written.
    ///
    /// # Panics
    ///
    /// When a slot is shorter.
    pub fn fill(self, len: usize) -> FilledSlot {
        assert!(len <= self.slot.arena.slot_bytes, "a payload is no longer than a slot");
        let len = u32::try_from(len).expect("a segment is shorter than 2 GiB");
        FilledSlot { slot: self.slot, len }
    }
}

impl FilledSlot {
    /// The bytes, unchecked.
    pub fn bytes(&self) -> &[u8] {
        read(&self.slot, self.len)
    }

    /// Checks the bytes: a segment if `digest` is theirs, else the slot, vacant again.
    ///
    /// # Errors
    ///
    /// The slot, when the bytes are something else.
    pub fn check(self, digest: Digest) -> Result<SealedSegment, VacantSlot> {
        let (found, segment) = self.hash_and_seal();
        if found == digest { Ok(segment) } else { Err(VacantSlot { slot: segment.slot }) }
    }

    /// Checks the bytes by `is_right`, for digests of another kind.
    ///
    /// # Errors
    ///
    /// The slot, when they are not.
    pub fn check_by(
        self,
        is_right: impl FnOnce(&[u8]) -> bool,
    ) -> Result<SealedSegment, VacantSlot> {
        if is_right(self.bytes()) { Ok(self.seal_unchecked()) } else { Err(self.vacate()) }
    }

    /// Seals bytes that their owner made, and returns the digest to register for them.
    pub fn hash_and_seal(self) -> (Digest, SealedSegment) {
        let digest = Digest::of_segment(self.bytes());
        (digest, SealedSegment { slot: self.slot, len: self.len })
    }

    /// Seals bytes that nobody has checked, to measure what checks cost. Wrong bytes spread.
    pub fn seal_unchecked(self) -> SealedSegment {
        SealedSegment { slot: self.slot, len: self.len }
    }

    /// Drops the bytes.
    pub fn vacate(self) -> VacantSlot {
        VacantSlot { slot: self.slot }
    }
}

impl SealedSegment {
    /// The bytes, unchecked.
    pub fn bytes(&self) -> &[u8] {
        read(&self.slot, self.len)
    }
}

impl Verified for SealedSegment {
    fn bytes(&self) -> &[u8] {
        self.bytes()
    }
}

fn read(slot: &SlotRef, len: u32) -> &[u8] {
    let start = slot.arena.slot(slot.index).as_ptr();
    // SAFETY: only `FilledSlot` and `SealedSegment` come here: while one of them exists there is
    // no `VacantSlot` with this index, so that nobody writes; `len` was checked in `fill`.
    unsafe { std::slice::from_raw_parts(start, len as usize) }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arena({} bytes a slot, {} free)", self.slot_bytes, self.free())
    }
}

impl fmt::Debug for VacantSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VacantSlot({})", self.slot.index)
    }
}

impl fmt::Debug for FilledSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilledSlot({}, {} bytes)", self.slot.index, self.len)
    }
}

impl fmt::Debug for SealedSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSegment({}, {} bytes)", self.slot.index, self.len)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_sealed_only_with_the_right_digest() {
        let mut slots = Arena::allocate(2, 100).expect("a little memory");
        let mut slot = slots.pop().expect("two slots");
        slot.bytes_mut()[..3].copy_from_slice(b"abc");
        let slot = slot.fill(3).check(Digest([0; 32])).expect_err("the digest is wrong");
        let sealed = slot.fill(3).check(Digest::of(b"abc")).expect("the digest is right");
        assert_eq!(sealed.bytes(), b"abc");
    }

    #[test]
    fn slots_do_not_overlap() {
        let mut slots = Arena::allocate(3, 65).expect("a little memory");
        for (byte, slot) in (1..).zip(&mut slots) {
            slot.bytes_mut().fill(byte);
        }
        for (byte, slot) in (1..).zip(&mut slots) {
            assert!(slot.bytes_mut().iter().all(|&b| b == byte));
        }
    }

    #[test]
    #[should_panic(expected = "no longer than a slot")]
    fn a_payload_longer_than_its_slot_is_a_bug() {
        let slot = Arena::allocate(1, 8).expect("a little memory").remove(0);
        slot.fill(9);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;

    #[test]
    fn loom_a_slot_is_written_again_only_when_nobody_reads_it() {
        // The cell stands for the bytes of a slot: `loom` does not see those of the arena.
        loom::model(|| {
            let recycler = Arc::new(Recycler::new(1));
            let bytes = Arc::new(loom::cell::UnsafeCell::new(1));
            let index = recycler.take().expect("it is free");
            recycler.share(index);
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    let (recycler, bytes) = (Arc::clone(&recycler), Arc::clone(&bytes));
                    loom::thread::spawn(move || {
                        // SAFETY: this thread has a reference, and nobody writes while there is one.
                        bytes.with(|bytes| assert_eq!(unsafe { *bytes }, 1));
                        recycler.release(index);
                    })
                })
                .collect();
            if let Some(again) = recycler.take() {
                // SAFETY: the only reference was taken; `loom` sees whether that is so.
                bytes.with_mut(|bytes| unsafe { *bytes = 2 });
                assert_eq!(recycler.take(), None, "nobody has it twice");
                recycler.release(again);
            }
            readers.into_iter().for_each(|reader| reader.join().expect("the thread ends"));
            assert_eq!(recycler.free(), 1);
        });
    }
}
