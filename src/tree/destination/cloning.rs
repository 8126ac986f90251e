//! Parts of large files that share the blocks of another file (reflinks, ioctl_ficlonerange(2)): nothing is
//! written, and the disk keeps one copy.
//!
//! Only what was hashed is published. So the part is made first, and then the part itself is read and hashed, not
//! the source: what is written to the source in between, also through a mapping, is in neither.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::copy_file_range;
use rustix::io::Errno;

use super::super::{Extent, SegmentPlace};
use super::Destination;
use super::segment_io::read_exact;
use crate::manifest::SegmentId;

impl Destination {
    /// Makes a missing part of a large file share the blocks of the source file, and reads it as it lies here
    /// into the front of `out`. It stays missing until [`Destination::note_written`].
    ///
    /// # Errors
    ///
    /// When the file system can't: the segment is to be written.
    pub(in super::super) fn clone_from(
        &self,
        segment: SegmentId,
        source: &OwnedFd,
        out: &mut [u8],
    ) -> io::Result<()> {
        let extent = self.cloneable(segment)?;
        let file = self.share(extent, source)?;
        read_exact(&file, &mut out[..extent.bytes], extent.offset)
    }

    /// Makes it share the blocks of another destination of the same manifest, where they were hashed.
    ///
    /// # Errors
    ///
    /// When the file system can't.
    pub(in super::super) fn clone_beside(
        &self,
        segment: SegmentId,
        other: &Self,
    ) -> io::Result<()> {
        let extent = self.cloneable(segment)?;
        // Nobody but that attempt writes there.
        self.share(extent, &*other.large_file(extent.entry)?).map(drop)
    }

    // Small files are written: they cost calls rather than bytes, and a clone is one more call. Where blocks
    // can't be shared, copy_file_range(2) copies within the kernel. To be hashed the bytes are read all the same,
    // so that a read would take the place of the write, and nothing is saved.
    fn cloneable(&self, segment: SegmentId) -> io::Result<&Extent> {
        match self.layout.place(segment) {
            SegmentPlace::Part(extent) if self.traits.clones && self.lacks(segment) => Ok(extent),
            SegmentPlace::Part(_) | SegmentPlace::Packed(_) => {
                Err(io::ErrorKind::Unsupported.into())
            }
        }
    }

    fn share(&self, extent: &Extent, from: &OwnedFd) -> io::Result<Arc<OwnedFd>> {
        let to = self.large_file(extent.entry)?;
        // Holes stay holes.
        self.data_within(extent).try_for_each(|range| copy_range(from, &to, range))?;
        Ok(to)
    }
}

/// Has the file system copy bytes to the same place of another file. Linux shares their blocks where it can.
pub(super) fn copy_range(from: &OwnedFd, to: &OwnedFd, range: Range<u64>) -> io::Result<()> {
    let (mut from_at, mut to_at) = (range.start, range.start);
    while from_at < range.end {
        let left = usize::try_from(range.end - from_at).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), left) {
            Ok(0) => return Err(io::Error::other("shorter than it was")),
            Ok(_) | Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(())
}
