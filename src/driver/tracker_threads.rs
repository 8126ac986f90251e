//! Service threads of the tracker: they compute handouts over the shared swarm, while the communicating
//! thread talks to the transport and keeps what belongs to one peer.
//!
//! All threads take requests from one queue, so that none idles while a request waits (one queue with several
//! servers). No peer has two requests under way: its messages wait for the reply to its last one, and so take
//! effect in their order, whichever threads serve it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};
use crossbeam::sync::Unparker;

use super::{Await, MessagesOnly, NodeIo};
use crate::manifest::NodeId;
use crate::protocol::tracker::{
    Service, ServiceReply, ServiceRequest, ServiceScratch, requests_max,
};
use crate::protocol::{Input, Outbox, Output, Tracker};
use crate::spawn::{self, ThreadError};
use crate::time::Timestamp;
use crate::transport::{Completion, Transport, TransportError};

// The invariant that keeps both queues from being full.
const BOUNDED: &str = "no more requests are under way than the queue holds";

/// The threads end when this is dropped; nothing waits for them.
#[derive(Debug)]
pub(super) struct TrackerThreads {
    requests: Sender<ServiceRequest>,
    replies: Receiver<ServiceReply>,
    /// Filled before the first request is sent.
    service: Arc<OnceLock<Arc<Service>>>,
    /// How long a reply may take.
    patience: Duration,
}

impl TrackerThreads {
    /// Starts them; none where there are to be 0. `waker` wakes the communicating thread after each reply.
    pub(super) fn start(
        threads: usize,
        seed: u64,
        patience: Duration,
        waker: &Unparker,
    ) -> Result<Option<Self>, ThreadError> {
        if threads == 0 {
            return Ok(None);
        }
        let (requests, waiting) = channel::bounded::<ServiceRequest>(requests_max(threads));
        let (done, replies) = channel::bounded(requests_max(threads));
        let service = Arc::new(OnceLock::<Arc<Service>>::new());
        let pool = spawn::pool("that computes handouts", threads)?;
        for thread in 0..threads as u64 {
            let (waiting, done, waker) = (waiting.clone(), done.clone(), waker.clone());
            let service = Arc::clone(&service);
            // The communicating thread has `seed` itself.
            let mut scratch = ServiceScratch::new(seed.wrapping_add(1 + thread));
            // The pool ends the process if one of them panics: its peer would wait for ever.
            pool.spawn(move || {
                for request in waiting {
                    let service = service.get().expect("the swarm is open before a peer asks");
                    if done.send(scratch.answer(service, request)).is_err() {
                        return;
                    }
                    waker.unpark();
                }
            });
        }
        Ok(Some(Self { requests, replies, service, patience }))
    }

    /// Takes in replies, and waits for those that are `awaited`.
    fn exchange(
        &self,
        now: Timestamp,
        awaited: Await,
        tracker: &mut Tracker,
        outbox: &mut Outbox,
    ) -> Result<(), TransportError> {
        self.submit(tracker);
        while tracker.requests_under_way() > 0 {
            let must_wait = match awaited {
                Await::Nothing => false,
                Await::Of(peer) => tracker.is_served(peer),
                Await::All => true,
            };
            let reply = if must_wait {
                // Computing a handout takes microseconds; a thread that has no core just now takes longer.
                let reply = self.replies.recv_timeout(self.patience);
                reply.map_err(|_| TransportError::Missing {
                    nodes: vec![NodeId::TRACKER],
                    limit: self.patience,
                    what: "compute a handout",
                })?
            } else {
                let Ok(reply) = self.replies.try_recv() else { break };
                reply
            };
            tracker.handle_reply(now, reply, outbox);
            self.submit(tracker);
        }
        Ok(())
    }

    fn submit(&self, tracker: &mut Tracker) {
        if self.service.get().is_none()
            && let Some(service) = tracker.service()
        {
            self.service.get_or_init(|| Arc::clone(service));
        }
        for request in tracker.take_requests() {
            self.requests.try_send(request).expect(BOUNDED);
        }
    }
}

/// What rank 0 does beside talking.
pub(super) struct TrackerIo<F> {
    messages_only: MessagesOnly<F>,
    /// None where its own thread computes handouts.
    threads: Option<TrackerThreads>,
}

impl<F> TrackerIo<F> {
    pub(super) fn new(messages_only: MessagesOnly<F>, threads: Option<TrackerThreads>) -> Self {
        Self { messages_only, threads }
    }
}

impl<F: FnMut(&Tracker)> NodeIo<Tracker> for TrackerIo<F> {
    fn perform(
        &mut self,
        now: Timestamp,
        output: Output,
        node: &Tracker,
        transport: &mut impl Transport,
        inputs: &mut Vec<Input<'_>>,
    ) -> Result<(), TransportError> {
        self.messages_only.perform(now, output, node, transport, inputs)
    }

    fn take_in(&mut self, now: Timestamp, completion: Completion, inputs: &mut Vec<Input<'_>>) {
        NodeIo::<Tracker>::take_in(&mut self.messages_only, now, completion, inputs);
    }

    fn collect(&mut self, now: Timestamp, node: &Tracker, inputs: &mut Vec<Input<'_>>) {
        self.messages_only.collect(now, node, inputs);
    }

    fn exchange(
        &mut self,
        now: Timestamp,
        awaited: Await,
        node: &mut Tracker,
        outbox: &mut Outbox,
    ) -> Result<(), TransportError> {
        match &self.threads {
            Some(threads) => threads.exchange(now, awaited, node, outbox),
            None => Ok(()),
        }
    }
}
