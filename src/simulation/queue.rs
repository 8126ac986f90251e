//! The event queue of the simulation: a binary heap, ordered by time. Events of one time keep the order
//! in which they were pushed, so that a run can be repeated.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Input, Message};
use crate::time::Timestamp;
use crate::verify::Digest;

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "events are moved, never allocated one by one")]
pub(super) enum SimulatedEvent {
    Input {
        to: NodeId,
        input: Input<'static>,
    },
    /// A message comes to a node.
    Message {
        from: NodeId,
        to: NodeId,
        message: Message,
    },
    /// A node's deadline may have come.
    Wake {
        node: NodeId,
    },
    /// A node's uplink is free for the next segment.
    UplinkFree {
        node: NodeId,
    },
    /// A segment has crossed the network.
    Landed {
        from: NodeId,
        to: NodeId,
        segment: SegmentId,
        content: Digest,
    },
    Vanish {
        node: NodeId,
    },
}

// The event list of a discrete-event simulation: a binary heap over (time, order of making). The second
// key makes the order total, so that a seed reproduces a run event for event.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Time, number and slot of each event: a heap moves its elements, and messages are large.
    order: BinaryHeap<Reverse<(Timestamp, u64, usize)>>,
    events: Vec<Option<SimulatedEvent>>,
    free: Vec<usize>,
    pushed: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Timestamp, event: SimulatedEvent) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.events[slot] = Some(event);
                slot
            }
            None => {
                self.events.push(Some(event));
                self.events.len() - 1
            }
        };
        self.order.push(Reverse((at, self.pushed, slot)));
        self.pushed += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(Timestamp, SimulatedEvent)> {
        let Reverse((at, _, slot)) = self.order.pop()?;
        self.free.push(slot);
        let event = self.events[slot].take().expect("every key has its event");
        Some((at, event))
    }
}
