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
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam::sync::Parker;

use crate::config::{REGISTRATION_PATIENCE, SILENCE_PATIENCE};
use crate::driver::{Idle, LoopMetrics, MessagesOnly, run_node};
use crate::manifest::{NodeId, SegmentSet};
use crate::metrics::RankMetrics;
use crate::metrics::usage::Meter;
use crate::protocol::UNREAD;
use crate::protocol::relay::{
    Moves, OWNER, Relay, RelayAlgorithm, RelayPatience, RelayPlace, Starter,
};
use crate::spawn::{self, Gate, ThreadError};
use crate::time::{Clock, Timestamp};
use crate::transport::local::{self, LocalTransport};
use crate::transport::{Transport, TransportError};
use crate::verify::Digest;
use relay_io::RelayIo;
use segments::{MakeError, ReceivedSegments};

#[cfg(feature = "mpi")]
pub use mpi_job::run_rank;

/// Segments to bring from those that own them to all ranks but rank 0.
#[derive(Clone, Debug)]
pub struct BroadcastJob {
    /// How many segments the file has.
    pub segments: u32,
    /// The size of each, bytes; at least the hash and its line feed move.
    pub segment_bytes: usize,
    /// What the bytes follow from: a swarm's only file with this seed has the same.
    pub seed: u64,
    /// By peer, that of rank 1 first: the segments that it has from the start; where it is empty, rank 1 has all.
    /// Only holders that choose can have several owners.
    pub owned: Arc<[SegmentSet]>,
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
    #[error("{0} has one owner: give all segments to rank 1, or use `neighbours`")]
    OneOwner(Algorithm),
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

// How long the nodes of a broadcast without a tracker wait for each other.
// The least timeout of RFC 6298, and its first one of old: a thread that waits for a core answers within them. As
// the swarm's nodes otherwise.
const PATIENCE: RelayPatience = RelayPatience {
    initial: Duration::from_secs(3),
    least: Duration::from_secs(1),
    registration: REGISTRATION_PATIENCE,
    silence: SILENCE_PATIENCE,
};

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
    check_owners(job, Algorithm::Relay(algorithm))?;
    let parkers: Vec<Parker> = (0..nodes).map(|_| Parker::new()).collect();
    let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
    let mut ends = local::connect(unparkers).into_iter().zip(parkers);
    let (mut end, parker) = ends.next().expect("there is a rank 0");
    let starts = starts(job, algorithm, nodes);
    let gate = &Gate::default();
    let (started, peers) = thread::scope(|scope| {
        let peer = |(start, (node, (mut end, parker))): (_, (NodeId, (LocalTransport, Parker)))| {
            spawn::start_scoped(scope, "for a peer", move || {
                if !gate.pass() {
                    return Err(BroadcastError::Stopped);
                }
                let idle = Idle::new(parker, end.wakes(), job.has_own_core);
                run_relay(job, algorithm, (node, nodes), start, (&mut end, idle, clock))
            })
        };
        let ends = (1..).map(NodeId).zip(ends);
        let peers: Result<Vec<_>, _> = starts.into_iter().zip(ends).map(peer).collect();
        gate.open(peers.is_ok());
        let peers = peers?;
        let idle = Idle::new(parker, end.wakes(), job.has_own_core);
        let started = run_starter(job, Some(algorithm), nodes, (&mut end, idle, clock));
        let peers = peers.into_iter().map(|peer| peer.join().expect("a node does not panic"));
        Ok((started, peers.collect::<Result<Vec<_>, _>>()))
    })
    .map_err(|cause: ThreadError| TransportError::from(cause))?;
    // Rank 0's error names the node that failed, and comes first.
    report(&started?, peers?)
}

fn check_owners(job: &BroadcastJob, algorithm: Algorithm) -> Result<(), BroadcastError> {
    let can_have_several = matches!(algorithm, Algorithm::Relay(RelayAlgorithm::Neighbours { .. }));
    if job.owned.is_empty() || can_have_several {
        Ok(())
    } else {
        Err(BroadcastError::OneOwner(algorithm))
    }
}

/// What a node has before the start.
enum NodeStart {
    /// The owner makes all, and the others hear the digests from it.
    OneOwner,
    /// All know the digests.
    Known { own: Result<ReceivedSegments, MakeError>, digests: Arc<[Digest]> },
}

/// What each peer has, where all are threads of this process.
fn starts(job: &BroadcastJob, algorithm: RelayAlgorithm, nodes: u32) -> Vec<NodeStart> {
    if !matches!(algorithm, RelayAlgorithm::Neighbours { .. }) {
        return (1..nodes).map(|_| NodeStart::OneOwner).collect();
    }
    let mut digests = vec![UNREAD; job.segments as usize];
    let mut make = |node| -> Result<ReceivedSegments, MakeError> {
        let owned = job.owned_by(node);
        let (own, found) = ReceivedSegments::make(job, &owned)?;
        owned.iter().zip(found).for_each(|(segment, digest)| digests[segment.index()] = digest);
        Ok(own)
    };
    let made: Vec<_> = (1..nodes).map(|rank| make(NodeId(rank))).collect();
    let digests: Arc<[Digest]> = digests.into();
    made.into_iter().map(|own| NodeStart::Known { own, digests: Arc::clone(&digests) }).collect()
}

/// Where a node speaks, rests and reads the time.
type Surroundings<'a, T> = (&'a mut T, Idle, &'a Clock);

/// Without `algorithm` the peers move the bytes by other means.
fn run_starter(
    job: &BroadcastJob,
    algorithm: Option<RelayAlgorithm>,
    nodes: u32,
    (transport, idle, clock): Surroundings<'_, impl Transport>,
) -> Result<Starter, BroadcastError> {
    let patience = algorithm.and_then(|algorithm| algorithm.patience(PATIENCE));
    let mut starter = Starter::new(nodes, patience);
    let mut io = MessagesOnly::new(|_: &Starter| (), clock);
    run_node(&mut starter, &mut io, transport, idle, (clock, &job.meter))?;
    match starter.failure() {
        None => Ok(starter),
        Some((node, reason)) => Err(BroadcastError::Failed { node, problem: reason.into() }),
    }
}

/// Runs a peer that moves segments by `algorithm`.
fn run_relay(
    job: &BroadcastJob,
    algorithm: RelayAlgorithm,
    (node, nodes): (NodeId, u32),
    start: NodeStart,
    (transport, idle, clock): Surroundings<'_, impl Transport>,
) -> Result<PeerReport, BroadcastError> {
    let moves = Moves::of(algorithm, (node, nodes), job.segments, PATIENCE);
    let window = algorithm.window(job.payload_bytes());
    let place = RelayPlace { node, nodes, patience: algorithm.patience(PATIENCE) };
    let follow = |moves, digests| Relay::new(place, moves, window, job.segments, digests);
    let refuse = |error: &MakeError| {
        (Relay::refused(place, &error.to_string()), ReceivedSegments::default())
    };
    let (mut relay, segments) = match start {
        NodeStart::Known { own: Ok(own), digests } => {
            (Relay::with_digests(place, moves, digests, &job.owned_by(node)), own)
        }
        NodeStart::Known { own: Err(error), .. } => refuse(&error),
        NodeStart::OneOwner if node == OWNER => {
            match ReceivedSegments::make(job, &job.owned_by(node)) {
                Ok((segments, digests)) => (follow(moves, Some(digests)), segments),
                Err(error) => refuse(&error),
            }
        }
        NodeStart::OneOwner => (follow(moves, None), ReceivedSegments::default()),
    };
    let mut io = RelayIo::new(job, node, segments, clock);
    let looped = run_node(&mut relay, &mut io, transport, idle, (clock, &job.meter))?;
    let RelayIo { segments, metrics, .. } = io;
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
