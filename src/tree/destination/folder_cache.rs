//! Folders and files of a tree, opened component by component.
//!
//! No path of a manifest is handed to the system whole: every component is opened below its folder without
//! following a link, so that no name leaves the destination, and a path may be longer than the system
//! takes at once.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, fstat, mkdirat, openat};
use rustix::io::Errno;

use super::super::Manifest;

/// How many open folders are kept.
// Files come folder by folder: a few for each thread that writes, and those above them. A process may
// usually open 1,024 files, which MPI and other destinations share.
const FOLDERS_MAX: usize = 128;

/// How many open large files are kept.
// Segments of a file come in any order, from many files at a time. See above for what limits it.
const FILES_MAX: usize = 64;

/// Stands for the folder that all roots lie in.
// No entry has this index: a manifest with so many entries can't be cut into segments.
pub(super) const BASE: u32 = u32::MAX;

/// Where a file lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Site {
    /// Under its final name.
    Final,
    /// In the folder of this attempt, where nothing has a final name.
    Partial,
}

/// An entry at a site, and whether it is open for writing.
type Key = (Site, u32, bool);

/// Open files and folders, the least recently used closed first.
#[derive(Debug)]
struct OpenFiles {
    open: HashMap<Key, (u64, Arc<OwnedFd>)>,
    uses: u64,
    count_max: usize,
}

impl OpenFiles {
    fn new(count_max: usize) -> Mutex<Self> {
        Mutex::new(Self { open: HashMap::new(), uses: 0, count_max })
    }

    fn find(&mut self, key: Key) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        let (used, file) = self.open.get_mut(&key)?;
        *used = self.uses;
        Some(Arc::clone(file))
    }

    fn add(&mut self, key: Key, file: &Arc<OwnedFd>) {
        if self.open.len() >= self.count_max {
            // A look at all: fewer nanoseconds than the call that opened the new one.
            let oldest = self.open.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            oldest.map(|key| self.open.remove(&key));
        }
        self.uses += 1;
        self.open.insert(key, (self.uses, Arc::clone(file)));
    }
}

/// The folders and large files of a manifest at a destination.
#[derive(Debug)]
pub(super) struct Folders {
    manifest: Arc<Manifest>,
    /// The folder that each entry lies in.
    parents: Box<[u32]>,
    last: Arc<OwnedFd>,
    partial: Arc<OwnedFd>,
    folders: Mutex<OpenFiles>,
    files: Mutex<OpenFiles>,
}

impl Folders {
    pub(super) fn new(manifest: Arc<Manifest>, last: OwnedFd, partial: OwnedFd) -> Self {
        Self {
            parents: parents(&manifest),
            manifest,
            last: Arc::new(last),
            partial: Arc::new(partial),
            folders: OpenFiles::new(FOLDERS_MAX),
            files: OpenFiles::new(FILES_MAX),
        }
    }

    /// The folder that an entry lies in; [`BASE`] for a root.
    pub(super) fn parent(&self, entry: u32) -> u32 {
        self.parents[entry as usize]
    }

    /// The last component of an entry's path.
    pub(super) fn name(&self, entry: u32) -> &[u8] {
        self.manifest.entries[entry as usize].path.components().next_back().unwrap_or_default()
    }

    /// Opens a folder that is there.
    pub(super) fn folder(&self, site: Site, folder: u32) -> io::Result<Arc<OwnedFd>> {
        self.open(site, folder, false)
    }

    /// Opens a folder of the partial tree, and makes it and those above it where they lack.
    pub(super) fn make_folder(&self, folder: u32) -> io::Result<Arc<OwnedFd>> {
        self.open(Site::Partial, folder, true)
    }

    fn open(&self, site: Site, folder: u32, make: bool) -> io::Result<Arc<OwnedFd>> {
        let mut below = Vec::new();
        let mut at = folder;
        let mut open = loop {
            if at == BASE {
                break Arc::clone(if site == Site::Final { &self.last } else { &self.partial });
            }
            if let Some(open) = lock(&self.folders).find((site, at, false)) {
                break open;
            }
            below.push(at);
            at = self.parent(at);
        };
        for entry in below.into_iter().rev() {
            let name = self.name(entry);
            open = Arc::new(match open_folder(&open, name) {
                Err(Errno::NOENT) if make => {
                    match mkdirat(&open, name, Mode::RWXU) {
                        // Another thread may have been faster.
                        Ok(()) | Err(Errno::EXIST) => open_folder(&open, name)?,
                        Err(cause) => return Err(cause.into()),
                    }
                }
                opened => opened?,
            });
            // An attempt that was killed late may have given it its own mode.
            if make && fstat(&open)?.st_mode & 0o700 != 0o700 {
                allow(&open)?;
            }
            lock(&self.folders).add((site, entry, false), &open);
        }
        Ok(open)
    }

    /// Opens a large file, or finds it open.
    pub(super) fn file(
        &self,
        site: Site,
        entry: u32,
        write: bool,
        open: impl FnOnce() -> io::Result<OwnedFd>,
    ) -> io::Result<Arc<OwnedFd>> {
        if let Some(open) = lock(&self.files).find((site, entry, write)) {
            return Ok(open);
        }
        let file = Arc::new(open()?);
        lock(&self.files).add((site, entry, write), &file);
        Ok(file)
    }

    /// Closes a large file that has been replaced.
    pub(super) fn close_replaced(&self, entry: u32) {
        lock(&self.files).open.remove(&(Site::Final, entry, false));
    }

    /// Closes all. What was opened before folders moved lies elsewhere now.
    pub(super) fn close(&self) {
        lock(&self.folders).open.clear();
        lock(&self.files).open.clear();
    }
}

/// Opens a folder below another to find names in it.
pub(super) fn open_folder(at: &OwnedFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

/// Lets the owner list and change an open folder.
pub(super) fn allow(folder: &OwnedFd) -> io::Result<()> {
    // A handle of `O_PATH` has no `fchmod`, but a name here (open(2)). It leads to what is open: no other
    // link is followed.
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    Ok(chmodat(CWD, path, Mode::RWXU, AtFlags::empty())?)
}

fn lock(files: &Mutex<OpenFiles>) -> std::sync::MutexGuard<'_, OpenFiles> {
    files.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parents(manifest: &Manifest) -> Box<[u32]> {
    // The folders that the entry before lies in, itself included if it is one.
    let mut folders: Vec<u32> = Vec::new();
    let mut parents = Vec::with_capacity(manifest.entries.len());
    for (index, entry) in (0_u32..).zip(&manifest.entries) {
        let parent = entry.path.parent();
        while let Some(&last) = folders.last() {
            if Some(manifest.entries[last as usize].path.as_bytes()) == parent {
                break;
            }
            folders.pop();
        }
        parents.push(folders.last().copied().unwrap_or(BASE));
        if entry.kind == super::super::EntryKind::Folder {
            folders.push(index);
        }
    }
    parents.into()
}
