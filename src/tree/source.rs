//! Reads segments from the sources that a manifest lists.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{Advice, CWD, FileType, Mode, OFlags, fadvise, fstat, openat};
use rustix::io::{Errno, pread};

use super::beneath::{open_beneath, open_following};
use super::list::modified;
use super::source_root::{ListError, SourceRoot};
use super::{EntryKind, Extent, FileIdentity, Layout, Manifest, SegmentPlace};
use crate::manifest::{SegmentId, SegmentSet};

/// How many large files are kept open.
// A file server takes milliseconds to open a file. Readers follow a few large files at once; a process may
// have 1,024 open files by default.
const OPEN_MAX: usize = 64;

/// How a file is opened for reading: never waiting for the writer of a pipe that took its place.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Why a segment can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct SourceError {
    /// The index of the file among the entries.
    pub entry: u32,
    /// The file.
    pub path: String,
    /// What is wrong with it.
    pub cause: SourceCause,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum SourceCause {
    /// Size, time or kind differ from the manifest, or it is another file than before.
    Changed,
    /// It is gone.
    Vanished,
    /// Reading fails.
    Io(io::Error),
}

impl fmt::Display for SourceCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed => f.write_str("it changed since it was listed: start again"),
            Self::Vanished => f.write_str("it is gone since it was listed: start again"),
            Self::Io(cause) => cause.fmt(f),
        }
    }
}

impl From<Errno> for SourceCause {
    fn from(cause: Errno) -> Self {
        match cause {
            Errno::NOENT => Self::Vanished,
            // A link or a file took the place of a file or a folder.
            Errno::LOOP | Errno::NOTDIR => Self::Changed,
            cause => Self::Io(cause.into()),
        }
    }
}

/// The sources of a manifest, opened for reading.
#[derive(Debug)]
pub struct TreeSource {
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
    /// By name.
    roots: Vec<SourceRoot>,
    /// By entry: from the listing, or from when the file was opened first.
    identities: Box<[OnceLock<FileIdentity>]>,
    /// Large files, the one used last at the end.
    open: Mutex<VecDeque<(u32, Arc<OwnedFd>)>>,
    keeps_page_cache: bool,
    follows_links: bool,
}

impl TreeSource {
    /// Opens the sources of a manifest, on any rank that sees them.
    ///
    /// # Errors
    ///
    /// One of them can't be opened, or is lacking.
    pub fn open(
        sources: &[PathBuf],
        manifest: Arc<Manifest>,
        layout: Arc<Layout>,
    ) -> Result<Self, ListError> {
        let source = Self::open_part(sources, manifest, layout)?;
        for name in source.manifest.roots() {
            if !source.roots.iter().any(|root| root.name.as_bytes() == name) {
                return Err(ListError::Lacking(super::TreePath::new(name)?.to_string()));
            }
        }
        Ok(source)
    }

    /// Opens sources that need not have all of a manifest.
    ///
    /// # Errors
    ///
    /// One of them can't be opened.
    pub fn open_part(
        sources: &[PathBuf],
        manifest: Arc<Manifest>,
        layout: Arc<Layout>,
    ) -> Result<Self, ListError> {
        let roots = SourceRoot::all(sources)?;
        let identities = manifest.entries.iter().map(|_| OnceLock::new()).collect();
        let open = Mutex::default();
        let (keeps_page_cache, follows_links) = (true, false);
        Ok(Self { manifest, layout, roots, identities, open, keeps_page_cache, follows_links })
    }

    /// Says whether links were followed when the sources were listed.
    #[must_use]
    pub fn following_links(mut self, follows_links: bool) -> Self {
        self.follows_links = follows_links;
        self
    }

    /// Reads only files that are still those of [`Listed::identities`](super::Listed::identities). To be called
    /// in the process that has listed.
    #[must_use]
    pub fn with_identities(mut self, listed: &[FileIdentity]) -> Self {
        for (known, listed) in self.identities.iter_mut().zip(listed) {
            *known = OnceLock::from(*listed);
        }
        self
    }

    /// Tells the system after each segment of a large file that nobody needs it in the page cache: for
    /// sources larger than memory.
    #[must_use]
    pub fn without_page_cache(mut self) -> Self {
        self.keeps_page_cache = false;
        self
    }

    /// Reads a segment into the front of `out`; returns its bytes. Several threads may read at once.
    ///
    /// # Errors
    ///
    /// A file of it changed since it was listed, is gone, or can't be read.
    ///
    /// # Panics
    ///
    /// When there is no such segment, or `out` is shorter than it.
    pub fn read(&self, segment: SegmentId, out: &mut [u8]) -> Result<usize, SourceError> {
        match self.layout.place(segment) {
            SegmentPlace::Part(extent) => self
                .read_part(extent, &mut out[..extent.bytes])
                .map_err(|cause| self.error(extent.entry, cause))?,
            SegmentPlace::Packed(files) => self.read_packed(self.layout.packed(files), out)?,
        }
        Ok(self.layout.bytes_of(segment))
    }

    /// Has somebody else read a part of a large file, and checks afterwards that it is still the one that was
    /// listed; none where the segment is no such part.
    pub(super) fn lend<T>(
        &self,
        segment: SegmentId,
        read: impl FnOnce(&OwnedFd) -> T,
    ) -> Result<Option<T>, SourceError> {
        let SegmentPlace::Part(extent) = self.layout.place(segment) else { return Ok(None) };
        let check = |file: &OwnedFd| self.read_at(extent.entry, file, 0, &mut []);
        let lent = self.large_file(extent.entry).and_then(|file| {
            // From here on it is known which file this is.
            check(&file)?;
            let found = read(&file);
            check(&file)?;
            Ok(Some(found))
        });
        lent.map_err(|cause| self.error(extent.entry, cause))
    }

    /// Parts of large files that lie on a file system, by the number of that.
    pub(super) fn parts_on(&self, device: u64) -> SegmentSet {
        let is_on = |file: &OwnedFd| fstat(file).is_ok_and(|found| found.st_dev == device);
        let mut parts = SegmentSet::none_of(self.layout.segment_count());
        // The parts of a file follow each other.
        let mut last = None;
        for segment in (0..self.layout.segment_count()).map(SegmentId) {
            let SegmentPlace::Part(extent) = self.layout.place(segment) else { continue };
            let is_there = match last {
                Some((entry, is_there)) if entry == extent.entry => is_there,
                _ => self.large_file(extent.entry).is_ok_and(|file| is_on(&file)),
            };
            last = Some((extent.entry, is_there));
            if is_there {
                parts.insert(segment);
            }
        }
        parts
    }

    /// Reads a file in some way, and checks afterwards that it is still the one that was listed.
    pub(super) fn read_by<T>(
        &self,
        entry: u32,
        read: impl FnOnce(&OwnedFd) -> io::Result<T>,
    ) -> Result<T, SourceError> {
        let found = self.open_file(entry).and_then(|file| {
            let found = read(&file).map_err(SourceCause::Io)?;
            self.read_at(entry, &file, 0, &mut [])?;
            Ok(found)
        });
        found.map_err(|cause| self.error(entry, cause))
    }

    /// Reads a whole small file.
    pub(super) fn read_file(&self, entry: u32, out: &mut [u8]) -> Result<(), SourceError> {
        self.read_small(entry, &mut None, out).map_err(|cause| self.error(entry, cause))
    }

    fn read_part(&self, extent: &Extent, out: &mut [u8]) -> Result<(), SourceCause> {
        let file = self.large_file(extent.entry)?;
        self.read_at(extent.entry, &file, extent.offset, out)?;
        if !self.keeps_page_cache {
            // A hint: the bytes are right, whether the system takes it or not.
            let bytes = NonZeroU64::new(out.len() as u64);
            let _ = fadvise(&*file, extent.offset, bytes, Advice::DontNeed);
        }
        Ok(())
    }

    fn read_packed(&self, files: &[(u32, u32)], mut out: &mut [u8]) -> Result<(), SourceError> {
        // Files of one folder follow each other.
        let mut folder: Option<(&[u8], OwnedFd)> = None;
        for &(entry, bytes) in files {
            let (file, behind) = out.split_at_mut(bytes as usize);
            out = behind;
            self.read_small(entry, &mut folder, file).map_err(|cause| self.error(entry, cause))?;
        }
        Ok(())
    }

    fn read_small<'a>(
        &'a self,
        entry: u32,
        folder: &mut Option<(&'a [u8], OwnedFd)>,
        out: &mut [u8],
    ) -> Result<(), SourceCause> {
        let path = &self.manifest.entries[entry as usize].path;
        let Some(parent) = path.parent() else {
            return self.read_at(entry, &self.open_file(entry)?, 0, out);
        };
        if folder.as_ref().is_none_or(|(open, _)| *open != parent) {
            let below = &parent[parent.len().min(path.root().len() + 1)..];
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            *folder = Some((parent, self.open_below(self.folder(entry)?, below, flags)?));
        }
        let Some((_, folder)) = folder else { return Err(SourceCause::Vanished) };
        let file = self.open_below(folder, path.name(), READ)?;
        self.read_at(entry, &file, 0, out)
    }

    /// Reads bytes of a file, and checks afterwards that it is still the one that was listed.
    fn read_at(
        &self,
        entry: u32,
        file: &OwnedFd,
        mut offset: u64,
        mut out: &mut [u8],
    ) -> Result<(), SourceCause> {
        let identity = &self.identities[entry as usize];
        if identity.get().is_none() {
            let now = FileIdentity::of(&fstat(file)?);
            // Another thread may have been faster. If it has seen another file, that is found below.
            identity.get_or_init(|| now);
        }
        while !out.is_empty() {
            match pread(file, &mut *out, offset) {
                Ok(0) => return Err(SourceCause::Changed),
                Ok(read) => {
                    out = &mut out[read..];
                    offset += read as u64;
                }
                Err(Errno::INTR) => {}
                // A folder or a pipe took its place.
                Err(Errno::ISDIR | Errno::SPIPE) => return Err(SourceCause::Changed),
                Err(cause) => return Err(cause.into()),
            }
        }
        let (listed, now) = (&self.manifest.entries[entry as usize], fstat(file)?);
        let is_same = FileType::from_raw_mode(now.st_mode).is_file()
            && matches!(listed.kind, EntryKind::File { bytes, .. } if u64::try_from(now.st_size) == Ok(bytes))
            && modified(&now) == listed.modified
            && identity.get().is_some_and(|before| before.is_still(&FileIdentity::of(&now), file));
        if is_same { Ok(()) } else { Err(SourceCause::Changed) }
    }

    /// A large file, from those that are open if it is among them.
    fn large_file(&self, entry: u32) -> Result<Arc<OwnedFd>, SourceCause> {
        // A thread that panicked left nothing half done here.
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = lock();
        if let Some(found) = open.iter().rposition(|(of, _)| *of == entry)
            && let Some((_, file)) = open.remove(found)
        {
            open.push_back((entry, Arc::clone(&file)));
            return Ok(file);
        }
        drop(open);
        let file = Arc::new(self.open_file(entry)?);
        let mut open = lock();
        // Two threads may open one file at once.
        if open.iter().all(|(of, _)| *of != entry) {
            open.push_back((entry, Arc::clone(&file)));
        }
        let closed = if open.len() > OPEN_MAX { open.pop_front() } else { None };
        drop(open);
        // Closing may wait for a file server.
        drop(closed);
        Ok(file)
    }

    fn open_file(&self, entry: u32) -> Result<OwnedFd, SourceCause> {
        let root = self.root(entry)?;
        let below = self.manifest.entries[entry as usize].path.below_root();
        let opened = match &root.folder {
            Some(folder) => self.open_below(folder, below, READ),
            None if below.is_empty() => openat(CWD, &root.path, READ, Mode::empty()),
            None => Err(Errno::NOTDIR),
        };
        Ok(opened?)
    }

    fn open_below(&self, folder: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let open = if self.follows_links { open_following } else { open_beneath };
        open(folder, path, flags)
    }

    fn folder(&self, entry: u32) -> Result<&OwnedFd, SourceCause> {
        self.root(entry)?.folder.as_ref().ok_or(SourceCause::Changed)
    }

    fn root(&self, entry: u32) -> Result<&SourceRoot, SourceCause> {
        let name = self.manifest.entries[entry as usize].path.root();
        let found = self.roots.binary_search_by(|root| root.name.as_bytes().cmp(name));
        found.map(|found| &self.roots[found]).map_err(|_| SourceCause::Vanished)
    }

    fn error(&self, entry: u32, cause: SourceCause) -> SourceError {
        let path = self.manifest.entries[entry as usize].path.to_string();
        SourceError { entry, path, cause }
    }
}
