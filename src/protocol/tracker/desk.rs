//! What the tracker remembers of one peer: what it was given, and whether it waits.

use crate::manifest::{NodeId, SegmentId};
use crate::protocol::Ask;
use crate::time::Timestamp;

/// A segment that a peer was given and has neither announced nor given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) segment: SegmentId,
    /// The holder that is charged with it.
    pub(super) holder: NodeId,
    pub(super) at: Timestamp,
}

/// How far a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
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
pub(super) struct Desk {
    pub(super) grants: Vec<Grant>,
    /// Whether it has verified a segment.
    pub(super) has_some: bool,
    /// The last ask that was heard.
    pub(super) ask: Ask,
    /// Holders that sent it something wrong, each for one segment.
    pub(super) excluded: Vec<(SegmentId, NodeId)>,
    pub(super) heard_at: Timestamp,
    pub(super) stage: Stage,
}

impl Desk {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            grants: Vec::new(),
            has_some: false,
            ask: Ask::default(),
            excluded: Vec::new(),
            heard_at: now,
            stage: Stage::Reserving,
        }
    }

    /// Takes out the first grant of a segment.
    pub(super) fn settle(&mut self, segment: SegmentId) -> Option<Grant> {
        let place = self.grants.iter().position(|grant| grant.segment == segment)?;
        Some(self.grants.remove(place))
    }

    /// Takes out one grant of a segment: the one charged to `holder`, else any.
    pub(super) fn withdraw(&mut self, segment: SegmentId, holder: NodeId) -> Option<Grant> {
        let of_segment = |grant: &Grant| grant.segment == segment;
        let exact = self.grants.iter().position(|g| of_segment(g) && g.holder == holder);
        let place = exact.or_else(|| self.grants.iter().position(of_segment))?;
        Some(self.grants.swap_remove(place))
    }
}
