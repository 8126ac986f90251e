//! Who is slower than the rest? Whoever takes long, as the one who receives or as the one who sends,
//! is given less at a time: on a slow link segments wait that are then missing elsewhere.

use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::manifest::NodeId;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{ewma, nanoseconds};

/// What is so many halves of the mean latency of all is slow.
const SLOW_HALVES: u64 = 3;

/// How much of a mean one new latency is: of one node's, and of all peers'.
const WEIGHT_ONE: u64 = 8;
const WEIGHT_ALL: u64 = 64;

/// Latencies from handout to announcement, as EWMAs, nanoseconds. Of threads that enter
/// one at once, one may be lost: no choice depends on a single one.
#[derive(Debug)]
pub(super) struct Pace {
    all_ns: CachePadded<AtomicU64>,
    holders_ns: Box<[CachePadded<AtomicU64>]>,
}

impl Pace {
    pub(super) fn new(nodes: usize) -> Self {
        let holders_ns = (0..nodes).map(|_| CachePadded::default()).collect();
        Self { all_ns: CachePadded::default(), holders_ns }
    }

    /// A segment came from `holder`, that late; `receiver_ns` is the mean of who received it.
    pub(super) fn note(&self, receiver_ns: &mut u64, holder: NodeId, latency: Duration) {
        let latency_ns = nanoseconds(latency).max(1);
        let was_slow = self.is_slow(*receiver_ns);
        *receiver_ns = ewma(*receiver_ns, latency_ns, WEIGHT_ONE);
        // What takes a slow receiver long says nothing of who sent it.
        if !was_slow {
            enter(&self.holders_ns[holder.index()], latency_ns, WEIGHT_ONE);
        }
        enter(&self.all_ns, latency_ns, WEIGHT_ALL);
    }

    /// What of `most` segments may wait at a holder.
    pub(super) fn load(&self, holder: NodeId, most: u32) -> u32 {
        let share = self.share(read(&self.holders_ns[holder.index()]), most.into());
        u32::try_from(share).map_or(most, |share| share.max(1))
    }

    /// Whether a receiver with that mean is slow.
    pub(super) fn is_slow(&self, receiver_ns: u64) -> bool {
        receiver_ns > self.patience_ns()
    }

    /// What of `most` segments a receiver with that mean may have under way.
    pub(super) fn window(&self, receiver_ns: u64, most: usize) -> usize {
        let share = self.share(receiver_ns, most as u64);
        usize::try_from(share).map_or(most, |share| share.max(2)).min(most)
    }

    /// All for whoever is not slow. For the slow by the square of how slow they are: what they are
    /// given less makes them seem faster.
    fn share(&self, node_ns: u64, most: u64) -> u64 {
        let patience_ns = self.patience_ns();
        if node_ns <= patience_ns {
            return most;
        }
        let part = patience_ns as f64 / node_ns as f64;
        let share = most as f64 * part * part;
        // A share of what is a whole number below 2³².
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let share = share as u64;
        share
    }

    fn patience_ns(&self) -> u64 {
        SLOW_HALVES * read(&self.all_ns) / 2
    }
}

fn read(mean_ns: &AtomicU64) -> u64 {
    // ORDERING: Relaxed; a mean that may be a moment old, steers choices.
    mean_ns.load(Ordering::Relaxed)
}

fn enter(mean_ns: &AtomicU64, latency_ns: u64, weight: u64) {
    // ORDERING: Relaxed; see `read`.
    mean_ns.store(ewma(read(mean_ns), latency_ns, weight), Ordering::Relaxed);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_slow_get_less_and_all_others_all() {
        let pace = Pace::new(3);
        let (mut fast, mut slow) = (0, 0);
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(20));
        for _ in 0..100 {
            for _ in 0..10 {
                pace.note(&mut fast, NodeId(1), short);
            }
            pace.note(&mut slow, NodeId(2), long);
        }
        assert!(!pace.is_slow(fast) && pace.is_slow(slow));
        assert_eq!(pace.window(fast, 16), 16);
        assert!((2..8).contains(&pace.window(slow, 16)), "{}", pace.window(slow, 16));
    }

    #[test]
    fn a_slow_sender_gets_less_and_who_sends_to_a_slow_receiver_does_not() {
        let pace = Pace::new(3);
        let (mut fast, mut slow) = (0, 0);
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(20));
        for _ in 0..100 {
            for _ in 0..20 {
                pace.note(&mut fast, NodeId(1), short);
            }
            pace.note(&mut fast, NodeId(2), long);
            for _ in 0..4 {
                pace.note(&mut fast, NodeId(1), short);
            }
            pace.note(&mut slow, NodeId(1), long);
        }
        assert_eq!(pace.load(NodeId(1), 8), 8);
        assert!((1..4).contains(&pace.load(NodeId(2), 8)), "{}", pace.load(NodeId(2), 8));
    }

    #[test]
    fn nobody_is_slow_before_the_first_segment() {
        let pace = Pace::new(2);
        assert!(!pace.is_slow(0));
        assert_eq!((pace.window(0, 16), pace.load(NodeId(1), 8)), (16, 8));
    }
}
