//! What a node receives and sends: by a plan, or as holders choose.

use super::holder_choice::HolderChoice;
use super::neighbours;
use super::plan::RelayAlgorithm;
use super::planned::Planned;
use super::upload_timer::RelayPatience;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, Outbox, Violation};
use crate::time::Timestamp;

/// What a node receives and sends.
#[derive(Debug)]
pub enum Moves {
    /// By a plan.
    Planned(Planned),
    /// As holders choose.
    Chosen(Box<HolderChoice>),
}

impl Default for Moves {
    fn default() -> Self {
        Self::Planned(Planned::default())
    }
}

impl Moves {
    /// What `node` among `nodes` nodes, which count rank 0, receives and sends.
    pub fn of(
        algorithm: RelayAlgorithm,
        (node, nodes): (NodeId, u32),
        segments: u32,
        patience: RelayPatience,
    ) -> Self {
        let RelayAlgorithm::Neighbours { seed, rack_hosts } = algorithm else {
            return Self::Planned(Planned::new(algorithm.plan(node, nodes, segments)));
        };
        let (place, places) = (node.0 - 1, nodes - 1);
        let near = match rack_hosts {
            Some(hosts) => neighbours::near_neighbours(place, places, seed, hosts),
            None => neighbours::neighbours(place, places, seed),
        };
        let known: Vec<_> = near.into_iter().map(|place| NodeId(place + 1)).collect();
        let choice = HolderChoice::new(node, &known, segments, seed, patience);
        let rack = rack_hosts.map(|hosts| {
            let first = place / hosts * hosts.get() + 1;
            first..first.saturating_add(hosts.get())
        });
        Self::Chosen(Box::new(match rack {
            Some(rack) => choice.within(&rack),
            None => choice,
        }))
    }

    pub(super) fn begin(&mut self, window: usize, segments: u32, is_owner: bool) {
        if let Self::Planned(planned) = self {
            planned.begin(window, segments, is_owner);
        }
    }

    /// It has these segments from the start. Plans have one owner, of everything.
    pub(super) fn own(&mut self, owned: impl Iterator<Item = SegmentId>) {
        if let Self::Chosen(choice) = self {
            choice.own(owned);
        }
    }

    /// The run is open.
    pub(super) fn open(&mut self, now: Timestamp, out: &mut Outbox) {
        if let Self::Chosen(choice) = self {
            choice.begin(now, out);
        }
    }

    pub(super) fn handle(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
        out: &mut Outbox,
    ) -> Result<(), Violation> {
        match self {
            Self::Planned(planned) => planned.handle(from, message),
            Self::Chosen(choice) => choice.handle(now, from, message, out),
        }
    }

    pub(super) fn gain(&mut self, now: Timestamp, from: NodeId, segment: SegmentId) {
        match self {
            Self::Planned(planned) => planned.gain(),
            Self::Chosen(choice) => choice.gain(now, from, segment),
        }
    }

    /// A segment came once more.
    pub(super) fn drop_copy(&mut self, from: NodeId, segment: SegmentId) {
        if let Self::Chosen(choice) = self {
            choice.drop_abandoned(from, segment);
        }
    }

    /// Whether it gets nothing more, as far as it knows; it lacks `missing` segments.
    pub(super) fn is_settled(&self, now: Timestamp, missing: usize) -> bool {
        match self {
            Self::Planned(_) => missing == 0,
            Self::Chosen(choice) => choice.is_settled(now),
        }
    }

    pub(super) fn sent(&mut self, now: Timestamp, to: NodeId, segment: SegmentId) {
        match self {
            Self::Planned(planned) => planned.sent(),
            Self::Chosen(choice) => choice.sent(now, to, segment),
        }
    }

    pub(super) fn advance(&mut self, now: Timestamp, held: &[bool], out: &mut Outbox) {
        match self {
            Self::Planned(planned) => planned.advance(held, out),
            Self::Chosen(choice) => {
                choice.check_silent(now, out);
                choice.offer(now, out);
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Planned(_) => None,
            Self::Chosen(choice) => choice.deadline(),
        }
    }
}
