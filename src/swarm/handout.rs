//! The handout policy: which segments a peer is told to fetch next, and from whom.
//!
//! Segments in the order of the `selection`, holders in that of the
//! `balance`, and never one that has enough to do: a request that would only wait
//! is better made elsewhere. Owners are spared: while an owner still has segments that it never
//! gave away, it is asked for those only.

use arrayvec::ArrayVec;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::balance::Ranking;
use super::counters::Leisure;
use super::index::copies::Copies;
use super::selection::{Candidate, Shortlist};
use super::{FileSwarm, Files, Index, Open, Swarm};
use crate::config::{Balance, FRESH_HOLDERS, HANDOUT_MAX, HOLDERS_MAX, Selection};
use crate::manifest::{Block, NodeId, SegmentId};

/// Of so many of the rarest segments, those whose holder idles are handed out first.
const FEW: usize = 16;

/// Where more than so many requests may wait at one holder, none idles for long, and it is not
/// worth a search to find one that does.
const IDLE_LOAD_MAX: u32 = 16;

/// What a peer would like to fetch.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Who asks.
    pub peer: NodeId,
    /// How many segments it may be given.
    pub room: usize,
    /// Segments that it lacks and has not been given.
    pub blocks: &'a [Block],
    /// Holders that it should not be sent to, each for one segment.
    pub excluded: &'a [(SegmentId, NodeId)],
    /// Whether it leaves segments that nobody was given yet to others.
    pub spares_unseeded: bool,
}

/// A segment to fetch, and the holders to ask, best first. The first is charged with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which segment.
    pub segment: SegmentId,
    /// Who has it: at least one.
    pub holders: ArrayVec<NodeId, HOLDERS_MAX>,
}

type Chance = Xoshiro256PlusPlus;

/// What one thread needs to compute handouts: chance, and memory that is used again.
#[derive(Debug)]
pub struct Clerk {
    chance: Chance,
    shortlist: Shortlist,
}

/// Which segments of a wish are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sought {
    /// Those that somebody has.
    There,
    /// Those for which somebody has time now, which takes longer to see.
    Ready,
}

/// What the owners of a file can do for one peer now.
#[derive(Clone, Copy, Debug)]
struct OwnersNow {
    /// One of them can take a request for a segment that it never gave away.
    for_unseeded: bool,
    /// One of them can take a request for any segment.
    for_all: bool,
}

impl Clerk {
    /// A clerk whose choices follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { chance: Chance::seed_from_u64(seed), shortlist: Shortlist::default() }
    }
}

impl Swarm {
    /// Chooses segments for `wish`, charges their holders, and adds them to `offers`.
    pub fn hand_out(
        &self,
        clerk: &mut Clerk,
        wish: &Wish<'_>,
        offers: &mut ArrayVec<Offer, HANDOUT_MAX>,
    ) {
        match &self.files {
            Files::Locked(index) => self.hand_out_from(index, clerk, wish, offers),
            Files::Sharded(index) => self.hand_out_from(index, clerk, wish, offers),
            Files::Numbered(index) => self.hand_out_from(index, clerk, wish, offers),
        }
    }

    fn hand_out_from(
        &self,
        index: &impl Index,
        clerk: &mut Clerk,
        wish: &Wish<'_>,
        offers: &mut ArrayVec<Offer, HANDOUT_MAX>,
    ) {
        let room = wish.room.min(offers.remaining_capacity());
        if room > 0 && self.counters.anybody_has_time() {
            let enough = offers.len() + room;
            Round { swarm: self, index: index.open(), wish, enough, offers }.run(clerk, room);
        }
    }
}

/// One handout while it is computed.
struct Round<'a, I> {
    swarm: &'a Swarm,
    index: I,
    wish: &'a Wish<'a>,
    /// How many offers there may be.
    enough: usize,
    offers: &'a mut ArrayVec<Offer, HANDOUT_MAX>,
}

impl<I: Open> Round<'_, I> {
    fn run(&mut self, clerk: &mut Clerk, room: usize) {
        let Clerk { chance, shortlist } = clerk;
        // Most candidates can be had, so that the first few are enough.
        let seeks_idle = self.seeks_idle_holders();
        let few = if seeks_idle { 4 * room } else { 2 * room };
        let few = FEW.max(few);
        shortlist.begin(few, chance.random());
        self.gather(shortlist, Sought::There);
        let first = shortlist.finish();
        if seeks_idle {
            self.offer_from(chance, first, Leisure::Idle);
        }
        self.offer_from(chance, first, Leisure::Time);
        let mut is_cut = shortlist.is_cut();
        while self.offers.len() < self.enough && is_cut {
            let before = self.offers.len();
            shortlist.begin(few, chance.random());
            self.gather(shortlist, Sought::Ready);
            self.offer_from(chance, shortlist.finish(), Leisure::Time);
            is_cut = shortlist.is_cut() && self.offers.len() > before;
        }
    }

    /// Whether segments may overtake each other for the sake of a holder that idles.
    fn seeks_idle_holders(&self) -> bool {
        let rules = &self.swarm.rules;
        rules.balance == Balance::InFlight
            && rules.selection != Selection::FileOrder
            && rules.holder_load <= IDLE_LOAD_MAX
    }

    /// Offers candidates in turn until there are enough; where `leisure` says so, only those of which
    /// a holder idles.
    fn offer_from(&mut self, chance: &mut Chance, candidates: &[Candidate], leisure: Leisure) {
        for candidate in candidates {
            if self.offers.len() == self.enough {
                return;
            }
            let segment = candidate.segment(self.wish.blocks);
            if self.offers.iter().all(|offer| offer.segment != segment) {
                let offer = self.offer(chance, segment, leisure);
                self.offers.extend(offer);
            }
        }
    }

    /// Lists segments of the wish.
    fn gather(&self, shortlist: &mut Shortlist, sought: Sought) {
        let Swarm { geometry, rules, .. } = self.swarm;
        for (place, block) in self.wish.blocks.iter().enumerate() {
            let mut bits = block.bits;
            while bits != 0 {
                let first = SegmentId(block.index * Block::SEGMENTS + bits.trailing_zeros());
                let number = geometry.file_of(first);
                let segments = geometry.segments_of(number);
                let of_file = Block::overlap(block.index, &segments) & bits;
                bits &= !of_file;
                self.index.look(number, |file| {
                    let owners = self.owners_now(file);
                    for segment in (Block { index: block.index, bits: of_file }).segments() {
                        let in_file = (segment.0 - segments.start) as usize;
                        let tally = file.copies.tally(in_file);
                        if self.wish.spares_unseeded && tally.is_unseeded() {
                            continue;
                        }
                        let owners_can =
                            owners.for_all || (owners.for_unseeded && tally.is_unseeded());
                        let listed = match sought {
                            Sought::There => owners_can || tally.copies > 0,
                            Sought::Ready => self.is_ready(segment, in_file, file, owners_can),
                        };
                        if listed {
                            shortlist.consider(rules.selection, place, segment, tally);
                        }
                    }
                });
            }
        }
    }

    /// Finds holders for one segment and charges the best, or finds none that has leisure.
    fn offer(&self, chance: &mut Chance, segment: SegmentId, leisure: Leisure) -> Option<Offer> {
        let (number, place) = self.swarm.place_of(segment);
        self.index.look(number, |file| {
            let tally = file.copies.tally(place);
            if leisure == Leisure::Idle {
                let idle = if tally.is_unseeded() {
                    self.with(Leisure::Idle, segment, file.owners.iter().copied())
                } else {
                    self.with(Leisure::Idle, segment, file.copies.holders(place))
                };
                if idle.is_empty() {
                    return None;
                }
            }
            let holders = self.ranked(chance, segment, place, file);
            let &holder = holders.first()?;
            self.swarm.counters.charge(holder);
            if file.copies.hand_out(place).is_unseeded() {
                file.owners.iter().for_each(|&owner| self.swarm.counters.seed(owner));
            }
            Some(Offer { segment, holders })
        })
    }

    /// The first few of some holders that may be asked for a segment and have leisure.
    fn with(
        &self,
        leisure: Leisure,
        segment: SegmentId,
        holders: impl Iterator<Item = NodeId>,
    ) -> ArrayVec<NodeId, FRESH_HOLDERS> {
        let eligible = holders.filter(|&node| self.may_be_asked(segment, node));
        self.swarm.counters.at_leisure(leisure, eligible)
    }

    fn may_be_asked(&self, segment: SegmentId, node: NodeId) -> bool {
        node != self.wish.peer && !self.wish.excluded.contains(&(segment, node))
    }

    /// Whether anybody can be asked for a segment now: whether [`ranked`](Self::ranked) finds somebody.
    fn is_ready<R: Copies>(
        &self,
        segment: SegmentId,
        place: usize,
        file: &FileSwarm<R>,
        owners_can: bool,
    ) -> bool {
        let others = self.with(Leisure::Time, segment, file.copies.holders(place));
        let of_owners = || {
            let owners = file.owners.iter().copied();
            self.asks_owners(segment, place, file, false)
                && !self.able_owners(segment, place, file, owners).is_empty()
        };
        !others.is_empty() || (owners_can && of_owners())
    }

    /// The holders of a segment that have time, those first that are to be asked first. Owners
    /// come last for what others have too: they seeded it, and that was their share. They send it
    /// again only when nobody else can, or only who is slow.
    fn ranked<R: Copies>(
        &self,
        chance: &mut Chance,
        segment: SegmentId,
        place: usize,
        file: &FileSwarm<R>,
    ) -> ArrayVec<NodeId, HOLDERS_MAX> {
        let Swarm { counters, rules, .. } = self.swarm;
        let mut ranking = Ranking::new(rules.balance);
        let mut others_can = false;
        for node in self.with(Leisure::Time, segment, file.copies.holders(place)) {
            let standing = counters.standing(node);
            others_can |= standing.limit >= rules.holder_load;
            ranking.consider(node, standing.load_beside(rules.holder_load), chance.random());
        }
        if self.asks_owners(segment, place, file, others_can) {
            let start = chance.random_range(0..file.owners.len().max(1));
            let rotated = file.owners[start..].iter().chain(&file.owners[..start]).copied();
            for node in self.able_owners(segment, place, file, rotated) {
                let load = counters.standing(node).load_beside(rules.holder_load);
                ranking.consider(node, load, chance.random());
            }
        }
        ranking.holders()
    }

    /// Whether a segment is asked of its owners, where `others_can` says whether others have time and
    /// are not slow.
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
            holders.any(|node| self.may_be_asked(segment, node) && !counters.is_avoided(node))
        };
        let unseeded = file.copies.tally(place).is_unseeded();
        unseeded || (!others_can && (rules.paced || !others()))
    }

    /// Owners that have time for a segment, and are not spared it.
    fn able_owners<R: Copies>(
        &self,
        segment: SegmentId,
        place: usize,
        file: &FileSwarm<R>,
        owners: impl Iterator<Item = NodeId>,
    ) -> ArrayVec<NodeId, FRESH_HOLDERS> {
        let unseeded = file.copies.tally(place).is_unseeded();
        let spared = |owner| !unseeded && self.swarm.counters.is_seeding(owner);
        self.with(Leisure::Time, segment, owners.filter(|&owner| !spared(owner)))
    }

    fn owners_now<R>(&self, file: &FileSwarm<R>) -> OwnersNow {
        let Swarm { counters, .. } = self.swarm;
        let others = file.owners.iter().copied().filter(|&owner| owner != self.wish.peer);
        let with_time = counters.at_leisure(Leisure::Time, others);
        OwnersNow {
            for_unseeded: !with_time.is_empty(),
            for_all: with_time.iter().any(|&owner| !counters.is_seeding(owner)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
