//! The download side of a peer: asks, requests, checks, and what to do when one goes wrong.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::config::{
    BLOCKS_MAX, Config, FAILED_FETCHES_MAX, HANDOUT_MAX, WINDOW_MAX, WITHDRAWALS_MAX,
};
use crate::manifest::{Block, FileId, NodeId, SegmentId};
use crate::time::Timestamp;

use super::flights::{Flight, FlightStage, Flights};
use super::wants::Wants;
use super::{Listing, Mishaps};
use crate::protocol::{
    Ask, CheckResult, FailedFetch, FetchFailure, Handout, HandoutEntry, Message, Outbox, Output,
};

// A peer has at most one in so many of the segments that it lacks under way. Near its end it must not
// hoard what others lack too. The quarter was chosen, not tuned.
const PARTS_MIN: usize = 4;

/// Something the tracker should know, and the ask that told it: 0 while none has.
#[derive(Clone, Copy, Debug)]
struct Announcement<T> {
    what: T,
    said: u32,
}

/// What a peer does to get what it wants.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) wants: Wants,
    pub(super) mishaps: Mishaps,
    flights: Flights,
    verified_count: u32,
    verified: Vec<Announcement<SegmentId>>,
    failed: Vec<Announcement<FailedFetch>>,
    /// How many of both were never said: the last ones of each.
    unsaid: usize,
    /// Counts asks; the last one's number.
    sequence: u32,
    /// The last ask that the tracker is known to have heard, and whether it was busy then.
    heard: u32,
    tracker_is_busy: bool,
    /// The last ask that said that it waits to be heard.
    awaited: u32,
    /// The missing segments that the last ask showed.
    shown: ArrayVec<Block, BLOCKS_MAX>,
    /// Whether an answer to the last ask is still to come.
    pending: bool,
    window: usize,
    window_least: usize,
    /// What is worth telling the tracker, or asking it for, while there is something under way.
    announcement: usize,
    request_patience: Duration,
    end_game_latencies: u32,
}

impl Fetch {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            wants: Wants::default(),
            mishaps: Mishaps::default(),
            flights: Flights::new(config.flights_max()),
            verified_count: 0,
            verified: Vec::with_capacity(WINDOW_MAX),
            failed: Vec::with_capacity(WINDOW_MAX),
            unsaid: 0,
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

    /// Starts on what the tracker handed out; returns files that it says nobody will have.
    pub(super) fn handle_handout(
        &mut self,
        now: Timestamp,
        handout: &Handout,
        out: &mut Outbox,
    ) -> Vec<FileId> {
        self.handle_acknowledged(handout.answers, handout.busy);
        if handout.answers == self.sequence {
            self.pending = handout.open;
        }
        let mut asked: ArrayVec<(NodeId, SegmentId), HANDOUT_MAX> = ArrayVec::new();
        for entry in &handout.entries {
            asked.extend(self.start(now, entry.clone(), out));
        }
        // Request coalescing, sorted so that each holder's segments lie together.
        // Small segments cost little more than their messages: one for all that a holder is to send.
        asked.sort_by_key(|&(holder, _)| holder);
        for of_holder in asked.chunk_by(|one, other| one.0 == other.0) {
            let segments = of_holder.iter().map(|&(_, segment)| segment).collect();
            out.send(of_holder[0].0, Message::Request { segments });
        }
        if handout.unobtainable && handout.answers == self.sequence {
            // What was given back since, or was not shown, the verdict says nothing about.
            let shown = std::mem::take(&mut self.shown);
            return self.wants.fail(&shown);
        }
        Vec::new()
    }

    /// The tracker has heard all asks up to one.
    pub(super) fn handle_acknowledged(&mut self, answers: u32, busy: bool) {
        let told = |said: u32| said != 0 && said <= answers;
        self.verified.retain(|announcement| !told(announcement.said));
        self.failed.retain(|announcement| !told(announcement.said));
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

    /// Takes a verdict; returns the file if the segment made it whole.
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
                self.verified.push(Announcement { what: segment, said: 0 });
                self.unsaid += 1;
                self.verified_count += 1;
                let file = self.wants.verify(segment);
                self.withdraw_others(now, segment, out);
                file
            }
            // The same segment came twice and was checked twice.
            CheckResult::Valid => None,
            CheckResult::Corrupt => {
                self.mishaps.corrupt += 1;
                self.give_back(segment, from, FetchFailure::Corrupt);
                None
            }
        }
    }

    pub(super) fn handle_decline(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segment: SegmentId,
        out: &mut Outbox,
    ) {
        // Here already: this answers an earlier request.
        if self.flights.find(segment, from).is_some_and(|f| f.stage == FlightStage::Checking) {
            return;
        }
        let Some(mut flight) = self.flights.remove(segment, from) else { return };
        out.push(Output::Forget { from, segment });
        match flight.stage {
            FlightStage::Withdrawn { superfluous: true, .. } => {}
            FlightStage::Withdrawn { superfluous: false, .. } => {
                self.give_back(segment, from, FetchFailure::TimedOut);
            }
            FlightStage::Requested | FlightStage::Checking => {
                self.mishaps.declined += 1;
                let spare = flight.spares.pop_at(0);
                let twice = self.flights.of_segment(segment).next().is_some();
                let may_ask = !twice || self.wants.missing() == 0;
                let spare = spare.filter(|&s| may_ask && self.flights.find(segment, s).is_none());
                match spare {
                    Some(holder) => {
                        flight.holder = holder;
                        self.expect(
                            Flight { since: now, stage: FlightStage::Requested, ..flight },
                            out,
                        );
                        let segments = [segment].into_iter().collect();
                        out.send(holder, Message::Request { segments });
                    }
                    None => self.give_back(segment, from, FetchFailure::Busy),
                }
            }
        }
    }

    pub(super) fn handle_withdrawn(&mut self, from: NodeId, segment: SegmentId, out: &mut Outbox) {
        let withdrawn = |flight: &Flight| matches!(flight.stage, FlightStage::Withdrawn { .. });
        if !self.flights.find(segment, from).is_some_and(|flight| withdrawn(flight)) {
            return;
        }
        self.drop_flight(segment, from, FetchFailure::TimedOut, out);
    }

    pub(super) fn handle_lost(&mut self, node: NodeId, out: &mut Outbox) {
        // What is here already and being checked is as good as before.
        let lost: Vec<SegmentId> = self
            .flights
            .iter()
            .filter(|flight| flight.holder == node && flight.stage != FlightStage::Checking)
            .map(|flight| flight.segment)
            .collect();
        for segment in lost {
            self.drop_flight(segment, node, FetchFailure::Gone, out);
        }
    }

    /// Withdraws requests that wait too long, and gives up holders that don't even answer that.
    pub(super) fn tick(&mut self, now: Timestamp, out: &mut Outbox) {
        let patience = self.request_patience;
        let mut gone = Vec::new();
        for flight in self.flights.iter_mut() {
            let (holder, segment) = (flight.holder, flight.segment);
            match &mut flight.stage {
                FlightStage::Requested if now >= flight.since + patience => {
                    self.mishaps.lapsed += 1;
                    flight.stage =
                        FlightStage::Withdrawn { told: now, times: 1, superfluous: false };
                    out.send(holder, Message::Withdraw { segment });
                }
                FlightStage::Withdrawn { told, times, .. } if now >= *told + patience => {
                    if *times == WITHDRAWALS_MAX {
                        gone.push((segment, holder));
                    } else {
                        *told = now;
                        *times += 1;
                        out.send(holder, Message::Withdraw { segment });
                    }
                }
                FlightStage::Requested | FlightStage::Withdrawn { .. } | FlightStage::Checking => {}
            }
        }
        for (segment, holder) in gone {
            self.drop_flight(segment, holder, FetchFailure::Gone, out);
        }
        self.flights.look_up_eldest();
    }

    /// What to tell the tracker now, if anything.
    pub(super) fn next_ask(&mut self, now: Timestamp) -> Option<Ask> {
        let window = self.window();
        let room = window.saturating_sub(self.flights.len());
        let announcement = (window / 4).min(self.announcement).max(1);
        let can_take = if self.wants.missing() > 0 { room } else { 0 };
        let idle = self.flights.is_empty();
        // Batching, as Nagle's algorithm (RFC 896) does it: what is small waits for company as long as
        // something is under way, and goes at once if nothing is.
        let worth_saying = self.unsaid >= announcement || (idle && self.unsaid > 0);
        // What there is to say to a busy tracker gathers until it has heard the last.
        let may_say = self.heard >= self.awaited;
        if (worth_saying && may_say)
            || (!self.pending && (can_take >= announcement || (idle && can_take > 0)))
        {
            return Some(self.ask());
        }
        self.end_game_ask(now)
    }

    /// Segments that may be under way now.
    fn window(&self) -> usize {
        // A shrinking window, as a credit limit that follows the work left.
        let share = self.wants.missing() as usize / PARTS_MIN;
        self.window.min(share.max(self.window_least))
    }

    /// An ask with all that is not confirmed. One that repeats another has a new number all the
    /// same: what it says differs by then, and an answer must name what it answers.
    pub(super) fn ask(&mut self) -> Ask {
        let mut ask = self.next_number();
        let room = self.window().saturating_sub(self.flights.len());
        ask.room = u16::try_from(room).unwrap_or(u16::MAX);
        if room > 0 && self.wants.missing() > 0 {
            ask.blocks = self.wants.interest();
        }
        self.shown.clone_from(&ask.blocks);
        self.tell(&mut ask);
        self.pending = true;
        ask
    }

    /// When something here may be due.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        // A lower bound on the deadline is enough: a node that wakes too early finds nothing to do.
        let overdue = self.flights.eldest()? + self.request_patience;
        let Some(age) = self.end_game_age() else { return Some(overdue) };
        let may_double = |f: &&Flight| f.stage == FlightStage::Requested && !f.doubled;
        let early = self.flights.iter().filter(may_double).map(|flight| flight.since + age).min();
        early.into_iter().chain([overdue]).min()
    }

    pub(super) fn requested_at(&self, holder: NodeId, segment: SegmentId) -> Option<Timestamp> {
        self.flights.requested_at(segment, holder)
    }

    /// How many segments were verified.
    pub(super) fn verified_count(&self) -> u32 {
        self.verified_count
    }

    /// Whether nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    // Makes room for a segment that was handed out; returns whom to ask for it, if it is to be
    // asked for.
    fn start(
        &mut self,
        now: Timestamp,
        entry: HandoutEntry,
        out: &mut Outbox,
    ) -> Option<(NodeId, SegmentId)> {
        let HandoutEntry { segment, digest, mut holders } = entry;
        let holder = holders.pop_at(0)?;
        // Every message may come twice, so that each case is named and the rest is dropped.
        // A second holder for a segment that is late, or a new segment; anything else was said
        // twice. With something missing again, the end is not near any more.
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
                holder,
                spares: holders,
                digest,
                since: now,
                stage: FlightStage::Requested,
                doubled: late,
            };
            self.expect(flight, out);
            (holder, segment)
        })
    }

    /// Has a slot made ready. The holder must be asked afterwards, and not before.
    fn expect(&mut self, flight: Flight, out: &mut Outbox) {
        let (from, segment) = (flight.holder, flight.segment);
        self.flights.push(flight);
        out.push(Output::Expect { from, segment });
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

    fn give_back(&mut self, segment: SegmentId, holder: NodeId, failure: FetchFailure) {
        let what = FailedFetch { segment, holder, failure, said: 0 };
        self.failed.push(Announcement { what, said: 0 });
        self.unsaid += 1;
        if !self.flights.is_awaited(segment) {
            self.wants.release(segment);
        }
    }

    fn withdraw_others(&mut self, now: Timestamp, segment: SegmentId, out: &mut Outbox) {
        for flight in self.flights.of_segment_mut(segment) {
            if flight.stage != FlightStage::Checking {
                flight.stage = FlightStage::Withdrawn { told: now, times: 1, superfluous: true };
                out.send(flight.holder, Message::Withdraw { segment });
            }
        }
    }

    /// With nothing else to ask for, late segments are asked for a second time elsewhere.
    fn end_game_ask(&mut self, now: Timestamp) -> Option<Ask> {
        let age = self.end_game_age()?;
        let (mut room, mut blocks) = (0, ArrayVec::<Block, BLOCKS_MAX>::new());
        for flight in self.flights.iter_mut() {
            let late = flight.stage == FlightStage::Requested && now >= flight.since + age;
            if late && !flight.doubled {
                let block = Block::of(flight.segment);
                let known = blocks.iter().position(|known| known.index == block.index);
                match known {
                    Some(place) => blocks[place].bits |= block.bits,
                    None if blocks.is_full() => continue,
                    None => blocks.push(block),
                }
                flight.doubled = true;
                room += 1;
            }
        }
        if room == 0 {
            return None;
        }
        let mut ask = Ask { end_game: true, room, blocks, ..self.next_number() };
        self.shown.clear();
        self.tell(&mut ask);
        self.pending = true;
        Some(ask)
    }

    // Sequence numbers make asks idempotent: the tracker drops an ask that is older than the last one
    // it heard, and an answer that is older than the last ask changes nothing here.
    fn next_number(&mut self) -> Ask {
        self.sequence += 1;
        let (sequence, waits) = (self.sequence, self.tracker_is_busy);
        if waits {
            self.awaited = sequence;
        }
        Ask { sequence, waits, ..Ask::default() }
    }

    // How old a request must be to be made a second time; none while there is other work, and
    // while the tracker owes an answer.
    fn end_game_age(&self) -> Option<Duration> {
        let mean = self.flights.mean_latency()?;
        // The end game of BitTorrent (BEP 3), but only for segments that are late: doubling all would
        // cost each of them a second transfer.
        let at_end = self.wants.missing() == 0 && !self.wants.is_settled();
        (at_end && !self.pending).then(|| mean * self.end_game_latencies)
    }

    /// Adds what the tracker has not confirmed, as far as it fits.
    fn tell(&mut self, ask: &mut Ask) {
        for announcement in self.verified.iter_mut().take(WINDOW_MAX) {
            ask.verified.push(announcement.what);
            ask.known += u16::from(announcement.said != 0);
            announcement.said =
                if announcement.said == 0 { ask.sequence } else { announcement.said };
        }
        for announcement in self.failed.iter_mut().take(FAILED_FETCHES_MAX) {
            announcement.said =
                if announcement.said == 0 { ask.sequence } else { announcement.said };
            ask.failed.push(FailedFetch { said: announcement.said, ..announcement.what });
        }
        self.unsaid = self.verified.len().saturating_sub(WINDOW_MAX)
            + self.failed.len().saturating_sub(FAILED_FETCHES_MAX);
    }
}
