//! A peer: registers, then downloads what the tracker hands out and serves what it has verified,
//! until the tracker says that all are done.

mod announcements;
mod asks;
mod corrupt;
mod end_game;
mod fetch;
mod flights;
mod ledger;
mod lost_peers;
mod message_check;
mod neighbourhood;
mod reads;
mod registering;
mod serving;
mod told_digests;
mod uploads;
mod wants;

use std::time::Duration;

use crate::config::{Config, Decider};
use crate::manifest::{FileId, NodeId, SegmentId};
use crate::time::Timestamp;

use super::message::shortened;
use super::registration::{Catalogue, Incoming, LateEntry, Listing, Outgoing};
use super::violation::Bounds;
use super::{
    DoneReport, FetchFailure, Input, Message, Node, Outbox, Output, ProtocolError, Registration,
    Violation,
};
use fetch::Fetch;
use lost_peers::EarlyEnd;
use neighbourhood::Neighbourhood;
use uploads::{Uploads, Withdrawal};

/// The phases of a run, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PeerPhase {
    /// It sends its registration, now this part.
    Registering {
        part: u32,
    },
    /// It receives the catalogue.
    Reading,
    /// It reserves a slot for each wanted segment.
    Reserving,
    /// It waits for the swarm to open.
    Waiting,
    /// It downloads and serves.
    Fetching,
    /// All that it can get is verified; some files are still being written.
    Publishing,
    /// It serves until the tracker stops it.
    Serving,
    Gone,
}

// How many times `silence_patience` a peer that has finished waits for what it sent to leave. Once is what the tracker
// waits: it ends the run by the name of who is missing, and no peer may be first.
const QUIET_MAX: u32 = 3;

/// One rank that has files, wants files, or both.
#[derive(Debug)]
pub struct Peer {
    node: NodeId,
    /// What the numbers of messages must stay below; no segment before it has read the catalogue.
    bounds: Bounds,
    /// What it registered: the segments of each own file, and how many names it wants.
    registered: (Vec<u32>, usize),
    /// The file that it registered as late.
    late: Option<LateEntry>,
    config: Config,
    phase: PeerPhase,
    registration: Outgoing,
    catalogue: Incoming,
    /// Every file that this peer owns or wants, once it has read the catalogue.
    listings: Catalogue,
    fetch: Fetch,
    uploads: Uploads,
    /// Where peers decide, once it has read the catalogue.
    neighbourhood: Option<Box<Neighbourhood>>,
    /// How many segments may be in flight, whatever the window.
    slots: usize,
    /// What kept it from reserving slots.
    shortage: Option<Box<str>>,
    /// Whole files that are still being written.
    unpublished: usize,
    report: DoneReport,
    /// When the last message to the tracker was sent.
    said: Timestamp,
    /// How often a message was repeated since the tracker's last one.
    unanswered: u32,
    early_end: Option<EarlyEnd>,
    /// Other peers that are lost, as the tracker has said.
    lost: Vec<NodeId>,
}

impl Peer {
    /// A peer that will register `registration`: rank `node` of `nodes`.
    pub fn new((node, nodes): (NodeId, u32), registration: &Registration, config: Config) -> Self {
        let registered = match registration {
            Registration::Ready { owned, wanted } => {
                let count = |digests: usize| u32::try_from(digests).unwrap_or(u32::MAX);
                (owned.iter().map(|file| count(file.digests.len())).collect(), wanted.len())
            }
            Registration::Late(_) => (Vec::new(), 1),
            Registration::Refused { .. } => (Vec::new(), 0),
        };
        let late = if let Registration::Late(entry) = registration { Some(entry) } else { None };
        Self {
            node,
            bounds: Bounds { nodes, segments: 0, files: 0 },
            registered,
            late: late.cloned(),
            phase: PeerPhase::Registering { part: 0 },
            registration: Outgoing::new(registration),
            catalogue: Incoming::default(),
            listings: Catalogue::default(),
            fetch: Fetch::new(node, &config),
            uploads: Uploads::new(&config, nodes),
            neighbourhood: None,
            slots: usize::MAX,
            shortage: None,
            unpublished: 0,
            report: DoneReport::default(),
            said: Timestamp::default(),
            unanswered: 0,
            early_end: None,
            lost: Vec::new(),
            config,
        }
    }

    /// The numbers of its owned files, in the order of the registration; empty before
    /// [`Output::Reserve`].
    pub fn owned(&self) -> &[Listing] {
        &self.listings.owned
    }

    /// Likewise its wanted files; none where nobody owns the file.
    pub fn wanted(&self) -> &[Option<Listing>] {
        &self.listings.wanted
    }

    /// Whether it owns or has verified a segment.
    pub fn holds(&self, segment: SegmentId) -> bool {
        self.fetch.wants.holds(segment)
    }

    /// Segments that it wants and has not requested.
    pub fn missing(&self) -> u32 {
        self.fetch.wants.missing()
    }

    /// When a segment was requested from a holder; none once that request has ended.
    pub fn requested_at(&self, holder: NodeId, segment: SegmentId) -> Option<Timestamp> {
        let neighbourhood = self.neighbourhood.as_ref();
        let expected = neighbourhood.and_then(|one| one.choice.expected_since(holder, segment));
        expected.or_else(|| self.fetch.requested_at(holder, segment))
    }

    /// Whether it chooses itself what it exchanges: a slot may then be needed twice, where a holder is silent.
    pub fn chooses(&self) -> bool {
        self.neighbourhood.is_some()
    }

    /// Requests that failed so far.
    pub fn failures(&self) -> RequestFailures {
        self.fetch.failures
    }

    /// Sends the message of this phase to the tracker, for the first time or again.
    // The tracker handles each message of a peer any number of times to the same effect, so that a
    // repetition needs no state of its own.
    fn say(&mut self, now: Timestamp, out: &mut Outbox) {
        let message = match self.phase {
            PeerPhase::Registering { part } => Message::Register(self.registration.part(part)),
            PeerPhase::Reading => Message::Describe { index: self.catalogue.next() },
            PeerPhase::Reserving | PeerPhase::Gone => return,
            PeerPhase::Waiting => Message::Ready { problem: self.shortage.clone() },
            // Complete is who has all that it can get; one that drops out has lost what it was handed.
            PeerPhase::Publishing if self.report.broken.is_none() => {
                Message::Complete { segments: self.fetch.verified_count() }
            }
            PeerPhase::Fetching | PeerPhase::Publishing if self.neighbourhood.is_some() => {
                Message::Progress { segments: self.fetch.verified_count() }
            }
            PeerPhase::Fetching | PeerPhase::Publishing => Message::Ask(self.fetch.ask()),
            PeerPhase::Serving => {
                let segments = self.fetch.verified_count();
                Message::Done(Box::new(DoneReport { segments, ..self.report.clone() }))
            }
        };
        self.said = now;
        out.send(NodeId::TRACKER, message);
    }

    fn hear(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        self.check(from, message)?;
        if from == NodeId::TRACKER {
            self.unanswered = 0;
        } else if self.config.decide == Decider::Peers {
            return self.hear_neighbour(now, from, message, out);
        }
        match message {
            &Message::Registered { index } => self.handle_registered(now, index, out),
            Message::Described(part) => return self.handle_described(now, part, out),
            Message::Open if self.phase == PeerPhase::Waiting => self.begin(now, out),
            Message::Handout(handout) if self.phase == PeerPhase::Fetching => {
                for (file, corrupt) in self.fetch.handle_handout(now, handout, out) {
                    self.report.add_failed(file, corrupt);
                }
                self.cover_reads(handout);
            }
            Message::Digests { read, is_over } if self.phase != PeerPhase::Gone => {
                self.take_digests(now, read, *is_over, out);
            }
            Message::Request { segments } => self.handle_request(now, from, segments, out),
            &Message::Decline { segment, request } => {
                self.fetch.handle_decline(now, (from, segment, request), FetchFailure::Busy, out);
            }
            &Message::Unservable { segment, request } => {
                let failure = FetchFailure::Unservable;
                self.fetch.handle_decline(now, (from, segment, request), failure, out);
            }
            &Message::Withdraw { segment, request } => {
                if self.uploads.withdraw(from, segment, request) == Withdrawal::Dropped {
                    out.send(from, Message::Withdrawn { segment, request });
                }
            }
            &Message::Withdrawn { segment, request } => {
                self.fetch.handle_withdrawn((from, segment, request), out);
            }
            &Message::Acknowledged { answers, busy } => {
                self.fetch.handle_acknowledged(answers, busy)
            }
            &Message::Lost { node } => self.handle_lost(now, node, out),
            Message::Stop if self.phase != PeerPhase::Gone => {
                self.phase = PeerPhase::Gone;
                out.send(NodeId::TRACKER, Message::Bye);
                out.push(Output::Finish);
            }
            // Those that come out of their phase, those to a tracker, and those of another kind of run.
            Message::Open
            | Message::Handout(_)
            | Message::Stop
            | Message::Register(_)
            | Message::Describe { .. }
            | Message::Ready { .. }
            | Message::Ask(_)
            | Message::Progress { .. }
            | Message::Complete { .. }
            | Message::Done(_)
            | Message::Bye
            | Message::Offer { .. }
            | Message::Refuse { .. }
            | Message::Coming { .. }
            | Message::Holds { .. }
            | Message::Digests { .. }
            | Message::Probe
            | Message::Alive
            | Message::Query
            | Message::Subtree(_) => {}
        }
        Ok(())
    }

    fn begin(&mut self, now: Timestamp, out: &mut Outbox) {
        self.phase = PeerPhase::Fetching;
        if let Some(neighbourhood) = &mut self.neighbourhood {
            neighbourhood.choice.begin(now, out);
        }
        let whole: Vec<FileId> = {
            // No segment will come that completes them.
            let wanted = self.listings.wanted.iter().flatten();
            let is_whole = |listing: &&Listing| self.fetch.wants.is_whole(listing);
            wanted.filter(is_whole).map(|listing| listing.file).collect()
        };
        for file in whole {
            self.publish(file, out);
        }
    }

    fn handle_broken(&mut self, now: Timestamp, problem: &str, out: &mut Outbox) {
        if self.report.broken.is_none() {
            self.report.broken = Some(shortened(problem).into());
            self.fetch.give_up(now, out);
            self.stop_exchanging(out);
        }
    }

    fn handle_published(&mut self, problem: Option<&str>) {
        self.unpublished -= 1;
        match problem {
            None => self.report.files += 1,
            Some(problem) => self.report.add_problem(problem),
        }
    }

    fn publish(&mut self, file: FileId, out: &mut Outbox) {
        self.unpublished += 1;
        out.push(Output::Publish { file });
    }

    /// Goes to the next phase if this one is done.
    fn advance(&mut self, now: Timestamp, out: &mut Outbox) {
        self.exchange(now, out);
        if self.phase == PeerPhase::Fetching {
            if self.fetch.wants.is_settled() && !self.fetch.may_read() {
                self.phase = PeerPhase::Publishing;
                self.say(now, out);
            } else if (self.neighbourhood.is_none() || self.fetch.is_source)
                && let Some(ask) = self.next_ask(now)
            {
                out.send(NodeId::TRACKER, Message::Ask(ask));
            }
        }
        // The end game may have left second requests. They must have ended before the peer reports
        // that it is done: afterwards their holders may leave.
        if self.phase == PeerPhase::Publishing && self.unpublished == 0 && self.is_idle() {
            self.phase = PeerPhase::Serving;
            self.say(now, out);
        }
    }
}

impl Node for Peer {
    fn handle(
        &mut self,
        now: Timestamp,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Result<(), ProtocolError> {
        self.share_slots();
        match input {
            Input::Start => self.say(now, out),
            Input::Deadline => {
                self.fetch.tick(now, out);
                self.uploads.tick(now);
                self.send_next(now, out);
                if now >= self.said + self.config.repeat_interval() {
                    self.repeat(now, out);
                }
            }
            Input::Message { from, message } => {
                self.hear(now, from, message, out).map_err(|violation| violation.from(from))?;
            }
            Input::Arrived { from, segment } => self.handle_arrived(from, segment, out),
            Input::Sent { to, segment } => {
                self.note_sent(now, to, segment);
                self.send_next(now, out);
            }
            Input::Checked { from, segment, verdict } => {
                if let Some(file) = self.handle_checked(now, (from, segment), verdict, out) {
                    self.publish(file, out);
                }
            }
            Input::Read { segment, result } => {
                if let Some(file) = self.fetch.handle_read(now, segment, result, out) {
                    self.publish(file, out);
                }
                self.note_read(now, segment, out);
            }
            Input::Room { slots } => self.set_slots(slots),
            Input::Broken { problem } => self.handle_broken(now, &problem, out),
            Input::Unservable { to, segment } => self.handle_unservable(now, to, segment, out),
            Input::Reserved { problem } => self.handle_reserved(now, problem, out),
            Input::Published { problem, .. } => self.handle_published(problem.as_deref()),
            Input::Lost { node } => self.handle_lost(now, node, out),
            // Only a tracker falls behind.
            Input::Idle => return Ok(()),
        }
        self.advance(now, out);
        Ok(())
    }

    fn deadline(&self) -> Option<Timestamp> {
        // A peer that reserves waits for its own memory, and has nothing to repeat.
        if matches!(self.phase, PeerPhase::Gone | PeerPhase::Reserving) {
            return None;
        }
        // The earliest of all timers: one wake-up serves them, as in a timer wheel of three entries.
        let repeat = self.said + self.config.repeat_interval();
        let others = self.fetch.deadline().into_iter().chain(self.uploads.deadline());
        let neighbourhood = self.neighbourhood.iter();
        others.chain(neighbourhood.filter_map(|one| one.choice.deadline())).chain([repeat]).min()
    }

    fn waits_for(&self) -> Option<Wait> {
        match self.phase {
            PeerPhase::Registering { .. }
            | PeerPhase::Reading
            | PeerPhase::Reserving
            | PeerPhase::Waiting
            | PeerPhase::Gone => None,
            PeerPhase::Publishing => Some(Wait::Disk),
            PeerPhase::Serving => Some(Wait::Nothing),
            PeerPhase::Fetching if self.neighbourhood.is_some() && !self.fetch.flights.reads() => {
                Some(Wait::Holder)
            }
            PeerPhase::Fetching if self.fetch.is_idle() => Some(Wait::Tracker),
            PeerPhase::Fetching if self.fetch.flights.reads() => Some(Wait::Disk),
            PeerPhase::Fetching => Some(Wait::Holder),
        }
    }

    fn quiet_max(&self, finished: bool) -> Option<Duration> {
        finished.then(|| self.config.silence_patience.saturating_mul(QUIET_MAX))
    }

    fn may_leave_unsent(&self) -> bool {
        self.early_end.is_some()
    }
}

/// What a peer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum Wait {
    Tracker,
    Holder,
    /// A source to be read, or the last files to get their names.
    Disk,
    Nothing,
}

/// Requests that failed, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestFailures {
    /// The holder declined.
    pub declined: u64,
    /// The holder did not answer in time.
    pub lapsed: u64,
    /// The segment's digest was wrong.
    pub corrupt: u64,
}
