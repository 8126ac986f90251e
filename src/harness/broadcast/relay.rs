//! Does what a plan says, over any transport.
//!
//! A receiver makes slots ready for the next segments of its plan, as many as the window, and
//! requests them of their senders. A sender keeps to the order of its plan: it sends a segment
//! when it has it, verified, and the receiver is ready.

use std::collections::HashSet;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::BroadcastError;
use super::plan::{Hop, RelayPlan};
use super::segments::ReceivedSegments;
use crate::config::HANDOUT_MAX;
use crate::driver::stopwatch::Stopwatch;
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::{Activity, RankMetrics};
use crate::protocol::Message;
use crate::store::FilledSlot;
use crate::time::{Clock, Timestamp};
use crate::transport::{Completion, Transport, TransportError};

/// One node's transfers.
pub(super) struct Relay<'a> {
    plan: RelayPlan,
    pub(super) segments: ReceivedSegments,
    /// Segments that were received or have a slot ready; those of the root are all here.
    asked: Vec<Option<Timestamp>>,
    /// Slots that are ready.
    posted: usize,
    /// Segments on their way from here.
    sending: usize,
    /// Segments that are not here yet.
    missing: usize,
    /// Slots ready, and segments on their way, at most.
    window: usize,
    /// Segments that their receiver is ready for.
    requested: HashSet<Hop>,
    /// Planned segments that their receiver has already.
    declined: HashSet<Hop>,
    /// What to request of whom, until it is sent.
    requests: Vec<(NodeId, ArrayVec<SegmentId, HANDOUT_MAX>)>,
    is_verified: bool,
    clock: &'a Clock,
    pub(super) metrics: RankMetrics,
    /// Time spent on verification.
    pub(super) verification: Duration,
}

impl<'a> Relay<'a> {
    pub(super) fn new(
        plan: RelayPlan,
        segments: ReceivedSegments,
        window: usize,
        is_verified: bool,
        clock: &'a Clock,
    ) -> Self {
        let here: Vec<_> =
            segments.segments.iter().map(|s| s.as_ref().map(|_| Timestamp::default())).collect();
        Self {
            plan,
            asked: here,
            posted: 0,
            sending: 0,
            missing: segments.segments.iter().filter(|segment| segment.is_none()).count(),
            segments,
            window: window.max(1),
            requested: HashSet::new(),
            declined: HashSet::new(),
            requests: Vec::new(),
            is_verified,
            clock,
            metrics: RankMetrics::default(),
            verification: Duration::ZERO,
        }
    }

    /// Whether every segment is here.
    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Makes slots ready and sends what can be sent now.
    pub(super) fn go_on(&mut self, transport: &mut impl Transport) -> Result<(), TransportError> {
        self.expect(transport)?;
        self.serve(transport)
    }

    /// Takes in what another node said.
    pub(super) fn hear(&mut self, from: NodeId, message: &Message) {
        let hop = |&segment| Hop { with: from, segment };
        if let Message::Request { segments } = message {
            self.requested.extend(segments.iter().map(hop));
        } else if let Message::Withdraw { segment } = message {
            self.declined.insert(hop(segment));
        }
    }

    /// Takes in what the transport finished.
    pub(super) fn take_in(
        &mut self,
        completion: Completion,
        watch: &mut Stopwatch,
    ) -> Result<(), BroadcastError> {
        match completion {
            Completion::Arrived { segment, slot, .. } => self.keep(segment, slot, watch)?,
            Completion::Sent { .. } => self.sending -= 1,
            Completion::Forgotten { .. } => {}
        }
        Ok(())
    }

    /// Half a window at a time, so that one message can request several segments.
    fn expect(&mut self, transport: &mut impl Transport) -> Result<(), TransportError> {
        if self.posted > self.window / 2 || self.plan.receives.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        while self.posted < self.window
            && let Some(hop) = self.plan.receives.pop_front()
        {
            let Hop { with: from, segment } = hop;
            let asked = &mut self.asked[segment.index()];
            if asked.is_some() {
                transport.send(from, &Message::Withdraw { segment })?;
                continue;
            }
            *asked = Some(now);
            let slot = self.segments.slots.pop().expect("there is a slot for every segment");
            transport.expect(from, segment, slot)?;
            self.posted += 1;
            self.request(hop, transport)?;
        }
        for (from, segments) in self.requests.drain(..) {
            transport.send(from, &Message::Request { segments })?;
        }
        Ok(())
    }

    /// Puts a request on the list for its sender, and sends that when it is full.
    fn request(&mut self, hop: Hop, transport: &mut impl Transport) -> Result<(), TransportError> {
        let Hop { with: from, segment } = hop;
        let place = self.requests.iter().position(|&(node, _)| node == from);
        let place = place.unwrap_or_else(|| {
            self.requests.push((from, ArrayVec::new()));
            self.requests.len() - 1
        });
        let segments = &mut self.requests[place].1;
        segments.push(segment);
        if segments.is_full() {
            let (_, segments) = self.requests.swap_remove(place);
            transport.send(from, &Message::Request { segments })?;
        }
        Ok(())
    }

    fn serve(&mut self, transport: &mut impl Transport) -> Result<(), TransportError> {
        while let Some(&hop) = self.plan.sends.front() {
            let Hop { with: to, segment } = hop;
            if self.declined.remove(&hop) {
                self.plan.sends.pop_front();
                continue;
            }
            let may_go = self.sending < self.window && self.requested.contains(&hop);
            let payload = self.segments.segments[segment.index()].as_ref();
            let Some(payload) = payload.filter(|_| may_go) else { break };
            self.requested.remove(&hop);
            self.metrics.served_segments += 1;
            self.metrics.served_bytes += payload.bytes().len() as u64;
            transport.serve(to, segment, payload.clone())?;
            self.sending += 1;
            self.plan.sends.pop_front();
        }
        Ok(())
    }

    fn keep(
        &mut self,
        segment: SegmentId,
        slot: FilledSlot,
        watch: &mut Stopwatch,
    ) -> Result<(), BroadcastError> {
        let come = watch.lap(Activity::Moving);
        let sealed = if self.is_verified {
            let digest = self.segments.digests[segment.index()];
            slot.check(digest).map_err(|_| BroadcastError::Wrong { segment })?
        } else {
            slot.seal_unchecked()
        };
        let now = watch.lap(if self.is_verified { Activity::Verifying } else { Activity::Moving });
        if self.is_verified {
            self.verification += now.since(come);
        }
        self.metrics.received_segments += 1;
        self.metrics.received_bytes += sealed.bytes().len() as u64;
        let asked = self.asked[segment.index()].unwrap_or(now);
        self.metrics.latency.record(now.since(asked));
        self.segments.segments[segment.index()] = Some(sealed);
        self.posted -= 1;
        self.missing -= 1;
        Ok(())
    }
}
