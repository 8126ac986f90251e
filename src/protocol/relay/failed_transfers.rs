//! What a real job has beside silent neighbours: segments that are not wanted, copies that are corrupt, and
//! neighbours that rank 0 calls lost.
//!
//! A corrupt copy is fetched from another neighbour. The one that sent it is asked again where nobody else has
//! the segment, a bounded number of times.

use std::time::Duration;

use super::holder_choice::{CorruptCopies, HolderChoice, NeighbourTransfer};
use super::neighbour_view::NeighbourState;
use crate::config::CORRUPT_TRIES_MAX;
use crate::manifest::{Block, NodeId, SegmentId};
use crate::protocol::{Message, Outbox, UNNUMBERED};
use crate::time::Timestamp;

impl HolderChoice {
    /// It wants none of these, which are not here: nobody offers them to it.
    pub(in crate::protocol) fn leave_out(&mut self, segments: impl Iterator<Item = SegmentId>) {
        for segment in segments.map(SegmentId::index) {
            if self.left_out.0.has(segment) {
                continue;
            }
            self.covered.set(segment, true);
            self.left_out.0.set(segment, true);
            self.left_out.1 += 1;
        }
    }

    /// Since when a segment is expected from a neighbour.
    pub(in crate::protocol) fn expected_since(
        &self,
        from: NodeId,
        segment: SegmentId,
    ) -> Option<Timestamp> {
        let mut transfers = self.expected.iter().chain(&self.abandoned);
        let is_it = |one: &&NeighbourTransfer| {
            one.segment == segment && self.neighbours[one.place].id == from
        };
        transfers.find(is_it).map(|one| one.since)
    }

    /// Whether nothing is expected, also from neighbours that were given up: every slot is free.
    pub(in crate::protocol) fn is_idle(&self) -> bool {
        self.expected.is_empty() && self.abandoned.is_empty()
    }

    /// Whether a neighbour has sent a segment corrupt too often.
    pub(super) fn is_hopeless(&self, place: usize, segment: SegmentId) -> bool {
        let copies = self.corrupt.get(&(place, segment));
        copies.is_some_and(|copies| copies.times >= CORRUPT_TRIES_MAX)
    }

    /// A segment came corrupt: it is missing again.
    pub(in crate::protocol) fn reject(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segment: SegmentId,
        out: &mut Outbox,
    ) {
        let Ok(place) = self.ids.binary_search(&from) else { return };
        let copies = self.corrupt.entry((place, segment)).or_default();
        *copies = CorruptCopies { times: copies.times + 1, is_told: false };
        let is_it = |one: &NeighbourTransfer| (one.place, one.segment) == (place, segment);
        self.expected.retain(|one| !is_it(one));
        self.abandoned.retain(|one| !is_it(one));
        self.watch(now);
        if self.expected.iter().any(|one| one.segment == segment) {
            // Another neighbour sends it already.
            return;
        }
        self.covered.set(segment.index(), false);
        let others = self.neighbours.iter().enumerate().filter(|(other, one)| {
            *other != place && !one.is_silent() && self.known.covers(*other, segment.index())
        });
        // The neighbour that sent it offers it again only if it hears that it is missing.
        let may_repeat = others.count() == 0 && !self.is_hopeless(place, segment);
        if let Some(copies) = self.corrupt.get_mut(&(place, segment)) {
            copies.is_told = may_repeat;
        }
        self.tell_all((!may_repeat).then_some(from), self.holds_at(segment), out);
    }

    /// A segment came that is here or is being checked.
    pub(in crate::protocol) fn drop_copy(&mut self, from: NodeId, segment: SegmentId) {
        let neighbours = &self.neighbours;
        self.expected.retain(|one| one.segment != segment || neighbours[one.place].id != from);
        self.drop_abandoned(from, segment);
    }

    /// Nothing comes any more, so that neighbours that sent segments corrupt may try again, each once; returns
    /// whether any may.
    pub(in crate::protocol) fn retry(&mut self, now: Timestamp, out: &mut Outbox) -> bool {
        let open = self.corrupt.iter_mut().filter_map(|(&(_, segment), copies)| {
            let was_told = std::mem::replace(&mut copies.is_told, true);
            let may_repeat = !was_told && copies.times < CORRUPT_TRIES_MAX;
            may_repeat.then(|| Block::of(segment).index)
        });
        let mut blocks: Vec<_> = open.collect();
        blocks.sort_unstable();
        if blocks.is_empty() {
            return false;
        }
        self.tell_held(|block| blocks.binary_search(&block.index).is_ok(), out);
        self.progressed = now;
        self.watch(now);
        true
    }

    /// Whether a neighbour that is left has a segment or gets it, and does not send it corrupt.
    pub(in crate::protocol) fn may_come(&self, segment: SegmentId) -> bool {
        let mut left = (0..).zip(&self.neighbours).filter(|(_, one)| !one.is_lost());
        left.any(|(place, _)| {
            self.known.holds(place, segment.index()) && !self.is_hopeless(place, segment)
        })
    }

    /// Whether nothing has come for so long.
    pub(in crate::protocol) fn is_quiet_for(&self, now: Timestamp, time: Duration) -> bool {
        now >= self.progressed + time
    }

    /// Segments that came corrupt, here or to a neighbour that gave them up, and have not come right, ascending.
    pub(in crate::protocol) fn corrupt_segments(&self) -> Vec<SegmentId> {
        let all = (0..).map(SegmentId).take(self.order.len());
        let given_up = all.filter(|&one| self.given_up.has(one.index()) && !self.holds(one));
        let mut segments: Vec<_> = self.corrupt.keys().map(|&(_, segment)| segment).collect();
        segments.extend(given_up);
        segments.sort_unstable();
        segments.dedup();
        segments
    }

    /// Tells neighbours what comes corrupt from all that have it. Only a few hear it from those themselves: the others
    /// would wait for ever.
    pub(in crate::protocol) fn tell_given_up(&self, out: &mut Outbox) {
        for segment in self.corrupt_segments() {
            let left = self.neighbours.iter().filter(|one| !one.is_lost()).map(|one| one.id);
            out.send_all(left, Message::Unservable { segment, request: UNNUMBERED });
        }
    }

    /// Nothing more comes from a node, nor goes there. Returns what was expected from it, whose slots are free.
    pub(in crate::protocol) fn lose(
        &mut self,
        now: Timestamp,
        node: NodeId,
        out: &mut Outbox,
    ) -> Vec<SegmentId> {
        let Ok(place) = self.ids.binary_search(&node) else { return Vec::new() };
        self.neighbours[place].state = NeighbourState::Lost;
        self.missed.remove(&place);
        self.give_up(place, out);
        let is_its = |one: &&NeighbourTransfer| one.place == place;
        let transfers = self.expected.iter().chain(&self.abandoned).filter(is_its);
        let lost: Vec<_> = transfers.map(|one| one.segment).collect();
        // There may have been no room to give all of them up.
        let left: Vec<_> = self.expected.iter().filter(is_its).map(|one| one.segment).collect();
        self.expected.retain(|one| one.place != place);
        self.abandoned.retain(|one| one.place != place);
        self.corrupt.retain(|&(corrupt, _), _| corrupt != place);
        for segment in left {
            self.covered.set(segment.index(), false);
            self.tell_all(None, self.holds_at(segment), out);
        }
        // What others have gets here by other ways, if there are any.
        self.progressed = now;
        self.watch(now);
        lost
    }

    /// What is here or on its way, of the block of a segment.
    pub(super) fn holds_at(&self, segment: SegmentId) -> Message {
        let block = self.held_of(Block::of(segment).index);
        Message::Holds { blocks: std::iter::once(block).collect(), left_out: false }
    }
}
