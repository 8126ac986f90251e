//! Peers that only announce and ask.

use std::thread;

use arrayvec::ArrayVec;

use super::{Load, Measured};
use crate::config::{BLOCKS_MAX, HANDOUT_MAX};
use crate::manifest::{Block, NodeId, SegmentId};
use crate::protocol::{Ask, Handout, Message};
use crate::time::{Clock, Timestamp};
use crate::transport::local::LocalTransport;
use crate::transport::{Completion, Transport as _};

/// The peers that one thread plays.
#[derive(Debug)]
pub(super) struct Clients {
    peers: Vec<Client>,
    measured: Measured,
}

/// One peer: as far as the tracker sees, it fetches what it is given in no time.
#[derive(Debug)]
struct Client {
    end: LocalTransport,
    /// Blocks of what it lacks, as bits.
    missing: Vec<u64>,
    remaining: u32,
    /// No block before this one has missing segments.
    front: usize,
    /// What it was given last, to be announced.
    given: ArrayVec<SegmentId, HANDOUT_MAX>,
    room: u16,
    sequence: u32,
    asked: Timestamp,
}

impl Clients {
    pub(super) fn new(ends: Vec<LocalTransport>, load: &Load) -> Self {
        let peers = ends.into_iter().map(|end| Client::new(end, load)).collect();
        Self { peers, measured: Measured::default() }
    }

    /// Plays until all peers have everything, or the time is up.
    pub(super) fn play(mut self, clock: &Clock, until: Timestamp) -> Measured {
        let now = clock.now();
        self.peers.iter_mut().for_each(|peer| peer.ask(now));
        let mut done = Vec::new();
        while !self.peers.is_empty() {
            let mut worked = false;
            let now = clock.now();
            if now >= until {
                break;
            }
            for peer in &mut self.peers {
                peer.end.poll(&mut done).expect("the local transport does not break");
                for completion in done.drain(..) {
                    worked = true;
                    if let Completion::Message { message: Message::Handout(handout), .. } =
                        completion
                    {
                        self.measured.latency.record(now.since(peer.asked));
                        self.measured.count(&handout);
                        peer.take(&handout);
                        peer.ask(now);
                    }
                }
            }
            self.peers.retain(|peer| peer.remaining > 0);
            if !worked {
                thread::yield_now();
            }
        }
        self.measured
    }
}

impl Measured {
    fn count(&mut self, handout: &Handout) {
        let segments = handout.entries.len() as u64;
        self.segments += segments;
        self.handouts += u64::from(segments > 0);
        self.empty += u64::from(segments == 0);
    }
}

impl Client {
    fn new(end: LocalTransport, load: &Load) -> Self {
        let segments = 0..load.segments;
        let blocks = 0..load.segments.div_ceil(Block::SEGMENTS);
        Self {
            end,
            missing: blocks.map(|index| Block::overlap(index, &segments)).collect(),
            remaining: load.segments,
            front: 0,
            given: ArrayVec::new(),
            room: u16::try_from(load.handout).expect("a handout has a bound"),
            sequence: 0,
            asked: Timestamp::default(),
        }
    }

    fn take(&mut self, handout: &Handout) {
        for entry in &handout.entries {
            let block = Block::of(entry.segment);
            self.missing[block.index as usize] &= !block.bits;
            self.remaining -= 1;
            self.given.push(entry.segment);
        }
    }

    /// Announces what was given and asks for more; with everything here there is nothing to ask.
    fn ask(&mut self, now: Timestamp) {
        if self.remaining == 0 {
            return;
        }
        self.sequence += 1;
        let mut ask = Ask { sequence: self.sequence, room: self.room, ..Ask::default() };
        ask.verified.extend(self.given.drain(..));
        while self.missing[self.front] == 0 {
            self.front += 1;
        }
        let ahead = (0..).zip(&self.missing).skip(self.front);
        let shown = ahead.filter(|&(_, &bits)| bits != 0).take(BLOCKS_MAX);
        ask.blocks.extend(shown.map(|(index, &bits)| Block { index, bits }));
        self.asked = now;
        let sent = self.end.send(NodeId::TRACKER, &Message::Ask(ask));
        sent.expect("the local transport does not break");
    }
}
