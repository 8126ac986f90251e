//! Asks that service threads answer, while the communicating thread goes on.
//!
//! The account of a peer travels with its ask: one thread at a time has it, so that no lock guards it. Until
//! the reply is back the peer keeps its place in the wait queue, and nothing else of it is handled: its
//! messages take effect in order. What all threads share is the [`Service`](super::Service).

use super::service::{Account, AnswerLimits, Service};
use super::wait_queue::FAILED_TRIES_MAX;
use crate::manifest::NodeId;
use crate::protocol::{Ask, Handout};
use crate::swarm::HandoutScratch;

// Asks that are under way at a time, for each service thread: one that it computes, and one that waits for it.
// With more, handouts would be computed from a longer past; with fewer, the thread would wait for each ask.
const REQUESTS_PER_THREAD: usize = 2;

/// An ask to be answered, and all that it takes beside the [`Service`].
#[derive(Debug)]
pub struct ServiceRequest {
    pub(super) account: Account,
    pub(super) ask: Ask,
    pub(super) limits: AnswerLimits,
    /// Counts what was announced and given back until now, as far as anybody was told.
    pub(super) version: u64,
}

/// The answer.
#[derive(Debug)]
pub struct ServiceReply {
    /// Whose ask it answers.
    pub peer: NodeId,
    pub(super) account: Account,
    pub(super) handout: Handout,
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
    pub(super) most: usize,
    pub(super) under_way: usize,
    /// Asks that the driver has not taken yet.
    pub(super) ready: Vec<ServiceRequest>,
    pub(super) version: u64,
    /// Counts the walks through the wait queue: each message begins one. It tries no peer twice, unless
    /// there was something for it.
    pub(super) walk: u64,
    pub(super) tries_left: usize,
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
