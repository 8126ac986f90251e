//! The event queue of the simulation. Events of one time keep the order in which they were pushed, so that a
//! run can be repeated.
//!
//! Most events of a kind are pushed in the order of their times, as they come one fixed delay later: a message
//! after the latency, a free uplink after a segment time. So each kind has a first-in, first-out lane, and only
//! what does not fit behind the last event of its lane goes into a binary heap. The next event is the earliest
//! head. In place of log n steps an event costs a handful, for most.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use super::links::Transfer;
use super::shared_links::Packet;
use crate::manifest::NodeId;
use crate::protocol::{Input, Message};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) enum SimulatedEvent {
    Input {
        to: NodeId,
        input: Input<'static>,
    },
    /// A message comes to a node, and then to others at the same moment. All receivers share it: one event in
    /// place of sixteen, where a node tells its neighbours something.
    Message {
        from: NodeId,
        to: NodeId,
        others: Box<[NodeId]>,
        message: Rc<Message>,
    },
    /// A node's deadline may have come.
    Wake {
        node: NodeId,
    },
    /// A node's uplink is free for the next segment.
    UplinkFree {
        node: NodeId,
    },
    /// A segment comes to the next link of its way, or has landed.
    Crossing(Transfer),
    /// A packet comes to the next link of its way, or has landed.
    Packet(Packet),
    Vanish {
        node: NodeId,
    },
}

// One for each kind of event below.
const LANES: usize = 6;

impl SimulatedEvent {
    /// Its lane; none where times are in no order.
    fn lane(&self) -> Option<usize> {
        match self {
            Self::Input { .. } => Some(0),
            Self::Message { to: NodeId::TRACKER, .. } => Some(1),
            Self::Message { .. } => Some(2),
            Self::Wake { .. } => Some(3),
            Self::UplinkFree { .. } => Some(4),
            Self::Crossing(_) => Some(5),
            Self::Packet(_) | Self::Vanish { .. } => None,
        }
    }
}

/// Time, then the order of pushing. That order is total, so that a seed reproduces a run event for event.
type EventKey = (Timestamp, u64);

// The key of an empty lane.
// No run pushes so many events.
const NEVER: EventKey = (Timestamp(u64::MAX), u64::MAX);

#[derive(Debug)]
struct ScheduledEvent {
    key: EventKey,
    event: SimulatedEvent,
}

impl Ord for ScheduledEvent {
    // The earliest is the greatest: the heap has the greatest on top.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for ScheduledEvent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ScheduledEvent {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for ScheduledEvent {}

#[derive(Debug)]
pub(super) struct Queue {
    /// Each in the order of its keys.
    lanes: [VecDeque<ScheduledEvent>; LANES],
    heap: BinaryHeap<ScheduledEvent>,
    /// The key of the first event of each lane, and of the heap.
    heads: [EventKey; LANES + 1],
    pushed: u64,
}

impl Default for Queue {
    fn default() -> Self {
        let lanes = Default::default();
        Self { lanes, heap: BinaryHeap::new(), heads: [NEVER; LANES + 1], pushed: 0 }
    }
}

impl Queue {
    pub(super) fn push(&mut self, at: Timestamp, event: SimulatedEvent) {
        let lane = event.lane();
        let event = ScheduledEvent { key: (at, self.pushed), event };
        self.pushed += 1;
        let fits = |&lane: &usize| self.lanes[lane].back().is_none_or(|last| last.key.0 <= at);
        let place = lane.filter(fits).unwrap_or(LANES);
        self.heads[place] = self.heads[place].min(event.key);
        match self.lanes.get_mut(place) {
            Some(lane) => lane.push_back(event),
            None => self.heap.push(event),
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Timestamp, SimulatedEvent)> {
        let mut first = LANES;
        for lane in 0..LANES {
            if self.heads[lane] < self.heads[first] {
                first = lane;
            }
        }
        let (event, next) = match self.lanes.get_mut(first) {
            Some(lane) => (lane.pop_front(), lane.front()),
            None => (self.heap.pop(), self.heap.peek()),
        };
        self.heads[first] = next.map_or(NEVER, |event| event.key);
        event.map(|event| (event.key.0, event.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_of_pushing() {
        let mut queue = Queue::default();
        let mut expected = Vec::new();
        // A linear congruential generator: times in disorder, and many twice.
        let mut state = 1_u64;
        for number in 0..2000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (at, node) = (Timestamp(state >> 58), NodeId(number));
            let event = match state >> 33 & 3 {
                0 => SimulatedEvent::Wake { node },
                1 => SimulatedEvent::UplinkFree { node },
                2 => SimulatedEvent::Vanish { node },
                _ => SimulatedEvent::Input { to: node, input: Input::Start },
            };
            queue.push(at, event);
            expected.push((at, node));
        }
        expected.sort();
        for pair in expected {
            let (at, event) = queue.pop().expect("as many come out as went in");
            let node = match event {
                SimulatedEvent::Wake { node }
                | SimulatedEvent::UplinkFree { node }
                | SimulatedEvent::Vanish { node }
                | SimulatedEvent::Input { to: node, .. } => node,
                SimulatedEvent::Message { .. }
                | SimulatedEvent::Crossing(_)
                | SimulatedEvent::Packet(_) => continue,
            };
            assert_eq!((at, node), pair);
        }
        assert!(queue.pop().is_none());
    }
}
