//! A token bucket: what passes is limited to a rate, and to a burst beside it.
//!
//! In any time t at most rate x t + burst passes, where the burst is the depth of the bucket or one segment,
//! whichever is more: a segment larger than the bucket needs a full one, and leaves a debt. (The meter of RFC
//! 2697, which has no debts; segments are no packets, and may be larger than any bucket.)

use std::num::NonZeroU64;
use std::time::Duration;

use crate::config::RATE_BURST;
use crate::time::{Timestamp, nanoseconds};

// Tokens in a byte. With so many, a nanosecond brings a whole number of them at any rate.
const TOKENS_PER_BYTE: i128 = 1_000_000_000;

/// A bucket of one direction.
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// Also tokens a nanosecond.
    bytes_per_second: u64,
    depth: i128,
    /// Below zero it is a debt.
    tokens: i128,
    /// When they were so many.
    filled: Timestamp,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(bytes_per_second: NonZeroU64, now: Timestamp) -> Self {
        let bytes_per_second = bytes_per_second.get();
        let depth = i128::from(nanoseconds(RATE_BURST)) * i128::from(bytes_per_second);
        Self { bytes_per_second, depth, tokens: depth, filled: now }
    }

    /// Takes the tokens of `bytes`, or none where it has too few.
    pub(super) fn take(&mut self, now: Timestamp, bytes: usize) -> bool {
        let gained = i128::from(nanoseconds(now.since(self.filled)));
        let gained = gained.saturating_mul(self.bytes_per_second.into());
        self.tokens = self.tokens.saturating_add(gained).min(self.depth);
        self.filled = self.filled.max(now);
        let has_enough = self.tokens >= self.needed(bytes);
        if has_enough {
            self.tokens -= tokens_of(bytes);
        }
        has_enough
    }

    /// Gives back what was taken for `bytes` that did not come.
    pub(super) fn give_back(&mut self, bytes: usize) {
        self.tokens = self.depth.min(self.tokens + tokens_of(bytes));
    }

    /// When it has the tokens of `bytes`.
    pub(super) fn ready_at(&self, bytes: usize) -> Timestamp {
        let missing = (self.needed(bytes) - self.tokens).max(0);
        // Rounded up: a moment earlier it would still have too few.
        let rate = i128::from(self.bytes_per_second);
        let wait = (missing + rate - 1) / rate;
        self.filled + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    fn needed(&self, bytes: usize) -> i128 {
        tokens_of(bytes).min(self.depth)
    }
}

fn tokens_of(bytes: usize) -> i128 {
    bytes as i128 * TOKENS_PER_BYTE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(bytes_per_second: u64) -> TokenBucket {
        let rate = NonZeroU64::new(bytes_per_second).expect("a rate");
        TokenBucket::new(rate, Timestamp::default())
    }

    /// When each of these may pass, one behind the other, and as early as can be.
    fn passed(bucket: &mut TokenBucket, sizes: impl Iterator<Item = usize>) -> Vec<Timestamp> {
        let mut now = Timestamp::default();
        let mut pass = |bytes| {
            let ready = bucket.ready_at(bytes).max(now);
            if ready > now {
                let early = Timestamp(ready.0 - 1);
                assert!(!bucket.take(early, bytes), "{bytes} bytes pass before {ready:?}");
            }
            assert!(bucket.take(ready, bytes), "{bytes} bytes do not pass at {ready:?}");
            now = ready;
            ready
        };
        sizes.map(&mut pass).collect()
    }

    #[test]
    fn what_passes_is_the_rate_and_a_burst_whatever_the_sizes() {
        const RATE: u32 = 1_000_003;
        let depth = RATE as usize / 20 + 1;
        let rate = f64::from(RATE);
        for size in [0, 1, 7, 1000, depth - 1, depth, depth + 1, 3 * depth, 1 << 31] {
            let mut bucket = bucket(RATE.into());
            let all = passed(&mut bucket, std::iter::repeat_n(size, 200));
            let burst = depth.max(size) as f64;
            for (count, time) in (1..).zip(&all) {
                let most = burst + rate * time.0 as f64 / 1e9;
                assert!(
                    f64::from(count) * size as f64 <= most + 1.0,
                    "{size}: {count} by {time:?}"
                );
            }
            // And hardly less: nothing of the rate is lost.
            let least = (199.0 * size as f64 - burst) / rate;
            let last = all[199].0 as f64 / 1e9;
            assert!(last <= least.max(0.0) + 2.0 * burst / rate, "{size}: {last} s");
        }
    }

    #[test]
    fn a_bucket_that_rests_fills_to_its_depth_and_no_further() {
        let mut bucket = bucket(1000);
        assert!(bucket.take(Timestamp::default(), 50));
        let later = Timestamp(3_600_000_000_000);
        assert!(bucket.take(later, 50) && !bucket.take(later, 1));
        assert_eq!(bucket.ready_at(1), later + Duration::from_millis(1));
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_no_more_than_that() {
        let mut bucket = bucket(1000);
        let now = Timestamp::default();
        assert!(bucket.take(now, 5000) && !bucket.take(now, 1));
        bucket.give_back(5000);
        assert!(bucket.take(now, 50) && !bucket.take(now, 1));
        bucket.give_back(50);
        bucket.give_back(50);
        assert!(bucket.take(now, 50) && !bucket.take(now, 1));
    }

    #[test]
    fn no_rate_no_size_and_no_time_overflows_it() {
        for rate in [1, u64::MAX] {
            let mut bucket = bucket(rate);
            assert!(bucket.take(Timestamp(u64::MAX), usize::MAX));
            assert!(bucket.ready_at(usize::MAX) >= Timestamp::default());
            assert!(!bucket.take(Timestamp::default(), usize::MAX));
        }
    }
}
