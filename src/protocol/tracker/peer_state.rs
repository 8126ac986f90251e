//! The tracker's state of one peer.

use super::service::Account;
use crate::manifest::{NodeId, SegmentId};
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
    /// Empty while it is away.
    pub(super) account: Account,
    /// Whether another thread has the account, and answers the ask.
    pub(super) is_away: bool,
    /// What its account is to forgive when it is back.
    pub(super) forgiven: Vec<(SegmentId, NodeId)>,
    /// Whether the peer waits for the answer to its last message, and gets it when its account is back.
    pub(super) awaits_reply: bool,
    /// The walk through the queue in which another thread was last given the ask.
    pub(super) walk: u64,
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
            is_away: false,
            forgiven: Vec::new(),
            awaits_reply: false,
            walk: 0,
            has_some: false,
            ask: Ask::default(),
            pending_index: None,
            verified: 0,
            last_contact: now,
            stage: PeerStage::Reserving,
        }
    }

    /// A holder has a segment anew.
    pub(super) fn forgive(&mut self, segment: SegmentId, holder: NodeId) {
        if self.is_away {
            self.forgiven.push((segment, holder));
        } else {
            self.account.forgive(segment, holder);
        }
    }

    /// Another thread has answered the ask.
    pub(super) fn come_back(&mut self, account: Account) {
        (self.account, self.is_away) = (account, false);
        for (segment, holder) in std::mem::take(&mut self.forgiven) {
            self.account.forgive(segment, holder);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgiven_while_the_account_is_away_is_forgiven_when_it_is_back() {
        let (segment, holder) = (SegmentId(3), NodeId(2));
        let mut peer = PeerState::new(Timestamp(0));
        peer.account.exclude(segment, holder);
        let account = std::mem::take(&mut peer.account);
        peer.is_away = true;
        peer.forgive(segment, holder);
        peer.come_back(account);
        assert_eq!(peer.account.excluded().count(), 0);
    }
}
