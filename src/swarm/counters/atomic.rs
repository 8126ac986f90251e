//! Counters that any number of threads write at once, on cache lines of their own.

use crossbeam::utils::CachePadded;

use super::{Capacity, Load, NodeStatus, UNLIMITED};
use crate::manifest::NodeId;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The upper half of the state: how many segments may be in flight, and two marks.
const LIMIT_SHIFT: u32 = 32;
const LIMIT_MASK: u64 = UNLIMITED as u64;
const OFFERS: u64 = 1 << 62;
const BANNED: u64 = 1 << 63;

/// All that decides whether a node has time, in one word: it changes as a whole.
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

/// The tracker's counters of one node.
#[derive(Debug)]
struct NodeCounters {
    /// Segments handed out with this node as the holder to ask and not yet verified or given back,
    /// in the lower half; see [`PackedState`].
    state: AtomicU64,
    /// Segments ever handed out with this node as the holder to ask.
    requests: AtomicU64,
    /// Wanted segments that this node owns and that were never handed out.
    unseeded: AtomicU32,
}

/// Counters of all nodes. Counting is one atomic instruction; none publishes other data.
#[derive(Debug)]
pub(super) struct AtomicCounters {
    nodes: Box<[CachePadded<NodeCounters>]>,
    /// A bit a node, kept beside the counters: to see that nobody has time, nobody's counters need
    /// to be looked at.
    idle: Box<[AtomicU64]>,
    time: Box<[AtomicU64]>,
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
            time: bits(),
        }
    }

    pub(super) fn charge(&self, node: NodeId) {
        let counters = &self.nodes[node.index()];
        // ORDERING: Relaxed; a statistic that steers choices, publishes nothing.
        counters.requests.fetch_add(1, Ordering::Relaxed);
        // ORDERING: AcqRel; see `set`.
        let before = PackedState(counters.state.fetch_add(1, Ordering::AcqRel));
        self.follow(node, before, PackedState(before.0 + 1));
    }

    pub(super) fn discharge(&self, node: NodeId) {
        // ORDERING: AcqRel; see `set`.
        let before = PackedState(self.nodes[node.index()].state.fetch_sub(1, Ordering::AcqRel));
        self.follow(node, before, PackedState(before.0 - 1));
    }

    pub(super) fn add_unseeded(&self, owner: NodeId, segments: u32) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[owner.index()].unseeded.fetch_add(segments, Ordering::Relaxed);
    }

    pub(super) fn seed(&self, owner: NodeId) {
        // ORDERING: Relaxed; a count, publishes nothing.
        self.nodes[owner.index()].unseeded.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn offer(&self, node: NodeId) {
        // ORDERING: Relaxed; it only spares the mark where it is set already.
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
            self.follow(node, PackedState(before), PackedState(set(before).unwrap_or(before)));
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
        self.time.iter().any(|word| word.load(Ordering::Relaxed) != 0)
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
        self.follow(node, before, PackedState(before.0 | mark));
    }

    /// Has the bits of a node follow its state, which went from one value to another.
    #[inline]
    fn follow(&self, node: NodeId, before: PackedState, after: PackedState) {
        for capacity in [Capacity::Idle, Capacity::Available] {
            if before.has(capacity) != after.has(capacity) {
                self.set(node, capacity, after.has(capacity));
            }
        }
    }

    /// Sets a bit of a node until it is what the state says.
    ///
    /// Of two threads that changed the state, the one that was later may set the bit sooner. But
    /// each reads the state once more after it has set the bit, by an instruction that reads and
    /// writes, and so sees the last change: the last that sets the bit leaves it right.
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
            Capacity::Available => &self.time,
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

    /// One thread charges a node as far as it goes while another discharges it: whoever was last,
    /// in the end the bits are what the counters say.
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
