//! What staging would do to a folder, found out without writing anything there.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::comparison::{below, is_in};
use super::time_unit::TimeUnit;
use super::{
    DestinationError, Entry, EntryKind, FilterVerdict, Layout, ListError, ListOptions, Listed,
    Manifest, NameFilter, SegmentDigest, TreePath, list,
};
use crate::manifest::{SegmentId, SegmentSet};
use crate::verify::Digest;

/// What a dry run looks for.
#[derive(Clone, Copy, Debug)]
pub struct DryRunOptions<'a> {
    /// Whether a folder that is missing would be made.
    pub mkdir: bool,
    /// Whether what the source has not would go.
    pub delete: bool,
    /// What the source was asked for: nothing else goes.
    pub selection: &'a NameFilter,
    /// The digests of all segments, where files are compared by content; empty otherwise.
    pub digests: &'a [Digest],
    /// Names of each kind, at most; all of them are counted.
    pub names_max: usize,
}

/// Entries that have one thing in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct EntryTally {
    pub entries: u64,
    pub bytes: u64,
    pub names: Vec<TreePath>,
}

/// What staging would do to a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    /// What is not there.
    pub sent: EntryTally,
    /// What is there with other content, or of another kind.
    pub replaced: EntryTally,
    /// What is there, but perhaps for its mode.
    pub kept: EntryTally,
    /// What the source has not, and would go; what lies in a folder goes with it and has no name here.
    pub deleted: EntryTally,
    /// The bytes of the segments that would be fetched: small files share segments.
    pub moved_bytes: u64,
}

/// What lies under the name of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EntryMatch {
    Nothing,
    Other,
    /// A file of the same size, whose content nobody has compared yet.
    Candidate,
    Same,
}

impl EntryTally {
    fn add(&mut self, path: &TreePath, bytes: u64, names_max: usize) {
        self.entries += 1;
        // Sparse files may have 2^63 bytes each.
        self.bytes = self.bytes.saturating_add(bytes);
        if self.names.len() < names_max {
            self.names.push(path.clone());
        }
    }
}

/// Compares a folder with a manifest that was checked. What an interrupted run has written there does not count.
///
/// # Errors
///
/// When the folder is missing, or can't be read.
pub fn dry_run(
    dir: &Path,
    (manifest, layout): (&Manifest, &Layout),
    options: &DryRunOptions<'_>,
) -> Result<DryRun, DestinationError> {
    let failed = |cause| DestinationError::File { path: dir.to_owned(), cause };
    let time_unit = match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => return Err(failed(io::ErrorKind::NotADirectory.into())),
        Ok(found) => TimeUnit::of(&found),
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
        Err(_) if options.mkdir => TimeUnit::NANOSECOND,
        Err(_) => return Err(DestinationError::Missing { dir: dir.to_owned() }),
    };
    let found = vec![EntryMatch::Nothing; manifest.entries.len()];
    let mut look = DryRunWalk { manifest, options, time_unit, found, result: DryRun::default() };
    let mut begin = 0;
    for root in manifest.roots() {
        let behind = |entry: &Entry| entry.path.root() <= root;
        let end = begin + manifest.entries[begin..].partition_point(behind);
        look.root(dir, begin, end).map_err(|error| failed(io::Error::other(error.to_string())))?;
        begin = end;
    }
    let right = look.compare_content(dir, layout);
    Ok(look.ended(layout, &right))
}

/// Folders of a destination, by their paths below the source.
#[derive(Default)]
struct AlteredFolders<'l> {
    /// They would not stay.
    gone: FxHashSet<&'l [u8]>,
    /// The source was not asked for them.
    unselected: FxHashSet<&'l [u8]>,
}

struct DryRunWalk<'a> {
    manifest: &'a Manifest,
    options: &'a DryRunOptions<'a>,
    time_unit: TimeUnit,
    found: Vec<EntryMatch>,
    result: DryRun,
}

impl DryRunWalk<'_> {
    /// Looks at a source, whose entries are `begin` to `end`.
    fn root(&mut self, dir: &Path, begin: usize, end: usize) -> Result<(), ListError> {
        let place = dir.join(self.manifest.entries[begin].path.as_os_str());
        // Listing follows a link; staging replaces it.
        if place.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
            self.found[begin] = EntryMatch::Other;
            return Ok(());
        }
        let Listed { manifest, left_out, .. } = match list(&[place], &ListOptions::default()) {
            Err(ListError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(ListError::Special { .. }) => {
                self.found[begin] = EntryMatch::Other;
                return Ok(());
            }
            listed => listed?,
        };
        let AlteredFolders { gone, unselected } = self.walk(begin, end, &manifest);
        for (path, _) in left_out.iter().filter(|(path, _)| !is_in(path.below_root(), &gone)) {
            let entries = &self.manifest.entries[begin..end];
            match entries.binary_search_by(|entry| below(&entry.path).cmp(below(path))) {
                Ok(at) if entries[at].kind != EntryKind::Folder => {
                    self.found[begin + at] = EntryMatch::Other;
                }
                Err(_)
                    if self.options.delete
                        && !is_in(path.below_root(), &unselected)
                        && self.is_selected(path, false) =>
                {
                    self.result.deleted.add(path, 0, self.options.names_max);
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether the source was asked for what has this name.
    fn is_selected(&self, path: &TreePath, is_folder: bool) -> bool {
        self.options.selection.verdict(path.below_root(), is_folder) == FilterVerdict::Taken
    }

    /// Both lists have one order: one walk over both finds what is in one alone.
    fn walk<'l>(&mut self, begin: usize, end: usize, listed: &'l Manifest) -> AlteredFolders<'l> {
        let (mut own, mut other) = (begin, 0);
        let AlteredFolders { mut gone, mut unselected } = AlteredFolders::default();
        while own < end || other < listed.entries.len() {
            let there = listed.entries.get(other);
            let order = match (self.manifest.entries[..end].get(own), there) {
                (Some(entry), Some(there)) => below(&entry.path).cmp(below(&there.path)),
                (Some(_), None) => Ordering::Less,
                (None, _) => Ordering::Greater,
            };
            let Some(there) = there.filter(|_| order != Ordering::Less) else {
                own += 1;
                continue;
            };
            let path = there.path.below_root();
            if order == Ordering::Equal {
                self.found[own] = self.compare(own, there, listed);
                own += 1;
            }
            other += 1;
            let stays = order == Ordering::Equal && self.found[own - 1] == EntryMatch::Same;
            let is_inner = is_in(path, &gone);
            let is_folder = there.kind == EntryKind::Folder;
            if order == Ordering::Greater
                && !is_inner
                && (is_in(path, &unselected) || !self.is_selected(&there.path, is_folder))
            {
                unselected.extend(is_folder.then_some(path));
                continue;
            }
            if there.kind == EntryKind::Folder && !stays && !is_inner {
                gone.insert(path);
            }
            if order == Ordering::Greater && self.options.delete {
                self.extra(there, is_inner);
            }
        }
        AlteredFolders { gone, unselected }
    }

    /// What the source has not; `is_inner`: it goes with its folder.
    fn extra(&mut self, there: &Entry, is_inner: bool) {
        let deleted = &mut self.result.deleted;
        if is_inner {
            deleted.bytes = deleted.bytes.saturating_add(bytes_of(&there.kind));
        } else {
            deleted.add(&there.path, bytes_of(&there.kind), self.options.names_max);
        }
    }

    fn compare(&self, own: usize, there: &Entry, listed: &Manifest) -> EntryMatch {
        let entry = &self.manifest.entries[own];
        let same_time = self.time_unit.is_same(there.modified, entry.modified);
        let is_same = match (&entry.kind, &there.kind) {
            (EntryKind::Folder, EntryKind::Folder) => true,
            (EntryKind::Link { target }, EntryKind::Link { target: other }) => {
                same_time && target == other
            }
            (EntryKind::HardLink { first }, EntryKind::HardLink { first: other }) => {
                let name = |all: &Manifest, index: u32| {
                    all.entries[index as usize].path.below_root().to_owned()
                };
                self.found[*first as usize] != EntryMatch::Other
                    && name(self.manifest, *first) == name(listed, *other)
            }
            (EntryKind::File { bytes, .. }, EntryKind::File { bytes: other, .. }) => {
                let by_content = !self.options.digests.is_empty();
                if bytes == other && by_content && *bytes > 0 {
                    return EntryMatch::Candidate;
                }
                bytes == other && (same_time || by_content)
            }
            _ => false,
        };
        if is_same { EntryMatch::Same } else { EntryMatch::Other }
    }

    /// Reads the candidates, and returns the segments that are there.
    fn compare_content(&mut self, dir: &Path, layout: &Layout) -> SegmentSet {
        let mut right = SegmentSet::none_of(layout.segment_count());
        let is_there = |entry: u32| {
            matches!(self.found[entry as usize], EntryMatch::Candidate | EntryMatch::Same)
        };
        let is_candidate =
            |segment: &SegmentId| layout.extents(*segment).all(|one| is_there(one.entry));
        let compare = |buffer: &mut Vec<u8>, segment: SegmentId| {
            let read = self.read(dir, layout, segment, buffer).ok()?;
            let found = SegmentDigest::of(layout, segment, &buffer[..read]).digest;
            (self.options.digests.get(segment.index()) == Some(&found)).then_some(segment)
        };
        if !self.options.digests.is_empty() {
            let segments = (0..layout.segment_count()).into_par_iter().map(SegmentId);
            let same: Vec<SegmentId> = segments
                .filter(is_candidate)
                .map_init(|| vec![0; layout.segment_bytes()], compare)
                .flatten()
                .collect();
            for segment in same {
                right.insert(segment);
            }
        }
        for (index, found) in (0_u32..).zip(&mut self.found) {
            if *found == EntryMatch::Candidate {
                let mut segments = layout.segments_of(index).map(SegmentId);
                let is_same = !has_holes(&self.manifest.entries[index as usize].kind)
                    && segments.all(|segment| right.contains(segment));
                *found = if is_same { EntryMatch::Same } else { EntryMatch::Other };
            }
        }
        right
    }

    fn read(
        &self,
        dir: &Path,
        layout: &Layout,
        segment: SegmentId,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let mut read = 0;
        for extent in layout.extents(segment) {
            let path: PathBuf =
                dir.join(self.manifest.entries[extent.entry as usize].path.as_os_str());
            let part = buffer.get_mut(read..read + extent.bytes);
            let part = part.ok_or(io::ErrorKind::InvalidInput)?;
            File::open(path)?.read_exact_at(part, extent.offset)?;
            read += extent.bytes;
        }
        Ok(read)
    }

    fn ended(self, layout: &Layout, right: &SegmentSet) -> DryRun {
        let Self { manifest, options, found, mut result, .. } = self;
        for (entry, found) in manifest.entries.iter().zip(&found) {
            let tally = match found {
                EntryMatch::Nothing => &mut result.sent,
                EntryMatch::Same => &mut result.kept,
                EntryMatch::Other | EntryMatch::Candidate => &mut result.replaced,
            };
            tally.add(&entry.path, bytes_of(&entry.kind), options.names_max);
        }
        for segment in (0..layout.segment_count()).map(SegmentId) {
            let mut extents = layout.extents(segment);
            let is_there = extents.all(|extent| found[extent.entry as usize] == EntryMatch::Same);
            if !is_there && !right.contains(segment) {
                result.moved_bytes += layout.bytes_of(segment) as u64;
            }
        }
        result
    }
}

fn bytes_of(kind: &EntryKind) -> u64 {
    match kind {
        EntryKind::File { bytes, .. } => *bytes,
        EntryKind::Folder | EntryKind::Link { .. } | EntryKind::HardLink { .. } => 0,
    }
}

/// A file with holes is written anew from what is kept of it.
fn has_holes(kind: &EntryKind) -> bool {
    matches!(kind, EntryKind::File { data: Some(_), .. })
}
