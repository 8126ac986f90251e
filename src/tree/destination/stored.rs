//! The manifest that lies beside a finished tree, with the roots of its files.

use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use rayon::prelude::*;
use rustix::fs::{AtFlags, renameat, unlinkat};
use rustix::io::Errno;

use super::super::{
    Entry, EntryKind, Manifest, SegmentPlace, StoredManifest, manifest_file_name, root_of_file,
    root_of_large_file,
};
use super::folder_cache::Site;
use super::segment_io::open_to_read;
use super::{CONTROL, Destination, DestinationError, DestinationState};
use crate::manifest::SegmentId;
use crate::verify::Digest;

/// The name of a manifest that is no longer that of the whole tree. It is no longer than the other.
fn aside_name(root: &[u8]) -> Vec<u8> {
    let mut name = manifest_file_name(root);
    name.truncate(name.len() - ".manifest".len());
    name.extend(b".earlier");
    name
}

impl Destination {
    /// Takes the manifests of what was there before from their names, before anything of it is replaced: that name
    /// says that all is whole.
    pub(super) fn set_manifests_aside(&self) -> Result<(), DestinationError> {
        for root in self.manifest.roots() {
            let (name, aside) = (manifest_file_name(root), aside_name(root));
            match renameat(&self.control, &*name, &self.control, &*aside) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(cause) => return Err(self.failed_control(cause.into())),
            }
        }
        Ok(())
    }

    /// Writes `DIR/.mpiswarm/<name>.manifest` for each source. Only roots that nobody knows are read from
    /// disk: those of files that were kept and that no earlier run has listed.
    pub(super) fn store_manifests(&self) -> Result<(), DestinationError> {
        let entries = &self.manifest.entries;
        let mut start = 0;
        while let Some(first) = entries.get(start) {
            let root = first.path.root();
            let count = entries[start..].partition_point(|entry| entry.path.root() == root);
            self.store_manifest(root, start..start + count)?;
            start += count;
        }
        Ok(())
    }

    fn store_manifest(&self, root: &[u8], range: Range<usize>) -> Result<(), DestinationError> {
        let name = manifest_file_name(root);
        let path = self.dir.join(CONTROL).join(OsStr::from_bytes(&name));
        let aside = aside_name(root);
        let read =
            |name| StoredManifest::read(&self.dir.join(CONTROL).join(OsStr::from_bytes(name)));
        // One that is missing or broken costs reading, no more. One that is aside is of before a publication, which
        // may have been interrupted.
        let set_aside = read(&aside).ok();
        let is_aside = set_aside.is_some();
        let earlier = set_aside.or_else(|| read(&name).ok()).unwrap_or_default();
        let indices = range.clone().into_par_iter();
        let roots: Result<Vec<Option<Digest>>, DestinationError> = indices
            .map(|index| {
                let entry = u32::try_from(index).expect("a layout numbers entries in 32 bits");
                self.root(entry, &earlier).map_err(|cause| self.failed(entry, cause))
            })
            .collect();
        let first_index = u32::try_from(range.start).expect("a layout numbers entries in 32 bits");
        let mut entries: Vec<Entry> = self.manifest.entries[range].to_vec();
        for entry in &mut entries {
            // No hard link leaves its source.
            if let EntryKind::HardLink { first } = &mut entry.kind {
                *first -= first_index;
            }
        }
        let segment_bytes = self.manifest.segment_bytes;
        let manifest = Manifest { entries, segment_bytes, ..Manifest::default() };
        let stored = StoredManifest { manifest, roots: roots? };
        // A run that has nothing to do does not wait for the disk either.
        if stored == earlier {
            let back = || renameat(&self.control, &*aside, &self.control, &*name);
            let back = if is_aside { back() } else { Ok(()) };
            return back.map_err(|cause| self.failed_control(cause.into()));
        }
        let written = stored.write(&self.control, &name);
        written.map_err(|cause| DestinationError::at(path, 0, cause))?;
        match unlinkat(&self.control, &*aside, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(cause) => Err(self.failed_control(cause.into())),
        }
    }

    fn root(&self, entry: u32, earlier: &StoredManifest) -> io::Result<Option<Digest>> {
        let wanted = &self.manifest.entries[entry as usize];
        let EntryKind::File { bytes: 1.., .. } = wanted.kind else { return Ok(None) };
        if let Some(root) = self.known_root(&self.state(), entry) {
            return Ok(Some(root));
        }
        let found = earlier
            .manifest
            .entries
            .binary_search_by(|earlier| earlier.path.components().cmp(wanted.path.components()));
        if let Ok(found) = found
            && let Some(root) = earlier.roots.get(found).copied().flatten()
            && earlier.manifest.entries[found].kind == wanted.kind
            && earlier.manifest.entries[found].modified == wanted.modified
        {
            return Ok(Some(root));
        }
        let folder = self.folders.folder(Site::Final, self.folders.parent(entry))?;
        let file = open_to_read(&folder, self.folders.name(entry))?;
        root_of_file(file, self.bytes_of_entry(entry))
    }

    /// The root of a file, where the digests of its segments are known.
    fn known_root(&self, state: &DestinationState, entry: u32) -> Option<Digest> {
        let digest = |segment: SegmentId| state.digests[segment.index()].as_ref();
        let first = self.layout.segments_of(entry).map(SegmentId).next();
        match first.map(|segment| (segment, self.layout.place(segment))) {
            Some((segment, SegmentPlace::Packed(files))) => {
                let files = self.layout.packed(files);
                let index = files.binary_search_by_key(&entry, |&(file, _)| file).ok()?;
                digest(segment)?.roots.get(index).copied()
            }
            _ => root_of_large_file(&self.manifest, &self.layout, entry, |segment| {
                digest(segment).map(|known| known.digest)
            }),
        }
    }
}
