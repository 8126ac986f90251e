//! The world: pops events in order, feeds them to nodes, and performs what the nodes put out.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::checker::Checker;
use super::fingerprint::fold;
use super::links::{LinkTable, Transfer};
use super::nodes::{SimulatedNode, segments};
use super::queue::{Queue, SimulatedEvent};
use super::world_config::{LATE, WorldConfig, stand_in};
use crate::config::MESSAGE_BYTES_MAX;
use crate::manifest::{NodeId, SegmentId};
use crate::protocol::relay::RelayAlgorithm;
use crate::protocol::{
    CheckResult, Input, Message, Outbox, Outcome, Output, Peer, codec, registration::Listing,
};
use crate::time::Timestamp;
use crate::verify::Digest;

// Virtual time after which a run is taken for endless.
const ENDLESS: Duration = Duration::from_secs(3600);

/// A simulated run in progress.
#[derive(Debug)]
pub struct World {
    scenario: WorldConfig,
    now: Timestamp,
    queue: Queue,
    links: LinkTable,
    nodes: Vec<SimulatedNode>,
    outbox: Outbox,
    checker: Checker,
    rng: Xoshiro256PlusPlus,
    /// Content of the segments that have arrived and are not checked: by receiver, segment, sender.
    unchecked: BTreeMap<(NodeId, SegmentId, NodeId), Digest>,
    contents: Vec<BTreeMap<SegmentId, Digest>>,
    /// By rank: when the node's next wake event comes.
    armed: Vec<Option<Timestamp>>,
    /// By rank: whether the node has left or vanished.
    gone: Vec<bool>,
    /// A buffer for one encoded message, where bytes are counted.
    encoded: Box<[u8]>,
    /// By rank: when its source can be read again.
    disk_free: Vec<Timestamp>,
    /// When the tracker has handled all that was sent to it so far.
    tracker_free: Timestamp,
    /// For each message in flight to rank 0: whether rank 0 is idle when it comes.
    tracker_is_idle: VecDeque<bool>,
    /// When the last message between two nodes arrives; kept if delays vary.
    ordered: BTreeMap<(NodeId, NodeId), Timestamp>,
    run: Run,
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names say what they hold")]
pub struct Run {
    /// The result as rank 0 knows it.
    pub outcome: Outcome,
    /// From the opening of the swarm until the last peer that finished had all it wants.
    pub makespan: Duration,
    pub served: Vec<u64>,
    pub corrupt: u64,
    /// Requests that a holder declined.
    pub declined: u64,
    /// Requests that were not answered in time.
    pub lapsed: u64,
    /// Segments that sources read.
    pub reads: u64,
    /// Peers that left because the tracker was gone.
    pub orphaned: usize,
    pub tracker_messages: u64,
    /// How long the tracker was busy, where its messages take time.
    pub tracker_busy: Duration,
    /// Bytes of all messages, where they are counted.
    pub message_bytes: u64,
    /// The most grants that were open at one moment.
    pub grants_max: usize,
    pub events: u64,
    /// A hash of all events: equal if two runs are the same, event for event.
    pub fingerprint: u64,
    /// By rank, by wanted file in the order of registration: the digests of its segments, where all
    /// arrived. Kept on request.
    pub contents: Vec<Vec<Option<Vec<Digest>>>>,
}

impl World {
    /// Sets a swarm up at time 0.
    pub fn new(scenario: WorldConfig) -> Self {
        let nodes = SimulatedNode::swarm(&scenario);
        let config = &scenario.config;
        // What goes to slow receivers has as much room again.
        let uploads_max = config.uploads * if config.paced { 2 } else { 1 };
        let limits = (config.flights_max(), uploads_max);
        Self::of(scenario, nodes, limits)
    }

    /// Sets a broadcast without a swarm up at time 0: rank 1 has what its registration says, and all
    /// others get it. A lost message or segment is never repeated there, so the faults of
    /// `scenario` must lose none.
    pub fn broadcast(scenario: WorldConfig, algorithm: RelayAlgorithm) -> Self {
        let nodes = SimulatedNode::broadcast(&scenario, algorithm);
        let limits = algorithm.limits(scenario.config.window);
        Self::of(scenario, nodes, limits)
    }

    fn of(scenario: WorldConfig, nodes: Vec<SimulatedNode>, limits: (usize, usize)) -> Self {
        let count = nodes.len();
        Self {
            now: Timestamp::default(),
            queue: Queue::default(),
            links: LinkTable::new(count, scenario.segment_time, &scenario.rates, scenario.latency),
            nodes,
            outbox: Outbox::default(),
            checker: Checker::new(count, limits, &scenario.config),
            // Another stream than the tracker's, which starts from the same seed: the constant only has to
            // differ from 0.
            rng: Xoshiro256PlusPlus::seed_from_u64(scenario.seed ^ 0x5e_ed0f_c4a2_ce00),
            unchecked: BTreeMap::new(),
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
        let nodes = match *event {
            SimulatedEvent::Input { to, .. } | SimulatedEvent::Message { to, .. } => [to, to],
            SimulatedEvent::Wake { node } | SimulatedEvent::UplinkFree { node } => [node, node],
            SimulatedEvent::Landed { from, to, .. } => [from, to],
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
            SimulatedEvent::Message { from, to, message } => {
                self.input(to, Input::Message { from, message: &message });
            }
            SimulatedEvent::Wake { node } => {
                self.armed[node.index()] = None;
                let due = self.deadline(node).is_some_and(|deadline| deadline <= self.now);
                if due {
                    self.input(node, Input::Deadline);
                } else {
                    self.arm(node);
                }
            }
            SimulatedEvent::UplinkFree { node } => {
                if let Some(transfer) = self.links.next(self.now, node) {
                    self.transfer(node, transfer);
                }
            }
            SimulatedEvent::Landed { from, to, segment, content } => {
                self.land(from, to, segment, content);
            }
            SimulatedEvent::Vanish { node } => self.vanish(node),
        }
    }

    fn input(&mut self, to: NodeId, input: Input<'_>) {
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
            self.perform(to, output, &outbox);
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

    fn perform(&mut self, node: NodeId, output: Output, outbox: &Outbox) {
        match output {
            Output::Send { to, message } => {
                let message = outbox.read(message);
                if let &Message::Withdraw { segment, .. } = message {
                    self.checker.withdraw(node, to, segment);
                }
                self.send(node, to, message);
            }
            Output::Reserve => self.reserve(node),
            Output::Expect { from, segment } => {
                let missing = self.nodes[node.index()].peer().map_or(0, Peer::missing);
                self.checker.expect(node, from, segment, missing);
            }
            Output::Serve { to, requested } => self.serve(node, to, requested.segment),
            Output::Forget { from, segment } => {
                self.checker.settled(node, from, segment);
                self.unchecked.remove(&(node, segment, from));
            }
            Output::Check { from, segment, digest } => {
                let content = self.unchecked[&(node, segment, from)];
                let is_valid = content == digest;
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
        let content = self.unchecked.remove(&(node, segment, from));
        self.checker.settled(node, from, segment);
        let content = content.expect("a check was begun on a segment that had arrived");
        if verdict == CheckResult::Valid && !self.checker.has(node, segment) {
            self.checker.verified(node, segment);
            if self.scenario.keep_contents {
                self.contents[node.index()].insert(segment, content);
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, message: &Message) {
        self.run.tracker_messages += u64::from(to.0 == 0 || from.0 == 0);
        if self.scenario.weighs_messages {
            let encoded = codec::encode(message, &mut self.encoded);
            let encoded = encoded.expect("messages have a bound");
            self.run.message_bytes += encoded.len() as u64;
        }
        let faults = &self.scenario.faults;
        if faults.loss > 0.0 && self.rng.random_bool(faults.loss) {
            return;
        }
        let mut at = self.now + self.scenario.latency;
        if !faults.jitter.is_zero() {
            at = at + faults.jitter.mul_f64(self.rng.random());
            let last = self.ordered.entry((from, to)).or_default();
            *last = at.max(*last);
            at = *last;
        }
        if to == NodeId::TRACKER {
            let tracker_time = self.scenario.tracker_time;
            self.tracker_is_idle.push_back(at > self.tracker_free);
            at = at.max(self.tracker_free) + tracker_time;
            self.tracker_free = at;
            self.run.tracker_busy += tracker_time;
        }
        self.queue.push(at, SimulatedEvent::Message { from, to, message: message.clone() });
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
        } else if let Some(transfer) = self.links.send(self.now, from, to, segment) {
            self.transfer(from, transfer);
        }
    }

    fn transfer(&mut self, from: NodeId, transfer: Transfer) {
        let Transfer { to, segment, uplink_free, landed } = transfer;
        self.queue.push(uplink_free, SimulatedEvent::UplinkFree { node: from });
        let faults = &self.scenario.faults;
        let wrong = faults.corrupt_holders.contains(&from)
            || (faults.corrupt > 0.0 && self.rng.random_bool(faults.corrupt));
        let mut content = self.registered(from, segment);
        if wrong {
            content.0[31] ^= 1;
        }
        self.queue.push(landed, SimulatedEvent::Landed { from, to, segment, content });
    }

    fn land(&mut self, from: NodeId, to: NodeId, segment: SegmentId, content: Digest) {
        let landed = !self.gone[from.index()];
        self.checker.left(from, (to, segment), landed);
        self.input(from, Input::Sent { to, segment });
        if landed && !self.gone[to.index()] {
            // Over MPI such a send matches nothing, and never ends.
            let is_expected = self.checker.expects(to, from, segment);
            assert!(is_expected, "{from} sent {segment:?} to {to}, which does not expect it");
            self.unchecked.insert((to, segment, from), content);
            self.input(to, Input::Arrived { from, segment });
        }
    }

    /// The content of a segment at a holder: what its owner registered.
    fn registered(&self, holder: NodeId, segment: SegmentId) -> Digest {
        assert!(self.checker.has(holder, segment), "{holder} has no {segment:?}");
        let known = [NodeId::TRACKER, holder].map(|node| self.nodes[node.index()].digest(segment));
        known.into_iter().flatten().next().expect("a served segment has been registered")
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
