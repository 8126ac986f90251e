//! Plain counters behind one mutex, which is held for one operation.

use std::sync::{Mutex, MutexGuard};

use arrayvec::ArrayVec;

use super::{Capacity, NodeStatus};
use crate::config::FRESH_HOLDERS;
use crate::manifest::NodeId;

#[derive(Debug)]
pub(super) struct LockedCounters {
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    nodes: Box<[NodeStatus]>,
    /// How many nodes have capacity.
    available: usize,
}

impl LockedCounters {
    pub(super) fn new(nodes: usize, load_max: u32) -> Self {
        let status = NodeStatus { limit: load_max, ..NodeStatus::default() };
        let nodes = vec![status; nodes].into();
        Self { counted: Mutex::new(Counted { nodes, available: 0 }) }
    }

    pub(super) fn charge(&self, node: NodeId) {
        self.change(node, |status| {
            status.load.requests += 1;
            status.load.in_flight += 1;
        });
    }

    pub(super) fn discharge(&self, node: NodeId) {
        self.change(node, |status| status.load.in_flight -= 1);
    }

    pub(super) fn add_unseeded(&self, owner: NodeId, segments: u32) {
        self.change(owner, |status| status.unseeded += segments);
    }

    pub(super) fn seed(&self, owner: NodeId) {
        self.change(owner, |status| status.unseeded = status.unseeded.saturating_sub(1));
    }

    pub(super) fn offer(&self, node: NodeId) {
        self.change(node, |status| status.offers = true);
    }

    pub(super) fn ban(&self, node: NodeId) {
        self.change(node, |status| status.banned = true);
    }

    pub(super) fn limit(&self, node: NodeId, limit: u32) {
        self.change(node, |status| status.limit = limit);
    }

    /// The first few of these nodes that have capacity; the mutex is taken once for each
    /// [`FRESH_HOLDERS`] of them.
    pub(super) fn with_capacity(
        &self,
        capacity: Capacity,
        mut nodes: impl Iterator<Item = NodeId>,
    ) -> ArrayVec<NodeId, FRESH_HOLDERS> {
        let mut found = ArrayVec::new();
        loop {
            // The iterator runs without the mutex: it may look at the counters itself.
            let few: ArrayVec<NodeId, FRESH_HOLDERS> = nodes.by_ref().take(FRESH_HOLDERS).collect();
            if few.is_empty() || found.is_full() {
                return found;
            }
            let counted = self.open();
            let free = few.into_iter().filter(|node| counted.nodes[node.index()].has(capacity));
            found.extend(free.take(found.remaining_capacity()));
        }
    }

    pub(super) fn anybody_is_available(&self) -> bool {
        self.open().available > 0
    }

    pub(super) fn status(&self, node: NodeId) -> NodeStatus {
        self.open().nodes[node.index()]
    }

    fn change(&self, node: NodeId, change: impl FnOnce(&mut NodeStatus)) {
        let mut counted = self.open();
        let status = &mut counted.nodes[node.index()];
        let before = status.has(Capacity::Available);
        change(status);
        match (before, status.has(Capacity::Available)) {
            (false, true) => counted.available += 1,
            (true, false) => counted.available -= 1,
            (true, true) | (false, false) => {}
        }
    }

    fn open(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().expect("nobody panicked while counting")
    }
}
