//! Admission at a holder: a few segments go out at once, a few requests wait, the rest is told
//! to ask elsewhere.

use std::collections::VecDeque;

use crate::config::{self, Config};
use crate::manifest::{NodeId, SegmentId};

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

/// Segments on their way out and requests that wait.
#[derive(Clone, Debug)]
pub(super) struct Uploads {
    active: Vec<(NodeId, SegmentId)>,
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
            waiting: VecDeque::with_capacity(config.upload_queue),
            active_max: config.uploads,
            waiting_max,
        }
    }

    pub(super) fn admit(&mut self, to: NodeId, segment: SegmentId) -> Admission {
        let upload = (to, segment);
        if self.active.contains(&upload) || self.waiting.contains(&upload) {
            // Asked again after an answer was lost: once is enough.
            Admission::Wait
        } else if self.active.len() < self.active_max {
            self.active.push(upload);
            Admission::Serve
        } else if self.waiting.len() < self.waiting_max {
            self.waiting.push_back(upload);
            Admission::Wait
        } else {
            Admission::Busy
        }
    }

    /// A segment has left; returns the next one to send.
    pub(super) fn sent(&mut self, to: NodeId, segment: SegmentId) -> Option<(NodeId, SegmentId)> {
        let place = self.active.iter().position(|&upload| upload == (to, segment))?;
        self.active.swap_remove(place);
        self.next()
    }

    pub(super) fn withdraw(&mut self, to: NodeId, segment: SegmentId) -> Withdrawal {
        self.waiting.retain(|&upload| upload != (to, segment));
        if self.active.contains(&(to, segment)) { Withdrawal::TooLate } else { Withdrawal::Dropped }
    }

    /// A receiver is gone. What is on its way there takes up room until it has left.
    pub(super) fn lose(&mut self, node: NodeId) {
        self.waiting.retain(|&(to, _)| to != node);
    }

    fn next(&mut self) -> Option<(NodeId, SegmentId)> {
        if self.active.len() == self.active_max {
            return None;
        }
        let upload = self.waiting.pop_front()?;
        self.active.push(upload);
        Some(upload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admissions(admission: config::Admission, requests: u32) -> Vec<Admission> {
        let base = Config::for_segments_of(1 << 20);
        let config = Config { uploads: 1, upload_queue: 2, admission, ..base };
        let mut uploads = Uploads::new(&config);
        (0..requests).map(|segment| uploads.admit(NodeId(1), SegmentId(segment))).collect()
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
