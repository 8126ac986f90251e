//! How much was asked of each node: the request counters, one cache line a node.

use crossbeam::utils::CachePadded;

use crate::manifest::NodeId;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The tracker's counters of one node.
#[derive(Debug, Default)]
struct NodeCounters {
    /// Segments ever handed out with this node as the holder to ask.
    requests: AtomicU64,
    /// Those of them that are not yet verified or given back.
    in_flight: AtomicU32,
    /// Wanted segments that this node owns and that were never handed out.
    unseeded: AtomicU32,
    /// Whether the node is gone, or lied too often: nobody is sent there any more.
    avoided: AtomicBool,
}

/// Counters of all nodes. Every operation is one atomic instruction; none publishes other data.
#[derive(Debug)]
pub struct RequestCounters {
    /// Whether owners are not spared just now.
    unsparing: AtomicBool,
    nodes: Box<[CachePadded<NodeCounters>]>,
}

/// What a node is charged with at one moment: the less, the sooner it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// Segments handed out and still to come from this node.
    pub in_flight: u32,
    /// Segments ever handed out with this node as their holder.
    pub requests: u64,
}

impl RequestCounters {
    /// Counters at zero for `nodes` nodes.
    pub fn new(nodes: usize) -> Self {
        let unsparing = AtomicBool::new(false);
        Self { unsparing, nodes: (0..nodes).map(|_| CachePadded::default()).collect() }
    }

    /// Counts one more segment to be asked of `node`.
    pub fn charge(&self, node: NodeId) {
        let counters = &self.nodes[node.index()];
        // ORDERING: Relaxed; a statistic that steers choices, publishes nothing.
        counters.requests.fetch_add(1, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        counters.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A segment charged to `node` has come, or will not come.
    pub fn discharge(&self, node: NodeId) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[node.index()].in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts `segments` more that only their owners have.
    pub fn add_unseeded(&self, owner: NodeId, segments: u32) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[owner.index()].unseeded.fetch_add(segments, Ordering::Relaxed);
    }

    /// One of the owner's segments was handed out for the first time.
    pub fn seed(&self, owner: NodeId) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[owner.index()].unseeded.fetch_sub(1, Ordering::Relaxed);
    }

    /// Nobody is sent to `node` any more.
    pub fn avoid(&self, node: NodeId) {
        // ORDERING: Relaxed; whoever sees it a moment late meets a holder that does not answer.
        self.nodes[node.index()].avoided.store(true, Ordering::Relaxed);
    }

    /// Whether nobody should be sent to `node`.
    pub fn is_avoided(&self, node: NodeId) -> bool {
        // ORDERING: Relaxed; see `avoid`.
        self.nodes[node.index()].avoided.load(Ordering::Relaxed)
    }

    /// Whether owners count as seeding at all: where nothing moves any more, sparing them would
    /// keep from the others what only they can send.
    pub fn spare_owners(&self, spare: bool) {
        // ORDERING: Relaxed; it steers choices, publishes nothing.
        self.unsparing.store(!spare, Ordering::Relaxed);
    }

    /// Whether `owner` still has segments that nobody else was ever sent to fetch.
    pub fn is_seeding(&self, owner: NodeId) -> bool {
        // ORDERING: Relaxed; a count that may be a moment old.
        let unseeded = self.nodes[owner.index()].unseeded.load(Ordering::Relaxed) > 0;
        // ORDERING: Relaxed; see `spare_owners`.
        unseeded && !self.unsparing.load(Ordering::Relaxed)
    }

    /// What `node` is charged with.
    pub fn load(&self, node: NodeId) -> Load {
        let counters = &self.nodes[node.index()];
        Load {
            // ORDERING: Relaxed; a count that may be a moment old.
            in_flight: counters.in_flight.load(Ordering::Relaxed),
            // ORDERING: Relaxed; a count that may be a moment old.
            requests: counters.requests.load(Ordering::Relaxed),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn loads_count_what_was_handed_out() {
        let counters = RequestCounters::new(3);
        counters.charge(NodeId(1));
        counters.charge(NodeId(1));
        counters.discharge(NodeId(1));
        assert_eq!(counters.load(NodeId(1)), Load { in_flight: 1, requests: 2 });
        assert!(counters.load(NodeId(2)) < counters.load(NodeId(1)));
    }

    #[test]
    fn an_owner_seeds_until_each_segment_was_handed_out() {
        let counters = RequestCounters::new(2);
        counters.add_unseeded(NodeId(1), 2);
        counters.seed(NodeId(1));
        assert!(counters.is_seeding(NodeId(1)));
        counters.seed(NodeId(1));
        assert!(!counters.is_seeding(NodeId(1)));
    }
}
