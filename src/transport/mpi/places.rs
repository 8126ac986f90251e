//! Where the nodes of a job are.

use mpi::topology::Rank;

use super::index;
use crate::manifest::NodeId;
use crate::protocol::{Message, Route};

/// On which rank each node is. A rank has at most one peer; the rank of the tracker may have one too.
#[derive(Clone, Debug)]
pub struct NodePlaces {
    /// By node.
    ranks: Vec<Rank>,
    /// By rank: its peer, or the tracker where that is alone.
    nodes: Vec<Option<NodeId>>,
}

impl NodePlaces {
    /// Node and rank have the same number.
    pub fn same(ranks: Rank) -> Self {
        Self::with_peers_at(ranks, 1..ranks)
    }

    /// The tracker is on rank 0, and the peers are on `peers`, in their order.
    ///
    /// # Panics
    ///
    /// When there is no such rank.
    pub fn with_peers_at(ranks: Rank, peers: impl IntoIterator<Item = Rank>) -> Self {
        let mut places = Self { ranks: vec![0], nodes: vec![None; index(ranks)] };
        for rank in peers {
            let node = u32::try_from(places.ranks.len()).expect("there are fewer peers than ranks");
            places.nodes[index(rank)] = Some(NodeId(node));
            places.ranks.push(rank);
        }
        places.nodes[0].get_or_insert(NodeId::TRACKER);
        places
    }

    /// How many nodes there are, the tracker included.
    pub fn node_count(&self) -> u32 {
        u32::try_from(self.ranks.len()).expect("there are no more nodes than ranks and a tracker")
    }

    /// The peer of a rank; none where it has none.
    pub fn peer_at(&self, rank: Rank) -> Option<NodeId> {
        self.nodes[index(rank)].filter(|&node| node != NodeId::TRACKER)
    }

    /// The rank of a node; none where there is no such node.
    pub fn rank_of(&self, node: NodeId) -> Option<Rank> {
        self.ranks.get(node.index()).copied()
    }

    // A message has no address: its kind says whether it comes from a tracker.
    pub(super) fn sender(&self, rank: Rank, message: &Message) -> Option<NodeId> {
        let node = (*self.nodes.get(index(rank))?)?;
        let tracks = rank == self.ranks[0] && Route::of(message) == Route::FromTracker;
        Some(if tracks { NodeId::TRACKER } else { node })
    }
}
