//! Messages between nodes. Every call comes back: a message is waited for no longer than the caller says,
//! and a receiver that takes none ends the run.

mod local;
#[cfg(feature = "mpi")]
mod mpi;

use std::time::Duration;

use crate::manifest::NodeId;
use crate::transport::TransportError;

pub(super) use local::Mailboxes;
#[cfg(feature = "mpi")]
pub(super) use mpi::MpiEndpoint;

/// The kind of a message. One thread of a rank receives each kind, and waits for one kind at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// Any peer's download thread to the tracker.
    ToTracker,
    /// The tracker to a peer's download thread.
    FromTracker,
    /// A peer's download thread to a peer's upload thread.
    Request,
    /// A peer's upload thread to another peer's download thread.
    Segment,
}

impl Tag {
    // How many kinds there are.
    const COUNT: usize = 4;
}

/// A message in a buffer of its own, and who sent it.
pub(super) type Received = (NodeId, Vec<u8>);

/// One node's end, which its threads share. Messages of one tag from one node to another arrive in
/// order.
pub(super) trait Endpoint: Sync {
    /// How many nodes the run has.
    fn nodes(&self) -> u32;

    /// Sends a message; `bytes` can be used again at once.
    ///
    /// # Errors
    ///
    /// When the run is broken.
    fn send(&self, to: NodeId, tag: Tag, bytes: &[u8]) -> Result<(), TransportError>;

    /// Waits for the next message of a tag, from one node or from any; none if it does not come within
    /// `limit`.
    ///
    /// # Errors
    ///
    /// When the run is broken.
    fn receive(
        &self,
        from: Option<NodeId>,
        tag: Tag,
        limit: Duration,
    ) -> Result<Option<Received>, TransportError>;
}
