//! Which bytes of which files are one segment.
//!
//! A file larger than a segment starts a segment of its own, and is cut at multiples of the segment size, so
//! that a file that grows moves no other file's segments. Smaller files are packed whole into segments, in
//! the order of the manifest. What is all hole is no segment. Where files are in groups, a segment has files of one
//! group only, and the segments of a group follow each other: a part of the tree that consists of whole groups is
//! cut as the tree is.

use std::ops::Range;

use super::{EntryKind, Manifest, ManifestError};
use crate::config::LATE_SEGMENTS_MAX;
use crate::manifest::SegmentId;

/// Bytes of one file that belong to a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The index of the file among the entries.
    pub entry: u32,
    /// Where they begin in the file.
    pub offset: u64,
    /// How many there are.
    pub bytes: usize,
}

/// What a segment is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentPlace {
    /// A part of a large file.
    Part(Extent),
    /// Whole small files, one behind the other: a range of [`Layout::packed`].
    Packed(Range<u32>),
}

/// How the files of a manifest are cut into segments. It follows from the manifest alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    segments: Vec<SegmentPlace>,
    /// The files of packed segments: index among the entries, and size.
    packed: Vec<(u32, u32)>,
    /// For each entry, the segments that have bytes of it.
    of_entries: Vec<Range<u32>>,
    segment_bytes: u32,
    bytes: u64,
}

impl Layout {
    /// Cuts the files of a manifest that was checked, group after group.
    ///
    /// # Errors
    ///
    /// When there are more than [`LATE_SEGMENTS_MAX`] segments.
    pub fn new(manifest: &Manifest) -> Result<Self, ManifestError> {
        let size = u64::from(manifest.segment_bytes);
        let mut layout = Self {
            segment_bytes: manifest.segment_bytes,
            of_entries: vec![0..0; manifest.entries.len()],
            ..Self::default()
        };
        let order = by_group(manifest);
        let mut last_group = 0;
        // The packed segment that still has room, and its bytes.
        let mut open: Option<(u32, u64)> = None;
        for place in 0..manifest.entries.len() {
            let index = order.get(place).map_or(place, |&index| index as usize);
            let next = layout.count()?;
            layout.of_entries[index] = next..next;
            let EntryKind::File { bytes, data } = &manifest.entries[index].kind else { continue };
            if *bytes == 0 {
                continue;
            }
            let entry = u32::try_from(index).map_err(|_| layout.too_many())?;
            if *bytes > size {
                layout.cut(entry, *bytes, data.as_deref())?;
                continue;
            }
            if manifest.group(index) != last_group {
                (last_group, open) = (manifest.group(index), None);
            }
            let bytes = u32::try_from(*bytes).expect("a small file fits into a segment");
            let file = u32::try_from(layout.packed.len()).map_err(|_| layout.too_many())?;
            layout.packed.push((entry, bytes));
            layout.bytes += u64::from(bytes);
            open = match open {
                Some((segment, filled)) if filled + u64::from(bytes) <= size => {
                    if let SegmentPlace::Packed(files) = &mut layout.segments[segment as usize] {
                        files.end = file + 1;
                    }
                    Some((segment, filled + u64::from(bytes)))
                }
                _ => {
                    layout.check_room(1)?;
                    layout.segments.push(SegmentPlace::Packed(file..file + 1));
                    Some((next, bytes.into()))
                }
            };
            let segment = open.map_or(next, |(segment, _)| segment);
            layout.of_entries[index] = segment..segment + 1;
        }
        Ok(layout)
    }

    /// Cuts a large file; parts without data are left out.
    fn cut(
        &mut self,
        entry: u32,
        bytes: u64,
        data: Option<&[Range<u64>]>,
    ) -> Result<(), ManifestError> {
        let size = u64::from(self.segment_bytes);
        let first = self.count()?;
        let whole = std::iter::once(0..bytes).collect::<Vec<_>>();
        // The first part that was not looked at.
        let mut next = 0;
        for range in data.unwrap_or(&whole) {
            let (from, to) = (next.max(range.start / size), range.end.div_ceil(size));
            next = next.max(to);
            self.check_room(to.saturating_sub(from))?;
            for part in from..to {
                let offset = part * size;
                let length = size.min(bytes - offset);
                self.bytes += length;
                let length = usize::try_from(length).expect("a part is at most a segment");
                self.segments.push(SegmentPlace::Part(Extent { entry, offset, bytes: length }));
            }
        }
        self.of_entries[entry as usize] = first..self.count()?;
        Ok(())
    }

    /// Whether so many segments more are not too many.
    // Before they take memory: a manifest from elsewhere may speak of any number, and a file system that tells
    // of no holes may have files of 2^63 bytes.
    fn check_room(&self, more: u64) -> Result<(), ManifestError> {
        let room = u64::from(LATE_SEGMENTS_MAX) - u64::from(self.count()?);
        if more > room { Err(self.too_many()) } else { Ok(()) }
    }

    fn count(&self) -> Result<u32, ManifestError> {
        u32::try_from(self.segments.len()).map_err(|_| self.too_many())
    }

    fn too_many(&self) -> ManifestError {
        ManifestError::TooManySegments { segment_bytes: self.segment_bytes }
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> u32 {
        u32::try_from(self.segments.len()).expect("it was checked when the layout was made")
    }

    /// The size of a segment, at most, bytes.
    pub fn segment_bytes(&self) -> usize {
        self.segment_bytes as usize
    }

    /// The bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What a segment is made of.
    ///
    /// # Panics
    ///
    /// When there is no such segment.
    pub fn place(&self, segment: SegmentId) -> &SegmentPlace {
        &self.segments[segment.index()]
    }

    /// The files of a packed segment, in order: index among the entries, and size.
    pub fn packed(&self, files: &Range<u32>) -> &[(u32, u32)] {
        &self.packed[files.start as usize..files.end as usize]
    }

    /// The extents of a segment, one behind the other in its payload.
    pub fn extents(&self, segment: SegmentId) -> impl Iterator<Item = Extent> + '_ {
        let (part, files) = match self.place(segment) {
            SegmentPlace::Part(extent) => (Some(extent.clone()), &[][..]),
            SegmentPlace::Packed(files) => (None, self.packed(files)),
        };
        let whole =
            |&(entry, bytes): &(u32, u32)| Extent { entry, offset: 0, bytes: bytes as usize };
        part.into_iter().chain(files.iter().map(whole))
    }

    /// The bytes of a segment.
    pub fn bytes_of(&self, segment: SegmentId) -> usize {
        self.extents(segment).map(|extent| extent.bytes).sum()
    }

    /// The segments that have bytes of an entry.
    pub fn segments_of(&self, entry: u32) -> Range<u32> {
        self.of_entries[entry as usize].clone()
    }
}

/// The entries group after group, each in order; empty where there is one group.
fn by_group(manifest: &Manifest) -> Vec<u32> {
    if manifest.groups.is_empty() {
        return Vec::new();
    }
    let count = u32::try_from(manifest.entries.len()).unwrap_or(u32::MAX);
    let mut order: Vec<u32> = (0..count).collect();
    // Stable: within a group the order of the manifest stays.
    order.sort_by_key(|&index| manifest.group(index as usize));
    order
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, Entry, FileTime, TreePath};
    use super::*;

    type Data = Option<Vec<Range<u64>>>;

    fn manifest(files: &[(&str, u64, Data)]) -> Manifest {
        let root = Entry {
            path: TreePath::new(*b"t").expect("a name"),
            kind: EntryKind::Folder,
            mode: 0o755,
            modified: FileTime::default(),
            attributes: Attributes::default(),
        };
        let file = |(name, bytes, data): &(&str, u64, Data)| Entry {
            path: TreePath::new(format!("t/{name}").into_bytes()).expect("a path"),
            kind: EntryKind::File { bytes: *bytes, data: data.clone().map(Into::into) },
            mode: 0o644,
            modified: FileTime::default(),
            attributes: Attributes::default(),
        };
        let entries = std::iter::once(root).chain(files.iter().map(file)).collect();
        Manifest { entries, segment_bytes: 1 << 14, ..Manifest::default() }
    }

    #[test]
    fn large_files_are_cut_and_small_ones_packed_whole() {
        let size = 1_u64 << 14;
        let manifest = manifest(&[
            ("a", 10_000, None),
            ("b", 2 * size + 1, None),
            ("c", 6_000, None),
            ("d", 0, None),
            ("e", 6_000, None),
        ]);
        manifest.check().expect("it keeps the rules");
        let layout = Layout::new(&manifest).expect("five segments");
        let sizes: Vec<_> =
            (0..layout.segment_count()).map(|s| layout.bytes_of(SegmentId(s))).collect();
        assert_eq!(sizes, [16_000, 16_384, 16_384, 1, 6_000]);
        assert_eq!(layout.segments_of(3), 0..1);
        assert_eq!(layout.segments_of(2), 1..4);
        assert!(layout.segments_of(4).is_empty());
        assert_eq!(layout.bytes(), manifest.bytes());
    }

    #[test]
    fn what_would_be_too_many_segments_is_refused_at_once() {
        let size = 1_u64 << 14;
        let beyond = [u64::MAX, 1 << 63, (u64::from(LATE_SEGMENTS_MAX) + 1) * size];
        for bytes in beyond {
            for data in [None, Some(vec![size..size + 1, 3 * size..bytes])] {
                let cut = Layout::new(&manifest(&[("a", 3 * size, None), ("b", bytes, data)]));
                let said = cut.expect_err("it is too much").to_string();
                let expected =
                    "more than 16777216 segments of 16384 bytes: use larger --segment-bytes";
                assert_eq!(said, expected, "{bytes}");
            }
        }
        let most = u64::from(LATE_SEGMENTS_MAX - 1) * size;
        let files = [("a", most, None), ("b", 1, None), ("c", size, None)];
        assert!(Layout::new(&manifest(&files[..2])).is_ok());
        let packed = Layout::new(&manifest(&files)).expect_err("one packed segment too much");
        assert_eq!(packed, ManifestError::TooManySegments { segment_bytes: 1 << 14 });
        let hole = Layout::new(&manifest(&[("a", u64::MAX, Some(vec![]))])).expect("no segment");
        assert_eq!(hole.segment_count(), 0);
    }

    #[test]
    fn holes_are_no_segments() {
        let size = 1_u64 << 14;
        let data = vec![5..10, size - 1..size + 1, 7 * size..7 * size + 3];
        let layout = Layout::new(&manifest(&[("a", 9 * size, Some(data))])).expect("a few");
        let offsets: Vec<_> = (0..layout.segment_count())
            .flat_map(|s| layout.extents(SegmentId(s)).map(|extent| extent.offset / size))
            .collect();
        assert_eq!(offsets, [0, 1, 7]);
    }
}
