//! Segments whose digests come late: they are here, or are being read, before they may be offered.

use super::holder_choice::{HolderChoice, NeighbourTransfer};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, Outbox};
use crate::time::Timestamp;

impl HolderChoice {
    /// Nobody is to send this segment: it is here, or is being read.
    pub(in crate::protocol) fn cover(&mut self, segment: SegmentId) {
        self.covered.set(segment.index(), true);
    }

    /// A segment that was covered could not be read: neighbours may send it, unless one does already.
    pub(in crate::protocol) fn uncover_unread(&mut self, segment: SegmentId, out: &mut Outbox) {
        let is_it = |one: &NeighbourTransfer| one.segment == segment;
        if !self.expected.iter().any(is_it) && !self.holds(segment) {
            self.covered.set(segment.index(), false);
            self.tell_all(None, self.holds_at(segment), out);
        }
    }

    /// A segment is here. What is on its way of it is not waited for, but keeps its slot until it comes.
    pub(in crate::protocol) fn stop_expecting(&mut self, segment: SegmentId) {
        self.covered.set(segment.index(), true);
        if let Some(at) = self.expected.iter().position(|one| one.segment == segment) {
            self.abandoned.push(self.expected.remove(at));
        }
        self.corrupt.retain(|(_, corrupt), _| *corrupt != segment);
    }

    /// A segment that is here may be offered from now on. This node seeds it, as what it owns.
    pub(in crate::protocol) fn keep(&mut self, now: Timestamp, segment: SegmentId) {
        if self.holds(segment) {
            return;
        }
        self.stop_expecting(segment);
        self.progressed = now;
        self.add(segment);
        self.seed(segment);
        self.watch(now);
    }

    /// A segment that was requested from here can't be had: it is not waited for that it leaves.
    pub(in crate::protocol) fn stop_serving(
        &mut self,
        to: NodeId,
        segment: SegmentId,
        out: &mut Outbox,
    ) {
        let neighbours = &self.neighbours;
        let is_it =
            |one: &NeighbourTransfer| one.segment == segment && neighbours[one.place].id == to;
        self.serving.retain(|one| !is_it(one));
        if self.neighbours.iter().any(|one| one.id == to && !one.is_lost()) {
            out.send(to, Message::Unservable { segment, request: 0 });
        }
    }

    /// Segments that are on their way, each with a slot.
    pub(in crate::protocol) fn in_flight(&self) -> usize {
        self.expected.len() + self.abandoned.len()
    }

    /// Segments that it seeds and has offered to nobody.
    pub(in crate::protocol) fn unseeded_count(&self) -> usize {
        self.unseeded.len()
    }
}
