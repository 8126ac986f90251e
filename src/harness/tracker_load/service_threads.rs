//! The threads that serve peers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::clients::WarmUp;
use crate::manifest::NodeId;
use crate::metrics::Latency;
use crate::protocol::tracker::{Account, AnswerLimits, Service};
use crate::protocol::{Ask, Handout, Message};
use crate::swarm::HandoutScratch;
use crate::time::{Clock, Timestamp};
use crate::transport::local::LocalTransport;
use crate::transport::{PolledEvents, Transport as _};

/// What the service threads share: the service, and an account per peer. A peer waits for its answer
/// before it asks again, so that no thread ever waits for an account.
#[derive(Debug)]
pub(super) struct ServiceThreads<'a> {
    service: &'a Service,
    accounts: Vec<Mutex<Account>>,
    handout: usize,
}

/// Ends all threads when one ends or panics: the clients would wait for its answers forever.
struct EndAllOnDrop<'a>(&'a AtomicBool);

impl Drop for EndAllOnDrop<'_> {
    fn drop(&mut self) {
        // ORDERING: Relaxed; it only ends the loops.
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> ServiceThreads<'a> {
    pub(super) fn new(service: &'a Service, nodes: usize, handout: usize) -> Self {
        let accounts = (0..nodes).map(|_| Mutex::default()).collect();
        Self { service, accounts, handout }
    }

    /// Answers asks until the test is over; returns how long each answer took to compute.
    pub(super) fn serve(
        &self,
        mut end: LocalTransport,
        seed: u64,
        clock: &Clock,
        (warmth, finished): (&WarmUp, &AtomicBool),
    ) -> Latency {
        let _guard = EndAllOnDrop(finished);
        let mut scratch = HandoutScratch::new(seed);
        let mut events = PolledEvents::default();
        let mut took = Latency::new();
        let mut now = clock.now();
        loop {
            end.poll(&mut events).expect("the local transport does not break");
            // ORDERING: Relaxed; it only ends the loop.
            if events.is_empty() && finished.load(Ordering::Relaxed) {
                return took;
            }
            if events.is_empty() {
                thread::yield_now();
                now = clock.now();
            }
            for &(from, ref message) in &events.messages {
                let Message::Ask(ask) = &**message else { continue };
                let handout = self.answer(&mut scratch, now, from, ask);
                let after = clock.now();
                if warmth.is_reached() {
                    took.record(after.since(now));
                }
                end.send(from, &Message::Handout(handout)).expect("it was the peer that asked");
                now = after;
            }
        }
    }

    fn answer(
        &self,
        scratch: &mut HandoutScratch,
        now: Timestamp,
        peer: NodeId,
        ask: &Ask,
    ) -> Handout {
        let account = self.accounts[peer.index()].lock();
        let mut account = account.expect("nobody panicked with an account");
        for &segment in &ask.verified {
            self.service.settle(now, &mut account, peer, segment);
        }
        let (most, unchanged, forgiving) = (self.handout, false, false);
        let limits = AnswerLimits { now, peer, most, unchanged, forgiving };
        self.service.answer(scratch, &mut account, limits, ask)
    }
}
