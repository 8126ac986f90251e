//! Time as an input: every node is told the time, and only [`Clock`] reads it.

use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds since the start of a run. In a simulation, virtual nanoseconds.
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

// Integer arithmetic, as TCP's: no rounding depends on the machine, so that simulated runs are the same
// everywhere.
/// An exponentially weighted moving average after one more value, whose weight is 1 in `weight`; 0 stands for none yet.
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
