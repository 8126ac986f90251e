//! What a node knows of one of its neighbours.

use std::time::Duration;

use crate::manifest::{NodeId, SegmentId};
use crate::time::Timestamp;

// The part of the time of an upload after which a neighbour that had no room is offered something again; twice
// as long after each further refusal.
// Chosen, not tuned.
const RETRY_PART: f64 = 0.3;

// What an upload counts as before the first was timed: a round trip between hosts. Without any time, a neighbour without
// room is offered the same as fast as it can refuse.
const UPLOAD_FIRST: Duration = Duration::from_micros(100);

// How often that time doubles.
// Ten upload times: a receiver at a tenth of the rate has room about as often.
const DOUBLINGS_MAX: u8 = 5;

/// A set of numbers below a fixed one.
#[derive(Clone, Debug)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    pub(super) fn set(&mut self, index: usize, value: bool) {
        let bit = 1 << (index % 64);
        if value { self.0[index / 64] |= bit } else { self.0[index / 64] &= !bit }
    }

    /// The numbers, 64 a word.
    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }
}

/// Whether a neighbour is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NeighbourState {
    Answers,
    /// It did not answer: nothing is sent to it until it speaks.
    Silent,
    /// Rank 0 has said that it is lost.
    Lost,
}

// Every message reads one, and every offer may read all.
const _: () = assert!(size_of::<NeighbourView>() <= 64, "it fits into a cache line");

#[derive(Debug)]
pub(super) struct NeighbourView {
    pub(super) id: NodeId,
    /// It is in the own rack, or there is nobody else in that.
    pub(super) is_near: bool,
    /// What it was offered and has not answered.
    pub(super) offered: Option<SegmentId>,
    /// When it was offered something last.
    pub(super) offered_at: Timestamp,
    /// An offer that it had not answered when it was given up. It answers that one before it is offered more.
    pub(super) expired: Option<SegmentId>,
    /// It has no room before; time 0 where it has.
    pub(super) full_until: Timestamp,
    /// How often in a row it had none, as far as that counts.
    refusals: u8,
    /// When it last began to take something from another node.
    pub(super) progressed: Timestamp,
    /// When it said something last.
    pub(super) heard: Timestamp,
    /// When it was asked whether it is there, where it has said nothing since.
    pub(super) probed_at: Timestamp,
    pub(super) is_probed: bool,
    pub(super) state: NeighbourState,
}

impl NeighbourView {
    pub(super) fn new(id: NodeId) -> Self {
        Self {
            id,
            is_near: true,
            offered: None,
            offered_at: Timestamp::default(),
            expired: None,
            full_until: Timestamp::default(),
            refusals: 0,
            progressed: Timestamp::default(),
            heard: Timestamp::default(),
            probed_at: Timestamp::default(),
            is_probed: false,
            state: NeighbourState::Answers,
        }
    }

    /// It said something.
    pub(super) fn hear(&mut self, now: Timestamp) {
        (self.heard, self.is_probed) = (now, false);
        if !self.is_lost() {
            self.state = NeighbourState::Answers;
        }
    }

    /// Whether nothing is sent to it.
    pub(super) fn is_silent(&self) -> bool {
        self.state != NeighbourState::Answers
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state == NeighbourState::Lost
    }

    /// Whether it was offered the segment and answers now: and whether that offer still stood.
    pub(super) fn take_offer(&mut self, segment: SegmentId) -> Option<bool> {
        if self.offered.take_if(|offered| *offered == segment).is_some() {
            return Some(true);
        }
        self.expired.take_if(|expired| *expired == segment).map(|_| false)
    }

    // Exponential backoff, as for retransmissions in TCP (RFC 6298, 5.5), with a bound.
    /// It has no room now; an upload takes `upload_time`.
    pub(super) fn refuse(&mut self, now: Timestamp, upload_time: Duration) {
        let upload_time = if upload_time.is_zero() { UPLOAD_FIRST } else { upload_time };
        let factor = RETRY_PART * f64::from(1_u32 << self.refusals);
        self.full_until = now + upload_time.mul_f64(factor);
        self.refusals = (self.refusals + 1).min(DOUBLINGS_MAX);
    }

    /// It takes something, so that it may have room for more.
    pub(super) fn accept(&mut self) {
        (self.full_until, self.refusals) = (Timestamp::default(), 0);
    }

    /// It begins to take something from another node.
    pub(super) fn progress(&mut self, now: Timestamp) {
        self.progressed = now;
        self.accept();
    }

    /// Whether it may be offered something now.
    pub(super) fn has_room(&self, now: Timestamp) -> bool {
        let answered = self.offered.is_none() && self.expired.is_none();
        answered && !self.is_silent() && self.full_until <= now
    }
}
