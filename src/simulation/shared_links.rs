//! Links that segments share: each goes in fragments, as over MPI between hosts.
//!
//! A host has one link; each direction of it is a first-in, first-out queue. A fragment goes on while it comes
//! (cut-through), and its receiver confirms it. A holder has a few fragments of each segment under way (a sliding
//! window), so that a receiver to which several holders send slows all of them down. Messages and confirmations
//! take no time of a link, but wait behind the fragments that came before them.

use std::rc::Rc;
use std::time::Duration;

use super::world_config::{Fragments, WorldConfig};
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::Message;
use crate::time::Timestamp;

/// What goes over links.
#[derive(Debug)]
pub(super) enum PacketCargo {
    Message(Rc<Message>),
    Fragment(SegmentId),
    /// A fragment of the segment has come to the sender of this.
    Confirmation(SegmentId),
}

/// Something on its way from host to host.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) cargo: PacketCargo,
    /// Whether it has crossed all links.
    pub(super) has_landed: bool,
}

/// A segment that is being sent.
#[derive(Debug)]
struct FragmentedUpload {
    from: NodeId,
    to: NodeId,
    segment: SegmentId,
    unsent: u32,
    /// Fragments that were sent and have not come.
    moving: u32,
    /// Those that were sent and are not confirmed.
    unconfirmed: u32,
}

/// The links of all hosts.
#[derive(Debug)]
pub(super) struct SharedLinks {
    fragments: Fragments,
    latency: Duration,
    /// By host: how long its link takes for a fragment.
    fragment_times: Vec<Duration>,
    /// By host: when its link has carried all that has come to it, up and down.
    free: Vec<[Timestamp; 2]>,
    /// In the order in which they began.
    uploads: Vec<FragmentedUpload>,
}

/// What a fragment or its confirmation has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FragmentOutcome {
    /// Others are to come.
    Partial,
    /// It was the last.
    Whole,
}

impl SharedLinks {
    pub(super) fn new(nodes: usize, scenario: &WorldConfig) -> Option<Self> {
        let fragments = scenario.fragments?;
        let time = |rank: usize| {
            let rate = scenario.rates.get(rank).copied().unwrap_or(1.0);
            scenario.segment_time.div_f64(rate) / fragments.of_segment
        };
        Some(Self {
            fragments,
            latency: scenario.latency,
            fragment_times: (0..nodes).map(time).collect(),
            free: vec![[Timestamp::default(); 2]; nodes],
            uploads: Vec::new(),
        })
    }

    /// A packet comes to the uplink of its host. Returns when that begins to send it.
    pub(super) fn enter(&mut self, now: Timestamp, packet: &Packet) -> Timestamp {
        let host = host_of(packet.from);
        if host == host_of(packet.to) {
            return now;
        }
        let time = self.time(host, packet);
        let free = &mut self.free[host][0];
        let begin = now.max(*free);
        *free = begin + time;
        begin
    }

    /// The uplink begins to send a packet. Returns when it has landed.
    pub(super) fn cross(&mut self, now: Timestamp, packet: &mut Packet) -> Timestamp {
        packet.has_landed = true;
        let [from, to] = [packet.from, packet.to].map(host_of);
        if from == to {
            return now + self.latency;
        }
        let (left, time) = (now + self.time(from, packet), self.time(to, packet));
        let free = &mut self.free[to][1];
        *free = now.max(*free) + time;
        left.max(*free) + self.latency
    }

    /// Begins to send a segment.
    pub(super) fn begin(&mut self, from: NodeId, to: NodeId, segment: SegmentId) -> Vec<Packet> {
        let unsent = self.fragments.of_segment;
        let upload = FragmentedUpload { from, to, segment, unsent, moving: 0, unconfirmed: 0 };
        self.uploads.push(upload);
        self.go_on(from)
    }

    /// A fragment has landed.
    pub(super) fn land(&mut self, packet: &Packet, segment: SegmentId) -> FragmentOutcome {
        let place = self.find(packet.from, packet.to, segment);
        let upload = &mut self.uploads[place];
        upload.moving -= 1;
        let is_whole = upload.moving == 0 && upload.unsent == 0;
        if is_whole { FragmentOutcome::Whole } else { FragmentOutcome::Partial }
    }

    /// A holder hears that a fragment has landed. Returns what it sends next.
    pub(super) fn confirm(
        &mut self,
        packet: &Packet,
        segment: SegmentId,
    ) -> (FragmentOutcome, Vec<Packet>) {
        let place = self.find(packet.to, packet.from, segment);
        let upload = &mut self.uploads[place];
        upload.unconfirmed -= 1;
        let is_whole = upload.unconfirmed == 0 && upload.unsent == 0;
        if is_whole {
            self.uploads.remove(place);
        }
        let outcome = if is_whole { FragmentOutcome::Whole } else { FragmentOutcome::Partial };
        (outcome, self.go_on(packet.to))
    }

    /// What a holder may send now.
    fn go_on(&mut self, from: NodeId) -> Vec<Packet> {
        let under_way = self.fragments.under_way;
        let mut packets = Vec::new();
        for upload in self.uploads.iter_mut().filter(|upload| upload.from == from) {
            while upload.unsent > 0 && upload.unconfirmed < under_way {
                upload.unsent -= 1;
                upload.moving += 1;
                upload.unconfirmed += 1;
                let cargo = PacketCargo::Fragment(upload.segment);
                packets.push(Packet { from, to: upload.to, cargo, has_landed: false });
            }
        }
        packets
    }

    fn find(&self, from: NodeId, to: NodeId, segment: SegmentId) -> usize {
        let is_it = |one: &FragmentedUpload| (one.from, one.to, one.segment) == (from, to, segment);
        self.uploads.iter().position(is_it).expect("a fragment belongs to a segment that is sent")
    }

    fn time(&self, host: usize, packet: &Packet) -> Duration {
        match packet.cargo {
            PacketCargo::Fragment(_) => self.fragment_times[host],
            PacketCargo::Message(_) | PacketCargo::Confirmation(_) => Duration::ZERO,
        }
    }
}

/// The host of a node: the tracker is on that of the first peer, as where `mpirun` starts two ranks there.
fn host_of(node: NodeId) -> usize {
    node.index().max(1)
}
