//! The tracker's state of one peer.

use super::service::Account;
use crate::protocol::Ask;
use crate::time::Timestamp;

/// How far a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PeerStage {
    Reserving,
    Fetching,
    /// It has verified all that it can get.
    Complete,
    /// All of its files have their final names.
    Done,
    /// It has left, or is lost.
    Gone,
}

/// One peer. The size is bounded by the peer's window.
#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) account: Account,
    /// Whether it has verified a segment.
    pub(super) has_some: bool,
    /// The last ask; its room is the credit that is left.
    pub(super) ask: Ask,
    /// The index of its handout among the pending ones.
    pub(super) pending_index: Option<usize>,
    pub(super) verified: u64,
    pub(super) last_contact: Timestamp,
    pub(super) stage: PeerStage,
}

impl PeerState {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            account: Account::default(),
            has_some: false,
            ask: Ask::default(),
            pending_index: None,
            verified: 0,
            last_contact: now,
            stage: PeerStage::Reserving,
        }
    }
}
