//! The segments of one file in the index: how many copies there are of each, how many are in flight,
//! and who got it last. Any number of threads may use the atomic kind at once; the plain kind needs a
//! mutex around it.
//!
//! Tallies and holders are separate arrays (structure of arrays): the search for the rarest segments
//! reads tallies only, 8 of them a cache line.

use std::array;
use std::cell::Cell;
use std::fmt::Debug;

use crate::config::FRESH_HOLDERS;
use crate::manifest::NodeId;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

// One copy. Copies are in the upper 32 bits of the tally, copies in flight in the lower.
const COPY: u64 = 1 << 32;

/// How many copies of a segment there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Verified copies, not counting the owners'.
    pub copies: u32,
    /// Copies handed out and not yet verified.
    pub in_flight: u32,
}

impl Tally {
    fn from_word(word: u64) -> Self {
        let copies = u32::try_from(word >> 32).expect("the upper half is 32 bits wide");
        let in_flight = u32::try_from(word & (COPY - 1)).expect("the lower half is 32 bits wide");
        Self { copies, in_flight }
    }

    /// How common the segment is, counting copies in flight.
    pub fn rarity(self) -> u64 {
        u64::from(self.copies) + u64::from(self.in_flight)
    }

    /// Whether only the owners have it, and it is in flight to nobody.
    pub fn is_unseeded(self) -> bool {
        self.rarity() == 0
    }
}

/// The segments of one file, by their index in it.
///
/// It remembers the last few holders of each segment, the *fresh* ones, not all of them: its size
/// does not grow with the number of ranks.
// The last ones, because earlier ones were asked already.
pub trait Copies: Debug {
    /// No copies of `segments` segments.
    fn none_of(segments: usize) -> Self;

    /// Counts a copy that was handed out; returns the tally before.
    fn hand_out(&self, place: usize) -> Tally;

    /// Takes back a handout that came to nothing; returns the tally before.
    fn give_back(&self, place: usize) -> Tally;

    /// Turns a copy in flight into one that `holder` has, and forgets the oldest fresh holder.
    fn announce(&self, place: usize, holder: NodeId);

    /// The tally now.
    fn tally(&self, place: usize) -> Tally;

    /// The fresh holders, in no order.
    fn holders(&self, place: usize) -> impl Iterator<Item = NodeId> + '_;
}

/// The lock-free kind.
#[derive(Debug)]
pub struct AtomicCopies {
    // One word a segment: a copy that arrives moves from one half to the other in one instruction, and
    // no reader counts it twice or misses it.
    tallies: Box<[AtomicU64]>,
    /// Ring buffers of ranks; 0 for none, since the tracker holds nothing.
    fresh: Box<[[AtomicU32; FRESH_HOLDERS]]>,
}

impl Copies for AtomicCopies {
    fn none_of(segments: usize) -> Self {
        let nobody = || array::from_fn(|_| AtomicU32::new(0));
        Self {
            tallies: (0..segments).map(|_| AtomicU64::new(0)).collect(),
            fresh: (0..segments).map(|_| nobody()).collect(),
        }
    }

    fn hand_out(&self, place: usize) -> Tally {
        // ORDERING: Relaxed; a count, publishes nothing.
        Tally::from_word(self.tallies[place].fetch_add(1, Ordering::Relaxed))
    }

    fn give_back(&self, place: usize) -> Tally {
        // ORDERING: Relaxed; a count, publishes nothing.
        Tally::from_word(self.tallies[place].fetch_sub(1, Ordering::Relaxed))
    }

    fn announce(&self, place: usize, holder: NodeId) {
        // ORDERING: Relaxed; a count, publishes nothing: a reader that sees the count before the
        // holder finds one holder less, for a moment.
        let before = self.tallies[place].fetch_add(COPY - 1, Ordering::Relaxed);
        let oldest = Tally::from_word(before).copies as usize % FRESH_HOLDERS;
        // ORDERING: Relaxed; the rank is the whole message. That the holder has the bytes was
        // established by the message that brought the announcement.
        self.fresh[place][oldest].store(holder.0, Ordering::Relaxed);
    }

    #[inline]
    fn tally(&self, place: usize) -> Tally {
        // ORDERING: Relaxed; a count that may be a moment old.
        Tally::from_word(self.tallies[place].load(Ordering::Relaxed))
    }

    #[inline]
    fn holders(&self, place: usize) -> impl Iterator<Item = NodeId> + '_ {
        self.fresh[place].iter().filter_map(|rank| {
            // ORDERING: Relaxed; pairs with the store in `announce`, which publishes only itself.
            let rank = rank.load(Ordering::Relaxed);
            (rank != 0).then_some(NodeId(rank))
        })
    }
}

/// The plain kind, for the holder of the mutex around it. Cells, because the trait takes `&self`.
#[derive(Debug)]
pub struct PlainCopies {
    tallies: Box<[Cell<Tally>]>,
    /// Ring buffers of ranks; 0 for none.
    fresh: Box<[[Cell<u32>; FRESH_HOLDERS]]>,
}

impl Copies for PlainCopies {
    fn none_of(segments: usize) -> Self {
        Self {
            tallies: vec![Cell::default(); segments].into(),
            fresh: (0..segments).map(|_| <[Cell<u32>; FRESH_HOLDERS]>::default()).collect(),
        }
    }

    fn hand_out(&self, place: usize) -> Tally {
        let before = self.tally(place);
        self.tallies[place].set(Tally { in_flight: before.in_flight + 1, ..before });
        before
    }

    fn give_back(&self, place: usize) -> Tally {
        let before = self.tally(place);
        self.tallies[place].set(Tally { in_flight: before.in_flight - 1, ..before });
        before
    }

    fn announce(&self, place: usize, holder: NodeId) {
        let Tally { copies, in_flight } = self.tally(place);
        self.tallies[place].set(Tally { copies: copies + 1, in_flight: in_flight - 1 });
        self.fresh[place][copies as usize % FRESH_HOLDERS].set(holder.0);
    }

    fn tally(&self, place: usize) -> Tally {
        self.tallies[place].get()
    }

    fn holders(&self, place: usize) -> impl Iterator<Item = NodeId> + '_ {
        let ranks = self.fresh[place].iter().map(Cell::get);
        ranks.filter(|&rank| rank != 0).map(NodeId)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PLACE: usize = 1;

    #[test]
    fn a_copy_moves_from_in_flight_to_held() {
        moves_from_in_flight_to_held(&AtomicCopies::none_of(2));
        moves_from_in_flight_to_held(&PlainCopies::none_of(2));
    }

    fn moves_from_in_flight_to_held(copies: &impl Copies) {
        assert!(copies.hand_out(PLACE).is_unseeded());
        assert_eq!(copies.tally(PLACE), Tally { copies: 0, in_flight: 1 });
        copies.announce(PLACE, NodeId(7));
        assert_eq!(copies.tally(PLACE), Tally { copies: 1, in_flight: 0 });
        assert_eq!(copies.holders(PLACE).collect::<Vec<_>>(), [NodeId(7)]);
    }

    #[test]
    fn only_the_freshest_holders_are_remembered() {
        remembers_the_freshest(&AtomicCopies::none_of(2));
        remembers_the_freshest(&PlainCopies::none_of(2));
    }

    fn remembers_the_freshest(copies: &impl Copies) {
        for rank in 1..=20 {
            copies.hand_out(PLACE);
            copies.announce(PLACE, NodeId(rank));
        }
        let mut holders: Vec<_> = copies.holders(PLACE).map(|node| node.0).collect();
        holders.sort_unstable();
        assert_eq!(holders, (13..=20).collect::<Vec<_>>());
        assert_eq!(copies.tally(PLACE).copies, 20);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::*;

    const PLACE: usize = 0;

    #[test]
    fn loom_announcements_are_neither_lost_nor_doubled() {
        loom::model(|| {
            let copies = Arc::new(AtomicCopies::none_of(1));
            let threads: Vec<_> = (1..=2)
                .map(|rank| {
                    let copies = Arc::clone(&copies);
                    loom::thread::spawn(move || {
                        copies.hand_out(PLACE);
                        copies.announce(PLACE, NodeId(rank));
                    })
                })
                .collect();
            let seen = copies.tally(PLACE);
            assert!(seen.rarity() <= 2, "{seen:?}");
            for thread in threads {
                thread.join().expect("the thread ends");
            }
            assert_eq!(copies.tally(PLACE), Tally { copies: 2, in_flight: 0 });
            let mut holders: Vec<_> = copies.holders(PLACE).collect();
            holders.sort_unstable();
            assert_eq!(holders, [NodeId(1), NodeId(2)]);
        });
    }

    #[test]
    fn loom_only_one_thread_seeds_a_segment() {
        loom::model(|| {
            let copies = Arc::new(AtomicCopies::none_of(1));
            let other = Arc::clone(&copies);
            let thread = loom::thread::spawn(move || other.hand_out(PLACE).is_unseeded());
            let here = copies.hand_out(PLACE).is_unseeded();
            let there = thread.join().expect("the thread ends");
            assert!(here ^ there, "exactly one handout is the first");
            copies.give_back(PLACE);
            assert_eq!(copies.tally(PLACE), Tally { copies: 0, in_flight: 1 });
        });
    }
}
