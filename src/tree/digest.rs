//! Digests of segments and files of a tree.
//!
//! The digest of a part of a large file is the root of its subtree (BEP 52), so that the root of the file
//! follows from the digests of its segments. That of a packed segment is SHA-256 over the roots of its files.

use super::{EntryKind, Layout, Manifest, SegmentPlace};
use crate::manifest::SegmentId;
use crate::verify::{Digest, merkle};

/// What hashing a segment gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentDigest {
    /// The digest of the segment: what nodes compare.
    pub digest: Digest,
    /// The roots of the files of a packed segment, in their order; none for a part of a large file.
    pub roots: Box<[Digest]>,
}

impl SegmentDigest {
    /// Hashes the payload of a segment, all its extents one behind the other.
    ///
    /// # Panics
    ///
    /// When the payload is shorter than the segment.
    pub fn of(layout: &Layout, segment: SegmentId, payload: &[u8]) -> Self {
        let files = match layout.place(segment) {
            SegmentPlace::Part(_) => {
                let digest = merkle::root_of_part(payload, layout.segment_bytes());
                return Self { digest, roots: Box::default() };
            }
            SegmentPlace::Packed(files) => layout.packed(files),
        };
        let mut rest = payload;
        let roots = merkle::roots_of(files.iter().map(|&(_, bytes)| {
            let (file, behind) = rest.split_at(bytes as usize);
            rest = behind;
            file
        }));
        Self { digest: Digest::of_all(roots.iter().map(|root| &root.0[..])), roots }
    }
}

/// The root of a large file from the digests of its segments; none while one of them is unknown.
pub fn root_of_large_file(
    manifest: &Manifest,
    layout: &Layout,
    entry: u32,
    digest: impl Fn(SegmentId) -> Option<Digest>,
) -> Option<Digest> {
    let runs = parts_of_large_file(manifest, layout, entry, digest)?;
    Some(merkle::root_over_runs(runs, layout.segment_bytes()))
}

/// The digests of the parts of a large file, holes included, in runs of equal ones, each with its length; none
/// while one of them is unknown.
pub(super) fn parts_of_large_file(
    manifest: &Manifest,
    layout: &Layout,
    entry: u32,
    digest: impl Fn(SegmentId) -> Option<Digest>,
) -> Option<Vec<(u64, Digest)>> {
    let EntryKind::File { bytes, .. } = manifest.entries[entry as usize].kind else { return None };
    let part = layout.segment_bytes();
    let parts = bytes.div_ceil(part as u64);
    let zeros = merkle::root_of_zeros(part);
    let mut runs = Vec::new();
    // The first part that is in no run.
    let mut next = 0;
    for segment in layout.segments_of(entry).map(SegmentId) {
        let SegmentPlace::Part(extent) = layout.place(segment) else { return None };
        let index = extent.offset / part as u64;
        // What is no segment is a hole.
        runs.extend([(index - next, zeros), (1, digest(segment)?)]);
        next = index + 1;
    }
    if next < parts {
        // The last part may be shorter than the others.
        let rest = bytes - (parts - 1) * part as u64;
        let rest = usize::try_from(rest).expect("it is a part at most");
        let last = merkle::root_of_part(&vec![0; rest], part);
        runs.extend([(parts - 1 - next, zeros), (1, last)]);
    }
    Some(runs)
}
