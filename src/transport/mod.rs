//! How do they move? Carries messages and segments between nodes: threads of one process, or ranks
//! of an MPI job. It knows no rule of the protocol.

pub mod local;
#[cfg(feature = "mpi")]
pub mod mpi;
pub mod rate_limited;
mod token_bucket;

use std::time::Duration;

use crate::escape;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, ProtocolError, RequestedSegment, codec::CodecError};
use crate::spawn::ThreadError;
use crate::store::{FilledSlot, SealedSegment, VacantSlot};
use crate::time::Timestamp;

/// Carries messages and segment bytes. Never blocks, and fails only when the whole job is broken.
pub trait Transport {
    /// Sends a message; those from one node to another arrive in order. To a request it adds what it has
    /// posted for the segments, which it expects already.
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError>;

    /// Makes a slot ready: the segment that `from` sends lands in it and nowhere else.
    fn expect(
        &mut self,
        from: NodeId,
        segment: SegmentId,
        slot: VacantSlot,
    ) -> Result<(), TransportError>;

    /// Takes a slot back; it comes as [`Completion::Forgotten`], unless the segment has come.
    fn forget(&mut self, from: NodeId, segment: SegmentId) -> Result<(), TransportError>;

    /// Sends a segment from where it lies, as its receiver requested it.
    fn serve(
        &mut self,
        to: NodeId,
        requested: RequestedSegment,
        payload: SealedSegment,
    ) -> Result<(), TransportError>;

    /// Has what waits for company in one message leave without it.
    fn flush(&mut self) -> Result<(), TransportError>;

    /// Makes progress, and replaces what is in `events` by what has happened since.
    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError>;

    /// Whether everything that was sent has left.
    fn is_flushed(&self) -> bool;

    /// Whether the transport wakes an idle node when something comes, or must be polled.
    fn wakes(&self) -> bool;

    /// When the transport is to be polled although nothing comes.
    // Without a default, as all of them: a transport around another one must not forget to ask it.
    fn deadline(&self) -> Option<Timestamp>;

    /// What waits here for a limit on bytes a second.
    fn held_back(&self) -> HeldBack;
}

/// Whether a limit on bytes a second holds anything back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBack {
    /// Requests for segments.
    pub requests: bool,
    /// Segments to be sent.
    pub segments: bool,
}

/// What has happened at a node since the last poll.
// The same memory serves every poll. Whoever reads a message leaves it there, and the transport uses
// it again for another: otherwise each message would cost an allocation.
#[derive(Debug, Default)]
pub struct PolledEvents {
    /// Messages that came, and from whom; those of one node in order.
    pub messages: Vec<(NodeId, Box<Message>)>,
    /// What else has ended.
    pub completions: Vec<Completion>,
    /// Messages that brought segments.
    pub payload_messages: u64,
}

impl PolledEvents {
    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.completions.is_empty()
    }
}

/// The end of a [`Transport::expect`], [`serve`](Transport::serve) or
/// [`forget`](Transport::forget).
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of the call")]
pub enum Completion {
    /// A segment arrived in its slot, unchecked.
    Arrived {
        from: NodeId,
        segment: SegmentId,
        slot: FilledSlot,
    },
    Sent {
        to: NodeId,
        segment: SegmentId,
    },
    /// No segment will arrive in this slot.
    Forgotten {
        slot: VacantSlot,
    },
}

fn no_sign_of(nodes: &[NodeId], what: &str) -> String {
    let names: Vec<_> = nodes.iter().map(NodeId::to_string).collect();
    format!("{} did not {what}", escape::some(&names, ", "))
}

/// Why a job is broken.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum TransportError {
    /// A message does not fit its bounds.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Bytes that are no message.
    #[error("{from} sent bytes that are no message: {cause}")]
    Garbled { from: NodeId, cause: CodecError },
    /// A message that can't be.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// More bytes than any message or segment has.
    #[error("{from} sent a message or segment that is longer than any")]
    TooLong { from: NodeId },
    /// A segment that was cut otherwise than its receiver asked.
    #[error("{from} sent segment {} in other fragments than it was asked for", segment.0)]
    Fragments { from: NodeId, segment: SegmentId },
    /// A message of short segments that is none.
    #[error("{from} sent packed segments of which one is cut off or has no tag")]
    Packed { from: NodeId },
    /// A request for a segment that its slot has no room for.
    #[error("{to} requested segment {} for a slot of {slot_bytes} bytes, and it has {bytes}", segment.0)]
    Slot { to: NodeId, segment: SegmentId, slot_bytes: u32, bytes: usize },
    /// More requests than tags.
    #[error("no tag is left for segment {} from {from}: {pending} requests are pending", segment.0)]
    NoTag { from: NodeId, segment: SegmentId, pending: usize },
    /// More bytes than this node may send.
    #[error("a message of {bytes} bytes, of at most {most}: use larger segments")]
    Oversize { bytes: usize, most: usize },
    /// An MPI function failed.
    #[error("{call} failed: {cause}")]
    Mpi { call: &'static str, cause: String },
    /// The tracker is lost, and nobody can end the run.
    #[error("{0} is lost: it answers no more")]
    Silent(NodeId),
    /// A node has heard nothing, and can't end.
    #[error("nothing came for {0:?}, and the node can't end: another one is stopped or lost")]
    Quiet(Duration),
    /// Ranks that did not come where all meet.
    #[error("{} for {limit:?}: stopped or lost", no_sign_of(nodes, what))]
    Missing { nodes: Vec<NodeId>, limit: Duration, what: &'static str },
    /// Another node failed, and ended the run.
    #[error("the run was broken off elsewhere")]
    BrokenOff,
    /// A request without a place for what it brings.
    #[error("no slot is left for segment {} from {from}: more was handed out or declined than asked for", segment.0)]
    NoSlot { from: NodeId, segment: SegmentId },
    /// The system refused a thread.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// There is no node of this number.
    #[error("{0} is not part of this run")]
    NoSuchNode(NodeId),
}
