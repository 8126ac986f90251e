//! What lies on disk? Lists folders, cuts their files into segments, and writes them elsewhere.
//!
//! A [`Manifest`] is the list; every node has the same. A [`Layout`] follows from it alone: which bytes of
//! which files are one segment.

mod attributes;
mod beneath;
mod comparison;
mod destination;
mod destinations;
mod digest;
mod dry_run;
mod entry;
mod file_roots;
mod folder_loops;
mod holes;
mod identity;
mod layout;
mod list;
mod manifest_file;
mod merged_lists;
mod name_filter;
mod node_part;
mod source;
mod source_root;
mod synthetic;
mod time_unit;
mod torrent;
mod whole_file;
#[cfg(test)]
mod comparison_tests;
#[cfg(test)]
mod manifest_file_tests;
#[cfg(test)]
mod source_tests;

pub use attributes::{Attributes, FileOwner, KeptAttributes, Xattr};
pub use comparison::{TreeDifference, verify_tree};
pub use destination::{
    Destination, DestinationError, DestinationOptions, LockedFolder, Published, Room, Shortage,
    is_reserved, shortages,
};
pub use destinations::{ClonedAt, CorruptAt, Destinations, SegmentWritten};
pub use digest::{SegmentDigest, root_of_large_file};
pub use dry_run::{DryRun, DryRunOptions, EntryTally, dry_run};
pub use entry::{Entry, EntryKind, FileTime, Manifest, ManifestError, TreePath};
pub use file_roots::{FileRoots, root_in_source, root_of_file, roots_of_files};
pub use identity::FileIdentity;
pub use layout::{Extent, Layout, SegmentPlace};
pub use list::{ListOptions, Listed, default_segment_bytes, list, segment_bytes_of};
pub use manifest_file::{ManifestFileError, ManifestLineError, StoredManifest, manifest_file_name};
pub use merged_lists::{NameClash, OwnEntries, merge_lists};
pub use name_filter::{FilterRule, FilterVerdict, NameFilter, Pattern};
pub use node_part::{EntrySet, NodePart, PartSegments, groups};
pub use source::{SourceCause, SourceError, TreeSource};
pub use source_root::ListError;
pub use synthetic::SyntheticTree;
pub use torrent::{Torrent, TorrentError};
