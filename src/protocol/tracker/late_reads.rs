//! Who reads the late file: each segment is read once in all, by whichever source asks first, and in
//! file order, so that disks read sequentially.
//!
//! A source that asks is handed the next segments that nobody has read, with itself as the only holder.
//! What it fails to read, or has read and lost with it, another source reads.

use std::collections::BTreeSet;

use arrayvec::ArrayVec;

use crate::config::HANDOUT_MAX;
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::protocol::late_file::{LateFile, LatePeer};

// Segments that a source is given to read at a time.
// A few that follow each other, so that a disk with several readers still reads sequentially; more would
// leave the last segments of the file to one of them. Chosen, not tuned.
const RUN: usize = 4;

// Segments that a source could not read, after which it is asked no more, unless peers want parts: what one of
// them misses says nothing of what the others want.
// One file may have changed; a disk that fails so often fails on, and each failure costs its time-out.
// Chosen, not tuned.
const UNREADABLE_MAX: usize = 16;

#[derive(Clone, Debug, Default)]
struct SourceState {
    /// Positions that it could not read.
    unreadable: Vec<u32>,
    /// The first problem that it had.
    problem: Option<Box<str>>,
    /// Positions that it has not got; none where it has all.
    lacking: Option<SegmentSet>,
    /// Where it lacks some: no position before it is unread and to be had here.
    front: u32,
    /// Whether it will read nothing more.
    is_gone: bool,
}

impl SourceState {
    fn lacks(&self, position: SegmentId) -> bool {
        self.lacking.as_ref().is_some_and(|lacking| lacking.contains(position))
    }

    /// Whether it is asked to read anything.
    fn is_asked(&self, has_parts: bool) -> bool {
        !self.is_gone && (has_parts || self.unreadable.len() < UNREADABLE_MAX)
    }

    fn can_read(&self, position: SegmentId) -> bool {
        !self.lacks(position) && !self.unreadable.contains(&position.0)
    }
}

/// What is to be read of the late file.
#[derive(Debug)]
pub(super) struct Reading {
    /// The file's first segment.
    first: u32,
    count: u32,
    /// Whether nobody can read what was left.
    gave_up: bool,
    /// Positions that nobody has read, nor was given.
    unread: SegmentSet,
    unread_count: usize,
    /// How many of the peers that are left wanted each position at the start.
    demand: Box<[u32]>,
    /// Peers that fetch nothing more, because they dropped out or are lost.
    departed: BTreeSet<NodeId>,
    /// Positions that are read once more, because those that have them sent them corrupt.
    again: SegmentSet,
    // A cursor: without it every handout would scan the file from its start.
    /// No position before it is unread.
    front: SegmentId,
    /// No cursor of a source that lacks some is beyond it.
    fronts_max: SegmentId,
    /// Whether peers want, or sources have, different parts.
    has_parts: bool,
    /// Segments that were given and neither read nor given back.
    under_way: usize,
    /// Sources that were given less than they had room for, because they were far enough ahead.
    pub(super) held_back: Vec<NodeId>,
    /// By rank; none for who can't read.
    sources: Vec<Option<SourceState>>,
    /// Sources that lack nothing and wait for segments to read.
    pub(super) idle: Vec<NodeId>,
}

impl Reading {
    /// Nothing is to be read yet.
    pub(super) fn new(first: u32, late: &LateFile, nodes: usize) -> Self {
        let mut sources = vec![None; nodes];
        for peer in late.peers.iter().filter(|peer| late.sources.contains(&peer.node)) {
            let lacking = (!peer.lacking.is_empty()).then(|| peer.lacking.clone());
            sources[peer.node.index()] = Some(SourceState { lacking, ..SourceState::default() });
        }
        let count = late.count;
        Self {
            first,
            count,
            has_parts: late.has_parts(),
            fronts_max: SegmentId(0),
            gave_up: false,
            unread: SegmentSet::none_of(count),
            unread_count: 0,
            demand: late.demand(),
            departed: BTreeSet::new(),
            again: SegmentSet::none_of(count),
            front: SegmentId(0),
            under_way: 0,
            held_back: Vec::new(),
            sources,
            idle: Vec::new(),
        }
    }

    /// A segment is to be read, if anybody that is left wants it.
    pub(super) fn add(&mut self, segment: SegmentId) {
        let position = self.position(segment);
        if self.gave_up || self.demand[position.index()] == 0 {
            return;
        }
        self.unread_count += usize::from(self.unread.insert(position));
        self.front = self.front.min(position);
        if position < self.fronts_max {
            let sources = self.sources.iter_mut().flatten();
            sources.for_each(|source| source.front = source.front.min(position.0));
        }
    }

    /// A segment came corrupt from all that have it: it is to be read once more, and no more often.
    pub(super) fn add_again(&mut self, segment: SegmentId) {
        if self.has(segment) && self.again.insert(self.position(segment)) {
            self.add(segment);
        }
    }

    pub(super) fn is_read_again(&self, segment: SegmentId) -> bool {
        self.again.contains(self.position(segment))
    }

    /// A peer fetches nothing more: what nobody else wants is not read. Returns segments that it wanted, and that at
    /// most one of the peers that are left wants.
    pub(super) fn depart(&mut self, peer: &LatePeer) -> Vec<SegmentId> {
        if !self.departed.insert(peer.node) {
            return Vec::new();
        }
        let mut rare = Vec::new();
        for segment in self.segments() {
            let position = self.position(segment);
            if !peer.wants(position) {
                continue;
            }
            self.demand[position.index()] -= 1;
            let demand = self.demand[position.index()];
            if demand == 0 && self.unread.contains(position) {
                self.unread.remove(position);
                self.unread_count -= 1;
            }
            if demand <= 1 {
                rare.push(segment);
            }
        }
        rare
    }

    /// Whether any other peer than `node`, of those that are left, wanted a segment at the start.
    pub(super) fn is_wanted_beside(
        &self,
        late: &LateFile,
        node: NodeId,
        segment: SegmentId,
    ) -> bool {
        let position = self.position(segment);
        let takes_part = !self.departed.contains(&node);
        let wants = takes_part && late.peer(node).is_some_and(|peer| peer.wants(position));
        self.demand[position.index()] > u32::from(wants)
    }

    fn position(&self, segment: SegmentId) -> SegmentId {
        SegmentId(segment.0 - self.first)
    }

    fn has(&self, segment: SegmentId) -> bool {
        (self.first..self.first + self.count).contains(&segment.0)
    }

    /// A segment that was given to a source will not come from there.
    pub(super) fn give_back(&mut self, segment: SegmentId) {
        self.under_way -= 1;
        self.add(segment);
    }

    /// A segment that was given to a source was read.
    pub(super) fn settle(&mut self) {
        self.under_way -= 1;
    }

    /// A source can't read a segment. Where none can, nobody gets the whole file, and no more of it is read; but
    /// where peers want parts of it, some may get theirs.
    pub(super) fn note_unreadable(&mut self, source: NodeId, segment: SegmentId) {
        let position = SegmentId(segment.0 - self.first);
        let has_parts = self.has_parts;
        let Some(Some(source)) = self.sources.get_mut(source.index()) else { return };
        let was_asked = source.is_asked(has_parts);
        source.unreadable.push(position.0);
        if was_asked && !source.is_asked(has_parts) {
            self.drop_unobtainable();
        } else if !self.is_obtainable(position) {
            self.drop_segment(position);
        }
    }

    /// A source will read nothing more. What it was given was given back.
    pub(super) fn remove_source(&mut self, source: NodeId) {
        if let Some(Some(source)) = self.sources.get_mut(source.index()) {
            source.is_gone = true;
        }
    }

    /// Gives up what no source can read.
    // Otherwise it would seem to be still to come, and the peers that want it would wait until all else is over.
    pub(super) fn drop_unobtainable(&mut self) {
        let unread: Vec<SegmentId> = self.unread.iter().collect();
        for position in unread {
            if !self.is_obtainable(position) {
                self.drop_segment(position);
            }
        }
    }

    fn is_obtainable(&self, position: SegmentId) -> bool {
        let mut sources = self.sources.iter().flatten();
        sources.any(|source| source.is_asked(self.has_parts) && source.can_read(position))
    }

    fn drop_segment(&mut self, position: SegmentId) {
        if !self.has_parts {
            self.give_up();
        } else if self.unread.contains(position) {
            self.unread.remove(position);
            self.unread_count -= 1;
        }
    }

    pub(super) fn note_problem(&mut self, source: NodeId, problem: &str) {
        if let Some(Some(source)) = self.sources.get_mut(source.index()) {
            source.problem.get_or_insert_with(|| problem.into());
        }
    }

    /// Takes the next segments for a source, at most `most`, without those that it has been given in any
    /// way.
    pub(super) fn take(
        &mut self,
        source: NodeId,
        most: usize,
        has: impl Fn(SegmentId) -> bool,
    ) -> ArrayVec<SegmentId, HANDOUT_MAX> {
        let Some(Some(state)) = self.sources.get_mut(source.index()) else {
            return ArrayVec::new();
        };
        if !state.is_asked(self.has_parts) {
            return ArrayVec::new();
        }
        let has_all = state.lacking.is_none();
        let before = if has_all { self.front } else { SegmentId(state.front) };
        let front = self.unread.iter_from(before).find(|&position| !state.lacks(position));
        let front = front.unwrap_or(SegmentId(self.count));
        if has_all {
            self.front = front;
        } else {
            state.front = front.0;
            self.fronts_max = self.fronts_max.max(front);
        }
        let fits = |position: SegmentId| {
            let segment = SegmentId(self.first + position.0);
            (state.can_read(position) && !has(segment)).then_some(segment)
        };
        let most = most.min(RUN).min(HANDOUT_MAX);
        let taken: ArrayVec<SegmentId, HANDOUT_MAX> =
            self.unread.iter_from(front).filter_map(fits).take(most).collect();
        for segment in &taken {
            self.unread.remove(SegmentId(segment.0 - self.first));
        }
        self.unread_count -= taken.len();
        self.under_way += taken.len();
        taken
    }

    /// Nobody can read what is left.
    pub(super) fn give_up(&mut self) {
        self.gave_up = true;
        self.unread = SegmentSet::none_of(self.count);
        self.unread_count = 0;
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = NodeId> {
        (0..)
            .map(NodeId)
            .zip(&self.sources)
            .filter_map(|(node, source)| source.as_ref().filter(|one| !one.is_gone).map(|_| node))
    }

    pub(super) fn is_source(&self, node: NodeId) -> bool {
        self.sources
            .get(node.index())
            .is_some_and(|source| source.as_ref().is_some_and(|source| !source.is_gone))
    }

    /// Segments that are being read.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    pub(super) fn has_unread(&self) -> bool {
        self.unread_count > 0
    }

    /// Whether all is read, or given up.
    pub(super) fn is_over(&self) -> bool {
        self.unread_count == 0 && self.under_way == 0
    }

    /// What kept sources from reading, by rank.
    pub(super) fn problems(&self) -> impl Iterator<Item = (NodeId, &str)> {
        let sources = (0..).map(NodeId).zip(&self.sources);
        sources.filter_map(|(node, source)| Some((node, source.as_ref()?.problem.as_deref()?)))
    }

    /// All segments of the file.
    pub(super) fn segments(&self) -> impl Iterator<Item = SegmentId> + use<> {
        (self.first..self.first + self.count).map(SegmentId)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::iter;

    use super::*;

    /// Peers 1 and 3 can read what they don't lack.
    fn reading_of(count: u32, lacking: [&[u32]; 2]) -> Reading {
        let peer = |(node, lacking): (u32, &[u32])| {
            let mut set = SegmentSet::none_of(count);
            for &position in lacking {
                assert!(set.insert(SegmentId(position)));
            }
            let none = SegmentSet::default();
            LatePeer { node: NodeId(node), held: none.clone(), unwanted: none, lacking: set }
        };
        let peers = [1, 3].into_iter().zip(lacking).map(peer).collect();
        let sources = vec![NodeId(1), NodeId(3)];
        let late = LateFile { count, sources, peers, ..LateFile::default() };
        let mut reading = Reading::new(100, &late, 4);
        (100..100 + count).for_each(|segment| reading.add(SegmentId(segment)));
        reading
    }

    fn reading(count: u32) -> Reading {
        reading_of(count, [&[], &[]])
    }

    fn take(reading: &mut Reading, source: u32, most: usize) -> Vec<u32> {
        reading.take(NodeId(source), most, |_| false).iter().map(|segment| segment.0).collect()
    }

    #[test]
    fn each_segment_is_given_once_in_file_order() {
        let mut reading = reading(70);
        assert_eq!(take(&mut reading, 1, 2), [100, 101]);
        assert_eq!(take(&mut reading, 3, 100), [102, 103, 104, 105], "a run");
        assert_eq!(take(&mut reading, 2, 100), [0; 0], "it is no source");
        let rest: Vec<_> =
            iter::repeat_with(|| take(&mut reading, 1, 4)).take(16).flatten().collect();
        assert_eq!(rest, (106..170).collect::<Vec<_>>());
        assert!(!reading.has_unread() && !reading.is_over());
        (0..70).for_each(|_| reading.settle());
        assert!(reading.is_over());
    }

    #[test]
    fn what_no_source_can_read_ends_all_reading() {
        let mut reading = reading(200);
        for source in [1, 3] {
            assert_eq!(take(&mut reading, source, 1), [100]);
            assert!(reading.has_unread());
            reading.give_back(SegmentId(100));
            reading.note_unreadable(NodeId(source), SegmentId(100));
        }
        assert!(reading.is_over());
    }

    #[test]
    fn a_source_of_parts_is_given_what_it_has() {
        let mut reading = reading_of(9, [&[0, 1, 2, 8], &[3, 4, 8]]);
        assert_eq!(take(&mut reading, 1, 2), [103, 104]);
        assert_eq!(take(&mut reading, 3, 9), [100, 101, 102, 105]);
        assert_eq!(take(&mut reading, 1, 9), [106, 107]);
        assert_eq!(take(&mut reading, 1, 9), [0; 0]);
        assert_eq!(take(&mut reading, 3, 9), [0; 0], "108 has nobody");
        reading.give_back(SegmentId(103));
        assert_eq!(take(&mut reading, 3, 9), [0; 0]);
        assert_eq!(take(&mut reading, 1, 9), [103], "back before its cursor");
    }

    #[test]
    fn where_peers_want_parts_the_rest_is_read_on() {
        let mut reading = reading_of(4, [&[1, 2, 3], &[0]]);
        assert_eq!(take(&mut reading, 1, 1), [100]);
        reading.give_back(SegmentId(100));
        reading.note_unreadable(NodeId(1), SegmentId(100));
        assert_eq!(take(&mut reading, 1, 1), [0; 0]);
        assert_eq!(take(&mut reading, 3, 9), [101, 102, 103]);
        (0..3).for_each(|_| reading.settle());
        assert!(reading.is_over());
    }

    #[test]
    fn where_peers_want_parts_a_source_with_many_bad_segments_reads_the_others() {
        let mut reading = reading_of(40, [&[39], &[]]);
        reading.remove_source(NodeId(3));
        reading.drop_unobtainable();
        for bad in (100..).take(2 * UNREADABLE_MAX) {
            assert_eq!(take(&mut reading, 1, 1), [bad]);
            reading.give_back(SegmentId(bad));
            reading.note_unreadable(NodeId(1), SegmentId(bad));
        }
        let rest: Vec<_> =
            iter::repeat_with(|| take(&mut reading, 1, 4)).take(2).flatten().collect();
        assert_eq!(rest, (132..139).collect::<Vec<_>>());
        (0..7).for_each(|_| reading.settle());
        assert!(reading.is_over(), "139 went with the other source");
    }

    #[test]
    fn what_is_left_of_sources_can_read_nothing_and_reading_ends_at_once() {
        // The other source goes.
        let mut gone = reading(200);
        assert_eq!(take(&mut gone, 1, 1), [100]);
        gone.give_back(SegmentId(100));
        gone.note_unreadable(NodeId(1), SegmentId(100));
        gone.drop_unobtainable();
        assert!(gone.has_unread());
        gone.remove_source(NodeId(3));
        gone.drop_unobtainable();
        assert!(gone.is_over() && !gone.is_source(NodeId(3)));
        // The other source has failed so often that it is asked no more.
        let mut broken = reading(200);
        assert_eq!(take(&mut broken, 1, 1), [100]);
        broken.give_back(SegmentId(100));
        broken.note_unreadable(NodeId(1), SegmentId(100));
        assert_eq!(take(&mut broken, 1, 1), [101]);
        broken.settle();
        for bad in (102..).take(UNREADABLE_MAX) {
            assert!(broken.has_unread());
            broken.note_unreadable(NodeId(3), SegmentId(bad));
        }
        assert!(broken.is_over(), "nobody reads 100");
    }

    #[test]
    fn what_one_source_can_not_read_another_reads() {
        let mut reading = reading(200);
        assert_eq!(take(&mut reading, 1, 1), [100]);
        reading.give_back(SegmentId(100));
        reading.note_unreadable(NodeId(1), SegmentId(100));
        assert_eq!(take(&mut reading, 1, 1), [101]);
        assert_eq!(take(&mut reading, 3, 1), [100]);
        for _ in 1..UNREADABLE_MAX {
            let given = take(&mut reading, 1, 1)[0];
            reading.give_back(SegmentId(given));
            reading.note_unreadable(NodeId(1), SegmentId(given));
        }
        assert_eq!(take(&mut reading, 1, 1), [0; 0], "its disk is broken");
        assert_eq!(take(&mut reading, 3, 2), [102, 103]);
    }
}
