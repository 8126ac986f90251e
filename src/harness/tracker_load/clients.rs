//! Peers that only announce and ask.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use arrayvec::ArrayVec;

use super::{LoadResult, LoadTest};
use crate::config::{BLOCKS_MAX, HANDOUT_MAX};
use crate::manifest::{Block, NodeId, SegmentId};
use crate::protocol::{Ask, Handout, Message};
use crate::time::{Clock, Timestamp};
use crate::transport::local::LocalTransport;
use crate::transport::{PolledEvents, Transport as _};

/// How far the peers have come in the warm-up.
#[derive(Debug)]
pub(super) struct WarmUp {
    /// Segments that a warm peer has been handed; at least 1.
    segments: u32,
    cold: AtomicU32,
}

/// One peer. To the tracker it looks like one that fetches segments in no time.
#[derive(Debug)]
struct Client {
    end: LocalTransport,
    /// Blocks of what it lacks, as bits.
    missing: Vec<u64>,
    remaining: u32,
    taken: u32,
    /// No block before this one has missing segments.
    front: usize,
    /// Segments of the last handout, to be announced.
    given: ArrayVec<SegmentId, HANDOUT_MAX>,
    room: u16,
    sequence: u32,
    asked: Timestamp,
}

/// Simulates these peers until all have everything, the budget is spent, or a service thread has ended.
pub(super) fn run(
    ends: Vec<LocalTransport>,
    load: &LoadTest,
    clock: &Clock,
    budget: Duration,
    (warmth, finished): (&WarmUp, &AtomicBool),
) -> LoadResult {
    let mut peers: Vec<_> = ends.into_iter().map(|end| Client::new(end, load)).collect();
    let mut measured = LoadResult::default();
    let mut now = clock.now();
    peers.iter_mut().for_each(|peer| peer.ask(now));
    let mut began = None;
    let mut events = PolledEvents::default();
    // ORDERING: Relaxed; it only ends the loop.
    while !peers.is_empty() && !finished.load(Ordering::Relaxed) {
        now = clock.now();
        if began.is_none() && warmth.is_reached() {
            began = Some(now);
            measured = measured.as_warm_up();
        }
        if began.is_some_and(|began| now.since(began) >= budget) {
            break;
        }
        let mut worked = false;
        for peer in &mut peers {
            worked |= peer.poll(now, &mut events, &mut measured, warmth);
        }
        peers.retain(|peer| peer.remaining > 0);
        if !worked {
            thread::yield_now();
        }
    }
    let Some(began) = began else {
        // These peers finished while others were still cold: all of it was warm-up.
        return measured.as_warm_up();
    };
    measured.elapsed = now.since(began);
    measured
}

impl LoadResult {
    /// An empty result that only remembers the segments so far, as warm-up.
    fn as_warm_up(&self) -> Self {
        Self { warm_up: self.segments, ..Self::default() }
    }

    fn count(&mut self, handout: &Handout) {
        let segments = handout.entries.len() as u64;
        self.segments += segments;
        self.handouts += u64::from(segments > 0);
        self.empty += u64::from(segments == 0);
    }
}

impl WarmUp {
    /// All peers are cold; each is warm after `segments` segments.
    pub(super) fn new(peers: u32, segments: u32) -> Self {
        Self { segments, cold: AtomicU32::new(peers) }
    }

    pub(super) fn is_reached(&self) -> bool {
        // ORDERING: Relaxed; it only says when to begin to measure.
        self.cold.load(Ordering::Relaxed) == 0
    }

    /// Takes a peer's segments before and after a handout, and counts it as warm once.
    fn note(&self, before: u32, after: u32) {
        if (before..after).contains(&(self.segments - 1)) {
            // ORDERING: Relaxed; see `is_reached`.
            self.cold.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Client {
    fn new(end: LocalTransport, load: &LoadTest) -> Self {
        let segments = 0..load.case.segments;
        let blocks = 0..load.case.segments.div_ceil(Block::SEGMENTS);
        Self {
            end,
            missing: blocks.map(|index| Block::overlap(index, &segments)).collect(),
            remaining: load.case.segments,
            taken: 0,
            front: 0,
            given: ArrayVec::new(),
            room: u16::try_from(load.case.handout).expect("a handout has a bound"),
            sequence: 0,
            asked: Timestamp::default(),
        }
    }

    /// Handles the answer, if there is one, and asks again; returns whether there was one.
    fn poll(
        &mut self,
        now: Timestamp,
        events: &mut PolledEvents,
        measured: &mut LoadResult,
        warmth: &WarmUp,
    ) -> bool {
        self.end.poll(events).expect("the local transport does not break");
        for (_, message) in &events.messages {
            if let Message::Handout(handout) = &**message {
                measured.latency.record(now.since(self.asked));
                measured.count(handout);
                let before = self.taken;
                self.take(handout);
                warmth.note(before, self.taken);
                self.ask(now);
            }
        }
        !events.is_empty()
    }

    fn take(&mut self, handout: &Handout) {
        for entry in &handout.entries {
            let block = Block::of(entry.segment);
            self.missing[block.index as usize] &= !block.bits;
            self.remaining -= 1;
            self.taken += 1;
            self.given.push(entry.segment);
        }
    }

    /// Announces the last handout and asks for more, unless it has everything.
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
