//! Adaptive limits: a slow peer is given less at a time, as a receiver and as a holder. Segments that
//! queue for a slow link are missing elsewhere.

use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::manifest::NodeId;
use crate::protocol::slow_peers::SlowPeers;
use crate::sync::{AtomicU64, Ordering};

/// Latencies from handout to announcement.
// The EWMA of a receiver is in its account, which one thread has to itself; those of holders are
// shared by all service threads.
#[derive(Debug)]
pub(super) struct AdaptiveLimits {
    slow_peers: CachePadded<SlowPeers>,
    /// By rank: the latency EWMA as a holder, nanoseconds.
    holders_ns: Box<[CachePadded<AtomicU64>]>,
}

impl AdaptiveLimits {
    pub(super) fn new(nodes: usize) -> Self {
        let holders_ns = (0..nodes).map(|_| CachePadded::default()).collect();
        Self { slow_peers: CachePadded::default(), holders_ns }
    }

    /// A segment came from `holder`; `receiver_ns` is the EWMA of the peer that received it.
    pub(super) fn record(&self, receiver_ns: &mut u64, holder: NodeId, latency: Duration) {
        // The latency of a slow receiver says nothing about its holders.
        if !self.is_slow(*receiver_ns) {
            let holder_ns = &self.holders_ns[holder.index()];
            // ORDERING: Relaxed; as in `SlowPeers::record`.
            let latest_ns = SlowPeers::updated(holder_ns.load(Ordering::Relaxed), latency);
            // ORDERING: Relaxed; as above.
            holder_ns.store(latest_ns, Ordering::Relaxed);
        }
        *receiver_ns = SlowPeers::updated(*receiver_ns, latency);
        self.slow_peers.record(latency);
    }

    pub(super) fn is_slow(&self, receiver_ns: u64) -> bool {
        self.slow_peers.is_slow(receiver_ns)
    }

    /// Segments that may wait at a holder, of `most` at one that is not slow.
    pub(super) fn holder_limit(&self, holder: NodeId, most: u32) -> u32 {
        // ORDERING: Relaxed; an EWMA that may be a moment old, steers choices.
        let holder_ns = self.holders_ns[holder.index()].load(Ordering::Relaxed);
        let share = self.share(holder_ns, most.into());
        // At least 1: a holder that sends nothing would never be seen to recover.
        u32::try_from(share).map_or(most, |share| share.max(1))
    }

    /// Segments that a receiver with that EWMA may have under way, of `most` if it is not slow.
    pub(super) fn window(&self, receiver_ns: u64, most: usize) -> usize {
        let share = self.share(receiver_ns, most as u64);
        // At least 2: one is on its way while the next is asked for, so that the link never idles.
        usize::try_from(share).map_or(most, |share| share.max(2)).min(most)
    }

    /// All of `most` for a node that is not slow, else `most` x (threshold / EWMA)^2.
    // By Little's law latency is proportional to what is under way: a node that is given less seems
    // faster, and would be given more again. With the square both settle lower.
    fn share(&self, node_ns: u64, most: u64) -> u64 {
        let threshold_ns = self.slow_peers.threshold_ns();
        if node_ns <= threshold_ns {
            return most;
        }
        let ratio = threshold_ns as f64 / node_ns as f64;
        let share = most as f64 * ratio * ratio;
        // The share of an integer below 2^32.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let share = share as u64;
        share
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_slow_get_less_and_all_others_all() {
        let limits = AdaptiveLimits::new(3);
        let (mut fast, mut slow) = (0, 0);
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(20));
        for _ in 0..100 {
            for _ in 0..10 {
                limits.record(&mut fast, NodeId(1), short);
            }
            limits.record(&mut slow, NodeId(2), long);
        }
        assert!(!limits.is_slow(fast) && limits.is_slow(slow));
        assert_eq!(limits.window(fast, 16), 16);
        assert!((2..8).contains(&limits.window(slow, 16)), "{}", limits.window(slow, 16));
    }

    #[test]
    fn a_slow_sender_gets_less_and_who_sends_to_a_slow_receiver_does_not() {
        let limits = AdaptiveLimits::new(3);
        let (mut fast, mut slow) = (0, 0);
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(20));
        for _ in 0..100 {
            for _ in 0..20 {
                limits.record(&mut fast, NodeId(1), short);
            }
            limits.record(&mut fast, NodeId(2), long);
            for _ in 0..4 {
                limits.record(&mut fast, NodeId(1), short);
            }
            limits.record(&mut slow, NodeId(1), long);
        }
        assert_eq!(limits.holder_limit(NodeId(1), 8), 8);
        assert!(
            (1..4).contains(&limits.holder_limit(NodeId(2), 8)),
            "{}",
            limits.holder_limit(NodeId(2), 8)
        );
    }

    #[test]
    fn nobody_is_slow_before_the_first_segment() {
        let limits = AdaptiveLimits::new(2);
        assert!(!limits.is_slow(0));
        assert_eq!((limits.window(0, 16), limits.holder_limit(NodeId(1), 8)), (16, 8));
    }
}
