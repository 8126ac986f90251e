//! How do they move? Messages and segments between nodes: as threads of one process, or as ranks
//! of an MPI job. Knows no rule of the protocol.

pub mod local;
#[cfg(feature = "mpi")]
pub mod mpi;

use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, codec::CodecError};
use crate::store::{FilledSlot, SealedSegment, VacantSlot};

// Buffers move by ownership through this trait: a slot that is expected, a segment that is served. No
// implementation can forget to keep one alive.
/// Carries messages and segment bytes. Never blocks.
pub trait Transport {
    /// Sends a message; those from one node to another arrive in order.
    ///
    /// # Errors
    ///
    /// When the job is broken.
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError>;

    /// Makes a slot ready: the segment that `from` sends lands in it and nowhere else.
    ///
    /// # Errors
    ///
    /// When the job is broken.
    fn expect(
        &mut self,
        from: NodeId,
        segment: SegmentId,
        slot: VacantSlot,
    ) -> Result<(), TransportError>;

    /// Takes a slot back; it comes as [`Completion::Forgotten`], unless the segment comes first.
    ///
    /// # Errors
    ///
    /// When the job is broken.
    fn forget(&mut self, from: NodeId, segment: SegmentId) -> Result<(), TransportError>;

    /// Sends a segment from where it lies.
    ///
    /// # Errors
    ///
    /// When the job is broken.
    fn serve(
        &mut self,
        to: NodeId,
        segment: SegmentId,
        payload: SealedSegment,
    ) -> Result<(), TransportError>;

    /// Moves on and reports what has happened, in place of what `events` said before.
    ///
    /// # Errors
    ///
    /// When the job is broken.
    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError>;

    /// Whether everything that was sent has left.
    fn is_flushed(&self) -> bool;

    /// Whether the transport wakes an idle node when something comes, or must be polled.
    fn wakes(&self) -> bool;
}

/// What has happened at a node. The same memory serves every poll: whoever reads a message leaves it
/// where it lies.
#[derive(Debug, Default)]
pub struct PolledEvents {
    /// Messages that came, and from whom; those of one node in order.
    pub messages: Vec<(NodeId, Box<Message>)>,
    /// What else a transport finished.
    pub completions: Vec<Completion>,
}

impl PolledEvents {
    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.completions.is_empty()
    }
}

/// Something that a transport finished.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum Completion {
    /// A segment lies in its slot.
    Arrived {
        from: NodeId,
        segment: SegmentId,
        /// Its bytes, unchecked.
        slot: FilledSlot,
    },
    Sent {
        to: NodeId,
        segment: SegmentId,
    },
    /// A slot was taken back.
    Forgotten {
        slot: VacantSlot,
    },
}

/// Why nothing moves any more.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub enum TransportError {
    /// A message does not fit its bounds, or is none.
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error("{call} failed: MPI error {code}")]
    Mpi { call: &'static str, code: i32 },
    /// A node without which nothing goes on.
    #[error("{0} is lost: it answers no more")]
    Silent(NodeId),
    /// Another node broke, and nothing more will come.
    #[error("the run was broken off elsewhere")]
    BrokenOff,
    /// There is no node of this number.
    #[error("{0} is not part of this run")]
    NoSuchNode(NodeId),
}
