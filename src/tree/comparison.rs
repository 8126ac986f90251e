//! A tree on disk, compared with its manifest.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustc_hash::FxHashSet;

use super::list::LeftOut;
use super::time_unit::TimeUnit;
use super::{
    Attributes, Entry, EntryKind, FileTime, KeptAttributes, Layout, ListError, ListOptions, Listed,
    NameFilter, StoredManifest, TreePath, TreeSource, list, roots_of_files,
};
use crate::escape;
use crate::verify::Digest;

/// What is not as the manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeDifference {
    /// Where.
    pub path: TreePath,
    /// What: `missing`, `extra`, `unreadable`, `type`, `size`, `mode`, `modified`, `owner`, `xattrs`, `target`,
    /// `hard link` or `content`.
    pub what: &'static str,
    /// What the manifest says.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for TreeDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, what, expected, found } = self;
        match *what {
            "missing" => write!(f, "{path}: missing: {expected}"),
            "extra" => write!(f, "{path}: extra: {found}"),
            "unreadable" => write!(f, "{path}: unreadable: {found}"),
            what => write!(f, "{path}: {what}: {found}, not {expected}"),
        }
    }
}

/// Entries of one source with the roots of its files.
#[derive(Clone, Copy)]
struct Side<'a> {
    stored: &'a StoredManifest,
    /// The unit of its times.
    time_unit: TimeUnit,
    /// The entries of the source begin here.
    begin: usize,
    end: usize,
}

/// Compares the tree or file at `place` with the source `root` of a manifest, under whatever name it lies
/// there; a symbolic link is none. What the selection leaves out is compared on neither side. `hashed` is told the bytes of each segment once it is hashed.
///
/// # Errors
///
/// The tree can't be listed at all.
pub fn verify_tree(
    place: &Path,
    stored: &StoredManifest,
    root: &[u8],
    selection: &NameFilter,
    hashed: impl Fn(u64) + Sync,
) -> Result<Vec<TreeDifference>, ListError> {
    let time_unit = place.symlink_metadata().map_or(TimeUnit::NANOSECOND, |it| TimeUnit::of(&it));
    verify_tree_in(time_unit, place, (stored, root), selection, hashed)
}

/// The same where the file system keeps times in this unit.
pub(super) fn verify_tree_in(
    time_unit: TimeUnit,
    place: &Path,
    (stored, root): (&StoredManifest, &[u8]),
    selection: &NameFilter,
    hashed: impl Fn(u64) + Sync,
) -> Result<Vec<TreeDifference>, ListError> {
    let expected = Side::of(stored, root);
    if expected.begin == expected.end {
        return Ok(Vec::new());
    }
    let sources = [place.to_owned()];
    let is_link = place.symlink_metadata().is_ok_and(|found| found.is_symlink());
    let attributes = expected.kept_attributes();
    let options = ListOptions { selection: Some(selection), attributes, ..ListOptions::default() };
    let listed = match list(&sources, &options) {
        // Where a tree was staged to, a link is no tree.
        _ if is_link => return Ok(expected.is_instead("a symbolic link")),
        Err(ListError::Special { kind, .. }) => return Ok(expected.is_instead(kind)),
        Err(ListError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {
            Listed::default()
        }
        listed => listed?,
    };
    let Listed { manifest, left_out, .. } = listed;
    let layout = Arc::new(Layout::new(&manifest)?);
    let manifest = Arc::new(manifest);
    let mut differences = Vec::new();
    let mut roots = Vec::new();
    if !manifest.entries.is_empty() {
        let source = TreeSource::open(&sources, Arc::clone(&manifest), Arc::clone(&layout))?;
        let hashed = roots_of_files(&source, &manifest, &layout, hashed);
        roots = hashed.roots;
        differences.extend(hashed.errors.into_iter().map(|error| {
            let path = manifest.entries[error.entry as usize].path.clone();
            difference(&path, "unreadable", "", error.cause)
        }));
    }
    let found = StoredManifest { manifest: Arc::unwrap_or_clone(manifest), roots };
    let end = found.manifest.entries.len();
    let unread = left_out.iter().map(|(path, _)| path.below_root()).collect();
    Side { stored: &found, time_unit, begin: 0, end }.compare(&expected, &unread, &mut differences);
    differences.extend(left_out.iter().map(|(path, cause)| match cause {
        LeftOut::Special(kind) => difference(path, "extra", "", kind),
        LeftOut::Unreadable(cause) => difference(path, "unreadable", "", cause),
    }));
    differences.sort_by(|left, right| below(&left.path).cmp(below(&right.path)));
    Ok(differences)
}

pub(super) fn below(path: &TreePath) -> impl Iterator<Item = &[u8]> {
    path.below_root().split(|&byte| byte == b'/')
}

fn difference(
    path: &TreePath,
    what: &'static str,
    expected: impl ToString,
    found: impl ToString,
) -> TreeDifference {
    TreeDifference {
        path: path.clone(),
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

impl<'a> Side<'a> {
    fn of(stored: &'a StoredManifest, root: &[u8]) -> Self {
        let entries = &stored.manifest.entries;
        let begin = entries.partition_point(|entry| entry.path.root() < root);
        let end = entries.partition_point(|entry| entry.path.root() <= root);
        Self { stored, time_unit: TimeUnit::NANOSECOND, begin, end }
    }

    /// Both lists have one order: one walk over both finds what is in one alone. What lies in `unread` is
    /// not missing.
    fn compare(
        self,
        expected: &Side<'_>,
        unread: &FxHashSet<&[u8]>,
        differences: &mut Vec<TreeDifference>,
    ) {
        let (mut own, mut other) = (self.begin, expected.begin);
        while own < self.end || other < expected.end {
            let order = match (own < self.end, other < expected.end) {
                (true, true) => {
                    below(&self.entry(own).path).cmp(below(&expected.entry(other).path))
                }
                (true, false) => Ordering::Less,
                (false, _) => Ordering::Greater,
            };
            match order {
                Ordering::Less => {
                    let entry = self.entry(own);
                    differences.push(difference(&entry.path, "extra", "", kind(entry)));
                    own += 1;
                }
                Ordering::Greater => {
                    let entry = expected.entry(other);
                    if !is_in(entry.path.below_root(), unread) {
                        differences.push(difference(&entry.path, "missing", kind(entry), ""));
                    }
                    other += 1;
                }
                Ordering::Equal => {
                    self.compare_entry(own, expected, other, differences);
                    (own, other) = (own + 1, other + 1);
                }
            }
        }
    }

    fn compare_entry(
        self,
        own: usize,
        expected: &Side<'_>,
        other: usize,
        differences: &mut Vec<TreeDifference>,
    ) {
        let (entry, listed) = (self.entry(own), expected.entry(other));
        let mut add = |what, expected: String, found: String| {
            if expected != found {
                differences.push(TreeDifference {
                    path: listed.path.clone(),
                    what,
                    expected,
                    found,
                });
            }
        };
        if kind(entry) != kind(listed) {
            return add("type", kind(listed).to_owned(), kind(entry).to_owned());
        }
        let (first, listed_first) = (self.first_name(own), expected.first_name(other));
        add("hard link", shown_first(listed_first), shown_first(first));
        if first.is_some() && first == listed_first {
            // All else is that of the first name.
            return;
        }
        match (&entry.kind, &listed.kind) {
            // A link has no mode of its own (symlink(7)).
            (EntryKind::Link { target }, EntryKind::Link { target: listed }) => {
                add("target", shown_bytes(listed), shown_bytes(target));
            }
            _ => add("mode", format!("{:04o}", listed.mode), format!("{:04o}", entry.mode)),
        }
        if !self.time_unit.is_same(entry.modified, listed.modified) {
            add("modified", shown_time(listed.modified), shown_time(entry.modified));
        }
        let (of_listed, of_found) = (&listed.attributes, &entry.attributes);
        if of_listed.owner.is_some() {
            add("owner", shown_owner(of_listed), shown_owner(of_found));
        }
        if of_listed.xattrs.is_some() {
            add("xattrs", shown_xattrs(of_listed), shown_xattrs(of_found));
        }
        let (Some((bytes, root)), Some((listed_bytes, listed_root))) =
            (self.file(own), expected.file(other))
        else {
            return;
        };
        add("size", format!("{listed_bytes} bytes"), format!("{bytes} bytes"));
        // A file that can't be read has no root, and is named for that.
        if let Some(root) = root.filter(|_| bytes == listed_bytes) {
            let listed =
                listed_root.map_or("one that was not known".to_owned(), |root| root.to_string());
            add("content", listed, root.to_string());
        }
    }

    /// What the manifest knows of any entry.
    fn kept_attributes(&self) -> KeptAttributes {
        let entries = &self.stored.manifest.entries[self.begin..self.end];
        KeptAttributes {
            owner: entries.iter().any(|entry| entry.attributes.owner.is_some()),
            xattrs: entries.iter().any(|entry| entry.attributes.xattrs.is_some()),
        }
    }

    /// Something else lies at the place of the source.
    fn is_instead(&self, found: &str) -> Vec<TreeDifference> {
        let roots = self.stored.manifest.entries[self.begin..self.end].iter().take(1);
        roots.map(|root| difference(&root.path, "type", kind(root), found)).collect()
    }

    fn entry(&self, index: usize) -> &Entry {
        &self.stored.manifest.entries[index]
    }

    /// The path below its source of the file that an entry is another name of.
    fn first_name(&self, index: usize) -> Option<&[u8]> {
        let EntryKind::HardLink { first } = self.entry(index).kind else { return None };
        Some(self.entry(first as usize).path.below_root())
    }

    /// Size and root of a file, under whichever name.
    fn file(&self, index: usize) -> Option<(u64, Option<Digest>)> {
        match self.entry(index).kind {
            EntryKind::File { bytes, .. } => {
                Some((bytes, self.stored.roots.get(index).copied().flatten()))
            }
            EntryKind::HardLink { first } => self.file(first as usize),
            EntryKind::Folder | EntryKind::Link { .. } => None,
        }
    }
}

fn kind(entry: &Entry) -> &'static str {
    match entry.kind {
        EntryKind::Folder => "a folder",
        EntryKind::File { .. } | EntryKind::HardLink { .. } => "a file",
        EntryKind::Link { .. } => "a symbolic link",
    }
}

/// Whether a path, or a folder that it lies in, is among others.
pub(super) fn is_in(path: &[u8], others: &FxHashSet<&[u8]>) -> bool {
    let ends = memchr::memchr_iter(b'/', path).chain([path.len()]);
    !others.is_empty() && ends.map(|end| &path[..end]).any(|path| others.contains(path))
}

fn shown_first(first: Option<&[u8]>) -> String {
    match first {
        None => "a file of its own".to_owned(),
        Some(first) => format!("another name of {}", shown_bytes(first)),
    }
}

fn shown_owner(attributes: &Attributes) -> String {
    attributes.owner.map_or_else(String::new, |owner| format!("{}:{}", owner.uid, owner.gid))
}

/// Names, and digests of values: those may be long, and need not be text.
fn shown_xattrs(attributes: &Attributes) -> String {
    let xattrs = attributes.xattrs.as_deref().unwrap_or_default();
    let shown = xattrs.iter().map(|one| {
        let digest = Digest::of(&one.value).to_string();
        format!("{}={}", shown_bytes(&one.name), &digest[..8])
    });
    let shown: Vec<String> = shown.collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(" ") }
}

fn shown_bytes(bytes: &[u8]) -> String {
    escape::path(OsStr::from_bytes(bytes).as_ref())
}

fn shown_time(time: FileTime) -> String {
    let at =
        i32::try_from(time.nanos).ok().and_then(|nanos| Timestamp::new(time.seconds, nanos).ok());
    // File systems take times that no calendar has.
    at.map_or_else(|| format!("{}.{:09} s", time.seconds, time.nanos), |at| at.to_string())
}
