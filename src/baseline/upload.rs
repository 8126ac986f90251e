//! A peer's upload thread: sends what others ask for, one segment at a time, until it is stopped.

use std::time::Duration;

use super::endpoint::{Endpoint, Tag};
use super::segment_table::{SegmentTable, StoredSegment};
use crate::manifest::{NodeId, SegmentId};
use crate::metrics::RankMetrics;
use crate::protocol::Violation;
use crate::protocol::violation::Bounds;
use crate::store::Verified as _;
use crate::transport::TransportError;

// How long one call waits for a request. Any value does: the download thread, all of whose waits are
// limited, ends this one.
const WAIT: Duration = Duration::from_secs(1);

/// Serves until a request comes that names no segment; returns what was sent.
pub(super) fn run(
    endpoint: &impl Endpoint,
    node: NodeId,
    segments: &SegmentTable,
    bounds: Bounds,
) -> Result<RankMetrics, TransportError> {
    let mut metrics = RankMetrics::default();
    loop {
        let Some((from, request)) = endpoint.receive(None, Tag::Request, WAIT)? else { continue };
        // This peer's own download thread has ended.
        if request.is_empty() && from == node {
            return Ok(metrics);
        }
        let bytes = request.len();
        let number = request.try_into().map_err(|_| Violation::Request { bytes }.from(from))?;
        let id = SegmentId(u32::from_le_bytes(number));
        let known = bounds.segment(id).and_then(|()| bounds.holder(from));
        known.map_err(|violation| violation.from(from))?;
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
