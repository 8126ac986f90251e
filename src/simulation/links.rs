//! The network model: every node has an uplink and a downlink of its own rate. The switch between
//! them is ideal: it has no rate limit, and buffers without a bound.
//!
//! Both directions are FIFO servers, one segment at a time. That is simpler than fair sharing, where
//! concurrent transfers split a link, and it finishes the same bytes in the same time. A transfer ends
//! when the receiver has all of it, but the uplink is free as soon as the last byte has left.

use std::collections::VecDeque;
use std::time::Duration;

use crate::manifest::{NodeId, SegmentId};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
struct SimulatedLink {
    segment_time: Duration,
    sending: bool,
    queue: VecDeque<(NodeId, SegmentId)>,
    downlink_free: Timestamp,
}

#[derive(Debug)]
pub(super) struct LinkTable {
    links: Vec<SimulatedLink>,
    latency: Duration,
}

/// A segment in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) to: NodeId,
    pub(super) segment: SegmentId,
    /// When the uplink can send the next one.
    pub(super) uplink_free: Timestamp,
    /// When the receiver has all of it.
    pub(super) landed: Timestamp,
}

impl LinkTable {
    pub(super) fn new(
        nodes: usize,
        segment_time: Duration,
        rates: &[f64],
        latency: Duration,
    ) -> Self {
        let link = |rank: usize| SimulatedLink {
            segment_time: segment_time.div_f64(rates.get(rank).copied().unwrap_or(1.0)),
            sending: false,
            queue: VecDeque::new(),
            downlink_free: Timestamp::default(),
        };
        Self { links: (0..nodes).map(link).collect(), latency }
    }

    /// Queues a segment. Returns its transfer if the uplink was free and it starts at once.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        from: NodeId,
        to: NodeId,
        segment: SegmentId,
    ) -> Option<Transfer> {
        let link = &mut self.links[from.index()];
        link.queue.push_back((to, segment));
        if link.sending { None } else { self.next(now, from) }
    }

    /// The uplink of a node is free. Starts the next queued segment.
    pub(super) fn next(&mut self, now: Timestamp, from: NodeId) -> Option<Transfer> {
        let link = &mut self.links[from.index()];
        let next = link.queue.pop_front();
        link.sending = next.is_some();
        let (to, segment) = next?;
        // A store-and-forward model of one queue a link: a transfer takes the time of the slower end, and
        // begins when both ends are free. Links are not shared fairly among transfers; a holder sends one
        // after the other, as the engine does over links.
        let uplink_free = now + link.segment_time;
        let receiver = &mut self.links[to.index()];
        receiver.downlink_free = receiver.downlink_free.max(now) + receiver.segment_time;
        let landed = uplink_free.max(receiver.downlink_free) + self.latency;
        Some(Transfer { to, segment, uplink_free, landed })
    }
}
