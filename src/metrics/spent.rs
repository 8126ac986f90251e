//! Where does a rank's time go? Every moment from the opening of the swarm to the end belongs to
//! one activity, so that the shares add up to 1.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::nanoseconds;

/// What the thread of a rank is doing.
// A waiting rank is idle to the system but not to the reader, who asks for whom it waits: the three
// kinds of waiting are told apart by what the peer's state machine lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It waits for the tracker's answer.
    AwaitingTracker,
    /// It waits for a holder's segment.
    AwaitingHolder,
    /// The transport moves messages and segments.
    Moving,
    /// It hashes segments.
    Verifying,
    /// It waits until the last files are written.
    Writing,
    /// The state machine handles inputs, and its outputs are performed.
    Deciding,
    /// It has nothing to do.
    Idle,
}

// Times of one thread that exclude each other: they add up to the time of the run.
/// Time by activity, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpent {
    pub(super) by_activity: [u64; TimeSpent::ACTIVITIES],
}

/// The part of their time that ranks spent on each activity. The parts add up to 1, or are all 0 if no
/// time was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is named after its activity")]
pub struct TimeShares {
    pub awaiting_tracker: f64,
    pub awaiting_holder: f64,
    pub moving: f64,
    pub verifying: f64,
    pub writing: f64,
    pub deciding: f64,
    pub idle: f64,
}

impl TimeSpent {
    // One for each `Activity`.
    pub(super) const ACTIVITIES: usize = 7;

    /// Adds time to an activity.
    pub fn add(&mut self, activity: Activity, time: Duration) {
        let sum = &mut self.by_activity[activity as usize];
        *sum = sum.saturating_add(nanoseconds(time));
    }

    /// All time that was counted.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.by_activity.iter().fold(0, |sum, &ns| sum.saturating_add(ns)))
    }

    /// By activity, in the order of [`TimeShares`], µs.
    pub fn microseconds(&self) -> [u64; Self::ACTIVITIES] {
        self.by_activity.map(|ns| ns / 1000)
    }

    /// The part of each activity.
    pub fn shares(&self) -> TimeShares {
        let total = nanoseconds(self.total()).max(1) as f64;
        let [awaiting_tracker, awaiting_holder, moving, verifying, writing, deciding, idle] =
            self.by_activity.map(|ns| ns as f64 / total);
        TimeShares { awaiting_tracker, awaiting_holder, moving, verifying, writing, deciding, idle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_one() {
        let mut spent = TimeSpent::default();
        assert_eq!(spent.shares(), TimeShares::default());
        spent.add(Activity::AwaitingTracker, Duration::from_nanos(1));
        spent.add(Activity::Verifying, Duration::from_nanos(5));
        spent.add(Activity::Idle, Duration::from_nanos(2));
        let shares = spent.shares();
        assert_eq!((shares.awaiting_tracker, shares.verifying, shares.idle), (0.125, 0.625, 0.25));
        assert_eq!(spent.total(), Duration::from_nanos(8));
    }
}
