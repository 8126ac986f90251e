//! The network model: every node has an uplink and a downlink of its own rate. The switches between
//! them buffer without a bound. With racks, what goes from one rack to another also crosses the uplink
//! of the one and the downlink of the other; otherwise the switches have no rate limit.
//!
//! All links are FIFO servers, one segment at a time. That is simpler than fair sharing, where
//! concurrent transfers split a link, and it finishes the same bytes in the same time. A segment goes on to
//! the next link as soon as a link begins to send it (cut-through). A transfer ends when the receiver
//! has all of it, but the uplink is free as soon as the last byte has left.

use std::collections::VecDeque;
use std::time::Duration;

use super::world_config::{Racks, WorldConfig};
use crate::manifest::{NodeId, SegmentId};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
struct SimulatedLink {
    segment_time: Duration,
    sending: bool,
    queue: VecDeque<(NodeId, SegmentId)>,
    downlink_free: Timestamp,
}

/// The links between racks.
#[derive(Debug)]
struct RackLinks {
    racks: Racks,
    segment_time: Duration,
    /// By rack: when its uplink and its downlink have sent all that has come to them.
    free: Vec<[Timestamp; 2]>,
    /// How many segments went from one rack to another.
    crossed: u64,
}

#[derive(Debug)]
pub(super) struct LinkTable {
    links: Vec<SimulatedLink>,
    latency: Duration,
    racks: Option<RackLinks>,
}

/// The links that a segment crosses after the uplink of its sender, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    RackUplink,
    RackDownlink,
    Downlink,
    Landed,
}

/// A segment in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) segment: SegmentId,
    pub(super) is_corrupt: bool,
    /// What it comes to next.
    leg: Leg,
    /// When the last byte has left all links that it has crossed.
    through: Timestamp,
}

impl Transfer {
    pub(super) fn has_landed(&self) -> bool {
        self.leg == Leg::Landed
    }

    /// When the sender's uplink can send the next segment, for one that has just begun.
    pub(super) fn uplink_free(&self) -> Timestamp {
        self.through
    }
}

impl LinkTable {
    pub(super) fn new(nodes: usize, scenario: &WorldConfig) -> Self {
        let WorldConfig { segment_time, latency, .. } = *scenario;
        let link = |rank: usize| SimulatedLink {
            segment_time: segment_time.div_f64(scenario.rates.get(rank).copied().unwrap_or(1.0)),
            sending: false,
            queue: VecDeque::new(),
            downlink_free: Timestamp::default(),
        };
        let racks = scenario.racks.map(|racks| RackLinks {
            segment_time: segment_time.mul_f64(racks.segment_times()),
            free: vec![[Timestamp::default(); 2]; nodes.div_ceil(racks.hosts as usize)],
            racks,
            crossed: 0,
        });
        Self { links: (0..nodes).map(link).collect(), latency, racks }
    }

    /// Queues a segment. Returns its transfer if the uplink was free and it starts at once.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        from: NodeId,
        to: NodeId,
        segment: SegmentId,
    ) -> Option<Transfer> {
        let link = &mut self.links[from.index()];
        link.queue.push_back((to, segment));
        if link.sending { None } else { self.next(now, from) }
    }

    /// The uplink of a node is free. Starts the next queued segment.
    pub(super) fn next(&mut self, now: Timestamp, from: NodeId) -> Option<Transfer> {
        let link = &mut self.links[from.index()];
        let next = link.queue.pop_front();
        link.sending = next.is_some();
        let (to, segment) = next?;
        let through = now + link.segment_time;
        let leaves = |links: &RackLinks| links.racks.of(from) != links.racks.of(to);
        let leg = match self.racks.as_mut().filter(|links| leaves(links)) {
            Some(links) => {
                links.crossed += 1;
                Leg::RackUplink
            }
            None => Leg::Downlink,
        };
        Some(Transfer { from, to, segment, is_corrupt: false, leg, through })
    }

    /// Moves a segment on over the links that begin to send it now. Returns when it comes to the next link,
    /// or has landed.
    pub(super) fn cross(&mut self, now: Timestamp, transfer: &mut Transfer) -> Timestamp {
        loop {
            let (free, segment_time, next) = match (transfer.leg, &mut self.racks) {
                (Leg::RackUplink, Some(links)) => {
                    let rack = links.racks.of(transfer.from);
                    (&mut links.free[rack][0], links.segment_time, Leg::RackDownlink)
                }
                (Leg::RackDownlink, Some(links)) => {
                    let rack = links.racks.of(transfer.to);
                    (&mut links.free[rack][1], links.segment_time, Leg::Downlink)
                }
                _ => {
                    let receiver = &mut self.links[transfer.to.index()];
                    (&mut receiver.downlink_free, receiver.segment_time, Leg::Landed)
                }
            };
            let begin = now.max(*free);
            *free = begin + segment_time;
            transfer.leg = next;
            transfer.through = transfer.through.max(*free);
            if next == Leg::Landed {
                return transfer.through + self.latency;
            }
            if begin > now {
                return begin;
            }
        }
    }

    /// How many segments went from one rack to another.
    pub(super) fn crossed(&self) -> u64 {
        self.racks.as_ref().map_or(0, |links| links.crossed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lands all segments that are sent at time 0, and says when each does, in segment times.
    fn landings(scenario: &WorldConfig, sends: &[(u32, u32)]) -> Vec<f64> {
        let mut links = LinkTable::new(9, scenario);
        let mut under_way: Vec<(Timestamp, usize, Transfer)> = Vec::new();
        for (place, &(from, to)) in sends.iter().enumerate() {
            let transfer = links
                .send(Timestamp(0), NodeId(from), NodeId(to), SegmentId(0))
                .expect("it is free");
            under_way.push((Timestamp(0), place, transfer));
        }
        let mut landed = vec![0.0; sends.len()];
        while let Some(&(at, place, mut transfer)) =
            under_way.iter().min_by_key(|&&(at, place, _)| (at, place))
        {
            under_way.retain(|one| one.1 != place);
            if transfer.has_landed() {
                let segment_time = scenario.segment_time.as_secs_f64();
                landed[place] = at.since(Timestamp(0)).as_secs_f64() / segment_time;
            } else {
                let next = links.cross(at, &mut transfer);
                under_way.push((next, place, transfer));
            }
        }
        landed
    }

    #[test]
    fn what_leaves_a_rack_waits_for_its_uplink() {
        let mut scenario = WorldConfig::broadcast(7, 1, 0);
        scenario.latency = Duration::ZERO;
        // Two racks of four hosts; a link between them carries half of a host's rate.
        scenario.racks = Some(Racks { hosts: 4, oversubscription: 8.0 });
        let sends = [(1, 5), (2, 6), (3, 4), (7, 8), (5, 1)];
        // The second waits for the first; both directions and both racks are on their own.
        assert_eq!(landings(&scenario, &sends), [2.0, 4.0, 1.0, 1.0, 2.0]);
        scenario.racks = None;
        assert_eq!(landings(&scenario, &sends), [1.0; 5]);
    }

    #[test]
    fn who_waits_for_another_rack_still_takes_from_its_own() {
        let mut scenario = WorldConfig::broadcast(7, 1, 0);
        scenario.latency = Duration::ZERO;
        scenario.racks = Some(Racks { hosts: 4, oversubscription: 12.0 });
        // Host 6 has its second segment from rack 0 after 6, and the one from its own rack after 1.
        let sends = [(1, 5), (2, 6), (7, 6)];
        assert_eq!(landings(&scenario, &sends), [3.0, 6.0, 1.0]);
    }
}
