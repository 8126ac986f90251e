//! Digests that sources find, on their way to the peers, where these decide.
//!
//! Rank 0 tells them to each peer itself. Neighbours could pass them on, and it would say less, but then whoever serves a
//! segment could also vouch for it. It tells several at a time instead: the more peers there are, the more. So what it
//! says has a rate that grows neither with the peers nor with the segments.

use std::time::Duration;

use crate::config::{Config, DIGESTS_MAX, Decider};
use crate::manifest::NodeId;
use crate::protocol::roster::Roster;
use crate::protocol::{Message, Outbox, ReadSegment};
use crate::time::Timestamp;

// The time between two rounds of messages, for each peer that is told.
// A message takes rank 0 a microsecond or two, so that it spends at most a tenth of its time on these. 64 peers wait for
// 1.3 ms, 10,000 for 0.2 s. Chosen, not tuned.
const TIME_PER_PEER: Duration = Duration::from_micros(20);

/// What rank 0 has to tell of a late file.
#[derive(Debug)]
pub(super) struct LateDigests {
    /// Who takes part in the file.
    peers: Vec<NodeId>,
    /// Digests that no peer was told.
    fresh: Vec<ReadSegment>,
    /// Whether peers were told that nothing is left to read.
    said_over: bool,
    /// When they may be told more.
    next: Timestamp,
}

impl LateDigests {
    /// None where the tracker hands out, or all digests are registered.
    pub(super) fn of(roster: &Roster, config: &Config) -> Option<Self> {
        let late = roster.late.as_ref().filter(|_| config.decide == Decider::Peers)?;
        let peers = late.peers.iter().map(|peer| peer.node).collect();
        let next = Timestamp::default();
        Some(Self { peers, fresh: Vec::new(), said_over: false, next })
    }

    /// A source has read a segment that nobody had read before.
    pub(super) fn add(&mut self, read: ReadSegment) {
        self.fresh.push(read);
    }

    /// When peers are to be told digests; none while there are none.
    pub(super) fn due(&self) -> Option<Timestamp> {
        (!self.fresh.is_empty()).then_some(self.next)
    }

    /// Tells the peers that are there the digests that are new, if the time has come, and whether nothing is left to
    /// read.
    pub(super) fn tell(
        &mut self,
        now: Timestamp,
        is_over: bool,
        is_there: impl Fn(NodeId) -> bool,
        out: &mut Outbox,
    ) {
        let is_full = self.fresh.len() >= DIGESTS_MAX;
        let is_due = !self.fresh.is_empty() && (is_full || now >= self.next);
        if !is_due && self.said_over == is_over {
            return;
        }
        let peers = || self.peers.iter().copied().filter(|&peer| is_there(peer));
        let mut parts: Vec<Vec<ReadSegment>> =
            self.fresh.chunks(DIGESTS_MAX).map(<[ReadSegment]>::to_vec).collect();
        // Messages from one node to another keep their order: with the last one all digests are there.
        let last = parts.pop().unwrap_or_default();
        for read in parts {
            out.send_all(peers(), Message::Digests { read, is_over: false });
        }
        out.send_all(peers(), Message::Digests { read: last, is_over });
        let count = u32::try_from(self.peers.len()).unwrap_or(u32::MAX);
        self.next = now + TIME_PER_PEER * count;
        self.said_over = is_over;
        self.fresh.clear();
    }
}
