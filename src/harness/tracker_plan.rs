//! The load test of the tracker alone, as a plan writes it.

use serde::{Deserialize, Serialize};

use crate::config::ranges::{
    HandoutSegments, LoadCount, LoadPeers, LoadSeconds, LoadSegments, ServiceThreads,
};
use crate::config::{CounterKind, IndexKind, Sweep, TooMany, spread};

/// The cases of the load test. Every field may be a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrackerPlan {
    peers: Sweep<LoadPeers>,
    /// Segments of the one file that they want.
    segments: Sweep<LoadSegments>,
    service_threads: Sweep<ServiceThreads>,
    handout: Sweep<HandoutSegments>,
    index: Option<Sweep<IndexKind>>,
    counters: Option<Sweep<CounterKind>>,
    /// How long one load of a case takes, seconds.
    pub seconds: LoadSeconds,
    /// How often each case is loaded. The cases are interleaved.
    #[serde(default)]
    pub loads: LoadCount,
}

/// One case of the load test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TrackerCase {
    pub peers: u32,
    /// Segments of the one file that they want.
    pub segments: u32,
    pub service_threads: usize,
    pub handout: usize,
    /// Where the tracker keeps who has what.
    pub index: IndexKind,
    pub counters: CounterKind,
}

impl TrackerPlan {
    /// Every case of the lists, in their order.
    ///
    /// # Errors
    ///
    /// There are too many.
    pub(crate) fn cases(&self) -> Result<Vec<TrackerCase>, TooMany> {
        let all = vec![TrackerCase::default()];
        let all = spread(all, Some(&self.peers), |all, one| all.peers = one.get())?;
        let all = spread(all, Some(&self.segments), |all, one| all.segments = one.get())?;
        let all = spread(all, Some(&self.service_threads), |all, one| {
            all.service_threads = one.get();
        })?;
        let all = spread(all, Some(&self.handout), |all, one| all.handout = one.get())?;
        let all = spread(all, self.index.as_ref(), |all, one| all.index = one)?;
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
        let cases = plan.cases().expect("eight");
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
