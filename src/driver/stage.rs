//! Brings a tree to every node: the tree is one file of a swarm, whose segments the sources read from disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use crossbeam::sync::{Parker, Unparker};

use super::compression::CompressionPolicy;
use super::job::JobError;
use super::tracker_threads::TrackerThreads;
use super::tree_io::{Held, LOAD_SLOTS, Tree, TreeIo};
use super::tree_workers::{Disk, TreePublished, TreeWorkers, publish};
use super::{Idle, run_traced, run_tracker};
use crate::config::{Compress, Config, RateLimits};
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::metrics::trace::{TraceLog, TraceThread, Tracer};
use crate::metrics::usage::Meter;
use crate::protocol::tracker::Progress;
use crate::protocol::{LateEntry, Outcome, Peer, Registration, Tracker};
use crate::spawn::{self, Gate, ThreadError};
use crate::store::{Pool, StoreError};
use crate::time::Clock;
use crate::transport::local::{self, LocalTransport};
use crate::transport::{Transport, TransportError};
use crate::tree::{Destinations, Layout, Manifest, TreeSource};
use crate::verify::Digest;

// The nodes of a stage without other peers: the tracker and one peer.
const NODES_ALONE: u32 = 2;

/// The name of the tree in the swarm.
const TREE: &str = "tree";

/// The part of one rank in a stage.
#[derive(Debug)]
pub struct StagePart {
    /// What the tree has.
    pub manifest: Arc<Manifest>,
    /// How the tree is cut into segments.
    pub layout: Arc<Layout>,
    /// What this rank reads, if it is a source.
    pub source: Option<TreeSource>,
    /// Segments that its source has not; a set made for no segment where it has all.
    pub lacking: SegmentSet,
    /// Where this rank writes; nowhere where it has no destination, or another rank has the same.
    pub destinations: Destinations,
    /// Segments that some rank lacks.
    pub needed: SegmentSet,
    /// How nodes behave.
    pub config: Config,
    /// What this rank may move to and from others.
    pub limits: RateLimits,
    /// Which segments it sends compressed; all ranks have the same.
    pub compress: Compress,
    /// Determines all random choices.
    pub seed: u64,
    /// Memory for segments, bytes.
    pub memory_bytes: u64,
    /// Threads that read, hash and write.
    pub workers: usize,
    /// Whether each rank has a core that no other one needs.
    pub has_own_core: bool,
    /// Where the traces of the ranks go; none where none is kept.
    pub trace: Option<TraceLog>,
    /// Receives each warning, a line each.
    pub warn: fn(&str),
}

/// What a rank did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct StagedRank {
    pub received_bytes: u64,
    pub served_bytes: u64,
    /// Bytes that crossed of those that it served: fewer where they were compressed.
    pub sent_bytes: u64,
    pub source_bytes: u64,
    /// Destinations that have everything.
    pub complete_destinations: u64,
    /// Bytes at its destinations that the file system copied, which shares blocks where it can.
    pub cloned_bytes: u64,
    /// Why its tree is not complete.
    pub problem: Option<String>,
    /// Whether it was silent for so long that the others went on without it.
    pub is_given_up: bool,
}

/// Why a stage could not begin on a rank.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each says what its fields are")]
pub enum StageError {
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("memory: {0}: use a smaller --memory or --segment-bytes")]
    Memory(#[from] StoreError),
    #[error("{0}; or use a smaller --workers")]
    Threads(#[from] ThreadError),
    #[error("{0}; or use a smaller --tracker-threads")]
    TrackerThreads(ThreadError),
}

/// Segments that a rank must have memory for: with fewer a peer could not receive, send and read back at the
/// same time.
pub fn slots_least(config: &Config) -> usize {
    LOAD_SLOTS + config.uploads + 2
}

/// Memory beside that for compressing, in segments: frames that are being sent, and one that each worker reads.
pub fn slots_to_compress(config: &Config, workers: usize) -> usize {
    frame_slots(config) + workers
}

/// Segments that a rank sends at a time.
fn frame_slots(config: &Config) -> usize {
    // To slow receivers it sends as many beside.
    config.uploads * if config.paced { 2 } else { 1 }
}

pub(super) struct Ready {
    peer: Peer,
    io: TreeIo,
    /// Whether this rank has destinations.
    writes: bool,
    has_own_core: bool,
    tracer: Option<Tracer>,
}

impl StagePart {
    /// Whether nobody lacks anything: there is no swarm then, and [`finish`](Self::finish) does the rest.
    pub fn is_done(&self) -> bool {
        self.needed.is_empty()
    }

    /// Gives everything its final name, where nothing had to be moved.
    pub fn finish(&self) -> StagedRank {
        let TreePublished { complete, problem } = publish(&self.destinations);
        let complete_destinations = complete as u64;
        StagedRank { complete_destinations, problem, ..StagedRank::default() }
    }

    /// Whether this rank may send or receive frames. `near` tells by node whether it is on this host.
    fn takes_frames(&self, near: &[bool]) -> bool {
        match self.compress {
            Compress::Never => false,
            Compress::Auto => near.contains(&false),
            Compress::Always => near.len() > NODES_ALONE as usize,
        }
    }

    /// Slots for segments in memory. `near` tells by node whether it is on this host.
    pub(super) fn slots(&self, near: &[bool]) -> usize {
        let slots = self.memory_bytes / self.layout.segment_bytes().max(1) as u64;
        let takes_frames = self.takes_frames(near);
        let beside = if takes_frames { slots_to_compress(&self.config, self.workers) } else { 0 };
        let slots = usize::try_from(slots).unwrap_or(usize::MAX).saturating_sub(beside);
        slots.max(slots_least(&self.config)).min(self.slots_most(near.len()))
    }

    /// What the tracker and the peer are to know. `near` tells by node whether it is on this host.
    // What is read ahead has to be in memory still when it is sent: half of it, since the rest is under way.
    fn node_config(&self, near: &[bool]) -> Config {
        let read_ahead = self.config.read_ahead.min(self.slots(near) / 2);
        Config { read_ahead, ..self.config.clone() }
    }

    // More than the segments that there are, and what may be under way besides, would never be used. A peer
    // without others keeps nothing for them: touching more memory costs as much time as the copying does.
    fn slots_most(&self, nodes: usize) -> usize {
        let under_way = self.config.spare_slots() + LOAD_SLOTS + 2 * self.workers;
        let has_others = nodes > NODES_ALONE as usize;
        under_way + if has_others { self.layout.segment_count() as usize } else { 0 }
    }

    /// Starts the threads that compute handouts. `waker` wakes the tracker's own thread.
    fn tracker_threads(&self, waker: &Unparker) -> Result<Option<TrackerThreads>, StageError> {
        let &Config { tracker_threads, silence_patience, .. } = &self.config;
        let threads = TrackerThreads::start(tracker_threads, self.seed, silence_patience, waker);
        threads.map_err(StageError::TrackerThreads)
    }

    /// Slots for segments, and how they are compressed, if they are.
    fn memory(&self, near: Vec<bool>) -> Result<(Pool, Option<CompressionPolicy>), StoreError> {
        let segment_bytes = self.layout.segment_bytes();
        let pool = Pool::new(self.slots(&near), segment_bytes)?;
        if !self.takes_frames(&near) {
            return Ok((pool, None));
        }
        let frames = Pool::new(frame_slots(&self.config), segment_bytes)?;
        Ok((pool, Some(CompressionPolicy::new(self.compress, near, frames))))
    }

    /// `near` tells by node whether it is on this host.
    pub(super) fn ready(
        self,
        (node, near): (NodeId, Vec<bool>),
        parker: &Parker,
        clock: &Clock,
    ) -> Result<Ready, StageError> {
        let nodes = u32::try_from(near.len()).expect("nodes are numbered in 32 bits");
        // Each rank is a peer; that of rank 0 has the last number.
        let ranks = nodes - 1;
        let trace = self.trace.as_ref();
        let tracer = trace.map(|log| log.tracer(node.0 % ranks, ranks, clock));
        let segments = self.layout.segment_count();
        let unwanted = self.destinations.unwanted(segments);
        let mut held = SegmentSet::all_of(segments);
        self.destinations
            .missing()
            .iter()
            .chain(unwanted.iter())
            .for_each(|segment| held.remove(segment));
        let digests = (0..segments)
            .map(SegmentId)
            .filter_map(|segment| Some((segment, self.destinations.known(segment)?.digest)));
        let digests: BTreeMap<SegmentId, Digest> = digests.collect();
        let config = self.node_config(&near);
        let (pool, compression) = self.memory(near)?;
        let is_source = self.source.is_some();
        let writes = !self.destinations.is_empty();
        let registration = if self.destinations.is_empty() && !is_source {
            // It only waits for the others.
            Registration::Ready { owned: Vec::new(), wanted: Vec::new() }
        } else {
            let known = digests.iter().map(|(segment, digest)| (segment.0, *digest));
            Registration::Late(LateEntry {
                name: TREE.into(),
                source: is_source.then_some(segments),
                held: held.clone(),
                unwanted,
                lacking: self.lacking,
                digests: if is_source { known.collect() } else { Vec::new() },
            })
        };
        let (workers, has_own_core) = (self.workers, self.has_own_core);
        let tree = Tree { manifest: self.manifest, layout: Arc::clone(&self.layout) };
        let disk = Disk {
            layout: self.layout,
            source: self.source,
            destinations: self.destinations,
            takes_frames: compression.is_some(),
        };
        let workers =
            TreeWorkers::start(&Arc::new(disk), workers, parker.unparker(), tracer.as_ref())?;
        let mut io = TreeIo::new(node, tree, (pool, workers), Held { segments: held, digests });
        io.compression = compression;
        io.waits = tracer.as_ref().map(|tracer| tracer.recorder(TraceThread::Communicating));
        Ok(Ready {
            peer: Peer::new((node, nodes), &registration, config),
            io,
            writes,
            has_own_core,
            tracer,
        })
    }
}

impl Ready {
    pub(super) fn run(
        mut self,
        transport: &mut impl Transport,
        parker: Parker,
        clock: &Clock,
    ) -> Result<StagedRank, TransportError> {
        let meter = Meter::default();
        let idle = Idle::new(parker, transport.wakes(), self.has_own_core);
        let measures = ((clock, &meter), self.tracer.as_ref());
        run_traced(&mut self.peer, &mut self.io, transport, idle, measures)?;
        if self.peer.is_orphaned() {
            return Err(TransportError::Silent(NodeId::TRACKER));
        }
        let staged = StagedRank {
            received_bytes: self.io.metrics.received_bytes,
            served_bytes: self.io.metrics.served_bytes,
            sent_bytes: self.io.sent_bytes,
            source_bytes: self.io.source_bytes,
            complete_destinations: self.io.complete as u64,
            cloned_bytes: self.io.cloned_bytes,
            problem: self.io.problem().filter(|_| self.writes),
            is_given_up: self.peer.is_given_up(),
        };
        // Its workers end with it.
        drop(self.io);
        if let Some(tracer) = self.tracer {
            tracer.finish();
        }
        Ok(staged)
    }
}

/// Stages within one process: each part is a peer with a thread of its own, and one more tracks. What is sent stays in
/// memory, so that no limit holds it back. Returns what each part did, in their order.
///
/// # Errors
///
/// When it could not begin, or broke off.
///
/// # Panics
///
/// Without a part.
pub fn stage_threads(
    parts: Vec<StagePart>,
    clock: &Clock,
    show: impl FnMut(Progress),
) -> Result<(Outcome, Vec<StagedRank>), StageError> {
    let first = parts.first().expect("there is a part");
    let nodes = u32::try_from(parts.len() + 1).expect("nodes are numbered in 32 bits");
    let near = vec![true; parts.len() + 1];
    let mut tracker = Tracker::new(nodes, first.node_config(&near), first.seed)
        .with_service_threads(first.config.tracker_threads);
    let parkers: Vec<Parker> = (0..nodes).map(|_| Parker::new()).collect();
    let threads = first.tracker_threads(parkers[0].unparker())?;
    let has_own_core = first.has_own_core;
    let ready = (1..)
        .map(NodeId)
        .zip(parts)
        .zip(&parkers[1..])
        .map(|((node, part), parker)| part.ready((node, near.clone()), parker, clock));
    let ready: Vec<Ready> = ready.collect::<Result<_, _>>()?;
    let unparkers = parkers.iter().map(|parker| parker.unparker().clone()).collect();
    let mut ends = local::connect(unparkers).into_iter().zip(parkers);
    let (mut tracker_end, tracker_parker) = ends.next().expect("there is a tracker");
    let (meter, gate) = (Meter::default(), Gate::default());
    let (tracked, staged) = thread::scope(|scope| {
        let peer = |(ready, (mut end, parker)): (Ready, (LocalTransport, Parker))| {
            let gate = &gate;
            spawn::start_scoped(scope, "for a peer", move || {
                if !gate.pass() {
                    return Err(TransportError::BrokenOff);
                }
                ready.run(&mut end, parker, clock)
            })
        };
        let peers: Result<Vec<_>, _> = ready.into_iter().zip(ends).map(peer).collect();
        gate.open(peers.is_ok());
        let peers = peers?;
        let idle = Idle::new(tracker_parker, tracker_end.wakes(), has_own_core);
        let beside = (threads, None, show);
        let tracked = run_tracker(&mut tracker, &mut tracker_end, idle, (clock, &meter), beside);
        let staged = peers.into_iter().map(|peer| peer.join().expect("a node does not panic"));
        Ok::<_, ThreadError>((tracked, staged.collect::<Vec<_>>()))
    })?;
    let named = |node: NodeId| move |source| JobError { node, source };
    tracked.map_err(named(NodeId::TRACKER))?;
    let staged = (1..).map(NodeId).zip(staged).map(|(node, staged)| staged.map_err(named(node)));
    let staged: Vec<StagedRank> = staged.collect::<Result<_, _>>()?;
    Ok((tracker.outcome().clone(), staged))
}

#[cfg(feature = "mpi")]
mod ranks {
    use super::super::given_up;
    use super::super::shared_rank::SharedRank;
    use super::super::trace_gathering::gather_traces;
    use super::{
        Arc, Clock, Idle, JobError, NodeId, Outcome, Parker, Progress, StageError, StagePart,
        StagedRank, Tracker, TransportError,
    };
    use crate::config::Config;
    use crate::transport::mpi::{Meeting, MpiTransport, NodePlaces, RollCall};
    use crate::transport::rate_limited::RateLimited;
    use crate::watchdog;
    use mpi::topology::{Communicator as _, SimpleCommunicator};

    /// Where the nodes of a stage are: each rank is a peer, and rank 0 tracks too. The peer of rank `r` is node
    /// `r`; that of rank 0 comes last, since node 0 is the tracker.
    fn places(world: &SimpleCommunicator) -> NodePlaces {
        NodePlaces::with_peers_at(world.size(), (1..world.size()).chain([0]))
    }

    /// The rank of a node.
    pub fn rank_of(node: NodeId, world: &SimpleCommunicator) -> i32 {
        places(world).rank_of(node).unwrap_or_default()
    }

    /// Runs this rank's part; all ranks must come here. Rank 0 gets the outcome.
    ///
    /// # Errors
    ///
    /// When it could not begin, or broke off: the caller must then abort the job.
    pub fn stage_rank(
        part: StagePart,
        world: &SimpleCommunicator,
        clock: &Clock,
        show: impl FnMut(Progress),
    ) -> Result<(Option<Outcome>, StagedRank), StageError> {
        let places = places(world);
        let nodes = places.node_count();
        let node = places.peer_at(world.rank()).expect("each rank is a peer");
        let named = |source| JobError { node, source };
        let (config, seed, has_own_core) = (part.config.clone(), part.seed, part.has_own_core);
        let (trace, warn) = (part.trace.clone(), part.warn);
        let silence = config.silence_patience;
        let gather = || {
            let gathered = trace.as_ref().map(|log| gather_traces(log, world, silence));
            gathered.unwrap_or(Ok(())).map_err(named)
        };
        let (time, layout) = (*clock, Arc::clone(&part.layout));
        let bytes_of = move |segment| layout.bytes_of(segment);
        let transport = connect(&config, world, places).map_err(named)?;
        let near: Vec<bool> = (0..nodes).map(|node| transport.is_near(NodeId(node))).collect();
        let tracker_config = part.node_config(&near);
        let mut transport = RateLimited::new(transport, part.limits, move || time.now(), bytes_of);
        let parker = Parker::new();
        let is_tracker = world.rank() == 0;
        let threads = if is_tracker { part.tracker_threads(parker.unparker())? } else { None };
        let ready = part.ready((node, near), &parker, clock)?;
        if !is_tracker {
            let staged = ready.run(&mut transport, parker, clock).map_err(named)?;
            if staged.is_given_up {
                match given_up::rest(node, &mut transport, &config, warn).map_err(named)? {}
            }
            transport.into_inner().end(silence).map_err(named)?;
            gather()?;
            return Ok((None, staged));
        }
        let service_threads = tracker_config.tracker_threads;
        let mut tracker =
            Tracker::new(nodes, tracker_config, seed).with_service_threads(service_threads);
        let tracking = (&mut tracker, threads);
        let mut shared = SharedRank::new(transport, tracking, node, clock, show).map_err(named)?;
        let staged = ready.run(&mut shared, parker, clock).map_err(named)?;
        let idle = Idle::new(Parker::new(), false, has_own_core);
        let transport = shared.end(idle).map_err(named)?.into_inner();
        if tracker.outcome().lost.is_empty() {
            transport.end(silence).map_err(named)?;
            gather()?;
        } else {
            // Requests to a lost rank never end.
            std::mem::forget(transport);
        }
        Ok((Some(tracker.outcome().clone()), staged))
    }

    fn connect(
        config: &Config,
        world: &SimpleCommunicator,
        places: NodePlaces,
    ) -> Result<MpiTransport, TransportError> {
        let limit = config.registration_patience;
        RollCall::new(world, limit).meet(Meeting::Connect, &[], |_| Vec::new())?;
        let _limited = watchdog::limit("all ranks to connect (MPI_Comm_dup)", limit);
        MpiTransport::among(world, places, config.sends_synchronously)
    }
}

#[cfg(feature = "mpi")]
pub use ranks::{rank_of, stage_rank};
