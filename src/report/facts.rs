//! What rank 0 knows when a run is over.

use std::time::Duration;

use super::Limits;
use crate::config::Verify;
use crate::driver::job::{Job, JobResult};
use crate::metrics::RankMetrics;
use crate::time::Timestamp;

/// The facts of one run, from which a [`Summary`](super::Summary) is made.
///
/// Tables by rank begin with rank 0. They may be shorter than the ranks if a lost rank did not report.
#[derive(Clone, Debug)]
pub(crate) struct RunFacts {
    /// The engine that ran: `mutex` or `lockfree`.
    pub engine: &'static str,
    /// What carried the bytes: `local` or `mpi`.
    pub transport: &'static str,
    /// How many ranks downloaded and uploaded; rank 0 is not one of them.
    pub peers: usize,
    /// The size of every segment but the last of a file, bytes.
    pub segment_bytes: usize,
    /// The seed of all random choices.
    pub seed: u64,
    /// Files that became whole at a peer; a file delivered to three peers counts three.
    pub files_delivered: u64,
    /// From the start until the last peer had all it wanted, verified.
    pub makespan: Duration,
    /// From the launch of the program until the start.
    pub setup: Duration,
    /// When each rank had all it wanted, since the start, by rank; none for one that did not.
    pub finished: Vec<Option<Duration>>,
    pub metrics: Vec<RankMetrics>,
    /// Names of wanted files that no peer had whole.
    pub unavailable: Vec<String>,
    /// What went wrong, one line each.
    pub errors: Vec<String>,
    /// The size of all files that at least one peer wanted and could get, each counted once.
    pub distinct_bytes_wanted: u64,
    /// Whether every wanted, available segment was delivered.
    pub everything_delivered: bool,
    /// Whether segments were checked against their registered digests.
    pub checked: bool,
    /// The rates of one core; none if they are unknown, or the job ran on several machines.
    pub limits: Option<Limits>,
    /// How many cores the job could use.
    pub cores: usize,
}

/// What moved the bytes of a run, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier {
    pub engine: &'static str,
    pub transport: &'static str,
    /// How many cores the job could use.
    pub cores: usize,
    /// The rates of one core; none if they are unknown, or the job ran on several machines.
    pub limits: Option<Limits>,
}

impl RunFacts {
    /// The facts of a run of `job` that began at time 0.
    pub(crate) fn new(job: &Job, carrier: &Carrier, ended: JobResult) -> Self {
        let JobResult { outcome, progress, metrics, distinct_bytes } = ended;
        let opened = outcome.opened.unwrap_or_default();
        let finished: Vec<Option<Duration>> =
            outcome.finished.iter().map(|at| at.map(|at| at.since(opened))).collect();
        Self {
            engine: carrier.engine,
            transport: carrier.transport,
            peers: finished.len().saturating_sub(1),
            segment_bytes: job.segment_bytes,
            seed: job.seed,
            files_delivered: progress.files_finished,
            makespan: finished.iter().flatten().max().copied().unwrap_or_default(),
            // Registration and memory come before the opening, for every engine alike.
            setup: opened.since(Timestamp::default()),
            finished,
            metrics,
            unavailable: outcome.unavailable,
            errors: outcome.errors,
            distinct_bytes_wanted: distinct_bytes,
            everything_delivered: progress.segments_verified == progress.segments_wanted,
            checked: job.config.verify != Verify::Off,
            limits: carrier.limits,
            cores: carrier.cores,
        }
    }
}
