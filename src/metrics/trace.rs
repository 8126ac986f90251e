//! When did what happen? Spans of each thread of a rank, which `report::trace_file` writes for a viewer.
//!
//! Invariant: recording takes no lock and allocates nothing: each recorder has a buffer of its own, of fixed
//! size, and counts what no longer fits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::channel::{self, Receiver, Sender};
use serde::{Deserialize, Serialize};

use super::host_name;
use crate::time::{Clock, Timestamp};

/// Spans of one recorder, at most; those after them are counted.
// 2 MiB at 32 bytes a span. A segment takes two or three in the recorder that has most of them, so that some
// 20,000 segments of a rank fit: a tree has from 1,024 to a few thousand.
pub const SPANS_MAX: usize = 1 << 16;

/// What a span is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they are")]
pub enum SpanKind {
    /// From an ask until the tracker's handout.
    Asked,
    /// From the request for a segment until it lay in its slot.
    Received,
    /// From the moment when the transport was given a segment until it had sent it. Short segments that it was given
    /// for one rank at once are one span: it names the first, and has the bytes of all.
    Sent,
    /// Short segments that the communicating thread hashed one after the other are one span, as those that it sent.
    Hashed,
    Compressed,
    Decompressed,
    /// A segment was written to all destinations of this rank.
    Written,
    /// A whole file was written, under its final name.
    FileWritten,
    /// A segment was read from the source.
    Read,
    /// A segment that had left memory was read again, and compared.
    ReadBack,
    AwaitingTracker,
    AwaitingHolder,
    AwaitingDisk,
    Idle,
    /// A limit on bytes a second holds back requests or segments.
    AwaitingLimit,
}

/// A span of time on the clock of a rank, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct TraceSpan {
    pub kind: SpanKind,
    pub begin: u64,
    pub end: u64,
    /// The rank at the other end.
    pub rank: Option<u16>,
    /// A segment; of [`SpanKind::FileWritten`] a file.
    pub number: u32,
    pub bytes: u32,
}

/// A thread of a rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TraceThread {
    /// The one that talks to other ranks.
    #[default]
    Communicating,
    /// The one that writes finished files.
    Writer,
    /// One of those that verify, read and write, from 0.
    Worker(u32),
}

impl TraceThread {
    /// One of several.
    pub fn worker(number: usize) -> Self {
        Self::Worker(u32::try_from(number).unwrap_or(u32::MAX))
    }
}

/// What one recorder has kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct TraceTrack {
    pub thread: TraceThread,
    pub spans: Vec<TraceSpan>,
    /// Spans that did not fit.
    pub dropped: u64,
    /// When this thread heard that the swarm is open, ns on its clock.
    opened: Option<u64>,
}

/// What the threads of a rank did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct RankTrace {
    pub rank: u32,
    pub host: String,
    /// When this rank heard that the swarm is open, ns on its clock; none where it never opened.
    pub opened: Option<u64>,
    pub tracks: Vec<TraceTrack>,
}

/// The traces of the ranks of this process, and on rank 0 at the end those of all ranks. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct TraceLog {
    ranks: Arc<Mutex<Vec<RankTrace>>>,
}

/// Gives the threads of one rank their recorders, and gets back what they kept.
#[derive(Debug)]
pub struct Tracer {
    log: TraceLog,
    rank: u32,
    ranks: u32,
    clock: Clock,
    ended: Sender<TraceTrack>,
    tracks: Receiver<TraceTrack>,
}

/// Keeps spans of one thread. What it kept goes to its tracer when it is dropped.
#[derive(Debug)]
pub struct TraceRecorder {
    clock: Clock,
    ranks: u32,
    track: TraceTrack,
    ended: Sender<TraceTrack>,
}

impl TraceLog {
    /// For a rank among `ranks`, whose times are those of `clock`.
    pub fn tracer(&self, rank: u32, ranks: u32, clock: &Clock) -> Tracer {
        // Bounded by the recorders, of which each sends once.
        let (ended, tracks) = channel::unbounded();
        Tracer { log: self.clone(), rank, ranks: ranks.max(1), clock: *clock, ended, tracks }
    }

    /// Adds what another rank has sent.
    pub fn add(&self, rank: RankTrace) {
        self.ranks().push(rank);
    }

    /// All traces, by rank; from now on there are none.
    pub fn take(&self) -> Vec<RankTrace> {
        let mut all = std::mem::take(&mut *self.ranks());
        all.sort_by_key(|one| one.rank);
        all
    }

    fn ranks(&self) -> MutexGuard<'_, Vec<RankTrace>> {
        // A push or a take: a thread that panicked can't have left it half-changed.
        self.ranks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracer {
    /// For a thread, or for a part of what it does. All memory is allocated here.
    pub fn recorder(&self, thread: TraceThread) -> TraceRecorder {
        let mut spans = Vec::new();
        // Without the memory nothing is kept, and all is counted.
        let _ = spans.try_reserve_exact(SPANS_MAX);
        let track = TraceTrack { thread, spans, ..TraceTrack::default() };
        TraceRecorder { clock: self.clock, ranks: self.ranks, track, ended: self.ended.clone() }
    }

    /// Adds to the log what all recorders have kept. It waits for those that are not dropped yet.
    pub fn finish(self) {
        let Self { log, rank, ended, tracks, .. } = self;
        drop(ended);
        let mut tracks: Vec<TraceTrack> = tracks.iter().collect();
        tracks.sort_by_key(|track| track.thread);
        let opened = tracks.iter().find_map(|track| track.opened);
        log.add(RankTrace { rank, host: host_name(), opened, tracks });
    }
}

impl TraceRecorder {
    /// The time on the clock of its rank.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The swarm is open: what happened at `at` in all ranks.
    pub fn open(&mut self, at: Timestamp) {
        self.track.opened = Some(at.0);
    }

    /// Keeps a span from `begin` until now.
    pub fn end(&mut self, kind: SpanKind, begin: Timestamp, number: u32, bytes: usize) {
        let end = self.now();
        self.keep(kind, (begin, end), None, (number, bytes));
    }

    /// Keeps a span. `node` is at the other end.
    pub fn keep(
        &mut self,
        kind: SpanKind,
        (begin, end): (Timestamp, Timestamp),
        node: Option<u32>,
        (number, bytes): (u32, usize),
    ) {
        if self.track.spans.len() >= self.track.spans.capacity().min(SPANS_MAX) {
            self.drop_some(1);
            return;
        }
        // In a stage the peer of rank 0 has the number that follows the last rank.
        let rank = node.and_then(|node| u16::try_from(node % self.ranks).ok());
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let (begin, end) = (begin.0, end.0.max(begin.0));
        self.track.spans.push(TraceSpan { kind, begin, end, rank, number, bytes });
    }

    /// Counts spans that are not kept.
    pub fn drop_some(&mut self, spans: usize) {
        self.track.dropped += spans as u64;
    }
}

impl Drop for TraceRecorder {
    fn drop(&mut self) {
        // A rank that broke off waits for no track.
        let _ = self.ended.send(std::mem::take(&mut self.track));
    }
}

/// Does some work on a segment or a file, and keeps a span of it where there is a recorder.
pub fn timed<T>(
    trace: &mut Option<TraceRecorder>,
    kind: SpanKind,
    (number, bytes): (u32, usize),
    work: impl FnOnce() -> T,
) -> T {
    let begin = trace.as_ref().map(TraceRecorder::now);
    let done = work();
    if let Some((trace, begin)) = trace.as_mut().zip(begin) {
        trace.end(kind, begin, number, bytes);
    }
    done
}

impl RankTrace {
    /// For the way to rank 0, in at most `bytes_max` bytes. What does not fit is counted as dropped.
    pub fn encode(mut self, bytes_max: usize) -> Vec<u8> {
        loop {
            let bytes = postcard::to_allocvec(&self).expect("plain data can be serialized");
            if bytes.len() <= bytes_max || self.tracks.is_empty() {
                return bytes;
            }
            // The later half of each track: a trace that ends early is as good until there.
            for track in &mut self.tracks {
                let kept = track.spans.len() / 2;
                track.dropped += (track.spans.len() - kept) as u64;
                track.spans.truncate(kept);
            }
            if self.tracks.iter().all(|track| track.spans.is_empty()) {
                self.tracks.clear();
            }
        }
    }

    /// Reads what a rank among `ranks` has encoded; none where it can't be that.
    pub fn decode(bytes: &[u8], rank: u32, ranks: u32) -> Option<Self> {
        let read: Self = postcard::from_bytes(bytes).ok()?;
        let is_right = |span: &TraceSpan| {
            span.begin <= span.end && span.rank.is_none_or(|rank| u32::from(rank) < ranks)
        };
        let mut spans = read.tracks.iter().flat_map(|track| &track.spans);
        (read.rank == rank && spans.all(is_right)).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(work: impl FnOnce(&Tracer)) -> RankTrace {
        let log = TraceLog::default();
        let tracer = log.tracer(2, 4, &Clock::start());
        work(&tracer);
        tracer.finish();
        log.take().pop().expect("one rank")
    }

    fn keep(trace: &mut TraceRecorder, begin: u64, node: Option<u32>) {
        let ends = (Timestamp(begin), Timestamp(begin + 5));
        trace.keep(SpanKind::Received, ends, node, (7, 1024));
    }

    #[test]
    fn a_buffer_has_a_bound_and_counts_what_does_not_fit() {
        let rank = traced(|tracer| {
            let mut trace = tracer.recorder(TraceThread::Communicating);
            let buffer = trace.track.spans.as_ptr();
            (0..SPANS_MAX as u64 + 3).for_each(|begin| keep(&mut trace, begin, None));
            assert_eq!(trace.track.spans.as_ptr(), buffer, "it was allocated once");
        });
        let track = &rank.tracks[0];
        assert_eq!((track.spans.len(), track.dropped), (SPANS_MAX, 3));
        assert_eq!(size_of::<TraceSpan>(), 32, "what the bound in bytes says");
    }

    #[test]
    fn threads_give_their_spans_back_when_they_end() {
        let rank = traced(|tracer| {
            let workers = [1, 0].map(|number| {
                let mut trace = Some(tracer.recorder(TraceThread::Worker(number)));
                std::thread::spawn(move || {
                    timed(&mut trace, SpanKind::Hashed, (number, 10), || ());
                })
            });
            let mut mine = tracer.recorder(TraceThread::Communicating);
            mine.open(Timestamp(9));
            keep(&mut mine, 3, Some(4));
            workers.into_iter().for_each(|worker| worker.join().expect("it ends"));
        });
        assert_eq!((rank.rank, rank.opened), (2, Some(9)));
        let threads: Vec<_> = rank.tracks.iter().map(|track| track.thread).collect();
        let workers = [0, 1].map(TraceThread::Worker);
        assert_eq!(threads, [TraceThread::Communicating, workers[0], workers[1]]);
        assert_eq!(rank.tracks[0].spans[0].rank, Some(0), "the peer beside the tracker");
        assert!(rank.tracks[1..].iter().all(|track| track.spans[0].kind == SpanKind::Hashed));
    }

    #[test]
    fn a_trace_survives_the_way_or_loses_its_end() {
        let rank = traced(|tracer| {
            let mut trace = tracer.recorder(TraceThread::Writer);
            (0..1000).for_each(|begin| keep(&mut trace, begin, Some(3)));
        });
        let whole = rank.clone().encode(1 << 20);
        assert_eq!(RankTrace::decode(&whole, 2, 4), Some(rank.clone()));
        assert_eq!(RankTrace::decode(&whole, 1, 4), None, "another rank's");
        assert_eq!(RankTrace::decode(&whole, 2, 3), None, "there is no rank 3");
        let bytes = rank.clone().encode(whole.len() / 3);
        assert!(bytes.len() <= whole.len() / 3);
        let part = RankTrace::decode(&bytes, 2, 4).expect("a shorter one");
        assert_eq!((part.tracks[0].spans.len(), part.tracks[0].dropped), (250, 750));
        assert_eq!(part.tracks[0].spans[..], rank.tracks[0].spans[..250]);
        let nothing = RankTrace::decode(&rank.encode(0), 2, 4).expect("the shortest");
        assert_eq!(nothing.tracks, []);
    }

    #[test]
    fn no_wrong_byte_of_a_trace_panics() {
        let rank = traced(|tracer| keep(&mut tracer.recorder(TraceThread::Worker(1)), 1, Some(1)));
        let bytes = rank.encode(1 << 10);
        for index in 0..bytes.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut wrong = bytes.clone();
                wrong[index] = value;
                let _ = RankTrace::decode(&wrong, 2, 4);
            }
            assert_eq!(RankTrace::decode(&bytes[..index], 2, 4), None);
        }
    }
}
