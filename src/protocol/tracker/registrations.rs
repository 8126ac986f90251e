//! The registrations of all peers while they come in, part by part.

use std::collections::BTreeSet;

use crate::manifest::NodeId;
use crate::protocol::registration::{Incoming, PartProgress};
use crate::protocol::roster::Roster;
use crate::protocol::{Message, Outbox, Part, Registration, Violation};
use crate::time::Timestamp;

use super::outcome::Outcome;

/// What peers have registered so far.
#[derive(Debug)]
pub(super) struct Registrations {
    /// By rank; rank 0 registers nothing.
    peers: Vec<IncomingRegistration>,
    /// Peers that left or were lost already.
    pub(super) departed: BTreeSet<NodeId>,
    /// When the tracker stops waiting for those that are missing.
    pub(super) deadline: Timestamp,
}

#[derive(Clone, Debug, Default)]
struct IncomingRegistration {
    incoming: Incoming,
    whole: bool,
}

impl Registrations {
    pub(super) fn new(nodes: u32, deadline: Timestamp) -> Self {
        Self {
            peers: vec![IncomingRegistration::default(); nodes as usize],
            departed: BTreeSet::new(),
            deadline,
        }
    }

    /// Takes in a part; returns whether all peers have registered.
    pub(super) fn accept(
        &mut self,
        from: NodeId,
        part: &Part,
        out: &mut Outbox,
    ) -> Result<bool, Violation> {
        let registration = &mut self.peers[from.index()];
        registration.whole |= registration.incoming.accept(part)? == PartProgress::Whole;
        // A part that came before is acknowledged again: the first answer may be lost.
        if part.index < registration.incoming.next() {
            out.send(from, Message::Registered { index: part.index });
        }
        Ok(self.missing().next().is_none())
    }

    /// Peers that have not registered.
    pub(super) fn missing(&self) -> impl Iterator<Item = NodeId> + '_ {
        let peers = (1..).map(NodeId).zip(&self.peers[1..]);
        peers.filter(|(_, registration)| !registration.whole).map(|(node, _)| node)
    }

    /// Numbers the files of all peers; where they can't be told apart or don't agree, the outcome
    /// says why.
    pub(super) fn roster(&self, outcome: &mut Outcome) -> Option<Roster> {
        let (mut registrations, mut refusals) = (Vec::new(), Vec::new());
        for (node, peer) in (1..).map(NodeId).zip(&self.peers[1..]) {
            let registration =
                peer.incoming.open().unwrap_or_else(|violation| Registration::Refused {
                    reason: format!("{node}: its registration has {violation}").into(),
                });
            if let Registration::Refused { reason } = &registration {
                refusals.push((node, reason.clone()));
            }
            registrations.push((node, registration));
        }
        outcome.take_refusals(&refusals);
        if !outcome.errors.is_empty() {
            return None;
        }
        let roster = Roster::new(&registrations);
        roster.map_err(|error| outcome.errors.push(error.to_string())).ok()
    }
}
