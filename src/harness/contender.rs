//! Contenders: one small adapter each, from a job to its result on rank 0.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Launch;
use super::broadcast::{self, Algorithm, BroadcastError, BroadcastJob, Report};
use super::copying::{Copier, CopyError, CopyProgram, CopyRun, SourceTree};
use super::plan::PlannedContender;
use super::switches::ContenderKind;
use super::workload::BenchScenario;
use crate::baseline;
use crate::config::ranges::RepetitionCount;
use crate::config::{Engine, Verify};
use crate::driver::job::{self, Inputs, Job, JobError, JobResult};
use crate::manifest::{PeerInput, SegmentId, SegmentSet, Wanted};
use crate::protocol::Outcome;
use crate::protocol::relay::RelayAlgorithm;
use crate::protocol::tracker::Progress;
use crate::time::{Clock, Timestamp};

/// What the harness times on a workload.
#[derive(Debug)]
pub(crate) enum Contender {
    Swarm(Engine),
    /// What is used instead of a swarm where one peer has all files.
    Broadcast {
        algorithm: fn(&Job) -> Algorithm,
        verify: bool,
    },
    /// What brings a tree to every peer.
    Copier(Copier),
    /// Moves nothing, and takes fixed times, one per repetition in turn.
    Mock(Vec<Duration>),
}

type RunResult = Result<Option<JobResult>, ContenderError>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ContenderError {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Broadcast(#[from] BroadcastError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Ranks were lost: no collective call can follow.
    #[error("{0}")]
    Lost(String),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct RunRequest<'a> {
    pub launch: &'a Launch,
    pub peers: u32,
    pub repetition: u32,
    /// The tree of the workload, if it is one, for rank 0 or the only process.
    pub source: Option<&'a SourceTree>,
    /// How long one process waits for another.
    pub limit: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error(
        "it can only broadcast: use a workload of the shape `broadcast` in which everybody wants all"
    )]
    NotBroadcast,
    #[error("it brings everything to everybody: use a workload in which everybody wants all")]
    NotForAll,
    #[error("it needs MPI ranks: start mpiswarm with mpirun")]
    NoRanks,
    #[error("it copies trees: use a workload of the shape `tree`")]
    NoTree,
    #[error("it moves segments that are made up: use a workload of another shape than `tree`")]
    OnlySegments,
    #[error("`{0}` is not in PATH: install it")]
    NoProgram(CopyProgram),
    #[error("it copies within one host: start all ranks on one")]
    SeveralHosts,
}

impl Contender {
    pub(crate) fn new(
        entry: &PlannedContender,
        scenario: &BenchScenario,
        launch: &Launch,
    ) -> Result<Self, Unfit> {
        let kind = entry.engine;
        if scenario.tree.is_some() {
            return Self::of_tree(entry, launch);
        }
        let may_have_owners = kind == ContenderKind::Neighbours;
        if may_have_owners && scenario.workload.wanted != Wanted::All {
            return Err(Unfit::NotForAll);
        }
        if kind.only_broadcasts() && !may_have_owners && !scenario.is_broadcast() {
            return Err(Unfit::NotBroadcast);
        }
        let verify = entry.switches.verify.unwrap_or_default() != Verify::Off;
        let broadcast = |algorithm| Self::Broadcast { algorithm, verify };
        Ok(match kind {
            ContenderKind::Lockfree => Self::Swarm(Engine::Lockfree),
            ContenderKind::Mutex => Self::Swarm(Engine::Mutex),
            ContenderKind::Mock => Self::Mock(entry.times.clone()),
            ContenderKind::Stage
            | ContenderKind::Cp
            | ContenderKind::Rsync
            | ContenderKind::Tar => return Err(Unfit::NoTree),
            ContenderKind::MpiBcast | ContenderKind::MpiBcastSegments
                if launch.peers().is_none() =>
            {
                return Err(Unfit::NoRanks);
            }
            ContenderKind::MpiBcast => broadcast(|_| Algorithm::MpiBcast { segmented: false }),
            ContenderKind::MpiBcastSegments => {
                broadcast(|_| Algorithm::MpiBcast { segmented: true })
            }
            ContenderKind::Chain => broadcast(|job| {
                Algorithm::Relay(RelayAlgorithm::Chain { window: job.config.window })
            }),
            ContenderKind::Binomial => broadcast(|_| Algorithm::Relay(RelayAlgorithm::Binomial)),
            ContenderKind::Circulant => broadcast(|_| Algorithm::Relay(RelayAlgorithm::Circulant)),
            ContenderKind::Neighbours => broadcast(|job| {
                Algorithm::Relay(RelayAlgorithm::Neighbours { seed: job.seed, rack_hosts: None })
            }),
        })
    }

    fn of_tree(entry: &PlannedContender, launch: &Launch) -> Result<Self, Unfit> {
        if let Some(program) = entry.engine.program() {
            if launch.has_links() {
                return Err(Unfit::SeveralHosts);
            }
            let is_there = program.is_installed();
            let copier = is_there.then_some(Self::Copier(Copier::Program(program)));
            return copier.ok_or(Unfit::NoProgram(program));
        }
        if entry.engine == ContenderKind::Stage {
            return Ok(Self::Copier(Copier::Staging(entry.staging())));
        }
        let is_mock = entry.engine == ContenderKind::Mock;
        is_mock.then(|| Self::Mock(entry.times.clone())).ok_or(Unfit::OnlySegments)
    }

    /// Whether it is another program.
    pub(crate) fn is_program(&self) -> bool {
        matches!(self, Self::Copier(Copier::Program(_)))
    }

    /// Runs the job once. Collective; rank 0, or the only process, gets the result. `clock` was started at zero for
    /// it.
    pub(crate) fn run(&self, job: &Job, request: &RunRequest<'_>, clock: &Clock) -> RunResult {
        match self {
            Self::Swarm(engine) => swarm(*engine, job, request, clock),
            Self::Broadcast { algorithm, verify } => {
                broadcast(algorithm(job), *verify, job, request, clock)
            }
            Self::Copier(copier) => {
                let &RunRequest { launch, peers, source, limit, .. } = request;
                let share = launch.core_share(peers);
                let (seed, meter, compares) = (job.seed, &job.meter, request.compares());
                let run = CopyRun { copier, source, peers, share, seed, compares, limit, meter };
                Ok(run.run(launch, clock)?)
            }
            Self::Mock(times) => Ok(Some(mock(times, job, request))),
        }
    }
}

impl RunRequest<'_> {
    /// Whether copies are compared with their source afterwards: in runs that do not count, which a budget may end,
    /// and in the first that does.
    fn compares(&self) -> bool {
        self.repetition == 0 || self.is_warm_up()
    }

    // Warm-up runs count down from the highest number, and repetitions have at most 20 bits.
    fn is_warm_up(&self) -> bool {
        self.repetition > RepetitionCount::MOST
    }
}

fn swarm(engine: Engine, job: &Job, request: &RunRequest<'_>, clock: &Clock) -> RunResult {
    let &RunRequest { launch, peers, .. } = request;
    Ok(match (launch, engine) {
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

fn broadcast(
    algorithm: Algorithm,
    verify: bool,
    job: &Job,
    request: &RunRequest<'_>,
    clock: &Clock,
) -> RunResult {
    let inputs = match &job.inputs {
        Inputs::Made(inputs) => &inputs[..],
        Inputs::Folder(_) => &[],
    };
    let (segments, owned) = shared_segments(inputs);
    let broadcast = BroadcastJob {
        segments,
        owned,
        segment_bytes: job.segment_bytes,
        seed: job.seed,
        verify,
        has_own_core: job.has_own_core,
        meter: job.meter.clone(),
    };
    let report = match request.launch {
        Launch::Threads => {
            Some(broadcast::run_threads(&broadcast, algorithm, request.peers + 1, clock)?)
        }
        #[cfg(feature = "mpi")]
        Launch::Ranks(ranks) => broadcast::run_rank(&broadcast, algorithm, &ranks.world, clock)?,
    };
    let wanted = inputs.iter().map(|input| input.wanted.len() as u64).sum();
    Ok(report.map(|report| ended(&broadcast, report, wanted)))
}

/// How many segments all files have, each numbered where it is owned first, and what each peer owns; nothing of
/// that where the first peer owns all.
fn shared_segments(inputs: &[PeerInput]) -> (u32, Arc<[SegmentSet]>) {
    let mut places = BTreeMap::new();
    let mut end = 0;
    for file in inputs.iter().flat_map(|input| &input.owned) {
        let count = file.hashes.len();
        places.entry(&file.name).or_insert_with(|| {
            end += count;
            end - count..end
        });
    }
    let number = |place| u32::try_from(place).expect("segments are numbered in 32 bits");
    let owned = inputs.iter().map(|input| {
        let mut set = SegmentSet::none_of(number(end));
        for place in input.owned.iter().flat_map(|file| places[&file.name].clone()) {
            set.insert(SegmentId(number(place)));
        }
        set
    });
    let owned: Arc<[SegmentSet]> = owned.collect();
    let is_one = owned.iter().skip(1).all(SegmentSet::is_empty);
    (number(end), if is_one { Arc::default() } else { owned })
}

fn ended(job: &BroadcastJob, report: Report, files_wanted: u64) -> JobResult {
    let Report { opened, ranks } = report;
    let finished = ranks.iter().map(|rank| rank.finished.map(|after| opened + after)).collect();
    let peers = ranks.len().saturating_sub(1) as u64;
    let owned = job.owned.iter().map(|owned| owned.len() as u64).sum::<u64>();
    let owned = if job.owned.is_empty() { u64::from(job.segments) } else { owned };
    let delivered = ranks.iter().map(|rank| rank.metrics.received_segments).sum();
    JobResult {
        outcome: Outcome { opened: Some(opened), finished, ..Outcome::default() },
        progress: Progress {
            segments_wanted: u64::from(job.segments) * peers - owned,
            segments_verified: delivered,
            files_finished: files_wanted,
            peers_complete: ranks.iter().filter(|rank| rank.finished.is_some()).count(),
            ..Progress::default()
        },
        distinct_bytes: u64::from(job.segments) * job.payload_bytes() as u64,
        metrics: ranks.into_iter().map(|rank| rank.metrics).collect(),
    }
}

fn mock(times: &[Duration], job: &Job, request: &RunRequest<'_>) -> JobResult {
    job.meter.begin();
    let opened = Timestamp::default();
    let finished = opened + times[request.repetition as usize % times.len()];
    let peers = (0..request.peers).map(|_| Some(finished));
    let finished = std::iter::once(None).chain(peers).collect();
    JobResult {
        outcome: Outcome { opened: Some(opened), finished, ..Outcome::default() },
        progress: Progress::default(),
        metrics: Vec::new(),
        distinct_bytes: 0,
    }
}
