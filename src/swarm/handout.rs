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
use super::counters::Standing;
use super::index::record::{Record, Tally};
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

/// Which holders a pass over the candidates asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Those that have nothing under way.
    Idle,
    /// All that have time.
    Any,
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
        if room > 0 {
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
        shortlist.begin(FEW.max(few), chance.random());
        self.gather(shortlist);
        let first = shortlist.finish();
        if seeks_idle {
            self.offer_from(chance, first, Pass::Idle);
        }
        self.offer_from(chance, first, Pass::Any);
        if self.offers.len() < self.enough && shortlist.is_cut() {
            shortlist.begin(usize::MAX, chance.random());
            self.gather(shortlist);
            self.offer_from(chance, shortlist.finish(), Pass::Any);
        }
    }

    /// Whether segments may overtake each other for the sake of a holder that idles.
    fn seeks_idle_holders(&self) -> bool {
        let rules = &self.swarm.rules;
        rules.balance == Balance::InFlight
            && rules.selection != Selection::FileOrder
            && rules.holder_load <= IDLE_LOAD_MAX
    }

    /// Offers candidates in turn until there are enough.
    fn offer_from(&mut self, chance: &mut Chance, candidates: &[Candidate], pass: Pass) {
        for &Candidate { segment, .. } in candidates {
            if self.offers.len() == self.enough {
                return;
            }
            if self.offers.iter().all(|offer| offer.segment != segment) {
                let offer = self.offer(chance, segment, pass);
                self.offers.extend(offer);
            }
        }
    }

    /// Lists the segments of the wish that somebody may be able to send.
    fn gather(&self, shortlist: &mut Shortlist) {
        let Swarm { geometry, rules, .. } = self.swarm;
        for block in self.wish.blocks {
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
                        let tally = file.segments[(segment.0 - segments.start) as usize].tally();
                        if self.wish.spares_unseeded && tally.is_unseeded() {
                            continue;
                        }
                        let available = tally.copies > 0
                            || owners.for_all
                            || (owners.for_unseeded && tally.is_unseeded());
                        if available {
                            shortlist.consider(rules.selection, segment, tally);
                        }
                    }
                });
            }
        }
    }

    /// Finds holders for one segment and charges the best, or finds none that has time.
    fn offer(&self, chance: &mut Chance, segment: SegmentId, pass: Pass) -> Option<Offer> {
        let (number, place) = self.swarm.place_of(segment);
        self.index.look(number, |file| {
            let record = &file.segments[place];
            let tally = record.tally();
            let holders = self.serving(segment, record.holders());
            if pass == Pass::Idle && !self.somebody_idles(segment, file, tally, &holders) {
                return None;
            }
            let holders = self.ranked(chance, segment, file, tally, &holders);
            let &holder = holders.first()?;
            self.swarm.counters.charge(holder);
            if record.hand_out().is_unseeded() {
                file.owners.iter().for_each(|&owner| self.swarm.counters.seed(owner));
            }
            Some(Offer { segment, holders })
        })
    }

    /// Those of some holders that may be asked for a segment, whether they have time or not.
    fn serving(
        &self,
        segment: SegmentId,
        holders: impl Iterator<Item = NodeId>,
    ) -> ArrayVec<(NodeId, Standing), FRESH_HOLDERS> {
        let excluded = |node| self.wish.excluded.contains(&(segment, node));
        let eligible = holders.filter(|&node| node != self.wish.peer && !excluded(node));
        let standing = eligible.map(|node| (node, self.swarm.counters.standing(node)));
        standing.filter(|(_, standing)| !standing.avoided).take(FRESH_HOLDERS).collect()
    }

    /// Whether one that is not spared has nothing under way.
    fn somebody_idles<R>(
        &self,
        segment: SegmentId,
        file: &FileSwarm<R>,
        tally: Tally,
        holders: &[(NodeId, Standing)],
    ) -> bool {
        let idles = |(_, standing): &(NodeId, Standing)| standing.load.in_flight == 0;
        if tally.is_unseeded() {
            return self.serving(segment, file.owners.iter().copied()).iter().any(idles);
        }
        holders.iter().any(idles)
    }

    /// The holders of a segment that have time, those first that are to be asked first. Owners
    /// come last for what others have too: they seeded it, and that was their share. They send it
    /// again only when nobody else can.
    fn ranked<R>(
        &self,
        chance: &mut Chance,
        segment: SegmentId,
        file: &FileSwarm<R>,
        tally: Tally,
        holders: &[(NodeId, Standing)],
    ) -> ArrayVec<NodeId, HOLDERS_MAX> {
        let Swarm { counters, rules, .. } = self.swarm;
        let mut ranking = Ranking::new(rules.balance);
        let has_time = |standing: &Standing| standing.has_time(rules.holder_load);
        for (node, standing) in holders.iter().filter(|(_, standing)| has_time(standing)) {
            ranking.consider(*node, standing.load_beside(rules.holder_load), chance.random());
        }
        let unseeded = tally.is_unseeded();
        let nobody_else = if rules.paced { ranking.is_empty() } else { holders.is_empty() };
        if unseeded || nobody_else {
            let start = chance.random_range(0..file.owners.len().max(1));
            let rotated = file.owners[start..].iter().chain(&file.owners[..start]).copied();
            for (node, standing) in self.serving(segment, rotated) {
                if has_time(&standing) && (unseeded || !counters.seeds(&standing)) {
                    ranking.consider(
                        node,
                        standing.load_beside(rules.holder_load),
                        chance.random(),
                    );
                }
            }
        }
        ranking.holders()
    }

    fn owners_now<R>(&self, file: &FileSwarm<R>) -> OwnersNow {
        let Swarm { counters, rules, .. } = self.swarm;
        let mut now = OwnersNow { for_unseeded: false, for_all: false };
        for &owner in &file.owners {
            let standing = counters.standing(owner);
            let has_time = !standing.avoided && standing.has_time(rules.holder_load);
            if owner != self.wish.peer && has_time {
                now.for_unseeded = true;
                now.for_all |= !counters.seeds(&standing);
            }
        }
        now
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
