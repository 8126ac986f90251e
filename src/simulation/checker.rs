//! The safety properties that hold after every event, whatever fails. A violation panics and names the
//! nodes and the segment; the test that runs the world adds the seed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Config;
use crate::manifest::{NodeId, SegmentId};
use crate::time::Timestamp;
use crate::verify::Digest;

/// What one node has and expects. The checker derives it from the outputs, and trusts no state of the
/// node.
#[derive(Clone, Debug, Default)]
struct NodeFacts {
    verified: Vec<u64>,
    /// Slots made ready: one for each segment and sender.
    expected: Vec<ExpectedSegment>,
    /// Segments that it reads from its source.
    reading: BTreeSet<SegmentId>,
    /// The most that may be in flight.
    slots: Option<usize>,
    /// Segments that it is sending, and since when; each once.
    serving: Vec<((NodeId, SegmentId), Timestamp)>,
}

// A node has few of them at a time: a list that is searched from its start is faster than a tree, and
// smaller.
#[derive(Clone, Debug)]
struct ExpectedSegment {
    segment: SegmentId,
    from: NodeId,
    is_withdrawn: bool,
    /// What has arrived.
    content: Option<Digest>,
}

impl NodeFacts {
    fn find(&self, from: NodeId, segment: SegmentId) -> Option<usize> {
        self.expected.iter().position(|one| (one.segment, one.from) == (segment, from))
    }
}

// An oracle: it repeats the rules of the protocol independently of the nodes, so that a fault in a node
// can't hide itself.
/// An observer that sees every output of every node.
#[derive(Debug)]
pub(super) struct Checker {
    nodes: Vec<NodeFacts>,
    flights_max: usize,
    uploads_max: usize,
    patience: Duration,
    reads: u64,
    served: u64,
    landed: u64,
    dropped: u64,
}

impl Checker {
    /// No node may expect more than `flights_max` segments, nor serve more than `uploads_max`.
    pub(super) fn new(
        nodes: usize,
        (flights_max, uploads_max): (usize, usize),
        config: &Config,
    ) -> Self {
        Self {
            nodes: vec![NodeFacts::default(); nodes],
            flights_max,
            uploads_max,
            patience: config.request_patience,
            reads: 0,
            served: 0,
            landed: 0,
            dropped: 0,
        }
    }

    /// A node owns or has verified a segment. Panics when it had it before.
    pub(super) fn verified(&mut self, node: NodeId, segment: SegmentId) {
        let words = &mut self.nodes[node.index()].verified;
        let word = segment.index() / 64;
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        let bit = 1 << (segment.index() % 64);
        assert_eq!(words[word] & bit, 0, "{node} verified {segment:?} twice");
        words[word] |= bit;
    }

    pub(super) fn has(&self, node: NodeId, segment: SegmentId) -> bool {
        let words = &self.nodes[node.index()].verified;
        words.get(segment.index() / 64).is_some_and(|word| word >> (segment.index() % 64) & 1 == 1)
    }

    /// A node made a slot ready. `missing` counts the segments that it wants and has not requested: with
    /// none left it may request one from a second holder.
    pub(super) fn expect(&mut self, node: NodeId, from: NodeId, segment: SegmentId, missing: u32) {
        assert!(!self.has(node, segment), "{node} asks for {segment:?}, which it has");
        let facts = &mut self.nodes[node.index()];
        let of_segment = facts.expected.iter().filter(|one| one.segment == segment);
        let others = of_segment.filter(|one| !one.is_withdrawn).count();
        assert!(
            others == 0 || (others == 1 && missing == 0),
            "{node} asks {others} more for {segment:?} with {missing} segments missing"
        );
        assert!(facts.find(from, segment).is_none(), "{node} asks {from} for {segment:?} twice");
        let one = ExpectedSegment { segment, from, is_withdrawn: false, content: None };
        facts.expected.push(one);
        let count = facts.expected.len();
        assert!(count <= self.flights_max, "{node} expects {count} segments");
        self.check_slots(node);
    }

    /// A node has so many slots from now on.
    pub(super) fn room(&mut self, node: NodeId, slots: usize) {
        self.nodes[node.index()].slots = Some(slots);
    }

    /// A source begins to read a segment.
    pub(super) fn read(&mut self, node: NodeId, segment: SegmentId) {
        let is_new = self.nodes[node.index()].reading.insert(segment);
        assert!(is_new, "{node} reads {segment:?} twice at once");
        self.check_slots(node);
    }

    /// A source has read a segment, or could not.
    pub(super) fn has_read(&mut self, node: NodeId, segment: SegmentId, is_read: bool) {
        let was_read = self.nodes[node.index()].reading.remove(&segment);
        assert!(was_read, "{node} has read {segment:?} unasked");
        self.reads += u64::from(is_read);
        if is_read && !self.has(node, segment) {
            self.verified(node, segment);
        }
    }

    /// By rank: how many segments it has.
    pub(super) fn held_counts(&self) -> Vec<u32> {
        let held = |facts: &NodeFacts| facts.verified.iter().map(|word| word.count_ones()).sum();
        self.nodes.iter().map(held).collect()
    }

    /// How often a segment was read.
    pub(super) fn reads(&self) -> u64 {
        self.reads
    }

    fn check_slots(&self, node: NodeId) {
        let facts = &self.nodes[node.index()];
        let count = facts.expected.len() + facts.reading.len();
        assert!(facts.slots.is_none_or(|slots| count <= slots), "{node} uses {count} slots");
    }

    /// A node forgot a segment that it expected, or its check has ended. Returns what had arrived.
    pub(super) fn settled(
        &mut self,
        node: NodeId,
        from: NodeId,
        segment: SegmentId,
    ) -> Option<Digest> {
        let facts = &mut self.nodes[node.index()];
        let Some(place) = facts.find(from, segment) else {
            panic!("{node} settles {segment:?} from {from}, which it never expected");
        };
        facts.expected.swap_remove(place).content
    }

    /// A node told a holder that it does not need a segment from it.
    pub(super) fn withdraw(&mut self, node: NodeId, from: NodeId, segment: SegmentId) {
        let facts = &mut self.nodes[node.index()];
        if let Some(place) = facts.find(from, segment) {
            facts.expected[place].is_withdrawn = true;
        }
    }

    /// A segment has arrived, with this digest.
    pub(super) fn arrive(
        &mut self,
        node: NodeId,
        from: NodeId,
        segment: SegmentId,
        content: Digest,
    ) {
        let facts = &mut self.nodes[node.index()];
        // Over MPI such a send matches nothing, and never ends.
        let Some(place) = facts.find(from, segment) else {
            panic!("{from} sent {segment:?} to {node}, which does not expect it");
        };
        facts.expected[place].content = Some(content);
    }

    /// The digest of a segment that has arrived and is not checked.
    pub(super) fn content(&self, node: NodeId, from: NodeId, segment: SegmentId) -> Option<Digest> {
        let facts = &self.nodes[node.index()];
        facts.expected[facts.find(from, segment)?].content
    }

    pub(super) fn serve(&mut self, now: Timestamp, node: NodeId, to: NodeId, segment: SegmentId) {
        assert!(self.has(node, segment), "{node} serves {segment:?} unverified to {to}");
        assert_ne!(node, to, "{node} serves itself");
        let facts = &mut self.nodes[node.index()];
        match facts.serving.iter_mut().find(|one| one.0 == (to, segment)) {
            Some((_, since)) => *since = now,
            None => facts.serving.push(((to, segment), now)),
        }
        // What does not leave in time has a stopped or slow receiver, and takes no slot from the others.
        let fresh = facts.serving.iter().filter(|(_, since)| now.since(*since) < self.patience);
        let serving = fresh.count();
        assert!(serving <= self.uploads_max, "{node} serves {serving} at once");
        self.served += 1;
    }

    /// A segment has left its holder: it landed, or it was dropped on its way.
    pub(super) fn left(&mut self, node: NodeId, upload: (NodeId, SegmentId), landed: bool) {
        self.nodes[node.index()].serving.retain(|(one, _)| *one != upload);
        if landed { self.landed += 1 } else { self.dropped += 1 }
    }

    /// A node vanished, and expects nothing more.
    pub(super) fn vanish(&mut self, node: NodeId) {
        self.nodes[node.index()].expected.clear();
        self.nodes[node.index()].reading.clear();
    }

    /// The run has ended, and nothing may be in flight.
    pub(super) fn end(&self, gone: &[bool]) {
        assert_eq!(self.served, self.landed + self.dropped, "served and received differ");
        for (rank, facts) in self.nodes.iter().enumerate().filter(|&(rank, _)| !gone[rank]) {
            let left = &facts.expected;
            assert!(left.is_empty(), "rank {rank} still expects {left:?}");
        }
    }
}
