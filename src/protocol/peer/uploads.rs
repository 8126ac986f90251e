//! Admission control at a holder: a few segments are sent at a time, a few requests wait in a queue,
//! and the rest is declined, so that the peer asks another holder at once.
//!
//! A bounded queue with a *busy* reply keeps the load even: in simulation, queues without a bound took
//! 3.3 to 5.8 times as long as the links allow, and this 1.03 to 1.05, whatever the balancing rule.
//!
//! A slow receiver does not keep others waiting. It gets one segment at a time, out of upload slots
//! that only slow receivers use.

use std::collections::VecDeque;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::config::{self, Config};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::RequestedSegment;
use crate::protocol::slow_peers::SlowPeers;
use crate::time::Timestamp;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadDecision {
    Serve,
    /// It waits in the queue, or is served already.
    Wait,
    /// The queue is full.
    Busy,
}

/// What becomes of a request that is withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Withdrawal {
    /// The segment is being sent.
    TooLate,
    /// It will not be sent.
    Dropped,
}

/// A segment that is being sent.
#[derive(Clone, Copy, Debug)]
struct ActiveUpload {
    upload: (NodeId, SegmentId),
    request: u32,
    since: Timestamp,
    class: UploadClass,
}

/// Which upload slots a segment counts against. Fast and slow receivers have `active_max` each.
// Were they in one pool, slow receivers would fill it, as each keeps its slot longest, and the holder's
// link would idle: head-of-line blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UploadClass {
    Fast,
    Slow,
    /// It counts against none: its receiver takes so long that it may be gone.
    Stalled,
}

/// How long segments take to leave.
#[derive(Debug, Default)]
struct SendTimes {
    slow_peers: SlowPeers,
    /// By receiver: the EWMA, nanoseconds.
    to_ns: FxHashMap<NodeId, u64>,
}

/// Segments that are being sent, and requests that wait.
#[derive(Debug)]
pub(super) struct Uploads {
    active: Vec<ActiveUpload>,
    patience: Duration,
    /// None in memory, where there are no slow links.
    times: Option<SendTimes>,
    waiting: VecDeque<(NodeId, RequestedSegment)>,
    active_max: usize,
    /// Without a limit of its own, the queue holds the windows of all peers.
    waiting_max: usize,
}

impl Uploads {
    pub(super) fn new(config: &Config, nodes: u32) -> Self {
        let waiting_max = match config.admission {
            config::Admission::Queue => config.flights_max().saturating_mul(nodes as usize),
            config::Admission::Slots => config.upload_queue,
        };
        Self {
            active: Vec::with_capacity(config.uploads),
            patience: config.request_patience,
            times: config.paced.then(SendTimes::default),
            waiting: VecDeque::with_capacity(config.upload_queue),
            active_max: config.uploads,
            waiting_max,
        }
    }

    pub(super) fn admit(
        &mut self,
        now: Timestamp,
        to: NodeId,
        requested: RequestedSegment,
    ) -> UploadDecision {
        let upload = (to, requested.segment);
        // Admission control with a bounded queue: a holder that is asked for too much says so at once,
        // and the request is served elsewhere instead of waiting here (see `Admission::Slots`).
        if self.is_active(upload) {
            // The peer repeats a request whose answer was lost. One answer is enough.
            UploadDecision::Wait
        } else if let Some(place) = self.waiting.iter().position(|&waiting| key(waiting) == upload)
        {
            // Likewise; but it may wait with another tag now.
            self.waiting[place].1 = requested;
            UploadDecision::Wait
        } else if self.may_leave(to) {
            self.begin(now, (to, requested));
            UploadDecision::Serve
        } else if self.waiting.len() < self.waiting_max {
            self.waiting.push_back((to, requested));
            UploadDecision::Wait
        } else {
            UploadDecision::Busy
        }
    }

    pub(super) fn sent(&mut self, now: Timestamp, to: NodeId, segment: SegmentId) {
        let place = self.active.iter().position(|active| active.upload == (to, segment));
        if let Some(place) = place {
            let active = self.active.swap_remove(place);
            if let Some(times) = &mut self.times {
                times.note(to, now.since(active.since));
            }
        }
    }

    /// A segment that was to be sent can't be: its upload slot is free, and how long that took says nothing.
    /// Returns the request for it.
    pub(super) fn abort(&mut self, to: NodeId, segment: SegmentId) -> Option<u32> {
        let place = self.active.iter().position(|active| active.upload == (to, segment))?;
        Some(self.active.swap_remove(place).request)
    }

    /// Frees the upload slots of segments that take longer than the receiver would wait.
    pub(super) fn tick(&mut self, now: Timestamp) {
        for active in &mut self.active {
            if now >= active.since + self.patience {
                active.class = UploadClass::Stalled;
            }
        }
    }

    /// The request to serve next, if there is an upload slot: first come, first served.
    // Over links, receivers to whom nothing is being sent come first: two segments to one receiver
    // share its link and end no earlier.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(NodeId, RequestedSegment)> {
        let may_leave = |&(to, _): &(NodeId, RequestedSegment)| self.may_leave(to);
        let alone = |upload: &_| may_leave(upload) && !self.sends_to(upload.0);
        let place = if self.times.is_some() {
            // Two segments to one receiver share its link, and both take twice as long. One to each of
            // two receivers does not.
            let place = self.waiting.iter().position(alone);
            place.or_else(|| self.waiting.iter().position(may_leave))
        } else {
            // Without slow receivers either all requests may be served or none: no search.
            self.waiting.front().filter(|upload| may_leave(upload)).map(|_| 0)
        }?;
        let next = self.waiting.remove(place)?;
        self.begin(now, next);
        Some(next)
    }

    /// When the next upload counts as stalled.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let moving = self.active.iter().filter(|active| active.class != UploadClass::Stalled);
        moving.map(|active| active.since + self.patience).min()
    }

    // What is being sent can't be taken back: the transport has it.
    pub(super) fn withdraw(&mut self, to: NodeId, segment: SegmentId, request: u32) -> Withdrawal {
        let is_it = |upload, number| upload == (to, segment) && number == request;
        self.waiting.retain(|&waiting| !is_it(key(waiting), waiting.1.request));
        let is_sent = self.active.iter().any(|active| is_it(active.upload, active.request));
        if is_sent { Withdrawal::TooLate } else { Withdrawal::Dropped }
    }

    /// A receiver is gone. What is being sent to it keeps its slot until the transport is done.
    pub(super) fn lose(&mut self, node: NodeId) {
        self.waiting.retain(|&(to, _)| to != node);
    }

    fn begin(&mut self, now: Timestamp, (to, requested): (NodeId, RequestedSegment)) {
        let (upload, class) = ((to, requested.segment), self.class_of(to));
        self.active.push(ActiveUpload { upload, request: requested.request, since: now, class });
    }

    // Slots are a counting semaphore; slow receivers have one of their own, so that a full one does not
    // block the others (no head-of-line blocking).
    /// Whether another segment may be sent to a receiver now.
    fn may_leave(&self, to: NodeId) -> bool {
        let class = self.class_of(to);
        let beside = self.active.iter().filter(|active| active.class == class).count();
        beside < self.active_max && (class == UploadClass::Fast || !self.sends_to(to))
    }

    fn sends_to(&self, to: NodeId) -> bool {
        self.active.iter().any(|active| active.upload.0 == to)
    }

    fn class_of(&self, to: NodeId) -> UploadClass {
        let is_slow = self.times.as_ref().is_some_and(|times| times.is_slow(to));
        if is_slow { UploadClass::Slow } else { UploadClass::Fast }
    }

    fn is_active(&self, upload: (NodeId, SegmentId)) -> bool {
        self.active.iter().any(|active| active.upload == upload)
    }
}

fn key((to, requested): (NodeId, RequestedSegment)) -> (NodeId, SegmentId) {
    (to, requested.segment)
}

impl SendTimes {
    fn note(&mut self, to: NodeId, time: Duration) {
        let to_ns = self.to_ns.entry(to).or_default();
        *to_ns = SlowPeers::updated(*to_ns, time);
        self.slow_peers.record(time);
    }

    fn is_slow(&self, to: NodeId) -> bool {
        self.to_ns.get(&to).is_some_and(|&to_ns| self.slow_peers.is_slow(to_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admissions(admission: config::Admission, requests: u32) -> Vec<UploadDecision> {
        let base = Config::for_segments_of(1 << 20);
        let config = Config { uploads: 1, upload_queue: 2, admission, ..base };
        let mut uploads = Uploads::new(&config, 1000);
        let now = Timestamp::default();
        (0..requests)
            .map(|segment| uploads.admit(now, NodeId(1), SegmentId(segment).into()))
            .collect()
    }

    #[test]
    fn who_takes_nothing_any_more_keeps_nobody_waiting() {
        let config = Config { uploads: 1, ..Config::for_segments_of(1 << 20) };
        let mut uploads = Uploads::new(&config, 1000);
        let start = Timestamp::default();
        let (gone, other) = ((NodeId(1), SegmentId(1)), (NodeId(2), SegmentId(2).into()));
        assert_eq!(uploads.admit(start, gone.0, gone.1.into()), UploadDecision::Serve);
        assert_eq!(uploads.admit(start, other.0, other.1), UploadDecision::Wait);
        let late = uploads.deadline().expect("one is being sent");
        assert_eq!(late, start + config.request_patience);
        uploads.tick(start);
        assert_eq!(uploads.next(start), None);
        uploads.tick(late);
        assert_eq!(uploads.next(late), Some(other));
        assert_eq!(
            uploads.admit(late, gone.0, gone.1.into()),
            UploadDecision::Wait,
            "once is enough"
        );
        uploads.sent(late, gone.0, gone.1);
        assert_eq!(uploads.next(late), None);
    }

    #[test]
    fn what_goes_to_a_slow_receiver_takes_no_slot() {
        let base = Config::over_links(1 << 20);
        let mut uploads = Uploads::new(&Config { uploads: 1, upload_queue: 8, ..base }, 3);
        let (fast, slow) = (NodeId(1), NodeId(2));
        let mut now = Timestamp::default();
        for segment in 0..40 {
            let (to, time_ms) = if segment % 4 == 3 { (slow, 20) } else { (fast, 1) };
            assert_eq!(uploads.admit(now, to, SegmentId(segment).into()), UploadDecision::Serve);
            now = now + Duration::from_millis(time_ms);
            uploads.sent(now, to, SegmentId(segment));
        }
        assert_eq!(uploads.admit(now, slow, SegmentId(40).into()), UploadDecision::Serve);
        assert_eq!(
            uploads.admit(now, slow, SegmentId(41).into()),
            UploadDecision::Wait,
            "one at a time"
        );
        assert_eq!(uploads.admit(now, fast, SegmentId(42).into()), UploadDecision::Serve);
        assert_eq!(uploads.admit(now, fast, SegmentId(43).into()), UploadDecision::Wait);
        uploads.sent(now, slow, SegmentId(40));
        assert_eq!(uploads.next(now), Some((slow, SegmentId(41).into())));
        assert_eq!(uploads.next(now), None);
        uploads.sent(now, fast, SegmentId(42));
        assert_eq!(uploads.next(now), Some((fast, SegmentId(43).into())));
    }

    #[test]
    fn slots_turn_away_what_a_queue_takes() {
        use UploadDecision::{Busy, Serve, Wait};
        let slots = admissions(config::Admission::Slots, 5);
        assert_eq!(slots, [Serve, Wait, Wait, Busy, Busy]);
        let queue = admissions(config::Admission::Queue, 1000);
        assert_eq!(queue[0], Serve);
        assert!(queue[1..].iter().all(|&admission| admission == Wait));
    }
}
