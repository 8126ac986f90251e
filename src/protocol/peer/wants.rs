//! Which segments does a peer lack, file by file, and which of them does it show to the tracker?

use std::collections::VecDeque;
use std::ops::Range;

use arrayvec::ArrayVec;

use super::ledger::{Ledger, SegmentState};
use crate::config::BLOCKS_MAX;
use crate::manifest::{Block, FileId, SegmentId};
use crate::protocol::registration::Listing;

/// A wanted file.
#[derive(Clone, Debug)]
struct WantedFile {
    file: FileId,
    segments: Range<u32>,
    remaining: u32,
    failed: bool,
    // A cursor: without it every ask would scan a file from its start, quadratic in its segments.
    /// No block before this position of the ledger has missing segments of the file.
    front: usize,
    /// Whether it is among the active files.
    active: bool,
}

/// The segments that a peer owns or wants, and their files.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    ledger: Ledger,
    /// Ascending by first segment; files without segments left out.
    files: Vec<WantedFile>,
    /// Files that asks show: the first ones with something missing, and those where a request failed.
    active: VecDeque<usize>,
    /// The first file that was never active.
    // Files become active in their order, so that one number tells which were.
    next: usize,
    /// Files neither whole nor failed.
    open: usize,
}

impl Wants {
    pub(super) fn new(owned: &[Listing], wanted: &[Listing]) -> Self {
        let range = |listing: &Listing| listing.first..listing.first + listing.count;
        let owned: Vec<_> = owned.iter().map(range).collect();
        let ranges: Vec<_> = wanted.iter().map(range).collect();
        let ledger = Ledger::new(&owned, &ranges);
        let mut files: Vec<_> = wanted
            .iter()
            .filter(|listing| listing.count > 0)
            .map(|listing| WantedFile {
                file: listing.file,
                segments: range(listing),
                remaining: listing.count,
                failed: false,
                front: ledger.position_of(SegmentId(listing.first)),
                active: false,
            })
            .collect();
        files.sort_unstable_by_key(|file| file.segments.start);
        let open = files.len();
        Self { ledger, files, active: VecDeque::new(), next: 0, open }
    }

    /// Marks a missing segment as requested; false when it was not missing.
    pub(super) fn take(&mut self, segment: SegmentId) -> bool {
        self.ledger.take(segment)
    }

    /// Marks a requested segment as missing again.
    pub(super) fn release(&mut self, segment: SegmentId) {
        if !self.ledger.release(segment) {
            return;
        }
        let position = self.ledger.position_of(segment);
        if let Some(index) = self.wanted_file(segment) {
            let file = &mut self.files[index];
            file.front = file.front.min(position);
            if file.failed {
                // The file was given up while this request was in flight.
                self.ledger.abandon(segment);
            } else if !file.active && index < self.next {
                file.active = true;
                self.active.push_back(index);
            }
        }
    }

    /// Marks a segment as verified; returns its file if that is whole now.
    pub(super) fn verify(&mut self, segment: SegmentId) -> Option<FileId> {
        if !self.ledger.verify(segment) {
            return None;
        }
        // A countdown latch for each file: the segment that takes it to zero publishes the file.
        let index = self.wanted_file(segment)?;
        let file = &mut self.files[index];
        file.remaining -= 1;
        let whole = file.remaining == 0 && !file.failed;
        self.open -= usize::from(whole);
        whole.then_some(file.file)
    }

    /// Marks a segment as verified that nobody sent: the peer had it at the start, or has read it, perhaps
    /// for others only. Returns its file if that is whole now.
    pub(super) fn keep(&mut self, segment: SegmentId) -> Option<FileId> {
        // Of what is not wanted no file waits for it.
        if self.ledger.adopt(segment) {
            self.ledger.verify(segment);
            return None;
        }
        // What is taken was missing, and is being read.
        self.ledger.take(segment);
        self.verify(segment)
    }

    /// Leaves a missing segment out of what is wanted: its file is whole without it.
    pub(super) fn leave_out(&mut self, segment: SegmentId) {
        if self.ledger.abandon(segment)
            && let Some(index) = self.wanted_file(segment)
        {
            let file = &mut self.files[index];
            file.remaining -= 1;
            self.open -= usize::from(file.remaining == 0);
        }
    }

    /// Gives up all files that are not whole.
    pub(super) fn abandon_all(&mut self) {
        for file in self.files.iter_mut().filter(|file| file.remaining > 0 && !file.failed) {
            file.failed = true;
            self.open -= 1;
            for id in file.segments.clone() {
                self.ledger.abandon(SegmentId(id));
            }
        }
    }

    /// Gives up the files of segments that nobody will have; returns those given up only now.
    pub(super) fn fail(&mut self, blocks: &[Block]) -> Vec<FileId> {
        let mut failed = Vec::new();
        for segment in blocks.iter().flat_map(|block| block.segments()) {
            if self.ledger.state(segment) != SegmentState::Missing {
                continue;
            }
            let index = self.wanted_file(segment).expect("a missing segment is of a wanted file");
            let file = &mut self.files[index];
            if !file.failed {
                file.failed = true;
                self.open -= 1;
                failed.push(file.file);
                for id in file.segments.clone() {
                    self.ledger.abandon(SegmentId(id));
                }
            }
        }
        failed
    }

    /// The blocks of missing segments to show to the tracker: one of each active file in turn, from
    /// the front of each.
    // An ask has room for `BLOCKS_MAX` blocks, and the tracker picks the rarest segments of these. All
    // peers begin at the front, so that they lack and have segments of the same blocks and can serve
    // each other. Files take turns (round robin), so that several owners upload at the same time.
    pub(super) fn interest(&mut self) -> ArrayVec<Block, BLOCKS_MAX> {
        self.activate();
        let mut blocks: ArrayVec<Block, BLOCKS_MAX> = ArrayVec::new();
        // No allocation: this runs for every ask.
        let mut cursors: ArrayVec<(usize, usize), BLOCKS_MAX> = ArrayVec::new();
        for &index in self.active.iter().take(BLOCKS_MAX) {
            cursors.push((index, self.files[index].front));
        }
        let mut found = true;
        while found {
            found = false;
            for (index, cursor) in &mut cursors {
                let Some((position, block)) = self.next_missing(*index, *cursor) else {
                    continue;
                };
                *cursor = position + 1;
                found = true;
                if !blocks.iter().any(|known| known.index == block.index)
                    && blocks.try_push(block).is_err()
                {
                    return blocks;
                }
            }
        }
        blocks
    }

    pub(super) fn holds(&self, segment: SegmentId) -> bool {
        self.ledger.state(segment) == SegmentState::Verified
    }

    /// Whether a segment is of a wanted file.
    pub(super) fn is_wanted(&self, segment: SegmentId) -> bool {
        self.wanted_file(segment).is_some()
    }

    /// The wanted file that a segment belongs to.
    pub(super) fn file_of(&self, segment: SegmentId) -> Option<FileId> {
        self.wanted_file(segment).map(|index| self.files[index].file)
    }

    pub(super) fn state(&self, segment: SegmentId) -> SegmentState {
        self.ledger.state(segment)
    }

    /// The position of a segment in its wanted file.
    pub(super) fn place_in_file(&self, segment: SegmentId) -> u32 {
        let file = self.wanted_file(segment).map(|index| &self.files[index]);
        segment.0 - file.map_or(0, |file| file.segments.start)
    }

    /// Whether all segments of a wanted file are there.
    pub(super) fn is_whole(&self, listing: &Listing) -> bool {
        let file = self.wanted_file(SegmentId(listing.first)).map(|index| &self.files[index]);
        listing.count == 0 || file.is_some_and(|file| file.remaining == 0 && !file.failed)
    }

    pub(super) fn is_taken(&self, segment: SegmentId) -> bool {
        self.ledger.state(segment) == SegmentState::Taken
    }

    pub(super) fn missing(&self) -> u32 {
        self.ledger.missing()
    }

    /// Whether every wanted file is whole or given up.
    pub(super) fn is_settled(&self) -> bool {
        self.open == 0
    }

    /// Removes files with nothing missing from the active ones, and adds new ones.
    fn activate(&mut self) {
        for _ in 0..self.active.len() {
            let index = self.active.pop_front().expect("it was just counted");
            match self.next_missing(index, self.files[index].front) {
                Some((position, _)) => {
                    self.files[index].front = position;
                    self.active.push_back(index);
                }
                None => self.files[index].active = false,
            }
        }
        while self.active.len() < BLOCKS_MAX && self.next < self.files.len() {
            let index = self.next;
            self.next += 1;
            // A small file may be complete: it was shown in the block of another file.
            if self.next_missing(index, self.files[index].front).is_some() {
                self.files[index].active = true;
                self.active.push_back(index);
            }
        }
    }

    /// The first block of a file at or after a position in which something is missing.
    fn next_missing(&self, index: usize, from: usize) -> Option<(usize, Block)> {
        let file = &self.files[index];
        let end = self.ledger.position_of(SegmentId(file.segments.end - 1)) + 1;
        (from..end).find_map(|position| {
            let block = self.ledger.missing_at(position);
            let of_file = block.bits & Block::overlap(block.index, &file.segments);
            (of_file != 0).then_some((position, block))
        })
    }

    fn wanted_file(&self, segment: SegmentId) -> Option<usize> {
        let after = self.files.partition_point(|file| file.segments.start <= segment.0);
        let index = after.checked_sub(1)?;
        self.files[index].segments.contains(&segment.0).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(file: u32, first: u32, count: u32) -> Listing {
        Listing { file: FileId(file), first, count }
    }

    fn ids(blocks: &[Block]) -> Vec<u32> {
        blocks.iter().flat_map(|block| block.segments()).map(|segment| segment.0).collect()
    }

    #[test]
    fn long_files_are_shown_side_by_side_from_their_fronts() {
        let mut wants = Wants::new(&[], &[listing(0, 0, 1024), listing(1, 1024, 1024)]);
        let shown: Vec<_> = wants.interest().iter().map(|block| block.index).collect();
        assert_eq!(shown, [0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23]);
    }

    #[test]
    fn small_files_share_blocks() {
        let listings: Vec<_> = (0..100).map(|file| listing(file, file, 1)).collect();
        let mut wants = Wants::new(&[], &listings);
        let blocks = wants.interest();
        assert_eq!(ids(&blocks), (0..100).collect::<Vec<_>>()[..64].to_vec());
        for id in 0..64 {
            assert!(wants.take(SegmentId(id)));
            assert_eq!(wants.verify(SegmentId(id)), Some(FileId(id)));
        }
        let rest = wants.interest();
        assert_eq!(ids(&rest), (64..100).collect::<Vec<_>>());
        assert!(!wants.is_settled());
    }

    #[test]
    fn what_is_given_back_is_shown_again() {
        let mut wants = Wants::new(&[listing(9, 0, 10)], &[listing(1, 10, 2)]);
        assert!(wants.holds(SegmentId(3)));
        assert!(wants.take(SegmentId(10)) && wants.take(SegmentId(11)));
        assert!(wants.interest().is_empty());
        wants.release(SegmentId(11));
        assert_eq!(ids(&wants.interest()), [11]);
        assert_eq!(wants.missing(), 1);
    }

    #[test]
    fn a_file_is_whole_without_what_is_left_out() {
        let of_file = listing(4, 0, 3);
        let mut wants = Wants::new(&[], &[of_file]);
        wants.leave_out(SegmentId(1));
        wants.leave_out(SegmentId(1));
        assert_eq!(ids(&wants.interest()), [0, 2]);
        assert_eq!(wants.keep(SegmentId(1)), None, "read for others");
        assert!(wants.holds(SegmentId(1)) && wants.keep(SegmentId(0)).is_none());
        assert!(wants.take(SegmentId(2)) && !wants.is_whole(&of_file));
        assert_eq!(wants.verify(SegmentId(2)), Some(FileId(4)));
        let mut nothing = Wants::new(&[], &[of_file]);
        (0..3).for_each(|id| nothing.leave_out(SegmentId(id)));
        assert!(nothing.is_whole(&of_file) && nothing.is_settled());
    }

    #[test]
    fn a_file_fails_whole_and_once() {
        let mut wants = Wants::new(&[], &[listing(0, 0, 3), listing(1, 3, 1)]);
        wants.take(SegmentId(0));
        let blocks = [Block { index: 0, bits: 0b110 }];
        assert_eq!(wants.fail(&blocks), [FileId(0)]);
        assert_eq!(wants.fail(&blocks), []);
        wants.release(SegmentId(0));
        assert_eq!(wants.missing(), 1, "only the other file's segment");
        wants.take(SegmentId(3));
        assert_eq!(wants.verify(SegmentId(3)), Some(FileId(1)));
        assert!(wants.is_settled());
    }
}
