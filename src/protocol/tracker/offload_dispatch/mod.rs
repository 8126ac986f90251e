//! The dispatcher's part in answering asks on other threads: they are given asks, and what they answer is
//! entered.

use super::dispatcher::Dispatcher;
use super::offload::{ServiceReply, ServiceRequest};
use super::service::AnswerLimits;
use super::wait_queue::FAILED_TRIES_MAX;
use crate::manifest::NodeId;
use crate::protocol::{Ask, Outbox};
use crate::time::Timestamp;

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
        state.come_back(account);
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

#[cfg(all(test, not(loom)))]
mod tests;
