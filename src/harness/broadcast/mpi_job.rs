//! A broadcast between the ranks of an MPI job, and MPI's own.

use std::time::Duration;

use crossbeam::sync::Parker;
use mpi::Count;
use mpi::collective::{CommunicatorCollectives as _, Root as _};
use mpi::datatype::PartitionMut;
use mpi::topology::{Color, Communicator as _, Process, SimpleCommunicator};

use super::segments::{ReceivedSegments, WholeFile};
use super::{
    Algorithm, BroadcastError, BroadcastJob, NodeStart, PeerReport, Report, check_owners,
    peer_report, report, run_relay, run_starter,
};
use crate::config::SILENCE_PATIENCE;
use crate::driver::stopwatch::Stopwatch;
use crate::driver::{Idle, NodeIo, run_node};
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::metrics::{Activity, RankMetrics};
use crate::protocol::relay::{Moves, OWNER, Relay, RelayAlgorithm, RelayPlace};
use crate::protocol::{CheckResult, Input, Output, UNREAD};
use crate::time::{Clock, Timestamp, nanoseconds};
use crate::transport::mpi::MpiTransport;
use crate::transport::{Completion, Transport, TransportError};
use crate::verify::Digest;

// The most bytes in one call of `MPI_Bcast`: MPI counts in 31 bits, and this is their largest power
// of two.
const CALL_BYTES_MAX: usize = 1 << 30;

// The bytes of a digest: those of SHA-256.
const DIGEST_BYTES: usize = 32;

// `MPI_Bcast` from rank 1 within a communicator without rank 0, so that the same ranks take part as in a
// swarm with one owner.
/// Runs this rank's part; all ranks of `world` must come here, and may again and again. Rank 0
/// gets the report.
///
/// # Errors
///
/// When anything fails here, or on rank 0 anywhere. The other ranks may then wait forever, so the
/// caller must abort the job.
pub fn run_rank(
    job: &BroadcastJob,
    algorithm: Algorithm,
    world: &SimpleCommunicator,
    clock: &Clock,
) -> Result<Option<Report>, BroadcastError> {
    let nodes = u32::try_from(world.size()).expect("a job has ranks");
    let node = NodeId(u32::try_from(world.rank()).expect("ranks are not negative"));
    if nodes < 2 {
        return Err(BroadcastError::NoOwner);
    }
    check_owners(job, algorithm)?;
    let mut transport = MpiTransport::new(world, false)?;
    let color = if node == NodeId::TRACKER { Color::undefined() } else { Color::with_value(0) };
    let Some(peers) = world.split_by_color(color) else {
        let relay = match algorithm {
            Algorithm::MpiBcast { .. } => None,
            Algorithm::Relay(algorithm) => Some(algorithm),
        };
        let starter = run_starter(job, relay, nodes, (&mut transport, idle(job), clock))?;
        let gathered = transport
            .gather(&encode(&PeerReport::default()), SILENCE_PATIENCE)?
            .unwrap_or_default();
        let measured = (1..).map(NodeId).zip(gathered.iter().skip(1));
        let measured: Result<_, _> =
            measured.map(|(node, bytes)| decode(node, bytes.as_deref())).collect();
        return report(&starter, measured?).map(Some);
    };
    let measured = match algorithm {
        Algorithm::MpiBcast { segmented } => {
            let place = RelayPlace { node, nodes, patience: None };
            broadcast(job, segmented, place, &peers.process_at_rank(0), &mut transport, clock)
        }
        Algorithm::Relay(algorithm) => {
            let start = match algorithm {
                RelayAlgorithm::Neighbours { .. } => known_start(job, node, &peers),
                RelayAlgorithm::Chain { .. }
                | RelayAlgorithm::Binomial
                | RelayAlgorithm::Circulant => NodeStart::OneOwner,
            };
            let surroundings = (&mut transport, idle(job), clock);
            run_relay(job, algorithm, (node, nodes), start, surroundings)
        }
    };
    transport.gather(&encode(&measured?), SILENCE_PATIENCE)?;
    Ok(None)
}

/// What this peer has, and the digests of all, by one `MPI_Allgatherv`. Collective among the peers: one that can't
/// make its segments takes part, and says why when the run begins.
fn known_start(job: &BroadcastJob, node: NodeId, peers: &SimpleCommunicator) -> NodeStart {
    let owned = job.owned_by(node);
    let (own, found) = match ReceivedSegments::make(job, &owned) {
        Ok((own, found)) => (Ok(own), found),
        Err(error) => (Err(error), vec![UNREAD; owned.len()]),
    };
    let nodes = (1..).map(NodeId).take(peers.size().unsigned_abs() as usize);
    let all: Vec<_> = nodes.map(|node| job.owned_by(node)).collect();
    let bytes_of = |owned: &SegmentSet| owned.len() * DIGEST_BYTES + 1;
    let counts = all.iter().map(|owned| {
        Count::try_from(bytes_of(owned)).expect("the digests of one peer take less than 2 GiB")
    });
    let counts: Vec<Count> = counts.collect();
    let starts = counts.iter().scan(0, |end, &count| {
        *end += count;
        Some(*end - count)
    });
    let starts: Vec<Count> = starts.collect();
    let mut bytes = vec![0_u8; all.iter().map(bytes_of).sum()];
    // One byte more: Open MPI refuses the address of an empty buffer.
    let mine: Vec<u8> = found.iter().flat_map(|digest| digest.0).chain([0]).collect();
    peers.all_gather_varcount_into(
        &mine[..],
        &mut PartitionMut::new(&mut bytes[..], counts, starts),
    );
    let mut digests = vec![UNREAD; job.segments as usize];
    let mut rest = &bytes[..];
    for owned in &all {
        let (part, next) = rest.split_at(bytes_of(owned));
        for (segment, digest) in owned.iter().zip(part.as_chunks().0) {
            digests[segment.index()] = Digest(*digest);
        }
        rest = next;
    }
    NodeStart::Known { own, digests: digests.into() }
}

// Runs a peer whose bytes MPI moves: a relay that plans nothing, and to which all segments come
// when the run opens.
fn broadcast(
    job: &BroadcastJob,
    segmented: bool,
    place: RelayPlace,
    owner: &Process<'_>,
    transport: &mut MpiTransport,
    clock: &Clock,
) -> Result<PeerReport, BroadcastError> {
    let node = place.node;
    let follow = |digests| Relay::new(place, Moves::default(), 1, job.segments, digests);
    let (mut relay, whole) = if node == OWNER {
        match WholeFile::make(job) {
            Ok((whole, digests)) => (follow(Some(digests)), whole),
            Err(error) => (Relay::refused(place, &error.to_string()), WholeFile::default()),
        }
    } else {
        (follow(None), WholeFile::default())
    };
    let is_owner = node == OWNER;
    let mut io =
        BcastIo { job, segmented, is_owner, owner, whole, metrics: RankMetrics::default() };
    let looped = run_node(&mut relay, &mut io, transport, idle(job), (clock, &job.meter))?;
    let BcastIo { mut whole, metrics, .. } = io;
    peer_report(
        job,
        (node, &relay),
        (metrics, looped),
        || whole.count_wrong(relay.digests()),
        clock,
    )
}

/// The file of one rank, and `MPI_Bcast`.
struct BcastIo<'a> {
    job: &'a BroadcastJob,
    segmented: bool,
    is_owner: bool,
    owner: &'a Process<'a>,
    whole: WholeFile,
    metrics: RankMetrics,
}

impl BcastIo<'_> {
    /// The whole file by one call, and verified afterwards. Returns the first wrong segment.
    fn at_once(
        &mut self,
        digests: Option<&[Digest]>,
        stopwatch: &mut Stopwatch,
    ) -> Option<SegmentId> {
        let start = stopwatch.lap(Activity::Idle);
        for part in self.whole.bytes_mut().chunks_mut(CALL_BYTES_MAX) {
            self.owner.broadcast_into(part);
        }
        stopwatch.lap(Activity::Moving);
        let segments = (0..).map(SegmentId).zip(self.whole.segments_mut());
        let mut wrong = segments
            .zip(digests.unwrap_or_default())
            .filter(|((_, bytes), digest)| Digest::of_segment(bytes) != **digest);
        let wrong = wrong.next().map(|((segment, _), _)| segment);
        let activity = if digests.is_some() { Activity::Verifying } else { Activity::Moving };
        let end = stopwatch.lap(activity);
        if !self.is_owner && self.job.segments > 0 {
            // All segments came as one.
            self.metrics.latency.record(end.since(start));
        }
        wrong
    }

    // Each segment by a call of its own, and verified while it is in the cache. Returns the first
    // wrong segment.
    fn by_segments(
        &mut self,
        digests: Option<&[Digest]>,
        stopwatch: &mut Stopwatch,
    ) -> Option<SegmentId> {
        let mut wrong = None;
        for (id, segment) in (0..).map(SegmentId).zip(self.whole.segments_mut()) {
            let start = stopwatch.lap(Activity::Moving);
            for part in segment.chunks_mut(CALL_BYTES_MAX) {
                self.owner.broadcast_into(part);
            }
            let mut end = stopwatch.lap(Activity::Moving);
            if let Some(digests) = digests {
                // A wrong segment does not end the calls: all ranks make them together.
                if Digest::of_segment(segment) != digests[id.index()] {
                    wrong = wrong.or(Some(id));
                }
                end = stopwatch.lap(Activity::Verifying);
            }
            if !self.is_owner {
                self.metrics.latency.record(end.since(start));
            }
        }
        wrong
    }
}

impl NodeIo<Relay> for BcastIo<'_> {
    fn open(&mut self, relay: &Relay, stopwatch: &mut Stopwatch, inputs: &mut Vec<Input<'_>>) {
        let digests = Some(relay.digests()).filter(|_| self.job.verify && !self.is_owner);
        let wrong = if self.segmented {
            self.by_segments(digests, stopwatch)
        } else {
            self.at_once(digests, stopwatch)
        };
        if self.is_owner {
            return;
        }
        self.metrics.received_segments = u64::from(self.job.segments);
        self.metrics.received_bytes = self.whole.bytes_mut().len() as u64;
        let checked = |segment, verdict| Input::Checked { from: OWNER, segment, verdict };
        match wrong {
            Some(segment) => inputs.push(checked(segment, CheckResult::Corrupt)),
            None => {
                let segments = (0..self.job.segments).map(SegmentId);
                inputs.extend(segments.map(|segment| checked(segment, CheckResult::Valid)));
            }
        }
    }

    fn perform(
        &mut self,
        _now: Timestamp,
        output: Output,
        _relay: &Relay,
        _transport: &mut impl Transport,
        inputs: &mut Vec<Input<'_>>,
    ) -> Result<(), TransportError> {
        // A relay without a plan has nothing else done here.
        if output == Output::Reserve {
            let problem = self.whole.reserve(self.job).err();
            self.job.meter.begin();
            let problem = problem.map(|error| error.to_string().into());
            inputs.push(Input::Reserved { problem });
        }
        Ok(())
    }

    fn take_in(&mut self, _now: Timestamp, _completion: Completion, _inputs: &mut Vec<Input<'_>>) {}

    fn collect(&mut self, _now: Timestamp, _relay: &Relay, _inputs: &mut Vec<Input<'_>>) {}
}

// MPI wakes nobody.
fn idle(job: &BroadcastJob) -> Idle {
    Idle::new(Parker::new(), false, job.has_own_core)
}

fn encode(report: &PeerReport) -> Vec<u8> {
    let mut bytes = nanoseconds(report.verification).to_le_bytes().to_vec();
    bytes.extend(report.metrics.encode());
    bytes
}

fn decode(node: NodeId, bytes: Option<&[u8]>) -> Result<PeerReport, BroadcastError> {
    let lost = |problem| BroadcastError::Failed { node, problem };
    let bytes = bytes.ok_or_else(|| lost("stopped or lost: no report".into()))?;
    let (time, metrics) =
        bytes.split_first_chunk().ok_or_else(|| lost("its report is cut off".into()))?;
    let metrics = RankMetrics::decode(metrics).map_err(|error| lost(error.to_string()))?;
    Ok(PeerReport { verification: Duration::from_nanos(u64::from_le_bytes(*time)), metrics })
}
