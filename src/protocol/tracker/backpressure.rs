//! Does every peer know that it is heard, and does the tracker hear more than it can handle?

use crate::config::BUSY_ROUNDS;
use crate::manifest::NodeId;
use crate::time::Timestamp;

/// When each peer was told something, and how long there was always something to handle.
#[derive(Debug)]
pub(super) struct Backpressure {
    /// When each rank was last told anything.
    spoken: Vec<Timestamp>,
    /// Messages since there was nothing to do.
    unrested: usize,
}

impl Backpressure {
    pub(super) fn new(nodes: usize) -> Self {
        Self { spoken: vec![Timestamp::default(); nodes], unrested: 0 }
    }

    /// A message came.
    pub(super) fn note_message(&mut self) {
        self.unrested += 1;
    }

    /// Nothing is left to do.
    pub(super) fn rest(&mut self) {
        self.unrested = 0;
    }

    /// Whether messages come faster than they are handled: they never end.
    pub(super) fn is_busy(&self) -> bool {
        self.unrested >= BUSY_ROUNDS * self.spoken.len()
    }

    /// Something is said to a peer.
    pub(super) fn note_spoken(&mut self, now: Timestamp, to: NodeId) {
        self.spoken[to.index()] = now;
    }

    /// When a peer was last told anything.
    pub(super) fn spoken(&self, to: NodeId) -> Timestamp {
        self.spoken[to.index()]
    }
}
