//! A broadcast between the ranks of an MPI job, and MPI's own.

use std::time::Duration;

use crossbeam::sync::Parker;
use mpi::collective::Root as _;
use mpi::topology::{Color, Communicator as _, Process, SimpleCommunicator};

use super::link::RelayEndpoint;
use super::peer::{BroadcastPeer, PeerReport};
use super::segments::WholeFile;
use super::{Algorithm, BroadcastError, BroadcastJob, OWNER, Report, report, starter};
use crate::driver::stopwatch::Stopwatch;
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::{Activity, Latency, RankMetrics};
use crate::time::{Clock, nanoseconds};
use crate::transport::mpi::MpiTransport;
use crate::verify::Digest;

/// Bytes in one call of `MPI_Bcast`, at most: MPI counts in 31 bits.
const CALL_BYTES_MAX: usize = 1 << 30;

/// Runs this rank's part; all ranks of `world` must come here, and may again and again. Rank 0
/// gets the report.
///
/// # Errors
///
/// When anything fails here, or on rank 0 anywhere; the other ranks may then wait in vain, so
/// that the job is to be aborted.
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
    let mut transport = MpiTransport::new(world, false)?;
    let color = if node == NodeId::TRACKER { Color::undefined() } else { Color::with_value(0) };
    let peers = world.split_by_color(color);
    let mut link = RelayEndpoint::new(&mut transport, Parker::new(), (clock, &job.meter));
    let Some(peers) = peers else {
        let times = starter::run(&mut link, nodes, clock)?;
        let gathered = transport.gather(&encode(&PeerReport::default()))?.unwrap_or_default();
        let measured = (1..).map(NodeId).zip(gathered.iter().skip(1));
        let measured: Result<_, _> = measured.map(|(node, bytes)| decode(node, bytes)).collect();
        return report(times, measured?).map(Some);
    };
    let peer = BroadcastPeer { job, node, nodes, clock };
    let measured = match algorithm {
        Algorithm::MpiBcast { segmented } => {
            let owner = peers.process_at_rank(0);
            peer.broadcast(segmented, &owner, &mut link)
        }
        Algorithm::Chain { .. } | Algorithm::Binomial | Algorithm::Circulant => {
            peer.relay(algorithm, &mut link)
        }
    };
    if let Err(error) = &measured {
        BroadcastPeer::complain(&mut link, error)?;
    }
    transport.gather(&encode(&measured?))?;
    Ok(None)
}

impl BroadcastPeer<'_> {
    /// Lets MPI move the bytes.
    fn broadcast(
        &self,
        segmented: bool,
        owner: &Process<'_>,
        link: &mut RelayEndpoint<'_, MpiTransport>,
    ) -> Result<PeerReport, BroadcastError> {
        let mut whole = if self.node == OWNER {
            WholeFile::make(self.job)
        } else {
            WholeFile::reserve(self.job)
        }?;
        let mut digests = std::mem::take(&mut whole.digests);
        self.get_ready(link, &mut digests)?;
        self.open(link, &digests)?;
        whole.digests = digests;
        link.watch.count(true);
        let start = link.watch.lap(Activity::Idle);
        let verifies = self.job.verify && self.node != OWNER;
        let mut report = if segmented {
            self.by_segments(&mut whole, owner, verifies, &mut link.watch)?
        } else {
            for part in whole.bytes_mut().chunks_mut(CALL_BYTES_MAX) {
                owner.broadcast_into(part);
            }
            let mut report = PeerReport::default();
            let come = link.watch.lap(Activity::Moving);
            if verifies {
                check(&mut whole)?;
                report.verification = link.watch.lap(Activity::Verifying).since(come);
            }
            report
        };
        let taken = link.watch.lap(Activity::Moving).since(start);
        self.close(link)?;
        report.metrics.spent = link.watch.spent();
        if self.node != OWNER {
            if !self.job.verify {
                self.job.meter.end();
                let start = self.clock.now();
                report.metrics.corrupt_segments = whole.count_wrong();
                report.verification = self.clock.now().since(start);
            }
            report.metrics.received_segments = u64::from(self.job.segments);
            report.metrics.received_bytes = whole.bytes_mut().len() as u64;
            if report.metrics.latency.count() == 0 && self.job.segments > 0 {
                // All segments came as one.
                report.metrics.latency.record(taken);
            }
        }
        Ok(report)
    }

    /// Each segment by a call of its own, and verified while it is in the cache.
    fn by_segments(
        &self,
        whole: &mut WholeFile,
        owner: &Process<'_>,
        verifies: bool,
        watch: &mut Stopwatch,
    ) -> Result<PeerReport, BroadcastError> {
        let (mut latency, mut verification) = (Latency::new(), Duration::ZERO);
        let mut wrong = None;
        for (id, (segment, digest)) in (0..).zip(whole.segments_mut()) {
            let start = watch.lap(Activity::Moving);
            for part in segment.chunks_mut(CALL_BYTES_MAX) {
                owner.broadcast_into(part);
            }
            let come = watch.lap(Activity::Moving);
            // A wrong one does not end the calls that all ranks make together.
            if verifies && Digest::of(segment) != digest {
                wrong = wrong.or(Some(SegmentId(id)));
            }
            let now = watch.lap(if verifies { Activity::Verifying } else { Activity::Moving });
            verification += if verifies { now.since(come) } else { Duration::ZERO };
            latency.record(now.since(start));
        }
        match wrong {
            Some(segment) => Err(BroadcastError::Wrong { segment }),
            None if self.node == OWNER => Ok(PeerReport::default()),
            None => Ok(PeerReport {
                metrics: RankMetrics { latency, ..RankMetrics::default() },
                verification,
            }),
        }
    }
}

/// Checks all segments.
fn check(whole: &mut WholeFile) -> Result<(), BroadcastError> {
    for (id, (segment, digest)) in (0..).zip(whole.segments_mut()) {
        if Digest::of(segment) != digest {
            return Err(BroadcastError::Wrong { segment: SegmentId(id) });
        }
    }
    Ok(())
}

fn encode(report: &PeerReport) -> Vec<u8> {
    let mut bytes = nanoseconds(report.verification).to_le_bytes().to_vec();
    bytes.extend(report.metrics.encode());
    bytes
}

fn decode(node: NodeId, bytes: &[u8]) -> Result<PeerReport, BroadcastError> {
    let lost = |problem| BroadcastError::Failed { node, problem };
    let (time, metrics) =
        bytes.split_first_chunk().ok_or_else(|| lost("its report is cut off".into()))?;
    let metrics = RankMetrics::decode(metrics).map_err(|error| lost(error.to_string()))?;
    Ok(PeerReport { verification: Duration::from_nanos(u64::from_le_bytes(*time)), metrics })
}
