//! Asks that service threads answer, while the communicating thread goes on.
//!
//! The account of a peer travels with its ask: one thread at a time has it, so that no lock guards it. Until
//! the reply is back the peer keeps its place in the wait queue, and nothing else of it is handled: its
//! messages take effect in order. What all threads share is the [`Service`](super::Service).

use super::dispatcher::Dispatcher;
use super::service::{Account, AnswerLimits, Service};
use crate::manifest::NodeId;
use crate::protocol::{Ask, Handout, Outbox};
use crate::swarm::HandoutScratch;
use crate::time::Timestamp;

// Asks that are under way at a time, for each service thread: one that it computes, and one that waits for it.
// With more, handouts would be computed from a longer past; with fewer, the thread would wait for each ask.
const REQUESTS_PER_THREAD: usize = 2;

// Waiting peers that can be tried without success, from the front of the queue and then from where the last
// walk stopped, before the rest waits for the next message. As for one thread: see `dispatcher.rs`.
const FAILED_TRIES_MAX: usize = 2;

/// An ask to be answered, and all that it takes beside the [`Service`].
#[derive(Debug)]
pub struct ServiceRequest {
    account: Account,
    ask: Ask,
    limits: AnswerLimits,
    /// Counts what was announced and given back until now, as far as anybody was told.
    version: u64,
}

/// The answer.
#[derive(Debug)]
pub struct ServiceReply {
    /// Whose ask it answers.
    pub peer: NodeId,
    account: Account,
    handout: Handout,
}

/// What one service thread keeps from one ask to the next.
#[derive(Debug)]
pub struct ServiceScratch {
    scratch: HandoutScratch,
    version: u64,
}

/// Which asks are under way.
#[derive(Debug)]
pub(super) struct Offload {
    most: usize,
    under_way: usize,
    /// Asks that the driver has not taken yet.
    ready: Vec<ServiceRequest>,
    version: u64,
    /// Counts the walks through the wait queue: each message begins one. It tries no peer twice, unless
    /// there was something for it.
    walk: u64,
    tries_left: usize,
}

impl ServiceScratch {
    /// A scratch whose choices follow from `seed`.
    pub fn new(seed: u64) -> Self {
        // No request has this version.
        Self { scratch: HandoutScratch::new(seed), version: u64::MAX }
    }

    /// Answers an ask.
    pub fn answer(&mut self, service: &Service, request: ServiceRequest) -> ServiceReply {
        let ServiceRequest { mut account, ask, limits, version } = request;
        let unchanged = std::mem::replace(&mut self.version, version) == version;
        let limits = AnswerLimits { unchanged, ..limits };
        let handout = service.answer(&mut self.scratch, &mut account, limits, &ask);
        ServiceReply { peer: limits.peer, account, handout }
    }
}

impl Offload {
    /// For so many service threads; none without any.
    pub(super) fn new(threads: usize) -> Option<Self> {
        let most = requests_max(threads);
        let ready = Vec::with_capacity(most);
        (most > 0).then_some(Self { most, under_way: 0, ready, version: 0, walk: 0, tries_left: 0 })
    }

    /// There is news: peers that waited in vain are tried again.
    pub(super) fn begin_walk(&mut self) {
        self.walk += 1;
        self.tries_left = 2 * FAILED_TRIES_MAX;
    }

    /// Takes out the asks that are to be answered.
    pub(super) fn take_ready(&mut self) -> impl Iterator<Item = ServiceRequest> + '_ {
        self.ready.drain(..)
    }
}

/// Asks that are under way at a time with so many service threads.
pub(crate) fn requests_max(threads: usize) -> usize {
    REQUESTS_PER_THREAD * threads
}

impl Dispatcher {
    /// Asks that other threads answer now.
    pub(super) fn under_way(&self) -> usize {
        self.offload.as_ref().map_or(0, |offload| offload.under_way)
    }

    /// Whether a service thread has the account of a peer.
    pub(super) fn is_away(&self, peer: NodeId) -> bool {
        self.peers[peer.index()].is_away
    }

    /// The peer waits for an answer, if it `waits`, and is to have one when its account is back.
    pub(super) fn await_reply(&mut self, peer: NodeId, waits: bool) {
        self.peers[peer.index()].awaits_reply |= waits;
    }

    /// Whether a peer, whose account is back, waited for that.
    pub(super) fn stop_awaiting(&mut self, peer: NodeId) -> bool {
        std::mem::take(&mut self.peers[peer.index()].awaits_reply)
    }

    /// Gives a peer's ask to the service threads; returns whether they have room for it.
    pub(super) fn submit(&mut self, now: Timestamp, peer: NodeId) -> bool {
        let most = self.most_for(peer);
        let Some(offload) = &mut self.offload else { return false };
        if offload.under_way == offload.most {
            return false;
        }
        offload.under_way += 1;
        offload.version += u64::from(!std::mem::replace(&mut self.unchanged, true));
        let state = &mut self.peers[peer.index()];
        state.is_away = true;
        state.walk = offload.walk;
        let mut ask = Ask::default();
        ask.copy_request(&state.ask);
        let account = std::mem::take(&mut state.account);
        // The thread that answers knows whether anything has changed since its own last answer.
        let limits = AnswerLimits { now, peer, most, unchanged: false, forgiving: false };
        offload.ready.push(ServiceRequest { account, ask, limits, version: offload.version });
        true
    }

    /// Gives the service threads asks from the wait queue, as many as they have room for.
    // As `serve_waiting` does, but a try is known to have failed only when its reply is back.
    pub(super) fn submit_waiting(&mut self, now: Timestamp) {
        while let Some(offload) = &self.offload
            && offload.tries_left > 0
            && offload.under_way < offload.most
            && self.swarm().counters().anybody_is_available()
        {
            let walk = offload.walk;
            let is_behind = offload.tries_left <= FAILED_TRIES_MAX;
            let mut place = self.resume.filter(|_| is_behind);
            let from_front = place.is_none();
            let untried = std::iter::from_fn(|| {
                place = self.queue.after(place);
                place
            });
            let mut untried = untried.filter(|position| {
                let state = &self.peers[position.peer.index()];
                !state.is_away && state.walk != walk
            });
            let Some(position) = untried.next() else {
                self.resume = None;
                if from_front {
                    return;
                }
                continue;
            };
            self.resume = if is_behind { Some(position) } else { self.resume };
            self.submit(now, position.peer);
        }
    }

    /// Takes in the answer of another thread.
    pub(super) fn take_reply(&mut self, now: Timestamp, reply: ServiceReply, out: &mut Outbox) {
        let ServiceReply { peer, account, handout } = reply;
        let Some(offload) = &mut self.offload else { return };
        offload.under_way -= 1;
        let state = &mut self.peers[peer.index()];
        (state.account, state.is_away) = (account, false);
        let waits = self.queue.has(peer);
        if !handout.entries.is_empty() {
            // What it is given may be the last that its owner has not sent yet, which may then send others.
            offload.version += 1;
            // There may be more for it.
            state.walk = 0;
        } else if waits && state.walk == offload.walk {
            offload.tries_left = offload.tries_left.saturating_sub(1);
        }
        match self.enter(peer, handout) {
            Some(lacks_more) if waits => {
                self.dequeue(peer);
                if lacks_more {
                    // It has more under way now, and so another priority.
                    self.enqueue(peer);
                }
            }
            None if !waits => self.send_nothing(peer, false, out),
            Some(_) | None => {}
        }
        if self.is_source(peer) {
            self.asking_source = Some(peer);
        }
        self.submit_waiting(now);
        self.finish_serving(now, out);
    }
}
