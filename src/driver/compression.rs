//! Which segments a rank sends compressed, and the memory for that.
//!
//! Compressing one takes a while and leaves a part of it, so that it pays while
//! `compressing + ratio * sending < sending`, all times those of one byte. The three are measured as segments go.

use std::time::Duration;

use crate::config::Compress;
use crate::manifest::{NodeId, SegmentId};
use crate::store::{Pool, VacantSlot};
use crate::time::Timestamp;

// Segments to other hosts that are compressed whatever that costs, at the beginning.
// Few, in case it does not pay, and more than one, which may lie in a file of another kind. Chosen, not tuned.
const FIRST_TRIED: u32 = 4;

// One in so many is compressed later although it did not pay: data and links change.
// What it costs is a sixty-fourth of what compressing all would. Chosen, not tuned.
const TRIED_AGAIN: u32 = 64;

// What remains of the weight of older samples with each new one.
// As in TCP's smoothed round-trip time (RFC 6298, section 2), where a sample has one eighth.
const REMAINDER: f64 = 7.0 / 8.0;

/// A quotient of two sums, in which older samples count less: the EWMA of a rate, each sample weighted by its
/// length.
#[derive(Debug, Default)]
struct WeightedRate {
    amount: f64,
    over: f64,
}

impl WeightedRate {
    fn note(&mut self, amount: f64, over: f64) {
        self.amount = self.amount * REMAINDER + amount;
        self.over = self.over * REMAINDER + over;
    }

    /// None before the first sample.
    fn mean(&self) -> Option<f64> {
        (self.over > 0.0).then(|| self.amount / self.over)
    }
}

/// Chooses what is compressed, and has slots for frames.
#[derive(Debug)]
pub(super) struct CompressionPolicy {
    when: Compress,
    /// By node, whether it is on this host.
    near: Vec<bool>,
    /// A frame has a slot of its own until it is sent.
    frames: Pool,
    /// How often a segment to another host was to be sent.
    decisions: u32,
    /// Seconds that a byte takes, what waits for a worker included.
    compressing: WeightedRate,
    /// Bytes of frames for a byte of segments.
    ratio: WeightedRate,
    /// Seconds that the links to other hosts take for a byte.
    sending: WeightedRate,
    /// What is being sent to other hosts.
    under_way: Vec<(NodeId, SegmentId, usize)>,
    /// Since when the links are busy with it, or when the last of it was sent.
    busy_since: Timestamp,
}

impl CompressionPolicy {
    /// `near` tells by node whether it is on this host.
    pub(super) fn new(when: Compress, near: Vec<bool>, frames: Pool) -> Self {
        let rate = WeightedRate::default;
        Self {
            when,
            near,
            frames,
            decisions: 0,
            compressing: rate(),
            ratio: rate(),
            sending: rate(),
            under_way: Vec::new(),
            busy_since: Timestamp::default(),
        }
    }

    /// The slot for the frame of a segment; none where it is sent as it is.
    // A segment waits for no slot: one that is not compressed is right, too. More are sent at a time than there
    // are slots only while some receivers are stuck.
    pub(super) fn slot_for(&mut self, to: NodeId) -> Option<VacantSlot> {
        let is_compressed = match self.when {
            Compress::Never => false,
            Compress::Always => true,
            Compress::Auto => !self.is_near(to) && self.tries(),
        };
        is_compressed.then(|| self.frames.take()).flatten()
    }

    fn tries(&mut self) -> bool {
        let before = self.decisions;
        self.decisions = before.saturating_add(1);
        before < FIRST_TRIED || before.is_multiple_of(TRIED_AGAIN) || self.pays()
    }

    fn pays(&self) -> bool {
        let means = [&self.compressing, &self.ratio, &self.sending].map(WeightedRate::mean);
        let [Some(compressing), Some(ratio), Some(sending)] = means else { return false };
        compressing + ratio * sending < sending
    }

    fn is_near(&self, node: NodeId) -> bool {
        self.near.get(node.index()).copied().unwrap_or_default()
    }

    /// A segment of `plain` bytes has become one of `sent`.
    pub(super) fn note_compressed(&mut self, took: Duration, plain: usize, sent: usize) {
        self.compressing.note(took.as_secs_f64(), plain as f64);
        self.ratio.note(sent as f64, plain as f64);
    }

    /// So many bytes of a segment are sent from now on.
    pub(super) fn note_sending(
        &mut self,
        now: Timestamp,
        (to, segment): (NodeId, SegmentId),
        bytes: usize,
    ) {
        if self.is_near(to) {
            return;
        }
        if self.under_way.is_empty() {
            self.busy_since = now;
        }
        self.under_way.push((to, segment, bytes));
    }

    /// What is on its way to a rank that is lost never arrives, and says nothing of the links.
    pub(super) fn forget_sent_to(&mut self, lost: NodeId) {
        self.under_way.retain(|&(to, _, _)| to != lost);
    }

    pub(super) fn note_sent(&mut self, now: Timestamp, to: NodeId, segment: SegmentId) {
        let place = self.under_way.iter().position(|&(t, s, _)| (t, s) == (to, segment));
        let Some(place) = place else { return };
        let (_, _, bytes) = self.under_way.swap_remove(place);
        self.sending.note(now.since(self.busy_since).as_secs_f64(), bytes as f64);
        self.busy_since = now;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const FAR: NodeId = NodeId(1);

    const NEAR: NodeId = NodeId(2);

    const SEGMENT: usize = 1 << 20;

    const MS: Duration = Duration::from_millis(1);

    fn policy(when: Compress, slots: usize) -> CompressionPolicy {
        let frames = Pool::new(slots, 64).expect("a little memory");
        CompressionPolicy::new(when, vec![false, false, true], frames)
    }

    /// How many of so many segments are compressed, where that takes `compressing` and leaves one part in
    /// `ratio`, and the link takes `sending` for a whole one.
    fn compressed(
        policy: &mut CompressionPolicy,
        count: u32,
        (compressing, ratio, sending): (Duration, u32, Duration),
    ) -> usize {
        let mut now = Timestamp::default();
        let send = |number| {
            let is_compressed = policy.slot_for(FAR).is_some();
            let parts = if is_compressed { ratio } else { 1 };
            let bytes = SEGMENT / parts as usize;
            if is_compressed {
                now = now + compressing;
                policy.note_compressed(compressing, SEGMENT, bytes);
            }
            policy.note_sending(now, (FAR, SegmentId(number)), bytes);
            now = now + sending / parts;
            policy.note_sent(now, FAR, SegmentId(number));
            is_compressed
        };
        (0..count).map(send).filter(|&is_compressed| is_compressed).count()
    }

    #[test]
    fn a_slow_link_takes_frames_and_a_fast_one_few() {
        let all = [
            // As long as the link, and half of it is left; a little less than the gain; a little more.
            ((MS * 10, 2, MS * 10), false),
            ((MS * 49, 2, MS * 100), true),
            ((MS * 51, 2, MS * 100), false),
            // Nothing is gained.
            ((MS, 1, MS * 1000), false),
            ((MS, 4, MS * 10), true),
            ((MS * 10, 100, MS), false),
        ];
        for (costs, pays) in all {
            let count = compressed(&mut policy(Compress::Auto, 1), 640, costs);
            let expected = if pays { 640 } else { 4 + 9 };
            assert_eq!(count, expected, "{costs:?}");
        }
    }

    #[test]
    fn a_link_that_becomes_slow_is_noticed() {
        let mut policy = policy(Compress::Auto, 1);
        assert_eq!(compressed(&mut policy, 64, (MS * 10, 2, MS)), 4);
        let slow = compressed(&mut policy, 640, (MS * 10, 2, MS * 100));
        assert!(slow > 600, "{slow}");
        let fast = compressed(&mut policy, 640, (MS * 10, 2, MS));
        assert!(fast < 40, "{fast}");
    }

    #[test]
    fn a_link_is_as_fast_as_all_that_it_carries_at_a_time() {
        let mut policy = policy(Compress::Auto, 0);
        let mut now = Timestamp::default();
        for number in 0..100 {
            for one in 0..4 {
                policy.note_sending(now, (FAR, SegmentId(4 * number + one)), SEGMENT);
            }
            policy.note_sending(now, (NEAR, SegmentId(number)), SEGMENT);
            policy.note_sent(now + MS, NEAR, SegmentId(number));
            for one in 0..4 {
                now = now + MS;
                policy.note_sent(now, FAR, SegmentId(4 * number + one));
            }
            // An idle link says nothing.
            now = now + MS * 1000;
        }
        let mean = policy.sending.mean().expect("there are samples");
        assert!((mean * SEGMENT as f64 / MS.as_secs_f64() - 1.0).abs() < 1e-6, "{mean}");
    }

    #[test]
    fn links_are_not_busy_with_what_a_lost_rank_does_not_take() {
        let mut policy = policy(Compress::Auto, 0);
        let (mut now, lost) = (Timestamp::default(), NodeId(5));
        policy.note_sending(now, (lost, SegmentId(0)), SEGMENT);
        policy.forget_sent_to(lost);
        for number in 0..10 {
            now = now + MS * 1000;
            policy.note_sending(now, (FAR, SegmentId(number)), SEGMENT);
            policy.note_sent(now + MS, FAR, SegmentId(number));
        }
        let mean = policy.sending.mean().expect("there are samples");
        assert!((mean * SEGMENT as f64 / MS.as_secs_f64() - 1.0).abs() < 1e-6, "{mean}");
    }

    #[test]
    fn what_each_choice_compresses() {
        let mut always = policy(Compress::Always, 1);
        let slot = always.slot_for(NEAR);
        assert!(slot.is_some() && always.slot_for(FAR).is_none(), "there is one slot");
        drop(slot);
        assert!(always.slot_for(FAR).is_some());
        let mut auto = policy(Compress::Auto, 1);
        assert!((0..100).all(|_| auto.slot_for(NEAR).is_none()));
        assert!(auto.slot_for(FAR).is_some() && auto.slot_for(NodeId(9)).is_some());
        assert!(policy(Compress::Never, 1).slot_for(FAR).is_none());
    }
}
