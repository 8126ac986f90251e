//! Holders that choose among their neighbours: whom to offer which segment.
//!
//! A node offers a neighbour the segment that it got last and the neighbour lacks; the neighbour requests it,
//! or refuses: it comes from another one already, or enough is on its way to it. Whoever requests a segment
//! tells its other neighbours, so that nobody else offers it. An owner tells its neighbours what it has from the
//! start. It offers each of these segments once ("super-seeding", BEP 16), and then to neighbours that stand
//! still (`offers.rs`). No message goes through rank 0.
//!
//! With racks a segment comes from another rack only where no near neighbour has it or gets it. Whoever takes it
//! from there seeds it in its own rack, as an owner does. Owners seed in their own rack alone: others would not take it
//! back from another one.
//!
//! Simulated with 1,000 segments of 8 MiB and links of 100 Gbit/s, the last of 127 peers has all after 1.02 x the
//! bound, also where a tenth of them are slow and do not count. In a sketch in which receivers chose, it had after
//! 1.14 to 1.26.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rustc_hash::FxHashMap;

use super::neighbour_segments::NeighbourSegments;
use super::neighbour_view::{Bits, NeighbourView};
use super::upload_timer::{RelayPatience, UploadTimer};
use crate::manifest::{Block, NodeId, SegmentId};
use crate::protocol::{Message, Outbox, Output, Violation};
use crate::time::{Timestamp, nanoseconds};

/// The most segments that a node offers and sends at once.
// A segment counts until its receiver has it, and that may have another one to take first. Simulated, 127
// peers with equal links, where as many are expected at once: 2 took 1.20 × the bound, 3 and 4 1.02.
pub(super) const OFFERS_MAX: usize = 4;

/// The most segments that a node expects at once, without those of silent holders.
// As many as are offered: with one fewer the makespan was 1.15 × the bound (refusals), with twice as many 1.08
// (holders wait for each other's receivers).
pub(super) const EXPECTED_MAX: usize = 4;

/// The most segments that a node offers and sends at once, those to slow receivers among them.
// As many as go to fast ones: a few slow receivers are served at no cost to others. Chosen, not tuned.
pub(super) const UPLOADS_MAX: usize = 2 * OFFERS_MAX;

// An upload that takes as many times as long as a fast one goes to a slow receiver, and counts no more.
// One that waits for the others of its receiver takes up to `EXPECTED_MAX` times as long.
const SLOW_UPLOAD: u64 = 6;

// What the time of a fast upload grows by, with each that took longer: an eighth of it.
// So it follows a link that became slower within some ten uploads.
const GROWTH_DIVISOR: u32 = 8;

// Marks a segment that is not here.
// No node has so many: segments are numbered in 32 bits.
const NOT_HERE: u32 = u32::MAX;

// 2^32 divided by the golden ratio: its multiples lie evenly among all numbers (Knuth, TAOCP 3, 6.4).
// Owners of the same segments begin far from each other.
const GOLDEN: u32 = 0x9e37_79b9;

/// A segment on its way to or from a neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct NeighbourTransfer {
    pub(super) place: usize,
    pub(super) segment: SegmentId,
    pub(super) since: Timestamp,
}

/// How often a neighbour has sent a segment corrupt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CorruptCopies {
    pub(super) times: usize,
    /// Whether the neighbour was told since then that the segment is missing.
    pub(super) is_told: bool,
}

/// What a node exchanges with its neighbours.
#[derive(Debug)]
pub struct HolderChoice {
    node: NodeId,
    /// There are other racks: each segment should come from there once.
    pub(super) has_racks: bool,
    /// It got nothing for long: what others of its rack are to have no longer counts.
    pub(super) is_starved: bool,
    /// In the order of their ranks.
    pub(super) neighbours: Vec<NeighbourView>,
    /// Their ranks alone: a message is looked up in one cache line or two.
    pub(super) ids: Vec<NodeId>,
    pub(super) known: NeighbourSegments,
    /// By segment: whether it is here or on its way.
    pub(super) covered: Bits,
    /// By segment: its place among those that are here, or `NOT_HERE`.
    pub(super) order: Vec<u32>,
    /// The segments that are here, in the order in which they came.
    pub(super) got: Vec<SegmentId>,
    /// By place in that order: whether this node brings the segment to its rack. It had it from the start, has read it, or
    /// has it from another rack.
    pub(super) to_seed: Bits,
    /// By segment: whether a near neighbour has got it from another node.
    pub(super) seeded: Bits,
    /// Segments to seed that were offered to nobody, or were refused for want of room; the next last.
    pub(super) unseeded: Vec<SegmentId>,
    /// By segment: whether it is neither here nor wanted, and how many are.
    pub(super) left_out: (Bits, usize),
    /// By segment: whether a neighbour has given it up, because it came corrupt from all that have it.
    pub(super) given_up: Bits,
    /// By neighbour and segment, until the segment comes right.
    pub(super) corrupt: FxHashMap<(usize, SegmentId), CorruptCopies>,
    pub(super) offered: usize,
    /// How many segments it may expect, those of silent holders included.
    pub(in crate::protocol) room: usize,
    pub(super) serving: Vec<NeighbourTransfer>,
    pub(super) expected: Vec<NeighbourTransfer>,
    /// By the place of a silent neighbour: the blocks of which it was told nothing meanwhile.
    pub(super) missed: FxHashMap<usize, BTreeSet<u32>>,
    /// Segments expected from holders that were given up.
    pub(super) abandoned: Vec<NeighbourTransfer>,
    /// How long a fast upload takes; zero before the first has left.
    pub(super) upload_time: Duration,
    /// How long one takes that counts no more, ns; none before that.
    pub(super) slow_ns: Option<u64>,
    pub(super) timer: UploadTimer,
    /// When it got a segment last.
    pub(super) progressed: Timestamp,
    /// When to look for silent neighbours.
    pub(super) check_at: Option<Timestamp>,
    pub(super) retry_at: Option<Timestamp>,
    pub(super) rng: Xoshiro256PlusPlus,
}

impl HolderChoice {
    pub(in crate::protocol) fn new(
        node: NodeId,
        neighbours: &[NodeId],
        segments: u32,
        seed: u64,
        patience: RelayPatience,
    ) -> Self {
        let count = segments as usize;
        let mut ids = neighbours.to_vec();
        ids.sort_unstable();
        Self {
            node,
            has_racks: false,
            is_starved: false,
            neighbours: ids.iter().map(|&id| NeighbourView::new(id)).collect(),
            known: NeighbourSegments::new(ids.len(), count),
            ids,
            covered: Bits::new(count),
            order: vec![NOT_HERE; count],
            got: Vec::with_capacity(count),
            to_seed: Bits::new(count),
            seeded: Bits::new(count),
            unseeded: Vec::new(),
            left_out: (Bits::new(count), 0),
            given_up: Bits::new(count),
            corrupt: FxHashMap::default(),
            offered: 0,
            room: usize::MAX,
            serving: Vec::new(),
            expected: Vec::new(),
            missed: FxHashMap::default(),
            abandoned: Vec::new(),
            upload_time: Duration::ZERO,
            slow_ns: None,
            timer: UploadTimer::new(patience),
            progressed: Timestamp::default(),
            check_at: None,
            retry_at: None,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed ^ u64::from(node.0)),
        }
    }

    /// Nodes beyond these are in other racks.
    pub(super) fn within(mut self, rack: &Range<u32>) -> Self {
        self.has_racks = true;
        if self.ids.iter().any(|id| rack.contains(&id.0)) {
            self.neighbours.iter_mut().for_each(|one| one.is_near = rack.contains(&one.id.0));
        }
        self
    }

    /// This node has these segments from the start.
    pub(in crate::protocol) fn own(&mut self, owned: impl Iterator<Item = SegmentId>) {
        for segment in owned {
            self.add(segment);
            self.seed(segment);
        }
        let turn = u64::from((self.node.0 - 1).wrapping_mul(GOLDEN)) * self.got.len() as u64;
        self.unseeded.rotate_left((turn >> u32::BITS) as usize);
        self.unseeded.reverse();
    }

    /// The run is open: its neighbours learn what this node has from the start.
    pub(in crate::protocol) fn begin(&mut self, now: Timestamp, out: &mut Outbox) {
        self.progressed = now;
        self.watch(now);
        self.tell_held(|block| block.bits != 0, out);
        self.tell_left_out(out);
    }

    pub(in crate::protocol) fn deadline(&self) -> Option<Timestamp> {
        self.retry_at.into_iter().chain(self.check_at).min()
    }

    /// Whether all is here that it wants.
    pub(in crate::protocol) fn is_complete(&self) -> bool {
        self.got.len() + self.left_out.1 == self.order.len()
    }

    /// Whether a segment is here.
    pub(in crate::protocol) fn holds(&self, segment: SegmentId) -> bool {
        self.order[segment.index()] != NOT_HERE
    }

    /// Whether a neighbour that answers has a segment that is here, as far as is known.
    pub(super) fn shares(&self, neighbour: NodeId, segment: SegmentId) -> bool {
        let Ok(place) = self.ids.binary_search(&neighbour) else { return false };
        let answers = !self.neighbours[place].is_silent();
        // Without `&&`: the second table is read while the first is on its way.
        answers & self.known.covers(place, segment.index()) & self.holds(segment)
    }

    /// A neighbour speaks. The segment was checked to be one of the file.
    pub(in crate::protocol) fn handle(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let unknown = || Violation::kind(message);
        let place = self.ids.binary_search(&from).map_err(|_| unknown())?;
        if self.neighbours[place].is_silent() {
            self.watch(now);
            self.tell_missed(place, out);
        }
        let neighbour = &mut self.neighbours[place];
        neighbour.hear(now);
        if let &Message::Offer { segment } = message {
            self.accept_or_refuse(now, place, segment, out);
        } else if let &Message::Coming { segment } = message {
            neighbour.progress(now);
            if neighbour.is_near {
                self.seeded.set(segment.index(), true);
            }
            self.set_covered(place, segment, true);
        } else if let Message::Holds { blocks, left_out } = message {
            self.handle_holds(place, blocks, *left_out)?;
        } else if let Message::Request { segments } = message {
            let &[requested] = &segments[..] else { return Err(unknown()) };
            let segment = requested.segment;
            self.offered -= usize::from(neighbour.take_offer(segment).ok_or_else(unknown)?);
            neighbour.accept();
            self.serving.push(NeighbourTransfer { place, segment, since: now });
            self.watch(now);
            self.set_covered(place, segment, true);
            out.push(Output::Serve { to: from, requested });
        } else if let &Message::Refuse { segment, is_full } = message {
            let stands = neighbour.take_offer(segment).ok_or_else(unknown)?;
            self.offered -= usize::from(stands);
            if is_full {
                neighbour.refuse(now, self.upload_time);
                self.uncover(place, segment);
            } else {
                self.set_covered(place, segment, true);
                // Who gets it from another node has said so before. Who does not want it leaves it to others.
                let is_seeded = self.seeded.has(segment.index()) || self.has_racks;
                if stands && self.is_to_seed(segment) && !is_seeded {
                    self.unseeded.push(segment);
                }
            }
        } else if let &Message::Unservable { segment, .. } = message {
            self.given_up.set(segment.index(), true);
        } else if *message == Message::Probe {
            out.send(from, Message::Alive);
        } else if !matches!(message, Message::Alive | Message::Withdraw { .. }) {
            return Err(unknown());
        }
        Ok(())
    }

    fn handle_holds(
        &mut self,
        place: usize,
        blocks: &[Block],
        left_out: bool,
    ) -> Result<(), Violation> {
        let segments = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        for &Block { index, bits } in blocks {
            let count = segments.div_ceil(Block::SEGMENTS);
            if index >= count || bits & !Block::overlap(index, &(0..segments)) != 0 {
                return Err(Violation::Block { block: index, count });
            }
            for segment in (Block { index, bits: Block::overlap(index, &(0..segments)) }).segments()
            {
                let is_set = bits & Block::of(segment).bits != 0;
                // What it was offered it had not heard of, or it answers next.
                let is_offered = self.neighbours[place].offered == Some(segment);
                if left_out {
                    self.known.set_left_out(place, segment.index(), is_set);
                    self.note_lacks(place, segment);
                } else if is_set {
                    self.set_covered(place, segment, true);
                } else if self.known.covers(place, segment.index()) && !is_offered {
                    self.uncover(place, segment);
                }
            }
        }
        Ok(())
    }

    fn accept_or_refuse(
        &mut self,
        now: Timestamp,
        place: usize,
        segment: SegmentId,
        out: &mut Outbox,
    ) {
        self.set_covered(place, segment, true);
        let from = self.neighbours[place].id;
        // It may come from there after all: the holder gave this node up, and so did this node.
        let comes = |one: &NeighbourTransfer| one.place == place && one.segment == segment;
        let is_far = !self.is_starved && !self.neighbours[place].is_near;
        let is_covered = self.covered.has(segment.index())
            || self.is_hopeless(place, segment)
            || self.abandoned.iter().any(comes)
            || (is_far && self.is_in_rack(segment));
        let is_full = self.expected.len() >= EXPECTED_MAX || self.in_flight() >= self.room;
        if is_covered || is_full {
            out.send(from, Message::Refuse { segment, is_full: !is_covered });
            return;
        }
        self.covered.set(segment.index(), true);
        self.expected.push(NeighbourTransfer { place, segment, since: now });
        self.watch(now);
        out.push(Output::Expect { from, segment });
        out.send(from, Message::Request { segments: std::iter::once(segment.into()).collect() });
        self.tell_all(Some(from), Message::Coming { segment }, out);
    }

    /// Whether a neighbour in the own rack has a segment, or it is on its way there.
    fn is_in_rack(&self, segment: SegmentId) -> bool {
        let mut near =
            (0..).zip(&self.neighbours).filter(|(_, one)| one.is_near && !one.is_silent());
        near.any(|(place, _)| self.known.covers(place, segment.index()))
    }

    /// A segment is here, verified.
    pub(in crate::protocol) fn gain(&mut self, now: Timestamp, from: NodeId, segment: SegmentId) {
        self.drop_abandoned(from, segment);
        self.corrupt.retain(|(_, corrupt), _| *corrupt != segment);
        if let Some(at) = self.expected.iter().position(|one| one.segment == segment) {
            let expected = self.expected.remove(at);
            if self.neighbours[expected.place].id == from {
                self.timer.sample(now.since(expected.since));
            } else {
                // It came from a holder that was given up.
                self.abandoned.push(expected);
            }
        }
        (self.progressed, self.is_starved) = (now, false);
        if self.expected.is_empty() {
            self.watch(now);
        }
        self.add(segment);
        let place = self.ids.binary_search(&from);
        let is_far = place.is_ok_and(|place| !self.neighbours[place].is_near);
        if is_far && !self.seeded.has(segment.index()) {
            // Nobody else in this rack has it: newer ones, which others have too, would bury it.
            self.seed(segment);
        }
    }

    /// A segment came that was here already.
    pub(super) fn drop_abandoned(&mut self, from: NodeId, segment: SegmentId) {
        let neighbours = &self.neighbours;
        self.abandoned.retain(|one| one.segment != segment || neighbours[one.place].id != from);
    }

    pub(super) fn add(&mut self, segment: SegmentId) {
        self.covered.set(segment.index(), true);
        if self.left_out.0.has(segment.index()) {
            self.left_out.0.set(segment.index(), false);
            self.left_out.1 -= 1;
        }
        let at = self.got.len();
        self.order[segment.index()] = u32::try_from(at).unwrap_or(NOT_HERE);
        self.got.push(segment);
        for place in 0..self.neighbours.len() {
            if !self.known.covers(place, segment.index()) {
                self.known.set_lacks(place, at, true);
            }
        }
    }

    /// A segment has left.
    pub(in crate::protocol) fn sent(&mut self, now: Timestamp, to: NodeId, segment: SegmentId) {
        let is_it =
            |one: &NeighbourTransfer| one.segment == segment && self.neighbours[one.place].id == to;
        let Some(at) = self.serving.iter().position(is_it) else { return };
        let took = now.since(self.serving.remove(at).since);
        self.timer.sample(took);
        self.upload_time = match self.upload_time {
            Duration::ZERO => took,
            fast => took.min(fast + fast / GROWTH_DIVISOR),
        };
        let slow = nanoseconds(self.upload_time).saturating_mul(SLOW_UPLOAD);
        self.slow_ns = Some(slow).filter(|&slow| slow > 0);
    }

    pub(super) fn uncover(&mut self, place: usize, segment: SegmentId) {
        self.set_covered(place, segment, false);
        if self.is_to_seed(segment) {
            self.unseeded.push(segment);
        }
    }

    /// This node brings a segment that is here to its rack.
    pub(super) fn seed(&mut self, segment: SegmentId) {
        self.to_seed.set(self.order[segment.index()] as usize, true);
        self.unseeded.push(segment);
    }

    fn is_to_seed(&self, segment: SegmentId) -> bool {
        let at = self.order[segment.index()];
        at != NOT_HERE && self.to_seed.has(at as usize)
    }

    pub(super) fn set_covered(&mut self, place: usize, segment: SegmentId, is_covered: bool) {
        self.known.set_held(place, segment.index(), is_covered);
        self.note_lacks(place, segment);
    }

    fn note_lacks(&mut self, place: usize, segment: SegmentId) {
        let at = self.order[segment.index()];
        if at != NOT_HERE {
            let is_lacked = !self.known.covers(place, segment.index());
            self.known.set_lacks(place, at as usize, is_lacked);
        }
    }
}
