//! Where checks are made: here, or on a pool of threads while the node goes on.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use crossbeam::sync::Unparker;
use rayon::ThreadPool;

use crate::config::WINDOW_MAX;
use crate::manifest::{Digest, NodeId, SegmentId};
use crate::store::{FilledSlot, SealedSegment, VacantSlot};

/// A check that has ended.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) from: NodeId,
    pub(super) segment: SegmentId,
    pub(super) result: Result<SealedSegment, VacantSlot>,
}

/// Checks segments for one node.
#[derive(Debug)]
pub struct Checks {
    /// The pool, and what wakes the node when a check there has ended.
    pool: Option<(Arc<ThreadPool>, Unparker)>,
    done: Arc<ArrayQueue<Checked>>,
}

impl Checks {
    /// Checks made by the node itself: best where all cores have a node of their own.
    pub fn inline() -> Self {
        Self { pool: None, done: Arc::new(ArrayQueue::new(2 * WINDOW_MAX)) }
    }

    /// Checks made on a pool, where cores are to spare. `bell` wakes the node after each.
    pub fn on(pool: Arc<ThreadPool>, bell: Unparker) -> Self {
        Self { pool: Some((pool, bell)), ..Self::inline() }
    }

    pub(super) fn begin(&self, from: NodeId, segment: SegmentId, digest: Digest, slot: FilledSlot) {
        let done = Arc::clone(&self.done);
        let check = move || {
            let checked = Checked { from, segment, result: slot.check(digest) };
            done.push(checked).expect("a node has no more segments under way than the queue holds");
        };
        match &self.pool {
            None => check(),
            Some((pool, bell)) => {
                let bell = bell.clone();
                pool.spawn(move || {
                    check();
                    bell.unpark();
                });
            }
        }
    }

    pub(super) fn next(&self) -> Option<Checked> {
        self.done.pop()
    }
}
