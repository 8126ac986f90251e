//! How much was asked of each node: the request counters, in two kinds.

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
    /// Whether owners are not spared just now.
    super_seeding_off: AtomicBool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Locked(LockedCounters),
    Atomic(AtomicCounters),
}

/// As a limit: so many segments are never in flight.
pub const UNLIMITED: u32 = (1 << 30) - 1;

/// What a node is charged with at one moment: the less, the sooner it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Load {
    /// Segments handed out and still to come from this node.
    pub in_flight: u32,
    /// Segments ever handed out with this node as their holder.
    pub requests: u64,
}

/// How free a node is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// It has nothing under way.
    Idle,
    /// It may be charged with one more.
    Available,
}

impl Capacity {
    /// Whether a node has it that has so much in flight of what may be.
    fn has_room(self, in_flight: u32, limit: u32) -> bool {
        match self {
            Self::Idle => in_flight == 0,
            Self::Available => in_flight < limit,
        }
    }
}

/// All that the counters say of one node at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NodeStatus {
    pub(super) load: Load,
    /// Wanted segments that this node owns and that were never handed out.
    pub(super) unseeded: u32,
    /// Whether the node has anything to send.
    pub(super) offers: bool,
    /// Whether the node is gone, or sent too many corrupt segments: nobody is sent there any more.
    pub(super) banned: bool,
    /// Segments that may be in flight from this node.
    pub(super) limit: u32,
}

impl NodeStatus {
    fn has(&self, capacity: Capacity) -> bool {
        self.offers && !self.banned && capacity.has_room(self.load.in_flight, self.limit)
    }

    /// The load as it compares with those of others, where the rules let `most` be in flight: from a
    /// node with a limit of its own each segment takes as much longer.
    pub(super) fn load_beside(&self, most: u32) -> Load {
        if self.limit >= most {
            return self.load;
        }
        let in_flight = (self.load.in_flight + 1).saturating_mul(most) / self.limit.max(1);
        Load { in_flight, ..self.load }
    }
}

impl RequestCounters {
    /// Counters at zero for `nodes` nodes that have nothing to send; from each, `load_max` segments
    /// may be in flight.
    pub fn new(kind: config::CounterKind, nodes: usize, load_max: u32) -> Self {
        let kind = match kind {
            config::CounterKind::Mutex => Kind::Locked(LockedCounters::new(nodes, load_max)),
            config::CounterKind::Atomic => Kind::Atomic(AtomicCounters::new(nodes, load_max)),
        };
        Self { super_seeding_off: AtomicBool::new(false), kind }
    }

    /// Counts one more segment to be asked of `node`.
    pub fn charge(&self, node: NodeId) {
        match &self.kind {
            Kind::Locked(counters) => counters.charge(node),
            Kind::Atomic(counters) => counters.charge(node),
        }
    }

    /// A segment charged to `node` has come, or will not come.
    pub fn discharge(&self, node: NodeId) {
        match &self.kind {
            Kind::Locked(counters) => counters.discharge(node),
            Kind::Atomic(counters) => counters.discharge(node),
        }
    }

    /// Counts `segments` more that only their owners have.
    pub fn add_unseeded(&self, owner: NodeId, segments: u32) {
        match &self.kind {
            Kind::Locked(counters) => counters.add_unseeded(owner, segments),
            Kind::Atomic(counters) => counters.add_unseeded(owner, segments),
        }
    }

    /// One of the owner's segments was handed out for the first time.
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

    /// Nobody is sent to `node` any more.
    pub fn ban(&self, node: NodeId) {
        match &self.kind {
            Kind::Locked(counters) => counters.ban(node),
            Kind::Atomic(counters) => counters.ban(node),
        }
    }

    /// No more than `limit` segments are to be in flight from `node`.
    pub fn limit(&self, node: NodeId, limit: u32) {
        match &self.kind {
            Kind::Locked(counters) => counters.limit(node, limit),
            Kind::Atomic(counters) => counters.limit(node, limit),
        }
    }

    /// Whether any node at all may be charged with one more.
    pub fn anybody_is_available(&self) -> bool {
        match &self.kind {
            Kind::Locked(counters) => counters.anybody_is_available(),
            Kind::Atomic(counters) => counters.anybody_is_available(),
        }
    }

    /// The first few of some nodes that have capacity.
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

    /// Whether owners count as seeding at all: where nothing moves any more, sparing them would
    /// keep from the others what only they can send.
    pub fn set_super_seeding(&self, spare: bool) {
        // ORDERING: Relaxed; it steers choices, publishes nothing.
        self.super_seeding_off.store(!spare, Ordering::Relaxed);
    }

    /// Whether nobody should be sent to `node`.
    pub fn is_banned(&self, node: NodeId) -> bool {
        self.status(node).banned
    }

    /// Whether `owner` still has segments that nobody else was ever sent to fetch.
    pub fn is_seeding(&self, owner: NodeId) -> bool {
        self.seeds(&self.status(owner))
    }

    /// What `node` is charged with.
    pub fn load(&self, node: NodeId) -> Load {
        self.status(node).load
    }

    /// All at once: with a mutex it is taken once.
    #[inline]
    pub(super) fn status(&self, node: NodeId) -> NodeStatus {
        match &self.kind {
            Kind::Locked(counters) => counters.status(node),
            Kind::Atomic(counters) => counters.status(node),
        }
    }

    /// Whether an owner of that status still has segments that nobody else was sent to fetch.
    pub(super) fn seeds(&self, status: &NodeStatus) -> bool {
        // ORDERING: Relaxed; see `set_super_seeding`.
        status.unseeded > 0 && !self.super_seeding_off.load(Ordering::Relaxed)
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
    fn who_is_avoided_stays_so_and_owners_need_not_be_spared() {
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
