//! A transport that also records what goes through it, for a trace. A run without one uses its transport
//! itself (the decorator pattern), so that it pays nothing.

use rustc_hash::FxHashMap;

use crate::config::PACKED_SLOT_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::trace::{SpanKind, TraceRecorder, TraceThread, Tracer};
use crate::protocol::{Message, RequestedSegment};
use crate::store::{SealedSegment, VacantSlot};
use crate::time::Timestamp;
use crate::transport::{Completion, HeldBack, PolledEvents, Transport, TransportError};

/// Segments that are requested, or that are being sent, at most.
// A bound, no tuning: a peer has at most `WINDOW_MAX` segments in flight, each at most twice, and sends fewer.
const UNDER_WAY_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct TracedTransport<'a, T> {
    inner: &'a mut T,
    trace: TraceRecorder,
    /// When the first ask that has no handout yet was sent.
    asked: Option<Timestamp>,
    requested: UnderWay,
    serving: UnderWay,
    served_short: Vec<ServedShort>,
}

/// Segments with the node at the other end: since when, and their bytes where they are known.
#[derive(Debug, Default)]
struct UnderWay(FxHashMap<(NodeId, SegmentId), (Timestamp, usize)>);

impl UnderWay {
    /// Returns how many had to make room.
    fn begin(&mut self, node: NodeId, segment: SegmentId, since: Timestamp, bytes: usize) -> usize {
        let mut left_out = 0;
        if self.0.len() >= UNDER_WAY_MAX {
            // They never ended: nothing that moves is so old.
            left_out = self.0.len();
            self.0.clear();
        }
        self.0.insert((node, segment), (since, bytes));
        left_out
    }

    fn end(&mut self, node: NodeId, segment: SegmentId) -> Option<(Timestamp, usize)> {
        self.0.remove(&(node, segment))
    }
}

/// Short segments that were served to one node since the last poll. They are one span: they share a message where
/// the transport packs them, and a span for each would cost as much as the copy of its bytes.
#[derive(Debug)]
struct ServedShort {
    to: NodeId,
    since: Timestamp,
    first: SegmentId,
    bytes: usize,
}

impl<'a, T: Transport> TracedTransport<'a, T> {
    pub(super) fn new(inner: &'a mut T, tracer: &Tracer) -> Self {
        let trace = tracer.recorder(TraceThread::Communicating);
        let (requested, serving) = (UnderWay::default(), UnderWay::default());
        Self { inner, trace, asked: None, requested, serving, served_short: Vec::new() }
    }

    fn note_served(&mut self, to: NodeId, segment: SegmentId, bytes: usize) {
        if bytes > PACKED_SLOT_MAX {
            let left_out = self.serving.begin(to, segment, self.trace.now(), bytes);
            self.trace.drop_some(left_out);
        } else if let Some(served) = self.served_short.iter_mut().find(|one| one.to == to) {
            served.bytes += bytes;
        } else {
            let since = self.trace.now();
            self.served_short.push(ServedShort { to, since, first: segment, bytes });
        }
    }

    fn note_sent_short(&mut self) {
        if self.served_short.is_empty() {
            return;
        }
        let now = self.trace.now();
        for ServedShort { to, since, first, bytes } in self.served_short.drain(..) {
            self.trace.keep(SpanKind::Sent, (since, now), Some(to.0), (first.0, bytes));
        }
    }

    fn note_message(&mut self, now: Timestamp, from: NodeId, message: &Message) {
        if let Message::Handout(_) = message
            && let Some(asked) = self.asked.take()
        {
            self.trace.keep(SpanKind::Asked, (asked, now), Some(from.0), (0, 0));
        }
        if let Message::Decline { segment, .. }
        | Message::Unservable { segment, .. }
        | Message::Withdrawn { segment, .. } = *message
        {
            self.requested.end(from, segment);
        }
    }

    fn note_completion(&mut self, now: Timestamp, completion: &Completion) {
        let (kind, node, segment, ended) = match completion {
            Completion::Arrived { from, segment, slot } => {
                let since = self.requested.end(*from, *segment);
                let ended = since.map(|(since, _)| (since, slot.bytes().len()));
                (SpanKind::Received, *from, *segment, ended)
            }
            Completion::Sent { to, segment } => {
                (SpanKind::Sent, *to, *segment, self.serving.end(*to, *segment))
            }
            Completion::Forgotten { .. } => return,
        };
        if let Some((since, bytes)) = ended {
            self.trace.keep(kind, (since, now), Some(node.0), (segment.0, bytes));
        }
    }
}

impl<T: Transport> Transport for TracedTransport<'_, T> {
    fn send(&mut self, to: NodeId, message: &Message) -> Result<(), TransportError> {
        if let Message::Ask(_) = message {
            self.asked = self.asked.or_else(|| Some(self.trace.now()));
        }
        if let Message::Request { segments } = message {
            let now = self.trace.now();
            for requested in segments {
                let left_out = self.requested.begin(to, requested.segment, now, 0);
                self.trace.drop_some(left_out);
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
        self.requested.end(from, segment);
        self.inner.forget(from, segment)
    }

    fn serve(
        &mut self,
        to: NodeId,
        requested: RequestedSegment,
        payload: SealedSegment,
    ) -> Result<(), TransportError> {
        self.note_served(to, requested.segment, payload.bytes().len());
        self.inner.serve(to, requested, payload)
    }

    fn flush(&mut self) -> Result<(), TransportError> {
        self.inner.flush()
    }

    fn poll(&mut self, events: &mut PolledEvents) -> Result<(), TransportError> {
        self.inner.poll(events)?;
        self.note_sent_short();
        if events.is_empty() {
            return Ok(());
        }
        let now = self.trace.now();
        for (from, message) in &events.messages {
            self.note_message(now, *from, message);
        }
        for completion in &events.completions {
            self.note_completion(now, completion);
        }
        Ok(())
    }

    fn is_flushed(&self) -> bool {
        self.inner.is_flushed()
    }

    fn wakes(&self) -> bool {
        self.inner.wakes()
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.inner.deadline()
    }

    fn held_back(&self) -> HeldBack {
        self.inner.held_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_has_a_bound_and_what_never_ended_makes_room() {
        let mut all = UnderWay::default();
        let begin = |all: &mut UnderWay, number: u32| {
            all.begin(NodeId(1), SegmentId(number), Timestamp(number.into()), 7)
        };
        let most = u32::try_from(UNDER_WAY_MAX).expect("a few");
        assert!((0..most).all(|number| begin(&mut all, number) == 0));
        assert_eq!(all.end(NodeId(2), SegmentId(1)), None);
        assert_eq!(all.end(NodeId(1), SegmentId(1)), Some((Timestamp(1), 7)));
        assert_eq!(begin(&mut all, 1), 0);
        assert_eq!(begin(&mut all, most), UNDER_WAY_MAX);
        assert_eq!(all.end(NodeId(1), SegmentId(5)), None);
        assert_eq!(all.end(NodeId(1), SegmentId(most)), Some((Timestamp(most.into()), 7)));
    }
}
