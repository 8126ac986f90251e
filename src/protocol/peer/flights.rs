//! Requests in flight: who was asked for which segment, and who else could be.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::config::HOLDERS_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::time::{Timestamp, ewma, nanoseconds};
use crate::verify::Digest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlightStage {
    Requested,
    /// The holder was told that it is not needed any more, and has not answered.
    Withdrawn {
        /// When it was told last.
        told: Timestamp,
        times: u32,
        /// Whether the segment came from elsewhere, so that it is not asked for again.
        superfluous: bool,
    },
    /// The segment is here and being checked.
    Checking,
}

#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) segment: SegmentId,
    pub(super) holder: NodeId,
    /// Who can be asked if this holder declines, best first.
    pub(super) spares: ArrayVec<NodeId, HOLDERS_MAX>,
    pub(super) digest: Digest,
    pub(super) since: Timestamp,
    pub(super) stage: FlightStage,
    /// Whether the tracker was asked for a second holder.
    pub(super) doubled: bool,
}

impl Flight {
    /// Whether the segment came from another holder.
    pub(super) fn is_superfluous(&self) -> bool {
        matches!(self.stage, FlightStage::Withdrawn { superfluous: true, .. })
    }
}

/// All requests of a peer, and the latency they see.
#[derive(Clone, Debug)]
pub(super) struct Flights {
    flights: Vec<Flight>,
    // A structure of arrays: the search runs over 8-byte keys, 8 in a cache line, not over requests of
    // about 100 bytes each.
    // What each of them is for, at the same places, and close together: each segment is sought
    // several times.
    keys: Vec<FlightKey>,
    most: usize,
    mean_latency_ns: u64,
    /// No request has waited since before this.
    eldest: Timestamp,
}

/// A segment, and whom it was asked of.
type FlightKey = (SegmentId, NodeId);

impl Flights {
    /// No requests, of `most` that there may be at a time.
    pub(super) fn new(most: usize) -> Self {
        let (flights, keys) = (Vec::with_capacity(most), Vec::with_capacity(most));
        Self { flights, keys, most, mean_latency_ns: 0, eldest: Timestamp(u64::MAX) }
    }

    /// Whether there is room for one more request, twice the window with those made twice.
    pub(super) fn has_room(&self) -> bool {
        self.flights.len() < self.most
    }

    pub(super) fn push(&mut self, flight: Flight) {
        self.eldest = self.eldest.min(flight.since);
        self.keys.push((flight.segment, flight.holder));
        self.flights.push(flight);
    }

    pub(super) fn find(&mut self, segment: SegmentId, holder: NodeId) -> Option<&mut Flight> {
        self.place(segment, holder).map(|place| &mut self.flights[place])
    }

    pub(super) fn remove(&mut self, segment: SegmentId, holder: NodeId) -> Option<Flight> {
        let place = self.place(segment, holder)?;
        self.keys.swap_remove(place);
        Some(self.flights.swap_remove(place))
    }

    /// All requests for one segment.
    pub(super) fn of_segment(&self, segment: SegmentId) -> impl Iterator<Item = &Flight> {
        let keys = self.keys.iter().zip(&self.flights);
        keys.filter(move |(key, _)| key.0 == segment).map(|(_, flight)| flight)
    }

    pub(super) fn of_segment_mut(
        &mut self,
        segment: SegmentId,
    ) -> impl Iterator<Item = &mut Flight> {
        let keys = self.keys.iter().zip(&mut self.flights);
        keys.filter(move |(key, _)| key.0 == segment).map(|(_, flight)| flight)
    }

    /// Enters how long a segment took into the mean, with the weight of an eighth.
    pub(super) fn note_latency(&mut self, latency: Duration) {
        // The weight of an eighth is that of TCP's smoothed round-trip time (RFC 6298, section 2).
        self.mean_latency_ns = ewma(self.mean_latency_ns, nanoseconds(latency), 8);
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Flight> {
        self.flights.iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.flights.iter()
    }

    pub(super) fn requested_at(&self, segment: SegmentId, holder: NodeId) -> Option<Timestamp> {
        self.place(segment, holder).map(|place| self.flights[place].since)
    }

    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether a segment is in flight from any holder, and still wanted from there.
    pub(super) fn is_awaited(&self, segment: SegmentId) -> bool {
        self.of_segment(segment).any(|flight| !flight.is_superfluous())
    }

    /// Since when a request may have waited, or none. It is asked at every turn, and may be too
    /// early: [`look_up_eldest`](Self::look_up_eldest) finds the time itself.
    pub(super) fn eldest(&self) -> Option<Timestamp> {
        (!self.is_empty()).then_some(self.eldest)
    }

    pub(super) fn look_up_eldest(&mut self) {
        let waits_since = |flight: &Flight| match flight.stage {
            FlightStage::Requested => Some(flight.since),
            FlightStage::Withdrawn { told, .. } => Some(told),
            FlightStage::Checking => None,
        };
        let eldest = self.flights.iter().filter_map(waits_since).min();
        self.eldest = eldest.unwrap_or(Timestamp(u64::MAX));
    }

    /// The mean latency of late; none before the first segment.
    pub(super) fn mean_latency(&self) -> Option<Duration> {
        (self.mean_latency_ns > 0).then(|| Duration::from_nanos(self.mean_latency_ns))
    }

    fn place(&self, segment: SegmentId, holder: NodeId) -> Option<usize> {
        self.keys.iter().position(|&key| key == (segment, holder))
    }
}
