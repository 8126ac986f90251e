//! A late file where peers decide. Sources read what rank 0 hands them, as where it decides all. It tells every peer the
//! digests that they find: from then on whoever has a segment may offer it, and what has come of it is checked.

use super::ledger::SegmentState;
use super::{Peer, PeerPhase};
use crate::manifest::SegmentId;
use crate::protocol::{Ask, Handout, Outbox, Output, ReadSegment};
use crate::time::Timestamp;

impl Peer {
    /// Takes in digests that rank 0 tells; `is_over` says that nothing is left to read.
    pub(super) fn take_digests(
        &mut self,
        now: Timestamp,
        read: &[ReadSegment],
        is_over: bool,
        out: &mut Outbox,
    ) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        for &ReadSegment { segment, digest } in read {
            if !neighbourhood.learn(segment, digest) {
                continue;
            }
            if let Some(flight) = self.fetch.flights.find(segment, self.node) {
                // Another source has read it first: this one must find the same.
                flight.digest = digest;
            }
            if self.fetch.wants.holds(segment) {
                neighbourhood.choice.keep(now, segment);
            }
            for &(from, _) in neighbourhood.checking.iter().filter(|(_, other)| *other == segment) {
                out.push(Output::Check { from, segment, digest });
            }
        }
        neighbourhood.reading_is_over = is_over;
        self.fetch.released = is_over;
        if is_over {
            self.leave_unread_out(out);
        }
    }

    /// What nobody can read is not waited for; what else there is may still come.
    fn leave_unread_out(&mut self, out: &mut Outbox) {
        self.drop_unchecked(out);
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        let is_unread = |segment: &SegmentId| {
            let is_missing = self.fetch.wants.state(*segment) == SegmentState::Missing;
            is_missing && neighbourhood.digest(*segment).is_none()
        };
        let unread: Vec<_> = (0..self.bounds.segments).map(SegmentId).filter(is_unread).collect();
        neighbourhood.choice.leave_out(unread.iter().copied());
        neighbourhood.unread = unread;
    }

    /// Drops what has come and waits for its digest.
    fn drop_unchecked(&mut self, out: &mut Outbox) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        let checking = std::mem::take(&mut neighbourhood.checking);
        for (from, segment) in checking {
            if neighbourhood.digest(segment).is_some() {
                neighbourhood.checking.push((from, segment));
            } else {
                neighbourhood.choice.drop_copy(from, segment);
                out.push(Output::Forget { from, segment });
            }
        }
    }

    /// It can keep nothing more: neighbours are to send it nothing, and it still has what they lack.
    pub(super) fn stop_exchanging(&mut self, out: &mut Outbox) {
        self.drop_unchecked(out);
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        let choice = &mut neighbourhood.choice;
        let all = (0..self.bounds.segments).map(SegmentId);
        let lacked: Vec<_> = all.filter(|&segment| !choice.holds(segment)).collect();
        choice.leave_out(lacked.into_iter());
        // Before the run is open neighbours do not listen, and then they hear it with all that it has.
        if matches!(self.phase, PeerPhase::Fetching | PeerPhase::Publishing | PeerPhase::Serving) {
            choice.tell_left_out(out);
        }
    }

    /// What it has begun to read, no neighbour is to send.
    pub(super) fn cover_reads(&mut self, handout: &Handout) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        for segment in handout.entries.iter().map(|entry| entry.segment) {
            if self.fetch.flights.find(segment, self.node).is_some() {
                neighbourhood.choice.cover(segment);
            }
        }
    }

    /// A segment was read, or could not be.
    pub(super) fn note_read(&mut self, now: Timestamp, segment: SegmentId, out: &mut Outbox) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        let choice = &mut neighbourhood.choice;
        match self.fetch.wants.state(segment) {
            SegmentState::Verified => choice.stop_expecting(segment),
            SegmentState::Missing => choice.uncover_unread(segment, out),
            SegmentState::Unwanted | SegmentState::Taken => {}
        }
        // Where it is read again, because its reader is lost.
        if self.fetch.wants.holds(segment) && neighbourhood.digest(segment).is_some() {
            neighbourhood.choice.keep(now, segment);
        }
    }

    /// The next ask, if there is enough to tell or to ask for.
    pub(super) fn next_ask(&mut self, now: Timestamp) -> Option<Ask> {
        self.share_slots();
        let ask = self.fetch.next_ask(now)?;
        // Who decides itself says beside that how far it is.
        if self.neighbourhood.is_none() {
            self.said = now;
        }
        Some(ask)
    }

    /// So many segments may be in flight from now on.
    pub(super) fn set_slots(&mut self, slots: usize) {
        self.slots = slots;
        if self.neighbourhood.is_none() {
            self.fetch.set_slots(slots);
        }
    }

    /// What it reads and what comes from neighbours share its slots.
    pub(super) fn share_slots(&mut self) {
        let Some(neighbourhood) = &mut self.neighbourhood else { return };
        let choice = &mut neighbourhood.choice;
        let reading = self.fetch.flights.len();
        choice.room = self.slots.saturating_sub(reading);
        self.fetch.slots = self.slots.saturating_sub(choice.in_flight());
        // What it has read and nobody has taken should still be in memory when it is sent.
        let ahead = choice.unseeded_count() + reading;
        self.fetch.read_room = Some(self.config.read_ahead.max(1).saturating_sub(ahead));
    }
}
