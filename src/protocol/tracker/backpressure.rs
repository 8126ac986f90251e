//! Backpressure: a tracker that falls behind says so, and peers then gather what they have to say
//! into fewer messages. Explicit congestion notification (RFC 3168) is the same idea.

use crate::config::BUSY_ROUNDS;
use crate::manifest::NodeId;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct Backpressure {
    /// By rank: when it was last sent anything.
    last_sent: Vec<Timestamp>,
    /// Messages handled since the tracker was last idle.
    messages_since_idle: usize,
}

impl Backpressure {
    pub(super) fn new(nodes: usize) -> Self {
        Self { last_sent: vec![Timestamp::default(); nodes], messages_since_idle: 0 }
    }

    pub(super) fn note_message(&mut self) {
        self.messages_since_idle += 1;
    }

    pub(super) fn note_idle(&mut self) {
        self.messages_since_idle = 0;
    }

    /// Whether messages come faster than the tracker handles them.
    // The queue itself is the transport's and its length unknown here. But a server with spare time
    // is idle now and then, and one that is not idle for several messages of every peer is saturated.
    pub(super) fn is_busy(&self) -> bool {
        self.messages_since_idle >= BUSY_ROUNDS * self.last_sent.len()
    }

    pub(super) fn note_sent(&mut self, now: Timestamp, to: NodeId) {
        self.last_sent[to.index()] = now;
    }

    /// When a peer was last sent anything.
    pub(super) fn last_sent(&self, to: NodeId) -> Timestamp {
        self.last_sent[to.index()]
    }
}
