//! The limits of a machine and of its MPI, which stand beside every result.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one core of this machine can do, or all of them together. The harness measures it on the
/// spot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes that are copied in a second, from memory to memory.
    pub copy_bytes_per_second: f64,
    /// Bytes that are hashed in a second, SHA-256.
    pub hash_bytes_per_second: f64,
}

impl Limits {
    /// Whether both rates are numbers that a bound can be computed from.
    pub fn usable(&self) -> bool {
        [self.copy_bytes_per_second, self.hash_bytes_per_second]
            .into_iter()
            .all(|rate| rate.is_finite() && rate > 0.0)
    }
}

/// What an MPI carries between ranks at best. The harness measures it on the spot.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MpiLimits {
    /// Half a round trip of 8 bytes between the first rank and the last, ns.
    pub latency_ns: f64,
    /// Bytes that arrive in a second when one of these two sends 1 MiB at a time.
    pub bytes_per_second: f64,
    /// Messages of 64 bytes that arrive in a second when one of these two sends many at once.
    pub messages_per_second: f64,
    /// The same of all pairs of ranks at once, together.
    pub all_pairs_messages_per_second: f64,
    /// How many pairs these were.
    pub pairs: u32,
}

impl MpiLimits {
    /// Messages that all ranks together receive in a second at best, as far as it was seen.
    pub fn best_messages_per_second(&self) -> f64 {
        self.messages_per_second.max(self.all_pairs_messages_per_second)
    }
}

/// Lower bounds on the makespan of one workload. All of them hold, so that the largest is the one
/// to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Each byte is copied and hashed, by cores that are as fast together as one of them alone.
    pub cores: Duration,
    /// Each byte is copied and hashed, at the rate of all cores at once; none where that was not
    /// measured.
    pub all_cores: Option<Duration>,
    /// Each message passes the MPI; none over threads.
    pub messages: Option<Duration>,
}

/// What bounds a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bottleneck {
    /// Copying and hashing, at the rate of one core times their number.
    Cores,
    /// Copying and hashing, at the rate of all cores at once.
    AllCores,
    /// The number of messages.
    Messages,
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cores => "copying and hashing, each core as fast as one alone",
            Self::AllCores => "copying and hashing on all cores at once",
            Self::Messages => "the message rate of the MPI",
        })
    }
}

impl Bounds {
    /// The largest of the bounds, and what it comes from.
    pub fn largest(&self) -> (Bottleneck, Duration) {
        let mut largest = (Bottleneck::Cores, self.cores);
        let others =
            [(Bottleneck::AllCores, self.all_cores), (Bottleneck::Messages, self.messages)];
        for (bottleneck, bound) in others {
            if let Some(bound) = bound.filter(|&bound| bound > largest.1) {
                largest = (bottleneck, bound);
            }
        }
        largest
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bottleneck, bound) = self.largest();
        write!(f, "{bound:.3?} at least, by {bottleneck}")
    }
}

/// The shortest time in which all ranks together receive `messages` messages: messages ÷ the
/// message rate at 64 bytes. A segment is one message, and so is what is said about it.
///
/// A rate of zero gives [`Duration::MAX`].
pub fn message_bound(messages: u64, limits: &MpiLimits) -> Duration {
    let seconds = messages as f64 / limits.best_messages_per_second();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// The shortest time in which `cores` cores of one machine can deliver `bytes` bytes, when each
/// byte costs one copy and one hash: bytes × (1 ÷ copy + 1 ÷ hash) ÷ cores.
///
/// No core counts as one. A rate of zero gives [`Duration::MAX`].
pub fn bound(bytes: u64, cores: usize, limits: &Limits) -> Duration {
    let seconds_per_byte =
        limits.copy_bytes_per_second.recip() + limits.hash_bytes_per_second.recip();
    let seconds = bytes as f64 * seconds_per_byte / cores.max(1) as f64;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { copy_bytes_per_second: 4e9, hash_bytes_per_second: 1e9 };

    #[test]
    fn a_byte_costs_a_copy_and_a_hash() {
        assert_eq!(bound(4_000_000_000, 1, &LIMITS), Duration::from_secs(5));
        assert_eq!(bound(4_000_000_000, 2, &LIMITS), Duration::from_millis(2500));
        assert_eq!(bound(4_000_000_000, 0, &LIMITS), Duration::from_secs(5));
        assert_eq!(bound(0, 2, &LIMITS), Duration::ZERO);
    }

    const MPI: MpiLimits = MpiLimits {
        latency_ns: 200.0,
        bytes_per_second: 1e10,
        messages_per_second: 4e6,
        all_pairs_messages_per_second: 2e6,
        pairs: 2,
    };

    #[test]
    fn messages_pass_at_the_best_rate_that_was_seen() {
        assert_eq!(message_bound(8_000_000, &MPI), Duration::from_secs(2));
        let on_a_cluster = MpiLimits { all_pairs_messages_per_second: 8e6, ..MPI };
        assert_eq!(message_bound(8_000_000, &on_a_cluster), Duration::from_secs(1));
        let broken =
            MpiLimits { messages_per_second: 0.0, all_pairs_messages_per_second: 0.0, ..MPI };
        assert_eq!(message_bound(1, &broken), Duration::MAX);
    }

    #[test]
    fn the_largest_bound_counts_and_is_named() {
        let second = Duration::from_secs(1);
        let only = Bounds { cores: second, all_cores: None, messages: None };
        assert_eq!(only.largest(), (Bottleneck::Cores, second));
        let small = Bounds { messages: Some(3 * second), all_cores: Some(2 * second), ..only };
        assert_eq!(small.largest(), (Bottleneck::Messages, 3 * second));
        assert_eq!(small.to_string(), "3.000s at least, by the message rate of the MPI");
        let large = Bounds { messages: Some(second / 2), ..small };
        assert_eq!(large.largest(), (Bottleneck::AllCores, 2 * second));
    }

    #[test]
    fn broken_rates_are_noticed() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let limits = Limits { hash_bytes_per_second: rate, ..LIMITS };
            assert!(!limits.usable());
            let _does_not_panic = bound(1, 1, &limits);
        }
        assert!(LIMITS.usable());
    }
}
