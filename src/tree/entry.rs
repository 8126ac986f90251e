//! The list of a tree: names, kinds, sizes, times.

use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::Attributes;
use crate::config::LATE_SEGMENTS_MAX;
use crate::escape;

/// Bytes of one component of a path, at most.
// `NAME_MAX` of Linux. A longer name could be written nowhere.
const COMPONENT_BYTES_MAX: usize = 255;

/// Bytes of what a symbolic link says, at most.
// `PATH_MAX` of Linux, less the NUL byte.
const TARGET_BYTES_MAX: usize = 4095;

/// The bits of a mode: permissions, set-user-id, set-group-id and sticky.
// What chmod(2) takes.
pub(super) const MODE_BITS: u32 = 0o7777;

/// The smallest segment of a tree, bytes.
// A leaf: see `LEAF_BYTES`.
const SEGMENT_BYTES_MIN: u32 = 16 << 10;

/// The largest segment of a tree, bytes.
// A gigabyte: MPI counts bytes in 31 bits.
pub(super) const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// Where an entry lies: components with `/` between them. The first is the last name of a source.
///
/// No component is empty, `.` or `..`, and none has a NUL byte. Names need not be UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// Checks a path.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Result<Self, ManifestError> {
        let path = Self(bytes.into());
        path.check()?;
        Ok(path)
    }

    /// What lies in a folder under a name that was not checked: [`Manifest::check`] does.
    pub(super) fn joined(folder: &Self, name: &[u8]) -> Self {
        Self([&folder.0, &b"/"[..], name].concat().into())
    }

    /// Whether it keeps the rules.
    pub(super) fn check(&self) -> Result<(), ManifestError> {
        match self.problem() {
            None => Ok(()),
            Some(cause) => Err(ManifestError::Path { path: self.to_string(), cause }),
        }
    }

    fn problem(&self) -> Option<&'static str> {
        self.components().find_map(|component| match component {
            b"" => Some("an empty component"),
            b"." | b".." => Some("a component `.` or `..`"),
            name if name.contains(&0) => Some("a NUL byte"),
            name if name.len() > COMPONENT_BYTES_MAX => Some("a component of more than 255 bytes"),
            _ => None,
        })
    }

    /// Whether it lies below a folder, at any depth.
    pub(super) fn lies_in(&self, folder: &Self) -> bool {
        self.0.strip_prefix(&*folder.0).is_some_and(|rest| rest.first() == Some(&b'/'))
    }

    /// Its components, at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
        self.0.split(|&byte| byte == b'/')
    }

    /// The first component: which of the sources it belongs to.
    pub fn root(&self) -> &[u8] {
        self.components().next().unwrap_or_default()
    }

    /// All but the last component; none where there is one only.
    pub fn parent(&self) -> Option<&[u8]> {
        let end = memchr::memrchr(b'/', &self.0)?;
        Some(&self.0[..end])
    }

    /// All but the first component, with `/` between them; empty where there is one only.
    pub fn below_root(&self) -> &[u8] {
        self.0.get(self.root().len() + 1..).unwrap_or_default()
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        self.components().next_back().unwrap_or_default()
    }

    /// The bytes, with `/` between components.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path as the system takes it. It may be longer than the system allows in one call.
    pub fn as_os_str(&self) -> &OsStr {
        OsStr::from_bytes(&self.0)
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape::path(self.as_os_str().as_ref()).to_string())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_os_str())
    }
}

/// When something was changed: seconds and nanoseconds since 1970.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct FileTime {
    pub seconds: i64,
    pub nanos: u32,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its size.
        bytes: u64,
        /// Where it has data, ascending; what lies between is a hole. None where it has no holes.
        data: Option<Box<[Range<u64>]>>,
    },
    /// A symbolic link.
    Link {
        /// What it says, as it is.
        target: Box<[u8]>,
    },
    /// Another name of a file.
    HardLink {
        /// The index of its first name among the entries.
        first: u32,
    },
}

/// A name in a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it lies.
    pub path: TreePath,
    /// What it is.
    pub kind: EntryKind,
    /// Its permission bits, with set-user-id, set-group-id and sticky: `mode & 0o7777`.
    pub mode: u32,
    /// When its content changed.
    pub modified: FileTime,
    /// What else is kept of it.
    pub attributes: Attributes,
}

impl Entry {
    /// Whether another says the same; attributes that one of them does not know are not compared.
    pub fn agrees_with(&self, other: &Self) -> bool {
        let Self { path, kind, mode, modified, attributes } = self;
        (path, kind) == (&other.path, &other.kind)
            && (*mode, *modified) == (other.mode, other.modified)
            && attributes.agrees_with(&other.attributes)
    }

    fn problem(&self) -> Option<&'static str> {
        if let Some(problem) = self.attributes.problem() {
            return Some(problem);
        }
        let target = match &self.kind {
            EntryKind::Link { target } => &target[..],
            EntryKind::Folder | EntryKind::File { .. } | EntryKind::HardLink { .. } => b"-",
        };
        match () {
            () if self.mode & !MODE_BITS != 0 => Some("a mode of more than 12 bits"),
            () if self.modified.nanos >= 1_000_000_000 => Some("a second of nanoseconds or more"),
            () if target.is_empty() || target.contains(&0) => Some("a target that is no path"),
            () if target.len() > TARGET_BYTES_MAX => Some("a target of more than 4095 bytes"),
            () => None,
        }
    }
}

/// The list of all entries of all sources, ascending by path components, so that a folder comes before
/// what lies in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The size of a segment, a power of two.
    pub segment_bytes: u32,
    /// By entry: only files of one group share a segment. Empty where all may.
    pub groups: Vec<u32>,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum ManifestError {
    #[error("a manifest that can't be decoded: {0}")]
    Garbled(String),
    #[error("the path {path} has {cause}")]
    Path { path: String, cause: &'static str },
    #[error("{path} has {cause}")]
    Attribute { path: String, cause: &'static str },
    #[error("{0} comes twice, or not in order")]
    Order(String),
    #[error("{0} lies in no folder of the manifest")]
    Parent(String),
    #[error("{0} is a hard link to what is no file before it in the same source")]
    HardLink(String),
    #[error("{0} has data beyond its end, or not in order")]
    Data(String),
    #[error("groups that are not those of its entries")]
    Groups,
    #[error(
        "segments of {0} bytes: use a power of two from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
    )]
    SegmentBytes(u32),
    #[error(
        "more than {LATE_SEGMENTS_MAX} segments of {segment_bytes} bytes: use larger --segment-bytes"
    )]
    TooManySegments { segment_bytes: u32 },
}

impl Manifest {
    /// The manifest as bytes, for other nodes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("plain data can be serialized")
    }

    /// The manifest that another node sent.
    ///
    /// # Errors
    ///
    /// When it is none, or breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = match postcard::take_from_bytes(bytes) {
            Ok((manifest, [])) => manifest,
            Ok((_, rest)) => {
                return Err(ManifestError::Garbled(format!("{} bytes behind it", rest.len())));
            }
            Err(cause) => return Err(ManifestError::Garbled(cause.to_string())),
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether it keeps all rules: nothing that was not checked reaches a disk.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), ManifestError> {
        let size = self.segment_bytes;
        if !size.is_power_of_two() || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&size) {
            return Err(ManifestError::SegmentBytes(size));
        }
        if !self.groups.is_empty() && self.groups.len() != self.entries.len() {
            return Err(ManifestError::Groups);
        }
        self.check_entries().map_err(|(_, error)| error)
    }

    /// Whether the entries keep all rules.
    ///
    /// # Errors
    ///
    /// The index of the first that does not, and the rule.
    pub fn check_entries(&self) -> Result<(), (usize, ManifestError)> {
        let mut folders = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            self.check_entry(index, &mut folders).map_err(|error| (index, error))?;
            if entry.kind == EntryKind::Folder {
                folders.push(&entry.path);
            }
        }
        Ok(())
    }

    /// `folders`: those that the entry before lies in, itself included if it is one: a stack, since entries
    /// come in the order of a depth-first walk.
    fn check_entry(&self, index: usize, folders: &mut Vec<&TreePath>) -> Result<(), ManifestError> {
        let Entry { path, kind, .. } = &self.entries[index];
        path.check()?;
        let before = index.checked_sub(1).map(|before| &self.entries[before].path);
        if before.is_some_and(|before| before.components().ge(path.components())) {
            return Err(ManifestError::Order(path.to_string()));
        }
        if let Some(parent) = path.parent() {
            while folders.last().is_some_and(|folder| folder.as_bytes() != parent) {
                folders.pop();
            }
            if folders.is_empty() {
                return Err(ManifestError::Parent(path.to_string()));
            }
        }
        if let Some(cause) = self.entries[index].problem() {
            return Err(ManifestError::Attribute { path: path.to_string(), cause });
        }
        // Each source is written by itself: no hard link leads out of it.
        let is_file = |first: &Entry| {
            matches!(first.kind, EntryKind::File { .. }) && first.path.root() == path.root()
        };
        match kind {
            EntryKind::File { bytes, data: Some(data) } if !are_within(data, *bytes) => {
                Err(ManifestError::Data(path.to_string()))
            }
            EntryKind::HardLink { first }
                if *first as usize >= index || !is_file(&self.entries[*first as usize]) =>
            {
                Err(ManifestError::HardLink(path.to_string()))
            }
            EntryKind::Folder
            | EntryKind::File { .. }
            | EntryKind::Link { .. }
            | EntryKind::HardLink { .. } => Ok(()),
        }
    }

    /// The group of an entry.
    pub(super) fn group(&self, entry: usize) -> u32 {
        self.groups.get(entry).copied().unwrap_or_default()
    }

    /// Some of the entries, and the index here of each: of a file, of its first name. If that is not among them,
    /// the next one takes its place.
    pub(super) fn only(&self, taken: &[bool]) -> (Self, Vec<u32>) {
        let mut some = Self { segment_bytes: self.segment_bytes, ..Self::default() };
        let mut origins = Vec::new();
        // New numbers of files, by the old number of their first names.
        let mut firsts: FxHashMap<u32, u32> = FxHashMap::default();
        let all = (0_u32..).zip(&self.entries).zip(taken);
        for ((index, entry), _) in all.filter(|(_, taken)| **taken) {
            let origin = match entry.kind {
                EntryKind::HardLink { first } => first,
                EntryKind::Folder | EntryKind::File { .. } | EntryKind::Link { .. } => index,
            };
            let here = u32::try_from(origins.len()).unwrap_or(u32::MAX);
            let first = *firsts.entry(origin).or_insert(here);
            let kind = if first == here {
                self.entries[origin as usize].kind.clone()
            } else {
                EntryKind::HardLink { first }
            };
            some.entries.push(Entry { kind, ..entry.clone() });
            origins.push(origin);
            if !self.groups.is_empty() {
                some.groups.push(self.group(origin as usize));
            }
        }
        (some, origins)
    }

    /// The sources: the first components, each once, in order.
    pub fn roots(&self) -> Vec<&[u8]> {
        let mut roots: Vec<&[u8]> = self.entries.iter().map(|entry| entry.path.root()).collect();
        roots.dedup();
        roots
    }

    /// The bytes of all files, holes included; those of a set of hard links count once.
    pub fn bytes(&self) -> u64 {
        let size = |entry: &Entry| match entry.kind {
            EntryKind::File { bytes, .. } => bytes,
            EntryKind::Folder | EntryKind::Link { .. } | EntryKind::HardLink { .. } => 0,
        };
        self.entries.iter().map(size).fold(0, u64::saturating_add)
    }
}

fn are_within(data: &[Range<u64>], bytes: u64) -> bool {
    let mut end = 0;
    data.iter().all(|range| {
        let fits = range.start >= end && range.start < range.end && range.end <= bytes;
        end = range.end;
        fits
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::super::Layout;
    use super::*;

    fn entry(path: &[u8], kind: EntryKind) -> Entry {
        // Whoever sends it need not have checked it.
        let modified = FileTime { seconds: i64::MIN, nanos: 0 };
        let attributes = Attributes::default();
        Entry { path: TreePath(path.into()), kind, mode: 0o755, modified, attributes }
    }

    fn file(bytes: u64) -> EntryKind {
        EntryKind::File { bytes, data: None }
    }

    fn link() -> EntryKind {
        EntryKind::Link { target: (*b"/etc").into() }
    }

    /// A tree `t`, and what follows.
    fn sent(entries: &[Entry]) -> Vec<u8> {
        let top = entry(b"t", EntryKind::Folder);
        let entries = std::iter::once(top).chain(entries.iter().cloned()).collect();
        Manifest { entries, segment_bytes: 1 << 16, ..Manifest::default() }.encode()
    }

    #[test]
    fn a_hostile_manifest_of_another_node_is_refused() {
        let folder = EntryKind::Folder;
        let data = |ranges: &[Range<u64>]| EntryKind::File { bytes: 9, data: Some(ranges.into()) };
        let mut mode = entry(b"t/a", file(1));
        mode.mode = u32::MAX;
        let cases = [
            (vec![entry(b"t/../x", file(1))], "a component `.` or `..`"),
            (vec![entry(b"/etc/passwd", file(1))], "an empty component"),
            (vec![entry(b"t/a\0b", file(1))], "a NUL byte"),
            (vec![entry(&[&b"t/"[..], &[b'n'; 256]].concat(), file(1))], "more than 255 bytes"),
            (vec![entry(b"t/l", link()), entry(b"t/l/passwd", file(1))], "lies in no folder"),
            (vec![entry(b"t/f", file(1)), entry(b"t/f/x", file(1))], "lies in no folder"),
            (vec![entry(b"t/a", file(1)), entry(b"t/a", folder.clone())], "comes twice"),
            (vec![entry(b"t/b", file(1)), entry(b"t/a", file(1))], "comes twice, or not in order"),
            (vec![entry(b"u/x", file(1))], "lies in no folder"),
            (vec![entry(b"t/h", EntryKind::HardLink { first: 1 })], "a hard link to what is no"),
            (vec![entry(b"t/h", EntryKind::HardLink { first: u32::MAX })], "a hard link to what"),
            (vec![entry(b"t/h", EntryKind::HardLink { first: 0 })], "a hard link to what is no"),
            (vec![entry(b"t/d", data(&[5..6, 7..10]))], "data beyond its end"),
            (vec![entry(b"t/d", data(&[5..6, 3..4]))], "data beyond its end, or not in order"),
            (vec![mode], "a mode of more than 12 bits"),
        ];
        for (entries, cause) in cases {
            let said = Manifest::decode(&sent(&entries)).expect_err(cause).to_string();
            assert!(said.contains(cause), "{said}, not {cause}");
        }
        // Sizes are for the layout to refuse: what has holes may be as large.
        for bytes in [1 << 63, u64::MAX] {
            let manifest = Manifest::decode(&sent(&[entry(b"t/a", file(bytes))]));
            let cut = Layout::new(&manifest.expect("a size is no rule"));
            assert_eq!(cut, Err(ManifestError::TooManySegments { segment_bytes: 1 << 16 }));
        }
        // 2^63 entries, and none of them.
        let count = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(matches!(Manifest::decode(&count), Err(ManifestError::Garbled(_))));
    }

    proptest! {
        #[test]
        fn whatever_another_node_sends_is_a_manifest_or_refused(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        ) {
            let data = EntryKind::File { bytes: 1 << 20, data: Some([7..9, 70_000..99_999].into()) };
            let mut bytes = sent(&[
                entry(b"t/a", file(70_000)),
                entry(b"t/b", data),
                entry(b"t/h", EntryKind::HardLink { first: 1 }),
                entry(b"t/l", link()),
            ]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(manifest) = Manifest::decode(&bytes) {
                prop_assert_eq!(manifest.check(), Ok(()));
            }
        }
    }
}
