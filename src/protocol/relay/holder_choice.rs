//! Holders that choose among their neighbours: whom to offer which segment.
//!
//! A node offers a neighbour the segment that it got last and the neighbour lacks; the neighbour requests it,
//! or refuses: it comes from another one already, or enough is on its way to it. Whoever requests a segment
//! tells its other neighbours, so that nobody else offers it. The owner offers each segment once, then what
//! its neighbours lack, as others do ("super-seeding", BEP 16). No message goes through rank 0.
//!
//! Simulated with 1,000 segments of 8 MiB and links of 100 Gbit/s, the last of 127 peers has all after 1.02 x the
//! bound, also where a tenth of them are slow and do not count. In a sketch in which receivers chose, it had after
//! 1.14 to 1.26.

use std::ops::Range;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rustc_hash::FxHashMap;

use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, Outbox, Output, Violation};
use crate::time::Timestamp;

/// The most segments that a node offers and sends at once.
// A segment counts until its receiver has it, and that may have another one to take first. Simulated, 127
// peers with equal links, where as many are expected at once: 2 took 1.20 × the bound, 3 and 4 1.02.
pub(super) const OFFERS_MAX: usize = 4;

/// The most segments that a node expects at once.
// As many as are offered: with one fewer the makespan was 1.15 × the bound (refusals), with twice as many 1.08
// (holders wait for each other's receivers).
pub(super) const EXPECTED_MAX: usize = 4;

// The part of the time of an upload after which a neighbour that had no room is offered something again.
// Chosen, not tuned.
const RETRY_PART: f64 = 0.3;

/// The most segments that a node offers and sends at once, those to slow receivers among them.
// As many as go to fast ones: a few slow receivers are served at no cost to others. Chosen, not tuned.
pub(super) const UPLOADS_MAX: usize = 2 * OFFERS_MAX;

// An upload that takes as many times as long as a fast one goes to a slow receiver, and counts no more.
// One that waits for the others of its receiver takes up to `EXPECTED_MAX` times as long.
const SLOW_UPLOAD: u32 = 6;

// What the time of a fast upload grows by, with each that took longer: an eighth of it.
// So it follows a link that became slower within some ten uploads.
const GROWTH_DIVISOR: u32 = 8;

/// A set of numbers below a fixed one.
#[derive(Clone, Debug)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn set(&mut self, index: usize, value: bool) {
        let bit = 1 << (index % 64);
        if value { self.0[index / 64] |= bit } else { self.0[index / 64] &= !bit }
    }

    fn last(&self) -> Option<usize> {
        let word = self.0.iter().rposition(|&word| word != 0)?;
        Some(word * 64 + self.0[word].ilog2() as usize)
    }
}

#[derive(Debug)]
struct Neighbour {
    id: NodeId,
    /// By segment: whether it has it, or it is on its way there.
    covered: Bits,
    /// By the order in which this node got them: what it lacks of those.
    lacks: Bits,
    /// What it was offered, and has not answered.
    offered: Option<SegmentId>,
    /// It had no room then.
    full_until: Option<Timestamp>,
}

/// What a node exchanges with its neighbours.
#[derive(Debug)]
pub struct HolderChoice {
    is_owner: bool,
    /// The nodes of the own rack.
    rack: Range<u32>,
    neighbours: Vec<Neighbour>,
    places: FxHashMap<NodeId, usize>,
    /// By segment: whether it is here or on its way.
    covered: Bits,
    /// By segment: its place among those that are here.
    order: Vec<Option<u32>>,
    /// The segments that are here, in the order in which they came.
    got: Vec<SegmentId>,
    /// Segments that the owner has offered to nobody, or that were refused for want of room; the next last.
    unseeded: Vec<SegmentId>,
    offered: usize,
    serving: FxHashMap<(NodeId, SegmentId), Timestamp>,
    expected: usize,
    /// How long a fast upload takes; zero before the first has left.
    upload_time: Duration,
    retry_at: Option<Timestamp>,
    rng: Xoshiro256PlusPlus,
}

impl HolderChoice {
    pub(super) fn new(node: NodeId, neighbours: &[NodeId], segments: u32, seed: u64) -> Self {
        let count = segments as usize;
        let neighbour = |&id: &NodeId| Neighbour {
            id,
            covered: Bits::new(count),
            lacks: Bits::new(count),
            offered: None,
            full_until: None,
        };
        Self {
            is_owner: false,
            rack: 0..u32::MAX,
            neighbours: neighbours.iter().map(neighbour).collect(),
            places: neighbours.iter().enumerate().map(|(place, &id)| (id, place)).collect(),
            covered: Bits::new(count),
            order: vec![None; count],
            got: Vec::with_capacity(count),
            unseeded: Vec::new(),
            offered: 0,
            serving: FxHashMap::default(),
            expected: 0,
            upload_time: Duration::ZERO,
            retry_at: None,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed ^ u64::from(node.0)),
        }
    }

    /// Other nodes are in other racks: a segment should come from there once.
    pub(super) fn within(self, rack: Range<u32>) -> Self {
        Self { rack, ..self }
    }

    /// This node has the file from the start.
    pub(super) fn own_all(&mut self) {
        self.is_owner = true;
        let segments = self.order.len();
        (0..).map(SegmentId).take(segments).for_each(|segment| self.gain(segment));
        self.unseeded = (0..).map(SegmentId).take(segments).collect();
        self.unseeded.reverse();
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.retry_at
    }

    /// A neighbour speaks. The segment was checked to be one of the file.
    pub(super) fn handle(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        let unknown = || Violation::kind(message);
        let place = *self.places.get(&from).ok_or_else(unknown)?;
        let neighbour = &mut self.neighbours[place];
        if let &Message::Offer { segment } = message {
            self.accept_or_refuse(place, segment, out);
        } else if let &Message::Coming { segment } = message {
            neighbour.full_until = None;
            self.cover(place, segment);
        } else if let Message::Request { segments } = message {
            let &[requested] = &segments[..] else { return Err(unknown()) };
            let segment = requested.segment;
            neighbour.offered.take_if(|offered| *offered == segment).ok_or_else(unknown)?;
            self.offered -= 1;
            self.serving.insert((from, segment), now);
            out.push(Output::Serve { to: from, requested });
        } else if let &Message::Refuse { segment, is_full } = message {
            neighbour.offered.take_if(|offered| *offered == segment).ok_or_else(unknown)?;
            self.offered -= 1;
            if is_full {
                neighbour.full_until = Some(now + self.upload_time.mul_f64(RETRY_PART));
                self.uncover(place, segment);
            }
        } else {
            return Err(unknown());
        }
        Ok(())
    }

    fn accept_or_refuse(&mut self, place: usize, segment: SegmentId, out: &mut Outbox) {
        self.cover(place, segment);
        let from = self.neighbours[place].id;
        let is_covered = self.covered.has(segment.index())
            || (!self.rack.contains(&from.0) && self.is_near(segment));
        if is_covered || self.expected >= EXPECTED_MAX {
            out.send(from, Message::Refuse { segment, is_full: !is_covered });
            return;
        }
        self.covered.set(segment.index(), true);
        self.expected += 1;
        out.push(Output::Expect { from, segment });
        out.send(from, Message::Request { segments: std::iter::once(segment.into()).collect() });
        let others = self.neighbours.iter().map(|neighbour| neighbour.id).filter(|&id| id != from);
        out.send_all(others, Message::Coming { segment });
    }

    /// Whether a neighbour in the own rack has a segment, or it is on its way there.
    fn is_near(&self, segment: SegmentId) -> bool {
        let mut near = self.neighbours.iter().filter(|one| self.rack.contains(&one.id.0));
        near.any(|one| one.covered.has(segment.index()))
    }

    /// A segment is here, verified.
    pub(super) fn gain(&mut self, segment: SegmentId) {
        self.expected = self.expected.saturating_sub(1);
        self.covered.set(segment.index(), true);
        let at = self.got.len();
        self.order[segment.index()] = u32::try_from(at).ok();
        self.got.push(segment);
        for neighbour in &mut self.neighbours {
            neighbour.lacks.set(at, !neighbour.covered.has(segment.index()));
        }
    }

    /// A segment has left.
    pub(super) fn sent(&mut self, now: Timestamp, to: NodeId, segment: SegmentId) {
        let Some(began) = self.serving.remove(&(to, segment)) else { return };
        let took = now.since(began);
        self.upload_time = match self.upload_time {
            Duration::ZERO => took,
            fast => took.min(fast + fast / GROWTH_DIVISOR),
        };
    }

    /// When an upload that is under way counts no more; none while nobody knows how long one takes.
    fn slow_at(&self, began: Timestamp) -> Option<Timestamp> {
        (!self.upload_time.is_zero()).then(|| began + SLOW_UPLOAD * self.upload_time)
    }

    fn cover(&mut self, place: usize, segment: SegmentId) {
        self.set_covered(place, segment, true);
    }

    fn uncover(&mut self, place: usize, segment: SegmentId) {
        self.set_covered(place, segment, false);
        if self.is_owner {
            self.unseeded.push(segment);
        }
    }

    fn set_covered(&mut self, place: usize, segment: SegmentId, is_covered: bool) {
        let neighbour = &mut self.neighbours[place];
        neighbour.covered.set(segment.index(), is_covered);
        if let Some(at) = self.order[segment.index()] {
            neighbour.lacks.set(at as usize, !is_covered);
        }
    }

    /// Offers what can be offered now.
    pub(super) fn offer(&mut self, now: Timestamp, out: &mut Outbox) {
        self.retry_at = None;
        while self.offered + self.serving.len() < UPLOADS_MAX {
            let slow_at = self.serving.values().map(|&began| self.slow_at(began));
            let counted = slow_at.filter(|slow_at| slow_at.is_none_or(|at| now < at));
            if self.offered + counted.clone().count() >= OFFERS_MAX {
                self.retry_at = counted.flatten().min();
                return;
            }
            let Some((place, segment)) = self.choose(now) else {
                let full = self.neighbours.iter().filter(|one| one.lacks.last().is_some());
                self.retry_at = full.filter_map(|neighbour| neighbour.full_until).min();
                return;
            };
            self.cover(place, segment);
            let neighbour = &mut self.neighbours[place];
            neighbour.offered = Some(segment);
            self.offered += 1;
            out.send(neighbour.id, Message::Offer { segment });
        }
    }

    /// A neighbour with room that lacks something, from a random one on, and what it is offered.
    fn choose(&mut self, now: Timestamp) -> Option<(usize, SegmentId)> {
        let count = self.neighbours.len();
        if count == 0 || self.got.is_empty() {
            return None;
        }
        let first = self.rng.random_range(0..count);
        for place in (first..count).chain(0..first) {
            let neighbour = &mut self.neighbours[place];
            neighbour.full_until.take_if(|until| *until <= now);
            if neighbour.offered.is_some() || neighbour.full_until.is_some() {
                continue;
            }
            let Some(last) = neighbour.lacks.last() else { continue };
            let lacks = |segment: &&SegmentId| !neighbour.covered.has(segment.index());
            match self.unseeded.last().filter(lacks).copied() {
                Some(segment) => {
                    self.unseeded.pop();
                    return Some((place, segment));
                }
                // What is unseeded goes first, to whoever lacks it.
                None if !self.unseeded.is_empty() => {}
                None => return Some((place, self.got[last])),
            }
        }
        None
    }
}
