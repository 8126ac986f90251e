//! Time as an input: every node is told the time, and only [`Clock`] reads it.
//!
//! So the same nodes run in virtual time, and a test never waits. Nanoseconds in 64 bits last 584
//! years: arithmetic saturates and never wraps.

use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since the start of a run, in a simulation virtual ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time from `earlier` until now; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(duration)))
    }
}

/// A duration as whole nanoseconds, saturating at 584 years.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// An exponentially weighted moving average after one more value, which counts 1 in `weight`. A mean of
/// 0 stands for none yet.
// In integers, as in TCP's smoothed round-trip time (RFC 6298, section 2): the first value is the mean.
pub fn ewma(mean_ns: u64, latest_ns: u64, weight: u64) -> u64 {
    if mean_ns == 0 { latest_ns } else { mean_ns - mean_ns / weight + latest_ns / weight }
}

/// The time of day, for the names and dates of records; nothing is measured with it.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// The monotonic clock of this process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts a clock at zero.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The time since this clock was started.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now(&self) -> Timestamp {
        Timestamp(nanoseconds(Instant::now() - self.origin))
    }
}
