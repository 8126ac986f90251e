//! Walks sources and lists what is in them.
//!
//! Folders are read level by level, those of a level in parallel, and no folder stays open meanwhile: a deep
//! or broad tree needs no more file descriptors or stack than a flat one.

use std::io;
use std::path::PathBuf;

use rayon::prelude::*;
use rustc_hash::FxHashMap;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, accessat, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::attributes::xattrs_of;
use super::beneath::{open_beneath, open_following};
use super::entry::{MODE_BITS, SEGMENT_BYTES_MAX};
use super::folder_loops::{FolderFound, FolderLoops};
use super::holes::data_of;
use super::source_root::{ListError, SourceRoot};
use super::{
    Attributes, Entry, EntryKind, FileIdentity, FileOwner, FileTime, FilterVerdict, KeptAttributes,
    Manifest, NameFilter, TreePath,
};
use crate::config::LATE_SEGMENTS_MAX;
use crate::escape;
use crate::sync::{AtomicU64, Ordering};

/// How many segments the default segment size leaves, at least.
// So many keep the last segments of a swarm from mattering: with N nodes in log2 N steps, 1,024 segments
// cost 1% for 1,000 nodes.
const SEGMENTS_MIN: u64 = 1024;

/// The same between hosts.
// Messages wait there behind the payload of whole segments on the same link, so that small ones keep links busy.
// On 8 hosts with links of 200 Mbit/s, 128 MiB took 1.04 times the bound in segments of 32 KiB, and 1.20 in
// segments of 256 KiB (results/lab-bench-2026-11-28-ee8ae9c and -18e2d7d).
const SEGMENTS_MIN_OVER_LINKS: u64 = 8192;

/// The smallest segment by default, bytes.
// Below it the messages about a segment cost as much as its bytes.
const SEGMENT_BYTES_LEAST: u64 = 64 << 10;

/// The same between hosts.
// Of 16, 32 and 64 KiB the best at 200 Mbit/s: 256 MiB reached 8 hosts in 13.1, 12.3 and 14.0 s, in turn.
const SEGMENT_BYTES_LEAST_OVER_LINKS: u64 = 32 << 10;

/// The largest segment by default, bytes, but for trees that would have too many.
// Slots for a few hundred of them fit into a rank's memory.
const SEGMENT_BYTES_MOST: u64 = 8 << 20;

/// How many files of a folder one thread looks at.
// A file takes one or two microseconds, and opening the folder for another thread about three.
const SHARE: usize = 256;

/// How to list.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions<'a> {
    /// The size of a segment; by default the largest power of two between 64 KiB and 8 MiB that leaves at
    /// least 1,024 segments; between hosts between 32 KiB and 8 MiB, and 8,192 segments.
    pub segment_bytes: Option<u32>,
    /// Whether the segments go to other hosts.
    pub is_over_links: bool,
    /// The largest segment by default, bytes: where memory is little.
    pub segment_bytes_most: Option<u64>,
    /// What is taken; without it all.
    pub selection: Option<&'a NameFilter>,
    /// What is listed beside mode and time.
    pub attributes: KeptAttributes,
    /// Whether links become what they lead to.
    pub follows_links: bool,
    /// Counts what was found, for whoever watches.
    pub found: Option<&'a AtomicU64>,
}

impl ListOptions<'_> {
    fn count(&self, found: usize) {
        if let Some(counter) = self.found {
            // ORDERING: Relaxed; a statistic, publishes nothing.
            counter.fetch_add(found as u64, Ordering::Relaxed);
        }
    }

    fn takes(&self, path: &TreePath, may_be_folder: bool) -> bool {
        let leaves_out = |selection: &NameFilter| {
            selection.verdict_of(path, may_be_folder) == FilterVerdict::LeftOut
        };
        !self.selection.is_some_and(leaves_out)
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// All that can be copied.
    pub manifest: Manifest,
    /// By entry, for [`TreeSource::with_identities`](super::TreeSource::with_identities).
    pub identities: Vec<FileIdentity>,
    /// What is left out, and does not matter: sockets, pipes, devices.
    pub notes: Vec<String>,
    /// What can't be read, each with the cause. It is left out too.
    pub unreadable: Vec<String>,
    /// The same, for a closer look.
    pub(super) left_out: Vec<(TreePath, LeftOut)>,
}

/// Lists sources: files, and folders with all that is in them, on other file systems too.
///
/// A symbolic link in a folder is listed as a link, unless links are followed. Names of one file within a source are hard links of the
/// first of them.
///
/// # Errors
///
/// A source can't be read, has no name, or has the name of another; or there is too much.
pub fn list(sources: &[PathBuf], options: &ListOptions<'_>) -> Result<Listed, ListError> {
    let mut listed = Listed::default();
    for root in SourceRoot::all(sources)? {
        let failed = |cause: io::Error| ListError::Io { path: escape::path(&root.path), cause };
        let found = match &root.folder {
            None if !options.takes(&root.name, false) => continue,
            None => {
                let entry = look(
                    CWD,
                    root.path.as_os_str().as_encoded_bytes(),
                    &root.name,
                    true,
                    options.attributes,
                );
                vec![entry.map_err(|cause| failed(cause.into()))?]
            }
            Some(folder) => {
                let whole = look(folder.as_fd(), b".", &root.name, true, options.attributes);
                let whole = whole.map_err(|cause| failed(cause.into()))?;
                walk(folder.as_fd(), whole, options)
            }
        };
        add(&mut listed, found);
    }
    listed.manifest.segment_bytes =
        options.segment_bytes.unwrap_or_else(|| default_segment_bytes(&listed.manifest, options));
    listed.manifest.check()?;
    Ok(listed)
}

/// The default size of a segment.
pub fn default_segment_bytes(manifest: &Manifest, options: &ListOptions<'_>) -> u32 {
    let data = |entry: &Entry| match &entry.kind {
        EntryKind::File { data: Some(data), .. } => {
            data.iter().map(|data| data.end - data.start).sum()
        }
        EntryKind::File { bytes, .. } => *bytes,
        EntryKind::Folder | EntryKind::Link { .. } | EntryKind::HardLink { .. } => 0,
    };
    segment_bytes_of(manifest.entries.iter().map(data).fold(0, u64::saturating_add), options)
}

/// The default size of a segment of a tree with so many bytes.
pub fn segment_bytes_of(bytes: u64, options: &ListOptions<'_>) -> u32 {
    let (segments, least) = if options.is_over_links {
        (SEGMENTS_MIN_OVER_LINKS, SEGMENT_BYTES_LEAST_OVER_LINKS)
    } else {
        (SEGMENTS_MIN, SEGMENT_BYTES_LEAST)
    };
    let most = (bytes / segments).min(options.segment_bytes_most.unwrap_or(u64::MAX));
    let most = most.clamp(least, SEGMENT_BYTES_MOST);
    // Twice: segments of small files may be half empty, and large files end in a part of a segment.
    let needed = bytes.saturating_mul(2).div_ceil(LATE_SEGMENTS_MAX.into());
    let needed = needed.clamp(1, SEGMENT_BYTES_MAX.into()).next_power_of_two();
    let bytes = (1 << most.ilog2()).max(needed);
    u32::try_from(bytes).expect("it is at most a gigabyte")
}

/// What lies at a path.
struct FoundEntry {
    entry: Entry,
    identity: FileIdentity,
    /// Device and inode of a file with several names.
    inode: Option<(u64, u64)>,
    /// What a folder is on the disk.
    folder: Option<FolderFound>,
    /// Why it is left out.
    left_out: Option<LeftOut>,
}

/// Why something is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    Special(&'static str),
    Unreadable(String),
}

/// All that lies in a folder, and the folder.
fn walk(root: BorrowedFd<'_>, whole: FoundEntry, options: &ListOptions<'_>) -> Vec<FoundEntry> {
    let mut level = vec![whole.entry.path.clone()];
    let mut all = vec![whole];
    let mut loops = FolderLoops::default();
    enter(&mut loops, &mut all, options);
    let mut closed = FxHashMap::default();
    while !level.is_empty() {
        let read_one = |folder| {
            let read = read_folder(root, folder, options);
            options.count(read.as_ref().map_or(0, |(found, _)| found.len()));
            read
        };
        let mut read: Vec<_> = level.par_iter().map(read_one).collect();
        // Large folders are shared out afterwards: a thread that waited for others in the middle of a folder
        // would begin another meanwhile, and so on, until its stack or the file descriptors end.
        let shares: Vec<(&TreePath, &[Vec<u8>])> = level
            .iter()
            .zip(&read)
            .flat_map(|(folder, read)| read.iter().map(move |(_, rest)| (folder, rest)))
            .flat_map(|(folder, rest)| rest.chunks(SHARE).map(move |names| (folder, names)))
            .collect();
        let look_at_share = |&(folder, names): &(&TreePath, &[Vec<u8>])| {
            let found = look_at(root, folder, names, options);
            options.count(found.len());
            found
        };
        let shares: Vec<_> = shares.par_iter().map(look_at_share).collect();
        let found = read.iter_mut().flatten().map(|(found, _)| std::mem::take(found));
        let from = all.len();
        all.extend(found.chain(shares).flatten());
        enter(&mut loops, &mut all[from..], options);
        for (folder, read) in level.drain(..).zip(read) {
            if let Err(cause) = read {
                closed.insert(folder, cause);
            }
        }
        let is_folder =
            |one: &&FoundEntry| one.left_out.is_none() && one.entry.kind == EntryKind::Folder;
        level.extend(all[from..].iter().filter(is_folder).map(|one| one.entry.path.clone()));
    }
    for one in &mut all {
        if let Some(&cause) = closed.get(&one.entry.path) {
            one.left_out = Some(LeftOut::Unreadable(shown(cause)));
        }
    }
    all.par_sort_unstable_by(|left, right| {
        left.entry.path.components().cmp(right.entry.path.components())
    });
    if let Some(selection) = options.selection.filter(|selection| !selection.takes_all()) {
        let names = all.iter().map(|one| (&one.entry.path, one.entry.kind == EntryKind::Folder));
        let mut taken = selection.taken(names).into_iter();
        // What can't be read is told, whether anything in it would be taken or not.
        all.retain(|one| taken.next() == Some(true) || one.left_out.is_some());
    }
    all
}

/// Leaves out the folders that would be read for ever.
fn enter(loops: &mut FolderLoops, found: &mut [FoundEntry], options: &ListOptions<'_>) {
    // Without links a path ends with its folders.
    for one in found.iter_mut().filter(|_| options.follows_links) {
        let cause = one.folder.and_then(|folder| loops.enter(&one.entry.path, folder));
        if let Some(cause) = cause {
            one.left_out = Some(LeftOut::Unreadable(cause));
        }
    }
}

/// What lies in a folder, in any order; of a large one a share, and the names of the rest.
fn read_folder(
    root: BorrowedFd<'_>,
    folder: &TreePath,
    options: &ListOptions<'_>,
) -> Result<(Vec<FoundEntry>, Vec<Vec<u8>>), Errno> {
    let mut dir = Dir::new(open_folder(root, folder, options)?)?;
    let mut names = Vec::new();
    while let Some(entry) = dir.read() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    let rest = names.split_off(names.len().min(SHARE));
    let opened = dir.fd()?;
    let look = |name: &Vec<u8>| look_in(opened, folder, name, options);
    Ok((names.iter().filter_map(look).collect(), rest))
}

/// What lies at some names of a folder.
fn look_at(
    root: BorrowedFd<'_>,
    folder: &TreePath,
    names: &[Vec<u8>],
    options: &ListOptions<'_>,
) -> Vec<FoundEntry> {
    match open_folder(root, folder, options) {
        Ok(opened) => {
            let look = |name: &Vec<u8>| look_in(opened.as_fd(), folder, name, options);
            names.iter().filter_map(look).collect()
        }
        Err(cause) => {
            let paths = names.iter().map(|name| TreePath::joined(folder, name));
            let taken = paths.filter(|path| options.takes(path, true));
            taken.map(|path| FoundEntry::unreadable(path, shown(cause))).collect()
        }
    }
}

fn open_folder(
    root: BorrowedFd<'_>,
    folder: &TreePath,
    options: &ListOptions<'_>,
) -> Result<OwnedFd, Errno> {
    let open = if options.follows_links { open_following } else { open_beneath };
    open(root, folder.below_root(), OFlags::RDONLY | OFlags::DIRECTORY)
}

/// What lies at a name of an open folder, if it is taken; none if it was removed meanwhile, as if before.
fn look_in(
    opened: BorrowedFd<'_>,
    folder: &TreePath,
    name: &[u8],
    options: &ListOptions<'_>,
) -> Option<FoundEntry> {
    let path = TreePath::joined(folder, name);
    match look(opened, name, &path, options.follows_links, options.attributes) {
        Err(cause) => {
            let is_link = options.follows_links && is_link(opened, name);
            let cause = match cause {
                Errno::NOENT if is_link => "a link that leads nowhere".to_owned(),
                Errno::NOENT => return None,
                Errno::LOOP if is_link => "a link that leads back to itself".to_owned(),
                cause => shown(cause),
            };
            let is_taken = options.takes(&path, !is_link);
            is_taken.then(|| FoundEntry::unreadable(path, cause))
        }
        Ok(found) => {
            let is_folder = found.left_out.is_none() && found.entry.kind == EntryKind::Folder;
            options.takes(&path, is_folder).then_some(found)
        }
    }
}

/// What lies at `name` in a folder, to be listed as `path`.
fn look(
    folder: BorrowedFd<'_>,
    name: &[u8],
    path: &TreePath,
    follows: bool,
    kept: KeptAttributes,
) -> Result<FoundEntry, Errno> {
    let flags = if follows { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let stat = statat(folder, name, flags)?;
    let inode = (stat.st_dev, stat.st_ino);
    let mut found = FoundEntry {
        entry: Entry {
            path: path.clone(),
            kind: EntryKind::Folder,
            mode: stat.st_mode & MODE_BITS,
            modified: modified(&stat),
            attributes: Attributes {
                owner: kept.owner.then(|| FileOwner::of(&stat)),
                xattrs: None,
            },
        },
        identity: FileIdentity::of(&stat),
        inode: None,
        folder: None,
        left_out: None,
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let is_link = follows && is_link(folder, name);
            found.folder = Some(FolderFound { inode, is_link });
        }
        FileType::Symlink => {
            let target = readlinkat(folder, name, Vec::new())?.into_bytes().into();
            found.entry.kind = EntryKind::Link { target };
        }
        FileType::RegularFile => {
            accessat(folder, name, Access::READ_OK, AtFlags::EACCESS)?;
            let bytes = u64::try_from(stat.st_size).unwrap_or_default();
            let data = is_sparse(&stat).then(|| data_of(folder, name, bytes, follows)).flatten();
            found.entry.kind = EntryKind::File { bytes, data };
            // A link that is followed is a file of its own.
            let is_shared = stat.st_nlink > 1 && !(follows && is_link(folder, name));
            found.inode = is_shared.then_some(inode);
        }
        FileType::Fifo => found.left_out = Some(LeftOut::Special("a pipe")),
        FileType::Socket => found.left_out = Some(LeftOut::Special("a socket")),
        FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            found.left_out = Some(LeftOut::Special("a device"));
        }
    }
    let has_xattrs = matches!(found.entry.kind, EntryKind::Folder | EntryKind::File { .. });
    if kept.xattrs && has_xattrs && found.left_out.is_none() {
        let follow = if follows { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | follow;
        let file = openat(folder, name, flags, Mode::empty())?;
        found.entry.attributes.xattrs = Some(xattrs_of(file)?);
    }
    // Names of some file systems are longer than what others take.
    if let Err(cause) = path.check() {
        found.left_out = Some(LeftOut::Unreadable(cause.to_string()));
    }
    Ok(found)
}

fn is_link(folder: BorrowedFd<'_>, name: &[u8]) -> bool {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
}

/// An error as `std` words it.
fn shown(cause: Errno) -> String {
    io::Error::from(cause).to_string()
}

/// When a file was changed.
pub(super) fn modified(stat: &Stat) -> FileTime {
    FileTime {
        seconds: stat.st_mtime,
        nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or_default(),
    }
}

/// Whether a file has fewer blocks than bytes: holes, unless the file system compresses.
fn is_sparse(stat: &Stat) -> bool {
    // The unit of `st_blocks` is 512 bytes, whatever the file system's is (stat(2)).
    stat.st_blocks.saturating_mul(512) < stat.st_size
}

impl FoundEntry {
    fn unreadable(path: TreePath, cause: String) -> Self {
        let entry = Entry {
            path,
            kind: EntryKind::Link { target: Box::default() },
            mode: 0,
            modified: FileTime::default(),
            attributes: Attributes::default(),
        };
        let (identity, left_out) = (FileIdentity::default(), LeftOut::Unreadable(cause));
        Self { entry, identity, inode: None, folder: None, left_out: Some(left_out) }
    }
}

/// Adds a source: names of one file become hard links of the first.
fn add(listed: &mut Listed, found: Vec<FoundEntry>) {
    let mut firsts: FxHashMap<(u64, u64), u32> = FxHashMap::default();
    for FoundEntry { mut entry, identity, inode, left_out, folder: _ } in found {
        match left_out {
            Some(LeftOut::Special(kind)) => {
                listed.notes.push(format!("{}: {kind}, left out", entry.path));
                listed.left_out.push((entry.path, LeftOut::Special(kind)));
                continue;
            }
            Some(LeftOut::Unreadable(cause)) => {
                listed.unreadable.push(format!("{}: {cause}", entry.path));
                listed.left_out.push((entry.path, LeftOut::Unreadable(cause)));
                continue;
            }
            None => {}
        }
        let entries = &mut listed.manifest.entries;
        if let Some(inode) = inode {
            let index = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            let first = *firsts.entry(inode).or_insert(index);
            if first != index {
                entry.kind = EntryKind::HardLink { first };
            }
        }
        entries.push(entry);
        listed.identities.push(identity);
    }
}

#[cfg(test)]
mod tests;
