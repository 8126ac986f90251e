//! Checks segments against their digests: on the node's own thread, or on a pool of threads.

use std::sync::Arc;

use crossbeam::channel::{self, Sender};
use crossbeam::queue::ArrayQueue;
use crossbeam::sync::Unparker;
use rayon::ThreadPool;

use crate::config::{Verify, WINDOW_MAX};
use crate::manifest::{NodeId, SegmentId};
use crate::spawn::{self, ThreadError};
use crate::store::{FilledSlot, SealedSegment, VacantSlot};
use crate::time::Timestamp;
use crate::verify::Digest;

// Segments of one node that wait for a check, or for the node to take the result.
// A bound, no tuning: a peer has at most `WINDOW_MAX` segments in flight, each at most twice.
const CHECKS_MAX: usize = 2 * WINDOW_MAX;

// The invariant that keeps a queue of that length from being full.
const BOUNDED: &str = "a node has no more segments in flight than the queue holds";

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
    off: bool,
    done: Arc<ArrayQueue<Checked>>,
}

impl Checks {
    /// As `verify` says, with `threads` of its own where it says so. `waker` wakes the node after each check.
    pub(super) fn new(
        verify: Verify,
        threads: usize,
        waker: &Unparker,
    ) -> Result<Self, ThreadError> {
        if verify == Verify::Off {
            return Ok(Self::off());
        }
        if threads == 0 {
            return Ok(Self::inline());
        }
        Ok(Self::on(&spawn::pool("that verifies", threads)?, waker))
    }

    /// The node itself checks: best where every core has a node of its own.
    pub fn inline() -> Self {
        Self { pool: None, off: false, done: Arc::new(ArrayQueue::new(CHECKS_MAX)) }
    }

    /// Nothing is checked, to measure what checks cost.
    pub fn off() -> Self {
        Self { off: true, ..Self::inline() }
    }

    /// All threads of a pool check, where cores are to spare. `waker` wakes the node after each
    /// check.
    pub fn on(pool: &ThreadPool, waker: &Unparker) -> Self {
        // Each thread takes checks from one queue for as long as the node lives: to spawn a task for
        // each check would cost an allocation for each.
        let (sender, receiver) = channel::bounded(CHECKS_MAX);
        let this = Self { pool: Some(sender), ..Self::inline() };
        for _ in 0..pool.current_num_threads() {
            let (receiver, done, waker) = (receiver.clone(), Arc::clone(&this.done), waker.clone());
            pool.spawn(move || {
                for check in receiver {
                    make(check, &done);
                    waker.unpark();
                }
            });
        }
        this
    }

    pub(super) fn begin(&self, check: Check) {
        match &self.pool {
            None if self.off => {
                let Check { from, segment, slot, requested, .. } = check;
                let result = Ok(slot.seal_unchecked());
                self.done.push(Checked { from, segment, requested, result }).expect(BOUNDED);
            }
            None => make(check, &self.done),
            Some(pool) => pool.try_send(check).expect(BOUNDED),
        }
    }

    pub(super) fn next(&self) -> Option<Checked> {
        self.done.pop()
    }
}

fn make(check: Check, done: &ArrayQueue<Checked>) {
    let Check { from, segment, digest, slot, requested } = check;
    let result = slot.check(digest);
    done.push(Checked { from, segment, requested, result }).expect(BOUNDED);
}
