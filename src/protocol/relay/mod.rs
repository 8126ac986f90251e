//! A broadcast without a tracker: what each node receives and sends is fixed before the start, or its
//! holders choose.
//!
//! Rank 0 takes no part in the moving ([`Starter`]), rank 1 owns the file, and the ranks after it
//! get it ([`Relay`]). The algorithms differ only in their [`Moves`].

mod circulant;
mod holder_choice;
mod neighbours;
mod plan;
mod planned;
mod starter;

use std::collections::VecDeque;

use super::message::shortened;
use super::registration::{Incoming, Outgoing, PartProgress};
use super::violation::check_posted;
use super::{
    CheckResult, DoneReport, Input, Message, Node, Outbox, Output, Part, ProtocolError, Violation,
    Wait,
};
use crate::manifest::{NodeId, SegmentId};
use crate::time::Timestamp;
use crate::verify::Digest;

use holder_choice::HolderChoice;
pub use plan::{Hop, RelayAlgorithm, RelayPlan};
use planned::Planned;
pub use starter::Starter;

/// The rank that has the file from the start.
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
    Gone,
}

/// One rank of a broadcast, other than rank 0.
#[derive(Debug)]
pub struct Relay {
    phase: RelayPhase,
    moves: Moves,
    digests: Vec<Digest>,
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
    is_announced: bool,
    failure: Option<Box<str>>,
}

impl Relay {
    /// The owner is the one that knows the digests; the others get `segments` segments.
    pub fn new(
        mut moves: Moves,
        window: usize,
        segments: u32,
        digests: Option<Vec<Digest>>,
    ) -> Self {
        let is_owner = digests.is_some();
        moves.begin(window, segments, is_owner);
        let digests = digests.unwrap_or_default();
        Self {
            phase: if is_owner { RelayPhase::Reserving } else { RelayPhase::Learning },
            moves,
            catalogue: Outgoing::new(&digests),
            digests,
            incoming: Incoming::default(),
            held: vec![is_owner; segments as usize],
            missing: if is_owner { 0 } else { segments as usize },
            unchecked: VecDeque::new(),
            is_checking: false,
            is_announced: false,
            failure: None,
        }
    }

    /// A relay that only says why it can't take part.
    pub fn refused(reason: &str) -> Self {
        let mut this = Self::new(Moves::default(), 0, 0, Some(Vec::new()));
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

    fn handle_message(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let is_from_tracker = from == NodeId::TRACKER;
        // Another node may begin before the start is known here.
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
        } else if let &Message::Describe { index } = message {
            out.send(from, Message::Described(self.catalogue.part(index)));
        } else if let Message::Described(part) = message
            && from == OWNER
            && self.phase == RelayPhase::Learning
        {
            self.handle_described(part, out)?;
        } else if *message == Message::Open && is_from_tracker {
            if self.phase == RelayPhase::Waiting {
                self.phase = RelayPhase::Moving;
            }
        } else if *message == Message::Stop && is_from_tracker {
            self.leave(out);
        } else {
            return Err(Violation::kind(message));
        }
        Ok(())
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
                self.digests = std::mem::take(&mut self.incoming).open()?;
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

    fn handle_reserved(&mut self, problem: Option<Box<str>>, out: &mut Outbox) {
        let problem = problem.map(|problem| shortened(&problem).into());
        self.failure.clone_from(&problem);
        self.phase = RelayPhase::Waiting;
        out.send(NodeId::TRACKER, Message::Ready { problem });
    }

    fn handle_checked(&mut self, segment: SegmentId, verdict: CheckResult, out: &mut Outbox) {
        self.is_checking = false;
        if verdict == CheckResult::Corrupt {
            // Plans name one sender for each segment, so that there is nobody else to ask.
            let failure = format!("segment {} came with a wrong digest", segment.0);
            let mut report = DoneReport::default();
            report.add_problem(&failure);
            self.failure = Some(failure.into());
            out.send(NodeId::TRACKER, Message::Done(Box::new(report)));
            self.leave(out);
            return;
        }
        self.held[segment.index()] = true;
        self.moves.gain(segment);
        self.missing -= 1;
    }

    fn leave(&mut self, out: &mut Outbox) {
        if self.phase != RelayPhase::Gone {
            self.phase = RelayPhase::Gone;
            out.push(Output::Finish);
        }
    }

    // Does what can be done now. Sends come before the next check: whoever waits for a segment
    // gets it before this node hashes another one.
    fn advance(&mut self, now: Timestamp, out: &mut Outbox) {
        if self.phase != RelayPhase::Moving {
            return;
        }
        self.moves.advance(now, &self.held, out);
        if self.is_complete() && !self.is_announced {
            self.is_announced = true;
            out.send(NodeId::TRACKER, Message::Complete { segments: 0 });
        }
        if !self.is_checking
            && let Some((from, segment)) = self.unchecked.pop_front()
        {
            self.is_checking = true;
            out.push(Output::Check { from, segment, digest: self.digests[segment.index()] });
        }
    }
}

/// What a node receives and sends.
#[derive(Debug)]
pub enum Moves {
    /// By a plan.
    Planned(Planned),
    /// As holders choose.
    Chosen(Box<HolderChoice>),
}

impl Default for Moves {
    fn default() -> Self {
        Self::Planned(Planned::default())
    }
}

impl Moves {
    /// What `node` among `nodes` nodes, which count rank 0, receives and sends.
    pub fn of(algorithm: RelayAlgorithm, (node, nodes): (NodeId, u32), segments: u32) -> Self {
        let RelayAlgorithm::Neighbours { seed, rack_hosts } = algorithm else {
            return Self::Planned(Planned::new(algorithm.plan(node, nodes, segments)));
        };
        let (place, places) = (node.0 - 1, nodes - 1);
        let near = match rack_hosts {
            Some(hosts) => neighbours::near_neighbours(place, places, seed, hosts),
            None => neighbours::neighbours(place, places, seed),
        };
        let known: Vec<_> = near.into_iter().map(|place| NodeId(place + 1)).collect();
        let choice = HolderChoice::new(node, &known, segments, seed);
        let rack = rack_hosts.map(|hosts| {
            let first = place / hosts * hosts.get() + 1;
            first..first.saturating_add(hosts.get())
        });
        Self::Chosen(Box::new(match rack {
            Some(rack) => choice.within(rack),
            None => choice,
        }))
    }

    fn begin(&mut self, window: usize, segments: u32, is_owner: bool) {
        match self {
            Self::Planned(planned) => planned.begin(window, segments, is_owner),
            Self::Chosen(choice) if is_owner => choice.own_all(),
            Self::Chosen(_) => {}
        }
    }

    fn handle(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        match self {
            Self::Planned(planned) => planned.handle(from, message),
            Self::Chosen(choice) => choice.handle(now, from, message, out),
        }
    }

    fn gain(&mut self, segment: SegmentId) {
        match self {
            Self::Planned(planned) => planned.gain(),
            Self::Chosen(choice) => choice.gain(segment),
        }
    }

    fn sent(&mut self, now: Timestamp, to: NodeId, segment: SegmentId) {
        match self {
            Self::Planned(planned) => planned.sent(),
            Self::Chosen(choice) => choice.sent(now, to, segment),
        }
    }

    fn advance(&mut self, now: Timestamp, held: &[bool], out: &mut Outbox) {
        match self {
            Self::Planned(planned) => planned.advance(held, out),
            Self::Chosen(choice) => choice.offer(now, out),
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Planned(_) => None,
            Self::Chosen(choice) => choice.deadline(),
        }
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
                self.handle_reserved(self.failure.clone(), out);
            }
            Input::Start if self.phase == RelayPhase::Reserving => out.push(Output::Reserve),
            Input::Start => out.send(OWNER, Message::Describe { index: 0 }),
            Input::Message { from, message } => {
                let handled = self.handle_message(now, from, message, out);
                handled.map_err(|violation| violation.from(from))?;
            }
            Input::Arrived { from, segment } => self.unchecked.push_back((from, segment)),
            Input::Sent { to, segment } => self.moves.sent(now, to, segment),
            Input::Checked { segment, verdict, .. } => self.handle_checked(segment, verdict, out),
            Input::Reserved { problem } => self.handle_reserved(problem, out),
            Input::Deadline => {}
            // It publishes nothing, and ends with the job when a rank is lost.
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
        self.moves.deadline().filter(|_| is_moving)
    }

    fn waits_for(&self) -> Option<Wait> {
        let wait = if self.is_complete() { Wait::Nothing } else { Wait::Holder };
        (self.phase == RelayPhase::Moving).then_some(wait)
    }
}
