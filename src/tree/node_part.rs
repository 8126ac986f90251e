//! What one node takes of a tree: whole groups of files, so that each part consists of whole segments.

use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{Entry, EntryKind, Layout, Manifest, ManifestError};
use crate::manifest::{SegmentId, SegmentSet};

/// Some of the entries of a manifest, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntrySet {
    words: Vec<u64>,
}

impl EntrySet {
    /// The entries that are marked.
    pub fn of(marks: &[bool]) -> Self {
        let word = |marks: &[bool]| {
            marks.iter().rev().fold(0, |word, &is_there| word << 1 | u64::from(is_there))
        };
        Self { words: marks.chunks(64).map(word).collect() }
    }

    /// Whether an entry is there.
    pub fn contains(&self, entry: u32) -> bool {
        let word = self.words.get(entry as usize / 64);
        word.is_some_and(|word| word >> (entry % 64) & 1 != 0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    fn insert(&mut self, entry: u32) {
        let word = entry as usize / 64;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (entry % 64);
    }
}

/// Groups of files, by entry, such that each of these sets has all files of a group or none; empty where one
/// group is enough.
// Partition refinement: each set splits each group into what is in it and what is not.
pub fn groups(manifest: &Manifest, sets: &[EntrySet]) -> Vec<u32> {
    let mut groups = vec![0; manifest.entries.len()];
    // Files of which not all names are in the same sets. A part may begin such a file at another name, and so in
    // another place among the files: it shares no segment.
    let mut apart = EntrySet::default();
    let mut numbers: FxHashMap<(u32, bool), u32> = FxHashMap::default();
    for set in sets {
        // Who takes any name of a file takes the file.
        let mut set = set.clone();
        for (index, entry) in (0_u32..).zip(&manifest.entries) {
            let EntryKind::HardLink { first } = entry.kind else { continue };
            if set.contains(index) != set.contains(first) {
                apart.insert(first);
                set.insert(first);
            }
        }
        numbers.clear();
        for (index, entry) in (0_u32..).zip(&manifest.entries) {
            if matches!(entry.kind, EntryKind::File { .. }) {
                let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                let group = &mut groups[index as usize];
                *group = *numbers.entry((*group, set.contains(index))).or_insert(next);
            }
        }
    }
    let mut next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    for (index, group) in (0_u32..).zip(&mut groups) {
        if apart.contains(index) {
            *group = next;
            next += 1;
        }
    }
    if next > 1 { groups } else { Vec::new() }
}

/// Where the segments of a part are among those of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartSegments {
    /// Ascending, each with the number of its first segment in the part.
    ranges: Vec<(Range<u32>, u32)>,
    /// The segments of the tree.
    count: u32,
}

impl PartSegments {
    fn new(mut ranges: Vec<Range<u32>>, count: u32) -> Self {
        ranges.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<(Range<u32>, u32)> = Vec::new();
        let mut next = 0;
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            match merged.last_mut() {
                // Packed files have the same segment.
                Some((last, _)) if range.start <= last.end => {
                    next += range.end.saturating_sub(last.end);
                    last.end = last.end.max(range.end);
                }
                _ => {
                    let length = range.end - range.start;
                    merged.push((range, next));
                    next += length;
                }
            }
        }
        Self { ranges: merged, count }
    }

    fn len(&self) -> u32 {
        self.ranges.last().map_or(0, |(range, first)| first + (range.end - range.start))
    }

    /// The number in the part of a segment of the tree; none where the part has it not.
    pub fn in_part(&self, segment: SegmentId) -> Option<SegmentId> {
        let after = self.ranges.partition_point(|(range, _)| range.start <= segment.0);
        let (range, first) = self.ranges.get(after.checked_sub(1)?)?;
        range.contains(&segment.0).then(|| SegmentId(segment.0 - range.start + first))
    }

    /// The segments of the part, by their numbers in the tree, ascending: that of number `i` in the part is the
    /// `i`-th.
    pub fn iter(&self) -> impl Iterator<Item = SegmentId> + '_ {
        self.ranges.iter().flat_map(|(range, _)| range.clone()).map(SegmentId)
    }

    /// Segments of the tree as those of the part, without those that it has not.
    pub fn all_in_part(&self, some: &SegmentSet) -> SegmentSet {
        let mut set = SegmentSet::none_of(self.len());
        for (number, segment) in (0..).zip(self.iter()) {
            if some.contains(segment) {
                set.insert(SegmentId(number));
            }
        }
        set
    }

    /// Segments of the part as those of the tree.
    pub fn in_tree(&self, some: &SegmentSet) -> SegmentSet {
        let mut set = SegmentSet::none_of(self.count);
        for (number, segment) in (0..).zip(self.iter()) {
            if some.contains(SegmentId(number)) {
                set.insert(segment);
            }
        }
        set
    }

    /// The segments of the tree that the part has not.
    pub fn others(&self) -> SegmentSet {
        let mut set = SegmentSet::all_of(self.count);
        self.iter().for_each(|segment| set.remove(segment));
        set
    }
}

/// What a node takes of a tree.
#[derive(Clone, Debug)]
pub struct NodePart {
    /// The entries that it takes.
    pub manifest: Arc<Manifest>,
    /// How they are cut into segments.
    pub layout: Arc<Layout>,
    /// Where these are among the segments of the tree; none where the part is the tree.
    pub segments: Option<PartSegments>,
}

impl NodePart {
    /// All of a tree.
    pub fn whole(manifest: &Arc<Manifest>, layout: &Arc<Layout>) -> Self {
        Self { manifest: Arc::clone(manifest), layout: Arc::clone(layout), segments: None }
    }

    /// The entries that are taken, by entry: of a group all files or none, and the folders that they lie in.
    ///
    /// # Errors
    ///
    /// When these are no whole groups.
    pub fn of(manifest: &Manifest, layout: &Layout, taken: &[bool]) -> Result<Self, ManifestError> {
        let (mut part, origins) = manifest.only(taken);
        number_groups(&mut part);
        let files = part.entries.iter().zip(origins);
        let files = files.filter(|(entry, _)| matches!(entry.kind, EntryKind::File { .. }));
        let ranges = files.map(|(_, origin)| layout.segments_of(origin)).collect();
        let segments = PartSegments::new(ranges, layout.segment_count());
        let part_layout = Layout::new(&part)?;
        let same_length = |(here, there)| part_layout.bytes_of(here) == layout.bytes_of(there);
        let is_same_cut = segments.len() == part_layout.segment_count()
            && (0..).map(SegmentId).zip(segments.iter()).all(same_length);
        if !is_same_cut {
            return Err(ManifestError::Groups);
        }
        let (manifest, layout) = (Arc::new(part), Arc::new(part_layout));
        Ok(Self { manifest, layout, segments: Some(segments) })
    }

    /// What is known of the segments of the tree, by number, as that of the part.
    pub fn pick<T: Clone>(&self, of_tree: &[T]) -> Vec<T> {
        match &self.segments {
            None => of_tree.to_vec(),
            Some(part) => {
                part.iter().filter_map(|segment| of_tree.get(segment.index()).cloned()).collect()
            }
        }
    }
}

/// Numbers the groups of files anew, in their order, without a gap: how a part is cut does not depend on
/// other parts, and its journal fits again where those are others.
fn number_groups(part: &mut Manifest) {
    let is_file = |entry: &Entry| matches!(entry.kind, EntryKind::File { .. });
    let files = part.groups.iter().zip(&part.entries).filter(|(_, entry)| is_file(entry));
    let mut used: Vec<u32> = files.map(|(group, _)| *group).collect();
    used.sort_unstable();
    used.dedup();
    if used.len() < 2 {
        part.groups.clear();
    }
    for group in &mut part.groups {
        let number = used.binary_search(group).unwrap_or_default();
        *group = u32::try_from(number).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, FileTime, NameFilter, Pattern, TreePath};
    use super::super::{Extent, FilterRule};
    use super::*;

    const SIZE: u32 = 1 << 14;

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry {
            path: TreePath::new(path.as_bytes()).expect("a path"),
            kind,
            mode: 0o755,
            modified: FileTime::default(),
            attributes: Attributes::default(),
        }
    }

    fn file(path: &str, bytes: u64) -> Entry {
        entry(path, EntryKind::File { bytes, data: None })
    }

    /// Small and large files in turn, and a file of two names.
    fn tree() -> Manifest {
        let folder = |path| entry(path, EntryKind::Folder);
        let mut entries = vec![folder("t"), folder("t/a")];
        entries.extend((0..4).map(|n| file(&format!("t/a/shard-{n}"), 100_000 + n)));
        entries.push(folder("t/b"));
        entries.extend((0..40).map(|n| file(&format!("t/b/{n:02}"), 3_000 + 100 * n)));
        entries.push(file("t/config", 500));
        let first = u32::try_from(entries.len()).expect("few");
        entries.push(file("t/twice", 700));
        entries.push(file("t/u", 800));
        entries.push(entry("t/v", EntryKind::HardLink { first }));
        let manifest = Manifest { entries, segment_bytes: SIZE, ..Manifest::default() };
        manifest.check().expect("it keeps the rules");
        manifest
    }

    fn only(patterns: &[&str]) -> NameFilter {
        let rule = |text: &&str| (FilterRule::Include, Pattern::new(text).expect("right"));
        NameFilter::new(patterns.iter().map(rule).collect()).expect("small")
    }

    /// The extents of a segment, by name.
    fn named(
        manifest: &Manifest,
        layout: &Layout,
        segment: SegmentId,
    ) -> Vec<(String, u64, usize)> {
        let name = |Extent { entry, offset, bytes }| {
            // A file may be known by another of its names here.
            let mut path = manifest.entries[entry as usize].path.to_string();
            if path == "t/v" {
                path = "t/twice".to_owned();
            }
            (path, offset, bytes)
        };
        layout.extents(segment).map(name).collect()
    }

    #[test]
    fn each_part_has_the_segments_of_the_tree_that_have_its_files() {
        let mut manifest = tree();
        let takes: [&[&str]; 5] = [
            &["shard-0", "config", "0?"],
            &["shard-1", "config", "?[0-4]"],
            &["a/", "v", "u"],
            &["nothing"],
            &["twice", "u", "3?"],
        ];
        let taken = takes.map(|patterns| only(patterns).taken_of(&manifest));
        let sets = taken.each_ref().map(|taken| EntrySet::of(taken));
        manifest.groups = groups(&manifest, &sets);
        manifest.check().expect("it keeps the rules");
        let layout = Layout::new(&manifest).expect("few");
        for (taken, patterns) in taken.iter().zip(takes) {
            let part = NodePart::of(&manifest, &layout, taken).expect("whole groups");
            part.manifest.check().expect("it keeps the rules");
            let segments = part.segments.as_ref().expect("a part");
            for (number, segment) in (0..).map(SegmentId).zip(segments.iter()) {
                assert_eq!(segments.in_part(segment), Some(number));
                let here = named(&part.manifest, &part.layout, number);
                assert_eq!(here, named(&manifest, &layout, segment), "{patterns:?}");
            }
            let others = segments.others();
            let count = segments.len() as usize;
            assert_eq!(others.len() + count, layout.segment_count() as usize);
            assert!(others.iter().all(|segment| segments.in_part(segment).is_none()));
            assert_eq!(segments.in_tree(&SegmentSet::all_of(segments.len())).len(), count);
        }
        let nothing = NodePart::of(&manifest, &layout, &taken[3]).expect("no group");
        assert_eq!((nothing.manifest.entries.len(), nothing.layout.segment_count()), (1, 0));
        let one_of_many = only(&["05"]).taken_of(&manifest);
        let cut = NodePart::of(&manifest, &layout, &one_of_many);
        assert_eq!(cut.map(|_| ()), Err(ManifestError::Groups), "others share its segment");
    }

    #[test]
    fn who_takes_the_same_needs_no_groups() {
        let manifest = tree();
        let all = EntrySet::of(&vec![true; manifest.entries.len()]);
        assert_eq!(groups(&manifest, &[all.clone(), all]), [0; 0]);
        assert_eq!(groups(&manifest, &[]), [0; 0]);
    }
}
