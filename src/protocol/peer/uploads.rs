//! Admission at a holder: a few segments go out at once, a few requests wait, the rest is told
//! to ask elsewhere.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::{self, Config};
use crate::manifest::{NodeId, SegmentId};
use crate::time::Timestamp;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Send it now.
    Serve,
    /// It waits its turn.
    Wait,
    /// There is no room.
    Busy,
}

/// What becomes of a request that is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawal {
    /// The segment is on its way.
    TooLate,
    /// It will not be sent.
    Dropped,
}

/// A segment on its way out.
#[derive(Clone, Copy, Debug)]
struct Active {
    upload: (NodeId, SegmentId),
    since: Timestamp,
    /// It takes so long that its receiver may be gone: it does not keep others waiting.
    stuck: bool,
}

/// Segments on their way out and requests that wait.
#[derive(Clone, Debug)]
pub(super) struct Uploads {
    active: Vec<Active>,
    patience: Duration,
    waiting: VecDeque<(NodeId, SegmentId)>,
    active_max: usize,
    /// Requests that may wait; a queue is bounded by the windows of all peers instead.
    waiting_max: usize,
}

impl Uploads {
    pub(super) fn new(config: &Config) -> Self {
        let waiting_max = match config.admission {
            config::Admission::Queue => usize::MAX,
            config::Admission::Slots => config.upload_queue,
        };
        Self {
            active: Vec::with_capacity(config.uploads),
            patience: config.request_patience,
            waiting: VecDeque::with_capacity(config.upload_queue),
            active_max: config.uploads,
            waiting_max,
        }
    }

    pub(super) fn admit(&mut self, now: Timestamp, to: NodeId, segment: SegmentId) -> Admission {
        let upload = (to, segment);
        if self.is_active(upload) || self.waiting.contains(&upload) {
            // Asked again after an answer was lost: once is enough.
            Admission::Wait
        } else if self.has_slot() {
            self.active.push(Active { upload, since: now, stuck: false });
            Admission::Serve
        } else if self.waiting.len() < self.waiting_max {
            self.waiting.push_back(upload);
            Admission::Wait
        } else {
            Admission::Busy
        }
    }

    /// A segment has left; returns the next one to send.
    pub(super) fn sent(
        &mut self,
        now: Timestamp,
        to: NodeId,
        segment: SegmentId,
    ) -> Option<(NodeId, SegmentId)> {
        let place = self.active.iter().position(|active| active.upload == (to, segment))?;
        self.active.swap_remove(place);
        self.next(now)
    }

    /// Frees the slots of segments that don't leave; returns what is sent there.
    pub(super) fn tick(&mut self, now: Timestamp) -> Vec<(NodeId, SegmentId)> {
        for active in &mut self.active {
            active.stuck |= now >= active.since + self.patience;
        }
        std::iter::from_fn(|| self.next(now)).collect()
    }

    /// When the next segment is taken for stuck.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let moving = self.active.iter().filter(|active| !active.stuck);
        moving.map(|active| active.since + self.patience).min()
    }

    pub(super) fn withdraw(&mut self, to: NodeId, segment: SegmentId) -> Withdrawal {
        self.waiting.retain(|&upload| upload != (to, segment));
        if self.is_active((to, segment)) { Withdrawal::TooLate } else { Withdrawal::Dropped }
    }

    /// A receiver is gone. What is on its way there takes up room until it has left.
    pub(super) fn lose(&mut self, node: NodeId) {
        self.waiting.retain(|&(to, _)| to != node);
    }

    fn next(&mut self, now: Timestamp) -> Option<(NodeId, SegmentId)> {
        if !self.has_slot() {
            return None;
        }
        let upload = self.waiting.pop_front()?;
        self.active.push(Active { upload, since: now, stuck: false });
        Some(upload)
    }

    fn has_slot(&self) -> bool {
        self.active.iter().filter(|active| !active.stuck).count() < self.active_max
    }

    fn is_active(&self, upload: (NodeId, SegmentId)) -> bool {
        self.active.iter().any(|active| active.upload == upload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admissions(admission: config::Admission, requests: u32) -> Vec<Admission> {
        let base = Config::for_segments_of(1 << 20);
        let config = Config { uploads: 1, upload_queue: 2, admission, ..base };
        let mut uploads = Uploads::new(&config);
        let now = Timestamp::default();
        (0..requests).map(|segment| uploads.admit(now, NodeId(1), SegmentId(segment))).collect()
    }

    #[test]
    fn who_takes_nothing_any_more_keeps_nobody_waiting() {
        let config = Config { uploads: 1, ..Config::for_segments_of(1 << 20) };
        let mut uploads = Uploads::new(&config);
        let start = Timestamp::default();
        let (gone, other) = ((NodeId(1), SegmentId(1)), (NodeId(2), SegmentId(2)));
        assert_eq!(uploads.admit(start, gone.0, gone.1), Admission::Serve);
        assert_eq!(uploads.admit(start, other.0, other.1), Admission::Wait);
        let late = uploads.deadline().expect("one is on its way");
        assert_eq!(late, start + config.request_patience);
        assert!(uploads.tick(start).is_empty());
        assert_eq!(uploads.tick(late), [other]);
        assert_eq!(uploads.admit(late, gone.0, gone.1), Admission::Wait, "once is enough");
        assert_eq!(uploads.sent(late, gone.0, gone.1), None);
    }

    #[test]
    fn slots_turn_away_what_a_queue_takes() {
        use Admission::{Busy, Serve, Wait};
        let slots = admissions(config::Admission::Slots, 5);
        assert_eq!(slots, [Serve, Wait, Wait, Busy, Busy]);
        let queue = admissions(config::Admission::Queue, 1000);
        assert_eq!(queue[0], Serve);
        assert!(queue[1..].iter().all(|&admission| admission == Wait));
    }
}
