//! Counters as plain numbers behind one mutex.

use std::sync::{Mutex, MutexGuard};

use super::Standing;
use crate::manifest::NodeId;

/// Counters of all nodes; the mutex is held for one operation.
#[derive(Debug)]
pub(super) struct LockedCounters {
    nodes: Mutex<Box<[Standing]>>,
}

impl LockedCounters {
    pub(super) fn new(nodes: usize) -> Self {
        Self { nodes: Mutex::new(vec![Standing::default(); nodes].into()) }
    }

    pub(super) fn charge(&self, node: NodeId) {
        let load = &mut self.open()[node.index()].load;
        load.requests += 1;
        load.in_flight += 1;
    }

    pub(super) fn discharge(&self, node: NodeId) {
        self.open()[node.index()].load.in_flight -= 1;
    }

    pub(super) fn add_unseeded(&self, owner: NodeId, segments: u32) {
        self.open()[owner.index()].unseeded += segments;
    }

    pub(super) fn seed(&self, owner: NodeId) {
        self.open()[owner.index()].unseeded -= 1;
    }

    pub(super) fn avoid(&self, node: NodeId) {
        self.open()[node.index()].avoided = true;
    }

    pub(super) fn limit(&self, node: NodeId, limit: u32) {
        self.open()[node.index()].limit = limit;
    }

    pub(super) fn standing(&self, node: NodeId) -> Standing {
        self.open()[node.index()]
    }

    fn open(&self) -> MutexGuard<'_, Box<[Standing]>> {
        self.nodes.lock().expect("nobody panicked while counting")
    }
}
