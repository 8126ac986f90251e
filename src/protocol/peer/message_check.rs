//! What a peer may be sent.

use super::Peer;
use crate::config::{DIGESTS_MAX, Decider};
use crate::manifest::NodeId;
use crate::protocol::violation::{Route, check_posted};
use crate::protocol::{Handout, Message, ReadSegment, Violation};

impl Peer {
    /// Whether `from` may send that to a peer, and its numbers are those of this run.
    pub(super) fn check(&self, from: NodeId, message: &Message) -> Result<(), Violation> {
        // The tracker alone commands, and it holds no segments: nobody can pass for the other.
        let sender = if from == NodeId::TRACKER { Route::FromTracker } else { Route::BetweenPeers };
        if Route::of(message) != sender || from == self.node || from.0 >= self.bounds.nodes {
            return Err(Violation::kind(message));
        }
        let chooses = self.config.decide == Decider::Peers;
        if chooses && sender == Route::BetweenPeers && self.neighbourhood.is_none() {
            // Those that are ahead may take it for lost, and have begun without it. It knows no number of theirs yet,
            // and does nothing by what they say.
            return Ok(());
        }
        if let Message::Request { segments } = message {
            segments.iter().try_for_each(|requested| {
                self.bounds.segment(requested.segment).and_then(|()| check_posted(requested.posted))
            })
        } else if let &Message::Withdraw { segment, .. } | &Message::Unservable { segment, .. } =
            message
        {
            self.bounds.segment(segment)
        } else if let &Message::Decline { segment, .. } | &Message::Withdrawn { segment, .. } =
            message
            && !chooses
        {
            self.bounds.segment(segment)
        } else if let &Message::Offer { segment }
        | &Message::Refuse { segment, .. }
        | &Message::Coming { segment } = message
            && chooses
        {
            self.bounds.segment(segment)
        } else if matches!(message, Message::Holds { .. } | Message::Probe | Message::Alive)
            && chooses
        {
            // The blocks are checked where they are read.
            Ok(())
        } else if matches!(
            message,
            Message::Decline { .. }
                | Message::Withdrawn { .. }
                | Message::Offer { .. }
                | Message::Refuse { .. }
                | Message::Coming { .. }
                | Message::Holds { .. }
                | Message::Probe
                | Message::Alive
                | Message::Query
        ) {
            // Nobody chooses among neighbours where a tracker hands out, nor declines where peers decide.
            Err(Violation::kind(message))
        } else if matches!(message, Message::Handout(_)) && chooses && !self.fetch.is_source {
            Err(Violation::kind(message))
        } else if let Message::Digests { read, .. } = message {
            if chooses { self.check_digests(read) } else { Err(Violation::kind(message)) }
        } else if let &Message::Lost { node } = message {
            self.bounds.holder(node)
        } else if let &Message::Acknowledged { answers, .. } = message {
            self.check_answer(answers)
        } else if let Message::Handout(handout) = message {
            self.check_handout(handout)
        } else {
            Ok(())
        }
    }

    fn check_handout(&self, handout: &Handout) -> Result<(), Violation> {
        self.check_answer(handout.answers)?;
        handout.entries.iter().try_for_each(|entry| {
            let (segment, count) = (entry.segment.0, self.bounds.segments);
            if !self.fetch.wants.is_wanted(entry.segment) {
                return Err(Violation::Segment { segment, count });
            }
            // A source reads, with no holder but itself.
            if self.fetch.is_source && entry.holders[..] == [self.node] {
                return Ok(());
            }
            if self.neighbourhood.is_some() {
                return Err(Violation::kind(handout));
            }
            entry.holders.iter().try_for_each(|&holder| {
                self.bounds.holder(holder)?;
                let (rank, nodes) = (holder.0, self.bounds.nodes);
                if holder == self.node { Err(Violation::Holder { rank, nodes }) } else { Ok(()) }
            })
        })
    }

    /// Whether these are digests of segments that this peer wants.
    fn check_digests(&self, read: &[ReadSegment]) -> Result<(), Violation> {
        self.bounds.reads(read, DIGESTS_MAX)?;
        let count = self.bounds.segments;
        let other = read.iter().find(|read| !self.fetch.wants.is_wanted(read.segment));
        other.map_or(Ok(()), |other| Err(Violation::Segment { segment: other.segment.0, count }))
    }

    /// Whether the tracker may answer that ask: it was made.
    fn check_answer(&self, answers: u32) -> Result<(), Violation> {
        let asked = self.fetch.sequence;
        if answers <= asked { Ok(()) } else { Err(Violation::Answer { answers, asked }) }
    }
}
