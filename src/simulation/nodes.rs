//! The nodes of a world: those of a swarm, or those of a broadcast without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::world_config::{LATE, WorldConfig, stand_in};
use crate::config::Decider;
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::protocol::registration::Listing;
use crate::protocol::relay::{
    Moves, OWNER, Relay, RelayAlgorithm, RelayPatience, RelayPlace, Starter,
};
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

    /// The nodes of a broadcast, by rank. They have what their registrations say, and all get everything; where
    /// there is a plan, rank 1 alone has something.
    pub(super) fn broadcast(scenario: &WorldConfig, algorithm: RelayAlgorithm) -> Vec<Self> {
        let nodes = count(scenario);
        let patience = RelayPatience {
            initial: scenario.config.request_patience,
            least: scenario.segment_time,
            registration: scenario.config.registration_patience,
            silence: scenario.config.silence_patience,
        };
        let (digests, owned) = shared_files(scenario);
        let digests: Arc<[Digest]> = digests.into();
        let segments = u32::try_from(digests.len()).expect("segments are numbered in 32 bits");
        let tree_patience = algorithm.patience(patience);
        let peers = (1..nodes).map(NodeId).zip(&owned).map(|(node, owned)| {
            let place = RelayPlace { node, nodes, patience: tree_patience };
            let moves = Moves::of(algorithm, (node, nodes), segments, patience);
            // There are no bytes here, and the window of a swarm's peer is as good.
            let window = match algorithm {
                RelayAlgorithm::Chain { window } => window,
                RelayAlgorithm::Binomial | RelayAlgorithm::Circulant => scenario.config.window,
                RelayAlgorithm::Neighbours { .. } => {
                    let relay = Relay::with_digests(place, moves, Arc::clone(&digests), owned);
                    return Self::Relay(Box::new(relay));
                }
            };
            let digests = (node == OWNER).then(|| digests.to_vec());
            Self::Relay(Box::new(Relay::new(place, moves, window, segments, digests)))
        });
        let starter = Self::Starter(Box::new(Starter::new(nodes, tree_patience)));
        std::iter::once(starter).chain(peers).collect()
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

/// The most segments that a node of a swarm expects, and that it sends.
pub(super) fn swarm_limits(scenario: &WorldConfig) -> (usize, usize) {
    let config = &scenario.config;
    match config.decide {
        // What goes to slow receivers has as much room again.
        Decider::Tracker => {
            (config.flights_max(), config.uploads * if config.paced { 2 } else { 1 })
        }
        Decider::Peers => {
            let seed = scenario.seed;
            relay_limits(scenario, RelayAlgorithm::Neighbours { seed, rack_hosts: None })
        }
    }
}

/// Likewise those of a broadcast.
pub(super) fn relay_limits(scenario: &WorldConfig, algorithm: RelayAlgorithm) -> (usize, usize) {
    algorithm.limits(scenario.config.window, scenario.faults.silence_some())
}

fn count(scenario: &WorldConfig) -> u32 {
    u32::try_from(scenario.registrations.len() + 1).expect("ranks are numbered in 32 bits")
}

/// The digests of all files, numbered as they are registered first, and what each peer owns.
fn shared_files(scenario: &WorldConfig) -> (Vec<Digest>, Vec<SegmentSet>) {
    let mut digests = Vec::new();
    let mut firsts = BTreeMap::new();
    let mut owned = Vec::new();
    for registration in &scenario.registrations {
        let entries = match registration {
            Registration::Ready { owned, .. } => &owned[..],
            Registration::Late(_) | Registration::Refused { .. } => &[],
        };
        let mut own = Vec::new();
        for entry in entries {
            let first = *firsts.entry(&*entry.name).or_insert_with(|| {
                digests.extend_from_slice(&entry.digests);
                digests.len() - entry.digests.len()
            });
            own.extend(first..first + entry.digests.len());
        }
        owned.push(own);
    }
    let number = |place| u32::try_from(place).expect("segments are numbered in 32 bits");
    let set_of = |own: Vec<usize>| {
        let mut set = SegmentSet::none_of(number(digests.len()));
        for place in own {
            set.insert(SegmentId(number(place)));
        }
        set
    };
    let owned = owned.into_iter().map(set_of).collect();
    (digests, owned)
}

pub(super) fn segments(listing: &Listing) -> impl Iterator<Item = SegmentId> + use<> {
    (listing.first..listing.first + listing.count).map(SegmentId)
}
