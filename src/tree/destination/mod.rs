//! A folder that a tree is written to.
//!
//! Segments are written below `DIR/.mpiswarm/<key>.partial/tree`, where nothing has a final name; the key is
//! that of the manifest, so that a rerun finds them. [`Destination::publish`] then moves each new entry to
//! its place with one rename: a new tree appears whole, an existing one is updated file by file.

mod cloning;
mod destination_error;
mod folder_cache;
mod folder_lock;
mod folding;
mod journal;
mod kept;
mod look;
mod needed_room;
mod publish;
mod room;
mod segment_io;
mod stored;
mod takeover;
mod trash;

pub use destination_error::DestinationError;
pub use publish::Published;
pub use room::{Room, Shortage, shortages};

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, open, openat, statat};
use rustix::io::Errno;

use self::folder_cache::Folders;
use self::folder_lock::FolderLock;
use self::journal::{SegmentJournal, Syncing};
use self::look::{Presence, Traits, check_attributes};
use self::takeover::Attempt;
use self::trash::Trash;
use super::{Layout, Manifest, NameFilter, SegmentDigest};
use crate::manifest::{SegmentId, SegmentSet};
use crate::verify::Digest;

/// The folder of this program within a destination.
// On the same file system as the tree, as a rename needs.
const CONTROL: &str = ".mpiswarm";

/// The hexadecimal digits of a manifest's digest that name its partial tree.
// 128 bits, as the whole digest is checked in the journal.
const KEY_DIGITS: usize = 32;

/// How a destination is written.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct DestinationOptions {
    /// Make DIR where it lacks. Otherwise it is an error: a disk that is not mounted must not fill the one
    /// below it.
    pub mkdir: bool,
    /// Remove from the trees what the source has not.
    pub delete: bool,
    /// What of the trees the source was asked for: nothing else is removed.
    pub selection: NameFilter,
    /// Keep nothing by size and time alone: see [`Destination::candidates`].
    pub checksum: bool,
    /// Sync before final names are given.
    pub sync: bool,
    /// Forget what an earlier attempt has written.
    pub fresh: bool,
    /// How long to wait for another run that stages into the same folder.
    pub lock_wait: Duration,
}

impl Default for DestinationOptions {
    fn default() -> Self {
        Self {
            mkdir: false,
            delete: false,
            selection: NameFilter::default(),
            checksum: false,
            sync: true,
            fresh: false,
            lock_wait: Duration::ZERO,
        }
    }
}

/// One folder DIR that gets DIR/name for each root of a manifest. Several threads may call it, though not
/// with the same segment at once.
#[derive(Debug)]
pub struct Destination {
    dir: PathBuf,
    manifest: Arc<Manifest>,
    layout: Arc<Layout>,
    options: DestinationOptions,
    /// DIR/.mpiswarm.
    control: OwnedFd,
    /// The name of the folder of this attempt there.
    partial_name: String,
    folders: Folders,
    traits: Traits,
    journal: Arc<SegmentJournal>,
    state: Mutex<DestinationState>,
    /// Whether publication has begun. Held alone while a file is written again that others may read.
    publication: RwLock<bool>,
    kept_bytes: u64,
    resumed: Mutex<SegmentSet>,
    written_bytes: AtomicU64,
    messages: Vec<String>,
    // Dropped last, in this order: first the thread ends, then another run may come.
    _syncing: Option<Syncing>,
    lock: FolderLock,
}

/// A folder DIR that no other run stages into meanwhile.
#[derive(Debug)]
pub struct LockedFolder {
    dir: PathBuf,
    last: OwnedFd,
    control: OwnedFd,
    traits: Traits,
    lock: FolderLock,
}

impl LockedFolder {
    /// Takes the lock of a folder, and waits for it at most `wait`; `waiting` is told whom it waits for.
    ///
    /// # Errors
    ///
    /// When the folder is missing, can't be written to, or stays in use.
    pub fn take(
        dir: &Path,
        mkdir: bool,
        wait: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Self, DestinationError> {
        let last = open_dir(dir, mkdir)?;
        let path = dir.join(CONTROL);
        let control = open_control(&last, &path)?;
        let traits = Traits::probe(&control)
            .map_err(|cause| DestinationError::at(path.clone(), 0, cause))?;
        // Whoever may write to the folder could have made `.mpiswarm` before us.
        if statat(&control, "", AtFlags::EMPTY_PATH).is_ok_and(|found| found.st_uid != traits.uid) {
            return Err(DestinationError::Foreign { path });
        }
        let lock = FolderLock::take(&control, dir, wait, waiting)?;
        Ok(Self { dir: dir.to_owned(), last, control, traits, lock })
    }

    /// The folder DIR.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What changes while segments are written.
#[derive(Debug)]
struct DestinationState {
    /// What lies under the final name of each entry.
    found: Vec<Presence>,
    /// Segments whose bytes lie in files that are kept.
    existing: SegmentSet,
    /// Segments whose bytes lie in the partial tree.
    staged: SegmentSet,
    digests: Vec<Option<SegmentDigest>>,
    is_published: bool,
}

impl Destination {
    /// Opens a destination for a manifest that was checked, and looks at what is there. Waits for another run
    /// that stages into the same folder, and tells `waiting` about it.
    ///
    /// # Errors
    ///
    /// When the folder is missing, can't be written to, or stays in use.
    pub fn open(
        dir: &Path,
        manifest: Arc<Manifest>,
        layout: Arc<Layout>,
        options: &DestinationOptions,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<Self, DestinationError> {
        check_names(dir, &manifest)?;
        let folder = LockedFolder::take(dir, options.mkdir, options.lock_wait, waiting)?;
        Self::within(folder, manifest, layout, options)
    }

    /// The same in a folder that is locked already.
    ///
    /// # Errors
    ///
    /// When the folder can't be written to.
    pub fn within(
        folder: LockedFolder,
        manifest: Arc<Manifest>,
        layout: Arc<Layout>,
        options: &DestinationOptions,
    ) -> Result<Self, DestinationError> {
        let at = |path: PathBuf, cause: io::Error| DestinationError::at(path, 0, cause);
        check_names(&folder.dir, &manifest)?;
        let LockedFolder { dir, last, control, traits, lock } = folder;
        check_attributes(&dir, &manifest, &traits)?;
        let (dir, control_path) = (&*dir, dir.join(CONTROL));
        let list = manifest.encode();
        let key = Digest::of(&list);
        let partial_name = format!("{}.partial", &key.to_string()[..KEY_DIGITS]);
        let partial_path = control_path.join(&partial_name);
        // Without a lock another run may be at work in the others.
        let is_alone = lock.unlocked.is_none();
        let clear = |fresh: bool| {
            let is_gone = |name: &str| if name == partial_name { fresh } else { is_alone };
            let trash = Trash::open(&control).and_then(|trash| trash.clear_control(is_gone));
            trash.map_err(|cause| at(control_path.clone(), cause))
        };
        if options.fresh {
            clear(true)?;
        }
        let failed = |cause| at(partial_path.clone(), cause);
        let partial = make_folder(&control, partial_name.as_bytes()).map_err(failed)?;
        let tree = make_folder(&partial, b"tree").map_err(failed)?;
        let folders = Folders::new(Arc::clone(&manifest), last, tree);
        if traits.folds {
            let same = folding::same_names(&control, &manifest, &folders).map_err(failed)?;
            if let Some([first, second]) = same {
                return Err(DestinationError::SameName { dir: dir.to_owned(), first, second });
            }
        }
        let mut state =
            DestinationState::look(dir, &manifest, &layout, &folders, &traits, options.checksum)?;
        let kept_bytes = bytes_of(&layout, &state.existing);
        let known = |segment, digest| state.resume((&manifest, &layout, &folders), segment, digest);
        let journal = SegmentJournal::open(&partial, key, &layout, known)
            .map_err(|cause| at(partial_path.join("journal"), cause))?;
        let journal = Arc::new(journal);
        let tree = (&*manifest, &*layout, &folders);
        let attempt = Attempt { control: &control, partial: &partial, tree, journal: &journal };
        let taken = if is_alone { attempt.take_over(&mut state, &partial_name, &list) } else { 0 };
        attempt.store_list(&state, &list);
        let messages = takeover::message(dir, clear(false)?, taken).into_iter().collect();
        let syncing = options.sync.then(|| Syncing::start(Arc::clone(&journal), partial));
        let syncing = syncing.transpose().map_err(|cause| at(partial_path, cause))?;
        Ok(Self {
            dir: dir.to_owned(),
            resumed: Mutex::new(state.staged.clone()),
            kept_bytes,
            written_bytes: AtomicU64::new(0),
            options: options.clone(),
            state: Mutex::new(state),
            publication: RwLock::new(false),
            _syncing: syncing,
            manifest,
            layout,
            control,
            partial_name,
            folders,
            traits,
            journal,
            messages,
            lock,
        })
    }

    fn state(&self) -> MutexGuard<'_, DestinationState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder DIR.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What a user should know about: work of other attempts that was taken over or removed.
    pub fn messages(&self) -> &[String] {
        &self.messages
    }

    /// Why two runs can't be kept apart here, if so: the file system has no locks.
    pub fn unlocked(&self) -> Option<&io::Error> {
        self.lock.unlocked.as_ref()
    }

    /// The segments that it lacks: neither kept from an existing tree nor written by an earlier attempt.
    pub fn missing(&self) -> SegmentSet {
        let state = self.state();
        let mut missing = SegmentSet::all_of(self.layout.segment_count());
        state.existing.iter().chain(state.staged.iter()).for_each(|id| missing.remove(id));
        missing
    }

    /// Whether it lacks a segment.
    pub fn lacks(&self, segment: SegmentId) -> bool {
        let state = self.state();
        !state.existing.contains(segment) && !state.staged.contains(segment)
    }

    /// The digests of a segment that was written, kept by [`Destination::keep`], or written by an earlier
    /// attempt.
    pub fn known(&self, segment: SegmentId) -> Option<SegmentDigest> {
        self.state().digests[segment.index()].clone()
    }

    /// The bytes of segments that were there under their final names when it was opened.
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// The segments that an earlier attempt had written, by its journal.
    pub fn resumed(&self) -> SegmentSet {
        self.resumed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bytes of segments that an earlier attempt had written.
    pub fn resumed_bytes(&self) -> u64 {
        bytes_of(&self.layout, &self.resumed())
    }

    /// The path of an entry as a user knows it.
    fn path(&self, entry: u32) -> PathBuf {
        self.dir.join(self.manifest.entries[entry as usize].path.as_os_str())
    }

    fn failed(&self, entry: u32, cause: impl Into<io::Error>) -> DestinationError {
        // ORDERING: Relaxed; a statistic, publishes nothing.
        let written = self.written_bytes.load(Ordering::Relaxed);
        DestinationError::at(self.path(entry), written, cause)
    }
}

fn bytes_of(layout: &Layout, segments: &SegmentSet) -> u64 {
    segments.iter().map(|segment| layout.bytes_of(segment) as u64).sum()
}

/// Whether no source has the name of the folder of this program.
fn check_names(dir: &Path, manifest: &Manifest) -> Result<(), DestinationError> {
    match manifest.roots().into_iter().any(is_reserved) {
        true => Err(DestinationError::Reserved { path: dir.join(CONTROL) }),
        false => Ok(()),
    }
}

/// Whether this is the name of the folder of this program within a destination: no source can have it.
pub fn is_reserved(name: &[u8]) -> bool {
    // Some file systems ignore case.
    name.eq_ignore_ascii_case(CONTROL.as_bytes())
}

fn open_dir(dir: &Path, mkdir: bool) -> Result<OwnedFd, DestinationError> {
    let failed = |cause| DestinationError::at(dir.to_owned(), 0, cause);
    if mkdir {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    // The user may well name a link to a folder here.
    match open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => Err(DestinationError::Missing { dir: dir.to_owned() }),
        opened => opened.map_err(|cause| failed(cause.into())),
    }
}

fn open_control(last: &OwnedFd, path: &Path) -> Result<OwnedFd, DestinationError> {
    let failed = |cause: Errno| DestinationError::at(path.to_owned(), 0, cause);
    // Others may read the stored manifest, and write nothing.
    match mkdirat(last, CONTROL, Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(cause) => return Err(failed(cause)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(last, CONTROL, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => {
            Err(DestinationError::Foreign { path: path.to_owned() })
        }
        opened => opened.map_err(failed),
    }
}

/// Opens a folder for any use, and makes it where it lacks.
fn make_folder(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    match mkdirat(at, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(cause) => return Err(cause.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

#[cfg(all(test, not(loom)))]
mod tests;
