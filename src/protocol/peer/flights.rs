//! Requests in flight: who was asked for which segment, and who else could be.
//!
//! This is the record of a request. Elsewhere lies only what can't lie here: the ledger's *taken* bit,
//! so that 64 segments are compared at once, and the bytes, which a pure node can't hold.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::config::HOLDERS_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::time::{Timestamp, ewma, nanoseconds};
use crate::verify::Digest;

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlightStage {
    Requested,
    /// The request was withdrawn, and the holder has not answered.
    Withdrawn {
        /// When it was withdrawn last.
        told: Timestamp,
        /// Whether the segment came from another holder.
        superfluous: bool,
    },
    /// The segment arrived and is being checked.
    Checking,
    /// The peer reads it from its source.
    Reading,
}

#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) segment: SegmentId,
    /// Its number.
    pub(super) request: u32,
    pub(super) holder: NodeId,
    /// Who can be asked if this holder declines, best first.
    pub(super) spares: ArrayVec<NodeId, HOLDERS_MAX>,
    pub(super) digest: Digest,
    pub(super) since: Timestamp,
    pub(super) stage: FlightStage,
    /// Whether the end game has requested it, or asked to request it, a second time.
    pub(super) doubled: bool,
}

impl Flight {
    /// Whether the end game may seek a second holder for it.
    pub(super) fn may_double(&self) -> bool {
        let is_awaited = match self.stage {
            FlightStage::Requested => true,
            FlightStage::Withdrawn { superfluous, .. } => !superfluous,
            FlightStage::Checking | FlightStage::Reading => false,
        };
        is_awaited && !self.doubled
    }

    pub(super) fn is_superfluous(&self) -> bool {
        matches!(self.stage, FlightStage::Withdrawn { superfluous: true, .. })
    }
}

/// All requests of a peer, and their mean latency.
#[derive(Clone, Debug)]
pub(super) struct Flights {
    flights: Vec<Flight>,
    /// What each of them is for, at the same places.
    // Each request is sought several times, by a linear scan. Keys of 8 bytes side by side are at most 16
    // cache lines; the requests themselves have about 100 bytes each.
    keys: Vec<(SegmentId, NodeId)>,
    count_max: usize,
    mean_latency_ns: u64,
    /// A lower bound: no request waits since before this.
    oldest: Timestamp,
}

impl Flights {
    pub(super) fn new(count_max: usize) -> Self {
        let (flights, keys) = (Vec::with_capacity(count_max), Vec::with_capacity(count_max));
        Self { flights, keys, count_max, mean_latency_ns: 0, oldest: Timestamp(u64::MAX) }
    }

    pub(super) fn has_room(&self) -> bool {
        self.flights.len() < self.count_max
    }

    pub(super) fn push(&mut self, flight: Flight) {
        if flight.stage != FlightStage::Reading {
            self.oldest = self.oldest.min(flight.since);
        }
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

    /// Segments that a holder is to send.
    pub(super) fn on_their_way_from(&self, holder: NodeId) -> Vec<SegmentId> {
        let comes = |stage| !matches!(stage, FlightStage::Checking | FlightStage::Reading);
        let is_awaited = |flight: &&Flight| flight.holder == holder && comes(flight.stage);
        self.flights.iter().filter(is_awaited).map(|flight| flight.segment).collect()
    }

    pub(super) fn note_latency(&mut self, latency: Duration) {
        // An EWMA with the gain of TCP's smoothed round-trip time, 1/8 (RFC 6298, section 2).
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

    /// Whether something is read from the source.
    pub(super) fn reads(&self) -> bool {
        self.flights.iter().any(|flight| flight.stage == FlightStage::Reading)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether a segment is in flight from any holder, and still needed from there.
    pub(super) fn is_awaited(&self, segment: SegmentId) -> bool {
        self.of_segment(segment).any(|flight| !flight.is_superfluous())
    }

    /// A lower bound of the time since when the oldest request waits.
    // The loop asks at every turn, so that a scan is too slow here. Requests that end leave the bound
    // too early, at worst for one needless deadline, at which `look_up_oldest` scans.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        (!self.is_empty()).then_some(self.oldest)
    }

    pub(super) fn look_up_oldest(&mut self) {
        let waits_since = |flight: &Flight| match flight.stage {
            FlightStage::Requested => Some(flight.since),
            FlightStage::Withdrawn { told, .. } => Some(told),
            FlightStage::Checking | FlightStage::Reading => None,
        };
        let oldest = self.flights.iter().filter_map(waits_since).min();
        self.oldest = oldest.unwrap_or(Timestamp(u64::MAX));
    }

    /// The mean latency of the last segments; none before the first.
    pub(super) fn mean_latency(&self) -> Option<Duration> {
        (self.mean_latency_ns > 0).then(|| Duration::from_nanos(self.mean_latency_ns))
    }

    fn place(&self, segment: SegmentId, holder: NodeId) -> Option<usize> {
        self.keys.iter().position(|&key| key == (segment, holder))
    }
}
