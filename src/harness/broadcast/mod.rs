//! Contenders for the case where one rank has a file and all others want it: what people use
//! instead of a swarm.
//!
//! Rank 0 takes no part in the moving, rank 1 has the file, the ranks after it get it: the same
//! bytes between the same ranks as in a swarm with one owner. Rank 0 starts all at once and takes
//! the time at which each reports that it has everything, verified. That is also how the swarm's
//! tracker takes it.
//!
//! The nodes are those of [`protocol::relay`](crate::protocol::relay), and the loop is the swarm's.
//! Only `MPI_Bcast` moves its bytes itself, in one blocking call once the run is open.

mod relay_io;
mod segments;
#[cfg(feature = "mpi")]
mod mpi_job;

use std::fmt;
use std::thread;
use std::time::Duration;

use crossbeam::sync::Parker;

use crate::driver::{Idle, LoopMetrics, MessagesOnly, run_node};
use crate::manifest::NodeId;
use crate::metrics::RankMetrics;
use crate::metrics::usage::Meter;
use crate::protocol::relay::{Moves, OWNER, Relay, RelayAlgorithm, Starter};
use crate::spawn::{self, Gate, ThreadError};
use crate::time::{Clock, Timestamp};
use crate::transport::local::{self, LocalTransport};
use crate::transport::{Transport, TransportError};
use relay_io::RelayIo;
use segments::ReceivedSegments;

#[cfg(feature = "mpi")]
pub use mpi_job::run_rank;

/// One file to bring from rank 1 to all ranks after it.
#[derive(Clone, Debug)]
pub struct BroadcastJob {
    /// How many segments the file has.
    pub segments: u32,
    /// The size of each, bytes; at least the hash and its line feed move.
    pub segment_bytes: usize,
    /// What the bytes follow from: a swarm's only file with this seed has the same.
    pub seed: u64,
    /// Whether a segment counts, and is sent on, only when it is verified. Otherwise all are
    /// verified when the run is over, outside of its time.
    pub verify: bool,
    /// Whether each node has a core that no other one needs.
    pub has_own_core: bool,
    /// Told when this process is ready, and when what follows is no part of the run.
    pub meter: Meter,
}

/// A way to bring one file to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The MPI's own `MPI_Bcast`: of the whole file, which is verified afterwards, or segment
    /// after segment, each verified as it comes.
    MpiBcast {
        /// Whether it sends segment after segment, not the whole file.
        segmented: bool,
    },
    /// A fixed plan of who sends what to whom.
    Relay(RelayAlgorithm),
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MpiBcast { segmented: false } => f.write_str("mpi-bcast"),
            Self::MpiBcast { segmented: true } => f.write_str("mpi-bcast-segments"),
            Self::Relay(algorithm) => algorithm.fmt(f),
        }
    }
}

/// How a broadcast went.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// When rank 0 started the others.
    pub opened: Timestamp,
    /// What each did, by rank.
    pub ranks: Vec<RankReport>,
}

/// What one rank did.
#[derive(Clone, Debug, PartialEq)]
pub struct RankReport {
    /// From the start until rank 0 heard that the rank had everything, verified where the job
    /// says so; none for rank 0 itself.
    pub finished: Option<Duration>,
    /// How long the rank was busy verifying: within its time, or after the run where the job is
    /// to run unverified.
    pub verification: Duration,
    /// Bytes sent and received, and what its time went to. What `MPI_Bcast` sends on is not known,
    /// and counts nowhere.
    pub metrics: RankMetrics,
}

#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum BroadcastError {
    /// There is no rank 1.
    #[error("a broadcast needs an owner: start 2 nodes or more")]
    NoOwner,
    #[error("mpi-bcast needs ranks of an MPI job: start it under mpirun")]
    NeedsRanks,
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A run without checks brought wrong segments.
    #[error("{node}: {segments} segments are wrong")]
    Unsound { node: NodeId, segments: u64 },
    #[error("{node}: {problem}")]
    Failed { node: NodeId, problem: String },
    #[error("stopped because another node failed")]
    Stopped,
}

#[derive(Debug, Default)]
struct PeerReport {
    metrics: RankMetrics,
    verification: Duration,
}

/// Runs a broadcast between `nodes` threads of this process, rank 0 among them.
///
/// # Errors
///
/// When `algorithm` needs ranks, when there is no owner, or when a node fails: then its reason.
pub fn run_threads(
    job: &BroadcastJob,
    algorithm: Algorithm,
    nodes: u32,
    clock: &Clock,
) -> Result<Report, BroadcastError> {
    if nodes < 2 {
        return Err(BroadcastError::NoOwner);
    }
    let Algorithm::Relay(algorithm) = algorithm else { return Err(BroadcastError::NeedsRanks) };
    let parkers: Vec<Parker> = (0..nodes).map(|_| Parker::new()).collect();
    let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
    let mut ends = local::connect(unparkers).into_iter().zip(parkers);
    let (mut end, parker) = ends.next().expect("there is a rank 0");
    let gate = &Gate::default();
    let (started, peers) = thread::scope(|scope| {
        let peer = |(node, (mut end, parker)): (NodeId, (LocalTransport, Parker))| {
            spawn::start_scoped(scope, "for a peer", move || {
                if !gate.pass() {
                    return Err(BroadcastError::Stopped);
                }
                let idle = Idle::new(parker, end.wakes(), job.has_own_core);
                run_relay(job, algorithm, (node, nodes), &mut end, idle, clock)
            })
        };
        let peers: Result<Vec<_>, _> = (1..).map(NodeId).zip(ends).map(peer).collect();
        gate.open(peers.is_ok());
        let peers = peers?;
        let idle = Idle::new(parker, end.wakes(), job.has_own_core);
        let started = run_starter(job, nodes, &mut end, idle, clock);
        let peers = peers.into_iter().map(|peer| peer.join().expect("a node does not panic"));
        Ok((started, peers.collect::<Result<Vec<_>, _>>()))
    })
    .map_err(|cause: ThreadError| TransportError::from(cause))?;
    // Rank 0's error names the node that failed, and comes first.
    report(&started?, peers?)
}

fn run_starter(
    job: &BroadcastJob,
    nodes: u32,
    transport: &mut impl Transport,
    idle: Idle,
    clock: &Clock,
) -> Result<Starter, BroadcastError> {
    let mut starter = Starter::new(nodes);
    let mut io = MessagesOnly::new(|_: &Starter| (), clock);
    run_node(&mut starter, &mut io, transport, idle, (clock, &job.meter))?;
    match starter.failure() {
        None => Ok(starter),
        Some((node, reason)) => Err(BroadcastError::Failed { node, problem: reason.into() }),
    }
}

/// Runs a peer that moves segments as `algorithm` plans it.
fn run_relay(
    job: &BroadcastJob,
    algorithm: RelayAlgorithm,
    (node, nodes): (NodeId, u32),
    transport: &mut impl Transport,
    idle: Idle,
    clock: &Clock,
) -> Result<PeerReport, BroadcastError> {
    let moves = Moves::of(algorithm, (node, nodes), job.segments);
    let window = algorithm.window(job.payload_bytes());
    let follow = |digests| Relay::new(moves, window, job.segments, digests);
    let (mut relay, segments) = if node == OWNER {
        match ReceivedSegments::make(job) {
            Ok((segments, digests)) => (follow(Some(digests)), segments),
            Err(error) => (Relay::refused(&error.to_string()), ReceivedSegments::default()),
        }
    } else {
        (follow(None), ReceivedSegments::default())
    };
    let mut io = RelayIo::new(job, segments, clock);
    let looped = run_node(&mut relay, &mut io, transport, idle, (clock, &job.meter))?;
    let RelayIo { segments, mut metrics, .. } = io;
    if node == OWNER {
        metrics.origin_bytes = metrics.served_bytes;
    }
    let count_wrong = || segments.count_wrong(relay.digests());
    peer_report(job, (node, &relay), (metrics, looped), count_wrong, clock)
}

// Puts together what a peer that has ended measured. Where the run did not verify, this does, and
// its time counts apart.
fn peer_report(
    job: &BroadcastJob,
    (node, relay): (NodeId, &Relay),
    (mut metrics, looped): (RankMetrics, LoopMetrics),
    count_wrong: impl FnOnce() -> u64,
    clock: &Clock,
) -> Result<PeerReport, BroadcastError> {
    if let Some(reason) = relay.failure() {
        return Err(BroadcastError::Failed { node, problem: reason.into() });
    }
    if !relay.is_complete() {
        return Err(BroadcastError::Stopped);
    }
    metrics.spent = looped.spent;
    let mut verification = metrics.spent.total().mul_f64(metrics.spent.shares().verifying);
    if node != OWNER && !job.verify {
        job.meter.end();
        let start = clock.now();
        metrics.corrupt_segments = count_wrong();
        verification = clock.now().since(start);
    }
    Ok(PeerReport { metrics, verification })
}

/// Puts together what rank 0 and what the peers know.
fn report(starter: &Starter, peers: Vec<PeerReport>) -> Result<Report, BroadcastError> {
    for (node, peer) in (1..).map(NodeId).zip(&peers) {
        if peer.metrics.corrupt_segments > 0 {
            return Err(BroadcastError::Unsound { node, segments: peer.metrics.corrupt_segments });
        }
    }
    let outcome = starter.outcome();
    let opened = outcome.opened.expect("a broadcast that succeeded was opened");
    let all = std::iter::once(PeerReport::default()).chain(peers);
    let ranks = outcome.finished.iter().zip(all).map(|(finished, peer)| RankReport {
        finished: finished.map(|finished| finished.since(opened)),
        verification: peer.verification,
        metrics: peer.metrics,
    });
    Ok(Report { opened, ranks: ranks.collect() })
}
