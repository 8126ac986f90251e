//! A broadcast without a tracker: what each node receives and sends is fixed before the start, or its
//! holders choose.
//!
//! Rank 0 takes no part in the moving ([`Starter`]). Where a plan says who sends what, rank 1 owns the file, and
//! the ranks after it get it; where holders choose, any ranks own any segments, and all get all ([`Relay`]).
//! The algorithms differ only in their [`Moves`].

mod circulant;
mod failed_transfers;
mod holder_choice;
mod late_segments;
mod moves;
mod neighbour_segments;
mod neighbour_view;
mod neighbours;
mod offers;
mod plan;
mod planned;
mod report_tree;
mod sharers;
mod silent_neighbours;
mod starter;
mod told_neighbours;
mod upload_timer;

use std::collections::VecDeque;
use std::sync::Arc;

use super::message::shortened;
use super::registration::{Incoming, Outgoing, PartProgress};
use super::violation::check_posted;
use super::{
    CheckResult, DoneReport, Input, Lacking, Message, Node, Outbox, Output, Part, ProtocolError,
    SubtreeStage, SubtreeSummary, Violation, Wait,
};
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::time::Timestamp;
use crate::verify::Digest;

pub(super) use holder_choice::HolderChoice;
pub use moves::Moves;
pub use plan::{Hop, RelayAlgorithm, RelayPlan};
use report_tree::ReportTree;
pub(super) use sharers::neighbours_of_sharers;
pub use starter::Starter;
pub use upload_timer::RelayPatience;

/// The rank that has the file from the start, where a plan says who sends what.
pub const OWNER: NodeId = NodeId(1);

/// How far a relay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RelayPhase {
    /// It asks the owner for the digests.
    Learning,
    /// It reserves a slot for every segment.
    Reserving,
    /// It is ready, or has said why it can't be, and waits for the start.
    Waiting,
    Moving,
    /// It has told rank 0 why it can't go on, and waits for the end.
    Failed,
    /// The run is over; those below it have to hear it.
    Leaving,
    Gone,
}

/// A node's place in a broadcast.
#[derive(Clone, Copy, Debug)]
pub struct RelayPlace {
    /// Which node.
    pub node: NodeId,
    /// How many there are, rank 0 among them.
    pub nodes: u32,
    /// How long it waits for silent nodes; none where it waits for ever.
    pub patience: Option<RelayPatience>,
}

/// One rank of a broadcast, other than rank 0.
#[derive(Debug)]
pub struct Relay {
    phase: RelayPhase,
    moves: Moves,
    tree: ReportTree,
    /// How far it is, as the tree knows it: and how many segments it lacks, where it is settled.
    told: (SubtreeStage, usize),
    /// Whether there is a slot for every segment that it lacks.
    is_reserved: bool,
    digests: Arc<[Digest]>,
    /// The digests as the owner sends them.
    catalogue: Outgoing,
    /// And as the others receive them.
    incoming: Incoming,
    /// By segment: whether it is here, and may be sent.
    held: Vec<bool>,
    missing: usize,
    /// Segments that arrived and wait for their check, oldest first.
    unchecked: VecDeque<(NodeId, SegmentId)>,
    is_checking: bool,
    failure: Option<Box<str>>,
}

impl Relay {
    /// The owner is the one that knows the digests; the others get `segments` segments.
    pub fn new(
        place: RelayPlace,
        mut moves: Moves,
        window: usize,
        segments: u32,
        digests: Option<Vec<Digest>>,
    ) -> Self {
        let is_owner = digests.is_some();
        moves.begin(window, segments, is_owner);
        if is_owner {
            moves.own((0..segments).map(SegmentId));
        }
        let digests = digests.unwrap_or_default();
        Self {
            phase: if is_owner { RelayPhase::Reserving } else { RelayPhase::Learning },
            moves,
            tree: ReportTree::new(place.node, place.nodes, place.patience),
            told: (SubtreeStage::Preparing, 0),
            is_reserved: false,
            catalogue: Outgoing::new(&digests),
            digests: digests.into(),
            incoming: Incoming::default(),
            held: vec![is_owner; segments as usize],
            missing: if is_owner { 0 } else { segments as usize },
            unchecked: VecDeque::new(),
            is_checking: false,
            failure: None,
        }
    }

    /// A relay that knows all digests, and has the segments `owned` from the start.
    pub fn with_digests(
        place: RelayPlace,
        mut moves: Moves,
        digests: Arc<[Digest]>,
        owned: &SegmentSet,
    ) -> Self {
        let segments = u32::try_from(digests.len()).unwrap_or(u32::MAX);
        let own: Vec<_> = owned.iter().filter(|segment| segment.0 < segments).collect();
        moves.own(own.iter().copied());
        let mut this = Self::new(place, moves, 0, segments, None);
        for segment in own {
            this.held[segment.index()] = true;
            this.missing -= 1;
        }
        (this.phase, this.digests) = (RelayPhase::Reserving, digests);
        this
    }

    /// A relay that only says why it can't take part.
    pub fn refused(place: RelayPlace, reason: &str) -> Self {
        let mut this = Self::new(place, Moves::default(), 0, 0, Some(Vec::new()));
        this.failure = Some(shortened(reason).into());
        this
    }

    /// Whether every segment is here.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// What went wrong here.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The digest of each segment; none before the owner has sent them.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// The segments that are here.
    pub fn held(&self) -> impl Iterator<Item = SegmentId> {
        (0..).map(SegmentId).zip(&self.held).filter(|&(_, &held)| held).map(|(segment, _)| segment)
    }

    /// Whether a neighbour that answers and this node both have a segment, as far as this node knows.
    pub fn shares(&self, neighbour: NodeId, segment: SegmentId) -> bool {
        if let Moves::Chosen(choice) = &self.moves {
            choice.shares(neighbour, segment)
        } else {
            false
        }
    }

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let is_led = || self.tree.is_led_by(from);
        let is_of_moves = matches!(
            message,
            Message::Request { .. }
                | Message::Withdraw { .. }
                | Message::Offer { .. }
                | Message::Refuse { .. }
                | Message::Coming { .. }
                | Message::Holds { .. }
                | Message::Probe
                | Message::Alive
        );
        // Another node may begin before the start is known here, but not before this one is ready. Who is no
        // neighbour has no part in the moves.
        let is_allowed = if is_of_moves { self.is_reserved } else { self.tree.is_other(from) };
        if !is_allowed {
            return Err(Violation::kind(message));
        }
        if let Message::Request { segments } = message {
            segments.iter().try_for_each(|requested| {
                self.check(requested.segment).and_then(|()| check_posted(requested.posted))
            })?;
            self.moves.handle(now, from, message, out)?;
        } else if let &Message::Withdraw { segment, .. }
        | &Message::Offer { segment }
        | &Message::Refuse { segment, .. }
        | &Message::Coming { segment } = message
        {
            self.check(segment)?;
            self.moves.handle(now, from, message, out)?;
        } else if let Message::Holds { .. } | Message::Probe | Message::Alive = message {
            self.moves.handle(now, from, message, out)?;
        } else if let &Message::Describe { index } = message {
            out.send(from, Message::Described(self.catalogue.part(index)));
        } else if let Message::Described(part) = message
            && from == OWNER
            && self.phase == RelayPhase::Learning
        {
            self.handle_described(part, out)?;
        } else if let Message::Subtree(report) = message {
            self.tree.hear(now, from, report, out)?;
        } else if *message == Message::Query && is_led() {
            self.tree.answer(now, from, out);
        } else if *message == Message::Open && is_led() {
            self.tree.open(now, out);
            self.begin(now, out);
        } else if *message == Message::Stop && is_led() {
            if self.phase != RelayPhase::Gone {
                self.phase = RelayPhase::Leaving;
                self.tree.end(now, out);
            }
        } else {
            return Err(Violation::kind(message));
        }
        Ok(())
    }

    /// Begins to move segments, if it is ready and the run is open.
    fn begin(&mut self, now: Timestamp, out: &mut Outbox) {
        if self.phase == RelayPhase::Waiting && self.tree.is_open() {
            self.phase = RelayPhase::Moving;
            self.moves.open(now, out);
        }
    }

    fn check(&self, segment: SegmentId) -> Result<(), Violation> {
        let count = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
        let segment = segment.0;
        if segment < count { Ok(()) } else { Err(Violation::Segment { segment, count }) }
    }

    fn handle_described(&mut self, part: &Part, out: &mut Outbox) -> Result<(), Violation> {
        match self.incoming.accept(part)? {
            PartProgress::Ignored => {}
            PartProgress::More => {
                out.send(OWNER, Message::Describe { index: self.incoming.next() });
            }
            PartProgress::Whole => {
                self.digests = std::mem::take(&mut self.incoming).open::<Vec<Digest>>()?.into();
                let (found, count) = (self.digests.len(), self.held.len());
                if found == 0 && count > 0 {
                    // The owner can't take part. Rank 0 hears why from it, and stops all.
                    return Ok(());
                }
                if found != count {
                    return Err(Violation::Digests { found, count });
                }
                self.phase = RelayPhase::Reserving;
                out.push(Output::Reserve);
            }
        }
        Ok(())
    }

    fn handle_reserved(&mut self, now: Timestamp, problem: Option<Box<str>>, out: &mut Outbox) {
        if matches!(self.phase, RelayPhase::Leaving | RelayPhase::Gone) {
            return;
        }
        match problem {
            None => {
                self.phase = RelayPhase::Waiting;
                self.is_reserved = true;
                self.begin(now, out);
            }
            Some(problem) => {
                let problem: Box<str> = shortened(&problem).into();
                self.failure = Some(problem.clone());
                self.phase = RelayPhase::Failed;
                out.send(NodeId::TRACKER, Message::Ready { problem: Some(problem) });
            }
        }
    }

    fn handle_checked(
        &mut self,
        now: Timestamp,
        (from, segment): (NodeId, SegmentId),
        verdict: CheckResult,
        out: &mut Outbox,
    ) {
        self.is_checking = false;
        if self.held[segment.index()] {
            self.moves.drop_copy(from, segment);
        } else if verdict == CheckResult::Corrupt {
            // Plans name one sender for each segment, so that there is nobody else to ask.
            let failure = format!("segment {} came with a wrong digest", segment.0);
            let mut report = DoneReport::default();
            report.add_problem(&failure);
            self.failure = Some(failure.into());
            self.phase = RelayPhase::Failed;
            out.send(NodeId::TRACKER, Message::Done(Box::new(report)));
        } else {
            self.held[segment.index()] = true;
            self.moves.gain(now, from, segment);
            self.missing -= 1;
        }
    }

    // Does what can be done now. Sends come before the next check: whoever waits for a segment
    // gets it before this node hashes another one.
    fn advance(&mut self, now: Timestamp, out: &mut Outbox) {
        if self.phase == RelayPhase::Moving {
            self.moves.advance(now, &self.held, out);
            self.check_next(out);
            if self.is_complete() {
                self.tree.finish(now);
            }
        }
        let stage = self.stage(now);
        let settled = if stage == SubtreeStage::Settled { self.missing } else { 0 };
        if self.told != (stage, settled) {
            self.told = (stage, settled);
            let lacking = if settled == 0 { Lacking::default() } else { self.lacking() };
            self.tree.set_own(now, SubtreeSummary { stage, lacking });
        }
        self.tree.advance(now, out);
        let all_leave =
            self.phase == RelayPhase::Leaving && self.tree.summary().stage == SubtreeStage::Leaving;
        if all_leave {
            self.phase = RelayPhase::Gone;
            out.push(Output::Finish);
        }
    }

    fn check_next(&mut self, out: &mut Outbox) {
        while !self.is_checking
            && let Some((from, segment)) = self.unchecked.pop_front()
        {
            if self.held[segment.index()] {
                // It came from another holder meanwhile.
                self.moves.drop_copy(from, segment);
                out.push(Output::Forget { from, segment });
            } else {
                self.is_checking = true;
                out.push(Output::Check { from, segment, digest: self.digests[segment.index()] });
            }
        }
    }

    fn stage(&self, now: Timestamp) -> SubtreeStage {
        match self.phase {
            RelayPhase::Learning | RelayPhase::Reserving | RelayPhase::Failed => {
                SubtreeStage::Preparing
            }
            RelayPhase::Moving if self.moves.is_settled(now, self.missing) => SubtreeStage::Settled,
            RelayPhase::Waiting | RelayPhase::Moving => SubtreeStage::Ready,
            RelayPhase::Leaving | RelayPhase::Gone => SubtreeStage::Leaving,
        }
    }

    fn lacking(&self) -> Lacking {
        let count = u32::try_from(self.missing).unwrap_or(u32::MAX);
        let mut lacking = Lacking { count, ..Lacking::default() };
        let missing = (0..).map(SegmentId).zip(&self.held).filter(|&(_, &held)| !held);
        for (segment, _) in missing {
            lacking.add(segment);
        }
        lacking
    }
}

impl Node for Relay {
    fn handle(
        &mut self,
        now: Timestamp,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Result<(), ProtocolError> {
        match input {
            Input::Start if self.failure.is_some() => {
                self.handle_reserved(now, self.failure.clone(), out);
            }
            Input::Start if self.phase == RelayPhase::Reserving => out.push(Output::Reserve),
            Input::Start => out.send(OWNER, Message::Describe { index: 0 }),
            Input::Message { from, message } => {
                let handled = self.handle_message(now, from, message, out);
                handled.map_err(|violation| violation.from(from))?;
            }
            Input::Arrived { from, segment } => self.unchecked.push_back((from, segment)),
            Input::Sent { to, segment } => self.moves.sent(now, to, segment),
            Input::Checked { from, segment, verdict } => {
                self.handle_checked(now, (from, segment), verdict, out);
            }
            Input::Reserved { problem } => self.handle_reserved(now, problem, out),
            Input::Deadline => {}
            // It publishes nothing, and finds out itself who is lost.
            Input::Published { .. }
            | Input::Read { .. }
            | Input::Room { .. }
            | Input::Broken { .. }
            | Input::Unservable { .. }
            | Input::Idle
            | Input::Lost { .. } => return Ok(()),
        }
        self.advance(now, out);
        Ok(())
    }

    fn deadline(&self) -> Option<Timestamp> {
        let is_moving = self.phase == RelayPhase::Moving;
        let moves = self.moves.deadline().filter(|_| is_moving);
        moves.into_iter().chain(self.tree.deadline()).min()
    }

    fn waits_for(&self) -> Option<Wait> {
        let wait = if self.is_complete() { Wait::Nothing } else { Wait::Holder };
        (self.phase == RelayPhase::Moving).then_some(wait)
    }
}
