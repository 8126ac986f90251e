//! Segments that came corrupt and have not come right yet: why a file can't be had.

use std::collections::BTreeMap;

use super::wants::Wants;
use crate::config::EXCLUSIONS_MAX;
use crate::manifest::{FileId, NodeId, SegmentId};
use crate::protocol::CorruptSegment;

/// One entry a segment and holder.
#[derive(Debug, Default)]
pub(super) struct CorruptSegments(Vec<CorruptSegment>);

impl CorruptSegments {
    pub(super) fn note(&mut self, segment: SegmentId, holder: NodeId) {
        let mut known = self.0.iter_mut();
        let known = known.find(|corrupt| (corrupt.segment, corrupt.holder) == (segment, holder));
        if let Some(corrupt) = known {
            corrupt.times += 1;
        } else if self.0.len() < EXCLUSIONS_MAX {
            self.0.push(CorruptSegment { segment, holder, times: 1 });
        }
    }

    /// A segment came right.
    pub(super) fn forget(&mut self, segment: SegmentId) {
        self.0.retain(|corrupt| corrupt.segment != segment);
    }

    /// Adds to each file that can't be had the segment of it that was corrupt most often, and forgets it.
    pub(super) fn of_files(
        &mut self,
        failed: Vec<FileId>,
        wants: &Wants,
    ) -> Vec<(FileId, Option<CorruptSegment>)> {
        let mut worst: BTreeMap<FileId, CorruptSegment> = BTreeMap::new();
        for &corrupt in &self.0 {
            let Some(file) = wants.file_of(corrupt.segment) else { continue };
            let known = worst.entry(file).or_insert(corrupt);
            *known = if corrupt.times > known.times { corrupt } else { *known };
        }
        let failed = failed.into_iter().map(|file| (file, worst.remove(&file))).collect();
        // What is left is of files that can still be had.
        let is_left = |file| worst.contains_key(&file);
        self.0.retain(|corrupt| wants.file_of(corrupt.segment).is_some_and(is_left));
        failed
    }
}
