//! How long to wait for a neighbour: the retransmission timer of TCP (Jacobson and Karels, "Congestion
//! Avoidance and Control", 1988; RFC 6298), over the times of uploads.

use std::time::Duration;

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
const SMOOTHING: u32 = 8;
// As above.
const DEVIATION_SMOOTHING: u32 = 4;
// As above.
const DEVIATIONS: u32 = 4;

/// When an answer is overdue.
#[derive(Debug)]
pub(super) struct UploadTimer {
    initial: Duration,
    least: Duration,
    /// Zero before the first sample.
    smoothed: Duration,
    deviation: Duration,
}

impl UploadTimer {
    pub(super) fn new(patience: RelayPatience) -> Self {
        let RelayPatience { initial, least, .. } = patience;
        Self { initial, least, smoothed: Duration::ZERO, deviation: Duration::ZERO }
    }

    /// An upload took this long.
    pub(super) fn sample(&mut self, took: Duration) {
        if self.smoothed.is_zero() {
            (self.smoothed, self.deviation) = (took, took / 2);
            return;
        }
        let error = took.abs_diff(self.smoothed);
        self.deviation =
            self.deviation - self.deviation / DEVIATION_SMOOTHING + error / DEVIATION_SMOOTHING;
        self.smoothed = self.smoothed - self.smoothed / SMOOTHING + took / SMOOTHING;
    }

    /// How long an answer may take.
    pub(super) fn timeout(&self) -> Duration {
        if self.smoothed.is_zero() {
            return self.initial;
        }
        (self.smoothed + DEVIATIONS * self.deviation).max(self.least)
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
