//! What a peer that decides, and its tracker, may be sent.

use mpiswarm::config::Decider;
use mpiswarm::protocol::LateEntry;
use mpiswarm::protocol::registration::NeighbourCatalogue;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn config() -> Config {
    Config { decide: Decider::Peers, ..Config::for_segments_of(1024) }
}

fn described() -> NeighbourCatalogue {
    let digests = vec![Digest([7; 32]); SEGMENTS as usize];
    NeighbourCatalogue { seed: 1, digests, neighbours: vec![NodeId(1), NodeId(3)] }
}

fn reading() -> (Peer, Outbox) {
    let mut out = Outbox::default();
    let mut peer = Peer::new((NodeId(2), NODES), &wanter(), config());
    assert_eq!(peer.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
    assert_eq!(hear(&mut peer, 0, &Message::Registered { index: 0 }, &mut out), None);
    (peer, out)
}

/// A peer that exchanges segments.
fn open() -> (Peer, Outbox) {
    let (mut peer, mut out) = reading();
    let whole = part(&(catalogue(), described()));
    assert_eq!(hear(&mut peer, 0, &Message::Described(whole), &mut out), None);
    let reserved = Input::Reserved { problem: None };
    assert_eq!(peer.handle(Timestamp(1), reserved, &mut out), Ok(()));
    assert_eq!(hear(&mut peer, 0, &Message::Open, &mut out), None);
    (peer, out)
}

fn holds(index: u32, bits: u64) -> Message {
    Message::Holds { blocks: [Block { index, bits }].into_iter().collect(), left_out: index > 1 }
}

#[test]
fn a_deciding_peer_checks_every_number() {
    let segment = SegmentId(70);
    let kind = |kind: &str| format!("{kind}, which it may not send");
    for (from, message, what) in [
        (3, Message::Offer { segment }, "segment 70 of 70".to_owned()),
        (3, Message::Refuse { segment, is_full: true }, "segment 70 of 70".to_owned()),
        (3, Message::Coming { segment }, "segment 70 of 70".to_owned()),
        (3, Message::Withdraw { segment, request: 0 }, "segment 70 of 70".to_owned()),
        (3, Message::Request { segments: requested(&[70]) }, "segment 70 of 70".to_owned()),
        (3, holds(2, 1), "block 2 of segments, of which there are 2, or twice".to_owned()),
        (3, holds(1, 1 << 6), "block 1 of segments, of which there are 2, or twice".to_owned()),
        (
            3,
            holds(u32::MAX, 0),
            "block 4294967295 of segments, of which there are 2, or twice".to_owned(),
        ),
        // It was offered none.
        (3, Message::Request { segments: requested(&[0]) }, kind("Request")),
        (3, Message::Request { segments: requested(&[]) }, kind("Request")),
        (3, Message::Refuse { segment: SegmentId(0), is_full: true }, kind("Refuse")),
        (3, Message::Decline { segment: SegmentId(0), request: 1 }, kind("Decline")),
        (3, Message::Withdrawn { segment: SegmentId(0), request: 1 }, kind("Withdrawn")),
        (0, Message::Handout(Handout::default()), kind("Handout")),
        (0, Message::Probe, kind("Probe")),
        (0, Message::Lost { node: NodeId(4) }, "rank 4 as a holder, of 4 ranks".to_owned()),
    ] {
        let (mut peer, mut out) = open();
        let error = hear(&mut peer, from, &message, &mut out);
        let expected = format!("rank {from} sent an invalid message: {what}");
        assert_eq!(error, Some(expected), "{message:?}");
    }
}

/// The others may take it for lost, and begin without it.
#[test]
fn a_deciding_peer_that_reads_its_catalogue_does_nothing_by_what_neighbours_say() {
    let segment = SegmentId(0);
    for message in [
        Message::Offer { segment },
        Message::Coming { segment },
        holds(0, 1),
        Message::Probe,
        Message::Request { segments: requested(&[0]) },
        Message::Unservable { segment, request: 0 },
    ] {
        let (mut peer, mut out) = reading();
        while out.take().is_some() {}
        assert_eq!(hear(&mut peer, 3, &message, &mut out), None, "{message:?}");
        assert_eq!(out.take(), None, "{message:?}");
        // It goes on.
        let whole = part(&(catalogue(), described()));
        assert_eq!(hear(&mut peer, 0, &Message::Described(whole), &mut out), None);
        assert_eq!(out.take(), Some(Output::Reserve), "{message:?}");
    }
    let (mut peer, mut out) = reading();
    let error = hear(&mut peer, 3, &Message::Stop, &mut out);
    assert_eq!(
        error.as_deref(),
        Some("rank 3 sent an invalid message: Stop, which it may not send")
    );
}

#[test]
fn a_deciding_peer_reserves_nothing_for_neighbours_that_cannot_be() {
    let with = |digests: usize, neighbours: &[u32]| NeighbourCatalogue {
        digests: vec![Digest([7; 32]); digests],
        neighbours: neighbours.iter().copied().map(NodeId).collect(),
        ..described()
    };
    for (described, what) in [
        (with(69, &[1, 3]), "digests of 69 segments, of 70"),
        (with(71, &[1, 3]), "digests of 71 segments, of 70"),
        (with(70, &[0, 1]), "rank 0 as a holder, of 4 ranks"),
        (with(70, &[1, u32::MAX]), "rank 4294967295 as a holder, of 4 ranks"),
        (with(70, &[1, 2]), "a catalogue that does not fit what was registered"),
        (with(70, &[3, 1]), "a catalogue that does not fit what was registered"),
        (with(70, &[1, 1]), "a catalogue that does not fit what was registered"),
    ] {
        let (mut peer, mut out) = reading();
        let whole = part(&(catalogue(), described));
        let error = hear(&mut peer, 0, &Message::Described(whole), &mut out);
        assert_eq!(error, Some(format!("rank 0 sent an invalid message: {what}")));
    }
    let (mut peer, mut out) = reading();
    let short = hear(&mut peer, 0, &Message::Described(part(&catalogue())), &mut out);
    assert!(short.expect("it says no neighbours").ends_with("do not decode together"));
}

#[test]
fn a_tracker_is_told_progress_where_peers_decide_and_asked_where_it_does() {
    let open = |config: Config| {
        let mut out = Outbox::default();
        let mut tracker = Tracker::new(NODES, config, 1);
        assert_eq!(tracker.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
        for (rank, registration) in (1..).zip([owner(), wanter(), wanter()]) {
            let message = Message::Register(part(&registration));
            assert_eq!(hear(&mut tracker, rank, &message, &mut out), None);
        }
        for rank in 1..NODES {
            let ready = Message::Ready { problem: None };
            assert_eq!(hear(&mut tracker, rank, &ready, &mut out), None);
        }
        (tracker, out)
    };
    let invalid = |what: &str| Some(format!("rank 2 sent an invalid message: {what}"));
    let (mut tracker, mut out) = open(config());
    assert_eq!(hear(&mut tracker, 2, &Message::Progress { segments: 70 }, &mut out), None);
    assert_eq!(tracker.progress().segments_verified, 70);
    assert_eq!(hear(&mut tracker, 2, &Message::Progress { segments: 3 }, &mut out), None);
    assert_eq!(tracker.progress().segments_verified, 3);
    let error = hear(&mut tracker, 2, &Message::Progress { segments: 71 }, &mut out);
    assert_eq!(error, invalid("71 segments, where 70 are wanted"));
    let error = hear(&mut tracker, 2, &Message::Ask(Ask::default()), &mut out);
    assert_eq!(error, invalid("Ask, which it may not send"));
    let (mut tracker, mut out) = open(Config::for_segments_of(1024));
    let error = hear(&mut tracker, 2, &Message::Progress { segments: 1 }, &mut out);
    assert_eq!(error, invalid("Progress, which it may not send"));
}

/// A source of a late file of as many segments.
fn late_source() -> Registration {
    let name = "tree".into();
    Registration::Late(LateEntry { name, source: Some(SEGMENTS), ..LateEntry::default() })
}

fn digests(segments: std::ops::Range<u32>, digest: Digest) -> Message {
    let read = segments.map(|segment| ReadSegment { segment: SegmentId(segment), digest });
    Message::Digests { read: read.collect(), is_over: false }
}

/// Two sources and one that only wants the file, whose peers decide.
fn open_late() -> (Peer, Outbox) {
    let mut out = Outbox::default();
    let mut peer = Peer::new((NodeId(2), NODES), &late_source(), config());
    assert_eq!(peer.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
    assert_eq!(hear(&mut peer, 0, &Message::Registered { index: 0 }, &mut out), None);
    let listing = Listing { file: FileId(0), first: 0, count: SEGMENTS };
    let catalogue = Catalogue { segments: SEGMENTS, owned: vec![], wanted: vec![Some(listing)] };
    let unread = NeighbourCatalogue { digests: vec![UNREAD; SEGMENTS as usize], ..described() };
    let whole = Message::Described(part(&(catalogue, unread)));
    assert_eq!(hear(&mut peer, 0, &whole, &mut out), None);
    let reserved = Input::Reserved { problem: None };
    assert_eq!(peer.handle(Timestamp(1), reserved, &mut out), Ok(()));
    assert_eq!(hear(&mut peer, 0, &Message::Open, &mut out), None);
    while out.take().is_some() {}
    (peer, out)
}

#[test]
fn digests_come_from_rank_0_alone_and_are_those_of_its_segments() {
    let good = Digest([7; 32]);
    let invalid =
        |from: u32, what: &str| Some(format!("rank {from} sent an invalid message: {what}"));
    for (from, message, what) in [
        (3, digests(0..1, good), "Digests, which it may not send"),
        (0, digests(70..71, good), "segment 70 of 70"),
        (0, digests(3..4, UNREAD), "segment 3 read, with the digest of none"),
        (0, digests(0..1025, good), "1025 segments read, of at most 1024"),
        // It reads, and is told of no holders.
        (0, handout(0, 1, 0), "Handout, which it may not send"),
    ] {
        let (mut peer, mut out) = open_late();
        assert_eq!(hear(&mut peer, from, &message, &mut out), invalid(from, what));
    }
    let mut out = Outbox::default();
    let mut handed = Peer::new((NodeId(2), NODES), &late_source(), Config::for_segments_of(1024));
    assert_eq!(handed.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
    let error = hear(&mut handed, 0, &digests(0..1, good), &mut out);
    assert_eq!(error, invalid(0, "Digests, which it may not send"));
}

/// What comes before its digest is neither checked nor believed; the first digest stands.
#[test]
fn a_segment_waits_for_its_digest_and_is_checked_by_that_of_rank_0() {
    let (mut peer, mut out) = open_late();
    let (from, segment) = (NodeId(3), SegmentId(5));
    assert_eq!(hear(&mut peer, 3, &Message::Offer { segment }, &mut out), None);
    assert_eq!(peer.handle(Timestamp(2), Input::Arrived { from, segment }, &mut out), Ok(()));
    let mut done = Vec::new();
    while let Some(output) = out.take() {
        done.push(output);
    }
    assert!(done.contains(&Output::Expect { from, segment }), "{done:?}");
    assert!(!done.iter().any(|output| matches!(output, Output::Check { .. })), "{done:?}");
    let digest = Digest([9; 32]);
    assert_eq!(hear(&mut peer, 0, &digests(5..6, digest), &mut out), None);
    assert_eq!(hear(&mut peer, 0, &digests(5..6, Digest([8; 32])), &mut out), None);
    let mut checks = Vec::new();
    while let Some(output) = out.take() {
        checks.extend(matches!(output, Output::Check { .. }).then_some(output));
    }
    assert_eq!(checks, [Output::Check { from, segment, digest }]);
    assert!(!peer.holds(segment));
}

/// A source that decides is handed what it is to read, and others ask for nothing.
#[test]
fn a_tracker_hands_out_reads_alone_where_peers_decide() {
    let mut out = Outbox::default();
    let mut tracker = Tracker::new(NODES, config(), 1);
    assert_eq!(tracker.handle(Timestamp(0), Input::Start, &mut out), Ok(()));
    let wants = Registration::Late(LateEntry { name: "tree".into(), ..LateEntry::default() });
    for (rank, registration) in (1..).zip([late_source(), wants.clone(), wants]) {
        let message = Message::Register(part(&registration));
        assert_eq!(hear(&mut tracker, rank, &message, &mut out), None);
    }
    for rank in 1..NODES {
        let ready = Message::Ready { problem: None };
        assert_eq!(hear(&mut tracker, rank, &ready, &mut out), None);
    }
    let ask = Ask { sequence: 1, room: 4, ..Ask::default() };
    assert_eq!(hear(&mut tracker, 1, &Message::Ask(ask.clone()), &mut out), None);
    let error = hear(&mut tracker, 2, &Message::Ask(ask.clone()), &mut out);
    assert_eq!(error, Some("rank 2 sent an invalid message: Ask, which it may not send".into()));
    let blocks = [Block { index: 0, bits: 1 }].into_iter().collect();
    let error = hear(&mut tracker, 1, &Message::Ask(Ask { blocks, ..ask }), &mut out);
    assert_eq!(error, Some("rank 1 sent an invalid message: Ask, which it may not send".into()));
}

fn from_a_neighbour() -> impl Strategy<Value = Message> {
    let segment = || (0_u32..72).prop_map(SegmentId);
    prop_oneof![
        4 => segment().prop_map(|segment| Message::Offer { segment }),
        2 => (segment(), any::<bool>())
            .prop_map(|(segment, is_full)| Message::Refuse { segment, is_full }),
        2 => segment().prop_map(|segment| Message::Coming { segment }),
        2 => (0_u32..3, any::<u64>()).prop_map(|(index, bits)| holds(index, bits)),
        2 => segment().prop_map(|segment| Message::Request { segments: requested(&[segment.0]) }),
        1 => segment().prop_map(|segment| Message::Withdraw { segment, request: 0 }),
        1 => Just(Message::Probe),
        1 => Just(Message::Alive),
    ]
}

proptest! {
    /// Whatever its neighbours and rank 0 say, it neither panics nor has done what can't be done.
    #[test]
    fn a_deciding_peer_is_never_at_a_loss(
        said in vec((any::<u8>(), 0_u32..4, from_a_neighbour()), 1..120),
    ) {
        let (mut peer, mut out) = open();
        let (mut expected, mut checking) = (Vec::new(), Vec::new());
        for (turn, (choice, from, message)) in (1..).zip(said) {
            let now = Timestamp(turn * 300_000_000);
            let lost = Message::Lost { node: NodeId(3) };
            let verdict =
                if choice % 4 == 0 { CheckResult::Corrupt } else { CheckResult::Valid };
            let input = match choice % 8 {
                0 => Input::Deadline,
                1 => Input::Message { from: NodeId(0), message: &lost },
                2 | 3 if !expected.is_empty() => {
                    let (from, segment) = expected.swap_remove(0);
                    checking.push((from, segment));
                    Input::Arrived { from, segment }
                }
                4 | 5 if !checking.is_empty() => {
                    let (from, segment) = checking.swap_remove(0);
                    Input::Checked { from, segment, verdict }
                }
                _ => Input::Message { from: NodeId(from), message: &message },
            };
            if peer.handle(now, input, &mut out).is_err() {
                break;
            }
            while let Some(output) = out.take() {
                match output {
                    Output::Expect { from, segment } => {
                        prop_assert!(segment.0 < SEGMENTS && !peer.holds(segment));
                        prop_assert!(!expected.contains(&(from, segment)));
                        expected.push((from, segment));
                    }
                    Output::Serve { requested, .. } => prop_assert!(peer.holds(requested.segment)),
                    Output::Forget { from, segment } => {
                        expected.retain(|one| *one != (from, segment));
                        checking.retain(|one| *one != (from, segment));
                    }
                    Output::Check { from, segment, .. } => {
                        prop_assert!(checking.contains(&(from, segment)));
                    }
                    Output::Send { .. }
                    | Output::Reserve
                    | Output::Read { .. }
                    | Output::Publish { .. }
                    | Output::Finish => {}
                }
            }
        }
    }
}
