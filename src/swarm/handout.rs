//! The handout policy: which segments a peer is told to fetch next, and from whom.
//!
//! Segments in the order of the `selection`, holders in that of the
//! `balance`, and never one that has enough to do: a request that would only wait
//! is better made elsewhere. Owners are spared: while an owner still has segments that it never
//! gave away, it is asked for those only.

use arrayvec::ArrayVec;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::balance::{self, Able};
use super::index::record::Record;
use super::{FileSwarm, Files, Index, Open, Swarm, selection};
use crate::config::{Balance, FRESH_HOLDERS, HANDOUT_MAX, HOLDERS_MAX, Selection};
use crate::manifest::{Block, NodeId, SegmentId};

/// Of so many of the rarest segments, those whose holder idles are handed out first.
const FEW: usize = 16;

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
}

/// A segment to fetch, and the holders to ask, best first. The first is charged with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which segment.
    pub segment: SegmentId,
    /// Who has it: at least one.
    pub holders: ArrayVec<NodeId, HOLDERS_MAX>,
}

/// What one thread needs to compute handouts: chance, and memory that is used again.
#[derive(Debug)]
pub struct Clerk {
    chance: Xoshiro256PlusPlus,
    candidates: Vec<Candidate>,
}

/// A segment that could be handed out; the smaller, the sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    key: u64,
    segment: SegmentId,
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
        Self { chance: Xoshiro256PlusPlus::seed_from_u64(seed), candidates: Vec::new() }
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
        self.gather(clerk);
        // Most candidates can be had, so that the first few are enough: the rest is put in order
        // only when they are not.
        let mut candidates = std::mem::take(&mut clerk.candidates);
        let few = FEW.max(4 * room).min(candidates.len());
        if few < candidates.len() {
            candidates.select_nth_unstable(few);
        }
        let (first, rest) = candidates.split_at_mut(few);
        first.sort_unstable();
        if self.seeks_idle_holders() {
            self.offer_from(clerk, first, Pass::Idle);
        }
        self.offer_from(clerk, first, Pass::Any);
        if self.offers.len() < self.enough {
            rest.sort_unstable();
            self.offer_from(clerk, rest, Pass::Any);
        }
        clerk.candidates = candidates;
    }

    /// Whether segments may overtake each other for the sake of a holder that idles.
    fn seeks_idle_holders(&self) -> bool {
        let rules = &self.swarm.rules;
        rules.balance == Balance::InFlight && rules.selection != Selection::FileOrder
    }

    /// Offers candidates in turn until there are enough.
    fn offer_from(&mut self, clerk: &mut Clerk, candidates: &[Candidate], pass: Pass) {
        for &Candidate { segment, .. } in candidates {
            if self.offers.len() == self.enough {
                return;
            }
            if self.offers.iter().all(|offer| offer.segment != segment) {
                let offer = self.offer(clerk, segment, pass);
                self.offers.extend(offer);
            }
        }
    }

    /// Lists the segments of the wish that somebody may be able to send, with their keys.
    fn gather(&self, clerk: &mut Clerk) {
        let Swarm { geometry, rules, .. } = self.swarm;
        let Clerk { chance, candidates } = clerk;
        candidates.clear();
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
                        let available = tally.copies > 0
                            || owners.for_all
                            || (owners.for_unseeded && tally.is_unseeded());
                        if available {
                            let key = selection::key(rules.selection, tally, chance);
                            candidates.push(Candidate { key, segment });
                        }
                    }
                });
            }
        }
    }

    /// Finds holders for one segment and charges the best, or finds none that has time.
    fn offer(&self, clerk: &mut Clerk, segment: SegmentId, pass: Pass) -> Option<Offer> {
        let (file, place) = self.swarm.place_of(segment);
        self.index.look(file, |file| {
            let record = &file.segments[place];
            let unseeded = record.tally().is_unseeded();
            let able = self.able(clerk, (segment, place), file, unseeded);
            let best = able.first()?;
            let busy = pass == Pass::Idle && best.load.in_flight > 0;
            let spared = pass == Pass::Idle && best.is_owner && !unseeded;
            if busy || spared {
                return None;
            }
            let holders: ArrayVec<_, HOLDERS_MAX> =
                able.iter().take(HOLDERS_MAX).map(|able| able.node).collect();
            self.swarm.counters.charge(holders[0]);
            if record.hand_out().is_unseeded() {
                file.owners.iter().for_each(|&owner| self.swarm.counters.seed(owner));
            }
            Some(Offer { segment, holders })
        })
    }

    /// The holders of a segment that have time, those first that are to be asked first.
    fn able<R: Record>(
        &self,
        clerk: &mut Clerk,
        (segment, place): (SegmentId, usize),
        file: &FileSwarm<R>,
        unseeded: bool,
    ) -> ArrayVec<Able, { FRESH_HOLDERS + HOLDERS_MAX }> {
        let Swarm { counters, rules, .. } = self.swarm;
        let owners = &file.owners;
        let record = &file.segments[place];
        let start = clerk.chance.random_range(0..owners.len().max(1));
        let rotated = owners[start..].iter().chain(&owners[..start]).copied();
        let excluded = |node| self.wish.excluded.contains(&(segment, node));
        // Once they have seeded a segment, owners send it again only if nobody else can.
        let other = |node: NodeId| {
            !owners.contains(&node)
                && node != self.wish.peer
                && !counters.is_avoided(node)
                && !excluded(node)
        };
        let alone = !record.holders().any(other);
        let may_ask = |owner| unseeded || (alone && !counters.is_seeding(owner));
        let owners_to_ask = rotated.filter(|&owner| may_ask(owner));
        let mut able: ArrayVec<Able, { FRESH_HOLDERS + HOLDERS_MAX }> = ArrayVec::new();
        for node in record.holders().chain(owners_to_ask) {
            let known = able.iter().any(|other| other.node == node);
            if known || able.is_full() || node == self.wish.peer || excluded(node) {
                continue;
            }
            let standing = counters.standing(node);
            if !standing.avoided && standing.load.in_flight < rules.holder_load {
                let (is_owner, chance) = (owners.contains(&node), clerk.chance.random());
                able.push(Able::new(rules.balance, node, is_owner, standing.load, chance));
            }
        }
        balance::order(rules.balance, &mut able);
        able
    }

    fn owners_now<R>(&self, file: &FileSwarm<R>) -> OwnersNow {
        let Swarm { counters, rules, .. } = self.swarm;
        let mut now = OwnersNow { for_unseeded: false, for_all: false };
        for &owner in &file.owners {
            let standing = counters.standing(owner);
            let has_time = !standing.avoided && standing.load.in_flight < rules.holder_load;
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
