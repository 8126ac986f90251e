//! What a source reads for all: the tracker hands a segment that nobody has read to the source itself,
//! and its source disk is then the holder that it fetches from. A read has no time-out: a disk may be
//! slow.

use crate::manifest::{FileId, SegmentId};
use crate::protocol::message::shortened;
use crate::protocol::{FailedFetch, FetchFailure, Message, Outbox, Output, UNREAD};
use crate::time::Timestamp;
use crate::verify::Digest;

use super::fetch::Fetch;
use super::flights::{Flight, FlightStage};
use super::ledger::SegmentState;

impl Fetch {
    /// Reads a segment that was handed out to be read.
    // A handout may come again while the segment is being read, or has been.
    pub(super) fn start_read(
        &mut self,
        now: Timestamp,
        segment: SegmentId,
        digest: Digest,
        out: &mut Outbox,
    ) {
        let repeats =
            self.flights.find(segment, self.node).is_some() || self.news.has_read(segment);
        let state = self.wants.state(segment);
        if repeats || !self.is_source || state == SegmentState::Taken {
            return;
        }
        if !self.has_slot() {
            self.refuse(segment, self.node);
            return;
        }
        if state == SegmentState::Missing {
            self.wants.take(segment);
        }
        self.released = false;
        let (holder, stage) = (self.node, FlightStage::Reading);
        self.flights.push(Flight {
            segment,
            request: 0,
            holder,
            spares: Default::default(),
            digest,
            since: now,
            stage,
            doubled: false,
        });
        out.push(Output::Read { segment });
    }

    /// Takes what was read; returns the file if the segment made it whole.
    pub(super) fn handle_read(
        &mut self,
        now: Timestamp,
        segment: SegmentId,
        result: Result<Digest, Box<str>>,
        out: &mut Outbox,
    ) -> Option<FileId> {
        let flight = self.flights.remove(segment, self.node)?;
        let is_new = self.wants.is_taken(segment);
        let problem = match result {
            Ok(digest) if flight.digest == UNREAD || flight.digest == digest => {
                self.news.add_read(segment, digest, is_new);
                self.verified_count += u32::from(is_new);
                let file = self.wants.keep(segment);
                self.withdraw_others(now, segment, out);
                return file;
            }
            Ok(_) => {
                if is_new {
                    out.push(Output::Forget { from: self.node, segment });
                }
                let place = self.wants.place_in_file(segment);
                format!("segment {place} of its source is not what another rank read").into()
            }
            Err(problem) => problem,
        };
        self.news.add_problem(shortened(&problem));
        self.give_back(segment, self.node, FetchFailure::Unreadable);
        None
    }

    /// Gives up all that is wanted. What is being read is still read, for the others.
    pub(super) fn give_up(&mut self, now: Timestamp, out: &mut Outbox) {
        self.wants.abandon_all();
        let mut given_back = Vec::new();
        for flight in self.flights.iter_mut() {
            let Flight { holder, segment, request, .. } = *flight;
            let superfluous = FlightStage::Withdrawn { told: now, superfluous: true };
            match flight.stage {
                FlightStage::Requested => {
                    flight.stage = superfluous;
                    out.send(holder, Message::Withdraw { segment, request });
                }
                FlightStage::Withdrawn { superfluous: false, .. } => flight.stage = superfluous,
                FlightStage::Withdrawn { superfluous: true, .. }
                | FlightStage::Checking
                | FlightStage::Reading => continue,
            }
            given_back.push((segment, holder));
        }
        for (segment, holder) in given_back {
            self.give_back(segment, holder, FetchFailure::TimedOut);
        }
    }

    /// Sets how many segments may be in flight. If they are fewer than before, the tracker is told.
    pub(super) fn set_slots(&mut self, slots: usize) {
        self.must_ask |= slots < self.slots && self.pending;
        self.slots = slots;
    }

    /// Whether there is a slot for one segment more.
    pub(super) fn has_slot(&self) -> bool {
        self.flights.has_room() && self.flights.len() < self.slots
    }

    /// Whether the tracker may have segments to read.
    pub(super) fn may_read(&self) -> bool {
        self.is_source && !self.released
    }

    /// Gives a segment back that was handed out when there were more slots.
    pub(super) fn refuse(&mut self, segment: SegmentId, holder: crate::manifest::NodeId) {
        let failure = FetchFailure::Busy;
        self.news.add_failed(FailedFetch { segment, holder, failure, said: 0 });
    }
}
