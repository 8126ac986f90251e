//! The nodes of a world: those of a swarm, or those of a broadcast without one.

use super::world_config::{LATE, WorldConfig, stand_in};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::registration::Listing;
use crate::protocol::relay::{Moves, Relay, RelayAlgorithm, Starter};
use crate::protocol::{Node, Outcome, Peer, Registration, Tracker};
use crate::verify::Digest;

/// One node, of any kind.
#[derive(Debug)]
pub(super) enum SimulatedNode {
    Tracker(Box<Tracker>),
    Peer(Box<Peer>),
    Starter(Box<Starter>),
    Relay(Box<Relay>),
}

impl SimulatedNode {
    /// The nodes of a swarm, by rank.
    pub(super) fn swarm(scenario: &WorldConfig) -> Vec<Self> {
        let tracker = Tracker::new(count(scenario), scenario.config.clone(), scenario.seed);
        let nodes = count(scenario);
        let peer = |(rank, registration)| {
            let place = (NodeId(rank), nodes);
            Self::Peer(Box::new(Peer::new(place, registration, scenario.config.clone())))
        };
        let tracker = Self::Tracker(Box::new(tracker));
        std::iter::once(tracker).chain((1..).zip(&scenario.registrations).map(peer)).collect()
    }

    /// The nodes of a broadcast, by rank. Rank 1 has what its registration says, and all others get it.
    pub(super) fn broadcast(scenario: &WorldConfig, algorithm: RelayAlgorithm) -> Vec<Self> {
        let nodes = count(scenario);
        let digests: Vec<Digest> = match scenario.registrations.first() {
            Some(Registration::Ready { owned, .. }) => {
                owned.iter().flat_map(|entry| entry.digests.iter().copied()).collect()
            }
            Some(Registration::Late(_) | Registration::Refused { .. }) | None => Vec::new(),
        };
        let segments = u32::try_from(digests.len()).expect("segments are numbered in 32 bits");
        let mut digests = Some(digests);
        let peers = (1..nodes).map(|rank| {
            let moves = Moves::of(algorithm, (NodeId(rank), nodes), segments);
            // There are no bytes here, and the window of a swarm's peer is as good.
            let window = match algorithm {
                RelayAlgorithm::Chain { window } => window,
                RelayAlgorithm::Binomial
                | RelayAlgorithm::Circulant
                | RelayAlgorithm::Neighbours { .. } => scenario.config.window,
            };
            Self::Relay(Box::new(Relay::new(moves, window, segments, digests.take())))
        });
        std::iter::once(Self::Starter(Box::new(Starter::new(nodes)))).chain(peers).collect()
    }

    pub(super) fn node(&self) -> &dyn Node {
        match self {
            Self::Tracker(tracker) => &**tracker,
            Self::Peer(peer) => &**peer,
            Self::Starter(starter) => &**starter,
            Self::Relay(relay) => &**relay,
        }
    }

    pub(super) fn node_mut(&mut self) -> &mut dyn Node {
        match self {
            Self::Tracker(tracker) => &mut **tracker,
            Self::Peer(peer) => &mut **peer,
            Self::Starter(starter) => &mut **starter,
            Self::Relay(relay) => &mut **relay,
        }
    }

    pub(super) fn peer(&self) -> Option<&Peer> {
        if let Self::Peer(peer) = self { Some(peer) } else { None }
    }

    /// The segments that the node has from the start, once they have numbers.
    pub(super) fn owned(&self) -> Vec<SegmentId> {
        match self {
            Self::Tracker(_) | Self::Starter(_) => Vec::new(),
            Self::Peer(peer) => peer.owned().iter().flat_map(segments).collect(),
            Self::Relay(relay) => relay.held().collect(),
        }
    }

    /// Segments of a late file that the node has from the start, once they have numbers.
    pub(super) fn held(&self) -> Vec<(SegmentId, Digest)> {
        let Self::Peer(peer) = self else { return Vec::new() };
        let wanted = peer.wanted().iter().flatten().flat_map(segments);
        let held = wanted.filter(|&segment| peer.holds(segment));
        held.map(|segment| (segment, stand_in(LATE, self.late_position(segment)))).collect()
    }

    /// The position of a segment in the late file that the node wants.
    pub(super) fn late_position(&self, segment: SegmentId) -> u32 {
        let first = self.peer().and_then(|peer| peer.wanted().iter().flatten().next());
        segment.0 - first.map_or(0, |listing| listing.first)
    }

    /// The registered digest of a segment, if this node knows it.
    pub(super) fn digest(&self, segment: SegmentId) -> Option<Digest> {
        match self {
            Self::Tracker(tracker) => tracker.digest(segment),
            Self::Relay(relay) => relay.digests().get(segment.index()).copied(),
            Self::Peer(_) | Self::Starter(_) => None,
        }
    }

    /// How rank 0 saw the run.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Tracker(tracker) => tracker.outcome().clone(),
            Self::Starter(starter) => starter.outcome().clone(),
            Self::Peer(_) | Self::Relay(_) => Outcome::default(),
        }
    }

    /// The most segments that peers had been given and not announced at one moment.
    pub(super) fn grants_max(&self) -> usize {
        if let Self::Tracker(tracker) = self { tracker.grants_max() } else { 0 }
    }
}

fn count(scenario: &WorldConfig) -> u32 {
    u32::try_from(scenario.registrations.len() + 1).expect("ranks are numbered in 32 bits")
}

pub(super) fn segments(listing: &Listing) -> impl Iterator<Item = SegmentId> + use<> {
    (listing.first..listing.first + listing.count).map(SegmentId)
}
