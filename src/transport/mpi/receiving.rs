//! Segments that this rank expects, each by receives of one tag, which take fragments one behind the other.

use std::ffi::c_int;

use mpi::ffi::MPI_Comm;
use mpi::topology::Rank;

use super::fragments::{Cut, LinkRate, whole_log2};
use super::place_table::PlaceTable;
use super::sending::FRAGMENTS_UNDER_WAY;
use super::slab::{Owner, SharedSlot, Slab};
use crate::config::REQUEST_TAGS;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::PostedReceives;
use crate::store::VacantSlot;
use crate::time::Clock;
use crate::transport::{Completion, TransportError};

// Receives of one segment that are posted at a time. The holder has `FRAGMENTS_UNDER_WAY` that nobody has
// taken yet; three times as many again are ready while those that were taken are reported. All of a long segment
// would be hundreds, and each poll looks at all that is posted.
const RECEIVES_POSTED: usize = 4 * FRAGMENTS_UNDER_WAY;

/// A segment that is expected. Its place in the table is the tag of its receives: no other receive has that
/// tag before all of these have ended.
#[derive(Debug)]
struct IncomingSegment {
    from: NodeId,
    rank: Rank,
    is_near: bool,
    segment: SegmentId,
    posted: PostedReceives,
    slot: SharedSlot,
    /// The next receive to be posted.
    next: usize,
    /// Receives that have not ended.
    active: usize,
    /// Fragments that came.
    arrived: usize,
    /// All that came are before this one.
    beyond: usize,
    /// How many fragments it has, and bytes, once the last has come.
    end: Option<(usize, usize)>,
    is_forgotten: bool,
}

/// A receive that has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedReceive {
    pub(super) tag: u16,
    pub(super) index: usize,
    /// Bytes that came.
    pub(super) bytes: usize,
    pub(super) is_cancelled: bool,
}

/// All segments that are expected.
#[derive(Debug)]
pub(super) struct Receiving {
    comm: MPI_Comm,
    incoming: PlaceTable<IncomingSegment>,
    /// Tags of those that no request has named yet.
    // The request follows at once: a search among these is short.
    unnamed: Vec<u16>,
    /// How many of them other hosts send.
    far: usize,
    rate: LinkRate,
    clock: Clock,
    tags: u16,
    /// The length of all fragments, whatever the links carry.
    fixed_log2: Option<u8>,
}

impl Receiving {
    pub(super) fn new(comm: MPI_Comm) -> Self {
        let (incoming, rate, clock) = (PlaceTable::new(), LinkRate::default(), Clock::start());
        let (unnamed, tags, fixed_log2) = (Vec::new(), REQUEST_TAGS, None);
        Self { comm, incoming, unnamed, far: 0, rate, clock, tags, fixed_log2 }
    }

    /// Lowers the number of tags, and cuts every segment alike.
    pub(super) fn limit(&mut self, tags: u16, fragment_log2: u8) {
        self.tags = tags.min(REQUEST_TAGS);
        self.fixed_log2 = Some(fragment_log2);
    }

    /// Posts the receives of a segment.
    pub(super) fn expect(
        &mut self,
        slab: &mut Slab,
        (from, rank, is_near): (NodeId, Rank, bool),
        segment: SegmentId,
        slot: VacantSlot,
    ) -> Result<(), TransportError> {
        let tag = u16::try_from(self.incoming.next_place()).ok().filter(|&tag| tag < self.tags);
        let pending = self.incoming.len();
        let tag = tag.ok_or(TransportError::NoTag { from, segment, pending })?;
        let slot = SharedSlot::new(slot);
        let whole = whole_log2(slot.len());
        // Within a host nothing waits behind a long message, and each message costs as much as many bytes.
        let log2 = if is_near { whole } else { self.rate.fragment_log2() };
        let fragment_log2 = self.fixed_log2.unwrap_or(log2).min(whole);
        let slot_bytes = u32::try_from(slot.len()).unwrap_or(u32::MAX);
        let posted = PostedReceives { tag, fragment_log2, slot_bytes };
        let (next, active, arrived, beyond) = (0, 0, 0, 0);
        let mut incoming = IncomingSegment {
            from,
            rank,
            is_near,
            segment,
            posted,
            slot,
            next,
            active,
            arrived,
            beyond,
            end: None,
            is_forgotten: false,
        };
        incoming.post(slab, self.comm)?;
        self.far += usize::from(!is_near);
        self.incoming.insert(incoming);
        self.unnamed.push(tag);
        Ok(())
    }

    /// What is posted for a segment, which is requested now.
    ///
    /// # Panics
    ///
    /// When it is not expected.
    pub(super) fn name(&mut self, from: NodeId, segment: SegmentId) -> PostedReceives {
        let Self { incoming, unnamed, .. } = self;
        let is_it = |one: &&mut IncomingSegment| one.is(from, segment);
        let mut places = unnamed.iter().enumerate().rev();
        let found = places.find_map(|(place, &tag)| {
            Some((place, incoming.find_mut(usize::from(tag)).filter(is_it)?.posted))
        });
        let (place, posted) = found.expect("a slot is made ready before its segment is requested");
        unnamed.swap_remove(place);
        posted
    }

    /// Gives the slot of a segment back once all of its receives have ended.
    pub(super) fn forget(
        &mut self,
        slab: &mut Slab,
        from: NodeId,
        segment: SegmentId,
    ) -> Result<(), TransportError> {
        let found = self.incoming.iter_mut().find(|one| one.is(from, segment));
        let Some(incoming) = found else { return Ok(()) };
        incoming.is_forgotten = true;
        self.unnamed.retain(|&tag| tag != incoming.posted.tag);
        incoming.cancel(slab, 0)
    }

    /// Takes in a receive that has ended; returns what has ended with it, if anything.
    pub(super) fn note(
        &mut self,
        slab: &mut Slab,
        ended: EndedReceive,
    ) -> Result<Option<Completion>, TransportError> {
        let place = usize::from(ended.tag);
        let Some(incoming) = self.incoming.find_mut(place) else { return Ok(None) };
        incoming.active -= 1;
        if !ended.is_cancelled {
            let is_far = !incoming.is_near;
            incoming.take(slab, ended)?;
            incoming.post(slab, self.comm)?;
            if is_far {
                // The segment that it belongs to may have ended with it.
                let others = self.far - usize::from(incoming.has_ended());
                self.rate.note(self.clock.now(), ended.bytes, others > 0);
            }
        }
        if !incoming.has_ended() {
            return Ok(None);
        }
        let incoming = self.incoming.remove(place);
        Ok(incoming.map(|incoming| {
            self.far -= usize::from(!incoming.is_near);
            incoming.complete()
        }))
    }
}

impl IncomingSegment {
    fn is(&self, from: NodeId, segment: SegmentId) -> bool {
        self.from == from && self.segment == segment && !self.is_forgotten
    }

    fn cut(&self) -> Cut {
        Cut::of(self.posted)
    }

    fn post(&mut self, slab: &mut Slab, comm: MPI_Comm) -> Result<(), TransportError> {
        let receives = self.cut().receives();
        let has_ended = self.end.is_some() || self.is_forgotten;
        while !has_ended && self.next < receives && self.active < RECEIVES_POSTED {
            let part = self.slot.part(self.cut().place(self.next));
            let owner = Owner::Receive { tag: self.posted.tag, index: self.next, part };
            // The holder is named, not any source: what another rank sends with this tag is not for this slot.
            slab.receive(comm, self.rank, c_int::from(self.posted.tag), owner)?;
            self.next += 1;
            self.active += 1;
        }
        Ok(())
    }

    fn take(&mut self, slab: &mut Slab, ended: EndedReceive) -> Result<(), TransportError> {
        let EndedReceive { index, bytes, .. } = ended;
        self.arrived += 1;
        self.beyond = self.beyond.max(index + 1);
        let place = self.cut().place(index);
        if bytes < place.len() || index + 1 == self.cut().receives() {
            // MPI matches messages of one tag in order, so that none can come behind the last one.
            if self.end.is_some() {
                return Err(self.wrong());
            }
            self.end = Some((index + 1, place.start + bytes));
            if self.next > index + 1 {
                self.cancel(slab, index + 1)?;
            }
        }
        let is_behind = self.end.is_some_and(|(fragments, _)| self.beyond > fragments);
        if is_behind { Err(self.wrong()) } else { Ok(()) }
    }

    fn wrong(&self) -> TransportError {
        TransportError::Fragments { from: self.from, segment: self.segment }
    }

    /// Cancels the receives from the one at `first` on. They end later, like others.
    fn cancel(&self, slab: &mut Slab, first: usize) -> Result<(), TransportError> {
        let mine = self.posted.tag;
        slab.cancel_all(
            |owner| matches!(owner, Owner::Receive { tag, index, .. } if *tag == mine && *index >= first),
        )
    }

    fn has_ended(&self) -> bool {
        let is_whole = self.end.is_some_and(|(fragments, _)| self.arrived == fragments);
        self.active == 0 && (is_whole || self.is_forgotten)
    }

    fn complete(self) -> Completion {
        let slot = self.slot.into_slot().expect("all receives into the slot have ended");
        let Self { from, segment, end, is_forgotten, .. } = self;
        match end {
            Some((_, bytes)) if !is_forgotten => {
                Completion::Arrived { from, segment, slot: slot.fill(bytes) }
            }
            _ => Completion::Forgotten { slot },
        }
    }
}
