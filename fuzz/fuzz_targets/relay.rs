//! Whatever a node of a broadcast without a tracker is sent, in whatever order, it neither panics nor has done what
//! can't be done. All messages go through the codec.
#![no_main]

mod common;

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use common::{Bytes, LENGTHS, part_of};
use libfuzzer_sys::fuzz_target;
use mpiswarm::config::MESSAGE_BYTES_MAX;
use mpiswarm::manifest::{NodeId, SegmentId, SegmentSet};
use mpiswarm::protocol::relay::{
    Moves, OWNER, Relay, RelayAlgorithm, RelayPatience, RelayPlace, Starter,
};
use mpiswarm::protocol::{
    CheckResult, Input, Lacking, Message, Node, Outbox, Output, RequestedSegment, SubtreeReport,
    SubtreeStage, SubtreeSummary, codec,
};
use mpiswarm::time::Timestamp;
use mpiswarm::verify::Digest;

/// Ranks: each peer is a neighbour of all others, and the report tree has two levels.
const NODES: u32 = 18;
const SEGMENTS: u32 = LENGTHS[0];
const WINDOW: usize = 4;

/// A node, and what its driver would keep.
struct Run {
    node: Box<dyn Node>,
    id: NodeId,
    expected_max: usize,
    out: Outbox,
    now: Timestamp,
    buffer: Vec<u8>,
    held: HashSet<SegmentId>,
    offered: Vec<(NodeId, SegmentId)>,
    expected: Vec<(NodeId, SegmentId)>,
    arrived: Vec<(NodeId, SegmentId)>,
    checking: Vec<(NodeId, SegmentId)>,
    serving: Vec<(NodeId, SegmentId)>,
    reserves: bool,
    is_reserved: bool,
    is_finished: bool,
}

impl Run {
    /// Returns whether the run goes on.
    fn feed(&mut self, input: Input<'_>) -> bool {
        if self.node.handle(self.now, input, &mut self.out).is_err() {
            return false;
        }
        while let Some(output) = self.out.take() {
            match output {
                Output::Send { to, message } => {
                    assert!(to.0 < NODES && to != self.id, "it sends to {to}");
                    let message = self.out.read(message);
                    codec::encode(message, &mut self.buffer).expect("messages have a bound");
                    if let &Message::Offer { segment } = message {
                        assert!(self.held.contains(&segment), "it offers what it has");
                        self.offered.push((to, segment));
                    }
                }
                Output::Reserve => {
                    assert!(!self.reserves && !self.is_reserved, "it reserves once");
                    self.reserves = true;
                }
                Output::Expect { from, segment } => {
                    assert!(self.is_reserved && segment.0 < SEGMENTS, "there is a slot for it");
                    assert!(!self.held.contains(&segment), "it lacks what it expects");
                    assert!(!self.expected.contains(&(from, segment)), "a slot has one owner");
                    self.expected.push((from, segment));
                    let under_way = self.expected.len() + self.arrived.len() + self.checking.len();
                    assert!(under_way <= self.expected_max, "{under_way} under way");
                }
                Output::Serve { to, requested: RequestedSegment { segment, posted, .. } } => {
                    assert!(self.held.contains(&segment), "it serves what it has");
                    assert!((15..=31).contains(&posted.fragment_log2), "it sends what can be cut");
                    self.serving.push((to, segment));
                }
                Output::Check { from, segment, .. } => {
                    let arrived = self.arrived.remove(0);
                    assert_eq!(arrived, (from, segment), "it checks in the order of arrival");
                    self.checking.push(arrived);
                }
                Output::Forget { from, segment } => {
                    let arrived = self.arrived.remove(0);
                    assert_eq!(arrived, (from, segment), "it forgets in the order of arrival");
                }
                Output::Finish => {
                    assert!(!self.is_finished, "it finishes once");
                    self.is_finished = true;
                }
                Output::Read { .. } | Output::Publish { .. } => panic!("a relay has no {output:?}"),
            }
        }
        !self.is_finished
    }

    fn hear(&mut self, from: NodeId, message: &Message) -> bool {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        // What does not fit is never sent.
        let Ok(encoded) = codec::encode(message, &mut buffer) else { return true };
        let decoded = codec::decode(encoded).expect("what was encoded decodes");
        assert_eq!(decoded, *message, "a message is read as it was written");
        self.feed(Input::Message { from, message: &decoded })
    }

    fn wait(&mut self, time: Duration) -> bool {
        self.now = self.now + time;
        if self.node.deadline().is_none_or(|deadline| deadline > self.now) {
            return true;
        }
        // What one call settles may make another wait due: whom a node waits for follows from how far it is.
        for _ in 0..3 {
            if !self.feed(Input::Deadline) {
                return false;
            }
            if self.node.deadline().is_none_or(|deadline| deadline > self.now) {
                return true;
            }
        }
        panic!("a deadline that was handled is due again and again");
    }

    fn arrive(&mut self, byte: u8) -> bool {
        let Some(transfer) = take(&mut self.expected, byte) else { return true };
        self.arrived.push(transfer);
        let (from, segment) = transfer;
        self.feed(Input::Arrived { from, segment })
    }

    fn check(&mut self, byte: u8) -> bool {
        let Some((from, segment)) = take(&mut self.checking, byte) else { return true };
        let is_valid = byte < 250;
        let verdict = if is_valid { CheckResult::Valid } else { CheckResult::Corrupt };
        if is_valid {
            self.held.insert(segment);
        }
        self.feed(Input::Checked { from, segment, verdict })
    }

    fn answer(&mut self, byte: u8) -> bool {
        let Some((from, segment)) = take(&mut self.offered, byte >> 2) else { return true };
        let message = match byte & 3 {
            0 => Message::Refuse { segment, is_full: true },
            1 => Message::Refuse { segment, is_full: false },
            _ => Message::Request { segments: std::iter::once(segment.into()).collect() },
        };
        self.hear(from, &message)
    }
}

fn take<T>(list: &mut Vec<T>, byte: u8) -> Option<T> {
    (!list.is_empty()).then(|| list.swap_remove(usize::from(byte) % list.len()))
}

fn patience() -> RelayPatience {
    let [initial, least, registration, silence] = [300, 100, 3000, 1000].map(Duration::from_millis);
    RelayPatience { initial, least, registration, silence }
}

/// A node of each kind.
fn start(mode: u8) -> Run {
    let id = NodeId([1, 1, 2, 17][usize::from(mode >> 2 & 3)]);
    let rack_hosts = NonZeroU32::new(4).filter(|_| mode & 0x10 != 0);
    let algorithm = match mode & 3 {
        0 | 1 => RelayAlgorithm::Neighbours { seed: 1, rack_hosts },
        _ if mode & 0x10 != 0 => RelayAlgorithm::Circulant,
        _ => RelayAlgorithm::Chain { window: WINDOW },
    };
    let digests: Arc<[Digest]> = (0..SEGMENTS).map(|_| Digest([7; 32])).collect();
    let place = RelayPlace { node: id, nodes: NODES, patience: algorithm.patience(patience()) };
    let moves = Moves::of(algorithm, (id, NODES), SEGMENTS, patience());
    let mut owned = SegmentSet::none_of(SEGMENTS);
    let (node, id): (Box<dyn Node>, NodeId) = match mode & 3 {
        0 | 1 => {
            let some = (0..SEGMENTS).filter(|segment| mode & 1 == 1 && segment % 3 == 0);
            some.for_each(|segment| drop(owned.insert(SegmentId(segment))));
            (Box::new(Relay::with_digests(place, moves, digests, &owned)), id)
        }
        2 => {
            let digests = (id.0 == 1).then(|| digests.to_vec());
            if id.0 == 1 {
                owned = SegmentSet::all_of(SEGMENTS);
            }
            (Box::new(Relay::new(place, moves, WINDOW, SEGMENTS, digests)), id)
        }
        _ => (Box::new(Starter::new(NODES, Some(patience()))), NodeId::TRACKER),
    };
    Run {
        node,
        id,
        expected_max: algorithm.limits(WINDOW, true).0,
        out: Outbox::default(),
        now: Timestamp(0),
        buffer: vec![0; MESSAGE_BYTES_MAX],
        held: owned.iter().collect(),
        offered: Vec::new(),
        expected: Vec::new(),
        arrived: Vec::new(),
        checking: Vec::new(),
        serving: Vec::new(),
        reserves: false,
        is_reserved: false,
        is_finished: false,
    }
}

/// Mostly of ranks below `from`.
fn report(bytes: &mut Bytes<'_>, from: NodeId) -> SubtreeReport {
    let stages = [
        SubtreeStage::Preparing,
        SubtreeStage::Ready,
        SubtreeStage::Settled,
        SubtreeStage::Leaving,
    ];
    let (stage, count) = (stages[usize::from(bytes.byte() % 4)], bytes.byte());
    let mut lacking = Lacking { count: count.into(), ..Lacking::default() };
    lacking.hash = u64::from(bytes.byte() % 3);
    lacking.differs = bytes.byte() % 4 == 3;
    lacking.first.extend((0..count % 16).map(|segment| SegmentId(segment.into())));
    let mut node = || match bytes.byte() % 4 {
        0 | 1 => from,
        2 => NodeId(from.0.wrapping_mul(8).wrapping_add(1 + u32::from(bytes.byte() % 8))),
        _ => NodeId(bytes.number(NODES)),
    };
    let finished = (0..count >> 4 & 3).map(|ago| (node(), u64::from(ago) << 40)).collect();
    let lost = (0..count >> 6).map(|_| node()).collect();
    SubtreeReport { summary: SubtreeSummary { stage, lacking }, finished, lost }
}

fn message(bytes: &mut Bytes<'_>, from: NodeId, sequence: &mut u32) -> Message {
    let segment = SegmentId(bytes.number(SEGMENTS - 1));
    match bytes.byte() % 16 {
        0..=3 => Message::Offer { segment },
        4 | 5 => Message::Coming { segment },
        6 => Message::Holds { blocks: bytes.blocks().collect(), left_out: segment.0 % 4 == 0 },
        7 => Message::Request { segments: std::iter::once(segment.into()).collect() },
        8 => Message::Withdraw { segment, request: 0 },
        9 => Message::Probe,
        10 => Message::Alive,
        11 => Message::Query,
        12 => Message::Subtree(Box::new(report(bytes, from))),
        13 => Message::Describe { index: bytes.number(1) },
        14 => Message::Open,
        _ => bytes.message(sequence),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Bytes(bytes);
    let mode = bytes.byte();
    let mut run = start(mode);
    let mut goes_on = run.feed(Input::Start);
    if mode & 0x80 == 0 && run.id != NodeId::TRACKER {
        if !run.reserves {
            let digests = vec![Digest([7; 32]); SEGMENTS as usize];
            goes_on &= run.hear(OWNER, &Message::Described(part_of(&digests)));
        }
        run.is_reserved = true;
        goes_on &= run.feed(Input::Reserved { problem: None });
        goes_on &= run.hear(NodeId::TRACKER, &Message::Open);
        assert!(goes_on, "an open run");
    }
    let mut sequence = 0;
    while goes_on && !bytes.is_empty() {
        goes_on = match bytes.byte() % 16 {
            0 | 1 => run.wait(Duration::from_millis(u64::from(bytes.byte()) * 10)),
            2 => {
                let (from, len) =
                    (bytes.number(NODES), usize::from(bytes.byte()).min(bytes.0.len()));
                let (raw, rest) = bytes.0.split_at(len);
                bytes.0 = rest;
                let message = codec::decode(raw);
                message.map_or(true, |message| run.hear(NodeId(from), &message))
            }
            3 | 4 => run.arrive(bytes.byte()),
            5 | 6 => run.check(bytes.byte()),
            7 => match take(&mut run.serving, bytes.byte()) {
                Some((to, segment)) => run.feed(Input::Sent { to, segment }),
                None => true,
            },
            8..=10 => run.answer(bytes.byte()),
            11 if run.reserves && !run.is_reserved => {
                let problem = (bytes.byte() == 0).then(|| "no memory".into());
                run.is_reserved = problem.is_none();
                run.reserves = run.is_reserved;
                run.feed(Input::Reserved { problem })
            }
            11 if run.id == NodeId::TRACKER => {
                let from = NodeId(1 + u32::from(bytes.byte()) % (NODES - 1));
                let report = report(&mut bytes, from);
                run.hear(from, &Message::Subtree(Box::new(report)))
            }
            // Mostly a peer, so that a sequence goes on for long.
            byte => {
                let from = match byte {
                    12 => NodeId(bytes.number(NODES)),
                    _ => NodeId(1 + u32::from(bytes.byte()) % (NODES - 1)),
                };
                let message = message(&mut bytes, from, &mut sequence);
                run.hear(from, &message)
            }
        };
    }
});
