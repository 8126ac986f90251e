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
    /// 1.5 as a fraction, in whole numbers. Among peers alike, chance alone makes an EWMA of weight
    /// 1/8 deviate by a quarter of what single latencies do; half the mean on top leaves room for
    /// that, and a link of half the rate, whose latency is 2 x the mean, is still seen. Chosen so; the
    /// bounds of `tests/policy.rs` and `tests/worlds.rs` hold with it and these weights.
    const SLOW_NUMERATOR: u64 = 3;
    const SLOW_DENOMINATOR: u64 = 2;

    /// The weight of a new latency in a peer's EWMA is 1/8, as alpha in RFC 6298: one late segment
    /// makes nobody slow unless it took 5 x the mean.
    const PEER_WEIGHT: u64 = 8;

    /// In the EWMA of all it is 1/64: it hears of every peer, so that as much history of each needs
    /// more of them, and a burst from one slow peer must not raise the mean that it is compared with.
    const ALL_WEIGHT: u64 = 64;

    /// A peer's EWMA after one more latency, nanoseconds; 0 stands for none yet.
    pub(super) fn updated(peer_ns: u64, latency: Duration) -> u64 {
        ewma(peer_ns, nanoseconds(latency).max(1), Self::PEER_WEIGHT)
    }

    /// Takes a latency into account, whoever it is of. Of two threads that do so at once one may be
    /// lost: no choice depends on a single latency.
    pub(super) fn record(&self, latency: Duration) {
        // ORDERING: Relaxed; an EWMA that may be a moment old, steers choices, publishes nothing.
        let all_ns = self.all_ns.load(Ordering::Relaxed);
        let all_ns = ewma(all_ns, nanoseconds(latency).max(1), Self::ALL_WEIGHT);
        // ORDERING: Relaxed; as above.
        self.all_ns.store(all_ns, Ordering::Relaxed);
    }

    /// Whether a peer with that EWMA is slow.
    pub(super) fn is_slow(&self, peer_ns: u64) -> bool {
        peer_ns > self.threshold_ns()
    }

    /// The EWMA above which a peer is slow.
    pub(super) fn threshold_ns(&self) -> u64 {
        // ORDERING: Relaxed; see `record`.
        self.all_ns.load(Ordering::Relaxed) * Self::SLOW_NUMERATOR / Self::SLOW_DENOMINATOR
    }
}
