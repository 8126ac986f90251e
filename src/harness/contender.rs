//! Contenders: one small adapter each, from a job to its result on rank 0.

use std::fmt::Debug;
use std::time::Duration;

use super::Launch;
use super::broadcast::{self, Algorithm, BroadcastError, BroadcastJob, Report};
use super::plan::PlannedContender;
use super::switches::ContenderKind;
use super::workload::BenchScenario;
use crate::baseline;
use crate::config::{Engine, Verify};
use crate::driver::job::{self, Inputs, Job, JobError, JobResult};
use crate::protocol::Outcome;
use crate::protocol::relay::RelayAlgorithm;
use crate::protocol::tracker::Progress;
use crate::time::{Clock, Timestamp};

/// Anything that the harness can time on a workload.
pub(crate) trait Contender: Debug {
    /// Runs the job once. Collective; rank 0, or the only process, gets the result.
    fn run(&self, job: &Job, request: &RunRequest<'_>) -> RunResult;
}

type RunResult = Result<Option<JobResult>, ContenderError>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ContenderError {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    /// Ranks were lost: no collective call can follow.
    #[error("{0}")]
    Lost(String),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RunRequest<'a> {
    pub launch: &'a Launch,
    pub peers: u32,
    pub repetition: u32,
    /// Started at zero for this run.
    pub clock: &'a Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(
        "it can only broadcast: use a workload of the shape `broadcast` in which everybody wants all"
    )]
    NotBroadcast,
    #[error("it needs MPI ranks: start mpiswarm with mpirun")]
    NoRanks,
}

pub(crate) fn contender(
    entry: &PlannedContender,
    scenario: &BenchScenario,
    launch: &Launch,
) -> Result<Box<dyn Contender>, Unfit> {
    if entry.engine.only_broadcasts() && !scenario.is_broadcast() {
        return Err(Unfit::NotBroadcast);
    }
    let broadcaster = |algorithm| -> Result<Box<dyn Contender>, Unfit> {
        let verify = entry.switches.verify.unwrap_or_default() != Verify::Off;
        Ok(Box::new(Broadcaster { algorithm, verify }))
    };
    match entry.engine {
        ContenderKind::Lockfree => Ok(Box::new(SwarmContender(Engine::Lockfree))),
        ContenderKind::Mock => Ok(Box::new(Mock { times: entry.times.clone() })),
        ContenderKind::MpiBcast | ContenderKind::MpiBcastSegments if launch.peers().is_none() => {
            Err(Unfit::NoRanks)
        }
        ContenderKind::MpiBcast => broadcaster(|_| Algorithm::MpiBcast { segmented: false }),
        ContenderKind::MpiBcastSegments => broadcaster(|_| Algorithm::MpiBcast { segmented: true }),
        ContenderKind::Chain => {
            broadcaster(|job| Algorithm::Relay(RelayAlgorithm::Chain { window: job.config.window }))
        }
        ContenderKind::Binomial => broadcaster(|_| Algorithm::Relay(RelayAlgorithm::Binomial)),
        ContenderKind::Circulant => broadcaster(|_| Algorithm::Relay(RelayAlgorithm::Circulant)),
        ContenderKind::Mutex => Ok(Box::new(SwarmContender(Engine::Mutex))),
    }
}

#[derive(Debug)]
struct SwarmContender(Engine);

impl Contender for SwarmContender {
    fn run(&self, job: &Job, request: &RunRequest<'_>) -> RunResult {
        let &RunRequest { launch, peers, clock, .. } = request;
        Ok(match (launch, self.0) {
            (Launch::Threads, Engine::Lockfree) => {
                Some(job::run_threads(job, peers + 1, clock, |_| ())?)
            }
            (Launch::Threads, Engine::Mutex) => {
                Some(baseline::run_threads(job, peers + 1, clock, |_| ())?)
            }
            #[cfg(feature = "mpi")]
            (Launch::Ranks(ranks), Engine::Lockfree) => {
                job::run_rank(job, &ranks.world, clock, |_| ())?
            }
            #[cfg(feature = "mpi")]
            (Launch::Ranks(ranks), Engine::Mutex) => {
                baseline::run_rank(job, &ranks.world, clock, |_| ())?
            }
        })
    }
}

/// What is used instead of a swarm where one peer has all files.
#[derive(Debug)]
struct Broadcaster {
    algorithm: fn(&Job) -> Algorithm,
    verify: bool,
}

impl Contender for Broadcaster {
    fn run(&self, job: &Job, request: &RunRequest<'_>) -> RunResult {
        let files = match &job.inputs {
            Inputs::Made(inputs) => inputs.first().map_or(&[][..], |first| &first.owned[..]),
            Inputs::Folder(_) => &[],
        };
        let segments = files.iter().map(|file| file.hashes.len()).sum::<usize>();
        let broadcast = BroadcastJob {
            segments: u32::try_from(segments).expect("segments are numbered in 32 bits"),
            segment_bytes: job.segment_bytes,
            seed: job.seed,
            verify: self.verify,
            meter: job.meter.clone(),
        };
        let algorithm = (self.algorithm)(job);
        let report = match request.launch {
            Launch::Threads => Some(broadcast::run_threads(
                &broadcast,
                algorithm,
                request.peers + 1,
                request.clock,
            )?),
            #[cfg(feature = "mpi")]
            Launch::Ranks(ranks) => {
                broadcast::run_rank(&broadcast, algorithm, &ranks.world, request.clock)?
            }
        };
        Ok(report.map(|report| ended(&broadcast, report, files.len())))
    }
}

fn ended(job: &BroadcastJob, report: Report, files: usize) -> JobResult {
    let Report { opened, ranks } = report;
    let finished = ranks.iter().map(|rank| rank.finished.map(|after| opened + after)).collect();
    let receivers = ranks.len().saturating_sub(2) as u64;
    let delivered = ranks.iter().map(|rank| rank.metrics.received_segments).sum();
    JobResult {
        outcome: Outcome { opened: Some(opened), finished, ..Outcome::default() },
        progress: Progress {
            segments_wanted: u64::from(job.segments) * receivers,
            segments_verified: delivered,
            files_finished: files as u64 * receivers,
            peers_complete: ranks.iter().filter(|rank| rank.finished.is_some()).count(),
        },
        distinct_bytes: u64::from(job.segments) * job.payload_bytes() as u64,
        metrics: ranks.into_iter().map(|rank| rank.metrics).collect(),
    }
}

/// Moves nothing, and takes fixed times, one per repetition in turn.
#[derive(Debug)]
struct Mock {
    times: Vec<Duration>,
}

impl Contender for Mock {
    fn run(&self, job: &Job, request: &RunRequest<'_>) -> RunResult {
        job.meter.begin();
        let opened = Timestamp::default();
        let finished = opened + self.times[request.repetition as usize % self.times.len()];
        let peers = (0..request.peers).map(|_| Some(finished));
        let finished = std::iter::once(None).chain(peers).collect();
        Ok(Some(JobResult {
            outcome: Outcome { opened: Some(opened), finished, ..Outcome::default() },
            progress: Progress::default(),
            metrics: Vec::new(),
            distinct_bytes: 0,
        }))
    }
}
