//! Lock-free counters.

use crossbeam::utils::CachePadded;

use super::{Capacity, Load, NodeStatus, UNLIMITED};
use crate::manifest::NodeId;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

// The layout of the state: 32 bits in flight, 30 bits limit, 2 flags. What is in flight can't overflow
// into the limit: the windows of all peers together stay far below 2^32 segments.
const LIMIT_SHIFT: u32 = 32;
const LIMIT_MASK: u64 = UNLIMITED as u64;
// The node has something to send.
const OFFERS: u64 = 1 << 62;
// The node is not asked any more.
const BANNED: u64 = 1 << 63;

/// All that decides whether a node has capacity, in one word, so that it changes atomically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PackedState(u64);

impl PackedState {
    fn in_flight(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).expect("the lower half is 32 bits wide")
    }

    fn limit(self) -> u32 {
        u32::try_from(self.0 >> LIMIT_SHIFT & LIMIT_MASK).expect("a limit is 30 bits wide")
    }

    fn has(self, capacity: Capacity) -> bool {
        let willing = self.0 & (OFFERS | BANNED) == OFFERS;
        willing && capacity.has_room(self.in_flight(), self.limit())
    }
}

/// The counters of one node.
// In cache lines of its own (`CachePadded`), against false sharing.
#[derive(Debug)]
struct NodeCounters {
    state: AtomicU64,
    /// Segments ever handed out with this node as the holder to ask.
    requests: AtomicU64,
    /// Wanted segments that this node owns and that were never handed out.
    unseeded: AtomicU32,
}

/// Counters of all nodes. Counting is one or two atomic instructions, which publish no other data.
#[derive(Debug)]
pub(super) struct AtomicCounters {
    nodes: Box<[CachePadded<NodeCounters>]>,
    // Bitmaps by rank, beside the counters: to see that nobody has capacity takes one word for 64
    // nodes, not 64 cache lines.
    idle: Box<[AtomicU64]>,
    available: Box<[AtomicU64]>,
}

impl AtomicCounters {
    pub(super) fn new(nodes: usize, load_max: u32) -> Self {
        let limit = u64::from(load_max).min(LIMIT_MASK) << LIMIT_SHIFT;
        let counters = || NodeCounters {
            state: AtomicU64::new(limit),
            requests: AtomicU64::new(0),
            unseeded: AtomicU32::new(0),
        };
        let bits = || (0..nodes.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self {
            nodes: (0..nodes).map(|_| CachePadded::new(counters())).collect(),
            idle: bits(),
            available: bits(),
        }
    }

    pub(super) fn charge(&self, node: NodeId) {
        let counters = &self.nodes[node.index()];
        // ORDERING: Relaxed; a statistic that steers choices, publishes nothing.
        counters.requests.fetch_add(1, Ordering::Relaxed);
        // ORDERING: AcqRel; see `set`.
        let before = PackedState(counters.state.fetch_add(1, Ordering::AcqRel));
        self.update_bits(node, before, PackedState(before.0 + 1));
    }

    pub(super) fn discharge(&self, node: NodeId) {
        // ORDERING: AcqRel; see `set`.
        let before = PackedState(self.nodes[node.index()].state.fetch_sub(1, Ordering::AcqRel));
        self.update_bits(node, before, PackedState(before.0 - 1));
    }

    pub(super) fn add_unseeded(&self, owner: NodeId, segments: u32) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[owner.index()].unseeded.fetch_add(segments, Ordering::Relaxed);
    }

    pub(super) fn seed(&self, owner: NodeId) {
        let unseeded = &self.nodes[owner.index()].unseeded;
        let one_less = |segments: u32| segments.checked_sub(1);
        // ORDERING: Relaxed; a count, publishes nothing.
        let _ = unseeded.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
    }

    pub(super) fn offer(&self, node: NodeId) {
        // ORDERING: Relaxed; it only saves setting a flag that is set already.
        if self.nodes[node.index()].state.load(Ordering::Relaxed) & OFFERS == 0 {
            self.mark(node, OFFERS);
        }
    }

    pub(super) fn ban(&self, node: NodeId) {
        self.mark(node, BANNED);
    }

    pub(super) fn limit(&self, node: NodeId, limit: u32) {
        let limit = u64::from(limit).min(LIMIT_MASK);
        let set = |state: u64| {
            let other = state & !(LIMIT_MASK << LIMIT_SHIFT) | limit << LIMIT_SHIFT;
            (other != state).then_some(other)
        };
        let state = &self.nodes[node.index()].state;
        // ORDERING: AcqRel; see `set`. Relaxed for a try that fails: it is made again.
        if let Ok(before) = state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, set) {
            self.update_bits(node, PackedState(before), PackedState(set(before).unwrap_or(before)));
        }
    }

    #[inline]
    pub(super) fn has(&self, capacity: Capacity, node: NodeId) -> bool {
        // ORDERING: Relaxed; a choice made a moment late is no worse.
        let word = self.bits(capacity)[node.index() / 64].load(Ordering::Relaxed);
        word & bit_of(node) != 0
    }

    pub(super) fn anybody_is_available(&self) -> bool {
        // ORDERING: Relaxed; see `has`.
        self.available.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    pub(super) fn status(&self, node: NodeId) -> NodeStatus {
        let counters = &self.nodes[node.index()];
        // ORDERING: Relaxed; counts that may be a moment old.
        let state = PackedState(counters.state.load(Ordering::Relaxed));
        NodeStatus {
            load: Load {
                in_flight: state.in_flight(),
                // ORDERING: Relaxed; a count that may be a moment old.
                requests: counters.requests.load(Ordering::Relaxed),
            },
            // ORDERING: Relaxed; a count that may be a moment old.
            unseeded: counters.unseeded.load(Ordering::Relaxed),
            banned: state.0 & BANNED != 0,
            offers: state.0 & OFFERS != 0,
            limit: state.limit(),
        }
    }

    fn mark(&self, node: NodeId, mark: u64) {
        // ORDERING: AcqRel; see `set`.
        let before = PackedState(self.nodes[node.index()].state.fetch_or(mark, Ordering::AcqRel));
        self.update_bits(node, before, PackedState(before.0 | mark));
    }

    /// Updates the bits of a node whose state changed from `before` to `after`.
    #[inline]
    fn update_bits(&self, node: NodeId, before: PackedState, after: PackedState) {
        for capacity in [Capacity::Idle, Capacity::Available] {
            if before.has(capacity) != after.has(capacity) {
                self.set(node, capacity, after.has(capacity));
            }
        }
    }

    /// Sets a bit of a node, and again until it agrees with the state.
    // Two threads may change the state in one order and set the bit in the other. So each thread reads
    // the state again after it has set the bit, with a read-modify-write instruction, which always sees
    // the latest value: whichever thread sets the bit last leaves it right.
    // `loom_no_holder_that_has_time_is_forgotten` checks all interleavings of two threads.
    #[cold]
    fn set(&self, node: NodeId, capacity: Capacity, mut value: bool) {
        let word = &self.bits(capacity)[node.index() / 64];
        loop {
            if value {
                // ORDERING: AcqRel; whoever changes the bit next sees the state that this thread saw.
                word.fetch_or(bit_of(node), Ordering::AcqRel);
            } else {
                // ORDERING: AcqRel; as above.
                word.fetch_and(!bit_of(node), Ordering::AcqRel);
            }
            // ORDERING: AcqRel; it reads the last value there is, and who changes it next sees the
            // bit.
            let now = PackedState(self.nodes[node.index()].state.fetch_add(0, Ordering::AcqRel));
            if now.has(capacity) == value {
                return;
            }
            value = !value;
        }
    }

    fn bits(&self, capacity: Capacity) -> &[AtomicU64] {
        match capacity {
            Capacity::Idle => &self.idle,
            Capacity::Available => &self.available,
        }
    }
}

fn bit_of(node: NodeId) -> u64 {
    1 << (node.index() % 64)
}

#[cfg(all(test, loom))]
mod loom_tests {
    use std::sync::Arc;

    use super::*;

    // One thread charges a node as far as it goes while another discharges it: whoever was last,
    // in the end the bits are what the counters say.
    #[test]
    fn loom_no_holder_that_has_time_is_forgotten() {
        loom::model(|| {
            let node = NodeId(1);
            let counters = Arc::new(AtomicCounters::new(2, 1));
            counters.offer(node);
            counters.charge(node);
            let other = Arc::clone(&counters);
            let thread = loom::thread::spawn(move || other.discharge(node));
            counters.charge(node);
            counters.discharge(node);
            thread.join().expect("the thread ends");
            assert!(counters.has(Capacity::Idle, node) && counters.has(Capacity::Available, node));
            assert_eq!(counters.status(node).load.in_flight, 0);
        });
    }
}
