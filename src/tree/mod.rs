//! What lies on disk? Lists folders, cuts their files into segments, and writes them elsewhere.
//!
//! A [`Manifest`] is the list; every node has the same. A [`Layout`] follows from it alone: which bytes of
//! which files are one segment.

mod digest;
mod entry;
mod layout;

pub use digest::{SegmentDigest, root_of_large_file};
pub use entry::{Entry, EntryKind, FileTime, Manifest, ManifestError, TreePath};
pub use layout::{Extent, Layout, SegmentPlace};
