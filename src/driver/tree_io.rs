//! Does what a peer of a tree wants done, with real bytes: memory is bounded, and what left it is read back
//! from disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::NodeIo;
use super::compression::CompressionPolicy;
use super::segment_cache::SegmentCache;
use super::stage_slots::StageSlots;
use super::stopwatch::Stopwatch;
use super::tree_workers::{Done, Task, TreePublished, TreeWorkers};
use crate::manifest::{FileId, NodeId, SegmentId, SegmentSet};
use crate::metrics::RankMetrics;
use crate::metrics::trace::TraceRecorder;
use crate::protocol::{CheckResult, Input, Output, Peer, RequestedSegment};
use crate::store::{FilledSlot, Pool, SealedSegment, VacantSlot};
use crate::time::Timestamp;
use crate::transport::{Completion, Transport, TransportError};
use crate::tree::{Layout, Manifest};
use crate::verify::Digest;

/// Slots that no request of this peer takes: they are for segments that are read back for others.
// Two: one is read while another is sent. Without any, peers whose slots are all full of what others
// want could wait for each other for ever.
pub(super) const LOAD_SLOTS: usize = 2;

/// What a peer has of a tree at the start.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Segments on all of its destinations.
    pub(super) segments: SegmentSet,
    /// The digests that it knows.
    pub(super) digests: BTreeMap<SegmentId, Digest>,
}

/// The tree, to name its files.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) manifest: Arc<Manifest>,
    pub(super) layout: Arc<Layout>,
}

impl Tree {
    /// The first file of a segment.
    fn name_of(&self, segment: SegmentId) -> String {
        let first = self.layout.extents(segment).next();
        let entry = first.map(|extent| &self.manifest.entries[extent.entry as usize]);
        entry.map_or_else(String::new, |entry| entry.path.to_string())
    }
}

/// Memory, workers and destinations of a peer.
#[derive(Debug)]
pub(super) struct TreeIo {
    node: NodeId,
    tree: Tree,
    slots: StageSlots,
    cache: SegmentCache,
    workers: TreeWorkers,
    /// Digests of the segments that it has, to check what is read back; not of kept ones that nobody has asked
    /// for.
    digests: BTreeMap<SegmentId, Digest>,
    on_disk: SegmentSet,
    /// Slots of requests and reads that have not ended.
    in_flight: usize,
    /// The credit that the peer was told.
    room: usize,
    /// Segments to be read back, until a slot is vacant.
    loads: VecDeque<(NodeId, RequestedSegment)>,
    loading: usize,
    /// Segments that are in memory, or their frames, and are to be sent.
    ready: Vec<(NodeId, RequestedSegment, SealedSegment)>,
    /// Segments that are not sent, since their receivers are lost, until the peer hears so.
    unsent: Vec<(NodeId, SegmentId)>,
    /// Peers that are lost, as its own says.
    lost: Vec<NodeId>,
    arrived: Vec<(NodeId, SegmentId, FilledSlot)>,
    /// Writes that have not ended.
    writing: usize,
    /// The file that is to be published once all is written.
    publishes: Option<FileId>,
    /// Why this peer writes no more.
    problem: Option<String>,
    /// Whether everything has its final name.
    is_published: bool,
    /// Destinations that have everything.
    pub(super) complete: usize,
    pub(super) metrics: RankMetrics,
    /// Bytes read from the source.
    pub(super) source_bytes: u64,
    /// Bytes at its destinations that the file system copied, which shares blocks where it can.
    pub(super) cloned_bytes: u64,
    /// Bytes that crossed of what was served: those of frames where it was compressed.
    pub(super) sent_bytes: u64,
    /// None where no segment is compressed.
    pub(super) compression: Option<CompressionPolicy>,
    /// Until the swarm opens; none where no trace is kept.
    pub(super) waits: Option<TraceRecorder>,
}

impl TreeIo {
    pub(super) fn new(
        node: NodeId,
        tree: Tree,
        (pool, workers): (Pool, TreeWorkers),
        held: Held,
    ) -> Self {
        Self {
            node,
            tree,
            slots: StageSlots::new(pool),
            cache: SegmentCache::default(),
            workers,
            digests: held.digests,
            on_disk: held.segments,
            in_flight: 0,
            room: usize::MAX,
            loads: VecDeque::new(),
            loading: 0,
            ready: Vec::new(),
            unsent: Vec::new(),
            lost: Vec::new(),
            arrived: Vec::new(),
            writing: 0,
            publishes: None,
            problem: None,
            is_published: false,
            complete: 0,
            metrics: RankMetrics::default(),
            source_bytes: 0,
            cloned_bytes: 0,
            sent_bytes: 0,
            compression: None,
            waits: None,
        }
    }

    /// Why the tree was not published here, if it was not.
    pub(super) fn problem(&self) -> Option<String> {
        let unsaid = || "not all could be had: what is there is kept".to_owned();
        self.problem.clone().or_else(|| (!self.is_published).then(unsaid))
    }

    fn take_slot(&mut self) -> Option<VacantSlot> {
        loop {
            if let Some(slot) = self.slots.take() {
                return Some(slot);
            }
            if !self.cache.evict() {
                return None;
            }
        }
    }

    /// A slot for something that the peer has asked for.
    // The credit may have shrunk since it asked, because the disk is slow. It has asked for a window at most,
    // so that what is allocated beyond the pool is bounded too.
    fn slot(&mut self) -> VacantSlot {
        self.take_slot().unwrap_or_else(|| self.slots.allocate_one())
    }

    /// Segments that may be in flight to this peer, those that are included.
    // A slow disk keeps slots: its peer is then sent less, and slows only itself.
    fn credit(&self) -> usize {
        let free = self.slots.vacant() + self.cache.evictable();
        let reserved = LOAD_SLOTS.saturating_sub(self.loading);
        self.in_flight + free.saturating_sub(reserved)
    }

    fn begin_loads(&mut self, now: Timestamp) {
        while let Some(&(to, requested)) = self.loads.front() {
            let segment = requested.segment;
            if let Some(sealed) = self.cache.begin_send(segment) {
                self.loads.pop_front();
                self.compress_or_send(now, to, requested, sealed);
                continue;
            }
            let digest = self.digests.get(&segment).copied();
            let Some(slot) = self.take_slot() else { return };
            self.loads.pop_front();
            self.loading += 1;
            self.workers.begin(Task::Load { to, requested, digest, slot });
        }
    }

    fn compress_or_send(
        &mut self,
        now: Timestamp,
        to: NodeId,
        requested: RequestedSegment,
        sealed: SealedSegment,
    ) {
        match self.compression.as_mut().and_then(|compression| compression.slot_for(to)) {
            Some(slot) => {
                self.workers.begin(Task::Compress { to, requested, sealed, slot, begun: now });
            }
            None => self.send(now, to, requested, sealed),
        }
    }

    fn send(
        &mut self,
        now: Timestamp,
        to: NodeId,
        requested: RequestedSegment,
        payload: SealedSegment,
    ) {
        if let Some(compression) = &mut self.compression {
            compression.note_sending(now, (to, requested.segment), payload.bytes().len());
        }
        self.ready.push((to, requested, payload));
    }

    fn take_arrived(&mut self, from: NodeId, segment: SegmentId) -> Option<FilledSlot> {
        let place = self.arrived.iter().position(|&(f, s, _)| (f, s) == (from, segment))?;
        Some(self.arrived.swap_remove(place).2)
    }

    /// Publishes once all is written.
    fn publish_when_written(&mut self, inputs: &mut Vec<Input<'_>>) {
        if self.writing > 0 {
            return;
        }
        let Some(file) = self.publishes else { return };
        if let Some(problem) = &self.problem {
            self.publishes = None;
            inputs.push(Input::Published { file, problem: Some(problem.as_str().into()) });
        } else {
            self.writing += 1;
            self.workers.begin(Task::Publish);
        }
    }

    fn take_done(&mut self, now: Timestamp, done: Done, inputs: &mut Vec<Input<'_>>) {
        match done {
            Done::Read { segment, result } => {
                self.in_flight -= 1;
                let result = result.map(|(digest, sealed)| {
                    self.source_bytes += sealed.bytes().len() as u64;
                    self.digests.insert(segment, digest);
                    self.cache.insert(segment, sealed, false);
                    self.writing += 1;
                    digest
                });
                inputs.push(Input::Read { segment, result });
            }
            Done::Checked { from, segment, sealed } => {
                self.in_flight -= 1;
                let verdict = match sealed {
                    Some(sealed) => {
                        self.metrics.received_segments += 1;
                        self.metrics.received_bytes += sealed.bytes().len() as u64;
                        self.cache.insert(segment, sealed, false);
                        self.writing += 1;
                        CheckResult::Valid
                    }
                    None => CheckResult::Corrupt,
                };
                inputs.push(Input::Checked { from, segment, verdict });
            }
            Done::Written { segment, cloned_bytes, problem } => {
                self.writing -= 1;
                self.cloned_bytes += cloned_bytes;
                self.cache.note_written(segment);
                match problem {
                    None => drop(self.on_disk.insert(segment)),
                    Some(problem) => self.fail(problem, inputs),
                }
            }
            Done::Loaded { to, requested, found } => {
                self.loading -= 1;
                match found {
                    Some(found) => self.take_loaded(now, (to, requested), found),
                    None => inputs.push(Input::Unservable { to, segment: requested.segment }),
                }
            }
            Done::Compressed { to, requested, payload, begun } => {
                let plain = self.tree.layout.bytes_of(requested.segment);
                if let Some(compression) = &mut self.compression {
                    compression.note_compressed(now.since(begun), plain, payload.bytes().len());
                }
                self.send(now, to, requested, payload);
            }
            Done::Published(TreePublished { complete, problem }) => {
                self.writing -= 1;
                self.complete = complete;
                self.problem = self.problem.take().or(problem);
                self.is_published = self.problem.is_none();
                let problem = self.problem.as_deref().map(Into::into);
                if let Some(file) = self.publishes.take() {
                    inputs.push(Input::Published { file, problem });
                }
            }
        }
    }

    fn take_loaded(
        &mut self,
        now: Timestamp,
        (to, requested): (NodeId, RequestedSegment),
        (digest, sealed): (Digest, SealedSegment),
    ) {
        let segment = requested.segment;
        // What changes from now on is not sent.
        if *self.digests.entry(segment).or_insert(digest) != digest {
            // The source was read meanwhile, and has other bytes than what was kept.
            self.loads.push_back((to, requested));
            return self.begin_loads(now);
        }
        self.cache.insert(segment, sealed, true);
        if let Some(sealed) = self.cache.begin_send(segment) {
            self.compress_or_send(now, to, requested, sealed);
        }
    }

    fn lose(&mut self, node: NodeId) {
        self.lost.push(node);
        self.slots.replace_sent_to(node);
        if let Some(compression) = &mut self.compression {
            compression.forget_sent_to(node);
        }
    }

    /// What is not sent to lost peers is in nobody's way.
    fn end_unsent(&mut self, inputs: &mut Vec<Input<'_>>) {
        for (to, segment) in self.unsent.drain(..) {
            self.cache.end_send(segment);
            if let Some(compression) = &mut self.compression {
                compression.forget_sent_to(to);
            }
            inputs.push(Input::Sent { to, segment });
        }
    }

    /// No destination is left.
    fn fail(&mut self, problem: String, inputs: &mut Vec<Input<'_>>) {
        if self.problem.is_some() {
            return;
        }
        // A source goes on reading for others.
        inputs.push(Input::Broken { problem: problem.as_str().into() });
        self.problem = Some(problem);
    }
}

impl NodeIo<Peer> for TreeIo {
    fn perform(
        &mut self,
        now: Timestamp,
        output: Output,
        _peer: &Peer,
        transport: &mut impl Transport,
        inputs: &mut Vec<Input<'_>>,
    ) -> Result<(), TransportError> {
        match output {
            Output::Reserve => inputs.push(Input::Reserved { problem: None }),
            Output::Expect { from, segment } => {
                let slot = self.slot();
                self.in_flight += 1;
                transport.expect(from, segment, slot)?;
            }
            Output::Read { segment } => {
                let slot = self.slot();
                self.in_flight += 1;
                self.workers.begin(Task::Read { segment, slot });
            }
            Output::Serve { to, requested } => {
                self.loads.push_back((to, requested));
                self.begin_loads(now);
                self.send_ready(transport)?;
            }
            Output::Forget { from, segment } if from == self.node => {
                // This rank has written what it read, and another rank has read something else.
                let problem = format!(
                    "{}: changed while it was read: another rank has read other bytes",
                    self.tree.name_of(segment)
                );
                self.fail(problem, inputs);
            }
            Output::Forget { from, segment } => match self.take_arrived(from, segment) {
                Some(slot) => {
                    self.in_flight -= 1;
                    drop(slot.vacate());
                }
                None => transport.forget(from, segment)?,
            },
            Output::Check { from, segment, digest } => {
                let slot = self.take_arrived(from, segment).expect("a segment came to be checked");
                self.digests.insert(segment, digest);
                self.workers.begin(Task::Check { from, segment, digest, slot });
            }
            Output::Publish { file } => {
                self.publishes = Some(file);
                self.publish_when_written(inputs);
            }
            // The loop does these.
            Output::Send { .. } | Output::Finish => {}
        }
        Ok(())
    }

    fn take_in(&mut self, now: Timestamp, completion: Completion, inputs: &mut Vec<Input<'_>>) {
        match completion {
            Completion::Arrived { from, segment, slot } => {
                self.arrived.push((from, segment, slot));
                inputs.push(Input::Arrived { from, segment });
            }
            Completion::Sent { to, segment } => {
                self.cache.end_send(segment);
                self.slots.end_send(to, segment);
                if let Some(compression) = &mut self.compression {
                    compression.note_sent(now, to, segment);
                }
                inputs.push(Input::Sent { to, segment });
            }
            Completion::Forgotten { slot } => {
                self.in_flight -= 1;
                drop(slot);
            }
        }
    }

    fn collect(&mut self, now: Timestamp, peer: &Peer, inputs: &mut Vec<Input<'_>>) {
        for &node in peer.lost().iter().skip(self.lost.len()) {
            self.lose(node);
        }
        self.end_unsent(inputs);
        while let Some(done) = self.workers.next() {
            self.take_done(now, done, inputs);
        }
        self.begin_loads(now);
        self.publish_when_written(inputs);
        let room = self.credit();
        if room != self.room {
            self.room = room;
            inputs.push(Input::Room { slots: room });
        }
    }

    fn send_ready(&mut self, transport: &mut impl Transport) -> Result<(), TransportError> {
        for (to, requested, payload) in self.ready.drain(..) {
            if self.lost.contains(&to) {
                // It would keep its slot for ever.
                self.unsent.push((to, requested.segment));
                continue;
            }
            self.slots.begin_send(to, requested.segment);
            self.metrics.served_segments += 1;
            self.metrics.served_bytes += self.tree.layout.bytes_of(requested.segment) as u64;
            self.sent_bytes += payload.bytes().len() as u64;
            transport.serve(to, requested, payload)?;
        }
        Ok(())
    }

    fn open(&mut self, _peer: &Peer, stopwatch: &mut Stopwatch, _inputs: &mut Vec<Input<'_>>) {
        stopwatch.trace(self.waits.take());
    }
}
