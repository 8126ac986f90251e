//! The download side of a peer: what it asks of the tracker and requests from holders, and what it
//! does when a request fails.
//!
//! An *ask* is a peer's message to the tracker: what it has verified, what it lacks, and for how many
//! segments it has room. A *handout* answers it: segments, each with its digest and its holders.
//!
//! Requests are pipelined (BEP 3): a window of them is in flight, so that the round trip of one hides
//! behind the transfer of others. When nothing is left to request, those that are late are made a
//! second time from another holder: the end game of BEP 3.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::config::{BLOCKS_MAX, Config, HANDOUT_MAX};
use crate::manifest::{Block, FileId, NodeId, SegmentId};
use crate::time::Timestamp;

use super::announcements::Announcements;
use super::corrupt::CorruptSegments;
use super::flights::{Flight, FlightStage, Flights};
use super::wants::Wants;
use super::{Listing, RequestFailures};
use crate::protocol::{
    CheckResult, CorruptSegment, FailedFetch, FetchFailure, Handout, HandoutEntry, LateEntry,
    Message, Outbox, Output, RequestedSegment,
};

/// A peer's downloads.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) wants: Wants,
    pub(super) failures: RequestFailures,
    pub(super) flights: Flights,
    /// The peer itself: the holder of what it reads from its source.
    pub(super) node: NodeId,
    /// Whether it can read the late file from a source.
    pub(super) is_source: bool,
    /// Whether the tracker has said that there is nothing more to read.
    pub(super) released: bool,
    /// How many segments may be in flight, whatever the window.
    pub(super) slots: usize,
    /// Where peers decide: how many segments more it may read ahead. It asks for nothing else.
    pub(super) read_room: Option<usize>,
    /// Whether the tracker is to be told that there are fewer slots than it was told last.
    pub(super) must_ask: bool,
    pub(super) verified_count: u32,
    pub(super) news: Announcements,
    pub(super) corrupt: CorruptSegments,
    /// The number of the last request, counted from 1.
    requests: u32,
    /// The number of the last ask, counted from 1.
    pub(super) sequence: u32,
    /// The last ask that the tracker confirmed, and whether it was busy then.
    pub(super) heard: u32,
    pub(super) tracker_is_busy: bool,
    /// The last ask that the tracker is to confirm even if it has nothing to hand out.
    pub(super) awaited: u32,
    /// The missing segments that the last ask listed.
    pub(super) shown: ArrayVec<Block, BLOCKS_MAX>,
    /// Whether an answer to the last ask is still to come.
    pub(super) pending: bool,
    pub(super) window: usize,
    pub(super) window_least: usize,
    /// So many verified segments are announced at once while others are in flight.
    pub(super) announcement: usize,
    request_patience: Duration,
    pub(super) end_game_latencies: u32,
}

impl Fetch {
    pub(super) fn new(node: NodeId, config: &Config) -> Self {
        Self {
            wants: Wants::default(),
            failures: RequestFailures::default(),
            flights: Flights::new(config.flights_max()),
            node,
            is_source: false,
            released: false,
            slots: usize::MAX,
            read_room: None,
            must_ask: false,
            verified_count: 0,
            news: Announcements::new(),
            corrupt: CorruptSegments::default(),
            requests: 0,
            sequence: 0,
            heard: 0,
            tracker_is_busy: false,
            awaited: 0,
            shown: ArrayVec::new(),
            pending: false,
            window: config.window,
            window_least: config.window_least,
            announcement: config.announcement,
            request_patience: config.request_patience,
            end_game_latencies: config.end_game_latencies,
        }
    }

    pub(super) fn begin(&mut self, owned: &[Listing], wanted: &[Listing]) {
        self.wants = Wants::new(owned, wanted);
    }

    /// Begins with a late file of which the peer has some segments, or does not want some.
    pub(super) fn begin_late(&mut self, listing: Listing, entry: &LateEntry) {
        self.begin(&[], &[listing]);
        self.is_source = entry.source.is_some();
        for place in entry.held.iter() {
            self.wants.keep(SegmentId(listing.first + place.0));
        }
        for place in entry.unwanted.iter() {
            self.wants.leave_out(SegmentId(listing.first + place.0));
        }
    }

    /// Requests what the tracker handed out; returns files that it says nobody will have, each with a
    /// segment that stayed corrupt, if one did.
    pub(super) fn handle_handout(
        &mut self,
        now: Timestamp,
        handout: &Handout,
        out: &mut Outbox,
    ) -> Vec<(FileId, Option<CorruptSegment>)> {
        self.handle_acknowledged(handout.answers, handout.busy);
        if handout.answers == self.sequence {
            self.pending = handout.open;
        }
        let mut asked: ArrayVec<(NodeId, RequestedSegment), HANDOUT_MAX> = ArrayVec::new();
        for entry in &handout.entries {
            asked.extend(self.start(now, entry.clone(), out));
        }
        // One message requests all that a holder is to send: for a small segment, a message of its own
        // would cost as much as the segment.
        asked.sort_by_key(|&(holder, _)| holder);
        for of_holder in asked.chunk_by(|one, other| one.0 == other.0) {
            let segments = of_holder.iter().map(|&(_, requested)| requested).collect();
            out.send(of_holder[0].0, Message::Request { segments });
        }
        if handout.unobtainable && handout.answers == self.sequence {
            // The answer is about the segments that the ask listed. A newer ask may list what failed
            // meanwhile, so that the answer to an older one doesn't count.
            self.released = true;
            let shown = std::mem::take(&mut self.shown);
            let failed = self.wants.fail(&shown);
            return self.corrupt.of_files(failed, &self.wants);
        }
        Vec::new()
    }

    /// The tracker confirmed all asks up to `answers`.
    pub(super) fn handle_acknowledged(&mut self, answers: u32, busy: bool) {
        self.news.confirm(answers);
        self.heard = self.heard.max(answers);
        self.tracker_is_busy = busy;
    }

    pub(super) fn handle_arrived(&mut self, from: NodeId, segment: SegmentId, out: &mut Outbox) {
        match self.flights.find(segment, from) {
            Some(flight) if !flight.is_superfluous() => {
                flight.stage = FlightStage::Checking;
                out.push(Output::Check { from, segment, digest: flight.digest });
            }
            // Forgotten, but MPI could not cancel the receive any more; or no longer needed.
            _ => {
                self.flights.remove(segment, from);
                out.push(Output::Forget { from, segment });
            }
        }
    }

    /// Takes the result of a check; returns the file if the segment made it whole.
    pub(super) fn handle_checked(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segment: SegmentId,
        verdict: CheckResult,
        out: &mut Outbox,
    ) -> Option<FileId> {
        let flight = self.flights.remove(segment, from)?;
        match verdict {
            CheckResult::Valid if self.wants.is_taken(segment) => {
                self.flights.note_latency(now.since(flight.since));
                self.news.add_verified(segment);
                self.verified_count += 1;
                self.corrupt.forget(segment);
                let file = self.wants.verify(segment);
                self.withdraw_others(now, segment, out);
                file
            }
            // In the end game a segment may come twice.
            CheckResult::Valid => None,
            CheckResult::Corrupt => {
                self.failures.corrupt += 1;
                self.corrupt.note(segment, from);
                self.give_back(segment, from, FetchFailure::Corrupt);
                None
            }
        }
    }

    /// The holder does not send a segment: it is busy, or has lost it.
    pub(super) fn handle_decline(
        &mut self,
        now: Timestamp,
        (from, segment, request): (NodeId, SegmentId, u32),
        failure: FetchFailure,
        out: &mut Outbox,
    ) {
        // Else it answers an earlier request. Nor is one declined whose segment has come.
        let flight = self.flights.find(segment, from);
        let is_answered = |flight: &&mut Flight| {
            flight.request == request && flight.stage != FlightStage::Checking
        };
        if flight.filter(is_answered).is_none() {
            return;
        }
        let Some(mut flight) = self.flights.remove(segment, from) else { return };
        out.push(Output::Forget { from, segment });
        match flight.stage {
            FlightStage::Withdrawn { superfluous: true, .. } => {}
            FlightStage::Withdrawn { superfluous: false, .. } => {
                self.give_back(segment, from, FetchFailure::TimedOut);
            }
            FlightStage::Requested | FlightStage::Checking | FlightStage::Reading => {
                self.failures.declined += 1;
                let spare = flight.spares.pop_at(0);
                // Two requests for one segment belong to the end game. If something is missing again,
                // it is over.
                let twice = self.flights.is_awaited(segment);
                let may_ask = (!twice || self.wants.missing() == 0) && self.has_slot();
                let spare = spare.filter(|&s| may_ask && self.flights.find(segment, s).is_none());
                match spare {
                    Some(holder) => {
                        flight.holder = holder;
                        let requested = self.expect(
                            Flight { since: now, stage: FlightStage::Requested, ..flight },
                            out,
                        );
                        let segments = [requested].into_iter().collect();
                        out.send(holder, Message::Request { segments });
                    }
                    None => self.give_back(segment, from, failure),
                }
            }
        }
    }

    pub(super) fn handle_withdrawn(
        &mut self,
        (from, segment, request): (NodeId, SegmentId, u32),
        out: &mut Outbox,
    ) {
        // Else it answers an earlier request, and this one is new.
        let flight = self.flights.find(segment, from).filter(|flight| flight.request == request);
        if flight.is_some_and(|flight| matches!(flight.stage, FlightStage::Withdrawn { .. })) {
            self.drop_flight(segment, from, FetchFailure::TimedOut, out);
        }
    }

    pub(super) fn handle_lost(&mut self, node: NodeId, out: &mut Outbox) {
        // A segment that has arrived can still be checked.
        let lost = self.flights.on_their_way_from(node);
        for segment in lost {
            self.drop_flight(segment, node, FetchFailure::Gone, out);
        }
        // It may only be stopped, and still send what it was asked for before: nothing else may wait for it.
        for flight in self.flights.iter_mut() {
            flight.spares.retain(|spare| *spare != node);
        }
    }

    /// Withdraws requests that are overdue, again and again until their holders answer.
    // The slot of a request may be written until its holder says that it will not send: only the
    // segment itself, `Withdrawn`, or the loss of the holder makes the slot vacant again. Over MPI a
    // receive that is cancelled earlier leaves a send that nothing matches and that never ends. A
    // withdrawal may be lost as other messages may, so that it is repeated.
    pub(super) fn tick(&mut self, now: Timestamp, out: &mut Outbox) {
        let patience = self.request_patience;
        for flight in self.flights.iter_mut() {
            let Flight { holder, segment, request, .. } = *flight;
            match &mut flight.stage {
                FlightStage::Requested if now >= flight.since + patience => {
                    self.failures.lapsed += 1;
                    flight.stage = FlightStage::Withdrawn { told: now, superfluous: false };
                    out.send(holder, Message::Withdraw { segment, request });
                }
                FlightStage::Withdrawn { told, .. } if now >= *told + patience => {
                    *told = now;
                    // The second holders of the end game may all have been busy: it may try again.
                    flight.doubled = false;
                    out.send(holder, Message::Withdraw { segment, request });
                }
                FlightStage::Requested
                | FlightStage::Withdrawn { .. }
                | FlightStage::Checking
                | FlightStage::Reading => {}
            }
        }
        self.flights.look_up_oldest();
    }

    /// When the next request is overdue, or late enough for the end game; never later than that.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let overdue = self.flights.oldest()? + self.request_patience;
        let Some(age) = self.end_game_age() else { return Some(overdue) };
        let early = self
            .flights
            .iter()
            .filter(|flight| flight.may_double())
            .map(|flight| flight.since + age)
            .min();
        early.into_iter().chain([overdue]).min()
    }

    pub(super) fn requested_at(&self, holder: NodeId, segment: SegmentId) -> Option<Timestamp> {
        self.flights.requested_at(segment, holder)
    }

    pub(super) fn verified_count(&self) -> u32 {
        self.verified_count
    }

    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Expects a segment that was handed out; returns what to request from whom, if anything.
    fn start(
        &mut self,
        now: Timestamp,
        entry: HandoutEntry,
        out: &mut Outbox,
    ) -> Option<(NodeId, RequestedSegment)> {
        let HandoutEntry { segment, digest, mut holders } = entry;
        let holder = holders.pop_at(0)?;
        if holder == self.node {
            self.start_read(now, segment, digest, out);
            return None;
        }
        if self.flights.len() >= self.slots {
            self.refuse(segment, holder);
            return None;
        }
        // Either the end game's second holder for a late segment, or a missing segment. Anything else
        // is an old handout.
        let one_is_late = {
            let mut flights = self.flights.of_segment(segment);
            let is_late = |flight: &Flight| flight.doubled && flight.holder != holder;
            flights.next().is_some_and(is_late) && flights.next().is_none()
        };
        let late = one_is_late && self.wants.is_taken(segment) && self.wants.missing() == 0;
        let takes = self.flights.has_room() && (late || self.wants.take(segment));
        takes.then(|| {
            let flight = Flight {
                segment,
                request: 0,
                holder,
                spares: holders,
                digest,
                since: now,
                stage: FlightStage::Requested,
                doubled: late,
            };
            (holder, self.expect(flight, out))
        })
    }

    /// Has a slot made ready. Only then may the segment be requested: without a slot it could not be
    /// received.
    fn expect(&mut self, flight: Flight, out: &mut Outbox) -> RequestedSegment {
        let (from, segment) = (flight.holder, flight.segment);
        // Never `UNNUMBERED`.
        self.requests = self.requests.wrapping_add(1).max(1);
        let request = self.requests;
        self.flights.push(Flight { request, ..flight });
        out.push(Output::Expect { from, segment });
        RequestedSegment { request, ..segment.into() }
    }

    fn drop_flight(
        &mut self,
        segment: SegmentId,
        holder: NodeId,
        failure: FetchFailure,
        out: &mut Outbox,
    ) {
        let Some(flight) = self.flights.remove(segment, holder) else { return };
        out.push(Output::Forget { from: holder, segment });
        if !flight.is_superfluous() {
            self.give_back(segment, holder, failure);
        }
    }

    pub(super) fn give_back(&mut self, segment: SegmentId, holder: NodeId, failure: FetchFailure) {
        self.news.add_failed(FailedFetch { segment, holder, failure, said: 0 });
        if !self.flights.is_awaited(segment) {
            self.wants.release(segment);
        }
    }

    pub(super) fn withdraw_others(&mut self, now: Timestamp, segment: SegmentId, out: &mut Outbox) {
        for flight in self.flights.of_segment_mut(segment) {
            if !matches!(flight.stage, FlightStage::Checking | FlightStage::Reading) {
                flight.stage = FlightStage::Withdrawn { told: now, superfluous: true };
                let request = flight.request;
                out.send(flight.holder, Message::Withdraw { segment, request });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_was_forgotten_is_forgotten_again_when_it_arrives() {
        let mut fetch = Fetch::new(NodeId(2), &Config::for_segments_of(1024));
        let (from, segment, mut out) = (NodeId(1), SegmentId(3), Outbox::default());
        fetch.handle_arrived(from, segment, &mut out);
        assert_eq!(out.take(), Some(Output::Forget { from, segment }));
    }
}
