//! Checks segments against their digests: on the node's own thread, or on a pool of threads.
//!
//! A pool is worth having where cores are to spare. The default takes one there, and checks short segments on
//! the node's own thread all the same.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::sync::Unparker;
use rayon::ThreadPool;

use crate::config::{PACKED_SLOT_MAX, Verify, WINDOW_MAX};
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::trace::{SpanKind, TraceRecorder, TraceThread, Tracer, timed};
use crate::spawn::{self, ThreadError};
use crate::store::{FilledSlot, SealedSegment, VacantSlot};
use crate::sync::ArrayQueue;
use crate::sync::channel::{self, Receiver, Sender};
use crate::time::Timestamp;
use crate::verify::{Digest, SEGMENT_PART_BYTES, SegmentHasher};

// Segments of one node that wait for a check, or for the node to take the result.
// A bound, no tuning: a peer has at most `WINDOW_MAX` segments in flight, each at most twice.
const CHECKS_MAX: usize = 2 * WINDOW_MAX;

/// Bytes that the communicating thread hashes between two polls, at most.
// One part of a segment that has several: it is 256 KiB for the same reason.
pub(super) const CHECK_BYTES_A_TURN: usize = SEGMENT_PART_BYTES;

// The invariant that keeps a queue of that length from being full.
const BOUNDED: &str = "a node has no more segments in flight than the queue holds";

// Shorter segments are checked on the node's own thread even where cores are to spare.
// A core hashes 64 KiB in 30 to 50 µs. To wake a thread and to be woken by it takes up to 10 µs each, and the
// segment moves from one core's cache to another's.
const POOL_BYTES_MIN: usize = 64 << 10;

/// A check that has ended: the sealed segment, or the vacant slot of a corrupt one.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) from: NodeId,
    pub(super) segment: SegmentId,
    pub(super) requested: Timestamp,
    pub(super) result: Result<SealedSegment, VacantSlot>,
}

#[derive(Debug)]
pub(super) struct Check {
    pub(super) from: NodeId,
    pub(super) segment: SegmentId,
    pub(super) digest: Digest,
    pub(super) slot: FilledSlot,
    /// When the segment was requested.
    pub(super) requested: Timestamp,
}

/// Checks segments for one node.
#[derive(Debug)]
pub struct Checks {
    /// The queue of the pool. Its threads end when this is dropped.
    pool: Option<Sender<Check>>,
    threads: usize,
    off: bool,
    /// Checks for the node's own thread, oldest first.
    waiting: VecDeque<Check>,
    /// Of the first of them.
    hasher: SegmentHasher,
    /// Of the node's own thread; none where no trace is kept.
    trace: Option<HashTrace>,
    done: Arc<ArrayQueue<Checked>>,
}

impl Checks {
    /// As `verify` says, for segments of up to `segment_bytes`, with `threads` of its own if there are any.
    /// `waker` wakes the node after each check.
    pub(super) fn new(
        verify: Verify,
        threads: usize,
        segment_bytes: usize,
        waker: &Unparker,
        tracer: Option<&Tracer>,
    ) -> Result<Self, ThreadError> {
        let on_a_pool = match verify {
            Verify::Off => return Ok(Self::off()),
            Verify::Inline => false,
            Verify::Auto => segment_bytes >= POOL_BYTES_MIN,
            Verify::Pool => true,
        };
        if !on_a_pool || threads == 0 {
            let trace = tracer.map(|one| HashTrace::new(one.recorder(TraceThread::Communicating)));
            return Ok(Self { trace, ..Self::inline() });
        }
        Ok(Self::on_pool(&spawn::pool("that verifies", threads)?, waker, tracer))
    }

    /// The node itself checks: best where every core has a node of its own.
    pub fn inline() -> Self {
        let done = Arc::new(ArrayQueue::new(CHECKS_MAX));
        let waiting = VecDeque::with_capacity(CHECKS_MAX);
        let hasher = SegmentHasher::default();
        Self { pool: None, threads: 0, off: false, waiting, hasher, trace: None, done }
    }

    /// Nothing is checked, to measure what checks cost.
    pub fn off() -> Self {
        Self { off: true, ..Self::inline() }
    }

    /// All threads of a pool check, where cores are to spare. `waker` wakes the node after each
    /// check.
    pub fn on(pool: &ThreadPool, waker: &Unparker) -> Self {
        Self::on_pool(pool, waker, None)
    }

    fn on_pool(pool: &ThreadPool, waker: &Unparker, tracer: Option<&Tracer>) -> Self {
        // Each thread takes checks from one queue for as long as the node lives: to spawn a task for
        // each check would cost an allocation for each.
        let (sender, receiver) = channel::bounded(CHECKS_MAX);
        let threads = pool.current_num_threads();
        let this = Self { pool: Some(sender), threads, ..Self::inline() };
        for number in 0..threads {
            let (receiver, done, waker) = (receiver.clone(), Arc::clone(&this.done), waker.clone());
            let mut trace = tracer.map(|tracer| tracer.recorder(TraceThread::worker(number)));
            pool.spawn(move || make_all(receiver, &done, &mut trace, || waker.unpark()));
        }
        this
    }

    pub(super) fn begin(&mut self, check: Check) {
        match &self.pool {
            None if self.off => {
                let Check { from, segment, slot, requested, .. } = check;
                let result = Ok(slot.seal_unchecked());
                self.done.push(Checked { from, segment, requested, result }).expect(BOUNDED);
            }
            None => self.waiting.push_back(check),
            Some(pool) => pool.try_send(check).expect(BOUNDED),
        }
    }

    /// Whether checks wait for the node's own thread.
    pub(super) fn has_own(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Goes on with those checks for at most `bytes_max` bytes; returns how many were hashed, 0 where the next
    /// part has more.
    pub(super) fn advance(&mut self, bytes_max: usize) -> usize {
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(check) = self.waiting.front()
        {
            if let Some(trace) = &mut self.trace {
                trace.begin(check.slot.bytes().len());
            }
            let (hashed, found) = self.hasher.advance(check.slot.bytes(), bytes_max - bytes);
            let Some(found) = found else {
                bytes += hashed;
                if hashed > 0 {
                    continue;
                }
                if let Some(trace) = &mut self.trace {
                    trace.withdraw();
                }
                break;
            };
            // A segment without bytes takes time too.
            bytes += hashed.max(1);
            let check = self.waiting.pop_front().expect("it was the first");
            let Check { from, segment, digest, slot, requested } = check;
            if let Some(trace) = &mut self.trace {
                trace.end(segment, slot.bytes().len());
            }
            let result = slot.check_by(|_| found == digest);
            self.done.push(Checked { from, segment, requested, result }).expect(BOUNDED);
        }
        if let Some(trace) = &mut self.trace {
            trace.keep();
        }
        bytes
    }

    /// Threads that check, beside the node's own.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    pub(super) fn next(&self) -> Option<Checked> {
        self.done.pop()
    }
}

/// Records what the node's own thread hashes. Short segments that it hashes one after the other are one span: one for
/// each would cost a good part of what hashing costs.
#[derive(Debug)]
struct HashTrace {
    recorder: TraceRecorder,
    /// When the span began.
    began: Option<Timestamp>,
    /// Whether the last part began it.
    is_new: bool,
    /// The first segment that was hashed in it, and the bytes of all.
    hashed: Option<(SegmentId, usize)>,
}

impl HashTrace {
    fn new(recorder: TraceRecorder) -> Self {
        Self { recorder, began: None, is_new: false, hashed: None }
    }

    /// A part of a segment of so many bytes is hashed next.
    fn begin(&mut self, bytes: usize) {
        if bytes > PACKED_SLOT_MAX {
            self.keep();
        }
        self.is_new = self.began.is_none();
        self.began.get_or_insert_with(|| self.recorder.now());
    }

    /// That part has to wait.
    fn withdraw(&mut self) {
        self.began = self.began.filter(|_| !self.is_new);
    }

    /// A segment was hashed.
    fn end(&mut self, segment: SegmentId, bytes: usize) {
        let (first, before) = self.hashed.unwrap_or((segment, 0));
        self.hashed = Some((first, before + bytes));
        if bytes > PACKED_SLOT_MAX {
            self.keep();
        }
    }

    /// Ends the span, unless a segment is half hashed.
    fn keep(&mut self) {
        if let Some((first, bytes)) = self.hashed.take()
            && let Some(began) = self.began.take()
        {
            self.recorder.end(SpanKind::Hashed, began, first.0, bytes);
        }
    }
}

/// Makes checks until nobody begins one any more.
fn make_all(
    checks: Receiver<Check>,
    done: &ArrayQueue<Checked>,
    trace: &mut Option<TraceRecorder>,
    wake: impl Fn(),
) {
    for Check { from, segment, digest, slot, requested } in checks {
        let of = (segment.0, slot.bytes().len());
        let result = timed(trace, SpanKind::Hashed, of, || slot.check(digest));
        done.push(Checked { from, segment, requested, result }).expect(BOUNDED);
        wake();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::metrics::trace::TraceLog;
    use crate::store::Store;
    use crate::time::Clock;
    use crossbeam::sync::Parker;

    fn threads(verify: Verify, spare: usize, segment_bytes: usize) -> usize {
        let parker = Parker::new();
        let checks =
            Checks::new(verify, verify.threads(spare), segment_bytes, parker.unparker(), None);
        checks.expect("a few threads").threads()
    }

    #[test]
    fn long_segments_are_checked_by_threads_of_their_own_where_cores_are_to_spare() {
        let by_default = |spare, bytes| threads(Verify::default(), spare, bytes);
        assert_eq!(by_default(3, POOL_BYTES_MIN), 3);
        assert_eq!(by_default(3, POOL_BYTES_MIN - 1), 0);
        assert_eq!(by_default(0, 1 << 30), 0);
        assert_eq!((threads(Verify::Pool, 3, 1), threads(Verify::Pool, 0, 1)), (3, 1));
        assert_eq!(threads(Verify::Inline, 3, 1 << 30) + threads(Verify::Off, 3, 1 << 30), 0);
    }

    #[test]
    fn the_communicating_thread_checks_a_little_at_a_time() {
        const SEGMENT_BYTES: usize = CHECK_BYTES_A_TURN * 2 / 5;
        let mut store = Store::new(6, SEGMENT_BYTES).expect("a little memory");
        let mut checks = Checks::inline();
        let digest = Digest([0; 32]);
        for segment in (0..6).map(SegmentId) {
            let slot = store.take().expect("one for each").fill(SEGMENT_BYTES);
            let (from, requested) = (NodeId(1), Timestamp(0));
            checks.begin(Check { from, segment, digest, slot, requested });
        }
        for turn in 0..3 {
            assert!(checks.next().is_none() && checks.has_own());
            assert_eq!(checks.advance(CHECK_BYTES_A_TURN), 2 * SEGMENT_BYTES);
            assert_eq!(checks.advance(CHECK_BYTES_A_TURN / 5), 0, "the next does not fit");
            let ended: Vec<_> = std::iter::from_fn(|| checks.next()).collect();
            let order: Vec<_> = ended.iter().map(|checked| checked.segment.0).collect();
            assert_eq!(order, [0, 1].map(|place| 2 * turn + place));
            assert!(ended.iter().all(|checked| checked.result.is_err()), "they are corrupt");
        }
        assert!(!checks.has_own());
    }

    #[test]
    fn short_segments_that_are_hashed_one_after_the_other_are_one_span() {
        let log = TraceLog::default();
        let tracer = log.tracer(0, 1, &Clock::start());
        let mut trace = HashTrace::new(tracer.recorder(TraceThread::Communicating));
        let long = PACKED_SLOT_MAX + 1;
        for (segment, bytes) in [(3, 10), (5, 20), (7, long), (8, 30)] {
            trace.begin(bytes);
            trace.end(SegmentId(segment), bytes);
        }
        trace.keep();
        trace.begin(long);
        trace.withdraw();
        assert_eq!(trace.began, None);
        for _ in 0..2 {
            trace.begin(long);
            trace.keep();
        }
        trace.withdraw();
        trace.end(SegmentId(9), long);
        drop(trace);
        tracer.finish();
        let spans = log.take().remove(0).tracks.remove(0).spans;
        let kept: Vec<_> = spans.iter().map(|span| (span.number, span.bytes as usize)).collect();
        assert_eq!(kept, [(3, 30), (7, long), (8, 30), (9, long)]);
        assert!(spans.is_sorted_by(|a, b| a.end <= b.begin));
    }

    #[test]
    fn a_long_segment_is_checked_in_several_turns() {
        const LENGTHS: [usize; 4] = [
            3 * CHECK_BYTES_A_TURN + 1,
            2 * CHECK_BYTES_A_TURN,
            CHECK_BYTES_A_TURN / 2,
            CHECK_BYTES_A_TURN + 1,
        ];
        let mut store = Store::new(4, LENGTHS[0]).expect("a little memory");
        let mut checks = Checks::inline();
        for (segment, length) in (0..).map(SegmentId).zip(LENGTHS) {
            let mut slot = store.take().expect("one for each");
            (0..length).for_each(|place| slot.bytes_mut()[place] = place.to_le_bytes()[1]);
            let slot = slot.fill(length);
            // One of them is corrupt.
            let is_corrupt = segment == SegmentId(1);
            let digest =
                if is_corrupt { Digest([0; 32]) } else { Digest::of_segment(slot.bytes()) };
            let (from, requested) = (NodeId(1), Timestamp(0));
            checks.begin(Check { from, segment, digest, slot, requested });
        }
        let mut turns = Vec::new();
        while checks.has_own() {
            turns.push(checks.advance(CHECK_BYTES_A_TURN));
        }
        assert!(turns.iter().all(|bytes| (1..=CHECK_BYTES_A_TURN).contains(bytes)), "{turns:?}");
        assert_eq!(turns.iter().sum::<usize>(), LENGTHS.iter().sum::<usize>());
        let ended: Vec<_> = std::iter::from_fn(|| checks.next()).collect();
        let valid: Vec<_> = ended.iter().map(|one| (one.segment.0, one.result.is_ok())).collect();
        assert_eq!(valid, [(0, true), (1, false), (2, true), (3, true)]);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::store::Store;
    use crate::sync::{ModelParker, explore};
    use loom::thread;

    #[test]
    fn loom_each_segment_is_checked_once_and_the_node_is_woken_for_it() {
        explore(2, || {
            let node = ModelParker::new();
            let (sender, receiver) = channel::bounded(CHECKS_MAX);
            let mut checks = Checks { pool: Some(sender), threads: 2, ..Checks::inline() };
            let workers = [receiver.clone(), receiver].map(|receiver| {
                let (done, node) = (Arc::clone(&checks.done), node.clone());
                thread::spawn(move || make_all(receiver, &done, &mut None, || node.unpark()))
            });
            let mut store = Store::new(2, 1).expect("a little memory");
            for segment in (0..2).map(SegmentId) {
                let slot = store.take().expect("one for each").fill(1);
                // The second one is corrupt.
                let right = Digest::of_segment(slot.bytes());
                let digest = if segment.0 == 0 { right } else { Digest([0; 32]) };
                let (from, requested) = (NodeId(1), Timestamp(0));
                checks.begin(Check { from, segment, digest, slot, requested });
            }
            let mut times = [0, 0];
            while times.iter().sum::<u32>() < 2 {
                while let Some(Checked { segment, result, .. }) = checks.next() {
                    times[segment.index()] += 1;
                    assert_eq!(
                        result.is_ok(),
                        segment.0 == 0,
                        "it is sealed if its digest is right"
                    );
                }
                // Without a wake-up behind each result the last one would never be seen.
                if times.iter().sum::<u32>() < 2 {
                    node.park();
                }
            }
            assert_eq!(times, [1, 1]);
            let done = Arc::clone(&checks.done);
            drop(checks);
            workers.into_iter().for_each(|worker| worker.join().expect("it ends"));
            assert!(done.pop().is_none(), "none was checked twice");
        });
    }

    #[test]
    fn loom_threads_end_when_their_node_ends_before_its_checks() {
        explore(3, || {
            let (sender, receiver) = channel::bounded(CHECKS_MAX);
            let mut checks = Checks { pool: Some(sender), threads: 1, ..Checks::inline() };
            let done = Arc::clone(&checks.done);
            let worker = {
                let done = Arc::clone(&done);
                thread::spawn(move || make_all(receiver, &done, &mut None, || ()))
            };
            let mut store = Store::new(2, 1).expect("a little memory");
            for segment in (0..2).map(SegmentId) {
                let slot = store.take().expect("one for each").fill(1);
                let (from, requested, digest) = (NodeId(1), Timestamp(0), Digest([0; 32]));
                checks.begin(Check { from, segment, digest, slot, requested });
            }
            drop(checks);
            worker.join().expect("it ends");
            let checked: Vec<_> =
                std::iter::from_fn(|| done.pop()).map(|one| one.segment.0).collect();
            assert_eq!(checked, [0, 1], "in order, each once");
        });
    }
}
