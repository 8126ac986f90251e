//! Gives the entries of a tree their final names.
//!
//! First what has no bytes of its own is made in the partial tree: folders, links, empty files. All of it is
//! synced. Then each new entry moves to its place with one rename, a new folder with all that is in it, and
//! folders get their modes and times, deepest first. A run that is killed in between goes on in the same
//! order: an entry that has moved is found to be as it should be.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::PoisonError;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, chownat, fstat, linkat, openat, renameat,
    renameat_with, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::super::{Attributes, EntryKind, Extent, FilterVerdict, SegmentPlace, TreePath};
use super::cloning::copy_range;
use super::folder_cache::{BASE, Site, allow, open_folder};
use super::look::{Presence, modified, stat, times, type_of};
use super::segment_io::open_to_read;
use super::trash::{Trash, names, set_mode};
use super::{CONTROL, Destination, DestinationError};
use crate::manifest::SegmentId;

/// What a publication did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Entries that are new or were replaced.
    pub written: u64,
    /// Entries that were there and stay.
    pub kept: u64,
    /// Names that the source has not, and that went, with all below them.
    pub deleted: u64,
}

impl Destination {
    /// Gives final names to all, when no segment is missing. Called again, it does what a failed call has
    /// left.
    ///
    /// # Errors
    ///
    /// When a segment is missing, or the disk fails. What has a final name then is whole.
    pub fn publish(&self) -> Result<Published, DestinationError> {
        let missing = self.missing().len();
        if missing > 0 {
            return Err(DestinationError::Incomplete { dir: self.dir.clone(), count: missing });
        }
        // From here on no file of the partial tree is written again.
        *self.publication.write().unwrap_or_else(PoisonError::into_inner) = true;
        let kept = self.kept();
        let count = u32::try_from(kept.len()).expect("a layout numbers entries in 32 bits");
        let entries = (0..count).zip(kept.iter().copied());
        let mut published = Published::default();
        for (entry, is_kept) in entries.clone() {
            if is_kept {
                published.kept += 1;
            } else {
                published.written += 1;
                self.make(entry, &kept).map_err(|cause| self.failed(entry, cause))?;
            }
        }
        for (entry, is_kept) in entries.clone().rev() {
            if !is_kept && self.is_folder(entry) {
                // What moves to another folder has to be writable itself (rename(2)).
                let mode = if self.is_top(entry, &kept) { 0o700 } else { 0 };
                self.finish(Site::Partial, entry, mode)
                    .map_err(|cause| self.failed(entry, cause))?;
            }
        }
        if published.written > 0 || self.options.delete {
            self.set_manifests_aside()?;
        }
        if published.written > 0 {
            self.sync()?;
        }
        let trash = Trash::open(&self.control).map_err(|cause| self.failed_control(cause))?;
        for (entry, is_kept) in entries.clone() {
            if !is_kept && self.is_top(entry, &kept) {
                self.place(entry, &trash).map_err(|cause| {
                    if cause.kind() == io::ErrorKind::AlreadyExists {
                        DestinationError::Appeared { path: self.path(entry) }
                    } else {
                        self.failed(entry, cause)
                    }
                })?;
            }
        }
        if self.options.delete {
            published.deleted = self.delete(&kept, &trash)?;
        }
        // Deepest first: what goes into a folder, or out of it, changes its time.
        for (entry, is_kept) in entries.rev() {
            if is_kept || self.is_top(entry, &kept) {
                self.finish(Site::Final, entry, 0).map_err(|cause| self.failed(entry, cause))?;
            }
        }
        if published.written + published.deleted > 0 {
            self.sync()?;
        }
        self.store_manifests()?;
        self.state().is_published = true;
        self.folders.close();
        let gone = trash.take(&self.control, self.partial_name.as_bytes());
        match gone {
            // It went when this was called before.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            gone => gone.map_err(|cause| self.failed_control(cause))?,
        }
        trash.empty().map_err(|cause| self.failed_control(cause))?;
        Ok(published)
    }

    /// Which entries stay as they are, but for mode and time.
    fn kept(&self) -> Vec<bool> {
        let state = self.state();
        let is_kept = |entry: u32| state.found[entry as usize] == Presence::Kept;
        let entries = (0_u32..).zip(&self.manifest.entries);
        entries
            .map(|(index, entry)| match entry.kind {
                EntryKind::HardLink { first } => is_kept(index) && is_kept(first),
                EntryKind::Folder | EntryKind::File { .. } | EntryKind::Link { .. } => {
                    is_kept(index)
                }
            })
            .collect()
    }

    fn is_folder(&self, entry: u32) -> bool {
        self.manifest.entries[entry as usize].kind == EntryKind::Folder
    }

    /// Whether an entry moves by itself, and not with the folder that it lies in.
    fn is_top(&self, entry: u32, kept: &[bool]) -> bool {
        let parent = self.folders.parent(entry);
        !kept[entry as usize] && (parent == BASE || kept[parent as usize])
    }

    fn sync(&self) -> Result<(), DestinationError> {
        if !self.options.sync {
            return Ok(());
        }
        self.journal.sync(&self.control).map_err(|cause| self.failed_control(cause))
    }

    pub(super) fn failed_control(&self, cause: io::Error) -> DestinationError {
        DestinationError::at(self.dir.join(CONTROL), 0, cause)
    }

    /// Makes an entry in the partial tree, but for the bytes that came as segments.
    fn make(&self, entry: u32, kept: &[bool]) -> io::Result<()> {
        let (folders, name) = (&self.folders, self.folders.name(entry));
        let new = &self.manifest.entries[entry as usize];
        let parent = folders.parent(entry);
        match &new.kind {
            EntryKind::Folder => {
                let folder = folders.make_folder(entry)?;
                // A call that failed later may have given it its own mode.
                if fstat(&*folder)?.st_mode & 0o700 != 0o700 {
                    allow(&folder)?;
                }
                Ok(())
            }
            EntryKind::File { bytes: 0, .. } => {
                self.write_small(&*folders.make_folder(parent)?, entry, &[])?;
                self.finish_unreadable(entry)
            }
            EntryKind::File { .. } => {
                let mut segments = self.layout.segments_of(entry).map(SegmentId);
                let is_packed = segments.clone().next().is_some_and(|first| {
                    matches!(self.layout.place(first), SegmentPlace::Packed(_))
                });
                if is_packed {
                    return self.finish_unreadable(entry);
                }
                self.large_file(entry)?;
                segments.try_for_each(|segment| self.copy_kept(segment))?;
                self.finish(Site::Partial, entry, 0)
            }
            EntryKind::Link { target } => {
                let folder = folders.make_folder(parent)?;
                again(&folder, name, || symlinkat(&**target, &*folder, name))?;
                if let Some(owner) = new.attributes.owner {
                    let (uid, gid) = owner.ids();
                    chownat(&*folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                }
                Ok(utimensat(&*folder, name, &times(new.modified), AtFlags::SYMLINK_NOFOLLOW)?)
            }
            EntryKind::HardLink { first } => {
                let site = if kept[*first as usize] { Site::Final } else { Site::Partial };
                let from = folders.folder(site, folders.parent(*first))?;
                let folder = folders.make_folder(parent)?;
                let first = folders.name(*first);
                again(&folder, name, || linkat(&*from, first, &*folder, name, AtFlags::empty()))
            }
        }
    }

    /// A small file that its owner may not read got a mode to read it again.
    fn finish_unreadable(&self, entry: u32) -> io::Result<()> {
        if self.manifest.entries[entry as usize].mode & 0o400 == 0 {
            self.finish(Site::Partial, entry, 0)?;
        }
        Ok(())
    }

    /// Copies a part of a large file that the file under the final name has, when other parts are new.
    fn copy_kept(&self, segment: SegmentId) -> io::Result<()> {
        let SegmentPlace::Part(Extent { entry, offset, bytes }) = *self.layout.place(segment)
        else {
            return Ok(());
        };
        if !self.state().existing.contains(segment) {
            return Ok(());
        }
        let parent = self.folders.folder(Site::Final, self.folders.parent(entry))?;
        let from = open_to_read(&parent, self.folders.name(entry))?;
        let to = self.large_file(entry)?;
        if copy_range(&from, &to, offset..offset + bytes as u64).is_ok() {
            return Ok(());
        }
        // EXDEV, EINVAL, ENOSYS: not every file system copies by itself.
        let mut buffer = vec![0; bytes];
        let extent = Extent { entry, offset, bytes };
        self.read_extent(Site::Final, &extent, false, &mut buffer)?;
        self.write_extent(&extent, &buffer)
    }

    /// Sets owner, attributes, mode and time where they differ; `also` is added to the mode.
    fn finish(&self, site: Site, entry: u32, also: u32) -> io::Result<()> {
        let (name, wanted) = (self.folders.name(entry), &self.manifest.entries[entry as usize]);
        match wanted.kind {
            // A link has no mode of its own, and another name has that of the first.
            EntryKind::Link { .. } | EntryKind::HardLink { .. } => return Ok(()),
            EntryKind::Folder | EntryKind::File { .. } => {}
        }
        let folder = self.folders.folder(site, self.folders.parent(entry))?;
        let found = stat(&folder, name)?.ok_or(io::ErrorKind::NotFound)?;
        let mode = wanted.mode | also;
        let has_changed = self.finish_attributes(&folder, entry)?;
        if has_changed || found.st_mode & 0o7777 != mode {
            set_mode(&folder, name, mode)?;
        }
        if !self.traits.time_unit.is_same(modified(&found), wanted.modified) {
            utimensat(&*folder, name, &times(wanted.modified), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    /// Sets owner and attributes where they differ; returns whether the mode has to be set again.
    fn finish_attributes(&self, folder: &OwnedFd, entry: u32) -> io::Result<bool> {
        let attributes = &self.manifest.entries[entry as usize].attributes;
        if *attributes == Attributes::default() {
            return Ok(false);
        }
        let name = self.folders.name(entry);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match openat(folder, name, flags, Mode::empty()) {
            // Its owner may not read it: the mode that lets him is replaced right afterwards.
            Err(Errno::ACCESS) => {
                set_mode(folder, name, 0o700)?;
                attributes.apply(openat(folder, name, flags, Mode::empty())?)?;
                Ok(true)
            }
            opened => attributes.apply(opened?),
        }
    }

    /// Moves an entry to its place, and says so.
    fn place(&self, entry: u32, trash: &Trash<'_>) -> io::Result<()> {
        let (parent, name) = (self.folders.parent(entry), self.folders.name(entry));
        let from = self.folders.folder(Site::Partial, parent)?;
        let to = self.folders.folder(Site::Final, parent)?;
        match self.move_one(entry, &from, &to, trash) {
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                allow(&to)?;
                // A folder that goes has to be writable, too.
                if let Ok(old) = open_folder(&to, name) {
                    allow(&old)?;
                }
                self.move_one(entry, &from, &to, trash)?;
            }
            moved => moved?,
        }
        self.folders.close_replaced(entry);
        // All that lies in a folder follows it in the list.
        let mut state = self.state();
        let path = self.manifest.entries[entry as usize].path.as_bytes();
        for (index, inner) in self.manifest.entries.iter().enumerate().skip(entry as usize) {
            let behind = inner.path.as_bytes().strip_prefix(path);
            if !behind.is_some_and(|rest| rest.is_empty() || rest[0] == b'/') {
                break;
            }
            state.found[index] = Presence::Kept;
        }
        Ok(())
    }

    /// Moves an entry from one folder to another, in place of what was there when it was looked at.
    fn move_one(
        &self,
        entry: u32,
        from: &OwnedFd,
        to: &OwnedFd,
        trash: &Trash<'_>,
    ) -> io::Result<()> {
        let name = self.folders.name(entry);
        let unsupported = |cause| matches!(cause, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP);
        let there = stat(to, name)?.map(|found| type_of(&found) == FileType::Directory);
        let was_there = self.state().found[entry as usize] != Presence::Absent;
        match (self.is_folder(entry), there) {
            // Something may come there between the two calls: NOREPLACE finds it out. NFS and others don't
            // have it (rename(2)).
            (_, None) => match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
                Err(cause) if unsupported(cause) => Ok(renameat(from, name, to, name)?),
                moved => Ok(moved?),
            },
            // What nobody looked at is not ours to replace; a folder would have been kept.
            (true, Some(true)) => Err(Errno::EXIST.into()),
            _ if !was_there => Err(Errno::EXIST.into()),
            (false, Some(false)) => Ok(renameat(from, name, to, name)?),
            // A folder is no target of a rename. The two change places: the name is there all the time.
            _ => match renameat_with(from, name, to, name, RenameFlags::EXCHANGE) {
                Err(cause) if unsupported(cause) => {
                    trash.take(to, name)?;
                    Ok(renameat(from, name, to, name)?)
                }
                moved => {
                    moved?;
                    trash.take(from, name)
                }
            },
        }
    }

    /// Takes away what lies in folders of the source that the source has not.
    fn delete(&self, kept: &[bool], trash: &Trash<'_>) -> Result<u64, DestinationError> {
        let mut children: Vec<(u32, u32)> =
            (0_u32..).zip(kept).map(|(entry, _)| (self.folders.parent(entry), entry)).collect();
        // By folder; the names in each stay in their order.
        children.sort_unstable();
        let mut count = 0;
        for (folder, _) in
            (0_u32..).zip(kept).filter(|&(entry, &kept)| kept && self.is_folder(entry))
        {
            let from = children.partition_point(|&(parent, _)| parent < folder);
            let to = children.partition_point(|&(parent, _)| parent <= folder);
            let ours = &children[from..to];
            let is_ours = |name: &[u8]| {
                ours.binary_search_by(|&(_, entry)| self.folders.name(entry).cmp(name)).is_ok()
            };
            let deleted = (|| {
                let open = self.folders.folder(Site::Final, folder)?;
                let (mut allowed, mut count) = (false, 0);
                let listed = match names(&open) {
                    Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                        allow(&open)?;
                        allowed = true;
                        names(&open)
                    }
                    listed => listed,
                };
                for name in listed?.iter().filter(|name| !is_ours(name)) {
                    if !self.is_selected(folder, &open, name)? {
                        continue;
                    }
                    match trash.take(&open, name) {
                        Err(cause)
                            if cause.kind() == io::ErrorKind::PermissionDenied && !allowed =>
                        {
                            allow(&open)?;
                            allowed = true;
                            trash.take(&open, name)?;
                        }
                        taken => taken?,
                    }
                    count += 1;
                }
                Ok(count)
            })();
            count += deleted.map_err(|cause: io::Error| self.failed(folder, cause))?;
        }
        Ok(count)
    }

    /// Whether the source was asked for what has this name in a folder.
    fn is_selected(&self, folder: u32, open: &OwnedFd, name: &[u8]) -> io::Result<bool> {
        let selection = &self.options.selection;
        if selection.takes_all() {
            return Ok(true);
        }
        let is_folder = stat(open, name)?.is_some_and(|it| type_of(&it) == FileType::Directory);
        let path = TreePath::joined(&self.manifest.entries[folder as usize].path, name);
        Ok(selection.verdict(path.below_root(), is_folder) == FilterVerdict::Taken)
    }
}

/// Makes a name, also where an attempt that was killed has made it already.
fn again(
    folder: &OwnedFd,
    name: &[u8],
    make: impl Fn() -> rustix::io::Result<()>,
) -> io::Result<()> {
    match make() {
        Err(Errno::EXIST) => {
            unlinkat(folder, name, AtFlags::empty())?;
            Ok(make()?)
        }
        made => Ok(made?),
    }
}
