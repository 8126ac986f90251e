//! Where checks are made: here, or on a pool of threads while the node goes on.

use std::sync::Arc;

use crossbeam::channel::{self, Sender};
use crossbeam::queue::ArrayQueue;
use crossbeam::sync::Unparker;
use rayon::ThreadPool;

use crate::config::WINDOW_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::store::{FilledSlot, SealedSegment, VacantSlot};
use crate::time::Timestamp;
use crate::verify::Digest;

/// Segments of one node that can be under way to a check, or back from one.
const UNDER_WAY_MAX: usize = 2 * WINDOW_MAX;

/// Why no queue of that length is ever full.
const BOUNDED: &str = "a node has no more segments under way than the queue holds";

/// A check that has ended.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) from: NodeId,
    pub(super) segment: SegmentId,
    pub(super) requested: Timestamp,
    pub(super) result: Result<SealedSegment, VacantSlot>,
}

/// A check to be made.
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
    /// Where a pool takes its checks from; it ends when this is dropped.
    pool: Option<Sender<Check>>,
    /// Whether segments are taken for right as they come.
    off: bool,
    done: Arc<ArrayQueue<Checked>>,
}

impl Checks {
    /// Checks made by the node itself: best where all cores have a node of their own.
    pub fn inline() -> Self {
        Self { pool: None, off: false, done: Arc::new(ArrayQueue::new(UNDER_WAY_MAX)) }
    }

    /// No checks: what comes is taken for right, so that one can see what checking costs.
    pub fn off() -> Self {
        Self { off: true, ..Self::inline() }
    }

    /// Checks made on all threads of a pool, where cores are to spare. `bell` wakes the node after
    /// each. The threads take checks from one queue: a task a check would cost an allocation.
    pub fn on(pool: &ThreadPool, bell: &Unparker) -> Self {
        let (sender, receiver) = channel::bounded(UNDER_WAY_MAX);
        let this = Self { pool: Some(sender), ..Self::inline() };
        for _ in 0..pool.current_num_threads() {
            let (receiver, done, bell) = (receiver.clone(), Arc::clone(&this.done), bell.clone());
            pool.spawn(move || {
                for check in receiver {
                    make(check, &done);
                    bell.unpark();
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
