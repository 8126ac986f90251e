//! How long to wait for a neighbour: the retransmission timer of TCP (Jacobson and Karels, "Congestion
//! Avoidance and Control", 1988; RFC 6298), over the times of uploads.

use std::time::Duration;

use crate::time::nanoseconds;

/// How long the nodes of a broadcast without a tracker wait for each other.
#[derive(Clone, Copy, Debug)]
pub struct RelayPatience {
    /// For a neighbour, before an upload was timed.
    pub initial: Duration,
    /// For a neighbour, at least.
    pub least: Duration,
    /// For a node below in the report tree, before the run is open.
    pub registration: Duration,
    /// And afterwards.
    pub silence: Duration,
}

// The smoothed time follows a sample by 1/8, its deviation by 1/4, and the timeout is four deviations above
// it: the constants of RFC 6298, section 2.
const SMOOTHING: u64 = 8;
// As above.
const DEVIATION_SMOOTHING: u64 = 4;
// As above.
const DEVIATIONS: u64 = 4;

/// When an answer is overdue.
#[derive(Debug)]
pub(super) struct UploadTimer {
    least: Duration,
    /// Zero before the first sample.
    smoothed_ns: u64,
    deviation_ns: u64,
    /// It is asked for more often than it changes.
    timeout: Duration,
}

impl UploadTimer {
    pub(super) fn new(patience: RelayPatience) -> Self {
        let RelayPatience { initial, least, .. } = patience;
        Self { least, smoothed_ns: 0, deviation_ns: 0, timeout: initial }
    }

    /// An upload took this long.
    pub(super) fn sample(&mut self, took: Duration) {
        let took = nanoseconds(took);
        if self.smoothed_ns == 0 {
            (self.smoothed_ns, self.deviation_ns) = (took, took / 2);
        } else {
            let error = took.abs_diff(self.smoothed_ns);
            self.deviation_ns -= self.deviation_ns / DEVIATION_SMOOTHING;
            self.deviation_ns += error / DEVIATION_SMOOTHING;
            self.smoothed_ns = self.smoothed_ns - self.smoothed_ns / SMOOTHING + took / SMOOTHING;
        }
        if self.smoothed_ns > 0 {
            let timeout =
                self.smoothed_ns.saturating_add(self.deviation_ns.saturating_mul(DEVIATIONS));
            self.timeout = Duration::from_nanos(timeout).max(self.least);
        }
    }

    /// How long an answer may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_uploads() {
        let [initial, least] = [1_000_000, 10].map(Duration::from_micros);
        let patience = RelayPatience { initial, least, registration: initial, silence: initial };
        let mut timer = UploadTimer::new(patience);
        assert_eq!(timer.timeout(), initial);
        let upload = Duration::from_micros(400);
        timer.sample(upload);
        assert_eq!(timer.timeout(), 3 * upload, "RFC 6298, 2.2");
        (0..100).for_each(|_| timer.sample(upload));
        let settled = timer.timeout();
        assert!(settled < upload.mul_f64(1.05) && settled > upload.mul_f64(0.95), "{settled:?}");
        timer.sample(10 * upload);
        assert!(timer.timeout() > 8 * upload, "{:?}", timer.timeout());
        (0..100).for_each(|_| timer.sample(Duration::from_micros(1)));
        assert_eq!(timer.timeout(), least);
    }
}
