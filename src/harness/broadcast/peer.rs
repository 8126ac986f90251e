//! Any other rank: gets ready, waits for the start, moves its segments, and reports.

use std::time::Duration;

use super::link::{RelayEndpoint, RelayEvent};
use super::plan::{Place, RelayPlan, binomial, chain, circulant};
use super::relay::Relay;
use super::segments::{ReceivedSegments, digests_of, part_of};
use super::{Algorithm, BroadcastError, BroadcastJob, OWNER};
use crate::config::{PROBLEM_BYTES_MAX, relay_window};
use crate::manifest::NodeId;
use crate::metrics::{Activity, RankMetrics};
use crate::protocol::Message;
use crate::protocol::message::DoneReport;
use crate::time::Clock;
use crate::transport::Transport;
use crate::verify::Digest;

/// What a peer measured.
#[derive(Debug, Default)]
pub(super) struct PeerReport {
    pub(super) metrics: RankMetrics,
    pub(super) verification: Duration,
}

/// One peer of a broadcast.
pub(super) struct BroadcastPeer<'a> {
    pub(super) job: &'a BroadcastJob,
    pub(super) node: NodeId,
    pub(super) nodes: u32,
    pub(super) clock: &'a Clock,
}

impl BroadcastPeer<'_> {
    /// Moves segments as `algorithm` plans it.
    pub(super) fn relay<T: Transport>(
        &self,
        algorithm: Algorithm,
        link: &mut RelayEndpoint<'_, T>,
    ) -> Result<PeerReport, BroadcastError> {
        let mut segments = if self.node == OWNER {
            ReceivedSegments::make(self.job)
        } else {
            ReceivedSegments::reserve(self.job)
        }?;
        self.get_ready(link, &mut segments.digests)?;
        let (plan, window) = self.plan(algorithm)?;
        let mut relay = Relay::new(plan, segments, window, self.job.verify, self.clock);
        self.open(link, &relay.segments.digests)?;
        let mut is_announced = false;
        link.watch.count(true);
        loop {
            relay.go_on(link.transport())?;
            if relay.is_complete() && !is_announced {
                is_announced = true;
                link.transport().send(NodeId::TRACKER, &Message::Complete { segments: 0 })?;
            }
            link.watch.lap(Activity::Moving);
            let complete = relay.is_complete();
            link.resting = if complete { Activity::Idle } else { Activity::AwaitingHolder };
            match link.wait()? {
                RelayEvent::Message { message, .. } if *message == Message::Stop => break,
                RelayEvent::Message { from, message } => relay.hear(from, &message),
                RelayEvent::Finished(completion) => relay.take_in(completion, &mut link.watch)?,
            }
        }
        if !relay.is_complete() {
            return Err(BroadcastError::Stopped);
        }
        let Relay { segments, mut metrics, mut verification, .. } = relay;
        metrics.spent = link.watch.spent();
        if self.node == OWNER {
            metrics.origin_bytes = metrics.served_bytes;
        } else if !self.job.verify {
            self.job.meter.end();
            let start = self.clock.now();
            metrics.corrupt_segments = segments.count_wrong();
            verification = self.clock.now().since(start);
        }
        Ok(PeerReport { metrics, verification })
    }

    /// Learns the digests from the owner.
    pub(super) fn get_ready<T: Transport>(
        &self,
        link: &mut RelayEndpoint<'_, T>,
        digests: &mut Vec<Digest>,
    ) -> Result<(), BroadcastError> {
        if self.node == OWNER {
            return Ok(());
        }
        for index in 0.. {
            link.transport().send(OWNER, &Message::Describe { index })?;
            let (_, message) = link.wait_for_message()?;
            let Message::Described(part) = message else { return Err(BroadcastError::Stopped) };
            digests.extend(digests_of(&part));
            if part.last {
                break;
            }
        }
        Ok(())
    }

    /// Says that this node is ready, and waits for the start. The owner tells the digests.
    pub(super) fn open<T: Transport>(
        &self,
        link: &mut RelayEndpoint<'_, T>,
        digests: &[Digest],
    ) -> Result<(), BroadcastError> {
        self.job.meter.begin();
        link.transport().send(NodeId::TRACKER, &Message::Ready { problem: None })?;
        loop {
            let (from, message) = link.wait_for_message()?;
            if message == Message::Open {
                return Ok(());
            }
            let Message::Describe { index } = message else { return Err(BroadcastError::Stopped) };
            link.transport().send(from, &Message::Described(part_of(digests, index)))?;
        }
    }

    /// Says that this node has everything, and waits for the others.
    #[cfg(feature = "mpi")]
    pub(super) fn close<T: Transport>(
        &self,
        link: &mut RelayEndpoint<'_, T>,
    ) -> Result<(), BroadcastError> {
        link.transport().send(NodeId::TRACKER, &Message::Complete { segments: 0 })?;
        while link.wait_for_message()?.1 != Message::Stop {}
        Ok(())
    }

    /// Lets rank 0 know what went wrong here, unless it knows.
    pub(super) fn complain<T: Transport>(
        link: &mut RelayEndpoint<'_, T>,
        error: &BroadcastError,
    ) -> Result<(), BroadcastError> {
        if matches!(error, BroadcastError::Stopped | BroadcastError::Transport(_)) {
            return Ok(());
        }
        let mut problem = error.to_string();
        while problem.len() > PROBLEM_BYTES_MAX {
            problem.pop();
        }
        let mut report = DoneReport::default();
        report.problems.push(problem.into());
        link.transport().send(NodeId::TRACKER, &Message::Done(Box::new(report)))?;
        link.flush()?;
        Ok(())
    }

    fn plan(&self, algorithm: Algorithm) -> Result<(RelayPlan, usize), BroadcastError> {
        let (at, segments) = (Place::of(self.node, self.nodes), self.job.segments);
        let window = relay_window(self.job.payload_bytes());
        match algorithm {
            Algorithm::Chain { window } => Ok((chain(at, segments), window)),
            Algorithm::Binomial => Ok((binomial(at, segments), window)),
            Algorithm::Circulant => Ok((circulant(at, segments), window)),
            Algorithm::MpiBcast { .. } => Err(BroadcastError::NeedsRanks),
        }
    }
}
