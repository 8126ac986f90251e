//! When a peer asks the tracker, and what an ask says.

use super::fetch::Fetch;
use crate::protocol::Ask;
use crate::time::Timestamp;

/// Of the segments that it lacks, a peer has at most one in so many in flight, or the least window.
// Near the end a full window would reserve segments that others lack too. It was 8 at first, and became 4 together
// with the window of 16 MiB; other values are not on record.
const MISSING_PER_REQUEST: usize = 4;

/// A peer asks when one in so many segments of its window is free, or verified and not announced.
// 4: each ask costs the tracker one message for a quarter of the window, and the other three
// quarters are in flight until the answer comes. Chosen, not tuned.
const ASKS_PER_WINDOW: usize = 4;

impl Fetch {
    /// The next ask, if there is enough to tell or to ask for.
    pub(super) fn next_ask(&mut self, now: Timestamp) -> Option<Ask> {
        let window = self.window();
        let room = self.room();
        let announcement = (window / ASKS_PER_WINDOW).min(self.announcement).max(1);
        let can_take = if self.wants.missing() > 0 || self.may_read() { room } else { 0 };
        let idle = self.flights.is_empty();
        // Batching, as Nagle's algorithm (RFC 896) does it: a few verified segments wait for more while
        // requests are in flight, and are announced at once if none is.
        let unsaid = self.news.unsaid();
        let worth_saying =
            unsaid >= announcement || (idle && unsaid > 0) || self.news.has_unsaid_reads();
        // Backpressure: while the tracker is busy, announcements gather until it has confirmed the last
        // ask. It then reads one long message in place of many short ones.
        let may_say = self.heard >= self.awaited;
        if (worth_saying && may_say)
            || std::mem::take(&mut self.must_ask)
            || (!self.pending && (can_take >= announcement || (idle && can_take > 0)))
        {
            return Some(self.ask());
        }
        if self.read_room.is_some() { None } else { self.end_game_ask(now) }
    }

    /// How many segments may be in flight now.
    fn window(&self) -> usize {
        let share = self.wants.missing() as usize / MISSING_PER_REQUEST;
        self.window.min(share.max(self.window_least)).min(self.slots)
    }

    /// How many segments more may be handed out to it.
    fn room(&self) -> usize {
        let room = self.window().saturating_sub(self.flights.len());
        room.min(self.read_room.unwrap_or(room))
    }

    /// An ask with all that is not confirmed.
    // It has a new number even if it repeats a lost one: its content differs by then, and an answer
    // must name the ask that it answers.
    pub(super) fn ask(&mut self) -> Ask {
        let mut ask = self.next_number();
        let room = self.room();
        ask.room = u16::try_from(room).unwrap_or(u16::MAX);
        if room > 0 && self.wants.missing() > 0 && self.read_room.is_none() {
            ask.blocks = self.wants.interest();
        }
        self.shown.clone_from(&ask.blocks);
        self.tell(&mut ask);
        self.pending = true;
        ask
    }

    pub(super) fn next_number(&mut self) -> Ask {
        self.sequence += 1;
        let (sequence, waits) = (self.sequence, self.tracker_is_busy);
        if waits {
            self.awaited = sequence;
        }
        Ask { sequence, waits, ..Ask::default() }
    }

    /// Adds what the tracker has not confirmed.
    pub(super) fn tell(&mut self, ask: &mut Ask) {
        if self.news.tell(ask, self.heard) {
            (ask.waits, self.awaited) = (true, ask.sequence);
        }
    }
}
