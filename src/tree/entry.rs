//! The list of a tree: names, kinds, sizes, times.

use std::ffi::OsStr;
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;

use serde::{Deserialize, Serialize};

use crate::escape;

/// Bytes of one component of a path, at most.
// `NAME_MAX` of Linux. A longer name could be written nowhere.
const COMPONENT_BYTES_MAX: usize = 255;

/// The smallest segment of a tree, bytes.
// A leaf: see `LEAF_BYTES`.
const SEGMENT_BYTES_MIN: u32 = 16 << 10;

/// The largest segment of a tree, bytes.
// A gigabyte: MPI counts bytes in 31 bits.
const SEGMENT_BYTES_MAX: u32 = 1 << 30;

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
        match path.problem() {
            None => Ok(path),
            Some(cause) => Err(ManifestError::Path { path: path.to_string(), cause }),
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
}

/// The list of all entries of all sources, ascending by path components, so that a folder comes before
/// what lies in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The size of a segment, a power of two.
    pub segment_bytes: u32,
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum ManifestError {
    #[error("a manifest that can't be decoded: {0}")]
    Garbled(String),
    #[error("the path {path} has {cause}")]
    Path { path: String, cause: &'static str },
    #[error("{0} comes twice, or not in order")]
    Order(String),
    #[error("{0} lies in no folder of the manifest")]
    Parent(String),
    #[error("{0} is a hard link to what is no file before it")]
    HardLink(String),
    #[error("{0} has data beyond its end, or not in order")]
    Data(String),
    #[error(
        "segments of {0} bytes: use a power of two from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}"
    )]
    SegmentBytes(u32),
    #[error("more than {} segments: use larger segments", u32::MAX)]
    TooManySegments,
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
        // The folders that the entry before lies in, itself included if it is one: a stack, since entries
        // come in the order of a depth-first walk.
        let mut folders: Vec<&TreePath> = Vec::new();
        let mut before: Option<&TreePath> = None;
        for (index, entry) in self.entries.iter().enumerate() {
            let path = &entry.path;
            if let Some(cause) = path.problem() {
                return Err(ManifestError::Path { path: path.to_string(), cause });
            }
            if before.is_some_and(|before| before.components().ge(path.components())) {
                return Err(ManifestError::Order(path.to_string()));
            }
            before = Some(path);
            if let Some(parent) = path.parent() {
                while folders.last().is_some_and(|folder| folder.as_bytes() != parent) {
                    folders.pop();
                }
                if folders.is_empty() {
                    return Err(ManifestError::Parent(path.to_string()));
                }
            }
            match &entry.kind {
                EntryKind::Folder => folders.push(path),
                EntryKind::File { bytes, data } => {
                    if !data.as_ref().is_none_or(|data| are_within(data, *bytes)) {
                        return Err(ManifestError::Data(path.to_string()));
                    }
                }
                EntryKind::HardLink { first } => {
                    let first = *first as usize;
                    let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. });
                    if first >= index || !self.entries.get(first).is_some_and(is_file) {
                        return Err(ManifestError::HardLink(path.to_string()));
                    }
                }
                EntryKind::Link { .. } => {}
            }
        }
        Ok(())
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
