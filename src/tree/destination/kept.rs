//! Segments that files under their final names have already, by content.

use std::sync::PoisonError;

use super::super::{EntryKind, SegmentDigest, SegmentPlace};
use super::look::Presence;
use super::{Destination, DestinationError};
use crate::manifest::{SegmentId, SegmentSet};

impl Destination {
    /// With `checksum`: missing segments that files of the same size may have already. The caller reads and
    /// hashes them; one with the right digest is kept by [`Destination::keep`], another one is written.
    pub fn candidates(&self) -> SegmentSet {
        let mut candidates = SegmentSet::none_of(self.layout.segment_count());
        let missing = self.missing();
        let state = self.state();
        for segment in missing.iter() {
            let is_there = |entry: u32| {
                matches!(state.found[entry as usize], Presence::Candidate | Presence::Kept)
            };
            if self.layout.extents(segment).all(|extent| is_there(extent.entry)) {
                candidates.insert(segment);
            }
        }
        candidates
    }

    /// Keeps a candidate that has the right bytes.
    pub fn keep(&self, segment: SegmentId, digest: &SegmentDigest) {
        let mut state = self.state();
        state.existing.insert(segment);
        state.digests[segment.index()] = Some(digest.clone());
        match self.layout.place(segment) {
            SegmentPlace::Packed(files) => {
                for &(entry, _) in self.layout.packed(files) {
                    state.found[entry as usize] = Presence::Kept;
                }
            }
            SegmentPlace::Part(extent) => {
                let segments = self.layout.segments_of(extent.entry);
                // A file with holes is written anew from what is kept of it: it may have data in the holes.
                let EntryKind::File { bytes, .. } =
                    self.manifest.entries[extent.entry as usize].kind
                else {
                    return;
                };
                let has_holes =
                    bytes.div_ceil(self.layout.segment_bytes() as u64) > segments.len() as u64;
                if !has_holes && segments.map(SegmentId).all(|id| state.existing.contains(id)) {
                    state.found[extent.entry as usize] = Presence::Kept;
                }
            }
        }
    }

    /// Takes back a segment that was kept, or written by this or an earlier attempt, and turned out to have other
    /// bytes. It is missing again, for a rerun, too.
    ///
    /// # Errors
    ///
    /// When the disk does not take the note about it.
    pub fn discard(&self, segment: SegmentId) -> Result<(), DestinationError> {
        self.resumed.lock().unwrap_or_else(PoisonError::into_inner).remove(segment);
        let was_staged = {
            let mut state = self.state();
            state.digests[segment.index()] = None;
            let was_staged = state.staged.contains(segment);
            state.staged.remove(segment);
            was_staged
        };
        if was_staged {
            self.journal.discard(segment).map_err(|cause| self.failed_journal(cause))?;
        }
        let mut state = self.state();
        if !state.existing.contains(segment) {
            return Ok(());
        }
        state.existing.remove(segment);
        for extent in self.layout.extents(segment) {
            // Other parts of a large file may be right.
            let is_part = matches!(self.layout.place(segment), SegmentPlace::Part(_));
            let found = if is_part { Presence::Candidate } else { Presence::Other };
            state.found[extent.entry as usize] = found;
        }
        Ok(())
    }
}
