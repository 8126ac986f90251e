//! What one peer is told: the tracker's dear step, and the one that several threads may take at
//! once, each for another peer.
//!
//! Everything that peers share is read through `&self`; what belongs to one peer alone is its
//! [`Account`], which whoever serves the peer has to itself. The tracker's own `handle` and every
//! service thread call the same functions here.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::pace::Pace;
use crate::config::{Admission, BLOCKS_MAX, Config, HANDOUT_MAX};
use crate::manifest::{Block, FileId, NodeId, SegmentId};
use crate::protocol::roster::{Roster, RosterError};
use crate::protocol::{Ask, Enrolment, Handout, HandoutEntry};
use crate::swarm::{HandoutScratch, Offer, Swarm, Wish};
use crate::time::Timestamp;

/// A segment that a peer was given and has neither announced nor given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) segment: SegmentId,
    /// The holder that is charged with it.
    pub(super) holder: NodeId,
    pub(super) at: Timestamp,
}

/// What one peer was given, and by whom not again. Its size is bounded by the peer's window and by
/// what holders sent it wrong.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// In the order in which they were given: most are settled in about the same.
    pub(super) grants: VecDeque<Grant>,
    /// Whether some segment may have been given twice.
    doubles: bool,
    /// Holders that sent it something wrong, each for one segment.
    pub(super) excluded: Vec<(SegmentId, NodeId)>,
    /// From handout to announcement as EWMAs, nanoseconds; 0 where nobody is slow.
    latency_ns: u64,
}

/// What an answer is for, beside the ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerLimits {
    /// The time, which the grants keep.
    pub now: Timestamp,
    /// Who asks.
    pub peer: NodeId,
    /// Segments in the answer, at most.
    pub most: usize,
    /// Whether nothing was announced or given back since the scratch's last answer.
    pub unchanged: bool,
}

/// What all who serve peers share.
#[derive(Debug)]
pub struct Service {
    pub(super) roster: Roster,
    pub(super) swarm: Swarm,
    window: usize,
    flights_max: usize,
    pace: Pace,
    /// Segments that may wait at a holder that is not slow; none where nobody is taken for slow.
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

    /// What the peer lacks and was not given. At the end of a run it asks again for what it was
    /// given.
    fn missing(&self, ask: &Ask) -> ArrayVec<Block, BLOCKS_MAX> {
        let mut blocks = ask.blocks.clone();
        if ask.end_game {
            return blocks;
        }
        // Where a block is in the ask, by the end of its number: there are many grants.
        let mut places = [usize::MAX; 4 * BLOCKS_MAX];
        let end = |index: u32| index as usize % (4 * BLOCKS_MAX);
        for (place, block) in blocks.iter().enumerate() {
            places[end(block.index)] = place;
        }
        for given in self.grants.iter().map(|grant| Block::of(grant.segment)) {
            let place = places[end(given.index)];
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
        enrolments: &[(NodeId, Enrolment)],
        nodes: usize,
        config: &Config,
    ) -> Result<Self, RosterError> {
        Ok(Self::new(Roster::new(enrolments)?, nodes, config))
    }

    pub(super) fn new(roster: Roster, nodes: usize, config: &Config) -> Self {
        let mut swarm = Swarm::new(roster.geometry.clone(), nodes, config);
        for (number, file) in (0..).map(FileId).zip(&roster.files) {
            swarm.register(number, &file.owners, file.wanted);
        }
        let paced = config.paced && config.admission == Admission::Slots;
        let paced_load = paced.then_some(config.holder_load);
        let (window, flights_max) = (config.window, config.flights_max());
        Self { roster, swarm, window, flights_max, pace: Pace::new(nodes), paced_load }
    }

    /// A peer verified a segment; returns how many grants that settles, 0 when it was told before.
    pub fn settle(
        &self,
        now: Timestamp,
        account: &mut Account,
        peer: NodeId,
        segment: SegmentId,
    ) -> usize {
        let Some(first) = account.take_grant(segment, None) else { return 0 };
        if let Some(most) = self.paced_load {
            self.pace.note(&mut account.latency_ns, first.holder, now.since(first.at));
            self.swarm.counters().limit(first.holder, self.pace.load(first.holder, most));
        }
        self.swarm.announce(segment, peer, first.holder);
        let mut settled = 1;
        while account.doubles
            && let Some(superfluous) = account.take_grant(segment, None)
        {
            self.swarm.give_back(segment, superfluous.holder);
            settled += 1;
        }
        account.excluded.retain(|&(excluded, _)| excluded != segment);
        settled
    }

    /// Gives a peer what there is; a handout without entries when there is nothing. It is open where
    /// the peer lacks more and has room for it: whoever keeps a queue may let the ask wait there.
    pub fn answer(
        &self,
        scratch: &mut HandoutScratch,
        account: &mut Account,
        limits: AnswerLimits,
        ask: &Ask,
    ) -> Handout {
        let blocks = account.missing(ask);
        let slow = self.pace.is_slow(account.latency_ns);
        let window = self.pace.window(account.latency_ns, self.window);
        let window = if ask.end_game { self.flights_max } else { window };
        let room = usize::from(ask.room).min(window.saturating_sub(account.grants.len()));
        let lacks: u32 = blocks.iter().map(|block| block.bits.count_ones()).sum();
        let excluded = account.excluded.len();
        if ask.end_game {
            // The holder that is late already is no help.
            let late = account.grants.iter().map(|grant| (grant.segment, grant.holder));
            account.excluded.extend(late);
            account.doubles = true;
        }
        let mut offers: ArrayVec<Offer, HANDOUT_MAX> = ArrayVec::new();
        let wish = Wish {
            peer: limits.peer,
            room: room.min(limits.most),
            blocks: &blocks,
            excluded: &account.excluded,
            // Others would wait for it.
            spares_unseeded: slow && !account.grants.is_empty(),
            unchanged: limits.unchanged,
        };
        self.swarm.hand_out(scratch, &wish, &mut offers);
        // It may be asked again when it has answered that it can't.
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
        assert_eq!(ask.news_after(7), [SegmentId(3), SegmentId(4)]);
        assert_eq!(ask.news_after(6), &ask.verified[..], "one was lost");
        let odd = Ask { known: 9, ..ask };
        assert_eq!(odd.news_after(7), []);
    }
}
