//! The end game: with nothing else to request, late segments are requested from second holders.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::fetch::Fetch;
use crate::config::BLOCKS_MAX;
use crate::manifest::Block;
use crate::protocol::Ask;
use crate::time::Timestamp;

impl Fetch {
    /// Asks the tracker for second holders of late segments, in the end game.
    pub(super) fn end_game_ask(&mut self, now: Timestamp) -> Option<Ask> {
        let age = self.end_game_age()?;
        let (mut room, mut blocks) = (0, ArrayVec::<Block, BLOCKS_MAX>::new());
        for flight in self.flights.iter_mut() {
            if flight.may_double() && now >= flight.since + age {
                let block = Block::of(flight.segment);
                let known = blocks.iter().position(|known| known.index == block.index);
                match known {
                    Some(place) => blocks[place].bits |= block.bits,
                    None if blocks.is_full() => continue,
                    None => blocks.push(block),
                }
                flight.doubled = true;
                room += 1;
            }
        }
        if room == 0 {
            return None;
        }
        let mut ask = Ask { end_game: true, room, blocks, ..self.next_number() };
        self.shown.clear();
        self.tell(&mut ask);
        self.pending = true;
        Some(ask)
    }

    /// The age from which a request is made a second time; none outside the end game, and while the
    /// tracker owes an answer.
    // BEP 3 requests everything from everybody in the end game. Here each late segment is requested
    // from one more holder, and it is late after several times the mean latency: with equal links almost
    // nothing is sent twice, and a slow holder does not keep the run from ending.
    pub(super) fn end_game_age(&self) -> Option<Duration> {
        let mean = self.flights.mean_latency()?;
        let at_end = self.wants.missing() == 0 && !self.wants.is_settled();
        (at_end && !self.pending).then(|| mean * self.end_game_latencies)
    }
}
