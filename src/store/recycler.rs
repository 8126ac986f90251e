//! Which slots of an arena are free: a reference count a slot, as in `Arc`, and a lock-free queue of
//! the free ones (Vyukov's bounded queue, in `crossbeam`).
//!
//! A slot's index is in the queue while its count is 0. Whoever takes it out has the only reference;
//! whoever drops the last one puts it back, on any thread.

use crate::sync::{ArrayQueue, AtomicU32, Ordering};

/// The references to the slots of one arena.
#[derive(Debug)]
pub(super) struct Recycler {
    // Side by side: slots are shared rarely, and one that is has a cache line of its own soon enough.
    counts: Box<[AtomicU32]>,
    free: ArrayQueue<u32>,
}

impl Recycler {
    /// `slots` slots, all of them free.
    pub(super) fn new(slots: u32) -> Self {
        // A queue has room for at least one.
        let free = ArrayQueue::new(slots.max(1) as usize);
        (0..slots).for_each(|index| free.push(index).expect("the queue has room for all"));
        Self { counts: (0..slots).map(|_| AtomicU32::new(0)).collect(), free }
    }

    /// Takes a free slot; the caller has its only reference.
    pub(super) fn take(&self) -> Option<u32> {
        let index = self.free.pop()?;
        // ORDERING: Relaxed; nobody else has the index, and the queue publishes it.
        self.counts[index as usize].store(1, Ordering::Relaxed);
        Some(index)
    }

    /// Adds a reference to a slot; the caller has one.
    pub(super) fn share(&self, index: u32) {
        // A count can't overflow: each reference is a value of 16 bytes in memory, and none is forgotten
        // but at the end of a process.
        // ORDERING: Relaxed; the caller's own reference keeps the slot, and whatever hands the new one to
        // another thread publishes it.
        self.counts[index as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Drops a reference to a slot; with the last one it is free.
    pub(super) fn release(&self, index: u32) {
        // ORDERING: AcqRel; pairs with itself: the Release of each reader orders its reads before the
        // Acquire of the last one, and that before all that the next owner writes.
        if self.counts[index as usize].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.free.push(index).expect("each index is in the queue at most once");
        }
    }

    /// How many slots are free; others may take them meanwhile.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }
}
