//! What the tracker remembers of one peer: what it was given, and whether it waits.

use super::service::Account;
use crate::protocol::Ask;
use crate::time::Timestamp;

/// How far a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PeerStage {
    /// It reserves slots.
    Reserving,
    /// It fetches.
    Fetching,
    /// It has all that can be had.
    Complete,
    /// And all of that has its name.
    Done,
    /// It has left, or is lost.
    Gone,
}

/// The tracker's side of the talk with one peer. Its size is bounded by the peer's window.
#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) account: Account,
    /// Whether it has verified a segment.
    pub(super) has_some: bool,
    /// The last ask that was heard; its room is what is left of it.
    pub(super) ask: Ask,
    /// Where among the handouts of the moment its own lies.
    pub(super) pending_index: Option<usize>,
    /// Segments that it verified, as far as the tracker can tell.
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
