//! A peer's upload thread: sends what others ask for, one segment at a time, until it is stopped.

use super::endpoint::{Endpoint, Length, Tag};
use super::messages::misplaced;
use super::segment_table::{SegmentTable, StoredSegment};
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::RankMetrics;
use crate::store::Verified as _;
use crate::transport::TransportError;

// A request is a segment's number.
const NUMBER_BYTES: usize = size_of::<u32>();

// Blocks between requests, as the classic program does: one thread serves, one downloads.
/// Serves until a request comes that names no segment; returns what was sent.
pub(super) fn run(
    endpoint: &impl Endpoint,
    node: NodeId,
    segments: &SegmentTable,
) -> Result<RankMetrics, TransportError> {
    let mut metrics = RankMetrics::default();
    loop {
        let (from, request) = endpoint.receive(Tag::Request, Length::AtMost(NUMBER_BYTES))?;
        let Ok(number) = request.try_into() else {
            // The tracker ends the run, and this peer's own download thread if it fails.
            if from == NodeId::TRACKER || from == node {
                return Ok(metrics);
            }
            return Err(misplaced(from, &"a request for nothing"));
        };
        let id = SegmentId(u32::from_le_bytes(number));
        let Some(segment) = segments.segment(id) else {
            // An empty answer refuses: no payload is empty.
            endpoint.send(from, Tag::Segment, &[])?;
            continue;
        };
        let bytes = segment.bytes();
        endpoint.send(from, Tag::Segment, bytes)?;
        metrics.served_segments += 1;
        metrics.served_bytes += bytes.len() as u64;
        metrics.origin_bytes += match segment {
            StoredSegment::Own(_) => bytes.len() as u64,
            StoredSegment::Fetched(_) => 0,
        };
    }
}
