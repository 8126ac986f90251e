//! Nodes as threads of one process: a mailbox each, and one copy a segment, made by the receiver
//! from where the segment lies to where it belongs.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use crossbeam::sync::Unparker;

use super::{Completion, PolledEvents, Transport, TransportError};
use crate::config::{MAILBOX_EVENTS, SPARE_MESSAGES_PER_NODE, WINDOW_MAX};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::Message;
use crate::store::{SealedSegment, VacantSlot};

/// What lies in a mailbox.
#[derive(Debug)]
enum MailboxEvent {
    Message { from: NodeId, message: Box<Message> },
    Segment { from: NodeId, segment: SegmentId, payload: SealedSegment },
    Received { by: NodeId, segment: SegmentId },
}

#[derive(Debug)]
struct SharedMailboxes {
    mailboxes: Box<[Mailbox]>,
    // Those that are empty, to be used again: with as many as are ever on their way at once,
    // nothing is allocated any more.
    spares: ArrayQueue<Box<Message>>,
}

/// Where one node's events wait, and how it is woken.
#[derive(Debug)]
struct Mailbox {
    events: ArrayQueue<MailboxEvent>,
    bell: Unparker,
}

/// One node's end of the local transport.
#[derive(Debug)]
pub struct LocalTransport {
    node: NodeId,
    common: Arc<SharedMailboxes>,
    // Backpressure without blocking: a full mailbox keeps its sender's events back here, in order, so that
    // two nodes with full mailboxes can't wait for each other.
    /// Events for full mailboxes, in order. Bounded by what the protocol has in flight.
    backlog: VecDeque<(NodeId, MailboxEvent)>,
    // MPI matches a receive by source and tag; this list is that match for threads. It is as short as the
    // window, so that a scan is faster than a map.
    expected: Vec<(NodeId, SegmentId, VacantSlot)>,
    forgotten: Vec<VacantSlot>,
}

/// The ends of all nodes, by rank. `bells` wake them.
pub fn connect(bells: Vec<Unparker>) -> Vec<LocalTransport> {
    let nodes = u32::try_from(bells.len()).expect("ranks are numbered in 32 bits");
    let spares = ArrayQueue::new(SPARE_MESSAGES_PER_NODE * bells.len().max(1));
    let mailboxes = bells
        .into_iter()
        .map(|bell| Mailbox { events: ArrayQueue::new(MAILBOX_EVENTS), bell })
        .collect();
    let common = Arc::new(SharedMailboxes { mailboxes, spares });
    (0..nodes).map(|node| LocalTransport::of(NodeId(node), &common)).collect()
}

impl LocalTransport {
    /// Another end of the same node, for a thread that shares its work: what comes goes to
    /// whichever end polls first. Only for a node that receives no segments: an end does not know
    /// what another end expects.
    pub fn another_end(&self) -> Self {
        Self::of(self.node, &self.common)
    }

    fn of(node: NodeId, common: &Arc<SharedMailboxes>) -> Self {
        Self {
            node,
            common: Arc::clone(common),
            backlog: VecDeque::with_capacity(MAILBOX_EVENTS),
            expected: Vec::with_capacity(2 * WINDOW_MAX),
            forgotten: Vec::with_capacity(2 * WINDOW_MAX),
        }
    }

    fn post(&mut self, to: NodeId, event: MailboxEvent) -> Result<(), TransportError> {
        if to.index() >= self.common.mailboxes.len() {
            return Err(TransportError::NoSuchNode(to));
        }
        // Messages between two nodes keep their order, as MPI guarantees it (non-overtaking).
        // Behind the backlog for the same node, or order would be lost.
        if self.backlog.iter().any(|&(waiting, _)| waiting == to) {
            self.backlog.push_back((to, event));
        } else if let Some(event) = self.try_post(to, event) {
            self.backlog.push_back((to, event));
        }
        Ok(())
    }

    /// Puts an event into a mailbox; gives it back when that is full.
    fn try_post(&self, to: NodeId, event: MailboxEvent) -> Option<MailboxEvent> {
        let mailbox = &self.common.mailboxes[to.index()];
        let refused = mailbox.events.push(event).err();
        if refused.is_none() {
            mailbox.bell.unpark();
        }
        refused
    }

    fn flush(&mut self) {
        for _ in 0..self.backlog.len() {
            let Some((to, event)) = self.backlog.pop_front() else { return };
            if let Some(event) = self.try_post(to, event) {
                self.backlog.push_front((to, event));
                return;
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
        segment: SegmentId,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        let from = self.node;
        self.post(to, MailboxEvent::Segment { from, segment, payload })
    }

    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        for (_, message) in events.messages.drain(..) {
            // Where there are too many, it is freed.
            drop(self.common.spares.push(message));
        }
        events.completions.clear();
        self.flush();
        let done = &mut events.completions;
        done.extend(self.forgotten.drain(..).map(|slot| Completion::Forgotten { slot }));
        // No more than what lies there now, so that a busy mailbox does not keep the node.
        for _ in 0..self.common.mailboxes[self.node.index()].events.len() {
            let Some(event) = self.common.mailboxes[self.node.index()].events.pop() else { break };
            match event {
                MailboxEvent::Message { from, message } => events.messages.push((from, message)),
                MailboxEvent::Segment { from, segment, payload } => {
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
}
