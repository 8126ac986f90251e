//! The handout policy: which segments a peer fetches next, and from which holders.
//!
//! Segments come in the order of `selection`, holders in that of `balance`. A holder has a bound on
//! what may be in flight from it (admission control): in simulations with equal links requests that
//! queue at holders end at 3.3 to 5.8 x the bound whatever the balancing rule, capped ones at 1.03 to
//! 1.05. Owners are super-seeding (BEP 16): as long as an owner has segments that were never handed
//! out, it sends only those, so that each leaves it once before any leaves it twice.

use arrayvec::ArrayVec;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::counters::Capacity;
use super::holder_ranking::Ranking;
use super::index::copies::Copies;
use super::readiness::Readiness;
use super::selection::{Candidate, Shortlist};
use super::{FileSwarm, Files, OpenIndex, Swarm, SwarmIndex};
use crate::config::{BLOCKS_MAX, Balance, FRESH_HOLDERS, HANDOUT_MAX, HOLDERS_MAX, Selection};
use crate::manifest::{Block, NodeId, SegmentId};

// The least number of rarest segments that are searched for one with an idle holder.
// In simulations 8 candidates ended at 1.1 to 2.0 x the bound: the holders of so few are often all
// busy. With 16, one handout, the bounds of `tests/policy.rs` hold: 1.05 to 1.08.
const SHORTLIST_MIN: usize = 16;

// The largest `holder_load` with which idle holders are searched for.
// 16 is the load in memory of all but small segments, of which hundreds may wait at a holder: with so
// many no holder idles for long, and the search would cost more than it gains.
const IDLE_LOAD_MAX: u32 = 16;

/// What a peer asks for.
#[derive(Clone, Copy, Debug)]
pub struct HandoutRequest<'a> {
    /// Who asks.
    pub peer: NodeId,
    /// How many segments it may be given.
    pub room: usize,
    /// Segments that it lacks and has not been given.
    pub blocks: &'a [Block],
    /// Holders that must not be named, each for one segment.
    pub excluded: &'a [(SegmentId, NodeId)],
    /// Whether it gets no segments that were never handed out.
    pub skips_unseeded: bool,
    /// Whether nothing was announced or given back since the scratch's last handout: what nobody had
    /// capacity for then nobody has capacity for now.
    pub unchanged: bool,
}

/// A segment to fetch. The first of its holders is charged with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which segment.
    pub segment: SegmentId,
    /// Holders to ask, best first: at least one.
    pub holders: ArrayVec<NodeId, HOLDERS_MAX>,
}

type Rng = Xoshiro256PlusPlus;

/// One thread's random generator and memory for computing handouts.
#[derive(Debug)]
pub struct HandoutScratch {
    rng: Rng,
    shortlist: Shortlist,
    readiness: Readiness,
}

/// Which segments the owners of a file have capacity for.
#[derive(Clone, Copy, Debug)]
struct OwnersNow {
    /// Segments that were never handed out.
    for_unseeded: bool,
    for_all: bool,
}

impl HandoutScratch {
    /// A scratch whose choices follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::seed_from_u64(seed),
            shortlist: Shortlist::default(),
            readiness: Readiness::default(),
        }
    }
}

impl Swarm {
    /// Chooses segments for `request`, charges their holders, and adds them to `offers`.
    pub fn hand_out(
        &self,
        scratch: &mut HandoutScratch,
        request: &HandoutRequest<'_>,
        offers: &mut ArrayVec<Offer, HANDOUT_MAX>,
    ) {
        match &self.files {
            Files::Locked(index) => self.hand_out_from(index, scratch, request, offers),
            Files::Sharded(index) => self.hand_out_from(index, scratch, request, offers),
            Files::Numbered(index) => self.hand_out_from(index, scratch, request, offers),
        }
    }

    fn hand_out_from(
        &self,
        index: &impl SwarmIndex,
        scratch: &mut HandoutScratch,
        request: &HandoutRequest<'_>,
        offers: &mut ArrayVec<Offer, HANDOUT_MAX>,
    ) {
        if !request.unchanged {
            scratch.readiness.forget();
        }
        let room = request.room.min(offers.remaining_capacity());
        if room > 0 && self.counters.anybody_is_available() {
            let enough = offers.len() + room;
            let blocks = request.blocks.iter().copied().collect();
            HandoutRound { swarm: self, index: index.open(), request, blocks, enough, offers }
                .run(scratch, room);
        }
    }
}

/// One handout while it is computed.
struct HandoutRound<'a, I> {
    swarm: &'a Swarm,
    index: I,
    request: &'a HandoutRequest<'a>,
    /// The segments of the request that were neither offered nor found to lack a holder.
    blocks: ArrayVec<Block, BLOCKS_MAX>,
    /// The number of offers at which the round ends.
    enough: usize,
    offers: &'a mut ArrayVec<Offer, HANDOUT_MAX>,
}

impl<I: OpenIndex> HandoutRound<'_, I> {
    fn run(&mut self, scratch: &mut HandoutScratch, room: usize) {
        let HandoutScratch { rng, shortlist, readiness } = scratch;
        // Twice the room, because some candidates lack a holder with capacity; four times, where idle
        // holders come first and many candidates are passed over. Chosen, not tuned.
        let length = SHORTLIST_MIN.max(if self.seeks_idle_holders() { 4 * room } else { 2 * room });
        // The optimistic way first: usually most candidates have a holder with capacity. A cache that
        // is filled says that this failed since the last change.
        if !readiness.is_known() {
            shortlist.begin(length, rng.random());
            self.gather(shortlist, rng.random());
            self.offer_from(rng, shortlist.finish(), readiness);
            if !shortlist.is_cut() {
                return;
            }
        }
        while self.offers.len() < self.enough {
            let (before, is_new) = (self.offers.len(), !readiness.is_known());
            shortlist.begin(length, rng.random());
            self.gather_ready(shortlist, readiness, rng.random());
            self.offer_from(rng, shortlist.finish(), readiness);
            if !shortlist.is_cut() {
                return;
            }
            if self.offers.len() == before && self.request.excluded.is_empty() {
                if is_new {
                    return;
                }
                // The cached holders have no capacity any more.
                readiness.forget();
            }
        }
    }

    /// Whether a segment with an idle holder may overtake a rarer one.
    fn seeks_idle_holders(&self) -> bool {
        let rules = &self.swarm.rules;
        rules.balance == Balance::InFlight
            && rules.selection != Selection::FileOrder
            && rules.holder_load <= IDLE_LOAD_MAX
    }

    /// Offers candidates in order until there are enough, first those with an idle holder.
    fn offer_from(&mut self, rng: &mut Rng, candidates: &[Candidate], readiness: &mut Readiness) {
        let turns: &[Capacity] = if self.seeks_idle_holders() {
            &[Capacity::Idle, Capacity::Available]
        } else {
            &[Capacity::Available]
        };
        for &capacity in turns {
            for candidate in candidates {
                if self.offers.len() == self.enough {
                    return;
                }
                let (place, Block { index, bits }) = candidate.in_request(&self.blocks);
                if self.blocks[place].bits & bits == 0 {
                    continue;
                }
                let segment = SegmentId(index * Block::SEGMENTS + bits.trailing_zeros());
                let offer = self.offer(rng, segment, capacity);
                if offer.is_none() && capacity == Capacity::Idle {
                    continue;
                }
                self.blocks[place].bits &= !bits;
                // Without exclusions: holders that are excluded here may serve other peers.
                if offer.is_none() && self.request.excluded.is_empty() {
                    readiness.clear(Block { index, bits });
                }
                self.offers.extend(offer);
            }
        }
    }

    /// Puts segments of the request that somebody has on the shortlist.
    fn gather(&self, shortlist: &mut Shortlist, start: u32) {
        let selection = self.swarm.rules.selection;
        for (place, block) in self.blocks_from(start) {
            if shortlist.is_final() {
                return;
            }
            self.look_at_files_of(&block, |segments, first, file| {
                // Once for all segments, where they have the same owners.
                let owners = (!file.is_late()).then(|| self.owners_now(&file.owners));
                for segment in segments.segments_backwards() {
                    let tally = file.copies.tally((segment.0 - first) as usize);
                    if !shortlist.seeks(tally) {
                        continue;
                    }
                    let unseeded = tally.is_unseeded();
                    let owners = owners.unwrap_or_else(|| {
                        self.owners_now(file.owners_of((segment.0 - first) as usize))
                    });
                    let owners_can = owners.for_all || (owners.for_unseeded && unseeded);
                    let skipped = unseeded && self.request.skips_unseeded;
                    if !skipped && (owners_can || tally.copies > 0) {
                        shortlist.consider(selection, place, segment, tally);
                    }
                }
            });
        }
    }

    /// Puts segments of the request that somebody has capacity for on the shortlist.
    fn gather_ready(&self, shortlist: &mut Shortlist, readiness: &mut Readiness, start: u32) {
        let selection = self.swarm.rules.selection;
        for (place, block) in self.blocks_from(start) {
            if shortlist.is_final() {
                return;
            }
            let ready = readiness.of(block.index, || self.ready_in(block.index));
            let block = Block { bits: block.bits & ready, ..block };
            self.look_at_files_of(&block, |segments, first, file| {
                for segment in segments.segments_backwards() {
                    let tally = file.copies.tally((segment.0 - first) as usize);
                    let skipped = self.request.skips_unseeded && tally.is_unseeded();
                    if !skipped && shortlist.seeks(tally) {
                        shortlist.consider(selection, place, segment, tally);
                    }
                }
            });
        }
    }

    // The blocks left of the request with their places in it, once around from segment `start`, and
    // backwards.
    // A random start finds each of equally rare segments about equally often. Backwards, because peers
    // fetch the front of a file first: the rare segments near its end are found early, and most others
    // are then rejected by one comparison.
    fn blocks_from(&self, start: u32) -> impl Iterator<Item = (usize, Block)> {
        let below = (1 << (start % Block::SEGMENTS)) - 1;
        let start = (start / Block::SEGMENTS) as usize % self.blocks.len().max(1);
        let part = |bits: u64| {
            let block = self.blocks.get(start).copied().unwrap_or_default();
            std::iter::once((start, Block { bits: block.bits & bits, ..block }))
        };
        let places = (0..start).rev().chain((start + 1..self.blocks.len()).rev());
        let whole = places.map(|place| (place, self.blocks[place]));
        let parts = part(below).chain(whole).chain(part(!below));
        parts.filter(|(_, block)| block.bits != 0)
    }

    // The segments of a block that some holder has capacity for: those for which
    // `ranked` finds a holder if none is excluded.
    fn ready_in(&self, index: u32) -> u64 {
        let Swarm { geometry, counters, rules, .. } = self.swarm;
        let mut ready = 0;
        let block = Block { index, bits: Block::overlap(index, &(0..geometry.segment_count())) };
        self.look_at_files_of(&block, |segments, first, file| {
            let of_file = (!file.is_late()).then(|| self.owners_now(&file.owners));
            for segment in segments.segments() {
                let place = (segment.0 - first) as usize;
                let owners = of_file.unwrap_or_else(|| self.owners_now(file.owners_of(place)));
                let holders = || file.copies.holders(place);
                let of_owners = || {
                    let unseeded = file.copies.tally(place).is_unseeded();
                    let others = || holders().any(|node| !counters.is_banned(node));
                    (unseeded && owners.for_unseeded)
                        || (owners.for_all && (unseeded || rules.paced || !others()))
                };
                if !counters.with_capacity(Capacity::Available, holders()).is_empty() || of_owners()
                {
                    ready |= Block::of(segment).bits;
                }
            }
        });
        ready
    }

    // Looks at each file with segments in the block, the last file first. The arguments of `look` are
    // these segments, the first segment of the file, and the file.
    fn look_at_files_of(
        &self,
        block: &Block,
        mut look: impl FnMut(Block, u32, &FileSwarm<I::Copies>),
    ) {
        let Swarm { geometry, .. } = self.swarm;
        let Block { index, mut bits } = *block;
        while bits != 0 {
            let last = SegmentId(index * Block::SEGMENTS + bits.ilog2());
            let number = geometry.file_of(last);
            let segments = geometry.segments_of(number);
            let of_file = Block::overlap(index, &segments) & bits;
            bits &= !of_file;
            self.index
                .look(number, |file| look(Block { index, bits: of_file }, segments.start, file));
        }
    }

    /// Finds holders with capacity for a segment, and charges the best of them.
    fn offer(&self, rng: &mut Rng, segment: SegmentId, capacity: Capacity) -> Option<Offer> {
        let (number, place) = self.swarm.place_of(segment);
        self.index.look(number, |file| {
            let tally = file.copies.tally(place);
            if capacity == Capacity::Idle {
                let idle = if tally.is_unseeded() {
                    self.with(Capacity::Idle, segment, file.owners_of(place).iter().copied())
                } else {
                    self.with(Capacity::Idle, segment, file.copies.holders(place))
                };
                if idle.is_empty() {
                    return None;
                }
            }
            let holders = self.ranked(rng, segment, place, file);
            let &holder = holders.first()?;
            self.swarm.counters.charge(holder);
            if file.copies.hand_out(place).is_unseeded() {
                let owners = file.owners_of(place).iter();
                owners.for_each(|&owner| self.swarm.counters.seed(owner));
            }
            Some(Offer { segment, holders })
        })
    }

    /// The first few of these holders that may be asked for the segment and have capacity.
    fn with(
        &self,
        capacity: Capacity,
        segment: SegmentId,
        holders: impl Iterator<Item = NodeId>,
    ) -> ArrayVec<NodeId, FRESH_HOLDERS> {
        let eligible = holders.filter(|&node| self.may_be_asked(segment, node));
        self.swarm.counters.with_capacity(capacity, eligible)
    }

    fn may_be_asked(&self, segment: SegmentId, node: NodeId) -> bool {
        node != self.request.peer && !self.request.excluded.contains(&(segment, node))
    }

    // The holders of a segment that have capacity, best first. Owners are considered for a segment
    // that others have too only if none of these has capacity, or only slow ones.
    fn ranked<R: Copies>(
        &self,
        rng: &mut Rng,
        segment: SegmentId,
        place: usize,
        file: &FileSwarm<R>,
    ) -> ArrayVec<NodeId, HOLDERS_MAX> {
        let Swarm { counters, rules, .. } = self.swarm;
        let mut ranking = Ranking::new(rules.balance);
        let mut others_can = false;
        let considered = self.with(Capacity::Available, segment, file.copies.holders(place));
        for &node in &considered {
            let status = counters.status(node);
            others_can |= status.limit >= rules.holder_load;
            ranking.consider(node, status.load_beside(rules.holder_load), rng.random());
        }
        if self.asks_owners(segment, place, file, others_can) {
            let owners = file.owners_of(place);
            let start = rng.random_range(0..owners.len().max(1));
            let rotated = owners[start..].iter().chain(&owners[..start]).copied();
            // A source that had a segment at the start and read it for others is there already.
            let rotated = rotated.filter(|owner| !considered.contains(owner));
            for node in self.available_owners(segment, place, file, rotated) {
                let load = counters.status(node).load_beside(rules.holder_load);
                ranking.consider(node, load, rng.random());
            }
        }
        ranking.holders()
    }

    // Whether owners are considered for a segment; `others_can` says whether another holder that is
    // not slow has capacity.
    fn asks_owners<R: Copies>(
        &self,
        segment: SegmentId,
        place: usize,
        file: &FileSwarm<R>,
        others_can: bool,
    ) -> bool {
        let Swarm { counters, rules, .. } = self.swarm;
        let others = || {
            let mut holders = file.copies.holders(place);
            holders.any(|node| self.may_be_asked(segment, node) && !counters.is_banned(node))
        };
        let unseeded = file.copies.tally(place).is_unseeded();
        unseeded || (!others_can && (rules.paced || !others()))
    }

    /// Owners that have capacity for a segment, and are not super-seeding others instead.
    fn available_owners<R: Copies>(
        &self,
        segment: SegmentId,
        place: usize,
        file: &FileSwarm<R>,
        owners: impl Iterator<Item = NodeId>,
    ) -> ArrayVec<NodeId, FRESH_HOLDERS> {
        let unseeded = file.copies.tally(place).is_unseeded();
        let may_send = |owner: &NodeId| unseeded || !self.swarm.counters.is_seeding(*owner);
        self.with(Capacity::Available, segment, owners.filter(may_send))
    }

    fn owners_now(&self, owners: &[NodeId]) -> OwnersNow {
        let Swarm { counters, .. } = self.swarm;
        let available = counters.with_capacity(Capacity::Available, owners.iter().copied());
        OwnersNow {
            for_unseeded: !available.is_empty(),
            for_all: available.iter().any(|&owner| !counters.is_seeding(owner)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
