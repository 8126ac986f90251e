//! What a destination still needs of its file system.

use std::io;

use rustix::fs::{fstat, fstatvfs};

use super::super::EntryKind;
use super::look::Presence;
use super::room::{Room, Space};
use super::{Destination, DestinationError};
use crate::manifest::{SegmentId, SegmentSet};

impl Destination {
    /// The number of its file system, if files can share blocks there.
    pub(in super::super) fn cloning_device(&self) -> Option<u64> {
        let found = self.traits.clones.then(|| fstat(&self.control).ok()).flatten();
        found.map(|found| found.st_dev)
    }

    /// What is missing, and what is free. Segments that are `cloned` from the source take no room.
    ///
    /// # Errors
    ///
    /// The file system does not tell.
    pub(in super::super) fn room(&self, cloned: &SegmentSet) -> Result<Room, DestinationError> {
        let failed = |cause| DestinationError::at(self.dir.clone(), 0, io::Error::from(cause));
        let found = fstatvfs(&self.control).map_err(failed)?;
        let device = fstat(&self.control).map_err(failed)?.st_dev;
        let block = found.f_frsize.max(1);
        // Btrfs and others make inodes as they need them, and say 0 for their number.
        let files = if found.f_files > 0 { found.f_favail } else { u64::MAX };
        let free = Space { bytes: found.f_bavail.saturating_mul(block), files };
        let needed = self.needed_bytes(cloned, block).and(self.needed_entries(block));
        Ok(Room { device, free, needed })
    }

    fn needed_bytes(&self, cloned: &SegmentSet, block: u64) -> Space {
        let candidates = self.candidates();
        let takes_none = |id: &SegmentId| candidates.contains(*id) || cloned.contains(*id);
        let missing = self.missing();
        let written = missing.iter().filter(|id| !takes_none(id));
        let extents = written.flat_map(|segment| self.layout.extents(segment));
        extents.fold(Space::default(), |needed, extent| {
            let bytes = (extent.bytes as u64).div_ceil(block).saturating_mul(block);
            needed.and(Space { bytes, files: 0 })
        })
    }

    /// For files, links and folders that are new.
    fn needed_entries(&self, block: u64) -> Space {
        let mut needed = Space::default();
        let state = self.state();
        for (index, entry) in (0_u32..).zip(&self.manifest.entries) {
            if matches!(state.found[index as usize], Presence::Kept | Presence::Candidate) {
                continue;
            }
            // What an earlier attempt made of it is there already, if all of it is.
            let mut segments = self.layout.segments_of(index).map(SegmentId);
            let is_new = match entry.kind {
                EntryKind::HardLink { .. } => false,
                EntryKind::File { .. } if segments.len() > 0 => {
                    segments.any(|segment| !state.staged.contains(segment))
                }
                EntryKind::Folder | EntryKind::File { .. } | EntryKind::Link { .. } => true,
            };
            let bytes = if entry.kind == EntryKind::Folder { block } else { 0 };
            needed = needed.and(Space { bytes, files: is_new.into() });
        }
        needed
    }
}
