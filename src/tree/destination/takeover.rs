//! Takes over what a run with an earlier list of the source had written: a few files have changed since, and the
//! rest is as good as if this run had written it.
//!
//! Its partial tree lies beside ours, with its list and its journal. A file that is the same in both lists moves
//! over by one rename, and the journal of this run gets records of its segments.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat, renameat};
use rustix::io::Errno;

use super::super::{Entry, EntryKind, Layout, Manifest, SegmentDigest, SegmentPlace};
use super::folder_cache::{Folders, Site, allow};
use super::journal::SegmentJournal;
use super::look::{Presence, stat, type_of};
use super::trash::{is_partial, names, set_mode};
use super::{DestinationState, KEY_DIGITS, bytes_of};
use crate::escape;
use crate::manifest::SegmentId;
use crate::verify::Digest;

/// The name of the list in the folder of an attempt.
// Beside the journal: no root can meet it.
const LIST: &str = "manifest";

/// How large the list of an earlier attempt may be, in lists of this run, and bytes beyond.
// It is read as a whole. A source of which more than three quarters have gone has hardly anything in common.
const LIST_RATIO: u64 = 4;
const LIST_SPARE: u64 = 1 << 20;

/// What a user should know about other attempts.
pub(super) fn message(dir: &Path, gone: usize, taken: u64) -> Option<String> {
    let dir = escape::path(dir);
    match (gone, taken) {
        (0, _) => None,
        (_, 0) => Some(format!("{dir}: removed what {gone} runs with other sources had begun")),
        _ => Some(format!(
            "{dir}: took over {taken} bytes of what {gone} runs had begun before the source changed"
        )),
    }
}

/// What an attempt with another list has written.
struct Earlier {
    manifest: Arc<Manifest>,
    layout: Layout,
    folders: Folders,
    records: Vec<(SegmentId, SegmentDigest)>,
}

impl Earlier {
    /// None where it says nothing that can be believed.
    fn open(control: &OwnedFd, name: &str, list_bytes_max: u64) -> io::Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let open = |at: &OwnedFd, name: &str, more| openat(at, name, flags | more, Mode::empty());
        let partial = open(control, name, OFlags::DIRECTORY)?;
        let list = open(&partial, LIST, OFlags::empty())?;
        let found = fstat(&list)?;
        if type_of(&found) != FileType::RegularFile || size_of(&found) > list_bytes_max {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::from(list).take(list_bytes_max).read_to_end(&mut bytes)?;
        let key = Digest::of(&bytes);
        if !name.starts_with(&key.to_string()[..KEY_DIGITS]) {
            return Ok(None);
        }
        let Ok(manifest) = Manifest::decode(&bytes) else { return Ok(None) };
        let Ok(layout) = Layout::new(&manifest) else { return Ok(None) };
        let manifest = Arc::new(manifest);
        let tree = open(&partial, "tree", OFlags::DIRECTORY)?;
        // It has no entry under a final name.
        let folders = Folders::new(Arc::clone(&manifest), tree.try_clone()?, tree);
        let mut records = Vec::new();
        SegmentJournal::open(&partial, key, &layout, |segment, digest| {
            records.push((segment, digest));
        })?;
        Ok(Some(Self { manifest, layout, folders, records }))
    }
}

/// What is known of the files of this run from an earlier one, by their entries.
#[derive(Default)]
struct Known {
    /// Where each was in the earlier list.
    earlier: HashMap<u32, u32>,
    /// Roots of packed files.
    roots: HashMap<u32, Digest>,
    /// Digests of parts of large files, by segment.
    parts: HashMap<SegmentId, Digest>,
}

/// The attempt of this run.
pub(super) struct Attempt<'a> {
    pub(super) control: &'a OwnedFd,
    pub(super) partial: &'a OwnedFd,
    pub(super) tree: (&'a Manifest, &'a Layout, &'a Folders),
    pub(super) journal: &'a SegmentJournal,
}

impl Attempt<'_> {
    /// Keeps the list of this run for the next one, which may have another.
    // Where that fails, the next run begins anew if the source has changed. So it does where the list was cut
    // off: its digest is compared when it is read.
    pub(super) fn store_list(&self, state: &DestinationState, list: &[u8]) {
        let is_whole =
            state.existing.len() + state.staged.len() == self.layout().segment_count() as usize;
        let stored = stat(self.partial, LIST.as_bytes()).ok().flatten();
        if is_whole || stored.is_some_and(|found| size_of(&found) == list.len() as u64) {
            return;
        }
        let flags =
            OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(file) = openat(self.partial, LIST, flags, Mode::RUSR | Mode::WUSR) {
            let _ = File::from(file).write_all(list);
        }
    }

    /// Takes over what it can from all attempts but `own`; returns how many bytes. `list` is that of this run.
    pub(super) fn take_over(&self, state: &mut DestinationState, own: &str, list: &[u8]) -> u64 {
        let before = bytes_of(self.layout(), &state.staged);
        let list_bytes_max =
            (list.len() as u64).saturating_mul(LIST_RATIO).saturating_add(LIST_SPARE);
        for name in names(self.control).unwrap_or_default() {
            let Ok(name) = std::str::from_utf8(&name) else { continue };
            // What can't be read or moved is written again.
            if is_partial(name)
                && name != own
                && let Ok(Some(earlier)) = Earlier::open(self.control, name, list_bytes_max)
                && earlier.manifest.segment_bytes == self.manifest().segment_bytes
            {
                let known = self.known(state, &earlier);
                self.take(state, &earlier, &known);
            }
        }
        bytes_of(self.layout(), &state.staged) - before
    }

    fn manifest(&self) -> &Manifest {
        self.tree.0
    }

    fn layout(&self) -> &Layout {
        self.tree.1
    }

    fn folders(&self) -> &Folders {
        self.tree.2
    }

    /// What the records of an earlier attempt say of files that are the same in both lists.
    fn known(&self, state: &DestinationState, earlier: &Earlier) -> Known {
        let mut known = Known::default();
        for (segment, digest) in &earlier.records {
            match earlier.layout.place(*segment) {
                SegmentPlace::Packed(files) => {
                    for (&(old, _), root) in earlier.layout.packed(files).iter().zip(&digest.roots)
                    {
                        if let Some(new) = self.same(&earlier.manifest.entries[old as usize]) {
                            known.earlier.insert(new, old);
                            known.roots.insert(new, *root);
                        }
                    }
                }
                SegmentPlace::Part(extent) => {
                    let old = extent.entry;
                    let Some(new) = self.same(&earlier.manifest.entries[old as usize]) else {
                        continue;
                    };
                    let segments = self.layout().segments_of(new);
                    // One that is here in part is not to be replaced.
                    let is_here = |id| state.staged.contains(SegmentId(id));
                    if known.earlier.contains_key(&new) || !segments.clone().any(is_here) {
                        known.earlier.insert(new, old);
                        // The same size, segment size and holes: the same parts.
                        let place = segment.0 - earlier.layout.segments_of(old).start;
                        known.parts.insert(SegmentId(segments.start + place), digest.digest);
                    }
                }
            }
        }
        known
    }

    /// The file of this run that an earlier list has in every respect like this.
    fn same(&self, old: &Entry) -> Option<u32> {
        let entries = &self.manifest().entries;
        let found =
            entries.binary_search_by(|new| new.path.components().cmp(old.path.components()));
        let found = found.ok().filter(|&found| entries[found] == *old)?;
        u32::try_from(found).ok()
    }

    /// Moves the files of segments of which all is known, and records these.
    fn take(&self, state: &mut DestinationState, earlier: &Earlier, known: &Known) {
        let mut moved = HashSet::new();
        for segment in (0..self.layout().segment_count()).map(SegmentId) {
            if state.existing.contains(segment) || state.staged.contains(segment) {
                continue;
            }
            let Some(digest) = self.digest(segment, known) else { continue };
            let mut extents = self.layout().extents(segment);
            let is_there = extents.all(|extent| {
                let entry = extent.entry;
                let is_here =
                    state.found[entry as usize] == Presence::Kept || moved.contains(&entry);
                is_here || (self.move_file(entry, earlier, known).is_ok() && moved.insert(entry))
            });
            // In this order: a run that is killed in between has written less, and nothing wrong.
            if is_there && self.journal.add(segment, &digest).is_ok() {
                state.staged.insert(segment);
                state.digests[segment.index()] = Some(digest);
            }
        }
    }

    /// The digest of a segment, where it follows from what is known.
    fn digest(&self, segment: SegmentId, known: &Known) -> Option<SegmentDigest> {
        let files = match self.layout().place(segment) {
            SegmentPlace::Part(_) => {
                let digest = *known.parts.get(&segment)?;
                return Some(SegmentDigest { digest, roots: Box::default() });
            }
            SegmentPlace::Packed(files) => self.layout().packed(files),
        };
        let roots = files.iter().map(|(entry, _)| known.roots.get(entry).copied());
        let roots: Box<[Digest]> = roots.collect::<Option<_>>()?;
        Some(SegmentDigest { digest: Digest::of_all(roots.iter().map(|root| &root.0[..])), roots })
    }

    fn move_file(&self, entry: u32, earlier: &Earlier, known: &Known) -> io::Result<()> {
        let old = *known.earlier.get(&entry).ok_or(io::ErrorKind::NotFound)?;
        let from = earlier.folders.folder(Site::Partial, earlier.folders.parent(old))?;
        let name = self.folders().name(entry);
        let found = stat(&from, name)?.ok_or(io::ErrorKind::NotFound)?;
        let EntryKind::File { bytes, .. } = self.manifest().entries[entry as usize].kind else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if type_of(&found) != FileType::RegularFile || size_of(&found) != bytes {
            return Err(io::ErrorKind::NotFound.into());
        }
        let to = self.folders().make_folder(self.folders().parent(entry))?;
        match renameat(&*from, name, &*to, name) {
            // Its attempt was killed so late that folders had their own modes.
            Err(Errno::ACCESS) => {
                allow(&from)?;
                renameat(&*from, name, &*to, name)?;
            }
            renamed => renamed?,
        }
        if bytes > self.layout().segment_bytes() as u64 {
            // Other parts are still to be written.
            set_mode(&to, name, 0o600)?;
        }
        Ok(())
    }
}

fn size_of(found: &rustix::fs::Stat) -> u64 {
    u64::try_from(found.st_size).unwrap_or_default()
}
