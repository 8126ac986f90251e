//! The request counters: how much each node has to send, in two kinds.
//!
//! They are the tracker's side of credit-based flow control: a node has a credit of `limit` segments,
//! handing out a segment takes one (`charge`), its arrival returns it (`discharge`).

mod atomic;
mod locked;

use arrayvec::ArrayVec;

use crate::config::{self, FRESH_HOLDERS};
use crate::manifest::NodeId;
use crate::sync::{AtomicBool, Ordering};
use atomic::AtomicCounters;
use locked::LockedCounters;

/// Counters of all nodes.
#[derive(Debug)]
pub struct RequestCounters {
    /// Whether owners send any segment, for a moment: see `set_super_seeding`.
    super_seeding_off: AtomicBool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Locked(LockedCounters),
    Atomic(AtomicCounters),
}

/// A limit that is never reached: 30 bits, which is what the packed state has room for.
pub const UNLIMITED: u32 = (1 << 30) - 1;

/// How much a node has to send; the smaller, the sooner it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// Segments handed out with this node as the holder to ask, and not yet verified or given back.
    pub in_flight: u32,
    /// Segments ever handed out with this node as the holder to ask.
    pub requests: u64,
}

/// A condition on what a node has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// It has nothing in flight.
    Idle,
    /// It has less in flight than its limit.
    Available,
}

impl Capacity {
    fn has_room(self, in_flight: u32, limit: u32) -> bool {
        match self {
            Self::Idle => in_flight == 0,
            Self::Available => in_flight < limit,
        }
    }
}

/// All counters of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeStatus {
    pub(super) load: Load,
    /// Wanted segments that this node owns and that were never handed out.
    pub(super) unseeded: u32,
    /// Whether it has any segment to send.
    pub(super) offers: bool,
    /// Whether it is gone, or sent too many corrupt segments.
    pub(super) banned: bool,
    /// The most segments in flight.
    pub(super) limit: u32,
}

impl NodeStatus {
    fn has(&self, capacity: Capacity) -> bool {
        self.offers && !self.banned && capacity.has_room(self.load.in_flight, self.limit)
    }

    /// The load in units of a node with limit `most`: a node with a lower limit is as much slower, and
    /// each of its segments counts for more. The 1 is the segment that would be added.
    pub(super) fn load_beside(&self, most: u32) -> Load {
        if self.limit >= most {
            return self.load;
        }
        let in_flight = (self.load.in_flight + 1).saturating_mul(most) / self.limit.max(1);
        Load { in_flight, ..self.load }
    }
}

impl RequestCounters {
    /// Counters at zero for `nodes` nodes that have nothing to send, each with the limit `load_max`.
    pub fn new(kind: config::CounterKind, nodes: usize, load_max: u32) -> Self {
        let kind = match kind {
            config::CounterKind::Mutex => Kind::Locked(LockedCounters::new(nodes, load_max)),
            config::CounterKind::Atomic => Kind::Atomic(AtomicCounters::new(nodes, load_max)),
        };
        Self { super_seeding_off: AtomicBool::new(false), kind }
    }

    /// A segment was handed out with `node` as the holder to ask.
    pub fn charge(&self, node: NodeId) {
        match &self.kind {
            Kind::Locked(counters) => counters.charge(node),
            Kind::Atomic(counters) => counters.charge(node),
        }
    }

    /// A segment charged to `node` was verified or given back.
    pub fn discharge(&self, node: NodeId) {
        match &self.kind {
            Kind::Locked(counters) => counters.discharge(node),
            Kind::Atomic(counters) => counters.discharge(node),
        }
    }

    /// `segments` more of `owner` were never handed out.
    pub fn add_unseeded(&self, owner: NodeId, segments: u32) {
        match &self.kind {
            Kind::Locked(counters) => counters.add_unseeded(owner, segments),
            Kind::Atomic(counters) => counters.add_unseeded(owner, segments),
        }
    }

    /// Segments of `owner` that were never handed out.
    pub fn unseeded(&self, owner: NodeId) -> u32 {
        self.status(owner).unseeded
    }

    /// One of the segments of `owner` was handed out for the first time, or is wanted by nobody that is left. A peer
    /// that asks for what it did not register can't bring the count below 0.
    pub fn seed(&self, owner: NodeId) {
        match &self.kind {
            Kind::Locked(counters) => counters.seed(owner),
            Kind::Atomic(counters) => counters.seed(owner),
        }
    }

    /// The node has something to send.
    pub fn offer(&self, node: NodeId) {
        match &self.kind {
            Kind::Locked(counters) => counters.offer(node),
            Kind::Atomic(counters) => counters.offer(node),
        }
    }

    /// `node` has no capacity any more.
    pub fn ban(&self, node: NodeId) {
        match &self.kind {
            Kind::Locked(counters) => counters.ban(node),
            Kind::Atomic(counters) => counters.ban(node),
        }
    }

    /// Sets the most segments in flight from `node`.
    pub fn limit(&self, node: NodeId, limit: u32) {
        match &self.kind {
            Kind::Locked(counters) => counters.limit(node, limit),
            Kind::Atomic(counters) => counters.limit(node, limit),
        }
    }

    /// Whether any node has capacity.
    pub fn anybody_is_available(&self) -> bool {
        match &self.kind {
            Kind::Locked(counters) => counters.anybody_is_available(),
            Kind::Atomic(counters) => counters.anybody_is_available(),
        }
    }

    /// The first few of these nodes that have capacity.
    #[inline]
    pub fn with_capacity(
        &self,
        capacity: Capacity,
        nodes: impl Iterator<Item = NodeId>,
    ) -> ArrayVec<NodeId, FRESH_HOLDERS> {
        match &self.kind {
            Kind::Locked(counters) => counters.with_capacity(capacity, nodes),
            Kind::Atomic(counters) => {
                nodes.filter(|&node| counters.has(capacity, node)).take(FRESH_HOLDERS).collect()
            }
        }
    }

    /// Switches super-seeding on or off. Where nothing moves any more, owners must send segments that
    /// others have too.
    pub fn set_super_seeding(&self, on: bool) {
        // ORDERING: Relaxed; it steers choices, publishes nothing.
        self.super_seeding_off.store(!on, Ordering::Relaxed);
    }

    /// Whether `node` is banned.
    pub fn is_banned(&self, node: NodeId) -> bool {
        self.status(node).banned
    }

    /// Whether `owner` is super-seeding: it has segments that were never handed out.
    pub fn is_seeding(&self, owner: NodeId) -> bool {
        // ORDERING: Relaxed; see `set_super_seeding`.
        self.status(owner).unseeded > 0 && !self.super_seeding_off.load(Ordering::Relaxed)
    }

    /// How much `node` has to send.
    pub fn load(&self, node: NodeId) -> Load {
        self.status(node).load
    }

    /// All counters of `node`, with the mutex taken once.
    #[inline]
    pub(super) fn status(&self, node: NodeId) -> NodeStatus {
        match &self.kind {
            Kind::Locked(counters) => counters.status(node),
            Kind::Atomic(counters) => counters.status(node),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn kinds(nodes: usize) -> [RequestCounters; 2] {
        [config::CounterKind::Mutex, config::CounterKind::Atomic]
            .map(|kind| RequestCounters::new(kind, nodes, 2))
    }

    #[test]
    fn loads_count_what_was_handed_out() {
        for counters in kinds(3) {
            counters.charge(NodeId(1));
            counters.charge(NodeId(1));
            counters.discharge(NodeId(1));
            assert_eq!(counters.load(NodeId(1)), Load { in_flight: 1, requests: 2 });
            assert!(counters.load(NodeId(2)) < counters.load(NodeId(1)));
        }
    }

    #[test]
    fn an_owner_seeds_until_each_segment_was_handed_out() {
        for counters in kinds(2) {
            counters.add_unseeded(NodeId(1), 2);
            counters.seed(NodeId(1));
            assert!(counters.is_seeding(NodeId(1)));
            counters.seed(NodeId(1));
            assert!(!counters.is_seeding(NodeId(1)));
        }
    }

    #[test]
    fn a_banned_node_stays_so_and_super_seeding_can_be_switched_off() {
        for counters in kinds(3) {
            counters.add_unseeded(NodeId(1), 1);
            counters.ban(NodeId(2));
            counters.set_super_seeding(false);
            assert!(!counters.is_seeding(NodeId(1)));
            counters.set_super_seeding(true);
            assert!(counters.is_seeding(NodeId(1)));
            assert!(counters.is_banned(NodeId(2)) && !counters.is_banned(NodeId(1)));
        }
    }

    #[test]
    fn who_has_something_to_send_and_little_to_do_has_time() {
        for counters in kinds(3) {
            let at = |capacity| counters.with_capacity(capacity, [1, 2].map(NodeId).into_iter());
            assert!(at(Capacity::Available).is_empty() && !counters.anybody_is_available());
            counters.offer(NodeId(1));
            counters.offer(NodeId(2));
            counters.charge(NodeId(1));
            assert_eq!(at(Capacity::Idle)[..], [NodeId(2)]);
            assert_eq!(at(Capacity::Available)[..], [NodeId(1), NodeId(2)]);
            counters.charge(NodeId(1));
            counters.limit(NodeId(2), 0);
            assert!(!counters.anybody_is_available());
            counters.limit(NodeId(2), 1);
            assert_eq!(at(Capacity::Available)[..], [NodeId(2)]);
            counters.ban(NodeId(2));
            counters.discharge(NodeId(1));
            assert_eq!(at(Capacity::Available)[..], [NodeId(1)]);
        }
    }

    #[test]
    fn threads_that_count_at_once_lose_nothing() {
        for counters in kinds(2) {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..1000).for_each(|_| counters.charge(NodeId(1))));
                }
            });
            assert_eq!(counters.load(NodeId(1)), Load { in_flight: 4000, requests: 4000 });
        }
    }
}
