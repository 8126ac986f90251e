//! What crosses the links of a world, and what happens when it has landed.

use std::rc::Rc;

use rand::RngExt as _;

use super::links::Transfer;
use super::queue::SimulatedEvent;
use super::shared_links::{FragmentOutcome, Packet, PacketCargo};
use super::world::World;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::{Input, Message};
use crate::time::Timestamp;
use crate::verify::Digest;

impl World {
    /// A message comes to a node, which handles it when it has handled all before.
    pub(super) fn deliver(
        &mut self,
        mut at: Timestamp,
        (from, to): (NodeId, NodeId),
        message: Rc<Message>,
    ) {
        if to == NodeId::TRACKER {
            let tracker_time = self.scenario.tracker_time;
            self.tracker_is_idle.push_back(at > self.tracker_free);
            at = at.max(self.tracker_free) + tracker_time;
            self.tracker_free = at;
            self.run.tracker_busy += tracker_time;
        }
        let others = Box::default();
        self.queue.push(at, SimulatedEvent::Message { from, to, others, message });
    }

    pub(super) fn transfer(&mut self, mut transfer: Transfer) {
        let node = transfer.from;
        self.queue.push(transfer.uplink_free(), SimulatedEvent::UplinkFree { node });
        transfer.is_corrupt = self.is_corrupted_by(node);
        self.cross(transfer);
    }

    fn is_corrupted_by(&mut self, holder: NodeId) -> bool {
        let faults = &self.scenario.faults;
        faults.corrupt_holders.contains(&holder)
            || (faults.corrupt > 0.0 && self.rng.random_bool(faults.corrupt))
    }

    pub(super) fn cross(&mut self, mut transfer: Transfer) {
        let at = self.links.cross(self.now, &mut transfer);
        self.queue.push(at, SimulatedEvent::Crossing(transfer));
    }

    pub(super) fn land(&mut self, transfer: Transfer) {
        let Transfer { from, to, segment, is_corrupt, .. } = transfer;
        let landed = !self.gone[from.index()];
        self.leave(from, to, segment);
        if landed {
            self.arrive(from, to, segment, is_corrupt);
        }
    }

    /// A holder has sent a segment.
    fn leave(&mut self, from: NodeId, to: NodeId, segment: SegmentId) {
        let landed = !self.gone[from.index()];
        self.checker.left(from, (to, segment), landed);
        self.input(from, Input::Sent { to, segment });
    }

    /// A segment has come to its receiver.
    fn arrive(&mut self, from: NodeId, to: NodeId, segment: SegmentId, is_corrupt: bool) {
        if !self.gone[to.index()] {
            let mut content = self.registered(from, segment);
            content.0[31] ^= u8::from(is_corrupt);
            self.checker.arrive(to, from, segment, content);
            self.input(to, Input::Arrived { from, segment });
        }
    }

    /// The content of a segment at a holder: what its owner registered.
    fn registered(&self, holder: NodeId, segment: SegmentId) -> Digest {
        assert!(self.checker.has(holder, segment), "{holder} has no {segment:?}");
        let known = [NodeId::TRACKER, holder].map(|node| self.nodes[node.index()].digest(segment));
        known.into_iter().flatten().next().expect("a served segment has been registered")
    }

    /// A holder begins to send a segment.
    pub(super) fn send_fragments(&mut self, from: NodeId, to: NodeId, segment: SegmentId) {
        let Some(links) = &mut self.shared_links else { return };
        for packet in links.begin(from, to, segment) {
            self.queue_up(packet);
        }
    }

    /// Sends something to another node.
    pub(super) fn enter(&mut self, from: NodeId, to: NodeId, cargo: PacketCargo) {
        self.queue_up(Packet { from, to, cargo, has_landed: false });
    }

    /// A packet comes to the link of its receiver, or has landed.
    pub(super) fn pass_on(&mut self, mut packet: Packet) {
        let Some(links) = &mut self.shared_links else { return };
        if !packet.has_landed {
            let at = links.cross(self.now, &mut packet);
            self.queue.push(at, SimulatedEvent::Packet(packet));
            return;
        }
        let (from, to) = (packet.from, packet.to);
        match packet.cargo {
            PacketCargo::Message(message) => self.deliver(self.now, (from, to), message),
            PacketCargo::Fragment(segment) => {
                let outcome = links.land(&packet, segment);
                self.enter(to, from, PacketCargo::Confirmation(segment));
                if outcome == FragmentOutcome::Whole && !self.gone[from.index()] {
                    let is_corrupt = self.is_corrupted_by(from);
                    self.arrive(from, to, segment, is_corrupt);
                }
            }
            PacketCargo::Confirmation(segment) => {
                let (outcome, next) = links.confirm(&packet, segment);
                for packet in next {
                    self.queue_up(packet);
                }
                if outcome == FragmentOutcome::Whole {
                    self.leave(to, from, segment);
                }
            }
        }
    }

    fn queue_up(&mut self, packet: Packet) {
        let Some(links) = &mut self.shared_links else { return };
        let at = links.enter(self.now, &packet);
        self.queue.push(at, SimulatedEvent::Packet(packet));
    }
}
