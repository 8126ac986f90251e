//! Nodes of a broadcast without a tracker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mpiswarm::manifest::SegmentSet;
use mpiswarm::protocol::relay::{Moves, Relay, RelayAlgorithm, RelayPatience, RelayPlace, Starter};

use super::*;

fn patience() -> RelayPatience {
    let [initial, least, registration, silence] = [300, 100, 3000, 1000].map(Duration::from_millis);
    RelayPatience { initial, least, registration, silence }
}

/// Rank 1 of `nodes` nodes, that has all `segments` segments, before it has a slot for each.
fn holder(nodes: u32, segments: u32) -> (Relay, Outbox) {
    let mut out = Outbox::default();
    let algorithm = RelayAlgorithm::Neighbours { seed: 1, rack_hosts: None };
    let place = RelayPlace { node: NodeId(1), nodes, patience: Some(patience()) };
    let moves = Moves::of(algorithm, (NodeId(1), nodes), segments, patience());
    let digests: Arc<[Digest]> = (0..segments).map(|_| Digest([7; 32])).collect();
    let mut relay = Relay::with_digests(place, moves, digests, &SegmentSet::all_of(segments));
    assert_eq!(relay.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
    (relay, out)
}

/// A holder in a run that is open.
struct OpenHolder {
    relay: Relay,
    out: Outbox,
    now: Timestamp,
    /// By neighbour: what it was offered and has not answered.
    offered: BTreeMap<NodeId, Vec<SegmentId>>,
}

impl OpenHolder {
    fn new(nodes: u32, segments: u32) -> Self {
        let (relay, out) = holder(nodes, segments);
        let mut this = Self { relay, out, now: Timestamp(0), offered: BTreeMap::new() };
        this.feed(Input::Reserved { problem: None });
        this.hear(0, &Message::Open);
        this
    }

    fn feed(&mut self, input: Input<'_>) {
        assert_eq!(self.relay.handle(self.now, input, &mut self.out), Ok(()));
        while let Some(output) = self.out.take() {
            if let Output::Send { to, message } = output
                && let &Message::Offer { segment } = self.out.read(message)
            {
                self.offered.entry(to).or_default().push(segment);
            }
        }
    }

    fn hear(&mut self, from: u32, message: &Message) {
        self.feed(Input::Message { from: NodeId(from), message });
    }

    /// Lets deadlines pass; `alive` neighbours answer when they are asked whether they are there.
    fn wait(&mut self, deadlines: usize, alive: &[u32]) {
        for _ in 0..deadlines {
            let Some(deadline) = self.relay.deadline() else { return };
            self.now = deadline.max(self.now);
            self.feed(Input::Deadline);
            alive.iter().for_each(|&rank| self.hear(rank, &Message::Alive));
        }
    }

    /// What it was offered first and has not answered.
    fn next_offer(&mut self, of: u32) -> Option<SegmentId> {
        self.offered.get_mut(&NodeId(of)).filter(|list| !list.is_empty()).map(|list| list.remove(0))
    }

    /// A neighbour takes what it was offered. Returns what that is.
    fn take(&mut self, from: u32) -> Option<SegmentId> {
        let segment = self.next_offer(from)?;
        let segments = ArrayVec::from_iter([segment.into()]);
        self.hear(from, &Message::Request { segments });
        self.feed(Input::Sent { to: NodeId(from), segment });
        Some(segment)
    }
}

#[test]
fn nobody_moves_segments_before_a_node_is_ready() {
    let segment = SegmentId(0);
    let (mut relay, mut out) = holder(3, 5);
    for message in [
        Message::Offer { segment },
        Message::Coming { segment },
        Message::Holds { blocks: ArrayVec::new(), left_out: false },
        Message::Request { segments: ArrayVec::from_iter([segment.into()]) },
        Message::Probe,
    ] {
        let said = hear(&mut relay, 2, &message, &mut out).expect("an error");
        assert!(said.ends_with("which it may not send"), "{said}");
    }
    // Nobody sends as the node itself, or is a node that there is not.
    for from in [1, 3] {
        assert!(hear(&mut relay, from, &Message::Describe { index: 0 }, &mut out).is_some());
    }
    assert_eq!(hear(&mut relay, 2, &Message::Describe { index: 0 }, &mut out), None);
}

#[test]
fn rank_0_of_a_broadcast_takes_no_long_problems() {
    for bytes in [PROBLEM_BYTES_MAX, PROBLEM_BYTES_MAX + 1] {
        let text: Box<str> = "x".repeat(bytes).into();
        let problems = ArrayVec::from_iter([text.clone()]);
        for message in [
            Message::Ready { problem: Some(text) },
            Message::Done(Box::new(DoneReport { problems, ..DoneReport::default() })),
        ] {
            let mut starter = Starter::new(3, Some(patience()));
            let said = hear(&mut starter, 2, &message, &mut Outbox::default());
            assert_eq!(said.is_some(), bytes > PROBLEM_BYTES_MAX, "{said:?}");
        }
    }
}

/// Otherwise one that falls silent again and again would make others keep an offer each time.
#[test]
fn who_did_not_answer_an_offer_is_offered_nothing_more() {
    let mut holder = OpenHolder::new(3, 50);
    let offers = |holder: &OpenHolder| holder.offered[&NodeId(2)].len();
    assert_eq!(offers(&holder), 1);
    for _ in 0..5 {
        holder.wait(3, &[]);
        holder.hear(2, &Message::Alive);
        assert_eq!(offers(&holder), 1);
    }
    holder.take(2).expect("it takes what it was offered at first");
    assert_eq!(offers(&holder), 1, "and is offered the next");
}

/// A holder that has offered each of its segments once gives those on that its other neighbours lack, although
/// one did not take what it was offered and is gone.
#[test]
fn a_neighbour_that_is_gone_holds_up_no_offers_to_others() {
    let mut holder = OpenHolder::new(4, 3);
    // Ranks 2 and 3 take all three once.
    let first = holder.take(2).expect("both are offered something");
    holder.take(3).expect("both are offered something");
    let third = holder.take(2);
    let mut got: BTreeSet<_> = [first].into_iter().chain(third).collect();
    if third.is_none() {
        holder.take(3).expect("the third is offered to one of them");
    }
    // Rank 3 is silent from now on, and rank 2 has no room at first.
    let segment = holder.next_offer(2).expect("it lacks what rank 3 took");
    holder.hear(2, &Message::Refuse { segment, is_full: true });
    for _ in 0..20 {
        got.extend(std::iter::from_fn(|| holder.take(2)));
        holder.wait(1, &[2]);
    }
    assert!(got.into_iter().eq([0, 1, 2].map(SegmentId)), "rank 2 gets all");
}
