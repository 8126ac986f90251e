//! A tracker and its peers without bytes. What is said, computed and sent takes effect in an order that follows
//! from a seed: per link in its order, as over a network, and replies whenever they come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::seq::IteratorRandom as _;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::config::{Config, IndexKind};
use crate::manifest::{NodeId, SegmentId, SegmentSet};
use crate::protocol::tracker::dispatcher::Dispatcher;
use crate::protocol::tracker::peer_state::PeerStage;
use crate::protocol::tracker::{
    ServiceReply, ServiceRequest, ServiceScratch, TrackerPhase, requests_max,
};
use crate::protocol::{
    CheckResult, Input, LateEntry, Message, Node, Outbox, Output, OwnedEntry, Peer, Registration,
    RequestedSegment, Tracker,
};
use crate::time::Timestamp;
use crate::verify::Digest;

// Steps after which a run hangs: those here take some thousand.
const STEPS_MAX: usize = 1_000_000;

/// What travels between two nodes.
enum Carried {
    Message(Box<Message>),
    Segment(SegmentId),
}

struct ReorderedRun {
    rng: Xoshiro256PlusPlus,
    now: Timestamp,
    threads: usize,
    scratches: Vec<ServiceScratch>,
    tracker: Tracker,
    peers: Vec<Peer>,
    links: BTreeMap<(NodeId, NodeId), VecDeque<Carried>>,
    expected: BTreeSet<(NodeId, NodeId, SegmentId)>,
    requests: Vec<ServiceRequest>,
    replies: Vec<ServiceReply>,
    finished: BTreeSet<NodeId>,
    lost: Option<NodeId>,
    answered: usize,
    /// Segments that were read and never sent, now and at most.
    unsent: BTreeSet<SegmentId>,
    unsent_max: usize,
}

fn digest(segment: u32) -> Digest {
    Digest::of(&segment.to_be_bytes())
}

/// The first of `peers` owns a file that all others want.
fn one_owner(peers: u32, segments: u32) -> Vec<Registration> {
    let name: Box<str> = "file".into();
    let hashes = (0..segments).map(|position| format!("{position:08x}\n")).collect();
    let entry =
        OwnedEntry { name: name.clone(), hashes, digests: (0..segments).map(digest).collect() };
    let owner = Registration::Ready { owned: vec![entry], wanted: Vec::new() };
    let other = Registration::Ready { owned: Vec::new(), wanted: vec![name] };
    std::iter::once(owner).chain((1..peers).map(|_| other.clone())).collect()
}

/// All want a late file, which two of them can read.
fn two_sources(peers: u32, segments: u32) -> Vec<Registration> {
    let late = |rank| {
        let source = (rank < 2).then_some(segments);
        Registration::Late(LateEntry { name: "tree".into(), source, ..LateEntry::default() })
    };
    (0..peers).map(late).collect()
}

impl ReorderedRun {
    fn new(registrations: &[Registration], threads: usize, index: IndexKind, seed: u64) -> Self {
        let config = Config { index, ..Config::for_segments_of(1 << 16) };
        Self::of(registrations, config, threads, seed)
    }

    fn of(registrations: &[Registration], config: Config, threads: usize, seed: u64) -> Self {
        let nodes = u32::try_from(registrations.len()).expect("few peers") + 1;
        let peer =
            |(rank, registration)| Peer::new((NodeId(rank), nodes), registration, config.clone());
        let tracker = Tracker::new(nodes, config.clone(), seed).with_service_threads(threads);
        let mut world = Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: Timestamp(0),
            threads,
            scratches: (0..threads as u64).map(ServiceScratch::new).collect(),
            tracker,
            peers: (1..).zip(registrations).map(peer).collect(),
            links: BTreeMap::new(),
            expected: BTreeSet::new(),
            requests: Vec::new(),
            replies: Vec::new(),
            finished: BTreeSet::new(),
            lost: None,
            answered: 0,
            unsent: BTreeSet::new(),
            unsent_max: 0,
        };
        (0..nodes).for_each(|rank| world.handle(NodeId(rank), Input::Start));
        world
    }

    fn handle(&mut self, node: NodeId, input: Input<'_>) {
        let mut inputs = VecDeque::from([input]);
        let mut outbox = Outbox::default();
        while let Some(input) = inputs.pop_front() {
            let handled = match node.index().checked_sub(1) {
                None => self.tracker.handle(self.now, input, &mut outbox),
                Some(place) => self.peers[place].handle(self.now, input, &mut outbox),
            };
            handled.expect("all of these nodes say what can be");
            inputs.extend(self.perform(node, &mut outbox));
        }
        self.take_requests();
    }

    fn take_requests(&mut self) {
        self.requests.extend(self.tracker.take_requests());
        let under_way = self.requests.len() + self.replies.len();
        assert_eq!(under_way, self.tracker.requests_under_way());
        assert!(under_way <= requests_max(self.threads));
        let of_requests = self.requests.iter().map(|request| request.limits.peer);
        let served: BTreeSet<_> =
            of_requests.chain(self.replies.iter().map(|reply| reply.peer)).collect();
        assert_eq!(served.len(), under_way, "one a peer");
        assert!(served.iter().all(|&peer| self.tracker.is_served(peer)));
    }

    fn perform(&mut self, node: NodeId, outbox: &mut Outbox) -> Vec<Input<'static>> {
        let mut inputs = Vec::new();
        while let Some(output) = outbox.take() {
            match output {
                Output::Send { to, message } => {
                    let message = outbox.read(message).clone();
                    self.links
                        .entry((node, to))
                        .or_default()
                        .push_back(Carried::Message(message.into()));
                }
                Output::Serve { to, requested: RequestedSegment { segment, .. } } => {
                    self.unsent.remove(&segment);
                    self.links.entry((node, to)).or_default().push_back(Carried::Segment(segment));
                    inputs.push(Input::Sent { to, segment });
                }
                Output::Expect { from, segment } => {
                    self.expected.insert((node, from, segment));
                }
                Output::Forget { from, segment } => {
                    self.expected.remove(&(node, from, segment));
                }
                Output::Reserve => inputs.push(Input::Reserved { problem: None }),
                Output::Check { from, segment, .. } => {
                    inputs.push(Input::Checked { from, segment, verdict: CheckResult::Valid });
                }
                Output::Read { segment } => {
                    self.unsent.insert(segment);
                    self.unsent_max = self.unsent_max.max(self.unsent.len());
                    inputs.push(Input::Read { segment, result: Ok(digest(segment.0)) });
                }
                Output::Publish { file } => inputs.push(Input::Published { file, problem: None }),
                Output::Finish => {
                    self.finished.insert(node);
                }
            }
        }
        inputs
    }

    fn reply(&mut self, place: usize) {
        let mut outbox = Outbox::default();
        let reply = self.replies.swap_remove(place);
        self.answered += 1;
        self.tracker.handle_reply(self.now, reply, &mut outbox);
        let inputs = self.perform(NodeId::TRACKER, &mut outbox);
        assert_eq!(inputs, [], "a tracker only sends");
        self.take_requests();
    }

    /// One thing happens; false if nothing can, before a deadline.
    fn step(&mut self) -> bool {
        self.now = Timestamp(self.now.0 + 1000);
        let carrying = self.links.iter().filter(|((_, to), carried)| {
            !carried.is_empty() && !self.finished.contains(to) && self.lost != Some(*to)
        });
        // As the driver does: the next message of a peer waits for the reply to its last one.
        let ready = carrying
            .map(|(&link, _)| link)
            .filter(|&(from, to)| to != NodeId::TRACKER || !self.tracker.is_served(from));
        let link = ready.choose(&mut self.rng);
        let draw = self.rng.random_range(0..3);
        if !self.replies.is_empty() && (draw == 0 || link.is_none() && self.requests.is_empty()) {
            let place = self.rng.random_range(0..self.replies.len());
            self.reply(place);
        } else if !self.requests.is_empty() && (draw == 1 || link.is_none()) {
            let place = self.rng.random_range(0..self.requests.len());
            let request = self.requests.swap_remove(place);
            let thread = self.rng.random_range(0..self.threads);
            let service = self.tracker.service().expect("a peer has asked");
            self.replies.push(self.scratches[thread].answer(service, request));
        } else if let Some((from, to)) = link {
            let carried = self.links.get_mut(&(from, to)).and_then(VecDeque::pop_front);
            match carried.expect("the link carries something") {
                Carried::Message(message) => {
                    self.handle(to, Input::Message { from, message: &message })
                }
                Carried::Segment(segment) => {
                    if self.expected.remove(&(to, from, segment)) {
                        self.handle(to, Input::Arrived { from, segment });
                    }
                }
            }
        } else {
            return false;
        }
        true
    }

    fn run(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.finished.contains(&NodeId::TRACKER) {
                return;
            }
            if self.step() {
                continue;
            }
            // Nothing is on its way, and no thread computes.
            assert_eq!(self.tracker.requests_under_way(), 0);
            let nodes = (1..).map(NodeId).zip(self.peers.iter().map(|peer| peer.deadline()));
            let nodes = nodes.filter(|(node, _)| self.lost != Some(*node));
            let all = std::iter::once((NodeId::TRACKER, self.tracker.deadline())).chain(nodes);
            let next = all.filter(|(node, _)| !self.finished.contains(node));
            let (deadline, node) =
                next.filter_map(|(node, at)| Some((at?, node))).min().expect("somebody waits");
            self.now = self.now.max(deadline);
            self.handle(node, Input::Deadline);
        }
        panic!("the run hangs: {:?}", self.tracker.progress());
    }

    fn dispatcher(&self) -> &Dispatcher {
        let TrackerPhase::Running(swarm) = &self.tracker.phase else { panic!("all registered") };
        &swarm.dispatcher
    }

    /// Segments that a source has read ahead; 0 before the swarm is open.
    fn ahead(&self, source: NodeId) -> u32 {
        self.tracker.service().map_or(0, |service| service.swarm.counters().unseeded(source))
    }

    fn has_unread(&self) -> bool {
        self.dispatcher().reading.as_ref().is_some_and(|reading| reading.has_unread())
    }

    fn lose(&mut self, node: NodeId) {
        // As the driver does: what was computed before names it.
        while self.tracker.requests_under_way() > 0 {
            if let Some(request) = self.requests.pop() {
                let service = self.tracker.service().expect("a peer has asked");
                self.replies.push(self.scratches[0].answer(service, request));
            }
            self.reply(0);
        }
        self.lost = Some(node);
        self.links.retain(|&(from, _), _| from != node);
        self.handle(NodeId::TRACKER, Input::Lost { node });
    }
}

fn kinds() -> impl Iterator<Item = (usize, IndexKind)> {
    let all = [IndexKind::Mutex, IndexKind::DashMap, IndexKind::Atomic];
    all.into_iter().flat_map(|index| [1, 3].map(|threads| (threads, index)))
}

#[test]
fn replies_in_any_order_deliver_all_segments() {
    for seed in 0..4 {
        for (threads, index) in kinds() {
            for registrations in [one_owner(6, 80), two_sources(5, 80)] {
                let mut world = ReorderedRun::new(&registrations, threads, index, seed);
                world.run();
                let (outcome, progress) = (world.tracker.outcome(), world.tracker.progress());
                assert_eq!(outcome.errors, [""; 0], "seed {seed}, {threads} threads, {index}");
                assert_eq!(progress.segments_verified, progress.segments_wanted, "seed {seed}");
                assert!(world.answered > 20, "seed {seed}: {} answers", world.answered);
                // Nobody waited for a time-out.
                assert!(world.now < Timestamp(1_000_000_000), "seed {seed}: {:?}", world.now);
            }
        }
    }
}

#[test]
fn a_peer_that_is_lost_meanwhile_keeps_nobody_waiting() {
    for seed in 0..8 {
        for (threads, index) in kinds() {
            let mut world = ReorderedRun::new(&one_owner(6, 80), threads, index, seed);
            (0..400 + 40 * seed).for_each(|_| {
                world.step();
            });
            world.lose(NodeId(3));
            world.run();
            let outcome = world.tracker.outcome();
            assert_eq!(outcome.lost, [NodeId(3)], "seed {seed}, {threads} threads, {index}");
            let finished = outcome.finished.iter().flatten().count();
            assert!(finished >= 4, "seed {seed}: {:?}", outcome.finished);
        }
    }
}

#[test]
fn what_nobody_has_any_more_is_told_once_all_replies_are_in() {
    for seed in 0..8 {
        for (threads, index) in kinds() {
            let mut world = ReorderedRun::new(&one_owner(5, 80), threads, index, seed);
            (0..300).for_each(|_| {
                world.step();
            });
            world.lose(NodeId(1));
            world.run();
            let progress = world.tracker.progress();
            assert!(progress.segments_verified < progress.segments_wanted, "seed {seed}");
            assert_eq!(world.tracker.outcome().lost, [NodeId(1)], "seed {seed}");
        }
    }
}

#[test]
fn a_source_reads_no_further_ahead_than_it_may() {
    let ahead_of = |read_ahead| {
        let config = Config { read_ahead, window: 8, ..Config::for_segments_of(1 << 16) };
        let mut late = two_sources(4, 2000);
        let Registration::Late(second) = &mut late[1] else { panic!("all want the late file") };
        second.source = None;
        let mut world = ReorderedRun::of(&late, config, 1, 7);
        world.run();
        let progress = world.tracker.progress();
        assert_eq!(progress.segments_verified, progress.segments_wanted);
        world.unsent_max
    };
    // What three others were handed, and was not sent, may come to it.
    assert!(ahead_of(20) <= 20 + 3 * 8, "{}", ahead_of(20));
    assert!(ahead_of(2000) > 200, "{}", ahead_of(2000));
}

#[test]
fn what_only_peers_that_are_gone_wanted_does_not_count_as_read_ahead() {
    const SEGMENTS: u32 = 500;
    for is_lost in [true, false] {
        let config = Config { read_ahead: 2000, window: 8, ..Config::for_segments_of(1 << 16) };
        // Rank 1 reads and wants nothing, rank 2 wants the first segments, rank 3 all others.
        let late = |source, wants: std::ops::Range<u32>| {
            let mut unwanted = SegmentSet::all_of(SEGMENTS);
            wants.for_each(|position| unwanted.remove(SegmentId(position)));
            let name = "tree".into();
            Registration::Late(LateEntry { name, source, unwanted, ..LateEntry::default() })
        };
        let registrations = [late(Some(SEGMENTS), 0..0), late(None, 0..6), late(None, 6..SEGMENTS)];
        let mut world = ReorderedRun::of(&registrations, config, 1, 7);
        while world.ahead(NodeId(1)) < 40 {
            assert!(world.step(), "the source reads ahead");
        }
        assert!(world.has_unread());
        if is_lost {
            world.lose(NodeId(3));
        } else {
            let problem = "disk full".into();
            world.handle(NodeId(3), Input::Broken { problem });
            while world.dispatcher().stage(NodeId(3)) < PeerStage::Complete {
                assert!(world.step(), "it says so");
            }
        }
        // What rank 2 wants comes first, and is all that is left.
        assert!(world.ahead(NodeId(1)) <= 6, "{}", world.ahead(NodeId(1)));
        assert!(!world.has_unread());
        world.run();
        let outcome = world.tracker.outcome();
        assert!(outcome.finished[2].is_some(), "{outcome:?}");
    }
}
