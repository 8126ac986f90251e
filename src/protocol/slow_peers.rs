//! Which peers are slow? One detector for both ends of the protocol: the tracker watches the time
//! from handout to announcement, a holder the time that a segment takes to leave.
//!
//! A peer is slow if its latency EWMA exceeds 1.5 x the EWMA of all latencies. The estimator is that
//! of TCP's smoothed round-trip time (RFC 6298, section 2).

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};
use crate::time::{ewma, nanoseconds};

/// The EWMA of all latencies, with which that of each peer is compared.
#[derive(Debug, Default)]
pub(super) struct SlowPeers {
    all_ns: AtomicU64,
}

impl SlowPeers {
    // The factor 1.5, in whole numbers. An EWMA of weight 1/8 has a quarter of the standard deviation
    // of single latencies: half the mean on top leaves room for chance, and a link of half the rate,
    // whose latency is 2 x the mean, is still seen. The bounds of `tests/policy.rs` and
    // `tests/worlds.rs` hold with this factor and these weights.
    const SLOW_NUMERATOR: u64 = 3;
    const SLOW_DENOMINATOR: u64 = 2;

    // A new latency has weight 1/8 in the EWMA of its peer, as alpha in RFC 6298: one late segment
    // makes no peer slow unless it took 5 x the mean.
    const PEER_WEIGHT: u64 = 8;

    // And 1/64 in the EWMA of all: as much history of 8 peers as a peer's own EWMA has of one, so that
    // a burst from a slow peer hardly raises the mean that it is compared with.
    const ALL_WEIGHT: u64 = 64;

    /// A peer's EWMA after one more latency, nanoseconds; 0 stands for none yet.
    pub(super) fn updated(peer_ns: u64, latency: Duration) -> u64 {
        ewma(peer_ns, nanoseconds(latency).max(1), Self::PEER_WEIGHT)
    }

    /// Enters a latency of any peer.
    // Load and store, not compare-and-swap: of two threads at once the latency of one may be lost, and
    // no choice depends on a single latency.
    pub(super) fn record(&self, latency: Duration) {
        // ORDERING: Relaxed; an EWMA that may be a moment old, steers choices, publishes nothing.
        let all_ns = self.all_ns.load(Ordering::Relaxed);
        let all_ns = ewma(all_ns, nanoseconds(latency).max(1), Self::ALL_WEIGHT);
        // ORDERING: Relaxed; as above.
        self.all_ns.store(all_ns, Ordering::Relaxed);
    }

    pub(super) fn is_slow(&self, peer_ns: u64) -> bool {
        peer_ns > self.threshold_ns()
    }

    /// The EWMA above which a peer is slow.
    pub(super) fn threshold_ns(&self) -> u64 {
        // ORDERING: Relaxed; see `record`.
        self.all_ns.load(Ordering::Relaxed) * Self::SLOW_NUMERATOR / Self::SLOW_DENOMINATOR
    }
}
