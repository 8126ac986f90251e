//! Segments that this rank sends, each as its receiver asked for it.

use std::ffi::c_int;

use mpi::ffi::MPI_Comm;
use mpi::topology::Rank;

use super::fragments::Cut;
use super::place_table::PlaceTable;
use super::slab::{Mode, Owner, Slab};
use crate::manifest::NodeId;
use crate::protocol::{PostedReceives, RequestedSegment};
use crate::store::SealedSegment;
use crate::transport::{Completion, TransportError};

/// Fragments of one segment that are sent and not taken by the receiver yet.
// A sliding window. With one the wire would idle until the receiver has answered, with two it carries the
// second meanwhile. A holder sends four long segments at a time, so that it has eight fragments under way. More would
// only queue in front of other receivers: in simulation, 8 hosts at 200 Mbit/s and segments of 256 KiB ended at
// 1.14 x the bound with two of each, at 1.22 with four, and at 1.15 with one.
pub(super) const FRAGMENTS_UNDER_WAY: usize = 2;

/// A segment that is being sent.
#[derive(Debug)]
struct OutgoingSegment {
    to: NodeId,
    rank: Rank,
    requested: RequestedSegment,
    payload: SealedSegment,
    mode: Mode,
    /// The next fragment to be sent.
    next: usize,
    /// Sends that have not ended.
    active: usize,
}

/// All segments that are being sent.
#[derive(Debug)]
pub(super) struct Sending {
    comm: MPI_Comm,
    outgoing: PlaceTable<OutgoingSegment>,
}

impl Sending {
    pub(super) fn new(comm: MPI_Comm) -> Self {
        Self { comm, outgoing: PlaceTable::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outgoing.len() == 0
    }

    /// Begins to send a segment.
    pub(super) fn begin(
        &mut self,
        slab: &mut Slab,
        (to, rank, mode): (NodeId, Rank, Mode),
        requested: RequestedSegment,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        let RequestedSegment { segment, posted: PostedReceives { slot_bytes, .. }, .. } = requested;
        let bytes = payload.bytes().len();
        if bytes > slot_bytes as usize {
            return Err(TransportError::Slot { to, segment, slot_bytes, bytes });
        }
        // MPI buffers short messages and reports them as sent at once. A window of those would not limit
        // what queues for the link.
        let is_cut = Cut::of(requested.posted).sends(bytes) > 1;
        let mode = if is_cut { Mode::Synchronous } else { mode };
        let segment = OutgoingSegment { to, rank, requested, payload, mode, next: 0, active: 0 };
        let place = self.outgoing.insert(segment);
        self.send(slab, place)
    }

    /// Takes in a send that has ended; returns the segment, if that has ended with it.
    pub(super) fn note(
        &mut self,
        slab: &mut Slab,
        place: usize,
    ) -> Result<Option<Completion>, TransportError> {
        let Some(outgoing) = self.outgoing.find_mut(place) else { return Ok(None) };
        outgoing.active -= 1;
        self.send(slab, place)?;
        let has_ended = self.outgoing.find_mut(place).is_some_and(|one| one.active == 0);
        let ended = if has_ended { self.outgoing.remove(place) } else { None };
        Ok(ended.map(|one| Completion::Sent { to: one.to, segment: one.requested.segment }))
    }

    fn send(&mut self, slab: &mut Slab, place: usize) -> Result<(), TransportError> {
        let Some(outgoing) = self.outgoing.find_mut(place) else { return Ok(()) };
        let OutgoingSegment { rank, payload, mode, .. } = outgoing;
        let (cut, bytes) = (Cut::of(outgoing.requested.posted), payload.bytes().len());
        while outgoing.next < cut.sends(bytes) && outgoing.active < FRAGMENTS_UNDER_WAY {
            let part = cut.place_within(bytes, outgoing.next);
            let owner = Owner::Serve { place, payload: payload.clone(), part };
            let tag = c_int::from(outgoing.requested.posted.tag);
            slab.send(self.comm, *rank, tag, *mode, owner)?;
            outgoing.next += 1;
            outgoing.active += 1;
        }
        Ok(())
    }
}
