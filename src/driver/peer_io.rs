//! Does what a peer wants done, with real bytes.
//!
//! The peer's own record of its requests is the only one ([`Peer::requested_at`]). Here lie the bytes
//! alone, which the pure node can't hold: a slot is at the transport from the request on, in `arrived`
//! until the peer says what to do with it, and at the checks.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use super::checks::{Check, Checked};
use super::prepare::OwnedFiles;
use super::stopwatch::Stopwatch;
use super::writer::{Writer, Written};
use super::{Checks, Injection, NodeIo};
use crate::config::{Buffers, WINDOW_MAX};
use crate::manifest::{FileId, FileName, NodeId, SegmentId};
use crate::metrics::RankMetrics;
use crate::metrics::trace::TraceRecorder;
use crate::protocol::{CheckResult, Input, Output, Peer, registration::Listing};
use crate::store::{FilledSlot, Store, StoreError};
use crate::time::Timestamp;
use crate::transport::{Completion, Transport, TransportError};

/// An injected fault: a segment that arrived, and is announced later.
#[derive(Debug)]
struct Delayed {
    until: Timestamp,
    from: NodeId,
    segment: SegmentId,
}

/// The store, the checks and the output of a peer, and what they measured.
#[derive(Debug)]
pub(super) struct PeerIo {
    store: Store,
    /// Own segments in the order of registration, until they have numbers.
    owned: OwnedFiles,
    wanted: Vec<FileName>,
    /// Segments of own files, ascending, once they have numbers.
    own: Vec<Range<u32>>,
    /// By number, the place of each wanted file in `wanted`, and its segments.
    numbered: HashMap<FileId, (usize, Range<u32>)>,
    writer: Writer,
    slot_bytes: usize,
    buffers: Buffers,
    checks: Checks,
    injection: Injection,
    /// Segments that arrived, until the peer has them checked or forgotten.
    // A list, searched from the front: all but delayed ones leave within the same turn of the loop.
    arrived: Vec<(NodeId, SegmentId, FilledSlot)>,
    delayed: VecDeque<Delayed>,
    metrics: RankMetrics,
    /// Until the swarm opens; none where no trace is kept.
    pub(super) waits: Option<TraceRecorder>,
}

impl PeerIo {
    pub(super) fn new(
        store: Store,
        files: (OwnedFiles, Vec<FileName>),
        writer: Writer,
        (slot_bytes, buffers): (usize, Buffers),
        checks: Checks,
        injection: Injection,
    ) -> Self {
        let (owned, wanted) = files;
        Self {
            store,
            owned,
            wanted,
            own: Vec::new(),
            numbered: HashMap::new(),
            writer,
            slot_bytes,
            buffers,
            checks,
            injection,
            arrived: Vec::with_capacity(2 * WINDOW_MAX),
            delayed: VecDeque::new(),
            metrics: RankMetrics::default(),
            waits: None,
        }
    }
}

impl NodeIo<Peer> for PeerIo {
    fn perform(
        &mut self,
        now: Timestamp,
        output: Output,
        peer: &Peer,
        transport: &mut impl Transport,
        inputs: &mut Vec<Input<'_>>,
    ) -> Result<(), TransportError> {
        match output {
            Output::Reserve => {
                let problem = self.reserve(peer).err();
                let problem = problem.map(|error| format!("wanted files: {error}").into());
                inputs.push(Input::Reserved { problem });
            }
            Output::Expect { from, segment } => {
                // Slots are spared for all that honest nodes have in flight, except from holders that are silent.
                let mut slot = self.store.take();
                if slot.is_none() && peer.chooses() {
                    slot =
                        self.store.extend(1, self.slot_bytes).ok().and_then(|()| self.store.take());
                }
                let slot = slot.ok_or(TransportError::NoSlot { from, segment })?;
                transport.expect(from, segment, slot)?;
            }
            // A clone counts a reference; the bytes stay where they are until MPI has sent them.
            Output::Serve { to, requested } => {
                let segment = requested.segment;
                if self.injection.drops() {
                    inputs.push(Input::Sent { to, segment });
                } else {
                    let sealed = self.store.segment(segment);
                    let payload = sealed.expect("only verified segments are served").clone();
                    self.metrics.served_segments += 1;
                    let bytes = payload.bytes().len() as u64;
                    self.metrics.served_bytes += bytes;
                    self.metrics.origin_bytes += if self.is_own(segment) { bytes } else { 0 };
                    transport.serve(to, requested, payload)?;
                }
            }
            Output::Forget { from, segment } => match self.take_arrived(from, segment) {
                Some(slot) => self.store.give_back(slot.vacate()),
                None => transport.forget(from, segment)?,
            },
            // Inline a check is made in a turn of its own, on a pool at any time. `collect` finds both in one queue.
            Output::Check { from, segment, digest } => {
                let slot = self.take_arrived(from, segment).expect("a segment came to be checked");
                // None for a second copy whose request ended with the first: it isn't counted.
                let requested = peer.requested_at(from, segment).unwrap_or(now);
                self.checks.begin(Check { from, segment, digest, slot, requested });
            }
            Output::Publish { file } => self.publish(file),
            // No rank registers a file that is read while the swarm runs.
            Output::Read { segment } => {
                inputs.push(Input::Read { segment, result: Err("there is no source".into()) });
            }
            // The loop does these.
            Output::Send { .. } | Output::Finish => {}
        }
        Ok(())
    }

    fn take_in(&mut self, now: Timestamp, completion: Completion, inputs: &mut Vec<Input<'_>>) {
        match completion {
            Completion::Arrived { from, segment, slot } => {
                let slot = if self.injection.corrupts() { corrupt(slot) } else { slot };
                self.arrived.push((from, segment, slot));
                match self.injection.delay() {
                    None => inputs.push(Input::Arrived { from, segment }),
                    Some(delay) => {
                        self.delayed.push_back(Delayed { until: now + delay, from, segment });
                    }
                }
            }
            Completion::Sent { to, segment } => inputs.push(Input::Sent { to, segment }),
            Completion::Forgotten { slot } => self.store.give_back(slot),
        }
    }

    fn has_checks(&self) -> bool {
        self.checks.has_own()
    }

    fn check(&mut self, bytes_max: usize, _inputs: &mut Vec<Input<'_>>) -> usize {
        self.checks.advance(bytes_max)
    }

    /// Collects checks that have ended, files that were written, and delayed segments that are due.
    fn collect(&mut self, now: Timestamp, _peer: &Peer, inputs: &mut Vec<Input<'_>>) {
        while let Some(checked) = self.checks.next() {
            let Checked { from, segment, requested, result } = checked;
            let verdict = match result {
                Ok(sealed) => {
                    if self.store.segment(segment).is_none() {
                        self.metrics.received_segments += 1;
                        self.metrics.received_bytes += sealed.bytes().len() as u64;
                        self.metrics.latency.record(now.since(requested));
                    }
                    self.store.insert(segment, sealed);
                    CheckResult::Valid
                }
                Err(slot) => {
                    self.store.give_back(slot);
                    CheckResult::Corrupt
                }
            };
            inputs.push(Input::Checked { from, segment, verdict });
        }
        while let Some(Written { file, error }) = self.writer.next() {
            let problem = error.map(|error| error.to_string().into());
            inputs.push(Input::Published { file, problem });
        }
        while self.delayed.front().is_some_and(|delayed| delayed.until <= now) {
            let Some(Delayed { from, segment, .. }) = self.delayed.pop_front() else { return };
            // It may have been forgotten meanwhile.
            if self.arrived.iter().any(|&(f, s, _)| (f, s) == (from, segment)) {
                inputs.push(Input::Arrived { from, segment });
            }
        }
    }

    /// When the next delayed segment is due.
    fn deadline(&self) -> Option<Timestamp> {
        self.delayed.front().map(|delayed| delayed.until)
    }

    fn open(&mut self, _peer: &Peer, stopwatch: &mut Stopwatch, _inputs: &mut Vec<Input<'_>>) {
        stopwatch.trace(self.waits.take());
    }
}

impl PeerIo {
    /// What was measured here, with what the peer counted.
    pub(super) fn metrics(mut self, peer: &Peer) -> RankMetrics {
        let failures = peer.failures();
        self.metrics.workers = self.checks.threads() as u64;
        self.metrics.corrupt_segments = failures.corrupt;
        self.metrics.refused_requests = failures.declined;
        self.metrics.lapsed_requests = failures.lapsed;
        self.metrics
    }

    /// Stores own segments under their numbers, and reserves a slot for every wanted one.
    fn reserve(&mut self, peer: &Peer) -> Result<(), StoreError> {
        let range = |listing: &Listing| listing.first..listing.first + listing.count;
        let owned = std::mem::take(&mut self.owned);
        let files = peer.owned().iter().chain(peer.wanted().iter().flatten());
        self.store.add_files(files.map(range));
        for (listing, segments) in peer.owned().iter().zip(owned) {
            for (id, sealed) in (listing.first..).zip(segments) {
                self.store.insert(SegmentId(id), sealed);
            }
        }
        self.own = peer.owned().iter().map(range).filter(|range| !range.is_empty()).collect();
        self.own.sort_unstable_by_key(|range| range.start);
        let wanted = peer.wanted().iter().enumerate();
        let wanted = wanted.filter_map(|(place, listing)| Some((place, listing.as_ref()?)));
        self.numbered = wanted.map(|(place, l)| (l.file, (place, range(l)))).collect();
        let segments = peer.wanted().iter().flatten().map(|listing| listing.count as usize).sum();
        match self.buffers {
            Buffers::Preallocated => self.store.extend(segments, self.slot_bytes),
            Buffers::Fresh => {
                self.store.allocate_each(self.slot_bytes);
                Store::probe(segments, self.slot_bytes)
            }
        }
    }

    /// Whether a segment is of a file that this peer owned at the start.
    fn is_own(&self, segment: SegmentId) -> bool {
        let after = self.own.partition_point(|range| range.start <= segment.0);
        after > 0 && self.own[after - 1].contains(&segment.0)
    }

    fn publish(&self, file: FileId) {
        let (place, ids) = &self.numbered[&file];
        // The store has no place for a file without segments, and an empty one is as good.
        let is_empty = ids.is_empty();
        let segments = if is_empty { None } else { self.store.file_of(SegmentId(ids.start)) };
        let content = segments.cloned().unwrap_or_default();
        self.writer.begin(file, self.wanted[*place].clone(), content);
    }

    fn take_arrived(&mut self, from: NodeId, segment: SegmentId) -> Option<FilledSlot> {
        let place = self.arrived.iter().position(|&(f, s, _)| (f, s) == (from, segment))?;
        Some(self.arrived.swap_remove(place).2)
    }
}

fn corrupt(slot: FilledSlot) -> FilledSlot {
    let len = slot.bytes().len();
    let mut slot = slot.vacate();
    if let Some(byte) = slot.bytes_mut().first_mut() {
        *byte ^= 0xff;
    }
    slot.fill(len)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::manifest::NodeId;
    use crate::protocol::Registration;
    use crate::transport::local;
    use crossbeam::sync::Parker;

    #[test]
    fn a_request_without_a_slot_is_an_error_and_no_panic() {
        let nothing = Registration::Ready { owned: Vec::new(), wanted: Vec::new() };
        let peer = Peer::new((NodeId(1), 2), &nothing, Config::for_segments_of(1024));
        let wakers = [(); 2].map(|()| Parker::new().unparker().clone());
        let mut end = local::connect(wakers.into()).swap_remove(1);
        let injection = Injection::new(&[], 1, NodeId(1));
        let slots = (1024, Buffers::default());
        let files = (Vec::new(), Vec::new());
        let mut io = PeerIo::new(
            Store::default(),
            files,
            Writer::default(),
            slots,
            Checks::inline(),
            injection,
        );
        let output = Output::Expect { from: NodeId(1), segment: SegmentId(5) };
        let expected = io.perform(Timestamp(0), output, &peer, &mut end, &mut Vec::new());
        let error = expected.expect_err("there is no slot").to_string();
        assert!(error.starts_with("no slot is left for segment 5 from rank 1: "), "{error}");
    }
}
