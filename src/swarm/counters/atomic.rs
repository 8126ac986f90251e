//! Counters that any number of threads write at once, on cache lines of their own.

use crossbeam::utils::CachePadded;

use super::{Load, Standing};
use crate::manifest::NodeId;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// The tracker's counters of one node.
#[derive(Debug)]
struct NodeCounters {
    /// Segments ever handed out with this node as the holder to ask.
    requests: AtomicU64,
    /// Those of them that are not yet verified or given back.
    in_flight: AtomicU32,
    /// Wanted segments that this node owns and that were never handed out.
    unseeded: AtomicU32,
    /// Whether the node is gone, or lied too often.
    avoided: AtomicBool,
    /// Segments that may be in flight from here.
    limit: AtomicU32,
}

impl Default for NodeCounters {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            unseeded: AtomicU32::new(0),
            avoided: AtomicBool::new(false),
            limit: AtomicU32::new(u32::MAX),
        }
    }
}

/// Counters of all nodes. Every operation is one atomic instruction; none publishes other data.
#[derive(Debug)]
pub(super) struct AtomicCounters {
    nodes: Box<[CachePadded<NodeCounters>]>,
}

impl AtomicCounters {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: (0..nodes).map(|_| CachePadded::default()).collect() }
    }

    pub(super) fn charge(&self, node: NodeId) {
        let counters = &self.nodes[node.index()];
        // ORDERING: Relaxed; a statistic that steers choices, publishes nothing.
        counters.requests.fetch_add(1, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        counters.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn discharge(&self, node: NodeId) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[node.index()].in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn add_unseeded(&self, owner: NodeId, segments: u32) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[owner.index()].unseeded.fetch_add(segments, Ordering::Relaxed);
    }

    pub(super) fn seed(&self, owner: NodeId) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[owner.index()].unseeded.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn avoid(&self, node: NodeId) {
        // ORDERING: Relaxed; whoever sees it a moment late meets a holder that does not answer.
        self.nodes[node.index()].avoided.store(true, Ordering::Relaxed);
    }

    pub(super) fn limit(&self, node: NodeId, limit: u32) {
        // ORDERING: Relaxed; a choice made a moment late is no worse.
        self.nodes[node.index()].limit.store(limit, Ordering::Relaxed);
    }

    pub(super) fn standing(&self, node: NodeId) -> Standing {
        let counters = &self.nodes[node.index()];
        Standing {
            load: Load {
                // ORDERING: Relaxed; a count that may be a moment old.
                in_flight: counters.in_flight.load(Ordering::Relaxed),
                // ORDERING: Relaxed; a count that may be a moment old.
                requests: counters.requests.load(Ordering::Relaxed),
            },
            // ORDERING: Relaxed; a count that may be a moment old.
            unseeded: counters.unseeded.load(Ordering::Relaxed),
            // ORDERING: Relaxed; see `avoid`.
            avoided: counters.avoided.load(Ordering::Relaxed),
            // ORDERING: Relaxed; see `limit`.
            limit: counters.limit.load(Ordering::Relaxed),
        }
    }
}
