//! The load test of the tracker alone, as a plan writes it.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::config::{CounterKind, IndexKind, Sweep, spread};

/// The cases of the load test. Every field may be a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrackerPlan {
    peers: Sweep<u32>,
    /// Segments of the one file that they want.
    segments: Sweep<u32>,
    service_threads: Sweep<usize>,
    handout: Sweep<usize>,
    index: Option<Sweep<IndexKind>>,
    counters: Option<Sweep<CounterKind>>,
    /// How long one load of a case takes, seconds.
    pub seconds: f64,
    /// How often each case is loaded. The cases are interleaved. 3 by default.
    pub loads: Option<NonZeroU32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrackerCase {
    pub peers: u32,
    /// Segments of the one file that they want.
    pub segments: u32,
    pub service_threads: usize,
    pub handout: usize,
    pub index: IndexKind,
    pub counters: CounterKind,
}

impl TrackerPlan {
    pub(crate) fn cases(&self) -> Vec<TrackerCase> {
        let all = vec![TrackerCase::default()];
        let all = spread(all, Some(&self.peers), |all, one| all.peers = one);
        let all = spread(all, Some(&self.segments), |all, one| all.segments = one);
        let all = spread(all, Some(&self.service_threads), |all, one| all.service_threads = one);
        let all = spread(all, Some(&self.handout), |all, one| all.handout = one);
        let all = spread(all, self.index.as_ref(), |all, one| all.index = one);
        spread(all, self.counters.as_ref(), |all, one| all.counters = one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_give_their_product() {
        let text = "peers = [16, 1024]\nsegments = 1000\nservice_threads = [1, 2]\nhandout = 10\n\
                    index = [\"mutex\", \"atomic\"]\nseconds = 0.5\n";
        let plan: TrackerPlan = toml::from_str(text).expect("a load test");
        let cases = plan.cases();
        assert_eq!(cases.len(), 8);
        let second = TrackerCase {
            peers: 16,
            segments: 1000,
            service_threads: 1,
            handout: 10,
            index: IndexKind::Atomic,
            counters: CounterKind::default(),
        };
        assert_eq!(cases[1], second);
    }
}
