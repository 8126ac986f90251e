//! Segments of a tree in memory: those that were received or read last. The rest lies on disk.

use std::collections::{HashMap, VecDeque};

use crate::manifest::SegmentId;
use crate::store::SealedSegment;

#[derive(Debug)]
struct CachedSegment {
    sealed: SealedSegment,
    /// Sends that have not ended.
    sending: u32,
    /// Whether it lies on disk, so that memory need not keep it.
    written: bool,
}

/// The cache: first in, first out. Rarest first spreads what is new, so that what came first is asked for
/// last.
#[derive(Debug, Default)]
pub(super) struct SegmentCache {
    segments: HashMap<SegmentId, CachedSegment>,
    /// In the order in which they came. Those that were evicted out of turn are passed over.
    order: VecDeque<SegmentId>,
    evictable: usize,
}

impl SegmentCache {
    pub(super) fn insert(&mut self, segment: SegmentId, sealed: SealedSegment, written: bool) {
        let cached = CachedSegment { sealed, sending: 0, written };
        self.evictable += usize::from(written);
        if let Some(before) = self.segments.insert(segment, cached) {
            // A second copy, of the end game: its sends have slots of their own.
            self.evictable -= usize::from(before.written && before.sending == 0);
        } else {
            self.order.push_back(segment);
        }
    }

    /// How many slots evictions would make vacant.
    pub(super) fn evictable(&self) -> usize {
        self.evictable
    }

    pub(super) fn note_written(&mut self, segment: SegmentId) {
        if let Some(cached) = self.segments.get_mut(&segment) {
            self.evictable += usize::from(!cached.written && cached.sending == 0);
            cached.written = true;
        }
    }

    /// A segment to send, if it is here.
    pub(super) fn begin_send(&mut self, segment: SegmentId) -> Option<SealedSegment> {
        let cached = self.segments.get_mut(&segment)?;
        self.evictable -= usize::from(cached.written && cached.sending == 0);
        cached.sending += 1;
        Some(cached.sealed.clone())
    }

    pub(super) fn end_send(&mut self, segment: SegmentId) {
        if let Some(cached) = self.segments.get_mut(&segment)
            && cached.sending > 0
        {
            cached.sending -= 1;
            self.evictable += usize::from(cached.written && cached.sending == 0);
        }
    }

    /// Drops the oldest segment that nobody needs in memory; false if there is none.
    pub(super) fn evict(&mut self) -> bool {
        if self.evictable == 0 {
            return false;
        }
        for _ in 0..self.order.len() {
            let Some(segment) = self.order.pop_front() else { break };
            let Some(cached) = self.segments.get(&segment) else { continue };
            if cached.written && cached.sending == 0 {
                self.segments.remove(&segment);
                self.evictable -= 1;
                return true;
            }
            self.order.push_back(segment);
        }
        false
    }
}
