//! Messages between nodes, with calls that block.

mod local;
#[cfg(feature = "mpi")]
mod mpi;

use crate::manifest::NodeId;
use crate::transport::TransportError;

pub(super) use local::Mailboxes;
#[cfg(feature = "mpi")]
pub(super) use mpi::MpiEndpoint;

/// The kind of a message. Each thread waits for one kind at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Any peer's download thread to the tracker.
    ToTracker,
    /// The tracker to a peer's download thread.
    FromTracker,
    /// A peer's download thread, or the tracker, to a peer's upload thread.
    Request,
    /// A peer's upload thread to another peer's download thread.
    Segment,
}

impl Tag {
    // How many kinds there are.
    const COUNT: usize = 4;
}

/// What the receiver knows about the length of a message before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// At most this many bytes, so that a buffer can be ready for it.
    AtMost(usize),
    /// Unknown: the buffer is allocated when the length is known.
    Any,
}

/// One node's end, which its threads share. Messages of one tag from one node to another arrive in
/// order.
pub(super) trait Endpoint: Sync {
    /// Sends a message; `bytes` can be used again at once.
    ///
    /// # Errors
    ///
    /// When the run is broken.
    fn send(&self, to: NodeId, tag: Tag, bytes: &[u8]) -> Result<(), TransportError>;

    /// Waits for the next message of a tag from any node. Returns it in a buffer of its own.
    ///
    /// # Errors
    ///
    /// When the run is broken.
    fn receive(&self, tag: Tag, length: Length) -> Result<(NodeId, Vec<u8>), TransportError>;

    /// Waits for the next message of a tag from one node.
    ///
    /// # Errors
    ///
    /// When the run is broken.
    fn receive_from(
        &self,
        from: NodeId,
        tag: Tag,
        length: Length,
    ) -> Result<Vec<u8>, TransportError>;
}
