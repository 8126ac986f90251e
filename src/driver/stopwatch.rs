//! Measures what a rank's time goes to.

use std::time::Duration;

use crate::metrics::usage::Meter;
use crate::metrics::{Activity, TimeSpent};
use crate::time::{Clock, Timestamp};

/// Splits the time of one thread among its activities, while the run is open. Every moment counts for
/// exactly one activity, so that the shares add up to 1.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    meter: Meter,
    clock: Clock,
    /// When the last lap ended.
    last: Timestamp,
    counts: bool,
    spent: TimeSpent,
}

impl Stopwatch {
    pub(crate) fn start(clock: &Clock, meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            clock: *clock,
            last: clock.now(),
            counts: false,
            spent: TimeSpent::default(),
        }
    }

    /// Counts the time since the last lap for `activity`. Returns the time now.
    pub(crate) fn lap(&mut self, activity: Activity) -> Timestamp {
        let now = self.clock.now();
        let time = if self.counts { now.since(self.last) } else { Duration::ZERO };
        self.spent.add(activity, time);
        self.last = now;
        now
    }

    /// Whether laps count from now on. Returns whether they begin to: the run has opened.
    pub(crate) fn count(&mut self, counts: bool) -> bool {
        let begins = counts && !self.counts;
        if begins {
            self.meter.open();
        }
        self.counts = counts;
        begins
    }

    pub(crate) fn spent(&self) -> TimeSpent {
        self.spent
    }
}
