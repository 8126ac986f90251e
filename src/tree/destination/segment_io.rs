//! Segments in and out of the files of a destination.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::slice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, fchmod, fstat, ftruncate, futimens, openat, unlinkat,
};
use rustix::io::{Errno, pread, pwrite};

use super::super::{EntryKind, Extent, SegmentDigest, SegmentPlace};
use super::folder_cache::Site;
use super::look::{Presence, times, type_of};
use super::{CONTROL, Destination, DestinationError};
use crate::manifest::SegmentId;

impl Destination {
    /// Writes a verified segment into files that have no final name yet. One that is there already is left.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn write(
        &self,
        segment: SegmentId,
        payload: &[u8],
        digest: &SegmentDigest,
    ) -> Result<(), DestinationError> {
        let place = self.layout.place(segment);
        let roots = match place {
            SegmentPlace::Part(_) => 0,
            SegmentPlace::Packed(files) => self.layout.packed(files).len(),
        };
        if payload.len() != self.layout.bytes_of(segment) || digest.roots.len() != roots {
            return Err(self.size(segment));
        }
        if !self.lacks(segment) {
            return Ok(());
        }
        match place {
            SegmentPlace::Part(extent) => self
                .write_extent(extent, payload)
                .map_err(|cause| self.failed(extent.entry, cause))?,
            SegmentPlace::Packed(files) => {
                self.write_packed(self.layout.packed(files), payload)?;
            }
        }
        self.note_written(segment, digest)
    }

    /// Writes a segment of the partial tree once more, because its files have other bytes than were written.
    ///
    /// # Errors
    ///
    /// When the disk does not take it, or the segment has its final name or is about to.
    pub fn rewrite(&self, segment: SegmentId, payload: &[u8]) -> Result<(), DestinationError> {
        let has_begun = self.publication.write().unwrap_or_else(PoisonError::into_inner);
        let is_staged = self.state().staged.contains(segment);
        if *has_begun || !is_staged || payload.len() != self.layout.bytes_of(segment) {
            return Err(self.corrupt(segment));
        }
        match self.layout.place(segment) {
            // The whole of it: wrong bytes may lie where a hole should be.
            SegmentPlace::Part(extent) => self
                .large_file(extent.entry)
                .and_then(|file| write_all(&file, payload, extent.offset))
                .map_err(|cause| self.failed(extent.entry, cause)),
            SegmentPlace::Packed(files) => self.write_packed(self.layout.packed(files), payload),
        }
    }

    /// A segment was read back with other bytes, and nobody has the right ones.
    pub(in super::super) fn give_up(&self, segment: SegmentId) -> DestinationError {
        // A rerun must not believe it, if the disk still takes a note of that.
        self.discard(segment).err().unwrap_or_else(|| self.corrupt(segment))
    }

    fn corrupt(&self, segment: SegmentId) -> DestinationError {
        let first = self.layout.extents(segment).next();
        let path = first.map_or_else(|| self.dir.clone(), |extent| self.path(extent.entry));
        DestinationError::Corrupt { path }
    }

    /// Takes a segment as written that lies in files of the partial tree.
    pub(in super::super) fn note_written(
        &self,
        segment: SegmentId,
        digest: &SegmentDigest,
    ) -> Result<(), DestinationError> {
        let bytes = self.layout.bytes_of(segment) as u64;
        // ORDERING: Relaxed; a statistic, publishes nothing.
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.journal.add(segment, digest).map_err(|cause| self.failed_journal(cause))?;
        let mut state = self.state();
        state.staged.insert(segment);
        state.digests[segment.index()] = Some(digest.clone());
        Ok(())
    }

    pub(super) fn failed_journal(&self, cause: io::Error) -> DestinationError {
        // ORDERING: Relaxed; a statistic, publishes nothing.
        let written = self.written_bytes.load(Ordering::Relaxed);
        let path = self.dir.join(CONTROL).join(&self.partial_name).join("journal");
        DestinationError::at(path, written, cause)
    }

    /// Writes what of a part of a large file is data. Where the list of the source has missed some, all is written:
    /// all was hashed.
    pub(super) fn write_extent(&self, extent: &Extent, payload: &[u8]) -> io::Result<()> {
        let file = self.large_file(extent.entry)?;
        let within = |at: u64| usize::try_from(at - extent.offset).unwrap_or(payload.len());
        let within_payload = self.data_within(extent).map(|it| within(it.start)..within(it.end));
        if !is_zero_outside(payload, within_payload) {
            return write_all(&file, payload, extent.offset);
        }
        self.data_within(extent).try_for_each(|range| {
            write_all(&file, &payload[within(range.start)..within(range.end)], range.start)
        })
    }

    /// Where a part of a large file has data.
    pub(super) fn data_within(&self, extent: &Extent) -> impl Iterator<Item = Range<u64>> {
        let ranges = match &self.manifest.entries[extent.entry as usize].kind {
            EntryKind::File { data: Some(ranges), .. } => ranges,
            EntryKind::File { data: None, .. } => slice::from_ref(&(0..u64::MAX)),
            EntryKind::Folder | EntryKind::Link { .. } | EntryKind::HardLink { .. } => &[],
        };
        let (start, end) = (extent.offset, extent.offset + extent.bytes as u64);
        // Ranges are ascending: those before this part are skipped without a look at each.
        let first = ranges.partition_point(|range| range.end <= start);
        let within = ranges[first..].iter().take_while(move |range| range.start < end);
        within.map(move |range| range.start.max(start)..range.end.min(end))
    }

    /// A large file of the partial tree, at its full size.
    pub(super) fn large_file(&self, entry: u32) -> io::Result<Arc<OwnedFd>> {
        self.folders.file(Site::Partial, entry, true, || {
            let folder = self.folders.make_folder(self.folders.parent(entry))?;
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            // Its own mode comes last: it may not allow to open the file again.
            let file = openat(&*folder, self.folders.name(entry), flags, Mode::RUSR | Mode::WUSR)?;
            // The rest of the file is a hole until it is written. Threads may meet here: both set one size.
            let bytes = self.bytes_of_entry(entry);
            if u64::try_from(fstat(&file)?.st_size) != Ok(bytes) {
                ftruncate(&file, bytes)?;
            }
            Ok(file)
        })
    }

    pub(super) fn bytes_of_entry(&self, entry: u32) -> u64 {
        match self.manifest.entries[entry as usize].kind {
            EntryKind::File { bytes, .. } => bytes,
            EntryKind::Folder | EntryKind::Link { .. } | EntryKind::HardLink { .. } => 0,
        }
    }

    fn write_packed(&self, files: &[(u32, u32)], payload: &[u8]) -> Result<(), DestinationError> {
        let kept: Vec<bool> = {
            let mut state = self.state();
            let kept = files.iter().map(|&(entry, _)| {
                let found = &mut state.found[entry as usize];
                if *found == Presence::Candidate {
                    *found = Presence::Other;
                }
                *found == Presence::Kept
            });
            kept.collect()
        };
        // Files follow each other folder by folder.
        let mut open: Option<(u32, Arc<OwnedFd>)> = None;
        let mut rest = payload;
        for (&(entry, bytes), kept) in files.iter().zip(kept) {
            let (bytes, behind) = rest.split_at(bytes as usize);
            rest = behind;
            if kept {
                continue;
            }
            let parent = self.folders.parent(entry);
            let failed = |cause| self.failed(entry, cause);
            let folder = match open.take_if(|(folder, _)| *folder == parent) {
                Some((_, folder)) => folder,
                None => self.folders.make_folder(parent).map_err(failed)?,
            };
            self.write_small(&folder, entry, bytes).map_err(failed)?;
            open = Some((parent, folder));
        }
        Ok(())
    }

    // Four or five calls a file; all of a tree of small files is spent here.
    pub(super) fn write_small(&self, folder: &OwnedFd, entry: u32, bytes: &[u8]) -> io::Result<()> {
        let name = self.folders.name(entry);
        let file = &self.manifest.entries[entry as usize];
        let EntryKind::File { data, .. } = &file.kind else { return Ok(()) };
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // To be read again, by this process, before it is published.
        let mode = Mode::from_raw_mode((file.mode | 0o400) & 0o777);
        let opened = match openat(folder, name, flags, mode) {
            // An attempt that was killed left it half done.
            Err(Errno::EXIST) => {
                unlinkat(folder, name, AtFlags::empty())?;
                openat(folder, name, flags, mode)?
            }
            opened => opened?,
        };
        let written = (|| {
            match data {
                None => write_all(&opened, bytes, 0)?,
                Some(ranges) => {
                    let within = |at: u64| usize::try_from(at).unwrap_or(bytes.len());
                    let mut data = ranges.iter().map(|it| within(it.start)..within(it.end));
                    if is_zero_outside(bytes, data.clone()) {
                        ftruncate(&opened, bytes.len() as u64)?;
                        data.try_for_each(|range| {
                            write_all(&opened, &bytes[range.clone()], range.start as u64)
                        })?;
                    } else {
                        write_all(&opened, bytes, 0)?;
                    }
                }
            }
            let has_changed = file.attributes.apply(&opened)?;
            // A write and a new owner take the set-user-id bit away, so that it comes after them.
            if has_changed || file.mode & !self.traits.mode != 0 {
                fchmod(&opened, Mode::from_raw_mode(file.mode | 0o400))?;
            }
            Ok(futimens(&opened, &times(file.modified))?)
        })();
        if written.is_err() {
            // On a full disk it gives room back. If it fails too, the first error is the one that matters.
            let _ = unlinkat(folder, name, AtFlags::empty());
        }
        written
    }

    /// Reads a segment that is not missing, its extents one behind the other; returns how many bytes there
    /// are. The caller hashes them.
    ///
    /// # Errors
    ///
    /// When a file can't be read, or has been changed.
    pub fn read(&self, segment: SegmentId, out: &mut [u8]) -> Result<usize, DestinationError> {
        let _unchanged = self.publication.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.layout.bytes_of(segment);
        let mut rest = out.get_mut(..bytes).ok_or_else(|| self.size(segment))?;
        let is_part = matches!(self.layout.place(segment), SegmentPlace::Part(_));
        for extent in self.layout.extents(segment) {
            let (here, behind) = std::mem::take(&mut rest).split_at_mut(extent.bytes);
            rest = behind;
            let site = {
                let state = self.state();
                let is_staged = state.staged.contains(segment) && !state.is_published;
                let is_kept = state.found[extent.entry as usize] == Presence::Kept;
                if is_staged && !is_kept { Site::Partial } else { Site::Final }
            };
            let read = match self.read_extent(site, &extent, is_part, here) {
                // It may have been published between the two calls.
                Err(cause) if site == Site::Partial => {
                    self.read_extent(Site::Final, &extent, is_part, here).map_err(|_| cause)
                }
                read => read,
            };
            read.map_err(|cause| self.failed(extent.entry, cause))?;
        }
        Ok(bytes)
    }

    pub(super) fn read_extent(
        &self,
        site: Site,
        extent: &Extent,
        is_part: bool,
        out: &mut [u8],
    ) -> io::Result<()> {
        let open = || {
            let folder = self.folders.folder(site, self.folders.parent(extent.entry))?;
            open_to_read(&folder, self.folders.name(extent.entry))
        };
        if is_part {
            read_exact(&*self.folders.file(site, extent.entry, false, open)?, out, extent.offset)
        } else {
            read_exact(&open()?, out, extent.offset)
        }
    }

    fn size(&self, segment: SegmentId) -> DestinationError {
        DestinationError::Size { dir: self.dir.clone(), segment: segment.0 }
    }
}

/// Opens a regular file without following a link, and without waiting at a fifo.
pub(super) fn open_to_read(folder: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::empty())?;
    if type_of(&fstat(&file)?) == FileType::RegularFile {
        Ok(file)
    } else {
        Err(io::Error::other("no longer a regular file"))
    }
}

/// Whether a payload has no data but in these ranges, which are ascending.
// A file may get data in a hole while it is listed, and a file system may tell holes that are none.
fn is_zero_outside(payload: &[u8], data: impl Iterator<Item = Range<usize>>) -> bool {
    let is_zero = |gap: &[u8]| gap.iter().all(|&byte| byte == 0);
    let mut end = 0;
    for range in data {
        if !is_zero(&payload[end..range.start]) {
            return false;
        }
        end = range.end;
    }
    is_zero(&payload[end..])
}

fn write_all(file: &OwnedFd, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(())
}

pub(super) fn read_exact(file: &OwnedFd, mut out: &mut [u8], mut at: u64) -> io::Result<()> {
    while !out.is_empty() {
        match pread(file, &mut *out, at) {
            Ok(0) => return Err(io::Error::other("shorter than it was")),
            Ok(read) => {
                out = &mut out[read..];
                at += read as u64;
            }
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
    Ok(())
}
