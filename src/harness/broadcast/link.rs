//! A node's end of the transport, and its patience.

use std::collections::VecDeque;

use crossbeam::sync::Parker;

use crate::driver::Idle;
use crate::driver::stopwatch::Stopwatch;
use crate::manifest::NodeId;
use crate::metrics::Activity;
use crate::metrics::usage::Meter;
use crate::protocol::Message;
use crate::time::Clock;
use crate::transport::{Completion, PolledEvents, Transport, TransportError};

/// Something that happened at a node.
pub(super) enum RelayEvent {
    /// A message came.
    Message { from: NodeId, message: Box<Message> },
    /// The transport finished something else.
    Finished(Completion),
}

/// What happens at a node, one thing after the other. A node with nothing to do leaves its core
/// to others, exactly as the swarm's nodes do.
pub(super) struct RelayEndpoint<'a, T> {
    transport: &'a mut T,
    idle: Idle,
    /// What the time goes to.
    pub(super) watch: Stopwatch,
    /// What the node does while nothing happens.
    pub(super) resting: Activity,
    events: PolledEvents,
    come: VecDeque<RelayEvent>,
    /// What came too early, in order: others may be at work before this node knows of the start.
    early: VecDeque<RelayEvent>,
}

impl<'a, T: Transport> RelayEndpoint<'a, T> {
    pub(super) fn new(
        transport: &'a mut T,
        parker: Parker,
        (clock, meter): (&Clock, &Meter),
    ) -> Self {
        let idle = Idle::new(parker, transport.wakes());
        let (come, early) = (VecDeque::new(), VecDeque::new());
        let (watch, resting) = (Stopwatch::start(clock, meter), Activity::Idle);
        Self { transport, idle, watch, resting, events: PolledEvents::default(), come, early }
    }

    /// The transport, to give it something to do.
    pub(super) fn transport(&mut self) -> &mut T {
        self.transport
    }

    /// The next thing that happened, however long it takes.
    pub(super) fn wait(&mut self) -> Result<RelayEvent, TransportError> {
        if let Some(early) = self.early.pop_front() {
            return Ok(early);
        }
        self.wait_for_more()
    }

    /// The next message about the run itself; what belongs to the moving waits for
    /// [`RelayEndpoint::wait`].
    pub(super) fn wait_for_message(&mut self) -> Result<(NodeId, Message), TransportError> {
        loop {
            match self.wait_for_more()? {
                RelayEvent::Message { from, message } if !is_about_moving(&message) => {
                    return Ok((from, *message));
                }
                moving @ (RelayEvent::Message { .. } | RelayEvent::Finished(_)) => {
                    self.early.push_back(moving);
                }
            }
        }
    }

    /// Waits until everything that was sent has left.
    pub(super) fn flush(&mut self) -> Result<(), TransportError> {
        while !self.transport.is_flushed() {
            self.poll()?;
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Whether anything has come.
    fn poll(&mut self) -> Result<bool, TransportError> {
        self.transport.poll(&mut self.events)?;
        let came = !self.events.is_empty();
        let messages = self.events.messages.drain(..);
        self.come.extend(messages.map(|(from, message)| RelayEvent::Message { from, message }));
        self.come.extend(self.events.completions.drain(..).map(RelayEvent::Finished));
        Ok(came)
    }

    fn wait_for_more(&mut self) -> Result<RelayEvent, TransportError> {
        loop {
            if let Some(next) = self.come.pop_front() {
                return Ok(next);
            }
            let came = self.poll()?;
            // A poll in vain is waiting.
            self.watch.lap(if came { Activity::Moving } else { self.resting });
            if came {
                self.idle.reset();
            } else if self.transport.wakes() && !self.transport.is_flushed() {
                // A mailbox is full: nothing tells when it is not any more.
                std::thread::yield_now();
            } else {
                self.idle.wait(None);
            }
        }
    }
}

fn is_about_moving(message: &Message) -> bool {
    matches!(message, Message::Request { .. } | Message::Withdraw { .. })
}
