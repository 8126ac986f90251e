//! What lies at a destination already: what of an existing tree is kept, and what an earlier attempt wrote.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fstat, futimens,
    ioctl_ficlone, openat, readlinkat, statat, unlinkat,
};
use rustix::io::Errno;

use super::super::attributes::{takes_xattrs, xattrs_of};
use super::super::time_unit::TimeUnit;
use super::super::{
    Entry, EntryKind, FileOwner, FileTime, Layout, Manifest, SegmentDigest, SegmentPlace,
};
use super::folder_cache::{BASE, Folders, Site};
use super::{DestinationError, DestinationState};
use crate::manifest::{SegmentId, SegmentSet};

/// What lies under the final name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing.
    Absent,
    /// Something else, or with other bytes.
    Other,
    /// A file of the same size that may have the same bytes.
    Candidate,
    /// What the manifest has, but perhaps for mode and time.
    Kept,
}

/// What the file system of a destination does with what it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// The permission bits that a new file keeps: neither the umask nor an access list of the folder takes
    /// them away.
    pub(super) mode: u32,
    /// The unit of its times.
    pub(super) time_unit: TimeUnit,
    /// Whom new files belong to.
    pub(super) uid: u32,
    /// Whether it takes several names for one.
    pub(super) folds: bool,
    /// Whether files can have extended attributes.
    pub(super) xattrs: bool,
    /// Whether files can share blocks.
    pub(super) clones: bool,
}

/// A letter that Unicode composes of two characters, too.
pub(super) const COMPOSED: &str = "\u{e9}";

/// The same letter, as a base and an accent.
const DECOMPOSED: &str = "e\u{301}";

/// Whether a file in this folder is found under a name that it does not have.
fn folds(folder: &OwnedFd, name: &str) -> bool {
    let others = [
        name.to_ascii_uppercase(),
        name.replace(COMPOSED, DECOMPOSED),
        // FAT and its relatives drop dots at the end.
        format!("{name}."),
    ];
    // Names that it can't have are no names of the file.
    others
        .iter()
        .any(|other| other != name && matches!(stat(folder, other.as_bytes()), Ok(Some(_))))
}

impl Traits {
    /// Tries it out with a file in this folder.
    pub(super) fn probe(folder: &OwnedFd) -> io::Result<Self> {
        let all = Mode::RWXU | Mode::RWXG | Mode::RWXO;
        let key = format!("{:032x}", rand::random::<u128>());
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut name = format!(".mpiswarm-{key}{COMPOSED}.part");
        let mut file = openat(folder, &*name, flags, all);
        if file.is_err() {
            // One that has no letters beyond ASCII.
            name = format!(".mpiswarm-{key}.part");
            file = openat(folder, &*name, flags, all);
        }
        let file = file?;
        // An odd second, and no digit that a coarser unit would keep.
        let time = FileTime { seconds: 1_234_567_891, nanos: 123_456_789 };
        let found = futimens(&file, &times(time)).and_then(|()| fstat(&file));
        let folds = folds(folder, &name);
        let xattrs = takes_xattrs(&file);
        // A file without bytes is a clone of itself, where there are clones.
        let clones = ioctl_ficlone(&file, &file).is_ok();
        // If it stays, the next run removes it.
        let _ = unlinkat(folder, &*name, AtFlags::empty());
        let found = found?;
        let time_unit = TimeUnit::of_kept(time, modified(&found));
        let (mode, uid) = (found.st_mode & 0o777, found.st_uid);
        Ok(Self { mode, time_unit, uid, folds, xattrs, clones })
    }
}

/// Whether what is kept of files can be kept here.
pub(super) fn check_attributes(
    dir: &Path,
    manifest: &Manifest,
    traits: &Traits,
) -> Result<(), DestinationError> {
    let mut attributes = manifest.entries.iter().map(|entry| &entry.attributes);
    if traits.uid != 0 && attributes.clone().any(|one| one.owner.is_some()) {
        return Err(DestinationError::NotRoot { dir: dir.to_owned() });
    }
    let has_some = |xattrs: &[_]| !xattrs.is_empty();
    if !traits.xattrs && attributes.any(|one| one.xattrs.as_deref().is_some_and(has_some)) {
        return Err(DestinationError::NoXattrs { dir: dir.to_owned() });
    }
    Ok(())
}

/// The time of a manifest as the system takes it; the last access stays.
pub(super) fn times(modified: FileTime) -> Timestamps {
    // Beyond a second lie numbers that stand for "now" and "leave it" (utimensat(2)).
    let nanos = modified.nanos.min(999_999_999);
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: modified.seconds, tv_nsec: nanos.into() },
    }
}

/// When what was found was changed.
pub(super) fn modified(found: &Stat) -> FileTime {
    let nanos = u32::try_from(found.st_mtime_nsec).unwrap_or_default();
    FileTime { seconds: found.st_mtime, nanos }
}

/// What has this name in an open folder, links not followed.
pub(super) fn stat(folder: &OwnedFd, name: &[u8]) -> rustix::io::Result<Option<Stat>> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(cause) => Err(cause),
    }
}

pub(super) fn type_of(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

/// A file by what no two files of a host share.
type FileKey = (u64, u64);

/// Looks at one entry after the other.
struct Look<'a> {
    manifest: &'a Manifest,
    folders: &'a Folders,
    traits: &'a Traits,
    checksum: bool,
    found: Vec<Presence>,
    /// Which entry a file with several names was found for.
    owners: HashMap<FileKey, u32>,
}

impl Look<'_> {
    fn entry(&mut self, index: u32) -> io::Result<Presence> {
        let parent = self.folders.parent(index);
        if parent != BASE && self.found[parent as usize] != Presence::Kept {
            return Ok(Presence::Absent);
        }
        let folder = self.folders.folder(Site::Final, parent)?;
        let name = self.folders.name(index);
        let Some(found) = stat(&folder, name)? else { return Ok(Presence::Absent) };
        let entry = &self.manifest.entries[index as usize];
        let key = (found.st_dev, found.st_ino);
        let same_time = self.traits.time_unit.is_same(modified(&found), entry.modified);
        let is_same = match (&entry.kind, type_of(&found)) {
            (EntryKind::Folder, FileType::Directory) => true,
            (EntryKind::Link { target }, FileType::Symlink) => {
                let same_owner =
                    entry.attributes.owner.is_none_or(|owner| owner == FileOwner::of(&found));
                same_time
                    && same_owner
                    && readlinkat(&folder, name, Vec::new())?.as_bytes() == &target[..]
            }
            (EntryKind::HardLink { first }, FileType::RegularFile) => {
                self.owners.get(&key) == Some(first)
            }
            (EntryKind::File { bytes, .. }, FileType::RegularFile) => {
                let is_same = u64::try_from(found.st_size) == Ok(*bytes);
                let is_same =
                    is_same && (same_time || self.checksum) && self.is_own(index, &folder, &found);
                if is_same && self.checksum && *bytes > 0 {
                    return Ok(Presence::Candidate);
                }
                is_same
            }
            _ => false,
        };
        Ok(if is_same { Presence::Kept } else { Presence::Other })
    }

    /// Whether a file with several names can be kept: two files of the source must not become one, and no name
    /// outside of the tree may change its mode with ours.
    fn is_own(&mut self, index: u32, folder: &OwnedFd, found: &Stat) -> bool {
        if found.st_nlink < 2 {
            return true;
        }
        let entry = &self.manifest.entries[index as usize];
        let has_attributes = || has_attributes(entry, folder, self.folders.name(index), found);
        if found.st_mode & 0o7777 != entry.mode || !has_attributes() {
            return false;
        }
        *self.owners.entry((found.st_dev, found.st_ino)).or_insert(index) == index
    }
}

/// Whether owner and extended attributes are those of an entry.
fn has_attributes(entry: &Entry, folder: &OwnedFd, name: &[u8], found: &Stat) -> bool {
    let attributes = &entry.attributes;
    // What can't be read is written anew.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let xattrs = || xattrs_of(openat(folder, name, flags, Mode::empty()).ok()?).ok();
    attributes.owner.is_none_or(|owner| owner == FileOwner::of(found))
        && (attributes.xattrs.is_none() || attributes.xattrs == xattrs())
}

impl DestinationState {
    /// Looks at what lies under the final names.
    pub(super) fn look(
        dir: &Path,
        manifest: &Manifest,
        layout: &Layout,
        folders: &Folders,
        traits: &Traits,
        checksum: bool,
    ) -> Result<Self, DestinationError> {
        let (found, owners) = (Vec::with_capacity(manifest.entries.len()), HashMap::new());
        let mut look = Look { manifest, folders, traits, checksum, found, owners };
        for (index, entry) in (0_u32..).zip(&manifest.entries) {
            let failed = |cause| DestinationError::at(dir.join(entry.path.as_os_str()), 0, cause);
            let found = look.entry(index).map_err(failed)?;
            look.found.push(found);
        }
        let count = layout.segment_count();
        let mut state = Self {
            found: look.found,
            existing: SegmentSet::none_of(count),
            staged: SegmentSet::none_of(count),
            digests: vec![None; count as usize],
            is_published: false,
        };
        for segment in (0..count).map(SegmentId) {
            let mut extents = layout.extents(segment);
            if extents.all(|extent| state.found[extent.entry as usize] == Presence::Kept) {
                state.existing.insert(segment);
            }
        }
        Ok(state)
    }

    /// Takes over a segment that an earlier attempt wrote, where its files are still there.
    pub(super) fn resume(
        &mut self,
        (manifest, layout, folders): (&Manifest, &Layout, &Folders),
        segment: SegmentId,
        digest: SegmentDigest,
    ) {
        let roots = match layout.place(segment) {
            SegmentPlace::Part(_) => 0,
            SegmentPlace::Packed(files) => layout.packed(files).len(),
        };
        let is_there = layout.extents(segment).all(|extent| {
            let entry = extent.entry;
            if self.found[entry as usize] == Presence::Kept {
                return true;
            }
            let EntryKind::File { bytes, .. } = manifest.entries[entry as usize].kind else {
                return false;
            };
            let folder = folders.folder(Site::Partial, folders.parent(entry)).ok();
            let found = folder.and_then(|folder| stat(&folder, folders.name(entry)).ok().flatten());
            found.is_some_and(|found| {
                let is_file = type_of(&found) == FileType::RegularFile;
                is_file && u64::try_from(found.st_size) == Ok(bytes)
            })
        });
        if is_there && roots == digest.roots.len() && !self.existing.contains(segment) {
            self.staged.insert(segment);
            self.digests[segment.index()] = Some(digest);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_finds_a_file_under_another_name_folds_names() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = OwnedFd::from(std::fs::File::open(dir.path()).expect("a folder"));
        let name = format!("probe{COMPOSED}");
        let others = ["PROBE\u{e9}", "probee\u{301}", "probe\u{e9}."];
        std::fs::write(dir.path().join(&name), "").expect("a small file");
        assert!(!folds(&folder, &name));
        for other in others {
            // Another file of this name looks the same from here.
            std::fs::write(dir.path().join(other), "").expect("a small file");
            assert!(folds(&folder, &name), "{other}");
            std::fs::remove_file(dir.path().join(other)).expect("ours");
        }
    }
}
