//! Peers and trackers that are lost, and a peer that counts as lost itself.

use super::{Peer, PeerPhase};
use crate::manifest::NodeId;
use crate::protocol::{Outbox, Output};
use crate::time::Timestamp;

/// Why a peer leaves before the tracker has told it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EarlyEnd {
    /// The tracker is lost, or answers no more: nobody can end the run.
    Orphaned,
    /// The tracker took this peer for lost, and the others go on without it.
    GivenUp,
}

impl Peer {
    /// Other peers that are lost, in the order in which the tracker has said so.
    pub fn lost(&self) -> &[NodeId] {
        &self.lost
    }

    /// Whether it left because the tracker is lost, or answers no more.
    pub fn is_orphaned(&self) -> bool {
        self.early_end == Some(EarlyEnd::Orphaned)
    }

    /// Whether it left because it was silent for so long that the others went on without it.
    pub fn is_given_up(&self) -> bool {
        self.early_end == Some(EarlyEnd::GivenUp)
    }

    pub(super) fn handle_lost(&mut self, now: Timestamp, node: NodeId, out: &mut Outbox) {
        if node == NodeId::TRACKER {
            self.leave_early(EarlyEnd::Orphaned, out);
        } else if node == self.node {
            self.leave_early(EarlyEnd::GivenUp, out);
        } else {
            self.fetch.handle_lost(node, out);
            self.uploads.lose(node);
            if !self.lost.contains(&node) {
                self.lost.push(node);
                self.lose_neighbour(now, node, out);
            }
        }
    }

    fn leave_early(&mut self, why: EarlyEnd, out: &mut Outbox) {
        if self.phase != PeerPhase::Gone {
            self.phase = PeerPhase::Gone;
            self.early_end = Some(why);
            out.push(Output::Finish);
        }
    }

    /// The tracker has not answered: repeats the last message, or gives the tracker up.
    pub(super) fn repeat(&mut self, now: Timestamp, out: &mut Outbox) {
        // A fixed interval, not exponential backoff: the tracker must notice within `silence_patience` that
        // the peer is alive. A busy tracker limits its peers by backpressure instead.
        if self.config.repeat_interval() * self.unanswered >= self.config.silence_patience {
            self.handle_lost(now, NodeId::TRACKER, out);
        } else {
            self.unanswered += 1;
            self.say(now, out);
        }
    }
}
