//! The tracker, as a peer's download thread talks to it.

use std::time::Duration;

use super::endpoint::{Endpoint, Tag};
use super::messages::{PeerMessage, TrackerMessage, decode, encode};
use crate::manifest::NodeId;
use crate::time::Timestamp;
use crate::transport::TransportError;

// How often a peer that waits says so within the silence that the tracker allows. With 8, a busy machine may
// delay several of them.
const SIGNS_OF_LIFE: u32 = 8;

// How much longer than the tracker a peer is silent with: whoever is lost, the tracker finds out first and
// names it, and not those that wait for it in turn.
const PEERS_WAIT: u32 = 2;

/// How long one wait lasts before a node says that it lives, or counts who has not.
pub(super) fn tick(silence: Duration) -> Duration {
    silence / SIGNS_OF_LIFE
}

#[derive(Debug)]
pub(super) struct TrackerClient<'a, L> {
    endpoint: &'a L,
    silence: Duration,
    said: Timestamp,
}

impl<'a, L: Endpoint> TrackerClient<'a, L> {
    pub(super) fn new(endpoint: &'a L, silence: Duration) -> Self {
        Self { endpoint, silence, said: Timestamp::default() }
    }

    pub(super) fn send(&self, message: &PeerMessage) -> Result<(), TransportError> {
        self.endpoint.send(NodeId::TRACKER, Tag::ToTracker, &encode(message))
    }

    /// Waits for the tracker to say more than that it is there.
    pub(super) fn receive(&self) -> Result<TrackerMessage, TransportError> {
        let (from, limit) = (NodeId::TRACKER, self.silence * PEERS_WAIT);
        loop {
            let message = decode(from, &self.wait(from, Tag::FromTracker, limit)?)?;
            if !matches!(message, TrackerMessage::Alive) {
                return Ok(message);
            }
        }
    }

    /// Waits for a holder to answer.
    // Those that the holder serves first may each take as long as the tracker lets them be silent. A holder
    // that is lost is named by the tracker long before.
    pub(super) fn receive_from(&self, holder: NodeId) -> Result<Vec<u8>, TransportError> {
        self.wait(holder, Tag::Segment, self.silence * self.endpoint.nodes())
    }

    /// Tells the tracker that this peer lives, if it is time.
    pub(super) fn keep_alive(&mut self, now: Timestamp) -> Result<(), TransportError> {
        if now.since(self.said) < self.tick() {
            return Ok(());
        }
        self.said = now;
        self.send(&PeerMessage::Alive { answer: false })
    }

    pub(super) fn tick(&self) -> Duration {
        tick(self.silence)
    }

    // The ticks are counted, and no clock is read: a process that was itself stopped has waited for one.
    fn wait(&self, from: NodeId, tag: Tag, limit: Duration) -> Result<Vec<u8>, TransportError> {
        let mut waited = Duration::ZERO;
        while waited < limit {
            if let Some((_, bytes)) = self.endpoint.receive(Some(from), tag, self.tick())? {
                return Ok(bytes);
            }
            waited += self.tick();
            self.send(&PeerMessage::Alive { answer: from == NodeId::TRACKER })?;
        }
        Err(TransportError::Silent(from))
    }
}
