//! Nodes as threads of one process.
//!
//! Each node has a mailbox, a bounded lock-free queue. A segment crosses by reference, and its receiver
//! copies it into its own slot: one copy, and the receiver's core has the bytes in its cache when it
//! hashes them.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use crossbeam::sync::Unparker;

use super::{Completion, HeldBack, PolledEvents, Transport, TransportError};
use crate::config::{MAILBOX_EVENTS, SPARE_MESSAGES_PER_NODE, WINDOW_MAX};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, RequestedSegment};
use crate::store::{SealedSegment, VacantSlot};
use crate::sync::{AtomicBool, Ordering};
use crate::time::Timestamp;

#[derive(Debug)]
enum MailboxEvent {
    Message { from: NodeId, message: Box<Message> },
    Segment { from: NodeId, segment: SegmentId, payload: SealedSegment },
    // Only when the receiver has copied a segment it counts as sent, as with MPI, where a send ends when
    // its memory may be used again.
    Received { by: NodeId, segment: SegmentId },
}

#[derive(Debug)]
struct SharedMailboxes {
    mailboxes: Box<[Mailbox]>,
    /// Messages that were read, to be written over.
    // A free list for all nodes: sending allocates only until there are as many messages as are ever in
    // flight at once. It is shared because messages mostly flow from some nodes to others.
    spares: ArrayQueue<Box<Message>>,
}

#[derive(Debug)]
struct Mailbox {
    events: ArrayQueue<MailboxEvent>,
    waker: Unparker,
    /// Its node has ended, and reads nothing more.
    is_closed: AtomicBool,
}

/// One node's end of the local transport.
#[derive(Debug)]
pub struct LocalTransport {
    node: NodeId,
    /// Whether the node ends with this end of it.
    is_main: bool,
    common: Arc<SharedMailboxes>,
    /// Events for full mailboxes, in order.
    // A send must not block: two nodes with full mailboxes would wait for each other forever. What the
    // protocol has in flight bounds the backlog.
    backlog: VecDeque<(NodeId, MailboxEvent)>,
    /// Nodes whose mailbox was found full, while the backlog is posted.
    full: Vec<NodeId>,
    /// Segments for nodes that have ended.
    dropped: Vec<(NodeId, SegmentId)>,
    /// Slots for requested segments.
    // What the MPI keeps as posted receives. It can't be one with the peer's record of its requests: a
    // slot must be where the bytes arrive, and the peer is pure.
    expected: Vec<(NodeId, SegmentId, VacantSlot)>,
    forgotten: Vec<VacantSlot>,
}

/// About how much memory the end of one node takes, bytes.
pub(crate) fn bytes_per_node() -> usize {
    let event = size_of::<MailboxEvent>() + size_of::<NodeId>();
    let slots = size_of::<(NodeId, SegmentId, VacantSlot)>() + size_of::<VacantSlot>();
    // A mailbox, and as much for events that wait for full ones.
    2 * MAILBOX_EVENTS * event
        + 2 * WINDOW_MAX * slots
        + SPARE_MESSAGES_PER_NODE * size_of::<Message>()
}

/// The ends of all nodes, by rank. `wakers` wake them.
pub fn connect(wakers: Vec<Unparker>) -> Vec<LocalTransport> {
    let nodes = u32::try_from(wakers.len()).expect("ranks are numbered in 32 bits");
    let spares = ArrayQueue::new(SPARE_MESSAGES_PER_NODE * wakers.len().max(1));
    let mailboxes = wakers
        .into_iter()
        .map(|waker| Mailbox {
            events: ArrayQueue::new(MAILBOX_EVENTS),
            waker,
            is_closed: AtomicBool::new(false),
        })
        .collect();
    let common = Arc::new(SharedMailboxes { mailboxes, spares });
    (0..nodes).map(|node| LocalTransport::of(NodeId(node), &common, true)).collect()
}

impl LocalTransport {
    /// Another end of the same node, for a thread that shares its work: an event goes to whichever end
    /// polls first. Only for a node that receives no segments, as the ends don't share what they expect.
    pub fn another_end(&self) -> Self {
        Self::of(self.node, &self.common, false)
    }

    fn of(node: NodeId, common: &Arc<SharedMailboxes>, is_main: bool) -> Self {
        Self {
            node,
            is_main,
            common: Arc::clone(common),
            backlog: VecDeque::with_capacity(MAILBOX_EVENTS),
            // Few are full at a time.
            full: Vec::with_capacity(common.mailboxes.len().min(64)),
            dropped: Vec::new(),
            // Each segment of a window may be requested twice, in the end game.
            expected: Vec::with_capacity(2 * WINDOW_MAX),
            forgotten: Vec::with_capacity(2 * WINDOW_MAX),
        }
    }

    fn post(&mut self, to: NodeId, event: MailboxEvent) -> Result<(), TransportError> {
        if to.index() >= self.common.mailboxes.len() {
            return Err(TransportError::NoSuchNode(to));
        }
        // Events for one node stay in order, so that this one waits behind those that wait already.
        if self.backlog.iter().any(|&(waiting, _)| waiting == to) {
            self.backlog.push_back((to, event));
        } else if let Some(event) = self.try_post(to, event) {
            self.backlog.push_back((to, event));
        }
        Ok(())
    }

    /// Puts an event into a mailbox; returns it if that is full. For a node that has ended it is dropped.
    fn try_post(&mut self, to: NodeId, event: MailboxEvent) -> Option<MailboxEvent> {
        let mailbox = &self.common.mailboxes[to.index()];
        // ORDERING: Relaxed; a hint, publishes nothing. An event that comes right after it lies there unread.
        if mailbox.is_closed.load(Ordering::Relaxed) {
            if let MailboxEvent::Segment { segment, .. } = event {
                self.dropped.push((to, segment));
            }
            return None;
        }
        let refused = mailbox.events.push(event).err();
        if refused.is_none() {
            mailbox.waker.unpark();
        }
        refused
    }

    // A full mailbox, of a node that is stopped for example, holds up no event for another node.
    fn post_backlog(&mut self) {
        self.full.clear();
        // All are passed once around, so that those that stay keep their order.
        for _ in 0..self.backlog.len() {
            let Some((to, event)) = self.backlog.pop_front() else { return };
            let is_full = self.full.contains(&to);
            let left = if is_full { Some(event) } else { self.try_post(to, event) };
            if let Some(event) = left {
                self.backlog.push_back((to, event));
                if !is_full {
                    self.full.push(to);
                }
            }
        }
    }

    fn receive(
        &mut self,
        from: NodeId,
        segment: SegmentId,
        payload: &SealedSegment,
    ) -> Option<Completion> {
        let place = self.expected.iter().position(|&(f, s, _)| (f, s) == (from, segment))?;
        // The receiver copies, not the sender: copies then run on as many cores as there are receivers,
        // and the bytes are in the cache of the core that hashes them next.
        let (_, _, mut slot) = self.expected.swap_remove(place);
        let bytes = payload.bytes();
        slot.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Some(Completion::Arrived { from, segment, slot: slot.fill(bytes.len()) })
    }
}

impl Transport for LocalTransport {
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError> {
        let from = self.node;
        // Recycled, so that a running swarm allocates nothing (`tests/allocations.rs`).
        let message = match self.common.spares.pop() {
            Some(mut spare) => {
                (*spare).clone_from(message);
                spare
            }
            None => Box::new(message.clone()),
        };
        self.post(to, MailboxEvent::Message { from, message })
    }

    fn expect(
        &mut self,
        from: NodeId,
        segment: SegmentId,
        slot: VacantSlot,
    ) -> Result<(), TransportError> {
        self.expected.push((from, segment, slot));
        Ok(())
    }

    fn forget(&mut self, from: NodeId, segment: SegmentId) -> Result<(), TransportError> {
        let place = self.expected.iter().position(|&(f, s, _)| (f, s) == (from, segment));
        if let Some(place) = place {
            self.forgotten.push(self.expected.swap_remove(place).2);
        }
        Ok(())
    }

    fn serve(
        &mut self,
        to: NodeId,
        RequestedSegment { segment, .. }: RequestedSegment,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        let from = self.node;
        self.post(to, MailboxEvent::Segment { from, segment, payload })
    }

    fn flush(&mut self) -> Result<(), TransportError> {
        Ok(())
    }

    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        for (_, message) in events.messages.drain(..) {
            // A full queue frees it.
            drop(self.common.spares.push(message));
        }
        events.completions.clear();
        events.payload_messages = 0;
        self.post_backlog();
        let done = &mut events.completions;
        done.extend(self.forgotten.drain(..).map(|slot| Completion::Forgotten { slot }));
        // Whose receiver is gone has left as well.
        let dropped = self.dropped.drain(..);
        done.extend(dropped.map(|(to, segment)| Completion::Sent { to, segment }));
        // Only what is there now: with a mailbox that fills as fast as it is emptied, the node would
        // never get to act on it.
        for _ in 0..self.common.mailboxes[self.node.index()].events.len() {
            let Some(event) = self.common.mailboxes[self.node.index()].events.pop() else { break };
            match event {
                MailboxEvent::Message { from, message } => events.messages.push((from, message)),
                MailboxEvent::Segment { from, segment, payload } => {
                    events.payload_messages += 1;
                    done.extend(self.receive(from, segment, &payload));
                    drop(payload);
                    self.post(from, MailboxEvent::Received { by: self.node, segment })?;
                }
                MailboxEvent::Received { by, segment } => {
                    done.push(Completion::Sent { to: by, segment })
                }
            }
        }
        Ok(())
    }

    fn is_flushed(&self) -> bool {
        self.backlog.is_empty()
    }

    fn wakes(&self) -> bool {
        true
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    fn held_back(&self) -> HeldBack {
        HeldBack::default()
    }
}

impl Drop for LocalTransport {
    fn drop(&mut self) {
        if self.is_main {
            let mailbox = &self.common.mailboxes[self.node.index()];
            // ORDERING: Relaxed; a hint, publishes nothing.
            mailbox.is_closed.store(true, Ordering::Relaxed);
            // What lies there holds slots of other nodes.
            while mailbox.events.pop().is_some() {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::store::Pool;
    use crossbeam::sync::Parker;

    fn ends(nodes: usize) -> Vec<LocalTransport> {
        connect((0..nodes).map(|_| Parker::new().unparker().clone()).collect())
    }

    /// The segments of the offers that have come.
    fn offered(end: &mut LocalTransport) -> Vec<u32> {
        let mut events = PolledEvents::default();
        end.poll(&mut events).expect("it is well");
        let offered = |(_, message): &(NodeId, Box<Message>)| {
            let Message::Offer { segment } = **message else { panic!("{message:?}") };
            segment.0
        };
        events.messages.iter().map(offered).collect()
    }

    fn send_offers(from: &mut LocalTransport, to: NodeId, segments: std::ops::Range<usize>) {
        for segment in segments {
            let segment = SegmentId(u32::try_from(segment).expect("there are few"));
            from.send(to, &Message::Offer { segment }).expect("there is such a node");
        }
    }

    #[test]
    fn a_full_mailbox_holds_up_only_what_is_for_its_node_and_all_stays_in_order() {
        let mut ends = ends(3);
        let (mut third, mut second, mut first) = (ends.remove(2), ends.remove(1), ends.remove(0));
        let full = MAILBOX_EVENTS;
        // Both are full, and one of them is read.
        send_offers(&mut first, NodeId(1), 0..full + 3);
        send_offers(&mut first, NodeId(2), 0..full + 3);
        assert_eq!(offered(&mut third).len(), full);
        assert!(offered(&mut first).is_empty());
        let rest: Vec<u32> =
            (0..3).map(|place| u32::try_from(full).expect("few") + place).collect();
        assert_eq!(offered(&mut third), rest);
        assert!(!first.is_flushed());
        assert_eq!(offered(&mut second).len(), full);
        assert!(offered(&mut first).is_empty());
        assert_eq!(offered(&mut second), rest);
        assert!(first.is_flushed());
    }

    #[test]
    fn what_is_for_a_node_that_has_ended_is_dropped_and_counts_as_sent() {
        let mut ends = ends(2);
        let (second, mut first) = (ends.remove(1), ends.remove(0));
        send_offers(&mut first, NodeId(1), 0..MAILBOX_EVENTS + 1);
        assert!(!first.is_flushed());
        drop(second);
        let pool = Pool::new(1, 8).expect("a little memory");
        let payload = pool.take().expect("one").fill(8).seal_unchecked();
        first.serve(NodeId(1), SegmentId(7).into(), payload).expect("there was such a node");
        let mut events = PolledEvents::default();
        first.poll(&mut events).expect("it is well");
        assert!(first.is_flushed());
        let sent = &events.completions[..];
        assert!(matches!(sent, [Completion::Sent { to: NodeId(1), segment: SegmentId(7) }]));
        assert_eq!(pool.vacant(), 1);
    }

    #[test]
    fn another_end_of_a_node_does_not_close_it() {
        let mut ends = ends(2);
        drop(ends[1].another_end());
        send_offers(&mut ends[0], NodeId(1), 0..1);
        assert_eq!(offered(&mut ends[1]), [0]);
    }
}
