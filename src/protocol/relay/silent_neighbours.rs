//! Neighbours that answer no more: a node stops to wait for them.
//!
//! A node that waits for a neighbour and hears nothing for the timeout of its upload timer asks whether it is
//! there, and gives it up when no answer comes within two more. A slow neighbour answers, so that it costs a
//! message. One that was given up too early counts again as soon as it speaks, and what it was to send is
//! taken from whoever sends it first.

use super::holder_choice::{EXPECTED_MAX, HolderChoice, NeighbourTransfer};
use super::neighbour_view::NeighbourState;
use super::neighbours::DEGREE;
use crate::protocol::{Message, Outbox, UNNUMBERED};
use crate::time::Timestamp;

/// The most segments that a node expects from holders that it gave up: each has a slot of its own.
// As much from each of its neighbours as it expects at once.
pub(super) const ABANDONED_MAX: usize = EXPECTED_MAX * DEGREE as usize;

// Timeouts without a segment after which a node that lacks some counts as settled.
// One is what a segment may take, two more what it takes to give up its holder; then others offer it.
const SETTLED_TIMEOUTS: u32 = 8;

impl HolderChoice {
    /// Looks for silent neighbours once the timeout has passed.
    pub(super) fn watch(&mut self, now: Timestamp) {
        let due = now + self.timer.timeout();
        self.check_at = Some(self.check_at.map_or(due, |at| at.min(due)));
    }

    /// Whether it has everything, or waits for nothing that it could get.
    pub(in crate::protocol) fn is_settled(&self, now: Timestamp) -> bool {
        let is_coming = |one: &NeighbourTransfer| !self.neighbours[one.place].is_silent();
        let is_quiet = || now >= self.progressed + SETTLED_TIMEOUTS * self.timer.timeout();
        (self.is_complete() || is_quiet())
            && !self.expected.iter().chain(&self.abandoned).any(is_coming)
    }

    /// Since when it waits for a neighbour; none where it does not.
    fn waits_since(&self, place: usize) -> Option<Timestamp> {
        let neighbour = &self.neighbours[place];
        // What one that was given up was to send comes, if it speaks again.
        let abandoned = self.abandoned.iter().filter(|_| !neighbour.is_silent());
        let transfers = self.expected.iter().chain(&self.serving).chain(abandoned);
        let transfers = transfers.filter(|one| one.place == place).map(|one| one.since);
        transfers.chain(neighbour.offered.map(|_| neighbour.offered_at)).min()
    }

    pub(in crate::protocol) fn check_silent(&mut self, now: Timestamp, out: &mut Outbox) {
        if self.check_at.is_none_or(|at| now < at) {
            return;
        }
        let timeout = self.timer.timeout();
        let mut next: Option<Timestamp> = None;
        for place in 0..self.neighbours.len() {
            let Some(since) = self.waits_since(place) else {
                self.neighbours[place].is_probed = false;
                continue;
            };
            let neighbour = &mut self.neighbours[place];
            let due = if neighbour.is_probed {
                neighbour.probed_at + 2 * timeout
            } else {
                neighbour.heard.max(since) + timeout
            };
            if due > now {
                next = Some(next.map_or(due, |at| at.min(due)));
            } else if !neighbour.is_probed {
                (neighbour.is_probed, neighbour.probed_at) = (true, now);
                out.send(neighbour.id, Message::Probe);
                let due = now + 2 * timeout;
                next = Some(next.map_or(due, |at| at.min(due)));
            } else {
                self.give_up(place, out);
            }
        }
        let starves = self.progressed + SETTLED_TIMEOUTS / 2 * timeout;
        let mut settles = self.progressed + SETTLED_TIMEOUTS * timeout;
        if self.has_racks && !self.is_starved && !self.is_complete() {
            if starves <= now {
                // Who was to bring it into this rack may be gone: others offer it once more.
                self.is_starved = true;
                self.tell_held(|_| true, out);
            } else {
                settles = starves;
            }
        }
        if !self.is_complete() && settles > now {
            next = Some(next.map_or(settles, |at| at.min(settles)));
        }
        self.check_at = next;
    }

    pub(super) fn give_up(&mut self, place: usize, out: &mut Outbox) {
        let neighbour = &mut self.neighbours[place];
        let (id, is_lost) = (neighbour.id, neighbour.is_lost());
        neighbour.is_probed = false;
        if !is_lost {
            neighbour.state = NeighbourState::Silent;
        }
        // Its uploads take no place from others, and what it does not get is still to be seeded.
        if let Some(segment) = neighbour.offered.take() {
            neighbour.expired = Some(segment);
            self.offered -= 1;
            self.uncover(place, segment);
        }
        let (lost, left): (Vec<_>, Vec<_>) =
            self.serving.drain(..).partition(|one| one.place == place);
        self.serving = left;
        lost.iter().for_each(|one| self.uncover(place, one.segment));
        let room = ABANDONED_MAX.saturating_sub(self.abandoned.len());
        let expected = self.expected.iter().filter(|one| one.place == place);
        let abandoned: Vec<_> = expected.take(room).copied().collect();
        for one in &abandoned {
            self.expected.retain(|other| other.segment != one.segment);
            self.covered.set(one.segment.index(), false);
            if !is_lost {
                out.send(id, Message::Withdraw { segment: one.segment, request: UNNUMBERED });
            }
        }
        for one in &abandoned {
            self.tell_all(None, self.holds_at(one.segment), out);
        }
        self.abandoned.extend(abandoned);
    }
}
