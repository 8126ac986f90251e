//! Service threads of the tracker: they compute handouts over the shared swarm, while the communicating
//! thread talks to the transport and keeps what belongs to one peer.
//!
//! All threads take requests from one queue, so that none idles while a request waits (one queue with several
//! servers). No peer has two requests under way: its messages wait for the reply to its last one, and so take
//! effect in their order, whichever threads serve it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam::sync::Unparker;

use super::stopwatch::Stopwatch;
use super::{Await, MessagesOnly, NodeIo};
use crate::manifest::NodeId;
use crate::metrics::trace::TraceRecorder;
use crate::protocol::tracker::{
    Service, ServiceReply, ServiceRequest, ServiceScratch, requests_max,
};
use crate::protocol::{Input, Outbox, Output, Tracker};
use crate::spawn::{self, ThreadError};
use crate::sync::channel::{self, Receiver, Sender};
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
                let answer = |request| {
                    let service = service.get().expect("the swarm is open before a peer asks");
                    scratch.answer(service, request)
                };
                serve(waiting, answer, &done, || waker.unpark());
            });
        }
        Ok(Some(Self { requests, replies, service, patience }))
    }

    /// Takes in replies, and waits for those that are `awaited`.
    pub(super) fn exchange(
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

/// Answers requests until nobody makes one any more, or nobody takes the replies.
fn serve<Q, R>(
    requests: Receiver<Q>,
    mut answer: impl FnMut(Q) -> R,
    replies: &Sender<R>,
    wake: impl Fn(),
) {
    for request in requests {
        if replies.send(answer(request)).is_err() {
            return;
        }
        wake();
    }
}

/// What rank 0 does beside talking.
pub(super) struct TrackerIo<F> {
    messages_only: MessagesOnly<F>,
    /// None where its own thread computes handouts.
    threads: Option<TrackerThreads>,
    /// Until the swarm opens; none where no trace is kept.
    waits: Option<TraceRecorder>,
}

impl<F> TrackerIo<F> {
    pub(super) fn new(
        messages_only: MessagesOnly<F>,
        threads: Option<TrackerThreads>,
        waits: Option<TraceRecorder>,
    ) -> Self {
        Self { messages_only, threads, waits }
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

    fn open(&mut self, _node: &Tracker, stopwatch: &mut Stopwatch, _inputs: &mut Vec<Input<'_>>) {
        stopwatch.trace(self.waits.take());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use crossbeam::sync::Parker;

    use super::*;
    use crate::config::Config;
    use crate::protocol::{Message, Node as _, OwnedEntry, Peer, Registration};
    use crate::spawn::tests::starve;
    use crate::verify::Digest;

    // No thread needs so long to take what is there.
    const LONG: Duration = Duration::from_secs(60);

    /// A tracker that two peers have asked, so that it has requests.
    fn asked() -> Tracker {
        let (name, hashes): (Box<str>, Box<str>) = ("file".into(), "00\n".into());
        let entry = OwnedEntry { name: name.clone(), hashes, digests: [Digest([7; 32])].into() };
        let registrations = [
            Registration::Ready { owned: vec![entry], wanted: Vec::new() },
            Registration::Ready { owned: Vec::new(), wanted: vec![name] },
        ];
        let config = Config::for_segments_of(1024);
        let mut tracker = Tracker::new(3, config.clone(), 1).with_service_threads(1);
        let mut peers = [1, 2].map(|rank| {
            let registration = &registrations[rank as usize - 1];
            Peer::new((NodeId(rank), 3), registration, config.clone())
        });
        let (now, mut outbox) = (Timestamp(0), Outbox::default());
        let mut sent: VecDeque<(NodeId, NodeId, Message)> = VecDeque::new();
        let mut inputs: VecDeque<_> = (0..3).map(|rank| (NodeId(rank), Input::Start)).collect();
        while tracker.requests_under_way() == 0 {
            let message;
            let (node, input) = if let Some(next) = inputs.pop_front() {
                next
            } else {
                let (from, to, said) = sent.pop_front().expect("a peer asks in the end");
                message = said;
                (to, Input::Message { from, message: &message })
            };
            match node.index().checked_sub(1) {
                None => tracker.handle(now, input, &mut outbox),
                Some(place) => peers[place].handle(now, input, &mut outbox),
            }
            .expect("these nodes say what can be");
            while let Some(output) = outbox.take() {
                if let Output::Send { to, message } = output {
                    sent.push_back((node, to, outbox.read(message).clone()));
                } else if output == Output::Reserve {
                    inputs.push_back((node, Input::Reserved { problem: None }));
                }
            }
        }
        tracker
    }

    #[test]
    fn threads_answer_and_end_when_nobody_asks_any_more() {
        for threads in [1, 3] {
            let mut tracker = asked();
            let parker = Parker::new();
            let started = TrackerThreads::start(threads, 1, LONG, parker.unparker());
            let started = started.expect("a few threads").expect("more than 0");
            let mut outbox = Outbox::default();
            let ended = started.exchange(Timestamp(1), Await::All, &mut tracker, &mut outbox);
            ended.expect("they answer");
            assert!(tracker.requests_under_way() == 0 && !outbox.is_empty());
            let replies = started.replies.clone();
            drop(started);
            let error = replies.recv_timeout(LONG).expect_err("nobody asks");
            assert_eq!(error, channel::RecvTimeoutError::Disconnected, "all threads have ended");
        }
    }

    #[test]
    fn a_reply_that_does_not_come_is_an_error() {
        let (requests, _waiting) = channel::bounded(2);
        let (_done, replies) = channel::bounded(2);
        let patience = Duration::from_millis(10);
        let threads = TrackerThreads { requests, replies, service: Arc::default(), patience };
        let (mut tracker, mut outbox) = (asked(), Outbox::default());
        let others = Await::Of(NodeId(1));
        threads.exchange(Timestamp(1), others, &mut tracker, &mut outbox).expect("not awaited");
        for awaited in [Await::Of(NodeId(2)), Await::All] {
            let error = threads.exchange(Timestamp(1), awaited, &mut tracker, &mut outbox);
            let error = error.expect_err("nobody computes").to_string();
            assert_eq!(error, "rank 0 did not compute a handout for 10ms: stopped or lost");
        }
    }

    #[test]
    fn a_thread_that_is_refused_is_an_error() {
        let parker = Parker::new();
        for left in 0..3 {
            starve(left);
            let error = TrackerThreads::start(3, 1, LONG, parker.unparker()).expect_err("refused");
            let error = error.to_string();
            let expected = "no thread can be started that computes handouts: ";
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(
            TrackerThreads::start(0, 1, LONG, parker.unparker()).is_ok_and(|none| none.is_none())
        );
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::{ModelParker, explore};
    use loom::thread::{self, JoinHandle};

    /// Starts two threads that answer how often a peer has asked, and `wake` after each reply.
    fn start(
        wake: impl Fn() + Clone + Send + 'static,
    ) -> (Sender<(usize, u32)>, Receiver<(usize, u32)>, [JoinHandle<()>; 2]) {
        let (requests, waiting) = channel::bounded(2);
        let (done, replies) = channel::bounded(2);
        let threads = [waiting.clone(), waiting].map(|waiting| {
            let (done, wake) = (done.clone(), wake.clone());
            let answer = |(peer, asked): (usize, u32)| (peer, asked + 1);
            thread::spawn(move || serve(waiting, answer, &done, wake))
        });
        (requests, replies, threads)
    }

    fn end(requests: Sender<(usize, u32)>, threads: [JoinHandle<()>; 2]) {
        drop(requests);
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    }

    #[test]
    fn loom_a_thread_that_rests_is_woken_for_each_reply() {
        explore(2, || {
            let node = ModelParker::new();
            let waker = node.clone();
            let (requests, replies, threads) = start(move || waker.unpark());
            for peer in 0..2 {
                requests.try_send((peer, 0)).expect(BOUNDED);
            }
            let mut replied = [0, 0];
            while replied != [1, 1] {
                match replies.try_recv() {
                    Ok((peer, _)) => replied[peer] += 1,
                    Err(_) => node.park(),
                }
            }
            end(requests, threads);
            assert!(replies.try_recv().is_err(), "each is answered once");
        });
    }

    #[test]
    fn loom_requests_of_a_peer_are_answered_in_their_order() {
        // Three requests: with two interruptions they would take a minute without optimisation.
        explore(1, || {
            let (requests, replies, threads) = start(|| ());
            for peer in 0..2 {
                requests.try_send((peer, 0)).expect(BOUNDED);
            }
            let mut asked = [0, 0];
            while asked != [1, 2] {
                let reply = replies.recv_timeout(Duration::MAX);
                let (peer, answered) = reply.expect("threads answer");
                asked[peer] += 1;
                assert_eq!(answered, asked[peer]);
                // The second peer asks once more.
                if (peer, answered) == (1, 1) {
                    requests.try_send((peer, answered)).expect(BOUNDED);
                }
            }
            end(requests, threads);
            assert!(replies.try_recv().is_err(), "each is answered once");
        });
    }

    #[test]
    fn loom_threads_end_when_a_run_is_broken_off() {
        explore(2, || {
            let (requests, replies, threads) = start(|| ());
            for peer in 0..2 {
                requests.try_send((peer, 0)).expect(BOUNDED);
            }
            drop(replies);
            end(requests, threads);
        });
    }
}
