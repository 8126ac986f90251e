//! The handout policy: which segments a peer is told to fetch next, and from whom.
//!
//! Segments: rarest first, counting copies in flight, random among equals. Holders: the one
//! charged with least, random among equals, and never one that has enough to do: a request that
//! would only wait is better made elsewhere. Owners are spared: while an owner still has segments
//! that it never gave away, it is asked for those only.

use arrayvec::ArrayVec;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::counters::Load;
use super::{FileSwarm, Swarm};
use crate::config::{FRESH_HOLDERS, HANDOUT_MAX, HOLDERS_MAX};
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

/// A segment that could be handed out; the smaller the key, the sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Rarity above, chance below.
    key: u64,
    segment: SegmentId,
}

/// A holder that has time; the less it is charged with, the sooner it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Able {
    /// Owners come last for what others have too: they seeded it, and that was their share.
    is_owner: bool,
    load: Load,
    chance: u32,
    node: NodeId,
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
        let room = wish.room.min(offers.remaining_capacity());
        if room == 0 {
            return;
        }
        self.gather(clerk, wish);
        let enough = offers.len() + room;
        // Most candidates can be had, so that the rarest few are enough: the rest is put in order
        // only when they are not.
        let mut candidates = std::mem::take(&mut clerk.candidates);
        let few = FEW.max(4 * room).min(candidates.len());
        if few < candidates.len() {
            candidates.select_nth_unstable(few);
        }
        let (rarest, rest) = candidates.split_at_mut(few);
        let busy = self.holder_load.saturating_sub(1);
        rarest.sort_unstable();
        self.offer_from(clerk, wish, rarest, 0, enough, offers);
        self.offer_from(clerk, wish, rarest, busy, enough, offers);
        if offers.len() < enough {
            rest.sort_unstable();
            self.offer_from(clerk, wish, rest, busy, enough, offers);
        }
        clerk.candidates = candidates;
    }

    /// Offers candidates in turn whose best holder is charged with at most `load_max`, until there
    /// are `enough`.
    fn offer_from(
        &self,
        clerk: &mut Clerk,
        wish: &Wish<'_>,
        candidates: &[Candidate],
        load_max: u32,
        enough: usize,
        offers: &mut ArrayVec<Offer, HANDOUT_MAX>,
    ) {
        for candidate in candidates {
            if offers.len() == enough {
                return;
            }
            let segment = candidate.segment;
            if offers.iter().all(|offer| offer.segment != segment) {
                offers.extend(self.offer(clerk, wish, segment, load_max));
            }
        }
    }

    /// Lists the segments of the wish that somebody may be able to send, with their keys.
    fn gather(&self, clerk: &mut Clerk, wish: &Wish<'_>) {
        clerk.candidates.clear();
        for block in wish.blocks {
            let mut bits = block.bits;
            while bits != 0 {
                let first = SegmentId(block.index * Block::SEGMENTS + bits.trailing_zeros());
                let file = self.geometry.file_of(first);
                let segments = self.geometry.segments_of(file);
                let of_file = Block::overlap(block.index, &segments) & bits;
                bits &= !of_file;
                let entry = self.files.get(&file).expect("every numbered file was registered");
                let owners = self.owners_now(&entry, wish.peer);
                for segment in (Block { index: block.index, bits: of_file }).segments() {
                    let tally = entry.segments[(segment.0 - segments.start) as usize].tally();
                    let available = tally.copies > 0
                        || owners.for_all
                        || (owners.for_unseeded && tally.is_unseeded());
                    if available {
                        let rarity = tally.rarity().min(u64::from(u32::MAX));
                        let key = rarity << 32 | u64::from(clerk.chance.random::<u32>());
                        clerk.candidates.push(Candidate { key, segment });
                    }
                }
            }
        }
    }

    /// Finds holders for one segment and charges the best, or finds none that has time.
    fn offer(
        &self,
        clerk: &mut Clerk,
        wish: &Wish<'_>,
        segment: SegmentId,
        load_max: u32,
    ) -> Option<Offer> {
        let mut able: ArrayVec<Able, { FRESH_HOLDERS + HOLDERS_MAX }> = ArrayVec::new();
        self.with_record(segment, |record, owners| {
            let unseeded = record.tally().is_unseeded();
            let start = clerk.chance.random_range(0..owners.len().max(1));
            let rotated = owners[start..].iter().chain(&owners[..start]).copied();
            // Once they have seeded a segment, owners send it again only if nobody else can.
            let other = |node: NodeId| {
                !owners.contains(&node)
                    && node != wish.peer
                    && !self.counters.is_avoided(node)
                    && !wish.excluded.contains(&(segment, node))
            };
            let alone = !record.holders().any(other);
            let may_ask = |owner| unseeded || (alone && !self.counters.is_seeding(owner));
            let owners_to_ask = rotated.filter(|&owner| may_ask(owner));
            for node in record.holders().chain(owners_to_ask) {
                let known = able.iter().any(|other| other.node == node);
                if !known && !able.is_full() && self.may_serve(node, segment, wish) {
                    let (load, chance) = (self.counters.load(node), clerk.chance.random());
                    able.push(Able { is_owner: owners.contains(&node), load, chance, node });
                }
            }
            able.sort_unstable();
            let best = able.first()?;
            let spared = best.is_owner && !unseeded && load_max == 0;
            if best.load.in_flight > load_max || spared {
                return None;
            }
            let holders: ArrayVec<_, HOLDERS_MAX> =
                able.iter().take(HOLDERS_MAX).map(|able| able.node).collect();
            self.counters.charge(holders[0]);
            if record.hand_out().is_unseeded() {
                owners.iter().for_each(|&owner| self.counters.seed(owner));
            }
            Some(Offer { segment, holders })
        })
    }

    fn owners_now(&self, file: &FileSwarm, peer: NodeId) -> OwnersNow {
        let mut now = OwnersNow { for_unseeded: false, for_all: false };
        for &owner in &file.owners {
            if owner != peer && self.has_time(owner) {
                now.for_unseeded = true;
                now.for_all |= !self.counters.is_seeding(owner);
            }
        }
        now
    }

    fn may_serve(&self, node: NodeId, segment: SegmentId, wish: &Wish<'_>) -> bool {
        node != wish.peer && self.has_time(node) && !wish.excluded.contains(&(segment, node))
    }

    fn has_time(&self, node: NodeId) -> bool {
        !self.counters.is_avoided(node) && self.counters.load(node).in_flight < self.holder_load
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::manifest::{FileId, Geometry};

    const OWNER: NodeId = NodeId(1);

    fn swarm(segments: u32, holder_load: u32) -> Swarm {
        let config = Config { holder_load, ..Config::for_segments_of(1 << 20) };
        let geometry = Geometry::new([segments]).expect("few segments");
        let swarm = Swarm::new(geometry, 8, &config);
        swarm.register(FileId(0), &[OWNER], true);
        swarm
    }

    fn ask(swarm: &Swarm, peer: u32, room: usize, bits: u64) -> Vec<Offer> {
        let mut offers = ArrayVec::new();
        let blocks = [Block { index: 0, bits }];
        let wish = Wish { peer: NodeId(peer), room, blocks: &blocks, excluded: &[] };
        swarm.hand_out(&mut Clerk::new(1), &wish, &mut offers);
        offers.into_iter().collect()
    }

    #[test]
    fn a_holder_is_not_charged_with_more_than_its_load() {
        let swarm = swarm(8, 3);
        assert_eq!(ask(&swarm, 2, 5, 0xff).len(), 3);
        assert_eq!(ask(&swarm, 3, 5, 0xff).len(), 0);
    }

    #[test]
    fn an_owner_that_seeds_is_asked_only_for_what_it_never_gave() {
        let swarm = swarm(2, 8);
        let first = ask(&swarm, 2, 1, 0b11).remove(0).segment;
        let second = ask(&swarm, 3, 2, 0b11);
        assert_eq!(second.len(), 1, "the other segment alone");
        assert_ne!(second[0].segment, first);
        assert_eq!(ask(&swarm, 4, 2, 0b11).len(), 2, "all were seeded: the owner is like others");
    }

    #[test]
    fn the_rarest_segment_comes_first_and_copies_in_flight_count() {
        let swarm = swarm(2, 8);
        ask(&swarm, 2, 2, 0b11);
        swarm.announce(SegmentId(0), NodeId(2), OWNER);
        ask(&swarm, 3, 1, 0b01);
        for _ in 0..16 {
            let offer = ask(&swarm, 4, 1, 0b11).remove(0);
            assert_eq!(offer.segment, SegmentId(1));
            swarm.give_back(SegmentId(1), offer.holders[0]);
        }
    }

    #[test]
    fn the_least_charged_holder_is_asked_and_excluded_ones_are_not() {
        let swarm = swarm(1, 8);
        ask(&swarm, 2, 1, 1);
        swarm.announce(SegmentId(0), NodeId(2), OWNER);
        let offer = ask(&swarm, 3, 1, 1).remove(0);
        assert_eq!(offer.holders[0], NodeId(2), "it was asked less often than the owner");
        let mut offers = ArrayVec::new();
        let blocks = [Block { index: 0, bits: 1 }];
        let excluded = [(SegmentId(0), NodeId(2)), (SegmentId(0), OWNER)];
        let wish = Wish { peer: NodeId(4), room: 1, blocks: &blocks, excluded: &excluded };
        swarm.hand_out(&mut Clerk::new(1), &wish, &mut offers);
        assert!(offers.is_empty());
    }

    #[test]
    fn nobody_is_sent_to_itself_or_to_a_holder_that_is_avoided() {
        let swarm = swarm(1, 8);
        assert!(ask(&swarm, OWNER.0, 1, 1).is_empty());
        swarm.avoid(OWNER);
        assert!(ask(&swarm, 2, 1, 1).is_empty());
    }
}
