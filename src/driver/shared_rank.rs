//! A rank with two nodes: the tracker and a peer. One thread runs both, since only one may call MPI.
//!
//! For the peer this is a transport like others. What the tracker is told is handled inside, whenever the
//! peer polls; what the two say to each other never leaves the rank. Other threads may compute the handouts.

use std::collections::VecDeque;

use super::tracker_threads::TrackerThreads;
use super::{Await, Idle, SHOW_EVERY};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::tracker::Progress;
use crate::protocol::{
    Input, Message, Node as _, Outbox, Output, RequestedSegment, Route, Tracker,
};
use crate::store::{SealedSegment, VacantSlot};
use crate::time::{Clock, Timestamp};
use crate::transport::{HeldBack, PolledEvents, Transport, TransportError};
use crate::watchdog;

/// The transport of the peer beside a tracker.
#[derive(Debug)]
pub(super) struct SharedRank<'a, T, F> {
    inner: T,
    tracker: &'a mut Tracker,
    /// None where this thread computes handouts.
    threads: Option<TrackerThreads>,
    /// The peer of this rank.
    peer: NodeId,
    clock: &'a Clock,
    outbox: Outbox,
    to_tracker: VecDeque<Message>,
    to_peer: VecDeque<Message>,
    finished: bool,
    show: F,
    shown: Timestamp,
}

impl<'a, T: Transport, F: FnMut(Progress)> SharedRank<'a, T, F> {
    /// Starts the tracker. `show` is told of its progress now and then.
    pub(super) fn new(
        inner: T,
        (tracker, threads): (&'a mut Tracker, Option<TrackerThreads>),
        peer: NodeId,
        clock: &'a Clock,
        show: F,
    ) -> Result<Self, TransportError> {
        let mut outbox = Outbox::default();
        let now = clock.now();
        tracker.handle(now, Input::Start, &mut outbox)?;
        let (to_tracker, to_peer) = (VecDeque::new(), VecDeque::new());
        let (finished, shown) = (false, now);
        Ok(Self {
            inner,
            tracker,
            threads,
            peer,
            clock,
            outbox,
            to_tracker,
            to_peer,
            finished,
            show,
            shown,
        })
    }

    /// Goes on until the tracker has ended too, after its peer has.
    pub(super) fn end(mut self, mut idle: Idle) -> Result<T, TransportError> {
        let mut events = PolledEvents::default();
        // The tracker gives up whoever is silent, and so comes to its end by itself.
        while !self.finished {
            self.poll(&mut events)?;
            if events.is_empty() { idle.wait(self.clock.now(), None) } else { idle.reset() }
        }
        let limit = crate::config::SILENCE_PATIENCE;
        let _limited = watchdog::limit("the tracker's last messages to leave", limit);
        while !self.inner.is_flushed() && !self.tracker.may_leave_unsent() {
            self.inner.poll(&mut events)?;
            idle.wait(self.clock.now(), None);
        }
        Ok(self.inner)
    }

    fn run_tracker(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        let now = self.clock.now();
        let mut has_news = false;
        while let Some(message) = self.to_tracker.pop_front() {
            has_news = true;
            self.hear(now, self.peer, &message)?;
        }
        let mut place = 0;
        while place < events.messages.len() {
            if Route::of(&events.messages[place].1) == Route::ToTracker {
                // In order: messages of one peer to a tracker may not overtake each other.
                let (from, message) = events.messages.remove(place);
                has_news = true;
                self.hear(now, from, &message)?;
            } else {
                place += 1;
            }
        }
        if self.tracker.deadline().is_some_and(|deadline| deadline <= now) {
            has_news = true;
            self.exchange(now, Await::All)?;
            self.tracker.handle(now, Input::Deadline, &mut self.outbox)?;
        }
        self.exchange(now, Await::Nothing)?;
        if !has_news {
            self.tracker.handle(now, Input::Idle, &mut self.outbox)?;
        }
        self.perform()?;
        if now.since(self.shown) >= SHOW_EVERY {
            self.shown = now;
            (self.show)(self.tracker.progress());
        }
        let told = self.to_peer.drain(..);
        events.messages.extend(told.map(|message| (NodeId::TRACKER, Box::new(message))));
        Ok(())
    }

    fn hear(
        &mut self,
        now: Timestamp,
        from: NodeId,
        message: &Message,
    ) -> Result<(), TransportError> {
        self.exchange(now, Await::Of(from))?;
        self.tracker.handle(now, Input::Message { from, message }, &mut self.outbox)?;
        self.perform()
    }

    fn exchange(&mut self, now: Timestamp, awaited: Await) -> Result<(), TransportError> {
        match &self.threads {
            Some(threads) => threads.exchange(now, awaited, self.tracker, &mut self.outbox),
            None => Ok(()),
        }
    }

    fn perform(&mut self) -> Result<(), TransportError> {
        while let Some(output) = self.outbox.take() {
            match output {
                Output::Send { to, message } if to == self.peer => {
                    self.to_peer.push_back(self.outbox.read(message).clone());
                }
                Output::Send { to, message } => self.inner.send(to, self.outbox.read(message))?,
                Output::Finish => self.finished = true,
                // A tracker moves no segments.
                Output::Reserve
                | Output::Expect { .. }
                | Output::Serve { .. }
                | Output::Forget { .. }
                | Output::Check { .. }
                | Output::Read { .. }
                | Output::Publish { .. } => {}
            }
        }
        Ok(())
    }
}

impl<T: Transport, F: FnMut(Progress)> Transport for SharedRank<'_, T, F> {
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError> {
        if to == NodeId::TRACKER {
            self.to_tracker.push_back(message.clone());
            return Ok(());
        }
        self.inner.send(to, message)
    }

    fn expect(
        &mut self,
        from: NodeId,
        segment: SegmentId,
        slot: VacantSlot,
    ) -> Result<(), TransportError> {
        self.inner.expect(from, segment, slot)
    }

    fn forget(&mut self, from: NodeId, segment: SegmentId) -> Result<(), TransportError> {
        self.inner.forget(from, segment)
    }

    fn serve(
        &mut self,
        to: NodeId,
        requested: RequestedSegment,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        self.inner.serve(to, requested, payload)
    }

    fn flush(&mut self) -> Result<(), TransportError> {
        self.inner.flush()
    }

    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        self.inner.poll(events)?;
        self.run_tracker(events)
    }

    fn is_flushed(&self) -> bool {
        let lost = self.tracker.may_leave_unsent();
        self.to_tracker.is_empty() && (lost || self.inner.is_flushed())
    }

    fn wakes(&self) -> bool {
        false
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.inner.deadline()
    }

    fn held_back(&self) -> HeldBack {
        self.inner.held_back()
    }
}
