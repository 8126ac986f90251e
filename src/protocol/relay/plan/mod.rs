//! What each node receives and sends, and in which order: all that tells one algorithm from
//! another.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;

use super::circulant::Schedule;
use super::holder_choice::{EXPECTED_MAX, UPLOADS_MAX};
use super::neighbours::DEGREE;
use super::silent_neighbours::ABANDONED_MAX;
use super::upload_timer::RelayPatience;
use crate::config::relay_window;
use crate::manifest::{NodeId, SegmentId};

/// A way to bring one file from rank 1 to all ranks after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayAlgorithm {
    /// A line of nodes that send on what they get, as `dbcast` does.
    Chain {
        /// The most segments in flight between two nodes; 0 counts as 1.
        window: usize,
    },
    /// A binomial tree, down which segment follows segment.
    Binomial,
    /// The round-optimal schedule on a circulant graph (Träff, arXiv 2407.18004).
    Circulant,
    /// No plan: each holder chooses among a few neighbours.
    Neighbours {
        /// What the neighbours follow from; the same at all nodes.
        seed: u64,
        /// Where racks hold so many hosts each, filled in the order of the ranks from rank 1 on: most
        /// neighbours are in the own rack.
        rack_hosts: Option<NonZeroU32>,
    },
}

impl RelayAlgorithm {
    /// The part of `node` among `nodes` nodes, which count rank 0; nothing where holders choose.
    pub fn plan(self, node: NodeId, nodes: u32, segments: u32) -> RelayPlan {
        let at = Place::of(node, nodes);
        match self {
            Self::Chain { .. } => chain(at, segments),
            Self::Binomial => binomial(at, segments),
            Self::Circulant => circulant(at, segments),
            Self::Neighbours { .. } => RelayPlan::default(),
        }
    }

    /// The most segments that a node expects, and that it sends, where `window` is that of segments of its size,
    /// and nodes may fall silent or not.
    pub fn limits(self, window: usize, falls_silent: bool) -> (usize, usize) {
        match self {
            Self::Chain { window } => (window.max(1), window.max(1)),
            Self::Binomial | Self::Circulant => (window, window),
            Self::Neighbours { .. } if falls_silent => {
                // Each neighbour that was given up may still accept what it was offered.
                (EXPECTED_MAX + ABANDONED_MAX, UPLOADS_MAX + DEGREE as usize)
            }
            Self::Neighbours { .. } => (EXPECTED_MAX, UPLOADS_MAX),
        }
    }

    /// How long nodes wait for silent ones: for ever where a plan needs each of them.
    pub fn patience(self, patience: RelayPatience) -> Option<RelayPatience> {
        match self {
            Self::Chain { .. } | Self::Binomial | Self::Circulant => None,
            Self::Neighbours { .. } => Some(patience),
        }
    }

    /// The most segments of `payload_bytes` that a node expects at once, and that it sends.
    pub fn window(self, payload_bytes: usize) -> usize {
        match self {
            Self::Chain { window } => window,
            Self::Binomial | Self::Circulant => relay_window(payload_bytes),
            Self::Neighbours { .. } => EXPECTED_MAX,
        }
    }
}

impl fmt::Display for RelayAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain { .. } => "chain",
            Self::Binomial => "binomial",
            Self::Circulant => "circulant",
            Self::Neighbours { .. } => "neighbours",
        })
    }
}

/// The transfer of one segment between two nodes, as one of them sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The node at the other end.
    pub with: NodeId,
    /// Which segment.
    pub segment: SegmentId,
}

/// A node's part in a broadcast from rank 1 to the ranks after it.
///
/// Invariant: both lists follow one order of all hops in which nothing is sent before it was
/// received. So nodes that keep to their lists never wait for each other in a circle. Between two
/// nodes no segment goes twice.
#[derive(Clone, Debug, Default)]
pub struct RelayPlan {
    /// What it receives, in order.
    pub receives: VecDeque<Hop>,
    /// What it sends, in order.
    pub sends: VecDeque<Hop>,
}

/// A node's position: the root is 0, and rank 0 takes no part.
#[derive(Clone, Copy, Debug)]
struct Place {
    place: u32,
    places: u32,
}

impl Place {
    fn of(node: NodeId, nodes: u32) -> Self {
        Self { place: node.0 - 1, places: nodes - 1 }
    }
}

/// A line of nodes, each of which sends on what it gets: a pipeline.
fn chain(at: Place, segments: u32) -> RelayPlan {
    let before = at.place.checked_sub(1);
    let after = Some(at.place + 1).filter(|&after| after < at.places);
    let all = |with: Option<u32>| {
        let hops = with.into_iter().flat_map(|with| (0..segments).map(move |s| hop(with, s)));
        hops.collect()
    };
    RelayPlan { receives: all(before), sends: all(after) }
}

// A binomial tree: the parent of a node is the node without its lowest bit. Each segment goes to
// the child with the largest subtree first, and the next segment follows.
fn binomial(at: Place, segments: u32) -> RelayPlan {
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
fn circulant(at: Place, segments: u32) -> RelayPlan {
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
