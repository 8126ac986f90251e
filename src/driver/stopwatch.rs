//! What a rank's time goes to, lap by lap.

use std::time::Duration;

use crate::metrics::usage::Meter;
use crate::metrics::{Activity, TimeSpent};
use crate::time::{Clock, Timestamp};

/// Splits the time of one thread among its activities, while the swarm is open.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    /// Is told when the swarm opens.
    meter: Meter,
    clock: Clock,
    mark: Timestamp,
    counts: bool,
    spent: TimeSpent,
}

impl Stopwatch {
    pub(crate) fn start(clock: &Clock, meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            clock: *clock,
            mark: clock.now(),
            counts: false,
            spent: TimeSpent::default(),
        }
    }

    /// The time since the last lap was spent on `activity`; returns the time now.
    pub(crate) fn lap(&mut self, activity: Activity) -> Timestamp {
        let now = self.clock.now();
        let time = if self.counts { now.since(self.mark) } else { Duration::ZERO };
        self.spent.add(activity, time);
        self.mark = now;
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
