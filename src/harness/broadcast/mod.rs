//! Contenders for the case where one rank has a file and all others want it: what people use
//! instead of a swarm.
//!
//! Rank 0 takes no part in the moving, rank 1 has the file, the ranks after it get it: the same
//! bytes between the same ranks as in a swarm with one owner. Rank 0 starts all at once and takes
//! the time at which each reports that it has everything, verified. That is also how the swarm's
//! tracker takes it.
//!
//! [`Algorithm::Chain`], [`Algorithm::Binomial`] and [`Algorithm::Circulant`] differ only in what
//! each node receives and sends in which order; one relay moves the segments for all of them,
//! between threads as between ranks.

mod circulant;
mod segments;
mod link;
mod peer;
mod plan;
#[cfg(feature = "mpi")]
mod ranks;
mod relay;
mod starter;

use std::fmt;
use std::thread;
use std::time::Duration;

use crossbeam::sync::Parker;

use crate::manifest::{NodeId, SegmentId};
use crate::metrics::RankMetrics;
use crate::metrics::usage::Meter;
use crate::store::StoreError;
use crate::time::{Clock, Timestamp};
use crate::transport::TransportError;
use crate::transport::local::{self, LocalTransport};
use link::RelayEndpoint;
use peer::{BroadcastPeer, PeerReport};
use starter::OpeningTimes;

#[cfg(feature = "mpi")]
pub use ranks::run_rank;

/// Who has the file from the start.
const OWNER: NodeId = NodeId(1);

/// What a node says whose complaint is empty.
const PROBLEM_UNSAID: &str = "it failed and did not say why";

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
    /// Told when this process is ready, and when what follows is no part of the run.
    pub meter: Meter,
}

/// A way to bring one file to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The MPI's own `MPI_Bcast`: of the whole file, which is verified afterwards, or segment
    /// after segment, each verified as it comes.
    MpiBcast {
        /// Whether by segments.
        segmented: bool,
    },
    /// A line of nodes that send on what they get, as `dbcast` does.
    Chain {
        /// Segments under way between two nodes, at most; none counts as one.
        window: usize,
    },
    /// A binomial tree, down which segment follows segment.
    Binomial,
    /// The round-optimal schedule on a circulant graph (Träff, arXiv 2407.18004).
    Circulant,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MpiBcast { segmented: false } => "mpi-bcast",
            Self::MpiBcast { segmented: true } => "mpi-bcast-segments",
            Self::Chain { .. } => "chain",
            Self::Binomial => "binomial",
            Self::Circulant => "circulant",
        })
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
    /// Bytes sent and received, and what its time went to. What `MPI_Bcast` sends on is its own secret and counts nowhere.
    pub metrics: RankMetrics,
}

/// Why a broadcast did not end well.
#[derive(Debug, thiserror::Error)]
pub enum BroadcastError {
    /// There is no rank 1.
    #[error("a broadcast needs an owner: start 2 nodes or more")]
    NoOwner,
    /// `MPI_Bcast` between threads.
    #[error("mpi-bcast needs ranks of an MPI job: start it under mpirun")]
    NeedsRanks,
    /// There is no room for the file.
    #[error(transparent)]
    Memory(#[from] StoreError),
    /// Nothing moves any more.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A segment is not what it was.
    #[error("segment {} came with a wrong digest", segment.0)]
    Wrong {
        /// Which one.
        segment: SegmentId,
    },
    /// Segments were not what they were, and nobody had looked in time.
    #[error("{node}: {segments} segments are wrong")]
    Unsound {
        /// Where.
        node: NodeId,
        /// How many.
        segments: u64,
    },
    /// A node gave up.
    #[error("{node}: {problem}")]
    Failed {
        /// Which one.
        node: NodeId,
        /// What it said.
        problem: String,
    },
    /// Another node gave up.
    #[error("stopped because another node failed")]
    Stopped,
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
    if matches!(algorithm, Algorithm::MpiBcast { .. }) {
        return Err(BroadcastError::NeedsRanks);
    }
    let parkers: Vec<Parker> = (0..nodes).map(|_| Parker::new()).collect();
    let bells = parkers.iter().map(|parker| parker.unparker().clone()).collect();
    let mut ends = local::connect(bells).into_iter().zip(parkers);
    let (mut end, parker) = ends.next().expect("there is a rank 0");
    let (started, peers) = thread::scope(|scope| {
        let peer = |(node, (mut end, parker)): (NodeId, (LocalTransport, Parker))| {
            scope.spawn(move || {
                let mut link = RelayEndpoint::new(&mut end, parker, (clock, &job.meter));
                let peer = BroadcastPeer { job, node, nodes, clock };
                let report = peer.relay(algorithm, &mut link);
                if let Err(error) = &report {
                    BroadcastPeer::complain(&mut link, error)?;
                }
                report
            })
        };
        let peers: Vec<_> = (1..).map(NodeId).zip(ends).map(peer).collect();
        let started = starter::run(
            &mut RelayEndpoint::new(&mut end, parker, (clock, &job.meter)),
            nodes,
            clock,
        );
        let peers = peers.into_iter().map(|peer| peer.join().expect("a node does not panic"));
        (started, peers.collect::<Result<Vec<_>, _>>())
    });
    // What rank 0 heard names the node, and comes first.
    report(started?, peers?)
}

/// Puts together what rank 0 and what the peers know.
fn report(times: OpeningTimes, peers: Vec<PeerReport>) -> Result<Report, BroadcastError> {
    for (node, peer) in (1..).map(NodeId).zip(&peers) {
        if peer.metrics.corrupt_segments > 0 {
            return Err(BroadcastError::Unsound { node, segments: peer.metrics.corrupt_segments });
        }
    }
    let all = std::iter::once(PeerReport::default()).chain(peers);
    let rank = |(finished, PeerReport { metrics, verification })| RankReport {
        finished,
        verification,
        metrics,
    };
    let ranks = times.finished.into_iter().zip(all).map(rank).collect();
    Ok(Report { opened: times.opened, ranks })
}
