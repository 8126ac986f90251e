//! The fingerprint of a run: equal if two runs are the same, event for event.

use crate::manifest::NodeId;
use crate::protocol::{Input, Message};
use crate::time::Timestamp;

/// Folds an event into a fingerprint.
pub(super) fn fold(fingerprint: &mut u64, now: Timestamp, to: NodeId, input: &Input<'_>) {
    let (kind, detail) = match input {
        Input::Start => (1, 0),
        Input::Deadline => (2, 0),
        Input::Message { from, message } => {
            let detail = if let Message::Request { segments } = message {
                segments.iter().fold(0_u64, |sum, requested| {
                    sum.wrapping_mul(31).wrapping_add(u64::from(requested.segment.0) + 1)
                })
            } else if let Message::Handout(handout) = message {
                handout.entries.len() as u64
            } else {
                0
            };
            (3, u64::from(from.0) << 32 | detail)
        }
        Input::Arrived { segment, .. } => (4, u64::from(segment.0)),
        Input::Sent { segment, .. } => (5, u64::from(segment.0)),
        Input::Checked { segment, .. } => (6, u64::from(segment.0)),
        Input::Published { file, .. } => (7, u64::from(file.0)),
        Input::Idle => (10, 0),
        Input::Lost { node } => (8, u64::from(node.0)),
        Input::Reserved { problem } => (9, u64::from(problem.is_some())),
        Input::Read { segment, result } => {
            (11, u64::from(segment.0) << 1 | u64::from(result.is_err()))
        }
        Input::Room { slots } => (12, *slots as u64),
        Input::Broken { .. } => (13, 0),
        Input::Unservable { segment, .. } => (14, u64::from(segment.0)),
    };
    for word in [now.0, u64::from(to.0), kind, detail] {
        // FNV-1a (Fowler, Noll, Vo), eight bytes at a time: a hash of the standard library may
        // change between versions, and a fingerprint may not.
        *fingerprint = (*fingerprint ^ word).wrapping_mul(0x0100_0000_01b3);
    }
}
