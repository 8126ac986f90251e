//! One segment in the index: how many copies there are, how many are under way, and who got it
//! last. With atomics any number of threads may look and announce at once; plain numbers need a
//! mutex around them.

use std::array;
use std::cell::Cell;
use std::fmt::Debug;

use crate::config::FRESH_HOLDERS;
use crate::manifest::NodeId;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// One copy, in the upper half of the tally; copies in flight count in the lower half.
const COPY: u64 = 1 << 32;

/// Copies of a segment at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// Whether the owners never gave it away.
    pub fn is_unseeded(self) -> bool {
        self.rarity() == 0
    }
}

/// What the index knows of one segment.
///
/// It remembers a few *fresh* holders, not all: its size does not grow with the number of ranks.
pub trait Record: Default + Debug {
    /// Counts a copy that was handed out; returns the tally before.
    fn hand_out(&self) -> Tally;

    /// Takes back a handout that came to nothing; returns the tally before.
    fn give_back(&self) -> Tally;

    /// Turns a copy in flight into one that `holder` has; the oldest fresh holder is forgotten.
    fn announce(&self, holder: NodeId);

    /// The tally now.
    fn tally(&self) -> Tally;

    /// The fresh holders, in no order.
    fn holders(&self) -> impl Iterator<Item = NodeId> + '_;
}

/// A record of atomics, for any number of threads.
#[derive(Debug)]
pub struct SegmentRecord {
    /// Copies beside the owners' in the upper half, copies in flight in the lower: one word, so
    /// that a copy never counts twice, or not at all, on its way from one half to the other.
    tally: AtomicU64,
    /// Ranks that hold the segment, 0 for none (the tracker holds nothing).
    fresh: [AtomicU32; FRESH_HOLDERS],
}

impl Default for SegmentRecord {
    fn default() -> Self {
        Self { tally: AtomicU64::new(0), fresh: array::from_fn(|_| AtomicU32::new(0)) }
    }
}

impl Record for SegmentRecord {
    fn hand_out(&self) -> Tally {
        // ORDERING: Relaxed; a count, publishes nothing.
        Tally::from_word(self.tally.fetch_add(1, Ordering::Relaxed))
    }

    fn give_back(&self) -> Tally {
        // ORDERING: Relaxed; a count, publishes nothing.
        Tally::from_word(self.tally.fetch_sub(1, Ordering::Relaxed))
    }

    fn announce(&self, holder: NodeId) {
        // ORDERING: Relaxed; a count, publishes nothing: a reader that sees the count before the
        // holder finds one holder less, for a moment.
        let before = Tally::from_word(self.tally.fetch_add(COPY - 1, Ordering::Relaxed));
        let place = before.copies as usize % FRESH_HOLDERS;
        // ORDERING: Relaxed; the rank is the whole message. That the holder has the bytes was
        // established by the message that brought the announcement.
        self.fresh[place].store(holder.0, Ordering::Relaxed);
    }

    fn tally(&self) -> Tally {
        // ORDERING: Relaxed; a count that may be a moment old.
        Tally::from_word(self.tally.load(Ordering::Relaxed))
    }

    fn holders(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.fresh.iter().filter_map(|rank| {
            // ORDERING: Relaxed; pairs with the store in `announce`, which publishes only itself.
            let rank = rank.load(Ordering::Relaxed);
            (rank != 0).then_some(NodeId(rank))
        })
    }
}

/// A record of plain numbers, for whoever holds the mutex around it: cells, because to have the
/// mutex is to have all of it alone.
#[derive(Debug, Default)]
pub struct PlainRecord {
    copies: Cell<u32>,
    in_flight: Cell<u32>,
    /// Ranks that hold the segment, 0 for none.
    fresh: [Cell<u32>; FRESH_HOLDERS],
}

impl Record for PlainRecord {
    fn hand_out(&self) -> Tally {
        let before = self.tally();
        self.in_flight.set(before.in_flight + 1);
        before
    }

    fn give_back(&self) -> Tally {
        let before = self.tally();
        self.in_flight.set(before.in_flight - 1);
        before
    }

    fn announce(&self, holder: NodeId) {
        let before = self.give_back();
        self.copies.set(before.copies + 1);
        self.fresh[before.copies as usize % FRESH_HOLDERS].set(holder.0);
    }

    fn tally(&self) -> Tally {
        Tally { copies: self.copies.get(), in_flight: self.in_flight.get() }
    }

    fn holders(&self) -> impl Iterator<Item = NodeId> + '_ {
        let ranks = self.fresh.iter().map(Cell::get);
        ranks.filter(|&rank| rank != 0).map(NodeId)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_copy_moves_from_in_flight_to_held() {
        moves_from_in_flight_to_held(&SegmentRecord::default());
        moves_from_in_flight_to_held(&PlainRecord::default());
    }

    fn moves_from_in_flight_to_held(record: &impl Record) {
        assert!(record.hand_out().is_unseeded());
        assert_eq!(record.tally(), Tally { copies: 0, in_flight: 1 });
        record.announce(NodeId(7));
        assert_eq!(record.tally(), Tally { copies: 1, in_flight: 0 });
        assert_eq!(record.holders().collect::<Vec<_>>(), [NodeId(7)]);
    }

    #[test]
    fn only_the_freshest_holders_are_remembered() {
        remembers_the_freshest(&SegmentRecord::default());
        remembers_the_freshest(&PlainRecord::default());
    }

    fn remembers_the_freshest(record: &impl Record) {
        for rank in 1..=20 {
            record.hand_out();
            record.announce(NodeId(rank));
        }
        let mut holders: Vec<_> = record.holders().map(|node| node.0).collect();
        holders.sort_unstable();
        assert_eq!(holders, (13..=20).collect::<Vec<_>>());
        assert_eq!(record.tally().copies, 20);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn loom_announcements_are_neither_lost_nor_doubled() {
        loom::model(|| {
            let record = Arc::new(SegmentRecord::default());
            let threads: Vec<_> = (1..=2)
                .map(|rank| {
                    let record = Arc::clone(&record);
                    loom::thread::spawn(move || {
                        record.hand_out();
                        record.announce(NodeId(rank));
                    })
                })
                .collect();
            let seen = record.tally();
            assert!(seen.rarity() <= 2, "{seen:?}");
            for thread in threads {
                thread.join().expect("the thread ends");
            }
            assert_eq!(record.tally(), Tally { copies: 2, in_flight: 0 });
            let mut holders: Vec<_> = record.holders().collect();
            holders.sort_unstable();
            assert_eq!(holders, [NodeId(1), NodeId(2)]);
        });
    }

    #[test]
    fn loom_only_one_thread_seeds_a_segment() {
        loom::model(|| {
            let record = Arc::new(SegmentRecord::default());
            let other = Arc::clone(&record);
            let thread = loom::thread::spawn(move || other.hand_out().is_unseeded());
            let here = record.hand_out().is_unseeded();
            let there = thread.join().expect("the thread ends");
            assert!(here ^ there, "exactly one handout is the first");
            record.give_back();
            assert_eq!(record.tally(), Tally { copies: 0, in_flight: 1 });
        });
    }
}
