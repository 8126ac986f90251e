//! Measures what a rank's time goes to.

use std::time::Duration;

use crate::metrics::trace::{SpanKind, TraceRecorder};
use crate::metrics::usage::Meter;
use crate::metrics::{Activity, TimeSpent};
use crate::time::{Clock, Timestamp};
use crate::transport::HeldBack;

// Shorter waits are not traced. A thread that has work waits for some microseconds between any two messages, and
// such waits alone would fill the buffer; a person sees none below this among thousands of segments.
const TRACED_WAIT_LEAST: Duration = Duration::from_micros(10);

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
    /// None where no trace is kept.
    waits: Option<WaitTrace>,
}

impl Stopwatch {
    pub(crate) fn start(clock: &Clock, meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            clock: *clock,
            last: clock.now(),
            counts: false,
            spent: TimeSpent::default(),
            waits: None,
        }
    }

    /// Counts the time since the last lap for `activity`. Returns the time now.
    pub(crate) fn lap(&mut self, activity: Activity) -> Timestamp {
        let now = self.clock.now();
        let time = if self.counts { now.since(self.last) } else { Duration::ZERO };
        self.spent.add(activity, time);
        if let Some(waits) = &mut self.waits {
            waits.lap(activity, self.last, now);
        }
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

    /// Has the waits of this thread recorded from now on: the swarm has opened.
    pub(crate) fn trace(&mut self, recorder: Option<TraceRecorder>) {
        self.waits = recorder.map(|mut recorder| {
            recorder.open(self.last);
            WaitTrace { recorder, wait: None, held: HeldBack::default() }
        });
    }

    /// Where a trace is kept, says what a limit on bytes a second holds back from now on.
    pub(crate) fn hold_back(&mut self, held: impl FnOnce() -> HeldBack) {
        if let Some(waits) = &mut self.waits {
            waits.held = held();
        }
    }

    pub(crate) fn spent(&self) -> TimeSpent {
        self.spent
    }
}

/// Records the waits of a thread: one that is interrupted by nothing is one span, however often the thread looks
/// whether it is over.
#[derive(Debug)]
struct WaitTrace {
    recorder: TraceRecorder,
    /// The wait that may go on, from and until when.
    wait: Option<(SpanKind, Timestamp, Timestamp)>,
    held: HeldBack,
}

impl WaitTrace {
    #[cold]
    fn lap(&mut self, activity: Activity, from: Timestamp, to: Timestamp) {
        let kind = match activity {
            Activity::AwaitingTracker => Some(SpanKind::AwaitingTracker),
            // No holder has been asked for these yet.
            Activity::AwaitingHolder if self.held.requests => Some(SpanKind::AwaitingLimit),
            Activity::Idle if self.held.segments => Some(SpanKind::AwaitingLimit),
            Activity::AwaitingHolder => Some(SpanKind::AwaitingHolder),
            Activity::Writing => Some(SpanKind::AwaitingDisk),
            Activity::Idle => Some(SpanKind::Idle),
            Activity::Moving | Activity::Verifying | Activity::Deciding => None,
        };
        match &mut self.wait {
            Some((current, _, end)) if Some(*current) == kind => *end = to,
            _ => {
                self.keep();
                self.wait = kind.map(|kind| (kind, from, to));
            }
        }
    }

    fn keep(&mut self) {
        if let Some((kind, from, to)) = self.wait.take()
            && to.since(from) >= TRACED_WAIT_LEAST
        {
            self.recorder.keep(kind, (from, to), None, (0, 0));
        }
    }
}

impl Drop for WaitTrace {
    fn drop(&mut self) {
        self.keep();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::metrics::trace::{TraceLog, TraceThread};

    #[test]
    fn a_wait_is_one_span_until_something_else_is_done() {
        let log = TraceLog::default();
        let tracer = log.tracer(0, 1, &Clock::start());
        let recorder = tracer.recorder(TraceThread::Communicating);
        let mut waits = WaitTrace { recorder, wait: None, held: HeldBack::default() };
        let laps = [
            (Activity::AwaitingHolder, 100),
            (Activity::AwaitingHolder, 200),
            (Activity::Moving, 210),
            (Activity::AwaitingHolder, 215),
            (Activity::Deciding, 220),
            (Activity::Idle, 300),
            (Activity::AwaitingTracker, 400),
        ];
        let us = |us: u64| Timestamp(1000 * us);
        let mut last = us(0);
        for (activity, to) in laps {
            waits.lap(activity, last, us(to));
            last = us(to);
        }
        let (requests, segments) = (true, true);
        for (held, activity, to) in [
            (HeldBack { requests, segments: false }, Activity::AwaitingHolder, 500),
            (HeldBack { requests: false, segments }, Activity::AwaitingHolder, 600),
            (HeldBack { requests: false, segments }, Activity::Idle, 700),
            (HeldBack { requests, segments }, Activity::AwaitingTracker, 800),
        ] {
            waits.held = held;
            waits.lap(activity, last, us(to));
            last = us(to);
        }
        drop(waits);
        tracer.finish();
        let spans = log.take().remove(0).tracks.remove(0).spans;
        let kept: Vec<_> =
            spans.iter().map(|span| (span.kind, span.begin / 1000, span.end / 1000)).collect();
        let expected = [
            (SpanKind::AwaitingHolder, 0, 200),
            (SpanKind::Idle, 220, 300),
            (SpanKind::AwaitingTracker, 300, 400),
            (SpanKind::AwaitingLimit, 400, 500),
            (SpanKind::AwaitingHolder, 500, 600),
            (SpanKind::AwaitingLimit, 600, 700),
            (SpanKind::AwaitingTracker, 700, 800),
        ];
        assert_eq!(kept, expected, "5 µs are too short");
    }
}
