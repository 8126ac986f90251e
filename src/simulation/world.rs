//! The world: pops events in order, feeds them to nodes, and performs what the nodes put out.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::checker::Checker;
use super::fingerprint::fold;
use super::links::{LinkTable, Transfer};
use super::nodes::{SimulatedNode, relay_limits, segments, swarm_limits};
use super::queue::{Queue, SimulatedEvent};
use super::run::Run;
use super::shared_links::{Packet, PacketCargo, SharedLinks};
use super::world_config::{LATE, WorldConfig, stand_in};
use crate::config::MESSAGE_BYTES_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::relay::RelayAlgorithm;
use crate::protocol::{
    CheckResult, Input, Message, MessageIndex, Outbox, Output, Peer, codec, registration::Listing,
};
use crate::time::Timestamp;
use crate::verify::Digest;

// Virtual time after which a run is taken for endless.
const ENDLESS: Duration = Duration::from_secs(3600);

/// A simulated run in progress.
#[derive(Debug)]
pub struct World {
    pub(super) scenario: WorldConfig,
    pub(super) now: Timestamp,
    pub(super) queue: Queue,
    pub(super) links: LinkTable,
    /// None where a link carries one segment after the other.
    pub(super) shared_links: Option<SharedLinks>,
    pub(super) nodes: Vec<SimulatedNode>,
    outbox: Outbox,
    pub(super) checker: Checker,
    pub(super) rng: Xoshiro256PlusPlus,
    contents: Vec<BTreeMap<SegmentId, Digest>>,
    /// By rank: when the node's next wake event comes.
    armed: Vec<Option<Timestamp>>,
    /// By rank: whether the node has left or vanished.
    pub(super) gone: Vec<bool>,
    /// A buffer for one encoded message, where bytes are counted.
    encoded: Box<[u8]>,
    /// By rank: when its source can be read again.
    disk_free: Vec<Timestamp>,
    /// When the tracker has handled all that was sent to it so far.
    pub(super) tracker_free: Timestamp,
    /// For each message in flight to rank 0: whether rank 0 is idle when it comes.
    pub(super) tracker_is_idle: VecDeque<bool>,
    /// When the last message between two nodes arrives; kept if delays vary.
    ordered: BTreeMap<(NodeId, NodeId), Timestamp>,
    pub(super) run: Run,
}

impl World {
    /// Sets a swarm up at time 0.
    pub fn new(scenario: WorldConfig) -> Self {
        let nodes = SimulatedNode::swarm(&scenario);
        let limits = swarm_limits(&scenario);
        Self::of(scenario, nodes, limits)
    }

    /// Sets a broadcast without a swarm up at time 0: peers have what their registrations say, and all get
    /// everything. A lost message or segment is never repeated there, so the faults of `scenario` must lose
    /// none; and where there is a plan, no node.
    pub fn broadcast(scenario: WorldConfig, algorithm: RelayAlgorithm) -> Self {
        let nodes = SimulatedNode::broadcast(&scenario, algorithm);
        let limits = relay_limits(&scenario, algorithm);
        Self::of(scenario, nodes, limits)
    }

    fn of(scenario: WorldConfig, nodes: Vec<SimulatedNode>, limits: (usize, usize)) -> Self {
        let count = nodes.len();
        Self {
            now: Timestamp::default(),
            queue: Queue::default(),
            links: LinkTable::new(count, &scenario),
            shared_links: SharedLinks::new(count, &scenario),
            nodes,
            outbox: Outbox::default(),
            checker: Checker::new(count, limits, &scenario.config),
            // Another stream than the tracker's, which starts from the same seed: the constant only has to
            // differ from 0.
            rng: Xoshiro256PlusPlus::seed_from_u64(scenario.seed ^ 0x5e_ed0f_c4a2_ce00),
            contents: vec![BTreeMap::new(); count],
            armed: vec![None; count],
            gone: vec![false; count],
            encoded: vec![0; MESSAGE_BYTES_MAX].into(),
            disk_free: vec![Timestamp::default(); count],
            tracker_free: Timestamp::default(),
            tracker_is_idle: VecDeque::new(),
            ordered: BTreeMap::new(),
            run: Run { served: vec![0; count], ..Run::default() },
            scenario,
        }
    }

    /// Runs to the end.
    ///
    /// # Panics
    ///
    /// When an invariant does not hold, and when the run does not end.
    pub fn run(self) -> Run {
        self.run_within(ENDLESS, u64::MAX).expect("the run ends, and the tracker with it")
    }

    /// Runs to the end; none where that takes more virtual time or more events.
    ///
    /// # Panics
    ///
    /// When an invariant does not hold.
    pub fn run_within(mut self, time: Duration, events: u64) -> Option<Run> {
        for rank in 0..self.nodes.len() {
            let node = node_at(rank);
            self.queue.push(self.now, SimulatedEvent::Input { to: node, input: Input::Start });
        }
        for (node, at) in self.scenario.faults.broken.clone() {
            let input = Input::Broken { problem: "no space left".into() };
            self.queue.push(at, SimulatedEvent::Input { to: node, input });
        }
        for (node, at, slots) in self.scenario.rooms.clone() {
            let input = Input::Room { slots };
            self.queue.push(at, SimulatedEvent::Input { to: node, input });
        }
        for (node, at) in self.scenario.faults.vanish.clone() {
            self.queue.push(at, SimulatedEvent::Vanish { node });
        }
        while let Some((at, event)) = self.queue.pop() {
            if at.since(Timestamp::default()) >= time || self.run.events >= events {
                break;
            }
            self.now = at;
            match self.awake_at(&event) {
                Some(later) => self.queue.push(later, event),
                None => self.process(event),
            }
        }
        // What is left once the tracker has gone are deadlines that nobody waits for.
        self.gone[0].then(|| self.finish())
    }

    /// When the nodes of an event go on, if one of them is stopped now. MPI moves bytes only while
    /// both processes run, so that a segment lands when both do.
    fn awake_at(&self, event: &SimulatedEvent) -> Option<Timestamp> {
        if self.scenario.faults.pause.is_empty() {
            return None;
        }
        let nodes = match *event {
            SimulatedEvent::Input { to, .. } | SimulatedEvent::Message { to, .. } => [to, to],
            SimulatedEvent::Wake { node } | SimulatedEvent::UplinkFree { node } => [node, node],
            SimulatedEvent::Crossing(Transfer { from, to, .. }) => [from, to],
            SimulatedEvent::Packet(Packet { from, to, .. }) => [from, to],
            SimulatedEvent::Vanish { .. } => return None,
        };
        let pauses = self.scenario.faults.pause.iter();
        let ends = pauses.filter(|(node, begin, length)| {
            nodes.contains(node) && *begin <= self.now && self.now < *begin + *length
        });
        ends.map(|(_, begin, length)| *begin + *length).max()
    }

    fn process(&mut self, event: SimulatedEvent) {
        self.run.events += 1;
        match event {
            SimulatedEvent::Input { to, input } => self.input(to, input),
            SimulatedEvent::Message { from, to, others, message } => {
                self.load(from, &others, &message);
                self.input(to, Input::Message { from, message: &message });
                self.run.events += others.len() as u64;
                for &to in &others {
                    self.input(to, Input::Message { from, message: &message });
                }
            }
            SimulatedEvent::Wake { node } => {
                // Otherwise a wake event that was pushed later came earlier and took its place. If both
                // went on, each would arm the node anew, for ever.
                let is_armed = self.armed[node.index()].take_if(|at| *at <= self.now).is_some();
                if !is_armed {
                    return;
                }
                let due = self.deadline(node).is_some_and(|deadline| deadline <= self.now);
                if due {
                    self.input(node, Input::Deadline);
                } else {
                    self.arm(node);
                }
            }
            SimulatedEvent::UplinkFree { node } => {
                if let Some(transfer) = self.links.next(self.now, node) {
                    self.transfer(transfer);
                }
            }
            SimulatedEvent::Crossing(transfer) if transfer.has_landed() => self.land(transfer),
            SimulatedEvent::Crossing(transfer) => self.cross(transfer),
            SimulatedEvent::Packet(packet) => self.pass_on(packet),
            SimulatedEvent::Vanish { node } => self.vanish(node),
        }
    }

    pub(super) fn input(&mut self, to: NodeId, input: Input<'_>) {
        if self.gone[to.index()] {
            return;
        }
        fold(&mut self.run.fingerprint, self.now, to, &input);
        self.note(to, &input);
        let mut outbox = std::mem::take(&mut self.outbox);
        let node = self.nodes[to.index()].node_mut();
        let was_idle = to == NodeId::TRACKER
            && matches!(input, Input::Message { .. })
            && self.tracker_is_idle.pop_front() == Some(true);
        if was_idle {
            node.handle(self.now, Input::Idle, &mut outbox).expect("it is no message");
        }
        let handled = node.handle(self.now, input, &mut outbox);
        assert_eq!(handled, Ok(()), "{to} was sent what can't be");
        while let Some(output) = outbox.take() {
            self.perform(to, output, &mut outbox);
        }
        self.outbox = outbox;
        self.arm(to);
    }

    /// Tells the checker of an event before the node hears of it.
    fn note(&mut self, node: NodeId, input: &Input<'_>) {
        if let Input::Room { slots } = input {
            self.checker.room(node, *slots);
        } else if let Input::Read { segment, result } = input {
            self.checker.has_read(node, *segment, result.is_ok());
            if let (Ok(digest), true) = (result, self.scenario.keep_contents) {
                self.contents[node.index()].insert(*segment, *digest);
            }
        }
    }

    /// Enters what a node owns into the checker, now that its segments have numbers.
    fn reserve(&mut self, node: NodeId) {
        for segment in self.nodes[node.index()].owned() {
            self.checker.verified(node, segment);
        }
        for (segment, digest) in self.nodes[node.index()].held() {
            self.checker.verified(node, segment);
            self.contents[node.index()].insert(segment, digest);
        }
        let short = self.scenario.faults.short.contains(&node);
        let problem = short.then(|| "there is no memory".into());
        let input = Input::Reserved { problem };
        self.push_after(self.scenario.reserve_time, SimulatedEvent::Input { to: node, input });
    }

    fn perform(&mut self, node: NodeId, output: Output, outbox: &mut Outbox) {
        match output {
            Output::Send { to, message } => self.post(node, to, message, outbox),
            Output::Reserve => self.reserve(node),
            Output::Expect { from, segment } => {
                let missing = self.nodes[node.index()].peer().map_or(0, Peer::missing);
                self.checker.expect(node, from, segment, missing);
            }
            Output::Serve { to, requested } => self.serve(node, to, requested.segment),
            Output::Forget { from, segment } => {
                self.checker.settled(node, from, segment);
            }
            Output::Check { from, segment, digest } => {
                let is_valid = self.checker.content(node, from, segment) == Some(digest);
                let verdict = if is_valid { CheckResult::Valid } else { CheckResult::Corrupt };
                self.run.corrupt += u64::from(!is_valid);
                let input = Input::Checked { from, segment, verdict };
                self.push_after(
                    self.scenario.check_time,
                    SimulatedEvent::Input { to: node, input },
                );
                self.checked(node, from, segment, verdict);
            }
            Output::Read { segment } => self.read(node, segment),
            Output::Publish { file } => {
                let input = Input::Published { file, problem: None };
                self.push_after(Duration::ZERO, SimulatedEvent::Input { to: node, input });
            }
            Output::Finish => self.gone[node.index()] = true,
        }
    }

    fn read(&mut self, node: NodeId, segment: SegmentId) {
        self.checker.read(node, segment);
        let position = self.nodes[node.index()].late_position(segment);
        let unreadable = self.scenario.faults.unreadable.contains(&(node, position));
        let result = if unreadable {
            Err(format!("segment {position} of the source: input/output error").into())
        } else {
            Ok(stand_in(LATE, position))
        };
        // A disk reads one segment after the other.
        let read_time = self.scenario.read_times.get(node.index()).copied().unwrap_or_default();
        let free = &mut self.disk_free[node.index()];
        *free = (*free).max(self.now) + read_time;
        let input = Input::Read { segment, result };
        self.queue.push(*free, SimulatedEvent::Input { to: node, input });
    }

    fn checked(&mut self, node: NodeId, from: NodeId, segment: SegmentId, verdict: CheckResult) {
        let content = self.checker.settled(node, from, segment);
        let content = content.expect("a check was begun on a segment that had arrived");
        if verdict == CheckResult::Valid && !self.checker.has(node, segment) {
            self.checker.verified(node, segment);
            if self.scenario.keep_contents {
                self.contents[node.index()].insert(segment, content);
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &Rc<Message>) {
        let faults = &self.scenario.faults;
        if faults.loss > 0.0 && self.rng.random_bool(faults.loss) {
            return;
        }
        if self.shared_links.is_some() {
            self.enter(from, to, PacketCargo::Message(Rc::clone(message)));
            return;
        }
        let mut at = self.now + self.scenario.latency;
        if !faults.jitter.is_zero() {
            at = at + faults.jitter.mul_f64(self.rng.random());
            let last = self.ordered.entry((from, to)).or_default();
            *last = at.max(*last);
            at = *last;
        }
        self.deliver(at, (from, to), Rc::clone(message));
    }

    /// Sends a message to all its receivers, of which `first` was taken out of the outbox.
    fn post(&mut self, from: NodeId, first: NodeId, index: MessageIndex, outbox: &mut Outbox) {
        let others: Box<[NodeId]> = outbox.take_receivers(index).collect();
        let message = outbox.read(index);
        if *message == Message::Open {
            for (node, after) in std::mem::take(&mut self.scenario.faults.vanish_once_open) {
                self.push_after(after, SimulatedEvent::Vanish { node });
            }
        }
        let receivers = || std::iter::once(first).chain(others.iter().copied());
        if self.scenario.weighs_messages {
            let encoded = codec::encode(message, &mut self.encoded);
            let bytes = encoded.expect("messages have a bound").len();
            self.run.message_bytes += (bytes * (1 + others.len())) as u64;
        }
        if let &Message::Withdraw { segment, .. } = message {
            receivers().for_each(|to| self.checker.withdraw(from, to, segment));
        }
        let is_of_tracker = |to: NodeId| from == NodeId::TRACKER || to == NodeId::TRACKER;
        let of_tracker = receivers().filter(|&to| is_of_tracker(to)).count();
        self.run.tracker_messages += of_tracker as u64;
        let message = Rc::new(message.clone());
        if of_tracker == 0 && !others.is_empty() && self.keeps_messages_together() {
            let at = self.now + self.scenario.latency;
            self.queue.push(at, SimulatedEvent::Message { from, to: first, others, message });
        } else {
            receivers().for_each(|to| self.send(from, to, &message));
        }
    }

    // The memory of a node is in no cache of the processor, and each of its tables is found by way of another. Read
    // for one node after the other, but before any of them handles the message, these loads overlap.
    /// Loads what nodes are about to read and change.
    fn load(&self, from: NodeId, to: &[NodeId], message: &Message) {
        let &Message::Coming { segment } = message else { return };
        for to in to {
            if let SimulatedNode::Relay(relay) = &self.nodes[to.index()] {
                std::hint::black_box(relay.shares(from, segment));
            }
        }
    }

    /// Whether a message comes to all its receivers, and at the same moment.
    fn keeps_messages_together(&self) -> bool {
        let faults = &self.scenario.faults;
        let is_exact = faults.loss == 0.0 && faults.jitter.is_zero() && faults.pause.is_empty();
        is_exact && self.shared_links.is_none()
    }

    fn serve(&mut self, from: NodeId, to: NodeId, segment: SegmentId) {
        self.checker.serve(self.now, from, to, segment);
        self.run.served[from.index()] += 1;
        let faults = &self.scenario.faults;
        if faults.unservable > 0.0 && self.rng.random_bool(faults.unservable) {
            self.checker.left(from, (to, segment), false);
            self.push_after(
                Duration::ZERO,
                SimulatedEvent::Input { to: from, input: Input::Unservable { to, segment } },
            );
        } else if faults.drop > 0.0 && self.rng.random_bool(faults.drop) {
            self.checker.left(from, (to, segment), false);
            self.push_after(
                Duration::ZERO,
                SimulatedEvent::Input { to: from, input: Input::Sent { to, segment } },
            );
        } else if self.shared_links.is_some() {
            self.send_fragments(from, to, segment);
        } else if let Some(transfer) = self.links.send(self.now, from, to, segment) {
            self.transfer(transfer);
        }
    }

    fn vanish(&mut self, node: NodeId) {
        self.gone[node.index()] = true;
        self.checker.vanish(node);
        if !self.scenario.faults.told {
            return;
        }
        for rank in 0..self.nodes.len() {
            let to = node_at(rank);
            self.push_after(
                10 * self.scenario.latency,
                SimulatedEvent::Input { to, input: Input::Lost { node } },
            );
        }
    }

    fn push_after(&mut self, delay: Duration, event: SimulatedEvent) {
        self.queue.push(self.now + delay, event);
    }

    fn deadline(&self, node: NodeId) -> Option<Timestamp> {
        if self.gone[node.index()] {
            return None;
        }
        self.nodes[node.index()].node().deadline()
    }

    fn arm(&mut self, node: NodeId) {
        let Some(deadline) = self.deadline(node) else { return };
        let armed = &mut self.armed[node.index()];
        if armed.is_none_or(|armed| deadline < armed) {
            *armed = Some(deadline);
            self.queue.push(deadline.max(self.now), SimulatedEvent::Wake { node });
        }
    }

    fn finish(mut self) -> Run {
        self.checker.end(&self.gone);
        self.run.outcome = self.nodes[0].outcome();
        self.run.grants_max = self.nodes[0].grants_max();
        self.run.reads = self.checker.reads();
        self.run.held_counts = self.checker.held_counts();
        self.run.crossed = self.links.crossed();
        let last = self.run.outcome.finished.iter().flatten().max();
        if let (Some(opened), Some(last)) = (self.run.outcome.opened, last) {
            self.run.makespan = last.since(opened);
        }
        for peer in self.nodes.iter().filter_map(SimulatedNode::peer) {
            self.run.declined += peer.failures().declined;
            self.run.lapsed += peer.failures().lapsed;
            self.run.orphaned += usize::from(peer.is_orphaned());
        }
        if self.scenario.keep_contents {
            self.run.held = self.nodes.iter().map(SimulatedNode::owned).collect();
            let ranks = self.nodes.iter().zip(&self.contents);
            self.run.contents = ranks
                .map(|(node, had)| {
                    let wanted = node.peer().map_or(&[][..], Peer::wanted);
                    wanted.iter().map(|listing| content_of(listing.as_ref(), had)).collect()
                })
                .collect();
        }
        self.run
    }
}

fn content_of(listing: Option<&Listing>, had: &BTreeMap<SegmentId, Digest>) -> Option<Vec<Digest>> {
    segments(listing?).map(|segment| had.get(&segment).copied()).collect()
}

pub(super) fn node_at(rank: usize) -> NodeId {
    NodeId(u32::try_from(rank).expect("ranks are numbered in 32 bits"))
}
