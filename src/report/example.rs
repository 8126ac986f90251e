//! A run with round figures, for the tests of this module.

use std::time::Duration;

use super::{Limits, RunFacts};
use crate::metrics::{Activity, RankMetrics};

/// Three peers, of which the last did not get all it wanted.
pub(super) fn facts() -> RunFacts {
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
    RunFacts {
        engine: "lockfree",
        transport: "local",
        peers: 3,
        segment_bytes: 1_000_000,
        seed: 7,
        files_delivered: 5,
        makespan: Duration::from_millis(1500),
        setup: Duration::from_millis(20),
        finished: vec![None, Some(Duration::from_millis(1250)), Some(Duration::from_millis(1500))],
        metrics,
        unavailable: Vec::new(),
        errors: Vec::new(),
        distinct_bytes_wanted: 6_000_000,
        everything_delivered: true,
        checked: true,
        limits: Some(Limits { copy_bytes_per_second: 60e6, hash_bytes_per_second: 20e6 }),
        cores: 2,
    }
}
