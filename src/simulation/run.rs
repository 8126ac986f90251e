//! What a run in virtual time returns.

use std::time::Duration;

use crate::manifest::SegmentId;
use crate::protocol::Outcome;
use crate::verify::Digest;

/// The result of a run.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Run {
    /// The result as rank 0 knows it.
    pub outcome: Outcome,
    /// From the opening of the swarm until the last peer that finished had all it wants.
    pub makespan: Duration,
    pub served: Vec<u64>,
    pub corrupt: u64,
    /// Requests that a holder declined.
    pub declined: u64,
    /// Requests that were not answered in time.
    pub lapsed: u64,
    /// Segments that sources read.
    pub reads: u64,
    /// Peers that left because the tracker was gone.
    pub orphaned: usize,
    pub tracker_messages: u64,
    /// How long the tracker was busy, where its messages take time.
    pub tracker_busy: Duration,
    /// Bytes of all messages, where they are counted.
    pub message_bytes: u64,
    /// Segments that went from one rack to another.
    pub crossed: u64,
    /// The most grants that were open at one moment.
    pub grants_max: usize,
    pub events: u64,
    /// A hash of all events: equal if two runs are the same, event for event.
    pub fingerprint: u64,
    /// By rank, by wanted file in the order of registration: the digests of its segments, where all
    /// arrived. Kept on request.
    pub contents: Vec<Vec<Option<Vec<Digest>>>>,
    /// By rank: how many segments it has at the end, or had when it vanished.
    pub held_counts: Vec<u32>,
    /// By rank: the segments that it has at the end of a broadcast. Kept on request.
    pub held: Vec<Vec<SegmentId>>,
}
