//! How a segment is cut into fragments, and how long these are.
//!
//! A long message between hosts is a head-of-line block: nothing else of its sender passes it. Fragments let
//! control messages and segments for other receivers pass in between. On fast links each message costs more
//! than the wire's time for 32 KiB, so that fragments grow with what the wire carries.

use std::ops::Range;
use std::time::Duration;

use crate::config::{FRAGMENT_LOG2_LEAST, FRAGMENT_LOG2_MOST};
use crate::protocol::PostedReceives;
use crate::time::{Timestamp, ewma, nanoseconds};

// How long the wire should be busy with one fragment. What waits behind it waits as long: a millisecond is
// little beside the time of a request, and long beside the cost of a message, a few microseconds.
const FRAGMENT_TIME: Duration = Duration::from_millis(1);

// How long arrivals are counted for one sample of the rate. Several fragments: the time between two is mostly
// chance, as they wait for the turn of this thread. Chosen, not tuned.
const SAMPLE_TIME: Duration = Duration::from_millis(8);

// The weight of one sample, as in TCP's smoothed round-trip time (RFC 6298, section 2). 8 samples are 64 ms.
const SAMPLE_WEIGHT: u64 = 8;

/// The cut of one segment: into parts of one length, and a shorter last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    fragment_bytes: usize,
    slot_bytes: usize,
}

impl Cut {
    /// The cut that a receiver has asked for.
    pub(super) fn of(posted: PostedReceives) -> Self {
        let fragment_bytes = 1 << posted.fragment_log2.min(FRAGMENT_LOG2_MOST);
        Self { fragment_bytes, slot_bytes: posted.slot_bytes as usize }
    }

    /// Receives that a slot has room for.
    pub(super) fn receives(self) -> usize {
        self.slot_bytes.div_ceil(self.fragment_bytes).max(1)
    }

    /// Messages that carry a segment of `bytes`.
    // The receiver does not know how long the segment is. It is whole with the first fragment that is shorter
    // than its receive, if need be an empty one, or when the slot is full.
    pub(super) fn sends(self, bytes: usize) -> usize {
        let ends_short = !bytes.is_multiple_of(self.fragment_bytes) || bytes < self.slot_bytes;
        (bytes / self.fragment_bytes + usize::from(ends_short)).max(1)
    }

    /// Where a fragment lies in its slot.
    pub(super) fn place(self, index: usize) -> Range<usize> {
        self.place_within(self.slot_bytes, index)
    }

    /// Where it lies in a segment of `bytes`.
    pub(super) fn place_within(self, bytes: usize, index: usize) -> Range<usize> {
        let start = index.saturating_mul(self.fragment_bytes).min(bytes);
        start..start.saturating_add(self.fragment_bytes).min(bytes)
    }
}

/// The length that brings `bytes` as one fragment, as a power of two.
pub(super) fn whole_log2(bytes: usize) -> u8 {
    log2_of(bytes as u64).clamp(FRAGMENT_LOG2_LEAST, FRAGMENT_LOG2_MOST)
}

fn log2_of(bytes: u64) -> u8 {
    let power = bytes.checked_next_power_of_two().map_or(u64::BITS, u64::trailing_zeros);
    u8::try_from(power).unwrap_or(u8::MAX)
}

/// What other hosts send to this rank in [`FRAGMENT_TIME`], as measured: the EWMA of the rate at which
/// fragments come while more are awaited.
#[derive(Debug, Default)]
pub(super) struct LinkRate {
    /// None yet: 0.
    mean_bytes: u64,
    /// The sample that is being taken.
    since: Option<Timestamp>,
    bytes: u64,
}

impl LinkRate {
    /// So many bytes have come; `awaits_more` tells whether others are to come.
    pub(super) fn note(&mut self, now: Timestamp, bytes: usize, awaits_more: bool) {
        // The first arrival only starts the sample: nobody knows since when the link was busy with it.
        if let Some(since) = self.since {
            self.bytes = self.bytes.saturating_add(bytes as u64);
            let elapsed = now.since(since);
            if elapsed < SAMPLE_TIME {
                if !awaits_more {
                    // An idle link says nothing about its rate.
                    self.since = None;
                }
                return;
            }
            let times = nanoseconds(elapsed) / nanoseconds(FRAGMENT_TIME);
            self.mean_bytes = ewma(self.mean_bytes, self.bytes / times.max(1), SAMPLE_WEIGHT);
        }
        self.since = awaits_more.then_some(now);
        self.bytes = 0;
    }

    /// How long fragments from other hosts should be, as a power of two.
    pub(super) fn fragment_log2(&self) -> u8 {
        log2_of(self.mean_bytes).max(FRAGMENT_LOG2_LEAST)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// What a receiver makes of a segment that comes in order.
    fn received(cut: Cut, bytes: usize) -> usize {
        for index in 0..cut.sends(bytes) {
            let (room, part) = (cut.place(index), cut.place_within(bytes, index));
            assert_eq!(part.start.min(bytes), room.start.min(bytes));
            assert!(
                index < cut.receives() && part.len() <= room.len(),
                "{cut:?}, {bytes}, {index}"
            );
            let is_last = part.len() < room.len() || index + 1 == cut.receives();
            assert_eq!(is_last, index + 1 == cut.sends(bytes), "{cut:?}, {bytes}, {index}");
            if is_last {
                return room.start + part.len();
            }
        }
        panic!("{cut:?} never ends a segment of {bytes} bytes");
    }

    #[test]
    fn both_sides_find_the_same_end_of_a_segment_of_any_length() {
        let kib = 1 << 10;
        for slot_bytes in [0, 1, 32 * kib - 1, 32 * kib, 33 * kib, 64 * kib, 100 * kib] {
            for fragment_log2 in [15, 16, 17, 31] {
                let posted = PostedReceives {
                    tag: 0,
                    fragment_log2,
                    slot_bytes: u32::try_from(slot_bytes).expect("it is small"),
                };
                let edges = [0, 1, 32, 64, 96, 128].map(|end| [end * kib, end * kib + 1]);
                for bytes in edges.concat().into_iter().chain([slot_bytes]) {
                    if bytes <= slot_bytes {
                        assert_eq!(received(Cut::of(posted), bytes), bytes);
                    }
                }
            }
        }
    }

    #[test]
    fn a_segment_as_long_as_its_slot_costs_no_message_more() {
        let posted = |fragment_log2| PostedReceives { tag: 0, fragment_log2, slot_bytes: 1 << 20 };
        assert_eq!(Cut::of(posted(15)).sends(1 << 20), 32);
        assert_eq!(Cut::of(posted(whole_log2(1 << 20))).sends(1 << 20), 1);
        assert_eq!(Cut::of(posted(whole_log2(1 << 20))).sends((1 << 20) - 1), 1);
        assert_eq!([whole_log2(0), whole_log2(1000), whole_log2(usize::MAX)], [15, 15, 31]);
    }

    #[test]
    fn fragments_follow_what_the_wire_carries_in_a_millisecond() {
        for (megabits, log2) in [(10, 15), (200, 15), (1_000, 17), (10_000, 21), (1_000_000, 27)] {
            let mut rate = LinkRate::default();
            assert_eq!(rate.fragment_log2(), 15, "nothing is known");
            for ms in 0..100 {
                rate.note(Timestamp(ms * 1_000_000), megabits * 125, true);
            }
            assert_eq!(rate.fragment_log2(), log2, "{megabits} Mbit/s");
        }
    }

    #[test]
    fn an_idle_link_is_not_a_slow_one() {
        let (mut rate, mut now) = (LinkRate::default(), Timestamp(0));
        for _ in 0..100 {
            for _ in 0..20 {
                now = now + Duration::from_millis(1);
                rate.note(now, 1 << 20, true);
            }
            rate.note(now, 1 << 20, false);
            now = now + Duration::from_secs(1);
        }
        assert_eq!(rate.fragment_log2(), 20);
    }
}
