//! A whole run: all nodes as threads of this process, or one of them as a rank of an MPI job.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crossbeam::sync::{Parker, Unparker};

use super::injection::Fault;
use super::prepare::{PeerSetup, PrepareError, prepare, slot_bytes};
use super::tracker_threads::TrackerThreads;
use super::{EndedPeer, Idle, Injection, PeerOptions, Prepared, run_peer, run_tracker};
use crate::config::{Config, RateLimits};
use crate::manifest::{NodeId, PeerInput};
use crate::metrics::RankMetrics;
use crate::metrics::trace::{TraceLog, Tracer};
use crate::metrics::usage::Meter;
use crate::protocol::{Outcome, Tracker, tracker::Progress};
use crate::spawn::{self, Gate, ThreadError};
use crate::time::Clock;
use crate::transport::local::{self, LocalTransport};
use crate::transport::rate_limited::RateLimited;
use crate::transport::{Transport, TransportError};

/// Where the peers' inputs come from.
#[derive(Clone, Debug)]
pub enum Inputs {
    /// `in<R>.txt` in this folder.
    Folder(PathBuf),
    /// Made in memory: rank 1's first.
    Made(Arc<[PeerInput]>),
}

/// A run, the same on every node. Set what differs from [`Job::new`]:
///
/// ```
/// # use mpiswarm::driver::job::{Inputs, Job};
/// let job = Job { seed: 7, ..Job::new(Inputs::Folder("inputs/small".into()), 1024) };
/// ```
#[derive(Clone, Debug)]
pub struct Job {
    /// What the peers have and want.
    pub inputs: Inputs,
    /// Where finished files go; none where they are not written.
    pub out: Option<PathBuf>,
    /// Whether the SHA-256 of each segment is written beside each finished file.
    pub digests: bool,
    /// Whether files that this program did not write are replaced.
    pub overwrite: bool,
    /// Payload of a segment, bytes; 0 moves the hash alone.
    pub segment_bytes: usize,
    /// Determines all payload and all random choices.
    pub seed: u64,
    /// How all nodes behave.
    pub config: Config,
    /// What each peer may move to and from others.
    pub limits: RateLimits,
    /// Threads of each peer that check segments; 0 lets its own thread check them.
    pub verify_threads: usize,
    /// Whether each node has a core that no other one needs.
    pub has_own_core: bool,
    /// Faults to inject.
    pub faults: Vec<Fault>,
    /// Receives each warning about an input, a line each.
    pub warn: fn(&str),
    /// Measures what the run costs this process, without making the payload.
    pub meter: Meter,
    /// Where the traces of the nodes go; none where none is kept.
    pub trace: Option<TraceLog>,
}

/// What rank 0 knows when a run is over.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// Errors, losses and times.
    pub outcome: Outcome,
    /// What was delivered.
    pub progress: Progress,
    /// What each node measured, by rank.
    pub metrics: Vec<RankMetrics>,
    /// The size of all wanted files, each counted once, bytes.
    pub distinct_bytes: u64,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[error("{node}: {source}")]
pub struct JobError {
    /// The node that failed.
    pub node: NodeId,
    /// Its reason.
    pub source: TransportError,
}

impl Job {
    /// A run of the lockfree engine with its defaults for segments of `segment_bytes`, between nodes
    /// in one memory: it writes nothing, checks on each peer's own thread, and injects no fault.
    pub fn new(inputs: Inputs, segment_bytes: usize) -> Self {
        Self {
            inputs,
            out: None,
            digests: false,
            overwrite: false,
            segment_bytes,
            seed: 1,
            config: Config::for_segments_of(segment_bytes),
            limits: RateLimits::default(),
            verify_threads: 0,
            has_own_core: false,
            faults: Vec::new(),
            warn: |_| (),
            meter: Meter::default(),
            trace: None,
        }
    }

    /// Prepares a peer. A peer that can't run registers its reason, so that rank 0 reports it.
    pub(super) fn prepare_peer(
        &self,
        place: (NodeId, u32),
        waker: &Unparker,
        clock: &Clock,
    ) -> Prepared {
        let (config, threads) = (self.config.clone(), self.verify_threads);
        let tracer = || self.tracer(place, clock);
        let ready = |setup| Prepared::ready(place, setup, config.clone(), threads, waker, tracer());
        let prepared = self.prepare(place.0, config.spare_slots()).and_then(ready);
        prepared.unwrap_or_else(|reason| Prepared::refused(place, &reason, config, tracer()))
    }

    /// Keeps a trace of one node of several, where one is wanted.
    fn tracer(&self, (node, nodes): (NodeId, u32), clock: &Clock) -> Option<Tracer> {
        self.trace.as_ref().map(|log| log.tracer(node.0, nodes, clock))
    }

    /// Reads a peer's input and makes the payload that it owns, with `spare` slots beyond that.
    pub(crate) fn prepare(&self, node: NodeId, spare: usize) -> Result<PeerSetup, PrepareError> {
        let input = match &self.inputs {
            Inputs::Folder(dir) => PeerInput::read(dir, node)?,
            Inputs::Made(inputs) => inputs[node.index() - 1].clone(),
        };
        for warning in &input.warnings {
            (self.warn)(&format!("warning: in{}.txt: {warning}", node.0));
        }
        prepare(node, input, &self.options(), spare)
    }

    /// Starts the threads of the tracker. `waker` wakes it when one of them is done.
    fn tracker_threads(&self, waker: &Unparker) -> Result<Option<TrackerThreads>, ThreadError> {
        let &Config { tracker_threads, silence_patience, .. } = &self.config;
        TrackerThreads::start(tracker_threads, self.seed, silence_patience, waker)
    }

    /// Runs a peer under the limits of this job; returns the transport, too.
    fn run_limited<T: Transport>(
        &self,
        prepared: Prepared,
        mut transport: T,
        idle: Idle,
        clock: &Clock,
        injection: Injection,
    ) -> Result<(EndedPeer, T), TransportError> {
        let measures = (clock, &self.meter);
        // Most runs have no limit, and pay nothing for it.
        if !self.limits.is_limited() {
            let ended = run_peer(prepared, &mut transport, idle, measures, injection)?;
            return Ok((ended, transport));
        }
        // No segment of this run is longer than a slot.
        let slot_bytes = slot_bytes(self.segment_bytes);
        let mut limited = RateLimited::new(transport, self.limits, || clock.now(), |_| slot_bytes);
        let ended = run_peer(prepared, &mut limited, idle, measures, injection)?;
        Ok((ended, limited.into_inner()))
    }

    fn options(&self) -> PeerOptions<'_> {
        PeerOptions {
            segment_bytes: self.segment_bytes,
            seed: self.seed,
            out: self.out.as_deref(),
            digests: self.digests,
            overwrite: self.overwrite,
        }
    }

    fn result(&self, tracker: &Tracker, metrics: Vec<RankMetrics>) -> JobResult {
        JobResult {
            outcome: tracker.outcome().clone(),
            progress: tracker.progress(),
            distinct_bytes: tracker.distinct_bytes_wanted(self.segment_bytes),
            metrics,
        }
    }
}

/// Runs `nodes` nodes as threads. `show` is called with the progress a few times a second.
///
/// # Errors
///
/// When a node fails: the failed node of the lowest rank.
pub fn run_threads(
    job: &Job,
    nodes: u32,
    clock: &Clock,
    show: impl FnMut(Progress),
) -> Result<JobResult, JobError> {
    let refused = |cause: ThreadError| JobError { node: NodeId::TRACKER, source: cause.into() };
    let parkers: Vec<Parker> = (0..nodes).map(|_| Parker::new()).collect();
    let threads = job.tracker_threads(parkers[0].unparker()).map_err(refused)?;
    let prepare = |(rank, parker): (u32, &Parker)| {
        job.prepare_peer((NodeId(rank), nodes), parker.unparker(), clock)
    };
    let prepared: Vec<Prepared> = (0..).zip(&parkers).skip(1).map(prepare).collect();
    job.meter.begin();
    let mut tracker = Tracker::new(nodes, job.config.clone(), job.seed)
        .with_service_threads(job.config.tracker_threads);
    let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
    let mut ends = local::connect(unparkers).into_iter().zip(parkers);
    let (mut end, parker) = ends.next().expect("there is a tracker");
    let gate = Gate::default();
    let results = thread::scope(|scope| {
        let peer = |((node, prepared), (end, parker)): (_, (LocalTransport, Parker))| {
            let injection = Injection::new(&job.faults, job.seed, node);
            let gate = &gate;
            spawn::start_scoped(scope, "for a peer", move || {
                if !gate.pass() {
                    return Err(TransportError::BrokenOff);
                }
                let idle = Idle::new(parker, end.wakes(), job.has_own_core);
                job.run_limited(prepared, end, idle, clock, injection)
                    .map(|(ended, _)| ended.metrics)
            })
        };
        let peers = (1..).map(NodeId).zip(prepared).zip(ends).map(peer);
        let peers: Result<Vec<_>, _> = peers.collect();
        gate.open(peers.is_ok());
        let peers = peers?;
        let idle = Idle::new(parker, end.wakes(), job.has_own_core);
        let tracer = job.tracer((NodeId::TRACKER, nodes), clock);
        let tracked =
            run_tracker(&mut tracker, &mut end, idle, (clock, &job.meter), (threads, tracer, show));
        let peers = peers.into_iter().map(|peer| peer.join().expect("a node does not panic"));
        Ok(std::iter::once(tracked).chain(peers).collect::<Vec<_>>())
    });
    let named = (0..).map(NodeId).zip(results.map_err(refused)?);
    let metrics: Result<_, _> =
        named.map(|(node, result)| result.map_err(|source| JobError { node, source })).collect();
    Ok(job.result(&tracker, metrics?))
}

#[cfg(feature = "mpi")]
mod ranks {
    use super::super::given_up;
    use super::run_tracker;
    use super::{
        EndedPeer, Idle, Injection, Job, JobError, JobResult, NodeId, Parker, Progress,
        RankMetrics, Tracker,
    };
    use crate::config::MESSAGE_BYTES_MAX;
    use crate::driver::injection::MessageFaults;
    use crate::driver::trace_gathering::gather_traces;
    use crate::manifest::SegmentId;
    use crate::protocol::violation::Route;
    use crate::protocol::{Message, PostedReceives, RequestedSegment, codec};
    use crate::time::Clock;
    use crate::transport::mpi::{Meeting, MpiTransport, RollCall};
    use crate::transport::{Transport as _, TransportError};
    use crate::watchdog;
    use mpi::topology::{Communicator as _, SimpleCommunicator};

    /// Runs this rank's node; all ranks of `world` must come here. Rank 0 gets the result. If it names
    /// lost ranks, the caller must abort the job, as no collective call can follow. All that the
    /// other ranks finished is whole by then.
    ///
    /// # Errors
    ///
    /// When MPI fails here. The other ranks then wait forever, so the caller must abort the job.
    pub fn run_rank(
        job: &Job,
        world: &SimpleCommunicator,
        clock: &Clock,
        show: impl FnMut(Progress),
    ) -> Result<Option<JobResult>, JobError> {
        let node = NodeId(u32::try_from(world.rank()).expect("ranks are not negative"));
        let result = if node == NodeId::TRACKER {
            run_tracker_rank(job, world, clock, show).map(Some)
        } else {
            run_peer_rank(job, world, node, clock).map(|()| None)
        };
        result.map_err(|source| JobError { node, source })
    }

    fn connect(
        job: &Job,
        world: &SimpleCommunicator,
        node: NodeId,
    ) -> Result<MpiTransport, TransportError> {
        let limit = job.config.registration_patience;
        // A rank that does not come is named here, which the collective calls below can't do.
        RollCall::new(world, limit).meet(Meeting::Connect, &[], |_| Vec::new())?;
        let _limited = watchdog::limit("all ranks to connect (MPI_Comm_dup)", limit);
        let mut transport = MpiTransport::new(world, job.config.sends_synchronously)?;
        if let Some(mut faults) = MessageFaults::new(&job.faults, job.seed, node) {
            transport.replace_sent(Box::new(move |message, bytes| {
                faults.replace(bytes, MESSAGE_BYTES_MAX, || invalid(message))
            }));
        }
        Ok(transport)
    }

    /// A message that can travel where this one does, and names what there is not.
    fn invalid(message: &Message) -> Vec<u8> {
        let segment = SegmentId(u32::MAX);
        let invalid = match Route::of(message) {
            Route::ToTracker => Message::Complete { segments: u32::MAX },
            Route::FromTracker => Message::Lost { node: NodeId(u32::MAX) },
            Route::BetweenPeers => {
                if let Message::Request { segments } = message {
                    let segments = segments.iter().map(|one| with_silly_receives(*one)).collect();
                    Message::Request { segments }
                } else {
                    Message::Withdraw { segment, request: 0 }
                }
            }
        };
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let len = codec::encode(&invalid, &mut buffer).map_or(0, |bytes| bytes.len());
        buffer.truncate(len);
        buffer
    }

    /// A request for fragments that nobody can send.
    fn with_silly_receives(requested: RequestedSegment) -> RequestedSegment {
        let posted = PostedReceives { fragment_log2: u8::MAX, ..requested.posted };
        RequestedSegment { posted, ..requested }
    }

    fn run_tracker_rank(
        job: &Job,
        world: &SimpleCommunicator,
        clock: &Clock,
        show: impl FnMut(Progress),
    ) -> Result<JobResult, TransportError> {
        let nodes = u32::try_from(world.size()).expect("a job has ranks");
        let mut transport = connect(job, world, NodeId::TRACKER)?;
        let mut tracker = Tracker::new(nodes, job.config.clone(), job.seed)
            .with_service_threads(job.config.tracker_threads);
        job.meter.begin();
        let parker = Parker::new();
        let threads = job.tracker_threads(parker.unparker())?;
        let idle = Idle::new(parker, transport.wakes(), job.has_own_core);
        let measures = (clock, &job.meter);
        let tracer = job.tracer((NodeId::TRACKER, nodes), clock);
        let mine =
            run_tracker(&mut tracker, &mut transport, idle, measures, (threads, tracer, show))?;
        if !tracker.outcome().lost.is_empty() {
            // Gathering would wait forever for a lost rank.
            let unknown = (1..nodes).map(|_| RankMetrics::default());
            let metrics = std::iter::once(mine).chain(unknown).collect();
            std::mem::forget(transport);
            return Ok(job.result(&tracker, metrics));
        }
        let limit = job.config.silence_patience;
        let gathered = transport.gather(&mine.encode(), limit)?.unwrap_or_default();
        let mut result = job.result(&tracker, vec![mine]);
        for (peer, bytes) in (1..).map(NodeId).zip(gathered.iter().skip(1)) {
            let decoded = bytes.as_ref().map(|bytes| RankMetrics::decode(bytes));
            let error = match &decoded {
                Some(Ok(_)) => None,
                Some(Err(error)) => Some(format!("{peer}: its report is lost: {error}")),
                None => {
                    result.outcome.lost.push(peer);
                    Some(format!("{peer} did not report for {limit:?}: stopped or lost"))
                }
            };
            result.outcome.errors.extend(error);
            result.metrics.push(decoded.and_then(Result::ok).unwrap_or_default());
        }
        if let Some(log) = job.trace.as_ref().filter(|_| result.outcome.lost.is_empty()) {
            gather_traces(log, world, limit)?;
        }
        Ok(result)
    }

    fn run_peer_rank(
        job: &Job,
        world: &SimpleCommunicator,
        node: NodeId,
        clock: &Clock,
    ) -> Result<(), TransportError> {
        let transport = connect(job, world, node)?;
        let nodes = u32::try_from(world.size()).expect("a job has ranks");
        let parker = Parker::new();
        let prepared = job.prepare_peer((node, nodes), parker.unparker(), clock);
        job.meter.begin();
        let injection = Injection::new(&job.faults, job.seed, node);
        let idle = Idle::new(parker, transport.wakes(), job.has_own_core);
        let (ended, mut transport) =
            job.run_limited(prepared, transport, idle, clock, injection)?;
        let EndedPeer { metrics, is_given_up } = ended;
        let limit = job.config.silence_patience;
        if is_given_up {
            match given_up::rest(node, &mut transport, &job.config, job.warn)? {}
        }
        transport.gather(&metrics.encode(), limit)?;
        job.trace.as_ref().map_or(Ok(()), |log| gather_traces(log, world, limit))
    }
}

#[cfg(feature = "mpi")]
pub use ranks::run_rank;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Verify;
    use crate::spawn::tests::starve;
    use std::time::Duration;

    fn job(out: Option<PathBuf>) -> Job {
        let owner = PeerInput::parse(b"1\nfile 1\n00112233\n0\n").expect("it is valid");
        let other = PeerInput::parse(b"0\n1\nfile\n").expect("it is valid");
        let inputs = Inputs::Made([owner, other.clone(), other].into());
        let mut job = Job { out, ..Job::new(inputs, 1024) };
        job.config.silence_patience = Duration::from_secs(600);
        job
    }

    #[test]
    fn segments_that_take_several_turns_to_check_are_delivered() {
        let mut job = Job { segment_bytes: 600_000, ..job(None) };
        job.config.verify = Verify::Inline;
        let ended = run_threads(&job, 4, &Clock::start(), |_| ()).expect("no node breaks");
        assert_eq!(ended.outcome.errors, [""; 0]);
        assert_eq!(ended.progress.segments_verified, ended.progress.segments_wanted);
    }

    #[test]
    fn a_run_that_is_refused_a_thread_for_a_peer_ends_with_what_to_do() {
        for left in 0..3 {
            starve(left);
            let error = run_threads(&job(None), 4, &Clock::start(), |_| ()).expect_err("refused");
            let expected = "rank 0: no thread can be started for a peer: ";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_peer_that_is_refused_a_thread_of_its_own_says_so_before_the_run() {
        let out = tempfile::tempdir().expect("a folder");
        let job = job(Some(out.path().to_owned()));
        for (verify_threads, what) in [(0, "writes files"), (2, "verifies")] {
            let setup = job.prepare(NodeId(2), 0).expect("memory and a folder");
            let parker = Parker::new();
            // A pool starts its threads itself, from this thread.
            starve(usize::from(verify_threads > 0));
            let config = Config { verify: Verify::Pool, ..job.config.clone() };
            let place = (NodeId(2), 4);
            let ready =
                Prepared::ready(place, setup, config, verify_threads, parker.unparker(), None);
            let reason = ready.err().map(|reason| reason.to_string()).unwrap_or_default();
            let expected = format!("rank 2: no thread can be started that {what}: ");
            assert!(reason.starts_with(&expected), "{reason}");
        }
    }
}
