//! Does what a relay decides, with real bytes.

use std::collections::VecDeque;

use super::BroadcastJob;
use super::segments::ReceivedSegments;
use crate::driver::NodeIo;
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::metrics::RankMetrics;
use crate::protocol::{CheckResult, Input, Output, relay::Relay};
use crate::store::{FilledSlot, SealedSegment};
use crate::time::{Clock, Timestamp};
use crate::transport::{Completion, Transport, TransportError};
use crate::verify::{Digest, SegmentHasher};

/// The segments of one node, and what it measured.
pub(super) struct RelayIo<'a> {
    job: &'a BroadcastJob,
    clock: &'a Clock,
    pub(super) segments: ReceivedSegments,
    /// What it had from the start.
    owned: SegmentSet,
    /// Segments that arrived, oldest first.
    arrived: VecDeque<FilledSlot>,
    /// Those of them that are to be checked, in the same order.
    checks: VecDeque<(NodeId, SegmentId, Digest)>,
    /// Of the first of them.
    hasher: SegmentHasher,
    /// By segment: when it was requested.
    asked: Vec<Timestamp>,
    pub(super) metrics: RankMetrics,
}

impl<'a> RelayIo<'a> {
    /// `segments` are those of an owner; a receiver has none yet.
    pub(super) fn new(
        job: &'a BroadcastJob,
        node: NodeId,
        segments: ReceivedSegments,
        clock: &'a Clock,
    ) -> Self {
        Self {
            job,
            clock,
            owned: job.owned_by(node),
            segments,
            arrived: VecDeque::new(),
            checks: VecDeque::new(),
            hasher: SegmentHasher::default(),
            asked: vec![Timestamp::default(); job.segments as usize],
            metrics: RankMetrics::default(),
        }
    }

    fn keep(&mut self, now: Timestamp, segment: SegmentId, sealed: SealedSegment) {
        if self.segments.segments[segment.index()].is_some() {
            return;
        }
        self.metrics.received_segments += 1;
        self.metrics.received_bytes += sealed.bytes().len() as u64;
        self.metrics.latency.record(now.since(self.asked[segment.index()]));
        self.segments.segments[segment.index()] = Some(sealed);
    }
}

impl NodeIo<Relay> for RelayIo<'_> {
    fn perform(
        &mut self,
        now: Timestamp,
        output: Output,
        _relay: &Relay,
        transport: &mut impl Transport,
        inputs: &mut Vec<Input<'_>>,
    ) -> Result<(), TransportError> {
        match output {
            Output::Reserve => {
                let problem = self.segments.reserve(self.job).err();
                self.job.meter.begin();
                let problem = problem.map(|error| error.to_string().into());
                inputs.push(Input::Reserved { problem });
            }
            Output::Expect { from, segment } => {
                self.asked[segment.index()] = now;
                let slot = self.segments.take_slot(self.job);
                let slot = slot.ok_or(TransportError::NoSlot { from, segment })?;
                transport.expect(from, segment, slot)?;
            }
            Output::Serve { to, requested } => {
                let sealed = self.segments.segments[requested.segment.index()].as_ref();
                let payload = sealed.expect("only segments that are here are sent").clone();
                self.metrics.served_segments += 1;
                self.metrics.served_bytes += payload.bytes().len() as u64;
                if self.owned.contains(requested.segment) {
                    self.metrics.origin_bytes += payload.bytes().len() as u64;
                }
                transport.serve(to, requested, payload)?;
            }
            Output::Check { from, segment, digest } => {
                self.checks.push_back((from, segment, digest));
            }
            // It has come before, from another node; it is the first of those that wait for their check.
            Output::Forget { .. } => {
                self.segments.slots.extend(self.arrived.pop_front().map(FilledSlot::vacate));
            }
            // The loop sends and finishes, and no file gets a name.
            Output::Send { .. } | Output::Finish | Output::Read { .. } | Output::Publish { .. } => {
            }
        }
        Ok(())
    }

    fn has_checks(&self) -> bool {
        !self.checks.is_empty()
    }

    fn check(&mut self, bytes_max: usize, inputs: &mut Vec<Input<'_>>) -> usize {
        let mut bytes = 0;
        while let (Some(slot), Some(&(from, segment, digest))) =
            (self.arrived.front(), self.checks.front())
        {
            let (hashed, found) = self.hasher.advance(slot.bytes(), bytes_max - bytes);
            bytes += hashed;
            let Some(found) = found else { if hashed == 0 { break } else { continue } };
            self.checks.pop_front();
            let slot = self.arrived.pop_front().expect("it was the first");
            let sealed = slot.check_by(|_| found == digest);
            let verdict = if sealed.is_ok() { CheckResult::Valid } else { CheckResult::Corrupt };
            if let Ok(sealed) = sealed {
                // The loop's time is from before the check, which the latency includes.
                self.keep(self.clock.now(), segment, sealed);
            }
            inputs.push(Input::Checked { from, segment, verdict });
        }
        bytes
    }

    fn take_in(&mut self, now: Timestamp, completion: Completion, inputs: &mut Vec<Input<'_>>) {
        match completion {
            Completion::Arrived { from, segment, slot } if self.job.verify => {
                self.arrived.push_back(slot);
                inputs.push(Input::Arrived { from, segment });
            }
            Completion::Arrived { from, segment, slot } => {
                self.keep(now, segment, slot.seal_unchecked());
                inputs.push(Input::Checked { from, segment, verdict: CheckResult::Valid });
            }
            Completion::Sent { to, segment } => inputs.push(Input::Sent { to, segment }),
            Completion::Forgotten { .. } => {}
        }
    }

    fn collect(&mut self, _now: Timestamp, _relay: &Relay, _inputs: &mut Vec<Input<'_>>) {}
}
