//! The limits of a machine and of its MPI, and the bounds that follow from them.

pub(crate) mod bounds;

use serde::{Deserialize, Serialize};

/// A run that moved fewer bytes has no bound.
// The limits are measured over buffers of this size. Less lies in caches, from which it is copied at a rate
// that depends on who used them last: the ratio would say nothing of the run.
pub(crate) const BOUND_BYTES_LEAST: usize = 16 << 20;

/// The rates of one core of this machine, or of all together, as the harness measures them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Copies from memory to memory.
    pub copy_bytes_per_second: f64,
    /// Digests of segments.
    pub hash_bytes_per_second: f64,
}

impl Limits {
    /// Whether a bound can be computed from both rates.
    pub fn usable(&self) -> bool {
        [self.copy_bytes_per_second, self.hash_bytes_per_second]
            .into_iter()
            .all(|rate| rate.is_finite() && rate > 0.0)
    }
}

/// The best rates of an MPI between ranks, as the harness measures them.
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
    /// The best message rate of all ranks together that was measured.
    pub fn best_messages_per_second(&self) -> f64 {
        self.messages_per_second.max(self.all_pairs_messages_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_pass_at_the_best_rate_that_was_seen() {
        let one_machine = MpiLimits {
            latency_ns: 200.0,
            bytes_per_second: 1e10,
            messages_per_second: 4e6,
            all_pairs_messages_per_second: 2e6,
            pairs: 2,
        };
        assert!((one_machine.best_messages_per_second() - 4e6).abs() < 1.0);
        let cluster = MpiLimits { all_pairs_messages_per_second: 8e6, ..one_machine };
        assert!((cluster.best_messages_per_second() - 8e6).abs() < 1.0);
    }
}
