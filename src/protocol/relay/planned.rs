//! Follows a plan.
//!
//! A receiver prepares slots for the next segments of its plan, as many as its window, and requests them from
//! their senders. A sender keeps to the order of its plan: it sends a segment once it holds it, verified,
//! and its receiver has requested it.

use arrayvec::ArrayVec;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Hop, RelayPlan};
use crate::config::HANDOUT_MAX;
use crate::manifest::NodeId;
use crate::protocol::{
    Message, Outbox, Output, PostedReceives, RequestedSegment, UNNUMBERED, Violation,
};

/// A plan, and how far it was followed.
#[derive(Debug, Default)]
pub struct Planned {
    plan: RelayPlan,
    /// The most slots that are ready, and the most segments that are being sent.
    window: usize,
    /// By segment: whether it is here, or has a slot ready.
    asked: Vec<bool>,
    posted: usize,
    sending: usize,
    /// Segments whose receivers are ready for them.
    requested: FxHashMap<Hop, PostedReceives>,
    /// Planned segments that their receivers have already.
    declined: FxHashSet<Hop>,
}

impl Planned {
    pub(super) fn new(plan: RelayPlan) -> Self {
        Self { plan, ..Self::default() }
    }

    pub(super) fn begin(&mut self, window: usize, segments: u32, is_owner: bool) {
        // A window of 0 would move nothing.
        self.window = window.max(1);
        self.asked = vec![is_owner; segments as usize];
    }

    /// A receiver speaks. What it requests before it is its turn waits.
    pub(super) fn handle(&mut self, from: NodeId, message: &Message) -> Result<(), Violation> {
        let hop = |segment| Hop { with: from, segment };
        if let Message::Request { segments } = message {
            self.requested.extend(segments.iter().map(|one| (hop(one.segment), one.posted)));
        } else if let &Message::Withdraw { segment, .. } = message {
            self.declined.insert(hop(segment));
        } else {
            return Err(Violation::kind(message));
        }
        Ok(())
    }

    pub(super) fn gain(&mut self) {
        self.posted = self.posted.saturating_sub(1);
    }

    pub(super) fn sent(&mut self) {
        self.sending = self.sending.saturating_sub(1);
    }

    pub(super) fn advance(&mut self, held: &[bool], out: &mut Outbox) {
        self.expect(out);
        self.serve(held, out);
    }

    // Prepares slots and requests their segments. It waits until half of the window is empty, so
    // that one message can request several segments.
    fn expect(&mut self, out: &mut Outbox) {
        if self.posted > self.window / 2 {
            return;
        }
        let mut requests: Vec<(NodeId, ArrayVec<RequestedSegment, HANDOUT_MAX>)> = Vec::new();
        while self.posted < self.window
            && let Some(Hop { with: from, segment }) = self.plan.receives.pop_front()
        {
            if std::mem::replace(&mut self.asked[segment.index()], true) {
                out.send(from, Message::Withdraw { segment, request: UNNUMBERED });
                continue;
            }
            out.push(Output::Expect { from, segment });
            self.posted += 1;
            let place = requests.iter().position(|(node, list)| *node == from && !list.is_full());
            match place {
                Some(place) => requests[place].1.push(segment.into()),
                None => requests.push((from, ArrayVec::from_iter([segment.into()]))),
            }
        }
        for (from, segments) in requests {
            out.send(from, Message::Request { segments });
        }
    }

    fn serve(&mut self, held: &[bool], out: &mut Outbox) {
        while let Some(&hop) = self.plan.sends.front() {
            let Hop { with: to, segment } = hop;
            if !self.declined.remove(&hop) {
                let may_go = self.sending < self.window && held[segment.index()];
                let posted = may_go.then(|| self.requested.remove(&hop)).flatten();
                let Some(posted) = posted else { break };
                self.sending += 1;
                out.push(Output::Serve {
                    to,
                    requested: RequestedSegment { posted, ..segment.into() },
                });
            }
            self.plan.sends.pop_front();
        }
    }
}
