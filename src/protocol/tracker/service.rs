//! Computes handouts. This is the tracker's costly step, and the one that several service threads may
//! take at once, each for another peer.
//!
//! What peers share is used through `&self`. What belongs to one peer is its [`Account`], which the
//! thread that serves the peer has to itself. The tracker itself calls the same functions.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::adaptive_limits::AdaptiveLimits;
use super::known_segments::KnownSegments;
use super::late_reads::Reading;
use crate::config::{
    Admission, BLOCKS_MAX, CORRUPT_TRIES_MAX, Config, EXCLUSIONS_MAX, HANDOUT_MAX,
};
use crate::manifest::{Block, FileId, NodeId, SegmentId};
use crate::protocol::roster::{Roster, RosterError};
use crate::protocol::{Ask, Handout, HandoutEntry, Registration};
use crate::swarm::{HandoutRequest, HandoutScratch, Offer, Swarm};
use crate::time::Timestamp;
use crate::verify::Digest;

/// A segment that was handed out to a peer, until the peer announces it or gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) segment: SegmentId,
    /// The holder that is charged with it.
    pub(super) holder: NodeId,
    pub(super) at: Timestamp,
}

/// The grants of one peer. The size is bounded by its window and by the corrupt segments it was sent.
#[derive(Clone, Debug, Default)]
pub struct Account {
    // In the order of the handouts: peers announce in about the same order, so that the linear search
    // for a grant ends near the front.
    pub(super) grants: VecDeque<Grant>,
    /// Whether a segment may have been granted twice, in an end game.
    has_duplicates: bool,
    /// Holders that sent the peer a corrupt segment, with the segment: once for each time.
    excluded: Vec<(SegmentId, NodeId)>,
    /// Whether the peer was told, since its last ask, that nobody has what it lacks.
    pub(super) gives_up: bool,
    /// The EWMA from handout to announcement, nanoseconds; 0 where slow peers are not looked for.
    latency_ns: u64,
}

/// The circumstances of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// The time of the grants.
    pub now: Timestamp,
    /// Who asks.
    pub peer: NodeId,
    /// The most segments in the answer.
    pub most: usize,
    /// Whether nothing was announced or given back since the scratch's last answer.
    pub unchanged: bool,
    /// Whether holders that sent a segment corrupt may send it again, a bounded number of times.
    pub forgiving: bool,
}

/// What all service threads share.
#[derive(Debug)]
pub struct Service {
    pub(super) roster: Roster,
    pub(super) swarm: Swarm,
    window: usize,
    flights_max: usize,
    limits: AdaptiveLimits,
    /// Segments whose digest is known; none where all are.
    known: Option<KnownSegments>,
    // Segments that may wait at a holder that is not slow; none where slow peers are not looked
    // for.
    paced_load: Option<u32>,
}

impl Account {
    /// Takes out one grant of a segment: the one charged to `holder` if there is one, else the
    /// first. The others keep their order.
    pub(super) fn take_grant(
        &mut self,
        segment: SegmentId,
        holder: Option<NodeId>,
    ) -> Option<Grant> {
        let of_segment = |grant: &Grant| grant.segment == segment;
        let exact = holder.and_then(|holder| {
            self.grants.iter().position(|grant| of_segment(grant) && grant.holder == holder)
        });
        let place = exact.or_else(|| self.grants.iter().position(of_segment))?;
        self.grants.remove(place)
    }

    /// Takes out the grant of a segment that the peer was given to read, if there is one.
    pub(super) fn take_read(&mut self, segment: SegmentId, peer: NodeId) -> bool {
        let is_it = |grant: &Grant| (grant.segment, grant.holder) == (segment, peer);
        let place = self.grants.iter().position(is_it);
        place.is_some_and(|place| self.grants.remove(place).is_some())
    }

    /// Whether the peer was given a segment to read.
    pub(super) fn is_reading(&self, segment: SegmentId, peer: NodeId) -> bool {
        self.grants.iter().any(|grant| (grant.segment, grant.holder) == (segment, peer))
    }

    /// A holder sent the peer a corrupt segment, and is not named for it again while others can be.
    pub(super) fn exclude(&mut self, segment: SegmentId, holder: NodeId) {
        if self.excluded.len() < EXCLUSIONS_MAX {
            self.excluded.push((segment, holder));
        }
    }

    /// Segments that came corrupt and have not come right.
    pub(super) fn excluded(&self) -> impl Iterator<Item = SegmentId> {
        self.excluded.iter().map(|&(segment, _)| segment)
    }

    /// A holder has a segment anew.
    pub(super) fn forgive(&mut self, segment: SegmentId, holder: NodeId) {
        self.excluded.retain(|&pair| pair != (segment, holder));
    }

    /// Nobody else has them: the holders may be asked again for segments that they did not send corrupt
    /// [`CORRUPT_TRIES_MAX`] times. Returns what is to be excluded after all.
    pub(super) fn excluded_for_good(&self) -> Vec<(SegmentId, NodeId)> {
        let times = |pair| self.excluded.iter().filter(|&&other| other == pair).count();
        let pairs = self.excluded.iter().copied();
        pairs.filter(|&pair| times(pair) >= CORRUPT_TRIES_MAX).collect()
    }

    /// The peer was told that nobody has what it showed. What it shows from now on it did not give up.
    pub(super) fn hear_after_giving_up(&mut self, ask: &Ask) {
        if std::mem::take(&mut self.gives_up) {
            self.excluded.retain(|&(segment, _)| ask.shows(segment));
        }
    }

    /// Segments of the ask that are not granted; in an end game all of them.
    fn missing(&self, ask: &Ask) -> ArrayVec<Block, BLOCKS_MAX> {
        let mut blocks = ask.blocks.clone();
        if ask.end_game {
            return blocks;
        }
        // A small hash table from the block's number to its place in the ask, so that each grant is
        // found in one step. Load factor at most 1/4; a collision costs a linear search.
        let mut places = [usize::MAX; 4 * BLOCKS_MAX];
        let hash = |index: u32| index as usize % (4 * BLOCKS_MAX);
        for (place, block) in blocks.iter().enumerate() {
            places[hash(block.index)] = place;
        }
        for given in self.grants.iter().map(|grant| Block::of(grant.segment)) {
            let place = places[hash(given.index)];
            let is_there = |block: &Block| block.index == given.index;
            let found = match blocks.get(place) {
                None => None,
                Some(block) if is_there(block) => Some(place),
                Some(_) => blocks.iter().position(is_there),
            };
            if let Some(place) = found {
                blocks[place].bits &= !given.bits;
            }
        }
        blocks
    }
}

impl Service {
    /// Opens a swarm among peers that registered, by rank, and rank 0, which did not.
    ///
    /// # Errors
    ///
    /// When the registrations don't fit together.
    pub fn open(
        registrations: &[(NodeId, Registration)],
        nodes: usize,
        config: &Config,
    ) -> Result<Self, RosterError> {
        Ok(Self::new(Roster::new(registrations)?, nodes, config))
    }

    pub(super) fn new(roster: Roster, nodes: usize, config: &Config) -> Self {
        let mut swarm = Swarm::new(roster.geometry.clone(), nodes, config);
        for (number, file) in (0..).map(FileId).zip(&roster.files) {
            if roster.late_file() == Some(number) {
                swarm.register_late(number, &file.owners);
            } else {
                swarm.register(number, &file.owners, file.wanted);
            }
        }
        let known = roster.late.as_ref().map(|late| {
            let first = roster.geometry.segment_count() - late.count;
            for peer in &late.peers {
                let held = peer.held.iter().map(|place| SegmentId(first + place.0));
                held.for_each(|segment| swarm.hold(segment, peer.node));
            }
            KnownSegments::of(&roster.digests)
        });
        let paced = config.paced && config.admission == Admission::Slots;
        let paced_load = paced.then_some(config.holder_load);
        let (window, flights_max) = (config.window, config.flights_max());
        let limits = AdaptiveLimits::new(nodes);
        Self { roster, swarm, window, flights_max, limits, known, paced_load }
    }

    /// What is to be read of the late file, if there is one: what somebody lacks and nobody can send.
    pub(super) fn reading(&self, nodes: usize) -> Option<Reading> {
        let late = self.roster.late.as_ref()?;
        let first = self.roster.geometry.segment_count() - late.count;
        let mut reading = Reading::new(first, late, nodes);
        for segment in reading.segments() {
            let is_known = self.roster.digests[segment.index()].get().is_some();
            if !(is_known && self.swarm.has_holder(segment)) {
                reading.add(segment);
            }
        }
        Some(reading)
    }

    /// `source` has read a segment, which others want or don't: it can be handed out. Returns whether nobody knew its
    /// digest.
    pub(super) fn settle_read(
        &self,
        source: NodeId,
        (segment, digest): (SegmentId, Digest),
        is_wanted: bool,
    ) -> bool {
        // It may be known already: then the source has compared it, and stands in for a reader that is lost.
        let is_new = self.roster.digests[segment.index()].set(digest).is_ok();
        self.swarm.read(segment, source, is_wanted);
        if let Some(known) = &self.known {
            known.add(segment);
        }
        is_new
    }

    /// A peer verified a segment. Returns how many grants that settles: 0 if they were settled before.
    pub fn settle(
        &self,
        now: Timestamp,
        account: &mut Account,
        peer: NodeId,
        segment: SegmentId,
    ) -> usize {
        // What was to be read is verified only with its digest.
        if self.known.is_some() && account.is_reading(segment, peer) {
            return 0;
        }
        let Some(first) = account.take_grant(segment, None) else { return 0 };
        if let Some(most) = self.paced_load {
            self.limits.record(&mut account.latency_ns, first.holder, now.since(first.at));
            self.swarm.counters().limit(first.holder, self.limits.holder_limit(first.holder, most));
        }
        self.swarm.announce(segment, peer, first.holder);
        let mut settled = 1;
        while account.has_duplicates
            && let Some(superfluous) = account.take_grant(segment, None)
        {
            self.swarm.give_back(segment, superfluous.holder);
            settled += 1;
        }
        account.excluded.retain(|&(excluded, _)| excluded != segment);
        settled
    }

    /// Hands out what can be had now of an ask, perhaps nothing. The handout is open if the peer has
    /// credit left and lacks more: a caller with a queue lets the ask wait there.
    pub fn answer(
        &self,
        scratch: &mut HandoutScratch,
        account: &mut Account,
        limits: AnswerLimits,
        ask: &Ask,
    ) -> Handout {
        let mut blocks = account.missing(ask);
        let slow = self.limits.is_slow(account.latency_ns);
        let window = self.limits.window(account.latency_ns, self.window);
        let window = if ask.end_game { self.flights_max } else { window };
        // A peer to which so many segments came corrupt has a fault of its own: it is handed no more.
        let window = if account.excluded.len() < EXCLUSIONS_MAX { window } else { 0 };
        let room = usize::from(ask.room).min(window.saturating_sub(account.grants.len()));
        let lacks: u32 = blocks.iter().map(|block| block.bits.count_ones()).sum();
        if let Some(known) = &self.known {
            known.keep(&mut blocks);
        }
        let excluded = account.excluded.len();
        if ask.end_game {
            // End game (Cohen 2003, section 2.4.4; BEP 3): the last segments are requested once more,
            // from other holders than the late ones, and the copy that comes second is cancelled.
            let late = account.grants.iter().map(|grant| (grant.segment, grant.holder));
            account.excluded.extend(late);
            account.has_duplicates = true;
        }
        let for_good = limits.forgiving.then(|| account.excluded_for_good());
        let mut offers: ArrayVec<Offer, HANDOUT_MAX> = ArrayVec::new();
        let request = HandoutRequest {
            peer: limits.peer,
            room: room.min(limits.most),
            blocks: &blocks,
            excluded: for_good.as_ref().unwrap_or(&account.excluded),
            // The first copy of a segment goes to a fast peer: all others wait for it.
            skips_unseeded: slow && !account.grants.is_empty(),
            unchanged: limits.unchanged,
        };
        self.swarm.hand_out(scratch, &request, &mut offers);
        // Late holders are excluded from this answer only.
        account.excluded.truncate(excluded);
        let open = offers.len() < room.min(lacks as usize);
        let mut handout = Handout { answers: ask.sequence, open, ..Handout::default() };
        for Offer { segment, holders } in offers {
            account.grants.push_back(Grant { segment, holder: holders[0], at: limits.now });
            handout.entries.push(HandoutEntry {
                segment,
                digest: self.roster.digest(segment),
                holders,
            });
        }
        handout
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn account(given: &[u32]) -> Account {
        let grant =
            |&segment| Grant { segment: SegmentId(segment), holder: NodeId(1), at: Timestamp(0) };
        Account { grants: given.iter().map(grant).collect(), ..Account::default() }
    }

    #[test]
    fn what_was_given_is_not_missing_wherever_its_block_is_in_the_ask() {
        // Blocks 1, 65 and 129 have the same end of their numbers, and block 7 is not in the ask.
        let blocks = [129, 2, 65, 1].map(|index| Block { index, bits: u64::MAX });
        let ask = Ask { blocks: blocks.into_iter().collect(), ..Ask::default() };
        let account = account(&[64, 65, 128, 65 * 64 + 3, 129 * 64 + 63, 7 * 64]);
        let bits: Vec<_> = account.missing(&ask).iter().map(|block| !block.bits).collect();
        assert_eq!(bits, [1 << 63, 1, 1 << 3, 0b11]);
        let at_end = Ask { end_game: true, ..ask.clone() };
        assert_eq!(account.missing(&at_end), ask.blocks, "asked for again");
    }

    #[test]
    fn only_who_heard_the_last_ask_skips_what_this_one_repeats() {
        let verified = (0..5).map(SegmentId).collect();
        let ask = Ask { sequence: 8, verified, known: 3, ..Ask::default() };
        assert_eq!(ask.verified_since(7), [SegmentId(3), SegmentId(4)]);
        assert_eq!(ask.verified_since(6), &ask.verified[..], "one was lost");
        let odd = Ask { known: 9, ..ask };
        assert_eq!(odd.verified_since(7), []);
    }
}
