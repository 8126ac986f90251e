//! What a peer sends to others: requests are admitted, wait or are declined.

use super::Peer;
use super::uploads::UploadDecision;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Message, Outbox, Output, RequestedSegment};
use crate::time::Timestamp;

impl Peer {
    // A peer serves in every phase in which it holds segments, also before it has heard `Open`.
    pub(super) fn handle_request(
        &mut self,
        now: Timestamp,
        from: NodeId,
        segments: &[RequestedSegment],
        out: &mut Outbox,
    ) {
        for &requested in segments {
            let RequestedSegment { segment, request, .. } = requested;
            // A tracker that is behind may name a holder too early or too late. Declining costs a message; the
            // requester asks its next holder.
            let holds = self.fetch.wants.holds(segment);
            match holds.then(|| self.uploads.admit(now, from, requested)) {
                Some(UploadDecision::Serve) => out.push(Output::Serve { to: from, requested }),
                Some(UploadDecision::Wait) => {}
                Some(UploadDecision::Busy) | None => {
                    out.send(from, Message::Decline { segment, request });
                }
            }
        }
    }

    pub(super) fn send_next(&mut self, now: Timestamp, out: &mut Outbox) {
        while let Some((to, requested)) = self.uploads.next(now) {
            out.push(Output::Serve { to, requested });
        }
    }

    pub(super) fn handle_unservable(
        &mut self,
        now: Timestamp,
        to: NodeId,
        segment: SegmentId,
        out: &mut Outbox,
    ) {
        if let Some(neighbourhood) = &mut self.neighbourhood {
            neighbourhood.choice.stop_serving(to, segment, out);
        } else if let Some(request) = self.uploads.abort(to, segment) {
            out.send(to, Message::Unservable { segment, request });
        }
        self.send_next(now, out);
    }
}
