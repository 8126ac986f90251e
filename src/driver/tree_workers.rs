//! Threads of a peer that read, hash and write the segments of a tree, so that the thread that talks to the
//! transport waits for no disk.
//!
//! One queue for all of them: whoever is free takes the next task. A segment that was read or checked is
//! reported first and written then, so that others can have it while the disk is busy.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::sync::Unparker;

use super::frames::FrameCodec;
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::trace::{SpanKind, TraceRecorder, TraceThread, Tracer, timed};
use crate::protocol::RequestedSegment;
use crate::spawn::{self, ThreadError};
use crate::store::{FilledSlot, SealedSegment, VacantSlot};
use crate::sync::SegQueue;
use crate::sync::channel::{self, Receiver, Sender};
use crate::time::Timestamp;
use crate::tree::{ClonedAt, Destinations, Layout, SegmentDigest, SegmentWritten, TreeSource};
use crate::verify::Digest;

/// What a peer has on disk, and what it writes to.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) layout: Arc<Layout>,
    /// None where this peer reads no source.
    pub(super) source: Option<TreeSource>,
    pub(super) destinations: Destinations,
    /// Whether a segment may come as a frame.
    pub(super) takes_frames: bool,
}

#[derive(Debug)]
pub(super) enum Task {
    /// Read a segment from the source, hash it, write it.
    Read { segment: SegmentId, slot: VacantSlot },
    /// Check a segment that arrived, write it.
    Check { from: NodeId, segment: SegmentId, digest: Digest, slot: FilledSlot },
    /// Read a segment that is not in memory, for another peer. Without a digest it is of files that were kept
    /// by size and time: nobody has read them yet.
    Load { to: NodeId, requested: RequestedSegment, digest: Option<Digest>, slot: VacantSlot },
    /// Compress a segment into a slot, for another peer.
    Compress {
        to: NodeId,
        requested: RequestedSegment,
        sealed: SealedSegment,
        slot: VacantSlot,
        begun: Timestamp,
    },
    /// Give everything its final name.
    Publish,
}

#[derive(Debug)]
pub(super) enum Done {
    Read {
        segment: SegmentId,
        result: Result<(Digest, SealedSegment), Box<str>>,
    },
    Checked {
        from: NodeId,
        segment: SegmentId,
        sealed: Option<SealedSegment>,
    },
    /// A segment lies on every destination that is left, or there is none left: why.
    Written {
        segment: SegmentId,
        /// Bytes at destinations that the file system copied, which shares blocks where it can.
        cloned_bytes: u64,
        problem: Option<String>,
    },
    Loaded {
        to: NodeId,
        requested: RequestedSegment,
        /// With the digest of its bytes.
        found: Option<(Digest, SealedSegment)>,
    },
    Compressed {
        to: NodeId,
        requested: RequestedSegment,
        /// The segment itself where its frame is not shorter.
        payload: SealedSegment,
        begun: Timestamp,
    },
    Published(TreePublished),
}

/// What became of the destinations in the end.
#[derive(Debug)]
pub(super) struct TreePublished {
    /// How many have everything.
    pub(super) complete: usize,
    /// Why not all have.
    pub(super) problem: Option<String>,
}

/// The threads.
#[derive(Debug)]
pub(super) struct TreeWorkers {
    // Unbounded in form only: each task but the last holds a slot, and slots are bounded.
    tasks: Option<Sender<Task>>,
    done: Arc<SegQueue<Done>>,
    threads: Vec<JoinHandle<()>>,
}

impl TreeWorkers {
    /// Starts `count` threads. `waker` wakes the node after each step.
    pub(super) fn start(
        disk: &Arc<Disk>,
        count: usize,
        waker: &Unparker,
        tracer: Option<&Tracer>,
    ) -> Result<Self, ThreadError> {
        let (tasks, queue) = channel::unbounded();
        let done = Arc::new(SegQueue::new());
        let threads = (0..count)
            .map(|number| {
                let trace = tracer.map(|tracer| tracer.recorder(TraceThread::worker(number)));
                let queue: Receiver<Task> = queue.clone();
                let (disk, done, waker) = (Arc::clone(disk), Arc::clone(&done), waker.clone());
                spawn::start("to read, hash and write", move || {
                    let mut tools = (FrameCodec::default(), trace);
                    let run = |task, report: &dyn Fn(Done)| disk.run(task, &report, &mut tools);
                    work(queue, run, &done, || waker.unpark());
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { tasks: Some(tasks), done, threads })
    }

    pub(super) fn begin(&self, task: Task) {
        let tasks = self.tasks.as_ref().expect("the queue is open as long as the workers live");
        tasks.send(task).expect("a worker takes tasks as long as the queue is open");
    }

    pub(super) fn next(&self) -> Option<Done> {
        self.done.pop()
    }
}

impl Drop for TreeWorkers {
    fn drop(&mut self) {
        self.tasks = None;
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Runs tasks until nobody begins one any more, and reports each step.
fn work(
    queue: Receiver<Task>,
    mut run: impl FnMut(Task, &dyn Fn(Done)),
    done: &SegQueue<Done>,
    wake: impl Fn(),
) {
    let report = |one| {
        done.push(one);
        wake();
    };
    queue.into_iter().for_each(|task| run(task, &report));
}

/// Gives everything its final name.
pub(super) fn publish(destinations: &Destinations) -> TreePublished {
    let complete = destinations.publish().iter().flatten().count();
    let failed = destinations.messages();
    TreePublished { complete, problem: (!failed.is_empty()).then(|| failed.join("; ")) }
}

impl Disk {
    fn run(
        &self,
        task: Task,
        report: &impl Fn(Done),
        (codec, trace): &mut (FrameCodec, Option<TraceRecorder>),
    ) {
        match task {
            Task::Read { segment, slot } => self.read(segment, slot, report, trace),
            Task::Check { from, segment, digest, slot } => {
                let slot = self.plain(segment, slot, codec, trace);
                let fits = slot.bytes().len() == self.layout.bytes_of(segment);
                let found = fits.then(|| self.hash(segment, slot.bytes(), trace));
                let found = found.filter(|found| found.digest == digest);
                let sealed = slot.check_by(|_| found.is_some()).ok();
                report(Done::Checked { from, segment, sealed: sealed.clone() });
                if let Some((sealed, found)) = sealed.zip(found) {
                    self.write((segment, &sealed, &found), None, report, trace);
                }
            }
            Task::Compress { to, requested, sealed, slot, begun } => {
                let of = self.traced_as(requested.segment);
                let frame = timed(trace, SpanKind::Compressed, of, || codec.pack(&sealed, slot));
                let payload = frame.unwrap_or(sealed);
                report(Done::Compressed { to, requested, payload, begun });
            }
            Task::Load { to, requested, digest, slot } => {
                let segment = requested.segment;
                let of = self.traced_as(segment);
                let load = || self.load(segment, digest, slot);
                let found = timed(trace, SpanKind::ReadBack, of, load);
                report(Done::Loaded { to, requested, found });
            }
            Task::Publish => {
                report(Done::Published(publish(&self.destinations)));
            }
        }
    }

    /// What came as a frame becomes the segment, which only a shorter payload can be; nothing where it is none.
    fn plain(
        &self,
        segment: SegmentId,
        slot: FilledSlot,
        codec: &mut FrameCodec,
        trace: &mut Option<TraceRecorder>,
    ) -> FilledSlot {
        let of = self.traced_as(segment);
        if !self.takes_frames || slot.bytes().len() >= of.1 {
            return slot;
        }
        timed(trace, SpanKind::Decompressed, of, || codec.unpack(slot, of.1))
    }

    fn hash(
        &self,
        segment: SegmentId,
        bytes: &[u8],
        trace: &mut Option<TraceRecorder>,
    ) -> SegmentDigest {
        let hash = || SegmentDigest::of(&self.layout, segment, bytes);
        timed(trace, SpanKind::Hashed, (segment.0, bytes.len()), hash)
    }

    /// The number and the bytes of a segment, as a trace has them.
    fn traced_as(&self, segment: SegmentId) -> (u32, usize) {
        (segment.0, self.layout.bytes_of(segment))
    }

    fn read(
        &self,
        segment: SegmentId,
        mut slot: VacantSlot,
        report: &impl Fn(Done),
        trace: &mut Option<TraceRecorder>,
    ) {
        let read = timed(trace, SpanKind::Read, self.traced_as(segment), || {
            let source = self.source.as_ref().ok_or("this rank reads no source")?;
            let out = slot.bytes_mut();
            match self.destinations.clone_from(source, segment, out) {
                Some(cloned) => Ok((self.layout.bytes_of(segment), Some(cloned))),
                None => {
                    source.read(segment, out).map(|read| (read, None)).map_err(|e| e.to_string())
                }
            }
        });
        let (read, cloned) = match read {
            Ok(read) => read,
            Err(error) => {
                return report(Done::Read { segment, result: Err(error.into()) });
            }
        };
        let slot = slot.fill(read);
        let found = self.hash(segment, slot.bytes(), trace);
        let Ok(sealed) = slot.check_by(|_| true) else { return };
        let result = Ok((found.digest, sealed.clone()));
        report(Done::Read { segment, result });
        self.write((segment, &sealed, &found), cloned, report, trace);
    }

    fn write(
        &self,
        (segment, sealed, digest): (SegmentId, &SealedSegment, &SegmentDigest),
        cloned: Option<ClonedAt>,
        report: &impl Fn(Done),
        trace: &mut Option<TraceRecorder>,
    ) {
        // A peer without destinations, a source, only reads.
        let mut nowhere = None;
        let trace = if self.destinations.is_empty() { &mut nowhere } else { trace };
        let write = || self.destinations.write(segment, sealed.bytes(), digest, cloned);
        let SegmentWritten { goes_on, cloned_bytes } =
            timed(trace, SpanKind::Written, self.traced_as(segment), write);
        let lost = !goes_on && !self.destinations.is_empty();
        let problem = lost.then(|| self.destinations.messages().join("; "));
        report(Done::Written { segment, cloned_bytes, problem });
    }

    /// Reads from a destination; from the source where that fails. A destination that has other bytes than it wrote
    /// is mended, or fails.
    // Kept files may have other bytes than the source, of the same size and time. Their digest is no more than
    // what this rank would say of itself: whoever takes the segment compares it with the owner's.
    fn load(
        &self,
        segment: SegmentId,
        digest: Option<Digest>,
        mut slot: VacantSlot,
    ) -> Option<(Digest, SealedSegment)> {
        let mut found = None;
        let mut is_right = |payload: &[u8]| {
            if payload.len() != self.layout.bytes_of(segment) {
                return false;
            }
            let own = SegmentDigest::of(&self.layout, segment, payload).digest;
            found = digest.is_none_or(|digest| digest == own).then_some(own);
            found.is_some()
        };
        let mut corrupt = Vec::new();
        let out = slot.bytes_mut();
        let read =
            self.destinations.read(segment, out, &mut is_right, &mut corrupt).or_else(|| {
                let read = self.source.as_ref()?.read(segment, out).ok()?;
                is_right(out.get(..read)?).then_some(read)
            });
        // Otherwise it would get its final name.
        self.destinations.mend(segment, &corrupt, read.and_then(|read| out.get(..read)));
        let (read, digest) = read.zip(found)?;
        Some((digest, slot.fill(read).check_by(|_| true).ok()?))
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::store::Pool;
    use crate::sync::{ModelParker, explore};
    use loom::thread;

    /// What a disk does with a check, without a disk: it writes what it has reported.
    fn check_and_write(task: Task, report: &dyn Fn(Done)) {
        let Task::Check { from, segment, digest, slot } = task else { return };
        let bytes = slot.bytes().to_vec();
        let sealed = slot.check(digest).ok();
        report(Done::Checked { from, segment, sealed: sealed.clone() });
        if let Some(sealed) = sealed {
            assert_eq!(sealed.bytes(), bytes, "nobody writes there while it is written to disk");
            drop(sealed);
            report(Done::Written { segment, cloned_bytes: 0, problem: None });
        }
    }

    #[test]
    fn loom_a_slot_is_free_once_and_only_when_its_segment_is_written_and_dropped() {
        explore(2, || {
            let pool = Pool::new(2, 1).expect("a little memory");
            let (tasks, queue) = channel::unbounded();
            let (done, node) = (Arc::new(SegQueue::new()), ModelParker::new());
            let workers = [queue.clone(), queue].map(|queue| {
                let (done, node) = (Arc::clone(&done), node.clone());
                thread::spawn(move || work(queue, check_and_write, &done, || node.unpark()))
            });
            for segment in (0..2).map(SegmentId) {
                let slot = pool.take().expect("one for each").fill(1);
                let right = Digest::of_segment(slot.bytes());
                let digest = if segment.0 == 0 { right } else { Digest([0; 32]) };
                let task = Task::Check { from: NodeId(1), segment, digest, slot };
                tasks.send(task).expect("they take tasks");
            }
            let (mut checked, mut written, mut again) = ([0, 0], 0, Vec::new());
            while checked.iter().sum::<u32>() + written < 3 {
                let Some(one) = done.pop() else {
                    node.park();
                    continue;
                };
                match one {
                    Done::Checked { segment, sealed, .. } => {
                        checked[segment.index()] += 1;
                        assert_eq!(sealed.is_some(), segment.0 == 0);
                    }
                    Done::Written { segment, .. } => {
                        assert_eq!((segment.0, checked[0]), (0, 1), "it was reported before");
                        written += 1;
                    }
                    Done::Read { .. }
                    | Done::Loaded { .. }
                    | Done::Compressed { .. }
                    | Done::Published(_) => {}
                }
                // What is free by now is written again.
                again.extend(pool.take().map(|mut slot| {
                    slot.bytes_mut()[0] = 1;
                    slot
                }));
            }
            assert_eq!((checked, written), ([1, 1], 1));
            drop(tasks);
            workers.into_iter().for_each(|worker| worker.join().expect("it ends"));
            assert!(done.pop().is_none());
            drop(again);
            assert_eq!(pool.vacant(), 2);
        });
    }
}
