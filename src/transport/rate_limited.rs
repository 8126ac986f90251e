//! A transport that moves at most so many bytes of segments a second: traffic shaping, by a token bucket for
//! each direction.
//!
//! What this rank sends waits here until its bucket lets it go. What others send can't be held back here, so
//! that the requests for it are. No other message waits: whoever is limited still answers at once.

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use super::token_bucket::TokenBucket;
use super::{Completion, HeldBack, PolledEvents, Transport, TransportError};
use crate::config::{HANDOUT_MAX, RateLimits};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, RequestedSegment, UNNUMBERED};
use crate::store::{SealedSegment, VacantSlot};
use crate::time::Timestamp;

/// Another transport with limits.
#[derive(Debug)]
pub struct RateLimited<T, N, L> {
    inner: T,
    now: N,
    bytes_of: L,
    up: Option<TokenBucket>,
    down: Option<TokenBucket>,
    // First in, first out, as the holder's queue is: it has chosen the order already.
    /// Segments that wait to be sent.
    unsent: VecDeque<(NodeId, RequestedSegment, SealedSegment)>,
    /// Requests that wait to be sent.
    unrequested: VecDeque<(NodeId, RequestedSegment)>,
    /// Requests that have taken tokens, and whose segments have not come: those of a holder that declines come
    /// back.
    requested: Vec<(NodeId, SegmentId)>,
}

impl<T, N, L> RateLimited<T, N, L>
where
    T: Transport,
    N: Fn() -> Timestamp,
    L: Fn(SegmentId) -> usize,
{
    /// Limits `inner`. `now` is the clock of the run, and `bytes_of` says how long a segment is that this node
    /// requests.
    pub fn new(inner: T, limits: RateLimits, now: N, bytes_of: L) -> Self {
        let start = now();
        let bucket = |limit| TokenBucket::new(limit, start);
        Self {
            inner,
            now,
            bytes_of,
            up: limits.up.map(bucket),
            down: limits.down.map(bucket),
            unsent: VecDeque::new(),
            unrequested: VecDeque::new(),
            requested: Vec::new(),
        }
    }

    /// The other transport, without what waits.
    pub fn into_inner(self) -> T {
        self.inner
    }

    /// Lets go what the buckets have tokens for.
    fn release(&mut self) -> Result<(), TransportError> {
        let now = (self.now)();
        let Self { inner, bytes_of, up, down, unsent, unrequested, requested, .. } = self;
        if let Some(up) = up {
            while let Some((to, segment, payload)) =
                unsent.pop_front_if(|(_, _, payload)| up.take(now, payload.bytes().len()))
            {
                inner.serve(to, segment, payload)?;
            }
        }
        let Some(down) = down else { return Ok(()) };
        // Those that wait for one holder go in one message, as they came.
        while let Some(&(holder, _)) = unrequested.front() {
            let mut segments = ArrayVec::<RequestedSegment, HANDOUT_MAX>::new();
            while !segments.is_full()
                && let Some((_, one)) = unrequested.pop_front_if(|(to, one)| {
                    *to == holder && down.take(now, bytes_of(one.segment))
                })
            {
                requested.push((holder, one.segment));
                segments.push(one);
            }
            if segments.is_empty() {
                break;
            }
            inner.send(holder, &Message::Request { segments })?;
        }
        Ok(())
    }

    /// Whether a request had taken tokens.
    fn end_request(&mut self, from: NodeId, segment: SegmentId) -> bool {
        let place = self.requested.iter().position(|&one| one == (from, segment));
        place.map(|place| self.requested.swap_remove(place)).is_some()
    }
}

impl<T, N, L> Transport for RateLimited<T, N, L>
where
    T: Transport,
    N: Fn() -> Timestamp,
    L: Fn(SegmentId) -> usize,
{
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError> {
        if self.down.is_some() {
            if let Message::Request { segments } = message {
                self.unrequested.extend(segments.iter().map(|&one| (to, one)));
                return self.release();
            }
            if let &Message::Withdraw { segment, request } = message
                && request != UNNUMBERED
            {
                // Else the request would follow what takes it back. The holder answers that it will not send.
                let is_it =
                    |one: &RequestedSegment| (one.segment, one.request) == (segment, request);
                self.unrequested.retain(|(holder, one)| *holder != to || !is_it(one));
            }
        }
        self.inner.send(to, message)
    }

    fn expect(
        &mut self,
        from: NodeId,
        segment: SegmentId,
        slot: VacantSlot,
    ) -> Result<(), TransportError> {
        self.inner.expect(from, segment, slot)
    }

    fn forget(&mut self, from: NodeId, segment: SegmentId) -> Result<(), TransportError> {
        self.unrequested.retain(|(holder, one)| (*holder, one.segment) != (from, segment));
        if self.end_request(from, segment)
            && let Some(down) = &mut self.down
        {
            down.give_back((self.bytes_of)(segment));
        }
        self.inner.forget(from, segment)
    }

    fn serve(
        &mut self,
        to: NodeId,
        requested: RequestedSegment,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        if self.up.is_none() {
            return self.inner.serve(to, requested, payload);
        }
        self.unsent.push_back((to, requested, payload));
        self.release()
    }

    fn flush(&mut self) -> Result<(), TransportError> {
        self.inner.flush()
    }

    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        self.inner.poll(events)?;
        for completion in &events.completions {
            if let Completion::Arrived { from, segment, slot } = completion
                && self.end_request(*from, *segment)
                && let Some(down) = &mut self.down
            {
                // It may have come compressed.
                down.give_back((self.bytes_of)(*segment).saturating_sub(slot.bytes().len()));
            }
        }
        if self.unsent.is_empty() && self.unrequested.is_empty() {
            return Ok(());
        }
        self.release()?;
        // The node may rest now.
        self.inner.flush()
    }

    fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.unrequested.is_empty() && self.inner.is_flushed()
    }

    fn wakes(&self) -> bool {
        self.inner.wakes()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let unsent = self.unsent.front().zip(self.up.as_ref());
        let up = unsent.map(|((_, _, payload), bucket)| bucket.ready_at(payload.bytes().len()));
        let unrequested = self.unrequested.front().zip(self.down.as_ref());
        let down =
            unrequested.map(|((_, one), bucket)| bucket.ready_at((self.bytes_of)(one.segment)));
        up.into_iter().chain(down).chain(self.inner.deadline()).min()
    }

    fn held_back(&self) -> HeldBack {
        HeldBack { requests: !self.unrequested.is_empty(), segments: !self.unsent.is_empty() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;
    use std::num::NonZeroU64;
    use std::time::Duration;

    use crossbeam::sync::Parker;

    use super::*;
    use crate::store::Pool;
    use crate::transport::local::{self, LocalTransport};

    /// Twice what a bucket of `RATE` holds, so that each segment needs a full one.
    const SEGMENT: usize = 1000;

    /// Bytes a second: a segment takes 100 ms.
    const RATE: u64 = 10_000;

    const SEGMENT_TIME: Duration = Duration::from_millis(100);

    const LIMITED: NodeId = NodeId(0);

    const OTHER: NodeId = NodeId(1);

    fn both(rate: u64) -> RateLimits {
        RateLimits { up: NonZeroU64::new(rate), down: NonZeroU64::new(rate) }
    }

    fn ends() -> (LocalTransport, LocalTransport) {
        let wakers = [(); 2].map(|()| Parker::new().unparker().clone());
        let mut ends = local::connect(wakers.into());
        let other = ends.pop().expect("there are two");
        (ends.pop().expect("there are two"), other)
    }

    fn requested(segment: u32) -> RequestedSegment {
        RequestedSegment { request: segment, ..SegmentId(segment).into() }
    }

    fn request(segments: impl IntoIterator<Item = u32>) -> Message {
        Message::Request { segments: segments.into_iter().map(requested).collect() }
    }

    fn polled(end: &mut impl Transport) -> PolledEvents {
        let mut events = PolledEvents::default();
        end.poll(&mut events).expect("it is connected");
        events
    }

    fn messages(end: &mut impl Transport) -> Vec<Message> {
        polled(end).messages.into_iter().map(|(_, message)| *message).collect()
    }

    #[test]
    fn segments_leave_in_order_and_as_slowly_as_the_limit_says() {
        let time = Cell::new(Timestamp::default());
        let (end, mut other) = ends();
        let mut limited = RateLimited::new(end, both(RATE), || time.get(), |_| SEGMENT);
        let pool = Pool::new(8, SEGMENT).expect("a little memory");
        for segment in 0..4 {
            other.expect(LIMITED, SegmentId(segment), pool.take().expect("8")).expect("local");
            let payload = pool.take().expect("8").fill(SEGMENT).seal_unchecked();
            limited.serve(OTHER, requested(segment), payload).expect("local");
        }
        for segment in 0..4 {
            let arrived = polled(&mut other).completions;
            assert!(
                matches!(arrived[..], [Completion::Arrived { segment: SegmentId(came), .. }] if came == segment),
                "{arrived:?} in place of {segment} at {:?}",
                time.get()
            );
            assert_eq!(limited.is_flushed(), segment == 3);
            let held = HeldBack { requests: false, segments: segment < 3 };
            assert_eq!(limited.held_back(), held);
            let due = (segment < 3).then(|| time.get() + SEGMENT_TIME);
            assert_eq!(limited.deadline(), due);
            let Some(due) = due else { break };
            time.set(due - Duration::from_nanos(1));
            assert_eq!(polled(&mut limited).completions.len(), 1, "the last one was taken");
            assert!(polled(&mut other).is_empty(), "too early");
            time.set(due);
            polled(&mut limited);
        }
    }

    #[test]
    fn requests_wait_and_those_that_are_taken_back_are_never_made() {
        let time = Cell::new(Timestamp::default());
        let (end, mut other) = ends();
        let mut limited = RateLimited::new(end, both(RATE), || time.get(), |_| SEGMENT);
        let pool = Pool::new(8, SEGMENT).expect("a little memory");
        for segment in 0..5 {
            limited.expect(OTHER, SegmentId(segment), pool.take().expect("8")).expect("local");
        }
        limited.send(OTHER, &request(0..5)).expect("local");
        limited.send(OTHER, &Message::Stop).expect("local");
        assert_eq!(messages(&mut other), [request([0]), Message::Stop], "no other message waits");
        assert_eq!(limited.held_back(), HeldBack { requests: true, segments: false });
        let withdraw = Message::Withdraw { segment: SegmentId(1), request: 1 };
        limited.send(OTHER, &withdraw).expect("local");
        limited.forget(OTHER, SegmentId(2)).expect("local");
        time.set(limited.deadline().expect("some wait"));
        assert_eq!(time.get(), Timestamp::default() + SEGMENT_TIME);
        polled(&mut limited);
        assert_eq!(messages(&mut other), [withdraw, request([3])]);
        // The holder declines: its segment costs nothing.
        limited.forget(OTHER, SegmentId(3)).expect("local");
        polled(&mut limited);
        assert_eq!(messages(&mut other), [request([4])]);
        assert_eq!((limited.deadline(), limited.is_flushed()), (None, true));
    }

    #[test]
    fn what_a_neighbour_waits_for_no_more_is_requested_all_the_same() {
        let time = Cell::new(Timestamp::default());
        let (end, mut other) = ends();
        let mut limited = RateLimited::new(end, both(RATE), || time.get(), |_| SEGMENT);
        let one = |segment: u32| {
            let segments = std::iter::once(SegmentId(segment).into()).collect();
            Message::Request { segments }
        };
        limited.send(OTHER, &one(0)).expect("local");
        limited.send(OTHER, &one(1)).expect("local");
        let withdraw = Message::Withdraw { segment: SegmentId(1), request: UNNUMBERED };
        limited.send(OTHER, &withdraw).expect("local");
        assert_eq!(messages(&mut other), [one(0), withdraw]);
        time.set(limited.deadline().expect("one waits"));
        polled(&mut limited);
        // Its slot waits for the segment, which would never come.
        assert_eq!(messages(&mut other), [one(1)]);
    }

    #[test]
    fn a_segment_that_came_is_paid_for() {
        let time = Cell::new(Timestamp::default());
        let (end, mut other) = ends();
        let mut limited = RateLimited::new(end, both(RATE), || time.get(), |_| SEGMENT);
        let pool = Pool::new(8, SEGMENT).expect("a little memory");
        limited.expect(OTHER, SegmentId(0), pool.take().expect("8")).expect("local");
        limited.send(OTHER, &request(0..2)).expect("local");
        assert_eq!(messages(&mut other), [request([0])]);
        let payload = pool.take().expect("8").fill(SEGMENT).seal_unchecked();
        other.serve(LIMITED, requested(0), payload).expect("local");
        assert_eq!(polled(&mut limited).completions.len(), 1);
        limited.forget(OTHER, SegmentId(0)).expect("local");
        polled(&mut limited);
        assert!(messages(&mut other).is_empty(), "nothing was given back");
    }

    #[test]
    fn a_segment_that_comes_compressed_costs_what_came() {
        let time = Cell::new(Timestamp::default());
        let (end, mut other) = ends();
        let mut limited = RateLimited::new(end, both(RATE), || time.get(), |_| SEGMENT);
        let pool = Pool::new(8, SEGMENT).expect("a little memory");
        limited.expect(OTHER, SegmentId(0), pool.take().expect("8")).expect("local");
        limited.send(OTHER, &request(0..2)).expect("local");
        assert_eq!(messages(&mut other), [request([0])]);
        let payload = pool.take().expect("8").fill(SEGMENT / 4).seal_unchecked();
        other.serve(LIMITED, requested(0), payload).expect("local");
        polled(&mut limited);
        time.set(limited.deadline().expect("one waits"));
        assert_eq!(time.get(), Timestamp::default() + SEGMENT_TIME / 4);
    }

    #[test]
    fn a_rate_that_is_not_reached_changes_nothing() {
        for limits in [RateLimits::default(), both(1 << 40)] {
            let (end, mut other) = ends();
            let mut limited = RateLimited::new(end, limits, Timestamp::default, |_| SEGMENT);
            let all = request(0..16);
            limited.send(OTHER, &all).expect("local");
            assert_eq!(messages(&mut other), [all], "one message, as it was");
            assert_eq!((limited.deadline(), limited.is_flushed()), (None, true));
        }
    }
}
