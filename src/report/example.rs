//! A run with round figures, for the tests of this module.

use std::time::Duration;

use super::{Carrier, Limits, Summary};
use crate::driver::job::{Inputs, Job, JobResult};
use crate::metrics::{Activity, RankMetrics};
use crate::protocol::Outcome;
use crate::protocol::tracker::Progress;
use crate::time::Timestamp;

/// Three peers, of which the last did not get all it wanted.
pub(crate) fn example() -> (Job, Carrier, JobResult) {
    let peer = |served: u64, received: u64| {
        let mut metrics = RankMetrics {
            served_segments: served,
            served_bytes: served * 1_000_000,
            received_segments: received,
            received_bytes: received * 1_000_000,
            refused_requests: 4,
            ..RankMetrics::default()
        };
        metrics.spent.add(Activity::AwaitingHolder, Duration::from_millis(300));
        metrics.spent.add(Activity::Verifying, Duration::from_millis(1200));
        for _ in 0..received {
            metrics.latency.record(Duration::from_micros(250));
        }
        metrics
    };
    let mut metrics = vec![RankMetrics::default(), peer(9, 4), peer(6, 8), peer(3, 6)];
    metrics[0].messages = 60;
    metrics[0].spent.add(Activity::Deciding, Duration::from_millis(150));
    metrics[0].spent.add(Activity::Idle, Duration::from_millis(1350));
    metrics[1].origin_bytes = 9_000_000;
    metrics[3].latency.record(Duration::from_millis(20));
    let at = |ms: u64| Some(Timestamp::default() + Duration::from_millis(20 + ms));
    let ended = JobResult {
        outcome: Outcome {
            opened: at(0),
            finished: vec![None, at(1250), at(1500), None],
            ..Outcome::default()
        },
        progress: Progress { files_finished: 5, ..Progress::default() },
        metrics,
        distinct_bytes: 6_000_000,
    };
    let inputs = Inputs::Made(Vec::new().into());
    let limits = Some(Limits { copy_bytes_per_second: 60e6, hash_bytes_per_second: 20e6 });
    let carrier = Carrier { engine: "lockfree", transport: "local", cores: 2, limits };
    (Job { seed: 7, ..Job::new(inputs, 1_000_000) }, carrier, ended)
}

pub(crate) fn summary() -> Summary {
    let (job, carrier, ended) = example();
    Summary::new(&job, &carrier, ended)
}
