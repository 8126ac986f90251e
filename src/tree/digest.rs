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
        let roots: Box<[Digest]> = files
            .iter()
            .map(|&(_, bytes)| {
                let (file, behind) = rest.split_at(bytes as usize);
                rest = behind;
                merkle::root_of(file)
            })
            .collect();
        let all: Vec<u8> = roots.iter().flat_map(|root| root.0).collect();
        Self { digest: Digest::of(&all), roots }
    }
}

/// The root of a large file from the digests of its segments; none while one of them is unknown.
pub fn root_of_large_file(
    manifest: &Manifest,
    layout: &Layout,
    entry: u32,
    digest: impl Fn(SegmentId) -> Option<Digest>,
) -> Option<Digest> {
    let EntryKind::File { bytes, .. } = manifest.entries[entry as usize].kind else { return None };
    let part = layout.segment_bytes();
    let mut segments = layout.segments_of(entry).map(SegmentId).peekable();
    let zeros = merkle::root_of_zeros(part);
    let mut parts = Vec::new();
    for offset in (0..bytes).step_by(part) {
        let is_here = segments.peek().is_some_and(|&segment| {
            matches!(layout.place(segment), SegmentPlace::Part(extent) if extent.offset == offset)
        });
        parts.push(match segments.next_if(|_| is_here) {
            Some(segment) => digest(segment)?,
            // A hole. The last part may be shorter than the others.
            None if bytes - offset >= part as u64 => zeros,
            None => {
                let rest = usize::try_from(bytes - offset).expect("it is less than a part");
                merkle::root_of_part(&vec![0; rest], part)
            }
        });
    }
    let height = (part / crate::verify::LEAF_BYTES).max(1).ilog2();
    Some(merkle::root_over(parts, merkle::padding_of(height)))
}
