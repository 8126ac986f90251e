//! What each node receives and sends, and in which order: all that tells one algorithm from
//! another.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use super::circulant::Schedule;
use crate::manifest::{NodeId, SegmentId};

/// One segment on its way from one node to another, as one of them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Hop {
    /// The node at the other end.
    pub(super) with: NodeId,
    pub(super) segment: SegmentId,
}

/// A node's part in a broadcast from rank 1 to the ranks after it.
///
/// Invariant: both lists follow one order of all hops in which nothing is sent before it was
/// received, so that nodes that keep to their lists never wait for each other in a circle.
/// Between two nodes no segment goes twice.
#[derive(Debug, Default)]
pub(super) struct RelayPlan {
    pub(super) receives: VecDeque<Hop>,
    pub(super) sends: VecDeque<Hop>,
}

/// Where a node stands: the root is 0, and rank 0 takes no part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    place: u32,
    places: u32,
}

impl Place {
    /// The place of a peer among `nodes` nodes, which count rank 0.
    pub(super) fn of(node: NodeId, nodes: u32) -> Self {
        Self { place: node.0 - 1, places: nodes - 1 }
    }
}

/// A line of nodes, each of which sends on what it gets: a pipeline.
pub(super) fn chain(at: Place, segments: u32) -> RelayPlan {
    let before = at.place.checked_sub(1);
    let after = Some(at.place + 1).filter(|&after| after < at.places);
    let all = |with: Option<u32>| {
        let hops = with.into_iter().flat_map(|with| (0..segments).map(move |s| hop(with, s)));
        hops.collect()
    };
    RelayPlan { receives: all(before), sends: all(after) }
}

/// A binomial tree: the parent of a node is the node without its lowest bit. Each segment goes to
/// the child with the largest subtree first, and the next segment follows.
pub(super) fn binomial(at: Place, segments: u32) -> RelayPlan {
    let Place { place, places } = at;
    let lowest = if place == 0 { places.next_power_of_two() } else { place & place.wrapping_neg() };
    let parent = Some(place - (place & lowest)).filter(|_| place != 0);
    let steps = (0..lowest.ilog2()).rev().map(|bit| 1 << bit);
    let children: Vec<u32> =
        steps.map(|step: u32| place + step).filter(|&child| child < places).collect();
    RelayPlan {
        receives: (0..segments).flat_map(|s| parent.map(|parent| hop(parent, s))).collect(),
        sends: (0..segments)
            .flat_map(|s| children.iter().map(move |&child| hop(child, s)))
            .collect(),
    }
}

/// The round-optimal schedule, round after round.
pub(super) fn circulant(at: Place, segments: u32) -> RelayPlan {
    let mut plan = RelayPlan::default();
    for round in Schedule::new(at.places, at.place).rounds(segments) {
        plan.receives.extend(round.receive.map(|(from, segment)| hop(from, segment)));
        plan.sends.extend(round.send.map(|(to, segment)| hop(to, segment)));
    }
    plan
}

fn hop(place: u32, segment: u32) -> Hop {
    Hop { with: NodeId(place + 1), segment: SegmentId(segment) }
}
