//! Limits on the payload that a rank moves, and how long nodes wait because of them.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;

/// What passes at once under a limit, as the time of that limit; at least a segment passes.
// A rank whose core others use is away for some time slices of Linux (0.7 to 3 ms each), and one that rests looks
// every millisecond: it makes up then for what it could not move. Short beside the second of the limit, so that
// nobody who watches a network sees the burst.
pub const RATE_BURST: Duration = Duration::from_millis(50);

/// Payload that a rank sends and receives, at most, bytes a second; none: as much as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimits {
    /// What it sends.
    pub up: Option<NonZeroU64>,
    /// What it receives.
    pub down: Option<NonZeroU64>,
}

impl RateLimits {
    /// Whether there is a limit.
    pub fn is_limited(self) -> bool {
        self.slowest().is_some()
    }

    /// The lower limit of either direction.
    pub fn slowest(self) -> Option<NonZeroU64> {
        self.up.into_iter().chain(self.down).min()
    }

    /// In each direction the lowest limit of all ranks.
    pub fn lowest_of(ranks: &[Self]) -> Self {
        let up = ranks.iter().filter_map(|limits| limits.up).min();
        Self { up, down: ranks.iter().filter_map(|limits| limits.down).min() }
    }
}

/// How long `bytes` take at a limit; no time without one.
pub(crate) fn limited_time(bytes: usize, limit: Option<NonZeroU64>) -> Duration {
    let seconds = |limit: NonZeroU64| bytes as f64 / limit.get() as f64;
    let time = |limit| Duration::try_from_secs_f64(seconds(limit)).unwrap_or(Duration::MAX);
    limit.map_or(Duration::ZERO, time)
}

impl Config {
    /// The same with requests that wait longer, by what the lowest limits of any rank make of them at most.
    // A request that is withdrawn because of a limit would be made elsewhere, where the same limit holds. Who is
    // silent is known by its messages, which no limit holds back.
    #[must_use]
    pub fn waiting_for(mut self, lowest: RateLimits, segment_bytes: usize) -> Self {
        let segments = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        // Before it leave what its holder sends to fast and to slow receivers, and the holder's queue.
        let before = segments(2 * self.uploads + self.upload_queue);
        let up = limited_time(segment_bytes, lowest.up).saturating_mul(before);
        // Its receiver has held it back for all others that it has in flight.
        let down = limited_time(segment_bytes, lowest.down);
        let down = down.saturating_mul(segments(self.flights_max()));
        self.request_patience = self.request_patience.saturating_add(up).saturating_add(down);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_waits_for_what_a_limit_makes_of_a_window_and_for_nothing_without_one() {
        const SEGMENT: usize = 1 << 20;
        let plain = Config::over_links(SEGMENT);
        let waited = |up, down| {
            let limits = RateLimits { up: NonZeroU64::new(up), down: NonZeroU64::new(down) };
            let config = plain.clone().waiting_for(limits, SEGMENT);
            let longer = config.request_patience - plain.request_patience;
            assert_eq!(Config { request_patience: plain.request_patience, ..config }, plain);
            longer
        };
        assert_eq!(waited(0, 0), Duration::ZERO);
        let window = u32::try_from(plain.window).expect("a few segments");
        assert!(waited(0, 1 << 20) >= Duration::from_secs(1) * window);
        assert!(waited(1 << 20, 0) >= Duration::from_secs(1) * window);
        let longest = RateLimits { up: NonZeroU64::new(1), down: NonZeroU64::new(1) };
        let config = plain.waiting_for(longest, usize::MAX);
        assert_eq!(config.request_patience, Duration::MAX, "it does not overflow");
    }

    #[test]
    fn the_lowest_limits_of_all_are_those_of_any() {
        let limits = |up, down| RateLimits { up: NonZeroU64::new(up), down: NonZeroU64::new(down) };
        let all = [limits(0, 7), limits(5, 9), limits(0, 0), limits(6, 0)];
        let lowest = RateLimits::lowest_of(&all);
        assert_eq!(lowest, limits(5, 7));
        assert_eq!(lowest.slowest(), NonZeroU64::new(5));
        assert!(lowest.is_limited() && !RateLimits::default().is_limited());
    }
}
