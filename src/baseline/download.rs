//! A peer's download thread: file after file, segment after segment in the order of the file, one
//! request at a time.

use std::ops::Range;

use crossbeam::sync::Parker;

use super::endpoint::{Endpoint, Tag};
use super::messages::{
    HolderList, HolderQuery, PeerMessage, PeerRequestInfo, ReceivedSegment, TrackerMessage,
    WantedSegment, misplaced,
};
use super::segment_table::{SegmentTable, StoredSegment};
use super::tracker_client::TrackerClient;
use crate::config::{CORRUPT_TRIES_MAX, RENEWAL_SEGMENTS};
use crate::driver::Injection;
use crate::driver::idle::sleep;
use crate::driver::job::Job;
use crate::driver::stopwatch::Stopwatch;
use crate::driver::writer::{Writer, Written};
use crate::manifest::{FileId, FileName, NodeId, SegmentId};
use crate::metrics::{Activity, RankMetrics};
use crate::protocol::registration::{Catalogue, Listing};
use crate::protocol::violation::Bounds;
use crate::protocol::{CorruptSegment, DoneReport, Violation};
use crate::store::FreshSegment;
use crate::time::Clock;
use crate::transport::TransportError;
use crate::verify::Digest;

/// A file that this peer wants and somebody owns.
struct PendingFile {
    file: FileId,
    name: FileName,
    segments: Range<u32>,
}

/// What a holder answered.
enum Answer {
    Right,
    Wrong,
    /// It does not have the segment yet.
    Refusal,
}

/// The download side of a peer.
pub(super) struct Download<'a, L> {
    endpoint: &'a L,
    node: NodeId,
    tracker: TrackerClient<'a, L>,
    segments: &'a SegmentTable,
    injection: Injection,
    writer: Writer<Vec<StoredSegment>>,
    parker: Parker,
    bounds: Bounds,
    /// Files that have no name yet.
    unwritten: usize,
    /// Verified since the tracker was last told.
    got: Vec<ReceivedSegment>,
    /// Segments that no holder had right; they are asked for again when all else is here.
    stuck: Vec<WantedSegment>,
    report: DoneReport,
    metrics: RankMetrics,
    stopwatch: Stopwatch,
}

impl<'a, L: Endpoint> Download<'a, L> {
    pub(super) fn new(
        endpoint: &'a L,
        segments: &'a SegmentTable,
        job: &Job,
        node: NodeId,
        clock: &Clock,
        (parker, writer): (Parker, Writer<Vec<StoredSegment>>),
    ) -> Self {
        let mut stopwatch = Stopwatch::start(clock, &job.meter);
        stopwatch.count(true);
        Self {
            endpoint,
            node,
            tracker: TrackerClient::new(endpoint, job.config.silence_patience),
            segments,
            injection: Injection::new(&job.faults, job.seed, node),
            writer,
            parker,
            bounds: Bounds { nodes: endpoint.nodes(), segments: 0, files: 0 },
            unwritten: 0,
            got: Vec::with_capacity(RENEWAL_SEGMENTS),
            stuck: Vec::new(),
            report: DoneReport::default(),
            metrics: RankMetrics::default(),
            stopwatch,
        }
    }

    // One request under way: the next segment is asked for when the last is verified.
    /// Fetches all that can be had of the named files, and writes it.
    pub(super) fn run(
        &mut self,
        catalogue: &Catalogue,
        names: Vec<FileName>,
    ) -> Result<(), TransportError> {
        self.bounds.segments = catalogue.segments;
        let wanted = names.into_iter().zip(&catalogue.wanted).filter_map(|(name, listing)| {
            let Listing { file, first, count } = (*listing)?;
            Some(PendingFile { file, name, segments: first..first + count })
        });
        let mut wanted: Vec<_> = wanted.collect();
        // Each peer begins with another file. In step with each other nobody would have what another lacks, so
        // that the owner served most: with one owner and 11 who want 10 files of hashes, 3 to 10 times the
        // mean instead of 1.2 times.
        let files = wanted.len().max(1);
        wanted.rotate_left(self.node.index() % files);
        for file in &wanted {
            let start = start(self.node, self.bounds.nodes, files, file.segments.len());
            self.fetch_file(file, start)?;
        }
        self.fetch_stuck(&wanted)?;
        let got = std::mem::take(&mut self.got);
        self.tracker.send(&PeerMessage::AllFinished { got })?;
        self.stopwatch.lap(Activity::Deciding);
        self.finish_writing()?;
        self.stopwatch.lap(Activity::Writing);
        self.tracker.send(&PeerMessage::Done(Box::new(std::mem::take(&mut self.report))))?;
        // Others may still fetch from this peer: its upload thread serves them.
        let answer = self.tracker.receive()?;
        let is_stop = matches!(answer, TrackerMessage::Stop);
        if is_stop { Ok(()) } else { Err(misplaced(NodeId::TRACKER, &answer)) }
    }

    /// What both threads measured, now that both have ended.
    pub(super) fn metrics(mut self, served: &RankMetrics) -> RankMetrics {
        self.stopwatch.lap(Activity::Idle);
        self.metrics.spent = self.stopwatch.spent();
        self.metrics.merge(served);
        self.metrics
    }

    /// Fetches a file in its order from the segment at `start` on, and then those before it, with a new
    /// list of holders for every few segments.
    fn fetch_file(&mut self, file: &PendingFile, start: usize) -> Result<(), TransportError> {
        let mut order: Vec<_> = file.segments.clone().map(SegmentId).collect();
        order.rotate_left(start);
        for segments in order.chunks(RENEWAL_SEGMENTS) {
            let next = |&segment: &SegmentId| WantedSegment { segment, tried: Vec::new() };
            // Ten segments a list, as the exercise has it: the counts of requests in a list grow stale, so
            // that more would unbalance the holders.
            let mut list = self.query(segments.iter().map(next).collect(), false)?;
            for segment in segments {
                let mut next = next(segment);
                if !self.fetch(&mut next, &mut list, |_| true)? {
                    self.stuck.push(next);
                }
            }
        }
        if !self.lacks(file) {
            self.write(file);
        }
        Ok(())
    }

    /// Fetches segments that no holder had right, once another peer has them right. Gives up those that
    /// no peer gets.
    fn fetch_stuck(&mut self, wanted: &[PendingFile]) -> Result<(), TransportError> {
        let mut lacking: Vec<&PendingFile> =
            wanted.iter().filter(|file| self.lacks(file)).collect();
        while !self.stuck.is_empty() {
            let mut list = self.query(self.stuck.clone(), true)?;
            if list.segments.is_empty() {
                break;
            }
            for mut next in std::mem::take(&mut self.stuck) {
                if !self.fetch(&mut next, &mut list, |has| has)? {
                    self.stuck.push(next);
                }
            }
            let (still, whole) = lacking.into_iter().partition(|file| self.lacks(file));
            lacking = still;
            Vec::into_iter(whole).for_each(|file| self.write(file));
        }
        for file in lacking {
            let mut of_file =
                self.stuck.iter().filter(|next| file.segments.contains(&next.segment.0));
            let corrupt = of_file.find_map(WantedSegment::worst);
            self.report.add_failed(file.file, corrupt);
        }
        Ok(())
    }

    /// Whether a file has segments that no holder had right.
    fn lacks(&self, file: &PendingFile) -> bool {
        self.stuck.iter().any(|next| file.segments.contains(&next.segment.0))
    }

    // Fetches a segment from the holder with the fewest requests of those that `fit`, and from another when
    // it does not have it, or what comes is wrong, at last from the same again; false when there is none left.
    // Counts the requests in the list.
    fn fetch(
        &mut self,
        next: &mut WantedSegment,
        list: &mut HolderList,
        fits: impl Fn(bool) -> bool,
    ) -> Result<bool, TransportError> {
        let named = list.segments.iter().position(|&(segment, _)| segment == next.segment);
        let Some(position) = named else { return Ok(false) };
        let digest = list.segments[position].1;
        loop {
            let can = |info: &&mut PeerRequestInfo| {
                let may_send = next.times_tried(info.peer) < CORRUPT_TRIES_MAX;
                may_send && fits(info.has >> position & 1 == 1)
            };
            let load = |info: &&mut PeerRequestInfo| (next.times_tried(info.peer), info.requests);
            let holders = list.holders.iter_mut().filter(can);
            let Some(info) = holders.min_by_key(load) else { return Ok(false) };
            info.requests = info.requests.saturating_add(1);
            let (holder, has) = (info.peer, info.has >> position & 1 == 1);
            match self.request(next.segment, digest, holder)? {
                Answer::Right => return Ok(true),
                Answer::Wrong => next.tried.push(holder),
                // All fetch in the order of the file, so that it lacks what follows, too. To ask it for each
                // segment cost four to nine refusals a segment; with this rule it is fewer than one.
                Answer::Refusal if has => {
                    // It has told the tracker that it does. Whoever waits for it would ask for ever.
                    return Err(Violation::Refusal { segment: next.segment.0 }.from(holder).into());
                }
                Answer::Refusal => list.holders.retain(|info| info.peer != holder),
            }
        }
    }

    /// Asks one holder for a segment and waits for it.
    fn request(
        &mut self,
        id: SegmentId,
        digest: Digest,
        holder: NodeId,
    ) -> Result<Answer, TransportError> {
        let asked = self.stopwatch.lap(Activity::Deciding);
        self.tracker.keep_alive(asked)?;
        self.endpoint.send(holder, Tag::Request, &id.0.to_le_bytes())?;
        // The thread sleeps in here for a round trip and a transfer. The lockfree engine exists to fill
        // this time with other segments.
        let mut bytes = self.tracker.receive_from(holder)?;
        if bytes.is_empty() {
            self.stopwatch.lap(Activity::AwaitingHolder);
            self.metrics.refused_requests += 1;
            return Ok(Answer::Refusal);
        }
        self.delay()?;
        self.stopwatch.lap(Activity::AwaitingHolder);
        if let Some(byte) = bytes.first_mut().filter(|_| self.injection.corrupts()) {
            *byte ^= 0xff;
        }
        let len = bytes.len() as u64;
        let segment = FreshSegment::check(bytes, digest);
        let checked = self.stopwatch.lap(Activity::Verifying);
        let Some(segment) = segment else {
            self.metrics.corrupt_segments += 1;
            return Ok(Answer::Wrong);
        };
        self.segments.insert(id, StoredSegment::Fetched(segment));
        self.got.push(ReceivedSegment { segment: id, holder });
        self.metrics.received_segments += 1;
        self.metrics.received_bytes += len;
        self.metrics.latency.record(checked.since(asked));
        Ok(Answer::Right)
    }

    /// Waits as long as a segment is to come late.
    fn delay(&mut self) -> Result<(), TransportError> {
        let mut left = self.injection.delay().unwrap_or_default();
        while !left.is_zero() {
            let step = left.min(self.tracker.tick());
            sleep(step);
            left -= step;
            self.tracker.keep_alive(self.stopwatch.lap(Activity::AwaitingHolder))?;
        }
        Ok(())
    }

    /// Reports to the tracker what has come since the last time, and waits for a new list.
    fn query(
        &mut self,
        next: Vec<WantedSegment>,
        waits: bool,
    ) -> Result<HolderList, TransportError> {
        self.report_written()?;
        let got = std::mem::take(&mut self.got);
        self.stopwatch.lap(Activity::Deciding);
        let query = HolderQuery { got, next: next.clone(), waits };
        self.tracker.send(&PeerMessage::HolderQuery(query))?;
        let answer = self.tracker.receive()?;
        self.stopwatch.lap(Activity::AwaitingTracker);
        let TrackerMessage::HolderList(list) = answer else {
            return Err(misplaced(NodeId::TRACKER, &answer));
        };
        let checked = list.check(&self.bounds).and_then(|()| list.check_answers(&next, waits));
        checked.map_err(|violation| violation.from(NodeId::TRACKER))?;
        Ok(list)
    }

    /// Begins to write a whole file, on the writer's thread.
    fn write(&mut self, file: &PendingFile) {
        let segments = self.segments.whole(file.segments.clone()).expect("all of them have come");
        self.unwritten += 1;
        self.writer.begin(file.file, file.name.clone(), segments);
    }

    /// Tells the tracker of files that were written since the last time.
    fn report_written(&mut self) -> Result<(), TransportError> {
        while let Some(Written { file, error }) = self.writer.next() {
            self.unwritten -= 1;
            match error {
                None => self.tracker.send(&PeerMessage::FileFinished { file })?,
                Some(error) => self.report.add_problem(&error.to_string()),
            }
        }
        Ok(())
    }

    fn finish_writing(&mut self) -> Result<(), TransportError> {
        loop {
            self.report_written()?;
            if self.unwritten == 0 {
                return Ok(());
            }
            // The writer unparks after each file.
            self.parker.park_timeout(self.tracker.tick());
            self.tracker.keep_alive(self.stopwatch.lap(Activity::Writing))?;
        }
    }
}

/// Where a peer that wants so many files begins in one of so many segments.
// Peers that begin with the same file begin in other parts of it, for the reason for which each begins
// with another file: in step, the owner of the only file served up to 11 times the mean of 12 peers.
pub(super) fn start(node: NodeId, nodes: u32, files: usize, segments: usize) -> usize {
    segments * (node.index() / files) / (nodes as usize).div_ceil(files)
}

impl WantedSegment {
    /// The holder that sent it wrong most often.
    fn worst(&self) -> Option<CorruptSegment> {
        let holder = *self.tried.iter().max_by_key(|&&holder| self.times_tried(holder))?;
        let times = u32::try_from(self.times_tried(holder)).unwrap_or(u32::MAX);
        Some(CorruptSegment { segment: self.segment, holder, times })
    }
}
