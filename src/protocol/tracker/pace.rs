//! Who is slower than the rest? Whoever takes long, as the one who receives or as the one who sends,
//! is given less at a time: on a slow link segments wait that are then missing elsewhere.

use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::manifest::NodeId;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::time::nanoseconds;

/// What is so many halves of the mean latency of all is slow.
const SLOW_HALVES: u64 = 3;

/// How much of a mean one new latency is: of one node's, and of all peers'.
const WEIGHT_ONE: u64 = 8;
const WEIGHT_ALL: u64 = 32;

/// Latencies from handout to announcement, in the mean of late, nanoseconds. Of threads that enter
/// one at once, one may be lost: no choice depends on a single one.
#[derive(Debug)]
pub(super) struct Pace {
    all_ns: CachePadded<AtomicU64>,
    holders: Box<[CachePadded<HolderPace>]>,
}

/// How long a holder takes, and what may wait there for that.
#[derive(Debug)]
struct HolderPace {
    mean_ns: AtomicU64,
    limit: AtomicU32,
}

impl Pace {
    pub(super) fn new(nodes: usize) -> Self {
        let holder = |_| HolderPace { mean_ns: AtomicU64::new(0), limit: AtomicU32::new(u32::MAX) };
        let holders = (0..nodes).map(holder).map(CachePadded::new).collect();
        Self { all_ns: CachePadded::new(AtomicU64::new(0)), holders }
    }

    /// A segment came, that late; `receiver_ns` is the mean of who received it.
    pub(super) fn note(receiver_ns: &mut u64, latency: Duration) {
        *receiver_ns = mean(*receiver_ns, nanoseconds(latency).max(1), WEIGHT_ONE);
    }

    /// A holder sent one, that late. Returns what of `most` segments may wait there from now on, if
    /// that is not what it was.
    pub(super) fn note_holder(&self, node: NodeId, latency: Duration, most: u32) -> Option<u32> {
        let holder = &self.holders[node.index()];
        let mean_ns = enter(&holder.mean_ns, nanoseconds(latency).max(1), WEIGHT_ONE);
        let share = self.share(mean_ns, most.into());
        let limit = if share < most.into() { u32::try_from(share.max(1)).ok()? } else { u32::MAX };
        // ORDERING: Relaxed; it steers choices, publishes nothing.
        let changed = holder.limit.load(Ordering::Relaxed) != limit;
        if changed {
            // ORDERING: Relaxed; as above.
            holder.limit.store(limit, Ordering::Relaxed);
        }
        changed.then_some(limit)
    }

    /// A receiver with that mean asks: what all take is what those take who ask.
    pub(super) fn note_all(&self, receiver_ns: u64) {
        if receiver_ns > 0 {
            enter(&self.all_ns, receiver_ns, WEIGHT_ALL);
        }
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

fn mean(mean_ns: u64, latency_ns: u64, weight: u64) -> u64 {
    if mean_ns == 0 { latency_ns } else { mean_ns - mean_ns / weight + latency_ns / weight }
}

fn read(mean_ns: &AtomicU64) -> u64 {
    // ORDERING: Relaxed; a mean that may be a moment old, steers choices.
    mean_ns.load(Ordering::Relaxed)
}

/// Enters a latency into a mean; returns the new mean.
fn enter(mean_ns: &AtomicU64, latency_ns: u64, weight: u64) -> u64 {
    let mean_now = mean(read(mean_ns), latency_ns, weight);
    // ORDERING: Relaxed; see `read`.
    mean_ns.store(mean_now, Ordering::Relaxed);
    mean_now
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
                Pace::note(&mut fast, short);
                pace.note_all(fast);
                assert_eq!(pace.note_holder(NodeId(1), short, 8), None);
            }
            Pace::note(&mut slow, long);
            pace.note_all(slow);
        }
        assert!(!pace.is_slow(fast) && pace.is_slow(slow));
        assert_eq!(pace.window(fast, 16), 16);
        assert!((2..8).contains(&pace.window(slow, 16)), "{}", pace.window(slow, 16));
        let limit = pace.note_holder(NodeId(2), long, 8).expect("it is another than before");
        assert!((1..4).contains(&limit), "{limit}");
        assert_eq!(pace.note_holder(NodeId(2), long, 8), None);
    }

    #[test]
    fn nobody_is_slow_before_the_first_segment() {
        let pace = Pace::new(2);
        assert!(!pace.is_slow(0));
        assert_eq!(pace.window(0, 16), 16);
    }
}
