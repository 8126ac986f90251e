//! The tracker, as a peer's download thread talks to it.

use super::endpoint::{Endpoint, Length, Tag};
use super::messages::{PeerMessage, TrackerMessage, decode, encode};
use crate::manifest::NodeId;
use crate::transport::TransportError;

#[derive(Debug)]
pub(super) struct TrackerClient<'a, L>(pub(super) &'a L);

impl<L: Endpoint> TrackerClient<'_, L> {
    pub(super) fn send(&self, message: &PeerMessage) -> Result<(), TransportError> {
        self.0.send(NodeId::TRACKER, Tag::ToTracker, &encode(message))
    }

    pub(super) fn receive(&self) -> Result<TrackerMessage, TransportError> {
        let bytes = self.0.receive_from(NodeId::TRACKER, Tag::FromTracker, Length::Any)?;
        decode(NodeId::TRACKER, &bytes)
    }
}
